#include "survey.h"

#include "stages.h"

#include <math.h>
#include <string.h>

bool rt_untouched(const smkd_model *m) {
    const struct smkd_abi_tensor *t;
    const struct smkd_artifact *info = smkd_model_info(m);
    size_t floats = 0;
    for (size_t i = 0; (t = smkd_model_nth(m, SMKD_ABI_BUFFER, i)); i++) {
        if (t->dtype != SMKD_ABI_F32 || !info->initial) continue;
        const float *v = (const float *)(const void *)((const char *)info->initial + t->offset);
        for (size_t j = 0; j < t->numel; j++)
            if (v[j] != 0 && v[j] != 1) return false;
        floats += t->numel;
    }
    return floats > 0;
}

static enum smkd_result survey_batch(struct run *r, const struct rt_batch *b, int64_t epoch, bool first,
                                     double *entropy) {
    enum smkd_result e = rt_feeds_run(&r->feeds, b->images, b->n, 1, rt_stage_at(r, epoch) > 1);
    for (int k = 0; k < r->t->n_peers && e == SMKD_R_OK; k++) {
        struct rt_peer *p = &r->t->peers[k];
        e = rt_peer_run(p, SMKD_ABI_INFER, b->images, b->n);
        rt_repeat_views(p->out, b->n, r->stacked, (size_t)p->classes);
        if (e == SMKD_R_OK) e = rt_feeds_guess(&r->feeds, k, SMKD_ABI_INFER, NULL, b->n * (size_t)r->feeds.views);
    }
    if (e == SMKD_R_OK) e = rt_program_set(&r->loss, "survey", first ? 1 : 2);
    if (e == SMKD_R_OK) e = rt_step_program(r, b);
    if (e != SMKD_R_OK) return e;
    rt_tables_write(&r->tables, b->index, b->n, -1);
    for (int k = 0; k < r->t->n_peers; k++) {
        const float *h = rt_program_rows(&r->loss, "entropy", k);
        for (size_t i = 0; h && i < b->n; i++) entropy[k] += h[i];
    }
    return SMKD_R_OK;
}

enum smkd_result rt_survey(struct run *r, struct rt_loader *l, int64_t epoch, double entropy[METHOD_MAX_PEERS]) {
    struct rt_batch b;
    enum smkd_result e = rt_step_clock(r, epoch, 0);
    size_t done = 0;
    rt_loader_begin(l, (uint64_t)epoch);
    while (rt_loader_next(l, &b)) {
        if (e == SMKD_R_OK) e = survey_batch(r, &b, epoch, done == 0, entropy);
        done += b.n;
    }
    if (e == SMKD_R_OK) e = rt_loader_result(l);
    if (e == SMKD_R_OK) e = rt_program_set(&r->loss, "survey", 0);
    for (int k = 0; k < r->t->n_peers && done; k++) entropy[k] /= (double)done;
    return e;
}

// MyLC's r of networks that come trained is known before the first step (SMKD Eq. 7 is over all examples).
static void set_confidence(struct run *r, const double *entropy) {
    struct str line = STR_INIT;
    for (int k = 0; k < r->t->n_peers; k++) {
        const double mean = 1 - entropy[k] / log((double)r->classes);
        if (!rt_untouched(r->t->peers[k].model)) r->state.r[k] = mean < 0 ? 0 : mean > 1 ? 1 : mean;
        str_addf(&line, " %.4f", r->state.r[k]);
    }
    rt_progress_note(&r->progress, "mean confidence before the first step:%s", line.s);
    str_release(&line);
}

enum smkd_result rt_survey_before(struct run *r, int64_t epoch) {
    const struct method *m = r->c->row;
    bool mylc = false;
    for (int k = 0; k < r->t->n_peers && rt_in_stage(r, epoch) == 1 && (r->by_epoch || r->by_ema); k++)
        mylc = mylc || !rt_untouched(r->t->peers[k].model);
    const struct method_moment at = rt_moment(r, epoch);
    if (!mylc && !method_survey(m, &r->c->values, &at)) return SMKD_R_OK;
    double entropy[METHOD_MAX_PEERS] = {0};
    enum smkd_result e = rt_survey(r, method_held_out(m, &r->c->values) ? r->validation : r->all, epoch, entropy);
    if (e == SMKD_R_OK && mylc) set_confidence(r, entropy);
    return e;
}
