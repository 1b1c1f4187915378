// Which labels are noisy: evidence by golden vectors, criteria on data without two sides, findings worked out by hand.
// (numpy's and cleanlab's: tests/oracle/test_detect.py)
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../../runtime/metrics.h"
#include "../../runtime/suspects.h"

#include <math.h>
#include <string.h>

static void near(double a, double b, double limit) {
    if (!(fabs(a - b) <= limit)) fail_msg("%.17g is not %.17g", a, b);
}

static const struct rt_suspect_options plain = {
    .otsu = RT_OTSU_DEVIATION, .share = NAN, .posterior = .5, .filter = RT_PRUNE_BY_NOISE_RATE, .votes = 3};

static void golden(void **state) {
    (void)state;
    static const float a[3][4] = {{4, 0, -1, .5f}, {.2f, .1f, 0, -.1f}, {-1, 3, 2.5f, 0}},
                       b[3][4] = {{3, 1, 0, -2}, {0, 2.5f, -1, .5f}, {.1f, 0, .2f, -.1f}};
    static const int32_t y[] = {0, 2, 1};
    static const double agreement[] = {.996991, .022235, .553676}, entropy[] = {.255288, 1.380071, .829627};
    struct rt_evidence e, one;
    assert_int_equal(rt_evidence_init(&e, 3, 4, 2), SMKD_R_OK);
    assert_int_equal(rt_evidence_init(&one, 3, 4, 1), SMKD_R_OK);
    for (size_t i = 0; i < 3; i++) {
        double p[8], l[8];
        rt_softmax(a[i], 4, p);
        rt_softmax(b[i], 4, p + 4);
        rt_log_softmax(a[i], 4, l);
        rt_log_softmax(b[i], 4, l + 4);
        assert_int_equal(rt_evidence_add(&e, i, y[i], p, l), SMKD_R_OK);
        assert_int_equal(rt_evidence_add(&one, i, y[i], p, l), SMKD_R_OK);
    }
    rt_evidence_finish(&e);
    rt_evidence_finish(&one);
    double loss = 0;
    for (size_t i = 0; i < 3; i++) {
        near(e.agreement[i], agreement[i], 1e-6);
        near(one.entropy[i] * log(4), entropy[i], 1e-6);
        loss += one.loss[i] / 3;
    }
    near(loss, .670636, 1e-6);
    assert_int_equal(e.proposed[1], 1);
    rt_evidence_release(&e);
    rt_evidence_release(&one);
}

// Two classes, one network: P(1) of each image; added from the last to the first, with a gap.
static void fill(struct rt_evidence *e, const double *p1, const int32_t *given, size_t n) {
    assert_int_equal(rt_evidence_init(e, n + 1, 2, 1), SMKD_R_OK);
    for (size_t i = n; i-- > 0;) {
        const double p[] = {1 - p1[i], p1[i]}, l[] = {log(p[0]), log(p[1])};
        assert_int_equal(rt_evidence_add(e, i + 1, given[i], p, l), SMKD_R_OK);
    }
    rt_evidence_finish(e);
    assert_int_equal(e->n, n);
}

static void findings(void **state) {
    (void)state;
    static const double p1[] = {.1, .05, .9, .95, .9, .2};
    static const int32_t given[] = {0, 0, 1, 1, 0, 1}, truth[] = {9, 0, 0, 1, 1, 1, 1}; // of image 0 nothing is known
    struct rt_evidence e;
    struct rt_verdict v;
    struct rt_finding f;
    struct str curve = STR_INIT;
    fill(&e, p1, given, 6);
    assert_int_equal(e.image[0], 1);
    assert_int_equal(rt_criterion_find("agreement")->judge(&e, &plain, &v), SMKD_R_OK);
    assert_int_equal(v.suspects, 1); // below the mean of .1 and .2
    assert_true(v.noisy[4]);
    near(v.score[4], .9, 1e-12);
    rt_finding_of(&e, &v, truth, &f);
    assert_int_equal(f.wrong, 1);
    assert_int_equal(f.found, 1);
    assert_int_equal(f.right, 6);
    near(f.precision, 100, 0);
    near(f.f1, 100, 0);
    near(f.area, 100, 0);
    rt_finding_curve(&e, &v, truth, &curve);
    assert_memory_equal(curve.s, "score,noisy,precision,recall,f1\n0.9,1,100,100,100\n0.8,2,50,100,66.6667\n", 70);
    str_release(&curve);
    rt_verdict_release(&v);
    // Half of the images.
    struct rt_suspect_options half = plain;
    half.share = .5;
    assert_int_equal(rt_criterion_find("loss")->judge(&e, &half, &v), SMKD_R_OK);
    assert_int_equal(v.suspects, 3);
    assert_true(v.noisy[4] && v.noisy[5] && v.noisy[0] && !v.noisy[2]); // of equal ones the lower number
    rt_finding_of(&e, &v, truth, &f);
    near(f.precision, 100. / 3, 1e-9);
    assert_int_equal(f.right, 5);
    rt_verdict_release(&v);
    // Nothing is wrong, and nothing found: 0, not none.
    static const int32_t all_right[] = {9, 0, 0, 1, 1, 0, 1};
    half.share = 0;
    assert_int_equal(rt_criterion_find("gmm")->judge(&e, &half, &v), SMKD_R_OK);
    rt_finding_of(&e, &v, all_right, &f);
    near(f.precision + f.recall + f.f1 + f.area, 0, 0);
    rt_verdict_release(&v);
    rt_evidence_release(&e);
}

// Where there are no two groups, nothing is called noisy by them.
static void one_sided(void **state) {
    (void)state;
    static const double equal[] = {.1, .1, .1, .1}, single[] = {.1};
    static const int32_t given[] = {0, 0, 0, 0};
    for (const struct rt_criterion *c = rt_criteria; c->name; c++) {
        for (size_t n = 1; n <= 4; n += 3) {
            struct rt_evidence e;
            struct rt_verdict v;
            fill(&e, n == 1 ? single : equal, given, n);
            assert_int_equal(c->judge(&e, &plain, &v), SMKD_R_OK);
            assert_int_equal(v.suspects, 0);
            assert_true(v.rule.len > 0 && (v.trust != NULL) == c->trusts);
            rt_verdict_release(&v);
            rt_evidence_release(&e);
        }
    }
    assert_null(rt_criterion_find("nonsense"));
}

static void impossible(void **state) {
    (void)state;
    struct rt_evidence e;
    assert_int_equal(rt_evidence_init(&e, 3, 2, 2), SMKD_R_OK);
    const double nan[] = {.5, .5, NAN, .5}, beyond[] = {.5, .5, 0, 1.5}, l[] = {0, 0, 0, 0};
    assert_int_equal(rt_evidence_add(&e, 2, 0, nan, l), SMKD_R_INVALID);
    assert_string_equal(smkd_last_error(), "image 2: the probability of class 0 is nan, expected 0 to 1");
    assert_int_equal(rt_evidence_add(&e, 0, 0, beyond, l), SMKD_R_INVALID);
    // Networks that exclude each other agree on nothing, and a probability of 0 costs what the smallest number does.
    const double p[] = {1, 0, 0, 1}, log_p[] = {0, -INFINITY, -INFINITY, 0};
    assert_int_equal(rt_evidence_add(&e, 1, 0, p, log_p), SMKD_R_OK);
    rt_evidence_finish(&e);
    near(e.agreement[0], 0, 0);
    near(e.loss[0], 354, 0);
    near(e.entropy[0], 1, 1e-12);
    rt_evidence_release(&e);
    // A matrix of classes has to fit into the memory that there is.
    const uint64_t was = budget_bytes();
    budget_set(1 << 20);
    assert_int_equal(rt_confident_learning(NULL, NULL, 0, 1 << 20, RT_PRUNE_BOTH, NULL, NULL), SMKD_R_NOMEM);
    assert_int_equal(rt_evidence_init(&e, 1 << 20, 10, 1), SMKD_R_NOMEM);
    rt_evidence_release(&e);
    budget_set(was);
}

// Ten images that are given class 0, one of them surely of class 1, and ten of class 1.
static void confident(void **state) {
    (void)state;
    double p[20][2];
    int32_t given[20];
    bool noisy[20];
    double thresholds[2];
    for (int i = 0; i < 20; i++) {
        given[i] = i >= 10;
        p[i][1] = i == 3 ? .99 : i >= 10 ? .9 : .1;
        p[i][0] = 1 - p[i][1];
    }
    for (int filter = RT_PRUNE_BY_NOISE_RATE; filter <= RT_CONFIDENT_LEARNING; filter++) {
        assert_int_equal(rt_confident_learning(&p[0][0], given, 20, 2, (enum rt_filter)filter, noisy, thresholds),
                         SMKD_R_OK);
        for (int i = 0; i < 20; i++) assert_int_equal(noisy[i], i == 3);
    }
    near(thresholds[0], (9 * .9 + .01) / 10, 1e-12);
    near(thresholds[1], .9, 1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),     cmocka_unit_test(findings),  cmocka_unit_test(one_sided),
        cmocka_unit_test(impossible), cmocka_unit_test(confident),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
