// Numbers out of the runs' metrics.csv, and the tables of them. Times are in results.csv alone, in its last column, so
// that all else has the same bytes whenever and however often the sweep was interrupted.
#include "run_sweep.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// --- metrics.csv -----------------------------------------------------------------------------------------------------

// The field at *at, which moves behind it and its comma.
static const char *next_field(struct arena *a, const char **at, const char *end) {
    const char *p = *at;
    while (p < end && *p != ',') p++;
    char *text = arena_dup(a, *at, (size_t)(p - *at) + 1);
    text[p - *at] = 0;
    *at = p < end ? p + 1 : p;
    return text;
}

static size_t count_fields(const char *at, const char *end) {
    size_t n = 1;
    for (; at < end; at++) n += *at == ',';
    return n;
}

enum smkd_result sweep_metrics_read_run(struct sweep *s, struct sweep_run *r) {
    struct sweep_metrics *m = &r->metrics;
    char *path = rt_path_join(r->dir, "metrics.csv");
    const void *data = NULL;
    size_t size = 0, lines = 0;
    enum smkd_result e = SMKD_R_OK;
    *m = (struct sweep_metrics){0};
    if (rt_path_exists(path) && io_map(path, &data, &size) != SMKD_OK) e = rt_fail(SMKD_R_IO, "%s: %s", path, io_why());
    const char *p = data, *end = p + size;
    for (const char *q = p; q && (q = memchr(q, '\n', (size_t)(end - q))); q++) lines++;
    for (size_t line = 0; line < lines && e == SMKD_R_OK; line++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        if (line == 0) {
            m->columns = count_fields(p, stop);
            m->column = ARENA_ARRAY(&s->arena, const char *, m->columns);
            m->value = ARENA_ARRAY(&s->arena, double, m->columns *lines);
        } else if (count_fields(p, stop) != m->columns) {
            e = rt_fail(SMKD_R_INVALID, "%s: line %zu has not the %zu fields of its head", path, line + 1, m->columns);
            break;
        }
        for (size_t k = 0; k < m->columns; k++) {
            const char *text = next_field(&s->arena, &p, stop);
            if (line == 0) {
                m->column[k] = text;
                continue;
            }
            double *v = &m->value[(line - 1) * m->columns + k];
            *v = NAN;
            if (*text && !parse_f64(text, v)) {
                e = rt_fail(SMKD_R_INVALID, "%s: line %zu: \"%.40s\" is no number", path, line + 1, text);
                break;
            }
        }
        if (line) m->epochs++;
        p = stop + 1;
    }
    if (data) io_unmap(data, size);
    free(path);
    return e;
}

enum smkd_result sweep_metrics_read(struct sweep *s) {
    enum smkd_result r = SMKD_R_OK;
    for (size_t i = 0; i < s->n_runs && r == SMKD_R_OK; i++) r = sweep_metrics_read_run(s, &s->run[i]);
    return r;
}

static bool value_at(const struct sweep_metrics *m, const char *column, size_t epoch, double *out) {
    for (size_t k = 0; k < m->columns; k++)
        if (strcmp(m->column[k], column) == 0) {
            *out = m->value[epoch * m->columns + k];
            return true;
        }
    return false;
}

// STEM_0, STEM_1 ...: their mean.
static bool mean_at(const struct sweep_metrics *m, const char *stem, size_t epoch, double *out) {
    char column[96];
    double sum = 0, v;
    int n = 0;
    for (;; n++) {
        snprintf(column, sizeof column, "%s_%d", stem, n);
        if (!value_at(m, column, epoch, &v)) break;
        sum += v;
    }
    *out = sum / n;
    return n > 0;
}

double sweep_metrics_at(const struct sweep_metrics *m, const char *column, size_t epoch) {
    double v;
    if (epoch >= m->epochs) return NAN;
    if (value_at(m, column, epoch, &v) || mean_at(m, column, epoch, &v)) return v;
    return str_has_prefix(column, "mean_") && mean_at(m, column + strlen("mean_"), epoch, &v) ? v : NAN;
}

// --- statistics ------------------------------------------------------------------------------------------------------

void sweep_cell_add(struct sweep_cell *c, double value) {
    if (isnan(value)) return;
    const double before = value - c->mean;
    c->runs++;
    c->mean += before / (double)c->runs;
    c->sd += before * (value - c->mean); // the sum of squares until sweep_cell_finish
}

void sweep_cell_finish(struct sweep_cell *c) {
    c->sd = c->runs > 1 ? sqrt(c->sd / (double)(c->runs - 1)) : NAN;
    if (!c->runs) c->mean = NAN;
}

// `epoch` SIZE_MAX: each run's last.
struct sweep_cell sweep_cell_at(const struct sweep *s, size_t row, size_t column, const char *measure, size_t epoch) {
    struct sweep_cell c = {0};
    for (size_t i = 0; i < s->n_runs; i++) {
        const struct sweep_run *r = &s->run[i];
        if (r->state != SWEEP_DONE || r->row != row || r->column != column) continue;
        sweep_cell_add(&c, sweep_metrics_at(&r->metrics, measure, epoch == SIZE_MAX ? r->metrics.epochs - 1 : epoch));
    }
    sweep_cell_finish(&c);
    return c;
}

struct sweep_cell sweep_cell_of(const struct sweep *s, size_t row, size_t column, const char *measure) {
    return sweep_cell_at(s, row, column, measure, SIZE_MAX);
}

// --- words -----------------------------------------------------------------------------------------------------------

static size_t count_done(const struct sweep *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->n_runs; i++) n += s->run[i].state == SWEEP_DONE;
    return n;
}

// Runs of a cell when all is done.
static size_t runs_a_cell(const struct sweep *s) { return s->n_runs / (s->rows.n * s->columns.n); }

static bool is_head(const struct sweep_heads *h, size_t axis) {
    for (size_t k = 0; k < h->n_axes; k++)
        if (h->axis[k] == axis) return true;
    return false;
}

static void add_caption(const struct sweep *s, struct str *out) {
    struct str over = STR_INIT;
    for (size_t i = 0; i < s->n_axes; i++)
        if (!is_head(&s->rows, i) && !is_head(&s->columns, i))
            str_addf(&over, "%s%s", over.len ? ", " : "", s->axis[i].name);
    if (s->n_measures == 1) str_addf(out, "%s. ", s->measure[0].label);
    if (runs_a_cell(s) > 1)
        str_addf(out, "Mean ± standard deviation (n - 1) over %s, %zu runs each.", over.s, runs_a_cell(s));
    else
        str_add(out, "One run each.");
    if (count_done(s) < s->n_runs)
        str_addf(out, " %zu of %zu runs are finished; where a cell lacks some, it has their number in brackets.",
                 count_done(s), s->n_runs);
    str_release(&over);
}

// Decimals by size: accuracies in percent get two, shares four.
static int decimals(double largest) { return largest >= 10 ? 2 : largest >= 1 ? 3 : 4; }

static double largest_of(const struct sweep *s, const char *measure) {
    double most = 0;
    for (size_t r = 0; r < s->rows.n; r++)
        for (size_t c = 0; c < s->columns.n; c++) {
            const double v = fabs(sweep_cell_of(s, r, c, measure).mean);
            if (v > most) most = v;
        }
    return most;
}

static void add_cell(const struct sweep *s, const struct sweep_cell *c, int digits, struct str *out) {
    if (!c->runs) {
        str_add(out, "-");
        return;
    }
    str_addf(out, "%.*f", digits, c->mean);
    if (c->runs > 1) str_addf(out, " ± %.*f", digits, c->sd);
    if (c->runs < runs_a_cell(s)) str_addf(out, " (%zu)", c->runs);
}

// --- a grid of texts -------------------------------------------------------------------------------------------------

struct grid {
    size_t rows, columns, heads; // the first of each are heads: one row, `heads` columns
    struct str *at;              // [rows][columns]; owned
};

static struct str *cell(const struct grid *g, size_t r, size_t c) { return &g->at[r * g->columns + c]; }

// A column of its own for each thing that makes the rows.
static struct grid make_grid(const struct sweep *s) {
    const size_t heads = s->rows.n_axes ? s->rows.n_axes : 1;
    struct grid g = {s->rows.n + 1, heads + s->columns.n * s->n_measures, heads, NULL};
    g.at = xcalloc(g.rows * g.columns, sizeof *g.at);
    for (size_t k = 0; k < s->rows.n_axes; k++) {
        str_add(cell(&g, 0, k), s->axis[s->rows.axis[k]].name);
        for (size_t r = 0; r < s->rows.n; r++)
            str_add(cell(&g, r + 1, k), s->axis[s->rows.axis[k]].point[s->rows.point[r * s->rows.n_axes + k]].label);
    }
    if (!s->rows.n_axes) str_add(cell(&g, 1, 0), "all");
    for (size_t m = 0; m < s->n_measures; m++) {
        const int digits = decimals(largest_of(s, s->measure[m].column));
        for (size_t c = 0; c < s->columns.n; c++) {
            const size_t at = heads + c * s->n_measures + m;
            struct str *head = cell(&g, 0, at);
            sweep_head_text(s, &s->columns, c, ", ", head);
            if (s->n_measures > 1 || !head->len) str_addf(head, "%s%s", head->len ? " " : "", s->measure[m].label);
            for (size_t r = 0; r < s->rows.n; r++) {
                const struct sweep_cell x = sweep_cell_of(s, r, c, s->measure[m].column);
                add_cell(s, &x, digits, cell(&g, r + 1, at));
            }
        }
    }
    for (size_t i = 0; i < g.rows * g.columns; i++)
        if (!g.at[i].s) str_add(&g.at[i], "");
    return g;
}

static void release_grid(struct grid *g) {
    for (size_t i = 0; i < g->rows * g->columns; i++) str_release(&g->at[i]);
    free(g->at);
}

static size_t width_of(const char *text) { // characters of UTF-8
    size_t n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void add_padded(struct str *out, const char *text, size_t width, bool right) {
    struct str safe = STR_INIT;
    str_add_escaped(&safe, text, strlen(text));
    const size_t n = width_of(safe.s ? safe.s : "");
    if (!right) str_add(out, safe.s ? safe.s : "");
    for (size_t i = n; i < width; i++) str_add(out, " ");
    if (right) str_add(out, safe.s ? safe.s : "");
    str_release(&safe);
}

static void add_text(const struct grid *g, struct str *out) {
    for (size_t r = 0; r < g->rows; r++) {
        for (size_t c = 0; c < g->columns; c++) {
            size_t width = 0;
            for (size_t k = 0; k < g->rows; k++)
                if (width_of(cell(g, k, c)->s) > width) width = width_of(cell(g, k, c)->s);
            if (c) str_add(out, "  ");
            add_padded(out, cell(g, r, c)->s, width, c >= g->heads);
        }
        while (out->len && out->s[out->len - 1] == ' ') out->s[--out->len] = 0;
        str_add(out, "\n");
    }
}

static void add_markdown(const struct grid *g, struct str *out) {
    for (size_t r = 0; r < g->rows; r++) {
        for (size_t c = 0; c < g->columns; c++) {
            str_add(out, c ? " | " : "| ");
            for (const char *p = cell(g, r, c)->s; *p; p++)
                str_addf(out, "%s%c", strchr("|\\", *p) ? "\\" : "", *p == '\n' ? ' ' : *p);
        }
        str_add(out, " |\n");
        for (size_t c = 0; c < g->columns && r == 0; c++) str_add(out, c < g->heads ? "|---" : "|---:");
        if (r == 0) str_add(out, "|\n");
    }
}

// --- files -----------------------------------------------------------------------------------------------------------

static void add_number(struct str *out, double v) {
    char text[RT_NUMBER_TEXT] = "";
    if (!isnan(v)) rt_number_text(v, text);
    str_add(out, text);
}

static void add_labels(const struct sweep *s, const struct sweep_heads *h, size_t head, struct str *out) {
    for (size_t k = 0; k < h->n_axes; k++) {
        str_add_csv(out, s->axis[h->axis[k]].point[h->point[head * h->n_axes + k]].label);
        str_add(out, ",");
    }
}

static void add_names(const struct sweep *s, const struct sweep_heads *h, struct str *out) {
    for (size_t k = 0; k < h->n_axes; k++) {
        str_add_csv(out, s->axis[h->axis[k]].name);
        str_add(out, ",");
    }
}

// A line a cell.
static void table_csv(const struct sweep *s, struct str *out) {
    add_names(s, &s->rows, out);
    add_names(s, &s->columns, out);
    str_add(out, "measure,mean,sd,runs\n");
    for (size_t r = 0; r < s->rows.n; r++)
        for (size_t c = 0; c < s->columns.n; c++)
            for (size_t m = 0; m < s->n_measures; m++) {
                const struct sweep_cell x = sweep_cell_of(s, r, c, s->measure[m].column);
                add_labels(s, &s->rows, r, out);
                add_labels(s, &s->columns, c, out);
                str_add_csv(out, s->measure[m].label);
                str_add(out, ",");
                add_number(out, x.mean);
                str_add(out, ",");
                add_number(out, x.sd);
                str_addf(out, ",%zu\n", x.runs);
            }
}

static double seconds_of(const struct sweep_metrics *m) {
    double sum = 0;
    for (size_t e = 0; e < m->epochs; e++) {
        const double v = sweep_metrics_at(m, "seconds", e);
        if (!isnan(v)) sum += v;
    }
    return sum;
}

// A line a run and measure.
static void results_csv(const struct sweep *s, struct str *out) {
    static const char *const states[] = {[SWEEP_NEW] = "open", [SWEEP_HALF] = "half", [SWEEP_DONE] = "finished"};
    str_add(out, "run,");
    for (size_t i = 0; i < s->n_axes; i++) {
        str_add_csv(out, s->axis[i].name);
        str_add(out, ",");
    }
    str_add(out, "state,epochs,measure,value,seconds\n");
    for (size_t i = 0; i < s->n_runs; i++)
        for (size_t m = 0; m < s->n_measures; m++) {
            const struct sweep_run *r = &s->run[i];
            const size_t epochs = r->metrics.epochs;
            str_add_csv(out, r->name);
            str_add(out, ",");
            for (size_t k = 0; k < s->n_axes; k++) {
                str_add_csv(out, s->axis[k].point[r->at[k]].label);
                str_add(out, ",");
            }
            str_addf(out, "%s,%zu,", states[r->state], epochs);
            str_add_csv(out, s->measure[m].label);
            str_add(out, ",");
            add_number(out, epochs ? sweep_metrics_at(&r->metrics, s->measure[m].column, epochs - 1) : NAN);
            str_addf(out, ",%.1f\n", seconds_of(&r->metrics));
        }
}

static enum smkd_result write_text(const struct sweep *s, const char *file, const struct str *text) {
    char *path = rt_path_join(s->dir, file);
    enum smkd_result r = SMKD_R_OK;
    if (io_write_file(path, text->s, text->len) != SMKD_OK)
        r = rt_fail(SMKD_R_IO, "%s: cannot be written: %s", path, strerror(errno));
    free(path);
    return r;
}

// A measure that no finished run has is a slip: the columns that there are, are named.
static enum smkd_result check_measure(const struct sweep *s, const char *column) {
    const struct sweep_run *any = NULL;
    for (size_t i = 0; i < s->n_runs; i++) {
        const struct sweep_run *r = &s->run[i];
        if (r->state != SWEEP_DONE) continue;
        for (size_t e = 0; e < r->metrics.epochs; e++)
            if (!isnan(sweep_metrics_at(&r->metrics, column, e))) return SMKD_R_OK;
        any = r;
    }
    if (!any) return SMKD_R_OK;
    struct str all = STR_INIT;
    for (size_t k = 0; k < any->metrics.columns; k++) str_addf(&all, "%s%s", k ? ", " : "", any->metrics.column[k]);
    enum smkd_result r = rt_fail(SMKD_R_INVALID, "%s: no run has a number for the measure %s; metrics.csv has %s",
                                 s->file, column, all.s);
    str_release(&all);
    return r;
}

enum smkd_result sweep_table_write(const struct sweep *s, FILE *f) {
    enum smkd_result r = SMKD_R_OK;
    for (size_t m = 0; m < s->n_measures && r == SMKD_R_OK; m++) r = check_measure(s, s->measure[m].column);
    if (r == SMKD_R_OK && s->curve) r = check_measure(s, s->curve);
    if (r != SMKD_R_OK) return r;
    struct grid g = make_grid(s);
    struct str text = STR_INIT, caption = STR_INIT;
    add_caption(s, &caption);
    if (s->title) str_addf(&text, "%s\n\n", printable(s->title));
    add_text(&g, &text);
    fprintf(f, "%s\n%s\n", text.s, caption.s);
    str_clear(&text);
    if (s->title) str_addf(&text, "# %s\n\n", s->title);
    if (s->about) str_addf(&text, "%s\n\n", s->about);
    add_markdown(&g, &text);
    str_addf(&text, "\n%s\n", caption.s);
    r = write_text(s, "table.md", &text);
    str_clear(&text);
    table_csv(s, &text);
    if (r == SMKD_R_OK) r = write_text(s, "table.csv", &text);
    str_clear(&text);
    results_csv(s, &text);
    if (r == SMKD_R_OK) r = write_text(s, "results.csv", &text);
    str_release(&text);
    str_release(&caption);
    release_grid(&g);
    return r;
}
