// Face of the runtime towards tools/ and the tests: what the public header has, and the parts that make up training.
#ifndef SMKD_RT_H
#define SMKD_RT_H

#include "../base/base.h"
#include "include/smkd_runtime.h"

// --- error text (runtime/error.c) ----------------------------------------------------------------------------------
// Sets smkd_last_error and returns `r`, so that `return rt_fail(SMKD_R_IO, "...")` reads well.
enum smkd_result rt_fail(enum smkd_result r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// --- plain tensors and their files (runtime/tensor.c, npy.c, safetensors.c) ------------------------------------------
enum rt_dtype { RT_F32, RT_F64, RT_I64, RT_I32, RT_U8, RT_BOOL };
struct rt_tensor {
    char *name; // NULL for an .npy
    enum rt_dtype dtype;
    int rank;
    int64_t dims[SMKD_ABI_MAX_RANK];
    size_t numel, bytes;
    void *data; // owned (64-aligned) unless borrowed
    bool borrowed;
};
void rt_tensor_release(struct rt_tensor *t);
size_t rt_dtype_size(enum rt_dtype t);
// .npy versions 1-3, C order, little endian, f4 f8 i8 i4 u1 b1. Everything is checked before it is used.
enum smkd_result rt_npy_read(const char *path, struct rt_tensor *out);
enum smkd_result rt_npy_write(const char *path, const struct rt_tensor *t);
// safetensors: F32 F64 I64 I32 U8 BOOL. `meta` is a flat list of n_meta key/value strings.
struct rt_tensors {
    struct rt_tensor *t;
    size_t n;
    char **meta_keys, **meta_values;
    size_t n_meta;
    bool unchecked; // was read, and had no checksums to be compared with
};
void rt_tensors_release(struct rt_tensors *ts);
const struct rt_tensor *rt_tensors_find(const struct rt_tensors *ts, const char *name);
const char *rt_tensors_meta(const struct rt_tensors *ts, const char *key);
void rt_tensors_add_meta(struct rt_tensors *ts, const char *key, const char *value); // copies both
// Adds checksums of all tensors and of the metadata so far to the metadata; and compares those that are there (checksums.c).
void rt_tensors_add_sums(struct rt_tensors *ts);
enum smkd_result rt_tensors_check_sums(const char *path, struct rt_tensors *ts);
// Also compares checksums, where the file has them.
enum smkd_result rt_safetensors_read(const char *path, struct rt_tensors *out);
// Complete or not at all (temporary file + rename). Tensors in the given order.
enum smkd_result rt_safetensors_write(const char *path, const struct rt_tensors *ts);

// --- random numbers (runtime/rng.c) ----------------------------------------------------------------------------------
// Counter-based (Philox4x32-10): stream `key`, position `counter`. State is just the two numbers, so resume is exact.
struct rt_rng {
    uint64_t key, stream, counter;
    uint32_t buf[4];
    int left;
};
void rt_rng_init(struct rt_rng *r, uint64_t seed, uint64_t stream);
uint32_t rt_rng_u32(struct rt_rng *r);
double rt_rng_uniform(struct rt_rng *r);                       // [0,1), 53 bits
uint64_t rt_rng_below(struct rt_rng *r, uint64_t n);           // unbiased
void rt_rng_shuffle(struct rt_rng *r, int64_t *idx, size_t n); // Fisher-Yates

// --- data (runtime/data*.c, noise.c, augment.c, loader.c): see data.h; training (train.c): see train.h ---------------
#endif
