// Random graphs of views, pointwise ops, reductions, convolutions and pools, with their gradients: what fuse, layout
// and the plan make of them must compute what the naive interpreter says. A failure prints its graph and seed.
#include "cg_check.h"

#define DIM(...) ((int64_t[]){__VA_ARGS__})
#define N        IR_N
enum { ROUNDS = 24, STEPS = 14 };

struct pool {
    struct ir_graph *g;
    uint64_t seed;
    ir_vid v[64]; // f32[N,6,4,4], all of them
    size_t n;
};

static uint64_t below(struct pool *p, uint64_t n) { return h_next(&p->seed) % n; }
static ir_vid any(struct pool *p) { return p->v[below(p, p->n)]; }

// Bounded functions only: magnitudes stay near 1, so that one tolerance fits all.
static ir_vid unary(struct pool *p) {
    static const enum ir_op ops[] = {IR_OP_tanh, IR_OP_sigmoid, IR_OP_neg, IR_OP_sin, IR_OP_cos, IR_OP_copy};
    return ir_unary(p->g, ops[below(p, sizeof ops / sizeof *ops)], any(p));
}

static ir_vid binary(struct pool *p) {
    static const enum ir_op ops[] = {IR_OP_add, IR_OP_sub, IR_OP_mul};
    return ir_unary(p->g, IR_OP_tanh, ir_binary(p->g, ops[below(p, 3)], any(p), any(p)));
}

static ir_vid channelwise(struct pool *p) {
    char *name = arena_printf(p->g->arena, "c%zu", p->g->n_values);
    ir_vid w = ir_boundary(p->g, IR_ROLE_PARAM, ir_type_make(IR_F32, 1, DIM(6)), name, NULL);
    return ir_mul(p->g, any(p), ir_reshape(p->g, w, 3, DIM(6, 1, 1)));
}

static ir_vid reduced(struct pool *p) { // over one axis or two, kept and broadcast back
    int64_t axes[2] = {1 + (int64_t)below(p, 2), 3};
    ir_vid s = ir_reduce(p->g, IR_OP_reduce_sum, any(p), axes, 1 + below(p, 2), 1);
    return ir_mul(p->g, any(p), ir_unary(p->g, IR_OP_sin, s)); // tanh would saturate: a gradient of cancelled digits
}

static ir_vid shuffled(struct pool *p) {
    ir_vid x = ir_reshape(p->g, any(p), 5, DIM(N, 2, 3, 4, 4));
    return ir_reshape(p->g, ir_transpose(p->g, x, 5, DIM(0, 2, 1, 3, 4)), 4, DIM(N, 6, 4, 4));
}

static ir_vid transposed(struct pool *p) {
    static const int64_t perms[3][4] = {{0, 1, 3, 2}, {0, 2, 1, 3}, {0, 3, 2, 1}};
    ir_vid x = ir_transpose(p->g, any(p), 4, perms[below(p, 3)]);
    return ir_reshape(p->g, x, 4, DIM(N, 6, 4, 4));
}

static ir_vid flattened(struct pool *p) {
    ir_vid x = ir_unary(p->g, IR_OP_sin, ir_reshape(p->g, any(p), 2, DIM(N, 96)));
    return ir_reshape(p->g, x, 4, DIM(N, 6, 4, 4));
}

static ir_vid slice(struct pool *p, ir_vid x, int64_t start) {
    return ir_emit(p->g, IR_OP_slice, &x, 1,
                   IR_ATTRS(IR_IS("starts", DIM(0, start, 0, 0), 4), IR_IS("sizes", DIM(N, 3, 4, 4), 4),
                            IR_IS("steps", DIM(1, 1, 1, 1), 4)));
}

static ir_vid cut_and_joined(struct pool *p) {
    ir_vid x = any(p), halves[2] = {slice(p, x, 3), slice(p, any(p), (int64_t)below(p, 4))};
    return ir_emit(p->g, IR_OP_concat, halves, 2, IR_ATTRS(IR_I("axis", 1)));
}

static ir_vid shuffled_join(struct pool *p) {
    ir_vid x = ir_reshape(p->g, cut_and_joined(p), 5, DIM(N, 2, 3, 4, 4));
    return ir_reshape(p->g, ir_transpose(p->g, x, 5, DIM(0, 2, 1, 3, 4)), 4, DIM(N, 6, 4, 4));
}

static ir_vid reversed(struct pool *p) {
    ir_vid x = any(p);
    return ir_emit(p->g, IR_OP_reverse, &x, 1, IR_ATTRS(IR_IS("axes", DIM(1 + (int64_t)below(p, 3)), 1)));
}

static ir_vid convolved(struct pool *p) {
    char *name = arena_printf(p->g->arena, "w%zu", p->g->n_values);
    ir_vid w = ir_boundary(p->g, IR_ROLE_PARAM, ir_type_make(IR_F32, 4, DIM(6, 6, 3, 3)), name, NULL);
    ir_vid in[2] = {any(p), w};
    ir_vid y = ir_emit(
        p->g, IR_OP_conv, in, 2,
        IR_ATTRS(IR_IS("strides", DIM(1, 1), 2), IR_IS("pads", DIM(1, 1, 1, 1), 4), IR_IS("dilations", DIM(1, 1), 2)));
    return ir_unary(p->g, IR_OP_tanh, ir_mul(p->g, y, ir_const_f(p->g, 0.1)));
}

static ir_vid pooled(struct pool *p) {
    ir_vid x = any(p);
    return ir_emit(
        p->g, IR_OP_avg_pool, &x, 1,
        IR_ATTRS(IR_IS("kernel", DIM(3, 3), 2), IR_IS("strides", DIM(1, 1), 2), IR_IS("pads", DIM(1, 1, 1, 1), 4)));
}

static ir_vid (*const makers[])(struct pool *) = {
    unary,  binary,         channelwise, reduced,   shuffled, transposed,    flattened,
    binary, cut_and_joined, reversed,    convolved, pooled,   shuffled_join,
};

static void random_graph(struct arena *a, struct diag *d, uint64_t seed) {
    struct pool p = {.g = ir_graph_new(a, d, arena_printf(a, "seed%llu", (unsigned long long)seed)), .seed = seed};
    const struct ir_type t = ir_type_make(IR_F32, 4, DIM(N, 6, 4, 4));
    p.v[p.n++] = ir_boundary(p.g, IR_ROLE_INPUT, t, "x", NULL);
    p.v[p.n++] = ir_boundary(p.g, IR_ROLE_INPUT, t, "z", NULL);
    while (p.n < STEPS) {
        ir_vid v = makers[below(&p, sizeof makers / sizeof *makers)](&p);
        p.v[p.n++] = v;
    }
    for (int k = 0; k < 2; k++) ir_set_output(p.g, IR_OUT_OUTPUT, k ? "last" : "any", k ? p.v[p.n - 1] : any(&p));
    struct ir_pass_options po = {.mode = IR_TRAIN, .verify = true};
    assert_int_equal(ir_run_passes(p.g, "expand,fold,cse,interleave,dce", &po), SMKD_OK);
    assert_int_equal(ir_differentiate(p.g, NULL, 0, true), SMKD_OK);
    assert_int_equal(ir_run_passes(p.g, "expand,fold,cse,interleave,dce", &po), SMKD_OK);
    h_check(p.g, 1 + (int64_t)(seed % 5), &(struct h_options){.lo = -1, .hi = 1, .seed = seed});
}

static void test_random(void **state) {
    (void)state;
    const char *from = getenv("SEED"), *rounds = getenv("ROUNDS");
    uint64_t first = from ? strtoull(from, NULL, 10) : 1, n = rounds ? strtoull(rounds, NULL, 10) : ROUNDS;
    for (uint64_t seed = first; seed < first + n; seed++) {
        struct arena a;
        struct diag d = {0};
        arena_init(&a);
        random_graph(&a, &d, seed);
        arena_release(&a);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    return cmocka_run_group_tests_name("cg_random", tests, NULL, NULL);
}
