// Face of the runtime towards tools/ and the tests: what the public header has, and the parts that make up training.
#ifndef SMKD_RT_H
#define SMKD_RT_H

#include "../base/base.h"
#include "include/smkd_runtime.h"

// --- error text (runtime/error.c) ----------------------------------------------------------------------------------
// Sets smkd_last_error and returns `r`, so that `return rt_fail(SMKD_R_IO, "...")` reads well.
enum smkd_result rt_fail(enum smkd_result r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
enum smkd_result rt_result(enum smkd_status s); // what a C program is told for a status of base/

// An artifact that was used before: its content hash, as text, and words for messages.
struct rt_known {
    const char *hash, *what, *option; // what: "the one that ...", option: "--artifact"
};
// smkd_model_load of a file that must be this one, which is known before any of its code runs.
smkd_model *rt_model_load_known(const char *path, const struct rt_known *known);
// smkd_load_weights that also tells whether the file has no checksums to compare its numbers with.
enum smkd_result rt_load_weights(smkd_model *m, const char *path, const char *prefix, bool *unchecked);

// Cores that this process may use: what a team of 0 threads takes (team.c).
int rt_cores(void);

// --- plain tensors and their files (runtime/tensor.c, npy.c, safetensors.c) ------------------------------------------
// The first six are what artifacts have; the others are read from files and converted.
enum rt_dtype {
    RT_F32,
    RT_F64,
    RT_I64,
    RT_I32,
    RT_U8,
    RT_BOOL,
    RT_F16,
    RT_BF16,
    RT_I8,
    RT_I16,
    RT_U16,
    RT_U32,
    RT_U64
};
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
const char *rt_dtype_name(enum rt_dtype t); // numpy's
bool rt_dtype_is_integer(enum rt_dtype t);  // bool included
// Makes the elements those of another type. Integers stay what they are: a fraction, a NaN or a
// number that `to` does not hold is refused by its place, "PATH: WHAT 17 is 2.5, ...", and the tensor left alone. To
// float32 values are rounded to nearest; finite ones beyond its range are refused. To 16 bits they are rounded to
// nearest even, past the largest to infinity.
enum smkd_result rt_tensor_convert(struct rt_tensor *t, enum rt_dtype to, const char *path, const char *what);
// .npy versions 1-3: booleans, integers of 8 to 64 bits, floats of 16 to 64 bits, either byte order, C or Fortran
// order; *out is little endian in C order. Everything is checked before it is used. What else is found there (a pickle,
// a PyTorch file, text) is named with the way to convert it; nothing in a file is ever run.
enum smkd_result rt_npy_read(const char *path, struct rt_tensor *out);
// The same for a file's bytes that are in memory already; `path` is for messages.
enum smkd_result rt_npy_parse(const char *path, const void *bytes, size_t size, struct rt_tensor *out);
// The same without a copy where the bytes are already as *out would have them: it then borrows them.
enum smkd_result rt_npy_view(const char *path, const void *bytes, size_t size, struct rt_tensor *out);
enum smkd_result rt_npy_write(const char *path, const struct rt_tensor *t);
// What a file is by its first bytes, "a PyTorch file" for instance; NULL for text, safetensors and what is not known.
const char *rt_format_name(const void *bytes, size_t size);
// safetensors: F64 F32 F16 BF16, I64 to I8, U64 to U8, BOOL. `meta` is a flat list of n_meta key/value strings.
struct rt_tensors {
    struct rt_tensor *t;
    size_t n;
    char **meta_keys, **meta_values;
    size_t n_meta;
    size_t *by_name, *meta_by_name; // both in the order of their names, where they were read; NULL: not sorted
    bool unchecked;                 // was read, and had no checksums to be compared with
};
void rt_tensors_release(struct rt_tensors *ts);
const struct rt_tensor *rt_tensors_find(const struct rt_tensors *ts, const char *name);
const char *rt_tensors_meta(const struct rt_tensors *ts, const char *key);
void rt_tensors_add_meta(struct rt_tensors *ts, const char *key, const char *value); // copies both
// After reading, before looking for names: sorts them, so that looking for all takes n log n. Names that occur twice
// are refused.
enum smkd_result rt_tensors_sort(const char *path, struct rt_tensors *ts);
// Adds checksums of all tensors and of the metadata so far to the metadata; and compares those that are there
// (checksums.c).
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
