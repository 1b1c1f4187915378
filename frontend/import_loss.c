// Losses in a graph. The label picks its class's term by comparison, so that the gradient is that of a choice: what is
// not picked, -inf included, has none.
#include "onnx_internal.h"

#include <string.h>

struct labelled {
    ir_vid hit;            // [N,C,..]: whether the label is this class
    ir_vid keep;           // [N,..]: whether it counts; IR_NONE: all do
    struct ir_type scores; // [N,C,..]
};

// The element of x, which broadcasts to the scores, that the label picks: [N,..].
static ir_vid picked(struct fe_ctx *c, const struct labelled *l, ir_vid x) {
    const int64_t axis = 1;
    if (x == IR_NONE) return x;
    ir_vid y = fe_where(c, l->hit, x, fe_like(c, x, 0));
    return y == IR_NONE ? y : fe_reduce(c, IR_OP_reduce_sum, y, &axis, 1, 0);
}

static bool read_labels(struct fe_ctx *c, struct fe_node *n, ir_vid x, struct labelled *l) {
    ir_vid t = fe_in(c, n, 1);
    *l = (struct labelled){.hit = IR_NONE, .keep = IR_NONE};
    if (x == IR_NONE || t == IR_NONE) return fe_fail(c, n, "needs scores and labels");
    const struct ir_type st = *fe_typeof(c, x), tt = *fe_typeof(c, t);
    if (!ir_is_float(st.dtype) || st.rank < 2 || tt.rank != st.rank - 1 || !ir_is_int(tt.dtype))
        return fe_fail(c, n, "needs scores [N,C,..] of floats and labels [N,..] of integers, got %s and %s",
                       fe_dims_text(c, &st), fe_dims_text(c, &tt));
    int64_t column[IR_MAX_RANK], row[IR_MAX_RANK];
    for (int i = 0; i < st.rank; i++) {
        column[i] = i == 1 ? 1 : tt.dims[i > 1 ? i - 1 : i];
        row[i] = i == 1 ? st.dims[1] : 1;
    }
    t = fe_cast(c, t, IR_I64);
    ir_vid classes = fe_emit(c, IR_OP_iota, NULL, 0, IR_ATTRS(IR_IS("shape", row, st.rank), IR_I("axis", 1)));
    l->scores = st;
    l->hit = fe_e2(c, IR_OP_eq, fe_reshape(c, t, st.rank, column), classes);
    if (fe_attr(n, "ignore_index")) {
        int64_t ignored = fe_attr_i(c, n, "ignore_index", 0);
        l->keep = fe_e1(c, IR_OP_not, fe_e2(c, IR_OP_eq, t, ir_const(c->g, ir_scalar_type(IR_I64), &ignored)));
    }
    return l->hit != IR_NONE;
}

// What each label counts: its class's weight, 1 without weights, 0 where it is ignored. IR_NONE: all count 1.
static bool label_weights(struct fe_ctx *c, struct fe_node *n, const struct labelled *l, ir_vid *out) {
    *out = IR_NONE;
    if (fe_arg(n, 2)) {
        ir_vid w = fe_in(c, n, 2);
        int64_t dims[IR_MAX_RANK];
        if (w == IR_NONE || ir_numel(fe_typeof(c, w)) != l->scores.dims[1] || fe_typeof(c, w)->rank != 1)
            return fe_fail(c, n, "needs one weight for each of %lld classes", (long long)l->scores.dims[1]);
        for (int i = 0; i < l->scores.rank; i++) dims[i] = i == 1 ? l->scores.dims[1] : 1;
        *out = picked(c, l, fe_reshape(c, w, l->scores.rank, dims));
    }
    if (l->keep != IR_NONE) {
        ir_vid one = *out != IR_NONE ? *out : fe_num(c, l->scores.dtype, 1);
        *out = fe_where(c, l->keep, one, fe_like(c, one, 0));
    }
    return true;
}

// Minus the picked logarithms, weighted and reduced.
static bool loss(struct fe_ctx *c, struct fe_node *n, ir_vid logs) {
    struct labelled l;
    ir_vid w;
    if (!read_labels(c, n, logs, &l) || !label_weights(c, n, &l, &w)) return false;
    const char *how = fe_attr_s(c, n, "reduction", "mean");
    ir_vid y = fe_e1(c, IR_OP_neg, picked(c, &l, logs));
    if (w != IR_NONE && y != IR_NONE) {
        y = fe_e2(c, IR_OP_mul, y, w);
        if (l.keep != IR_NONE) y = fe_where(c, l.keep, y, fe_like(c, y, 0)); // not 0 * inf
    }
    int64_t all[IR_MAX_RANK];
    const size_t rank = (size_t)l.scores.rank - 1;
    for (size_t i = 0; i < rank; i++) all[i] = (int64_t)i;
    if (y == IR_NONE) return false;
    if (!strcmp(how, "none")) return fe_out(c, n, 0, y);
    if (!strcmp(how, "sum")) return fe_out(c, n, 0, fe_reduce(c, IR_OP_reduce_sum, y, all, rank, 0));
    if (strcmp(how, "mean")) return fe_fail(c, n, "reduction \"%s\"; none, sum and mean are known", how);
    if (w == IR_NONE) return fe_out(c, n, 0, fe_reduce(c, IR_OP_reduce_mean, y, all, rank, 0));
    return fe_out(c, n, 0,
                  fe_e2(c, IR_OP_div, fe_reduce(c, IR_OP_reduce_sum, y, all, rank, 0),
                        fe_reduce(c, IR_OP_reduce_sum, w, all, rank, 0)));
}

bool fe_op_nll_loss(struct fe_ctx *c, struct fe_node *n) { return loss(c, n, fe_in(c, n, 0)); }

bool fe_op_softmax_loss(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0);
    if (x == IR_NONE || fe_typeof(c, x)->rank < 2) return fe_fail(c, n, "needs scores [N,C,..]");
    ir_vid logs = fe_emit(c, IR_OP_log_softmax, &x, 1, IR_ATTRS(IR_I("axis", 1)));
    return loss(c, n, logs) && (n->n_out < 2 || fe_out(c, n, 1, logs));
}
