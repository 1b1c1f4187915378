// Realised rates and supports of the noise kinds, their maps and distributions, and that a label's noise does not
// depend on how many follow. (An independent reference of the draws: tests/oracle/test_noise.py)
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../../runtime/noise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 60000 };
static int32_t clean[N], noisy[N];
static char dir[64];

static enum smkd_result try_noise(const char *text, int classes, uint64_t seed, size_t n,
                                  const struct rt_dataset *set) {
    struct rt_noise noise;
    struct rt_noise_job j = {
        .text = text, .data = "data", .seed = seed, .classes = classes, .labels = noisy, .n = n, .set = set};
    assert_int_equal(rt_noise_parse(text, &noise), SMKD_R_OK);
    for (size_t i = 0; i < n; i++) clean[i] = noisy[i] = (int32_t)(i % (size_t)classes);
    return rt_noise_apply(&noise, &j);
}

static void apply(const char *text, int classes) {
    const struct rt_dataset cifar = {.cifar = true};
    if (try_noise(text, classes, 7, N, &cifar) != SMKD_R_OK) fail_msg("%s", smkd_last_error());
}

static void near(double a, double b, double tol) {
    if (!(fabs(a - b) <= tol)) fail_msg("%g is not within %g of %g", a, tol, b);
}

static void symmetric(void **state) {
    (void)state;
    apply("symmetric:0.4", 10);
    near(rt_labels_differ(clean, noisy, N), .4, .008); // 4 standard deviations
    int to[10] = {0};
    for (int i = 0; i < N; i += 10) to[noisy[i]]++;
    for (int c = 1; c < 10; c++) near(to[c] / 6000.0, .4 / 9, .011);
    apply("symmetric:1", 2);
    near(rt_labels_differ(clean, noisy, N), 1, 0);
    apply("symmetric:0", 10);
    near(rt_labels_differ(clean, noisy, N), 0, 0);
    apply("none", 10);
    near(rt_labels_differ(clean, noisy, N), 0, 0);
}

static void inclusive(void **state) {
    (void)state;
    apply("symmetric-inclusive:0.5", 10);
    near(rt_labels_differ(clean, noisy, N), .45, .009);
}

static void pairflip(void **state) {
    (void)state;
    apply("pairflip:0.45", 100);
    near(rt_labels_differ(clean, noisy, N), .45, .009);
    for (int i = 0; i < N; i++) assert_true(noisy[i] == clean[i] || noisy[i] == (clean[i] + 1) % 100);
}

static void asymmetric(void **state) {
    (void)state;
    static const int32_t to[10] = {0, 1, 0, 5, 7, 3, 6, 7, 8, 1}; // methods.md 7.3
    apply("asymmetric:0.4", 10);
    near(rt_labels_differ(clean, noisy, N), .2, .007); // half of the classes flip
    int flipped[10] = {0};
    for (int i = 0; i < N; i++) {
        if (noisy[i] == clean[i]) continue;
        assert_int_equal(noisy[i], to[clean[i]]);
        flipped[clean[i]]++;
    }
    for (int c = 0; c < 10; c++) near(flipped[c] / 6000.0, to[c] == c ? 0 : .4, .026);
    apply("asymmetric:0.3", 100);
    near(rt_labels_differ(clean, noisy, N), .3, .008);
    for (int i = 0; i < N; i++) {
        if (noisy[i] == clean[i]) continue;
        assert_int_equal(noisy[i] / 5, clean[i] / 5);
        assert_true(noisy[i] == clean[i] + 1 || (clean[i] % 5 == 4 && noisy[i] == clean[i] - 4));
    }
    const struct rt_dataset photos = {.name = "cifar10", .classes = 10};
    assert_int_equal(try_noise("asymmetric:0.4", 10, 7, N, &photos), SMKD_R_INVALID);
    assert_non_null(strstr(smkd_last_error(), "--noise matrix:FILE"));
    assert_non_null(strstr(smkd_last_error(), "pairflip:0.4"));
    assert_memory_equal(noisy, clean, sizeof noisy);
}

static const char *path_of(const char *name) {
    static char path[120];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static const char *matrix_of(const char *text) {
    static char flag[160];
    assert_int_equal(io_write_file(path_of("m"), text, strlen(text)), SMKD_OK);
    snprintf(flag, sizeof flag, "matrix:%s", path_of("m"));
    return flag;
}

static void matrix(void **state) {
    (void)state;
    // Commas, blanks, comments and empty lines; a class that never changes, one that always does.
    static const double want[4][4] = {{.5, .25, .125, .125}, {0, 1, 0, 0}, {1, 0, 0, 0}, {.1, .2, .3, .4}};
    apply(matrix_of("# from true to given\n0.5, 0.25, 0.125,0.125\n\n0 1 0 0 # stays\r\n1;0;0;0\n1e-1\t.2 .3 .4"), 4);
    double chi = 0;
    int count[4][4] = {{0}};
    for (int i = 0; i < N; i++) count[clean[i]][noisy[i]]++;
    for (int y = 0; y < 4; y++)
        for (int c = 0; c < 4; c++) {
            const double expect = want[y][c] * N / 4, off = count[y][c] - expect;
            if (want[y][c] == 0) assert_int_equal(count[y][c], 0);
            if (expect > 0) chi += off * off / expect;
        }
    assert_true(chi > 0.1 && chi < 28); // of 6 degrees of freedom: one of ten thousand is above

    // As .npy, the same labels; of any type.
    int32_t before[N];
    memcpy(before, noisy, sizeof before);
    double values[16];
    for (int i = 0; i < 16; i++) values[i] = want[i / 4][i % 4];
    struct rt_tensor t = {
        .dtype = RT_F64, .rank = 2, .dims = {4, 4}, .numel = 16, .bytes = sizeof values, .data = values};
    char flag[160];
    assert_int_equal(rt_npy_write(path_of("m.npy"), &t), SMKD_R_OK);
    snprintf(flag, sizeof flag, "matrix:%s", path_of("m.npy"));
    apply(flag, 4);
    assert_memory_equal(before, noisy, sizeof before);

    static const struct {
        const char *text, *why;
    } bad[] = {
        {"1 0\n.5 .4", "row 1 (from 0) sums to 0.9, expected 1 within 1e-06"},
        {"1 0\n.4999 .500102", "row 1 (from 0) sums to 1.000002"},
        {"1 0\n1.5 -.5", "row 1, column 0 (from 0) is 1.5; expected probabilities"},
        {"1 0\nnan 1", "line 2: expected a number, not \"nan\""},
        {"1 0\n0 1\n0 1", "has 3 rows, expected 2, one for each class"},
        {"1 0", "has 1 row, expected 2"},
        {"1 0\n\n1 0 0", "line 3 has 3 numbers, expected 2"},
        {"1 x\n0 1", "line 1: expected a number, not \"x\""},
        {"", "is empty"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_not_equal(try_noise(matrix_of(bad[i].text), 2, 7, 100, NULL), SMKD_R_OK);
        if (!strstr(smkd_last_error(), bad[i].why)) fail_msg("%s, not %s", smkd_last_error(), bad[i].why);
    }
    assert_int_equal(try_noise(flag, 3, 7, 100, NULL), SMKD_R_MISMATCH);
    assert_non_null(strstr(smkd_last_error(), "has shape [4,4], expected [3,3]"));
    assert_int_equal(try_noise("matrix:/nowhere/m.csv", 3, 7, 100, NULL), SMKD_R_IO);
    apply(matrix_of("1 0\n.4999995 .5000000"), 2); // within the tolerance
}

// Images of two looks: features of one are those of the other, negated. Everything that decides where a label goes is
// the image.
enum { SIDE = 8, PER = 500 };
static struct rt_dataset set;
static struct rt_transform transform;

static void make_images(void) {
    const size_t bytes = 3 * SIDE * SIDE, n = 6 * PER;
    struct rt_images *im = &set.train;
    *im = (struct rt_images){.n = n,
                             .channels = 3,
                             .height = SIDE,
                             .width = SIDE,
                             .pixels = xcalloc(n, bytes),
                             .labels = xcalloc(n, sizeof *im->labels)};
    for (size_t i = 0; i < n; i++)
        for (size_t p = 0; p < bytes; p++) {
            const bool bright = (p * 2654435761u >> 7 & 1) ^ (i / 3 % 2);
            im->pixels[i * bytes + p] = bright ? 200 : 50;
        }
    const float mean[] = {.5f, .5f, .5f}, std[] = {.3f, .3f, .3f};
    assert_int_equal(rt_transform_init(&transform, im, 3, SIDE, SIDE, 0, mean, std), SMKD_R_OK);
}

static double instance_run(const char *text, uint64_t seed, int threads, int32_t *labels, size_t n) {
    struct rt_noise noise;
    for (size_t i = 0; i < n; i++) clean[i] = labels[i] = (int32_t)(i % 3) + 5; // of 12 classes
    struct rt_noise_job j = {.text = text,
                             .data = "data",
                             .seed = seed,
                             .classes = 12,
                             .labels = labels,
                             .n = n,
                             .set = &set,
                             .transform = &transform,
                             .threads = threads,
                             .workers = threads};
    assert_int_equal(rt_noise_parse(text, &noise), SMKD_R_OK);
    if (rt_noise_apply(&noise, &j) != SMKD_R_OK) fail_msg("%s", smkd_last_error());
    return rt_labels_differ(clean, labels, n);
}

static void instance(void **state) {
    (void)state;
    make_images();
    const size_t n = set.train.n;
    near(instance_run("instance:0.4", 3, 1, noisy, n), .4, .037); // 4 standard deviations
    // Of each class and look, where labels go: mostly to one class, another for each look and each class.
    int to[3][2][12] = {{{0}}}, most[3][2];
    for (size_t i = 0; i < n; i++)
        if (noisy[i] != clean[i]) to[clean[i] - 5][i / 3 % 2][noisy[i]]++;
    for (int y = 0; y < 3; y++)
        for (int look = 0; look < 2; look++) {
            int all = 0, *t = to[y][look];
            most[y][look] = 0;
            for (int c = 0; c < 12; c++) {
                all += t[c];
                if (t[c] > t[most[y][look]]) most[y][look] = c;
            }
            assert_int_equal(t[y + 5], 0);
            near(all, .4 * PER, 4 * sqrt(.24 * PER));
            assert_true(t[most[y][look]] > .5 * all); // an even share would be a tenth
        }
    for (int y = 0; y < 3; y++) assert_int_not_equal(most[y][0], most[y][1]);
    assert_true(most[0][0] != most[1][0] || most[1][0] != most[2][0]);

    // The same labels for any number of threads, for networks that read [H,W,C] and augment, and of fewer images;
    // others for another seed.
    static int32_t again[N];
    transform.channels_last = true;
    transform.flags = RT_AUGMENT_FLIP | RT_AUGMENT_CROP;
    instance_run("instance:0.4", 3, 3, again, n);
    assert_memory_equal(again, noisy, n * sizeof *again);
    const uint64_t budget = budget_bytes();
    budget_set(1000); // no room for weights: they are drawn for each batch
    instance_run("instance:0.4", 3, 2, again, n);
    assert_memory_equal(again, noisy, n * sizeof *again);
    budget_set(budget);
    set.train.n = 700;
    instance_run("instance:0.4", 3, 2, again, 700);
    assert_memory_equal(again, noisy, 700 * sizeof *again);
    set.train.n = n;
    instance_run("instance:0.4", 4, 2, again, n);
    assert_memory_not_equal(again, noisy, n * sizeof *again);
    near(instance_run("instance:0.9", 3, 2, again, n), .87, .03); // q is cut at 1: the mean of N(.9, .1^2) below 1
    rt_images_release(&set.train);
}

static void prefix(void **state) {
    (void)state;
    static const char *const kinds[] = {"symmetric:0.4", "asymmetric:0.4", "pairflip:0.4"};
    const struct rt_dataset cifar = {.cifar = true};
    int32_t all[100];
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        apply(kinds[i], 10);
        memcpy(all, noisy, sizeof all);
        assert_int_equal(try_noise(kinds[i], 10, 7, 100, &cifar), SMKD_R_OK);
        assert_memory_equal(all, noisy, sizeof all);
        assert_int_equal(try_noise(kinds[i], 10, 8, 100, &cifar), SMKD_R_OK);
        assert_memory_not_equal(all, noisy, sizeof all);
    }
}

// Runs of earlier versions had these labels.
static void same_bits(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t hash;
    } golden[] = {{"symmetric:0.4", UINT64_C(0xfb70af7e80d465e)},
                  {"symmetric-inclusive:0.5", UINT64_C(0x4a1dc68c668d07eb)},
                  {"pairflip:0.45", UINT64_C(0x552e7efc3965d7e9)}};
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        apply(golden[i].text, 10);
        uint64_t h = fnv1a(FNV_INIT, noisy, sizeof noisy);
        if (h != golden[i].hash) fail_msg("%s: %llx", golden[i].text, (unsigned long long)h);
    }
}

static void words(void **state) {
    (void)state;
    static const char *const bad[] = {
        "symmetric",     "symmetric:", "symmetric:1.5", "symmetric:-0.1", "sym:0.4",    "pairflip:x", "",
        "symmetric:nan", "none:0.1",   "matrix:",       "matrix",         "instance:2", "asymmetric:"};
    struct rt_noise noise;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(rt_noise_parse(bad[i], &noise), SMKD_R_INVALID);
        assert_non_null(strstr(smkd_last_error(), "symmetric:R"));
    }
    unsigned flags;
    assert_int_equal(rt_augment_parse("crop-flip", &flags), SMKD_R_OK);
    assert_string_equal(rt_augment_text(flags), "crop-flip");
    assert_int_equal(rt_augment_parse("cutout", &flags), SMKD_R_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(symmetric),  cmocka_unit_test(inclusive), cmocka_unit_test(pairflip),
        cmocka_unit_test(asymmetric), cmocka_unit_test(matrix),    cmocka_unit_test(instance),
        cmocka_unit_test(prefix),     cmocka_unit_test(same_bits), cmocka_unit_test(words),
    };
    snprintf(dir, sizeof dir, "/tmp/smkd-noise-XXXXXX");
    if (!mkdtemp(dir)) return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path_of("m"));
    unlink(path_of("m.npy"));
    rmdir(dir);
    return failed;
}
