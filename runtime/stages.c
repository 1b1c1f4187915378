#include "stages.h"

#include "data.h"
#include "parts.h"
#include "rt_internal.h"
#include "survey.h"

#include <stdlib.h>
#include <string.h>

int64_t rt_rounds(const struct rt_config *c) { return method_rounds(c->row, &c->values); }

static const struct rt_stage *stage_of(const struct run *r, int64_t epoch) {
    const struct rt_stage *p = r->stage;
    while (p + 1 < r->stage + r->n_stages && p[1].first <= epoch) p++;
    return p;
}

int64_t rt_stage_at(const struct run *r, int64_t epoch) { return stage_of(r, epoch) - r->stage + 1; }

int64_t rt_in_stage(const struct run *r, int64_t epoch) { return epoch - stage_of(r, epoch)->first + 1; }

int64_t rt_stage_epochs(const struct run *r, int64_t epoch) { return stage_of(r, epoch)->epochs; }

bool rt_stage_ends(const struct run *r, int64_t epoch) { return rt_in_stage(r, epoch) == rt_stage_epochs(r, epoch); }

struct method_moment rt_moment(const struct run *r, int64_t epoch) {
    return (struct method_moment){&stage_of(r, epoch)->is, rt_in_stage(r, epoch), rt_stage_epochs(r, epoch)};
}

static void find_stages(struct run *r) {
    const struct method *m = r->c->row;
    const struct method_values *v = &r->c->values;
    struct method_stage s;
    while (method_stage(m, v, r->n_stages, &s)) r->n_stages++;
    r->stage = xcalloc((size_t)r->n_stages, sizeof *r->stage);
    r->all_epochs = 0;
    for (int64_t i = 0; i < r->n_stages; i++) {
        struct rt_stage *p = &r->stage[i];
        method_stage(m, v, i, &p->is);
        p->first = r->all_epochs + 1;
        p->epochs = method_epochs(m, v, &p->is, r->c->epochs);
        p->rate = p->is.rate ? method_number(m, v, p->is.rate) : 0;
        r->all_epochs += p->epochs;
    }
}

static bool any_anew(const struct run *r) {
    for (int64_t i = 1; i < r->n_stages; i++)
        if (r->stage[i].is.anew || r->stage[i].is.part) return true;
    return false;
}

static enum smkd_result part_of(const struct run *r, const struct rt_stage *s, int k, struct rt_param_part *out) {
    return rt_param_part_of(method_word(r->c->row, &r->c->values, s->is.part), s->is.part, r->t->peers[k].model,
                            r->t->peers[k].path, out);
}

static enum smkd_result check_parts(const struct run *r) {
    enum smkd_result e = SMKD_R_OK;
    for (int64_t i = 0; i < r->n_stages && e == SMKD_R_OK; i++)
        for (int k = 0; r->stage[i].is.part && k < r->t->n_peers && e == SMKD_R_OK; k++) {
            struct rt_param_part part;
            e = part_of(r, &r->stage[i], k, &part);
            rt_param_part_release(&part);
        }
    return e;
}

enum smkd_result rt_stages_start(struct run *r) {
    find_stages(r);
    if (r->n_stages > 1 && r->c->patience)
        return rt_fail(SMKD_R_INVALID, "--patience: the method %s trains in stages, which have their epochs",
                       r->c->method);
    for (int k = 0; k < r->t->n_peers && any_anew(r); k++)
        if (!smkd_model_info(r->t->peers[k].model)->initial)
            return rt_fail(SMKD_R_UNSUPPORTED, "%s: does not hold the numbers it began with; compile it again",
                           r->t->peers[k].path);
    enum smkd_result e = check_parts(r);
    if (e != SMKD_R_OK || rt_rounds(r->c) < 2) return e;
    if (r->t->n_teachers)
        return rt_fail(SMKD_R_INVALID, "--teacher: the method %s makes its teachers itself", r->c->method);
    for (int k = 0; k < r->t->n_peers; k++) {
        const struct smkd_artifact *info = smkd_model_info(r->t->peers[k].model);
        r->snapshot[k] = rt_block_alloc(info->param_bytes);
        if (!r->snapshot[k]) return rt_fail(SMKD_R_NOMEM, "out of memory for a copy of %s", r->t->peers[k].path);
    }
    return SMKD_R_OK;
}

void rt_stages_keep(struct run *r) {
    for (int k = 0; k < r->t->n_peers && r->snapshot[k]; k++) {
        rt_keep_rows(&r->kept, "snapshot", k, r->t->peers[k].model, SMKD_ABI_PARAM, r->snapshot[k], true);
        rt_keep_rows(&r->kept, "snapshot", k, r->t->peers[k].model, SMKD_ABI_BUFFER, r->snapshot[k], true);
    }
}

void rt_stages_finish(struct run *r) {
    for (int k = 0; k < r->t->n_peers; k++)
        if (r->snapshot[k]) rt_block_free(r->snapshot[k], smkd_model_info(r->t->peers[k].model)->param_bytes);
    free(r->stage);
}

static bool starts(const struct run *r, const char *how) {
    return method_param(r->c->row, "round-start", NULL) &&
           strcmp(method_word(r->c->row, &r->c->values, "round-start"), how) == 0;
}

// New numbers for a network that begins anew, or for a part of it: what each of its parameters began with, in another
// order. By which rule they were drawn nobody knows here; so they have its distribution whatever it was, and constants
// stay.
static void shuffle(struct run *r, int k, int64_t round, const struct rt_param_part *part) {
    smkd_model *m = r->t->peers[k].model;
    char *block = smkd_model_params(m);
    const struct smkd_abi_tensor *t;
    for (size_t i = 0; (t = smkd_model_nth(m, SMKD_ABI_PARAM, i)); i++) {
        if (t->dtype != SMKD_ABI_F32 || r->optimizer[k].rules[i].frozen) continue;
        if (part && !rt_param_part_has(part, t->name)) continue;
        struct rt_rng rng;
        rt_rng_init(&rng, (uint64_t)r->c->seed ^ fnv1a(FNV_INIT, t->name, strlen(t->name)),
                    rt_stream_id(RT_STREAM_ROUND, (uint64_t)round, (uint64_t)k));
        float *v = (float *)(void *)(block + t->offset);
        for (size_t n = (size_t)t->numel; n > 1; n--) {
            const size_t j = (size_t)rt_rng_below(&rng, n);
            const float last = v[n - 1];
            v[n - 1] = v[j];
            v[j] = last;
        }
    }
}

// Whether any of them has new numbers.
static bool begin_anew(struct run *r, int64_t epoch) {
    bool fresh = false;
    for (int k = 0; k < r->t->n_peers; k++) {
        smkd_model *m = r->t->peers[k].model;
        const struct smkd_artifact *info = smkd_model_info(m);
        if (r->snapshot[k]) memcpy(r->snapshot[k], smkd_model_params(m), info->param_bytes);
        memcpy(smkd_model_params(m), info->initial, info->param_bytes);
        const bool anew = starts(r, "new") || (starts(r, "untrained") && rt_untouched(m));
        if (anew) shuffle(r, k, rt_stage_at(r, epoch), NULL);
        fresh |= anew;
        rt_optimizer_reset(&r->optimizer[k]);
        if (r->average) r->average[k].count = 0;
        r->state.r[k] = 0;
    }
    return fresh;
}

static void begin_part_anew(struct run *r, int k, int64_t stage, const struct rt_param_part *part) {
    smkd_model *m = r->t->peers[k].model;
    const struct smkd_artifact *info = smkd_model_info(m);
    char *block = smkd_model_params(m);
    for (uint64_t i = 0; i < info->n_tensors; i++) {
        const struct smkd_abi_tensor *t = &info->tensors[i];
        const bool numbers = t->role == SMKD_ABI_PARAM || t->role == SMKD_ABI_BUFFER;
        if (numbers && rt_param_part_has(part, t->name))
            memcpy(block + t->offset, (const char *)info->initial + t->offset,
                   (size_t)t->numel * rt_abi_size(t->dtype));
    }
    shuffle(r, k, stage, part);
    rt_optimizer_reset_part(&r->optimizer[k], part);
}

// Whatever the stage: a run that goes on enters it, too.
static void enter_part(struct run *r, const struct rt_stage *s, bool begins) {
    for (int k = 0; k < r->t->n_peers; k++) {
        struct rt_param_part part = {0};
        if (s->is.part) CHECK(part_of(r, s, k, &part) == SMKD_R_OK, "parts were checked");
        if (s->is.part && begins) begin_part_anew(r, k, s - r->stage + 1, &part);
        if (!rt_optimizer_is_plain(r->c)) rt_optimizer_train_part(&r->optimizer[k], s->is.part ? &part : NULL);
        rt_param_part_release(&part);
    }
}

void rt_stages_enter(struct run *r, int64_t epoch) {
    const struct rt_stage *p = stage_of(r, epoch);
    rt_schedule_stage(&r->schedule, r->c, p->epochs, p->rate);
    enter_part(r, p, epoch == p->first);
    if (r->n_stages < 2 || epoch != p->first) return;
    const bool fresh = epoch > 1 && p->is.anew && begin_anew(r, epoch);
    if (epoch > 1) rt_schedule_restart(&r->schedule);
    if (rt_rounds(r->c) < 2)
        rt_progress_note(&r->progress, "epoch %lld: the stage \"%s\" begins, %lld epochs%s", (long long)epoch,
                         p->is.name, (long long)p->epochs,
                         epoch > 1 && p->is.anew ? ", from the first numbers again"
                         : p->is.part            ? ", of a part that begins anew and is trained alone"
                                                 : "");
    else if (epoch > 1)
        rt_progress_note(&r->progress, "round %lld of %lld: the networks begin anew%s, taught by what they were",
                         (long long)rt_stage_at(r, epoch), (long long)rt_rounds(r->c),
                         fresh ? " with new numbers" : "");
}
