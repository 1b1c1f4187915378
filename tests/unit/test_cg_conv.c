// Convolutions, their data gradients and their weight gradients: compiled code against the reference interpreter.
// Sizes are chosen for the edges of the kernels: channels under, at and over one and two vectors of either width,
// planes narrower and wider than a register tile, several bands and several images to a work item.
#include "cg_convs.h"

#include <ctype.h>

static void run(const struct cgh_conv *cases, size_t n, const int64_t *batches, int n_batches) {
    struct cgh h;
    cgh_begin(&h);
    for (size_t i = 0; i < n; i++) cgh_conv(&h, &cases[i], IR_N, false);
    cgh_end(&h, batches, n_batches, 1e-5);
}
#define RUN(cases, ...)                                                                                                \
    run(cases, sizeof(cases) / sizeof *(cases), (int64_t[]){__VA_ARGS__},                                              \
        sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static void test_dense(void **state) {
    (void)state;
    static const struct cgh_conv cases[] = {
        {3, 16, 8, 8, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},    {16, 40, 7, 7, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},
        {33, 64, 4, 4, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},   {1, 1, 5, 5, 5, 5, {1, 1}, 1, {2, 2, 2, 2}, 1},
        {7, 17, 14, 14, 3, 3, {1, 1}, 1, {0, 0, 0, 0}, 1},  {5, 16, 14, 14, 3, 3, {1, 1}, 1, {2, 0, 0, 1}, 1},
        {16, 5, 19, 7, 1, 1, {1, 1}, 1, {0, 0, 0, 0}, 1},   {16, 40, 32, 32, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},
        {16, 16, 14, 14, 7, 1, {1, 1}, 1, {3, 0, 3, 0}, 1}, {100, 33, 60, 3, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},
    };
    RUN(cases, 1, 2, 5);
}

// The direct kernel where Winograd would be chosen.
static void test_dense_direct(void **state) {
    (void)state;
    static const struct cgh_conv cases[] = {
        {16, 40, 7, 7, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},
        {33, 64, 4, 4, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},
        {24, 58, 17, 14, 3, 3, {1, 1}, 1, {1, 0, 1, 2}, 1},
    };
    struct cgh h;
    cgh_begin(&h);
    h.options.no_winograd = true;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) cgh_conv(&h, &cases[i], IR_N, false);
    cgh_end(&h, (int64_t[]){1, 3}, 2, 1e-5);
}

// Every kind of border, planes smaller than a tile, channels beside multiples of the vectors and of the chunks. More
// sizes: tests/slow/test_cg_sweep.c.
static void test_winograd(void **state) {
    (void)state;
    static const struct cgh_conv cases[] = {
        {16, 16, 1, 1, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},  {24, 17, 7, 7, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},
        {20, 33, 9, 35, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1}, {16, 48, 6, 9, 3, 3, {1, 1}, 1, {2, 2, 2, 2}, 1},
        {32, 16, 10, 5, 3, 3, {1, 1}, 1, {2, 0, 1, 1}, 1}, {65, 129, 4, 3, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},
    };
    RUN(cases, 1, 3);
}

// Many tiles: whole items, the batch in parts; and errors that stay under 5e-5 of the largest output.
static void test_winograd_large(void **state) {
    (void)state;
    static const struct cgh_conv cases[] = {
        {16, 16, 8, 8, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},
        {256, 32, 4, 4, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},
    };
    struct cgh h;
    cgh_begin(&h);
    for (size_t i = 0; i < 2; i++) cgh_conv(&h, &cases[i], IR_N, false);
    cgh_end(&h, (int64_t[]){41}, 1, 1e-5);
    print_message("largest error over largest output: %.1e\n", h.worst);
    assert_true(h.worst < 5e-5);
}

static void test_strided(void **state) {
    (void)state;
    static const struct cgh_conv cases[] = {
        {7, 17, 14, 14, 3, 3, {2, 2}, 1, {1, 1, 1, 1}, 1}, {16, 40, 19, 7, 1, 1, {2, 2}, 1, {0, 0, 0, 0}, 1},
        {3, 64, 19, 19, 7, 7, {2, 2}, 1, {3, 3, 3, 3}, 1}, {7, 5, 14, 19, 2, 3, {3, 1}, 1, {0, 1, 1, 2}, 1},
        {16, 16, 1, 40, 1, 7, {1, 2}, 1, {0, 3, 0, 3}, 1}, {16, 16, 5, 5, 2, 2, {3, 3}, 1, {0, 0, 0, 0}, 1},
    };
    RUN(cases, 1, 2, 5);
}

static void test_dilated(void **state) {
    (void)state;
    static const struct cgh_conv cases[] = {
        {16, 16, 14, 14, 3, 3, {1, 1}, 2, {2, 2, 2, 2}, 1},
        {16, 16, 14, 14, 3, 3, {2, 2}, 2, {2, 2, 2, 2}, 1},
        {16, 17, 14, 14, 3, 3, {3, 3}, 2, {1, 1, 1, 1}, 1},
    };
    RUN(cases, 1, 2, 5);
}

static void test_grouped(void **state) {
    (void)state;
    static const struct cgh_conv cases[] = {
        {16, 32, 14, 14, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 4},  {32, 32, 7, 7, 3, 3, {2, 2}, 1, {1, 1, 1, 1}, 8},
        {128, 128, 7, 7, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 32}, {64, 80, 7, 7, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 2},
        {7, 14, 14, 14, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 7},   {12, 6, 5, 5, 1, 1, {1, 1}, 1, {0, 0, 0, 0}, 3},
    };
    RUN(cases, 1, 2, 5);
}

static void test_depthwise(void **state) {
    (void)state;
    static const struct cgh_conv cases[] = {
        {24, 24, 7, 7, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 24},   {33, 33, 14, 14, 3, 3, {2, 2}, 1, {1, 1, 1, 1}, 33},
        {16, 16, 14, 14, 5, 5, {1, 1}, 1, {2, 2, 2, 2}, 16}, {16, 16, 14, 14, 3, 3, {1, 1}, 1, {0, 0, 0, 0}, 16},
        {40, 40, 19, 4, 9, 3, {2, 1}, 1, {4, 1, 4, 1}, 40},  {16, 16, 5, 5, 1, 1, {3, 3}, 1, {0, 0, 0, 0}, 16},
    };
    RUN(cases, 1, 2, 5);
}

// Every tile of a row at a border or inside, tap rows outside the plane, outputs that no tap reaches, one filter row
// and all of it at once in the weight gradient, filters too large to unroll.
static void test_depthwise_borders(void **state) {
    (void)state;
    static const struct cgh_conv cases[] = {
        {3, 3, 1, 1, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 3},      {7, 7, 2, 2, 3, 3, {2, 2}, 1, {1, 1, 1, 1}, 7},
        {17, 17, 35, 35, 3, 3, {3, 3}, 1, {1, 1, 1, 1}, 17}, {58, 58, 17, 17, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 58},
        {58, 58, 35, 9, 3, 3, {2, 2}, 1, {1, 1, 1, 1}, 58},  {116, 116, 7, 7, 3, 3, {2, 2}, 1, {1, 1, 1, 1}, 116},
        {24, 24, 14, 14, 3, 3, {2, 3}, 1, {0, 1, 2, 0}, 24}, {17, 17, 14, 17, 3, 3, {1, 1}, 2, {2, 2, 2, 2}, 17},
        {17, 17, 14, 14, 3, 3, {2, 2}, 2, {2, 2, 2, 2}, 17}, {7, 7, 9, 35, 5, 11, {1, 1}, 1, {2, 5, 2, 5}, 7},
        {20, 20, 12, 12, 7, 9, {2, 1}, 1, {3, 4, 3, 4}, 20}, {16, 16, 7, 7, 2, 2, {3, 3}, 2, {0, 0, 0, 0}, 16},
        {24, 24, 7, 14, 3, 3, {1, 1}, 5, {5, 5, 5, 5}, 24},
    };
    RUN(cases, 1, 3);
}

// Many images: groups of images in a work item, every part of the batch in the weight gradient, and its precision.
static void test_large_batch(void **state) {
    (void)state;
    static const struct cgh_conv cases[] = {
        {16, 70, 4, 4, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},
        {16, 16, 8, 8, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 16},
        {8, 8, 16, 16, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},
    };
    RUN(cases, 40, 128);
}

// Images that are not one to a sample: k to each, or a fixed number whatever the batch.
static void test_images(void **state) {
    (void)state;
    static const struct cgh_conv dense = {7, 17, 9, 7, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},
                                 strided = {16, 40, 4, 4, 3, 3, {2, 2}, 1, {1, 1, 1, 1}, 1},
                                 depthwise = {33, 33, 5, 5, 3, 3, {2, 1}, 1, {1, 1, 1, 1}, 33};
    struct cgh h;
    cgh_begin(&h);
    cgh_conv(&h, &dense, 3 * IR_N, false);
    cgh_conv(&h, &dense, 1, false);
    cgh_conv(&h, &strided, 2 * IR_N, false);
    cgh_conv(&h, &strided, 5, false);
    cgh_conv(&h, &depthwise, 3 * IR_N, false);
    cgh_conv(&h, &depthwise, 4, false);
    cgh_end(&h, (int64_t[]){1, 2, 5}, 3, 1e-5);
}

// --- spills ----------------------------------------------------------------------------------------------------------

// A function of an assembly listing.
struct listing {
    char (*line)[160];
    size_t n, cap;
};

static size_t label_line(const struct listing *l, const char *label, size_t before) {
    size_t len = strcspn(label, " \t\n#");
    for (size_t i = 0; i < before; i++)
        if (strncmp(l->line[i], label, len) == 0 && l->line[i][len] == ':') return i;
    return SIZE_MAX;
}

// Counts multiply-adds and vectors on the stack inside loops: from a label to a later jump back to it.
static void count_loops(const struct listing *l, const char *cpu, const char *fn, int *fma, int *spills) {
    bool *hot = calloc(l->n + 1, sizeof *hot);
    assert_non_null(hot);
    for (size_t i = 0; i < l->n; i++) {
        const char *jump = l->line[i] + strspn(l->line[i], " \t"), *to = strstr(jump, ".LBB");
        if (jump[0] != 'j' || !to) continue;
        size_t from = label_line(l, to, i);
        for (size_t k = from; from != SIZE_MAX && k <= i; k++) hot[k] = true;
    }
    for (size_t i = 0; i < l->n; i++) {
        const char *t = l->line[i];
        if (!hot[i] || !(strstr(t, "%ymm") || strstr(t, "%zmm"))) continue;
        *fma += strstr(t, "vfmadd") != NULL;
        if (!strstr(t, "(%rsp")) continue; // the code keeps no frame pointer
        print_error("%s, %s: spill in a loop: %s", cpu, fn, t);
        ++*spills;
    }
    free(hot);
}

// The sums of a micro-kernel must stay in registers: no vector may touch the stack in its loops, on either target.
// Cross-compiled, so it needs no machine that runs the code.
static void check_spills(const char *cpu) {
    static const struct cgh_conv cases[] = {
        {64, 64, 32, 32, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},    {64, 128, 32, 32, 3, 3, {2, 2}, 1, {1, 1, 1, 1}, 1},
        {512, 512, 4, 4, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},    {256, 64, 56, 56, 1, 1, {1, 1}, 1, {0, 0, 0, 0}, 1},
        {64, 64, 32, 31, 3, 3, {1, 1}, 2, {1, 1, 1, 1}, 1},    {58, 58, 28, 28, 1, 1, {1, 1}, 1, {0, 0, 0, 0}, 1},
        {116, 116, 14, 14, 1, 1, {1, 1}, 1, {0, 0, 0, 0}, 1},  {24, 58, 28, 28, 1, 1, {1, 1}, 1, {0, 0, 0, 0}, 1},
        {3, 64, 56, 56, 7, 7, {2, 2}, 1, {3, 3, 3, 3}, 1},     {128, 128, 14, 14, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 32},
        {1024, 256, 14, 14, 1, 1, {1, 1}, 1, {0, 0, 0, 0}, 1}, {160, 192, 17, 17, 1, 7, {1, 1}, 1, {0, 3, 0, 3}, 1},
        {3, 64, 32, 32, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},     {1, 16, 28, 28, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},
        {1, 6, 28, 28, 5, 5, {1, 1}, 1, {2, 2, 2, 2}, 1},      {2, 40, 17, 35, 3, 3, {1, 1}, 1, {1, 1, 1, 1}, 1},
    };
    struct cgh h;
    cgh_begin(&h);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) cgh_conv(&h, &cases[i], IR_N, false);
    for (int trans = 0; trans < 4; trans++) { // matrix products run on the same, with other strides
        int64_t a[2] = {300, 70}, b[2] = {70, 100}, at[2] = {70, 300}, bt[2] = {100, 70};
        ir_vid x = cgh_input(&h, IR_F32, 2, trans & 1 ? at : a), y = cgh_input(&h, IR_F32, 2, trans & 2 ? bt : b);
        cgh_output(&h, ir_matmul(h.g, x, y, trans & 1, trans >> 1), "matmul %d", trans);
    }
    char path[] = "/tmp/smkd_test_XXXXXX", line[4096], fn[256] = "";
    int fd = mkstemp(path), micro = 0, fma = 0, spills = 0;
    assert_true(fd >= 0);
    close(fd);
    struct cg_model model = {.name = "test", .kind = SMKD_ABI_LOSS, .train = h.g, .notes = "{}"};
    struct cg_options o = {.mcpu = cpu, .max_batch = 256, .emit = "asm", .pick = cgh_winograd};
    assert_int_equal(cg_compile(&model, &o, path, &h.diag), SMKD_OK);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    struct listing l = {0};
    bool more = true;
    while (more) {
        more = fgets(line, sizeof line, f) != NULL;
        bool label = !more || (isalpha((unsigned char)line[0]) && strchr(line, ':'));
        if (label) {
            if (!strncmp(fn, "micro", 5)) count_loops(&l, cpu, fn, &fma, &spills);
            snprintf(fn, sizeof fn, "%.*s", (int)strcspn(line, ":"), line);
            micro += more && !strncmp(fn, "micro", 5);
            l.n = 0;
        }
        if (l.n == l.cap) {
            l.cap = l.cap ? 2 * l.cap : 1024;
            l.line = realloc(l.line, l.cap * sizeof *l.line);
            assert_non_null(l.line);
        }
        snprintf(l.line[l.n++], sizeof *l.line, "%.159s", line);
    }
    free(l.line);
    fclose(f);
    unlink(path);
    arena_release(&h.arena);
    assert_true(micro > 20 && fma > 1000);
    assert_int_equal(spills, 0);
}

static void test_no_spills(void **state) {
    (void)state;
    check_spills("x86-64-v3");
    check_spills("x86-64-v4");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dense),
        cmocka_unit_test(test_dense_direct),
        cmocka_unit_test(test_winograd),
        cmocka_unit_test(test_winograd_large),
        cmocka_unit_test(test_strided),
        cmocka_unit_test(test_dilated),
        cmocka_unit_test(test_grouped),
        cmocka_unit_test(test_depthwise),
        cmocka_unit_test(test_depthwise_borders),
        cmocka_unit_test(test_large_batch),
        cmocka_unit_test(test_images),
        cmocka_unit_test(test_no_spills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
