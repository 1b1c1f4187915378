// Distilled predictions (methods.md 3). For network k on N rows,
//
//   L_k = a mean_i H(q_i, p_k,i) + b mean_i D_k,i      a, b = 1 - epsilon, epsilon   or   1, --distill-weight
//   D_k = T^2 KL(sg softmax(z/T) || softmax(z_k/T))     of each source z, their mean or their sum
//
// Sources are constants: no gradient of L_k reaches another network.
#include "losses_internal.h"

#include <string.h>

// What is softened: divided by the temperature.
static ir_vid cooled(struct loss_builder *b, ir_vid z) { return ir_div(b->g, z, loss_scalar(b, "temperature")); }

// T^2 KL(sg softmax(source/T) || softmax(z_k/T)), [N].
static ir_vid divergence(struct loss_builder *b, ir_vid source, int k) {
    struct ir_graph *g = b->g;
    ir_vid t = loss_scalar(b, "temperature"), says = ir_stop_gradient(g, loss_softmax(b, cooled(b, source)));
    ir_vid in[] = {says, cooled(b, loss_logits(b, k))};
    return ir_mul(g, ir_mul(g, t, t), ir_emit(g, IR_OP_kl_div, in, 2, IR_NO_ATTRS));
}

static ir_vid from_peers(struct loss_builder *b, int k) {
    struct ir_graph *g = b->g;
    ir_vid sum = IR_NONE;
    for (int j = 0; j < b->o->peers; j++) {
        if (j == k) continue;
        ir_vid d = divergence(b, loss_logits(b, j), k);
        sum = sum == IR_NONE ? d : ir_add(g, sum, d);
    }
    bool mean = loss_is(b, "several", "mean") && b->o->peers > 2;
    return mean ? ir_div(g, sum, ir_const_f(g, b->o->peers - 1)) : sum;
}

// A frozen network's output, which a run gives beside each peer's: teacher.K.
static ir_vid from_teacher(struct loss_builder *b, int k) { return divergence(b, loss_teacher(b, k), k); }

static const struct {
    const char *from;
    ir_vid (*distilled)(struct loss_builder *b, int k); // D_k, [N]
} sources[] = {{"peer", from_peers}, {"teacher", from_teacher}, {"former", from_teacher}};

static ir_vid distilled(struct loss_builder *b, int k) {
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        if (loss_is(b, "from", sources[i].from)) return sources[i].distilled(b, k);
    BUG("nothing to distil from");
}

void loss_draw_distill(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    const bool split = loss_is(b, "balance", "split");
    ir_vid given, q = loss_targets(b, &given), weight = loss_scalar(b, split ? "epsilon" : "distill_weight");
    for (int k = 0; k < b->o->peers; k++) {
        ir_vid z = loss_logits(b, k), own = loss_label_term(b, q, given, z, 0), d = distilled(b, k);
        ir_vid part = split ? ir_mul(g, ir_sub(g, ir_const_f(g, 1), weight), own) : own;
        ir_vid loss = ir_add(g, part, ir_mul(g, weight, loss_mean_rows(b, d)));
        if (loss_is(b, "from", "former")) { // there is none in the first round
            ir_vid first = ir_binary(g, IR_OP_lt, loss_scalar(b, "round"), ir_const_f(g, 1.5));
            loss = ir_where(g, first, own, loss);
            d = ir_where(g, first, ir_const_f(g, 0), d);
        }
        loss_output_of(b, "loss", k, loss);
        loss_output_of(b, "divergence", k, d);
        loss_output_of(b, "entropy", k, loss_entropy(b, z));
    }
}
