// smkd-run grad: one training forward and backward, everything they produce in one file.
#include "../runtime/peer.h"
#include "run_io.h"
#include "run_train.h"

static const struct args_opt opts[] = {
    {"input", 0, "NAME=FILE.npy", NULL, "an input of the model, [N,...]", ARGS_REPEAT},
    {"cotangent", 0, "NAME=FILE.npy", NULL, "gradient of the loss by that output; outputs not given get zero",
     ARGS_REPEAT | ARGS_REQUIRED},
    {"output", 'o', "G.safetensors", NULL, "file to write", ARGS_REQUIRED},
    RUN_WEIGHTS_OPTS,
    {"dropout", 0, NULL, NULL, "dropout and stochastic depth on (off by default, to compare with a reference)", 0},
    {"seed", 0, "S", "0", "seed of the dropout masks", 0},
    RUN_TAPS_OPT,
    RUN_THREADS_OPT,
    {0}};
static const struct args_cmd cmd = {
    "smkd-run grad",
    "A.smkd",
    1,
    1,
    "Runs a model in train mode (batch statistics), forward and backward, in one batch. Writes its outputs, "
    "the gradient\nof every parameter under the parameter's ONNX name, the gradient of each input NAME as "
    "grad.NAME, and the updated\nBatchNorm statistics under theirs.",
    opts};

// Allocates a result for every row of `role` and binds it.
static enum smkd_result bind_results(struct rt_tensors *out, smkd_session *s, const smkd_model *m,
                                     enum smkd_abi_role role, const char *prefix, bool taps, int64_t batch) {
    const struct smkd_abi_tensor *t;
    for (size_t i = 0; (t = smkd_model_nth(m, role, i)); i++) {
        if (!taps && rt_is_added(m, t)) continue; // the session has memory for it
        struct str name = STR_INIT;
        str_addf(&name, "%s%s", prefix, t->name);
        struct rt_tensor *x = run_result(out, name.s, t, batch, NULL);
        str_release(&name);
        if (!x) return SMKD_R_NOMEM;
        enum smkd_result r = smkd_bind(s, role, t->name, x->data);
        if (r != SMKD_R_OK) return r;
    }
    return SMKD_R_OK;
}

// Binds the given tensors; cotangents that were not given become zeros, owned by `zeros`.
static enum smkd_result bind_feeds(const struct run_feeds *fs, struct rt_tensors *zeros, smkd_session *s,
                                   const smkd_model *m, int64_t batch) {
    const struct smkd_abi_tensor *t;
    for (size_t i = 0; (t = smkd_model_nth(m, SMKD_ABI_COTANGENT, i)); i++) {
        struct rt_tensor *z = run_result(zeros, t->name, t, batch, NULL);
        if (!z || smkd_bind(s, SMKD_ABI_COTANGENT, t->name, z->data) != SMKD_R_OK) return SMKD_R_NOMEM;
    }
    for (size_t i = 0; i < fs->n; i++) {
        const struct run_feed *f = &fs->f[i];
        enum smkd_result r = smkd_bind(s, (enum smkd_abi_role)f->row->role, f->row->name, f->tensor.data);
        if (r != SMKD_R_OK) return r;
    }
    return SMKD_R_OK;
}

// Parameter gradients and buffers lie in the model's blocks: they are written from there.
static enum smkd_result add_block_rows(struct rt_tensors *out, smkd_model *m) {
    const struct smkd_abi_tensor *t;
    char *grads = smkd_model_grads(m), *params = smkd_model_params(m);
    if (!grads) return SMKD_R_NOMEM;
    for (size_t i = 0; (t = smkd_model_nth(m, SMKD_ABI_PARAM, i)); i++)
        if (!run_result(out, t->name, t, 1, grads + t->offset)) return SMKD_R_INVALID;
    for (size_t i = 0; (t = smkd_model_nth(m, SMKD_ABI_BUFFER, i)); i++)
        if (!run_result(out, t->name, t, 1, params + t->offset)) return SMKD_R_INVALID;
    return SMKD_R_OK;
}

static enum smkd_result grad(const struct args *a, smkd_model *m, smkd_session *s, int64_t seed) {
    struct run_feeds in = {0};
    struct rt_tensors out = {0}, zeros = {0};
    int64_t batch = 0;
    enum smkd_result r = run_feeds_read(&in, m, SMKD_ABI_INPUT, a, "input", &batch);
    if (r == SMKD_R_OK) r = run_feeds_complete(&in, m);
    if (r == SMKD_R_OK) r = run_feeds_read(&in, m, SMKD_ABI_COTANGENT, a, "cotangent", &batch);
    if (batch == 0) batch = 1;
    if (r == SMKD_R_OK) r = bind_results(&out, s, m, SMKD_ABI_OUTPUT, "", args_given(a, "taps"), batch);
    if (r == SMKD_R_OK) r = bind_results(&out, s, m, SMKD_ABI_GRAD_INPUT, "grad.", false, batch);
    if (r == SMKD_R_OK) r = bind_feeds(&in, &zeros, s, m, batch);
    // A negative seed turns every mask off (ir/hash.h).
    if (r == SMKD_R_OK) r = rt_set_if_there(s, m, "seed", args_given(a, "dropout") ? (double)seed : -1);
    if (r == SMKD_R_OK) r = smkd_run(s, SMKD_ABI_FORWARD, batch);
    if (r == SMKD_R_OK) r = smkd_run(s, SMKD_ABI_BACKWARD, batch);
    if (r == SMKD_R_OK) r = add_block_rows(&out, m);
    if (r == SMKD_R_OK) r = run_forms_leave(&out, m, SMKD_ABI_OUTPUT, "", batch);
    if (r == SMKD_R_OK) r = run_forms_leave(&out, m, SMKD_ABI_GRAD_INPUT, "grad.", batch);
    if (r == SMKD_R_OK) r = rt_safetensors_write(args_str(a, "output"), &out);
    rt_tensors_release(&out);
    rt_tensors_release(&zeros);
    run_feeds_release(&in);
    return r;
}

static int run(const struct args *a) {
    int64_t threads = 0, seed = 0;
    if (!args_i64(a, "threads", 0, 1024, &threads) || !args_i64(a, "seed", 0, INT64_C(1) << 53, &seed))
        return EXIT_USAGE;
    smkd_model *m = run_load(a, a->pos[0]);
    smkd_team *team = m ? smkd_team_new((int)threads) : NULL;
    smkd_session *s = team ? smkd_session_new(m, team) : NULL;
    enum smkd_result r = s ? grad(a, m, s, seed) : SMKD_R_INVALID;
    smkd_session_free(s);
    smkd_team_free(team);
    smkd_model_free(m);
    return r == SMKD_R_OK ? EXIT_DONE : run_failed("grad");
}

int run_grad(int argc, char **argv) { return args_command_main(&cmd, run, argc, argv); }
