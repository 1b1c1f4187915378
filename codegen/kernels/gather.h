// Index-driven kernels over row-major tensors seen as [outer][dim][inner].
#ifndef SMKD_CG_GATHER_H
#define SMKD_CG_GATHER_H
#include "expr.h"
struct cg_gather {
    int64_t outer, dim, inner, n_index; // the first, or where it is 1 what comes next, may be times N; so n_index
    bool outer_n, dim_n, index_n;
    bool index_outer, index_inner; // the index has these dims, too: [outer][n_index][inner]; else it is [n_index]
    enum ir_dtype dtype, index_dtype;
    int64_t option; // scatter: enum cg_place; cumulate: bits of enum cg_cumulate; top_k: the largest; argmax: the last
    int64_t k;      // of top_k
};
void cg_emit_gather(struct cg_fn *f, const void *p); // ptr: x, index, y [outer][n_index][inner]
enum cg_place { CG_PLACE_NONE, CG_PLACE_ADD, CG_PLACE_MUL, CG_PLACE_MAX, CG_PLACE_MIN };
void cg_emit_scatter(struct cg_fn *f, const void *p);     // ptr: x, index, updates, y [outer][dim][inner]
void cg_emit_gather_grad(struct cg_fn *f, const void *p); // ptr: dy, index, dx [outer][dim][inner]
void cg_emit_top_k(struct cg_fn *f, const void *p);       // ptr: x, y, place i64 [outer][k][inner]
int64_t cg_top_k_scratch(const struct cg_gather *g);
enum cg_cumulate { CG_CUMULATE_PRODUCT = 1, CG_CUMULATE_EXCLUSIVE = 2, CG_CUMULATE_REVERSE = 4 };
void cg_emit_cumulate(struct cg_fn *f, const void *p);  // ptr: x, y [outer][dim][inner]
void cg_emit_take_rows(struct cg_fn *f, const void *p); // ptr: x, row i64, y [n_index][inner]
void cg_emit_argmax(struct cg_fn *f, const void *p);    // ptr: x [outer][dim][inner], y i64 [outer][inner]
#endif
