// rank as one call.
#include "../kernels/kernels.h"

void cg_kernel_rank(struct cg_lower *L, ir_nid id) {
    const struct ir_node *n = &L->g->nodes[id];
    struct ir_type x = cg_in_type(L, id, 0);
    struct cg_rank r = {.count = ir_numel(&x), .batched = ir_is_batched(&x)};
    cg_call_record(L, "rank", cg_emit_rank, &r, sizeof r, 2, 0,
                   (struct cg_arg[]){CG_VALUE(n->in[0]), CG_VALUE(n->out[0])});
}
