#include "run_small.h"

#include <stdlib.h>
#include <string.h>

static enum rt_dtype dtype_of(const struct smkd_abi_tensor *row) {
    static const enum rt_dtype t[] = {RT_F32, RT_I64, RT_I32, RT_U8, RT_BOOL, RT_F64}; // by smkd_abi_dtype
    return t[row->dtype];
}

void *run_results_add(struct run_results *r, const char *name, const struct smkd_abi_tensor *row, int64_t batch) {
    if (r->ts.n == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 64;
        r->ts.t = xrealloc(r->ts.t, r->cap * sizeof *r->ts.t);
    }
    struct rt_tensor *t = &r->ts.t[r->ts.n];
    *t = (struct rt_tensor){.dtype = dtype_of(row), .rank = (int)row->rank, .numel = 1};
    for (int d = 0; d < t->rank; d++) {
        t->dims[d] = row->dims[d] < 0 ? -row->dims[d] * batch : row->dims[d];
        t->numel *= (size_t)t->dims[d];
    }
    t->bytes = t->numel * rt_dtype_size(t->dtype);
    t->data = aligned_alloc(64, (t->bytes + 64) / 64 * 64);
    t->name = malloc(strlen(name) + 1);
    if (!t->data || !t->name) {
        free(t->data);
        free(t->name);
        rt_fail(SMKD_R_NOMEM, "out of memory for %s (%zu bytes)", name, t->bytes);
        return NULL;
    }
    memset(t->data, 0, t->bytes);
    strcpy(t->name, name);
    r->ts.n++;
    return t->data;
}

static void dims_text(struct str *s, const int64_t *dims, int rank) {
    str_add(s, "[");
    for (int d = 0; d < rank; d++) {
        if (dims[d] < 0)
            str_addf(s, "%sN", d ? "," : "");
        else
            str_addf(s, "%s%lld", d ? "," : "", (long long)dims[d]);
    }
    str_add(s, "]");
}

static enum smkd_result check_tensor(const char *path, const struct smkd_abi_tensor *row, struct rt_tensor *t, int64_t *batch) {
    bool fits = t->rank == (int)row->rank;
    int64_t n = 0;
    for (int d = 0; fits && d < t->rank; d++) {
        if (row->dims[d] < 0) {
            fits = t->dims[d] > 0 && t->dims[d] % -row->dims[d] == 0;
            n = fits ? t->dims[d] / -row->dims[d] : 0;
        } else {
            fits = t->dims[d] == row->dims[d];
        }
    }
    if (!fits) {
        struct str want = STR_INIT, have = STR_INIT;
        dims_text(&want, row->dims, (int)row->rank);
        dims_text(&have, t->dims, t->rank);
        rt_fail(SMKD_R_MISMATCH, "%s: has shape %s; \"%s\" needs %s", path, have.s, row->name, want.s);
        str_release(&want);
        str_release(&have);
        return SMKD_R_MISMATCH;
    }
    if (n && *batch && n != *batch) return rt_fail(SMKD_R_MISMATCH, "%s: has a batch of %lld where the others have %lld", path, (long long)n, (long long)*batch);
    if (n) *batch = n;
    enum rt_dtype want = dtype_of(row);
    if (t->dtype == RT_F64 && want == RT_F32) { // in place: an f32 is smaller
        const double *src = t->data;
        float *dst = t->data;
        for (size_t i = 0; i < t->numel; i++) dst[i] = (float)src[i];
        t->dtype = RT_F32;
        t->bytes = t->numel * 4;
    }
    if (t->dtype != want) return rt_fail(SMKD_R_MISMATCH, "%s: has another element type than \"%s\" needs (float32 for most)", path, row->name);
    return SMKD_R_OK;
}

enum smkd_result run_read_tensors(const struct args *a, const char *option, const smkd_model *m, enum smkd_abi_role role, struct rt_tensor *t, int64_t *batch) {
    for (size_t i = 0; i < args_count(a, option); i++) {
        const char *spec = args_nth(a, option, i), *eq = strchr(spec, '=');
        if (!eq || eq == spec || !eq[1]) return rt_fail(SMKD_R_INVALID, "--%s %s: expected NAME=FILE.npy", option, spec);
        char *name = xcalloc((size_t)(eq - spec) + 1, 1);
        memcpy(name, spec, (size_t)(eq - spec));
        const struct smkd_abi_tensor *row = smkd_model_find(m, role, name), *first = smkd_model_nth(m, role, 0);
        enum smkd_result r = SMKD_R_OK;
        if (!row)
            r = rt_fail(SMKD_R_INVALID, "--%s %s: the model has no \"%s\"; it has \"%s\"", option, spec, name, first ? first->name : "none");
        else if (t[row->index].data)
            r = rt_fail(SMKD_R_INVALID, "--%s %s: \"%s\" is given twice", option, spec, name);
        free(name);
        if (r == SMKD_R_OK) r = rt_npy_read(eq + 1, &t[row->index]);
        if (r == SMKD_R_OK) r = check_tensor(eq + 1, row, &t[row->index], batch);
        if (r != SMKD_R_OK) return r;
    }
    return SMKD_R_OK;
}

enum smkd_result run_load_weights(const struct args *a, smkd_model *m) {
    const char *path = args_str(a, "weights");
    int64_t peer = 0;
    if (!path) return SMKD_R_OK;
    if (!args_i64(a, "peer", 0, 1, &peer)) return rt_fail(SMKD_R_INVALID, "--peer: 0 or 1");
    struct rt_tensors ts;
    enum smkd_result r = rt_safetensors_read(path, &ts);
    if (r != SMKD_R_OK) return r;
    bool checkpoint = false;
    for (size_t i = 0; i < ts.n; i++) checkpoint |= str_has_prefix(ts.t[i].name, "peer.0.");
    rt_tensors_release(&ts);
    return checkpoint ? rt_checkpoint_read_peer(path, (int)peer, m) : smkd_load_weights(m, path, "");
}
