#include "resize.h"

#include "resize_rows.h"

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

static void axis_release(struct resize_axis *a) {
    free(a->first);
    free(a->pairs);
    free(a->weights);
    *a = (struct resize_axis){0}; // a second time does nothing
}

static int32_t in_bits(double weight) {
    double v = weight * (1 << RESIZE_BITS);
    return (int32_t)(v < 0 ? v - 0.5 : v + 0.5);
}

// The weights w of `count` pixels from `lo` on, in pairs; an odd one's neighbour counts nothing.
static void set_result(struct resize_axis *a, int i, int lo, int count, const double *w) {
    int32_t *to = a->weights + (size_t)i * (size_t)a->stride * 2;
    a->first[i] = lo;
    a->pairs[i] = (count + 1) / 2;
    for (int k = 0; k < count; k += 2, to += 2)
        resize_set_pair(to, in_bits(w[k]), k + 1 < count ? in_bits(w[k + 1]) : 0);
}

// Results [skip, skip + size) of the `to` results that the stretch [begin, begin + length) of `from` pixels becomes.
static bool axis_make(struct resize_axis *a, int from, double begin, double length, int to, int skip, int size,
                      enum rt_interpolation how) {
    double scale = length / to, wide = scale < 1 ? 1 : scale, support = filters[how].support * wide;
    const size_t taps = (size_t)ceil(support) * 2 + 1;
    *a = (struct resize_axis){.size = size, .stride = (int)(taps + 1) / 2};
    a->first = calloc((size_t)size, sizeof *a->first);
    a->pairs = calloc((size_t)size, sizeof *a->pairs);
    a->weights = calloc((size_t)size * (size_t)a->stride * 2, sizeof *a->weights);
    double *w = calloc(taps, sizeof *w);
    bool ok = a->first && a->pairs && a->weights && w;
    for (int i = 0; ok && i < size; i++) {
        double center = begin + (i + skip + 0.5) * scale, sum = 0;
        int lo = (int)(center - support + 0.5), hi = (int)(center + support + 0.5);
        if (lo < 0) lo = 0;
        if (hi > from) hi = from;
        for (int k = 0; k < hi - lo; k++) sum += w[k] = filters[how].f((k + lo - center + 0.5) * (1 / wide));
        for (int k = 0; sum != 0 && k < hi - lo; k++) w[k] /= sum;
        set_result(a, i, lo, hi - lo, w);
    }
    free(w);
    if (!ok) axis_release(a);
    return ok;
}

// --- images ----------------------------------------------------------------------------------------------------------

static bool make(struct rt_image *im, int width, int height) {
    im->width = width;
    im->height = height;
    im->rgb = calloc((size_t)width * (size_t)height, 3);
    return im->rgb != NULL;
}

// What a part of an image becomes, and which part of that is asked for. `part` lies in the box, from its corner on.
struct job {
    const struct rt_box *box;
    struct rt_area part;
    int width, height;
    const struct rt_box *window;
    enum rt_interpolation how;
};

// The nearest pixel of each; positions are summed up, as Pillow does, so that the last bits agree.
static void nearest(const uint8_t *from, size_t stride, const struct job *j, struct rt_image *out) {
    double dx = j->part.width / j->width, dy = j->part.height / j->height;
    double y = j->part.top + dy * 0.5, x0 = j->part.left + dx * 0.5;
    uint8_t *to = out->rgb;
    for (int i = 0; i < j->window->top; i++) y += dy;
    for (int i = 0; i < j->window->left; i++) x0 += dx;
    for (int i = 0; i < out->height; i++, y += dy) {
        const uint8_t *row = from + (size_t)y * stride;
        double x = x0;
        for (int k = 0; k < out->width; k++, x += dx, to += 3) memcpy(to, row + (size_t)x * 3, 3);
    }
}

// Columns first, or rows first where that leaves less to do: Pillow's rule since its version 13. Each pass rounds to 8
// bits, so the order shows.
static bool down_first(const struct job *j) {
    const struct rt_box *b = j->box;
    return j->height < b->height && 2 * ((int64_t)b->width - j->width) < (int64_t)b->height - j->height;
}

static bool filtered(const uint8_t *from, size_t stride, const struct job *j, struct rt_image *out) {
    struct resize_axis h = {0}, v = {0};
    const struct rt_box *b = j->box, *win = j->window;
    const struct rt_area *p = &j->part;
    const bool wide = p->width != j->width || p->left != 0, tall = p->height != j->height || p->top != 0;
    const bool rows_first = down_first(j);
    if (!wide) from += (size_t)win->left * 3;
    if (!tall) from += (size_t)win->top * stride;
    const size_t bytes = (size_t)out->width * 3, whole = (size_t)b->width * 3;
    uint8_t *between = NULL, *row = NULL;
    bool ok = (!wide || axis_make(&h, b->width, p->left, p->width, j->width, win->left, out->width, j->how)) &&
              (!tall || axis_make(&v, b->height, p->top, p->height, j->height, win->top, out->height, j->how));
    int first = tall && ok ? v.first[0] : 0, end = tall ? b->height : out->height; // rows that the second pass reads
    if (tall && ok) end = v.first[v.size - 1] + 2 * v.pairs[v.size - 1];
    if (tall && end > b->height) end = b->height;
    // A row with a pixel behind it, which the last pair of a row may touch.
    if (ok && wide) ok = (row = calloc(whole + 3, 1)) != NULL;
    if (ok && wide && tall && !rows_first) ok = (between = malloc(bytes * (size_t)(end - first))) != NULL;
    if (ok && wide && tall && rows_first) {
        for (int y = 0; y < v.size; y++) {
            resize_down(&v, y, from, stride, b->height - 1, whole, row);
            resize_across(&h, row, out->rgb + (size_t)y * bytes);
        }
    } else if (ok) {
        for (int y = first; wide && y < end; y++) {
            const uint8_t *is = from + (size_t)y * stride;
            if (y + 1 == end) is = memcpy(row, is, whole); // nothing need follow it in memory
            resize_across(&h, is, tall ? between + (size_t)(y - first) * bytes : out->rgb + (size_t)y * bytes);
        }
        const uint8_t *rows = wide ? between : from;
        for (int y = 0; wide && y < v.size; y++) v.first[y] -= first;
        for (int y = 0; y < v.size; y++)
            resize_down(&v, y, rows, wide ? bytes : stride, end - 1 - (wide ? first : 0), bytes,
                        out->rgb + (size_t)y * bytes);
    }
    for (int y = 0; ok && !wide && !tall && y < out->height; y++)
        memcpy(out->rgb + (size_t)y * bytes, from + (size_t)y * stride, bytes);
    free(between);
    free(row);
    axis_release(&h);
    axis_release(&v);
    return ok;
}

static bool resize(const struct rt_image *from, const struct job *j, struct rt_image *out) {
    size_t stride = (size_t)from->width * 3;
    const uint8_t *corner = from->rgb + (size_t)j->box->top * stride + (size_t)j->box->left * 3;
    *out = (struct rt_image){0};
    bool ok = make(out, j->window->width, j->window->height);
    if (ok && j->how == RT_NEAREST)
        nearest(corner, stride, j, out);
    else if (ok)
        ok = filtered(corner, stride, j, out);
    if (!ok) rt_image_release(out);
    return ok;
}

bool rt_resize_window(const struct rt_image *from, const struct rt_box *box_or_all, int width, int height,
                      enum rt_interpolation how, const struct rt_box *window, struct rt_image *out) {
    const struct rt_box all = {0, 0, from->width, from->height}, *b = box_or_all ? box_or_all : &all;
    const struct job j = {b, {0, 0, b->width, b->height}, width, height, window, how};
    return resize(from, &j, out);
}

bool rt_resize_part(const struct rt_image *from, const struct rt_area *part, int width, int height,
                    enum rt_interpolation how, struct rt_image *out) {
    const int left = (int)part->left, top = (int)part->top;
    const int right = (int)ceil(part->left + part->width), bottom = (int)ceil(part->top + part->height);
    const struct rt_box window = {0, 0, width, height},
                        box = {left, top, (right < from->width ? right : from->width) - left,
                               (bottom < from->height ? bottom : from->height) - top};
    const struct job j = {&box, {part->left - left, part->top - top, part->width, part->height}, width, height, &window,
                          how};
    return resize(from, &j, out);
}

bool rt_resize(const struct rt_image *from, const struct rt_box *box_or_all, int width, int height,
               enum rt_interpolation how, struct rt_image *out) {
    const struct rt_box window = {0, 0, width, height};
    return rt_resize_window(from, box_or_all, width, height, how, &window, out);
}

void rt_shorter_edge(int width, int height, int size, int *new_width, int *new_height) {
    int shorter = width < height ? width : height, longer = width < height ? height : width;
    int other = (int)((int64_t)size * longer / shorter);
    *new_width = width <= height ? size : other;
    *new_height = width <= height ? other : size;
}

// Half of a difference, rounded as Python rounds: halves to the even side.
static int half(int d) { return d % 2 == 0 ? d / 2 : d / 2 + (d / 2 % 2 != 0 ? (d < 0 ? -1 : 1) : 0); }

int rt_center_start(int have, int want) {
    return have < want ? -((want - have) / 2) : half(have - want); // what is too small is padded first
}

bool rt_center_crop(const struct rt_image *from, int width, int height, struct rt_image *out) {
    *out = (struct rt_image){0};
    if (!make(out, width, height)) return false;
    int left = rt_center_start(from->width, width), top = rt_center_start(from->height, height);
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
