// Two beta distributions by expectation maximisation, with moments in place of the likelihood's maximum.
#include "fits.h"

#include <math.h>

static const double end = 1e-4; // numbers are so far from 0 and 1 at least: there a density may be 0 or infinite
static const double least_density = 1e-12; // of a density: numbers that neither component explains belong to both

static double inside(double x) { return x <= end ? end : x >= 1 - end ? 1 - end : x; }

static double density(double alpha, double beta, double x) {
    return exp((alpha - 1) * log(x) + (beta - 1) * log1p(-x) + lgamma(alpha + beta) - lgamma(alpha) - lgamma(beta));
}

// Posterior of component 0 at a number that is inside.
static double share(const struct rt_betas *b, double x) {
    double p[2];
    for (int k = 0; k < 2; k++) p[k] = fmax(b->weight[k] * density(b->alpha[k], b->beta[k], x), least_density);
    return p[0] / (p[0] + p[1]);
}

double rt_betas_low(const struct rt_betas *b, double x) { return share(b, inside(x)); }

// alpha and beta of a mean and a variance. Of a distribution inside (0, 1) the variance is below mean (1 - mean); one
// of nearly nothing would make them infinite.
static void of_moments(struct rt_betas *b, int k, double mean, double variance) {
    const double least = 1e-12;
    const double scale = mean * (1 - mean) / (variance > least ? variance : least) - 1;
    b->alpha[k] = mean * scale;
    b->beta[k] = (1 - mean) * scale;
}

static void maximise(const double *x, size_t n, const struct rt_betas *was, struct rt_betas *out) {
    double sum[2] = {0, 0}, mean[2] = {0, 0}, variance[2] = {0, 0};
    for (size_t i = 0; i < n; i++) {
        const double v = inside(x[i]), p = share(was, v);
        sum[0] += p;
        sum[1] += 1 - p;
        mean[0] += p * v;
        mean[1] += (1 - p) * v;
    }
    for (int k = 0; k < 2; k++) mean[k] /= sum[k]; // the floor leaves some of every number to both
    for (size_t i = 0; i < n; i++) {
        const double v = inside(x[i]), p = share(was, v);
        variance[0] += p * (v - mean[0]) * (v - mean[0]);
        variance[1] += (1 - p) * (v - mean[1]) * (v - mean[1]);
    }
    for (int k = 0; k < 2; k++) {
        of_moments(out, k, mean[k], variance[k] / sum[k]);
        out->weight[k] = sum[k] / (sum[0] + sum[1]);
    }
}

static double mean_of(const struct rt_betas *b, int k) { return b->alpha[k] / (b->alpha[k] + b->beta[k]); }

enum smkd_result rt_betas_fit(const double *x, size_t n, int64_t steps, const char *what, struct rt_betas *out) {
    *out = (struct rt_betas){{.5, .5}, {1, 2}, {2, 1}};
    enum smkd_result r = rt_fit_check(x, n, what);
    if (r != SMKD_R_OK) return r;
    bool equal = true;
    for (size_t i = 1; i < n; i++) equal = equal && inside(x[i]) == inside(x[0]);
    if (equal) {
        for (int k = 0; k < 2; k++) of_moments(out, k, inside(x[0]), 0);
        return SMKD_R_OK;
    }
    for (int64_t i = 0; i < steps; i++) {
        const struct rt_betas was = *out;
        maximise(x, n, &was, out);
    }
    if (mean_of(out, 0) <= mean_of(out, 1)) return SMKD_R_OK;
    const struct rt_betas was = *out;
    for (int k = 0; k < 2; k++) {
        out->weight[k] = was.weight[1 - k];
        out->alpha[k] = was.alpha[1 - k];
        out->beta[k] = was.beta[1 - k];
    }
    return SMKD_R_OK;
}
