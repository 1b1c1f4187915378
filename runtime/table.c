#include "table.h"

#include "data.h"
#include "rt_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// --- first values ----------------------------------------------------------------------------------------------------

struct fill {
    const struct method_begin *begin;
    const int32_t *labels;
    size_t images, fan_in;
    uint64_t seed, stream;
};

// Of a normal distribution by Box and Muller, two at a time; keyed by the table's name, so that one more table changes
// no other.
static void fill_normal(float *v, size_t n, const struct fill *f) {
    struct rt_rng rng;
    rt_rng_init(&rng, f->seed, f->stream);
    for (size_t i = 0; i < n; i += 2) {
        double u = 1 - rt_rng_uniform(&rng), a = 6.283185307179586 * rt_rng_uniform(&rng);
        double r = f->begin->value * sqrt(-2 * log(u));
        v[i] = (float)(r * cos(a));
        if (i + 1 < n) v[i + 1] = (float)(r * sin(a));
    }
}

static void fill_uniform(float *v, size_t n, double most, const struct fill *f) {
    struct rt_rng rng;
    rt_rng_init(&rng, f->seed, f->stream);
    for (size_t i = 0; i < n; i++) v[i] = (float)(most * (2 * rt_rng_uniform(&rng) - 1));
}

static void fill_rows(float *v, size_t rows, size_t width, const struct fill *f) {
    if (!f->begin) return;
    switch (f->begin->start) {
    case METHOD_VALUE:
        for (size_t i = 0; i < rows * width; i++) v[i] = (float)f->begin->value;
        return;
    case METHOD_ONE_HOT:
        for (size_t i = 0; i < rows; i++)
            if ((size_t)f->labels[i] < width) v[i * width + (size_t)f->labels[i]] = 1;
        return;
    case METHOD_SHARES:
        for (size_t i = 0; i < f->images; i++)
            if ((size_t)f->labels[i] < width) v[f->labels[i]] += 1;
        for (size_t c = 0; c < width; c++) v[c] /= (float)f->images;
        return;
    case METHOD_IDENTITY:
        for (size_t c = 0; c * c < width; c++) v[c * (size_t)sqrt((double)width) + c] = 1;
        return;
    case METHOD_NORMAL:
        fill_normal(v, rows * width, f);
        return;
    case METHOD_KAIMING:
        fill_uniform(v, rows * width, f->begin->value / sqrt((double)f->fan_in), f);
        return;
    }
}

// --- the tables of a program -----------------------------------------------------------------------------------------

struct rt_table *rt_tables_find(struct rt_tables *t, const char *name) {
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->table[i].name, name) == 0) return &t->table[i];
    return NULL;
}

struct rt_table *rt_tables_of(struct rt_tables *t, const char *stem, int k) {
    char name[64];
    snprintf(name, sizeof name, "%s.%d", stem, k);
    struct rt_table *x = rt_tables_find(t, name);
    CHECK(x, "the program has no %s", name);
    return x;
}

static enum smkd_result make(struct rt_tables *t, const struct smkd_abi_tensor *row, const struct method_name *name,
                             size_t batch) {
    struct rt_table *x = &t->table[t->n++];
    *x = (struct rt_table){
        .state = name->role == METHOD_STATE, .peer = name->peer, .rank = (int)row->rank, .width = (size_t)row->numel};
    snprintf(x->name, sizeof x->name, "%s", row->name);
    for (uint32_t d = 0; d < row->rank; d++) x->dims[d] = row->dims[d];
    if (!x->state) x->dims[0] = (int64_t)t->images;
    size_t rows = x->state ? 1 : t->images;
    if (x->width && rows > SIZE_MAX / sizeof(float) / x->width) rows = 0;
    x->data = rows ? rt_floats(rows * x->width) : NULL;
    x->in = x->state ? x->data : rt_floats(batch * x->width);
    x->out = rt_floats((x->state ? 1 : batch) * x->width);
    if (x->data && x->in && x->out) return SMKD_R_OK;
    return rt_fail(SMKD_R_NOMEM, "out of memory for \"%s\": %zu numbers for each of %zu images", row->name, x->width,
                   t->images);
}

enum smkd_result rt_tables_start(struct rt_tables *t, struct rt_program *p, const struct method *m,
                                 const int32_t *labels, size_t images, size_t batch, uint64_t seed) {
    const struct smkd_artifact *info = smkd_model_info(p->model);
    *t = (struct rt_tables){.images = images, .table = xcalloc(info->n_tensors + 1, sizeof *t->table)};
    for (uint64_t i = 0; i < info->n_tensors; i++) {
        const struct smkd_abi_tensor *row = &info->tensors[i];
        const struct method_name name = method_parse(row->name);
        if (name.role != METHOD_TABLE && name.role != METHOD_STATE) continue;
        if (row->role != SMKD_ABI_INPUT && row->role != SMKD_ABI_OUTPUT) continue;
        struct rt_table *x = rt_tables_find(t, row->name);
        if (!x) {
            enum smkd_result e = make(t, row, &name, batch);
            if (e != SMKD_R_OK) return e;
            x = rt_tables_find(t, row->name);
            const size_t rows =
                x->state && x->rank > 1 && x->dims[0] > 0 ? (size_t)x->dims[0] : 1; // of a layer's weight
            const struct fill f = {
                method_begin(m, name.stem),
                labels,
                images,
                x->width > rows ? x->width / rows : 1,
                seed,
                rt_stream_id(RT_STREAM_TABLE, fnv1a(FNV_INIT, x->name, strlen(x->name)) & 0xffff, 0)};
            fill_rows(x->data, x->state ? 1 : images, x->width, &f);
        }
        const bool out = row->role == SMKD_ABI_OUTPUT;
        x->written = x->written || out;
        enum smkd_result e = smkd_bind(p->session, (enum smkd_abi_role)row->role, row->name, out ? x->out : x->in);
        if (e != SMKD_R_OK) return e;
    }
    return SMKD_R_OK;
}

static bool is_named(const struct rt_table *x, const char *name) {
    const struct method_name n = method_parse(x->name);
    return x->state && (strcmp(x->name + strlen("state."), name) == 0 || strcmp(n.stem + strlen("state."), name) == 0);
}

static enum smkd_result set_state(struct rt_table *x, const char *path, const struct rt_tensor *v) {
    bool same = v->rank == x->rank;
    for (int d = 0; same && d < v->rank; d++) same = v->dims[d] == x->dims[d];
    if (!same) {
        struct str want = STR_INIT;
        for (int d = 0; d < x->rank; d++) str_addf(&want, "%s%lld", d ? "," : "", (long long)x->dims[d]);
        enum smkd_result e = rt_fail(SMKD_R_MISMATCH, "%s: has not the shape of the state \"%s\", [%s]", path, x->name,
                                     want.len ? want.s : "");
        str_release(&want);
        return e;
    }
    for (size_t i = 0; i < x->width; i++) {
        const double now = ((const double *)v->data)[i];
        if (!isfinite(now)) return rt_fail(SMKD_R_INVALID, "%s: number %zu is %g", path, i, isnan(now) ? NAN : now);
        x->data[i] = (float)now;
    }
    return SMKD_R_OK;
}

enum smkd_result rt_state_read(struct rt_tables *t, const char *name, const char *path) {
    struct rt_tensor v = {0};
    enum smkd_result e = rt_npy_read(path, &v);
    if (e == SMKD_R_OK) e = rt_tensor_convert(&v, RT_F64, path, "number");
    bool any = false;
    for (size_t i = 0; i < t->n && e == SMKD_R_OK; i++) {
        if (!is_named(&t->table[i], name)) continue;
        any = true;
        e = set_state(&t->table[i], path, &v);
    }
    rt_tensor_release(&v);
    if (e != SMKD_R_OK || any) return e;
    return rt_fail(SMKD_R_INVALID, "--state %s: the method's program has no such state", name);
}

void rt_tables_release(struct rt_tables *t) {
    for (size_t i = 0; i < t->n; i++) {
        struct rt_table *x = &t->table[i];
        if (!x->state) free(x->in);
        free(x->data);
        free(x->out);
    }
    free(t->table);
    *t = (struct rt_tables){0};
}

enum smkd_result rt_tables_lend(struct rt_tables *t, struct rt_program *to) {
    const struct smkd_abi_tensor *row;
    for (size_t i = 0; (row = smkd_model_nth(to->model, SMKD_ABI_INPUT, i)); i++) {
        if (method_parse(row->name).role != METHOD_STATE) continue;
        struct rt_table *x = rt_tables_find(t, row->name);
        if (!x || !x->state || x->width != (size_t)row->numel)
            return rt_fail(SMKD_R_MISMATCH, "%s: predicts by \"%s\", which the program that is trained with has not so",
                           smkd_model_info(to->model)->name, row->name);
        enum smkd_result e = rt_program_bind(to, row->name, x->data);
        if (e != SMKD_R_OK) return e;
        x->lent = true;
    }
    return SMKD_R_OK;
}

void rt_tables_keep(const struct rt_tables *t, struct rt_kept *k) {
    for (size_t i = 0; i < t->n; i++)
        rt_keep(k, t->table[i].name, RT_F32, t->table[i].rank, t->table[i].dims, t->table[i].data, !t->table[i].lent);
}

void rt_tables_gather(const struct rt_tables *t, const int64_t *index, size_t n) {
    for (size_t i = 0; i < t->n; i++) {
        const struct rt_table *x = &t->table[i];
        for (size_t j = 0; j < n && !x->state; j++)
            memcpy(x->in + j * x->width, x->data + (size_t)index[j] * x->width, x->width * sizeof(float));
    }
}

void rt_tables_write(struct rt_tables *t, const int64_t *index, size_t n, int trained) {
    for (size_t i = 0; i < t->n; i++) {
        struct rt_table *x = &t->table[i];
        if (!x->written || (trained >= 0 && x->peer >= 0 && x->peer != trained)) continue;
        if (x->state) memcpy(x->data, x->out, x->width * sizeof(float));
        for (size_t j = 0; j < n && !x->state; j++)
            memcpy(x->data + (size_t)index[j] * x->width, x->out + j * x->width, x->width * sizeof(float));
    }
}
