// Activations made of IR primitives. Where a branch is not taken its argument is replaced by 0 first, so that no
// gradient is computed from an overflow (inf * 0). Gradients at kinks are PyTorch's.
#include "onnx_internal.h"

// Operand 0, of floats.
static ir_vid floats(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0);
    if (x == IR_NONE) {
        fe_fail(c, n, "operand 0 is missing or no tensor");
        return x;
    }
    const enum ir_dtype t = fe_typeof(c, x)->dtype;
    if (ir_is_float(t)) return x;
    fe_fail(c, n, "needs floats, got %s", ir_dtype_name(t));
    return IR_NONE;
}

// An attribute of float32, also where x is wider and the default is meant.
static double number(struct fe_ctx *c, struct fe_node *n, const char *name, double def) {
    return fe_attr_f(c, n, name, (double)(float)def);
}
static ir_vid scale(struct fe_ctx *c, ir_vid x, double k) {
    return k == 1 ? x : fe_e2(c, IR_OP_mul, x, fe_like(c, x, k));
}
static ir_vid shift(struct fe_ctx *c, ir_vid x, double k) { return fe_e2(c, IR_OP_add, x, fe_like(c, x, k)); }
static ir_vid positive(struct fe_ctx *c, ir_vid x) { return fe_e2(c, IR_OP_lt, fe_like(c, x, 0), x); }

bool fe_op_leaky_relu(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = floats(c, n);
    if (x == IR_NONE) return false;
    return fe_out(c, n, 0, fe_where(c, positive(c, x), x, scale(c, x, number(c, n, "alpha", 0.01))));
}

bool fe_op_prelu(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = floats(c, n), slope = fe_in(c, n, 1);
    if (x == IR_NONE || slope == IR_NONE) return false;
    const struct ir_type st = *fe_typeof(c, slope);
    const int rank = fe_typeof(c, x)->rank;
    if (c->opset < 7 && st.rank == 1 && rank > 2) { // one slope a channel, without the ones behind it
        int64_t dims[IR_MAX_RANK] = {st.dims[0]};
        for (int i = 1; i < rank - 1; i++) dims[i] = 1;
        slope = fe_reshape(c, slope, rank - 1, dims);
    }
    return fe_out(c, n, 0, fe_where(c, positive(c, x), x, fe_e2(c, IR_OP_mul, x, slope)));
}

// gamma * (x > 0 ? x : alpha * (e^(x/beta) - 1))
static bool exponential(struct fe_ctx *c, struct fe_node *n, double alpha, double beta, double gamma) {
    ir_vid x = floats(c, n);
    if (x == IR_NONE) return false;
    ir_vid pos = positive(c, x), neg = fe_where(c, pos, fe_like(c, x, 0), x);
    ir_vid e = scale(c, shift(c, fe_e1(c, IR_OP_exp, scale(c, neg, 1 / beta)), -1), alpha);
    return fe_out(c, n, 0, scale(c, fe_where(c, pos, x, e), gamma));
}

bool fe_op_elu(struct fe_ctx *c, struct fe_node *n) { return exponential(c, n, number(c, n, "alpha", 1), 1, 1); }
bool fe_op_selu(struct fe_ctx *c, struct fe_node *n) {
    const bool first = c->opset < 6; // which rounds its defaults
    return exponential(c, n, number(c, n, "alpha", first ? 1.6732 : 1.67326319217681884765625), 1,
                       number(c, n, "gamma", first ? 1.0507 : 1.05070102214813232421875));
}
bool fe_op_celu(struct fe_ctx *c, struct fe_node *n) {
    double alpha = number(c, n, "alpha", 1);
    return exponential(c, n, alpha, alpha, 1);
}

bool fe_op_gelu(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = floats(c, n);
    if (x == IR_NONE) return false;
    ir_vid inner;
    if (fe_attr_s(c, n, "approximate", "none")[0] == 't') { // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
        ir_vid cube = fe_e2(c, IR_OP_mul, fe_e2(c, IR_OP_mul, x, x), x);
        inner =
            fe_e1(c, IR_OP_tanh, scale(c, fe_e2(c, IR_OP_add, x, scale(c, cube, 0.044715)), 0.79788456080286535588));
    } else { // 0.5 x (1 + erf(x / sqrt 2))
        inner = fe_e1(c, IR_OP_erf, scale(c, x, 0.70710678118654752440));
    }
    return fe_out(c, n, 0, fe_e2(c, IR_OP_mul, scale(c, x, 0.5), shift(c, inner, 1)));
}

// lo where x <= lo, hi where x >= hi, else x (NaN stays); the gradient is 1 strictly inside, as of PyTorch's hardtanh.
static ir_vid clip(struct fe_ctx *c, ir_vid x, const double *lo, const double *hi) {
    ir_vid y = x;
    if (hi) y = fe_where(c, fe_e2(c, IR_OP_le, fe_like(c, x, *hi), x), fe_like(c, x, *hi), y);
    if (lo) y = fe_where(c, fe_e2(c, IR_OP_le, x, fe_like(c, x, *lo)), fe_like(c, x, *lo), y);
    return y;
}

static ir_vid hard_sigmoid(struct fe_ctx *c, ir_vid x, double alpha, double beta) {
    return clip(c, shift(c, scale(c, x, alpha), beta), &(double){0}, &(double){1});
}

bool fe_op_hard_sigmoid(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = floats(c, n);
    if (x == IR_NONE) return false;
    return fe_out(c, n, 0, hard_sigmoid(c, x, number(c, n, "alpha", 0.2), number(c, n, "beta", 0.5)));
}

bool fe_op_hard_swish(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = floats(c, n);
    if (x == IR_NONE) return false;
    return fe_out(c, n, 0, fe_e2(c, IR_OP_mul, x, hard_sigmoid(c, x, (double)(1.0f / 6), 0.5)));
}

bool fe_op_swish(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = floats(c, n);
    if (x == IR_NONE) return false;
    return fe_out(c, n, 0, fe_e2(c, IR_OP_mul, x, fe_e1(c, IR_OP_sigmoid, scale(c, x, number(c, n, "alpha", 1)))));
}

// ln(1 + e^x), linear above 20 as in PyTorch.
static ir_vid softplus(struct fe_ctx *c, ir_vid x) {
    ir_vid large = fe_e2(c, IR_OP_lt, fe_like(c, x, 20), x), safe = fe_where(c, large, fe_like(c, x, 0), x);
    return fe_where(c, large, x, fe_e1(c, IR_OP_log, shift(c, fe_e1(c, IR_OP_exp, safe), 1)));
}

bool fe_op_softplus(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = floats(c, n);
    return x != IR_NONE && fe_out(c, n, 0, softplus(c, x));
}

bool fe_op_mish(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = floats(c, n);
    return x != IR_NONE && fe_out(c, n, 0, fe_e2(c, IR_OP_mul, x, fe_e1(c, IR_OP_tanh, softplus(c, x))));
}

bool fe_op_softsign(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = floats(c, n);
    return x != IR_NONE && fe_out(c, n, 0, fe_e2(c, IR_OP_div, x, shift(c, fe_e1(c, IR_OP_abs, x), 1)));
}

bool fe_op_thresholded_relu(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = floats(c, n);
    if (x == IR_NONE) return false;
    return fe_out(c, n, 0,
                  fe_where(c, fe_e2(c, IR_OP_lt, fe_like(c, x, number(c, n, "alpha", 1)), x), x, fe_like(c, x, 0)));
}

// Of integers, of computed bounds, and of floats known at import (TensorFlow's padding): the bounds as values of x's
// dtype, max applied last.
static struct fe_val *clip_value(struct fe_ctx *c, struct fe_val *x, struct fe_val *lo, struct fe_val *hi) {
    struct fe_val *r = x;
    if (lo) r = fe_p_binary(c, IR_OP_max, r, lo);
    return hi && r ? fe_p_binary(c, IR_OP_min, r, hi) : r;
}

// An operand that must be one number, as a scalar: the result has x's shape.
static struct fe_val *scalar_operand(struct fe_ctx *c, struct fe_node *n, size_t i) {
    struct fe_val *v = fe_arg(n, i);
    if (v && ir_numel(fe_type(c, v)) == 1 && !ir_is_batched(fe_type(c, v))) return fe_p_reshape(c, v, 0, NULL);
    fe_fail(c, n, "operand %zu must be one number", i);
    return NULL;
}

static struct fe_val *float_value(struct fe_ctx *c, double v) { return fe_val_sym(c, fe_sym_scalar_f(c->a, v)); }

static bool clip_values(struct fe_ctx *c, struct fe_node *n, struct fe_val *x) {
    struct fe_val *lo = NULL, *hi = NULL;
    if (fe_arg(n, 1) && !(lo = scalar_operand(c, n, 1))) return false;
    if (fe_arg(n, 2) && !(hi = scalar_operand(c, n, 2))) return false;
    return fe_out_val(n, 0, clip_value(c, x, lo, hi));
}

// Bounds are attributes before opset 11, operands since. Where they cross, max wins: every result is max.
bool fe_op_clip(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *xv = fe_arg(n, 0);
    if (!xv) return fe_fail(c, n, "operand 0 is missing");
    bool known = true;
    for (size_t i = 1; i < 3; i++) known &= !fe_arg(n, i) || fe_known(c, fe_arg(n, i), true);
    if (fe_type(c, xv)->dtype != IR_F32 || !known) return clip_values(c, n, xv);
    double lo = 0, hi = 0;
    bool has_lo = fe_arg(n, 1) != NULL, has_hi = fe_arg(n, 2) != NULL;
    if (!fe_scalar(c, n, 1, 0, &lo) || !fe_scalar(c, n, 2, 0, &hi)) return false;
    if (fe_attr(n, "min")) {
        has_lo = true;
        lo = fe_attr_f(c, n, "min", 0);
    }
    if (fe_attr(n, "max")) {
        has_hi = true;
        hi = fe_attr_f(c, n, "max", 0);
    }
    if (has_lo && has_hi && lo > hi) lo = hi;
    if (has_lo && lo <= -3.4028234663852886e38) has_lo = false; // the lowest float: no bound
    if (has_hi && hi >= 3.4028234663852886e38) has_hi = false;
    if (!has_lo && !has_hi) return fe_out_val(n, 0, xv);
    if (fe_known(c, xv, false))
        return fe_out_val(n, 0,
                          clip_value(c, xv, has_lo ? float_value(c, lo) : NULL, has_hi ? float_value(c, hi) : NULL));
    ir_vid x = floats(c, n);
    return x != IR_NONE && fe_out(c, n, 0, clip(c, x, has_lo ? &lo : NULL, has_hi ? &hi : NULL));
}

bool fe_op_softmax(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = floats(c, n);
    int axis;
    if (x == IR_NONE || !fe_axis(c, n, fe_attr_i(c, n, "axis", -1), fe_typeof(c, x)->rank, &axis)) return false;
    return fe_out(c, n, 0, fe_emit(c, (enum ir_op)n->arg, &x, 1, IR_ATTRS(IR_I("axis", axis))));
}

// Before opset 13 the dims from `axis` on are one: softmax over all of them together.
bool fe_op_softmax_flat(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = floats(c, n);
    int axis;
    if (x == IR_NONE || !fe_axis(c, n, fe_attr_i(c, n, "axis", 1), fe_typeof(c, x)->rank, &axis)) return false;
    struct ir_type t = *fe_typeof(c, x);
    if (axis == t.rank - 1) return fe_out(c, n, 0, fe_emit(c, (enum ir_op)n->arg, &x, 1, IR_ATTRS(IR_I("axis", axis))));
    int64_t dims[IR_MAX_RANK], inner = 1;
    for (int i = 0; i < t.rank; i++) {
        dims[i] = t.dims[i];
        if (i >= axis) inner *= t.dims[i];
    }
    if (axis == 0 && inner < 0) return fe_fail(c, n, "it normalises over the batch, which is not supported");
    dims[axis] = inner;
    x = fe_reshape(c, x, axis + 1, dims);
    x = fe_emit(c, (enum ir_op)n->arg, &x, 1, IR_ATTRS(IR_I("axis", axis)));
    return fe_out(c, n, 0, fe_reshape(c, x, t.rank, t.dims));
}

// 1 at the first largest element along the axis, 0 elsewhere. Before opset 13 the dims from `axis` on are one.
bool fe_op_hardmax(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = floats(c, n);
    int axis;
    if (x == IR_NONE || !fe_axis(c, n, fe_attr_i(c, n, "axis", n->arg ? -1 : 1), fe_typeof(c, x)->rank, &axis))
        return false;
    const struct ir_type t = *fe_typeof(c, x);
    struct ir_type flat = t;
    for (int i = axis + 1; i < t.rank && !n->arg; i++) flat.dims[axis] *= t.dims[i];
    if (!n->arg) flat.rank = axis + 1;
    if (flat.dims[axis] < 0) return fe_fail(c, n, "it looks for the largest of the batch, which is not supported");
    x = fe_reshape(c, x, flat.rank, flat.dims);
    int64_t row[IR_MAX_RANK];
    for (int i = 0; i < flat.rank; i++) row[i] = i == axis ? flat.dims[i] : 1;
    ir_vid best = fe_emit(c, IR_OP_argmax, &x, 1, IR_ATTRS(IR_I("axis", axis)));
    ir_vid index = fe_emit(c, IR_OP_iota, NULL, 0, IR_ATTRS(IR_IS("shape", row, flat.rank), IR_I("axis", axis)));
    return fe_out(c, n, 0, fe_reshape(c, fe_cast(c, fe_e2(c, IR_OP_eq, best, index), t.dtype), t.rank, t.dims));
}

static ir_vid ones(struct fe_ctx *c, const struct ir_type *t, const char *dtype) {
    return fe_emit(c, IR_OP_fill, NULL, 0,
                   IR_ATTRS(IR_IS("shape", t->dims, t->rank), IR_F("value", 1), IR_S("dtype", dtype)));
}

// Trains with its ratio whatever mode the file was exported in, except where training_mode is a constant false. What it
// keeps is what it keeps of ones: the mask, of x's type before opset 10, and what doubles are multiplied by.
bool fe_op_dropout(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *xv = fe_arg(n, 0);
    double ratio, training;
    if (!xv) return fe_fail(c, n, "operand 0 is missing");
    if (!fe_scalar(c, n, 1, fe_attr_f(c, n, "ratio", 0.5), &ratio) ||
        !fe_scalar(c, n, 2, c->opset >= 12 ? 0 : 1, &training))
        return false;
    if (!(ratio >= 0 && ratio < 1)) return fe_fail(c, n, "ratio %g is outside [0, 1)", ratio);
    const struct ir_type t = *fe_type(c, xv);
    if (!ir_is_float(t.dtype)) return fe_fail(c, n, "needs floats, got %s", ir_dtype_name(t.dtype));
    const bool wants_mask = n->n_out > 1 && n->wanted[1];
    const enum ir_dtype mask = c->opset < 10 ? t.dtype : IR_BOOL;
    if (ratio == 0 || (fe_arg(n, 2) && training == 0))
        return fe_out_val(n, 0, xv) && (!wants_mask || fe_out(c, n, 1, ones(c, &t, ir_dtype_name(mask))));
    ir_vid x = fe_vid(c, xv), kept = IR_NONE, seed = fe_seed(c);
    const int64_t salt = c->dropouts++;
    if (wants_mask || t.dtype != IR_F32)
        kept = fe_emit(c, IR_OP_dropout, (ir_vid[]){ones(c, &t, "f32"), seed}, 2,
                       IR_ATTRS(IR_F("ratio", ratio), IR_I("salt", salt)));
    if (wants_mask && !fe_out(c, n, 1, fe_cast(c, fe_cast(c, kept, IR_BOOL), mask))) return false;
    if (t.dtype != IR_F32) return fe_out(c, n, 0, fe_e2(c, IR_OP_mul, x, fe_cast(c, kept, t.dtype)));
    return fe_out(
        c, n, 0, fe_emit(c, IR_OP_dropout, (ir_vid[]){x, seed}, 2, IR_ATTRS(IR_F("ratio", ratio), IR_I("salt", salt))));
}
