// Images of another size, to the level as Pillow makes them (Image.resize: antialiased when smaller, two passes of
// 8-bit results), and what torchvision's evaluation presets do with them.
#ifndef SMKD_RT_RESIZE_H
#define SMKD_RT_RESIZE_H

#include "image.h"

enum rt_interpolation { RT_NEAREST, RT_BOX, RT_BILINEAR, RT_HAMMING, RT_BICUBIC, RT_LANCZOS };
extern const char *const rt_interpolations[]; // names, ends with NULL

// A part of an image: its corner and size, inside of it.
struct rt_box {
    int left, top, width, height;
};

// The part `box` of `from` (all of it when NULL), as an image of its own, brought to width x height. Pixels beyond the
// part do not enter. false: out of memory; `out` is then empty. Release with rt_image_release.
bool rt_resize(const struct rt_image *from, const struct rt_box *box, int width, int height, enum rt_interpolation how,
               struct rt_image *out);
// What rt_resize would give, but of it the part `window` alone, which lies inside; the rest is not computed.
bool rt_resize_window(const struct rt_image *from, const struct rt_box *box, int width, int height,
                      enum rt_interpolation how, const struct rt_box *window, struct rt_image *out);

// A part between pixels: its corner from the image's, and size, inside of it. Pixels that it only touches count as
// whole.
struct rt_area {
    double left, top, width, height;
};
bool rt_resize_part(const struct rt_image *from, const struct rt_area *part, int width, int height,
                    enum rt_interpolation how, struct rt_image *out);

// torchvision's Resize(size): the shorter edge becomes `size`, the other follows (rounded down).
void rt_shorter_edge(int width, int height, int size, int *new_width, int *new_height);
// Where CenterCrop begins on an axis; negative: on the black border of what is too small.
int rt_center_start(int have, int want);
// CenterCrop(height, width), with black borders where the image is smaller. false: out of memory.
bool rt_center_crop(const struct rt_image *from, int width, int height, struct rt_image *out);

#endif
