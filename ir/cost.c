// What a node costs: floating-point operations, and bytes of operands and results, both per sample (plus the fixed
// part).
#include "ir_internal.h"

static double per_sample(const struct ir_type *t) { return (double)ir_numel(t); }

static double macs(const struct ir_graph *g, const struct ir_node *n) {
    const struct ir_type *a = &g->values[n->in[0]].type, *b = &g->values[n->in[1]].type,
                         *y = &g->values[n->out[0]].type;
    switch (n->op) {
    case IR_OP_conv:
        return per_sample(y) * (double)(b->dims[1] * b->dims[2] * b->dims[3]);
    case IR_OP_conv_grad_x:
        return per_sample(a) * (double)(b->dims[1] * b->dims[2] * b->dims[3]); // a = dy, b = w
    case IR_OP_conv_grad_w:
        return per_sample(a) * (double)(y->dims[1] * y->dims[2] * y->dims[3]); // a = dy, y = dw
    case IR_OP_matmul: {
        int64_t k = a->dims[a->rank - (ir_attr_i(n, "trans_a") ? 2 : 1)];
        return per_sample(y) * (double)(k < 0 ? -k : k);
    }
    default:
        return 0;
    }
}

void ir_cost(const struct ir_graph *g, const struct ir_node *n, double *flops, double *bytes) {
    *bytes = 0;
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] != IR_NONE) *bytes += (double)ir_type_bytes(&g->values[n->in[k]].type);
    for (int k = 0; k < n->n_out; k++) *bytes += (double)ir_type_bytes(&g->values[n->out[k]].type);
    if (n->op == IR_OP_conv || n->op == IR_OP_conv_grad_x || n->op == IR_OP_conv_grad_w || n->op == IR_OP_matmul)
        *flops = 2 * macs(g, n);
    else if (ir_ops[n->op].kind == IR_KIND_VIEW)
        *flops = 0;
    else
        *flops = per_sample(&g->values[n->n_in && ir_ops[n->op].kind != IR_KIND_PW ? n->in[0] : n->out[0]].type);
}
