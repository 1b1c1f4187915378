#include "run_subject.h"

#include "../runtime/peer.h"
#include "run_io.h"

static void fill(struct rt_tensor *t, struct rt_rng *rng, float scale) {
    if (t->dtype != RT_F32) return; // integers stay 0: valid as classes and as indices
    float *x = t->data;
    for (size_t i = 0; i < t->numel; i++) x[i] = (float)(2 * rt_rng_uniform(rng) - 1) * scale;
}

static enum smkd_result bind_random(struct run_subject *s, enum smkd_abi_role role, const char *prefix, int64_t batch,
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

enum smkd_result run_subject_start(struct run_subject *s, const char *path, smkd_team *team, int64_t batch,
                                   bool train) {
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
    if (r == SMKD_R_OK) r = rt_set_if_there(s->session, s->model, "weight_decay", 5e-4);
    return r;
}

void run_subject_release(struct run_subject *s) {
    for (int p = 0; p < SMKD_ABI_PHASES; p++) rt_profile_release(&s->profile[p]);
    smkd_session_free(s->session);
    smkd_model_free(s->model);
    rt_tensors_release(&s->memory);
    *s = (struct run_subject){0};
}
