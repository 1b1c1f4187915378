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

static int64_t axis_of(const struct cg_lower *L, const struct ir_node *n) {
    return ir_axis_of(n, "axis", L->g->values[n->out[0]].type.rank);
}

// The next operand of a concatenation, into its place.
static void part(struct cg_lower *L, const struct ir_node *n, int i, int64_t axis, int64_t *at, struct cg_xb *x) {
    struct cg_coord co[IR_MAX_RANK];
    const struct ir_type *t = &L->g->values[n->in[i]].type;
    cg_xb_begin(x, L, t, co);
    int root = cg_xb_value(x, n->in[i], co);
    co[axis].k += *at;
    cg_xb_finish(x, root, n->out[0], co);
    cg_expr_collapse(&x->e);
    *at += t->dims[axis];
}

// The pointers of a part behind those of the parts before it.
static void renumber(struct cg_expr *e, int by) {
    for (int k = 0; k < e->n_leaves; k++)
        if (e->leaves[k].ptr >= 0) e->leaves[k].ptr += by;
    e->out[0].ptr += by;
}

// One kernel for several parts, where they are fit for that and it takes no more pointers than any may.
static bool together(struct cg_lower *L, struct cg_xb *x, int n,
                     bool (*fit)(const struct cg_parts *, const struct cg_target *),
                     void (*emit)(struct cg_fn *, const void *), const char *name) {
    struct cg_parts p = {.n = n};
    struct cg_arg args[CG_MAX_PTRS];
    int n_ptr = 0;
    for (int i = 0; i < n; i++) {
        p.part[i] = &x[i].e;
        n_ptr += x[i].e.n_ptr;
    }
    if (n_ptr > CG_MAX_PTRS || !fit(&p, L->t)) return false;
    struct str key = STR_INIT;
    str_add(&key, name);
    n_ptr = 0;
    for (int i = 0; i < n; i++) {
        renumber(&x[i].e, n_ptr);
        memcpy(args + n_ptr, x[i].args, sizeof *args * (size_t)x[i].e.n_ptr);
        n_ptr += x[i].e.n_ptr;
        p.part[i] = arena_dup(L->arena, &x[i].e, sizeof x[i].e);
        cg_expr_key(&x[i].e, &key);
        str_add(&key, "&");
    }
    struct cg_kernel k = {.key = arena_strdup(L->arena, key.s), .emit = emit, .n_ptr = n_ptr};
    k.params = arena_dup(L->arena, &p, sizeof p);
    str_release(&key);
    cg_call(L, &k, args, n_ptr);
    return true;
}

void cg_kernel_concat(struct cg_lower *L, ir_nid n);
void cg_kernel_concat(struct cg_lower *L, ir_nid nid) {
    const struct ir_node *n = &L->g->nodes[nid];
    int64_t axis = axis_of(L, n), at = 0;
    int room = n->n_in < CG_MAX_PARTS ? n->n_in : CG_MAX_PARTS;
    struct cg_xb *x = xcalloc((size_t)room, sizeof *x);
    for (int i = 0, k; i < n->n_in; i += k) {
        for (k = 0; k < room && i + k < n->n_in; k++) part(L, n, i + k, axis, &at, &x[k]);
        // Where they fill the same rows: kernels of their own would write each line of the result twice.
        if (k > 1 && together(L, x, k, cg_parts_share_rows, cg_emit_parts, "pw:")) continue;
        for (int j = 0; j < k; j++) cg_xb_call(&x[j]);
    }
    free(x);
}

void cg_kernel_interleave(struct cg_lower *L, ir_nid n);
void cg_kernel_interleave(struct cg_lower *L, ir_nid nid) {
    const struct ir_node *n = &L->g->nodes[nid];
    int64_t axis = axis_of(L, n);
    struct cg_xb *x = xcalloc(n->n_in, sizeof *x);
    struct cg_expr *e[CG_MAX_APART];
    CHECK(n->n_in <= CG_MAX_APART, "%d operands to interleave", n->n_in);
    for (int i = 0; i < n->n_in; i++) {
        struct cg_coord co[IR_MAX_RANK];
        cg_xb_begin(&x[i], L, &L->g->values[n->in[i]].type, co);
        int root = cg_xb_value(&x[i], n->in[i], co);
        for (int l = 0; l < CG_MAX_LOOPS; l++) co[axis].c[l] *= n->n_in;
        co[axis].k = co[axis].k * n->n_in + i;
        cg_xb_finish(&x[i], root, n->out[0], co);
        e[i] = &x[i].e;
    }
    cg_parts_collapse(e, n->n_in);
    if (!together(L, x, n->n_in, cg_parts_take_turns, cg_emit_in_turns, "pw:turns"))
        for (int i = 0; i < n->n_in; i++) {
            cg_expr_collapse(e[i]);
            cg_xb_call(&x[i]);
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
