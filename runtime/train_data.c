// Images, given labels, split and input transform of a run.
#include "noise.h"
#include "train.h"
#include "transform_flags.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum smkd_result rt_parse_channels(const char *name, const char *text, int n, float *out) {
    // Pixels lie in 0..1, so that anything beyond is a slip; a deviation divides.
    bool std = strcmp(name, "std") == 0;
    double least = std ? 1e-6 : -1e6, most = 1e6;
    int count = 1;
    for (const char *p = text; (p = strchr(p, ',')); p++) count++;
    if (count != n)
        return rt_fail(SMKD_R_INVALID, "--%s %s: expected %d number%s separated by commas, one for each %s, not %d",
                       name, text, n, n > 1 ? "s" : "",
                       strcmp(name, "class-weights") ? "channel of the images" : "class", count);
    for (const char *p = text; n--; p += strcspn(p, ",") + 1) {
        char one[40];
        double v = 0;
        snprintf(one, sizeof one, "%.*s", (int)strcspn(p, ","), p);
        if (!parse_f64(one, &v) || strlen(one) != strcspn(p, ","))
            return rt_fail(SMKD_R_INVALID, "--%s %s: \"%s\" is not a number", name, text, one);
        if (!(v >= least && v <= most))
            return rt_fail(SMKD_R_INVALID, "--%s %s: expected numbers from %g to %g%s", name, text, least, most,
                           std ? ": pixels on a 0..1 scale are divided by them" : "");
        *out++ = (float)v;
    }
    return SMKD_R_OK;
}

static void set_text(char **field, const char *text) {
    size_t n = strlen(text) + 1;
    free(*field);
    *field = memcpy(xmalloc(n), text, n);
}

// Numbers given with --mean or --std, or the data set's, which are then written into the configuration.
static enum smkd_result channels(const char *name, char **field, int n, float *values) {
    if (strcmp(*field, "auto") != 0) return rt_parse_channels(name, *field, n, values);
    struct str s = STR_INIT;
    for (int i = 0; i < n; i++) str_addf(&s, "%s%.7g", i ? "," : "", (double)values[i]);
    set_text(field, s.s);
    str_release(&s);
    return SMKD_R_OK;
}

// The validation images are a seeded choice; both lists stay in the order of the files.
static void split(struct rt_train_data *d, const struct rt_config *c) {
    size_t n = d->set.train.n;
    size_t n_val = (size_t)llround(c->val_split * (double)n);
    int64_t *order = xcalloc(n, sizeof *order);
    bool *held = xcalloc(n, sizeof *held);
    for (size_t i = 0; i < n; i++) order[i] = (int64_t)i;
    struct rt_rng rng;
    rt_rng_init(&rng, (uint64_t)c->seed, rt_stream_id(RT_STREAM_SPLIT, 0, 0));
    rt_rng_shuffle(&rng, order, n);
    for (size_t i = 0; i < n_val; i++) held[order[i]] = true;
    free(order);
    d->train = xcalloc(n, sizeof *d->train);
    d->validation = xcalloc(n_val + 1, sizeof *d->validation);
    for (size_t i = 0; i < n; i++) {
        if (held[i])
            d->validation[d->n_validation++] = (int64_t)i;
        else
            d->train[d->n_train++] = (int64_t)i;
    }
    free(held);
}

static size_t keep_marked(const int32_t *marks, int64_t *images, size_t n) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (marks[images[i]]) images[kept++] = images[i];
    return kept;
}

// --keep: of both lists only what is marked; the choice of validation images is the one that it was without.
static enum smkd_result keep(struct rt_train_data *d, const char *path) {
    const size_t n = d->set.train.n;
    int32_t *marks = xcalloc(n, sizeof *marks);
    enum smkd_result r = rt_marks_read(path, d->set.train_total, n, marks);
    if (r == SMKD_R_OK) {
        d->n_train = keep_marked(marks, d->train, d->n_train);
        d->n_validation = keep_marked(marks, d->validation, d->n_validation);
    }
    free(marks);
    return r;
}

// --sample-weights: for all images of the files, or for those that are trained on.
static enum smkd_result read_weights(struct rt_train_data *d, const struct rt_config *c) {
    const char *path = c->sample_weights;
    const size_t n = d->set.train.n;
    struct rt_tensor t = {0};
    enum smkd_result r = rt_npy_read(path, &t);
    if (r == SMKD_R_OK && (t.rank != 1 || (t.numel != n && t.numel != d->set.train_total)))
        r = rt_fail(SMKD_R_MISMATCH, "%s: expected a list of one weight for each of %zu images", path, n);
    if (r == SMKD_R_OK) r = rt_tensor_convert(&t, RT_F32, path, "weight");
    for (size_t i = 0; r == SMKD_R_OK && i < n; i++) {
        const double w = (double)((const float *)t.data)[i];
        if (!(w >= 0 && w <= 1e30))
            r = rt_fail(SMKD_R_INVALID, "%s: weight %zu is %g, expected a number from 0 on", path, i, w);
    }
    if (r == SMKD_R_OK) {
        double sum = 0;
        d->weights = xcalloc(n, sizeof *d->weights);
        memcpy(d->weights, t.data, n * sizeof *d->weights);
        for (size_t i = 0; i < d->n_train; i++) sum += (double)d->weights[d->train[i]];
        if (!(sum > 0)) r = rt_fail(SMKD_R_INVALID, "%s: all training images have the weight 0", path);
    }
    rt_tensor_release(&t);
    return r;
}

// Whether labels of the user's own agree with the data set's as often as labels of other images would: then they are
// likely to be in another order.
static bool agree_by_chance(const int32_t *given, const int32_t *own, size_t n, int classes) {
    enum { FEW = 100 }; // too few to tell
    if (n < FEW) return false;
    double *count = xcalloc(2 * (size_t)classes, sizeof *count), chance = 0;
    for (size_t i = 0; i < n; i++) {
        count[given[i]]++;
        count[classes + own[i]]++;
    }
    for (int c = 0; c < classes; c++) chance += count[c] / (double)n * (count[classes + c] / (double)n);
    free(count);
    double agree = 1 - rt_labels_differ(given, own, n);
    return chance < 0.5 && fabs(agree - chance) < 3 * sqrt(chance * (1 - chance) / (double)n);
}

// What files are called, without their folders, which may have moved.
static uint64_t add_names(uint64_t h, const struct rt_images *im) {
    for (size_t i = 0; im->paths && i < im->n; i++) {
        const char *path = rt_images_path(im, i), *slash = strrchr(path, '/');
        const char *name = slash ? slash + 1 : path;
        h = fnv1a(h, name, strlen(name) + 1);
    }
    return h;
}

static enum smkd_result add_noise(struct rt_train_data *d, const struct rt_config *c) {
    const struct rt_noise_job j = {.text = c->noise,
                                   .data = c->data,
                                   .seed = (uint64_t)c->noise_seed,
                                   .classes = d->classes,
                                   .labels = d->given,
                                   .n = d->set.train.n,
                                   .set = &d->set,
                                   .transform = &d->transform,
                                   .threads = (int)c->threads,
                                   .workers = (int)c->workers,
                                   .strict = c->strict_data};
    struct rt_noise noise;
    enum smkd_result r = rt_noise_parse(c->noise, &noise);
    if (r == SMKD_R_OK) r = rt_noise_apply(&noise, &j);
    d->replaced = c->labels || noise.kind;
    d->noise_rate = rt_labels_differ(d->given, d->set.train.labels, d->set.train.n);
    return r;
}

// The run's own augmentation with another policy. Arrays of other numbers than pixels are taken as they are.
static enum smkd_result strong_transform(struct rt_train_data *d, const struct rt_config *c, unsigned flags,
                                         const struct rt_input *in) {
    int at;
    d->strong = d->transform;
    const struct method_param *p = method_param(c->row, "strong-augment", &at);
    if (!p || !method_matters(c->row, &c->values, p) || d->set.train.values) return SMKD_R_OK;
    struct rt_config strong = *c;
    strong.augmentation.auto_augment = (char *)(uintptr_t)c->values.word[at]; // for reading
    return rt_transform_from_flags(&d->strong, &d->strong_pipeline, &strong, flags, &d->set.train, in, d->set.mean,
                                   d->set.std);
}

enum smkd_result rt_train_data_load(struct rt_train_data *d, struct rt_config *c, const struct rt_peer *model) {
    *d = (struct rt_train_data){0};
    struct rt_dataset *s = &d->set;
    const int height = rt_transform_flags_given(c) ? 0 : model->height; // 0: images of any size will do
    const struct rt_data_want want = {.classes = model->classes,
                                      .channels = model->channels,
                                      .height = height,
                                      .width = model->width,
                                      .train_limit = (size_t)c->train_limit,
                                      .test_limit = (size_t)c->test_limit,
                                      .label_column = c->label_column,
                                      .image_root = c->image_root,
                                      .test_split = c->test_split,
                                      .layout = c->layout,
                                      .regression = c->row->family->regression,
                                      .rows = !model->image,
                                      .upright = c->exif_orientation};
    enum smkd_result r = rt_dataset_load_for(c->data, &want, s);
    if (r == SMKD_R_OK && s->train.n == 0) r = rt_fail(SMKD_R_INVALID, "%s: has no training images", c->data);
    if (r == SMKD_R_OK && strcmp(c->cache, "ram") == 0) r = rt_dataset_cache(s);
    if (r != SMKD_R_OK) return r;

    size_t n = s->train.n;
    d->given = xcalloc(n, sizeof *d->given);
    memcpy(d->given, s->train.labels, n * sizeof *d->given);
    if (c->labels) r = rt_labels_read(c->labels, s->train_total, n, s->max_classes, d->given);
    d->classes = s->classes;
    for (size_t i = 0; r == SMKD_R_OK && i < n; i++)
        if (d->given[i] >= d->classes) d->classes = d->given[i] + 1;
    d->by_chance = r == SMKD_R_OK && c->labels && agree_by_chance(d->given, s->train.labels, n, d->classes);
    if (r != SMKD_R_OK) return r;

    split(d, c);
    if (c->val_split > 0 && d->n_validation == 0)
        return rt_fail(SMKD_R_INVALID, "--val-split %g: of %zu training images that is none; give a larger share",
                       c->val_split, n);
    if (d->n_train == 0) return rt_fail(SMKD_R_INVALID, "--val-split %g leaves no training images", c->val_split);
    if (c->keep && (r = keep(d, c->keep)) != SMKD_R_OK) return r;
    if (d->n_train == 0 || (c->val_split > 0 && d->n_validation == 0))
        return rt_fail(SMKD_R_INVALID, "--keep %s leaves no %s images", c->keep,
                       d->n_train ? "validation" : "training");

    if (c->sample_weights && (r = read_weights(d, c)) != SMKD_R_OK) return r;

    if (strcmp(c->augment, "auto") == 0)
        set_text(&c->augment, s->train.paths || (s->train.channels == 3 && !s->train.values) ? "crop-flip" : "none");
    unsigned flags;
    int ch = s->train.channels;
    if ((r = rt_augment_parse(c->augment, &flags)) != SMKD_R_OK) return r;
    if ((r = channels("mean", &c->mean, ch, s->mean)) != SMKD_R_OK) return r;
    if ((r = channels("std", &c->std, ch, s->std)) != SMKD_R_OK) return r;
    const struct rt_input in = {model->channels, model->height, model->width, model->channels_last};
    r = rt_transform_from_flags(&d->transform, &d->pipeline, c, flags, &s->train, &in, s->mean, s->std);
    if (r == SMKD_R_OK) r = strong_transform(d, c, flags, &in);
    if (r == SMKD_R_OK) r = add_noise(d, c);
    if (r != SMKD_R_OK) return r;

    uint64_t sizes[] = {s->train.n, s->test.n, (uint64_t)d->classes, (uint64_t)ch, (uint64_t)s->train.height};
    uint64_t h = fnv1a(FNV_INIT, sizes, sizeof sizes);
    h = add_names(add_names(h, &s->train), &s->test);
    h = fnv1a(h, d->given, n * sizeof *d->given);
    if (c->keep) h = fnv1a(h, d->train, d->n_train * sizeof *d->train);
    if (d->weights) h = fnv1a(h, d->weights, n * sizeof *d->weights);
    for (int p = 0; p < 2; p++) {
        const struct rt_images *im = p ? &s->test : &s->train;
        h = fnv1a(h, im->targets, im->n * (size_t)im->n_targets * sizeof *im->targets);
    }
    d->fingerprint = fnv1a(h, s->test.labels, s->test.n * sizeof *s->test.labels);
    return r;
}

enum smkd_result rt_class_weights(const char *text, const struct rt_train_data *d, int classes, float *out) {
    if (strcmp(text, "balanced") != 0) {
        enum smkd_result r = rt_parse_channels("class-weights", text, classes, out);
        for (int c = 0; c < classes && r == SMKD_R_OK; c++)
            if (out[c] < 0) r = rt_fail(SMKD_R_INVALID, "--class-weights %s: weights are not negative", text);
        return r;
    }
    size_t *count = xcalloc((size_t)classes, sizeof *count);
    int used = 0;
    for (size_t i = 0; i < d->n_train; i++) used += count[d->given[d->train[i]]]++ == 0;
    for (int c = 0; c < classes; c++)
        out[c] = count[c] ? (float)((double)d->n_train / ((double)used * (double)count[c])) : 0;
    free(count);
    return SMKD_R_OK;
}

void rt_train_data_release(struct rt_train_data *d) {
    rt_dataset_release(&d->set);
    free(d->given);
    free(d->weights);
    free(d->train);
    free(d->validation);
    *d = (struct rt_train_data){0};
}
