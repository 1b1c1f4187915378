// The order of an epoch's images.
#include "data.h"

#include <stdlib.h>
#include <string.h>

static int64_t image(const struct rt_sampler_job *j, size_t i) { return j->subset ? j->subset[i] : (int64_t)i; }

static bool shuffle(struct rt_sampler_job *j, int64_t *order) {
    for (size_t i = 0; i < j->n; i++) order[i] = image(j, i);
    rt_rng_shuffle(&j->rng, order, j->n);
    return true;
}

static bool repeated(struct rt_sampler_job *j, int64_t *order) {
    enum { REPETITIONS = 3 };
    int64_t *once = malloc((j->n ? j->n : 1) * sizeof *once);
    if (!once) return false;
    shuffle(j, once);
    for (size_t i = 0; i < j->n; i++) order[i] = once[i / REPETITIONS];
    free(once);
    return true;
}

// Images by class: those of class c are member[begin[c]] .. member[begin[c + 1] - 1].
struct by_class {
    size_t classes, *begin;
    int64_t *member;
};

static bool sort_by_class(const struct rt_sampler_job *j, struct by_class *b) {
    size_t classes = 0;
    for (size_t i = 0; i < j->n; i++)
        if ((size_t)j->labels[image(j, i)] >= classes) classes = (size_t)j->labels[image(j, i)] + 1;
    *b = (struct by_class){.classes = classes,
                           .begin = calloc(classes + 2, sizeof *b->begin),
                           .member = malloc((j->n ? j->n : 1) * sizeof *b->member)};
    if (!b->begin || !b->member) return false;
    // Counted two places up, so that filling moves each begin to where it belongs.
    for (size_t i = 0; i < j->n; i++) b->begin[(size_t)j->labels[image(j, i)] + 2]++;
    for (size_t c = 0; c < classes; c++) b->begin[c + 2] += b->begin[c + 1];
    for (size_t i = 0; i < j->n; i++) b->member[b->begin[(size_t)j->labels[image(j, i)] + 1]++] = image(j, i);
    return true;
}

static bool balanced(struct rt_sampler_job *j, int64_t *order) {
    struct by_class b;
    bool ok = sort_by_class(j, &b);
    int64_t *used = ok ? malloc((b.classes ? b.classes : 1) * sizeof *used) : NULL; // classes with images
    ok = ok && used;
    size_t n_used = 0;
    for (size_t c = 0; ok && c < b.classes; c++)
        if (b.begin[c + 1] > b.begin[c]) used[n_used++] = (int64_t)c;
    if (ok) rt_rng_shuffle(&j->rng, used, n_used); // the first of them get one more where n does not come out even
    for (size_t i = 0; ok && i < j->n; i++) {
        const size_t *range = &b.begin[used[i % n_used]];
        order[i] = b.member[range[0] + rt_rng_below(&j->rng, range[1] - range[0])];
    }
    if (ok) rt_rng_shuffle(&j->rng, order, j->n);
    free(used);
    free(b.begin);
    free(b.member);
    return ok;
}

// Places in the sum of all weights, one step apart from a random first one: an image of the weight of k steps is met k
// times, give or take less than one.
static bool weighted(struct rt_sampler_job *j, int64_t *order) {
    double sum = 0;
    size_t last = 0, at = 0;
    if (j->n == 0) return true;
    for (size_t i = 0; i < j->n; i++) {
        const double w = (double)j->weights[image(j, i)];
        sum += w;
        if (w > 0) last = i;
    }
    const double step = sum / (double)j->n, first = rt_rng_uniform(&j->rng) * step;
    double upto = (double)j->weights[image(j, 0)];
    for (size_t i = 0; i < j->n; i++) {
        while (upto <= first + (double)i * step && at < last) upto += (double)j->weights[image(j, ++at)];
        order[i] = image(j, at);
    }
    rt_rng_shuffle(&j->rng, order, j->n);
    return true;
}

bool rt_sampler_partners(struct rt_sampler_job *j, const int64_t *order, int64_t *partner) {
    struct by_class b;
    const bool ok = sort_by_class(j, &b);
    for (size_t i = 0; ok && i < j->n; i++) {
        const int64_t *of = b.member + b.begin[j->labels[order[i]]];
        const size_t count = b.begin[j->labels[order[i]] + 1] - b.begin[j->labels[order[i]]];
        // One of the others: the last stands in for the image itself.
        partner[i] = count > 1 ? of[rt_rng_below(&j->rng, count - 1)] : order[i];
        if (partner[i] == order[i]) partner[i] = of[count - 1];
    }
    free(b.begin);
    free(b.member);
    return ok;
}

bool rt_sampler_cycle(struct rt_sampler_job *j, size_t n, int64_t *order) {
    int64_t *lap = malloc((j->n ? j->n : 1) * sizeof *lap);
    for (size_t at = 0; lap && at < n; at += j->n) {
        shuffle(j, lap);
        memcpy(order + at, lap, (n - at < j->n ? n - at : j->n) * sizeof *lap);
    }
    free(lap);
    return lap != NULL;
}

const struct rt_sampler rt_samplers[] = {
    {"shuffle", false, shuffle},  {"balanced", true, balanced}, {"repeated", true, repeated},
    {"weighted", true, weighted}, {NULL, false, NULL},
};

const struct rt_sampler *rt_sampler_find(const char *name) {
    for (const struct rt_sampler *s = rt_samplers; s->name; s++)
        if (strcmp(s->name, name) == 0) return s;
    return NULL;
}
