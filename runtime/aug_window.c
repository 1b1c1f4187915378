// Parts of an image and what lies around it.
#include "transforms.h"

#include <stdlib.h>
#include <string.h>

const char *const rt_pad_modes[] = {[RT_PAD_ZERO] = "zero", [RT_PAD_REFLECT] = "reflect", NULL};

// Where pixel v of a mirrored axis lies; -1: nowhere.
static int source(int v, int size, enum rt_pad_mode mode) {
    if (v >= 0 && v < size) return v;
    if (mode == RT_PAD_ZERO) return -1;
    int period = size > 1 ? 2 * (size - 1) : 1;
    v = v % period;
    if (v < 0) v += period;
    return v < size ? v : period - v;
}

bool rt_window(const struct rt_image *from, int left, int top, int width, int height, enum rt_pad_mode mode,
               struct rt_image *out) {
    *out = (struct rt_image){width, height, calloc((size_t)width * (size_t)height, 3)};
    if (!out->rgb) return false;
    const size_t stride = (size_t)from->width * 3;
    // Columns [x0, x1) of the result show the image itself.
    int x0 = left < 0 ? (-left < width ? -left : width) : 0, x1 = from->width - left;
    if (x1 > width) x1 = width;
    if (x1 < x0) x1 = x0;
    for (int y = 0; y < height; y++) {
        int sy = source(y + top, from->height, mode);
        if (sy < 0) continue;
        const uint8_t *row = from->rgb + (size_t)sy * stride;
        uint8_t *to = out->rgb + (size_t)y * (size_t)width * 3;
        if (x1 > x0) memcpy(to + (size_t)x0 * 3, row + (size_t)(x0 + left) * 3, (size_t)(x1 - x0) * 3);
        for (int x = 0; mode != RT_PAD_ZERO && x < width; x++) {
            if (x == x0) x = x1;
            if (x < width) memcpy(to + (size_t)x * 3, row + (size_t)source(x + left, from->width, mode) * 3, 3);
        }
    }
    return true;
}

void rt_flip(struct rt_image *im) {
    for (int y = 0; y < im->height; y++) {
        uint8_t *a = im->rgb + (size_t)y * (size_t)im->width * 3, *b = a + (size_t)(im->width - 1) * 3;
        for (; a < b; a += 3, b -= 3)
            for (int c = 0; c < 3; c++) {
                uint8_t t = a[c];
                a[c] = b[c];
                b[c] = t;
            }
    }
}
