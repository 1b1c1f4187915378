// Rows and names as the readers add them.
#include "list_internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// --- different strings -----------------------------------------------------------------------------------------------

static size_t slot_of(const struct list_names *s, const char *text, size_t n) {
    size_t i = fnv1a(FNV_INIT, text, n) & (s->n_slots - 1);
    while (s->slot[i]) {
        const char *have = s->name[s->slot[i] - 1];
        if (strncmp(have, text, n) == 0 && have[n] == 0) break;
        i = (i + 1) & (s->n_slots - 1);
    }
    return i;
}

int32_t list_names_find(const struct list_names *s, const char *text, size_t n) {
    return s->n_slots ? (int32_t)s->slot[slot_of(s, text, n)] - 1 : -1;
}

static void rehash(struct list_names *s, size_t n_slots) {
    free(s->slot);
    s->slot = xcalloc(n_slots, sizeof *s->slot);
    s->n_slots = n_slots;
    for (size_t i = 0; i < s->n; i++) s->slot[slot_of(s, s->name[i], strlen(s->name[i]))] = (uint32_t)i + 1;
}

int32_t list_names_add(struct list_names *s, const char *text, size_t n) {
    if (2 * (s->n + 1) > s->n_slots) rehash(s, s->n_slots ? 2 * s->n_slots : 64);
    size_t at = slot_of(s, text, n);
    if (s->slot[at]) return (int32_t)s->slot[at] - 1;
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 32;
        s->name = xrealloc(s->name, s->cap * sizeof *s->name);
    }
    char *copy = xmalloc(n + 1);
    memcpy(copy, text, n);
    copy[n] = 0;
    s->name[s->n++] = copy;
    s->slot[at] = (uint32_t)s->n;
    return (int32_t)s->n - 1;
}

void list_names_release(struct list_names *s) {
    for (size_t i = 0; i < s->n; i++) free(s->name[i]);
    free(s->name);
    free(s->slot);
    *s = (struct list_names){0};
}

// --- messages --------------------------------------------------------------------------------------------------------

const char *list_file(struct list_job *j, const char *path) {
    int32_t i = list_names_add(&j->files, path, strlen(path));
    return j->files.name[i];
}

const char *list_file_in(struct list_job *j, const char *dir, const char *file) {
    struct str s = STR_INIT;
    str_addf(&s, "%s%s%s", dir, str_has_suffix(dir, "/") ? "" : "/", file);
    const char *kept = list_file(j, s.s);
    str_release(&s);
    return kept;
}

enum smkd_result list_fail(struct list_place at, const char *fmt, ...) {
    struct str s = STR_INIT;
    char text[768];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    str_addf(&s, "%s: ", at.file);
    if (at.line) str_addf(&s, "line %zu: ", at.line);
    enum smkd_result r = rt_fail(SMKD_R_INVALID, "%s%s", s.s, text);
    str_release(&s);
    return r;
}

void list_note(struct list_job *j, const char *fmt, ...) {
    char text[768], line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    size_t n = text_escape(line, sizeof line, text, strlen(text)) + 1;
    struct rt_listing *l = j->out;
    l->notes = xrealloc(l->notes, ((size_t)l->n_notes + 1) * sizeof *l->notes);
    l->notes[l->n_notes++] = memcpy(xmalloc(n), line, n);
}

// --- rows ------------------------------------------------------------------------------------------------------------

int32_t list_label(struct list_job *j, const char *text, size_t n, struct list_place at) {
    size_t before = j->labels.n;
    int32_t id = list_names_add(&j->labels, text, n);
    if (j->labels.n == before) return id;
    if (j->labels.n > j->label_cap) {
        j->label_cap = j->label_cap ? 2 * j->label_cap : 64;
        j->label_at = xrealloc(j->label_at, j->label_cap * sizeof *j->label_at);
        j->is_class = xrealloc(j->is_class, j->label_cap * sizeof *j->is_class);
    }
    j->label_at[id] = at;
    j->is_class[id] = false;
    return id;
}

static bool grow(struct rt_list *l, size_t bytes) {
    size_t cap = l->n == l->cap ? l->cap + l->cap / 2 + 256 : l->cap;
    size_t room = bytes > l->room - l->used ? l->room + l->room / 2 + bytes + 16384 : l->room;
    if (cap == l->cap && room == l->room) return true;
    if (!budget_allows(cap * (sizeof *l->at + sizeof *l->label) + room)) return false;
    if (cap != l->cap) {
        l->at = xrealloc(l->at, cap * sizeof *l->at);
        l->label = xrealloc(l->label, cap * sizeof *l->label);
    }
    if (room != l->room) l->pool = xrealloc(l->pool, room);
    l->cap = cap;
    l->room = room;
    return true;
}

enum smkd_result list_push(struct rt_list *l, const char *root, const char *path, size_t n, const char *suffix,
                           int32_t label) {
    size_t r = root ? strlen(root) : 0, s = strlen(suffix);
    if (l->n >= INT32_MAX || !grow(l, r + n + s + 2))
        return rt_fail(SMKD_R_NOMEM, "more than %zu images: %s", l->n,
                       l->n >= INT32_MAX ? "too many to number" : budget_why());
    l->at[l->n] = l->used;
    l->label[l->n++] = label;
    char *p = l->pool + l->used;
    if (r) memcpy(p, root, r);
    if (r && root[r - 1] != '/') p[r++] = '/';
    memcpy(p + r, path, n);
    memcpy(p + r + n, suffix, s + 1);
    l->used += r + n + s + 1;
    return SMKD_R_OK;
}

// Whether a relative path leads above where it begins.
static bool leaves(const char *path, size_t n) {
    const char *end = path + n;
    int depth = 0;
    while (path < end) {
        const char *slash = memchr(path, '/', (size_t)(end - path));
        size_t len = (size_t)((slash ? slash : end) - path);
        if (len == 2 && memcmp(path, "..", 2) == 0)
            depth--;
        else if (len && !(len == 1 && *path == '.'))
            depth++;
        if (depth < 0) return true;
        path += len + 1;
    }
    return false;
}

enum smkd_result list_check_labels(const struct list_job *j, struct list_place at) {
    if (j->labels.n <= LIST_MOST_CLASSES) return SMKD_R_OK;
    return list_fail(at, "there are more than %d different labels; is another column meant (--label-column)?",
                     LIST_MOST_CLASSES);
}

enum smkd_result list_add(struct list_job *j, enum list_part part, const struct list_row *r) {
    enum smkd_result many = list_check_labels(j, r->at);
    if (many != SMKD_R_OK) return many;
    if (r->n == 0) return list_fail(r->at, "the path is empty");
    if (!j->first[part].file) j->first[part] = r->at;
    if (r->label < 0 && !j->unlabelled[part].file) j->unlabelled[part] = r->at;
    bool absolute = r->path[0] == '/';
    if (absolute && j->absolute++ == 0) j->absolute_at = r->at;
    if (!absolute && leaves(r->path, r->n) && j->leaving++ == 0) j->leaving_at = r->at;
    enum smkd_result e =
        list_push(&j->part[part], absolute ? NULL : r->root, r->path, r->n, r->suffix ? r->suffix : "", r->label);
    return e == SMKD_R_OK ? e : rt_fail(e, "%s: line %zu: %s", r->at.file, r->at.line, smkd_last_error());
}

// --- parts -----------------------------------------------------------------------------------------------------------

enum list_part list_part_of(const char *word) {
    static const struct {
        const char *word;
        enum list_part part;
    } words[] = {
        {"train", LIST_TRAIN},    {"training", LIST_TRAIN}, {"val", LIST_VAL},   {"valid", LIST_VAL},
        {"validation", LIST_VAL}, {"dev", LIST_VAL},        {"test", LIST_TEST}, {"testing", LIST_TEST},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasecmp(word, words[i].word) == 0) return words[i].part;
    return LIST_PARTS;
}

enum smkd_result list_test_part(const char *where, const char *want, bool val, bool test, enum list_part *out) {
    *out = val ? LIST_VAL : test ? LIST_TEST : LIST_TRAIN;
    if (!want) return SMKD_R_OK;
    *out = list_part_of(want);
    if (*out == LIST_VAL ? val : *out == LIST_TEST && test) return SMKD_R_OK;
    if (*out != LIST_VAL && *out != LIST_TEST)
        return rt_fail(SMKD_R_INVALID, "--test-split %s: expected val or test", want);
    return rt_fail(SMKD_R_INVALID, "--test-split %s: %s has no such part%s", want, where,
                   val    ? ", only val"
                   : test ? ", only test"
                          : "");
}
