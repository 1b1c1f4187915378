// What of a file the importer takes for a parameter, and what for a constant.
#include "import.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
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
