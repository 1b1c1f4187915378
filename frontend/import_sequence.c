// Sequences and optional values, resolved at import: a sequence is a list of values.
#include "scope.h"

#include <string.h>

bool fe_op_identity(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *v = fe_arg(n, 0);
    return v ? fe_out_val(n, 0, v) : fe_fail(c, n, "operand 0 is missing");
}

static bool out_seq(struct fe_ctx *c, struct fe_node *n, size_t i, struct fe_val **items, size_t k) {
    struct fe_val *v = ARENA_NEW(c->a, struct fe_val);
    *v = (struct fe_val){.vid = IR_NONE, .buffer_now = IR_NONE, .is_seq = true, .items = items, .n_items = k};
    return fe_out_val(n, i, v);
}

static struct fe_val *seq(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *v = fe_arg(n, 0);
    if (v && v->is_seq) return v;
    fe_fail(c, n, "operand 0 must be a sequence");
    return NULL;
}

bool fe_op_sequence_construct(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val **items = ARENA_ARRAY(c->a, struct fe_val *, n->n_in + 1);
    for (size_t i = 0; i < n->n_in; i++) {
        if (!fe_arg(n, i)) return fe_fail(c, n, "operand %zu is missing", i);
        items[i] = n->in[i];
    }
    return out_seq(c, n, 0, items, n->n_in);
}

// Position operand i (default `def`), which may equal the length when `end` is 1.
static bool position(struct fe_ctx *c, struct fe_node *n, size_t i, size_t len, size_t end, double def, size_t *out) {
    double at;
    if (!fe_scalar(c, n, i, def, &at)) return false;
    if (at < 0) at += (double)len;
    if (!(at >= 0 && at < (double)(len + end)))
        return fe_fail(c, n, "position %g is outside a sequence of %zu", at, len);
    *out = (size_t)at;
    return true;
}

bool fe_op_sequence_insert(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *s = seq(c, n), *x = fe_arg(n, 1);
    size_t at = 0;
    if (!s || !x || !position(c, n, 2, s->n_items, 1, (double)s->n_items, &at)) return false;
    struct fe_val **items = ARENA_ARRAY(c->a, struct fe_val *, s->n_items + 1);
    for (size_t i = 0; i <= s->n_items; i++) items[i] = i < at ? s->items[i] : i == at ? x : s->items[i - 1];
    return out_seq(c, n, 0, items, s->n_items + 1);
}

bool fe_op_sequence_at(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *s = seq(c, n);
    size_t at = 0;
    return s && position(c, n, 1, s->n_items, 0, 0, &at) && fe_out_val(n, 0, s->items[at]);
}

bool fe_op_sequence_length(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *s = seq(c, n);
    if (!s) return false;
    struct fe_sym *r = fe_sym_new(c->a, IR_I64, 0, NULL);
    r->v[0].b = (int64_t)s->n_items;
    return fe_out_sym(c, n, 0, r);
}

// SplitToSequence-11: `split` is a chunk size (scalar), a list of sizes, or absent (slices of 1, squeezed unless
// keepdims).
bool fe_op_split_to_sequence(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = fe_arg(n, 0);
    const struct fe_sym *s;
    int axis;
    if (!x || !fe_ints(c, n, NULL, 1, &s)) return false;
    const struct ir_type t = *fe_type(c, x);
    if (!fe_axis(c, n, fe_attr_i(c, n, "axis", 0), t.rank, &axis)) return false;
    int64_t total = t.dims[axis], at = 0, starts[IR_MAX_RANK] = {0}, sizes[IR_MAX_RANK], steps[IR_MAX_RANK];
    if (total < 0) return fe_fail(c, n, "it splits the batch, which is not supported");
    if (s && !fe_sym_is_const(s)) return fe_fail(c, n, "its sizes depend on the batch size");
    bool chunked = !s || s->type.rank == 0;
    int64_t chunk = s && chunked ? s->v[0].b : 1;
    if (chunk < 1 || total > 1 << 20)
        return fe_fail(c, n, "chunks of %lld of %lld", (long long)chunk, (long long)total);
    size_t count = chunked ? (size_t)((total + chunk - 1) / chunk) : s->n;
    struct fe_val **items = ARENA_ARRAY(c->a, struct fe_val *, count + 1);
    bool squeeze = !s && !fe_attr_i(c, n, "keepdims", 1);
    if (squeeze) fe_moved_lost(n, (int64_t[1]){axis}, 1);
    for (size_t i = 0; i < count; i++) {
        int64_t size = chunked ? (chunk < total - at ? chunk : total - at) : s->v[i].b;
        if (size < 1 || size > total - at) return fe_fail(c, n, "its sizes do not add up to %lld", (long long)total);
        for (int k = 0; k < t.rank; k++) {
            sizes[k] = k == axis ? size : t.dims[k];
            steps[k] = 1;
        }
        starts[axis] = at;
        at += size;
        if (!(items[i] = fe_p_slice(c, x, starts, sizes, steps))) return false;
        if (squeeze) {
            int64_t dims[IR_MAX_RANK];
            int rank = 0;
            for (int k = 0; k < t.rank; k++)
                if (k != axis) dims[rank++] = t.dims[k];
            if (!(items[i] = fe_p_reshape(c, items[i], rank, dims))) return false;
        }
    }
    return out_seq(c, n, 0, items, count);
}

bool fe_op_concat_from_sequence(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *s = seq(c, n);
    if (!s || s->n_items == 0) return false;
    if (fe_attr_i(c, n, "new_axis", 0)) {
        for (size_t i = 0; i < s->n_items; i++)
            if (s->items[i]->unknown) return false;
        return fe_out_val(n, 0, fe_stack(c, n, s->items, s->n_items, fe_attr_i(c, n, "axis", 0)));
    }
    if (s->items[0]->is_seq || s->items[0]->unknown) return false;
    int axis, rank = fe_type(c, s->items[0])->rank;
    for (size_t i = 0; i < s->n_items; i++) {
        if (s->items[i]->is_seq || s->items[i]->unknown || fe_type(c, s->items[i])->rank != rank)
            return fe_fail(c, n, "its elements differ in rank");
        if (s->items[i]->is_moved)
            return fe_fail(c, n, "its elements have the batch away from the first axis, which is not supported here");
    }
    if (!fe_axis(c, n, fe_attr_i(c, n, "axis", 0), rank, &axis)) return false;
    return fe_out_val(n, 0, fe_p_concat(c, s->items, s->n_items, axis));
}

bool fe_op_sequence_erase(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *s = seq(c, n);
    size_t at = 0;
    if (!s || !position(c, n, 1, s->n_items, 0, -1, &at)) return false;
    struct fe_val **items = ARENA_ARRAY(c->a, struct fe_val *, s->n_items);
    for (size_t i = 0; i + 1 < s->n_items; i++) items[i] = s->items[i < at ? i : i + 1];
    return out_seq(c, n, 0, items, s->n_items - 1);
}

// The body's results of each element; further operands that are sequences give an element, too.
bool fe_op_sequence_map(struct fe_ctx *c, struct fe_node *n) {
    const struct fe_val *s = seq(c, n);
    const Onnx__AttributeProto *a = fe_attr(n, "body");
    if (!s) return false;
    if (!a || !a->g || a->g->n_input != n->n_in || a->g->n_output < n->n_out)
        return fe_fail(c, n, "its body must take %zu values and give %zu", n->n_in, n->n_out);
    struct fe_val **in = ARENA_ARRAY(c->a, struct fe_val *, n->n_in), ***out;
    out = ARENA_ARRAY(c->a, struct fe_val **, s->n_items + 1);
    if (!fe_count_steps(c, n, (int64_t)s->n_items)) return false;
    for (size_t i = 0; i < s->n_items; i++) {
        for (size_t k = 0; k < n->n_in; k++) {
            in[k] = fe_arg(n, k);
            if (!in[k]) return fe_fail(c, n, "operand %zu is missing", k);
            if (in[k]->is_seq && in[k]->n_items != s->n_items)
                return fe_fail(c, n, "its sequences have %zu and %zu elements", s->n_items, in[k]->n_items);
            if (in[k]->is_seq) in[k] = in[k]->items[i];
        }
        if (!(out[i] = fe_run_body(c, n, a->g, in, n->n_in))) return false;
    }
    for (size_t k = 0; k < n->n_out; k++) {
        struct fe_val **items = ARENA_ARRAY(c->a, struct fe_val *, s->n_items + 1);
        for (size_t i = 0; i < s->n_items; i++) {
            if (!(items[i] = out[i][k])) return fe_fail(c, n, "result %zu of its body is made by no node", k);
            if (items[i]->unknown) return false;
        }
        if (!out_seq(c, n, k, items, s->n_items)) return false;
    }
    return true;
}

// --- optional values: one that is not there is an operand left out

bool fe_op_optional(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *v = fe_arg(n, 0);
    return fe_out_val(n, 0, v ? v : fe_val_new(c, ""));
}

bool fe_op_optional_has_element(struct fe_ctx *c, struct fe_node *n) {
    struct fe_sym *r = fe_sym_new(c->a, IR_BOOL, 0, NULL);
    r->v[0].b = fe_arg(n, 0) != NULL;
    return fe_out_sym(c, n, 0, r);
}

bool fe_op_optional_get_element(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *v = fe_arg(n, 0);
    return v ? fe_out_val(n, 0, v) : fe_fail(c, n, "its optional operand is not there");
}
