// Tables as RFC 4180 has them: fields in quotes with quotes doubled, separators and ends of lines within them; lines
// that end in CRLF, LF or CR; a byte-order mark in front. A file that ends in .tsv has tabs for commas.
#include "list_table.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct csv {
    const char *p, *end;
    char separator;
    size_t line;          // of p
    struct list_place at; // where the record began
    struct str text;      // fields of the record, one behind the other, each with a NUL
    size_t *from;         // where each begins, and where the last ends
    size_t n, cap;
};

static void begin_field(struct csv *c) {
    if (c->n + 2 > c->cap) {
        c->cap = c->cap ? 2 * c->cap : 32;
        c->from = xrealloc(c->from, c->cap * sizeof *c->from);
    }
    c->from[c->n++] = c->text.len;
}

static void end_field(struct csv *c) {
    str_addn(&c->text, "", 1);
    c->from[c->n] = c->text.len;
}

static struct list_cell cell(const struct csv *c, int i) {
    return (struct list_cell){c->text.s + c->from[i], c->from[i + 1] - c->from[i] - 1};
}

static size_t lines_in(const char *p, size_t n) {
    size_t lines = 0;
    for (size_t i = 0; i < n; i++) lines += p[i] == '\n' || (p[i] == '\r' && !(i + 1 < n && p[i + 1] == '\n'));
    return lines;
}

// The inside of quotes; p stands behind the first.
static enum smkd_result quoted(struct csv *c) {
    struct list_place from = {c->at.file, c->line};
    for (;;) {
        const char *q = memchr(c->p, '"', (size_t)(c->end - c->p));
        if (!q) return list_fail(from, "a quoted field begins that does not end");
        c->line += lines_in(c->p, (size_t)(q - c->p));
        str_addn(&c->text, c->p, (size_t)(q - c->p));
        c->p = q + 1;
        if (c->p == c->end || *c->p != '"') break;
        str_addn(&c->text, "\"", 1);
        c->p++;
    }
    if (c->p < c->end && *c->p != c->separator && *c->p != '\r' && *c->p != '\n')
        return list_fail((struct list_place){c->at.file, c->line},
                         "something follows the quote that ends a field; quotes within one are doubled");
    return SMKD_R_OK;
}

// Skips the end of a line; false where p does not stand at one.
static bool line_end(struct csv *c) {
    if (c->p == c->end || (*c->p != '\r' && *c->p != '\n')) return false;
    c->p += *c->p == '\r' && c->p + 1 < c->end && c->p[1] == '\n' ? 2 : 1;
    c->line++;
    return true;
}

// Reads the next record that is not a blank line; n is 0 at the end of the file.
static enum smkd_result record(struct csv *c) {
    while (line_end(c)) {
    }
    c->n = 0;
    str_clear(&c->text);
    c->at.line = c->line;
    if (c->p == c->end) return SMKD_R_OK;
    for (;;) {
        enum smkd_result r = SMKD_R_OK;
        begin_field(c);
        if (c->p < c->end && *c->p == '"') {
            c->p++;
            r = quoted(c);
        } else {
            const char *from = c->p;
            while (c->p < c->end && *c->p != c->separator && *c->p != '\r' && *c->p != '\n') c->p++;
            str_addn(&c->text, from, (size_t)(c->p - from));
        }
        end_field(c);
        if (r != SMKD_R_OK || c->p == c->end || line_end(c)) return r;
        c->p++; // the separator
    }
}

static enum smkd_result header(struct csv *c, struct list_table *t, size_t *columns) {
    enum smkd_result r = record(c);
    if (r != SMKD_R_OK) return r;
    t->header = c->at;
    struct list_columns names = {xcalloc(c->n + 1, sizeof(char *)), c->n};
    for (size_t i = 0; i < c->n; i++) {
        struct list_cell f = cell(c, (int)i);
        while (f.n && strchr(" \t", *f.p)) f = (struct list_cell){f.p + 1, f.n - 1};
        while (f.n && strchr(" \t", f.p[f.n - 1])) f.n--;
        names.name[i] = xcalloc(f.n + 1, 1);
        memcpy(names.name[i], f.p, f.n);
    }
    *columns = names.n;
    r = list_table_columns(t, &names);
    for (size_t i = 0; i < names.n; i++) free(names.name[i]);
    free(names.name);
    return r;
}

static enum smkd_result rows(struct csv *c, const struct list_table *t, size_t columns) {
    enum smkd_result r;
    while ((r = record(c)) == SMKD_R_OK && c->n) {
        if (c->n != columns)
            return list_fail(c->at, "has %zu field%s, the header has %zu", c->n, c->n == 1 ? "" : "s", columns);
        struct list_cell path = cell(c, t->path), label = cell(c, t->label), split = {0};
        if (t->split >= 0) split = cell(c, t->split);
        r = list_table_row(t, c->at, &path, &label, t->split >= 0 ? &split : NULL);
        if (r != SMKD_R_OK) return r;
    }
    return r;
}

enum smkd_result list_csv(struct list_job *j) {
    struct list_text file;
    struct list_table t;
    list_table_open(&t, j);
    enum smkd_result r = list_text_open(j, j->where, &file);
    if (r != SMKD_R_OK) return r;
    struct csv c = {.p = file.p, .end = file.end, .line = 1, .at = {t.file, 1}, .separator = ','};
    if (strcasecmp(j->where + strlen(j->where) - 4, ".tsv") == 0) c.separator = '\t';
    size_t columns = 0;
    r = header(&c, &t, &columns);
    if (r == SMKD_R_OK) r = rows(&c, &t, columns);
    list_text_close(&file);
    str_release(&c.text);
    free(c.from);
    return r;
}

static bool ends_in(const char *where, const char *suffix) {
    size_t n = strlen(where), s = strlen(suffix);
    return n > s && strcasecmp(where + n - s, suffix) == 0 && !list_is_folder(where);
}

bool list_csv_detect(const char *where) { return ends_in(where, ".csv") || ends_in(where, ".tsv"); }
bool list_jsonl_detect(const char *where) { return ends_in(where, ".jsonl") || ends_in(where, ".ndjson"); }
