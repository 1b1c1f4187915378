// What picks as many elements as its data say: only where these are known, since every shape is when compiling.
#include "onnx_internal.h"

#include <stdlib.h>
#include <string.h>

static bool unknown(struct fe_ctx *c, const struct fe_node *n, const char *what, const struct fe_val *v) {
    const char *source = fe_source_text(c, v);
    return fe_fail(
        c, n, "the size of its result depends on %s, which must be known when compiling; here it depends on %s%s", what,
        source, strcmp(source, "the data") ? "" : ": keep all elements and mask them (Where, a product) instead");
}

// Elements that a condition says of an axis, or of all in row-major order.
bool fe_op_compress(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = fe_arg(n, 0);
    const struct fe_sym *s = fe_known(c, fe_arg(n, 1), true);
    if (!x || x->is_seq) return fe_fail(c, n, "operand 0 must be a tensor");
    if (!s || !fe_sym_is_const(s)) return unknown(c, n, "its condition", fe_arg(n, 1));
    int axis = 0;
    int64_t all = ir_numel(fe_type(c, x)), *index = ARENA_ARRAY(c->a, int64_t, s->n + 1);
    size_t count = 0;
    if (fe_attr(n, "axis")) {
        if (!fe_axis(c, n, fe_attr_i(c, n, "axis", 0), fe_type(c, x)->rank, &axis)) return false;
    } else {
        if (ir_is_batched(fe_type(c, x)))
            return fe_fail(c, n, "it picks from all samples of the batch in one row; give it an axis");
        if (!(x = fe_p_reshape(c, x, 1, &all))) return false;
    }
    const int64_t d = fe_type(c, x)->dims[axis];
    if (s->type.rank != 1 || (d >= 0 && (int64_t)s->n > d))
        return fe_fail(c, n, "its condition of %zu elements does not fit axis %d of %s", s->n, axis,
                       fe_dims_text(c, fe_type(c, x)));
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].b) index[count++] = (int64_t)i;
    if (d >= 0) return fe_out_val(n, 0, fe_p_take(c, x, axis, index, count));
    int64_t len[1] = {(int64_t)count}; // samples of the batch
    if (!count) return fe_fail(c, n, "it picks no sample of the batch");
    ir_vid in[2] = {fe_vid(c, x), ir_const(c->g, ir_type_make(IR_I64, 1, len), index)};
    return fe_out(c, n, 0, fe_emit(c, IR_OP_gather, in, 2, IR_ATTRS(IR_I("axis", 0))));
}

static bool is_zero(const struct ir_type *t, const struct fe_num *v) {
    return ir_is_float(t->dtype) ? v->f == 0 : v->b == 0;
}

// i64[rank, count]: the coordinates, by axis.
bool fe_op_non_zero(struct fe_ctx *c, struct fe_node *n) {
    const struct fe_sym *s = fe_known(c, fe_arg(n, 0), false);
    if (!s || !fe_sym_is_const(s)) return unknown(c, n, "its data", fe_arg(n, 0));
    int64_t dims[2] = {s->type.rank, 0}, inner = 1;
    for (size_t i = 0; i < s->n; i++) dims[1] += !is_zero(&s->type, &s->v[i]);
    struct fe_sym *r = fe_sym_new(c->a, IR_I64, 2, dims);
    if (!r) return fe_fail(c, n, "its result has more than %lld elements", (long long)FE_SYM_MAX);
    for (int axis = s->type.rank - 1; axis >= 0; axis--) {
        struct fe_num *row = r->v + axis * dims[1];
        for (size_t i = 0; i < s->n; i++)
            if (!is_zero(&s->type, &s->v[i])) (row++)->b = (int64_t)i / inner % s->type.dims[axis];
        inner *= s->type.dims[axis];
    }
    return fe_out_sym(c, n, 0, r);
}

// --- Unique

// Slices of a tensor along an axis, [outer][count][inner].
struct slices {
    const struct fe_sym *s;
    int64_t outer, count, inner;
};

static const struct fe_num *element(const struct slices *x, int64_t slice, int64_t i) {
    return &x->s->v[(i / x->inner * x->count + slice) * x->inner + i % x->inner];
}

static int compare(const struct slices *x, int64_t a, int64_t b) {
    const enum ir_dtype t = x->s->type.dtype;
    for (int64_t i = 0; i < x->outer * x->inner; i++) {
        const struct fe_num *p = element(x, a, i), *q = element(x, b, i);
        int order = ir_is_float(t) ? (p->f > q->f) - (p->f < q->f) : ir_int_compare(t, p->b, q->b);
        if (order) return order;
    }
    return 0;
}

// Values, the place of each one's first, the place of each slice's value, and how often each is there. By insertion: in
// order of their values, or of the first of each.
bool fe_op_unique(struct fe_ctx *c, struct fe_node *n) {
    const struct fe_sym *s = fe_known(c, fe_arg(n, 0), false);
    if (!s || !fe_sym_is_const(s)) return unknown(c, n, "its data", fe_arg(n, 0));
    struct slices x = {s, 1, (int64_t)s->n, 1};
    struct ir_type t = s->type;
    int axis = 0;
    bool sorted = fe_attr_i(c, n, "sorted", 1) != 0;
    if (fe_attr(n, "axis")) {
        if (!fe_axis(c, n, fe_attr_i(c, n, "axis", 0), t.rank, &axis)) return false;
        for (int i = 0; i < t.rank; i++) *(i < axis ? &x.outer : i > axis ? &x.inner : &x.count) = 1;
        for (int i = 0; i < t.rank; i++) *(i < axis ? &x.outer : i > axis ? &x.inner : &x.count) *= t.dims[i];
    } else {
        t.rank = 1;
    }
    if (x.count > 4096)
        return fe_fail(c, n, "it looks for doubles among %lld; at most 4096 are supported", (long long)x.count);
    int64_t *first = ARENA_ARRAY(c->a, int64_t, (size_t)x.count + 1), found = 0;
    struct fe_sym *inverse = fe_sym_new(c->a, IR_I64, 1, &x.count), *counts = fe_sym_new(c->a, IR_I64, 1, &x.count);
    for (int64_t i = 0; i < x.count; i++) {
        int64_t at = 0;
        while (at < found && (sorted ? compare(&x, first[at], i) < 0 : compare(&x, first[at], i) != 0)) at++;
        if (at < found && compare(&x, first[at], i) == 0) continue;
        memmove(first + at + 1, first + at, (size_t)(found++ - at) * sizeof *first);
        first[at] = i;
    }
    for (int64_t i = 0; i < x.count; i++) {
        int64_t at = 0;
        while (compare(&x, first[at], i)) at++;
        inverse->v[i].b = at;
        counts->v[at].b++;
    }
    t.dims[axis] = found;
    counts->type.dims[0] = found;
    counts->n = (size_t)found;
    struct fe_sym *y = fe_sym_new(c->a, t.dtype, t.rank, t.dims);
    struct slices to = {y, x.outer, found, x.inner};
    for (int64_t k = 0; k < found; k++)
        for (int64_t i = 0; i < x.outer * x.inner; i++)
            *(struct fe_num *)element(&to, k, i) = *element(&x, first[k], i);
    return fe_out_sym(c, n, 0, y) && fe_out_sym(c, n, 1, fe_sym_ints(c->a, first, (size_t)found)) &&
           fe_out_sym(c, n, 2, inverse) && fe_out_sym(c, n, 3, counts);
}
