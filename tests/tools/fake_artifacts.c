// Two artifacts by hand, so that the training loop is tested without the compiler: built with -DFAKE_LOSS a
// cross-entropy loss program that selects rows of low entropy (with -DFAKE_KEPT it also says which labels it keeps and
// what it makes of them, with -DFAKE_BOTH it has a loss of all beside those of each), else a linear classifier of 4x5
// images with a buffer that each training forward changes (as BatchNorm's statistics are). Thread 0 does all the work.
#include "../../runtime/include/smkd_abi.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define C 10
#define P 20

#ifdef FAKE_LOSS

enum { PROGRESS, ETA, R0, R1 };
static const struct smkd_abi_tensor rows[] = {
    {"logits.0", SMKD_ABI_INPUT, SMKD_ABI_F32, 2, 0, {-1, C}, 0, C},
    {"logits.1", SMKD_ABI_INPUT, SMKD_ABI_F32, 2, 1, {-1, C}, 0, C},
    {"labels", SMKD_ABI_INPUT, SMKD_ABI_I64, 1, 2, {-1}, 0, 1},
    {"progress", SMKD_ABI_SCALAR, SMKD_ABI_F32, 0, PROGRESS, {0}, 0, 1},
    {"eta", SMKD_ABI_SCALAR, SMKD_ABI_F32, 0, ETA, {0}, 0, 1},
    {"r.0", SMKD_ABI_SCALAR, SMKD_ABI_F32, 0, R0, {0}, 0, 1},
    {"r.1", SMKD_ABI_SCALAR, SMKD_ABI_F32, 0, R1, {0}, 0, 1},
    {"loss.0", SMKD_ABI_OUTPUT, SMKD_ABI_F32, 0, 0, {0}, 0, 1},
    {"loss.1", SMKD_ABI_OUTPUT, SMKD_ABI_F32, 0, 1, {0}, 0, 1},
    {"grad.0", SMKD_ABI_OUTPUT, SMKD_ABI_F32, 2, 2, {-1, C}, 0, C},
    {"grad.1", SMKD_ABI_OUTPUT, SMKD_ABI_F32, 2, 3, {-1, C}, 0, C},
    {"threshold", SMKD_ABI_OUTPUT, SMKD_ABI_F32, 0, 4, {0}, 0, 1},
    {"selected.0", SMKD_ABI_OUTPUT, SMKD_ABI_F32, 1, 5, {-1}, 0, 1},
    {"selected.1", SMKD_ABI_OUTPUT, SMKD_ABI_F32, 1, 6, {-1}, 0, 1},
    {"trust.0", SMKD_ABI_OUTPUT, SMKD_ABI_F32, 1, 7, {-1}, 0, 1},
    {"trust.1", SMKD_ABI_OUTPUT, SMKD_ABI_F32, 1, 8, {-1}, 0, 1},
    {"entropy.0", SMKD_ABI_OUTPUT, SMKD_ABI_F32, 1, 9, {-1}, 0, 1},
    {"entropy.1", SMKD_ABI_OUTPUT, SMKD_ABI_F32, 1, 10, {-1}, 0, 1},
#ifdef FAKE_KEPT
    {"kept.0", SMKD_ABI_OUTPUT, SMKD_ABI_F32, 1, 11, {-1}, 0, 1},
    {"kept.1", SMKD_ABI_OUTPUT, SMKD_ABI_F32, 1, 12, {-1}, 0, 1},
    {"corrected.0", SMKD_ABI_OUTPUT, SMKD_ABI_F32, 1, 13, {-1}, 0, 1},
#endif
#ifdef FAKE_BOTH
    {"loss.all", SMKD_ABI_OUTPUT, SMKD_ABI_F32, 0, 11, {0}, 0, 1},
#endif
};

static void forward(const struct smkd_call *c, int32_t thread, int32_t threads) {
    (void)threads;
    if (thread) return;
    float threshold = (float)(log(C) / c->scalars[ETA]);
    *(float *)c->outputs[4] = threshold;
    for (int k = 0; k < 2; k++) {
        const float *z = c->inputs[k];
        const int64_t *y = c->inputs[2];
        float *g = c->outputs[2 + k], *selected = c->outputs[5 + k], *trust = c->outputs[7 + k], *h = c->outputs[9 + k];
        double loss = 0;
        for (int64_t i = 0; i < c->batch; i++) {
            double m = z[i * C], sum = 0, e = 0;
            for (int j = 1; j < C; j++) m = z[i * C + j] > m ? z[i * C + j] : m;
            for (int j = 0; j < C; j++) sum += exp(z[i * C + j] - m);
            for (int j = 0; j < C; j++) {
                double p = exp(z[i * C + j] - m) / sum;
                e -= p > 0 ? p * log(p) : 0;
                // r makes the gradient depend on the run's state: a resumed run that forgot it would differ.
                g[i * C + j] = (float)((p - (j == y[i])) / (double)c->batch * (1 - 0.1 * c->scalars[R0 + k]));
            }
            loss -= z[i * C + y[i]] - m - log(sum);
            h[i] = (float)e;
            trust[i] = 0;
            selected[i] = h[i] < threshold;
#ifdef FAKE_KEPT // from the given label alone, so that a test can count: peer 1 keeps all, peer 0 corrects
            ((float *)c->outputs[11 + k])[i] = k == 1 || y[i] % 3 != 0;
            if (k == 0) ((float *)c->outputs[13])[i] = (float)((y[i] + (y[i] % 2)) % C);
#endif
        }
        *(float *)c->outputs[k] = (float)(loss / (double)c->batch);
    }
}

extern const struct smkd_artifact smkd_table;
__attribute__((visibility("default")))
const struct smkd_artifact smkd_table = {.abi_version = SMKD_ABI_VERSION,
                                         .kind = SMKD_ABI_LOSS,
                                         .name = "fake-loss",
                                         .producer = "by hand",
                                         .target_cpu = "x86-64",
                                         .required_features = "",
                                         .tensors = rows,
                                         .n_tensors = sizeof rows / sizeof *rows,
                                         .entries = {[SMKD_ABI_FORWARD] = {forward, 64, 0, 64}},
                                         .max_batch = 64,
                                         .content_hash = 7,
                                         .notes = "{}"};

#else

enum { LR, MOMENTUM, DECAY, NESTEROV };
static const struct smkd_abi_tensor rows[] = {
    {"x", SMKD_ABI_INPUT, SMKD_ABI_F32, 4, 0, {-1, 1, 4, 5}, 0, P},
    {"logits", SMKD_ABI_OUTPUT, SMKD_ABI_F32, 2, 0, {-1, C}, 0, C},
    {"logits", SMKD_ABI_COTANGENT, SMKD_ABI_F32, 2, 0, {-1, C}, 0, C},
    {"fc.weight", SMKD_ABI_PARAM, SMKD_ABI_F32, 2, 0, {C, P}, 0, C *P},
    {"seen.mean", SMKD_ABI_BUFFER, SMKD_ABI_F32, 1, 0, {P}, 832, P},
    {"lr", SMKD_ABI_SCALAR, SMKD_ABI_F32, 0, LR, {0}, 0, 1},
    {"momentum", SMKD_ABI_SCALAR, SMKD_ABI_F32, 0, MOMENTUM, {0}, 0, 1},
    {"weight_decay", SMKD_ABI_SCALAR, SMKD_ABI_F32, 0, DECAY, {0}, 0, 1},
    {"nesterov", SMKD_ABI_SCALAR, SMKD_ABI_F32, 0, NESTEROV, {0}, 0, 1},
};

static void logits(const struct smkd_call *c) {
    const float *x = c->inputs[0], *w = c->params;
    float *z = c->outputs[0];
    for (int64_t i = 0; i < c->batch; i++)
        for (int j = 0; j < C; j++) {
            float s = 0;
            for (int p = 0; p < P; p++) s += w[j * P + p] * x[i * P + p];
            z[i * C + j] = s;
        }
}

static void infer(const struct smkd_call *c, int32_t thread, int32_t threads) {
    (void)threads;
    if (!thread) logits(c);
}

static void forward(const struct smkd_call *c, int32_t thread, int32_t threads) {
    (void)threads;
    if (thread) return;
    const float *x = c->inputs[0];
    float *seen = (float *)c->params + 208;
    logits(c);
    for (int p = 0; p < P; p++) seen[p] = 0.9f * seen[p] + 0.1f * x[p];
}

static void backward(const struct smkd_call *c, int32_t thread, int32_t threads) {
    (void)threads;
    if (thread) return;
    const float *x = c->inputs[0], *dz = c->cotangents[0], *seen = (const float *)c->params + 208;
    float *g = c->grads;
    memset(g, 0, C * P * sizeof *g);
    for (int64_t i = 0; i < c->batch; i++)
        for (int j = 0; j < C; j++)
            for (int p = 0; p < P; p++) g[j * P + p] += dz[i * C + j] * (x[i * P + p] + 0.01f * seen[p]);
}

static void update(const struct smkd_call *c, int32_t thread, int32_t threads) {
    (void)threads;
    if (thread) return;
    float *w = c->params, *g = c->grads, *v = c->momentum;
    for (int i = 0; i < C * P; i++) {
        float d = g[i] + (float)c->scalars[DECAY] * w[i];
        v[i] = (float)c->scalars[MOMENTUM] * v[i] + d;
        w[i] -= (float)c->scalars[LR] * v[i];
    }
}

static _Alignas(64) const float initial[1024 / 4];
extern const struct smkd_artifact smkd_table;
__attribute__((visibility("default"))) const struct smkd_artifact smkd_table = {
    .abi_version = SMKD_ABI_VERSION,
    .kind = SMKD_ABI_MODEL,
    .name = "fake",
    .producer = "by hand",
    .target_cpu = "x86-64",
    .required_features = "",
    .tensors = rows,
    .n_tensors = sizeof rows / sizeof *rows,
    .entries = {{infer, 64, 0, 64}, {forward, 64, 0, 64}, {backward, 64, 0, 64}, {update, 64, 0, 64}},
    .max_batch = 64,
    .param_bytes = 1024,
    .trained_bytes = 832,
    .initial = initial,
    .content_hash = 5,
    .notes = "{}"};

#endif

__attribute__((visibility("default"))) const struct smkd_artifact *smkd_query(uint32_t version);
const struct smkd_artifact *smkd_query(uint32_t version) { return version == SMKD_ABI_VERSION ? &smkd_table : NULL; }
