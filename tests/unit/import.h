// Writes small ONNX files (onnx_writer.h), imports them, and looks at what the importer made of them or said.
#ifndef SMKD_TEST_IMPORT_H
#define SMKD_TEST_IMPORT_H
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

static char dir[] = "/tmp/smkd_import_XXXXXX", path[64], said[8192];
static struct arena arena;
static struct diag diag;
static struct fe_model *model;

static inline void listen(void *env, enum diag_severity sev, const char *line) {
    (void)env;
    (void)sev;
    assert_null(strchr(line, '\n'));
    strncat(said, line, sizeof said - strlen(said) - 2);
    strcat(said, "\n");
}
static inline void write_bytes(const void *data, size_t n) {
    snprintf(path, sizeof path, "%s/m.onnx", dir);
    unlink(path); // io_write_file waits for the disk, thousands of times; so does ext4 where a file is written over
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}
static inline struct ir_graph *load(const struct fe_options *o) {
    diag = (struct diag){.sink = listen};
    said[0] = 0;
    fe_close(model); // of an import before this one in the same test
    model = fe_open(&arena, &diag, path);
    return model ? fe_import(model, &arena, &diag, o) : NULL;
}
static inline struct ir_graph *import(void) {
    struct str m = finish();
    write_bytes(m.s, m.len);
    str_release(&m);
    struct ir_graph *g = load(NULL);
    if (!g && !said[0]) fail_msg("the importer failed without a word");
    return g;
}
static inline int setup(void **state) {
    (void)state;
    arena_init(&arena);
    return 0;
}
static inline int teardown(void **state) {
    (void)state;
    fe_close(model);
    model = NULL;
    arena_release(&arena);
    return 0;
}
static inline int make_dir(void **state) {
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}
static inline int remove_dir(void **state) {
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static inline void assert_dims(const struct ir_graph *g, const char *output, int rank, const int64_t *dims) {
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
static inline const struct ir_value *boundary(const struct ir_graph *g, const char *name) {
    for (size_t i = 0; i < g->n_boundary; i++)
        if (!strcmp(g->values[g->boundary[i]].name, name)) return &g->values[g->boundary[i]];
    fail_msg("no boundary value %s", name);
    return NULL;
}
static inline size_t count(const struct ir_graph *g, enum ir_op op) {
    size_t n = 0;
    for (size_t i = 0; i < g->n_nodes; i++) n += g->nodes[i].op == op;
    return n;
}
static inline void says(const char *part) {
    if (!strstr(said, part)) fail_msg("expected \"%s\" in: %s", part, said);
}
#define REFUSED(part)                                                                                                  \
    do {                                                                                                               \
        assert_null(import());                                                                                         \
        says(part);                                                                                                    \
    } while (0)

static inline void cnn(void) {
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

static inline void floats(const char *name, int rank, const int64_t *dims, const float *v) {
    size_t n = 1;
    for (int i = 0; i < rank; i++) n *= (size_t)dims[i];
    struct str t = tensor_of(name, 1, rank, dims, v, n * sizeof *v);
    sub(&graph, 5, &t);
}

static inline void filled(const char *name, float v, int rank, const int64_t *dims) {
    float data[64];
    size_t n = 1;
    for (int i = 0; i < rank; i++) n *= (size_t)dims[i];
    for (size_t i = 0; i < n; i++) data[i] = v;
    struct str t = tensor_of(name, 1, rank, dims, data, n * 4);
    sub(&graph, 5, &t);
}

// A test of the group that make_dir and remove_dir stand around.
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
