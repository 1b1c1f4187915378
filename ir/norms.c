// Which parameters scale and shift what has been normalised. Recipes decay them otherwise than weights, as
// torchvision's norm_weight_decay does by the classes of modules; a graph has no modules, and exporters write most
// norms out. Recognised on the forward nodes behind pass expand: x - mean times 1/sqrt(mean square + eps), in whichever
// form, then a product with the scale and a sum with the shift, with views and numbers anywhere between.
#include "ir.h"

#include <stdlib.h>

static const struct ir_node *def_of(const struct ir_graph *g, ir_vid v) {
    ir_nid d = v == IR_NONE ? IR_NONE : g->values[v].def;
    return d == IR_NONE ? NULL : &g->nodes[d];
}

// Ops that hand their operand on, in another shape or type.
static bool hands_on(enum ir_op op) {
    static const bool table[IR_OP_COUNT] = {
        [IR_OP_reshape] = true, [IR_OP_transpose] = true, [IR_OP_expand] = true,  [IR_OP_relayout] = true,
        [IR_OP_cast] = true,    [IR_OP_copy] = true,      [IR_OP_round_to] = true};
    return table[op];
}

static ir_vid bare(const struct ir_graph *g, ir_vid v) {
    const struct ir_node *n;
    while ((n = def_of(g, v)) && hands_on(n->op)) v = n->in[0];
    return v;
}

static const struct ir_node *bare_def(const struct ir_graph *g, ir_vid v, enum ir_op op) {
    const struct ir_node *n = def_of(g, bare(g, v));
    return n && n->op == op ? n : NULL;
}

static bool is_number(const struct ir_graph *g, ir_vid v) { return g->values[bare(g, v)].role == IR_ROLE_CONST; }

// A sum over elements, in a few steps of arithmetic.
static bool sums(const struct ir_graph *g, ir_vid v, int depth) {
    const struct ir_node *n = def_of(g, bare(g, v));
    if (!n || depth == 0) return false;
    if (n->op == IR_OP_reduce_sum) return true;
    if (n->op != IR_OP_mul && n->op != IR_OP_div && n->op != IR_OP_sub) return false;
    return sums(g, n->in[0], depth - 1) || sums(g, n->in[1], depth - 1);
}

// mean square + eps. (A sum of squares without the latter is a length: what is divided by it is no norm of recipes.)
static bool is_variance(const struct ir_graph *g, ir_vid v) {
    const struct ir_node *n = bare_def(g, v, IR_OP_add);
    for (int k = 0; n && k < 2; k++)
        if (is_number(g, n->in[k]) && sums(g, n->in[1 - k], 4)) return true;
    return false;
}

static bool is_deviation(const struct ir_graph *g, ir_vid v) {
    const struct ir_node *n = bare_def(g, v, IR_OP_sqrt), *p = bare_def(g, v, IR_OP_pow);
    return n ? is_variance(g, n->in[0]) : p && is_number(g, p->in[1]) && is_variance(g, p->in[0]);
}

static bool is_inverse(const struct ir_graph *g, ir_vid v) {
    const struct ir_node *n = bare_def(g, v, IR_OP_recip), *d = bare_def(g, v, IR_OP_div);
    if (n) return is_deviation(g, n->in[0]);
    if (d) return is_number(g, d->in[0]) && is_deviation(g, d->in[1]);
    return bare_def(g, v, IR_OP_pow) && is_deviation(g, v);
}

// What a value is: FRESH from a normalisation, or such with its SCALE.
enum state { OTHER, FRESH, SCALED };

static void mark(const struct ir_graph *g, ir_vid v, bool *norm) {
    v = bare(g, v);
    if (g->values[v].role == IR_ROLE_PARAM) norm[v] = true;
}

static enum state product(const struct ir_graph *g, const struct ir_node *n, const uint8_t *state, bool *norm) {
    for (int k = 0; k < 2; k++) {
        if (is_inverse(g, n->in[k]) && ir_is_batched(&g->values[n->in[1 - k]].type)) return FRESH;
        if (state[n->in[k]] != FRESH) continue;
        const ir_vid by = bare(g, n->in[1 - k]);
        if (is_number(g, by)) return FRESH; // the ones that PyTorch gives an InstanceNormalization inside a GroupNorm
        mark(g, by, norm);
        return g->values[by].role == IR_ROLE_PARAM ? SCALED : OTHER;
    }
    return OTHER;
}

static enum state sum(const struct ir_graph *g, const struct ir_node *n, const uint8_t *state, bool *norm) {
    for (int k = 0; k < 2; k++) {
        if (state[n->in[k]] == OTHER) continue;
        if (is_number(g, n->in[1 - k])) return state[n->in[k]];
        mark(g, n->in[1 - k], norm);
        return OTHER;
    }
    return OTHER;
}

static enum state follow(const struct ir_graph *g, const struct ir_node *n, const uint8_t *state, bool *norm) {
    if (hands_on(n->op)) return state[n->in[0]];
    switch (n->op) {
    case IR_OP_mul:
        return product(g, n, state, norm);
    case IR_OP_add:
        return sum(g, n, state, norm);
    case IR_OP_div:
        return is_deviation(g, n->in[1]) && ir_is_batched(&g->values[n->in[0]].type) ? FRESH : OTHER;
    case IR_OP_bn_apply:
        mark(g, n->in[3], norm);
        mark(g, n->in[4], norm);
        return OTHER;
    default:
        return OTHER;
    }
}

void ir_norm_parameters(const struct ir_graph *g, bool *norm) {
    uint8_t *state = xcalloc(g->n_values + 1, 1);
    for (size_t v = 0; v < g->n_values; v++) norm[v] = false;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct ir_node *n = &g->nodes[i];
        if (n->phase == IR_FORWARD) state[n->out[0]] = (uint8_t)follow(g, n, state, norm);
    }
    free(state);
}
