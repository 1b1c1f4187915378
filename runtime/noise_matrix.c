// Noise by a transition matrix of the user's own: row i is the distribution of the given label where the true one is i.
#include "noise.h"
#include "words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROW_SUM_TOLERANCE 1e-6

struct matrix {
    const char *path;
    int classes;
    double *p; // [classes][classes]
};

static enum smkd_result read_npy(struct matrix *m, const void *bytes, size_t size) {
    struct rt_tensor t;
    enum smkd_result r = rt_npy_parse(m->path, bytes, size, &t);
    if (r != SMKD_R_OK) return r;
    if (t.rank != 2 || t.dims[0] != m->classes || t.dims[1] != m->classes) {
        struct str shape = STR_INIT;
        for (int d = 0; d < t.rank; d++) str_addf(&shape, "%s%lld", d ? "," : "", (long long)t.dims[d]);
        r = rt_fail(SMKD_R_MISMATCH, "%s: has shape [%s], expected [%d,%d]: a row and a column for each class", m->path,
                    shape.s ? shape.s : "", m->classes, m->classes);
        str_release(&shape);
    }
    if (r == SMKD_R_OK) r = rt_tensor_convert(&t, RT_F64, m->path, "element");
    if (r == SMKD_R_OK) memcpy(m->p, t.data, t.numel * sizeof *m->p);
    rt_tensor_release(&t);
    return r;
}

// The numbers of a line that is not empty, as row `row`.
static enum smkd_result read_row(struct matrix *m, struct rt_words *w, int row) {
    const char *word;
    size_t len;
    int n = 0;
    for (; (word = rt_words_next(w, &len)); n++) {
        char text[64];
        double v;
        snprintf(text, sizeof text, "%.*s", (int)(len < sizeof text ? len : sizeof text - 1), word);
        if (!parse_f64(text, &v))
            return rt_fail(SMKD_R_INVALID, "%s: line %zu: expected a number, not \"%s\"", m->path, w->line, text);
        if (row < m->classes && n < m->classes) m->p[row * m->classes + n] = v;
    }
    if (n == m->classes) return SMKD_R_OK;
    return rt_fail(SMKD_R_MISMATCH, "%s: line %zu has %d number%s, expected %d, one for each class", m->path, w->line,
                   n, n == 1 ? "" : "s", m->classes);
}

static enum smkd_result read_text(struct matrix *m, const char *p, size_t size) {
    struct rt_words w;
    int rows = 0;
    enum smkd_result r = rt_words_begin(&w, m->path, p, size);
    while (r == SMKD_R_OK && rt_words_line(&w)) {
        struct rt_words ahead = w;
        size_t len;
        if (rt_words_next(&ahead, &len)) r = read_row(m, &w, rows++);
    }
    if (r == SMKD_R_OK && rows != m->classes)
        r = rt_fail(SMKD_R_MISMATCH, "%s: has %d row%s, expected %d, one for each class", m->path, rows,
                    rows == 1 ? "" : "s", m->classes);
    return r;
}

static enum smkd_result check(const struct matrix *m) {
    for (int i = 0; i < m->classes; i++) {
        double sum = 0;
        for (int c = 0; c < m->classes; c++) {
            double v = m->p[i * m->classes + c];
            if (!(v >= 0 && v <= 1 + ROW_SUM_TOLERANCE))
                return rt_fail(SMKD_R_INVALID, "%s: row %d, column %d (from 0) is %g; expected probabilities", m->path,
                               i, c, isnan(v) ? NAN : v);
            sum += v;
        }
        if (fabs(sum - 1) > ROW_SUM_TOLERANCE)
            return rt_fail(
                SMKD_R_INVALID,
                "%s: row %d (from 0) sums to %.9g, expected 1 within %g: it is the distribution of the given "
                "label of an image of class %d",
                m->path, i, sum, ROW_SUM_TOLERANCE, i);
    }
    return SMKD_R_OK;
}

static enum smkd_result read_matrix(struct matrix *m) {
    const void *map;
    size_t size;
    if (io_map(m->path, &map, &size) != SMKD_OK) return rt_fail(SMKD_R_IO, "%s: cannot be read: %s", m->path, io_why());
    enum smkd_result r;
    if (size == 0)
        r = rt_fail(SMKD_R_INVALID, "%s: is empty; a .npy, or text with a row of numbers for each class, is expected",
                    m->path);
    else
        r = rt_format_name(map, size) ? read_npy(m, map, size) : read_text(m, map, size);
    io_unmap(map, size);
    return r == SMKD_R_OK ? check(m) : r;
}

enum smkd_result rt_noise_matrix(const struct rt_noise *noise, const struct rt_noise_job *j) {
    const size_t side = (size_t)j->classes;
    if (!budget_allows((uint64_t)side * side * sizeof(double)))
        return rt_fail(SMKD_R_NOMEM, "--noise %s: %s", j->text, budget_why());
    struct matrix m = {.path = noise->file, .classes = j->classes, .p = xcalloc(side * side, sizeof *m.p)};
    enum smkd_result r = read_matrix(&m);
    struct rt_rng rng;
    rt_rng_init(&rng, j->seed, rt_stream_id(RT_STREAM_NOISE, NOISE_LABELS, 0));
    for (size_t i = 0; i < j->n && r == SMKD_R_OK; i++)
        j->labels[i] = rt_noise_pick(m.p + (size_t)j->labels[i] * side, j->classes, rt_rng_uniform(&rng));
    free(m.p);
    return r;
}
