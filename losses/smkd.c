// Selective mutual knowledge distillation, its progressive and static thresholds, and its limits ALL and ZERO
// (methods.md 1 and 2). For peers A = 0 and B = 1 on the same N rows,
//
//   L_A = mean_i H(q~_A, p_A) + sum_i m_B H(sg q~_B, p_A) / K_B      m_B = 1 where H(p_B) < chi, K_B = sum m_B
//
// and L_B likewise. All five losses are this one graph: they differ in the gate's mode and in where b2 comes from. That
// is what makes ALL and ZERO equal to the formula's limits bit for bit: the same operations in the same order on the
// same masks.
#include "losses_internal.h"

#include <math.h>
#include <string.h>

struct peer {
    ir_vid z;       // logits [N,C]
    ir_vid p;       // softmax(z) [N,C]
    ir_vid h;       // entropy of p [N]
    ir_vid eps;     // trust in p [N], a constant
    ir_vid target;  // refined target q~ [N,C]
    ir_vid teaches; // 1 where p is confident enough, else 0 [N]
    ir_vid count;   // number of those rows, []
};

struct scalars {
    ir_vid progress, eta, b2, b1, rho, r[2];
};

static ir_vid scalar_input(struct ir_graph *g, const char *name) {
    return ir_boundary(g, IR_ROLE_SCALAR, ir_scalar_type(IR_F32), name, NULL);
}

static ir_vid sum_rows(struct ir_graph *g, ir_vid x) {
    int64_t axis = 0;
    return ir_reduce(g, IR_OP_reduce_sum, x, &axis, 1, 0);
}

static ir_vid cross_entropy(struct ir_graph *g, ir_vid target, ir_vid z, double log_floor) {
    return ir_emit(g, IR_OP_cross_entropy, (ir_vid[]){target, z}, 2, IR_ATTRS(IR_F("log_floor", log_floor)));
}

// What model trust is a function of: ProSelfLC looks at the clock, MyLC at the model's own mean confidence r (Eq. 7).
static ir_vid trust_input(struct ir_graph *g, const struct loss_options *o, const struct scalars *s, int k, ir_vid h) {
    if (strcmp(o->refine, "mylc") != 0) return s->progress;
    if (strcmp(o->r_scope, "batch") != 0) return s->r[k];
    ir_vid mean = ir_div(g, sum_rows(g, h), ir_batch_size(g));
    ir_vid r = ir_sub(g, ir_const_f(g, 1), ir_div(g, mean, ir_const_f(g, log((double)o->classes))));
    return ir_stop_gradient(g, r);
}

static struct peer describe(struct ir_graph *g, const struct loss_options *o, const struct scalars *s, int k, ir_vid z,
                            ir_vid q, ir_vid chi, const char *gate) {
    struct peer x = {.z = z};
    x.p = ir_emit(g, IR_OP_softmax, &z, 1, IR_ATTRS(IR_I("axis", 1)));
    x.h = ir_emit(g, IR_OP_entropy, &z, 1, IR_NO_ATTRS);

    ir_vid trust[] = {z, trust_input(g, o, s, k, x.h), s->b1, s->rho};
    x.eps = ir_emit(g, IR_OP_smkd_trust, trust, 4, IR_ATTRS(IR_S("rule", o->refine)));
    ir_vid refine[] = {x.p, q, ir_reshape(g, x.eps, 2, (int64_t[]){IR_N, 1})};
    x.target = ir_emit(g, IR_OP_smkd_refine, refine, 3, IR_ATTRS(IR_I("detach", o->detach_target)));

    x.teaches = ir_emit(g, IR_OP_smkd_select, (ir_vid[]){x.h, chi}, 2, IR_ATTRS(IR_S("mode", gate)));
    x.count = sum_rows(g, x.teaches);
    return x;
}

// sum_i m_t H(sg q~_t, p_s) over a denominator, [] : what `t` teaches `s`.
static ir_vid peer_term(struct ir_graph *g, const struct loss_options *o, const struct peer *s, const struct peer *t) {
    ir_vid zero = ir_const_f(g, 0);
    // Targets are chosen, not multiplied by the mask: a row that isn't taught has the target 0, so its cross entropy
    // and its gradient are exact zeros even where the teacher's prediction isn't a number.
    ir_vid taught = ir_binary(g, IR_OP_lt, zero, ir_reshape(g, t->teaches, 2, (int64_t[]){IR_N, 1}));
    ir_vid target = ir_where(g, taught, ir_stop_gradient(g, t->target), zero);
    ir_vid sum = sum_rows(g, cross_entropy(g, target, s->z, o->log_floor));
    if (strcmp(o->peer_denom, "N") == 0) return ir_div(g, sum, ir_batch_size(g));

    // K is the count of the rows that t chose; the paper's listing has the two counts swapped ("typo"). No rows: no
    // term, and 0/0 is never evaluated.
    ir_vid k = strcmp(o->peer_denom, "typo") == 0 ? s->count : t->count;
    ir_vid mean = ir_div(g, sum, ir_binary(g, IR_OP_max, k, ir_const_f(g, 1)));
    return ir_where(g, ir_binary(g, IR_OP_lt, zero, k), mean, zero);
}

static struct ir_graph *build(struct arena *a, struct diag *d, const struct loss_info *self,
                              const struct loss_options *o, const char *gate, bool progressive) {
    struct ir_graph *g = ir_graph_new(a, d, self->name);
    g->cur_loc = (struct diag_loc){.node = self->name, .op = "loss"};
    struct ir_type logits = ir_type_make(IR_F32, 2, (int64_t[]){IR_N, o->classes});
    ir_vid z[2]; // one statement each: the order of declaration is the order of the artifact's table
    z[0] = ir_boundary(g, IR_ROLE_INPUT, logits, "logits.0", NULL);
    z[1] = ir_boundary(g, IR_ROLE_INPUT, logits, "logits.1", NULL);
    ir_vid labels = ir_boundary(g, IR_ROLE_INPUT, ir_type_make(IR_I64, 1, (int64_t[]){IR_N}), "labels", NULL);
    // All seven, used or not: whoever runs a loss sets them without asking which loss it is.
    struct scalars s;
    s.progress = scalar_input(g, "progress");
    s.eta = scalar_input(g, "eta");
    s.b2 = scalar_input(g, "b2");
    s.b1 = scalar_input(g, "b1");
    s.rho = scalar_input(g, "rho");
    s.r[0] = scalar_input(g, "r.0");
    s.r[1] = scalar_input(g, "r.1");

    ir_vid q = ir_emit(g, IR_OP_one_hot, &labels, 1, IR_ATTRS(IR_I("classes", o->classes)));
    ir_vid chi;
    if (strcmp(gate, "below") == 0) {
        ir_vid in[] = {s.progress, s.eta, progressive ? s.b2 : ir_const_f(g, 0), ir_const_f(g, (double)o->classes)};
        chi = ir_emit(g, IR_OP_smkd_threshold, in, 4, IR_NO_ATTRS);
    } else {
        // Not compared with anything: the limit of the formula, for the log.
        double limit = strcmp(gate, "all") == 0 ? INFINITY : 0;
        chi = ir_emit(g, IR_OP_fill, NULL, 0, IR_ATTRS(IR_IS("shape", NULL, 0), IR_F("value", limit)));
    }
    struct peer peers[2];
    for (int k = 0; k < 2; k++) peers[k] = describe(g, o, &s, k, z[k], q, chi, gate);

    static const char *const loss_names[] = {"loss.0", "loss.1"},
                             *const selected_names[] = {"selected.0", "selected.1"},
                             *const trust_names[] = {"trust.0", "trust.1"},
                             *const entropy_names[] = {"entropy.0", "entropy.1"};
    for (int k = 0; k < 2; k++) {
        const struct peer *own = &peers[k], *other = &peers[1 - k];
        ir_vid mean = ir_div(g, sum_rows(g, cross_entropy(g, own->target, own->z, o->log_floor)), ir_batch_size(g));
        ir_set_output(g, IR_OUT_OUTPUT, loss_names[k], ir_add(g, mean, peer_term(g, o, own, other)));
    }
    ir_set_output(g, IR_OUT_OUTPUT, "threshold", chi);
    for (int k = 0; k < 2; k++) {
        ir_set_output(g, IR_OUT_OUTPUT, selected_names[k], peers[k].teaches);
        ir_set_output(g, IR_OUT_OUTPUT, trust_names[k], peers[k].eps);
        ir_set_output(g, IR_OUT_OUTPUT, entropy_names[k], peers[k].h);
    }
    return g;
}

struct ir_graph *loss_build_smkd_p(struct arena *a, struct diag *d, const struct loss_info *self,
                                   const struct loss_options *o) {
    return build(a, d, self, o, "below", true);
}

struct ir_graph *loss_build_smkd_s(struct arena *a, struct diag *d, const struct loss_info *self,
                                   const struct loss_options *o) {
    return build(a, d, self, o, "below", false);
}

struct ir_graph *loss_build_all(struct arena *a, struct diag *d, const struct loss_info *self,
                                const struct loss_options *o) {
    return build(a, d, self, o, "all", true);
}

struct ir_graph *loss_build_zero(struct arena *a, struct diag *d, const struct loss_info *self,
                                 const struct loss_options *o) {
    return build(a, d, self, o, "none", true);
}

struct ir_graph *loss_build_ce(struct arena *a, struct diag *d, const struct loss_info *self,
                               const struct loss_options *o) {
    struct loss_options plain = *o;
    plain.refine = "none";
    return build(a, d, self, &plain, "none", true);
}
