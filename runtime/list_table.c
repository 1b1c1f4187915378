// What a table of images means, whatever it is written in: which columns are path, label and split, and what a row
// says.
#include "list_table.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

// Names of the column of paths, the first that is there.
static const char *const path_names[] = {"path", "file_name", "filename", "file", "image", "image_path"};

static size_t count(const struct list_columns *c, const char *name) {
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) n += strcmp(c->name[i], name) == 0;
    return n;
}

static int find(const struct list_columns *c, const char *name) {
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->name[i], name) == 0) return (int)i;
    return -1;
}

static void add_names(struct str *s, const struct list_columns *c, const struct list_table *t) {
    enum { SHOWN = 12 };
    size_t shown = 0;
    for (size_t i = 0; i < c->n; i++) {
        bool taken = (int)i == t->path || (int)i == t->split || c->name[i][0] == 0;
        if (taken && t->path >= 0) continue;
        if (shown++ < SHOWN) str_addf(s, "%s%.60s", shown > 1 ? ", " : "", c->name[i]);
    }
    if (shown > SHOWN) str_addf(s, " and %zu more", shown - SHOWN);
}

static enum smkd_result no_column(const struct list_table *t, const struct list_columns *c, const char *what) {
    struct list_table none = {.path = -1, .split = -1};
    struct str s = STR_INIT;
    add_names(&s, c, &none);
    enum smkd_result r = list_fail(t->header, "there is no %s; the columns are %s", what, s.s ? s.s : "none");
    str_release(&s);
    return r;
}

static enum smkd_result choose_label(struct list_table *t, const struct list_columns *c) {
    const char *want = t->j->o->label_column;
    t->label = find(c, want ? want : "label");
    if (t->label >= 0) return SMKD_R_OK;
    if (want) {
        char what[128];
        snprintf(what, sizeof what, "column \"%.80s\" (--label-column)", want);
        return no_column(t, c, what);
    }
    size_t others = 0;
    for (size_t i = 0; i < c->n; i++) {
        if ((int)i == t->path || (int)i == t->split || c->name[i][0] == 0) continue;
        others++;
        t->label = (int)i;
    }
    if (others == 1) return SMKD_R_OK;
    if (others == 0) return no_column(t, c, "column \"label\"");
    struct str s = STR_INIT;
    add_names(&s, c, t);
    enum smkd_result r =
        list_fail(t->header, "several columns could be the labels: %s; choose one with --label-column", s.s);
    str_release(&s);
    return r;
}

enum smkd_result list_table_columns(struct list_table *t, const struct list_columns *c) {
    t->path = t->label = t->split = -1;
    for (size_t i = 0; i < sizeof path_names / sizeof *path_names && t->path < 0; i++) t->path = find(c, path_names[i]);
    if (t->path < 0) return no_column(t, c, "column \"path\"");
    t->split = find(c, "split");
    t->split_is_valid = t->split < 0;
    if (t->split_is_valid) t->split = find(c, "is_valid");
    enum smkd_result r = choose_label(t, c);
    const int taken[] = {t->path, t->label, t->split};
    for (int i = 0; i < 3 && r == SMKD_R_OK; i++)
        if (taken[i] >= 0 && count(c, c->name[taken[i]]) > 1)
            r = list_fail(t->header, "column \"%.60s\" is there twice", c->name[taken[i]]);
    return r;
}

void list_table_open(struct list_table *t, struct list_job *j) {
    *t = (struct list_table){.j = j, .file = list_file(j, j->where)};
    const char *slash = strrchr(j->where, '/');
    struct str dir = STR_INIT;
    str_addn(&dir, j->where, slash ? (size_t)(slash - j->where) + (slash == j->where) : 0);
    t->root = j->root = j->o->image_root ? j->o->image_root : list_file(j, dir.s ? dir.s : "");
    str_release(&dir);
}

static void strip(const char **p, size_t *n) {
    while (*n && strchr(" \t", **p)) {
        ++*p;
        --*n;
    }
    while (*n && strchr(" \t", (*p)[*n - 1])) --*n;
}

static bool is_word(const char *const *words, const char *text) {
    for (; *words; words++)
        if (strcasecmp(*words, text) == 0) return true;
    return false;
}

static enum smkd_result part_of(const struct list_table *t, struct list_place at, const char *p, size_t n,
                                enum list_part *part) {
    static const char *const yes[] = {"true", "1", "yes", NULL}, *const no[] = {"false", "0", "no", NULL};
    char word[32];
    strip(&p, &n);
    snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : sizeof word - 1), p);
    *part = LIST_TRAIN;
    if (t->split_is_valid && is_word(no, word)) return SMKD_R_OK;
    *part = t->split_is_valid && is_word(yes, word) ? LIST_VAL : t->split_is_valid ? LIST_PARTS : list_part_of(word);
    if (*part != LIST_PARTS) return SMKD_R_OK;
    return list_fail(at, "%s is \"%s\"; expected %s", t->split_is_valid ? "is_valid" : "split", word,
                     t->split_is_valid ? "True or False" : "train, val or test");
}

enum smkd_result list_table_row(const struct list_table *t, struct list_place at, const struct list_cell *path,
                                const struct list_cell *label, const struct list_cell *split) {
    enum list_part part = LIST_TRAIN;
    enum smkd_result r = split ? part_of(t, at, split->p, split->n, &part) : SMKD_R_OK;
    if (r != SMKD_R_OK) return r;
    const char *p = label->p;
    size_t n = label->n;
    strip(&p, &n);
    struct list_row row = {.root = t->root, .path = path->p, .n = path->n, .label = -1, .at = at};
    if (n) row.label = list_label(t->j, p, n, at);
    return list_add(t->j, part, &row);
}
