// smkd-run detect-noise: which training labels are wrong, by what trained networks say of the images.
#include "run_detect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct args_opt own_opts[] = {
    RUN_NETWORKS_OPTS("ask"),
    {"output", 'o', "FILE.csv", NULL, "the table of suspects, a line for each training image", ARGS_REQUIRED},
    {"network", 0, "K", NULL, "of several networks let that one judge, from 0 (default: all of them)", ARGS_REPEAT},
    {"by", 0, "CRITERION", "agreement", "what makes a label noisy; see above", 0},
    {"threshold", 0, "WHICH", "auto",
     "of agreement, loss and entropy: mu1, s or mu2 of Otsu's split (auto: mu1 of agreement, s of loss, mu2 of "
     "entropy)",
     0},
    {"otsu", 0, "KIND", "std",
     "what Otsu's split divides by: std, as the code of Blind Knowledge Distillation, or variance, as Otsu", 0},
    {"share", 0, "R", NULL, "of agreement, loss, entropy and gmm: the most suspicious share R is noisy instead", 0},
    {"posterior", 0, "P", "0.5", "of gmm: noisy where the posterior of low losses is below P", 0},
    {"filter", 0, "NAME", "prune-by-noise-rate",
     "of confident-learning: prune-by-noise-rate, prune-by-class, both or confident-learning", 0},
    {"votes", 0, "N", "3", "of vote: noisy where N of the other five say so", 0},
    {"cross-validate", 0, "K", NULL,
     "train the run anew K times, each time without 1/K of the images, and judge these with what it becomes "
     "(in RUN/folds-K; goes on where it was stopped)",
     0},
    {"truth", 0, "FILE", NULL,
     "true labels, .npy or text (default: the data's own, where the run has --noise or --labels)", 0},
    {"curve", 0, "FILE.csv", NULL, "precision and recall for every threshold; needs true labels", 0},
    {"histogram", 0, "FILE.svg", NULL,
     "of agreement, loss and entropy: how many images lie where, with Otsu's thresholds; by right and wrong labels "
     "where "
     "the true ones are known",
     0},
    {"apply", 0, "WHAT", NULL,
     "also write what a next run reads, beside the table: relabel (FILE.labels.npy, for --labels), drop "
     "(FILE.keep.npy, for --keep) or weight (FILE.weights.npy, for --sample-weights)",
     ARGS_REPEAT},
    {"probs", 0, "FILE.npy", NULL,
     "probabilities [images, classes] in place of a network's; several: of several networks. With --labels",
     ARGS_REPEAT},
    {"save-probs", 0, "FILE.npy", NULL, "write the ensemble's probabilities, for other tools", 0},
    {"json", 0, NULL, NULL, "print the summary as JSON", 0},
};
enum { N_OWN = sizeof own_opts / sizeof *own_opts };

static const char *const data_flags[] = {
    "data",    "labels",  "noise",           "noise-seed",       "train-limit", "label-column", "image-root",
    "layout",  "cache",   "strict-data",     "exif-orientation", "mean",        "std",          "batch-size",
    "threads", "workers", "val-resize-size", "interpolation",    NULL};
enum { N_DATA = sizeof data_flags / sizeof *data_flags - 1 };

static const struct rt_field *field(const char *name) {
    const struct rt_field *f = rt_fields;
    while (f->name && strcmp(f->name, name) != 0) f++;
    CHECK(f->name, "no field %s", name);
    return f;
}

static void options(struct args_opt opts[N_OWN + N_DATA + 1]) {
    memcpy(opts, own_opts, sizeof own_opts);
    for (size_t i = 0; i < N_DATA; i++) { // the defaults are the run's, so that none is shown
        const struct rt_field *f = field(data_flags[i]);
        const char letter = strcmp(f->name, "workers") == 0 ? 'j' : 0;
        opts[N_OWN + i] = (struct args_opt){f->name, letter, f->value, NULL, f->help, 0};
    }
    opts[N_OWN + N_DATA] = (struct args_opt){0};
}

// --- what is judged --------------------------------------------------------------------------------------------------

static void clear(char **text) {
    free(*text);
    *text = NULL;
}

// The data flags over the run's configuration. Labels are those that the run was trained on, as its folder has them.
static enum smkd_result configure(struct detect *d) {
    const struct args *a = d->args;
    struct rt_config *c = &d->net.saved.config;
    const bool new_labels = args_given(a, "labels"), new_noise = args_given(a, "noise");
    enum smkd_result r = SMKD_R_OK;
    d->keep = c->keep; // what was not trained on is judged, too
    c->keep = NULL;
    clear(&c->sample_weights);
    c->val_split = 0;
    c->threads = c->workers = 0; // a matter of the machine, not of the run
    if (new_labels || new_noise || d->net.dir) clear(&c->labels);
    if (!new_noise && d->net.dir) r = rt_config_set(c, "noise", "none");
    if (!new_labels && !new_noise && d->net.dir) {
        char *labels = rt_path_join(d->net.dir, "labels.npy");
        if (r == SMKD_R_OK) r = rt_config_set(c, "labels", labels);
        free(labels);
    }
    for (size_t i = 0; i < N_DATA && r == SMKD_R_OK; i++) {
        const char *flag = data_flags[i];
        if (args_given(a, flag)) r = rt_config_set(c, flag, args_str(a, flag));
    }
    if (r == SMKD_R_OK && !c->data) r = rt_fail(SMKD_R_INVALID, "--data is missing");
    return r == SMKD_R_OK ? rt_config_resolve(c) : r;
}

// What an exported network was trained with, where no flag says it.
static void prepare_as_exported(struct detect *d) {
    const struct rt_preparation *known = &d->net.saved.preparation;
    struct rt_config *c = &d->net.saved.config;
    if (d->net.dir || known->channels == 0) return;
    const struct {
        const char *flag;
        const float *of;
    } both[] = {{"mean", known->mean}, {"std", known->std}};
    for (int i = 0; i < 2; i++) {
        struct str s = STR_INIT;
        for (int ch = 0; ch < known->channels; ch++) str_addf(&s, "%s%.9g", ch ? "," : "", (double)both[i].of[ch]);
        if (!args_given(d->args, both[i].flag)) rt_config_set(c, both[i].flag, s.s);
        str_release(&s);
    }
}

static enum smkd_result load_data(struct detect *d) {
    struct rt_config *c = &d->net.saved.config;
    // Whether the run's labels may be wrong where the data's own are right.
    const bool replaced = d->net.dir && (c->labels || strcmp(c->noise, "none") != 0);
    enum smkd_result r = configure(d);
    if (r != SMKD_R_OK) return r;
    prepare_as_exported(d);
    r = rt_train_data_load(&d->data, c, &d->net.peers[0]);
    if (r == SMKD_R_OK && !d->net.dir && !args_given(d->args, "val-resize-size") &&
        run_networks_take_over(&d->net, &d->data.set.train)) {
        rt_train_data_release(&d->data);
        r = rt_train_data_load(&d->data, c, &d->net.peers[0]);
    }
    if (r != SMKD_R_OK) return r;
    for (int i = 0; i < d->data.set.n_notes; i++) fprintf(stderr, "note: %s\n", d->data.set.notes[i]);
    d->name = d->data.set.name;
    d->images = d->data.set.train.n;
    d->given = d->data.given;
    const bool given_anew = args_given(d->args, "labels") || args_given(d->args, "noise");
    if (given_anew ? d->data.replaced : replaced) d->truth = d->data.set.train.labels;
    d->names = run_networks_names(&d->net, &d->data.set);
    return SMKD_R_OK;
}

// --network
static enum smkd_result choose_networks(struct detect *d) {
    const size_t given = args_count(d->args, "network");
    for (int k = 0; k < d->net.n; k++) d->asked[k] = !given;
    for (size_t i = 0; i < given; i++) {
        const char *text = args_nth(d->args, "network", i);
        int64_t k;
        if (!parse_i64(text, &k) || k < 0 || k >= d->net.n)
            return rt_fail(SMKD_R_INVALID, "--network %s: expected a number from 0 to %d: %s has %d network%s", text,
                           d->net.n - 1, d->net.dir ? d->net.dir : "the command line", d->net.n,
                           d->net.n == 1 ? "" : "s");
        d->asked[k] = true;
    }
    for (int k = 0; k < d->net.n; k++) d->n_asked += d->asked[k];
    return SMKD_R_OK;
}

static enum smkd_result load_networks(struct detect *d) {
    enum smkd_result r = run_networks_load(&d->net, d->args, false);
    if (r != SMKD_R_OK) return r;
    if (d->net.numbers)
        return rt_fail(SMKD_R_INVALID, "%s: these networks have learnt numbers, and labels are of classes", d->net.dir);
    d->classes = d->net.peers[0].classes;
    if (d->classes < 2)
        return rt_fail(SMKD_R_INVALID, "%s: tells one class apart: no label of it can be wrong", d->net.paths[0]);
    if ((r = choose_networks(d)) != SMKD_R_OK) return r;
    if (d->folds && !d->net.dir)
        return rt_fail(SMKD_R_INVALID, "--cross-validate trains a run anew: give its folder, not artifacts");
    return load_data(d);
}

// --- what is said of it ----------------------------------------------------------------------------------------------

static void warn(void *env, const char *line) {
    (void)env;
    fprintf(stderr, "warning: %s; it is not judged\n", line);
}

static enum smkd_result add_batch(struct detect *d, const struct run_networks *net, const struct rt_batch *b, double *p,
                                  double *log_p) {
    const size_t classes = (size_t)d->classes;
    enum smkd_result r = SMKD_R_OK;
    for (size_t i = 0; i < b->n && r == SMKD_R_OK; i++) {
        size_t at = 0;
        for (int k = 0; k < net->n; k++) {
            if (!d->asked[k]) continue;
            const float *z = net->peers[k].out + i * classes;
            rt_softmax(z, d->classes, p + at);
            rt_log_softmax(z, d->classes, log_p + at);
            at += classes;
        }
        r = rt_evidence_add(&d->evidence, (size_t)b->index[i], (int32_t)b->labels[i], p, log_p);
    }
    return r;
}

enum smkd_result detect_ask(struct detect *d, struct run_networks *net, smkd_team *team, const int64_t *subset,
                            size_t n) {
    const struct rt_config *c = &d->net.saved.config;
    struct rt_transform plain = d->data.transform;
    plain.flags = 0;
    const int64_t batch = run_networks_batch(net, c->batch_size);
    enum smkd_result r = SMKD_R_OK;
    for (int k = 0; k < net->n && r == SMKD_R_OK; k++) r = rt_peer_start(&net->peers[k], team, (size_t)batch, 1);
    const struct rt_loader_config lc = {.images = &d->data.set.train,
                                        .labels = d->given,
                                        .subset = subset,
                                        .n = n,
                                        .transform = &plain,
                                        .batch = (size_t)batch,
                                        .workers = (int)c->workers,
                                        .strict = c->strict_data,
                                        .warn = warn};
    struct rt_loader *l = r == SMKD_R_OK ? rt_loader_new(&lc) : NULL;
    if (r == SMKD_R_OK && !l) r = SMKD_R_NOMEM;
    if (r != SMKD_R_OK) return r;
    const size_t numbers = (size_t)net->n * (size_t)d->classes;
    double *p = xcalloc(2 * numbers, sizeof *p);
    struct rt_batch b;
    rt_loader_begin(l, 0);
    while (rt_loader_next(l, &b)) { // to the end of the epoch also after a failure
        for (int k = 0; k < net->n && r == SMKD_R_OK; k++)
            if (d->asked[k]) r = rt_peer_run(&net->peers[k], SMKD_ABI_INFER, b.images, b.n);
        if (r == SMKD_R_OK) r = add_batch(d, net, &b, p, p + numbers);
    }
    if (r == SMKD_R_OK) r = rt_loader_result(l);
    rt_loader_free(l);
    free(p);
    return r;
}

static enum smkd_result ask(struct detect *d) {
    enum smkd_result r = rt_evidence_init(&d->evidence, d->images, d->classes, d->n_asked);
    if (r != SMKD_R_OK) return r;
    smkd_team *team = smkd_team_new((int)d->net.saved.config.threads);
    if (!team) return SMKD_R_NOMEM;
    if (d->folds) {
        r = detect_folds(d, team);
    } else {
        for (int k = 0; k < d->net.n; k++) run_note_mixing(&d->net.peers[k]);
        r = detect_ask(d, &d->net, team, NULL, d->images);
    }
    for (int k = 0; k < d->net.n; k++) { // before the team it borrows
        smkd_session_free(d->net.peers[k].session);
        d->net.peers[k].session = NULL;
    }
    smkd_team_free(team);
    return r;
}

// --- probabilities from files ----------------------------------------------------------------------------------------

static enum smkd_result read_probs(const char *path, struct rt_tensor *t, const struct rt_tensor *first,
                                   const char *first_path) {
    enum smkd_result r = rt_npy_read(path, t);
    if (r != SMKD_R_OK) return r;
    if (t->rank != 2 || t->dims[1] < 2 || t->dims[0] < 1)
        return rt_fail(SMKD_R_INVALID, "%s: expected probabilities [images, classes] of two classes or more", path);
    if (first && (t->dims[0] != first->dims[0] || t->dims[1] != first->dims[1]))
        return rt_fail(SMKD_R_MISMATCH, "%s: is [%lld, %lld], and %s is [%lld, %lld]", path, (long long)t->dims[0],
                       (long long)t->dims[1], first_path, (long long)first->dims[0], (long long)first->dims[1]);
    return rt_tensor_convert(t, RT_F64, path, "probability");
}

static enum smkd_result add_rows(struct detect *d, const struct rt_tensor *t, int n) {
    const size_t classes = (size_t)d->classes, numbers = (size_t)n * classes;
    double *p = xcalloc(2 * numbers, sizeof *p), *log_p = p + numbers;
    enum smkd_result r = rt_evidence_init(&d->evidence, d->images, d->classes, n);
    for (size_t i = 0; i < d->images && r == SMKD_R_OK; i++) {
        for (size_t j = 0; j < numbers; j++) {
            p[j] = ((const double *)t[j / classes].data)[i * classes + j % classes];
            log_p[j] = log(p[j]);
        }
        r = rt_evidence_add(&d->evidence, i, d->given[i], p, log_p);
    }
    free(p);
    return r;
}

static enum smkd_result from_files(struct detect *d) {
    const struct args *a = d->args;
    const size_t n = args_count(a, "probs");
    if (a->n_pos || args_given(a, "peer") || args_given(a, "network") || args_given(a, "data") ||
        args_given(a, "noise") || d->folds)
        return rt_fail(SMKD_R_INVALID,
                       "--probs takes the place of networks and data: give it with --labels, without a run, --peer, "
                       "--network, --data, --noise or --cross-validate");
    if (!args_given(a, "labels")) return rt_fail(SMKD_R_INVALID, "--probs needs --labels FILE, the given labels");
    if (n > METHOD_MAX_PEERS) return rt_fail(SMKD_R_INVALID, "--probs: at most %d files", METHOD_MAX_PEERS);
    struct rt_tensor t[METHOD_MAX_PEERS];
    memset(t, 0, sizeof t);
    enum smkd_result r = SMKD_R_OK;
    for (size_t k = 0; k < n && r == SMKD_R_OK; k++)
        r = read_probs(args_nth(a, "probs", k), &t[k], k ? &t[0] : NULL, args_nth(a, "probs", 0));
    if (r == SMKD_R_OK) {
        d->name = args_nth(a, "probs", 0);
        d->images = (size_t)t[0].dims[0];
        d->classes = (int)t[0].dims[1];
        int32_t *given = d->owned[0] = xcalloc(d->images, sizeof *given);
        d->given = given;
        r = rt_labels_read(args_str(a, "labels"), d->images, d->images, d->classes, given);
    }
    if (r == SMKD_R_OK) r = add_rows(d, t, (int)n);
    for (size_t k = 0; k < n; k++) rt_tensor_release(&t[k]);
    return r;
}

// --- the command -----------------------------------------------------------------------------------------------------

static enum smkd_result read_truth(struct detect *d) {
    const char *path = args_str(d->args, "truth");
    enum smkd_result r = SMKD_R_OK;
    if (path) {
        const size_t total = d->net.n ? d->data.set.train_total : d->images;
        const int classes = d->net.n && d->data.set.max_classes > d->classes ? d->data.set.max_classes : d->classes;
        int32_t *truth = d->owned[1] = xcalloc(d->images, sizeof *truth);
        r = rt_labels_read(path, total, d->images, classes, truth);
        d->truth = truth;
    }
    if (r == SMKD_R_OK && args_given(d->args, "curve") && !d->truth)
        r = rt_fail(SMKD_R_INVALID,
                    "--curve needs true labels, and these are not known: the run has neither --noise nor --labels; "
                    "give --truth FILE");
    return r;
}

static enum smkd_result detect(struct detect *d) {
    const bool files = args_given(d->args, "probs");
    enum smkd_result r = detect_can_write(d->args);
    if (r == SMKD_R_OK) r = files ? from_files(d) : load_networks(d);
    if (r == SMKD_R_OK) r = read_truth(d);
    if (r == SMKD_R_OK && !files) r = ask(d);
    if (r != SMKD_R_OK) return r;
    rt_evidence_finish(&d->evidence);
    r = d->by->judge(&d->evidence, &d->options, &d->verdict);
    if (r != SMKD_R_OK) return r;
    if (d->truth) rt_finding_of(&d->evidence, &d->verdict, d->truth, &d->finding);
    r = detect_write(d);
    if (r == SMKD_R_OK) detect_print(d);
    return r;
}

static bool criterion(const struct args *a, struct detect *d) {
    const char *names[16];
    size_t n = 0, which = 0;
    for (const struct rt_criterion *c = rt_criteria; c->name; c++) names[n++] = c->name;
    names[n] = NULL;
    if (!args_choice(a, "by", names, &which)) return false;
    d->by = &rt_criteria[which];
    return true;
}

// Numbers that the criterion does not look at are slips.
static bool belongs(const struct args *a, const struct rt_criterion *by) {
    static const struct {
        const char *flag, *criteria;
    } rows[] = {{"threshold", "agreement, loss, entropy, vote"}, {"otsu", "agreement, loss, entropy, vote"},
                {"histogram", "agreement, loss, entropy"},       {"posterior", "gmm, vote"},
                {"filter", "confident-learning, vote"},          {"votes", "vote"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!args_given(a, rows[i].flag) || strstr(rows[i].criteria, by->name)) continue;
        args_fail(a->cmd, "--%s says nothing to --by %s; it belongs to %s", rows[i].flag, by->name, rows[i].criteria);
        return false;
    }
    if (!args_given(a, "share") || by->ranked) return true;
    args_fail(a->cmd, "--share says nothing to --by %s, whose verdict does not follow its score", by->name);
    return false;
}

static int run(const struct args *a) {
    struct detect d = {.args = a, .options = {.share = NAN}};
    size_t cut = 0, otsu = 0, filter = 0;
    int64_t votes = 0;
    if (!run_networks_args(a) || !criterion(a, &d) || !belongs(a, d.by) || !detect_apply_args(a, d.by) ||
        !args_choice(a, "threshold", rt_cut_words, &cut) || !args_choice(a, "otsu", rt_otsu_words, &otsu) ||
        !args_choice(a, "filter", rt_filter_words, &filter) || !args_i64(a, "votes", 1, 5, &votes) ||
        !args_f64(a, "share", 0, 1, &d.options.share) || !args_f64(a, "posterior", 0, 1, &d.options.posterior) ||
        !args_i64(a, "cross-validate", 2, 1000, &d.folds))
        return EXIT_USAGE;
    if (args_given(a, "share") && args_given(a, "threshold"))
        return args_fail(a->cmd, "--share and --threshold are two ways to say the same: give one of them");
    d.options.cut = (enum rt_cut)cut;
    d.options.otsu = (enum rt_otsu_kind)otsu;
    d.options.filter = (enum rt_filter)filter;
    d.options.votes = (int)votes;
    enum smkd_result r = detect(&d);
    rt_verdict_release(&d.verdict);
    rt_evidence_release(&d.evidence);
    rt_train_data_release(&d.data);
    run_networks_release(&d.net);
    for (int i = 0; i < 2; i++) free(d.owned[i]);
    free(d.keep);
    return r == SMKD_R_OK ? EXIT_DONE : run_failed("detect-noise");
}

// The criteria are rows, and so is what --help says of them.
static void add_doc(struct str *doc) {
    str_add(
        doc,
        "Which training labels are likely to be wrong, by what trained networks (a run folder's, or artifacts) say of "
        "the images. The\n"
        "labels of a run are those that it was trained on (RUN/labels.npy). Criteria:\n");
    for (const struct rt_criterion *c = rt_criteria; c->name; c++) str_addf(doc, "  %-20s %s\n", c->name, c->doc);
    str_add(doc, "The larger a score, the more suspicious. Where the true labels are known, precision, recall and F1 "
                 "of what was found are told.\n"
                 "An artifact is a program, which this runs: give only what you compiled. Everything else is data.");
}

int run_detect(int argc, char **argv) {
    static struct args_opt opts[N_OWN + N_DATA + 1];
    struct str doc = STR_INIT;
    options(opts);
    add_doc(&doc);
    const struct args_cmd cmd = {
        "smkd-run detect-noise", "[RUN | A.smkd [B.smkd ...]]", 0, METHOD_MAX_PEERS, doc.s, opts};
    const int code = args_command_main(&cmd, run, argc, argv);
    str_release(&doc);
    return code;
}
