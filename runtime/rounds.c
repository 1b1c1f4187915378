#include "rounds.h"

#include "rt_internal.h"

#include <stdlib.h>
#include <string.h>

int64_t rt_rounds(const struct rt_config *c) { return method_rounds(c->row, &c->values); }

int64_t rt_round(const struct run *r, int64_t epoch) { return (epoch - 1) / r->c->epochs + 1; }

int64_t rt_in_round(const struct run *r, int64_t epoch) { return (epoch - 1) % r->c->epochs + 1; }

enum smkd_result rt_rounds_start(struct run *r) {
    r->all_epochs = rt_rounds(r->c) * r->c->epochs;
    if (rt_rounds(r->c) < 2) return SMKD_R_OK;
    if (r->c->patience)
        return rt_fail(SMKD_R_INVALID, "--patience: the rounds of %s are all of --epochs", r->c->method);
    if (r->t->n_teachers)
        return rt_fail(SMKD_R_INVALID, "--teacher: the method %s makes its teachers itself", r->c->method);
    for (int k = 0; k < r->t->n_peers; k++) {
        const struct smkd_artifact *info = smkd_model_info(r->t->peers[k].model);
        if (!info->initial)
            return rt_fail(SMKD_R_UNSUPPORTED, "%s: does not hold the numbers it began with; compile it again",
                           r->t->peers[k].path);
        r->snapshot[k] = rt_block_alloc(info->param_bytes);
        if (!r->snapshot[k]) return rt_fail(SMKD_R_NOMEM, "out of memory for a copy of %s", r->t->peers[k].path);
    }
    return SMKD_R_OK;
}

void rt_rounds_keep(struct run *r) {
    for (int k = 0; k < r->t->n_peers && r->snapshot[k]; k++) {
        rt_keep_rows(&r->kept, "snapshot", k, r->t->peers[k].model, SMKD_ABI_PARAM, r->snapshot[k], true);
        rt_keep_rows(&r->kept, "snapshot", k, r->t->peers[k].model, SMKD_ABI_BUFFER, r->snapshot[k], true);
    }
}

void rt_rounds_finish(struct run *r) {
    for (int k = 0; k < r->t->n_peers; k++)
        if (r->snapshot[k]) rt_block_free(r->snapshot[k], smkd_model_info(r->t->peers[k].model)->param_bytes);
}

void rt_rounds_enter(struct run *r, int64_t epoch) {
    if (rt_round(r, epoch) < 2 || rt_in_round(r, epoch) != 1) return;
    for (int k = 0; k < r->t->n_peers; k++) {
        smkd_model *m = r->t->peers[k].model;
        const struct smkd_artifact *info = smkd_model_info(m);
        memcpy(r->snapshot[k], smkd_model_params(m), info->param_bytes);
        memcpy(smkd_model_params(m), info->initial, info->param_bytes);
        rt_optimizer_reset(&r->optimizer[k]);
        if (r->average) r->average[k].count = 0;
        r->state.r[k] = 0;
    }
    rt_schedule_restart(&r->schedule);
    rt_progress_note(&r->progress, "round %lld of %lld: the networks begin anew, taught by what they were",
                     (long long)rt_round(r, epoch), (long long)rt_rounds(r->c));
}
