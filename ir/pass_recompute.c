// Pass `recompute`: what the backward pass needs of the forward pass is computed again rather than kept, where that
// takes only elementwise work on values that are kept anyway.
//
// A network with BatchNorm keeps, by definition, each convolution's output x (for the gradient of the normalisation)
// and y = relu(bn(x)) (as the next convolution's input, and for the sign). The second follows from the first in one
// pass over memory, a residual sum from its two sides. So activations take half the memory for 2 % of the time. (Chen
// et al., Training Deep Nets with Sublinear Memory Cost, 2016, is the idea; here nothing dear is ever repeated.)
//
// A concatenation or a pool costs no more than such a pass, so what the backward pass reads of it is computed again,
// too, where its operands are elementwise in kept values: Inception keeps its branches, not their concatenations. What
// rests on one is computed again only where that one's own operands are kept, so that repeating never takes repeating
// a chain of them. A pool that leaves a part of its operand, as behind a network's first convolution, is kept: it
// would save little for having all of the operand made and read again.
//
// Expects: differentiation, dce. Ensures: same results; no backward node reads a forward value that is elementwise, or
// a concatenation or a pool of the same size of what is elementwise, in values that some backward node reads anyway.
#include "ir_internal.h"

#include <stdlib.h>
#include <string.h>

enum smkd_status ir_pass_recompute(struct ir_graph *g, const struct ir_pass_options *o);

struct state {
    struct ir_graph *g;
    const struct ir_node **def; // by vid: the node that defined it before the pass, NULL for boundary values
    bool *needed;               // by vid: a backward node reads it from memory
    bool *dropped;              // by vid: is computed again instead
    int8_t *at_hand;            // by vid: answer of at_hand, -1 so far
    ir_vid *copy;               // by vid: its copy in the backward phase, IR_NONE so far
};

static bool elementwise(const struct ir_node *n) {
    enum ir_op_kind kind = ir_ops[n->op].kind;
    return n->n_out == 1 && (kind == IR_KIND_PW || kind == IR_KIND_VIEW);
}

// Kernels that do little more than move memory, where they make as much as they read.
static const bool moves_memory[IR_OP_COUNT] = {
    [IR_OP_concat] = true,
    [IR_OP_interleave] = true,
    [IR_OP_avg_pool] = true,
    [IR_OP_max_pool] = true,
};

// The forward node that makes v, where v is worth a thought: boundary values and small ones are always at hand.
static const struct ir_node *forward_def(const struct state *s, ir_vid v) {
    const struct ir_node *n = s->def[v];
    return n && n->phase == IR_FORWARD && ir_is_batched(&s->g->values[v].type) ? n : NULL;
}

static bool repeatable(const struct state *s, ir_vid v);

// Will v be at hand in the backward pass, kept or computed again? A value that is dropped stays so: it was repeatable.
static bool at_hand(const struct state *s, ir_vid v) {
    if (!forward_def(s, v) || s->needed[v]) return true;
    if (s->at_hand[v] < 0) s->at_hand[v] = repeatable(s, v);
    return s->at_hand[v];
}

static bool operands_at_hand(const struct state *s, const struct ir_node *n) {
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] != IR_NONE && !at_hand(s, n->in[k])) return false;
    return true;
}

static bool operands_kept(const struct state *s, const struct ir_node *n) {
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] != IR_NONE && forward_def(s, n->in[k]) && !s->needed[n->in[k]]) return false;
    return true;
}

static bool only_moves(const struct state *s, const struct ir_node *n) {
    if (!moves_memory[n->op]) return false;
    return n->n_in != 1 || ir_numel(&s->g->values[n->out[0]].type) >= ir_numel(&s->g->values[n->in[0]].type);
}

// Whether v can be computed again from what is at hand without v itself.
static bool repeatable(const struct state *s, ir_vid v) {
    const struct ir_node *n = forward_def(s, v);
    if (!n) return false;
    return elementwise(n) ? operands_at_hand(s, n) : only_moves(s, n) && operands_kept(s, n);
}

static bool any_needed(const struct state *s, const struct ir_node *n) {
    for (int k = 0; k < n->n_out; k++)
        if (s->needed[n->out[k]]) return true;
    return false;
}

static ir_vid in_backward(struct state *s, ir_vid v) {
    const struct ir_node *n = forward_def(s, v);
    if (!n || s->needed[v]) return v;
    if (s->copy[v] != IR_NONE) return s->copy[v];
    ir_vid *in = arena_dup(s->g->arena, n->in, sizeof *in * (size_t)n->n_in);
    for (int k = 0; k < n->n_in; k++) in[k] = n->in[k] == IR_NONE ? IR_NONE : in_backward(s, n->in[k]);
    struct diag_loc loc = s->g->cur_loc;
    s->g->cur_loc = (struct diag_loc){.node = n->loc.node, .op = n->loc.op, .note = "again"};
    ir_nid id = ir_node_new(s->g, n->op, in, (size_t)n->n_in, n->attrs, n->n_attrs);
    CHECK(id != IR_NONE, "a node does not accept its own operands");
    s->g->cur_loc = loc;
    for (int k = 0; k < n->n_out; k++) s->copy[n->out[k]] = s->g->nodes[id].out[k];
    return s->copy[v];
}

enum smkd_status ir_pass_recompute(struct ir_graph *g, const struct ir_pass_options *o) {
    (void)o;
    size_t n_old = g->n_nodes, n_values = g->n_values;
    const struct ir_node *old = g->nodes;
    struct state s = {.g = g};
    s.def = xcalloc(n_values + 1, sizeof *s.def);
    s.at_hand = xcalloc(n_values + 1, 1);
    memset(s.at_hand, -1, n_values + 1);
    s.needed = xcalloc(n_values + 1, 1);
    s.dropped = xcalloc(n_values + 1, 1);
    s.copy = xcalloc(n_values + 1, sizeof *s.copy);
    for (size_t v = 0; v < n_values; v++) s.copy[v] = IR_NONE;
    for (size_t i = 0; i < n_old; i++) {
        for (int k = 0; k < old[i].n_out; k++) s.def[old[i].out[k]] = &old[i];
        for (int k = 0; old[i].phase == IR_BACKWARD && k < old[i].n_in; k++)
            if (old[i].in[k] != IR_NONE) s.needed[old[i].in[k]] = true;
    }
    // In order, so that what a later value rests on is decided.
    for (size_t i = 0; i < n_old; i++) {
        const struct ir_node *n = &old[i];
        if (n->phase != IR_FORWARD || !any_needed(&s, n)) continue;
        if (!repeatable(&s, n->out[0]) && !(forward_def(&s, n->out[0]) && only_moves(&s, n) && operands_at_hand(&s, n)))
            continue;
        for (int k = 0; k < n->n_out; k++) {
            s.dropped[n->out[k]] = s.needed[n->out[k]];
            s.needed[n->out[k]] = false;
        }
    }
    g->nodes = NULL;
    g->n_nodes = g->cap_nodes = 0;
    for (size_t i = 0; i < n_old; i++) {
        struct ir_node n = old[i];
        bug_node = n.loc.node;
        g->cur_phase = n.phase;
        g->cur_loc = n.loc;
        for (int k = 0; n.phase == IR_BACKWARD && k < n.n_in; k++)
            if (n.in[k] != IR_NONE && n.in[k] < n_values && s.dropped[n.in[k]]) {
                ir_vid *in = arena_dup(g->arena, n.in, sizeof *n.in * (size_t)n.n_in);
                in[k] = in_backward(&s, n.in[k]);
                n.in = in;
            }
        for (int k = 0; k < n.n_out; k++) g->values[n.out[k]].def = (ir_nid)g->n_nodes;
        *ARENA_PUSH(g->arena, g->nodes, g->n_nodes, g->cap_nodes) = n;
    }
    g->cur_phase = IR_FORWARD;
    g->cur_loc = (struct diag_loc){0};
    bug_node = NULL;
    free(s.def);
    free(s.at_hand);
    free(s.needed);
    free(s.dropped);
    free(s.copy);
    return SMKD_OK;
}
