// Weights of a model to and from safetensors.
#include "rt_internal.h"

#include <stdlib.h>
#include <string.h>

static bool is_weight(const struct smkd_abi_tensor *t) {
    return t->role == SMKD_ABI_PARAM || t->role == SMKD_ABI_BUFFER;
}

static char *prefixed(const char *prefix, const char *name) {
    struct str s = STR_INIT;
    str_addf(&s, "%s%s", prefix ? prefix : "", name);
    return s.s;
}

enum smkd_result smkd_load_weights(smkd_model *m, const char *path, const char *prefix) {
    struct rt_tensors ts;
    enum smkd_result r = rt_safetensors_read(path, &ts);
    if (r != SMKD_R_OK) return r;
    // First look at all of them, then copy: a file that does not fit leaves the model as it was.
    for (int copy = 0; copy < 2 && r == SMKD_R_OK; copy++)
        for (uint64_t i = 0; i < m->art->n_tensors && r == SMKD_R_OK; i++) {
            const struct smkd_abi_tensor *t = &m->art->tensors[i];
            if (!is_weight(t)) continue;
            char *name = prefixed(prefix, t->name);
            const struct rt_tensor *w = rt_tensors_find(&ts, name);
            if (!w)
                r = rt_fail(SMKD_R_MISMATCH, "%s: has no tensor \"%s\", which %s needs", path, name, m->path);
            else if (w->dtype != RT_F32 || w->numel != t->numel || w->rank != (int)t->rank ||
                     memcmp(w->dims, t->dims, sizeof *w->dims * t->rank) != 0)
                r = rt_fail(SMKD_R_MISMATCH,
                            "%s: tensor \"%s\" has another shape or type than %s expects (%llu f32 elements)", path,
                            name, m->path, (unsigned long long)t->numel);
            else if (copy)
                memcpy((char *)smkd_model_params(m) + t->offset, w->data, w->bytes);
            free(name);
        }
    rt_tensors_release(&ts);
    return r;
}

enum smkd_result smkd_save_weights(const smkd_model *m, const char *path, const char *prefix) {
    struct rt_tensors ts = {.t = calloc(m->art->n_tensors + 1, sizeof *ts.t)};
    if (!ts.t) return rt_fail(SMKD_R_NOMEM, "%s: out of memory", path);
    for (uint64_t i = 0; i < m->art->n_tensors; i++) {
        const struct smkd_abi_tensor *t = &m->art->tensors[i];
        if (!is_weight(t)) continue;
        struct rt_tensor *w = &ts.t[ts.n++];
        *w = (struct rt_tensor){.name = prefixed(prefix, t->name),
                                .dtype = RT_F32,
                                .rank = (int)t->rank,
                                .numel = t->numel,
                                .bytes = t->numel * 4,
                                .borrowed = true};
        memcpy(w->dims, t->dims, sizeof *w->dims * t->rank);
        w->data = (char *)m->params + t->offset;
    }
    enum smkd_result r = rt_safetensors_write(path, &ts);
    rt_tensors_release(&ts);
    return r;
}
