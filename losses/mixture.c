// M-correction (methods.md 6.23). With w the probability that a row's label is wrong, 0 before --mixture-start,
//
//   L = mean (1 - w) H(q, p) + w H(d, p) + prior-weight sum_j u_j ln(u_j / mean p_j)
//   d = the class that is predicted, one-hot (hard), or p itself (soft), a constant; u = 1/C
//
// The last term counts from --mixture-start on.
#include "losses_internal.h"

#include <math.h>
#include <string.h>

#define FLOOR 1e-8 // below which a class's mean prediction counts as this

static ir_vid own_label(struct loss_builder *b, ir_vid z) {
    struct ir_graph *g = b->g;
    if (loss_is(b, "bootstrap", "soft")) return ir_stop_gradient(g, loss_softmax(b, z));
    ir_vid best = ir_emit(g, IR_OP_argmax, &z, 1, IR_ATTRS(IR_I("axis", 1), IR_I("keepdims", 0)));
    return ir_emit(g, IR_OP_one_hot, &best, 1, IR_ATTRS(IR_I("classes", b->o->classes)));
}

static void draw_one(struct loss_builder *b, int k, ir_vid t, ir_vid given) {
    struct ir_graph *g = b->g;
    ir_vid z = loss_logits(b, k), zero = ir_const_f(g, 0), one = ir_const_f(g, 1), w = loss_table(b, "wrong", k, 0);
    ir_vid label = loss_cross_entropy(b, t, z, 0), own = loss_cross_entropy(b, own_label(b, z), z, 0);
    ir_vid rows = ir_add(g, ir_mul(g, ir_sub(g, one, w), label), ir_mul(g, w, own));
    ir_vid before = ir_binary(g, IR_OP_lt, loss_scalar(b, "epoch"), loss_scalar(b, "mixture_start"));
    ir_vid weight = ir_where(g, before, zero, loss_scalar(b, "prior_weight"));
    ir_vid loss = ir_add(g, loss_weighted_mean(b, rows, given),
                         ir_mul(g, weight, loss_uniform_prior(b, loss_softmax(b, z), FLOOR)));
    ir_vid looks = ir_binary(g, IR_OP_lt, zero, loss_scalar(b, "survey"));
    loss_output_of(b, "loss", k, loss);
    loss_output_of(b, "entropy", k, loss_entropy(b, z));
    loss_output_of(b, "kept", k, ir_where(g, ir_binary(g, IR_OP_lt, w, ir_const_f(g, 0.5)), one, zero));
    loss_set_table(b, "loss", k, ir_where(g, looks, ir_stop_gradient(g, label), loss_table(b, "loss", k, 0)));
}

void loss_draw_mixture(struct loss_builder *b) {
    ir_vid given, t = loss_targets(b, &given);
    for (int k = 0; k < b->o->peers; k++) draw_one(b, k, t, given);
}
