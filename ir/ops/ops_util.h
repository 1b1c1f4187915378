// What the hooks of every op family share: messages about shapes, checked shape arithmetic, and index walking for the
// naive reference. Internal to ir/ops/.
#ifndef SMKD_IR_OPS_UTIL_H
#define SMKD_IR_OPS_UTIL_H

#include "../eval.h"
#include "../ir.h"

// Parameter lists of the hooks, spelled once (struct ir_op_info says what they mean).
#define EVAL_PARAMS                                                                                                    \
    const struct ir_graph *g, const struct ir_node *n, const struct ir_tensor *const *in, struct ir_tensor *const *out
#define VJP_PARAMS struct ir_graph *g, ir_nid id, const ir_vid *dout, const bool *want, ir_vid *din

// --- messages ------------------------------------------------------------------------------------------------------

// "f32[N,64,8,8]" into a static-size buffer held by value, so that it can stand in an argument list: TYPE_TEXT(t).
struct ir_text {
    char s[240];
};
struct ir_text ir_type_text(const struct ir_type *t);
struct ir_text ir_ints_text(const int64_t *v, size_t n); // "[1, 2, 3]"
#define TYPE_TEXT(t)    (ir_type_text(t).s)
#define INTS_TEXT(v, n) (ir_ints_text((v), (n)).s)

// Reports an error at node n and returns false, so that an infer hook can `return ir_fail(...)`.
bool ir_fail(struct ir_graph *g, const struct ir_node *n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

// --- shapes --------------------------------------------------------------------------------------------------------

static inline const struct ir_type *ir_in_type(const struct ir_graph *g, const struct ir_node *n, size_t i) {
    return &g->values[n->in[i]].type;
}

// Every check of a result type that does not depend on the op: rank, non-symbolic dims after the first, and a size that
// can be computed with (elements and their bytes, even times a large batch, stay far below 2^63).
bool ir_check_type(struct ir_graph *g, const struct ir_node *n, const struct ir_type *t);
// Operand i must be f32: kernels of their own are written for it alone / of exactly `rank` dims / not have the symbolic
// batch in its shape.
bool ir_check_float(struct ir_graph *g, const struct ir_node *n, size_t i);
bool ir_check_rank(struct ir_graph *g, const struct ir_node *n, size_t i, int rank, const char *what);
bool ir_check_unbatched(struct ir_graph *g, const struct ir_node *n, size_t i, const char *what);
// Numpy broadcasting of dims, aligned at the right; N meets 1 and N only. Reports and returns false when they disagree
// or N would end up in a later dim. `out` gets rank and dims (perm identity); its dtype is a's.
bool ir_broadcast(struct ir_graph *g, const struct ir_node *n, const struct ir_type *a, const struct ir_type *b,
                  struct ir_type *out);
// The INTS attribute `name`, which must have `count` entries in [lo, hi]; NULL after a report.
const int64_t *ir_check_ints(struct ir_graph *g, const struct ir_node *n, const char *name, size_t count, int64_t lo,
                             int64_t hi);
// Attribute `axis` in [-rank, rank) -> [0, rank); -1 after a report.
int ir_check_axis(struct ir_graph *g, const struct ir_node *n, const char *name, int rank);

// Bounds of window attributes and of a dim: products of two of them plus a third cannot overflow.
#define IR_WINDOW_MAX (INT64_C(1) << 24)
#define IR_DIM_MAX    (INT64_C(1) << 36)

// --- gradients -----------------------------------------------------------------------------------------------------

// A scalar constant of the dtype of `like` (f32 or f64).
ir_vid ir_const_like(struct ir_graph *g, ir_vid like, double v);
// x times a constant.
ir_vid ir_scale(struct ir_graph *g, ir_vid x, double v);
// f32[C] -> f32[1,C,1,..] of `rank` dims, to stand beside an activation.
ir_vid ir_channel_vector(struct ir_graph *g, ir_vid v, int rank);
// Elements of t along `axes` as f32[]: a constant, or a run-time value when N is among them.
ir_vid ir_count_of(struct ir_graph *g, const struct ir_type *t, const int64_t *axes, size_t n_axes);

// --- evaluation ----------------------------------------------------------------------------------------------------

// Walks all indices of a row-major shape: for (struct ir_walk w = ir_walk_all(t); !w.done; ir_walk_next(&w)).
struct ir_walk {
    int rank;
    int64_t dims[IR_MAX_RANK], idx[IR_MAX_RANK];
    size_t linear; // row-major number of idx
    bool done;
};
struct ir_walk ir_walk_all(const struct ir_type *t);
void ir_walk_next(struct ir_walk *w);
// Row-major strides; with broadcasting against a shape of `rank` dims, dims of size 1 and missing ones get stride 0.
void ir_row_strides(const struct ir_type *t, int64_t strides[IR_MAX_RANK]);
void ir_bcast_strides(const struct ir_type *t, int rank, int64_t strides[IR_MAX_RANK]);
size_t ir_offset(const struct ir_walk *w, const int64_t strides[IR_MAX_RANK]);
// dst[i] = src[j] in whichever of f / i the dtype uses.
void ir_tensor_copy_elem(const struct ir_tensor *dst, size_t i, const struct ir_tensor *src, size_t j);

#endif
