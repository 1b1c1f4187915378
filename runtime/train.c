// The run: what it needs, its epochs, and what it leaves behind.
#include "run.h"

#include "edits.h"
#include "hooks.h"
#include "passes.h"
#include "rt_internal.h"
#include "run_folder.h"
#include "stages.h"
#include "survey.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Labels of mixed images are mixed by the program; one of the user's own (--loss FILE) may do so or not.
static enum smkd_result check_mixing(const struct run *r) {
    const struct rt_mix_options *o = &r->c->augmentation.mix;
    const bool asked = o->mixup_alpha > 0 || o->cutmix_alpha > 0;
    if (asked && r->tables.n && !r->tables.table[0].state)
        return rt_fail(SMKD_R_MISMATCH,
                       "%s: remembers something of each image (\"%s\"), and a mixed image is two: leave out "
                       "--mixup-alpha and --cutmix-alpha",
                       r->c->method, r->tables.table[0].name);
    if (asked == rt_program_has(r->t->loss, SMKD_ABI_INPUT, "labels.mix")) return SMKD_R_OK;
    if (asked)
        return rt_fail(SMKD_R_MISMATCH,
                       "%s: has no labels of mixed images; make it with smkdc loss --mixed, or leave out --mixup-alpha "
                       "and --cutmix-alpha",
                       r->c->method);
    return rt_fail(SMKD_R_MISMATCH, "%s: takes labels of mixed images; give --mixup-alpha or --cutmix-alpha with it",
                   r->c->method);
}

// Those of the run's optimizer, for what the method trains itself.
static enum smkd_result set_optimizer_scalars(struct run *r) {
    const double momentum = isnan(r->c->momentum) ? r->c->beta1 : r->c->momentum;
    const bool ahead = r->c->opt_row && strcmp(r->c->opt_row->name, "sgd_nesterov") == 0;
    enum smkd_result e = rt_program_set(&r->loss, "momentum", isnan(momentum) ? 0 : momentum);
    if (e == SMKD_R_OK) e = rt_program_set(&r->loss, "nesterov", ahead);
    return e == SMKD_R_OK ? rt_program_set(&r->loss, "weight_decay", r->c->weight_decay) : e;
}

// --scalar NAME=X
static enum smkd_result set_own_scalar(struct run *r, const char *name, const char *value) {
    double v;
    if (!value || !parse_f64(value, &v) || !isfinite(v))
        return rt_fail(SMKD_R_INVALID, "--scalar %s%s%s: expected NAME=X", name, value ? "=" : "", value ? value : "");
    if (!rt_program_has(r->t->loss, SMKD_ABI_SCALAR, name))
        return rt_fail(SMKD_R_INVALID, "--scalar %s: the program of %s has no such number", name, r->c->method);
    if (rt_step_sets(name)) return rt_fail(SMKD_R_INVALID, "--scalar %s: the run sets that itself, step by step", name);
    return rt_program_set(&r->loss, name, v);
}

// --state NAME=FILE
static enum smkd_result set_first_state(struct run *r, const char *name, const char *file) {
    if (!file || !*file) return rt_fail(SMKD_R_INVALID, "--state %s: expected NAME=FILE", name);
    return rt_state_read(&r->tables, name, file);
}

// Each of "NAME=VALUE;...", unless NULL; a VALUE that is missing is NULL.
static enum smkd_result set_each(struct run *r, const char *list,
                                 enum smkd_result (*set)(struct run *r, const char *name, const char *value)) {
    enum smkd_result e = SMKD_R_OK;
    for (const char *p = list; e == SMKD_R_OK && p && *p; p += strcspn(p, ";"), p += *p == ';') {
        char *one = xcalloc(strcspn(p, ";") + 1, 1);
        memcpy(one, p, strcspn(p, ";"));
        char *sign = strchr(one, '=');
        if (sign) *sign = 0;
        e = set(r, one, sign ? sign + 1 : NULL);
        free(one);
    }
    return e;
}

// Of each row, as one batch, that teachers, averages and guesses see.
static size_t fed_views(const struct run *r) { return r->views.feed == METHOD_ALL_VIEWS ? (size_t)r->views.count : 1; }

// The numbers of the method that stay as they are.
static enum smkd_result start_loss(struct run *r) {
    struct rt_train *t = r->t;
    enum smkd_result e = rt_program_check(t->loss, r->c->method, t->n_peers, r->classes, r->c->batch_size, &r->views);
    if (e == SMKD_R_OK) e = rt_program_start(&r->loss, t->loss, t->peers, t->n_peers, r->team);
    if (e == SMKD_R_OK)
        e = rt_tables_start(&r->tables, &r->loss, r->c->row, r->data.given, r->data.set.train.n,
                            (size_t)r->c->batch_size, (uint64_t)r->c->seed);
    if (e == SMKD_R_OK) e = set_each(r, r->c->first_state, set_first_state);
    if (e == SMKD_R_OK) e = check_mixing(r);
    if (rt_program_has(t->loss, SMKD_ABI_INPUT, "labels.draw"))
        r->drawn = xcalloc((size_t)r->c->batch_size, sizeof *r->drawn);
    if (e == SMKD_R_OK && t->predictor)
        e = rt_program_check(t->predictor, r->c->method, t->n_peers, r->classes, r->c->batch_size, NULL);
    if (e == SMKD_R_OK && t->predictor)
        e = rt_predictor_start(&r->predictor, t->predictor, t->peers, t->n_peers, r->team);
    if (e == SMKD_R_OK && t->predictor) e = rt_tables_lend(&r->tables, &r->predictor.program);
    if (e == SMKD_R_OK && t->n_teachers && !rt_program_asks(t->loss, METHOD_TEACHER) &&
        !rt_program_asks(t->loss, METHOD_TEACHER_TAP))
        e = rt_fail(SMKD_R_INVALID, "--teacher: the method %s learns from no teacher", r->c->method);
    r->feeds = (struct rt_feeds){.snapshots = rt_rounds(r->c) > 1 ? r->snapshot : NULL,
                                 .teachers = t->teachers,
                                 .n_teachers = t->n_teachers,
                                 .peers = t->peers,
                                 .n_peers = t->n_peers,
                                 .averages = r->average,
                                 .views = (int)fed_views(r)};
    if (e == SMKD_R_OK) e = rt_feeds_start(&r->feeds, &r->loss, (size_t)r->c->batch_size * (size_t)r->feeds.views);
    const struct method *m = r->c->row;
    for (int i = 0; m->family->params[i].name && e == SMKD_R_OK; i++)
        if (m->family->params[i].scalar)
            e = rt_program_set(&r->loss, m->family->params[i].scalar, r->c->values.number[i]);
    if (e == SMKD_R_OK) e = set_optimizer_scalars(r);
    if (e == SMKD_R_OK) e = set_each(r, r->c->scalar, set_own_scalar);
    const bool weighs = rt_program_has(t->loss, SMKD_ABI_INPUT, "class.weight");
    if (e == SMKD_R_OK && r->c->class_weights && !weighs)
        e = rt_fail(SMKD_R_MISMATCH, "--class-weights: the method %s weighs no classes", r->c->method);
    if (e != SMKD_R_OK || !weighs) return e;
    r->class_weights = xcalloc((size_t)r->classes, sizeof *r->class_weights);
    e = rt_class_weights(r->c->class_weights, &r->data, r->classes, r->class_weights);
    return e == SMKD_R_OK ? rt_program_bind(&r->loss, "class.weight", r->class_weights) : e;
}

// As one batch, of a peer that is trained or asked what it says.
static size_t most_views(const struct run *r) { return fed_views(r) > r->stacked ? fed_views(r) : r->stacked; }

static enum smkd_result start_peer(struct run *r, int k) {
    struct rt_peer *p = &r->t->peers[k];
    const struct smkd_artifact *info = smkd_model_info(p->model);
    static const enum smkd_abi_phase needed[] = {SMKD_ABI_INFER, SMKD_ABI_FORWARD, SMKD_ABI_BACKWARD, SMKD_ABI_UPDATE};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!info->entries[needed[i]].run)
            return rt_fail(SMKD_R_UNSUPPORTED, "%s: was compiled without training; compile it again", p->path);
    bool guessed = false;
    enum smkd_result e = rt_peer_start(p, r->team, (size_t)r->c->batch_size, most_views(r));
    if (e == SMKD_R_OK) e = rt_optimizer_start(&r->optimizer[k], r->c, p, r->t->optimizer, r->team, &guessed);
    if (guessed && r->t->progress)
        fprintf(r->t->progress,
                "note: %s does not say which parameters are a normalisation's: --norm-weight-decay takes all of one "
                "dimension; compile it again\n",
                p->path);
    return e;
}

static void warn(void *env, const char *line) {
    struct run *r = env;
    rt_progress_warn(&r->progress, "%s; it is left out", line);
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
                                  .views = training ? r->views.count : 1,
                                  .view = training && rt_passes_see_others(r) ? r->views.view : NULL,
                                  .strong = &r->data.strong,
                                  .stacked = training && r->views.stacked,
                                  .mixing = training && r->views.mixes,
                                  .weights = r->data.weights,
                                  .sampler = rt_sampler_find(r->data.weights    ? "weighted"
                                                             : r->c->ra_sampler ? "repeated"
                                                                                : r->c->sampler),
                                  .mix = r->c->augmentation.mix,
                                  .seed = (uint64_t)r->c->seed,
                                  .workers = (int)r->c->workers,
                                  .strict = r->c->strict_data,
                                  .warn = warn,
                                  .warn_env = r};
    return rt_loader_new(&lc);
}

static enum smkd_result start_loaders(struct run *r) {
    struct rt_train_data *d = &r->data;
    r->plain = d->transform;
    r->plain.flags = 0;
    r->train = loader(r, &d->set.train, d->given, d->train, d->n_train, true);
    r->all = loader(r, &d->set.train, d->given, d->train, d->n_train, false);
    r->test = loader(r, &d->set.test, NULL, NULL, d->set.test.n, false);
    if (d->n_validation) r->validation = loader(r, &d->set.train, d->given, d->validation, d->n_validation, false);
    return r->train && r->test && r->all && (r->validation || !d->n_validation) ? SMKD_R_OK : SMKD_R_NOMEM;
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
    for (int k = 0; k < r->t->n_peers; k++) {
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
    enum smkd_result e = rt_session_reserve(r->loss.session, (int64_t)batch);
    for (int k = 0; k < r->t->n_peers && e == SMKD_R_OK; k++)
        e = rt_session_reserve(r->t->peers[k].session, (int64_t)(batch * most_views(r)));
    for (int k = 0; k < r->t->n_teachers && e == SMKD_R_OK; k++)
        e = rt_session_reserve(r->t->teachers[k].session, (int64_t)batch);
    return e;
}

// What happens to gradients and parameters beside the update.
static enum smkd_result start_extras(struct run *r) {
    const struct rt_config *c = r->c;
    const size_t n = (size_t)r->t->n_peers;
    enum smkd_result e = SMKD_R_OK;
    if (c->accumulate > 1 || c->clip_grad_norm > 0 || rt_edits(r)) r->gradients = xcalloc(n, sizeof *r->gradients);
    const bool speak = rt_program_asks(r->t->loss, METHOD_AVERAGE) || rt_program_asks(r->t->loss, METHOD_AVERAGE_TAP);
    if (c->model_ema || speak) r->average = xcalloc(n, sizeof *r->average);
    r->average_steps = speak ? 1 : c->model_ema_steps;
    r->norm = xcalloc(n, sizeof *r->norm);
    r->norms = xcalloc(n, sizeof *r->norms);
    r->updates = xcalloc(n, sizeof *r->updates);
    for (size_t k = 0; k < n && e == SMKD_R_OK; k++) {
        smkd_model *m = r->t->peers[k].model;
        // A loss of the user's own that asks for averages has no such number.
        const double own = method_param(c->row, "ema-decay", NULL) ? method_number(c->row, &c->values, "ema-decay")
                                                                   : c->model_ema_decay;
        const double decay =
            speak ? own
                  : rt_average_decay(c->model_ema_decay, c->batch_size * c->accumulate, c->model_ema_steps, c->epochs);
        if (r->gradients) e = rt_gradients_init(&r->gradients[k], m, r->team, c->accumulate > 1);
        if (r->average && e == SMKD_R_OK) e = rt_average_init(&r->average[k], m, r->team, decay);
        int at;
        if (r->average && method_param(c->row, "ema-ramp", &at) && speak)
            if (method_matters(c->row, &c->values, &c->row->family->params[at]))
                r->average[k].ramp = c->values.number[at];
        if (r->average) r->average[k].ramps = speak && r->average[k].ramp <= 0;
    }
    return e;
}

static void finish_extras(struct run *r) {
    for (int k = 0; k < r->t->n_peers; k++) {
        if (r->gradients) rt_gradients_release(&r->gradients[k]);
        if (r->average) rt_average_release(&r->average[k]);
    }
    free(r->gradients);
    free(r->average);
    free(r->norm);
    free(r->norms);
    free(r->updates);
}

static void keep_average(struct run *r, int k) {
    struct rt_average *a = &r->average[k];
    char key[32];
    rt_keep_rows(&r->kept, "ema", k, a->model, SMKD_ABI_PARAM, a->block, false);
    rt_keep_rows(&r->kept, "ema", k, a->model, SMKD_ABI_BUFFER, a->block, false);
    snprintf(key, sizeof key, "ema_updates.%d", k);
    rt_keep_whole(&r->kept, key, &a->count, 0, 1e15, false);
}

// Everything that the next step depends on.
static enum smkd_result keep(struct run *r) {
    enum smkd_result e = SMKD_R_OK;
    for (int k = 0; k < r->t->n_peers && r->average; k++) keep_average(r, k);
    rt_tables_keep(&r->tables, &r->kept);
    rt_stages_keep(r);
    rt_hook_keep(r);
    rt_keep_progress(&r->kept, &r->state, r->t->n_peers);
    for (int k = 0; k < r->t->n_peers && e == SMKD_R_OK; k++) e = rt_keep_peer(&r->kept, k, r->t->peers[k].model);
    for (int k = 0; k < r->t->n_peers && e == SMKD_R_OK; k++) rt_optimizer_keep(&r->optimizer[k], &r->kept, k);
    return e;
}

// Files may lack a part; IDX and CIFAR have both.
static enum smkd_result check_parts(const struct run *r) {
    if (r->data.set.test.n || r->c->val_split > 0) return SMKD_R_OK;
    return rt_fail(SMKD_R_INVALID,
                   "%s: has no validation or test images; keep some of the training images for that with "
                   "--val-split 0.1",
                   r->c->data);
}

static enum smkd_result start(struct run *r) {
    struct rt_train *t = r->t;
    enum smkd_result e = rt_train_data_load(&r->data, r->c, &t->peers[0]);
    if (e == SMKD_R_OK) e = check_parts(r);
    if (e == SMKD_R_OK) e = check_batches(r);
    if (e != SMKD_R_OK) return e;
    r->classes = t->peers[0].classes;
    if ((e = rt_passes_start(r)) != SMKD_R_OK) return e;
    r->team = smkd_team_new((int)r->c->threads);
    if (!r->team) return SMKD_R_NOMEM;
    const smkd_model *models[METHOD_MAX_PEERS];
    for (int k = 0; k < t->n_peers; k++) models[k] = t->peers[k].model;
    if ((e = rt_param_flags_check(r->c, models, t->n_peers)) != SMKD_R_OK) return e;
    r->optimizer = xcalloc((size_t)t->n_peers, sizeof *r->optimizer);
    if (t->optimizer && (e = rt_optimizer_check(t->optimizer, r->c->opt, r->c->opt_row)) != SMKD_R_OK) return e;
    for (int k = 0; k < r->t->n_peers; k++)
        if ((e = start_peer(r, k)) != SMKD_R_OK) return e;
    for (int k = 0; k < t->n_teachers; k++)
        if ((e = rt_peer_start(&t->teachers[k], r->team, (size_t)r->c->batch_size, fed_views(r))) != SMKD_R_OK)
            return e;
    if ((e = rt_stages_start(r)) != SMKD_R_OK || (e = start_extras(r)) != SMKD_R_OK ||
        (e = start_loss(r)) != SMKD_R_OK || (e = rt_hook_start(r)) != SMKD_R_OK || (e = reserve(r)) != SMKD_R_OK ||
        (e = keep(r)) != SMKD_R_OK)
        return e;
    const size_t n = (size_t)t->n_peers;
    r->given = xcalloc(n, sizeof *r->given);
    r->truth = xcalloc(n, sizeof *r->truth);
    if (r->data.replaced) r->detection = xcalloc(n, sizeof *r->detection);
    if (rt_program_has(t->loss, SMKD_ABI_OUTPUT, "threshold") && method_param(r->c->row, "eta", NULL)) {
        r->entropies = xcalloc(n * r->rows, sizeof *r->entropies);
        r->sorted = xcalloc(n * r->rows, sizeof *r->sorted);
    }
    r->probabilities = xcalloc(2 * (size_t)r->classes, sizeof(double));
    const size_t seen = r->data.set.test.n > r->data.n_validation ? r->data.set.test.n : r->data.n_validation;
    const size_t reports = n + 1 + (size_t)r->predictor.n;
    if (!r->c->row->family->regression) r->report = xcalloc(reports, sizeof *r->report);
    for (size_t k = 0; k < reports && r->report; k++) rt_report_init(&r->report[k], r->classes, seen);
    if ((e = start_loaders(r)) != SMKD_R_OK) return e;
    int at;
    if (method_param(r->c->row, "r-scope", &at)) {
        r->by_epoch = strcmp(r->c->values.word[at], "epoch") == 0;
        r->by_ema = strcmp(r->c->values.word[at], "ema") == 0;
    } else {
        r->by_epoch = rt_program_has(t->loss, SMKD_ABI_SCALAR, "r.0"); // of a user's own
    }
    e = rt_schedule_init(&r->schedule, r->c, (int64_t)rt_loader_batches(r->train));
    if (e == SMKD_R_OK) rt_keep_schedule(&r->kept, &r->schedule);
    return e;
}

static void finish(struct run *r) {
    rt_loader_free(r->train);
    rt_loader_free(r->validation);
    rt_loader_free(r->all);
    rt_loader_free(r->test);
    rt_program_release(&r->loss);
    finish_extras(r);
    for (int k = 0; k < r->t->n_peers && r->optimizer; k++) rt_optimizer_release(&r->optimizer[k]);
    free(r->optimizer);
    for (int k = 0; k < r->t->n_peers; k++) {
        smkd_session_free(r->t->peers[k].session); // before the team it borrows
        r->t->peers[k].session = NULL;
    }
    rt_kept_release(&r->kept);
    rt_tables_release(&r->tables);
    rt_stages_finish(r);
    rt_passes_finish(r);
    rt_feeds_release(&r->feeds);
    for (int k = 0; k < r->t->n_teachers; k++) {
        smkd_session_free(r->t->teachers[k].session);
        r->t->teachers[k].session = NULL;
    }
    free(r->drawn);
    for (int k = 0; k < r->t->n_peers + 1 + r->predictor.n && r->report; k++) rt_report_release(&r->report[k]);
    rt_predictor_release(&r->predictor);
    free(r->report);
    free(r->given);
    free(r->truth);
    free(r->detection);
    free(r->entropies);
    free(r->sorted);
    free(r->probabilities);
    free(r->class_weights);
    smkd_team_free(r->team);
    rt_train_data_release(&r->data);
}

// --- one epoch -------------------------------------------------------------------------------------------------------

static void set_measured(struct rt_epoch_metrics *m, const char *prefix, const char *name, int k, int n, double v) {
    char text[48];
    snprintf(text, sizeof text, "%s_%s", prefix, name);
    rt_metrics_set(m, k < n ? RT_OF_PEER : RT_OF_ENSEMBLE, k < n ? k : 0, text, v);
}

static double top1(const struct rt_report *r) { return rt_score_top1(&r->score); }
static double top5(const struct rt_report *r) { return rt_score_top5(&r->score); }
static double nll(const struct rt_report *r) { return rt_score_nll(&r->score); }
static double ece(const struct rt_report *r) { return rt_score_ece(&r->score); }
static double aurc(const struct rt_report *r) { return r->aurc; }
static double eaurc(const struct rt_report *r) { return r->eaurc; }

// What is measured of classes, in the order of the columns.
static const struct {
    const char *name;
    double (*of)(const struct rt_report *r);
} scores[] = {{"top1", top1}, {"top5", top5}, {"nll", nll}, {"ece", ece}, {"aurc", aurc}, {"eaurc", eaurc}};
enum { N_SCORES = sizeof scores / sizeof *scores };

static void summarise(struct run *r, struct rt_epoch_metrics *m) {
    const double full = log((double)r->classes);
    const double none = NAN;
    rt_metrics_set(m, RT_OF_EPOCH, 0, "progress", r->now_progress);
    rt_metrics_set(m, RT_OF_EPOCH, 0, "lr", r->now_lr);
    for (int k = 0; k < r->t->n_peers; k++) {
        const double n = (double)r->loss.rows[k];
        rt_metrics_set(m, RT_OF_PEER, k, "loss", r->loss.sum[k] / n);
        if (r->c->row->family->regression) continue;
        rt_metrics_set(m, RT_OF_PEER, k, "train_top1_given", 100 * (double)r->given[k] / n);
        rt_metrics_set(m, RT_OF_PEER, k, "train_top1_true", 100 * (double)r->truth[k] / n);
        for (size_t i = 0; i < N_SCORES; i++) set_measured(m, "test", scores[i].name, k, k + 1, none);
        set_measured(m, "val", "top1", k, k + 1, none);
    }
    rt_program_metrics(&r->loss, m);
    for (int k = 0; k < r->t->n_peers && r->detection; k++) rt_detection_metrics(&r->detection[k], k, m);
    for (int k = 0; k < r->t->n_peers && r->c->clip_grad_norm > 0; k++) {
        rt_metrics_set(m, RT_OF_PEER, k, "mean_grad_norm", r->norms[k] / (double)r->updates[k]);
        rt_metrics_set(m, RT_OF_PEER, k, "max_grad_norm", r->norm[k]);
    }
    for (int k = 0; k < r->t->n_peers && r->by_epoch; k++) {
        double mean = 1 - rt_metrics_get(m, RT_OF_PEER, k, "mean_entropy") / full;
        if (!isnan(mean)) r->state.r[k] = mean < 0 ? 0 : mean > 1 ? 1 : mean;
    }
}

// How far numbers are off on the images of a loader, as PREFIX_mse, PREFIX_mae, PREFIX_r2 of every network and the
// ensemble.
static enum smkd_result measure_numbers(struct run *r, struct rt_loader *l, const char *prefix,
                                        struct rt_epoch_metrics *m) {
    const int n = r->t->n_peers;
    struct rt_error *s = xcalloc((size_t)n + 1, sizeof *s);
    enum smkd_result e = rt_evaluate_numbers(r->t->peers, n, l, r->probabilities, s);
    for (int k = 0; k <= n; k++) {
        set_measured(m, prefix, "mse", k, n, rt_error_mse(&s[k]));
        set_measured(m, prefix, "mae", k, n, rt_error_mae(&s[k]));
        set_measured(m, prefix, "r2", k, n, rt_error_r2(&s[k]));
        rt_error_release(&s[k]);
    }
    free(s);
    return e;
}

// The scores of every network and the ensemble, as PREFIX_top1 and so on, and the networks' mean accuracy.
static enum smkd_result measure_classes(struct run *r, struct rt_loader *l, const char *prefix,
                                        struct rt_epoch_metrics *m) {
    const int n = r->t->n_peers;
    double sum = 0;
    char name[48];
    const struct rt_predictor *p = &r->predictor;
    for (int k = 0; k < n + 1 + p->n; k++) rt_report_clear(&r->report[k]);
    enum smkd_result e =
        rt_report_run(r->t->peers, n, r->t->predictor ? &r->predictor : NULL, l, r->probabilities, r->report);
    for (int k = 0; k <= n; k++)
        for (size_t i = 0; i < N_SCORES; i++)
            set_measured(m, prefix, scores[i].name, k, n, scores[i].of(&r->report[k]));
    for (int i = 0; i < p->n; i++) {
        char column[128];
        snprintf(column, sizeof column, "%s_%s_top1", p->said[i].name, prefix);
        rt_metrics_set(m, RT_OF_PEER, p->said[i].peer, column, top1(&r->report[n + 1 + i]));
    }
    for (int k = 0; k < n; k++) sum += top1(&r->report[k]);
    snprintf(name, sizeof name, "mean_%s_top1", prefix);
    rt_metrics_set(m, RT_OF_EPOCH, 0, name, sum / n);
    return e;
}

static enum smkd_result measure(struct run *r, const char *test, const char *val, struct rt_epoch_metrics *m) {
    const bool numbers = r->c->row->family->regression;
    enum smkd_result e = (numbers ? measure_numbers : measure_classes)(r, r->test, test, m);
    if (e == SMKD_R_OK && r->validation) e = (numbers ? measure_numbers : measure_classes)(r, r->validation, val, m);
    // A column that is there from the first epoch on.
    if (!r->validation && !numbers) set_measured(m, val, "top1", r->t->n_peers, r->t->n_peers, NAN);
    return e;
}

static enum smkd_result evaluate(struct run *r, struct rt_epoch_metrics *m) {
    enum smkd_result e = measure(r, "test", "val", m);
    if (e != SMKD_R_OK || !r->average) return e;
    for (int k = 0; k < r->t->n_peers; k++) rt_average_exchange(&r->average[k]);
    e = measure(r, "ema_test", "ema_val", m);
    for (int k = 0; k < r->t->n_peers; k++) rt_average_exchange(&r->average[k]);
    return e;
}

// What tells epochs apart: the ensemble's accuracy, or its negative squared error, on the validation images where there
// are some; with averages, theirs.
static double merit(const struct run *r, const struct rt_epoch_metrics *m) {
    const bool numbers = r->c->row->family->regression;
    char name[32];
    snprintf(name, sizeof name, "%s%s_%s", r->average ? "ema_" : "", r->validation ? "val" : "test",
             numbers ? "mse" : "top1");
    double v = rt_metrics_get(m, RT_OF_ENSEMBLE, 0, name);
    return numbers ? -v : v;
}

// The loss is looked at before each update, so a last update that went wrong shows in the weights alone. They must not
// replace a checkpoint that can still be trained with a lower rate.
static enum smkd_result check_weights(const struct run *r, int64_t epoch) {
    for (size_t i = 0; i < r->kept.n_tensors; i++) {
        const struct rt_kept_tensor *t = &r->kept.tensor[i];
        if (t->dtype != RT_F32) continue;
        const float *w = t->data;
        size_t j = rt_sane_weights(w, t->numel);
        if (j < t->numel)
            return rt_fail(SMKD_R_INVALID,
                           "epoch %lld: \"%s\" is %g after the last step; the run diverged: try a lower --lr (now %g), "
                           "--lr-warmup-epochs, or --peer-denom N",
                           (long long)epoch, t->name, rt_plain((double)w[j]), r->now_lr);
    }
    return SMKD_R_OK;
}

static enum smkd_result save(struct run *r, const struct rt_epoch_metrics *m) {
    const double measure = merit(r, m);
    // Metrics, best, last: whatever a kill leaves behind is at most an epoch ahead of `last` and made again.
    enum smkd_result e = rt_metrics_append(r->t->dir, m);
    r->state.epoch = m->epoch;
    rt_schedule_measured(&r->schedule, rt_in_stage(r, m->epoch), r->c->row->family->regression ? -measure : measure,
                         r->c->row->family->regression);
    if (e == SMKD_R_OK && measure > r->state.best) {
        r->state.best = measure;
        r->state.best_epoch = m->epoch;
        char *path = rt_path_join(r->t->dir, "best.safetensors");
        e = rt_checkpoint_write(path, &r->kept, false);
        free(path);
    }
    if (e == SMKD_R_OK) {
        char *path = rt_path_join(r->t->dir, "last.safetensors");
        e = rt_checkpoint_write(path, &r->kept, true);
        free(path);
    }
    return e;
}

// What follows the last step: numbers, files, words.
static enum smkd_result end_epoch(struct run *r, struct rt_epoch_metrics *m, double images_per_s, double waited,
                                  double begin) {
    summarise(r, m);
    enum smkd_result e = check_weights(r, m->epoch);
    if (e == SMKD_R_OK) e = rt_hook_after(r, m->epoch, m);
    if (e == SMKD_R_OK) e = evaluate(r, m);
    if (e != SMKD_R_OK) return e;
    rt_metrics_set(m, RT_OF_CLOCK, 0, "images_per_s", images_per_s);
    rt_metrics_set(m, RT_OF_CLOCK, 0, "seconds", rt_now() - begin);
    rt_metrics_set(m, RT_OF_CLOCK, 0, "waited_share", waited);
    size_t left_out = rt_loader_skipped(r->train) + rt_loader_skipped(r->test);
    if (r->validation) left_out += rt_loader_skipped(r->validation);
    rt_metrics_set(m, RT_OF_CLOCK, 0, "files_left_out", (double)left_out);
    if ((e = save(r, m)) != SMKD_R_OK) return e;
    rt_progress_epoch(&r->progress, m);
    rt_tell_threshold(r, m);
    return SMKD_R_OK;
}

static void clear_epoch(struct run *r) {
    const size_t n = (size_t)r->t->n_peers;
    memset(r->norm, 0, n * sizeof *r->norm);
    memset(r->norms, 0, n * sizeof *r->norms);
    memset(r->updates, 0, n * sizeof *r->updates);
    memset(r->given, 0, n * sizeof *r->given);
    memset(r->truth, 0, n * sizeof *r->truth);
    if (r->detection) memset(r->detection, 0, n * sizeof *r->detection);
}

// The steps of a pass, from 0; `done` rows were trained on in the epoch before it.
static enum smkd_result train_pass(struct run *r, int64_t epoch, int number, double begin, size_t *done) {
    enum smkd_result e = SMKD_R_OK;
    const double passes = rt_passes(r, epoch), batches = (double)r->pass.batches;
    struct rt_batch b;
    for (int64_t i = 0, at = 0; rt_loader_next(r->train, &b); i++, at += (int64_t)b.n) {
        if ((e = rt_step(r, epoch, i, &b, (size_t)at)) != SMKD_R_OK) return e;
        *done += b.n;
        rt_progress_step(&r->progress, epoch, (number + (double)(i + 1) / batches) / passes,
                         (double)*done / (rt_now() - begin), r->loss.sum, r->t->n_peers, r->loss.rows);
    }
    return rt_loader_result(r->train);
}

static enum smkd_result train_epoch(struct run *r, int64_t epoch) {
    double begin = rt_now(), waited = 0;
    size_t done = 0;
    enum smkd_result e = SMKD_R_OK;
    clear_epoch(r);
    doing("training in %s, epoch %lld", r->t->dir, (long long)epoch);
    rt_stages_enter(r, epoch);
    if ((e = rt_survey_before(r, epoch)) != SMKD_R_OK) return e;
    if ((e = rt_hook_before(r, epoch)) != SMKD_R_OK) return e;
    rt_program_begin(&r->loss);
    for (int i = 0; i < rt_passes(r, epoch); i++) {
        rt_pass_begin(r, epoch, i);
        if ((e = train_pass(r, epoch, i, begin, &done)) != SMKD_R_OK) return e;
        waited += rt_loader_waited(r->train);
    }
    const double took = rt_now() - begin;
    // The next epoch's first batches are prepared while this one is evaluated.
    if (epoch < r->all_epochs) rt_passes_ahead(r, epoch + 1);
    struct rt_epoch_metrics m;
    rt_metrics_init(&m, epoch, r->t->n_peers);
    e = end_epoch(r, &m, (double)done / took, waited / took, begin);
    rt_metrics_release(&m);
    return e;
}

static enum smkd_result go_on(struct run *r, bool resuming) {
    struct rt_train *t = r->t;
    r->state = (struct rt_progress_state){.best = r->c->row->family->regression ? RT_NO_MERIT : -1};
    if (!resuming) return rt_metrics_truncate(t->dir, 0);
    char *path = rt_path_join(t->dir, "last.safetensors");
    enum smkd_result e = rt_checkpoint_read(path, &r->kept, &r->state.unchecked);
    const bool steps_differ = !rt_passes_even(r);
    if (e == SMKD_R_OK &&
        (r->state.epoch > r->all_epochs || (!steps_differ && r->state.step != r->state.epoch * r->schedule.steps)))
        e = rt_fail(SMKD_R_INVALID,
                    "%s: is at epoch %lld, step %lld, which this run of %lld epochs of %lld steps never "
                    "passes",
                    path, (long long)r->state.epoch, (long long)r->state.step, (long long)r->all_epochs,
                    (long long)r->schedule.steps);
    free(path);
    return e == SMKD_R_OK ? rt_metrics_truncate(t->dir, r->state.epoch) : e;
}

static bool ended(struct run *r) {
    if (r->state.epoch >= r->all_epochs) return true;
    if (!rt_out_of_patience(r->c, r->state.epoch, r->state.best_epoch)) return false;
    rt_progress_note(&r->progress, "epoch %lld: no better one since epoch %lld: --patience %lld ends the run",
                     (long long)r->state.epoch, (long long)r->state.best_epoch, (long long)r->c->patience);
    return true;
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
        rt_progress_init(&r.progress, t->progress, t->warnings, r.all_epochs, r.state.epoch);
        rt_tell_start(&r, threads, resuming);
        if (r.state.epoch < r.all_epochs) rt_passes_ahead(&r, r.state.epoch + 1);
    }
    while (e == SMKD_R_OK && !ended(&r)) e = train_epoch(&r, r.state.epoch + 1);
    if (e != SMKD_R_OK && r.progress.terminal) fputc('\n', t->progress);
    finish(&r);
    lock_drop(&own);
    return e;
}
