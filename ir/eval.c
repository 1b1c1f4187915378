// Tensors of the naive interpreter, and the loop over nodes.
#include "ir_internal.h"

#include <math.h>
#include <string.h>

size_t ir_tensor_numel(const struct ir_tensor *t) {
    size_t n = 1;
    for (int d = 0; d < t->type.rank; d++) n *= (size_t)t->type.dims[d];
    return n;
}

struct ir_type ir_concrete(const struct ir_type *t, int64_t batch) {
    struct ir_type r = *t;
    for (int d = 0; d < IR_MAX_RANK; d++) r.perm[d] = (uint8_t)d;
    for (int d = 0; d < r.rank; d++)
        if (r.dims[d] < 0) r.dims[d] *= -batch;
    return r;
}

struct ir_tensor *ir_tensor_new(struct arena *a, struct ir_type concrete) {
    struct ir_tensor *t = ARENA_NEW(a, struct ir_tensor);
    t->type = concrete;
    size_t n = ir_tensor_numel(t);
    if (ir_is_float(concrete.dtype))
        t->f = ARENA_ARRAY(a, double, n ? n : 1);
    else
        t->i = ARENA_ARRAY(a, int64_t, n ? n : 1);
    return t;
}

struct ir_tensor *ir_tensor_from(struct arena *a, struct ir_type concrete, const void *data) {
    struct ir_tensor *t = ir_tensor_new(a, concrete);
    size_t n = ir_tensor_numel(t);
    for (size_t k = 0; k < n; k++) {
        if (t->f)
            t->f[k] = ir_get_float(concrete.dtype, data, k);
        else
            t->i[k] = ir_get_int(concrete.dtype, data, k);
    }
    return t;
}

void ir_tensor_store(const struct ir_tensor *t, void *dst) {
    size_t n = ir_tensor_numel(t);
    for (size_t k = 0; k < n; k++) {
        if (t->f)
            ir_put_float(t->type.dtype, dst, k, t->f[k]);
        else
            ir_put_int(t->type.dtype, dst, k, t->i[k]);
    }
}

static void round_to_bf16(struct ir_tensor *t) {
    size_t n = ir_tensor_numel(t);
    for (size_t k = 0; k < n; k++) {
        float f = (float)t->f[k];
        uint32_t bits;
        if (isnan(f)) continue;
        memcpy(&bits, &f, 4);
        bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
        memcpy(&f, &bits, 4);
        t->f[k] = f;
    }
}

void ir_eval(const struct ir_graph *g, struct arena *a, int64_t batch, struct ir_tensor **values) {
    for (size_t v = 0; v < g->n_values; v++)
        if (!values[v] && g->values[v].role != IR_ROLE_NODE && g->values[v].data)
            values[v] = ir_tensor_from(a, ir_concrete(&g->values[v].type, batch), g->values[v].data);
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct ir_node *n = &g->nodes[i];
        const struct ir_tensor **in = ARENA_ARRAY(a, const struct ir_tensor *, n->n_in + 1u);
        struct ir_tensor **out = ARENA_ARRAY(a, struct ir_tensor *, n->n_out);
        bug_node = n->loc.node;
        for (int k = 0; k < n->n_in; k++) {
            in[k] = n->in[k] == IR_NONE ? NULL : values[n->in[k]];
            CHECK(in[k] || n->in[k] == IR_NONE,
                  "operand %d of %s has no value; boundary values without data must be set by the caller", k,
                  ir_ops[n->op].name);
        }
        for (int k = 0; k < n->n_out; k++)
            out[k] = values[n->out[k]] = ir_tensor_new(a, ir_concrete(&g->values[n->out[k]].type, batch));
        if (n->op == IR_OP_batch_size) // the one op that no operand tells the batch
            out[0]->f[0] = (double)batch;
        else
            ir_ops[n->op].eval(g, n, in, out);
        for (int k = 0; k < n->n_out; k++)
            if (out[k]->type.narrow) round_to_bf16(out[k]);
    }
    bug_node = NULL;
}
