// ops.def -> how each op is lowered. A missing lowering is a link error.
#include "lower/lower.h"

void cg_lower_pointwise(struct cg_lower *L, ir_nid n);
void cg_lower_view(struct cg_lower *L, ir_nid n);

// Declarations of the hooks an op of each kind must have.
#define DECL_PW(id) LLVMValueRef cg_pw_##id(const struct cg_pw_args *a);
#define DECL_VIEW(id)
#define DECL_RED(id)    void cg_red_##id(struct cg_lower *L, ir_nid n);
#define DECL_KERNEL(id) void cg_kernel_##id(struct cg_lower *L, ir_nid n);
#define DECL_EXPAND(id)
#define OP(id, kind, ...) DECL_##kind(id)
#include "../ir/ops.def"
#undef OP

#define STEP_PW(id) [IR_OP_##id] = cg_pw_##id,
#define STEP_VIEW(id)
#define STEP_RED(id)
#define STEP_KERNEL(id)
#define STEP_EXPAND(id)
#define OP(id, kind, ...) STEP_##kind(id)
const cg_pw_hook cg_pw_table[IR_OP_COUNT] = {
#include "../ir/ops.def"
};
#undef OP

#define LOWER_PW(id)     [IR_OP_##id] = cg_lower_pointwise,
#define LOWER_VIEW(id)   [IR_OP_##id] = cg_lower_view,
#define LOWER_RED(id)    [IR_OP_##id] = cg_red_##id,
#define LOWER_KERNEL(id) [IR_OP_##id] = cg_kernel_##id,
#define LOWER_EXPAND(id)
#define OP(id, kind, ...) LOWER_##kind(id)
const cg_lower_hook cg_lower_table[IR_OP_COUNT] = {
#include "../ir/ops.def"
};
#undef OP

// Ops whose kernels share scratch memory between threads.
#define WORKSPACES(X) X(conv) X(conv_grad_x) X(conv_grad_w) X(matmul) X(reduce_sum) X(bn_stats) X(bn_grad_reduce)
#define X(id)                                                                                                          \
    void cg_ws_##id(const struct cg_target *t, const struct ir_graph *g, ir_nid n, int64_t *fixed, int64_t *per_sample);
WORKSPACES(X)
#undef X
#define X(id) [IR_OP_##id] = cg_ws_##id,
const cg_ws_hook cg_ws_table[IR_OP_COUNT] = {WORKSPACES(X)};
