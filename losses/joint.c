// Joint optimisation (methods.md 6.5). In its first stage, with s the label, from --relabel-start on the mean of what
// the network said of the image in the last ten epochs, and u = 1/C,
//
//   L = mean KL(s || p) + prior-weight sum_j u_j ln(u_j / mean p_j) + entropy-weight mean H(p)
//
// In the second, which begins anew, s stays as it is and the first term is all.
#include "losses_internal.h"

enum { EPOCHS = 10 }; // whose predictions are kept

#define FLOOR 1e-8 // below which a class's mean prediction counts as this

// Epochs take turns in the table [N,10,C]; an epoch that left an image out, or is yet to come, has zeros, and the mean
// is over the others. Of an image without any it is the given label.
static ir_vid mean_of_epochs(struct loss_builder *b, ir_vid history, ir_vid given) {
    struct ir_graph *g = b->g;
    int64_t axis = 1;
    ir_vid sum = ir_reduce(g, IR_OP_reduce_sum, history, &axis, 1, 0),
           mass = ir_reshape(g, loss_sum_columns(b, sum), 2, (int64_t[]){IR_N, 1});
    ir_vid some = ir_binary(g, IR_OP_lt, ir_const_f(g, 0.5), mass);
    return ir_where(g, some, ir_div(g, sum, ir_where(g, some, mass, ir_const_f(g, 1))), given);
}

static ir_vid with_now(struct loss_builder *b, ir_vid history, ir_vid p) {
    struct ir_graph *g = b->g;
    ir_vid said = ir_reshape(g, ir_stop_gradient(g, p), 3, (int64_t[]){IR_N, 1, b->o->classes});
    return ir_where(g, loss_turn(b, EPOCHS, 3), said, history);
}

static void draw_one(struct loss_builder *b, int k, ir_vid t, ir_vid given) {
    struct ir_graph *g = b->g;
    const int64_t c = b->o->classes;
    ir_vid z = loss_logits(b, k), p = loss_softmax(b, z), h = loss_entropy(b, z), zero = ir_const_f(g, 0);
    ir_vid table = loss_table(b, "history", k, EPOCHS * c),
           history = ir_reshape(g, table, 3, (int64_t[]){IR_N, EPOCHS, c});
    ir_vid first = ir_binary(g, IR_OP_lt, loss_scalar(b, "round"), ir_const_f(g, 1.5));
    ir_vid early = ir_binary(g, IR_OP_lt, loss_scalar(b, "epoch"), loss_scalar(b, "relabel_start"));
    ir_vid s = ir_where(g, ir_binary(g, IR_OP_and, first, early), t, mean_of_epochs(b, history, t));
    ir_vid in[] = {s, z}, rows = ir_emit(g, IR_OP_kl_div, in, 2, IR_NO_ATTRS);
    ir_vid prior = ir_mul(g, loss_scalar(b, "prior_weight"), loss_uniform_prior(b, p, FLOOR));
    ir_vid entropy = ir_mul(g, loss_scalar(b, "entropy_weight"), loss_mean_rows(b, h));
    ir_vid loss = ir_add(g, loss_weighted_mean(b, rows, given), ir_where(g, first, ir_add(g, prior, entropy), zero));
    loss_output_of(b, "loss", k, loss);
    loss_output_of(b, "entropy", k, h);
    loss_output_of(b, "corrected", k, loss_class(b, s));
    ir_vid next = ir_reshape(g, with_now(b, history, p), 2, (int64_t[]){IR_N, EPOCHS * c});
    loss_set_table(b, "history", k, ir_where(g, first, next, table));
}

void loss_draw_joint(struct loss_builder *b) {
    ir_vid given, t = loss_targets(b, &given);
    for (int k = 0; k < b->o->peers; k++) draw_one(b, k, t, given);
}
