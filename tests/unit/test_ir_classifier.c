// What a graph says of a classifier: which output its losses should look at, and where the samples of a batch meet.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../ir/ir.h"

#include <string.h>

static struct arena arena;
static struct diag diag;

static int setup(void **state) {
    (void)state;
    arena_init(&arena);
    diag = (struct diag){0};
    return 0;
}
static int teardown(void **state) {
    (void)state;
    arena_release(&arena);
    return 0;
}

static struct ir_graph *parsed(const char *inputs, const char *body) {
    struct ir_graph *g = ir_parse(&arena, &diag, arena_printf(&arena, "graph @t(%s) {\n%s\n}\n", inputs, body));
    if (!g) fail_msg("does not parse: %s", body);
    return g;
}

// --- heads: an output `y` of logits named %1 = "z"

#define Z   "%0: f32[N,4] input \"x\""
#define ONE "%9: f32[] = const [1.0]\n"

static void test_recognised(void **state) {
    (void)state;
    static const struct {
        const char *what, *op, *body;
        bool written;
    } rows[] = {
        {"softmax", "Softmax", "%2: f32[N,4] = softmax(%1) {axis = 1}\nreturn output \"y\" %2", false},
        {"last axis", "Softmax", "%2: f32[N,4] = softmax(%1)\nreturn output \"y\" %2", false},
        {"log", "LogSoftmax", "%2: f32[N,4] = log_softmax(%1) {axis = 1}\nreturn output \"y\" %2", false},
        {"sigmoid", "Sigmoid", "%2: f32[N,4] = sigmoid(%1)\nreturn output \"y\" %2", false},
        {"behind views", "Softmax",
         "%2: f32[N,4,1,1] = reshape(%1) {shape = [-1, 4, 1, 1]}\n%3: f32[N,4,1,1] = softmax(%2) {axis = 1}\n"
         "%4: f32[N,4] = reshape(%3) {shape = [-1, 4]}\n%5: f32[N,4] = copy(%4)\nreturn output \"y\" %5",
         false},
        {"to float64", "Softmax",
         "%2: f32[N,4] = softmax(%1) {axis = 1}\n%3: f64[N,4] = cast(%2) {dtype = \"f64\"}\nreturn output \"y\" %3",
         false},
        {"written", "Softmax",
         "%2: f32[N,4] = exp(%1)\n%3: f32[N,1] = reduce_sum(%2) {axes = [1]}\n%4: f32[N,4] = div(%2, %3)\n"
         "return output \"y\" %4",
         true},
        {"written with a shift", "Softmax",
         "%2: f32[N,1] = reduce_max(%1) {axes = [1]}\n%3: f32[N,4] = sub(%1, %2)\n%4: f32[N,4] = exp(%3)\n"
         "%5: f32[N] = reduce_sum(%4) {axes = [1], keepdims = 0}\n%6: f32[N,1] = reshape(%5) {shape = [-1, 1]}\n"
         "%7: f32[N,4] = div(%4, %6)\nreturn output \"y\" %7",
         true},
        {"written with a reciprocal", "Softmax",
         "%2: f32[N,4] = exp(%1)\n%3: f32[N,1] = reduce_sum(%2) {axes = [1]}\n%4: f32[N,1] = recip(%3)\n"
         "%5: f32[N,4] = mul(%4, %2)\nreturn output \"y\" %5",
         true},
        {"log of softmax", "LogSoftmax",
         "%2: f32[N,4] = softmax(%1) {axis = 1}\n%3: f32[N,4] = log(%2)\nreturn output \"y\" %3", true},
        {"minus log-sum-exp", "LogSoftmax",
         "%2: f32[N,1] = reduce_max(%1) {axes = [1]}\n%3: f32[N,4] = sub(%1, %2)\n%4: f32[N,4] = exp(%3)\n"
         "%5: f32[N,1] = reduce_sum(%4) {axes = [1]}\n%6: f32[N,1] = log(%5)\n%7: f32[N,1] = add(%6, %2)\n"
         "%8: f32[N,4] = sub(%1, %7)\nreturn output \"y\" %8",
         true},
        {"shifted minus log of sum", "LogSoftmax",
         "%2: f32[N,1] = reduce_max(%1) {axes = [1]}\n%3: f32[N,4] = sub(%1, %2)\n%4: f32[N,4] = exp(%3)\n"
         "%5: f32[N,1] = reduce_sum(%4) {axes = [1]}\n%6: f32[N,1] = log(%5)\n%7: f32[N,4] = sub(%3, %6)\n"
         "return output \"y\" %7",
         true},
        {"written sigmoid", "Sigmoid",
         ONE "%2: f32[N,4] = neg(%1)\n%3: f32[N,4] = exp(%2)\n%4: f32[N,4] = add(%9, %3)\n%5: f32[N,4] = div(%9, %4)\n"
             "return output \"y\" %5",
         true},
        {"nothing", NULL, "%2: f32[N,4] = tanh(%1)\nreturn output \"y\" %2", false},
        {"over the batch", NULL, "%2: f32[N,4] = softmax(%1) {axis = 0}\nreturn output \"y\" %2", false},
        {"of another sum", NULL,
         "%2: f32[N,4] = exp(%1)\n%3: f32[N,4] = exp(%2)\n%4: f32[N,1] = reduce_sum(%3) {axes = [1]}\n"
         "%5: f32[N,4] = div(%2, %4)\nreturn output \"y\" %5",
         false},
        {"not to the end", NULL,
         "%2: f32[N,4] = softmax(%1) {axis = 1}\n%3: f32[N,4] = mul(%2, %2)\nreturn output \"y\" %3", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ir_graph *g = parsed(Z, arena_printf(&arena, "%%1: f32[N,4] = tanh(%%0)\n%s", rows[i].body));
        struct ir_head *h;
        if (ir_heads(g, &arena, &h) != 1) fail_msg("%s: not one head", rows[i].what);
        assert_string_equal(h->output, "y");
        if (!rows[i].op != !h->op || (h->op && strcmp(h->op, rows[i].op)))
            fail_msg("%s: %s instead of %s", rows[i].what, h->op ? h->op : "nothing",
                     rows[i].op ? rows[i].op : "nothing");
        assert_int_equal(h->written, rows[i].written);
        ir_head_attach(g, h);
        assert_int_equal(h->added, rows[i].op != NULL);
        assert_true(ir_verify(g, &diag));
        ir_vid z = g->outputs[g->n_outputs - 1].value; // tanh, maybe through a reshape
        while (rows[i].op && g->nodes[g->values[z].def].op == IR_OP_reshape) z = g->nodes[g->values[z].def].in[0];
        if (rows[i].op && g->nodes[g->values[z].def].op != IR_OP_tanh)
            fail_msg("%s: trained on something else", rows[i].what);
    }
}

static void test_candidates(void **state) {
    (void)state;
    struct ir_head *h, one;
    // Features and logits: two. Logits and their softmax: one, which is there already.
    struct ir_graph *g =
        parsed(Z, "%1: f32[N,4] = tanh(%0)\n%2: f32[N,4] = relu(%1)\nreturn output \"f\" %1\nreturn output \"y\" %2");
    assert_int_equal(ir_heads(g, &arena, &h), 2);
    assert_true(ir_head_named(g, "y", &one));
    assert_string_equal(one.output, "y");
    assert_false(ir_head_named(g, "q", &one));
    g = parsed(Z,
               "%1: f32[N,4] = tanh(%0)\n%2: f32[N,4] = softmax(%1)\nreturn output \"p\" %2\nreturn output \"z\" %1");
    assert_int_equal(ir_heads(g, &arena, &h), 1);
    ir_head_attach(g, h);
    assert_string_equal(h->logits, "z");
    assert_false(h->added);
    assert_int_equal(g->n_outputs, 2);
    // Classes behind further axes count where nothing else is there.
    g = parsed("%0: f32[N,4,1,1] input \"x\"", "%1: f32[N,4,1,1] = tanh(%0)\nreturn output \"y\" %1");
    assert_int_equal(ir_heads(g, &arena, &h), 1);
    ir_head_attach(g, h);
    assert_true(h->added);
    assert_int_equal(g->values[g->outputs[1].value].type.rank, 2);
    g = parsed("%0: f32[N,4,1,1] input \"x\"",
               "%1: f32[N,4,1,1] = tanh(%0)\n%2: f32[N,4] = reshape(%1) {shape = [-1, 4]}\n%3: f32[N,4] = sin(%2)\n"
               "return output \"f\" %1\nreturn output \"y\" %3");
    assert_int_equal(ir_heads(g, &arena, &h), 1);
    assert_string_equal(h->output, "y");
    // Neither one class, nor integers, nor maps.
    g = parsed("%0: f32[N,1] input \"x\"", "%1: f32[N,1] = tanh(%0)\nreturn output \"y\" %1");
    assert_int_equal(ir_heads(g, &arena, &h), 0);
    g = parsed(Z, "%1: i64[N,4] = cast(%0) {dtype = \"i64\"}\nreturn output \"y\" %1");
    assert_int_equal(ir_heads(g, &arena, &h), 0);
    g = parsed("%0: f32[N,4,3] input \"x\"", "%1: f32[N,4,3] = tanh(%0)\nreturn output \"y\" %1");
    assert_int_equal(ir_heads(g, &arena, &h), 0);
    // An input that is asked for its softmax becomes an output through a copy.
    g = parsed(Z, "%1: f32[N,4] = softmax(%0)\nreturn output \"y\" %1");
    assert_int_equal(ir_heads(g, &arena, &h), 1);
    ir_head_attach(g, h);
    assert_true(ir_verify(g, &diag));
}

// --- mixing

static void test_mixing(void **state) {
    (void)state;
    static const struct {
        const char *inputs, *body;
        bool mixes; // at the node %2
    } rows[] = {
#define X "%0: f32[N,4] input \"x\", %1: f32[4,4] param \"w\""
        {X, "%2: f32[N,4] = tanh(%0)\nreturn output \"y\" %2", false},
        {X, "%2: f32[N,1] = reduce_sum(%0) {axes = [1]}\nreturn output \"y\" %2", false},
        {X, "%2: f32[1,4] = reduce_sum(%0) {axes = [0]}\nreturn output \"y\" %2", true},
        {X, "%2: f32[] = reduce_max(%0) {axes = [0, 1], keepdims = 0}\nreturn output \"y\" %2", true},
        {X, "%2: f32[1,4] = reduce_sum(%0) {axes = [0]}\n%3: f32[N,4] = sub(%0, %2)\nreturn output \"y\" %3", true},
        {X, "%2: f32[1,4] = reduce_sum(%0) {axes = [0]}\n%3: f32[N,4] = tanh(%0)\nreturn output \"y\" %3",
         false}, // unused
        {X, "%2: f32[1,4] = reduce_sum(%1) {axes = [0]}\n%3: f32[N,4] = sub(%0, %2)\nreturn output \"y\" %3", false},
        {"%0: f32[N] input \"x\"", "%1: f32[N] = rank(%0)\nreturn output \"y\" %1", true},
        {"%0: f32[N,3] input \"x\", %1: i64[N] input \"i\"", "%2: f32[N,3] = take_rows(%0, %1)\nreturn output \"y\" %2",
         true},
        {X, "%2: i64[1,4] = argmax(%0) {axis = 0}\nreturn output \"y\" %2", true},
        {X, "%2: i64[N,1] = argmax(%0) {axis = 1}\nreturn output \"y\" %2", false},
        {X, "%2: f32[N,4] = matmul(%0, %1)\nreturn output \"y\" %2", false},
        {X, "%2: f32[4,4] = matmul(%0, %0) {trans_a = 1}\nreturn output \"y\" %2", true},
        {X, "%2: f32[2N,2] = reshape(%0) {shape = [-2, 2]}\n%3: f32[2N,2] = tanh(%2)\nreturn output \"y\" %3", false},
        {X, "%2: f32[2N,4] = concat(%0, %0) {axis = 0}\nreturn output \"y\" %2", true},
        {X, "%2: f32[N,8] = concat(%0, %0) {axis = 1}\nreturn output \"y\" %2", false},
        {X, "%2: f32[N,4] = reverse(%0) {axes = [0]}\nreturn output \"y\" %2", true},
        {X, "%2: f32[N,4] = reverse(%0) {axes = [1]}\nreturn output \"y\" %2", false},
        {X, "%2: f32[] = batch_size()\n%3: f32[N,4] = mul(%0, %2)\nreturn output \"y\" %3", true},
        {X, "%2: i64[N,4] = iota() {shape = [-1, 4], axis = 0}\nreturn output \"y\" %2", true},
        {X, "%2: i64[N,4] = iota() {shape = [-1, 4], axis = 1}\nreturn output \"y\" %2", false},
        {X, "%2: f32[N,4] = fill() {shape = [-1, 4], value = 2.0}\nreturn output \"y\" %2", false},
        {X, "%2: f32[N,3] = slice(%0) {starts = [0, 1], sizes = [-1, 3], steps = [1, 1]}\nreturn output \"y\" %2",
         false},
        {"%0: f32[N,3,4] input \"x\", %1: f32[N,4,5] input \"v\"",
         "%2: f32[N,3,5] = matmul(%0, %1)\nreturn output \"y\" %2", false},
        {"%0: f32[N,3,4] input \"x\"", "%2: f32[N,4,3] = transpose(%0) {perm = [0, 2, 1]}\nreturn output \"y\" %2",
         false},
        {"%0: i64[N,3] input \"x\", %1: f32[9,4] param \"w\"",
         "%2: f32[N,3,4] = gather(%1, %0)\nreturn output \"y\" %2", false},
        {"%0: f32[N,3] input \"x\", %1: i64[2] input \"i\"",
         "%2: f32[N,2] = gather(%0, %1) {axis = 1}\nreturn output \"y\" %2", false},
        {"%0: f32[N,3] input \"x\", %1: i64[2] input \"i\"",
         "%2: f32[2,3] = gather(%0, %1) {axis = 0}\nreturn output \"y\" %2", true},
        {"%0: f32[N,3,8,8] input \"x\", %1: f32[4,3,3,3] param \"w\"",
         "%2: f32[N,4,6,6] = conv(%0, %1) {strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1]}\nreturn output "
         "\"y\" %2",
         false},
        {"%0: f32[N,3,8,8] input \"x\"", "%2: f32[3], %3: f32[3] = bn_stats(%0)\nreturn output \"y\" %2", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ir_graph *g = parsed(rows[i].inputs, rows[i].body);
        ir_nid n = ir_first_mixing(g);
        if ((n != IR_NONE) != rows[i].mixes) fail_msg("%s\nmixes: %d", rows[i].body, n != IR_NONE);
        if (n != IR_NONE) assert_int_equal(n, 0);
    }
}

// Softmax over the batch is taken apart first; the node keeps its name.
static void test_mixing_by_name(void **state) {
    (void)state;
    struct ir_graph *g =
        parsed("%0: f32[N,4] input \"x\"",
               "%1: f32[N,4] = tanh(%0)\n%2: f32[N,4] = softmax(%1) {axis = 0} @(\"sm\", \"Softmax\", _)\n"
               "return output \"y\" %2");
    struct ir_pass_options o = {.mode = IR_INFER, .verify = true};
    assert_int_equal(ir_run_passes(g, "expand,fold,cse,dce", &o), SMKD_OK);
    ir_nid n = ir_first_mixing(g);
    assert_int_not_equal(n, IR_NONE);
    assert_string_equal(g->nodes[n].loc.node, "sm");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {T(test_recognised), T(test_candidates), T(test_mixing), T(test_mixing_by_name)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
