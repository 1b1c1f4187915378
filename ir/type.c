// Types: dtypes, dims with the symbolic batch, physical order.
#include "ir.h"

#include <inttypes.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[IR_DTYPE_COUNT] = {
    [IR_F32] = {"f32", 4}, [IR_I64] = {"i64", 8},   [IR_I32] = {"i32", 4},
    [IR_U8] = {"u8", 1},   [IR_BOOL] = {"bool", 1}, [IR_F64] = {"f64", 8},
};

size_t ir_dtype_size(enum ir_dtype t) {
    CHECK((unsigned)t < IR_DTYPE_COUNT, "dtype %d", (int)t);
    return dtypes[t].size;
}

size_t ir_stored_size(const struct ir_type *t) { return t->narrow ? 2 : ir_dtype_size(t->dtype); }

const char *ir_dtype_name(enum ir_dtype t) { return (unsigned)t < IR_DTYPE_COUNT ? dtypes[t].name : "?"; }

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
