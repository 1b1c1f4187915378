// Clothing1M (Xiao 2015): lists of keys ("images/0/25/FILE.jpg" a line) and labels ("KEY LABEL"), in the folder or in
// its annotations/. Trained on are the noisy keys; the test part is of the clean ones. Images lie below the folder as
// their keys say, or, where there is no images/, without that first part, as the parts of the archive unpack.
#include "list_internal.h"

#include "data.h"

#include <stdlib.h>
#include <string.h>

enum { CLASSES = 14 };

// The folder with the lists, of the caller's own; NULL: there is none.
static char *lists_of(const char *where) {
    static const char *const places[] = {"", "annotations"};
    for (int i = 0; i < 2; i++) {
        char *dir = rt_path_join(where, places[i]);
        if (list_has(dir, "noisy_train_key_list.txt") && list_has(dir, "noisy_label_kv.txt")) return dir;
        free(dir);
    }
    return NULL;
}

bool list_clothing1m_detect(const char *where) {
    char *dir = lists_of(where);
    free(dir);
    return dir != NULL;
}

// Labels by key: places in the mapped file, found by hash.
struct pair {
    const char *key;
    uint32_t n;
    int32_t label;
};
struct labels {
    struct list_text file;
    struct pair *slot;
    size_t n, n_slots;
};

static struct pair *slot_of(const struct labels *l, const char *key, size_t n) {
    size_t i = fnv1a(FNV_INIT, key, n) & (l->n_slots - 1);
    while (l->slot[i].key && !(l->slot[i].n == n && memcmp(l->slot[i].key, key, n) == 0))
        i = (i + 1) & (l->n_slots - 1);
    return &l->slot[i];
}

static void grow(struct labels *l) {
    struct labels old = *l;
    l->n_slots = old.n_slots ? 2 * old.n_slots : 1024;
    l->slot = xcalloc(l->n_slots, sizeof *l->slot);
    for (size_t i = 0; i < old.n_slots; i++)
        if (old.slot[i].key) *slot_of(l, old.slot[i].key, old.slot[i].n) = old.slot[i];
    free(old.slot);
}

static enum smkd_result read_labels(struct list_job *j, const char *path, struct labels *l) {
    enum smkd_result r = list_text_open(j, path, &l->file);
    if (r != SMKD_R_OK) return r;
    while (r == SMKD_R_OK && list_text_next(&l->file)) {
        size_t n, len;
        const char *label;
        const struct list_text *t = &l->file;
        if (!list_text_split(t, &n, &label, &len) || n > UINT32_MAX)
            return list_fail(t->at, "\"%.*s\": a key and a label are expected", (int)(t->n < 100 ? t->n : 100),
                             t->line);
        if (2 * (l->n + 1) > l->n_slots) grow(l);
        struct pair *p = slot_of(l, t->line, n);
        l->n += !p->key;
        *p = (struct pair){t->line, (uint32_t)n, list_label(j, label, len, t->at)};
        r = list_check_labels(j, t->at);
    }
    return r;
}

static enum smkd_result read_keys(struct list_job *j, const char *path, const struct labels *l, enum list_part part,
                                  size_t skip) {
    struct list_text t;
    enum smkd_result r = list_text_open(j, path, &t);
    if (r != SMKD_R_OK) return r;
    while (r == SMKD_R_OK && list_text_next(&t)) {
        const struct pair *p = l->n_slots ? slot_of(l, t.line, t.n) : NULL;
        const size_t from = t.n > skip && memcmp(t.line, "images/", skip) == 0 ? skip : 0;
        if (!p || !p->key)
            r = list_fail(t.at, "\"%.*s\" has no label in %s", (int)(t.n < 100 ? t.n : 100), t.line, l->file.at.file);
        else
            r = list_add(j, part,
                         &(struct list_row){
                             .root = j->root, .path = t.line + from, .n = t.n - from, .label = p->label, .at = t.at});
    }
    list_text_close(&t);
    return r;
}

enum smkd_result list_clothing1m(struct list_job *j) {
    static const struct {
        const char *keys, *labels;
        enum list_part part;
    } lists[] = {
        {"noisy_train_key_list.txt", "noisy_label_kv.txt", LIST_TRAIN},
        {"clean_val_key_list.txt", "clean_label_kv.txt", LIST_VAL},
        {"clean_test_key_list.txt", "clean_label_kv.txt", LIST_TEST},
    };
    char *dir = lists_of(j->where);
    enum smkd_result r = SMKD_R_OK;
    j->root = j->o->image_root ? j->o->image_root : list_file(j, j->where);
    const size_t skip = list_is_folder(list_file_in(j, j->root, "images")) ? 0 : strlen("images/");
    if (list_has(dir, "category_names_eng.txt"))
        r = list_known_from(j, list_file_in(j, dir, "category_names_eng.txt"), CLASSES, false);
    for (int i = 0; i < LIST_PARTS && r == SMKD_R_OK; i++) {
        struct labels l = {0};
        if (i && !(list_has(dir, lists[i].keys) && list_has(dir, lists[i].labels))) continue;
        r = read_labels(j, list_file_in(j, dir, lists[i].labels), &l);
        if (r == SMKD_R_OK) r = read_keys(j, list_file_in(j, dir, lists[i].keys), &l, lists[i].part, skip);
        list_text_close(&l.file);
        free(l.slot);
    }
    free(dir);
    return r;
}
