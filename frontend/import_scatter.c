// ScatterND, GatherND and CumSum, as models use them: on masks, positions and tables of relative positions.
#include "onnx_internal.h"

#include <string.h>

// A copy of `data` with updates written at indices[.., k], which name leading coordinates. NULL: an index is outside.
static struct fe_sym *scattered(struct fe_ctx *c, const struct fe_sym *data, const struct fe_sym *index,
                                const struct fe_sym *updates, int k) {
    struct fe_sym *r = fe_sym_new(c->a, data->type.dtype, data->type.rank, data->type.dims);
    if (!r) return NULL;
    memcpy(r->v, data->v, data->n * sizeof *data->v);
    size_t run = 1, places = index->n / (size_t)k;
    for (int i = k; i < data->type.rank; i++) run *= (size_t)data->type.dims[i];
    if (updates->n != places * run) return NULL;
    for (size_t p = 0; p < places; p++) {
        size_t at = 0;
        for (int i = 0; i < k; i++) {
            int64_t d = data->type.dims[i], x = index->v[p * (size_t)k + (size_t)i].b;
            if (x < 0) x += d;
            if (x < 0 || x >= d) return NULL;
            at = at * (size_t)d + (size_t)x;
        }
        memcpy(r->v + at * run, updates->v + p * run, run * sizeof *r->v);
    }
    return r;
}

bool fe_op_scatter_nd(struct fe_ctx *c, struct fe_node *n) {
    const struct fe_sym *s[3];
    for (size_t i = 0; i < 3; i++)
        if (!(s[i] = fe_known(c, fe_arg(n, i), i > 0))) // what is assigned may lie in the file
            return fe_fail(c, n,
                           "it assigns to parts of a computed tensor, which is supported only for constants; "
                           "build the tensor by concatenation (torch.cat) or torch.where instead");
    int rank = s[1]->type.rank;
    int64_t k = rank ? s[1]->type.dims[rank - 1] : 0;
    if (strcmp(fe_attr_s(c, n, "reduction", "none"), "none")) return fe_fail(c, n, "reduction is not supported");
    if (k < 1 || k > s[0]->type.rank || !fe_sym_is_const(s[1]) || s[1]->type.dtype == IR_F32)
        return fe_fail(c, n, "its indices do not fit a tensor of %d dimensions", s[0]->type.rank);
    struct fe_sym *r = scattered(c, s[0], s[1], s[2], (int)k);
    return r ? fe_out_sym(c, n, 0, r) : fe_fail(c, n, "its indices or updates do not fit the tensor's shape");
}

// With indices known at import: the leading k axes become one, from which rows are gathered.
bool fe_op_gather_nd(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *xv = fe_arg(n, 0);
    const struct fe_sym *s = fe_known(c, fe_arg(n, 1), true);
    ir_vid x = fe_in(c, n, 0);
    if (!xv || x == IR_NONE || !s || !fe_sym_is_const(s) || s->type.rank < 1 || s->type.dtype == IR_F32)
        return fe_fail(c, n, "its indices must be known when compiling");
    const struct ir_type t = *fe_typeof(c, x);
    int64_t k = s->type.dims[s->type.rank - 1], rows = 1, flat[IR_MAX_RANK], dims[IR_MAX_RANK];
    if (fe_attr_i(c, n, "batch_dims", 0) || ir_is_batched(&t))
        return fe_fail(c, n, "it picks rows of the batch, which is not supported");
    if (k < 1 || k > t.rank || t.rank - k + s->type.rank - 1 > IR_MAX_RANK)
        return fe_fail(c, n, "its indices do not fit a tensor of %d dimensions", t.rank);
    size_t places = s->n / (size_t)k;
    int64_t *index = ARENA_ARRAY(c->a, int64_t, places + 1), len[1] = {(int64_t)places};
    for (size_t p = 0; p < places; p++)
        for (int i = 0; i < k; i++) {
            int64_t d = t.dims[i], at = s->v[p * (size_t)k + (size_t)i].b;
            if (at < -d || at >= d) return fe_fail(c, n, "index %lld is outside axis %d", (long long)at, i);
            index[p] = index[p] * d + (at < 0 ? at + d : at);
        }
    int rank = 0, flat_rank = 1;
    for (int i = 0; i < k; i++) rows *= t.dims[i];
    flat[0] = rows;
    for (int i = 0; i + 1 < s->type.rank; i++) dims[rank++] = s->type.dims[i];
    for (int i = (int)k; i < t.rank; i++) flat[flat_rank++] = dims[rank++] = t.dims[i];
    ir_vid in[2] = {fe_reshape(c, x, flat_rank, flat), ir_const(c->g, ir_type_make(IR_I64, 1, len), index)};
    return fe_out(c, n, 0, fe_reshape(c, fe_emit(c, IR_OP_gather, in, 2, IR_ATTRS(IR_I("axis", 0))), rank, dims));
}

// Sums along the axis by the product with a triangle of ones, on the left of [.., L, 1] or the right of [.., L].
bool fe_op_cum_sum(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *xv = fe_arg(n, 0);
    double given;
    int64_t number;
    int axis;
    if (!xv || !fe_scalar(c, n, 1, 0, &given)) return false;
    if (!checked_whole(given, &number)) return fe_fail(c, n, "its axis is %g", given);
    if (!fe_axis(c, n, number, fe_type(c, xv)->rank, &axis)) return false;
    bool exclusive = fe_attr_i(c, n, "exclusive", 0) != 0, reverse = fe_attr_i(c, n, "reverse", 0) != 0;
    const struct fe_sym *s = fe_known(c, xv, false);
    const struct ir_type t = *fe_type(c, xv);
    int64_t len = t.dims[axis], inner = 1;
    if (len < 0) return fe_fail(c, n, "it sums over the batch, which is not supported");
    if (s) {
        struct fe_sym *r = fe_sym_new(c->a, t.dtype, t.rank, t.dims);
        for (int i = axis + 1; i < t.rank; i++) inner *= t.dims[i];
        for (size_t at = 0; r && at < r->n; at++) {
            int64_t pos = (int64_t)at / inner % len;
            struct fe_num sum = {0};
            for (int64_t k = reverse ? pos + exclusive : 0; k < (reverse ? len : pos + !exclusive); k++) {
                const struct fe_num *v = &s->v[(int64_t)at + (k - pos) * inner];
                sum.f += v->f;
                sum.fa += v->fa;
                sum.b = (int64_t)((uint64_t)sum.b + (uint64_t)v->b);
                if (__builtin_add_overflow(sum.a, v->a, &sum.a)) return fe_fail(c, n, "its sums overflow");
            }
            if (t.dtype == IR_F32) sum.f = (double)(float)sum.f;
            if (!ir_is_float(t.dtype)) sum.b = ir_wrap_int(t.dtype, sum.b);
            r->v[at] = sum;
        }
        return r && fe_out_sym(c, n, 0, r);
    }
    if (t.dtype == IR_BOOL) return fe_fail(c, n, "it sums up bools");
    if (len > 4096) return fe_fail(c, n, "its axis has %lld elements, at most 4096 are supported", (long long)len);
    void *ones = arena_array(c->a, (size_t)(len * len), ir_dtype_size(t.dtype));
    for (int64_t from = 0; from < len; from++)
        for (int64_t to = 0; to < len; to++) {
            bool one = (reverse ? from > to : from < to) || (from == to && !exclusive);
            size_t at = (size_t)(from * len + to);
            if (ir_is_float(t.dtype))
                ir_put_float(t.dtype, ones, at, one);
            else
                ir_put_int(t.dtype, ones, at, one);
        }
    int64_t square[2] = {len, len}, perm[IR_MAX_RANK];
    for (int i = 0; i < t.rank; i++) perm[i] = i == axis ? t.rank - 1 : i == t.rank - 1 ? axis : i;
    ir_vid tri = ir_const(c->g, ir_type_make(t.dtype, 2, square), ones), x = fe_vid(c, xv);
    bool last = axis == t.rank - 1;
    if (axis == 0 || t.rank < 2) return fe_fail(c, n, "it sums over the batch, which is not supported");
    x = fe_matmul(c, last ? x : fe_transpose(c, x, t.rank, perm), tri, 0, 0);
    return fe_out(c, n, 0, last ? x : fe_transpose(c, x, t.rank, perm));
}
