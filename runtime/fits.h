// Fits on one-dimensional data: which of two groups a number belongs to, where all that is known are the numbers, such
// as the losses of the training images. In float64, over the numbers in the order of their index, from a start that the
// numbers give: no draws, so equal numbers have equal fits on any number of threads.
//
// All refuse what is no number (NaN, infinite, beyond 1e100, whose square is none): SMKD_R_INVALID, by its place.
#ifndef SMKD_RT_FITS_H
#define SMKD_RT_FITS_H

#include "runtime.h"

// SMKD_R_INVALID where there are no numbers or one is none; `what` is what messages call them: "loss".
enum smkd_result rt_fit_check(const double *x, size_t n, const char *what);
// The q-quantile (0 to 1) as numpy.quantile has it, between two neighbours linearly. `x` is left alone.
double rt_quantile(const double *x, size_t n, double q);
// Brings numbers to [0, 1], (x - least) / (greatest - least), as DivideMix does with losses. `out` may be `x`. Where
// all are equal all become 0, and false is returned.
bool rt_to_unit(const double *x, size_t n, double *out);

// --- Gaussian mixture of two components (fit_gaussians.c) ------------------------------------------------------------

struct rt_gaussians {
    double weight[2], mean[2], variance[2]; // mean[0] <= mean[1]
    double likelihood;                      // mean of the log-likelihood before the last step
    int64_t steps;
    bool converged; // the likelihood changed by less than the tolerance
};
// As scikit-learn's GaussianMixture(n_components=2) names them: max_iter, tol, reg_covar (added to each variance).
struct rt_gaussians_options {
    int64_t steps;
    double tolerance, regularisation;
};
// DivideMix's: 10, 1e-2, 5e-4, for losses in [0, 1].
extern const struct rt_gaussians_options rt_gaussians_dividemix;
// Expectation maximisation from the two groups of 2-means (Lloyd's steps from the first and third quartile; from the
// least and the greatest number where these are equal), as scikit-learn's starts from k-means. Where all numbers are
// equal there are no two groups: both components are the same, and each number belongs to each by half.
enum smkd_result rt_gaussians_fit(const double *x, size_t n, const struct rt_gaussians_options *o, const char *what,
                                  struct rt_gaussians *out);
// Posterior of the component of the lower mean.
double rt_gaussians_low(const struct rt_gaussians *g, double x);

// --- beta mixture of two components (fit_betas.c) --------------------------------------------------------------------

// Arazo et al. 2019 (M-correction), for numbers in [0, 1]; those at the ends are moved to 1e-4 and 1 - 1e-4.
struct rt_betas {
    double weight[2], alpha[2], beta[2]; // the first has the lower mean, alpha / (alpha + beta)
};
// Expectation maximisation of `steps` steps (the paper has 10), each M step by the weighted moments, from Beta(1, 2)
// and Beta(2, 1) with equal weights, as the paper's code does. Numbers outside [0, 1] are taken for the nearest end.
// Where all numbers are equal both components are the same.
enum smkd_result rt_betas_fit(const double *x, size_t n, int64_t steps, const char *what, struct rt_betas *out);
// Posterior of the component of the lower mean.
double rt_betas_low(const struct rt_betas *b, double x);

// --- Otsu's threshold (fit_otsu.c) -----------------------------------------------------------------------------------

// What the scatter between the two groups is divided by:
//     RT_OTSU_VARIANCE   n1 var1 + n2 var2, which is Otsu's (and the Blind paper's Eq. 6)
//     RT_OTSU_DEVIATION  n1 sd1 + n2 sd2 with sd = sqrt(max(var, 1e-5)), and thresholds from .002 to .997: the Blind
//                        authors' code
enum rt_otsu_kind { RT_OTSU_VARIANCE, RT_OTSU_DEVIATION };
struct rt_otsu {
    double threshold; // s: the groups are x < s and x >= s
    double low, high; // mu1, mu2: their means
    double merit;     // Q(s)
    size_t n_low, n_high;
    bool split; // false: no threshold leaves two groups; all three numbers are then the mean, which nothing lies below
};
// The threshold of the largest Q(s), of equal ones the lowest, over a histogram of 1000 bins of [0, 1], each of which
// stands for its left edge; numbers outside are left out, as by torch.histc, and 1 is in the last bin. In Q the mean of
// all is that of the numbers themselves.
enum smkd_result rt_otsu_fit(const double *x, size_t n, enum rt_otsu_kind kind, const char *what, struct rt_otsu *out);

#endif
