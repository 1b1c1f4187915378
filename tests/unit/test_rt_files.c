// .npy and safetensors: round trips, what numpy writes, every truncation and thousands of flipped bytes; random
// numbers.
#include "../../runtime/runtime.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/smkd-test-XXXXXX";

static void put(const void *data, size_t n) { assert_int_equal(io_write_file(path, data, n), SMKD_OK); }

static void says(enum smkd_result r, const char *words) {
    assert_int_not_equal(r, SMKD_R_OK);
    if (!strstr(smkd_last_error(), words) || strchr(smkd_last_error(), '\n'))
        fail_msg("\"%s\" should say \"%s\"", smkd_last_error(), words);
}

// A version `v` .npy with that header dict and `n` bytes of elements (0, 1, 2 ...).
static void put_npy(int v, const char *dict, size_t n) {
    unsigned char b[1024] = {0x93, 'N', 'U', 'M', 'P', 'Y', (unsigned char)v, 0};
    size_t len = strlen(dict), head = v == 1 ? 10 : 12;
    b[8] = (unsigned char)len;
    b[9] = (unsigned char)(len >> 8);
    memcpy(b + head, dict, len);
    for (size_t i = 0; i < n; i++) b[head + len + i] = (unsigned char)i;
    put(b, head + len + n);
}

static void npy_good(void **state) {
    (void)state;
    static const struct {
        const char *descr;
        enum rt_dtype t;
    } types[] = {{"<f4", RT_F32},  {"<f8", RT_F64}, {"<i8", RT_I64}, {"<i4", RT_I32}, {"|u1", RT_U8},
                 {"|b1", RT_BOOL}, {"<f2", RT_F16}, {"|i1", RT_I8},  {"<i2", RT_I16}, {"<u2", RT_U16},
                 {"<u4", RT_U32},  {"<u8", RT_U64}, {"i4", RT_I32}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (int v = 1; v <= 3; v++) {
            char dict[128];
            struct rt_tensor t;
            snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': (2, 3), }   \n",
                     types[i].descr);
            put_npy(v, dict, 6 * rt_dtype_size(types[i].t));
            assert_int_equal(rt_npy_read(path, &t), SMKD_R_OK);
            assert_true(t.dtype == types[i].t && t.rank == 2 && t.dims[0] == 2 && t.dims[1] == 3 && t.numel == 6);
            assert_true(((unsigned char *)t.data)[t.bytes - 1] == t.bytes - 1 && (uintptr_t)t.data % 64 == 0);
            rt_tensor_release(&t);
        }
    static const struct {
        const char *shape;
        int rank;
        size_t numel;
    } shapes[] = {{"()", 0, 1}, {"(5,)", 1, 5}, {"(0, 7)", 2, 0}, {"(1, 1, 1, 1, 1, 1, 1, 2)", 8, 2}};
    for (size_t i = 0; i < 4; i++) {
        char dict[128];
        struct rt_tensor t, back;
        snprintf(dict, sizeof dict, "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }\n", shapes[i].shape);
        put_npy(1, dict, shapes[i].numel * 4);
        assert_int_equal(rt_npy_read(path, &t), SMKD_R_OK);
        assert_true(t.rank == shapes[i].rank && t.numel == shapes[i].numel);
        assert_int_equal(rt_npy_write(path, &t), SMKD_R_OK);
        assert_int_equal(rt_npy_read(path, &back), SMKD_R_OK);
        assert_true(back.rank == t.rank && back.bytes == t.bytes && memcmp(back.data, t.data, t.bytes) == 0);
        rt_tensor_release(&t);
        rt_tensor_release(&back);
    }
}

// The other byte order, and Fortran's order of a matrix: [[0, 1, 2], [3, 4, 5]] stored by columns.
static void npy_orders(void **state) {
    (void)state;
    struct rt_tensor t;
    put_npy(1, "{'descr': '>i2', 'fortran_order': False, 'shape': (2, 3), }", 12);
    assert_int_equal(rt_npy_read(path, &t), SMKD_R_OK);
    for (int i = 0; i < 6; i++) assert_int_equal(((int16_t *)t.data)[i], 2 * i << 8 | (2 * i + 1));
    rt_tensor_release(&t);
    put_npy(1, "{'descr': '>f8', 'fortran_order': False, 'shape': (1,), }", 8);
    assert_int_equal(rt_npy_read(path, &t), SMKD_R_OK);
    uint64_t bits;
    memcpy(&bits, t.data, sizeof bits);
    assert_true(bits == UINT64_C(0x0001020304050607));
    rt_tensor_release(&t);
    put_npy(1, "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }", 6);
    assert_int_equal(rt_npy_read(path, &t), SMKD_R_OK);
    assert_memory_equal(t.data, ((uint8_t[]){0, 2, 4, 1, 3, 5}), 6);
    rt_tensor_release(&t);
    put_npy(1, "{'descr': '>u2', 'fortran_order': True, 'shape': (2, 1, 2), }", 8);
    assert_int_equal(rt_npy_read(path, &t), SMKD_R_OK);
    assert_memory_equal(t.data, ((uint8_t[]){1, 0, 5, 4, 3, 2, 7, 6}), 8);
    rt_tensor_release(&t);
}

// What is no .npy of numbers is named, with what makes one of it.
static void npy_others(void **state) {
    (void)state;
    struct rt_tensor t;
    static const struct {
        const char *descr, *words;
    } kinds[] = {{"'|O'", "pickled Python objects"},
                 {"'|O'", "allow_pickle=True).item(); n.save('plain.npy', d['KEY'])"},
                 {"'<U5'", "text; numbers are expected, save x.astype(numpy.int64)"},
                 {"'<c8'", "complex"},
                 {"'<M8[s]'", "dates"},
                 {"'<f16'", "astype(numpy.float64)"},
                 {"[('label', '<i8'), ('b', '<i4')]", "fields, the first is \"label\"; save one of them, x['label']"},
                 {"[", "fields"},
                 {"''", "not known"},
                 {"'<'", "not known"},
                 {"'<q8'", "not known"},
                 {"'<i3'", "not known"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char dict[128];
        snprintf(dict, sizeof dict, "{'descr': %s, 'fortran_order': False, 'shape': (1,), }", kinds[i].descr);
        put_npy(1, dict, 8);
        says(rt_npy_read(path, &t), kinds[i].words);
        assert_null(t.data);
    }
#define BYTES(s) s, sizeof s - 1
    static const struct {
        const char *bytes;
        size_t n;
        const char *words;
    } files[] = {{BYTES("PK\3\4....archive/data.pkl...worse_label"), "torch.load("},
                 {BYTES("PK\3\4....archive/data.pkl...worse_label"), "d['worse_label']"},
                 {BYTES("PK\3\4....arr_0.npy"), "an .npz archive"},
                 {BYTES("PK\3\4"), "a zip archive"},
                 {BYTES("\x80\x04\x95noisy_label"), "pickle.load(open("},
                 {BYTES("\x1f\x8b...."), "gunzip"},
                 {BYTES("\0\0\x08\x01\0\0\0\1\5"), "an IDX file of labels"},
                 {BYTES("\xff\xfe"
                        "1\0"),
                  "UTF-16"},
                 {BYTES("1\n2\n3\n4\n5\n6\n"), "no NUMPY magic"},
                 {BYTES("P"), "no NUMPY magic"},
                 {BYTES(""), "no NUMPY magic"}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        put(files[i].bytes, files[i].n);
        says(rt_npy_read(path, &t), files[i].words);
    }
}

// Every number of the small types, and the borders of the large ones.
static void conversions(void **state) {
    (void)state;
    struct rt_tensor t;
    static uint16_t h[65536];
    for (int i = 0; i < 65536; i++) h[i] = (uint16_t)i;
    t = (struct rt_tensor){.dtype = RT_F16, .numel = 65536, .bytes = sizeof h, .data = h, .borrowed = true};
    assert_int_equal(rt_tensor_convert(&t, RT_F32, "p", "element"), SMKD_R_OK);
    const float *f = t.data;
    assert_true(f[0x3c00] == 1 && f[0xc000] == -2 && f[0x7bff] == 65504 && f[1] == 0x1p-24f && f[0x0400] == 0x1p-14f);
    assert_true(isinf(f[0x7c00]) && isinf(f[0xfc00]) && isnan(f[0x7e00]) && signbit(f[0x8000]));
    for (int i = 0; i < 0x7c00; i++) assert_true(f[i] == -f[i | 0x8000] && (i == 0 || f[i] > f[i - 1]));
    rt_tensor_release(&t);
    t = (struct rt_tensor){.dtype = RT_BF16, .numel = 65536, .bytes = sizeof h, .data = h, .borrowed = true};
    assert_int_equal(rt_tensor_convert(&t, RT_F32, "p", "element"), SMKD_R_OK);
    for (uint32_t i = 0; i < 65536; i++) {
        uint32_t bits;
        memcpy(&bits, (float *)t.data + i, sizeof bits);
        if (!isnan(((float *)t.data)[i])) assert_true(bits == i << 16);
    }
    rt_tensor_release(&t);
    static const struct {
        double v;
        enum rt_dtype to;
        const char *words; // NULL: fits
    } cases[] = {{255, RT_U8, NULL},
                 {256, RT_U8, "p: label 0 is 256, which uint8 does not hold"},
                 {-1, RT_U8, "p: label 0 is -1"},
                 {-128, RT_I8, NULL},
                 {2.5, RT_I64, "p: label 0 is 2.5, expected a whole number"},
                 {NAN, RT_I64, "label 0 is nan"},
                 {INFINITY, RT_I32, "label 0 is inf"},
                 {1e300, RT_I64, "label 0 is 1e+300"},
                 {0x1p63, RT_I64, "label 0 is 9.22337204e+18"},
                 {-0x1p63, RT_I64, NULL},
                 {0x1p63, RT_U64, "whole number of 64 bits"},
                 {3.5e38, RT_F32, "label 0 is 3.5e+38, which float32 does not hold"},
                 {INFINITY, RT_F32, NULL},
                 {1e-300, RT_F32, NULL},
                 {2, RT_BOOL, "which bool does not hold"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double v = cases[i].v;
        t = (struct rt_tensor){.dtype = RT_F64, .numel = 1, .bytes = 8, .data = &v, .borrowed = true};
        enum smkd_result r = rt_tensor_convert(&t, cases[i].to, "p", "label");
        if (cases[i].words) {
            says(r, cases[i].words);
            assert_true(t.data == &v && t.dtype == RT_F64); // left alone
        } else {
            assert_int_equal(r, SMKD_R_OK);
            assert_true(t.dtype == cases[i].to && t.bytes == rt_dtype_size(t.dtype));
        }
        rt_tensor_release(&t);
    }
    uint64_t big = UINT64_MAX;
    t = (struct rt_tensor){.dtype = RT_U64, .numel = 1, .bytes = 8, .data = &big, .borrowed = true};
    says(rt_tensor_convert(&t, RT_I64, "p", "label"), "label 0 is 1.84467441e+19");
}

static void npy_bad(void **state) {
    (void)state;
    static const struct {
        const char *dict, *words;
        size_t bytes;
    } cases[] = {
        {"{'descr': '<f4', 'fortran_order': 1, 'shape': (2,), }", "neither True nor False", 8},
        {"{'descr': '<f4', 'shape': (2,), }", "lacks", 8},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", "shape", 8},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': 2, }", "shape", 8},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2", "shape", 8},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4294967296), }", "shape", 8},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "shape", 8},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1, 1, 1, 1, 1), }", "shape", 4},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "promises", 8},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "promises", 8}};
    struct rt_tensor t;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_npy(1, cases[i].dict, cases[i].bytes);
        says(rt_npy_read(path, &t), cases[i].words);
        assert_null(t.data);
    }
    put_npy(4, "{}", 8);
    says(rt_npy_read(path, &t), "version");
    says(rt_npy_read("/nonexistent/x.npy", &t), "/nonexistent/x.npy: cannot be read");
    says(rt_npy_read("/tmp", &t), "cannot be read");
}

static void make_good(struct rt_tensors *ts) {
    static float f[6] = {0, 1, 2, 3, 4, 5};
    static int64_t l[2] = {-1, 7};
    static unsigned char u[3] = {1, 2, 3};
    static struct rt_tensor t[] = {
        {.name = (char *)"a/\"quoted\" \xc3\xa4",
         .dtype = RT_F32,
         .rank = 2,
         .dims = {2, 3},
         .numel = 6,
         .bytes = 24,
         .data = f},
        {.name = (char *)"labels", .dtype = RT_I64, .rank = 1, .dims = {2}, .numel = 2, .bytes = 16, .data = l},
        {.name = (char *)"none", .dtype = RT_F32, .rank = 1, .dims = {0}, .numel = 0, .bytes = 0, .data = f},
        {.name = (char *)"scalar", .dtype = RT_F64, .rank = 0, .numel = 1, .bytes = 8, .data = f},
        {.name = (char *)"bytes", .dtype = RT_U8, .rank = 1, .dims = {3}, .numel = 3, .bytes = 3, .data = u}};
    static char *keys[] = {(char *)"epoch"}, *values[] = {(char *)"3"};
    *ts = (struct rt_tensors){.t = t, .n = 5, .meta_keys = keys, .meta_values = values, .n_meta = 1};
}

static void safetensors_good(void **state) {
    (void)state;
    struct rt_tensors ts, back;
    make_good(&ts);
    assert_int_equal(rt_safetensors_write(path, &ts), SMKD_R_OK);
    assert_int_equal(rt_safetensors_read(path, &back), SMKD_R_OK);
    assert_true(back.n == 5 && back.n_meta == 1);
    assert_string_equal(rt_tensors_meta(&back, "epoch"), "3");
    for (size_t i = 0; i < ts.n; i++) {
        const struct rt_tensor *t = rt_tensors_find(&back, ts.t[i].name);
        assert_non_null(t);
        assert_true(t->dtype == ts.t[i].dtype && t->rank == ts.t[i].rank && t->bytes == ts.t[i].bytes);
        if (t->bytes) assert_memory_equal(t->data, ts.t[i].data, t->bytes);
    }
    rt_tensors_release(&back);
    char below[64];
    snprintf(below, sizeof below, "%s/x", path); // a file is no folder, whoever asks
    says(rt_safetensors_write(below, &ts), "cannot be written");
}

static void safetensors_bad(void **state) {
    (void)state;
#define ONE(shape, a, b) "{\"t\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" #a "," #b "]}}"
    static const struct {
        const char *json, *words;
    } cases[] = {// eight bytes of elements follow
                 {"[]", "JSON object"},
                 {"{", "JSON object"},
                 {"{\"t\":3}", "lacks"},
                 {"{\"t\":[\"F32\"]}", "lacks"},
                 {"{\"__metadata__\":[\"x\"]}", "strings only"},
                 {"{\"__metadata__\":{\"k\":1}}", "strings only"},
                 {"{\"__metadata__\":{},\"__metadata__\":{}}", "twice"},
                 {"{\"t\":{\"dtype\":\"F8_E5M2\",\"shape\":[8],\"data_offsets\":[0,8]}}", "type F8_E5M2"},
                 {ONE("[3]", 0, 8), "do not fit"},
                 {ONE("[2]", 0, 16), "do not fit"},
                 {ONE("[2]", 8, 0), "do not fit"},
                 {ONE("[2]", -8, 0), "do not fit"},
                 {ONE("[4]", 0, 16), "do not fit"},
                 {ONE("[2]", 0.5, 8.5), "do not fit"},
                 {ONE("[-2]", 0, 8), "bad shape"},
                 {ONE("[1e300]", 0, 8), "bad shape"},
                 {ONE("[4294967296,4294967296,2]", 0, 8), "bad shape"},
                 {ONE("[1,1,1,1,1,1,1,1,2]", 0, 8), "bad shape"},
                 {ONE("[1]", 0, 4), "end at byte 4 of 8"},
                 {ONE("[1]", 4, 8), "does not begin"},
                 {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":["
                  "2],\"data_offsets\":[0,8]}}",
                  "does not begin"},
                 {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":["
                  "1],\"data_offsets\":[4,8]}}",
                  "twice"}};
    struct rt_tensors ts;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned char b[512] = {0};
        size_t n = strlen(cases[i].json);
        b[0] = (unsigned char)n;
        memcpy(b + 8, cases[i].json, n);
        put(b, 8 + n + 8);
        says(rt_safetensors_read(path, &ts), cases[i].words);
        assert_true(ts.n == 0 && ts.t == NULL);
    }
    // A header nested deeper than the parser's stack is an error, not an overflow.
    static unsigned char deep[8 + 200000];
    memset(deep + 8, '[', sizeof deep - 8);
    for (int i = 0; i < 4; i++) deep[i] = (unsigned char)((sizeof deep - 8) >> 8 * i);
    put(deep, sizeof deep);
    says(rt_safetensors_read(path, &ts), "nested more than 32 deep");
    memset(deep, 0xff, 8);
    put(deep, 100);
    says(rt_safetensors_read(path, &ts), "header claims");
}

static void read_both(const unsigned char *b, size_t n, bool must_fail) {
    struct rt_tensors ts;
    struct rt_tensor t;
    put(b, n);
    enum smkd_result r = rt_safetensors_read(path, &ts), q = rt_npy_read(path, &t);
    if (must_fail) assert_true(r != SMKD_R_OK && q != SMKD_R_OK);
    rt_tensors_release(&ts);
    rt_tensor_release(&t);
}

// Nothing crashes (the sanitizer builds look closer), and nothing that was cut off is taken for whole.
static void damaged(void **state) {
    (void)state;
    struct rt_tensors ts;
    make_good(&ts);
    for (int kind = 0; kind < 2; kind++) {
        if (kind == 0)
            assert_int_equal(rt_safetensors_write(path, &ts), SMKD_R_OK);
        else
            assert_int_equal(rt_npy_write(path, &ts.t[0]), SMKD_R_OK);
        const void *data;
        size_t size;
        assert_int_equal(io_map(path, &data, &size), SMKD_OK);
        unsigned char *b = xmalloc(size);
        memcpy(b, data, size);
        io_unmap(data, size);
        for (size_t n = 0; n < size; n++) read_both(b, n, true);
        struct rt_rng rng;
        rt_rng_init(&rng, 3, (uint64_t)kind);
        for (int i = 0; i < 3000; i++) {
            size_t where[3];
            unsigned char old[3];
            int flips = 1 + (int)rt_rng_below(&rng, 3);
            for (int k = 0; k < flips; k++) {
                where[k] = (size_t)rt_rng_below(&rng, size);
                old[k] = b[where[k]];
                b[where[k]] = (unsigned char)rt_rng_u32(&rng);
            }
            read_both(b, size, false);
            for (int k = flips; k-- > 0;) b[where[k]] = old[k];
        }
        free(b);
    }
}

// Known answers of Random123 for Philox4x32-10.
static void philox(void **state) {
    (void)state;
    static const struct {
        uint64_t key, stream, counter;
        uint32_t want[4];
    } cases[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
    for (int i = 0; i < 3; i++) {
        struct rt_rng r;
        rt_rng_init(&r, cases[i].key, cases[i].stream);
        r.counter = cases[i].counter;
        for (int k = 0; k < 4; k++) assert_int_equal(rt_rng_u32(&r), cases[i].want[k]);
    }
}

static void random_numbers(void **state) {
    (void)state;
    struct rt_rng r, other;
    rt_rng_init(&r, 1, 2);
    rt_rng_init(&other, 1, 3);
    assert_int_not_equal(rt_rng_u32(&r), rt_rng_u32(&other));
    int counts[7] = {0};
    double sum = 0;
    for (int i = 0; i < 70000; i++) {
        counts[rt_rng_below(&r, 7)]++;
        double u = rt_rng_uniform(&r);
        assert_true(u >= 0 && u < 1);
        sum += u;
    }
    for (int i = 0; i < 7; i++) assert_in_range(counts[i], 9600, 10400);
    assert_true(sum > 34600 && sum < 35400);
    int64_t idx[100];
    bool seen[100] = {0};
    for (int i = 0; i < 100; i++) idx[i] = i;
    rt_rng_shuffle(&r, idx, 100);
    int moved = 0;
    for (int i = 0; i < 100; i++) {
        assert_false(seen[idx[i]]);
        seen[idx[i]] = true;
        moved += idx[i] != i;
    }
    assert_true(moved > 90);
    // State is copied by value: a copy goes on as the original does.
    struct rt_rng copy = r;
    for (int i = 0; i < 9; i++) assert_int_equal(rt_rng_u32(&r), rt_rng_u32(&copy));
}

static int make_file(void **state) {
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int drop_file(void **state) {
    (void)state;
    return unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(npy_good),        cmocka_unit_test(npy_bad),
                                       cmocka_unit_test(npy_orders),      cmocka_unit_test(npy_others),
                                       cmocka_unit_test(conversions),     cmocka_unit_test(safetensors_good),
                                       cmocka_unit_test(safetensors_bad), cmocka_unit_test(damaged),
                                       cmocka_unit_test(philox),          cmocka_unit_test(random_numbers)};
    return cmocka_run_group_tests(tests, make_file, drop_file);
}
