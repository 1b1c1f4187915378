// Lowering of gather, gather_grad, take_rows and argmax. Their operands are row-major (layout pass).
#include "../kernels/gather.h"

static void split(const struct ir_type *t, int64_t axis, struct cg_gather *g) {
    g->outer = g->inner = 1;
    g->dtype = t->dtype;
    for (int d = 0; d < t->rank; d++) {
        int64_t e = t->dims[d] < 0 ? -t->dims[d] : t->dims[d];
        if (d < axis) {
            g->outer *= e;
            g->outer_n |= t->dims[d] < 0;
        } else if (d == axis) {
            g->dim = e;
        } else {
            g->inner *= e;
        }
    }
}

static void call(struct cg_lower *L, const char *tag, const struct cg_gather *g,
                 void (*emit)(struct cg_fn *, const void *), const struct cg_arg *args, int n) {
    struct cg_kernel k = {.emit = emit, .n_ptr = n, .params = arena_dup(L->arena, g, sizeof *g)};
    k.key = arena_printf(L->arena, "%s:%lld%s,%lld,%lld,%lld%s,%d,%d", tag, (long long)g->outer, g->outer_n ? "N" : "",
                         (long long)g->dim, (long long)g->inner, (long long)g->n_index, g->index_n ? "N" : "",
                         (int)g->dtype, (int)g->index_dtype);
    cg_call(L, &k, args, n);
}

static int64_t axis_of(const struct ir_node *n, const struct ir_type *t) { return ir_axis_of(n, "axis", t->rank); }

void cg_kernel_gather(struct cg_lower *L, ir_nid n);
void cg_kernel_gather(struct cg_lower *L, ir_nid nid) {
    const struct ir_node *n = &L->g->nodes[nid];
    struct ir_type x = cg_in_type(L, nid, 0), idx = cg_in_type(L, nid, 1);
    struct cg_gather g = {.n_index = ir_numel(&idx), .index_n = ir_is_batched(&idx), .index_dtype = idx.dtype};
    split(&x, axis_of(n, &x), &g);
    struct cg_arg args[] = {CG_VALUE(n->in[0]), CG_VALUE(n->in[1]), CG_VALUE(n->out[0])};
    call(L, "gather", &g, cg_emit_gather, args, 3);
}

void cg_kernel_gather_grad(struct cg_lower *L, ir_nid n);
void cg_kernel_gather_grad(struct cg_lower *L, ir_nid nid) {
    const struct ir_node *n = &L->g->nodes[nid];
    struct ir_type dx = cg_out_type(L, nid, 0), idx = cg_in_type(L, nid, 1);
    struct cg_gather g = {.n_index = ir_numel(&idx), .index_n = ir_is_batched(&idx), .index_dtype = idx.dtype};
    split(&dx, axis_of(n, &dx), &g);
    struct cg_arg args[] = {CG_VALUE(n->in[0]), CG_VALUE(n->in[1]), CG_VALUE(n->out[0])};
    call(L, "gather_grad", &g, cg_emit_gather_grad, args, 3);
}

void cg_kernel_take_rows(struct cg_lower *L, ir_nid n);
void cg_kernel_take_rows(struct cg_lower *L, ir_nid nid) {
    const struct ir_node *n = &L->g->nodes[nid];
    struct ir_type x = cg_in_type(L, nid, 0), row = cg_in_type(L, nid, 1);
    struct cg_gather g = {
        .outer = 1, .n_index = ir_numel(&row), .index_n = ir_is_batched(&row), .dtype = x.dtype, .index_dtype = IR_I64};
    g.inner = ir_numel(&x) / g.n_index;
    struct cg_arg args[] = {CG_VALUE(n->in[0]), CG_VALUE(n->in[1]), CG_VALUE(n->out[0])};
    call(L, "take_rows", &g, cg_emit_take_rows, args, 3);
}

void cg_kernel_argmax(struct cg_lower *L, ir_nid n);
void cg_kernel_argmax(struct cg_lower *L, ir_nid nid) {
    const struct ir_node *n = &L->g->nodes[nid];
    struct ir_type x = cg_in_type(L, nid, 0);
    struct cg_gather g = {.index_dtype = IR_I64};
    split(&x, axis_of(n, &x), &g);
    struct cg_arg args[] = {CG_VALUE(n->in[0]), CG_VALUE(n->out[0])};
    call(L, "argmax", &g, cg_emit_argmax, args, 2);
}
