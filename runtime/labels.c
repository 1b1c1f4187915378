// Label files: what CIFAR-N and one's own annotators come as. What a file is shows in its bytes, not in its name.
#include "data.h"
#include "words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// What a reader collects: labels for all images of the files, or for the first n of them, which are kept.
struct target {
    const char *path;
    const char *noun, *range; // words for messages
    size_t total, n;
    int classes;
    int32_t *labels;
    size_t count;
};

// `where` is put in front: "line 3: " of a text file.
static enum smkd_result add(struct target *t, int64_t label, const char *where) {
    if (label < 0 || label >= t->classes)
        return rt_fail(SMKD_R_INVALID, "%s: %s%s %zu is %lld, expected 0 to %d, %s", t->path, where, t->noun, t->count,
                       (long long)label, t->classes - 1, t->range);
    if (t->count < t->n) t->labels[t->count] = (int32_t)label;
    t->count++;
    return SMKD_R_OK;
}

static enum smkd_result check_count(const struct target *t, size_t got) {
    if (got == t->total || got == t->n) return SMKD_R_OK;
    struct str first = STR_INIT;
    if (t->n != t->total) str_addf(&first, " (or for the first %zu)", t->n);
    enum smkd_result r = rt_fail(SMKD_R_MISMATCH, "%s: has %zu %s%s, expected one for each of %zu images%s", t->path,
                                 got, t->noun, got == 1 ? "" : "s", t->total, first.s ? first.s : "");
    str_release(&first);
    return r;
}

// --- .npy ------------------------------------------------------------------------------------------------------------

static enum smkd_result check_shape(const struct target *t, const struct rt_tensor *a) {
    int wide = 0;
    size_t rows = a->rank ? (size_t)a->dims[0] : 1;
    for (int d = 0; d < a->rank; d++) wide += a->dims[d] != 1;
    if (wide <= 1) return check_count(t, a->numel);
    struct str shape = STR_INIT;
    for (int d = 0; d < a->rank; d++) str_addf(&shape, "%s%lld", d ? "," : "", (long long)a->dims[d]);
    bool table = a->rank == 2 && (rows == t->total || rows == t->n);
    const char *advice = table ? "save y.argmax(1) of rows that mark or weigh the classes, or one column, y[:,0]"
                               : "save y.ravel() where that is what it holds";
    enum smkd_result r = rt_fail(SMKD_R_INVALID, "%s: has shape [%s], expected one %s for each image; %s", t->path,
                                 shape.s, t->noun, advice);
    str_release(&shape);
    return r;
}

static enum smkd_result read_npy(struct target *t, const void *bytes, size_t size) {
    struct rt_tensor a;
    enum smkd_result r = rt_npy_parse(t->path, bytes, size, &a);
    if (r == SMKD_R_OK) r = check_shape(t, &a);
    if (r == SMKD_R_OK) r = rt_tensor_convert(&a, RT_I64, t->path, t->noun);
    for (size_t i = 0; r == SMKD_R_OK && i < a.numel; i++) r = add(t, ((const int64_t *)a.data)[i], "");
    rt_tensor_release(&a);
    return r;
}

// --- text ------------------------------------------------------------------------------------------------------------

// One number of a text file, which may be written as a real one (numpy.savetxt does).
static enum smkd_result add_word(struct target *t, size_t line, const char *word, size_t len) {
    char text[64], where[40];
    double f;
    int64_t label;
    snprintf(where, sizeof where, "line %zu: ", line);
    snprintf(text, sizeof text, "%.*s", (int)(len < sizeof text ? len : sizeof text - 1), word);
    if (parse_i64(text, &label)) return add(t, label, where);
    if (!parse_f64(text, &f)) {
        bool heading = t->count == 0 && strcasecmp(text, "nan") != 0;
        return rt_fail(SMKD_R_INVALID, "%s: %sexpected one whole number, not \"%s\"%s", t->path, where, text,
                       heading ? "; leave out a line of headings" : "");
    }
    if (!(f >= INT32_MIN && f <= INT32_MAX) || f != floor(f))
        return rt_fail(SMKD_R_INVALID, "%s: %s%s %zu is %.9g, expected a whole number from 0 to %d", t->path, where,
                       t->noun, t->count, f, t->classes - 1);
    return add(t, (int64_t)f, where);
}

// One number a line, or all of them in a single one.
static enum smkd_result check_columns(const struct target *t, struct rt_words w) {
    size_t lines = 0, widest = 0, where = 0, len;
    while (rt_words_line(&w)) {
        size_t words = 0;
        while (rt_words_next(&w, &len)) words++;
        lines += words > 0;
        if (words > widest) {
            widest = words;
            where = w.line;
        }
    }
    if (lines < 2 || widest < 2) return SMKD_R_OK;
    return rt_fail(SMKD_R_INVALID, "%s: line %zu has %zu words, expected one %s a line; keep the column of %ss",
                   t->path, where, widest, t->noun, t->noun);
}

static enum smkd_result read_text(struct target *t, const char *p, size_t size) {
    struct rt_words w;
    enum smkd_result r = rt_words_begin(&w, t->path, p, size);
    if (r == SMKD_R_OK) r = check_columns(t, w);
    while (r == SMKD_R_OK && rt_words_line(&w)) {
        const char *word;
        size_t len;
        while (r == SMKD_R_OK && (word = rt_words_next(&w, &len))) r = add_word(t, w.line, word, len);
    }
    return r == SMKD_R_OK ? check_count(t, t->count) : r;
}

static enum smkd_result read_file(struct target *t) {
    const void *map;
    size_t size;
    if (io_map(t->path, &map, &size) != SMKD_OK) return rt_fail(SMKD_R_IO, "%s: cannot be read: %s", t->path, io_why());
    enum smkd_result r;
    if (size == 0)
        r = rt_fail(SMKD_R_INVALID, "%s: is empty; a .npy, or text with one %s a line, is expected", t->path, t->noun);
    else
        r = rt_format_name(map, size) ? read_npy(t, map, size) : read_text(t, map, size);
    io_unmap(map, size);
    return r;
}

enum smkd_result rt_labels_read(const char *path, size_t total, size_t n, int classes, int32_t *labels) {
    struct target t = {path, "label", "classes of the data or the model", total, n, classes, labels, 0};
    return read_file(&t);
}

enum smkd_result rt_marks_read(const char *path, size_t total, size_t n, int32_t *marks) {
    struct target t = {path, "mark", "1 for what is kept", total, n, 2, marks, 0};
    return read_file(&t);
}

enum smkd_result rt_labels_write(const char *path, const int32_t *labels, size_t n) {
    int64_t *wide = xcalloc(n, sizeof *wide);
    for (size_t i = 0; i < n; i++) wide[i] = labels[i];
    struct rt_tensor t = {.dtype = RT_I64,
                          .rank = 1,
                          .dims = {(int64_t)n},
                          .numel = n,
                          .bytes = n * sizeof *wide,
                          .data = wide,
                          .borrowed = true};
    enum smkd_result r = rt_npy_write(path, &t);
    free(wide);
    return r;
}
