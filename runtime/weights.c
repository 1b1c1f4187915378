// Weights of a model to and from safetensors.
#include "rt_internal.h"

#include <math.h>
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

// --- names that do not match -----------------------------------------------------------------------------------------

// How many of the model's weights the file has under `prefix`, and how many of its tensors those leave over; the first
// of either kind.
struct match {
    size_t wanted, found, extra;
    const char *missing, *unexpected; // NULL where there is none
};

static struct match match_names(const smkd_model *m, const struct rt_tensors *ts, const char *prefix) {
    struct match k = {0};
    bool *used = xcalloc(ts->n + 1, sizeof *used);
    for (uint64_t i = 0; i < m->art->n_tensors; i++) {
        const struct smkd_abi_tensor *t = &m->art->tensors[i];
        if (!is_weight(t)) continue;
        char *name = prefixed(prefix, t->name);
        const struct rt_tensor *w = rt_tensors_find(ts, name);
        free(name);
        k.wanted++;
        if (w) {
            used[w - ts->t] = true;
            k.found++;
        } else if (!k.missing) {
            k.missing = t->name;
        }
    }
    for (size_t i = 0; i < ts->n; i++) {
        if (used[i]) continue;
        if (k.extra++ == 0) k.unexpected = ts->t[i].name;
    }
    free(used);
    return k;
}

// What stands before the model's names in the file, PyTorch's "module." or whatever it is: found by the endings of the
// file's names. The caller frees it; NULL where no prefix has more of the weights than `least`.
static char *find_prefix(const smkd_model *m, const struct rt_tensors *ts, const char *missing, size_t least) {
    enum { TRIES = 4 }; // names of one tensor in different places of a file
    size_t n = strlen(missing), best = least, tries = 0;
    struct str found = STR_INIT;
    for (size_t i = 0; i < ts->n && tries < TRIES; i++) {
        const char *name = ts->t[i].name;
        if (strlen(name) <= n || !str_has_suffix(name, missing)) continue;
        struct str prefix = STR_INIT;
        str_addn(&prefix, name, strlen(name) - n);
        size_t count = match_names(m, ts, prefix.s).found;
        tries++;
        if (count > best) {
            best = count;
            str_clear(&found);
            str_add(&found, prefix.s);
        }
        str_release(&prefix);
    }
    return found.s;
}

static enum smkd_result name_missing(const smkd_model *m, const struct rt_tensors *ts, const char *path,
                                     const char *prefix) {
    struct match k = match_names(m, ts, prefix);
    char *other = find_prefix(m, ts, k.missing, k.found);
    struct str more = STR_INIT;
    if (k.unexpected)
        str_addf(&more, "; %zu of its own %s not the model's, the first is \"%s\"", k.extra,
                 k.extra == 1 ? "is" : "are", k.unexpected);
    if (other) str_addf(&more, ": --weights-prefix %s would match", other);
    enum smkd_result r =
        rt_fail(SMKD_R_MISMATCH, "%s: has no tensor \"%s%s\", which %s needs; %zu of %zu are missing%s", path, prefix,
                k.missing, m->path, k.wanted - k.found, k.wanted, more.s ? more.s : "");
    free(other);
    str_release(&more);
    return r;
}

// --- reading ---------------------------------------------------------------------------------------------------------

static void add_shape(struct str *s, uint32_t rank, const int64_t *dims) {
    str_add(s, "[");
    for (uint32_t d = 0; d < rank; d++) str_addf(s, "%s%lld", d ? "," : "", (long long)dims[d]);
    str_add(s, "]");
}

static enum smkd_result check_shape(const char *path, const struct rt_tensor *w, const struct smkd_abi_tensor *t,
                                    const smkd_model *m) {
    if (w->rank == (int)t->rank && memcmp(w->dims, t->dims, sizeof *w->dims * t->rank) == 0) return SMKD_R_OK;
    struct str shapes = STR_INIT;
    bool turned = w->rank == 2 && t->rank == 2 && w->dims[0] == t->dims[1] && w->dims[1] == t->dims[0];
    add_shape(&shapes, (uint32_t)w->rank, w->dims);
    str_add(&shapes, " where the model has ");
    add_shape(&shapes, t->rank, t->dims);
    if (turned) str_add(&shapes, ", its transpose: save it with .T");
    enum smkd_result r = rt_fail(SMKD_R_MISMATCH, "%s: tensor \"%s\" has another shape than %s expects: %s", path,
                                 w->name, m->path, shapes.s);
    str_release(&shapes);
    return r;
}

// The file's tensor as the float32 the model has.
static enum smkd_result fit(const char *path, struct rt_tensor *w, const struct smkd_abi_tensor *t,
                            const smkd_model *m) {
    enum smkd_result r = check_shape(path, w, t, m);
    if (r != SMKD_R_OK) return r;
    if (rt_dtype_is_integer(w->dtype))
        return rt_fail(SMKD_R_MISMATCH, "%s: tensor \"%s\" is %s, and %s expects floats there", path, w->name,
                       rt_dtype_name(w->dtype), m->path);
    struct str what = STR_INIT;
    str_addf(&what, "tensor \"%s\": element", w->name);
    r = rt_tensor_convert(w, RT_F32, path, what.s);
    str_release(&what);
    const float *v = w->data;
    for (size_t i = 0; r == SMKD_R_OK && i < w->numel; i++)
        if (!isfinite(v[i]))
            r = rt_fail(SMKD_R_INVALID, "%s: element %zu of tensor \"%s\" is %s, with which nothing can be computed",
                        path, i, w->name, isnan(v[i]) ? "nan" : "infinite");
    return r;
}

struct load {
    smkd_model *m;
    const char *path, *prefix;
    struct rt_tensors ts;
    enum smkd_result r;
};

static void load(void *env) {
    struct load *l = env;
    smkd_model *m = l->m;
    l->r = rt_safetensors_read(l->path, &l->ts);
    char *params = smkd_model_params(m);
    if (l->r == SMKD_R_OK && !params) l->r = SMKD_R_NOMEM;
    // First look at all of them, then copy: a file that does not fit leaves the model as it was.
    for (int copy = 0; copy < 2 && l->r == SMKD_R_OK; copy++)
        for (uint64_t i = 0; i < m->art->n_tensors && l->r == SMKD_R_OK; i++) {
            const struct smkd_abi_tensor *t = &m->art->tensors[i];
            if (!is_weight(t)) continue;
            char *name = prefixed(l->prefix, t->name);
            const struct rt_tensor *found = rt_tensors_find(&l->ts, name);
            struct rt_tensor *w = found ? &l->ts.t[found - l->ts.t] : NULL;
            free(name);
            if (!w)
                l->r = name_missing(m, &l->ts, l->path, l->prefix);
            else if (copy)
                memcpy(params + t->offset, w->data, w->bytes);
            else
                l->r = fit(l->path, w, t, m);
        }
}

enum smkd_result rt_load_weights(smkd_model *m, const char *path, const char *prefix, bool *unchecked) {
    struct load l = {.m = m, .path = path, .prefix = prefix ? prefix : ""};
    if (!fenced(load, &l)) l.r = rt_fail(SMKD_R_NOMEM, "%s: out of memory", path);
    *unchecked = l.ts.unchecked;
    rt_tensors_release(&l.ts);
    return l.r;
}

enum smkd_result smkd_load_weights(smkd_model *m, const char *path, const char *prefix) {
    bool unchecked;
    return rt_load_weights(m, path, prefix, &unchecked);
}

struct save {
    const smkd_model *m;
    const char *path, *prefix;
    char *params;
    struct rt_tensors ts;
    enum smkd_result r;
};

static void save(void *env) {
    struct save *s = env;
    const struct smkd_artifact *art = s->m->art;
    s->ts.t = xcalloc(art->n_tensors + 1, sizeof *s->ts.t);
    for (uint64_t i = 0; i < art->n_tensors; i++) {
        const struct smkd_abi_tensor *t = &art->tensors[i];
        if (!is_weight(t)) continue;
        struct rt_tensor *w = &s->ts.t[s->ts.n++];
        *w = (struct rt_tensor){.dtype = RT_F32,
                                .rank = (int)t->rank,
                                .numel = t->numel,
                                .bytes = t->numel * 4,
                                .data = s->params + t->offset,
                                .borrowed = true};
        memcpy(w->dims, t->dims, sizeof *w->dims * t->rank);
        w->name = prefixed(s->prefix, t->name);
    }
    s->r = rt_safetensors_write(s->path, &s->ts);
}

enum smkd_result smkd_save_weights(const smkd_model *m, const char *path, const char *prefix) {
    // One that was opened to be read may have no block of its own.
    char *params = m->params ? m->params : (char *)(uintptr_t)m->art->initial;
    if (!params && m->art->param_bytes) return rt_fail(SMKD_R_INVALID, "%s: has no weights to save", m->path);
    struct save s = {.m = m, .path = path, .prefix = prefix, .params = params};
    if (!fenced(save, &s)) s.r = rt_fail(SMKD_R_NOMEM, "%s: out of memory", path);
    rt_tensors_release(&s.ts);
    return s.r;
}
