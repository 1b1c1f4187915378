// Pass `interleave`: the operands of a join go straight to where they are wanted.
//
// A channel shuffle (reshape, transpose, reshape) of a concatenation is an interleaving of its operands, and where the
// next block splits it again, each part is one of the operands' parts: ShuffleNetV2's blocks then write what they read
// once, where concatenation, transposition and slices moved it three times. (Ma et al., ShuffleNet V2, 2018,
// section 4.) Before differentiation, so that gradients have the same form.
//
// What is left of it in a gradient is an elementwise op over a concatenation that nothing else reads, such as the sign
// of a ReLU: it moves into the operands, so that the concatenation need not lie in memory first.
//
// Expects: nothing. Ensures: the same results to the bit.
#include "ir_internal.h"

#include <stdlib.h>
#include <string.h>

struct state {
    struct ir_rewriter rw;
    uint32_t *uses;   // by old vid: operands that read it, and outputs
    uint32_t *splits; // by old vid: slices among them
};

static const struct ir_node *def(const struct ir_graph *g, ir_vid v, enum ir_op op) {
    return ir_defined_by(g, v, op) ? &g->nodes[g->values[v].def] : NULL;
}

static int axis_of(const struct ir_graph *g, const struct ir_node *n) {
    return ir_axis_of(n, "axis", g->values[n->in[0]].type.rank);
}

// dims with `axis` cut into a and b
static bool is_cut(const struct ir_type *whole, const struct ir_type *cut, int axis, int64_t a, int64_t b) {
    bool ok = cut->rank == whole->rank + 1 && cut->dims[axis] == a && cut->dims[axis + 1] == b;
    for (int i = 0; ok && i < whole->rank; i++) ok = i == axis || cut->dims[i < axis ? i : i + 1] == whole->dims[i];
    return ok;
}

static bool swaps(const struct ir_node *transpose, int axis) {
    size_t n;
    const int64_t *perm = ir_attr_ints(transpose, "perm", &n);
    for (size_t i = 0; i < n; i++)
        if (perm[i] != ((int)i == axis ? axis + 1 : (int)i == axis + 1 ? axis : (int64_t)i)) return false;
    return true;
}

// The interleaving that a reshape of a transposition of a reshape of a concatenation comes to, or IR_NONE.
static ir_vid shuffle(struct ir_graph *g, const struct ir_node *last) {
    const struct ir_node *turn = last->op == IR_OP_reshape ? def(g, last->in[0], IR_OP_transpose) : NULL;
    const struct ir_node *first = turn ? def(g, turn->in[0], IR_OP_reshape) : NULL;
    const struct ir_node *join = first ? def(g, first->in[0], IR_OP_concat) : NULL;
    if (!join || join->n_in < ir_ops[IR_OP_interleave].in_min || join->n_in > ir_ops[IR_OP_interleave].in_max)
        return IR_NONE;
    const struct ir_type *whole = &g->values[join->out[0]].type, *part = &g->values[join->in[0]].type;
    const int axis = axis_of(g, join);
    for (int k = 1; k < join->n_in; k++)
        if (!ir_same_dims(part, &g->values[join->in[k]].type)) return IR_NONE;
    if (!is_cut(whole, &g->values[first->out[0]].type, axis, join->n_in, part->dims[axis]) || !swaps(turn, axis) ||
        !ir_same_dims(whole, &g->values[last->out[0]].type))
        return IR_NONE;
    return ir_emit(g, IR_OP_interleave, join->in, join->n_in, IR_ATTRS(IR_I("axis", axis)));
}

// v from `start` on, `size` long, along an axis
static ir_vid cut_out(struct ir_graph *g, ir_vid v, int axis, int64_t start, int64_t size) {
    const struct ir_type t = g->values[v].type;
    int64_t starts[IR_MAX_RANK] = {0}, sizes[IR_MAX_RANK], steps[IR_MAX_RANK];
    for (int i = 0; i < t.rank; i++) {
        sizes[i] = t.dims[i];
        steps[i] = 1;
    }
    starts[axis] = start;
    sizes[axis] = size;
    return ir_emit(
        g, IR_OP_slice, &v, 1,
        IR_ATTRS(IR_IS("starts", starts, t.rank), IR_IS("sizes", sizes, t.rank), IR_IS("steps", steps, t.rank)));
}

// Is n, a slice, a run of whole steps of an interleaving of `count` along `axis`?
static bool is_run(const struct ir_graph *g, const struct ir_node *n, int axis, int64_t count) {
    const struct ir_type *from = &g->values[n->in[0]].type, *to = &g->values[n->out[0]].type;
    size_t rank;
    const int64_t *starts = ir_attr_ints(n, "starts", &rank), *steps = ir_attr_ints(n, "steps", &rank);
    for (int i = 0; i < from->rank; i++)
        if (steps[i] != 1 || (i != axis && (starts[i] || to->dims[i] != from->dims[i]))) return false;
    return starts[axis] % count == 0 && to->dims[axis] % count == 0 && to->dims[axis] > 0;
}

// A slice of an interleaving is an interleaving of slices; worth it where nobody wants the whole.
static ir_vid split(struct state *s, size_t i) {
    struct ir_graph *g = s->rw.g;
    const struct ir_node *n = &s->rw.old[i];
    if (n->op != IR_OP_slice || s->uses[n->in[0]] != s->splits[n->in[0]]) return IR_NONE;
    const ir_vid from = ir_rw_map(&s->rw, n->in[0]);
    if (!ir_defined_by(g, from, IR_OP_interleave)) return IR_NONE;
    const struct ir_node join = g->nodes[g->values[from].def]; // by value: emitting may move the nodes
    const int axis = axis_of(g, &join);
    if (!is_run(g, n, axis, join.n_in)) return IR_NONE;
    size_t rank;
    const int64_t start = ir_attr_ints(n, "starts", &rank)[axis] / join.n_in;
    const int64_t size = g->values[n->out[0]].type.dims[axis] / join.n_in;
    ir_vid in[4];
    for (int k = 0; k < join.n_in; k++) in[k] = cut_out(g, join.in[k], axis, start, size);
    return ir_emit(g, IR_OP_interleave, in, join.n_in, IR_ATTRS(IR_I("axis", axis)));
}

// An elementwise op of a gradient over a concatenation that only it reads, with operands that are as large: one for
// each of the concatenation's operands.
static ir_vid sink(struct state *s, size_t i) {
    struct ir_graph *g = s->rw.g;
    const struct ir_node *n = &s->rw.old[i];
    if (n->phase != IR_BACKWARD || ir_ops[n->op].kind != IR_KIND_PW || !n->n_in || n->n_in > 3) return IR_NONE;
    const struct ir_type *t = &g->values[n->out[0]].type;
    int at = -1;
    for (int k = 0; k < n->n_in; k++) {
        if (n->in[k] == IR_NONE || !ir_same_dims(&g->values[n->in[k]].type, t)) return IR_NONE;
        if (at < 0 && s->uses[n->in[k]] == 1 && def(g, ir_rw_map(&s->rw, n->in[k]), IR_OP_concat)) at = k;
    }
    if (at < 0) return IR_NONE;
    const ir_vid joined = ir_rw_map(&s->rw, n->in[at]);
    const struct ir_node join = g->nodes[g->values[joined].def];
    const int axis = axis_of(g, &join);
    int64_t start = 0;
    ir_vid *parts = arena_alloc(g->arena, sizeof *parts * join.n_in);
    for (int p = 0; p < join.n_in; p++) {
        const int64_t size = g->values[join.in[p]].type.dims[axis];
        ir_vid in[3];
        for (int k = 0; k < n->n_in; k++)
            in[k] = k == at ? join.in[p] : cut_out(g, ir_rw_map(&s->rw, n->in[k]), axis, start, size);
        parts[p] = ir_emit(g, (enum ir_op)n->op, in, n->n_in, n->attrs, n->n_attrs);
        start += size;
    }
    return ir_emit(g, IR_OP_concat, parts, join.n_in, IR_ATTRS(IR_I("axis", axis)));
}

enum smkd_status ir_pass_interleave(struct ir_graph *g, const struct ir_pass_options *o) {
    (void)o;
    struct state s = {0};
    s.uses = xcalloc(g->n_values + 1, sizeof *s.uses);
    s.splits = xcalloc(g->n_values + 1, sizeof *s.splits);
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++) {
            if (g->nodes[i].in[k] == IR_NONE) continue;
            s.uses[g->nodes[i].in[k]]++;
            s.splits[g->nodes[i].in[k]] += g->nodes[i].op == IR_OP_slice;
        }
    for (size_t i = 0; i < g->n_outputs; i++) s.uses[g->outputs[i].value]++;
    ir_rw_begin(&s.rw, g);
    for (size_t i = 0; i < s.rw.n_old; i++) {
        bug_node = s.rw.old[i].loc.node;
        ir_rw_at(&s.rw, i);
        ir_vid by = split(&s, i);
        if (by == IR_NONE) by = sink(&s, i);
        if (by != IR_NONE) {
            ir_rw_replace(&s.rw, s.rw.old[i].out[0], by);
            continue;
        }
        ir_nid id = ir_rw_copy_node(&s.rw, i);
        ir_rw_at(&s.rw, i);
        struct ir_node n = g->nodes[id];
        if ((by = shuffle(g, &n)) != IR_NONE) {
            ir_rw_replace(&s.rw, n.out[0], by);
            ir_rw_drop(&s.rw, id);
        }
    }
    ir_rw_end(&s.rw);
    bug_node = NULL;
    free(s.uses);
    free(s.splits);
    return SMKD_OK;
}
