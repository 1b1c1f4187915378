// Arrays as a data set: uint8 are the pixels of images, all other numbers are values that go to the network as they
// are.
#include "data.h"
#include "data_arrays.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct job {
    const char *where;
    const struct rt_data_want *want;
    struct rt_dataset *out;
    struct rt_array_image shape; // of a sample; 1 x 1 x F where it is none
};

// The order of images that fits the network where the other one does not; otherwise what was asked for.
static const char *layout_for(const struct rt_data_want *w, const struct rt_tensor *x) {
    const int64_t *d = x->dims;
    if (x->rank != 4 || (w->layout && strcmp(w->layout, "auto") != 0)) return w->layout;
    const bool any = w->height == 0; // of images of any size
    const bool first = d[1] == w->channels && (any || (d[2] == w->height && d[3] == w->width));
    const bool last = d[3] == w->channels && (any || (d[1] == w->height && d[2] == w->width));
    return first == last ? "auto" : first ? "nchw" : "nhwc";
}

// How a sample is an image of the network's; a network that takes no images has its numbers in the order of the file.
static enum smkd_result find_shape(struct job *j) {
    const struct rt_tensor *x = &j->out->arrays->train.x;
    enum smkd_result r = rt_arrays_image(j->out->arrays, layout_for(j->want, x), &j->shape);
    const bool vector = j->want->channels == 1 && j->want->height == 1;
    if (r != SMKD_R_OK || (j->shape.channels && j->shape.channels <= RT_MAX_CHANNELS && !vector)) return r;
    if (x->dtype == RT_U8 && !vector)
        return rt_fail(SMKD_R_MISMATCH,
                       "%s: uint8 is taken for pixels, of images [N,C,H,W] or [N,H,W,C] with at most %d channels; of "
                       "other samples save x.astype(numpy.float32)",
                       j->where, RT_MAX_CHANNELS);
    if (j->shape.channels_last && !vector)
        return rt_fail(SMKD_R_UNSUPPORTED,
                       "%s: has more than %d channels as its last dimension; save x.transpose(0, 3, "
                       "1, 2)",
                       j->where, RT_MAX_CHANNELS);
    const int64_t n = (int64_t)(x->numel / (size_t)x->dims[0]);
    if (n > INT32_MAX) return rt_fail(SMKD_R_UNSUPPORTED, "%s: has too many numbers a sample", j->where);
    if (vector && n != j->want->width)
        return rt_fail(SMKD_R_MISMATCH, "%s: has %lld numbers a sample, the model takes %d", j->where, (long long)n,
                       j->want->width);
    j->shape = (struct rt_array_image){1, 1, (int)n, false};
    return SMKD_R_OK;
}

// Planes of what lies by pixels.
static enum smkd_result turn(const struct job *j, const uint8_t *from, struct rt_images *im) {
    const size_t channels = (size_t)im->channels, plane = (size_t)im->height * (size_t)im->width;
    if (!budget_allows(im->n * channels * plane)) return rt_fail(SMKD_R_NOMEM, "%s: %s", j->where, budget_why());
    im->pixels = xmalloc(im->n * channels * plane);
    uint8_t *to = im->pixels;
    for (size_t i = 0; i < im->n; i++, from += channels * plane)
        for (size_t c = 0; c < channels; c++)
            for (size_t p = 0; p < plane; p++) *to++ = from[p * channels + c];
    return SMKD_R_OK;
}

static enum smkd_result take(const struct job *j, struct rt_array_part *part, size_t limit, struct rt_images *im) {
    im->n = limit && limit < part->n ? limit : part->n;
    im->channels = j->shape.channels;
    im->height = j->shape.height;
    im->width = j->shape.width;
    im->labels = part->labels ? part->labels : xcalloc(part->n + 1, sizeof *im->labels);
    im->targets = part->targets;
    im->n_targets = j->out->arrays->n_targets;
    part->labels = NULL;
    part->targets = NULL;
    if (part->x.dtype == RT_F32) {
        im->values = part->x.data;
        im->last = j->shape.channels_last;
        return SMKD_R_OK;
    }
    if (j->shape.channels_last && im->channels > 1) return turn(j, part->x.data, im);
    im->pixels = part->x.data;
    im->borrowed = true;
    return SMKD_R_OK;
}

// Mean and deviation of a channel's training pixels on a 0..1 scale, to four digits as they are usually given.
static void measure(const struct rt_images *im, int channel, float *mean, float *std) {
    const size_t plane = (size_t)im->height * (size_t)im->width;
    uint64_t count[256] = {0}, total = im->n * plane;
    double sum = 0, squares = 0;
    for (size_t i = 0; i < im->n; i++) {
        const uint8_t *p = im->pixels + (i * (size_t)im->channels + (size_t)channel) * plane;
        for (size_t k = 0; k < plane; k++) count[p[k]]++;
    }
    for (int v = 0; v < 256; v++) {
        sum += (double)count[v] * v / 255;
        squares += (double)count[v] * v / 255 * v / 255;
    }
    double m = sum / (double)total, variance = squares / (double)total - m * m;
    *mean = (float)(round(m * 1e4) / 1e4);
    *std = (float)(round(sqrt(variance > 0 ? variance : 0) * 1e4) / 1e4);
    if (*std <= 0) *std = 1; // equal pixels
}

enum smkd_result rt_numbers_load(const char *where, const struct rt_data_want *want, struct rt_dataset *out) {
    struct rt_arrays *a = out->arrays = xcalloc(1, sizeof *a);
    struct job j = {.where = where, .want = want, .out = out};
    const struct rt_arrays_options o = {
        .y = want->regression ? RT_Y_TARGETS : RT_Y_LABELS, .classes = want->classes, .test_split = want->test_split};
    enum smkd_result r = rt_arrays_load(where, &o, a);
    if (r == SMKD_R_OK && a->n_targets && a->n_targets != want->classes)
        r = rt_fail(SMKD_R_MISMATCH, "%s: has %d target%s a sample, the model has %d output%s", where, a->n_targets,
                    a->n_targets == 1 ? "" : "s", want->classes, want->classes == 1 ? "" : "s");
    if (r == SMKD_R_OK) r = find_shape(&j);
    if (r != SMKD_R_OK) return r;
    snprintf(out->name, sizeof out->name, "%s", a->name);
    out->classes = a->n_targets ? 1 : a->classes;
    out->max_classes = want->classes;
    out->train_total = a->train.n;
    r = take(&j, &a->train, want->train_limit, &out->train);
    if (r == SMKD_R_OK && a->has_test) r = take(&j, &a->test, want->test_limit, &out->test);
    if (r != SMKD_R_OK) return r;
    for (int c = 0; c < out->train.channels; c++) {
        out->std[c] = 1;
        if (out->train.pixels) measure(&out->train, c, &out->mean[c], &out->std[c]);
    }
    if (!a->has_test) {
        out->test.channels = out->train.channels;
        out->test.height = out->train.height;
        out->test.width = out->train.width;
        out->test.last = out->train.last;
    }
    return SMKD_R_OK;
}
