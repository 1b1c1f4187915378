// One image of a data set as red, green and blue: decoded from its file, out of the cache, or put together from pixels.
#include "data.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

// Images at their whole size, by number. A place is filled once and stays until the end.
struct rt_cache {
    size_t n;
    atomic_size_t left; // bytes that may still be taken
    _Atomic(struct rt_image *) place[];
};

static struct rt_image *held(const struct rt_images *im, size_t i) {
    return im->cache ? atomic_load_explicit(&im->cache->place[i], memory_order_acquire) : NULL;
}

// Takes `rgb` over where there is room, and nobody else was faster. Files that grew since they were counted stay out.
static bool hold(struct rt_cache *c, size_t i, const struct rt_image *rgb) {
    size_t bytes = (size_t)rgb->width * (size_t)rgb->height * 3, left = atomic_load(&c->left);
    do {
        if (left < bytes) return false;
    } while (!atomic_compare_exchange_weak(&c->left, &left, left - bytes));
    struct rt_image *place = malloc(sizeof *place), *expected = NULL;
    if (place) *place = *rgb;
    if (place && atomic_compare_exchange_strong(&c->place[i], &expected, place)) return true;
    free(place);
    atomic_fetch_add(&c->left, bytes);
    return false;
}

static void cache_free(struct rt_cache *c) {
    for (size_t i = 0; c && i < c->n; i++) {
        struct rt_image *im = atomic_load(&c->place[i]);
        if (im) rt_image_release(im);
        free(im);
    }
    free(c);
}

// From planes, one of which stands for all three where it is the only one.
static enum smkd_result from_pixels(const struct rt_images *im, size_t i, struct rt_image *out) {
    const size_t plane = (size_t)im->height * (size_t)im->width, next = im->channels >= 3 ? plane : 0;
    const uint8_t *p = im->pixels + i * plane * (size_t)im->channels;
    *out = (struct rt_image){.width = im->width, .height = im->height, .rgb = malloc(plane * 3)};
    if (!out->rgb) return rt_fail(SMKD_R_NOMEM, "out of memory for an image of %d x %d pixels", im->width, im->height);
    for (size_t k = 0; k < plane; k++)
        for (size_t c = 0; c < 3; c++) out->rgb[3 * k + c] = p[c * next + k];
    return SMKD_R_OK;
}

// What will be held is decoded whole, whatever is needed now.
struct whole {
    const struct rt_source_request *q;
    bool all;
};

static void need(void *env, int width, int height, struct rt_image_need *out) {
    const struct whole *w = env;
    if (w->q->need) w->q->need(w->q->env, width, height, out);
    if (w->all) *out = (struct rt_image_need){0};
}

enum smkd_result rt_source_read(const struct rt_images *im, size_t i, const struct rt_source_request *q,
                                struct rt_image *out) {
    if (im->pixels) return from_pixels(im, i, out);
    const struct rt_image *ready = held(im, i);
    if (ready) {
        struct rt_image_need all;
        *out = *ready;
        if (q->need) q->need(q->env, out->width, out->height, &all); // who asks is told the size in any case
        return SMKD_R_OK;
    }
    struct whole w = {q, im->cache != NULL};
    const struct rt_image_options o = {.upright = im->upright, .need = need, .env = &w};
    enum smkd_result r = rt_image_read(rt_images_path(im, i), &o, out);
    if (r == SMKD_R_OK && im->cache) hold(im->cache, i, out);
    return r;
}

void rt_source_done(const struct rt_images *im, size_t i, struct rt_image *rgb) {
    const struct rt_image *mine = held(im, i);
    if (mine && mine->rgb == rgb->rgb)
        *rgb = (struct rt_image){0};
    else
        rt_image_release(rgb);
}

enum smkd_result rt_dataset_cache(struct rt_dataset *d) {
    struct rt_images *parts[] = {&d->train, &d->test};
    uint64_t bytes = 0;
    size_t files = 0;
    doing("counting what the images of %s would take decoded", d->name);
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; parts[k]->paths && i < parts[k]->n; i++) {
            int64_t pixels;
            files++;
            // What cannot be decoded takes nothing, and is told when it is read.
            if (rt_image_probe(rt_images_path(parts[k], i), &pixels) == SMKD_R_OK) bytes += (uint64_t)pixels * 3;
        }
    if (!budget_allows(bytes))
        return rt_fail(SMKD_R_NOMEM, "--cache ram: %zu images of %s, decoded: %s; leave --cache out", files, d->name,
                       budget_why());
    for (int k = 0; k < 2; k++) {
        struct rt_images *im = parts[k];
        if (!im->paths || im->cache) continue;
        im->cache = calloc(1, sizeof *im->cache + im->n * sizeof *im->cache->place);
        if (!im->cache) return rt_fail(SMKD_R_NOMEM, "--cache ram: out of memory for %zu images", im->n);
        im->cache->n = im->n;
        atomic_init(&im->cache->left, bytes); // both may fill it: no file is counted twice
    }
    return SMKD_R_OK;
}

void rt_images_release(struct rt_images *im) {
    cache_free(im->cache);
    if (!im->borrowed) free(im->pixels);
    free(im->targets);
    free(im->labels);
    free(im->paths);
    free(im->path_at);
    *im = (struct rt_images){0};
}
