// The loader on files made here: any number of threads, damaged files, short queues, samplers, the cache.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../../runtime/transforms.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 23, SIZE = 8, FLOATS = 3 * SIZE * SIZE, BATCH = 5, CLASSES = 4 };
static char dir[64];

// A BMP of 24 bits whose size and colours are its number's.
static size_t bmp(uint8_t *b, int k) {
    const int w = 9 + k % 7, h = 12 + k % 5, row = (w * 3 + 3) / 4 * 4, size = 54 + row * h;
    memset(b, 0, (size_t)size);
    const int32_t head[] = {size, 0, 54, 40, w, h, 1 | 24 << 16};
    memcpy(b, "BM", 2);
    memcpy(b + 2, head, sizeof head);
    for (int i = 54; i < size; i++) b[i] = (uint8_t)(k * 37 + i * (k % 3 + 1));
    return (size_t)size;
}

static const char *at(int k) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%d.bmp", dir, k);
    return path;
}

static void write_file(int k, bool whole) {
    static uint8_t b[4096];
    size_t n = bmp(b, k);
    assert_int_equal(io_write_file(at(k), b, whole ? n : n / 2), SMKD_OK);
}

static void make_images(struct rt_images *im, size_t n) {
    *im = (struct rt_images){.n = n, .channels = 3};
    im->labels = xcalloc(n, sizeof *im->labels);
    im->path_at = xcalloc(n, sizeof *im->path_at);
    im->paths = xcalloc(n, sizeof dir + 16);
    uint64_t used = 0;
    for (size_t i = 0; i < n; i++) {
        im->labels[i] = i < 15 ? 0 : (int32_t)(i % CLASSES);
        im->path_at[i] = used;
        used += (uint64_t)sprintf(im->paths + used, "%s", at((int)i)) + 1;
    }
}

static void make_pipeline(struct rt_pipeline *p) {
    const struct rt_transform_options o = {.channels = 3,
                                           .height = SIZE,
                                           .width = SIZE,
                                           .mean = {0.5f, 0.4f, 0.3f},
                                           .std = {0.2f, 0.3f, 0.4f},
                                           .crop = RT_CROP_RESIZED,
                                           .val_resize = SIZE,
                                           .how = RT_BILINEAR,
                                           .hflip = 0.5};
    assert_int_equal(rt_pipeline_init(p, &o), SMKD_R_OK);
}

// All that an epoch brought.
struct epoch {
    float x[2 * N * FLOATS];
    int64_t labels[2 * N], index[2 * N];
    size_t n, batches, lines;
    int view; // of which x is
    char line[8][400];
    enum smkd_result result;
};
static void warn(void *env, const char *line) {
    struct epoch *e = env;
    assert_true(e->lines < 8);
    snprintf(e->line[e->lines++], sizeof e->line[0], "%s", line);
}
static void read_epoch(struct rt_loader *l, uint64_t number, struct epoch *e) {
    struct rt_batch b;
    rt_loader_begin(l, number);
    e->n = e->batches = 0;
    while (rt_loader_next(l, &b)) {
        assert_true(b.n > 0);
        memcpy(e->x + e->n * FLOATS, rt_batch_view(&b, e->view), b.n * FLOATS * sizeof(float));
        memcpy(e->labels + e->n, b.labels, b.n * sizeof *b.labels);
        memcpy(e->index + e->n, b.index, b.n * sizeof *b.index);
        e->n += b.n;
        e->batches++;
    }
    assert_false(rt_loader_next(l, &b)); // also when asked again
    e->result = rt_loader_result(l);
}
static void assert_same(const struct epoch *a, const struct epoch *b) {
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->index, b->index, a->n * sizeof *a->index);
    assert_memory_equal(a->labels, b->labels, a->n * sizeof *a->labels);
    assert_memory_equal(a->x, b->x, a->n * FLOATS * sizeof *a->x);
}

struct world {
    struct rt_images im;
    struct rt_pipeline p;
    struct rt_transform t;
    struct rt_loader_config c;
    struct epoch *one, *two, *three;
};
static void begin(struct world *w, bool training) {
    for (int k = 0; k < N; k++) write_file(k, true);
    make_images(&w->im, N);
    make_pipeline(&w->p);
    w->t = (struct rt_transform){.channels = 3, .height = SIZE, .width = SIZE, .pipeline = &w->p};
    w->one = xcalloc(1, sizeof *w->one);
    w->two = xcalloc(1, sizeof *w->two);
    w->three = xcalloc(1, sizeof *w->three);
    w->c = (struct rt_loader_config){.images = &w->im,
                                     .n = N,
                                     .transform = &w->t,
                                     .batch = BATCH,
                                     .shuffle = training,
                                     .augment = training,
                                     .seed = 11,
                                     .workers = 1,
                                     .warn = warn};
}
static void end(struct world *w) {
    rt_images_release(&w->im);
    free(w->one);
    free(w->two);
    free(w->three);
    for (int k = 0; k < N; k++) unlink(at(k));
}
static void run(struct world *w, uint64_t number, struct epoch *e) {
    w->c.warn_env = e;
    struct rt_loader *l = rt_loader_new(&w->c);
    assert_non_null(l);
    read_epoch(l, number, e);
    rt_loader_free(l);
}

// Epochs 1 and 2 on one thread; epoch 2 alone, by other numbers of threads and with a queue of one batch, is the same.
static void any_number_of_threads(void **state) {
    (void)state;
    struct world w;
    begin(&w, true);
    struct rt_loader *l = rt_loader_new(&w.c);
    assert_non_null(l);
    assert_int_equal(rt_loader_workers(l), 1);
    assert_int_equal(rt_loader_batches(l), 5);
    read_epoch(l, 1, w.one);
    read_epoch(l, 2, w.two);
    rt_loader_free(l);
    assert_int_equal(w.two->n, N);
    assert_int_equal(w.two->result, SMKD_R_OK);
    assert_memory_not_equal(w.one->index, w.two->index, N * sizeof(int64_t));
    const int workers[] = {1, 2, 5, 0}, ahead[] = {1, 0};
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 2; k++) {
            w.c.workers = workers[i];
            w.c.ahead = ahead[k];
            run(&w, 2, w.three);
            assert_same(w.two, w.three);
        }
    end(&w);
}

// Batches are mixed as a whole, by any number of threads; labels_mix are those of the image before.
static void mixes_batches(void **state) {
    (void)state;
    struct world w;
    begin(&w, true);
    run(&w, 1, w.one);
    w.c.mix = (struct rt_mix_options){.mixup_alpha = 0.4};
    for (int workers = 1; workers < 5; workers += 3) {
        struct rt_batch b;
        size_t at_row = 0;
        w.c.workers = workers;
        struct rt_loader *l = rt_loader_new(&w.c);
        rt_loader_begin(l, 1);
        double before = -1;
        for (; rt_loader_next(l, &b); at_row += b.n) {
            assert_true(b.labels_mix && b.lambda > 0 && b.lambda < 1 && b.lambda != before);
            before = b.lambda;
            for (size_t i = 0; i < b.n; i++) {
                const size_t other = i ? i - 1 : b.n - 1;
                assert_int_equal(b.labels[i], w.one->labels[at_row + i]);
                assert_int_equal(b.index[i], w.one->index[at_row + i]);
                assert_int_equal(b.labels_mix[i], b.labels[other]);
                const float *x = w.one->x + (at_row + i) * FLOATS, *y = w.one->x + (at_row + other) * FLOATS;
                for (size_t k = 0; k < FLOATS; k++)
                    assert_true(b.images[i * FLOATS + k] == y[k] * (float)(1 - b.lambda) + x[k] * (float)b.lambda);
            }
        }
        assert_int_equal(at_row, N);
        rt_loader_free(l);
    }
    // Not in evaluation.
    struct rt_batch b;
    w.c.augment = w.c.shuffle = false;
    struct rt_loader *l = rt_loader_new(&w.c);
    rt_loader_begin(l, 1);
    while (rt_loader_next(l, &b)) assert_true(!b.labels_mix && b.lambda == 1);
    rt_loader_free(l);
    end(&w);
}

static int views_of(const struct world *w) {
    struct rt_loader *l = rt_loader_new(&w->c);
    const int views = rt_loader_views(l);
    rt_loader_free(l);
    return views;
}

// View 0 is the one that there is without others; each other has images of its own, by any number of threads. All are
// mixed alike, each with its own images. Where nothing is random there is one.
static void several_views(void **state) {
    (void)state;
    struct world w;
    begin(&w, true);
    run(&w, 1, w.one);
    w.c.views = 3;
    assert_int_equal(views_of(&w), 3);
    for (int workers = 1; workers < 5; workers += 3) {
        w.c.workers = workers;
        w.two->view = 0;
        run(&w, 1, w.two);
        assert_same(w.one, w.two);
    }
    w.two->view = 1;
    run(&w, 1, w.two);
    w.c.workers = 1;
    w.three->view = 1;
    run(&w, 1, w.three);
    assert_same(w.two, w.three);
    w.three->view = 2;
    run(&w, 1, w.three);
    assert_memory_equal(w.one->index, w.two->index, N * sizeof(int64_t));
    assert_memory_equal(w.one->labels, w.two->labels, N * sizeof(int64_t));
    for (size_t i = 0; i < N * FLOATS; i += FLOATS) {
        assert_memory_not_equal(w.one->x + i, w.two->x + i, FLOATS * sizeof(float));
        assert_memory_not_equal(w.one->x + i, w.three->x + i, FLOATS * sizeof(float));
        assert_memory_not_equal(w.two->x + i, w.three->x + i, FLOATS * sizeof(float));
    }
    w.c.mix = (struct rt_mix_options){.mixup_alpha = 0.4};
    const struct epoch *plain[] = {w.one, w.two, w.three};
    struct rt_batch b;
    struct rt_loader *l = rt_loader_new(&w.c);
    rt_loader_begin(l, 1);
    for (size_t at_row = 0; rt_loader_next(l, &b); at_row += b.n)
        for (int v = 0; v < 3; v++)
            for (size_t i = 0; i < b.n * FLOATS; i++) {
                const float *x = plain[v]->x + at_row * FLOATS;
                const size_t other = i < FLOATS ? i + (b.n - 1) * FLOATS : i - FLOATS;
                assert_true(rt_batch_view(&b, v)[i] == x[other] * (float)(1 - b.lambda) + x[i] * (float)b.lambda);
            }
    rt_loader_free(l);
    w.c.augment = false;
    assert_int_equal(views_of(&w), 1);
    w.c.augment = true;
    w.p.o.crop = RT_CROP_CENTER;
    assert_int_equal(views_of(&w), 3); // half of them are mirrored
    w.p.o.hflip = 1;
    assert_int_equal(views_of(&w), 1);
    w.p.o.cutout = 2;
    assert_int_equal(views_of(&w), 3);
    end(&w);
}

// Files 3, 4 and 9 are damaged in three ways: their rows get the next image of the epoch's order.
static void damaged_files(void **state) {
    (void)state;
    struct world w;
    begin(&w, true);
    run(&w, 1, w.one); // undamaged
    write_file(3, false);
    unlink(at(4));
    assert_int_equal(io_write_file(at(9), "GIF89a", 6), SMKD_OK);
    run(&w, 1, w.two);
    assert_int_equal(w.two->n, N);
    assert_int_equal(w.two->result, SMKD_R_OK);
    assert_int_equal(w.two->lines, 3);
    for (size_t i = 0; i < N; i++) {
        size_t from = i;
        while (w.one->index[from] == 3 || w.one->index[from] == 4 || w.one->index[from] == 9) from = (from + 1) % N;
        assert_int_equal(w.two->index[i], w.one->index[from]);
        assert_int_equal(w.two->labels[i], w.one->labels[from]);
        const bool same = memcmp(w.two->x + i * FLOATS, w.one->x + from * FLOATS, FLOATS * sizeof(float)) == 0;
        assert_int_equal(same, from == i); // what stands in is augmented otherwise than where it stands for itself
    }
    for (int k = 0; k < 3; k++) assert_non_null(strstr(w.two->line[k], dir));
    // Known from an epoch before or not, by any number of threads: the same bits, and each is told once.
    w.c.workers = 3;
    w.three->lines = 0;
    w.c.warn_env = w.three;
    struct rt_loader *l = rt_loader_new(&w.c);
    read_epoch(l, 7, w.three);
    read_epoch(l, 1, w.three);
    assert_int_equal(w.three->lines, 3);
    assert_int_equal(rt_loader_skipped(l), 3);
    assert_same(w.two, w.three);
    rt_loader_free(l);
    // Evaluation leaves them out.
    w.c.shuffle = w.c.augment = false;
    for (int workers = 1; workers < 4; workers++) {
        w.c.workers = workers;
        w.three->lines = 0;
        run(&w, 0, w.three);
        assert_int_equal(w.three->n, N - 3);
        assert_int_equal(w.three->batches, 5);
        assert_int_equal(w.three->lines, 3);
        int64_t k = 0;
        for (size_t i = 0; i < w.three->n; i++, k++) {
            while (k == 3 || k == 4 || k == 9) k++;
            assert_int_equal(w.three->index[i], k);
        }
    }
    w.c.strict = true;
    run(&w, 0, w.three);
    assert_int_not_equal(w.three->result, SMKD_R_OK);
    assert_non_null(strstr(smkd_last_error(), "--strict-data"));
    end(&w);
}

// A batch without any readable image is passed over in evaluation; an epoch without any is a failure, and the loader
// can go on behind it.
static void nothing_readable(void **state) {
    (void)state;
    struct world w;
    begin(&w, false);
    for (int k = 5; k < 10; k++) unlink(at(k));
    run(&w, 0, w.one);
    assert_int_equal(w.one->n, N - 5);
    assert_int_equal(w.one->batches, 4);
    for (int k = 0; k < N; k++) unlink(at(k));
    w.c.warn = NULL;
    w.c.workers = 3;
    run(&w, 0, w.one);
    assert_int_equal(w.one->n, 0);
    assert_int_equal(w.one->result, SMKD_R_INVALID);
    assert_non_null(strstr(smkd_last_error(), "none of the 23 images"));
    w.c.shuffle = w.c.augment = true;
    struct rt_loader *l = rt_loader_new(&w.c);
    read_epoch(l, 1, w.one);
    assert_int_equal(w.one->n, 0);
    assert_int_equal(w.one->result, SMKD_R_INVALID);
    read_epoch(l, 2, w.one);
    assert_int_equal(w.one->result, SMKD_R_INVALID);
    rt_loader_free(l);
    end(&w);
}

static void freed_early(void **state) {
    (void)state;
    struct world w;
    struct rt_batch b;
    begin(&w, true);
    for (int workers = 1; workers < 6; workers++)
        for (int batches = 0; batches < 4; batches++) {
            w.c.workers = workers;
            struct rt_loader *l = rt_loader_new(&w.c);
            rt_loader_begin(l, 3);
            for (int i = 0; i < batches; i++) assert_true(rt_loader_next(l, &b));
            rt_loader_free(l);
        }
    rt_loader_free(rt_loader_new(&w.c)); // never begun
    rt_loader_free(NULL);
    end(&w);
}

static void holds_in_memory(void **state) {
    (void)state;
    struct world w;
    begin(&w, true);
    run(&w, 2, w.one);
    struct rt_dataset d = {.name = "test", .train = w.im};
    const uint64_t budget = budget_bytes();
    budget_set(1000);
    assert_int_equal(rt_dataset_cache(&d), SMKD_R_NOMEM);
    assert_non_null(strstr(smkd_last_error(), "--cache ram: 23 images of test"));
    budget_set(budget);
    assert_int_equal(rt_dataset_cache(&d), SMKD_R_OK);
    w.im = d.train;
    w.c.workers = 3;
    w.c.sampler = rt_sampler_find("balanced"); // one image twice at a time
    run(&w, 1, w.three);
    for (int k = 0; k < N; k++) unlink(at(k)); // those it brought are not read again
    w.c.sampler = NULL;
    w.c.subset = w.three->index;
    w.c.n = w.three->n;
    w.c.shuffle = false;
    run(&w, 2, w.two);
    assert_int_equal(w.two->n, N);
    assert_int_equal(w.two->result, SMKD_R_OK);
    for (size_t i = 0; i < N; i++) // augmentation is the image's, in whatever order it comes
        for (size_t k = 0; k < N; k++)
            if (w.one->index[k] == w.two->index[i])
                assert_memory_equal(w.two->x + i * FLOATS, w.one->x + k * FLOATS, FLOATS * sizeof(float));
    end(&w);
}

// Pixels go through a pipeline as files do.
static void pixels_through_a_pipeline(void **state) {
    (void)state;
    static uint8_t px[2][3][SIZE][SIZE], grey[2][SIZE][SIZE];
    static float out[2][3][SIZE][SIZE];
    for (int i = 0; i < 2 * FLOATS; i++) (&px[0][0][0][0])[i] = (uint8_t)(i * 7);
    for (int i = 0; i < 2 * SIZE * SIZE; i++) (&grey[0][0][0])[i] = (uint8_t)(i * 3);
    int32_t labels[] = {1, 0};
    struct rt_pipeline p;
    make_pipeline(&p);
    for (int channels = 1; channels <= 3; channels += 2) {
        struct rt_images im = {.n = 2, .channels = channels, .height = SIZE, .width = SIZE, .labels = labels};
        im.pixels = channels == 1 ? &grey[0][0][0] : &px[0][0][0][0];
        const struct rt_transform t = {.channels = 3, .height = SIZE, .width = SIZE, .pipeline = &p};
        struct rt_loader_config c = {.images = &im, .n = 2, .transform = &t, .batch = 2, .workers = 2};
        struct rt_loader *l = rt_loader_new(&c);
        struct rt_batch b;
        rt_loader_begin(l, 0);
        assert_true(rt_loader_next(l, &b));
        memcpy(out, b.images, sizeof out);
        rt_loader_free(l);
        for (int i = 0; i < 2; i++)
            for (int k = 0; k < 3; k++)
                for (int y = 0; y < SIZE; y++)
                    for (int x = 0; x < SIZE; x++)
                        assert_true(out[i][k][y][x] == p.lut[k][channels == 1 ? grey[i][y][x] : px[i][k][y][x]]);
    }
}

static void orders(void **state) {
    (void)state;
    int32_t labels[100];
    int64_t subset[90], order[90], again[90];
    for (int i = 0; i < 100; i++) labels[i] = i < 70 ? 4 : i < 95 ? 2 : i < 99 ? 1 : 7;
    for (int i = 0; i < 90; i++) subset[i] = i + 10; // 60 of class 4, 25 of 2, 4 of 1, 1 of 7
    float weights[100];
    for (int i = 0; i < 100; i++) weights[i] = (float)(i % 4) / 2;
    struct rt_sampler_job j = {.subset = subset, .labels = labels, .weights = weights, .n = 90};
    assert_null(rt_sampler_find("other"));
    for (const struct rt_sampler *s = rt_samplers; s->name; s++) {
        assert_ptr_equal(rt_sampler_find(s->name), s);
        rt_rng_init(&j.rng, 1, 5);
        assert_true(s->order(&j, order));
        rt_rng_init(&j.rng, 1, 5);
        assert_true(s->order(&j, again));
        assert_memory_equal(order, again, sizeof order);
        rt_rng_init(&j.rng, 1, 6);
        assert_true(s->order(&j, again));
        assert_memory_not_equal(order, again, sizeof order);
        int seen[100] = {0}, of_class[8] = {0};
        for (int i = 0; i < 90; i++) {
            assert_in_range(order[i], 10, 99);
            seen[order[i]]++;
            of_class[labels[order[i]]]++;
        }
        if (strcmp(s->name, "shuffle") == 0)
            for (int i = 10; i < 100; i++) assert_int_equal(seen[i], 1);
        if (strcmp(s->name, "repeated") == 0)
            for (int i = 0; i < 90; i++) {
                assert_int_equal(order[i], order[i / 3 * 3]);
                assert_int_equal(seen[order[i]], 3);
            }
        if (strcmp(s->name, "balanced") == 0) {
            const int classes[] = {1, 2, 4, 7};
            for (int k = 0; k < 4; k++) assert_in_range(of_class[classes[k]], 22, 23);
            assert_in_range(seen[99], 22, 23);
        }
        double sum = 0;
        for (int i = 10; i < 100; i++) sum += (double)weights[i];
        for (int i = 10; i < 100 && strcmp(s->name, "weighted") == 0; i++)
            assert_true(fabs(seen[i] - 90 * (double)weights[i] / sum) < 1);
    }
    // Fewer images than classes, and none.
    for (j.n = 0; j.n < 4; j.n++)
        for (const struct rt_sampler *s = rt_samplers; s->name; s++) assert_true(s->order(&j, order));
}

// A sampler that brings an image twice augments it otherwise each time.
static void repeats_differ(void **state) {
    (void)state;
    struct world w;
    begin(&w, true);
    w.c.sampler = rt_sampler_find("repeated");
    run(&w, 1, w.one);
    assert_int_equal(w.one->n, N);
    assert_int_equal(w.one->index[0], w.one->index[1]);
    assert_memory_not_equal(w.one->x, w.one->x + FLOATS, FLOATS * sizeof(float));
    w.c.workers = 4;
    run(&w, 1, w.two);
    assert_same(w.one, w.two);
    end(&w);
}

// --- rows made of several images -------------------------------------------------------------------------------------

enum { VIEWS = 3 };

// All that a pass brought, rows as the networks see them.
struct passed {
    float x[N * VIEWS * FLOATS], mixed[N * VIEWS * FLOATS];
    int64_t index[N], labels[N], row[N * VIEWS]; // row: in its batch
    size_t n, batches;
    double lambda[N]; // of each batch
};
static void read_pass(struct rt_loader *l, uint64_t epoch, const struct rt_loader_pass *p, struct passed *out) {
    struct rt_batch b;
    memset(out, 0, sizeof *out);
    rt_loader_begin_pass(l, epoch, p);
    for (; rt_loader_next(l, &b); out->n += b.n, out->batches++) {
        const size_t images = b.n * (size_t)b.views, at_image = out->n * (size_t)b.views;
        assert_int_equal(b.views, p->views ? p->views : rt_loader_views(l));
        memcpy(out->x + at_image * FLOATS, b.images, images * FLOATS * sizeof(float));
        memcpy(out->index + out->n, b.index, b.n * sizeof *b.index);
        memcpy(out->labels + out->n, b.labels, b.n * sizeof *b.labels);
        out->lambda[out->batches] = b.lambda;
        assert_true((b.mixed != NULL) == (p->mix > 0) && (b.mix_row != NULL) == (p->mix > 0));
        if (!b.mixed) continue;
        memcpy(out->mixed + at_image * FLOATS, b.mixed, images * FLOATS * sizeof(float));
        memcpy(out->row + at_image, b.mix_row, images * sizeof *b.mix_row);
    }
    assert_int_equal(rt_loader_result(l), SMKD_R_OK);
    assert_int_equal(out->batches, rt_loader_batches(l));
}

// Which of the images that is, where nothing about them is random.
static int64_t image_of(const struct epoch *all, const float *x) {
    int64_t found = -1;
    for (int64_t i = 0; i < N; i++) {
        if (memcmp(all->x + i * FLOATS, x, FLOATS * sizeof *x) != 0) continue;
        assert_int_equal(found, -1);
        found = i;
    }
    assert_true(found >= 0);
    return found;
}

// Images as they are in `one`, and training that makes each row of its own image, a partner and one of more.
static const struct method_view three[VIEWS] = {{METHOD_ROW, false}, {METHOD_PARTNER, false}, {METHOD_MORE, false}};
static void begin_views(struct world *w, bool random) {
    begin(w, true);
    w->im.labels[22] = 7; // alone, and so is 18
    if (!random) w->p.o.crop = RT_CROP_CENTER, w->p.o.hflip = 0;
    w->c.shuffle = false;
    run(w, 1, w->one);
    w->c.shuffle = true;
    w->c.views = VIEWS;
    w->c.view = three;
    w->c.stacked = true;
}

// An order of its own for each pass; partners of the same label among the rows, anew in each epoch; of `more` every
// image once a lap.
static void rows_of_several_images(void **state) {
    (void)state;
    static const int64_t rows[] = {0, 1, 2, 3, 4, 15, 16, 17, 18, 19, 20, 21, 22}, more[] = {6, 8, 9, 11};
    enum { ROWS = 13, MORE = 4 };
    static struct passed p, other;
    struct world w;
    begin_views(&w, false);
    struct rt_loader *l = rt_loader_new(&w.c);
    bool differ = false;
    for (int epoch = 1; epoch < 9; epoch++) {
        struct rt_loader_pass pass = {.number = epoch % 2, .rows = rows, .n = ROWS, .more = more, .n_more = MORE};
        int seen[N] = {0}, lap[N] = {0};
        read_pass(l, (uint64_t)epoch, &pass, &p);
        assert_int_equal(p.n, ROWS);
        assert_int_equal(p.batches, 3);
        for (size_t i = 0; i < ROWS; i++) {
            const float *x = p.x + i * VIEWS * FLOATS;
            const int64_t own = p.index[i], partner = image_of(w.one, x + FLOATS),
                          of_more = image_of(w.one, x + 2 * FLOATS);
            assert_int_equal(image_of(w.one, x), own);
            assert_int_equal(p.labels[i], w.im.labels[own]);
            seen[own]++;
            assert_int_equal(w.im.labels[partner], w.im.labels[own]);
            assert_int_equal(partner == own, own == 18 || own == 22);
            assert_true(partner < 5 || partner > 14); // one of the rows
            lap[of_more]++;
            for (size_t k = 0; k < MORE; k++) assert_in_range(lap[more[k]], i / MORE, i / MORE + 1);
        }
        for (size_t i = 0; i < ROWS; i++) assert_int_equal(seen[rows[i]], 1);
        pass.number = !pass.number;
        read_pass(l, (uint64_t)epoch, &pass, &other);
        assert_memory_not_equal(p.index, other.index, ROWS * sizeof *p.index);
        for (size_t i = 0; i < ROWS; i++) // by where the images are in the other order
            for (size_t k = 0; k < ROWS; k++)
                differ =
                    differ || (p.index[i] == other.index[k] && image_of(w.one, p.x + (i * VIEWS + 1) * FLOATS) !=
                                                                   image_of(w.one, other.x + (k * VIEWS + 1) * FLOATS));
    }
    assert_true(differ);
    // A pass of view 0 alone, and one of all images, which is what an epoch without passes is.
    read_pass(l, 1, &(struct rt_loader_pass){.views = 1}, &other);
    assert_int_equal(other.n, N);
    for (size_t i = 0; i < N; i++) assert_int_equal(image_of(w.one, other.x + i * FLOATS), other.index[i]);
    rt_loader_free(l);
    w.c.views = 0;
    w.c.view = NULL;
    run(&w, 1, w.two);
    assert_memory_equal(other.index, w.two->index, N * sizeof(int64_t));
    assert_memory_equal(other.x, w.two->x, N * FLOATS * sizeof(float));
    end(&w);
}

// Each of two others of three comes as often.
static void partners(void **state) {
    (void)state;
    static const int32_t labels[] = {0, 1, 0, 2, 0, 1};
    static const int64_t order[] = {5, 4, 3, 2, 1, 0};
    int64_t partner[6];
    int times[6][6] = {{0}};
    struct rt_sampler_job j = {.labels = labels, .n = 6};
    rt_rng_init(&j.rng, 1, 5);
    for (int i = 0; i < 3000; i++) {
        assert_true(rt_sampler_partners(&j, order, partner));
        for (int k = 0; k < 6; k++) times[order[k]][partner[k]]++;
    }
    for (int a = 0; a < 6; a++)
        for (int b = 0; b < 6; b++) {
            const int want = a == b ? (a == 3) * 3000 : labels[a] != labels[b] ? 0 : labels[a] == 0 ? 1500 : 3000;
            assert_true(abs(times[a][b] - want) <= (want == 1500 ? 110 : 0)); // four standard deviations
        }
}

// Any number of threads makes the same bits. An image that is seen again in a pass is augmented otherwise each time.
static void same_views(void **state) {
    (void)state;
    static struct passed one, other;
    static const int64_t more[] = {7};
    struct world w;
    begin_views(&w, true);
    w.c.mixing = true;
    const struct rt_loader_pass pass = {.number = 1, .more = more, .n_more = 1, .mix = 4};
    for (int workers = 1; workers < 5; workers += 2) {
        w.c.workers = workers;
        struct rt_loader *l = rt_loader_new(&w.c);
        read_pass(l, 2, &(struct rt_loader_pass){0}, &other); // not mixed
        read_pass(l, 3, &pass, workers == 1 ? &one : &other);
        rt_loader_free(l);
        if (workers > 1) assert_memory_equal(&one, &other, sizeof one);
    }
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(one.x + (i * VIEWS + 2) * FLOATS, one.x + (k * VIEWS + 2) * FLOATS,
                                    FLOATS * sizeof(float));
    end(&w);
}

// Each image of a batch, in all views of its rows, has a share of at least a half; the others come each once.
static void mixes_a_pass(void **state) {
    (void)state;
    static struct passed p;
    struct world w;
    begin_views(&w, false);
    w.c.mixing = true;
    struct rt_loader *l = rt_loader_new(&w.c);
    read_pass(l, 1, &(struct rt_loader_pass){.mix = 0.5}, &p);
    bool moved = false;
    for (size_t at_row = 0, batch = 0; at_row < p.n; batch++) {
        const size_t n = p.n - at_row < BATCH ? p.n - at_row : BATCH, images = n * VIEWS, first = at_row * VIEWS;
        const double share = p.lambda[batch];
        int times[BATCH * VIEWS] = {0};
        assert_true(share >= 0.5 && share <= 1);
        assert_true(!batch || share != p.lambda[batch - 1]);
        for (size_t i = 0; i < images; i++) {
            const size_t other = (size_t)p.row[first + i];
            assert_in_range(other, 0, images - 1);
            times[other]++;
            moved = moved || other != i;
            const float *x = p.x + (first + i) * FLOATS, *y = p.x + (first + other) * FLOATS;
            for (size_t k = 0; k < FLOATS; k++)
                assert_true(p.mixed[(first + i) * FLOATS + k] == (float)share * x[k] + (float)(1 - share) * y[k]);
        }
        for (size_t i = 0; i < images; i++) assert_int_equal(times[i], 1);
        at_row += n;
    }
    assert_true(moved);
    rt_loader_free(l);
    end(&w);
}

// 17 and 21 are alone with their label: where 21 is damaged, 17 is its own partner, and the row of 21 gets the next
// image of the order with a partner of that one's label. Of what is damaged among `more` likewise.
static void damaged_partners(void **state) {
    (void)state;
    static struct passed p, other;
    static const int64_t more[] = {21, 6};
    struct world w;
    begin_views(&w, false);
    write_file(21, false);
    w.c.warn_env = w.two;
    const struct rt_loader_pass pass = {.more = more, .n_more = 2};
    for (int workers = 1; workers < 5; workers += 2) {
        w.c.workers = workers;
        w.two->lines = 0;
        struct rt_loader *l = rt_loader_new(&w.c);
        read_pass(l, 1, &pass, workers == 1 ? &p : &other);
        assert_int_equal(w.two->lines, 1);
        assert_int_equal(rt_loader_skipped(l), 1);
        rt_loader_free(l);
        if (workers > 1) assert_memory_equal(&p, &other, sizeof p);
    }
    size_t of_six = 0;
    assert_int_equal(p.n, N);
    for (size_t i = 0; i < N; i++) {
        const float *x = p.x + i * VIEWS * FLOATS;
        const int64_t partner = image_of(w.one, x + FLOATS), of_more = image_of(w.one, x + 2 * FLOATS);
        assert_int_not_equal(p.index[i], 21);
        assert_int_equal(image_of(w.one, x), p.index[i]);
        assert_int_equal(w.im.labels[partner], w.im.labels[p.index[i]]);
        if (p.index[i] == 17) assert_int_equal(partner, 17);
        assert_true(of_more == 6 || of_more == p.index[i]);
        of_six += of_more == 6;
    }
    assert_in_range(of_six, N / 2 - 1, N / 2 + 4); // half of the places, and rows of 6 and what stands in for 21
    w.c.strict = true;
    struct rt_loader *l = rt_loader_new(&w.c);
    struct rt_batch b;
    rt_loader_begin_pass(l, 1, &pass);
    while (rt_loader_next(l, &b)) assert_true(b.n > 0);
    assert_int_not_equal(rt_loader_result(l), SMKD_R_OK);
    assert_non_null(strstr(smkd_last_error(), "--strict-data"));
    rt_loader_free(l);
    end(&w);
}

int main(void) {
    snprintf(dir, sizeof dir, "/tmp/smkd-loader-XXXXXX");
    if (!mkdtemp(dir)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_threads),
        cmocka_unit_test(mixes_batches),
        cmocka_unit_test(several_views),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(nothing_readable),
        cmocka_unit_test(freed_early),
        cmocka_unit_test(holds_in_memory),
        cmocka_unit_test(pixels_through_a_pipeline),
        cmocka_unit_test(orders),
        cmocka_unit_test(repeats_differ),
        cmocka_unit_test(rows_of_several_images),
        cmocka_unit_test(partners),
        cmocka_unit_test(same_views),
        cmocka_unit_test(mixes_a_pass),
        cmocka_unit_test(damaged_partners),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(dir);
    return r;
}
