// The graph IR: what every room but the runtime speaks.
//
// A graph is a list of nodes in topological order over values in SSA form. Ids are indices, so they survive growth and
// compare cheaply. Everything lives in the graph's arena. Values have a dtype and *logical* dimensions in ONNX order
// (activations are N,C,H,W); how a value lies in memory is its `perm`, chosen late by the layout pass and invisible to
// everything before. Invariants (checked by ir_verify):
//   - a node's operands are defined before it; every value has exactly one definition (a node or the boundary);
//   - types are what the op's `infer` hook says; attributes are those of the op's schema;
//   - boundary values are row-major, and no two of a role have one name;
//   - what is narrow is an f32 node result in memory, no output, and read only by what can (pass bf16);
//   - nodes of phase IR_FORWARD come before nodes of phase IR_BACKWARD, and never use their results;
//   - after pass `expand`, no op of kind EXPAND remains; after pass `fuse`, only pointwise and view nodes are inline.
#ifndef SMKD_IR_H
#define SMKD_IR_H

#include "../base/base.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define IR_MAX_RANK 8
#define IR_NONE     UINT32_MAX

typedef uint32_t ir_vid; // index into graph->values
typedef uint32_t ir_nid; // index into graph->nodes

// Element types. What is known about one stands in one table (type.c): nothing else lists integer types, and nothing
// else decides which are signed. BOOL is one byte, 0 or 1.
enum ir_dtype { IR_F32, IR_I64, IR_I32, IR_U8, IR_BOOL, IR_F64, IR_I8, IR_I16, IR_U16, IR_U32, IR_U64, IR_DTYPE_COUNT };
size_t ir_dtype_size(enum ir_dtype t);
const char *ir_dtype_name(enum ir_dtype t); // "f32" "i64" "i32" "u8" "bool" "f64" "i8" "i16" "u16" "u32" "u64"
bool ir_dtype_by_name(const char *s, enum ir_dtype *out);
bool ir_is_float(enum ir_dtype t);
bool ir_is_int(enum ir_dtype t);    // bool is none
bool ir_is_signed(enum ir_dtype t); // integers below 0 exist; bool and floats are not
// Integers (and bools) outside of memory are int64_t; one of u64 has the same bits, so that it is compared, divided and
// converted by the three functions below.
int64_t ir_wrap_int(enum ir_dtype t, int64_t v); // modulo 2^bits, as two's complement has it; bool: != 0
int64_t ir_int_min(enum ir_dtype t);             // the type's least and largest value
int64_t ir_int_max(enum ir_dtype t);
int ir_int_compare(enum ir_dtype t, int64_t a, int64_t b);            // -1, 0, 1
double ir_int_to_float(enum ir_dtype t, int64_t v, enum ir_dtype to); // rounded once, to f32 or f64
int64_t ir_int_of_float(enum ir_dtype t, double x);                   // toward zero, saturating, NaN is 0; bool: x != 0
int64_t ir_int_div(enum ir_dtype t, int64_t a, int64_t b);            // toward zero; by 0: 0
int64_t ir_int_rem(enum ir_dtype t, int64_t a, int64_t b);            // a - div(a, b) * b; by 0: 0
int64_t ir_int_pow(enum ir_dtype t, int64_t a, int64_t b);            // wraps; 1/a^-b toward zero below 0
// Element i of an array of type t, integers and bools as above; the other functions are for f32 and f64.
int64_t ir_get_int(enum ir_dtype t, const void *data, size_t i);
double ir_get_float(enum ir_dtype t, const void *data, size_t i);
void ir_put_int(enum ir_dtype t, void *data, size_t i, int64_t v);
void ir_put_float(enum ir_dtype t, void *data, size_t i, double v);
// The formats of 16 bits that a file may ask values to be rounded to; memory holds such values as f32 (op round_to).
enum ir_half { IR_HALF_NONE, IR_HALF_F16, IR_HALF_BF16 };
enum ir_half ir_half_by_name(const char *s);    // "f16" "bf16"
double ir_round_half(enum ir_half h, double x); // to nearest even, past the largest to infinity
// What that is made of: digits of the significand, the least exponent, the largest value.
struct ir_half_info {
    const char *name;
    int digits, least_exp;
    double largest;
};
const struct ir_half_info *ir_half_info(enum ir_half h);

// A dimension: d > 0 is d; d < 0 is -d times the symbolic batch N, so IR_N == -1 is N itself. 0 is an empty tensor and
// never reaches codegen. Only dims[0] may be symbolic after import.
#define IR_N INT64_C(-1)

struct ir_type {
    enum ir_dtype dtype;
    uint8_t rank; // 0 is a scalar
    // perm[i] = logical dim stored at physical position i, slowest first. Identity = row-major
    uint8_t perm[IR_MAX_RANK];
    bool narrow; // f32 that memory holds as bfloat16, rounded to nearest even; late and invisible, as `perm` is
    int64_t dims[IR_MAX_RANK]; // logical dimensions
};

struct ir_type ir_type_make(enum ir_dtype t, int rank, const int64_t *dims); // row-major
struct ir_type ir_scalar_type(enum ir_dtype t);
bool ir_type_equal(const struct ir_type *a, const struct ir_type *b); // dtype, dims, perm and narrow
size_t ir_stored_size(const struct ir_type *t);                       // bytes of an element in memory
bool ir_same_dims(const struct ir_type *a, const struct ir_type *b);
bool ir_is_row_major(const struct ir_type *t);
bool ir_is_batched(const struct ir_type *t); // has a symbolic dimension
// Elements: the product of |dims| (per sample when batched: multiply by N). Overflow-checked at inference time.
int64_t ir_numel(const struct ir_type *t);
// Strides in elements of each logical dim, given perm; the symbolic dim 0 must be physically outermost.
void ir_strides(const struct ir_type *t, int64_t strides[IR_MAX_RANK]);
// A dim as text: "N", "4N", "7". `buf` of at least 24 bytes.
const char *ir_dim_text(int64_t d, char *buf);
void ir_print_type(const struct ir_type *t, struct str *out); // "f32[N,8]", with {perm} when not row-major

// What a boundary value is. Node results have IR_ROLE_NODE.
enum ir_role {
    IR_ROLE_NODE,
    IR_ROLE_CONST,  // data known at compile time (value.data)
    IR_ROLE_INPUT,  // a model input; `name` is its ONNX name
    IR_ROLE_PARAM,  // trainable; `name` is its ONNX name
    IR_ROLE_BUFFER, // persistent, not trained: BatchNorm's running statistics
    // f32[] or i64[] supplied at run time: learning rate, progress, seed ...; `name` is its public name
    IR_ROLE_SCALAR,
    IR_ROLE_COTANGENT, // gradient of the output `name`, supplied at run time
};

struct ir_value {
    struct ir_type type;
    enum ir_role role;
    ir_nid def;        // defining node, IR_NONE for boundary values
    uint8_t def_index; // which of its results
    const char *name;  // ONNX value name or public name; NULL for made-up values
    const void *data;  // CONST: elements row-major; PARAM/BUFFER: initial value (may be NULL in tests)
};

enum ir_op {
    IR_OP_NONE,
#define OP(id, ...) IR_OP_##id,
#include "ops.def"
#undef OP
    IR_OP_COUNT
};

// Attributes, checked against the op's schema.
enum ir_attr_kind { IR_ATTR_INT, IR_ATTR_FLOAT, IR_ATTR_INTS, IR_ATTR_STR };
struct ir_attr {
    const char *name;
    enum ir_attr_kind kind;
    int64_t i;
    double f;
    const int64_t *ints; // n elements
    size_t n;
    const char *s;
};
#define IR_I(nm, v)       ((struct ir_attr){.name = (nm), .kind = IR_ATTR_INT, .i = (v)})
#define IR_F(nm, v)       ((struct ir_attr){.name = (nm), .kind = IR_ATTR_FLOAT, .f = (v)})
#define IR_IS(nm, p, cnt) ((struct ir_attr){.name = (nm), .kind = IR_ATTR_INTS, .ints = (p), .n = (size_t)(cnt)})
#define IR_S(nm, v)       ((struct ir_attr){.name = (nm), .kind = IR_ATTR_STR, .s = (v)})

enum ir_phase { IR_FORWARD, IR_BACKWARD };

struct ir_node {
    enum ir_op op;
    uint8_t phase;  // enum ir_phase
    bool is_inline; // fused: never materialised, recomputed inside each consumer
    uint8_t n_in, n_out;
    uint16_t n_attrs;
    ir_vid *in; // IR_NONE marks an optional operand that is absent
    ir_vid *out;
    struct ir_attr *attrs; // only those that differ from nothing: defaults come from the schema
    struct diag_loc loc;
};

enum ir_out_kind {
    IR_OUT_OUTPUT,     // a model output under its ONNX name
    IR_OUT_GRAD_PARAM, // gradient of the parameter `name`
    IR_OUT_GRAD_INPUT, // gradient of the input `name`
    IR_OUT_BUFFER,     // new value of the buffer `name`
};
struct ir_output {
    ir_vid value;
    enum ir_out_kind kind;
    const char *name;
};

struct ir_graph {
    struct arena *arena;
    struct diag *diag;
    const char *name;
    struct ir_value *values;
    size_t n_values, cap_values;
    struct ir_node *nodes; // topological order
    size_t n_nodes, cap_nodes;
    struct ir_output *outputs;
    size_t n_outputs, cap_outputs;
    ir_vid *boundary; // INPUT, PARAM, BUFFER, SCALAR, COTANGENT values in declaration order
    size_t n_boundary, cap_boundary;
    // Stamped on nodes as they are made.
    struct diag_loc cur_loc;
    enum ir_phase cur_phase;
};

struct ir_graph *ir_graph_new(struct arena *a, struct diag *d, const char *name);
struct ir_graph *ir_graph_clone(struct arena *a, const struct ir_graph *g); // shares constant data, copies the rest

// --- the op table ------------------------------------------------------------------------------------------------

// PW: one output element from the same-index element of each (broadcast) operand. VIEW: the same elements at other
// indices, never computed. RED: reduction of a pointwise expression. KERNEL: its own code. EXPAND: replaced by other
// ops.
enum ir_op_kind { IR_KIND_PW, IR_KIND_VIEW, IR_KIND_RED, IR_KIND_KERNEL, IR_KIND_EXPAND };

struct ir_tensor; // eval.h
enum ir_expand_mode { IR_INFER, IR_TRAIN };

struct ir_op_info {
    const char *name; // mnemonic in the text form
    enum ir_op_kind kind;
    uint8_t in_min, in_max, n_out;
    // "axis:i=-1 perm:I eps:f=1e-5 rule:s=mylc"; i int, f float, I ints, s string; no '=' = required
    const char *schema;
    // Fills out[0..n_out) from the operand types; false after reporting to g->diag. `n` has op, in, attrs, loc set.
    bool (*infer)(struct ir_graph *g, const struct ir_node *n, struct ir_type *out);
    // Appends nodes that compute d(loss)/d(in[i]) into din[i] for each operand with want[i]; dout[j] is IR_NONE where
    // no gradient reaches result j. Leave din[i] = IR_NONE for "zero". NULL: the op has no gradient (integer, boolean
    // results).
    void (*vjp)(struct ir_graph *g, ir_nid n, const ir_vid *dout, const bool *want, ir_vid *din);
    // Appends the nodes an EXPAND op stands for; out[j] receives the replacement of result j.
    void (*expand)(struct ir_graph *g, ir_nid n, enum ir_expand_mode mode, ir_vid *out);
    // Naive float64 reference on row-major tensors; out[] are allocated with their types. Never NULL.
    void (*eval)(const struct ir_graph *g, const struct ir_node *n, const struct ir_tensor *const *in,
                 struct ir_tensor *const *out);
    const char *doc; // one line of semantics: ONNX op and version, or paper equation
};
extern const struct ir_op_info ir_ops[IR_OP_COUNT];
enum ir_op ir_op_by_name(const char *name); // IR_OP_NONE when there is none

// --- building -----------------------------------------------------------------------------------------------------

ir_vid ir_boundary(struct ir_graph *g, enum ir_role role, struct ir_type t, const char *name, const void *data);
ir_vid ir_const(struct ir_graph *g, struct ir_type t, const void *data); // copies the data
ir_vid ir_const_f(struct ir_graph *g, double v);                         // f32[]
ir_vid ir_const_i(struct ir_graph *g, int64_t v);                        // i64[]
void ir_set_output(struct ir_graph *g, enum ir_out_kind kind, const char *name, ir_vid v);

// Appends a node with g->cur_loc and g->cur_phase, infers its result types and returns its id, or IR_NONE after a
// report to g->diag. Copies `in` and `attrs`. Trailing IR_NONE operands are dropped.
ir_nid ir_node_new(struct ir_graph *g, enum ir_op op, const ir_vid *in, size_t n_in, const struct ir_attr *attrs,
                   size_t n_attrs);
// The same, returning result 0. A failure here is our bug when the operands were made by us: it aborts.
ir_vid ir_emit(struct ir_graph *g, enum ir_op op, const ir_vid *in, size_t n_in, const struct ir_attr *attrs,
               size_t n_attrs);
#define IR_ATTRS(...) (struct ir_attr[]){__VA_ARGS__}, sizeof((struct ir_attr[]){__VA_ARGS__}) / sizeof(struct ir_attr)
#define IR_NO_ATTRS   NULL, 0

// Attribute of a node, or the schema's default. Asking for a name that is not in the schema is a BUG.
int64_t ir_attr_i(const struct ir_node *n, const char *name);
double ir_attr_f(const struct ir_node *n, const char *name);
const char *ir_attr_s(const struct ir_node *n, const char *name);
const int64_t *ir_attr_ints(const struct ir_node *n, const char *name, size_t *count); // NULL and 0 when absent
// An axis among `rank` dimensions, from 0; in the attribute it may count from the end.
int ir_axis_of(const struct ir_node *n, const char *name, int rank);

static inline struct ir_type *ir_typeof(struct ir_graph *g, ir_vid v) { return &g->values[v].type; }

// One-line builders over ir_emit for graphs made by hand (losses, expansions, gradients). Operands broadcast as in
// ONNX.
ir_vid ir_unary(struct ir_graph *g, enum ir_op op, ir_vid x);            // neg exp log sqrt relu ...
ir_vid ir_binary(struct ir_graph *g, enum ir_op op, ir_vid a, ir_vid b); // add sub mul div max min pow eq lt ...
ir_vid ir_add(struct ir_graph *g, ir_vid a, ir_vid b);
ir_vid ir_sub(struct ir_graph *g, ir_vid a, ir_vid b);
ir_vid ir_mul(struct ir_graph *g, ir_vid a, ir_vid b);
ir_vid ir_div(struct ir_graph *g, ir_vid a, ir_vid b);
ir_vid ir_fma(struct ir_graph *g, ir_vid a, ir_vid b, ir_vid c); // a * b + c, rounded once
ir_vid ir_where(struct ir_graph *g, ir_vid c, ir_vid a, ir_vid b);
ir_vid ir_cast(struct ir_graph *g, ir_vid x, enum ir_dtype t);
ir_vid ir_stop_gradient(struct ir_graph *g, ir_vid x);
// Reductions over `axes` (negative axes count from the end); keepdims 0 or 1.
ir_vid ir_reduce(struct ir_graph *g, enum ir_op op, ir_vid x, const int64_t *axes, size_t n, int keepdims);
// Dims as in ir_type (negative = times N)
ir_vid ir_reshape(struct ir_graph *g, ir_vid x, int rank, const int64_t *dims);
ir_vid ir_transpose(struct ir_graph *g, ir_vid x, int rank, const int64_t *perm);
ir_vid ir_expand_to(struct ir_graph *g, ir_vid x, int rank, const int64_t *dims);
// Sums `x` down to the type `like` (undoes broadcasting); a no-op when dims agree.
ir_vid ir_sum_to(struct ir_graph *g, ir_vid x, const struct ir_type *like);
ir_vid ir_matmul(struct ir_graph *g, ir_vid a, ir_vid b, int trans_a, int trans_b);
// The number of batch rows as f32[] (run-time N): reduce_sum of ones would do, this is direct.
ir_vid ir_batch_size(struct ir_graph *g);

// --- text ---------------------------------------------------------------------------------------------------------

// The text form (ir/IR.md). Parsing what was printed gives an equal graph. Constants print in full when they have at
// most 64 elements, else as a content hash (such a graph parses only together with its constants: see ir/IR.md).
void ir_print(const struct ir_graph *g, struct str *out);
// Parses one `graph @name(...) { ... }`. NULL after reporting (with line and column) to d.
struct ir_graph *ir_parse(struct arena *a, struct diag *d, const char *text);

// --- checks and passes ----------------------------------------------------------------------------------------------

// All invariants of the head of this file; reports every violation; true when there is none.
bool ir_verify(const struct ir_graph *g, struct diag *d);

struct ir_pass_options {
    enum ir_expand_mode mode;
    bool verify;            // ir_verify after every pass; a violation is a BUG naming the pass
    const char *dump_after; // pass name or "all"; prints to `dump`
    const char *stop_after; // pass name
    FILE *dump;
    bool time; // prints each pass's seconds to `dump`
};
// Runs `names` (comma separated, from passes.def) in order. SMKD_INVALID when a pass reported an error.
enum smkd_status ir_run_passes(struct ir_graph *g, const char *names, const struct ir_pass_options *o);
struct ir_pass {
    const char *name;
    enum smkd_status (*run)(struct ir_graph *g, const struct ir_pass_options *o);
    const char *expects, *ensures, *why;
};
extern const struct ir_pass ir_passes[];
extern const size_t ir_n_passes;

// Reverse-mode differentiation, graph to graph. For each IR_OUT_OUTPUT of f32 whose name is in `of` (all when of is
// NULL) adds a COTANGENT boundary value of its type, then backward nodes, then IR_OUT_GRAD_PARAM outputs for every
// PARAM and IR_OUT_GRAD_INPUT for every f32 INPUT when `inputs`. A parameter no gradient reaches gets a zero
// constant-filled gradient. Reports, in one run, every node on a gradient path whose op has no gradient. Expects pass
// `expand` to have run.
enum smkd_status ir_differentiate(struct ir_graph *g, const char *const *of, size_t n_of, bool inputs);
// Warns of every node at which the gradient of some parameter ends: its result is an integer (argmax) or has slope 0
// (floor), and nothing else leads from the parameter to a float output. Returns how many parameters are left without a
// gradient. `whole` is false for what was built of a graph before an error: then what nothing reads counts as output.
size_t ir_report_untrained(struct ir_graph *g, bool whole);
// What a classifier can be trained by (heads.c), found before pass expand.
struct ir_head {
    const char *output; // of the model, or a value of it that somebody named
    ir_vid value;       // f32 [N,classes], maybe with further axes of 1: what losses are to look at
    const char *op;     // what makes `output` of it, "Softmax", "LogSoftmax" or "Sigmoid", at `loc`; NULL: they are one
    struct diag_loc loc;
    bool written; // that operator is written out, and its gradient NaN where probabilities underflow
    // Of ir_head_attach: the output [N,classes] of the graph that `value` is, and whether it is a new one.
    const char *logits;
    bool added;
};
// One for each output that is such floats, or was before its Softmax; outputs of one `value` are one. In `a`.
size_t ir_heads(const struct ir_graph *g, struct arena *a, struct ir_head **heads);
// The one of the output, else of the value `name`. False where there is none or it has another shape.
bool ir_head_named(const struct ir_graph *g, const char *name, struct ir_head *h);
// Makes it an output unless it is one.
void ir_head_attach(struct ir_graph *g, struct ir_head *h);

// The first node at which the samples of a batch meet on the way to an output: results then depend on what else is in
// the batch. IR_NONE: every row of every output depends on its own sample alone. Expects pass expand, in mode IR_INFER
// unless BatchNorm shall count.
ir_nid ir_first_mixing(const struct ir_graph *g);

// The gradient of a scalar/row loss: differentiates sum over `seeds[i].loss` (f32 of any shape, cotangent 1) with
// respect to `seeds[i].wrt` separately for each i, in forward graph values; d[i] receives the gradient value.
struct ir_grad_seed {
    ir_vid loss, wrt;
};
enum smkd_status ir_gradients(struct ir_graph *g, const struct ir_grad_seed *seeds, size_t n, ir_vid *d);

// Bytes moved and floating-point operations of a node per sample (fixed part for unbatched values), for `inspect`.
void ir_cost(const struct ir_graph *g, const struct ir_node *n, double *flops, double *bytes);
// Whether the node takes batch statistics of one element a sample (BatchNorm of [N,C]): a batch of one has no variance.
bool ir_is_single_statistic(const struct ir_graph *g, const struct ir_node *n);
// Whether a PARAM value is the scale or shift of a normalisation (batch, layer, group, instance, root mean square; as
// one op or written out), by vid. Expects pass expand.
void ir_norm_parameters(const struct ir_graph *g, bool *norm);
// What running nodes in one pass takes (most often one) with everything inline that they compute on the fly (after pass
// `fuse`): operations, and
// bytes of the values in memory that it reads and writes, each once; the part that does not depend on the batch, and a
// sample's.
struct ir_work {
    double flops, sample_flops, bytes, sample_bytes;
};
struct ir_work ir_fused_cost(const struct ir_graph *g, const ir_nid *nodes, int n);

// --- memory plan ----------------------------------------------------------------------------------------------------

enum ir_place {
    IR_PLACE_NONE,   // inline: has no memory
    IR_PLACE_SAMPLE, // arena, at N * offset bytes; size N * bytes
    IR_PLACE_FIXED,  // arena's fixed part, at offset bytes
    IR_PLACE_CONST,  // read-only data of the artifact
    IR_PLACE_INPUT,  // caller's pointer number `index`
    IR_PLACE_OUTPUT, // caller's pointer number `index`
    IR_PLACE_PARAM,  // parameter block at `offset` bytes (PARAM and BUFFER values, and new buffer values)
    IR_PLACE_GRAD,   // gradient block at `offset` bytes
    IR_PLACE_SCALAR, // run-time scalar number `index`
};
struct ir_slot {
    enum ir_place place;
    int64_t offset; // bytes; per-sample bytes for SAMPLE
    int64_t bytes;  // size (per sample for SAMPLE)
    uint32_t index;
    ir_nid born, dies; // SAMPLE and FIXED: the nodes that first write and last read it, both included
};
struct ir_plan {
    struct ir_slot *values; // by vid
    // By nid: scratch of the node's kernel shared by all threads; place SAMPLE or FIXED or NONE
    struct ir_slot *workspace;
    int64_t sample_bytes; // arena bytes per sample (multiple of 64)
    int64_t fixed_bytes;  // arena bytes of the fixed part (multiple of 64)
    // What no plan of these lives can go below: the bytes that live at the node where most do.
    int64_t sample_bound, fixed_bound;
};
struct ir_plan_options {
    // Bytes of shared scratch node n's kernel wants while it runs: fixed and per-sample. NULL = none.
    void (*workspace)(void *env, const struct ir_graph *g, ir_nid n, int64_t *fixed, int64_t *per_sample);
    // Whether node n's scratch is nobody else's at any time, so that it outlives the run. NULL: none's is.
    bool (*workspace_stays)(void *env, const struct ir_graph *g, ir_nid n);
    void *env;
    // Gives the place of each boundary value and of each output; the plan never moves those.
    struct ir_slot (*boundary)(void *env, const struct ir_graph *g, ir_vid v);
    struct ir_slot (*output)(void *env, const struct ir_graph *g, size_t output_index);
};
// Lays every materialised value out in one arena by liveness over the whole node list: values alive at the same time
// never overlap; a reshape shares its operand's memory; a pointwise node may overwrite an operand that dies with it.
struct ir_plan *ir_plan_make(const struct ir_graph *g, const struct ir_plan_options *o);
// Whether, at any batch, no value or workspace is written over what is still to be read; if not, says in `out` what is.
// Finds every life out anew, so that it can be wrong only where ir_plan_make is right.
bool ir_plan_check(const struct ir_graph *g, const struct ir_plan_options *o, const struct ir_plan *p, struct str *out);
// A line for each node's results and workspace: node index, value, place, offset, +bytes, [born-dies], op, ONNX node.
// The head says the arena's size and its lower bound.
void ir_plan_print(const struct ir_graph *g, const struct ir_plan *p, struct str *out);

#endif
