#include "keep.h"

#include <stdlib.h>
#include <string.h>

static void *room(void *list, size_t n, size_t *cap, size_t size) {
    if (n < *cap) return list;
    *cap = *cap ? 2 * *cap : 64;
    return xrealloc(list, *cap * size);
}

void rt_keep(struct rt_kept *k, const char *name, enum rt_dtype dtype, int rank, const int64_t *dims, void *data,
             bool state) {
    k->tensor = room(k->tensor, k->n_tensors, &k->cap_tensors, sizeof *k->tensor);
    struct rt_kept_tensor *t = &k->tensor[k->n_tensors++];
    *t = (struct rt_kept_tensor){
        .name = xstrdup(name), .dtype = dtype, .rank = rank, .numel = 1, .data = data, .state = state};
    for (int i = 0; i < rank; i++) {
        t->dims[i] = dims[i];
        t->numel *= (size_t)dims[i];
    }
}

static struct rt_kept_number *add_number(struct rt_kept *k, const char *key) {
    k->number = room(k->number, k->n_numbers, &k->cap_numbers, sizeof *k->number);
    struct rt_kept_number *n = &k->number[k->n_numbers++];
    n->key = xstrdup(key);
    return n;
}

void rt_keep_whole(struct rt_kept *k, const char *key, int64_t *at, double min, double max, bool optional) {
    struct rt_kept_number *n = add_number(k, key);
    *n = (struct rt_kept_number){.key = n->key, .whole = true, .min = min, .max = max, .at = at, .optional = optional};
}

void rt_keep_number(struct rt_kept *k, const char *key, double *at, double min, double max, bool optional) {
    struct rt_kept_number *n = add_number(k, key);
    *n = (struct rt_kept_number){.key = n->key, .min = min, .max = max, .at = at, .optional = optional};
}

static enum rt_dtype to_rt(uint32_t abi) {
    static const enum rt_dtype map[SMKD_ABI_DTYPES] = {
        [SMKD_ABI_F32] = RT_F32,   [SMKD_ABI_I64] = RT_I64, [SMKD_ABI_I32] = RT_I32, [SMKD_ABI_U8] = RT_U8,
        [SMKD_ABI_BOOL] = RT_BOOL, [SMKD_ABI_F64] = RT_F64, [SMKD_ABI_I8] = RT_I8,   [SMKD_ABI_I16] = RT_I16,
        [SMKD_ABI_U16] = RT_U16,   [SMKD_ABI_U32] = RT_U32, [SMKD_ABI_U64] = RT_U64};
    return map[abi];
}

void rt_keep_rows(struct rt_kept *k, const char *prefix, int peer, const smkd_model *m, enum smkd_abi_role role,
                  void *block, bool state) {
    const struct smkd_abi_tensor *t;
    struct str name = STR_INIT;
    for (size_t i = 0; (t = smkd_model_nth(m, role, i)); i++) {
        str_clear(&name);
        str_addf(&name, "%s.%d.%s", prefix, peer, t->name);
        rt_keep(k, name.s, to_rt(t->dtype), (int)t->rank, t->dims, (char *)block + t->offset, state);
    }
    str_release(&name);
}

void rt_kept_release(struct rt_kept *k) {
    for (size_t i = 0; i < k->n_tensors; i++) free(k->tensor[i].name);
    for (size_t i = 0; i < k->n_numbers; i++) free(k->number[i].key);
    free(k->tensor);
    free(k->number);
    *k = (struct rt_kept){0};
}
