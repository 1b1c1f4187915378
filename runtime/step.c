// One step: forward of every peer, the method's program, backward and update of every peer. Nothing is copied between
// them: the peers' logits are the program's inputs and its gradients their cotangents, in the same memory.
#include "edits.h"
#include "stages.h"

#include <math.h>
#include <string.h>

#define EMA_DECAY 0.99

double rt_plain(double v) { return isnan(v) ? NAN : v; }

static const char *const clock_names[] = {"progress", "epoch", "epochs", "step", "round", "steps", "lr"};
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
    const double now[N_CLOCK] = {
        r->now_progress, (double)at, (double)epochs, (double)step, (double)rt_stage_at(r, epoch),
        (double)steps,   r->now_lr};
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
    return e == SMKD_R_OK ? rt_program_run(&r->loss, b->n) : e;
}

static enum smkd_result check_finite(const struct run *r, int64_t epoch, int64_t step) {
    for (int k = 0; k < r->t->n_peers; k++) {
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
    rt_program_add(&r->loss, b->n);
    if (b->targets) return; // no classes
    for (int k = 0; k < r->t->n_peers; k++) {
        const float *entropy = rt_program_rows(&r->loss, "entropy", k), *kept = rt_program_rows(&r->loss, "kept", k),
                    *corrected = rt_program_rows(&r->loss, "corrected", k);
        double h = 0;
        for (size_t i = 0; i < b->n; i++) {
            const float *z = r->t->peers[k].out + i * (size_t)r->classes;
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

// The update that ends a group of batches: `last` in the epoch, or the group is full.
static enum smkd_result update(struct run *r, int64_t number, const struct rt_batch *b, bool last) {
    const int n = r->t->n_peers;
    const bool sums = r->c->accumulate > 1, ends = last || (number + 1) % r->c->accumulate == 0;
    enum smkd_result e = SMKD_R_OK;
    for (int k = 0; k < n; k++) rt_optimizer_mask(&r->optimizer[k]);
    for (int k = 0; k < n && sums; k++) rt_gradients_add(&r->gradients[k], b->n);
    if (!ends) return SMKD_R_OK;
    for (int k = 0; k < n && r->gradients; k++) {
        if (sums) rt_gradients_mean(&r->gradients[k]);
        rt_edit_gradients(r, k);
        if (r->c->clip_grad_norm <= 0) continue;
        double norm = rt_gradients_clip(&r->gradients[k], r->c->clip_grad_norm);
        r->norms[k] += norm;
        if (norm > r->norm[k]) r->norm[k] = norm;
    }
    const int64_t steps = (r->schedule.steps + r->c->accumulate - 1) / r->c->accumulate; // updates of an epoch
    for (int k = 0; k < n && e == SMKD_R_OK; k++)
        e = rt_optimizer_step(&r->optimizer[k], r->now_lr,
                              (rt_in_stage(r, r->state.epoch + 1) - 1) * steps + r->updates + 1);
    // As torchvision: by the step's number in the epoch; what the warm-up leaves is forgotten.
    for (int k = 0; k < n && r->average && e == SMKD_R_OK && r->updates % r->average_steps == 0; k++) {
        rt_average_update(&r->average[k]);
        if (rt_in_stage(r, r->state.epoch + 1) <= r->c->lr_warmup_epochs && !r->average[k].ramps)
            r->average[k].count = 0;
    }
    r->updates++;
    return e;
}

enum smkd_result rt_step(struct run *r, int64_t epoch, int64_t number, const struct rt_batch *b, size_t at) {
    struct rt_peer *p = r->t->peers;
    const int n = r->t->n_peers;
    const float *seen[METHOD_MAX_PEERS]; // by each peer, of its views
    for (int k = 0; k < n; k++) seen[k] = rt_batch_view(b, r->views.peer[k]);
    enum smkd_result e = rt_step_clock(r, epoch, number);
    if (e == SMKD_R_OK) e = rt_feeds_run(&r->feeds, rt_batch_view(b, r->views.feed), b->n, rt_stage_at(r, epoch) > 1);
    for (int k = 0; k < n && e == SMKD_R_OK; k++) e = rt_peer_run(&p[k], SMKD_ABI_FORWARD, seen[k], b->n);
    if (e == SMKD_R_OK) e = rt_step_program(r, b);
    if (e == SMKD_R_OK) e = check_finite(r, epoch, number);
    if (e == SMKD_R_OK) rt_tables_write(&r->tables, b->index, b->n);
    for (int k = 0; k < n && e == SMKD_R_OK; k++) e = rt_peer_run(&p[k], SMKD_ABI_BACKWARD, seen[k], b->n);
    if (e == SMKD_R_OK) e = update(r, number, b, number + 1 == r->schedule.steps);
    if (e != SMKD_R_OK) return e;
    count(r, b, at);
    r->state.step++;
    return SMKD_R_OK;
}
