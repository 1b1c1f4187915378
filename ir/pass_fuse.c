// Pass `fuse`: marks pointwise and view nodes whose result need not exist in memory, because every consumer can compute
// it on the fly. What remains materialised are inputs of convolutions, matrix products, pools and reshapes, results
// used too often to recompute, small vectors that a bigger tensor would recompute per element, and outputs.
//
// Expects: no EXPAND ops. Ensures: inline nodes are pointwise or views (not reshape), have only fusable consumers, and
// no expression grows beyond what one kernel takes.
#include "ir.h"

#include <stdlib.h>

enum { MAX_STEPS = 40, MAX_LEAVES = 14 };

enum smkd_status ir_pass_fuse(struct ir_graph *g, const struct ir_pass_options *o);

static bool reads_expressions(const struct ir_node *n, int operand) {
    switch (ir_ops[n->op].kind) {
    case IR_KIND_PW:
    case IR_KIND_RED:
        return true;
    case IR_KIND_VIEW:
        return n->op != IR_OP_reshape;
    default:
        break;
    }
    if (n->op == IR_OP_bn_stats || n->op == IR_OP_concat || n->op == IR_OP_pad) return true;
    return n->op == IR_OP_bn_grad_reduce && operand < 2;
}

// Costs nothing to repeat: generators and pure index maps of them.
static bool is_free(const struct ir_graph *g, const struct ir_node *n) {
    if (n->op == IR_OP_fill || n->op == IR_OP_iota || n->op == IR_OP_batch_size) return true;
    if (n->op != IR_OP_expand && n->op != IR_OP_cast && n->op != IR_OP_stop_gradient) return false;
    const struct ir_value *v = &g->values[n->in[0]];
    if (v->role == IR_ROLE_CONST || v->role == IR_ROLE_SCALAR) return true;
    return v->role == IR_ROLE_NODE ? is_free(g, &g->nodes[v->def]) : n->op == IR_OP_expand;
}

static bool is_dear(enum ir_op op) {
    return op == IR_OP_exp || op == IR_OP_log || op == IR_OP_tanh || op == IR_OP_erf || op == IR_OP_sigmoid ||
           op == IR_OP_pow || op == IR_OP_sin || op == IR_OP_cos || op == IR_OP_div || op == IR_OP_recip ||
           op == IR_OP_sqrt || op == IR_OP_dropout_mask;
}

static double elements(const struct ir_type *t) { // per batch of a nominal 64
    return (double)ir_numel(t) * (ir_is_batched(t) ? 64 : 1);
}

struct info {
    uint32_t uses;
    bool only_fusable; // every consumer can take an expression
    bool grows;        // some consumer has more elements (broadcasts it)
    bool crosses;      // used by another phase
    uint16_t steps, leaves;
};

enum smkd_status ir_pass_fuse(struct ir_graph *g, const struct ir_pass_options *o) {
    (void)o;
    struct info *in = xcalloc(g->n_values, sizeof *in);
    for (size_t v = 0; v < g->n_values; v++) in[v].only_fusable = true;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct ir_node *n = &g->nodes[i];
        for (int k = 0; k < n->n_in; k++) {
            ir_vid v = n->in[k];
            if (v == IR_NONE) continue;
            in[v].uses++;
            if (!reads_expressions(n, k)) in[v].only_fusable = false;
            if (elements(&g->values[n->out[0]].type) > elements(&g->values[v].type) &&
                ir_ops[n->op].kind != IR_KIND_RED && n->op != IR_OP_concat && n->op != IR_OP_pad)
                in[v].grows = true;
            if (g->values[v].role == IR_ROLE_NODE && g->nodes[g->values[v].def].phase != n->phase) in[v].crosses = true;
        }
    }
    for (size_t i = 0; i < g->n_outputs; i++) in[g->outputs[i].value].only_fusable = false;
    for (size_t i = 0; i < g->n_nodes; i++) {
        struct ir_node *n = &g->nodes[i];
        bug_node = n->loc.node;
        enum ir_op_kind kind = ir_ops[n->op].kind;
        // What this node's expression costs if all its inline operands stay inline; shed the largest while it is too
        // big.
        for (;;) {
            int steps = 1, leaves = 0, worst = -1;
            for (int k = 0; k < n->n_in; k++) {
                ir_vid v = n->in[k];
                if (v == IR_NONE) continue;
                bool inl = g->values[v].role == IR_ROLE_NODE && g->nodes[g->values[v].def].is_inline;
                steps += inl ? in[v].steps : 1;
                leaves += inl ? in[v].leaves : 1;
                if (inl && (worst < 0 || in[v].leaves > in[n->in[worst]].leaves)) worst = k;
            }
            in[n->out[0]].steps = (uint16_t)steps;
            in[n->out[0]].leaves = (uint16_t)leaves;
            // concat runs one kernel an operand
            if ((steps <= MAX_STEPS && leaves <= MAX_LEAVES) || worst < 0 || n->op == IR_OP_concat) break;
            g->nodes[g->values[n->in[worst]].def].is_inline = false;
        }
        struct info *r = &in[n->out[0]];
        if (!(kind == IR_KIND_PW || (kind == IR_KIND_VIEW && n->op != IR_OP_reshape))) continue;
        if (!r->only_fusable || r->uses == 0 || n->op == IR_OP_relayout) continue;
        if (is_free(g, n)) {
            n->is_inline = true;
            continue;
        }
        if (r->crosses || r->grows) continue;
        if (r->uses == 1)
            n->is_inline = true;
        else if (r->uses == 2 && r->leaves <= 3 && r->steps <= 6 && !is_dear(n->op))
            n->is_inline = true;
    }
    bug_node = NULL;
    free(in);
    return SMKD_OK;
}
