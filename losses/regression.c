// Losses of networks that learn numbers: the mean over all numbers of a batch, each network by itself. As PyTorch's
// MSELoss, L1Loss and HuberLoss with reduction "mean".
#include "losses_internal.h"

#include <string.h>

// The error of each number [N,T] that is averaged, for a difference d and its size |d|.
static ir_vid error(struct loss_builder *b, ir_vid d, ir_vid size) {
    struct ir_graph *g = b->g;
    const char *kind = method_word(b->o->method, &b->o->values, "error");
    if (strcmp(kind, "squared") == 0) return ir_mul(g, d, d);
    if (strcmp(kind, "absolute") == 0) return size;
    ir_vid delta = loss_scalar(b, "huber_delta"), half = ir_const_f(g, 0.5);
    ir_vid near = ir_mul(g, half, ir_mul(g, d, d)), far = ir_mul(g, delta, ir_sub(g, size, ir_mul(g, half, delta)));
    return ir_where(g, ir_binary(g, IR_OP_lt, size, delta), near, far);
}

void loss_draw_regression(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    int64_t t = b->o->classes, columns = 1;
    ir_vid y = loss_input(b, "targets", IR_F32, 2, (int64_t[]){IR_N, t}), width = ir_const_f(g, (double)t);
    for (int k = 0; k < b->o->peers; k++) {
        ir_vid d = ir_sub(g, loss_logits(b, k), y), size = ir_unary(g, IR_OP_abs, d);
        ir_vid rows = ir_div(g, ir_reduce(g, IR_OP_reduce_sum, error(b, d, size), &columns, 1, 0), width);
        loss_output_of(b, "loss", k, ir_div(g, loss_sum_rows(b, rows), ir_batch_size(g)));
        loss_output_of(b, "absolute_error", k, ir_div(g, ir_reduce(g, IR_OP_reduce_sum, size, &columns, 1, 0), width));
        loss_output_of(b, "squared_error", k,
                       ir_div(g, ir_reduce(g, IR_OP_reduce_sum, ir_mul(g, d, d), &columns, 1, 0), width));
    }
}
