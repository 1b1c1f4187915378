// Generalised cross entropy, symmetric cross entropy and active-passive losses, of rows with labels t, one-hot or not
// (methods.md 6.2-6.4):
//
//   GCE = sum_j t_j (1 - p_j^q) / q          CE = -sum t ln p               NCE = sum t ln p / sum_j ln p_j
//   RCE = -sum p ln max(t, 1e-4)             MAE = 1 - sum t p
//
// L is the mean of GCE, or of alpha times an active loss plus beta times a passive one.
#include "losses_internal.h"

static ir_vid gce(struct loss_builder *b, ir_vid t, ir_vid z) {
    struct ir_graph *g = b->g;
    ir_vid q = loss_scalar(b, "gce_q"), power = ir_unary(g, IR_OP_exp, ir_mul(g, q, loss_log_softmax(b, z)));
    return ir_div(g, loss_sum_columns(b, ir_mul(g, t, ir_sub(g, ir_const_f(g, 1), power))), q);
}

static ir_vid ce(struct loss_builder *b, ir_vid t, ir_vid z) { return loss_cross_entropy(b, t, z, 0); }

static ir_vid nce(struct loss_builder *b, ir_vid t, ir_vid z) {
    struct ir_graph *g = b->g;
    ir_vid all = ir_unary(g, IR_OP_neg, loss_sum_columns(b, loss_log_softmax(b, z))); // at least C ln C
    return ir_div(g, ce(b, t, z), all);
}

static ir_vid rce(struct loss_builder *b, ir_vid t, ir_vid z) {
    struct ir_graph *g = b->g;
    ir_vid log_t = ir_unary(g, IR_OP_log, ir_binary(g, IR_OP_max, t, ir_const_f(g, 1e-4)));
    return ir_unary(g, IR_OP_neg, loss_sum_columns(b, ir_mul(g, loss_softmax(b, z), log_t)));
}

// As the sum of what is off the label: 1 - sum t p would lose the digits of small ones.
static ir_vid mae(struct loss_builder *b, ir_vid t, ir_vid z) {
    struct ir_graph *g = b->g;
    return loss_sum_columns(b, ir_mul(g, ir_sub(g, ir_const_f(g, 1), t), loss_softmax(b, z)));
}

typedef ir_vid rows_fn(struct loss_builder *b, ir_vid t, ir_vid z); // [N]

static const struct {
    const char *rule;
    rows_fn *active, *passive; // passive NULL: the other one alone
} rules[] = {{"gce", gce, NULL}, {"sce", ce, rce}, {"nce-rce", nce, rce}, {"nce-mae", nce, mae}};

static ir_vid rows_of(struct loss_builder *b, ir_vid t, ir_vid z) {
    struct ir_graph *g = b->g;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (!loss_is(b, "rule", rules[i].rule)) continue;
        ir_vid active = rules[i].active(b, t, z);
        if (!rules[i].passive) return active;
        ir_vid passive = ir_mul(g, loss_scalar(b, "loss_beta"), rules[i].passive(b, t, z));
        return ir_add(g, ir_mul(g, loss_scalar(b, "loss_alpha"), active), passive);
    }
    BUG("no such robust loss");
}

void loss_draw_robust(struct loss_builder *b) {
    ir_vid given, t = loss_targets(b, &given);
    for (int k = 0; k < b->o->peers; k++) {
        ir_vid z = loss_logits(b, k);
        loss_output_of(b, "loss", k, loss_weighted_mean(b, rows_of(b, t, z), given));
        loss_output_of(b, "entropy", k, loss_entropy(b, z));
    }
}
