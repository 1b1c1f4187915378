// A team of threads for entry points: one OpenMP parallel region a run, and the barrier generated code calls. The only
// file that knows OpenMP. Works with libgomp and libomp; where fewer threads than asked for are delivered, those do the
// work.
#include "rt_internal.h"

#include <errno.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

// Sense-reversing barrier: spin for a moment (calls are microseconds apart), then give the core away, so that more
// threads than cores still make progress. Where that moment was in vain the next is half as long, and twice as long
// where it was not: whoever waits for a thread that has no core spins for nothing, at every barrier.
enum { LEAST_SPINS = 32, MOST_SPINS = 4096 };
struct barrier {
    _Alignas(64) atomic_int arrived;
    _Alignas(64) atomic_uint round;
    _Alignas(64) atomic_int spins;
};

struct smkd_team {
    int threads;
    struct barrier barrier;
};

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void *wait_for_all(void *arg) {
    pthread_mutex_lock(arg);
    pthread_mutex_unlock(arg);
    return NULL;
}

// OpenMP ends the program where it cannot start a thread, and OpenMP starts them in the middle of the first run. So it
// is tried before: as many threads as it will start, all of them at once, which end again.
static int can_start(int n) {
    pthread_t *t = calloc((size_t)n + 1, sizeof *t);
    pthread_mutex_t all = PTHREAD_MUTEX_INITIALIZER;
    int e = t ? 0 : ENOMEM, started = 0;
    pthread_mutex_lock(&all);
    while (!e && started < n)
        if (!(e = pthread_create(&t[started], NULL, wait_for_all, &all))) started++;
    pthread_mutex_unlock(&all);
    while (started) pthread_join(t[--started], NULL);
    free(t);
    return e;
}

int rt_cores(void) { return omp_get_num_procs(); }

smkd_team *smkd_team_new(int threads) {
    if (threads < 0 || threads > 1024) {
        rt_fail(SMKD_R_INVALID, "%d threads; 0 (all cores) to 1024 are possible", threads);
        return NULL;
    }
    smkd_team *t = aligned_alloc(64, (sizeof *t + 63) / 64 * 64);
    if (!t) {
        rt_fail(SMKD_R_NOMEM, "out of memory for a team of threads");
        return NULL;
    }
    t->threads = threads ? threads : rt_cores();
    if (t->threads > omp_get_thread_limit()) t->threads = omp_get_thread_limit();
    atomic_init(&t->barrier.arrived, 0);
    atomic_init(&t->barrier.round, 0);
    atomic_init(&t->barrier.spins, MOST_SPINS);
    int e = can_start(t->threads - 1);
    if (e) {
        rt_fail(SMKD_R_NOMEM, "out of memory or of threads: %d cannot be started (%s); ask for fewer (--threads)",
                t->threads, e == ENOMEM ? "out of memory" : strerror(e));
        free(t);
        return NULL;
    }
    if (t->threads > 1) {
#pragma omp parallel num_threads(t->threads)
        relax();
    }
    return t;
}

void smkd_team_free(smkd_team *t) { free(t); }
int smkd_team_threads(const smkd_team *t) { return t->threads; }

static void meet(void *env, int32_t thread, int32_t threads) {
    (void)thread;
    struct barrier *b = env;
    unsigned round = atomic_load_explicit(&b->round, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&b->arrived, 1, memory_order_acq_rel) == threads - 1) {
        atomic_store_explicit(&b->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&b->round, round + 1, memory_order_release);
        return;
    }
    int most = atomic_load_explicit(&b->spins, memory_order_relaxed), spin = 0;
    for (; atomic_load_explicit(&b->round, memory_order_acquire) == round; spin++) {
        if (spin < most)
            relax();
        else
            sched_yield();
    }
    int next = spin > most ? most / 2 : most * 2;
    if (next != most && next >= LEAST_SPINS && next <= MOST_SPINS)
        atomic_store_explicit(&b->spins, next, memory_order_relaxed);
}

void rt_team_run(smkd_team *t, smkd_entry entry, struct smkd_call *call) {
    call->barrier = meet;
    call->barrier_env = &t->barrier;
    if (t->threads == 1) {
        entry(call, 0, 1);
        return;
    }
#pragma omp parallel num_threads(t->threads)
    entry(call, omp_get_thread_num(), omp_get_num_threads());
}

void rt_team_each(smkd_team *t, size_t parts, void (*work)(void *env, size_t part), void *env) {
#pragma omp parallel for num_threads(t->threads) schedule(static)
    for (size_t i = 0; i < parts; i++) work(env, i);
}
