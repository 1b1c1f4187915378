// The entry module: SPMD entry points that run a phase's calls in order with a barrier after each, and the tables
// behind smkd_query. Struct layouts are those of smkd_abi.h; every offset is compared with the compiler's own.
#include "program.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    const struct cg_program *p;
    struct cg_fn f;    // the entry function being emitted
    LLVMValueRef call; // ptr to smkd_call
    LLVMValueRef base[16];
    LLVMValueRef thread32, threads32;
    LLVMValueRef marks; // i1: this thread reports finished kernels
    const struct cg_phase *phase;
    LLVMValueRef *consts;
};

enum {
    B_INPUTS,
    B_OUTPUTS,
    B_COTANGENTS,
    B_GRAD_INPUTS,
    B_PARAMS,
    B_GRADS,
    B_MOMENTUM,
    B_ARENA,
    B_SCRATCH,
    B_SCALARS,
    B_SAMPLES
};

static LLVMValueRef field(struct entry *e, LLVMTypeRef t, size_t offset) {
    return cg_load(&e->f, t, cg_gep(&e->f, e->f.i8, e->call, cg_i64(&e->f, (int64_t)offset)), 8);
}

static LLVMValueRef slot_address(struct entry *e, const struct ir_slot *s) {
    struct cg_fn *f = &e->f;
    LLVMValueRef list;
    switch (s->place) {
    case IR_PLACE_SAMPLE:
        return cg_gep(f, f->i8, e->base[B_SAMPLES], cg_muli(f, f->N, cg_i64(f, s->offset)));
    case IR_PLACE_FIXED:
        return cg_gep(f, f->i8, e->base[B_ARENA], cg_i64(f, s->offset));
    case IR_PLACE_PARAM:
        return cg_gep(f, f->i8, e->base[B_PARAMS], cg_i64(f, s->offset));
    case IR_PLACE_GRAD:
        return cg_gep(f, f->i8, e->base[B_GRADS], cg_i64(f, s->offset));
    case IR_PLACE_SCALAR:
        return cg_gep(f, f->f64, e->base[B_SCALARS], cg_i64(f, s->index));
    case IR_PLACE_INPUT:
        list = e->base[s->index & CG_INDEX_COTANGENT ? B_COTANGENTS : B_INPUTS];
        break;
    case IR_PLACE_OUTPUT:
        list = e->base[s->index & CG_INDEX_GRAD_INPUT ? B_GRAD_INPUTS : B_OUTPUTS];
        break;
    default:
        BUG("a value without memory (place %d) is used as an address", (int)s->place);
    }
    return cg_load(f, f->p, cg_gep(f, f->p, list, cg_i64(f, s->index & 0xffff)), 8);
}

static LLVMValueRef arg_address(struct entry *e, const struct cg_call_rec *c, const struct cg_arg *a) {
    struct cg_fn *f = &e->f;
    bug_node = c->node == IR_NONE ? NULL : e->phase->g->nodes[c->node].loc.node;
    LLVMValueRef base = NULL;
    switch (a->kind) {
    case CG_ARG_BLOCK: {
        static const int of[] = {B_PARAMS, B_GRADS, B_MOMENTUM, B_SCALARS};
        return e->base[of[a->value]];
    }
    case CG_ARG_WORKSPACE:
        if (e->phase->plan->workspace[c->node].place == IR_PLACE_NONE)
            return LLVMConstNull(f->p); // a kernel that needs none this time
        base = slot_address(e, &e->phase->plan->workspace[c->node]);
        break;
    case CG_ARG_VALUE:
        if (e->phase->plan->values[a->value].place == IR_PLACE_CONST) {
            for (size_t i = 0; i < e->p->n_consts; i++)
                if (e->p->consts[i].g == e->phase->g && e->p->consts[i].v == a->value) base = e->consts[i];
            CHECK(base, "constant without data");
        } else {
            base = slot_address(e, &e->phase->plan->values[a->value]);
        }
        break;
    }
    LLVMValueRef off = cg_muladd(f, f->N, a->offset_n, cg_i64(f, a->offset));
    return cg_gep(f, f->i8, base, off);
}

static LLVMTypeRef kernel_type(struct cg_fn *f, int n_ptr) {
    LLVMTypeRef t[CG_MAX_PTRS + 4];
    for (int i = 0; i < n_ptr; i++) t[i] = f->p;
    t[n_ptr] = t[n_ptr + 1] = t[n_ptr + 2] = f->i64;
    t[n_ptr + 3] = f->p;
    return LLVMFunctionType(f->void_, t, (unsigned)n_ptr + 4, 0);
}

static void emit_mark(struct entry *e, size_t index) {
    struct cg_fn *f = &e->f;
    struct cg_if c;
    cg_if_begin(f, &c, e->marks);
    LLVMTypeRef t[2] = {f->p, f->i64};
    LLVMValueRef args[2] = {field(e, f->p, offsetof(struct smkd_call, mark_env)), cg_i64(f, (int64_t)index)};
    LLVMBuildCall2(f->b, LLVMFunctionType(f->void_, t, 2, 0), field(e, f->p, offsetof(struct smkd_call, mark)), args, 2,
                   "");
    cg_if_end(f, &c);
}

static void emit_call(struct entry *e, size_t index) {
    const struct cg_call_rec *c = &e->phase->calls[index];
    struct cg_fn *f = &e->f;
    struct cg_if unprepared;
    if (c->prepares) {
        LLVMValueRef done = field(e, f->i32, offsetof(struct smkd_call, prepared));
        cg_if_begin(f, &unprepared, LLVMBuildICmp(f->b, LLVMIntEQ, done, cg_i32(f, 0), ""));
    }
    const struct cg_kernel *k = &e->p->kernels[c->kernel];
    char name[32];
    cg_kernel_symbol(e->p, c->kernel, name);
    LLVMTypeRef t = kernel_type(f, k->n_ptr);
    LLVMValueRef fn = LLVMGetNamedFunction(f->mod, name), args[CG_MAX_PTRS + 4];
    if (!fn) {
        fn = LLVMAddFunction(f->mod, name, t);
        LLVMSetVisibility(fn, LLVMHiddenVisibility);
    }
    for (int i = 0; i < c->n_args; i++) args[i] = arg_address(e, c, &c->args[i]);
    args[c->n_args] = c->images < 0 ? cg_muli(f, f->N, cg_i64(f, -c->images)) : cg_i64(f, c->images);
    args[c->n_args + 1] = f->thread;
    args[c->n_args + 2] = f->threads;
    args[c->n_args + 3] = f->scratch;
    LLVMBuildCall2(f->b, t, fn, args, (unsigned)c->n_args + 4, "");
    // Barrier: through the caller's table; a lone thread has nobody to meet.
    struct cg_if one;
    cg_if_begin(f, &one, LLVMBuildICmp(f->b, LLVMIntSGT, f->threads, cg_i64(f, 1), ""));
    LLVMTypeRef bt[3] = {f->p, f->i32, f->i32}, barrier_t = LLVMFunctionType(f->void_, bt, 3, 0);
    LLVMValueRef b = field(e, f->p, offsetof(struct smkd_call, barrier));
    LLVMValueRef ba[3] = {field(e, f->p, offsetof(struct smkd_call, barrier_env)), e->thread32, e->threads32};
    LLVMBuildCall2(f->b, barrier_t, b, ba, 3, "");
    cg_if_end(f, &one);
    emit_mark(e, index);
    if (c->prepares) cg_if_end(f, &unprepared);
}

static struct cg_fn fn_context(LLVMContextRef cx, LLVMModuleRef mod, const struct cg_target *t) {
    struct cg_fn f = {.cx = cx, .mod = mod, .t = t};
    f.f32 = LLVMFloatTypeInContext(cx);
    f.f64 = LLVMDoubleTypeInContext(cx);
    f.i1 = LLVMInt1TypeInContext(cx);
    f.i8 = LLVMInt8TypeInContext(cx);
    f.i16 = LLVMInt16TypeInContext(cx);
    f.i32 = LLVMInt32TypeInContext(cx);
    f.i64 = LLVMInt64TypeInContext(cx);
    f.p = LLVMPointerTypeInContext(cx, 0);
    f.vf = LLVMVectorType(f.f32, (unsigned)t->vl);
    f.void_ = LLVMVoidTypeInContext(cx);
    return f;
}

static LLVMModuleRef new_module(LLVMContextRef cx, const struct cg_target *t, const char *name) {
    LLVMModuleRef mod = LLVMModuleCreateWithNameInContext(name, cx);
    LLVMSetTarget(mod, t->triple);
    LLVMTargetMachineRef tm = cg_target_machine(t);
    LLVMTargetDataRef td = LLVMCreateTargetDataLayout(tm);
    LLVMSetModuleDataLayout(mod, td);
    LLVMDisposeTargetData(td);
    LLVMDisposeTargetMachine(tm);
    return mod;
}

static LLVMValueRef emit_phase(const struct cg_program *p, struct cg_fn proto, LLVMValueRef *consts, int phase) {
    static const char *const names[] = {"smkd_infer", "smkd_forward", "smkd_backward", "smkd_update"};
    const struct cg_phase *ph = &p->phases[phase];
    struct entry e = {.p = p, .f = proto, .phase = ph, .consts = consts};
    struct cg_fn *f = &e.f;
    LLVMTypeRef at[3] = {f->p, f->i32, f->i32};
    f->fn = LLVMAddFunction(f->mod, names[phase], LLVMFunctionType(f->void_, at, 3, 0));
    LLVMSetLinkage(f->fn, LLVMInternalLinkage);
    cg_fn_attributes(f->cx, f->fn, p->t);
    f->b = LLVMCreateBuilderInContext(f->cx);
    LLVMPositionBuilderAtEnd(f->b, LLVMAppendBasicBlockInContext(f->cx, f->fn, "entry"));
    e.call = LLVMGetParam(f->fn, 0);
    e.thread32 = LLVMGetParam(f->fn, 1);
    e.threads32 = LLVMGetParam(f->fn, 2);
    f->thread = LLVMBuildSExt(f->b, e.thread32, f->i64, "thread");
    f->threads = LLVMBuildSExt(f->b, e.threads32, f->i64, "threads");
    f->N = field(&e, f->i64, offsetof(struct smkd_call, batch));
    static const size_t at_of[] = {offsetof(struct smkd_call, inputs),     offsetof(struct smkd_call, outputs),
                                   offsetof(struct smkd_call, cotangents), offsetof(struct smkd_call, grad_inputs),
                                   offsetof(struct smkd_call, params),     offsetof(struct smkd_call, grads),
                                   offsetof(struct smkd_call, momentum),   offsetof(struct smkd_call, arena),
                                   offsetof(struct smkd_call, scratch),    offsetof(struct smkd_call, scalars)};
    for (int i = 0; i <= B_SCALARS; i++) e.base[i] = field(&e, f->p, at_of[i]);
    LLVMValueRef wanted = LLVMBuildIsNotNull(f->b, field(&e, f->p, offsetof(struct smkd_call, mark)), "");
    LLVMValueRef first = LLVMBuildICmp(f->b, LLVMIntEQ, f->thread, cg_i64(f, 0), "");
    e.marks = LLVMBuildAnd(f->b, wanted, first, "marks");
    int64_t fixed = ph->plan ? ph->plan->fixed_bytes : 0;
    e.base[B_SAMPLES] = cg_gep(f, f->i8, e.base[B_ARENA], cg_i64(f, fixed));
    f->scratch = cg_gep(f, f->i8, e.base[B_SCRATCH], cg_muli(f, f->thread, cg_i64(f, ph->scratch_bytes)));
    // Gradients of inputs: all wanted or none (smkd_abi.h). One test guards each run of calls that serve only them.
    LLVMValueRef want = NULL;
    for (size_t i = 0; i < ph->n_calls; i++) {
        if (!ph->calls[i].only_input_grad) {
            emit_call(&e, i);
            continue;
        }
        if (!want) {
            // The list itself may be NULL.
            LLVMValueRef some = cg_local(f, f->i1, LLVMConstInt(f->i1, 0, 0)), list = e.base[B_GRAD_INPUTS];
            struct cg_if c;
            cg_if_begin(f, &c, LLVMBuildIsNotNull(f->b, list, ""));
            LLVMBuildStore(f->b, LLVMBuildIsNotNull(f->b, cg_load(f, f->p, list, 8), ""), some);
            cg_if_end(f, &c);
            want = LLVMBuildLoad2(f->b, f->i1, some, "want_input_grads");
        }
        struct cg_if c;
        cg_if_begin(f, &c, want);
        for (; i < ph->n_calls && ph->calls[i].only_input_grad; i++) emit_call(&e, i);
        i--;
        cg_if_end(f, &c);
    }
    LLVMBuildRetVoid(f->b);
    LLVMDisposeBuilder(f->b);
    return f->fn;
}

static LLVMValueRef global_bytes(struct cg_fn *f, const char *name, const void *data, size_t n, unsigned align) {
    LLVMValueRef init = LLVMConstStringInContext2(f->cx, data, n, 1);
    LLVMValueRef g = cg_constant(f, init, name);
    LLVMSetAlignment(g, align);
    return g;
}

static LLVMValueRef text(struct cg_fn *f, const char *s) {
    return s ? global_bytes(f, "str", s, strlen(s) + 1, 1) : LLVMConstNull(f->p);
}
static LLVMValueRef u32(struct cg_fn *f, uint64_t v) { return LLVMConstInt(f->i32, v, 0); }
static LLVMValueRef u64(struct cg_fn *f, uint64_t v) { return LLVMConstInt(f->i64, v, 0); }

static void check_offset(LLVMTargetDataRef td, LLVMTypeRef t, unsigned element, size_t offset, const char *what) {
    CHECK(LLVMOffsetOfElement(td, t, element) == offset, "LLVM lays out %s differently from C", what);
}

static LLVMValueRef tensor_table(const struct cg_program *p, struct cg_fn *f, LLVMTargetDataRef td) {
    LLVMTypeRef dims_t = LLVMArrayType2(f->i64, SMKD_ABI_MAX_RANK);
    LLVMTypeRef e[] = {f->p, f->i32, f->i32, f->i32, f->i32, dims_t, f->i64, f->i64};
    LLVMTypeRef t = LLVMStructTypeInContext(f->cx, e, 8, 0);
    check_offset(td, t, 1, offsetof(struct smkd_abi_tensor, role), "smkd_abi_tensor.role");
    check_offset(td, t, 5, offsetof(struct smkd_abi_tensor, dims), "smkd_abi_tensor.dims");
    check_offset(td, t, 7, offsetof(struct smkd_abi_tensor, numel), "smkd_abi_tensor.numel");
    static const uint32_t dtype_of[] = {[IR_F32] = SMKD_ABI_F32, [IR_I64] = SMKD_ABI_I64,   [IR_I32] = SMKD_ABI_I32,
                                        [IR_U8] = SMKD_ABI_U8,   [IR_BOOL] = SMKD_ABI_BOOL, [IR_F64] = SMKD_ABI_F64};
    LLVMValueRef *rows = xcalloc(p->n_tensors, sizeof *rows);
    for (size_t i = 0; i < p->n_tensors; i++) {
        const struct cg_tensor *r = &p->tensors[i];
        LLVMValueRef dims[SMKD_ABI_MAX_RANK];
        for (int d = 0; d < SMKD_ABI_MAX_RANK; d++) dims[d] = u64(f, d < r->type.rank ? (uint64_t)r->type.dims[d] : 0);
        LLVMValueRef v[] = {text(f, r->name),
                            u32(f, r->role),
                            u32(f, dtype_of[r->type.dtype]),
                            u32(f, r->type.rank),
                            u32(f, r->index),
                            LLVMConstArray2(f->i64, dims, SMKD_ABI_MAX_RANK),
                            u64(f, (uint64_t)r->offset),
                            u64(f, (uint64_t)r->numel)};
        rows[i] = LLVMConstStructInContext(f->cx, v, 8, 0);
    }
    LLVMValueRef init = LLVMConstArray2(t, rows, p->n_tensors), g = cg_constant(f, init, "tensors");
    free(rows);
    return g;
}

static LLVMValueRef f64(struct cg_fn *f, double v) { return LLVMConstReal(f->f64, v); }

// A name that many rows share is stored once.
struct names {
    const char *text[4096];
    LLVMValueRef global[4096];
};

static LLVMValueRef shared_text(struct cg_fn *f, struct names *names, const char *s) {
    if (!s) return LLVMConstNull(f->p);
    enum { N = sizeof names->text / sizeof *names->text };
    size_t at = (size_t)(fnv1a(FNV_INIT, s, strlen(s)) % N), tries = 0;
    for (; tries < 8 && names->text[at] && strcmp(names->text[at], s) != 0; tries++) at = (at + 1) % N;
    if (tries == 8) return text(f, s);
    if (!names->text[at]) {
        names->text[at] = s;
        names->global[at] = text(f, s);
    }
    return names->global[at];
}

// What a phase runs, for profiles.
static LLVMValueRef kernel_table(const struct cg_program *p, struct cg_fn *f, LLVMTargetDataRef td, int phase) {
    const struct cg_phase *ph = &p->phases[phase];
    if (!ph->n_calls) return LLVMConstNull(f->p);
    LLVMTypeRef e[] = {f->p, f->p, f->p, f->i32, f->f64, f->f64, f->f64, f->f64};
    LLVMTypeRef t = LLVMStructTypeInContext(f->cx, e, 8, 0);
    check_offset(td, t, 3, offsetof(struct smkd_abi_kernel, node_index), "smkd_abi_kernel.node_index");
    check_offset(td, t, 7, offsetof(struct smkd_abi_kernel, sample_bytes), "smkd_abi_kernel.sample_bytes");
    LLVMValueRef *rows = xcalloc(ph->n_calls, sizeof *rows);
    struct names *names = xcalloc(1, sizeof *names);
    struct arena a;
    arena_init(&a);
    for (size_t i = 0; i < ph->n_calls; i++) {
        const struct cg_call_rec *c = &ph->calls[i];
        const struct ir_node *n = c->node == IR_NONE ? NULL : &ph->g->nodes[c->node];
        const char *key = p->kernels[c->kernel].key, *node = n ? n->loc.node : NULL;
        if (node && n->loc.note) node = arena_printf(&a, "%s %s", n->loc.note, node);
        struct ir_work w = {0};
        if (n && (i == 0 || ph->calls[i - 1].node != c->node)) w = ir_fused_cost(ph->g, c->node);
        if (!n) w.bytes = 5 * (double)p->trained_bytes; // the update reads w, g, v and writes w, v
        LLVMValueRef v[] = {shared_text(f, names, node),
                            shared_text(f, names, n ? ir_ops[n->op].name : "update"),
                            shared_text(f, names, arena_printf(&a, "%.*s", (int)strcspn(key, ":"), key)),
                            u32(f, c->node),
                            f64(f, w.flops),
                            f64(f, w.sample_flops),
                            f64(f, w.bytes),
                            f64(f, w.sample_bytes)};
        rows[i] = LLVMConstStructInContext(f->cx, v, 8, 0);
    }
    LLVMValueRef init = LLVMConstArray2(t, rows, ph->n_calls), g = cg_constant(f, init, "kernels");
    arena_release(&a);
    free(names);
    free(rows);
    return g;
}

enum { FMA_CHAINS = 12 }; // independent sums: enough to hide the latency, few enough for 16 registers

// void fma_loop(int64_t trips)
static LLVMValueRef emit_fma_loop(struct cg_fn proto) {
    struct cg_fn *f = &proto;
    f->fn = LLVMAddFunction(f->mod, "smkd_fma_loop", LLVMFunctionType(f->void_, &f->i64, 1, 0));
    LLVMSetLinkage(f->fn, LLVMInternalLinkage);
    cg_fn_attributes(f->cx, f->fn, f->t);
    f->b = LLVMCreateBuilderInContext(f->cx);
    LLVMPositionBuilderAtEnd(f->b, LLVMAppendBasicBlockInContext(f->cx, f->fn, "entry"));
    LLVMValueRef sum[FMA_CHAINS], sink = cg_local(f, f->vf, NULL);
    // x*x + sum with x = 2^-40: numbers stay normal however long it runs.
    LLVMValueRef x = cg_splat(f, cg_f32c(f, 0x1p-40), f->t->vl);
    for (int i = 0; i < FMA_CHAINS; i++) sum[i] = cg_local(f, f->vf, cg_splat(f, cg_f32c(f, i), f->t->vl));
    struct cg_loop l;
    cg_loop_begin(f, &l, cg_i64(f, 0), LLVMGetParam(f->fn, 0), 1);
    for (int i = 0; i < FMA_CHAINS; i++)
        LLVMBuildStore(f->b, cg_fma(f, x, x, LLVMBuildLoad2(f->b, f->vf, sum[i], "")), sum[i]);
    cg_loop_end(f, &l);
    for (int i = 0; i < FMA_CHAINS; i++) // used, so that the loop stays
        LLVMSetVolatile(LLVMBuildStore(f->b, LLVMBuildLoad2(f->b, f->vf, sum[i], ""), sink), 1);
    LLVMBuildRetVoid(f->b);
    LLVMDisposeBuilder(f->b);
    return f->fn;
}

static uint64_t content_hash(const struct cg_program *p) {
    uint64_t h = FNV_INIT;
    for (int i = 0; i < SMKD_ABI_PHASES; i++) {
        if (!p->phases[i].g) continue;
        h = fnv1a(h, &i, sizeof i);
        for (size_t c = 0; c < p->phases[i].n_calls; c++) h = fnv1a(h, &p->hashes[p->phases[i].calls[c].kernel], 8);
    }
    for (size_t i = 0; i < p->n_tensors; i++) h = fnv1a(h, p->tensors[i].name, strlen(p->tensors[i].name));
    h = fnv1a(h, p->t->cpu, strlen(p->t->cpu));
    return fnv1a(h, cg_version(), strlen(cg_version()));
}

LLVMModuleRef cg_emit_entry(const struct cg_program *p, LLVMContextRef cx, const char *weights_symbol) {
    LLVMModuleRef mod = new_module(cx, p->t, "smkd_entry");
    struct cg_fn f = fn_context(cx, mod, p->t);
    LLVMTargetDataRef td = LLVMGetModuleDataLayout(mod);
    LLVMValueRef *consts = xcalloc(p->n_consts + 1, sizeof *consts);
    for (size_t i = 0; i < p->n_consts; i++) {
        const struct ir_value *v = &p->consts[i].g->values[p->consts[i].v];
        consts[i] = global_bytes(&f, "const", v->data, (size_t)ir_numel(&v->type) * ir_dtype_size(v->type.dtype), 64);
    }
    LLVMTypeRef entry_e[] = {f.p, f.i64, f.i64, f.i64, f.p, f.i64},
                entry_t = LLVMStructTypeInContext(cx, entry_e, 6, 0);
    check_offset(td, entry_t, 3, offsetof(struct smkd_abi_entry, scratch_bytes), "smkd_abi_entry");
    check_offset(td, entry_t, 5, offsetof(struct smkd_abi_entry, n_kernels), "smkd_abi_entry.n_kernels");
    LLVMValueRef entries[SMKD_ABI_PHASES];
    for (int i = 0; i < SMKD_ABI_PHASES; i++) {
        const struct cg_phase *ph = &p->phases[i];
        // 256 bytes of slack: vector loads may read (never write) past the last value.
        uint64_t fixed = ph->plan ? (uint64_t)ph->plan->fixed_bytes + 256 : 0,
                 sample = ph->plan ? (uint64_t)ph->plan->sample_bytes : 0;
        LLVMValueRef v[] = {ph->g ? emit_phase(p, f, consts, i) : LLVMConstNull(f.p),
                            u64(&f, fixed),
                            u64(&f, sample),
                            u64(&f, (uint64_t)ph->scratch_bytes),
                            kernel_table(p, &f, td, i),
                            u64(&f, ph->n_calls)};
        entries[i] = LLVMConstStructInContext(cx, v, 6, 0);
    }
    LLVMTypeRef entries_t = LLVMArrayType2(entry_t, SMKD_ABI_PHASES);
    LLVMTypeRef ae[] = {f.i32, f.i32, f.p, f.p, f.p,   f.p,   f.p, f.i64, entries_t, f.i64,
                        f.i64, f.i64, f.p, f.p, f.i64, f.i64, f.p, f.p,   f.i64};
    enum { N_FIELDS = sizeof ae / sizeof *ae };
    LLVMTypeRef at = LLVMStructTypeInContext(cx, ae, N_FIELDS, 0);
    static const struct {
        unsigned element;
        size_t offset;
    } check[] = {
        {2, offsetof(struct smkd_artifact, name)},
        {6, offsetof(struct smkd_artifact, tensors)},
        {8, offsetof(struct smkd_artifact, entries)},
        {9, offsetof(struct smkd_artifact, max_batch)},
        {11, offsetof(struct smkd_artifact, trained_bytes)},
        {12, offsetof(struct smkd_artifact, initial)},
        {14, offsetof(struct smkd_artifact, onnx_bytes)},
        {16, offsetof(struct smkd_artifact, notes)},
        {18, offsetof(struct smkd_artifact, fma_loop_flops)},
    };
    for (size_t i = 0; i < sizeof check / sizeof *check; i++)
        check_offset(td, at, check[i].element, check[i].offset, "smkd_artifact");
    LLVMValueRef initial = LLVMConstNull(f.p);
    if (weights_symbol) {
        initial = LLVMAddGlobal(mod, f.i8, weights_symbol);
        LLVMSetVisibility(initial, LLVMHiddenVisibility);
    }
    const struct cg_model *m = p->model;
    char producer[128];
    snprintf(producer, sizeof producer, "smkdc %s", cg_version());
    LLVMValueRef onnx = m->onnx ? global_bytes(&f, "onnx", m->onnx, m->onnx_bytes, 16) : LLVMConstNull(f.p);
    LLVMValueRef av[] = {u32(&f, SMKD_ABI_VERSION),
                         u32(&f, m->kind),
                         text(&f, m->name),
                         text(&f, producer),
                         text(&f, p->t->cpu),
                         text(&f, p->t->required),
                         tensor_table(p, &f, td),
                         u64(&f, p->n_tensors),
                         LLVMConstArray2(entry_t, entries, SMKD_ABI_PHASES),
                         u64(&f, (uint64_t)p->max_batch),
                         u64(&f, (uint64_t)p->param_bytes),
                         u64(&f, (uint64_t)p->trained_bytes),
                         initial,
                         onnx,
                         u64(&f, m->onnx_bytes),
                         u64(&f, content_hash(p)),
                         text(&f, m->notes ? m->notes : "{}"),
                         emit_fma_loop(f),
                         u64(&f, (uint64_t)FMA_CHAINS * 2 * (uint64_t)p->t->vl)};
    LLVMValueRef art = cg_constant(&f, LLVMConstStructInContext(cx, av, N_FIELDS, 0), "artifact");
    // const struct smkd_artifact *smkd_query(uint32_t version): plain x86-64, so that it can run on any machine.
    LLVMValueRef q = LLVMAddFunction(mod, SMKD_QUERY_SYMBOL, LLVMFunctionType(f.p, &f.i32, 1, 0));
    LLVMAddAttributeAtIndex(q, LLVMAttributeFunctionIndex,
                            LLVMCreateStringAttribute(cx, "target-cpu", 10, "x86-64", 6));
    LLVMBuilderRef b = LLVMCreateBuilderInContext(cx);
    LLVMPositionBuilderAtEnd(b, LLVMAppendBasicBlockInContext(cx, q, "entry"));
    LLVMValueRef same = LLVMBuildICmp(b, LLVMIntEQ, LLVMGetParam(q, 0), u32(&f, SMKD_ABI_VERSION), "");
    LLVMBuildRet(b, LLVMBuildSelect(b, same, art, LLVMConstNull(f.p), ""));
    LLVMDisposeBuilder(b);
    free(consts);
    return mod;
}

LLVMModuleRef cg_emit_kernels(const struct cg_program *p, LLVMContextRef cx, size_t first, size_t stride) {
    LLVMModuleRef mod = new_module(cx, p->t, "smkd_kernels");
    for (size_t i = first; i < p->n_kernels; i += stride) {
        const struct cg_kernel *k = &p->kernels[i];
        struct cg_fn f = fn_context(cx, mod, p->t);
        char name[32];
        cg_kernel_symbol(p, (uint32_t)i, name);
        f.fn = LLVMAddFunction(mod, name, kernel_type(&f, k->n_ptr));
        LLVMSetVisibility(f.fn, LLVMHiddenVisibility);
        cg_fn_attributes(cx, f.fn, p->t);
        unsigned noalias = LLVMGetEnumAttributeKindForName("noalias", 7);
        for (int a = 0; a < k->n_ptr; a++) {
            f.ptr[a] = LLVMGetParam(f.fn, (unsigned)a);
            if (k->noalias) LLVMAddAttributeAtIndex(f.fn, (unsigned)a + 1, LLVMCreateEnumAttribute(cx, noalias, 0));
        }
        f.N = LLVMGetParam(f.fn, (unsigned)k->n_ptr);
        f.thread = LLVMGetParam(f.fn, (unsigned)k->n_ptr + 1);
        f.threads = LLVMGetParam(f.fn, (unsigned)k->n_ptr + 2);
        f.scratch = LLVMGetParam(f.fn, (unsigned)k->n_ptr + 3);
        f.b = LLVMCreateBuilderInContext(cx);
        LLVMPositionBuilderAtEnd(f.b, LLVMAppendBasicBlockInContext(cx, f.fn, "entry"));
        bug_node = k->key;
        k->emit(&f, k->params);
        bug_node = NULL;
        LLVMBuildRetVoid(f.b);
        LLVMDisposeBuilder(f.b);
    }
    return mod;
}
