// Layers of a method's own. Their numbers are states of the run: "state.fc.weight", "state.fc.bias". What trains a
// method trains them along; what predicts only looks at them.
#include "losses_internal.h"

static ir_vid numbers(struct loss_builder *b, const struct loss_layer *l, const char *what, int rank,
                      const int64_t *dims) {
    const char *name = arena_printf(b->a, "%s.%s", l->name, what);
    if (l->how) loss_train_state(b, name, l->peer, l->how);
    return loss_state(b, name, l->peer, rank, dims);
}

ir_vid loss_conv(struct loss_builder *b, const struct loss_layer *l, ir_vid x, int64_t out, int64_t side,
                 int64_t groups) {
    const int64_t edge = side / 2, in = b->g->values[x].type.dims[1];
    ir_vid w = numbers(b, l, "weight", 4, (int64_t[]){out, in / groups, side, side});
    return ir_emit(b->g, IR_OP_conv, (ir_vid[]){x, w}, 2,
                   IR_ATTRS(IR_IS("strides", ((int64_t[]){1, 1}), 2),
                            IR_IS("pads", ((int64_t[]){edge, edge, edge, edge}), 4),
                            IR_IS("dilations", ((int64_t[]){1, 1}), 2), IR_I("group", groups)));
}

ir_vid loss_bias(struct loss_builder *b, const struct loss_layer *l, ir_vid x) {
    const struct ir_type t = b->g->values[x].type;
    const int64_t n = t.dims[loss_channels_at(&t)];
    ir_vid bias = numbers(b, l, "bias", 1, &n);
    return ir_add(b->g, x, t.rank == 4 ? ir_reshape(b->g, bias, 4, (int64_t[]){1, n, 1, 1}) : bias);
}

ir_vid loss_linear(struct loss_builder *b, const struct loss_layer *l, ir_vid x, int64_t out) {
    const struct ir_type t = b->g->values[x].type;
    if (t.rank == 4) return loss_bias(b, l, loss_conv(b, l, x, out, 1, 1));
    ir_vid w = numbers(b, l, "weight", 2, (int64_t[]){out, t.dims[t.rank - 1]});
    return loss_bias(b, l, ir_matmul(b->g, x, w, 0, 1));
}

// The running statistics are what a norm remembers of its batches: states that no gradient trains.
ir_vid loss_norm(struct loss_builder *b, const struct loss_layer *l, ir_vid x) {
    struct ir_graph *g = b->g;
    const int64_t n = g->values[x].type.dims[1];
    const char *mean = arena_printf(b->a, "%s.running_mean", l->name),
               *var = arena_printf(b->a, "%s.running_var", l->name);
    ir_vid in[] = {x, numbers(b, l, "scale", 1, &n), numbers(b, l, "shift", 1, &n), loss_state(b, mean, l->peer, 1, &n),
                   loss_state(b, var, l->peer, 1, &n)};
    ir_nid node = ir_node_new(g, IR_OP_batch_norm, in, 5, IR_ATTRS(IR_I("training", l->how != NULL)));
    const ir_vid *out = g->nodes[node].out;
    if (!l->how) return out[0];
    loss_set_state(b, mean, l->peer, out[1]);
    loss_set_state(b, var, l->peer, out[2]);
    return out[0];
}

ir_vid loss_pooled(struct loss_builder *b, ir_vid map) {
    const struct ir_type t = b->g->values[map].type;
    ir_vid sum = ir_reduce(b->g, IR_OP_reduce_sum, map, (int64_t[]){2, 3}, 2, 0);
    return ir_div(b->g, sum, ir_const_f(b->g, (double)(t.dims[2] * t.dims[3])));
}
