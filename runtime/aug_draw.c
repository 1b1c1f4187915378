// What transforms draw (torchvision, transforms/transforms.py).
#include "transforms.h"

#include <math.h>

double rt_draw_between(struct rt_rng *rng, double lo, double hi) { return lo + (hi - lo) * rt_rng_uniform(rng); }

double rt_draw_normal(struct rt_rng *rng) { // Marsaglia's polar method; the second number is not kept
    double x, y, r;
    do {
        x = rt_draw_between(rng, -1, 1);
        y = rt_draw_between(rng, -1, 1);
        r = x * x + y * y;
    } while (r >= 1 || r == 0);
    return x * sqrt(-2 * log(r) / r);
}

// The logarithm of a draw from Gamma(alpha, 1): a small alpha's own would be 0 in double precision.
static double log_gamma_draw(struct rt_rng *rng, double alpha) {
    double more = alpha < 1 ? log(1 - rt_rng_uniform(rng)) / alpha : 0; // Gamma(a) = Gamma(a + 1) * U^(1 / a)
    double d = (alpha < 1 ? alpha + 1 : alpha) - 1 / 3.0, c = 1 / sqrt(9 * d);
    for (;;) {
        double x = rt_draw_normal(rng), v = 1 + c * x;
        if (v <= 0) continue;
        v = v * v * v;
        if (log(1 - rt_rng_uniform(rng)) < 0.5 * x * x + d - d * v + d * log(v)) return log(d * v) + more;
    }
}

double rt_draw_beta(struct rt_rng *rng, double alpha) {
    double a = log_gamma_draw(rng, alpha), b = log_gamma_draw(rng, alpha);
    return 1 / (1 + exp(b - a));
}

// A size of a share of `area` drawn from scale, with a ratio whose logarithm is drawn evenly.
static void draw_size(struct rt_rng *rng, double area, const double scale[2], const double ratio[2], double *longer,
                      double *shorter) {
    double a = area * rt_draw_between(rng, scale[0], scale[1]);
    double r = exp(rt_draw_between(rng, log(ratio[0]), log(ratio[1])));
    *longer = rint(sqrt(a * r));
    *shorter = rint(sqrt(a / r));
}

static int below(struct rt_rng *rng, int n) { return (int)rt_rng_below(rng, (uint64_t)n); }

struct rt_box rt_draw_resized_crop(struct rt_rng *rng, int width, int height) {
    static const double scale[2] = {0.08, 1}, ratio[2] = {3 / 4.0, 4 / 3.0};
    for (int tries = 0; tries < 10; tries++) {
        double w, h;
        draw_size(rng, (double)width * height, scale, ratio, &w, &h);
        if (!(w > 0 && w <= width && h > 0 && h <= height)) continue;
        int top = below(rng, height - (int)h + 1), left = below(rng, width - (int)w + 1);
        return (struct rt_box){left, top, (int)w, (int)h};
    }
    double is = (double)width / height, w = width, h = height;
    if (is < ratio[0]) h = rint(w / ratio[0]);
    if (is > ratio[1]) w = rint(h * ratio[1]);
    return (struct rt_box){(width - (int)w) / 2, (height - (int)h) / 2, (int)w, (int)h};
}

bool rt_draw_erase(struct rt_rng *rng, int width, int height, struct rt_box *out) {
    static const double scale[2] = {0.02, 0.33}, ratio[2] = {0.3, 3.3};
    for (int tries = 0; tries < 10; tries++) {
        double w, h;
        draw_size(rng, (double)width * height, scale, ratio, &h, &w); // here the ratio is that of height to width
        if (!(h < height && w < width)) continue;
        int top = below(rng, height - (int)h + 1), left = below(rng, width - (int)w + 1);
        *out = (struct rt_box){left, top, (int)w, (int)h};
        return true;
    }
    return false;
}

static int inside(int v, int size) { return v < 0 ? 0 : v > size ? size : v; }

struct rt_box rt_draw_cutout(struct rt_rng *rng, int width, int height, int size) {
    int y = below(rng, height), x = below(rng, width), half = size / 2;
    int left = inside(x - half, width), top = inside(y - half, height);
    return (struct rt_box){left, top, inside(x + half, width) - left, inside(y + half, height) - top};
}
