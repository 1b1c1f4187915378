// --dtype bf16: what is kept in memory as bfloat16, and every kernel that reads or writes it, against the interpreter,
// which rounds where the pass said so. Inputs are coarse enough for all products and sums to be exact, so that results
// are compared to the last bit, whether bfloat16 is multiplied as such (native, where the CPU can) or widened
// (x86-64-v3).
#define _GNU_SOURCE // amx_emulator.h
#include "cg_convs.h"

#include "amx_emulator.h"

// Multiples of 1/8 in [-1, 1).
static double eighths(struct cgh *h) { return floor(cgh_uniform(h) * 8) / 8; }

static void begin(struct cgh *h) {
    cgh_begin(h);
    h->options.bf16 = true;
    h->options.no_winograd = true;
    h->value = eighths;
}

// An input as convolutions find their operands: made by another node, so that memory holds it as bfloat16.
static ir_vid activation(struct cgh *h, const int64_t *dims) {
    return ir_unary(h->g, IR_OP_neg, cgh_input(h, IR_F32, 4, dims));
}

#define COUNT(x) (sizeof(x) / sizeof *(x))

static void run(const struct cgh_conv *cases, size_t n, const int64_t *batches, int n_batches) {
    struct cgh h;
    begin(&h);
    for (size_t i = 0; i < n; i++) cgh_conv(&h, &cases[i], IR_N, true);
    cgh_end(&h, batches, n_batches, 0);
}

// Odd channels, which cannot be paired; pairs beside multiples of a vector; rows and planes of odd width; grouped ones.
static void test_conv(void **state) {
    (void)state;
    static const struct cgh_conv cases[] = {
        {1, 3, 7, 7, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},     {3, 16, 14, 14, 7, 7, {2, 2}, 1, {3, 3, 3, 3}, 1},
        {24, 58, 7, 7, 1, 1, {1, 1}, 1, {0, 0, 0, 0}, 1},   {58, 24, 14, 17, 1, 1, {1, 1}, 1, {0, 0, 0, 0}, 1},
        {116, 33, 7, 7, 1, 1, {2, 2}, 1, {0, 0, 0, 0}, 1},  {32, 32, 9, 8, 3, 3, {2, 2}, 1, {1, 1, 1, 1}, 1},
        {20, 40, 8, 8, 3, 3, {1, 1}, 1, {1, 0, 2, 1}, 1},   {16, 16, 9, 9, 3, 3, {1, 1}, 2, {2, 2, 2, 2}, 1},
        {18, 20, 7, 5, 1, 7, {1, 1}, 1, {0, 3, 0, 3}, 1},   {16, 18, 10, 10, 3, 3, {3, 3}, 1, {1, 1, 1, 1}, 1},
        {64, 64, 7, 7, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 8},   {24, 24, 7, 7, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 24},
        {33, 33, 14, 7, 3, 3, {2, 2}, 1, {1, 1, 1, 1}, 33}, {270, 36, 2, 3, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},
    };
    run(cases, COUNT(cases), (int64_t[]){1, 3}, 2);
}

// Groups of images in a work item, every part of the batch in the weight gradient.
static void test_batch(void **state) {
    (void)state;
    static const struct cgh_conv cases[] = {
        {16, 34, 4, 4, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},
        {24, 24, 7, 7, 1, 1, {1, 1}, 1, {0, 0, 0, 0}, 1},
    };
    run(cases, COUNT(cases), (int64_t[]){41}, 1);
}

static bool machine_has(const char *flag) {
    char *line = NULL;
    size_t cap = 0;
    bool has = false;
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && !has && getline(&line, &cap, f) > 0)
        if (!strncmp(line, "flags", 5)) {
            char *at = strstr(line, flag);
            has = at && at[-1] == ' ' && strchr(" \n", at[strlen(flag)]);
        }
    if (f) fclose(f);
    free(line);
    return has;
}

// AMX's instructions are emulated one by one on machines without, so that the very same code is tested everywhere that
// has the rest of what it needs, AVX512_BF16. Returns whether they are; end_amx ends it.
static bool begin_amx(void) {
    const bool emulated = !machine_has("amx_bf16");
    if (emulated) {
        amx_emulate();
        setenv("SMKD_CPU_CHECK", "off", 1);
    }
    return emulated;
}
static void end_amx(void) { unsetenv("SMKD_CPU_CHECK"); }

// Where Winograd may be taken, what is multiplied, and so how exact the result is, depends on the CPU compiled for. A
// coarse result would often lie on the edge between two bfloat16, so these inputs are uniform.
static const struct {
    const char *level; // as cg_level names it
    double tol;
    bool tiles;
} winograd_gives[] = {
    // Winograd in float32: weights are not rounded; some results round to the neighbour of the right bfloat16.
    {"x86-64-v3", 5e-4, false},
    {"x86-64-v4", 5e-4, false},
    {"x86-64-v4 bf16", 5e-4, false},
    // AMX's tiles beat it, forward and by data: direct, with weights rounded to bfloat16 (2^-9 at most, each).
    {"x86-64-v4 amx", 4e-3, true},
};

static void winograd_on(const char *cpu) {
    static const struct cgh_conv cases[] = {
        {17, 24, 7, 7, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},
        {58, 40, 9, 14, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},
        {32, 33, 6, 5, 3, 3, {1, 1}, 1, {0, 1, 2, 0}, 1},
    };
    const char *level = cg_level(cpu, true);
    assert_non_null(level);
    size_t i = 0;
    while (i < COUNT(winograd_gives) && strcmp(winograd_gives[i].level, level)) i++;
    if (i == COUNT(winograd_gives)) fail_msg("what Winograd gives on \"%s\" is not in the table", level);
    const bool emulated = winograd_gives[i].tiles && begin_amx();
    const int before = amx_products;
    struct cgh h;
    begin(&h);
    h.cpu = cpu;
    h.options.no_winograd = false;
    h.value = cgh_uniform;
    for (size_t k = 0; k < COUNT(cases); k++) cgh_conv(&h, &cases[k], IR_N, true);
    cgh_end(&h, (int64_t[]){1, 3}, 2, winograd_gives[i].tol);
    if (emulated) assert_true(amx_products > before);
    end_amx();
}

static void test_winograd(void **state) {
    (void)state;
    winograd_on("native");
    winograd_on("x86-64-v3");
    if (machine_has("avx512_bf16")) winograd_on("sapphirerapids");
}

// AMX tiles: whole and part of one or two, sums of any length, rows wider than two.
static void test_tiles(void **state) {
    (void)state;
    if (!machine_has("avx512_bf16")) skip(); // the rest of the code needs it
    static const struct cgh_conv cases[] = {
        {64, 32, 7, 7, 1, 1, {1, 1}, 1, {0, 0, 0, 0}, 1},  {6, 40, 5, 35, 1, 1, {1, 1}, 1, {0, 0, 0, 0}, 1},
        {70, 24, 6, 9, 1, 1, {2, 2}, 1, {0, 0, 0, 0}, 1},  {32, 17, 7, 7, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},
        {20, 48, 3, 40, 3, 3, {1, 1}, 1, {1, 0, 2, 1}, 1}, {16, 20, 9, 9, 3, 3, {1, 1}, 2, {2, 2, 2, 2}, 1},
        {64, 64, 7, 18, 3, 3, {2, 2}, 1, {1, 1, 1, 1}, 8}, {32, 64, 5, 5, 3, 3, {2, 2}, 1, {1, 1, 1, 1}, 2},
        {256, 34, 1, 3, 1, 1, {1, 1}, 1, {0, 0, 0, 0}, 1},
    };
    const bool emulated = begin_amx();
    struct cgh h;
    begin(&h);
    h.cpu = "sapphirerapids";
    h.options.no_winograd = false; // tiles are faster
    for (size_t i = 0; i < COUNT(cases); i++) cgh_conv(&h, &cases[i], IR_N, true);
    cgh_end(&h, (int64_t[]){1, 3}, 2, 0);
    if (emulated) assert_true(amx_products > 0);
    end_amx();
}

static ir_vid conv_1x1(struct cgh *h, ir_vid x, ir_vid w) {
    const int64_t one[2] = {1, 1}, none[4] = {0};
    return ir_emit(h->g, IR_OP_conv, (ir_vid[]){x, w}, 2,
                   IR_ATTRS(IR_IS("strides", one, 2), IR_IS("pads", none, 4), IR_IS("dilations", one, 2)));
}

// Everything that reads and writes bfloat16 as part of an expression.
static void test_expressions(void **state) {
    (void)state;
    struct cgh h;
    begin(&h);
    for (int c = 3; c <= 35; c += 16) {
        const int64_t dims[4] = {IR_N, c, 5, 7}, axes[2] = {2, 3};
        ir_vid w = cgh_input(&h, IR_F32, 4, (int64_t[]){c, c, 1, 1});
        ir_vid y = conv_1x1(&h, activation(&h, dims), w);
        ir_vid r = ir_unary(h.g, IR_OP_relu, ir_add(h.g, y, activation(&h, dims)));
        ir_vid z = conv_1x1(&h, r, w);
        ir_vid both = ir_emit(h.g, IR_OP_concat, (ir_vid[]){r, z}, 2, IR_ATTRS(IR_I("axis", 1)));
        ir_vid w2 = cgh_input(&h, IR_F32, 4, (int64_t[]){8, 2 * c, 1, 1});
        cgh_output(&h, ir_unary(h.g, IR_OP_neg, conv_1x1(&h, both, w2)), "concat of %d channels", c);
        cgh_output(&h, ir_reduce(h.g, IR_OP_reduce_sum, r, axes, 2, 1), "sum of %d channels", c);
        cgh_output(&h, ir_reduce(h.g, IR_OP_reduce_max, r, axes, 2, 0), "largest of %d channels", c);
        // A channel shuffle: reshapes of bfloat16 around a transpose.
        const int64_t five[5] = {IR_N, 2, c, 5, 7}, four[4] = {IR_N, 2 * c, 5, 7}, perm[5] = {0, 2, 1, 3, 4};
        ir_vid s = ir_reshape(h.g, ir_transpose(h.g, ir_reshape(h.g, both, 5, five), 5, perm), 4, four);
        cgh_output(&h, ir_unary(h.g, IR_OP_neg, conv_1x1(&h, s, w2)), "shuffle of %d channels", c);
        ir_vid turns = ir_emit(h.g, IR_OP_interleave, (ir_vid[]){z, r}, 2, IR_ATTRS(IR_I("axis", 1)));
        cgh_output(&h, ir_unary(h.g, IR_OP_neg, conv_1x1(&h, turns, w2)), "%d channels in turns", c);
        const int64_t starts[4] = {0, 1, 0, 0}, sizes[4] = {IR_N, c, 5, 7}, steps[4] = {1, 2, 1, 1};
        ir_vid odd = ir_emit(h.g, IR_OP_slice, &both, 1,
                             IR_ATTRS(IR_IS("starts", starts, 4), IR_IS("sizes", sizes, 4), IR_IS("steps", steps, 4)));
        cgh_output(&h, conv_1x1(&h, ir_unary(h.g, IR_OP_neg, odd), w), "every other of %d channels", c);
    }
    cgh_end(&h, (int64_t[]){1, 4}, 2, 1e-6);
}

// 16 MiB of bfloat16 and more are stored past the caches: rows of pixels, and operands of a concatenation in them.
static void test_large(void **state) {
    (void)state;
    struct cgh h;
    begin(&h);
    const int64_t dims[4] = {IR_N, 32, 40, 41};
    ir_vid a = ir_unary(h.g, IR_OP_relu, activation(&h, dims)), b = activation(&h, dims);
    ir_vid both = ir_emit(h.g, IR_OP_concat, (ir_vid[]){a, ir_mul(h.g, b, b)}, 2, IR_ATTRS(IR_I("axis", 1)));
    ir_vid w = cgh_input(&h, IR_F32, 4, (int64_t[]){2, 64, 1, 1});
    cgh_output(&h, conv_1x1(&h, both, w), "a large concatenation");
    cgh_output(&h, conv_1x1(&h, ir_unary(h.g, IR_OP_neg, both), w), "a large negation");
    cgh_end(&h, (int64_t[]){81}, 1, 0);
}

// Pools read and write bfloat16; windows of 4 and 9, whose means of eighths are exact or far from an edge.
static void test_pools(void **state) {
    (void)state;
    struct cgh h;
    begin(&h);
    for (int c = 7; c <= 33; c += 13)
        for (int64_t size = 2; size <= 3; size++) {
            const int64_t k[2] = {size, size}, st[2] = {2, 1}, pad[4] = {0, 1, 1, 0}, hw[2] = {9, 6}, dil[2] = {1, 1};
            const int64_t dims[4] = {IR_N, c, hw[0], hw[1]};
            struct ir_attr max[5] = {IR_IS("kernel", k, 2), IR_IS("strides", st, 2), IR_IS("pads", pad, 4),
                                     IR_IS("dilations", dil, 2), IR_IS("hw", hw, 2)};
            struct ir_attr avg[4] = {max[0], max[1], max[2], max[4]};
            ir_vid x = activation(&h, dims);
            ir_nid n = ir_node_new(h.g, IR_OP_max_pool, &x, 1, max, 4);
            assert_true(n != IR_NONE);
            ir_vid y = h.g->nodes[n].out[0], pos = h.g->nodes[n].out[1];
            struct ir_type t = h.g->values[y].type;
            ir_vid dy = activation(&h, t.dims);
            ir_vid out[4] = {y, ir_emit(h.g, IR_OP_max_pool_grad, (ir_vid[]){dy, pos}, 2, max, 5),
                             ir_emit(h.g, IR_OP_avg_pool, &x, 1, avg, 3),
                             ir_emit(h.g, IR_OP_avg_pool_grad, &dy, 1, avg, 4)};
            for (int i = 0; i < 4; i++)
                cgh_output(&h, ir_unary(h.g, IR_OP_neg, out[i]), "pool %d of %d channels, window %d", i, c, (int)size);
        }
    cgh_end(&h, (int64_t[]){1, 3}, 2, 1e-6);
}

// Rounding: to nearest even, infinities stay, NaN stays NaN, the largest float overflows.
static double edges(struct cgh *h) {
    static const double table[] = {1.00390625, 1.01171875, -1.00390625, 3.3e38, -3.3961775e38, 3.4028234663852886e38,
                                   INFINITY,   -INFINITY,  NAN,         0,      -0.0,          1e-30};
    h->random++;
    return table[h->random % COUNT(table)];
}

static void test_rounding(void **state) {
    (void)state;
    struct cgh h;
    begin(&h);
    h.value = edges;
    ir_vid x = activation(&h, (int64_t[]){IR_N, 6, 3, 7});
    const int64_t axes[1] = {1};
    // The largest of one: reads memory, changes nothing.
    ir_vid r = ir_reshape(h.g, x, 5, (int64_t[]){IR_N, 1, 6, 3, 7});
    cgh_output(&h, ir_reduce(h.g, IR_OP_reduce_max, r, axes, 1, 0), "rounded");
    cgh_end(&h, (int64_t[]){1, 5}, 2, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv),     cmocka_unit_test(test_batch),       cmocka_unit_test(test_tiles),
        cmocka_unit_test(test_winograd), cmocka_unit_test(test_expressions), cmocka_unit_test(test_pools),
        cmocka_unit_test(test_rounding), cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
