// Realised rates and supports of the noise kinds, and that a label's noise does not depend on how many follow.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../../runtime/data.h"

#include <math.h>
#include <string.h>

enum { N = 60000 };
static int32_t clean[N], noisy[N];

static void apply(const char *text, int classes) {
    struct rt_noise noise;
    assert_int_equal(rt_noise_parse(text, &noise), SMKD_R_OK);
    for (int i = 0; i < N; i++) clean[i] = noisy[i] = i % classes;
    rt_noise_apply(&noise, 7, classes, noisy, N);
}

static void near(double a, double b, double tol) {
    if (!(fabs(a - b) <= tol)) fail_msg("%g is not within %g of %g", a, tol, b);
}

static void symmetric(void **state) {
    (void)state;
    apply("symmetric:0.4", 10);
    near(rt_labels_differ(clean, noisy, N), .4, .008); // 4 standard deviations
    int to[10] = {0};
    for (int i = 0; i < N; i += 10) to[noisy[i]]++;
    for (int c = 1; c < 10; c++) near(to[c] / 6000.0, .4 / 9, .011);
    apply("symmetric:1", 2);
    near(rt_labels_differ(clean, noisy, N), 1, 0);
    apply("symmetric:0", 10);
    near(rt_labels_differ(clean, noisy, N), 0, 0);
    apply("none", 10);
    near(rt_labels_differ(clean, noisy, N), 0, 0);
}

static void inclusive(void **state) {
    (void)state;
    apply("symmetric-inclusive:0.5", 10);
    near(rt_labels_differ(clean, noisy, N), .45, .009);
}

static void pairflip(void **state) {
    (void)state;
    apply("pairflip:0.45", 100);
    near(rt_labels_differ(clean, noisy, N), .45, .009);
    for (int i = 0; i < N; i++) assert_true(noisy[i] == clean[i] || noisy[i] == (clean[i] + 1) % 100);
}

static void prefix(void **state) {
    (void)state;
    apply("symmetric:0.4", 10);
    int32_t few[100];
    memcpy(few, clean, sizeof few);
    struct rt_noise noise = {RT_NOISE_SYMMETRIC, .4};
    rt_noise_apply(&noise, 7, 10, few, 100);
    assert_memory_equal(few, noisy, sizeof few);
    rt_noise_apply(&noise, 8, 10, few, 100);
    assert_memory_not_equal(few, noisy, sizeof few);
}

static void words(void **state) {
    (void)state;
    static const char *const bad[] = {"symmetric",  "symmetric:", "symmetric:1.5", "symmetric:-0.1", "sym:0.4",
                                      "pairflip:x", "",           "symmetric:nan", "none:0.1"};
    struct rt_noise noise;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(rt_noise_parse(bad[i], &noise), SMKD_R_INVALID);
        assert_non_null(strstr(smkd_last_error(), "symmetric:R"));
    }
    unsigned flags;
    assert_int_equal(rt_augment_parse("crop-flip", &flags), SMKD_R_OK);
    assert_string_equal(rt_augment_text(flags), "crop-flip");
    assert_int_equal(rt_augment_parse("cutout", &flags), SMKD_R_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(symmetric), cmocka_unit_test(inclusive), cmocka_unit_test(pairflip),
        cmocka_unit_test(prefix),    cmocka_unit_test(words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
