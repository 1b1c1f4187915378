// Compiled pointwise, view, reduction, gather and BatchNorm kernels against the interpreter, alone and fused.
#include "cg_check.h"

static struct arena A;
static struct diag D;

static struct ir_graph *graph(const char *name) {
    arena_release(&A);
    return ir_graph_new(&A, &D, name);
}
static ir_vid input(struct ir_graph *g, const char *name, enum ir_dtype t, int rank, const int64_t *dims) {
    return ir_boundary(g, IR_ROLE_INPUT, ir_type_make(t, rank, dims), name, NULL);
}
#define DIMS(...)                                                                                                      \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]) { __VA_ARGS__ }
static void out(struct ir_graph *g, const char *name, ir_vid v) { ir_set_output(g, IR_OUT_OUTPUT, name, v); }

// Every float op alone, on a size that leaves vector tails and on a flat batch.
static void test_unary(void **state) {
    (void)state;
    static const struct {
        enum ir_op op;
        double lo, hi, rtol;
    } c[] = {
        {IR_OP_neg, -2, 2, 0},       {IR_OP_abs, -2, 2, 0},           {IR_OP_exp, -20, 20, 1e-6},
        {IR_OP_log, 1e-6, 50, 1e-6}, {IR_OP_sqrt, 0, 9, 1e-6},        {IR_OP_recip, .1, 4, 1e-6},
        {IR_OP_erf, -5, 5, 1e-6},    {IR_OP_tanh, -10, 10, 1e-6},     {IR_OP_sigmoid, -30, 30, 1e-6},
        {IR_OP_relu, -2, 2, 0},      {IR_OP_sin, -9, 9, 1e-6},        {IR_OP_cos, -9, 9, 1e-6},
        {IR_OP_floor, -9, 9, 0},     {IR_OP_ceil, -9, 9, 0},          {IR_OP_round, -9, 9, 0},
        {IR_OP_asin, -1, 1, 1e-6},   {IR_OP_acos, -1, 1, 1e-6},       {IR_OP_atan, -9, 9, 1e-6},
        {IR_OP_sinh, -5, 5, 1e-6},   {IR_OP_cosh, -5, 5, 1e-6},       {IR_OP_asinh, -9, 9, 1e-6},
        {IR_OP_acosh, 1, 9, 1e-6},   {IR_OP_atanh, -.9, .9, 1e-6},    {IR_OP_sign, -1, 1, 0},
        {IR_OP_copy, -2, 2, 0},      {IR_OP_stop_gradient, -2, 2, 0},
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        struct ir_graph *g = graph(ir_ops[c[i].op].name);
        ir_vid x = input(g, "x", IR_F32, DIMS(IR_N, 37));
        out(g, "y", ir_unary(g, c[i].op, x));
        struct h_options o = {.lo = c[i].lo, .hi = c[i].hi, .rtol = c[i].rtol, .seed = i};
        h_check(g, 3, &o);
    }
}

static void test_binary_broadcast(void **state) {
    (void)state;
    static const enum ir_op ops[] = {IR_OP_add, IR_OP_sub, IR_OP_mul, IR_OP_div, IR_OP_max,
                                     IR_OP_min, IR_OP_eq,  IR_OP_lt,  IR_OP_le};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        struct ir_graph *g = graph(ir_ops[ops[i]].name);
        ir_vid x = input(g, "x", IR_F32, DIMS(IR_N, 5, 7, 3)), y = input(g, "y", IR_F32, DIMS(5, 1, 3)),
               z = input(g, "z", IR_F32, DIMS(IR_N, 1, 1, 1));
        out(g, "xy", ir_binary(g, ops[i], x, y));
        out(g, "zx", ir_binary(g, ops[i], z, x));
        struct h_options o = {.lo = .5, .hi = 3, .seed = i};
        h_check(g, 2, &o);
    }
    struct ir_graph *g = graph("pow");
    ir_vid x = input(g, "x", IR_F32, DIMS(IR_N, 19)), y = input(g, "y", IR_F32, DIMS(19));
    out(g, "p", ir_binary(g, IR_OP_pow, x, y));
    static const double e[] = {2, 3, .5, -1, -.5, 1, 1.7};
    for (size_t i = 0; i < 7; i++) out(g, arena_printf(&A, "p%zu", i), ir_binary(g, IR_OP_pow, x, ir_const_f(g, e[i])));
    struct h_options o = {.lo = .2, .hi = 3};
    h_check(g, 2, &o);
}

// Outputs of one type are stored by one kernel: also those that read each other, but not at another index.
static void test_outputs_together(void **state) {
    (void)state;
    for (int64_t n = 1; n <= 67; n += 33) {
        struct ir_graph *g = graph("together");
        ir_vid x = input(g, "x", IR_F32, DIMS(IR_N, 7, 7)), y = input(g, "y", IR_F32, DIMS(IR_N, 7, 7)),
               s = input(g, "s", IR_F32, DIMS(7));
        ir_vid a = ir_fma(g, x, s, y), b = ir_mul(g, a, y);
        out(g, "a", a);
        out(g, "b", b);
        out(g, "positive", ir_binary(g, IR_OP_lt, ir_const_f(g, 2), b));
        out(g, "c", ir_div(g, b, ir_add(g, ir_mul(g, x, x), ir_const_f(g, 1))));
        out(g, "d", ir_add(g, a, ir_const_f(g, 1)));
        out(g, "turned", ir_add(g, ir_transpose(g, b, 3, (int64_t[]){0, 2, 1}), x));
        ir_vid one = input(g, "one", IR_F32, DIMS(IR_N, 1, 7));
        out(g, "e", ir_mul(g, one, one));
        out(g, "f", ir_add(g, g->outputs[g->n_outputs - 1].value, one));
        ir_vid columns = ir_reduce(g, IR_OP_reduce_sum, x, (int64_t[]){0, 1}, 2, 0);
        out(g, "sum", ir_mul(g, columns, s));
        out(g, "twice", ir_mul(g, columns, ir_const_f(g, 2)));
        struct h_options o = {.lo = .5, .hi = 3, .seed = (uint64_t)n};
        h_check(g, n, &o);
    }
}

static void test_integers_and_bools(void **state) {
    (void)state;
    struct ir_graph *g = graph("ints");
    ir_vid y = input(g, "y", IR_I64, DIMS(IR_N)), b = input(g, "b", IR_BOOL, DIMS(IR_N)),
           x = input(g, "x", IR_F32, DIMS(IR_N));
    ir_vid seven = ir_const_i(g, 7);
    out(g, "mul", ir_mul(g, y, seven));
    out(g, "div", ir_div(g, ir_mul(g, y, seven), ir_const_i(g, 3)));
    out(g, "and", ir_binary(g, IR_OP_bit_and, y, seven));
    out(g, "f", ir_cast(g, y, IR_F32));
    out(g, "i", ir_cast(g, ir_mul(g, x, ir_const_f(g, 10)), IR_I64));
    out(g, "w", ir_where(g, b, x, ir_const_f(g, -1)));
    out(g, "nb", ir_unary(g, IR_OP_not, b));
    out(g, "or", ir_binary(g, IR_OP_or, b, ir_binary(g, IR_OP_lt, x, ir_const_f(g, 0))));
    int64_t shape[2] = {IR_N, 3};
    ir_vid col = ir_emit(g, IR_OP_iota, NULL, 0, IR_ATTRS(IR_IS("shape", shape, 2), IR_I("axis", 1)));
    out(g, "onehot", ir_cast(g, ir_binary(g, IR_OP_eq, col, ir_reshape(g, y, 2, (int64_t[]){IR_N, 1})), IR_F32));
    h_check(g, 37, NULL);
}

static void test_views(void **state) {
    (void)state;
    struct ir_graph *g = graph("views");
    ir_vid x = input(g, "x", IR_F32, DIMS(IR_N, 6, 5, 4));
    int64_t p[4] = {0, 2, 3, 1};
    ir_vid t = ir_transpose(g, x, 4, p);
    out(g, "t", t);
    int64_t st[4] = {0, 1, 4, 3}, sz[4] = {IR_N, 2, 3, 2}, sp[4] = {1, 3, -1, -2};
    ir_vid s =
        ir_emit(g, IR_OP_slice, &x, 1, IR_ATTRS(IR_IS("starts", st, 4), IR_IS("sizes", sz, 4), IR_IS("steps", sp, 4)));
    out(g, "s", s);
    out(g, "s2", ir_mul(g, s, s));
    int64_t ax[2] = {1, 3};
    ir_vid r = ir_emit(g, IR_OP_reverse, &x, 1, IR_ATTRS(IR_IS("axes", ax, 2)));
    out(g, "r", ir_add(g, r, x));
    out(g, "e",
        ir_expand_to(g, ir_reduce(g, IR_OP_reduce_sum, x, (int64_t[]){2, 3}, 2, 1), 4, (int64_t[]){IR_N, 6, 5, 4}));
    int64_t lo[4] = {0, 1, 0, 2}, hi[4] = {0, 0, 3, 1}, steps[4] = {1, 1, 2, 3};
    out(g, "pad",
        ir_emit(g, IR_OP_pad, &x, 1,
                IR_ATTRS(IR_IS("lo", lo, 4), IR_IS("hi", hi, 4), IR_F("value", 1.5), IR_IS("steps", steps, 4))));
    ir_vid cc[3] = {x, r, x};
    out(g, "cat", ir_emit(g, IR_OP_concat, cc, 3, IR_ATTRS(IR_I("axis", 2))));
    out(g, "shape", ir_reshape(g, t, 3, (int64_t[]){IR_N, 30, 4}));
    out(g, "rows", ir_reshape(g, x, 2, (int64_t[]){6 * IR_N, 20}));
    h_check(g, 3, NULL);
}

static ir_vid pooled(struct ir_graph *g, ir_vid x, int64_t stride) {
    int64_t k[2] = {2, 2}, st[2] = {stride, stride}, pads[4] = {0, 0, 0, 0};
    return ir_emit(g, IR_OP_avg_pool, &x, 1,
                   IR_ATTRS(IR_IS("kernel", k, 2), IR_IS("strides", st, 2), IR_IS("pads", pads, 4)));
}

static ir_vid shuffled(struct ir_graph *g, ir_vid x, int64_t groups, int64_t each, int64_t side) {
    x = ir_reshape(g, x, 5, (int64_t[]){IR_N, groups, each, side, side});
    x = ir_transpose(g, x, 5, (int64_t[]){0, 2, 1, 3, 4});
    return ir_reshape(g, x, 4, (int64_t[]){IR_N, groups * each, side, side});
}

// Channel shuffles between pools (channels last) and back, as the gradient has it: reshape, transpose, reshape must
// stay one strided copy and be right. Groups of lanes, and of too few.
static void test_channel_shuffle(void **state) {
    (void)state;
    static const int64_t cases[][2] = {{3, 4}, {2, 19}, {3, 33}, {2, 16}, {5, 17}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t groups = cases[i][0], each = cases[i][1], c = groups * each;
        struct ir_graph *g = graph("shuffle");
        ir_vid y = shuffled(g, pooled(g, input(g, "x", IR_F32, DIMS(IR_N, c, 8, 8)), 2), groups, each, 4);
        out(g, "flat", ir_reshape(g, y, 2, (int64_t[]){IR_N, c * 16}));
        out(g, "back", pooled(g, shuffled(g, pooled(g, y, 2), each, groups, 2), 1));
        h_check(g, 2, NULL);
    }
}

// Operands of a concatenation side by side in rows (channels last): one, two, more than a kernel takes, tails, the same
// operand twice, one that is computed on the way.
static void test_concat_rows(void **state) {
    (void)state;
    static const int64_t cases[][12] = {
        {58, 58}, {1, 1, 1}, {16, 48, 3}, {32}, {5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ir_graph *g = graph("concat");
        ir_vid in[12];
        int n = 0;
        for (; cases[i][n]; n++) {
            in[n] = pooled(g, input(g, arena_printf(&A, "x%d", n), IR_F32, DIMS(IR_N, cases[i][n], 6, 6)), 2);
            if (n == 1) in[n] = ir_unary(g, IR_OP_relu, in[n]);
        }
        in[n] = in[0];
        ir_vid y = ir_emit(g, IR_OP_concat, in, n + 1, IR_ATTRS(IR_I("axis", 1)));
        out(g, "y", pooled(g, y, 1));
        h_check(g, 3, NULL);
    }
}

static size_t count(const struct ir_graph *g, enum ir_op op) {
    size_t n = 0;
    for (size_t i = 0; i < g->n_nodes; i++) n += g->nodes[i].op == op;
    return n;
}

static ir_vid channels(struct ir_graph *g, ir_vid x, int64_t start, int64_t size, int64_t side) {
    int64_t starts[4] = {0, start, 0, 0}, sizes[4] = {IR_N, size, side, side}, steps[4] = {1, 1, 1, 1};
    return ir_emit(g, IR_OP_slice, &x, 1,
                   IR_ATTRS(IR_IS("starts", starts, 4), IR_IS("sizes", sizes, 4), IR_IS("steps", steps, 4)));
}

// A concatenation of n operands, shuffled, and split in two where `split`, between pools.
static struct ir_graph *shuffle_block(int n, int64_t each, bool split) {
    struct ir_graph *g = graph("block");
    ir_vid in[4];
    for (int k = 0; k < n; k++) {
        in[k] = pooled(g, input(g, arena_printf(&A, "x%d", k), IR_F32, DIMS(IR_N, each, 4, 4)), 2);
        if (k) in[k] = ir_unary(g, IR_OP_relu, in[k]);
    }
    ir_vid y = ir_emit(g, IR_OP_concat, in, (size_t)n, IR_ATTRS(IR_I("axis", 1)));
    y = shuffled(g, y, n, each, 2);
    if (split) {
        int64_t half = n * each / 2;
        out(g, "left", pooled(g, channels(g, y, 0, half, 2), 1));
        out(g, "right", pooled(g, ir_unary(g, IR_OP_sin, channels(g, y, half, n * each - half, 2)), 1));
    } else {
        out(g, "y", pooled(g, y, 1));
    }
    return g;
}

static void differentiated(struct ir_graph *g, const char *passes) {
    struct ir_pass_options po = {.mode = IR_TRAIN, .verify = true};
    assert_int_equal(ir_run_passes(g, passes, &po), SMKD_OK);
    assert_int_equal(ir_differentiate(g, NULL, 0, true), SMKD_OK);
    assert_int_equal(ir_run_passes(g, passes, &po), SMKD_OK);
}

// Every output of both graphs on the same numbers.
static void assert_same_outputs(const struct ir_graph *a, const struct ir_graph *b, int64_t batch) {
    const struct ir_graph *g[2] = {a, b};
    struct ir_tensor **v[2];
    for (int k = 0; k < 2; k++) {
        uint64_t seed = 7;
        v[k] = xcalloc(g[k]->n_values, sizeof *v[k]);
        for (size_t i = 0; i < g[k]->n_boundary; i++) {
            ir_vid in = g[k]->boundary[i];
            v[k][in] = ir_tensor_new(&A, ir_concrete(&g[k]->values[in].type, batch));
            for (size_t j = 0; j < ir_tensor_numel(v[k][in]); j++) v[k][in]->f[j] = h_uniform(&seed) - 0.5;
        }
        ir_eval(g[k], &A, batch, v[k]);
    }
    assert_int_equal(a->n_outputs, b->n_outputs);
    for (size_t i = 0; i < a->n_outputs; i++) {
        const struct ir_tensor *x = v[0][a->outputs[i].value], *y = v[1][b->outputs[i].value];
        assert_string_equal(a->outputs[i].name, b->outputs[i].name);
        assert_int_equal(ir_tensor_numel(x), ir_tensor_numel(y));
        assert_memory_equal(x->f, y->f, ir_tensor_numel(x) * sizeof *x->f);
    }
    free(v[0]);
    free(v[1]);
}

// Shuffled concatenations as interleavings, and their gradients: equal to what they stand for, and compiled right.
static void test_interleaved(void **state) {
    (void)state;
    static const struct {
        int n;
        int64_t each;
        bool split;
        size_t interleaves; // left by the pass
    } c[] = {{2, 58, true, 2}, {2, 16, false, 1}, {2, 24, true, 2}, {3, 22, true, 2},
             {4, 6, false, 1}, {4, 40, true, 2},  {2, 29, true, 1}, // of which a half is no whole number of pairs
             {3, 1, false, 1}, {2, 116, false, 1}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        struct ir_graph *g = shuffle_block(c[i].n, c[i].each, c[i].split), *plain = ir_graph_clone(&A, g);
        differentiated(g, "expand,fold,cse,interleave,dce");
        differentiated(plain, "expand,fold,cse,dce");
        assert_int_equal(count(g, IR_OP_interleave), c[i].interleaves);
        if (c[i].interleaves) assert_int_equal(count(g, IR_OP_transpose), 0);
        assert_same_outputs(g, plain, 2);
        h_check(g, 3, NULL);
    }
}

static ir_vid first_columns(struct ir_graph *g, ir_vid x, int64_t n) {
    int64_t starts[3] = {0}, sizes[3] = {IR_N, 1100, n}, steps[3] = {1, 1, 1};
    return ir_emit(g, IR_OP_slice, &x, 1,
                   IR_ATTRS(IR_IS("starts", starts, 3), IR_IS("sizes", sizes, 3), IR_IS("steps", steps, 3)));
}

// Results of 16 MiB and more are stored past the caches: flat, in rows, from two operands, over an operand, and one
// that has no whole vectors.
static void test_large_results(void **state) {
    (void)state;
    struct ir_graph *g = graph("large");
    ir_vid x = input(g, "x", IR_F32, DIMS(IR_N, 1100, 64)), s = input(g, "s", IR_F32, DIMS(64)), y = ir_mul(g, x, s);
    out(g, "flat", ir_unary(g, IR_OP_relu, x));
    out(g, "rows", y);
    out(g, "over", ir_unary(g, IR_OP_neg, ir_unary(g, IR_OP_stop_gradient, ir_add(g, y, x))));
    ir_vid two[2] = {first_columns(g, x, 32), first_columns(g, y, 32)};
    out(g, "two", ir_emit(g, IR_OP_concat, two, 2, IR_ATTRS(IR_I("axis", 2))));
    out(g, "odd", ir_unary(g, IR_OP_neg, first_columns(g, y, 63)));
    struct h_options o = {.rtol = 1e-6};
    h_check(g, 61, &o);
}

static void test_reductions(void **state) {
    (void)state;
    static const struct {
        int n;
        int64_t ax[4];
    } c[] = {{1, {3}}, {1, {1}}, {2, {2, 3}}, {3, {0, 2, 3}}, {1, {0}}, {4, {0, 1, 2, 3}}, {2, {1, 3}}, {2, {0, 1}}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        for (int keep = 0; keep < 2; keep++) {
            struct ir_graph *g = graph("reduce");
            ir_vid x = input(g, "x", IR_F32, DIMS(IR_N, 7, 5, 19));
            out(g, "sum", ir_reduce(g, IR_OP_reduce_sum, ir_mul(g, x, x), c[i].ax, (size_t)c[i].n, keep));
            out(g, "max", ir_reduce(g, IR_OP_reduce_max, ir_unary(g, IR_OP_neg, x), c[i].ax, (size_t)c[i].n, keep));
            struct h_options o = {.seed = i};
            h_check(g, i == 3 ? 41 : 3, &o);
        }
    struct ir_graph *g = graph("rows");
    ir_vid x = input(g, "x", IR_F32, DIMS(IR_N, 100));
    out(g, "cols", ir_reduce(g, IR_OP_reduce_sum, x, (int64_t[]){0}, 1, 0)); // two-stage
    ir_vid i1 = input(g, "i", IR_I64, DIMS(IR_N));
    out(g, "isum", ir_reduce(g, IR_OP_reduce_sum, i1, (int64_t[]){0}, 1, 0));
    h_check(g, 77, NULL);
}

static void test_softmax_like(void **state) {
    (void)state;
    struct ir_graph *g = graph("softmax");
    ir_vid x = input(g, "x", IR_F32, DIMS(IR_N, 10));
    ir_vid m = ir_reduce(g, IR_OP_reduce_max, x, (int64_t[]){1}, 1, 1);
    ir_vid e = ir_unary(g, IR_OP_exp, ir_sub(g, x, m)), s = ir_reduce(g, IR_OP_reduce_sum, e, (int64_t[]){1}, 1, 1);
    ir_vid p = ir_div(g, e, s);
    out(g, "p", p);
    out(g, "lse", ir_add(g, ir_unary(g, IR_OP_log, s), m));
    ir_vid h = ir_reduce(g, IR_OP_reduce_sum, ir_mul(g, p, ir_unary(g, IR_OP_log, p)), (int64_t[]){1}, 1, 0);
    out(g, "mean", ir_div(g, ir_reduce(g, IR_OP_reduce_sum, h, (int64_t[]){0}, 1, 0), ir_batch_size(g)));
    struct h_options o = {.lo = -30, .hi = 30};
    h_check(g, 13, &o);
}

static void test_gather_argmax(void **state) {
    (void)state;
    struct ir_graph *g = graph("gather");
    ir_vid x = input(g, "x", IR_F32, DIMS(IR_N, 6, 5)), i = input(g, "i", IR_I64, DIMS(4)),
           row = input(g, "row", IR_F32, DIMS(3, 9)), y = input(g, "y", IR_I64, DIMS(IR_N));
    ir_vid a[2] = {x, i}, b[2] = {row, y};
    ir_vid gx = ir_emit(g, IR_OP_gather, a, 2, IR_ATTRS(IR_I("axis", 1)));
    out(g, "gx", gx);
    out(g, "emb", ir_emit(g, IR_OP_gather, b, 2, IR_ATTRS(IR_I("axis", 0))));
    ir_vid c[2] = {gx, i};
    out(g, "back",
        ir_emit(g, IR_OP_gather_grad, c, 2, IR_ATTRS(IR_I("axis", 1), IR_IS("shape", ((int64_t[]){IR_N, 6, 5}), 3))));
    out(g, "am", ir_emit(g, IR_OP_argmax, &x, 1, IR_ATTRS(IR_I("axis", 1), IR_I("keepdims", 0))));
    out(g, "am2", ir_emit(g, IR_OP_argmax, &x, 1, IR_ATTRS(IR_I("axis", 2))));
    for (int64_t last = 0; last < 2; last++) // numbers that repeat
        out(g, last ? "am4" : "am3",
            ir_emit(g, IR_OP_argmax, &y, 1, IR_ATTRS(IR_I("axis", 0), IR_I("keepdims", last), IR_I("last", last))));
    // Rows along the batch, one and three a sample, and what was computed from others before.
    ir_vid three = input(g, "three", IR_F32, DIMS(-3, 7)), which = input(g, "which", IR_I64, DIMS(-3));
    ir_vid d[2] = {ir_unary(g, IR_OP_neg, x), y}, e[2] = {three, which};
    out(g, "rows", ir_emit(g, IR_OP_take_rows, d, 2, IR_NO_ATTRS));
    out(g, "rows3", ir_add(g, ir_emit(g, IR_OP_take_rows, e, 2, IR_NO_ATTRS), ir_const_f(g, 1)));
    struct h_options o = {.int_hi = 12}; // some out of range: they read as 0
    for (int64_t n = 1; n < 18; n += 5) h_check(g, n, &o);
}

// Inputs and outputs are of a few types; here what is between is of type t.
static ir_vid typed(struct ir_graph *g, const char *name, enum ir_dtype t, int rank, const int64_t *dims) {
    ir_vid v = input(g, name, ir_is_float(t) ? IR_F32 : IR_I64, rank, dims);
    return ir_typeof(g, v)->dtype == t ? v : ir_cast(g, v, t);
}

static void shown(struct ir_graph *g, const char *name, ir_vid v) {
    enum ir_dtype t = ir_typeof(g, v)->dtype, as = ir_is_float(t) ? IR_F32 : IR_I64;
    out(g, name, t == as ? v : ir_cast(g, v, as));
}

// Every form of an index, every reduction and type; rows of whole vectors, of less and of one element; along the batch.
static void test_indexing(void **state) {
    (void)state;
    static const char *const by[] = {"none", "add", "mul", "max", "min"};
    static const enum ir_dtype types[] = {IR_F32, IR_F64, IR_I64, IR_U8};
    static const int64_t widths[] = {1, 5, 37};
    for (size_t t = 0; t < 4; t++)
        for (size_t w = 0; w < 3; w++) {
            struct ir_graph *g = graph("indexing");
            ir_vid x = typed(g, "x", types[t], DIMS(IR_N, 6, widths[w])),
                   u = typed(g, "u", types[t], DIMS(IR_N, 9, widths[w])),
                   row = input(g, "row", IR_I64, DIMS(IR_N, 9, 1)), one = input(g, "one", IR_I32, DIMS(1, 9, 1)),
                   all = input(g, "all", IR_I64, DIMS(IR_N, 9, widths[w])),
                   flat = typed(g, "flat", types[t], DIMS(-4, widths[w])), at = input(g, "at", IR_I64, DIMS(IR_N, 1)),
                   v = typed(g, "v", types[t], DIMS(IR_N, widths[w])), index[] = {row, one, all};
            for (size_t k = 0; k < 3; k++) {
                static const char *const names[][6] = {{"g0", "a0", "b0", "c0", "d0", "e0"},
                                                       {"g1", "a1", "b1", "c1", "d1", "e1"},
                                                       {"g2", "a2", "b2", "c2", "d2", "e2"}};
                ir_vid a[3] = {x, index[k], u};
                shown(g, names[k][0], ir_emit(g, IR_OP_gather_elements, a, 2, IR_ATTRS(IR_I("axis", 1))));
                for (size_t r = 0; r < 5; r++)
                    shown(
                        g, names[k][r + 1],
                        ir_emit(g, IR_OP_scatter_elements, a, 3, IR_ATTRS(IR_I("axis", 1), IR_S("reduction", by[r]))));
            }
            ir_vid b[3] = {flat, at, v};
            shown(g, "along", ir_emit(g, IR_OP_gather_elements, b, 2, IR_NO_ATTRS));
            shown(g, "onto", ir_emit(g, IR_OP_scatter_elements, b, 3, IR_ATTRS(IR_S("reduction", "add"))));
            shown(g, "rows", ir_emit(g, IR_OP_gather, (ir_vid[]){flat, ir_reshape(g, at, DIMS(IR_N))}, 2, IR_NO_ATTRS));
            struct h_options o = {.int_hi = 8, .seed = t + w}; // 6 and 7 are out of range
            h_check(g, 7, &o);
        }
}

// Numbers that repeat, one element, and lengths that are no power of two.
static void test_sorted(void **state) {
    (void)state;
    static const enum ir_dtype types[] = {IR_F32, IR_F64, IR_I32, IR_U64, IR_I8};
    for (size_t t = 0; t < 5; t++)
        for (int64_t len = 1; len < 140; len = len * 5 + 2) {
            struct ir_graph *g = graph("sorted");
            ir_vid x = typed(g, "x", types[t], DIMS(IR_N, len, 3)), y = typed(g, "y", types[t], DIMS(IR_N, len, 21)),
                   z = typed(g, "z", types[t], DIMS(-2, 3));
            for (int64_t k = 0; k < 2; k++) {
                ir_nid n = ir_node_new(g, IR_OP_top_k, &x, 1,
                                       IR_ATTRS(IR_I("axis", 1), IR_I("k", k ? len : 1), IR_I("largest", k)));
                shown(g, k ? "all" : "least", g->nodes[n].out[0]);
                shown(g, k ? "all_at" : "least_at", g->nodes[n].out[1]);
                static const char *const names[2][4] = {{"sx", "sy", "sz", "px"}, {"rx", "ry", "rz", "qx"}};
                ir_vid v[3] = {x, y, z};
                for (int i = 0; i < 4; i++)
                    shown(g, names[k][i],
                          ir_emit(g, i < 3 ? IR_OP_cum_sum : IR_OP_cum_prod, &v[i % 3], 1,
                                  IR_ATTRS(IR_I("axis", i != 2), IR_I("exclusive", k), IR_I("reverse", k ^ (i & 1)))));
            }
            struct h_options o = {.int_hi = 9, .seed = t};
            h_check(g, 5, &o);
        }
}

// Training BatchNorm, forward and backward, in both orders in memory, with ReLU and a residual sum.
static void test_batch_norm(void **state) {
    (void)state;
    for (int rank = 2; rank <= 4; rank++)
        for (int C = 3; C <= 70; C += 67) {
            struct ir_graph *g = graph("bn");
            int64_t dims[4] = {IR_N, C, 4, 5}, c[1] = {C};
            ir_vid x = ir_boundary(g, IR_ROLE_INPUT, ir_type_make(IR_F32, rank, dims), "x", NULL), in[5] = {x};
            if (rank == 4) {
                int64_t k[2] = {1, 1}, pads[4] = {0};
                in[0] = ir_emit(g, IR_OP_avg_pool, &x, 1,
                                IR_ATTRS(IR_IS("kernel", k, 2), IR_IS("strides", k, 2), IR_IS("pads", pads, 4)));
            }
            static const char *const names[] = {"gamma", "beta", "mean", "var"};
            for (int i = 0; i < 4; i++)
                in[i + 1] =
                    ir_boundary(g, i < 2 ? IR_ROLE_PARAM : IR_ROLE_BUFFER, ir_type_make(IR_F32, 1, c), names[i], NULL);
            ir_nid n = ir_node_new(g, IR_OP_batch_norm, in, 5, IR_NO_ATTRS);
            assert_true(n != IR_NONE);
            ir_vid y = ir_unary(g, IR_OP_relu, ir_add(g, g->nodes[n].out[0], in[0]));
            ir_set_output(g, IR_OUT_OUTPUT, "y", y);
            ir_set_output(g, IR_OUT_BUFFER, "mean", g->nodes[n].out[1]);
            ir_set_output(g, IR_OUT_BUFFER, "var", g->nodes[n].out[2]);
            differentiated(g, "expand,fold,cse,dce");
            struct h_options o = {.rtol = 1e-4, .seed = (uint64_t)(C + rank)};
            h_check(g, 11, &o);
            if (rank == 2) h_check(g, 1, &o); // a single value a channel: its statistics stay as they were
        }
}

static void test_dropout(void **state) {
    (void)state;
    struct ir_graph *g = graph("dropout");
    ir_vid x = input(g, "x", IR_F32, DIMS(IR_N, 33)),
           seed = ir_boundary(g, IR_ROLE_SCALAR, ir_scalar_type(IR_I64), "seed", NULL), a[2] = {x, seed};
    ir_vid m = ir_emit(g, IR_OP_dropout_mask, a, 2, IR_ATTRS(IR_F("ratio", .3), IR_I("salt", 5)));
    const int64_t drawn[2] = {IR_N, 19};
    out(g, "drawn", ir_emit(g, IR_OP_random, a + 1, 1, IR_ATTRS(IR_IS("shape", drawn, 2), IR_I("salt", 7))));
    out(g, "y", ir_mul(g, x, m));
    out(g, "m", m);
    struct h_options o = {.int_hi = 1000000};
    h_check(g, 9, &o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unary),
        cmocka_unit_test(test_binary_broadcast),
        cmocka_unit_test(test_outputs_together),
        cmocka_unit_test(test_integers_and_bools),
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_channel_shuffle),
        cmocka_unit_test(test_concat_rows),
        cmocka_unit_test(test_interleaved),
        cmocka_unit_test(test_large_results),
        cmocka_unit_test(test_reductions),
        cmocka_unit_test(test_softmax_like),
        cmocka_unit_test(test_gather_argmax),
        cmocka_unit_test(test_indexing),
        cmocka_unit_test(test_sorted),
        cmocka_unit_test(test_batch_norm),
        cmocka_unit_test(test_dropout),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    arena_release(&A);
    return r;
}
