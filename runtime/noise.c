// Label noise (methods.md 7) that knows labels alone; the kinds that read a matrix or look at images have files of
// their own.
#include "noise.h"

#include <string.h>

// What a label that flips becomes.
static int32_t other(int32_t y, int classes, struct rt_rng *rng) {
    int32_t to = (int32_t)rt_rng_below(rng, (uint64_t)classes - 1);
    return to < y ? to : to + 1; // skips the own class
}

static int32_t any(int32_t y, int classes, struct rt_rng *rng) {
    (void)y;
    return (int32_t)rt_rng_below(rng, (uint64_t)classes);
}

static int32_t next(int32_t y, int classes, struct rt_rng *rng) {
    (void)rng;
    return (y + 1) % classes;
}

// CIFAR-10: truck to automobile, bird to plane, cat and dog to each other, deer to horse. CIFAR-100: the next of the
// five in its block of numbers, which is what the papers' code does (superclasses are other sets of five).
static int32_t similar(int32_t y, int classes, struct rt_rng *rng) {
    (void)rng;
    static const int32_t cifar10[] = {0, 1, 0, 5, 7, 3, 6, 7, 8, 1};
    return classes == 10 ? cifar10[y] : y / 5 * 5 + (y + 1) % 5;
}

static enum smkd_result flip(const struct rt_noise *noise, const struct rt_noise_job *j);
static enum smkd_result flip_similar(const struct rt_noise *noise, const struct rt_noise_job *j);

static const struct rt_noise_kind {
    const char *name;
    bool file; // takes a file, else a rate
    enum smkd_result (*apply)(const struct rt_noise *noise, const struct rt_noise_job *j);
    int32_t (*to)(int32_t y, int classes, struct rt_rng *rng); // of flip
} kinds[] = {
    {"symmetric", false, flip, other},       {"symmetric-inclusive", false, flip, any},
    {"pairflip", false, flip, next},         {"asymmetric", false, flip_similar, similar},
    {"matrix", true, rt_noise_matrix, NULL}, {"instance", false, rt_noise_instance, NULL},
};

enum smkd_result rt_noise_parse(const char *text, struct rt_noise *out) {
    *out = (struct rt_noise){0};
    if (strcmp(text, "none") == 0) return SMKD_R_OK;
    const char *colon = strchr(text, ':');
    for (size_t i = 0; colon && i < sizeof kinds / sizeof *kinds; i++) {
        const struct rt_noise_kind *k = &kinds[i];
        double rate = 0;
        if (strlen(k->name) != (size_t)(colon - text) || memcmp(text, k->name, (size_t)(colon - text)) != 0) continue;
        if (k->file ? !colon[1] : !parse_f64(colon + 1, &rate) || !(rate >= 0 && rate <= 1)) break;
        *out = (struct rt_noise){k, rate, k->file ? colon + 1 : NULL};
        return SMKD_R_OK;
    }
    return rt_fail(SMKD_R_INVALID,
                   "--noise %s: expected none, symmetric:R, symmetric-inclusive:R, pairflip:R, asymmetric:R or "
                   "instance:R with R from 0 to 1, or matrix:FILE",
                   text);
}

static enum smkd_result flip(const struct rt_noise *noise, const struct rt_noise_job *j) {
    struct rt_rng rng;
    rt_rng_init(&rng, j->seed, rt_stream_id(RT_STREAM_NOISE, NOISE_LABELS, 0));
    for (size_t i = 0; i < j->n; i++)
        if (rt_rng_uniform(&rng) < noise->rate) j->labels[i] = noise->kind->to(j->labels[i], j->classes, &rng);
    return SMKD_R_OK;
}

static enum smkd_result flip_similar(const struct rt_noise *noise, const struct rt_noise_job *j) {
    if (j->set->cifar) return flip(noise, j);
    return rt_fail(
        SMKD_R_INVALID,
        "--noise %s: which classes are similar is known of CIFAR-10 and CIFAR-100 (their binary files) only, "
        "not of %s; give --noise matrix:FILE with a row for each class, or pairflip:%g",
        j->text, j->data, noise->rate);
}

int rt_noise_pick(const double *weights, int n, double uniform) {
    double sum = 0, below = 0;
    int last = 0;
    for (int c = 0; c < n; c++) sum += weights[c];
    for (int c = 0; c < n; c++) {
        if (weights[c] <= 0) continue;
        last = c;
        below += weights[c];
        if (uniform * sum < below) break;
    }
    return last;
}

enum smkd_result rt_noise_apply(const struct rt_noise *noise, const struct rt_noise_job *j) {
    if (!noise->kind) return SMKD_R_OK;
    if (j->classes < 2)
        return rt_fail(SMKD_R_INVALID, "--noise %s: all labels of %s are 0; noise needs two classes", j->text, j->data);
    return noise->kind->apply(noise, j);
}

double rt_labels_differ(const int32_t *a, const int32_t *b, size_t n) {
    size_t d = 0;
    for (size_t i = 0; i < n; i++) d += a[i] != b[i];
    return n ? (double)d / (double)n : 0;
}
