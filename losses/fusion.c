// FFL (methods.md 3.5). For P networks on N rows, F_k the last feature map of network k with C_k channels and z_f the
// logits of a module that is trained along:
//
//   F   = F_1 .. F_P behind each other, C = sum of C_k channels
//   F'  = relu(norm(depth(F))),   depth: a filter 3x3 for each channel
//   F'' = relu(norm(point(F'))),  point: 1x1, to C/P channels
//   z_f = W mean over places of F'' + bias
//   L_f = H(q, p_f) + w T^2 KL(sg softmax(zm/T) || softmax(z_f/T)),     zm = mean_k z_k
//   L_k = H(q, p_k) + w T^2 KL(sg softmax(z_f/T) || softmax(z_k/T)) + L_f
//   w   = weight exp(-5 (1 - min(epoch/ramp, 1))^2)
//
// What a network's gradient comes from is L_k; all of them together are the paper's sum, since targets are constants.
// The module learns by L_f, and predicts for all of them.
#include "losses_internal.h"

// F; IR_NONE after a report.
static ir_vid maps(struct loss_builder *b) {
    ir_vid map[METHOD_MAX_PEERS];
    if (!loss_find_maps(b, "feature", map)) return IR_NONE;
    return ir_emit(b->g, IR_OP_concat, map, (size_t)b->o->peers, IR_ATTRS(IR_I("axis", 1)));
}

static ir_vid filtered(struct loss_builder *b, const struct loss_layer *l, ir_vid x, int64_t out, int64_t side,
                       int64_t groups) {
    return ir_unary(b->g, IR_OP_relu, loss_norm(b, l, loss_conv(b, l, x, out, side, groups)));
}

// z_f; IR_NONE after a report.
static ir_vid fused(struct loss_builder *b, const struct loss_training *how) {
    const struct loss_layer depth = {"fusion.depth", -1, how}, point = {"fusion.point", -1, how},
                            fc = {"fusion.fc", -1, how};
    ir_vid x = maps(b);
    if (x == IR_NONE) return x;
    const int64_t c = b->g->values[x].type.dims[1];
    x = filtered(b, &depth, x, c, 3, c);
    x = filtered(b, &point, x, c / b->o->peers, 1, 1);
    return loss_linear(b, &fc, loss_pooled(b, x), b->o->classes);
}

static ir_vid mean_logits(struct loss_builder *b) {
    ir_vid sum = loss_logits(b, 0);
    for (int k = 1; k < b->o->peers; k++) sum = ir_add(b->g, sum, loss_logits(b, k));
    return ir_div(b->g, sum, ir_const_f(b->g, b->o->peers));
}

void loss_draw_fusion(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    struct loss_training how = loss_as_network(b, "fusion");
    how.decay = "fusion_decay";
    how.loss = "fused_loss";
    ir_vid zf = fused(b, b->o->predict ? NULL : &how);
    if (zf == IR_NONE) return;
    if (b->o->predict) {
        loss_output(b, "probs.ensemble", loss_softmax(b, zf));
        return;
    }
    ir_vid given, q = loss_targets(b, &given), w = ir_mul(g, loss_scalar(b, "distill_weight"), loss_risen(b));
    ir_vid d = loss_divergence_of(b, mean_logits(b), zf);
    ir_vid lf = ir_add(g, loss_label_term(b, q, given, zf, 0), ir_mul(g, w, loss_mean_rows(b, d)));
    loss_output(b, "fused_loss", lf);
    loss_output(b, "fused_divergence", d);
    for (int k = 0; k < b->o->peers; k++) {
        ir_vid z = loss_logits(b, k), taught = loss_divergence(b, zf, k);
        ir_vid own = ir_add(g, loss_label_term(b, q, given, z, 0), ir_mul(g, w, loss_mean_rows(b, taught)));
        loss_output_of(b, "loss", k, ir_add(g, own, lf));
        loss_output_of(b, "divergence", k, taught);
        loss_output_of(b, "entropy", k, loss_entropy(b, z));
    }
}
