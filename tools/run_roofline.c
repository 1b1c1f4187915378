// The roofline picture of a profile, as SVG. Both axes are logarithmic; two lines are the machine, circles are nodes.
#include "run_profile.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum { WIDTH = 960, HEIGHT = 600, LEFT = 80, RIGHT = 200, TOP = 50, BOTTOM = 60 };

struct frame {
    double x0, x1, y0, y1; // log10 of operations a byte, and of operations a second
};

static double px(const struct frame *f, double x) {
    return LEFT + (log10(x) - f->x0) / (f->x1 - f->x0) * (WIDTH - LEFT - RIGHT);
}
static double py(const struct frame *f, double y) {
    return HEIGHT - BOTTOM - (log10(y) - f->y0) / (f->y1 - f->y0) * (HEIGHT - TOP - BOTTOM);
}

static bool shown(const struct run_node *n) { return n->flops > 0 && n->bytes > 0 && n->seconds > 0; }

static struct frame frame_of(const struct run_nodes *ns, const struct rt_limits *l) {
    double ridge = l->flops / l->bandwidth;
    struct frame f = {log10(ridge) - 1, log10(ridge) + 1, log10(l->flops) - 2, log10(l->flops)};
    for (size_t i = 0; i < ns->count; i++) {
        const struct run_node *n = &ns->n[i];
        if (!shown(n)) continue;
        f.x0 = fmin(f.x0, log10(n->flops / n->bytes));
        f.x1 = fmax(f.x1, log10(n->flops / n->bytes));
        f.y0 = fmin(f.y0, log10(n->flops / n->seconds));
        f.y1 = fmax(f.y1, log10(n->flops / n->seconds));
    }
    return (struct frame){floor(f.x0), ceil(f.x1), floor(f.y0), ceil(f.y1)};
}

static void axes(struct str *s, const struct frame *f) {
    for (double e = f->x0; e <= f->x1; e++) {
        double x = px(f, pow(10, e));
        str_addf(s, "<path class='g' d='M%.1f %d V%d'/><text x='%.1f' y='%d' text-anchor='middle'>%g</text>\n", x, TOP,
                 HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 18, pow(10, e));
    }
    for (double e = f->y0; e <= f->y1; e++) {
        double y = py(f, pow(10, e));
        str_addf(s, "<path class='g' d='M%d %.1f H%d'/><text x='%d' y='%.1f' text-anchor='end'>%g</text>\n", LEFT, y,
                 WIDTH - RIGHT, LEFT - 8, y + 4, pow(10, e - 9));
    }
    str_addf(s, "<text x='%d' y='%d' text-anchor='middle'>operations a byte</text>\n", (LEFT + WIDTH - RIGHT) / 2,
             HEIGHT - 16);
    str_addf(s, "<text transform='translate(18 %d) rotate(-90)' text-anchor='middle'>GFLOP/s</text>\n", HEIGHT / 2);
}

static void roof(struct str *s, const struct frame *f, const struct rt_limits *l) {
    double ridge = l->flops / l->bandwidth, left = pow(10, f->x0), low = left * l->bandwidth;
    if (log10(low) < f->y0) {
        low = pow(10, f->y0);
        left = low / l->bandwidth;
    }
    str_addf(s, "<path class='r' d='M%.1f %.1f L%.1f %.1f H%d'/>\n", px(f, left), py(f, low), px(f, ridge),
             py(f, l->flops), WIDTH - RIGHT);
    str_addf(s, "<text x='%d' y='%.1f' text-anchor='end'>%.0f GFLOP/s; %.1f GB/s</text>\n", WIDTH - RIGHT - 4,
             py(f, l->flops) - 6, l->flops * 1e-9, l->bandwidth * 1e-9);
}

bool run_roofline_write(const char *path, const char *title, const struct run_nodes *ns, const struct rt_limits *l) {
    static const char *const colours[] = {"#1b6ca8", "#d1495b", "#2e8b57", "#edae49",
                                          "#7b5ea7", "#00798c", "#8d6346", "#5c5c5c"};
    enum { N_COLOURS = sizeof colours / sizeof *colours };
    const char *kinds[N_COLOURS];
    size_t n_kinds = 0;
    double total = 0;
    for (size_t i = 0; i < ns->count; i++) total += ns->n[i].seconds;
    struct frame f = frame_of(ns, l);
    struct str s = STR_INIT;
    str_addf(&s,
             "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' font-family='sans-serif' font-size='12'>\n"
             "<style>.g{stroke:#ddd;fill:none}.r{stroke:#222;stroke-width:2;fill:none}</style>\n"
             "<rect width='100%%' height='100%%' fill='white'/>\n<text x='%d' y='28' font-size='16'>",
             WIDTH, HEIGHT, LEFT);
    str_add_xml(&s, title);
    str_add(&s, "</text>\n");
    axes(&s, &f);
    roof(&s, &f, l);
    for (size_t i = 0; i < ns->count; i++) {
        const struct run_node *n = &ns->n[i];
        size_t k = 0;
        if (!shown(n)) continue;
        while (k < n_kinds && strcmp(kinds[k], n->op) != 0) k++;
        if (k == n_kinds && n_kinds < N_COLOURS - 1) kinds[n_kinds++] = n->op;
        if (k >= N_COLOURS) k = N_COLOURS - 1;
        str_addf(&s, "<circle cx='%.1f' cy='%.1f' r='%.1f' fill='%s' fill-opacity='.55'><title>",
                 px(&f, n->flops / n->bytes), py(&f, n->flops / n->seconds), 2 + 60 * sqrt(n->seconds / total),
                 colours[k]);
        str_addf(&s, "%.3f ms, %.1f GFLOP/s, %.1f GB/s, ", n->seconds * 1e3, n->flops / n->seconds * 1e-9,
                 n->bytes / n->seconds * 1e-9);
        str_add_xml(&s, n->algorithm);
        str_add(&s, ", ");
        str_add_xml(&s, n->name);
        str_add(&s, "</title></circle>\n");
    }
    for (size_t k = 0; k < n_kinds; k++) {
        int y = TOP + 20 * (int)k;
        str_addf(&s, "<circle cx='%d' cy='%d' r='6' fill='%s'/><text x='%d' y='%d'>", WIDTH - RIGHT + 20, y, colours[k],
                 WIDTH - RIGHT + 32, y + 4);
        str_add_xml(&s, kinds[k]);
        str_add(&s, "</text>\n");
    }
    str_add(&s, "</svg>\n");
    bool ok = io_write_file(path, s.s, s.len) == SMKD_OK;
    str_release(&s);
    return ok;
}
