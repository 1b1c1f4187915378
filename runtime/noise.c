// Synthetic label noise (methods.md 7): each label flips independently with the given probability.
#include "data.h"

#include <string.h>

static const struct {
    const char *name;
    enum rt_noise_kind kind;
} kinds[] = {
    {"symmetric", RT_NOISE_SYMMETRIC},
    {"symmetric-inclusive", RT_NOISE_SYMMETRIC_INCLUSIVE},
    {"pairflip", RT_NOISE_PAIRFLIP},
};

enum smkd_result rt_noise_parse(const char *text, struct rt_noise *out) {
    *out = (struct rt_noise){RT_NOISE_NONE, 0};
    if (strcmp(text, "none") == 0) return SMKD_R_OK;
    const char *colon = strchr(text, ':');
    for (size_t i = 0; colon && i < sizeof kinds / sizeof *kinds; i++) {
        double rate;
        if (strlen(kinds[i].name) != (size_t)(colon - text) || memcmp(text, kinds[i].name, (size_t)(colon - text)) != 0)
            continue;
        if (!parse_f64(colon + 1, &rate) || !(rate >= 0 && rate <= 1)) break;
        *out = (struct rt_noise){kinds[i].kind, rate};
        return SMKD_R_OK;
    }
    return rt_fail(SMKD_R_INVALID,
                   "--noise %s: expected none, symmetric:R, symmetric-inclusive:R or pairflip:R with R "
                   "from 0 to 1",
                   text);
}

void rt_noise_apply(const struct rt_noise *noise, uint64_t seed, int classes, int32_t *labels, size_t n) {
    if (noise->kind == RT_NOISE_NONE || classes < 2) return;
    struct rt_rng rng;
    rt_rng_init(&rng, seed, rt_stream_id(RT_STREAM_NOISE, 0, 0));
    for (size_t i = 0; i < n; i++) {
        bool flip = rt_rng_uniform(&rng) < noise->rate;
        if (!flip) continue;
        int32_t y = labels[i];
        if (noise->kind == RT_NOISE_PAIRFLIP) {
            y = (y + 1) % classes;
        } else if (noise->kind == RT_NOISE_SYMMETRIC) {
            int32_t other = (int32_t)rt_rng_below(&rng, (uint64_t)classes - 1);
            y = other < y ? other : other + 1; // skips the own class
        } else {
            y = (int32_t)rt_rng_below(&rng, (uint64_t)classes);
        }
        labels[i] = y;
    }
}

double rt_labels_differ(const int32_t *a, const int32_t *b, size_t n) {
    size_t d = 0;
    for (size_t i = 0; i < n; i++) d += a[i] != b[i];
    return n ? (double)d / (double)n : 0;
}
