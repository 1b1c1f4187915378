// Elements picked and placed by indices along one axis, the largest ones, and sums up to each element.
#include "ops_internal.h"

#include "ops_util.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

// --- gather_elements, scatter_elements -----------------------------------------------------------------------------

// Dims [from, to) of the index are x's, or all 1: what is picked is then the same all along them.
static bool fits(const struct ir_type *x, const struct ir_type *index, int from, int to) {
    bool same = true, ones = true;
    for (int i = from; i < to; i++) {
        same &= index->dims[i] == x->dims[i];
        ones &= index->dims[i] == 1;
    }
    return same || ones;
}

// The type of gather_elements(x, index).
static bool picked(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *x = ir_in_type(g, n, 0), *index = ir_in_type(g, n, 1);
    int axis = ir_check_axis(g, n, "axis", x->rank);
    if (axis < 0) return false;
    if (!ir_is_int(index->dtype)) return ir_fail(g, n, "the indices are %s; integers were expected", TYPE_TEXT(index));
    if (index->rank != x->rank || !fits(x, index, 0, axis) || !fits(x, index, axis + 1, x->rank))
        return ir_fail(g, n, "indices %s do not fit %s along dimension %d", TYPE_TEXT(index), TYPE_TEXT(x), axis);
    out[0] = ir_type_make(x->dtype, x->rank, x->dims);
    out[0].dims[axis] = index->dims[axis];
    return ir_check_type(g, n, out);
}

bool ir_infer_gather_elements(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    return picked(g, n, out);
}

static const char *const reductions[] = {"none", "add", "mul", "max", "min"};
enum reduction { NONE, ADD, MUL, MAX, MIN, REDUCTIONS };

static enum reduction reduction_of(const struct ir_node *n) {
    const char *name = ir_attr_s(n, "reduction");
    int r = 0;
    while (r < REDUCTIONS && strcmp(reductions[r], name)) r++;
    return (enum reduction)r;
}

bool ir_infer_scatter_elements(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *x = ir_in_type(g, n, 0), *updates = ir_in_type(g, n, 2);
    struct ir_type want;
    if (!picked(g, n, &want)) return false;
    if (updates->dtype != x->dtype || !ir_same_dims(updates, &want))
        return ir_fail(g, n, "updates %s; %s was expected", TYPE_TEXT(updates), TYPE_TEXT(&want));
    enum reduction r = reduction_of(n);
    if (r == REDUCTIONS) return ir_fail(g, n, "unknown reduction '%s'", ir_attr_s(n, "reduction"));
    if (r != NONE && x->dtype == IR_BOOL)
        return ir_fail(g, n, "operand 0 is %s; a tensor of numbers was expected", TYPE_TEXT(x));
    out[0] = ir_type_make(x->dtype, x->rank, x->dims);
    return true;
}

// Where element w of the picked tensor is in x; -1 outside.
static int64_t place_of(const struct ir_walk *w, const struct ir_type *x, const struct ir_tensor *index, int axis) {
    int64_t own[IR_MAX_RANK], along[IR_MAX_RANK];
    ir_row_strides(x, own);
    ir_bcast_strides(&index->type, x->rank, along);
    struct ir_walk at = *w;
    int64_t pick = index->i[ir_offset(w, along)];
    if (pick < 0) pick += x->dims[axis];
    if (pick < 0 || pick >= x->dims[axis]) return -1;
    at.idx[axis] = pick;
    return (int64_t)ir_offset(&at, own);
}

void ir_eval_gather_elements(EVAL_PARAMS) {
    (void)g;
    int axis = ir_axis_of(n, "axis", in[0]->type.rank);
    for (struct ir_walk w = ir_walk_all(&out[0]->type); !w.done; ir_walk_next(&w)) {
        int64_t from = place_of(&w, &in[0]->type, in[1], axis);
        if (from >= 0) ir_tensor_copy_elem(out[0], w.linear, in[0], (size_t)from);
    }
}

static double reduce_f(enum reduction r, double a, double b) {
    switch (r) {
    case ADD:
        return a + b;
    case MUL:
        return a * b;
    case MAX:
        return a > b || isnan(a) ? a : b;
    case MIN:
        return a < b || isnan(a) ? a : b;
    default:
        return b;
    }
}

static int64_t reduce_i(enum reduction r, enum ir_dtype t, int64_t a, int64_t b) {
    switch (r) {
    case ADD:
        return ir_wrap_int(t, (int64_t)((uint64_t)a + (uint64_t)b));
    case MUL:
        return ir_wrap_int(t, (int64_t)((uint64_t)a * (uint64_t)b));
    case MAX:
        return ir_int_compare(t, a, b) > 0 ? a : b;
    case MIN:
        return ir_int_compare(t, a, b) < 0 ? a : b;
    default:
        return b;
    }
}

void ir_eval_scatter_elements(EVAL_PARAMS) {
    (void)g;
    struct ir_tensor *y = out[0];
    int axis = ir_axis_of(n, "axis", y->type.rank);
    enum reduction r = reduction_of(n);
    size_t count = ir_tensor_numel(y);
    for (size_t i = 0; i < count; i++) ir_tensor_copy_elem(y, i, in[0], i);
    for (struct ir_walk w = ir_walk_all(&in[2]->type); !w.done; ir_walk_next(&w)) {
        int64_t to = place_of(&w, &y->type, in[1], axis);
        if (to < 0) continue;
        if (y->f)
            y->f[to] = reduce_f(r, y->f[to], in[2]->f[w.linear]);
        else
            y->i[to] = reduce_i(r, y->type.dtype, y->i[to], in[2]->i[w.linear]);
    }
}

static ir_vid pick(struct ir_graph *g, ir_vid x, ir_vid index, int64_t axis) {
    return ir_emit(g, IR_OP_gather_elements, (ir_vid[]){x, index}, 2, IR_ATTRS(IR_I("axis", axis)));
}

static ir_vid place(struct ir_graph *g, ir_vid x, ir_vid index, ir_vid updates, int64_t axis, enum reduction r) {
    return ir_emit(g, IR_OP_scatter_elements, (ir_vid[]){x, index, updates}, 3,
                   IR_ATTRS(IR_I("axis", axis), IR_S("reduction", reductions[r])));
}

static ir_vid filled_like(struct ir_graph *g, ir_vid like, double v) {
    struct ir_type t = *ir_typeof(g, like);
    return ir_emit(g, IR_OP_fill, NULL, 0,
                   IR_ATTRS(IR_IS("shape", t.dims, t.rank), IR_F("value", v), IR_S("dtype", ir_dtype_name(t.dtype))));
}

void ir_vjp_gather_elements(VJP_PARAMS) {
    if (!want[0]) return;
    ir_vid x = g->nodes[id].in[0], index = g->nodes[id].in[1];
    int64_t axis = ir_axis_of(&g->nodes[id], "axis", ir_typeof(g, x)->rank);
    din[0] = place(g, filled_like(g, x, 0), index, dout[0], axis, ADD);
}

// Each factor's gradient is dy times all the others of its element: their product by division where no factor is 0, or
// the product of what is not 0 for the one that is.
static void mul_gradient(struct ir_graph *g, const ir_vid *in, int64_t axis, ir_vid dy, const bool *want, ir_vid *din) {
    ir_vid x = in[0], index = in[1], u = in[2];
    enum ir_dtype t = ir_typeof(g, x)->dtype;
    ir_vid zero = ir_const_like(g, x, 0), one = ir_const_like(g, x, 1);
    if (want[0]) din[0] = place(g, dy, index, u, axis, MUL);
    if (!want[2]) return;
    ir_vid x0 = ir_binary(g, IR_OP_eq, x, zero), u0 = ir_binary(g, IR_OP_eq, u, zero);
    ir_vid zeros = place(g, ir_cast(g, x0, t), index, ir_cast(g, u0, t), axis, ADD);
    ir_vid rest = place(g, ir_where(g, x0, one, x), index, ir_where(g, u0, one, u), axis, MUL);
    ir_vid alone = ir_where(g, ir_binary(g, IR_OP_eq, zeros, one), rest, zero),
           none = ir_where(g, ir_binary(g, IR_OP_eq, zeros, zero), rest, zero);
    ir_vid others =
        ir_where(g, u0, pick(g, alone, index, axis), ir_div(g, pick(g, none, index, axis), ir_where(g, u0, one, u)));
    din[2] = ir_mul(g, pick(g, dy, index, axis), others);
}

static void extreme_gradient(struct ir_graph *g, const ir_vid *in, ir_vid y, int64_t axis, ir_vid dy, const bool *want,
                             ir_vid *din) {
    ir_vid x = in[0], index = in[1], u = in[2], zero = ir_const_like(g, x, 0);
    enum ir_dtype t = ir_typeof(g, x)->dtype;
    ir_vid kept = ir_binary(g, IR_OP_eq, x, y), taken = ir_binary(g, IR_OP_eq, u, pick(g, y, index, axis));
    ir_vid ties = place(g, ir_cast(g, kept, t), index, ir_cast(g, taken, t), axis, ADD);
    ir_vid part = ir_div(g, dy, ties); // a NaN has no ties, and no gradient
    if (want[0]) din[0] = ir_where(g, kept, part, zero);
    if (want[2]) din[2] = ir_where(g, taken, pick(g, part, index, axis), zero);
}

void ir_vjp_scatter_elements(VJP_PARAMS) {
    const ir_vid in[3] = {g->nodes[id].in[0], g->nodes[id].in[1], g->nodes[id].in[2]}, y = g->nodes[id].out[0];
    int64_t axis = ir_axis_of(&g->nodes[id], "axis", ir_typeof(g, y)->rank);
    enum reduction r = reduction_of(&g->nodes[id]);
    ir_vid dy = dout[0];
    if (r == MUL) {
        mul_gradient(g, in, axis, dy, want, din);
    } else if (r == MAX || r == MIN) {
        extreme_gradient(g, in, y, axis, dy, want, din);
    } else {
        if (want[0]) din[0] = r == ADD ? dy : place(g, dy, in[1], filled_like(g, in[2], 0), axis, NONE);
        if (want[2]) din[2] = pick(g, dy, in[1], axis);
    }
}

// --- top_k ---------------------------------------------------------------------------------------------------------

#define TOP_K_MOST (INT64_C(1) << 24)

bool ir_infer_top_k(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *x = ir_in_type(g, n, 0);
    int axis = ir_check_axis(g, n, "axis", x->rank);
    int64_t k = ir_attr_i(n, "k");
    if (axis < 0) return false;
    if (x->dtype == IR_BOOL) return ir_fail(g, n, "operand 0 is %s; a tensor of numbers was expected", TYPE_TEXT(x));
    if (x->dims[axis] < 0) return ir_fail(g, n, "cannot sort along the batch dimension of %s", TYPE_TEXT(x));
    if (x->dims[axis] > TOP_K_MOST)
        return ir_fail(g, n, "dimension %d of %s; at most %" PRId64 " elements are sorted", axis, TYPE_TEXT(x),
                       TOP_K_MOST);
    if (k < 1 || k > x->dims[axis]) return ir_fail(g, n, "k = %" PRId64 " of %" PRId64 " elements", k, x->dims[axis]);
    out[0] = ir_type_make(x->dtype, x->rank, x->dims);
    out[0].dims[axis] = k;
    out[1] = out[0];
    out[1].dtype = IR_I64;
    return true;
}

// Whether element a is to come before b, and not only because of its place.
static bool precedes(const struct ir_tensor *x, size_t a, size_t b, bool largest) {
    if (!x->f) {
        int order = ir_int_compare(x->type.dtype, x->i[a], x->i[b]);
        return largest ? order > 0 : order < 0;
    }
    double p = x->f[a], q = x->f[b];
    if (isnan(p) || isnan(q)) return largest ? !isnan(q) : !isnan(p);
    return largest ? p > q : p < q;
}

void ir_eval_top_k(EVAL_PARAMS) {
    (void)g;
    const struct ir_tensor *x = in[0];
    int axis = ir_axis_of(n, "axis", x->type.rank);
    bool largest = ir_attr_i(n, "largest") != 0;
    int64_t own[IR_MAX_RANK], to[IR_MAX_RANK];
    ir_row_strides(&x->type, own);
    ir_row_strides(&out[0]->type, to);
    for (struct ir_walk w = ir_walk_all(&x->type); !w.done; ir_walk_next(&w)) {
        int64_t d = w.idx[axis], before = 0;
        size_t row = w.linear - (size_t)(d * own[axis]);
        for (int64_t k = 0; k < x->type.dims[axis]; k++) {
            size_t other = row + (size_t)(k * own[axis]);
            bool tie = !precedes(x, other, w.linear, largest) && !precedes(x, w.linear, other, largest);
            before += tie ? k < d : precedes(x, other, w.linear, largest);
        }
        if (before >= out[0]->type.dims[axis]) continue;
        struct ir_walk at = w;
        at.idx[axis] = before;
        size_t i = ir_offset(&at, to);
        ir_tensor_copy_elem(out[0], i, x, w.linear);
        out[1]->i[i] = d;
    }
}

void ir_vjp_top_k(VJP_PARAMS) {
    if (!want[0] || dout[0] == IR_NONE) return;
    ir_vid x = g->nodes[id].in[0], index = g->nodes[id].out[1];
    int64_t axis = ir_axis_of(&g->nodes[id], "axis", ir_typeof(g, x)->rank);
    din[0] = place(g, filled_like(g, x, 0), index, dout[0], axis, ADD);
}

// --- cum_sum, cum_prod ---------------------------------------------------------------------------------------------

bool ir_infer_cumulate(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *x = ir_in_type(g, n, 0);
    if (ir_check_axis(g, n, "axis", x->rank) < 0) return false;
    if (x->dtype == IR_BOOL) return ir_fail(g, n, "operand 0 is %s; a tensor of numbers was expected", TYPE_TEXT(x));
    out[0] = ir_type_make(x->dtype, x->rank, x->dims);
    return true;
}

void ir_eval_cumulate(EVAL_PARAMS) {
    (void)g;
    const struct ir_tensor *x = in[0], *y = out[0];
    int axis = ir_axis_of(n, "axis", x->type.rank);
    enum reduction r = n->op == IR_OP_cum_sum ? ADD : MUL;
    bool exclusive = ir_attr_i(n, "exclusive") != 0, reverse = ir_attr_i(n, "reverse") != 0;
    int64_t own[IR_MAX_RANK], len = x->type.dims[axis];
    ir_row_strides(&x->type, own);
    for (struct ir_walk w = ir_walk_all(&x->type); !w.done; ir_walk_next(&w)) {
        int64_t at = reverse ? len - 1 - w.idx[axis] : w.idx[axis], step = reverse ? -own[axis] : own[axis];
        size_t first = w.linear - (size_t)(at * step);
        double f = r == MUL;
        int64_t i = r == MUL;
        for (int64_t k = 0; k < at + !exclusive; k++) {
            size_t from = first + (size_t)(k * step);
            if (x->f)
                f = reduce_f(r, f, x->f[from]);
            else
                i = reduce_i(r, x->type.dtype, i, x->i[from]);
        }
        if (y->f)
            y->f[w.linear] = f;
        else
            y->i[w.linear] = i;
    }
}

struct cumulation {
    int64_t axis, exclusive, reverse;
};

static struct cumulation cumulation_of(const struct ir_graph *g, ir_nid id) {
    const struct ir_node *n = &g->nodes[id];
    return (struct cumulation){ir_axis_of(n, "axis", ir_in_type(g, n, 0)->rank), ir_attr_i(n, "exclusive"),
                               ir_attr_i(n, "reverse")};
}

static ir_vid cumulated(struct ir_graph *g, enum ir_op op, ir_vid x, struct cumulation c) {
    return ir_emit(g, op, &x, 1,
                   IR_ATTRS(IR_I("axis", c.axis), IR_I("exclusive", c.exclusive), IR_I("reverse", c.reverse)));
}

static struct cumulation turned(struct cumulation c) {
    c.reverse = !c.reverse;
    return c;
}

void ir_vjp_cum_sum(VJP_PARAMS) {
    if (want[0]) din[0] = cumulated(g, IR_OP_cum_sum, dout[0], turned(cumulation_of(g, id)));
}

// Up to the first zero of a row dx = (sum of dy * y from there on) / x; at it the same with products that leave it out;
// behind it every product has that zero.
void ir_vjp_cum_prod(VJP_PARAMS) {
    if (!want[0]) return;
    struct cumulation c = cumulation_of(g, id), plain = {c.axis, 0, c.reverse};
    ir_vid x = g->nodes[id].in[0], y = g->nodes[id].out[0], dy = dout[0];
    enum ir_dtype t = ir_typeof(g, x)->dtype;
    ir_vid zero = ir_const_like(g, x, 0), one = ir_const_like(g, x, 1), is_zero = ir_binary(g, IR_OP_eq, x, zero);
    ir_vid zeros = cumulated(g, IR_OP_cum_sum, ir_cast(g, is_zero, t), plain);
    ir_vid first = ir_binary(g, IR_OP_and, is_zero, ir_binary(g, IR_OP_eq, zeros, one));
    ir_vid without = cumulated(g, IR_OP_cum_prod, ir_where(g, first, one, x), c);
    ir_vid before = cumulated(g, IR_OP_cum_sum, ir_mul(g, dy, y), turned(c)),
           at = cumulated(g, IR_OP_cum_sum, ir_mul(g, dy, without), turned(c));
    ir_vid quotient = ir_div(g, before, ir_where(g, is_zero, one, x));
    din[0] = ir_where(g, ir_binary(g, IR_OP_eq, zeros, zero), quotient, ir_where(g, first, at, zero));
}
