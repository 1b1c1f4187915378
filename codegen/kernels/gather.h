// Index-driven kernels over row-major tensors seen as [outer][dim][inner].
#ifndef SMKD_CG_GATHER_H
#define SMKD_CG_GATHER_H
#include "expr.h"
struct cg_gather {
    int64_t outer, dim, inner, n_index; // outer and n_index may be times N
    bool outer_n, index_n;
    enum ir_dtype dtype, index_dtype;
};
void cg_emit_gather(struct cg_fn *f, const void *p);      // ptr: x, index, y [outer][n_index][inner]
void cg_emit_gather_grad(struct cg_fn *f, const void *p); // ptr: dy, index, dx [outer][dim][inner]
void cg_emit_take_rows(struct cg_fn *f, const void *p);   // ptr: x, row i64, y [n_index][inner]
void cg_emit_argmax(struct cg_fn *f, const void *p);      // ptr: x [outer][dim][inner], y i64 [outer][inner]
#endif
