// smkd-run bench: seconds of every step, images a second, peak memory.
#include "../runtime/train.h"
#include "run_io.h"
#include "run_subject.h"
#include "run_train.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_MODELS = 2 };

static const struct args_opt opts[] = {
    {"phase", 0, "PHASE", "train", "infer, or train: forward, backward and SGD update", 0},
    {"batch-size", 0, "N", "128", "samples a step", 0},
    {"steps", 0, "N", "10", "timed steps", 0},
    {"warmup", 0, "N", "2", "steps before them", 0},
    RUN_THREADS_OPT,
    {"per-node", 0, NULL, NULL, "time every node of the graph, beside what the machine could do", 0},
    {"roofline", 0, "FILE.svg", NULL, "draw the nodes under the machine's roofline", 0},
    {"json", 0, NULL, NULL, "print JSON", 0},
    {0}};
static const struct args_cmd cmd = {
    "smkd-run bench",
    "A.smkd [B.smkd]",
    1,
    MAX_MODELS,
    "Times steps on random inputs. With two artifacts a step runs both, one after the other, and images/s "
    "counts the pair's\ncommon images once. The gradient that enters the backward pass is fixed random "
    "numbers, so that only the model is timed.",
    opts};

static const enum smkd_abi_phase train_phases[] = {SMKD_ABI_FORWARD, SMKD_ABI_BACKWARD, SMKD_ABI_UPDATE},
                                 infer_phases[] = {SMKD_ABI_INFER};
enum { TRAIN_PHASES = sizeof train_phases / sizeof *train_phases };

// As a pair trains: every forward before the first backward.
static enum smkd_result step(struct run_subject *s, int n, int64_t batch, bool train, bool profile, double i) {
    const enum smkd_abi_phase *phases = train ? train_phases : infer_phases;
    enum smkd_result r = SMKD_R_OK;
    for (int k = 0; k < n && r == SMKD_R_OK; k++) r = rt_set_if_there(s[k].session, s[k].model, "seed", i);
    for (int p = 0; p < (train ? TRAIN_PHASES : 1); p++)
        for (int k = 0; k < n && r == SMKD_R_OK; k++)
            r = profile ? rt_profile_run(&s[k].profile[phases[p]], s[k].session, phases[p], batch)
                        : smkd_run(s[k].session, phases[p], batch);
    return r;
}

static enum smkd_result begin_profiles(struct run_subject *s, bool train, int64_t runs) {
    enum smkd_result r = SMKD_R_OK;
    for (int p = 0; p < (train ? TRAIN_PHASES : 1) && r == SMKD_R_OK; p++) {
        enum smkd_abi_phase phase = (train ? train_phases : infer_phases)[p];
        r = rt_profile_begin(&s->profile[phase], s->session, phase, runs);
    }
    return r;
}

static void collect(struct run_nodes *ns, const struct run_subject *s, bool train, int64_t batch) {
    static const char *const names[] = {[SMKD_ABI_INFER] = "infer",
                                        [SMKD_ABI_FORWARD] = "forward",
                                        [SMKD_ABI_BACKWARD] = "backward",
                                        [SMKD_ABI_UPDATE] = "update"};
    for (int p = 0; p < (train ? TRAIN_PHASES : 1); p++) {
        enum smkd_abi_phase phase = (train ? train_phases : infer_phases)[p];
        run_nodes_add(ns, names[phase], &s->profile[phase], batch);
    }
}

// VmHWM of this process in bytes; 0 where it is not known.
static double peak_memory(void) {
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    double kib = 0;
    while (f && fgets(line, sizeof line, f))
        if (str_has_prefix(line, "VmHWM:")) kib = strtod(line + 6, NULL);
    if (f) fclose(f);
    return kib * 1024;
}

static void report(const struct args *a, const struct run_subject *s, int n, int threads, int64_t batch,
                   const double *seconds, int64_t steps, const struct run_nodes *nodes,
                   const struct rt_limits *limits) {
    double sum = 0, session = 0, params = 0;
    double *sorted = xmalloc((size_t)steps * sizeof *sorted);
    memcpy(sorted, seconds, (size_t)steps * sizeof *sorted);
    double median = run_median(sorted, (size_t)steps);
    free(sorted);
    for (int64_t i = 0; i < steps; i++) sum += seconds[i];
    for (int k = 0; k < n; k++) {
        session += (double)smkd_session_bytes(s[k].session);
        params += (double)smkd_model_info(s[k].model)->param_bytes;
    }
    double rate = (double)(batch * steps) / sum;
    if (!args_given(a, "json")) {
        printf("%s: %.1f images/s, %.4f s a step (median of %lld), batch %lld, %d thread%s, peak %.0f MiB (arena %.0f "
               "MiB)\n",
               args_str(a, "phase"), rate, median, (long long)steps, (long long)batch, threads, threads == 1 ? "" : "s",
               peak_memory() / 1048576, session / 1048576);
        if (args_given(a, "per-node")) run_nodes_print(nodes, limits);
        return;
    }
    cJSON *j = cJSON_CreateObject(), *names = cJSON_AddArrayToObject(j, "artifacts");
    for (size_t k = 0; k < a->n_pos; k++) cJSON_AddItemToArray(names, cJSON_CreateString(a->pos[k]));
    cJSON_AddStringToObject(j, "phase", args_str(a, "phase"));
    cJSON_AddNumberToObject(j, "batch_size", (double)batch);
    cJSON_AddNumberToObject(j, "threads", threads);
    cJSON_AddNumberToObject(j, "images_per_s", rate);
    cJSON_AddNumberToObject(j, "median_s", median);
    cJSON_AddItemToObject(j, "seconds", cJSON_CreateDoubleArray(seconds, (int)steps));
    cJSON_AddNumberToObject(j, "peak_memory_bytes", peak_memory());
    cJSON_AddNumberToObject(j, "arena_bytes", session);
    cJSON_AddNumberToObject(j, "param_bytes", params);
    if (args_given(a, "per-node")) {
        cJSON_AddItemToObject(j, "limits", run_limits_json(limits));
        cJSON_AddItemToObject(j, "nodes", run_nodes_json(nodes, limits));
    }
    char *text = cJSON_Print(j);
    CHECK(text, "out of memory for the report");
    puts(text);
    cJSON_free(text);
    cJSON_Delete(j);
}

static int run(const struct args *a) {
    static const char *const phases[] = {"infer", "train", NULL};
    size_t phase;
    int64_t batch, steps, warmup, threads;
    if (!args_choice(a, "phase", phases, &phase) || !args_i64(a, "batch-size", 1, INT32_MAX, &batch) ||
        !args_i64(a, "steps", 1, 1000000, &steps) || !args_i64(a, "warmup", 0, 1000000, &warmup) ||
        !args_i64(a, "threads", 0, 1024, &threads))
        return EXIT_USAGE;
    bool train = phase == 1, profile = args_given(a, "per-node") || args_given(a, "roofline");
    struct run_subject s[MAX_MODELS] = {{0}};
    struct run_nodes nodes = {0};
    struct rt_limits limits = {0};
    int n = (int)a->n_pos;
    smkd_team *team = smkd_team_new((int)threads);
    enum smkd_result r = team ? SMKD_R_OK : SMKD_R_NOMEM;
    for (int k = 0; k < n && r == SMKD_R_OK; k++) r = run_subject_start(&s[k], a->pos[k], team, batch, train);
    for (int k = 0; k < n && r == SMKD_R_OK && profile; k++) r = begin_profiles(&s[k], train, steps);
    if (r == SMKD_R_OK && profile) r = rt_limits_measure(s[0].model, team, &limits);
    double *seconds = xcalloc((size_t)steps, sizeof *seconds);
    for (int64_t i = 0; i < warmup + steps && r == SMKD_R_OK; i++) {
        double t = rt_now();
        r = step(s, n, batch, train, profile && i >= warmup, (double)i);
        if (i >= warmup) seconds[i - warmup] = rt_now() - t;
    }
    for (int k = 0; k < n && r == SMKD_R_OK && profile; k++) collect(&nodes, &s[k], train, batch);
    if (r == SMKD_R_OK) report(a, s, n, smkd_team_threads(team), batch, seconds, steps, &nodes, &limits);
    const char *picture = args_str(a, "roofline");
    if (r == SMKD_R_OK && picture && !run_roofline_write(picture, smkd_model_info(s[0].model)->name, &nodes, &limits))
        r = rt_fail(SMKD_R_IO, "cannot write %s: %s", picture, strerror(errno));
    free(seconds);
    run_nodes_release(&nodes);
    for (int k = 0; k < n; k++) run_subject_release(&s[k]);
    smkd_team_free(team);
    return r == SMKD_R_OK ? EXIT_DONE : run_failed("bench");
}

int run_bench(int argc, char **argv) { return args_command_main(&cmd, run, argc, argv); }
