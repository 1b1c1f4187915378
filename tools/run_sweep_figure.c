// The picture of a sweep as SVG: bars of the table, lines of it over a flag's numbers ("x"), or curves over epochs
// ("curve"). Only what the tables know goes in, and numbers are printed with fixed decimals, so that equal results are
// equal bytes.
#include "run_sweep.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LEFT = 70, TOP = 40, BOTTOM = 62, GAP = 24, BETWEEN = 34, LETTER = 7, ABREAST = 3 };

static const char *const colours[] = {"#1b6ca8", "#d1495b", "#2e8b57", "#edae49", "#7b5ea7", "#00798c",
                                      "#8d6346", "#5c5c5c", "#c2578f", "#6a994e", "#3d405b", "#e07a5f"};
enum { N_COLOURS = sizeof colours / sizeof *colours };

// A line or the bars of a row: cells at positions.
struct series {
    const char *label;
    struct sweep_cell *cell;
};
struct panel {
    const char *title, *x_title, *y_title;
    double *x;          // positions; NULL: groups of bars
    const char **group; // their labels
    size_t n, n_series;
    struct series *series;
};

struct axis {
    double from, to, step;
};

// Ends and steps of 1, 2 or 5 times a power of ten, about five of them.
static struct axis axis_of(double least, double most) {
    if (!(most > least)) {
        const double by = fabs(least) > 0 ? fabs(least) * 0.1 : 1;
        least -= by;
        most += by;
    }
    const double rough = (most - least) / 5, power = pow(10, floor(log10(rough))), times = rough / power;
    const double step = power * (times <= 1 ? 1 : times <= 2 ? 2 : times <= 5 ? 5 : 10);
    return (struct axis){floor(least / step + 1e-9) * step, ceil(most / step - 1e-9) * step, step};
}

static void add_tick(struct str *s, const struct axis *a, double v) {
    const int digits = a->step < 1 ? (int)ceil(-log10(a->step) - 1e-9) : 0;
    if (fabs(v) < a->step * 1e-6) v = 0; // no -0
    str_addf(s, "%.*f", digits, v);
}

static size_t letters(const char *text) {
    size_t n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

// --- a panel ---------------------------------------------------------------------------------------------------------

struct frame {
    double left, top, width, height; // of the plot itself
    struct axis x, y;
};

static double px(const struct frame *f, double x) {
    return f->left + (x - f->x.from) / (f->x.to - f->x.from) * f->width;
}
static double py(const struct frame *f, double y) {
    return f->top + f->height - (y - f->y.from) / (f->y.to - f->y.from) * f->height;
}

static double or_zero(double v) { return isnan(v) ? 0 : v; }

// Of panels that are to be compared.
static struct axis y_axis_of(const struct panel *p, size_t n) {
    double least = INFINITY, most = -INFINITY;
    for (const struct panel *q = p; q < p + n; q++)
        for (size_t k = 0; k < q->n_series; k++)
            for (size_t i = 0; i < q->n; i++) {
                const struct sweep_cell *c = &q->series[k].cell[i];
                if (!c->runs) continue;
                least = fmin(least, c->mean - or_zero(c->sd));
                most = fmax(most, c->mean + or_zero(c->sd));
            }
    if (!(most >= least)) least = 0, most = 1; // nothing to show
    if (!p->x) {                               // bars stand on 0
        least = fmin(least, 0);
        most = fmax(most, 0);
    }
    return axis_of(least, most);
}

static void add_text(struct str *s, double x, double y, const char *anchor, const char *text) {
    str_addf(s, "<text x='%.1f' y='%.1f' text-anchor='%s'>", x, y, anchor);
    str_add_xml(s, text);
    str_add(s, "</text>\n");
}

static void add_y_axis(struct str *s, const struct frame *f, const char *title) {
    for (int i = 0; f->y.from + i * f->y.step <= f->y.to + f->y.step * 1e-6; i++) {
        const double v = f->y.from + i * f->y.step, y = py(f, v);
        str_addf(s, "<path class='g' d='M%.1f %.1fH%.1f'/><text x='%.1f' y='%.1f' text-anchor='end'>", f->left, y,
                 f->left + f->width, f->left - 7, y + 4);
        add_tick(s, &f->y, v);
        str_add(s, "</text>\n");
    }
    str_addf(s, "<text transform='translate(%.1f %.1f) rotate(-90)' text-anchor='middle'>", f->left - 50,
             f->top + f->height / 2);
    str_add_xml(s, title);
    str_add(s, "</text>\n");
}

static void add_x_axis(struct str *s, const struct frame *f, const char *title) {
    const double bottom = f->top + f->height;
    for (int i = 0; f->x.from + i * f->x.step <= f->x.to + f->x.step * 1e-6; i++) {
        const double v = f->x.from + i * f->x.step, x = px(f, v);
        str_addf(s, "<path class='a' d='M%.1f %.1fv5'/><text x='%.1f' y='%.1f' text-anchor='middle'>", x, bottom, x,
                 bottom + 19);
        add_tick(s, &f->x, v);
        str_add(s, "</text>\n");
    }
    add_text(s, f->left + f->width / 2, bottom + 40, "middle", title);
}

// Groups of bars have their labels in the middle of their share of the width; longer ones go up to it aslant.
static bool aslant(const struct panel *p, double width) {
    for (size_t i = 0; i < p->n && !p->x; i++)
        if ((double)(letters(p->group[i]) * LETTER) > width / (double)p->n - 4) return true;
    return false;
}

static double extra_bottom(const struct panel *p, double width) {
    size_t most = 0;
    if (!aslant(p, width)) return 0;
    for (size_t i = 0; i < p->n; i++)
        if (letters(p->group[i]) > most) most = letters(p->group[i]);
    return (double)(most * LETTER) * 0.5 - 20;
}

static void add_groups(struct str *s, const struct frame *f, const struct panel *p) {
    const double share = f->width / (double)p->n, bottom = f->top + f->height;
    const bool turned = aslant(p, f->width);
    for (size_t i = 0; i < p->n; i++) {
        const double x = f->left + share * ((double)i + 0.5);
        if (!turned) {
            add_text(s, x, bottom + 19, "middle", p->group[i]);
            continue;
        }
        str_addf(s, "<text transform='translate(%.1f %.1f) rotate(-30)' text-anchor='end'>", x + 4, bottom + 16);
        str_add_xml(s, p->group[i]);
        str_add(s, "</text>\n");
    }
}

// --- what is drawn in it ---------------------------------------------------------------------------------------------

static const char *colour(size_t k) { return colours[k % N_COLOURS]; }
// A second round of colours is told by dashes or paler bars.
static const char *dashes(size_t k) { return k < N_COLOURS ? "" : " stroke-dasharray='6 4'"; }

static void add_value(struct str *s, const char *label, const char *where, const struct sweep_cell *c) {
    str_add(s, "<title>");
    str_add_xml(s, label);
    if (*where) {
        str_add(s, ", ");
        str_add_xml(s, where);
    }
    str_addf(s, ": %.4g", c->mean);
    if (!isnan(c->sd)) str_addf(s, " ± %.2g", c->sd);
    str_addf(s, " (%zu)</title>", c->runs);
}

static void add_bars(struct str *s, const struct frame *f, const struct panel *p) {
    const double share = f->width / (double)p->n, wide = share * 0.84 / (double)p->n_series;
    for (size_t i = 0; i < p->n; i++)
        for (size_t k = 0; k < p->n_series; k++) {
            const struct sweep_cell *c = &p->series[k].cell[i];
            if (!c->runs) continue;
            const double x = f->left + share * ((double)i + 0.08) + wide * (double)k, y = py(f, c->mean),
                         zero = py(f, 0);
            str_addf(s, "<rect x='%.1f' y='%.1f' width='%.1f' height='%.1f' fill='%s'%s>", x + wide * 0.04,
                     fmin(y, zero), wide * 0.92, fabs(zero - y), colour(k), k < N_COLOURS ? "" : " fill-opacity='.55'");
            add_value(s, p->series[k].label, p->group[i], c);
            str_add(s, "</rect>\n");
            if (!(c->sd > 0)) continue;
            const double cap = fmin(wide * 0.2, 4), mid = x + wide / 2;
            str_addf(s, "<path class='e' d='M%.1f %.1fV%.1fM%.1f %.1fh%.1fM%.1f %.1fh%.1f'/>\n", mid,
                     py(f, c->mean - c->sd), py(f, c->mean + c->sd), mid - cap, py(f, c->mean - c->sd), 2 * cap,
                     mid - cap, py(f, c->mean + c->sd), 2 * cap);
        }
}

static void add_band(struct str *s, const struct frame *f, const struct panel *p, size_t k) {
    const struct sweep_cell *c = p->series[k].cell;
    size_t n = 0;
    struct str d = STR_INIT;
    for (size_t i = 0; i < p->n; i++)
        if (c[i].runs)
            str_addf(&d, "%s%.1f %.1f", n++ ? "L" : "M", px(f, p->x[i]), py(f, c[i].mean + or_zero(c[i].sd)));
    for (size_t i = p->n; i-- > 0;)
        if (c[i].runs) str_addf(&d, "L%.1f %.1f", px(f, p->x[i]), py(f, c[i].mean - or_zero(c[i].sd)));
    if (n > 1) str_addf(s, "<path d='%sZ' fill='%s' fill-opacity='.14'/>\n", d.s, colour(k));
    str_release(&d);
}

static void add_line(struct str *s, const struct frame *f, const struct panel *p, size_t k, bool dots) {
    const struct sweep_cell *c = p->series[k].cell;
    size_t n = 0;
    struct str d = STR_INIT;
    for (size_t i = 0; i < p->n; i++)
        if (c[i].runs) str_addf(&d, "%s%.1f %.1f", n++ ? "L" : "M", px(f, p->x[i]), py(f, c[i].mean));
    if (n > 1) str_addf(s, "<path class='l' d='%s' stroke='%s'%s/>\n", d.s, colour(k), dashes(k));
    str_release(&d);
    for (size_t i = 0; i < p->n && (dots || n == 1); i++) {
        if (!c[i].runs) continue;
        str_addf(s, "<circle cx='%.1f' cy='%.1f' r='3.2' fill='%s'>", px(f, p->x[i]), py(f, c[i].mean), colour(k));
        add_value(s, p->series[k].label, p->group ? p->group[i] : "", &c[i]);
        str_add(s, "</circle>\n");
    }
}

static void add_panel(struct str *s, struct frame *f, const struct panel *p) {
    if (*p->title) add_text(s, f->left + f->width / 2, f->top - 12, "middle", p->title);
    add_y_axis(s, f, p->y_title);
    if (p->x) {
        f->x = axis_of(p->x[0], p->x[p->n - 1]);
        add_x_axis(s, f, p->x_title);
        for (size_t k = 0; k < p->n_series; k++) add_band(s, f, p, k);
        for (size_t k = 0; k < p->n_series; k++) add_line(s, f, p, k, p->group != NULL);
    } else {
        add_groups(s, f, p);
        add_bars(s, f, p);
    }
    str_addf(s, "<path class='a' d='M%.1f %.1fV%.1fH%.1f'/>\n", f->left, f->top, f->top + f->height,
             f->left + f->width);
    if (!p->x && f->y.from < 0) str_addf(s, "<path class='a' d='M%.1f %.1fh%.1f'/>\n", f->left, py(f, 0), f->width);
}

// --- which panels there are ------------------------------------------------------------------------------------------

static const char *head_label(struct arena *a, const struct sweep *s, const struct sweep_heads *h, size_t head) {
    struct str text = STR_INIT;
    sweep_head_text(s, h, head, ", ", &text);
    const char *out = arena_strdup(a, text.s ? text.s : "");
    str_release(&text);
    return out;
}

static struct panel new_panel(struct arena *a, const struct sweep *s, size_t n) {
    struct panel p = {.title = "", .x_title = "", .y_title = "", .n = n, .n_series = s->rows.n};
    p.series = ARENA_ARRAY(a, struct series, p.n_series);
    for (size_t k = 0; k < p.n_series; k++) {
        p.series[k].label = head_label(a, s, &s->rows, k);
        p.series[k].cell = ARENA_ARRAY(a, struct sweep_cell, n);
    }
    return p;
}

// A position of "x" and the column that it is.
struct position {
    double x;
    size_t column;
};
static int by_x(const void *a, const void *b) {
    const struct position *p = a, *q = b;
    return p->x < q->x ? -1 : p->x > q->x;
}

// The columns of a measure: bars, or where they are numbers on an axis, lines.
static struct panel table_panel(struct arena *a, const struct sweep *s, const struct sweep_measure *m) {
    struct panel p = new_panel(a, s, s->columns.n);
    struct position *at = ARENA_ARRAY(a, struct position, p.n);
    for (size_t c = 0; c < p.n; c++) {
        at[c] = (struct position){0, c};
        if (s->x) parse_f64(s->axis[s->columns.axis[0]].point[c].label, &at[c].x);
    }
    if (s->x) qsort(at, p.n, sizeof *at, by_x);
    p.x = s->x ? ARENA_ARRAY(a, double, p.n) : NULL;
    p.group = ARENA_ARRAY(a, const char *, p.n);
    p.x_title = s->x ? s->x : "";
    p.y_title = m->label;
    for (size_t i = 0; i < p.n; i++) {
        if (s->x) p.x[i] = at[i].x;
        p.group[i] = head_label(a, s, &s->columns, at[i].column);
        for (size_t k = 0; k < p.n_series; k++) p.series[k].cell[i] = sweep_cell_of(s, k, at[i].column, m->column);
    }
    return p;
}

// A column's curves over epochs.
static struct panel curve_panel(struct arena *a, const struct sweep *s, size_t column) {
    size_t epochs = 1;
    for (size_t i = 0; i < s->n_runs; i++)
        if (s->run[i].state == SWEEP_DONE && s->run[i].metrics.epochs > epochs) epochs = s->run[i].metrics.epochs;
    struct panel p = new_panel(a, s, epochs);
    p.title = head_label(a, s, &s->columns, column);
    p.x_title = "epoch";
    p.y_title = s->curve;
    p.x = ARENA_ARRAY(a, double, epochs);
    for (size_t e = 0; e < epochs; e++) {
        p.x[e] = (double)e + 1;
        for (size_t k = 0; k < p.n_series; k++) p.series[k].cell[e] = sweep_cell_at(s, k, column, s->curve, e);
    }
    return p;
}

static void add_legend(struct str *s, const struct panel *p, double left, double top, bool lines) {
    for (size_t k = 0; k < p->n_series; k++, top += 20) {
        if (lines)
            str_addf(s, "<path class='l' d='M%.1f %.1fh22' stroke='%s'%s/>", left, top, colour(k), dashes(k));
        else
            str_addf(s, "<rect x='%.1f' y='%.1f' width='14' height='12' fill='%s'%s/>", left + 8, top - 6, colour(k),
                     k < N_COLOURS ? "" : " fill-opacity='.55'");
        add_text(s, left + 30, top + 4, "start", p->series[k].label);
    }
}

static void draw(struct str *out, const struct sweep *s, const struct panel *p, size_t n) {
    const bool curves = s->curve != NULL;
    const size_t abreast = !curves ? 1 : n < ABREAST ? n : ABREAST, down = (n + abreast - 1) / abreast;
    const double width = abreast > 1 ? 340 : 600, height = abreast > 1 ? 240 : 320, above = s->title ? 34 : 8;
    const bool legend = p->n_series > 1 || *p->series[0].label;
    double extra = 0;
    size_t longest = 0;
    for (size_t i = 0; i < n; i++) extra = fmax(extra, extra_bottom(&p[i], width));
    for (size_t k = 0; k < p->n_series && legend; k++)
        if (letters(p->series[k].label) > longest) longest = letters(p->series[k].label);
    const double cell_width = LEFT + width + BETWEEN, cell_height = TOP + height + BOTTOM + extra,
                 legend_width = legend ? 30 + (double)(longest * LETTER) + GAP : 0,
                 legend_height = TOP + 20 * (double)p->n_series;
    const double all_width = (double)abreast * cell_width + legend_width,
                 all_height = above + fmax((double)down * cell_height, legend ? legend_height : 0);
    str_addf(out,
             "<svg xmlns='http://www.w3.org/2000/svg' width='%.0f' height='%.0f' viewBox='0 0 %.0f %.0f' "
             "font-family='sans-serif' font-size='12'>\n"
             "<style>.g{stroke:#ddd}.a{stroke:#333;fill:none}.e{stroke:#222;fill:none}"
             ".l{stroke-width:2;fill:none;stroke-linejoin:round}</style>\n"
             "<rect width='100%%' height='100%%' fill='white'/>\n",
             all_width, all_height, all_width, all_height);
    if (s->title) {
        str_addf(out, "<text x='%d' y='24' font-size='15'>", LEFT);
        str_add_xml(out, s->title);
        str_add(out, "</text>\n");
    }
    for (size_t i = 0; i < n; i++) {
        struct frame f = {.left = LEFT + (double)(i % abreast) * cell_width,
                          .top = above + TOP + (double)(i / abreast) * cell_height,
                          .width = width,
                          .height = height,
                          .y = curves ? y_axis_of(p, n) : y_axis_of(&p[i], 1)};
        add_panel(out, &f, &p[i]);
    }
    if (legend) add_legend(out, p, (double)abreast * cell_width, above + TOP + 6, p->x != NULL);
    str_add(out, "</svg>\n");
}

enum smkd_result sweep_figure_write(const struct sweep *s, const char *path) {
    struct arena a;
    struct str out = STR_INIT;
    arena_init(&a);
    const size_t n = s->curve ? s->columns.n : s->n_measures;
    struct panel *p = ARENA_ARRAY(&a, struct panel, n);
    for (size_t i = 0; i < n; i++) p[i] = s->curve ? curve_panel(&a, s, i) : table_panel(&a, s, &s->measure[i]);
    draw(&out, s, p, n);
    enum smkd_result r = SMKD_R_OK;
    if (io_write_file(path, out.s, out.len) != SMKD_OK)
        r = rt_fail(SMKD_R_IO, "%s: cannot be written: %s", path, strerror(errno));
    str_release(&out);
    arena_release(&a);
    return r;
}
