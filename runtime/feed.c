#include "feed.h"

#include "rt_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool rt_program_asks(const smkd_model *m, enum method_role role) {
    const struct smkd_abi_tensor *t;
    for (size_t i = 0; (t = smkd_model_nth(m, SMKD_ABI_INPUT, i)); i++)
        if (method_parse(t->name).role == role) return true;
    return false;
}

static enum smkd_result no_teacher(const struct rt_program *p, const char *input) {
    return rt_fail(SMKD_R_INVALID, "%s asks what a teacher says (\"%s\"): give one with --teacher",
                   smkd_model_info(p->model)->name, input);
}

// Memory for what somebody says under that name; NULL after rt_fail.
static float *remember(struct rt_feeds *f, const struct rt_peer *of, const struct smkd_abi_tensor *row, size_t batch) {
    for (size_t i = 0; i < f->n_taps; i++)
        if (f->tap[i].of == of && strcmp(f->tap[i].name, row->name) == 0) return f->tap[i].said;
    f->tap = xrealloc(f->tap, (f->n_taps + 1) * sizeof *f->tap);
    struct rt_feed_tap *t = &f->tap[f->n_taps++];
    *t = (struct rt_feed_tap){.of = of, .name = row->name, .said = rt_floats(batch * (size_t)row->numel)};
    if (!t->said) rt_fail(SMKD_R_NOMEM, "%s: out of memory for output \"%s\"", of->path, row->name);
    return t->said;
}

// The network's output of that name, which is to look like the input. NULL after rt_fail.
static const struct smkd_abi_tensor *find_tap(const struct rt_program *p, const struct rt_peer *of, const char *whose,
                                              const struct smkd_abi_tensor *in, const struct method_name *name) {
    const struct smkd_abi_tensor *row = smkd_model_find(of->model, SMKD_ABI_OUTPUT, name->tap);
    bool same = row && row->dtype == SMKD_ABI_F32 && row->rank == in->rank;
    for (uint32_t d = 0; same && d < row->rank; d++) same = row->dims[d] == in->dims[d];
    if (same) return row;
    rt_fail(SMKD_R_MISMATCH,
            "%s: looks at \"%s\" of the %s of network %d, %s: there is no such output of that shape; make one with "
            "smkdc compile --tap",
            smkd_model_info(p->model)->name, name->tap, whose, name->peer, of->path);
    return NULL;
}

static enum smkd_result start_teacher_tap(struct rt_feeds *f, struct rt_program *p, const struct smkd_abi_tensor *in,
                                          const struct method_name *name, size_t batch) {
    if (!f->n_teachers) return no_teacher(p, in->name);
    const struct rt_peer *teacher = &f->teachers[name->peer % f->n_teachers];
    const struct smkd_abi_tensor *row = find_tap(p, teacher, "teacher", in, name);
    if (!row) return SMKD_R_MISMATCH;
    if (strcmp(row->name, teacher->logits->name) == 0) return rt_program_bind(p, in->name, teacher->out);
    float *said = remember(f, teacher, row, batch);
    if (!said || smkd_bind(teacher->session, SMKD_ABI_OUTPUT, row->name, said) != SMKD_R_OK) return SMKD_R_NOMEM;
    return rt_program_bind(p, in->name, said);
}

// The peer's own output of that name has memory of its own, to which its session returns.
static enum smkd_result start_average_tap(struct rt_feeds *f, struct rt_program *p, const struct smkd_abi_tensor *in,
                                          const struct method_name *name, size_t batch) {
    struct rt_peer *peer = &f->peers[name->peer];
    const struct smkd_abi_tensor *row = find_tap(p, peer, "average", in, name);
    if (!row) return SMKD_R_MISMATCH;
    float *said = rt_peer_tap(peer, row->name) ? remember(f, peer, row, batch) : NULL;
    if (said) return rt_program_bind(p, in->name, said);
    return rt_fail(SMKD_R_NOMEM, "%s: out of memory for output \"%s\"", peer->path, row->name);
}

static enum smkd_result start_one(struct rt_feeds *f, struct rt_program *p, const char *input,
                                  const struct method_name *name, size_t batch) {
    if (name->role == METHOD_TEACHER && !f->snapshots) {
        if (!f->n_teachers) return no_teacher(p, input);
        return rt_program_bind(p, input, f->teachers[name->peer % f->n_teachers].out);
    }
    const bool guess = name->role == METHOD_GUESS;
    CHECK(guess || f->snapshots || f->averages, "\"%s\" without averages", input);
    float **said = guess ? &f->guess[name->peer] : &f->said[name->peer];
    *said = rt_floats(batch * (size_t)f->peers[name->peer].classes);
    if (!*said) return rt_fail(SMKD_R_NOMEM, "out of memory for \"%s\"", input);
    return rt_program_bind(p, input, *said);
}

enum smkd_result rt_feeds_start(struct rt_feeds *f, struct rt_program *p, size_t batch) {
    const struct smkd_abi_tensor *t;
    enum smkd_result e = SMKD_R_OK;
    for (size_t i = 0; e == SMKD_R_OK && (t = smkd_model_nth(p->model, SMKD_ABI_INPUT, i)); i++) {
        const struct method_name name = method_parse(t->name);
        if (name.role == METHOD_TEACHER || name.role == METHOD_AVERAGE || name.role == METHOD_GUESS)
            e = start_one(f, p, t->name, &name, batch);
        if (name.role == METHOD_TEACHER_TAP) e = start_teacher_tap(f, p, t, &name, batch);
        if (name.role == METHOD_AVERAGE_TAP) e = start_average_tap(f, p, t, &name, batch);
    }
    return e;
}

void rt_feeds_release(struct rt_feeds *f) {
    for (int k = 0; k < METHOD_MAX_PEERS; k++) {
        free(f->said[k]);
        free(f->guess[k]);
    }
    for (size_t i = 0; i < f->n_taps; i++) free(f->tap[i].said);
    free(f->tap);
    *f = (struct rt_feeds){0};
}

void rt_repeat_views(float *x, size_t n, size_t views, size_t width) {
    if (views < 2) return;
    for (size_t i = n * views; i-- > 0;) memmove(x + i * width, x + i / views * width, width * sizeof *x);
}

// Whether anything is asked of peer k's average or former self.
static bool is_asked(const struct rt_feeds *f, int k) {
    for (size_t i = 0; i < f->n_taps; i++)
        if (f->tap[i].of == &f->peers[k]) return true;
    return f->said[k] != NULL;
}

// Where peer k's session writes: what it says itself, or what its other self does.
static enum smkd_result write_to(struct rt_feeds *f, int k, bool itself) {
    struct rt_peer *p = &f->peers[k];
    enum smkd_result e = SMKD_R_OK;
    if (f->said[k]) e = smkd_bind(p->session, SMKD_ABI_OUTPUT, p->logits->name, itself ? p->out : f->said[k]);
    for (size_t i = 0; i < f->n_taps && e == SMKD_R_OK; i++) {
        const struct rt_feed_tap *t = &f->tap[i];
        if (t->of != p) continue;
        e = smkd_bind(p->session, SMKD_ABI_OUTPUT, t->name, itself ? rt_peer_tap(p, t->name)->out : t->said);
    }
    return e;
}

// Peer k with its average or former numbers, its outputs elsewhere.
static enum smkd_result run_other_self(struct rt_feeds *f, int k, const float *images, size_t n) {
    struct rt_peer *p = &f->peers[k];
    enum smkd_result e = write_to(f, k, false);
    void **other = f->snapshots ? &f->snapshots[k] : &f->averages[k].block;
    rt_exchange_params(p->model, other);
    if (e == SMKD_R_OK) e = rt_peer_run(p, SMKD_ABI_INFER, images, n);
    rt_exchange_params(p->model, other);
    enum smkd_result back = write_to(f, k, true);
    return e == SMKD_R_OK ? back : e;
}

enum smkd_result rt_feeds_run(struct rt_feeds *f, const float *images, size_t n, int views, bool former) {
    const size_t repeat = (size_t)(views < f->views ? f->views : 1), all = n * (size_t)views;
    enum smkd_result e = SMKD_R_OK;
    for (int k = 0; k < f->n_teachers && e == SMKD_R_OK; k++) {
        struct rt_peer *t = &f->teachers[k];
        e = rt_peer_run(t, SMKD_ABI_INFER, images, all);
        rt_repeat_views(t->out, n, repeat, (size_t)t->classes);
    }
    for (int k = 0; k < f->n_peers && e == SMKD_R_OK; k++) {
        if (!is_asked(f, k) || (f->snapshots && !former)) continue;
        e = run_other_self(f, k, images, all);
        if (f->said[k]) rt_repeat_views(f->said[k], n, repeat, (size_t)f->peers[k].classes);
    }
    return e;
}

enum smkd_result rt_feeds_guess(struct rt_feeds *f, int k, enum smkd_abi_phase phase, const float *images, size_t n) {
    struct rt_peer *p = &f->peers[k];
    if (!f->guess[k]) return SMKD_R_OK;
    if (!images) {
        memset(f->guess[k], 0, n * (size_t)p->classes * sizeof(float));
        return SMKD_R_OK;
    }
    enum smkd_result e = smkd_bind(p->session, SMKD_ABI_OUTPUT, p->logits->name, f->guess[k]);
    if (e == SMKD_R_OK) e = rt_peer_run(p, phase, images, n);
    enum smkd_result back = smkd_bind(p->session, SMKD_ABI_OUTPUT, p->logits->name, p->out);
    return e == SMKD_R_OK ? back : e;
}
