// Truncated generalised cross entropy, CORES and PeerLoss (methods.md 6.2, 6.19, 6.22).
#include "losses_internal.h"

#include <string.h>

static ir_vid less(struct ir_graph *g, ir_vid a, ir_vid b) { return ir_binary(g, IR_OP_lt, a, b); }

static ir_vid to_f32(struct ir_graph *g, ir_vid b) { return ir_where(g, b, ir_const_f(g, 1), ir_const_f(g, 0)); }

// (1 - x^q) / q for ln x.
static ir_vid lq(struct ir_graph *g, ir_vid log_x, ir_vid q) {
    return ir_div(g, ir_sub(g, ir_const_f(g, 1), ir_unary(g, IR_OP_exp, ir_mul(g, q, log_x))), q);
}

// L = mean w (Lq(p_y) - Lq(k)), over all rows; w is 1 where a survey last found Lq(p_y) < Lq(k), and 1 before there was
// one.
static void draw_truncated(struct loss_builder *b, int k, ir_vid t, ir_vid given) {
    struct ir_graph *g = b->g;
    ir_vid z = loss_logits(b, k), q = loss_scalar(b, "gce_q"), zero = ir_const_f(g, 0);
    ir_vid limit = lq(g, ir_unary(g, IR_OP_log, loss_scalar(b, "gce_k")), q);
    ir_vid row = loss_sum_columns(b, ir_mul(g, t, lq(g, loss_log_softmax(b, z), q)));
    ir_vid keep = loss_table(b, "keep", k, 0);
    loss_output_of(b, "loss", k, loss_weighted_mean(b, ir_mul(g, keep, ir_sub(g, row, limit)), given));
    loss_output_of(b, "kept", k, ir_binary(g, IR_OP_max, keep, zero));
    ir_vid found = to_f32(g, less(g, ir_stop_gradient(g, row), limit));
    loss_set_table(b, "keep", k, ir_where(g, less(g, zero, loss_scalar(b, "survey")), found, keep));
}

// L = mean over the kept rows of H(t, p) - beta sum_j prior_j (-ln (p_j + 1e-8)). From --sieve-after on a row is kept
// where H(t, p) - mean_j (-ln p_j) <= 0. The prior is the classes' share among the rows kept in the epoch before.
//
// CORES* goes on, anew, with the rows K that were kept when they were last seen, z' the logits of a strong view of the
// row and p_T = p^(1/T) over its sum, a constant:
//
//   L = mean over K of H(t, p) + lambda_u mean_i [max p_i > P] KL(p_T,i || softmax(z'_i))
static ir_vid consistent(struct loss_builder *b, ir_vid z, ir_vid strong, ir_vid t, ir_vid given, ir_vid keep) {
    struct ir_graph *g = b->g;
    const int64_t axis = 1;
    ir_vid p = ir_stop_gradient(g, loss_softmax(b, z)), zero = ir_const_f(g, 0);
    ir_vid target = loss_softmax(b, ir_div(g, ir_stop_gradient(g, z), loss_scalar(b, "uda_temperature")));
    ir_vid in[] = {target, strong}, kl = ir_emit(g, IR_OP_kl_div, in, 2, IR_NO_ATTRS);
    ir_vid sure = less(g, loss_scalar(b, "uda_confidence"), ir_reduce(g, IR_OP_reduce_max, p, &axis, 1, 0));
    ir_vid w = b->o->weighted ? ir_mul(g, keep, loss_row_weights(b, given)) : keep;
    ir_vid n = ir_binary(g, IR_OP_max, loss_sum_rows(b, w), ir_const_f(g, 1e-30));
    ir_vid label = ir_div(g, loss_sum_rows(b, ir_mul(g, w, loss_cross_entropy(b, t, z, 0))), n);
    ir_vid agree = loss_mean_rows(b, ir_where(g, sure, kl, zero));
    return ir_add(g, label, ir_mul(g, loss_scalar(b, "lambda_u"), agree));
}

static void draw_cores(struct loss_builder *b, int k, ir_vid t, ir_vid given) {
    struct ir_graph *g = b->g;
    const int64_t c = b->o->classes, axis = 0;
    ir_vid logits = loss_logits(b, k), z = loss_view(b, logits, 0), zero = ir_const_f(g, 0), one = ir_const_f(g, 1),
           epoch = loss_scalar(b, "epoch");
    ir_vid past = ir_sub(g, ir_sub(g, epoch, one), loss_scalar(b, "cores_warmup"));
    ir_vid rise = ir_div(g, past, ir_sub(g, loss_scalar(b, "cores_ramp"), one));
    ir_vid beta =
        ir_mul(g, loss_scalar(b, "cores_beta"), ir_binary(g, IR_OP_min, ir_binary(g, IR_OP_max, rise, zero), one));
    ir_vid counted = loss_state(b, "counts", k, 1, &c), prior = loss_state(b, "prior", k, 1, &c);

    ir_vid ce = loss_cross_entropy(b, t, z, 0), log_p = loss_log_softmax(b, z);
    ir_vid mean = ir_div(g, loss_sum_columns(b, ir_unary(g, IR_OP_neg, log_p)), ir_const_f(g, (double)c));
    ir_vid believed = ir_binary(g, IR_OP_le, ir_sub(g, ce, mean), zero);
    ir_vid sieves = less(g, loss_scalar(b, "sieve_after"), epoch);
    ir_vid keep = ir_where(g, sieves, to_f32(g, believed), one);
    keep = ir_expand_to(g, keep, 1, (int64_t[]){IR_N});

    // At the first step of an epoch what the last one has counted becomes the prior.
    ir_vid begins = loss_epoch_begins(b);
    ir_vid all = ir_reduce(g, IR_OP_reduce_sum, counted, &axis, 1, 0);
    ir_vid fresh = ir_binary(g, IR_OP_and, begins, less(g, zero, all));
    prior = ir_where(g, fresh, ir_div(g, counted, ir_binary(g, IR_OP_max, all, one)), prior);
    ir_vid rows = ir_reshape(g, keep, 2, (int64_t[]){IR_N, 1});
    ir_vid now = ir_reduce(g, IR_OP_reduce_sum, ir_mul(g, rows, given), &axis, 1, 0);
    loss_set_state(b, "prior", k, prior);
    loss_set_state(b, "counts", k, ir_add(g, ir_where(g, begins, ir_const_f(g, 0), counted), now));

    ir_vid p = loss_softmax(b, z), floored = ir_unary(g, IR_OP_log, ir_add(g, p, ir_const_f(g, 1e-8)));
    ir_vid by_chance = loss_sum_columns(b, ir_mul(g, ir_reshape(g, prior, 2, (int64_t[]){1, c}), floored));
    ir_vid row = ir_add(g, ce, ir_mul(g, beta, by_chance));
    ir_vid w = b->o->weighted ? ir_mul(g, keep, loss_row_weights(b, given)) : keep, n = loss_sum_rows(b, w);
    ir_vid sum = loss_sum_rows(b, ir_where(g, less(g, zero, w), ir_mul(g, w, row), zero));
    // None kept: nothing is learnt (the authors' code divides by 1e8 then).
    ir_vid loss = ir_div(g, sum, ir_binary(g, IR_OP_max, n, ir_const_f(g, 1e-30)));
    if (loss_is(b, "rule", "cores-star")) {
        ir_vid kept = loss_table(b, "keep", k, 0), sieves_now = less(g, loss_scalar(b, "round"), ir_const_f(g, 1.5));
        loss = ir_where(g, sieves_now, loss, consistent(b, z, loss_view(b, logits, 1), t, given, kept));
        keep = ir_where(g, sieves_now, keep, kept);
        loss_set_table(b, "keep", k, keep);
    }
    loss_output_of(b, "loss", k, loss);
    loss_output_of(b, "kept", k, keep);
}

// L = mean H(t, p) - alpha mean H(a label drawn at random, p), the second of ln(p + 1e-8), which bounds it.
static void draw_peer(struct loss_builder *b, int k, ir_vid t, ir_vid given) {
    struct ir_graph *g = b->g;
    ir_vid z = loss_logits(b, k), drawn = loss_input(b, "labels.draw", IR_I64, 1, (int64_t[]){IR_N});
    ir_vid chance = ir_emit(g, IR_OP_one_hot, &drawn, 1, IR_ATTRS(IR_I("classes", b->o->classes)));
    ir_vid second = loss_mean_rows(b, loss_cross_entropy(b, chance, z, 1e-8));
    loss_output_of(b, "loss", k,
                   ir_sub(g, loss_label_term(b, t, given, z, 0), ir_mul(g, loss_scalar(b, "peer_alpha"), second)));
}

void loss_draw_sieve(struct loss_builder *b) {
    static const struct {
        const char *rule;
        void (*draw)(struct loss_builder *b, int k, ir_vid t, ir_vid given);
    } rules[] = {{"truncated", draw_truncated}, {"cores", draw_cores}, {"cores-star", draw_cores}, {"peer", draw_peer}};
    ir_vid given, t = loss_targets(b, &given);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        for (int k = 0; k < b->o->peers && loss_is(b, "rule", rules[i].rule); k++) {
            rules[i].draw(b, k, t, given);
            loss_output_of(b, "entropy", k, loss_entropy(b, loss_view(b, loss_logits(b, k), 0)));
        }
}
