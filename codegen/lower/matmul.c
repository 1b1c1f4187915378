// matmul as one batched product.
#include "../kernels/kernels.h"

#include <string.h>

static int64_t per_row(const struct ir_type *t) { // elements behind dim 0
    int64_t n = 1;
    for (int i = 1; i < t->rank; i++) n *= t->dims[i];
    return n;
}

// Strides of t's batch dims inside an output of `batch` batch dims (0 where broadcast).
static void batch_strides(const struct ir_type *t, int batch, int64_t out[CG_GEMM_BATCH]) {
    int64_t s[IR_MAX_RANK];
    ir_strides(t, s);
    int own = t->rank - 2, lead = CG_GEMM_BATCH - own;
    (void)batch;
    for (int i = 0; i < own; i++) out[lead + i] = t->dims[i] == 1 ? 0 : s[i];
}

static struct cg_gemm gemm_of(const struct ir_graph *g, const struct ir_node *n) {
    const struct ir_type *a = &g->values[n->in[0]].type, *b = &g->values[n->in[1]].type,
                         *y = &g->values[n->out[0]].type;
    bool ta = ir_attr_i(n, "trans_a") != 0, tb = ir_attr_i(n, "trans_b") != 0;
    struct cg_gemm m = {0};
    int64_t ac = a->dims[a->rank - 1], bc = b->dims[b->rank - 1];
    m.M = y->dims[y->rank - 2];
    m.N = y->dims[y->rank - 1];
    m.K = a->dims[a->rank - (ta ? 2 : 1)];
    m.a_m = ta ? 1 : ac;
    m.a_k = ta ? ac : 1;
    m.b_k = tb ? 1 : bc;
    m.b_n = tb ? bc : 1;
    int batch = y->rank - 2;
    CHECK(batch <= CG_GEMM_BATCH, "matmul of rank %d", y->rank);
    for (int i = 0; i < CG_GEMM_BATCH; i++) m.batch[i] = 1;
    for (int i = 0; i < batch; i++) m.batch[CG_GEMM_BATCH - batch + i] = y->dims[i];
    if (b->rank == 2 && batch && !ta && a->rank == y->rank) {
        // One matrix B for all batches: A's rows of all batches are rows of one product.
        m.M = y->dims[0] * (per_row(y) / m.N);
        for (int i = 0; i < CG_GEMM_BATCH; i++) m.batch[i] = 1;
        return m;
    }
    batch_strides(a, batch, m.a_b);
    batch_strides(b, batch, m.b_b);
    return m;
}

void cg_kernel_matmul(struct cg_lower *L, ir_nid id) {
    const struct ir_node *n = &L->g->nodes[id];
    struct cg_gemm m = gemm_of(L->g, n);
    struct cg_arg args[3] = {CG_VALUE(n->in[0]), CG_VALUE(n->in[1]), CG_VALUE(n->out[0])};
    cg_call_record(L, "gemm", cg_emit_gemm, &m, sizeof m, 3, cg_gemm_scratch(L->t, &m), args);
}

// Threads share nothing: panels are packed into private scratch.
void cg_ws_matmul(const struct cg_target *t, const struct ir_graph *g, ir_nid id, int64_t *fixed, int64_t *per_sample) {
    (void)t;
    (void)g;
    (void)id;
    *fixed = *per_sample = 0;
}
