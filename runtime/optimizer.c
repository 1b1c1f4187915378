#include "optimizer.h"

#include "rt_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 64, LANES = LINE / sizeof(float) };

static bool trains_parts(const struct rt_config *c) {
    struct method_stage s;
    for (int64_t i = 0; c->row->family->stages && method_stage(c->row, &c->values, i, &s); i++)
        if (s.part) return true;
    return false;
}

bool rt_optimizer_is_plain(const struct rt_config *c) {
    return strncmp(c->opt_row->name, "sgd", 3) == 0 && optimizer_find(c->opt) && isnan(c->norm_weight_decay) &&
           isnan(c->bias_weight_decay) && !c->param_group && !c->freeze && !trains_parts(c);
}

static bool is_vector(const struct smkd_abi_tensor *t) {
    return t && t->dtype == SMKD_ABI_F32 && t->rank == 2 && t->dims[0] == -1 && t->dims[1] == LANES;
}

enum smkd_result rt_optimizer_check(const smkd_model *m, const char *path, const struct optimizer *row) {
    const struct smkd_artifact *info = smkd_model_info(m);
    if (info->kind != SMKD_ABI_OPTIMIZER || !info->entries[SMKD_ABI_FORWARD].run)
        return rt_fail(SMKD_R_MISMATCH, "%s: is no optimizer; make one with smkdc optimizer %s -o O.smkd", path,
                       row->name);
    bool ok = strcmp(info->name, row->name) == 0;
    size_t in = 2, out = 1;
    const struct smkd_abi_tensor *t;
    ok = ok && is_vector(smkd_model_find(m, SMKD_ABI_INPUT, "param")) &&
         is_vector(smkd_model_find(m, SMKD_ABI_INPUT, "grad")) &&
         is_vector(smkd_model_find(m, SMKD_ABI_OUTPUT, "param"));
    for (int i = 0; row->states[i]; i++, in++, out++) {
        char name[64];
        snprintf(name, sizeof name, "state.%s", row->states[i]);
        ok = ok && is_vector(smkd_model_find(m, SMKD_ABI_INPUT, name)) &&
             is_vector(smkd_model_find(m, SMKD_ABI_OUTPUT, name));
    }
    ok = ok && !smkd_model_nth(m, SMKD_ABI_INPUT, in) && !smkd_model_nth(m, SMKD_ABI_OUTPUT, out);
    const struct optimizer_now now = {.step = 1};
    double v;
    for (size_t i = 0; ok && (t = smkd_model_nth(m, SMKD_ABI_SCALAR, i)); i++)
        ok = optimizer_scalar(row, &now, t->name, &v);
    if (ok) return SMKD_R_OK;
    return rt_fail(SMKD_R_MISMATCH,
                   "%s: is not the optimizer %s of this version; compile it again with smkdc optimizer %s", path,
                   row->name, row->name);
}

// Lines that a parameter takes in the block: what follows its numbers there is nobody's.
static size_t lines_of(const struct smkd_abi_tensor *t) { return ((size_t)t->numel + LANES - 1) / LANES; }

// Neighbours with one rule become one run; an optimizer that looks at tensors gets them one by one.
static void make_runs(struct rt_optimizer *o) {
    const struct smkd_abi_tensor *t;
    size_t n = 0;
    while (smkd_model_nth(o->peer->model, SMKD_ABI_PARAM, n)) n++;
    if (!o->run) o->run = xcalloc(n + 1, sizeof *o->run);
    if (!o->rests) o->rests = xcalloc(n + 1, sizeof *o->rests);
    o->n_runs = 0;
    o->any_frozen = false;
    for (size_t i = 0; (t = smkd_model_nth(o->peer->model, SMKD_ABI_PARAM, i)); i++) {
        const struct rt_param_rule *rule = &o->rules[i];
        struct rt_update_run *last = o->n_runs ? &o->run[o->n_runs - 1] : NULL;
        const size_t at = (size_t)t->offset / LINE, lines = lines_of(t);
        const bool still = rule->frozen || o->rests[i];
        o->any_frozen |= still;
        if (still || !lines) continue;
        if (last && !o->row->by_tensor && last->at + last->lines == at && last->lr == rule->lr &&
            last->weight_decay == rule->weight_decay)
            last->lines += lines;
        else
            o->run[o->n_runs++] = (struct rt_update_run){at, lines, rule->lr, rule->weight_decay};
    }
}

static enum smkd_result make_states(struct rt_optimizer *o) {
    o->bytes = (size_t)smkd_model_info(o->peer->model)->trained_bytes;
    for (int i = 0; o->row->states[i]; i++) {
        const bool models = strcmp(o->row->states[i], "momentum") == 0;
        if (!models && !budget_allows(o->bytes))
            return rt_fail(SMKD_R_NOMEM, "%s: the optimizer's state does not fit: %s", o->peer->path, budget_why());
        o->state[i] = models ? smkd_model_momentum(o->peer->model) : rt_block_alloc(o->bytes);
        o->own[i] = !models;
        if (!o->state[i]) return rt_fail(SMKD_R_NOMEM, "%s: out of memory for the optimizer's state", o->peer->path);
    }
    return SMKD_R_OK;
}

// What of a block lies at a line, in and out.
static enum smkd_result bind(struct rt_optimizer *o, const char *name, void *block, size_t line, bool written) {
    void *at = (char *)block + line * LINE;
    enum smkd_result e = smkd_bind(o->session, SMKD_ABI_INPUT, name, at);
    return e == SMKD_R_OK && written ? smkd_bind(o->session, SMKD_ABI_OUTPUT, name, at) : e;
}

static enum smkd_result bind_all(struct rt_optimizer *o, void *params, size_t line) {
    enum smkd_result e = bind(o, "param", params, line, true);
    if (e == SMKD_R_OK) e = bind(o, "grad", smkd_model_grads(o->peer->model), line, false);
    for (int i = 0; o->row->states[i] && e == SMKD_R_OK; i++) {
        char name[64];
        snprintf(name, sizeof name, "state.%s", o->row->states[i]);
        e = bind(o, name, o->state[i], line, true);
    }
    return e;
}

static enum smkd_result start_program(struct rt_optimizer *o, smkd_team *team) {
    const uint64_t most = smkd_model_info(o->program)->max_batch;
    size_t lines = 0;
    for (size_t i = 0; i < o->n_runs; i++)
        if (o->run[i].lines > lines) lines = o->run[i].lines;
    if (o->row->by_tensor && lines > most)
        return rt_fail(SMKD_R_MISMATCH, "%s: takes tensors of at most %llu numbers; compile it with smkdc optimizer %s",
                       o->program->path, (unsigned long long)most * LANES, o->row->name);
    o->session = smkd_session_new(o->program, team);
    if (!o->session) return SMKD_R_NOMEM;
    if (lines > most) lines = (size_t)most;
    if (!smkd_model_grads(o->peer->model)) return SMKD_R_NOMEM;
    enum smkd_result e = bind_all(o, smkd_model_params(o->peer->model), 0); // what is bound needs no memory of its own
    return e == SMKD_R_OK && lines ? rt_session_reserve(o->session, (int64_t)lines) : e;
}

enum smkd_result rt_optimizer_start(struct rt_optimizer *o, const struct rt_config *c, struct rt_peer *p,
                                    smkd_model *program, smkd_team *team, bool *guessed) {
    *o = (struct rt_optimizer){.row = c->opt_row, .peer = p, .program = program, .lr = c->lr};
    for (int i = 0; i < OPTIMIZER_NUMBERS; i++) o->now.numbers[i] = rt_config_opt_number(c, i);
    const struct {
        const char *name;
        double value;
    } fixed[] = {{"momentum", o->now.numbers[0]},
                 {"weight_decay", c->weight_decay},
                 {"nesterov", strcmp(o->row->name, "sgd_nesterov") == 0}};
    enum smkd_result e = rt_param_rules(c, p->model, &o->rules, guessed);
    if (e == SMKD_R_OK) e = make_states(o);
    if (e != SMKD_R_OK) return e;
    for (size_t i = 0; !program && i < sizeof fixed / sizeof *fixed && e == SMKD_R_OK; i++)
        e = rt_set_if_there(p->session, p->model, fixed[i].name, fixed[i].value);
    if (!program || e != SMKD_R_OK) return e;
    make_runs(o);
    return start_program(o, team);
}

void rt_optimizer_reset(struct rt_optimizer *o) {
    for (int i = 0; i < OPTIMIZER_STATES; i++)
        if (o->state[i]) memset(o->state[i], 0, o->bytes);
}

void rt_optimizer_train_part(struct rt_optimizer *o, const struct rt_param_part *part) {
    const struct smkd_abi_tensor *t;
    for (size_t i = 0; (t = smkd_model_nth(o->peer->model, SMKD_ABI_PARAM, i)); i++)
        o->rests[i] = part && !rt_param_part_has(part, t->name);
    make_runs(o);
}

void rt_optimizer_reset_part(struct rt_optimizer *o, const struct rt_param_part *part) {
    const struct smkd_abi_tensor *t;
    for (size_t i = 0; (t = smkd_model_nth(o->peer->model, SMKD_ABI_PARAM, i)); i++)
        for (int s = 0; o->row->states[s] && rt_param_part_has(part, t->name); s++)
            memset((char *)o->state[s] + t->offset, 0, (size_t)t->numel * sizeof(float));
}

void rt_optimizer_release(struct rt_optimizer *o) {
    smkd_session_free(o->session);
    for (int i = 0; i < OPTIMIZER_STATES; i++)
        if (o->own[i]) rt_block_free(o->state[i], o->bytes);
    free(o->rules);
    free(o->run);
    free(o->rests);
    *o = (struct rt_optimizer){0};
}

void rt_optimizer_keep(const struct rt_optimizer *o, struct rt_kept *k, int peer) {
    const struct smkd_abi_tensor *t;
    struct str name = STR_INIT;
    for (int s = 0; o->row->states[s]; s++)
        for (size_t i = 0; (t = smkd_model_nth(o->peer->model, SMKD_ABI_PARAM, i)); i++) {
            if (o->rules[i].frozen) continue;
            str_clear(&name);
            if (o->own[s])
                str_addf(&name, "opt.%s.%d.%s", o->row->states[s], peer, t->name);
            else
                str_addf(&name, "momentum.%d.%s", peer, t->name); // as runs of earlier versions have it
            rt_keep(k, name.s, RT_F32, (int)t->rank, t->dims, (char *)o->state[s] + t->offset, true);
        }
    str_release(&name);
}

void rt_optimizer_mask(const struct rt_optimizer *o) {
    if (!o->any_frozen) return;
    const struct smkd_artifact *info = smkd_model_info(o->peer->model);
    char *grads = smkd_model_grads(o->peer->model);
    const struct rt_param_rule *rule = o->rules;
    for (uint64_t i = 0; i < info->n_tensors; i++) {
        const struct smkd_abi_tensor *t = &info->tensors[i];
        if (t->role != SMKD_ABI_PARAM) continue;
        const bool still = rule->frozen || o->rests[rule - o->rules];
        rule++;
        if (still) memset(grads + t->offset, 0, (size_t)t->numel * sizeof(float));
    }
}

static enum smkd_result set_scalars(struct rt_optimizer *o) {
    const struct smkd_abi_tensor *t;
    enum smkd_result e = SMKD_R_OK;
    for (size_t i = 0; e == SMKD_R_OK && (t = smkd_model_nth(o->program, SMKD_ABI_SCALAR, i)); i++) {
        double v;
        CHECK(optimizer_scalar(o->row, &o->now, t->name, &v), "scalar %s was checked", t->name);
        e = smkd_set_scalar(o->session, t->name, v);
    }
    return e;
}

enum smkd_result rt_optimizer_step(struct rt_optimizer *o, double lr, int64_t step) {
    if (!o->program) return smkd_run(o->peer->session, SMKD_ABI_UPDATE, 1); // its lr is set with each step's
    const size_t most = (size_t)smkd_model_info(o->program)->max_batch;
    void *params = smkd_model_params(o->peer->model); // which counts as a change
    o->now.step = step;
    for (size_t i = 0; i < o->n_runs; i++) {
        const struct rt_update_run *r = &o->run[i];
        o->now.lr = r->lr == o->lr ? lr : lr * (r->lr / o->lr);
        o->now.weight_decay = r->weight_decay;
        enum smkd_result e = set_scalars(o);
        for (size_t at = 0; at < r->lines && e == SMKD_R_OK; at += most) {
            const size_t lines = r->lines - at < most ? r->lines - at : most;
            e = bind_all(o, params, r->at + at);
            if (e == SMKD_R_OK) e = smkd_run(o->session, SMKD_ABI_FORWARD, (int64_t)lines);
        }
        if (e != SMKD_R_OK) return e;
    }
    return SMKD_R_OK;
}
