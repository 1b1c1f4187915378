// Reference semantics of the ops, by value. Expected numbers of conv, pool, matmul and batch_norm are PyTorch 2.13's in
// float64 for the same formula-made operands; the rest is worked out by hand from the ONNX operator text.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../ir/eval.h"
#include "../../ir/hash.h"
#include "../../ir/ir.h"

#include <math.h>
#include <string.h>

#define COUNT(...) (sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
#define DIMS(...)                                                                                                      \
    (int)COUNT(__VA_ARGS__), (int64_t[]) { __VA_ARGS__ }
#define LIST(nm, ...) IR_IS(nm, ((int64_t[]){__VA_ARGS__}), COUNT(__VA_ARGS__))
#define OPERANDS(...) (ir_vid[]){__VA_ARGS__}, sizeof((ir_vid[]){__VA_ARGS__}) / sizeof(ir_vid)
#define WANT(v, ...)  check(g, v, (double[]){__VA_ARGS__}, sizeof((double[]){__VA_ARGS__}) / sizeof(double))

static struct arena arena;
static struct diag diag;
static struct ir_graph *g;

static int setup(void **state) {
    (void)state;
    arena_init(&arena);
    diag = (struct diag){0};
    g = ir_graph_new(&arena, &diag, "eval");
    return 0;
}
static int teardown(void **state) {
    (void)state;
    arena_release(&arena);
    return 0;
}

static const struct ir_tensor *eval(ir_vid v, int64_t batch) {
    struct ir_tensor **values = ARENA_ARRAY(&arena, struct ir_tensor *, g->n_values);
    ir_eval(g, &arena, batch, values);
    return values[v];
}

static void check(struct ir_graph *graph, ir_vid v, const double *want, size_t n) {
    (void)graph;
    const struct ir_tensor *t = eval(v, 3);
    assert_int_equal(ir_tensor_numel(t), n);
    for (size_t i = 0; i < n; i++) {
        double got = t->f ? t->f[i] : (double)t->i[i];
        if (isnan(want[i]) ? isnan(got) : got == want[i] || fabs(got - want[i]) <= 1e-7 * fmax(1, fabs(want[i])))
            continue;
        fail_msg("element %zu is %.17g, expected %.17g", i, got, want[i]);
    }
}

// A constant of (i*7)%11 - 5, or (i*5)%7 - 3.
static ir_vid made(int rank, const int64_t *dims, int mul, int mod, int sub) {
    struct ir_type t = ir_type_make(IR_F32, rank, dims);
    size_t n = (size_t)ir_numel(&t);
    float *f = ARENA_ARRAY(&arena, float, n);
    for (size_t i = 0; i < n; i++) f[i] = (float)((int)(i * (size_t)mul % (size_t)mod) - sub);
    return ir_const(g, t, f);
}
#define X(...) made(DIMS(__VA_ARGS__), 7, 11, 5)
#define W(...) made(DIMS(__VA_ARGS__), 5, 7, 3)
static ir_vid f32s(int rank, const int64_t *dims, const float *f) {
    return ir_const(g, ir_type_make(IR_F32, rank, dims), f);
}
static ir_vid i64s(int rank, const int64_t *dims, const int64_t *i) {
    return ir_const(g, ir_type_make(IR_I64, rank, dims), i);
}
#define F32(n, ...) f32s(1, (int64_t[]){n}, (float[]){__VA_ARGS__})
#define I64(n, ...) i64s(1, (int64_t[]){n}, (int64_t[]){__VA_ARGS__})

// --- elementwise ---------------------------------------------------------------------------------------------------

// Each type of integer at its limits: what wraps, which values are below 0, and what must not trap.
static ir_vid ints(enum ir_dtype t, int64_t a, int64_t b, int64_t c) {
    char data[24];
    int64_t v[3] = {a, b, c};
    for (size_t i = 0; i < 3; i++) ir_put_int(t, data, i, v[i]);
    return ir_const(g, ir_type_make(t, 1, (int64_t[]){3}), data);
}

static void ints_are(ir_vid v, int64_t a, int64_t b, int64_t c) {
    const struct ir_tensor *y = eval(v, 1);
    int64_t want[3] = {a, b, c};
    for (size_t i = 0; i < 3; i++)
        if (y->i[i] != want[i])
            fail_msg("%s: element %zu is %lld, expected %lld", ir_dtype_name(y->type.dtype), i, (long long)y->i[i],
                     (long long)want[i]);
}

static void test_integers(void **state) {
    (void)state;
    for (int k = 0; k < IR_DTYPE_COUNT; k++) {
        enum ir_dtype t = (enum ir_dtype)k;
        if (!ir_is_int(t)) continue;
        int64_t lo = ir_int_min(t), hi = ir_int_max(t), s = ir_is_signed(t) ? -1 : 1;
        ir_vid x = ints(t, lo, hi, 3), ones = ints(t, 1, 1, 1), minus = ints(t, -1, -1, 0);
        ints_are(ir_add(g, x, ones), lo + 1, lo, 4);
        ints_are(ir_sub(g, x, ones), hi, (int64_t)((uint64_t)hi - 1), 2);
        ints_are(ir_unary(g, IR_OP_sign, x), s < 0 ? -1 : 0, 1, 1);
        ints_are(ir_unary(g, IR_OP_relu, x), 0, hi, 3);
        ints_are(ir_unary(g, IR_OP_abs, x), lo, hi, 3); // |min| wraps to min
        ints_are(ir_binary(g, IR_OP_max, x, ones), s < 0 ? 1 : 1, hi, 3);
        ints_are(ir_binary(g, IR_OP_div, x, minus), s < 0 ? lo : 0, s < 0 ? -hi : 1, 0);
        ints_are(ir_binary(g, IR_OP_rem, x, minus), 0, 0, 0);
        ints_are(ir_binary(g, IR_OP_pow, x, ones), lo, hi, 3);
        ints_are(ir_binary(g, IR_OP_bit_and, x, minus), lo, hi, 0);
        ints_are(ir_binary(g, IR_OP_bit_and, x, ones), 0, 1, 1);
        ints_are(ir_cast(g, x, IR_U8), (uint8_t)lo, (uint8_t)hi, 3);
        ints_are(ir_cast(g, ir_cast(g, x, IR_F64), IR_BOOL), lo != 0, 1, 1);
    }
    const float odd[] = {300, -1, NAN};
    ints_are(ir_cast(g, ir_const(g, ir_type_make(IR_F32, 1, (int64_t[]){3}), odd), IR_U8), 255, 0, 0);
}

// 2049 lies between two numbers of float16, 65520 halfway to what would be the next one; 0x1.01p0 is a tie of bfloat16.
static void test_round_to(void **state) {
    (void)state;
    ir_vid x = F32(6, 2049, 2051, 65519, 65520, 0x1p-25f, -0x1.8p-25f);
    WANT(ir_emit(g, IR_OP_round_to, &x, 1, IR_ATTRS(IR_S("to", "f16"))), 2048, 2052, 65504, INFINITY, 0, -0x1p-24);
    x = F32(4, 0x1.01p0f, 0x1.03p0f, 3.4e38f, NAN);
    WANT(ir_emit(g, IR_OP_round_to, &x, 1, IR_ATTRS(IR_S("to", "bf16"))), 1, 0x1.04p0, INFINITY, NAN);
}

static void test_elementwise(void **state) {
    (void)state;
    ir_vid x = F32(6, -2.5f, -0.5f, 0, 0.5f, 1.5f, 2.5f), nan = F32(2, NAN, 1), one = ir_const_f(g, 1);
    WANT(ir_unary(g, IR_OP_round, x), -2, 0, 0, 0, 2, 2); // half to even
    WANT(ir_unary(g, IR_OP_floor, x), -3, -1, 0, 0, 1, 2);
    WANT(ir_unary(g, IR_OP_ceil, x), -2, 0, 0, 1, 2, 3);
    WANT(ir_unary(g, IR_OP_sign, x), -1, -1, 0, 1, 1, 1);
    WANT(ir_unary(g, IR_OP_relu, x), 0, 0, 0, 0.5, 1.5, 2.5);
    WANT(ir_unary(g, IR_OP_relu, nan), NAN, 1);
    WANT(ir_unary(g, IR_OP_sigmoid, F32(3, -800, 0, 800)), 0, 0.5, 1);
    WANT(ir_unary(g, IR_OP_asin, F32(3, -1, 0, 2)), -1.57079632679489662, 0, NAN);
    WANT(ir_unary(g, IR_OP_atanh, F32(3, 1, 0, -2)), INFINITY, 0, NAN);
    WANT(ir_cast(g, x, IR_I64), -2, 0, 0, 0, 1, 2); // toward zero
    WANT(ir_cast(g, x, IR_BOOL), 1, 1, 0, 1, 1, 1);
    WANT(ir_cast(g, F32(3, -1, 300, NAN), IR_U8), 0, 255, 0); // saturates
    WANT(ir_binary(g, IR_OP_max, nan, one), NAN, 1);
    WANT(ir_binary(g, IR_OP_max, one, nan), NAN, 1);
    WANT(ir_binary(g, IR_OP_min, one, nan), NAN, 1);
    WANT(ir_binary(g, IR_OP_lt, nan, one), 0, 0);
    WANT(ir_binary(g, IR_OP_le, nan, one), 0, 1);
    WANT(ir_binary(g, IR_OP_pow, F32(3, 0, 2, -2), F32(3, 0, -1, 3)), 1, 0.5, -8);
    WANT(ir_where(g, ir_binary(g, IR_OP_lt, x, one), one, x), 1, 1, 1, 1, 1.5, 2.5);
    WANT(ir_fma(g, F32(2, 3, 4), F32(1, 2), F32(2, 1, -1)), 7, 7);
    // Integer arithmetic as the importer folds it.
    WANT(ir_div(g, I64(4, 7, -7, 7, 5), I64(4, 2, 2, -2, 0)), 3, -3, -3, 0);
    WANT(ir_binary(g, IR_OP_pow, I64(3, 3, -2, 2), I64(3, 4, 3, -1)), 81, -8, 0);
    WANT(ir_add(g, I64(1, INT64_MAX), I64(1, 1)), (double)INT64_MIN);
}

static void test_broadcast(void **state) {
    (void)state;
    WANT(ir_add(g, f32s(DIMS(2, 1), (float[]){10, 20}), F32(3, 1, 2, 3)), 11, 12, 13, 21, 22, 23);
    int64_t shape[2] = {IR_N, 2};
    ir_vid rows =
        ir_emit(g, IR_OP_iota, NULL, 0, IR_ATTRS(IR_IS("shape", shape, 2), IR_I("axis", 0), IR_S("dtype", "f32")));
    WANT(ir_mul(g, rows, F32(2, 1, 10)), 0, 0, 1, 10, 2, 20); // three rows
    WANT(ir_batch_size(g), 3);
    WANT(ir_reduce(g, IR_OP_reduce_mean, rows, (int64_t[]){0}, 1, 0), 1, 1);
}

// --- movement ------------------------------------------------------------------------------------------------------

static void test_movement(void **state) {
    (void)state;
    ir_vid x = f32s(DIMS(2, 3), (float[]){0, 1, 2, 3, 4, 5});
    WANT(ir_transpose(g, x, DIMS(1, 0)), 0, 3, 1, 4, 2, 5);
    WANT(ir_expand_to(g, F32(2, 1, 2), DIMS(2, 2)), 1, 2, 1, 2);
    WANT(ir_emit(g, IR_OP_slice, &x, 1, IR_ATTRS(LIST("starts", 1, 2), LIST("sizes", 2, 2), LIST("steps", -1, -2))), 5,
         3, 2, 0);
    WANT(ir_emit(g, IR_OP_reverse, &x, 1, IR_ATTRS(LIST("axes", 1))), 2, 1, 0, 5, 4, 3);
    WANT(ir_emit(g, IR_OP_pad, OPERANDS(F32(2, 1, 2)),
                 IR_ATTRS(LIST("lo", 1), LIST("hi", 2), LIST("steps", 3), IR_F("value", 9))),
         9, 1, 9, 9, 2, 9, 9);
    WANT(ir_emit(g, IR_OP_concat, OPERANDS(x, x), IR_ATTRS(IR_I("axis", 1))), 0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5);
    WANT(ir_emit(g, IR_OP_interleave, OPERANDS(x, x), IR_ATTRS(IR_I("axis", 0))), 0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5);
    WANT(ir_emit(g, IR_OP_interleave, OPERANDS(x, ir_unary(g, IR_OP_neg, x)), IR_ATTRS(IR_I("axis", -1))), 0, -0.0, 1,
         -1, 2, -2, 3, -3, 4, -4, 5, -5);
    WANT(ir_emit(g, IR_OP_gather, OPERANDS(x, I64(3, -1, 0, 7)), IR_ATTRS(IR_I("axis", 1))), 2, 0, 0, 5, 3,
         0); // 7: out of range, 0
    WANT(ir_emit(g, IR_OP_gather_grad, OPERANDS(F32(3, 1, 2, 4), I64(3, 1, -2, 1)),
                 IR_ATTRS(IR_I("axis", 0), LIST("shape", 3))),
         0, 7, 0);
    WANT(ir_emit(g, IR_OP_one_hot, OPERANDS(I64(3, 1, -1, 2)), IR_ATTRS(IR_I("classes", 3))), 0, 1, 0, 0, 0, 0, 0, 0,
         1);
    WANT(
        ir_emit(g, IR_OP_argmax, OPERANDS(f32s(DIMS(2, 3), (float[]){1, 4, 4, -1, -2, -1})), IR_ATTRS(IR_I("axis", 1))),
        1, 0);
    WANT(ir_emit(g, IR_OP_argmax, OPERANDS(f32s(DIMS(2, 3), (float[]){1, 4, 4, -1, -2, -1})),
                 IR_ATTRS(IR_I("axis", 1), IR_I("last", 1))),
         2, 2);
    WANT(ir_emit(g, IR_OP_take_rows, OPERANDS(f32s(DIMS(3, 2), (float[]){1, 2, 3, 4, NAN, 6}), I64(3, 2, 0, 3)),
                 IR_NO_ATTRS),
         NAN, 6, 1, 2, 0, 0); // 3: out of range, 0
    WANT(ir_unary(g, IR_OP_rank, F32(7, 2, NAN, -INFINITY, 2, -1, INFINITY, NAN)), 2, 5, 0, 3, 1, 4, 6);
    WANT(ir_unary(g, IR_OP_rank, F32(4, 0, -0.0, 0, -1e-40)), 1, 2, 3, 0); // zeros are equal, what is denormal is not
    WANT(ir_unary(g, IR_OP_rank, F32(1, NAN)), 0);
}

static ir_vid scattered(ir_vid x, ir_vid index, ir_vid updates, const char *reduction) {
    return ir_emit(g, IR_OP_scatter_elements, OPERANDS(x, index, updates), IR_ATTRS(IR_S("reduction", reduction)));
}

static void test_indexing(void **state) {
    (void)state;
    ir_vid x = f32s(DIMS(2, 3), (float[]){0, 1, 2, 3, 4, 5}), shared = ir_reshape(g, I64(2, -1, 1), DIMS(1, 2));
    WANT(ir_emit(g, IR_OP_gather_elements, OPERANDS(x, shared), IR_ATTRS(IR_I("axis", 1))), 2, 1, 5, 4);
    WANT(ir_emit(g, IR_OP_gather_elements, OPERANDS(x, ir_reshape(g, I64(4, 1, 0, 2, -3), DIMS(2, 2))),
                 IR_ATTRS(IR_I("axis", 1))),
         1, 0, 5, 3);
    WANT(ir_emit(g, IR_OP_gather_elements, OPERANDS(F32(3, 1, 2, 3), I64(4, 3, -4, 2, -3)), IR_NO_ATTRS), 0, 0, 3, 1);
    ir_vid index = I64(5, 1, -1, 1, 4, -5), updates = F32(5, 7, 8, -2, 9, 9), row = F32(4, 1, 2, 3, 4);
    WANT(scattered(row, index, updates, "none"), 1, -2, 3, 8); // the last one; 4 and -5 are out of range
    WANT(scattered(row, index, updates, "add"), 1, 7, 3, 12);
    WANT(scattered(row, index, updates, "mul"), 1, -28, 3, 32);
    WANT(scattered(row, index, updates, "max"), 1, 7, 3, 8);
    WANT(scattered(row, index, updates, "min"), 1, -2, 3, 4);
    WANT(scattered(F32(2, NAN, 2), I64(3, 0, 1, 1), F32(3, 1, NAN, 5), "max"), NAN, NAN);
    WANT(scattered(I64(2, 3, INT64_MAX), I64(2, 1, 0), I64(2, 1, 2), "add"), 5, -0x1p63);
    ir_vid sorted = F32(7, 2, NAN, -INFINITY, 2, -1, INFINITY, NAN);
    for (int64_t largest = 0; largest < 2; largest++) {
        ir_nid n = ir_node_new(g, IR_OP_top_k, OPERANDS(sorted),
                               IR_ATTRS(IR_I("axis", 0), IR_I("k", 6), IR_I("largest", largest)));
        ir_vid values = g->nodes[n].out[0], places = g->nodes[n].out[1];
        if (largest) {
            WANT(values, NAN, NAN, INFINITY, 2, 2, -1);
            WANT(places, 1, 6, 5, 0, 3, 4);
        } else {
            WANT(values, -INFINITY, -1, 2, 2, INFINITY, NAN);
            WANT(places, 2, 4, 0, 3, 5, 1);
        }
    }
    WANT(ir_emit(g, IR_OP_cum_sum, OPERANDS(x), IR_ATTRS(IR_I("axis", 1))), 0, 1, 3, 3, 7, 12);
    WANT(ir_emit(g, IR_OP_cum_sum, OPERANDS(x), IR_ATTRS(IR_I("axis", 1), IR_I("exclusive", 1), IR_I("reverse", 1))), 3,
         2, 0, 9, 5, 0);
    WANT(ir_emit(g, IR_OP_cum_prod, OPERANDS(x), IR_ATTRS(IR_I("axis", 0), IR_I("reverse", 1))), 0, 4, 10, 3, 4, 5);
    WANT(ir_emit(g, IR_OP_cum_prod, OPERANDS(I64(3, 2, 3, INT64_MAX)), IR_ATTRS(IR_I("axis", 0))), 2, 6, -6);
}

static void test_reduce(void **state) {
    (void)state;
    ir_vid x = X(2, 3); // -5 2 -2 5 1 -3
    WANT(ir_reduce(g, IR_OP_reduce_sum, x, (int64_t[]){-1}, 1, 0), -5, 3);
    WANT(ir_reduce(g, IR_OP_reduce_mean, x, (int64_t[]){0}, 1, 1), 0, 1.5, -2.5);
    WANT(ir_reduce(g, IR_OP_reduce_max, x, (int64_t[]){0, 1}, 2, 0), 5);
    WANT(ir_reduce(g, IR_OP_reduce_min, x, (int64_t[]){1}, 1, 0), -5, -3);
    WANT(ir_reduce(g, IR_OP_reduce_max, F32(2, NAN, 1), (int64_t[]){0}, 1, 0), NAN);
    WANT(ir_matmul(g, X(2, 1, 2, 3), W(2, 3, 2), 0, 0), 9, -16, -24, 5, 13, 9, 3, -24, -24, 4, -24, 3, 4, -24, 5, -24);
}

// --- windows -------------------------------------------------------------------------------------------------------

#define WINDOW(s0, s1, p0, p1, p2, p3, d0, d1)                                                                         \
    LIST("strides", s0, s1), LIST("pads", p0, p1, p2, p3), LIST("dilations", d0, d1)
#define AVG(s0, s1, p0, p1, p2, p3) LIST("strides", s0, s1), LIST("pads", p0, p1, p2, p3)

static void test_conv(void **state) {
    (void)state;
    WANT(ir_emit(g, IR_OP_conv, OPERANDS(X(1, 2, 5, 7), W(2, 2, 3, 3)), IR_ATTRS(WINDOW(2, 3, 1, 0, 2, 1, 1, 2))), -19,
         -23, -6, -25, -42, -24, 39, -16, 23, -32, -41, -33);
    WANT(ir_emit(g, IR_OP_conv, OPERANDS(X(1, 4, 4, 4), W(4, 2, 2, 3)),
                 IR_ATTRS(WINDOW(1, 2, 0, 0, 0, 0, 1, 1), IR_I("group", 2))),
         -10, -10, -10, -23, 15, -24, -11, -12, -2, 20, 22, -9);
    // ConvTranspose with stride 2, padding 1, output padding 1
    WANT(ir_emit(g, IR_OP_conv_grad_x, OPERANDS(X(1, 3, 2, 3), W(3, 2, 3, 3)),
                 IR_ATTRS(WINDOW(2, 2, 1, 1, 1, 1, 1, 1), LIST("hw", 4, 6))),
         -5, -17, 4, 35, -9, -7, 44, -19, -9, 8, -7, -11, 22, -4, -2, 37, -15, -7, -4, 23, -12, 2, 2, -11, -9, 35, 4,
         -17, -5, 4, -24, 37, -4, -23, 27, 16, -14, 0, 10, -19, 1, 2, -5, -15, 7, -19, -3, 33);
}

static void test_pool(void **state) {
    (void)state;
    WANT(ir_emit(g, IR_OP_max_pool, OPERANDS(X(1, 1, 5, 6)),
                 IR_ATTRS(LIST("kernel", 3, 2), WINDOW(2, 2, 1, 1, 1, 1, 1, 1), IR_I("ceil", 1))),
         4, 2, 5, -3, 4, 5, 3, 4, 0, 5, 4, 2);
    WANT(ir_emit(g, IR_OP_max_pool, OPERANDS(X(1, 1, 6, 5)),
                 IR_ATTRS(LIST("kernel", 2, 2), WINDOW(1, 2, 0, 0, 0, 0, 2, 1))),
         2, 5, 4, 4, 3, 2, 5, 4);
    WANT(ir_emit(g, IR_OP_avg_pool, OPERANDS(X(1, 1, 5, 6)),
                 IR_ATTRS(LIST("kernel", 3, 3), AVG(2, 2, 1, 1, 1, 1), IR_I("ceil", 1))),
         0.25, 2. / 3, 0, -4, 0, 1. / 9, -5. / 9, 1. / 3, -0.25, 1. / 6, -0.5, 1);
    WANT(ir_emit(g, IR_OP_avg_pool, OPERANDS(X(1, 1, 6, 6)),
                 IR_ATTRS(LIST("kernel", 3, 3), AVG(2, 2, 1, 1, 1, 1), IR_I("ceil", 1), IR_I("include_pad", 1))),
         1. / 9, 4. / 9, 0, -4. / 3, 0, 1. / 9, -5. / 9, 1. / 6, -2. / 9, -2. / 9, -8. / 9, 0, -1. / 6, -0.5, -5. / 6,
         -0.5);
    // Positions: the first of equal maxima, r*S + s also where the window begins in the padding; NaN wins, the first of
    // them.
    float plane[9] = {1, 3, 3, 3, 2, NAN, 0, NAN, 0};
    ir_nid n = ir_node_new(g, IR_OP_max_pool, OPERANDS(f32s(DIMS(1, 1, 3, 3), plane)),
                           IR_ATTRS(LIST("kernel", 2, 2), WINDOW(1, 1, 1, 0, 0, 0, 1, 1)));
    ir_vid y = g->nodes[n].out[0], pos = g->nodes[n].out[1];
    WANT(y, 3, 3, 3, NAN, NAN, NAN);
    WANT(pos, 3, 2, 1, 3, 3, 1);
}

static void test_batch_norm(void **state) {
    (void)state;
    ir_vid in[5] = {X(2, 2, 1, 2), F32(2, 1.5f, -2), F32(2, 0.25f, 1), F32(2, 1, -1), F32(2, 2, 3)};
    ir_nid n = ir_node_new(g, IR_OP_batch_norm, in, 5,
                           IR_ATTRS(IR_F("eps", 1e-5), IR_F("momentum", 0.9), IR_I("training", 1)));
    const ir_vid *out = g->nodes[n].out;
    ir_vid y = out[0], mean = out[1], var = out[2];
    WANT(y, -1.715832926979044, 1.9537218700485048, 3.621110569305392, -1.2716291600646734, 1.4294997561874263,
         -0.66738869925688726, -0.57266634158323537, 2.2231849323425164);
    WANT(mean, 0.775, -0.725);
    WANT(var, 2.8916666666666666, 3.791666666666667);
    // One element per channel has no variance: the statistics stay as they were.
    ir_vid one[5] = {X(1, 2), in[1], in[2], in[3], in[4]};
    n = ir_node_new(g, IR_OP_batch_norm, one, 5, IR_ATTRS(IR_I("training", 1)));
    mean = g->nodes[n].out[1];
    var = g->nodes[n].out[2];
    WANT(mean, 1, -1);
    WANT(var, 2, 3);
}

// --- expansions ----------------------------------------------------------------------------------------------------

// What an EXPAND op's eval says must be what its expansion computes.
static void same_after_expansion(size_t outputs) {
    double before[3][64], n_before[3];
    for (size_t k = 0; k < outputs; k++) {
        const struct ir_tensor *t = eval(g->outputs[k].value, 3);
        n_before[k] = (double)ir_tensor_numel(t);
        for (size_t i = 0; i < ir_tensor_numel(t); i++) before[k][i] = t->f[i];
    }
    struct ir_pass_options o = {.mode = IR_TRAIN, .verify = true};
    assert_int_equal(ir_run_passes(g, "expand", &o), SMKD_OK);
    for (size_t i = 0; i < g->n_nodes; i++) assert_int_not_equal(ir_ops[g->nodes[i].op].kind, IR_KIND_EXPAND);
    for (size_t k = 0; k < outputs; k++) check(g, g->outputs[k].value, before[k], (size_t)n_before[k]);
}

static void test_expand_norm(void **state) {
    (void)state;
    ir_vid in[5] = {X(2, 2, 3, 2), F32(2, 1.5f, -2), F32(2, 0.25f, 1), F32(2, 1, -1), F32(2, 2, 3)};
    ir_nid n = ir_node_new(g, IR_OP_batch_norm, in, 5, IR_ATTRS(IR_I("training", 1), IR_F("momentum", 0.75)));
    for (int k = 0; k < 3; k++)
        ir_set_output(g, k ? IR_OUT_BUFFER : IR_OUT_OUTPUT, k ? k == 1 ? "mean" : "var" : "y", g->nodes[n].out[k]);
    same_after_expansion(3);
}

static void test_expand_others(void **state) {
    (void)state;
    ir_vid x = X(4, 5);
    ir_set_output(g, IR_OUT_OUTPUT, "min", ir_reduce(g, IR_OP_reduce_min, x, (int64_t[]){1}, 1, 0));
    ir_set_output(
        g, IR_OUT_OUTPUT, "one_hot",
        ir_emit(g, IR_OP_one_hot, OPERANDS(i64s(DIMS(2, 2), (int64_t[]){0, 3, -1, 9})), IR_ATTRS(IR_I("classes", 4))));
    ir_set_output(g, IR_OUT_OUTPUT, "drop",
                  ir_emit(g, IR_OP_dropout, OPERANDS(x, ir_const_i(g, 5)),
                          IR_ATTRS(IR_F("ratio", 0.5), IR_I("training", 1), IR_I("salt", 3))));
    same_after_expansion(3);
}

// --- dropout -------------------------------------------------------------------------------------------------------

// The bits are part of the contract: generated code computes the same, and a resumed run must go on with the same
// masks.
static void test_dropout_bits(void **state) {
    (void)state;
    assert_int_equal(ir_mix32(1), 0x514e28b7);
    assert_int_equal(ir_dropout_threshold(0), 0);
    assert_int_equal(ir_dropout_threshold(0.5), 1 << 23);
    assert_int_equal(ir_dropout_threshold(0x1p-25), 1);
    struct ir_dropout_key key = ir_dropout_key_of(INT64_C(0x123456789abcdef), 7);
    assert_int_equal(key.k0, UINT32_C(0x8561e751));
    assert_int_equal(key.k1, UINT32_C(0xd8872a35));
    assert_int_equal(ir_dropout_bits(key, 0), 0x6dec9b);
    assert_int_equal(ir_dropout_bits(key, 12345), 0x465630);
    assert_int_equal(ir_dropout_bits(key, UINT64_C(1) << 33), 0x315937);
}

static void test_dropout_statistics(void **state) {
    (void)state;
    const size_t n = 100000;
    double kept[2] = {0, 0}, both = 0;
    struct ir_dropout_key a = ir_dropout_key_of(1, 0), b = ir_dropout_key_of(1, 1);
    uint32_t t = ir_dropout_threshold(0.25);
    for (size_t i = 0; i < n; i++) {
        int ka = ir_dropout_bits(a, i) >= t, kb = ir_dropout_bits(b, i) >= t;
        kept[0] += ka, kept[1] += kb, both += ka && kb;
    }
    // Within 5 standard deviations (0.0014) of 3/4, and two salts independent of each other: 9/16.
    assert_true(fabs(kept[0] / n - 0.75) < 0.007 && fabs(kept[1] / n - 0.75) < 0.007 &&
                fabs(both / n - 0.5625) < 0.008);
    ir_vid mask = ir_emit(g, IR_OP_dropout_mask, OPERANDS(X(8), ir_const_i(g, 42)),
                          IR_ATTRS(IR_F("ratio", 0.75), IR_I("salt", 2)));
    const struct ir_tensor *m = eval(mask, 1);
    struct ir_dropout_key key = ir_dropout_key_of(42, 2);
    for (size_t i = 0; i < 8; i++)
        assert_true(m->f[i] == (ir_dropout_bits(key, i) >= ir_dropout_threshold(0.75) ? 4 : 0));
    const int64_t many[1] = {1000};
    const struct ir_tensor *u =
        eval(ir_emit(g, IR_OP_random, OPERANDS(ir_const_i(g, 42)), IR_ATTRS(IR_IS("shape", many, 1))), 1);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < 1000; i++) {
        assert_true(u->f[i] >= 0 && u->f[i] < 1);
        sum += u->f[i];
        squares += u->f[i] * u->f[i];
    }
    assert_true(fabs(sum / 1000 - 0.5) < 0.05 && fabs(squares / 1000 - 1.0 / 3) < 0.05);
    ir_vid off = ir_emit(g, IR_OP_dropout_mask, OPERANDS(X(3), ir_const_i(g, -1)), IR_ATTRS(IR_F("ratio", 0.75)));
    WANT(off, 1, 1, 1);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_elementwise),  T(test_integers),           T(test_round_to),    T(test_broadcast),
        T(test_movement),     T(test_indexing),           T(test_reduce),      T(test_conv),
        T(test_pool),         T(test_batch_norm),         T(test_expand_norm), T(test_expand_others),
        T(test_dropout_bits), T(test_dropout_statistics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
