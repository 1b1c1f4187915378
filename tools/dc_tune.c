// Algorithms by measurement. The model is compiled once for every algorithm, with that one wherever it can compute, and
// the artifacts run in turns under the profile that `smkd-run bench --per-node` prints. What a shape took is the median
// over its nodes, runs and rounds (the least would be wrong: where thread 0 has no share of a kernel and sleeps past
// the barrier in front, its clock gives the kernel's time to the one before); the shapes' times go to the file, and the
// model is compiled with the fastest.
#include "dc_tune.h"

#include "run_subject.h"

#include "../runtime/train.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ROUNDS = 3, // every artifact runs in each: what disturbs the machine for a while disturbs all of them
    LEAST_RUNS = 2,
    MOST_RUNS = 10, // a round
};
#define ROUND_SECONDS 1.0 // a round's runs aim at
#define MARGIN        1.03 // what an algorithm must beat the cost model's choice by: less is noise, and may differ next time

struct row { // a shape
    struct cg_conv_shape shape;
    char *key;
    double predicted[CG_ALGORITHMS], measured[CG_ALGORITHMS]; // negative: cannot, or is not known
    size_t nodes;
    bool known; // in the file before
    struct samples {
        double *s;
        size_t n, cap;
    } samples[CG_ALGORITHMS];
};
struct site { // a node
    bool infer;
    uint32_t node;
    size_t row;
};
struct tuning {
    const struct dc_tune *options;
    struct arena *a;
    struct diag *d;
    struct tune_file file;
    struct row *rows; // of shapes that more than one algorithm can compute
    size_t n_rows, cap_rows;
    struct site *sites;
    size_t n_sites, cap_sites;
    int64_t batch[2]; // training, inference
};

// --- picking ---------------------------------------------------------------------------------------------------------

// Whether every algorithm that can compute the shape was measured.
static bool complete(const double *predicted, const double *measured) {
    for (int a = 0; a < CG_ALGORITHMS; a++)
        if (predicted[a] >= 0 && measured[a] < 0) return false;
    return true;
}

static int measured_best(const double *predicted, const double *measured) {
    if (!complete(predicted, measured)) return -1;
    int first = (int)cg_fastest(predicted), best = first;
    for (int a = 0; a < CG_ALGORITHMS; a++)
        if (predicted[a] >= 0 && measured[a] * MARGIN < measured[first] && measured[a] < measured[best]) best = a;
    return best;
}

static int pick_collect(void *env, const struct cg_conv_site *s) {
    struct tuning *t = env;
    int can = 0;
    for (int a = 0; a < CG_ALGORITHMS; a++) can += s->seconds[a] >= 0;
    if (can < 2) return -1;
    struct str key = STR_INIT;
    tune_key(&key, &s->shape);
    size_t i = 0;
    while (i < t->n_rows && strcmp(t->rows[i].key, key.s) != 0) i++;
    if (i == t->n_rows) {
        struct row *r = ARENA_PUSH(t->a, t->rows, t->n_rows, t->cap_rows);
        *r = (struct row){.shape = s->shape, .key = arena_strdup(t->a, key.s)};
        memcpy(r->predicted, s->seconds, sizeof r->predicted);
        tune_file_find(&t->file, &s->shape, r->measured);
        r->known = complete(r->predicted, r->measured);
    }
    str_release(&key);
    t->rows[i].nodes++;
    *ARENA_PUSH(t->a, t->sites, t->n_sites, t->cap_sites) = (struct site){s->infer, s->node, i};
    return -1;
}

static int pick_one(void *env, const struct cg_conv_site *s) {
    const enum cg_algorithm *a = env;
    return s->seconds[*a] >= 0 ? (int)*a : -1;
}

static int pick_measured(void *env, const struct cg_conv_site *s) {
    const struct tuning *t = env;
    double measured[CG_ALGORITHMS];
    tune_file_find(&t->file, &s->shape, measured);
    return measured_best(s->seconds, measured);
}

// cg_compile changes the graphs it gets.
static enum smkd_status compile(const struct tuning *t, const struct cg_model *m, struct cg_options o, cg_pick pick,
                                void *env, const char *path) {
    struct cg_model copy = *m;
    copy.infer = m->infer ? ir_graph_clone(t->a, m->infer) : NULL;
    copy.train = m->train ? ir_graph_clone(t->a, m->train) : NULL;
    o.pick = pick;
    o.pick_env = env;
    return cg_compile(&copy, &o, path, t->d);
}

// --- measuring -------------------------------------------------------------------------------------------------------

// What the runs of a phase say about an algorithm.
static void collect(struct tuning *t, const struct rt_profile *p, bool infer, enum cg_algorithm a) {
    const struct smkd_abi_entry *e = p->entry;
    for (size_t i = 0; i < t->n_sites; i++) {
        struct row *r = &t->rows[t->sites[i].row];
        if (t->sites[i].infer != infer || r->known || r->predicted[a] < 0) continue;
        bool here = false;
        for (uint64_t k = 0; k < e->n_kernels; k++) here |= e->kernels[k].node_index == t->sites[i].node;
        for (int64_t run = 0; here && run < p->done; run++) {
            double sum = 0;
            for (uint64_t k = 0; k < e->n_kernels; k++)
                if (e->kernels[k].node_index == t->sites[i].node) sum += p->seconds[(uint64_t)run * e->n_kernels + k];
            struct samples *x = &r->samples[a];
            *ARENA_PUSH(t->a, x->s, x->n, x->cap) = sum;
        }
    }
}

// Runs the phases once without a clock, then as often as a round has time for.
static enum smkd_result run_phases(struct tuning *t, struct run_subject *s, const enum smkd_abi_phase *phases, int n,
                                   bool infer, enum cg_algorithm a) {
    int64_t batch = t->batch[infer];
    enum smkd_result r = SMKD_R_OK;
    double begin = rt_now();
    for (int p = 0; p < n && r == SMKD_R_OK; p++) r = smkd_run(s->session, phases[p], batch);
    double runs = fmax(LEAST_RUNS, fmin(MOST_RUNS, ROUND_SECONDS / (rt_now() - begin)));
    for (int p = 0; p < n && r == SMKD_R_OK; p++)
        r = rt_profile_begin(&s->profile[phases[p]], s->session, phases[p], (int64_t)runs);
    for (int64_t i = 0; i < (int64_t)runs && r == SMKD_R_OK; i++)
        for (int p = 0; p < n && r == SMKD_R_OK; p++)
            r = rt_profile_run(&s->profile[phases[p]], s->session, phases[p], batch);
    for (int p = 0; p < n && r == SMKD_R_OK; p++) collect(t, &s->profile[phases[p]], infer, a);
    return r;
}

static bool to_measure(const struct tuning *t, bool infer) {
    for (size_t i = 0; i < t->n_sites; i++)
        if (t->sites[i].infer == infer && !t->rows[t->sites[i].row].known) return true;
    return false;
}

static enum smkd_status measure_artifact(struct tuning *t, const char *path, smkd_team *team, enum cg_algorithm a) {
    static const enum smkd_abi_phase train[] = {SMKD_ABI_FORWARD, SMKD_ABI_BACKWARD}, infer[] = {SMKD_ABI_INFER};
    struct run_subject s = {0};
    int64_t most = t->batch[0] > t->batch[1] ? t->batch[0] : t->batch[1];
    enum smkd_result r = run_subject_start(&s, path, team, most, true);
    if (r == SMKD_R_OK && to_measure(t, false)) r = run_phases(t, &s, train, 2, false, a);
    if (r == SMKD_R_OK && to_measure(t, true)) r = run_phases(t, &s, infer, 1, true, a);
    run_subject_release(&s);
    if (r == SMKD_R_OK) return SMKD_OK;
    diag_error(t->d, NULL, "cannot measure batches of %lld and %lld: %s", (long long)t->batch[0],
               (long long)t->batch[1], smkd_last_error());
    return SMKD_IO;
}

// Compiles into `dir`, runs in turns. paths: by algorithm, NULL where nothing is to be measured of it.
static enum smkd_status measure_in(struct tuning *t, const struct cg_model *m, const struct cg_options *o,
                                   char **paths) {
    for (int a = 0; a < CG_ALGORITHMS; a++) {
        enum cg_algorithm one = (enum cg_algorithm)a;
        if (!paths[a]) continue;
        fprintf(stderr, "smkdc: tuning: compiling with %s wherever it can\n", cg_algorithm_names[a]);
        TRY(compile(t, m, *o, pick_one, &one, paths[a]));
    }
    smkd_team *team = smkd_team_new(t->options->threads);
    enum smkd_status s = team ? SMKD_OK : SMKD_NOMEM;
    for (int round = 0; round < ROUNDS && s == SMKD_OK; round++) {
        fprintf(stderr, "smkdc: tuning: round %d of %d\n", round + 1, ROUNDS);
        for (int a = 0; a < CG_ALGORITHMS && s == SMKD_OK; a++)
            if (paths[a]) s = measure_artifact(t, paths[a], team, (enum cg_algorithm)a);
    }
    smkd_team_free(team);
    return s;
}

static enum smkd_status measure(struct tuning *t, const struct cg_model *m, struct cg_options o) {
    struct io_temp dir;
    char *paths[CG_ALGORITHMS] = {NULL};
    if (io_temp_make(&dir) != SMKD_OK) {
        diag_error(t->d, NULL, "cannot make a temporary folder %s: %s; set TMPDIR", dir.path, strerror(errno));
        io_temp_remove(&dir);
        return SMKD_IO;
    }
    for (size_t i = 0; i < t->n_rows; i++)
        for (int a = 0; a < CG_ALGORITHMS; a++)
            if (!t->rows[i].known && t->rows[i].predicted[a] >= 0 && !paths[a])
                paths[a] = arena_printf(t->a, "%s/%s.smkd", dir.path, cg_algorithm_names[a]);
    o.emit = "lib";
    enum smkd_status s = measure_in(t, m, &o, paths);
    io_temp_remove(&dir);
    for (size_t i = 0; i < t->n_rows && s == SMKD_OK; i++) {
        struct row *r = &t->rows[i];
        if (r->known) continue;
        for (int a = 0; a < CG_ALGORITHMS; a++)
            r->measured[a] = r->samples[a].n ? run_median(r->samples[a].s, r->samples[a].n) : -1;
        tune_file_add(&t->file, &r->shape, r->measured);
    }
    return s;
}

// --- the report ------------------------------------------------------------------------------------------------------

static void report(const struct tuning *t) {
    double *off = xcalloc(t->n_rows * CG_ALGORITHMS + 1, sizeof *off), lost = 0;
    size_t n_off = 0, n_lost = 0;
    for (size_t i = 0; i < t->n_rows; i++) {
        const struct row *r = &t->rows[i];
        int first = (int)cg_fastest(r->predicted), best = measured_best(r->predicted, r->measured);
        if (best < 0) continue;
        fprintf(stderr, "smkdc: tuning: %s, %zu node%s:", r->key, r->nodes, r->nodes == 1 ? "" : "s");
        for (int a = 0; a < CG_ALGORITHMS; a++) {
            if (r->predicted[a] < 0) continue;
            fprintf(stderr, " %s%s %.3f ms (predicted %.3f)", a == best ? "*" : "", cg_algorithm_names[a],
                    r->measured[a] * 1e3, r->predicted[a] * 1e3);
            off[n_off++] = fmax(r->measured[a] / r->predicted[a], r->predicted[a] / r->measured[a]);
        }
        fprintf(stderr, "%s\n", best == first ? "" : ", against the prediction");
        if (best == first) continue;
        n_lost++;
        lost += (double)r->nodes * (r->measured[first] - r->measured[best]);
    }
    double median = run_median(off, n_off); // sorts
    if (n_off)
        fprintf(stderr,
                "smkdc: tuning: %zu shape%s; predictions off by a factor of %.2f (median), %.2f (worst); in %zu the "
                "cost model would choose another algorithm, which takes %.1f ms more\n",
                t->n_rows, t->n_rows == 1 ? "" : "s", median, off[n_off - 1], n_lost, lost * 1e3);
    free(off);
}

static enum smkd_status prepare(struct tuning *t, const struct cg_model *m, struct cg_options o) {
    TRY(tune_file_open(&t->file, t->options->path, t->options->level, t->options->threads, t->options->measure, t->d));
    o.emit = "plan"; // the stage behind the choice
    o.time = false;
    o.dump_after = NULL;
    TRY(compile(t, m, o, pick_collect, t, "/dev/null"));
    size_t unknown = 0;
    for (size_t i = 0; i < t->n_rows; i++) unknown += !t->rows[i].known;
    if (!t->options->measure) {
        if (unknown)
            fprintf(stderr,
                    "smkdc: %zu of %zu shapes were not measured and are chosen by the cost model; --tune "
                    "measures them\n",
                    unknown, t->n_rows);
        return SMKD_OK;
    }
    if (unknown) TRY(tune_file_save(&t->file, t->d)); // whether it can be written, before minutes go into it
    fprintf(stderr, "smkdc: tuning: %zu convolutions of %zu shapes with a choice, %zu of them not yet in %s\n",
            t->n_sites, t->n_rows, unknown, t->options->path);
    if (unknown) {
        TRY(measure(t, m, o));
        TRY(tune_file_save(&t->file, t->d));
    }
    report(t);
    return SMKD_OK;
}

enum smkd_status dc_tune_compile(const struct dc_tune *options, struct arena *a, struct cg_model *m,
                                 const struct cg_options *o, const char *out, struct diag *d) {
    if (!options->path[0]) return cg_compile(m, o, out, d);
    struct tuning t = {.options = options, .a = a, .d = d, .batch = {o->batch, o->infer_batch}};
    for (int i = 0; i < 2; i++)
        if (t.batch[i] > o->max_batch) t.batch[i] = o->max_batch;
    enum smkd_status s = prepare(&t, m, *o);
    if (s == SMKD_OK) s = compile(&t, m, *o, pick_measured, &t, out);
    tune_file_release(&t.file);
    return s;
}

// --- options --------------------------------------------------------------------------------------------------------

int dc_tune_options(struct dc_tune *t, struct dc_build *b, const struct args *a) {
    *t = (struct dc_tune){.measure = args_given(a, "tune")};
    int64_t threads = 0;
    if (!args_i64(a, "batch-size", 1, 1 << 20, &b->cg.batch) ||
        !args_i64(a, "infer-batch-size", 1, 1 << 20, &b->cg.infer_batch) ||
        !args_i64(a, "tune-threads", 0, 1024, &threads))
        return EXIT_USAGE;
    const char *path = args_str(a, "tune-file");
    t->level = cg_level(b->cg.mcpu, b->cg.bf16);
    if ((!t->measure && !path) || !t->level) return EXIT_DONE; // an unknown CPU is reported where the others are
    if (b->stage < DC_PLAN)
        return args_fail(a->cmd, "--emit %s comes before algorithms are chosen; leave out --tune and --tune-file",
                         dc_stages[b->stage]);
    const char *host = cg_level("native", b->cg.bf16);
    if (t->measure && (!host || strcmp(host, t->level) != 0))
        return args_fail(a->cmd,
                         "--tune measures on this machine, which runs %s code best, not --mcpu %s; tune on such a "
                         "machine, or leave out --tune",
                         host ? host : "other", b->cg.mcpu);
    if (path ? strlen(path) >= sizeof t->path || !*path : !tune_default_path(t->path, sizeof t->path))
        return args_fail(a->cmd, "there is no place for measurements: HOME is not set, or the name is too long; give "
                                 "--tune-file FILE");
    if (path) strcpy(t->path, path);
    smkd_team *team = smkd_team_new((int)threads); // knows how many 0 are
    t->threads = team ? smkd_team_threads(team) : 1;
    smkd_team_free(team);
    return EXIT_DONE;
}
