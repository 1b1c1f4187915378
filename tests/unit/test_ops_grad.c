// Every op that has a gradient: autodiff against central differences, both in float64 (tests/ops/fd.h).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../ops/fd.h"

#define N IR_N
#define BUILD(name, expr)                                                                                              \
    static ir_vid build_##name(struct fd_inputs *in) {                                                                 \
        struct ir_graph *g = in->g;                                                                                    \
        (void)g;                                                                                                       \
        return expr;                                                                                                   \
    }
#define UNARY(op, draw) BUILD(op, ir_unary(g, IR_OP_##op, FD_IN(draw, N, 3)))
#define I64S(...)                                                                                                      \
    (int64_t[]) { __VA_ARGS__ }
#define COUNT(...)    (sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
#define LIST(nm, ...) IR_IS(nm, I64S(__VA_ARGS__), COUNT(__VA_ARGS__))
#define EMIT(op, ...) ir_emit(g, IR_OP_##op, __VA_ARGS__)
#define OPERANDS(...) (ir_vid[]){__VA_ARGS__}, sizeof((ir_vid[]){__VA_ARGS__}) / sizeof(ir_vid)

// --- elementwise: kinks and poles are avoided by the draw ----------------------------------------------------------

UNARY(neg, FD_ANY)
UNARY(abs, FD_NONZERO)
UNARY(exp, FD_ANY)
UNARY(log, FD_POSITIVE)
UNARY(sqrt, FD_POSITIVE)
UNARY(recip, FD_NONZERO)
UNARY(erf, FD_ANY)
UNARY(tanh, FD_ANY)
UNARY(sigmoid, FD_ANY)
UNARY(relu, FD_NONZERO)
UNARY(sin, FD_ANY)
UNARY(cos, FD_ANY)
UNARY(atan, FD_ANY)
UNARY(sinh, FD_ANY)
UNARY(cosh, FD_ANY)
UNARY(asinh, FD_ANY)
// Inside their domains: tanh x for those of -1..1, 1 + a square above 1.
BUILD(asin, ir_unary(g, IR_OP_asin, ir_unary(g, IR_OP_tanh, FD_IN(FD_ANY, N, 3))))
BUILD(acos, ir_unary(g, IR_OP_acos, ir_unary(g, IR_OP_tanh, FD_IN(FD_ANY, N, 3))))
BUILD(atanh, ir_unary(g, IR_OP_atanh, ir_mul(g, ir_unary(g, IR_OP_tanh, FD_IN(FD_ANY, N, 3)), ir_const_f(g, 0.9))))
BUILD(acosh, ir_unary(g, IR_OP_acosh, ir_unary(g, IR_OP_exp, FD_IN(FD_POSITIVE, N, 3))))
UNARY(floor, FD_HALVES)
UNARY(ceil, FD_HALVES)
UNARY(round, FD_HALVES)
UNARY(sign, FD_NONZERO)
UNARY(copy, FD_ANY)
BUILD(cast, ir_mul(g, ir_cast(g, ir_cast(g, FD_IN(FD_ANY, N, 3), IR_F64), IR_F32), FD_IN(FD_ANY, 3)))
BUILD(cast_int,
      ir_mul(g, ir_cast(g, ir_cast(g, FD_IN(FD_HALVES, N, 3), IR_I64), IR_F32), FD_IN(FD_ANY, 3))) // cut by the integer

BUILD(add, ir_add(g, FD_IN(FD_ANY, N, 2, 3), FD_IN(FD_ANY, 2, 1)))
BUILD(add_batch, ir_add(g, FD_IN(FD_ANY, 1, 3), FD_IN(FD_ANY, N, 1)))
BUILD(sub, ir_sub(g, FD_IN0(FD_ANY), FD_IN(FD_ANY, N, 3)))
BUILD(mul, ir_mul(g, FD_IN(FD_ANY, N, 1, 3), FD_IN(FD_ANY, N, 2, 1)))
static ir_vid build_mul_self(struct fd_inputs *in) {
    ir_vid x = FD_IN(FD_ANY, N, 3);
    return ir_mul(in->g, ir_mul(in->g, x, x), x);
}
BUILD(div, ir_div(g, FD_IN(FD_ANY, N, 3), FD_IN(FD_NONZERO, 3)))
BUILD(div_scalar, ir_div(g, FD_IN0(FD_ANY), FD_IN(FD_NONZERO, N, 2)))
// a is 0.25 or more away from where the remainder jumps, and b moves it by less.
BUILD(rem, ir_binary(g, IR_OP_rem, FD_IN(FD_HALVES, N, 3),
                     ir_add(g, ir_const_f(g, 1), ir_mul(g, FD_IN(FD_ANY, 3), ir_const_f(g, 0.02)))))
BUILD(pow, ir_binary(g, IR_OP_pow, FD_IN(FD_POSITIVE, N, 3), FD_IN(FD_ANY, 3)))
BUILD(pow_2, ir_binary(g, IR_OP_pow, FD_IN(FD_ANY, N, 3), ir_const_f(g, 2)))
BUILD(pow_3, ir_binary(g, IR_OP_pow, FD_IN(FD_ANY, N, 3), ir_const_f(g, 3)))
BUILD(pow_half, ir_binary(g, IR_OP_pow, FD_IN(FD_POSITIVE, N, 3), ir_const_f(g, 0.5)))
BUILD(pow_inverse, ir_binary(g, IR_OP_pow, FD_IN(FD_NONZERO, N, 3), ir_const_f(g, -1)))
BUILD(pow_frac, ir_binary(g, IR_OP_pow, FD_IN(FD_POSITIVE, N, 3), ir_const_f(g, 1.75)))
BUILD(pow_0, ir_binary(g, IR_OP_pow, FD_IN(FD_ANY, N, 3), ir_const_f(g, 0)))
BUILD(max, ir_binary(g, IR_OP_max, FD_IN(FD_DISTINCT, N, 4), FD_IN(FD_DISTINCT, 4)))
BUILD(min, ir_binary(g, IR_OP_min, FD_IN(FD_DISTINCT, N, 4), FD_IN(FD_DISTINCT, 4)))
BUILD(where, ir_where(g, ir_binary(g, IR_OP_lt, FD_IN(FD_NONZERO, N, 3), ir_const_f(g, 0)), FD_IN(FD_ANY, 3),
                      FD_IN(FD_ANY, N, 1)))
BUILD(fma, ir_fma(g, FD_IN(FD_ANY, N, 3), FD_IN(FD_ANY, 3), FD_IN(FD_ANY, N, 1)))
BUILD(rank, ir_mul(g, ir_unary(g, IR_OP_rank, FD_IN(FD_DISTINCT, N)), FD_IN(FD_ANY, N)))
BUILD(relu_grad, ir_binary(g, IR_OP_relu_grad, FD_IN(FD_ANY, N, 3), FD_IN(FD_NONZERO, N, 3)))

// --- movement ------------------------------------------------------------------------------------------------------

BUILD(reshape, ir_reshape(g, FD_IN(FD_ANY, N, 2, 3), 2, I64S(-2, 3)))
BUILD(reshape_scalar, ir_reshape(g, FD_IN(FD_ANY, 1, 1), 0, NULL))
BUILD(transpose, ir_transpose(g, FD_IN(FD_ANY, N, 2, 3, 4), 4, I64S(0, 3, 1, 2)))
BUILD(expand, ir_expand_to(g, FD_IN(FD_ANY, 2, 1), 3, I64S(N, 2, 3)))
#define SLICE(x, starts, sizes, steps) EMIT(slice, OPERANDS(x), IR_ATTRS(starts, sizes, steps))
BUILD(slice, SLICE(FD_IN(FD_ANY, N, 5, 4), LIST("starts", 0, 1, 2), LIST("sizes", N, 3, 2), LIST("steps", 1, 1, 1)))
BUILD(slice_strided,
      SLICE(FD_IN(FD_ANY, N, 7, 4), LIST("starts", 0, 1, 0), LIST("sizes", N, 3, 2), LIST("steps", 1, 2, 3)))
BUILD(slice_negative, SLICE(FD_IN(FD_ANY, 6, 5), LIST("starts", 5, 3), LIST("sizes", 3, 1), LIST("steps", -2, -4)))
BUILD(reverse, EMIT(reverse, OPERANDS(FD_IN(FD_ANY, N, 3, 4)), IR_ATTRS(LIST("axes", 1, 2))))
BUILD(pad,
      EMIT(pad, OPERANDS(FD_IN(FD_ANY, N, 2, 3)), IR_ATTRS(LIST("lo", 0, 1, 0), LIST("hi", 0, 2, 1), IR_F("value", 7))))
BUILD(pad_steps,
      EMIT(pad, OPERANDS(FD_IN(FD_ANY, 2, 3)), IR_ATTRS(LIST("lo", 1, 0), LIST("hi", 0, 2), LIST("steps", 3, 2))))
BUILD(concat, EMIT(concat, OPERANDS(FD_IN(FD_ANY, N, 2, 3), FD_IN(FD_ANY, N, 1, 3), FD_IN(FD_ANY, N, 4, 3)),
                   IR_ATTRS(IR_I("axis", 1))))
BUILD(concat_last, EMIT(concat, OPERANDS(FD_IN(FD_ANY, 2, 3), FD_IN(FD_ANY, 2, 1)), IR_ATTRS(IR_I("axis", -1))))
BUILD(interleave, EMIT(interleave, OPERANDS(FD_IN(FD_ANY, N, 2, 3), FD_IN(FD_ANY, N, 2, 3), FD_IN(FD_ANY, N, 2, 3)),
                       IR_ATTRS(IR_I("axis", 1))))
BUILD(gather, EMIT(gather, OPERANDS(FD_IN(FD_ANY, 3, 4), FD_IN(FD_INDEX_NEG, N, 2)), IR_ATTRS(IR_I("axis", 0))))
BUILD(gather_inner, EMIT(gather, OPERANDS(FD_IN(FD_ANY, N, 3, 2), FD_IN(FD_INDEX, 5)), IR_ATTRS(IR_I("axis", -2))))

#define SCATTER(by, draw)                                                                                              \
    EMIT(scatter_elements, OPERANDS(FD_IN(draw, N, 3, 2), FD_IN(FD_INDEX_NEG, N, 5, 1), FD_IN(draw, N, 5, 2)),         \
         IR_ATTRS(IR_I("axis", 1), IR_S("reduction", by)))
BUILD(gather_batch, EMIT(gather, OPERANDS(FD_IN(FD_ANY, N, 2), FD_IN(FD_INDEX, 4)), IR_ATTRS(IR_I("axis", 0))))
BUILD(gather_elements,
      EMIT(gather_elements, OPERANDS(FD_IN(FD_ANY, N, 3, 2), FD_IN(FD_INDEX_NEG, N, 4, 2)), IR_ATTRS(IR_I("axis", 1))))
BUILD(gather_elements_shared,
      EMIT(gather_elements, OPERANDS(FD_IN(FD_ANY, N, 3, 2), FD_IN(FD_INDEX, 1, 4, 2)), IR_ATTRS(IR_I("axis", 1))))
BUILD(scatter_none, EMIT(scatter_elements,
                         OPERANDS(FD_IN(FD_ANY, N, 4), ir_const(g, ir_type_make(IR_I64, 2, I64S(1, 2)), I64S(2, 0)),
                                  FD_IN(FD_ANY, N, 2)),
                         IR_ATTRS(IR_I("axis", 1))))
BUILD(scatter_add, SCATTER("add", FD_ANY))
BUILD(scatter_mul, SCATTER("mul", FD_ANY))
BUILD(scatter_max, SCATTER("max", FD_DISTINCT))
BUILD(scatter_min, SCATTER("min", FD_DISTINCT))
BUILD(top_k, EMIT(top_k, OPERANDS(FD_IN(FD_DISTINCT, N, 5, 2)), IR_ATTRS(IR_I("axis", 1), IR_I("k", 3))))
BUILD(top_k_least,
      EMIT(top_k, OPERANDS(FD_IN(FD_DISTINCT, N, 4)), IR_ATTRS(IR_I("axis", 1), IR_I("k", 2), IR_I("largest", 0))))
BUILD(cum_sum, EMIT(cum_sum, OPERANDS(FD_IN(FD_ANY, N, 4, 2)), IR_ATTRS(IR_I("axis", 1))))
BUILD(cum_sum_batch,
      EMIT(cum_sum, OPERANDS(FD_IN(FD_ANY, N, 2)), IR_ATTRS(IR_I("axis", 0), IR_I("exclusive", 1), IR_I("reverse", 1))))
BUILD(cum_prod, EMIT(cum_prod, OPERANDS(FD_IN(FD_NONZERO, N, 4, 2)), IR_ATTRS(IR_I("axis", 1), IR_I("reverse", 1))))

// --- reductions ----------------------------------------------------------------------------------------------------

BUILD(reduce_sum, ir_reduce(g, IR_OP_reduce_sum, FD_IN(FD_ANY, N, 2, 3), I64S(1), 1, 0))
BUILD(reduce_sum_batch, ir_reduce(g, IR_OP_reduce_sum, FD_IN(FD_ANY, N, 2, 3), I64S(0, 2), 2, 1))
BUILD(reduce_mean, ir_reduce(g, IR_OP_reduce_mean, FD_IN(FD_ANY, N, 2, 3, 2), I64S(2, 3), 2, 1))
BUILD(reduce_mean_batch, ir_reduce(g, IR_OP_reduce_mean, FD_IN(FD_ANY, N, 3), I64S(0, 1), 2, 0))
BUILD(reduce_max, ir_reduce(g, IR_OP_reduce_max, FD_IN(FD_DISTINCT, N, 4), I64S(1), 1, 0))
BUILD(reduce_max_batch, ir_reduce(g, IR_OP_reduce_max, FD_IN(FD_DISTINCT, N, 4), I64S(0), 1, 1))
BUILD(reduce_min, ir_reduce(g, IR_OP_reduce_min, FD_IN(FD_DISTINCT, N, 4), I64S(-1), 1, 1))

// --- matmul --------------------------------------------------------------------------------------------------------

BUILD(matmul_nn, ir_matmul(g, FD_IN(FD_ANY, N, 3), FD_IN(FD_ANY, 3, 2), 0, 0))
BUILD(matmul_nt, ir_matmul(g, FD_IN(FD_ANY, N, 3), FD_IN(FD_ANY, 2, 3), 0, 1))
BUILD(matmul_tn, ir_matmul(g, FD_IN(FD_ANY, 3, 4), FD_IN(FD_ANY, 3, 2), 1, 0))
BUILD(matmul_tt, ir_matmul(g, FD_IN(FD_ANY, 3, 4), FD_IN(FD_ANY, 2, 3), 1, 1))
BUILD(matmul_contract_batch, ir_matmul(g, FD_IN(FD_ANY, N, 3), FD_IN(FD_ANY, N, 2), 1, 0))
BUILD(matmul_batched, ir_matmul(g, FD_IN(FD_ANY, N, 2, 3), FD_IN(FD_ANY, N, 3, 2), 0, 0))
BUILD(matmul_batched_tt, ir_matmul(g, FD_IN(FD_ANY, N, 3, 2), FD_IN(FD_ANY, N, 4, 3), 1, 1))
BUILD(matmul_shared_b, ir_matmul(g, FD_IN(FD_ANY, N, 2, 3), FD_IN(FD_ANY, 3, 2), 0, 0))
BUILD(matmul_shared_bt, ir_matmul(g, FD_IN(FD_ANY, N, 2, 3), FD_IN(FD_ANY, 4, 3), 0, 1))
BUILD(matmul_shared_b_ta, ir_matmul(g, FD_IN(FD_ANY, N, 3, 2), FD_IN(FD_ANY, 3, 2), 1, 0))
BUILD(matmul_shared_a, ir_matmul(g, FD_IN(FD_ANY, 2, 3), FD_IN(FD_ANY, N, 3, 2), 0, 0))
BUILD(matmul_broadcast, ir_matmul(g, FD_IN(FD_ANY, N, 1, 2, 3), FD_IN(FD_ANY, 2, 3, 2), 0, 0))

// --- convolution ---------------------------------------------------------------------------------------------------

#define WINDOW(s0, s1, p0, p1, p2, p3, d0, d1)                                                                         \
    LIST("strides", s0, s1), LIST("pads", p0, p1, p2, p3), LIST("dilations", d0, d1)
#define CONV(x, w, window, groups) EMIT(conv, OPERANDS(x, w), IR_ATTRS(window, IR_I("group", groups)))
#define PLAIN                      WINDOW(1, 1, 0, 0, 0, 0, 1, 1)
#define ODD                        WINDOW(2, 3, 1, 0, 2, 1, 1, 2)
BUILD(conv, CONV(FD_IN(FD_ANY, N, 2, 4, 5), FD_IN(FD_ANY, 3, 2, 3, 2), PLAIN, 1))
BUILD(conv_odd, CONV(FD_IN(FD_ANY, N, 2, 5, 7), FD_IN(FD_ANY, 2, 2, 3, 3), ODD, 1))
BUILD(conv_grouped, CONV(FD_IN(FD_ANY, N, 4, 4, 4), FD_IN(FD_ANY, 6, 2, 2, 3), WINDOW(1, 2, 1, 1, 0, 1, 1, 1), 2))
BUILD(conv_depthwise, CONV(FD_IN(FD_ANY, N, 3, 5, 4), FD_IN(FD_ANY, 6, 1, 3, 3), WINDOW(2, 2, 1, 1, 1, 1, 1, 1), 3))
BUILD(conv_pointwise, CONV(FD_IN(FD_ANY, N, 3, 3, 3), FD_IN(FD_ANY, 2, 3, 1, 1), WINDOW(2, 2, 0, 0, 0, 0, 1, 1), 1))
#define CONV_T(dy, w, window, groups, h, wd)                                                                           \
    EMIT(conv_grad_x, OPERANDS(dy, w), IR_ATTRS(window, IR_I("group", groups), LIST("hw", h, wd)))
BUILD(conv_grad_x, CONV_T(FD_IN(FD_ANY, N, 3, 3, 2), FD_IN(FD_ANY, 3, 2, 3, 3), ODD, 1, 5, 7)) // also ConvTranspose
BUILD(conv_grad_x_grouped,
      CONV_T(FD_IN(FD_ANY, N, 4, 2, 2), FD_IN(FD_ANY, 4, 1, 2, 2), WINDOW(2, 2, 0, 0, 0, 0, 1, 1), 2, 5, 4))
BUILD(conv_grad_w, EMIT(conv_grad_w, OPERANDS(FD_IN(FD_ANY, N, 2, 3, 2), FD_IN(FD_ANY, N, 4, 5, 7)),
                        IR_ATTRS(ODD, IR_I("group", 2), LIST("rs", 3, 3))))

// --- pooling: distinct values, so that no window has two maxima within the difference step -------------------------

#define POOL(op, x, ...) EMIT(op, OPERANDS(x), IR_ATTRS(__VA_ARGS__))
BUILD(max_pool, POOL(max_pool, FD_IN(FD_DISTINCT, N, 2, 4, 5), LIST("kernel", 2, 3), WINDOW(2, 1, 0, 0, 0, 0, 1, 1)))
BUILD(max_pool_odd, POOL(max_pool, FD_IN(FD_DISTINCT, N, 1, 6, 5), LIST("kernel", 3, 2), WINDOW(2, 2, 1, 1, 1, 0, 1, 2),
                         IR_I("ceil", 1)))
#define AVG(s0, s1, p0, p1, p2, p3) LIST("strides", s0, s1), LIST("pads", p0, p1, p2, p3)
BUILD(avg_pool, POOL(avg_pool, FD_IN(FD_ANY, N, 2, 4, 4), LIST("kernel", 2, 2), AVG(2, 2, 0, 0, 0, 0)))
BUILD(avg_pool_exclude, POOL(avg_pool, FD_IN(FD_ANY, N, 1, 5, 4), LIST("kernel", 3, 2), AVG(2, 1, 1, 1, 1, 0)))
BUILD(avg_pool_include, POOL(avg_pool, FD_IN(FD_ANY, N, 1, 6, 4), LIST("kernel", 3, 3), AVG(2, 2, 1, 1, 1, 1),
                             IR_I("ceil", 1), IR_I("include_pad", 1)))

// --- normalisation -------------------------------------------------------------------------------------------------

static ir_vid build_bn_stats(struct fd_inputs *in) {
    ir_vid x = FD_IN(FD_ANY, N, 2, 3);
    ir_nid n = ir_node_new(in->g, IR_OP_bn_stats, &x, 1, IR_NO_ATTRS);
    ir_set_output(in->g, IR_OUT_OUTPUT, "mean", in->g->nodes[n].out[0]);
    ir_set_output(in->g, IR_OUT_OUTPUT, "var", in->g->nodes[n].out[1]);
    return IR_NONE;
}
BUILD(bn_stats_mean, EMIT(bn_stats, OPERANDS(FD_IN(FD_ANY, N, 2)), IR_NO_ATTRS))
BUILD(bn_apply, EMIT(bn_apply,
                     OPERANDS(FD_IN(FD_ANY, N, 2, 3), FD_IN(FD_ANY, 2), FD_IN(FD_POSITIVE, 2), FD_IN(FD_ANY, 2),
                              FD_IN(FD_ANY, 2)),
                     IR_NO_ATTRS))
// Running statistics stand as inputs: their gradient in training is that of the moving averages alone, which are not
// outputs here, so it is zero.
static ir_vid batch_norm(struct fd_inputs *in, ir_vid x, int64_t C, int64_t training) {
    ir_vid v[5] = {x, FD_IN(FD_ANY, C), FD_IN(FD_ANY, C), FD_IN(FD_ANY, C), FD_IN(FD_POSITIVE, C)};
    return ir_emit(in->g, IR_OP_batch_norm, v, 5, IR_ATTRS(IR_F("eps", 0.125), IR_I("training", training)));
}
static ir_vid build_bn_train(struct fd_inputs *in) { return batch_norm(in, FD_IN(FD_ANY, N, 2, 2, 3), 2, -1); }
static ir_vid build_bn_train_1d(struct fd_inputs *in) { return batch_norm(in, FD_IN(FD_ANY, N, 3), 3, 1); }
static ir_vid build_bn_train_5d(struct fd_inputs *in) { return batch_norm(in, FD_IN(FD_ANY, N, 2, 2, 1, 2), 2, 1); }
static ir_vid build_bn_unbatched(struct fd_inputs *in) { return batch_norm(in, FD_IN(FD_ANY, 4, 2, 3), 2, 1); }
static ir_vid build_bn_infer(struct fd_inputs *in) { return batch_norm(in, FD_IN(FD_ANY, N, 2, 2, 3), 2, 0); }
BUILD(dropout, EMIT(dropout, OPERANDS(FD_IN(FD_ANY, N, 8), ir_const_i(g, 11)), IR_ATTRS(IR_F("ratio", 0.5))))

// --- whole graphs --------------------------------------------------------------------------------------------------

// A residual block with a branch that stops, a value used three times, and two outputs.
static ir_vid build_block(struct fd_inputs *in) {
    struct ir_graph *g = in->g;
    ir_vid x = FD_IN(FD_ANY, N, 2, 4, 4), w = FD_IN(FD_ANY, 2, 2, 3, 3);
    ir_vid y = CONV(x, w, WINDOW(1, 1, 1, 1, 1, 1, 1, 1), 1);
    ir_vid z = ir_add(g, ir_unary(g, IR_OP_sigmoid, y), x);
    ir_vid pooled = ir_reduce(g, IR_OP_reduce_mean, z, I64S(2, 3), 2, 0);
    ir_set_output(g, IR_OUT_OUTPUT, "features", z);
    ir_set_output(g, IR_OUT_OUTPUT, "logits", ir_matmul(g, pooled, FD_IN(FD_ANY, 3, 2), 0, 1));
    return IR_NONE;
}
BUILD(identity, FD_IN(FD_ANY, N, 2))                                           // the gradient is the cotangent itself
BUILD(unused, (FD_IN(FD_ANY, 3), ir_unary(g, IR_OP_neg, FD_IN(FD_ANY, N, 2)))) // a zero gradient

// --- what is unrolled: sums of many parts (sums.c)
// -----------------------------------------------------------------------

static ir_vid columns(struct ir_graph *g, ir_vid x, int64_t start, int64_t size) { // of [N, T, k]
    const struct ir_type t = *ir_typeof(g, x);
    return ir_emit(g, IR_OP_slice, &x, 1,
                   IR_ATTRS(LIST("starts", 0, start, 0), IR_IS("sizes", I64S(t.dims[0], size, t.dims[2]), 3),
                            LIST("steps", 1, 1, 1)));
}

// h = tanh(x[:, t] + h w + b) for six steps
static ir_vid build_recurrence(struct fd_inputs *in) {
    struct ir_graph *g = in->g;
    ir_vid x = FD_IN(FD_ANY, N, 6, 3), w = FD_IN(FD_ANY, 3, 3), b = FD_IN(FD_ANY, 3), h = columns(g, x, 0, 1);
    for (int64_t t = 1; t < 6; t++)
        h = ir_unary(g, IR_OP_tanh, ir_add(g, ir_add(g, columns(g, x, t, 1), ir_matmul(g, h, w, 0, 0)), b));
    return h;
}
// Parts with gaps beside them, of different length and some of them twice; parts that overlap.
static ir_vid build_slices_apart(struct fd_inputs *in) {
    struct ir_graph *g = in->g;
    ir_vid x = FD_IN(FD_ANY, N, 8, 2), one = columns(g, x, 5, 1), two = columns(g, x, 1, 2);
    return ir_mul(g, ir_mul(g, one, ir_unary(g, IR_OP_sin, two)), ir_unary(g, IR_OP_exp, columns(g, x, 1, 2)));
}
static ir_vid build_slices_overlap(struct fd_inputs *in) {
    struct ir_graph *g = in->g;
    ir_vid x = FD_IN(FD_ANY, N, 4, 2);
    return ir_mul(g, ir_mul(g, columns(g, x, 0, 2), columns(g, x, 1, 2)), columns(g, x, 3, 1));
}

#define C(name) {#name, build_##name}
static const struct fd_case cases[] = {
    C(neg),
    C(abs),
    C(exp),
    C(log),
    C(sqrt),
    C(recip),
    C(erf),
    C(tanh),
    C(sigmoid),
    C(relu),
    C(sin),
    C(cos),
    C(asin),
    C(acos),
    C(atan),
    C(sinh),
    C(cosh),
    C(asinh),
    C(acosh),
    C(atanh),
    C(floor),
    C(ceil),
    C(round),
    C(sign),
    C(copy),
    C(cast),
    C(cast_int),
    C(add),
    C(add_batch),
    C(sub),
    C(mul),
    C(mul_self),
    C(div),
    C(div_scalar),
    C(rem),
    C(pow),
    C(pow_2),
    C(pow_3),
    C(pow_half),
    C(pow_inverse),
    C(pow_frac),
    C(pow_0),
    C(max),
    C(min),
    C(where),
    C(fma),
    C(rank),
    C(relu_grad),
    C(reshape),
    C(reshape_scalar),
    C(transpose),
    C(expand),
    C(slice),
    C(slice_strided),
    C(slice_negative),
    C(slices_apart),
    C(slices_overlap),
    C(recurrence),
    C(reverse),
    C(pad),
    C(pad_steps),
    C(concat),
    C(concat_last),
    C(interleave),
    C(gather),
    C(gather_inner),
    C(gather_batch),
    C(gather_elements),
    C(gather_elements_shared),
    C(scatter_none),
    C(scatter_add),
    C(scatter_mul),
    C(scatter_max),
    C(scatter_min),
    C(top_k),
    C(top_k_least),
    C(cum_sum),
    C(cum_sum_batch),
    C(cum_prod),
    C(reduce_sum),
    C(reduce_sum_batch),
    C(reduce_mean),
    C(reduce_mean_batch),
    C(reduce_max),
    C(reduce_max_batch),
    C(reduce_min),
    C(matmul_nn),
    C(matmul_nt),
    C(matmul_tn),
    C(matmul_tt),
    C(matmul_contract_batch),
    C(matmul_batched),
    C(matmul_batched_tt),
    C(matmul_shared_b),
    C(matmul_shared_bt),
    C(matmul_shared_b_ta),
    C(matmul_shared_a),
    C(matmul_broadcast),
    C(conv),
    C(conv_odd),
    C(conv_grouped),
    C(conv_depthwise),
    C(conv_pointwise),
    C(conv_grad_x),
    C(conv_grad_x_grouped),
    C(conv_grad_w),
    C(max_pool),
    C(max_pool_odd),
    C(avg_pool),
    C(avg_pool_exclude),
    C(avg_pool_include),
    C(bn_stats),
    C(bn_stats_mean),
    C(bn_apply),
    C(bn_train),
    C(bn_train_1d),
    C(bn_train_5d),
    C(bn_unbatched),
    C(bn_infer),
    C(dropout),
    C(block),
    C(identity),
    C(unused),
};

static void test_finite_differences(void **state) {
    (void)state;
    int bad = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int64_t batch = 1; batch <= 3; batch += 2) bad += fd_check(&cases[i], batch, 1000 + i);
    assert_int_equal(bad, 0);
}

// An op with a gradient that no case uses has escaped the table above. relayout is made by pass layout, after autodiff;
// stop_gradient and round_to are what differences would disagree with (test_ties).
static void test_every_gradient_has_a_case(void **state) {
    (void)state;
    bool seen[IR_OP_COUNT] = {[IR_OP_relayout] = true, [IR_OP_stop_gradient] = true, [IR_OP_round_to] = true};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena a;
        struct diag d = {0};
        struct fd_inputs in;
        arena_init(&a);
        fd_build(&cases[i], &a, &d, &in);
        fd_expand(in.g, IR_TRAIN);
        for (size_t n = 0; n < in.g->n_nodes; n++) seen[in.g->nodes[n].op] = true;
        arena_release(&a);
    }
    for (int op = IR_OP_NONE + 1; op < IR_OP_COUNT; op++) {
        if (ir_ops[op].vjp && !seen[op]) fail_msg("no case differentiates %s", ir_ops[op].name);
    }
}

// --- rules that differences cannot see -----------------------------------------------------------------------------

struct messages {
    char text[4096];
};
static void keep(void *env, enum diag_severity sev, const char *line) {
    struct messages *m = env;
    (void)sev;
    strncat(m->text, line, sizeof m->text - strlen(m->text) - 2);
    strcat(m->text, "\n");
}

static double scalar_of(struct ir_graph *g, ir_vid v) {
    struct arena a;
    arena_init(&a);
    struct ir_tensor **values = ARENA_ARRAY(&a, struct ir_tensor *, g->n_values);
    ir_eval(g, &a, 2, values);
    double x = values[v]->f[0];
    arena_release(&a);
    return x;
}

// Ties: binary max gives each side half, reduce_max shares evenly, relu gives nothing at 0, |x| nothing at 0, and 0^b
// does not move with b.
static void test_ties(void **state) {
    (void)state;
    struct arena a;
    struct diag d = {0};
    arena_init(&a);
    struct ir_graph *g = ir_graph_new(&a, &d, "ties");
    ir_vid x = ir_const_f(g, 0.5), y = ir_const_f(g, 0.5), zero = ir_const_f(g, 0), three = ir_const_f(g, 3);
    float row[4] = {1, 2, 2, 2};
    ir_vid r = ir_const(g, ir_type_make(IR_F32, 1, I64S(4)), row);
    struct ir_grad_seed seeds[] = {
        {ir_binary(g, IR_OP_max, x, y), x},
        {ir_binary(g, IR_OP_min, x, y), y},
        {ir_unary(g, IR_OP_relu, zero), zero},
        {ir_unary(g, IR_OP_abs, zero), zero},
        {ir_binary(g, IR_OP_pow, zero, three), three},
        {ir_reduce(g, IR_OP_reduce_max, r, I64S(0), 1, 0), r},
        {ir_stop_gradient(g, x), x},
    };
    enum { COUNT_OF = sizeof seeds / sizeof *seeds };
    ir_vid dx[COUNT_OF];
    assert_int_equal(ir_gradients(g, seeds, COUNT_OF, dx), SMKD_OK);
    const double want[COUNT_OF] = {0.5, 0.5, 0, 0, 0, 0, 0};
    for (size_t i = 0; i < COUNT_OF; i++) assert_true(scalar_of(g, dx[i]) == want[i]);
    struct ir_tensor **values = ARENA_ARRAY(&a, struct ir_tensor *, g->n_values);
    ir_eval(g, &a, 2, values);
    for (int i = 1; i < 4; i++) assert_true(fabs(values[dx[5]]->f[i] - 1.0 / 3) < 1e-7);
    arena_release(&a);
}

static void test_gradient_is_labelled(void **state) {
    (void)state;
    struct arena a;
    struct messages m = {{0}};
    struct diag d = {.sink = keep, .env = &m};
    arena_init(&a);
    struct ir_graph *g = ir_graph_new(&a, &d, "labels");
    ir_vid w = ir_boundary(g, IR_ROLE_PARAM, ir_type_make(IR_F32, 1, I64S(3)), "w", NULL);
    ir_vid idle = ir_boundary(g, IR_ROLE_PARAM, ir_type_make(IR_F32, 1, I64S(2)), "idle", NULL);
    ir_vid x = ir_boundary(g, IR_ROLE_INPUT, ir_type_make(IR_F32, 2, I64S(N, 3)), "x", NULL);
    (void)idle;
    g->cur_loc = (struct diag_loc){.node = "/fc/Mul", .op = "Mul"};
    ir_set_output(g, IR_OUT_OUTPUT, "y", ir_mul(g, x, w));
    g->cur_loc = (struct diag_loc){0};
    size_t forward = g->n_nodes;
    assert_int_equal(ir_differentiate(g, NULL, 0, false), SMKD_OK);
    assert_int_equal(g->n_outputs, 3); // y, and a gradient for each parameter; none for x
    assert_string_equal(g->outputs[1].name, "w");
    assert_int_equal(g->outputs[1].kind, IR_OUT_GRAD_PARAM);
    assert_string_equal(g->outputs[2].name, "idle");
    assert_true(ir_same_dims(ir_typeof(g, g->outputs[1].value), ir_typeof(g, w)));
    assert_true(ir_same_dims(ir_typeof(g, g->outputs[2].value), ir_typeof(g, idle)));
    for (size_t i = 0; i < g->n_nodes; i++) assert_int_equal(g->nodes[i].phase, i < forward ? IR_FORWARD : IR_BACKWARD);
    assert_string_equal(g->nodes[forward].loc.node, "/fc/Mul");
    assert_string_equal(g->nodes[forward].loc.note, "gradient of");
    assert_int_equal(g->cur_phase, IR_FORWARD);
    assert_int_equal(ir_differentiate(g, (const char *const[]){"z"}, 1, false), SMKD_INVALID);
    assert_non_null(strstr(m.text, "no f32 output 'z'"));
    arena_release(&a);
}

// Every op without a gradient on a path to a parameter is named, and nothing is appended.
static void test_missing_gradients(void **state) {
    (void)state;
    struct arena a;
    struct messages m = {{0}};
    struct diag d = {.sink = keep, .env = &m};
    arena_init(&a);
    struct ir_graph *g = ir_graph_new(&a, &d, "missing");
    ir_vid w = ir_boundary(g, IR_ROLE_PARAM, ir_type_make(IR_F32, 2, I64S(2, 3)), "w", NULL);
    ir_vid v = ir_boundary(g, IR_ROLE_INPUT, ir_type_make(IR_F32, 2, I64S(2, 3)), "v", NULL);
    ir_vid seed = ir_const_i(g, 1);
    const char *const names[] = {"first", "second", "harmless"};
    ir_vid masks[3];
    for (int i = 0; i < 3; i++) {
        g->cur_loc = (struct diag_loc){.node = names[i]};
        masks[i] = EMIT(dropout_mask, OPERANDS(i == 2 ? v : i ? masks[i - 1] : w, seed), IR_ATTRS(IR_F("ratio", 0.5)));
    }
    ir_set_output(g, IR_OUT_OUTPUT, "y", ir_add(g, masks[1], masks[2]));
    size_t nodes = g->n_nodes, outputs = g->n_outputs;
    assert_int_equal(ir_differentiate(g, NULL, 0, false), SMKD_UNSUPPORTED);
    assert_non_null(strstr(m.text, "\"first\""));
    assert_non_null(strstr(m.text, "\"second\""));
    assert_null(strstr(m.text, "harmless"));
    assert_int_equal(d.errors, 2);
    assert_int_equal(g->n_nodes, nodes);
    assert_int_equal(g->n_outputs, outputs);
    arena_release(&a);
}

// A recurrence differentiates into one product for its weight, one sum for its bias, and no tensor of zeros.
static void test_joined_sums(void **state) {
    (void)state;
    struct arena a;
    struct diag d = {0};
    struct fd_inputs in;
    arena_init(&a);
    fd_build(&(struct fd_case){"recurrence", build_recurrence}, &a, &d, &in);
    struct ir_graph *g = in.g;
    assert_int_equal(ir_differentiate(g, NULL, 0, true), SMKD_OK);
    assert_int_equal(ir_run_passes(g, "dce", &(struct ir_pass_options){.mode = IR_TRAIN}), SMKD_OK);
    size_t products = 0, sums = 0, pads = 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct ir_node *n = &g->nodes[i];
        products += n->op == IR_OP_matmul && ir_attr_i(n, "trans_a");
        sums += n->op == IR_OP_reduce_sum && !ir_is_batched(ir_typeof(g, n->out[0]));
        pads += n->op == IR_OP_pad;
    }
    assert_int_equal(products, 1);
    assert_int_equal(sums, 1);
    assert_int_equal(pads, 0);
    arena_release(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finite_differences),
        cmocka_unit_test(test_every_gradient_has_a_case),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_joined_sums),
        cmocka_unit_test(test_gradient_is_labelled),
        cmocka_unit_test(test_missing_gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
