// The look at a file's bytes before they are unpacked, along every way that ONNX's schema has: generated from
// protobuf-c's descriptors, as the look itself is.
#include "../../frontend/onnx_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static char said[2048];
static void listen(void *env, enum diag_severity sev, const char *line) {
    (void)env;
    (void)sev;
    assert_null(strchr(line, '\n'));
    snprintf(said, sizeof said, "%s", line);
}

static bool fine(const struct str *s) {
    struct diag d = {.sink = listen};
    said[0] = 0;
    bool ok = fe_wire_ok(&d, s->s ? s->s : "", s->len);
    assert_true(ok == (d.errors == 0) && d.errors <= 1);
    return ok;
}

// --- messages, written from the inside: each new head goes in front, so the text is kept backwards

static void back(struct str *b, unsigned char c) { str_addn(b, (const char *)&c, 1); }
static void back_varint(struct str *b, uint64_t v) {
    unsigned char bytes[10];
    int n = 0;
    for (; v > 127; v >>= 7) bytes[n++] = (unsigned char)(v & 127) | 128;
    bytes[n++] = (unsigned char)v;
    while (n) back(b, bytes[--n]);
}
static void wrap(struct str *b, uint32_t field) {
    back_varint(b, b->len);
    back_varint(b, (uint64_t)field << 3 | 2);
}
static void reverse(struct str *b) {
    for (size_t i = 0; i < b->len / 2; i++) {
        char c = b->s[i];
        b->s[i] = b->s[b->len - 1 - i];
        b->s[b->len - 1 - i] = c;
    }
}

// --- the schema as a graph

enum { MOST = 64 };
static const ProtobufCMessageDescriptor *known[MOST];
static size_t n_known;

static size_t number_of(const ProtobufCMessageDescriptor *m) {
    for (size_t i = 0; i < n_known; i++)
        if (known[i] == m) return i;
    assert_true(n_known < MOST);
    known[n_known] = m;
    return n_known++;
}

struct way {
    uint32_t field[MOST]; // outermost first
    size_t n;
};

// The shortest way from one message to another (of at least one field where they are the same); false: there is none.
static bool way_to(const ProtobufCMessageDescriptor *from, const ProtobufCMessageDescriptor *to, struct way *out) {
    const ProtobufCMessageDescriptor *queue[MOST];
    struct way ways[MOST];
    bool seen[MOST] = {0};
    size_t n = 1;
    queue[0] = from;
    ways[0].n = 0;
    for (size_t i = 0; i < n; i++)
        for (unsigned k = 0; k < queue[i]->n_fields; k++) {
            const ProtobufCFieldDescriptor *f = &queue[i]->fields[k];
            if (f->type != PROTOBUF_C_TYPE_MESSAGE) continue;
            struct way w = ways[i];
            w.field[w.n++] = f->id;
            if (f->descriptor == to) {
                *out = w;
                return true;
            }
            size_t at = number_of(f->descriptor);
            if (seen[at]) continue;
            seen[at] = true;
            queue[n] = f->descriptor;
            ways[n++] = w;
        }
    return false;
}

static int learn_schema(void **state) {
    (void)state;
    number_of(&onnx__model_proto__descriptor);
    for (size_t i = 0; i < n_known; i++)
        for (unsigned k = 0; k < known[i]->n_fields; k++)
            if (known[i]->fields[k].type == PROTOBUF_C_TYPE_MESSAGE) number_of(known[i]->fields[k].descriptor);
    return 0;
}

static void wrap_all(struct str *b, const struct way *w) {
    for (size_t i = w->n; i--;) wrap(b, w->field[i]);
}

// Whatever can contain itself, through each of its fields: a few levels are fine, many are refused, and nothing
// overflows.
static void test_nesting(void **state) {
    (void)state;
    size_t cycles = 0;
    for (size_t i = 0; i < n_known; i++)
        for (unsigned k = 0; k < known[i]->n_fields; k++) {
            const ProtobufCFieldDescriptor *f = &known[i]->fields[k];
            struct way in = {.n = 0}, round = {.n = 0};
            if (f->type != PROTOBUF_C_TYPE_MESSAGE) continue;
            if (f->descriptor != known[i] && !way_to(f->descriptor, known[i], &round)) continue;
            assert_true(i == 0 || way_to(&onnx__model_proto__descriptor, known[i], &in));
            cycles++;
            static const int depths[] = {5, 100000};
            for (int d = 0; d < 2; d++) {
                struct str b = STR_INIT;
                for (int n = 0; n < depths[d]; n++) {
                    wrap_all(&b, &round);
                    wrap(&b, f->id);
                }
                wrap_all(&b, &in);
                reverse(&b);
                assert_int_equal(fine(&b), d == 0);
                if (d && !strstr(said, "nested more than 64 deep")) fail_msg("%s: %s", f->name, said);
                str_release(&b);
            }
        }
    assert_true(cycles >= 8); // subgraphs, functions, types of optional sequences of maps, ...
}

// Every text of the schema: a NUL would cut it, and bytes that are no UTF-8 cannot be shown or written elsewhere.
static void test_texts(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t n;
        const char *says; // NULL: fine
    } cases[] = {{"gr\xc3\xb6\xc3\x9f\x65", 7, NULL},
                 {"evil\0.weight", 12, "the text \"evil\\x00.weight\""},
                 {"caf\xe9", 4, "the text \"caf\\xe9\""}};
    size_t texts = 0;
    for (size_t i = 0; i < n_known; i++)
        for (unsigned k = 0; k < known[i]->n_fields; k++) {
            const ProtobufCFieldDescriptor *f = &known[i]->fields[k];
            if (f->type != PROTOBUF_C_TYPE_STRING) continue;
            texts++;
            struct way in = {.n = 0};
            assert_true(i == 0 || way_to(&onnx__model_proto__descriptor, known[i], &in));
            for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
                struct str b = STR_INIT;
                for (size_t n = cases[c].n; n--;) back(&b, (unsigned char)cases[c].text[n]);
                wrap(&b, f->id);
                wrap_all(&b, &in);
                reverse(&b);
                bool refused = cases[c].says && (c == 1 || strcmp(f->name, "doc_string") != 0);
                assert_int_equal(fine(&b), !refused);
                if (refused && (!strstr(said, cases[c].says) || !strstr(said, f->name)))
                    fail_msg("%s: %s", f->name, said);
                str_release(&b);
            }
        }
    assert_true(texts > 20);
}

// Two bytes a message take hundreds in memory: that is counted first.
static void test_memory(void **state) {
    (void)state;
    enum { NODES = 1 << 20 };
    struct str b = STR_INIT;
    for (int i = 0; i < NODES; i++) {
        back(&b, 0);
        back(&b, 1 << 3 | 2);
    }
    wrap(&b, 7);
    reverse(&b);
    uint64_t before = budget_bytes();
    assert_true(fine(&b));
    budget_set(100 << 20);
    assert_false(fine(&b));
    assert_non_null(strstr(said, "cannot be unpacked: it would take"));
    assert_non_null(strstr(said, "--max-memory"));
    budget_set(before);
    str_release(&b);
}

// protobuf merges a message that comes again, by a copy of all before.
static void test_merges(void **state) {
    (void)state;
    struct str b = STR_INIT;
    for (int i = 0; i < 10; i++) str_addn(&b, "\x3a\0", 2); // graph
    assert_true(fine(&b));
    for (int i = 0; i < 1000; i++) str_addn(&b, "\x3a\0", 2);
    assert_false(fine(&b));
    assert_non_null(strstr(said, "repeats its field graph too often"));
    str_release(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nesting), cmocka_unit_test(test_texts),
                                       cmocka_unit_test(test_memory), cmocka_unit_test(test_merges)};
    return cmocka_run_group_tests(tests, learn_schema, NULL);
}
