// Noise that depends on the image (Xia et al. 2020, as in the code of CDR and PES; methods.md 7.4). For image i of
// class y with features x, the image as a network sees it in evaluation, flattened and standardised,
//
//   q ~ N(R, 0.1^2) cut to [0, 1]       W_y ~ N(0, 1), [features][classes], one for each class
//   s = x^T W_y                         the label flips with probability q, to c != y with probability softmax(s)_c
//
// W has classes * features * classes numbers, which would not fit for photographs: images are taken class by class, so
// that one W_y is needed at a time, and where that is large, too, it is drawn anew for every batch. Each number is
// keyed by seed, class, feature and column. Columns are shared out in blocks; a sum over features has one order, so
// threads change nothing.
#include "noise.h"
#include "rt_internal.h"
#include "transforms.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 8, TILE = 64, MOST_ROWS = 512, BATCH_BYTES = 64 << 20, STORED_BYTES = 256 << 20 };
#define SPREAD 0.1 // deviation of q
#define PI     3.14159265358979323846

// Rows of one class times their W_y.
struct projection {
    uint64_t seed;
    size_t features, blocks; // of columns
    int32_t y;
    const float *x; // [rows][features]
    size_t rows;
    double *s;     // [rows][blocks * COLUMNS]
    float *stored; // W_y, [blocks][features][COLUMNS]; NULL: it is drawn where it is needed
};

// n rows of a block of W_y from feature `first` on; pairs of columns by Box and Muller.
static void draw(const struct projection *p, size_t block, size_t first, size_t n, float *w) {
    for (size_t f = first; f < first + n; f++) {
        struct rt_rng rng;
        rt_rng_init(&rng, p->seed, rt_stream_id(RT_STREAM_NOISE, NOISE_WEIGHTS + (uint64_t)p->y, f));
        rng.counter = block * COLUMNS / 2;
        for (int c = 0; c < COLUMNS; c += 2) {
            const double r = sqrt(-2 * log(1 - rt_rng_uniform(&rng))), angle = 2 * PI * rt_rng_uniform(&rng);
            *w++ = (float)(r * cos(angle));
            *w++ = (float)(r * sin(angle));
        }
    }
}

static void store(void *env, size_t block) {
    const struct projection *p = env;
    draw(p, block, 0, p->features, p->stored + block * p->features * COLUMNS);
}

static void project(void *env, size_t block) {
    const struct projection *p = env;
    const size_t width = p->blocks * COLUMNS;
    for (size_t r = 0; r < p->rows; r++)
        for (int c = 0; c < COLUMNS; c++) p->s[r * width + block * COLUMNS + (size_t)c] = 0;
    for (size_t first = 0; first < p->features; first += TILE) {
        const size_t n = p->features - first < TILE ? p->features - first : TILE;
        float drawn[TILE * COLUMNS];
        const float *w = drawn;
        if (p->stored)
            w = p->stored + (block * p->features + first) * COLUMNS;
        else
            draw(p, block, first, n, drawn);
        for (size_t r = 0; r < p->rows; r++) {
            double *s = p->s + r * width + block * COLUMNS;
            const float *x = p->x + r * p->features + first;
            for (size_t f = 0; f < n; f++)
                for (int c = 0; c < COLUMNS; c++) s[c] += (double)x[f] * (double)w[f * COLUMNS + (size_t)c];
        }
    }
}

// The label of an image of class y, whose scores become weights.
static int32_t draw_label(double rate, int32_t y, int classes, double *s, struct rt_rng *rng) {
    double q, most = -INFINITY;
    do q = rate + SPREAD * rt_draw_normal(rng);
    while (!(q >= 0 && q <= 1));
    if (!(rt_rng_uniform(rng) < q)) return y;
    for (int c = 0; c < classes; c++)
        if (c != y && s[c] > most) most = s[c];
    for (int c = 0; c < classes; c++) s[c] = c == y ? 0 : exp(s[c] - most);
    return rt_noise_pick(s, classes, rt_rng_uniform(rng));
}

// Images by class, in each in their order.
static int64_t *by_class(const struct rt_noise_job *j) {
    size_t *at = xcalloc((size_t)j->classes + 1, sizeof *at);
    int64_t *order = xcalloc(j->n, sizeof *order);
    for (size_t i = 0; i < j->n; i++) at[j->labels[i] + 1]++;
    for (int c = 0; c < j->classes; c++) at[c + 1] += at[c];
    for (size_t i = 0; i < j->n; i++) order[at[j->labels[i]]++] = (int64_t)i;
    free(at);
    return order;
}

// Goes through the images; `out` has the labels, which it changes.
static enum smkd_result run(const struct rt_noise *noise, const struct rt_noise_job *j, struct projection *p,
                            struct rt_loader *l, smkd_team *team, int32_t *out) {
    struct rt_batch b;
    p->y = -1;
    rt_loader_begin(l, 0);
    while (rt_loader_next(l, &b))
        for (size_t first = 0, end; first < b.n; first = end) {
            const int32_t y = (int32_t)b.labels[first];
            for (end = first; end < b.n && b.labels[end] == y;) end++;
            const bool fresh = y != p->y;
            p->y = y;
            p->x = b.images + first * p->features;
            p->rows = end - first;
            if (fresh && p->stored) rt_team_each(team, p->blocks, store, p);
            rt_team_each(team, p->blocks, project, p);
            for (size_t r = 0; r < p->rows; r++) {
                const int64_t i = b.index[first + r];
                struct rt_rng rng;
                rt_rng_init(&rng, j->seed, rt_stream_id(RT_STREAM_NOISE, NOISE_IMAGES, (uint64_t)i));
                out[i] = draw_label(noise->rate, y, j->classes, p->s + r * p->blocks * COLUMNS, &rng);
            }
        }
    return rt_loader_result(l);
}

enum smkd_result rt_noise_instance(const struct rt_noise *noise, const struct rt_noise_job *j) {
    // As the network sees images in evaluation, but in one order of the numbers, whatever the network's.
    struct rt_transform t = *j->transform;
    struct rt_pipeline pipeline;
    t.flags = 0;
    t.channels_last = false;
    if (t.pipeline) {
        pipeline = *t.pipeline;
        pipeline.o.channels_last = false;
        t.pipeline = &pipeline;
    }
    struct projection p = {.seed = j->seed,
                           .features = (size_t)t.channels * (size_t)t.height * (size_t)t.width,
                           .blocks = ((size_t)j->classes + COLUMNS - 1) / COLUMNS};
    const uint64_t bytes = (uint64_t)p.blocks * COLUMNS * p.features * sizeof(float);
    const size_t row_bytes = p.features * sizeof(float) + p.blocks * COLUMNS * sizeof(double);
    const size_t most = BATCH_BYTES / row_bytes, rows = most < 1 ? 1 : most > MOST_ROWS ? MOST_ROWS : most;
    doing("drawing labels that depend on the images of %s", j->data);
    int64_t *order = by_class(j);
    int32_t *out = xcalloc(j->n, sizeof *out);
    memcpy(out, j->labels, j->n * sizeof *out);
    p.s = xcalloc(rows * p.blocks * COLUMNS, sizeof *p.s);
    if (bytes <= STORED_BYTES && budget_allows(bytes)) p.stored = xcalloc(1, bytes);
    const struct rt_loader_config lc = {.images = &j->set->train,
                                        .labels = j->labels,
                                        .subset = order,
                                        .n = j->n,
                                        .transform = &t,
                                        .batch = rows,
                                        .workers = j->workers,
                                        .ahead = 1,
                                        .strict = j->strict};
    smkd_team *team = smkd_team_new(j->threads);
    struct rt_loader *l = team ? rt_loader_new(&lc) : NULL;
    enum smkd_result r = l ? run(noise, j, &p, l, team, out) : SMKD_R_NOMEM;
    if (r == SMKD_R_OK) memcpy(j->labels, out, j->n * sizeof *out);
    rt_loader_free(l);
    smkd_team_free(team);
    free(p.stored);
    free(p.s);
    free(out);
    free(order);
    return r;
}
