// What the Winograd kernels share: F(4x4, 3x3), stride 1, one group. See winograd.c.
#ifndef SMKD_CG_WINOGRAD_H
#define SMKD_CG_WINOGRAD_H

#include "kernels.h"

// y[n,p,q,k] = sum over r, s < 3 and c of x[n, p-ph+r, q-pw+s, c] * w[r,s,c,k]; x outside its plane is 0.
struct cg_wino {
    int64_t H, W, C, xc; // input plane, its channels, floats between pixels
    int64_t P, Q, K, yc; // output plane
    int64_t ph, pw;      // padding on top and on the left
    int64_t x_narrow, y_narrow;
};
static inline int64_t cg_wino_th(const struct cg_wino *w) { return cg_ceil_div(w->P, 4); }
static inline int64_t cg_wino_tw(const struct cg_wino *w) { return cg_ceil_div(w->Q, 4); }

// Pointers: x, transformed weights, y
void cg_emit_winograd(struct cg_fn *f, const void *params);
int64_t cg_wino_scratch(const struct cg_target *t, const struct cg_wino *w);
int64_t cg_wino_item_tiles(const struct cg_target *t, const struct cg_wino *w); // at most, of a work item

// U[q][block][c][lane] = (G g G^T)[q] for the weights of a struct cg_pack of one group with 3x3 taps (conv_pack.c;
// scratch of cg_pack_scratch). Pointers: weights, U.
void cg_emit_wino_pack(struct cg_fn *f, const void *params);
// Floats between two q, and of all of U. Not a power of two: 36 streams would meet in one cache set.
static inline int64_t cg_wino_weight_stride(const struct cg_target *t, int64_t C, int64_t K) {
    return cg_blocks_of(t, K).floats * C + 16;
}
static inline int64_t cg_wino_weight_floats(const struct cg_target *t, int64_t C, int64_t K) {
    return 36 * cg_wino_weight_stride(t, C, K);
}

// A work item of the weight gradient.
enum {
    CG_WINO_CHUNK = 64, // channels on either side: dU is 36 * 64 * 64 floats
    CG_WINO_TILES = 32, // transformed and multiplied at a time
    CG_WINO_ITEMS = 16, // chunks of channels times parts of the batch, where the chunks are fewer
};
static inline int64_t cg_wino_parts(int64_t C, int64_t K) {
    return cg_max64(1, CG_WINO_ITEMS / (cg_ceil_div(C, CG_WINO_CHUNK) * cg_ceil_div(K, CG_WINO_CHUNK)));
}

// Partial sums of dw in cg_pack's layout over `parts` parts of the batch. Pointers: dy, x, partial sums.
struct cg_wino_wgrad {
    struct cg_wino w; // of the forward convolution
    int64_t parts;
};
void cg_emit_wino_wgrad(struct cg_fn *f, const void *params);
int64_t cg_wino_wgrad_scratch(const struct cg_target *t, const struct cg_wino_wgrad *w);

// --- between winograd.c and winograd_wgrad.c

// Tiles [.., end) of one axis whose window lies in the plane from `lo` to `hi`.
enum { CG_WINO_KINDS = 4 };
struct cg_wino_kind {
    int64_t lo, hi, end;
};
struct cg_wino_axes {
    bool input; // windows of 6 over x; else of 4 over y
    struct cg_wino_kind h[CG_WINO_KINDS], w[CG_WINO_KINDS];
    int n_h, n_w;
};
struct cg_wino_axes cg_wino_axes_of(const struct cg_wino *w, bool input);
// A packed block of tiles: [q][tile][channel].
struct cg_wino_room {
    int64_t row, q; // floats between tiles and between q
};
struct cg_wino_room cg_wino_room_of(const struct cg_target *t, int64_t tiles, int64_t channels);
// Transforms tiles [first, first+count) of `channels` channels: B^T d B of x, or A d A^T of y.
void cg_wino_pack_tiles(struct cg_fn *f, const struct cg_wino *w, const struct cg_wino_axes *a, LLVMValueRef plane,
                        int64_t channel_stride, int64_t channels, LLVMValueRef first, LLVMValueRef count,
                        LLVMValueRef packed, int64_t row, int64_t q_stride);
void cg_wino_filter(struct cg_fn *f, LLVMValueRef out[36], const LLVMValueRef in[9]);
void cg_wino_filter_adjoint(struct cg_fn *f, LLVMValueRef out[9], const LLVMValueRef in[36]);

#endif
