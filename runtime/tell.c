// What a person is told of a run that starts, and of a threshold that is off.
#include "run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FEW 0.01 // share of samples below which (or above one minus which) a threshold is told to be off

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// A threshold that nearly nobody passes, or nearly everybody, is said with what would change it. The limits ALL and
// ZERO have thresholds of infinity and zero and are meant that way.
void rt_tell_threshold(struct run *r, const struct rt_epoch_metrics *m) {
    if (!r->entropies) return;
    const int peers = r->t->n_peers;
    const double threshold = rt_metrics_get(m, RT_OF_EPOCH, 0, "threshold");
    double share = 0;
    struct str taught = STR_INIT;
    for (int k = 0; k < peers; k++) {
        double s = rt_metrics_get(m, RT_OF_PEER, k, "selected_share");
        share += s / peers;
        str_addf(&taught, k ? ", peer %d %.2f %%" : "peer %d taught %.2f %%", k, 100 * s);
    }
    if (isfinite(threshold) && threshold > 0 && !(share >= FEW && share <= 1 - FEW)) {
        size_t n = r->rows * (size_t)peers;
        memcpy(r->sorted, r->entropies, n * sizeof(float));
        qsort(r->sorted, n, sizeof(float), by_value);
        double low = r->sorted[n / 10], median = r->sorted[n / 2], high = r->sorted[n - 1 - n / 10];
        // chi is proportional to 1/eta, whatever else it depends on. A little above the median, since rows that sit on
        // the threshold are not selected and the number is printed with four digits.
        double eta = method_number(r->c->row, &r->c->values, "eta");
        double half = eta * threshold / (1.001 * (median > 1e-6 ? median : 1e-6));
        rt_progress_warn(
            &r->progress,
            "epoch %lld: the threshold %.4g selected %.2f %% of the samples (%s); "
            "entropies: smallest %.4g, 10 %% below %.4g, median %.4g, 10 %% above %.4g, largest %.4g; in this epoch "
            "--eta %.4g would select about half",
            (long long)m->epoch, threshold, 100 * share, taught.s, (double)r->sorted[0], low, median, high,
            (double)r->sorted[n - 1], half);
    }
    str_release(&taught);
}

// What peer k sees of an image.
static int view_of(const struct run *r, int k) {
    return r->views.peer[k] < rt_loader_views(r->train) ? r->views.peer[k] : 0;
}

// Equal weights, equal images and equal losses: such peers stay one network for good. (Dropout has a seed for each.)
static bool are_one(const struct run *r, int j, int k) {
    const struct rt_peer *p = &r->t->peers[j], *q = &r->t->peers[k];
    if (view_of(r, j) != view_of(r, k)) return false;
    const struct smkd_artifact *a = smkd_model_info(p->model), *b = smkd_model_info(q->model);
    return a->content_hash == b->content_hash && a->param_bytes == b->param_bytes &&
           !smkd_model_find(p->model, SMKD_ABI_SCALAR, "seed") &&
           memcmp(smkd_model_params(p->model), smkd_model_params(q->model), a->param_bytes) == 0;
}

static void tell_equal_peers(struct run *r) {
    const int n = r->t->n_peers;
    for (int k = 1; k < n; k++)
        for (int j = 0; j < k; j++) {
            if (!are_one(r, j, k)) continue;
            if (n == 2)
                rt_progress_note(&r->progress,
                                 "both peers start with the same weights, and nothing will ever tell them apart: one "
                                 "network trained twice; make the second with another --seed of smkdc new");
            else
                rt_progress_note(
                    &r->progress,
                    "peers %d and %d start with the same weights, and nothing will ever tell them apart; make "
                    "one with another --seed of smkdc new",
                    j, k);
            return;
        }
}

// Whether an earlier peer is of the same file, about which everything has been said.
static bool seen(const struct rt_train *t, int k) {
    for (int j = 0; j < k; j++)
        if (strcmp(t->peers[j].path, t->peers[k].path) == 0) return true;
    return false;
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

// What the method's family warns of, and the memory that its tables take.
static void tell_method(struct run *r) {
    const struct method_family *f = r->c->row->family;
    struct str text = STR_INIT;
    if (f->warn && f->warn(r->c->row, &r->c->values, r->classes, r->c->batch_size, &text))
        rt_progress_warn(&r->progress, "%s", text.s);
    str_release(&text);
    size_t floats = 0;
    for (size_t i = 0; i < r->tables.n; i++)
        if (!r->tables.table[i].state) floats += r->tables.table[i].width;
    const double mb = (double)floats * (double)r->tables.images * sizeof(float) / 1e6;
    if (floats)
        rt_progress_note(&r->progress,
                         "%s remembers %zu number%s of each image: %.3g MB, in every last.safetensors, too",
                         r->c->method, floats, floats == 1 ? "" : "s", mb);
}

void rt_tell_start(struct run *r, int threads, bool resuming) {
    const struct rt_train_data *d = &r->data;
    const struct rt_transform *x = &d->transform;
    struct rt_progress *p = &r->progress;
    rt_progress_note(p,
                     "%s: %zu training, %zu validation and %zu test images, %d classes; %.2f %% of the training "
                     "labels differ from the data set's; %d thread%s",
                     d->set.name, d->n_train, d->n_validation, d->set.test.n, d->classes, 100 * d->noise_rate, threads,
                     threads == 1 ? "" : "s");
    for (int i = 0; i < d->set.n_notes; i++) rt_progress_note(p, "%s", d->set.notes[i]);
    if (d->set.train.paths)
        rt_progress_note(p, "%d thread%s decode%s images", rt_loader_workers(r->train),
                         rt_loader_workers(r->train) == 1 ? "" : "s", rt_loader_workers(r->train) == 1 ? "s" : "");
    const int views = rt_loader_views(r->train);
    if (r->stacked > 1)
        rt_progress_note(p, "%d views of each row, which the networks see as one batch of up to %zu images", views,
                         r->stacked * (size_t)r->c->batch_size);
    else if (views > 1)
        rt_progress_note(p, "%d views of each image, augmented independently of each other", views);
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
    const char *program = smkd_model_info(r->t->loss)->name;
    if (program && strcmp(program, r->c->method) != 0)
        rt_progress_note(p, "%s is the loss %s; refinement, denominator, detached target and log floor are the file's",
                         r->c->method, program);
    for (int k = 0; k < r->t->n_peers; k++)
        if (!seen(r->t, k)) tell_peer(r, &r->t->peers[k]);
    tell_equal_peers(r);
    tell_method(r);
    if (resuming && r->state.unchecked)
        rt_progress_note(p,
                         "last.safetensors has no checksums (an earlier version wrote it): its numbers are unchecked");
    if (resuming) rt_progress_note(p, "going on after epoch %lld", (long long)r->state.epoch);
}
