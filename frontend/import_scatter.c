// What picks and places elements by indices, and sums along an axis. Indices are most often computed; where they are
// known, on masks, positions and tables of relative positions, those that are out of range are refused. Of computed
// ones these read as 0 and write nothing.
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

// --- elements along one axis

// `index` as the IR has it for x: where it has ones for some of x's dims on a side of the axis, it gets them all.
static ir_vid as_index(struct fe_ctx *c, ir_vid x, ir_vid index, int axis) {
    if (x == IR_NONE || index == IR_NONE) return IR_NONE;
    const struct ir_type t = *fe_typeof(c, x), it = *fe_typeof(c, index);
    int64_t dims[IR_MAX_RANK];
    bool any[2] = {false};
    for (int i = 0; i < t.rank; i++) any[i > axis] |= i != axis && it.dims[i] != 1;
    for (int i = 0; i < t.rank; i++) dims[i] = i == axis || !any[i > axis] ? it.dims[i] : t.dims[i];
    return memcmp(dims, it.dims, (size_t)t.rank * sizeof *dims) ? fe_expand(c, index, t.rank, dims) : index;
}

ir_vid fe_gather_elements(struct fe_ctx *c, ir_vid x, ir_vid index, int axis) {
    ir_vid in[2] = {x, as_index(c, x, index, axis)};
    return fe_emit(c, IR_OP_gather_elements, in, 2, IR_ATTRS(IR_I("axis", axis)));
}

// Of bools a sum is any of them, a product all.
ir_vid fe_scatter_elements(struct fe_ctx *c, ir_vid x, ir_vid index, ir_vid updates, int axis, const char *reduction) {
    if (x != IR_NONE && fe_typeof(c, x)->dtype == IR_BOOL && strcmp(reduction, "none")) {
        bool any = !strcmp(reduction, "add"), all = !strcmp(reduction, "mul");
        ir_vid y = fe_scatter_elements(c, fe_cast(c, x, IR_U8), index, fe_cast(c, updates, IR_U8), axis,
                                       any   ? "max"
                                       : all ? "min"
                                             : reduction);
        return fe_cast(c, y, IR_BOOL);
    }
    if (index != IR_NONE && ir_numel(fe_typeof(c, index)) == 0) return x; // nothing is placed
    ir_vid in[3] = {x, as_index(c, x, index, axis), updates};
    return fe_emit(c, IR_OP_scatter_elements, in, 3, IR_ATTRS(IR_I("axis", axis), IR_S("reduction", reduction)));
}

// Operands 0 and 1: a tensor, and an index of as many dims along an axis.
static bool elements(struct fe_ctx *c, struct fe_node *n, ir_vid *v, int *axis) {
    for (size_t i = 0; i < 2; i++)
        if ((v[i] = fe_in(c, n, i)) == IR_NONE) return fe_fail(c, n, "operand %zu must be a tensor", i);
    const struct ir_type *t = fe_typeof(c, v[0]);
    if (!fe_axis(c, n, fe_attr_i(c, n, "axis", 0), t->rank, axis)) return false;
    if (fe_typeof(c, v[1])->rank != t->rank || !ir_is_int(fe_typeof(c, v[1])->dtype))
        return fe_fail(c, n, "its indices must be integers with as many dimensions as its data: %s, not %s",
                       fe_dims_text(c, t), fe_dims_text(c, fe_typeof(c, v[1])));
    const struct fe_sym *s = fe_known(c, fe_arg(n, 1), true);
    int64_t d = t->dims[*axis];
    for (size_t i = 0; s && d >= 0 && i < s->n; i++)
        if (!s->v[i].a && (s->v[i].b < -d || s->v[i].b >= d))
            return fe_fail(c, n, "index %lld is outside axis %d of size %lld", (long long)s->v[i].b, *axis,
                           (long long)d);
    return true;
}

// The first axis but `axis` along which `part` has other dims than `whole`; -1: there is none.
static int differs(struct fe_ctx *c, ir_vid whole, ir_vid part, int axis) {
    const struct ir_type *t = fe_typeof(c, whole), *p = fe_typeof(c, part);
    for (int i = 0; i < t->rank; i++)
        if (i != axis && t->dims[i] != p->dims[i]) return i;
    return -1;
}

static bool misfit(struct fe_ctx *c, const struct fe_node *n, ir_vid x, ir_vid index, int at) {
    return fe_fail(c, n, "along axis %d its data has %s elements, its indices have %s", at,
                   arena_strdup(c->a, ir_dim_text(fe_typeof(c, x)->dims[at], (char[24]){0})),
                   arena_strdup(c->a, ir_dim_text(fe_typeof(c, index)->dims[at], (char[24]){0})));
}

// An index may have less than the data along the other axes: it is for their first elements then.
static bool is_part(struct fe_ctx *c, ir_vid x, ir_vid index, int at) {
    int64_t all = fe_typeof(c, x)->dims[at], some = fe_typeof(c, index)->dims[at];
    return some > 0 && some < all;
}

bool fe_op_gather_elements(struct fe_ctx *c, struct fe_node *n) {
    ir_vid v[2];
    int axis;
    if (!elements(c, n, v, &axis)) return false;
    fe_unify_batch(c, v, 2);
    for (int at; (at = differs(c, v[0], v[1], axis)) >= 0;) {
        if (!is_part(c, v[0], v[1], at)) return misfit(c, n, v[0], v[1], at);
        v[0] = fe_cut(c, v[0], at, 0, fe_typeof(c, v[1])->dims[at], 1);
        if (v[0] == IR_NONE) return false;
    }
    return fe_out(c, n, 0, fe_gather_elements(c, v[0], v[1], axis));
}

static ir_vid scatter_part(struct fe_ctx *c, struct fe_node *n, const ir_vid *v, int axis, const char *reduction) {
    int at = v[0] == IR_NONE ? -1 : differs(c, v[0], v[1], axis);
    if (at < 0) return fe_scatter_elements(c, v[0], v[1], v[2], axis, reduction);
    if (!is_part(c, v[0], v[1], at)) {
        misfit(c, n, v[0], v[1], at);
        return IR_NONE;
    }
    int64_t all = fe_typeof(c, v[0])->dims[at], some = fe_typeof(c, v[1])->dims[at];
    ir_vid first[3] = {fe_cut(c, v[0], at, 0, some, 1), v[1], v[2]};
    ir_vid both[2] = {scatter_part(c, n, first, axis, reduction), fe_cut(c, v[0], at, some, all - some, 1)};
    return fe_emit(c, IR_OP_concat, both, 2, IR_ATTRS(IR_I("axis", at)));
}

bool fe_op_scatter_elements(struct fe_ctx *c, struct fe_node *n) {
    ir_vid v[3];
    int axis;
    if (!elements(c, n, v, &axis)) return false;
    if ((v[2] = fe_in(c, n, 2)) == IR_NONE) return fe_fail(c, n, "operand 2 must be a tensor");
    fe_unify_batch(c, v, 3);
    if (!ir_same_dims(fe_typeof(c, v[1]), fe_typeof(c, v[2])))
        return fe_fail(c, n, "its indices %s and its updates %s must have the same shape",
                       fe_dims_text(c, fe_typeof(c, v[1])), fe_dims_text(c, fe_typeof(c, v[2])));
    return fe_out(c, n, 0, scatter_part(c, n, v, axis, fe_attr_s(c, n, "reduction", "none")));
}

// --- elements by their coordinates

#define OUTSIDE INT64_MAX

// Indices [.., k] of axes `first` .. first + k - 1 of a tensor as numbers [..] of their elements in row-major order:
// OUTSIDE where a coordinate is.
static struct fe_val *flat_index(struct fe_ctx *c, struct fe_val *index, const struct ir_type *t, int first) {
    const struct ir_type it = *fe_type(c, index);
    int last = it.rank - 1;
    int64_t none = 0, outside = OUTSIDE;
    struct fe_val *flat = NULL, *inside = NULL;
    struct fe_sym *zero = fe_sym_ints(c->a, &none, 1), *past = fe_sym_ints(c->a, &outside, 1);
    zero->type.rank = past->type.rank = 0;
    index = fe_p_cast(c, index, IR_I64);
    for (int64_t k = 0; index && k < it.dims[last]; k++) {
        int64_t d = t->dims[first + k];
        struct fe_sym *size = fe_sym_of_dims(c->a, &d, 1);
        size->type.rank = 0;
        struct fe_val *dim = fe_val_sym(c, size), *at, *low;
        at = fe_p_cut(c, index, last, k, 1, 1);
        at = at ? fe_p_reshape(c, at, last, it.dims) : NULL;
        low = at ? fe_p_binary(c, IR_OP_lt, at, fe_val_sym(c, zero)) : NULL;
        at = fe_p_where(c, low, fe_p_binary(c, IR_OP_add, at, dim), at);
        struct fe_val *in = fe_p_binary(c, IR_OP_and, fe_p_binary(c, IR_OP_le, fe_val_sym(c, zero), at),
                                        fe_p_binary(c, IR_OP_lt, at, dim));
        inside = k ? fe_p_binary(c, IR_OP_and, inside, in) : in;
        flat = k ? fe_p_binary(c, IR_OP_add, fe_p_binary(c, IR_OP_mul, flat, dim), at) : at;
    }
    return fe_p_where(c, inside, flat, fe_val_sym(c, past));
}

// Indices whose first coordinate is the number of the sample, in a tensor of samples: the others; else NULL.
static struct fe_val *in_samples(struct fe_ctx *c, struct fe_val *x, struct fe_val *index) {
    if (!x || !index || index->vid == IR_NONE || index->sym || index->is_moved || x->is_seq || index->is_seq)
        return NULL;
    const struct ir_type t = *fe_type(c, x), it = *fe_type(c, index);
    const struct ir_value *v = &c->g->values[index->vid];
    int last = it.rank - 1;
    if (last < 1 || it.dims[last] < 2 || it.dims[0] != IR_N || t.rank < 2 || t.dims[0] != IR_N ||
        v->role != IR_ROLE_NODE || c->g->nodes[v->def].op != IR_OP_concat)
        return NULL;
    const struct ir_node *joined = &c->g->nodes[v->def];
    if (ir_axis_of(joined, "axis", it.rank) != last || fe_typeof(c, joined->in[0])->dims[last] != 1 ||
        !fe_counts_samples(c, joined->in[0]))
        return NULL;
    const struct ir_node rest = *joined; // emitting may move the nodes
    if (rest.n_in == 2) return fe_val_of(c, rest.in[1]);
    return fe_val_of(c, fe_emit(c, IR_OP_concat, rest.in + 1, (size_t)rest.n_in - 1, IR_ATTRS(IR_I("axis", last))));
}

// Indices [.., k] of axes `first` on as flat_index has them; NULL after reporting. The axes before `batch` are those of
// a batch that the tensor and its indices have.
static struct fe_val *coordinates(struct fe_ctx *c, struct fe_node *n, struct fe_val *index, int64_t batch, int first) {
    struct fe_val *x = fe_arg(n, 0), *flat;
    bool ok = x && index && !x->is_seq && !index->is_seq;
    if (!ok) return fe_fail(c, n, "its operands must be tensors"), NULL;
    const struct ir_type t = *fe_type(c, x), it = *fe_type(c, index);
    int64_t k = it.rank > 0 ? it.dims[it.rank - 1] : 0;
    if (!ir_is_int(it.dtype)) return fe_fail(c, n, "its indices must be integers"), NULL;
    if (batch < 0 || k < 1 || first + k > t.rank || batch > it.rank - 1)
        return fe_fail(c, n, "its indices do not fit a tensor of %d dimensions", t.rank), NULL;
    for (int i = 0; i < batch && ok; i++) ok = t.dims[i] == it.dims[i];
    if (!ok)
        return fe_fail(c, n, "its data %s and its indices %s do not have the same %d first dimensions",
                       fe_dims_text(c, &t), fe_dims_text(c, &it), (int)batch),
               NULL;
    if (!(flat = flat_index(c, index, &t, first))) return NULL;
    const struct fe_sym *s = fe_known(c, flat, false);
    for (size_t i = 0; s && i < s->n; i++)
        if (s->v[i].b == OUTSIDE) return fe_fail(c, n, "its index %zu is outside of %s", i, fe_dims_text(c, &t)), NULL;
    return flat;
}

// Leading axes are merged: data [batch, what is indexed, what is picked], an index [batch or 1, places, 1]; without a
// batch there is no axis of it. Of a moved value the samples are the batch, whose index is the same for all.
bool fe_op_gather_nd(struct fe_ctx *c, struct fe_node *n) {
    int64_t given = fe_attr_i(c, n, "batch_dims", 0);
    struct fe_val *index = fe_arg(n, 1), *own = given || n->moved ? NULL : in_samples(c, fe_arg(n, 0), index);
    if (own) {
        index = own;
        given = 1;
    }
    if (n->moved && (given || !index || index->is_seq || ir_is_batched(fe_type(c, index)) ||
                     fe_type(c, index)->rank < 1 || fe_type(c, index)->dims[fe_type(c, index)->rank - 1] > n->frame.at))
        return fe_fail(c, n, "it picks along a batch that is not the first axis");
    const int b = n->moved ? 1 : (int)(given < 0 || given > IR_MAX_RANK ? 0 : given);
    struct fe_val *flat = coordinates(c, n, index, given, b);
    if (!flat) return false;
    ir_vid x = fe_in(c, n, 0), at = fe_vid(c, flat);
    if (x == IR_NONE || at == IR_NONE) return false;
    const struct ir_type t = *fe_typeof(c, x), it = *fe_typeof(c, at);
    int k = (int)fe_type(c, index)->dims[it.rank], rank = 0;
    int64_t dims[IR_MAX_RANK], rows = fe_dims_product(t.dims, b + k, t.rank), batch = fe_dims_product(t.dims, 0, b);
    if (n->moved + it.rank + t.rank - b - k > IR_MAX_RANK)
        return fe_fail(c, n, "its result has more than %d dimensions", IR_MAX_RANK);
    if (n->moved) dims[rank++] = batch;
    for (int i = 0; i < it.rank; i++) dims[rank++] = it.dims[i];
    for (int i = b + k; i < t.rank; i++) dims[rank++] = t.dims[i];
    int64_t xd[3] = {batch, fe_dims_product(t.dims, b, b + k), rows},
            id[3] = {batch, fe_dims_product(it.dims, b, it.rank), 1};
    if (n->moved) id[0] = 1, id[1] = fe_dims_product(it.dims, 0, it.rank);
    int skip = b == 0;
    ir_vid y =
        fe_gather_elements(c, fe_reshape(c, x, 3 - skip, xd + skip), fe_reshape(c, at, 3 - skip, id + skip), 1 - skip);
    if (n->moved) n->frame.at += it.rank - k;
    return fe_out(c, n, 0, fe_reshape(c, y, rank, dims));
}

// In a file of the fixed batch B, indices whose first coordinate counts the samples, each of which has the same others:
// those others. NULL: they are something else.
static struct fe_val *of_each_sample(struct fe_ctx *c, const struct ir_type *t, const struct fe_sym *s) {
    int64_t k = s && s->type.rank ? s->type.dims[s->type.rank - 1] : 0;
    if (!c->baked || k < 2 || t->dims[0] != IR_N || !fe_sym_is_const(s) || (int64_t)s->n % (k * c->baked)) return NULL;
    int64_t places = (int64_t)s->n / (k * c->baked), dims[2] = {places, k - 1};
    struct fe_sym *r = fe_sym_new(c->a, s->type.dtype, 2, dims);
    for (int64_t p = 0; r && p < places * c->baked; p++) {
        if (s->v[p * k].b != p / places) return NULL;
        for (int64_t i = 0; i < k - 1; i++) {
            struct fe_num *to = &r->v[p % places * (k - 1) + i];
            if (p >= places && to->b != s->v[p * k + i + 1].b) return NULL;
            *to = s->v[p * k + i + 1];
        }
    }
    return fe_val_sym(c, r);
}

static bool scatter_samples(struct fe_ctx *c, struct fe_node *n, struct fe_val *index, const char *reduction) {
    ir_vid x = fe_in(c, n, 0), u = fe_in(c, n, 2);
    const struct ir_type t = *fe_typeof(c, x);
    int64_t places = fe_type(c, index)->dims[0], k = fe_type(c, index)->dims[1],
            rows = fe_dims_product(t.dims, (int)k + 1, t.rank), ud[3] = {IR_N, places, rows};
    struct fe_val *flat = flat_index(c, index, &t, 1);
    const struct fe_sym *s = flat ? fe_known(c, flat, false) : NULL;
    for (size_t i = 0; s && i < s->n; i++)
        if (s->v[i].b == OUTSIDE) return fe_fail(c, n, "its index %zu is outside of %s", i, fe_dims_text(c, &t));
    if (!flat || u == IR_NONE) return false;
    if (!ir_is_batched(fe_typeof(c, u))) {
        int64_t fixed[3] = {c->baked, places, rows};
        u = fe_rebatch(c, fe_reshape(c, u, 3, fixed), IR_N);
        if (u == IR_NONE || !ir_is_batched(fe_typeof(c, u)))
            return fe_fail(c, n, "it assigns %lld samples of their own; export the model with a dynamic batch",
                           (long long)c->baked);
    }
    int64_t xd[3] = {IR_N, fe_dims_product(t.dims, 1, (int)k + 1), rows}, id[3] = {1, places, 1};
    ir_vid y = fe_scatter_elements(c, fe_reshape(c, x, 3, xd), fe_reshape(c, fe_vid(c, flat), 3, id),
                                   fe_reshape(c, u, 3, ud), 1, reduction);
    return fe_out(c, n, 0, fe_reshape(c, y, t.rank, t.dims));
}

bool fe_op_scatter_nd(struct fe_ctx *c, struct fe_node *n) {
    const struct fe_sym *s[3];
    const char *reduction = fe_attr_s(c, n, "reduction", "none");
    for (size_t i = 0; i < 3; i++) {
        if (!fe_arg(n, i) || fe_arg(n, i)->is_seq) return fe_fail(c, n, "operand %zu must be a tensor", i);
        s[i] = fe_known(c, fe_arg(n, i), i == 1);
    }
    const struct ir_type t = *fe_type(c, fe_arg(n, 0));
    struct fe_val *each = of_each_sample(c, &t, s[1]), *index = in_samples(c, fe_arg(n, 0), fe_arg(n, 1));
    if (each) return scatter_samples(c, n, each, reduction);
    int b = index != NULL;
    if (!index) index = fe_arg(n, 1);
    struct fe_val *flat = coordinates(c, n, index, b, b);
    if (!flat) return false;
    const struct ir_type it = *fe_type(c, flat), ut = *fe_type(c, fe_arg(n, 2));
    int k = (int)fe_type(c, index)->dims[it.rank];
    bool same = ut.rank == it.rank + t.rank - b - k;
    for (int i = 0; same && i < ut.rank; i++)
        same = ut.dims[i] == (i < it.rank ? it.dims[i] : t.dims[b + k + i - it.rank]);
    if (!same)
        return fe_fail(c, n, "its updates %s do not fit its indices %s and its data %s", fe_dims_text(c, &ut),
                       fe_dims_text(c, fe_type(c, fe_arg(n, 1))), fe_dims_text(c, &t));
    if (s[0] && s[1] && s[2] && !strcmp(reduction, "none") && fe_sym_is_const(s[1])) {
        struct fe_sym *r = scattered(c, s[0], s[1], s[2], k);
        if (r) return fe_out_sym(c, n, 0, r);
    }
    int64_t rows = fe_dims_product(t.dims, b + k, t.rank), places = fe_dims_product(it.dims, b, it.rank);
    int64_t xd[3] = {IR_N, fe_dims_product(t.dims, b, b + k), rows}, id[3] = {IR_N, places, 1},
            ud[3] = {IR_N, places, rows};
    ir_vid x = fe_in(c, n, 0), u = fe_in(c, n, 2), at = fe_vid(c, flat);
    int skip = 1 - b;
    ir_vid y = fe_scatter_elements(c, fe_reshape(c, x, 2 + b, xd + skip), fe_reshape(c, at, 2 + b, id + skip),
                                   fe_reshape(c, u, 2 + b, ud + skip), b, reduction);
    return fe_out(c, n, 0, fe_reshape(c, y, t.rank, t.dims));
}

// Rows of `update` put behind each other from the place on that each sample has of its own, 0 where none is given; a
// circular cache goes on at its begin.
bool fe_op_tensor_scatter(struct fe_ctx *c, struct fe_node *n) {
    ir_vid in[2] = {fe_in(c, n, 0), fe_in(c, n, 1)};
    int axis;
    const char *mode = fe_attr_s(c, n, "mode", "linear");
    bool circular = !strcmp(mode, "circular");
    if (in[0] == IR_NONE || in[1] == IR_NONE) return fe_fail(c, n, "needs two tensors");
    const struct ir_type t = *fe_typeof(c, in[0]), ut = *fe_typeof(c, in[1]);
    if (!fe_axis(c, n, fe_attr_i(c, n, "axis", -2), t.rank, &axis)) return false;
    if (!circular && strcmp(mode, "linear")) return fe_fail(c, n, "mode \"%s\" is not known", mode);
    if (axis == 0 || ut.rank != t.rank || differs(c, in[0], in[1], axis) >= 0 || ut.dims[axis] > t.dims[axis])
        return fe_fail(c, n, "its update %s does not fit its cache %s", fe_dims_text(c, &ut), fe_dims_text(c, &t));
    int64_t row[IR_MAX_RANK], steps[IR_MAX_RANK];
    for (int i = 0; i < t.rank; i++) {
        row[i] = i == 0 ? t.dims[0] : 1;
        steps[i] = i == axis ? ut.dims[i] : 1;
    }
    ir_vid at = fe_emit(c, IR_OP_iota, NULL, 0, IR_ATTRS(IR_IS("shape", steps, t.rank), IR_I("axis", axis)));
    if (fe_arg(n, 2)) at = fe_e2(c, IR_OP_add, fe_reshape(c, fe_cast(c, fe_in(c, n, 2), IR_I64), t.rank, row), at);
    if (circular) at = fe_e2(c, IR_OP_rem, at, fe_num(c, IR_I64, (double)t.dims[axis]));
    return fe_out(c, n, 0, fe_scatter_elements(c, in[0], at, in[1], axis, "none"));
}

// --- along an axis

static bool axis_operand(struct fe_ctx *c, struct fe_node *n, int *axis) {
    double given;
    int64_t number;
    if (!fe_arg(n, 0) || !fe_scalar(c, n, 1, 0, &given)) return false;
    if (!checked_whole(given, &number)) return fe_fail(c, n, "its axis is %g", given);
    return fe_axis(c, n, number, fe_type(c, fe_arg(n, 0))->rank, axis);
}

static bool cumulate(struct fe_ctx *c, struct fe_node *n, enum ir_op op, int axis, bool exclusive, bool reverse) {
    ir_vid x = fe_in(c, n, 0);
    return fe_out(
        c, n, 0,
        fe_emit(c, op, &x, 1, IR_ATTRS(IR_I("axis", axis), IR_I("exclusive", exclusive), IR_I("reverse", reverse))));
}

bool fe_op_cum_sum(struct fe_ctx *c, struct fe_node *n) {
    int axis;
    if (!axis_operand(c, n, &axis)) return false;
    struct fe_val *xv = fe_arg(n, 0);
    bool exclusive = fe_attr_i(c, n, "exclusive", 0) != 0, reverse = fe_attr_i(c, n, "reverse", 0) != 0;
    const struct fe_sym *s = fe_known(c, xv, false);
    const struct ir_type t = *fe_type(c, xv);
    int64_t len = t.dims[axis], inner = 1;
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
    return cumulate(c, n, IR_OP_cum_sum, axis, exclusive, reverse);
}

bool fe_op_cum_prod(struct fe_ctx *c, struct fe_node *n) {
    int axis;
    return axis_operand(c, n, &axis) && cumulate(c, n, IR_OP_cum_prod, axis, fe_attr_i(c, n, "exclusive", 0) != 0,
                                                 fe_attr_i(c, n, "reverse", 0) != 0);
}

// Its number of results is an attribute before opset 10; the smallest are from 11 on.
bool fe_op_top_k(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0);
    double given;
    int64_t k = fe_attr_i(c, n, "k", -1);
    int axis;
    if (x == IR_NONE || !fe_scalar(c, n, 1, (double)k, &given)) return false;
    const struct ir_type t = *fe_typeof(c, x);
    if (!fe_axis(c, n, fe_attr_i(c, n, "axis", -1), t.rank, &axis)) return false;
    if (!checked_whole(given, &k) || k < 1 || (t.dims[axis] >= 0 && k > t.dims[axis]))
        return fe_fail(c, n, "it takes %g of %s elements", given, ir_dim_text(t.dims[axis], (char[24]){0}));
    ir_nid id =
        ir_node_new(c->g, IR_OP_top_k, &x, 1,
                    IR_ATTRS(IR_I("axis", axis), IR_I("k", k), IR_I("largest", fe_attr_i(c, n, "largest", 1) != 0)));
    if (id == IR_NONE) return false;
    ir_vid values = c->g->nodes[id].out[0], places = c->g->nodes[id].out[1];
    return fe_out(c, n, 0, values) && fe_out(c, n, 1, places);
}

// Element t of a row of length l comes from l - 1 - t, and those behind it stay.
bool fe_op_reverse_sequence(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0), len = fe_cast(c, fe_in(c, n, 1), IR_I64);
    int time, batch;
    if (x == IR_NONE || len == IR_NONE) return false;
    const struct ir_type t = *fe_typeof(c, x), lt = *fe_typeof(c, len);
    if (!fe_axis(c, n, fe_attr_i(c, n, "time_axis", 0), t.rank, &time) ||
        !fe_axis(c, n, fe_attr_i(c, n, "batch_axis", 1), t.rank, &batch))
        return false;
    if (time == batch || lt.rank != 1 || lt.dims[0] != t.dims[batch])
        return fe_fail(c, n, "its lengths %s do not fit axis %d of %s", fe_dims_text(c, &lt), batch,
                       fe_dims_text(c, &t));
    int64_t row[IR_MAX_RANK], steps[IR_MAX_RANK];
    for (int i = 0; i < t.rank; i++) {
        row[i] = i == batch ? t.dims[i] : 1;
        steps[i] = i == time ? t.dims[i] : 1;
    }
    ir_vid at = fe_emit(c, IR_OP_iota, NULL, 0, IR_ATTRS(IR_IS("shape", steps, t.rank), IR_I("axis", time)));
    len = fe_reshape(c, len, t.rank, row);
    ir_vid turned = fe_e2(c, IR_OP_sub, fe_e2(c, IR_OP_sub, len, fe_num(c, IR_I64, 1)), at);
    ir_vid index = fe_where(c, fe_e2(c, IR_OP_lt, at, len), turned, at);
    return fe_out(c, n, 0, fe_gather_elements(c, x, index, time));
}
