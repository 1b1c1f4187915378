// The transforms of the runtime, for test_transforms.py. Lines on stdin; numbers stand before the path:
//     op NAME HOW MAGNITUDE PATH               an operation on an image file
//     flip PATH    window LEFT TOP WIDTH HEIGHT MODE PATH
//     augmix W0 W1 W2 W3 PATH                  of the image, and of it inverted, solarized at 128, with 2 bits
//     mix LAMBDA N C H W LAST PATH             of a file of floats;  cut LAMBDA X Y N C H W LAST PATH
//     run SEED FULL_WIDTH FULL_HEIGHT OPTION=VALUE ... PATH    the pipeline (SEED -1: evaluation; FULL 0: the image's
//     own) least SEED WIDTH HEIGHT OPTION=VALUE ... /               the size that suffices space POLICY WIDTH HEIGHT /
//     a line for each operation: name, sign, magnitudes draw KIND SEED COUNT A B C /             resized, erase,
//     cutout: boxes; beta, normal: numbers
// For each, a line on stdout: "ok BYTES A B", after which come the bytes, or "error MESSAGE".
#include "../../runtime/transforms.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void answer(const void *bytes, size_t n, double a, double b) {
    printf("ok %zu %.17g %.17g\n", n, a, b);
    fwrite(bytes, 1, n, stdout);
}
static void fail(const char *why) { printf("error %s\n", why); }

static int word(const char *const *words, const char *text) {
    for (int i = 0; words[i]; i++)
        if (strcmp(words[i], text) == 0) return i;
    return -1;
}

static void change(const char *line, const char *path) {
    struct rt_image im, out = {0};
    const struct rt_image_options o = {0};
    char name[32], how[32];
    double m;
    int l, t, w, h;
    float k[4];
    bool ok = false;
    if (rt_image_read(path, &o, &im) != SMKD_R_OK) {
        fail(smkd_last_error());
        return;
    }
    if (sscanf(line, "op %31s %31s %lf", name, how, &m) == 3) {
        struct rt_aug_look look = {.how = (enum rt_interpolation)word(rt_interpolations, how)};
        for (int i = 0; i < RT_AUG_COUNT; i++)
            if (strcmp(rt_aug_ops[i].name, name) == 0) ok = rt_aug_ops[i].apply(&im, m, &look);
    } else if (sscanf(line, "window %d %d %d %d %31s", &l, &t, &w, &h, name) == 5) {
        ok = rt_window(&im, l, t, w, h, (enum rt_pad_mode)word(rt_pad_modes, name), &out);
    } else if (sscanf(line, "augmix %f %f %f %f", &k[0], &k[1], &k[2], &k[3]) == 4) {
        static const struct rt_aug_look look = {0};
        static const enum rt_aug_id ids[RT_AUGMIX_CHAINS] = {RT_AUG_INVERT, RT_AUG_SOLARIZE, RT_AUG_POSTERIZE};
        static const double by[RT_AUGMIX_CHAINS] = {0, 128, 2};
        struct rt_image chains[RT_AUGMIX_CHAINS];
        for (int i = 0; i < RT_AUGMIX_CHAINS; i++) {
            ok = rt_image_read(path, &o, &chains[i]) == SMKD_R_OK && rt_aug_ops[ids[i]].apply(&chains[i], by[i], &look);
            if (!ok) exit(2);
        }
        rt_augmix_mix(&im, chains, k);
        for (int i = 0; i < RT_AUGMIX_CHAINS; i++) rt_image_release(&chains[i]);
    } else if (strncmp(line, "flip", 4) == 0) {
        rt_flip(&im);
        ok = true;
    }
    const struct rt_image *is = out.rgb ? &out : &im;
    if (ok)
        answer(is->rgb, (size_t)is->width * (size_t)is->height * 3, is->width, is->height);
    else
        fail("no such operation");
    rt_image_release(&im);
    rt_image_release(&out);
}

static void mix(const char *line, const char *path) {
    struct rt_mix_shape s = {0};
    struct rt_mix m = {.kind = RT_MIX_UP};
    double lambda;
    int x, y, last;
    if (sscanf(line, "cut %lf %d %d %zu %d %d %d %d", &lambda, &x, &y, &s.n, &s.channels, &s.height, &s.width, &last) ==
        8)
        rt_mix_box(&m, lambda, x, y, s.width, s.height);
    else if (sscanf(line, "mix %lf %zu %d %d %d %d", &lambda, &s.n, &s.channels, &s.height, &s.width, &last) == 6)
        m.lambda = lambda;
    else
        exit(2);
    s.channels_last = last;
    size_t n = s.n * (size_t)s.channels * (size_t)s.height * (size_t)s.width;
    float *v = calloc(n, sizeof *v);
    int64_t *row = calloc(s.n, sizeof *row);
    FILE *f = fopen(path, "rb");
    if (!v || !row || !f || fread(v, sizeof *v, n, f) != n) exit(2);
    fclose(f);
    rt_mix_rows(s.n, row);
    if (rt_mix_apply(&m, &s, row, v))
        answer(v, n * sizeof *v, m.lambda, 0);
    else
        fail("out of memory");
    free(v);
    free(row);
}

// OPTION=VALUE words up to the path.
static struct rt_transform_options options(const char *line) {
    struct rt_transform_options o = {
        .channels = 3, .height = 32, .width = 32, .how = RT_BILINEAR, .crop = RT_CROP_CENTER};
    for (int c = 0; c < RT_MAX_CHANNELS; c++) {
        o.mean[c] = 0.4f + 0.05f * (float)c;
        o.std[c] = 0.2f + 0.03f * (float)c;
    }
    for (const char *at = strchr(line, '='); at; at = strchr(at + 1, '=')) {
        const char *from = at;
        char name[32], value[32];
        while (from > line && from[-1] != ' ') from--;
        if (sscanf(from, "%31[^=]=%31s", name, value) != 2) exit(2);
        double v = atof(value);
        if (strcmp(name, "channels") == 0)
            o.channels = (int)v;
        else if (strcmp(name, "height") == 0)
            o.height = (int)v;
        else if (strcmp(name, "width") == 0)
            o.width = (int)v;
        else if (strcmp(name, "last") == 0)
            o.channels_last = v != 0;
        else if (strcmp(name, "crop") == 0)
            o.crop = (enum rt_crop)word(rt_crops, value);
        else if (strcmp(name, "train_resize") == 0)
            o.train_resize = (int)v;
        else if (strcmp(name, "val_resize") == 0)
            o.val_resize = (int)v;
        else if (strcmp(name, "how") == 0)
            o.how = (enum rt_interpolation)word(rt_interpolations, value);
        else if (strcmp(name, "pad") == 0)
            o.pad = (int)v;
        else if (strcmp(name, "pad_mode") == 0)
            o.pad_mode = (enum rt_pad_mode)word(rt_pad_modes, value);
        else if (strcmp(name, "hflip") == 0)
            o.hflip = v;
        else if (strcmp(name, "brightness") == 0)
            o.jitter.brightness = v;
        else if (strcmp(name, "contrast") == 0)
            o.jitter.contrast = v;
        else if (strcmp(name, "saturation") == 0)
            o.jitter.saturation = v;
        else if (strcmp(name, "hue") == 0)
            o.jitter.hue = v;
        else if (strcmp(name, "policy") == 0)
            o.policy = (enum rt_policy)word(rt_policies, value);
        else if (strcmp(name, "strength") == 0)
            o.strength = (int)v;
        else if (strcmp(name, "erase") == 0)
            o.erase = v;
        else if (strcmp(name, "cutout") == 0)
            o.cutout = (int)v;
        else
            exit(2);
    }
    return o;
}

static void run(const char *line, const char *path) {
    long long seed;
    int w, h;
    bool only_size = strncmp(line, "least", 5) == 0;
    if (sscanf(line, only_size ? "least %lld %d %d" : "run %lld %d %d", &seed, &w, &h) != 3) exit(2);
    struct rt_transform_options o = options(line);
    struct rt_pipeline p;
    struct rt_rng rng;
    const struct rt_image_options whole = {0};
    struct rt_image im;
    rt_rng_init(&rng, (uint64_t)seed, 7);
    if (rt_pipeline_init(&p, &o) != SMKD_R_OK) {
        fail(smkd_last_error());
        return;
    }
    if (only_size) {
        rt_pipeline_min_size(&p, seed < 0 ? NULL : &rng, w, h, &w, &h);
        answer("", 0, w, h);
        return;
    }
    if (rt_image_read(path, &whole, &im) != SMKD_R_OK) {
        fail(smkd_last_error());
        return;
    }
    size_t n = (size_t)o.channels * (size_t)o.height * (size_t)o.width;
    float *out = calloc(n, sizeof *out);
    if (!out) exit(2);
    if (rt_pipeline_run_scaled(&p, &im, w ? w : im.width, h ? h : im.height, seed < 0 ? NULL : &rng, out) == SMKD_R_OK)
        answer(out, n * sizeof *out, 0, 0);
    else
        fail(smkd_last_error());
    free(out);
    rt_image_release(&im);
}

static void space(const char *line) {
    char name[32];
    int w, h;
    if (sscanf(line, "space %31s %d %d", name, &w, &h) != 3) exit(2);
    enum rt_policy policy = (enum rt_policy)word(rt_policies, name);
    int bins = policy == RT_RA || policy == RT_TA_WIDE ? RT_RA_BINS : RT_AUTO_BINS;
    struct str s = STR_INIT;
    for (size_t k = 0; k < rt_policy_size(policy); k++) {
        for (int i = 0; i < bins; i++) {
            struct rt_policy_entry e = rt_policy_entry(policy, k, i, w, h);
            if (i == 0) str_addf(&s, "%s %d", rt_aug_ops[e.op].name, e.sign);
            str_addf(&s, " %.17g", e.magnitude);
        }
        str_add(&s, "\n");
    }
    answer(s.s, s.len, 0, 0);
    str_release(&s);
}

static void draw(const char *line) {
    char kind[32];
    long long seed;
    int count;
    double a, b, c;
    if (sscanf(line, "draw %31s %lld %d %lf %lf %lf", kind, &seed, &count, &a, &b, &c) != 6) exit(2);
    double *out = calloc((size_t)count * 4, sizeof *out);
    struct rt_rng rng;
    rt_rng_init(&rng, (uint64_t)seed, 7);
    for (int i = 0; i < count; i++) {
        struct rt_box v = {0};
        if (strcmp(kind, "resized") == 0) v = rt_draw_resized_crop(&rng, (int)a, (int)b);
        if (strcmp(kind, "erase") == 0 && !rt_draw_erase(&rng, (int)a, (int)b, &v)) v = (struct rt_box){-1, -1, 0, 0};
        if (strcmp(kind, "cutout") == 0) v = rt_draw_cutout(&rng, (int)a, (int)b, (int)c);
        double numbers[4] = {v.left, v.top, v.width, v.height};
        if (strcmp(kind, "beta") == 0) numbers[0] = rt_draw_beta(&rng, a);
        if (strcmp(kind, "normal") == 0) numbers[0] = rt_draw_normal(&rng);
        if (strcmp(kind, "mix") == 0) {
            const struct rt_mix_options o = {a, b};
            struct rt_mix m;
            rt_mix_draw(&o, 40, 30, &rng, &m);
            numbers[0] = m.kind;
            numbers[1] = m.lambda;
            numbers[2] = m.box.width;
            numbers[3] = m.box.height;
        }
        memcpy(out + 4 * i, numbers, sizeof numbers);
    }
    answer(out, (size_t)count * sizeof(double[4]), 0, 0);
    free(out);
}

int main(void) {
    static const struct {
        const char *word;
        void (*with)(const char *line, const char *path);
        void (*without)(const char *line);
    } commands[] = {{"op", change, NULL},   {"flip", change, NULL}, {"window", change, NULL}, {"augmix", change, NULL},
                    {"mix", mix, NULL},     {"cut", mix, NULL},     {"run", run, NULL},       {"least", run, NULL},
                    {"space", NULL, space}, {"draw", NULL, draw}};
    char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        const char *path = strchr(line, '/'); // absolute, and nothing before it has a slash
        size_t k = 0, n = strcspn(line, " ");
        while (k < sizeof commands / sizeof *commands &&
               (strlen(commands[k].word) != n || strncmp(commands[k].word, line, n) != 0))
            k++;
        if (!path || k == sizeof commands / sizeof *commands) return 2;
        if (commands[k].with)
            commands[k].with(line, path);
        else
            commands[k].without(line);
        fflush(stdout);
    }
    return 0;
}
