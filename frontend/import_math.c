// Elementwise operators that are one IR op, or a few of the same.
#include "onnx_internal.h"

#include <math.h>
#include <string.h>

// Operand i, or NULL after saying that it is missing.
static struct fe_val *need(struct fe_ctx *c, struct fe_node *n, size_t i) {
    struct fe_val *v = fe_arg(n, i);
    if (!v) fe_fail(c, n, "operand %zu is missing", i);
    return v && v->is_seq ? (fe_fail(c, n, "operand %zu is a sequence, expected a tensor", i), NULL) : v;
}

bool fe_op_unary(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = need(c, n, 0);
    if (x && x->random && n->arg == IR_OP_floor) {
        struct fe_val *mask = fe_random_floor(c, x);
        if (mask) return fe_out_val(n, 0, mask);
    }
    return x && fe_out_val(n, 0, fe_p_unary(c, (enum ir_op)n->arg, x));
}

// Before opset 7 an operator says where the dims of its second operand lie among those of the first: from `axis` on.
static struct fe_val *aligned(struct fe_ctx *c, struct fe_node *n, const struct fe_val *x, struct fe_val *y) {
    if (c->opset >= 7 || !fe_attr_i(c, n, "broadcast", 0) || !fe_attr(n, "axis")) return y;
    const struct ir_type t = *fe_type(c, y);
    const int64_t axis = fe_attr_i(c, n, "axis", 0);
    const int rank = fe_type(c, x)->rank;
    if (axis < 0 || axis + t.rank > rank) {
        fe_fail(c, n, "axis %lld does not fit operands of %d and %d dimensions", (long long)axis, rank, t.rank);
        return NULL;
    }
    int64_t dims[IR_MAX_RANK];
    for (int i = 0; i < rank - (int)axis; i++) dims[i] = i < t.rank ? t.dims[i] : 1;
    return fe_p_reshape(c, y, rank - (int)axis, dims);
}

static bool two(struct fe_ctx *c, struct fe_node *n, struct fe_val **x, struct fe_val **y) {
    return (*x = need(c, n, 0)) && (*y = need(c, n, 1)) && (*y = aligned(c, n, *x, *y));
}

static bool binary(struct fe_ctx *c, struct fe_node *n, struct fe_val *x, struct fe_val *y) {
    if (x->random || y->random) {
        struct fe_val *v = n->arg == IR_OP_add               ? fe_random_plus(c, x, y)
                           : n->arg == IR_OP_lt && x->random ? fe_random_below(c, x, y)
                                                             : NULL;
        if (v) return fe_out_val(n, 0, v);
    }
    return fe_out_val(n, 0, fe_p_binary(c, (enum ir_op)n->arg, x, y));
}

bool fe_op_binary(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x, *y;
    return two(c, n, &x, &y) && binary(c, n, x, y);
}

bool fe_op_swapped(struct fe_ctx *c, struct fe_node *n) { // a > b is b < a
    struct fe_val *x, *y;
    return two(c, n, &x, &y) && binary(c, n, y, x);
}

// --- roots
//
// The slope of a root is infinite at 0. PyTorch's norms and standard deviations have the gradient 0 there, but a file
// holds only the root of what they sum, and inf * 0 would make every gradient before it NaN. Such a root is known by
// its operand: a sum or mean of squares or of powers of absolute values, times or divided by numbers.

enum { MAX_STEPS = 32 }; // from a root back to the squares: a guard of recursion, far more than there are

static const struct ir_node *maker(struct fe_ctx *c, ir_vid v) {
    const struct ir_value *val = &c->g->values[v];
    return val->role == IR_ROLE_NODE ? &c->g->nodes[val->def] : NULL;
}

// A number that depends on nothing but the batch size: a count, a correction.
static bool is_count(struct fe_ctx *c, ir_vid v, int steps) {
    const struct ir_node *n = maker(c, v);
    if (!n) return c->g->values[v].role == IR_ROLE_CONST;
    bool ok = steps > 0 && (n->op == IR_OP_batch_size || n->n_in > 0);
    for (int i = 0; ok && i < n->n_in; i++) ok = is_count(c, n->in[i], steps - 1);
    return ok;
}

static bool is_square_sum(struct fe_ctx *c, ir_vid v, int steps) {
    const struct ir_node *n = maker(c, v);
    if (!n || steps == 0) return false;
    switch (n->op) {
    case IR_OP_mul:
        if (n->in[0] == n->in[1]) return true;
        for (int i = 0; i < 2; i++)
            if (is_square_sum(c, n->in[i], steps - 1) &&
                (is_count(c, n->in[1 - i], steps) || is_square_sum(c, n->in[1 - i], steps - 1)))
                return true;
        return false;
    case IR_OP_div:
        return is_count(c, n->in[1], steps) && is_square_sum(c, n->in[0], steps - 1);
    case IR_OP_pow: {
        const struct ir_node *base = maker(c, n->in[0]);
        const struct ir_value *e = &c->g->values[n->in[1]];
        if (e->role != IR_ROLE_CONST || e->type.dtype != IR_F32 || ir_numel(&e->type) != 1) return false;
        float p = *(const float *)e->data;
        return p > 0 && (p == 2 || p == 4 || (base && base->op == IR_OP_abs));
    }
    case IR_OP_reduce_sum:
    case IR_OP_reduce_mean:
    case IR_OP_reshape:
    case IR_OP_transpose:
    case IR_OP_expand:
    case IR_OP_slice:
        return is_square_sum(c, n->in[0], steps - 1);
    default:
        return false;
    }
}

ir_vid fe_root(struct fe_ctx *c, ir_vid x) {
    if (x == IR_NONE) return x;
    return fe_emit(c, IR_OP_sqrt, &x, 1, IR_ATTRS(IR_I("flat", is_square_sum(c, x, MAX_STEPS))));
}

bool fe_op_sqrt(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = need(c, n, 0);
    if (!x) return false;
    return fe_out_val(n, 0,
                      fe_known(c, x, false) ? fe_p_unary(c, IR_OP_sqrt, x) : fe_val_of(c, fe_root(c, fe_vid(c, x))));
}

bool fe_op_xor(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x, *y;
    if (!two(c, n, &x, &y)) return false;
    struct fe_val *same = fe_p_binary(c, IR_OP_eq, x, y);
    return same && fe_out_val(n, 0, fe_p_unary(c, IR_OP_not, same));
}

bool fe_op_tan(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = need(c, n, 0), *s = x ? fe_p_unary(c, IR_OP_sin, x) : NULL;
    return s && fe_out_val(n, 0, fe_p_binary(c, IR_OP_div, s, fe_p_unary(c, IR_OP_cos, x)));
}

static struct fe_val *number(struct fe_ctx *c, enum ir_dtype t, double v) { return fe_val_of(c, fe_num(c, t, v)); }

bool fe_op_is_nan(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = need(c, n, 0), *same = x ? fe_p_binary(c, IR_OP_eq, x, x) : NULL;
    return same && fe_out_val(n, 0, fe_p_unary(c, IR_OP_not, same));
}

bool fe_op_is_inf(struct fe_ctx *c, struct fe_node *n) {
    const bool above = fe_attr_i(c, n, "detect_positive", 1) != 0, below = fe_attr_i(c, n, "detect_negative", 1) != 0;
    struct fe_val *x = need(c, n, 0);
    if (!x) return false;
    const enum ir_dtype t = fe_type(c, x)->dtype;
    if (!ir_is_float(t)) return fe_fail(c, n, "needs floats, got %s", ir_dtype_name(t));
    if (above && below) x = fe_p_unary(c, IR_OP_abs, x);
    const double sought = above ? INFINITY : below ? -INFINITY : NAN; // nothing equals NaN
    return x && fe_out_val(n, 0, fe_p_binary(c, IR_OP_eq, x, number(c, t, sought)));
}

// --- bits: of integers, whose sums, products and quotients wrap as those of the type do

static bool integers(struct fe_ctx *c, struct fe_node *n, size_t count, struct fe_val **x) {
    for (size_t i = 0; i < count; i++) {
        if (!(x[i] = need(c, n, i))) return false;
        const enum ir_dtype t = fe_type(c, x[i])->dtype;
        if (!ir_is_int(t)) return fe_fail(c, n, "needs integers, got %s", ir_dtype_name(t));
    }
    return true;
}

bool fe_op_bit_or(struct fe_ctx *c, struct fe_node *n) { // x + y counts the bits of x & y twice
    struct fe_val *x[2];
    if (!integers(c, n, 2, x)) return false;
    struct fe_val *both = fe_p_binary(c, IR_OP_bit_and, x[0], x[1]), *r = fe_p_binary(c, IR_OP_add, x[0], x[1]);
    for (int i = 0; r && i <= n->arg; i++) r = fe_p_binary(c, IR_OP_sub, r, both); // or: once; xor: twice
    return fe_out_val(n, 0, r);
}

static struct fe_val *complement(struct fe_ctx *c, struct fe_val *x) {
    return x ? fe_p_binary(c, IR_OP_sub, number(c, fe_type(c, x)->dtype, -1), x) : NULL;
}

bool fe_op_bit_not(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x;
    return integers(c, n, 1, &x) && fe_out_val(n, 0, complement(c, x));
}

// By powers of 2. A shift below 0 or by as many bits as there are is 0 as a power: all bits go, also to the right,
// since x/0 is 0. What is negative is shifted right as its complement, so that its sign comes in from the left.
bool fe_op_bit_shift(struct fe_ctx *c, struct fe_node *n) {
    const char *way = fe_attr_s(c, n, "direction", "");
    const bool left = !strcmp(way, "LEFT");
    struct fe_val *v[2], *x, *minus = NULL;
    if (!integers(c, n, 2, v)) return false;
    if (!left && strcmp(way, "RIGHT")) return fe_fail(c, n, "direction \"%s\"; LEFT and RIGHT are known", way);
    const enum ir_dtype t = fe_type(c, v[0])->dtype;
    struct fe_val *by = fe_p_binary(c, IR_OP_pow, number(c, t, 2), v[1]);
    x = v[0];
    if (!by || left) return by && fe_out_val(n, 0, fe_p_binary(c, IR_OP_mul, x, by));
    if (ir_is_signed(t)) {
        minus = fe_p_binary(c, IR_OP_lt, x, number(c, t, 0));
        x = fe_p_where(c, minus, complement(c, x), x);
    }
    x = x ? fe_p_binary(c, IR_OP_div, x, by) : NULL;
    return x && fe_out_val(n, 0, minus ? fe_p_where(c, minus, complement(c, x), x) : x);
}

// What x^y of two types is computed in before it becomes of x's type. Integers to the power of integers wrap, which 64
// bits and fewer agree on; a float among the operands makes it a power of floats, which is cut off.
static enum ir_dtype power_type(enum ir_dtype x, enum ir_dtype y) {
    if (x == y || (x == IR_F32 && ir_is_int(y))) return x;
    if (ir_is_float(x) || ir_is_float(y)) return IR_F64;
    return ir_is_signed(y) ? IR_I64 : IR_U64;
}

bool fe_op_pow(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x, *y;
    if (!two(c, n, &x, &y)) return false;
    const struct fe_sym *e = fe_known(c, y, false);
    const enum ir_dtype tx = fe_type(c, x)->dtype, ty = fe_type(c, y)->dtype;
    if (e && e->n == 1 && fe_sym_is_const(e) && ir_is_float(tx) &&
        !fe_known(c, x, false)) { // the common exponents have cheaper forms
        double v = ir_is_float(ty) ? e->v[0].f : ir_int_to_float(ty, e->v[0].b, IR_F64);
        if (e->type.rank <= fe_type(c, x)->rank) {
            if (v == 1) return fe_out_val(n, 0, x);
            if (v == 2) return fe_out_val(n, 0, fe_p_binary(c, IR_OP_mul, x, x));
            if (v == 0.5) return fe_out(c, n, 0, fe_root(c, fe_vid(c, x)));
            if (v == -1) return fe_out_val(n, 0, fe_p_unary(c, IR_OP_recip, x));
        }
    }
    enum ir_dtype wide = power_type(tx, ty);
    x = fe_p_cast(c, x, wide);
    y = fe_p_cast(c, y, wide);
    if (!x || !y) return false;
    if (wide != tx) {
        struct fe_val *power = fe_p_binary(c, IR_OP_pow, x, y);
        return power && fe_out_val(n, 0, fe_p_cast(c, power, tx));
    }
    if (fe_known(c, x, false) && fe_known(c, y, false)) return fe_out_val(n, 0, fe_p_binary(c, IR_OP_pow, x, y));
    ir_vid in[2] = {fe_vid(c, x), fe_vid(c, y)};
    if (in[0] == IR_NONE || in[1] == IR_NONE) return false;
    fe_unify_batch(c, in, 2);
    bool flat = is_square_sum(c, in[0], MAX_STEPS); // ReduceSum(|x|^3)^(1/3)
    return fe_out(c, n, 0, fe_emit(c, IR_OP_pow, in, 2, IR_ATTRS(IR_I("flat", flat))));
}

// The remainder with the sign of x (fmod) becomes that with the sign of y by adding y where the signs differ.
static struct fe_val *floor_mod(struct fe_ctx *c, struct fe_val *x, struct fe_val *y) {
    enum ir_dtype t = fe_type(c, x)->dtype;
    struct fe_val *r = fe_p_binary(c, IR_OP_rem, x, y), *zero = fe_val_sym(c, fe_sym_new(c->a, t, 0, NULL));
    if (!r || (!ir_is_float(t) && !ir_is_signed(t))) return r;
    struct fe_val *differ =
        fe_p_binary(c, IR_OP_eq, fe_p_binary(c, IR_OP_lt, r, zero), fe_p_binary(c, IR_OP_lt, y, zero));
    struct fe_val *whole = fe_p_binary(c, IR_OP_eq, r, zero), *turned = fe_p_binary(c, IR_OP_add, r, y);
    if (!differ || !whole || !turned) return NULL;
    return fe_p_where(c, fe_p_binary(c, IR_OP_or, whole, differ), r, turned);
}

// fmod has the sign of x; else x - floor(x/y)*y, with the sign of y. Of numbers with N in them where N falls away.
bool fe_op_mod(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x, *y;
    if (!two(c, n, &x, &y)) return false;
    const struct fe_sym *xs = fe_known(c, x, false), *ys = fe_known(c, y, false);
    if (xs && ys && ys->n == 1 && !fe_sym_is_const(xs) && !ir_is_float(xs->type.dtype) && !ys->v[0].a &&
        ys->v[0].b != 0) {
        int64_t m = ys->v[0].b, rest;
        bool c_sign = fe_attr_i(c, n, "fmod", 0) != 0; // the dividend's, which N may change; else the divisor's
        struct fe_sym *r = fe_sym_new(c->a, xs->type.dtype, xs->type.rank, xs->type.dims);
        bool ok = r != NULL;
        for (size_t i = 0; ok && i < r->n; i++) {
            ok = checked_rem(xs->v[i].a, m, &rest) && rest == 0 && !(c_sign && xs->v[i].a) &&
                 checked_rem(xs->v[i].b, m, &r->v[i].b);
            if (ok && !c_sign && r->v[i].b && (r->v[i].b < 0) != (m < 0)) r->v[i].b += m;
        }
        if (ok) return fe_out_sym(c, n, 0, r);
    }
    enum ir_dtype t = fe_type(c, x)->dtype;
    if (fe_type(c, y)->dtype != t) return fe_fail(c, n, "its operands are of two types");
    if (fe_attr_i(c, n, "fmod", 0)) return fe_out_val(n, 0, fe_p_binary(c, IR_OP_rem, x, y));
    return fe_out_val(n, 0, floor_mod(c, x, y));
}

bool fe_op_variadic(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *r = need(c, n, 0);
    for (size_t i = 1; r && i < n->n_in; i++) {
        struct fe_val *y = need(c, n, i);
        r = y ? fe_p_binary(c, (enum ir_op)n->arg, r, y) : NULL;
    }
    return fe_out_val(n, 0, r);
}

bool fe_op_mean(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *r = need(c, n, 0);
    for (size_t i = 1; r && i < n->n_in; i++) {
        struct fe_val *y = need(c, n, i);
        r = y ? fe_p_binary(c, IR_OP_add, r, y) : NULL;
    }
    struct fe_val *k = r ? fe_val_of(c, fe_num(c, fe_type(c, r)->dtype, (double)n->n_in)) : NULL;
    return r && fe_out_val(n, 0, fe_p_binary(c, IR_OP_div, r, k));
}

bool fe_op_where(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *cond = need(c, n, 0), *x = need(c, n, 1), *y = need(c, n, 2);
    return cond && x && y && fe_out_val(n, 0, fe_p_where(c, cond, x, y));
}

int64_t fe_cast_type(struct fe_ctx *c, const struct fe_node *n) {
    return c->opset < 6 ? fe_onnx_dtype_named(fe_attr_s(c, n, "to", "")) : fe_attr_i(c, n, "to", 0);
}

bool fe_op_cast(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = need(c, n, 0);
    enum ir_dtype t;
    if (!x) return false;
    int64_t to = fe_cast_type(c, n);
    if (to < 0 || to > INT32_MAX || !fe_onnx_to_ir((int32_t)to, &t))
        return fe_fail(c, n, "it casts to %s (%lld), which is not supported", fe_onnx_dtype_name((int32_t)to),
                       (long long)to);
    if (fe_type(c, x)->dtype == IR_F64 && !x->random) x = fe_p_round(c, x, fe_half((int32_t)to)); // once, not twice
    return x && fe_out_val(n, 0, fe_p_cast(c, x, t));
}

bool fe_op_castlike(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x, *y;
    return two(c, n, &x, &y) && fe_out_val(n, 0, fe_p_cast(c, x, fe_type(c, y)->dtype));
}
