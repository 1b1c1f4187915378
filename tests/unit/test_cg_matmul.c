// Matrix products: compiled code against the reference interpreter. Sizes lie around the register tiles, the blocks of
// the contraction (256) and the chunks of rows (252); the batch appears as rows, as the contraction and as a batch dim.
#include "cg_harness.h"

static void add(struct cgh *h, int ra, const int64_t *da, int rb, const int64_t *db, int ta, int tb) {
    ir_vid a = cgh_input(h, IR_F32, ra, da), b = cgh_input(h, IR_F32, rb, db);
    cgh_output(h, ir_matmul(h->g, a, b, ta, tb), "matmul rank %d x %d, inner %d, trans %d %d", ra, rb,
               (int)da[ra - (ta ? 2 : 1)], ta, tb);
}
#define D(...)                                                                                                         \
    (const int64_t[]) { __VA_ARGS__ }

static void test_rows(void **state) {
    (void)state;
    struct cgh h;
    cgh_begin(&h);
    add(&h, 2, D(IR_N, 7), 2, D(7, 3), 0, 0);
    add(&h, 2, D(IR_N, 512), 2, D(10, 512), 0, 1);
    add(&h, 2, D(IR_N, 10), 2, D(10, 512), 0, 0);
    add(&h, 2, D(IR_N, 300), 2, D(300, 70), 0, 0);
    add(&h, 2, D(2 * IR_N, 5), 2, D(5, 33), 0, 0);
    cgh_end(&h, (int64_t[]){1, 5, 33, 128}, 4, 1e-5);
}

static void test_contraction_over_the_batch(void **state) {
    (void)state;
    struct cgh h;
    cgh_begin(&h);
    add(&h, 2, D(IR_N, 10), 2, D(IR_N, 512), 1, 0);
    add(&h, 2, D(IR_N, 100), 2, D(IR_N, 17), 1, 0);
    add(&h, 2, D(IR_N, 3), 2, D(IR_N, 1), 1, 0);
    cgh_end(&h, (int64_t[]){1, 5, 128, 600}, 3, 1e-5);
}

static void test_constant_sizes(void **state) {
    (void)state;
    struct cgh h;
    cgh_begin(&h);
    add(&h, 2, D(100, 600), 2, D(600, 130), 0, 0);
    add(&h, 2, D(600, 100), 2, D(130, 600), 1, 1);
    add(&h, 2, D(300, 40), 2, D(40, 20), 0, 0);
    add(&h, 2, D(1, 1), 2, D(1, 1), 0, 0);
    cgh_end(&h, (int64_t[]){1}, 1, 1e-5);
}

static void test_batched(void **state) {
    (void)state;
    struct cgh h;
    cgh_begin(&h);
    add(&h, 3, D(IR_N, 9, 20), 3, D(IR_N, 20, 17), 0, 0);
    add(&h, 3, D(IR_N, 9, 20), 2, D(20, 17), 0, 0);
    add(&h, 3, D(IR_N, 20, 9), 2, D(20, 17), 1, 0);
    add(&h, 4, D(IR_N, 3, 5, 20), 4, D(1, 3, 20, 40), 0, 0);
    add(&h, 4, D(IR_N, 3, 5, 20), 3, D(3, 40, 20), 0, 1);
    add(&h, 2, D(6, 20), 3, D(IR_N, 20, 40), 0, 0);
    cgh_end(&h, (int64_t[]){1, 3}, 2, 1e-5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_contraction_over_the_batch),
        cmocka_unit_test(test_constant_sizes),
        cmocka_unit_test(test_batched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
