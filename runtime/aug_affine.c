// Shears, translations and rotations: matrices as torchvision and Pillow's Image.rotate make them, pixels as Pillow's
// Geometry.c finds them.
#include "aug_ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

// The middle of pixel (x, y) of the result lies at (a[0] x + a[1] y + a[2], a[3] x + a[4] y + a[5]) of the image;
// pixels have their middle at halves.
typedef double matrix[6];

// --- nearest ---------------------------------------------------------------------------------------------------------

static inline void copy_pixel(uint8_t *to, const uint8_t *from) {
    to[0] = from[0];
    to[1] = from[1];
    to[2] = from[2];
}

// Axes stay axes: positions along each are summed up, so that the last bits are Pillow's.
static void nearest_scaled(const struct rt_image *im, const matrix a, struct rt_image *out) {
    double sy = a[5] + a[4] * 0.5;
    for (int y = 0; y < out->height; y++, sy += a[4]) {
        if (sy < 0 || sy >= im->height) continue;
        const uint8_t *row = im->rgb + (size_t)sy * (size_t)im->width * 3;
        uint8_t *to = out->rgb + (size_t)y * (size_t)out->width * 3;
        double sx = a[2] + a[0] * 0.5;
        for (int x = 0; x < out->width; x++, sx += a[0], to += 3)
            if (sx >= 0 && sx < im->width) copy_pixel(to, row + (size_t)sx * 3);
    }
}

// In 16.16 fixed point, as Pillow does it for images below 32768 pixels.
static int64_t fixed(double v) { return (int64_t)floor(v * 65536 + 0.5); }

static void nearest_turned(const struct rt_image *im, const matrix a, struct rt_image *out) {
    int64_t dx = fixed(a[0]), dy = fixed(a[3]), down_x = fixed(a[1]), down_y = fixed(a[4]);
    int64_t row_x = fixed(a[2] + a[0] * 0.5 + a[1] * 0.5), row_y = fixed(a[5] + a[3] * 0.5 + a[4] * 0.5);
    const uint64_t w = (uint64_t)im->width, h = (uint64_t)im->height; // what is negative is beyond them, too
    uint8_t *to = out->rgb;
    for (int y = 0; y < out->height; y++, row_x += down_x, row_y += down_y) {
        int64_t sx = row_x, sy = row_y;
        for (int x = 0; x < out->width; x++, sx += dx, sy += dy, to += 3) {
            uint64_t px = (uint64_t)(sx >> 16), py = (uint64_t)(sy >> 16);
            if (px < w && py < h) copy_pixel(to, im->rgb + (py * w + px) * 3);
        }
    }
}

// --- filters ---------------------------------------------------------------------------------------------------------

static int clamp(int v, int most) { return v < 0 ? 0 : v > most ? most : v; }

// Whether a point lies inside, and then the pixel whose middle is left of and above it, and how far it is from there.
struct place {
    int x, y;
    double dx, dy;
};
static inline bool place(const struct rt_image *im, const matrix a, int x, int y, struct place *p) {
    double cx = x + 0.5, cy = y + 0.5;
    double sx = a[0] * cx + a[1] * cy + a[2], sy = a[3] * cx + a[4] * cy + a[5];
    if (!(sx >= 0 && sx < im->width && sy >= 0 && sy < im->height)) return false;
    sx -= 0.5;
    sy -= 0.5;
    p->x = sx < 0 ? -1 : (int)sx;
    p->y = sy < 0 ? -1 : (int)sy;
    p->dx = sx - p->x;
    p->dy = sy - p->y;
    return true;
}

static void bilinear(const struct rt_image *im, const matrix a, struct rt_image *out) {
    size_t stride = (size_t)im->width * 3;
    uint8_t *to = out->rgb;
    for (int y = 0; y < out->height; y++)
        for (int x = 0; x < out->width; x++, to += 3) {
            struct place p;
            if (!place(im, a, x, y, &p)) continue;
            const uint8_t *upper = im->rgb + (size_t)clamp(p.y, im->height - 1) * stride;
            const uint8_t *lower = im->rgb + (size_t)clamp(p.y + 1, im->height - 1) * stride;
            size_t left = (size_t)clamp(p.x, im->width - 1) * 3, right = (size_t)clamp(p.x + 1, im->width - 1) * 3;
            for (size_t c = 0; c < 3; c++) {
                double u = upper[left + c] + (upper[right + c] - upper[left + c]) * p.dx;
                double l = lower[left + c] + (lower[right + c] - lower[left + c]) * p.dx;
                to[c] = (uint8_t)(u + (l - u) * p.dy);
            }
        }
}

static inline double cubic(double v1, double v2, double v3, double v4, double d) {
    double p2 = -v1 + v3, p3 = 2 * (v1 - v2) + v3 - v4, p4 = -v1 + v2 - v3 + v4;
    return v2 + d * (p2 + d * (p3 + d * p4));
}

static void bicubic(const struct rt_image *im, const matrix a, struct rt_image *out) {
    size_t stride = (size_t)im->width * 3;
    uint8_t *to = out->rgb;
    for (int y = 0; y < out->height; y++)
        for (int x = 0; x < out->width; x++, to += 3) {
            struct place p;
            if (!place(im, a, x, y, &p)) continue;
            const uint8_t *row[4];
            size_t at[4];
            for (int k = 0; k < 4; k++) {
                row[k] = im->rgb + (size_t)clamp(p.y + k - 1, im->height - 1) * stride;
                at[k] = (size_t)clamp(p.x + k - 1, im->width - 1) * 3;
            }
            for (size_t c = 0; c < 3; c++) {
                double v[4];
                for (int k = 0; k < 4; k++) {
                    const uint8_t *r = row[k] + c;
                    v[k] = cubic(r[at[0]], r[at[1]], r[at[2]], r[at[3]], p.dx);
                }
                double t = cubic(v[0], v[1], v[2], v[3], p.dy);
                to[c] = (uint8_t)(t <= 0 ? 0 : t >= 255 ? 255 : t);
            }
        }
}

// Image.transform(AFFINE) to an image of the same size.
static bool affine(struct rt_image *im, const matrix a, const struct rt_aug_look *look) {
    const bool black = !(look->fill[0] | look->fill[1] | look->fill[2]);
    size_t n = (size_t)im->width * (size_t)im->height;
    struct rt_image out = {im->width, im->height, calloc(n, 3)};
    if (!out.rgb) return false;
    for (size_t i = 0; !black && i < n; i++) copy_pixel(out.rgb + 3 * i, look->fill);
    if (look->how == RT_BILINEAR)
        bilinear(im, a, &out);
    else if (look->how == RT_BICUBIC)
        bicubic(im, a, &out);
    else if (a[1] == 0 && a[3] == 0)
        nearest_scaled(im, a, &out);
    else
        nearest_turned(im, a, &out);
    free(im->rgb);
    *im = out;
    return true;
}

// --- matrices --------------------------------------------------------------------------------------------------------

#define PI 3.14159265358979323846
// As Python's math.degrees and math.radians round.
static double degrees(double v) { return v * (180.0 / PI); }
static double radians(double v) { return v * (PI / 180.0); }

// torchvision's _get_inverse_affine_matrix with neither rotation nor scale: shears in degrees, then a translation.
static bool sheared(struct rt_image *im, double shear_x, double shear_y, double tx, double ty, double cx, double cy,
                    const struct rt_aug_look *look) {
    double sx = radians(shear_x), sy = radians(shear_y);
    double a = cos(-sy) / cos(sy), b = -cos(-sy) * tan(sx) / cos(sy), c = sin(-sy) / cos(sy),
           d = -sin(-sy) * tan(sx) / cos(sy) + 1;
    matrix m = {d, -b, 0, -c, a, 0};
    m[2] = m[0] * (-cx - tx) + m[1] * (-cy - ty) + cx;
    m[5] = m[3] * (-cx - tx) + m[4] * (-cy - ty) + cy;
    return affine(im, m, look);
}

AUG_OP(aug_shear_x) { return sheared(im, degrees(atan(magnitude)), 0, 0, 0, 0, 0, look); }
AUG_OP(aug_shear_y) { return sheared(im, 0, degrees(atan(magnitude)), 0, 0, 0, 0, look); }
AUG_OP(aug_translate_x) { return sheared(im, 0, 0, trunc(magnitude), 0, im->width * 0.5, im->height * 0.5, look); }
AUG_OP(aug_translate_y) { return sheared(im, 0, 0, 0, trunc(magnitude), im->width * 0.5, im->height * 0.5, look); }

static double to_15_digits(double v) { // Python's round(v, 15)
    char text[40];
    snprintf(text, sizeof text, "%.15f", v);
    return strtod(text, NULL);
}

// Pixel (x, y) becomes pixel (right ? w-1-x : x, ...) of an image of the same size, its axes swapped or not: what is
// turned by whole quarters needs no arithmetic.
static bool quarter(struct rt_image *im, bool swap, bool mirror_x, bool mirror_y) {
    const int w = im->width, h = im->height;
    struct rt_image out = {w, h, malloc((size_t)w * (size_t)h * 3)};
    if (!out.rgb) return false;
    uint8_t *to = out.rgb;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++, to += 3) {
            int sx = swap ? y : x, sy = swap ? x : y;
            if (mirror_x) sx = w - 1 - sx;
            if (mirror_y) sy = h - 1 - sy;
            copy_pixel(to, im->rgb + ((size_t)sy * (size_t)w + (size_t)sx) * 3);
        }
    free(im->rgb);
    *im = out;
    return true;
}

AUG_OP(aug_rotate) {
    double angle = fmod(magnitude, 360);
    if (angle < 0) angle += 360;
    const bool square = im->width == im->height;
    if (angle == 0) return true;
    if (angle == 180) return quarter(im, false, true, true);
    if (angle == 90 && square) return quarter(im, true, true, false);
    if (angle == 270 && square) return quarter(im, true, false, true);
    double t = -radians(angle), cx = im->width / 2.0, cy = im->height / 2.0;
    matrix m = {to_15_digits(cos(t)), to_15_digits(sin(t)), 0, to_15_digits(-sin(t)), to_15_digits(cos(t)), 0};
    double x = m[0] * -cx + m[1] * -cy + m[2], y = m[3] * -cx + m[4] * -cy + m[5];
    m[2] = x + cx;
    m[5] = y + cy;
    return affine(im, m, look);
}
