// MixUp and CutMix of a batch (torchvision, transforms/v2/_augment.py).
#include "transforms.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int inside(int v, int size) { return v < 0 ? 0 : v > size ? size : v; }

void rt_mix_box(struct rt_mix *m, double lambda, int center_x, int center_y, int width, int height) {
    double r = 0.5 * sqrt(1 - lambda);
    int half_w = (int)(r * width), half_h = (int)(r * height);
    int left = inside(center_x - half_w, width), top = inside(center_y - half_h, height);
    m->kind = RT_MIX_CUT;
    m->box =
        (struct rt_box){left, top, inside(center_x + half_w, width) - left, inside(center_y + half_h, height) - top};
    m->lambda = 1 - (double)m->box.width * m->box.height / ((double)width * height);
}

void rt_mix_draw(const struct rt_mix_options *o, int width, int height, struct rt_rng *rng, struct rt_mix *out) {
    *out = (struct rt_mix){.kind = RT_MIX_NONE, .lambda = 1};
    bool cut = o->cutmix_alpha > 0;
    if (cut && o->mixup_alpha > 0) cut = rt_rng_below(rng, 2) == 1;
    if (!cut && !(o->mixup_alpha > 0)) return;
    double lambda = rt_draw_beta(rng, cut ? o->cutmix_alpha : o->mixup_alpha);
    if (cut) {
        int x = (int)rt_rng_below(rng, (uint64_t)width), y = (int)rt_rng_below(rng, (uint64_t)height);
        rt_mix_box(out, lambda, x, y, width, height);
    } else {
        out->kind = RT_MIX_UP;
        out->lambda = lambda;
    }
}

void rt_mix_rows(size_t n, int64_t *row) {
    for (size_t i = 0; i < n; i++) row[i] = (int64_t)(i ? i - 1 : n - 1);
}

static void mix_up(double lambda, float *restrict x, const float *restrict other, size_t n) {
    const float own = (float)lambda, rest = (float)(1 - lambda);
    for (size_t i = 0; i < n; i++) x[i] = other[i] * rest + x[i] * own;
}

static void cut_mix(const struct rt_box *b, const struct rt_mix_shape *s, float *x, const float *other) {
    // Runs of floats that lie together: a row of the box in each plane, or with its channels.
    const size_t planes = s->channels_last ? 1 : (size_t)s->channels;
    const size_t pixel = s->channels_last ? (size_t)s->channels : 1;
    for (size_t c = 0; c < planes; c++)
        for (int y = 0; y < b->height; y++) {
            size_t at = ((c * (size_t)s->height + (size_t)(b->top + y)) * (size_t)s->width + (size_t)b->left) * pixel;
            memcpy(x + at, other + at, (size_t)b->width * pixel * sizeof *x);
        }
}

static void mix_one(const struct rt_mix *m, const struct rt_mix_shape *s, float *x, const float *other, size_t floats) {
    if (m->kind == RT_MIX_UP)
        mix_up(m->lambda, x, other, floats);
    else
        cut_mix(&m->box, s, x, other);
}

bool rt_mix_apply(const struct rt_mix *m, const struct rt_mix_shape *s, const int64_t *row, float *x) {
    if (m->kind == RT_MIX_NONE || !s->n) return true;
    const size_t floats = (size_t)s->channels * (size_t)s->height * (size_t)s->width;
    float *first = malloc(floats * sizeof *first);
    bool *done = calloc(s->n, sizeof *done);
    bool ok = first && done;
    // A permutation falls into cycles. Along each, an image is changed before the one whose partner it is, but for the
    // first, of which a copy is kept.
    for (size_t i = 0; ok && i < s->n; i++) {
        if (done[i]) continue;
        memcpy(first, x + i * floats, floats * sizeof *first);
        for (size_t k = i; !done[k]; k = (size_t)row[k]) {
            const size_t other = (size_t)row[k];
            done[k] = true;
            mix_one(m, s, x + k * floats, other == i ? first : x + other * floats, floats);
        }
    }
    free(first);
    free(done);
    return ok;
}
