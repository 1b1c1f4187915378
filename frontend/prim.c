// Moves and elementwise operations on ONNX values: folded where the elements are known at import, IR nodes elsewhere.
#include "onnx_internal.h"

#include <string.h>

static bool all_known(struct fe_ctx *c, struct fe_val *const *v, size_t n, const struct fe_sym **out) {
    for (size_t i = 0; i < n; i++)
        if (!(out[i] = fe_known(c, v[i], false))) return false;
    return true;
}

static void row_strides(const struct ir_type *t, int64_t *s) {
    int64_t step = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        s[i] = step;
        step *= t->dims[i];
    }
}

static bool concrete(int rank, const int64_t *dims) {
    for (int i = 0; i < rank; i++)
        if (dims[i] < 0) return false;
    return true;
}

// A tensor without elements needs none of its operand's. NULL: it has some, or the batch in its shape.
static struct fe_val *empty(struct fe_ctx *c, enum ir_dtype t, int rank, const int64_t *dims) {
    int64_t n;
    return checked_product(dims, (size_t)rank, &n) && n == 0 ? fe_val_sym(c, fe_sym_new(c->a, t, rank, dims)) : NULL;
}

struct fe_val *fe_p_reshape(struct fe_ctx *c, struct fe_val *v, int rank, const int64_t *dims) {
    const struct fe_sym *s;
    if (concrete(rank, dims) && all_known(c, &v, 1, &s)) {
        struct fe_sym *r = fe_sym_new(c->a, s->type.dtype, rank, dims);
        if (r && r->n == s->n) {
            memcpy(r->v, s->v, s->n * sizeof *s->v);
            return fe_val_sym(c, r);
        }
    }
    const struct ir_type *t = fe_type(c, v);
    if (t->rank == rank && !memcmp(t->dims, dims, (size_t)rank * sizeof *dims)) return v;
    return fe_val_of(c, fe_reshape(c, fe_vid(c, v), rank, dims));
}

struct fe_val *fe_p_transpose(struct fe_ctx *c, struct fe_val *v, const int64_t *perm) {
    const struct fe_sym *s;
    const struct ir_type *t = fe_type(c, v);
    int rank = t->rank;
    if (all_known(c, &v, 1, &s)) {
        int64_t strides[IR_MAX_RANK], dims[IR_MAX_RANK], ps[IR_MAX_RANK];
        row_strides(&s->type, strides);
        for (int i = 0; i < rank; i++) {
            dims[i] = s->type.dims[perm[i]];
            ps[i] = strides[perm[i]];
        }
        return fe_val_sym(c, fe_sym_view(c->a, s, rank, dims, ps, 0));
    }
    bool same = true;
    for (int i = 0; i < rank; i++) same &= perm[i] == i;
    return same ? v : fe_val_of(c, fe_transpose(c, fe_vid(c, v), rank, perm));
}

struct fe_val *fe_p_slice(struct fe_ctx *c, struct fe_val *v, const int64_t *starts, const int64_t *sizes,
                          const int64_t *steps) {
    const struct fe_sym *s;
    const struct ir_type *t = fe_type(c, v);
    int rank = t->rank;
    if (all_known(c, &v, 1, &s)) {
        int64_t strides[IR_MAX_RANK], off = 0;
        row_strides(&s->type, strides);
        for (int i = 0; i < rank; i++) {
            off += starts[i] * strides[i];
            strides[i] *= steps[i];
        }
        return fe_val_sym(c, fe_sym_view(c->a, s, rank, sizes, strides, off));
    }
    struct fe_val *none = empty(c, t->dtype, rank, sizes);
    if (none) return none;
    bool whole = true;
    for (int i = 0; i < rank; i++) whole &= starts[i] == 0 && steps[i] == 1 && sizes[i] == t->dims[i];
    if (whole) return v;
    ir_vid x = fe_vid(c, v);
    return fe_val_of(
        c, fe_emit(c, IR_OP_slice, &x, 1,
                   IR_ATTRS(IR_IS("starts", starts, rank), IR_IS("sizes", sizes, rank), IR_IS("steps", steps, rank))));
}

struct fe_val *fe_p_cut(struct fe_ctx *c, struct fe_val *v, int axis, int64_t start, int64_t size, int64_t step) {
    const struct ir_type t = *fe_type(c, v);
    int64_t starts[IR_MAX_RANK] = {0}, sizes[IR_MAX_RANK], steps[IR_MAX_RANK];
    for (int i = 0; i < t.rank; i++) {
        sizes[i] = t.dims[i];
        steps[i] = 1;
    }
    starts[axis] = start;
    sizes[axis] = size;
    steps[axis] = size > 1 ? step : 1;
    return fe_p_slice(c, v, starts, sizes, steps);
}

ir_vid fe_cut(struct fe_ctx *c, ir_vid x, int axis, int64_t start, int64_t size, int64_t step) {
    return x == IR_NONE ? x : fe_vid(c, fe_p_cut(c, fe_val_of(c, x), axis, start, size, step));
}

struct fe_val *fe_p_expand(struct fe_ctx *c, struct fe_val *v, int rank, const int64_t *dims) {
    const struct fe_sym *s;
    const struct ir_type *t = fe_type(c, v);
    if (t->rank == rank && !memcmp(t->dims, dims, (size_t)rank * sizeof *dims)) return v;
    if (concrete(rank, dims) && all_known(c, &v, 1, &s)) {
        int64_t from[IR_MAX_RANK], strides[IR_MAX_RANK];
        row_strides(&s->type, from);
        bool ok = s->type.rank <= rank;
        for (int i = 0; i < rank && ok; i++) {
            int k = i - (rank - s->type.rank);
            strides[i] = k < 0 || s->type.dims[k] == 1 ? 0 : from[k];
            ok = k < 0 || s->type.dims[k] == 1 || s->type.dims[k] == dims[i];
        }
        struct fe_sym *r = ok ? fe_sym_view(c->a, s, rank, dims, strides, 0) : NULL;
        if (r) return fe_val_sym(c, r);
    }
    struct fe_val *none = empty(c, t->dtype, rank, dims);
    if (none) return none;
    return fe_val_of(c, fe_expand(c, fe_vid(c, v), rank, dims));
}

struct fe_val *fe_p_concat(struct fe_ctx *c, struct fe_val **v, size_t n, int axis) {
    const struct fe_sym **s = ARENA_ARRAY(c->a, const struct fe_sym *, n);
    if (all_known(c, v, n, s)) {
        struct ir_type t = s[0]->type;
        int64_t total = 0, inner = 1, outer = 1;
        bool ok = true;
        for (size_t i = 0; i < n && ok; i++) {
            ok = s[i]->type.rank == t.rank;
            for (int k = 0; k < t.rank && ok; k++) ok = k == axis || s[i]->type.dims[k] == t.dims[k];
            if (ok) total += s[i]->type.dims[axis];
        }
        for (int k = 0; k < t.rank; k++) *(k < axis ? &outer : &inner) *= k == axis ? 1 : t.dims[k];
        t.dims[axis] = total;
        struct fe_sym *r = ok ? fe_sym_new(c->a, t.dtype, t.rank, t.dims) : NULL;
        if (r) {
            size_t at = 0;
            for (int64_t o = 0; o < outer; o++)
                for (size_t i = 0; i < n; i++) {
                    size_t run = (size_t)(s[i]->type.dims[axis] * inner);
                    memcpy(r->v + at, s[i]->v + (size_t)o * run, run * sizeof *r->v);
                    at += run;
                }
            return fe_val_sym(c, r);
        }
    }
    ir_vid *in = ARENA_ARRAY(c->a, ir_vid, n);
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        const struct ir_type *t = fe_type(c, v[i]);
        if (t->rank > axis && t->dims[axis] == 0) continue; // an empty piece adds nothing
        in[m] = fe_vid(c, v[i]);
        if (in[m++] == IR_NONE) return NULL;
    }
    if (m == 0) return v[0];
    if (m == 1) return fe_val_of(c, in[0]);
    fe_unify_batch(c, in, m);
    // A baked batch of 1 (class tokens): a concatenation, unlike arithmetic, does not broadcast.
    int64_t dim0 = 0;
    for (size_t i = 0; i < m; i++)
        if (axis > 0 && fe_typeof(c, in[i])->dims[0] < 0) dim0 = fe_typeof(c, in[i])->dims[0];
    for (size_t i = 0; i < m && dim0 && c->baked == 1; i++) {
        if (fe_typeof(c, in[i])->dims[0] == 1) in[i] = fe_rebatch(c, in[i], dim0);
    }
    while (m > 64) { // the op takes at most 64 operands
        size_t k = 0;
        for (size_t i = 0; i < m; i += 64) {
            size_t part = m - i < 64 ? m - i : 64;
            in[k++] = part == 1 ? in[i] : fe_emit(c, IR_OP_concat, in + i, part, IR_ATTRS(IR_I("axis", axis)));
        }
        m = k;
    }
    return fe_val_of(c, m == 1 ? in[0] : fe_emit(c, IR_OP_concat, in, m, IR_ATTRS(IR_I("axis", axis))));
}

struct fe_val *fe_p_take(struct fe_ctx *c, struct fe_val *v, int axis, const int64_t *index, size_t n) {
    struct ir_type t = *fe_type(c, v);
    if (n == 0) {
        t.dims[axis] = 0;
        struct fe_val *none = empty(c, t.dtype, t.rank, t.dims);
        if (none) return none;
    }
    bool progression = n >= 1;
    int64_t step = n > 1 ? index[1] - index[0] : 1;
    for (size_t i = 1; i < n; i++) progression &= index[i] - index[i - 1] == step;
    // A slice has a cheaper gradient than a gather.
    if (progression && step != 0) return fe_p_cut(c, v, axis, index[0], (int64_t)n, step);
    const struct fe_sym *s;
    if (all_known(c, &v, 1, &s)) {
        int64_t inner = 1, outer = 1;
        for (int k = 0; k < t.rank; k++)
            if (k != axis) *(k < axis ? &outer : &inner) *= t.dims[k];
        struct ir_type rt = t;
        rt.dims[axis] = (int64_t)n;
        struct fe_sym *r = fe_sym_new(c->a, t.dtype, t.rank, rt.dims);
        if (r) {
            size_t at = 0;
            for (int64_t o = 0; o < outer; o++)
                for (size_t i = 0; i < n; i++)
                    for (int64_t k = 0; k < inner; k++) r->v[at++] = s->v[(o * t.dims[axis] + index[i]) * inner + k];
            return fe_val_sym(c, r);
        }
    }
    int64_t len[1] = {(int64_t)n};
    ir_vid in[2] = {fe_vid(c, v), ir_const(c->g, ir_type_make(IR_I64, 1, len), index)};
    return fe_val_of(c, fe_emit(c, IR_OP_gather, in, 2, IR_ATTRS(IR_I("axis", axis))));
}

struct fe_val *fe_p_unary(struct fe_ctx *c, enum ir_op op, struct fe_val *x) {
    const struct fe_sym *s;
    struct fe_sym *r = all_known(c, &x, 1, &s) ? fe_sym_unary(c->a, op, s) : NULL;
    return r ? fe_val_sym(c, r) : fe_val_of(c, fe_e1(c, op, fe_vid(c, x)));
}

struct fe_val *fe_p_binary(struct fe_ctx *c, enum ir_op op, struct fe_val *x, struct fe_val *y) {
    if (!x || !y) return NULL;
    const struct fe_sym *s[2];
    struct fe_val *in[2] = {x, y};
    struct fe_sym *r = all_known(c, in, 2, s) ? fe_sym_binary(c->a, op, s[0], s[1]) : NULL;
    return r ? fe_val_sym(c, r) : fe_val_of(c, fe_e2(c, op, fe_vid(c, x), fe_vid(c, y)));
}

struct fe_val *fe_p_where(struct fe_ctx *c, struct fe_val *cond, struct fe_val *x, struct fe_val *y) {
    if (!cond || !x || !y) return NULL;
    const struct fe_sym *s[3];
    struct fe_val *in[3] = {cond, x, y};
    struct fe_sym *r = all_known(c, in, 3, s) ? fe_sym_where(c->a, s[0], s[1], s[2]) : NULL;
    return r ? fe_val_sym(c, r) : fe_val_of(c, fe_where(c, fe_vid(c, cond), fe_vid(c, x), fe_vid(c, y)));
}

struct fe_val *fe_p_cast(struct fe_ctx *c, struct fe_val *x, enum ir_dtype t) {
    if (x->random == FE_UNIFORM && t == IR_F32) return x;
    if (fe_type(c, x)->dtype == t) return x;
    const struct fe_sym *s;
    struct fe_sym *r = all_known(c, &x, 1, &s) ? fe_sym_cast(c->a, s, t) : NULL;
    return r ? fe_val_sym(c, r) : fe_val_of(c, fe_cast(c, fe_vid(c, x), t));
}

struct fe_val *fe_p_round(struct fe_ctx *c, struct fe_val *x, enum ir_half h) {
    if (h == IR_HALF_NONE || x->half == h) return x;
    const struct fe_sym *s;
    struct fe_sym *r = all_known(c, &x, 1, &s) ? fe_sym_round(c->a, s, h) : NULL;
    struct fe_val *y = ARENA_NEW(c->a, struct fe_val);
    *y = *x;
    y->half = h;
    y->sym = r;
    y->blob = NULL;
    y->vid = IR_NONE;
    if (r) return y;
    const char *to = ir_half_info(h)->name;
    ir_vid v = fe_vid(c, x);
    y->vid = fe_emit(c, IR_OP_round_to, &v, 1, IR_ATTRS(IR_S("to", to)));
    return y->vid == IR_NONE ? NULL : y;
}
