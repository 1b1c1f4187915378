// Reductions over a set of dims, and the order of elements. `axes` are increasing and in range (ir_reduce normalises);
// a reduction over dimension 0 of a batched value sums over the whole batch and gives an unbatched result.
#include "ops_internal.h"

#include "ops_util.h"

#include <math.h>

static bool is_reduced(const int64_t *axes, size_t n_axes, int dim) {
    for (size_t i = 0; i < n_axes; i++)
        if (axes[i] == dim) return true;
    return false;
}

// x with the reduced dims set to 1.
static struct ir_type kept_type(const struct ir_type *x, const int64_t *axes, size_t n_axes) {
    int64_t dims[IR_MAX_RANK];
    for (int i = 0; i < x->rank; i++) dims[i] = is_reduced(axes, n_axes, i) ? 1 : x->dims[i];
    return ir_type_make(x->dtype, x->rank, dims);
}

bool ir_infer_reduce(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *x = ir_in_type(g, n, 0);
    size_t k;
    const int64_t *axes = ir_attr_ints(n, "axes", &k);
    for (size_t i = 0; i < k; i++)
        if (axes[i] < 0 || axes[i] >= x->rank || (i && axes[i] <= axes[i - 1]))
            return ir_fail(g, n, "axes = %s: distinct increasing dimensions of %s were expected", INTS_TEXT(axes, k),
                           TYPE_TEXT(x));
    if (x->dtype == IR_BOOL) return ir_fail(g, n, "operand 0 is %s; a tensor of numbers was expected", TYPE_TEXT(x));
    out[0] = kept_type(x, axes, k);
    if (ir_attr_i(n, "keepdims")) return true;
    int rank = 0;
    int64_t dims[IR_MAX_RANK];
    for (int i = 0; i < x->rank; i++)
        if (!is_reduced(axes, k, i)) dims[rank++] = x->dims[i];
    out[0] = ir_type_make(x->dtype, rank, dims);
    return true;
}

// Calls of `step` fold each element into its result, which starts at init.
static void eval_reduce(const struct ir_node *n, const struct ir_tensor *x, struct ir_tensor *y, double init_f,
                        int64_t init_i, double (*step_f)(double, double),
                        int64_t (*step_i)(enum ir_dtype, int64_t, int64_t)) {
    size_t k, count = ir_tensor_numel(y);
    const int64_t *axes = ir_attr_ints(n, "axes", &k);
    struct ir_type kept = kept_type(&x->type, axes, k);
    int64_t strides[IR_MAX_RANK];
    ir_bcast_strides(&kept, x->type.rank, strides);
    for (size_t i = 0; i < count; i++) {
        if (y->f)
            y->f[i] = init_f;
        else
            y->i[i] = init_i;
    }
    for (struct ir_walk w = ir_walk_all(&x->type); !w.done; ir_walk_next(&w)) {
        size_t at = ir_offset(&w, strides);
        if (y->f)
            y->f[at] = step_f(y->f[at], x->f[w.linear]);
        else
            y->i[at] = ir_wrap_int(y->type.dtype, step_i(y->type.dtype, y->i[at], x->i[w.linear]));
    }
}

static double sum_f(double a, double b) { return a + b; }
static int64_t sum_i(enum ir_dtype t, int64_t a, int64_t b) { return (void)t, (int64_t)((uint64_t)a + (uint64_t)b); }
static double max_f(double a, double b) { return a > b || a != a ? a : b; } // NaN wins
static int64_t max_i(enum ir_dtype t, int64_t a, int64_t b) { return ir_int_compare(t, a, b) > 0 ? a : b; }
static double min_f(double a, double b) { return a < b || a != a ? a : b; }
static int64_t min_i(enum ir_dtype t, int64_t a, int64_t b) { return ir_int_compare(t, a, b) < 0 ? a : b; }

void ir_eval_reduce_sum(EVAL_PARAMS) { (void)g, eval_reduce(n, in[0], out[0], 0, 0, sum_f, sum_i); }
void ir_eval_reduce_max(EVAL_PARAMS) {
    (void)g, eval_reduce(n, in[0], out[0], -INFINITY, ir_int_min(out[0]->type.dtype), max_f, max_i);
}
void ir_eval_reduce_min(EVAL_PARAMS) {
    (void)g, eval_reduce(n, in[0], out[0], INFINITY, ir_int_max(out[0]->type.dtype), min_f, min_i);
}

void ir_eval_reduce_mean(EVAL_PARAMS) {
    (void)g, eval_reduce(n, in[0], out[0], 0, 0, sum_f, sum_i);
    size_t count = ir_tensor_numel(out[0]), all = ir_tensor_numel(in[0]);
    for (size_t i = 0; i < count; i++) {
        if (out[0]->f)
            out[0]->f[i] /= (double)all / (double)count;
        else
            out[0]->i[i] = ir_int_div(out[0]->type.dtype, out[0]->i[i], (int64_t)(all / count));
    }
}

void ir_expand_reduce_mean(struct ir_graph *g, ir_nid id, enum ir_expand_mode mode, ir_vid *out) {
    (void)mode;
    const struct ir_node *n = &g->nodes[id];
    ir_vid x = n->in[0];
    struct ir_type t = *ir_typeof(g, x);
    size_t k;
    const int64_t *axes = ir_attr_ints(n, "axes", &k);
    int keepdims = (int)ir_attr_i(n, "keepdims");
    ir_vid sum = ir_reduce(g, IR_OP_reduce_sum, x, axes, k, keepdims);
    ir_vid count = ir_count_of(g, &t, axes, k);
    if (t.dtype != IR_F32) count = ir_cast(g, count, t.dtype);
    out[0] = ir_div(g, sum, count);
}

// -max(-x); of integers ~max(~x): ~x = -1 - x turns the order of any type around, and no value is without a partner.
static ir_vid turned(struct ir_graph *g, ir_vid x) {
    enum ir_dtype t = ir_typeof(g, x)->dtype;
    if (ir_is_float(t)) return ir_unary(g, IR_OP_neg, x);
    int64_t ones = -1;
    return ir_sub(g, ir_const(g, ir_scalar_type(t), &ones), x);
}

void ir_expand_reduce_min(struct ir_graph *g, ir_nid id, enum ir_expand_mode mode, ir_vid *out) {
    (void)mode;
    const struct ir_node *n = &g->nodes[id];
    size_t k;
    const int64_t *axes = ir_attr_ints(n, "axes", &k);
    int keepdims = (int)ir_attr_i(n, "keepdims");
    out[0] = turned(g, ir_reduce(g, IR_OP_reduce_max, turned(g, n->in[0]), axes, k, keepdims));
}

// --- gradients -----------------------------------------------------------------------------------------------------

void ir_vjp_reduce_sum(VJP_PARAMS) {
    if (!want[0]) return;
    const struct ir_node *n = &g->nodes[id];
    struct ir_type t = *ir_in_type(g, n, 0);
    size_t k;
    const int64_t *axes = ir_attr_ints(n, "axes", &k);
    struct ir_type kept = kept_type(&t, axes, k);
    ir_vid dy = ir_reshape(g, dout[0], kept.rank, kept.dims);
    din[0] = ir_expand_to(g, dy, t.rank, t.dims);
}

// dy / (number of elements equal to the largest), at those elements.
void ir_vjp_reduce_max(VJP_PARAMS) {
    if (!want[0]) return;
    const struct ir_node *n = &g->nodes[id];
    ir_vid x = n->in[0], y = n->out[0];
    struct ir_type t = *ir_typeof(g, x);
    size_t k;
    const int64_t *axes = ir_attr_ints(n, "axes", &k);
    struct ir_type kept = kept_type(&t, axes, k);
    ir_vid top = ir_binary(g, IR_OP_eq, x, ir_reshape(g, y, kept.rank, kept.dims));
    ir_vid ties = ir_reduce(g, IR_OP_reduce_sum, ir_cast(g, top, t.dtype), axes, k, 1);
    ir_vid share = ir_div(g, ir_reshape(g, dout[0], kept.rank, kept.dims), ties);
    din[0] = ir_where(g, top, share, ir_const_like(g, dout[0], 0));
}

// --- argmax --------------------------------------------------------------------------------------------------------

bool ir_infer_argmax(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *x = ir_in_type(g, n, 0);
    int axis = ir_check_axis(g, n, "axis", x->rank);
    if (axis < 0) return false;
    if (x->dtype == IR_BOOL) return ir_fail(g, n, "operand 0 is %s; a tensor of numbers was expected", TYPE_TEXT(x));
    if (x->dims[axis] == 0) return ir_fail(g, n, "dimension %d of %s is empty", axis, TYPE_TEXT(x));
    int64_t dims[IR_MAX_RANK];
    int rank = 0;
    for (int i = 0; i < x->rank; i++) {
        if (i != axis)
            dims[rank++] = x->dims[i];
        else if (ir_attr_i(n, "keepdims"))
            dims[rank++] = 1;
    }
    out[0] = ir_type_make(IR_I64, rank, dims);
    return true;
}

void ir_eval_argmax(EVAL_PARAMS) {
    (void)g;
    const struct ir_tensor *x = in[0];
    int axis = ir_axis_of(n, "axis", x->type.rank);
    bool last = ir_attr_i(n, "last") != 0;
    int64_t own[IR_MAX_RANK], along[1] = {axis};
    ir_row_strides(&x->type, own);
    struct ir_type kept = kept_type(&x->type, along, 1);
    for (struct ir_walk w = ir_walk_all(&kept); !w.done; ir_walk_next(&w)) {
        size_t at = ir_offset(&w, own), step = (size_t)own[axis];
        int64_t best = 0;
        for (int64_t k = 1; k < x->type.dims[axis]; k++) {
            size_t i = at + (size_t)k * step, j = at + (size_t)best * step;
            int more =
                x->f ? (x->f[i] > x->f[j]) - !(x->f[i] >= x->f[j]) : ir_int_compare(x->type.dtype, x->i[i], x->i[j]);
            if (more > 0 || (more == 0 && last)) best = k;
        }
        out[0]->i[w.linear] = best;
    }
}

// --- rank ----------------------------------------------------------------------------------------------------------

bool ir_infer_rank(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    if (!ir_check_float(g, n, 0) || !ir_check_rank(g, n, 0, 1, "operand 0")) return false;
    out[0] = *ir_in_type(g, n, 0);
    return true;
}

static bool is_before(const double *x, size_t i, size_t j) {
    if (isnan(x[i]) != isnan(x[j])) return isnan(x[j]);
    return x[i] < x[j] || (!(x[j] < x[i]) && i < j);
}

void ir_eval_rank(EVAL_PARAMS) {
    (void)g, (void)n;
    const double *x = in[0]->f;
    for (size_t i = 0, count = ir_tensor_numel(in[0]); i < count; i++) {
        size_t before = 0;
        for (size_t j = 0; j < count; j++) before += j != i && is_before(x, j, i);
        out[0]->f[i] = (double)before;
    }
}
