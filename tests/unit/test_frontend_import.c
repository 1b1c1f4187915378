// The importer on small files written here, byte by byte: what it makes of good ones and what it says about bad ones.
#include "onnx_writer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

// --- running the importer

static char dir[] = "/tmp/smkd_import_XXXXXX", path[64], said[8192];
static struct arena arena;
static struct diag diag;
static struct fe_model *model;

static void listen(void *env, enum diag_severity sev, const char *line) {
    (void)env;
    (void)sev;
    assert_null(strchr(line, '\n'));
    strncat(said, line, sizeof said - strlen(said) - 2);
    strcat(said, "\n");
}
static void write_bytes(const void *data, size_t n) {
    snprintf(path, sizeof path, "%s/m.onnx", dir);
    assert_int_equal(io_write_file(path, data, n), SMKD_OK);
}
static struct ir_graph *load(const struct fe_options *o) {
    diag = (struct diag){.sink = listen};
    said[0] = 0;
    fe_close(model); // of an import before this one in the same test
    model = fe_open(&arena, &diag, path);
    return model ? fe_import(model, &arena, &diag, o) : NULL;
}
static struct ir_graph *import(void) {
    struct str m = finish();
    write_bytes(m.s, m.len);
    str_release(&m);
    struct ir_graph *g = load(NULL);
    if (!g && !said[0]) fail_msg("the importer failed without a word");
    return g;
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
    return mkdtemp(dir) ? 0 : -1;
}
static int remove_dir(void **state) {
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static void assert_dims(const struct ir_graph *g, const char *output, int rank, const int64_t *dims) {
    for (size_t i = 0; i < g->n_outputs; i++) {
        if (strcmp(g->outputs[i].name, output)) continue;
        const struct ir_type *t = &g->values[g->outputs[i].value].type;
        assert_int_equal(t->rank, rank);
        for (int k = 0; k < rank; k++) assert_int_equal(t->dims[k], dims[k]);
        return;
    }
    fail_msg("no output %s", output);
}
#define ASSERT_DIMS(g, out, ...) assert_dims(g, out, DIMS(__VA_ARGS__))
static const struct ir_value *boundary(const struct ir_graph *g, const char *name) {
    for (size_t i = 0; i < g->n_boundary; i++)
        if (!strcmp(g->values[g->boundary[i]].name, name)) return &g->values[g->boundary[i]];
    fail_msg("no boundary value %s", name);
    return NULL;
}
static size_t count(const struct ir_graph *g, enum ir_op op) {
    size_t n = 0;
    for (size_t i = 0; i < g->n_nodes; i++) n += g->nodes[i].op == op;
    return n;
}
static void says(const char *part) {
    if (!strstr(said, part)) fail_msg("expected \"%s\" in: %s", part, said);
}
#define REFUSED(part)                                                                                                  \
    do {                                                                                                               \
        assert_null(import());                                                                                         \
        says(part);                                                                                                    \
    } while (0)

// --- good files

static void cnn(void) {
    INPUT("x", 0, 3, 8, 8);
    OUTPUT("y", 0, 5);
    WEIGHT("w", 4, 3, 3, 3);
    WEIGHT("gamma", 4);
    WEIGHT("beta", 4);
    WEIGHT("mean", 4);
    WEIGHT("var", 4);
    WEIGHT("fc", 5, 4);
    WEIGHT("b", 5);
    attr_ints("pads", DIMS(1, 1, 1, 1));
    attr_ints("strides", DIMS(2, 2));
    node("Conv", "x,w", "c");
    attr_i("training_mode", 1);
    node("BatchNormalization", "c,gamma,beta,mean,var", "n,m2,v2");
    node("Relu", "n", "r");
    node("GlobalAveragePool", "r", "p");
    node("Flatten", "p", "f");
    attr_i("transB", 1);
    node("Gemm", "f,fc,b", "y");
}

static void test_cnn(void **state) {
    (void)state;
    cnn();
    struct ir_graph *g = import();
    assert_non_null(g);
    ASSERT_DIMS(g, "y", IR_N, 5);
    assert_int_equal(boundary(g, "x")->role, IR_ROLE_INPUT);
    assert_int_equal(boundary(g, "w")->role, IR_ROLE_PARAM);
    assert_int_equal(boundary(g, "mean")->role, IR_ROLE_BUFFER);
    assert_int_equal(boundary(g, "var")->role, IR_ROLE_BUFFER);
    assert_true(((const float *)boundary(g, "w")->data)[5] == pattern(5));
    ASSERT_DIMS(g, "mean", 4); // its new value comes back
    assert_int_equal(count(g, IR_OP_batch_norm), 1);
}

// Zeros in front of a convolution are its own padding; what is no such thing stays a Pad.
static void test_pad_conv(void **state) {
    (void)state;
    static const struct {
        int64_t pads[8]; // before, then after, by axis
        float fill;
        bool folds;
    } cases[] = {{{0, 0, 0, 1, 0, 0, 2, 1}, 0, true},
                 {{0, 0, 1, 1, 0, 0, 1, 1}, 2, false},  // of another number
                 {{0, 1, 1, 1, 0, 0, 1, 1}, 0, false},  // of channels
                 {{0, 0, 2, 0, 0, 0, 0, 0}, 0, false}}; // with the window's own 1 as far as a window of 3 reaches
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        INPUT("x", 0, 3, 8, 8);
        OUTPUT("y", 0, 4, 8 + cases[i].pads[2] + cases[i].pads[6] - 1, 8 + cases[i].pads[3] + cases[i].pads[7] - 2);
        ints("pads", 8, cases[i].pads);
        struct str t = tensor_of("fill", 1, 0, NULL, &cases[i].fill, 4);
        sub(&graph, 5, &t);
        WEIGHT("w", 4, 3 + cases[i].pads[1], 3, 3);
        node("Pad", "x,pads,fill", "p");
        attr_ints("pads", DIMS(1, 0, 0, 0));
        node("Conv", "p,w", "y");
        struct ir_graph *g = import();
        if (!g) fail_msg("%s", said);
        assert_null(strstr(said, "stale")); // the shape that is claimed for y
        size_t n = 0;
        const int64_t *pads = NULL;
        for (size_t k = 0; k < g->n_nodes; k++)
            if (g->nodes[k].op == IR_OP_conv) pads = ir_attr_ints(&g->nodes[k], "pads", &n);
        assert_int_equal(n, 4);
        const struct ir_node *conv = &g->nodes[g->n_nodes - 1];
        const bool folded = g->values[conv->in[0]].role == IR_ROLE_INPUT;
        assert_int_equal(folded, cases[i].folds);
        assert_int_equal(pads[0], 1 + (folded ? cases[i].pads[2] : 0));
        assert_int_equal(pads[1], folded ? cases[i].pads[3] : 0);
        assert_int_equal(pads[2], folded ? cases[i].pads[6] : 0);
        assert_int_equal(pads[3], folded ? cases[i].pads[7] : 0);
    }
}

// Attention as timm writes it: qkv.permute(2, 0, 3, 1, 4).unbind(0), by Gather, by Split and Squeeze, and permuted on.
static void qkv(void) {
    INPUT("x", 0, 4, 3, 2, 5);
    attr_ints("perm", DIMS(2, 0, 3, 1, 4));
    node("Transpose", "x", "p");
}

static void test_batch_moved(void **state) {
    (void)state;
    qkv();
    OUTPUT("q", 0, 2, 4, 5);
    OUTPUT("k", 0, 2, 4, 5);
    OUTPUT("z", 0, 3, 2, 4, 5);
    struct str one = tensor_of("one", 7, 0, NULL, (int64_t[1]){1}, 8);
    sub(&graph, 5, &one);
    INTS("axis", 0);
    attr_i("axis", 0);
    node("Gather", "p,one", "q");
    attr_i("axis", 0);
    node("Split", "p", "s0,s1,s2");
    node("Squeeze", "s2,axis", "k");
    attr_ints("perm", DIMS(1, 0, 2, 3, 4));
    node("Transpose", "p", "z");
    struct ir_graph *g = import();
    if (!g) fail_msg("%s", said);
    ASSERT_DIMS(g, "q", IR_N, 2, 4, 5);
    ASSERT_DIMS(g, "k", IR_N, 2, 4, 5);
    ASSERT_DIMS(g, "z", IR_N, 3, 2, 4, 5);

    qkv(); // what cannot read such a value says so, and so does an output
    OUTPUT("y", 3, 0, 2, 4, 5);
    attr_i("block_size", 1);
    node("DepthToSpace", "p", "y");
    REFUSED("an operand has the batch away from the first axis");
    qkv();
    OUTPUT("p", 3, 0, 2, 4, 5);
    REFUSED("output \"p\" has the batch away from the first axis");
    qkv();
    OUTPUT("y", 0, 2, 4, 5);
    INTS("axis", 1);
    node("ReduceSum", "p,axis", "y");
    REFUSED("computes along the batch");
}

// nn.MultiheadAttention: [T,N,C] through a product, as [T,N*heads,C/heads], as rows [T*N,C], and back.
static void heads(const char *shape_of_heads, const char *shape_of_rows) {
    INPUT("x", 0, 3, 8);
    OUTPUT("y", 0, 3, 8);
    WEIGHT("w", 8, 8);
    WEIGHT("b", 8);
    WEIGHT("table", 3, 1, 8);
    attr_ints("perm", DIMS(1, 0, 2));
    node("Transpose", "x", "t");
    node("MatMul", "t,w", "m");
    node("Add", "b,m", "p0");
    node("Add", "p0,table", "p"); // per position
    node("Reshape", shape_of_heads, "h");
    attr_ints("perm", DIMS(1, 0, 2));
    node("Transpose", "h", "q"); // [N*4, 3, 2]: batch first again
    attr_i("axis", -1);
    node("Softmax", "q", "s");
    attr_ints("perm", DIMS(1, 0, 2));
    node("Transpose", "s", "u");
    node("Reshape", shape_of_rows, "rows");
    attr_i("transB", 1);
    node("Gemm", "rows,w,b", "g");
    node("Relu", "g", "r");
    INTS("back", 3, -1, 8);
    node("Reshape", "r,back", "z");
    attr_ints("perm", DIMS(1, 0, 2));
    node("Transpose", "z", "y");
}

static void test_sequence_first(void **state) {
    (void)state;
    heads("p,to_heads", "u,to_rows");
    INTS("to_heads", 3, -1, 2);
    INTS("to_rows", -1, 8);
    OUTPUT("q", 0, 3, 2);
    struct ir_graph *g = import();
    if (!g) fail_msg("%s", said);
    ASSERT_DIMS(g, "q", 4 * IR_N, 3, 2);
    ASSERT_DIMS(g, "y", IR_N, 3, 8);
    assert_int_equal(count(g, IR_OP_matmul), 2);

    heads("p,to_heads", "u,to_rows"); // rows that mix positions of different samples
    INTS("to_heads", 3, -1, 2);
    INTS("to_rows", 4, -1);
    REFUSED("cannot reshape [3,4N,2] to [4,-1]");
}

// (a) of ShuffleNetV2: the shape is computed from the batch at run time.
static void test_shape_arithmetic(void **state) {
    (void)state;
    INPUT("x", 0, 6, 4, 4);
    OUTPUT("y", 0, 2, 3, 4, 4);
    INTS("zero", 0);
    INTS("one", 1);
    INTS("two", 2);
    INTS("rest", 4, 4);
    node("Shape", "x", "s");
    node("Gather", "s,zero", "n");
    node("Gather", "s,one", "c");
    node("Div", "c,two", "half");
    attr_i("to", 7);
    node("Cast", "half", "h");
    attr_i("axis", 0);
    node("Concat", "n,two,h,rest", "shape");
    node("Reshape", "x,shape", "y");
    struct ir_graph *g = import();
    assert_non_null(g);
    ASSERT_DIMS(g, "y", IR_N, 2, 3, 4, 4);
    assert_int_equal(g->n_nodes, 1);
}

static void filled(const char *name, float v, int rank, const int64_t *dims) {
    float data[64];
    size_t n = 1;
    for (int i = 0; i < rank; i++) n *= (size_t)dims[i];
    for (size_t i = 0; i < n; i++) data[i] = v;
    struct str t = tensor_of(name, 1, rank, dims, data, n * 4);
    sub(&graph, 5, &t);
}

// The default exporter folds a class token expanded to the fixed batch into an initializer of equal rows.
static void test_baked_token(void **state) {
    (void)state;
    INPUT("x", 2, 3, 8);
    OUTPUT("y", 2, 4, 8);
    filled("token", 0.5f, DIMS(2, 1, 8));
    attr_i("axis", 1);
    node("Concat", "token,x", "y");
    struct ir_graph *g = import();
    if (!g) fail_msg("%s", said);
    ASSERT_DIMS(g, "y", IR_N, 4, 8);
    assert_int_equal(boundary(g, "token")->type.dims[0], 1);

    INPUT("x", 2, 3, 8); // rows that differ are no token
    OUTPUT("y", 2, 4, 8);
    WEIGHT("token", 2, 1, 8);
    attr_i("axis", 1);
    node("Concat", "token,x", "y");
    REFUSED("all but dimension 1 must agree");
}

// It also stores equal initializers once: zeros that are the biases of two layers become two biases again, but a layer
// that is used twice keeps its one.
static void test_merged_biases(void **state) {
    (void)state;
    INPUT("x", 0, 8);
    OUTPUT("y", 0, 8);
    WEIGHT("w", 8, 8);
    filled("v", 0.25f, DIMS(8, 8));
    filled("b", 0, DIMS(8));
    node("Gemm", "x,w,b", "p");
    node("MatMul", "p,v", "q");
    node("Add", "q,b", "r");
    node("Gemm", "r,w,b", "y");
    struct ir_graph *g = import();
    if (!g) fail_msg("%s", said);
    assert_int_equal(boundary(g, "b")->role, IR_ROLE_PARAM);
    assert_int_equal(boundary(g, "r.bias")->role, IR_ROLE_PARAM);
    size_t params = 0;
    for (size_t i = 0; i < g->n_boundary; i++) params += g->values[g->boundary[i]].role == IR_ROLE_PARAM;
    assert_int_equal(params, 4);
}

// Several images of a sample, and images that are no samples.
static void test_images_of_no_batch(void **state) {
    (void)state;
    INPUT("x", 0, 4, 5, 5);
    OUTPUT("y", 0, 3, 5, 5);
    OUTPUT("z", 1, 3, 5, 5);
    WEIGHT("w", 3, 2, 1, 1);
    WEIGHT("table", 1, 2, 5, 5);
    INTS("apart", -1, 2, 5, 5);
    node("Reshape", "x,apart", "p");
    node("Conv", "p,w", "y");
    node("Conv", "table,w", "z");
    struct ir_graph *g = import();
    if (!g) fail_msg("%s", said);
    ASSERT_DIMS(g, "y", 2 * IR_N, 3, 5, 5);
    ASSERT_DIMS(g, "z", 1, 3, 5, 5);
    assert_int_equal(count(g, IR_OP_conv), 2);
}

// The TorchScript exporter names what it has merged.
static void test_named_merge(void **state) {
    (void)state;
    INPUT("x", 0, 8);
    OUTPUT("y", 0, 8);
    WEIGHT("a.weight", 8, 8);
    filled("a.bias", 0, DIMS(8));
    WEIGHT("b.weight", 8, 8);
    node("Identity", "a.bias", "b.bias");
    node("Gemm", "x,a.weight,a.bias", "p");
    node("Gemm", "p,b.weight,b.bias", "y");
    struct ir_graph *g = import();
    if (!g) fail_msg("%s", said);
    assert_int_equal(boundary(g, "a.bias")->role, IR_ROLE_PARAM);
    assert_int_equal(boundary(g, "b.bias")->role, IR_ROLE_PARAM);
}

// as_strided of everything in order, with a dynamic batch.
static void numbers(int64_t first) {
    INPUT("x", 0, 3, 1, 1);
    OUTPUT("y", 0, 3, 1);
    const struct {
        const char *name;
        int64_t v;
    } scalars[] = {{"from", 0}, {"by", 1}, {"row", 3}};
    for (size_t i = 0; i < 3; i++) {
        struct str s = tensor_of(scalars[i].name, 7, 0, NULL, &scalars[i].v, 8);
        sub(&graph, 5, &s);
    }
    INTS("all", -1);
    INTS("behind", 1, 2);
    struct str each = tensor_of("each", 7, 3, (int64_t[3]){1, 3, 1}, (int64_t[3]){first, 1, 2}, 24);
    sub(&graph, 5, &each);
    node("Reshape", "x,all", "flat");
    node("Shape", "x", "s");
    node("Gather", "s,from", "N");
    node("Range", "from,N,by", "n");
    node("Mul", "n,row", "start");
    node("Unsqueeze", "start,behind", "column");
    node("Add", "column,each", "at");
    node("Gather", "flat,at", "y");
}

static void test_sample_numbers(void **state) {
    (void)state;
    numbers(0);
    struct ir_graph *g = import();
    if (!g) fail_msg("%s", said);
    ASSERT_DIMS(g, "y", IR_N, 3, 1);
    assert_int_equal(count(g, IR_OP_gather), 0);
    numbers(1); // not in order
    REFUSED("only for views of the whole batch in order");
}

// TensorFlow's padding, computed in floats; masks written by slices; a table of relative positions; running sums.
static void test_known_tables(void **state) {
    (void)state;
    INPUT("x", 0, 3, 5, 5);
    OUTPUT("y", 0, 3, 6, 5);
    INTS("two", 2);
    INTS("one", 1);
    INTS("six", 6);
    node("Shape", "x", "s");
    node("Gather", "s,two", "h"); // [5]
    node("Sub", "six,h", "d");
    attr_i("to", 1);
    node("Cast", "d", "f");
    filled("zero", 0, 0, NULL);
    node("Clip", "f,zero", "g");
    attr_i("to", 7);
    node("Cast", "g", "extra"); // [1]
    INTS("eight", 0, 0, 0, 0, 0, 0, 0, 0);
    struct str where = tensor_of("where", 7, 2, (int64_t[2]){1, 1}, (int64_t[1]){-2}, 8);
    sub(&graph, 5, &where);
    node("ScatterND", "eight,where,extra", "pads"); // one row below
    node("Pad", "x,pads", "y");
    struct ir_graph *g = import();
    if (!g) fail_msg("%s", said);
    ASSERT_DIMS(g, "y", IR_N, 3, 6, 5);

    INPUT("x", 0, 3, 4);
    OUTPUT("y", 0, 3, 4);
    WEIGHT("table", 2, 5, 4);
    struct str at = tensor_of("at", 7, 2, (int64_t[2]){3, 2}, (int64_t[6]){0, 4, 1, -1, 1, 0}, 48);
    sub(&graph, 5, &at);
    INTS("axis", 1);
    node("GatherND", "table,at", "t"); // [3, 4]
    node("Add", "x,t", "z");
    node("CumSum", "z,axis", "y");
    g = import();
    if (!g) fail_msg("%s", said);
    ASSERT_DIMS(g, "y", IR_N, 3, 4);
    assert_int_equal(count(g, IR_OP_gather), 1);

    INPUT("x", 0, 4);
    OUTPUT("y", 0, 4);
    struct str cell = tensor_of("cell", 7, 2, (int64_t[2]){1, 1}, (int64_t[1]){0}, 8);
    sub(&graph, 5, &cell);
    WEIGHT("row", 1, 4);
    node("ScatterND", "x,cell,row", "y");
    REFUSED("it assigns to parts of a computed tensor");
}

static void test_baked_batch(void **state) {
    (void)state;
    INPUT("x", 2, 6);
    OUTPUT("y", 4, 3);
    OUTPUT("z", 2, 7);
    WEIGHT("token", 1, 1);
    INTS("to", 4, 3);
    INTS("each", 2, 1);
    node("Reshape", "x,to", "y");
    node("Expand", "token,each", "t");
    attr_i("axis", 1);
    node("Concat", "t,x", "z");
    struct ir_graph *g = import();
    assert_non_null(g);
    ASSERT_DIMS(g, "y", -2, 3);
    ASSERT_DIMS(g, "z", IR_N, 7);
}

static void test_constant_branch(void **state) {
    (void)state;
    INPUT("x", 0, 4);
    OUTPUT("y", 0, 4);
    INTS("four", 4);
    INTS("one", 1);
    node("Shape", "x", "s");
    node("Gather", "s,one", "c");
    node("Equal", "c,four", "is4");
    struct str yes = STR_INIT, no = STR_INIT, n, v = STR_INIT;
    n = node_bytes(NULL, "Relu", "x", "a");
    sub(&yes, 1, &n);
    txt(&v, 1, "a");
    sub(&yes, 12, &v);
    n = node_bytes(NULL, "NotAnOperator", "x", "b");
    sub(&no, 1, &n);
    v = (struct str)STR_INIT;
    txt(&v, 1, "b");
    sub(&no, 12, &v);
    attr_graph("then_branch", &yes);
    attr_graph("else_branch", &no);
    node("If", "is4", "y");
    struct ir_graph *g = import();
    assert_non_null(g);
    assert_int_equal(count(g, IR_OP_relu), 1);
}

static void test_sequences(void **state) {
    (void)state;
    INPUT("x", 0, 6);
    OUTPUT("y", 0, 3);
    int64_t three = 3, second = 1;
    struct str t = tensor_of("three", 7, 0, NULL, &three, 8);
    sub(&graph, 5, &t);
    t = tensor_of("second", 7, 0, NULL, &second, 8);
    sub(&graph, 5, &t);
    attr_i("axis", 1);
    node("SplitToSequence", "x,three", "parts");
    node("SequenceAt", "parts,second", "p");
    node("Identity", "p", "q");
    node("CastLike", "q,x", "r");
    node("Neg", "r", "y");
    struct ir_graph *g = import();
    assert_non_null(g);
    ASSERT_DIMS(g, "y", IR_N, 3);
    assert_int_equal(count(g, IR_OP_slice), 2); // the unused one goes with dead code
}

static void test_function(void **state) {
    (void)state;
    INPUT("x", 0, 6);
    OUTPUT("y", 0, 6);
    struct str n = node_bytes("lib", "Twice", "x", "y");
    sub(&graph, 1, &n);
    struct str f = STR_INIT;
    txt(&f, 1, "Twice");
    txt(&f, 4, "a");
    txt(&f, 5, "b");
    n = node_bytes(NULL, "Add", "a,a", "b");
    sub(&f, 7, &n);
    txt(&f, 10, "lib");
    sub(&functions, 25, &f);
    struct ir_graph *g = import();
    assert_non_null(g);
    assert_int_equal(count(g, IR_OP_add), 1);
}

static void test_unsorted(void **state) {
    (void)state;
    INPUT("x", 0, 6);
    OUTPUT("y", 0, 6);
    node("Exp", "a", "y");
    node("Relu", "x", "a");
    struct ir_graph *g = import();
    assert_non_null(g);
    assert_int_equal(g->nodes[0].op, IR_OP_relu);
}

static void test_shape_option(void **state) {
    (void)state;
    INPUT("x", 0, 3, -2, -2);
    OUTPUT("y", 0, 3, -2, -2);
    node("Relu", "x", "y");
    assert_null(import());
    says("--shape x=N,3,224,224");
    fe_close(model);
    struct fe_shape s = {.input = "x", .rank = 4, .dims = {IR_N, 3, 16, 20}};
    struct ir_graph *g = load(&(struct fe_options){.shapes = &s, .n_shapes = 1});
    assert_non_null(g);
    ASSERT_DIMS(g, "y", IR_N, 3, 16, 20);
}

// An exporter stored zeros once, for a bias and for a statistic.
static void test_merged_initializers(void **state) {
    (void)state;
    INPUT("x", 0, 4, 2, 2);
    OUTPUT("y", 0, 4, 2, 2);
    WEIGHT("ones", 4);
    WEIGHT("zeros", 4);
    node("BatchNormalization", "x,ones,zeros,zeros,ones", "y");
    struct ir_graph *g = import();
    assert_non_null(g);
    assert_int_equal(boundary(g, "y.weight")->role, IR_ROLE_PARAM);
    assert_int_equal(boundary(g, "y.running_mean")->role, IR_ROLE_BUFFER);
}

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
    fe_close(model);
    INPUT("x", 0, 6);
    OUTPUT("y", 6, 0);
    attr_ints("perm", DIMS(1, 0));
    node("Transpose", "x", "y");
    REFUSED("batch");
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

static void floats(const char *name, int rank, const int64_t *dims, const float *v) {
    size_t n = 1;
    for (int i = 0; i < rank; i++) n *= (size_t)dims[i];
    struct str t = tensor_of(name, 1, rank, dims, v, n * sizeof *v);
    sub(&graph, 5, &t);
}

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

// --- export

static void test_export(void **state) {
    (void)state;
    cnn();
    struct ir_graph *g = import();
    assert_non_null(g);
    size_t size, n = 0;
    void *skeleton = fe_skeleton(model, &arena, &size);
    struct fe_tensor t[16];
    for (size_t i = 0; i < g->n_boundary; i++) {
        const struct ir_value *v = &g->values[g->boundary[i]];
        if (v->role != IR_ROLE_PARAM && v->role != IR_ROLE_BUFFER) continue;
        t[n] = (struct fe_tensor){.name = v->name, .rank = v->type.rank, .data = v->data};
        memcpy(t[n++].dims, v->type.dims, sizeof t->dims);
    }
    float fresh[5] = {9, 8, 7, 6, 5};
    for (size_t i = 0; i < n; i++)
        if (!strcmp(t[i].name, "b")) t[i].data = fresh;
    struct fe_meta meta[] = {{"classes", "5"}};
    char out[96];
    snprintf(out, sizeof out, "%s/out.onnx", dir);
    assert_int_equal(fe_export(skeleton, size, t, n, meta, 1, false, out, &diag), SMKD_OK);
    diag = (struct diag){.sink = listen};
    struct fe_model *back = fe_open(&arena, &diag, out);
    assert_non_null(back);
    struct ir_graph *h = fe_import(back, &arena, &diag, NULL);
    assert_non_null(h);
    assert_memory_equal(boundary(h, "b")->data, fresh, sizeof fresh);
    assert_memory_equal(boundary(h, "w")->data, boundary(g, "w")->data, 4 * 27 * 4);
    assert_int_equal(h->n_nodes, g->n_nodes);
    fe_close(back);
    unlink(out);
    said[0] = 0;
    assert_int_equal(fe_export(skeleton, size, t, n - 1, NULL, 0, false, out, &diag), SMKD_MISMATCH);
    says("the weights lack");
    assert_int_not_equal(access(out, F_OK), 0);
    snprintf(out, sizeof out, "%s/nowhere/out.onnx", dir);
    assert_int_equal(fe_export(skeleton, size, t, n, NULL, 0, false, out, &diag), SMKD_IO);
    assert_int_equal(fe_export(skeleton, size / 2, t, n, NULL, 0, false, out, &diag), SMKD_INVALID);
}

// What only training needs, or nobody, is not in the exported file.
static void test_export_prunes(void **state) {
    (void)state;
    INPUT("x", 0, 3);
    OUTPUT("y", 0, 3);
    WEIGHT("used", 3);
    WEIGHT("unused", 3);
    WEIGHT("ratio", 1);
    INTS("one", 1);
    node("Add", "x,used", "sum");
    node("Neg", "sum", "nobody");
    node("Equal", "one,one", "training");
    node("Dropout", "sum,,training", "y");
    assert_non_null(import());
    size_t size;
    void *skeleton = fe_skeleton(model, &arena, &size);
    float ones[3] = {1, 1, 1};
    struct fe_tensor t = {.name = "used", .rank = 1, .dims = {3}, .data = ones};
    char out[96];
    snprintf(out, sizeof out, "%s/out.onnx", dir);
    assert_int_equal(fe_export(skeleton, size, &t, 1, NULL, 0, false, out, &diag), SMKD_OK);
    const void *bytes;
    size_t n;
    assert_int_equal(io_map(out, &bytes, &n), SMKD_OK);
    static const struct {
        const char *name;
        bool there;
    } expected[] = {{"used", true},   {"sum", true},     {"unused", false},
                    {"ratio", false}, {"nobody", false}, {"training", false}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        char field[16]; // a string field: its length in front
        size_t len = (size_t)snprintf(field, sizeof field, "%c%s", (int)strlen(expected[i].name), expected[i].name);
        bool there = false;
        for (size_t at = 0; at + len <= n; at++) there |= !memcmp((const char *)bytes + at, field, len);
        if (there != expected[i].there) fail_msg("%s is %sthere", expected[i].name, there ? "" : "not ");
    }
    io_unmap(bytes, n);
    unlink(out);
}

// --- what is a parameter

static void constant_node(const char *name, int rank, const int64_t *dims, const float *v) {
    size_t n = 1;
    for (int i = 0; i < rank; i++) n *= (size_t)dims[i];
    struct str a = STR_INIT, t = tensor_of(NULL, 1, rank, dims, v, n * sizeof *v);
    txt(&a, 1, "value");
    sub(&a, 5, &t);
    num(&a, 20, 4);
    sub(&attrs, 5, &a);
    node("Constant", "", name);
}
// What PyTorch's default exporter says about a tensor.
static void mark(const char *name, const char *key, const char *value) {
    struct str v = STR_INIT, e = STR_INIT;
    txt(&e, 1, key);
    txt(&e, 2, value);
    txt(&v, 1, name);
    sub(&v, 4, &e);
    sub(&graph, 13, &v);
}
#define KIND "pkg.torch.export.graph_signature.InputSpec.kind"

// The rule that decided, with a + in front where the tensor is trained; NULL: none did.
static const char *decision(const char *name) {
    size_t n;
    const struct fe_decision *d = fe_decisions(model, &n);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(d[i].name, name)) return arena_printf(&arena, "%s%s", d[i].trained ? "+" : "", d[i].why);
    return NULL;
}
static void decided(const char *name, const char *want) {
    const char *got = decision(name);
    if (!got || strcmp(got, want)) fail_msg("%s: \"%s\", expected \"%s\"; %s", name, got ? got : "", want, said);
}
static size_t params(const struct ir_graph *g) {
    size_t n = 0;
    for (size_t i = 0; i < g->n_boundary; i++) n += g->values[g->boundary[i]].role == IR_ROLE_PARAM;
    return n;
}

// A Constant node and an initializer mean the same, whatever their shape.
static void numbers_of_a_norm(void (*put)(const char *name, int rank, const int64_t *dims, const float *v)) {
    const float gamma[4] = {1, 2, 3, 4}, matrix[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    INPUT("x", 0, 4);
    OUTPUT("y", 0, 2);
    put("two", 1, (int64_t[]){1}, &(float){2});
    put("eps", 1, (int64_t[]){1}, &(float){1e-6f});
    put("floor", 0, NULL, &(float){1e-12f});
    put("half", 0, NULL, &(float){0.5f});
    put("gate", 1, (int64_t[]){1}, &(float){0.5f});
    put("g", 1, (int64_t[]){4}, gamma);
    put("w", 2, (int64_t[]){4, 2}, matrix);
    put("bias", 1, (int64_t[]){1}, &(float){0});
    put("temperature", 0, NULL, &(float){0});
    node("Pow", "x,two", "p");
    attr_ints("axes", DIMS(1));
    node("ReduceMean", "p", "v");
    node("Add", "v,eps", "e");
    node("Sqrt", "e", "r");
    node("Max", "r,floor", "m");
    node("Div", "x,m", "n");
    node("Mul", "n,g", "o");
    node("Mul", "o,half", "h");
    node("Mul", "h,gate", "i");
    node("MatMul", "i,w", "q");
    node("Add", "q,bias", "s");
    node("Exp", "temperature", "t");
    node("Mul", "s,t", "y");
}
static void test_constant_is_initializer(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        numbers_of_a_norm(k ? constant_node : floats);
        struct ir_graph *g = import();
        assert_non_null(g);
        decided("two", "an exponent");
        decided("eps", "an epsilon");
        decided("floor", "a floor or a ceiling");
        decided("half", "a bare number");
        decided("gate", "+named as a learned number");
        decided("g", "+computes with data");
        decided("w", "+a weight of an operator");
        decided("bias", "+a weight of an operator");
        decided("temperature", "+a weight of an operator");
        assert_int_equal(params(g), 5);
        assert_memory_equal(boundary(g, "g")->data, ((float[]){1, 2, 3, 4}), 16);
    }
}

// A scale in the arithmetic of shapes is a number, in whatever form; so are bounds, conditions and what is padded with.
static void test_attributes_in_spirit(void **state) {
    (void)state;
    INPUT("x", 0, 3, 4, 4);
    OUTPUT("y", 0, 3, 10, 10);
    floats("scale", 1, (int64_t[]){1}, &(float){2});
    floats("low", 1, (int64_t[]){1}, &(float){-1});
    floats("threshold", DIMS(3, 1, 1), (float[]){1, 2, 3});
    floats("fill", 0, NULL, &(float){0});
    floats("other", 1, (int64_t[]){1}, &(float){0});
    WEIGHT("w", 3, 1, 1);
    INTS("two", 2);
    INTS("four", 4);
    INTS("zero", 0);
    INTS("pads", 0, 0, 1, 1, 0, 0, 1, 1);
    node("Shape", "x", "sh");
    node("Slice", "sh,two,four,zero", "hw");
    attr_i("to", 1);
    node("Cast", "hw", "hf");
    node("Mul", "hf,scale", "hm");
    node("Floor", "hm", "hl");
    attr_i("to", 7);
    node("Cast", "hl", "hi");
    node("Slice", "sh,zero,two,zero", "nc");
    attr_i("axis", 0);
    node("Concat", "nc,hi", "z");
    attr_s("mode", "nearest");
    node("Resize", "x,,,z", "u");
    node("Clip", "u,low", "c");
    node("Less", "c,threshold", "l");
    node("Mul", "c,w", "cw");
    node("Where", "l,other,cw", "r");
    node("Pad", "r,pads,fill", "y");
    struct ir_graph *g = import();
    if (!g) fail_msg("%s", said);
    decided("scale", "only decides shapes");
    decided("low", "a bound of Clip");
    decided("threshold", "only enters conditions");
    decided("fill", "fills what is padded");
    decided("other", "fills what a condition leaves out");
    assert_int_equal(params(g), 1);
}

// What an exporter says counts for more than what the operators do.
static void test_marks(void **state) {
    (void)state;
    INPUT("x", 0, 4);
    OUTPUT("y", 0, 4);
    WEIGHT("table", 4);
    WEIGHT("buffer", 4, 4);
    WEIGHT("lifted", 4);
    WEIGHT("positions", 4);
    WEIGHT("slopes", 4);
    WEIGHT("val_3", 4);
    WEIGHT("conv.bias", 4);
    struct str t = tensor_of("said", 1, DIMS(4), (float[4]){1}, 16), e = STR_INIT; // the initializer has it itself
    txt(&e, 1, KIND);
    txt(&e, 2, "BUFFER");
    sub(&t, 16, &e);
    sub(&graph, 5, &t);
    floats("exponent", 1, (int64_t[]){1}, &(float){3});
    mark("table", KIND, "PARAMETER");
    mark("exponent", KIND, "PARAMETER");
    mark("buffer", KIND, "BUFFER");
    mark("lifted", KIND, "CONSTANT_TENSOR");
    mark("positions", "pkg.onnxscript.optimizer.folded_from", "['arange_1', 'val_7']");
    mark("slopes", "pkg.onnxscript.optimizer.folded_from", "['layer.weight', 'val_7']");
    node("Add", "x,table", "a");
    node("MatMul", "a,buffer", "b");
    node("Mul", "b,lifted", "c");
    node("Add", "c,positions", "d");
    node("Mul", "d,slopes", "e");
    node("Mul", "e,val_3", "f");
    node("Pow", "f,exponent", "h");
    node("Add", "h,conv.bias", "i");
    node("Add", "i,said", "y");
    struct ir_graph *g = import();
    assert_non_null(g);
    decided("table", "+marked as a parameter by the exporter");
    decided("exponent", "+marked as a parameter by the exporter");
    decided("buffer", "marked as a buffer by the exporter");
    decided("said", "marked as a buffer by the exporter");
    decided("lifted", "marked as a constant by the exporter");
    decided("positions", "computed from constants by the exporter");
    decided("slopes", "+computes with data");
    decided("val_3", "named as a constant by the exporter");
    decided("conv.bias", "+computes with data");
    assert_int_equal(params(g), 4);
}

// TorchScript names constants; weights that all have such names are those of a frozen module.
static void test_torchscript_names(void **state) {
    (void)state;
    for (int frozen = 0; frozen < 2; frozen++) {
        INPUT("x", 0, 4);
        OUTPUT("y", 0, 4);
        const char *w = frozen ? "/fc/Constant_1_output_0" : "fc.weight";
        WEIGHT(w, 4, 4);
        constant_node("/Constant_output_0", DIMS(4, 4), (float[16]){1});
        node("MatMul", frozen ? "x,/fc/Constant_1_output_0" : "x,fc.weight", "a");
        node("MatMul", "a,/Constant_output_0", "y");
        assert_non_null(import());
        decided(w, "+a weight of an operator");
        decided("/Constant_output_0", frozen ? "+a weight of an operator" : "named as a constant by the exporter");
    }
}

// Filters, masks, and the mean and deviation of the input; and what looks like one but can be learned.
static void test_constants_by_role(void **state) {
    (void)state;
    INPUT("x", 0, 2, 8, 8);
    OUTPUT("y", 0, 2, 4, 4);
    const float blur[9] = {1, 2, 1, 2, 4, 2, 1, 2, 1}, one_tap[9] = {0, 0, 0, 0, 1, 0, 0, 0, 0};
    float blurs[18], taps[18], mask[16] = {0};
    for (int i = 0; i < 18; i++) blurs[i] = blur[i % 9] / 16, taps[i] = one_tap[i % 9];
    for (int i = 0; i < 16; i++) mask[i] = i % 4 > i / 4 ? -1e9f : 0;
    floats("mean", DIMS(2, 1, 1), (float[]){0.5f, 0.4f});
    floats("inverse", DIMS(1, 2, 1, 1), (float[]){4, 5});
    floats("blur", DIMS(2, 1, 3, 3), blurs);
    floats("taps", DIMS(2, 1, 3, 3), taps);
    floats("mask", DIMS(4, 4), mask);
    floats("square", DIMS(4, 4), (float[16]){0});
    WEIGHT("scale", 2, 1, 1);
    node("Sub", "x,mean", "a");
    node("Mul", "a,inverse", "b");
    attr_i("group", 2);
    node("Conv", "b,blur", "c");
    attr_i("group", 2);
    node("Conv", "c,taps", "d");
    node("Add", "d,mask", "e");
    node("Add", "e,square", "f");
    node("Mul", "f,scale", "y");
    struct ir_graph *g = import();
    if (!g) fail_msg("%s", said);
    decided("mean", "normalises the input");
    decided("inverse", "normalises the input");
    decided("blur", "a resampling filter");
    decided("taps", "+a weight of an operator");
    decided("mask", "a mask");
    decided("square", "+computes with data");
    decided("scale", "+computes with data");
    assert_int_equal(params(g), 3);
}

// What exporters spell out: GELU in both forms, attention, means. A number that is part of no formula can be learned.
static void test_numbers_of_formulas(void **state) {
    (void)state;
    static const struct {
        const char *name;
        float v;
    } numbers[] = {{"root", 1.4142135f},  {"one", 1},     {"half", 0.5f},  {"cubic", 0.044715f}, {"three", 3},
                   {"inner", 0.7978846f}, {"one_", 1},    {"half_", 0.5f}, {"scale", 0.5f},      {"large", -10000},
                   {"count", 4},          {"gate", 0.5f}, {"shift", 0.1f}};
    INPUT("x", 0, 4, 4);
    OUTPUT("y", 0, 4, 1);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        floats(numbers[i].name, 1, (int64_t[]){1}, &numbers[i].v);
    WEIGHT("w", 4, 4);
    WEIGHT("u", 4, 4);
    floats("mask", DIMS(4, 4), (float[16]){1, 0, 0, 1});
    node("MatMul", "x,w", "q");
    node("Div", "q,root", "a"); // GELU by erf
    node("Erf", "a", "b");
    node("Add", "b,one", "c");
    node("Mul", "q,c", "d");
    node("Mul", "d,half", "e");
    node("Pow", "e,three", "f"); // and by tanh
    node("Mul", "f,cubic", "g");
    node("Add", "e,g", "h");
    node("Mul", "h,inner", "i");
    node("Tanh", "i", "j");
    node("Add", "j,one_", "k");
    node("Mul", "e,half_", "l");
    node("Mul", "l,k", "m");
    attr_ints("perm", DIMS(0, 2, 1));
    node("Transpose", "m", "t");
    node("MatMul", "m,t", "s"); // attention under a mask
    node("Mul", "s,scale", "n");
    node("Sub", "one,mask", "o");
    node("Mul", "o,large", "p");
    node("Add", "n,p", "r");
    attr_i("axis", -1);
    node("Softmax", "r", "v");
    node("MatMul", "v,u", "z");
    node("Mul", "z,gate", "z1");
    node("Add", "z1,shift", "z2");
    INTS("axes", 2);
    node("ReduceSum", "z2,axes", "z3");
    node("Div", "z3,count", "y");
    struct ir_graph *g = import();
    if (!g) fail_msg("%s", said);
    decided("three", "an exponent");
    decided("mask", "a mask");
    decided("large", "a mask");
    static const char *const formula[] = {"root", "one", "half", "cubic", "inner", "one_", "half_", "scale", "count"};
    for (size_t i = 0; i < sizeof formula / sizeof *formula; i++) decided(formula[i], "a number of a formula");
    decided("gate", "+named as a learned number");
    decided("shift", "+computes with data");
    assert_int_equal(params(g), 4);
}

static void test_command_line(void **state) {
    (void)state;
    cnn();
    struct str m = finish();
    write_bytes(m.s, m.len);
    str_release(&m);
    const char *constants[] = {"fc", "be*"}, *only[] = {"fc", "b"}, *none[] = {"gama"};
    struct ir_graph *g = load(&(struct fe_options){.constants = constants, .n_constants = 2});
    assert_non_null(g);
    decided("fc", "--constant names it");
    decided("beta", "--constant names it");
    assert_int_equal(params(g), 3);
    g = load(&(struct fe_options){.train_only = only, .n_train_only = 2});
    assert_non_null(g);
    decided("b", "+--train-only names it");
    decided("w", "--train-only does not name it");
    assert_int_equal(params(g), 2);
    says("1 of 1 BatchNormalization nodes stay frozen (0 have training_mode 0 beside others at 1, 1 by the command");
    only[0] = "gamma"; // a norm that learns goes on with its statistics
    g = load(&(struct fe_options){.train_only = only, .n_train_only = 2});
    assert_non_null(g);
    assert_null(strstr(said, "frozen"));
    assert_null(load(&(struct fe_options){.train_only = none, .n_train_only = 1}));
    says("--train-only gama: no float tensor of the model has such a name; it has \"gamma\"");
    numbers_of_a_norm(floats);
    m = finish();
    write_bytes(m.s, m.len);
    str_release(&m);
    const char *two[] = {"two"};
    g = load(&(struct fe_options){.train_only = two, .n_train_only = 1});
    assert_non_null(g);
    decided("two", "+--train-only names it");
}

// One norm of two was in inference form: it stays there, and what it learns does not change its statistics.
static void test_frozen_norm(void **state) {
    (void)state;
    for (int both = 0; both < 2; both++) {
        INPUT("x", 0, 4, 3, 3);
        OUTPUT("y", 0, 4, 3, 3);
        const char *const names[] = {"s", "b", "m", "v", "t", "u", "n", "w"};
        for (int i = 0; i < 8; i++) filled(names[i], (float)(1 + i), DIMS(4));
        attr_i("training_mode", 0);
        node("BatchNormalization", "x,s,b,m,v", "z");
        attr_i("training_mode", both);
        node("BatchNormalization", "z,t,u,n,w", both ? "y,p,q" : "y");
        struct ir_graph *g = import();
        assert_non_null(g);
        assert_int_equal(params(g), 4);
        assert_int_equal(boundary(g, "m")->role, IR_ROLE_BUFFER);
        size_t norms = 0, updated = 0, frozen;
        for (size_t i = 0; i < g->n_nodes; i++)
            if (g->nodes[i].op == IR_OP_batch_norm)
                assert_int_equal(ir_attr_i(&g->nodes[i], "training"), both && norms++ == 0 ? 0 : -1);
        for (size_t i = 0; i < g->n_outputs; i++) updated += g->outputs[i].kind == IR_OUT_BUFFER;
        assert_int_equal(updated, both ? 2 : 4);
        assert_int_equal(fe_norms(model, &frozen), 2);
        assert_int_equal(frozen, both);
    }
}

// Half-precision weights: the model is float32 as a whole, and so is what is exported.
static void test_raised(void **state) {
    (void)state;
    const uint16_t half[3] = {0x3c00, 0xc000, 0x3555}; // 1, -2, a third
    INPUT("x", 0, 3);
    OUTPUT("y", 0, 3);
    struct str t = tensor_of("w", 10, 1, (int64_t[]){3}, half, sizeof half);
    sub(&graph, 5, &t);
    t = tensor_of("c", 10, 1, (int64_t[]){3}, half, sizeof half);
    sub(&graph, 5, &t);
    mark("w", KIND, "PARAMETER");
    mark("c", KIND, "BUFFER");
    attr_i("to", 10);
    node("Cast", "x", "h");
    node("Mul", "h,w", "m");
    node("Add", "m,c", "y");
    struct ir_graph *g = import();
    assert_non_null(g);
    says("1 weights (3 numbers) are FLOAT16 and are trained as float32");
    const float *w = boundary(g, "w")->data;
    assert_true(w[0] == 1 && w[1] == -2 && w[2] > 0.333f && w[2] < 0.3334f);
    size_t size;
    void *skeleton = fe_skeleton(model, &arena, &size);
    char out[96];
    snprintf(out, sizeof out, "%s/out.onnx", dir);
    struct fe_tensor trained = {.name = "w", .rank = 1, .dims = {3}, .data = w};
    assert_int_equal(fe_export(skeleton, size, &trained, 1, NULL, 0, false, out, &diag), SMKD_OK);
    fe_close(model);
    said[0] = 0;
    model = fe_open(&arena, &diag, out);
    assert_non_null(model);
    g = fe_import(model, &arena, &diag, NULL);
    assert_non_null(g);
    assert_string_equal(said, ""); // nothing is half any more, and the marks are still there
    decided("c", "marked as a buffer by the exporter");
    assert_int_equal(params(g), 1);
    unlink(out);
}

// x [N,4] -> z [N,10] -> y, with what the file says of z and y.
static void declared(int z_rank, const int64_t *z, int y_rank, const int64_t *y) {
    INPUT("x", 0, 4);
    WEIGHT("w", 4, 10);
    node("MatMul", "x,w", "z");
    node("Relu", "z", "y");
    if (z) io(13, "z", z_rank, z);
    io(12, "y", y_rank, y);
}

static void test_declared(void **state) {
    (void)state;
    static const struct {
        int z_rank;
        int64_t z[3];
        int y_rank;
        int64_t y[3];
        const char *says; // NULL: nothing
    } rows[] = {
        {2, {0, 10}, 2, {0, 10}, NULL},
        {2, {-2, -2}, 2, {0, -2}, NULL},
        {2, {3, 10}, 2, {3, 10}, NULL}, // traced with a batch of 3
        {2, {0, 10}, 2, {0, 7}, "node \"y\" (Relu): the file declares \"y\" as f32[N,7], computed is f32[N,10]"},
        {2, {0, 9}, 2, {0, 10}, "node \"z\" (MatMul): the file declares \"z\" as f32[N,9], computed is f32[N,10]"},
        {2, {0, 9}, 2, {0, 7}, "\"z\" as f32[N,9], computed is f32[N,10] (and 1 more values with another size)"},
        {3, {0, 10, 1}, 2, {0, 10}, "declares \"z\" as f32[N,10,1], computed is f32[N,10]"},
        {2, {3, 10}, 2, {5, 10}, "declares \"y\" as f32[5,10]"}, // traced with 3 and with 5
        {2, {0, 10}, 2, {0, 0}, "declares \"y\" as f32[N,N]"},   // N is no 10
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        declared(rows[i].z_rank, rows[i].z, rows[i].y_rank, rows[i].y);
        assert_non_null(import());
        if (!rows[i].says && said[0]) fail_msg("row %zu: %s", i, said);
        if (rows[i].says) says(rows[i].says);
        assert_int_equal(diag.errors, 0);
    }
    // A type, too; and a value of a name that nothing makes is none.
    INPUT("x", 0, 4);
    node("Shape", "x", "s");
    node("Relu", "x", "y");
    OUTPUT("y", 0, 4);
    OUTPUT("s", 2);
    io(13, "nowhere", DIMS(0, 99));
    assert_non_null(import());
    says("declares \"s\" as f32[2], computed is i64[2]");
    assert_null(strstr(said, "nowhere"));
}

static void test_declared_batch(void **state) {
    (void)state;
    // A fixed batch of 2: 2k rows are kN, others are not.
    INPUT("x", 2, 4);
    INTS("shape", -1, 2);
    node("Reshape", "x,shape", "z");
    node("Relu", "z", "y");
    io(13, "z", DIMS(4, 2));
    OUTPUT("y", 6, 2);
    assert_non_null(import());
    says("declares \"y\" as f32[6,2], computed is f32[2N,2]");
    assert_null(strstr(said, "\"z\""));
    // Inputs of several: all of them are read as the batch, which is said.
    INPUT("x", 2, 4);
    INPUT("v", 3, 4);
    node("Add", "x,v", "y");
    OUTPUT("y", 2, 4);
    assert_non_null(import());
    says("input \"v\" has 3 rows in the file, \"x\" has 2");
    // A mean of everything may be declared [1]; with --shape, sizes that follow from the overridden one say nothing.
    INPUT("x", 0, 4);
    attr_i("keepdims", 0);
    node("ReduceMean", "x", "y");
    OUTPUT("y", 1);
    assert_non_null(import());
    assert_string_equal(said, "");
    INPUT("x", 0, 1, 8, 8);
    WEIGHT("w", 2, 1, 3, 3);
    node("Conv", "x,w", "y");
    OUTPUT("y", 0, 2, 6, 6);
    assert_non_null(import());
    assert_string_equal(said, "");
    const struct fe_shape wider = {"x", 4, {IR_N, 1, 16, 16}};
    assert_non_null(load(&(struct fe_options){.shapes = &wider, .n_shapes = 1}));
    assert_string_equal(said, "");
}

static void named(int field, const char *name, const char *first, const char *second) {
    struct str shape = STR_INIT, tensor = STR_INIT, type = STR_INIT, v = STR_INIT;
    const char *dims[] = {first, second};
    for (int i = 0; i < 2; i++) {
        struct str d = STR_INIT;
        txt(&d, 2, dims[i]);
        sub(&shape, 1, &d);
    }
    num(&tensor, 1, 1);
    sub(&tensor, 2, &shape);
    sub(&type, 1, &tensor);
    txt(&v, 1, name);
    sub(&v, 2, &type);
    sub(&graph, field, &v);
}

static void test_declared_names(void **state) {
    (void)state;
    // The same name is the same number; "?" is none, and one seen for the first time means what is computed.
    static const struct {
        const char *a, *b, *says;
    } rows[] = {{"N", "C", NULL},
                {"batch", "C", NULL},
                {"N", "?", NULL},
                {"C", "C", "declares \"y\" as f32[C,C], computed is f32[N,6]"},
                {"N", "N", "declares \"y\" as f32[N,N], computed is f32[N,6]"}};
    const struct fe_shape six = {"x", 2, {IR_N, 6}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        named(11, "x", "N", "C");
        node("Relu", "x", "y");
        named(12, "y", rows[i].a, rows[i].b);
        import(); // writes the file, and has no size for C
        assert_non_null(load(&(struct fe_options){.shapes = &six, .n_shapes = 1}));
        if (!rows[i].says && said[0]) fail_msg("row %zu: %s", i, said);
        if (rows[i].says) says(rows[i].says);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(test_cnn),
        T(test_pad_conv),
        T(test_batch_moved),
        T(test_sequence_first),
        T(test_shape_arithmetic),
        T(test_baked_batch),
        T(test_baked_token),
        T(test_merged_biases),
        T(test_known_tables),
        T(test_named_merge),
        T(test_sample_numbers),
        T(test_images_of_no_batch),
        T(test_constant_branch),
        T(test_sequences),
        T(test_function),
        T(test_unsorted),
        T(test_shape_option),
        T(test_merged_initializers),
        T(test_declared),
        T(test_declared_batch),
        T(test_declared_names),
        T(test_truncated),
        T(test_text),
        T(test_all_unsupported),
        T(test_names),
        T(test_shapes),
        T(test_external_data),
        T(test_bounds),
        T(test_tensor_size),
        T(test_attributes),
        T(test_hostile_ints),
        T(test_hostile_pairs),
        T(test_hostile_floats),
        T(test_folds),
        T(test_export),
        T(test_export_prunes),
        T(test_constant_is_initializer),
        T(test_attributes_in_spirit),
        T(test_marks),
        T(test_torchscript_names),
        T(test_constants_by_role),
        T(test_numbers_of_formulas),
        T(test_command_line),
        T(test_frozen_norm),
        T(test_raised),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
