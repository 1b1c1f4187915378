// What the frontend's files share. Nothing outside frontend/ includes this; protobuf types stop here.
#ifndef SMKD_ONNX_INTERNAL_H
#define SMKD_ONNX_INTERNAL_H

#include "frontend.h"

#include "onnx/onnx.pb-c.h"

// --- the file (onnx_file.c) ----------------------------------------------------------------------------------------

enum { FE_FIRST_OPSET = 1, FE_LAST_OPSET = 28 };
struct fe_mapping {   // an external-data file, mapped once
    const char *rel;  // as the model names it
    const void *data; // NULL: refused, which has been reported
    size_t size;
};
// A node whose shape operand has the file's fixed batch size baked in, and the shape that holds for any batch.
struct fe_edit {
    const Onnx__NodeProto *node;
    int rank;
    int64_t dims[IR_MAX_RANK]; // one negative: written as -1 for Reshape, as the run-time batch for Expand
};
struct fe_model {
    Onnx__ModelProto *proto;
    const char *path, *real_path; // as given, and where the file really lies (NULL: unknown)
    struct fe_mapping *maps;
    size_t n_maps, cap_maps;
    struct arena *arena;
    // Left by fe_import for fe_skeleton.
    bool imported;
    const char **weights; // ONNX names of PARAM and BUFFER values
    size_t n_weights, cap_weights;
    struct fe_edit *edits;
    size_t n_edits, cap_edits, edits_done;
    struct fe_decision *decisions;
    size_t n_decisions;
    struct fe_meaning {  // of a float tensor, sorted by key
        const void *key; // the TensorProto of an initializer, the NodeProto of a Constant node
        bool trained;
        bool frozen; // a parameter that --freeze names: stored, exported and kept as one, without a gradient
        bool kept;   // the command line keeps it as it is: for a running statistic the norm is frozen
    } *meanings;
    size_t n_meanings;
    size_t n_norms, n_frozen; // BatchNormalization nodes
    struct fe_scope *scope;   // of the main graph, and what it became
    struct ir_graph *graph;
    struct fe_tap *taps;
    size_t n_taps, cap_taps;
    struct fe_form *forms;
    size_t n_forms, cap_forms;
};
// Decides what is trained and what is not, with its reports (parameters.c); the model may be raised to float32.
void fe_decide_parameters(struct fe_model *m, struct diag *d, const struct fe_options *o);
const struct fe_meaning *fe_meaning_of(const struct fe_model *m, const void *key); // NULL: not in the main graph
// Types of weights that are trained as float32: how many tensors and numbers of each (raise.c).
#define FE_N_RAISED 3
struct fe_raise {
    size_t tensors[FE_N_RAISED];
    int64_t numbers[FE_N_RAISED];
};
struct fe_blob;
void fe_raise_count(struct fe_raise *r, const struct fe_blob *weight);
void fe_raise(struct fe_model *m, struct diag *d, const struct fe_raise *r);
// Sets or removes a pair of a model's metadata_props.
void fe_set_metadata(Onnx__ModelProto *p, const char *key, const char *value);
void fe_drop_metadata(Onnx__ModelProto *p, const char *key);
// Taps (taps.c): those of the file's metadata; whether an output is one; a value of the graph as one; a model without
// any.
void fe_taps_read(struct fe_model *m);
bool fe_is_tap(const struct fe_model *m, const char *name);
void fe_new_tap(struct fe_model *m, const char *name);
void fe_drop_taps(Onnx__ModelProto *p);
// The value that `name` stands for: its own, or that of the only value a node of this name makes; NULL after a report
// about `option`. Whether the graph has a value of a name.
const char *fe_find_value(const Onnx__GraphProto *g, struct diag *d, const char *option, const char *name);
bool fe_has_value(const Onnx__GraphProto *g, const char *name);
// The linear layer that the logits come from; NULL: there is none, or more than one (new_head.c).
const Onnx__NodeProto *fe_last_layer(const struct fe_model *m, const char *logits);
// After fe_import: the type of a value that results are computed from, batch first; NULL: not known (import.c).
const struct ir_type *fe_type_of(const struct fe_model *m, const char *value);
void fe_edit_shape(struct fe_model *m, const Onnx__NodeProto *node, int rank, const int64_t *dims);
// Makes initializers of the float tables in Constant nodes (hoist.c).
void fe_hoist(struct fe_model *m);
Onnx__TensorProto *fe_constant_tensor(const Onnx__NodeProto *p); // of a Constant node's "value"; NULL for all others
// Gives uses of an initializer that the exporter merged because its elements are equal a copy each (unshare.c).
void fe_unshare(struct fe_model *m);
// Makes one row and an Expand of a weight that a fixed batch has repeated (unbake.c).
void fe_unbake(struct fe_model *m);
// Leaves samples where they are that a packed sequence sorts by length (unsort.c).
void fe_unsort(struct fe_model *m);
// The function of the file that a node calls; NULL: it is an operator (import.c).
const Onnx__FunctionProto *fe_find_function(const Onnx__ModelProto *m, const Onnx__NodeProto *p);
// Removes nodes and initializers that no output needs (prune.c).
void fe_prune(Onnx__GraphProto *g);
// A copy that protobuf-c frees with the message it is put into (skeleton.c).
char *fe_text(const char *s);
// The initializer of that name; NULL: there is none (skeleton.c).
Onnx__TensorProto *fe_initializer(const Onnx__GraphProto *g, const char *name);
// Edits of a graph (skeleton.c): an initializer i64[n], a node, a node put in front of the one at `at`, an output
// without a type, a type.
void fe_add_ints(Onnx__GraphProto *g, const char *name, const int64_t *v, size_t n);
Onnx__NodeProto *fe_new_node(const char *op, const char *out, size_t n_in, const char *const *in);
void fe_insert_node(Onnx__GraphProto *g, size_t at, Onnx__NodeProto *p);
void fe_add_output(Onnx__GraphProto *g, const char *name);
// Gives an input or output a dimension without a size, "N", where it has a number.
void fe_symbolic_axis(Onnx__ValueInfoProto *v, size_t axis);
// In the metadata of a skeleton whose inputs and outputs have symbolic batches, each where it is.
#define FE_FORMS_KEY "smkd.forms"
Onnx__TypeProto *fe_new_type(int32_t onnx_type, const struct ir_type *t);

// A tensor of the file whose size, dtype and place have been checked. Elements are in the file's dtype.
struct fe_blob {
    const Onnx__TensorProto *proto;
    const char *name;
    int32_t onnx_type;        // ONNX__TENSOR_PROTO__DATA_TYPE__*
    struct ir_type type;      // dtype as the IR holds it (16-bit floats as f32: fe_val.half)
    int64_t n;                // elements
    const unsigned char *raw; // little-endian elements, or NULL: they are in the proto's typed field
};
// Checks `t` and finds its data; false after reporting. External data is mapped (once per file) into m.
bool fe_blob_open(struct fe_model *m, struct diag *d, const struct diag_loc *loc, const Onnx__TensorProto *t,
                  struct fe_blob *out);
// All elements as the blob's IR dtype, row-major: a pointer into the file's memory where it has that form already,
// else a converted copy in `a`.
const void *fe_blob_data(const struct fe_blob *b, struct arena *a);
double fe_blob_float(const struct fe_blob *b, int64_t i); // element i of floats
// A diagnostics sink for what is tried: the import reports what does not work.
void fe_quiet(void *env, enum diag_severity sev, const char *line);
// Messages are made by an allocator that never returns NULL, so that a lack of memory is not taken for damage of the
// file; they are freed with NULL as allocator, or this one.
extern ProtobufCAllocator fe_allocator;
// Parses and checks everything but weights' meaning. NULL after reporting.
Onnx__ModelProto *fe_unpack(struct diag *d, const void *data, size_t size);
// Whether the bytes can be unpacked as a model: nesting, memory and texts are bounded. False after reporting (wire.c).
#define FE_DEFAULTS_TAG 11 // of a FunctionProto (functions.c)
bool fe_wire_ok(struct diag *d, const void *data, size_t size);
int64_t fe_model_opset(const Onnx__ModelProto *m); // of the default domain; 0 when it is not imported

size_t fe_onnx_dtype_size(int32_t t);              // 0 for strings, complex and unknown types
const char *fe_onnx_dtype_name(int32_t t);         // "FLOAT16"
int32_t fe_onnx_dtype_named(const char *name);     // the type of that name; 0: there is none
bool fe_onnx_to_ir(int32_t t, enum ir_dtype *out); // false when there is no counterpart; 16-bit floats are f32
enum ir_half fe_half(int32_t t); // FLOAT16 and BFLOAT16: results are rounded to them (import_floats.c)

// --- values known at import (symbolic.c) ----------------------------------------------------------------------------

// One element: integers are a*N + b, floats fa*N + f, with N the symbolic batch.
struct fe_num {
    int64_t a, b;
    double fa, f;
};
struct fe_sym {
    struct ir_type type; // dims all concrete
    size_t n;
    struct fe_num *v; // row-major
};
#define FE_SYM_MAX ((int64_t)1 << 18) // larger constants stay IR constants

struct fe_sym *fe_sym_new(struct arena *a, enum ir_dtype t, int rank,
                          const int64_t *dims);                          // zeros; NULL when too large
struct fe_sym *fe_sym_ints(struct arena *a, const int64_t *v, size_t n); // i64[n]
struct fe_sym *fe_sym_scalar_f(struct arena *a, double v);
struct fe_sym *fe_sym_of_dims(struct arena *a, const int64_t *dims, int n); // IR dims (negative = times N)
bool fe_sym_is_const(const struct fe_sym *s);                               // no element depends on N
bool fe_num_dim(const struct fe_num *v, int64_t *dim); // as an IR dim: a*N or b; false for anything else
// A strided view: element (i0..) is s->v[offset + sum i*strides].
struct fe_sym *fe_sym_view(struct arena *a, const struct fe_sym *s, int rank, const int64_t *dims,
                           const int64_t *strides, int64_t offset);
// NULL when the result cannot be written as a*N + b (the IR then computes it at run time).
struct fe_sym *fe_sym_unary(struct arena *a, enum ir_op op, const struct fe_sym *x);
struct fe_sym *fe_sym_binary(struct arena *a, enum ir_op op, const struct fe_sym *x, const struct fe_sym *y);
struct fe_sym *fe_sym_where(struct arena *a, const struct fe_sym *c, const struct fe_sym *x, const struct fe_sym *y);
struct fe_sym *fe_sym_cast(struct arena *a, const struct fe_sym *x, enum ir_dtype t);
struct fe_sym *fe_sym_round(struct arena *a, const struct fe_sym *x, enum ir_half h);

// --- import (import.c) ----------------------------------------------------------------------------------------------

// What an ONNX value name stands for. At least one of vid, sym, blob and items is set unless `unknown`.
struct fe_val {
    const char *name;
    bool unknown;       // made by a node that could not be imported: users of it stay silent
    bool is_init;       // a named initializer (not a Constant node)
    bool is_param;      // its blob is trained, or would be but for --freeze (parameters.c)
    bool is_frozen;     // of these the latter
    bool is_kept;       // a statistic that is not updated
    ir_vid vid;         // IR value; IR_NONE until asked for
    struct fe_sym *sym; // elements known at import
    struct fe_blob *blob;
    bool is_buffer;
    ir_vid buffer_now;                                   // BatchNorm statistics: their newest value
    enum ir_half half;                                   // its elements are float16's or bfloat16's, held as f32
    enum fe_random { FE_NOT_RANDOM, FE_UNIFORM } random; // a dropout mask in the making (import_random.c)
    struct ir_type random_type;
    double random_shift; // a number that was added
    ir_vid random_seed;
    struct fe_sym *rows; // sample numbers: [n, ..] is n * row_step + rows[0, ..] (import_rows.c)
    int64_t row_step;
    struct fe_val *image;  // of a quantised tensor: the same numbers as floats, with a gradient (import_quantize.c)
    struct fe_val **items; // a sequence
    size_t n_items;
    bool is_seq;
    // The batch is not the first axis of the ONNX value, or is merged with another, which the IR cannot say: vid is
    // batch-first, and `frame` says how the ONNX value reads it (import_moved.c).
    bool is_moved;
    struct fe_frame {
        int rank, at;          // of the ONNX value; its axis of the batch, which is before * N * after elements
        int64_t before, after; // vid is [N, axes before `at`, before, after, axes after it], without those two where 1
    } frame;
};

struct fe_scope;
struct fe_ctx {
    struct fe_model *m;
    struct arena *a;
    struct diag *d;
    struct ir_graph *g;
    int64_t baked; // the batch size the file has fixed; 0 when it is symbolic there
    int opset;
    size_t n_nodes;   // counts nodes for made-up names
    int depth;        // of nested functions and subgraphs
    int64_t dropouts; // salt of the next Dropout
    ir_vid seed;      // the run-time scalar "seed"; IR_NONE until a Dropout wants it
    struct fe_val **buffers;
    size_t n_buffers, cap_buffers;
    struct {
        ir_vid v;
        const Onnx__NodeProto *node;
    } *expands; // results of Expand nodes to fixed shapes
    size_t n_expands, cap_expands;
    int64_t steps; // of recurrences and loops so far (fe_count_steps)
    bool saw_bn, saw_conv;
    bool freeze_norms;            // --freeze-bn
    bool training_norms;          // the file has BatchNormalization in training form: others are frozen (import_norm.c)
    size_t asked_norms;           // frozen by the command line
    size_t bare_convs;            // Conv followed by nothing we know to be a normalisation
    struct fe_declared *declared; // declared.c
};
struct fe_node {
    const Onnx__NodeProto *p;
    const char *op;
    int arg; // the table row's argument
    struct diag_loc loc;
    struct fe_scope *scope;
    size_t n_in, n_out;
    struct fe_val **in;  // NULL where absent
    struct fe_val **out; // filled by the import function; NULL = not made
    bool *wanted;        // by output: named and used
    // Operands that were moved are replaced by their vid, results are read in `frame`.
    bool moved;
    struct fe_frame frame;
};
typedef bool fe_import_fn(struct fe_ctx *c, struct fe_node *n);

#define IMPORT(type, since, fn, arg) fe_import_fn fe_op_##fn;
#include "import_ops.def"
#undef IMPORT

// A fixed batch beyond this is not a batch that a model was exported with, and products with it would overflow.
#define FE_MAX_BAKED (1 << 20)
// The largest batch that `smkdc compile --max-batch` takes: as the end of a slice it means all of any.
#define FE_BEYOND_BATCH (1 << 20)

bool fe_fail(struct fe_ctx *c, const struct fe_node *n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
const char *fe_dims_text(struct fe_ctx *c, const struct ir_type *t); // "[N,3,8]" for a message

// Attributes. Getters report a wrong attribute type once and return the default.
const Onnx__AttributeProto *fe_attr(const struct fe_node *n, const char *name);
int64_t fe_attr_i(struct fe_ctx *c, const struct fe_node *n, const char *name, int64_t def);
double fe_attr_f(struct fe_ctx *c, const struct fe_node *n, const char *name, double def);
const char *fe_attr_s(struct fe_ctx *c, const struct fe_node *n, const char *name, const char *def);
const int64_t *fe_attr_ints(const struct fe_node *n, const char *name, size_t *count); // NULL when absent

// Operands.
struct fe_val *fe_arg(const struct fe_node *n, size_t i); // NULL when absent
ir_vid fe_vid(struct fe_ctx *c, struct fe_val *v);        // materialised; IR_NONE for NULL
ir_vid fe_in(struct fe_ctx *c, const struct fe_node *n, size_t i);
const struct ir_type *fe_type(struct fe_ctx *c, const struct fe_val *v); // without materialising it
// Elements known at import, or NULL. Parameters count only when `force` (an operand that is an attribute in spirit).
const struct fe_sym *fe_known(struct fe_ctx *c, struct fe_val *v, bool force);
// The product of dims from .. to-1, 1 for none.
int64_t fe_dims_product(const int64_t *dims, int from, int to);
// For a message about what is not known: "the data", or the input that would have to be given.
const char *fe_source_text(struct fe_ctx *c, const struct fe_val *v);
// Integers of operand i, or of attribute `attr`; *out is NULL (*count -1) when neither is there. false after reporting.
bool fe_ints(struct fe_ctx *c, const struct fe_node *n, const char *attr, size_t i, const struct fe_sym **out);
bool fe_const_ints(struct fe_ctx *c, const struct fe_node *n, const char *attr, size_t i, int64_t *out, size_t max,
                   int *count);
bool fe_scalar(struct fe_ctx *c, const struct fe_node *n, size_t i, double def, double *out); // operand i as a number
// Normalised. An axis of a moved operand becomes that of its vid; `rank` is always that of the operand as it is read.
bool fe_axis(struct fe_ctx *c, const struct fe_node *n, int64_t axis, int rank, int *out);

// The type that a Cast makes, an attribute of several forms; no type's number where it is wrong (import_math.c).
int64_t fe_cast_type(struct fe_ctx *c, const struct fe_node *n);

// Results. Return false when v is IR_NONE or NULL.
bool fe_out(struct fe_ctx *c, struct fe_node *n, size_t i, ir_vid v);
bool fe_out_val(struct fe_node *n, size_t i, struct fe_val *v);
bool fe_out_sym(struct fe_ctx *c, struct fe_node *n, size_t i, struct fe_sym *s);
struct fe_val *fe_val_of(struct fe_ctx *c, ir_vid v); // NULL for IR_NONE
struct fe_val *fe_val_sym(struct fe_ctx *c, struct fe_sym *s);

// IR building that passes a reported failure (IR_NONE) on instead of aborting. A tensor without elements is never
// computed: it becomes a `fill` of its shape, and what an op makes of such an operand is known or refused.
ir_vid fe_emit(struct fe_ctx *c, enum ir_op op, const ir_vid *in, size_t n_in, const struct ir_attr *attrs,
               size_t n_attrs);
ir_vid fe_e1(struct fe_ctx *c, enum ir_op op, ir_vid x);
ir_vid fe_e2(struct fe_ctx *c, enum ir_op op, ir_vid x, ir_vid y);
ir_vid fe_where(struct fe_ctx *c, ir_vid cond, ir_vid x, ir_vid y);
ir_vid fe_f(struct fe_ctx *c, double v);                    // f32[] constant
ir_vid fe_num(struct fe_ctx *c, enum ir_dtype t, double v); // the same of any type
ir_vid fe_like(struct fe_ctx *c, ir_vid x, double v);       // of x's type; IR_NONE for IR_NONE
ir_vid fe_reshape(struct fe_ctx *c, ir_vid x, int rank, const int64_t *dims);
ir_vid fe_transpose(struct fe_ctx *c, ir_vid x, int rank, const int64_t *perm);
ir_vid fe_expand(struct fe_ctx *c, ir_vid x, int rank, const int64_t *dims);
ir_vid fe_matmul(struct fe_ctx *c, ir_vid a, ir_vid b, int trans_a, int trans_b);
// numpy's matmul; and a convolution with the attributes of node n, `by_taps`: as products of matrices (import_matmul.c,
// import_conv.c). IR_NONE after reporting.
ir_vid fe_product(struct fe_ctx *c, struct fe_node *n, ir_vid a, ir_vid b);
ir_vid fe_conv(struct fe_ctx *c, struct fe_node *n, ir_vid x, ir_vid w, bool by_taps);
ir_vid fe_reduce(struct fe_ctx *c, enum ir_op op, ir_vid x, const int64_t *axes, size_t n, int keepdims);
ir_vid fe_cast(struct fe_ctx *c, ir_vid x, enum ir_dtype t);
// Along `axis` (import_scatter.c); the index may have 1 for any other of x's dims.
ir_vid fe_gather_elements(struct fe_ctx *c, ir_vid x, ir_vid index, int axis);
ir_vid fe_scatter_elements(struct fe_ctx *c, ir_vid x, ir_vid index, ir_vid updates, int axis, const char *reduction);
ir_vid fe_root(struct fe_ctx *c, ir_vid x); // sqrt; where x is a sum of squares, flat at 0 as a norm is (import_math.c)
const struct ir_type *fe_typeof(struct fe_ctx *c, ir_vid v);
// Makes the leading dims of two operands agree where the file baked the batch into one of them (see import.c).
void fe_unify_batch(struct fe_ctx *c, ir_vid *v, size_t n);
// `v`, whose leading dim is the file's fixed batch, with the leading dim dim0; v itself where its rows differ.
ir_vid fe_rebatch(struct fe_ctx *c, ir_vid v, int64_t dim0);

bool fe_has_training_norms(const Onnx__ModelProto *m);

// The same moves on values, folded when the value is known at import (prim.c). NULL after reporting.
struct fe_val *fe_p_reshape(struct fe_ctx *c, struct fe_val *v, int rank, const int64_t *dims);
struct fe_val *fe_p_transpose(struct fe_ctx *c, struct fe_val *v, const int64_t *perm);
struct fe_val *fe_p_slice(struct fe_ctx *c, struct fe_val *v, const int64_t *starts, const int64_t *sizes,
                          const int64_t *steps);
// `size` elements along an axis, from `start` on, each `step`; the value itself where these are all. And of an IR
// value.
struct fe_val *fe_p_cut(struct fe_ctx *c, struct fe_val *v, int axis, int64_t start, int64_t size, int64_t step);
ir_vid fe_cut(struct fe_ctx *c, ir_vid x, int axis, int64_t start, int64_t size, int64_t step);
struct fe_val *fe_p_expand(struct fe_ctx *c, struct fe_val *v, int rank, const int64_t *dims);
struct fe_val *fe_p_concat(struct fe_ctx *c, struct fe_val **v, size_t n, int axis);
struct fe_val *fe_p_take(struct fe_ctx *c, struct fe_val *v, int axis, const int64_t *index, size_t n); // rank kept
struct fe_val *fe_p_unary(struct fe_ctx *c, enum ir_op op, struct fe_val *x);
struct fe_val *fe_p_binary(struct fe_ctx *c, enum ir_op op, struct fe_val *x, struct fe_val *y);
struct fe_val *fe_p_where(struct fe_ctx *c, struct fe_val *cond, struct fe_val *x, struct fe_val *y);
struct fe_val *fe_p_cast(struct fe_ctx *c, struct fe_val *x, enum ir_dtype t);
struct fe_val *fe_p_round(struct fe_ctx *c, struct fe_val *x, enum ir_half h); // x itself for IR_HALF_NONE

// Moved values (import_moved.c). A frame and its batch-first value, of any batched value; false when it has too many
// dims.
bool fe_frame_of(struct fe_ctx *c, struct fe_val *v, struct fe_frame *f, ir_vid *base);
struct fe_val *fe_framed(struct fe_ctx *c, ir_vid base, const struct fe_frame *f); // what `base` is in frame f
int fe_onnx_dims(struct fe_ctx *c, const struct fe_val *v, int64_t *dims); // as IR dims, the batch anywhere; the rank
// Batched values reshaped to ONNX dims `dims` (that of the batch is ignored) in frame f, and transposed.
struct fe_val *fe_moved_reshape(struct fe_ctx *c, struct fe_val *v, const struct fe_frame *f, const int64_t *dims);
struct fe_val *fe_moved_transpose(struct fe_ctx *c, struct fe_val *v, const int64_t *perm);
// Any value broadcast to ONNX dims `dims`, of which one, not the first, is the batch. NULL: it has too many dims.
struct fe_val *fe_moved_expand(struct fe_ctx *c, struct fe_val *v, int rank, const int64_t *dims);
// The frame in which `v` has the shape `dims` (completed: -1 at `hole`, the batch where *baked says that the file's
// fixed one was read as such); false when no batch size but one fits.
bool fe_moved_solve(struct fe_ctx *c, struct fe_val *v, int64_t *dims, int rank, int hole, struct fe_frame *f,
                    bool *baked);
// Around an operator's import: operands become their vids, results are framed. false after reporting.
bool fe_moved_enter(struct fe_ctx *c, struct fe_node *n);
bool fe_moved_leave(struct fe_ctx *c, struct fe_node *n);
bool fe_moved_axis(const struct fe_node *n, int64_t axis, int *out);  // of the vid; false: of no axis alone
void fe_moved_lost(struct fe_node *n, const int64_t *axes, size_t k); // these axes of the vid are gone

// Sample numbers: Range(0, N), and the operators that take a value of `rows` (import_rows.c).
bool fe_rows_start(struct fe_ctx *c, struct fe_node *n);
bool fe_rows(struct fe_ctx *c, struct fe_node *n);         // false, mostly without a report: it has to count them
bool fe_rows_counted(struct fe_ctx *c, struct fe_node *n); // such operands become a counter along the batch
bool fe_counts_samples(struct fe_ctx *c, ir_vid v);        // [N,..] of each sample's number

// Random x, uniform in 0..1 plus a number (import_random.c): x + number; x < p and floor(x) as the Bernoulli masks they
// are. NULL where the other operand is no known number, or the chance of 1 is not in (0, 1].
struct fe_val *fe_random_plus(struct fe_ctx *c, struct fe_val *x, struct fe_val *y);
struct fe_val *fe_random_below(struct fe_ctx *c, const struct fe_val *x, struct fe_val *p);
struct fe_val *fe_random_floor(struct fe_ctx *c, const struct fe_val *x);
ir_vid fe_random_vid(struct fe_ctx *c, const struct fe_val *v); // the numbers themselves
ir_vid fe_seed(struct fe_ctx *c);                               // the run-time scalar "seed"

// What the file says of shapes and types (declared.c): inputs give names of dims their meaning, values are compared
// with what was computed of them, and the report warns of each kind of contradiction once, with how often it was seen.
struct fe_slot;
bool fe_dim_is_number(const Onnx__TensorShapeProto__Dimension *d);
void fe_declared_input(struct fe_ctx *c, const char *name, const Onnx__TensorShapeProto *said, const int64_t *dims);
void fe_declared_compare(struct fe_ctx *c, const struct diag_loc *loc, const struct fe_slot *slot);
void fe_declared_report(struct fe_ctx *c);

// Inputs and outputs (boundary.c).
struct fe_scope;
void fe_add_inputs(struct fe_ctx *c, struct fe_scope *s, const Onnx__GraphProto *g, const struct fe_options *o);
void fe_add_outputs(struct fe_ctx *c, struct fe_scope *s, const Onnx__GraphProto *g);
void fe_add_values(struct fe_ctx *c, struct fe_scope *s, const Onnx__GraphProto *g);

// The value of the output that is a tap, with a report where it can be none (taps.c).
void fe_import_tap(struct fe_ctx *c, const char *name, struct fe_val *v);

// Operator `op` of one operand and one result, with these attributes, as part of node n (import.c).
ir_vid fe_apply(struct fe_ctx *c, const struct fe_node *n, const char *op, ir_vid x, Onnx__AttributeProto **attrs,
                size_t n_attrs);

// Runs the nodes of a body in a new scope, its inputs being `in` (import.c). Returns a value for each of its results,
// NULL for one that nothing makes; NULL after reporting.
struct fe_val **fe_run_body(struct fe_ctx *c, struct fe_node *n, const Onnx__GraphProto *g, struct fe_val *const *in,
                            size_t n_in);
// All steps of recurrences and loops of a graph: they are nodes, and what is done with nodes takes time. false after
// reporting that these are too many (import_control.c).
#define FE_MAX_STEPS 4096
bool fe_count_steps(struct fe_ctx *c, const struct fe_node *n, int64_t more);
// k >= 1 values on a new axis; NULL after reporting.
struct fe_val *fe_stack(struct fe_ctx *c, struct fe_node *n, struct fe_val **v, size_t k, int64_t axis);

// Behind an operator's import: results of 16 bits are rounded to them (import_floats.c).
void fe_round_results(struct fe_ctx *c, struct fe_node *n);

// --- export ---------------------------------------------------------------------------------------------------------

// A weight whose data lives outside the skeleton: float, bfloat16, float16 or double of more than this many elements.
#define FE_SKELETON_KEEP 16
bool fe_is_float_type(int32_t onnx_type);

#endif
