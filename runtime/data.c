// Which reader a --data argument means, and what the readers share.
#include "data.h"
#include "data_arrays.h"
#include "listing.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// Names that stand for a folder where Debian puts the data.
static const struct {
    const char *name, *dir, *package;
} known[] = {
    {"fashion-mnist", "/usr/share/datasets/fashion-mnist", "dataset-fashion-mnist"},
};

uint64_t rt_stream_id(enum rt_stream kind, uint64_t epoch, uint64_t item) {
    return (uint64_t)kind << 60 | (epoch & 0xffffff) << 36 | (item & 0xfffffffffu);
}

char *rt_path_join(const char *dir, const char *file) {
    size_t n = strlen(dir), m = strlen(file);
    char *p = xmalloc(n + m + 2);
    memcpy(p, dir, n);
    if (n && p[n - 1] != '/') p[n++] = '/';
    memcpy(p + n, file, m + 1);
    return p;
}

bool rt_path_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

static void set_name(struct rt_dataset *d, const char *dir) {
    size_t end = strlen(dir);
    while (end > 1 && dir[end - 1] == '/') end--;
    size_t start = end;
    while (start && dir[start - 1] != '/') start--;
    size_t n = end - start;
    if (n >= sizeof d->name) n = sizeof d->name - 1;
    memcpy(d->name, dir + start, n);
    d->name[n] = 0;
}

enum smkd_result rt_dataset_load(const char *where, int classes, size_t train_limit, size_t test_limit,
                                 struct rt_dataset *out) {
    struct rt_data_want want = {.classes = classes, .train_limit = train_limit, .test_limit = test_limit};
    return rt_dataset_load_for(where, &want, out);
}

enum smkd_result rt_dataset_load_for(const char *where, const struct rt_data_want *want, struct rt_dataset *out) {
    *out = (struct rt_dataset){0};
    doing("reading the images of %s", where);
    const char *dir = where;
    struct stat st;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(where, known[i].name) != 0) continue;
        dir = known[i].dir;
        if (stat(dir, &st))
            return rt_fail(SMKD_R_IO, "%s: not found; install Debian's package %s, or give a folder", dir,
                           known[i].package);
    }
    set_name(out, dir);
    enum smkd_result r;
    if (want->rows && !rt_arrays_detect(dir))
        return rt_fail(SMKD_R_MISMATCH,
                       "%s: holds images, and the model takes rows of %d numbers: give arrays "
                       "(train_x.npy,train_y.npy,test_x.npy,test_y.npy), or a model of images [N,C,H,W]",
                       where, want->width);
    if (rt_idx_detect(dir)) {
        r = rt_idx_load(dir, want, out);
    } else if (rt_cifar_detect(dir)) {
        r = rt_cifar_load(dir, want, out);
    } else if (rt_arrays_detect(dir)) {
        r = rt_numbers_load(dir, want, out);
    } else if (rt_listing_detect(dir)) {
        r = rt_files_load(dir, want, out);
    } else {
        return rt_data_unknown(dir);
    }
    if (r != SMKD_R_OK) {
        rt_dataset_release(out);
        return r;
    }
    return SMKD_R_OK;
}

void rt_dataset_release(struct rt_dataset *d) {
    rt_images_release(&d->train);
    rt_images_release(&d->test);
    for (int c = 0; d->class_names && c < d->classes; c++) free(d->class_names[c]);
    free(d->class_names);
    for (int i = 0; i < d->n_notes; i++) free(d->notes[i]);
    free(d->notes);
    if (d->arrays) rt_arrays_release(d->arrays);
    free(d->arrays);
    *d = (struct rt_dataset){0};
}
