// smkd-run infer: outputs of a model under their ONNX names.
#include "../runtime/peer.h"
#include "run_io.h"
#include "run_train.h"

static const struct args_opt opts[] = {
    {"input", 0, "NAME=FILE.npy", NULL, "an input of the model, [N,...]", ARGS_REPEAT},
    {"output", 'o', "OUT.safetensors", NULL, "file to write", ARGS_REQUIRED},
    RUN_WEIGHTS_OPTS,
    {"batch-size", 0, "N", NULL, "samples at once (default: as many as the artifact takes)", 0},
    {"seed", 0, "S", "0", "seed of what the model draws at random", 0},
    RUN_TAPS_OPT,
    RUN_THREADS_OPT,
    {0}};
static const struct args_cmd cmd = {
    "smkd-run infer",
    "A.smkd",
    1,
    1,
    "Runs a model in inference mode (running statistics, dropout off) and writes its outputs under their "
    "ONNX names.\nAny number of samples: they go through in batches. Where a model computes with all samples of a "
    "batch "
    "(a mean over\nthem), results would depend on how they are cut: such a model takes all of them in one run, or "
    "refuses.",
    opts};

// The artifact's outputs, those that only training looks at where they are wanted.
static const struct smkd_abi_tensor *next_output(const smkd_model *m, bool taps, size_t *i) {
    const struct smkd_abi_tensor *t;
    while ((t = smkd_model_nth(m, SMKD_ABI_OUTPUT, (*i)++)) && !taps && rt_is_added(m, t)) continue;
    return t;
}

// SMKD_R_UNSUPPORTED where cutting `batch` samples into batches of `step` would change the results.
static enum smkd_result check_split(const smkd_model *m, const char *path, int64_t batch, int64_t step) {
    struct str node = STR_INIT;
    enum smkd_result r = SMKD_R_OK;
    const struct smkd_artifact *info = smkd_model_info(m);
    if (batch > step && rt_mixing(m, &node)) {
        if (batch > (int64_t)info->max_batch)
            r = rt_fail(SMKD_R_UNSUPPORTED,
                        "%s: %s computes with all samples of a batch, so that %lld of them must be one batch, and the "
                        "artifact takes at most %llu: compile it with --max-batch %lld",
                        path, node.s, (long long)batch, (unsigned long long)info->max_batch, (long long)batch);
        else
            r = rt_fail(
                SMKD_R_UNSUPPORTED,
                "--batch-size %lld: %s of %s computes with all samples of a batch, so that %lld of them must be "
                "one batch: leave it out",
                (long long)step, node.s, path, (long long)batch);
    }
    str_release(&node);
    return r;
}

// Samples [at, at+n) of every input and output.
static enum smkd_result run_batch(smkd_session *s, const struct run_feeds *in, const struct rt_tensors *out,
                                  const smkd_model *m, bool taps, int64_t at, int64_t n) {
    enum smkd_result r = SMKD_R_OK;
    for (size_t i = 0; i < in->n && r == SMKD_R_OK; i++) {
        const struct smkd_abi_tensor *t = in->f[i].row;
        r = smkd_bind(s, SMKD_ABI_INPUT, t->name,
                      (char *)in->f[i].tensor.data + (run_row_batched(t) ? run_row_bytes(t, at) : 0));
    }
    for (size_t i = 0, at_row = 0; i < out->n && r == SMKD_R_OK; i++) {
        const struct smkd_abi_tensor *t = next_output(m, taps, &at_row);
        r = smkd_bind(s, SMKD_ABI_OUTPUT, t->name,
                      (char *)out->t[i].data + (run_row_batched(t) ? run_row_bytes(t, at) : 0));
    }
    return r == SMKD_R_OK ? smkd_run(s, SMKD_ABI_INFER, n) : r;
}

static enum smkd_result infer(const struct args *a, smkd_model *m, smkd_session *s, int64_t step) {
    struct run_feeds in = {0};
    struct rt_tensors out = {0};
    const bool taps = args_given(a, "taps");
    int64_t batch = 0;
    const struct smkd_abi_tensor *t;
    enum smkd_result r = run_feeds_read(&in, m, SMKD_ABI_INPUT, a, "input", &batch);
    if (r == SMKD_R_OK) r = run_feeds_complete(&in, m);
    if (batch == 0) batch = 1; // a model whose inputs have no batch
    if (r == SMKD_R_OK) r = check_split(m, a->pos[0], batch, step);
    for (size_t i = 0; r == SMKD_R_OK && (t = next_output(m, taps, &i));)
        if (!run_result(&out, t->name, t, batch, NULL)) r = SMKD_R_NOMEM;
    for (int64_t at = 0; r == SMKD_R_OK && at < batch; at += step)
        r = run_batch(s, &in, &out, m, taps, at, batch - at < step ? batch - at : step);
    if (r == SMKD_R_OK) r = run_forms_leave(&out, m, SMKD_ABI_OUTPUT, "", batch);
    if (r == SMKD_R_OK) r = rt_safetensors_write(args_str(a, "output"), &out);
    rt_tensors_release(&out);
    run_feeds_release(&in);
    return r;
}

static int run(const struct args *a) {
    int64_t threads = 0, step = 0, seed = 0;
    if (!args_i64(a, "seed", 0, INT64_C(1) << 53, &seed) || !args_i64(a, "threads", 0, 1024, &threads) ||
        !args_i64(a, "batch-size", 1, INT32_MAX, &step))
        return EXIT_USAGE;
    smkd_model *m = run_load(a, a->pos[0]);
    smkd_team *team = m ? smkd_team_new((int)threads) : NULL;
    smkd_session *s = team ? smkd_session_new(m, team) : NULL;
    enum smkd_result r = s ? SMKD_R_OK : SMKD_R_INVALID;
    int64_t most = m ? (int64_t)smkd_model_info(m)->max_batch : 1;
    if (s && step > most)
        r = rt_fail(SMKD_R_INVALID, "--batch-size %lld: %s takes at most %lld; compile it with --max-batch %lld",
                    (long long)step, a->pos[0], (long long)most, (long long)step);
    if (r == SMKD_R_OK) r = rt_set_if_there(s, m, "seed", (double)seed);
    if (r == SMKD_R_OK) r = infer(a, m, s, step ? step : most);
    smkd_session_free(s);
    smkd_team_free(team);
    smkd_model_free(m);
    return r == SMKD_R_OK ? EXIT_DONE : run_failed("infer");
}

int run_infer(int argc, char **argv) { return args_command_main(&cmd, run, argc, argv); }
