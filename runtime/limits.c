// Measuring the machine: multiply-adds through the artifact's own loop, memory through plain C that any compiler turns
// into streams.
#include "limits.h"

#include "rt_internal.h"
#include "train.h"

#include <stdlib.h>

enum { ROUNDS = 5, FLOATS = 16 << 20 }; // an array of 64 MiB: more than a thread's share of any cache

struct work {
    void (*fma_loop)(int64_t);
    int64_t trips;
    float *a, *b, *c;
    double sum[1024]; // by thread: keeps the reading loop from being thrown away
};

static void fma_loops(const struct smkd_call *call, int32_t thread, int32_t threads) {
    (void)thread, (void)threads;
    const struct work *w = call->params;
    w->fma_loop(w->trips);
}

static void share(int32_t thread, int32_t threads, size_t *begin, size_t *end) {
    *begin = (size_t)FLOATS / 64 * (size_t)thread / (size_t)threads * 64;
    *end = (size_t)FLOATS / 64 * ((size_t)thread + 1) / (size_t)threads * 64;
}

// Memory that nothing was written to is one page of zeros, which reads from the first cache.
static void fill(const struct smkd_call *call, int32_t thread, int32_t threads) {
    const struct work *w = call->params;
    size_t begin, end;
    share(thread, threads, &begin, &end);
    for (size_t i = begin; i < end; i++) w->a[i] = w->b[i] = w->c[i] = 1.0f;
}

static void triad(const struct smkd_call *call, int32_t thread, int32_t threads) {
    const struct work *w = call->params;
    float *restrict a = w->a;
    const float *restrict b = w->b, *restrict c = w->c;
    size_t begin, end;
    share(thread, threads, &begin, &end);
    for (size_t i = begin; i < end; i++) a[i] = b[i] + 0.5f * c[i];
}

static void read_all(const struct smkd_call *call, int32_t thread, int32_t threads) {
    struct work *w = call->params;
    const uint64_t *x = (const uint64_t *)(const void *)w->b; // integers: their sum may be made in any order
    size_t begin, end;
    share(thread, threads, &begin, &end);
    uint64_t s = 0;
    for (size_t i = begin / 2; i < end / 2; i++) s += x[i];
    w->sum[thread % 1024] = (double)s;
}

static double best(smkd_team *team, smkd_entry entry, struct work *w) {
    double least = 1e30;
    for (int i = 0; i < ROUNDS; i++) {
        struct smkd_call call = {.params = w, .batch = 1};
        double t = rt_now();
        rt_team_run(team, entry, &call);
        t = rt_now() - t;
        if (t < least) least = t;
    }
    return least;
}

enum smkd_result rt_limits_measure(const smkd_model *m, smkd_team *team, struct rt_limits *out) {
    *out = (struct rt_limits){0};
    struct work *w = calloc(1, sizeof *w);
    if (w) {
        w->a = rt_block_alloc(FLOATS * sizeof(float));
        w->b = rt_block_alloc(FLOATS * sizeof(float));
        w->c = rt_block_alloc(FLOATS * sizeof(float));
    }
    bool ok = w && w->a && w->b && w->c;
    if (ok) {
        best(team, fill, w); // pages come into being
        out->bandwidth = 3.0 * FLOATS * sizeof(float) / best(team, triad, w);
        out->read = 1.0 * FLOATS * sizeof(float) / best(team, read_all, w);
    }
    if (ok && m->art->fma_loop) {
        w->fma_loop = m->art->fma_loop;
        w->trips = 1000;
        double t = 0;
        while ((t = best(team, fma_loops, w)) < 0.02 && w->trips < INT64_MAX / 8) w->trips *= 4;
        out->flops = (double)w->trips * (double)m->art->fma_loop_flops * smkd_team_threads(team) / t;
    }
    if (w) {
        rt_block_free(w->a, FLOATS * sizeof(float));
        rt_block_free(w->b, FLOATS * sizeof(float));
        rt_block_free(w->c, FLOATS * sizeof(float));
    }
    free(w);
    return ok ? SMKD_R_OK : rt_fail(SMKD_R_NOMEM, "out of memory for measuring bandwidth");
}

// --- profiles --------------------------------------------------------------------------------------------------------

enum smkd_result rt_profile_begin(struct rt_profile *p, smkd_session *s, enum smkd_abi_phase phase, int64_t runs) {
    *p = (struct rt_profile){.entry = &rt_session_model(s)->art->entries[phase], .runs = runs};
    p->seconds = calloc((size_t)(p->entry->n_kernels + 1) * (size_t)runs, sizeof *p->seconds);
    return p->seconds ? SMKD_R_OK : rt_fail(SMKD_R_NOMEM, "out of memory for a profile of %lld runs", (long long)runs);
}

static void mark(void *env, uint64_t kernel) {
    struct rt_profile *p = env;
    double now = rt_now();
    if (kernel < p->entry->n_kernels) p->seconds[(uint64_t)p->done * p->entry->n_kernels + kernel] += now - p->last;
    p->last = now;
}

enum smkd_result rt_profile_run(struct rt_profile *p, smkd_session *s, enum smkd_abi_phase phase, int64_t batch) {
    CHECK(p->done < p->runs, "a profile of %lld runs has no room for another", (long long)p->runs);
    rt_session_mark(s, mark, p);
    p->last = rt_now();
    enum smkd_result r = smkd_run(s, phase, batch);
    rt_session_mark(s, NULL, NULL);
    p->done++;
    return r;
}

void rt_profile_release(struct rt_profile *p) {
    free(p->seconds);
    p->seconds = NULL;
}
