#include "resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// --- filters (Pillow, src/libImaging/Resample.c) ---------------------------------------------------------------------

static double box(double x) { return x > -0.5 && x <= 0.5 ? 1 : 0; }
static double bilinear(double x) {
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}
static double hamming(double x) {
    x = fabs(x);
    if (x == 0) return 1;
    if (x >= 1) return 0;
    x *= 3.14159265358979323846;
    return sin(x) / x * (0.54 + 0.46 * cos(x));
}
static double bicubic(double x) { // a = -1/2
    x = fabs(x);
    if (x < 1) return ((-0.5 + 2) * x - (-0.5 + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}
static double sinc(double x) { return x == 0 ? 1 : sin(x * 3.14159265358979323846) / (x * 3.14159265358979323846); }
static double lanczos(double x) { return -3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0; }

static const struct {
    double (*f)(double x);
    double support;
} filters[] = {[RT_NEAREST] = {NULL, 0},    [RT_BOX] = {box, 0.5},       [RT_BILINEAR] = {bilinear, 1},
               [RT_HAMMING] = {hamming, 1}, [RT_BICUBIC] = {bicubic, 2}, [RT_LANCZOS] = {lanczos, 3}};
const char *const rt_interpolations[] = {[RT_NEAREST] = "nearest",
                                         [RT_BOX] = "box",
                                         [RT_BILINEAR] = "bilinear",
                                         [RT_HAMMING] = "hamming",
                                         [RT_BICUBIC] = "bicubic",
                                         [RT_LANCZOS] = "lanczos",
                                         NULL};

// --- one axis --------------------------------------------------------------------------------------------------------

enum { BITS = 32 - 8 - 2 }; // of a weight's fraction: sums of 8-bit values stay within 32 bits

// Which pixels make up one of the result, and how much each counts.
struct axis {
    int size, taps; // of the result; weights a row
    int *first, *count;
    int32_t *weights; // [size][taps]
};

static void axis_release(struct axis *a) {
    free(a->first);
    free(a->count);
    free(a->weights);
}

static bool axis_make(struct axis *a, int from, int to, enum rt_interpolation how) {
    double scale = (double)from / to, wide = scale < 1 ? 1 : scale, support = filters[how].support * wide;
    *a = (struct axis){.size = to, .taps = (int)ceil(support) * 2 + 1};
    a->first = calloc((size_t)to, sizeof *a->first);
    a->count = calloc((size_t)to, sizeof *a->count);
    a->weights = calloc((size_t)to * (size_t)a->taps, sizeof *a->weights);
    double *w = calloc((size_t)a->taps, sizeof *w);
    bool ok = a->first && a->count && a->weights && w;
    for (int i = 0; ok && i < to; i++) {
        double center = (i + 0.5) * scale, sum = 0;
        int lo = (int)(center - support + 0.5), hi = (int)(center + support + 0.5);
        if (lo < 0) lo = 0;
        if (hi > from) hi = from;
        for (int k = 0; k < hi - lo; k++) sum += w[k] = filters[how].f((k + lo - center + 0.5) * (1 / wide));
        for (int k = 0; k < hi - lo; k++) {
            double v = (sum != 0 ? w[k] / sum : w[k]) * (1 << BITS);
            a->weights[(size_t)i * (size_t)a->taps + (size_t)k] = (int32_t)(v < 0 ? v - 0.5 : v + 0.5);
        }
        a->first[i] = lo;
        a->count[i] = hi - lo;
    }
    free(w);
    if (!ok) axis_release(a);
    return ok;
}

static uint8_t clip8(int32_t v) {
    v >>= BITS;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void across(const struct axis *a, const uint8_t *row, uint8_t *to) {
    for (int x = 0; x < a->size; x++, to += 3) {
        const int32_t *w = a->weights + (size_t)x * (size_t)a->taps;
        const uint8_t *p = row + (size_t)a->first[x] * 3;
        int32_t r = 1 << (BITS - 1), g = r, b = r;
        for (int k = 0; k < a->count[x]; k++, p += 3) {
            r += p[0] * w[k];
            g += p[1] * w[k];
            b += p[2] * w[k];
        }
        to[0] = clip8(r);
        to[1] = clip8(g);
        to[2] = clip8(b);
    }
}

// Row y of the result, of `n` bytes, from rows that are `stride` apart.
static void down(const struct axis *a, int y, const uint8_t *rows, size_t stride, size_t n, int32_t *sums,
                 uint8_t *to) {
    const int32_t *w = a->weights + (size_t)y * (size_t)a->taps;
    for (size_t i = 0; i < n; i++) sums[i] = 1 << (BITS - 1);
    for (int k = 0; k < a->count[y]; k++) {
        const uint8_t *row = rows + (size_t)(a->first[y] + k) * stride;
        for (size_t i = 0; i < n; i++) sums[i] += row[i] * w[k];
    }
    for (size_t i = 0; i < n; i++) to[i] = clip8(sums[i]);
}

// --- images ----------------------------------------------------------------------------------------------------------

static bool make(struct rt_image *im, int width, int height) {
    im->width = width;
    im->height = height;
    im->rgb = calloc((size_t)width * (size_t)height, 3);
    return im->rgb != NULL;
}

// The nearest pixel of each; positions are summed up, as Pillow does, so that the last bits agree.
static void nearest(const uint8_t *from, size_t stride, const struct rt_box *b, struct rt_image *out) {
    double dx = (double)b->width / out->width, dy = (double)b->height / out->height, y = dy * 0.5;
    uint8_t *to = out->rgb;
    for (int i = 0; i < out->height; i++, y += dy) {
        const uint8_t *row = from + (size_t)y * stride;
        double x = dx * 0.5;
        for (int k = 0; k < out->width; k++, x += dx, to += 3) memcpy(to, row + (size_t)x * 3, 3);
    }
}

// Columns first, or rows first where that leaves less to do: Pillow's rule since its version 13. Each pass rounds to 8
// bits, so the order shows.
static bool down_first(const struct rt_box *b, const struct rt_image *out) {
    return out->height < b->height && 2 * ((int64_t)b->width - out->width) < (int64_t)b->height - out->height;
}

static bool filtered(const uint8_t *from, size_t stride, const struct rt_box *b, enum rt_interpolation how,
                     struct rt_image *out) {
    struct axis h = {0}, v = {0};
    const bool wide = b->width != out->width, tall = b->height != out->height, rows_first = down_first(b, out);
    size_t bytes = (size_t)out->width * 3, sums_of = rows_first ? (size_t)b->width * 3 : bytes;
    uint8_t *between = NULL;
    int32_t *sums = NULL;
    bool ok =
        (!wide || axis_make(&h, b->width, out->width, how)) && (!tall || axis_make(&v, b->height, out->height, how));
    int first = tall && ok ? v.first[0] : 0, end = b->height; // rows that the second pass reads
    if (tall && ok) end = v.first[v.size - 1] + v.count[v.size - 1];
    if (ok && wide && tall)
        ok = (between = malloc(rows_first ? sums_of : bytes * (size_t)(end - first))) != NULL; // one row, or all
    if (ok && tall) ok = (sums = malloc(sums_of * sizeof *sums)) != NULL;
    if (ok && wide && tall && rows_first) {
        for (int y = 0; y < v.size; y++) {
            down(&v, y, from, stride, sums_of, sums, between);
            across(&h, between, out->rgb + (size_t)y * bytes);
        }
    } else if (ok) {
        for (int y = first; wide && y < end; y++)
            across(&h, from + (size_t)y * stride,
                   tall ? between + (size_t)(y - first) * bytes : out->rgb + (size_t)y * bytes);
        const uint8_t *rows = wide ? between : from;
        size_t step = wide ? bytes : stride;
        for (int y = 0; wide && y < v.size; y++) v.first[y] -= first;
        for (int y = 0; y < v.size; y++) down(&v, y, rows, step, bytes, sums, out->rgb + (size_t)y * bytes);
    }
    for (int y = 0; ok && !wide && !tall && y < out->height; y++)
        memcpy(out->rgb + (size_t)y * bytes, from + (size_t)y * stride, bytes);
    free(between);
    free(sums);
    axis_release(&h);
    axis_release(&v);
    return ok;
}

bool rt_resize(const struct rt_image *from, const struct rt_box *box_or_all, int width, int height,
               enum rt_interpolation how, struct rt_image *out) {
    const struct rt_box all = {0, 0, from->width, from->height}, *b = box_or_all ? box_or_all : &all;
    size_t stride = (size_t)from->width * 3;
    const uint8_t *corner = from->rgb + (size_t)b->top * stride + (size_t)b->left * 3;
    *out = (struct rt_image){0};
    bool ok = make(out, width, height);
    if (ok && how == RT_NEAREST)
        nearest(corner, stride, b, out);
    else if (ok)
        ok = filtered(corner, stride, b, how, out);
    if (!ok) rt_image_release(out);
    return ok;
}

void rt_shorter_edge(int width, int height, int size, int *new_width, int *new_height) {
    int shorter = width < height ? width : height, longer = width < height ? height : width;
    int other = (int)((int64_t)size * longer / shorter);
    *new_width = width <= height ? size : other;
    *new_height = width <= height ? other : size;
}

// Half of a difference, rounded as Python rounds: halves to the even side.
static int half(int d) { return d % 2 == 0 ? d / 2 : d / 2 + (d / 2 % 2 != 0 ? (d < 0 ? -1 : 1) : 0); }

bool rt_center_crop(const struct rt_image *from, int width, int height, struct rt_image *out) {
    *out = (struct rt_image){0};
    if (!make(out, width, height)) return false;
    // Padded first where it is smaller: (want - have) / 2 on the left and above, rounded down.
    int pad_x = width > from->width ? (width - from->width) / 2 : 0,
        pad_y = height > from->height ? (height - from->height) / 2 : 0;
    int have_x = width > from->width ? width : from->width, have_y = height > from->height ? height : from->height;
    int left = half(have_x - width) - pad_x, top = half(have_y - height) - pad_y; // in the image as it is
    for (int y = 0; y < height; y++) {
        int sy = y + top;
        if (sy < 0 || sy >= from->height) continue;
        for (int x = 0; x < width; x++) {
            int sx = x + left;
            if (sx >= 0 && sx < from->width)
                memcpy(out->rgb + ((size_t)y * (size_t)width + (size_t)x) * 3,
                       from->rgb + ((size_t)sy * (size_t)from->width + (size_t)sx) * 3, 3);
        }
    }
    return true;
}
