// Two Gaussians by expectation maximisation.
#include "fits.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

const struct rt_gaussians_options rt_gaussians_dividemix = {10, 1e-2, 5e-4};

// Sums over the numbers, each of which belongs to the component by some share.
struct sums {
    double n, x;
};

static double squared(double v) { return v * v; }

// ln of weight times density.
static double joint(const struct rt_gaussians *g, int k, double x) {
    if (g->weight[k] <= 0) return -INFINITY;
    return log(g->weight[k]) - (log(2 * pi * g->variance[k]) + squared(x - g->mean[k]) / g->variance[k]) / 2;
}

// Posterior of component 0, exactly a half where both are the same; *total is ln of the density of both.
static double share(const struct rt_gaussians *g, double x, double *total) {
    const double a = joint(g, 0, x), b = joint(g, 1, x), most = a > b ? a : b;
    *total = most + log(exp(a - most) + exp(b - most));
    return a == b ? 0.5 : 1 / (1 + exp(b - a));
}

double rt_gaussians_low(const struct rt_gaussians *g, double x) {
    double total;
    return share(g, x, &total);
}

// How the numbers belong to the components: by their posterior, or in the first step by the nearer of two centres.
struct belonging {
    const struct rt_gaussians *g; // NULL: by `between`
    double between;
};
static double belongs(const struct belonging *b, double x, double *total) {
    *total = 0;
    return b->g ? share(b->g, x, total) : x <= b->between;
}

// Weights, means and variances that fit the shares best, in two passes. A component that nothing belongs to keeps its
// place. Returns the mean of the log-likelihood under the fit that the shares come from.
static double maximise(const double *x, size_t n, const struct belonging *b, double regularisation, double smallest,
                       struct rt_gaussians *out) {
    struct sums s[2] = {{0, 0}, {0, 0}};
    double total, likelihood = 0, variance[2] = {0, 0};
    for (size_t i = 0; i < n; i++) {
        const double p = belongs(b, x[i], &total);
        likelihood += total;
        s[0].n += p;
        s[0].x += p * x[i];
        s[1].n += 1 - p;
        s[1].x += (1 - p) * x[i];
    }
    struct rt_gaussians next = *out;
    for (int k = 0; k < 2; k++) {
        next.weight[k] = s[k].n / (double)n;
        if (s[k].n > 0) next.mean[k] = s[k].x / s[k].n;
    }
    for (size_t i = 0; i < n; i++) {
        const double p = belongs(b, x[i], &total);
        variance[0] += p * squared(x[i] - next.mean[0]);
        variance[1] += (1 - p) * squared(x[i] - next.mean[1]);
    }
    for (int k = 0; k < 2; k++) {
        if (s[k].n > 0) next.variance[k] = variance[k] / s[k].n + regularisation;
        if (!(next.variance[k] > smallest)) next.variance[k] = smallest;
    }
    *out = next;
    return likelihood / (double)n;
}

// Lloyd's steps for two centres, of which each number takes the nearer: where the two groups part. Each step lowers the
// sum of squares, so that they end long before MOST.
static double two_means(const double *x, size_t n, double low, double high) {
    enum { MOST = 1000 };
    double between = (low + high) / 2;
    for (int step = 0; step < MOST; step++) {
        struct sums s[2] = {{0, 0}, {0, 0}};
        for (size_t i = 0; i < n; i++) {
            const int k = x[i] > between;
            s[k].n++;
            s[k].x += x[i];
        }
        if (s[0].n == 0 || s[1].n == 0) return between; // of rounding alone
        const double next = (s[0].x / s[0].n + s[1].x / s[1].n) / 2;
        size_t moved = 0;
        for (size_t i = 0; i < n; i++) moved += (x[i] > between) != (x[i] > next);
        if (!moved) return between;
        between = next;
    }
    return between;
}

static void put_in_order(struct rt_gaussians *g) {
    if (g->mean[0] <= g->mean[1]) return;
    const struct rt_gaussians was = *g;
    for (int k = 0; k < 2; k++) {
        g->weight[k] = was.weight[1 - k];
        g->mean[k] = was.mean[1 - k];
        g->variance[k] = was.variance[1 - k];
    }
}

enum smkd_result rt_gaussians_fit(const double *x, size_t n, const struct rt_gaussians_options *o, const char *what,
                                  struct rt_gaussians *out) {
    *out = (struct rt_gaussians){0};
    enum smkd_result r = rt_fit_check(x, n, what);
    if (r != SMKD_R_OK) return r;
    double low = rt_quantile(x, n, 0.25), high = rt_quantile(x, n, 0.75);
    const double least = rt_quantile(x, n, 0), greatest = rt_quantile(x, n, 1);
    // A variance that divides: far below what two different numbers of such a range have.
    const double smallest = fmax(1e-12 * squared(greatest - least), 1e-300);
    if (least == greatest) {
        const double v = fmax(o->regularisation, smallest);
        *out = (struct rt_gaussians){{.5, .5}, {least, least}, {v, v}, 0, 0, true};
        return SMKD_R_OK;
    }
    if (low == high) {
        low = least;
        high = greatest;
    }
    struct belonging b = {NULL, two_means(x, n, low, high)};
    maximise(x, n, &b, o->regularisation, smallest, out);
    out->likelihood = -INFINITY;
    while (out->steps < o->steps && !out->converged) {
        const struct rt_gaussians was = *out;
        b.g = &was;
        out->likelihood = maximise(x, n, &b, o->regularisation, smallest, out);
        out->steps++;
        out->converged = fabs(out->likelihood - was.likelihood) < o->tolerance;
    }
    put_in_order(out);
    return SMKD_R_OK;
}
