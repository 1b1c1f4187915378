// FitNets (Romero 2015). For network k on N rows: s is an output inside it, t one inside its frozen teacher, r a linear
// map from the channels of s to those of t with a bias, trained along, and M the numbers of t for one image:
//
//   D_k = 1/M ||t - r(s)||^2                                        of each row
//   L_k = W/2 mean D_k                                              in the first --hint-epochs
//   L_k = (1-e) mean H(q, p_k) + e mean T^2 KL(sg softmax(z_t/T) || softmax(z_k/T)) + W'/2 mean D_k     then
//   e   = epsilon (1 - decay (epoch - first) / (last - first))
//
// W = --hint-weight, W' = --hint-later. While L_k is the hint alone, nothing above s has a gradient.
#include "losses_internal.h"

// --- which two ------------------------------------------------------------------------------------------------------

static bool compare(struct loss_builder *b, ir_vid hint, ir_vid guided) {
    const struct ir_value *t = &b->g->values[hint], *s = &b->g->values[guided];
    bool same = t->type.rank == s->type.rank && t->type.rank >= 2 && t->type.rank <= 4;
    for (int i = 1; i < t->type.rank && same; i++)
        same = i == loss_channels_at(&t->type) || t->type.dims[i] == s->type.dims[i];
    if (same) return true;
    struct str hint_is = STR_INIT, guided_is = STR_INIT;
    ir_print_type(&t->type, &hint_is);
    ir_print_type(&s->type, &guided_is);
    diag_error(b->d, NULL,
               "the method %s compares \"%s\" %s with \"%s\" %s, which may differ in their channels only; take outputs "
               "[N,C], [N,T,C] or [N,C,H,W] of one size",
               b->o->method->name, t->name, hint_is.s, s->name, guided_is.s);
    str_release(&hint_is);
    str_release(&guided_is);
    return false;
}

// --- the hint -------------------------------------------------------------------------------------------------------

// D_k, [N].
static ir_vid distance(struct loss_builder *b, int k, const struct loss_training *how) {
    struct ir_graph *g = b->g;
    ir_vid hint = loss_find_tap(b, true, k, "hint"), guided = loss_find_tap(b, false, k, "guided");
    if (hint == IR_NONE || guided == IR_NONE || !compare(b, hint, guided)) return IR_NONE;
    const struct ir_type t = g->values[hint].type;
    const struct loss_layer r = {.name = "regressor", .peer = k, .how = how};
    ir_vid d = ir_sub(g, ir_stop_gradient(g, hint), loss_linear(b, &r, guided, t.dims[loss_channels_at(&t)]));
    const int64_t axes[] = {1, 2, 3};
    double numbers = 1;
    for (int i = 1; i < t.rank; i++) numbers *= (double)t.dims[i];
    ir_vid sum = ir_reduce(g, IR_OP_reduce_sum, ir_mul(g, d, d), axes, (size_t)t.rank - 1, 0);
    return ir_div(g, sum, ir_const_f(g, numbers));
}

// --- the loss -------------------------------------------------------------------------------------------------------

// How many epochs are the hint's alone.
static ir_vid first_epochs(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    ir_vid given = loss_scalar(b, "hint_epochs"), zero = ir_const_f(g, 0);
    ir_vid quarter = ir_unary(g, IR_OP_floor, ir_mul(g, loss_scalar(b, "epochs"), ir_const_f(g, 0.25)));
    return ir_where(g, ir_binary(g, IR_OP_lt, given, zero), quarter, given);
}

// epsilon, less its decay over the epochs behind the first.
static ir_vid share(struct loss_builder *b, ir_vid first) {
    struct ir_graph *g = b->g;
    ir_vid one = ir_const_f(g, 1), zero = ir_const_f(g, 0), begun = ir_add(g, first, one);
    ir_vid past = ir_binary(g, IR_OP_max, ir_sub(g, loss_scalar(b, "epoch"), begun), zero);
    ir_vid all = ir_binary(g, IR_OP_max, ir_sub(g, loss_scalar(b, "epochs"), begun), one);
    ir_vid lost = ir_mul(g, loss_scalar(b, "epsilon_decay"), ir_binary(g, IR_OP_min, ir_div(g, past, all), one));
    return ir_mul(g, loss_scalar(b, "epsilon"), ir_sub(g, one, lost));
}

// weight/2 mean D
static ir_vid weighed(struct loss_builder *b, const char *weight, ir_vid distance) {
    struct ir_graph *g = b->g;
    return ir_mul(g, ir_mul(g, ir_const_f(g, 0.5), loss_scalar(b, weight)), loss_mean_rows(b, distance));
}

void loss_draw_hints(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    // The map stands still where nothing looks at it any more.
    const struct loss_training how = {.rule = loss_is(b, "regressor", "adam") ? LOSS_ADAM : LOSS_SGD,
                                      .rate = "regressor_lr",
                                      .momentum = "momentum",
                                      .decay = "weight_decay"};
    ir_vid given, q = loss_targets(b, &given), first = first_epochs(b), one = ir_const_f(g, 1), zero = ir_const_f(g, 0);
    ir_vid alone = ir_binary(g, IR_OP_le, loss_scalar(b, "epoch"), first), e = share(b, first);
    for (int k = 0; k < b->o->peers; k++) {
        ir_vid z = loss_logits(b, k), d = distance(b, k, &how);
        if (d == IR_NONE) return;
        ir_vid kl = loss_divergence(b, loss_teacher(b, k), k);
        ir_vid said = ir_add(g, ir_mul(g, ir_sub(g, one, e), loss_label_term(b, q, given, z, 0)),
                             ir_mul(g, e, loss_mean_rows(b, kl)));
        ir_vid later = ir_add(g, said, weighed(b, "hint_later", d));
        loss_output_of(b, "loss", k, ir_where(g, alone, weighed(b, "hint_weight", d), later));
        loss_output_of(b, "hint_distance", k, ir_stop_gradient(g, d));
        loss_output_of(b, "divergence", k, kl);
        loss_output_of(b, "entropy", k, loss_entropy(b, z));
    }
    ir_vid taught = ir_binary(g, IR_OP_or, alone, ir_binary(g, IR_OP_lt, zero, loss_scalar(b, "hint_later")));
    loss_output(b, "regressor_lr", ir_where(g, taught, loss_scalar(b, "lr"), zero));
}
