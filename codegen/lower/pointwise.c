// Lowering of everything that is a pointwise expression stored somewhere: elementwise ops, views that need memory, and
// the pieces of concat and pad.
#include "lower.h"

#include <stdlib.h>
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

// The next operand of a concatenation, into its place.
static void part(struct cg_lower *L, const struct ir_node *n, int i, int64_t axis, int64_t *at, struct cg_xb *x) {
    struct cg_coord co[IR_MAX_RANK];
    const struct ir_type *t = &L->g->values[n->in[i]].type;
    cg_xb_begin(x, L, t, co);
    int root = cg_xb_value(x, n->in[i], co);
    co[axis].k += *at;
    cg_xb_finish(x, root, n->out[0], co);
    *at += t->dims[axis];
}

// The pointers of a part behind those of the parts before it.
static void renumber(struct cg_expr *e, int by) {
    for (int k = 0; k < e->n_leaves; k++)
        if (e->leaves[k].ptr >= 0) e->leaves[k].ptr += by;
    e->out[0].ptr += by;
}

// One kernel for all operands where they fill the same rows: two would write each line of the result twice.
static bool together(struct cg_lower *L, struct cg_xb *x, int n) {
    struct cg_parts p = {.n = n};
    struct cg_arg args[CG_MAX_PTRS];
    int n_ptr = 0;
    for (int i = 0; i < n; i++) {
        p.part[i] = &x[i].e;
        n_ptr += x[i].e.n_ptr;
    }
    if (n_ptr > CG_MAX_PTRS || !cg_parts_share_rows(&p, L->t)) return false;
    struct str key = STR_INIT;
    str_add(&key, "pw:");
    n_ptr = 0;
    for (int i = 0; i < n; i++) {
        renumber(&x[i].e, n_ptr);
        memcpy(args + n_ptr, x[i].args, sizeof *args * (size_t)x[i].e.n_ptr);
        n_ptr += x[i].e.n_ptr;
        p.part[i] = arena_dup(L->arena, &x[i].e, sizeof x[i].e);
        cg_expr_key(&x[i].e, &key);
        str_add(&key, "&");
    }
    struct cg_kernel k = {.key = arena_strdup(L->arena, key.s), .emit = cg_emit_parts, .n_ptr = n_ptr};
    k.params = arena_dup(L->arena, &p, sizeof p);
    str_release(&key);
    cg_call(L, &k, args, n_ptr);
    return true;
}

void cg_kernel_concat(struct cg_lower *L, ir_nid n);
void cg_kernel_concat(struct cg_lower *L, ir_nid nid) {
    const struct ir_node *n = &L->g->nodes[nid];
    int64_t axis = ir_attr_i(n, "axis"), at = 0;
    if (axis < 0) axis += L->g->values[n->out[0]].type.rank;
    int room = n->n_in < CG_MAX_PARTS ? n->n_in : CG_MAX_PARTS;
    struct cg_xb *x = xcalloc((size_t)room, sizeof *x);
    for (int i = 0, k; i < n->n_in; i += k) {
        for (k = 0; k < room && i + k < n->n_in; k++) part(L, n, i + k, axis, &at, &x[k]);
        if (k > 1 && together(L, x, k)) continue;
        for (int j = 0; j < k; j++) cg_xb_call(&x[j]);
    }
    free(x);
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
