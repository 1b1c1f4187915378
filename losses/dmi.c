// Determinant-based mutual information (methods.md 6.8). With Q the labels as rows [N,C], not smoothed, and U = Q' p,
//
//   L = -ln(|det U| + 1e-3)
//
// U is singular, the loss 6.9 and its gradient 0 where a batch has no image of some class: always where N < C. Before,
// in the stage "pretrain", cross entropy.
#include "losses_internal.h"

#include <math.h>

#define FLOOR 1e-3

static ir_vid number(struct ir_graph *g, double v) { return ir_const(g, ir_scalar_type(IR_F64), &v); }

// The row of the largest |column| among those that are left, as a column of zeros and a 1 [C,1].
static ir_vid pivot_row(struct ir_graph *g, ir_vid column, ir_vid left, int64_t c) {
    ir_vid size =
        ir_where(g, ir_binary(g, IR_OP_lt, number(g, 0), left), ir_unary(g, IR_OP_abs, column), number(g, -1));
    ir_vid f32 = ir_cast(g, ir_stop_gradient(g, size), IR_F32);
    ir_vid at = ir_emit(g, IR_OP_argmax, &f32, 1, IR_ATTRS(IR_I("axis", 0), IR_I("keepdims", 0)));
    ir_vid one = ir_emit(g, IR_OP_one_hot, &at, 1, IR_ATTRS(IR_I("classes", c)));
    return ir_cast(g, ir_reshape(g, one, 2, (int64_t[]){c, 1}), IR_F64);
}

// ln |det a| of [C,C] by Gaussian elimination with pivots by columns, in float64; *whole: whether no pivot is 0. Which
// rows are the pivots is a constant for differentiation, and the sign of the determinant does not matter.
static ir_vid log_det(struct ir_graph *g, ir_vid a, int64_t c, ir_vid *whole) {
    double *ones = arena_array(g->arena, (size_t)c, sizeof *ones);
    for (int64_t i = 0; i < c; i++) ones[i] = 1;
    ir_vid left = ir_const(g, ir_type_make(IR_F64, 2, (int64_t[]){c, 1}), ones), zero = number(g, 0),
           one = number(g, 1);
    ir_vid sum = IR_NONE;
    *whole = IR_NONE;
    for (int64_t k = 0; k < c; k++) {
        ir_vid column =
            ir_emit(g, IR_OP_slice, &a, 1,
                    IR_ATTRS(IR_IS("starts", ((int64_t[]){0, k}), 2), IR_IS("sizes", ((int64_t[]){c, 1}), 2),
                             IR_IS("steps", ((int64_t[]){1, 1}), 2)));
        ir_vid is = pivot_row(g, column, left, c), row = loss_keep_sum(g, ir_mul(g, is, a), 0);
        ir_vid pivot = ir_unary(g, IR_OP_abs, loss_keep_sum(g, ir_mul(g, is, column), 0));
        ir_vid good = ir_binary(g, IR_OP_lt, zero, pivot),
               safe = ir_where(g, good, loss_keep_sum(g, ir_mul(g, is, column), 0), one);
        left = ir_mul(g, left, ir_sub(g, one, is));
        a = ir_sub(g, a, ir_mul(g, ir_mul(g, left, ir_div(g, column, safe)), row));
        ir_vid part = ir_unary(g, IR_OP_log, ir_unary(g, IR_OP_abs, safe));
        sum = sum == IR_NONE ? part : ir_add(g, sum, part);
        *whole = *whole == IR_NONE ? good : ir_binary(g, IR_OP_and, *whole, good);
    }
    return sum;
}

// -ln(e^x + 1e-3) without leaving the numbers: with m the larger of x and ln 1e-3, -m - ln(1 + e^-|x - ln 1e-3|).
static ir_vid floored(struct ir_graph *g, ir_vid x) {
    ir_vid low = number(g, log(FLOOR)), m = ir_binary(g, IR_OP_max, x, low),
           d = ir_unary(g, IR_OP_abs, ir_sub(g, x, low));
    ir_vid rest = ir_unary(g, IR_OP_log, ir_add(g, number(g, 1), ir_unary(g, IR_OP_exp, ir_unary(g, IR_OP_neg, d))));
    return ir_unary(g, IR_OP_neg, ir_add(g, m, rest));
}

static ir_vid information(struct loss_builder *b, ir_vid labels, ir_vid z) {
    struct ir_graph *g = b->g;
    ir_vid whole, u = ir_cast(g, ir_matmul(g, labels, loss_softmax(b, z), 1, 0), IR_F64);
    ir_vid x = log_det(g, u, b->o->classes, &whole);
    ir_vid loss = ir_where(g, whole, floored(g, x), number(g, -log(FLOOR)));
    return ir_reshape(g, ir_cast(g, loss, IR_F32), 0, NULL);
}

void loss_draw_dmi(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    ir_vid given, t = loss_targets(b, &given);
    ir_vid first = ir_binary(g, IR_OP_lt, loss_scalar(b, "round"), ir_const_f(g, 1.5));
    for (int k = 0; k < b->o->peers; k++) {
        ir_vid z = loss_logits(b, k), ce = loss_label_term(b, t, given, z, 0);
        loss_output_of(b, "loss", k, ir_where(g, first, ce, information(b, given, z)));
        loss_output_of(b, "entropy", k, loss_entropy(b, z));
    }
}
