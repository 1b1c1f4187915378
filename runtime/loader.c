// Prepares batches on a thread of its own while the networks compute. A ring of slots: the thread fills the slots
// ahead, the reader holds one. Every random choice is keyed by (seed, epoch, image), so timing and thread counts change
// nothing.
#include "data.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 4 }; // one with the reader, three ahead

struct slot {
    float *images;
    int64_t *labels, *index;
    size_t n;
};

struct rt_loader {
    struct rt_loader_config c;
    size_t batches, image_floats;
    int64_t *order; // image numbers in this epoch's order; written by the thread only
    struct slot slots[SLOTS];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t to_fill, to_read;
    // Under the lock. Batches are counted within the epoch: filled - taken of them are ready, and the reader still uses
    // number taken-1 while `holding`.
    uint64_t epoch;
    size_t filled, taken;
    bool running, holding, stop;
};

static void fill(struct rt_loader *l, uint64_t epoch, size_t number, struct slot *s) {
    const struct rt_images *im = l->c.images;
    size_t bytes = (size_t)im->channels * (size_t)im->height * (size_t)im->width;
    size_t first = number * l->c.batch, n = l->c.n - first < l->c.batch ? l->c.n - first : l->c.batch;
    const int32_t *labels = l->c.labels ? l->c.labels : im->labels;
    for (size_t i = 0; i < n; i++) {
        int64_t at = l->order[first + i];
        struct rt_rng rng;
        if (l->c.augment) rt_rng_init(&rng, l->c.seed, rt_stream_id(RT_STREAM_AUGMENT, epoch, (uint64_t)at));
        rt_transform_run(l->c.transform, im->pixels + (size_t)at * bytes, l->c.augment ? &rng : NULL,
                         s->images + i * l->image_floats);
        s->labels[i] = labels[at];
        s->index[i] = at;
    }
    s->n = n;
}

static void set_order(struct rt_loader *l, uint64_t epoch) {
    for (size_t i = 0; i < l->c.n; i++) l->order[i] = l->c.subset ? l->c.subset[i] : (int64_t)i;
    if (!l->c.shuffle) return;
    struct rt_rng rng;
    rt_rng_init(&rng, l->c.seed, rt_stream_id(RT_STREAM_SHUFFLE, epoch, 0));
    rt_rng_shuffle(&rng, l->order, l->c.n);
}

static void *work(void *arg) {
    struct rt_loader *l = arg;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->stop && !(l->running && l->filled < l->batches && l->filled - l->taken + l->holding < SLOTS))
            pthread_cond_wait(&l->to_fill, &l->lock);
        if (l->stop) break;
        uint64_t epoch = l->epoch;
        size_t number = l->filled;
        pthread_mutex_unlock(&l->lock);
        if (number == 0) set_order(l, epoch);
        fill(l, epoch, number, &l->slots[number % SLOTS]);
        pthread_mutex_lock(&l->lock);
        l->filled++;
        pthread_cond_signal(&l->to_read);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static void *floats(size_t n) {
    size_t bytes = (n * sizeof(float) + 63) / 64 * 64;
    return aligned_alloc(64, bytes ? bytes : 64);
}

static void release(struct rt_loader *l) {
    for (int i = 0; i < SLOTS; i++) {
        free(l->slots[i].images);
        free(l->slots[i].labels);
        free(l->slots[i].index);
    }
    free(l->order);
    free(l);
}

struct rt_loader *rt_loader_new(const struct rt_loader_config *c) {
    struct rt_loader *l = calloc(1, sizeof *l);
    if (!l) goto nomem;
    l->c = *c;
    l->batches = (c->drop_last ? c->n : c->n + c->batch - 1) / c->batch;
    const struct rt_transform *t = c->transform;
    l->image_floats = (size_t)t->channels * (size_t)t->height * (size_t)t->width;
    l->order = calloc(c->n ? c->n : 1, sizeof *l->order);
    bool ok = l->order != NULL;
    for (int i = 0; i < SLOTS; i++) {
        struct slot *s = &l->slots[i];
        s->images = floats(c->batch * l->image_floats);
        s->labels = calloc(c->batch, sizeof *s->labels);
        s->index = calloc(c->batch, sizeof *s->index);
        ok = ok && s->images && s->labels && s->index;
    }
    if (!ok) {
        release(l);
        goto nomem;
    }
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->to_fill, NULL);
    pthread_cond_init(&l->to_read, NULL);
    int e = pthread_create(&l->thread, NULL, work, l);
    if (e) {
        release(l);
        rt_fail(SMKD_R_NOMEM, "cannot start the loader's thread: %s",
                e == EAGAIN ? "out of memory or of threads" : strerror(e));
        return NULL;
    }
    return l;
nomem:
    rt_fail(SMKD_R_NOMEM, "out of memory for batches of %zu images", c->batch);
    return NULL;
}

void rt_loader_free(struct rt_loader *l) {
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_signal(&l->to_fill);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->to_fill);
    pthread_cond_destroy(&l->to_read);
    release(l);
}

size_t rt_loader_batches(const struct rt_loader *l) { return l->batches; }

void rt_loader_begin(struct rt_loader *l, uint64_t epoch) {
    pthread_mutex_lock(&l->lock);
    CHECK(!l->running || l->taken == l->batches, "an epoch begins inside another");
    l->epoch = epoch;
    l->filled = l->taken = 0;
    l->holding = false;
    l->running = true;
    pthread_cond_signal(&l->to_fill);
    pthread_mutex_unlock(&l->lock);
}

bool rt_loader_next(struct rt_loader *l, struct rt_batch *out) {
    pthread_mutex_lock(&l->lock);
    if (l->holding) {
        l->holding = false;
        pthread_cond_signal(&l->to_fill);
    }
    bool more = l->running && l->taken < l->batches;
    if (more) {
        while (l->filled == l->taken) pthread_cond_wait(&l->to_read, &l->lock);
        const struct slot *s = &l->slots[l->taken++ % SLOTS];
        l->holding = true;
        *out = (struct rt_batch){s->images, s->labels, s->index, s->n};
    }
    pthread_mutex_unlock(&l->lock);
    return more;
}
