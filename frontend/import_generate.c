// Operators that make tensors from constants.
#include "onnx_internal.h"
#include "scope.h"

#include <math.h>

bool fe_op_constant(struct fe_ctx *c, struct fe_node *n) {
    const char *name = n->p->n_output ? n->p->output[0] : "";
    const Onnx__AttributeProto *a;
    if ((a = fe_attr(n, "value"))) {
        if (!a->t) return fe_fail(c, n, "attribute \"value\" must be a tensor");
        struct fe_val *v = fe_val_blob(c, &n->loc, a->t, name, n->p);
        return !v->unknown && fe_out_val(n, 0, v);
    }
    struct fe_sym *s = NULL;
    int64_t len[1];
    if (fe_attr(n, "value_float")) {
        s = fe_sym_scalar_f(c->a, fe_attr_f(c, n, "value_float", 0));
    } else if (fe_attr(n, "value_int")) {
        s = fe_sym_new(c->a, IR_I64, 0, NULL);
        s->v[0].b = fe_attr_i(c, n, "value_int", 0);
    } else if ((a = fe_attr(n, "value_ints"))) {
        s = fe_sym_ints(c->a, a->ints, a->n_ints);
    } else if ((a = fe_attr(n, "value_floats"))) {
        len[0] = (int64_t)a->n_floats;
        s = fe_sym_new(c->a, IR_F32, 1, len);
        for (size_t i = 0; s && i < s->n; i++) s->v[i].f = (double)a->floats[i];
    } else {
        return fe_fail(c, n, "only constants of numbers are supported");
    }
    return s ? fe_out_sym(c, n, 0, s) : fe_fail(c, n, "the constant is too large for a list; use a tensor");
}

bool fe_op_constant_of_shape(struct fe_ctx *c, struct fe_node *n) {
    const struct fe_sym *s;
    if (!fe_ints(c, n, NULL, 0, &s)) return false;
    if (!s || s->n > IR_MAX_RANK) return fe_fail(c, n, "needs a shape of at most %d dimensions", IR_MAX_RANK);
    int64_t dims[IR_MAX_RANK];
    size_t batches = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (!fe_num_dim(&s->v[i], &dims[i])) return fe_fail(c, n, "dimension %zu of its shape is not a size", i);
        batches += dims[i] < 0;
    }
    if (batches > 1) return fe_fail(c, n, "%zu axes of its shape are the batch; one may be", batches);
    enum ir_dtype dtype = IR_F32;
    struct fe_num value = {0};
    const Onnx__AttributeProto *a = fe_attr(n, "value");
    if (a && a->t) {
        struct fe_val *v = fe_val_blob(c, &n->loc, a->t, "value", false);
        const struct fe_sym *vs = fe_known(c, v, true);
        if (!vs || vs->n != 1) return v->unknown ? false : fe_fail(c, n, "its value must be one number");
        dtype = vs->type.dtype;
        value = vs->v[0];
    }
    struct fe_sym *r = batches ? NULL : fe_sym_new(c->a, dtype, (int)s->n, dims);
    if (r) {
        for (size_t i = 0; i < r->n; i++) r->v[i] = value;
        return fe_out_sym(c, n, 0, r);
    }
    struct fe_sym *one = fe_sym_new(c->a, dtype, 0, NULL);
    one->v[0] = value;
    double v = ir_is_float(dtype) ? value.f : ir_int_to_float(dtype, value.b, IR_F64);
    if (batches && dims[0] > 0) { // the batch is another axis
        struct fe_val *wide = fe_moved_expand(c, fe_val_sym(c, one), (int)s->n, dims);
        return wide ? fe_out_val(n, 0, wide) : fe_fail(c, n, "its shape has too many dimensions");
    }
    if (ir_is_int(dtype) && (v < -0x1p53 || v > 0x1p53)) // more digits than an attribute holds
        return fe_out(c, n, 0, fe_expand(c, fe_vid(c, fe_val_sym(c, one)), (int)s->n, dims));
    return fe_out(c, n, 0,
                  fe_emit(c, IR_OP_fill, NULL, 0,
                          IR_ATTRS(IR_IS("shape", dims, s->n), IR_F("value", v), IR_S("dtype", ir_dtype_name(dtype)))));
}

// ceil((limit - start) / step), at least 0: the elements of a range. false: a step of 0, or too many to count.
static bool float_count(double start, double limit, double step, int64_t *count) {
    double n = ceil((double)((float)limit - (float)start) / step);
    *count = 0;
    return step != 0 && (n <= 0 || checked_i64(n, count));
}

static bool int_count(int64_t start, int64_t limit, int64_t step, int64_t *count) {
    int64_t span;
    *count = 0;
    if (step == 0) return false;
    if (step > 0 ? limit <= start : limit >= start) return true;
    if (!checked_sub(limit, start, &span)) return false;
    return checked_add((span - (step > 0 ? 1 : -1)) / step, 1, count);
}

bool fe_op_range(struct fe_ctx *c, struct fe_node *n) {
    const struct fe_sym *s[3];
    for (size_t i = 0; i < 3; i++) s[i] = fe_known(c, fe_arg(n, i), true);
    if (s[0] && s[1] && s[2] && s[0]->n == 1 && s[1]->n == 1 && s[2]->n == 1 && s[1]->v[0].a == 1 && !s[1]->v[0].b &&
        fe_sym_is_const(s[0]) && !s[0]->v[0].b && fe_sym_is_const(s[2]) && s[2]->v[0].b == 1)
        return fe_rows_start(c, n); // 0 .. N-1
    for (size_t i = 0; i < 3; i++) {
        if (!s[i] || s[i]->n != 1 || !fe_sym_is_const(s[i]))
            return fe_fail(c, n,
                           "its start, limit and step must be constants that do not depend on the batch size; operand "
                           "%zu depends on %s",
                           i, fe_source_text(c, fe_arg(n, i)));
    }
    bool fl = ir_is_float(s[0]->type.dtype);
    int64_t len[1];
    if (!(fl ? float_count(s[0]->v[0].f, s[1]->v[0].f, s[2]->v[0].f, len)
             : int_count(s[0]->v[0].b, s[1]->v[0].b, s[2]->v[0].b, len)) ||
        len[0] > FE_SYM_MAX)
        return fe_fail(c, n, "its step is 0, or it makes more than %lld elements", (long long)FE_SYM_MAX);
    struct fe_sym *r = fe_sym_new(c->a, s[0]->type.dtype, 1, len);
    for (size_t i = 0; i < r->n; i++) { // of integers each lies between start and limit
        if (fl)
            r->v[i].f = s[0]->type.dtype == IR_F64
                            ? s[0]->v[0].f + (double)i * s[2]->v[0].f
                            : (double)((float)s[0]->v[0].f + (float)((float)i * (float)s[2]->v[0].f));
        else
            r->v[i].b = s[0]->v[0].b + (int64_t)i * s[2]->v[0].b;
    }
    return fe_out_sym(c, n, 0, r);
}

// OneHot-11: `on` where an index, a negative one counted from the end, is the place along the new axis; `off`
// elsewhere.
bool fe_op_one_hot(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_cast(c, fe_in(c, n, 0), IR_I64);
    double given;
    int64_t depth, axis = fe_attr_i(c, n, "axis", -1);
    struct fe_val *v = fe_arg(n, 2);
    if (x == IR_NONE || !fe_scalar(c, n, 1, 0, &given)) return false;
    if (!v || v->is_seq || fe_type(c, v)->rank != 1 || fe_type(c, v)->dims[0] != 2)
        return fe_fail(c, n, "its values must be two numbers");
    if (!checked_i64(given, &depth) || depth < 1 || depth > INT32_MAX) return fe_fail(c, n, "its depth is %g", given);
    const struct ir_type t = *fe_typeof(c, x);
    int rank = t.rank + 1;
    if (rank > IR_MAX_RANK) return fe_fail(c, n, "its result has more than %d dimensions", IR_MAX_RANK);
    if (axis < 0 && axis >= -rank) axis += rank;
    if (axis < 0 || axis >= rank)
        return fe_fail(c, n, "axis %lld is outside a tensor of rank %d", (long long)axis, rank);
    bool before = axis == 0 && ir_is_batched(&t); // the batch: made behind everything, then moved
    if (n->moved && axis != t.rank)
        return fe_fail(c, n, "it puts its classes before the batch; the batch must be the first axis");
    if (before) axis = t.rank;
    int64_t column[IR_MAX_RANK], row[IR_MAX_RANK];
    for (int i = 0; i < rank; i++) {
        column[i] = i == axis ? 1 : t.dims[i - (i > axis)];
        row[i] = i == axis ? depth : 1;
    }
    ir_vid end = fe_e2(c, IR_OP_add, x, ir_const_i(c->g, depth));
    x = fe_where(c, fe_e2(c, IR_OP_lt, x, ir_const_i(c->g, 0)), end, x);
    ir_vid classes = fe_emit(c, IR_OP_iota, NULL, 0, IR_ATTRS(IR_IS("shape", row, rank), IR_I("axis", axis)));
    ir_vid hit = fe_e2(c, IR_OP_eq, fe_reshape(c, x, rank, column), classes), value[2];
    for (int64_t i = 0; i < 2; i++) {
        struct fe_val *one = fe_p_take(c, v, 0, &i, 1);
        value[i] = fe_vid(c, fe_p_reshape(c, one, 0, NULL));
    }
    ir_vid y = fe_where(c, hit, value[1], value[0]);
    if (!before || y == IR_NONE) return fe_out(c, n, 0, y);
    int64_t perm[IR_MAX_RANK] = {t.rank};
    for (int i = 1; i < rank; i++) perm[i] = i - 1;
    return fe_out_val(n, 0, fe_moved_transpose(c, fe_val_of(c, y), perm));
}

// The number of an element's column less that of its row, i64, for a matrix at the end of t.
static ir_vid right_of_diagonal(struct fe_ctx *c, const struct ir_type *t) {
    int64_t dims[2] = {t->dims[t->rank - 2], t->dims[t->rank - 1]}, rows[2] = {dims[0], 1}, columns[2] = {1, dims[1]};
    ir_vid i = fe_emit(c, IR_OP_iota, NULL, 0, IR_ATTRS(IR_IS("shape", rows, 2), IR_I("axis", 0)));
    ir_vid j = fe_emit(c, IR_OP_iota, NULL, 0, IR_ATTRS(IR_IS("shape", columns, 2), IR_I("axis", 1)));
    return fe_e2(c, IR_OP_sub, j, i);
}

// The same by a number k that is known, as bools; NULL: the matrix has too many elements, or the batch in it.
static struct fe_val *known_triangle(struct fe_ctx *c, const struct ir_type *t, int64_t k, bool upper) {
    if (t->dims[t->rank - 2] < 0) return NULL;
    struct fe_sym *m = fe_sym_new(c->a, IR_BOOL, 2, t->dims + t->rank - 2);
    for (size_t i = 0; m && i < m->n; i++) {
        int64_t at = (int64_t)i % m->type.dims[1] - (int64_t)i / m->type.dims[1];
        m->v[i].b = upper ? at >= k : at <= k;
    }
    return fe_val_sym(c, m);
}

// A triangular mask of the last two dims picks elements or zeros.
bool fe_op_trilu(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = fe_arg(n, 0), *kv = fe_arg(n, 1), *mask = NULL;
    if (!x || x->is_seq) return fe_fail(c, n, "operand 0 must be a tensor");
    const struct ir_type t = *fe_type(c, x);
    bool upper = fe_attr_i(c, n, "upper", 1) != 0;
    if (t.rank < 2) return fe_fail(c, n, "needs a matrix");
    const struct fe_sym *s = kv ? fe_known(c, kv, true) : NULL;
    if (kv && ir_numel(fe_type(c, kv)) != 1) return fe_fail(c, n, "its number of diagonals must be one number");
    if (!kv || (s && fe_sym_is_const(s))) mask = known_triangle(c, &t, s ? s->v[0].b : 0, upper);
    if (!mask) {
        ir_vid at = right_of_diagonal(c, &t), k = kv ? fe_cast(c, fe_vid(c, kv), IR_I64) : fe_num(c, IR_I64, 0);
        if (k != IR_NONE && fe_typeof(c, k)->rank) k = fe_reshape(c, k, 0, NULL);
        mask = fe_val_of(c, upper ? fe_e2(c, IR_OP_le, k, at) : fe_e2(c, IR_OP_le, at, k));
    }
    return fe_out_val(n, 0, fe_p_where(c, mask, x, fe_val_sym(c, fe_sym_new(c->a, t.dtype, 0, NULL))));
}

bool fe_op_eye_like(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = fe_arg(n, 0);
    if (!x) return false;
    const struct ir_type t = *fe_type(c, x);
    enum ir_dtype dtype = t.dtype;
    int64_t to = fe_attr_i(c, n, "dtype", 0), k = fe_attr_i(c, n, "k", 0);
    if (to && (to > INT32_MAX || to < 0 || !fe_onnx_to_ir((int32_t)to, &dtype)))
        return fe_fail(c, n, "its dtype is not supported");
    if (t.rank != 2) return fe_fail(c, n, "needs a matrix, not %s", fe_dims_text(c, &t));
    struct fe_sym *r = t.dims[0] < 0 ? NULL : fe_sym_new(c->a, dtype, 2, t.dims);
    if (!r)
        return fe_out(c, n, 0, fe_cast(c, fe_e2(c, IR_OP_eq, right_of_diagonal(c, &t), ir_const_i(c->g, k)), dtype));
    for (size_t i = 0; i < r->n; i++) {
        bool one = (int64_t)i % t.dims[1] - (int64_t)i / t.dims[1] == k;
        r->v[i] = (struct fe_num){.b = one, .f = one};
    }
    return fe_out_sym(c, n, 0, r);
}
