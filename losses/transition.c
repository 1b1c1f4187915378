// Losses of labels that are wrong with known probabilities T[i,j] = P(label j | class i) (methods.md 6.6, 6.7). T is a
// state of each network, [C,C], which the runtime estimates after a first part of plain cross entropy
// (runtime/hook_transition.c) from what the network says of all images then, or which is given.
//
//   forward    L = -ln (T' p)_y
//   reweight   L = w H(q, p),  w = p_y / (T' p)_y, a constant
#include "losses_internal.h"

#include <string.h>

#define FLOOR 1e-8 // below which (T' p)_y counts as this

// Of each row what T makes of p at its label, [N]: sum_j q_j (T' p)_j.
static ir_vid at_label(struct loss_builder *b, ir_vid given, ir_vid p) {
    struct ir_graph *g = b->g;
    return loss_sum_columns(b, ir_mul(g, given, p));
}

static ir_vid forward(struct loss_builder *b, ir_vid t, ir_vid given, ir_vid z, ir_vid transition) {
    struct ir_graph *g = b->g;
    (void)given;
    ir_vid noisy = ir_matmul(g, loss_softmax(b, z), transition, 0, 0);
    ir_vid logs = ir_unary(g, IR_OP_log, ir_binary(g, IR_OP_max, noisy, ir_const_f(g, FLOOR)));
    return ir_unary(g, IR_OP_neg, loss_sum_columns(b, ir_mul(g, t, logs)));
}

static ir_vid reweighted(struct loss_builder *b, ir_vid t, ir_vid given, ir_vid z, ir_vid transition) {
    struct ir_graph *g = b->g;
    ir_vid p = loss_softmax(b, z), noisy = ir_matmul(g, p, transition, 0, 0);
    ir_vid below = ir_binary(g, IR_OP_max, at_label(b, given, noisy), ir_const_f(g, FLOOR));
    ir_vid w = ir_stop_gradient(g, ir_div(g, at_label(b, given, p), below));
    return ir_mul(g, w, loss_cross_entropy(b, t, z, 0));
}

static ir_vid rows_of(struct loss_builder *b, ir_vid t, ir_vid given, ir_vid z, ir_vid transition) {
    static const struct {
        const char *use;
        ir_vid (*rows)(struct loss_builder *b, ir_vid t, ir_vid given, ir_vid z, ir_vid transition);
    } uses[] = {{"forward", forward}, {"reweight", reweighted}};
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++)
        if (loss_is(b, "use", uses[i].use)) return uses[i].rows(b, t, given, z, transition);
    BUG("no such use of a transition matrix");
}

static void draw_one(struct loss_builder *b, int k, ir_vid t, ir_vid given) {
    struct ir_graph *g = b->g;
    const int64_t c = b->o->classes;
    ir_vid z = loss_logits(b, k), transition = loss_state(b, "transition", k, 2, (int64_t[]){c, c});
    ir_vid loss = loss_weighted_mean(b, rows_of(b, t, given, z, transition), given);
    if (!loss_is(b, "estimator", "given")) {
        ir_vid first = ir_binary(g, IR_OP_lt, loss_scalar(b, "round"), ir_const_f(g, 1.5));
        loss = ir_where(g, first, loss_label_term(b, t, given, z, 0), loss);
        ir_vid looks = ir_binary(g, IR_OP_lt, ir_const_f(g, 0), loss_scalar(b, "survey"));
        ir_vid says = ir_stop_gradient(g, loss_softmax(b, z)), old = loss_table(b, "said", k, c);
        loss_set_table(b, "said", k, ir_where(g, looks, says, old));
    }
    loss_output_of(b, "loss", k, loss);
    loss_output_of(b, "entropy", k, loss_entropy(b, z));
}

void loss_draw_transition(struct loss_builder *b) {
    ir_vid given, t = loss_targets(b, &given);
    for (int k = 0; k < b->o->peers; k++) draw_one(b, k, t, given);
}
