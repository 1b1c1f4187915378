// Gemm and MatMul.
#include "onnx_internal.h"

#include <math.h>
#include <string.h>

static bool operands(struct fe_ctx *c, struct fe_node *n, ir_vid *a, ir_vid *b) {
    *a = fe_in(c, n, 0);
    *b = fe_in(c, n, 1);
    return (*a != IR_NONE && *b != IR_NONE) || fe_fail(c, n, "needs two tensors");
}

bool fe_op_gemm(struct fe_ctx *c, struct fe_node *n) {
    ir_vid a, b;
    if (!operands(c, n, &a, &b)) return false;
    double alpha = fe_attr_f(c, n, "alpha", 1), beta = fe_attr_f(c, n, "beta", 1);
    if (fe_typeof(c, a)->rank != 2 || fe_typeof(c, b)->rank != 2)
        return fe_fail(c, n, "needs matrices, got %d and %d dimensions", fe_typeof(c, a)->rank, fe_typeof(c, b)->rank);
    ir_vid y = fe_matmul(c, a, b, fe_attr_i(c, n, "transA", 0) != 0, fe_attr_i(c, n, "transB", 0) != 0);
    const enum ir_dtype t = fe_typeof(c, a)->dtype;
    if (!ir_is_float(t) && (alpha != floor(alpha) || beta != floor(beta)))
        return fe_fail(c, n, "it multiplies integers by alpha %g and beta %g, which must be whole", alpha, beta);
    if (alpha != 1) y = fe_e2(c, IR_OP_mul, y, fe_num(c, t, alpha));
    if (fe_arg(n, 2) && beta != 0) {
        ir_vid bias = fe_in(c, n, 2);
        if (beta != 1) bias = fe_e2(c, IR_OP_mul, bias, fe_num(c, t, beta));
        y = fe_e2(c, IR_OP_add, y, bias);
    }
    return fe_out(c, n, 0, y);
}

// x [.., K] times w [K, M]: all leading dims are rows of one product, so that the weight's gradient is one product,
// too.
static ir_vid rows_matmul(struct fe_ctx *c, ir_vid x, ir_vid w) {
    struct ir_type t = *fe_typeof(c, x);
    int64_t flat[2] = {1, t.dims[t.rank - 1]};
    for (int i = 0; i + 1 < t.rank; i++) flat[0] *= t.dims[i];
    ir_vid y = fe_matmul(c, fe_reshape(c, x, 2, flat), w, 0, 0);
    if (y == IR_NONE) return y;
    t.dims[t.rank - 1] = fe_typeof(c, y)->dims[1];
    return fe_reshape(c, y, t.rank, t.dims);
}

ir_vid fe_product(struct fe_ctx *c, struct fe_node *n, ir_vid a, ir_vid b) {
    struct ir_type at = *fe_typeof(c, a), bt = *fe_typeof(c, b);
    if (at.rank < 1 || bt.rank < 1) {
        fe_fail(c, n, "needs tensors of at least one dimension");
        return IR_NONE;
    }
    int64_t ka = at.dims[at.rank - 1], kb = bt.dims[bt.rank == 1 ? 0 : bt.rank - 2];
    if (ka != kb) {
        fe_fail(c, n, "the inner dimensions of %s and %s differ: %lld against %lld", fe_dims_text(c, &at),
                fe_dims_text(c, &bt), (long long)ka, (long long)kb);
        return IR_NONE;
    }
    if (at.rank == 1) a = fe_reshape(c, a, 2, (int64_t[2]){1, at.dims[0]}); // a vector is a row on the left ..
    if (bt.rank == 1) b = fe_reshape(c, b, 2, (int64_t[2]){bt.dims[0], 1}); // .. and a column on the right
    if (a == IR_NONE || b == IR_NONE) return IR_NONE;
    ir_vid in[2] = {a, b};
    if (at.rank == bt.rank) fe_unify_batch(c, in, 2);
    ir_vid y =
        fe_typeof(c, b)->rank == 2 && at.rank > 2 ? rows_matmul(c, in[0], in[1]) : fe_matmul(c, in[0], in[1], 0, 0);
    if (y == IR_NONE) return y;
    if (at.rank == 1 || bt.rank == 1) { // and its 1 is not in the result
        struct ir_type t = *fe_typeof(c, y);
        int64_t dims[IR_MAX_RANK];
        int rank = 0;
        for (int i = 0; i < t.rank; i++)
            if (!(at.rank == 1 && i == t.rank - 2) && !(bt.rank == 1 && i == t.rank - 1)) dims[rank++] = t.dims[i];
        y = fe_reshape(c, y, rank, dims);
    }
    return y;
}

bool fe_op_matmul(struct fe_ctx *c, struct fe_node *n) {
    ir_vid a, b;
    return operands(c, n, &a, &b) && fe_out(c, n, 0, fe_product(c, n, a, b));
}

static ir_vid matrices_turned(struct fe_ctx *c, ir_vid x) {
    const int rank = fe_typeof(c, x)->rank;
    int64_t perm[IR_MAX_RANK];
    for (int i = 0; i < rank; i++) perm[i] = i < rank - 2 ? i : 2 * rank - 3 - i;
    return rank < 2 ? x : fe_transpose(c, x, rank, perm);
}

// onnxruntime's: alpha * A B, either turned first.
bool fe_op_fused_matmul(struct fe_ctx *c, struct fe_node *n) {
    ir_vid a, b;
    if (!operands(c, n, &a, &b)) return false;
    if (fe_attr_i(c, n, "transBatchA", 0) || fe_attr_i(c, n, "transBatchB", 0))
        return fe_fail(c, n, "transBatchA and transBatchB are not supported; expected 0");
    if (fe_attr_i(c, n, "transA", 0)) a = matrices_turned(c, a);
    if (fe_attr_i(c, n, "transB", 0)) b = matrices_turned(c, b);
    ir_vid y = a == IR_NONE || b == IR_NONE ? IR_NONE : fe_product(c, n, a, b);
    const double alpha = fe_attr_f(c, n, "alpha", 1);
    if (y != IR_NONE && alpha != 1) y = fe_e2(c, IR_OP_mul, y, fe_num(c, fe_typeof(c, y)->dtype, alpha));
    return fe_out(c, n, 0, y);
}
