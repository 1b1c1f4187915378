// Food-101 (Bossard 2014) as its archive unpacks: meta/train.txt and meta/test.txt with lines CLASS/NUMBER,
// images/CLASS/NUMBER.jpg, meta/classes.txt.
#include "list_internal.h"

#include "data.h"

#include <stdlib.h>
#include <string.h>

bool list_food101_detect(const char *where) {
    char *images = rt_path_join(where, "images");
    bool is = list_has(where, "meta/train.txt") && list_is_folder(images);
    free(images);
    return is;
}

static enum smkd_result read_list(struct list_job *j, enum list_part part, const char *file) {
    struct list_text t;
    enum smkd_result r = list_text_open(j, list_file_in(j, j->where, file), &t);
    if (r != SMKD_R_OK) return r;
    while (r == SMKD_R_OK && list_text_next(&t)) {
        const char *slash = memchr(t.line, '/', t.n);
        if (!slash || slash == t.line)
            r = list_fail(t.at, "\"%.*s\": CLASS/NUMBER is expected", (int)(t.n < 100 ? t.n : 100), t.line);
        else
            r = list_add(j, part,
                         &(struct list_row){.root = j->root,
                                            .path = t.line,
                                            .n = t.n,
                                            .suffix = t.n > 4 && memcmp(t.line + t.n - 4, ".jpg", 4) == 0 ? "" : ".jpg",
                                            .label = list_label(j, t.line, (size_t)(slash - t.line), t.at),
                                            .at = t.at});
    }
    list_text_close(&t);
    return r;
}

enum smkd_result list_food101(struct list_job *j) {
    j->root = j->o->image_root ? j->o->image_root : list_file_in(j, j->where, "images");
    enum smkd_result r = SMKD_R_OK;
    if (list_has(j->where, "meta/classes.txt"))
        r = list_known_from(j, list_file_in(j, j->where, "meta/classes.txt"), SIZE_MAX, false);
    if (r == SMKD_R_OK) r = read_list(j, LIST_TRAIN, "meta/train.txt");
    if (r == SMKD_R_OK && list_has(j->where, "meta/test.txt")) r = read_list(j, LIST_TEST, "meta/test.txt");
    return r;
}
