#include "run_networks.h"

#include <stdlib.h>
#include <string.h>

static const char *const checkpoints[] = {"best", "last", NULL};

bool run_networks_args(const struct args *a) {
    size_t which;
    return args_choice(a, "checkpoint", checkpoints, &which);
}

static const char *logits_of(const struct run_networks *w, const struct args *a) {
    return args_given(a, "logits") ? args_str(a, "logits") : w->dir ? w->saved.config.logits : NULL;
}

static enum smkd_result load_folder(struct run_networks *w, const struct args *a) {
    enum smkd_result r = run_saved_read(&w->saved, w->dir);
    for (; w->n < w->saved.n_peers && r == SMKD_R_OK; w->n++) { // --artifact, or --peer, replaces what has moved
        const char *given = args_nth(a, args_given(a, "artifact") ? "artifact" : "peer", (size_t)w->n);
        r = run_saved_load(&w->saved, w->dir, w->n, given, logits_of(w, a), &w->peers[w->n]);
        w->paths[w->n] = w->peers[w->n].path;
    }
    if (r == SMKD_R_OK) w->numbers = w->saved.config.row->family->regression;
    return r;
}

static enum smkd_result name_artifacts(struct run_networks *w, const struct args *a) {
    for (size_t i = 0; i < a->n_pos; i++) w->paths[w->n++] = a->pos[i];
    for (size_t i = 0; i < args_count(a, "peer"); i++) {
        if (w->n == METHOD_MAX_PEERS) return rt_fail(SMKD_R_INVALID, "at most %d peers", METHOD_MAX_PEERS);
        w->paths[w->n++] = args_nth(a, "peer", i);
    }
    if (args_given(a, "ema")) return rt_fail(SMKD_R_INVALID, "--ema goes with a run folder");
    if (args_given(a, "artifact"))
        return rt_fail(SMKD_R_INVALID, "--artifact goes with a run folder; give artifacts by their names alone");
    if (w->n == 0)
        return rt_fail(SMKD_R_INVALID, "nothing to look at: give a run folder, an artifact or --peer A.smkd");
    return SMKD_R_OK;
}

// --weights FILE for the one network.
static enum smkd_result read_weights(struct run_networks *w, const struct args *a) {
    const char *weights = args_str(a, "weights"), *prefix = args_str(a, "weights-prefix");
    if (prefix && !weights) return rt_fail(SMKD_R_INVALID, "--weights-prefix goes with --weights FILE");
    if (!weights) return SMKD_R_OK;
    if (w->n != 1) return rt_fail(SMKD_R_INVALID, "--weights goes with a single artifact");
    bool unchecked;
    enum smkd_result r = rt_load_weights(w->peers[0].model, weights, prefix, &unchecked);
    if (r == SMKD_R_OK && unchecked) run_note_unchecked(weights);
    if (r == SMKD_R_OK || prefix) return r;
    // A checkpoint of a pair names its tensors "peer.0.NAME". Where it is none, what was wrong at first is said.
    struct str first = STR_INIT;
    str_add(&first, smkd_last_error());
    if (rt_load_weights(w->peers[0].model, weights, "peer.0.", &unchecked) == SMKD_R_OK) {
        r = SMKD_R_OK;
        if (unchecked) run_note_unchecked(weights);
    } else {
        rt_fail(r, "%s", first.s);
    }
    str_release(&first);
    return r;
}

char *run_networks_checkpoint(const struct run_networks *w, const struct args *a) {
    size_t which = 0;
    args_choice(a, "checkpoint", checkpoints, &which);
    return rt_path_join(w->dir, which == 0 ? "best.safetensors" : "last.safetensors");
}

static enum smkd_result read_checkpoint(struct run_networks *w, const struct args *a) {
    struct rt_progress_state state = {0};
    char *path = run_networks_checkpoint(w, a);
    enum smkd_result r = SMKD_R_OK;
    for (int k = 0; k < w->n && r == SMKD_R_OK; k++)
        r = run_read_peer(path, args_given(a, "ema"), k, w->peers[k].model, &state);
    if (r == SMKD_R_OK && state.unchecked) run_note_unchecked(path);
    free(path);
    return r;
}

static enum smkd_result load(struct run_networks *w, const struct args *a) {
    enum smkd_result r = w->dir ? load_folder(w, a) : name_artifacts(w, a);
    if (r != SMKD_R_OK) return r;
    const struct rt_peer_want want = {.logits = logits_of(w, a), .numbers = w->numbers};
    for (int k = 0; k < w->n; k++) {
        if (!w->peers[k].model && (r = rt_peer_load(&w->peers[k], w->paths[k], &want)) != SMKD_R_OK) return r;
        if (k && (r = rt_peers_agree(&w->peers[0], &w->peers[k])) != SMKD_R_OK) return r;
    }
    if (w->dir) {
        r = read_checkpoint(w, a);
    } else { // an exported network knows some of what a run folder says
        rt_config_init(&w->saved.config, method_find("smkd-p"));
        rt_preparation_init(&w->saved.preparation);
        r = rt_preparation_of_artifact(&w->saved.preparation, w->peers[0].model, w->peers[0].path);
    }
    return r == SMKD_R_OK ? read_weights(w, a) : r;
}

enum smkd_result run_networks_load(struct run_networks *w, const struct args *a, bool numbers) {
    *w = (struct run_networks){.numbers = numbers};
    if (a->n_pos == 1 && run_is_folder(a->pos[0])) w->dir = a->pos[0];
    return load(w, a);
}

enum smkd_result run_networks_load_folder(struct run_networks *w, const struct args *a, const char *dir) {
    *w = (struct run_networks){.dir = dir};
    return load(w, a);
}

void run_networks_release(struct run_networks *w) {
    for (int k = 0; k < w->n; k++) rt_peer_release(&w->peers[k]);
    run_saved_release(&w->saved);
    *w = (struct run_networks){0};
}

struct rt_class_names run_networks_names(const struct run_networks *w, const struct rt_dataset *set) {
    const struct rt_preparation *known = &w->saved.preparation;
    if (known->n_class_names)
        return (struct rt_class_names){(const char *const *)known->class_names, known->n_class_names};
    return (struct rt_class_names){(const char *const *)set->class_names, set->class_names ? set->classes : 0};
}

bool run_networks_take_over(struct run_networks *w, const struct rt_images *im) {
    const struct rt_preparation *known = &w->saved.preparation;
    struct rt_config *flags = &w->saved.config;
    const int shorter = im->height < im->width ? im->height : im->width;
    if (known->resize < 0 || im->values || (!im->paths && known->resize == shorter)) return false;
    flags->augmentation.val_resize_size = known->resize;
    free(flags->augmentation.interpolation);
    flags->augmentation.interpolation = xstrdup(rt_interpolations[known->how >= 0 ? known->how : RT_BILINEAR]);
    return true;
}

int64_t run_networks_batch(const struct run_networks *w, int64_t batch) {
    for (int k = 0; k < w->n; k++) {
        const int64_t most = (int64_t)smkd_model_info(w->peers[k].model)->max_batch;
        if (batch > most) batch = most;
    }
    return batch;
}
