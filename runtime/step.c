// One step: forward of every peer, the method's program, backward and update of every peer. Nothing is copied between
// them: the peers' logits are the program's inputs and its gradients their cotangents, in the same memory.
#include "edits.h"
#include "stages.h"

#include <math.h>
#include <string.h>

#define EMA_DECAY 0.99

double rt_plain(double v) { return isnan(v) ? NAN : v; }

static const char *const clock_names[] = {"progress", "epoch", "epochs", "step", "round", "steps", "part", "lr"};
enum { N_CLOCK = sizeof clock_names / sizeof *clock_names };

bool rt_step_sets(const char *scalar) {
    for (int i = 0; i < N_CLOCK; i++)
        if (strcmp(clock_names[i], scalar) == 0) return true;
    return strcmp(scalar, "survey") == 0 || strcmp(scalar, "mix.lambda") == 0;
}

enum smkd_result rt_step_clock(struct run *r, int64_t epoch, int64_t step_in_epoch) {
    struct rt_train *t = r->t;
    const int64_t steps = r->schedule.steps, at = rt_in_stage(r, epoch), epochs = rt_stage_epochs(r, epoch);
    const int64_t step = (at - 1) * steps + step_in_epoch; // of the round, from 0
    bool by_step = strcmp(r->c->t_unit, "iteration") == 0;
    r->now_progress = by_step ? (double)(step + 1) / (double)(steps * epochs) : (double)at / (double)epochs;
    r->now_lr = rt_schedule_lr(&r->schedule, at, step_in_epoch);
    const double now[N_CLOCK] = {r->now_progress,
                                 (double)at,
                                 (double)epochs,
                                 (double)step,
                                 (double)rt_stage_at(r, epoch),
                                 (double)steps,
                                 (double)step_in_epoch / (double)(r->pass.batches ? r->pass.batches : 1),
                                 r->now_lr};
    enum smkd_result e = SMKD_R_OK;
    for (int i = 0; i < N_CLOCK && e == SMKD_R_OK; i++) e = rt_program_set(&r->loss, clock_names[i], now[i]);
    for (int k = 0; k < t->n_peers && e == SMKD_R_OK; k++) {
        struct rt_peer *p = &t->peers[k];
        struct rt_rng rng;
        char name[16];
        snprintf(name, sizeof name, "r.%d", k);
        rt_rng_init(&rng, (uint64_t)r->c->seed, rt_stream_id(RT_STREAM_DROPOUT, (uint64_t)k, (uint64_t)r->state.step));
        e = rt_program_set(&r->loss, name, r->state.r[k]);
        if (e == SMKD_R_OK) e = rt_set_if_there(p->session, p->model, "lr", r->now_lr);
        // 24 bits: whole numbers that float32 holds, too.
        if (e == SMKD_R_OK) e = rt_set_if_there(p->session, p->model, "seed", (double)(rt_rng_u32(&rng) & 0xffffff));
    }
    return e;
}

enum smkd_result rt_step_program(struct run *r, const struct rt_batch *b) {
    enum smkd_result e = rt_program_bind(&r->loss, "labels", b->labels);
    if (e == SMKD_R_OK) e = rt_program_bind(&r->loss, "index", b->index);
    if (e == SMKD_R_OK && r->drawn) {
        struct rt_rng rng;
        rt_rng_init(&rng, (uint64_t)r->c->seed, rt_stream_id(RT_STREAM_DRAW, 0, (uint64_t)r->state.step));
        for (size_t i = 0; i < b->n; i++)
            r->drawn[i] = r->data.given[r->data.train[rt_rng_below(&rng, r->data.n_train)]];
        e = rt_program_bind(&r->loss, "labels.draw", r->drawn);
    }
    rt_tables_gather(&r->tables, b->index, b->n);
    if (e == SMKD_R_OK && b->targets) e = rt_program_bind(&r->loss, "targets", b->targets);
    // Images that are not mixed (of a survey) are so with themselves.
    if (e == SMKD_R_OK) e = rt_program_bind(&r->loss, "labels.mix", b->labels_mix ? b->labels_mix : b->labels);
    if (e == SMKD_R_OK) e = rt_program_set(&r->loss, "mix.lambda", b->lambda);
    if (e == SMKD_R_OK) e = rt_program_bind(&r->loss, "mix.row", b->mix_row ? b->mix_row : r->unmixed);
    return e == SMKD_R_OK ? rt_program_run(&r->loss, b->n) : e;
}

// Whether peer k is trained now.
static bool is_trained(const struct run *r, int k) { return r->pass.peer < 0 || r->pass.peer == k; }

static enum smkd_result check_finite(const struct run *r, int64_t epoch, int64_t step) {
    for (int k = 0; k < r->t->n_peers; k++) {
        if (!is_trained(r, k)) continue;
        double loss = rt_program_loss(&r->loss, k);
        if (!isfinite(loss))
            return rt_fail(SMKD_R_INVALID,
                           "epoch %lld, step %lld: the loss of peer %d is %g; the run diverged: try a lower "
                           "--lr (now %g), --lr-warmup-epochs, or --peer-denom N",
                           (long long)epoch, (long long)step + 1, k, rt_plain(loss), r->now_lr);
    }
    return SMKD_R_OK;
}

// Accuracy in train mode, and what outlives the step.
static void count(struct run *r, const struct rt_batch *b, size_t at) {
    double full = log((double)r->classes);
    rt_program_add(&r->loss, b->n, r->pass.peer);
    if (b->targets) return; // no classes
    for (int k = 0; k < r->t->n_peers; k++) {
        if (!is_trained(r, k)) continue;
        const float *entropy = rt_program_rows(&r->loss, "entropy", k), *kept = rt_program_rows(&r->loss, "kept", k),
                    *corrected = rt_program_rows(&r->loss, "corrected", k);
        double h = 0;
        for (size_t i = 0; i < b->n; i++) {
            const float *z = r->t->peers[k].out + i * r->stacked * (size_t)r->classes;
            const int64_t truth = r->data.set.train.labels[b->index[i]];
            r->given[k] += rt_rank(z, r->classes, b->labels[i]) == 0;
            r->truth[k] += rt_rank(z, r->classes, truth) == 0;
            if (r->detection)
                rt_detection_add(&r->detection[k], b->labels[i], truth, kept ? &kept[i] : NULL,
                                 corrected ? &corrected[i] : NULL);
            if (entropy) h += entropy[i];
            if (entropy && r->entropies) r->entropies[(size_t)k * r->rows + at + i] = entropy[i];
        }
        if (r->by_ema && entropy) {
            double now = 1 - h / (double)b->n / full;
            r->state.r[k] = EMA_DECAY * r->state.r[k] + (1 - EMA_DECAY) * (now < 0 ? 0 : now);
        }
    }
}

// The update of a peer that ends a group of batches.
static enum smkd_result update_peer(struct run *r, int k) {
    // Adam counts its steps; those of epochs before are as many as this one could have.
    const int64_t steps = (r->schedule.steps + r->c->accumulate - 1) / r->c->accumulate;
    const int64_t before = (rt_in_stage(r, r->state.epoch + 1) - 1) * steps;
    if (r->gradients) {
        if (r->c->accumulate > 1) rt_gradients_mean(&r->gradients[k]);
        rt_edit_gradients(r, k);
    }
    if (r->gradients && r->c->clip_grad_norm > 0) {
        double norm = rt_gradients_clip(&r->gradients[k], r->c->clip_grad_norm);
        r->norms[k] += norm;
        if (norm > r->norm[k]) r->norm[k] = norm;
    }
    enum smkd_result e = rt_optimizer_step(&r->optimizer[k], r->now_lr, before + r->updates[k] + 1);
    // As torchvision: by the step's number in the epoch; what the warm-up leaves is forgotten.
    if (e == SMKD_R_OK && r->average && r->updates[k] % r->average_steps == 0) {
        rt_average_update(&r->average[k]);
        if (rt_in_stage(r, r->state.epoch + 1) <= r->c->lr_warmup_epochs && !r->average[k].ramps)
            r->average[k].count = 0;
    }
    r->updates[k]++;
    return e;
}

// After batch `number` of a pass.
static enum smkd_result update(struct run *r, size_t number, const struct rt_batch *b) {
    const bool sums = r->c->accumulate > 1;
    const bool ends = number + 1 == r->pass.batches || (number + 1) % (size_t)r->c->accumulate == 0;
    enum smkd_result e = SMKD_R_OK;
    for (int k = 0; k < r->t->n_peers && e == SMKD_R_OK; k++) {
        if (!is_trained(r, k)) continue;
        rt_optimizer_mask(&r->optimizer[k]);
        if (sums) rt_gradients_add(&r->gradients[k], b->n);
        if (ends) e = update_peer(r, k);
    }
    return e;
}

// What peer k sees of a batch, and how many images that is.
static const float *seen_by(const struct run *r, const struct rt_batch *b, int k, size_t *images) {
    const bool all = r->views.stacked;
    *images = all ? b->n * (size_t)b->views : b->n;
    if (b->mixed) return b->mixed;
    return all ? b->images : rt_batch_view(b, r->views.peer[k]);
}

// What others say of it, and the peers themselves, before they are trained on it.
static enum smkd_result feed(struct run *r, const struct rt_batch *b, bool former) {
    const bool all = r->views.feed == METHOD_ALL_VIEWS;
    const float *images = all ? b->images : rt_batch_view(b, r->views.feed);
    const int views = all ? b->views : 1;
    enum smkd_result e = rt_feeds_run(&r->feeds, images, b->n, views, former);
    for (int k = 0; k < r->t->n_peers && e == SMKD_R_OK; k++)
        e = rt_feeds_guess(&r->feeds, k, is_trained(r, k) ? SMKD_ABI_FORWARD : SMKD_ABI_INFER,
                           r->pass.is.narrow ? NULL : images,
                           b->n * (size_t)(r->pass.is.narrow ? r->feeds.views : views));
    return e;
}

// The gradient by one view that was taken for all of them is the sum of theirs: [n][views][width] becomes [n][width].
static void sum_views(float *g, size_t n, size_t views, size_t width) {
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < width; c++) {
            float sum = g[i * views * width + c];
            for (size_t v = 1; v < views; v++) sum += g[(i * views + v) * width + c];
            g[i * width + c] = sum;
        }
}

enum smkd_result rt_step(struct run *r, int64_t epoch, int64_t number, const struct rt_batch *b, size_t at) {
    struct rt_peer *p = r->t->peers;
    const int n = r->t->n_peers;
    const size_t repeat = r->pass.is.narrow ? r->stacked : 1;
    size_t images = 0;
    enum smkd_result e = rt_step_clock(r, epoch, number);
    if (e == SMKD_R_OK) e = feed(r, b, rt_stage_at(r, epoch) > 1);
    for (int k = 0; k < n && e == SMKD_R_OK; k++) {
        if (!is_trained(r, k)) continue;
        const float *seen = seen_by(r, b, k, &images);
        e = rt_peer_run(&p[k], SMKD_ABI_FORWARD, seen, images);
        rt_repeat_views(p[k].out, b->n, repeat, (size_t)p[k].classes);
    }
    if (e == SMKD_R_OK) e = rt_step_program(r, b);
    if (e == SMKD_R_OK) e = check_finite(r, epoch, number);
    if (e == SMKD_R_OK) rt_tables_write(&r->tables, b->index, b->n, r->pass.peer);
    for (int k = 0; k < n && e == SMKD_R_OK; k++) {
        if (!is_trained(r, k)) continue;
        const float *seen = seen_by(r, b, k, &images);
        if (repeat > 1) sum_views(p[k].cotangent, b->n, repeat, (size_t)p[k].classes);
        e = rt_peer_run(&p[k], SMKD_ABI_BACKWARD, seen, images);
    }
    if (e == SMKD_R_OK) e = update(r, (size_t)number, b);
    if (e != SMKD_R_OK) return e;
    count(r, b, at);
    r->state.step++;
    return SMKD_R_OK;
}
