// Transforms into frequencies and back, as products with matrices of the known length: DFT, STFT, and the weights of
// mel bands.
#include "onnx_internal.h"

#include <math.h>
#include <string.h>

#define MOST_WEIGHTS (INT64_C(1) << 24)
#define PI           3.14159265358979323846

// From `in` numbers of `from` parts (real; real and imaginary) to `out` numbers of `to` parts, of a transform of length
// n.
struct transform {
    int64_t n, in, out;
    int from, to;
    bool inverse;
};

// Its matrix [in * from, out * to]. An angle is a whole number of n-ths, so that a long transform is as exact as a
// short one.
static ir_vid matrix(struct fe_ctx *c, const struct transform *t, enum ir_dtype type) {
    int64_t dims[2] = {t->in * t->from, t->out * t->to};
    void *m = arena_array(c->a, (size_t)(dims[0] * dims[1]), ir_dtype_size(type));
    const bool to_real = t->inverse && t->to == 1; // of one half of the frequencies, each stands for two but the ends
    for (int64_t j = 0; j < t->in; j++)
        for (int64_t k = 0; k < t->out; k++) {
            double angle = 2 * PI * (double)(j * k % t->n) / (double)t->n, scale = t->inverse ? 1.0 / (double)t->n : 1;
            double re = cos(angle), im = t->inverse ? sin(angle) : -sin(angle);
            if (to_real && j != 0 && 2 * j != t->n) scale *= 2;
            const double of[2][2] = {{re, im}, {-im, re}}; // by part of the input and of the result
            for (int p = 0; p < t->from; p++)
                for (int q = 0; q < t->to; q++)
                    ir_put_float(type, m, (size_t)((j * t->from + p) * dims[1] + k * t->to + q), scale * of[p][q]);
        }
    return ir_const(c->g, ir_type_make(type, 2, dims), m);
}

// x [.., in or more, .., from] along `axis`, which is before the last; what it has less of is zeros.
static ir_vid transformed(struct fe_ctx *c, struct fe_node *n, ir_vid x, struct transform t, int axis) {
    struct ir_type type = *fe_typeof(c, x);
    int last = type.rank - 1;
    int64_t perm[IR_MAX_RANK], back[IR_MAX_RANK], rows[2] = {1, 0};
    if (type.dims[axis] < t.in) t.in = type.dims[axis];
    if (t.in * t.from > MOST_WEIGHTS / (t.out * t.to)) {
        fe_fail(c, n, "a transform of %lld numbers into %lld is too long for a product with a matrix", (long long)t.in,
                (long long)t.out);
        return IR_NONE;
    }
    for (int i = 0; i < type.rank; i++) {
        perm[i] = i < axis || i == last ? i : i == last - 1 ? axis : i + 1;
        back[perm[i]] = i;
    }
    x = fe_cut(c, x, axis, 0, t.in, 1);
    if (axis != last - 1) x = fe_transpose(c, x, type.rank, perm);
    if (x == IR_NONE) return x;
    type = *fe_typeof(c, x);
    for (int i = 0; i < last - 1; i++) rows[0] *= type.dims[i];
    rows[1] = t.in * t.from;
    ir_vid y = fe_matmul(c, fe_reshape(c, x, 2, rows), matrix(c, &t, type.dtype), 0, 0);
    type.dims[last - 1] = t.out;
    type.dims[last] = t.to;
    y = fe_reshape(c, y, type.rank, type.dims);
    return axis == last - 1 ? y : fe_transpose(c, y, type.rank, back);
}

// A known number of at least 1 that is operand i; `def` where it is absent.
static bool length(struct fe_ctx *c, struct fe_node *n, size_t i, int64_t def, int64_t *out) {
    double given;
    if (!fe_scalar(c, n, i, (double)def, &given)) return false;
    if (checked_whole(given, out) && *out >= 1 && *out <= INT32_MAX) return true;
    return fe_fail(c, n, "operand %zu is %g; a length was expected", i, given);
}

bool fe_op_dft(struct fe_ctx *c, struct fe_node *n) { // arg: 20 where the axis is an operand
    ir_vid x = fe_in(c, n, 0);
    double given = (double)fe_attr_i(c, n, "axis", 1);
    int64_t number, def;
    int axis;
    if (x == IR_NONE) return fe_fail(c, n, "operand 0 must be a tensor");
    if (n->arg == 20 && !fe_scalar(c, n, 2, -2, &given)) return false;
    const struct ir_type t = *fe_typeof(c, x);
    if (!checked_whole(given, &number)) return fe_fail(c, n, "its axis is %g", given);
    if (!fe_axis(c, n, number, t.rank, &axis)) return false;
    const bool inverse = fe_attr_i(c, n, "inverse", 0) != 0, onesided = fe_attr_i(c, n, "onesided", 0) != 0;
    if (!ir_is_float(t.dtype) || t.rank < 2 || t.dims[t.rank - 1] < 1 || t.dims[t.rank - 1] > 2 || axis == t.rank - 1)
        return fe_fail(c, n, "its signal %s must have its real and imaginary parts, or 1, as last dimension",
                       fe_dims_text(c, &t));
    if (t.dims[axis] < 1) return fe_fail(c, n, "it transforms along the batch, which is not supported");
    struct transform f = {.from = (int)t.dims[t.rank - 1], .to = inverse && onesided ? 1 : 2, .inverse = inverse};
    def = inverse && onesided ? 2 * (t.dims[axis] - 1) : t.dims[axis];
    if (!length(c, n, 1, def, &f.n)) return false;
    f.in = inverse && onesided ? f.n / 2 + 1 : f.n;
    f.out = !inverse && onesided ? f.n / 2 + 1 : f.n;
    return fe_out(c, n, 0, transformed(c, n, x, f, axis));
}

// Frames of the signal [B, length, 1 or 2], each times the window, transformed.
bool fe_op_stft(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0), window = fe_in(c, n, 2);
    int64_t step = 0, frame = 0, whole;
    if (x == IR_NONE) return fe_fail(c, n, "operand 0 must be a tensor");
    struct ir_type t = *fe_typeof(c, x);
    if (t.rank == 2) {
        t.dims[t.rank++] = 1;
        x = fe_reshape(c, x, 3, t.dims);
    }
    if (t.rank != 3 || !ir_is_float(t.dtype) || t.dims[1] < 1 || t.dims[2] < 1 || t.dims[2] > 2)
        return fe_fail(c, n, "its signal %s must be [batch, length, 1 or 2]", fe_dims_text(c, &t));
    if (window != IR_NONE && fe_typeof(c, window)->rank != 1)
        return fe_fail(c, n, "its window must have one dimension");
    whole = window == IR_NONE ? t.dims[1] : fe_typeof(c, window)->dims[0];
    if (!length(c, n, 1, 0, &step) || !length(c, n, 3, whole, &frame)) return false;
    if (frame > t.dims[1] || (window != IR_NONE && frame != whole))
        return fe_fail(c, n, "frames of %lld do not fit a signal of %lld and a window of %lld", (long long)frame,
                       (long long)t.dims[1], (long long)whole);
    int64_t frames = 1 + (t.dims[1] - frame) / step, all, dims[4] = {t.dims[0], frames, frame, t.dims[2]};
    if (!checked_mul(frames, frame, &all) || all > MOST_WEIGHTS)
        return fe_fail(c, n, "it has %lld frames of %lld", (long long)frames, (long long)frame);
    int64_t *index = ARENA_ARRAY(c->a, int64_t, (size_t)all);
    for (int64_t i = 0; i < all; i++) index[i] = i / frame * step + i % frame;
    struct fe_val *v = fe_p_take(c, fe_val_of(c, x), 1, index, (size_t)all);
    x = fe_reshape(c, fe_vid(c, v), 4, dims);
    if (window != IR_NONE) x = fe_e2(c, IR_OP_mul, x, fe_reshape(c, window, 2, (int64_t[2]){frame, 1}));
    if (x == IR_NONE) return false;
    const bool onesided = fe_attr_i(c, n, "onesided", 1) != 0;
    struct transform f = {
        .n = frame, .in = frame, .out = onesided ? frame / 2 + 1 : frame, .from = (int)t.dims[2], .to = 2};
    return fe_out(c, n, 0, transformed(c, n, x, f, 2));
}

static double mel(double hertz) { return 2595 * log10(1 + hertz / 700); }
static double hertz(double mel) { return 700 * (pow(10, mel / 2595) - 1); }

// Triangles [frequencies, bands] between the edges of the bands, which are rounded down to frequencies of a transform.
bool fe_op_mel_weight_matrix(struct fe_ctx *c, struct fe_node *n) {
    int64_t bands = 0, size = 0, rate = 0,
            to = fe_attr_i(c, n, "output_datatype", ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT);
    double edge[2];
    enum ir_dtype type;
    if (!length(c, n, 0, 0, &bands) || !length(c, n, 1, 0, &size) || !length(c, n, 2, 0, &rate) ||
        !fe_scalar(c, n, 3, 0, &edge[0]) || !fe_scalar(c, n, 4, 0, &edge[1]))
        return false;
    int64_t dims[2] = {size / 2 + 1, bands}, all;
    if (to < 0 || to > INT32_MAX || !fe_onnx_to_ir((int32_t)to, &type) || type == IR_BOOL)
        return fe_fail(c, n, "its output_datatype is not supported");
    if (!checked_mul(dims[0], bands, &all) || all > MOST_WEIGHTS || bands > 1 << 16 ||
        !(edge[0] >= 0 && edge[0] < edge[1]))
        return fe_fail(c, n, "%lld bands of %lld frequencies between %g and %g Hz", (long long)bands,
                       (long long)dims[0], edge[0], edge[1]);
    double low = mel(edge[0]), step = (mel(edge[1]) - low) / (double)(bands + 2);
    double *m = ARENA_ARRAY(c->a, double, (size_t)all);
    for (int64_t i = 0; i < bands; i++) {
        int64_t at[3];
        for (int k = 0; k < 3; k++) {
            double f = floor((double)(size + 1) * hertz(low + (double)(i + k) * step) / (double)rate);
            if (!checked_i64(f, &at[k]) || at[k] < 0 || at[k] >= dims[0] + (k == 2))
                return fe_fail(c, n, "band %lld ends above half of the sample rate", (long long)i);
        }
        if (at[0] == at[1]) m[at[1] * bands + i] = 1;
        for (int64_t j = at[0]; at[0] < at[1] && j <= at[1]; j++)
            m[j * bands + i] = (double)(j - at[0]) / (double)(at[1] - at[0]);
        for (int64_t j = at[1]; j < at[2]; j++) m[j * bands + i] = (double)(at[2] - j) / (double)(at[2] - at[1]);
    }
    void *data = arena_array(c->a, (size_t)all, ir_dtype_size(type));
    for (int64_t i = 0; i < all; i++) {
        if (ir_is_float(type))
            ir_put_float(type, data, (size_t)i, m[i]);
        else
            ir_put_int(type, data, (size_t)i, ir_int_of_float(type, m[i]));
    }
    return fe_out(c, n, 0, ir_const(c->g, ir_type_make(type, 2, dims), data));
}
