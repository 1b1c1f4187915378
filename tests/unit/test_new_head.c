// A fresh last layer (--classes) on small files written here: what is replaced, what stays, and what is refused by
// node.
#include "onnx_writer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/smkd_head_XXXXXX", path[64], said[8192];
static struct arena arena;
static struct diag diag;
static struct fe_model *model;

static void listen(void *env, enum diag_severity sev, const char *line) {
    (void)env;
    (void)sev;
    strncat(said, line, sizeof said - strlen(said) - 2);
    strcat(said, "\n");
}
static void says(const char *part) {
    if (!strstr(said, part)) fail_msg("expected \"%s\" in: %s", part, said);
}

// The written model with `classes` at its end, imported; NULL where the head was refused.
static struct ir_graph *with_classes(int64_t classes, const char *logits, uint64_t seed) {
    struct str m = finish();
    snprintf(path, sizeof path, "%s/m.onnx", dir);
    assert_int_equal(io_write_file(path, m.s, m.len), SMKD_OK);
    str_release(&m);
    diag = (struct diag){.sink = listen};
    said[0] = 0;
    fe_close(model);
    model = fe_open(&arena, &diag, path);
    if (!model) fail_msg("%s", said);
    struct fe_head_options o = {.classes = classes, .logits = logits, .seed = seed};
    const char *head = fe_new_head(model, &diag, &o);
    assert_true((head == NULL) == (diag.errors == 1));
    if (!head) return NULL;
    struct ir_graph *g = fe_import(model, &arena, &diag, NULL);
    if (!g) fail_msg("%s", said);
    assert_null(strstr(said, "stale")); // what the file claims of shapes
    return g;
}
#define REFUSED(part)                                                                                                  \
    do {                                                                                                               \
        assert_null(with_classes(7, NULL, 0));                                                                         \
        says(part);                                                                                                    \
    } while (0)

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
    return mkdtemp(dir) ? 0 : -1;
}
static int remove_dir(void **state) {
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static const struct ir_value *boundary(const struct ir_graph *g, const char *name) {
    for (size_t i = 0; i < g->n_boundary; i++)
        if (!strcmp(g->values[g->boundary[i]].name, name)) return &g->values[g->boundary[i]];
    fail_msg("no boundary value %s", name);
    return NULL;
}
static void assert_type(const struct ir_type *t, int rank, const int64_t *dims) {
    assert_int_equal(t->rank, rank);
    for (int k = 0; k < rank; k++) assert_int_equal(t->dims[k], dims[k]);
}
static void assert_output(const struct ir_graph *g, const char *name, int rank, const int64_t *dims) {
    for (size_t i = 0; i < g->n_outputs; i++) {
        if (strcmp(g->outputs[i].name, name)) continue;
        assert_type(&g->values[g->outputs[i].value].type, rank, dims);
        return;
    }
    fail_msg("no output %s", name);
}
#define OUT(g, name, ...)   assert_output(g, name, DIMS(__VA_ARGS__))
#define PARAM(g, name, ...) assert_type(&boundary(g, name)->type, DIMS(__VA_ARGS__))

// A parameter whose elements are fresh: within the bound, spread over it, and nothing of what was there.
static void assert_fresh(const struct ir_graph *g, const char *name, double bound) {
    const struct ir_value *v = boundary(g, name);
    assert_int_equal(v->role, IR_ROLE_PARAM);
    const int64_t n = ir_numel(&v->type);
    double least = INFINITY, most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const double x = ir_get_float(IR_F32, v->data, (size_t)i);
        assert_true(fabs(x) <= bound);
        least = fmin(least, x);
        most = fmax(most, x);
        sum += x;
    }
    if (n < 40) return;
    assert_true(least < -0.8 * bound && most > 0.8 * bound);
    assert_true(fabs(sum / (double)n) < 0.35 * bound);
}

static void body(void) { // x [N,4,6,6] -> r [N,8,6,6], with a weight that is no head's
    INPUT("x", 0, 4, 6, 6);
    WEIGHT("w", 8, 4, 1, 1);
    node("Conv", "x,w", "c");
    node("Relu", "c", "r");
}
static void pooled(void) { // -> f [N,8]
    body();
    node("GlobalAveragePool", "r", "p");
    node("Flatten", "p", "f");
}

static void test_gemm(void **state) {
    (void)state;
    for (int trans = 0; trans < 2; trans++) {
        pooled();
        OUTPUT("y", 0, 10);
        io(13, "y", DIMS(0, 10)); // value_info
        if (trans)
            WEIGHT("fc.weight", 10, 8);
        else
            WEIGHT("fc.weight", 8, 10);
        WEIGHT("fc.bias", 10);
        attr_i("transB", trans);
        node("Gemm", "f,fc.weight,fc.bias", "y");
        struct ir_graph *g = with_classes(7, NULL, 3);
        if (!g) fail_msg("%s", said);
        says("node \"y\" (Gemm): --classes: 7 fresh outputs instead of 10; \"fc.weight\" with \"fc.bias\" has new "
             "weights, seed 3");
        OUT(g, "y", IR_N, 7);
        if (trans)
            PARAM(g, "fc.weight", 7, 8);
        else
            PARAM(g, "fc.weight", 8, 7);
        PARAM(g, "fc.bias", 7);
        assert_fresh(g, "fc.weight", 1 / sqrt(8));
        assert_fresh(g, "fc.bias", 1 / sqrt(8));
        for (size_t i = 0; i < 32; i++) assert_true(((const float *)boundary(g, "w")->data)[i] == pattern(i));
    }
}

// The same seed gives the same weights, another one others; as many classes as before are fresh, too.
static void test_seeds(void **state) {
    (void)state;
    float first[80];
    for (int run = 0; run < 3; run++) {
        pooled();
        OUTPUT("y", 0, 10);
        WEIGHT("fc.weight", 10, 8);
        attr_i("transB", 1);
        node("Gemm", "f,fc.weight", "y");
        struct ir_graph *g = with_classes(10, NULL, run == 2 ? 1 : 0);
        assert_non_null(g);
        says("10 fresh outputs as many as before; \"fc.weight\", which has no bias, has new weights");
        assert_fresh(g, "fc.weight", 1 / sqrt(8));
        const float *w = boundary(g, "fc.weight")->data;
        if (run == 0)
            memcpy(first, w, sizeof first);
        else
            assert_int_equal(memcmp(first, w, sizeof first) == 0, run == 1);
    }
}

static void test_matmul(void **state) {
    (void)state;
    for (int turned = 0; turned < 2; turned++) {
        pooled();
        OUTPUT("y", 0, 10);
        OUTPUT("soft", 0, 10);
        if (turned) {
            WEIGHT("head.weight", 10, 8);
            attr_ints("perm", DIMS(1, 0));
            node("Transpose", "head.weight", "wt");
        } else {
            WEIGHT("head.weight", 8, 10);
        }
        WEIGHT("head.bias", 1, 10);
        node("MatMul", turned ? "f,wt" : "f,head.weight", "m");
        node("Add", "head.bias,m", "y");
        node("Softmax", "y", "soft"); // a second output of the same layer
        struct ir_graph *g = with_classes(33, NULL, 0);
        if (!g) fail_msg("%s", said);
        OUT(g, "y", IR_N, 33);
        OUT(g, "soft", IR_N, 33);
        if (turned)
            PARAM(g, "head.weight", 33, 8);
        else
            PARAM(g, "head.weight", 8, 33);
        PARAM(g, "head.bias", 1, 33);
        assert_fresh(g, "head.weight", 1 / sqrt(8));
        assert_fresh(g, "head.bias", 1 / sqrt(8));
    }
}

// SqueezeNet's end: a 1x1 convolution, its ReLU, a pool, and then the classes as a vector in one of many ways.
static void conv_end(void) {
    body();
    OUTPUT("y", 0, 10);
    io(13, "cls", DIMS(0, 10, 6, 6));
    WEIGHT("cls.weight", 10, 8, 1, 1);
    WEIGHT("cls.bias", 10);
    node("Conv", "r,cls.weight,cls.bias", "cls");
    node("Relu", "cls", "cr");
    node("GlobalAveragePool", "cr", "cp");
}
static void scalar(const char *name, int64_t v) {
    struct str t = tensor_of(name, 7, 0, NULL, &v, 8);
    sub(&graph, 5, &t);
}
enum { FLATTEN, SHAPE, SHAPE_OF_N, SHAPE_SHARED, SQUEEZE, ENDS };
static void test_conv(void **state) {
    (void)state;
    for (int end = 0; end < ENDS; end++) {
        conv_end();
        switch (end) {
        case FLATTEN:
            node("Flatten", "cp", "y");
            break;
        case SQUEEZE:
            INTS("axes", 2, 3);
            node("Squeeze", "cp,axes", "y");
            break;
        case SHAPE:
            INTS("to", -1, 10);
            node("Reshape", "cp,to", "y");
            break;
        case SHAPE_SHARED: // the 10 is a 10 elsewhere, too
            INTS("to", -1, 10);
            OUTPUT("also", 1, 10);
            WEIGHT("ten", 10);
            node("Reshape", "cp,to", "y");
            node("Reshape", "ten,to", "also0");
            node("Identity", "also0", "also");
            break;
        default: // x.view(x.size(0), 10)
            scalar("zero", 0);
            scalar("ten", 10);
            INTS("axis", 0);
            node("Shape", "cp", "s");
            node("Gather", "s,zero", "n");
            node("Unsqueeze", "n,axis", "n1");
            node("Unsqueeze", "ten,axis", "t1");
            attr_i("axis", 0);
            node("Concat", "n1,t1", "to");
            node("Reshape", "cp,to", "y");
        }
        struct ir_graph *g = with_classes(7, end == SHAPE_SHARED ? "y" : NULL, 0);
        if (!g) fail_msg("end %d: %s", end, said);
        OUT(g, "y", IR_N, 7);
        if (end == SHAPE_SHARED) OUT(g, "also", 1, 10);
        PARAM(g, "cls.weight", 7, 8, 1, 1);
        PARAM(g, "cls.bias", 7);
        assert_fresh(g, "cls.weight", 1 / sqrt(8));
    }
}

// Logits of each token, of which the mean is taken: the classes are the last axis, and 10 is the number of tokens, too.
static void test_tokens(void **state) {
    (void)state;
    INPUT("x", 0, 10, 8);
    OUTPUT("y", 0, 10);
    WEIGHT("w", 8, 10);
    WEIGHT("b", 10);
    INTS("to", 0, 2, 5, 10);
    INTS("back", 0, 10, 10);
    node("MatMul", "x,w", "m");
    node("Add", "m,b", "a");
    node("Reshape", "a,to", "t");
    node("Reshape", "t,back", "u");
    attr_ints("axes", DIMS(1));
    attr_i("keepdims", 0);
    node("ReduceMean", "u", "y");
    struct ir_graph *g = with_classes(3, NULL, 0);
    if (!g) fail_msg("%s", said);
    OUT(g, "y", IR_N, 3);
    PARAM(g, "b", 3);
}

static void two_heads(void) {
    pooled();
    OUTPUT("y", 0, 10);
    OUTPUT("aux", 0, 10);
    WEIGHT("fc", 8, 10);
    WEIGHT("fa", 8, 10);
    node("MatMul", "f,fc", "y");
    node("MatMul", "f,fa", "aux");
}
static void test_heads(void **state) {
    (void)state;
    two_heads();
    REFUSED(
        "several outputs end in a linear layer: \"y\" (node \"y\"), \"aux\" (node \"aux\"); say which with --logits");
    two_heads();
    struct ir_graph *g = with_classes(7, "aux", 0);
    assert_non_null(g);
    OUT(g, "y", IR_N, 10);
    OUT(g, "aux", IR_N, 7);
    two_heads();
    assert_null(with_classes(7, "yy", 0));
    says("--logits yy: no node of the model makes a value of that name");
    pooled(); // an output that is no head is none of the candidates
    OUTPUT("y", 0, 10);
    OUTPUT("max", 0, 1);
    WEIGHT("fc", 8, 10);
    node("MatMul", "f,fc", "y");
    attr_ints("axes", DIMS(1));
    node("ReduceMin", "f", "max");
    g = with_classes(7, NULL, 0);
    if (!g) fail_msg("%s", said);
    OUT(g, "y", IR_N, 7);
}

// 16-bit weights keep their type in the file: the model stays one type, and is raised as a whole.
static void test_half(void **state) {
    (void)state;
    for (int type = 10; type <= 16; type += 6) {
        static const uint16_t zeros[80];
        INPUT("x", 0, 8);
        OUTPUT("y", 0, 10);
        struct str w = tensor_of("fc", type, 2, (int64_t[2]){8, 10}, zeros, sizeof zeros);
        sub(&graph, 5, &w);
        attr_i("to", type);
        node("Cast", "x", "h");
        node("MatMul", "h,fc", "m");
        attr_i("to", 1);
        node("Cast", "m", "y");
        struct ir_graph *g = with_classes(70, NULL, 0);
        if (!g) fail_msg("%s", said);
        OUT(g, "y", IR_N, 70);
        assert_fresh(g, "fc", 1 / sqrt(8));
        const float *v = boundary(g, "fc")->data;
        for (size_t i = 0; i < 560; i++)
            assert_true(ir_round_half(type == 10 ? IR_HALF_F16 : IR_HALF_BF16, (double)v[i]) == (double)v[i]);
    }
}

static void test_refused(void **state) {
    (void)state;
    pooled(); // tied with a table of embeddings
    OUTPUT("y", 0, 10);
    OUTPUT("e", 0, 8);
    WEIGHT("emb", 10, 8);
    INTS("one", 1);
    attr_i("transB", 1);
    node("Gemm", "f,emb", "y");
    node("Gather", "emb,one", "row");
    node("Add", "f,row", "e");
    assert_null(with_classes(7, "y", 0));
    says("node \"y\" (Gemm): its weight \"emb\" is used by node \"row\" (Gather), too: with --classes it would change "
         "there; untie");

    pooled(); // a weight that is computed
    OUTPUT("y", 0, 10);
    WEIGHT("v", 8, 10);
    WEIGHT("g", 1, 10);
    node("Mul", "v,g", "wn");
    node("MatMul", "f,wn", "y");
    REFUSED("node \"y\" (MatMul): its weight \"wn\" is no tensor of the file, but computed by a node Mul");

    pooled();
    OUTPUT("y", 0, 10);
    WEIGHT("v", 8, 10);
    WEIGHT("s", 1);
    node("QuantizeLinear", "v,s", "vq");
    node("DequantizeLinear", "vq,s", "vd");
    node("MatMul", "f,vd", "y");
    REFUSED("node \"y\" (MatMul): its weight is quantised (node \"vd\")");

    body(); // no last layer: a backbone
    OUTPUT("y", 0, 10);
    WEIGHT("k", 10, 8, 3, 3);
    node("Conv", "r,k", "c3");
    node("GlobalAveragePool", "c3", "p");
    node("Flatten", "p", "y");
    REFUSED("node \"c3\" (Conv): the last layer with weights is a convolution that is not 1x1");

    INPUT("x", 0, 10);
    OUTPUT("y", 0, 10);
    node("Relu", "x", "y");
    REFUSED("no linear layer makes \"y\": --classes has nothing to replace");

    pooled(); // what it does not see through is named
    OUTPUT("y", 0, 10);
    WEIGHT("fc", 8, 10);
    node("MatMul", "f,fc", "m");
    node("Neg", "m", "y");
    REFUSED(
        "node \"y\" (Neg): it stands between \"y\" and the last linear layer, and --classes does not see through it");

    pooled(); // one number for each class of now
    OUTPUT("y", 0, 10);
    WEIGHT("fc", 8, 10);
    WEIGHT("scale", 10);
    node("MatMul", "f,fc", "m");
    node("Mul", "m,scale", "y");
    REFUSED("node \"y\" (Mul): \"scale\" has numbers for the 10 classes of now");

    pooled(); // two branches
    OUTPUT("y", 0, 10);
    WEIGHT("fc", 8, 10);
    WEIGHT("fa", 8, 10);
    node("MatMul", "f,fc", "m");
    node("MatMul", "f,fa", "a");
    node("Add", "m,a", "y");
    REFUSED("node \"y\" (Add): it stands between");
}

// What export writes has the new number of classes, in the tensors and in what is declared.
static void test_export(void **state) {
    (void)state;
    pooled();
    OUTPUT("y", 0, 40);
    io(13, "y", DIMS(0, 40));
    WEIGHT("fc.weight", 40, 8);
    WEIGHT("fc.bias", 40);
    attr_i("transB", 1);
    node("Gemm", "f,fc.weight,fc.bias", "y");
    struct ir_graph *g = with_classes(7, NULL, 0);
    assert_non_null(g);
    struct fe_tensor ts[8];
    size_t n = 0, size;
    for (size_t i = 0; i < g->n_boundary; i++) {
        const struct ir_value *v = &g->values[g->boundary[i]];
        if (v->role != IR_ROLE_PARAM) continue;
        ts[n] = (struct fe_tensor){.name = v->name, .rank = v->type.rank, .data = v->data};
        memcpy(ts[n++].dims, v->type.dims, sizeof ts->dims);
    }
    const void *skeleton = fe_skeleton(model, &arena, &size);
    assert_int_equal(fe_export(skeleton, size, ts, n, NULL, 0, false, path, &diag), SMKD_OK);
    struct fe_model *again = fe_open(&arena, &diag, path);
    assert_non_null(again);
    said[0] = 0;
    struct ir_graph *h = fe_import(again, &arena, &diag, NULL);
    assert_non_null(h);
    assert_string_equal(said, ""); // nothing that is declared contradicts
    OUT(h, "y", IR_N, 7);
    assert_memory_equal(boundary(h, "fc.weight")->data, boundary(g, "fc.weight")->data, 7 * 8 * 4);
    fe_close(again);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        TEST(test_gemm),  TEST(test_seeds), TEST(test_matmul),  TEST(test_conv),   TEST(test_tokens),
        TEST(test_heads), TEST(test_half),  TEST(test_refused), TEST(test_export),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
