// Shapes and moves. Every dim here may be a multiple of the batch N; shape operands are resolved at import.
#include "onnx_internal.h"

#include <string.h>

static struct fe_val *tensor(struct fe_ctx *c, struct fe_node *n, size_t i) {
    struct fe_val *v = fe_arg(n, i);
    if (!v || v->is_seq) {
        fe_fail(c, n, "operand %zu must be a tensor", i);
        return NULL;
    }
    return v;
}

static int64_t clamp(int64_t v, int64_t lo, int64_t hi) { return v < lo ? lo : v > hi ? hi : v; }

bool fe_op_shape(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = tensor(c, n, 0);
    if (!x) return false;
    int64_t dims[IR_MAX_RANK];
    int rank = fe_onnx_dims(c, x, dims);
    int64_t start = fe_attr_i(c, n, "start", 0), end = fe_attr_i(c, n, "end", rank);
    start = clamp(start < 0 ? start + rank : start, 0, rank);
    end = clamp(end < 0 ? end + rank : end, start, rank);
    return fe_out_sym(c, n, 0, fe_sym_of_dims(c->a, dims + start, (int)(end - start)));
}

bool fe_op_size(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = tensor(c, n, 0);
    if (!x) return false;
    const struct ir_type *t = fe_type(c, x);
    int64_t size = ir_is_batched(t) ? -ir_numel(t) : ir_numel(t);
    struct fe_sym *s = fe_sym_of_dims(c->a, &size, 1);
    s->type.rank = 0;
    return fe_out_sym(c, n, 0, s);
}

// --- Reshape

// Fills in the -1 of `dims` (at `hole`, or none when < 0) so that the element counts of a batched (or not) tensor
// agree.
static bool solve(int64_t *dims, int rank, int hole, int64_t total, bool batched) {
    int64_t rest = 1;
    int symbolic = 0;
    for (int i = 0; i < rank; i++) {
        if (i == hole) continue;
        symbolic += dims[i] < 0;
        if (dims[i] && __builtin_mul_overflow(rest, dims[i] < 0 ? -dims[i] : dims[i], &rest)) return false;
        if (dims[i] == 0) return total == 0;
    }
    if (symbolic > 1 || (symbolic && !batched)) return false;
    if (hole >= 0) {
        if (total % rest) return false;
        dims[hole] = batched && !symbolic ? -(total / rest) : total / rest;
        symbolic += dims[hole] < 0;
        rest = total;
    }
    if (rest != total || (symbolic == 1) != batched) return false;
    for (int i = 1; i < rank; i++)
        if (dims[i] < 0) return false; // the batch leads
    return true;
}

bool fe_op_reshape(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = tensor(c, n, 0);
    const struct fe_sym *s;
    if (!x || !fe_ints(c, n, "shape", 1, &s)) return false;
    if (!s || s->n > IR_MAX_RANK) return fe_fail(c, n, "needs a shape of at most %d dimensions", IR_MAX_RANK);
    const struct ir_type t = *fe_type(c, x);
    bool batched = ir_is_batched(&t), allowzero = fe_attr_i(c, n, "allowzero", 0) != 0;
    int64_t dims[IR_MAX_RANK], from_dims[IR_MAX_RANK], total = ir_numel(&t); // a*N (batched) or b
    int rank = (int)s->n, hole = -1, from_rank = fe_onnx_dims(c, x, from_dims);
    for (int i = 0; i < rank; i++) {
        if (!s->v[i].a && s->v[i].b == -1) {
            if (hole >= 0) return fe_fail(c, n, "its shape has two -1");
            hole = i;
            dims[i] = 1;
        } else if (!s->v[i].a && s->v[i].b == 0 && !allowzero) {
            if (i >= from_rank)
                return fe_fail(c, n, "its shape copies dimension %d of a tensor of rank %d", i, from_rank);
            dims[i] = from_dims[i];
        } else if (!fe_num_dim(&s->v[i], &dims[i])) {
            return fe_fail(c, n, "dimension %d of its shape is not a size or a multiple of the batch", i);
        }
    }
    int64_t tried[IR_MAX_RANK];
    memcpy(tried, dims, sizeof tried);
    if (!x->is_moved && solve(tried, rank, hole, total, batched))
        return fe_out_val(n, 0, fe_p_reshape(c, x, rank, tried));
    // The file has a fixed batch B: a leading number that is a multiple of B is meant as that multiple of N.
    if (batched && !x->is_moved && c->baked > 0 && rank > 0 && hole != 0 && dims[0] > 0 && dims[0] % c->baked == 0) {
        memcpy(tried, dims, sizeof tried);
        tried[0] = -(dims[0] / c->baked);
        if (solve(tried, rank, hole, total, batched)) {
            fe_edit_shape(c->m, n->p, rank, tried);
            return fe_out_val(n, 0, fe_p_reshape(c, x, rank, tried));
        }
    }
    struct fe_frame f;
    bool baked = false;
    memcpy(tried, dims, sizeof tried);
    if (batched && fe_moved_solve(c, x, tried, rank, hole, &f, &baked)) {
        if (baked) fe_edit_shape(c->m, n->p, rank, tried);
        return fe_out_val(n, 0, fe_moved_reshape(c, x, &f, tried));
    }
    struct str from = STR_INIT, to = STR_INIT;
    char buf[24];
    for (int i = 0; i < from_rank; i++) str_addf(&from, "%s%s", i ? "," : "", ir_dim_text(from_dims[i], buf));
    for (int i = 0; i < rank; i++) str_addf(&to, "%s%s", i ? "," : "", i == hole ? "-1" : ir_dim_text(dims[i], buf));
    fe_fail(c, n, "cannot reshape [%s] to [%s] for every batch size; keep the samples of a batch apart",
            from.s ? from.s : "", to.s ? to.s : "");
    str_release(&from);
    str_release(&to);
    return false;
}

bool fe_op_flatten(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = tensor(c, n, 0);
    if (!x) return false;
    const struct ir_type t = *fe_type(c, x);
    int64_t axis = fe_attr_i(c, n, "axis", 1), dims[2] = {1, 1};
    if (axis < -t.rank || axis > t.rank)
        return fe_fail(c, n, "axis %lld is outside a tensor of rank %d", (long long)axis, t.rank);
    if (axis < 0) axis += t.rank;
    for (int i = 0; i < t.rank; i++) dims[i >= axis] *= t.dims[i];
    if (dims[1] < 0) return fe_fail(c, n, "it moves the batch out of the first axis; use axis=1");
    return fe_out_val(n, 0, fe_p_reshape(c, x, 2, dims));
}

static bool read_axis_set(struct fe_ctx *c, struct fe_node *n, int rank, bool *set, int *count) {
    int64_t axes[IR_MAX_RANK];
    if (!fe_const_ints(c, n, "axes", 1, axes, IR_MAX_RANK, count)) return false;
    for (int i = 0; i < *count; i++) {
        int a;
        if (!fe_axis(c, n, axes[i], rank, &a)) return false;
        if (set[a]) return fe_fail(c, n, "axis %d is named twice", a);
        set[a] = true;
    }
    return true;
}

// x with the ONNX dims `dims`, its batch now at axis `at`.
static struct fe_val *regrouped(struct fe_ctx *c, struct fe_val *x, int rank, const int64_t *dims, int at) {
    if (!ir_is_batched(fe_type(c, x)) || (!x->is_moved && at == 0)) return fe_p_reshape(c, x, rank, dims);
    struct fe_frame f = {.rank = rank, .at = at, .before = 1, .after = -dims[at]};
    if (x->is_moved) {
        f.before = x->frame.before;
        f.after = x->frame.after;
    }
    return fe_moved_reshape(c, x, &f, dims);
}

bool fe_op_squeeze(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = tensor(c, n, 0);
    if (!x) return false;
    int64_t dims[IR_MAX_RANK];
    int from = fe_onnx_dims(c, x, dims), rank = 0, count, at = 0;
    bool set[IR_MAX_RANK] = {false};
    if (!read_axis_set(c, n, from, set, &count)) return false;
    for (int i = 0; i < from; i++) {
        int64_t d = dims[i];
        if (count >= 0 && set[i] && d != 1) return fe_fail(c, n, "cannot squeeze axis %d, whose size is not 1", i);
        if (count < 0 ? d == 1 : set[i]) continue;
        if (d < 0) at = rank;
        dims[rank++] = d;
    }
    return fe_out_val(n, 0, regrouped(c, x, rank, dims, at));
}

bool fe_op_unsqueeze(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = tensor(c, n, 0);
    if (!x) return false;
    int64_t axes[IR_MAX_RANK], dims[IR_MAX_RANK], old[IR_MAX_RANK];
    int count, from = fe_onnx_dims(c, x, old), batch = 0;
    if (!fe_const_ints(c, n, "axes", 1, axes, IR_MAX_RANK, &count)) return false;
    if (count < 0 || from + count > IR_MAX_RANK)
        return fe_fail(c, n, "needs axes, at most %d dimensions in all", IR_MAX_RANK);
    bool set[IR_MAX_RANK] = {false};
    int rank = from + count, at = 0;
    for (int i = 0; i < count; i++) {
        int a;
        if (!fe_axis(c, n, axes[i], rank, &a)) return false;
        set[a] = true;
    }
    for (int i = 0; i < rank; i++) {
        if (!set[i] && at >= from) return fe_fail(c, n, "an axis is named twice");
        dims[i] = set[i] ? 1 : old[at++];
        if (dims[i] < 0) batch = i;
    }
    if (at != from) return fe_fail(c, n, "an axis is named twice");
    return fe_out_val(n, 0, regrouped(c, x, rank, dims, batch));
}

bool fe_op_transpose(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = tensor(c, n, 0);
    if (!x) return false;
    const int rank = x->is_moved ? x->frame.rank : fe_type(c, x)->rank;
    size_t cnt;
    const int64_t *given = fe_attr_ints(n, "perm", &cnt);
    int64_t perm[IR_MAX_RANK];
    bool seen[IR_MAX_RANK] = {false};
    if (given && cnt != (size_t)rank) return fe_fail(c, n, "perm has %zu entries for a tensor of rank %d", cnt, rank);
    for (int i = 0; i < rank; i++) {
        perm[i] = given ? given[i] : rank - 1 - i;
        if (perm[i] < 0) perm[i] += rank;
        if (perm[i] < 0 || perm[i] >= rank || seen[perm[i]]) return fe_fail(c, n, "perm is not a permutation");
        seen[perm[i]] = true;
    }
    bool plain = !ir_is_batched(fe_type(c, x)) || (!x->is_moved && perm[0] == 0);
    return fe_out_val(n, 0, plain ? fe_p_transpose(c, x, perm) : fe_moved_transpose(c, x, perm));
}

// Known elements whose rows along `axis` are all the same, as one row; v itself where they are not known, or differ.
static struct fe_val *one_row(struct fe_ctx *c, struct fe_val *v, int axis) {
    const struct fe_sym *s = fe_known(c, v, false);
    if (!s) return v;
    size_t inner = 1, rows = (size_t)s->type.dims[axis];
    for (int i = axis + 1; i < s->type.rank; i++) inner *= (size_t)s->type.dims[i];
    for (size_t i = 0; i < s->n; i++)
        if (i / inner % rows && memcmp(&s->v[i], &s->v[i - inner], sizeof *s->v)) return v;
    return fe_p_take(c, v, axis, &(int64_t){0}, 1);
}

bool fe_op_expand(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = tensor(c, n, 0);
    const struct fe_sym *s;
    if (!x || !fe_ints(c, n, "shape", 1, &s)) return false;
    if (!s || s->n > IR_MAX_RANK) return fe_fail(c, n, "needs a shape of at most %d dimensions", IR_MAX_RANK);
    int64_t dims[IR_MAX_RANK], now[IR_MAX_RANK];
    const int had = fe_onnx_dims(c, x, now);
    int rank = (int)s->n > had ? (int)s->n : had, batch = -1;
    bool baked = false;
    for (int i = 0; i < rank; i++) {
        int xi = i - (rank - had), si = i - (rank - (int)s->n);
        int64_t xd = xi < 0 ? 1 : now[xi], sd = 1;
        if (si >= 0 && !fe_num_dim(&s->v[si], &sd)) {
            if (s->v[si].a || s->v[si].b != -1) return fe_fail(c, n, "dimension %d of its shape is not a size", si);
            sd = 1; // -1 keeps the operand's size, as PyTorch writes it
        }
        if (xd < 0 && sd > 0 && c->baked && sd == -xd * c->baked) { // the file's fixed batch
            sd = xd;
            baked = true;
        }
        if (sd < 0 && xd > 1 && c->baked && xd == -sd * c->baked) { // so it is in a constant
            x = one_row(c, x, xi);
            if (fe_onnx_dims(c, x, now) && now[xi] == 1) xd = 1;
        }
        if (xd != 1 && sd != 1 && xd != sd)
            return fe_fail(c, n, "cannot expand axis %d from %lld to %lld", i, (long long)xd, (long long)sd);
        dims[i] = xd == 1 ? sd : xd;
        if (dims[i] < 0 && batch >= 0)
            return fe_fail(c, n, "axes %d and %d of its result are both the batch", batch, i);
        if (dims[i] < 0) batch = i;
    }
    if (baked) fe_edit_shape(c->m, n->p, rank, dims);
    if (batch > 0) {
        struct fe_val *moved = fe_moved_expand(c, x, rank, dims);
        return moved ? fe_out_val(n, 0, moved) : fe_fail(c, n, "its result has too many dimensions");
    }
    struct fe_val *r = fe_p_expand(c, x, rank, dims);
    ir_vid v = r && !r->sym && c->depth == 0 ? fe_vid(c, r) : IR_NONE; // a weight itself where nothing is repeated
    if (v != IR_NONE) {
        c->expands = arena_grow(c->a, c->expands, c->n_expands, &c->cap_expands, sizeof *c->expands);
        c->expands[c->n_expands].v = v;
        c->expands[c->n_expands++].node = n->p;
    }
    return fe_out_val(n, 0, r);
}

// Tile-13: repeat axis i r[i] times = insert a dim of r[i] before it and merge the two.
static bool tile(struct fe_ctx *c, struct fe_node *n, struct fe_val *x, const struct fe_sym *s) {
    const struct ir_type t = *fe_type(c, x);
    for (int i = 0; i < t.rank && x; i++) {
        int64_t rep, mid[IR_MAX_RANK + 1], wide[IR_MAX_RANK + 1];
        const struct ir_type now = *fe_type(c, x);
        if (!fe_num_dim(&s->v[i], &rep)) return fe_fail(c, n, "repeat count %d is not a size", i);
        if (rep == 1) continue;
        if ((rep < 0 && (i || now.dims[0] != 1)) || (i == 0 && now.dims[0] < 0))
            return fe_fail(c, n, "it repeats the batch or along it, which is not supported");
        memcpy(wide, now.dims, sizeof now.dims);
        if (now.dims[i] == 1) {
            wide[i] = rep;
            x = fe_p_expand(c, x, now.rank, wide);
            continue;
        }
        if (now.rank == IR_MAX_RANK)
            return fe_fail(c, n, "tiling a tensor of %d dimensions is not supported", IR_MAX_RANK);
        for (int k = 0; k <= now.rank; k++) mid[k] = k < i ? now.dims[k] : k == i ? 1 : now.dims[k - 1];
        x = fe_p_reshape(c, x, now.rank + 1, mid);
        mid[i] = rep;
        x = x ? fe_p_expand(c, x, now.rank + 1, mid) : NULL;
        if (!checked_mul(now.dims[i], rep, &wide[i]))
            return fe_fail(c, n, "axis %d repeated %lld times is too long", i, (long long)rep);
        x = x ? fe_p_reshape(c, x, now.rank, wide) : NULL;
    }
    return fe_out_val(n, 0, x);
}

bool fe_op_tile(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = tensor(c, n, 0);
    const struct fe_sym *s;
    if (!x || !fe_ints(c, n, NULL, 1, &s)) return false;
    const int rank = fe_type(c, x)->rank;
    if (!s || s->n != (size_t)rank) return fe_fail(c, n, "needs one repeat count for each of %d dimensions", rank);
    return tile(c, n, x, s);
}

// Tile-1: one axis, that many times; both operands are single numbers of x's type.
bool fe_op_tile_axis(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = tensor(c, n, 0);
    double times, axis;
    int64_t to, reps[IR_MAX_RANK];
    int a;
    if (!x || !fe_scalar(c, n, 1, 1, &times) || !fe_scalar(c, n, 2, 0, &axis)) return false;
    const int rank = fe_type(c, x)->rank;
    for (int i = 0; i < rank; i++) reps[i] = 1;
    if (!checked_whole(axis, &to)) return fe_fail(c, n, "axis %g is no axis", axis);
    if (!fe_axis(c, n, to, rank, &a)) return false;
    if (!checked_whole(times, &reps[a]) || reps[a] < 1) return fe_fail(c, n, "it repeats an axis %g times", times);
    return tile(c, n, x, fe_sym_ints(c->a, reps, (size_t)rank));
}

bool fe_op_concat(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val **v = ARENA_ARRAY(c->a, struct fe_val *, n->n_in + 1);
    size_t m = 0;
    for (size_t i = 0; i < n->n_in; i++)
        if (!(v[m++] = tensor(c, n, i))) return false;
    if (m == 0) return fe_fail(c, n, "has no operands");
    int axis, rank = fe_type(c, v[0])->rank;
    for (size_t i = 1; i < m; i++)
        if (fe_type(c, v[i])->rank != rank)
            return fe_fail(c, n, "operands 0 and %zu, %s and %s, have different numbers of dimensions", i,
                           fe_dims_text(c, fe_type(c, v[0])), fe_dims_text(c, fe_type(c, v[i])));
    if (!fe_axis(c, n, fe_attr_i(c, n, "axis", 1), rank, &axis)) return false;
    return fe_out_val(n, 0, m == 1 ? v[0] : fe_p_concat(c, v, m, axis));
}

bool fe_op_split(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = tensor(c, n, 0);
    int axis, count;
    if (!x) return false;
    const struct ir_type t = *fe_type(c, x);
    int64_t *sizes = ARENA_ARRAY(c->a, int64_t, n->n_out + 1), at = 0;
    if (n->n_out == 0) return fe_fail(c, n, "has no results");
    if (!fe_axis(c, n, fe_attr_i(c, n, "axis", 0), t.rank, &axis)) return false;
    if (c->opset < 2 && fe_arg(n, 1)) { // sizes of the operand's type, floats
        const struct fe_sym *s = fe_known(c, fe_arg(n, 1), true);
        n->in[1] = s ? fe_val_sym(c, fe_sym_cast(c->a, s, IR_I64)) : n->in[1];
    }
    if (!fe_const_ints(c, n, "split", 1, sizes, n->n_out, &count)) return false;
    if (t.dims[axis] < 0) return fe_fail(c, n, "it splits the batch, which is not supported");
    if (count < 0) { // equal parts, the last one smaller
        int64_t each = (t.dims[axis] + (int64_t)n->n_out - 1) / (int64_t)n->n_out;
        for (size_t i = 0; i < n->n_out; i++) {
            sizes[i] = each < t.dims[axis] - at ? each : t.dims[axis] - at;
            at += sizes[i];
        }
        at = 0;
    } else if ((size_t)count != n->n_out) {
        return fe_fail(c, n, "it has %zu results but %d sizes", n->n_out, count);
    }
    for (size_t i = 0; i < n->n_out; i++) {
        if (sizes[i] < 0 || sizes[i] > t.dims[axis] - at)
            return fe_fail(c, n, "its sizes do not add up to %lld", (long long)t.dims[axis]);
        if (n->wanted[i] && !fe_out_val(n, i, fe_p_cut(c, x, axis, at, sizes[i], 1))) return false;
        at += sizes[i];
    }
    return at == t.dims[axis] || fe_fail(c, n, "its sizes do not add up to %lld", (long long)t.dims[axis]);
}

// One bound of a slice against a dim of size d (IR dim): clamped, negative counts from the end. false: depends on N.
static bool bound(const struct fe_num *v, int64_t d, int64_t lo, int64_t hi, int64_t *out) {
    if (v->a) return false;
    *out = clamp(v->b < 0 ? v->b + d : v->b, lo, hi); // no overflow: the signs differ
    return true;
}

// Whether a slice by step 1 takes all of a dim of d*N elements at every N: from its first to its last or any number
// that no batch reaches.
static bool takes_all(const struct fe_ctx *c, const struct fe_num *start, const struct fe_num *end, int64_t d) {
    bool first = !start->a && (start->b == 0 || start->b <= -FE_BEYOND_BATCH);
    first |= start->a <= -d && start->b <= 0; // -N and before
    bool baked = c->baked && end->b == d * c->baked;
    return first && (end->a ? end->a >= d && end->b >= 0 : end->b >= FE_BEYOND_BATCH || baked);
}

bool fe_op_slice(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = tensor(c, n, 0);
    if (!x) return false;
    const struct ir_type t = *fe_type(c, x);
    const struct fe_sym *st, *en;
    int64_t axes[IR_MAX_RANK], steps_in[IR_MAX_RANK], starts[IR_MAX_RANK] = {0}, sizes[IR_MAX_RANK], steps[IR_MAX_RANK];
    int n_axes, n_steps;
    if (!fe_ints(c, n, "starts", 1, &st) || !fe_ints(c, n, "ends", 2, &en) ||
        !fe_const_ints(c, n, "axes", 3, axes, IR_MAX_RANK, &n_axes) ||
        !fe_const_ints(c, n, NULL, 4, steps_in, IR_MAX_RANK, &n_steps))
        return false;
    if (!st || !en || st->n != en->n || st->n > (size_t)t.rank || (n_axes >= 0 && (size_t)n_axes != st->n) ||
        (n_steps >= 0 && (size_t)n_steps != st->n))
        return fe_fail(c, n, "its starts, ends, axes and steps do not agree in length");
    for (int i = 0; i < t.rank; i++) {
        sizes[i] = t.dims[i];
        steps[i] = 1;
    }
    for (size_t i = 0; i < st->n; i++) {
        int axis;
        if (!fe_axis(c, n, n_axes >= 0 ? axes[i] : (int64_t)i, t.rank, &axis)) return false;
        int64_t d = t.dims[axis], step = n_steps >= 0 ? steps_in[i] : 1, s, e;
        if (step == 0) return fe_fail(c, n, "its step is 0");
        if (d < 0) {
            if (step != 1 || !takes_all(c, &st->v[i], &en->v[i], -d))
                return fe_fail(c, n, "it takes a part of the batch, which is not supported");
            continue;
        }
        bool ok = step > 0 ? bound(&st->v[i], d, 0, d, &s) && bound(&en->v[i], d, 0, d, &e)
                           : bound(&st->v[i], d, 0, d - 1, &s) && bound(&en->v[i], d, -1, d - 1, &e);
        if (!ok) return fe_fail(c, n, "its range on axis %d depends on the batch size", axis);
        // s and e lie within -1 .. d: only the step may be anything.
        int64_t span = step > 0 ? e - s : s - e;
        sizes[axis] = d == 0 || span <= 0 ? 0 : (step > 0 ? (span - 1) / step : -((span - 1) / step)) + 1;
        starts[axis] = sizes[axis] ? s : 0;
        steps[axis] = sizes[axis] > 1 ? step : 1;
    }
    return fe_out_val(n, 0, fe_p_slice(c, x, starts, sizes, steps));
}

// Constant indices 0, 1, 2 .. over the whole leading dim at the file's fixed batch size.
static bool whole_batch(const struct fe_ctx *c, const struct ir_type *t, const struct fe_sym *s) {
    if (c->baked < 1 || s->type.rank < 1 || s->type.dims[0] % c->baked || (int64_t)s->n != -t->dims[0] * c->baked ||
        t->rank - 1 + s->type.rank > IR_MAX_RANK)
        return false;
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].a || s->v[i].b != (int64_t)i) return false;
    return true;
}

// What is picked of x along another axis than the first by indices of samples: the batch is then where that axis was.
static struct fe_val *gather_inside(struct fe_ctx *c, ir_vid x, ir_vid index, int axis) {
    const struct ir_type t = *fe_typeof(c, x), it = *fe_typeof(c, index);
    int64_t front[IR_MAX_RANK] = {axis}, perm[IR_MAX_RANK];
    int n = 0;
    if (t.rank - 1 + it.rank > IR_MAX_RANK) return NULL;
    for (int i = 0, k = 1; i < t.rank; i++)
        if (i != axis) front[k++] = i;
    ir_vid in[2] = {fe_transpose(c, x, t.rank, front), index};
    ir_vid y = fe_emit(c, IR_OP_gather, in, 2, IR_ATTRS(IR_I("axis", 0)));
    for (int i = 0; i < axis; i++) perm[n++] = it.rank + i;
    for (int i = 0; i < it.rank; i++) perm[n++] = i;
    for (int i = axis; i + 1 < t.rank; i++) perm[n++] = it.rank + i;
    return y == IR_NONE ? NULL : fe_moved_transpose(c, fe_val_of(c, y), perm);
}

bool fe_op_gather(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = tensor(c, n, 0), *iv = tensor(c, n, 1);
    int axis;
    if (!x || !iv || !fe_axis(c, n, fe_attr_i(c, n, "axis", 0), fe_type(c, x)->rank, &axis)) return false;
    const struct ir_type t = *fe_type(c, x);
    const struct fe_sym *s = fe_known(c, iv, false);
    if (t.dims[0] < 0 && axis == 0 && s && !n->moved &&
        whole_batch(c, &t, s)) { // as_strided with a baked batch: every element in order
        int64_t dims0[IR_MAX_RANK];
        int r = 0;
        for (int i = 0; i < s->type.rank; i++) dims0[r++] = s->type.dims[i];
        for (int i = 1; i < t.rank && r < IR_MAX_RANK; i++) dims0[r++] = t.dims[i];
        dims0[0] = -(dims0[0] / c->baked);
        fe_edit_shape(c->m, n->p, r, dims0);
        return fe_out_val(n, 0, fe_p_reshape(c, x, r, dims0));
    }
    if (!s || !fe_sym_is_const(s) || t.dims[axis] < 0) { // a look-up by computed indices, or samples of the batch
        const struct ir_type it = *fe_type(c, iv);
        if (n->moved && (axis == 0 || ir_is_batched(&it)))
            return fe_fail(c, n, "it looks up by computed indices along a batch that is not the first axis");
        if (n->moved && axis <= n->frame.at) n->frame.at += it.rank - 1;
        ir_vid in[2] = {fe_in(c, n, 0), fe_vid(c, iv)};
        if (in[0] != IR_NONE && in[1] != IR_NONE && !ir_is_int(fe_typeof(c, in[1])->dtype))
            return fe_fail(c, n, "its indices must be integers");
        if (in[0] != IR_NONE && in[1] != IR_NONE && axis && ir_is_batched(&it) && !ir_is_batched(&t))
            return fe_out_val(n, 0, gather_inside(c, in[0], in[1], axis));
        return fe_out(c, n, 0, fe_emit(c, IR_OP_gather, in, 2, IR_ATTRS(IR_I("axis", axis))));
    }
    int64_t *index = ARENA_ARRAY(c->a, int64_t, s->n + 1), dims[IR_MAX_RANK];
    if (!ir_is_int(s->type.dtype)) return fe_fail(c, n, "its indices must be integers");
    for (size_t i = 0; i < s->n; i++) {
        index[i] = s->v[i].b < 0 ? s->v[i].b + t.dims[axis] : s->v[i].b;
        if (index[i] < 0 || index[i] >= t.dims[axis])
            return fe_fail(c, n, "index %lld is outside axis %d of size %lld", (long long)s->v[i].b, axis,
                           (long long)t.dims[axis]);
    }
    int rank = 0;
    if (t.rank - 1 + s->type.rank > IR_MAX_RANK)
        return fe_fail(c, n, "its result has more than %d dimensions", IR_MAX_RANK);
    for (int i = 0; i < axis; i++) dims[rank++] = t.dims[i];
    for (int i = 0; i < s->type.rank; i++) dims[rank++] = s->type.dims[i];
    for (int i = axis + 1; i < t.rank; i++) dims[rank++] = t.dims[i];
    if (n->moved && axis <= n->frame.at) n->frame.at += s->type.rank - 1;
    struct fe_val *r = fe_p_take(c, x, axis, index, s->n);
    return r && fe_out_val(n, 0, fe_p_reshape(c, r, rank, dims));
}
