#include "checkpoint.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "smkd-checkpoint-1"

// What the file holds of each peer: which rows of the model's table, and in which of its blocks they lie.
static const struct section {
    const char *prefix;
    enum smkd_abi_role role;
    void *(*block)(smkd_model *m);
    bool momentum;
} sections[] = {
    {"peer", SMKD_ABI_PARAM, smkd_model_params, false},
    {"peer", SMKD_ABI_BUFFER, smkd_model_params, false},
    {"momentum", SMKD_ABI_PARAM, smkd_model_momentum, true},
};
#define N_SECTIONS (sizeof sections / sizeof *sections)

static enum rt_dtype to_rt(uint32_t abi) {
    static const enum rt_dtype map[SMKD_ABI_DTYPES] = {
        [SMKD_ABI_F32] = RT_F32,   [SMKD_ABI_I64] = RT_I64, [SMKD_ABI_I32] = RT_I32, [SMKD_ABI_U8] = RT_U8,
        [SMKD_ABI_BOOL] = RT_BOOL, [SMKD_ABI_F64] = RT_F64, [SMKD_ABI_I8] = RT_I8,   [SMKD_ABI_I16] = RT_I16,
        [SMKD_ABI_U16] = RT_U16,   [SMKD_ABI_U32] = RT_U32, [SMKD_ABI_U64] = RT_U64};
    return map[abi];
}

static char *tensor_name(const struct section *s, int k, const char *name) {
    struct str t = STR_INIT;
    str_addf(&t, "%s.%d.%s", s->prefix, k, name);
    return t.s;
}

static size_t count_rows(smkd_model *const models[2], bool momentum) {
    size_t n = 0;
    for (int k = 0; k < 2; k++)
        for (size_t s = 0; s < N_SECTIONS; s++) {
            if (sections[s].momentum && !momentum) continue;
            for (size_t i = 0; smkd_model_nth(models[k], sections[s].role, i); i++) n++;
        }
    return n;
}

// Numbers as text: whole ones plainly, others in hexadecimal, which loses nothing.
static const struct meta {
    const char *key;
    size_t offset;
    bool whole;
    double min, max;
} metas[] = {
    {"epoch", offsetof(struct rt_progress_state, epoch), true, 0, 1e9},
    {"step", offsetof(struct rt_progress_state, step), true, 0, 1e15},
    {"r.0", offsetof(struct rt_progress_state, r), false, 0, 1},
    {"r.1", offsetof(struct rt_progress_state, r) + sizeof(double), false, 0, 1},
    {"best", offsetof(struct rt_progress_state, best), false, -1, 100},
    {"best_epoch", offsetof(struct rt_progress_state, best_epoch), true, 0, 1e9},
};
#define N_METAS (sizeof metas / sizeof *metas)

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

// The momentum block is made when first asked for; later code takes it for granted.
static enum smkd_result need_blocks(const char *path, smkd_model *m, bool momentum) {
    if (smkd_model_params(m) && (!momentum || smkd_model_momentum(m))) return SMKD_R_OK;
    return rt_fail(SMKD_R_NOMEM, "%s: out of memory", path);
}

enum smkd_result rt_checkpoint_write(const char *path, smkd_model *const models[2],
                                     const struct rt_progress_state *state, bool momentum) {
    for (int k = 0; k < 2; k++) {
        enum smkd_result r = need_blocks(path, models[k], momentum);
        if (r != SMKD_R_OK) return r;
    }
    size_t n = count_rows(models, momentum);
    struct rt_tensors f = {.t = xcalloc(n ? n : 1, sizeof *f.t)};
    for (int k = 0; k < 2; k++)
        for (size_t s = 0; s < N_SECTIONS; s++) {
            const struct smkd_abi_tensor *row;
            if (sections[s].momentum && !momentum) continue;
            for (size_t i = 0; (row = smkd_model_nth(models[k], sections[s].role, i)); i++) {
                struct rt_tensor *t = &f.t[f.n++];
                *t = (struct rt_tensor){.name = tensor_name(&sections[s], k, row->name),
                                        .dtype = to_rt(row->dtype),
                                        .rank = (int)row->rank,
                                        .numel = row->numel,
                                        .borrowed = true,
                                        .data = (char *)sections[s].block(models[k]) + row->offset};
                t->bytes = t->numel * rt_dtype_size(t->dtype);
                memcpy(t->dims, row->dims, sizeof t->dims);
            }
        }
    rt_tensors_add_meta(&f, "format", FORMAT);
    for (size_t i = 0; i < N_METAS; i++) {
        const char *at = (const char *)state + metas[i].offset;
        char text[40];
        if (metas[i].whole)
            snprintf(text, sizeof text, "%lld", (long long)*(const int64_t *)at);
        else
            snprintf(text, sizeof text, "%a", *(const double *)at);
        rt_tensors_add_meta(&f, metas[i].key, text);
    }
    rt_tensors_add_sums(&f);
    enum smkd_result r = rt_safetensors_write(path, &f);
    rt_tensors_release(&f); // the elements are borrowed
    return r;
}

// Two passes over all rows of peer k's model, stored as peer `k`: the first checks, the second (copy) writes.
static enum smkd_result visit(const char *path, const struct rt_tensors *f, int k, smkd_model *m, bool momentum,
                              bool copy) {
    enum smkd_result have = need_blocks(path, m, momentum);
    if (have != SMKD_R_OK) return have;
    for (size_t s = 0; s < N_SECTIONS; s++) {
        const struct smkd_abi_tensor *row;
        if (sections[s].momentum && !momentum) continue;
        for (size_t i = 0; (row = smkd_model_nth(m, sections[s].role, i)); i++) {
            char *name = tensor_name(&sections[s], k, row->name);
            const struct rt_tensor *t = rt_tensors_find(f, name);
            enum smkd_result r = SMKD_R_OK;
            if (!t)
                r = rt_fail(SMKD_R_MISMATCH, "%s: has no tensor \"%s\"; it was not made with this model", path, name);
            else if (t->dtype != to_rt(row->dtype) || t->rank != (int)row->rank || t->numel != row->numel ||
                     memcmp(t->dims, row->dims, row->rank * sizeof *t->dims) != 0)
                r = rt_fail(SMKD_R_MISMATCH, "%s: tensor \"%s\" has another shape or type than the model's", path,
                            name);
            else if (!copy)
                r = check_sane(path, t);
            else
                memcpy((char *)sections[s].block(m) + row->offset, t->data, t->bytes);
            free(name);
            if (r != SMKD_R_OK) return r;
        }
    }
    return SMKD_R_OK;
}

static enum smkd_result read_state(const char *path, const struct rt_tensors *f, struct rt_progress_state *out) {
    for (size_t i = 0; i < N_METAS; i++) {
        const char *text = rt_tensors_meta(f, metas[i].key);
        char *at = (char *)out + metas[i].offset, *end = NULL;
        double v = text ? strtod(text, &end) : 0;
        bool ok = text && *text && *end == 0;
        if (ok && metas[i].whole) ok = parse_i64(text, (int64_t *)at);
        if (!ok)
            return rt_fail(SMKD_R_INVALID, "%s: metadata \"%s\" is missing or damaged; start again with --overwrite",
                           path, metas[i].key);
        if (!(v >= metas[i].min && v <= metas[i].max))
            return rt_fail(SMKD_R_INVALID, "%s: metadata \"%s\" is %s, expected %g to %g; start again with --overwrite",
                           path, metas[i].key, text, metas[i].min, metas[i].max);
        if (!metas[i].whole) *(double *)at = v;
    }
    if (out->best_epoch > out->epoch)
        return rt_fail(SMKD_R_INVALID,
                       "%s: metadata \"best_epoch\" is %lld, behind its epoch, %lld; start again with --overwrite",
                       path, (long long)out->best_epoch, (long long)out->epoch);
    return SMKD_R_OK;
}

// *unchecked: whether nothing in it could be compared with a checksum.
static enum smkd_result open_file(const char *path, struct rt_tensors *f, bool *unchecked) {
    enum smkd_result r = rt_safetensors_read(path, f);
    if (r != SMKD_R_OK) return r;
    const char *format = rt_tensors_meta(f, "format");
    if (!format || strcmp(format, FORMAT) != 0)
        r = rt_fail(SMKD_R_INVALID, "%s: is not a checkpoint of smkd-run train", path);
    *unchecked = f->unchecked;
    if (r != SMKD_R_OK) rt_tensors_release(f);
    return r;
}

enum smkd_result rt_checkpoint_read(const char *path, smkd_model *const models[2], struct rt_progress_state *s) {
    struct rt_tensors f = {0};
    struct rt_progress_state state = {0};
    enum smkd_result r = open_file(path, &f, &state.unchecked);
    if (r != SMKD_R_OK) return r;
    r = read_state(path, &f, &state);
    for (int copy = 0; copy < 2; copy++)
        for (int k = 0; k < 2 && r == SMKD_R_OK; k++) r = visit(path, &f, k, models[k], true, copy);
    if (r == SMKD_R_OK) *s = state;
    rt_tensors_release(&f);
    return r;
}

enum smkd_result rt_checkpoint_read_peer(const char *path, int k, smkd_model *m, struct rt_progress_state *s) {
    struct rt_tensors f = {0};
    struct rt_progress_state state = {0};
    enum smkd_result r = open_file(path, &f, &state.unchecked);
    if (r != SMKD_R_OK) return r;
    r = read_state(path, &f, &state);
    for (int copy = 0; copy < 2 && r == SMKD_R_OK; copy++) r = visit(path, &f, k, m, false, copy);
    if (r == SMKD_R_OK && s) *s = state;
    rt_tensors_release(&f);
    return r;
}
