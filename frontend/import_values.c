// Operands, results and attributes of the node being imported: from ONNX names to IR values and known elements.
#include "scope.h"

#include <math.h>
#include <string.h>

bool fe_fail(struct fe_ctx *c, const struct fe_node *n, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    diag_vreport(c->d, DIAG_ERROR, &n->loc, fmt, ap);
    va_end(ap);
    return false;
}

const char *fe_dims_text(struct fe_ctx *c, const struct ir_type *t) {
    struct str s = STR_INIT;
    char buf[24];
    for (int i = 0; i < t->rank; i++) str_addf(&s, "%s%s", i ? "," : "", ir_dim_text(t->dims[i], buf));
    const char *text = arena_printf(c->a, "[%s]", s.s ? s.s : "");
    str_release(&s);
    return text;
}

// --- attributes ------------------------------------------------------------------------------------------------------

static const Onnx__AttributeProto *named(Onnx__AttributeProto *const *list, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (list[i]->name && !strcmp(list[i]->name, name)) return list[i];
    return NULL;
}

static const Onnx__AttributeProto *find_attr(const Onnx__NodeProto *p, const char *name) {
    return named(p->attribute, p->n_attribute, name);
}

const Onnx__AttributeProto *fe_attr(const struct fe_node *n, const char *name) {
    const Onnx__AttributeProto *a = find_attr(n->p, name);
    // In a function body an attribute may be the caller's; an absent one there means the function's default, or the
    // op's own.
    const struct fe_scope *s = n->scope;
    while (a && a->ref_attr_name && *a->ref_attr_name) {
        while (s && !s->call) s = s->parent;
        if (!s) return NULL;
        const char *of = a->ref_attr_name;
        if (!(a = find_attr(s->call->p, of))) return named(s->defaults, s->n_defaults, of);
        s = s->call->scope;
    }
    return a;
}

// Old exporters leave the type out: the field that is there tells.
static bool attr_is(const Onnx__AttributeProto *a, int type, bool has) {
    return a->has_type ? (int)a->type == type : has;
}

static void wrong_attr(struct fe_ctx *c, const struct fe_node *n, const char *name, const char *want) {
    diag_error(c->d, &n->loc, "attribute \"%s\" must be %s", name, want);
}

int64_t fe_attr_i(struct fe_ctx *c, const struct fe_node *n, const char *name, int64_t def) {
    const Onnx__AttributeProto *a = fe_attr(n, name);
    if (!a) return def;
    if (attr_is(a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT, a->has_i)) return a->i;
    wrong_attr(c, n, name, "an integer");
    return def;
}

double fe_attr_f(struct fe_ctx *c, const struct fe_node *n, const char *name, double def) {
    const Onnx__AttributeProto *a = fe_attr(n, name);
    if (!a) return def;
    if (attr_is(a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT, a->has_f)) return (double)a->f;
    wrong_attr(c, n, name, "a float");
    return def;
}

const char *fe_attr_s(struct fe_ctx *c, const struct fe_node *n, const char *name, const char *def) {
    const Onnx__AttributeProto *a = fe_attr(n, name);
    if (!a) return def;
    if (attr_is(a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING, a->has_s))
        return arena_printf(c->a, "%.*s", (int)(a->s.len > 1000 ? 1000 : a->s.len),
                            a->s.data ? (const char *)a->s.data : "");
    wrong_attr(c, n, name, "a string");
    return def;
}

const int64_t *fe_attr_ints(const struct fe_node *n, const char *name, size_t *count) {
    const Onnx__AttributeProto *a = fe_attr(n, name);
    *count = a ? a->n_ints : 0;
    static const int64_t none;
    return a ? (a->n_ints ? a->ints : &none) : NULL;
}

// --- operands

struct fe_val *fe_arg(const struct fe_node *n, size_t i) { return i < n->n_in ? n->in[i] : NULL; }

const struct ir_type *fe_typeof(struct fe_ctx *c, ir_vid v) { return ir_typeof(c->g, v); }

const struct ir_type *fe_type(struct fe_ctx *c, const struct fe_val *v) {
    if (v->sym) return &v->sym->type;
    if (v->blob) return &v->blob->type;
    if (v->random) return &v->random_type;
    return ir_typeof(c->g, v->vid);
}

static bool whole(double v) { return fabs(v) < 0x1p53 && floor(v) == v; }

// Writes an element in the dtype's own form.
static void put(enum ir_dtype t, void *out, size_t i, int64_t iv, double fv) {
    if (ir_is_float(t))
        ir_put_float(t, out, i, fv);
    else
        ir_put_int(t, out, i, iv);
}

// Elements with N in them as a*N + b at run time: in i64 where they are whole, since products with N soon have more
// digits than a float.
static ir_vid lin_vid(struct fe_ctx *c, const struct fe_sym *s) {
    bool ints = true, fl = ir_is_float(s->type.dtype);
    for (size_t i = 0; i < s->n; i++) ints &= !fl || (whole(s->v[i].fa) && whole(s->v[i].f));
    struct ir_type t = s->type;
    t.dtype = ints ? IR_I64 : s->type.dtype;
    void *a = arena_array(c->a, s->n, ir_dtype_size(t.dtype)), *b = arena_array(c->a, s->n, ir_dtype_size(t.dtype));
    for (size_t i = 0; i < s->n; i++) {
        const struct fe_num *v = &s->v[i];
        put(t.dtype, a, i, ints && fl ? (int64_t)v->fa : v->a, v->fa);
        put(t.dtype, b, i, ints && fl ? (int64_t)v->f : v->b, v->f);
    }
    ir_vid n = fe_cast(c, ir_batch_size(c->g), t.dtype);
    ir_vid v = fe_e2(c, IR_OP_add, fe_e2(c, IR_OP_mul, ir_const(c->g, t, a), n), ir_const(c->g, t, b));
    return fe_cast(c, v, s->type.dtype);
}

static ir_vid sym_vid(struct fe_ctx *c, const struct fe_sym *s) {
    if (!fe_sym_is_const(s)) return lin_vid(c, s);
    enum ir_dtype t = s->type.dtype;
    void *base = arena_array(c->a, s->n ? s->n : 1, ir_dtype_size(t));
    for (size_t i = 0; i < s->n; i++) put(t, base, i, s->v[i].b, s->v[i].f);
    return ir_const(c->g, s->type, base);
}

static ir_vid blob_vid(struct fe_ctx *c, struct fe_val *v) {
    const struct fe_blob *b = v->blob;
    const void *data = fe_blob_data(b, c->a);
    if (v->is_param) *ARENA_PUSH(c->m->arena, c->m->weights, c->m->n_weights, c->m->cap_weights) = v->name;
    const enum ir_role role = v->is_frozen ? IR_ROLE_BUFFER : IR_ROLE_PARAM;
    return v->is_param ? ir_boundary(c->g, role, b->type, v->name, data) : ir_const(c->g, b->type, data);
}

ir_vid fe_vid(struct fe_ctx *c, struct fe_val *v) {
    if (!v || v->unknown) return IR_NONE;
    if (v->vid == IR_NONE && v->random) v->vid = fe_random_vid(c, v);
    if (v->vid == IR_NONE && v->sym) v->vid = sym_vid(c, v->sym);
    if (v->vid == IR_NONE && v->blob) v->vid = blob_vid(c, v);
    return v->vid;
}

ir_vid fe_in(struct fe_ctx *c, const struct fe_node *n, size_t i) { return fe_vid(c, fe_arg(n, i)); }

const struct fe_sym *fe_known(struct fe_ctx *c, struct fe_val *v, bool force) {
    if (!v || v->unknown) return NULL;
    if (v->sym) return v->sym;
    if (!v->blob) return NULL;
    const struct fe_blob *b = v->blob;
    if (v->is_param && !force) return NULL;
    struct fe_sym *s = fe_sym_new(c->a, b->type.dtype, b->type.rank, b->type.dims);
    if (!s) return NULL;
    const void *data = fe_blob_data(b, c->a);
    for (size_t i = 0; i < s->n; i++) {
        if (ir_is_float(b->type.dtype))
            s->v[i].f = ir_get_float(b->type.dtype, data, i);
        else
            s->v[i].b = ir_get_int(b->type.dtype, data, i);
    }
    if (!v->is_param) v->sym = s;
    return s;
}

// An input of no more than one axis that is not the batch, which v is computed from; NULL where there is none near.
static const char *small_input(struct fe_ctx *c, ir_vid v, int steps) {
    if (v == IR_NONE) return NULL;
    const struct ir_value *val = &c->g->values[v];
    if (val->role == IR_ROLE_INPUT) return val->type.rank <= 1 && !ir_is_batched(&val->type) ? val->name : NULL;
    const struct ir_node *n = val->role == IR_ROLE_NODE && steps > 0 ? &c->g->nodes[val->def] : NULL;
    const char *name = NULL;
    for (int i = 0; n && !name && i < n->n_in; i++) name = small_input(c, n->in[i], steps - 1);
    return name;
}

int64_t fe_dims_product(const int64_t *dims, int from, int to) {
    int64_t p = 1;
    for (int i = from; i < to; i++) p *= dims[i];
    return p;
}

const char *fe_source_text(struct fe_ctx *c, const struct fe_val *v) {
    const char *name = v ? small_input(c, v->vid, 16) : NULL;
    return name ? arena_printf(c->a, "an input: give its elements with --shape-input %s=...", name) : "the data";
}

bool fe_ints(struct fe_ctx *c, const struct fe_node *n, const char *attr, size_t i, const struct fe_sym **out) {
    *out = NULL;
    struct fe_val *v = fe_arg(n, i);
    if (v) {
        *out = fe_known(c, v, true);
        if (*out && !ir_is_float((*out)->type.dtype)) return true;
        return fe_fail(c, n,
                       "operand %zu (\"%s\") must be integers that are known when compiling; here they depend on %s", i,
                       v->name ? v->name : "", fe_source_text(c, v));
    }
    size_t k = 0;
    const int64_t *ints = attr ? fe_attr_ints(n, attr, &k) : NULL;
    if (ints) *out = fe_sym_ints(c->a, ints, k);
    return true;
}

bool fe_const_ints(struct fe_ctx *c, const struct fe_node *n, const char *attr, size_t i, int64_t *out, size_t max,
                   int *count) {
    const struct fe_sym *s;
    *count = -1;
    if (!fe_ints(c, n, attr, i, &s)) return false;
    if (!s) return true;
    if (s->n > max || !fe_sym_is_const(s))
        return fe_fail(c, n, "%s must be at most %zu constants", attr ? attr : "an operand", max);
    for (size_t k = 0; k < s->n; k++) out[k] = s->v[k].b;
    *count = (int)s->n;
    return true;
}

bool fe_scalar(struct fe_ctx *c, const struct fe_node *n, size_t i, double def, double *out) {
    *out = def;
    struct fe_val *v = fe_arg(n, i);
    if (!v) return true;
    const struct fe_sym *s = fe_known(c, v, true);
    if (!s || s->n != 1 || !fe_sym_is_const(s))
        return fe_fail(c, n,
                       "operand %zu (\"%s\") must be one number that is known when compiling; here it depends on %s", i,
                       v->name ? v->name : "", fe_source_text(c, v));
    *out = ir_is_float(s->type.dtype) ? s->v[0].f : ir_int_to_float(s->type.dtype, s->v[0].b, IR_F64);
    return true;
}

bool fe_axis(struct fe_ctx *c, const struct fe_node *n, int64_t axis, int rank, int *out) {
    if (n->moved)
        return fe_moved_axis(n, axis, out) ||
               fe_fail(c, n, "it works along axis %lld, which is the batch or none of the tensor's %d", (long long)axis,
                       n->frame.rank);
    if (axis < -rank || axis >= rank)
        return fe_fail(c, n, "axis %lld is outside a tensor of rank %d", (long long)axis, rank);
    *out = (int)(axis < 0 ? axis + rank : axis);
    return true;
}

// --- results

struct fe_val *fe_val_of(struct fe_ctx *c, ir_vid v) {
    if (v == IR_NONE) return NULL;
    struct fe_val *r = fe_val_new(c, NULL);
    r->vid = v;
    return r;
}

struct fe_val *fe_val_sym(struct fe_ctx *c, struct fe_sym *s) {
    if (!s) return NULL;
    struct fe_val *r = fe_val_new(c, NULL);
    r->sym = s;
    return r;
}

bool fe_out_val(struct fe_node *n, size_t i, struct fe_val *v) {
    if (!v) return false;
    if (i < n->n_out) n->out[i] = v;
    return true;
}

bool fe_out(struct fe_ctx *c, struct fe_node *n, size_t i, ir_vid v) {
    if (v == IR_NONE) return false;
    const struct ir_type *t = fe_typeof(c, v);
    for (int k = 1; k < t->rank; k++)
        if (t->dims[k] < 0)
            return fe_fail(
                c, n, "it moves the batch to axis %d; the batch must stay the first axis (export a batch-first model)",
                k);
    return fe_out_val(n, i, fe_val_of(c, v));
}

bool fe_out_sym(struct fe_ctx *c, struct fe_node *n, size_t i, struct fe_sym *s) {
    return fe_out_val(n, i, fe_val_sym(c, s));
}

// --- building

static ir_vid filled(struct fe_ctx *c, const struct ir_type *t, double v) {
    struct ir_attr attrs[] = {IR_IS("shape", t->dims, t->rank), IR_F("value", v),
                              IR_S("dtype", ir_dtype_name(t->dtype))};
    ir_nid n = ir_node_new(c->g, IR_OP_fill, NULL, 0, attrs, 3);
    return n == IR_NONE ? IR_NONE : c->g->nodes[n].out[0];
}

// A tensor of the least or the largest value of its type.
static ir_vid limit_of(struct fe_ctx *c, const struct ir_type *t, bool largest) {
    char data[8] = {0};
    put(t->dtype, data, 0, largest ? ir_int_max(t->dtype) : ir_int_min(t->dtype), largest ? INFINITY : -INFINITY);
    return fe_expand(c, ir_const(c->g, ir_scalar_type(t->dtype), data), t->rank, t->dims);
}

// The result v of an op one of whose operands has no elements.
static ir_vid of_nothing(struct fe_ctx *c, ir_vid operand, ir_vid v) {
    const struct ir_node *n = &c->g->nodes[c->g->values[v].def];
    const struct ir_type t = *fe_typeof(c, v);
    switch (n->op) {
    case IR_OP_reduce_sum:
    case IR_OP_matmul:
        return filled(c, &t, 0);
    case IR_OP_pad:
        return filled(c, &t, ir_attr_f(n, "value"));
    case IR_OP_reduce_max: // the least value there is
    case IR_OP_reduce_min:
        return limit_of(c, &t, n->op == IR_OP_reduce_min);
    default:
        diag_error(c->d, &c->g->cur_loc, "an operand is %s, which has no elements; its result %s is then not defined",
                   fe_dims_text(c, fe_typeof(c, operand)), fe_dims_text(c, &t));
        return IR_NONE;
    }
}

ir_vid fe_emit(struct fe_ctx *c, enum ir_op op, const ir_vid *in, size_t n_in, const struct ir_attr *attrs,
               size_t n_attrs) {
    ir_vid empty = IR_NONE;
    for (size_t i = 0; i < n_in; i++) {
        if (in[i] == IR_NONE) return IR_NONE;
        if (ir_numel(fe_typeof(c, in[i])) == 0) empty = in[i];
    }
    ir_nid n = ir_node_new(c->g, op, in, n_in, attrs, n_attrs);
    if (n == IR_NONE) return IR_NONE;
    ir_vid v = c->g->nodes[n].out[0];
    const struct ir_type t = *fe_typeof(c, v);
    if (ir_numel(&t) == 0) return op == IR_OP_fill ? v : filled(c, &t, 0);
    return empty == IR_NONE ? v : of_nothing(c, empty, v);
}

ir_vid fe_e1(struct fe_ctx *c, enum ir_op op, ir_vid x) { return fe_emit(c, op, &x, 1, IR_NO_ATTRS); }

ir_vid fe_e2(struct fe_ctx *c, enum ir_op op, ir_vid x, ir_vid y) {
    ir_vid in[2] = {x, y};
    if (x == IR_NONE || y == IR_NONE) return IR_NONE;
    fe_unify_batch(c, in, 2);
    return fe_emit(c, op, in, 2, IR_NO_ATTRS);
}

ir_vid fe_where(struct fe_ctx *c, ir_vid cond, ir_vid x, ir_vid y) {
    ir_vid in[3] = {cond, x, y};
    if (cond == IR_NONE || x == IR_NONE || y == IR_NONE) return IR_NONE;
    fe_unify_batch(c, in, 3);
    return fe_emit(c, IR_OP_where, in, 3, IR_NO_ATTRS);
}

ir_vid fe_f(struct fe_ctx *c, double v) { return ir_const_f(c->g, v); }

ir_vid fe_num(struct fe_ctx *c, enum ir_dtype t, double v) {
    char data[8];
    put(t, data, 0, ir_int_of_float(IR_I64, v), v); // -1 is all ones, also of an unsigned type
    return ir_const(c->g, ir_scalar_type(t), data);
}

ir_vid fe_like(struct fe_ctx *c, ir_vid x, double v) { return x == IR_NONE ? x : fe_num(c, fe_typeof(c, x)->dtype, v); }

ir_vid fe_reshape(struct fe_ctx *c, ir_vid x, int rank, const int64_t *dims) {
    return fe_emit(c, IR_OP_reshape, &x, 1, IR_ATTRS(IR_IS("shape", dims, rank)));
}

ir_vid fe_transpose(struct fe_ctx *c, ir_vid x, int rank, const int64_t *perm) {
    return fe_emit(c, IR_OP_transpose, &x, 1, IR_ATTRS(IR_IS("perm", perm, rank)));
}

ir_vid fe_expand(struct fe_ctx *c, ir_vid x, int rank, const int64_t *dims) {
    return fe_emit(c, IR_OP_expand, &x, 1, IR_ATTRS(IR_IS("shape", dims, rank)));
}

static ir_vid transposed(struct fe_ctx *c, ir_vid x) {
    int rank = fe_typeof(c, x)->rank;
    int64_t perm[IR_MAX_RANK];
    for (int i = 0; i < rank; i++) perm[i] = i < rank - 2 ? i : 2 * rank - 3 - i;
    return fe_transpose(c, x, rank, perm);
}

// The product kernels are for float32. Integers, which wrap, and doubles are multiplied and summed by the definition:
// [.., M, K, 1] * [.., 1, K, P] over K.
static ir_vid product_sum(struct fe_ctx *c, ir_vid a, ir_vid b, int trans_a, int trans_b) {
    if (trans_a) a = transposed(c, a);
    if (trans_b) b = transposed(c, b);
    if (a == IR_NONE || b == IR_NONE) return IR_NONE;
    struct ir_type ta = *fe_typeof(c, a), tb = *fe_typeof(c, b);
    if (ta.rank == IR_MAX_RANK || tb.rank == IR_MAX_RANK)
        return fe_emit(c, IR_OP_matmul, (ir_vid[]){a, b}, 2, IR_NO_ATTRS);
    ta.dims[ta.rank] = 1;
    memmove(tb.dims + tb.rank - 1, tb.dims + tb.rank - 2, 2 * sizeof *tb.dims);
    tb.dims[tb.rank - 2] = 1;
    ir_vid y = fe_e2(c, IR_OP_mul, fe_reshape(c, a, ta.rank + 1, ta.dims), fe_reshape(c, b, tb.rank + 1, tb.dims));
    if (y == IR_NONE) return y;
    return fe_reduce(c, IR_OP_reduce_sum, y, (int64_t[1]){fe_typeof(c, y)->rank - 2}, 1, 0);
}

ir_vid fe_matmul(struct fe_ctx *c, ir_vid a, ir_vid b, int trans_a, int trans_b) {
    ir_vid in[2] = {a, b};
    if (a == IR_NONE || b == IR_NONE) return IR_NONE;
    enum ir_dtype t = fe_typeof(c, a)->dtype;
    bool fits = fe_typeof(c, a)->rank >= 2 && fe_typeof(c, b)->rank >= 2 && t == fe_typeof(c, b)->dtype;
    if (fits && t != IR_F32 && t != IR_BOOL) return product_sum(c, a, b, trans_a, trans_b);
    return fe_emit(c, IR_OP_matmul, in, 2, IR_ATTRS(IR_I("trans_a", trans_a), IR_I("trans_b", trans_b)));
}

ir_vid fe_reduce(struct fe_ctx *c, enum ir_op op, ir_vid x, const int64_t *axes, size_t n, int keepdims) {
    return fe_emit(c, op, &x, 1, IR_ATTRS(IR_IS("axes", axes, n), IR_I("keepdims", keepdims)));
}

ir_vid fe_cast(struct fe_ctx *c, ir_vid x, enum ir_dtype t) {
    if (x == IR_NONE || fe_typeof(c, x)->dtype == t) return x;
    return fe_emit(c, IR_OP_cast, &x, 1, IR_ATTRS(IR_S("dtype", ir_dtype_name(t))));
}

// A file exported with a fixed batch writes that number where the batch is meant: expand(class_token, [2, 1, 768]).
// When such a value meets a batched one of equal rank, its leading dim is the batch after all, if its rows are all the
// same.
ir_vid fe_rebatch(struct fe_ctx *c, ir_vid v, int64_t dim0) {
    const struct ir_value *val = &c->g->values[v];
    struct ir_type t = val->type;
    int64_t dims[IR_MAX_RANK];
    memcpy(dims, t.dims, sizeof dims);
    dims[0] = dim0;
    for (size_t i = 0; i < c->n_expands;
         i++) // the file's node is mended, too, so that the exported model takes any batch
        if (c->expands[i].v == v) fe_edit_shape(c->m, c->expands[i].node, t.rank, dims);
    if (t.dims[0] == 1) return fe_expand(c, v, t.rank, dims);
    if (val->role == IR_ROLE_CONST && val->data) {
        size_t row = (size_t)(ir_numel(&t) / t.dims[0]) * ir_dtype_size(t.dtype);
        for (int64_t i = 1; i < t.dims[0]; i++)
            if (memcmp(val->data, (const char *)val->data + (size_t)i * row, row)) return v;
        const void *data = val->data;
        t.dims[0] = 1;
        return fe_expand(c, ir_const(c->g, t, data), t.rank, dims);
    }
    if (val->role != IR_ROLE_NODE) return v;
    const struct ir_node *def = &c->g->nodes[val->def];
    if (def->op == IR_OP_fill) {
        struct ir_attr attrs[] = {IR_IS("shape", dims, t.rank), IR_F("value", ir_attr_f(def, "value")),
                                  IR_S("dtype", ir_dtype_name(t.dtype))};
        return fe_emit(c, IR_OP_fill, NULL, 0, attrs, 3);
    }
    if (def->op != IR_OP_expand) return v;
    ir_vid src = def->in[0];
    const struct ir_type *st = fe_typeof(c, src);
    if (st->rank == t.rank && st->dims[0] != 1) return v;
    return fe_expand(c, src, t.rank, dims);
}

void fe_edit_shape(struct fe_model *m, const Onnx__NodeProto *node, int rank, const int64_t *dims) {
    for (size_t i = 0; i < m->n_edits; i++)
        if (m->edits[i].node == node) return;
    struct fe_edit *e = ARENA_PUSH(m->arena, m->edits, m->n_edits, m->cap_edits);
    *e = (struct fe_edit){.node = node, .rank = rank};
    memcpy(e->dims, dims, (size_t)rank * sizeof *dims);
}

void fe_unify_batch(struct fe_ctx *c, ir_vid *v, size_t n) {
    int rank = 0;
    int64_t dim0 = 0;
    for (size_t i = 0; i < n; i++) {
        const struct ir_type *t = fe_typeof(c, v[i]);
        if (t->rank && t->dims[0] < 0) {
            rank = t->rank;
            dim0 = t->dims[0];
        }
    }
    if (dim0 == 0 || c->baked < 2) return; // with a baked batch of 1 broadcasting does it
    for (size_t i = 0; i < n; i++) {
        const struct ir_type *t = fe_typeof(c, v[i]);
        if (t->rank == rank && t->dims[0] == -dim0 * c->baked) v[i] = fe_rebatch(c, v[i], dim0);
    }
}
