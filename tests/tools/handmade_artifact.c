// A small artifact by hand for the tests of the runtime core: y = w * x + b per element, the threads share the rows,
// and every entry meets in the barrier between its two halves. Built with -DBAD=k it has one fault, which loading must
// find.
#include "../../runtime/include/smkd_abi.h"

#include <stddef.h>

#ifndef BAD
#define BAD 0
#endif

#define D 4

static const struct smkd_abi_tensor rows[] = {
    {"x", SMKD_ABI_INPUT, SMKD_ABI_F32, 2, 0, {-1, D}, 0, D},
    {"y", SMKD_ABI_OUTPUT, SMKD_ABI_F32, 2, 0, {-1, BAD == 1 ? D + 1 : D}, 0, D},
    {"threads", SMKD_ABI_OUTPUT, SMKD_ABI_I32, 0, BAD == 2 ? 7 : 1, {0}, 0, 1},
    {"y", SMKD_ABI_COTANGENT, SMKD_ABI_F32, 2, 0, {-1, D}, 0, D},
    {"x", SMKD_ABI_GRAD_INPUT, BAD == 3 ? 99 : SMKD_ABI_F32, 2, 0, {-1, D}, 0, D},
    {"w", SMKD_ABI_PARAM, SMKD_ABI_F32, 1, 0, {D}, BAD == 4 ? 32 : 0, D},
    {"b", SMKD_ABI_BUFFER, SMKD_ABI_F32, 1, 0, {D}, BAD == 5 ? 1 << 20 : 64, D},
    {"lr", SMKD_ABI_SCALAR, SMKD_ABI_F32, BAD == 6 ? 99 : 0, 0, {0}, 0, 1},
};

static void forward(const struct smkd_call *c, int32_t thread, int32_t threads) {
    const float *x = c->inputs[0], *w = c->params, *b = w + 16;
    float *y = c->outputs[0], *kept = c->arena;
    for (int64_t i = thread; i < c->batch * D; i += threads) kept[i] = w[i % D] * x[i];
    c->barrier(c->barrier_env, thread, threads);
    // Elements that another thread made: wrong without the barrier.
    for (int64_t i = threads - 1 - thread; i < c->batch * D; i += threads) y[i] = kept[i] + b[i % D];
    if (thread == 0) *(int32_t *)c->outputs[1] = threads;
}

static void backward(const struct smkd_call *c, int32_t thread, int32_t threads) {
    (void)threads;
    if (thread) return;
    const float *x = c->inputs[0], *dy = c->cotangents[0], *w = c->params;
    float *dw = c->grads, *dx = c->grad_inputs ? c->grad_inputs[0] : NULL;
    for (int j = 0; j < D; j++) dw[j] = 0;
    for (int64_t i = 0; i < c->batch * D; i++) {
        dw[i % D] += dy[i] * x[i];
        if (dx) dx[i] = dy[i] * w[i % D];
    }
}

static void update(const struct smkd_call *c, int32_t thread, int32_t threads) {
    (void)threads;
    if (thread) return;
    float *w = c->params, *g = c->grads;
    for (int j = 0; j < D; j++) w[j] -= (float)c->scalars[0] * g[j];
}

// 300 rounds of "everybody adds 1, then everybody sees the sum", for the barrier alone. y[0] is the number of faults.
static void infer(const struct smkd_call *c, int32_t thread, int32_t threads) {
    int32_t *count = (int32_t *)c->arena + thread * 16, *all = c->arena;
    float *y = c->outputs[0];
    *count = 0;
    if (thread == 0) y[0] = 0;
    for (int32_t round = 1; round <= 300; round++) {
        ++*count;
        c->barrier(c->barrier_env, thread, threads);
        for (int32_t t = 0; t < threads; t++)
            if (all[t * 16] != round && thread == 0) y[0]++;
        c->barrier(c->barrier_env, thread, threads);
    }
    if (thread == 0) *(int32_t *)c->outputs[1] = threads;
}

static _Alignas(64) const float initial[32] = {1, 2, 3, 4, [16] = 10, 20, 30, 40};
// 22: no such output; 23: not of floats; 24: more than there are rows; 25: a good one.
static const char *const taps[] = {BAD == 22 ? "z" : BAD == 23 ? "threads" : "y"};
// BAD 20 is good, but of the oldest version: what lies behind its table's end is nobody's to read.
#define VERSION (BAD == 20 ? SMKD_ABI_OLDEST : SMKD_ABI_VERSION)
extern const struct smkd_artifact smkd_table;
__attribute__((visibility("default")))
const struct smkd_artifact smkd_table = {.abi_version = BAD == 7 ? 99 : VERSION,
                                         .kind = SMKD_ABI_MODEL,
                                         .name = "handmade",
                                         .producer = "by hand",
                                         .target_cpu = BAD == 13 ? "another" : "imaginary",
                                         .required_features = BAD == 8 ? "avx512imaginary" : "",
                                         .tensors = rows,
                                         .n_tensors = sizeof rows / sizeof *rows,
                                         .entries = {{infer, 65536, 0, 64},
                                                     {forward, 64, 4 * D, 64},
                                                     {backward, BAD == 9 ? 6400 : 64, 4 * D, 64},
                                                     {update, 0, 0, 0}},
                                         .max_batch = BAD == 10 ? 0 : 32,
                                         .param_bytes = 128,
                                         .trained_bytes = BAD == 11 ? 1 << 20 : 64,
                                         .initial = initial,
                                         .notes = "{}",
                                         .heads = BAD == 20 ? (const void *)initial : NULL,
                                         .n_heads = BAD == 20 || BAD == 21,
                                         .mixing_node = BAD == 20 ? "nobody" : NULL,
                                         .taps = BAD == 20 ? (const void *)initial : taps,
                                         .n_taps = BAD == 20 || BAD == 24 ? 1000 : BAD >= 22};

__attribute__((visibility("default"))) const struct smkd_artifact *smkd_query(uint32_t version);
const struct smkd_artifact *smkd_query(uint32_t version) {
    return BAD == 12 || version != VERSION ? NULL : &smkd_table;
}
