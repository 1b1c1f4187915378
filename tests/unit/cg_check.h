// Compiles a graph of IR, runs it through the bare ABI on 1, 2 and 3 threads (same bits demanded) for AVX2 and, where
// the machine has it, AVX-512, and compares every output with the naive float64 interpreter.
#ifndef CG_CHECK_H
#define CG_CHECK_H

#include "../../codegen/codegen.h"
#include "../../ir/eval.h"
#include "../../runtime/include/smkd_abi.h"

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
// cmocka wants the four above first
#include <cmocka.h>

static inline uint64_t h_next(uint64_t *s) { // splitmix64
    uint64_t z = (*s += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static inline double h_uniform(uint64_t *s) { return (double)(h_next(s) >> 11) * 0x1p-53; }

struct h_options {
    double rtol;    // |got - want| <= rtol * (max |want| of that output), default 2e-5
    double lo, hi;  // range of random f32 values, default [-2, 2]
    int64_t int_hi; // random integers in [0, int_hi), default 3
    uint64_t seed;
};

struct h_thread {
    smkd_entry run;
    const struct smkd_call *call;
    int thread, threads;
};
static inline void *h_thread_main(void *p) {
    struct h_thread *t = p;
    t->run(t->call, t->thread, t->threads);
    return NULL;
}
// Threads start each call at different times, so that some find theirs done by others.
static inline void h_barrier(void *env, int32_t thread, int32_t threads) {
    pthread_barrier_wait(env);
    struct timespec t0, t;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    do clock_gettime(CLOCK_MONOTONIC, &t);
    while ((t.tv_sec - t0.tv_sec) * 1000000000L + t.tv_nsec - t0.tv_nsec < 20000L * ((thread + 1) % threads));
}
static inline void h_run(smkd_entry run, struct smkd_call *call, int threads) {
    pthread_barrier_t b;
    pthread_barrier_init(&b, NULL, (unsigned)threads);
    call->barrier = h_barrier;
    call->barrier_env = &b;
    pthread_t id[8];
    struct h_thread t[8];
    for (int i = 0; i < threads; i++) {
        t[i] = (struct h_thread){run, call, i, threads};
        if (i) assert_int_equal(pthread_create(&id[i], NULL, h_thread_main, &t[i]), 0);
    }
    h_thread_main(&t[0]);
    for (int i = 1; i < threads; i++) pthread_join(id[i], NULL);
    pthread_barrier_destroy(&b);
}

static inline void *h_alloc(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 319) / 64 * 64);
    assert_non_null(p);
    memset(p, 0x7f, (bytes + 319) / 64 * 64); // 0x7f7f7f7f is a huge float: reading what was never written shows
    return p;
}

static inline int64_t h_elems(const struct ir_type *t, int64_t batch) {
    return ir_numel(t) * (ir_is_batched(t) ? batch : 1);
}

// Phases run: FORWARD and, when the graph has backward nodes, BACKWARD. `g` is consumed (codegen changes it).
static inline void h_check(struct ir_graph *g, int64_t batch, const struct h_options *opt) {
    struct h_options o = opt ? *opt : (struct h_options){0};
    if (o.rtol == 0) o.rtol = 2e-5;
    if (o.lo == 0 && o.hi == 0) o.lo = -2, o.hi = 2;
    if (o.int_hi == 0) o.int_hi = 3;
    struct arena a;
    arena_init(&a);
    struct ir_graph *ref = ir_graph_clone(&a, g);
    // Random boundary values, the same for all runs.
    uint64_t s = o.seed + 1;
    void **raw = xcalloc(ref->n_values, sizeof *raw);
    struct ir_tensor **ev = xcalloc(ref->n_values, sizeof *ev);
    for (size_t i = 0; i < ref->n_boundary; i++) {
        ir_vid v = ref->boundary[i];
        const struct ir_type *t = &ref->values[v].type;
        int64_t n = h_elems(t, batch);
        raw[v] = h_alloc((size_t)n * ir_dtype_size(t->dtype));
        for (int64_t k = 0; k < n; k++) {
            if (t->dtype == IR_F32) ((float *)raw[v])[k] = (float)(o.lo + (o.hi - o.lo) * h_uniform(&s));
            if (t->dtype == IR_I64) ((int64_t *)raw[v])[k] = (int64_t)(h_next(&s) % (uint64_t)o.int_hi);
            if (t->dtype == IR_I32) ((int32_t *)raw[v])[k] = (int32_t)(h_next(&s) % (uint64_t)o.int_hi);
            if (t->dtype == IR_U8 || t->dtype == IR_BOOL) ((uint8_t *)raw[v])[k] = (uint8_t)(h_next(&s) & 1);
        }
        ev[v] = ir_tensor_from(&a, ir_concrete(t, batch), raw[v]);
    }
    ir_eval(ref, &a, batch, ev);
    static const char *const cpus[] = {"x86-64-v3", "native"};
    int first_cpu = 0, end = 2;
#ifdef __SANITIZE_ADDRESS__ // sees what compiles, not what was compiled: the CPUs take turns
    static int turn;
    first_cpu = turn++ % 2, end = first_cpu + 1;
#endif
    for (int c = first_cpu; c < end; c++) {
        struct ir_graph *copy = ir_graph_clone(&a, g);
        struct cg_model m = {.name = "test", .kind = SMKD_ABI_MODEL, .train = copy};
        struct cg_options co = {.mcpu = cpus[c], .max_batch = batch, .emit = "lib", .verify = true, .share_all = c};
        struct diag d = {0};
        char path[] = "/tmp/smkd_test_XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(cg_compile(&m, &co, path, &d), SMKD_OK);
        void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!lib) print_error("%s\n", dlerror());
        assert_non_null(lib);
        smkd_query_fn query;
        *(void **)&query = dlsym(lib, SMKD_QUERY_SYMBOL);
        const struct smkd_artifact *art = query(SMKD_ABI_VERSION);
        assert_non_null(art);
        float *first[64] = {0};
        for (int threads = 1; threads <= 3; threads++) {
            const struct smkd_abi_entry *fe = &art->entries[SMKD_ABI_FORWARD], *be = &art->entries[SMKD_ABI_BACKWARD];
            void *inputs[32], *outputs[32], *cots[32], *gin[32];
            double scalars[32] = {0};
            struct smkd_call call = {.inputs = (const void *const *)inputs,
                                     .outputs = outputs,
                                     .cotangents = (const void *const *)cots,
                                     .grad_inputs = gin,
                                     .scalars = scalars,
                                     .batch = batch};
            call.params = h_alloc(art->param_bytes);
            call.grads = h_alloc(art->trained_bytes);
            call.arena = h_alloc(fe->fixed_bytes + (size_t)batch * fe->sample_bytes);
            call.scratch = h_alloc((size_t)threads * fe->scratch_bytes);
            for (uint64_t i = 0; i < art->n_tensors; i++) {
                const struct smkd_abi_tensor *t = &art->tensors[i];
                if (t->role == SMKD_ABI_OUTPUT || t->role == SMKD_ABI_GRAD_INPUT) {
                    void *p = h_alloc((size_t)t->numel * (size_t)batch * 8);
                    (t->role == SMKD_ABI_OUTPUT ? outputs : gin)[t->index] = p;
                    continue;
                }
                for (size_t b = 0; b < ref->n_boundary; b++) {
                    const struct ir_value *v = &ref->values[ref->boundary[b]];
                    static const enum smkd_abi_role role_of[] = {
                        [IR_ROLE_INPUT] = SMKD_ABI_INPUT,         [IR_ROLE_PARAM] = SMKD_ABI_PARAM,
                        [IR_ROLE_BUFFER] = SMKD_ABI_BUFFER,       [IR_ROLE_SCALAR] = SMKD_ABI_SCALAR,
                        [IR_ROLE_COTANGENT] = SMKD_ABI_COTANGENT,
                    };
                    if (strcmp(v->name, t->name) != 0 || role_of[v->role] != t->role) continue;
                    void *data = raw[ref->boundary[b]];
                    if (t->role == SMKD_ABI_INPUT) inputs[t->index] = data;
                    if (t->role == SMKD_ABI_COTANGENT) cots[t->index] = data;
                    if (t->role == SMKD_ABI_SCALAR)
                        scalars[t->index] =
                            t->dtype == SMKD_ABI_F32 ? (double)*(float *)data : (double)*(int64_t *)data;
                    if (t->role == SMKD_ABI_PARAM || t->role == SMKD_ABI_BUFFER)
                        memcpy((char *)call.params + t->offset, data, (size_t)t->numel * 4);
                }
            }
            h_run(fe->run, &call, threads);
            if (be->run && be->run != fe->run) h_run(be->run, &call, threads);
            for (size_t k = 0; k < ref->n_outputs; k++) {
                const struct ir_output *out = &ref->outputs[k];
                const struct ir_tensor *want = ev[out->value];
                static const enum smkd_abi_role role_of[] = {[IR_OUT_OUTPUT] = SMKD_ABI_OUTPUT,
                                                             [IR_OUT_GRAD_PARAM] = SMKD_ABI_PARAM,
                                                             [IR_OUT_GRAD_INPUT] = SMKD_ABI_GRAD_INPUT,
                                                             [IR_OUT_BUFFER] = SMKD_ABI_BUFFER};
                const struct smkd_abi_tensor *t = NULL;
                for (uint64_t i = 0; i < art->n_tensors; i++)
                    if (art->tensors[i].role == role_of[out->kind] && strcmp(art->tensors[i].name, out->name) == 0)
                        t = &art->tensors[i];
                assert_non_null(t);
                const void *got = out->kind == IR_OUT_OUTPUT       ? outputs[t->index]
                                  : out->kind == IR_OUT_GRAD_INPUT ? gin[t->index]
                                  : out->kind == IR_OUT_GRAD_PARAM ? (char *)call.grads + t->offset
                                                                   : (char *)call.params + t->offset;
                size_t n = ir_tensor_numel(want), bytes = n * ir_dtype_size(want->type.dtype);
                double scale = 0;
                for (size_t i = 0; i < n; i++)
                    if (want->f && isfinite(want->f[i]) && fabs(want->f[i]) > scale) scale = fabs(want->f[i]);
                for (size_t i = 0; i < n; i++) {
                    double w = want->f ? want->f[i] : (double)want->i[i], v = 0;
                    switch (want->type.dtype) {
                    case IR_F32:
                        v = ((const float *)got)[i];
                        break;
                    case IR_I64:
                        v = (double)((const int64_t *)got)[i];
                        break;
                    case IR_I32:
                        v = ((const int32_t *)got)[i];
                        break;
                    default:
                        v = ((const uint8_t *)got)[i];
                        break;
                    }
                    bool same = (isnan(w) && isnan(v)) || v == w || fabs(v - w) <= o.rtol * scale + 1e-30;
                    if (!same) {
                        print_error("graph %s, output %s, element %zu of %zu: %.9g, expected %.9g (largest %.3g; %s, "
                                    "%d threads, batch %ld)\n",
                                    g->name, out->name, i, n, v, w, scale, cpus[c], threads, (long)batch);
                        struct str text = STR_INIT;
                        ir_print(ref, &text);
                        print_error("%s\n", text.s);
                        str_release(&text);
                        fail();
                    }
                }
                if (threads == 1) {
                    first[k] = xmalloc(bytes);
                    memcpy(first[k], got, bytes);
                } else if (memcmp(first[k], got, bytes) != 0) {
                    print_error("graph %s, output %s differs between 1 and %d threads (%s)\n", g->name, out->name,
                                threads, cpus[c]);
                    fail();
                }
            }
            for (uint64_t i = 0; i < art->n_tensors; i++) {
                if (art->tensors[i].role == SMKD_ABI_OUTPUT) free(outputs[art->tensors[i].index]);
                if (art->tensors[i].role == SMKD_ABI_GRAD_INPUT) free(gin[art->tensors[i].index]);
            }
            free(call.params);
            free(call.grads);
            free(call.arena);
            free(call.scratch);
        }
        for (size_t k = 0; k < ref->n_outputs; k++) free(first[k]);
        dlclose(lib);
        unlink(path);
    }
    for (size_t v = 0; v < ref->n_values; v++) free(raw[v]);
    free(raw);
    free(ev);
    arena_release(&a);
}
#endif
