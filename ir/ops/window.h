// Sliding windows over two spatial dims, shared by convolution and pooling.
#ifndef SMKD_IR_OPS_WINDOW_H
#define SMKD_IR_OPS_WINDOW_H

#include "ops_util.h"

struct ir_window {
    int64_t size[2]; // R, S
    int64_t stride[2], dilation[2];
    int64_t pad[2], pad_end[2]; // top, left; bottom, right
    bool ceil;
};

// Reads strides, pads and (when the op has it) dilations; `size` is filled in by the caller. False after a report.
bool ir_window_read(struct ir_graph *g, const struct ir_node *n, bool dilated, struct ir_window *w);
struct ir_window ir_window_of(const struct ir_node *n, bool dilated); // the same for a node that passed infer

// Number of window positions along spatial dim d of extent `in`: floor((in + pads - reach)/stride) + 1 with reach =
// dilation*(size-1)+1; `ceil` rounds up, but the last window must start inside the input or its leading padding.
// Less than 1 when the window does not fit.
int64_t ir_window_count(const struct ir_window *w, int d, int64_t in);
// Output extents for the input [.., H, W] of operand i; reports when the window does not fit.
bool ir_window_output(struct ir_graph *g, const struct ir_node *n, const struct ir_window *w, const int64_t in[2],
                      int64_t out[2]);

// Input coordinate of tap k of position p along d; outside [0, in) it lies in the padding.
static inline int64_t ir_window_at(const struct ir_window *w, int d, int64_t p, int64_t k) {
    return p * w->stride[d] - w->pad[d] + k * w->dilation[d];
}

#endif
