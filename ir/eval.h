// The naive interpreter: float64 inside, one obvious loop per op. It folds constants and is the oracle of compiled
// code.
#ifndef SMKD_IR_EVAL_H
#define SMKD_IR_EVAL_H

#include "ir.h"

// Row-major logical tensor. Floats are held as double whatever the dtype (f32 results are NOT rounded, so finite
// differences work); integer and bool types are held exactly in `i`.
struct ir_tensor {
    struct ir_type type; // dims all concrete (N substituted), perm identity
    double *f;           // f32, f64
    int64_t *i;          // integers and bool
};
size_t ir_tensor_numel(const struct ir_tensor *t);
// The type of a value with N replaced by `batch`.
struct ir_type ir_concrete(const struct ir_type *t, int64_t batch);
struct ir_tensor *ir_tensor_new(struct arena *a, struct ir_type concrete);                    // zeroed
struct ir_tensor *ir_tensor_from(struct arena *a, struct ir_type concrete, const void *data); // data in its own dtype
// Interprets the whole graph for batch size `batch`. `values` has n_values slots: boundary values must be set by the
// caller (constants and parameters with data are filled in when NULL); on return every value is set.
void ir_eval(const struct ir_graph *g, struct arena *a, int64_t batch, struct ir_tensor **values);

#endif
