#include "ops_util.h"

#include <inttypes.h>
#include <string.h>

// --- messages ------------------------------------------------------------------------------------------------------

struct ir_text ir_type_text(const struct ir_type *t) {
    struct ir_text r;
    size_t at = (size_t)snprintf(r.s, sizeof r.s, "%s[", ir_dtype_name(t->dtype));
    for (int i = 0; i < t->rank && at < sizeof r.s; i++) {
        char d[24];
        at += (size_t)snprintf(r.s + at, sizeof r.s - at, "%s%s", i ? "," : "", ir_dim_text(t->dims[i], d));
    }
    if (at < sizeof r.s) snprintf(r.s + at, sizeof r.s - at, "]");
    return r;
}

struct ir_text ir_ints_text(const int64_t *v, size_t n) {
    struct ir_text r;
    size_t at = (size_t)snprintf(r.s, sizeof r.s, "[");
    for (size_t i = 0; i < n && at < sizeof r.s; i++)
        at += (size_t)snprintf(r.s + at, sizeof r.s - at, "%s%" PRId64, i ? "," : "", v[i]);
    if (at < sizeof r.s) snprintf(r.s + at, sizeof r.s - at, "]");
    return r;
}

bool ir_fail(struct ir_graph *g, const struct ir_node *n, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    diag_vreport(g->diag, DIAG_ERROR, &n->loc, fmt, ap);
    va_end(ap);
    return false;
}

// --- shapes --------------------------------------------------------------------------------------------------------

bool ir_check_type(struct ir_graph *g, const struct ir_node *n, const struct ir_type *t) {
    if (t->rank > IR_MAX_RANK)
        return ir_fail(g, n, "result has %d dimensions; at most %d are supported", t->rank, IR_MAX_RANK);
    const int64_t max_elements = INT64_C(1) << 40;
    int64_t numel = 1;
    for (int i = 0; i < t->rank; i++) {
        if (t->dims[i] < 0 && i > 0)
            return ir_fail(
                g, n, "result %s would have the batch in dimension %d; only dimension 0 may depend on the batch size",
                TYPE_TEXT(t), i);
        int64_t d = t->dims[i];
        if (d < -max_elements || d > max_elements || (d < 0 ? -d : d) > max_elements / (numel ? numel : 1))
            return ir_fail(g, n, "result %s is too large", TYPE_TEXT(t));
        numel *= d < 0 ? -d : d;
    }
    return true;
}

bool ir_check_float(struct ir_graph *g, const struct ir_node *n, size_t i) {
    const struct ir_type *t = ir_in_type(g, n, i);
    if (t->dtype == IR_F32) return true;
    return ir_fail(g, n, "operand %zu is %s; %s", i, TYPE_TEXT(t),
                   t->dtype == IR_F64 ? "it is computed in float32 only: put a Cast to FLOAT in front"
                                      : "a floating-point tensor was expected");
}

bool ir_check_rank(struct ir_graph *g, const struct ir_node *n, size_t i, int rank, const char *what) {
    const struct ir_type *t = ir_in_type(g, n, i);
    if (t->rank == rank) return true;
    return ir_fail(g, n, "%s has shape %s, %d dimensions; expected %d", what, TYPE_TEXT(t), t->rank, rank);
}

bool ir_check_unbatched(struct ir_graph *g, const struct ir_node *n, size_t i, const char *what) {
    const struct ir_type *t = ir_in_type(g, n, i);
    if (!ir_is_batched(t)) return true;
    return ir_fail(g, n, "%s has shape %s; it must not depend on the batch size", what, TYPE_TEXT(t));
}

bool ir_broadcast(struct ir_graph *g, const struct ir_node *n, const struct ir_type *a, const struct ir_type *b,
                  struct ir_type *out) {
    int rank = a->rank > b->rank ? a->rank : b->rank;
    int64_t dims[IR_MAX_RANK];
    for (int i = 0; i < rank; i++) {
        int ia = i - (rank - a->rank), ib = i - (rank - b->rank);
        int64_t da = ia < 0 ? 1 : a->dims[ia], db = ib < 0 ? 1 : b->dims[ib];
        if (da != db && da != 1 && db != 1)
            return ir_fail(g, n, "shapes %s and %s do not broadcast together: dimension %d is %s against %s",
                           TYPE_TEXT(a), TYPE_TEXT(b), i, ir_dim_text(da, (char[24]){0}),
                           ir_dim_text(db, (char[24]){0}));
        dims[i] = da == 1 ? db : da;
        if (dims[i] < 0 && i > 0)
            return ir_fail(
                g, n,
                "shapes %s and %s put the batch in dimension %d of the result; only dimension 0 may depend on "
                "the batch size",
                TYPE_TEXT(a), TYPE_TEXT(b), i);
    }
    *out = ir_type_make(a->dtype, rank, dims);
    return ir_check_type(g, n, out);
}

const int64_t *ir_check_ints(struct ir_graph *g, const struct ir_node *n, const char *name, size_t count, int64_t lo,
                             int64_t hi) {
    size_t k;
    const int64_t *v = ir_attr_ints(n, name, &k);
    if (k != count || (!v && count)) {
        ir_fail(g, n, "attribute %s has %zu entries; expected %zu", name, k, count);
        return NULL;
    }
    for (size_t i = 0; i < k; i++)
        if (v[i] < lo || v[i] > hi) {
            ir_fail(g, n, "attribute %s = %s: entry %zu must lie between %" PRId64 " and %" PRId64, name,
                    INTS_TEXT(v, k), i, lo, hi);
            return NULL;
        }
    static const int64_t nothing[1];
    return count ? v : nothing;
}

int ir_check_axis(struct ir_graph *g, const struct ir_node *n, const char *name, int rank) {
    int64_t a = ir_attr_i(n, name);
    if (a >= -rank && a < rank) return (int)(a < 0 ? a + rank : a);
    ir_fail(g, n, "%s = %" PRId64 " is out of range for %d dimension%s", name, a, rank, rank == 1 ? "" : "s");
    return -1;
}

int ir_axis_of(const struct ir_node *n, const char *name, int rank) {
    int64_t a = ir_attr_i(n, name);
    return (int)(a < 0 ? a + rank : a);
}

// --- gradients -----------------------------------------------------------------------------------------------------

ir_vid ir_const_like(struct ir_graph *g, ir_vid like, double v) {
    if (ir_typeof(g, like)->dtype != IR_F64) return ir_const_f(g, v);
    return ir_const(g, ir_scalar_type(IR_F64), &v);
}

ir_vid ir_scale(struct ir_graph *g, ir_vid x, double v) { return ir_mul(g, x, ir_const_like(g, x, v)); }

ir_vid ir_channel_vector(struct ir_graph *g, ir_vid v, int rank) {
    int64_t dims[IR_MAX_RANK];
    for (int i = 0; i < rank; i++) dims[i] = 1;
    dims[1] = ir_typeof(g, v)->dims[0];
    return ir_reshape(g, v, rank, dims);
}

ir_vid ir_count_of(struct ir_graph *g, const struct ir_type *t, const int64_t *axes, size_t n_axes) {
    double count = 1;
    bool batched = false;
    for (size_t i = 0; i < n_axes; i++) {
        int64_t d = t->dims[axes[i]];
        batched |= d < 0;
        count *= (double)(d < 0 ? -d : d);
    }
    if (!batched) return ir_const_f(g, count);
    ir_vid n = ir_batch_size(g);
    return count == 1 ? n : ir_scale(g, n, count);
}

// --- evaluation ----------------------------------------------------------------------------------------------------

struct ir_walk ir_walk_all(const struct ir_type *t) {
    struct ir_walk w = {.rank = t->rank};
    for (int i = 0; i < t->rank; i++) {
        w.dims[i] = t->dims[i];
        w.done |= t->dims[i] == 0;
    }
    return w;
}

void ir_walk_next(struct ir_walk *w) {
    w->linear++;
    for (int i = w->rank - 1; i >= 0; i--) {
        if (++w->idx[i] < w->dims[i]) return;
        w->idx[i] = 0;
    }
    w->done = true;
}

void ir_row_strides(const struct ir_type *t, int64_t strides[IR_MAX_RANK]) {
    int64_t s = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        strides[i] = s;
        s *= t->dims[i];
    }
}

void ir_bcast_strides(const struct ir_type *t, int rank, int64_t strides[IR_MAX_RANK]) {
    int64_t own[IR_MAX_RANK];
    ir_row_strides(t, own);
    for (int i = 0; i < rank; i++) {
        int k = i - (rank - t->rank);
        strides[i] = k < 0 || t->dims[k] == 1 ? 0 : own[k];
    }
}

size_t ir_offset(const struct ir_walk *w, const int64_t strides[IR_MAX_RANK]) {
    int64_t at = 0;
    for (int i = 0; i < w->rank; i++) at += w->idx[i] * strides[i];
    return (size_t)at;
}

void ir_tensor_copy_elem(const struct ir_tensor *dst, size_t i, const struct ir_tensor *src, size_t j) {
    if (dst->f)
        dst->f[i] = src->f[j];
    else
        dst->i[i] = src->i[j];
}
