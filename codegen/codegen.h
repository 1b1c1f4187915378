// Graph -> native code -> artifact (.smkd). The only room that knows LLVM. Face of the library.
#ifndef SMKD_CODEGEN_H
#define SMKD_CODEGEN_H

#include "../ir/ir.h"

#define CG_BATCH       64
#define CG_INFER_BATCH 1

// --- algorithms (choose.c, cost.c) -----------------------------------------------------------------------------------

// What a convolution can be computed by. A row of the table in cost.c each; names there.
enum cg_algorithm { CG_DIRECT, CG_WINOGRAD, CG_ALGORITHMS };
extern const char *const cg_algorithm_names[CG_ALGORITHMS];

enum cg_conv_pass { CG_FORWARD, CG_BY_DATA, CG_BY_WEIGHTS, CG_CONV_PASSES };
extern const char *const cg_conv_pass_names[CG_CONV_PASSES];

// Everything an algorithm's time depends on, beside the target.
struct cg_conv_shape {
    int64_t pass;                         // enum cg_conv_pass
    int64_t images;                       // the batch times what stands in front of it
    int64_t x_bf16, y_bf16;               // input and output of the forward convolution are bfloat16 in memory
    int64_t kept;                         // packed weights are there already: inference
    int64_t C, H, W, K, P, Q, R, S;       // of the forward convolution: input, output, window
    int64_t group, st[2], dil[2], pad[2]; // pad: top, left
};
// Predicts seconds by algorithm, on two threads of a CPU; negative where one cannot compute the shape. False for a CPU
// that cg_compile would refuse.
bool cg_conv_seconds(const char *mcpu, const struct cg_conv_shape *s, double seconds[CG_ALGORITHMS]);
// The least that is not negative. CG_DIRECT can compute everything.
enum cg_algorithm cg_fastest(const double seconds[CG_ALGORITHMS]);

// A convolution of the model whose algorithm is to be chosen.
struct cg_conv_site {
    bool infer;    // of the inference graph; else of the training graph
    uint32_t node; // as in the artifact's table of kernels (node_index)
    struct cg_conv_shape shape;
    const double *seconds; // predicted, by algorithm; negative: cannot
};
// Returns an enum cg_algorithm that can, or -1 for the one with the least predicted seconds.
typedef int (*cg_pick)(void *env, const struct cg_conv_site *site);

struct cg_options {
    const char *mcpu; // "native" or an LLVM CPU name: x86-64-v3, x86-64-v4, znver4, sapphirerapids ...
    int64_t max_batch;
    const char *emit; // "layout", "plan", "llvm", "asm", "obj" or "lib" (earlier stages are printed by the caller)
    int threads;      // modules compiled at once; 0 = all cores
    bool no_winograd; // every convolution by its definition
    int64_t batch, infer_batch; // for which algorithms are chosen; 0: CG_BATCH, CG_INFER_BATCH; max_batch where smaller
    cg_pick pick;               // NULL: by predicted seconds
    void *pick_env;
    bool no_recompute; // keep every activation that the backward pass reads
    bool bf16; // activations and gradients are bfloat16 in memory (pass bf16), products of bfloat16 where the CPU has
               // them
    bool share_all; // share out every call part by part, however short: for tests
    bool verify;    // IR verifier after each pass, LLVM verifier on each module
    bool time;      // print seconds of every part to stderr
    const char *dump_after, *stop_after;
};

// What to compile. Graphs after `expand` (and, for train, ir_differentiate); codegen runs fuse, layout and plan itself
// on them (they are changed). All graphs name the same parameters.
struct cg_model {
    const char *name;
    uint32_t kind;          // enum smkd_abi_kind
    struct ir_graph *infer; // may be NULL for a loss
    struct ir_graph *train; // forward + backward nodes; for a loss: everything in phase forward
    bool update;            // emit the SGD entry
    const void *onnx;       // model without weights, copied into the artifact
    size_t onnx_bytes;
    const char *notes;           // JSON
    const struct ir_head *heads; // attached, to both graphs
    size_t n_heads;
    const char *const *taps; // outputs that are there for training alone
    size_t n_taps;
    struct diag_loc mixing; // of ir_first_mixing(infer); empty: nothing mixes
};

// Writes the artifact (or the text of stage o->emit) to `path` ("-" = standard output for text stages), completely or
// not at all. Problems with the model or the machine go to `d`; LLVM failing on our own IR is a BUG.
enum smkd_status cg_compile(struct cg_model *m, const struct cg_options *o, const char *path, struct diag *d);

// What cg_compile does before it generates code: everything that it could have against the model is reported to `d`.
// The graphs are changed as it changes them.
enum smkd_status cg_check(struct cg_model *m, const struct cg_options *o, struct diag *d);

// What code for a CPU is made of: its micro-architecture level, "x86-64-v4", and with `bf16` its instructions for that.
// NULL where cg_compile would refuse the CPU.
const char *cg_level(const char *mcpu, bool bf16);

// Version of the compiler with that of LLVM: "0.1.0 (LLVM 19.1.7)".
const char *cg_version(void);

#endif
