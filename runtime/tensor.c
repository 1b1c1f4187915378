// Plain tensors that come from files or go to them.
#include "runtime.h"

#include <stdlib.h>
#include <string.h>

static const size_t sizes[] = {[RT_F32] = 4, [RT_F64] = 8, [RT_I64] = 8, [RT_I32] = 4, [RT_U8] = 1, [RT_BOOL] = 1};

size_t rt_dtype_size(enum rt_dtype t) { return sizes[t]; }

void rt_tensor_release(struct rt_tensor *t) {
    if (!t->borrowed) free(t->data);
    free(t->name);
    *t = (struct rt_tensor){0};
}

void rt_tensors_release(struct rt_tensors *ts) {
    for (size_t i = 0; i < ts->n; i++) rt_tensor_release(&ts->t[i]);
    for (size_t i = 0; i < ts->n_meta; i++) {
        free(ts->meta_keys[i]);
        free(ts->meta_values[i]);
    }
    free(ts->t);
    free(ts->meta_keys);
    free(ts->meta_values);
    *ts = (struct rt_tensors){0};
}

const struct rt_tensor *rt_tensors_find(const struct rt_tensors *ts, const char *name) {
    for (size_t i = 0; i < ts->n; i++)
        if (ts->t[i].name && strcmp(ts->t[i].name, name) == 0) return &ts->t[i];
    return NULL;
}

const char *rt_tensors_meta(const struct rt_tensors *ts, const char *key) {
    for (size_t i = 0; i < ts->n_meta; i++)
        if (strcmp(ts->meta_keys[i], key) == 0) return ts->meta_values[i];
    return NULL;
}

void rt_tensors_add_meta(struct rt_tensors *ts, const char *key, const char *value) {
    const char *const texts[2] = {key, value};
    char **lists[2] = {ts->meta_keys, ts->meta_values};
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(texts[i]) + 1;
        lists[i] = xrealloc(lists[i], (ts->n_meta + 1) * sizeof *lists[i]);
        lists[i][ts->n_meta] = memcpy(xmalloc(n), texts[i], n);
    }
    ts->meta_keys = lists[0];
    ts->meta_values = lists[1];
    ts->n_meta++;
}
