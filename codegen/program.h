// What lowering produces and emission consumes: kernels (unique), calls per phase, tables, constants.
#ifndef SMKD_CG_PROGRAM_H
#define SMKD_CG_PROGRAM_H

#include "../runtime/include/smkd_abi.h"
#include "cg.h"

struct cg_call_rec {
    uint32_t kernel;
    struct cg_arg *args;
    int n_args;
    int64_t images; // a dim: what the kernel gets as N
    ir_nid node;
    const ir_nid *nodes; // all that it computes, of which `node` is the first
    int n_nodes;
    bool prepares;        // done once for a batch and a state of the parameters (INFER)
    bool only_input_grad; // needed for nothing but gradients of inputs: skipped when the caller wants none
};

#define CG_COUNTERS 64 // bytes at the end of a thread's scratch, for sharing work out (emit_entry.c)
struct cg_phase {
    const struct ir_graph *g; // NULL: no such entry
    const struct ir_plan *plan;
    struct cg_call_rec *calls;
    size_t n_calls, cap_calls;
    int64_t scratch_bytes;
};

struct cg_const {
    const struct ir_graph *g;
    ir_vid v;
};

struct cg_tensor { // a row of the artifact's table
    const char *name;
    enum smkd_abi_role role;
    struct ir_type type;
    uint32_t index;
    int64_t offset, numel;
    const void *data;
};

struct cg_program {
    struct arena *arena;
    const struct cg_target *t;
    const struct cg_model *model;
    struct cg_kernel *kernels;
    uint64_t *hashes;
    size_t n_kernels, cap_kernels, cap_hashes;
    struct cg_phase phases[SMKD_ABI_PHASES];
    struct cg_phase *cur;
    bool *only_input_grad; // by nid of the current graph
    struct cg_tensor *tensors;
    size_t n_tensors, cap_tensors;
    struct cg_const *consts;
    size_t n_consts, cap_consts;
    int64_t param_bytes, trained_bytes, max_batch;
    bool share_all; // as in cg_options
};

#define CG_INDEX_COTANGENT                                                                                             \
    0x10000u // ir_slot.index of a cotangent / input gradient: these live in pointer lists of their own
#define CG_INDEX_GRAD_INPUT 0x10000u

// Fills the tensor table from the graphs' boundaries and outputs, and lays out the parameter block.
enum smkd_status cg_tensors_build(struct cg_program *p, struct diag *d);
struct ir_plan *cg_plan(struct cg_program *p, const struct ir_graph *g);
void cg_lower_graph(struct cg_program *p, struct ir_graph *g, const struct ir_plan *plan, enum smkd_abi_phase forward,
                    enum smkd_abi_phase backward, struct diag *d);
void cg_lower_update(struct cg_program *p);
void cg_kernel_symbol(const struct cg_program *p, uint32_t kernel, char buf[32]);

// --- emission ------------------------------------------------------------------------------------------------------
// bf16: the program computes in bfloat16, with instructions for it where the CPU has them.
enum smkd_status cg_target_init(struct cg_target *t, const char *mcpu, bool bf16, struct diag *d);
bool cg_target_try(struct cg_target *t, const char *mcpu, bool bf16); // the same without a report
void cg_target_release(struct cg_target *t);
LLVMTargetMachineRef cg_target_machine(const struct cg_target *t);
void cg_fn_attributes(LLVMContextRef cx, LLVMValueRef fn, const struct cg_target *t);

// One LLVM module with kernels first, first+stride, ...; or the entry module.
LLVMModuleRef cg_emit_kernels(const struct cg_program *p, LLVMContextRef cx, size_t first, size_t stride);
LLVMModuleRef cg_emit_entry(const struct cg_program *p, LLVMContextRef cx, const char *weights_symbol);
// Has LLVM end in out_of_memory, and its fatal errors in BUG. Once is enough (memory.c).
void cg_guard_memory(void);

#endif
