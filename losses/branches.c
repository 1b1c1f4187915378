// PCL (methods.md 3.5), each network by itself. Its m branches are its heads and itself, with logits z_i and features
// f_i; z_e are the logits of a classifier of all features, which is trained along, za_i those of the branches of the
// network's moving average.
//
//   z_e = W (f_1 .. f_m) + bias
//   L   = sum_i H(q, p_i) + H(q, p_e) + w sum_i [D(z_e, z_i) + 1/(m-1) sum over j != i of D(za_j, z_i)]
//   D(z, z_i) = T^2 KL(sg softmax(z/T) || softmax(z_i/T)),    w = weight exp(-5 (1 - min(epoch/ramp, 1))^2)
//
// The classifier learns by H(q, p_e), and predicts for all branches.
#include "losses_internal.h"

// The network's branches, and z_e. False after a report.
static bool find(struct loss_builder *b, int k, const struct loss_training *how, struct loss_heads *net,
                 ir_vid *together) {
    if (!loss_find_heads(b, k, net) || !loss_find_features(b, k, net, false)) return false;
    const struct loss_layer classifier = {"classifier", k, how};
    ir_vid all[LOSS_MAX_HEADS + 1];
    for (int i = 0; i < net->n; i++) all[i] = net->feature[i];
    all[net->n] = net->f;
    ir_vid x = ir_emit(b->g, IR_OP_concat, all, (size_t)net->n + 1, IR_ATTRS(IR_I("axis", 1)));
    *together = loss_linear(b, &classifier, x, b->o->classes);
    return true;
}

// What branch i, with logits z, lacks of what its average's other branches say, [N].
static ir_vid from_averages(struct loss_builder *b, int k, int n, int i, ir_vid z) {
    struct ir_graph *g = b->g;
    ir_vid sum = IR_NONE;
    for (int j = 0; j <= n; j++) {
        if (j == i) continue;
        ir_vid said = j < n ? loss_average_tap(b, k, arena_printf(b->a, "head%d", j + 1)) : loss_average(b, k);
        ir_vid d = loss_divergence_of(b, said, z);
        sum = sum == IR_NONE ? d : ir_add(g, sum, d);
    }
    return n > 1 ? ir_div(g, sum, ir_const_f(g, n)) : sum;
}

static void draw_one(struct loss_builder *b, int k, ir_vid q, ir_vid given, ir_vid w) {
    struct ir_graph *g = b->g;
    const struct loss_training how = loss_as_network(b, "classifier");
    struct loss_heads net;
    ir_vid ze;
    if (!find(b, k, &how, &net, &ze)) return;
    ir_vid loss = loss_label_term(b, q, given, ze, 0), taught = IR_NONE;
    for (int i = 0; i <= net.n; i++) {
        ir_vid z = i < net.n ? net.head[i] : net.z;
        ir_vid d = ir_add(g, loss_divergence_of(b, ze, z), from_averages(b, k, net.n, i, z));
        loss = ir_add(g, loss, loss_label_term(b, q, given, z, 0));
        taught = taught == IR_NONE ? d : ir_add(g, taught, d);
    }
    loss_output_of(b, "loss", k, ir_add(g, loss, ir_mul(g, w, loss_mean_rows(b, taught))));
    loss_output_of(b, "divergence", k, taught);
    loss_output_of(b, "entropy", k, loss_entropy(b, net.z));
}

// Each branch, and the classifier of all; of several networks the mean of what these say.
static void predict(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    ir_vid sum = IR_NONE;
    for (int k = 0; k < b->o->peers; k++) {
        struct loss_heads net;
        ir_vid ze;
        if (!find(b, k, NULL, &net, &ze)) return;
        for (int i = 0; i < net.n; i++)
            loss_output_of(b, arena_printf(b->a, "probs.head%d", i + 1), k, loss_softmax(b, net.head[i]));
        ir_vid p = loss_softmax(b, ze);
        loss_output_of(b, "probs.heads", k, p);
        sum = k ? ir_add(g, sum, p) : p;
    }
    loss_output(b, "probs.ensemble", ir_div(g, sum, ir_const_f(g, b->o->peers)));
}

void loss_draw_branches(struct loss_builder *b) {
    if (b->o->predict) {
        predict(b);
        return;
    }
    ir_vid given, q = loss_targets(b, &given);
    ir_vid w = ir_mul(b->g, loss_scalar(b, "distill_weight"), loss_risen(b));
    for (int k = 0; k < b->o->peers; k++) draw_one(b, k, q, given, w);
}
