// The four pooling ops as one call each.
#include "../kernels/kernels.h"

// x: the value with the unpooled extents; y: the pooled one.
static struct cg_pool pool_of(const struct ir_graph *g, const struct ir_node *n, ir_vid x, ir_vid y, bool max) {
    const int64_t *xd = g->values[x].type.dims, *yd = g->values[y].type.dims;
    size_t cnt;
    const int64_t *k = ir_attr_ints(n, "kernel", &cnt), *st = ir_attr_ints(n, "strides", &cnt),
                  *pad = ir_attr_ints(n, "pads", &cnt);
    const int64_t *dil = max ? ir_attr_ints(n, "dilations", &cnt) : NULL;
    return (struct cg_pool){
        .H = xd[2],
        .W = xd[3],
        .C = xd[1],
        .P = yd[2],
        .Q = yd[3],
        .R = k[0],
        .S = k[1],
        .sh = st[0],
        .sw = st[1],
        .pt = pad[0],
        .pl = pad[1],
        .pb = pad[2],
        .pr = pad[3],
        .dh = dil ? dil[0] : 1,
        .dw = dil ? dil[1] : 1,
        .include_pad = max ? 0 : ir_attr_i(n, "include_pad"),
    };
}

static void call(struct cg_lower *L, const char *name, void (*emit)(struct cg_fn *, const void *),
                 const struct cg_pool *p, const ir_vid *values, int n, ir_vid out) {
    struct cg_arg args[3];
    for (int i = 0; i < n; i++) args[i] = CG_VALUE(values[i]);
    struct cg_pool q = *p;
    q.in_narrow = L->g->values[values[0]].type.narrow;
    q.out_narrow = L->g->values[out].type.narrow;
    L->images = L->g->values[values[0]].type.dims[0];
    cg_call_record(L, name, emit, &q, sizeof q, n, 0, args);
}

void cg_kernel_max_pool(struct cg_lower *L, ir_nid id) {
    const struct ir_node *n = &L->g->nodes[id];
    struct cg_pool p = pool_of(L->g, n, n->in[0], n->out[0], true);
    call(L, "max_pool", cg_emit_max_pool, &p, (ir_vid[]){n->in[0], n->out[0], n->out[1]}, 3, n->out[0]);
}

void cg_kernel_max_pool_grad(struct cg_lower *L, ir_nid id) {
    const struct ir_node *n = &L->g->nodes[id];
    struct cg_pool p = pool_of(L->g, n, n->out[0], n->in[0], true);
    call(L, "max_pool_grad", cg_emit_max_pool_grad, &p, (ir_vid[]){n->in[0], n->in[1], n->out[0]}, 3, n->out[0]);
}

void cg_kernel_avg_pool(struct cg_lower *L, ir_nid id) {
    const struct ir_node *n = &L->g->nodes[id];
    struct cg_pool p = pool_of(L->g, n, n->in[0], n->out[0], false);
    call(L, "avg_pool", cg_emit_avg_pool, &p, (ir_vid[]){n->in[0], n->out[0]}, 2, n->out[0]);
}

void cg_kernel_avg_pool_grad(struct cg_lower *L, ir_nid id) {
    const struct ir_node *n = &L->g->nodes[id];
    struct cg_pool p = pool_of(L->g, n, n->out[0], n->in[0], false);
    call(L, "avg_pool_grad", cg_emit_avg_pool_grad, &p, (ir_vid[]){n->in[0], n->out[0]}, 2, n->out[0]);
}
