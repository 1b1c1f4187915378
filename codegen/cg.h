// Inside of codegen/: how kernels are described, emitted and called.
//
// A program is a list of *calls*; a call runs one *kernel* (an LLVM function) on all threads, and a barrier follows
// each. A kernel is keyed by everything its code depends on (shapes, strides, expression, target) and emitted once,
// however many nodes use it. Lowering (codegen/lower/) turns a node into calls and knows no LLVM; emitters
// (codegen/kernels/) turn a kernel's parameters into LLVM IR and know no graph. Kernels are emitted in parallel, each
// thread with its own LLVM context, so an emitter may touch nothing but its cg_fn and its (read-only) parameters.
#ifndef SMKD_CG_H
#define SMKD_CG_H

#include "../ir/ir.h"
#include "codegen.h"

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

#define CG_MAX_PTRS 40

// Lies in the parameter block: trained, or frozen.
static inline bool cg_is_weight(const struct ir_value *v) {
    return v->role == IR_ROLE_PARAM || v->role == IR_ROLE_BUFFER;
}

struct cg_target {
    char *triple, *cpu, *features; // LLVM's
    char *required;                // of the machine that runs the code, in /proc/cpuinfo's words
    int vl;                        // f32 lanes of the widest vector register
    int nregs;                     // vector registers
    int64_t l2_bytes; // cache a thread may fill with a tile (conservative constant, not measured: code must not depend
                      // on the machine that compiles)
    const struct cg_choices *choices; // of the graphs being compiled (choose.c)
    bool bf16_dot;                    // multiplies pairs of bfloat16: AVX512_BF16
    bool amx;                         // in tiles, too: AMX_BF16
    LLVMTargetRef llvm;
};

// The algorithm of every convolution, decided once before memory is planned and nodes are lowered.
struct cg_choices {
    const struct ir_graph *g[2];
    uint8_t *of[2]; // enum cg_algorithm by nid
};
// Decides for all of `g`, as slot `infer`; of: in the arena.
void cg_choose(struct cg_choices *c, struct arena *a, const struct cg_target *t, const struct ir_graph *g, bool infer,
               const struct cg_options *o);
enum cg_algorithm cg_chosen(const struct cg_target *t, const struct ir_graph *g, ir_nid n);
// cost.c
double cg_conv_cost(const struct cg_target *t, const struct cg_conv_shape *s, enum cg_algorithm a);

// A kernel being emitted: fn(ptr p0.. p[n_ptr-1], i64 N, i64 first, i64 last, i64 threads, ptr scratch) -> void
// N is the batch; for kernels of images (convolutions, pools) the number of images, see cg_lower.images. Of the
// kernel's work, which is threads * CG_PARTS equal parts, it does those from `first` up to `last`: see cg_share.
#define CG_PARTS 16
struct cg_fn {
    LLVMContextRef cx;
    LLVMModuleRef mod;
    LLVMBuilderRef b;
    LLVMValueRef fn;
    const struct cg_target *t;
    LLVMValueRef ptr[CG_MAX_PTRS];
    LLVMValueRef N, first, last, threads, scratch;      // scratch: this thread's private scratch, 64-aligned
    LLVMTypeRef f32, f64, i1, i8, i16, i32, i64, p, vf; // vf = <vl x f32>
    LLVMTypeRef void_;
};

struct cg_kernel {
    const char *key;                                   // unique; also names the symbol (hashed)
    void (*emit)(struct cg_fn *f, const void *params); // builder stands in the entry block; must not emit `ret`
    const void *params;                                // arena-owned, read-only
    int n_ptr;
    bool noalias;          // pointers never overlap: lets LLVM keep values in registers
    int64_t scratch_bytes; // private scratch a thread needs
};

// An argument of a call.
enum cg_arg_kind { CG_ARG_VALUE, CG_ARG_WORKSPACE, CG_ARG_BLOCK };
enum cg_block { CG_BLOCK_PARAMS, CG_BLOCK_GRADS, CG_BLOCK_MOMENTUM, CG_BLOCK_SCALARS };
struct cg_arg {
    enum cg_arg_kind kind;
    ir_vid value;   // VALUE: address of the value's first element (scalars of the call: address of an f64); BLOCK: enum
                    // cg_block
    int64_t offset; // bytes added; WORKSPACE: into the node's fixed/per-sample workspace, see cg_ws_offset
    int64_t offset_n; // bytes times N added
};
#define CG_VALUE(v) ((struct cg_arg){.kind = CG_ARG_VALUE, .value = (v)})
#define CG_WS(off)  ((struct cg_arg){.kind = CG_ARG_WORKSPACE, .offset = (off)})

struct cg_lower { // lowering of one graph phase
    struct arena *arena;
    struct diag *diag;
    struct ir_graph *g;
    const struct ir_plan *plan;
    const struct cg_target *t;
    ir_nid node;         // being lowered
    const ir_nid *nodes; // where several are lowered to one call; else `node` alone
    int n_nodes;
    int64_t images; // what the node's kernels get as N: a dim, IR_N unless its hook says otherwise
    bool prepares;  // the calls being made depend on parameters and batch only: inference may keep what they write
    struct cg_program *prog;
};
// Appends one call. The kernel is registered under its key (first registration wins).
void cg_call(struct cg_lower *L, const struct cg_kernel *k, const struct cg_arg *args, int n_args);

// Lowering hooks of KERNEL ops: cg_kernel_<id>; shared workspace a node's kernels need while it runs: cg_ws_<id>
// (only for ops listed in lower_table.c's workspace list; fixed bytes, or bytes per sample; the workspace is one
// block).
typedef void (*cg_lower_hook)(struct cg_lower *L, ir_nid n);
typedef void (*cg_ws_hook)(const struct cg_target *t, const struct ir_graph *g, ir_nid n, int64_t *fixed,
                           int64_t *per_sample);

// --- emission helpers (codegen/emit_util.c) ------------------------------------------------------------------------
LLVMValueRef cg_i64(struct cg_fn *f, int64_t v);
LLVMValueRef cg_i32(struct cg_fn *f, int32_t v);
LLVMValueRef cg_f32c(struct cg_fn *f, double v);
LLVMTypeRef cg_vec_type(struct cg_fn *f, LLVMTypeRef elem, int lanes); // lanes == 1: elem itself
LLVMValueRef cg_splat(struct cg_fn *f, LLVMValueRef x, int lanes);     // lanes == 1: x
LLVMValueRef cg_addi(struct cg_fn *f, LLVMValueRef a, LLVMValueRef b); // i64 nsw; folds constants
LLVMValueRef cg_subi(struct cg_fn *f, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef cg_muli(struct cg_fn *f, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef cg_muladd(struct cg_fn *f, LLVMValueRef a, int64_t k, LLVMValueRef b); // a*k + b
LLVMValueRef cg_mini(struct cg_fn *f, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef cg_maxi(struct cg_fn *f, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef cg_divi(struct cg_fn *f, LLVMValueRef a, LLVMValueRef b); // unsigned, both >= 0
LLVMValueRef cg_remi(struct cg_fn *f, LLVMValueRef a, LLVMValueRef b);
// Address base + index*size(elem)
LLVMValueRef cg_gep(struct cg_fn *f, LLVMTypeRef elem, LLVMValueRef base, LLVMValueRef index);
LLVMValueRef cg_load(struct cg_fn *f, LLVMTypeRef type, LLVMValueRef addr, int align); // scalar or vector
void cg_store(struct cg_fn *f, LLVMValueRef v, LLVMValueRef addr, int align);
// Past the caches, for what is not read again while it would be in one: whole lines are not fetched before they are
// written. addr is a multiple of the vector's size. Before a barrier, cg_streamed().
void cg_stream(struct cg_fn *f, LLVMValueRef v, LLVMValueRef addr);
void cg_streamed(struct cg_fn *f);
// The first `lanes` of a vector of `width`; other lanes: load gives 0, store leaves memory alone.
LLVMValueRef cg_load_first(struct cg_fn *f, LLVMTypeRef elem, int width, LLVMValueRef addr, int lanes);
void cg_store_first(struct cg_fn *f, LLVMValueRef v, LLVMValueRef addr, int lanes);
enum { CACHE_LINE = 64 }; // bytes
// Asks for the cache line at addr, which may lie outside of anything: into the first level of cache, or the second
// alone.
enum cg_reach { CG_INTO_SECOND = 2, CG_INTO_FIRST = 3 }; // as llvm.prefetch has them
void cg_fetch(struct cg_fn *f, LLVMValueRef addr, enum cg_reach reach);
void cg_fetch_to_write(struct cg_fn *f, LLVMValueRef addr);                           // the same, into the first level
LLVMValueRef cg_fma(struct cg_fn *f, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c); // llvm.fma, scalar or vector
// f32 values that memory holds as f32 or, `narrow`, as bfloat16 (ir_type.narrow): the element type of the memory, and
// vectors of `width` f32 of which the first `lanes` are in memory (width 1: a scalar). Storing rounds to nearest even.
LLVMTypeRef cg_f32_in_memory(struct cg_fn *f, bool narrow);
LLVMValueRef cg_load_f32(struct cg_fn *f, bool narrow, int width, LLVMValueRef addr, int lanes);
void cg_store_f32(struct cg_fn *f, bool narrow, LLVMValueRef v, LLVMValueRef addr, int lanes);
LLVMValueRef cg_from_bf16(struct cg_fn *f, LLVMValueRef bits); // i16, scalar or vector -> f32
LLVMValueRef cg_to_bf16(struct cg_fn *f, LLVMValueRef v);
// Any intrinsic, overloaded on one type or (NULL) on none: cg_intrinsic(f, "llvm.sqrt", type, args, n)
LLVMValueRef cg_intrinsic(struct cg_fn *f, const char *name, LLVMTypeRef overload, LLVMValueRef *args, int n);
// The address of a constant of the kernel's module.
LLVMValueRef cg_constant(struct cg_fn *f, LLVMValueRef init, const char *name);
// A mutable local (alloca in the entry block; pass sroa turns it into registers).
LLVMValueRef cg_local(struct cg_fn *f, LLVMTypeRef type, LLVMValueRef init);

// for (i = begin; i < end; i += step) { ... }   begin, end: i64. Returns i. No loop-carried values: use cg_local.
struct cg_loop {
    LLVMBasicBlockRef head, body, exit;
    LLVMValueRef i;
    int64_t step;
};
LLVMValueRef cg_loop_begin(struct cg_fn *f, struct cg_loop *l, LLVMValueRef begin, LLVMValueRef end, int64_t step);
void cg_loop_end(struct cg_fn *f, struct cg_loop *l);
struct cg_if {
    LLVMBasicBlockRef then, other, exit;
};
void cg_if_begin(struct cg_fn *f, struct cg_if *c, LLVMValueRef cond); // then-branch
void cg_if_else(struct cg_fn *f, struct cg_if *c);                     // optional
void cg_if_end(struct cg_fn *f, struct cg_if *c);

// The contiguous share [begin, end) of `total` items, in units of `unit`, that this call is to do.
void cg_share(struct cg_fn *f, LLVMValueRef total, int64_t unit, LLVMValueRef *begin, LLVMValueRef *end);
// A helper function inside the kernel's module (internal linkage), e.g. a micro-kernel called from several places. Made
// once per (module, name): returns it, with *is_new telling the caller to emit the body (through a nested cg_fn).
LLVMValueRef cg_subfunction(struct cg_fn *f, const char *name, LLVMTypeRef fn_type, bool *is_new);
// Inlining it into every caller would undo the sharing (and the caller's loops would cost it registers).
void cg_noinline(struct cg_fn *f, LLVMValueRef fn);
// A cg_fn to emit into `fn` (entry block made, builder of its own); finish with cg_fn_done, which adds `ret void`.
struct cg_fn cg_fn_nested(struct cg_fn *outer, LLVMValueRef fn);
void cg_fn_done(struct cg_fn *nested);

// Node helpers for lowering.
static inline struct ir_type cg_in_type(struct cg_lower *L, ir_nid n, int i) {
    return L->g->values[L->g->nodes[n].in[i]].type;
}
static inline struct ir_type cg_out_type(struct cg_lower *L, ir_nid n, int i) {
    return L->g->values[L->g->nodes[n].out[i]].type;
}

#endif
