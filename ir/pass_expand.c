// Pass `expand`: ops of kind EXPAND give way to the nodes they stand for, until none is left (an expansion may use
// others).
#include "ir_internal.h"

enum smkd_status ir_pass_expand(struct ir_graph *g, const struct ir_pass_options *o) {
    for (bool again = true; again;) {
        again = false;
        struct ir_rewriter rw;
        ir_rw_begin(&rw, g);
        for (size_t i = 0; i < rw.n_old; i++) {
            const struct ir_op_info *info = &ir_ops[rw.old[i].op];
            ir_nid n = ir_rw_copy_node(&rw, i);
            if (info->kind != IR_KIND_EXPAND) continue;
            ir_rw_at(&rw, i); // what it expands to is this node's, not the next one's
            ir_vid out[8] = {IR_NONE, IR_NONE, IR_NONE, IR_NONE, IR_NONE, IR_NONE, IR_NONE, IR_NONE};
            info->expand(g, n, o->mode, out);
            for (int k = 0; k < info->n_out; k++) {
                CHECK(out[k] != IR_NONE, "expansion of %s gives no result %d", info->name, k);
                ir_rw_replace(&rw, rw.old[i].out[k], out[k]);
            }
            ir_rw_drop(&rw, n);
            again = true;
        }
        ir_rw_end(&rw);
    }
    return SMKD_OK;
}
