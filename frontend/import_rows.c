// Sample numbers. With a dynamic batch the default exporter writes as_strided, a view of everything in order, as
//   Gather(Reshape(x, [-1]), Range(0, N) * k + [0 .. k-1])
// Such indices (struct fe_val's rows) are followed here, and the Gather becomes the reshape that it is. What else is
// done with sample numbers is done with a counter along the batch.
#include "onnx_internal.h"

#include <string.h>

static bool out_rows(struct fe_ctx *c, struct fe_node *n, struct fe_sym *rows, int64_t step) {
    if (!rows || rows->type.rank < 1 || rows->type.dims[0] != 1) return false;
    struct fe_val *v = ARENA_NEW(c->a, struct fe_val);
    *v = (struct fe_val){.vid = IR_NONE, .buffer_now = IR_NONE, .rows = rows, .row_step = step};
    return fe_out_val(n, 0, v);
}

bool fe_rows_start(struct fe_ctx *c, struct fe_node *n) {
    int64_t one[1] = {1};
    return out_rows(c, n, fe_sym_new(c->a, IR_I64, 1, one), 1);
}

static bool unsqueeze(struct fe_ctx *c, struct fe_node *n, const struct fe_val *v) {
    int64_t axes[IR_MAX_RANK], dims[IR_MAX_RANK], strides[IR_MAX_RANK];
    int count, from = v->rows->type.rank, at = 0;
    bool set[IR_MAX_RANK] = {false};
    if (!fe_const_ints(c, n, "axes", 1, axes, IR_MAX_RANK, &count) || count < 0 || from + count > IR_MAX_RANK)
        return false;
    int rank = from + count;
    for (int i = 0; i < count; i++) {
        int a;
        if (!fe_axis(c, n, axes[i], rank, &a) || a == 0 || set[a]) return false;
        set[a] = true;
    }
    for (int i = 0; i < rank; i++) dims[i] = set[i] ? 1 : v->rows->type.dims[at++];
    int64_t step = 1;
    for (int i = rank - 1; i >= 0; i--) {
        strides[i] = step;
        step *= dims[i];
    }
    return out_rows(c, n, fe_sym_view(c->a, v->rows, rank, dims, strides, 0), v->row_step);
}

static bool gather(struct fe_ctx *c, struct fe_node *n, const struct fe_val *v) {
    struct fe_val *x = fe_arg(n, 0);
    const struct ir_type t = *fe_type(c, x), *r = &v->rows->type;
    if (x->is_moved || !ir_is_batched(&t) || fe_attr_i(c, n, "axis", 0) != 0 || r->rank + t.rank - 1 > IR_MAX_RANK)
        return false;
    if (v->row_step != -t.dims[0] || (int64_t)v->rows->n != -t.dims[0]) return false;
    for (size_t i = 0; i < v->rows->n; i++)
        if (v->rows->v[i].a || v->rows->v[i].b != (int64_t)i) return false;
    int64_t dims[IR_MAX_RANK] = {IR_N};
    int rank = 1;
    for (int i = 1; i < r->rank; i++) dims[rank++] = r->dims[i];
    for (int i = 1; i < t.rank; i++) dims[rank++] = t.dims[i];
    return fe_out_val(n, 0, fe_p_reshape(c, x, rank, dims));
}

bool fe_rows(struct fe_ctx *c, struct fe_node *n) {
    size_t at = 0;
    while (!n->in[at] || !n->in[at]->rows) at++;
    const struct fe_val *v = n->in[at];
    bool add = !strcmp(n->op, "Add"), mul = !strcmp(n->op, "Mul");
    if ((add || mul) && n->n_in == 2) {
        const struct fe_sym *s = fe_known(c, n->in[1 - at], true);
        bool fits = s && s->type.dtype == IR_I64 && fe_sym_is_const(s) && (add || s->n == 1);
        struct fe_sym *r = fits ? fe_sym_binary(c->a, add ? IR_OP_add : IR_OP_mul, v->rows, s) : NULL;
        int64_t step = v->row_step;
        return r && r->type.rank == v->rows->type.rank && (add || !__builtin_mul_overflow(step, s->v[0].b, &step)) &&
               out_rows(c, n, r, step);
    }
    if (at == 0 && !strcmp(n->op, "Unsqueeze")) return unsqueeze(c, n, v);
    if (!strcmp(n->op, "Identity")) return fe_out_val(n, 0, n->in[0]);
    return at == 1 && n->in[0] && !n->in[0]->is_seq && !strcmp(n->op, "Gather") && gather(c, n, v);
}

bool fe_rows_counted(struct fe_ctx *c, struct fe_node *n) {
    for (size_t i = 0; i < n->n_in; i++) {
        const struct fe_val *v = n->in[i];
        if (!v || !v->rows) continue;
        int rank = v->rows->type.rank;
        int64_t dims[IR_MAX_RANK] = {IR_N, 1, 1, 1, 1, 1, 1, 1};
        bool zeros = true;
        for (size_t k = 0; k < v->rows->n; k++) zeros &= v->rows->v[k].b == 0;
        ir_vid x = fe_emit(c, IR_OP_iota, NULL, 0, IR_ATTRS(IR_IS("shape", dims, rank), IR_I("axis", 0)));
        if (v->row_step != 1) x = fe_e2(c, IR_OP_mul, x, ir_const_i(c->g, v->row_step));
        if (!zeros || v->rows->n > 1) x = fe_e2(c, IR_OP_add, x, fe_vid(c, fe_val_sym(c, v->rows)));
        if (!(n->in[i] = fe_val_of(c, x))) return false;
    }
    return true;
}

bool fe_counts_samples(struct fe_ctx *c, ir_vid v) {
    for (;;) {
        const struct ir_value *val = &c->g->values[v];
        if (val->role != IR_ROLE_NODE || val->type.rank < 1 || val->type.dims[0] != IR_N) return false;
        const struct ir_node *def = &c->g->nodes[val->def];
        if (def->op == IR_OP_iota) return ir_axis_of(def, "axis", val->type.rank) == 0 && ir_numel(&val->type) == 1;
        bool same_rank = def->n_in == 1 && c->g->values[def->in[0]].type.rank == val->type.rank;
        if (def->op != IR_OP_reshape && !(def->op == IR_OP_expand && same_rank)) return false;
        v = def->in[0];
    }
}
