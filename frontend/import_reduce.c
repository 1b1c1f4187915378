// Reductions. Axes are an attribute in old opsets and an operand since 13 (ReduceSum) or 18 (the others).
#include "onnx_internal.h"

#include <math.h>

struct reduction {
    int64_t axes[IR_MAX_RANK]; // normalised, ascending
    size_t n;
    int keepdims;
    bool nothing; // no axes and noop_with_empty_axes: each element by itself
};

static bool read_axes(struct fe_ctx *c, struct fe_node *n, const struct ir_type *t, struct reduction *r) {
    int64_t given[IR_MAX_RANK];
    int count;
    *r = (struct reduction){.keepdims = fe_attr_i(c, n, "keepdims", 1) != 0};
    if (!fe_const_ints(c, n, "axes", 1, given, IR_MAX_RANK, &count)) return false;
    r->nothing = count <= 0 && fe_attr_i(c, n, "noop_with_empty_axes", 0);
    bool hit[IR_MAX_RANK] = {false};
    for (int i = 0; i < count; i++) {
        int axis;
        if (!fe_axis(c, n, given[i], t->rank, &axis)) return false;
        hit[axis] = true;
    }
    for (int i = 0; i < t->rank; i++)
        if (count <= 0 ? !r->nothing : hit[i]) r->axes[r->n++] = i;
    return true;
}

static ir_vid begin(struct fe_ctx *c, struct fe_node *n, struct reduction *r) {
    ir_vid x = fe_in(c, n, 0);
    if (x == IR_NONE) {
        fe_fail(c, n, "operand 0 is missing or no tensor");
        return x;
    }
    if (!read_axes(c, n, fe_typeof(c, x), r)) return IR_NONE;
    if (!r->keepdims) fe_moved_lost(n, r->axes, r->n);
    return x;
}

static ir_vid reduce(struct fe_ctx *c, enum ir_op op, ir_vid x, const struct reduction *r) {
    return r->n == 0 ? x : fe_reduce(c, op, x, r->axes, r->n, r->keepdims);
}

// x, whose reduced axes have become ones, with or without these.
static ir_vid finished(struct fe_ctx *c, ir_vid x, const struct reduction *r) {
    if (x == IR_NONE || r->keepdims || r->n == 0) return x;
    const struct ir_type t = *fe_typeof(c, x);
    int64_t dims[IR_MAX_RANK];
    int rank = 0;
    for (int i = 0; i < t.rank; i++) {
        bool gone = false;
        for (size_t k = 0; k < r->n; k++) gone |= r->axes[k] == i;
        if (!gone) dims[rank++] = t.dims[i];
    }
    return fe_reshape(c, x, rank, dims);
}

// Of elements known at import (shape arithmetic): all of them together, or not at all.
static struct fe_val *fold(struct fe_ctx *c, struct fe_node *n, enum ir_op op) {
    const struct fe_sym *s = fe_known(c, fe_arg(n, 0), false);
    if (!s || s->n == 0) return NULL;
    struct reduction r;
    if (!read_axes(c, n, &s->type, &r) || r.nothing || (int)r.n != s->type.rank) return NULL;
    int64_t ones[IR_MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1};
    struct fe_sym *acc = fe_sym_new(c->a, s->type.dtype, r.keepdims ? s->type.rank : 0, ones);
    acc->v[0] = s->v[0];
    for (size_t i = 1; i < s->n && acc; i++) {
        struct fe_sym *one = fe_sym_new(c->a, s->type.dtype, acc->type.rank, acc->type.dims);
        one->v[0] = s->v[i];
        acc = fe_sym_binary(c->a, op, acc, one);
    }
    return fe_val_sym(c, acc);
}

bool fe_op_reduce(struct fe_ctx *c, struct fe_node *n) {
    static const struct {
        int red;
        enum ir_op op;
    } folds[] = {{IR_OP_reduce_sum, IR_OP_add}, {IR_OP_reduce_max, IR_OP_max}, {IR_OP_reduce_min, IR_OP_min}};
    for (size_t i = 0; i < sizeof folds / sizeof *folds; i++) {
        struct fe_val *v = folds[i].red == n->arg ? fold(c, n, folds[i].op) : NULL;
        if (v) return fe_out_val(n, 0, v);
    }
    struct reduction r;
    ir_vid x = begin(c, n, &r);
    if (x == IR_NONE) return false;
    if (r.nothing) return fe_out_val(n, 0, fe_arg(n, 0));
    if (fe_typeof(c, x)->dtype != IR_BOOL) return fe_out(c, n, 0, reduce(c, (enum ir_op)n->arg, x, &r));
    if (n->arg != IR_OP_reduce_max && n->arg != IR_OP_reduce_min) return fe_fail(c, n, "it sums up bools");
    x = reduce(c, (enum ir_op)n->arg, fe_cast(c, x, IR_U8), &r); // any and all
    return fe_out(c, n, 0, fe_cast(c, x, IR_BOOL));
}

// The product along an axis, which stays: halves times halves. Its gradient is right for zeros, too, as that of a sum
// of logarithms would not be.
static ir_vid product(struct fe_ctx *c, ir_vid x, int axis) {
    while (x != IR_NONE && fe_typeof(c, x)->dims[axis] > 1) {
        const struct ir_type t = *fe_typeof(c, x);
        const int64_t half = t.dims[axis] / 2, rest = t.dims[axis] % 2;
        ir_vid part[3];
        for (int i = 0; i < 2 + (int)rest; i++) part[i] = fe_cut(c, x, axis, i * half, i < 2 ? half : rest, 1);
        x = fe_e2(c, IR_OP_mul, part[0], part[1]);
        if (rest) x = fe_emit(c, IR_OP_concat, (ir_vid[]){x, part[2]}, 2, IR_ATTRS(IR_I("axis", axis)));
    }
    if (x != IR_NONE && fe_typeof(c, x)->dims[axis] == 0) {
        struct ir_type t = *fe_typeof(c, x);
        t.dims[axis] = 1;
        return fe_expand(c, fe_num(c, t.dtype, 1), t.rank, t.dims);
    }
    return x;
}

bool fe_op_reduce_prod(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *v = fe_arg(n, 0) ? fold(c, n, IR_OP_mul) : NULL;
    if (v) return fe_out_val(n, 0, v);
    struct reduction r;
    ir_vid x = begin(c, n, &r);
    if (x == IR_NONE) return false;
    for (size_t i = 0; i < r.n; i++)
        if (fe_typeof(c, x)->dims[r.axes[i]] < 0) return fe_fail(c, n, "it multiplies up the samples of a batch");
    for (size_t i = 0; i < r.n; i++) x = product(c, x, (int)r.axes[i]);
    return fe_out(c, n, 0, finished(c, x, &r));
}

bool fe_op_reduce_l1(struct fe_ctx *c, struct fe_node *n) {
    struct reduction r;
    ir_vid x = begin(c, n, &r);
    return x != IR_NONE && fe_out(c, n, 0, reduce(c, IR_OP_reduce_sum, fe_e1(c, IR_OP_abs, x), &r));
}

// A root or logarithm; of integers in float64, cut off.
static ir_vid of_floats(struct fe_ctx *c, ir_vid x, enum ir_op op) {
    if (x == IR_NONE) return x;
    enum ir_dtype t = fe_typeof(c, x)->dtype;
    if (ir_is_float(t)) return op == IR_OP_sqrt ? fe_root(c, x) : fe_e1(c, op, x);
    return fe_cast(c, fe_e1(c, op, fe_cast(c, x, IR_F64)), t);
}

bool fe_op_reduce_l2(struct fe_ctx *c, struct fe_node *n) { // arg 1: L2, 0: sum of squares
    struct reduction r;
    ir_vid x = begin(c, n, &r);
    if (x == IR_NONE) return false;
    ir_vid s = reduce(c, IR_OP_reduce_sum, fe_e2(c, IR_OP_mul, x, x), &r);
    return fe_out(c, n, 0, n->arg ? of_floats(c, s, IR_OP_sqrt) : s);
}

bool fe_op_reduce_log_sum(struct fe_ctx *c, struct fe_node *n) {
    struct reduction r;
    ir_vid x = begin(c, n, &r);
    return x != IR_NONE && fe_out(c, n, 0, of_floats(c, reduce(c, IR_OP_reduce_sum, x, &r), IR_OP_log));
}

// m + ln sum e^(x-m), with m = max x held constant: exact, and no overflow. An infinite m would make inf - inf: there
// the sum is 0 or infinite as it stands, and its logarithm is right.
bool fe_op_reduce_log_sum_exp(struct fe_ctx *c, struct fe_node *n) {
    struct reduction r;
    ir_vid x = begin(c, n, &r);
    if (x == IR_NONE) return false;
    if (r.n == 0) return fe_out(c, n, 0, x);
    enum ir_dtype t = fe_typeof(c, x)->dtype;
    ir_vid m = fe_reduce(c, IR_OP_reduce_max, fe_e1(c, IR_OP_stop_gradient, x), r.axes, r.n, 1);
    m = fe_where(c, fe_e2(c, IR_OP_lt, fe_e1(c, IR_OP_abs, m), fe_num(c, t, INFINITY)), m, fe_num(c, t, 0));
    ir_vid s = fe_reduce(c, IR_OP_reduce_sum, fe_e1(c, IR_OP_exp, fe_e2(c, IR_OP_sub, x, m)), r.axes, r.n, 1);
    ir_vid y = fe_e2(c, IR_OP_add, fe_e1(c, IR_OP_log, s), m);
    return fe_out(c, n, 0, finished(c, y, &r));
}

bool fe_op_argmax(struct fe_ctx *c, struct fe_node *n) { // arg 1: ArgMin
    ir_vid x = fe_in(c, n, 0);
    int axis;
    if (x == IR_NONE || !fe_axis(c, n, fe_attr_i(c, n, "axis", 0), fe_typeof(c, x)->rank, &axis)) return false;
    enum ir_dtype t = fe_typeof(c, x)->dtype; // -1 - x turns integers around, also the least one and unsigned ones
    if (n->arg)
        x = ir_is_float(t) ? fe_e1(c, IR_OP_neg, x) : fe_e2(c, IR_OP_sub, fe_num(c, t, t == IR_BOOL ? 0 : -1), x);
    bool keepdims = fe_attr_i(c, n, "keepdims", 1) != 0, last = fe_attr_i(c, n, "select_last_index", 0) != 0;
    if (!keepdims) fe_moved_lost(n, (int64_t[1]){axis}, 1);
    return fe_out(
        c, n, 0,
        fe_emit(c, IR_OP_argmax, &x, 1, IR_ATTRS(IR_I("axis", axis), IR_I("keepdims", keepdims), IR_I("last", last))));
}
