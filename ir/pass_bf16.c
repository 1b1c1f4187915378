// Pass `bf16`: activations and their gradients are kept in memory as bfloat16 (8 bits of mantissa, float32's range).
//
// Types stay f32: every op computes in float32 and sums in what it always did; only what goes through memory is
// rounded, once, to nearest even. What has no batch stays as it is: parameters and their gradients, BatchNorm's
// statistics. So do inputs, outputs, and what is read or written by an op that has no kernel for it, such as matmul,
// whose operands behind a network's last pooling are small. (Kalamkar et al., A Study of BFLOAT16 for Deep Learning
// Training, 2019: it needs no loss scaling, and master weights in float32.)
//
// Expects: layout. Ensures: batched f32 results of rank 3 and more, in memory between ops that can, are narrow.
#include "ir_internal.h"

#include <stdlib.h>

enum smkd_status ir_pass_bf16(struct ir_graph *g, const struct ir_pass_options *o);

enum { RESULT = 1 << 7, ALL = UINT8_MAX };

// Of kernels: the operands that may be narrow, as bits, and RESULT. Expressions may read and write anything.
static const uint8_t narrow_of_kernel[IR_OP_COUNT] = {
    [IR_OP_conv] = RESULT | 1,          [IR_OP_conv_grad_x] = RESULT | 1,
    [IR_OP_conv_grad_w] = 1 | 2,        [IR_OP_bn_stats] = 1,
    [IR_OP_bn_grad_reduce] = 1 | 2,     [IR_OP_max_pool] = RESULT | 1,
    [IR_OP_max_pool_grad] = RESULT | 1, [IR_OP_avg_pool] = RESULT | 1,
    [IR_OP_avg_pool_grad] = RESULT | 1, [IR_OP_concat] = ALL,
    [IR_OP_interleave] = ALL,           [IR_OP_pad] = RESULT | 1,
};

static uint8_t narrow_of(const struct ir_node *n) {
    return ir_ops[n->op].kind == IR_KIND_KERNEL ? narrow_of_kernel[n->op] : ALL;
}

bool ir_reads_narrow(const struct ir_node *n, int operand) { return narrow_of(n) >> (operand < 6 ? operand : 6) & 1; }
bool ir_writes_narrow(const struct ir_node *n) { return narrow_of(n) & RESULT; }

static bool candidate(const struct ir_graph *g, ir_vid v) {
    const struct ir_value *x = &g->values[v];
    if (x->role != IR_ROLE_NODE || x->type.dtype != IR_F32 || x->type.rank < 3 || !ir_is_batched(&x->type))
        return false;
    const struct ir_node *n = &g->nodes[x->def];
    return !n->is_inline && ir_writes_narrow(n);
}

enum smkd_status ir_pass_bf16(struct ir_graph *g, const struct ir_pass_options *o) {
    (void)o;
    bool *ok = xcalloc(g->n_values + 1, sizeof *ok);
    for (size_t v = 0; v < g->n_values; v++) ok[v] = candidate(g, (ir_vid)v);
    for (size_t i = 0; i < g->n_outputs; i++) ok[g->outputs[i].value] = false;
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] != IR_NONE && !ir_reads_narrow(&g->nodes[i], k)) ok[g->nodes[i].in[k]] = false;
    // A reshape is its operand's memory: both or none. Chains settle in as many rounds as they have links.
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < g->n_nodes; i++) {
            const struct ir_node *n = &g->nodes[i];
            if (n->op != IR_OP_reshape || ok[n->in[0]] == ok[n->out[0]]) continue;
            ok[n->in[0]] = ok[n->out[0]] = false;
            changed = true;
        }
    }
    for (size_t v = 0; v < g->n_values; v++) g->values[v].type.narrow = ok[v];
    free(ok);
    return SMKD_OK;
}
