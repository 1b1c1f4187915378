// Plain tensors that come from files or go to them.
#include "runtime.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// --- element types ---------------------------------------------------------------------------------------------------

// Element i of an array: true and *n for an integer that int64 holds, else false and *f.
typedef bool get_fn(const void *p, size_t i, int64_t *n, double *f);
typedef void put_fn(void *p, size_t i, int64_t n);

#define INTEGER(id, type)                                                                                              \
    static bool get_##id(const void *p, size_t i, int64_t *n, double *f) {                                             \
        (void)f;                                                                                                       \
        *n = ((const type *)p)[i];                                                                                     \
        return true;                                                                                                   \
    }                                                                                                                  \
    static void put_##id(void *p, size_t i, int64_t n) { ((type *)p)[i] = (type)n; }
INTEGER(i64, int64_t)
INTEGER(i32, int32_t)
INTEGER(i16, int16_t)
INTEGER(i8, int8_t)
INTEGER(u32, uint32_t)
INTEGER(u16, uint16_t)
INTEGER(u8, uint8_t)

static bool get_u64(const void *p, size_t i, int64_t *n, double *f) {
    uint64_t v = ((const uint64_t *)p)[i];
    *f = (double)v;
    *n = (int64_t)(v & INT64_MAX);
    return v <= INT64_MAX;
}
static void put_u64(void *p, size_t i, int64_t n) { ((uint64_t *)p)[i] = (uint64_t)n; }

static bool get_bool(const void *p, size_t i, int64_t *n, double *f) {
    (void)f;
    *n = ((const uint8_t *)p)[i] != 0;
    return true;
}

#define REAL(id, type, value)                                                                                          \
    static bool get_##id(const void *p, size_t i, int64_t *n, double *f) {                                             \
        type v = ((const type *)p)[i];                                                                                 \
        (void)n;                                                                                                       \
        *f = value;                                                                                                    \
        return false;                                                                                                  \
    }

// IEEE binary16: sign, 5 bits of exponent, 10 of fraction.
static double half(uint16_t h) {
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double v = exponent == 31  ? (fraction ? NAN : INFINITY)
               : exponent == 0 ? ldexp(fraction, -24)
                               : ldexp(1024 + fraction, exponent - 25);
    return h >> 15 ? -v : v;
}

// The upper half of a float32.
static double brain(uint16_t b) {
    uint32_t bits = (uint32_t)b << 16;
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static uint16_t to_half(double v) {
    const uint16_t sign = signbit(v) ? 0x8000 : 0;
    const double a = fabs(v);
    int e;
    if (isnan(v)) return sign | 0x7e00;
    if (a >= 65520) return sign | 0x7c00; // what rounds to 2^16
    frexp(a, &e);
    if (a < 0x1p-14) return sign | (uint16_t)nearbyint(ldexp(a, 24)); // a fraction of 1024 is the first normal number
    return sign | (uint16_t)((e + 14) * 1024 + (int)nearbyint(ldexp(a, 11 - e)) - 1024);
}

static uint16_t to_brain(double v) {
    const float f = (float)v;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if (isnan(f)) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

REAL(f64, double, v)
REAL(f32, float, v)
REAL(f16, uint16_t, half(v))
REAL(bf16, uint16_t, brain(v))

// By enum rt_dtype. put is NULL for what nothing is converted to or what is no integer.
static const struct dtype {
    const char *name;
    size_t size;
    get_fn *get;
    put_fn *put;
    int64_t min, max; // of integers
} dtypes[] = {
    [RT_F32] = {"float32", 4, get_f32, NULL, 0, 0},
    [RT_F64] = {"float64", 8, get_f64, NULL, 0, 0},
    [RT_I64] = {"int64", 8, get_i64, put_i64, INT64_MIN, INT64_MAX},
    [RT_I32] = {"int32", 4, get_i32, put_i32, INT32_MIN, INT32_MAX},
    [RT_U8] = {"uint8", 1, get_u8, put_u8, 0, UINT8_MAX},
    [RT_BOOL] = {"bool", 1, get_bool, put_u8, 0, 1},
    [RT_F16] = {"float16", 2, get_f16, NULL, 0, 0},
    [RT_BF16] = {"bfloat16", 2, get_bf16, NULL, 0, 0},
    [RT_I8] = {"int8", 1, get_i8, put_i8, INT8_MIN, INT8_MAX},
    [RT_I16] = {"int16", 2, get_i16, put_i16, INT16_MIN, INT16_MAX},
    [RT_U16] = {"uint16", 2, get_u16, put_u16, 0, UINT16_MAX},
    [RT_U32] = {"uint32", 4, get_u32, put_u32, 0, UINT32_MAX},
    [RT_U64] = {"uint64", 8, get_u64, put_u64, 0, INT64_MAX},
};

size_t rt_dtype_size(enum rt_dtype t) { return dtypes[t].size; }
const char *rt_dtype_name(enum rt_dtype t) { return dtypes[t].name; }
bool rt_dtype_is_integer(enum rt_dtype t) { return dtypes[t].put != NULL; }

// --- tensors ---------------------------------------------------------------------------------------------------------

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
    free(ts->by_name);
    free(ts->meta_by_name);
    *ts = (struct rt_tensors){0};
}

// The place in order[0..n) of the name `want`, or n. Names are what name_of says of an index.
static size_t look_up(const struct rt_tensors *ts, const size_t *order, size_t n,
                      const char *(*name_of)(const struct rt_tensors *ts, size_t i), const char *want) {
    size_t from = 0, to = n;
    while (order && from < to) {
        size_t mid = from + (to - from) / 2;
        int c = strcmp(name_of(ts, order[mid]), want);
        if (c == 0) return order[mid];
        if (c < 0)
            from = mid + 1;
        else
            to = mid;
    }
    for (size_t i = 0; !order && i < n; i++)
        if (name_of(ts, i) && strcmp(name_of(ts, i), want) == 0) return i;
    return n;
}

static const char *tensor_name(const struct rt_tensors *ts, size_t i) { return ts->t[i].name; }
static const char *meta_key(const struct rt_tensors *ts, size_t i) { return ts->meta_keys[i]; }

const struct rt_tensor *rt_tensors_find(const struct rt_tensors *ts, const char *name) {
    size_t i = look_up(ts, ts->by_name, ts->n, tensor_name, name);
    return i < ts->n ? &ts->t[i] : NULL;
}

const char *rt_tensors_meta(const struct rt_tensors *ts, const char *key) {
    size_t i = look_up(ts, ts->meta_by_name, ts->n_meta, meta_key, key);
    return i < ts->n_meta ? ts->meta_values[i] : NULL;
}

struct named {
    const char *name;
    size_t index;
};

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

// The indices 0..n in the order of their names; *twice is a name that occurs more than once, or NULL.
static size_t *sorted(const struct rt_tensors *ts, size_t n,
                      const char *(*name_of)(const struct rt_tensors *ts, size_t i), const char **twice) {
    struct named *names = xcalloc(n + 1, sizeof *names);
    size_t *order = xcalloc(n + 1, sizeof *order);
    for (size_t i = 0; i < n; i++) names[i] = (struct named){name_of(ts, i), i};
    qsort(names, n, sizeof *names, by_name);
    *twice = NULL;
    for (size_t i = 0; i < n; i++) {
        order[i] = names[i].index;
        if (i && strcmp(names[i].name, names[i - 1].name) == 0) *twice = names[i].name;
    }
    free(names);
    return order;
}

enum smkd_result rt_tensors_sort(const char *path, struct rt_tensors *ts) {
    const char *twice;
    ts->by_name = sorted(ts, ts->n, tensor_name, &twice);
    if (twice) return rt_fail(SMKD_R_INVALID, "%s: tensor \"%s\" appears twice", path, twice);
    ts->meta_by_name = sorted(ts, ts->n_meta, meta_key, &twice);
    if (twice) return rt_fail(SMKD_R_INVALID, "%s: metadata \"%s\" appears twice", path, twice);
    return SMKD_R_OK;
}

void rt_tensors_add_meta(struct rt_tensors *ts, const char *key, const char *value) {
    free(ts->meta_by_name);
    ts->meta_by_name = NULL;
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

// --- conversion ------------------------------------------------------------------------------------------------------

// Real numbers that are integers; -2^63 <= f < 2^63 makes the conversion defined.
static bool whole(double f, int64_t *n) {
    if (!(f >= -0x1p63 && f < 0x1p63) || f != floor(f)) return false;
    *n = (int64_t)f;
    return true;
}

static enum smkd_result convert_one(const struct rt_tensor *t, size_t i, enum rt_dtype to, void *out, const char *path,
                                    const char *what) {
    int64_t n = 0;
    double f = 0;
    bool is_int = dtypes[t->dtype].get(t->data, i, &n, &f);
    if (!dtypes[to].put) {
        if (is_int) f = (double)n;
        if (to == RT_F64)
            ((double *)out)[i] = f;
        else if (to == RT_F16 || to == RT_BF16)
            ((uint16_t *)out)[i] = to == RT_F16 ? to_half(f) : to_brain(f);
        else if (isfinite(f) && !isfinite((float)f))
            return rt_fail(SMKD_R_INVALID, "%s: %s %zu is %.9g, which float32 does not hold", path, what, i, f);
        else
            ((float *)out)[i] = (float)f;
        return SMKD_R_OK;
    }
    if (!is_int && !whole(f, &n))
        return rt_fail(SMKD_R_INVALID, "%s: %s %zu is %.9g, expected a whole number%s", path, what, i,
                       isnan(f) ? NAN : f, isfinite(f) && fabs(f) >= 0x1p63 ? " of 64 bits" : "");
    if (n < dtypes[to].min || n > dtypes[to].max)
        return rt_fail(SMKD_R_INVALID, "%s: %s %zu is %lld, which %s does not hold", path, what, i, (long long)n,
                       dtypes[to].name);
    dtypes[to].put(out, i, n);
    return SMKD_R_OK;
}

enum smkd_result rt_tensor_convert(struct rt_tensor *t, enum rt_dtype to, const char *path, const char *what) {
    if (t->dtype == to) return SMKD_R_OK;
    size_t bytes = t->numel * dtypes[to].size;
    void *out = aligned_alloc(64, (bytes + 64) / 64 * 64);
    if (!out) return rt_fail(SMKD_R_NOMEM, "%s: out of memory for %zu bytes", path, bytes);
    enum smkd_result r = SMKD_R_OK;
    for (size_t i = 0; i < t->numel && r == SMKD_R_OK; i++) r = convert_one(t, i, to, out, path, what);
    if (r != SMKD_R_OK) {
        free(out);
        return r;
    }
    if (!t->borrowed) free(t->data);
    t->data = out;
    t->borrowed = false;
    t->dtype = to;
    t->bytes = bytes;
    return SMKD_R_OK;
}
