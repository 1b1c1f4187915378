// What Otsu's thresholds part, as a histogram (SVG): how many images lie where from 0 to 1, those with right and those
// with wrong labels apart where the true ones are known, with the thresholds and a Gaussian for each of the two groups.
// Numbers are printed with fixed decimals, so that equal results are equal bytes.
#include "run_detect.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BINS = 50, LEFT = 70, TOP = 60, WIDTH = 640, HEIGHT = 320, RIGHT = 150, BOTTOM = 60, POINTS = 200 };

// Bars of one kind, in the order in which they are drawn.
static const struct kind {
    const char *name, *colour;
} kinds[] = {{"right labels", "#2e8b57"}, {"wrong labels", "#d1495b"}, {"images", "#1b6ca8"}};
enum { RIGHT_ONES, WRONG_ONES, ALL, N_KINDS };

struct histogram {
    size_t count[N_KINDS][BINS];
    double most; // of a bin
};

static struct histogram count(const struct detect *d) {
    struct histogram h = {.most = 1};
    for (size_t i = 0; i < d->verdict.n; i++) {
        int bin = (int)(d->verdict.split[i] * BINS);
        bin = bin < 0 ? 0 : bin >= BINS ? BINS - 1 : bin;
        const int kind = !d->truth                                                ? ALL
                         : d->truth[d->evidence.image[i]] == d->evidence.given[i] ? RIGHT_ONES
                                                                                  : WRONG_ONES;
        const size_t n = ++h.count[kind][bin];
        if ((double)n > h.most) h.most = (double)n;
    }
    return h;
}

static double px(double x) { return LEFT + x * WIDTH; }
static double py(const struct histogram *h, double n) { return TOP + HEIGHT * (1 - n / h->most); }

static void add_bars(struct str *s, const struct histogram *h, int kind) {
    for (int i = 0; i < BINS; i++) {
        const double top = py(h, (double)h->count[kind][i]);
        if (h->count[kind][i])
            str_addf(s, "<rect x='%.1f' y='%.1f' width='%.1f' height='%.1f' fill='%s' fill-opacity='.6'/>\n",
                     px((double)i / BINS), top, (double)WIDTH / BINS, TOP + HEIGHT - top, kinds[kind].colour);
    }
}

// n images around their mean as a Gaussian of their deviation; none where all are equal.
static void add_gaussian(struct str *s, const struct histogram *h, const struct rt_verdict *v, bool low) {
    double sum = 0, squares = 0;
    size_t n = 0;
    for (size_t i = 0; i < v->n; i++) {
        if ((v->split[i] < v->otsu.threshold) != low) continue;
        sum += v->split[i];
        squares += v->split[i] * v->split[i];
        n++;
    }
    const double mean = n ? sum / (double)n : 0, variance = n ? squares / (double)n - mean * mean : 0;
    if (!(variance > 1e-12)) return;
    for (int i = 0; i <= POINTS; i++) {
        const double x = (double)i / POINTS, z = (x - mean) * (x - mean) / variance;
        const double y = (double)n / BINS * exp(-z / 2) / sqrt(6.283185307179586 * variance);
        str_addf(s, "%s%.1f %.1f", i ? "L" : "<path class='c' d='M", px(x), py(h, fmin(y, h->most)));
    }
    str_add(s, "'/>\n");
}

static void add_line(struct str *s, double x, const char *name, int row) {
    str_addf(s, "<path class='t' d='M%.1f %dV%d'/><text x='%.1f' y='%d' text-anchor='middle'>%s = %.3f</text>\n", px(x),
             TOP, TOP + HEIGHT, px(x), TOP - 8 - 15 * row, name, x);
}

static void add_axes(struct str *s, const struct histogram *h, const char *what) {
    str_addf(s, "<path class='a' d='M%d %dV%dH%d'/>\n", LEFT, TOP, TOP + HEIGHT, LEFT + WIDTH);
    for (int i = 0; i <= 5; i++) {
        str_addf(s, "<text x='%.1f' y='%d' text-anchor='middle'>%.1f</text>\n", px(i / 5.0), TOP + HEIGHT + 19,
                 i / 5.0);
        str_addf(s, "<text x='%d' y='%.1f' text-anchor='end'>%.0f</text>\n", LEFT - 7, py(h, h->most * i / 5) + 4,
                 h->most * i / 5);
    }
    str_addf(s, "<text x='%d' y='%d' text-anchor='middle'>%s</text>\n", LEFT + WIDTH / 2, TOP + HEIGHT + 44, what);
    str_addf(s, "<text transform='translate(%d %d) rotate(-90)' text-anchor='middle'>images</text>\n", LEFT - 50,
             TOP + HEIGHT / 2);
}

enum smkd_result detect_histogram(const struct detect *d, const char *path) {
    static const char *const whats[][2] = {{"agreement", "probability of the given label, all networks together"},
                                           {"loss", "cross entropy, the least 0 and the greatest 1"},
                                           {"entropy", "entropy over that of the uniform distribution"}};
    const char *what = "";
    for (size_t i = 0; i < sizeof whats / sizeof *whats; i++)
        if (strcmp(whats[i][0], d->by->name) == 0) what = whats[i][1];
    const struct histogram h = count(d);
    const struct rt_otsu *o = &d->verdict.otsu;
    struct str s = STR_INIT;
    str_addf(&s,
             "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' viewBox='0 0 %d %d' "
             "font-family='sans-serif' font-size='12'>\n<style>.a{stroke:#333;fill:none}.c{stroke:#333;fill:none}"
             ".t{stroke:#333;stroke-dasharray:5 3}</style>\n<rect width='100%%' height='100%%' fill='white'/>\n",
             LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM, LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM);
    for (int kind = 0, row = 0; kind < N_KINDS; kind++) {
        if ((kind == ALL) == (d->truth != NULL)) continue;
        add_bars(&s, &h, kind);
        str_addf(&s, "<rect x='%d' y='%d' width='14' height='12' fill='%s' fill-opacity='.6'/>", LEFT + WIDTH + 14,
                 TOP + 20 * row, kinds[kind].colour);
        str_addf(&s, "<text x='%d' y='%d'>%s</text>\n", LEFT + WIDTH + 34, TOP + 10 + 20 * row++, kinds[kind].name);
    }
    if (o->split) {
        add_gaussian(&s, &h, &d->verdict, true);
        add_gaussian(&s, &h, &d->verdict, false);
        add_line(&s, o->low, "mu1", 0);
        add_line(&s, o->threshold, "s", 1);
        add_line(&s, o->high, "mu2", 0);
    }
    add_axes(&s, &h, what);
    str_add(&s, "</svg>\n");
    enum smkd_result r = SMKD_R_OK;
    if (io_write_file(path, s.s, s.len) != SMKD_OK)
        r = rt_fail(SMKD_R_IO, "%s: cannot be written: %s", path, strerror(errno));
    str_release(&s);
    return r;
}
