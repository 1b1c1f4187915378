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

// --- several results in one pass -------------------------------------------------------------------------------------
//
// Outputs of one type are computed from much the same (an optimizer's new parameter and its new states), so that a
// kernel each would read it as many times; and they may be meant to lie where the operands do, which is safe only if no
// kernel after this one reads them.

static bool is_output(const struct ir_graph *g, ir_vid v) {
    for (size_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i].value == v && g->outputs[i].kind == IR_OUT_OUTPUT) return true;
    return false;
}

static bool is_one_of(const struct ir_graph *g, const ir_nid *list, int n, ir_vid v) {
    for (int i = 0; i < n; i++)
        if (g->nodes[list[i]].out[0] == v) return true;
    return false;
}

static bool same_place(const struct ir_type *a, const struct ir_type *b) {
    return ir_same_dims(a, b) && memcmp(a->perm, b->perm, a->rank) == 0;
}

static const struct ir_type nowhere = {.rank = UINT8_MAX};

// Whether node n's expression reads results of `list` at no other index than the one being computed. Counts, at
// most too high, its steps and what it reads.
static bool reads_in_step(const struct ir_graph *g, const struct ir_node *n, const ir_nid *list, int n_list,
                          const struct ir_type *like, int *steps, int *leaves) {
    ++*steps;
    for (int k = 0; k < n->n_in; k++) {
        const struct ir_value *v = &g->values[n->in[k]];
        const bool on_the_fly = v->role == IR_ROLE_NODE && g->nodes[v->def].is_inline;
        const bool in_step = ir_ops[n->op].kind == IR_KIND_PW && same_place(&v->type, like);
        if (is_one_of(g, list, n_list, n->in[k]) && !in_step) return false;
        if (!on_the_fly)
            ++*steps, ++*leaves;
        else if (!reads_in_step(g, &g->nodes[v->def], list, n_list, in_step ? like : &nowhere, steps, leaves))
            return false;
    }
    return true;
}

int cg_with_it(const struct ir_graph *g, ir_nid first, ir_nid list[CG_MAX_ROOTS]) {
    const struct ir_type *like = &g->values[g->nodes[first].out[0]].type;
    int n = 0, steps = 0, leaves = 0;
    for (ir_nid i = first; i < g->n_nodes && n < CG_MAX_ROOTS; i++) {
        const struct ir_node *node = &g->nodes[i];
        if (node->is_inline) continue;
        if (ir_ops[node->op].kind != IR_KIND_PW || node->phase != g->nodes[first].phase) break;
        if (!is_output(g, node->out[0]) || !same_place(&g->values[node->out[0]].type, like)) break;
        if (!reads_in_step(g, node, list, n, like, &steps, &leaves)) break;
        if (steps + 2 * n + 2 > CG_MAX_STEPS || leaves > CG_MAX_LEAVES) break;
        list[n++] = i;
    }
    return n;
}

void cg_lower_together(struct cg_lower *L, const ir_nid *list, int n) {
    struct cg_xb x;
    struct cg_coord co[IR_MAX_RANK];
    cg_xb_begin(&x, L, &L->g->values[L->g->nodes[list[0]].out[0]].type, co);
    // An operand's index along a dimension of size 1 is 0 wherever it may be broadcast.
    const struct ir_type *t = &L->g->values[L->g->nodes[list[0]].out[0]].type;
    struct cg_coord at[IR_MAX_RANK];
    memcpy(at, co, sizeof at);
    for (int d = 0; d < IR_MAX_RANK; d++)
        if (d < t->rank && t->dims[d] == 1) at[d] = (struct cg_coord){0};
    for (int i = 0; i < n; i++) {
        ir_vid out = L->g->nodes[list[i]].out[0];
        int step = cg_xb_node(&x, list[i], co);
        CHECK(x.n_memo + 2 <= CG_MAX_STEPS, "%d results in one pass are too many", n);
        cg_xb_known(&x, out, co, step);
        cg_xb_known(&x, out, at, step);
        cg_xb_finish(&x, step, out, co);
    }
    cg_expr_collapse(&x.e);
    cg_xb_call(&x);
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
    cg_xb_rebase(x);
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
