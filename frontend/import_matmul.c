// Gemm, MatMul and Einsum.
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

// numpy's matmul; IR_NONE after reporting.
static ir_vid product(struct fe_ctx *c, struct fe_node *n, ir_vid a, ir_vid b) {
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
    return operands(c, n, &a, &b) && fe_out(c, n, 0, product(c, n, a, b));
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
    ir_vid y = a == IR_NONE || b == IR_NONE ? IR_NONE : product(c, n, a, b);
    const double alpha = fe_attr_f(c, n, "alpha", 1);
    if (y != IR_NONE && alpha != 1) y = fe_e2(c, IR_OP_mul, y, fe_num(c, fe_typeof(c, y)->dtype, alpha));
    return fe_out(c, n, 0, y);
}

// --- Einsum of one or two operands, each label at most once in each term

struct term {
    char label[IR_MAX_RANK + 1];
    int n;
};

static int find_label(const struct term *t, char l) {
    for (int i = 0; i < t->n; i++)
        if (t->label[i] == l) return i;
    return -1;
}

static bool parse_terms(const char *eq, struct term *in, int *n_in, struct term *out, bool *has_out) {
    struct term *t = &in[0];
    *n_in = 1;
    *has_out = false;
    for (const char *p = eq; *p; p++) {
        if (*p == ' ') continue;
        if (*p == ',') {
            if (*n_in == 2 || *has_out) return false;
            t = &in[(*n_in)++];
        } else if (*p == '-' && p[1] == '>') {
            if (*has_out) return false;
            *has_out = true;
            t = out;
            p++;
        } else {
            bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');
            if (!letter || t->n == IR_MAX_RANK || find_label(t, *p) >= 0) return false;
            t->label[t->n++] = *p;
        }
    }
    return true;
}

// Permutes `v` (labels `t`) to the labels of `want`, summing the others away.
static ir_vid arrange(struct fe_ctx *c, ir_vid v, struct term *t, const struct term *want) {
    int64_t axes[IR_MAX_RANK], perm[IR_MAX_RANK];
    size_t drop = 0;
    struct term kept = {0};
    for (int i = 0; i < t->n; i++) {
        if (find_label(want, t->label[i]) < 0)
            axes[drop++] = i;
        else
            kept.label[kept.n++] = t->label[i];
    }
    if (drop) v = fe_reduce(c, IR_OP_reduce_sum, v, axes, drop, 0);
    bool same = true;
    for (int i = 0; i < want->n; i++) {
        perm[i] = find_label(&kept, want->label[i]);
        same &= perm[i] == i;
    }
    return same ? v : fe_transpose(c, v, want->n, perm);
}

bool fe_op_einsum(struct fe_ctx *c, struct fe_node *n) {
    struct term in[2] = {{{0}, 0}, {{0}, 0}}, out = {{0}, 0};
    int n_in;
    bool has_out;
    const char *eq = fe_attr_s(c, n, "equation", "");
    if (!parse_terms(eq, in, &n_in, &out, &has_out) || !has_out || (size_t)n_in != n->n_in)
        return fe_fail(
            c, n, "equation \"%s\" is not supported (one or two operands, each index once per operand, with \"->\")",
            eq);
    int64_t size[128] = {0};
    ir_vid v[2];
    for (int k = 0; k < n_in; k++) {
        v[k] = fe_in(c, n, (size_t)k);
        if (v[k] == IR_NONE) return false;
        const struct ir_type *t = fe_typeof(c, v[k]);
        if (t->rank != in[k].n)
            return fe_fail(c, n, "operand %d has %d dimensions, \"%s\" names %d", k, t->rank, eq, in[k].n);
        for (int i = 0; i < t->rank; i++) {
            int64_t *s = &size[(int)in[k].label[i]];
            if (*s && *s != t->dims[i]) return fe_fail(c, n, "index '%c' of \"%s\" has two sizes", in[k].label[i], eq);
            *s = t->dims[i];
        }
    }
    for (int i = 0; i < out.n; i++)
        if (!size[(int)out.label[i]]) return fe_fail(c, n, "index '%c' of \"%s\" is in no operand", out.label[i], eq);
    if (n_in == 1) return fe_out(c, n, 0, arrange(c, v[0], &in[0], &out));
    // Two operands as [lead, batch, left, sum] and [lead, batch, sum, right]: the lead is the label of the batch size N
    // (it stays first, and broadcasts where one operand lacks it), batch is in both and in the result, left and right
    // in one and the result, sum in both and not in the result.
    struct term want[2] = {{{0}, 0}, {{0}, 0}}, res = {{0}, 0};
    int64_t flat[2][4] = {{1, 1, 1, 1}, {1, 1, 1, 1}}, dims[IR_MAX_RANK];
    for (int part = 0; part < 4; part++)
        for (int k = 0; k < 2; k++) {
            bool sums = part == 3 - k;                       // the left operand ends with the sum
            const struct term *order = sums ? &in[0] : &out; // one order for both operands
            for (int i = 0; i < order->n; i++) {
                char l = order->label[i];
                bool here = find_label(&in[k], l) >= 0, there = find_label(&in[1 - k], l) >= 0,
                     kept = find_label(&out, l) >= 0, lead = size[(int)l] < 0;
                bool fits = part == 0 ? lead
                                      : !lead && (part == 1 ? there && kept
                                                  : sums    ? there && !kept
                                                            : !there && kept);
                if (!here || !fits) continue;
                want[k].label[want[k].n++] = l;
                flat[k][part] *= size[(int)l];
            }
        }
    for (int k = 0; k < 2; k++) v[k] = fe_reshape(c, arrange(c, v[k], &in[k], &want[k]), 4, flat[k]);
    ir_vid y = fe_matmul(c, v[0], v[1], 0, 0);
    for (int lead = 1; lead >= 0; lead--) // a lead of the right operand still comes first
        for (int k = 0; k < 2; k++)
            for (int i = 0; i < want[k].n; i++) {
                char l = want[k].label[i];
                if ((size[(int)l] < 0) == lead && find_label(&out, l) >= 0 && find_label(&res, l) < 0)
                    res.label[res.n++] = l;
            }
    for (int i = 0; i < res.n; i++) dims[i] = size[(int)res.label[i]];
    return fe_out(c, n, 0, arrange(c, fe_reshape(c, y, res.n, dims), &res, &out));
}
