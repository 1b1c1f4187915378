// smkd-run bench: seconds of every step, images a second, peak memory.
#include "../runtime/peer.h"
#include "../runtime/train.h"
#include "run_io.h"
#include "run_train.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_MODELS = 2 };

static const struct args_opt opts[] = {
    {"phase", 0, "PHASE", "train", "infer, or train: forward, backward and SGD update", 0},
    {"batch-size", 0, "N", "128", "samples a step", 0},
    {"steps", 0, "N", "10", "timed steps", 0},
    {"warmup", 0, "N", "2", "steps before them", 0},
    RUN_THREADS_OPT,
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

struct subject {
    smkd_model *model;
    smkd_session *session;
    struct rt_tensors memory; // inputs and cotangents
};

static void fill(struct rt_tensor *t, struct rt_rng *rng, float scale) {
    if (t->dtype != RT_F32) return; // integers stay 0: valid as classes and as indices
    float *x = t->data;
    for (size_t i = 0; i < t->numel; i++) x[i] = (float)(2 * rt_rng_uniform(rng) - 1) * scale;
}

static enum smkd_result bind_random(struct subject *s, enum smkd_abi_role role, const char *prefix, int64_t batch,
                                    float scale) {
    const struct smkd_abi_tensor *t;
    struct rt_rng rng;
    rt_rng_init(&rng, 1, role);
    for (size_t i = 0; (t = smkd_model_nth(s->model, role, i)); i++) {
        struct str name = STR_INIT; // an output may be called as an input is
        str_addf(&name, "%s%s", prefix, t->name);
        struct rt_tensor *x = run_result(&s->memory, name.s, t, batch, NULL);
        str_release(&name);
        if (!x) return SMKD_R_NOMEM;
        fill(x, &rng, scale);
        enum smkd_result r = smkd_bind(s->session, role, t->name, x->data);
        if (r != SMKD_R_OK) return r;
    }
    return SMKD_R_OK;
}

static enum smkd_result start(struct subject *s, const char *path, smkd_team *team, int64_t batch, bool train) {
    s->model = smkd_model_load(path);
    s->session = s->model ? smkd_session_new(s->model, team) : NULL;
    if (!s->session) return SMKD_R_INVALID;
    if (smkd_model_info(s->model)->kind != SMKD_ABI_MODEL)
        return rt_fail(SMKD_R_INVALID, "%s: is a loss, not a model", path);
    enum smkd_result r = bind_random(s, SMKD_ABI_INPUT, "input ", batch, 1);
    if (r == SMKD_R_OK && train) r = bind_random(s, SMKD_ABI_COTANGENT, "cotangent ", batch, 1.0f / (float)batch);
    // A rate at which weights move but never run away, however many steps there are.
    if (r == SMKD_R_OK) r = rt_set_if_there(s->session, s->model, "lr", 1e-6);
    if (r == SMKD_R_OK) r = rt_set_if_there(s->session, s->model, "momentum", 0.9);
    if (r == SMKD_R_OK) r = rt_set_if_there(s->session, s->model, "weight_decay", 1e-4);
    return r;
}

// As a pair trains: every forward before the first backward.
static enum smkd_result step(struct subject *s, int n, int64_t batch, bool train, double i) {
    static const enum smkd_abi_phase phases[] = {SMKD_ABI_FORWARD, SMKD_ABI_BACKWARD, SMKD_ABI_UPDATE};
    enum smkd_result r = SMKD_R_OK;
    for (int k = 0; k < n && r == SMKD_R_OK; k++) r = rt_set_if_there(s[k].session, s[k].model, "seed", i);
    for (int p = 0; p < 3; p++)
        for (int k = 0; k < n && r == SMKD_R_OK; k++)
            if (train || p == 0) r = smkd_run(s[k].session, train ? phases[p] : SMKD_ABI_INFER, batch);
    return r;
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

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const struct args *a, const struct subject *s, int n, int threads, int64_t batch,
                   const double *seconds, int64_t steps) {
    double sum = 0, session = 0, params = 0;
    double *sorted = xmalloc((size_t)steps * sizeof *sorted);
    memcpy(sorted, seconds, (size_t)steps * sizeof *sorted);
    qsort(sorted, (size_t)steps, sizeof *sorted, by_size);
    double median = steps % 2 ? sorted[steps / 2] : (sorted[steps / 2 - 1] + sorted[steps / 2]) / 2;
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
    bool train = phase == 1;
    struct subject s[MAX_MODELS] = {{0}};
    int n = (int)a->n_pos;
    smkd_team *team = smkd_team_new((int)threads);
    enum smkd_result r = team ? SMKD_R_OK : SMKD_R_NOMEM;
    for (int k = 0; k < n && r == SMKD_R_OK; k++) r = start(&s[k], a->pos[k], team, batch, train);
    double *seconds = xcalloc((size_t)steps, sizeof *seconds);
    for (int64_t i = 0; i < warmup + steps && r == SMKD_R_OK; i++) {
        double t = rt_now();
        r = step(s, n, batch, train, (double)i);
        if (i >= warmup) seconds[i - warmup] = rt_now() - t;
    }
    if (r == SMKD_R_OK) report(a, s, n, smkd_team_threads(team), batch, seconds, steps);
    free(seconds);
    for (int k = 0; k < n; k++) {
        smkd_session_free(s[k].session);
        smkd_model_free(s[k].model);
        rt_tensors_release(&s[k].memory);
    }
    smkd_team_free(team);
    return r == SMKD_R_OK ? EXIT_DONE : run_failed("bench");
}

int run_bench(int argc, char **argv) { return args_command_main(&cmd, run, argc, argv); }
