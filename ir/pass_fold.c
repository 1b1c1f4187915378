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

static bool is_const_f(const struct ir_graph *g, ir_vid v, float want) {
    const struct ir_value *c = &g->values[v];
    if (c->role != IR_ROLE_CONST || c->type.dtype != IR_F32) return false;
    for (int64_t i = 0, n = ir_numel(&c->type); i < n; i++)
        if (((const float *)c->data)[i] != want) return false;
    return true;
}

static bool all_are(const int64_t *p, size_t n, int64_t v) {
    for (size_t i = 0; i < n; i++)
        if (p[i] != v) return false;
    return true;
}

// The operand a node is equal to, or IR_NONE.
static ir_vid same_as(const struct ir_graph *g, const struct ir_node *n) {
    const struct ir_type *out = &g->values[n->out[0]].type;
    size_t cnt;
    const int64_t *p;
    int found = -1;
    switch (n->op) {
    case IR_OP_reshape:
    case IR_OP_expand:
    case IR_OP_cast:
        found = 0;
        break;
    case IR_OP_transpose:
        p = ir_attr_ints(n, "perm", &cnt);
        found = 0;
        for (size_t i = 0; i < cnt; i++)
            if (p[i] != (int64_t)i) found = -1;
        break;
    case IR_OP_slice:
        p = ir_attr_ints(n, "steps", &cnt);
        if (all_are(p, cnt, 1)) found = 0;
        break;
    case IR_OP_add:
        if (is_const_f(g, n->in[1], 0)) found = 0;
        if (is_const_f(g, n->in[0], 0)) found = 1;
        break;
    case IR_OP_sub:
        if (is_const_f(g, n->in[1], 0)) found = 0;
        break;
    case IR_OP_mul:
        if (is_const_f(g, n->in[1], 1)) found = 0;
        if (is_const_f(g, n->in[0], 1)) found = 1;
        break;
    case IR_OP_div:
        if (is_const_f(g, n->in[1], 1)) found = 0;
        break;
    default:
        break;
    }
    if (found < 0) return IR_NONE;
    const struct ir_type *in = &g->values[n->in[found]].type;
    return in->dtype == out->dtype && ir_same_dims(in, out) ? n->in[found] : IR_NONE;
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
        } else if (n->op == IR_OP_reshape && ir_defined_by(g, n->in[0], IR_OP_reshape)) {
            n->in = arena_dup(g->arena, n->in, sizeof *n->in); // a reshape of a reshape: skip the first
            n->in[0] = g->nodes[g->values[n->in[0]].def].in[0];
        }
    }
    ir_rw_end(&rw);
    return SMKD_OK;
}
