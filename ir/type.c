// Types: dtypes, dims with the symbolic batch, physical order.
#include "ir.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum kind { FLOATING, SIGNED, UNSIGNED, TRUTH };
static const struct {
    const char *name;
    size_t size;
    enum kind kind;
} dtypes[IR_DTYPE_COUNT] = {
    [IR_F32] = {"f32", 4, FLOATING}, [IR_I64] = {"i64", 8, SIGNED},   [IR_I32] = {"i32", 4, SIGNED},
    [IR_U8] = {"u8", 1, UNSIGNED},   [IR_BOOL] = {"bool", 1, TRUTH},  [IR_F64] = {"f64", 8, FLOATING},
    [IR_I8] = {"i8", 1, SIGNED},     [IR_I16] = {"i16", 2, SIGNED},   [IR_U16] = {"u16", 2, UNSIGNED},
    [IR_U32] = {"u32", 4, UNSIGNED}, [IR_U64] = {"u64", 8, UNSIGNED},
};

size_t ir_dtype_size(enum ir_dtype t) {
    CHECK((unsigned)t < IR_DTYPE_COUNT, "dtype %d", (int)t);
    return dtypes[t].size;
}

size_t ir_stored_size(const struct ir_type *t) { return t->narrow ? 2 : ir_dtype_size(t->dtype); }

const char *ir_dtype_name(enum ir_dtype t) { return (unsigned)t < IR_DTYPE_COUNT ? dtypes[t].name : "?"; }

bool ir_dtype_by_name(const char *s, enum ir_dtype *out) {
    for (int t = 0; t < IR_DTYPE_COUNT; t++)
        if (!strcmp(s, dtypes[t].name)) {
            *out = (enum ir_dtype)t;
            return true;
        }
    return false;
}

bool ir_is_float(enum ir_dtype t) { return dtypes[t].kind == FLOATING; }
bool ir_is_int(enum ir_dtype t) { return dtypes[t].kind == SIGNED || dtypes[t].kind == UNSIGNED; }
bool ir_is_signed(enum ir_dtype t) { return dtypes[t].kind == SIGNED; }

// --- integers ------------------------------------------------------------------------------------------------------

static int bits(enum ir_dtype t) { return (int)dtypes[t].size * 8; }

int64_t ir_wrap_int(enum ir_dtype t, int64_t v) {
    if (t == IR_BOOL) return v != 0;
    if (bits(t) == 64) return v;
    uint64_t mask = (UINT64_C(1) << bits(t)) - 1, u = (uint64_t)v & mask;
    return ir_is_signed(t) && u >> (bits(t) - 1) ? -(int64_t)(mask - u) - 1 : (int64_t)u;
}

int64_t ir_int_min(enum ir_dtype t) { return ir_is_signed(t) ? -ir_int_max(t) - 1 : 0; }

int64_t ir_int_max(enum ir_dtype t) {
    if (t == IR_BOOL) return 1;
    return (int64_t)(UINT64_MAX >> (64 - bits(t) + ir_is_signed(t)));
}

int ir_int_compare(enum ir_dtype t, int64_t a, int64_t b) {
    return ir_is_signed(t) ? (a > b) - (a < b) : ((uint64_t)a > (uint64_t)b) - ((uint64_t)a < (uint64_t)b);
}

double ir_int_to_float(enum ir_dtype t, int64_t v, enum ir_dtype to) {
    if (to == IR_F32) return ir_is_signed(t) ? (double)(float)v : (double)(float)(uint64_t)v;
    return ir_is_signed(t) ? (double)v : (double)(uint64_t)v;
}

int64_t ir_int_of_float(enum ir_dtype t, double x) {
    if (t == IR_BOOL) return x != 0;
    if (isnan(x)) return 0;
    double limit = ldexp(1, bits(t) - ir_is_signed(t)); // one past the largest
    if (x >= limit) return ir_int_max(t);
    if (x <= (ir_is_signed(t) ? -limit : 0)) return ir_int_min(t);
    return ir_is_signed(t) ? (int64_t)x : (int64_t)(uint64_t)x;
}

int64_t ir_int_div(enum ir_dtype t, int64_t a, int64_t b) {
    if (b == 0) return 0;
    if (!ir_is_signed(t)) return (int64_t)((uint64_t)a / (uint64_t)b);
    return ir_wrap_int(t, b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b);
}

int64_t ir_int_rem(enum ir_dtype t, int64_t a, int64_t b) {
    return b == 0 ? 0 : (int64_t)((uint64_t)a - (uint64_t)ir_int_div(t, a, b) * (uint64_t)b);
}

int64_t ir_int_pow(enum ir_dtype t, int64_t a, int64_t b) {
    if (ir_is_signed(t) && b < 0) return a == 1 || (a == -1 && b % 2 == 0) ? 1 : a == -1 ? -1 : 0;
    uint64_t r = 1, f = (uint64_t)a;
    for (uint64_t e = (uint64_t)b; e; e >>= 1) {
        if (e & 1) r *= f;
        f *= f;
    }
    return ir_wrap_int(t, (int64_t)r);
}

// --- elements ------------------------------------------------------------------------------------------------------

int64_t ir_get_int(enum ir_dtype t, const void *data, size_t i) {
    uint64_t u = 0; // little-endian, as everything this project runs on
    memcpy(&u, (const char *)data + i * dtypes[t].size, dtypes[t].size);
    return ir_wrap_int(t, (int64_t)u);
}

double ir_get_float(enum ir_dtype t, const void *data, size_t i) {
    return t == IR_F64 ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

void ir_put_int(enum ir_dtype t, void *data, size_t i, int64_t v) {
    memcpy((char *)data + i * dtypes[t].size, &v, dtypes[t].size);
}

void ir_put_float(enum ir_dtype t, void *data, size_t i, double v) {
    if (t == IR_F64)
        ((double *)data)[i] = v;
    else
        ((float *)data)[i] = (float)v;
}

// --- 16 bits -------------------------------------------------------------------------------------------------------

static const struct ir_half_info halves[] = {
    [IR_HALF_F16] = {"f16", 11, -14, 65504},
    [IR_HALF_BF16] = {"bf16", 8, -126, 0x1.FEp127},
};

const struct ir_half_info *ir_half_info(enum ir_half h) { return &halves[h]; }

enum ir_half ir_half_by_name(const char *s) {
    for (int h = IR_HALF_F16; h <= IR_HALF_BF16; h++)
        if (!strcmp(s, halves[h].name)) return (enum ir_half)h;
    return IR_HALF_NONE;
}

double ir_round_half(enum ir_half h, double x) {
    if (h == IR_HALF_NONE || !isfinite(x) || x == 0) return x;
    int e = ilogb(x) < halves[h].least_exp ? halves[h].least_exp : ilogb(x);
    double unit = ldexp(1, e - halves[h].digits + 1), q = x / unit, r = nearbyint(q) * unit;
    return fabs(r) > halves[h].largest ? copysign(INFINITY, x) : copysign(r, x);
}

struct ir_type ir_type_make(enum ir_dtype t, int rank, const int64_t *dims) {
    CHECK(rank >= 0 && rank <= IR_MAX_RANK, "rank %d", rank);
    struct ir_type r = {.dtype = t, .rank = (uint8_t)rank};
    for (int i = 0; i < rank; i++) {
        r.perm[i] = (uint8_t)i;
        r.dims[i] = dims[i];
    }
    return r;
}

struct ir_type ir_scalar_type(enum ir_dtype t) { return ir_type_make(t, 0, NULL); }

bool ir_same_dims(const struct ir_type *a, const struct ir_type *b) {
    return a->rank == b->rank && !memcmp(a->dims, b->dims, a->rank * sizeof a->dims[0]);
}

bool ir_type_equal(const struct ir_type *a, const struct ir_type *b) {
    return a->dtype == b->dtype && a->narrow == b->narrow && ir_same_dims(a, b) && !memcmp(a->perm, b->perm, a->rank);
}

bool ir_is_row_major(const struct ir_type *t) {
    for (int i = 0; i < t->rank; i++) {
        if (t->perm[i] != i) return false;
    }
    return true;
}

bool ir_is_batched(const struct ir_type *t) {
    for (int i = 0; i < t->rank; i++) {
        if (t->dims[i] < 0) return true;
    }
    return false;
}

int64_t ir_numel(const struct ir_type *t) {
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->dims[i] < 0 ? -t->dims[i] : t->dims[i];
    return n;
}

void ir_strides(const struct ir_type *t, int64_t strides[IR_MAX_RANK]) {
    int64_t step = 1;
    for (int p = t->rank - 1; p >= 0; p--) {
        int64_t d = t->dims[t->perm[p]];
        CHECK(d >= 0 || p == 0, "the batch dimension is at physical position %d", p);
        strides[t->perm[p]] = step;
        step *= d < 0 ? -d : d;
    }
}

const char *ir_dim_text(int64_t d, char *buf) {
    if (d == IR_N)
        snprintf(buf, 24, "N");
    else if (d < 0)
        snprintf(buf, 24, "%" PRIu64 "N", 0 - (uint64_t)d);
    else
        snprintf(buf, 24, "%" PRId64, d);
    return buf;
}
