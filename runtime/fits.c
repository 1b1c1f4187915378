// What the fits on one-dimensional data share.
#include "fits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum smkd_result rt_fit_check(const double *x, size_t n, const char *what) {
    static const double most = 1e100;
    if (n == 0) return rt_fail(SMKD_R_INVALID, "there is no %s: nothing can be fitted", what);
    for (size_t i = 0; i < n; i++)
        if (!(fabs(x[i]) <= most))
            return rt_fail(SMKD_R_INVALID, "%s %zu is %g, expected a number of at most %g", what, i, x[i], most);
    return SMKD_R_OK;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double rt_quantile(const double *x, size_t n, double q) {
    double *sorted = xcalloc(n, sizeof *sorted);
    memcpy(sorted, x, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_value);
    const double at = q * (double)(n - 1);
    const size_t below = (size_t)at, above = below + 1 < n ? below + 1 : below;
    const double v = sorted[below] + (sorted[above] - sorted[below]) * (at - (double)below);
    free(sorted);
    return v;
}

bool rt_to_unit(const double *x, size_t n, double *out) {
    double least = INFINITY, greatest = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        if (x[i] < least) least = x[i];
        if (x[i] > greatest) greatest = x[i];
    }
    const double range = greatest - least;
    for (size_t i = 0; i < n; i++) out[i] = range > 0 ? (x[i] - least) / range : 0;
    return range > 0;
}
