// Prepares batches on threads of its own while the networks compute. A ring of slots, each a batch: the threads take
// rows of the next batches, several at once where an image costs little, and the reader holds one slot. Rows are
// independent of each other, and every random choice is keyed by seed, epoch, image and view, so timing and thread
// counts change nothing.
#include "data.h"
#include "transforms.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_WORKERS = 1024, AHEAD = 3, LARGE = 32 << 20, AHEAD_LARGE = 2, FEW_PIXELS_ROWS = 16, VIEW_SHIFT = 48 };

struct slot {
    float *images;           // view by view, each of n rows
    int64_t *labels, *index; // index -1: a row that is left out
    int64_t *labels_mix;     // NULL: images are not mixed
    float *mixed;            // as images; NULL: no pass mixes
    int64_t *mix_row;
    float *targets; // NULL: there are labels
    double lambda;
    size_t n, made, mixable; // rows, those that are done, and those that are done but for the mixing
    int64_t *bad;            // images that could not be decoded while its rows were made
    size_t n_bad;
};

// An image that cannot be decoded, and why.
struct bad {
    int64_t image;
    bool told;
    char why[300];
};

struct rt_loader {
    struct rt_loader_config c;
    const struct rt_sampler *sampler;
    const struct rt_pipeline *pipeline; // NULL: pixels as they are
    size_t batches, image_floats, rows_at_once, most_views;
    struct rt_loader_pass pass;       // what is gone through, of which NULLs and zeros have been filled in
    size_t views;                     // of the pass
    int64_t *order;                   // image numbers in this epoch's order
    int64_t *other[METHOD_MAX_VIEWS]; // those of each view that has images of its own, likewise; NULL: the row's
    atomic_int *bad_at;               // by image: its place in `bad` + 1; 0: not known to be damaged; NULL for pixels
    struct slot *slots;
    size_t n_slots;
    pthread_t *threads;
    int n_threads;
    pthread_mutex_t lock;
    pthread_cond_t to_fill, to_read;
    // Under the lock. Batches are counted within the epoch: rows up to (next, next_row) are given out, and the reader
    // has taken `taken` batches and still uses the last while `holding`.
    uint64_t epoch;
    size_t next, next_row, taken, read; // read: rows that the reader was given
    enum { ORDER_OLD, ORDER_IN_WORK, ORDER_READY } ordered;
    bool running, holding, stop;
    int busy; // threads with rows in work
    enum smkd_result result;
    char failure[600];
    struct bad *bad;
    size_t n_bad, told;
    double waited;
};

// --- one row ---------------------------------------------------------------------------------------------------------

// What a row's image is decoded for.
struct looked_at {
    const struct rt_pipeline *p;
    const struct rt_rng *rng;
    int width, height; // of the whole image
};

static void need(void *env, int width, int height, struct rt_image_need *out) {
    struct looked_at *v = env;
    v->width = width;
    v->height = height;
    rt_pipeline_min_size(v->p, v->rng, width, height, &out->min_width, &out->min_height);
}

static enum smkd_result put(const struct rt_loader *l, const struct rt_transform *t, int64_t image, struct rt_rng *rng,
                            float *out) {
    const struct rt_images *im = l->c.images;
    if (im->values) {
        size_t n = (size_t)im->channels * (size_t)im->height * (size_t)im->width;
        rt_transform_values(t, im->values + (size_t)image * n, out);
        return SMKD_R_OK;
    }
    if (!t->pipeline) {
        size_t bytes = (size_t)im->channels * (size_t)im->height * (size_t)im->width;
        rt_transform_run(t, im->pixels + (size_t)image * bytes, rng, out);
        return SMKD_R_OK;
    }
    struct looked_at v = {t->pipeline, rng, im->width, im->height};
    const struct rt_source_request q = {need, &v};
    struct rt_image rgb;
    enum smkd_result r = rt_source_read(im, (size_t)image, &q, &rgb);
    if (r != SMKD_R_OK) return r;
    r = rt_pipeline_run_scaled(t->pipeline, &rgb, v.width, v.height, rng, out);
    rt_source_done(im, (size_t)image, &rgb);
    return r;
}

// Images that may come twice, and those that stand in for others, have numbers of their own by their place.
static uint64_t by_place(size_t position) { return UINT64_C(1) << 35 | position; }

static uint64_t key(const struct rt_loader *l, int64_t image, size_t position, bool stand_in) {
    return l->sampler->repeats || stand_in ? by_place(position) : (uint64_t)image;
}

static void fail(struct rt_loader *l, enum smkd_result r, const char *text) {
    pthread_mutex_lock(&l->lock);
    if (l->result == SMKD_R_OK) {
        l->result = r;
        snprintf(l->failure, sizeof l->failure, "%s", text);
    }
    pthread_mutex_unlock(&l->lock);
}

static void fail_all(struct rt_loader *l) {
    char text[600];
    pthread_mutex_lock(&l->lock);
    snprintf(text, sizeof text, "none of the %zu images can be decoded; the first that was tried: %s", l->c.n,
             l->n_bad ? l->bad[0].why : "none");
    pthread_mutex_unlock(&l->lock);
    fail(l, SMKD_R_INVALID, text);
}

// Remembers an image that cannot be decoded, for the slot's reader; where it was not known to be, this thread's last
// error says why. False: no memory.
static bool note_bad(struct rt_loader *l, struct slot *s, int64_t image) {
    pthread_mutex_lock(&l->lock);
    bool ok = true;
    if (!atomic_load(&l->bad_at[image])) {
        struct bad *more = realloc(l->bad, (l->n_bad + 1) * sizeof *more);
        if ((ok = more != NULL)) {
            l->bad = more;
            l->bad[l->n_bad] = (struct bad){.image = image};
            snprintf(l->bad[l->n_bad].why, sizeof l->bad[l->n_bad].why, "%s", smkd_last_error());
            atomic_store(&l->bad_at[image], (int)++l->n_bad);
        }
    }
    if (ok && !l->bad[l->bad_at[image] - 1].told) {
        int64_t *list = realloc(s->bad, (s->n_bad + 1) * sizeof *list);
        if ((ok = list != NULL)) {
            s->bad = list;
            s->bad[s->n_bad++] = image;
        }
    }
    pthread_mutex_unlock(&l->lock);
    return ok;
}

static float *view_of(const struct rt_loader *l, const struct slot *s, size_t view) {
    return s->images + view * s->n * l->image_floats;
}

static float *place_of(const struct rt_loader *l, const struct slot *s, size_t row, size_t view) {
    return s->images + (l->c.stacked ? row * l->views + view : view * s->n + row) * l->image_floats;
}

// A view of an image; each draws from a part of the image's numbers that no other comes to.
static enum smkd_result put_view(const struct rt_loader *l, const struct slot *s, size_t row, size_t view,
                                 int64_t image, uint64_t item) {
    struct rt_rng rng;
    rt_rng_init(&rng, l->c.seed, rt_stream_id(RT_STREAM_AUGMENT, l->epoch, item));
    rng.counter = (uint64_t)(l->pass.number * METHOD_MAX_VIEWS + (int)view) << VIEW_SHIFT;
    const bool strong = l->c.view && l->c.view[view].strong;
    return put(l, strong ? l->c.strong : l->c.transform, image, l->c.augment ? &rng : NULL, place_of(l, s, row, view));
}

// All views of the row whose own image is that at a place of the order, the row's own or a later one.
static enum smkd_result put_views(struct rt_loader *l, struct slot *s, size_t row, size_t position, size_t image_at) {
    const int64_t image = l->order[image_at];
    const uint64_t item = key(l, image, position, image_at != position);
    enum smkd_result r = SMKD_R_OK;
    for (size_t v = 0; v < l->views && r == SMKD_R_OK; v++) {
        const int64_t other = l->other[v] ? l->other[v][image_at] : image;
        bool own = other == image;
        if (!own && !(l->bad_at && atomic_load(&l->bad_at[other]))) {
            r = put_view(l, s, row, v, other, by_place(position));
            if (r == SMKD_R_OK) continue;
            if (r == SMKD_R_NOMEM || l->c.strict || !l->bad_at) return r;
        }
        if (!own && !note_bad(l, s, other)) return SMKD_R_NOMEM;
        r = put_view(l, s, row, v, image, item);
    }
    return r;
}

// Whether an image went into the row; otherwise it is noted, or the epoch has failed (*go_on false).
static bool try_image(struct rt_loader *l, struct slot *s, size_t row, size_t position, size_t image_at, bool *go_on) {
    const int64_t image = l->order[image_at];
    if (!l->bad_at || !atomic_load(&l->bad_at[image])) {
        enum smkd_result r = put_views(l, s, row, position, image_at);
        if (r == SMKD_R_OK) {
            s->labels[row] = (l->c.labels ? l->c.labels : l->c.images->labels)[image];
            const size_t t = (size_t)l->c.images->n_targets;
            if (s->targets) memcpy(s->targets + row * t, l->c.images->targets + (size_t)image * t, t * sizeof(float));
            s->index[row] = image;
            return true;
        }
        char why[600];
        snprintf(why, sizeof why, "%s%s", smkd_last_error(), l->c.strict ? "; --strict-data ends the run here" : "");
        if (r == SMKD_R_NOMEM || l->c.strict || !l->bad_at) {
            fail(l, r, why);
            return *go_on = false;
        }
    }
    if (note_bad(l, s, image)) return false;
    fail(l, SMKD_R_NOMEM, "out of memory for the list of images that cannot be decoded");
    return *go_on = false;
}

static void make_row(struct rt_loader *l, size_t number, size_t row) {
    struct slot *s = &l->slots[number % l->n_slots];
    const size_t position = number * l->c.batch + row, tries = l->c.augment ? l->pass.n : 1;
    bool go_on = true;
    s->index[row] = -1;
    for (size_t k = 0; k < tries && go_on; k++)
        if (try_image(l, s, row, position, (position + k) % l->pass.n, &go_on)) return;
    if (go_on && l->c.augment) fail_all(l);
}

// Mixes the images of a batch, once all of its rows are there: each view with those of the same images.
static void mix(struct rt_loader *l, size_t number) {
    struct slot *s = &l->slots[number % l->n_slots];
    const struct rt_transform *t = l->c.transform;
    const struct rt_mix_shape shape = {s->n, t->channels, t->height, t->width, t->channels_last};
    struct rt_mix m;
    struct rt_rng rng;
    int64_t *row = malloc(s->n * sizeof *row);
    rt_rng_init(&rng, l->c.seed, rt_stream_id(RT_STREAM_MIX, l->epoch, number));
    rt_mix_draw(&l->c.mix, t->width, t->height, &rng, &m);
    if (row) rt_mix_rows(s->n, row);
    bool mixed = row != NULL;
    for (size_t v = 0; v < l->views && mixed; v++) mixed = rt_mix_apply(&m, &shape, row, view_of(l, s, v));
    if (!mixed) fail(l, SMKD_R_NOMEM, "out of memory for mixing images");
    for (size_t i = 0; row && i < s->n; i++) s->labels_mix[i] = s->labels[row[i]];
    s->lambda = m.lambda;
    free(row);
}

// What rt_loader_pass says of mixing, of a batch whose rows are all there.
static void mix_pass(struct rt_loader *l, size_t number) {
    struct slot *s = &l->slots[number % l->n_slots];
    const size_t n = s->n * l->views;
    struct rt_rng rng;
    rt_rng_init(&rng, l->c.seed,
                rt_stream_id(RT_STREAM_MIX, l->epoch, (uint64_t)l->pass.number << 32 | (uint64_t)number));
    const double drawn = rt_draw_beta(&rng, l->pass.mix);
    s->lambda = drawn < 0.5 ? 1 - drawn : drawn;
    const float own = (float)s->lambda, rest = (float)(1 - s->lambda);
    for (size_t i = 0; i < n; i++) s->mix_row[i] = (int64_t)i;
    rt_rng_shuffle(&rng, s->mix_row, n);
    for (size_t i = 0; i < n; i++) {
        const float *x = s->images + i * l->image_floats, *y = s->images + (size_t)s->mix_row[i] * l->image_floats;
        float *out = s->mixed + i * l->image_floats;
        for (size_t j = 0; j < l->image_floats; j++) out[j] = own * x[j] + rest * y[j];
    }
}

static bool mixes(const struct rt_loader *l) {
    return l->c.augment && (l->c.mix.mixup_alpha > 0 || l->c.mix.cutmix_alpha > 0);
}

// --- the threads -----------------------------------------------------------------------------------------------------

static bool set_order(struct rt_loader *l) {
    const uint64_t number = (uint64_t)l->pass.number;
    struct rt_sampler_job j = {.subset = l->pass.rows,
                               .labels = l->c.labels ? l->c.labels : l->c.images->labels,
                               .weights = l->c.weights,
                               .n = l->pass.n};
    rt_rng_init(&j.rng, l->c.seed, rt_stream_id(RT_STREAM_SHUFFLE, l->epoch, number));
    bool ok = true;
    if (l->c.shuffle) {
        ok = l->sampler->order(&j, l->order);
    } else {
        for (size_t i = 0; i < l->pass.n; i++) l->order[i] = l->pass.rows ? l->pass.rows[i] : (int64_t)i;
    }
    for (size_t v = 0; v < l->views && ok; v++) {
        if (!l->other[v]) continue;
        const bool more = l->c.view[v].of == METHOD_MORE;
        struct rt_sampler_job of = more ? (struct rt_sampler_job){.subset = l->pass.more, .n = l->pass.n_more} : j;
        rt_rng_init(&of.rng, l->c.seed, rt_stream_id(more ? RT_STREAM_MORE : RT_STREAM_PARTNER, l->epoch, number));
        ok = more ? rt_sampler_cycle(&of, l->pass.n, l->other[v]) : rt_sampler_partners(&of, l->order, l->other[v]);
    }
    return ok;
}

static bool has_work(const struct rt_loader *l) {
    return l->running && l->result == SMKD_R_OK && l->ordered != ORDER_IN_WORK && l->next < l->batches &&
           l->next - l->taken + l->holding < l->n_slots;
}

// The two steps of a thread; the lock is held at begin and end.
static void make_order(struct rt_loader *l) {
    l->ordered = ORDER_IN_WORK;
    pthread_mutex_unlock(&l->lock);
    if (!set_order(l)) fail(l, SMKD_R_NOMEM, "out of memory for the order of an epoch");
    pthread_mutex_lock(&l->lock);
    l->ordered = ORDER_READY;
    pthread_cond_broadcast(&l->to_fill);
}

static void make_rows(struct rt_loader *l) {
    const size_t number = l->next, first = l->next_row, begin = number * l->c.batch;
    struct slot *s = &l->slots[number % l->n_slots];
    if (first == 0) {
        s->n = l->pass.n - begin < l->c.batch ? l->pass.n - begin : l->c.batch;
        s->made = s->mixable = s->n_bad = 0;
    }
    size_t end = first + l->rows_at_once < s->n ? first + l->rows_at_once : s->n;
    l->next_row = end < s->n ? end : 0;
    l->next += end == s->n;
    pthread_mutex_unlock(&l->lock);
    for (size_t row = first; row < end; row++) make_row(l, number, row);
    pthread_mutex_lock(&l->lock);
    s->mixable += end - first;
    if ((s->labels_mix || l->pass.mix > 0) && s->mixable == s->n) { // nobody else works on this batch any more
        pthread_mutex_unlock(&l->lock);
        if (s->labels_mix)
            mix(l, number);
        else
            mix_pass(l, number);
        pthread_mutex_lock(&l->lock);
    }
    s->made += end - first;
}

static void *work(void *arg) {
    struct rt_loader *l = arg;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->stop && !has_work(l)) pthread_cond_wait(&l->to_fill, &l->lock);
        if (l->stop) break;
        l->busy++;
        if (l->ordered == ORDER_OLD)
            make_order(l);
        else
            make_rows(l);
        l->busy--;
        pthread_cond_signal(&l->to_read);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

// --- a loader --------------------------------------------------------------------------------------------------------

static void *floats(size_t n) {
    size_t bytes = (n * sizeof(float) + 63) / 64 * 64;
    return aligned_alloc(64, bytes ? bytes : 64);
}

static bool make_slot(const struct rt_loader *l, struct slot *s, size_t images) {
    const size_t targets = (size_t)l->c.images->n_targets;
    bool ok = (s->images = floats(images * l->image_floats)) && (s->labels = calloc(l->c.batch, sizeof *s->labels)) &&
              (s->index = calloc(l->c.batch, sizeof *s->index));
    if (ok && mixes(l)) ok = (s->labels_mix = calloc(l->c.batch, sizeof *s->labels_mix));
    if (ok && l->c.mixing)
        ok = (s->mixed = floats(images * l->image_floats)) && (s->mix_row = calloc(images, sizeof *s->mix_row));
    if (ok && l->c.images->targets) ok = (s->targets = floats(l->c.batch * targets));
    return ok;
}

static bool make_slots(struct rt_loader *l) {
    const size_t images = l->most_views * l->c.batch, bytes = images * l->image_floats * sizeof(float);
    const int ahead = l->c.ahead ? l->c.ahead : bytes > LARGE ? AHEAD_LARGE : AHEAD;
    l->n_slots = (size_t)ahead + 1; // one with the reader
    l->slots = calloc(l->n_slots, sizeof *l->slots);
    bool ok = l->slots != NULL;
    for (size_t i = 0; ok && i < l->n_slots; i++) ok = make_slot(l, &l->slots[i], images);
    for (size_t v = 0; ok && l->c.view && v < l->most_views; v++)
        if (l->c.view[v].of != METHOD_ROW) ok = (l->other[v] = calloc(l->c.n ? l->c.n : 1, sizeof *l->other[v]));
    return ok;
}

// Whether an image comes out otherwise each time.
static bool draws(const struct rt_loader_config *c) {
    const struct rt_transform *t = c->transform;
    if (!c->augment || c->images->values) return false;
    return t->pipeline ? rt_pipeline_draws(t->pipeline, c->images->width, c->images->height) : t->flags != 0;
}

static void no_memory(const struct rt_loader *l) {
    if (l->most_views > 1)
        rt_fail(SMKD_R_NOMEM, "out of memory for batches of %zu images in %zu views each", l->c.batch, l->most_views);
    else
        rt_fail(SMKD_R_NOMEM, "out of memory for batches of %zu images", l->c.batch);
}

static void release(struct rt_loader *l) {
    for (size_t i = 0; l->slots && i < l->n_slots; i++) {
        free(l->slots[i].images);
        free(l->slots[i].labels);
        free(l->slots[i].index);
        free(l->slots[i].labels_mix);
        free(l->slots[i].targets);
        free(l->slots[i].mixed);
        free(l->slots[i].mix_row);
        free(l->slots[i].bad);
    }
    free(l->slots);
    for (size_t v = 0; v < METHOD_MAX_VIEWS; v++) free(l->other[v]);
    free(l->order);
    free(l->bad_at);
    free(l->bad);
    free(l->threads);
    free(l);
}

static int default_workers(const struct rt_loader *l) {
    if (!l->pipeline) return 1;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : cores > MAX_WORKERS ? MAX_WORKERS : (int)cores;
}

static bool start_threads(struct rt_loader *l) {
    const int n = l->c.workers > 0 ? l->c.workers : default_workers(l);
    l->threads = calloc((size_t)n, sizeof *l->threads);
    int e = l->threads ? 0 : ENOMEM;
    while (!e && l->n_threads < n)
        if (!(e = pthread_create(&l->threads[l->n_threads], NULL, work, l))) l->n_threads++;
    if (e)
        rt_fail(SMKD_R_NOMEM, "cannot start %d threads of the loader: %s", n,
                e == EAGAIN || e == ENOMEM ? "out of memory or of threads" : strerror(e));
    return !e;
}

// A pass with what it leaves open.
static void set_pass(struct rt_loader *l, const struct rt_loader_pass *p) {
    CHECK(p->n <= l->c.n && (size_t)p->views <= l->most_views && (p->mix <= 0 || l->c.mixing),
          "a pass of more than its loader was made for");
    l->pass = *p;
    if (!p->rows) {
        l->pass.rows = l->c.subset;
        l->pass.n = l->c.n;
    }
    if (!p->more) {
        l->pass.more = l->c.subset;
        l->pass.n_more = l->c.n;
    }
    l->views = p->views ? (size_t)p->views : l->most_views;
    // A pass that has not one whole batch has the one that it has.
    const bool whole = l->c.drop_last && l->pass.n >= l->c.batch;
    l->batches = (whole ? l->pass.n : l->pass.n + l->c.batch - 1) / l->c.batch;
}

struct rt_loader *rt_loader_new(const struct rt_loader_config *c) {
    const struct rt_transform *t = c->transform;
    CHECK(t->pipeline || !c->images->paths, "files need a pipeline");
    struct rt_loader *l = calloc(1, sizeof *l);
    if (!l) {
        rt_fail(SMKD_R_NOMEM, "out of memory for batches of %zu images", c->batch);
        return NULL;
    }
    l->c = *c;
    l->pipeline = t->pipeline;
    l->sampler = c->sampler ? c->sampler : &rt_samplers[0];
    set_pass(l, &(struct rt_loader_pass){0});
    l->rows_at_once = l->pipeline ? 1 : FEW_PIXELS_ROWS;
    l->image_floats = (size_t)t->channels * (size_t)t->height * (size_t)t->width;
    l->views = l->most_views = c->views > 1 && (draws(c) || c->view || c->stacked) ? (size_t)c->views : 1;
    l->order = calloc(c->n ? c->n : 1, sizeof *l->order);
    if (c->images->paths) l->bad_at = calloc(c->images->n ? c->images->n : 1, sizeof *l->bad_at);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->to_fill, NULL);
    pthread_cond_init(&l->to_read, NULL);
    if (!l->order || (c->images->paths && !l->bad_at) || !make_slots(l)) {
        no_memory(l);
    } else if (start_threads(l)) {
        return l;
    }
    char why[200];
    snprintf(why, sizeof why, "%s", smkd_last_error());
    rt_loader_free(l);
    rt_fail(SMKD_R_NOMEM, "%s", why);
    return NULL;
}

void rt_loader_free(struct rt_loader *l) {
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->to_fill);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_threads; i++) pthread_join(l->threads[i], NULL);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->to_fill);
    pthread_cond_destroy(&l->to_read);
    release(l);
}

size_t rt_loader_batches(const struct rt_loader *l) { return l->batches; }
double rt_loader_waited(const struct rt_loader *l) { return l->waited; }
size_t rt_loader_skipped(const struct rt_loader *l) { return l->told; }
int rt_loader_workers(const struct rt_loader *l) { return l->n_threads; }
int rt_loader_views(const struct rt_loader *l) { return (int)l->most_views; }

enum smkd_result rt_loader_result(const struct rt_loader *l) {
    return l->result == SMKD_R_OK ? SMKD_R_OK : rt_fail(l->result, "%s", l->failure);
}

void rt_loader_begin(struct rt_loader *l, uint64_t epoch) {
    rt_loader_begin_pass(l, epoch, &(struct rt_loader_pass){0});
}

void rt_loader_begin_pass(struct rt_loader *l, uint64_t epoch, const struct rt_loader_pass *p) {
    pthread_mutex_lock(&l->lock);
    CHECK(!l->running || l->taken == l->batches || l->result != SMKD_R_OK, "an epoch begins inside another");
    while (l->busy) pthread_cond_wait(&l->to_read, &l->lock); // behind a failure
    set_pass(l, p);
    l->epoch = epoch;
    l->next = l->next_row = l->taken = l->read = 0;
    l->holding = false;
    l->ordered = ORDER_OLD;
    l->result = SMKD_R_OK;
    l->waited = 0;
    l->running = true;
    pthread_cond_broadcast(&l->to_fill);
    pthread_mutex_unlock(&l->lock);
}

// --- the reader ------------------------------------------------------------------------------------------------------

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool is_ready(const struct rt_loader *l) {
    const struct slot *s = &l->slots[l->taken % l->n_slots];
    return l->next > l->taken && s->made == s->n;
}

static int by_number(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

// Tells of damaged files in the order of their numbers, whoever found them first. The lock is held.
static void tell(struct rt_loader *l, struct slot *s) {
    if (s->n_bad) qsort(s->bad, s->n_bad, sizeof *s->bad, by_number);
    for (size_t i = 0; i < s->n_bad; i++) {
        struct bad *b = &l->bad[l->bad_at[s->bad[i]] - 1];
        if (b->told) continue;
        b->told = true;
        l->told++;
        if (l->c.warn) l->c.warn(l->c.warn_env, b->why);
    }
}

// Rows that are left out close up. (Arrays, which may have targets, leave out none, and training, which may have
// several views, neither.)
static size_t close_up(const struct rt_loader *l, struct slot *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->index[i] < 0) continue;
        if (n < i) {
            CHECK(l->views == 1, "a row of %zu views is left out", l->views);
            memcpy(s->images + n * l->image_floats, s->images + i * l->image_floats, l->image_floats * sizeof(float));
            s->labels[n] = s->labels[i];
            s->index[n] = s->index[i];
        }
        n++;
    }
    return n;
}

bool rt_loader_next(struct rt_loader *l, struct rt_batch *out) {
    size_t n = 0;
    pthread_mutex_lock(&l->lock);
    while (n == 0 && l->running && l->result == SMKD_R_OK && (l->taken < l->batches || l->holding)) {
        if (l->holding) {
            l->holding = false;
            pthread_cond_broadcast(&l->to_fill);
        }
        if (l->taken == l->batches) break;
        double since = is_ready(l) ? 0 : now();
        while (!is_ready(l) && l->result == SMKD_R_OK) pthread_cond_wait(&l->to_read, &l->lock);
        if (since > 0) l->waited += now() - since;
        struct slot *s = &l->slots[l->taken % l->n_slots];
        if (l->result != SMKD_R_OK) break;
        tell(l, s);
        l->taken++;
        l->holding = true;
        n = close_up(l, s);
        *out = (struct rt_batch){s->images,
                                 s->labels,
                                 s->index,
                                 n,
                                 s->labels_mix,
                                 s->labels_mix || l->pass.mix > 0 ? s->lambda : 1,
                                 s->targets,
                                 (int)l->views,
                                 n * l->image_floats,
                                 l->pass.mix > 0 ? s->mixed : NULL,
                                 l->pass.mix > 0 ? s->mix_row : NULL};
    }
    l->read += n;
    const bool none = n == 0 && l->running && l->result == SMKD_R_OK && l->read == 0 && l->batches > 0;
    pthread_mutex_unlock(&l->lock);
    if (none) fail_all(l);
    return n > 0;
}
