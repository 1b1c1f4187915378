// Taps and side heads on small files written here: which value a name stands for, what the import leaves, what goes
// into the skeleton and comes out of the export, and what is refused in one line.
#include "onnx_writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/smkd_taps_XXXXXX", path[64], said[8192];
static struct arena arena;
static struct diag diag;
static struct fe_model *model;

static void listen(void *env, enum diag_severity sev, const char *line) {
    (void)env;
    (void)sev;
    strncat(said, line, sizeof said - strlen(said) - 2);
    strcat(said, "\n");
}

static int setup(void **state) {
    (void)state;
    arena_init(&arena);
    return 0;
}
static int teardown(void **state) {
    (void)state;
    fe_close(model);
    model = NULL;
    arena_release(&arena);
    return 0;
}
static int make_dir(void **state) {
    (void)state;
    snprintf(path, sizeof path, "%s/m.onnx", mkdtemp(dir));
    return 0;
}
static int remove_dir(void **state) {
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static void open_again(void) {
    diag = (struct diag){.sink = listen};
    said[0] = 0;
    fe_close(model);
    model = fe_open(&arena, &diag, path);
    if (!model) fail_msg("%s", said);
}

// x [N,4,6,6] -> c, r [N,8,6,6] -> two halves a, b -> p [N,4] -> y [N,3]; beside it integers, and [6,N,..].
static void open_model(void) {
    INPUT("x", 0, 4, 6, 6);
    WEIGHT("w", 8, 4, 1, 1);
    WEIGHT("fc.weight", 3, 4);
    WEIGHT("fc.bias", 3);
    OUTPUT("y", 0, 3);
    node("Conv", "x,w", "c");
    node("Relu", "c", "r");
    attr_i("axis", 1);
    node("Split", "r", "a,b");
    node("Add", "a,b", "s");
    node("GlobalAveragePool", "s", "g");
    node("Flatten", "g", "p");
    attr_i("transB", 1);
    node("Gemm", "p,fc.weight,fc.bias", "y");
    node("Shape", "r", "shape");
    attr_ints("perm", DIMS(2, 0, 1, 3));
    node("Transpose", "r", "moved");
    attr_i("axis", 1);
    node("ArgMax", "p", "best");
    node("Mul", "w,w", "ww");
    struct str m = finish();
    assert_int_equal(io_write_file(path, m.s, m.len), SMKD_OK);
    str_release(&m);
    open_again();
}

static struct ir_graph *import(void) {
    struct ir_graph *g = fe_import(model, &arena, &diag, NULL);
    if (!g) fail_msg("%s", said);
    return g;
}

static const struct ir_type *tap(const struct ir_graph *g, size_t k, const char *name) {
    size_t n;
    const struct fe_tap *t = fe_taps(model, &n);
    assert_true(k < n);
    assert_string_equal(t[k].name, name);
    assert_true(t[k].value != IR_NONE);
    return &g->values[t[k].value].type;
}

static void values_by_their_names(void **state) {
    (void)state;
    open_model();
    assert_true(fe_tap(model, &diag, "r", NULL));
    assert_true(fe_tap(model, &diag, "p", "features"));
    assert_true(fe_tap(model, &diag, "y", "again")); // what is an output, under another name
    assert_true(fe_tap(model, &diag, "b", NULL));    // one of two of a node
    struct ir_graph *g = import();
    assert_string_equal(said, "");
    assert_int_equal(g->n_outputs, 1); // taps are none of the model's
    assert_string_equal(g->outputs[0].name, "y");
    const struct ir_type *t = tap(g, 0, "r");
    assert_true(t->rank == 4 && t->dims[0] == IR_N && t->dims[1] == 8 && t->dims[3] == 6);
    t = tap(g, 1, "features");
    assert_true(t->rank == 2 && t->dims[0] == IR_N && t->dims[1] == 4);
    assert_int_equal(tap(g, 2, "again")->dims[1], 3);
    assert_int_equal(tap(g, 3, "b")->dims[1], 4);
}

// A node's name is its first result's here; so only a node whose result has another name tells them apart.
static void nodes_by_their_names(void **state) {
    (void)state;
    INPUT("x", 0, 4);
    OUTPUT("y", 0, 4);
    for (int i = 0; i < 3; i++) { // "one", "two", "two"
        struct str n = STR_INIT;
        txt(&n, 1, i == 0 ? "x" : i == 1 ? "h0" : "h1");
        txt(&n, 2, i == 0 ? "h0" : i == 1 ? "h1" : "y");
        txt(&n, 3, i ? "two" : "one");
        txt(&n, 4, "Relu");
        sub(&graph, 1, &n);
    }
    struct str m = finish();
    assert_int_equal(io_write_file(path, m.s, m.len), SMKD_OK);
    str_release(&m);
    open_again();
    assert_true(fe_tap(model, &diag, "one", NULL));
    assert_false(fe_tap(model, &diag, "two", NULL));
    assert_non_null(strstr(said, "--tap two: 2 nodes have this name; give that of a value\n"));
    tap(import(), 0, "h0");
}

static void refusals(void **state) {
    (void)state;
    static const struct {
        const char *value, *name, *words;
        bool imports; // it shows when the model is imported
    } cases[] = {
        {"fc.wieght", NULL, "the model has no such value; near to it are \"", false},
        {"", NULL, "the model has no such value", false},
        {"x", NULL, "it is an input or a weight", false},
        {"w", NULL, "it is an input or a weight", false},
        {"y", NULL, "it is an output of the model, which methods can use as it is", false},
        {"r", "x", "the model has a value of that name", false},
        {"r", "fc.bias", "the model has a value of that name", false},
        {"r", "y", "the model has a value of that name", false},
        {"r", "a", "the model has a value of that name", false},
        {"r", "one,two", "no comma", false},
        {"r", "", "no comma", false},
        {"shape", NULL, "tap \"shape\" is i64[4]", true},
        {"best", NULL, "tap \"best\" is i64[N,1]", true},
        {"ww", NULL, "tap \"ww\" is f32[8,4,1,1]", true},
        {"moved", NULL, "tap \"moved\" has the batch away from the first axis", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_model();
        assert_true(fe_tap(model, &diag, cases[i].value, cases[i].name) == cases[i].imports);
        if (cases[i].imports) assert_null(fe_import(model, &arena, &diag, NULL));
        assert_int_equal(diag.errors, 1);
        if (!strstr(said, cases[i].words)) fail_msg("expected \"%s\" in: %s", cases[i].words, said);
    }
    open_model();
    assert_true(fe_tap(model, &diag, "r", "m"));
    assert_false(fe_tap(model, &diag, "s", "m"));
    assert_false(fe_tap(model, &diag, "r", "m"));
    assert_int_equal(diag.errors, 2);
    open_model();
    assert_true(fe_tap(model, &diag, "r", NULL));
    assert_false(fe_tap(model, &diag, "r", NULL));
    assert_int_equal(diag.errors, 1);
}

static void write_back(const struct ir_graph *g, bool taps) {
    struct fe_tensor ts[64];
    size_t n = 0, size;
    for (size_t i = 0; i < g->n_boundary; i++) {
        const struct ir_value *v = &g->values[g->boundary[i]];
        if (v->role != IR_ROLE_PARAM && v->role != IR_ROLE_BUFFER) continue;
        ts[n] = (struct fe_tensor){.name = v->name, .rank = v->type.rank, .data = v->data};
        memcpy(ts[n++].dims, v->type.dims, sizeof ts->dims);
    }
    const void *skeleton = fe_skeleton(model, &arena, &size);
    assert_int_equal(fe_export(skeleton, size, ts, n, NULL, 0, taps, path, &diag), SMKD_OK);
    open_again();
}

static size_t with_key(const char *key) {
    size_t n;
    fe_metadata(model, key, &n);
    return n;
}

static void exported_without_and_with(void **state) {
    (void)state;
    for (int taps = 0; taps < 2; taps++) {
        open_model();
        assert_true(fe_tap(model, &diag, "r", NULL));
        assert_true(fe_tap(model, &diag, "p", "features"));
        write_back(import(), taps);
        struct ir_graph *g = import();
        assert_string_equal(said, ""); // nothing that is declared contradicts
        assert_int_equal(g->n_outputs, 1);
        assert_int_equal(with_key("smkd.taps"), taps);
        size_t n;
        fe_taps(model, &n);
        assert_int_equal(n, taps ? 2 : 0);
        if (!taps) continue;
        tap(g, 0, "r");
        tap(g, 1, "features");
        assert_false(fe_tap(model, &diag, "r", NULL)); // it is one
        assert_true(fe_tap(model, &diag, "s", NULL));  // more can be had
    }
}

// x [N,4,8,8] -> norm -> r [N,8,4,4] -> m [N,8,2,2] -> p [N,8] -> y [N,3]
static void open_backbone(int64_t version, bool training) {
    opset = version;
    INPUT("x", 0, 4, 8, 8);
    WEIGHT("w", 8, 4, 2, 2);
    WEIGHT("v", 8, 8, 2, 2);
    for (int i = 0; i < 4; i++) WEIGHT(((const char *[]){"scale", "shift", "mean", "var"})[i], 8);
    WEIGHT("fc.weight", 3, 8);
    WEIGHT("fc.bias", 3);
    OUTPUT("y", 0, 3);
    attr_ints("strides", DIMS(2, 2));
    node("Conv", "x,w", "c");
    if (training && version >= 14) attr_i("training_mode", 1);
    node("BatchNormalization", "c,scale,shift,mean,var", !training ? "n" : version >= 14 ? "n,m1,v1" : "n,m1,v1,m2,v2");
    node("Relu", "n", "r");
    attr_ints("strides", DIMS(2, 2));
    node("Conv", "r,v", "m");
    node("GlobalAveragePool", "m", "g");
    node("Flatten", "g", "p");
    attr_i("transB", 1);
    node("Gemm", "p,fc.weight,fc.bias", "y");
    struct str m = finish();
    opset = 17;
    assert_int_equal(io_write_file(path, m.s, m.len), SMKD_OK);
    str_release(&m);
    open_again();
}

static const struct ir_value *boundary(const struct ir_graph *g, const char *name) {
    for (size_t i = 0; i < g->n_boundary; i++)
        if (!strcmp(g->values[g->boundary[i]].name, name)) return &g->values[g->boundary[i]];
    fail_msg("no boundary value %s", name);
    return NULL;
}

// In whatever form the file has its norms, those of the heads are trained with the batch's statistics as they are; and
// what is exported with heads can be read again.
static void heads_speak_as_the_file(void **state) {
    (void)state;
    static const struct {
        int64_t version;
        bool training;
    } cases[] = {{17, false}, {17, true}, {14, true}, {13, false}, {13, true}, {8, true}};
    static const struct fe_side_head heads[] = {{"r", "byot", NULL}, {"m", "byot", "late"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_backbone(cases[i].version, cases[i].training);
        if (!fe_add_heads(model, &diag, heads, 2, NULL, 1, &(struct fe_options){0})) fail_msg("%s", said);
        struct ir_graph *g = import();
        assert_string_equal(said, "");
        size_t frozen, n;
        assert_int_equal(fe_norms(model, &frozen), 7);
        assert_int_equal(frozen, 0);
        fe_taps(model, &n);
        assert_int_equal(n, 5);
        assert_int_equal(tap(g, 0, "head1")->dims[1], 3);
        assert_int_equal(tap(g, 1, "late")->dims[1], 3);
        assert_int_equal(tap(g, 2, "feat1")->dims[1], 8);
        assert_int_equal(tap(g, 3, "late.feat")->dims[1], 8);
        assert_int_equal(tap(g, 4, "feat3")->dims[1], 8);
        const struct ir_value *k = boundary(g, "heads.1.conv2.weight"), *var = boundary(g, "late.bn3.running_var");
        assert_int_equal(k->role, IR_ROLE_PARAM); // 4x4 to the 2x2 of the last map: 2x2 of a quarter of 8 channels
        assert_true(k->type.dims[0] == 2 && k->type.dims[1] == 2 && k->type.dims[2] == 2 && k->type.dims[3] == 2);
        assert_int_equal(boundary(g, "late.conv2.weight")->type.dims[2], 1);
        assert_int_equal(var->role, IR_ROLE_BUFFER);
        bool updated = false;
        for (size_t o = 0; o < g->n_outputs; o++)
            updated |= g->outputs[o].kind == IR_OUT_BUFFER && !strcmp(g->outputs[o].name, "late.bn3.running_var");
        assert_true(updated);
        write_back(g, true);
        import();
        assert_string_equal(said, "");
    }
}

static void heads_refused(void **state) {
    (void)state;
    static const struct {
        struct fe_side_head head;
        const char *logits, *words;
    } cases[] = {
        {{"rr", "byot", NULL}, NULL, "--head rr: the model has no such value; near to it are \"r\""},
        {{"p", "byot", NULL}, NULL, "--head p: it is f32[N,8]; a head is for a feature map f32[N,C,H,W]"},
        {{"r", "byot", "y"}, NULL, "--head r: the model has a value \"y\" already"},
        {{"r", "byot", NULL}, "r", "--head: no linear layer makes \"r\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_backbone(17, false);
        assert_false(
            fe_add_heads(model, &diag, &cases[i].head, 1, cases[i].logits, 0, &(struct fe_options){.n_shapes = 0}));
        assert_int_equal(diag.errors, 1);
        if (!strstr(said, cases[i].words)) fail_msg("expected \"%s\" in: %s", cases[i].words, said);
    }
    // What cannot be imported is said by the import, once.
    INPUT("x", 0, 4);
    OUTPUT("y", 0, 4);
    node("Mystery", "x", "y");
    struct str m = finish();
    assert_int_equal(io_write_file(path, m.s, m.len), SMKD_OK);
    str_release(&m);
    open_again();
    assert_true(fe_add_heads(model, &diag, &cases[0].head, 1, NULL, 0, &(struct fe_options){0}));
    assert_string_equal(said, "");
    assert_null(fe_import(model, &arena, &diag, NULL));
    assert_int_equal(diag.errors, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        TEST(values_by_their_names),     TEST(nodes_by_their_names),    TEST(refusals),
        TEST(exported_without_and_with), TEST(heads_speak_as_the_file), TEST(heads_refused),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
