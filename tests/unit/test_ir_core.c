// The core of ir/: types, attributes, builders, clones, the rewriter, the pass runner, costs, and the text form, exact
// and under damage.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../ir/ir_internal.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N IR_N
#define DIMS(...)                                                                                                      \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) { __VA_ARGS__ }
#define F(...) ir_type_make(IR_F32, DIMS(__VA_ARGS__))

#ifndef DAMAGE_ROUNDS // more for a longer search
#define DAMAGE_ROUNDS 60
#endif

static struct arena arena;
static struct diag diag;
static struct ir_graph *g;
static char said[1024];

static void keep(void *env, enum diag_severity sev, const char *line) {
    (void)env, (void)sev;
    snprintf(said, sizeof said, "%s", line);
}

static int setup(void **state) {
    (void)state;
    arena_init(&arena);
    diag = (struct diag){.sink = keep};
    g = ir_graph_new(&arena, &diag, "test");
    said[0] = 0;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    arena_release(&arena);
    return 0;
}

static ir_vid input(struct ir_type t) { return ir_boundary(g, IR_ROLE_INPUT, t, "x", NULL); }
static char *printed(const struct ir_graph *h) {
    struct str s = STR_INIT;
    ir_print(h, &s);
    char *copy = arena_strdup(&arena, s.s);
    str_release(&s);
    return copy;
}

// --- types ----------------------------------------------------------------------------------------------------------

static void test_types(void **state) {
    (void)state;
    struct ir_type t = F(-4, 3, 5, 7);
    int64_t s[IR_MAX_RANK];
    char buf[24];
    assert_true(ir_is_batched(&t) && ir_is_row_major(&t));
    assert_int_equal(ir_numel(&t), 4 * 3 * 5 * 7);
    ir_strides(&t, s);
    assert_true(s[0] == 105 && s[1] == 35 && s[2] == 7 && s[3] == 1);
    memcpy(t.perm, (uint8_t[]){0, 2, 3, 1}, 4); // channels last
    ir_strides(&t, s);
    assert_true(s[0] == 105 && s[1] == 1 && s[2] == 21 && s[3] == 3);
    assert_false(ir_is_row_major(&t));
    struct ir_type u = F(-4, 3, 5, 7);
    assert_true(ir_same_dims(&t, &u) && !ir_type_equal(&t, &u));
    struct ir_type scalar = ir_scalar_type(IR_BOOL), empty = F(0, 3);
    assert_int_equal(ir_numel(&scalar), 1);
    assert_int_equal(ir_type_bytes(&scalar), 1);
    assert_int_equal(ir_numel(&empty), 0);
    assert_string_equal(ir_dim_text(IR_N, buf), "N");
    assert_string_equal(ir_dim_text(-12, buf), "12N");
    assert_string_equal(ir_dim_text(12, buf), "12");
    for (int op = 1; op < IR_OP_COUNT; op++) {
        assert_int_equal(ir_op_by_name(ir_ops[op].name), op); // names are unique
        assert_non_null(ir_ops[op].infer);
        assert_non_null(ir_ops[op].eval);
        assert_int_equal(ir_ops[op].expand != NULL, ir_ops[op].kind == IR_KIND_EXPAND);
        size_t n;
        ir_schema((enum ir_op)op, &n); // aborts on a schema that does not parse
    }
    assert_int_equal(ir_op_by_name("no_such_op"), IR_OP_NONE);
}

// --- attributes and nodes -------------------------------------------------------------------------------------------

static void test_attributes(void **state) {
    (void)state;
    ir_vid x = input(F(N, 3, 8, 8));
    const int64_t two[] = {2, 2}, none[1] = {0};
    // Given in another order, with a default spelled out: the same canonical list.
    ir_vid a = ir_emit(
        g, IR_OP_avg_pool, &x, 1,
        IR_ATTRS(IR_IS("kernel", two, 2), IR_IS("strides", two, 2), IR_IS("pads", ((int64_t[]){0, 0, 0, 0}), 4)));
    ir_vid b = ir_emit(g, IR_OP_avg_pool, &x, 1,
                       IR_ATTRS(IR_I("ceil", 0), IR_IS("pads", ((int64_t[]){0, 0, 0, 0}), 4), IR_IS("strides", two, 2),
                                IR_IS("kernel", two, 2)));
    const struct ir_node *na = &g->nodes[g->values[a].def], *nb = &g->nodes[g->values[b].def];
    assert_int_equal(na->n_attrs, nb->n_attrs);
    for (int i = 0; i < na->n_attrs; i++) assert_true(ir_attr_equal(&na->attrs[i], &nb->attrs[i]));
    assert_ptr_not_equal(na->attrs[0].ints, two); // copied
    assert_int_equal(ir_attr_i(na, "include_pad"), 0);
    size_t n;
    assert_int_equal(ir_attr_ints(na, "kernel", &n)[1], 2);
    assert_int_equal(n, 2);

    // fill() of a scalar: an empty list is an absent one
    ir_vid f = ir_emit(g, IR_OP_fill, NULL, 0, IR_ATTRS(IR_IS("shape", none, 0), IR_F("value", 2.5)));
    assert_null(ir_attr_ints(&g->nodes[g->values[f].def], "shape", &n));
    assert_true(ir_attr_f(&g->nodes[g->values[f].def], "value") == 2.5);
    assert_string_equal(ir_attr_s(&g->nodes[g->values[f].def], "dtype"), "f32");

    static const struct {
        const char *want;
        struct ir_attr attr[2];
        size_t n;
    } bad[] = {
        {"'axis' is missing", {{0}}, 0},
        {"'axes' is unknown", {{.name = "axis", .kind = IR_ATTR_INT}, {.name = "axes", .kind = IR_ATTR_INT}}, 2},
        {"'axis' is given twice", {{.name = "axis", .kind = IR_ATTR_INT}, {.name = "axis", .kind = IR_ATTR_INT}}, 2},
        {"'axis' has the wrong type", {{.name = "axis", .kind = IR_ATTR_FLOAT}}, 1},
    };
    size_t nodes = g->n_nodes, values = g->n_values;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(ir_node_new(g, IR_OP_argmax, &x, 1, bad[i].attr, bad[i].n), IR_NONE);
        assert_non_null(strstr(said, bad[i].want));
    }
    assert_int_equal(ir_node_new(g, IR_OP_add, (ir_vid[]){x, IR_NONE, IR_NONE}, 3, IR_NO_ATTRS), IR_NONE);
    assert_non_null(strstr(said, "takes 2 to 2 operands; got 1"));
    assert_int_equal(ir_node_new(g, IR_OP_add, (ir_vid[]){IR_NONE, x}, 2, IR_NO_ATTRS), IR_NONE);
    assert_non_null(strstr(said, "operand 0 is missing"));
    ir_vid many[300];
    for (int i = 0; i < 300; i++) many[i] = x;
    assert_int_equal(ir_node_new(g, IR_OP_concat, many, 300, IR_ATTRS(IR_I("axis", 1))), IR_NONE);
    assert_int_equal(g->n_nodes, nodes); // failures leave nothing behind
    assert_int_equal(g->n_values, values);
}

static void test_builders(void **state) {
    (void)state;
    ir_vid x = input(F(N, 3, 8, 8));
    size_t before = g->n_nodes;
    assert_int_equal(ir_reshape(g, x, DIMS(N, 3, 8, 8)), x); // nothing to do makes no node
    assert_int_equal(ir_transpose(g, x, DIMS(0, 1, 2, 3)), x);
    assert_int_equal(ir_expand_to(g, x, DIMS(N, 3, 8, 8)), x);
    assert_int_equal(ir_cast(g, x, IR_F32), x);
    assert_int_equal(ir_reduce(g, IR_OP_reduce_sum, x, NULL, 0, 0), x);
    assert_int_equal(ir_sum_to(g, x, &g->values[x].type), x);
    assert_int_equal(g->n_nodes, before);

    size_t n;
    ir_vid r = ir_reduce(g, IR_OP_reduce_sum, x, (int64_t[]){-1, 1}, 2, 0);
    const int64_t *axes = ir_attr_ints(&g->nodes[g->values[r].def], "axes", &n);
    assert_true(n == 2 && axes[0] == 1 && axes[1] == 3);
    struct ir_type want = F(N, 8);
    assert_true(ir_type_equal(ir_typeof(g, r), &want));

    // Undoing broadcasts: leading dims, the batch, and dims of size 1.
    const struct ir_type like[] = {F(1, 3, 1, 1), F(3, 1, 1), F(N, 1, 1, 8), F(8), ir_scalar_type(IR_F32)};
    for (size_t i = 0; i < sizeof like / sizeof *like; i++) {
        ir_vid s = ir_sum_to(g, x, &like[i]);
        assert_true(ir_type_equal(ir_typeof(g, s), &like[i]));
    }
    // ... and by value: a sum over ones counts them.
    float ones[12];
    for (int i = 0; i < 12; i++) ones[i] = 1;
    struct ir_type row = F(1, 3), t43 = F(4, 3);
    ir_vid c = ir_sum_to(g, ir_const(g, t43, ones), &row);
    struct ir_tensor **v = ARENA_ARRAY(&arena, struct ir_tensor *, g->n_values);
    v[x] = ir_tensor_new(&arena, ir_concrete(ir_typeof(g, x), 2));
    ir_eval(g, &arena, 2, v);
    for (int i = 0; i < 3; i++) assert_true(v[c]->f[i] == 4);
    assert_true(ir_verify(g, &diag));
}

static void test_clone(void **state) {
    (void)state;
    ir_vid x = input(F(N, 4)), y = ir_add(g, x, x);
    ir_reshape(g, y, DIMS(-4));
    ir_set_output(g, IR_OUT_OUTPUT, "y", y);
    assert_true(ir_defined_by(g, y, IR_OP_add) && !ir_defined_by(g, x, IR_OP_add));
    assert_false(ir_defined_by(g, IR_NONE, IR_OP_add));
    const char *before = printed(g);
    struct arena other;
    arena_init(&other);
    struct ir_graph *c = ir_graph_clone(&other, g);
    assert_string_equal(printed(c), before);
    c->nodes[0].in[0] = y;
    ((int64_t *)c->nodes[1].attrs[0].ints)[0] = 9;
    ir_unary(c, IR_OP_exp, x);
    assert_string_equal(printed(g), before); // the original does not see it
    arena_release(&other);
}

// --- the rewriter ---------------------------------------------------------------------------------------------------

// relu(x) -> max(x, 0), by a pass of six lines: ids, names, locations and phases as its comment promises.
static void test_rewriter(void **state) {
    (void)state;
    ir_vid x = input(F(N, 4));
    g->cur_loc = (struct diag_loc){.node = "/first"};
    ir_vid a = ir_unary(g, IR_OP_exp, x);
    g->cur_loc = (struct diag_loc){.node = "/relu"};
    ir_vid b = ir_unary(g, IR_OP_relu, a);
    g->values[b].name = "relu_out";
    g->cur_phase = IR_BACKWARD;
    g->cur_loc = (struct diag_loc){.node = "/last"};
    ir_vid c = ir_add(g, b, a);
    ir_set_output(g, IR_OUT_OUTPUT, "b", b);
    ir_set_output(g, IR_OUT_GRAD_INPUT, "x", c);
    g->cur_loc = (struct diag_loc){.node = "/outside"};

    struct ir_rewriter rw;
    ir_rw_begin(&rw, g);
    for (size_t i = 0; i < rw.n_old; i++) {
        ir_nid n = ir_rw_copy_node(&rw, i);
        if (g->nodes[n].op != IR_OP_relu) continue;
        ir_rw_at(&rw, i);
        ir_vid in = g->nodes[n].in[0];
        ir_rw_replace(&rw, b, ir_binary(g, IR_OP_max, in, ir_const_f(g, 0)));
        ir_rw_drop(&rw, n);
    }
    ir_rw_end(&rw);
    assert_true(ir_verify(g, &diag));
    assert_int_equal(g->n_nodes, 3);
    ir_vid m = g->outputs[0].value;
    assert_true(ir_defined_by(g, m, IR_OP_max));
    assert_string_equal(g->values[m].name, "relu_out");
    assert_string_equal(g->nodes[1].loc.node, "/relu");
    assert_int_equal(g->nodes[1].phase, IR_FORWARD);
    assert_int_equal(g->outputs[1].value, c); // kept nodes keep their ids
    assert_int_equal(g->nodes[2].in[0], m);
    assert_int_equal(g->nodes[2].phase, IR_BACKWARD);
    assert_int_equal(g->values[b].def, IR_NONE);
    assert_string_equal(g->cur_loc.node, "/outside");
    assert_int_equal(g->cur_phase, IR_BACKWARD);

    ir_rw_begin(&rw, g); // replacements of replacements, and nodes that nothing keeps
    ir_rw_replace(&rw, c, m);
    ir_rw_replace(&rw, m, a);
    assert_int_equal(ir_rw_map(&rw, c), a);
    assert_int_equal(ir_rw_map(&rw, IR_NONE), IR_NONE);
    ir_rw_copy_node(&rw, 0);
    ir_rw_end(&rw);
    assert_true(ir_verify(g, &diag));
    assert_int_equal(g->outputs[1].value, a);
}

// --- passes, costs --------------------------------------------------------------------------------------------------

static void test_pass_runner(void **state) {
    (void)state;
    ir_vid x = input(F(N, 4));
    ir_set_output(g, IR_OUT_OUTPUT, "p", ir_emit(g, IR_OP_softmax, &x, 1, IR_NO_ATTRS));
    FILE *f = tmpfile();
    assert_non_null(f);
    struct ir_pass_options o = {
        .mode = IR_TRAIN, .verify = true, .dump = f, .dump_after = "expand", .stop_after = "expand", .time = true};
    assert_int_equal(ir_run_passes(g, "expand,fold,cse,dce", &o), SMKD_OK);
    char text[4096] = "";
    rewind(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    assert_non_null(strstr(text, "// after expand\ngraph @test("));
    assert_non_null(strstr(text, "s  expand: "));
    assert_null(strstr(text, "fold")); // stopped
    for (size_t i = 0; i < g->n_nodes; i++) assert_int_not_equal(ir_ops[g->nodes[i].op].kind, IR_KIND_EXPAND);
    assert_int_equal(ir_run_passes(g, "", &o), SMKD_OK);
    for (size_t i = 0; i < ir_n_passes; i++)
        assert_true(*ir_passes[i].name && *ir_passes[i].expects && *ir_passes[i].ensures && *ir_passes[i].why);
}

static void test_cost(void **state) {
    (void)state;
    ir_vid x = input(F(N, 3, 8, 8)), w = ir_boundary(g, IR_ROLE_PARAM, F(16, 3, 3, 3), "w", NULL);
    ir_vid in[] = {x, w};
    const int64_t one[] = {1, 1}, pads[] = {1, 1, 1, 1};
    ir_vid y = ir_emit(g, IR_OP_conv, in, 2,
                       IR_ATTRS(IR_IS("strides", one, 2), IR_IS("pads", pads, 4), IR_IS("dilations", one, 2)));
    double flops, bytes;
    ir_cost(g, &g->nodes[g->values[y].def], &flops, &bytes);
    assert_true(flops == 2.0 * 16 * 8 * 8 * 27);
    assert_true(bytes == 4.0 * (3 * 64 + 16 * 27 + 16 * 64));
    ir_vid a = input(F(N, 5)), b = ir_boundary(g, IR_ROLE_PARAM, F(7, 5), "b", NULL);
    ir_cost(g, &g->nodes[g->values[ir_matmul(g, a, b, 0, 1)].def], &flops, &bytes);
    assert_true(flops == 2.0 * 7 * 5);
    ir_cost(g, &g->nodes[g->values[ir_unary(g, IR_OP_exp, y)].def], &flops, &bytes);
    assert_true(flops == 16 * 64);
}

// --- text -----------------------------------------------------------------------------------------------------------

// Every bit pattern but NaN payloads survives print and parse; constants by hash and weights come from another graph.
static void test_text_exact(void **state) {
    (void)state;
    uint32_t r = 7;
    for (int round = 0; round < 40; round++) {
        float f[64];
        double d[64];
        for (int i = 0; i < 64; i++) {
            r = r * 1664525 + 1013904223;
            uint64_t bits = (uint64_t)r << 32 | (r * 2654435761u);
            memcpy(&f[i], &r, 4);
            memcpy(&d[i], &bits, 8);
            if (isnan(f[i])) f[i] = NAN;
            if (isnan(d[i])) d[i] = NAN;
        }
        ir_vid a = ir_const(g, F(64), f), b = ir_const(g, ir_type_make(IR_F64, DIMS(8, 8)), d);
        ir_vid e = ir_emit(g, IR_OP_fill, NULL, 0, IR_ATTRS(IR_IS("shape", ((int64_t[]){2}), 1), IR_F("value", d[0])));
        struct ir_graph *h = ir_parse(&arena, &diag, printed(g));
        if (!h) fail_msg("%s", said);
        assert_memory_equal(h->values[a].data, f, sizeof f);
        assert_memory_equal(h->values[b].data, d, sizeof d);
        double v = ir_attr_f(&h->nodes[h->values[e].def], "value");
        assert_true(v == d[0] || (isnan(v) && isnan(d[0])));
        assert_string_equal(printed(h), printed(g));
    }
}

static void test_text_data(void **state) {
    (void)state;
    float many[100], w[4] = {1, 2, 3, 4};
    for (int i = 0; i < 100; i++) many[i] = (float)i;
    ir_vid c = ir_const(g, F(100), many), p = ir_boundary(g, IR_ROLE_PARAM, F(4), "w", w);
    ir_set_output(g, IR_OUT_OUTPUT, "c", c);
    const char *text = printed(g);
    assert_null(ir_parse(&arena, &diag, text));
    assert_non_null(strstr(said, "too large to be in the text"));
    struct ir_graph *h = ir_parse_with(&arena, &diag, text, g);
    if (!h) fail_msg("%s", said);
    assert_ptr_equal(h->values[c].data, g->values[c].data);
    assert_ptr_equal(h->values[p].data, w);
    assert_string_equal(printed(h), text);
}

// Damaged text is refused or is another graph; it is never a crash. (Run with sanitizers, this finds overruns.)
static void test_text_damaged(void **state) {
    (void)state;
    DIR *dir = opendir(TEST_DIR "/golden");
    assert_non_null(dir);
    static const char bytes[] = "0123456789%N[]{}(),=\"\\@_-. \n#abdefilmnorstux:";
    uint32_t r = 12345;
    int parsed = 0;
    for (const struct dirent *e; (e = readdir(dir));) {
        char path[4096];
        snprintf(path, sizeof path, TEST_DIR "/golden/%s", e->d_name);
        const void *data;
        size_t size;
        if (!str_has_suffix(e->d_name, ".ir") || io_map(path, &data, &size) != SMKD_OK) continue;
        for (int round = 0; round < DAMAGE_ROUNDS; round++) {
            struct arena a;
            arena_init(&a);
            char *text = arena_alloc(&a, size + 1);
            memcpy(text, data, size);
            char *end = strstr(text, "\n----\n");
            if (end) *end = 0;
            size_t n = strlen(text);
            r = r * 1664525 + 1013904223;
            for (uint32_t k = 0; k <= (r >> 8) % 3; k++) {
                uint32_t at = (r = r * 1664525 + 1013904223) >> 4, by = (r = r * 1664525 + 1013904223) >> 8;
                text[at % n] = bytes[by % (sizeof bytes - 1)];
            }
            if ((r >> 20) % 16 == 0) text[(r >> 3) % n] = 0;
            int errors = diag.errors;
            struct ir_graph *h = ir_parse(&a, &diag, text);
            if (h)
                parsed++, ir_verify(h, &diag);
            else
                assert_int_equal(diag.errors, errors + 1); // one message says why
            arena_release(&a);
        }
        io_unmap(data, size);
    }
    closedir(dir);
    assert_true(parsed > 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_types),     TEST(test_attributes),   TEST(test_builders), TEST(test_clone),
        TEST(test_rewriter),  TEST(test_pass_runner),  TEST(test_cost),     TEST(test_text_exact),
        TEST(test_text_data), TEST(test_text_damaged),
    };
    return cmocka_run_group_tests_name("ir_core", tests, NULL, NULL);
}
