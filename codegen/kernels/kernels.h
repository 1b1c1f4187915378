// Private seam of the compute kernels: parameter records that lowering fills in and emitters read. Every record holds
// int64_t fields only, so its text is the kernel's key. "px" is a pixel; strides are in floats unless they say bytes.
#ifndef SMKD_CG_KERNELS_H
#define SMKD_CG_KERNELS_H

#include "../cg.h"

// Elements of a record, for keys.
#define CG_FIELDS(T) (sizeof(T) / sizeof(int64_t))
// Registers and calls a kernel on a record (copied into the arena) under the key "name:1,2,3", its fields.
void cg_call_record(struct cg_lower *L, const char *name, void (*emit)(struct cg_fn *, const void *),
                    const void *record, size_t record_bytes, int n_ptr, int64_t scratch_bytes,
                    const struct cg_arg *args);

static inline int64_t cg_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t cg_min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t cg_max64(int64_t a, int64_t b) { return a > b ? a : b; }

// --- micro.c ---------------------------------------------------------------------------------------------------------

// C[m][n] (+)= sum over i2 < n2, i1 < n1, k < inner of A[i2*a2 + i1*a1 + m + k*a_k] * B[i2*b2 + i1*b1 + k*b_k][n], with
// th x tw rows m of A (at a_h, a_w) held against nvec vectors of B, all sums in registers. B is aligned to a vector.
struct cg_micro {
    int64_t th, tw, nvec;
    int64_t last_lanes;         // lanes of the last vector that C has
    int64_t a_h, a_w, c_h, c_w; // strides of A and C over the tile
    int64_t a_k, b_k, inner;    // inner < 0: run-time argument
    int64_t n1, a1, b1;         // n1, n2 < 0: run-time argument, >= 1
    int64_t n2, a2, b2;
    int64_t accumulate; // C is added to, else overwritten
    int64_t pairs;      // what A and B have at a place is not a float but two bfloat16, multiplied and added pairwise
    int64_t c_narrow;   // C is bfloat16, overwritten
    // Fetched into cache meanwhile: a_k == 1: as many floats as A's tile has, from A + ahead on, evenly over the steps
    // (the next tile, where tiles lie one behind the other); else the line at A + ahead, each step. 0: nothing.
    int64_t ahead;
    int64_t fetch_c; // C's lines are fetched, too, to be written
    // From memory elsewhere (`next`), for whoever comes after: a line a step, then this many bytes on. 0: none.
    int64_t stream;
};
// Calls the micro-kernel (emitted into the module on first use). Count arguments may be NULL where the record has them.
void cg_micro_call(struct cg_fn *f, const struct cg_micro *m, LLVMValueRef A, LLVMValueRef B, LLVMValueRef C,
                   LLVMValueRef inner, LLVMValueRef n1, LLVMValueRef n2, LLVMValueRef next);
// The same for `rows` rows of A that lie side by side (a_w = 1), in even tiles of at most `most`. Tile j fetches from
// next + j * next_gap bytes on, j < next_lines (`next` NULL: none does).
void cg_micro_over_rows(struct cg_fn *f, const struct cg_micro *proto, int64_t rows, int64_t most, LLVMValueRef A,
                        LLVMValueRef B, LLVMValueRef C, LLVMValueRef inner, LLVMValueRef n1, LLVMValueRef n2,
                        LLVMValueRef next, int64_t next_gap, int64_t next_lines);
// Most rows a tile of nvec vectors can hold in registers.
int64_t cg_micro_rows(const struct cg_target *t, int64_t nvec);
// The same for m's kind of product, which may have AMX tiles: rows are then in one line (th == 1).
int64_t cg_micro_rows_of(const struct cg_target *t, const struct cg_micro *m);
// amx.c: whether m is computed in AMX tiles, which want th 1; its body.
bool cg_micro_uses_tiles(const struct cg_target *t, const struct cg_micro *m);
void cg_emit_micro_tiles(struct cg_fn *f, const struct cg_micro *m, LLVMValueRef A, LLVMValueRef B, LLVMValueRef C);
// `total` split into the fewest tiles of at most `most`, of two sizes: n_big tiles of `big`, then n_small of big-1.
struct cg_split {
    int64_t big, n_big, n_small;
};
struct cg_split cg_split_even(int64_t total, int64_t most);
// dst[0..n) = src[0..n): n a run-time or constant number of floats. zero: dst only. The last two: src or dst may be
// narrow.
void cg_copy_floats(struct cg_fn *f, LLVMValueRef dst, LLVMValueRef src, LLVMValueRef n);
void cg_zero_floats(struct cg_fn *f, LLVMValueRef dst, LLVMValueRef n);
void cg_copy_f32(struct cg_fn *f, LLVMValueRef dst, bool src_narrow, LLVMValueRef src, LLVMValueRef n);
void cg_zero_f32(struct cg_fn *f, bool narrow, LLVMValueRef dst, LLVMValueRef n);

// Transposes the square of t->vl vectors in place.
void cg_transpose(struct cg_fn *f, LLVMValueRef *rows);

// Blocks of output channels: `full` blocks of 2 vectors, then one of tail_vec vectors with tail_lanes in its last one.
struct cg_blocks {
    int64_t full, tail_vec, tail_lanes, n; // n = full + (tail_vec > 0)
    int64_t floats;                        // padded channels: width of all blocks
};
struct cg_blocks cg_blocks_of(const struct cg_target *t, int64_t channels);

// --- conv.c: tap convolution, forward and data gradient

// y[n, oh*osh+oh0, ow*osw+ow0, k] = sum over taps r < R, s < S and c of x[n, oh*ish+dh0+r*dr, ow*isw+dw0+s*ds, c] *
// w[r,s,c,k] for oh < PH, ow < PW; x outside its plane is 0. Pointers: x, packed weights (cg_pack), y.
struct cg_tap_conv {
    int64_t H, W, xc; // input plane, channels of all groups
    int64_t P, Q, yc; // output plane, channels of all groups
    int64_t PH, PW;   // outputs of this phase
    int64_t osh, osw, oh0, ow0;
    int64_t ish, isw, dh0, dw0;
    int64_t R, S, dr, ds; // R == 0 or S == 0: writes zeros
    int64_t C, K, groups; // per (super-)group
    int64_t x_narrow, y_narrow;
    int64_t pairs; // x is bfloat16, multiplied in pairs of channels, which xc and C count; so are the weights (cg_pack)
};
void cg_emit_tap_conv(struct cg_fn *f, const void *params);
int64_t cg_tap_conv_scratch(const struct cg_target *t, const struct cg_tap_conv *c);

// The band of output rows and group of images that a work item takes, and how its input is gathered.
struct cg_gather {
    int64_t in_place;          // no gathering: read x where it lies
    int64_t pairs;             // cg_gather_pairs_plan's
    int64_t bh, bands, images; // rows of a band, bands of a plane, images of a group
    int64_t step_h, step_w;    // x rows/columns between gathered ones
    int64_t eh, ew;            // gathered rows/columns between neighbouring outputs
    int64_t gw;                // gathered columns
    int64_t channels;          // of a pixel that are gathered
    int64_t px, row, plane;    // strides of the gathered (or in-place) input
};
// For `channels` neighbouring channels of each pixel (c->xc: all), in at most `bytes`.
struct cg_gather cg_gather_plan(const struct cg_target *t, const struct cg_tap_conv *c, int64_t channels,
                                int64_t bytes);
int64_t cg_gather_bytes(const struct cg_gather *g);
// For weight gradients by pairs of pixels: a gathered row is [s][q / 2][channel][q % 2], bfloat16: for filter column s,
// what the outputs q of the row multiply; a missing last q is 0. gw: pairs; px, row, plane: strides in pairs.
struct cg_gather cg_gather_pairs_plan(const struct cg_tap_conv *c, int64_t channels, int64_t bytes);
// Two vectors of bfloat16, as integers, side by side in each lane.
LLVMValueRef cg_pair_up(struct cg_fn *f, LLVMValueRef even, LLVMValueRef odd);
// Address of input (first row of the band, column 0 of the taps) for image n0 and the band at row oh; gathers when
// needed. x: the first of the channels.
LLVMValueRef cg_gather_emit(struct cg_fn *f, const struct cg_tap_conv *c, const struct cg_gather *g, LLVMValueRef x,
                            LLVMValueRef scratch, LLVMValueRef n0, LLVMValueRef n_img, LLVMValueRef oh,
                            LLVMValueRef bh);

// --- conv_pack.c

// dst[g][block][r][s][c][lane] = src[weight of (output channel, c, r, s)] for a super-group of `merge` groups of c x k
// channels each, zero off the diagonal blocks. Pointers: src (weights), dst.
struct cg_pack {
    int64_t groups, merge, c, k; // super-groups; groups in one; channels a group in the packed operator's own direction
    int64_t R, S, r0, r_step, s0, s_step; // packed tap (r, s) is weight tap (r0 + r*r_step, s0 + s*s_step)
    int64_t group_stride, k_stride, c_stride, r_stride, s_stride;
    int64_t pairs; // dst[g][block][r][s][c / 2][lane][c % 2], bfloat16; merge * c is even
};
void cg_emit_pack(struct cg_fn *f, const void *params);
int64_t cg_pack_scratch(const struct cg_target *t, const struct cg_pack *p); // of packing and unpacking
int64_t cg_pack_floats(const struct cg_target *t, const struct cg_pack *p);
// The reverse for weight gradients: dw = sum over `parts` of the packed blocks. Pointers: packed partial sums, dw.
struct cg_unpack {
    struct cg_pack shape;
    int64_t parts;
};
void cg_emit_unpack(struct cg_fn *f, const void *params);
// Weights of groups in lanes <-> [R*S][c][padded output channels].
void cg_emit_pack_dw(struct cg_fn *f, const void *params);   // struct cg_pack with merge 1
void cg_emit_unpack_dw(struct cg_fn *f, const void *params); // struct cg_unpack

// --- conv_wgrad.c

// Partial sums of dw in cg_pack's layout over `parts` parts of the batch. Pointers: dy, x, partial sums.
struct cg_wgrad {
    struct cg_tap_conv
        c;         // of the forward convolution; y_narrow: dy is. c.pairs: both are bfloat16, multiplied in pairs
    int64_t parts; // of pixels; xc and C count channels all the same
};
void cg_emit_wgrad(struct cg_fn *f, const void *params);
int64_t cg_wgrad_items(const struct cg_target *t, const struct cg_tap_conv *c); // independent of each other, a part
int64_t cg_wgrad_scratch(const struct cg_target *t, const struct cg_wgrad *w);

// --- depthwise.c

// Along one axis, tap t of output o reads input (o*mul + off + t*step) / div where that is whole and inside the plane.
// mul == 1 or div == 1.
struct cg_dw_axis {
    int64_t mul, off, step, div;
};
// Groups of `width` channels in and out (1: depthwise), which divides a vector, forward or by data. Weights are
// [R][S][input of the group][padded output channels]. Pointers: x, packed weights, y.
struct cg_depthwise {
    int64_t H, W, P, Q, C, R, S; // planes that are read and written
    int64_t width;
    struct cg_dw_axis h, w;
    int64_t x_narrow, y_narrow; // of what is read and written; y of a weight gradient is dy
};
void cg_emit_depthwise(struct cg_fn *f, const void *params);
// Partial sums of dw in the packed order. Pointers: dy, x, partial sums.
struct cg_wgrad_dw {
    struct cg_depthwise d; // of the forward convolution
    int64_t parts;
};
void cg_emit_wgrad_dw(struct cg_fn *f, const void *params);
int64_t cg_depthwise_scratch(const struct cg_target *t, const struct cg_depthwise *d);

// --- gemm.c

// C[b][M][N] = op(A)[b] op(B)[b]. Pointers: A, B, C. Negative M, K or batch[0]: -value times the run-time N. One of a_m
// and a_k is 1, and one of b_k and b_n.
#define CG_GEMM_BATCH 6
struct cg_gemm {
    int64_t M, N, K;
    int64_t a_m, a_k, b_k, b_n;
    int64_t batch[CG_GEMM_BATCH], a_b[CG_GEMM_BATCH], b_b[CG_GEMM_BATCH]; // outermost first, 1 where unused
};
void cg_emit_gemm(struct cg_fn *f, const void *params);
int64_t cg_gemm_scratch(const struct cg_target *t, const struct cg_gemm *g);

// --- pool.c

struct cg_pool {
    int64_t H, W, C, P, Q, R, S, sh, sw, pt, pl, pb, pr, dh, dw, include_pad;
    int64_t in_narrow, out_narrow; // of x or dy, and of y or dx
};
void cg_emit_max_pool(struct cg_fn *f, const void *params);      // x, y, position
void cg_emit_max_pool_grad(struct cg_fn *f, const void *params); // dy, position, dx
void cg_emit_avg_pool(struct cg_fn *f, const void *params);      // x, y
void cg_emit_avg_pool_grad(struct cg_fn *f, const void *params); // dy, dx

// --- rank.c

struct cg_rank {
    int64_t count, batched; // elements, times N where batched
};
void cg_emit_rank(struct cg_fn *f, const void *params); // x, y

// --- lowering hooks (codegen/lower/conv.c, matmul.c, pool.c, rank.c); lower_table.c refers to them by name

#define CG_HOOK(id) void cg_kernel_##id(struct cg_lower *L, ir_nid n)
#define CG_WS_HOOK(id)                                                                                                 \
    void cg_ws_##id(const struct cg_target *t, const struct ir_graph *g, ir_nid n, int64_t *fixed, int64_t *per_sample)
CG_HOOK(conv);
CG_HOOK(conv_grad_x);
CG_HOOK(conv_grad_w);
CG_HOOK(matmul);
CG_HOOK(max_pool);
CG_HOOK(max_pool_grad);
CG_HOOK(avg_pool);
CG_HOOK(avg_pool_grad);
CG_HOOK(rank);
CG_WS_HOOK(conv);
CG_WS_HOOK(conv_grad_x);
CG_WS_HOOK(conv_grad_w);
CG_WS_HOOK(matmul);

#endif
