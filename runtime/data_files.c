// Image files as a data set: their list, which is all that is read before training.
#include "data.h"
#include "listing.h"

#include <stdlib.h>
#include <string.h>

// Of the list `limit` files (0: all), evenly spread, since lists are often sorted by class. Takes over its memory.
static void take(struct rt_list *l, size_t limit, struct rt_images *im) {
    const size_t n = limit && limit < l->n ? limit : l->n;
    for (size_t i = 0; n < l->n && i < n; i++) {
        size_t from = (size_t)((double)i / (double)n * (double)l->n);
        l->at[i] = l->at[from]; // from >= i
        l->label[i] = l->label[from];
    }
    im->n = n;
    im->labels = l->label;
    im->paths = l->pool;
    im->path_at = l->at;
    *l = (struct rt_list){0};
}

enum smkd_result rt_files_load(const char *where, const struct rt_data_want *want, struct rt_dataset *out) {
    static const float mean[] = {0.485f, 0.456f, 0.406f}, std[] = {0.229f, 0.224f, 0.225f}; // ImageNet's
    const struct rt_listing_options o = {.label_column = want->label_column,
                                         .image_root = want->image_root,
                                         .test_split = want->test_split,
                                         .classes = (const char *const *)want->class_names,
                                         .n_classes = want->n_class_names};
    struct rt_listing l;
    enum smkd_result r = rt_listing_load(where, &o, &l);
    if (r == SMKD_R_OK && want->regression)
        r = rt_fail(SMKD_R_UNSUPPORTED, "%s: lists classes; a regression needs arrays: --data train_x.npy,train_y.npy",
                    where);
    if (r == SMKD_R_OK && want->channels != 1 && want->channels != 3)
        r = rt_fail(SMKD_R_MISMATCH, "the model takes %d channels; image files have 3, or 1 when they are grey",
                    want->channels);
    if (r == SMKD_R_OK && l.n_classes > want->classes)
        r = rt_fail(SMKD_R_MISMATCH,
                    "%s: the data have %d classes, the model %d; make the model with --classes %d (smkdc new), or "
                    "compile it with --classes %d",
                    where, l.n_classes, want->classes, l.n_classes, l.n_classes);
    if (r == SMKD_R_OK) {
        snprintf(out->name, sizeof out->name, "%s", l.name);
        out->classes = l.n_classes;
        out->max_classes = want->classes;
        out->train_total = l.train.n;
        take(&l.train, want->train_limit, &out->train);
        take(&l.test, want->test_limit, &out->test);
        out->train.channels = out->test.channels = want->channels;
        out->train.upright = out->test.upright = want->upright;
        for (int c = 0; c < 3; c++) {
            out->mean[c] = want->channels == 3 ? mean[c] : 0;
            out->std[c] = want->channels == 3 ? std[c] : 1;
        }
        out->class_names = l.classes;
        out->notes = l.notes;
        out->n_notes = l.n_notes;
        l.classes = l.notes = NULL;
        l.n_classes = l.n_notes = 0;
    }
    rt_listing_release(&l);
    return r;
}
