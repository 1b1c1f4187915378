// Readers, labels, transforms and the loader on small files made here.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../../runtime/data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

static char dir[64];

static const char *at(const char *name) {
    static char buf[4][256];
    static int k;
    k = (k + 1) % 4;
    snprintf(buf[k], sizeof buf[k], "%s/%s", dir, name);
    return buf[k];
}

static void put(const char *name, const void *data, size_t n) {
    assert_int_equal(io_write_file(at(name), data, n), SMKD_OK);
}

static void put_gz(const char *name, const void *data, size_t n) {
    gzFile f = gzopen(at(name), "wb");
    assert_non_null(f);
    assert_int_equal(gzwrite(f, data, (unsigned)n), (int)n);
    gzclose(f);
}

// n images of 4x5 whose pixel p of image i is (i*20+p)&255; labels i % 10.
static size_t idx_images(uint8_t *b, unsigned n) {
    const uint8_t head[16] = {0, 0, 8, 3, 0, 0, (uint8_t)(n >> 8), (uint8_t)n, 0, 0, 0, 4, 0, 0, 0, 5};
    memcpy(b, head, 16);
    for (unsigned i = 0; i < n * 20; i++) b[16 + i] = (uint8_t)i;
    return 16 + n * 20;
}

static size_t idx_labels(uint8_t *b, unsigned n) {
    const uint8_t head[8] = {0, 0, 8, 1, 0, 0, (uint8_t)(n >> 8), (uint8_t)n};
    memcpy(b, head, 8);
    for (unsigned i = 0; i < n; i++) b[8 + i] = (uint8_t)(i % 10);
    return 8 + n;
}

static uint8_t buf[1 << 20];

static void write_idx(void) {
    put_gz("train-images-idx3-ubyte.gz", buf, idx_images(buf, 30));
    put_gz("train-labels-idx1-ubyte.gz", buf, idx_labels(buf, 30));
    put("t10k-images-idx3-ubyte", buf, idx_images(buf, 12));
    put("t10k-labels-idx1-ubyte", buf, idx_labels(buf, 12));
}

static void fails(const char *where, int classes, const char *part1, const char *part2) {
    struct rt_dataset d;
    assert_int_not_equal(rt_dataset_load(where, classes, 0, 0, &d), SMKD_R_OK);
    const char *e = smkd_last_error();
    if (!strstr(e, part1) || !strstr(e, part2)) fail_msg("message: %s", e);
    assert_null(strchr(e, '\n'));
}

static void reads_idx(void **state) {
    (void)state;
    write_idx();
    struct rt_dataset d;
    if (rt_dataset_load(dir, 10, 0, 0, &d) != SMKD_R_OK) fail_msg("%s", smkd_last_error());
    assert_int_equal(d.train.n, 30);
    assert_int_equal(d.test.n, 12);
    assert_int_equal(d.train.height, 4);
    assert_int_equal(d.train.width, 5);
    assert_int_equal(d.train.pixels[29 * 20 + 3], (29 * 20 + 3) & 255);
    assert_int_equal(d.train.labels[17], 7);
    rt_dataset_release(&d);
    assert_int_equal(rt_dataset_load(dir, 10, 7, 5, &d), SMKD_R_OK);
    assert_int_equal(d.train.n, 7);
    assert_int_equal(d.test.n, 5);
    assert_int_equal(d.train_total, 30);
    rt_dataset_release(&d);
}

static void refuses_bad_idx(void **state) {
    (void)state;
    write_idx();
    fails(dir, 5, "train-labels-idx1-ubyte.gz: record 5 (offset 13) has label 5",
          "0 to 4, the outputs of the model; the largest label is 9: make the model with --classes 10");
    put("t10k-images-idx3-ubyte", buf, idx_images(buf, 12) - 3);
    fails(dir, 10, "t10k-images-idx3-ubyte: ends at byte 253", "record 0 to 11 of 12");
    put("t10k-images-idx3-ubyte", buf, idx_images(buf, 12) + 1);
    fails(dir, 10, "t10k-images-idx3-ubyte", "after its 12 records");
    idx_images(buf, 12);
    buf[3] = 1;
    put("t10k-images-idx3-ubyte", buf, 256);
    fails(dir, 10, "t10k-images-idx3-ubyte", "starts with 00000801");
    put("t10k-images-idx3-ubyte", buf, idx_images(buf, 11));
    fails(dir, 10, "t10k-labels-idx1-ubyte: has 12 labels", "11 images");
    idx_images(buf, 12);
    buf[4] = 0xff; // four billion images: nothing of the kind is allocated
    put("t10k-images-idx3-ubyte", buf, 256);
    fails(dir, 10, "t10k-labels-idx1-ubyte: has 12 labels for the 4278190092 images", "t10k-images-idx3-ubyte");
    uint8_t labels[8] = {0, 0, 8, 1, 0xff, 0, 0, 12};
    put("t10k-labels-idx1-ubyte", labels, sizeof labels);
    fails(dir, 10, "t10k-labels-idx1-ubyte: ends at byte 8", "record");
    idx_images(buf, 12);
    buf[6] = buf[7] = 0;
    put("t10k-images-idx3-ubyte", buf, 16);
    fails(dir, 10, "dimension 0 in the header is 0", "expected 1");
    put("t10k-images-idx3-ubyte", buf, 7);
    fails(dir, 10, "ends at byte 7", "the header");
    unlink(at("t10k-images-idx3-ubyte"));
    fails(dir, 10, "t10k-images-idx3-ubyte[.gz] is missing", dir);
    write_idx();
    // A compressed file cut in the middle.
    const void *map;
    size_t n;
    assert_int_equal(io_map(at("train-images-idx3-ubyte.gz"), &map, &n), SMKD_OK);
    memcpy(buf, map, n);
    io_unmap(map, n);
    put("train-images-idx3-ubyte.gz", buf, n - 12);
    fails(dir, 10, "train-images-idx3-ubyte.gz", "fetch the file again");
    // A bomb: what a compressed file of its size cannot hold, and what a model of other images has no use for.
    uint8_t claim[16] = {0, 0, 8, 3, 0, 15, 0, 0, 0, 0, 0, 64, 0, 0, 0, 64};
    uint8_t many[8] = {0, 0, 8, 1, 0, 15, 0, 0};
    put_gz("train-images-idx3-ubyte.gz", claim, sizeof claim);
    put_gz("train-labels-idx1-ubyte.gz", many, sizeof many);
    fails(dir, 10, "train-images-idx3-ubyte.gz: its header claims 983040 records of 4096 bytes", "can hold");
    write_idx();
    struct rt_dataset d;
    const struct rt_data_want want = {.classes = 10, .channels = 1, .height = 3, .width = 3};
    assert_int_equal(rt_dataset_load_for(dir, &want, &d), SMKD_R_MISMATCH);
    assert_non_null(strstr(smkd_last_error(), "the model takes 3x3 pixels, the images have"));
    fails("/nowhere/at/all", 10, "/nowhere/at/all", "no such data folder");
}

static void make_folder(const char *name) { assert_int_equal(io_make_dirs(at(name)), SMKD_OK); }

// What is no data set is named, by what lies there.
static void names_unknown_folders(void **state) {
    (void)state;
    static const struct {
        const char *file, *words;
    } cases[] = {{"data_batch_1", "data_batch_1 is the Python version of CIFAR-10 (pickles): fetch the binary one"},
                 {"cifar-100-python", "the Python version of CIFAR-100"},
                 {"cifar-10-binary.tar.gz", "cifar-10-binary.tar.gz is an archive: unpack it"},
                 {"emnist-letters-train-images-idx3-ubyte.gz", "call it train-images-idx3-ubyte"},
                 {"train-00000-of-00001.parquet", "a Parquet file"},
                 {"0001.png", "0001.png is a picture in no class's folder"},
                 {"x.mat", "a MATLAB file"},
                 {"notes.md", "it holds notes.md; expected folders of classes"}};
    make_folder("u");
    fails(at("u"), 10, "/u: no data set recognised: the folder is empty", "data_batch_1.bin");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char file[128];
        snprintf(file, sizeof file, "u/%s", cases[i].file);
        put(file, "x", 1);
        fails(at("u"), 10, cases[i].words, "it holds");
        fails(at(file), 10, "is a file, not a folder", cases[i].file);
        unlink(at(file));
    }
    for (char *f = (char[]){"u/a"}; f[2] <= 'i'; f[2]++) put(f, "x", 1);
    fails(at("u"), 10, "it holds a, b, c, d, e, f and 3 more", "");
    for (char *f = (char[]){"u/a"}; f[2] <= 'i'; f[2]++) unlink(at(f));
    // As torchvision unpacks MNIST.
    make_folder("u/MNIST/raw");
    put("u/MNIST/raw/train-images-idx3-ubyte", "x", 1);
    fails(at("u"), 10, "it holds MNIST", "/u/MNIST/raw is a data set: give that");
    unlink(at("u/MNIST/raw/train-images-idx3-ubyte"));
    static const char *const made[] = {"u/MNIST/raw", "u/MNIST", "u"};
    for (int i = 0; i < 3; i++) rmdir(at(made[i]));
}

// Classes are the data's, however many the model tells apart.
static void counts_classes(void **state) {
    (void)state;
    put("train-images.idx3-ubyte", buf, idx_images(buf, 7)); // a dot, as some archives have it
    put("train-labels.idx1-ubyte", buf, idx_labels(buf, 7));
    put("t10k-images.idx3-ubyte", buf, idx_images(buf, 9));
    put("t10k-labels.idx1-ubyte", buf, idx_labels(buf, 9));
    struct rt_dataset d;
    if (rt_dataset_load(dir, 1000, 3, 2, &d) != SMKD_R_OK) fail_msg("%s", smkd_last_error());
    assert_int_equal(d.classes, 9); // of all labels of both parts
    assert_int_equal(d.max_classes, 1000);
    rt_dataset_release(&d);
    fails(dir, 8, "t10k-labels.idx1-ubyte: record 8 (offset 16) has label 8", "make the model with --classes 9");
    static const char *const names[] = {"train-images.idx3-ubyte", "train-labels.idx1-ubyte", "t10k-images.idx3-ubyte",
                                        "t10k-labels.idx1-ubyte"};
    for (int i = 0; i < 4; i++) unlink(at(names[i]));
}

static void wipe(void) {
    static const char *const names[] = {"train-images-idx3-ubyte.gz",
                                        "train-labels-idx1-ubyte.gz",
                                        "t10k-images-idx3-ubyte",
                                        "t10k-labels-idx1-ubyte",
                                        "data_batch_1.bin",
                                        "data_batch_2.bin",
                                        "data_batch_3.bin",
                                        "test_batch.bin",
                                        "train.bin",
                                        "test.bin",
                                        "l.txt",
                                        "l.npy"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(at(names[i]));
}

static size_t cifar(uint8_t *b, int n, int label_bytes, int classes) {
    size_t record = (size_t)label_bytes + 3072;
    for (int i = 0; i < n; i++) {
        memset(b + (size_t)i * record, i % classes, record);
        if (label_bytes == 2) b[(size_t)i * record] = 19;
    }
    return (size_t)n * record;
}

static void reads_cifar(void **state) {
    (void)state;
    wipe();
    put("data_batch_1.bin", buf, cifar(buf, 11, 1, 10));
    put("data_batch_2.bin", buf, cifar(buf, 4, 1, 10));
    put("test_batch.bin", buf, cifar(buf, 3, 1, 10));
    struct rt_dataset d;
    assert_int_equal(rt_dataset_load(dir, 10, 0, 0, &d), SMKD_R_OK);
    assert_int_equal(d.train.n, 15);
    assert_int_equal(d.test.n, 3);
    assert_int_equal(d.train.labels[13], 2);
    assert_int_equal(d.train.pixels[13 * 3072 + 3071], 2);
    assert_string_equal(d.name, "cifar10");
    rt_dataset_release(&d);
    fails(dir, 7, "10 classes, the model 7", "--classes 10");
    assert_int_equal(rt_dataset_load(dir, 1000, 0, 0, &d), SMKD_R_OK); // a head for more
    assert_true(d.classes == 10 && d.max_classes == 10);
    rt_dataset_release(&d);
    put("data_batch_2.bin", buf, cifar(buf, 4, 1, 10) - 100);
    fails(dir, 10, "data_batch_2.bin: record 3 (offset 9219) is short: 2973 of 3073 bytes", "");
    cifar(buf, 4, 1, 10);
    buf[3073] = 10;
    put("data_batch_2.bin", buf, 4 * 3073);
    fails(dir, 10, "data_batch_2.bin: record 1 (offset 3073) has label 10", "0 to 9");
    put("data_batch_2.bin", buf, 0);
    fails(dir, 10, "data_batch_2.bin: is empty", "");
    unlink(at("data_batch_2.bin"));
    put("data_batch_3.bin", buf, cifar(buf, 4, 1, 10));
    fails(dir, 10, "data_batch_2.bin: is missing", "data_batch_3.bin is there");
    wipe();
    put("train.bin", buf, cifar(buf, 120, 2, 100));
    put("test.bin", buf, cifar(buf, 3, 2, 100));
    assert_int_equal(rt_dataset_load(dir, 100, 0, 0, &d), SMKD_R_OK);
    assert_int_equal(d.train.labels[101], 1); // the fine label, not 19
    rt_dataset_release(&d);
    fails(dir, 20, "100 classes (its fine labels are read, not the coarse ones)", "the model 20");
    wipe();
}

static void labels_fail(const char *name, size_t n, const char *words) {
    int32_t y[16];
    assert_int_not_equal(rt_labels_read(at(name), n, n, 5, y), SMKD_R_OK);
    if (!strstr(smkd_last_error(), words)) fail_msg("\"%s\" should say \"%s\"", smkd_last_error(), words);
}

static void reads_labels(void **state) {
    (void)state;
    int32_t y[5] = {9, 9, 9, 9, 9};
    const char *text = "3\n one\n";
    put("l.txt", text, strlen(text));
    assert_int_not_equal(rt_labels_read(at("l.txt"), 2, 2, 10, y), SMKD_R_OK);
    assert_non_null(strstr(smkd_last_error(), "line 2: expected one whole number"));
    text = "3\r\n1\n\n4";
    put("l.txt", text, strlen(text));
    assert_int_equal(rt_labels_read(at("l.txt"), 3, 3, 10, y), SMKD_R_OK);
    assert_int_equal(y[0], 3);
    assert_int_equal(y[2], 4);
    assert_int_equal(y[3], 9);
    assert_int_equal(rt_labels_read(at("l.txt"), 3, 2, 10, y), SMKD_R_OK); // whole set's labels, first two used
    assert_int_equal(rt_labels_read(at("l.txt"), 9, 3, 10, y), SMKD_R_OK); // labels of the subset
    assert_int_not_equal(rt_labels_read(at("l.txt"), 5, 5, 10, y), SMKD_R_OK);
    assert_non_null(strstr(smkd_last_error(), "has 3 labels, expected one for each of 5 images"));
    assert_int_not_equal(rt_labels_read(at("l.txt"), 3, 3, 4, y), SMKD_R_OK);
    assert_non_null(strstr(smkd_last_error(), "label 2 is 4, expected 0 to 3"));
    const int32_t want[5] = {4, 0, 2, 2, 1};
    assert_int_equal(rt_labels_write(at("l.npy"), want, 5), SMKD_R_OK);
    assert_int_equal(rt_labels_read(at("l.npy"), 5, 5, 5, y), SMKD_R_OK);
    assert_memory_equal(y, want, sizeof want);
    assert_int_not_equal(rt_labels_read(at("l.npy"), 5, 5, 4, y), SMKD_R_OK);
    // The other types numpy and CIFAR-N's files have them in.
    uint8_t bytes[5] = {4, 0, 2, 2, 1};
    float floats[5] = {4, 0, 2, 2, 1};
    struct rt_tensor t = {.dtype = RT_U8, .rank = 1, .dims = {5}, .numel = 5, .bytes = 5, .data = bytes};
    memset(y, 0, sizeof y);
    assert_int_equal(rt_npy_write(at("l.npy"), &t), SMKD_R_OK);
    assert_int_equal(rt_labels_read(at("l.npy"), 5, 5, 5, y), SMKD_R_OK);
    assert_memory_equal(y, want, sizeof want);
    t = (struct rt_tensor){.dtype = RT_I32, .rank = 1, .dims = {5}, .numel = 5, .bytes = 20, .data = y};
    assert_int_equal(rt_npy_write(at("l.npy"), &t), SMKD_R_OK);
    memset(y, 0, sizeof y);
    assert_int_equal(rt_labels_read(at("l.npy"), 5, 5, 5, y), SMKD_R_OK);
    assert_memory_equal(y, want, sizeof want);
    t.rank = 2;
    t.dims[1] = 1; // a column is as good
    memcpy(y, want, sizeof want);
    assert_int_equal(rt_npy_write(at("l.npy"), &t), SMKD_R_OK);
    assert_int_equal(rt_labels_read(at("l.npy"), 5, 5, 5, y), SMKD_R_OK);
    t.dims[0] = 1;
    t.dims[1] = 5; // and so is a row
    assert_int_equal(rt_npy_write(at("l.npy"), &t), SMKD_R_OK);
    memset(y, 0, sizeof y);
    assert_int_equal(rt_labels_read(at("l.npy"), 5, 5, 5, y), SMKD_R_OK);
    assert_memory_equal(y, want, sizeof want);
    t.rank = 1;
    t.dims[0] = 5;
    t.dtype = RT_F32;
    t.data = floats;
    assert_int_equal(rt_npy_write(at("l.npy"), &t), SMKD_R_OK);
    memset(y, 0, sizeof y);
    assert_int_equal(rt_labels_read(at("l.npy"), 5, 5, 5, y), SMKD_R_OK); // whole numbers of another type
    assert_memory_equal(y, want, sizeof want);
    floats[3] = 2.5f;
    assert_int_equal(rt_npy_write(at("l.npy"), &t), SMKD_R_OK);
    labels_fail("l.npy", 5, "label 3 is 2.5, expected a whole number");
    float rows[15] = {0};
    t = (struct rt_tensor){.dtype = RT_F32, .rank = 2, .dims = {5, 3}, .numel = 15, .bytes = 60, .data = rows};
    assert_int_equal(rt_npy_write(at("l.npy"), &t), SMKD_R_OK);
    labels_fail("l.npy", 5, "shape [5,3], expected one label for each image; save y.argmax(1)");
    assert_int_equal(rt_npy_write(at("l.npy"), &t), SMKD_R_OK);
    labels_fail("l.npy", 15, "save y.ravel()");
}

// Text as people and numpy.savetxt write it; refusals name the line.
static void reads_text_labels(void **state) {
    (void)state;
    static const char *const good[] = {
        "3\n1\n4",
        "\xef\xbb\xbf"
        "3\r\n1\r\n4\r\n",
        "3\r1\r4\r",
        "3.000000000000000000e+00\n1.000000000000000000e+00\n4.000000000000000000e+00\n",
        "# labels\n3\t\n\n 1\n4 # the last\n\n",
        "3 1 4\n",
        "3,1,4",
        "+3\n01\n4.0\n",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int32_t y[3] = {0};
        put("l.txt", good[i], strlen(good[i]));
        if (rt_labels_read(at("l.txt"), 3, 3, 5, y) != SMKD_R_OK) fail_msg("case %zu: %s", i, smkd_last_error());
        assert_memory_equal(y, ((int32_t[]){3, 1, 4}), sizeof y);
    }
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"label\n3\n1\n", "line 1: expected one whole number, not \"label\"; leave out a line of headings"},
        {"3\n1\n\nfour\n", "line 4: expected one whole number, not \"four\""},
        {"0,3\n1,1\n2,4\n", "line 1 has 2 words, expected one label a line"},
        {"3\n1\n2.5\n", "line 3: label 2 is 2.5, expected a whole number from 0 to 4"},
        {"3\n1e300\n1\n", "line 2: label 1 is 1e+300"},
        {"3\n1\n-1\n", "line 3: label 2 is -1, expected 0 to 4"},
        {"3\n99999999999999999999\n1\n", "line 2: label 1 is 1e+20"},
        {"3\nnan\n1\n", "line 2: expected one whole number, not \"nan\""},
        {"3\ninf\n1\n", "line 2: label 1 is inf"},
        {"3\n1\n", "has 2 labels"},
        {"\n\n", "has 0 labels"},
        {"", "is empty"},
        {"\xff\xfe"
         "3",
         "in UTF-16, not a .npy file; save it as UTF-8"},
        {"\xff\xfe"
         "3",
         "l.txt"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put("l.txt", bad[i].text, strlen(bad[i].text));
        labels_fail("l.txt", 3, bad[i].words);
    }
    put("l.txt",
        "3\n1\n\0"
        "4\n",
        7);
    labels_fail("l.txt", 3, "neither a .npy nor text: byte 4 is 0");
    labels_fail("none.csv", 3, "No such file");
}

static void transforms(void **state) {
    (void)state;
    uint8_t px[6] = {10, 20, 30, 40, 50, 255};
    struct rt_images im = {.n = 1, .channels = 1, .height = 2, .width = 3, .pixels = px};
    float mean = .5f, std = .25f, out[2 * 4 * 5];
    struct rt_transform t;
    assert_int_equal(rt_transform_init(&t, &im, 2, 4, 5, 0, &mean, &std), SMKD_R_OK);
    rt_transform_run(&t, px, NULL, out);
    float black = (0.0f - .5f) / .25f;
    for (int c = 0; c < 2; c++)
        for (int y = 0; y < 4; y++)
            for (int x = 0; x < 5; x++) {
                bool in = y >= 1 && y < 3 && x >= 1 && x < 4;
                float want = in ? ((float)px[(y - 1) * 3 + x - 1] / 255.0f - .5f) / .25f : black;
                assert_true(out[c * 20 + y * 5 + x] == want);
            }
    assert_int_equal(rt_transform_init(&t, &im, 1, 1, 3, 0, &mean, &std), SMKD_R_MISMATCH);
    im.channels = 3;
    assert_int_equal(rt_transform_init(&t, &im, 1, 2, 3, 0, &mean, &std), SMKD_R_MISMATCH);
}

// The same numbers in TensorFlow's order, with the same crops and mirrorings.
static void channels_last(void **state) {
    (void)state;
    enum { C = 3, H = 5, W = 6 };
    uint8_t px[C * 4 * 6];
    for (size_t i = 0; i < sizeof px; i++) px[i] = (uint8_t)(3 * i + 1);
    struct rt_images im = {.n = 1, .channels = C, .height = 4, .width = 6, .pixels = px};
    float mean[] = {.1f, .2f, .3f}, std[] = {.5f, .25f, .125f}, planes[C * H * W], last[C * H * W];
    struct rt_transform t;
    assert_int_equal(rt_transform_init(&t, &im, C, H, W, RT_AUGMENT_CROP | RT_AUGMENT_FLIP, mean, std), SMKD_R_OK);
    for (uint64_t i = 0; i < 50; i++) {
        struct rt_rng a, b;
        rt_rng_init(&a, 1, i);
        rt_rng_init(&b, 1, i);
        t.channels_last = false;
        rt_transform_run(&t, px, i ? &a : NULL, planes);
        t.channels_last = true;
        rt_transform_run(&t, px, i ? &b : NULL, last);
        for (int c = 0; c < C; c++)
            for (int p = 0; p < H * W; p++) assert_true(last[p * C + c] == planes[c * H * W + p]);
    }
}

// Every crop is some shift by at most 4 of the (perhaps mirrored) image, all shifts and both mirrorings occur.
static void crops_and_flips(void **state) {
    (void)state;
    enum { S = 9 };
    uint8_t px[S * S];
    for (int i = 0; i < S * S; i++) px[i] = (uint8_t)(i + 1);
    struct rt_images im = {.n = 1, .channels = 1, .height = S, .width = S, .pixels = px};
    float mean = 0, std = 1 / 255.0f, out[S * S];
    struct rt_transform t;
    assert_int_equal(rt_transform_init(&t, &im, 1, S, S, RT_AUGMENT_CROP | RT_AUGMENT_FLIP, &mean, &std), SMKD_R_OK);
    int seen[2][9][9] = {{{0}}};
    for (uint64_t i = 0; i < 4000; i++) {
        struct rt_rng rng;
        rt_rng_init(&rng, 1, rt_stream_id(RT_STREAM_AUGMENT, 3, i));
        rt_transform_run(&t, px, &rng, out);
        int found = 0;
        for (int f = 0; f < 2; f++)
            for (int dy = -4; dy <= 4; dy++)
                for (int dx = -4; dx <= 4; dx++) {
                    bool same = true;
                    for (int y = 0; y < S && same; y++)
                        for (int x = 0; x < S && same; x++) {
                            int sy = y + dy, sx = (f ? S - 1 - x : x) + dx;
                            int want = sy < 0 || sy >= S || sx < 0 || sx >= S ? 0 : px[sy * S + sx];
                            same = (int)lroundf(out[y * S + x]) == want;
                        }
                    if (same) found++, seen[f][dy + 4][dx + 4]++;
                }
        assert_int_equal(found, 1);
    }
    for (int f = 0; f < 2; f++)
        for (int i = 0; i < 81; i++) assert_true(seen[f][i / 9][i % 9] > 4);
}

static void check_epoch(struct rt_loader *l, uint64_t epoch, int64_t *order, float *first_pixels) {
    struct rt_batch b;
    size_t k = 0, batches = 0;
    rt_loader_begin(l, epoch);
    while (rt_loader_next(l, &b)) {
        assert_int_equal(b.n, batches == 4 ? 1 : 7);
        for (size_t i = 0; i < b.n; i++, k++) {
            order[k] = b.index[i];
            first_pixels[k] = b.images[i * 20 + 7];
            assert_int_equal(b.labels[i], b.index[i] % 10);
        }
        if (batches++ % 3 == 1) nanosleep(&(struct timespec){0, 2000000}, NULL);
    }
    assert_int_equal(batches, 5);
    assert_int_equal(k, 29);
}

static void loads_batches(void **state) {
    (void)state;
    write_idx();
    struct rt_dataset d;
    assert_int_equal(rt_dataset_load(dir, 10, 0, 0, &d), SMKD_R_OK);
    struct rt_transform t;
    assert_int_equal(rt_transform_init(&t, &d.train, 1, 4, 5, 3, d.mean, d.std), SMKD_R_OK);
    int64_t subset[29], a[29], b[29], c[29];
    float pa[29], pb[29], pc[29];
    for (int i = 0; i < 29; i++) subset[i] = 29 - i;
    struct rt_loader_config cfg = {.images = &d.train,
                                   .subset = subset,
                                   .n = 29,
                                   .transform = &t,
                                   .batch = 7,
                                   .shuffle = true,
                                   .augment = true,
                                   .seed = 5};
    struct rt_loader *l = rt_loader_new(&cfg);
    assert_non_null(l);
    check_epoch(l, 1, a, pa);
    check_epoch(l, 2, b, pb);
    rt_loader_free(l);
    assert_memory_not_equal(a, b, sizeof a);
    l = rt_loader_new(&cfg);
    check_epoch(l, 2, c, pc); // an epoch does not depend on those before it
    rt_loader_free(l);
    assert_memory_equal(b, c, sizeof b);
    assert_memory_equal(pb, pc, sizeof pb);
    int seen[30] = {0};
    for (int i = 0; i < 29; i++) seen[a[i]]++;
    for (int i = 1; i < 30; i++) assert_int_equal(seen[i], 1);
    cfg.drop_last = true; // 29 = 4 * 7 + 1
    l = rt_loader_new(&cfg);
    struct rt_batch batch;
    assert_int_equal(rt_loader_batches(l), 4);
    rt_loader_begin(l, 1);
    for (int i = 0; rt_loader_next(l, &batch); i++) {
        assert_int_equal(batch.n, 7);
        for (int k = 0; k < 7; k++) assert_int_equal(batch.index[k], a[i * 7 + k]);
    }
    rt_loader_free(l);
    cfg.drop_last = false;
    l = rt_loader_new(&cfg); // freed in the middle of an epoch
    rt_loader_begin(l, 9);
    assert_true(rt_loader_next(l, &batch));
    rt_loader_free(l);
    rt_dataset_release(&d);
    wipe();
}

int main(void) {
    snprintf(dir, sizeof dir, "/tmp/smkd-data-XXXXXX");
    if (!mkdtemp(dir)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_idx),         cmocka_unit_test(refuses_bad_idx),
        cmocka_unit_test(reads_cifar),       cmocka_unit_test(reads_labels),
        cmocka_unit_test(reads_text_labels), cmocka_unit_test(transforms),
        cmocka_unit_test(crops_and_flips),   cmocka_unit_test(loads_batches),
        cmocka_unit_test(channels_last),     cmocka_unit_test(names_unknown_folders),
        cmocka_unit_test(counts_classes),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    wipe();
    rmdir(dir);
    return r;
}
