// Lowering of everything that is a pointwise expression stored somewhere: elementwise ops, views that need memory, and
// the pieces of concat and pad.
#include "lower.h"

#include <string.h>

void cg_lower_pointwise(struct cg_lower *L, ir_nid n);
void cg_lower_pointwise(struct cg_lower *L, ir_nid n) {
    struct cg_xb x;
    struct cg_coord co[IR_MAX_RANK];
    ir_vid out = L->g->nodes[n].out[0];
    cg_xb_begin(&x, L, &L->g->values[out].type, co);
    cg_xb_store(&x, cg_xb_node(&x, n, co), out, co);
}

void cg_lower_view(struct cg_lower *L, ir_nid n);
void cg_lower_view(struct cg_lower *L, ir_nid n) {
    if (L->g->nodes[n].op == IR_OP_reshape) return; // shares its operand's memory (layout pass, memory plan)
    cg_lower_pointwise(L, n);
}

void cg_kernel_concat(struct cg_lower *L, ir_nid n);
void cg_kernel_concat(struct cg_lower *L, ir_nid nid) {
    const struct ir_node *n = &L->g->nodes[nid];
    int64_t axis = ir_attr_i(n, "axis"), at = 0;
    if (axis < 0) axis += L->g->values[n->out[0]].type.rank;
    for (int i = 0; i < n->n_in; i++) {
        struct cg_xb x;
        struct cg_coord co[IR_MAX_RANK];
        const struct ir_type *t = &L->g->values[n->in[i]].type;
        cg_xb_begin(&x, L, t, co);
        int root = cg_xb_value(&x, n->in[i], co);
        co[axis].k += at;
        cg_xb_store(&x, root, n->out[0], co);
        at += t->dims[axis];
    }
}

void cg_kernel_pad(struct cg_lower *L, ir_nid n);
void cg_kernel_pad(struct cg_lower *L, ir_nid nid) {
    const struct ir_node *n = &L->g->nodes[nid];
    size_t cnt, n_steps;
    const int64_t *lo = ir_attr_ints(n, "lo", &cnt), *steps = ir_attr_ints(n, "steps", &n_steps);
    struct cg_xb x;
    struct cg_coord co[IR_MAX_RANK];
    const struct ir_type *t = &L->g->values[n->out[0]].type;
    cg_xb_begin(&x, L, t, co);
    cg_xb_store(&x, cg_xb_fill(&x, t->dtype, ir_attr_f(n, "value")), n->out[0], co);
    cg_xb_begin(&x, L, &L->g->values[n->in[0]].type, co);
    int root = cg_xb_value(&x, n->in[0], co);
    for (int d = 0; d < t->rank; d++) {
        int64_t step = n_steps ? steps[d] : 1;
        for (int i = 0; i < CG_MAX_LOOPS; i++) co[d].c[i] *= step;
        co[d].k = co[d].k * step + lo[d];
    }
    cg_xb_store(&x, root, n->out[0], co);
}
