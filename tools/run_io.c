#include "run_io.h"

#include "../runtime/checkpoint.h"

#include <stdlib.h>
#include <string.h>

// By enum smkd_abi_dtype.
static const struct {
    enum rt_dtype t;
    const char *name;
} dtypes[SMKD_ABI_DTYPES] = {
    [SMKD_ABI_F32] = {RT_F32, "float32"}, [SMKD_ABI_I64] = {RT_I64, "int64"},  [SMKD_ABI_I32] = {RT_I32, "int32"},
    [SMKD_ABI_U8] = {RT_U8, "uint8"},     [SMKD_ABI_BOOL] = {RT_BOOL, "bool"}, [SMKD_ABI_F64] = {RT_F64, "float64"},
    [SMKD_ABI_I8] = {RT_I8, "int8"},      [SMKD_ABI_I16] = {RT_I16, "int16"},  [SMKD_ABI_U16] = {RT_U16, "uint16"},
    [SMKD_ABI_U32] = {RT_U32, "uint32"},  [SMKD_ABI_U64] = {RT_U64, "uint64"},
};

bool run_row_batched(const struct smkd_abi_tensor *t) { return t->rank > 0 && t->dims[0] < 0; }

size_t run_row_numel(const struct smkd_abi_tensor *t, int64_t n) {
    return (size_t)t->numel * (run_row_batched(t) ? (size_t)n : 1);
}

size_t run_row_bytes(const struct smkd_abi_tensor *t, int64_t n) {
    return run_row_numel(t, n) * rt_dtype_size(dtypes[t->dtype].t);
}

// "[N,3,32,32]" of a table row or form, or "[8,3,32,32]" of a tensor.
static void shape_text(struct str *s, uint32_t rank, const int64_t *dims) {
    str_add(s, "[");
    for (uint32_t i = 0; i < rank; i++) {
        str_add(s, i ? "," : "");
        if (dims[i] == -1)
            str_add(s, "N");
        else if (dims[i] < 0)
            str_addf(s, "%lldN", -(long long)dims[i]);
        else
            str_addf(s, "%lld", (long long)dims[i]);
    }
    str_add(s, "]");
}

// The batch that makes the row's shape the tensor's: 0 for a row without one, -1 where they do not fit.
static int64_t batch_of(int rank, const int64_t *dims, const struct rt_tensor *t) {
    if (t->rank != rank) return -1;
    int64_t batch = 0;
    for (int i = 0; i < rank; i++) {
        int64_t d = dims[i];
        if (d >= 0) {
            if (t->dims[i] != d) return -1;
        } else {
            if (t->dims[i] < 1 || t->dims[i] % -d || t->dims[i] / -d > INT32_MAX) return -1;
            int64_t b = t->dims[i] / -d;
            if (batch && b != batch) return -1;
            batch = b;
        }
    }
    return batch;
}

// What is exact without asking: integers of another size that the row's type holds, and float16 as float32.
static bool converts(enum rt_dtype from, enum rt_dtype to) {
    return (rt_dtype_is_integer(from) && rt_dtype_is_integer(to) && (to != RT_BOOL) == (from != RT_BOOL)) ||
           (from == RT_F16 && (to == RT_F32 || to == RT_F64)) || (from == RT_F32 && to == RT_F64);
}

static enum smkd_result check_feed(struct run_feed *f, const smkd_model *m, const char *path, int64_t *batch) {
    enum rt_dtype dtype = dtypes[f->row->dtype].t;
    if (converts(f->tensor.dtype, dtype)) {
        enum smkd_result r = rt_tensor_convert(&f->tensor, dtype, path, "element");
        if (r != SMKD_R_OK) return r;
    }
    if (f->tensor.dtype != dtype)
        return rt_fail(SMKD_R_MISMATCH, "%s: \"%s\" wants %s elements; save x.astype(numpy.%s)", path, f->row->name,
                       dtypes[f->row->dtype].name, dtypes[f->row->dtype].name);
    struct run_form form;
    const bool other = run_form_of(m, f->row, &form);
    const int rank = other ? form.rank : (int)f->row->rank;
    const int64_t *dims = other ? form.dims : f->row->dims;
    int64_t n = batch_of(rank, dims, &f->tensor);
    if (n < 0) {
        struct str got = STR_INIT, want = STR_INIT;
        shape_text(&got, (uint32_t)f->tensor.rank, f->tensor.dims);
        shape_text(&want, (uint32_t)rank, dims);
        enum smkd_result r =
            rt_fail(SMKD_R_MISMATCH, "%s: has shape %s; \"%s\" wants %s", path, got.s, f->row->name, want.s);
        str_release(&got);
        str_release(&want);
        return r;
    }
    if (n && *batch && n != *batch)
        return rt_fail(SMKD_R_MISMATCH, "%s: has a batch of %lld where the tensors before have %lld", path,
                       (long long)n, (long long)*batch);
    if (n) *batch = n;
    return other ? run_form_enter(&f->tensor, f->row, &form, n ? n : 1) : SMKD_R_OK;
}

// The numbers of an input that is a constant of the artifact have to be those.
static enum smkd_result check_given(const char *path, const char *name, const char *given) {
    struct rt_tensor t = {0};
    enum smkd_result r = rt_npy_read(path, &t);
    if (r == SMKD_R_OK) r = rt_tensor_convert(&t, RT_F64, path, "element");
    const char *p = given;
    bool same = true;
    for (size_t i = 0; r == SMKD_R_OK && i < t.numel; i++) {
        const double x = ((double *)t.data)[i];
        double v = 0;
        bool batch;
        same &= run_given_next(&p, &batch, &v) && (batch || v == x || (float)v == (float)x);
    }
    same &= *p == 0;
    rt_tensor_release(&t);
    if (r == SMKD_R_OK && !same)
        r = rt_fail(SMKD_R_MISMATCH, "%s: the artifact was compiled with --shape-input %s=%s; compile it for these",
                    path, name, given);
    return r;
}

enum smkd_result run_feeds_add(struct run_feeds *fs, const smkd_model *m, enum smkd_abi_role role, const char *option,
                               const char *value, int64_t *batch) {
    const char *eq = strchr(value, '=');
    if (!eq || eq == value || !eq[1]) return rt_fail(SMKD_R_INVALID, "--%s %s: expected NAME=FILE.npy", option, value);
    struct str name = STR_INIT, all = STR_INIT, given = STR_INIT;
    str_addn(&name, value, (size_t)(eq - value));
    const struct smkd_abi_tensor *row = smkd_model_find(m, role, name.s), *t;
    enum smkd_result r = SMKD_R_OK;
    if (!row && role == SMKD_ABI_INPUT && run_given(m, name.s, &given)) {
        r = check_given(eq + 1, name.s, given.s);
        str_release(&name);
        str_release(&given);
        return r;
    }
    if (!row) {
        for (size_t i = 0; (t = smkd_model_nth(m, role, i)); i++) str_addf(&all, "%s\"%s\"", i ? ", " : "", t->name);
        r = rt_fail(SMKD_R_INVALID, "--%s %s: the model has no %s \"%s\"; it has %s", option, value,
                    role == SMKD_ABI_INPUT ? "input" : "differentiable output", name.s, all.s ? all.s : "none");
    }
    for (size_t i = 0; r == SMKD_R_OK && i < fs->n; i++)
        if (fs->f[i].row == row) r = rt_fail(SMKD_R_INVALID, "--%s %s: \"%s\" is given twice", option, value, name.s);
    if (r == SMKD_R_OK) {
        fs->f = xrealloc(fs->f, (fs->n + 1) * sizeof *fs->f);
        struct run_feed *f = &fs->f[fs->n++];
        *f = (struct run_feed){.row = row};
        r = rt_npy_read(eq + 1, &f->tensor);
        if (r == SMKD_R_OK) r = check_feed(f, m, eq + 1, batch);
    }
    str_release(&name);
    str_release(&all);
    return r;
}

enum smkd_result run_feeds_read(struct run_feeds *fs, const smkd_model *m, enum smkd_abi_role role,
                                const struct args *a, const char *option, int64_t *batch) {
    for (size_t i = 0; i < args_count(a, option); i++) {
        enum smkd_result r = run_feeds_add(fs, m, role, option, args_nth(a, option, i), batch);
        if (r != SMKD_R_OK) return r;
    }
    return SMKD_R_OK;
}

void run_feeds_release(struct run_feeds *fs) {
    for (size_t i = 0; i < fs->n; i++) rt_tensor_release(&fs->f[i].tensor);
    free(fs->f);
    *fs = (struct run_feeds){0};
}

enum smkd_result run_feeds_complete(const struct run_feeds *fs, const smkd_model *m) {
    const struct smkd_abi_tensor *t;
    for (size_t i = 0; (t = smkd_model_nth(m, SMKD_ABI_INPUT, i)); i++) {
        bool found = false;
        for (size_t k = 0; k < fs->n; k++) found |= fs->f[k].row == t;
        if (found) continue;
        struct str shape = STR_INIT;
        shape_text(&shape, t->rank, t->dims);
        enum smkd_result r =
            rt_fail(SMKD_R_INVALID, "input \"%s\" %s is missing: give --input %s=FILE.npy", t->name, shape.s, t->name);
        str_release(&shape);
        return r;
    }
    return SMKD_R_OK;
}

smkd_model *run_load(const struct args *a, const char *path) {
    smkd_model *m = smkd_model_load(path);
    if (!m) return NULL;
    const char *weights = args_str(a, "weights"), *peer = args_str(a, "peer"), *prefix = args_str(a, "weights-prefix");
    enum smkd_result r = SMKD_R_OK;
    int64_t k = 0;
    if (smkd_model_info(m)->kind != SMKD_ABI_MODEL)
        r = rt_fail(SMKD_R_INVALID, "%s: is a loss, not a model; smkd-run loss runs it", path);
    else if (peer && !weights)
        r = rt_fail(SMKD_R_INVALID, "--peer goes with --weights CHECKPOINT.safetensors");
    else if (peer && (!parse_i64(peer, &k) || k < 0 || k >= METHOD_MAX_PEERS))
        r = rt_fail(SMKD_R_INVALID, "--peer %s: expected a peer's number, from 0", peer);
    else if (prefix && (peer || !weights))
        r = rt_fail(SMKD_R_INVALID, "--weights-prefix goes with --weights FILE and without --peer");
    else if (weights)
        r = peer ? rt_checkpoint_read_peer(weights, (int)k, m, NULL) : smkd_load_weights(m, weights, prefix);
    if (r == SMKD_R_OK) return m;
    smkd_model_free(m);
    return NULL;
}

struct rt_tensor *run_result(struct rt_tensors *ts, const char *name, const struct smkd_abi_tensor *row, int64_t batch,
                             void *data) {
    if (rt_tensors_find(ts, name)) {
        rt_fail(SMKD_R_UNSUPPORTED, "two results are called \"%s\"; rename one in the ONNX file", name);
        return NULL;
    }
    ts->t = xrealloc(ts->t, (ts->n + 1) * sizeof *ts->t);
    struct rt_tensor *t = &ts->t[ts->n];
    *t = (struct rt_tensor){
        .dtype = dtypes[row->dtype].t, .rank = (int)row->rank, .borrowed = data != NULL, .data = data};
    for (uint32_t i = 0; i < row->rank; i++) t->dims[i] = row->dims[i] < 0 ? -row->dims[i] * batch : row->dims[i];
    t->numel = run_row_numel(row, batch);
    t->bytes = run_row_bytes(row, batch);
    size_t room = (t->bytes + 64) / 64 * 64;
    if (!data) t->data = aligned_alloc(64, room);
    if (!t->data) {
        rt_fail(SMKD_R_NOMEM, "out of memory for \"%s\" (%zu bytes)", name, t->bytes);
        return NULL;
    }
    if (!data) memset(t->data, 0, room);
    t->name = xmalloc(strlen(name) + 1);
    strcpy(t->name, name);
    ts->n++;
    return t;
}
