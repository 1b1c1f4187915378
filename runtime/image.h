// Image files: what lies on disk becomes red, green and blue bytes, as Pillow's Image.open(f).convert("RGB") makes them
// (grey repeated, palettes looked up, alpha dropped, 16 bits cut to 8, CMYK as Adobe writes it).
#ifndef SMKD_RT_IMAGE_H
#define SMKD_RT_IMAGE_H

#include "runtime.h"

struct rt_image {
    int width, height;
    uint8_t *rgb; // [height][width][3]; owned
};
void rt_image_release(struct rt_image *im);

// What of an image is going to be used: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as it stays at
// least this large, since what is scaled down afterwards anyway need not be computed. 0: always the whole size.
struct rt_image_need {
    int min_width, min_height;
};
struct rt_image_options {
    bool upright; // turned and mirrored as the file's EXIF orientation says
    // Asked once, when the size is known, which is that of the upright image where it is turned; also where the format
    // cannot leave anything out. NULL: all, at whole size.
    void (*need)(void *env, int width, int height, struct rt_image_need *out);
    void *env;
};

// Decodes a file's bytes; the format is told by its first ones, not by its name. `name` is for messages. Whatever is
// damaged, truncated, of another kind, or larger than RT_IMAGE_MAX_PIXELS is SMKD_R_INVALID, a lack of memory
// SMKD_R_NOMEM; nothing is left in `out` then.
#define RT_IMAGE_MAX_PIXELS (INT64_C(1) << 27) // 400 MB decoded; more is taken for a decompression bomb
enum smkd_result rt_image_decode(const char *name, const void *data, size_t size, const struct rt_image_options *o,
                                 struct rt_image *out);
// The same of a regular file, which is read as a whole: one that shrinks meanwhile is a truncated one.
enum smkd_result rt_image_read(const char *path, const struct rt_image_options *o, struct rt_image *out);
// How many pixels decoding would give, from the file's header alone.
enum smkd_result rt_image_probe(const char *path, int64_t *pixels);

// Whether a name ends as an image's does: .jpg .jpeg .png .webp .bmp, in any case.
bool rt_image_suffix(const char *name);

#endif
