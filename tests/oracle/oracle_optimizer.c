// Steps of an optimizer on given gradients, for test_optimizers.py.
//     oracle_optimizer MODEL.smkd PROGRAM.smkd|- GRADS.safetensors STEPS OUT.safetensors [--flag value]...
// GRADS has "STEP/NAME" for each parameter. The rate falls by 2 % a step. "-": the model's UPDATE entry.
#include "../../runtime/optimizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed(void) {
    fprintf(stderr, "%s\n", smkd_last_error());
    return 1;
}

static int set_gradients(const struct rt_tensors *f, smkd_model *m, int step) {
    const struct smkd_abi_tensor *t;
    for (size_t i = 0; (t = smkd_model_nth(m, SMKD_ABI_PARAM, i)); i++) {
        char name[300];
        snprintf(name, sizeof name, "%d/%s", step, t->name);
        const struct rt_tensor *g = rt_tensors_find(f, name);
        if (!g || g->numel != t->numel) {
            fprintf(stderr, "no gradient %s\n", name);
            return 1;
        }
        memcpy((char *)smkd_model_grads(m) + t->offset, g->data, g->bytes);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 6) return 2;
    struct rt_config c;
    rt_config_init(&c, method_find("ce"));
    enum smkd_result e = rt_config_set(&c, "data", "none");
    for (int i = 6; i + 1 < argc && e == SMKD_R_OK; i += 2) e = rt_config_set(&c, argv[i] + 2, argv[i + 1]);
    if (e == SMKD_R_OK) e = rt_config_resolve(&c);
    if (e != SMKD_R_OK) return failed();
    const bool plain = strcmp(argv[2], "-") == 0;
    struct rt_peer p;
    const struct rt_peer_want want = {0};
    struct rt_tensors grads = {0};
    smkd_team *team = smkd_team_new(2);
    smkd_model *program = plain ? NULL : smkd_model_load(argv[2]);
    struct rt_optimizer o = {0};
    bool guessed;
    if ((!plain && !program) || (program && rt_optimizer_check(program, argv[2], c.opt_row) != SMKD_R_OK))
        return failed();
    if (rt_peer_load(&p, argv[1], &want) != SMKD_R_OK || rt_peer_start(&p, team, 2, 1) != SMKD_R_OK) return failed();
    if (rt_safetensors_read(argv[3], &grads) != SMKD_R_OK) return failed();
    if (rt_optimizer_start(&o, &c, &p, program, team, &guessed) != SMKD_R_OK) return failed();
    for (int t = 1; t <= atoi(argv[4]); t++) {
        const double lr = c.lr * pow(0.98, t - 1);
        if (set_gradients(&grads, p.model, t)) return 1;
        if (plain && rt_set_if_there(p.session, p.model, "lr", lr) != SMKD_R_OK) return failed();
        if (rt_optimizer_step(&o, lr, t) != SMKD_R_OK) return failed();
    }
    struct rt_kept kept = {0};
    rt_keep_rows(&kept, "peer", 0, p.model, SMKD_ABI_PARAM, smkd_model_params(p.model), false);
    struct rt_tensors out = {.t = xcalloc(kept.n_tensors, sizeof *out.t), .n = kept.n_tensors};
    for (size_t i = 0; i < kept.n_tensors; i++) {
        const struct rt_kept_tensor *k = &kept.tensor[i];
        out.t[i] = (struct rt_tensor){.name = xstrdup(k->name + strlen("peer.0.")),
                                      .dtype = k->dtype,
                                      .rank = k->rank,
                                      .numel = k->numel,
                                      .bytes = k->numel * 4,
                                      .borrowed = true,
                                      .data = k->data};
        memcpy(out.t[i].dims, k->dims, sizeof k->dims);
    }
    if (rt_safetensors_write(argv[5], &out) != SMKD_R_OK) return failed();
    rt_tensors_release(&out);
    rt_kept_release(&kept);
    rt_tensors_release(&grads);
    rt_optimizer_release(&o);
    rt_peer_release(&p);
    smkd_model_free(program);
    smkd_team_free(team);
    rt_config_release(&c);
    return 0;
}
