// Quantisation: integers that stand for floats, q = x / scale + zero point. Products of integers are exact. What is
// quantised and taken back is, for gradients, x where it was not cut off: training aware of quantisation.
#include "onnx_internal.h"
#include "window.h"

#include <string.h>

// --- scales and zero points

// Operand i, one for the whole of a tensor t, one for each place of `axis`, or one for each block of it, so that it
// broadcasts to t. false after reporting; *out is IR_NONE where there is no operand.
static bool spread(struct fe_ctx *c, struct fe_node *n, size_t i, const struct ir_type *t, int64_t axis_attr,
                   int64_t block, ir_vid *out) {
    ir_vid v = *out = fe_in(c, n, i);
    int axis = 0;
    if (v == IR_NONE) return !fe_arg(n, i);
    const struct ir_type s = *fe_typeof(c, v);
    if (ir_numel(&s) == 1 && !ir_is_batched(&s)) {
        *out = fe_reshape(c, v, 0, NULL);
        return *out != IR_NONE;
    }
    if (t->rank == 0 || !fe_axis(c, n, axis_attr, t->rank, &axis)) return false;
    int64_t dims[IR_MAX_RANK];
    if (s.rank == 1 && s.dims[0] == t->dims[axis]) {
        for (int k = 0; k < t->rank; k++) dims[k] = k == axis ? s.dims[0] : 1;
        *out = fe_reshape(c, v, t->rank, dims);
        return *out != IR_NONE;
    }
    bool fits = s.rank == t->rank && s.rank < IR_MAX_RANK && t->dims[axis] > 0 && block > 0 && block < FE_MAX_BAKED &&
                s.dims[axis] == (t->dims[axis] + block - 1) / block;
    for (int k = 0; k < t->rank && fits; k++) fits = k == axis || s.dims[k] == t->dims[k];
    if (!fits)
        return fe_fail(c, n,
                       "operand %zu is %s; expected one number, one for each place of axis %d of %s, or one for each "
                       "block of block_size (%lld) places",
                       i, fe_dims_text(c, &s), axis, fe_dims_text(c, t), (long long)block);
    // Each block's number in every place of it, and the last block as long as is left.
    for (int k = 0, at = 0; k < s.rank; k++) {
        dims[at++] = s.dims[k];
        if (k == axis) dims[at++] = 1;
    }
    v = fe_reshape(c, v, s.rank + 1, dims);
    dims[axis + 1] = block;
    v = fe_expand(c, v, s.rank + 1, dims);
    memcpy(dims, s.dims, sizeof dims);
    dims[axis] *= block;
    v = fe_reshape(c, v, s.rank, dims);
    *out = v == IR_NONE ? v : fe_cut(c, v, axis, 0, t->dims[axis], 1);
    return *out != IR_NONE;
}

// --- to integers and back

static bool is_quantum(enum ir_dtype t) { return t == IR_I8 || t == IR_U8 || t == IR_I16 || t == IR_U16; }

// x rounded and cut to what type t holds around the zero point (IR_NONE: 0): floats, of which every one is an integer.
// The gradient passes where nothing was cut. x + (r - x) is r exactly: r - x is, by less than a unit between them.
static ir_vid image(struct fe_ctx *c, ir_vid x, ir_vid zero, enum ir_dtype t) {
    ir_vid lo = fe_f(c, (double)ir_int_min(t)), hi = fe_f(c, (double)ir_int_max(t)), r = fe_e1(c, IR_OP_round, x);
    if (zero != IR_NONE) {
        zero = fe_cast(c, zero, IR_F32);
        lo = fe_e2(c, IR_OP_sub, lo, zero);
        hi = fe_e2(c, IR_OP_sub, hi, zero);
    }
    if (r == IR_NONE) return r;
    ir_vid y = fe_e2(c, IR_OP_add, x, fe_e1(c, IR_OP_stop_gradient, fe_e2(c, IR_OP_sub, r, x)));
    y = fe_where(c, fe_e2(c, IR_OP_lt, r, lo), lo, fe_where(c, fe_e2(c, IR_OP_lt, hi, r), hi, y));
    return zero == IR_NONE ? y : fe_e2(c, IR_OP_add, y, zero);
}

// The type of what is made: the zero point's, else the attribute's, else u8.
static bool result_type(struct fe_ctx *c, struct fe_node *n, size_t zero, enum ir_dtype *t) {
    const int64_t said = fe_attr_i(c, n, "output_dtype", 0);
    *t = IR_U8;
    if (fe_arg(n, zero)) {
        *t = fe_type(c, fe_arg(n, zero))->dtype;
    } else if (said && (said < 0 || said > INT32_MAX || !fe_onnx_to_ir((int32_t)said, t))) {
        return fe_fail(c, n, "it quantises to %s, which is not supported; expected 8 or 16 bits",
                       said > 0 && said <= INT32_MAX ? fe_onnx_dtype_name((int32_t)said) : "an unknown type");
    }
    return is_quantum(*t) ||
           fe_fail(c, n, "it quantises to %s; expected 8 or 16 bits, signed or not", ir_dtype_name(*t));
}

static bool put_quantised(struct fe_ctx *c, struct fe_node *n, ir_vid floats, enum ir_dtype t) {
    struct fe_val *v = fe_val_of(c, fe_cast(c, floats, t));
    if (v) v->image = fe_val_of(c, floats);
    return fe_out_val(n, 0, v);
}

bool fe_op_quantize(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0), scale, zero;
    enum ir_dtype t;
    if (x == IR_NONE || !fe_arg(n, 1)) return fe_fail(c, n, "needs an input and a scale");
    const struct ir_type xt = *fe_typeof(c, x);
    const int64_t axis = fe_attr_i(c, n, "axis", 1), block = fe_attr_i(c, n, "block_size", 0);
    if (!result_type(c, n, 2, &t) || !spread(c, n, 1, &xt, axis, block, &scale) ||
        !spread(c, n, 2, &xt, axis, block, &zero))
        return false;
    ir_vid q = fe_e2(c, IR_OP_div, fe_cast(c, x, IR_F32), fe_cast(c, scale, IR_F32));
    return q != IR_NONE && put_quantised(c, n, image(c, q, zero, t), t);
}

bool fe_op_dequantize(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0), scale, zero;
    if (x == IR_NONE || !fe_arg(n, 1)) return fe_fail(c, n, "needs an input and a scale");
    const struct ir_type xt = *fe_typeof(c, x);
    if (!is_quantum(xt.dtype) && xt.dtype != IR_I32)
        return fe_fail(c, n, "its input is %s; expected 8, 16 or 32 bits", ir_dtype_name(xt.dtype));
    const int64_t axis = fe_attr_i(c, n, "axis", 1), block = fe_attr_i(c, n, "block_size", 0);
    if (!spread(c, n, 1, &xt, axis, block, &scale) || !spread(c, n, 2, &xt, axis, block, &zero)) return false;
    const enum ir_dtype t = fe_typeof(c, scale)->dtype;
    struct fe_val *floats = fe_arg(n, 0)->image; // as QuantizeLinear left them, with their gradient
    ir_vid y = floats ? fe_vid(c, floats) : fe_cast(c, x, IR_I32);
    if (zero != IR_NONE) y = fe_e2(c, IR_OP_sub, y, fe_cast(c, zero, fe_typeof(c, y)->dtype));
    return fe_out(c, n, 0, fe_e2(c, IR_OP_mul, fe_cast(c, y, t), scale));
}

// --- products of integers
//
// The kernels are float32's, which holds integers up to 2^24. One operand is taken apart into digits, so few that no
// sum of products of digits leaves that; the digits' products are added up as i32.

enum { LARGEST = 255 }; // of 8 bits less a zero point of 8 bits

// Digits of base b with values up to b/2, the last up to what remains, for sums of k products; 0: no such base.
static int digits_for(int64_t k, int *base) {
    static const struct {
        int digits, base, largest;
    } of[] = {{1, 512, LARGEST}, {2, 16, 16}, {3, 8, 4}, {5, 4, 2}};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        if (k <= (INT64_C(1) << 24) / (LARGEST * of[i].largest)) {
            *base = of[i].base;
            return of[i].digits;
        }
    return 0;
}

typedef ir_vid product_fn(struct fe_ctx *c, struct fe_node *n, ir_vid a, ir_vid b);

// f(a, b), sums of k products of integers in f32 from -255 to 255, as i32.
static ir_vid exact(struct fe_ctx *c, struct fe_node *n, ir_vid a, ir_vid b, int64_t k, product_fn *f) {
    int base = 0, digits = digits_for(k, &base);
    if (a == IR_NONE || b == IR_NONE) return IR_NONE;
    if (!digits) return f(c, n, fe_cast(c, a, IR_I32), fe_cast(c, b, IR_I32));
    ir_vid sum = IR_NONE, rest = b;
    for (int32_t d = 0, unit = 1; d < digits; d++, unit *= base) {
        ir_vid digit = rest;
        if (d + 1 < digits) {
            rest = fe_e1(c, IR_OP_round, fe_e2(c, IR_OP_mul, digit, fe_f(c, 1.0 / base)));
            digit = fe_e2(c, IR_OP_sub, digit, fe_e2(c, IR_OP_mul, rest, fe_f(c, base)));
        }
        ir_vid part = fe_cast(c, f(c, n, a, digit), IR_I32);
        if (unit > 1) part = fe_e2(c, IR_OP_mul, part, fe_num(c, IR_I32, unit));
        sum = sum == IR_NONE ? part : fe_e2(c, IR_OP_add, sum, part);
        if (sum == IR_NONE) return sum;
    }
    return sum;
}

// Operand i of 8 bits less its zero point, which is one number or one for each place of `axis`, as f32.
static ir_vid centred(struct fe_ctx *c, struct fe_node *n, size_t i, size_t zero, int axis) {
    ir_vid x = fe_in(c, n, i), z = fe_in(c, n, zero);
    if (x == IR_NONE) {
        fe_fail(c, n, "operand %zu is missing", i);
        return x;
    }
    const struct ir_type t = *fe_typeof(c, x);
    if (t.dtype != IR_I8 && t.dtype != IR_U8) {
        fe_fail(c, n, "operand %zu is %s; expected 8 bits", i, ir_dtype_name(t.dtype));
        return IR_NONE;
    }
    x = fe_cast(c, x, IR_F32);
    if (z == IR_NONE) return x;
    const struct ir_type zt = *fe_typeof(c, z);
    if (zt.rank <= 1 && t.rank > 0) {
        int64_t dims[IR_MAX_RANK];
        const int at = axis < 0 ? axis + t.rank : axis;
        for (int k = 0; k < t.rank; k++) dims[k] = k == at && zt.rank ? zt.dims[0] : 1;
        z = fe_reshape(c, z, ir_numel(&zt) == 1 && !ir_is_batched(&zt) ? 0 : t.rank, dims);
    }
    return fe_e2(c, IR_OP_sub, x, fe_cast(c, z, IR_F32));
}

static ir_vid matrices(struct fe_ctx *c, struct fe_node *n, size_t a, size_t b, size_t a_zero, size_t b_zero) {
    ir_vid x = centred(c, n, a, a_zero, -2), y = centred(c, n, b, b_zero, -1);
    if (x == IR_NONE || y == IR_NONE) return IR_NONE;
    const struct ir_type *t = fe_typeof(c, x);
    return exact(c, n, x, y, t->rank ? t->dims[t->rank - 1] : 1, fe_product);
}

bool fe_op_matmul_integer(struct fe_ctx *c, struct fe_node *n) { return fe_out(c, n, 0, matrices(c, n, 0, 1, 2, 3)); }

static ir_vid by_taps(struct fe_ctx *c, struct fe_node *n, ir_vid x, ir_vid w) { return fe_conv(c, n, x, w, true); }

static ir_vid convolved(struct fe_ctx *c, struct fe_node *n, size_t x, size_t w, size_t x_zero, size_t w_zero) {
    ir_vid xv = centred(c, n, x, x_zero, 1), wv = centred(c, n, w, w_zero, 0);
    if (xv == IR_NONE || wv == IR_NONE) return IR_NONE;
    const struct ir_type *t = fe_typeof(c, wv);
    int64_t k = 1;
    if (t->rank < 3 || !checked_product(t->dims + 1, (size_t)t->rank - 1, &k)) {
        fe_fail(c, n, "its weight is %s; expected [K,C,kernel..]", fe_dims_text(c, t));
        return IR_NONE;
    }
    return exact(c, n, xv, wv, k, by_taps);
}

bool fe_op_conv_integer(struct fe_ctx *c, struct fe_node *n) { return fe_out(c, n, 0, convolved(c, n, 0, 1, 2, 3)); }

// --- products between quantised tensors: operands (a, scale, zero point, b, scale, zero point, scale, zero point)

// The i32 sums times a's scale times b's over the result's, in the result's type. Scales are one number each, or b's
// one for each place of `columns`, the others' for each of `rows`.
static bool rescaled(struct fe_ctx *c, struct fe_node *n, ir_vid sums, int rows, int columns) {
    enum ir_dtype t;
    ir_vid factor = IR_NONE, zero;
    if (sums == IR_NONE || !result_type(c, n, 7, &t)) return false;
    const struct ir_type st = *fe_typeof(c, sums);
    static const size_t scales[3] = {1, 4, 6};
    for (int k = 0; k < 3; k++) {
        ir_vid s;
        if (!spread(c, n, scales[k], &st, k == 1 ? columns : rows, 0, &s)) return false;
        if (s == IR_NONE) return fe_fail(c, n, "operand %zu, a scale, is missing", scales[k]);
        s = fe_cast(c, s, IR_F32);
        factor = k ? fe_e2(c, k == 2 ? IR_OP_div : IR_OP_mul, factor, s) : s;
    }
    if (!spread(c, n, 7, &st, rows, 0, &zero)) return false;
    ir_vid y = fe_e2(c, IR_OP_mul, fe_cast(c, sums, IR_F32), factor);
    return y != IR_NONE && put_quantised(c, n, image(c, y, zero, t), t);
}

bool fe_op_qlinear_matmul(struct fe_ctx *c, struct fe_node *n) {
    return rescaled(c, n, matrices(c, n, 0, 3, 2, 5), -2, -1);
}

bool fe_op_qlinear_conv(struct fe_ctx *c, struct fe_node *n) {
    ir_vid sums = convolved(c, n, 0, 3, 2, 5), b = fe_in(c, n, 8);
    if (sums != IR_NONE && b != IR_NONE) {
        int64_t dims[IR_MAX_RANK];
        const int rank = fe_typeof(c, sums)->rank;
        for (int k = 0; k < rank; k++) dims[k] = k == 1 ? ir_numel(fe_typeof(c, b)) : 1;
        sums = fe_e2(c, IR_OP_add, sums, fe_reshape(c, fe_cast(c, b, IR_I32), rank, dims));
    }
    return rescaled(c, n, sums, 1, 1);
}
