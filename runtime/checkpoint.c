#include "checkpoint.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// The first had always two peers and the same metadata; what it has is read alike.
static const char *const formats[] = {"smkd-checkpoint-1", "smkd-checkpoint-2"};
enum { N_FORMATS = sizeof formats / sizeof *formats };

void rt_keep_progress(struct rt_kept *k, struct rt_progress_state *s, int peers) {
    rt_keep_whole(k, "epoch", &s->epoch, 0, 1e9, false);
    rt_keep_whole(k, "step", &s->step, 0, 1e15, false);
    for (int i = 0; i < peers; i++) {
        char key[16];
        snprintf(key, sizeof key, "r.%d", i);
        rt_keep_number(k, key, &s->r[i], 0, 1, false);
    }
    rt_keep_number(k, "best", &s->best, -1e30, 100, false);
    rt_keep_whole(k, "best_epoch", &s->best_epoch, 0, 1e9, false);
}

// The momentum block is made when first asked for; later code takes it for granted.
static enum smkd_result no_block(void) { return rt_fail(SMKD_R_NOMEM, "out of memory for what a checkpoint holds"); }

static enum smkd_result keep_copy(struct rt_kept *k, const char *prefix, int peer, smkd_model *m) {
    void *block = smkd_model_params(m);
    if (!block) return no_block();
    rt_keep_rows(k, prefix, peer, m, SMKD_ABI_PARAM, block, false);
    rt_keep_rows(k, prefix, peer, m, SMKD_ABI_BUFFER, block, false);
    return SMKD_R_OK;
}

enum smkd_result rt_keep_peer(struct rt_kept *k, int peer, smkd_model *m) { return keep_copy(k, "peer", peer, m); }

enum smkd_result rt_keep_momentum(struct rt_kept *k, int peer, smkd_model *m) {
    void *block = smkd_model_momentum(m);
    if (!block) return no_block();
    rt_keep_rows(k, "momentum", peer, m, SMKD_ABI_PARAM, block, true);
    return SMKD_R_OK;
}

size_t rt_sane_weights(const float *v, size_t n) {
    enum { BLOCK = 1024 }; // without a branch an element
    size_t i = 0;
    for (bool sane = true; i + BLOCK <= n; i += BLOCK) {
        for (size_t k = 0; k < BLOCK; k++) sane &= fabsf(v[i + k]) <= RT_WEIGHT_LIMIT; // not for NaN
        if (!sane) break;
    }
    while (i < n && fabsf(v[i]) <= RT_WEIGHT_LIMIT) i++;
    return i;
}

// So are weights, statistics and optimizer state in every checkpoint that a run has written.
static enum smkd_result check_sane(const char *path, const struct rt_tensor *t) {
    if (t->dtype != RT_F32) return SMKD_R_OK;
    const float *v = t->data;
    size_t i = rt_sane_weights(v, t->numel);
    if (i == t->numel) return SMKD_R_OK;
    char number[32];
    snprintf(number, sizeof number, "%g", (double)v[i]);
    const char *value = isnan(v[i]) ? "nan" : isinf(v[i]) ? "infinite" : number; // nan has a sign in some libraries
    return rt_fail(SMKD_R_INVALID,
                   "%s: element %zu of tensor \"%s\" is %s; no run goes on from that: take another copy of the file, "
                   "or start again "
                   "with --overwrite",
                   path, i, t->name, value);
}

enum smkd_result rt_checkpoint_write(const char *path, const struct rt_kept *k, bool all) {
    struct rt_tensors f = {.t = xcalloc(k->n_tensors + 1, sizeof *f.t)};
    for (size_t i = 0; i < k->n_tensors; i++) {
        const struct rt_kept_tensor *from = &k->tensor[i];
        if (from->state && !all) continue;
        struct rt_tensor *t = &f.t[f.n++];
        struct str name = STR_INIT;
        str_add(&name, from->name);
        *t = (struct rt_tensor){.name = name.s,
                                .dtype = from->dtype,
                                .rank = from->rank,
                                .numel = from->numel,
                                .bytes = from->numel * rt_dtype_size(from->dtype),
                                .borrowed = true,
                                .data = from->data};
        memcpy(t->dims, from->dims, sizeof t->dims);
    }
    rt_tensors_add_meta(&f, "format", formats[N_FORMATS - 1]);
    for (size_t i = 0; i < k->n_numbers; i++) {
        const struct rt_kept_number *n = &k->number[i];
        char text[40]; // whole ones plainly, others in hexadecimal, which loses nothing
        if (n->whole)
            snprintf(text, sizeof text, "%lld", (long long)*(const int64_t *)n->at);
        else
            snprintf(text, sizeof text, "%a", *(const double *)n->at);
        rt_tensors_add_meta(&f, n->key, text);
    }
    rt_tensors_add_sums(&f);
    enum smkd_result r = rt_safetensors_write(path, &f);
    rt_tensors_release(&f); // the elements are borrowed
    return r;
}

// Two passes over all tensors of the list: the first checks, the second (copy) writes.
static enum smkd_result visit(const char *path, const struct rt_tensors *f, const struct rt_kept *k, bool copy) {
    for (size_t i = 0; i < k->n_tensors; i++) {
        const struct rt_kept_tensor *to = &k->tensor[i];
        const struct rt_tensor *t = rt_tensors_find(f, to->name);
        enum smkd_result r = SMKD_R_OK;
        if (!t)
            r = rt_fail(SMKD_R_MISMATCH, "%s: has no tensor \"%s\"; it was not made with this model", path, to->name);
        else if (t->dtype != to->dtype || t->rank != to->rank || t->numel != to->numel ||
                 memcmp(t->dims, to->dims, (size_t)to->rank * sizeof *t->dims) != 0)
            r = rt_fail(SMKD_R_MISMATCH, "%s: tensor \"%s\" has another shape or type than the model's", path,
                        to->name);
        else if (!copy)
            r = check_sane(path, t);
        else
            memcpy(to->data, t->data, t->bytes);
        if (r != SMKD_R_OK) return r;
    }
    return SMKD_R_OK;
}

// Likewise over the numbers.
static enum smkd_result visit_numbers(const char *path, const struct rt_tensors *f, const struct rt_kept *k,
                                      bool copy) {
    int64_t epoch = -1, best_epoch = -1;
    for (size_t i = 0; i < k->n_numbers; i++) {
        const struct rt_kept_number *n = &k->number[i];
        const char *text = rt_tensors_meta(f, n->key);
        if (!text && n->optional) continue;
        char *end = NULL;
        double v = text ? strtod(text, &end) : 0;
        int64_t whole = 0;
        bool ok = text && *text && *end == 0;
        if (ok && n->whole) ok = parse_i64(text, &whole);
        if (!ok)
            return rt_fail(SMKD_R_INVALID, "%s: metadata \"%s\" is missing or damaged; start again with --overwrite",
                           path, n->key);
        if (!(v >= n->min && v <= n->max))
            return rt_fail(SMKD_R_INVALID, "%s: metadata \"%s\" is %s, expected %g to %g; start again with --overwrite",
                           path, n->key, text, n->min, n->max);
        if (strcmp(n->key, "epoch") == 0) epoch = whole;
        if (strcmp(n->key, "best_epoch") == 0) best_epoch = whole;
        if (copy && n->whole) *(int64_t *)n->at = whole;
        if (copy && !n->whole) *(double *)n->at = v;
    }
    if (best_epoch > epoch)
        return rt_fail(SMKD_R_INVALID,
                       "%s: metadata \"best_epoch\" is %lld, behind its epoch, %lld; start again with --overwrite",
                       path, (long long)best_epoch, (long long)epoch);
    return SMKD_R_OK;
}

enum smkd_result rt_checkpoint_read(const char *path, struct rt_kept *k, bool *unchecked) {
    struct rt_tensors f = {0};
    enum smkd_result r = rt_safetensors_read(path, &f);
    if (r != SMKD_R_OK) return r;
    const char *format = rt_tensors_meta(&f, "format");
    bool known = false;
    for (int i = 0; i < N_FORMATS; i++) known = known || (format && strcmp(format, formats[i]) == 0);
    if (!known) r = rt_fail(SMKD_R_INVALID, "%s: is not a checkpoint of smkd-run train", path);
    for (int copy = 0; copy < 2 && r == SMKD_R_OK; copy++) {
        r = visit_numbers(path, &f, k, copy);
        if (r == SMKD_R_OK) r = visit(path, &f, k, copy);
    }
    *unchecked = f.unchecked;
    rt_tensors_release(&f);
    return r;
}

enum smkd_result rt_checkpoint_read_copy(const char *path, const char *prefix, int peer, smkd_model *m,
                                         struct rt_progress_state *s) {
    struct rt_kept k = {0};
    struct rt_progress_state state = {0};
    rt_keep_progress(&k, &state, 0);
    enum smkd_result r = keep_copy(&k, prefix, peer, m);
    if (r == SMKD_R_OK) r = rt_checkpoint_read(path, &k, &state.unchecked);
    if (r == SMKD_R_OK && s) *s = state;
    rt_kept_release(&k);
    return r;
}

enum smkd_result rt_checkpoint_read_peer(const char *path, int k, smkd_model *m, struct rt_progress_state *s) {
    return rt_checkpoint_read_copy(path, "peer", k, m, s);
}
