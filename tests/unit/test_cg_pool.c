// Pooling and its gradients: compiled code against the reference interpreter.
#include "cg_harness.h"

struct c {
    int C, H, W, R, S, st[2], dil, pad[4], ceil;
};

// images: the first dim, IR_N but for test_images
static void add_max(struct cgh *h, const struct c *c, int64_t images) {
    int64_t st[2] = {c->st[0], c->st[1]}, dil[2] = {c->dil, c->dil}, hw[2] = {c->H, c->W}, k[2] = {c->R, c->S};
    int64_t pad[4] = {c->pad[0], c->pad[1], c->pad[2], c->pad[3]};
    ir_vid x = cgh_input(h, IR_F32, 4, (int64_t[]){images, c->C, c->H, c->W});
    ir_nid n = ir_node_new(h->g, IR_OP_max_pool, &x, 1,
                           IR_ATTRS(IR_IS("kernel", k, 2), IR_IS("strides", st, 2), IR_IS("pads", pad, 4),
                                    IR_IS("dilations", dil, 2), IR_I("ceil", c->ceil)));
    assert_true(n != IR_NONE);
    ir_vid y = h->g->nodes[n].out[0], pos = h->g->nodes[n].out[1];
    struct ir_type t = h->g->values[y].type;
    ir_vid dy = cgh_input(h, IR_F32, 4, t.dims);
    ir_vid dx = ir_emit(h->g, IR_OP_max_pool_grad, (ir_vid[]){dy, pos}, 2,
                        IR_ATTRS(IR_IS("kernel", k, 2), IR_IS("strides", st, 2), IR_IS("pads", pad, 4),
                                 IR_IS("dilations", dil, 2), IR_IS("hw", hw, 2)));
    cgh_output(h, y, "max_pool C%d %dx%d window %dx%d stride %d dilation %d", c->C, c->H, c->W, c->R, c->S, c->st[0],
               c->dil);
    cgh_output(h, pos, "its position");
    cgh_output(h, dx, "its gradient");
}

static void add_avg(struct cgh *h, const struct c *c, int64_t images, int include_pad) {
    int64_t st[2] = {c->st[0], c->st[1]}, hw[2] = {c->H, c->W}, k[2] = {c->R, c->S};
    int64_t pad[4] = {c->pad[0], c->pad[1], c->pad[2], c->pad[3]};
    ir_vid x = cgh_input(h, IR_F32, 4, (int64_t[]){images, c->C, c->H, c->W});
#define COMMON                                                                                                         \
    IR_IS("kernel", k, 2), IR_IS("strides", st, 2), IR_IS("pads", pad, 4), IR_I("ceil", c->ceil),                      \
        IR_I("include_pad", include_pad)
    ir_vid y = ir_emit(h->g, IR_OP_avg_pool, &x, 1, IR_ATTRS(COMMON));
    struct ir_type t = h->g->values[y].type;
    ir_vid dy = cgh_input(h, IR_F32, 4, t.dims);
    ir_vid dx = ir_emit(h->g, IR_OP_avg_pool_grad, &dy, 1, IR_ATTRS(COMMON, IR_IS("hw", hw, 2)));
#undef COMMON
    cgh_output(h, y, "avg_pool C%d %dx%d window %dx%d stride %d include_pad %d", c->C, c->H, c->W, c->R, c->S, c->st[0],
               include_pad);
    cgh_output(h, dx, "its gradient");
}

static const struct c cases[] = {
    {16, 8, 8, 2, 2, {2, 2}, 1, {0, 0, 0, 0}, 0},  {33, 14, 14, 3, 3, {2, 2}, 1, {1, 1, 1, 1}, 0},
    {7, 19, 14, 3, 3, {2, 2}, 1, {0, 0, 0, 0}, 1}, {64, 7, 7, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 0},
    {70, 14, 7, 3, 2, {2, 1}, 2, {1, 1, 1, 0}, 0}, {3, 7, 7, 7, 7, {1, 1}, 1, {0, 0, 0, 0}, 0},
    {1, 19, 5, 3, 3, {3, 2}, 1, {2, 1, 1, 0}, 1},  {130, 4, 4, 3, 3, {3, 3}, 1, {1, 1, 1, 1}, 1},
    {16, 5, 5, 2, 2, {3, 3}, 1, {1, 0, 0, 1}, 1},  {5, 18, 18, 16, 16, {1, 2}, 1, {0, 0, 0, 0}, 0},
    {3, 18, 19, 17, 16, {1, 2}, 1, {0, 0, 0, 0}, 0},
};

static void test_max(void **state) {
    (void)state;
    struct cgh h;
    cgh_begin(&h);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) add_max(&h, &cases[i], IR_N);
    cgh_end(&h, (int64_t[]){1, 2, 5}, 3, 1e-6);
}

static void test_average(void **state) {
    (void)state;
    struct cgh h;
    cgh_begin(&h);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (cases[i].dil == 1) add_avg(&h, &cases[i], IR_N, 0), add_avg(&h, &cases[i], IR_N, 1);
    cgh_end(&h, (int64_t[]){1, 2, 5}, 3, 1e-6);
}

// Ties take the first element, a NaN beats everything, and a window of -inf is -inf at its first element.
static double few_values(struct cgh *h) {
    double v = cgh_uniform(h);
    return v < -0.4 ? -INFINITY : v < 0.9 ? floor(v * 2) : NAN;
}

static void test_ties_and_nan(void **state) {
    (void)state;
    struct cgh h;
    cgh_begin(&h);
    h.value = few_values;
    int64_t k[2] = {3, 3}, st[2] = {2, 2}, pad[4] = {1, 1, 1, 1}, dil[2] = {1, 1};
    ir_vid x = cgh_input(&h, IR_F32, 4, (int64_t[]){IR_N, 20, 9, 9});
    ir_nid n = ir_node_new(
        h.g, IR_OP_max_pool, &x, 1,
        IR_ATTRS(IR_IS("kernel", k, 2), IR_IS("strides", st, 2), IR_IS("pads", pad, 4), IR_IS("dilations", dil, 2)));
    cgh_output(&h, h.g->nodes[n].out[0], "maximum");
    cgh_output(&h, h.g->nodes[n].out[1], "position");
    cgh_end(&h, (int64_t[]){3}, 1, 0);
}

// Images that are not one to a sample: k to each, or a fixed number whatever the batch.
static void test_images(void **state) {
    (void)state;
    static const int64_t images[] = {3 * IR_N, 4, 1};
    struct cgh h;
    cgh_begin(&h);
    for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
        add_max(&h, &cases[1], images[i]);
        add_avg(&h, &cases[1], images[i], 0);
    }
    cgh_end(&h, (int64_t[]){1, 2, 5}, 3, 1e-6);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_max), cmocka_unit_test(test_average),
                                       cmocka_unit_test(test_ties_and_nan), cmocka_unit_test(test_images)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
