// The binary versions of CIFAR-10 (label, 3072 bytes) and CIFAR-100 (coarse label, fine label, 3072 bytes).
#include "data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PIXELS      3072
#define MAX_BATCHES 5

static const struct variant {
    const char *name, *folder, *mark; // the archive's folder, and a file that tells the variant
    const char *test;
    int label_bytes, classes; // the last label byte counts
    float mean[3], std[3];
} variants[] = {
    {"cifar10",
     "cifar-10-batches-bin",
     "data_batch_1.bin",
     "test_batch.bin",
     1,
     10,
     {.4914f, .4822f, .4465f},
     {.2023f, .1994f, .2010f}},
    {"cifar100",
     "cifar-100-binary",
     "train.bin",
     "test.bin",
     2,
     100,
     {.5071f, .4867f, .4408f},
     {.2675f, .2565f, .2761f}},
};

static bool has(const char *dir, const char *file) {
    char *p = rt_path_join(dir, file);
    bool yes = rt_path_exists(p);
    free(p);
    return yes;
}

// The folder the variant's files lie in (caller frees), or NULL.
static char *locate(const char *dir, const struct variant *v) {
    if (has(dir, v->mark) || has(dir, v->test)) return rt_path_join(dir, "");
    char *sub = rt_path_join(dir, v->folder);
    if (has(sub, v->mark) || has(sub, v->test)) return sub;
    free(sub);
    return NULL;
}

static const struct variant *detect(const char *dir, char **where) {
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++)
        if ((*where = locate(dir, &variants[i]))) return &variants[i];
    return NULL;
}

bool rt_cifar_detect(const char *dir) {
    char *where = NULL;
    bool found = detect(dir, &where) != NULL;
    free(where);
    return found;
}

static enum smkd_result append_file(const char *path, const struct variant *v, struct rt_images *im) {
    const void *map;
    size_t size;
    if (io_map(path, &map, &size) != SMKD_OK) return rt_fail(SMKD_R_IO, "%s: %s", path, io_why());
    enum smkd_result r = SMKD_R_OK;
    size_t record = (size_t)v->label_bytes + PIXELS, n = size / record;
    if (size == 0) {
        r = rt_fail(SMKD_R_INVALID, "%s: is empty", path);
    } else if (size % record) {
        r = rt_fail(SMKD_R_INVALID, "%s: record %zu (offset %zu) is short: %zu of %zu bytes; fetch the file again",
                    path, n, n * record, size % record, record);
    } else {
        if (!budget_allows((uint64_t)(im->n + n) * PIXELS)) {
            r = rt_fail(SMKD_R_NOMEM, "%s: %s", path, budget_why());
            goto out;
        }
        im->pixels = xrealloc(im->pixels, (im->n + n) * PIXELS);
        im->labels = xrealloc(im->labels, (im->n + n) * sizeof *im->labels);
        for (size_t i = 0; i < n && r == SMKD_R_OK; i++) {
            const uint8_t *p = (const uint8_t *)map + i * record;
            int label = p[v->label_bytes - 1];
            if (label >= v->classes)
                r = rt_fail(SMKD_R_INVALID, "%s: record %zu (offset %zu) has label %d, expected 0 to %d", path, i,
                            i * record, label, v->classes - 1);
            im->labels[im->n + i] = label;
            memcpy(im->pixels + (im->n + i) * PIXELS, p + v->label_bytes, PIXELS);
        }
        im->n += n;
    }
out:
    io_unmap(map, size);
    return r;
}

static enum smkd_result load_test(const char *dir, const struct variant *v, struct rt_images *im) {
    char *path = rt_path_join(dir, v->test);
    enum smkd_result r = append_file(path, v, im);
    free(path);
    return r;
}

// CIFAR-10 comes in five files. Fewer are fine (a subset someone made) as long as none is missing between two others.
static enum smkd_result load_train(const char *dir, const struct variant *v, struct rt_images *im) {
    if (v->label_bytes == 2) {
        char *path = rt_path_join(dir, v->mark);
        enum smkd_result r = append_file(path, v, im);
        free(path);
        return r;
    }
    bool gap = false;
    for (int i = 1; i <= MAX_BATCHES; i++) {
        char file[32];
        snprintf(file, sizeof file, "data_batch_%d.bin", i);
        if (!has(dir, file)) {
            gap = true;
            if (i == 1) return rt_fail(SMKD_R_IO, "%s%s: is missing", dir, file);
            continue;
        }
        if (gap) return rt_fail(SMKD_R_IO, "%sdata_batch_%d.bin: is missing, but %s is there", dir, i - 1, file);
        char *path = rt_path_join(dir, file);
        enum smkd_result r = append_file(path, v, im);
        free(path);
        if (r != SMKD_R_OK) return r;
    }
    return SMKD_R_OK;
}

// The first n images alone (0: all).
static void limit(struct rt_images *im, size_t n) {
    if (!n || n >= im->n) return;
    im->pixels = xrealloc(im->pixels, n * PIXELS);
    im->labels = xrealloc(im->labels, n * sizeof *im->labels);
    im->n = n;
}

enum smkd_result rt_cifar_load(const char *dir, const struct rt_data_want *want, struct rt_dataset *out) {
    const int classes = want->classes;
    char *where = NULL;
    const struct variant *v = detect(dir, &where);
    if (!v) return rt_fail(SMKD_R_INVALID, "%s: no CIFAR binary files", dir);
    snprintf(out->name, sizeof out->name, "%s", v->name);
    out->classes = out->max_classes = v->classes;
    out->cifar = true;
    enum smkd_result r = SMKD_R_OK;
    if (classes < v->classes)
        r = rt_fail(SMKD_R_MISMATCH, "%s: %s has %d classes%s, the model %d; make the model with --classes %d", dir,
                    v->name, v->classes, v->label_bytes == 2 ? " (its fine labels are read, not the coarse ones)" : "",
                    classes, v->classes);
    struct rt_images *parts[] = {&out->train, &out->test};
    for (int i = 0; i < 2; i++) {
        parts[i]->channels = 3;
        parts[i]->height = parts[i]->width = 32;
    }
    if (r == SMKD_R_OK && want->height) r = rt_transform_fits(&out->train, want->channels, want->height, want->width);
    if (r == SMKD_R_OK) r = load_train(where, v, &out->train);
    if (r == SMKD_R_OK) r = load_test(where, v, &out->test);
    out->train_total = out->train.n;
    limit(&out->train, want->train_limit);
    limit(&out->test, want->test_limit);
    memcpy(out->mean, v->mean, sizeof v->mean);
    memcpy(out->std, v->std, sizeof v->std);
    free(where);
    return r;
}
