// Pools over any number of spatial dims. The IR's run over two, for float32: more are pooled the last two
// dims first, then one after the other, since a maximum of maxima is the maximum (the first of them the first) and a
// mean of means over windows that are products is the mean. What those kernels do not know (other types, dilated means,
// norms) is folded tap by tap along one dim after the other.
#include "window.h"

#include <math.h>
#include <string.h>

static bool enter(struct fe_ctx *c, struct fe_node *n, ir_vid *x, struct fe_window *w) {
    *x = fe_in(c, n, 0);
    if (*x == IR_NONE) return fe_fail(c, n, "operand 0 is missing");
    return fe_window_read(c, n, fe_typeof(c, *x), NULL, w);
}

// --- two dims at a time

struct pool2 {
    enum ir_op op;
    bool include_pad, ceil;
};

// Windows over dim `i` of x alone, or over the last two of which it is the first (`both`): what follows is one dim,
// what is before are samples.
static ir_vid pool_plane(struct fe_ctx *c, const struct pool2 *p, ir_vid x, const struct fe_window *w, int i, bool both,
                         ir_vid *position) {
    if (x == IR_NONE) return x;
    const struct ir_type t = *fe_typeof(c, x);
    int64_t dims[IR_MAX_RANK], rest = 1;
    const int last = both ? i + 1 : i;
    for (int k = last + 1; k < w->k; k++) rest *= t.dims[2 + k];
    memcpy(dims, t.dims, sizeof dims);
    dims[2 + i + 1] = both ? t.dims[2 + last] : rest;
    const int64_t kernel[2] = {w->kernel[i], both ? w->kernel[last] : 1},
                  strides[2] = {w->strides[i], both ? w->strides[last] : 1},
                  dilations[2] = {w->dilations[i], both ? w->dilations[last] : 1},
                  pads[4] = {w->lo[i], both ? w->lo[last] : 0, w->hi[i], both ? w->hi[last] : 0};
    struct ir_attr attrs[5] = {IR_IS("kernel", kernel, 2), IR_IS("strides", strides, 2), IR_IS("pads", pads, 4),
                               IR_I("ceil", p->ceil)};
    attrs[4] = p->op == IR_OP_max_pool ? IR_IS("dilations", dilations, 2) : IR_I("include_pad", p->include_pad);
    ir_vid in = fe_into_batch(c, fe_reshape(c, x, i + 4, dims), i), y = fe_emit(c, p->op, &in, 1, attrs, 5);
    if (y == IR_NONE) return y;
    if (position) *position = c->g->nodes[c->g->values[y].def].out[1];
    y = fe_out_of_batch(c, y, t.dims[0], t.dims + 2, i);
    memcpy(dims, t.dims, sizeof dims);
    dims[2 + i] = w->out[i];
    dims[2 + last] = w->out[last];
    return fe_reshape(c, y, t.rank, dims);
}

// Where no window lies in the padding alone, and all fit the kernels.
static bool fits_planes(const struct fe_window *w) {
    for (int i = 0; i < w->k; i++)
        if (w->lo[i] >= fe_window_reach(w, i) || w->hi[i] >= fe_window_reach(w, i)) return false;
    return true;
}

static ir_vid by_planes(struct fe_ctx *c, const struct pool2 *p, ir_vid x, const struct fe_window *w) {
    int i = w->k >= 2 ? w->k - 2 : 0;
    x = pool_plane(c, p, x, w, i, w->k >= 2, NULL);
    while (i-- > 0) x = pool_plane(c, p, x, w, i, false, NULL);
    return x;
}

// --- tap by tap

// The larger of two, the first of equal ones, and where it stands: NaN is larger than any number, and what stands
// nowhere
// (-1: padding) smaller than all.
struct found {
    ir_vid v, at; // at: IR_NONE where nobody asks
};

static struct found larger(struct fe_ctx *c, struct found a, struct found b) {
    ir_vid take = fe_e2(c, IR_OP_lt, a.v, b.v);
    if (a.v == IR_NONE || b.v == IR_NONE || take == IR_NONE) return (struct found){IR_NONE, IR_NONE};
    if (ir_is_float(fe_typeof(c, a.v)->dtype)) {
        ir_vid number = fe_e2(c, IR_OP_eq, a.v, a.v), nan = fe_e1(c, IR_OP_not, fe_e2(c, IR_OP_eq, b.v, b.v));
        take = fe_e2(c, IR_OP_or, take, fe_e2(c, IR_OP_and, number, nan));
    }
    struct found r = {IR_NONE, IR_NONE};
    if (a.at != IR_NONE) {
        ir_vid none = fe_num(c, IR_I64, 0);
        take = fe_e2(c, IR_OP_or, take,
                     fe_e2(c, IR_OP_and, fe_e2(c, IR_OP_lt, a.at, none), fe_e2(c, IR_OP_le, none, b.at)));
        r.at = fe_where(c, take, b.at, a.at);
    }
    r.v = fe_where(c, take, b.v, a.v);
    return r;
}

static double least(enum ir_dtype t) {
    return ir_is_float(t) ? -INFINITY : ir_is_signed(t) ? -ldexp(1, 8 * (int)ir_dtype_size(t) - 1) : 0;
}

static struct found window_max(struct fe_ctx *c, struct found x, const struct fe_window *w) {
    for (int i = w->k - 1; i >= 0 && x.v != IR_NONE; i--) {
        const struct found in = {fe_window_around(c, x.v, w, i, least(fe_typeof(c, x.v)->dtype)),
                                 x.at == IR_NONE ? IR_NONE : fe_window_around(c, x.at, w, i, -1)};
        for (int64_t t = 0; t < w->kernel[i]; t++) {
            const struct found here = {fe_window_tap(c, in.v, w, i, t), fe_window_tap(c, in.at, w, i, t)};
            x = t ? larger(c, x, here) : here;
        }
    }
    return x;
}

// --- indices

static ir_vid ramp(struct fe_ctx *c, int rank, const int64_t *dims, int axis) {
    return fe_emit(c, IR_OP_iota, NULL, 0,
                   IR_ATTRS(IR_IS("shape", dims, rank), IR_I("axis", axis), IR_S("dtype", "i64")));
}

static ir_vid scaled(struct fe_ctx *c, ir_vid v, int64_t by, int64_t plus) {
    if (by != 1) v = fe_e2(c, IR_OP_mul, v, fe_num(c, IR_I64, (double)by));
    return plus ? fe_e2(c, IR_OP_add, v, fe_num(c, IR_I64, (double)plus)) : v;
}

// How far apart elements of the input lie that are neighbours along a dim, in ONNX's index of a maximum: dims of the
// plane row by row or (storage_order 1) column by column.
static void index_steps(const struct ir_type *x, bool columns, int64_t *step) {
    int64_t plane = 1;
    for (int i = 0; i < x->rank - 2; i++) {
        const int d = columns ? 2 + i : x->rank - 1 - i;
        step[d] = plane;
        plane *= x->dims[d];
    }
    step[1] = plane;
    step[0] = plane * x->dims[1];
}

static ir_vid add_ramps(struct fe_ctx *c, ir_vid at, const int64_t *dims, int rank, int from, int to,
                        const int64_t *step) {
    for (int d = from; d < to; d++) {
        ir_vid r = scaled(c, ramp(c, rank, dims, d), step[d], 0);
        at = at == IR_NONE ? r : fe_e2(c, IR_OP_add, at, r);
    }
    return at;
}

// From positions in windows of one or two dims.
static ir_vid index_of_position(struct fe_ctx *c, ir_vid position, const struct ir_type *y, const struct fe_window *w,
                                const int64_t *step) {
    ir_vid pos = fe_cast(c, fe_reshape(c, position, y->rank, y->dims), IR_I64), at = IR_NONE;
    at = add_ramps(c, at, y->dims, y->rank, 0, 2, step);
    const int64_t width = w->kernel[w->k - 1];
    ir_vid size = fe_num(c, IR_I64, (double)width);
    for (int i = 0; i < w->k; i++) {
        ir_vid t = i == w->k - 1 ? fe_e2(c, IR_OP_rem, pos, size) : fe_e2(c, IR_OP_div, pos, size);
        ir_vid here = fe_e2(c, IR_OP_add, scaled(c, ramp(c, y->rank, y->dims, 2 + i), w->strides[i], -w->lo[i]),
                            scaled(c, t, w->dilations[i], 0));
        at = fe_e2(c, IR_OP_add, at, scaled(c, here, step[2 + i], 0));
    }
    return at;
}

bool fe_op_max_pool(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x;
    struct fe_window w;
    if (!enter(c, n, &x, &w)) return false;
    const struct ir_type t = *fe_typeof(c, x);
    if (t.dtype == IR_BOOL) return fe_fail(c, n, "its input is %s; expected numbers", fe_dims_text(c, &t));
    const bool indices = n->n_out > 1 && n->wanted[1], planes = t.dtype == IR_F32 && fits_planes(&w);
    int64_t step[IR_MAX_RANK];
    index_steps(&t, fe_attr_i(c, n, "storage_order", 0) != 0, step);
    const struct pool2 p = {IR_OP_max_pool, false, fe_attr_i(c, n, "ceil_mode", 0) != 0};
    if (planes && !indices) return fe_out(c, n, 0, by_planes(c, &p, x, &w));
    if (planes && w.k <= 2) {
        ir_vid position, y = pool_plane(c, &p, x, &w, 0, w.k == 2, &position);
        if (y == IR_NONE) return false;
        const struct ir_type yt = *fe_typeof(c, y);
        return fe_out(c, n, 1, index_of_position(c, position, &yt, &w, step)) && fe_out(c, n, 0, y);
    }
    struct found r = {x, indices ? add_ramps(c, IR_NONE, t.dims, t.rank, 0, t.rank, step) : IR_NONE};
    r = window_max(c, r, &w);
    return (!indices || fe_out(c, n, 1, r.at)) && fe_out(c, n, 0, r.v);
}

// Each element goes where its index says, among zeros. Indices are those of the smallest tensor whose pool has this
// size; where output_shape asks for more, zeros follow, and for less, they are cut off. They count through the whole
// batch: a sample's own are the rest of a division.
bool fe_op_max_unpool(struct fe_ctx *c, struct fe_node *n) {
    ir_vid in[2] = {fe_in(c, n, 0), fe_in(c, n, 1)};
    struct fe_window w;
    const struct fe_sym *shape;
    if (in[0] == IR_NONE || in[1] == IR_NONE) return fe_fail(c, n, "needs a tensor and its indices");
    fe_unify_batch(c, in, 2);
    const ir_vid x = in[0], index = in[1];
    const struct ir_type t = *fe_typeof(c, x), it = *fe_typeof(c, index);
    if (!fe_window_steps(c, n, &t, NULL, &w) || !fe_window_pads(c, n, &w) || !fe_ints(c, n, NULL, 2, &shape))
        return false;
    if (it.dtype != IR_I64 || !ir_same_dims(&it, &t))
        return fe_fail(c, n, "its indices must be INT64 in the shape %s, one for each element", fe_dims_text(c, &t));
    if (shape && shape->n != (size_t)t.rank)
        return fe_fail(c, n, "its output_shape has %zu sizes for %d dimensions", shape->n, t.rank);
    int64_t dims[IR_MAX_RANK] = {t.dims[0], t.dims[1]}, more[FE_MAX_SPATIAL], none[FE_MAX_SPATIAL] = {0},
            plane = t.dims[1], flat[2] = {t.dims[0], t.dims[1]};
    for (int i = 0; i < w.k; i++) {
        dims[2 + i] = (w.in[i] - 1) * w.strides[i] + w.kernel[i] - w.lo[i] - w.hi[i];
        int64_t wanted = dims[2 + i];
        if (shape && (!fe_num_dim(&shape->v[2 + i], &wanted) || wanted < 1))
            return fe_fail(c, n, "dimension %d of its output_shape is no size", 2 + i);
        if (w.in[i] < 1 || dims[2 + i] < 1 || !checked_mul(plane, dims[2 + i], &plane) || plane > INT64_C(1) << 40)
            return fe_fail(c, n, "its result has %lld elements in dimension %d", (long long)dims[2 + i], 2 + i);
        more[i] = wanted - dims[2 + i];
        flat[1] *= w.in[i];
    }
    const int64_t all[2] = {t.dims[0], plane};
    ir_vid zeros = fe_emit(c, IR_OP_fill, NULL, 0,
                           IR_ATTRS(IR_IS("shape", all, 2), IR_F("value", 0), IR_S("dtype", ir_dtype_name(t.dtype))));
    ir_vid own = fe_e2(c, IR_OP_rem, fe_reshape(c, index, 2, flat), fe_num(c, IR_I64, (double)plane));
    ir_vid y = fe_scatter_elements(c, zeros, own, fe_reshape(c, x, 2, flat), 1, "none");
    y = fe_reshape(c, y, t.rank, dims);
    for (int i = 0; i < w.k; i++) {
        if (more[i] < 0) y = fe_cut(c, y, 2 + i, 0, dims[2 + i] + more[i], 1);
        if (more[i] < 0) more[i] = 0;
    }
    return fe_out(c, n, 0, fe_pad(c, y, 2, w.k, none, more, NULL, 0));
}

// --- means

// How many elements each position of a window counts along dim i: those in the input or, with the padding, in both.
static ir_vid counts(struct fe_ctx *c, const struct fe_window *w, int i, bool include_pad, enum ir_dtype dtype) {
    const int64_t from = include_pad ? -w->lo[i] : 0, to = w->in[i] + (include_pad ? w->hi[i] : 0);
    struct fe_sym *s = fe_sym_new(c->a, dtype, 1, &w->out[i]);
    if (!s) return IR_NONE;
    for (int64_t o = 0; o < w->out[i]; o++)
        for (int64_t t = 0; t < w->kernel[i]; t++) {
            const int64_t at = o * w->strides[i] - w->lo[i] + t * w->dilations[i];
            s->v[o].f += at >= from && at < to;
        }
    int64_t dims[IR_MAX_RANK] = {w->out[i]};
    for (int k = i + 1; k < w->k; k++) dims[k - i] = 1;
    return fe_reshape(c, fe_vid(c, fe_val_sym(c, s)), w->k - i, dims);
}

bool fe_op_avg_pool(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x;
    struct fe_window w;
    if (!enter(c, n, &x, &w)) return false;
    const enum ir_dtype t = fe_typeof(c, x)->dtype;
    if (!ir_is_float(t)) return fe_fail(c, n, "its input must be floats");
    const struct pool2 p = {IR_OP_avg_pool, fe_attr_i(c, n, "count_include_pad", 0) != 0,
                            fe_attr_i(c, n, "ceil_mode", 0) != 0};
    bool dilated = false;
    for (int i = 0; i < w.k; i++) dilated |= w.dilations[i] != 1 && w.kernel[i] != 1;
    if (t == IR_F32 && !dilated && fits_planes(&w)) return fe_out(c, n, 0, by_planes(c, &p, x, &w));
    x = fe_window_sum(c, x, &w);
    for (int i = 0; i < w.k; i++) {
        ir_vid k = counts(c, &w, i, p.include_pad, t);
        if (k == IR_NONE) return fe_fail(c, n, "its result is too large in dimension %d", i + 2);
        x = fe_e2(c, IR_OP_div, x, k);
    }
    return fe_out(c, n, 0, x);
}

// --- norms: (sum |x|^p)^(1/p), whose slope is 0 where all are 0, as PyTorch has it

static ir_vid power(struct fe_ctx *c, ir_vid x, double p, bool flat) {
    if (x == IR_NONE || p == 1) return x;
    if (p == 0.5) return fe_emit(c, IR_OP_sqrt, &x, 1, IR_ATTRS(IR_I("flat", flat)));
    return fe_emit(c, IR_OP_pow, (ir_vid[]){x, fe_num(c, fe_typeof(c, x)->dtype, p)}, 2, IR_ATTRS(IR_I("flat", flat)));
}

static ir_vid powers(struct fe_ctx *c, ir_vid x, double p) {
    return p == 2 ? fe_e2(c, IR_OP_mul, x, x) : power(c, fe_e1(c, IR_OP_abs, x), p, false);
}

// An attribute that was a float at opset 1 and is an integer since.
static bool norm_of(struct fe_ctx *c, const struct fe_node *n, ir_vid x, double *p) {
    const Onnx__AttributeProto *a = fe_attr(n, "p");
    *p = !a ? 2 : a->type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT ? (double)a->f : (double)a->i;
    if (x == IR_NONE) return fe_fail(c, n, "operand 0 is missing");
    if (!(*p > 0 && *p < 1e6)) return fe_fail(c, n, "p = %g; expected a number above 0", *p);
    return ir_is_float(fe_typeof(c, x)->dtype) || fe_fail(c, n, "its input must be floats");
}

bool fe_op_lp_pool(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x;
    struct fe_window w;
    double p;
    if (!enter(c, n, &x, &w) || !norm_of(c, n, x, &p)) return false;
    return fe_out(c, n, 0, power(c, fe_window_sum(c, powers(c, x, p), &w), 1 / p, true));
}

static bool spatial_axes(struct fe_ctx *c, const struct fe_node *n, ir_vid x, int64_t *axes, size_t *k) {
    if (x == IR_NONE) return fe_fail(c, n, "operand 0 is missing");
    int rank = fe_typeof(c, x)->rank;
    if (rank < 3) return fe_fail(c, n, "its input has %d dimensions, expected at least 3", rank);
    for (int i = 2; i < rank; i++) axes[i - 2] = i;
    *k = (size_t)(rank - 2);
    return true;
}

bool fe_op_global_pool(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0);
    int64_t axes[IR_MAX_RANK];
    size_t k = 0;
    return spatial_axes(c, n, x, axes, &k) && fe_out(c, n, 0, fe_reduce(c, (enum ir_op)n->arg, x, axes, k, 1));
}

bool fe_op_global_lp_pool(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0);
    int64_t axes[IR_MAX_RANK];
    size_t k = 0;
    double p;
    if (!spatial_axes(c, n, x, axes, &k) || !norm_of(c, n, x, &p)) return false;
    return fe_out(c, n, 0, power(c, fe_reduce(c, IR_OP_reduce_sum, powers(c, x, p), axes, k, 1), 1 / p, true));
}
