// Softmax and log-softmax along one axis. Both expand into primitives, so autodiff, fusion and codegen never see them.
//
// softmax(x) = softmax(x - m) for any m that is constant along the axis; m = max x keeps every exponent <= 0, so
// nothing overflows and the sum is at least 1. The shift cancels in the derivative, too, hence the stop_gradient on it:
// without it autodiff would carry a term that is exactly zero in mathematics and rounding noise in f32.
#include "ops_internal.h"
#include "ops_util.h"

#include <math.h>

bool ir_infer_softmax(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *x = ir_in_type(g, n, 0);
    if (!ir_is_float(x->dtype))
        return ir_fail(g, n, "operand 0 is %s; a floating-point tensor was expected", TYPE_TEXT(x));
    if (ir_check_axis(g, n, "axis", x->rank) < 0) return false;
    out[0] = ir_type_make(x->dtype, x->rank, x->dims);
    return true;
}

// x - max x along the axis: [...], same shape as x.
static ir_vid shifted(struct ir_graph *g, ir_vid x, int64_t axis) {
    ir_vid m = ir_stop_gradient(g, ir_reduce(g, IR_OP_reduce_max, x, &axis, 1, 1));
    return ir_sub(g, x, m);
}

void ir_expand_softmax(struct ir_graph *g, ir_nid n, enum ir_expand_mode mode, ir_vid *out) {
    (void)mode;
    ir_vid x = g->nodes[n].in[0];
    int64_t axis = ir_axis_of(&g->nodes[n], "axis", ir_typeof(g, x)->rank);
    ir_vid e = ir_unary(g, IR_OP_exp, shifted(g, x, axis));
    out[0] = ir_div(g, e, ir_reduce(g, IR_OP_reduce_sum, e, &axis, 1, 1));
}

void ir_expand_log_softmax(struct ir_graph *g, ir_nid n, enum ir_expand_mode mode, ir_vid *out) {
    (void)mode;
    ir_vid x = g->nodes[n].in[0];
    int64_t axis = ir_axis_of(&g->nodes[n], "axis", ir_typeof(g, x)->rank);
    ir_vid t = shifted(g, x, axis);
    ir_vid s = ir_reduce(g, IR_OP_reduce_sum, ir_unary(g, IR_OP_exp, t), &axis, 1, 1);
    out[0] = ir_sub(g, t, ir_unary(g, IR_OP_log, s));
}

// --- reference ------------------------------------------------------------------------------------------------------

// Calls `line` on each 1-D line of x along the axis: `count` elements, `step` apart.
static void eval_lines(const struct ir_node *n, const struct ir_tensor *x, struct ir_tensor *y,
                       void (*line)(const double *x, double *y, int64_t count, int64_t step)) {
    int axis = ir_axis_of(n, "axis", x->type.rank);
    int64_t outer = 1, count = x->type.dims[axis], step = 1;
    for (int d = 0; d < axis; d++) outer *= x->type.dims[d];
    for (int d = axis + 1; d < x->type.rank; d++) step *= x->type.dims[d];
    for (int64_t o = 0; o < outer; o++) {
        for (int64_t s = 0; s < step; s++) line(x->f + o * count * step + s, y->f + o * count * step + s, count, step);
    }
}

// ln sum e^x over one line.
static double log_sum_exp(const double *x, int64_t count, int64_t step) {
    double m = -INFINITY, s = 0;
    for (int64_t j = 0; j < count; j++) m = fmax(m, x[j * step]);
    for (int64_t j = 0; j < count; j++) s += exp(x[j * step] - m);
    return m + log(s);
}

static void line_softmax(const double *x, double *y, int64_t count, int64_t step) {
    double lse = log_sum_exp(x, count, step);
    for (int64_t j = 0; j < count; j++) y[j * step] = exp(x[j * step] - lse);
}

static void line_log_softmax(const double *x, double *y, int64_t count, int64_t step) {
    double lse = log_sum_exp(x, count, step);
    for (int64_t j = 0; j < count; j++) y[j * step] = x[j * step] - lse;
}

void ir_eval_softmax(const struct ir_graph *g, const struct ir_node *n, const struct ir_tensor *const *in,
                     struct ir_tensor *const *out) {
    (void)g;
    eval_lines(n, in[0], out[0], line_softmax);
}

void ir_eval_log_softmax(const struct ir_graph *g, const struct ir_node *n, const struct ir_tensor *const *in,
                         struct ir_tensor *const *out) {
    (void)g;
    eval_lines(n, in[0], out[0], line_log_softmax);
}
