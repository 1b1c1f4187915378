// Fits on one-dimensional data: golden values, odd data, refusals. (scikit-learn's and scikit-image's:
// tests/oracle/test_fits.py)
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../../runtime/fits.h"

#include <math.h>
#include <string.h>

#define N(x) (sizeof(x) / sizeof *(x))

static void near(double a, double b, double limit) {
    if (!(fabs(a - b) <= limit)) fail_msg("%.17g is not %.17g", a, b);
}

static void refused(enum smkd_result r, const char *text) {
    assert_int_equal(r, SMKD_R_INVALID);
    if (!strstr(smkd_last_error(), text)) fail_msg("\"%s\" is not in \"%s\"", text, smkd_last_error());
}

// --- Otsu ------------------------------------------------------------------------------------------------------------

static const double sample[] = {.01, .02, .05, .1, .12, .15, .6, .8, .85, .9, .95, .97, .99, 1};

static void otsu_sample(void **state) {
    (void)state;
    static const double merit[] = {[RT_OTSU_VARIANCE] = 15.8085, [RT_OTSU_DEVIATION] = 1.70291};
    for (int kind = 0; kind < 2; kind++) {
        struct rt_otsu t;
        assert_int_equal(rt_otsu_fit(sample, N(sample), (enum rt_otsu_kind)kind, "value", &t), SMKD_R_OK);
        assert_true(t.split);
        near(t.threshold, .151, 1e-12);
        near(t.low, .075, 1e-12);
        near(t.high, .88225, 1e-12);
        near(t.merit, merit[kind], 6e-5);
        assert_int_equal(t.n_low, 6);
        assert_int_equal(t.n_high, 8);
    }
}

static void otsu_odd(void **state) {
    (void)state;
    struct rt_otsu t;
    static const double two[] = {.2, .8}, equal[] = {.5, .5, .5}, one[] = {.3}, ends[] = {0, 0, 1},
                        outside[] = {-3, .1, .1, .9, 7};
    for (int kind = 0; kind < 2; kind++) {
        const enum rt_otsu_kind k = (enum rt_otsu_kind)kind;
        assert_int_equal(rt_otsu_fit(two, 2, k, "value", &t), SMKD_R_OK);
        assert_true(t.split && t.threshold > .2 && t.threshold <= .8);
        near(t.low, .2, 1e-12);
        near(t.high, .8, 1e-12);
        assert_int_equal(rt_otsu_fit(equal, 3, k, "value", &t), SMKD_R_OK);
        assert_false(t.split);
        near(t.threshold, .5, 0);
        assert_int_equal(rt_otsu_fit(one, 1, k, "value", &t), SMKD_R_OK);
        assert_false(t.split);
        assert_int_equal(rt_otsu_fit(ends, 3, k, "value", &t), SMKD_R_OK);
        assert_true(t.split);
        near(t.low, 0, 0);
        near(t.high, .999, 1e-12); // 1 is in the last bin
        assert_int_equal(rt_otsu_fit(outside, 5, k, "value", &t), SMKD_R_OK);
        assert_int_equal(t.n_low + t.n_high, 3);
        refused(rt_otsu_fit(NULL, 0, k, "value", &t), "there is no value");
        refused(rt_otsu_fit((const double[]){.5, NAN}, 2, k, "value", &t), "value 1 is nan");
    }
    // Only two points have no scatter within: nothing is better.
    rt_otsu_fit(two, 2, RT_OTSU_VARIANCE, "value", &t);
    assert_true(isinf(t.merit));
}

// --- Gaussians -------------------------------------------------------------------------------------------------------

static const struct rt_gaussians_options to_the_end = {10000, 1e-13, 1e-6};

static void gaussians_nine(void **state) {
    (void)state;
    // So far apart that every number belongs to one of them: means and variances of both groups.
    static const double x[] = {.1, .12, .2, .11, .9, .8, .85, .15, .95};
    struct rt_gaussians g;
    assert_int_equal(rt_gaussians_fit(x, N(x), &to_the_end, "value", &g), SMKD_R_OK);
    assert_true(g.converged && g.steps < 100);
    near(g.mean[0], .136, 1e-9);
    near(g.mean[1], .875, 1e-9);
    near(g.variance[0], .001304 + 1e-6, 1e-9);
    near(g.variance[1], .003125 + 1e-6, 1e-9);
    near(g.weight[0], 5. / 9, 1e-9);
    assert_true(rt_gaussians_low(&g, .2) > .999 && rt_gaussians_low(&g, .8) < .001);
}

static void gaussians_odd(void **state) {
    (void)state;
    struct rt_gaussians g;
    static const double one[] = {.7}, two[] = {3, 1}, equal[] = {2, 2, 2, 2}, mostly[] = {0, 0, 0, 0, 0, 0, 0, 5};
    assert_int_equal(rt_gaussians_fit(one, 1, &rt_gaussians_dividemix, "value", &g), SMKD_R_OK);
    near(rt_gaussians_low(&g, .7), .5, 0);
    assert_int_equal(rt_gaussians_fit(equal, 4, &rt_gaussians_dividemix, "value", &g), SMKD_R_OK);
    near(rt_gaussians_low(&g, 2), .5, 0);
    near(rt_gaussians_low(&g, 2.1), .5, 1e-12);
    assert_int_equal(rt_gaussians_fit(two, 2, &rt_gaussians_dividemix, "value", &g), SMKD_R_OK);
    near(g.mean[0], 1, 1e-9);
    near(g.mean[1], 3, 1e-9);
    near(g.variance[0], 5e-4, 1e-9);
    // Quartiles that are equal: the start is the least and the greatest.
    assert_int_equal(rt_gaussians_fit(mostly, N(mostly), &to_the_end, "value", &g), SMKD_R_OK);
    near(g.mean[0], 0, 1e-9);
    near(g.mean[1], 5, 1e-9);
    near(g.weight[1], .125, 1e-9);
    // Without regularisation a group of equal numbers still has a density.
    const struct rt_gaussians_options bare = {100, 0, 0};
    assert_int_equal(rt_gaussians_fit(mostly, N(mostly), &bare, "value", &g), SMKD_R_OK);
    assert_true(isfinite(g.likelihood) && g.variance[0] > 0 && rt_gaussians_low(&g, 2.5) >= 0);
    // No steps: the two groups as they are.
    const struct rt_gaussians_options none = {0, 0, 1e-6};
    assert_int_equal(rt_gaussians_fit(mostly, N(mostly), &none, "value", &g), SMKD_R_OK);
    near(g.mean[1], 5, 0);
    assert_int_equal(g.steps, 0);
    refused(rt_gaussians_fit(one, 0, &to_the_end, "loss", &g), "there is no loss");
    refused(rt_gaussians_fit((const double[]){1, 2, INFINITY}, 3, &to_the_end, "loss", &g), "loss 2 is inf");
    refused(rt_gaussians_fit((const double[]){1e200, 2}, 2, &to_the_end, "loss", &g), "loss 0 is 1e+200");
}

// --- betas -----------------------------------------------------------------------------------------------------------

static void betas(void **state) {
    (void)state;
    struct rt_betas b;
    static const double x[] = {.05, .1, .08, .12, .02, .07, .9, .85, .8, .95};
    assert_int_equal(rt_betas_fit(x, N(x), 10, "value", &b), SMKD_R_OK);
    const double low = b.alpha[0] / (b.alpha[0] + b.beta[0]), high = b.alpha[1] / (b.alpha[1] + b.beta[1]);
    near(low, .44 / 6, 1e-3); // nearly those of the two groups, of which each has a little of the other
    near(high, .875, 1e-3);
    near(b.weight[0], .6, 1e-3);
    assert_true(rt_betas_low(&b, .1) > .99 && rt_betas_low(&b, .9) < .01);
    // Everywhere, also at the ends and beyond, a share.
    static const double where[] = {-1, 0, 1e-9, .3, .5, 1, 2};
    for (size_t i = 0; i < N(where); i++)
        assert_true(rt_betas_low(&b, where[i]) >= 0 && rt_betas_low(&b, where[i]) <= 1);

    static const double equal[] = {.4, .4, .4}, ends[] = {0, 0, 1, 1}, one[] = {0};
    assert_int_equal(rt_betas_fit(equal, 3, 10, "value", &b), SMKD_R_OK);
    near(rt_betas_low(&b, .4), .5, 1e-12);
    assert_int_equal(rt_betas_fit(one, 1, 10, "value", &b), SMKD_R_OK);
    near(rt_betas_low(&b, 0), .5, 1e-12);
    assert_int_equal(rt_betas_fit(ends, 4, 10, "value", &b), SMKD_R_OK);
    assert_true(rt_betas_low(&b, 0) > .99 && rt_betas_low(&b, 1) < .01);
    refused(rt_betas_fit((const double[]){NAN}, 1, 10, "value", &b), "value 0 is nan");
}

static void helpers(void **state) {
    (void)state;
    static const double x[] = {4, 1, 3, 2};
    double u[4];
    near(rt_quantile(x, 4, 0), 1, 0);
    near(rt_quantile(x, 4, .25), 1.75, 1e-15);
    near(rt_quantile(x, 4, .5), 2.5, 1e-15);
    near(rt_quantile(x, 4, 1), 4, 0);
    assert_true(rt_to_unit(x, 4, u));
    near(u[0], 1, 0);
    near(u[2], 2. / 3, 1e-15);
    assert_false(rt_to_unit((const double[]){5, 5}, 2, u));
    near(u[0], 0, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(otsu_sample),   cmocka_unit_test(otsu_odd), cmocka_unit_test(gaussians_nine),
        cmocka_unit_test(gaussians_odd), cmocka_unit_test(betas),    cmocka_unit_test(helpers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
