// ONNX in, ONNX out. The only room that knows protobuf. Face of the library.
#ifndef SMKD_FRONTEND_H
#define SMKD_FRONTEND_H

#include "../ir/ir.h"

struct fe_model; // an opened ONNX file: owns the ModelProto; weights point into it or into mapped external data

struct fe_shape {
    const char *input;
    int rank;
    int64_t dims[IR_MAX_RANK];
}; // from --shape x=N,3,224,224 (IR_N for N, which may be any of them); of rank 1 also the size of a symbolic dimension
struct fe_batch_axis {
    const char *input;
    int axis;
}; // from --batch-axis x=1
struct fe_shape_input {
    const char *input, *values;
}; // from --shape-input shape=2,-1,N: its elements, row-major

struct fe_options {
    const struct fe_shape *shapes; // overrides of input shapes
    size_t n_shapes;
    const struct fe_batch_axis *batch_axes; // which axis of an input is the batch (boundary.c has what is guessed)
    size_t n_batch_axes;
    const char *const *no_batch; // patterns of inputs without one: every size of theirs is known
    size_t n_no_batch;
    bool whole;                                // none has one
    bool values;                               // what nodes make is an output, too
    const struct fe_shape_input *shape_inputs; // inputs that are constants of this compilation
    size_t n_shape_inputs;
    // Patterns of names as of fnmatch(3), for float tensors. With train_only nothing else is trained; constants never
    // are. What freeze names of the parameters and running statistics stays as it is, but in checkpoints and exports; a
    // pattern that begins with '!' takes names out again, and the last that matches decides.
    const char *const *train_only, *const *constants, *const *freeze;
    size_t n_train_only, n_constants, n_freeze;
    bool freeze_norms; // BatchNormalization computes with its running statistics in training, too, and keeps them
};

// Reads and checks a file: size, protobuf, IR version, opset, initializers (size, dtype, offsets), external data (a
// relative path inside the model's folder, no "..", no links that leave it). NULL after reporting to d.
struct fe_model *fe_open(struct arena *a, struct diag *d, const char *path);
void fe_close(struct fe_model *m);

// After fe_import: how the file has an input or output, in the IR's order of both. The IR and whoever runs the
// artifact have the batch first and 16-bit floats as float32: [N][outer][inner] elements, in the file
// [outer][N][inner].
struct fe_form {
    const char *name;
    bool output;
    int rank;
    int64_t dims[IR_MAX_RANK]; // in the file; negative: times N, at most one, at any place
    int64_t outer;
    int64_t fixed; // an input's batch, where the file has a number for it; 0: none
    enum ir_dtype dtype;
    enum ir_half half;
    const char *elements; // of an input that is a constant of this compilation, "2,-1,N"; NULL: it is an input
};
const struct fe_form *fe_forms(const struct fe_model *m, size_t *n);
bool fe_form_is_moved(const struct fe_form *f); // its batch is elsewhere in the file than in the IR

// What the nodes of the main graph make, in the file's order. With fe_options.values those of them that are tensors and
// depend on the data are outputs of the graph, behind its own (values.c).
struct fe_value {
    const char *name, *node, *op; // node: its name, or a made-up "Conv#12"
};
const struct fe_value *fe_values(const struct fe_model *m, struct arena *a, size_t *n);
// Writes an opened file, before fe_import, that has these values as outputs, too, and its tensors inside.
enum smkd_status fe_write_values(struct fe_model *m, const char *const *names, size_t n, const char *path,
                                 struct diag *d);

// Gives the linear layer (Gemm, MatMul, a 1x1 Conv) whose result becomes the output or value `logits`, or the only
// output that ends in one where that is NULL, `classes` fresh outputs: its weight and bias, uniform in +-1/sqrt(fan
// in), and the shapes behind it that speak of the old number. An edit of the opened file: before fe_import. Returns the
// output or value that it began at; NULL after a report, naming the node that stands in the way.
struct fe_head_options {
    int64_t classes;
    const char *logits;
    uint64_t seed;
};
const char *fe_new_head(struct fe_model *m, struct diag *d, const struct fe_head_options *o);

// Values that training looks at and that are no results of the model: its file has them as outputs, and "smkd.taps" in
// its metadata tells which they are.
#define FE_TAPS_KEY "smkd.taps" // names, with commas between them
struct fe_tap {
    const char *name; // of the output
    ir_vid value;     // f32 [N,...], after fe_import, which makes no output of the graph of it
};
const struct fe_tap *fe_taps(const struct fe_model *m, size_t *n);
// Makes one of a value inside, or of the only value that the node of that name makes, under the name `name` (NULL: its
// own). An edit of the opened file: before fe_import. False after a report.
bool fe_tap(struct fe_model *m, struct diag *d, const char *value, const char *name);

// A classifier on a feature map f32[N,C,H,W] inside the model: outputs that are taps, `name` or head1, head2 ...
// [N,classes], NAME.feat or feat1, feat2 ... [N,F], the last of which are the features that the model's own classifier
// reads. Their parameters begin with `name` or "heads.1", "heads.2" ...
struct fe_side_head {
    const char *value, *kind, *name; // name: NULL, or one of its own
};
bool fe_is_head_kind(const char *name); // "byot"
// An edit of the opened file: before fe_import, which will be given the same `o`. logits: as of fe_head_options. False
// after a report.
bool fe_add_heads(struct fe_model *m, struct diag *d, const struct fe_side_head *heads, size_t n, const char *logits,
                  uint64_t seed, const struct fe_options *o);

// The file's metadata_props whose keys begin with `prefix`; the arena of fe_open owns them.
struct fe_meta {
    const char *key, *value;
};
const struct fe_meta *fe_metadata(const struct fe_model *m, const char *prefix, size_t *n);

// Imports the graph: nodes -> IR ops by table, shape arithmetic folded symbolically (an axis of every input is the
// batch N, mostly axis 0, also where the file has a fixed number there; boundary.c), weights as PARAM values, BatchNorm
// statistics as BUFFER values, tensors that are not trained (docs/design.md, "What is a parameter") as constants,
// frozen ones as BUFFER values that nothing updates; a model whose weights are not float32 is raised to it as a whole.
// Reports EVERY operator it cannot import, then returns NULL. Also warns when BatchNormalization was folded into Conv:
// "export with training=PRESERVE".
struct ir_graph *fe_import(struct fe_model *m, struct arena *a, struct diag *d, const struct fe_options *o);

// What became of the float tensors that the model needs, sorted by name; running statistics are not among them.
struct fe_decision {
    const char *name;
    bool trained, frozen; // neither: a constant
    const char *why;      // "an exponent": the rule that decided; the same pointer for all tensors of a rule
    int64_t n;            // numbers
};
const struct fe_decision *fe_decisions(const struct fe_model *m, size_t *n);
// How many BatchNormalization nodes there are, and how many of them keep their running statistics.
size_t fe_norms(const struct fe_model *m, size_t *frozen);

// The model without weight data, for the artifact; *size bytes owned by the arena. What fe_export needs.
void *fe_skeleton(struct fe_model *m, struct arena *a, size_t *size);

// Writes inference-mode ONNX from a skeleton and tensors by name: dynamic batch axis, names kept, taps only where
// `taps` asks for them, nothing that no output needs, BatchNormalization in inference form (training_mode 0, one
// output) with its trained statistics, Dropout in inference form, metadata_props set.
struct fe_tensor {
    const char *name;
    int rank;
    int64_t dims[IR_MAX_RANK];
    const float *data;
};
enum smkd_status fe_export(const void *skeleton, size_t size, const struct fe_tensor *tensors, size_t n_tensors,
                           const struct fe_meta *meta, size_t n_meta, bool taps, const char *path, struct diag *d);

// Built-in backbones (smkdc new). Writes a complete ONNX file with initialised weights.
struct fe_arch {
    const char *name, *doc;
};
extern const struct fe_arch fe_archs[]; // ends with a NULL name
struct fe_new_options {
    int channels, height, width; // input, default 3x32x32 (ImageNet archs: 3x224x224 unless given)
    int classes;                 // default 10
    int width_base;              // --width: channels of the first stage of CIFAR ResNets (default 16)
    int heads;                   // side heads, of those that can have them
    uint64_t seed;
};
enum smkd_status fe_new(const char *arch, const struct fe_new_options *o, const char *path, struct diag *d);

#endif
