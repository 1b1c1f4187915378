// Co-teaching, Co-teaching+, S2E, JoCoR and MentorNet's predefined curriculum (methods.md 6.9 to 6.13): of each batch,
// only rows whose loss is small count. What they differ in are whose losses are looked at, and how many rows are left
// out:
//
//   L_k = sum_i m_j,i H(q_i, p_k,i) / sum_i m_j,i      j the next network in a ring: of two, the other
//   m_j,i = 1 where H(q_i, p_j,i) is among the floor((1-F) R) smallest of R candidates
//
// No row chosen: no loss and no gradient. JoCoR has one loss for all networks, and chooses by it. MentorNet compares
// with a moving average of a percentile, and its mean is over all rows.
#include "losses_internal.h"

#include <math.h>

static ir_vid number(struct loss_builder *b, double v) { return ir_const_f(b->g, v); }

static ir_vid as_number(struct loss_builder *b, ir_vid condition) { return ir_cast(b->g, condition, IR_F32); }

static ir_vid less(struct loss_builder *b, ir_vid x, ir_vid y) { return ir_binary(b->g, IR_OP_lt, x, y); }

static ir_vid one_minus(struct loss_builder *b, ir_vid x) { return ir_sub(b->g, number(b, 1), x); }

struct labels {
    ir_vid q;      // as they are learnt, [N,C]
    ir_vid weight; // what each row counts, [N]
};

static ir_vid own_losses(struct loss_builder *b, const struct labels *l, int k) {
    return loss_cross_entropy(b, l->q, loss_logits(b, k), 0);
}

// The sum of the losses of the chosen rows over what the rows `among` count (booleans [N]; IR_NONE: all), []; 0 where
// there is nothing to divide by. Rows are chosen, not multiplied by the mask: one that is left out adds an exact zero
// whatever its loss is.
static ir_vid mean_over(struct loss_builder *b, const struct labels *l, ir_vid losses, ir_vid chosen, ir_vid among) {
    struct ir_graph *g = b->g;
    ir_vid zero = number(b, 0), sum = loss_sum_rows(b, ir_where(g, chosen, ir_mul(g, l->weight, losses), zero));
    ir_vid by = loss_sum_rows(b, among == IR_NONE ? l->weight : ir_where(g, among, l->weight, zero));
    ir_vid some = less(b, zero, by);
    return ir_where(g, some, ir_div(g, sum, ir_where(g, some, by, number(b, 1))), zero);
}

// --- how many rows are left out --------------------------------------------------------------------------------------

static ir_vid epochs_done(struct loss_builder *b) { return ir_sub(b->g, loss_scalar(b, "epoch"), number(b, 1)); }

// x^y, 0^0 = 1.
static ir_vid power(struct loss_builder *b, ir_vid x, ir_vid y) { return ir_binary(b->g, IR_OP_pow, x, y); }

static ir_vid log1p_of(struct loss_builder *b, ir_vid x) {
    return ir_unary(b->g, IR_OP_log, ir_add(b->g, number(b, 1), x));
}

// From 0 in the first epoch in equal steps to tau^c in epoch `ramp`, and then on.
static ir_vid ramped(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    ir_vid last = power(b, loss_scalar(b, "forget"), loss_scalar(b, "forget_exponent"));
    ir_vid steps = ir_sub(g, loss_scalar(b, "ramp"), number(b, 1));
    ir_vid at = ir_div(g, epochs_done(b), ir_binary(g, IR_OP_max, steps, number(b, 1)));
    return ir_mul(g, last, ir_binary(g, IR_OP_min, at, number(b, 1)));
}

// S2E's family of schedules: three that rise towards 1, mixed, less two that rise late.
static ir_vid searched(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    enum { NUMBERS = 12 };
    ir_vid p[NUMBERS], e = epochs_done(b), all = loss_scalar(b, "epochs"), zero = number(b, 0), one = number(b, 1);
    for (int i = 0; i < NUMBERS; i++) p[i] = loss_scalar(b, arena_printf(b->a, "p%d", i));
    ir_vid rise[3];
    rise[0] = one_minus(b, ir_unary(g, IR_OP_exp, ir_unary(g, IR_OP_neg, ir_mul(g, p[2], power(b, e, p[1])))));
    rise[1] = one_minus(b, power(b, ir_add(g, ir_mul(g, p[4], e), one), ir_unary(g, IR_OP_neg, p[3])));
    ir_vid grown = ir_add(g, p[8], ir_mul(g, p[9], e)), some = less(b, zero, grown); // else 0/0, of limit 1
    ir_vid share = ir_div(g, log1p_of(b, p[8]), ir_where(g, some, log1p_of(b, grown), one));
    rise[2] = one_minus(b, ir_where(g, some, share, one));
    ir_vid f = ir_mul(g, p[7], rise[1]);
    f = ir_add(g, f, ir_mul(g, one_minus(b, p[7]), rise[2]));
    f = ir_add(g, ir_mul(g, p[0], rise[0]), ir_mul(g, one_minus(b, p[0]), f));
    f = ir_sub(g, f, ir_mul(g, p[6], power(b, ir_div(g, e, all), p[5])));
    ir_vid late = ir_div(g, log1p_of(b, power(b, e, p[11])), log1p_of(b, power(b, all, p[11])));
    f = ir_sub(g, f, ir_mul(g, p[10], late));
    return ir_binary(g, IR_OP_max, zero, ir_binary(g, IR_OP_min, f, number(b, 0.99)));
}

// --- which rows are chosen -------------------------------------------------------------------------------------------

// The floor((1-F) R) rows of smallest loss among the R candidates, booleans [N]; candidates IR_NONE: all rows. What
// float32 makes of a whole number may be a little less: that is not to cost a row.
static ir_vid smallest(struct loss_builder *b, ir_vid losses, ir_vid candidates, ir_vid forget) {
    struct ir_graph *g = b->g;
    const bool all = candidates == IR_NONE;
    ir_vid count = all ? ir_batch_size(g) : loss_sum_rows(b, as_number(b, candidates));
    ir_vid keep = ir_add(g, ir_mul(g, one_minus(b, forget), count), number(b, 1.0 / 1024));
    ir_vid place = ir_unary(g, IR_OP_rank, all ? losses : ir_where(g, candidates, losses, number(b, INFINITY)));
    ir_vid chosen = less(b, place, ir_unary(g, IR_OP_floor, keep));
    return all ? chosen : ir_binary(g, IR_OP_and, candidates, chosen);
}

static ir_vid class_of(struct loss_builder *b, int k) {
    ir_vid z = loss_logits(b, k);
    return ir_emit(b->g, IR_OP_argmax, &z, 1, IR_ATTRS(IR_I("axis", 1), IR_I("keepdims", 0)));
}

// Rows of which not all networks say the same class, after the first epochs; all rows where there is none.
static ir_vid disagreement(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    ir_vid first = class_of(b, 0), differ = IR_NONE;
    for (int k = 1; k < b->o->peers; k++) {
        ir_vid other = ir_unary(g, IR_OP_not, ir_binary(g, IR_OP_eq, first, class_of(b, k)));
        differ = k == 1 ? other : ir_binary(g, IR_OP_or, differ, other);
    }
    ir_vid some = less(b, number(b, 0), loss_sum_rows(b, as_number(b, differ)));
    ir_vid late = less(b, loss_scalar(b, "init_epoch"), loss_scalar(b, "epoch"));
    return ir_binary(g, IR_OP_or, differ, ir_unary(g, IR_OP_not, ir_binary(g, IR_OP_and, some, late)));
}

// --- the methods -----------------------------------------------------------------------------------------------------

// chosen: the rows that peer k learns from; clean: those whose labels it takes to be right.
static void put_metrics(struct loss_builder *b, int k, ir_vid chosen, ir_vid clean) {
    loss_output_of(b, "selected", k, as_number(b, chosen));
    loss_output_of(b, "kept", k, as_number(b, clean));
}

static void draw_by_peers(struct loss_builder *b, const struct labels *l, ir_vid forget) {
    const int n = b->o->peers;
    const bool all = loss_is(b, "candidates", "all");
    ir_vid candidates = all ? IR_NONE : disagreement(b);
    ir_vid losses[METHOD_MAX_PEERS], clean[METHOD_MAX_PEERS], handed[METHOD_MAX_PEERS];
    for (int k = 0; k < n; k++) {
        losses[k] = own_losses(b, l, k);
        clean[k] = smallest(b, losses[k], IR_NONE, forget);
        handed[k] = all ? clean[k] : smallest(b, losses[k], candidates, forget);
    }
    for (int k = 0; k < n; k++) {
        ir_vid chosen = handed[(k + 1) % n];
        loss_output_of(b, "loss", k, mean_over(b, l, losses[k], chosen, chosen));
        put_metrics(b, k, chosen, clean[k]);
    }
}

// sum over pairs of KL(p_j || p_k) + KL(p_k || p_j) = sum (p_j - p_k) (ln p_j - ln p_k), over the number of others,
// [N].
static ir_vid distance(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    const int n = b->o->peers;
    ir_vid logs[METHOD_MAX_PEERS], sum = IR_NONE;
    for (int k = 0; k < n; k++) {
        logs[k] = loss_log_softmax(b, loss_logits(b, k));
        for (int j = 0; j < k; j++) {
            ir_vid d = ir_sub(g, ir_unary(g, IR_OP_exp, logs[j]), ir_unary(g, IR_OP_exp, logs[k]));
            ir_vid pair = loss_sum_columns(b, ir_mul(g, d, ir_sub(g, logs[j], logs[k])));
            sum = sum == IR_NONE ? pair : ir_add(g, sum, pair);
        }
    }
    return n > 2 ? ir_div(g, sum, number(b, n - 1)) : sum;
}

// One loss for all, of rows (1-lambda) sum_k H(q, p_k) + lambda distance.
static void draw_jointly(struct loss_builder *b, const struct labels *l, ir_vid forget) {
    struct ir_graph *g = b->g;
    ir_vid sum = own_losses(b, l, 0), lambda = loss_scalar(b, "co_lambda");
    for (int k = 1; k < b->o->peers; k++) sum = ir_add(g, sum, own_losses(b, l, k));
    ir_vid losses = ir_add(g, ir_mul(g, one_minus(b, lambda), sum), ir_mul(g, lambda, distance(b)));
    ir_vid chosen = smallest(b, losses, IR_NONE, forget);
    loss_output(b, "loss.all", mean_over(b, l, losses, chosen, chosen));
    for (int k = 0; k < b->o->peers; k++) put_metrics(b, k, chosen, chosen);
}

// The number at the nearest place of a share p of the batch, of losses in order.
static ir_vid percentile(struct loss_builder *b, ir_vid losses) {
    struct ir_graph *g = b->g;
    ir_vid last = ir_sub(g, ir_batch_size(g), number(b, 1)), half = number(b, 0.5 + 1.0 / 1024); // as in smallest()
    ir_vid place = ir_unary(g, IR_OP_floor, ir_add(g, ir_mul(g, loss_scalar(b, "percentile"), last), half));
    ir_vid there = ir_binary(g, IR_OP_eq, ir_unary(g, IR_OP_rank, losses), place);
    return loss_sum_rows(b, ir_where(g, there, losses, number(b, 0)));
}

static void draw_by_itself(struct loss_builder *b, const struct labels *l, int k) {
    struct ir_graph *g = b->g;
    ir_vid losses = own_losses(b, l, k), now = percentile(b, ir_stop_gradient(g, losses));
    ir_vid before = loss_state(b, "percentile", k, 0, NULL), decay = loss_scalar(b, "percentile_decay");
    ir_vid average = ir_add(g, ir_mul(g, decay, before), ir_mul(g, one_minus(b, decay), now));
    ir_vid limit = ir_where(g, less(b, number(b, 0), loss_scalar(b, "step")), average, now); // nothing to average yet
    ir_vid early = ir_binary(g, IR_OP_le, loss_scalar(b, "epoch"), loss_scalar(b, "burn_in"));
    ir_vid chosen = ir_binary(g, IR_OP_or, early, ir_binary(g, IR_OP_le, losses, limit));
    loss_output_of(b, "loss", k, mean_over(b, l, losses, chosen, IR_NONE));
    loss_set_state(b, "percentile", k, limit);
    loss_output_of(b, "loss_limit", k, limit);
    put_metrics(b, k, chosen, chosen);
}

void loss_draw_small_loss(struct loss_builder *b) {
    struct labels l;
    ir_vid given;
    l.q = loss_targets(b, &given);
    l.weight = loss_row_weights(b, given);
    if (loss_is(b, "rank", "self")) {
        for (int k = 0; k < b->o->peers; k++) draw_by_itself(b, &l, k);
        return;
    }
    ir_vid forget = loss_is(b, "schedule", "s2e") ? searched(b) : ramped(b);
    if (loss_is(b, "rank", "joint"))
        draw_jointly(b, &l, forget);
    else
        draw_by_peers(b, &l, forget);
    loss_output(b, "forget_rate", forget);
}
