// Between how an ONNX file has inputs and outputs and how an artifact does: the place of the batch, 16-bit floats.
#include "run_io.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

static cJSON *notes_of(const smkd_model *m) {
    const char *notes = smkd_model_info(m)->notes;
    return notes ? cJSON_Parse(notes) : NULL;
}

static bool named(const cJSON *o, const char *role, const char *name) {
    const cJSON *r = cJSON_GetObjectItem(o, "role"), *n = cJSON_GetObjectItem(o, "name");
    return cJSON_IsString(r) && cJSON_IsString(n) && !strcmp(r->valuestring, role) && !strcmp(n->valuestring, name);
}

// Nothing in an artifact's notes is trusted: a form has to be a way to order the row's elements.
static bool read_form(const cJSON *o, const struct smkd_abi_tensor *row, struct run_form *f) {
    const cJSON *dims = cJSON_GetObjectItem(o, "dims"), *outer = cJSON_GetObjectItem(o, "outer"),
                *dtype = cJSON_GetObjectItem(o, "dtype");
    const int rank = cJSON_GetArraySize(dims);
    double numel = 1, of_row = 1;
    *f = (struct run_form){.rank = rank, .half = RT_F32};
    if (!cJSON_IsArray(dims) || rank < 0 || rank > SMKD_ABI_MAX_RANK || !cJSON_IsNumber(outer)) return false;
    for (int i = 0; i < rank; i++) {
        const double d = cJSON_GetArrayItem(dims, i)->valuedouble;
        if (!(d > -0x1p40 && d < 0x1p40)) return false;
        f->dims[i] = (int64_t)d;
        numel *= d < 0 ? -d : d;
    }
    for (uint32_t i = 0; i < row->rank; i++) of_row *= (double)(row->dims[i] < 0 ? -row->dims[i] : row->dims[i]);
    const double blocks = outer->valuedouble;
    if (numel != of_row || !(blocks >= 1 && blocks <= numel) || (double)row->numel != of_row) return false;
    f->outer = (int64_t)blocks;
    if (f->outer < 1 || row->numel % (uint64_t)f->outer) return false;
    if (cJSON_IsString(dtype)) f->half = !strcmp(dtype->valuestring, "float16") ? RT_F16 : RT_BF16;
    return f->half == RT_F32 || row->dtype == SMKD_ABI_F32;
}

static bool find_form(const cJSON *notes, const struct smkd_abi_tensor *row, struct run_form *f) {
    const bool in = row->role == SMKD_ABI_INPUT || row->role == SMKD_ABI_GRAD_INPUT;
    const cJSON *forms = cJSON_GetObjectItem(notes, SMKD_NOTE_FORMS), *o;
    cJSON_ArrayForEach(o, forms) if (named(o, in ? "input" : "output", row->name) && read_form(o, row, f)) return true;
    return false;
}

bool run_form_of(const smkd_model *m, const struct smkd_abi_tensor *row, struct run_form *f) {
    cJSON *notes = notes_of(m);
    const bool found = find_form(notes, row, f);
    cJSON_Delete(notes);
    return found;
}

bool run_given(const smkd_model *m, const char *input, struct str *s) {
    cJSON *notes = notes_of(m);
    const cJSON *v = cJSON_GetObjectItem(cJSON_GetObjectItem(notes, SMKD_NOTE_GIVEN), input);
    const bool found = cJSON_IsString(v);
    if (found) str_add(s, v->valuestring);
    cJSON_Delete(notes);
    return found;
}

bool run_given_next(const char **elements, bool *batch, double *v) {
    char text[40] = "";
    const size_t n = strcspn(*elements, ",");
    if (n < sizeof text) memcpy(text, *elements, n);
    *elements += n + ((*elements)[n] == ',');
    *batch = !strcmp(text, "N");
    return *batch || parse_f64(text, v);
}

// Swaps the two leading axes of [a][b][block bytes].
static enum smkd_result swap_leading(struct rt_tensor *t, size_t a, size_t b) {
    if (a == 1 || b == 1 || t->bytes == 0) return SMKD_R_OK;
    const size_t block = t->bytes / (a * b);
    char *out = aligned_alloc(64, (t->bytes + 64) / 64 * 64);
    if (!out) return rt_fail(SMKD_R_NOMEM, "out of memory for %zu bytes", t->bytes);
    for (size_t i = 0; i < a; i++)
        for (size_t k = 0; k < b; k++)
            memcpy(out + (k * a + i) * block, (const char *)t->data + (i * b + k) * block, block);
    if (!t->borrowed) free(t->data);
    t->data = out;
    t->borrowed = false;
    return SMKD_R_OK;
}

enum smkd_result run_form_enter(struct rt_tensor *t, const struct smkd_abi_tensor *row, const struct run_form *f,
                                int64_t batch) {
    t->rank = (int)row->rank;
    for (uint32_t i = 0; i < row->rank; i++) t->dims[i] = row->dims[i] < 0 ? -row->dims[i] * batch : row->dims[i];
    return swap_leading(t, (size_t)f->outer, (size_t)batch);
}

enum smkd_result run_form_leave(struct rt_tensor *t, const struct run_form *f, int64_t batch) {
    t->rank = f->rank;
    for (int i = 0; i < f->rank; i++) t->dims[i] = f->dims[i] < 0 ? -f->dims[i] * batch : f->dims[i];
    const enum smkd_result r = swap_leading(t, (size_t)batch, (size_t)f->outer);
    return r == SMKD_R_OK && f->half != RT_F32 ? rt_tensor_convert(t, f->half, t->name, "element") : r;
}

enum smkd_result run_forms_leave(struct rt_tensors *ts, const smkd_model *m, enum smkd_abi_role role,
                                 const char *prefix, int64_t batch) {
    const struct smkd_abi_tensor *row;
    enum smkd_result r = SMKD_R_OK;
    cJSON *notes = notes_of(m);
    for (size_t i = 0; r == SMKD_R_OK && (row = smkd_model_nth(m, role, i)); i++) {
        struct str name = STR_INIT;
        struct run_form f;
        str_addf(&name, "%s%s", prefix, row->name);
        for (size_t k = 0; k < ts->n; k++)
            if (!strcmp(ts->t[k].name, name.s) && find_form(notes, row, &f)) r = run_form_leave(&ts->t[k], &f, batch);
        str_release(&name);
    }
    cJSON_Delete(notes);
    return r;
}
