// Einsum: operands are contracted one after the other, each time as a product of matrices or, where nothing is summed
// but what both have alone, elementwise.
//
// A label is a number: 0 to 51 for letters in the order of ASCII, from 52 on for the axes that an ellipsis stands for,
// counted from the last. The label of the batch N stays first; it broadcasts where one operand lacks it.
#include "onnx_internal.h"

#include <string.h>

enum { ELLIPSIS = 52, LABELS = ELLIPSIS + IR_MAX_RANK, MOST_OPERANDS = 64 };

struct term {
    uint8_t label[IR_MAX_RANK];
    int n;
    int dots; // where the ellipsis stands among the letters; -1: there is none
};

struct operand {
    ir_vid v;
    struct term t;
};

struct equation {
    const char *text;
    struct term in[MOST_OPERANDS], out;
    int n_in;
    bool has_out;
    int64_t size[LABELS];
};

static int find(const struct term *t, int label) {
    for (int i = 0; i < t->n; i++)
        if (t->label[i] == label) return i;
    return -1;
}

static uint64_t set_of(const struct term *t) {
    uint64_t s = 0;
    for (int i = 0; i < t->n; i++) s |= UINT64_C(1) << t->label[i];
    return s;
}

static bool has(uint64_t set, int label) { return set >> label & 1; }
static void push(struct term *t, int label) { t->label[t->n++] = (uint8_t)label; }

static bool parse(struct equation *e) {
    struct term *t = &e->in[0];
    e->n_in = 1;
    t->dots = e->out.dots = -1;
    for (const char *p = e->text; *p; p++) {
        if (*p == ' ') continue;
        if (*p == ',') {
            if (e->n_in == MOST_OPERANDS || e->has_out) return false;
            t = &e->in[e->n_in++];
            t->dots = -1;
        } else if (*p == '-' && p[1] == '>') {
            if (e->has_out) return false;
            e->has_out = true;
            t = &e->out;
            p++;
        } else if (*p == '.' && p[1] == '.' && p[2] == '.') {
            if (t->dots >= 0) return false;
            t->dots = t->n;
            p += 2;
        } else {
            int l = *p >= 'A' && *p <= 'Z' ? *p - 'A' : *p >= 'a' && *p <= 'z' ? *p - 'a' + 26 : -1;
            if (l < 0 || t->n == IR_MAX_RANK || (t == &e->out && find(t, l) >= 0)) return false;
            push(t, l);
        }
    }
    return true;
}

// Puts `count` axes for the ellipsis of a term; they are the last ones of the longest ellipsis.
static bool fill_dots(struct term *t, int count) {
    if (t->dots < 0) return count == 0;
    if (t->n + count > IR_MAX_RANK) return false;
    memmove(t->label + t->dots + count, t->label + t->dots, (size_t)(t->n - t->dots));
    for (int i = 0; i < count; i++) t->label[t->dots + i] = (uint8_t)(ELLIPSIS + count - 1 - i);
    t->n += count;
    return true;
}

// What a result without "->" has: the ellipsis, and letters that occur once, in order.
static void implicit_result(struct equation *e, int dots) {
    int seen[ELLIPSIS] = {0};
    for (int k = 0; k < e->n_in; k++)
        for (int i = 0; i < e->in[k].n; i++)
            if (e->in[k].label[i] < ELLIPSIS) seen[e->in[k].label[i]]++;
    e->out = (struct term){.dots = 0};
    for (int l = 0; l < ELLIPSIS; l++)
        if (seen[l] == 1 && e->out.n < IR_MAX_RANK) push(&e->out, l);
    fill_dots(&e->out, dots);
}

// --- operands

static ir_vid without_axis(struct fe_ctx *c, ir_vid v, struct term *t, int axis) { // of one element
    struct ir_type type = *fe_typeof(c, v);
    memmove(type.dims + axis, type.dims + axis + 1, (size_t)(type.rank - axis - 1) * sizeof *type.dims);
    memmove(t->label + axis, t->label + axis + 1, (size_t)(t->n - axis - 1));
    t->n--;
    return fe_reshape(c, v, type.rank - 1, type.dims);
}

// Axes i and j of one label become one, the last: every (d + 1)-th element of both.
static ir_vid diagonal(struct fe_ctx *c, ir_vid v, struct term *t, int i, int j) {
    struct ir_type type = *fe_typeof(c, v);
    int64_t perm[IR_MAX_RANK], dims[IR_MAX_RANK], d = type.dims[i];
    struct term rest = {.dots = -1};
    int n = 0;
    for (int k = 0; k < t->n; k++) {
        if (k == i || k == j) continue;
        perm[n] = k;
        dims[n++] = type.dims[k];
        push(&rest, t->label[k]);
    }
    perm[n] = i;
    perm[n + 1] = j;
    push(&rest, t->label[i]);
    *t = rest;
    v = fe_transpose(c, v, n + 2, perm);
    dims[n] = d * d;
    v = fe_reshape(c, v, n + 1, dims);
    return fe_cut(c, v, n, 0, d, d + 1);
}

static ir_vid diagonals(struct fe_ctx *c, ir_vid v, struct term *t) {
    for (int i = 0; i < t->n; i++)
        for (int j = i + 1; j < t->n && v != IR_NONE; j++)
            if (t->label[i] == t->label[j]) {
                v = diagonal(c, v, t, i, j);
                i = -1;
                break;
            }
    return v;
}

// Permutes an operand to the labels of `want`, summing the others away.
static ir_vid arrange(struct fe_ctx *c, const struct operand *o, const struct term *want) {
    int64_t axes[IR_MAX_RANK], perm[IR_MAX_RANK];
    size_t drop = 0;
    struct term kept = {.dots = -1};
    ir_vid v = o->v;
    for (int i = 0; i < o->t.n; i++) {
        if (find(want, o->t.label[i]) < 0)
            axes[drop++] = i;
        else
            push(&kept, o->t.label[i]);
    }
    if (drop) v = fe_reduce(c, IR_OP_reduce_sum, v, axes, drop, 0);
    bool same = true;
    for (int i = 0; i < want->n; i++) {
        perm[i] = find(&kept, want->label[i]);
        same &= perm[i] == i;
    }
    return same ? v : fe_transpose(c, v, want->n, perm);
}

// --- two operands

// Labels of `both` in the order in which the result is best made: the batch, those of the equation's result, others.
static struct term in_order(const struct equation *e, const struct operand *a, const struct operand *b) {
    struct term all = {.dots = -1};
    const struct term *from[3] = {&e->out, &a->t, &b->t};
    const uint64_t there = set_of(&a->t) | set_of(&b->t);
    for (int lead = 1; lead >= 0; lead--)
        for (int k = 0; k < 3; k++)
            for (int i = 0; i < from[k]->n && all.n < IR_MAX_RANK; i++) {
                int l = from[k]->label[i];
                if ((e->size[l] < 0) == lead && has(there, l) && find(&all, l) < 0) push(&all, l);
            }
    return all;
}

static struct term those(const struct term *order, uint64_t set) {
    struct term t = {.dots = -1};
    for (int i = 0; i < order->n; i++)
        if (has(set, order->label[i])) push(&t, order->label[i]);
    return t;
}

static int64_t elements(const struct equation *e, const struct term *t, uint64_t set) {
    int64_t n = 1;
    for (int i = 0; i < t->n; i++)
        if (has(set, t->label[i])) n *= e->size[t->label[i]];
    return n;
}

// By broadcasting, then summing.
static struct operand elementwise(struct fe_ctx *c, const struct equation *e, const struct operand *o,
                                  const struct term *order, uint64_t keep) {
    ir_vid v[2];
    for (int k = 0; k < 2; k++) {
        struct term mine = those(order, set_of(&o[k].t));
        int64_t dims[IR_MAX_RANK];
        for (int i = 0; i < order->n; i++) dims[i] = find(&mine, order->label[i]) < 0 ? 1 : e->size[order->label[i]];
        v[k] = fe_reshape(c, arrange(c, &o[k], &mine), order->n, dims);
    }
    struct operand all = {fe_e2(c, IR_OP_mul, v[0], v[1]), *order}, r = {IR_NONE, those(order, keep)};
    r.v = all.v == IR_NONE ? IR_NONE : arrange(c, &all, &r.t);
    return r;
}

// As [lead, both, left, sum] and [lead, both, sum, right].
static struct operand product(struct fe_ctx *c, const struct equation *e, const struct operand *o,
                              const struct term *order, const uint64_t *part) {
    const uint64_t lead = part[0], both = part[1], sum = part[2], own[2] = {set_of(&o[0].t), set_of(&o[1].t)};
    struct term res = {.dots = -1};
    ir_vid v[2];
    for (int k = 0; k < 2; k++) {
        uint64_t mine = own[k] & ~(lead | both | sum), parts[4] = {lead & own[k], both, mine, sum};
        if (k) parts[2] = sum, parts[3] = mine;
        struct term want = {.dots = -1};
        int64_t dims[4];
        for (int i = 0; i < 4; i++) {
            struct term some = those(order, parts[i]);
            memcpy(want.label + want.n, some.label, (size_t)some.n);
            want.n += some.n;
            dims[i] = elements(e, order, parts[i]);
        }
        v[k] = fe_reshape(c, arrange(c, &o[k], &want), 4, dims);
    }
    const uint64_t left = own[0] & ~(lead | both | sum), right = own[1] & ~(lead | both | sum);
    const uint64_t of_result[4] = {lead, both, left, right};
    int64_t dims[IR_MAX_RANK];
    for (int i = 0; i < 4; i++) {
        struct term some = those(order, of_result[i]);
        memcpy(res.label + res.n, some.label, (size_t)some.n);
        res.n += some.n;
    }
    for (int i = 0; i < res.n; i++) dims[i] = e->size[res.label[i]];
    return (struct operand){fe_reshape(c, fe_matmul(c, v[0], v[1], 0, 0), res.n, dims), res};
}

// The product of two operands, with the labels of `keep`.
static struct operand contract(struct fe_ctx *c, const struct equation *e, struct operand *o, uint64_t keep) {
    for (int k = 0; k < 2; k++) { // what only one has and nobody wants
        struct term want = those(&o[k].t, keep | set_of(&o[1 - k].t));
        o[k].v = arrange(c, &o[k], &want);
        o[k].t = want;
    }
    const uint64_t a = set_of(&o[0].t), b = set_of(&o[1].t);
    struct term order = in_order(e, &o[0], &o[1]);
    uint64_t lead = 0;
    for (int i = 0; i < order.n; i++)
        if (e->size[order.label[i]] < 0) lead |= UINT64_C(1) << order.label[i];
    const uint64_t part[3] = {lead, a & b & keep & ~lead, a & b & ~keep & ~lead};
    bool fits = set_of(&order) == (a | b), pairs = (a ^ b) & ~lead;
    if (fits && (!part[2] || !pairs)) return elementwise(c, e, o, &order, keep);
    return product(c, e, o, &order, part);
}

// --- the operator

static bool read_operands(struct fe_ctx *c, struct fe_node *n, struct equation *e, struct operand *o) {
    int most = 0;
    for (int k = 0; k < e->n_in; k++) {
        o[k].v = fe_in(c, n, (size_t)k);
        if (o[k].v == IR_NONE) return fe_fail(c, n, "operand %d must be a tensor", k);
        int rank = fe_typeof(c, o[k].v)->rank, dots = rank - e->in[k].n;
        if (dots < 0 || !fill_dots(&e->in[k], dots))
            return fe_fail(c, n, "operand %d has %d dimensions, which \"%s\" does not name", k, rank, e->text);
        if (dots > most) most = dots;
        o[k].t = e->in[k];
    }
    if (!e->has_out) implicit_result(e, most);
    if (e->has_out && !fill_dots(&e->out, e->out.dots >= 0 ? most : 0))
        return fe_fail(c, n, "the result of \"%s\" has more than %d dimensions", e->text, IR_MAX_RANK);
    return true;
}

// Sizes by label; an axis of one element broadcasts.
static bool read_sizes(struct fe_ctx *c, struct fe_node *n, struct equation *e, const struct operand *o) {
    uint64_t batch = 0;
    for (int k = 0; k < e->n_in; k++)
        for (int i = 0; i < o[k].t.n; i++) {
            int64_t d = fe_typeof(c, o[k].v)->dims[i], *s = &e->size[o[k].t.label[i]];
            if (*s && *s != d && *s != 1 && d != 1)
                return fe_fail(c, n, "an index of \"%s\" is %s in one place, %s in another", e->text,
                               arena_strdup(c->a, ir_dim_text(*s, (char[24]){0})), ir_dim_text(d, (char[24]){0}));
            if (*s == 0 || *s == 1) *s = d;
            if (d < 0) batch |= UINT64_C(1) << o[k].t.label[i];
        }
    if (batch & (batch - 1)) return fe_fail(c, n, "\"%s\" has the batch under two indices", e->text);
    for (int i = 0; i < e->out.n; i++)
        if (!e->size[e->out.label[i]])
            return fe_fail(c, n, "an index of the result of \"%s\" is in no operand", e->text);
    return true;
}

bool fe_op_einsum(struct fe_ctx *c, struct fe_node *n) {
    struct equation *e = ARENA_NEW(c->a, struct equation);
    struct operand *o = ARENA_ARRAY(c->a, struct operand, MOST_OPERANDS);
    e->text = fe_attr_s(c, n, "equation", "");
    if (!parse(e) || (size_t)e->n_in != n->n_in)
        return fe_fail(c, n,
                       "equation \"%s\" cannot be read; indices are letters or \"...\", one term for each of %zu "
                       "operands, at most %d, and each once in the result",
                       e->text, n->n_in, MOST_OPERANDS);
    if (!read_operands(c, n, e, o) || !read_sizes(c, n, e, o)) return false;
    for (int k = 0; k < e->n_in; k++) {
        for (int i = o[k].t.n - 1; i >= 0; i--)
            if (fe_typeof(c, o[k].v)->dims[i] == 1 && e->size[o[k].t.label[i]] != 1)
                if ((o[k].v = without_axis(c, o[k].v, &o[k].t, i)) == IR_NONE) return false;
        if ((o[k].v = diagonals(c, o[k].v, &o[k].t)) == IR_NONE) return false;
    }
    struct operand all = o[0];
    for (int k = 1; k < e->n_in; k++) {
        uint64_t keep = set_of(&e->out);
        for (int later = k + 1; later < e->n_in; later++) keep |= set_of(&o[later].t);
        struct operand two[2] = {all, o[k]};
        all = contract(c, e, two, keep);
        if (all.v == IR_NONE) return false;
    }
    return fe_out(c, n, 0, arrange(c, &all, &e->out));
}
