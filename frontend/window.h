// Sliding windows over the spatial dims of [N, C, D1, D2, ..], as convolutions and pools have them.
#ifndef SMKD_FE_WINDOW_H
#define SMKD_FE_WINDOW_H

#include "onnx_internal.h"

enum { FE_MAX_SPATIAL = IR_MAX_RANK - 2 };

struct fe_window {
    int k; // spatial dims
    int64_t kernel[FE_MAX_SPATIAL], strides[FE_MAX_SPATIAL], dilations[FE_MAX_SPATIAL];
    int64_t lo[FE_MAX_SPATIAL], hi[FE_MAX_SPATIAL]; // padding in front and behind
    int64_t in[FE_MAX_SPATIAL], out[FE_MAX_SPATIAL];
};

// Bounds of what an attribute may say: with dims of at most 2^40 no sum of two products here overflows.
#define FE_WINDOW_MOST (INT64_C(1) << 20)

// The attributes of a node whose operand is of type x; `kernel` is that of its weight, NULL: kernel_shape says it.
// `out` is what a convolution or pool makes of x (ceil_mode: the last window may reach beyond). False after reporting.
bool fe_window_read(struct fe_ctx *c, const struct fe_node *n, const struct ir_type *x, const int64_t *kernel,
                    struct fe_window *w);
// The same but for pads and `out`, which a transposed convolution computes otherwise.
bool fe_window_steps(struct fe_ctx *c, const struct fe_node *n, const struct ir_type *x, const int64_t *kernel,
                     struct fe_window *w);
bool fe_window_pads(struct fe_ctx *c, const struct fe_node *n, struct fe_window *w); // attribute pads
int64_t fe_window_reach(const struct fe_window *w, int i); // elements from a window's first to its last

// x padded along its axes axis, axis+1 .. by the first `count` of lo and hi, with steps[i]-1 elements between any two
// (NULL: none); x itself where that is nothing.
ir_vid fe_pad(struct fe_ctx *c, ir_vid x, int axis, int count, const int64_t *lo, const int64_t *hi,
              const int64_t *steps, double value);
// x padded with `value` for all of a window's positions along spatial dim i; what its tap t sees of that; the sums over
// whole windows, of any type.
ir_vid fe_window_around(struct fe_ctx *c, ir_vid x, const struct fe_window *w, int i, double value);
ir_vid fe_window_tap(struct fe_ctx *c, ir_vid x, const struct fe_window *w, int i, int64_t t);
ir_vid fe_window_sum(struct fe_ctx *c, ir_vid x, const struct fe_window *w);

// The first `a` spatial dims of [N, C, D1 .., rest ..] as samples: [N*D1*.., C, rest ..], so that what slides over the
// others alone sees them; and back, with these dims at `lead` and the batch n.
ir_vid fe_into_batch(struct fe_ctx *c, ir_vid x, int a);
ir_vid fe_out_of_batch(struct fe_ctx *c, ir_vid y, int64_t n, const int64_t *lead, int a);

#endif
