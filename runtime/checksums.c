// Checksums of a safetensors file, in its metadata: "checksum.NAME" of each tensor, and "checksum." of the metadata
// itself.
#include "runtime.h"

#include <stdlib.h>
#include <string.h>

#define SUM_PREFIX "checksum."
enum { SUM_TEXT = 17 };

static void sum_text(uint64_t sum, char text[SUM_TEXT]) {
    snprintf(text, SUM_TEXT, "%016llx", (unsigned long long)sum);
}

// Of everything in the metadata but this sum itself, whatever its order.
static uint64_t metadata_sum(const struct rt_tensors *f) {
    uint64_t all = 0;
    for (size_t i = 0; i < f->n_meta; i++) {
        if (strcmp(f->meta_keys[i], SUM_PREFIX) == 0) continue;
        uint64_t h = fnv1a(FNV_INIT, f->meta_keys[i], strlen(f->meta_keys[i]) + 1);
        all += fnv1a(h, f->meta_values[i], strlen(f->meta_values[i]));
    }
    return all;
}

// A tensor's elements, and what they are elements of.
static uint64_t tensor_sum(const struct rt_tensor *t) {
    uint64_t h = checksum64(t->data, t->bytes);
    h = fnv1a(h, &t->dtype, sizeof t->dtype);
    return fnv1a(h, t->dims, (size_t)t->rank * sizeof *t->dims);
}

void rt_tensors_add_sums(struct rt_tensors *f) {
    char text[SUM_TEXT];
    struct str key = STR_INIT;
    for (size_t i = 0; i < f->n; i++) {
        str_clear(&key);
        str_addf(&key, SUM_PREFIX "%s", f->t[i].name);
        sum_text(tensor_sum(&f->t[i]), text);
        rt_tensors_add_meta(f, key.s, text);
    }
    str_release(&key);
    sum_text(metadata_sum(f), text);
    rt_tensors_add_meta(f, SUM_PREFIX, text);
}

static enum smkd_result damaged(const char *path, const char *what, const char *name) {
    return rt_fail(
        SMKD_R_INVALID,
        "%s: is damaged: %s%s%s%s is not what was written; take another copy of the file, or start again with "
        "--overwrite",
        path, what, name ? " \"" : "", name ? name : "", name ? "\"" : "");
}

// Whether `key` is that of the sum of a tensor.
static bool is_sum_of(const char *key, const char *name) {
    return str_has_prefix(key, SUM_PREFIX) && strcmp(key + strlen(SUM_PREFIX), name) == 0;
}

enum smkd_result rt_tensors_check_sums(const char *path, struct rt_tensors *f) {
    char text[SUM_TEXT];
    const char *whole = rt_tensors_meta(f, SUM_PREFIX);
    size_t sums = 0;
    for (size_t i = 0; i < f->n_meta; i++) sums += str_has_prefix(f->meta_keys[i], SUM_PREFIX);
    f->unchecked = sums == 0;
    if (f->unchecked) return SMKD_R_OK;
    sum_text(metadata_sum(f), text);
    if (!whole || strcmp(whole, text) != 0) return damaged(path, "its metadata", NULL);
    if (sums != f->n + 1) return damaged(path, "its list of tensors", NULL);
    // In the order in which they were written, so that no name has to be looked for.
    size_t at = 0;
    for (size_t i = 0; i < f->n; i++) {
        while (at < f->n_meta &&
               (!str_has_prefix(f->meta_keys[at], SUM_PREFIX) || strcmp(f->meta_keys[at], SUM_PREFIX) == 0))
            at++;
        const struct rt_tensor *t = &f->t[i];
        const char *want = at < f->n_meta && is_sum_of(f->meta_keys[at], t->name) ? f->meta_values[at] : NULL;
        for (size_t k = 0; !want && k < f->n_meta; k++)
            if (is_sum_of(f->meta_keys[k], t->name)) want = f->meta_values[k];
        at++;
        sum_text(tensor_sum(t), text);
        if (!want || strcmp(want, text) != 0) return damaged(path, "tensor", t->name);
    }
    return SMKD_R_OK;
}
