// Text files with a path, a key or a class a line.
#include "list_internal.h"

#include <string.h>

enum smkd_result list_text_open(struct list_job *j, const char *path, struct list_text *t) {
    *t = (struct list_text){.at = {list_file(j, path), 0}};
    const void *map;
    if (io_map(path, &map, &t->size) != SMKD_OK) return rt_fail(SMKD_R_IO, "%s: cannot be read: %s", path, io_why());
    t->map = t->p = map;
    t->end = t->map + t->size;
    const char *what = rt_format_name(map, t->size), *nul = memchr(map, 0, t->size);
    enum smkd_result r = SMKD_R_OK;
    if (t->size == 0)
        r = rt_fail(SMKD_R_INVALID, "%s: is empty", path);
    else if (what)
        r = rt_fail(SMKD_R_INVALID, "%s: is %s; text in UTF-8 is expected", path, what);
    else if (nul)
        r = rt_fail(SMKD_R_INVALID, "%s: is no text: byte %zu is 0", path, (size_t)(nul - t->map));
    if (r != SMKD_R_OK) list_text_close(t);
    if (r == SMKD_R_OK && t->size >= 3 && memcmp(t->p, "\xef\xbb\xbf", 3) == 0) t->p += 3; // a byte-order mark
    return r;
}

void list_text_close(struct list_text *t) {
    if (t->map) io_unmap(t->map, t->size);
    t->map = t->p = t->end = NULL;
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

bool list_text_next(struct list_text *t) {
    while (t->p < t->end) {
        const char *stop = memchr(t->p, '\n', (size_t)(t->end - t->p)), *from = t->p;
        if (!stop) stop = t->end;
        t->p = stop + 1;
        t->at.line++;
        while (from < stop && is_blank(*from)) from++;
        while (from < stop && is_blank(stop[-1])) stop--;
        t->line = from;
        t->n = (size_t)(stop - from);
        if (t->n) return true;
    }
    return false;
}

bool list_text_split(const struct list_text *t, size_t *path, const char **label, size_t *n) {
    size_t at = t->n;
    while (at && !is_blank(t->line[at - 1])) at--;
    if (at == 0) return false;
    *label = t->line + at;
    *n = t->n - at;
    while (at && is_blank(t->line[at - 1])) at--;
    *path = at;
    return true;
}

enum smkd_result list_known_from(struct list_job *j, const char *path, size_t most, bool word) {
    struct list_text t;
    enum smkd_result r = list_text_open(j, path, &t);
    if (r != SMKD_R_OK) return r;
    j->known_from = t.at.file;
    while (r == SMKD_R_OK && j->known.n < most && list_text_next(&t)) {
        size_t n = 0, before = j->known.n;
        while (n < t.n && !(word && is_blank(t.line[n]))) n++;
        if (!utf8_valid(t.line, n))
            r = list_fail(t.at, "the class's name is no UTF-8");
        else if (list_names_add(&j->known, t.line, n) != (int32_t)before)
            r = list_fail(t.at, "class %.*s is there twice", (int)(n < 100 ? n : 100), t.line);
    }
    list_text_close(&t);
    return r;
}
