// WebVision 1.0 (Li 2017), its Google part and the first 50 classes, as papers on noisy labels use it ("mini"):
// info/train_filelist_google.txt with lines "google/QUERY/FILE LABEL", paths below the folder; info/val_filelist.txt
// with lines "FILE LABEL", files in val_images_256/. Class names are the WordNet numbers in info/synsets.txt.
#include "list_internal.h"

enum { CLASSES = 50 };

bool list_webvision_detect(const char *where) { return list_has(where, "info/train_filelist_google.txt"); }

static enum smkd_result read_list(struct list_job *j, enum list_part part, const char *file, const char *root) {
    struct list_text t;
    size_t lines = 0, kept = 0;
    enum smkd_result r = list_text_open(j, list_file_in(j, j->where, file), &t);
    if (r != SMKD_R_OK) return r;
    while (r == SMKD_R_OK && list_text_next(&t)) {
        size_t path, n;
        const char *label;
        char text[16];
        int64_t v = -1;
        bool ok = list_text_split(&t, &path, &label, &n) && n < sizeof text;
        if (ok) snprintf(text, sizeof text, "%.*s", (int)n, label);
        lines++;
        if (!ok || !parse_i64(text, &v) || v < 0)
            r = list_fail(t.at, "\"%.*s\": a path and a label are expected", (int)(t.n < 100 ? t.n : 100), t.line);
        if (r != SMKD_R_OK || v >= CLASSES) continue;
        kept++;
        r = list_add(j, part,
                     &(struct list_row){
                         .root = root, .path = t.line, .n = path, .label = list_label(j, label, n, t.at), .at = t.at});
    }
    list_text_close(&t);
    if (r == SMKD_R_OK && kept < lines)
        list_note(j, "%s: %zu of %zu images are of the first %d classes, the others are left out", t.at.file, kept,
                  lines, CLASSES);
    return r;
}

enum smkd_result list_webvision(struct list_job *j) {
    enum smkd_result r = SMKD_R_OK;
    j->root = j->o->image_root ? j->o->image_root : list_file(j, j->where);
    if (list_has(j->where, "info/synsets.txt"))
        r = list_known_from(j, list_file_in(j, j->where, "info/synsets.txt"), CLASSES, true);
    if (r == SMKD_R_OK) r = read_list(j, LIST_TRAIN, "info/train_filelist_google.txt", j->root);
    if (r == SMKD_R_OK && list_has(j->where, "info/val_filelist.txt"))
        r = read_list(j, LIST_VAL, "info/val_filelist.txt", list_file_in(j, j->root, "val_images_256"));
    return r;
}
