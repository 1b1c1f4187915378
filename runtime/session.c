// Running a model: memory, pointer tables, checks. A steady batch size allocates nothing.
#include "rt_internal.h"

#include <stdlib.h>
#include <string.h>

enum { LISTS = SMKD_ABI_SCALAR + 1 };

struct smkd_session {
    smkd_model *model;
    smkd_team *team;
    void **list[LISTS]; // bound pointers by role and index (INPUT, OUTPUT, COTANGENT, GRAD_INPUT)
    void **own;         // OUTPUT memory of the session's own
    size_t *own_bytes;
    bool *is_tap; // by index of a COTANGENT: where nobody binds it, it is zero
    void *zeros;
    size_t zero_bytes;
    size_t n[LISTS]; // rows of each role
    double *scalars;
    void *arena, *scratch;
    size_t arena_bytes, scratch_bytes;
    void (*mark)(void *env, uint64_t kernel);
    void *mark_env;
    // What the arena holds prepared weights for: the batch (0: none) and the state of the parameters.
    int64_t prepared_batch;
    uint64_t prepared_changes;
    int64_t forward_batch; // batch of the FORWARD whose activations are in the arena; 0: none
};

static size_t count(const smkd_model *m, uint32_t role) {
    size_t n = 0;
    for (uint64_t i = 0; i < m->art->n_tensors; i++) n += m->art->tensors[i].role == role;
    return n;
}

smkd_session *smkd_session_new(smkd_model *m, smkd_team *t) {
    if (m->to_read) {
        rt_fail(SMKD_R_INVALID, "%s: was opened with smkd_model_read; smkd_model_load one to run it", m->path);
        return NULL;
    }
    smkd_session *s = calloc(1, sizeof *s);
    bool ok = s != NULL;
    if (ok) {
        s->model = m;
        s->team = t;
        for (uint32_t r = 0; r < LISTS && ok; r++) {
            s->n[r] = count(m, r);
            s->list[r] = calloc(s->n[r] + 1, sizeof *s->list[r]);
            ok = s->list[r] != NULL;
        }
        s->own = calloc(s->n[SMKD_ABI_OUTPUT] + 1, sizeof *s->own);
        s->own_bytes = calloc(s->n[SMKD_ABI_OUTPUT] + 1, sizeof *s->own_bytes);
        s->scalars = calloc(s->n[SMKD_ABI_SCALAR] + 1, sizeof *s->scalars);
        s->is_tap = calloc(s->n[SMKD_ABI_COTANGENT] + 1, sizeof *s->is_tap);
        ok = ok && s->own && s->own_bytes && s->scalars && s->is_tap;
        for (uint64_t i = 0; ok && i < m->art->n_taps; i++)
            s->is_tap[smkd_model_find(m, SMKD_ABI_COTANGENT, m->art->taps[i])->index] = true;
    }
    if (!ok) {
        rt_fail(SMKD_R_NOMEM, "%s: out of memory", m->path);
        smkd_session_free(s);
        return NULL;
    }
    return s;
}

void smkd_session_free(smkd_session *s) {
    if (!s) return;
    for (uint32_t r = 0; r < LISTS; r++) free(s->list[r]);
    for (size_t i = 0; s->own && s->own_bytes && i < s->n[SMKD_ABI_OUTPUT]; i++)
        rt_block_free(s->own[i], s->own_bytes[i]);
    free(s->own);
    free(s->own_bytes);
    free(s->is_tap);
    rt_block_free(s->zeros, s->zero_bytes);
    free(s->scalars);
    rt_block_free(s->arena, s->arena_bytes);
    rt_block_free(s->scratch, s->scratch_bytes);
    free(s);
}

const struct smkd_model *rt_session_model(const smkd_session *s) { return s->model; }

void rt_session_mark(smkd_session *s, void (*mark)(void *env, uint64_t kernel), void *env) {
    s->mark = mark;
    s->mark_env = env;
}

enum smkd_result smkd_bind(smkd_session *s, enum smkd_abi_role role, const char *name, void *data) {
    static const char *const words[] = {"input", "output", NULL, NULL, "cotangent", "input gradient", NULL};
    if ((unsigned)role >= LISTS || !words[role])
        return rt_fail(SMKD_R_INVALID, "%s: role %d cannot be bound", s->model->path, (int)role);
    const struct smkd_abi_tensor *t = smkd_model_find(s->model, role, name);
    if (!t) {
        const struct smkd_abi_tensor *first = smkd_model_nth(s->model, role, 0);
        return rt_fail(SMKD_R_INVALID, "%s: has no %s named \"%s\"%s%s%s", s->model->path, words[role], name,
                       first ? "; the first one is \"" : "", first ? first->name : "", first ? "\"" : "");
    }
    s->list[role][t->index] = data;
    return SMKD_R_OK;
}

enum smkd_result smkd_set_scalar(smkd_session *s, const char *name, double v) {
    const struct smkd_abi_tensor *t = smkd_model_find(s->model, SMKD_ABI_SCALAR, name);
    if (!t) return rt_fail(SMKD_R_INVALID, "%s: has no run-time scalar named \"%s\"", s->model->path, name);
    s->scalars[t->index] = v;
    return SMKD_R_OK;
}

// Grows a block; its contents are not kept.
static bool grow(void **p, size_t *have, size_t want) {
    if (want <= *have && *p) return true;
    rt_block_free(*p, *have);
    *p = rt_block_alloc(want);
    *have = *p ? want : 0;
    return *p != NULL;
}

// Memory for a tensor that the caller has bound nothing to; zero where it is new.
static enum smkd_result block(smkd_session *s, const struct smkd_abi_tensor *t, int64_t batch, void **p, size_t *have) {
    bool batched = t->rank > 0 && t->dims[0] < 0;
    // numel alone is checked at load; its product with the batch is checked here.
    if (batched && t->numel > SIZE_MAX / 16 / (uint64_t)batch)
        return rt_fail(SMKD_R_NOMEM, "%s: out of memory: a batch of %lld does not fit", s->model->path,
                       (long long)batch);
    size_t bytes = (size_t)t->numel * rt_abi_size(t->dtype) * (batched ? (size_t)batch : 1);
    if (!grow(p, have, bytes))
        return rt_fail(SMKD_R_NOMEM, "%s: out of memory for output \"%s\"", s->model->path, t->name);
    return SMKD_R_OK;
}

static enum smkd_result own_output(smkd_session *s, const struct smkd_abi_tensor *t, int64_t batch) {
    return block(s, t, batch, &s->own[t->index], &s->own_bytes[t->index]);
}

static enum smkd_result bind_missing(smkd_session *s, enum smkd_abi_phase phase, int64_t batch) {
    const struct smkd_artifact *a = s->model->art;
    bool some_grad = false;
    for (size_t i = 0; i < s->n[SMKD_ABI_GRAD_INPUT]; i++) some_grad |= s->list[SMKD_ABI_GRAD_INPUT][i] != NULL;
    for (uint64_t i = 0; i < a->n_tensors; i++) {
        const struct smkd_abi_tensor *t = &a->tensors[i];
        void **at = t->role < LISTS && t->role != SMKD_ABI_PARAM && t->role != SMKD_ABI_BUFFER
                        ? &s->list[t->role][t->index]
                        : NULL;
        if (t->role == SMKD_ABI_OUTPUT && !*at) {
            enum smkd_result r = own_output(s, t, batch);
            if (r != SMKD_R_OK) return r;
        }
        bool needed = t->role == SMKD_ABI_INPUT ||
                      (t->role == SMKD_ABI_COTANGENT && phase == SMKD_ABI_BACKWARD && !s->is_tap[t->index]) ||
                      (t->role == SMKD_ABI_GRAD_INPUT && phase == SMKD_ABI_BACKWARD && some_grad);
        if (at && needed && !*at)
            return rt_fail(SMKD_R_INVALID, "%s: %s \"%s\" is not bound", s->model->path,
                           t->role == SMKD_ABI_INPUT       ? "input"
                           : t->role == SMKD_ABI_COTANGENT ? "the cotangent of output"
                                                           : "the gradient of input",
                           t->name);
    }
    return SMKD_R_OK;
}

// What a phase takes beside the caller's memory.
static enum smkd_result need(smkd_session *s, enum smkd_abi_phase phase, int64_t batch) {
    const struct smkd_abi_entry *e = &s->model->art->entries[phase];
    if (phase != SMKD_ABI_UPDATE) {
        uint64_t arena = e->fixed_bytes + (uint64_t)batch * e->sample_bytes;
        if (e->sample_bytes && (uint64_t)batch > (SIZE_MAX / 2 - e->fixed_bytes) / e->sample_bytes)
            return rt_fail(SMKD_R_NOMEM, "%s: out of memory: a batch of %lld does not fit", s->model->path,
                           (long long)batch);
        if (arena > s->arena_bytes && !budget_allows(arena))
            return rt_fail(SMKD_R_NOMEM, "%s: a batch of %lld does not fit: %s; use a smaller batch", s->model->path,
                           (long long)batch, budget_why());
        if (arena > s->arena_bytes) s->forward_batch = s->prepared_batch = 0;
        if (!grow(&s->arena, &s->arena_bytes, arena))
            return rt_fail(SMKD_R_NOMEM, "%s: out of memory: a batch of %lld needs %llu MiB; use a smaller batch",
                           s->model->path, (long long)batch, (unsigned long long)(arena >> 20));
    }
    if (!grow(&s->scratch, &s->scratch_bytes, e->scratch_bytes * (size_t)smkd_team_threads(s->team)))
        return rt_fail(SMKD_R_NOMEM, "%s: out of memory", s->model->path);
    const struct smkd_abi_tensor *t;
    for (size_t i = 0; phase == SMKD_ABI_BACKWARD && (t = smkd_model_nth(s->model, SMKD_ABI_COTANGENT, i)); i++) {
        if (!s->is_tap[i] || s->list[SMKD_ABI_COTANGENT][i]) continue;
        enum smkd_result r = block(s, t, batch, &s->zeros, &s->zero_bytes);
        if (r != SMKD_R_OK) return r;
    }
    if (phase == SMKD_ABI_BACKWARD || phase == SMKD_ABI_UPDATE)
        if (!smkd_model_grads(s->model)) return SMKD_R_NOMEM;
    if (phase == SMKD_ABI_UPDATE && !smkd_model_momentum(s->model)) return SMKD_R_NOMEM;
    return SMKD_R_OK;
}

enum smkd_result rt_session_reserve(smkd_session *s, int64_t batch) {
    enum smkd_result r = SMKD_R_OK;
    for (int phase = 0; phase < SMKD_ABI_PHASES && r == SMKD_R_OK; phase++)
        if (s->model->art->entries[phase].run) r = need(s, (enum smkd_abi_phase)phase, batch);
    const struct smkd_abi_tensor *t;
    for (size_t i = 0; r == SMKD_R_OK && (t = smkd_model_nth(s->model, SMKD_ABI_OUTPUT, i)); i++)
        if (!s->list[SMKD_ABI_OUTPUT][t->index]) r = own_output(s, t, batch);
    return r;
}

enum smkd_result smkd_run(smkd_session *s, enum smkd_abi_phase phase, int64_t batch) {
    static const char *const words[] = {"inference", "training", "backward", "update"};
    const struct smkd_artifact *a = s->model->art;
    if ((unsigned)phase >= SMKD_ABI_PHASES || !a->entries[phase].run)
        return rt_fail(SMKD_R_UNSUPPORTED, "%s: has no %s phase", s->model->path,
                       (unsigned)phase < SMKD_ABI_PHASES ? words[phase] : "such");
    if (batch < 1 || (uint64_t)batch > a->max_batch)
        return rt_fail(SMKD_R_INVALID, "%s: batch of %lld; 1 to %llu are possible (smkdc compile --max-batch)",
                       s->model->path, (long long)batch, (unsigned long long)a->max_batch);
    if (phase == SMKD_ABI_BACKWARD && s->forward_batch != batch)
        return rt_fail(SMKD_R_INVALID,
                       "%s: backward of a batch of %lld without a training forward of that batch before it",
                       s->model->path, (long long)batch);
    const struct smkd_abi_entry *e = &a->entries[phase];
    if (phase != SMKD_ABI_UPDATE) {
        enum smkd_result r = bind_missing(s, phase, batch);
        if (r != SMKD_R_OK) return r;
        if (phase != SMKD_ABI_BACKWARD) s->forward_batch = 0;
        if (phase != SMKD_ABI_INFER || s->prepared_batch != batch || s->prepared_changes != s->model->changes)
            s->prepared_batch = 0;
    }
    enum smkd_result r = need(s, phase, batch);
    if (r != SMKD_R_OK) return r;
    // Unbound outputs point to memory of our own for the call only.
    void **out = s->list[SMKD_ABI_OUTPUT];
    for (size_t i = 0; i < s->n[SMKD_ABI_OUTPUT]; i++)
        if (!out[i]) out[i] = s->own[i];
    void **dy = s->list[SMKD_ABI_COTANGENT];
    for (size_t i = 0; i < s->n[SMKD_ABI_COTANGENT]; i++)
        if (!dy[i] && s->is_tap[i]) dy[i] = s->zeros;
    struct smkd_call call = {
        .inputs = (const void *const *)s->list[SMKD_ABI_INPUT],
        .outputs = out,
        .cotangents = (const void *const *)s->list[SMKD_ABI_COTANGENT],
        .grad_inputs = s->list[SMKD_ABI_GRAD_INPUT],
        .params = s->model->params,
        .grads = phase == SMKD_ABI_BACKWARD || phase == SMKD_ABI_UPDATE ? s->model->grads : NULL,
        .momentum = phase == SMKD_ABI_UPDATE ? s->model->momentum : NULL,
        .arena = s->arena,
        .scratch = s->scratch,
        .scalars = s->scalars,
        .batch = batch,
        .prepared = phase == SMKD_ABI_INFER && s->prepared_batch == batch,
        .mark = s->mark,
        .mark_env = s->mark_env,
    };
    rt_team_run(s->team, e->run, &call);
    for (size_t i = 0; i < s->n[SMKD_ABI_OUTPUT]; i++)
        if (out[i] == s->own[i]) out[i] = NULL;
    for (size_t i = 0; i < s->n[SMKD_ABI_COTANGENT]; i++)
        if (dy[i] == s->zeros) dy[i] = NULL;
    if (phase == SMKD_ABI_FORWARD) s->forward_batch = batch;
    if (phase == SMKD_ABI_UPDATE) s->model->changes++;
    if (phase == SMKD_ABI_INFER) {
        s->prepared_batch = batch;
        s->prepared_changes = s->model->changes;
    }
    return SMKD_R_OK;
}

const void *smkd_output(const smkd_session *s, const char *name) {
    const struct smkd_abi_tensor *t = smkd_model_find(s->model, SMKD_ABI_OUTPUT, name);
    if (!t) return NULL;
    return s->list[SMKD_ABI_OUTPUT][t->index] ? s->list[SMKD_ABI_OUTPUT][t->index] : s->own[t->index];
}

size_t smkd_session_bytes(const smkd_session *s) {
    size_t b = s->arena_bytes + s->scratch_bytes;
    for (size_t i = 0; i < s->n[SMKD_ABI_OUTPUT]; i++) b += s->own_bytes[i];
    return b;
}
