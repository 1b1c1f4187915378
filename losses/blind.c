// Blind knowledge distillation (methods.md 5). Network 0 is the teacher, 1 the student; with y the given label, alpha
// the row's group (0 until the tipping point was passed) and C classes,
//
//   L = mean_i H(S(beta), p_T) + D^-1 sum_i sum_{c != y} (z_T - z_S)^2
//   beta = (1 - alpha) q + alpha p_S,  S(beta) = beta^(1+alpha) / sum beta^(1+alpha)         (Eq. 7, 8)
//   D = N (C - 1) in the paper (Eq. 3), N C - 1 in its code
//
// With alpha = 0 the first term is plain cross entropy: one graph for both stages. What both say together of the given
// label, P_A(y) = softmax(z_T + z_S)[y] (Eq. 5), is kept for the last epochs, by which the runtime sets the groups
// (runtime/hooks.c).
#include "losses_internal.h"

#include <string.h>

enum { TEACHER, STUDENT };

// S(beta), [N,C]
static ir_vid robust_target(struct loss_builder *b, ir_vid q, ir_vid alpha) {
    struct ir_graph *g = b->g;
    ir_vid one = ir_const_f(g, 1), p = loss_softmax(b, loss_logits(b, STUDENT));
    ir_vid beta = ir_add(g, ir_mul(g, ir_sub(g, one, alpha), q), ir_mul(g, alpha, p));
    ir_vid sharp = ir_binary(g, IR_OP_pow, beta, ir_add(g, one, alpha));
    ir_vid target = ir_div(g, sharp, loss_keep_sum(g, sharp, 1));
    return method_flag(b->o->method, &b->o->values, "detach-robust-target") ? ir_stop_gradient(g, target) : target;
}

// The squared distance of the logits of all classes but the label's.
static ir_vid student_loss(struct loss_builder *b, ir_vid given) {
    struct ir_graph *g = b->g;
    const double c = (double)b->o->classes;
    ir_vid says = loss_logits(b, TEACHER), one = ir_const_f(g, 1);
    if (method_flag(b->o->method, &b->o->values, "detach-teacher")) says = ir_stop_gradient(g, says);
    ir_vid d = ir_mul(g, ir_sub(g, says, loss_logits(b, STUDENT)), ir_sub(g, one, given)), n = ir_batch_size(g);
    ir_vid by = loss_is(b, "student-denom", "paper") ? ir_mul(g, n, ir_const_f(g, c - 1))
                                                     : ir_sub(g, ir_mul(g, n, ir_const_f(g, c)), one);
    return ir_div(g, loss_sum_rows(b, loss_sum_columns(b, ir_mul(g, d, d))), by);
}

// Epochs take turns in the columns, so that an image that an epoch leaves out keeps what is older.
static void remember_agreement(struct loss_builder *b, ir_vid given, ir_vid together) {
    struct ir_graph *g = b->g;
    ir_vid turn = loss_turn(b, METHOD_BLIND_EPOCHS, 2);
    ir_vid says = ir_stop_gradient(g, loss_keep_sum(g, ir_mul(g, given, together), 1));
    loss_set_table(b, "agree", -1, ir_where(g, turn, says, loss_table(b, "agree", -1, METHOD_BLIND_EPOCHS)));
}

// The student's share in the targets of each row, by its group: 0 of the rows that have none yet.
static ir_vid share_of(struct loss_builder *b, ir_vid group) {
    struct ir_graph *g = b->g;
    ir_vid alpha = ir_const_f(g, 0);
    for (int i = 1; i <= METHOD_BLIND_GROUPS; i++) {
        ir_vid is = ir_binary(g, IR_OP_eq, group, ir_const_f(g, i));
        alpha = ir_where(g, is, loss_scalar(b, arena_printf(b->a, "blind_alpha%d", i)), alpha);
    }
    return alpha;
}

static ir_vid surest(struct loss_builder *b, ir_vid p) { // [N]
    int64_t axis = 1;
    return ir_reduce(b->g, IR_OP_reduce_max, p, &axis, 1, 0);
}

void loss_draw_blind(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    ir_vid together = loss_softmax(b, ir_add(g, loss_logits(b, TEACHER), loss_logits(b, STUDENT)));
    if (b->o->predict) {
        loss_output(b, "probs.ensemble", together);
        return;
    }
    ir_vid given, q = loss_targets(b, &given), group = loss_table(b, "group", -1, 0);
    ir_vid target = robust_target(b, q, loss_column(g, share_of(b, group)));
    ir_vid teacher = loss_label_term(b, target, given, loss_logits(b, TEACHER), 0), student = student_loss(b, given);
    loss_output(b, "loss.all", ir_add(g, teacher, student));
    loss_output(b, "teacher_loss", ir_stop_gradient(g, teacher));
    loss_output(b, "student_loss", ir_stop_gradient(g, student));
    remember_agreement(b, given, together);
    for (int k = 0; k < b->o->peers; k++) {
        ir_vid z = loss_logits(b, k);
        loss_output_of(b, "entropy", k, loss_entropy(b, z));
        loss_output_of(b, "confidence", k, surest(b, loss_softmax(b, z)));
    }
    loss_output_of(b, "corrected", TEACHER, loss_class(b, target));
    ir_vid wrong = ir_binary(g, IR_OP_eq, group, ir_const_f(g, METHOD_BLIND_GROUPS));
    loss_output_of(b, "kept", TEACHER, ir_where(g, wrong, ir_const_f(g, 0), ir_const_f(g, 1)));
}
