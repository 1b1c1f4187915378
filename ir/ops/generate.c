// Values from nothing or from an index: constants, counters, the batch size, dropout masks, one-hot rows.
#include "ops_internal.h"

#include "../hash.h"
#include "ops_util.h"

#include <inttypes.h>

// fill and iota: the type is in the attributes.
bool ir_infer_fill(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    size_t rank;
    const int64_t *shape = ir_attr_ints(n, "shape", &rank);
    enum ir_dtype t;
    if (rank > IR_MAX_RANK)
        return ir_fail(g, n, "shape has %zu dimensions; at most %d are supported", rank, IR_MAX_RANK);
    if (!ir_dtype_by_name(ir_attr_s(n, "dtype"), &t))
        return ir_fail(g, n, "unknown element type '%s'", ir_attr_s(n, "dtype"));
    if (n->op == IR_OP_iota) {
        if (t == IR_BOOL) return ir_fail(g, n, "a counter cannot be bool");
        if (ir_check_axis(g, n, "axis", (int)rank) < 0) return false;
    }
    out[0] = ir_type_make(t, (int)rank, shape);
    return ir_check_type(g, n, out);
}

void ir_eval_fill(EVAL_PARAMS) {
    (void)g, (void)in;
    double v = ir_attr_f(n, "value");
    size_t count = ir_tensor_numel(out[0]);
    for (size_t i = 0; i < count; i++) {
        if (out[0]->f)
            out[0]->f[i] = v;
        else
            out[0]->i[i] = ir_int_of_float(out[0]->type.dtype, v);
    }
}

void ir_eval_iota(EVAL_PARAMS) {
    (void)g, (void)in;
    struct ir_tensor *y = out[0];
    int axis = ir_axis_of(n, "axis", y->type.rank);
    for (struct ir_walk w = ir_walk_all(&y->type); !w.done; ir_walk_next(&w)) {
        if (y->f)
            y->f[w.linear] = (double)w.idx[axis];
        else
            y->i[w.linear] = ir_wrap_int(y->type.dtype, w.idx[axis]);
    }
}

bool ir_infer_batch_size(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    (void)g, (void)n;
    out[0] = ir_scalar_type(IR_F32);
    return true;
}

static bool check_seed(struct ir_graph *g, const struct ir_node *n, size_t i) {
    const struct ir_type *seed = ir_in_type(g, n, i);
    return (seed->dtype == IR_I64 && seed->rank == 0) ||
           ir_fail(g, n, "the seed is %s; expected i64[]", TYPE_TEXT(seed));
}

bool ir_infer_random(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    size_t rank;
    const int64_t *shape = ir_attr_ints(n, "shape", &rank);
    if (!check_seed(g, n, 0)) return false;
    if (rank > IR_MAX_RANK)
        return ir_fail(g, n, "shape has %zu dimensions; at most %d are supported", rank, IR_MAX_RANK);
    out[0] = ir_type_make(IR_F32, (int)rank, shape);
    return ir_check_type(g, n, out);
}

void ir_eval_random(EVAL_PARAMS) {
    (void)g;
    int64_t seed = in[0]->i[0], salt = ir_attr_i(n, "salt");
    size_t count = ir_tensor_numel(out[0]);
    for (size_t i = 0; i < count; i++) out[0]->f[i] = ir_uniform(seed, salt, i);
}

bool ir_infer_dropout_mask(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    double ratio = ir_attr_f(n, "ratio");
    if (!ir_check_float(g, n, 0)) return false;
    if (!check_seed(g, n, 1)) return false;
    if (!(ratio >= 0 && ratio < 1)) return ir_fail(g, n, "dropout ratio %g must be at least 0 and less than 1", ratio);
    out[0] = *ir_in_type(g, n, 0);
    return true;
}

void ir_eval_dropout_mask(EVAL_PARAMS) {
    (void)g;
    int64_t seed = in[1]->i[0], salt = ir_attr_i(n, "salt");
    double ratio = ir_attr_f(n, "ratio");
    size_t count = ir_tensor_numel(out[0]);
    for (size_t i = 0; i < count; i++) out[0]->f[i] = ir_dropout_factor(seed, salt, ratio, i);
}

bool ir_infer_one_hot(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *x = ir_in_type(g, n, 0);
    int64_t classes = ir_attr_i(n, "classes");
    if (!ir_is_int(x->dtype))
        return ir_fail(g, n, "operand 0 is %s; class indices of integer type were expected", TYPE_TEXT(x));
    if (classes < 1) return ir_fail(g, n, "classes = %" PRId64 "; at least 1 was expected", classes);
    if (x->rank >= IR_MAX_RANK) return ir_fail(g, n, "indices %s have too many dimensions", TYPE_TEXT(x));
    int64_t dims[IR_MAX_RANK];
    for (int i = 0; i < x->rank; i++) dims[i] = x->dims[i];
    dims[x->rank] = classes;
    out[0] = ir_type_make(IR_F32, x->rank + 1, dims);
    return ir_check_type(g, n, out);
}

void ir_eval_one_hot(EVAL_PARAMS) {
    (void)g;
    int64_t classes = ir_attr_i(n, "classes");
    size_t rows = ir_tensor_numel(in[0]);
    for (size_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < classes; c++) out[0]->f[r * (size_t)classes + (size_t)c] = in[0]->i[r] == c;
}

void ir_expand_one_hot(struct ir_graph *g, ir_nid id, enum ir_expand_mode mode, ir_vid *out) {
    (void)mode;
    ir_vid x = g->nodes[id].in[0];
    int64_t classes = ir_attr_i(&g->nodes[id], "classes");
    struct ir_type t = *ir_typeof(g, x);
    if (t.dtype != IR_I64) x = ir_cast(g, x, IR_I64);
    int64_t column[IR_MAX_RANK], row[IR_MAX_RANK];
    for (int i = 0; i < t.rank; i++) {
        column[i] = t.dims[i];
        row[i] = 1;
    }
    column[t.rank] = 1;
    row[t.rank] = classes;
    ir_vid index = ir_reshape(g, x, t.rank + 1, column);
    ir_vid classes_row =
        ir_emit(g, IR_OP_iota, NULL, 0, IR_ATTRS(IR_IS("shape", row, t.rank + 1), IR_I("axis", t.rank)));
    out[0] = ir_cast(g, ir_binary(g, IR_OP_eq, index, classes_row), IR_F32);
}

// A node hook does not know N: the driver (ir/eval.c) fills this op's result itself.
void ir_eval_batch_size(EVAL_PARAMS) {
    (void)g, (void)n, (void)in, (void)out;
    BUG("batch_size has no value without a batch");
}
