// The entry module: SPMD entry points that run a phase's calls in order with a barrier after each, and the tables
// behind smkd_query. Struct layouts are those of smkd_abi.h; every offset is compared with the compiler's own.
//
// A thread does the first half of its share of a call in one go and the rest part by part, and then what is left of the
// others' shares: cores of one machine are not equally fast (a neighbour on the same core, another guest), and all wait
// for the slowest at the barrier. Which thread computes a result never changes it.
#include "program.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    const struct cg_program *p;
    struct cg_fn f;    // the function being emitted
    LLVMValueRef call; // ptr to smkd_call
    LLVMValueRef base[16];
    const struct cg_phase *phase;
    int phase_index;
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

enum { KERNEL_ARGS = 5 }; // beside its pointers

static LLVMTypeRef kernel_type(struct cg_fn *f, int n_ptr) {
    LLVMTypeRef t[CG_MAX_PTRS + KERNEL_ARGS];
    for (int i = 0; i < n_ptr; i++) t[i] = f->p;
    t[n_ptr] = t[n_ptr + 1] = t[n_ptr + 2] = t[n_ptr + 3] = f->i64;
    t[n_ptr + 4] = f->p;
    return LLVMFunctionType(f->void_, t, (unsigned)n_ptr + KERNEL_ARGS, 0);
}

// A function of the entry module, internal, with the builder at its beginning. Ends with fn_end.
static struct cg_fn fn_begin(const struct cg_fn *proto, const char *name, LLVMTypeRef type) {
    struct cg_fn f = *proto;
    f.fn = LLVMAddFunction(f.mod, name, type);
    LLVMSetLinkage(f.fn, LLVMInternalLinkage);
    cg_fn_attributes(f.cx, f.fn, f.t);
    cg_noinline(&f, f.fn);
    f.b = LLVMCreateBuilderInContext(f.cx);
    LLVMPositionBuilderAtEnd(f.b, LLVMAppendBasicBlockInContext(f.cx, f.fn, "entry"));
    return f;
}

static LLVMValueRef fn_end(struct cg_fn *f) {
    LLVMBuildRetVoid(f->b);
    LLVMDisposeBuilder(f->b);
    return f->fn;
}

// --- sharing out -----------------------------------------------------------------------------------------------------
//
// At the end of each thread's scratch lie two counters of the parts that were taken out of its share, one for this call
// and one for the next, which the thread itself sets to 0 before the barrier between them.

enum { COUNTER = 8, TAKEN_AT_ONCE = CG_PARTS / 2, TAKEN_SINGLY = CG_PARTS - TAKEN_AT_ONCE };

static LLVMValueRef counter_at(struct cg_fn *f, LLVMValueRef counters, LLVMValueRef stride, LLVMValueRef thread) {
    return cg_gep(f, f->i8, counters, cg_muli(f, stride, thread));
}

static void clear_counter(struct cg_fn *f, LLVMValueRef at) {
    LLVMValueRef s = LLVMBuildStore(f->b, cg_i64(f, 0), at);
    LLVMSetAlignment(s, COUNTER);
    LLVMSetOrdering(s, LLVMAtomicOrderingMonotonic);
}

// i64 take(ptr counters, i64 stride, i64 thread, i64 threads): a part nobody has taken, of the thread's own while there
// are some; -1: none is left.
static LLVMTypeRef take_type(struct cg_fn *f) {
    return LLVMFunctionType(f->i64, (LLVMTypeRef[]){f->p, f->i64, f->i64, f->i64}, 4, 0);
}

static LLVMValueRef emit_take(struct cg_fn proto) {
    struct cg_fn *f = &proto;
    *f = fn_begin(&proto, "smkd_take", take_type(f));
    LLVMValueRef thread = LLVMGetParam(f->fn, 2), threads = LLVMGetParam(f->fn, 3);
    struct cg_loop l;
    struct cg_if some;
    LLVMValueRef k = cg_loop_begin(f, &l, cg_i64(f, 0), threads, 1);
    LLVMValueRef whose = cg_remi(f, cg_addi(f, thread, k), threads);
    LLVMValueRef at = counter_at(f, LLVMGetParam(f->fn, 0), LLVMGetParam(f->fn, 1), whose);
    LLVMValueRef taken = LLVMBuildLoad2(f->b, f->i64, at, ""); // a look first: the line may stay shared
    LLVMSetAlignment(taken, COUNTER);
    LLVMSetOrdering(taken, LLVMAtomicOrderingMonotonic);
    cg_if_begin(f, &some, LLVMBuildICmp(f->b, LLVMIntSLT, taken, cg_i64(f, TAKEN_SINGLY), ""));
    LLVMValueRef mine =
        LLVMBuildAtomicRMW(f->b, LLVMAtomicRMWBinOpAdd, at, cg_i64(f, 1), LLVMAtomicOrderingMonotonic, 0);
    LLVMBasicBlockRef found = LLVMAppendBasicBlockInContext(f->cx, f->fn, "found"),
                      late = LLVMAppendBasicBlockInContext(f->cx, f->fn, "late");
    LLVMBuildCondBr(f->b, LLVMBuildICmp(f->b, LLVMIntSLT, mine, cg_i64(f, TAKEN_SINGLY), ""), found, late);
    LLVMPositionBuilderAtEnd(f->b, found);
    LLVMBuildRet(f->b, cg_addi(f, cg_muladd(f, whose, CG_PARTS, cg_i64(f, TAKEN_AT_ONCE)), mine));
    LLVMPositionBuilderAtEnd(f->b, late);
    cg_if_end(f, &some);
    cg_loop_end(f, &l);
    LLVMBuildRet(f->b, cg_i64(f, -1));
    LLVMDisposeBuilder(f->b);
    return f->fn;
}

// The least N for which a call takes long enough to be shared out; 0: any, INT64_MAX: none.
static int64_t worth_sharing(const struct cg_program *p, const struct cg_phase *ph, const struct cg_call_rec *c) {
    const double gflops = 1e11, bandwidth = 2e10, least = 50e-6; // of one core, roughly; seconds on it
    if (p->share_all) return 0;
    struct ir_work w = {.bytes = 5 * (double)p->trained_bytes};
    if (c->node != IR_NONE) w = ir_fused_cost(ph->g, c->nodes, c->n_nodes);
    double fixed = w.flops / gflops + w.bytes / bandwidth, each = w.sample_flops / gflops + w.sample_bytes / bandwidth;
    if (fixed >= least) return 0;
    return each > 0 && (least - fixed) / each < 1e9 ? (int64_t)((least - fixed) / each) + 1 : INT64_MAX;
}

// --- steps -----------------------------------------------------------------------------------------------------------
//
// A phase is a list of steps: functions that call one kernel with its arguments, for some parts. They and what runs
// them are functions of their own, because one of all of it takes LLVM longer than all kernels.

// void step(ptr call, i64 thread, i64 threads, i64 first, i64 last)
static LLVMTypeRef step_type(struct cg_fn *f) {
    return LLVMFunctionType(f->void_, (LLVMTypeRef[]){f->p, f->i64, f->i64, f->i64, f->i64}, 5, 0);
}

static void bases_begin(struct entry *e) {
    struct cg_fn *f = &e->f;
    static const size_t at_of[] = {offsetof(struct smkd_call, inputs),     offsetof(struct smkd_call, outputs),
                                   offsetof(struct smkd_call, cotangents), offsetof(struct smkd_call, grad_inputs),
                                   offsetof(struct smkd_call, params),     offsetof(struct smkd_call, grads),
                                   offsetof(struct smkd_call, momentum),   offsetof(struct smkd_call, arena),
                                   offsetof(struct smkd_call, scratch),    offsetof(struct smkd_call, scalars)};
    for (int i = 0; i <= B_SCALARS; i++) e->base[i] = field(e, f->p, at_of[i]);
    int64_t fixed = e->phase->plan ? e->phase->plan->fixed_bytes : 0;
    e->base[B_SAMPLES] = cg_gep(f, f->i8, e->base[B_ARENA], cg_i64(f, fixed));
    f->N = field(e, f->i64, offsetof(struct smkd_call, batch));
}

static LLVMValueRef emit_step(const struct entry *of, size_t index) {
    struct entry e = *of;
    struct cg_fn *f = &e.f;
    const struct cg_call_rec *c = &e.phase->calls[index];
    char name[48];
    snprintf(name, sizeof name, "smkd_step_%d_%zu", e.phase_index, index);
    *f = fn_begin(&of->f, name, step_type(f));
    e.call = LLVMGetParam(f->fn, 0);
    bases_begin(&e);
    cg_kernel_symbol(e.p, c->kernel, name);
    LLVMTypeRef t = kernel_type(f, e.p->kernels[c->kernel].n_ptr);
    LLVMValueRef fn = LLVMGetNamedFunction(f->mod, name), args[CG_MAX_PTRS + KERNEL_ARGS], *more = args + c->n_args;
    if (!fn) {
        fn = LLVMAddFunction(f->mod, name, t);
        LLVMSetVisibility(fn, LLVMHiddenVisibility);
    }
    for (int i = 0; i < c->n_args; i++) args[i] = arg_address(&e, c, &c->args[i]);
    more[0] = c->images < 0 ? cg_muli(f, f->N, cg_i64(f, -c->images)) : cg_i64(f, c->images);
    more[1] = LLVMGetParam(f->fn, 3);
    more[2] = LLVMGetParam(f->fn, 4);
    more[3] = LLVMGetParam(f->fn, 2);
    more[4] =
        cg_gep(f, f->i8, e.base[B_SCRATCH], cg_muli(f, LLVMGetParam(f->fn, 1), cg_i64(f, e.phase->scratch_bytes)));
    LLVMBuildCall2(f->b, t, fn, args, (unsigned)c->n_args + KERNEL_ARGS, "");
    return fn_end(f);
}

// All threads meet; a lone one has nobody to meet and does not come here.
static void meet(struct entry *e, LLVMValueRef thread, LLVMValueRef threads) {
    struct cg_fn *f = &e->f;
    LLVMTypeRef t = LLVMFunctionType(f->void_, (LLVMTypeRef[]){f->p, f->i32, f->i32}, 3, 0);
    LLVMValueRef args[3] = {field(e, f->p, offsetof(struct smkd_call, barrier_env)),
                            LLVMBuildTrunc(f->b, thread, f->i32, ""), LLVMBuildTrunc(f->b, threads, f->i32, "")};
    LLVMBuildCall2(f->b, t, field(e, f->p, offsetof(struct smkd_call, barrier)), args, 3, "");
}

static void call_mark(struct entry *e, LLVMValueRef index) {
    struct cg_fn *f = &e->f;
    LLVMTypeRef t = LLVMFunctionType(f->void_, (LLVMTypeRef[]){f->p, f->i64}, 2, 0);
    LLVMValueRef args[2] = {field(e, f->p, offsetof(struct smkd_call, mark_env)), index};
    LLVMBuildCall2(f->b, t, field(e, f->p, offsetof(struct smkd_call, mark)), args, 2, "");
}

// What a thread keeps while it runs a phase: struct { ptr call; i64 thread, threads, stride, which; ptr counters; }.
// `stride` lies between the threads' counters, `counters` are thread 0's, `which` of the two is in use is an offset.
enum { S_CALL, S_THREAD, S_THREADS, S_STRIDE, S_WHICH, S_COUNTERS, S_FIELDS };
static LLVMTypeRef state_type(struct cg_fn *f) {
    return LLVMStructTypeInContext(f->cx, (LLVMTypeRef[]){f->p, f->i64, f->i64, f->i64, f->i64, f->p}, S_FIELDS, 0);
}
static LLVMValueRef state_at(struct cg_fn *f, LLVMValueRef state, unsigned k) {
    return LLVMBuildStructGEP2(f->b, state_type(f), state, k, "");
}
static LLVMValueRef state_get(struct cg_fn *f, LLVMValueRef state, unsigned k) {
    return LLVMBuildLoad2(f->b, k == S_CALL || k == S_COUNTERS ? f->p : f->i64, state_at(f, state, k), "");
}

// void run(ptr state, ptr step, i64 least, i64 index): the step by all threads, shared out when the batch is `least` or
// more, and the barrier.
static LLVMTypeRef run_type(struct cg_fn *f) {
    return LLVMFunctionType(f->void_, (LLVMTypeRef[]){f->p, f->p, f->i64, f->i64}, 4, 0);
}

static LLVMValueRef emit_run(const struct entry *of) {
    struct entry e = *of;
    struct cg_fn *f = &e.f;
    LLVMValueRef take = emit_take(*f);
    *f = fn_begin(&of->f, "smkd_run_step", run_type(f));
    LLVMValueRef state = LLVMGetParam(f->fn, 0), step = LLVMGetParam(f->fn, 1), v[S_FIELDS];
    for (unsigned k = 0; k < S_FIELDS; k++) v[k] = state_get(f, state, k);
    e.call = v[S_CALL];
    LLVMValueRef mine = cg_muli(f, v[S_THREAD], cg_i64(f, CG_PARTS)), zero = cg_i64(f, 0);
    LLVMValueRef args[5] = {e.call, v[S_THREAD], v[S_THREADS], mine, cg_addi(f, mine, cg_i64(f, CG_PARTS))};
    LLVMValueRef several = LLVMBuildICmp(f->b, LLVMIntSGT, v[S_THREADS], cg_i64(f, 1), "");
    LLVMValueRef N = field(&e, f->i64, offsetof(struct smkd_call, batch));
    struct cg_if shared, meets, marks;
    cg_if_begin(f, &shared,
                LLVMBuildAnd(f->b, several, LLVMBuildICmp(f->b, LLVMIntSGE, N, LLVMGetParam(f->fn, 2), ""), ""));
    {
        LLVMValueRef next = LLVMBuildXor(f->b, v[S_WHICH], cg_i64(f, COUNTER), "");
        clear_counter(f, counter_at(f, cg_gep(f, f->i8, v[S_COUNTERS], next), v[S_STRIDE], v[S_THREAD]));
        LLVMBuildStore(f->b, next, state_at(f, state, S_WHICH));
        LLVMValueRef now = cg_gep(f, f->i8, v[S_COUNTERS], v[S_WHICH]);
        LLVMValueRef half[5] = {args[0], args[1], args[2], mine, cg_addi(f, mine, cg_i64(f, TAKEN_AT_ONCE))};
        LLVMBuildCall2(f->b, step_type(f), step, half, 5, "");
        LLVMBasicBlockRef more = LLVMAppendBasicBlockInContext(f->cx, f->fn, "more"),
                          work = LLVMAppendBasicBlockInContext(f->cx, f->fn, "work"),
                          done = LLVMAppendBasicBlockInContext(f->cx, f->fn, "done");
        LLVMBuildBr(f->b, more);
        LLVMPositionBuilderAtEnd(f->b, more);
        LLVMValueRef ta[4] = {now, v[S_STRIDE], v[S_THREAD], v[S_THREADS]};
        LLVMValueRef part = LLVMBuildCall2(f->b, take_type(f), take, ta, 4, "");
        LLVMBuildCondBr(f->b, LLVMBuildICmp(f->b, LLVMIntSGE, part, zero, ""), work, done);
        LLVMPositionBuilderAtEnd(f->b, work);
        LLVMValueRef one[5] = {args[0], args[1], args[2], part, cg_addi(f, part, cg_i64(f, 1))};
        LLVMBuildCall2(f->b, step_type(f), step, one, 5, "");
        LLVMBuildBr(f->b, more);
        LLVMPositionBuilderAtEnd(f->b, done);
    }
    cg_if_else(f, &shared);
    LLVMBuildCall2(f->b, step_type(f), step, args, 5, "");
    cg_if_end(f, &shared);
    cg_if_begin(f, &meets, several);
    meet(&e, v[S_THREAD], v[S_THREADS]);
    cg_if_end(f, &meets);
    LLVMValueRef first = LLVMBuildICmp(f->b, LLVMIntEQ, v[S_THREAD], zero, "");
    LLVMValueRef wanted = LLVMBuildIsNotNull(f->b, field(&e, f->p, offsetof(struct smkd_call, mark)), "");
    cg_if_begin(f, &marks, LLVMBuildAnd(f->b, first, wanted, ""));
    call_mark(&e, LLVMGetParam(f->fn, 3));
    cg_if_end(f, &marks);
    return fn_end(f);
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

// The thread's state, with both of its counters at 0 before anyone looks.
static LLVMValueRef state_begin(struct entry *e, LLVMValueRef thread, LLVMValueRef threads) {
    struct cg_fn *f = &e->f;
    LLVMValueRef state = cg_local(f, state_type(f), NULL), stride = cg_i64(f, e->phase->scratch_bytes);
    LLVMValueRef scratch = field(e, f->p, offsetof(struct smkd_call, scratch));
    LLVMValueRef counters = cg_gep(f, f->i8, scratch, cg_i64(f, e->phase->scratch_bytes - CG_COUNTERS));
    LLVMValueRef v[S_FIELDS] = {e->call, thread, threads, stride, cg_i64(f, 0), counters};
    for (unsigned k = 0; k < S_FIELDS; k++) LLVMBuildStore(f->b, v[k], state_at(f, state, k));
    struct cg_if several;
    cg_if_begin(f, &several, LLVMBuildICmp(f->b, LLVMIntSGT, threads, cg_i64(f, 1), ""));
    LLVMValueRef own = counter_at(f, counters, stride, thread);
    for (int i = 0; i < 2; i++) clear_counter(f, cg_gep(f, f->i8, own, cg_i64(f, i * COUNTER)));
    meet(e, thread, threads);
    cg_if_end(f, &several);
    return state;
}

// Gradients of inputs: all wanted or none (smkd_abi.h). The list itself may be NULL.
static LLVMValueRef wants_input_grads(struct entry *e) {
    struct cg_fn *f = &e->f;
    LLVMValueRef some = cg_local(f, f->i1, LLVMConstInt(f->i1, 0, 0));
    LLVMValueRef list = field(e, f->p, offsetof(struct smkd_call, grad_inputs));
    struct cg_if c;
    cg_if_begin(f, &c, LLVMBuildIsNotNull(f->b, list, ""));
    LLVMBuildStore(f->b, LLVMBuildIsNotNull(f->b, cg_load(f, f->p, list, 8), ""), some);
    cg_if_end(f, &c);
    return LLVMBuildLoad2(f->b, f->i1, some, "want_input_grads");
}

// Which calls are left out at times: one test guards each run of them.
enum guard { ALWAYS, ONLY_INPUT_GRAD, PREPARES };
static enum guard guard_of(const struct cg_call_rec *c) {
    return c->only_input_grad ? ONLY_INPUT_GRAD : c->prepares ? PREPARES : ALWAYS;
}

static LLVMValueRef guard_holds(struct entry *e, enum guard g) {
    struct cg_fn *f = &e->f;
    if (g == ONLY_INPUT_GRAD) return wants_input_grads(e);
    return LLVMBuildICmp(f->b, LLVMIntEQ, field(e, f->i32, offsetof(struct smkd_call, prepared)), cg_i32(f, 0), "");
}

static LLVMValueRef emit_phase(const struct cg_program *p, struct cg_fn proto, LLVMValueRef *consts, int phase) {
    static const char *const names[] = {"smkd_infer", "smkd_forward", "smkd_backward", "smkd_update"};
    const struct cg_phase *ph = &p->phases[phase];
    struct entry e = {.p = p, .f = proto, .phase = ph, .phase_index = phase, .consts = consts};
    struct cg_fn *f = &e.f;
    LLVMValueRef run = LLVMGetNamedFunction(f->mod, "smkd_run_step");
    if (!run) run = emit_run(&e);
    LLVMValueRef *steps = xcalloc(ph->n_calls + 1, sizeof *steps);
    for (size_t i = 0; i < ph->n_calls; i++) steps[i] = emit_step(&e, i);
    *f = fn_begin(&proto, names[phase], LLVMFunctionType(f->void_, (LLVMTypeRef[]){f->p, f->i32, f->i32}, 3, 0));
    e.call = LLVMGetParam(f->fn, 0);
    LLVMValueRef thread = LLVMBuildSExt(f->b, LLVMGetParam(f->fn, 1), f->i64, "thread");
    LLVMValueRef threads = LLVMBuildSExt(f->b, LLVMGetParam(f->fn, 2), f->i64, "threads");
    LLVMValueRef state = ph->n_calls ? state_begin(&e, thread, threads) : NULL;
    for (size_t i = 0; i < ph->n_calls;) {
        const enum guard g = guard_of(&ph->calls[i]);
        struct cg_if c;
        if (g != ALWAYS) cg_if_begin(f, &c, guard_holds(&e, g));
        for (; i < ph->n_calls && guard_of(&ph->calls[i]) == g; i++) {
            LLVMValueRef args[4] = {state, steps[i], cg_i64(f, worth_sharing(p, ph, &ph->calls[i])),
                                    cg_i64(f, (int64_t)i)};
            LLVMBuildCall2(f->b, run_type(f), run, args, 4, "");
        }
        if (g != ALWAYS) cg_if_end(f, &c);
    }
    free(steps);
    return fn_end(f);
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
    static const uint32_t dtype_of[IR_DTYPE_COUNT] = {
        [IR_F32] = SMKD_ABI_F32,   [IR_I64] = SMKD_ABI_I64, [IR_I32] = SMKD_ABI_I32, [IR_U8] = SMKD_ABI_U8,
        [IR_BOOL] = SMKD_ABI_BOOL, [IR_F64] = SMKD_ABI_F64, [IR_I8] = SMKD_ABI_I8,   [IR_I16] = SMKD_ABI_I16,
        [IR_U16] = SMKD_ABI_U16,   [IR_U32] = SMKD_ABI_U32, [IR_U64] = SMKD_ABI_U64};
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

// What a classifier can be trained by.
static LLVMValueRef head_table(const struct cg_model *m, struct cg_fn *f, LLVMTargetDataRef td) {
    if (!m->n_heads) return LLVMConstNull(f->p);
    LLVMTypeRef e[] = {f->p, f->p, f->p, f->i32}, t = LLVMStructTypeInContext(f->cx, e, 4, 0);
    check_offset(td, t, 3, offsetof(struct smkd_abi_head, added), "smkd_abi_head.added");
    LLVMValueRef *rows = xcalloc(m->n_heads, sizeof *rows);
    for (size_t i = 0; i < m->n_heads; i++) {
        const struct ir_head *h = &m->heads[i];
        LLVMValueRef v[] = {text(f, h->output), text(f, h->logits), text(f, h->op), u32(f, h->added)};
        rows[i] = LLVMConstStructInContext(f->cx, v, 4, 0);
    }
    LLVMValueRef g = cg_constant(f, LLVMConstArray2(t, rows, m->n_heads), "heads");
    free(rows);
    return g;
}

static LLVMValueRef tap_table(const struct cg_model *m, struct cg_fn *f) {
    if (!m->n_taps) return LLVMConstNull(f->p);
    LLVMValueRef *names = xcalloc(m->n_taps, sizeof *names);
    for (size_t i = 0; i < m->n_taps; i++) names[i] = text(f, m->taps[i]);
    LLVMValueRef g = cg_constant(f, LLVMConstArray2(f->p, names, m->n_taps), "taps");
    free(names);
    return g;
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
        if (n && (i == 0 || ph->calls[i - 1].node != c->node)) w = ir_fused_cost(ph->g, c->nodes, c->n_nodes);
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
    *f = fn_begin(&proto, "smkd_fma_loop", LLVMFunctionType(f->void_, &f->i64, 1, 0));
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
    return fn_end(f);
}

static uint64_t content_hash(const struct cg_program *p) {
    uint64_t h = FNV_INIT;
    for (int i = 0; i < SMKD_ABI_PHASES; i++) {
        if (!p->phases[i].g) continue;
        h = fnv1a(h, &i, sizeof i);
        for (size_t c = 0; c < p->phases[i].n_calls; c++) h = fnv1a(h, &p->hashes[p->phases[i].calls[c].kernel], 8);
    }
    for (size_t i = 0; i < p->n_tensors; i++) h = fnv1a(h, p->tensors[i].name, strlen(p->tensors[i].name));
    // One output that is trained as it is needs no saying.
    const struct cg_model *m = p->model;
    for (size_t i = 0; i < m->n_heads; i++)
        if (m->n_heads > 1 || m->heads[i].added) h = fnv1a(h, m->heads[i].logits, strlen(m->heads[i].logits));
    for (size_t i = 0; i < m->n_taps; i++) h = fnv1a(h, m->taps[i], strlen(m->taps[i]) + 1);
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
    LLVMTypeRef ae[] = {f.i32, f.i32, f.p,   f.p, f.p, f.p,   f.p, f.i64, entries_t, f.i64, f.i64, f.i64, f.p,
                        f.p,   f.i64, f.i64, f.p, f.p, f.i64, f.p, f.i64, f.p,       f.p,   f.p,   f.i64};
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
        {20, offsetof(struct smkd_artifact, n_heads)},
        {22, offsetof(struct smkd_artifact, mixing_op)},
        {24, offsetof(struct smkd_artifact, n_taps)},
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
                         u64(&f, (uint64_t)FMA_CHAINS * 2 * (uint64_t)p->t->vl),
                         head_table(m, &f, td),
                         u64(&f, m->n_heads),
                         text(&f, m->mixing.node),
                         text(&f, m->mixing.op),
                         tap_table(m, &f),
                         u64(&f, m->n_taps)};
    LLVMValueRef art = cg_constant(&f, LLVMConstStructInContext(cx, av, N_FIELDS, 0), SMKD_TABLE_SYMBOL);
    LLVMSetLinkage(art, LLVMExternalLinkage);
    LLVMSetUnnamedAddress(art, LLVMNoUnnamedAddr);
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
        f.first = LLVMGetParam(f.fn, (unsigned)k->n_ptr + 1);
        f.last = LLVMGetParam(f.fn, (unsigned)k->n_ptr + 2);
        f.threads = LLVMGetParam(f.fn, (unsigned)k->n_ptr + 3);
        f.scratch = LLVMGetParam(f.fn, (unsigned)k->n_ptr + 4);
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
