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

// Which operands a kernel computes on the fly, as bits. Other kernels read memory.
static const uint8_t expressions_of_kernel[IR_OP_COUNT] = {
    [IR_OP_bn_stats] = 1,           [IR_OP_bn_grad_reduce] = 1 | 2,
    [IR_OP_concat] = UINT8_MAX, // all of its operands, however many
    [IR_OP_interleave] = UINT8_MAX, [IR_OP_pad] = 1,
};

static bool reads_expressions(const struct ir_node *n, int operand) {
    enum ir_op_kind kind = ir_ops[n->op].kind;
    if (kind == IR_KIND_KERNEL) return expressions_of_kernel[n->op] >> (operand < 7 ? operand : 7) & 1;
    return kind == IR_KIND_PW || kind == IR_KIND_RED || (kind == IR_KIND_VIEW && n->op != IR_OP_reshape);
}

static bool joins(enum ir_op op) { return op == IR_OP_concat || op == IR_OP_interleave; }
// The result is larger than an operand because each has its place in it.
static bool places_operands(enum ir_op op) { return joins(op) || op == IR_OP_pad; }

// What repeating an op costs where it is not an instruction or two. FREE: a constant or an index. FREE_OF_FREE: nothing
// when what it reads is free, too. DEAR: a call, a polynomial or a division.
enum effort { EFFORT_LOW, EFFORT_FREE, EFFORT_FREE_OF_FREE, EFFORT_DEAR };
static const uint8_t effort[IR_OP_COUNT] = {
    [IR_OP_fill] = EFFORT_FREE,         [IR_OP_iota] = EFFORT_FREE,
    [IR_OP_batch_size] = EFFORT_FREE,   [IR_OP_expand] = EFFORT_FREE_OF_FREE,
    [IR_OP_cast] = EFFORT_FREE_OF_FREE, [IR_OP_stop_gradient] = EFFORT_FREE_OF_FREE,
    [IR_OP_exp] = EFFORT_DEAR,          [IR_OP_log] = EFFORT_DEAR,
    [IR_OP_tanh] = EFFORT_DEAR,         [IR_OP_erf] = EFFORT_DEAR,
    [IR_OP_sigmoid] = EFFORT_DEAR,      [IR_OP_pow] = EFFORT_DEAR,
    [IR_OP_sin] = EFFORT_DEAR,          [IR_OP_cos] = EFFORT_DEAR,
    [IR_OP_div] = EFFORT_DEAR,          [IR_OP_recip] = EFFORT_DEAR,
    [IR_OP_sqrt] = EFFORT_DEAR,         [IR_OP_dropout_mask] = EFFORT_DEAR,
    [IR_OP_random] = EFFORT_DEAR,       [IR_OP_asin] = EFFORT_DEAR,
    [IR_OP_acos] = EFFORT_DEAR,         [IR_OP_atan] = EFFORT_DEAR,
    [IR_OP_sinh] = EFFORT_DEAR,         [IR_OP_cosh] = EFFORT_DEAR,
    [IR_OP_asinh] = EFFORT_DEAR,        [IR_OP_acosh] = EFFORT_DEAR,
    [IR_OP_atanh] = EFFORT_DEAR,
};

static double elements(const struct ir_type *t) { // per batch of a nominal 64
    return (double)ir_numel(t) * (ir_is_batched(t) ? 64 : 1);
}

struct info {
    uint32_t uses;
    double times;      // each element is read, on average: slices read some
    bool only_fusable; // every consumer can take an expression
    bool grows;        // some consumer has more elements (broadcasts it)
    bool crosses;      // used by another phase
    bool is_free;      // costs nothing to repeat
    bool skips;        // computing some of it reads memory with gaps
    uint16_t steps, leaves;
};

// Operands come before: their `is_free` is known.
static bool is_free(const struct ir_graph *g, const struct ir_node *n, const struct info *in) {
    if (effort[n->op] != EFFORT_FREE_OF_FREE) return effort[n->op] == EFFORT_FREE;
    enum ir_role role = g->values[n->in[0]].role;
    if (role == IR_ROLE_NODE) return in[n->in[0]].is_free;
    return role == IR_ROLE_CONST || role == IR_ROLE_SCALAR || n->op == IR_OP_expand;
}

static bool takes_steps(const struct ir_node *n) {
    size_t rank;
    const int64_t *steps = n->op == IR_OP_slice ? ir_attr_ints(n, "steps", &rank) : NULL;
    for (size_t i = 0; steps && i < rank; i++)
        if (steps[i] > 1 || steps[i] < -1) return true;
    return false;
}

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
            in[v].times +=
                n->op == IR_OP_slice ? elements(&g->values[n->out[0]].type) / elements(&g->values[v].type) : 1;
            if (!reads_expressions(n, k)) in[v].only_fusable = false;
            if (elements(&g->values[n->out[0]].type) > elements(&g->values[v].type) &&
                ir_ops[n->op].kind != IR_KIND_RED && !places_operands(n->op))
                in[v].grows = true;
            if (g->values[v].role == IR_ROLE_NODE && g->nodes[g->values[v].def].phase != n->phase) in[v].crosses = true;
        }
    }
    for (size_t i = 0; i < g->n_outputs; i++) in[g->outputs[i].value].only_fusable = false;
    for (size_t i = 0; i < g->n_nodes; i++) {
        struct ir_node *n = &g->nodes[i];
        bug_node = n->loc.node;
        enum ir_op_kind kind = ir_ops[n->op].kind;
        // Every other of every other: most of each line would be read for nothing, by each that wants some.
        const bool steps_over = takes_steps(n);
        if (steps_over && in[n->in[0]].skips) g->nodes[g->values[n->in[0]].def].is_inline = false;
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
            // a join has an expression for each operand
            if ((steps <= MAX_STEPS && leaves <= MAX_LEAVES) || worst < 0 || joins(n->op)) break;
            g->nodes[g->values[n->in[worst]].def].is_inline = false;
        }
        struct info *r = &in[n->out[0]];
        r->is_free = is_free(g, n, in);
        r->skips = steps_over;
        for (int k = 0; k < n->n_in; k++)
            r->skips |= n->in[k] != IR_NONE && in[n->in[k]].skips && g->nodes[g->values[n->in[k]].def].is_inline;
        if (!(kind == IR_KIND_PW || (kind == IR_KIND_VIEW && n->op != IR_OP_reshape))) continue;
        if (!r->only_fusable || r->uses == 0 || n->op == IR_OP_relayout) continue;
        if (r->is_free) {
            n->is_inline = true;
            continue;
        }
        if (r->crosses || r->grows) continue;
        if (r->uses == 1 || r->times <= 1)
            n->is_inline = true;
        else if (r->uses == 2 && r->leaves <= 3 && r->steps <= 6 && effort[n->op] != EFFORT_DEAR)
            n->is_inline = true;
    }
    bug_node = NULL;
    free(in);
    return SMKD_OK;
}
