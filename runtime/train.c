// The loop: forward A, forward B, the loss program, backward A and B, update A and B. Nothing is copied between them:
// the peers' logits are the loss program's inputs and its gradients their cotangents, in the same memory.
#include "train.h"

#include "rt_internal.h"
#include "run_folder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EMA_DECAY 0.99
#define FEW       0.01 // share of samples below which (or above one minus which) a threshold is told to be off

static const char *const logits_names[] = {"logits.0", "logits.1"}, *const grad_names[] = {"grad.0", "grad.1"},
                         *const loss_names[] = {"loss.0", "loss.1"},
                         *const entropy_names[] = {"entropy.0", "entropy.1"},
                         *const selected_names[] = {"selected.0", "selected.1"},
                         *const trust_names[] = {"trust.0", "trust.1"}, *const r_names[] = {"r.0", "r.1"};

struct sums {
    double loss, entropy, trust, selected;
    size_t given, truth; // rows classified as their given and as their true label
};

struct run {
    struct rt_train *t;
    struct rt_config *c;
    struct rt_train_data data;
    struct rt_transform plain; // test images: no augmentation
    struct rt_loader *train, *validation, *test;
    smkd_team *team;
    smkd_session *loss;
    // Results of the loss program, in its memory.
    const float *loss_value[2], *entropy[2], *selected[2], *trust[2], *threshold;
    struct rt_schedule schedule;
    struct rt_progress progress;
    struct rt_progress_state state;
    struct sums sums[2];
    float *entropies[2];   // of every row of the epoch, for the threshold's warning
    size_t rows;           // images an epoch goes through
    float *sorted;         // 2 * rows, scratch of that warning
    double *probabilities; // 2 * classes, scratch of evaluation
    double now_progress, now_lr;
    int classes;
    bool by_epoch, by_ema; // how MyLC's r is kept
};

static enum smkd_result check_loss(const smkd_model *m, int classes) {
    const struct smkd_artifact *info = smkd_model_info(m);
    const struct smkd_abi_tensor *z = smkd_model_find(m, SMKD_ABI_INPUT, "logits.0");
    if (info->kind != SMKD_ABI_LOSS || !z || !smkd_model_find(m, SMKD_ABI_INPUT, "logits.1") ||
        !smkd_model_find(m, SMKD_ABI_INPUT, "labels") || !smkd_model_find(m, SMKD_ABI_OUTPUT, "threshold"))
        return rt_fail(SMKD_R_MISMATCH, "--loss: the artifact is not a loss program; make one with smkdc loss");
    for (int k = 0; k < 2; k++)
        if (!smkd_model_find(m, SMKD_ABI_OUTPUT, loss_names[k]) ||
            !smkd_model_find(m, SMKD_ABI_OUTPUT, grad_names[k]) ||
            !smkd_model_find(m, SMKD_ABI_OUTPUT, entropy_names[k]) ||
            !smkd_model_find(m, SMKD_ABI_OUTPUT, trust_names[k]) ||
            !smkd_model_find(m, SMKD_ABI_OUTPUT, selected_names[k]))
            return rt_fail(SMKD_R_MISMATCH,
                           "--loss: the loss program lacks results; make it with this version's smkdc loss");
    if (z->rank != 2 || z->dims[1] != classes)
        return rt_fail(SMKD_R_MISMATCH,
                       "--loss: the loss program is for %lld classes, the peers have %d; make it with smkdc "
                       "loss --classes %d",
                       (long long)z->dims[1], classes, classes);
    return SMKD_R_OK;
}

static enum smkd_result start_loss(struct run *r, size_t batch) {
    struct rt_train *t = r->t;
    enum smkd_result e = check_loss(t->loss, r->classes);
    if (e != SMKD_R_OK) return e;
    if (batch > smkd_model_info(t->loss)->max_batch)
        return rt_fail(SMKD_R_MISMATCH, "--batch-size %zu: the loss program takes at most %llu rows", batch,
                       (unsigned long long)smkd_model_info(t->loss)->max_batch);
    r->loss = smkd_session_new(t->loss, r->team);
    if (!r->loss) return SMKD_R_NOMEM;
    const struct {
        const char *name;
        double value;
    } fixed[] = {{"eta", r->c->eta}, {"b1", r->c->b1}, {"b2", r->c->b2}, {"rho", r->c->rho}};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if ((e = rt_set_if_there(r->loss, t->loss, fixed[i].name, fixed[i].value)) != SMKD_R_OK) return e;
    for (int k = 0; k < 2; k++) {
        struct rt_peer *p = &t->peers[k];
        if ((e = smkd_bind(r->loss, SMKD_ABI_INPUT, logits_names[k], p->out)) != SMKD_R_OK) return e;
        if ((e = smkd_bind(r->loss, SMKD_ABI_OUTPUT, grad_names[k], p->cotangent)) != SMKD_R_OK) return e;
    }
    return SMKD_R_OK;
}

// Scalars of the optimizer that stay as they are.
static enum smkd_result start_peer(struct run *r, struct rt_peer *p) {
    const struct {
        const char *name;
        double value;
    } fixed[] = {{"momentum", r->c->momentum}, {"weight_decay", r->c->weight_decay}, {"nesterov", r->c->nesterov}};
    const struct smkd_artifact *info = smkd_model_info(p->model);
    static const enum smkd_abi_phase needed[] = {SMKD_ABI_INFER, SMKD_ABI_FORWARD, SMKD_ABI_BACKWARD, SMKD_ABI_UPDATE};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!info->entries[needed[i]].run)
            return rt_fail(SMKD_R_UNSUPPORTED, "%s: was compiled without training; compile it again", p->path);
    enum smkd_result e = rt_peer_start(p, r->team, (size_t)r->c->batch_size);
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed && e == SMKD_R_OK; i++)
        e = rt_set_if_there(p->session, p->model, fixed[i].name, fixed[i].value);
    return e;
}

static struct rt_loader *loader(struct run *r, const struct rt_images *im, const int32_t *labels, const int64_t *subset,
                                size_t n, bool training) {
    struct rt_loader_config lc = {.images = im,
                                  .labels = labels,
                                  .subset = subset,
                                  .n = n,
                                  .transform = training ? &r->data.transform : &r->plain,
                                  .batch = (size_t)r->c->batch_size,
                                  .shuffle = training,
                                  .augment = training,
                                  .drop_last = training && r->c->drop_last,
                                  .seed = (uint64_t)r->c->seed};
    return rt_loader_new(&lc);
}

static enum smkd_result start_loaders(struct run *r) {
    struct rt_train_data *d = &r->data;
    r->plain = d->transform;
    r->plain.flags = 0;
    r->train = loader(r, &d->set.train, d->given, d->train, d->n_train, true);
    r->test = loader(r, &d->set.test, NULL, NULL, d->set.test.n, false);
    if (d->n_validation) r->validation = loader(r, &d->set.train, d->given, d->validation, d->n_validation, false);
    return r->train && r->test && (r->validation || !d->n_validation) ? SMKD_R_OK : SMKD_R_NOMEM;
}

// Whether every batch of an epoch can be trained on, and how many images they hold.
static enum smkd_result check_batches(struct run *r) {
    size_t n = r->data.n_train, batch = (size_t)r->c->batch_size, rest = n % batch;
    r->rows = r->c->drop_last ? n - rest : n;
    if (r->rows == 0)
        return rt_fail(SMKD_R_INVALID,
                       "--drop-last leaves no batch: %zu training images and --batch-size %zu; give a smaller batch", n,
                       batch);
    if (batch > 1 && (rest != 1 || r->c->drop_last)) return SMKD_R_OK;
    for (int k = 0; k < 2; k++) {
        const struct rt_peer *p = &r->t->peers[k];
        char *node = rt_peer_single_statistic(p);
        if (!node) continue;
        enum smkd_result e;
        if (batch == 1)
            e = rt_fail(SMKD_R_INVALID,
                        "--batch-size 1: BatchNorm \"%s\" of %s normalises over the batch alone, and a single value "
                        "has no variance; give a batch of 2 or more",
                        node, p->path);
        else
            e = rt_fail(SMKD_R_INVALID,
                        "the last batch of an epoch would be one image (%zu images, --batch-size %zu), and BatchNorm "
                        "\"%s\" of %s normalises over the batch alone: a single value has no variance; leave it out "
                        "with --drop-last, or change --batch-size",
                        n, batch, node, p->path);
        free(node);
        return e;
    }
    return SMKD_R_OK;
}

// Everything that the steps and the evaluation will need, while the folder is still as it was.
static enum smkd_result reserve(struct run *r) {
    const struct rt_train_data *d = &r->data;
    size_t most = d->n_train > d->set.test.n ? d->n_train : d->set.test.n, batch = (size_t)r->c->batch_size;
    if (d->n_validation > most) most = d->n_validation;
    if (batch > most) batch = most;
    smkd_session *const sessions[] = {r->t->peers[0].session, r->t->peers[1].session, r->loss};
    enum smkd_result e = SMKD_R_OK;
    for (size_t i = 0; i < sizeof sessions / sizeof *sessions && e == SMKD_R_OK; i++)
        e = rt_session_reserve(sessions[i], (int64_t)batch);
    return e;
}

static enum smkd_result start(struct run *r) {
    struct rt_train *t = r->t;
    enum smkd_result e = rt_train_data_load(&r->data, r->c, &t->peers[0]);
    if (e == SMKD_R_OK) e = check_batches(r);
    if (e != SMKD_R_OK) return e;
    r->classes = t->peers[0].classes;
    r->team = smkd_team_new((int)r->c->threads);
    if (!r->team) return SMKD_R_NOMEM;
    for (int k = 0; k < 2; k++)
        if ((e = start_peer(r, &t->peers[k])) != SMKD_R_OK) return e;
    if ((e = start_loss(r, (size_t)r->c->batch_size)) != SMKD_R_OK || (e = reserve(r)) != SMKD_R_OK) return e;
    size_t n = r->rows;
    for (int k = 0; k < 2; k++) r->entropies[k] = xcalloc(n, sizeof(float));
    r->sorted = xcalloc(2 * n, sizeof(float));
    r->probabilities = xcalloc(2 * (size_t)r->classes, sizeof(double));
    if ((e = start_loaders(r)) != SMKD_R_OK) return e;
    r->by_epoch = strcmp(r->c->r_scope, "epoch") == 0;
    r->by_ema = strcmp(r->c->r_scope, "ema") == 0;
    return rt_schedule_init(&r->schedule, r->c, (int64_t)rt_loader_batches(r->train));
}

static void finish(struct run *r) {
    rt_loader_free(r->train);
    rt_loader_free(r->validation);
    rt_loader_free(r->test);
    smkd_session_free(r->loss);
    for (int k = 0; k < 2; k++) {
        free(r->entropies[k]);
        smkd_session_free(r->t->peers[k].session); // before the team it borrows
        r->t->peers[k].session = NULL;
    }
    free(r->sorted);
    free(r->probabilities);
    smkd_team_free(r->team);
    rt_train_data_release(&r->data);
}

// --- one step --------------------------------------------------------------------------------------------------------

static enum smkd_result set_step_scalars(struct run *r, int64_t epoch, int64_t step_in_epoch) {
    struct rt_train *t = r->t;
    int64_t steps = r->schedule.steps;
    bool by_step = strcmp(r->c->t_unit, "iteration") == 0;
    r->now_progress =
        by_step ? (double)(r->state.step + 1) / (double)(steps * r->c->epochs) : (double)epoch / (double)r->c->epochs;
    r->now_lr = rt_schedule_lr(&r->schedule, epoch, step_in_epoch);
    enum smkd_result e = rt_set_if_there(r->loss, t->loss, "progress", r->now_progress);
    for (int k = 0; k < 2 && e == SMKD_R_OK; k++) {
        struct rt_peer *p = &t->peers[k];
        struct rt_rng rng;
        rt_rng_init(&rng, (uint64_t)r->c->seed, rt_stream_id(RT_STREAM_DROPOUT, (uint64_t)k, (uint64_t)r->state.step));
        e = rt_set_if_there(r->loss, t->loss, r_names[k], r->state.r[k]);
        if (e == SMKD_R_OK) e = rt_set_if_there(p->session, p->model, "lr", r->now_lr);
        // 24 bits: whole numbers that float32 holds, too.
        if (e == SMKD_R_OK) e = rt_set_if_there(p->session, p->model, "seed", (double)(rt_rng_u32(&rng) & 0xffffff));
    }
    return e;
}

static enum smkd_result run_loss(struct run *r, const struct rt_batch *b) {
    enum smkd_result e = smkd_bind(r->loss, SMKD_ABI_INPUT, "labels", (void *)(uintptr_t)b->labels);
    if (e == SMKD_R_OK) e = smkd_run(r->loss, SMKD_ABI_FORWARD, (int64_t)b->n);
    if (e != SMKD_R_OK) return e;
    for (int k = 0; k < 2; k++) {
        r->loss_value[k] = smkd_output(r->loss, loss_names[k]);
        r->entropy[k] = smkd_output(r->loss, entropy_names[k]);
        r->selected[k] = smkd_output(r->loss, selected_names[k]);
        r->trust[k] = smkd_output(r->loss, trust_names[k]);
    }
    r->threshold = smkd_output(r->loss, "threshold");
    return SMKD_R_OK;
}

// printf shows the sign of a NaN, which means nothing to a reader.
static double plain(float v) { return isnan(v) ? NAN : (double)v; }

static enum smkd_result check_finite(const struct run *r, int64_t epoch, int64_t step) {
    for (int k = 0; k < 2; k++)
        if (!isfinite(*r->loss_value[k]))
            return rt_fail(SMKD_R_INVALID,
                           "epoch %lld, step %lld: the loss of peer %d is %g; the run diverged: try a lower "
                           "--lr (now %g), --lr-warmup-epochs, or --peer-denom N",
                           (long long)epoch, (long long)step + 1, k, plain(*r->loss_value[k]), r->now_lr);
    return SMKD_R_OK;
}

static void count_rows(struct run *r, const struct rt_batch *b, size_t at) {
    double full = log((double)r->classes);
    for (int k = 0; k < 2; k++) {
        struct sums *s = &r->sums[k];
        double h = 0;
        for (size_t i = 0; i < b->n; i++) {
            const float *z = r->t->peers[k].out + i * (size_t)r->classes;
            s->given += rt_rank(z, r->classes, b->labels[i]) == 0;
            s->truth += rt_rank(z, r->classes, r->data.set.train.labels[b->index[i]]) == 0;
            s->trust += r->trust[k][i];
            s->selected += r->selected[k][i];
            h += r->entropy[k][i];
            r->entropies[k][at + i] = r->entropy[k][i];
        }
        s->loss += (double)*r->loss_value[k] * (double)b->n;
        s->entropy += h;
        if (r->by_ema) {
            double now = 1 - h / (double)b->n / full;
            r->state.r[k] = EMA_DECAY * r->state.r[k] + (1 - EMA_DECAY) * (now < 0 ? 0 : now);
        }
    }
}

static enum smkd_result step(struct run *r, int64_t epoch, int64_t number, const struct rt_batch *b, size_t at) {
    struct rt_peer *p = r->t->peers;
    enum smkd_result e = set_step_scalars(r, epoch, number);
    for (int k = 0; k < 2 && e == SMKD_R_OK; k++) e = rt_peer_run(&p[k], SMKD_ABI_FORWARD, b->images, b->n);
    if (e == SMKD_R_OK) e = run_loss(r, b);
    if (e == SMKD_R_OK) e = check_finite(r, epoch, number);
    for (int k = 0; k < 2 && e == SMKD_R_OK; k++) e = rt_peer_run(&p[k], SMKD_ABI_BACKWARD, b->images, b->n);
    for (int k = 0; k < 2 && e == SMKD_R_OK; k++) e = smkd_run(p[k].session, SMKD_ABI_UPDATE, (int64_t)b->n);
    if (e != SMKD_R_OK) return e;
    count_rows(r, b, at);
    r->state.step++;
    return SMKD_R_OK;
}

// --- one epoch -------------------------------------------------------------------------------------------------------

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// A threshold that nearly nobody passes, or nearly everybody, is said with what would change it. The limits ALL and
// ZERO have thresholds of infinity and zero and are meant that way.
static void tell_threshold(struct run *r, const struct rt_epoch_metrics *m) {
    double a = m->peers[0].selected, b = m->peers[1].selected, share = (a + b) / 2;
    if (!isfinite(m->threshold) || m->threshold <= 0 || (share >= FEW && share <= 1 - FEW)) return;
    size_t n = r->rows;
    for (int k = 0; k < 2; k++) memcpy(r->sorted + (size_t)k * n, r->entropies[k], n * sizeof(float));
    qsort(r->sorted, 2 * n, sizeof(float), by_value);
    double low = r->sorted[n / 5], median = r->sorted[n], high = r->sorted[2 * n - 1 - n / 5];
    // chi is proportional to 1/eta, whatever else it depends on. A little above the median, since rows that sit on the
    // threshold are not selected and the number is printed with four digits.
    double half = r->c->eta * m->threshold / (1.001 * (median > 1e-6 ? median : 1e-6));
    rt_progress_warn(
        &r->progress,
        "epoch %lld: the threshold %.4g selected %.2f %% of the samples (peer 0 taught %.2f %%, peer 1 %.2f %%); "
        "entropies: smallest %.4g, 10 %% below %.4g, median %.4g, 10 %% above %.4g, largest %.4g; in this epoch "
        "--eta %.4g would select about half",
        (long long)m->epoch, m->threshold, 100 * share, 100 * a, 100 * b, (double)r->sorted[0], low, median, high,
        (double)r->sorted[2 * n - 1], half);
}

static void summarise(struct run *r, struct rt_epoch_metrics *m) {
    double n = (double)r->rows, full = log((double)r->classes);
    for (int k = 0; k < 2; k++) {
        const struct sums *s = &r->sums[k];
        m->peers[k] = (struct rt_peer_metrics){
            .loss = s->loss / n,
            .train_given = 100 * (double)s->given / n,
            .train_true = 100 * (double)s->truth / n,
            .entropy = s->entropy / n,
            .trust = s->trust / n,
            .selected = s->selected / n,
            .taught = s->selected,
            .val_top1 = NAN,
        };
        if (r->by_epoch) {
            double mean = 1 - m->peers[k].entropy / full;
            r->state.r[k] = mean < 0 ? 0 : mean > 1 ? 1 : mean;
        }
    }
}

static enum smkd_result evaluate(struct run *r, struct rt_epoch_metrics *m) {
    struct rt_score s[3];
    m->ensemble_val_top1 = NAN;
    if (r->validation) {
        enum smkd_result e = rt_evaluate(r->t->peers, 2, r->validation, r->probabilities, s);
        if (e != SMKD_R_OK) return e;
        for (int k = 0; k < 2; k++) m->peers[k].val_top1 = rt_score_top1(&s[k]);
        m->ensemble_val_top1 = rt_score_top1(&s[2]);
    }
    enum smkd_result e = rt_evaluate(r->t->peers, 2, r->test, r->probabilities, s);
    if (e != SMKD_R_OK) return e;
    for (int k = 0; k < 2; k++) {
        m->peers[k].test_top1 = rt_score_top1(&s[k]);
        m->peers[k].test_top5 = rt_score_top5(&s[k]);
        m->peers[k].test_nll = rt_score_nll(&s[k]);
    }
    m->ensemble_top1 = rt_score_top1(&s[2]);
    m->ensemble_top5 = rt_score_top5(&s[2]);
    return SMKD_R_OK;
}

// The loss is looked at before each update, so a last update that went wrong shows in the weights alone. They must not
// replace a checkpoint that can still be trained with a lower rate.
static enum smkd_result check_weights(const struct run *r, int64_t epoch) {
    static const struct {
        enum smkd_abi_role role;
        void *(*block)(smkd_model *m);
        const char *what;
    } parts[] = {{SMKD_ABI_PARAM, smkd_model_params, ""},
                 {SMKD_ABI_BUFFER, smkd_model_params, ""},
                 {SMKD_ABI_PARAM, smkd_model_momentum, "the momentum of "}};
    for (int k = 0; k < 2; k++) {
        smkd_model *model = r->t->peers[k].model;
        const struct smkd_abi_tensor *t;
        for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
            for (size_t i = 0; (t = smkd_model_nth(model, parts[p].role, i)); i++) {
                const float *w = (const float *)((const char *)parts[p].block(model) + t->offset);
                size_t j = rt_sane_weights(w, t->numel);
                if (j < t->numel)
                    return rt_fail(SMKD_R_INVALID,
                                   "epoch %lld: %s\"%s\" of peer %d is %g after the last step; the run diverged: try "
                                   "a lower --lr (now %g), --lr-warmup-epochs, or --peer-denom N",
                                   (long long)epoch, parts[p].what, t->name, k, plain(w[j]), r->now_lr);
            }
    }
    return SMKD_R_OK;
}

static enum smkd_result save(struct run *r, const struct rt_epoch_metrics *m) {
    smkd_model *models[] = {r->t->peers[0].model, r->t->peers[1].model};
    double measure = r->validation ? m->ensemble_val_top1 : m->ensemble_top1;
    // Metrics, best, last: whatever a kill leaves behind is at most an epoch ahead of `last` and made again.
    enum smkd_result e = rt_metrics_append(r->t->dir, m);
    r->state.epoch = m->epoch;
    if (e == SMKD_R_OK && measure > r->state.best) {
        r->state.best = measure;
        r->state.best_epoch = m->epoch;
        char *path = rt_path_join(r->t->dir, "best.safetensors");
        e = rt_checkpoint_write(path, models, &r->state, false);
        free(path);
    }
    if (e == SMKD_R_OK) {
        char *path = rt_path_join(r->t->dir, "last.safetensors");
        e = rt_checkpoint_write(path, models, &r->state, true);
        free(path);
    }
    return e;
}

static enum smkd_result train_epoch(struct run *r, int64_t epoch) {
    double begin = rt_now();
    struct rt_batch b;
    size_t done = 0;
    enum smkd_result e = SMKD_R_OK;
    memset(r->sums, 0, sizeof r->sums);
    doing("training in %s, epoch %lld", r->t->dir, (long long)epoch);
    for (int64_t i = 0; rt_loader_next(r->train, &b); i++) {
        if ((e = step(r, epoch, i, &b, done)) != SMKD_R_OK) return e;
        done += b.n;
        double loss[] = {r->sums[0].loss / (double)done, r->sums[1].loss / (double)done};
        rt_progress_step(&r->progress, epoch, r->state.step, (double)done / (rt_now() - begin), loss);
    }
    struct rt_epoch_metrics m = {
        .epoch = epoch, .progress = r->now_progress, .lr = r->now_lr, .threshold = *r->threshold};
    m.images_per_s = (double)done / (rt_now() - begin);
    // The next epoch's first batches are prepared while this one is evaluated.
    if (epoch < r->c->epochs) rt_loader_begin(r->train, (uint64_t)epoch + 1);
    summarise(r, &m);
    if ((e = check_weights(r, epoch)) != SMKD_R_OK || (e = evaluate(r, &m)) != SMKD_R_OK) return e;
    m.seconds = rt_now() - begin;
    if ((e = save(r, &m)) != SMKD_R_OK) return e;
    rt_progress_epoch(&r->progress, &m);
    tell_threshold(r, &m);
    return SMKD_R_OK;
}

static enum smkd_result go_on(struct run *r, bool resuming) {
    struct rt_train *t = r->t;
    r->state = (struct rt_progress_state){.best = -1};
    if (!resuming) return rt_metrics_truncate(t->dir, 0);
    smkd_model *models[] = {t->peers[0].model, t->peers[1].model};
    char *path = rt_path_join(t->dir, "last.safetensors");
    enum smkd_result e = rt_checkpoint_read(path, models, &r->state);
    if (e == SMKD_R_OK && (r->state.epoch > r->c->epochs || r->state.step != r->state.epoch * r->schedule.steps))
        e = rt_fail(SMKD_R_INVALID,
                    "%s: is at epoch %lld, step %lld, which this run of %lld epochs of %lld steps never "
                    "passes",
                    path, (long long)r->state.epoch, (long long)r->state.step, (long long)r->c->epochs,
                    (long long)r->schedule.steps);
    free(path);
    return e == SMKD_R_OK ? rt_metrics_truncate(t->dir, r->state.epoch) : e;
}

// Equal weights, equal images and equal losses: such peers stay one network for good. (Dropout has a seed for each.)
static bool peers_are_one(const struct rt_peer *p) {
    const struct smkd_artifact *a = smkd_model_info(p[0].model), *b = smkd_model_info(p[1].model);
    return a->content_hash == b->content_hash && a->param_bytes == b->param_bytes &&
           !smkd_model_find(p[0].model, SMKD_ABI_SCALAR, "seed") &&
           memcmp(smkd_model_params(p[0].model), smkd_model_params(p[1].model), a->param_bytes) == 0;
}

// What is taken for a peer's logits where that isn't its one output as it is, and what its loss depends on.
static void tell_peer(struct run *r, const struct rt_peer *p) {
    struct str node = STR_INIT;
    if (p->op)
        rt_progress_note(&r->progress, "%s: \"%s\" is a %s; training and accuracies look at what goes into it", p->path,
                         p->output, p->op);
    else if (r->c->logits)
        rt_progress_note(&r->progress, "%s: the logits are \"%s\"", p->path, p->output);
    if (rt_mixing(p->model, &node))
        rt_progress_warn(
            &r->progress,
            "%s: %s computes with all images of a batch: the loss of one depends on the others, and accuracies "
            "on --batch-size",
            p->path, node.s);
    str_release(&node);
}

static void tell_start(struct run *r, int threads, bool resuming) {
    const struct rt_train_data *d = &r->data;
    const struct rt_transform *x = &d->transform;
    struct rt_progress *p = &r->progress;
    rt_progress_note(p,
                     "%s: %zu training, %zu validation and %zu test images, %d classes; %.2f %% of the training "
                     "labels differ from the data set's; %d thread%s",
                     d->set.name, d->n_train, d->n_validation, d->set.test.n, d->classes, 100 * d->noise_rate, threads,
                     threads == 1 ? "" : "s");
    if (r->rows < d->n_train)
        rt_progress_note(p, "--drop-last: each epoch leaves out %zu image%s", d->n_train - r->rows,
                         d->n_train - r->rows == 1 ? "" : "s");
    if (d->classes < r->classes)
        rt_progress_note(p,
                         "the peers have %d outputs for %d classes: noise stays among the classes; thresholds and "
                         "accuracies are over all outputs",
                         r->classes, d->classes);
    if (d->by_chance)
        rt_progress_warn(p,
                         "%s agrees with the data set's labels as often as chance has it: are its labels those of the "
                         "images in this order? (CIFAR-N's \"ordered\" files are in TensorFlow's)",
                         r->c->labels);
    if (d->classes > d->set.classes)
        rt_progress_note(p, "%s has labels up to %d, the data set's own go to %d", r->c->labels, d->classes - 1,
                         d->set.classes - 1);
    if (x->height != x->src_height || x->width != x->src_width)
        rt_progress_note(p, "images of %dx%d get a black border up to the model's %dx%d", x->src_height, x->src_width,
                         x->height, x->width);
    if (x->channels_last)
        rt_progress_note(p, "the peers take images channels-last, [N,H,W,C]: batches are made in that order");
    if (x->channels != x->src_channels)
        rt_progress_note(p, "the one channel of the images is repeated for the model's %d", x->channels);
    if (smkd_model_info(r->t->loss)->name && strcmp(smkd_model_info(r->t->loss)->name, r->c->loss) != 0)
        rt_progress_note(p, "%s is the loss %s; refinement, denominator, detached target and log floor are the file's",
                         r->c->loss, smkd_model_info(r->t->loss)->name);
    for (int k = 0; k < 2; k++)
        if (k == 0 || strcmp(r->t->peers[0].path, r->t->peers[1].path) != 0) tell_peer(r, &r->t->peers[k]);
    if (peers_are_one(r->t->peers))
        rt_progress_note(p, "both peers start with the same weights, and nothing will ever tell them apart: one "
                            "network trained twice; make the second with another --seed of smkdc new");
    if (resuming && r->state.unchecked)
        rt_progress_note(p,
                         "last.safetensors has no checksums (an earlier version wrote it): its numbers are unchecked");
    if (resuming) rt_progress_note(p, "going on after epoch %lld", (long long)r->state.epoch);
}

enum smkd_result rt_train(struct rt_train *t) {
    struct run r = {.t = t, .c = t->config};
    struct lock own = {0};
    if (!t->lock) t->lock = &own;
    bool resuming = false;
    doing("preparing the run in %s", t->dir);
    enum smkd_result e = start(&r);
    int threads = r.team ? smkd_team_threads(r.team) : 0;
    if (e == SMKD_R_OK) e = rt_folder_open(t, &r.data, threads, &resuming);
    if (e == SMKD_R_OK && t->save_labels) e = rt_labels_write(t->save_labels, r.data.given, r.data.set.train.n);
    if (e == SMKD_R_OK) e = go_on(&r, resuming);
    if (e == SMKD_R_OK) {
        rt_progress_init(&r.progress, t->progress, t->warnings, t->config->epochs, r.schedule.steps, r.state.step);
        tell_start(&r, threads, resuming);
        if (r.state.epoch < t->config->epochs) rt_loader_begin(r.train, (uint64_t)r.state.epoch + 1);
    }
    while (e == SMKD_R_OK && r.state.epoch < t->config->epochs) e = train_epoch(&r, r.state.epoch + 1);
    if (e != SMKD_R_OK && r.progress.terminal) fputc('\n', t->progress);
    finish(&r);
    lock_drop(&own);
    return e;
}
