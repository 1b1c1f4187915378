// Arrays as training data: .npy pairs and .npz archives made here, what their samples are, and what is wrong with them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../../runtime/data.h"
#include "../../runtime/data_arrays.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

static char dir[64];
static struct rt_arrays a;

static const char *at(const char *name) {
    static char buf[8][256];
    static int k;
    k = (k + 1) % 8;
    snprintf(buf[k], sizeof buf[k], "%s/%s", dir, name);
    return buf[k];
}

// A .npy of `n` bytes of elements. `type` is numpy's, "|u1" for instance.
static size_t npy(unsigned char *out, const char *type, const char *shape, const void *data, size_t n) {
    char head[128];
    memset(head, ' ', sizeof head);
    memcpy(head, "\x93NUMPY\1\0\x76\0", 10);
    int len =
        snprintf(head + 10, sizeof head - 10, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", type, shape);
    head[10 + len] = ' ';
    head[127] = '\n';
    memcpy(out, head, sizeof head);
    memcpy(out + sizeof head, data, n);
    return sizeof head + n;
}

static unsigned char buf[1 << 16];

static void put(const char *name, const char *type, const char *shape, const void *data, size_t n) {
    assert_int_equal(io_write_file(at(name), buf, npy(buf, type, shape, data, n)), SMKD_OK);
}

static char *join(const char *names) { // "a,b" below dir
    static char text[1024];
    size_t n = 0;
    for (const char *p = names; p;) {
        size_t len = strcspn(p, ",");
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s/%.*s", n ? "," : "", dir, (int)len, p);
        p = p[len] ? p + len + 1 : NULL;
    }
    return text;
}

static void load_with(const char *names, const struct rt_arrays_options *o) {
    rt_arrays_release(&a);
    const char *where = join(names);
    assert_true(rt_arrays_detect(where));
    if (rt_arrays_load(where, o, &a) != SMKD_R_OK) fail_msg("%s", smkd_last_error());
}
static void load(const char *names) { load_with(names, NULL); }

static void fails_with(const char *names, const struct rt_arrays_options *o, const char *part1, const char *part2) {
    rt_arrays_release(&a);
    assert_int_not_equal(rt_arrays_load(join(names), o, &a), SMKD_R_OK);
    const char *e = smkd_last_error();
    if (!strstr(e, part1) || !strstr(e, part2)) fail_msg("message: %s", e);
    assert_null(strchr(e, '\n'));
}
static void fails(const char *names, const char *part1, const char *part2) { fails_with(names, NULL, part1, part2); }

static uint8_t bytes[600];

static void pixels_stay_in_the_file(void **state) {
    (void)state;
    put("x.npy", "|u1", "4, 3, 5, 6", bytes, 360);
    put("y.npy", "<i8", "4, 1", (int64_t[]){3, 0, 1, 3}, 32);
    put("x2.npy", "|u1", "2, 3, 5, 6", bytes + 100, 180);
    put("y2.npy", "|u1", "2,", (uint8_t[]){5, 1}, 2);
    load("x.npy,y.npy,x2.npy,y2.npy");
    assert_string_equal(a.name, "x");
    assert_int_equal(a.train.n, 4);
    assert_int_equal(a.test.n, 2);
    assert_true(a.has_test);
    assert_int_equal(a.classes, 6);
    assert_int_equal(a.n_targets, 0);
    assert_int_equal(a.train.x.dtype, RT_U8);
    assert_true(a.train.x.borrowed);
    assert_ptr_equal(a.train.x.data, (const char *)a.train.map + 128);
    assert_memory_equal(a.train.x.data, bytes, 360);
    assert_memory_equal(a.test.x.data, bytes + 100, 180);
    assert_int_equal(a.train.labels[3], 3);
    assert_int_equal(a.test.labels[0], 5);
    assert_null(a.train.targets);
    struct rt_array_image im;
    assert_int_equal(rt_arrays_image(&a, "auto", &im), SMKD_R_OK);
    assert_true(im.channels == 3 && im.height == 5 && im.width == 6 && !im.channels_last);
    assert_int_equal(rt_arrays_image(&a, "nhwc", &im), SMKD_R_OK);
    assert_true(im.channels == 6 && im.height == 3 && im.width == 5 && im.channels_last);
    load("x.npy,y.npy");
    assert_false(a.has_test);
    assert_int_equal(a.classes, 4);
}

static void layouts(void **state) {
    (void)state;
    struct rt_array_image im;
    put("x.npy", "|u1", "2, 5, 6, 3", bytes, 180);
    put("y.npy", "|u1", "2,", bytes, 2);
    load("x.npy,y.npy");
    assert_int_equal(rt_arrays_image(&a, NULL, &im), SMKD_R_OK);
    assert_true(im.channels == 3 && im.height == 5 && im.width == 6 && im.channels_last);
    assert_int_equal(rt_arrays_image(&a, "nchw", &im), SMKD_R_OK);
    assert_true(im.channels == 5 && im.height == 6 && im.width == 3 && !im.channels_last);
    put("x.npy", "|u1", "2, 5, 6", bytes, 60);
    load("x.npy,y.npy");
    assert_int_equal(rt_arrays_image(&a, NULL, &im), SMKD_R_OK);
    assert_true(im.channels == 1 && im.height == 5 && im.width == 6);
    put("x.npy", "|u1", "2, 5", bytes, 10);
    load("x.npy,y.npy");
    assert_int_equal(rt_arrays_image(&a, NULL, &im), SMKD_R_OK);
    assert_int_equal(im.channels, 0);
}

static void numbers(void **state) {
    (void)state;
    const double d[] = {1.5, -2, 3e38, 0};
    const int16_t s[] = {-7, 300, 5, 1};
    put("x.npy", "<f8", "2, 2", d, sizeof d);
    put("y.npy", "<f4", "2,", (float[]){0.25f, -1}, 8);
    load("x.npy,y.npy"); // floats are targets
    assert_int_equal(a.train.x.dtype, RT_F32);
    assert_false(a.train.x.borrowed);
    for (int i = 0; i < 4; i++) assert_true(((float *)a.train.x.data)[i] == (float)d[i]);
    assert_int_equal(a.n_targets, 1);
    assert_int_equal(a.classes, 0);
    assert_null(a.train.labels);
    assert_true(a.train.targets[0] == 0.25f && a.train.targets[1] == -1);
    put("x.npy", "<i2", "2, 2", s, sizeof s);
    put("y.npy", "<f8", "2, 1", (double[]){3, 0}, 16);
    load_with("x.npy,y.npy", &(struct rt_arrays_options){.y = RT_Y_LABELS, .classes = 4});
    for (int i = 0; i < 4; i++) assert_true(((float *)a.train.x.data)[i] == s[i]);
    assert_true(a.train.labels[0] == 3 && a.classes == 4);
    put("y.npy", "<i4", "2, 3", (int32_t[]){1, 2, 3, 4, 5, 6}, 24);
    load_with("x.npy,y.npy", &(struct rt_arrays_options){.y = RT_Y_TARGETS});
    assert_int_equal(a.n_targets, 3);
    assert_true(a.train.targets[4] == 5);
    float f[] = {1, 2, 3, 4};
    put("x.npy", "<f4", "2, 2", f, sizeof f);
    load_with("x.npy,y.npy", &(struct rt_arrays_options){.y = RT_Y_TARGETS});
    assert_true(a.train.x.borrowed);
    assert_memory_equal(a.train.x.data, f, sizeof f);
}

static void bad_arrays(void **state) {
    (void)state;
    const float nan_in[] = {1, 2, 3, NAN, 5, 6, 7, 8}, inf_in[] = {1, -INFINITY};
    put("x.npy", "|u1", "2, 4", bytes, 8);
    put("y.npy", "|u1", "2,", (uint8_t[]){0, 1}, 2);
    put("y3.npy", "|u1", "3,", (uint8_t[]){0, 1, 2}, 3);
    fails("x.npy,y3.npy", "y3.npy: is for 3 samples", "x.npy has 2");
    fails("x.npy", "1 array; expected train_x.npy,train_y.npy", "test_x.npy,test_y.npy");
    fails("x.npy,y.npy,x.npy", "3 arrays; expected", "");
    fails("x.npy,y.npy,x.npy,y.npy,x.npy", "5 arrays; expected", "");
    fails("x.npy,gone.npy", "gone.npy: cannot be read: No such file", "");
    fails("y.npy,y.npy", "y.npy: has shape [2], expected [N,C,H,W]", "[N,F]");
    put("z.npy", "|u1", "0, 4", bytes, 0);
    fails("z.npy,y.npy", "z.npy: has shape [0,4], expected at least one sample", "");
    put("n.npy", "<f4", "2, 2, 2", nan_in, sizeof nan_in);
    fails("n.npy,y.npy", "n.npy: element [0,1,1] is nan", "numbers are expected");
    put("i.npy", "<f4", "2,", inf_in, sizeof inf_in);
    fails("x.npy,i.npy", "i.npy: element [1] is -inf", "");
    put("l.npy", "<i8", "2,", (int64_t[]){0, -1}, 16);
    fails("x.npy,l.npy", "l.npy: label 1 is -1, expected 0 to", "");
    fails_with("x.npy,y.npy", &(struct rt_arrays_options){.classes = 1}, "y.npy: label 1 is 1, expected 0 to 0",
               "classes of the model");
    put("f.npy", "<f4", "2,", (float[]){0, 1.5f}, 8);
    fails_with("x.npy,f.npy", &(struct rt_arrays_options){.y = RT_Y_LABELS}, "f.npy: label 1 is 1.5",
               "expected a whole number");
    put("h.npy", "|u1", "2, 3", bytes, 6);
    fails("x.npy,h.npy", "h.npy: has shape [2,3], expected [N]", "y.argmax(1)");
    put("t.npy", "<f4", "2, 2, 1", nan_in, 16);
    fails("x.npy,t.npy", "t.npy: has shape [2,2,1], expected [N] or [N,T]", "");
    put("big.npy", "<f8", "2, 1", (double[]){1, 1e300}, 16);
    fails("big.npy,y.npy", "big.npy: element 1 is 1e+300, which float32 does not hold", "");
    put("w.npy", "|u1", "2, 5", bytes, 10);
    fails("x.npy,y.npy,w.npy,y.npy", "w.npy: is uint8 [2,5], the training part is uint8 [2,4]", "");
    fails("x.npy,y.npy,x.npy,f.npy", "f.npy: has targets, the training part has labels", "");
    assert_int_equal(io_write_file(at("e.npy"), "", 0), SMKD_OK);
    fails("e.npy,y.npy", "e.npy: is empty", "numpy.save");
    assert_int_equal(io_write_file(at("p.npy"), "\x80\x04\x95 pickled", 12), SMKD_OK);
    fails("p.npy,y.npy", "p.npy: is a Python pickle", "");
    assert_int_equal(io_write_file(at("c.npy"), buf, npy(buf, "|u1", "2, 4", bytes, 7)), SMKD_OK);
    fails("c.npy,y.npy", "c.npy: the header promises 8 bytes of elements, the file has 7", "");
    put("c8.npy", "<c8", "2, 1", bytes, 16);
    fails("c8.npy,y.npy", "c8.npy: element type <c8: complex numbers", "");
    budget_set(100);
    put("d.npy", "<f8", "2, 20", bytes, 320);
    fails("d.npy,y.npy", "d.npy: it would take", "--max-memory");
    load("x.npy,y.npy"); // nothing is taken for what stays in the file
    budget_set(UINT64_MAX);
    assert_false(rt_arrays_detect("a.npy,b.txt"));
    assert_false(rt_arrays_detect("a.npy,"));
    assert_false(rt_arrays_detect(dir));
    assert_true(rt_arrays_detect("A.NPZ"));
}

// --- archives --------------------------------------------------------------------------------------------------------

struct zip {
    struct str body, directory;
    unsigned n;
};

static void le(struct str *s, uint32_t v, int n) {
    for (int i = 0; i < n; i++) str_addn(s, &(char){(char)(v >> (8 * i))}, 1);
}

// Adds an entry; `claim` is the size that the archive says, 0: the true one.
static void zip_add(struct zip *z, const char *name, const void *data, size_t n, bool deflated, uint32_t claim) {
    static unsigned char packed[1 << 16];
    z_stream d = {
        .next_in = (unsigned char *)data, .avail_in = (unsigned)n, .next_out = packed, .avail_out = sizeof packed};
    if (deflated) {
        assert_int_equal(deflateInit2(&d, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY), Z_OK);
        assert_int_equal(deflate(&d, Z_FINISH), Z_STREAM_END);
        deflateEnd(&d);
    }
    const uint32_t at_ = (uint32_t)z->body.len, crc = (uint32_t)crc32(0, data, (unsigned)n);
    const uint32_t size = deflated ? (uint32_t)d.total_out : (uint32_t)n, full = claim ? claim : (uint32_t)n;
    struct str h = STR_INIT; // what the two headers have in common
    le(&h, 20, 2);
    le(&h, 0, 2);
    le(&h, deflated ? 8 : 0, 2);
    le(&h, 0, 4);
    le(&h, crc, 4);
    le(&h, size, 4);
    le(&h, full, 4);
    le(&h, (uint32_t)strlen(name), 2);
    le(&h, 0, 2);
    str_addn(&z->body, "PK\3\4", 4);
    str_addn(&z->body, h.s, h.len);
    str_add(&z->body, name);
    str_addn(&z->body, deflated ? (const char *)packed : data, size);
    str_addn(&z->directory, "PK\1\2\24\0", 6);
    str_addn(&z->directory, h.s, h.len);
    le(&z->directory, 0, 4);
    le(&z->directory, 0, 2);
    le(&z->directory, 0, 4);
    le(&z->directory, at_, 4);
    str_add(&z->directory, name);
    str_release(&h);
    z->n++;
}

static void zip_write(struct zip *z, const char *name) {
    struct str s = STR_INIT;
    str_addn(&s, z->body.s, z->body.len);
    str_addn(&s, z->directory.s, z->directory.len);
    str_addn(&s, "PK\5\6\0\0\0\0", 8);
    le(&s, z->n, 2);
    le(&s, z->n, 2);
    le(&s, (uint32_t)z->directory.len, 4);
    le(&s, (uint32_t)z->body.len, 4);
    le(&s, 0, 2);
    assert_int_equal(io_write_file(at(name), s.s, s.len), SMKD_OK);
    str_release(&s);
    str_release(&z->body);
    str_release(&z->directory);
    *z = (struct zip){0};
}

static void add_array(struct zip *z, const char *name, const char *type, const char *shape, const void *data, size_t n,
                      bool deflated) {
    zip_add(z, name, buf, npy(buf, type, shape, data, n), deflated, 0);
}

static void archives(void **state) {
    (void)state;
    struct zip z = {0};
    const uint8_t y[] = {1, 2, 0};
    for (int deflated = 0; deflated < 2; deflated++) {
        add_array(&z, "x_train.npy", "|u1", "3, 4", bytes, 12, deflated);
        add_array(&z, "y_train.npy", "|u1", "3,", y, 3, deflated);
        add_array(&z, "x_test.npy", "|u1", "2, 4", bytes + 9, 8, deflated);
        add_array(&z, "y_test.npy", "|u1", "2,", y, 2, deflated);
        add_array(&z, "note.npy", "|u1", "1,", y, 1, deflated);
        zip_write(&z, "keras.npz");
        load("keras.npz");
        assert_string_equal(a.name, "keras");
        assert_int_equal(a.train.n, 3);
        assert_int_equal(a.test.n, 2);
        assert_int_equal(a.classes, 3);
        assert_true(a.train.x.borrowed); // of the entry's bytes
        assert_memory_equal(a.train.x.data, bytes, 12);
        assert_memory_equal(a.test.x.data, bytes + 9, 8);
        assert_int_equal(a.test.labels[1], 2);
    }
    add_array(&z, "train_images.npy", "<f8", "1, 2", (double[]){1, 2}, 16, true);
    add_array(&z, "train_labels.npy", "|u1", "1, 1", y, 1, true);
    add_array(&z, "val_images.npy", "<f4", "1, 2", (float[]){3, 4}, 8, true);
    add_array(&z, "val_labels.npy", "|u1", "1, 1", y + 1, 1, true);
    add_array(&z, "test_images.npy", "<f4", "1, 2", (float[]){5, 6}, 8, true);
    add_array(&z, "test_labels.npy", "|u1", "1, 1", y + 2, 1, true);
    zip_write(&z, "medmnist.npz");
    load("medmnist.npz");
    assert_true(((float *)a.train.x.data)[1] == 2 && ((float *)a.test.x.data)[0] == 3 && a.test.labels[0] == 2);
    load_with("medmnist.npz", &(struct rt_arrays_options){.test_split = "test"});
    assert_true(((float *)a.test.x.data)[0] == 5 && a.test.labels[0] == 0);
    add_array(&z, "x", "|u1", "1, 2", bytes, 2, false);
    add_array(&z, "y", "|u1", "1,", y, 1, false);
    zip_write(&z, "plain.npz");
    load("plain.npz");
    assert_int_equal(a.train.n, 1);
    assert_false(a.has_test);
    fails_with("plain.npz", &(struct rt_arrays_options){.test_split = "test"}, "--test-split test", "no such part");
}

static void bad_archives(void **state) {
    (void)state;
    struct zip z = {0};
    const uint8_t y[] = {1, 2, 0};
    fails("gone.npz", "gone.npz: cannot be read: No such file", "");
    assert_int_equal(io_write_file(at("e.npz"), "", 0), SMKD_OK);
    fails("e.npz", "e.npz: ", "");
    assert_int_equal(io_write_file(at("t.npz"), "no zip at all", 13), SMKD_OK);
    fails("t.npz", "t.npz: cannot be read as an .npz: Not a zip archive", "");
    add_array(&z, "a.npy", "|u1", "1, 2", bytes, 2, false);
    add_array(&z, "b.npy", "|u1", "1,", y, 1, false);
    zip_write(&z, "names.npz");
    fails("names.npz", "names.npz: expected arrays train_x and train_y", "it has a.npy, b.npy");
    add_array(&z, "x.npy", "|u1", "1, 2", bytes, 2, false);
    add_array(&z, "train_x.npy", "|u1", "1, 2", bytes, 2, false);
    zip_write(&z, "two.npz");
    fails("two.npz", "x.npy and train_x.npy are both x of the training part", "");
    add_array(&z, "x.npy", "|u1", "1, 2", bytes, 2, false);
    add_array(&z, "y.npy", "|u1", "1,", y, 1, false);
    add_array(&z, "test_x.npy", "|u1", "1, 2", bytes, 2, false);
    zip_write(&z, "half.npz");
    fails("half.npz", "half.npz: x and y of a part are needed", "");
    zip_add(&z, "x.npy", "no array", 8, false, 0);
    add_array(&z, "y.npy", "|u1", "1,", y, 1, false);
    zip_write(&z, "text.npz");
    fails("text.npz", "text.npz: x.npy: not a .npy file", "");
    size_t n = npy(buf, "|u1", "10, 20", bytes, 200);
    zip_add(&z, "x.npy", buf, n, true, (uint32_t)n + 5000); // says more than it holds
    zip_add(&z, "y.npy", buf, npy(buf, "|u1", "10,", y, 3), true, 0);
    zip_write(&z, "more.npz");
    fails("more.npz", "more.npz: x.npy: ", "");
    n = npy(buf, "|u1", "10, 20", bytes, 200);
    zip_add(&z, "x.npy", buf, n, true, 50); // and less
    zip_add(&z, "y.npy", buf, npy(buf, "|u1", "10,", y, 3), true, 0);
    zip_write(&z, "less.npz");
    fails("less.npz", "less.npz: x.npy: ", "");
    n = npy(buf, "|u1", "10, 20", bytes, 200);
    zip_add(&z, "x.npy", buf, n, true, 4000000000u);
    zip_add(&z, "y.npy", buf, npy(buf, "|u1", "10,", y, 3), true, 0);
    zip_write(&z, "bomb.npz");
    fails("bomb.npz", "bomb.npz: x.npy: claims 4000000000 bytes, more than its", "can hold");
    n = npy(buf, "|u1", "10, 20", bytes, 200);
    zip_add(&z, "x.npy", buf, n, true, 0);
    zip_add(&z, "y.npy", buf, npy(buf, "|u1", "10,", y, 3), true, 0);
    zip_write(&z, "large.npz");
    budget_set(300);
    fails("large.npz", "large.npz: x.npy: it would take 328 bytes", "--max-memory");
    budget_set(UINT64_MAX);
    // A bit of the elements turned: the checksum tells.
    n = npy(buf, "|u1", "10, 20", bytes, 200);
    zip_add(&z, "x.npy", buf, n, false, 0);
    z.body.s[180] ^= 1;
    zip_add(&z, "y.npy", buf, npy(buf, "|u1", "10,", y, 3), true, 0);
    zip_write(&z, "bit.npz");
    fails("bit.npz", "bit.npz: x.npy: cannot be read as an .npz: CRC error", "");
}

// Every cut of an archive is refused, and none of its single bytes turned ends the program.
static void every_cut(void **state) {
    (void)state;
    struct zip z = {0};
    const uint8_t y[] = {1, 2, 0};
    add_array(&z, "x.npy", "|u1", "3, 2", bytes, 6, true);
    add_array(&z, "y.npy", "|u1", "3,", y, 3, true);
    zip_write(&z, "cut.npz");
    const void *map;
    size_t n;
    assert_int_equal(io_map(at("cut.npz"), &map, &n), SMKD_OK);
    unsigned char *whole = memcpy(xmalloc(n), map, n);
    io_unmap(map, n);
    for (size_t k = 0; k < n; k++) {
        assert_int_equal(io_write_file(at("cut.npz"), whole, k), SMKD_OK);
        rt_arrays_release(&a);
        assert_int_not_equal(rt_arrays_load(at("cut.npz"), NULL, &a), SMKD_R_OK);
    }
    for (size_t k = 0; k < n; k++) {
        whole[k] ^= 0x41;
        assert_int_equal(io_write_file(at("cut.npz"), whole, n), SMKD_OK);
        whole[k] ^= 0x41;
        rt_arrays_release(&a);
        enum smkd_result r = rt_arrays_load(at("cut.npz"), NULL, &a);
        if (r == SMKD_R_OK) assert_memory_equal(a.train.x.data, bytes, 6); // a byte that means nothing
    }
    free(whole);
}

// --- as a data set ---------------------------------------------------------------------------------------------------

static struct rt_dataset set;

static void open_set(const char *names, const struct rt_data_want *want) {
    rt_dataset_release(&set);
    if (rt_dataset_load_for(join(names), want, &set) != SMKD_R_OK) fail_msg("%s", smkd_last_error());
}

static void refused_set(const char *names, const struct rt_data_want *want, const char *part1, const char *part2) {
    rt_dataset_release(&set);
    assert_int_not_equal(rt_dataset_load_for(join(names), want, &set), SMKD_R_OK);
    const char *e = smkd_last_error();
    if (!strstr(e, part1) || !strstr(e, part2)) fail_msg("message: %s", e);
}

// The first batch of the training part, as a network of this input gets it.
static void first_batch(const struct rt_data_want *want, bool last, float *out, size_t n) {
    struct rt_transform t;
    if (rt_transform_init(&t, &set.train, want->channels, want->height, want->width, 0, set.mean, set.std) != SMKD_R_OK)
        fail_msg("%s", smkd_last_error());
    t.channels_last = last;
    struct rt_loader_config c = {.images = &set.train, .n = set.train.n, .transform = &t, .batch = set.train.n};
    struct rt_loader *l = rt_loader_new(&c);
    struct rt_batch b;
    assert_non_null(l);
    rt_loader_begin(l, 0);
    assert_true(rt_loader_next(l, &b));
    memcpy(out, b.images, n * sizeof *out);
    assert_false(rt_loader_next(l, &b));
    rt_loader_free(l);
}

// The same images as uint8 and as floats, by planes and by pixels, are the same to a network.
static void in_every_order(void **state) {
    (void)state;
    enum { N = 3, C = 3, H = 4, W = 5, ALL = N * C * H * W };
    static float f[ALL], turned_f[ALL], first[ALL], got[ALL];
    uint8_t turned[ALL];
    for (int i = 0; i < ALL; i++) {
        int n = i / (C * H * W), c = i / (H * W) % C, p = i % (H * W);
        turned[(n * H * W + p) * C + c] = bytes[i];
    }
    const struct rt_data_want want = {.classes = 3, .channels = C, .height = H, .width = W};
    put("y.npy", "|u1", "3,", (uint8_t[]){2, 0, 1}, 3);
    put("x.npy", "|u1", "3, 3, 4, 5", bytes, ALL);
    open_set("x.npy,y.npy", &want);
    assert_string_equal(set.name, "x");
    assert_int_equal(set.classes, 3);
    assert_int_equal(set.train_total, 3);
    assert_int_equal(set.test.n, 0);
    assert_ptr_equal(set.train.pixels, set.arrays->train.x.data); // not copied
    double sum = 0;
    for (int i = 0; i < ALL; i++) sum += i / (H * W) % C == 1 ? bytes[i] : 0;
    assert_true(fabs(sum / (N * H * W) / 255 - set.mean[1]) < 1e-4);
    first_batch(&want, false, first, ALL);
    for (int i = 0; i < ALL; i++) {
        int c = i / (H * W) % C;
        f[i] = first[i];
        turned_f[(i / (C * H * W) * H * W + i % (H * W)) * C + c] = first[i];
        assert_true(fabsf(first[i] - ((float)bytes[i] / 255 - set.mean[c]) / set.std[c]) < 1e-6f);
    }
    put("x.npy", "|u1", "3, 4, 5, 3", turned, ALL);
    struct rt_data_want nhwc = want;
    nhwc.layout = "nhwc";
    open_set("x.npy,y.npy", &nhwc);
    first_batch(&want, false, got, ALL);
    assert_memory_equal(got, first, sizeof first);
    first_batch(&want, true, got, ALL);
    assert_memory_equal(got, turned_f, sizeof turned_f);
    put("x.npy", "<f4", "3, 3, 4, 5", f, sizeof f);
    struct rt_data_want nchw = want;
    nchw.layout = "nchw";
    open_set("x.npy,y.npy", &nchw);
    assert_ptr_equal(set.train.values, set.arrays->train.x.data);
    first_batch(&want, false, got, ALL);
    assert_memory_equal(got, f, sizeof f);
    first_batch(&want, true, got, ALL);
    assert_memory_equal(got, turned_f, sizeof turned_f);
    put("x.npy", "<f4", "3, 4, 5, 3", turned_f, sizeof f);
    open_set("x.npy,y.npy", &nhwc);
    first_batch(&want, false, got, ALL);
    assert_memory_equal(got, f, sizeof f);
    set.mean[1] = 0.5f;
    set.std[1] = 2;
    first_batch(&want, true, got, ALL);
    for (int i = 0; i < ALL; i++) assert_true(got[i] == (i % C == 1 ? (turned_f[i] - 0.5f) / 2 : turned_f[i]));
}

static void samples_that_are_no_images(void **state) {
    (void)state;
    static float f[60], got[60];
    for (int i = 0; i < 60; i++) f[i] = (float)i / 7 - 3;
    put("y.npy", "<f4", "2, 2", (float[]){1, 2, 3, 4}, 16);
    put("x.npy", "<f4", "2, 30", f, 60 * sizeof *f);
    struct rt_data_want want = {.classes = 2, .channels = 1, .height = 1, .width = 30, .regression = true};
    open_set("x.npy,y.npy,x.npy,y.npy", &want);
    assert_int_equal(set.train.n_targets, 2);
    assert_true(set.train.targets[3] == 4 && set.test.targets[0] == 1);
    assert_int_equal(set.train.labels[1], 0);
    first_batch(&want, false, got, 60);
    assert_memory_equal(got, f, sizeof f);
    put("x.npy", "<f4", "2, 5, 3, 2", f, sizeof f); // of any rank
    open_set("x.npy,y.npy", &want);
    first_batch(&want, false, got, 60);
    assert_memory_equal(got, f, sizeof f);
    put("x.npy", "|u1", "2, 30", bytes, 60); // pixels in a row
    open_set("x.npy,y.npy", &want);
    assert_int_equal(set.train.width, 30);
    want.train_limit = 1;
    open_set("x.npy,y.npy", &want);
    assert_int_equal(set.train.n, 1);
    assert_int_equal(set.train_total, 2);
    want.classes = 1;
    refused_set("x.npy,y.npy", &want, "has 2 targets a sample, the model has 1 output", "");
    want = (struct rt_data_want){.classes = 2, .channels = 1, .height = 1, .width = 29, .regression = true};
    refused_set("x.npy,y.npy", &want, "has 30 numbers a sample, the model takes 29", "");
    want.regression = false;
    refused_set("x.npy,y.npy", &want, "y.npy: has shape [2,2], expected [N]", "argmax");
    want = (struct rt_data_want){.classes = 2, .channels = 3, .height = 4, .width = 5};
    put("y.npy", "|u1", "2,", (uint8_t[]){0, 1}, 2);
    refused_set("x.npy,y.npy", &want, "uint8 is taken for pixels", "astype(numpy.float32)");
    want.classes = 1;
    refused_set("x.npy,y.npy", &want, "label 1 is 1, expected 0 to 0", "");
    put("x.npy", "<f4", "2, 5, 3, 2", f, sizeof f);
    want = (struct rt_data_want){.classes = 2, .channels = 5, .height = 3, .width = 2};
    open_set("x.npy,y.npy", &want); // many channels, in the order of the network
    first_batch(&want, false, got, 60);
    assert_memory_equal(got, f, sizeof f);
    struct rt_transform t;
    assert_int_equal(rt_transform_init(&t, &set.train, 5, 3, 3, 0, set.mean, set.std), SMKD_R_MISMATCH);
    assert_non_null(strstr(smkd_last_error(), "the model takes 5x3x3 numbers a sample, the arrays have 1x1x30"));
    assert_int_equal(rt_transform_init(&t, &set.train, 5, 3, 2, RT_AUGMENT_FLIP, set.mean, set.std),
                     SMKD_R_UNSUPPORTED);
    want.layout = "nhwc";
    put("x.npy", "<f4", "1, 3, 2, 10", f, sizeof f);
    put("y.npy", "|u1", "1,", (uint8_t[]){0}, 1);
    refused_set("x.npy,y.npy", &want, "more than 4 channels as its last dimension", "transpose");
}

static int setup(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/smkd_arrays_XXXXXX");
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 7 + i / 31);
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    rt_arrays_release(&a);
    rt_dataset_release(&set);
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixels_stay_in_the_file),
        cmocka_unit_test(layouts),
        cmocka_unit_test(numbers),
        cmocka_unit_test(bad_arrays),
        cmocka_unit_test(archives),
        cmocka_unit_test(bad_archives),
        cmocka_unit_test(every_cut),
        cmocka_unit_test(in_every_order),
        cmocka_unit_test(samples_that_are_no_images),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
