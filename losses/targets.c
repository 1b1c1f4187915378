// Early-learning regularisation, sparse over-parameterisation, temporal ensembling and Mean teacher: each network by
// itself, with a memory of single images or of its own parameters (methods.md 6.18, 6.19, 6.23).
#include "losses_internal.h"

#include <math.h>
#include <string.h>

static ir_vid row_sums(struct loss_builder *b, ir_vid x) { // [N,1]
    return ir_reshape(b->g, loss_sum_columns(b, x), 2, (int64_t[]){IR_N, 1});
}

static ir_vid clamp(struct ir_graph *g, ir_vid x, double lo, double hi) {
    return ir_binary(g, IR_OP_min, ir_binary(g, IR_OP_max, x, ir_const_f(g, lo)), ir_const_f(g, hi));
}

static ir_vid one_minus(struct ir_graph *g, ir_vid x) { return ir_sub(g, ir_const_f(g, 1), x); }

// L = CE + lambda mean log(1 - t.c), with c = clamp(p, 1e-4, 1-1e-4) and t <- beta t + (1-beta) sg(c / sum c), which
// is taken after this step's prediction has come in.
static void draw_elr(struct loss_builder *b, int k, ir_vid q, ir_vid given) {
    struct ir_graph *g = b->g;
    ir_vid z = loss_logits(b, k), c = clamp(g, loss_softmax(b, z), 1e-4, 1 - 1e-4), beta = loss_scalar(b, "beta");
    ir_vid said = ir_stop_gradient(g, ir_div(g, c, row_sums(b, c)));
    ir_vid t =
        ir_add(g, ir_mul(g, beta, loss_table(b, "target", k, b->o->classes)), ir_mul(g, one_minus(g, beta), said));
    ir_vid term = ir_unary(g, IR_OP_log, one_minus(g, loss_sum_columns(b, ir_mul(g, t, c))));
    loss_output_of(
        b, "loss", k,
        ir_add(g, loss_label_term(b, q, given, z, 0), ir_mul(g, loss_scalar(b, "lambda"), loss_mean_rows(b, term))));
    loss_set_table(b, "target", k, t);
    loss_output_of(b, "corrected", k, loss_class(b, t));
}

// exp(-5 (1 - min(now/length, 1))^2); 1 where the length is 0.
static ir_vid ramp(struct loss_builder *b, ir_vid now, ir_vid length) {
    struct ir_graph *g = b->g;
    ir_vid one = ir_const_f(g, 1), longer = ir_binary(g, IR_OP_max, length, ir_const_f(g, 1e-6));
    ir_vid done = ir_binary(g, IR_OP_min, ir_div(g, now, longer), one);
    ir_vid x = ir_where(g, ir_binary(g, IR_OP_lt, ir_const_f(g, 0), length), one_minus(g, done), ir_const_f(g, 0));
    return loss_rise(g, x);
}

// ELR+: t is filled by what the average of the next network says of the image as it is, t <- beta t + (1-beta) a; the
// network sees l x + (1-l) x', whose target is l t + (1-l) t', whose label y likewise, or with --label-product y t over
// its sum. L = CE + lambda ramp mean log(1 - t.c).
static void draw_elr_plus(struct loss_builder *b, int k, ir_vid q, ir_vid given) {
    struct ir_graph *g = b->g;
    ir_vid z = loss_logits(b, k), beta = loss_scalar(b, "beta"), l = loss_scalar(b, "mix.lambda"),
           a = loss_softmax(b, loss_average(b, (k + 1) % b->o->peers));
    ir_vid t = ir_add(g, ir_mul(g, beta, loss_table(b, "target", k, b->o->classes)),
                      ir_mul(g, one_minus(g, beta), ir_stop_gradient(g, a)));
    loss_set_table(b, "target", k, t);
    loss_output_of(b, "corrected", k, loss_class(b, t));
    ir_vid mixed[] = {t, q};
    for (int i = 0; i < 2; i++)
        mixed[i] = ir_add(g, ir_mul(g, l, mixed[i]), ir_mul(g, one_minus(g, l), loss_mixed_in(b, mixed[i])));
    ir_vid product = ir_mul(g, mixed[0], mixed[1]);
    product = ir_div(g, product, ir_binary(g, IR_OP_max, row_sums(b, product), ir_const_f(g, 1e-12)));
    ir_vid takes = ir_binary(g, IR_OP_lt, ir_const_f(g, 0.5), loss_scalar(b, "label_product"));
    ir_vid y = ir_where(g, takes, product, mixed[1]), c = clamp(g, loss_softmax(b, z), 1e-4, 1 - 1e-4);
    ir_vid term = ir_unary(g, IR_OP_log, one_minus(g, loss_sum_columns(b, ir_mul(g, mixed[0], c))));
    ir_vid weight = ir_mul(g, loss_scalar(b, "lambda"), ramp(b, loss_scalar(b, "step"), loss_scalar(b, "lambda_ramp")));
    loss_output_of(b, "loss", k,
                   ir_add(g, loss_label_term(b, y, given, z, 0), ir_mul(g, weight, loss_mean_rows(b, term))));
}

// L = -mean sum y log p~ + mean ||onehot(argmax z) + U - V - y||^2 with U = clamp(u^2 y), V = clamp(v^2 (1-y)) and p~ =
// max(p + U - sg V, 1e-4) divided by its sum. The network learns by the first term alone; u and v by SGD of their own.
//
// SOP+ sees two views and learns SOP by the first, + consistency mean KL(sg p_1 || p_2) - balance 1/C sum_j log
// clamp(mean p~_j, 1e-4, 1).
static ir_vid more_of_sop(struct loss_builder *b, ir_vid loss, ir_vid logits, ir_vid moved) {
    struct ir_graph *g = b->g;
    ir_vid in[] = {ir_stop_gradient(g, loss_softmax(b, loss_view(b, logits, 0))), loss_view(b, logits, 1)};
    ir_vid kl = loss_mean_rows(b, ir_emit(g, IR_OP_kl_div, in, 2, IR_NO_ATTRS));
    const int64_t axis = 0;
    ir_vid log_mean = ir_unary(g, IR_OP_log, clamp(g, loss_mean_rows(b, moved), 1e-4, 1));
    ir_vid sum = ir_reduce(g, IR_OP_reduce_sum, log_mean, &axis, 1, 0);
    ir_vid even = ir_div(g, sum, ir_const_f(g, (double)b->o->classes));
    return ir_sub(g, ir_add(g, loss, ir_mul(g, loss_scalar(b, "sop_consistency"), kl)),
                  ir_mul(g, loss_scalar(b, "sop_balance"), even));
}

static void draw_sop(struct loss_builder *b, int k, ir_vid y, ir_vid given) {
    struct ir_graph *g = b->g;
    ir_vid logits = loss_logits(b, k), z = loss_view(b, logits, 0), u = loss_table(b, "u", k, 1),
           v = loss_table(b, "v", k, b->o->classes);
    ir_vid up = clamp(g, ir_mul(g, ir_mul(g, u, u), y), 0, 1);
    ir_vid vp = clamp(g, ir_mul(g, ir_mul(g, v, v), one_minus(g, y)), 0, 1);
    ir_vid moved = ir_sub(g, ir_add(g, loss_softmax(b, z), up), ir_stop_gradient(g, vp));
    ir_vid p = ir_binary(g, IR_OP_max, moved, ir_const_f(g, 1e-4));
    p = ir_div(g, p, row_sums(b, p));
    ir_vid log_p = ir_unary(g, IR_OP_log, p);
    ir_vid best = ir_emit(g, IR_OP_argmax, &z, 1, IR_ATTRS(IR_I("axis", 1), IR_I("keepdims", 0)));
    ir_vid said = ir_emit(g, IR_OP_one_hot, &best, 1, IR_ATTRS(IR_I("classes", b->o->classes)));
    ir_vid d = ir_sub(g, ir_sub(g, ir_add(g, said, up), vp), y);
    ir_vid ce = loss_weighted_mean(b, loss_sum_columns(b, ir_mul(g, y, log_p)), given);
    ir_vid mse = loss_mean_rows(b, loss_sum_columns(b, ir_mul(g, d, d)));
    ir_vid loss = ir_sub(g, mse, ce);
    if (loss_is(b, "rule", "sop+")) loss = more_of_sop(b, loss, logits, p);
    loss_output_of(b, "loss", k, loss);
    loss_train_table(b, "u", k, "lr_u");
    loss_train_table(b, "v", k, "lr_v");
}

// L = CE + w mean (p - t)^2 over all numbers, w = weight exp(-5 (1 - min(epoch/ramp, 1))^2) and 0 where `ready` is not
// more than 0.
static void draw_consistent(struct loss_builder *b, int k, ir_vid q, ir_vid given, ir_vid target, ir_vid ready) {
    struct ir_graph *g = b->g;
    ir_vid z = loss_logits(b, k), w = ir_mul(g, loss_scalar(b, "consistency"), loss_risen(b));
    if (ready != IR_NONE) w = ir_where(g, ir_binary(g, IR_OP_lt, ir_const_f(g, 0), ready), w, ir_const_f(g, 0));
    ir_vid d = ir_sub(g, loss_softmax(b, z), ir_stop_gradient(g, target));
    ir_vid mse =
        ir_div(g, loss_mean_rows(b, loss_sum_columns(b, ir_mul(g, d, d))), ir_const_f(g, (double)b->o->classes));
    loss_output_of(b, "loss", k, ir_add(g, loss_label_term(b, q, given, z, 0), ir_mul(g, w, mse)));
}

// The target is what was accumulated in the epochs before, Z / (1 - alpha^(epoch-1)); then Z <- alpha Z + (1-alpha) p.
static void draw_temporal(struct loss_builder *b, int k, ir_vid q, ir_vid given) {
    struct ir_graph *g = b->g;
    ir_vid z = loss_logits(b, k), alpha = loss_scalar(b, "alpha_z"), old = loss_table(b, "z", k, b->o->classes);
    ir_vid past = ir_sub(g, loss_scalar(b, "epoch"), ir_const_f(g, 1));
    ir_vid weight = one_minus(g, ir_binary(g, IR_OP_pow, alpha, past)); // 0 in the first epoch, which has no target
    ir_vid target = ir_div(g, old, ir_binary(g, IR_OP_max, weight, ir_const_f(g, 1e-6)));
    draw_consistent(b, k, q, given, target, past);
    ir_vid p = ir_stop_gradient(g, loss_softmax(b, z));
    loss_set_table(b, "z", k, ir_add(g, ir_mul(g, alpha, old), ir_mul(g, one_minus(g, alpha), p)));
}

static void draw_mean_teacher(struct loss_builder *b, int k, ir_vid q, ir_vid given) {
    draw_consistent(b, k, q, given, loss_softmax(b, loss_average(b, k)), IR_NONE);
}

void loss_draw_targets(struct loss_builder *b) {
    static const struct {
        const char *rule;
        void (*draw)(struct loss_builder *b, int k, ir_vid q, ir_vid given);
    } rules[] = {{"elr", draw_elr},  {"elr+", draw_elr_plus},     {"sop", draw_sop},
                 {"sop+", draw_sop}, {"temporal", draw_temporal}, {"mean-teacher", draw_mean_teacher}};
    const char *rule = method_word(b->o->method, &b->o->values, "rule");
    ir_vid given, q = loss_targets(b, &given);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        for (int k = 0; k < b->o->peers && strcmp(rules[i].rule, rule) == 0; k++) rules[i].draw(b, k, q, given);
}
