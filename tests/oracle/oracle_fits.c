// What fits.h makes of numbers, for test_fits.py. Arguments: gaussians STEPS TOLERANCE REGULARISATION, betas STEPS, or
// otsu variance|std. On stdin the numbers; on stdout the fit as one line of JSON.
#include "../../runtime/fits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int gaussians(const double *x, size_t n, char **a) {
    const struct rt_gaussians_options o = {atoll(a[0]), atof(a[1]), atof(a[2])};
    struct rt_gaussians g;
    if (rt_gaussians_fit(x, n, &o, "number", &g) != SMKD_R_OK) return 1;
    printf(
        "{\"weight\": [%.17g, %.17g], \"mean\": [%.17g, %.17g], \"variance\": [%.17g, %.17g], \"likelihood\": %.17g, "
        "\"steps\": %lld, \"converged\": %s, \"low\": [",
        g.weight[0], g.weight[1], g.mean[0], g.mean[1], g.variance[0], g.variance[1], g.likelihood, (long long)g.steps,
        g.converged ? "true" : "false");
    for (size_t i = 0; i < n; i++) printf("%s%.17g", i ? ", " : "", rt_gaussians_low(&g, x[i]));
    puts("]}");
    return 0;
}

static int betas(const double *x, size_t n, char **a) {
    struct rt_betas b;
    if (rt_betas_fit(x, n, atoll(a[0]), "number", &b) != SMKD_R_OK) return 1;
    printf("{\"weight\": [%.17g, %.17g], \"alpha\": [%.17g, %.17g], \"beta\": [%.17g, %.17g], \"low\": [", b.weight[0],
           b.weight[1], b.alpha[0], b.alpha[1], b.beta[0], b.beta[1]);
    for (size_t i = 0; i < n; i++) printf("%s%.17g", i ? ", " : "", rt_betas_low(&b, x[i]));
    puts("]}");
    return 0;
}

static int otsu(const double *x, size_t n, char **a) {
    struct rt_otsu t;
    const enum rt_otsu_kind kind = strcmp(a[0], "std") == 0 ? RT_OTSU_DEVIATION : RT_OTSU_VARIANCE;
    if (rt_otsu_fit(x, n, kind, "number", &t) != SMKD_R_OK) return 1;
    printf("{\"s\": %.17g, \"mu1\": %.17g, \"mu2\": %.17g, \"merit\": %.17g, \"n_low\": %zu, \"n_high\": %zu, "
           "\"split\": %s}\n",
           t.threshold, t.low, t.high, t.merit, t.n_low, t.n_high, t.split ? "true" : "false");
    return 0;
}

static const struct {
    const char *name;
    int arguments;
    int (*run)(const double *x, size_t n, char **a);
} fits[] = {{"gaussians", 3, gaussians}, {"betas", 1, betas}, {"otsu", 1, otsu}};

int main(int argc, char **argv) {
    size_t n = 0, cap = 1024;
    double *x = malloc(cap * sizeof *x);
    while (x && scanf("%lf", &x[n]) == 1)
        if (++n == cap) x = realloc(x, (cap *= 2) * sizeof *x);
    int code = 2;
    for (size_t i = 0; i < sizeof fits / sizeof *fits && x; i++)
        if (argc == 2 + fits[i].arguments && strcmp(argv[1], fits[i].name) == 0) code = fits[i].run(x, n, argv + 2);
    if (code == 1) fprintf(stderr, "%s\n", smkd_last_error());
    free(x);
    return code;
}
