// From graph nodes to pointwise expressions: inline producers are followed, broadcasts and views become strides.
#include "lower.h"

#include <string.h>

void cg_xb_begin(struct cg_xb *x, struct cg_lower *L, const struct ir_type *iter, struct cg_coord *co) {
    memset(x, 0, sizeof *x);
    x->L = L;
    memset(co, 0, sizeof *co * IR_MAX_RANK);
    int n = iter->rank;
    for (int i = 0; i < n; i++) {
        int d = iter->perm[i];
        int64_t e = iter->dims[d];
        x->e.loops.extent[i] = e < 0 ? -e : e;
        if (e < 0) {
            CHECK(i == 0, "symbolic dimension is not physically outermost");
            x->e.loops.batched = true;
        }
        co[d].c[i] = 1;
    }
    if (n == 0) x->e.loops.extent[n++] = 1;
    x->e.loops.n = n;
}

int cg_xb_step(struct cg_xb *x, enum ir_op op, enum ir_dtype t, const int *in, int n_in) {
    CHECK(x->e.n_steps < CG_MAX_STEPS, "fused expression of more than %d steps", CG_MAX_STEPS);
    struct cg_step *s = &x->e.steps[x->e.n_steps];
    *s = (struct cg_step){.op = op, .dtype = t, .n_in = (uint8_t)n_in};
    for (int i = 0; i < n_in; i++) s->in[i] = (uint16_t)in[i];
    return x->e.n_steps++;
}

int cg_xb_fill(struct cg_xb *x, enum ir_dtype t, double v) {
    int s = cg_xb_step(x, IR_OP_fill, t, NULL, 0);
    x->e.steps[s].fconst = v;
    x->e.steps[s].iconst = ir_is_float(t) ? 0 : ir_int_of_float(t, v);
    return s;
}

static bool same_arg(const struct cg_arg *a, const struct cg_arg *b) {
    return a->kind == b->kind && a->value == b->value && a->offset == b->offset && a->offset_n == b->offset_n;
}

int cg_xb_ptr(struct cg_xb *x, struct cg_arg a) {
    for (int i = 0; i < x->e.n_ptr; i++)
        if (same_arg(&x->args[i], &a)) return i;
    CHECK(x->e.n_ptr < CG_MAX_PTRS, "kernel with more than %d pointers", CG_MAX_PTRS);
    x->args[x->e.n_ptr] = a;
    return x->e.n_ptr++;
}

static int leaf_step(struct cg_xb *x, const struct cg_leaf *l) {
    int k = 0;
    while (k < x->e.n_leaves && memcmp(&x->e.leaves[k], l, sizeof *l) != 0) k++;
    if (k == x->e.n_leaves) {
        CHECK(k < CG_MAX_LEAVES, "fused expression reads more than %d values", CG_MAX_LEAVES);
        memcpy(&x->e.leaves[x->e.n_leaves++], l, sizeof *l);
    }
    for (int s = 0; s < x->e.n_steps; s++)
        if (x->e.steps[s].op == IR_OP_NONE && x->e.steps[s].leaf == k) return s;
    int s = cg_xb_step(x, IR_OP_NONE, l->dtype, NULL, 0);
    x->e.steps[s].leaf = k;
    return s;
}

static void affine(struct cg_leaf *l, const struct cg_coord *co, int64_t stride) {
    l->offset += co->k * stride;
    for (int i = 0; i < CG_MAX_LOOPS; i++) l->stride[i] += co->c[i] * stride;
}

struct cg_leaf cg_xb_leaf(struct cg_xb *x, ir_vid v, const struct cg_coord *co) {
    const struct ir_value *val = &x->L->g->values[v];
    struct cg_leaf l;
    memset(&l, 0, sizeof l); // compared with memcmp
    l.kind = CG_LEAF_MEM;
    l.dtype = val->type.dtype;
    l.narrow = val->type.narrow;
    l.ptr = cg_xb_ptr(x, CG_VALUE(v));
    int64_t st[IR_MAX_RANK];
    ir_strides(&val->type, st);
    for (int d = 0; d < val->type.rank; d++) affine(&l, &co[d], st[d]);
    return l;
}

static int index_step(struct cg_xb *x, const struct cg_coord *co, const int64_t *stride, int rank) {
    struct cg_leaf l;
    memset(&l, 0, sizeof l);
    l.kind = CG_LEAF_INDEX;
    l.ptr = -1;
    l.dtype = IR_I64;
    for (int d = 0; d < rank; d++) affine(&l, &co[d], stride[d]);
    return leaf_step(x, &l);
}

// Coordinates of an operand that broadcasts to the result: right-aligned, 0 along dims of size 1.
static void broadcast(const struct ir_type *from, const struct ir_type *to, const struct cg_coord *co,
                      struct cg_coord *out) {
    int shift = to->rank - from->rank;
    for (int d = 0; d < from->rank; d++) {
        if (from->dims[d] == 1)
            memset(&out[d], 0, sizeof out[d]);
        else
            out[d] = co[d + shift];
    }
}

static int step_bn_apply(struct cg_xb *x, const struct ir_node *n, const struct cg_coord *co) {
    int in[5] = {cg_xb_value(x, n->in[0], co)};
    for (int i = 1; i < 5; i++) in[i] = cg_xb_value(x, n->in[i], &co[1]);
    return cg_xb_step(x, IR_OP_bn_apply, IR_F32, in, 5);
}

int cg_xb_node(struct cg_xb *x, ir_nid nid, const struct cg_coord *co) {
    struct ir_graph *g = x->L->g;
    const struct ir_node *n = &g->nodes[nid];
    const struct ir_type *t = &g->values[n->out[0]].type;
    struct cg_coord c[IR_MAX_RANK];
    memset(c, 0, sizeof c);
    enum ir_op_kind kind = ir_ops[n->op].kind;
    if (kind == IR_KIND_VIEW) {
        const struct ir_type *s = &g->values[n->in[0]].type;
        size_t cnt;
        if (n->op == IR_OP_transpose) {
            const int64_t *perm = ir_attr_ints(n, "perm", &cnt);
            for (int d = 0; d < t->rank; d++) c[perm[d]] = co[d];
        } else if (n->op == IR_OP_expand) {
            broadcast(s, t, co, c);
        } else if (n->op == IR_OP_slice) {
            const int64_t *starts = ir_attr_ints(n, "starts", &cnt), *steps = ir_attr_ints(n, "steps", &cnt);
            for (int d = 0; d < t->rank; d++) {
                c[d] = co[d];
                for (int i = 0; i < CG_MAX_LOOPS; i++) c[d].c[i] *= steps[d];
                c[d].k = co[d].k * steps[d] + starts[d];
            }
        } else if (n->op == IR_OP_reverse) {
            const int64_t *axes = ir_attr_ints(n, "axes", &cnt);
            memcpy(c, co, sizeof(struct cg_coord) * t->rank);
            for (size_t a = 0; a < cnt; a++) {
                struct cg_coord *r = &c[axes[a] < 0 ? axes[a] + t->rank : axes[a]];
                int64_t last = s->dims[axes[a] < 0 ? axes[a] + t->rank : axes[a]] - 1;
                for (int i = 0; i < CG_MAX_LOOPS; i++) r->c[i] = -r->c[i];
                r->k = last - r->k;
            }
        } else {
            BUG("view op %s inside an expression", ir_ops[n->op].name);
        }
        return cg_xb_value(x, n->in[0], c);
    }
    CHECK(kind == IR_KIND_PW, "op %s inside an expression", ir_ops[n->op].name);
    if (n->op == IR_OP_bn_apply) return step_bn_apply(x, n, co);
    if (n->op == IR_OP_fill) return cg_xb_fill(x, t->dtype, ir_attr_f(n, "value"));
    if (n->op == IR_OP_iota) {
        int64_t one = 1;
        int in = index_step(x, &co[ir_axis_of(n, "axis", t->rank)], &one, 1);
        return cg_xb_step(x, IR_OP_iota, t->dtype, &in, 1);
    }
    if (n->op == IR_OP_dropout_mask || n->op == IR_OP_random) { // of the element's number and the seed
        struct ir_type rm = *t;
        int64_t st[IR_MAX_RANK];
        for (int d = 0; d < rm.rank; d++) rm.perm[d] = (uint8_t)d;
        ir_strides(&rm, st);
        int in[2] = {index_step(x, co, st, t->rank), cg_xb_value(x, n->in[n->n_in - 1], c)};
        int s = cg_xb_step(x, n->op, t->dtype, in, 2);
        if (n->op == IR_OP_dropout_mask) x->e.steps[s].fconst = ir_attr_f(n, "ratio");
        x->e.steps[s].iconst = ir_attr_i(n, "salt");
        return s;
    }
    int in[5];
    CHECK(n->n_in <= 5, "pointwise op with %d operands", n->n_in);
    for (int i = 0; i < n->n_in; i++) {
        broadcast(&g->values[n->in[i]].type, t, co, c);
        in[i] = cg_xb_value(x, n->in[i], c);
    }
    int s = cg_xb_step(x, n->op, t->dtype, in, n->n_in);
    if (n->op == IR_OP_round_to) x->e.steps[s].iconst = ir_half_by_name(ir_attr_s(n, "to"));
    return s;
}

void cg_xb_known(struct cg_xb *x, ir_vid v, const struct cg_coord *co, int s) {
    if (x->n_memo == CG_MAX_STEPS) return;
    x->memo[x->n_memo].v = v;
    x->memo[x->n_memo].step = s;
    memcpy(x->memo[x->n_memo].co, co, sizeof *co * x->L->g->values[v].type.rank);
    x->n_memo++;
}

int cg_xb_value(struct cg_xb *x, ir_vid v, const struct cg_coord *co) {
    const struct ir_value *val = &x->L->g->values[v];
    size_t bytes = sizeof(struct cg_coord) * val->type.rank;
    for (int m = 0; m < x->n_memo; m++)
        if (x->memo[m].v == v && memcmp(x->memo[m].co, co, bytes) == 0) return x->memo[m].step;
    int s;
    if (val->role == IR_ROLE_CONST && ir_numel(&val->type) == 1) {
        double d = 0;
        int64_t i = 0;
        if (ir_is_float(val->type.dtype))
            d = ir_get_float(val->type.dtype, val->data, 0);
        else
            i = ir_get_int(val->type.dtype, val->data, 0);
        s = cg_xb_fill(x, val->type.dtype, d);
        x->e.steps[s].iconst = i;
    } else if (val->role == IR_ROLE_NODE && x->L->g->nodes[val->def].is_inline) {
        s = cg_xb_node(x, val->def, co);
    } else if (val->role == IR_ROLE_SCALAR) {
        struct cg_leaf l;
        memset(&l, 0, sizeof l);
        l.kind = CG_LEAF_SCALAR;
        l.dtype = val->type.dtype;
        l.ptr = cg_xb_ptr(x, CG_VALUE(v));
        s = leaf_step(x, &l);
    } else {
        struct cg_leaf l = cg_xb_leaf(x, v, co);
        s = leaf_step(x, &l);
    }
    cg_xb_known(x, v, co, s);
    return s;
}

void cg_xb_finish(struct cg_xb *x, int root, ir_vid out, const struct cg_coord *co) {
    x->e.out[x->e.n_roots] = cg_xb_leaf(x, out, co);
    x->e.root[x->e.n_roots++] = (uint16_t)root;
}

// Moves where each operand begins out of the expression and into the call, so that nodes that differ in nothing else
// are one kernel: the steps of a sequence.
void cg_xb_rebase(struct cg_xb *x) {
    for (int p = 0; p < x->e.n_ptr; p++) {
        bool found = false;
        int64_t base = 0;
        for (int k = 0; k < x->e.n_leaves + x->e.n_roots; k++) {
            struct cg_leaf *l = k < x->e.n_leaves ? &x->e.leaves[k] : &x->e.out[k - x->e.n_leaves];
            if (l->kind != CG_LEAF_MEM || l->ptr != p) continue;
            if (!found) x->args[p].offset += (base = l->offset) * cg_leaf_size(l);
            found = true;
            l->offset -= base;
        }
    }
}

void cg_xb_call(struct cg_xb *x) {
    cg_xb_rebase(x);
    struct str key = STR_INIT;
    str_add(&key, "pw:");
    cg_expr_key(&x->e, &key);
    struct cg_kernel k = {.key = arena_strdup(x->L->arena, key.s), .emit = cg_emit_pointwise, .n_ptr = x->e.n_ptr};
    k.params = arena_dup(x->L->arena, &x->e, sizeof x->e);
    str_release(&key);
    cg_call(x->L, &k, x->args, x->e.n_ptr);
}

void cg_xb_store(struct cg_xb *x, int root, ir_vid out, const struct cg_coord *co) {
    cg_xb_finish(x, root, out, co);
    cg_expr_collapse(&x->e);
    cg_xb_call(x);
}
