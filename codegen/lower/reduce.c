// Lowering of reductions: reduce_sum, reduce_max, and BatchNorm's two.
#include "lower.h"

#include <string.h>

static void run(struct cg_xb *x, struct cg_reduce *r, const char *tag) {
    struct cg_lower *L = x->L;
    cg_expr_collapse(&x->e);
    cg_xb_rebase(x);
    r->e = x->e;
    const struct ir_slot *ws = &L->plan->workspace[L->node];
    bool two = ws->place != IR_PLACE_NONE && cg_reduce_two_stage(r);
    if (two) {
        r->ws_ptr = cg_xb_ptr(x, CG_WS(0));
        r->e.n_ptr = x->e.n_ptr;
    }
    struct str key = STR_INIT;
    cg_expr_key(&r->e, &key);
    str_addf(&key, "%s%d,%lld,%d,%d", tag, (int)r->fin, (long long)r->count, r->count_n, r->ws_ptr);
    const char *stage_name[2] = {two ? "redg:" : "red:", "redf:"};
    void (*emit[2])(struct cg_fn *, const void *) = {two ? cg_emit_reduce_groups : cg_emit_reduce,
                                                     cg_emit_reduce_finish};
    const void *params = arena_dup(L->arena, r, sizeof *r);
    for (int s = 0; s < (two ? 2 : 1); s++) {
        struct cg_kernel k = {.key = arena_printf(L->arena, "%s%s", stage_name[s], key.s),
                              .emit = emit[s],
                              .params = params,
                              .n_ptr = x->e.n_ptr};
        cg_call(L, &k, x->args, x->e.n_ptr);
    }
    str_release(&key);
}

// Marks the loops of the given logical dims as reduced (loops are still one per dim, in physical order).
static void mark(struct cg_xb *x, const struct ir_type *t, const bool *reduced) {
    for (int i = 0; i < t->rank; i++)
        if (reduced[t->perm[i]]) x->e.reduced |= 1u << i;
}

static void lower(struct cg_lower *L, ir_nid nid, enum cg_finish fin) {
    const struct ir_node *n = &L->g->nodes[nid];
    const struct ir_type *t = &L->g->values[n->in[0]].type;
    struct cg_xb x;
    struct cg_coord co[IR_MAX_RANK], oc[IR_MAX_RANK];
    cg_xb_begin(&x, L, t, co);
    x.e.root[0] = (uint16_t)cg_xb_value(&x, n->in[0], co);
    x.e.n_roots = 1;
    size_t cnt;
    const int64_t *axes = ir_attr_ints(n, "axes", &cnt);
    bool reduced[IR_MAX_RANK] = {false}, keep = ir_attr_i(n, "keepdims") != 0;
    for (size_t a = 0; a < cnt; a++) reduced[axes[a] < 0 ? axes[a] + t->rank : axes[a]] = true;
    memset(oc, 0, sizeof oc);
    for (int d = 0, o = 0; d < t->rank; d++) {
        if (!reduced[d])
            oc[o++] = co[d];
        else if (keep)
            o++;
    }
    mark(&x, t, reduced);
    x.e.out[0] = cg_xb_leaf(&x, n->out[0], oc);
    struct cg_reduce r = {.fin = fin};
    run(&x, &r, "r");
}

void cg_red_reduce_sum(struct cg_lower *L, ir_nid n);
void cg_red_reduce_sum(struct cg_lower *L, ir_nid n) { lower(L, n, CG_FIN_SUM); }
void cg_red_reduce_max(struct cg_lower *L, ir_nid n);
void cg_red_reduce_max(struct cg_lower *L, ir_nid n) { lower(L, n, CG_FIN_MAX); }

static void channel_outputs(struct cg_xb *x, const struct ir_node *n, const struct ir_type *t,
                            const struct cg_coord *co) {
    bool reduced[IR_MAX_RANK];
    for (int d = 0; d < t->rank; d++) reduced[d] = d != 1;
    mark(x, t, reduced);
    for (int k = 0; k < 2; k++) x->e.out[k] = cg_xb_leaf(x, n->out[k], &co[1]);
}

void cg_kernel_bn_stats(struct cg_lower *L, ir_nid n);
void cg_kernel_bn_stats(struct cg_lower *L, ir_nid nid) {
    const struct ir_node *n = &L->g->nodes[nid];
    const struct ir_type *t = &L->g->values[n->in[0]].type;
    struct cg_xb x;
    struct cg_coord co[IR_MAX_RANK];
    cg_xb_begin(&x, L, t, co);
    x.e.root[0] = x.e.root[1] = (uint16_t)cg_xb_value(&x, n->in[0], co);
    x.e.n_roots = 2; // two results of one root: the finish squares it
    channel_outputs(&x, n, t, co);
    struct cg_reduce r = {.fin = CG_FIN_BN_STATS, .count = ir_numel(t) / t->dims[1], .count_n = ir_is_batched(t)};
    run(&x, &r, "bn");
}

void cg_kernel_bn_grad_reduce(struct cg_lower *L, ir_nid n);
void cg_kernel_bn_grad_reduce(struct cg_lower *L, ir_nid nid) {
    const struct ir_node *n = &L->g->nodes[nid];
    const struct ir_type *t = &L->g->values[n->in[1]].type;
    struct cg_xb x;
    struct cg_coord co[IR_MAX_RANK];
    cg_xb_begin(&x, L, t, co);
    int dy = cg_xb_value(&x, n->in[0], co), xv = cg_xb_value(&x, n->in[1], co);
    int mean = cg_xb_value(&x, n->in[2], &co[1]), invstd = cg_xb_value(&x, n->in[3], &co[1]);
    int centred = cg_xb_step(&x, IR_OP_sub, IR_F32, (int[]){xv, mean}, 2);
    int xhat = cg_xb_step(&x, IR_OP_mul, IR_F32, (int[]){centred, invstd}, 2);
    x.e.root[0] = (uint16_t)cg_xb_step(&x, IR_OP_mul, IR_F32, (int[]){dy, xhat}, 2);
    x.e.root[1] = (uint16_t)dy;
    x.e.n_roots = 2;
    channel_outputs(&x, n, t, co);
    struct cg_reduce r = {.fin = CG_FIN_SUM};
    run(&x, &r, "bg");
}

// Room for CG_RED_GROUPS partial sums where the batch is reduced away.
static void groups(const struct ir_graph *g, ir_vid in, ir_vid out, int n_acc, int64_t *fixed) {
    const struct ir_type *i = &g->values[in].type, *o = &g->values[out].type;
    if (!ir_is_batched(i) || ir_is_batched(o) || ir_numel(o) > 65536) return;
    *fixed = (int64_t)CG_RED_GROUPS * n_acc * ((ir_numel(o) + 63) / 64 * 64) * 8;
}
#define WS(name, operand, n_acc)                                                                                       \
    void cg_ws_##name(const struct cg_target *t, const struct ir_graph *g, ir_nid n, int64_t *fixed,                   \
                      int64_t *per_sample);                                                                            \
    void cg_ws_##name(const struct cg_target *t, const struct ir_graph *g, ir_nid n, int64_t *fixed,                   \
                      int64_t *per_sample) {                                                                           \
        (void)t, (void)per_sample;                                                                                     \
        groups(g, g->nodes[n].in[operand], g->nodes[n].out[0], n_acc, fixed);                                          \
    }
WS(reduce_sum, 0, 1)
WS(bn_stats, 0, 2)
WS(bn_grad_reduce, 1, 2)
