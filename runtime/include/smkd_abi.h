// The contract between generated code (model.smkd, loss.smkd) and whoever runs it. Standalone: includes nothing of
// ours. codegen/ writes these structs into the artifact, runtime/ reads them; both assert the offsets.
//
// An artifact is an ELF shared object that exports `smkd_query`. Everything else hangs off the table it returns, which
// is exported, too, as `smkd_table`, for those who only want to read. Entry points are SPMD: call one from `threads`
// threads at once, each with its own `thread` in [0, threads). They meet in `barrier`. Results do not depend on
// `threads`. Nothing is allocated and no global state is kept: all memory comes in the call. Tensors at this boundary
// are in ONNX logical order, row-major.
#ifndef SMKD_ABI_H
#define SMKD_ABI_H

#include <stdint.h>

#define SMKD_ABI_VERSION  4u // of what is written; 2 and 3, whose tables end earlier, are still read
#define SMKD_ABI_OLDEST   2u
#define SMKD_ABI_MAX_RANK 8
// No arena (of the largest batch) and no block of parameters is larger: more than any machine has, and small enough
// that products of a few such figures can be checked by division.
#define SMKD_ABI_MAX_BYTES (UINT64_C(1) << 56)

// In the order in which they came to be: new ones stand at the end, and older artifacts mean the same.
enum smkd_abi_dtype {
    SMKD_ABI_F32,
    SMKD_ABI_I64,
    SMKD_ABI_I32,
    SMKD_ABI_U8,
    SMKD_ABI_BOOL,
    SMKD_ABI_F64,
    SMKD_ABI_I8,
    SMKD_ABI_I16,
    SMKD_ABI_U16,
    SMKD_ABI_U32,
    SMKD_ABI_U64,
    SMKD_ABI_DTYPES
};

// What a tensor of the tables is.
enum smkd_abi_role {
    SMKD_ABI_INPUT,     // caller's memory, read
    SMKD_ABI_OUTPUT,    // caller's memory, written
    SMKD_ABI_PARAM,     // in the parameter block, trained; its gradient is at the same offset in the gradient block
    SMKD_ABI_BUFFER,    // in the parameter block, updated by FORWARD (BatchNorm running statistics), no gradient
    SMKD_ABI_COTANGENT, // caller's memory, read by BACKWARD: gradient of the loss by the output of the same name
    // Caller's memory, written by BACKWARD: gradient by the input of the same name; all bound or none
    SMKD_ABI_GRAD_INPUT,
    SMKD_ABI_SCALAR, // one number in smkd_call.scalars (f64 there whatever its dtype)
};

struct smkd_abi_tensor {
    const char *name; // ONNX name, or the public name of a scalar or of a loss's result
    uint32_t role;    // enum smkd_abi_role
    uint32_t dtype;   // enum smkd_abi_dtype
    uint32_t rank;
    // Position in smkd_call.inputs / outputs / cotangents / grad_inputs / scalars; 0 for block tensors
    uint32_t index;
    int64_t dims[SMKD_ABI_MAX_RANK]; // negative: -d times the batch N
    uint64_t offset; // bytes in the parameter block (and, for PARAM, in gradient and momentum blocks); 64-aligned
    uint64_t numel;  // elements (per sample when batched)
};

// One call of one entry point. Lives in the caller; the same struct for all threads of the call.
struct smkd_call {
    const void *const *inputs;     // by index; ONNX layout
    void *const *outputs;          // by index
    const void *const *cotangents; // by index; BACKWARD only
    void *const *grad_inputs;      // by index; BACKWARD only; NULL, or all entries NULL (none is computed), or all set
    void *params;                  // param_bytes, 64-aligned: trained parameters first, then buffers
    void *grads;                   // trained_bytes, 64-aligned
    void *momentum;                // trained_bytes, 64-aligned; UPDATE only
    void *arena;                   // fixed_bytes + batch * sample_bytes, 64-aligned (2 MiB preferred)
    void *scratch;                 // threads * scratch_bytes, 64-aligned
    const double *scalars;         // by index
    int64_t batch;                 // N, 1 .. max_batch
    // INFER: the arena still holds what an INFER of the same batch made there of the same parameters (weights in the
    // order the kernels read them), so that it need not be made again. Zero is always right.
    int32_t prepared;
    void (*barrier)(void *env, int32_t thread, int32_t threads); // all threads meet; a full memory fence
    void *barrier_env;
    // Called by thread 0 behind kernel `kernel` of the entry's table and the barrier that follows it: for profiles.
    // NULL: not wanted.
    void (*mark)(void *env, uint64_t kernel);
    void *mark_env;
};

typedef void (*smkd_entry)(const struct smkd_call *call, int32_t thread, int32_t threads);

enum smkd_abi_phase {
    SMKD_ABI_INFER,    // forward with running statistics, dropout off
    SMKD_ABI_FORWARD,  // training forward: batch statistics, keeps activations in the arena, updates buffers
    SMKD_ABI_BACKWARD, // after FORWARD with the same arena and batch: all parameter gradients
    SMKD_ABI_UPDATE,   // SGD on the whole block: scalars lr, momentum, weight_decay, nesterov (0/1)
    SMKD_ABI_PHASES
};

// One kernel that an entry runs, in order. A node of the graph may take several (pack its weights, convolve).
struct smkd_abi_kernel {
    const char *node; // the ONNX node it serves, "gradient of " in front where it computes one; NULL: none (update)
    const char *op;   // the IR's op
    const char *algorithm; // what it does: "conv", "winograd", "pack" ...
    uint32_t node_index;   // equal for all kernels of one node
    // The node's cost, on its first kernel (0 on the others): operations of the definition, whatever the algorithm
    // saves, and bytes of operands and results, each moved once. fixed + batch * per sample.
    double flops, sample_flops, bytes, sample_bytes;
};

struct smkd_abi_entry {
    smkd_entry run;       // NULL: this artifact has no such phase
    uint64_t fixed_bytes; // arena; FORWARD and BACKWARD share one arena of the same figures
    uint64_t sample_bytes;
    uint64_t scratch_bytes; // per thread
    const struct smkd_abi_kernel *kernels;
    uint64_t n_kernels;
};

// What a classifier can be trained by: an output of floats [N,classes], or one that differs from that in axes of
// size 1.
struct smkd_abi_head {
    const char *output; // the model's
    // The OUTPUT row of type f32[N,classes] that losses look at and whose cotangent trains the model: `output`, or
    // where that is a Softmax, LogSoftmax or Sigmoid of it, what goes in.
    const char *logits;
    const char *op; // the operator between the two, "Softmax"; NULL where there is none
    uint32_t added; // `logits` is no output of the model: smkdc made it one for training
};

// A LOSS has only FORWARD: logits, labels, scalars -> losses, gradients. So has an OPTIMIZER: param, grad, state.NAME,
// scalars -> param, state.NAME, each f32[N,16] and meant to be bound to the memory of the input of its name.
enum smkd_abi_kind { SMKD_ABI_MODEL, SMKD_ABI_LOSS, SMKD_ABI_OPTIMIZER, SMKD_ABI_KINDS };

struct smkd_artifact {
    uint32_t abi_version;
    uint32_t kind;                 // enum smkd_abi_kind
    const char *name;              // model name
    const char *producer;          // compiler name and version
    const char *target_cpu;        // LLVM CPU name
    const char *required_features; // space separated /proc/cpuinfo flags the code uses, e.g. "avx2 fma"
    const struct smkd_abi_tensor *tensors;
    uint64_t n_tensors;
    struct smkd_abi_entry entries[SMKD_ABI_PHASES];
    uint64_t max_batch;
    uint64_t param_bytes;   // parameter block
    uint64_t trained_bytes; // its leading part with a gradient
    const void *initial;    // param_bytes initial parameters, or NULL
    const void *onnx;       // the ONNX model without weight data (protobuf), for export; NULL for a loss
    uint64_t onnx_bytes;
    uint64_t content_hash; // of the graph and compiler, not of the weights
    const char *notes;     // JSON object: flops per sample, nodes, SMKD_NOTE_SINGLE_STATISTIC ...
    // Runs `trips` rounds of multiply-adds in registers, to measure what this code could reach on this CPU.
    void (*fma_loop)(int64_t trips);
    uint64_t fma_loop_flops; // operations of a round
    // --- since version 3
    const struct smkd_abi_head *heads; // several: whoever trains has to say which; none in a loss
    uint64_t n_heads;
    // The first node at which the samples of a batch meet in INFER, so that its results depend on what else is in the
    // batch: ONNX name and operator. NULL: every row of every output depends on its own sample alone.
    const char *mixing_node, *mixing_op;
    // --- since version 4
    // OUTPUT rows of floats [N,...], each with a COTANGENT, that training looks at and that are none of the model's
    // results: values inside it, and classifiers at its side with their features. Not in a loss. A session takes a
    // COTANGENT of one that nobody binds for zero.
    const char *const *taps;
    uint64_t n_taps;
};

// In the notes where it applies: the ONNX node of a BatchNorm with one value a sample and channel. FORWARD of a batch
// of one normalises a single value with itself, to 0, and leaves that node's running statistics as they were.
#define SMKD_NOTE_SINGLE_STATISTIC "single_statistic"

// In the notes since parameters may be decayed by what they are: an array of the names of those PARAM rows that scale
// or shift what was normalised.
#define SMKD_NOTE_NORM_PARAMETERS "norm_parameters"

// In the notes where the ONNX file has such metadata: an object of its "smkd.*" keys and their values, strings, as
// smkd-run export writes them (runtime/preparation.h).
#define SMKD_NOTE_METADATA "metadata"

// In the notes where the ONNX file has inputs or outputs in another way than the tables, which have the batch first and
// 16-bit floats as float32: an array of {"name", "role": "input" or "output", "dims": the file's, negative: times N, at
// most one, at any place, "outer", "dtype": "float16" or "bfloat16" where it is one}. A row of the tables is
// [N][outer][inner] elements, in the file [outer][N][inner].
#define SMKD_NOTE_FORMS "forms"

// In the notes where inputs of the ONNX file were made constants of this artifact (smkdc --shape-input): an object of
// names and elements, "2,3,-1", with N for the batch.
#define SMKD_NOTE_GIVEN "given"

// The last bytes of the file, behind everything the ELF headers speak of: what smkdc wrote in front of them, so that
// damage shows before any of the code runs. The loader takes no file without it, and none that wants another library or
// has code that runs when it is loaded (constructors). It is no signature: an artifact is a program, load only your
// own.
struct smkd_seal {
    char magic[8];  // SMKD_SEAL_MAGIC
    uint64_t bytes; // in front of the seal
    uint64_t sum;   // checksum64 of these
};
#define SMKD_SEAL_MAGIC "smkdseal" // without its end

// The function. Returns NULL when the artifact does not speak `abi_version`, otherwise a table of that version.
typedef const struct smkd_artifact *(*smkd_query_fn)(uint32_t abi_version);
#define SMKD_QUERY_SYMBOL "smkd_query"
#define SMKD_TABLE_SYMBOL "smkd_table" // const struct smkd_artifact

#endif
