// Pointwise ops: one result element from the same-index element of each (broadcast) operand.
#include "ops_internal.h"

#include "ops_util.h"

#include <math.h>
#include <string.h>

// --- types ---------------------------------------------------------------------------------------------------------

// What operands an op accepts. Integer arithmetic is for shape computations that the importer folds.
enum accepts { ANY, NUMBERS, FLOATS, BOOLS, INTS };
static const uint8_t accepted[IR_OP_COUNT] = {
    [IR_OP_neg] = NUMBERS,      [IR_OP_abs] = NUMBERS,    [IR_OP_exp] = FLOATS,   [IR_OP_log] = FLOATS,
    [IR_OP_sqrt] = FLOATS,      [IR_OP_recip] = FLOATS,   [IR_OP_erf] = FLOATS,   [IR_OP_tanh] = FLOATS,
    [IR_OP_sigmoid] = FLOATS,   [IR_OP_relu] = NUMBERS,   [IR_OP_sin] = FLOATS,   [IR_OP_cos] = FLOATS,
    [IR_OP_floor] = FLOATS,     [IR_OP_ceil] = FLOATS,    [IR_OP_round] = FLOATS, [IR_OP_sign] = NUMBERS,
    [IR_OP_not] = BOOLS,        [IR_OP_add] = NUMBERS,    [IR_OP_sub] = NUMBERS,  [IR_OP_mul] = NUMBERS,
    [IR_OP_div] = NUMBERS,      [IR_OP_pow] = NUMBERS,    [IR_OP_max] = NUMBERS,  [IR_OP_min] = NUMBERS,
    [IR_OP_lt] = NUMBERS,       [IR_OP_le] = NUMBERS,     [IR_OP_and] = BOOLS,    [IR_OP_or] = BOOLS,
    [IR_OP_relu_grad] = FLOATS, [IR_OP_dropout] = FLOATS, [IR_OP_rem] = NUMBERS,  [IR_OP_round_to] = FLOATS,
    [IR_OP_asin] = FLOATS,      [IR_OP_acos] = FLOATS,    [IR_OP_atan] = FLOATS,  [IR_OP_sinh] = FLOATS,
    [IR_OP_cosh] = FLOATS,      [IR_OP_asinh] = FLOATS,   [IR_OP_acosh] = FLOATS, [IR_OP_atanh] = FLOATS,
    [IR_OP_bit_and] = INTS,
};
static const char *const accepts_text[] = {"any", "a number", "a floating-point", "a bool", "an integer"};

static bool check_accepted(struct ir_graph *g, const struct ir_node *n, size_t i) {
    const struct ir_type *t = ir_in_type(g, n, i);
    enum accepts a = (enum accepts)accepted[n->op];
    bool ok = a == ANY || (a == NUMBERS && t->dtype != IR_BOOL) || (a == FLOATS && ir_is_float(t->dtype)) ||
              (a == BOOLS && t->dtype == IR_BOOL) || (a == INTS && ir_is_int(t->dtype));
    return ok || ir_fail(g, n, "operand %zu is %s; %s tensor was expected", i, TYPE_TEXT(t), accepts_text[a]);
}

static bool check_same_dtype(struct ir_graph *g, const struct ir_node *n, size_t i, size_t j) {
    const struct ir_type *a = ir_in_type(g, n, i), *b = ir_in_type(g, n, j);
    if (a->dtype == b->dtype) return true;
    return ir_fail(g, n, "operands %s and %s have different types", TYPE_TEXT(a), TYPE_TEXT(b));
}

bool ir_infer_like(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    if (!check_accepted(g, n, 0)) return false;
    out[0] = *ir_in_type(g, n, 0);
    if (n->op == IR_OP_relu_grad) {
        const struct ir_type *y = ir_in_type(g, n, 1);
        if (!check_same_dtype(g, n, 0, 1)) return false;
        if (!ir_same_dims(out, y)) return ir_fail(g, n, "shapes %s and %s differ", TYPE_TEXT(out), TYPE_TEXT(y));
    }
    return n->op != IR_OP_dropout || ir_infer_dropout_mask(g, n, out);
}

bool ir_infer_cast(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    out[0] = *ir_in_type(g, n, 0);
    if (ir_dtype_by_name(ir_attr_s(n, "dtype"), &out[0].dtype)) return true;
    return ir_fail(g, n, "unknown element type '%s'; known are f32 f64 bool i8 i16 i32 i64 u8 u16 u32 u64",
                   ir_attr_s(n, "dtype"));
}

bool ir_infer_bcast(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    return check_accepted(g, n, 0) && check_accepted(g, n, 1) && check_same_dtype(g, n, 0, 1) &&
           ir_broadcast(g, n, ir_in_type(g, n, 0), ir_in_type(g, n, 1), out);
}

bool ir_infer_cmp(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    if (!ir_infer_bcast(g, n, out)) return false;
    out[0].dtype = IR_BOOL;
    return true;
}

bool ir_infer_where(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *c = ir_in_type(g, n, 0);
    if (c->dtype != IR_BOOL) return ir_fail(g, n, "the condition is %s; a bool tensor was expected", TYPE_TEXT(c));
    struct ir_type ab;
    if (!check_same_dtype(g, n, 1, 2) || !ir_broadcast(g, n, ir_in_type(g, n, 1), ir_in_type(g, n, 2), &ab))
        return false;
    if (!ir_broadcast(g, n, c, &ab, out)) return false;
    out[0].dtype = ab.dtype;
    return true;
}

bool ir_infer_fma(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    struct ir_type ab;
    for (int k = 0; k < 3; k++)
        if (!ir_is_float(ir_in_type(g, n, k)->dtype))
            return ir_fail(g, n, "operand %d is %s; floats were expected", k, TYPE_TEXT(ir_in_type(g, n, k)));
    return check_same_dtype(g, n, 0, 1) && check_same_dtype(g, n, 0, 2) &&
           ir_broadcast(g, n, ir_in_type(g, n, 0), ir_in_type(g, n, 1), &ab) &&
           ir_broadcast(g, n, &ab, ir_in_type(g, n, 2), out);
}

// --- reference -----------------------------------------------------------------------------------------------------

typedef double unary_f(double);
typedef int64_t unary_i(enum ir_dtype, int64_t);
typedef double binary_f(double, double);
typedef int64_t binary_i(enum ir_dtype, int64_t, int64_t);

static void eval_unary(const struct ir_tensor *x, const struct ir_tensor *y, unary_f *ff, unary_i *fi) {
    size_t count = ir_tensor_numel(y);
    for (size_t i = 0; i < count; i++) {
        if (x->f)
            y->f[i] = ff(x->f[i]);
        else
            y->i[i] = ir_wrap_int(y->type.dtype, fi(y->type.dtype, x->i[i]));
    }
}

static void eval_binary(const struct ir_tensor *const *in, const struct ir_tensor *y, binary_f *ff, binary_i *fi) {
    const struct ir_tensor *a = in[0], *b = in[1];
    int64_t sa[IR_MAX_RANK], sb[IR_MAX_RANK];
    ir_bcast_strides(&a->type, y->type.rank, sa);
    ir_bcast_strides(&b->type, y->type.rank, sb);
    for (struct ir_walk w = ir_walk_all(&y->type); !w.done; ir_walk_next(&w)) {
        size_t ia = ir_offset(&w, sa), ib = ir_offset(&w, sb);
        if (a->f)
            y->f[w.linear] = ff(a->f[ia], b->f[ib]);
        else
            y->i[w.linear] = ir_wrap_int(y->type.dtype, fi(y->type.dtype, a->i[ia], b->i[ib]));
    }
}

// Comparisons of floats, bool result.
static void eval_compare(const struct ir_tensor *const *in, const struct ir_tensor *y, bool (*ff)(double, double),
                         bool (*fi)(int)) {
    const struct ir_tensor *a = in[0], *b = in[1];
    int64_t sa[IR_MAX_RANK], sb[IR_MAX_RANK];
    ir_bcast_strides(&a->type, y->type.rank, sa);
    ir_bcast_strides(&b->type, y->type.rank, sb);
    for (struct ir_walk w = ir_walk_all(&y->type); !w.done; ir_walk_next(&w)) {
        size_t ia = ir_offset(&w, sa), ib = ir_offset(&w, sb);
        y->i[w.linear] = a->f ? ff(a->f[ia], b->f[ib]) : fi(ir_int_compare(a->type.dtype, a->i[ia], b->i[ib]));
    }
}

#define UNUSED_GN (void)g, (void)n
#define UNARY(op, expr_f, expr_i)                                                                                      \
    static double op##_f(double x) { return expr_f; }                                                                  \
    static int64_t op##_i(enum ir_dtype t, int64_t x) { return (void)t, (expr_i); }                                    \
    void ir_eval_##op(EVAL_PARAMS) {                                                                                   \
        UNUSED_GN;                                                                                                     \
        eval_unary(in[0], out[0], op##_f, op##_i);                                                                     \
    }
#define BINARY(op, expr_f, expr_i)                                                                                     \
    static double op##_f(double a, double b) { return expr_f; }                                                        \
    static int64_t op##_i(enum ir_dtype t, int64_t a, int64_t b) { return (void)t, (expr_i); }                         \
    void ir_eval_##op(EVAL_PARAMS) {                                                                                   \
        UNUSED_GN;                                                                                                     \
        eval_binary(in, out[0], op##_f, op##_i);                                                                       \
    }
#define COMPARE(op, expr)                                                                                              \
    static bool op##_f(double a, double b) { return a expr b; }                                                        \
    static bool op##_i(int order) { return order expr 0; }                                                             \
    void ir_eval_##op(EVAL_PARAMS) {                                                                                   \
        UNUSED_GN;                                                                                                     \
        eval_compare(in, out[0], op##_f, op##_i);                                                                      \
    }
#define LOGIC(op, expr)                                                                                                \
    static int64_t op##_i(enum ir_dtype t, int64_t a, int64_t b) { return (void)t, a expr b; }                         \
    void ir_eval_##op(EVAL_PARAMS) {                                                                                   \
        UNUSED_GN;                                                                                                     \
        eval_binary(in, out[0], NULL, op##_i);                                                                         \
    }

// Two's complement arithmetic without undefined overflow.
static int64_t wrap_add(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }
static int64_t wrap_sub(int64_t a, int64_t b) { return (int64_t)((uint64_t)a - (uint64_t)b); }
static int64_t wrap_mul(int64_t a, int64_t b) { return (int64_t)((uint64_t)a * (uint64_t)b); }
static int above(enum ir_dtype t, int64_t x) { return ir_int_compare(t, x, 0); }
// Half to even without touching the rounding mode.
static double round_half_even(double x) {
    double r = round(x);
    return fabs(x - trunc(x)) == 0.5 ? 2 * round(x / 2) : r;
}
static double logistic(double x) { return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)); }
static double sign_of(double x) { return x > 0 ? 1 : x < 0 ? -1 : x; } // keeps NaN and signed zero

UNARY(neg, -x, wrap_sub(0, x))
UNARY(abs, fabs(x), above(t, x) < 0 ? wrap_sub(0, x) : x)
UNARY(exp, exp(x), x)
UNARY(log, log(x), x)
UNARY(sqrt, sqrt(x), x)
UNARY(recip, 1 / x, x)
UNARY(erf, erf(x), x)
UNARY(tanh, tanh(x), x)
UNARY(sigmoid, logistic(x), x)
UNARY(relu, x <= 0 ? 0 : x, above(t, x) < 0 ? 0 : x) // NaN stays NaN
UNARY(sin, sin(x), x)
UNARY(cos, cos(x), x)
UNARY(asin, asin(x), x)
UNARY(acos, acos(x), x)
UNARY(atan, atan(x), x)
UNARY(sinh, sinh(x), x)
UNARY(cosh, cosh(x), x)
UNARY(asinh, asinh(x), x)
UNARY(acosh, acosh(x), x)
UNARY(atanh, atanh(x), x)
UNARY(floor, floor(x), x)
UNARY(ceil, ceil(x), x)
UNARY(round, round_half_even(x), x)
UNARY(sign, sign_of(x), above(t, x))
UNARY(not, x, !x)
UNARY(copy, x, x)

BINARY(add, a + b, wrap_add(a, b))
BINARY(sub, a - b, wrap_sub(a, b))
BINARY(mul, a *b, wrap_mul(a, b))
BINARY(div, a / b, ir_int_div(t, a, b))
BINARY(rem, fmod(a, b), ir_int_rem(t, a, b))
BINARY(pow, pow(a, b), ir_int_pow(t, a, b))
LOGIC(bit_and, &)
// NaN in either operand gives NaN, as in numpy and onnxruntime.
BINARY(max, a > b || a != a ? a : b, ir_int_compare(t, a, b) > 0 ? a : b)
BINARY(min, a < b || a != a ? a : b, ir_int_compare(t, a, b) < 0 ? a : b)
COMPARE(eq, ==)
COMPARE(lt, <)
COMPARE(le, <=)
LOGIC(and, &&)
LOGIC(or, ||)

void ir_eval_cast(EVAL_PARAMS) {
    UNUSED_GN;
    const struct ir_tensor *x = in[0], *y = out[0];
    size_t count = ir_tensor_numel(y);
    for (size_t i = 0; i < count; i++) {
        if (y->f)
            y->f[i] = x->f ? x->f[i] : ir_int_to_float(x->type.dtype, x->i[i], y->type.dtype);
        else
            y->i[i] = x->f ? ir_int_of_float(y->type.dtype, x->f[i]) : ir_wrap_int(y->type.dtype, x->i[i]);
    }
}

bool ir_infer_round_to(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    if (ir_half_by_name(ir_attr_s(n, "to")) == IR_HALF_NONE)
        return ir_fail(g, n, "cannot round to '%s'; known are f16 bf16", ir_attr_s(n, "to"));
    return ir_infer_like(g, n, out);
}

void ir_eval_round_to(EVAL_PARAMS) {
    (void)g;
    enum ir_half h = ir_half_by_name(ir_attr_s(n, "to"));
    size_t count = ir_tensor_numel(out[0]);
    for (size_t i = 0; i < count; i++) out[0]->f[i] = ir_round_half(h, in[0]->f[i]);
}

void ir_eval_where(EVAL_PARAMS) {
    UNUSED_GN;
    const struct ir_tensor *y = out[0];
    int64_t s[3][IR_MAX_RANK];
    for (int k = 0; k < 3; k++) ir_bcast_strides(&in[k]->type, y->type.rank, s[k]);
    for (struct ir_walk w = ir_walk_all(&y->type); !w.done; ir_walk_next(&w)) {
        int k = in[0]->i[ir_offset(&w, s[0])] ? 1 : 2;
        ir_tensor_copy_elem(y, w.linear, in[k], ir_offset(&w, s[k]));
    }
}

void ir_eval_fma(EVAL_PARAMS) {
    UNUSED_GN;
    const struct ir_tensor *y = out[0];
    int64_t s[3][IR_MAX_RANK];
    for (int k = 0; k < 3; k++) ir_bcast_strides(&in[k]->type, y->type.rank, s[k]);
    for (struct ir_walk w = ir_walk_all(&y->type); !w.done; ir_walk_next(&w))
        y->f[w.linear] =
            fma(in[0]->f[ir_offset(&w, s[0])], in[1]->f[ir_offset(&w, s[1])], in[2]->f[ir_offset(&w, s[2])]);
}

void ir_eval_relu_grad(EVAL_PARAMS) {
    UNUSED_GN;
    size_t count = ir_tensor_numel(out[0]);
    for (size_t i = 0; i < count; i++) out[0]->f[i] = in[1]->f[i] > 0 ? in[0]->f[i] : 0;
}

// --- gradients -----------------------------------------------------------------------------------------------------

#define UNARY_VJP(op, expr)                                                                                            \
    void ir_vjp_##op(VJP_PARAMS) {                                                                                     \
        ir_vid x = g->nodes[id].in[0], y = g->nodes[id].out[0], dy = dout[0];                                          \
        (void)x, (void)y, (void)want;                                                                                  \
        din[0] = (expr);                                                                                               \
    }

static ir_vid square(struct ir_graph *g, ir_vid x) { return ir_mul(g, x, x); }
static ir_vid one_minus(struct ir_graph *g, ir_vid x) { return ir_sub(g, ir_const_like(g, x, 1), x); }

UNARY_VJP(neg, ir_unary(g, IR_OP_neg, dy))
UNARY_VJP(abs, ir_mul(g, dy, ir_unary(g, IR_OP_sign, x)))
UNARY_VJP(exp, ir_mul(g, dy, y))
UNARY_VJP(log, ir_div(g, dy, x))
UNARY_VJP(recip, ir_unary(g, IR_OP_neg, ir_mul(g, dy, square(g, y))))
// d erf x / dx = 2/sqrt(pi) e^(-x^2)
UNARY_VJP(erf,
          ir_mul(g, dy,
                 ir_scale(g, ir_unary(g, IR_OP_exp, ir_unary(g, IR_OP_neg, square(g, x))), 1.12837916709551257390)))
UNARY_VJP(tanh, ir_mul(g, dy, one_minus(g, square(g, y))))
UNARY_VJP(sigmoid, ir_mul(g, dy, ir_mul(g, y, one_minus(g, y))))
UNARY_VJP(relu, ir_binary(g, IR_OP_relu_grad, dy, y))
UNARY_VJP(sin, ir_mul(g, dy, ir_unary(g, IR_OP_cos, x)))
UNARY_VJP(cos, ir_unary(g, IR_OP_neg, ir_mul(g, dy, ir_unary(g, IR_OP_sin, x))))
// Infinite where the function itself is vertical: asin and acos at -1 and 1, acosh at 1.
static ir_vid plus(struct ir_graph *g, ir_vid x, double k) { return ir_add(g, x, ir_const_like(g, x, k)); }
static ir_vid over_root(struct ir_graph *g, ir_vid dy, ir_vid x) { return ir_div(g, dy, ir_unary(g, IR_OP_sqrt, x)); }
// (1 - x)(1 + x): 1 - x^2 would be rounded to 0 before x is 1
static ir_vid below_one(struct ir_graph *g, ir_vid x) { return ir_mul(g, one_minus(g, x), plus(g, x, 1)); }
UNARY_VJP(asin, over_root(g, dy, below_one(g, x)))
UNARY_VJP(acos, ir_unary(g, IR_OP_neg, over_root(g, dy, below_one(g, x))))
UNARY_VJP(atan, ir_div(g, dy, plus(g, square(g, x), 1)))
UNARY_VJP(sinh, ir_mul(g, dy, ir_unary(g, IR_OP_cosh, x)))
UNARY_VJP(cosh, ir_mul(g, dy, ir_unary(g, IR_OP_sinh, x)))
UNARY_VJP(asinh, over_root(g, dy, plus(g, square(g, x), 1)))
UNARY_VJP(acosh, over_root(g, dy, ir_mul(g, plus(g, x, -1), plus(g, x, 1))))
UNARY_VJP(atanh, ir_div(g, dy, below_one(g, x)))
UNARY_VJP(copy, dy)

// dx, a root's gradient, where y is not 0 or the root is not `flat`; 0 elsewhere.
static ir_vid unless_flat(struct ir_graph *g, ir_nid id, ir_vid dx) {
    ir_vid y = g->nodes[id].out[0], zero = ir_const_like(g, y, 0);
    return ir_attr_i(&g->nodes[id], "flat") ? ir_where(g, ir_binary(g, IR_OP_eq, y, zero), zero, dx) : dx;
}

void ir_vjp_sqrt(VJP_PARAMS) {
    if (want[0]) din[0] = unless_flat(g, id, ir_div(g, ir_scale(g, dout[0], 0.5), g->nodes[id].out[0]));
}

void ir_vjp_zero(VJP_PARAMS) { (void)g, (void)id, (void)dout, (void)want, (void)din; }

void ir_vjp_cast(VJP_PARAMS) {
    enum ir_dtype from = ir_typeof(g, g->nodes[id].in[0])->dtype;
    if (want[0] && ir_is_float(from)) din[0] = ir_cast(g, dout[0], from);
}

// The operands of a binary node and their types (copies: the value table moves when the graph grows).
struct binary {
    ir_vid a, b, y;
    struct ir_type ta, tb;
};
static struct binary binary_of(const struct ir_graph *g, ir_nid id) {
    const struct ir_node *n = &g->nodes[id];
    return (struct binary){
        .a = n->in[0], .b = n->in[1], .y = n->out[0], .ta = g->values[n->in[0]].type, .tb = g->values[n->in[1]].type};
}

void ir_vjp_add(VJP_PARAMS) {
    struct binary v = binary_of(g, id);
    if (want[0]) din[0] = ir_sum_to(g, dout[0], &v.ta);
    if (want[1]) din[1] = ir_sum_to(g, dout[0], &v.tb);
}

void ir_vjp_sub(VJP_PARAMS) {
    struct binary v = binary_of(g, id);
    if (want[0]) din[0] = ir_sum_to(g, dout[0], &v.ta);
    if (want[1]) din[1] = ir_unary(g, IR_OP_neg, ir_sum_to(g, dout[0], &v.tb));
}

void ir_vjp_mul(VJP_PARAMS) {
    struct binary v = binary_of(g, id);
    if (want[0]) din[0] = ir_sum_to(g, ir_mul(g, dout[0], v.b), &v.ta);
    if (want[1]) din[1] = ir_sum_to(g, ir_mul(g, dout[0], v.a), &v.tb);
}

// d(a/b)/da = 1/b, d(a/b)/db = -y/b
void ir_vjp_div(VJP_PARAMS) {
    struct binary v = binary_of(g, id);
    ir_vid da = ir_div(g, dout[0], v.b);
    if (want[0]) din[0] = ir_sum_to(g, da, &v.ta);
    if (want[1]) din[1] = ir_unary(g, IR_OP_neg, ir_sum_to(g, ir_mul(g, da, v.y), &v.tb));
}

// a - b*trunc(a/b): trunc(a/b) = (a - y)/b does not move with a and b.
void ir_vjp_rem(VJP_PARAMS) {
    struct binary v = binary_of(g, id);
    if (want[0]) din[0] = ir_sum_to(g, dout[0], &v.ta);
    if (!want[1]) return;
    ir_vid whole = ir_div(g, ir_sub(g, v.a, v.y), v.b);
    din[1] = ir_unary(g, IR_OP_neg, ir_sum_to(g, ir_mul(g, dout[0], whole), &v.tb));
}

static bool const_scalar(const struct ir_graph *g, ir_vid v, double *out) {
    const struct ir_value *c = &g->values[v];
    if (c->role != IR_ROLE_CONST || !c->data || ir_is_batched(&c->type) || ir_numel(&c->type) != 1) return false;
    if (!ir_is_float(c->type.dtype)) return false;
    *out = ir_get_float(c->type.dtype, c->data, 0);
    return true;
}

// b * a^(b-1) for a constant b: no logarithm, no pow where a product will do.
static ir_vid pow_slope(struct ir_graph *g, ir_vid a, ir_vid y, double b) {
    if (b == 2) return ir_scale(g, a, 2);
    if (b == 3) return ir_scale(g, square(g, a), 3);
    if (b == 0.5) return ir_div(g, ir_const_like(g, a, 0.5), y);
    if (b == -1) return ir_unary(g, IR_OP_neg, square(g, y));
    return ir_scale(g, ir_binary(g, IR_OP_pow, a, ir_const_like(g, a, b - 1)), b);
}

void ir_vjp_pow(VJP_PARAMS) {
    struct binary v = binary_of(g, id);
    double b;
    if (!ir_is_float(v.ta.dtype)) return;
    if (want[0] && const_scalar(g, v.b, &b)) {
        if (b == 1)
            din[0] = ir_sum_to(g, dout[0], &v.ta);
        else if (b != 0)
            din[0] = ir_sum_to(g, unless_flat(g, id, ir_mul(g, dout[0], pow_slope(g, v.a, v.y, b))), &v.ta);
    } else if (want[0]) {
        // Where b is 0 the slope is 0, also at a = 0 where a^(b-1) is infinite.
        ir_vid zero = ir_const_like(g, v.b, 0), one = ir_const_like(g, v.b, 1);
        ir_vid slope = ir_mul(g, v.b, ir_binary(g, IR_OP_pow, v.a, ir_sub(g, v.b, one)));
        slope = ir_where(g, ir_binary(g, IR_OP_eq, v.b, zero), zero, slope);
        din[0] = ir_sum_to(g, ir_mul(g, dout[0], slope), &v.ta);
    }
    if (want[1]) {
        // y ln a where a > 0; nothing elsewhere: 0^b does not move with b, and negative a has no real gradient.
        ir_vid zero = ir_const_like(g, v.a, 0), one = ir_const_like(g, v.a, 1);
        ir_vid safe = ir_where(g, ir_binary(g, IR_OP_lt, zero, v.a), v.a, one);
        ir_vid slope = ir_mul(g, v.y, ir_unary(g, IR_OP_log, safe));
        din[1] = ir_sum_to(g, ir_mul(g, dout[0], slope), &v.tb);
    }
}

// dy where `winner` beats `other` (lt(other, winner) or its mirror), half of it at a tie.
static ir_vid winner_share(struct ir_graph *g, ir_vid dy, ir_vid wins, ir_vid tie) {
    ir_vid zero = ir_const_like(g, dy, 0);
    return ir_where(g, wins, dy, ir_where(g, tie, ir_scale(g, dy, 0.5), zero));
}

static void vjp_extreme(struct ir_graph *g, ir_nid id, ir_vid dy, const bool *want, ir_vid *din, bool is_max) {
    struct binary v = binary_of(g, id);
    ir_vid tie = ir_binary(g, IR_OP_eq, v.a, v.b);
    ir_vid a_wins = is_max ? ir_binary(g, IR_OP_lt, v.b, v.a) : ir_binary(g, IR_OP_lt, v.a, v.b);
    ir_vid b_wins = is_max ? ir_binary(g, IR_OP_lt, v.a, v.b) : ir_binary(g, IR_OP_lt, v.b, v.a);
    if (want[0]) din[0] = ir_sum_to(g, winner_share(g, dy, a_wins, tie), &v.ta);
    if (want[1]) din[1] = ir_sum_to(g, winner_share(g, dy, b_wins, tie), &v.tb);
}
void ir_vjp_max(VJP_PARAMS) { vjp_extreme(g, id, dout[0], want, din, true); }
void ir_vjp_min(VJP_PARAMS) { vjp_extreme(g, id, dout[0], want, din, false); }

void ir_vjp_where(VJP_PARAMS) {
    const struct ir_node *n = &g->nodes[id];
    ir_vid c = n->in[0];
    struct ir_type ta = *ir_in_type(g, n, 1), tb = *ir_in_type(g, n, 2);
    ir_vid zero = ir_const_like(g, dout[0], 0);
    if (want[1]) din[1] = ir_sum_to(g, ir_where(g, c, dout[0], zero), &ta);
    if (want[2]) din[2] = ir_sum_to(g, ir_where(g, c, zero, dout[0]), &tb);
}

void ir_vjp_fma(VJP_PARAMS) {
    const struct ir_node *n = &g->nodes[id];
    const ir_vid a = n->in[0], b = n->in[1], dy = dout[0];
    const struct ir_type ta = *ir_in_type(g, n, 0), tb = *ir_in_type(g, n, 1), tc = *ir_in_type(g, n, 2);
    if (want[0]) din[0] = ir_sum_to(g, ir_mul(g, dy, b), &ta);
    if (want[1]) din[1] = ir_sum_to(g, ir_mul(g, dy, a), &tb);
    if (want[2]) din[2] = ir_sum_to(g, dy, &tc);
}

void ir_vjp_relu_grad(VJP_PARAMS) {
    if (want[0]) din[0] = ir_binary(g, IR_OP_relu_grad, dout[0], g->nodes[id].in[1]);
}
