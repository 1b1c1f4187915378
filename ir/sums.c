// Sums of many parts, as the gradient of a value that is used many times is one. What is unrolled over time uses its
// weights, and steps of its inputs, in every step: one by one, T steps would be T products with the batch's few rows
// and T additions of whole weights, and T tensors of all steps that are zero but for one.
//
//   parts that lie beside each other with zeros around them    are one concatenation
//   products a_t^T b_t of few rows each                        are one product of all rows
//   sums of x_t over few rows each                             are one sum over all rows
//
// All other parts are added in their order, as before.
#include "ir_internal.h"

#include <stdlib.h>
#include <string.h>

enum form { OTHER, PLACED, PRODUCT, ROWS };
// How many are worth it; products and sums read copies of their operands, beside each other.
static const size_t enough[] = {[PLACED] = 2, [PRODUCT] = 4, [ROWS] = 4};
enum { FEW_ROWS = 16, FEW_FIXED_ROWS = 256, MAX_OPERANDS = 64 };

struct part {
    ir_vid v;
    enum form form;
    struct ir_node node; // what makes it, but for a reshape of the result
    int axis;            // PLACED: the one along which it has zeros beside it
    int64_t lo, len;
    size_t order;
};

static bool few(int64_t dim) { return dim < 0 ? -dim <= FEW_ROWS : dim <= FEW_FIXED_ROWS; }

static enum form placed(const struct ir_graph *g, struct part *p) {
    size_t n, n_steps;
    const int64_t *lo = ir_attr_ints(&p->node, "lo", &n), *hi = ir_attr_ints(&p->node, "hi", &n);
    const int64_t *steps = ir_attr_ints(&p->node, "steps", &n_steps);
    if (ir_attr_f(&p->node, "value") != 0) return OTHER;
    for (size_t i = 0; i < n_steps; i++)
        if (steps[i] != 1) return OTHER;
    p->axis = -1;
    for (size_t i = 0; i < n; i++) {
        if (!lo[i] && !hi[i]) continue;
        if (p->axis >= 0) return OTHER;
        p->axis = (int)i;
    }
    if (p->axis < 0) return OTHER;
    p->lo = lo[p->axis];
    p->len = g->values[p->node.in[0]].type.dims[p->axis];
    return PLACED;
}

static enum form summed(const struct ir_graph *g, const struct part *p) {
    const struct ir_type *t = &g->values[p->node.in[0]].type;
    size_t n;
    const int64_t *axes = ir_attr_ints(&p->node, "axes", &n);
    if (n == 0 || axes[0] != 0 || t->rank == IR_MAX_RANK || !few(t->dims[0])) return OTHER;
    for (size_t i = 1; i < n; i++)
        if (!few(t->dims[axes[i]])) return OTHER;
    return ROWS;
}

static struct part look_at(const struct ir_graph *g, ir_vid v) {
    struct part p = {.v = v};
    ir_vid made = v;
    if (ir_defined_by(g, made, IR_OP_reshape)) made = g->nodes[g->values[made].def].in[0];
    if (g->values[made].def == IR_NONE) return p;
    p.node = g->nodes[g->values[made].def];
    const struct ir_type *t = p.node.n_in ? &g->values[p.node.in[0]].type : NULL;
    if (p.node.op == IR_OP_pad && made == v)
        p.form = placed(g, &p);
    else if (p.node.op == IR_OP_reduce_sum)
        p.form = summed(g, &p);
    else if (p.node.op == IR_OP_matmul && t->rank == 2 && g->values[p.node.in[1]].type.rank == 2 &&
             ir_attr_i(&p.node, "trans_a") && !ir_attr_i(&p.node, "trans_b") && few(t->dims[0]))
        p.form = PRODUCT;
    return p;
}

bool ir_may_join(const struct ir_graph *g, ir_vid v) { return look_at(g, v).form != OTHER; }

static bool alike(const struct ir_graph *g, const struct part *a, const struct part *b) {
    if (a->form != b->form || a->node.n_in != b->node.n_in || a->node.n_attrs != b->node.n_attrs) return false;
    if (a->form == PLACED) return a->axis == b->axis;
    for (int k = 0; k < a->node.n_in; k++)
        if (!ir_type_equal(&g->values[a->node.in[k]].type, &g->values[b->node.in[k]].type)) return false;
    for (int k = 0; k < a->node.n_attrs; k++)
        if (!ir_attr_equal(&a->node.attrs[k], &b->node.attrs[k])) return false;
    return true;
}

static ir_vid joined(struct ir_graph *g, ir_vid *v, size_t n, int axis) {
    while (n > 1) {
        size_t k = 0;
        for (size_t i = 0; i < n; i += MAX_OPERANDS) {
            const size_t some = n - i < MAX_OPERANDS ? n - i : MAX_OPERANDS;
            v[k++] = some == 1 ? v[i] : ir_emit(g, IR_OP_concat, v + i, some, IR_ATTRS(IR_I("axis", axis)));
        }
        n = k;
    }
    return v[0];
}

static ir_vid zeros(struct ir_graph *g, struct ir_type t, int axis, int64_t len) {
    t.dims[axis] = len;
    return ir_emit(g, IR_OP_fill, NULL, 0,
                   IR_ATTRS(IR_IS("shape", t.dims, t.rank), IR_S("dtype", ir_dtype_name(t.dtype))));
}

static int by_place(const void *a, const void *b) {
    const struct part *x = a, *y = b;
    if (x->lo != y->lo) return x->lo < y->lo ? -1 : 1;
    if (x->len != y->len) return x->len < y->len ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

// Parts at the same place are added first; IR_NONE where others overlap.
static ir_vid join_placed(struct ir_graph *g, struct part *p, size_t n, ir_vid *in) {
    const struct ir_type t = g->values[p->v].type;
    const int axis = p->axis;
    int64_t at = 0;
    size_t m = 0;
    qsort(p, n, sizeof *p, by_place);
    for (size_t i = 1; i < n; i++) {
        const bool same = p[i].lo == p[i - 1].lo && p[i].len == p[i - 1].len;
        if (!same && p[i].lo < p[i - 1].lo + p[i - 1].len) return IR_NONE;
    }
    for (size_t i = 0; i < n; i++) {
        if (i && p[i].lo == p[i - 1].lo) {
            in[m - 1] = ir_add(g, in[m - 1], p[i].node.in[0]);
            continue;
        }
        if (p[i].lo > at) in[m++] = zeros(g, t, axis, p[i].lo - at);
        in[m++] = p[i].node.in[0];
        at = p[i].lo + p[i].len;
    }
    if (at < t.dims[axis]) in[m++] = zeros(g, t, axis, t.dims[axis] - at);
    return joined(g, in, m, axis);
}

// Operand k of all parts, one behind the other on a new axis 1.
static ir_vid stacked(struct ir_graph *g, const struct part *p, size_t n, int k, ir_vid *in) {
    for (size_t i = 0; i < n; i++) {
        struct ir_type t = g->values[p[i].node.in[k]].type;
        memmove(t.dims + 2, t.dims + 1, (size_t)(t.rank - 1) * sizeof *t.dims);
        t.dims[1] = 1;
        in[i] = ir_reshape(g, p[i].node.in[k], t.rank + 1, t.dims);
    }
    return joined(g, in, n, 1);
}

static ir_vid join_products(struct ir_graph *g, const struct part *p, size_t n, ir_vid *in) {
    ir_vid side[2];
    for (int k = 0; k < 2; k++) {
        side[k] = stacked(g, p, n, k, in);
        const struct ir_type *t = &g->values[side[k]].type;
        side[k] = ir_reshape(g, side[k], 2, (int64_t[2]){t->dims[0] * t->dims[1], t->dims[2]});
    }
    return ir_matmul(g, side[0], side[1], 1, 0);
}

static ir_vid join_sums(struct ir_graph *g, const struct part *p, size_t n, ir_vid *in) {
    size_t k;
    const int64_t *axes = ir_attr_ints(&p->node, "axes", &k);
    int64_t to[IR_MAX_RANK] = {0, 1};
    for (size_t i = 1; i < k; i++) to[i + 1] = axes[i] + 1;
    return ir_reduce(g, IR_OP_reduce_sum, stacked(g, p, n, 0, in), to, k + 1, 0);
}

ir_vid ir_sum_of_parts(struct ir_graph *g, const ir_vid *v, size_t n) {
    struct part *p = xcalloc(n, sizeof *p), *group = xcalloc(n, sizeof *group);
    ir_vid *in = xcalloc(2 * n + 1, sizeof *in), sum = IR_NONE;
    bool *done = xcalloc(n, 1), *tried = xcalloc(n, 1);
    for (size_t i = 0; i < n; i++) p[i] = look_at(g, v[i]);
    for (size_t i = 0; i < n; i++) {
        if (done[i]) continue;
        size_t m = 0;
        for (size_t j = i; j < n && p[i].form != OTHER && !tried[i]; j++)
            if (!done[j] && (j == i || alike(g, &p[i], &p[j]))) {
                group[m] = p[j];
                group[m++].order = j;
            }
        ir_vid one = IR_NONE;
        if (p[i].form != OTHER && m >= enough[p[i].form])
            one = p[i].form == PLACED    ? join_placed(g, group, m, in)
                  : p[i].form == PRODUCT ? join_products(g, group, m, in)
                                         : join_sums(g, group, m, in);
        for (size_t j = 0; j < m; j++) *(one == IR_NONE ? &tried[group[j].order] : &done[group[j].order]) = true;
        if (one == IR_NONE) {
            one = v[i];
        } else {
            const struct ir_type t = g->values[v[i]].type;
            if (!ir_same_dims(&t, &g->values[one].type)) one = ir_reshape(g, one, t.rank, t.dims);
        }
        sum = sum == IR_NONE ? one : ir_add(g, sum, one);
    }
    free(p);
    free(group);
    free(in);
    free(done);
    free(tried);
    return sum;
}
