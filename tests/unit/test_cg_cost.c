// The cost model: what it chooses where one algorithm is known to win, and what it must never depend on.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "../../codegen/codegen.h"

static struct cg_conv_shape square(enum cg_conv_pass pass, int64_t images, int64_t channels, int64_t plane) {
    return (struct cg_conv_shape){.pass = pass,
                                  .images = images,
                                  .C = channels,
                                  .H = plane,
                                  .W = plane,
                                  .K = channels,
                                  .P = plane,
                                  .Q = plane,
                                  .R = 3,
                                  .S = 3,
                                  .group = 1,
                                  .st = {1, 1},
                                  .dil = {1, 1},
                                  .pad = {1, 1}};
}

static int best(const char *cpu, const struct cg_conv_shape *s) {
    double t[CG_ALGORITHMS];
    assert_true(cg_conv_seconds(cpu, s, t));
    for (int a = 0; a < CG_ALGORITHMS; a++) assert_true(t[a] == -1 || (t[a] > 0 && t[a] < 1e3));
    return (int)cg_fastest(t);
}

static const char *const cpus[] = {"x86-64-v4", "x86-64-v3"};

// Measured: the 3x3 layers of ResNet-18 at batch 128 and of ResNet-50 at batch 16, Winograd 1.4 to 3.4 times as fast.
static void test_training(void **state) {
    (void)state;
    static const int64_t layers[][3] = {{128, 64, 32}, {128, 128, 16}, {128, 256, 8}, {128, 512, 4},
                                        {16, 64, 56},  {16, 128, 28},  {16, 256, 14}, {16, 512, 7}};
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        for (int pass = 0; pass < CG_CONV_PASSES; pass++)
            for (int c = 0; c < 2; c++) {
                struct cg_conv_shape s = square((enum cg_conv_pass)pass, layers[i][0], layers[i][1], layers[i][2]);
                assert_int_equal(best(cpus[c], &s), CG_WINOGRAD);
            }
}

// One image has four tiles of a 7x7 plane to share the reading of 38 MB of transformed weights; direct reads 9.
static void test_inference_of_one(void **state) {
    (void)state;
    static const struct {
        int64_t images, channels, plane;
        enum cg_algorithm a;
    } layers[] = {{1, 64, 56, CG_WINOGRAD}, {1, 128, 28, CG_WINOGRAD}, {1, 256, 14, CG_WINOGRAD},
                  {1, 512, 7, CG_DIRECT},   {32, 512, 7, CG_WINOGRAD}, {32, 256, 14, CG_WINOGRAD}};
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        struct cg_conv_shape s = square(CG_FORWARD, layers[i].images, layers[i].channels, layers[i].plane);
        s.kept = 1;
        assert_int_equal(best("x86-64-v4", &s), layers[i].a);
    }
}

// What Winograd's kernels do not know is never offered.
static void test_cannot(void **state) {
    (void)state;
    struct cg_conv_shape s[6];
    for (int i = 0; i < 6; i++) s[i] = square(CG_FORWARD, 32, 64, 56);
    s[0].st[1] = 2;
    s[1].dil[0] = 2;
    s[2].group = 2;
    s[3].R = s[3].S = 5;
    s[4].C = 15;
    s[5].pad[0] = 3;
    for (int i = 0; i < 6; i++) {
        double t[CG_ALGORITHMS];
        assert_true(cg_conv_seconds("x86-64-v4", &s[i], t));
        assert_true(t[CG_DIRECT] > 0);
        assert_true(t[CG_WINOGRAD] == -1);
    }
}

// The target and the shape alone: asked again, and by any CPU of a level, it says the same; "native" is one of them.
static void test_depends_on_nothing_else(void **state) {
    (void)state;
    struct cg_conv_shape s = square(CG_BY_WEIGHTS, 7, 48, 19);
    double a[CG_ALGORITHMS], b[CG_ALGORITHMS];
    assert_true(cg_conv_seconds("x86-64-v4", &s, a));
    assert_true(cg_conv_seconds("znver4", &s, b));
    assert_memory_equal(a, b, sizeof a);
    assert_true(cg_conv_seconds(cg_level("native", false), &s, a));
    assert_true(cg_conv_seconds("native", &s, b));
    assert_memory_equal(a, b, sizeof a);
    assert_false(cg_conv_seconds("pentium", &s, a));
    assert_null(cg_level("pentium", false));
    assert_string_equal(cg_level("znver3", true), "x86-64-v3");
}

// More images never take less time, whatever whole tiles and items there are.
static void test_grows_with_the_batch(void **state) {
    (void)state;
    for (int pass = 0; pass < CG_CONV_PASSES; pass++) {
        double last[CG_ALGORITHMS] = {0}, t[CG_ALGORITHMS];
        for (int64_t n = 1; n <= 256; n *= 2) {
            struct cg_conv_shape s = square((enum cg_conv_pass)pass, n, 96, 14);
            assert_true(cg_conv_seconds("x86-64-v4", &s, t));
            for (int a = 0; a < CG_ALGORITHMS; a++) assert_true(t[a] >= last[a]);
            memcpy(last, t, sizeof last);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_inference_of_one),
        cmocka_unit_test(test_cannot),
        cmocka_unit_test(test_depends_on_nothing_else),
        cmocka_unit_test(test_grows_with_the_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
