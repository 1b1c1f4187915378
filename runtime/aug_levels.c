// Operations that are a table of levels for each channel (Pillow, ImageOps.py).
#include "aug_ops.h"

#include <string.h>

void aug_look_up(struct rt_image *im, uint8_t table[3][256]) {
    const uint8_t *r = table[0], *g = table[1], *b = table[2];
    size_t n = (size_t)im->width * (size_t)im->height;
    uint8_t *p = im->rgb;
    for (size_t i = 0; i < n; i++, p += 3) {
        p[0] = r[p[0]];
        p[1] = g[p[1]];
        p[2] = b[p[2]];
    }
}

// Levels that do not depend on the channel take the bytes as they come.
static bool through(struct rt_image *im, const uint8_t table[256]) {
    size_t n = (size_t)im->width * (size_t)im->height * 3;
    for (size_t i = 0; i < n; i++) im->rgb[i] = table[im->rgb[i]];
    return true;
}

AUG_OP(aug_posterize) {
    (void)look;
    int bits = (int)magnitude;
    if (bits >= 8) return true;
    uint8_t mask = (uint8_t)(0xFF00 >> (bits < 0 ? 0 : bits)); // no bits: black, which AugMix's strongest asks for
    size_t n = (size_t)im->width * (size_t)im->height * 3;
    for (size_t i = 0; i < n; i++) im->rgb[i] &= mask;
    return true;
}

AUG_OP(aug_solarize) {
    (void)look;
    uint8_t table[256];
    for (int v = 0; v < 256; v++) table[v] = (uint8_t)(v < magnitude ? v : 255 - v);
    return through(im, table);
}

AUG_OP(aug_invert) {
    (void)magnitude, (void)look;
    size_t n = (size_t)im->width * (size_t)im->height * 3;
    for (size_t i = 0; i < n; i++) im->rgb[i] = (uint8_t)(255 - im->rgb[i]);
    return true;
}

// Two of each, taken in turns: a run of equal pixels then does not wait for its own counts.
static void count(const struct rt_image *im, uint32_t counts[3][256]) {
    uint32_t odd[3][256] = {0};
    memset(counts, 0, sizeof odd);
    size_t n = (size_t)im->width * (size_t)im->height;
    const uint8_t *p = im->rgb;
    for (; n >= 2; n -= 2, p += 6) {
        counts[0][p[0]]++;
        counts[1][p[1]]++;
        counts[2][p[2]]++;
        odd[0][p[3]]++;
        odd[1][p[4]]++;
        odd[2][p[5]]++;
    }
    for (int c = 0; n && c < 3; c++) counts[c][p[c]]++;
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++) counts[c][v] += odd[c][v];
}

AUG_OP(aug_auto_contrast) {
    (void)magnitude, (void)look;
    uint32_t counts[3][256];
    uint8_t table[3][256];
    count(im, counts);
    for (int c = 0; c < 3; c++) {
        int lo = 0, hi = 255;
        while (lo < 255 && !counts[c][lo]) lo++;
        while (hi > 0 && !counts[c][hi]) hi--;
        double scale = hi > lo ? 255.0 / (hi - lo) : 1, offset = hi > lo ? -lo * scale : 0;
        for (int v = 0; v < 256; v++) {
            int to = (int)(v * scale + offset);
            table[c][v] = (uint8_t)(to < 0 ? 0 : to > 255 ? 255 : to);
        }
    }
    aug_look_up(im, table);
    return true;
}

AUG_OP(aug_equalize) {
    (void)magnitude, (void)look;
    uint32_t counts[3][256];
    uint8_t table[3][256];
    count(im, counts);
    for (int c = 0; c < 3; c++) {
        // The pixels of the highest level that occurs do not count: it becomes white. One level alone stays.
        uint64_t total = 0, n;
        int last = 255;
        while (last > 0 && !counts[c][last]) last--;
        for (int v = 0; v < last; v++) total += counts[c][v];
        uint64_t step = total / 255;
        n = step / 2;
        for (int v = 0; v < 256; v++) {
            uint64_t to = step ? n / step : (uint64_t)v;
            table[c][v] = (uint8_t)(to > 255 ? 255 : to);
            n += counts[c][v];
        }
    }
    aug_look_up(im, table);
    return true;
}
