// The networks that --teacher names.
#include "run_train.h"

#include <stdlib.h>
#include <string.h>

static enum smkd_result add_artifact(struct run_teachers *t, const char *path, const struct rt_peer_want *want,
                                     const struct run_saved *known) {
    struct rt_peer *p = &t->peer[t->n];
    if (!known) return rt_peer_load(p, path, want);
    const char *hash = t->n < known->n_teachers ? known->teacher_hash[t->n] : NULL;
    if (!hash)
        return rt_fail(
            SMKD_R_INVALID,
            "config.json: teachers[%d].content_hash is missing, without which %s is not loaded; give it with "
            "--teacher",
            t->n, path);
    const struct rt_known is = {.hash = hash, .what = "the teacher that the run began with", .option = "--teacher"};
    return rt_peer_load(p, path, &(struct rt_peer_want){want->logits, &is, want->numbers});
}

// All networks of a run folder as they were at its end.
static enum smkd_result add_run(struct run_teachers *t, const char *dir, const char *logits) {
    struct run_saved *s = &t->saved[t->n_saved++];
    enum smkd_result e = run_saved_read(s, dir);
    if (e != SMKD_R_OK) return e;
    if (t->n + s->n_peers > METHOD_MAX_PEERS)
        return rt_fail(SMKD_R_INVALID, "--teacher: more than %d networks", METHOD_MAX_PEERS);
    char *weights = rt_path_join(dir, "last.safetensors");
    for (int k = 0; k < s->n_peers && e == SMKD_R_OK; k++) {
        struct rt_progress_state state = {0};
        struct rt_peer *p = &t->peer[t->n++];
        e = run_saved_load(s, dir, k, NULL, s->config.logits ? s->config.logits : logits, p);
        if (e == SMKD_R_OK) e = run_read_peer(weights, false, k, p->model, &state);
        if (e == SMKD_R_OK && state.unchecked) run_note_unchecked(weights);
    }
    free(weights);
    return e;
}

enum smkd_result run_teachers_load(struct run_teachers *t, const char *paths, const char *logits,
                                   const struct rt_peer *peer, const struct run_saved *known) {
    *t = (struct run_teachers){.paths = xstrdup(paths),
                               .peer = xcalloc(METHOD_MAX_PEERS, sizeof *t->peer),
                               .saved = xcalloc(METHOD_MAX_PEERS, sizeof *t->saved)};
    const struct rt_peer_want want = {.logits = logits, .numbers = false};
    enum smkd_result e = SMKD_R_OK;
    for (char *p = t->paths, *end; e == SMKD_R_OK && *p; p = end) {
        end = p + strcspn(p, ";");
        if (*end) *end++ = 0;
        if (t->n == METHOD_MAX_PEERS)
            e = rt_fail(SMKD_R_INVALID, "--teacher: more than %d networks", METHOD_MAX_PEERS);
        else if (run_is_folder(p))
            e = add_run(t, p, logits);
        else if ((e = add_artifact(t, p, &want, known)) == SMKD_R_OK)
            t->n++;
    }
    for (int k = 0; k < t->n && e == SMKD_R_OK; k++) e = rt_peers_agree(peer, &t->peer[k]);
    return e;
}

void run_teachers_release(struct run_teachers *t) {
    for (int k = 0; t->peer && k < METHOD_MAX_PEERS; k++) rt_peer_release(&t->peer[k]);
    for (int k = 0; k < t->n_saved; k++) run_saved_release(&t->saved[k]);
    free(t->peer);
    free(t->saved);
    free(t->paths);
    *t = (struct run_teachers){0};
}
