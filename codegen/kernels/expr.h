// Pointwise expressions over affine index spaces: what fused elementwise kernels and reductions compute.
//
// An expression is a DAG of steps in evaluation order; a leaf reads memory at base + offset + sum_l stride[l]*i_l for
// loop indices i. Broadcasting, transposition, slicing and reversal are only strides and offsets, so they cost nothing.
#ifndef SMKD_CG_EXPR_H
#define SMKD_CG_EXPR_H

#include "../cg.h"

#define CG_MAX_LOOPS  IR_MAX_RANK
#define CG_MAX_LEAVES 32
#define CG_MAX_STEPS  96
#define CG_MAX_ROOTS  4

enum cg_leaf_kind {
    CG_LEAF_MEM,    // element of pointer `ptr`
    CG_LEAF_SCALAR, // f64 behind pointer `ptr`, converted to dtype
    CG_LEAF_INDEX,  // the affine index itself, as i64: iota, element numbers
};
struct cg_leaf {
    enum cg_leaf_kind kind;
    int ptr;
    enum ir_dtype dtype;
    bool narrow;                  // f32, bfloat16 in memory
    int64_t offset;               // elements
    int64_t stride[CG_MAX_LOOPS]; // elements per loop index
};

struct cg_step {
    enum ir_op op; // IR_OP_NONE: leaf number `leaf`
    int leaf;
    uint8_t n_in;
    uint16_t in[5]; // earlier steps
    enum ir_dtype dtype;
    double fconst;  // fill's value, dropout's ratio
    int64_t iconst; // dropout's salt, fill's integer value
};

struct cg_loops {
    int n;
    int64_t extent[CG_MAX_LOOPS]; // slowest first
    bool batched;                 // extent[0] is times N
};

struct cg_expr {
    struct cg_loops loops;
    struct cg_leaf leaves[CG_MAX_LEAVES];
    int n_leaves;
    struct cg_step steps[CG_MAX_STEPS];
    int n_steps;
    int n_roots; // 1 or more; of reductions 1 or 2
    uint16_t root[CG_MAX_ROOTS];
    // Where root k goes (for reductions: strides 0 along reduced loops). An element of every leaf is read before the
    // results' elements of that index are written, so a result may lie where a leaf of the same strides does.
    struct cg_leaf out[CG_MAX_ROOTS];
    int n_ptr;
    uint32_t reduced; // bit l: loop l is reduced (reductions only)
};

// Merges neighbouring loops that every leaf walks as one, drops loops of extent 1. `keep` bit l: don't merge l with
// l+1.
void cg_expr_collapse(struct cg_expr *e);
void cg_expr_key(const struct cg_expr *e, struct str *key);

// Emission state of one expression in one kernel.
struct cg_ev {
    struct cg_fn *f;
    const struct cg_expr *e;
    LLVMValueRef i[CG_MAX_LOOPS];        // current loop indices
    LLVMValueRef hoisted[CG_MAX_LEAVES]; // loop-invariant leaves, loaded once (scalar), or NULL
    LLVMValueRef row[CG_MAX_LEAVES];     // address of (or value for index leaves) each leaf at inner index 0
    bool streams;                        // whole vectors are stored past the caches: they are aligned
};
// Loads what no loop changes. Call once, in a block that dominates all loops.
void cg_ev_begin(struct cg_ev *ev, struct cg_fn *f, const struct cg_expr *e);
// Fixes the outer indices ev->i[0..n-2]; computes row addresses. Call once a row.
void cg_ev_row(struct cg_ev *ev);
// Evaluates all roots at inner index `inner`, `lanes` wide, into out[0 .. n_roots); of these only the first `valid` are
// in range (others are whatever). Bool results are i1.
void cg_ev_eval(struct cg_ev *ev, LLVMValueRef inner, int lanes, int valid, LLVMValueRef *out);
// The same with values for the leaves, `lanes` wide.
void cg_ev_steps(struct cg_ev *ev, const LLVMValueRef *leaves, int lanes, LLVMValueRef *out);
// Number of lanes the expression's inner loop can be evaluated with: f->t->vl, or 1 where a leaf's inner stride is
// neither 0 nor 1 nor, for f32, one of the few whose elements are picked out of whole vectors.
int cg_expr_lanes(const struct cg_expr *e, const struct cg_target *t);
bool cg_expr_picks(const struct cg_expr *e); // some leaf has such a stride

// Vectors that lie end to end and hold the elements of n <= CG_MAX_APART streams in turns, and one vector for each
// stream: lane j of stream i is element j*n + i of all.
#define CG_MAX_APART 4
LLVMValueRef cg_apart(struct cg_fn *f, LLVMValueRef *x, int n, int stream);    // of the vectors x[0..n)
LLVMValueRef cg_in_turns(struct cg_fn *f, LLVMValueRef *x, int n, int vector); // of the streams x[0..n)
// Floats of the m-th of those vectors in use when the first `valid` lanes of each stream are.
int cg_in_use(int valid, int lanes, int n, int m);
void cg_ev_store(struct cg_ev *ev, const struct cg_leaf *out, LLVMValueRef row_addr, LLVMValueRef inner, LLVMValueRef v,
                 int valid);
LLVMValueRef cg_ev_out_row(struct cg_ev *ev, const struct cg_leaf *out); // address of out at inner index 0
int cg_leaf_size(const struct cg_leaf *l);                               // bytes of an element in memory
LLVMTypeRef cg_mem_type(struct cg_fn *f, enum ir_dtype t);               // bool: i8
LLVMTypeRef cg_value_type(struct cg_fn *f, enum ir_dtype t);             // bool: i1
// A comparison of integers of type t: `pred` is a signed one, t decides.
LLVMValueRef cg_icmp(struct cg_fn *f, enum ir_dtype t, LLVMIntPredicate pred, LLVMValueRef x, LLVMValueRef y);
LLVMValueRef cg_extent(struct cg_fn *f, const struct cg_loops *l, int i);

// Step emitters by op: cg_pw_<id>. `type` is the result's (vector) type.
struct cg_pw_args {
    struct cg_fn *f;
    const struct cg_step *s;
    const struct cg_step *const *in_steps;
    LLVMValueRef x[5];
    LLVMTypeRef type;
    int lanes;
};
typedef LLVMValueRef (*cg_pw_hook)(const struct cg_pw_args *a);
extern const cg_pw_hook cg_pw_table[IR_OP_COUNT]; // NULL for ops of other kinds

void cg_emit_pointwise(struct cg_fn *f, const void *expr); // kernel emitter, params: struct cg_expr

// Expressions that fill different columns of the same rows, as concatenated operands do: one pass writes whole rows.
#define CG_MAX_PARTS 8
struct cg_parts {
    int n;
    const struct cg_expr *part[CG_MAX_PARTS]; // pointers numbered through
};
bool cg_parts_share_rows(const struct cg_parts *p, const struct cg_target *t);
// Collapses the loops of parts that have the same ones alike, from the outside, down to rows of the innermost.
void cg_parts_collapse(struct cg_expr *const *part, int n);
// Do the parts' elements lie in turns along the innermost loop, which all walk alike in lanes?
bool cg_parts_take_turns(const struct cg_parts *p, const struct cg_target *t);
void cg_emit_in_turns(struct cg_fn *f, const void *parts); // kernel emitter, params: struct cg_parts that take turns
void cg_emit_parts(struct cg_fn *f, const void *parts);    // kernel emitter, params: struct cg_parts

// Reductions: root k summed (f64) or maxed (f32) over the reduced loops.
enum cg_finish {
    CG_FIN_SUM,
    CG_FIN_MAX,
    CG_FIN_BN_STATS
}; // BN_STATS: outputs mean, biased variance from (sum x, sum x*x)
struct cg_reduce {
    struct cg_expr e; // out[k]: where result k goes
    enum cg_finish fin;
    int64_t count; // BN_STATS: elements reduced (per sample when count_n)
    bool count_n;
    int ws_ptr; // two-stage: pointer number of the f64 workspace [groups][roots][cols]
};
#define CG_RED_GROUPS 32 // fixed: results must not depend on the thread count
// True when the loops are [reduced rows, batched][kept columns]: rows are then summed in CG_RED_GROUPS fixed groups.
bool cg_reduce_two_stage(const struct cg_reduce *r);
void cg_emit_reduce(struct cg_fn *f, const void *reduce);        // single stage
void cg_emit_reduce_groups(struct cg_fn *f, const void *reduce); // stage 1: partial sums
void cg_emit_reduce_finish(struct cg_fn *f, const void *reduce); // stage 2
#endif
