// The importer on small files written here, byte by byte: what it makes of good ones, what they say of themselves, and
// what is exported.
#include "../../frontend/functions.h"
#include "import.h"

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

    qkv(); // what cannot read such a value says so
    OUTPUT("y", 3, 0, 2, 4, 5);
    attr_i("block_size", 1);
    node("DepthToSpace", "p", "y");
    REFUSED("an operand has the batch away from the first axis");
    qkv();
    OUTPUT("p", 3, 0, 2, 4, 5);
    g = import(); // an output may have it anywhere: the graph has it first, and the form says how the file has it
    if (!g) fail_msg("%s", said);
    ASSERT_DIMS(g, "p", IR_N, 3, 2, 4, 5);
    size_t n_forms;
    const struct fe_form *form = fe_forms(model, &n_forms);
    assert_int_equal(n_forms, 2);
    assert_string_equal(form[1].name, "p");
    assert_int_equal(form[1].rank, 5);
    assert_int_equal(form[1].outer, 3);
    const int64_t in_file[] = {3, IR_N, 2, 4, 5};
    assert_memory_equal(form[1].dims, in_file, sizeof in_file);
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
    g = import();
    if (!g) fail_msg("%s", said);
    ASSERT_DIMS(g, "y", IR_N, 3, 1);
    assert_int_equal(count(g, IR_OP_gather), 1);
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
    assert_int_equal(count(g, IR_OP_gather_elements), 1);

    INPUT("x", 0, 4); // a sample of the batch
    OUTPUT("y", 0, 4);
    struct str cell = tensor_of("cell", 7, 2, (int64_t[2]){1, 1}, (int64_t[1]){0}, 8);
    sub(&graph, 5, &cell);
    WEIGHT("row", 1, 4);
    node("ScatterND", "x,cell,row", "y");
    g = import();
    if (!g) fail_msg("%s", said);
    ASSERT_DIMS(g, "y", IR_N, 4);
    assert_int_equal(count(g, IR_OP_scatter_elements), 1);

    INPUT("x", 2, 4, 3); // a file of two samples, of which each gets the same column
    OUTPUT("y", 2, 4, 3);
    struct str both = tensor_of("both", 7, 2, (int64_t[2]){2, 2}, (int64_t[4]){0, -1, 1, -1}, 32);
    sub(&graph, 5, &both);
    WEIGHT("column", 2, 3);
    node("ScatterND", "x,both,column", "y");
    REFUSED("it assigns 2 samples of their own");

    INPUT("x", 2, 4, 3);
    OUTPUT("y", 2, 4, 3);
    both = tensor_of("both", 7, 2, (int64_t[2]){2, 2}, (int64_t[4]){0, -1, 1, -1}, 32);
    sub(&graph, 5, &both);
    attr_i("axis", 1);
    INTS("first", 0);
    node("Gather", "x,first", "part"); // [2, 1, 3]
    INTS("to", 2, 3);
    node("Reshape", "part,to", "column");
    node("ScatterND", "x,both,column", "y");
    g = import();
    if (!g) fail_msg("%s", said);
    ASSERT_DIMS(g, "y", IR_N, 4, 3);
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

// An attribute of a function that the call leaves out has the function's default.
static void test_function_default(void **state) {
    (void)state;
    INPUT("x", 0, 6);
    OUTPUT("y", 0, 6);
    struct str n = node_bytes("lib", "Slope", "x", "y");
    sub(&graph, 1, &n);
    struct str f = STR_INIT, of = STR_INIT, def = STR_INIT;
    txt(&f, 1, "Slope");
    txt(&f, 4, "a");
    txt(&f, 5, "b");
    txt(&of, 1, "to"); // Cast<to=@type>
    num(&of, 20, 2);
    txt(&of, 21, "type");
    sub(&attrs, 5, &of);
    n = node_bytes(NULL, "Cast", "a", "b");
    sub(&f, 7, &n);
    txt(&f, 10, "lib");
    txt(&def, 1, "type");
    num(&def, 3, 11); // DOUBLE
    num(&def, 20, 2);
    sub(&f, 11, &def);
    sub(&functions, 25, &f);
    struct ir_graph *g = import();
    assert_non_null(g);
    assert_int_equal(count(g, IR_OP_cast), 1);
}

// Every row of functions.def can be read, whatever operands there are: what cannot ends in a BUG.
static void test_function_texts(void **state) {
    (void)state;
    static const struct {
        const char *domain, *op;
    } rows[] = {
#define FUNCTION(domain, op, since, operands, results, body) {domain, op},
#include "../../frontend/functions.def"
#undef FUNCTION
    };
    struct arena a;
    arena_init(&a);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int all = 0; all < 2; all++) {
            Onnx__NodeProto p;
            onnx__node_proto__init(&p);
            p.domain = arena_strdup(&a, rows[i].domain);
            p.op_type = arena_strdup(&a, rows[i].op);
            p.n_input = 16;
            bool present[16];
            for (size_t k = 0; k < 16; k++) present[k] = all;
            struct fe_builtin b;
            assert_true(fe_builtin(&a, &p, present, &b));
            if (!all) assert_null(b.unmet); // not all operands go together
            assert_true(b.fn->n_node > 0);
        }
    arena_release(&a);
}

// Rows of functions.def: which statements an operand that is there and an attribute's value choose.
static void test_function_rows(void **state) {
    (void)state;
    for (int bias = 0; bias < 2; bias++) {
        INPUT("x", 0, 6);
        WEIGHT("b", 6);
        OUTPUT("y", 0, 6);
        struct str n = node_bytes("com.microsoft", "FastGelu", bias ? "x,b" : "x", "y");
        sub(&graph, 1, &n);
        struct ir_graph *g = import();
        assert_non_null(g);
        assert_int_equal(count(g, IR_OP_tanh), 1);
        bool added = false;
        for (size_t i = 0; i < g->n_nodes; i++)
            added |= g->nodes[i].op == IR_OP_add && g->values[g->nodes[i].in[1]].role == IR_ROLE_PARAM;
        assert_int_equal(added, bias);
    }
    static const struct {
        const char *activation;
        enum ir_op op;
    } made[] = {{"Relu", IR_OP_relu}, {"Tanh", IR_OP_tanh}, {"Nothing", IR_OP_COUNT}};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        INPUT("x", 0, 3, 5, 5);
        WEIGHT("w", 4, 3, 3, 3);
        OUTPUT("y", 0, 4, 3, 3);
        attr_s("activation", made[i].activation);
        struct str n = node_bytes("com.microsoft", "FusedConv", "x,w", "y");
        sub(&graph, 1, &n);
        struct ir_graph *g = import();
        if (made[i].op == IR_OP_COUNT) {
            assert_null(g);
            says("attribute activation has a value that is not supported");
        } else {
            assert_non_null(g);
            assert_int_equal(count(g, made[i].op), 1);
            assert_int_equal(count(g, IR_OP_conv), 1);
            assert_int_equal(g->values[g->nodes[0].in[1]].role, IR_ROLE_PARAM);
        }
    }
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

// --- what a file says of its values

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
    // Inputs of several: what differs from the first is no batch, unless somebody says so; then it is said.
    INPUT("x", 2, 4);
    INPUT("v", 3, 4);
    node("Add", "x,v", "y");
    OUTPUT("y", 2, 4);
    const struct fe_batch_axis first[] = {{"x", 0}, {"v", 0}};
    assert_null(import());
    assert_non_null(load(&(struct fe_options){.batch_axes = first, .n_batch_axes = 2}));
    says("input \"v\" has 3 samples in the file, \"x\" has 2");
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

// Batches are where the file had them, fixed sizes stay where there is none.
static void test_export_forms(void **state) {
    (void)state;
    INPUT("x", 4, 2, 5); // [T,N,C]
    INPUT("scale", 1, 5);
    OUTPUT("y", 4, 2, 5);
    WEIGHT("w", 5);
    node("Mul", "x,scale", "s");
    node("Mul", "s,w", "y");
    import();
    const struct fe_batch_axis second = {"x", 1};
    const char *none = "sc*";
    const struct fe_options o = {.batch_axes = &second, .n_batch_axes = 1, .no_batch = &none, .n_no_batch = 1};
    struct ir_graph *g = load(&o);
    if (!g) fail_msg("%s", said);
    ASSERT_DIMS(g, "y", IR_N, 4, 5);
    size_t size, n;
    void *skeleton = fe_skeleton(model, &arena, &size);
    float ones[5] = {1, 1, 1, 1, 1};
    struct fe_tensor t = {.name = "w", .rank = 1, .dims = {5}, .data = ones};
    char out[96];
    snprintf(out, sizeof out, "%s/out.onnx", dir);
    assert_int_equal(fe_export(skeleton, size, &t, 1, NULL, 0, false, out, &diag), SMKD_OK);
    struct fe_model *back = fe_open(&arena, &diag, out);
    assert_non_null(back);
    fe_metadata(back, "smkd.", &n);
    assert_int_equal(n, 0);
    g = fe_import(back, &arena, &diag, &(struct fe_options){.batch_axes = &second, .n_batch_axes = 1});
    if (!g) fail_msg("%s", said);
    const struct fe_form *f = fe_forms(back, &n);
    assert_int_equal(n, 3);
    assert_int_equal(f[0].dims[1], IR_N);
    assert_int_equal(f[1].dims[0], 1);
    assert_int_equal(f[2].dims[1], IR_N);
    assert_int_equal(f[2].outer, 4);
    fe_close(back);
    unlink(out);
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
        T(test_function_default),
        T(test_function_texts),
        T(test_function_rows),
        T(test_unsorted),
        T(test_shape_option),
        T(test_merged_initializers),
        T(test_declared),
        T(test_declared_batch),
        T(test_declared_names),
        T(test_export),
        T(test_export_forms),
        T(test_export_prunes),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
