// Prototypes of every hook that ops.def names, so that an op family's file and the op table agree by construction.
// Several rows may share a hook: repeating a compatible declaration is fine. The `none` hooks are declared but never
// defined.
#ifndef SMKD_IR_OPS_INTERNAL_H
#define SMKD_IR_OPS_INTERNAL_H

#include "../eval.h"
#include "../ir.h"

#define OP(id, kind, in_min, in_max, n_out, schema, infer_, vjp_, expand_, eval_, doc)                                 \
    bool ir_infer_##infer_(struct ir_graph *g, const struct ir_node *n, struct ir_type *out);                          \
    void ir_vjp_##vjp_(struct ir_graph *g, ir_nid n, const ir_vid *dout, const bool *want, ir_vid *din);               \
    void ir_expand_##expand_(struct ir_graph *g, ir_nid n, enum ir_expand_mode mode, ir_vid *out);                     \
    void ir_eval_##eval_(const struct ir_graph *g, const struct ir_node *n, const struct ir_tensor *const *in,         \
                         struct ir_tensor *const *out);
#include "../ops.def"
#undef OP

#endif
