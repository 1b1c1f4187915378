// RandAugment, TrivialAugmentWide, AugMix and AutoAugment (torchvision, transforms/autoaugment.py).
#include "transforms.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const rt_policies[] = {"none", "ra", "ta_wide", "augmix", "imagenet", "cifar10", "svhn", NULL};

// --- magnitudes ------------------------------------------------------------------------------------------------------

// An operation and its magnitudes: spread evenly from one to the other, of a side of the image where they are pixels;
// or bits, `from` less up to `to` of them, rounded.
struct space {
    enum rt_aug_id op;
    enum { NONE, EVEN, OF_WIDTH, OF_HEIGHT, BITS } unit;
    double from, to;
    bool sign;
};

#define SAME_EVERYWHERE(most)                                                                                          \
    {RT_AUG_BRIGHTNESS, EVEN, 0, most, true}, {RT_AUG_COLOR, EVEN, 0, most, true},                                     \
        {RT_AUG_CONTRAST, EVEN, 0, most, true}, {                                                                      \
        RT_AUG_SHARPNESS, EVEN, 0, most, true                                                                          \
    }
#define LEVELS(bits, fewer)                                                                                            \
    {RT_AUG_POSTERIZE, BITS, bits, fewer, false}, {RT_AUG_SOLARIZE, EVEN, 255, 0, false},                              \
        {RT_AUG_AUTO_CONTRAST, NONE, 0, 0, false}, {                                                                   \
        RT_AUG_EQUALIZE, NONE, 0, 0, false                                                                             \
    }
#define RAND_AUGMENT                                                                                                   \
    {RT_AUG_SHEAR_X, EVEN, 0, 0.3, true}, {RT_AUG_SHEAR_Y, EVEN, 0, 0.3, true},                                        \
        {RT_AUG_TRANSLATE_X, OF_WIDTH, 0, 150.0 / 331.0, true},                                                        \
        {RT_AUG_TRANSLATE_Y, OF_HEIGHT, 0, 150.0 / 331.0, true}, {RT_AUG_ROTATE, EVEN, 0, 30, true},                   \
        SAME_EVERYWHERE(0.9), LEVELS(8, 4)

// In torchvision's order, which is that of the draws.
static const struct space ra[] = {{RT_AUG_IDENTITY, NONE, 0, 0, false}, RAND_AUGMENT};
static const struct space automatic[] = {RAND_AUGMENT, {RT_AUG_INVERT, NONE, 0, 0, false}};
static const struct space ta_wide[] = {{RT_AUG_IDENTITY, NONE, 0, 0, false},
                                       {RT_AUG_SHEAR_X, EVEN, 0, 0.99, true},
                                       {RT_AUG_SHEAR_Y, EVEN, 0, 0.99, true},
                                       {RT_AUG_TRANSLATE_X, EVEN, 0, 32, true},
                                       {RT_AUG_TRANSLATE_Y, EVEN, 0, 32, true},
                                       {RT_AUG_ROTATE, EVEN, 0, 135, true},
                                       SAME_EVERYWHERE(0.99),
                                       LEVELS(8, 6)};
static const struct space augmix[] = {{RT_AUG_SHEAR_X, EVEN, 0, 0.3, true},
                                      {RT_AUG_SHEAR_Y, EVEN, 0, 0.3, true},
                                      {RT_AUG_TRANSLATE_X, OF_WIDTH, 0, 1 / 3.0, true},
                                      {RT_AUG_TRANSLATE_Y, OF_HEIGHT, 0, 1 / 3.0, true},
                                      {RT_AUG_ROTATE, EVEN, 0, 30, true},
                                      LEVELS(4, 4),
                                      SAME_EVERYWHERE(0.9)};

// torch.linspace: in float32, from both ends, rounded once (its kernels are compiled to fused multiply-adds).
static double linspace(double from, double to, int bins, int i) {
    float a = (float)from, b = (float)to, step = (b - a) / (float)(bins - 1);
    return (double)(i < bins / 2 ? fmaf(step, (float)i, a) : fmaf(-step, (float)(bins - i - 1), b));
}

static double magnitude(const struct space *s, int bins, int i, int width, int height) {
    switch (s->unit) {
    case NONE:
        return 0;
    case EVEN:
        return linspace(s->from, s->to, bins, i);
    case OF_WIDTH:
        return linspace(s->from, s->to * width, bins, i);
    case OF_HEIGHT:
        return linspace(s->from, s->to * height, bins, i);
    case BITS:
        return s->from - (double)rintf((float)i / (float)((bins - 1) / s->to));
    }
    return 0;
}

// --- AutoAugment's tables --------------------------------------------------------------------------------------------

struct step {
    enum rt_aug_id op;
    double p; // how often it is taken
    int bin;  // of its magnitudes
};
static const struct step imagenet[][2] = {
    {{RT_AUG_POSTERIZE, 0.4, 8}, {RT_AUG_ROTATE, 0.6, 9}},  {{RT_AUG_SOLARIZE, 0.6, 5}, {RT_AUG_AUTO_CONTRAST, 0.6, 0}},
    {{RT_AUG_EQUALIZE, 0.8, 0}, {RT_AUG_EQUALIZE, 0.6, 0}}, {{RT_AUG_POSTERIZE, 0.6, 7}, {RT_AUG_POSTERIZE, 0.6, 6}},
    {{RT_AUG_EQUALIZE, 0.4, 0}, {RT_AUG_SOLARIZE, 0.2, 4}}, {{RT_AUG_EQUALIZE, 0.4, 0}, {RT_AUG_ROTATE, 0.8, 8}},
    {{RT_AUG_SOLARIZE, 0.6, 3}, {RT_AUG_EQUALIZE, 0.6, 0}}, {{RT_AUG_POSTERIZE, 0.8, 5}, {RT_AUG_EQUALIZE, 1.0, 0}},
    {{RT_AUG_ROTATE, 0.2, 3}, {RT_AUG_SOLARIZE, 0.6, 8}},   {{RT_AUG_EQUALIZE, 0.6, 0}, {RT_AUG_POSTERIZE, 0.4, 6}},
    {{RT_AUG_ROTATE, 0.8, 8}, {RT_AUG_COLOR, 0.4, 0}},      {{RT_AUG_ROTATE, 0.4, 9}, {RT_AUG_EQUALIZE, 0.6, 0}},
    {{RT_AUG_EQUALIZE, 0.0, 0}, {RT_AUG_EQUALIZE, 0.8, 0}}, {{RT_AUG_INVERT, 0.6, 0}, {RT_AUG_EQUALIZE, 1.0, 0}},
    {{RT_AUG_COLOR, 0.6, 4}, {RT_AUG_CONTRAST, 1.0, 8}},    {{RT_AUG_ROTATE, 0.8, 8}, {RT_AUG_COLOR, 1.0, 2}},
    {{RT_AUG_COLOR, 0.8, 8}, {RT_AUG_SOLARIZE, 0.8, 7}},    {{RT_AUG_SHARPNESS, 0.4, 7}, {RT_AUG_INVERT, 0.6, 0}},
    {{RT_AUG_SHEAR_X, 0.6, 5}, {RT_AUG_EQUALIZE, 1.0, 0}},  {{RT_AUG_COLOR, 0.4, 0}, {RT_AUG_EQUALIZE, 0.6, 0}},
    {{RT_AUG_EQUALIZE, 0.4, 0}, {RT_AUG_SOLARIZE, 0.2, 4}}, {{RT_AUG_SOLARIZE, 0.6, 5}, {RT_AUG_AUTO_CONTRAST, 0.6, 0}},
    {{RT_AUG_INVERT, 0.6, 0}, {RT_AUG_EQUALIZE, 1.0, 0}},   {{RT_AUG_COLOR, 0.6, 4}, {RT_AUG_CONTRAST, 1.0, 8}},
    {{RT_AUG_EQUALIZE, 0.8, 0}, {RT_AUG_EQUALIZE, 0.6, 0}},
};
static const struct step cifar10[][2] = {
    {{RT_AUG_INVERT, 0.1, 0}, {RT_AUG_CONTRAST, 0.2, 6}},
    {{RT_AUG_ROTATE, 0.7, 2}, {RT_AUG_TRANSLATE_X, 0.3, 9}},
    {{RT_AUG_SHARPNESS, 0.8, 1}, {RT_AUG_SHARPNESS, 0.9, 3}},
    {{RT_AUG_SHEAR_Y, 0.5, 8}, {RT_AUG_TRANSLATE_Y, 0.7, 9}},
    {{RT_AUG_AUTO_CONTRAST, 0.5, 0}, {RT_AUG_EQUALIZE, 0.9, 0}},
    {{RT_AUG_SHEAR_Y, 0.2, 7}, {RT_AUG_POSTERIZE, 0.3, 7}},
    {{RT_AUG_COLOR, 0.4, 3}, {RT_AUG_BRIGHTNESS, 0.6, 7}},
    {{RT_AUG_SHARPNESS, 0.3, 9}, {RT_AUG_BRIGHTNESS, 0.7, 9}},
    {{RT_AUG_EQUALIZE, 0.6, 0}, {RT_AUG_EQUALIZE, 0.5, 0}},
    {{RT_AUG_CONTRAST, 0.6, 7}, {RT_AUG_SHARPNESS, 0.6, 5}},
    {{RT_AUG_COLOR, 0.7, 7}, {RT_AUG_TRANSLATE_X, 0.5, 8}},
    {{RT_AUG_EQUALIZE, 0.3, 0}, {RT_AUG_AUTO_CONTRAST, 0.4, 0}},
    {{RT_AUG_TRANSLATE_Y, 0.4, 3}, {RT_AUG_SHARPNESS, 0.2, 6}},
    {{RT_AUG_BRIGHTNESS, 0.9, 6}, {RT_AUG_COLOR, 0.2, 8}},
    {{RT_AUG_SOLARIZE, 0.5, 2}, {RT_AUG_INVERT, 0.0, 0}},
    {{RT_AUG_EQUALIZE, 0.2, 0}, {RT_AUG_AUTO_CONTRAST, 0.6, 0}},
    {{RT_AUG_EQUALIZE, 0.2, 0}, {RT_AUG_EQUALIZE, 0.6, 0}},
    {{RT_AUG_COLOR, 0.9, 9}, {RT_AUG_EQUALIZE, 0.6, 0}},
    {{RT_AUG_AUTO_CONTRAST, 0.8, 0}, {RT_AUG_SOLARIZE, 0.2, 8}},
    {{RT_AUG_BRIGHTNESS, 0.1, 3}, {RT_AUG_COLOR, 0.7, 0}},
    {{RT_AUG_SOLARIZE, 0.4, 5}, {RT_AUG_AUTO_CONTRAST, 0.9, 0}},
    {{RT_AUG_TRANSLATE_Y, 0.9, 9}, {RT_AUG_TRANSLATE_Y, 0.7, 9}},
    {{RT_AUG_AUTO_CONTRAST, 0.9, 0}, {RT_AUG_SOLARIZE, 0.8, 3}},
    {{RT_AUG_EQUALIZE, 0.8, 0}, {RT_AUG_INVERT, 0.1, 0}},
    {{RT_AUG_TRANSLATE_Y, 0.7, 9}, {RT_AUG_AUTO_CONTRAST, 0.9, 0}},
};
static const struct step svhn[][2] = {
    {{RT_AUG_SHEAR_X, 0.9, 4}, {RT_AUG_INVERT, 0.2, 0}},
    {{RT_AUG_SHEAR_Y, 0.9, 8}, {RT_AUG_INVERT, 0.7, 0}},
    {{RT_AUG_EQUALIZE, 0.6, 0}, {RT_AUG_SOLARIZE, 0.6, 6}},
    {{RT_AUG_INVERT, 0.9, 0}, {RT_AUG_EQUALIZE, 0.6, 0}},
    {{RT_AUG_EQUALIZE, 0.6, 0}, {RT_AUG_ROTATE, 0.9, 3}},
    {{RT_AUG_SHEAR_X, 0.9, 4}, {RT_AUG_AUTO_CONTRAST, 0.8, 0}},
    {{RT_AUG_SHEAR_Y, 0.9, 8}, {RT_AUG_INVERT, 0.4, 0}},
    {{RT_AUG_SHEAR_Y, 0.9, 5}, {RT_AUG_SOLARIZE, 0.2, 6}},
    {{RT_AUG_INVERT, 0.9, 0}, {RT_AUG_AUTO_CONTRAST, 0.8, 0}},
    {{RT_AUG_EQUALIZE, 0.6, 0}, {RT_AUG_ROTATE, 0.9, 3}},
    {{RT_AUG_SHEAR_X, 0.9, 4}, {RT_AUG_SOLARIZE, 0.3, 3}},
    {{RT_AUG_SHEAR_Y, 0.8, 8}, {RT_AUG_INVERT, 0.7, 0}},
    {{RT_AUG_EQUALIZE, 0.9, 0}, {RT_AUG_TRANSLATE_Y, 0.6, 6}},
    {{RT_AUG_INVERT, 0.9, 0}, {RT_AUG_EQUALIZE, 0.6, 0}},
    {{RT_AUG_CONTRAST, 0.3, 3}, {RT_AUG_ROTATE, 0.8, 4}},
    {{RT_AUG_INVERT, 0.8, 0}, {RT_AUG_TRANSLATE_Y, 0.0, 2}},
    {{RT_AUG_SHEAR_Y, 0.7, 6}, {RT_AUG_SOLARIZE, 0.4, 8}},
    {{RT_AUG_INVERT, 0.6, 0}, {RT_AUG_ROTATE, 0.8, 4}},
    {{RT_AUG_SHEAR_Y, 0.3, 7}, {RT_AUG_TRANSLATE_X, 0.9, 3}},
    {{RT_AUG_SHEAR_X, 0.1, 6}, {RT_AUG_INVERT, 0.6, 0}},
    {{RT_AUG_SOLARIZE, 0.7, 2}, {RT_AUG_TRANSLATE_Y, 0.6, 7}},
    {{RT_AUG_SHEAR_Y, 0.8, 4}, {RT_AUG_INVERT, 0.8, 0}},
    {{RT_AUG_SHEAR_X, 0.7, 9}, {RT_AUG_TRANSLATE_Y, 0.8, 3}},
    {{RT_AUG_SHEAR_Y, 0.8, 5}, {RT_AUG_AUTO_CONTRAST, 0.7, 0}},
    {{RT_AUG_SHEAR_X, 0.7, 2}, {RT_AUG_INVERT, 0.1, 0}},
};

// --- policies --------------------------------------------------------------------------------------------------------

#define LENGTH(a) (sizeof(a) / sizeof *(a))
enum { PAIRS = 25 };
_Static_assert(LENGTH(imagenet) == PAIRS && LENGTH(cifar10) == PAIRS && LENGTH(svhn) == PAIRS, "AutoAugment's tables");

struct draw {
    enum rt_policy policy;
    int strength;
    const struct rt_aug_look *look;
    struct rt_rng *rng;
};
static bool run_ra(const struct draw *d, struct rt_image *im);
static bool run_ta_wide(const struct draw *d, struct rt_image *im);
static bool run_augmix(const struct draw *d, struct rt_image *im);
static bool run_auto(const struct draw *d, struct rt_image *im);

static const struct {
    const struct space *space;
    size_t n;
    int bins;
    bool (*run)(const struct draw *d, struct rt_image *im);
    const struct step (*pairs)[2];
} policies[] = {
    [RT_RA] = {ra, LENGTH(ra), RT_RA_BINS, run_ra, NULL},
    [RT_TA_WIDE] = {ta_wide, LENGTH(ta_wide), RT_TA_BINS, run_ta_wide, NULL},
    [RT_AUGMIX] = {augmix, LENGTH(augmix), RT_AUGMIX_BINS, run_augmix, NULL},
    [RT_IMAGENET] = {automatic, LENGTH(automatic), RT_AUTO_BINS, run_auto, imagenet},
    [RT_CIFAR10] = {automatic, LENGTH(automatic), RT_AUTO_BINS, run_auto, cifar10},
    [RT_SVHN] = {automatic, LENGTH(automatic), RT_AUTO_BINS, run_auto, svhn},
};

size_t rt_policy_size(enum rt_policy policy) { return policy == RT_POLICY_NONE ? 0 : policies[policy].n; }

struct rt_policy_entry rt_policy_entry(enum rt_policy policy, size_t k, int bin, int width, int height) {
    const struct space *s = &policies[policy].space[k];
    return (struct rt_policy_entry){s->op, magnitude(s, policies[policy].bins, bin, width, height), s->sign};
}

// The k-th operation at a bin; where the magnitude has a sign, `negative` says which.
static bool apply(const struct draw *d, size_t k, int bin, bool negative, struct rt_image *im) {
    struct rt_policy_entry e = rt_policy_entry(d->policy, k, bin, im->width, im->height);
    return rt_aug_ops[e.op].apply(im, e.sign && negative ? -e.magnitude : e.magnitude, d->look);
}

// Any operation, at bin `bin` or, where that is negative, one below `bins`.
static bool apply_any(const struct draw *d, int bin, int bins, struct rt_image *im) {
    size_t k = (size_t)rt_rng_below(d->rng, policies[d->policy].n);
    if (bin < 0) bin = (int)rt_rng_below(d->rng, (uint64_t)bins);
    return apply(d, k, bin, rt_rng_below(d->rng, 2) == 1, im);
}

static bool run_ra(const struct draw *d, struct rt_image *im) {
    return apply_any(d, d->strength, 0, im) && apply_any(d, d->strength, 0, im);
}

static bool run_ta_wide(const struct draw *d, struct rt_image *im) { return apply_any(d, -1, RT_TA_BINS, im); }

static bool run_auto(const struct draw *d, struct rt_image *im) {
    const struct step *pair = policies[d->policy].pairs[rt_rng_below(d->rng, PAIRS)];
    double u[2] = {rt_rng_uniform(d->rng), rt_rng_uniform(d->rng)};
    bool negative[2] = {rt_rng_below(d->rng, 2) == 0, rt_rng_below(d->rng, 2) == 0};
    for (int i = 0; i < 2; i++) {
        if (u[i] > pair[i].p) continue;
        size_t k = 0;
        while (automatic[k].op != pair[i].op) k++;
        if (!apply(d, k, pair[i].bin, negative[i], im)) return false;
    }
    return true;
}

// --- AugMix ----------------------------------------------------------------------------------------------------------

void rt_augmix_mix(struct rt_image *im, const struct rt_image chains[RT_AUGMIX_CHAINS],
                   const float w[RT_AUGMIX_CHAINS + 1]) {
    size_t n = (size_t)im->width * (size_t)im->height * 3;
    uint8_t *restrict to = im->rgb;
    const uint8_t *restrict a = chains[0].rgb, *restrict b = chains[1].rgb, *restrict c = chains[2].rgb;
    for (size_t i = 0; i < n; i++) {
        float v = w[0] * (float)to[i] + w[1] * (float)a[i] + w[2] * (float)b[i] + w[3] * (float)c[i];
        to[i] = (uint8_t)(v > 255 ? 255 : v); // weights add up to 1 but for rounding
    }
}

// Weights drawn from a Dirichlet distribution with all parameters 1.
static void flat_dirichlet(struct rt_rng *rng, int n, double *w) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += w[i] = -log(1 - rt_rng_uniform(rng));
    for (int i = 0; i < n; i++) w[i] = sum > 0 ? w[i] / sum : 1.0 / n;
}

static bool run_augmix(const struct draw *d, struct rt_image *im) {
    double own[2], of[RT_AUGMIX_CHAINS];
    float w[RT_AUGMIX_CHAINS + 1];
    struct rt_image chains[RT_AUGMIX_CHAINS] = {0};
    size_t bytes = (size_t)im->width * (size_t)im->height * 3;
    bool ok = true;
    flat_dirichlet(d->rng, 2, own);
    flat_dirichlet(d->rng, RT_AUGMIX_CHAINS, of);
    w[0] = (float)own[0];
    for (int k = 0; ok && k < RT_AUGMIX_CHAINS; k++) {
        struct rt_image *chain = &chains[k];
        w[k + 1] = (float)(own[1] * of[k]);
        *chain = (struct rt_image){im->width, im->height, malloc(bytes)};
        if (!(ok = chain->rgb != NULL)) break;
        memcpy(chain->rgb, im->rgb, bytes);
        for (int left = 1 + (int)rt_rng_below(d->rng, 3); ok && left > 0; left--)
            ok = apply_any(d, -1, d->strength, chain);
    }
    if (ok) rt_augmix_mix(im, chains, w);
    for (int k = 0; k < RT_AUGMIX_CHAINS; k++) rt_image_release(&chains[k]);
    return ok;
}

bool rt_policy_apply(enum rt_policy policy, int strength, const struct rt_aug_look *look, struct rt_rng *rng,
                     struct rt_image *im) {
    const struct draw d = {policy, strength, look, rng};
    return policy == RT_POLICY_NONE || policies[policy].run(&d, im);
}

// --- ColorJitter -----------------------------------------------------------------------------------------------------

bool rt_jitter_apply(const struct rt_jitter *j, struct rt_rng *rng, struct rt_image *im) {
    static const struct rt_aug_look none = {0};
    static const enum rt_aug_id ops[4] = {RT_AUG_BRIGHTNESS, RT_AUG_CONTRAST, RT_AUG_COLOR, RT_AUG_HUE};
    const double most[4] = {j->brightness, j->contrast, j->saturation, j->hue};
    int64_t order[4] = {0, 1, 2, 3};
    double by[4];
    rt_rng_shuffle(rng, order, 4);
    for (int i = 0; i < 4; i++) by[i] = rt_draw_between(rng, i < 3 && most[i] > 1 ? -1 : -most[i], most[i]);
    bool ok = true;
    for (int i = 0; ok && i < 4; i++) {
        int64_t k = order[i];
        if (most[k] > 0) ok = rt_aug_ops[ops[k]].apply(im, by[k], &none);
    }
    return ok;
}
