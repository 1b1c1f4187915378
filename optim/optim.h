// The optimizers of methods/optimizers.h as graphs of IR ops, one builder each. Uses ir/ and methods/ only.
//
// A program updates a run of memory, of whatever tensors: inputs and outputs are vectors of N * OPTIM_LANES numbers,
// where N is the batch it is run with. (A parameter block is padded to so many after each tensor, with zeros, which
// stay what they are.)
//
//   inputs   param, grad, state.NAME      f32[N,OPTIM_LANES]
//   outputs  param, state.NAME            the same, and to be bound to the same memory: every number is read before it
//                                         is written
//   scalars  as methods/optimizers.h has them
#ifndef SMKD_OPTIM_H
#define SMKD_OPTIM_H

#include "../ir/ir.h"
#include "../methods/optimizers.h"

#define OPTIM_LANES 16

// NULL after reporting that there is none of that name.
struct ir_graph *optim_build(const char *name, struct arena *a, struct diag *d);

#endif
