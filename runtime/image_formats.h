// What the decoders share. Each writes a message into `why` and returns false where it fails; `out` is the caller's to
// release either way.
#ifndef SMKD_RT_IMAGE_FORMATS_H
#define SMKD_RT_IMAGE_FORMATS_H

#include "image.h"

struct image_job {
    const unsigned char *data;
    size_t size;
    const struct rt_image_options *o;
    struct rt_image *out;
    int orientation; // EXIF's, 1 to 8; 1 where there is none
    bool asked;      // image_need was called
    bool probe;      // the size alone is wanted: image_make sets it and returns false
    char why[200];
};

bool image_is_jpeg(const unsigned char *p, size_t n);
bool image_is_png(const unsigned char *p, size_t n);
bool image_is_webp(const unsigned char *p, size_t n);
bool image_is_bmp(const unsigned char *p, size_t n);
bool image_jpeg(struct image_job *j);
bool image_png(struct image_job *j);
bool image_webp(struct image_job *j);
bool image_bmp(struct image_job *j);

// Sets size and memory of the result; false with a message when there are too many pixels, none, or no memory.
bool image_make(struct image_job *j, int64_t width, int64_t height);
// What the caller needs of an image of this size, as it is stored; asked once.
void image_need(struct image_job *j, int width, int height, struct rt_image_need *out);
// Whether the image will be turned by a quarter: its width becomes its height.
bool image_swaps(const struct image_job *j);
// Why decoding failed, with false to return.
bool image_fail(struct image_job *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// The orientation in EXIF data (a TIFF file; "Exif\0\0" in front is skipped): 1 to 8, 1 where there is none.
int image_exif_orientation(const unsigned char *p, size_t n);

#endif
