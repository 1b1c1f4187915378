// Matrix products over the last two dims, with NumPy broadcasting of the dims before them.
#include "ops_internal.h"

#include "ops_util.h"

// Rows and columns of an operand after its transposition.
static int64_t rows_of(const struct ir_type *t, bool trans) { return t->dims[t->rank - (trans ? 1 : 2)]; }
static int64_t cols_of(const struct ir_type *t, bool trans) { return t->dims[t->rank - (trans ? 2 : 1)]; }

bool ir_infer_matmul(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *a = ir_in_type(g, n, 0), *b = ir_in_type(g, n, 1);
    bool ta = ir_attr_i(n, "trans_a") != 0, tb = ir_attr_i(n, "trans_b") != 0;
    if (!ir_check_float(g, n, 0) || !ir_check_float(g, n, 1)) return false;
    if (a->dtype != b->dtype)
        return ir_fail(g, n, "operands %s and %s have different types", TYPE_TEXT(a), TYPE_TEXT(b));
    if (a->rank < 2 || b->rank < 2)
        return ir_fail(g, n, "operands %s and %s: at least 2 dimensions each were expected", TYPE_TEXT(a),
                       TYPE_TEXT(b));
    // The batch may be contracted away (a weight gradient): then both sides must have the same number of rows.
    if (cols_of(a, ta) != rows_of(b, tb))
        return ir_fail(g, n, "inner dimensions of %s%s and %s%s differ: %s against %s", TYPE_TEXT(a),
                       ta ? " (transposed)" : "", TYPE_TEXT(b), tb ? " (transposed)" : "",
                       ir_dim_text(cols_of(a, ta), (char[24]){0}), ir_dim_text(rows_of(b, tb), (char[24]){0}));
    struct ir_type batch_a = ir_type_make(a->dtype, a->rank - 2, a->dims),
                   batch_b = ir_type_make(b->dtype, b->rank - 2, b->dims);
    if (!ir_broadcast(g, n, &batch_a, &batch_b, out)) return false;
    int64_t dims[IR_MAX_RANK];
    int rank = out[0].rank;
    for (int i = 0; i < rank; i++) dims[i] = out[0].dims[i];
    dims[rank] = rows_of(a, ta);
    dims[rank + 1] = cols_of(b, tb);
    out[0] = ir_type_make(a->dtype, rank + 2, dims);
    return ir_check_type(g, n, out);
}

void ir_eval_matmul(EVAL_PARAMS) {
    (void)g;
    const struct ir_tensor *a = in[0], *b = in[1];
    struct ir_tensor *y = out[0];
    bool ta = ir_attr_i(n, "trans_a") != 0, tb = ir_attr_i(n, "trans_b") != 0;
    int rank = y->type.rank;
    int64_t sa[IR_MAX_RANK], sb[IR_MAX_RANK], ma[2], mb[2];
    ir_row_strides(&a->type, sa);
    ir_row_strides(&b->type, sb);
    // Strides of (row, column) of the matrices, then of the broadcast batch dims; the walk covers all of y.
    ma[0] = sa[a->type.rank - (ta ? 1 : 2)], ma[1] = sa[a->type.rank - (ta ? 2 : 1)];
    mb[0] = sb[b->type.rank - (tb ? 1 : 2)], mb[1] = sb[b->type.rank - (tb ? 2 : 1)];
    ir_bcast_strides(&a->type, rank, sa);
    ir_bcast_strides(&b->type, rank, sb);
    int64_t inner = cols_of(&a->type, ta);
    sa[rank - 2] = ma[0], sa[rank - 1] = 0;
    sb[rank - 2] = 0, sb[rank - 1] = mb[1];
    for (struct ir_walk w = ir_walk_all(&y->type); !w.done; ir_walk_next(&w)) {
        size_t ia = ir_offset(&w, sa), ib = ir_offset(&w, sb);
        double sum = 0;
        for (int64_t k = 0; k < inner; k++) sum += a->f[ia + (size_t)(k * ma[1])] * b->f[ib + (size_t)(k * mb[0])];
        y->f[w.linear] = sum;
    }
}

// [B.., R, C] -> [B*R, C]
static ir_vid flatten_rows(struct ir_graph *g, ir_vid v) {
    struct ir_type t = *ir_typeof(g, v);
    int64_t dims[2] = {1, t.dims[t.rank - 1]};
    for (int i = 0; i < t.rank - 1; i++) dims[0] *= t.dims[i];
    return ir_reshape(g, v, 2, dims);
}

// y = A B with A = a or a^T, B = b or b^T: dA = dy B^T, dB = A^T dy; then undo the transpositions and the broadcasting.
void ir_vjp_matmul(VJP_PARAMS) {
    const struct ir_node *n = &g->nodes[id];
    ir_vid a = n->in[0], b = n->in[1], dy = dout[0];
    struct ir_type type_a = *ir_typeof(g, a), type_b = *ir_typeof(g, b);
    int ta = ir_attr_i(n, "trans_a") != 0, tb = ir_attr_i(n, "trans_b") != 0;
    if (want[0]) {
        ir_vid d = ta ? ir_matmul(g, b, dy, tb, 1) : ir_matmul(g, dy, b, 0, !tb);
        din[0] = ir_sum_to(g, d, &type_a);
    }
    if (want[1]) {
        // One matrix shared by a whole stack of rows: contract over all rows at once, not one product per matrix and a
        // sum.
        if (type_b.rank == 2 && type_a.rank > 2 && !ta) {
            a = flatten_rows(g, a);
            dy = flatten_rows(g, dy);
        }
        ir_vid d = tb ? ir_matmul(g, dy, a, 1, ta) : ir_matmul(g, a, dy, !ta, 0);
        din[1] = ir_sum_to(g, d, &type_b);
    }
}
