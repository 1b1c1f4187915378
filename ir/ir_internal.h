// What the passes of ir/ share beyond ir.h: attribute schemas, small facts and the rewriter. Internal to ir/.
#ifndef SMKD_IR_INTERNAL_H
#define SMKD_IR_INTERNAL_H

#include "eval.h"
#include "ir.h"

// --- attribute schemas (attr.c) --------------------------------------------------------------------------------------

#define IR_MAX_ATTRS 8
struct ir_attr_field {
    const char *name;
    enum ir_attr_kind kind;
    bool required;        // of kind i, f or s without a default; INTS are never required: absent means empty
    struct ir_attr deflt; // valid when !required
};
// Fields of an op's schema, in schema order; static storage.
const struct ir_attr_field *ir_schema(enum ir_op op, size_t *n);
// Checks attrs against the schema of n->op, reports to g->diag what is wrong, and stores in *n a canonical copy: schema
// order, values equal to the default left out. Equal nodes thus have equal attribute lists.
bool ir_attrs_set(struct ir_graph *g, struct ir_node *n, const struct ir_attr *attrs, size_t n_attrs);
bool ir_attr_equal(const struct ir_attr *a, const struct ir_attr *b);

// --- facts about a graph (build.c) -----------------------------------------------------------------------------------

// Is v the result of a node, and of this op?
bool ir_defined_by(const struct ir_graph *g, ir_vid v, enum ir_op op);
// Whether an operand, or the result, may be narrow (pass_bf16.c).
bool ir_reads_narrow(const struct ir_node *n, int operand);
bool ir_writes_narrow(const struct ir_node *n);
size_t ir_type_bytes(const struct ir_type *t); // ir_numel * its element's size in memory: per sample when batched

// --- the rewriter (rewrite.c) ----------------------------------------------------------------------------------------
//
// Nodes must stay in topological order while a pass removes, replaces and inserts some, so a pass makes the list anew:
//
//     struct ir_rewriter rw;
//     ir_rw_begin(&rw, g);            // g's node list is now empty; the old one is rw.old[0 .. rw.n_old)
//     for (size_t i = 0; i < rw.n_old; i++) {
//         ... emit new nodes through ir_emit and friends: they land before node i, with its location and phase ...
//         ... ir_rw_replace(&rw, rw.old[i].out[0], v) and no copy: node i is gone, its users read v ...
//         ir_rw_copy_node(&rw, i);    // or: keep it, operands mapped
//     }
//     ir_rw_end(&rw);                 // outputs are mapped, definitions are set again
//
// A kept node keeps its result ids with their types, perms and names, so arrays indexed by vid stay valid (new values
// come after). Results of nodes that are gone stay in g->values with def == IR_NONE; pass dce squeezes them out.
// rw.old[i].in are the ids before mapping: look through ir_rw_map before using them as operands.
struct ir_rewriter {
    struct ir_graph *g;
    struct ir_node *old;
    size_t n_old;
    ir_vid *map;  // old vid -> replacement, IR_NONE = itself
    size_t n_map; // values that existed at ir_rw_begin
    struct diag_loc saved_loc;
    enum ir_phase saved_phase;
};
void ir_rw_begin(struct ir_rewriter *rw, struct ir_graph *g);
// What now stands for value v (v itself unless replaced; IR_NONE stays). Follows chains of replacements.
ir_vid ir_rw_map(const struct ir_rewriter *rw, ir_vid v);
// Nodes emitted from now on get node i's location and phase. ir_rw_copy_node(i) does it for the nodes that follow it,
// too.
void ir_rw_at(struct ir_rewriter *rw, size_t i);
// Appends old node i with mapped operands; its results keep their ids. Returns its new id.
ir_nid ir_rw_copy_node(struct ir_rewriter *rw, size_t i);
// Users of `old` further on, and outputs, read `by` instead. `by` takes over the name when it has none.
void ir_rw_replace(struct ir_rewriter *rw, ir_vid old, ir_vid by);
// Marks node `n` of the NEW list as gone (op IR_OP_NONE); ir_rw_end closes the gap. For hooks that want a node id.
void ir_rw_drop(struct ir_rewriter *rw, ir_nid n);
void ir_rw_end(struct ir_rewriter *rw);

// --- sums of gradients (sums.c) --------------------------------------------------------------------------------------

// Whether v is of a form of which several are one when they are added.
bool ir_may_join(const struct ir_graph *g, ir_vid v);
// The sum of n >= 1 values of one type: in their order, but for those that are joined.
ir_vid ir_sum_of_parts(struct ir_graph *g, const ir_vid *v, size_t n);

// --- text (print.c, parse.c) -----------------------------------------------------------------------------------------

extern const char *const ir_role_names[]; // by enum ir_role, from IR_ROLE_INPUT on
extern const char *const ir_out_names[];  // by enum ir_out_kind
// Key of a constant in the text form when it is too large to print: FNV over its type and bytes.
uint64_t ir_const_hash(const struct ir_type *t, const void *data);
#define IR_INLINE_CONST_MAX 64
// ir_parse for text with constants by hash: their data is taken from the constants of `data` (borrowed). May be NULL.
struct ir_graph *ir_parse_with(struct arena *a, struct diag *d, const char *text, const struct ir_graph *data);

// --- evaluation (eval.c) ---------------------------------------------------------------------------------------------

// Writes a tensor's elements in its own dtype, row-major and rounded, to dst (numel * element size bytes).
void ir_tensor_store(const struct ir_tensor *t, void *dst);

// --- passes (pass_*.c, listed in passes.def) -------------------------------------------------------------------------

#define PASS(name, run, expects, ensures, why)                                                                         \
    enum smkd_status run(struct ir_graph *g, const struct ir_pass_options *o);
#include "passes.def"
#undef PASS

#endif
