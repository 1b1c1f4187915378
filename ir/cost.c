// What a node costs: floating-point operations, and bytes of operands and results, both per sample (plus the fixed
// part).
#include "ir_internal.h"

#include <stdlib.h>

static const struct ir_type *in(const struct ir_graph *g, const struct ir_node *n, int k) {
    return &g->values[n->in[k]].type;
}
static const struct ir_type *out(const struct ir_graph *g, const struct ir_node *n) {
    return &g->values[n->out[0]].type;
}
static double numel(const struct ir_type *t) { return (double)ir_numel(t); }

// A convolution, whichever of its three is wanted, multiplies each element of y with each weight of its output channel.
static double conv(const struct ir_type *y, const struct ir_type *w) {
    return 2 * numel(y) * (double)(w->dims[1] * w->dims[2] * w->dims[3]);
}
static double flops_conv(const struct ir_graph *g, const struct ir_node *n) { return conv(out(g, n), in(g, n, 1)); }
static double flops_conv_grad_x(const struct ir_graph *g, const struct ir_node *n) {
    return conv(in(g, n, 0), in(g, n, 1));
}
static double flops_conv_grad_w(const struct ir_graph *g, const struct ir_node *n) {
    return conv(in(g, n, 0), out(g, n));
}

static double flops_matmul(const struct ir_graph *g, const struct ir_node *n) {
    const struct ir_type *a = in(g, n, 0);
    return 2 * numel(out(g, n)) * (double)llabs(a->dims[a->rank - (ir_attr_i(n, "trans_a") ? 2 : 1)]);
}

// An operation for each element of the result, or of what is read to make it.
static double flops_written(const struct ir_graph *g, const struct ir_node *n) { return numel(out(g, n)); }
static double flops_read(const struct ir_graph *g, const struct ir_node *n) {
    return numel(n->n_in ? in(g, n, 0) : out(g, n));
}
static double flops_none(const struct ir_graph *g, const struct ir_node *n) { return (void)g, (void)n, 0; }

typedef double rule(const struct ir_graph *g, const struct ir_node *n);
static rule *const rule_of_kind[] = {
    [IR_KIND_PW] = flops_written,  [IR_KIND_VIEW] = flops_none,   [IR_KIND_RED] = flops_read,
    [IR_KIND_KERNEL] = flops_read, [IR_KIND_EXPAND] = flops_read,
};
static rule *const rule_of_op[IR_OP_COUNT] = {
    // where the kind's will not do
    [IR_OP_conv] = flops_conv,
    [IR_OP_conv_grad_x] = flops_conv_grad_x,
    [IR_OP_conv_grad_w] = flops_conv_grad_w,
    [IR_OP_matmul] = flops_matmul,
};

void ir_cost(const struct ir_graph *g, const struct ir_node *n, double *flops, double *bytes) {
    *bytes = 0;
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] != IR_NONE) *bytes += (double)ir_type_bytes(in(g, n, k));
    for (int k = 0; k < n->n_out; k++) *bytes += (double)ir_type_bytes(&g->values[n->out[k]].type);
    rule *r = rule_of_op[n->op];
    *flops = (r ? r : rule_of_kind[ir_ops[n->op].kind])(g, n);
}

enum { SEEN = 64 };
struct walk {
    const struct ir_graph *g;
    struct ir_work work;
    ir_vid seen[SEEN]; // a fused expression is small; what does not fit counts twice
    int n_seen;
};

static bool is_batched(const struct ir_graph *g, const struct ir_node *n) {
    bool batched = false;
    for (int k = 0; k < n->n_in; k++) batched |= n->in[k] != IR_NONE && ir_is_batched(in(g, n, k));
    for (int k = 0; k < n->n_out; k++) batched |= ir_is_batched(&g->values[n->out[k]].type);
    return batched;
}

static void add_value(struct walk *w, ir_vid v) {
    const struct ir_type *t = &w->g->values[v].type;
    *(ir_is_batched(t) ? &w->work.sample_bytes : &w->work.bytes) += (double)ir_type_bytes(t);
}

static void visit(struct walk *w, const struct ir_node *n) {
    double flops, bytes;
    ir_cost(w->g, n, &flops, &bytes);
    *(is_batched(w->g, n) ? &w->work.sample_flops : &w->work.flops) += flops;
    for (int k = 0; k < n->n_in; k++) {
        ir_vid v = n->in[k];
        bool again = v == IR_NONE;
        for (int i = 0; i < w->n_seen && !again; i++) again = w->seen[i] == v;
        if (again) continue;
        if (w->n_seen < SEEN) w->seen[w->n_seen++] = v;
        const struct ir_value *val = &w->g->values[v];
        if (val->role == IR_ROLE_NODE && w->g->nodes[val->def].is_inline)
            visit(w, &w->g->nodes[val->def]);
        else
            add_value(w, v);
    }
}

struct ir_work ir_fused_cost(const struct ir_graph *g, const ir_nid *nodes, int n) {
    struct walk w = {.g = g};
    for (int i = 0; i < n; i++) {
        const struct ir_node *node = &g->nodes[nodes[i]];
        visit(&w, node);
        for (int k = 0; k < node->n_out; k++) {
            add_value(&w, node->out[k]);
            if (w.n_seen < SEEN) w.seen[w.n_seen++] = node->out[k]; // the others have it in a register
        }
    }
    return w.work;
}
