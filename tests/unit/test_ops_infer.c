// Shape inference: what every op must refuse, with the words a user gets to read, and where the symbolic batch may go.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../ir/ir.h"

#include <string.h>

#define N             IR_N
#define BIG           (INT64_C(1) << 45)
#define COUNT(...)    (sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
#define LIST(nm, ...) IR_IS(nm, ((int64_t[]){__VA_ARGS__}), COUNT(__VA_ARGS__))
#define OPERANDS(...) (ir_vid[]){__VA_ARGS__}, sizeof((ir_vid[]){__VA_ARGS__}) / sizeof(ir_vid)

static struct ir_graph *g;
static char said[2048];

static void keep(void *env, enum diag_severity sev, const char *line) {
    (void)env, (void)sev;
    strncat(said, line, sizeof said - strlen(said) - 1);
}

static ir_vid typed(enum ir_dtype t, int rank, const int64_t *dims) {
    return ir_boundary(g, IR_ROLE_INPUT, ir_type_make(t, rank, dims), "x", NULL);
}
#define V(t, ...) typed(IR_##t, (int)COUNT(__VA_ARGS__), (int64_t[]){__VA_ARGS__})
#define F(...)    V(F32, __VA_ARGS__)
#define F0        typed(IR_F32, 0, NULL)

// --- refusals ------------------------------------------------------------------------------------------------------

#define NODE(op, ...) (ir_node_new(g, IR_OP_##op, __VA_ARGS__))
// The node must not be made, and the one message must name the node and contain `text`.
#define REFUSED(text, made)                                                                                            \
    do {                                                                                                               \
        said[0] = 0;                                                                                                   \
        g->cur_loc = (struct diag_loc){.node = "/the/node"};                                                           \
        size_t nodes_before = g->n_nodes;                                                                              \
        int errors_before = g->diag->errors;                                                                           \
        if ((made) != IR_NONE) fail_msg("accepted: %s", #made);                                                        \
        assert_int_equal(g->n_nodes, nodes_before);                                                                    \
        assert_int_equal(g->diag->errors, errors_before + 1);                                                          \
        if (!strstr(said, "/the/node") || !strstr(said, text)) fail_msg("%s\nsays: %s\nnot: %s", #made, said, text);   \
    } while (0)

static void test_elementwise(void **state) {
    (void)state;
    REFUSED("do not broadcast together: dimension 1 is 3 against 4",
            NODE(add, OPERANDS(F(N, 3), F(N, 4)), IR_NO_ATTRS));
    REFUSED("f32[N,3] and f32[2,3] do not broadcast", NODE(mul, OPERANDS(F(N, 3), F(2, 3)), IR_NO_ATTRS));
    REFUSED("do not broadcast", NODE(mul, OPERANDS(F(N, 3), F(-2, 3)), IR_NO_ATTRS));
    REFUSED("put the batch in dimension 1", NODE(add, OPERANDS(F(N, 1), F(4, 1, 1)), IR_NO_ATTRS));
    REFUSED("too large", NODE(add, OPERANDS(F(1 << 30, 1), F(1, 1 << 30)), IR_NO_ATTRS));
    REFUSED("different types", NODE(add, OPERANDS(F(2), V(I64, 2)), IR_NO_ATTRS));
    REFUSED("operand 0 is i64[2]; a floating-point tensor was expected", NODE(exp, OPERANDS(V(I64, 2)), IR_NO_ATTRS));
    REFUSED("a number tensor was expected", NODE(neg, OPERANDS(V(BOOL, 2)), IR_NO_ATTRS));
    REFUSED("a bool tensor was expected", NODE(not, OPERANDS(F(2)), IR_NO_ATTRS));
    REFUSED("an integer tensor was expected", NODE(bit_and, OPERANDS(F(2), F(2)), IR_NO_ATTRS));
    REFUSED("a floating-point tensor was expected", NODE(asin, OPERANDS(V(I64, 2)), IR_NO_ATTRS));
    REFUSED("a bool tensor was expected", NODE(and, OPERANDS(F(2), F(2)), IR_NO_ATTRS));
    REFUSED("the condition is f32[2]", NODE(where, OPERANDS(F(2), F(2), F(2)), IR_NO_ATTRS));
    REFUSED("do not broadcast", NODE(where, OPERANDS(V(BOOL, 2), F(3), F(3)), IR_NO_ATTRS));
    REFUSED("operand 1 is i64[2]; floats were expected", NODE(fma, OPERANDS(F(2), V(I64, 2), F(2)), IR_NO_ATTRS));
    REFUSED("do not broadcast", NODE(fma, OPERANDS(F(2), F(2), F(3)), IR_NO_ATTRS));
    REFUSED("differ", NODE(relu_grad, OPERANDS(F(2), F(3)), IR_NO_ATTRS));
    REFUSED("unknown element type 'f16'", NODE(cast, OPERANDS(F(2)), IR_ATTRS(IR_S("dtype", "f16"))));
    REFUSED("axis = 2 is out of range for 2 dimensions", NODE(softmax, OPERANDS(F(N, 3)), IR_ATTRS(IR_I("axis", 2))));
}

static void test_generate(void **state) {
    (void)state;
    REFUSED("batch in dimension 1", NODE(fill, NULL, 0, IR_ATTRS(LIST("shape", 2, N))));
    REFUSED("too large", NODE(fill, NULL, 0, IR_ATTRS(LIST("shape", BIG))));
    REFUSED("too large", NODE(fill, NULL, 0, IR_ATTRS(LIST("shape", INT64_MIN))));
    REFUSED("at most 8", NODE(fill, NULL, 0, IR_ATTRS(LIST("shape", 1, 1, 1, 1, 1, 1, 1, 1, 1))));
    REFUSED("axis = 1 is out of range", NODE(iota, NULL, 0, IR_ATTRS(LIST("shape", 2), IR_I("axis", 1))));
    REFUSED("seed is f32[]", NODE(dropout_mask, OPERANDS(F(2), F0), IR_ATTRS(IR_F("ratio", 0.5))));
    REFUSED("seed is f32[]", NODE(random, OPERANDS(F0), IR_ATTRS(LIST("shape", 2))));
    REFUSED("batch in dimension 1", NODE(random, OPERANDS(ir_const_i(g, 1)), IR_ATTRS(LIST("shape", 2, N))));
    REFUSED("ratio 1 must", NODE(dropout, OPERANDS(F(2), ir_const_i(g, 1)), IR_ATTRS(IR_F("ratio", 1))));
    REFUSED("class indices of integer type", NODE(one_hot, OPERANDS(F(N)), IR_ATTRS(IR_I("classes", 3))));
    REFUSED("classes = 0", NODE(one_hot, OPERANDS(V(I64, N)), IR_ATTRS(IR_I("classes", 0))));
}

#define SLICE(x, st, sz, sp) NODE(slice, OPERANDS(x), IR_ATTRS(st, sz, sp))

static void test_movement(void **state) {
    (void)state;
    REFUSED("cannot reshape f32[N,6] to f32[N,4]: 6*N elements against 4*N",
            NODE(reshape, OPERANDS(F(N, 6)), IR_ATTRS(LIST("shape", N, 4))));
    REFUSED("cannot reshape", NODE(reshape, OPERANDS(F(N, 6)), IR_ATTRS(LIST("shape", 6))));
    REFUSED("batch in dimension 1", NODE(reshape, OPERANDS(F(N, 6)), IR_ATTRS(LIST("shape", 6, N))));
    REFUSED("not an order of the 2 dimensions", NODE(transpose, OPERANDS(F(2, 3)), IR_ATTRS(LIST("perm", 0, 0))));
    REFUSED("not an order", NODE(transpose, OPERANDS(F(2, 3)), IR_ATTRS(LIST("perm", 0, 2))));
    REFUSED("not an order", NODE(transpose, OPERANDS(F(2, 3)), IR_ATTRS(LIST("perm", 0))));
    REFUSED("must stay first", NODE(transpose, OPERANDS(F(N, 3)), IR_ATTRS(LIST("perm", 1, 0))));
    REFUSED("cannot expand f32[2,3] to f32[2,4]", NODE(expand, OPERANDS(F(2, 3)), IR_ATTRS(LIST("shape", 2, 4))));
    REFUSED("cannot expand", NODE(expand, OPERANDS(F(2, 3)), IR_ATTRS(LIST("shape", 3))));
    REFUSED("leaves dimension 0", SLICE(F(5), LIST("starts", 3), LIST("sizes", 3), LIST("steps", 1)));
    REFUSED("leaves dimension 0", SLICE(F(5), LIST("starts", 1), LIST("sizes", 3), LIST("steps", -1)));
    REFUSED("leaves dimension 0", SLICE(F(5), LIST("starts", 0), LIST("sizes", 3), LIST("steps", INT64_C(1) << 59)));
    REFUSED("step 0", SLICE(F(5), LIST("starts", 0), LIST("sizes", 1), LIST("steps", 0)));
    REFUSED("starts has 2 entries; expected 1", SLICE(F(5), LIST("starts", 0, 0), LIST("sizes", 1), LIST("steps", 1)));
    REFUSED("must be taken whole", SLICE(F(N, 2), LIST("starts", 0, 0), LIST("sizes", 1, 2), LIST("steps", 1, 1)));
    REFUSED("entry 0 must lie between 0", NODE(pad, OPERANDS(F(2)), IR_ATTRS(LIST("lo", -1), LIST("hi", 0))));
    REFUSED("cannot pad the batch", NODE(pad, OPERANDS(F(N, 2)), IR_ATTRS(LIST("lo", 1, 0), LIST("hi", 0, 0))));
    REFUSED("operand 1 is f32[N,2,4]", NODE(concat, OPERANDS(F(N, 2, 3), F(N, 2, 4)), IR_ATTRS(IR_I("axis", 1))));
    REFUSED("along its batch dimension", NODE(concat, OPERANDS(F(N, 2), F(N, 2)), IR_ATTRS(IR_I("axis", 0))));
    REFUSED("axis = -3 is out of range", NODE(concat, OPERANDS(F(N, 2)), IR_ATTRS(IR_I("axis", -3))));
    REFUSED("operand 1 is f32[N,3]", NODE(interleave, OPERANDS(F(N, 2), F(N, 3)), IR_ATTRS(IR_I("axis", 1))));
    REFUSED("interleave f32[N,2] along its batch",
            NODE(interleave, OPERANDS(F(N, 2), F(N, 2)), IR_ATTRS(IR_I("axis", 0))));
    REFUSED("reverse the batch", NODE(reverse, OPERANDS(F(N, 2)), IR_ATTRS(LIST("axes", 0))));
    REFUSED("increasing dimensions", NODE(reverse, OPERANDS(F(3, 2)), IR_ATTRS(LIST("axes", 1, 0))));
    REFUSED("integers were expected", NODE(gather, OPERANDS(F(3, 2), F(2)), IR_ATTRS(IR_I("axis", 0))));
    REFUSED("integers were expected", NODE(gather_elements, OPERANDS(F(3, 2), F(3, 2)), IR_NO_ATTRS));
    REFUSED("do not fit f32[N,3,2] along dimension 1",
            NODE(gather_elements, OPERANDS(F(N, 3, 2), V(I64, 5, 3, 2)), IR_ATTRS(IR_I("axis", 1))));
    REFUSED("f32[N,4,2] was expected",
            NODE(scatter_elements, OPERANDS(F(N, 3, 2), V(I64, N, 4, 1), F(N, 4, 1)), IR_ATTRS(IR_I("axis", 1))));
    REFUSED("unknown reduction 'sum'",
            NODE(scatter_elements, OPERANDS(F(3), V(I64, 2), F(2)), IR_ATTRS(IR_S("reduction", "sum"))));
    REFUSED("a tensor of numbers",
            NODE(scatter_elements, OPERANDS(V(BOOL, 3), V(I64, 2), V(BOOL, 2)), IR_ATTRS(IR_S("reduction", "max"))));
    REFUSED("along the batch dimension", NODE(top_k, OPERANDS(F(N, 2)), IR_ATTRS(IR_I("axis", 0), IR_I("k", 1))));
    REFUSED("k = 3 of 2 elements", NODE(top_k, OPERANDS(F(N, 2)), IR_ATTRS(IR_I("axis", 1), IR_I("k", 3))));
    REFUSED("a tensor of numbers", NODE(cum_sum, OPERANDS(V(BOOL, 3)), IR_ATTRS(IR_I("axis", 0))));
    REFUSED("as many int64", NODE(take_rows, OPERANDS(F(N, 2), V(I64, 3)), IR_NO_ATTRS));
    REFUSED("as many int64", NODE(take_rows, OPERANDS(F(3, 2), V(I32, 3)), IR_NO_ATTRS));
    REFUSED("depend on the batch", NODE(gather, OPERANDS(F(3, 2), V(I64, N)), IR_ATTRS(IR_I("axis", 1))));
    REFUSED("does not fit indices", NODE(gather_grad, OPERANDS(F(2, 2), V(I64, 3)), IR_ATTRS(LIST("shape", 5, 2))));
}

static void test_reduce_matmul(void **state) {
    (void)state;
    REFUSED("axes = [2]", NODE(reduce_sum, OPERANDS(F(N, 2)), IR_ATTRS(LIST("axes", 2))));
    REFUSED("axes = [1,0]", NODE(reduce_max, OPERANDS(F(N, 2)), IR_ATTRS(LIST("axes", 1, 0))));
    REFUSED("a tensor of numbers", NODE(reduce_sum, OPERANDS(V(BOOL, 2)), IR_ATTRS(LIST("axes", 0))));
    REFUSED("operand 0 has shape f32[N,3], 2 dimensions; expected 1", NODE(rank, OPERANDS(F(N, 3)), IR_NO_ATTRS));
    REFUSED("a floating-point tensor was expected", NODE(rank, OPERANDS(V(I64, N)), IR_NO_ATTRS));
    REFUSED("is empty", NODE(argmax, OPERANDS(F(2, 0)), IR_ATTRS(IR_I("axis", 1))));
    REFUSED("inner dimensions of f32[N,3] and f32[4,2] differ: 3 against 4",
            NODE(matmul, OPERANDS(F(N, 3), F(4, 2)), IR_NO_ATTRS));
    REFUSED("(transposed) differ", NODE(matmul, OPERANDS(F(N, 3), F(3, 2)), IR_ATTRS(IR_I("trans_b", 1))));
    REFUSED("at least 2 dimensions", NODE(matmul, OPERANDS(F(3), F(3, 2)), IR_NO_ATTRS));
    REFUSED("batch in dimension 1", NODE(matmul, OPERANDS(F(2, 3), F(N, 3)), IR_ATTRS(IR_I("trans_b", 1))));
    REFUSED("do not broadcast", NODE(matmul, OPERANDS(F(N, 2, 3), F(5, 3, 2)), IR_NO_ATTRS));
}

#define WINDOW(s, p, d) LIST("strides", s, s), LIST("pads", p, p, p, p), LIST("dilations", d, d)

static void test_windows(void **state) {
    (void)state;
    REFUSED("weight has shape f32[4,3,3], 3 dimensions; expected 4",
            NODE(conv, OPERANDS(F(N, 3, 8, 8), F(4, 3, 3)), IR_ATTRS(WINDOW(1, 0, 1))));
    REFUSED("the input has 3 channels; a weight with 2 input channels in 1 group expects 2",
            NODE(conv, OPERANDS(F(N, 3, 8, 8), F(4, 2, 3, 3)), IR_ATTRS(WINDOW(1, 0, 1))));
    REFUSED("3 output channels are not divisible into 2 groups",
            NODE(conv, OPERANDS(F(N, 4, 8, 8), F(3, 2, 3, 3)), IR_ATTRS(WINDOW(1, 0, 1), IR_I("group", 2))));
    REFUSED("group = 0",
            NODE(conv, OPERANDS(F(N, 4, 8, 8), F(3, 2, 3, 3)), IR_ATTRS(WINDOW(1, 0, 1), IR_I("group", 0))));
    REFUSED("the window covers 9 elements in dimension 2, more than the padded input's 8",
            NODE(conv, OPERANDS(F(N, 4, 8, 8), F(3, 4, 5, 5)), IR_ATTRS(WINDOW(1, 0, 2))));
    REFUSED("strides", NODE(conv, OPERANDS(F(N, 4, 8, 8), F(3, 4, 5, 5)), IR_ATTRS(WINDOW(0, 0, 1))));
    REFUSED("pads = [-1,", NODE(conv, OPERANDS(F(N, 4, 8, 8), F(3, 4, 5, 5)), IR_ATTRS(WINDOW(1, -1, 1))));
    REFUSED("dilations has 1 entries; expected 2",
            NODE(conv, OPERANDS(F(N, 4, 8, 8), F(3, 4, 5, 5)),
                 IR_ATTRS(LIST("strides", 1, 1), LIST("pads", 0, 0, 0, 0), LIST("dilations", 1))));
    REFUSED("weight has shape f32[N,4,3,3]; it must not depend on the batch",
            NODE(conv, OPERANDS(F(N, 4, 8, 8), F(N, 4, 3, 3)), IR_ATTRS(WINDOW(1, 0, 1))));
    REFUSED("entry 0 must lie between 0 and",
            NODE(conv, OPERANDS(F(N, 4, 8, 8), F(3, 4, 5, 5)), IR_ATTRS(WINDOW(1, INT64_MAX, 1))));
    REFUSED("does not fit: input extents [9,8] give output extents [7,6]",
            NODE(conv_grad_x, OPERANDS(F(N, 4, 6, 6), F(4, 2, 3, 3)), IR_ATTRS(WINDOW(1, 0, 1), LIST("hw", 9, 8))));
    REFUSED("differ in the batch",
            NODE(conv_grad_w, OPERANDS(F(N, 4, 6, 6), F(2, 2, 8, 8)), IR_ATTRS(WINDOW(1, 0, 1), LIST("rs", 3, 3))));
    REFUSED("must be less than the window's 2 elements",
            NODE(max_pool, OPERANDS(F(N, 4, 8, 8)), IR_ATTRS(LIST("kernel", 2, 2), WINDOW(2, 2, 1))));
    REFUSED("input has shape f32[N,4], 2 dimensions; expected 4",
            NODE(max_pool, OPERANDS(F(N, 4)), IR_ATTRS(LIST("kernel", 2, 2), WINDOW(2, 0, 1))));
    REFUSED("more than the padded input's 2",
            NODE(avg_pool, OPERANDS(F(N, 4, 2, 2)),
                 IR_ATTRS(LIST("kernel", 3, 3), LIST("strides", 1, 1), LIST("pads", 0, 0, 0, 0))));
    REFUSED("positions f32[N,4,4,4] do not fit",
            NODE(max_pool_grad, OPERANDS(F(N, 4, 4, 4), F(N, 4, 4, 4)),
                 IR_ATTRS(LIST("kernel", 2, 2), WINDOW(2, 0, 1), LIST("hw", 8, 8))));
}

static void test_norm(void **state) {
    (void)state;
    REFUSED("running variance is f32[3]; expected f32[4], one value for each channel",
            NODE(batch_norm, OPERANDS(F(N, 4, 8, 8), F(4), F(4), F(4), F(3)), IR_NO_ATTRS));
    REFUSED("at least 2 dimensions", NODE(batch_norm, OPERANDS(F(4), F(4), F(4), F(4), F(4)), IR_NO_ATTRS));
    REFUSED("epsilon = -1", NODE(batch_norm, OPERANDS(F(N, 4), F(4), F(4), F(4), F(4)), IR_ATTRS(IR_F("eps", -1))));
    REFUSED("momentum = 2", NODE(batch_norm, OPERANDS(F(N, 4), F(4), F(4), F(4), F(4)), IR_ATTRS(IR_F("momentum", 2))));
    REFUSED("does not fit", NODE(bn_grad_reduce, OPERANDS(F(N, 4), F(N, 4, 1), F(4), F(4)), IR_NO_ATTRS));
}

// --- where the batch goes ------------------------------------------------------------------------------------------

static void is(ir_nid n, const char *want) {
    assert_int_not_equal(n, IR_NONE);
    const struct ir_type *t = ir_typeof(g, g->nodes[n].out[0]);
    char got[256] = "", d[24];
    for (int i = 0; i < t->rank; i++) {
        if (i) strcat(got, ",");
        strcat(got, ir_dim_text(t->dims[i], d));
    }
    assert_string_equal(got, want);
}

static void test_batch(void **state) {
    (void)state;
    is(NODE(add, OPERANDS(F(N, 3, 1), F(3, 4)), IR_NO_ATTRS), "N,3,4");
    is(NODE(add, OPERANDS(F(N, 1), F(1, 4)), IR_NO_ATTRS), "N,4");
    is(NODE(reshape, OPERANDS(F(N, 6, 2)), IR_ATTRS(LIST("shape", -4, 3))), "4N,3");
    is(NODE(reshape, OPERANDS(F(-4, 3)), IR_ATTRS(LIST("shape", N, 12))), "N,12");
    is(NODE(reduce_sum, OPERANDS(F(N, 3)), IR_ATTRS(LIST("axes", 0), IR_I("keepdims", 0))), "3");
    is(NODE(reduce_sum, OPERANDS(F(N, 3)), IR_ATTRS(LIST("axes", 0))), "1,3");
    is(NODE(matmul, OPERANDS(F(N, 3), F(3, 2)), IR_NO_ATTRS), "N,2");
    is(NODE(matmul, OPERANDS(F(N, 3), F(N, 2)), IR_ATTRS(IR_I("trans_a", 1))), "3,2");
    is(NODE(matmul, OPERANDS(F(5, 2, 3), F(3, 4)), IR_NO_ATTRS), "5,2,4");
    is(NODE(matmul, OPERANDS(F(2, 3), F(N, 5, 3, 4)), IR_NO_ATTRS), "N,5,2,4");
    is(NODE(gather, OPERANDS(F(9, 3), V(I64, N, 2)), IR_ATTRS(IR_I("axis", 0))), "N,2,3");
    is(NODE(gather, OPERANDS(F(N, 3), V(I64, 4, 2)), IR_ATTRS(IR_I("axis", 0))), "4,2,3");
    is(NODE(gather_elements, OPERANDS(F(9, 3), V(I32, N, 1)), IR_ATTRS(IR_I("axis", 0))), "N,3");
    is(NODE(scatter_elements, OPERANDS(F(N, 9, 3), V(I32, 1, 4, 3), F(N, 4, 3)), IR_ATTRS(IR_I("axis", 1))), "N,9,3");
    is(NODE(top_k, OPERANDS(F(N, 9, 3)), IR_ATTRS(IR_I("axis", -2), IR_I("k", 2))), "N,2,3");
    is(NODE(cum_prod, OPERANDS(F(N, 9)), IR_ATTRS(IR_I("axis", 0))), "N,9");
    is(NODE(one_hot, OPERANDS(V(I64, N)), IR_ATTRS(IR_I("classes", 10))), "N,10");
    is(NODE(conv, OPERANDS(F(N, 3, 7, 8), F(4, 3, 3, 3)), IR_ATTRS(WINDOW(2, 1, 1))), "N,4,4,4");
    is(NODE(conv_grad_w, OPERANDS(F(N, 4, 4, 4), F(N, 3, 7, 8)), IR_ATTRS(WINDOW(2, 1, 1), LIST("rs", 3, 3))),
       "4,3,3,3");
    // 7 wide, window 3, stride 3: floor gives 2, ceil 3; with padding 1 the third would start at 6 of 7 + 1, inside.
    is(NODE(max_pool, OPERANDS(F(N, 1, 7, 7)), IR_ATTRS(LIST("kernel", 3, 3), WINDOW(3, 0, 1))), "N,1,2,2");
    is(NODE(max_pool, OPERANDS(F(N, 1, 7, 7)), IR_ATTRS(LIST("kernel", 3, 3), WINDOW(3, 0, 1), IR_I("ceil", 1))),
       "N,1,3,3");
    // 5 wide, window 2, stride 3, padding 1: rounding up gives a third window at 6 = 5 + 1, in the trailing padding:
    // dropped.
    is(NODE(max_pool, OPERANDS(F(N, 1, 5, 5)), IR_ATTRS(LIST("kernel", 2, 2), WINDOW(3, 1, 1), IR_I("ceil", 1))),
       "N,1,2,2");
}

static struct arena arena;
static struct diag diag = {.sink = keep};
static int setup(void **state) {
    (void)state;
    arena_init(&arena);
    g = ir_graph_new(&arena, &diag, "infer");
    return 0;
}
static int teardown(void **state) {
    (void)state;
    arena_release(&arena);
    return 0;
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_elementwise), T(test_generate), T(test_movement), T(test_reduce_matmul),
        T(test_windows),     T(test_norm),     T(test_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
