// smkd-run loss: a training loss on given logits and labels, everything it computes in one file.
#include "../runtime/data.h"
#include "../runtime/peer.h"
#include "loss_program.h"
#include "run_io.h"
#include "run_train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct args_opt opts[] = {
    {"logits", 0, "FILE.npy", NULL, "logits [N,C] of a peer (floats of any size): give it twice, peer 0 first",
     ARGS_REPEAT | ARGS_REQUIRED},
    {"labels", 0, "FILE", NULL, "labels, 0 to C-1: a .npy or text file, as for smkd-run train", ARGS_REQUIRED},
    {"output", 'o', "L.safetensors", NULL, "file to write", ARGS_REQUIRED},
    {"progress", 0, "T", "1", "how far training is, 0 to 1", 0},
    {"eta", 0, "X", "4", "threshold of smkd-p and smkd-s is ln(C) / eta at half time", 0},
    {"b1", 0, "X", "10", "steepness of the trust in own predictions", 0},
    {"b2", 0, "X", "-5", "steepness of the threshold's fall (smkd-p)", 0},
    {"rho", 0, "X", "0.5", "midpoint of the trust in own predictions", 0},
    {"r", 0, "R0,R1", NULL, "mean confidence of each peer, which MyLC looks at", 0},
    {"r0", 0, "X", "0", "that of peer 0", 0},
    {"r1", 0, "X", "0", "that of peer 1", 0},
    {"refine", 0, "RULE", "auto", "label refinement: mylc, proselflc or none (auto: mylc; none for ce)", 0},
    {"peer-denom", 0, "D", "K", "peer term averaged over: K taught rows, N all rows, typo (the paper's listing)", 0},
    {"r-scope", 0, "SCOPE", "epoch", "epoch or ema: r is what --r says; batch: computed from these logits", 0},
    {"detach-target", 0, NULL, NULL, "no gradient through the own refined target", 0},
    {"log-floor", 0, "E", "0", "e in log(p + e), 0 for exact", 0},
    RUN_THREADS_OPT,
    {0}};
static const struct args_cmd cmd = {
    "smkd-run loss",
    "NAME|L.smkd",
    1,
    1,
    "Evaluates a training loss for a pair of peers: smkd-p, smkd-s, all, zero, ce, or a file made with "
    "smkdc loss (which then\ndecides --refine, --peer-denom, --r-scope, --detach-target and --log-floor). "
    "Writes loss.K, grad.K (by logits K),\nthreshold, selected.K (1 where peer K teaches), trust.K and "
    "entropy.K for K = 0, 1.",
    opts};

// Scalars that a program may have, with the options they come from. An infinite eta is the paper's ZERO; the others
// are multiplied with numbers that may be 0.
static const struct {
    const char *scalar, *option;
    double min, max;
} numbers[] = {
    {"progress", "progress", 0, 1}, {"eta", "eta", -INFINITY, INFINITY}, {"b1", "b1", -1e6, 1e6},
    {"b2", "b2", -1e6, 1e6},        {"rho", "rho", -1e6, 1e6},           {"r.0", "r0", -1e6, 1e6},
    {"r.1", "r1", -1e6, 1e6},
};
enum { N_NUMBERS = sizeof numbers / sizeof *numbers };

struct given {
    double number[N_NUMBERS];
    int64_t threads;
    struct rt_tensor logits[2];
    int64_t *labels;
};

static bool read_numbers(struct given *g, const struct args *a) {
    for (int i = 0; i < N_NUMBERS; i++) {
        if (!args_f64(a, numbers[i].option, numbers[i].min, numbers[i].max, &g->number[i])) return false;
    }
    if (g->number[1] == 0) {
        args_fail(&cmd,
                  "--eta 0: the threshold ln(C)/eta is not defined; use the loss all for everything, zero for nothing");
        return false;
    }
    const char *r = args_str(a, "r");
    if (r) {
        struct str first = STR_INIT;
        const char *comma = strchr(r, ',');
        if (comma) str_addn(&first, r, (size_t)(comma - r));
        bool ok = comma && first.s && parse_f64(first.s, &g->number[5]) && parse_f64(comma + 1, &g->number[6]) &&
                  isfinite(g->number[5]) && isfinite(g->number[6]);
        str_release(&first);
        if (!ok) {
            args_fail(&cmd, "--r %s: expected two numbers such as 0.5,0.4", r);
            return false;
        }
    }
    return args_i64(a, "threads", 0, 1024, &g->threads);
}

static enum smkd_result read_tensors(struct given *g, const struct args *a) {
    if (args_count(a, "logits") != 2)
        return rt_fail(SMKD_R_INVALID,
                       "a loss is for a pair: --logits is given %zu time%s, two are needed (the same file twice makes "
                       "equal peers)",
                       args_count(a, "logits"), args_count(a, "logits") == 1 ? "" : "s");
    for (int k = 0; k < 2; k++) {
        const char *path = args_nth(a, "logits", (size_t)k);
        enum smkd_result r = rt_npy_read(path, &g->logits[k]);
        if (r != SMKD_R_OK) return r;
        if (rt_dtype_is_integer(g->logits[k].dtype))
            return rt_fail(SMKD_R_MISMATCH, "%s: is %s; logits are real numbers, such as float32", path,
                           rt_dtype_name(g->logits[k].dtype));
        if ((r = rt_tensor_convert(&g->logits[k], RT_F32, path, "logit")) != SMKD_R_OK) return r;
        const struct rt_tensor *t = &g->logits[k];
        if (t->rank != 2 || t->dims[0] < 1 || t->dims[0] > 1 << 20 || t->dims[1] < 2 || t->dims[1] > 1000000)
            return rt_fail(SMKD_R_MISMATCH, "%s: logits are [N,C] with 1 to 1048576 rows and 2 to 1000000 classes",
                           path);
        if (k && (t->dims[0] != g->logits[0].dims[0] || t->dims[1] != g->logits[0].dims[1]))
            return rt_fail(SMKD_R_MISMATCH, "%s: is [%lld,%lld] where the first peer's logits are [%lld,%lld]", path,
                           (long long)t->dims[0], (long long)t->dims[1], (long long)g->logits[0].dims[0],
                           (long long)g->logits[0].dims[1]);
    }
    const char *path = args_str(a, "labels");
    int64_t rows = g->logits[0].dims[0], classes = g->logits[0].dims[1];
    int32_t *y = xcalloc((size_t)rows, sizeof *y);
    enum smkd_result r = rt_labels_read(path, (size_t)rows, (size_t)rows, (int)classes, y);
    g->labels = xcalloc((size_t)rows, sizeof *g->labels);
    for (int64_t i = 0; i < rows; i++) g->labels[i] = y[i];
    free(y);
    return r;
}

static enum smkd_result evaluate(struct given *g, const struct args *a, smkd_model *m, smkd_session *s) {
    int64_t rows = g->logits[0].dims[0];
    struct rt_tensors out = {0};
    const struct smkd_abi_tensor *t;
    enum smkd_result r = smkd_bind(s, SMKD_ABI_INPUT, "logits.0", g->logits[0].data);
    if (r == SMKD_R_OK) r = smkd_bind(s, SMKD_ABI_INPUT, "logits.1", g->logits[1].data);
    if (r == SMKD_R_OK) r = smkd_bind(s, SMKD_ABI_INPUT, "labels", g->labels);
    for (int i = 0; i < N_NUMBERS && r == SMKD_R_OK; i++) r = rt_set_if_there(s, m, numbers[i].scalar, g->number[i]);
    for (size_t i = 0; r == SMKD_R_OK && (t = smkd_model_nth(m, SMKD_ABI_OUTPUT, i)); i++) {
        struct rt_tensor *x = run_result(&out, t->name, t, rows, NULL);
        r = x ? smkd_bind(s, SMKD_ABI_OUTPUT, t->name, x->data) : SMKD_R_NOMEM;
    }
    if (r == SMKD_R_OK) r = smkd_run(s, SMKD_ABI_FORWARD, rows);
    if (r == SMKD_R_OK) r = rt_safetensors_write(args_str(a, "output"), &out);
    rt_tensors_release(&out);
    return r;
}

static enum smkd_result load_and_evaluate(struct given *g, const struct args *a) {
    const char *refine = args_str(a, "refine");
    if (strcmp(refine, "auto") == 0) refine = strcmp(a->pos[0], "ce") == 0 ? "none" : "mylc";
    struct loss_request want = {.name = a->pos[0],
                                .refine = refine,
                                .peer_denom = args_str(a, "peer-denom"),
                                .r_scope = args_str(a, "r-scope"),
                                .detach_target = args_given(a, "detach-target"),
                                .classes = g->logits[0].dims[1],
                                .max_batch = g->logits[0].dims[0]};
    args_f64(a, "log-floor", 0, 0.5, &want.log_floor); // checked before
    smkd_model *m = loss_program(&want);
    smkd_team *team = m ? smkd_team_new((int)g->threads) : NULL;
    smkd_session *s = team ? smkd_session_new(m, team) : NULL;
    enum smkd_result r = s ? evaluate(g, a, m, s) : SMKD_R_INVALID;
    smkd_session_free(s);
    smkd_team_free(team);
    smkd_model_free(m);
    return r;
}

static int run(const struct args *a) {
    static const char *const refines[] = {"auto", "mylc", "proselflc", "none", NULL},
                             *const denoms[] = {"K", "N", "typo", NULL},
                             *const scopes[] = {"epoch", "batch", "ema", NULL};
    struct given g = {0};
    size_t word;
    double log_floor;
    if (!read_numbers(&g, a) || !args_choice(a, "refine", refines, &word) ||
        !args_choice(a, "peer-denom", denoms, &word) || !args_choice(a, "r-scope", scopes, &word) ||
        !args_f64(a, "log-floor", 0, 0.5, &log_floor))
        return EXIT_USAGE;
    enum smkd_result r = read_tensors(&g, a);
    if (r == SMKD_R_OK) r = load_and_evaluate(&g, a);
    for (int k = 0; k < 2; k++) rt_tensor_release(&g.logits[k]);
    free(g.labels);
    return r == SMKD_R_OK ? EXIT_DONE : run_failed("loss");
}

int run_loss(int argc, char **argv) { return args_command_main(&cmd, run, argc, argv); }
