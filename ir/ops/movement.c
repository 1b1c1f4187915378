// Ops that move elements: views (reshape, transpose, expand, slice, reverse) and copies (pad, concat, gather).
#include "ops_internal.h"

#include "ops_util.h"

#include <inttypes.h>

// --- reshape -------------------------------------------------------------------------------------------------------

bool ir_infer_reshape(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *x = ir_in_type(g, n, 0);
    size_t rank;
    const int64_t *shape = ir_attr_ints(n, "shape", &rank);
    if (rank > IR_MAX_RANK)
        return ir_fail(g, n, "shape has %zu dimensions; at most %d are supported", rank, IR_MAX_RANK);
    out[0] = ir_type_make(x->dtype, (int)rank, shape);
    if (!ir_check_type(g, n, out)) return false;
    if (ir_is_batched(x) != ir_is_batched(out) || ir_numel(x) != ir_numel(out))
        return ir_fail(g, n, "cannot reshape %s to %s: %" PRId64 "%s elements against %" PRId64 "%s", TYPE_TEXT(x),
                       TYPE_TEXT(out), ir_numel(x), ir_is_batched(x) ? "*N" : "", ir_numel(out),
                       ir_is_batched(out) ? "*N" : "");
    return true;
}

static void copy_all(const struct ir_tensor *y, const struct ir_tensor *x) {
    size_t count = ir_tensor_numel(y);
    for (size_t i = 0; i < count; i++) ir_tensor_copy_elem(y, i, x, i);
}
void ir_eval_reshape(EVAL_PARAMS) { (void)g, (void)n, copy_all(out[0], in[0]); }

void ir_vjp_reshape(VJP_PARAMS) {
    struct ir_type t = *ir_typeof(g, g->nodes[id].in[0]);
    if (want[0]) din[0] = ir_reshape(g, dout[0], t.rank, t.dims);
}

// --- transpose -----------------------------------------------------------------------------------------------------

static bool is_permutation(const int64_t *p, size_t n) {
    bool seen[IR_MAX_RANK] = {false};
    for (size_t i = 0; i < n; i++) {
        if (p[i] < 0 || p[i] >= (int64_t)n || seen[p[i]]) return false;
        seen[p[i]] = true;
    }
    return true;
}

static const int64_t *check_perm(struct ir_graph *g, const struct ir_node *n, const char *name) {
    const struct ir_type *x = ir_in_type(g, n, 0);
    size_t k;
    const int64_t *p = ir_attr_ints(n, name, &k);
    if (k != x->rank || !is_permutation(p, k)) {
        ir_fail(g, n, "%s = %s is not an order of the %d dimensions of %s", name, INTS_TEXT(p, k), x->rank,
                TYPE_TEXT(x));
        return NULL;
    }
    if (k && ir_is_batched(x) && p[0] != 0) {
        ir_fail(g, n, "%s = %s moves the batch dimension of %s; it must stay first", name, INTS_TEXT(p, k),
                TYPE_TEXT(x));
        return NULL;
    }
    static const int64_t nothing[1];
    return k ? p : nothing;
}

bool ir_infer_transpose(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *x = ir_in_type(g, n, 0);
    const int64_t *p = check_perm(g, n, "perm");
    if (!p) return false;
    int64_t dims[IR_MAX_RANK];
    for (int i = 0; i < x->rank; i++) dims[i] = x->dims[p[i]];
    out[0] = ir_type_make(x->dtype, x->rank, dims);
    return true;
}

void ir_eval_transpose(EVAL_PARAMS) {
    (void)g;
    size_t k;
    const int64_t *p = ir_attr_ints(n, "perm", &k);
    int64_t own[IR_MAX_RANK], strides[IR_MAX_RANK];
    ir_row_strides(&in[0]->type, own);
    for (size_t i = 0; i < k; i++) strides[i] = own[p[i]];
    for (struct ir_walk w = ir_walk_all(&out[0]->type); !w.done; ir_walk_next(&w))
        ir_tensor_copy_elem(out[0], w.linear, in[0], ir_offset(&w, strides));
}

void ir_vjp_transpose(VJP_PARAMS) {
    size_t k;
    const int64_t *p = ir_attr_ints(&g->nodes[id], "perm", &k);
    int64_t inverse[IR_MAX_RANK];
    for (size_t i = 0; i < k; i++) inverse[p[i]] = (int64_t)i;
    if (want[0]) din[0] = ir_transpose(g, dout[0], (int)k, inverse);
}

bool ir_infer_relayout(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const int64_t *p = check_perm(g, n, "order");
    if (!p) return false;
    out[0] = *ir_in_type(g, n, 0);
    for (int i = 0; i < out[0].rank; i++) out[0].perm[i] = (uint8_t)p[i];
    return true;
}

// --- expand --------------------------------------------------------------------------------------------------------

bool ir_infer_expand(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *x = ir_in_type(g, n, 0);
    size_t rank;
    const int64_t *shape = ir_attr_ints(n, "shape", &rank);
    if (rank > IR_MAX_RANK || rank < x->rank)
        return ir_fail(g, n, "cannot expand %s to the %zu dimensions of shape %s", TYPE_TEXT(x), rank,
                       INTS_TEXT(shape, rank));
    out[0] = ir_type_make(x->dtype, (int)rank, shape);
    for (int i = 0; i < x->rank; i++) {
        int64_t from = x->dims[i], to = shape[i + (int)rank - x->rank];
        if (from != to && from != 1) return ir_fail(g, n, "cannot expand %s to %s", TYPE_TEXT(x), TYPE_TEXT(out));
    }
    return ir_check_type(g, n, out);
}

void ir_eval_expand(EVAL_PARAMS) {
    (void)g, (void)n;
    int64_t strides[IR_MAX_RANK];
    ir_bcast_strides(&in[0]->type, out[0]->type.rank, strides);
    for (struct ir_walk w = ir_walk_all(&out[0]->type); !w.done; ir_walk_next(&w))
        ir_tensor_copy_elem(out[0], w.linear, in[0], ir_offset(&w, strides));
}

void ir_vjp_expand(VJP_PARAMS) {
    struct ir_type t = *ir_typeof(g, g->nodes[id].in[0]);
    if (want[0]) din[0] = ir_sum_to(g, dout[0], &t);
}

// --- slice, reverse ------------------------------------------------------------------------------------------------

struct slice_attrs {
    const int64_t *starts, *sizes, *steps;
};
static struct slice_attrs slice_of(const struct ir_node *n) {
    size_t k;
    return (struct slice_attrs){ir_attr_ints(n, "starts", &k), ir_attr_ints(n, "sizes", &k),
                                ir_attr_ints(n, "steps", &k)};
}

bool ir_infer_slice(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *x = ir_in_type(g, n, 0);
    const int64_t any = INT64_C(1) << 60;
    const int64_t *starts = ir_check_ints(g, n, "starts", x->rank, 0, any);
    const int64_t *sizes = starts ? ir_check_ints(g, n, "sizes", x->rank, -any, any) : NULL;
    const int64_t *steps = sizes ? ir_check_ints(g, n, "steps", x->rank, -any, any) : NULL;
    if (!steps) return false;
    for (int i = 0; i < x->rank; i++) {
        int64_t d = x->dims[i];
        if (d < 0) {
            if (starts[i] != 0 || sizes[i] != d || steps[i] != 1)
                return ir_fail(g, n, "cannot slice the batch dimension of %s; it must be taken whole", TYPE_TEXT(x));
            continue;
        }
        if (steps[i] == 0) return ir_fail(g, n, "step 0 in dimension %d", i);
        if (sizes[i] < 0) return ir_fail(g, n, "negative size %" PRId64 " in dimension %d", sizes[i], i);
        if (sizes[i] == 0) continue;
        // start + (size-1)*step stays inside [0, d), without computing a product that could overflow.
        int64_t room = steps[i] > 0 ? d - 1 - starts[i] : starts[i], step = steps[i] > 0 ? steps[i] : -steps[i];
        if (starts[i] >= d || sizes[i] - 1 > room / step)
            return ir_fail(g, n,
                           "slice start %" PRId64 ", size %" PRId64 ", step %" PRId64 " leaves dimension %d of %s",
                           starts[i], sizes[i], steps[i], i, TYPE_TEXT(x));
    }
    out[0] = ir_type_make(x->dtype, x->rank, sizes);
    return ir_check_type(g, n, out);
}

void ir_eval_slice(EVAL_PARAMS) {
    (void)g;
    struct slice_attrs a = slice_of(n);
    int64_t own[IR_MAX_RANK];
    ir_row_strides(&in[0]->type, own);
    for (struct ir_walk w = ir_walk_all(&out[0]->type); !w.done; ir_walk_next(&w)) {
        int64_t at = 0;
        for (int i = 0; i < w.rank; i++) at += (a.starts[i] + w.idx[i] * a.steps[i]) * own[i];
        ir_tensor_copy_elem(out[0], w.linear, in[0], (size_t)at);
    }
}

// The adjoint of a slice puts dy back where it came from: reversed where the step is negative, then padded, with
// steps-1 zeros between neighbours.
void ir_vjp_slice(VJP_PARAMS) {
    if (!want[0]) return;
    const struct ir_node *n = &g->nodes[id];
    struct ir_type t = *ir_in_type(g, n, 0);
    struct slice_attrs a = slice_of(n);
    int64_t axes[IR_MAX_RANK], lo[IR_MAX_RANK], hi[IR_MAX_RANK], steps[IR_MAX_RANK];
    size_t n_axes = 0;
    if (ir_numel(ir_typeof(g, dout[0])) == 0) return;
    for (int i = 0; i < t.rank; i++) {
        lo[i] = hi[i] = 0;
        steps[i] = 1;
        if (t.dims[i] < 0) continue;
        int64_t span = (a.sizes[i] - 1) * a.steps[i], first = a.steps[i] < 0 ? a.starts[i] + span : a.starts[i];
        if (a.steps[i] < 0 && a.sizes[i] > 1) axes[n_axes++] = i;
        lo[i] = first;
        hi[i] = t.dims[i] - 1 - first - (span < 0 ? -span : span);
        steps[i] = a.sizes[i] == 1 ? 1 : a.steps[i] < 0 ? -a.steps[i] : a.steps[i];
    }
    ir_vid dy = dout[0];
    if (n_axes) dy = ir_emit(g, IR_OP_reverse, &dy, 1, IR_ATTRS(IR_IS("axes", axes, n_axes)));
    din[0] = ir_emit(g, IR_OP_pad, &dy, 1,
                     IR_ATTRS(IR_IS("lo", lo, t.rank), IR_IS("hi", hi, t.rank), IR_IS("steps", steps, t.rank)));
}

bool ir_infer_reverse(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *x = ir_in_type(g, n, 0);
    size_t k;
    const int64_t *axes = ir_attr_ints(n, "axes", &k);
    for (size_t i = 0; i < k; i++) {
        if (axes[i] < 0 || axes[i] >= x->rank || (i && axes[i] <= axes[i - 1]))
            return ir_fail(g, n, "axes = %s: increasing dimensions of %s were expected", INTS_TEXT(axes, k),
                           TYPE_TEXT(x));
        if (x->dims[axes[i]] < 0) return ir_fail(g, n, "cannot reverse the batch dimension of %s", TYPE_TEXT(x));
    }
    out[0] = ir_type_make(x->dtype, x->rank, x->dims);
    return true;
}

void ir_eval_reverse(EVAL_PARAMS) {
    (void)g;
    size_t k;
    const int64_t *axes = ir_attr_ints(n, "axes", &k);
    int64_t own[IR_MAX_RANK];
    ir_row_strides(&in[0]->type, own);
    for (struct ir_walk w = ir_walk_all(&out[0]->type); !w.done; ir_walk_next(&w)) {
        struct ir_walk from = w;
        for (size_t i = 0; i < k; i++) from.idx[axes[i]] = w.dims[axes[i]] - 1 - w.idx[axes[i]];
        ir_tensor_copy_elem(out[0], w.linear, in[0], ir_offset(&from, own));
    }
}

void ir_vjp_reverse(VJP_PARAMS) {
    size_t k;
    const int64_t *axes = ir_attr_ints(&g->nodes[id], "axes", &k);
    if (want[0]) din[0] = ir_emit(g, IR_OP_reverse, dout, 1, IR_ATTRS(IR_IS("axes", axes, k)));
}

// --- pad -----------------------------------------------------------------------------------------------------------

static int64_t pad_step(const struct ir_node *n, int i) {
    size_t k;
    const int64_t *steps = ir_attr_ints(n, "steps", &k);
    return k ? steps[i] : 1;
}

bool ir_infer_pad(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *x = ir_in_type(g, n, 0);
    const int64_t *lo = ir_check_ints(g, n, "lo", x->rank, 0, IR_DIM_MAX);
    const int64_t *hi = lo ? ir_check_ints(g, n, "hi", x->rank, 0, IR_DIM_MAX) : NULL;
    if (!hi) return false;
    size_t n_steps;
    ir_attr_ints(n, "steps", &n_steps);
    if (n_steps && !ir_check_ints(g, n, "steps", x->rank, 1, IR_WINDOW_MAX)) return false;
    int64_t dims[IR_MAX_RANK];
    for (int i = 0; i < x->rank; i++) {
        int64_t d = x->dims[i], step = pad_step(n, i);
        if (d < 0 && (lo[i] || hi[i] || step != 1))
            return ir_fail(g, n, "cannot pad the batch dimension of %s", TYPE_TEXT(x));
        if (d > IR_DIM_MAX) return ir_fail(g, n, "operand %s is too large to pad", TYPE_TEXT(x));
        dims[i] = d < 0 ? d : lo[i] + hi[i] + (d ? (d - 1) * step + 1 : 0);
    }
    out[0] = ir_type_make(x->dtype, x->rank, dims);
    return ir_check_type(g, n, out);
}

void ir_eval_pad(EVAL_PARAMS) {
    (void)g;
    struct ir_tensor *y = out[0];
    size_t k, count = ir_tensor_numel(y);
    const int64_t *lo = ir_attr_ints(n, "lo", &k);
    double value = ir_attr_f(n, "value");
    for (size_t i = 0; i < count; i++) {
        if (y->f)
            y->f[i] = value;
        else
            y->i[i] = ir_int_of_float(y->type.dtype, value);
    }
    int64_t own[IR_MAX_RANK];
    ir_row_strides(&y->type, own);
    for (struct ir_walk w = ir_walk_all(&in[0]->type); !w.done; ir_walk_next(&w)) {
        int64_t at = 0;
        for (int i = 0; i < w.rank; i++) at += (lo[i] + w.idx[i] * pad_step(n, i)) * own[i];
        ir_tensor_copy_elem(y, (size_t)at, in[0], w.linear);
    }
}

void ir_vjp_pad(VJP_PARAMS) {
    if (!want[0]) return;
    const struct ir_node *n = &g->nodes[id];
    struct ir_type t = *ir_in_type(g, n, 0);
    size_t k;
    const int64_t *lo = ir_attr_ints(n, "lo", &k);
    int64_t steps[IR_MAX_RANK];
    for (int i = 0; i < t.rank; i++) steps[i] = pad_step(n, i);
    din[0] =
        ir_emit(g, IR_OP_slice, dout, 1,
                IR_ATTRS(IR_IS("starts", lo, t.rank), IR_IS("sizes", t.dims, t.rank), IR_IS("steps", steps, t.rank)));
}

// --- concat --------------------------------------------------------------------------------------------------------

bool ir_infer_concat(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *a = ir_in_type(g, n, 0);
    int axis = ir_check_axis(g, n, "axis", a->rank);
    if (axis < 0) return false;
    out[0] = ir_type_make(a->dtype, a->rank, a->dims);
    for (size_t k = 0; k < n->n_in; k++) {
        const struct ir_type *t = ir_in_type(g, n, k);
        bool ok = t->rank == a->rank && t->dtype == a->dtype;
        for (int i = 0; ok && i < a->rank; i++) ok = i == axis || t->dims[i] == a->dims[i];
        if (!ok)
            return ir_fail(g, n, "operand %zu is %s; to concatenate it with %s, all but dimension %d must agree", k,
                           TYPE_TEXT(t), TYPE_TEXT(a), axis);
        if (t->dims[axis] < 0) return ir_fail(g, n, "cannot concatenate %s along its batch dimension", TYPE_TEXT(t));
        if (t->dims[axis] > IR_DIM_MAX) return ir_fail(g, n, "operand %s is too large", TYPE_TEXT(t));
        out[0].dims[axis] = k ? out[0].dims[axis] + t->dims[axis] : t->dims[axis];
    }
    return ir_check_type(g, n, out);
}

void ir_eval_concat(EVAL_PARAMS) {
    (void)g;
    int axis = ir_axis_of(n, "axis", out[0]->type.rank);
    int64_t own[IR_MAX_RANK], start = 0;
    ir_row_strides(&out[0]->type, own);
    for (size_t k = 0; k < n->n_in; k++) {
        for (struct ir_walk w = ir_walk_all(&in[k]->type); !w.done; ir_walk_next(&w))
            ir_tensor_copy_elem(out[0], ir_offset(&w, own) + (size_t)(start * own[axis]), in[k], w.linear);
        start += in[k]->type.dims[axis];
    }
}

void ir_vjp_concat(VJP_PARAMS) {
    int axis = ir_axis_of(&g->nodes[id], "axis", ir_typeof(g, dout[0])->rank);
    int64_t starts[IR_MAX_RANK] = {0}, steps[IR_MAX_RANK];
    for (int i = 0; i < IR_MAX_RANK; i++) steps[i] = 1;
    for (size_t k = 0; k < g->nodes[id].n_in; k++) {
        struct ir_type t = *ir_typeof(g, g->nodes[id].in[k]);
        if (want[k])
            din[k] = ir_emit(g, IR_OP_slice, dout, 1,
                             IR_ATTRS(IR_IS("starts", starts, t.rank), IR_IS("sizes", t.dims, t.rank),
                                      IR_IS("steps", steps, t.rank)));
        starts[axis] += t.dims[axis];
    }
}

// --- interleave ----------------------------------------------------------------------------------------------------

bool ir_infer_interleave(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *a = ir_in_type(g, n, 0);
    int axis = ir_check_axis(g, n, "axis", a->rank);
    if (axis < 0) return false;
    for (size_t k = 1; k < n->n_in; k++) {
        const struct ir_type *t = ir_in_type(g, n, k);
        if (t->dtype != a->dtype || !ir_same_dims(t, a))
            return ir_fail(g, n, "operand %zu is %s; to interleave it with %s, they must be of one type", k,
                           TYPE_TEXT(t), TYPE_TEXT(a));
    }
    if (a->dims[axis] < 0) return ir_fail(g, n, "cannot interleave %s along its batch dimension", TYPE_TEXT(a));
    if (a->dims[axis] > IR_DIM_MAX / 4) return ir_fail(g, n, "operand %s is too large", TYPE_TEXT(a));
    out[0] = ir_type_make(a->dtype, a->rank, a->dims);
    out[0].dims[axis] *= n->n_in;
    return ir_check_type(g, n, out);
}

void ir_eval_interleave(EVAL_PARAMS) {
    (void)g;
    int axis = ir_axis_of(n, "axis", out[0]->type.rank);
    int64_t own[IR_MAX_RANK];
    ir_row_strides(&out[0]->type, own);
    for (size_t k = 0; k < n->n_in; k++)
        for (struct ir_walk w = ir_walk_all(&in[k]->type); !w.done; ir_walk_next(&w)) {
            struct ir_walk to = w;
            to.idx[axis] = w.idx[axis] * n->n_in + (int64_t)k;
            ir_tensor_copy_elem(out[0], ir_offset(&to, own), in[k], w.linear);
        }
}

void ir_vjp_interleave(VJP_PARAMS) {
    const struct ir_node *n = &g->nodes[id];
    const size_t count = n->n_in; // emitting may move the nodes
    struct ir_type t = *ir_in_type(g, n, 0);
    int axis = ir_axis_of(n, "axis", t.rank);
    int64_t starts[IR_MAX_RANK] = {0}, steps[IR_MAX_RANK];
    for (int i = 0; i < IR_MAX_RANK; i++) steps[i] = i == axis ? (int64_t)count : 1;
    for (size_t k = 0; k < count; k++) {
        starts[axis] = (int64_t)k;
        if (want[k])
            din[k] = ir_emit(g, IR_OP_slice, dout, 1,
                             IR_ATTRS(IR_IS("starts", starts, t.rank), IR_IS("sizes", t.dims, t.rank),
                                      IR_IS("steps", steps, t.rank)));
    }
}

// --- gather --------------------------------------------------------------------------------------------------------

// dims of gather's result: x.dims[..axis] + idx.dims + x.dims[axis+1..]; false when there are too many.
static bool gather_dims(const int64_t *x, int x_rank, const struct ir_type *idx, int axis, int *rank, int64_t *dims) {
    if (x_rank - 1 + idx->rank > IR_MAX_RANK) return false;
    int r = 0;
    for (int i = 0; i < axis; i++) dims[r++] = x[i];
    for (int i = 0; i < idx->rank; i++) dims[r++] = idx->dims[i];
    for (int i = axis + 1; i < x_rank; i++) dims[r++] = x[i];
    *rank = r;
    return true;
}

static bool check_indices(struct ir_graph *g, const struct ir_node *n, int axis) {
    const struct ir_type *idx = ir_in_type(g, n, 1);
    if (!ir_is_int(idx->dtype)) return ir_fail(g, n, "the indices are %s; integers were expected", TYPE_TEXT(idx));
    if (ir_is_batched(idx) && axis != 0)
        return ir_fail(g, n, "indices %s depend on the batch and would put it in dimension %d of the result",
                       TYPE_TEXT(idx), axis);
    return true;
}

bool ir_infer_gather(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *x = ir_in_type(g, n, 0), *idx = ir_in_type(g, n, 1);
    int axis = ir_check_axis(g, n, "axis", x->rank), rank;
    if (axis < 0 || !check_indices(g, n, axis)) return false;
    int64_t dims[IR_MAX_RANK];
    if (!gather_dims(x->dims, x->rank, idx, axis, &rank, dims))
        return ir_fail(g, n, "gathering %s with indices %s gives more than %d dimensions", TYPE_TEXT(x), TYPE_TEXT(idx),
                       IR_MAX_RANK);
    out[0] = ir_type_make(x->dtype, rank, dims);
    return ir_check_type(g, n, out);
}

// For each element of y = gather(x, idx): where it is in x, or -1 for an index out of range (y has 0 there, dy is
// dropped).
static int64_t gather_source(const struct ir_walk *y, const struct ir_type *x, const int64_t *x_strides,
                             const struct ir_tensor *idx, int axis) {
    int64_t at = 0, idx_strides[IR_MAX_RANK], which = 0;
    ir_row_strides(&idx->type, idx_strides);
    for (int i = 0; i < idx->type.rank; i++) which += y->idx[axis + i] * idx_strides[i];
    int64_t pick = idx->i[which];
    if (pick < 0) pick += x->dims[axis];
    if (pick < 0 || pick >= x->dims[axis]) return -1;
    for (int i = 0; i < x->rank; i++) {
        int64_t k = i < axis ? y->idx[i] : i == axis ? pick : y->idx[i - 1 + idx->type.rank];
        at += k * x_strides[i];
    }
    return at;
}

void ir_eval_gather(EVAL_PARAMS) {
    (void)g;
    const struct ir_type *x = &in[0]->type;
    int axis = ir_axis_of(n, "axis", x->rank);
    int64_t strides[IR_MAX_RANK];
    ir_row_strides(x, strides);
    for (struct ir_walk w = ir_walk_all(&out[0]->type); !w.done; ir_walk_next(&w)) {
        int64_t from = gather_source(&w, x, strides, in[1], axis);
        if (from >= 0) ir_tensor_copy_elem(out[0], w.linear, in[0], (size_t)from);
    }
}

void ir_vjp_gather(VJP_PARAMS) {
    const struct ir_node *n = &g->nodes[id];
    struct ir_type t = *ir_in_type(g, n, 0);
    int64_t axis = ir_axis_of(n, "axis", t.rank);
    ir_vid in[2] = {dout[0], n->in[1]};
    if (want[0])
        din[0] = ir_emit(g, IR_OP_gather_grad, in, 2, IR_ATTRS(IR_I("axis", axis), IR_IS("shape", t.dims, t.rank)));
}

bool ir_infer_gather_grad(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *dy = ir_in_type(g, n, 0), *idx = ir_in_type(g, n, 1);
    size_t x_rank;
    const int64_t *shape = ir_attr_ints(n, "shape", &x_rank);
    if (x_rank > IR_MAX_RANK)
        return ir_fail(g, n, "shape has %zu dimensions; at most %d are supported", x_rank, IR_MAX_RANK);
    int axis = ir_check_axis(g, n, "axis", (int)x_rank), rank;
    if (axis < 0 || !check_indices(g, n, axis)) return false;
    int64_t dims[IR_MAX_RANK];
    bool ok = gather_dims(shape, (int)x_rank, idx, axis, &rank, dims) && rank == dy->rank;
    for (int i = 0; ok && i < rank; i++) ok = dims[i] == dy->dims[i];
    if (!ok)
        return ir_fail(g, n, "gradient %s does not fit indices %s and shape %s", TYPE_TEXT(dy), TYPE_TEXT(idx),
                       INTS_TEXT(shape, x_rank));
    out[0] = ir_type_make(dy->dtype, (int)x_rank, shape);
    return ir_check_type(g, n, out);
}

void ir_eval_gather_grad(EVAL_PARAMS) {
    (void)g;
    const struct ir_type *x = &out[0]->type;
    int axis = ir_axis_of(n, "axis", x->rank);
    int64_t strides[IR_MAX_RANK];
    ir_row_strides(x, strides);
    size_t count = ir_tensor_numel(out[0]);
    for (size_t i = 0; i < count; i++) out[0]->f[i] = 0;
    for (struct ir_walk w = ir_walk_all(&in[0]->type); !w.done; ir_walk_next(&w)) {
        int64_t to = gather_source(&w, x, strides, in[1], axis);
        if (to >= 0) out[0]->f[to] += in[0]->f[w.linear];
    }
}

// --- take_rows -----------------------------------------------------------------------------------------------------

bool ir_infer_take_rows(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *x = ir_in_type(g, n, 0), *row = ir_in_type(g, n, 1);
    if (!ir_check_float(g, n, 0)) return false;
    if (x->rank < 1 || row->dtype != IR_I64 || row->rank != 1 || row->dims[0] != x->dims[0])
        return ir_fail(g, n, "rows of %s are taken by numbers %s; expected as many int64 as it has rows", TYPE_TEXT(x),
                       TYPE_TEXT(row));
    out[0] = *x;
    return true;
}

void ir_eval_take_rows(EVAL_PARAMS) {
    (void)g, (void)n;
    const size_t count = ir_tensor_numel(in[1]), width = count ? ir_tensor_numel(in[0]) / count : 0;
    for (size_t i = 0; i < count; i++) {
        const int64_t from = in[1]->i[i];
        for (size_t j = 0; j < width && from >= 0 && from < (int64_t)count; j++)
            ir_tensor_copy_elem(out[0], i * width + j, in[0], (size_t)from * width + j);
    }
}
