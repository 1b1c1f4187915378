// Graph -> native code -> artifact (.smkd). The only room that knows LLVM. Face of the library.
#ifndef SMKD_CODEGEN_H
#define SMKD_CODEGEN_H

#include "../ir/ir.h"

struct cg_options {
    const char *mcpu; // "native" or an LLVM CPU name: x86-64-v3, x86-64-v4, znver4, sapphirerapids ...
    int64_t max_batch;
    const char *emit;  // "layout", "plan", "llvm", "asm", "obj" or "lib" (earlier stages are printed by the caller)
    int threads;       // modules compiled at once; 0 = all cores
    bool no_winograd;  // every convolution by its definition
    bool no_recompute; // keep every activation that the backward pass reads
    bool bf16;   // activations and gradients are bfloat16 in memory (pass bf16), products of bfloat16 where the CPU has
                 // them
    bool verify; // IR verifier after each pass, LLVM verifier on each module
    bool time;   // print seconds of every part to stderr
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
    const char *notes; // JSON
};

// Writes the artifact (or the text of stage o->emit) to `path` ("-" = standard output for text stages), completely or
// not at all. Problems with the model or the machine go to `d`; LLVM failing on our own IR is a BUG.
enum smkd_status cg_compile(struct cg_model *m, const struct cg_options *o, const char *path, struct diag *d);

// Version of the compiler with that of LLVM: "0.1.0 (LLVM 19.1.7)".
const char *cg_version(void);

#endif
