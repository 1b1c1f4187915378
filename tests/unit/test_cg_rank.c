// Compiled rank against the interpreter: batches around the widths of vectors, values that are equal, zeros of both
// signs, denormal, infinite, NaN.
#include "cg_harness.h"

#include <float.h>

static double hostile(struct cgh *h) {
    static const float drawn[] = {0,       -0.0f,    1,         1,   -1,  FLT_TRUE_MIN, -FLT_TRUE_MIN,
                                  FLT_MIN, INFINITY, -INFINITY, NAN, -NAN};
    double u = cgh_uniform(h);
    return u < 0 ? cgh_uniform(h) : (double)drawn[(size_t)(u * (double)(sizeof drawn / sizeof *drawn))];
}

static void test_rank(void **state) {
    (void)state;
    struct cgh h;
    cgh_begin(&h);
    h.value = hostile;
    ir_vid x = cgh_input(&h, IR_F32, 1, (int64_t[]){IR_N}), wide = cgh_input(&h, IR_F32, 1, (int64_t[]){-3}),
           fixed = cgh_input(&h, IR_F32, 1, (int64_t[]){77});
    cgh_output(&h, ir_unary(h.g, IR_OP_rank, x), "N");
    cgh_output(&h, ir_unary(h.g, IR_OP_rank, wide), "3N");
    cgh_output(&h, ir_unary(h.g, IR_OP_rank, fixed), "77");
    // What it reads is computed before it, and what reads it after: nobody looks at a place that is not written yet.
    ir_vid sum = ir_add(h.g, x, ir_const_f(h.g, 1)), place = ir_unary(h.g, IR_OP_rank, sum);
    cgh_output(&h, ir_binary(h.g, IR_OP_lt, place, ir_mul(h.g, ir_const_f(h.g, .5), ir_batch_size(h.g))),
               "smaller half");
    // The places of places are places again.
    cgh_output(&h, ir_unary(h.g, IR_OP_rank, place), "twice");
    cgh_end(&h, (int64_t[]){1, 2, 7, 8, 9, 15, 16, 17, 33, 100, 256}, 11, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rank)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
