// Selective mutual knowledge distillation, its progressive and static thresholds, and its limits ALL and ZERO
// (methods.md 1 and 2). For peer k among P on the same N rows,
//
//   L_k = mean_i H(q~_k, p_k) + mean over j != k of  sum_i m_j H(sg q~_j, p_k) / K_j     m_j = 1 where H(p_j) < chi,
//                                                                                         K_j = sum m_j
//
// All these losses are this one graph: they differ in the gate's mode and in where b2 comes from. That is what makes
// ALL and ZERO equal to the formula's limits bit for bit: the same operations in the same order on the same masks. A
// single network has the first term alone.
#include "losses_internal.h"

#include <math.h>
#include <string.h>

struct peer {
    ir_vid z;       // logits [N,C]
    ir_vid p;       // softmax(z) [N,C]
    ir_vid h;       // entropy of p [N]
    ir_vid eps;     // trust in p [N], a constant; IR_NONE where a number says how far labels are refined
    ir_vid target;  // refined target q~ [N,C]
    ir_vid teaches; // 1 where p is confident enough, else 0 [N]
    ir_vid count;   // number of those rows, []
};

static double number(const struct loss_builder *b, const char *name) {
    return method_number(b->o->method, &b->o->values, name);
}

static const char *word(const struct loss_builder *b, const char *name) {
    return method_word(b->o->method, &b->o->values, name);
}

// What model trust is a function of: ProSelfLC looks at the clock, MyLC at the model's own mean confidence r (Eq. 7).
static ir_vid trust_input(struct loss_builder *b, int k, ir_vid h) {
    struct ir_graph *g = b->g;
    if (!loss_is(b, "refine", "mylc")) return loss_scalar(b, "progress");
    if (!loss_is(b, "r-scope", "batch")) return loss_scalar_of(b, "r", k);
    ir_vid mean = ir_div(g, loss_sum_rows(b, h), ir_batch_size(g));
    ir_vid r = ir_sub(g, ir_const_f(g, 1), ir_div(g, mean, ir_const_f(g, log((double)b->o->classes))));
    return ir_stop_gradient(g, r);
}

static ir_vid trust(struct loss_builder *b, int k, const struct peer *x) {
    struct ir_graph *g = b->g;
    ir_vid in[4] = {x->z};
    if (loss_is(b, "refine", "none")) { // looks at none of them
        in[1] = in[2] = in[3] = ir_const_f(g, 0);
    } else {
        in[1] = trust_input(b, k, x->h);
        in[2] = loss_scalar(b, "b1");
        in[3] = loss_scalar(b, "rho");
    }
    return ir_emit(g, IR_OP_smkd_trust, in, 4, IR_ATTRS(IR_S("rule", word(b, "refine"))));
}

// p~ of q~ = (1 - eps) q + eps p~ (Eq. 3), [N,C].
static ir_vid own(struct loss_builder *b, ir_vid p, ir_vid q) {
    (void)b;
    (void)q;
    return p;
}

static ir_vid against(struct loss_builder *b, ir_vid p, ir_vid q) {
    (void)q;
    return ir_unary(b->g, IR_OP_neg, p);
}

static ir_vid spread(struct loss_builder *b, ir_vid p, ir_vid q) {
    struct ir_graph *g = b->g;
    int64_t c = b->o->classes;
    (void)p;
    if (loss_is(b, "ls-mode", "others"))
        return ir_div(g, ir_sub(g, ir_const_f(g, 1), q), ir_const_f(g, (double)(c - 1)));
    return ir_emit(g, IR_OP_fill, NULL, 0,
                   IR_ATTRS(IR_IS("shape", ((int64_t[]){IR_N, c}), 2), IR_F("value", 1.0 / (double)c)));
}

static const struct rule {
    const char *name;
    ir_vid (*toward)(struct loss_builder *b, ir_vid p, ir_vid q);
    bool trusts;   // eps is a trust in each prediction; else the number --epsilon
    bool corrects; // the largest share of a target may be another class's than the label's
} rules[] = {{"mylc", own, true, true},    {"proselflc", own, true, true}, {"none", own, true, false},
             {"ls", spread, false, false}, {"cp", against, false, false},  {"boot-soft", own, false, true}};

static const struct rule *rule_of(const struct loss_builder *b) {
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (loss_is(b, "refine", rules[i].name)) return &rules[i];
    BUG("no rule for --refine %s", word(b, "refine"));
}

static ir_vid refined(struct loss_builder *b, const struct peer *x, ir_vid q) {
    struct ir_graph *g = b->g;
    const struct rule *rule = rule_of(b);
    bool detach = method_flag(b->o->method, &b->o->values, "detach-target");
    ir_vid eps = rule->trusts ? ir_reshape(g, x->eps, 2, (int64_t[]){IR_N, 1}) : loss_scalar(b, "epsilon");
    ir_vid toward = rule->toward(b, x->p, q);
    if (loss_is(b, "cp-mode", "penalty")) // H(q - eps p, p) = H(q, p) - eps H(p)
        return ir_add(g, q, ir_mul(g, eps, detach ? ir_stop_gradient(g, toward) : toward));
    ir_vid in[] = {toward, q, eps};
    return ir_emit(g, IR_OP_smkd_refine, in, 3, IR_ATTRS(IR_I("detach", detach)));
}

static struct peer describe(struct loss_builder *b, int k, ir_vid q, ir_vid chi) {
    struct ir_graph *g = b->g;
    struct peer x = {.z = loss_logits(b, k)};
    x.p = loss_softmax(b, x.z);
    x.h = loss_entropy(b, x.z);
    x.eps = rule_of(b)->trusts ? trust(b, k, &x) : IR_NONE;
    x.target = refined(b, &x, q);
    x.teaches = ir_emit(g, IR_OP_smkd_select, (ir_vid[]){x.h, chi}, 2, IR_ATTRS(IR_S("mode", word(b, "gate"))));
    x.count = loss_sum_rows(b, x.teaches);
    return x;
}

// sum_i m_t H(sg q~_t, p_s) over a denominator, [] : what `t` teaches `s`.
static ir_vid peer_term(struct loss_builder *b, const struct peer *s, const struct peer *t) {
    struct ir_graph *g = b->g;
    ir_vid zero = ir_const_f(g, 0);
    // Targets are chosen, not multiplied by the mask: a row that isn't taught has the target 0, so its cross entropy
    // and its gradient are exact zeros even where the teacher's prediction isn't a number.
    ir_vid taught = ir_binary(g, IR_OP_lt, zero, ir_reshape(g, t->teaches, 2, (int64_t[]){IR_N, 1}));
    ir_vid target = ir_where(g, taught, ir_stop_gradient(g, t->target), zero);
    // A penalty pushes every logit that the teacher gives a share down for good: its floor is its own.
    double floor = number(b, loss_is(b, "refine", "cp") ? "peer-log-floor" : "log-floor");
    ir_vid sum = loss_sum_rows(b, loss_cross_entropy(b, target, s->z, floor));
    if (loss_is(b, "peer-denom", "N")) return ir_div(g, sum, ir_batch_size(g));

    // K is the count of the rows that t chose; the paper's listing has the two counts swapped ("typo"). No rows: no
    // term, and 0/0 is never evaluated.
    ir_vid k = loss_is(b, "peer-denom", "typo") ? s->count : t->count;
    ir_vid mean = ir_div(g, sum, ir_binary(g, IR_OP_max, k, ir_const_f(g, 1)));
    return ir_where(g, ir_binary(g, IR_OP_lt, zero, k), mean, zero);
}

// The mean over the others of what they teach; of one other it is that.
static ir_vid taught_by_others(struct loss_builder *b, const struct peer *peers, int k) {
    ir_vid sum = IR_NONE;
    for (int j = 0; j < b->o->peers; j++) {
        if (j == k) continue;
        ir_vid term = peer_term(b, &peers[k], &peers[j]);
        sum = sum == IR_NONE ? term : ir_add(b->g, sum, term);
    }
    return b->o->peers > 2 ? ir_div(b->g, sum, ir_const_f(b->g, b->o->peers - 1)) : sum;
}

static ir_vid threshold(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    if (loss_is(b, "gate", "below")) {
        char fixed[32];
        const struct method *m = b->o->method;
        const char *still = method_fixed(m, method_param(m, "b2", NULL), fixed); // smkd-s: 0, in the program
        ir_vid b2 = still ? ir_const_f(g, 0) : loss_scalar(b, "b2");
        ir_vid in[] = {loss_scalar(b, "progress"), loss_scalar(b, "eta"), b2, ir_const_f(g, (double)b->o->classes)};
        return ir_emit(g, IR_OP_smkd_threshold, in, 4, IR_NO_ATTRS);
    }
    // Not compared with anything: the limit of the formula, for the log.
    double limit = loss_is(b, "gate", "all") ? INFINITY : 0;
    return ir_emit(g, IR_OP_fill, NULL, 0, IR_ATTRS(IR_IS("shape", NULL, 0), IR_F("value", limit)));
}

void loss_draw_mutual(struct loss_builder *b) {
    int n = b->o->peers;
    struct peer peers[METHOD_MAX_PEERS];
    ir_vid given, q = loss_targets(b, &given), chi = threshold(b);
    for (int k = 0; k < n; k++) peers[k] = describe(b, k, q, chi);
    for (int k = 0; k < n; k++) {
        ir_vid own = loss_label_term(b, peers[k].target, given, peers[k].z, number(b, "log-floor"));
        loss_output_of(b, "loss", k, n > 1 ? ir_add(b->g, own, taught_by_others(b, peers, k)) : own);
    }
    if (n > 1) loss_output(b, "threshold", chi); // one network has nobody to choose rows for
    for (int k = 0; k < n; k++) {
        loss_output_of(b, "entropy", k, peers[k].h);
        if (peers[k].eps != IR_NONE) loss_output_of(b, "trust", k, peers[k].eps);
        if (n > 1) loss_output_of(b, "selected", k, peers[k].teaches);
        if (rule_of(b)->corrects) loss_output_of(b, "corrected", k, loss_class(b, peers[k].target));
    }
}
