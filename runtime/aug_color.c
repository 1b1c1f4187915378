// Operations that go from a plainer image to the image and beyond (Pillow, ImageEnhance.py and Blend.c), and hue.
#include "aug_ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// From `plain` (factor 0) to `v` (factor 1), in float32 and truncated, as Pillow does it.
static inline uint8_t blend(int plain, int v, float factor) {
    float t = (float)plain + factor * (float)(v - plain);
    t = t < 0 ? 0 : t;
    return (uint8_t)(t > 255 ? 255 : t);
}

// What every byte becomes where the plain image is one grey.
static bool from_grey(struct rt_image *im, int grey, float factor) {
    uint8_t table[256];
    for (int v = 0; v < 256; v++) table[v] = blend(grey, v, factor);
    size_t n = (size_t)im->width * (size_t)im->height * 3;
    for (size_t i = 0; i < n; i++) im->rgb[i] = table[im->rgb[i]];
    return true;
}

static void blend_row(const uint8_t *restrict plain, uint8_t *restrict row, size_t n, float factor) {
    for (size_t i = 0; i < n; i++) row[i] = blend(plain[i], row[i], factor);
}

AUG_OP(aug_brightness) {
    (void)look;
    return from_grey(im, 0, (float)(1 + magnitude));
}

AUG_OP(aug_contrast) {
    (void)look;
    size_t n = (size_t)im->width * (size_t)im->height;
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += aug_luma(im->rgb + 3 * i);
    return from_grey(im, (int)((double)sum / (double)n + 0.5), (float)(1 + magnitude));
}

AUG_OP(aug_color) {
    (void)look;
    size_t bytes = (size_t)im->width * 3;
    uint8_t *grey = malloc(bytes);
    if (!grey) return false;
    for (int y = 0; y < im->height; y++) {
        uint8_t *row = im->rgb + (size_t)y * bytes;
        for (size_t i = 0; i < bytes; i += 3) grey[i] = grey[i + 1] = grey[i + 2] = aug_luma(row + i);
        blend_row(grey, row, bytes, (float)(1 + magnitude));
    }
    free(grey);
    return true;
}

// One row smoothed by (1 1 1; 1 5 1; 1 1 1) / 13, without its first and last pixel. Pillow sums floats; a thirteenth of
// a whole number is never near a half, so whole numbers give the same.
static void smooth(const uint8_t *restrict above, const uint8_t *restrict row, const uint8_t *restrict below,
                   uint8_t *restrict to, size_t bytes) {
    for (size_t i = 3; i + 3 < bytes; i++) {
        unsigned sum = (unsigned)(above[i - 3] + above[i] + above[i + 3] + row[i - 3] + 5 * row[i] + row[i + 3] +
                                  below[i - 3] + below[i] + below[i + 3]);
        to[i] = (uint8_t)((2 * sum + 13) / 26);
    }
}

AUG_OP(aug_sharpness) {
    (void)look;
    if (im->width < 3 || im->height < 3) return true; // the smoothed image is the image
    size_t bytes = (size_t)im->width * 3;
    uint8_t *rows = malloc(3 * bytes);
    if (!rows) return false;
    uint8_t *above = rows, *here = rows + bytes, *plain = rows + 2 * bytes; // rows as they were before the change
    memcpy(above, im->rgb, bytes);
    for (int y = 1; y < im->height - 1; y++) {
        uint8_t *row = im->rgb + (size_t)y * bytes, *t = above;
        memcpy(here, row, bytes);
        smooth(above, here, row + bytes, plain, bytes);
        blend_row(plain + 3, row + 3, bytes - 6, (float)(1 + magnitude)); // edges are not smoothed
        above = here;
        here = t;
    }
    free(rows);
    return true;
}

// --- hue (Pillow, Convert.c: to HSV in 8 bits and back) --------------------------------------------------------------

static void to_hsv(const uint8_t *rgb, uint8_t hsv[3]) {
    int r = rgb[0], g = rgb[1], b = rgb[2];
    int most = r > g ? r : g, least = r < g ? r : g;
    if (b > most) most = b;
    if (b < least) least = b;
    hsv[0] = hsv[1] = 0;
    hsv[2] = (uint8_t)most;
    if (most == least) return;
    float range = (float)(most - least), h;
    float rc = (float)(most - r) / range, gc = (float)(most - g) / range, bc = (float)(most - b) / range;
    if (r == most)
        h = bc - gc;
    else if (g == most)
        h = (float)(2.0 + (double)rc - (double)bc);
    else
        h = (float)(4.0 + (double)gc - (double)rc);
    double turns = (double)h / 6.0 + 1.0;
    h = (float)(turns - floor(turns));
    hsv[0] = (uint8_t)((double)h * 255.0);
    hsv[1] = (uint8_t)((double)(range / (float)most) * 255.0);
}

static uint8_t nearest(double v) { return (uint8_t)(v + 0.5); } // of what lies in 0..255

static void from_hsv(const uint8_t hsv[3], uint8_t *rgb) {
    // Which of v, p, q, t red, green and blue are, in each sixth of the circle.
    enum { V, P, Q, T };
    static const uint8_t which[6][3] = {{V, T, P}, {Q, V, P}, {P, V, T}, {P, Q, V}, {T, P, V}, {V, P, Q}};
    double v = hsv[2], around = hsv[0] * 6.0 / 255.0;
    int sixth = (int)around;
    double f = (double)(float)(around - sixth), s = (double)(float)(hsv[1] / 255.0);
    const uint8_t of[4] = {
        [V] = hsv[2], [P] = nearest(v * (1 - s)), [Q] = nearest(v * (1 - s * f)), [T] = nearest(v * (1 - s * (1 - f)))};
    for (int c = 0; c < 3; c++) rgb[c] = of[which[sixth % 6][c]];
}

AUG_OP(aug_hue) {
    (void)look;
    int shift = (int)(magnitude * 255);
    size_t n = (size_t)im->width * (size_t)im->height;
    uint8_t hsv[3];
    for (size_t i = 0; i < n; i++) {
        to_hsv(im->rgb + 3 * i, hsv);
        hsv[0] = (uint8_t)(hsv[0] + shift);
        from_hsv(hsv, im->rgb + 3 * i);
    }
    return true;
}
