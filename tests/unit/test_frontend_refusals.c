// The importer on bad files written here, byte by byte: what it says about them, and that no number in them does harm.
#include "import.h"

// --- bad files

static void test_truncated(void **state) {
    (void)state;
    cnn();
    struct str m = finish();
    static const size_t cuts[] = {0, 1, 7, 40, 200, 500};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        write_bytes(m.s, cuts[i]);
        assert_null(load(NULL));
        assert_true(diag.errors >= 1);
        fe_close(model);
    }
    write_bytes(m.s, m.len - 3);
    assert_null(load(NULL));
    says("truncated");
    str_release(&m);
}

static void test_text(void **state) {
    (void)state;
    write_bytes("this is not a model\n", 20);
    assert_null(load(NULL));
    says("text file");
}

static void test_all_unsupported(void **state) {
    (void)state;
    INPUT("x", 0, 6);
    OUTPUT("y", 0, 6);
    OUTPUT("z", 0, 6);
    node("Foo", "x", "a");
    node("Relu", "a", "y"); // silent: it only uses what Foo did not make
    node("Bar", "x", "z");
    REFUSED("node \"a\" (Foo)");
    says("node \"z\" (Bar)");
    assert_int_equal(diag.errors, 2);
}

static void test_names(void **state) {
    (void)state;
    INPUT("", 0, 6); // no loader takes a tensor without a name
    INPUT("x", 0, 6);
    OUTPUT("y", 0, 6);
    node("Relu", "x", "y");
    REFUSED("an input has no name");
    fe_close(model);
    INPUT("x", 0, 6);
    OUTPUT("y", 0, 6);
    node("Add", "b,x", "a");
    node("Relu", "a", "b");
    node("Relu", "b", "y");
    REFUSED("cyclic");
    fe_close(model);
    INPUT("x", 0, 6);
    OUTPUT("y", 0, 6);
    node("Relu", "x", "y");
    node("Exp", "x", "y");
    REFUSED("has the name of another value");
    fe_close(model);
    INPUT("x", 0, 6);
    OUTPUT("y", 0, 6);
    node("Relu", "nowhere", "y");
    REFUSED("\"nowhere\"");
}

static void test_shapes(void **state) {
    (void)state;
    INPUT("x", 0, 5, 8, 8);
    OUTPUT("y", 0, 4, 6, 6);
    WEIGHT("w", 4, 3, 3, 3);
    node("Conv", "x,w", "y");
    REFUSED("node \"y\" (Conv)");
    fe_close(model);
    INPUT("x", 0, 6);
    OUTPUT("y", 0, 4);
    INTS("to", 0, 4);
    node("Reshape", "x,to", "y");
    REFUSED("cannot reshape [N,6]");
}

static void external(const char *location, const char *offset, const char *length) {
    INPUT("x", 0, 4);
    OUTPUT("y", 0, 4);
    struct str t = tensor_of("w", 1, 1, (int64_t[]){4}, NULL, 0);
    const char *kv[3][2] = {{"location", location}, {"offset", offset}, {"length", length}};
    for (int i = 0; i < 3; i++) {
        struct str e = STR_INIT;
        txt(&e, 1, kv[i][0]);
        txt(&e, 2, kv[i][1]);
        sub(&t, 13, &e);
    }
    num(&t, 14, 1);
    sub(&graph, 5, &t);
    node("Add", "x,w", "y");
}

static void test_external_data(void **state) {
    (void)state;
    static const struct {
        const char *loc, *off, *len, *says;
    } bad[] = {{"../w.bin", "0", "16", "stay in the model's folder"},
               {"/etc/passwd", "0", "16", "stay in the model's folder"},
               {"a/../../w.bin", "0", "16", "stay in the model's folder"},
               {"none.bin", "0", "16", "cannot open"},
               {"w.bin", "8", "16", "past the end"},
               {"w.bin", "0", "12", "need 16 bytes"},
               {"w.bin", "-4", "16", "not a number"},
               {"w.bin", "9223372036854775807", "16", "past the end"},
               {"link.bin", "0", "16", "leaves the model's folder"}};
    char data[96], target[96], link[96];
    snprintf(data, sizeof data, "%s/w.bin", dir);
    snprintf(target, sizeof target, "%s_outside", dir);
    snprintf(link, sizeof link, "%s/link.bin", dir);
    float w[4] = {1, 2, 3, 4};
    assert_int_equal(io_write_file(data, w, sizeof w), SMKD_OK);
    assert_int_equal(io_write_file(target, w, sizeof w), SMKD_OK);
    assert_int_equal(symlink(target, link), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        external(bad[i].loc, bad[i].off, bad[i].len);
        REFUSED(bad[i].says);
        fe_close(model);
    }
    external("w.bin", "0", "16");
    struct ir_graph *g = import();
    assert_non_null(g);
    assert_true(((const float *)boundary(g, "w")->data)[2] == 3);
    // As a cache of downloads lays it out: the names are links into one folder that has both files.
    char blobs[64], blob[96], blob_data[96], real[96];
    snprintf(blobs, sizeof blobs, "%s_blobs", dir);
    snprintf(blob, sizeof blob, "%s/aaa", blobs);
    snprintf(blob_data, sizeof blob_data, "%s/bbb", blobs);
    snprintf(real, sizeof real, "%s/w.bin", blobs);
    assert_int_equal(io_make_dirs(blobs), SMKD_OK);
    assert_true(rename(path, blob) == 0 && rename(data, blob_data) == 0);
    assert_true(symlink(blob, path) == 0 && symlink(blob_data, data) == 0);
    assert_non_null(load(NULL));
    // Or the data lies beside the file that the name is a link to.
    assert_true(unlink(data) == 0 && rename(blob_data, real) == 0);
    assert_non_null(load(NULL));
    // Elsewhere it stays refused, and once for all tensors of a file.
    assert_true(unlink(real) == 0 && symlink(target, data) == 0);
    assert_null(load(NULL));
    says("leaves the model's folder");
    assert_int_equal(unlink(path) | unlink(blob), 0);
    external("w.bin", "0", "16");
    for (int i = 0; i < 30; i++) {
        char name[8];
        snprintf(name, sizeof name, "u%d", i);
        struct str t = tensor_of(name, 1, 1, (int64_t[]){4}, NULL, 0), e = STR_INIT;
        txt(&e, 1, "location");
        txt(&e, 2, "w.bin");
        sub(&t, 13, &e);
        num(&t, 14, 1);
        sub(&graph, 5, &t);
    }
    assert_null(import());
    assert_int_equal(diag.errors, 1);
    rmdir(blobs);
    unlink(data);
    unlink(link);
    unlink(target);
}

// What costs more than it says: refused by count, and told once.
static void test_bounds(void **state) {
    (void)state;
    char name[16];
    INPUT("x", 0, 4);
    for (int i = 0; i < 2; i++) OUTPUT("y", 0, 4);
    node("Relu", "x", "y");
    REFUSED("output \"y\" is there twice");
    INPUT("x", 0, 4);
    OUTPUT("y", 0, 4);
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "i%d", i);
        INPUT(name, 0, 4);
    }
    node("Relu", "x", "y");
    REFUSED("5001 inputs and 1 outputs; at most 4096");
}

static void test_tensor_size(void **state) {
    (void)state;
    INPUT("x", 0, 4);
    OUTPUT("y", 0, 4);
    float w[3] = {0};
    struct str t = tensor_of("w", 1, 1, (int64_t[]){4}, w, sizeof w);
    sub(&graph, 5, &t);
    node("Add", "x,w", "y");
    REFUSED("need 16 bytes, the file has 12");
}

static void test_attributes(void **state) {
    (void)state;
    INPUT("x", 0, 4);
    OUTPUT("y", 0, 4);
    attr_s("axis", "one");
    node("Softmax", "x", "y");
    REFUSED("attribute \"axis\" must be an integer");
}

// --- numbers that are no sizes

// One number of a node at a time becomes each of these. Under -fsanitize=undefined (with float-cast-overflow, which is
// not part of it) the importer must not compute with any of them what C does not define.
static const int64_t odd_ints[] = {
    INT64_MIN, INT64_MIN + 1,    -INT64_MAX / 2,   -(INT64_C(1) << 40), INT32_MIN,     -9,       -1, 0, 1, 9,
    INT32_MAX, INT64_C(1) << 32, INT64_C(1) << 40, INT64_C(1) << 60,    INT64_MAX - 1, INT64_MAX};
static const float odd_floats[] = {-INFINITY, -3e38f, -1e19f,  -1,    -0.0f,    0,  1e-30f,
                                   0.01f,     1e9f,   9.3e18f, 3e38f, INFINITY, NAN};

struct hostile {
    const char *op, *in; // operands: x is [N,3,8,8] or, for c, [N,3] of integers known as [1,2,3]
    const char *ints;    // attribute; NULL: the numbers are operand "k"
    int n;
    int64_t base[8];
};
static const struct hostile hostile[] = {
    {"Slice", "x,k,e,a,s", NULL, 2, {0, 1}},
    {"Slice", "x,s,k,a,s", NULL, 2, {3, 4}},
    {"Slice", "x,s,e,a,k", NULL, 2, {1, -1}},
    {"Slice", "x,s,e,k,s", NULL, 2, {1, 2}},
    {"Pad", "x,k", NULL, 8, {0, 0, 1, 1, 0, 0, 2, 0}},
    {"Tile", "x,k", NULL, 4, {1, 2, 1, 3}},
    {"Expand", "x,k", NULL, 5, {2, 1, 3, 1, 8}},
    {"Reshape", "x,k", NULL, 4, {0, 3, -1, 4}},
    {"ConstantOfShape", "k", NULL, 3, {2, 3, 1}},
    {"Split", "x,k", "axis", 1, {2}},
    {"Gather", "x,k", NULL, 2, {0, 1}},
    {"GatherND", "w,k", NULL, 1, {0}},
    {"ScatterND", "c,kk,v", NULL, 1, {0}},
    {"Resize", "x,,,k", NULL, 4, {1, 3, 4, 12}},
    {"Unsqueeze", "x,k", NULL, 2, {1, 3}},
    {"Squeeze", "x,k", NULL, 1, {1}},
    {"ReduceSum", "x,k", NULL, 2, {1, 2}},
    {"CumSum", "c,k", NULL, 1, {0}},
    {"Add", "c,k", NULL, 1, {5}},
    {"Sub", "c,k", NULL, 1, {5}},
    {"Mul", "c,k", NULL, 1, {5}},
    {"Div", "c,k", NULL, 1, {5}},
    {"Mod", "c,k", NULL, 1, {5}},
    {"Max", "c,k", NULL, 1, {5}},
    {"Equal", "c,k", NULL, 1, {5}},
    {"Neg", "k", NULL, 3, {1, 2, 3}},
    {"Abs", "k", NULL, 3, {1, 2, 3}},
    {"Conv", "x,w4", "strides", 2, {1, 2}},
    {"Conv", "x,w4", "dilations", 2, {1, 2}},
    {"Conv", "x,w4", "pads", 4, {1, 1, 0, 0}},
    {"ConvTranspose", "x,w4", "output_padding", 2, {0, 0}},
    {"ConvTranspose", "x,w4", "output_shape", 2, {10, 10}},
    {"MaxPool", "x", "kernel_shape", 2, {2, 2}},
    {"AveragePool", "x", "kernel_shape", 2, {2, 2}},
    {"Transpose", "x", "perm", 4, {0, 2, 1, 3}},
    {"RandomUniform", "", "shape", 2, {2, 3}},
    {"Flatten", "x", "axis", 1, {1}},
    {"Softmax", "x", "axis", 1, {1}},
    {"ArgMax", "x", "axis", 1, {1}},
    {"Concat", "x,x", "axis", 1, {1}},
    {"Shape", "x", "start", 1, {1}},
    {"Shape", "x", "end", 1, {1}},
    {"DepthToSpace", "x", "blocksize", 1, {1}},
    {"SpaceToDepth", "x", "blocksize", 1, {2}},
    {"LRN", "x", "size", 1, {3}},
    {"EyeLike", "w", "k", 1, {0}},
};

// The importer answers, whatever it is: a graph or a line.
static void try(void) {
    fe_close(model); // it lives in the arena
    model = NULL;
    arena_release(&arena);
    arena_init(&arena);
    import();
}

static void operands(void) {
    INPUT("x", 0, 3, 8, 8);
    io(12, "y", 0, NULL);
    WEIGHT("w", 3, 4);
    WEIGHT("w4", 3, 3, 3, 3);
    INTS("c", 1, 2, 3);
    INTS("v", 7);
    INTS("s", 1, 1);
    INTS("e", 3, 3);
    INTS("a", 1, 2);
}

static void test_hostile_ints(void **state) {
    (void)state;
    for (size_t h = 0; h < sizeof hostile / sizeof *hostile; h++)
        for (int at = 0; at < hostile[h].n; at++)
            for (size_t o = 0; o < sizeof odd_ints / sizeof *odd_ints; o++) {
                const struct hostile *row = &hostile[h];
                int64_t v[8];
                memcpy(v, row->base, sizeof v);
                v[at] = odd_ints[o];
                operands();
                ints("k", row->n, v);
                struct str kk = tensor_of("kk", 7, 2, (int64_t[]){1, 1}, v, 8);
                sub(&graph, 5, &kk);
                if (row->ints && row->n == 1)
                    attr_i(row->ints, v[0]);
                else if (row->ints)
                    attr_ints(row->ints, row->n, v);
                node(row->op, row->in, "y");
                try();
            }
}

// The same of pairs: start, limit and step of a range, an index and the depth of OneHot, bounds of Clip.
static void test_hostile_pairs(void **state) {
    (void)state;
    static const char *const ops[][2] = {{"Range", "p,q,one"}, {"Range", "zero,p,q"}, {"Clip", "c,p,q"},
                                         {"Pow", "c,p"},       {"Mul", "p,q"},        {"Sub", "p,q"},
                                         {"Div", "p,q"},       {"Mod", "p,q"}};
    const size_t n = sizeof odd_ints / sizeof *odd_ints;
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++)
        for (size_t i = 0; i < n * n; i++) {
            operands();
            const char *names[] = {"p", "q", "zero", "one"};
            const int64_t v[] = {odd_ints[i / n], odd_ints[i % n], 0, 1};
            for (int j = 0; j < 4; j++) {
                struct str t = tensor_of(names[j], 7, 0, NULL, &v[j], 8);
                sub(&graph, 5, &t);
            }
            node(ops[k][0], ops[k][1], "y");
            try();
        }
}

static void test_hostile_floats(void **state) {
    (void)state;
    static const char *const ops[][2] = {{"Resize", "x,,k"},   {"Cast", "k"},         {"CumSum", "c,k1"},
                                         {"OneHot", "c,k1,s"}, {"Range", "f0,k1,f1"}, {"Range", "f0,f1,k1"},
                                         {"Dropout", "x,k1"},  {"Clip", "x,k1,f1"},   {"Trilu", "w,k1"}};
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++)
        for (size_t o = 0; o < sizeof odd_floats / sizeof *odd_floats; o++)
            for (int at = 1; at < 4; at++) {
                operands();
                float v[4] = {1, 1, 2, 0.5f}, f0 = 0, f1 = 1;
                v[at] = odd_floats[o];
                floats("k", 1, (int64_t[]){4}, v);
                const char *names[] = {"k1", "f0", "f1"};
                const float *data[] = {&v[at], &f0, &f1};
                for (int j = 0; j < 3; j++) {
                    struct str t = tensor_of(names[j], 1, 0, NULL, data[j], 4);
                    sub(&graph, 5, &t);
                }
                if (!strcmp(ops[k][0], "Cast")) attr_i("to", at == 1 ? 7 : at == 2 ? 6 : 2);
                if (!strcmp(ops[k][0], "Resize")) attr_s("mode", at == 2 ? "linear" : "nearest");
                node(ops[k][0], ops[k][1], "y");
                try();
            }
}

// What is folded holds for every batch: N >= 1 is known, N == 2 is not; and nothing of N is lost in floats.
static void test_folds(void **state) {
    (void)state;
    static const struct {
        const char *op, *in;
        int64_t k;
        int left; // nodes with that op in the graph
    } rows[] = {{"Equal", "n,k", 2, 1}, {"Equal", "n,k", 0, 0}, {"Equal", "n,k", -1, 0}, {"Less", "n,k", 1, 0},
                {"Less", "k,n", 0, 0},  {"Less", "n,k", 7, 1},  {"Max", "n,k", 1, 0},    {"Max", "n,k", 2, 1},
                {"Min", "n,k", 1, 0},   {"Min", "n,k", 2, 1},   {"Div", "n,k", 2, 1},    {"LessOrEqual", "k,n", 1, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int64_t batch = 0; batch <= 2; batch += 2) { // 0: symbolic in the file
            INPUT("x", batch, 3);
            OUTPUT("y", batch, 3);
            INTS("zero", 0);
            ints("k", 1, &rows[i].k);
            node("Shape", "x", "s");
            node("Gather", "s,zero", "n");
            node(rows[i].op, rows[i].in, "r");
            attr_i("to", 1);
            node("Cast", "r", "f");
            node("Mul", "x,f", "y");
            struct ir_graph *g = import();
            assert_non_null(g);
            size_t left = count(g, IR_OP_eq) + count(g, IR_OP_lt) + count(g, IR_OP_le) + count(g, IR_OP_max) +
                          count(g, IR_OP_min) + count(g, IR_OP_div);
            if (left != (size_t)rows[i].left)
                fail_msg("%s(%s), k = %lld: %zu nodes instead of %d", rows[i].op, rows[i].in, (long long)rows[i].k,
                         left, rows[i].left);
            fe_close(model);
            model = NULL;
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        T(test_truncated),  T(test_text),          T(test_all_unsupported), T(test_names),
        T(test_shapes),     T(test_external_data), T(test_bounds),          T(test_tensor_size),
        T(test_attributes), T(test_hostile_ints),  T(test_hostile_pairs),   T(test_hostile_floats),
        T(test_folds),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
