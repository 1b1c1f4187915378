// Small ONNX files written byte by byte, for tests of the frontend: INPUT, WEIGHT, attr_*, node, OUTPUT, then finish.
#ifndef SMKD_TESTS_ONNX_WRITER_H
#define SMKD_TESTS_ONNX_WRITER_H

#include "../../frontend/frontend.h"

#include <stdint.h>
#include <string.h>

static inline void varint(struct str *b, uint64_t v) {
    for (;; v >>= 7) {
        char c = (char)(v & 127);
        if (v < 128) {
            str_addn(b, &c, 1);
            return;
        }
        c = (char)(c | 128);
        str_addn(b, &c, 1);
    }
}
static inline void num(struct str *b, int field, int64_t v) {
    varint(b, (uint64_t)field << 3);
    varint(b, (uint64_t)v);
}
static inline void bytes(struct str *b, int field, const void *p, size_t n) {
    varint(b, (uint64_t)field << 3 | 2);
    varint(b, n);
    str_addn(b, p, n);
}
static inline void txt(struct str *b, int field, const char *s) { bytes(b, field, s, strlen(s)); }
static inline void sub(struct str *b, int field, struct str *m) { // and releases m
    bytes(b, field, m->s ? m->s : "", m->len);
    str_release(m);
}

static struct str graph, functions; // the model being written
static int64_t opset = 17;

static inline void io(int field, const char *name, int rank, const int64_t *dims) { // dim 0: "N"; -2: no size
    struct str shape = STR_INIT, tensor = STR_INIT, type = STR_INIT, v = STR_INIT;
    for (int i = 0; i < rank; i++) {
        struct str d = STR_INIT;
        if (dims[i] == 0)
            txt(&d, 2, "N");
        else if (dims[i] > 0)
            num(&d, 1, dims[i]);
        sub(&shape, 1, &d);
    }
    num(&tensor, 1, 1);
    sub(&tensor, 2, &shape);
    sub(&type, 1, &tensor);
    txt(&v, 1, name);
    sub(&v, 2, &type);
    sub(&graph, field, &v);
}
#define DIMS(...)                                                                                                      \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]) { __VA_ARGS__ }
#define INPUT(name, ...)  io(11, name, DIMS(__VA_ARGS__))
#define OUTPUT(name, ...) io(12, name, DIMS(__VA_ARGS__))

static inline struct str tensor_of(const char *name, int type, int rank, const int64_t *dims, const void *data,
                                   size_t n) {
    struct str t = STR_INIT;
    for (int i = 0; i < rank; i++) num(&t, 1, dims[i]);
    num(&t, 2, type);
    if (name) txt(&t, 8, name);
    if (data) bytes(&t, 9, data, n);
    return t;
}
static inline float pattern(size_t i) { return (float)((int)(i * 7 % 11) - 5) / 8; }
static inline void weight(const char *name, int rank, const int64_t *dims) {
    float data[4096];
    size_t n = 1;
    for (int i = 0; i < rank; i++) n *= (size_t)dims[i];
    for (size_t i = 0; i < n; i++) data[i] = pattern(i);
    struct str t = tensor_of(name, 1, rank, dims, data, n * 4);
    sub(&graph, 5, &t);
}
#define WEIGHT(name, ...) weight(name, DIMS(__VA_ARGS__))
static inline void ints(const char *name, int n, const int64_t *v) {
    int64_t len[1] = {n};
    struct str t = tensor_of(name, 7, 1, len, v, (size_t)n * 8);
    sub(&graph, 5, &t);
}
#define INTS(name, ...) ints(name, DIMS(__VA_ARGS__))

static struct str attrs; // of the next node
static inline void attr_i(const char *name, int64_t v) {
    struct str a = STR_INIT;
    txt(&a, 1, name);
    num(&a, 3, v);
    num(&a, 20, 2);
    sub(&attrs, 5, &a);
}
static inline void attr_ints(const char *name, int n, const int64_t *v) {
    struct str a = STR_INIT;
    txt(&a, 1, name);
    for (int i = 0; i < n; i++) num(&a, 8, v[i]);
    num(&a, 20, 7);
    sub(&attrs, 5, &a);
}
static inline void attr_s(const char *name, const char *v) {
    struct str a = STR_INIT;
    txt(&a, 1, name);
    txt(&a, 4, v);
    num(&a, 20, 3);
    sub(&attrs, 5, &a);
}
static inline void attr_graph(const char *name, struct str *g) {
    struct str a = STR_INIT;
    txt(&a, 1, name);
    sub(&a, 6, g);
    num(&a, 20, 5);
    sub(&attrs, 5, &a);
}
// Comma-separated names; the node is named after its first result.
static inline struct str node_bytes(const char *domain, const char *op, const char *in, const char *out) {
    struct str n = STR_INIT;
    const char *lists[2] = {in, out};
    for (int k = 0; k < 2; k++)
        for (const char *p = lists[k]; *p;) {
            size_t len = strcspn(p, ",");
            bytes(&n, k + 1, p, len);
            p += len + (p[len] == ',');
        }
    size_t len = strcspn(out, ",");
    bytes(&n, 3, out, len);
    txt(&n, 4, op);
    if (domain) txt(&n, 7, domain);
    if (attrs.len) str_addn(&n, attrs.s, attrs.len);
    str_clear(&attrs);
    return n;
}
static inline void node(const char *op, const char *in, const char *out) {
    struct str n = node_bytes(NULL, op, in, out);
    sub(&graph, 1, &n);
}

static inline struct str finish(void) {
    struct str m = STR_INIT, o = STR_INIT;
    num(&m, 1, 8);
    num(&o, 2, opset);
    sub(&m, 8, &o);
    txt(&graph, 2, "test");
    sub(&m, 7, &graph);
    if (functions.len) str_addn(&m, functions.s, functions.len);
    str_release(&functions);
    str_release(&attrs);
    graph = functions = attrs = (struct str)STR_INIT;
    return m;
}

#endif
