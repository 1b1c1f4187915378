// Losses of labels that are wrong with known probabilities T[i,j] = P(label j | class i) (methods.md 6.6, 6.7). T is a
// state of each network, [C,C], which the runtime estimates after a first part of plain cross entropy
// (runtime/hook_transition.c) from what the network says of all images then, or which is given.
//
//   forward    L = mean -ln (T' p)_y
//   revision   L = mean w H(q, p),  w = p_y / (T' p)_y, a constant; in the stage "revise" it is none, and T + D takes
//   the
//              place of T, rows divided by their sums, where D begins with zeros and is trained by Adam
#include "losses_internal.h"

#include <string.h>

#define FLOOR 1e-8 // below which (T' p)_y counts as this

// Of each row what T makes of p at its label, [N]: sum_j q_j (T' p)_j.
static ir_vid at_label(struct loss_builder *b, ir_vid given, ir_vid p) {
    struct ir_graph *g = b->g;
    return loss_sum_columns(b, ir_mul(g, given, p));
}

static ir_vid forward(struct loss_builder *b, ir_vid t, ir_vid z, ir_vid transition) {
    struct ir_graph *g = b->g;
    ir_vid noisy = ir_matmul(g, loss_softmax(b, z), transition, 0, 0);
    ir_vid logs = ir_unary(g, IR_OP_log, ir_binary(g, IR_OP_max, noisy, ir_const_f(g, FLOOR)));
    return ir_unary(g, IR_OP_neg, loss_sum_columns(b, ir_mul(g, t, logs)));
}

static ir_vid weight(struct loss_builder *b, ir_vid given, ir_vid z, ir_vid transition) {
    struct ir_graph *g = b->g;
    ir_vid p = loss_softmax(b, z), noisy = ir_matmul(g, p, transition, 0, 0);
    ir_vid below = ir_binary(g, IR_OP_max, at_label(b, given, noisy), ir_const_f(g, FLOOR));
    return ir_div(g, at_label(b, given, p), below);
}

// T + D, rows divided by their sums.
static ir_vid revised(struct loss_builder *b, int k, ir_vid transition) {
    struct ir_graph *g = b->g;
    const int64_t c = b->o->classes, axis = 1;
    static const struct loss_training by_adam = {.rule = LOSS_ADAM, .rate = "revise_lr", .when = "revising"};
    ir_vid sum = ir_add(g, transition, loss_state(b, "slack", k, 2, (int64_t[]){c, c}));
    loss_train_state(b, "slack", k, &by_adam);
    return ir_div(g, sum, ir_reduce(g, IR_OP_reduce_sum, sum, &axis, 1, 1));
}

static bool estimates(const struct loss_builder *b) { return !loss_is(b, "estimator", "given"); }

// Whether the stage of that number has begun: 1 is the one behind the estimate.
static ir_vid from_stage(struct loss_builder *b, int stage) {
    ir_vid first = ir_const_f(b->g, stage + (estimates(b) ? 1 : 0) - 0.5);
    return ir_binary(b->g, IR_OP_lt, first, loss_scalar(b, "round"));
}

static ir_vid rows_of(struct loss_builder *b, int k, ir_vid t, ir_vid given, ir_vid z, ir_vid transition) {
    struct ir_graph *g = b->g;
    if (loss_is(b, "use", "forward")) return forward(b, t, z, transition);
    ir_vid fixed = ir_stop_gradient(g, weight(b, given, z, transition)),
           free = weight(b, given, z, revised(b, k, transition));
    return ir_mul(g, ir_where(g, from_stage(b, 2), free, fixed), loss_cross_entropy(b, t, z, 0));
}

static void draw_one(struct loss_builder *b, int k, ir_vid t, ir_vid given) {
    struct ir_graph *g = b->g;
    const int64_t c = b->o->classes;
    ir_vid z = loss_logits(b, k), transition = loss_state(b, "transition", k, 2, (int64_t[]){c, c});
    ir_vid loss = loss_weighted_mean(b, rows_of(b, k, t, given, z, transition), given);
    if (estimates(b)) {
        loss = ir_where(g, from_stage(b, 1), loss, loss_label_term(b, t, given, z, 0));
        ir_vid looks = ir_binary(g, IR_OP_lt, ir_const_f(g, 0), loss_scalar(b, "survey"));
        ir_vid says = ir_stop_gradient(g, loss_softmax(b, z)), old = loss_table(b, "said", k, c);
        loss_set_table(b, "said", k, ir_where(g, looks, says, old));
    }
    loss_output_of(b, "loss", k, loss);
    loss_output_of(b, "entropy", k, loss_entropy(b, z));
}

void loss_draw_transition(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    ir_vid given, t = loss_targets(b, &given);
    if (loss_is(b, "use", "revision"))
        loss_output(b, "revising", ir_where(g, from_stage(b, 2), ir_const_f(g, 1), ir_const_f(g, 0)));
    for (int k = 0; k < b->o->peers; k++) draw_one(b, k, t, given);
}
