// From the labels of rows to classes, and what the user should know about them.
#include "list_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SHOWN = 5, LOOKED_AT = 8 };

struct classes {
    struct list_job *j;
    const struct rt_list *parts[2];
    size_t *used;      // by label: rows
    int32_t *class_of; // by label
    char **name;
    size_t n;
    bool by_number; // the labels are numbers and no names
};

static bool is_class(const struct classes *c, size_t label) { return c->used[label] || c->j->is_class[label]; }

static bool as_number(const char *text, int64_t *v) { return parse_i64(text, v) && *v >= 0; }

static char *copy(const char *s) {
    size_t n = strlen(s) + 1;
    return memcpy(xmalloc(n), s, n);
}

static void names_free(char **name, size_t n) {
    for (size_t i = 0; i < n; i++) free(name[i]);
    free(name);
}

// "a, b, c and 4 more" of those of n names for which which(env, i).
static size_t add_some(struct str *s, char *const *name, size_t n, bool (*which)(void *env, size_t i), void *env) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (which(env, i) && count++ < SHOWN) str_addf(s, "%s%.60s", count > 1 ? ", " : "", name[i]);
    if (count > SHOWN) str_addf(s, " and %zu more", count - SHOWN);
    return count;
}

static bool all(void *env, size_t i) {
    (void)env;
    (void)i;
    return true;
}

static enum smkd_result no_such_class(const struct classes *c, size_t label, char *const *names, size_t n,
                                      const char *whose) {
    struct str s = STR_INIT;
    add_some(&s, names, n, all, NULL);
    enum smkd_result r = list_fail(c->j->label_at[label], "\"%.100s\" is none of the %zu classes of %s: %s",
                                   c->j->labels.name[label], n, whose, s.s ? s.s : "");
    str_release(&s);
    return r;
}

// --- the data's own classes ------------------------------------------------------------------------------------------

static enum smkd_result by_known(struct classes *c) {
    const struct list_names *k = &c->j->known;
    for (size_t i = 0; i < c->j->labels.n; i++) {
        const char *text = c->j->labels.name[i];
        if (!is_class(c, i)) continue;
        int64_t v = list_names_find(k, text, strlen(text));
        if (v < 0 && c->j->numbers) as_number(text, &v);
        if (v < 0 || v >= (int64_t)k->n) return no_such_class(c, i, k->name, k->n, c->j->known_from);
        c->class_of[i] = (int32_t)v;
    }
    c->n = k->n;
    c->name = xcalloc(c->n, sizeof *c->name);
    for (size_t i = 0; i < c->n; i++) c->name[i] = copy(k->name[i]);
    return SMKD_R_OK;
}

static bool all_numbers(const struct classes *c) {
    int64_t v;
    if (!c->j->numbers) return false;
    for (size_t i = 0; i < c->j->labels.n; i++)
        if (is_class(c, i) && !parse_i64(c->j->labels.name[i], &v)) return false;
    return true;
}

static enum smkd_result by_number(struct classes *c) {
    c->by_number = true;
    for (size_t i = 0; i < c->j->labels.n; i++) {
        int64_t v = 0;
        if (!is_class(c, i)) continue;
        if (!as_number(c->j->labels.name[i], &v) || v >= LIST_MOST_CLASSES)
            return list_fail(c->j->label_at[i], "label %s: whole numbers from 0 to %d are expected",
                             c->j->labels.name[i], LIST_MOST_CLASSES - 1);
        c->class_of[i] = (int32_t)v;
        if ((size_t)v >= c->n) c->n = (size_t)v + 1;
    }
    c->name = xcalloc(c->n, sizeof *c->name);
    for (size_t i = 0; i < c->n; i++) {
        char text[24];
        snprintf(text, sizeof text, "%zu", i);
        c->name[i] = copy(text);
    }
    return SMKD_R_OK;
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static enum smkd_result by_name(struct classes *c) {
    const struct list_names *l = &c->j->labels;
    c->name = xcalloc(l->n + 1, sizeof *c->name);
    for (size_t i = 0; i < l->n; i++) {
        if (!is_class(c, i)) continue;
        if (!utf8_valid(l->name[i], strlen(l->name[i])))
            return list_fail(c->j->label_at[i], "the class's name \"%.100s\" is no UTF-8", l->name[i]);
        c->name[c->n++] = copy(l->name[i]);
    }
    if (c->n) qsort(c->name, c->n, sizeof *c->name, by_bytes);
    for (size_t i = 0; i < l->n; i++) {
        if (!is_class(c, i)) continue;
        const char *key = l->name[i];
        char *const *at = bsearch(&key, c->name, c->n, sizeof *c->name, by_bytes);
        c->class_of[i] = (int32_t)(at - c->name);
    }
    return SMKD_R_OK;
}

// --- the classes of a run --------------------------------------------------------------------------------------------

// Puts the classes that are given in the place of the data's own.
static enum smkd_result onto_given(struct classes *c) {
    const struct rt_listing_options *o = c->j->o;
    if (o->n_classes == 0) return SMKD_R_OK;
    struct list_names given = {0};
    for (int i = 0; i < o->n_classes; i++) list_names_add(&given, o->classes[i], strlen(o->classes[i]));
    size_t missing = SIZE_MAX, too_large = SIZE_MAX;
    for (size_t i = 0; i < c->j->labels.n; i++) {
        if (c->used[i] == 0) continue;
        const char *name = c->name[c->class_of[i]];
        if (list_names_find(&given, name, strlen(name)) < 0 && missing == SIZE_MAX) missing = i;
        if (c->class_of[i] >= o->n_classes && too_large == SIZE_MAX) too_large = i;
    }
    const bool numbers = missing != SIZE_MAX && c->by_number && too_large == SIZE_MAX;
    enum smkd_result r = SMKD_R_OK;
    char **names = xcalloc((size_t)o->n_classes, sizeof *names);
    for (int i = 0; i < o->n_classes; i++) names[i] = copy(o->classes[i]);
    if (missing != SIZE_MAX && !numbers)
        r = no_such_class(c, c->by_number ? too_large : missing, names, (size_t)o->n_classes, "the run");
    for (size_t i = 0; i < c->j->labels.n && r == SMKD_R_OK && !numbers; i++) {
        if (c->class_of[i] < 0) continue;
        const char *name = c->name[c->class_of[i]];
        c->class_of[i] = list_names_find(&given, name, strlen(name));
    }
    names_free(c->name, c->n);
    c->name = names;
    c->n = (size_t)o->n_classes;
    list_names_release(&given);
    return r;
}

// --- what is said ----------------------------------------------------------------------------------------------------

static bool has_none(void *env, size_t i) { return ((const size_t *)env)[i] == 0; }

static void note_empty(const struct classes *c) {
    static const char *const words[] = {"training", "test"};
    for (int p = 0; p < 2; p++) {
        const struct rt_list *l = c->parts[p];
        if (l->n == 0) continue;
        size_t *rows = xcalloc(c->n, sizeof *rows);
        for (size_t i = 0; i < l->n; i++) rows[l->label[i]]++;
        struct str s = STR_INIT;
        size_t count = add_some(&s, c->name, c->n, has_none, rows);
        if (count)
            list_note(c->j, "%s: %zu of %zu classes %s no %s image: %s", c->j->where, count, c->n,
                      count == 1 ? "has" : "have", words[p], s.s);
        str_release(&s);
        free(rows);
    }
}

static void note_paths(struct list_job *j) {
    if (j->absolute)
        list_note(j, "%s: %zu path%s absolute and taken as written (the first: line %zu)", j->absolute_at.file,
                  j->absolute, j->absolute == 1 ? " is" : "s are", j->absolute_at.line);
    if (j->leaving)
        list_note(j, "%s: %zu path%s out of %s by \"..\" (the first: line %zu)", j->leaving_at.file, j->leaving,
                  j->leaving == 1 ? " leads" : "s lead", j->root && *j->root ? j->root : ".", j->leaving_at.line);
}

// A list whose first files are all missing belongs to images that lie elsewhere.
static enum smkd_result look_at_first(const struct list_job *j, const struct rt_list *l, struct list_place at) {
    size_t n = l->n < LOOKED_AT ? l->n : LOOKED_AT;
    struct stat st;
    if (!at.file || n == 0) return SMKD_R_OK;
    for (size_t i = 0; i < n; i++)
        if (stat(rt_list_path(l, i), &st) == 0) return SMKD_R_OK;
    const char *path = rt_list_path(l, 0);
    return list_fail(at, "%s does not exist%s; relative paths are looked for below %s%s (--image-root DIR)", path,
                     n > 1 ? ", nor do the next ones" : "", j->root && *j->root ? j->root : ".",
                     strchr(path, '\\') ? ", and are written with / instead of \\" : "");
}

// --- all of it -------------------------------------------------------------------------------------------------------

static void trim(struct rt_list *l) {
    if (l->n == 0) return;
    l->at = xrealloc(l->at, l->n * sizeof *l->at);
    l->label = xrealloc(l->label, l->n * sizeof *l->label);
    l->pool = xrealloc(l->pool, l->used);
    l->cap = l->n;
    l->room = l->used;
}

static enum smkd_result set_classes(struct list_job *j) {
    struct rt_listing *out = j->out;
    struct rt_list *parts[] = {&out->train, &out->test};
    struct classes c = {.j = j, .parts = {parts[0], parts[1]}};
    c.used = xcalloc(j->labels.n + 1, sizeof *c.used);
    c.class_of = xcalloc(j->labels.n + 1, sizeof *c.class_of);
    for (size_t i = 0; i < j->labels.n; i++) c.class_of[i] = -1;
    for (int p = 0; p < 2; p++)
        for (size_t i = 0; i < parts[p]->n; i++) c.used[parts[p]->label[i]]++;
    enum smkd_result r = j->known.n ? by_known(&c) : all_numbers(&c) ? by_number(&c) : by_name(&c);
    if (r == SMKD_R_OK) r = onto_given(&c);
    for (int p = 0; p < 2 && r == SMKD_R_OK; p++)
        for (size_t i = 0; i < parts[p]->n; i++) parts[p]->label[i] = c.class_of[parts[p]->label[i]];
    if (r == SMKD_R_OK) note_empty(&c);
    free(c.used);
    free(c.class_of);
    out->classes = c.name;
    out->n_classes = c.name ? (int)c.n : 0; // none yet after a failure
    return r;
}

enum smkd_result list_finish(struct list_job *j) {
    struct rt_listing *out = j->out;
    enum list_part test;
    enum smkd_result r =
        list_test_part(j->where, j->o->test_split, j->part[LIST_VAL].n > 0, j->part[LIST_TEST].n > 0, &test);
    if (r != SMKD_R_OK) return r;
    const enum list_part other = test == LIST_VAL ? LIST_TEST : LIST_VAL, chosen[] = {LIST_TRAIN, test};
    if (test != LIST_TRAIN && j->part[other].n)
        list_note(j, "%s: the %zu images of its %s part are not used (--test-split %s)", j->where, j->part[other].n,
                  other == LIST_VAL ? "val" : "test", other == LIST_VAL ? "val" : "test");
    struct rt_list *to[] = {&out->train, &out->test};
    out->has_test = test != LIST_TRAIN;
    for (int p = 0; p < 1 + out->has_test; p++) {
        *to[p] = j->part[chosen[p]];
        j->part[chosen[p]] = (struct rt_list){0};
        if (j->unlabelled[chosen[p]].file) return list_fail(j->unlabelled[chosen[p]], "the label is empty");
    }
    if (out->train.n + out->test.n == 0) return rt_fail(SMKD_R_INVALID, "%s: has no images", j->where);
    r = set_classes(j);
    for (int p = 0; p < 1 + out->has_test && r == SMKD_R_OK; p++) r = look_at_first(j, to[p], j->first[chosen[p]]);
    note_paths(j);
    trim(&out->train);
    trim(&out->test);
    return r;
}
