// Terms that several families have.
#include "losses_internal.h"

#include <math.h>
#include <string.h>

bool loss_is(const struct loss_builder *b, const char *name, const char *word) {
    return strcmp(method_word(b->o->method, &b->o->values, name), word) == 0;
}

ir_vid loss_cross_entropy(struct loss_builder *b, ir_vid target, ir_vid z, double floor) {
    return ir_emit(b->g, IR_OP_cross_entropy, (ir_vid[]){target, z}, 2, IR_ATTRS(IR_F("log_floor", floor)));
}

ir_vid loss_sum_columns(struct loss_builder *b, ir_vid x) {
    int64_t axis = 1;
    return ir_reduce(b->g, IR_OP_reduce_sum, x, &axis, 1, 0);
}

ir_vid loss_keep_sum(struct ir_graph *g, ir_vid x, int64_t axis) {
    return ir_reduce(g, IR_OP_reduce_sum, x, &axis, 1, 1);
}

ir_vid loss_mean_rows(struct loss_builder *b, ir_vid rows) {
    return ir_div(b->g, loss_sum_rows(b, rows), ir_batch_size(b->g));
}

// [1,C]
static ir_vid class_weights(struct loss_builder *b) {
    int64_t c = b->o->classes;
    return ir_reshape(b->g, loss_input(b, "class.weight", IR_F32, 1, &c), 2, (int64_t[]){1, c});
}

ir_vid loss_label_term(struct loss_builder *b, ir_vid target, ir_vid given, ir_vid z, double floor) {
    struct ir_graph *g = b->g;
    if (!b->o->weighted) return loss_mean_rows(b, loss_cross_entropy(b, target, z, floor));
    ir_vid w = class_weights(b);
    ir_vid sum = loss_sum_rows(b, loss_cross_entropy(b, ir_mul(g, w, target), z, floor));
    return ir_div(g, sum, loss_sum_rows(b, loss_sum_columns(b, ir_mul(g, w, given))));
}

ir_vid loss_row_weights(struct loss_builder *b, ir_vid given) {
    return loss_sum_columns(b, b->o->weighted ? ir_mul(b->g, class_weights(b), given) : given);
}

ir_vid loss_weighted_mean(struct loss_builder *b, ir_vid rows, ir_vid given) {
    if (!b->o->weighted) return loss_mean_rows(b, rows);
    ir_vid w = loss_row_weights(b, given);
    return ir_div(b->g, loss_sum_rows(b, ir_mul(b->g, w, rows)), loss_sum_rows(b, w));
}

ir_vid loss_softmax(struct loss_builder *b, ir_vid z) {
    return ir_emit(b->g, IR_OP_softmax, &z, 1, IR_ATTRS(IR_I("axis", 1)));
}

ir_vid loss_log_softmax(struct loss_builder *b, ir_vid z) {
    return ir_emit(b->g, IR_OP_log_softmax, &z, 1, IR_ATTRS(IR_I("axis", 1)));
}

ir_vid loss_entropy(struct loss_builder *b, ir_vid z) { return ir_emit(b->g, IR_OP_entropy, &z, 1, IR_NO_ATTRS); }

ir_vid loss_divergence_of(struct loss_builder *b, ir_vid source, ir_vid z) {
    struct ir_graph *g = b->g;
    ir_vid t = loss_scalar(b, "temperature"), says = ir_stop_gradient(g, loss_softmax(b, ir_div(g, source, t)));
    ir_vid in[] = {says, ir_div(g, z, t)};
    return ir_mul(g, ir_mul(g, t, t), ir_emit(g, IR_OP_kl_div, in, 2, IR_NO_ATTRS));
}

ir_vid loss_divergence(struct loss_builder *b, ir_vid source, int k) {
    return loss_divergence_of(b, source, loss_logits(b, k));
}

ir_vid loss_from_others(struct loss_builder *b, int k, bool mean) {
    struct ir_graph *g = b->g;
    ir_vid sum = IR_NONE;
    for (int j = 0; j < b->o->peers; j++) {
        if (j == k) continue;
        ir_vid d = loss_divergence(b, loss_logits(b, j), k);
        sum = sum == IR_NONE ? d : ir_add(g, sum, d);
    }
    return mean && b->o->peers > 2 ? ir_div(g, sum, ir_const_f(g, b->o->peers - 1)) : sum;
}

ir_vid loss_rise(struct ir_graph *g, ir_vid left) {
    return ir_unary(g, IR_OP_exp, ir_mul(g, ir_const_f(g, -5), ir_mul(g, left, left)));
}

ir_vid loss_risen(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    ir_vid one = ir_const_f(g, 1), now = ir_div(g, loss_scalar(b, "epoch"), loss_scalar(b, "ramp"));
    ir_vid left = ir_sub(g, one, ir_binary(g, IR_OP_min, now, one));
    return loss_rise(g, left);
}

ir_vid loss_epoch_begins(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    ir_vid before = ir_mul(g, ir_sub(g, loss_scalar(b, "epoch"), ir_const_f(g, 1)), loss_scalar(b, "steps"));
    return ir_binary(g, IR_OP_lt, loss_scalar(b, "step"), ir_add(g, before, ir_const_f(g, 0.5)));
}

ir_vid loss_turn(struct loss_builder *b, int64_t n, int rank) {
    struct ir_graph *g = b->g;
    float *places = ARENA_ARRAY(b->a, float, (size_t)n);
    for (int64_t i = 0; i < n; i++) places[i] = (float)i;
    ir_vid place = ir_const(g, ir_type_make(IR_F32, rank, (int64_t[]){1, n, 1, 1}), places);
    ir_vid now = ir_binary(g, IR_OP_rem, loss_scalar(b, "epoch"), ir_const_f(g, (double)n));
    return ir_binary(g, IR_OP_eq, place, now);
}

ir_vid loss_uniform_prior(struct loss_builder *b, ir_vid p, double floor) {
    struct ir_graph *g = b->g;
    const double c = (double)b->o->classes;
    int64_t axis = 0;
    ir_vid mean = ir_div(g, loss_sum_rows(b, p), ir_batch_size(g));
    ir_vid logs = ir_unary(g, IR_OP_log, ir_binary(g, IR_OP_max, mean, ir_const_f(g, floor)));
    ir_vid sum = ir_reduce(g, IR_OP_reduce_sum, logs, &axis, 1, 0);
    return ir_sub(g, ir_const_f(g, -log(c)), ir_div(g, sum, ir_const_f(g, c)));
}

ir_vid loss_column(struct ir_graph *g, ir_vid rows) { return ir_reshape(g, rows, 2, (int64_t[]){IR_N, 1}); }

struct loss_training loss_as_network(const struct loss_builder *b, const char *rule) {
    return (struct loss_training){.rule = loss_is(b, rule, "adam") ? LOSS_ADAM : LOSS_SGD,
                                  .rate = "lr",
                                  .momentum = "momentum",
                                  .nesterov = "nesterov",
                                  .decay = "weight_decay"};
}
