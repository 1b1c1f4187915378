// Shared by the lowerings: building expressions from the graph, and the tables.
#ifndef SMKD_CG_LOWER_H
#define SMKD_CG_LOWER_H

#include "../kernels/expr.h"

// A logical coordinate as an affine function of the loop indices.
struct cg_coord {
    int64_t c[CG_MAX_LOOPS];
    int64_t k;
};

// An expression under construction, with the values its pointers stand for.
struct cg_xb {
    struct cg_lower *L;
    struct cg_expr e;
    struct cg_arg args[CG_MAX_PTRS];
    struct {
        ir_vid v;
        int step;
        struct cg_coord co[IR_MAX_RANK];
    } memo[CG_MAX_STEPS];
    int n_memo;
};

// Starts with one loop per dim of `iter`, in its physical order; fills co[d] with the coordinate of logical dim d.
void cg_xb_begin(struct cg_xb *x, struct cg_lower *L, const struct ir_type *iter, struct cg_coord *co);
int cg_xb_value(struct cg_xb *x, ir_vid v, const struct cg_coord *co); // inline values are expanded in place
int cg_xb_node(struct cg_xb *x, ir_nid n, const struct cg_coord *co);  // the node's own computation
int cg_xb_step(struct cg_xb *x, enum ir_op op, enum ir_dtype t, const int *in, int n_in);
int cg_xb_fill(struct cg_xb *x, enum ir_dtype t, double v);
int cg_xb_ptr(struct cg_xb *x, struct cg_arg a); // pointer number for an argument
// Leaf addressing of value v at coordinates co (for outputs).
struct cg_leaf cg_xb_leaf(struct cg_xb *x, ir_vid v, const struct cg_coord *co);
// Has later steps that read `v` at these coordinates find step `s`, which computes it.
void cg_xb_known(struct cg_xb *x, ir_vid v, const struct cg_coord *co, int s);
// Fixes what is stored where, as one result more: step `root` in value `out` at coordinates `co`. Loops are left as
// they are.
void cg_xb_finish(struct cg_xb *x, int root, ir_vid out, const struct cg_coord *co);
// Registers and calls the pointwise kernel of a finished expression.
void cg_xb_rebase(struct cg_xb *x); // part of every call; idempotent
void cg_xb_call(struct cg_xb *x);
// Both: the pointwise kernel that stores step `root` to value `out` at coordinates `co`.
void cg_xb_store(struct cg_xb *x, int root, ir_vid out, const struct cg_coord *co);

// Nodes from `first` on, without those that are inline, whose results one kernel can store in one pass: pointwise, of
// one type, all outputs. Fills `list` with `first` and what goes with it; returns their number.
int cg_with_it(const struct ir_graph *g, ir_nid first, ir_nid list[CG_MAX_ROOTS]);
void cg_lower_together(struct cg_lower *L, const ir_nid *list, int n);

extern const cg_lower_hook cg_lower_table[IR_OP_COUNT]; // never NULL but for EXPAND ops
extern const cg_ws_hook cg_ws_table[IR_OP_COUNT];       // NULL: no workspace
#endif
