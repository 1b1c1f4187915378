// The built-in backbones: every architecture parses back as ONNX with the published parameter count, a sane
// initialisation and a batch that stays symbolic. (What onnxruntime makes of them is tests/oracle/test_zoo.py's.)
#include "../../frontend/frontend.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

// Just enough protobuf to read a model back without the room that knows the schema.
struct cursor {
    const unsigned char *p, *end;
};

static uint64_t varint(struct cursor *c) {
    uint64_t v = 0;
    for (int shift = 0; c->p < c->end && shift < 64; shift += 7) {
        unsigned char b = *c->p++;
        v |= (uint64_t)(b & 127) << shift;
        if (b < 128) return v;
    }
    fail_msg("truncated varint");
    return 0;
}

// Next field: number, and its bytes (wire type 2) or value. 0 at the end.
static unsigned next_field(struct cursor *c, struct cursor *bytes, uint64_t *value) {
    if (c->p == c->end) return 0;
    uint64_t key = varint(c);
    *bytes = (struct cursor){0};
    *value = 0;
    switch (key & 7) {
    case 0:
        *value = varint(c);
        break;
    case 2: {
        uint64_t n = varint(c);
        assert_true(n <= (uint64_t)(c->end - c->p));
        *bytes = (struct cursor){c->p, c->p + n};
        c->p += n;
        break;
    }
    case 5:
        assert_true(c->end - c->p >= 4);
        c->p += 4;
        break;
    default:
        fail_msg("wire type %d", (int)(key & 7));
    }
    return (unsigned)(key >> 3);
}

enum {
    MODEL_GRAPH = 7,
    GRAPH_NODE = 1,
    GRAPH_INIT = 5,
    TENSOR_DIMS = 1,
    TENSOR_TYPE = 2,
    TENSOR_NAME = 8,
    TENSOR_RAW = 9,
    FLOAT = 1
};

struct tensor {
    char name[96];
    int64_t dims[8];
    int rank;
    uint64_t type;
    struct cursor raw;
};

static struct tensor read_tensor(struct cursor c) {
    struct tensor t = {0};
    struct cursor b;
    uint64_t v;
    for (unsigned f; (f = next_field(&c, &b, &v));) {
        if (f == TENSOR_DIMS) t.dims[t.rank++] = (int64_t)v;
        if (f == TENSOR_TYPE) t.type = v;
        if (f == TENSOR_NAME) snprintf(t.name, sizeof t.name, "%.*s", (int)(b.end - b.p), (const char *)b.p);
        if (f == TENSOR_RAW) t.raw = b;
    }
    return t;
}

struct summary {
    int64_t params, statistics;
    int nodes;
    bool sane;        // BatchNorm vectors are at their start values, weights finite
    double conv1_std; // of conv1.weight
    int64_t conv1_elements;
};

static bool all_are(const float *v, size_t n, float x) {
    for (size_t i = 0; i < n; i++)
        if (v[i] != x) return false;
    return true;
}

static void add_tensor(struct summary *s, const struct tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->dims[i];
    if (t->type != FLOAT) return;
    assert_int_equal(t->raw.end - t->raw.p, n * 4);
    if (n > 1000000) { // counted, not looked at: the large networks would take most of the test's time
        s->params += n;
        return;
    }
    float *v = malloc((size_t)n * 4);
    memcpy(v, t->raw.p, (size_t)n * 4);
    double sum = 0, sq = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += v[i];
        sq += (double)v[i] * v[i];
    }
    if (!isfinite(sum) || !isfinite(sq)) s->sane = false;
    const bool mean = str_has_suffix(t->name, ".running_mean"), var = str_has_suffix(t->name, ".running_var");
    if (mean || var) {
        s->statistics += n;
        if (!all_are(v, (size_t)n, var ? 1.0f : 0.0f)) s->sane = false;
    } else {
        s->params += n;
        if (strstr(t->name, "bn1.weight") && !all_are(v, (size_t)n, 1.0f)) s->sane = false;
    }
    if (!strcmp(t->name, "conv1.weight")) {
        s->conv1_std = sqrt(sq / (double)n - sum / (double)n * (sum / (double)n));
        s->conv1_elements = n;
    }
    free(v);
}

static struct summary summarise(const char *path) {
    struct summary s = {.sane = true};
    const void *data;
    size_t size;
    assert_int_equal(io_map(path, &data, &size), SMKD_OK);
    struct cursor model = {data, (const unsigned char *)data + size}, graph = {0}, b;
    uint64_t v;
    for (unsigned f; (f = next_field(&model, &b, &v));)
        if (f == MODEL_GRAPH) graph = b;
    for (unsigned f; (f = next_field(&graph, &b, &v));) {
        if (f == GRAPH_NODE) s.nodes++;
        if (f == GRAPH_INIT) {
            struct tensor t = read_tensor(b);
            add_tensor(&s, &t);
        }
    }
    io_unmap(data, size);
    return s;
}

// --- errors -------------------------------------------------------------------------------------------------------

struct heard {
    int n;
    char line[512];
};
static void hear(void *env, enum diag_severity sev, const char *line) {
    struct heard *h = env;
    (void)sev;
    h->n++;
    snprintf(h->line, sizeof h->line, "%s", line);
}

static char path[64];

static enum smkd_status make(const char *arch, struct fe_new_options o, struct heard *h) {
    struct diag d = {.sink = hear, .env = h};
    *h = (struct heard){0};
    return fe_new(arch, &o, path, &d);
}

// --- tests ----------------------------------------------------------------------------------------------------------

static const struct {
    const char *arch;
    struct fe_new_options o;
    int64_t params;
} published[] = {
    {"resnet8", {.classes = 10}, 75290},
    {"resnet8s", {.classes = 10}, 75290},
    {"resnet20", {.classes = 10}, 269722}, // He et al. 2016, table 6: 0.27M
    {"resnet32", {.classes = 10}, 464154}, // 0.46M
    {"resnet44", {.classes = 10}, 658586}, // 0.66M
    {"resnet56", {.classes = 10}, 853018}, // 0.85M
    {"resnet18", {3, 224, 224, .classes = 1000}, 11689512},
    {"resnet34", {3, 224, 224, .classes = 1000}, 21797672},
    {"resnet50", {3, 224, 224, .classes = 1000}, 25557032},
    {"resnext50_32x4d", {3, 224, 224, .classes = 1000}, 25028904},
    {"resnet18", {.classes = 10}, 11173962}, // 3x3 stem
    {"preact_resnet18", {.classes = 10}, 11171274},
    {"preact_resnet18", {.classes = 100}, 11217444},
    {"shufflenet_v2_x1_0", {3, 224, 224, .classes = 1000}, 2278604},
    {"shufflenet_v2_x1_0", {.classes = 1000}, 2278604},
    {"inception_resnet_v2", {.classes = 1000}, 55843464},
    // With the side heads of PS-KD + BYOT + DMFL: 13.0, 50.4 and 37.9 million for CIFAR-100.
    {"resnet18", {.classes = 100, .heads = 3}, 13011152},
    {"resnet50", {.classes = 100, .heads = 3}, 50430928},
    {"resnext50_32x4d", {.classes = 100, .heads = 3}, 37898448},
    {"resnext50", {.classes = 100, .heads = 3}, 37898448},
    {"resnet18", {3, 224, 224, .classes = 1000, .heads = 3}, 14865632},
    {"resnet18", {.classes = 100, .heads = 1}, 12396040},
};

static void counts_equal_the_published_ones(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        struct heard h;
        assert_int_equal(make(published[i].arch, published[i].o, &h), SMKD_OK);
        struct summary s = summarise(path);
        if (s.params != published[i].params) fail_msg("%s: %lld", published[i].arch, (long long)s.params);
        assert_true(s.sane);
        assert_true(s.statistics > 0 && s.nodes > 10);
    }
}

static void every_architecture_is_in_the_table_above(void **state) {
    (void)state;
    for (const struct fe_arch *a = fe_archs; a->name; a++) {
        bool found = false;
        for (size_t i = 0; i < sizeof published / sizeof *published; i++) found |= !strcmp(published[i].arch, a->name);
        if (!found || !a->doc) fail_msg("%s has no published count in this test", a->name);
    }
}

static void odd_inputs_and_widths(void **state) {
    (void)state;
    static const struct {
        const char *arch;
        struct fe_new_options o;
    } cases[] = {{"resnet8s", {1, 28, 28, .classes = 10, .width_base = 32}},
                 {"resnet20", {1, 29, 31, .classes = 2, .width_base = 5}},
                 {"resnet8", {1, 1, 1, .classes = 1, .width_base = 1}},
                 {"resnet50", {4, 65, 33, .classes = 7}},
                 {"resnet50", {4, 65, 33, .classes = 7, .heads = 3}},
                 {"resnet18", {1, 28, 28, .classes = 2, .heads = 2}},
                 {"resnet34", {1, 1, 1, .classes = 1, .heads = 3}},
                 {"resnext50", {1, 16, 64, .classes = 2, .heads = 3}},
                 {"shufflenet_v2_x1_0", {1, 28, 28, .classes = 10}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct heard h;
        assert_int_equal(make(cases[i].arch, cases[i].o, &h), SMKD_OK);
    }
}

static void initialisation_is_he_normal_by_fan_out(void **state) {
    (void)state;
    struct heard h;
    make("resnet18", (struct fe_new_options){3, 224, 224, .classes = 10}, &h);
    struct summary s = summarise(path);
    assert_int_equal(s.conv1_elements, 64 * 3 * 49);
    // sqrt(2 / (64 * 7 * 7)); 9408 samples put the estimate within 3 % of it (4 standard errors).
    double want = sqrt(2.0 / (64 * 49));
    assert_true(fabs(s.conv1_std - want) < 0.03 * want);
}

static uint64_t file_hash(void) {
    const void *data;
    size_t size;
    assert_int_equal(io_map(path, &data, &size), SMKD_OK);
    uint64_t hash = fnv1a(FNV_INIT, data, size);
    io_unmap(data, size);
    return hash;
}

static void equal_seeds_give_equal_files(void **state) {
    (void)state;
    struct heard h;
    make("resnet8", (struct fe_new_options){.seed = 7}, &h);
    uint64_t a = file_hash();
    make("resnet8", (struct fe_new_options){.seed = 7}, &h);
    assert_true(a == file_hash());
    make("resnet8", (struct fe_new_options){.seed = 8}, &h);
    assert_true(a != file_hash());
}

static void bad_requests_get_one_line_and_no_file(void **state) {
    (void)state;
    static const struct {
        const char *arch;
        struct fe_new_options o;
        const char *says;
    } cases[] = {{"resnet19", {0}, "resnet20"}, // lists what there is
                 {"inception_resnet_v2", {3, 32, 32, .classes = 10}, "at least 3x75x75"},
                 {"inception_resnet_v2", {3, 75, 74, .classes = 10}, "at least 3x75x75"},
                 {"resnet18", {.width_base = 8}, "--width"},
                 {"resnet8", {3, 32, -1, .classes = 10}, "input width -1"},
                 {"resnet8", {3, 0, 32, .classes = 10}, "input height 0"},
                 {"resnet8", {.classes = -1}, "classes -1"},
                 {"resnet8", {.heads = 1}, "--heads is for ResNet-18"},
                 {"resnet18", {.heads = 4}, "--heads 4: expected 0 to 3"},
                 {"resnext50", {3, 28, 28, .heads = 3}, "even height and width"},
                 {"resnext", {0}, "unknown architecture"},
                 {"resnet", {0}, "unknown architecture"},
                 {"resnet8", {.classes = 1000000, .width_base = 4096}, "more than 500000000 parameters"}};
    unlink(path);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct heard h;
        assert_int_equal(make(cases[i].arch, cases[i].o, &h), SMKD_INVALID);
        assert_int_equal(h.n, 1);
        if (!strstr(h.line, cases[i].says)) fail_msg("\"%s\" does not say \"%s\"", h.line, cases[i].says);
        assert_int_not_equal(access(path, F_OK), 0);
    }
}

static void an_unwritable_path_is_reported(void **state) {
    (void)state;
    struct heard h;
    struct diag d = {.sink = hear, .env = &h};
    h = (struct heard){0};
    assert_int_equal(fe_new("resnet8", &(struct fe_new_options){0}, "/nonexistent/folder/x.onnx", &d), SMKD_IO);
    assert_int_equal(h.n, 1);
    assert_non_null(strstr(h.line, "No such file"));
}

static int setup(void **state) {
    (void)state;
    snprintf(path, sizeof path, "test_zoo.%ld.onnx", (long)getpid());
    return 0;
}

static int teardown(void **state) {
    (void)state;
    unlink(path);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_equal_the_published_ones), cmocka_unit_test(every_architecture_is_in_the_table_above),
        cmocka_unit_test(odd_inputs_and_widths),           cmocka_unit_test(initialisation_is_he_normal_by_fan_out),
        cmocka_unit_test(equal_seeds_give_equal_files),    cmocka_unit_test(bad_requests_get_one_line_and_no_file),
        cmocka_unit_test(an_unwritable_path_is_reported),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
