// Pass `fold`: nodes of constants become constants (through the reference interpreter, rounded to their dtype), and
// nodes that change nothing give way to their operand.
#include "ir_internal.h"

#include <string.h>

enum { MAX_FOLD = 1 << 20 };

static bool foldable(const struct ir_graph *g, const struct ir_node *n) {
    if (n->n_in == 0) return false; // fill and iota are cheaper as they are
    if (n->op == IR_OP_stop_gradient || n->op == IR_OP_relayout || n->op == IR_OP_batch_size) return false;
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] == IR_NONE || g->values[n->in[k]].role != IR_ROLE_CONST) return false;
    for (int k = 0; k < n->n_out; k++)
        if (ir_is_batched(&g->values[n->out[k]].type) || ir_numel(&g->values[n->out[k]].type) > MAX_FOLD) return false;
    return true;
}

static void fold(struct ir_rewriter *rw, ir_nid id) {
    struct ir_graph *g = rw->g;
    struct ir_node n = g->nodes[id];
    struct arena a;
    arena_init(&a);
    const struct ir_tensor *in[64];
    struct ir_tensor *out[8];
    for (int k = 0; k < n.n_in; k++)
        in[k] = ir_tensor_from(&a, ir_concrete(&g->values[n.in[k]].type, 1), g->values[n.in[k]].data);
    for (int k = 0; k < n.n_out; k++) out[k] = ir_tensor_new(&a, g->values[n.out[k]].type);
    ir_ops[n.op].eval(g, &n, in, out);
    for (int k = 0; k < n.n_out; k++) {
        void *data = arena_alloc(&a, ir_tensor_numel(out[k]) * ir_dtype_size(out[k]->type.dtype));
        ir_tensor_store(out[k], data);
        ir_rw_replace(rw, n.out[k], ir_const(g, g->values[n.out[k]].type, data));
    }
    ir_rw_drop(rw, id);
    arena_release(&a);
}

static bool all_are(const struct ir_graph *g, ir_vid v, float want) {
    const struct ir_value *c = &g->values[v];
    if (c->role != IR_ROLE_CONST || c->type.dtype != IR_F32) return false;
    for (int64_t i = 0, n = ir_numel(&c->type); i < n; i++)
        if (((const float *)c->data)[i] != want) return false;
    return true;
}

static bool always(const struct ir_graph *g, const struct ir_node *n) { return (void)g, (void)n, true; }
static bool plus_0(const struct ir_graph *g, const struct ir_node *n) { return all_are(g, n->in[1], 0); }
static bool zero_plus(const struct ir_graph *g, const struct ir_node *n) { return all_are(g, n->in[0], 0); }
static bool times_1(const struct ir_graph *g, const struct ir_node *n) { return all_are(g, n->in[1], 1); }
static bool one_times(const struct ir_graph *g, const struct ir_node *n) { return all_are(g, n->in[0], 1); }

static bool moves_nothing(const struct ir_graph *g, const struct ir_node *n) {
    (void)g;
    size_t count;
    const int64_t *p = ir_attr_ints(n, "perm", &count);
    for (size_t i = 0; i < count; i++)
        if (p[i] != (int64_t)i) return false;
    return true;
}

static bool every_one(const struct ir_graph *g, const struct ir_node *n) {
    (void)g;
    size_t count;
    const int64_t *p = ir_attr_ints(n, "steps", &count);
    for (size_t i = 0; i < count; i++)
        if (p[i] != 1) return false;
    return true;
}

// Where the condition holds and the types are equal, the node is its operand.
static const struct identity {
    enum ir_op op;
    uint8_t operand;
    bool (*holds)(const struct ir_graph *g, const struct ir_node *n);
} identities[] = {
    {IR_OP_reshape, 0, always},          {IR_OP_expand, 0, always},   {IR_OP_cast, 0, always},
    {IR_OP_transpose, 0, moves_nothing}, {IR_OP_slice, 0, every_one}, {IR_OP_add, 0, plus_0},
    {IR_OP_add, 1, zero_plus},           {IR_OP_sub, 0, plus_0},      {IR_OP_mul, 0, times_1},
    {IR_OP_mul, 1, one_times},           {IR_OP_div, 0, times_1},
};

// The operand a node is equal to, or IR_NONE.
static ir_vid same_as(const struct ir_graph *g, const struct ir_node *n) {
    for (size_t i = 0; i < sizeof identities / sizeof *identities; i++) {
        const struct identity *id = &identities[i];
        if (id->op != n->op) continue;
        const struct ir_type *in = &g->values[n->in[id->operand]].type, *out = &g->values[n->out[0]].type;
        if (in->dtype == out->dtype && ir_same_dims(in, out) && id->holds(g, n)) return n->in[id->operand];
    }
    return IR_NONE;
}

// The axis along which two pads of zeros, added, lay their operands side by side; -1 when they do not. *first: whether
// a's comes first.
static int joins(const struct ir_graph *g, const struct ir_node *a, const struct ir_node *b, bool *first) {
    const struct ir_type *t = &g->values[a->in[0]].type, *u = &g->values[b->in[0]].type;
    const struct ir_node *pads[2] = {a, b};
    const int64_t *lo[2], *hi[2];
    size_t n, n_steps;
    if (ir_attr_f(a, "value") != 0 || ir_attr_f(b, "value") != 0 || t->dtype != u->dtype) return -1;
    for (int k = 0; k < 2; k++) {
        lo[k] = ir_attr_ints(pads[k], "lo", &n);
        hi[k] = ir_attr_ints(pads[k], "hi", &n);
        const int64_t *steps = ir_attr_ints(pads[k], "steps", &n_steps);
        for (size_t i = 0; i < n_steps; i++)
            if (steps[i] != 1) return -1;
    }
    int axis = -1;
    for (int i = 0; i < t->rank; i++) {
        if (!lo[0][i] && !hi[0][i] && !lo[1][i] && !hi[1][i]) continue;
        bool ab = !lo[0][i] && hi[0][i] == u->dims[i] && lo[1][i] == t->dims[i] && !hi[1][i];
        bool ba = !lo[1][i] && hi[1][i] == t->dims[i] && lo[0][i] == u->dims[i] && !hi[0][i];
        if (axis >= 0 || (!ab && !ba)) return -1;
        axis = i;
        *first = ab;
    }
    return axis;
}

// The gradient of a split is a sum of zero-padded parts: a concatenation.
static ir_vid joined(struct ir_graph *g, const struct ir_node *add) {
    if (add->op != IR_OP_add || !ir_defined_by(g, add->in[0], IR_OP_pad) || !ir_defined_by(g, add->in[1], IR_OP_pad))
        return IR_NONE;
    const struct ir_node *a = &g->nodes[g->values[add->in[0]].def], *b = &g->nodes[g->values[add->in[1]].def];
    bool first = true;
    int axis = joins(g, a, b, &first);
    if (axis < 0) return IR_NONE;
    ir_vid in[2] = {first ? a->in[0] : b->in[0], first ? b->in[0] : a->in[0]};
    return ir_emit(g, IR_OP_concat, in, 2, IR_ATTRS(IR_I("axis", axis)));
}

enum smkd_status ir_pass_fold(struct ir_graph *g, const struct ir_pass_options *o) {
    (void)o;
    struct ir_rewriter rw;
    ir_rw_begin(&rw, g);
    for (size_t i = 0; i < rw.n_old; i++) {
        ir_nid id = ir_rw_copy_node(&rw, i);
        struct ir_node *n = &g->nodes[id];
        ir_vid same;
        if (foldable(g, n)) {
            fold(&rw, id);
        } else if ((same = same_as(g, n)) != IR_NONE) {
            ir_rw_replace(&rw, n->out[0], same);
            ir_rw_drop(&rw, id);
        } else if ((same = (ir_rw_at(&rw, i), joined(g, n))) != IR_NONE) {
            n = &g->nodes[id]; // the new node may have moved the array
            ir_rw_replace(&rw, n->out[0], same);
            ir_rw_drop(&rw, id);
        } else if (n->op == IR_OP_reshape && ir_defined_by(g, n->in[0], IR_OP_reshape)) {
            n->in[0] = g->nodes[g->values[n->in[0]].def].in[0]; // a reshape of a reshape: skip the first
        }
    }
    ir_rw_end(&rw);
    return SMKD_OK;
}
