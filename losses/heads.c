// Self-distillation: PS-KD, BYOT and DMFL, alone and together (methods.md 4). Each network by itself; with y the
// labels, refined where PS-KD is on, z and f the logits and features of the network, z_i and f_i those of its n heads:
//
//   L = H(y, p)
//     + beta sum_i sum (f_i - sg f)^2 [f_i > 0 or f > 0]                                         (BYOT)
//     + alpha sum_i T^2 H(sg p(T), p_i(T)) + (1-alpha) (H(y, p) + sum_i H(y, p_i))
//     + 1/n sum_i [H(sg s(f), s(f_i)) + H(sg s(f_i), s(f))], s = softmax over the channels        (DMFL)
//   y = (1-a) q + a P, a = alpha_T progress, P what the network said in the epoch before          (PS-KD)
#include "losses_internal.h"

// mean_i H(t, softmax z)
static ir_vid cross_entropy(struct loss_builder *b, ir_vid target, ir_vid z) {
    return loss_mean_rows(b, loss_cross_entropy(b, target, z, 0));
}

static ir_vid add(struct loss_builder *b, ir_vid sum, ir_vid x) { return sum == IR_NONE ? x : ir_add(b->g, sum, x); }

// sum (f_i - sg f)^2 over batch and channels, where one of the two is more than 0.
static ir_vid distance(struct loss_builder *b, ir_vid fi, ir_vid f) {
    struct ir_graph *g = b->g;
    ir_vid zero = ir_const_f(g, 0), d = ir_sub(g, fi, ir_stop_gradient(g, f));
    ir_vid counts = ir_binary(g, IR_OP_or, ir_binary(g, IR_OP_lt, zero, fi), ir_binary(g, IR_OP_lt, zero, f));
    return loss_sum_rows(b, loss_sum_columns(b, ir_where(g, counts, ir_mul(g, d, d), zero)));
}

static ir_vid byot(struct loss_builder *b, const struct loss_heads *net, ir_vid y, ir_vid given, ir_vid own) {
    struct ir_graph *g = b->g;
    ir_vid t = loss_scalar(b, "temperature"), alpha = loss_scalar(b, "byot_alpha");
    ir_vid said = ir_stop_gradient(g, loss_softmax(b, ir_div(g, net->z, t)));
    ir_vid labels = own, taught = IR_NONE, features = IR_NONE;
    for (int i = 0; i < net->n; i++) {
        labels = ir_add(g, labels, loss_label_term(b, y, given, net->head[i], 0));
        taught = add(b, taught, cross_entropy(b, said, ir_div(g, net->head[i], t)));
        features = add(b, features, distance(b, net->feature[i], net->f));
    }
    ir_vid kd = ir_mul(g, ir_mul(g, alpha, ir_mul(g, t, t)), taught);
    ir_vid rest = ir_mul(g, ir_sub(g, ir_const_f(g, 1), alpha), labels);
    return ir_add(g, ir_mul(g, loss_scalar(b, "byot_beta"), features), ir_add(g, kd, rest));
}

static ir_vid dmfl(struct loss_builder *b, const struct loss_heads *net) {
    struct ir_graph *g = b->g;
    ir_vid sum = IR_NONE, all = ir_stop_gradient(g, loss_softmax(b, net->f));
    for (int i = 0; i < net->n; i++) {
        sum = add(b, sum, cross_entropy(b, all, net->feature[i]));
        sum = add(b, sum, cross_entropy(b, ir_stop_gradient(g, loss_softmax(b, net->feature[i])), net->f));
    }
    ir_vid mean = ir_div(g, sum, ir_const_f(g, net->n));
    return loss_is(b, "dmfl", "value") ? ir_stop_gradient(g, mean) : mean;
}

// The labels, moved towards what the network said of these images in the epoch before.
static ir_vid with_past(struct loss_builder *b, int k, ir_vid q) {
    struct ir_graph *g = b->g;
    ir_vid a = ir_mul(g, loss_scalar(b, "alpha_t"), loss_scalar(b, "progress"));
    ir_vid prev = loss_table(b, "prev", k, b->o->classes);
    loss_set_table(b, "prev", k, ir_stop_gradient(g, loss_softmax(b, loss_logits(b, k))));
    return ir_add(g, ir_mul(g, ir_sub(g, ir_const_f(g, 1), a), q), ir_mul(g, a, prev));
}

static void draw_one(struct loss_builder *b, int k, ir_vid q, ir_vid given) {
    struct ir_graph *g = b->g;
    const bool with_byot = loss_is(b, "byot", "on"), with_dmfl = !loss_is(b, "dmfl", "off");
    struct loss_heads net = {.z = loss_logits(b, k)};
    if ((with_byot || with_dmfl) && !(loss_find_heads(b, k, &net) && loss_find_features(b, k, &net, true))) return;
    ir_vid y = loss_is(b, "ps-kd", "on") ? with_past(b, k, q) : q, own = loss_label_term(b, y, given, net.z, 0),
           loss = own;
    if (with_byot) loss = ir_add(g, loss, byot(b, &net, y, given, own));
    if (with_dmfl) {
        ir_vid term = dmfl(b, &net);
        loss_output_of(b, "feature_loss", k, ir_stop_gradient(g, term));
        loss = ir_add(g, loss, term);
    }
    loss_output_of(b, "loss", k, loss);
    if (loss_is(b, "ps-kd", "on")) loss_output_of(b, "corrected", k, loss_class(b, y));
}

// Each head as a classifier of its own; together the network and all heads but the deepest, as the paper's code has it
// (methods.md 4.7), or all where there is only one.
static void predict_one(struct loss_builder *b, int k, ir_vid *all) {
    struct ir_graph *g = b->g;
    struct loss_heads net;
    if (!loss_find_heads(b, k, &net)) return;
    ir_vid sum = net.z;
    const int together = net.n > 1 ? net.n - 1 : net.n;
    for (int i = 0; i < net.n; i++) {
        loss_output_of(b, arena_printf(b->a, "probs.head%d", i + 1), k, loss_softmax(b, net.head[i]));
        if (i < together) sum = ir_add(g, sum, net.head[i]);
    }
    ir_vid p = loss_softmax(b, ir_div(g, sum, ir_const_f(g, net.n + 1)));
    loss_output_of(b, "probs.heads", k, p);
    *all = add(b, *all, p);
}

void loss_draw_heads(struct loss_builder *b) {
    if (b->o->predict) {
        ir_vid all = IR_NONE;
        for (int k = 0; k < b->o->peers; k++) predict_one(b, k, &all);
        if (all != IR_NONE) loss_output(b, "probs.ensemble", ir_div(b->g, all, ir_const_f(b->g, b->o->peers)));
        return;
    }
    ir_vid given, q = loss_targets(b, &given);
    for (int k = 0; k < b->o->peers; k++) draw_one(b, k, q, given);
}
