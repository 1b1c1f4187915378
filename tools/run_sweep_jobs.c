// The runs of a sweep as processes of smkd-run train, several at a time. Each writes into a folder of its own, so they
// know nothing of each other, and how many there are at a time changes no result.
#include "run_sweep.h"

#include "program.h"

#include "../base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_JOBS = 1024 };

// --- signals ---------------------------------------------------------------------------------------------------------

static volatile pid_t children[MOST_JOBS]; // 0: free
static volatile sig_atomic_t ended_by;     // a signal that asked for the end

// The first asks the processes to end, as they do at any moment without harm; a second doesn't ask.
static void on_end(int sig) {
    const int how = ended_by ? SIGKILL : SIGTERM;
    ended_by = sig;
    for (int i = 0; i < MOST_JOBS; i++)
        if (children[i]) kill(children[i], how);
}

static const int ends[] = {SIGINT, SIGTERM, SIGHUP};
enum { N_ENDS = sizeof ends / sizeof *ends };

static void take_signals(struct sigaction was[N_ENDS]) {
    struct sigaction a;
    memset(&a, 0, sizeof a);
    sigemptyset(&a.sa_mask);
    for (int i = 0; i < N_ENDS; i++) sigaddset(&a.sa_mask, ends[i]);
    a.sa_handler = on_end;
    for (int i = 0; i < N_ENDS; i++)
        if (sigaction(ends[i], NULL, &was[i]) == 0 && was[i].sa_handler != SIG_IGN)
            sigaction(ends[i], &a, NULL); // nohup
}

static void give_signals_back(const struct sigaction was[N_ENDS]) {
    for (int i = 0; i < N_ENDS; i++) sigaction(ends[i], &was[i], NULL);
}

// --- one process -----------------------------------------------------------------------------------------------------

struct job {
    struct sweep_run *run; // NULL: free
    double begun;
};

static bool given(const struct sweep_run *r, const char *flag) { return sweep_flag_find(&r->flags, flag) != NULL; }

static enum smkd_result start(struct job *j, volatile pid_t *slot, const char *self, int threads) {
    const struct sweep_run *r = j->run;
    char *flags = rt_path_join(r->dir, "flags.json"), *log = rt_path_join(r->dir, "log.txt"), count[16];
    snprintf(count, sizeof count, "%d", threads);
    const char *argv[16];
    size_t n = 0;
    const char *const head[] = {self, "train", "--config", flags, "--output-dir", r->dir, "--resume"};
    for (; n < sizeof head / sizeof *head; n++) argv[n] = head[n];
    static const char *const shared[] = {"threads", "workers"}; // of which the machine has so many
    static const char *const options[] = {"--threads", "--workers"};
    for (size_t i = 0; i < 2 && threads; i++)
        if (!given(r, shared[i])) {
            argv[n++] = options[i];
            argv[n++] = count;
        }
    argv[n] = NULL;
    enum smkd_result e = sweep_folder_begin(r);
    int fd = e == SMKD_R_OK ? open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666) : -1;
    if (e == SMKD_R_OK && fd < 0) e = rt_fail(SMKD_R_IO, "%s: cannot be written: %s", log, strerror(errno));
    if (e == SMKD_R_OK && !process_start(argv, fd, slot))
        e = rt_fail(SMKD_R_IO, "%s: cannot be run: %s", self, strerror(errno));
    if (fd >= 0) close(fd);
    j->begun = rt_now();
    free(flags);
    free(log);
    return e;
}

// The log's last line, without what comes before its message.
static void last_line(const struct sweep_run *r, struct str *out) {
    char *path = rt_path_join(r->dir, "log.txt");
    const void *data;
    size_t size;
    if (io_map(path, &data, &size) == SMKD_OK) {
        const char *text = data;
        while (size && (text[size - 1] == '\n' || text[size - 1] == '\r')) size--;
        size_t at = size;
        while (at && text[at - 1] != '\n' && text[at - 1] != '\r') at--;
        static const char prefix[] = "smkd-run train: error: ";
        if (size - at > strlen(prefix) && memcmp(text + at, prefix, strlen(prefix)) == 0) at += strlen(prefix);
        str_add_escaped(out, text + at, size - at);
        io_unmap(data, size);
    }
    free(path);
    if (!out->len) str_add(out, "ended without a word");
}

// --- all of them -----------------------------------------------------------------------------------------------------

struct progress {
    struct sweep *s;
    size_t finished;         // runs, also from earlier times
    double begun, done, all; // seconds, and costs of this time
    int failed;
};

static const char *left(const struct progress *p, char text[32]) {
    rt_duration_text(p->done > 0 ? (rt_now() - p->begun) / p->done * (p->all - p->done) : 0, text, 32);
    return text;
}

// The first measure after the last epoch, where the run has it.
static void add_result(struct sweep *s, struct sweep_run *r, struct str *out) {
    const struct sweep_measure *m = &s->measure[0];
    if (sweep_metrics_read_run(s, r) != SMKD_R_OK || !r->metrics.epochs) return;
    const double v = sweep_metrics_at(&r->metrics, m->column, r->metrics.epochs - 1);
    if (!isnan(v)) str_addf(out, "  %s %.6g", m->label, v);
}

static enum smkd_result end(struct progress *p, const struct job *j, int status, int by) {
    struct sweep_run *r = j->run;
    struct str line = STR_INIT;
    char time[32], rest[32];
    enum smkd_result e = SMKD_R_OK;
    rt_duration_text(rt_now() - j->begun, time, sizeof time);
    p->done += r->cost;
    if (status == 0) {
        e = sweep_folder_end(r);
        p->finished++;
        add_result(p->s, r, &line);
        fprintf(stderr, "[%zu/%zu] %s  %s%s  ETA %s\n", p->finished, p->s->n_runs, r->name, time,
                line.len ? line.s : "", left(p, rest));
    } else {
        p->failed++;
        if (by)
            str_addf(&line, "ended by signal %d%s", by, by == SIGKILL ? ", most likely out of memory" : "");
        else
            last_line(r, &line);
        fprintf(stderr, "[%zu/%zu] %s  failed after %s: %s\n", p->finished, p->s->n_runs, r->name, time, line.s);
    }
    str_release(&line);
    return e;
}

struct place {
    size_t at;
    double cost;
};
static int by_cost(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    if (x->cost != y->cost) return x->cost < y->cost ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

size_t *sweep_jobs_order(struct sweep *s, size_t *n) {
    struct place *p = ARENA_ARRAY(&s->arena, struct place, s->n_runs);
    size_t *order = ARENA_ARRAY(&s->arena, size_t, s->n_runs);
    *n = 0;
    for (size_t i = 0; i < s->n_runs; i++)
        if (s->run[i].state != SWEEP_DONE) p[(*n)++] = (struct place){i, s->run[i].cost};
    qsort(p, *n, sizeof *p, by_cost);
    for (size_t i = 0; i < *n; i++) order[i] = p[i].at;
    return order;
}

static int free_place(const struct job *jobs, int64_t n) {
    int i = 0;
    while (i < n && jobs[i].run) i++;
    return i < n ? i : -1;
}

// Starts what there is room for, waits for one to end, until nothing is left or the end is asked for. A failure of our
// own (a full disk) starts nothing more; what runs comes to its end.
static enum smkd_result run_all(struct sweep *s, struct progress *p, const size_t *order, size_t n, int64_t n_jobs,
                                const char *self) {
    struct job jobs[MOST_JOBS] = {{0}};
    const int cores = rt_cores();
    const int threads = n_jobs == 1 ? 0 : cores > n_jobs ? (int)(cores / n_jobs) : 1;
    size_t next = 0;
    enum smkd_result r = SMKD_R_OK;
    pid_t pid = 1;
    while (pid) {
        int at;
        while (r == SMKD_R_OK && !ended_by && next < n && (at = free_place(jobs, n_jobs)) >= 0) {
            jobs[at].run = &s->run[order[next++]];
            r = start(&jobs[at], &children[at], self, threads);
            if (r != SMKD_R_OK) jobs[at].run = NULL;
        }
        // Asked for the end just before it had a number to be ended by.
        for (int i = 0; i < n_jobs && ended_by; i++)
            if (children[i]) kill(children[i], SIGTERM);
        int status, by;
        pid = process_wait(&status, &by);
        for (at = 0; pid && at < n_jobs; at++) {
            if (children[at] != pid) continue;
            children[at] = 0;
            if (!ended_by) {
                const enum smkd_result e = end(p, &jobs[at], status, by);
                if (r == SMKD_R_OK) r = e;
            }
            jobs[at].run = NULL;
        }
    }
    return r;
}

enum smkd_result sweep_jobs_run(struct sweep *s, int64_t n_jobs, int *failed) {
    size_t n, half = 0;
    const size_t *order = sweep_jobs_order(s, &n);
    const char *self = program_self(&s->arena);
    struct progress p = {.s = s, .finished = s->n_runs - n, .begun = rt_now()};
    struct sigaction was[N_ENDS];
    *failed = 0;
    if (!self) return rt_fail(SMKD_R_IO, "/proc/self/exe: cannot be read: %s", strerror(errno));
    for (size_t i = 0; i < n; i++) {
        p.all += s->run[order[i]].cost;
        half += s->run[order[i]].state == SWEEP_HALF;
    }
    if (n)
        fprintf(stderr, "%zu run%s in %s: %zu finished, %zu half done, %zu to begin; %lld at a time\n", s->n_runs,
                s->n_runs == 1 ? "" : "s", printable(s->dir), p.finished, half, n - half, (long long)n_jobs);
    doing("running the sweep in %s", s->dir);
    take_signals(was);
    enum smkd_result r = run_all(s, &p, order, n, n_jobs, self);
    give_signals_back(was);
    if (ended_by) {
        fprintf(stderr, "stopped: %zu of %zu runs are finished; the same command goes on from here\n", p.finished,
                s->n_runs);
        raise(ended_by);
    }
    *failed = p.failed;
    return r;
}
