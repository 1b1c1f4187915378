// Lowering of what picks and places by index, of what sorts and of sums along an axis. Operands are row-major (layout
// pass).
#include "../kernels/gather.h"
#include "lower.h"

#include <string.h>

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
            g->dim_n = t->dims[d] < 0;
        } else {
            g->inner *= e;
        }
    }
}

static void call_with(struct cg_lower *L, const char *tag, const struct cg_gather *g, int64_t scratch,
                      void (*emit)(struct cg_fn *, const void *), const struct cg_arg *args, int n) {
    struct cg_kernel k = {
        .emit = emit, .n_ptr = n, .params = arena_dup(L->arena, g, sizeof *g), .scratch_bytes = scratch};
    k.key = arena_printf(L->arena, "%s:%lld%s,%lld%s,%lld,%lld%s,%d%d,%d,%d,%lld,%lld", tag, (long long)g->outer,
                         g->outer_n ? "N" : "", (long long)g->dim, g->dim_n ? "N" : "", (long long)g->inner,
                         (long long)g->n_index, g->index_n ? "N" : "", g->index_outer, g->index_inner, (int)g->dtype,
                         (int)g->index_dtype, (long long)g->option, (long long)g->k);
    cg_call(L, &k, args, n);
}

static void call(struct cg_lower *L, const char *tag, const struct cg_gather *g,
                 void (*emit)(struct cg_fn *, const void *), const struct cg_arg *args, int n) {
    call_with(L, tag, g, 0, emit, args, n);
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
    struct cg_gather g = {
        .n_index = ir_numel(&idx), .index_n = ir_is_batched(&idx), .index_dtype = idx.dtype, .option = CG_PLACE_ADD};
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
    struct cg_gather g = {.index_dtype = IR_I64, .option = ir_attr_i(n, "last") != 0};
    split(&x, axis_of(n, &x), &g);
    struct cg_arg args[] = {CG_VALUE(n->in[0]), CG_VALUE(n->out[0])};
    call(L, "argmax", &g, cg_emit_argmax, args, 2);
}

// gather_elements and scatter_elements: what is picked of x by the index.
static struct cg_gather elements(const struct ir_node *n, const struct ir_type *x, const struct ir_type *idx) {
    int axis = (int)axis_of(n, x);
    struct cg_gather g = {.index_n = idx->dims[axis] < 0, .index_dtype = idx->dtype};
    split(x, axis, &g);
    g.n_index = idx->dims[axis] < 0 ? -idx->dims[axis] : idx->dims[axis];
    for (int d = 0; d < idx->rank; d++)
        if (d != axis && idx->dims[d] != 1) *(d < axis ? &g.index_outer : &g.index_inner) = true;
    return g;
}

void cg_kernel_gather_elements(struct cg_lower *L, ir_nid n);
void cg_kernel_gather_elements(struct cg_lower *L, ir_nid nid) {
    const struct ir_node *n = &L->g->nodes[nid];
    struct ir_type x = cg_in_type(L, nid, 0), idx = cg_in_type(L, nid, 1);
    struct cg_gather g = elements(n, &x, &idx);
    struct cg_arg args[] = {CG_VALUE(n->in[0]), CG_VALUE(n->in[1]), CG_VALUE(n->out[0])};
    call(L, "gather", &g, cg_emit_gather, args, 3);
}

void cg_kernel_scatter_elements(struct cg_lower *L, ir_nid n);
void cg_kernel_scatter_elements(struct cg_lower *L, ir_nid nid) {
    static const char *const names[] = {[CG_PLACE_NONE] = "none",
                                        [CG_PLACE_ADD] = "add",
                                        [CG_PLACE_MUL] = "mul",
                                        [CG_PLACE_MAX] = "max",
                                        [CG_PLACE_MIN] = "min"};
    const struct ir_node *n = &L->g->nodes[nid];
    struct ir_type x = cg_in_type(L, nid, 0), idx = cg_in_type(L, nid, 1);
    struct cg_gather g = elements(n, &x, &idx);
    while (strcmp(names[g.option], ir_attr_s(n, "reduction"))) g.option++;
    struct cg_arg args[] = {CG_VALUE(n->in[0]), CG_VALUE(n->in[1]), CG_VALUE(n->in[2]), CG_VALUE(n->out[0])};
    call(L, "scatter", &g, cg_emit_scatter, args, 4);
}

void cg_kernel_top_k(struct cg_lower *L, ir_nid n);
void cg_kernel_top_k(struct cg_lower *L, ir_nid nid) {
    const struct ir_node *n = &L->g->nodes[nid];
    struct ir_type x = cg_in_type(L, nid, 0);
    struct cg_gather g = {.k = ir_attr_i(n, "k"), .option = ir_attr_i(n, "largest") != 0};
    split(&x, axis_of(n, &x), &g);
    struct cg_arg args[] = {CG_VALUE(n->in[0]), CG_VALUE(n->out[0]), CG_VALUE(n->out[1])};
    call_with(L, "top_k", &g, cg_top_k_scratch(&g), cg_emit_top_k, args, 3);
}

static void cumulate(struct cg_lower *L, ir_nid nid, bool product) {
    const struct ir_node *n = &L->g->nodes[nid];
    struct ir_type x = cg_in_type(L, nid, 0);
    struct cg_gather g = {.option = (product ? CG_CUMULATE_PRODUCT : 0) |
                                    (ir_attr_i(n, "exclusive") ? CG_CUMULATE_EXCLUSIVE : 0) |
                                    (ir_attr_i(n, "reverse") ? CG_CUMULATE_REVERSE : 0)};
    split(&x, axis_of(n, &x), &g);
    struct cg_arg args[] = {CG_VALUE(n->in[0]), CG_VALUE(n->out[0])};
    call(L, "cumulate", &g, cg_emit_cumulate, args, 2);
}

void cg_kernel_cum_sum(struct cg_lower *L, ir_nid n);
void cg_kernel_cum_sum(struct cg_lower *L, ir_nid nid) { cumulate(L, nid, false); }
void cg_kernel_cum_prod(struct cg_lower *L, ir_nid n);
void cg_kernel_cum_prod(struct cg_lower *L, ir_nid nid) { cumulate(L, nid, true); }
