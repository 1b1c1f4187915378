// Otsu's threshold. Sums over bins are whole numbers, so that thresholds with the same groups have the same merit to
// the bit and the first of them is taken.
#include "fits.h"

#include <math.h>
#include <string.h>

enum { BINS = 1000 };

// Count, sum and sum of squares of bins: whole numbers of a bin's width.
struct sums {
    double n, x, xx;
};

static double mean(const struct sums *s) { return s->x / s->n / BINS; }

// Variance of a group, where rounding must not leave any to one whose numbers are all in one bin: of others it is at
// least half a bin squared a group.
static double variance(const struct sums *s) {
    const double scatter = s->xx - s->x * (s->x / s->n);
    return scatter < 0.25 ? 0 : scatter / s->n / ((double)BINS * BINS);
}

static const double code_variance = 1e-5; // least variance in the authors' code

static double by_variance(const struct sums *s) { return s->n * variance(s); }
static double by_deviation(const struct sums *s) { return s->n * sqrt(fmax(variance(s), code_variance)); }

static const struct {
    double (*within)(const struct sums *s);
    int first, last; // thresholds, in bins
} kinds[] = {[RT_OTSU_VARIANCE] = {by_variance, 1, BINS - 1}, [RT_OTSU_DEVIATION] = {by_deviation, 2, BINS - 3}};

// The bin of a number, between edges k / 1000 as numbers have them; -1: none.
static int bin(double x) {
    static const double width = 1. / BINS;
    if (!(x >= 0 && x <= 1)) return -1;
    int k = (int)(x * BINS);
    if (k >= BINS) return BINS - 1;
    if (x < k * width) return k - 1;
    return k + 1 < BINS && x >= (k + 1) * width ? k + 1 : k;
}

enum smkd_result rt_otsu_fit(const double *x, size_t n, enum rt_otsu_kind kind, const char *what, struct rt_otsu *out) {
    double count[BINS] = {0}, sum = 0;
    *out = (struct rt_otsu){0};
    enum smkd_result r = rt_fit_check(x, n, what);
    if (r != SMKD_R_OK) return r;
    struct sums all = {0, 0, 0}, below = {0, 0, 0};
    for (size_t i = 0; i < n; i++) {
        const int k = bin(x[i]);
        sum += x[i];
        if (k >= 0) count[k]++;
    }
    for (int k = 0; k < BINS; k++) {
        all.n += count[k];
        all.x += count[k] * k;
        all.xx += count[k] * k * k;
    }
    const double centre = sum / (double)n;
    *out = (struct rt_otsu){.threshold = centre, .low = centre, .high = centre, .merit = -1};
    for (int s = 1; s <= kinds[kind].last; s++) {
        below.n += count[s - 1];
        below.x += count[s - 1] * (s - 1);
        below.xx += count[s - 1] * (s - 1) * (s - 1);
        const struct sums above = {all.n - below.n, all.x - below.x, all.xx - below.xx};
        if (s < kinds[kind].first || below.n == 0 || above.n == 0) continue;
        const double a = mean(&below), b = mean(&above);
        const double between = below.n * (a - centre) * (a - centre) + above.n * (b - centre) * (b - centre);
        const double q = between / (kinds[kind].within(&below) + kinds[kind].within(&above)); // infinite: two points
        if (!(q > out->merit)) continue;
        *out = (struct rt_otsu){(double)s / BINS, a, b, q, (size_t)below.n, (size_t)above.n, true};
    }
    if (!out->split) out->merit = 0;
    return SMKD_R_OK;
}
