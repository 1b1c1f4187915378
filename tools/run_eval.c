// smkd-run eval: accuracy of trained networks and of their ensemble on the test images.
#include "../runtime/report.h"
#include "../runtime/transform_flags.h"
#include "loss_program.h"
#include "run_train.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PEERS METHOD_MAX_PEERS

static const struct args_opt opts[] = {
    {"peer", 0, "A.smkd", NULL, "an artifact to evaluate, with its own weights", ARGS_REPEAT},
    {"artifact", 0, "A.smkd", NULL,
     "a run folder's artifacts, in order, where they are no longer where the run found them", ARGS_REPEAT},
    {"weights", 0, "FILE", NULL,
     "safetensors for a single artifact: names as in the ONNX file, or a checkpoint's peer 0", 0},
    {"weights-prefix", 0, "PREFIX", NULL, "what that file has in front of the model's names, such as module.", 0},
    {"logits", 0, "NAME", NULL, "the output to look at, where a model has several (default: the run folder's)", 0},
    {"checkpoint", 0, "WHICH", "last", "of a run folder: best or last", 0},
    {"ema", 0, NULL, NULL, "of a run folder: the averages of --model-ema", 0},
    {"data", 0, "DATA", NULL, "data set (default: the run folder's)", 0},
    {"test-limit", 0, "N", "0", "the first N test images only (0: all, or as the run folder says)", 0},
    {"mean", 0, "M,..", NULL, "mean of each channel (default: the run folder's or the data set's)", 0},
    {"std", 0, "S,..", NULL, "standard deviation of each channel", 0},
    {"batch-size", 0, "N", "128", "images at once", 0},
    {"threads", 0, "N", "0", "threads (0: all cores)", 0},
    {"workers", 'j', "N", "0", "threads that decode images (0: all cores)", 0},
    {"label-column", 0, "NAME", NULL, "column of a table that has the labels (default: the run folder's)", 0},
    {"image-root", 0, "DIR", NULL, "what the paths of a list are below (default: the run folder's)", 0},
    {"test-split", 0, "PART", NULL, "val or test, where the data have both (default: the run folder's)", 0},
    {"layout", 0, "ORDER", NULL, "how arrays hold images: nchw or nhwc (default: the run folder's)", 0},
    {"strict-data", 0, NULL, NULL, "fail at the first image that cannot be decoded, instead of leaving it out", 0},
    {"regression", 0, NULL, NULL,
     "networks have learnt numbers: mean squared and absolute error, R2 (a run folder knows)", 0},
    {"per-class", 0, NULL, NULL, "precision, recall and F1 of each class", 0},
    {"confusion", 0, "FILE.csv", NULL, "images of each class by predicted class, as CSV, or - for a table", 0},
    {"json", 0, NULL, NULL, "print all of this as JSON", 0},
    {"train-limit", 0, "N", NULL, "accepted so that train's data flags can be given again; changes nothing",
     ARGS_HIDDEN},
    {0}};
static const struct args_cmd cmd = {
    "smkd-run eval",
    "[DIR | A.smkd [B.smkd ...]]",
    0,
    MAX_PEERS,
    "Top-1 and top-5 accuracy, negative log-likelihood (nats), expected calibration error (10 bins), area under the "
    "risk-coverage\n"
    "curve (mean error rate of the k most confident images, over all k) and F1 (mean over the classes) of each peer "
    "and of their\n"
    "ensemble (mean of the probabilities) on the test images. Equal scores: the lower class comes first.\n"
    "An artifact is a program, which this runs: give only what you compiled. Everything else is data.",
    opts};

struct eval {
    struct rt_peer peers[MAX_PEERS];
    const char *paths[MAX_PEERS];
    int n;
    struct run_saved saved;
    const char *dir; // run folder, or NULL
    struct rt_dataset set;
    smkd_team *team;
    struct rt_loader *loader;
    struct rt_transform transform;
    struct rt_pipeline pipeline; // which the transform may use
    struct rt_report *reports;   // of the peers, of the ensemble, and of what the method says beside
    smkd_model *predicts;        // the program for that; NULL: the method has none
    struct rt_predictor predictor;
    struct rt_class_names names;
    struct rt_error errors[MAX_PEERS + 1]; // likewise, of numbers
    bool numbers;
    int64_t workers;
};

static const char *logits_of(const struct eval *e, const struct args *a) {
    return args_given(a, "logits") ? args_str(a, "logits") : e->dir ? e->saved.config.logits : NULL;
}

static enum smkd_result collect(struct eval *e, const struct args *a, bool best) {
    const char *pos = a->n_pos == 1 ? a->pos[0] : NULL;
    enum smkd_result r = SMKD_R_OK;
    if (pos && run_is_folder(pos)) {
        e->dir = pos;
        if ((r = run_saved_read(&e->saved, pos)) != SMKD_R_OK) return r;
        for (; e->n < e->saved.n_peers; e->n++) { // --artifact, or --peer, replaces what has moved
            const char *given = args_nth(a, args_given(a, "artifact") ? "artifact" : "peer", (size_t)e->n);
            if ((r = run_saved_load(&e->saved, pos, e->n, given, logits_of(e, a), &e->peers[e->n])) != SMKD_R_OK)
                return r;
            e->paths[e->n] = e->peers[e->n].path;
        }
    } else {
        for (size_t i = 0; i < a->n_pos; i++) e->paths[e->n++] = a->pos[i];
        for (size_t i = 0; i < args_count(a, "peer"); i++) {
            if (e->n == MAX_PEERS) return rt_fail(SMKD_R_INVALID, "at most %d peers", MAX_PEERS);
            e->paths[e->n++] = args_nth(a, "peer", i);
        }
    }
    if (!e->dir && args_given(a, "ema")) return rt_fail(SMKD_R_INVALID, "--ema goes with a run folder");
    if (!e->dir && args_given(a, "artifact"))
        return rt_fail(SMKD_R_INVALID, "--artifact goes with a run folder; give artifacts by their names alone");
    if (e->n == 0)
        return rt_fail(SMKD_R_INVALID, "nothing to evaluate: give a run folder, an artifact or --peer A.smkd");
    e->numbers = e->dir ? e->saved.config.row->family->regression : args_given(a, "regression");
    if (e->numbers && (args_given(a, "per-class") || args_given(a, "confusion")))
        return rt_fail(SMKD_R_INVALID,
                       "--per-class and --confusion are about classes; these networks have learnt numbers");
    const struct rt_peer_want want = {.logits = logits_of(e, a), .numbers = e->numbers};
    for (int k = 0; k < e->n; k++) {
        if (!e->peers[k].model && (r = rt_peer_load(&e->peers[k], e->paths[k], &want)) != SMKD_R_OK) return r;
        if (k && (r = rt_peers_agree(&e->peers[0], &e->peers[k])) != SMKD_R_OK) return r;
    }
    struct rt_progress_state state = {0};
    char *path = e->dir ? rt_path_join(e->dir, best ? "best.safetensors" : "last.safetensors") : NULL;
    for (int k = 0; k < e->n && path && r == SMKD_R_OK; k++)
        r = run_read_peer(path, args_given(a, "ema"), k, e->peers[k].model, &state);
    if (path && r == SMKD_R_OK && state.unchecked) run_note_unchecked(path);
    free(path);
    if (r != SMKD_R_OK) return r;
    const char *weights = args_str(a, "weights"), *prefix = args_str(a, "weights-prefix");
    if (prefix && !weights) return rt_fail(SMKD_R_INVALID, "--weights-prefix goes with --weights FILE");
    if (!weights) return SMKD_R_OK;
    if (e->n != 1) return rt_fail(SMKD_R_INVALID, "--weights goes with a single artifact");
    bool unchecked;
    r = rt_load_weights(e->peers[0].model, weights, prefix, &unchecked);
    if (r == SMKD_R_OK && unchecked) run_note_unchecked(weights);
    if (r == SMKD_R_OK || prefix) return r;
    // A checkpoint of a pair names its tensors "peer.0.NAME". Where it is none, what was wrong at first is said.
    struct str first = STR_INIT;
    str_add(&first, smkd_last_error());
    if (rt_load_weights(e->peers[0].model, weights, "peer.0.", &unchecked) == SMKD_R_OK) {
        r = SMKD_R_OK;
        if (unchecked) run_note_unchecked(weights);
    } else {
        rt_fail(r, "%s", first.s);
    }
    str_release(&first);
    return r;
}

static void warn(void *env, const char *line) {
    (void)env;
    fprintf(stderr, "warning: %s; it is left out\n", line);
}

// A folder or list without a test part is looked at as a whole.
static void choose_part(struct eval *e) {
    for (int i = 0; i < e->set.n_notes; i++) fprintf(stderr, "note: %s\n", e->set.notes[i]);
    if (e->set.test.n || !e->set.train.n) return;
    const struct rt_images swap = e->set.test;
    e->set.test = e->set.train;
    e->set.train = swap;
    fprintf(stderr, "note: %s has no validation or test part: all of its images are looked at\n", e->set.name);
}

static struct rt_class_names names_of(const struct rt_preparation *known, const struct rt_dataset *set) {
    if (known->n_class_names)
        return (struct rt_class_names){(const char *const *)known->class_names, known->n_class_names};
    return (struct rt_class_names){(const char *const *)set->class_names, set->class_names ? set->classes : 0};
}

// What an exported network says of resizing becomes the flags that would do it; false where nothing is to be done.
static bool take_over(struct rt_config *flags, const struct rt_preparation *known, const struct rt_images *im) {
    const int shorter = im->height < im->width ? im->height : im->width;
    if (known->resize < 0 || im->values || (!im->paths && known->resize == shorter)) return false;
    flags->augmentation.val_resize_size = known->resize;
    free(flags->augmentation.interpolation);
    flags->augmentation.interpolation = xstrdup(rt_interpolations[known->how >= 0 ? known->how : RT_BILINEAR]);
    return true;
}

static int all(const struct eval *e) { return e->n + 1 + e->predictor.n; }

static enum smkd_result prepare(struct eval *e, const struct args *a, int64_t limit, int64_t batch, int64_t threads) {
    const char *data = args_given(a, "data") ? args_str(a, "data") : e->dir ? e->saved.config.data : NULL;
    if (!data) return rt_fail(SMKD_R_INVALID, "--data is missing");
    if (e->dir && !args_given(a, "test-limit")) limit = e->saved.config.test_limit;
    const struct rt_peer *p = &e->peers[0];
    if (!e->dir) { // an exported network knows some of what a run folder says
        rt_config_init(&e->saved.config, method_find("smkd-p"));
        rt_preparation_init(&e->saved.preparation);
        enum smkd_result of = rt_preparation_of_artifact(&e->saved.preparation, p->model, p->path);
        if (of != SMKD_R_OK) return of;
    }
    struct rt_config *flags = &e->saved.config; // of a run folder; else all defaults
    const struct rt_preparation *known = &e->saved.preparation;
    bool as_trained = e->dir && rt_transform_flags_given(flags);
    const bool any_size = as_trained || (!e->dir && known->resize > 0);
    const struct rt_data_want want = {
        .classes = p->classes,
        .regression = e->numbers,
        .rows = !p->image,
        .channels = p->channels,
        .height = any_size ? 0 : p->height,
        .width = p->width,
        .test_limit = (size_t)limit,
        .label_column = args_given(a, "label-column") ? args_str(a, "label-column") : flags->label_column,
        .image_root = args_given(a, "image-root") ? args_str(a, "image-root") : flags->image_root,
        .test_split = args_given(a, "test-split") ? args_str(a, "test-split") : flags->test_split,
        .layout = args_given(a, "layout") ? args_str(a, "layout") : flags->layout,
        .class_names = known->class_names,
        .n_class_names = known->n_class_names,
        .upright = flags->exif_orientation};
    enum smkd_result r = rt_dataset_load_for(data, &want, &e->set);
    if (r != SMKD_R_OK) return r;
    choose_part(e);
    float *mean = e->set.mean, *std = e->set.std;
    int ch = e->set.test.channels;
    e->names = names_of(known, &e->set);
    // Of a run folder, or of an exported network, what it was trained with; else the data set's.
    for (int c = 0; c < ch && (known->channels == ch || known->channels == 1); c++) {
        mean[c] = known->mean[known->channels == ch ? c : 0];
        std[c] = known->std[known->channels == ch ? c : 0];
    }
    if (args_given(a, "mean") && (r = rt_parse_channels("mean", args_str(a, "mean"), ch, mean)) != SMKD_R_OK) return r;
    if (args_given(a, "std") && (r = rt_parse_channels("std", args_str(a, "std"), ch, std)) != SMKD_R_OK) return r;
    if (!e->dir) as_trained = take_over(flags, known, &e->set.test);
    const struct rt_input in = {p->channels, p->height, p->width, p->channels_last};
    if (as_trained || e->set.test.paths) {
        unsigned augment = 0;
        if (e->dir) r = rt_augment_parse(flags->augment, &augment);
        if (r == SMKD_R_OK)
            r = rt_transform_from_flags(&e->transform, &e->pipeline, flags, augment, &e->set.test, &in, mean, std);
    } else {
        r = rt_transform_init(&e->transform, &e->set.test, in.channels, in.height, in.width, 0, mean, std);
        e->transform.channels_last = in.channels_last;
    }
    if (r != SMKD_R_OK) return r;
    if (!(e->team = smkd_team_new((int)threads))) return SMKD_R_NOMEM;
    for (int k = 0; k < e->n; k++) {
        // The default batch must fit artifacts made for a smaller one.
        int64_t most = (int64_t)smkd_model_info(e->peers[k].model)->max_batch;
        if (!args_given(a, "batch-size") && batch > most) batch = most;
    }
    for (int k = 0; k < e->n; k++)
        if ((r = rt_peer_start(&e->peers[k], e->team, (size_t)batch)) != SMKD_R_OK) return r;
    struct rt_loader_config lc = {.images = &e->set.test,
                                  .n = e->set.test.n,
                                  .transform = &e->transform,
                                  .batch = (size_t)batch,
                                  .workers = (int)e->workers,
                                  .strict = args_given(a, "strict-data"),
                                  .warn = warn};
    e->loader = rt_loader_new(&lc);
    size_t n_taps;
    struct loss_tap *taps = loss_taps(e->peers, e->n, &n_taps);
    const struct loss_request of = {.name = e->saved.config.method,
                                    .method = e->saved.config.row,
                                    .values = e->saved.config.values,
                                    .peers = e->n,
                                    .classes = p->classes,
                                    .taps = taps,
                                    .n_taps = n_taps,
                                    .max_batch = batch};
    if (e->dir && loss_predictor(&of, &e->predicts) != SMKD_R_OK)
        fprintf(stderr, "note: only the networks themselves are scored: %s\n", smkd_last_error());
    free(taps);
    if (e->predicts && (r = rt_predictor_start(&e->predictor, e->predicts, e->peers, e->n, e->team)) != SMKD_R_OK)
        return r;
    e->reports = xcalloc((size_t)all(e), sizeof *e->reports);
    for (int k = 0; k < all(e) && !e->numbers; k++) rt_report_init(&e->reports[k], p->classes, e->set.test.n);
    return e->loader ? SMKD_R_OK : SMKD_R_NOMEM;
}

static void print_json(const struct eval *e) {
    cJSON *root = cJSON_CreateObject(), *peers = cJSON_CreateArray();
    cJSON_AddStringToObject(root, "data", e->set.name);
    cJSON_AddNumberToObject(root, "images", (double)e->reports[0].n); // without those that cannot be decoded
    for (int k = 0; k < e->n; k++) {
        cJSON *o = rt_report_json(&e->reports[k], &e->names);
        cJSON_AddStringToObject(o, "artifact", e->paths[k]);
        for (int i = 0; i < e->predictor.n; i++)
            if (e->predictor.said[i].peer == k)
                cJSON_AddItemToObject(o, e->predictor.said[i].name,
                                      rt_report_json(&e->reports[e->n + 1 + i], &e->names));
        cJSON_AddItemToArray(peers, o);
    }
    cJSON_AddItemToObject(root, "peers", peers);
    cJSON_AddItemToObject(root, "ensemble", rt_report_json(&e->reports[e->n], &e->names));
    char *text = cJSON_Print(root);
    puts(text ? text : "{}");
    cJSON_free(text);
    cJSON_Delete(root);
}

// Which reports are printed: an ensemble of one network is that network, unless the method says otherwise.
static int reported(const struct eval *e) { return e->predictor.n ? all(e) : e->n > 1 ? e->n + 1 : 1; }

static const char *network(const struct eval *e, int k) {
    static char name[80];
    const struct rt_said *s = k > e->n ? &e->predictor.said[k - e->n - 1] : NULL;
    if (s)
        snprintf(name, sizeof name, "%s %d", s->name, s->peer);
    else
        snprintf(name, sizeof name, "peer %d", k);
    return k == e->n ? "ensemble" : name;
}

static void print_scores(const struct eval *e) {
    printf("%zu test images of %s\n%-10s %8s %8s %8s %8s %8s %8s %8s\n", e->reports[0].n, printable(e->set.name), "",
           "top-1 %", "top-5 %", "nll", "ece %", "aurc", "e-aurc", "F1 %");
    for (int k = 0; k < reported(e); k++) {
        const struct rt_report *r = &e->reports[k];
        printf("%-10s %8.2f %8.2f %8.4f %8.2f %8.2f %8.2f %8.2f\n", network(e, k), rt_score_top1(&r->score),
               rt_score_top5(&r->score), rt_score_nll(&r->score), rt_score_ece(&r->score), r->aurc, r->eaurc,
               r->macro_f1);
    }
}

// A table for each network.
static void print_each(const struct eval *e,
                       void (*add)(const struct rt_report *r, const struct rt_class_names *names, struct str *out)) {
    struct str s = STR_INIT;
    for (int k = 0; k < reported(e); k++) {
        str_clear(&s);
        add(&e->reports[k], &e->names, &s);
        printf("\n%s\n%s", network(e, k), s.s);
    }
    str_release(&s);
}

static enum smkd_result write_confusion(const struct eval *e, const char *path) {
    struct str s = STR_INIT;
    rt_report_csv_head(&e->reports[0], &e->names, &s);
    for (int k = 0; k < reported(e); k++) rt_report_csv(&e->reports[k], &e->names, network(e, k), &s);
    enum smkd_result r = SMKD_R_OK;
    if (io_write_file(path, s.s, s.len) != SMKD_OK)
        r = rt_fail(SMKD_R_IO, "%s: cannot be written: %s", path, strerror(errno));
    str_release(&s);
    return r;
}

static enum smkd_result print(const struct eval *e, const struct args *a) {
    const char *confusion = args_str(a, "confusion");
    const bool to_file = confusion && strcmp(confusion, "-") != 0;
    const uint64_t side = (uint64_t)e->reports[0].classes;
    if (confusion && !budget_allows(side * side * 4 * (uint64_t)reported(e)))
        return rt_fail(SMKD_R_NOMEM, "--confusion: a matrix of %llu classes: %s", (unsigned long long)side,
                       budget_why());
    if (args_given(a, "json"))
        print_json(e);
    else
        print_scores(e);
    if (args_given(a, "per-class") && !args_given(a, "json")) print_each(e, rt_report_per_class);
    if (confusion && !to_file) print_each(e, rt_report_confusion);
    return to_file ? write_confusion(e, confusion) : SMKD_R_OK;
}

static enum smkd_result evaluate(struct eval *e) {
    double *scratch = xcalloc(2 * (size_t)e->peers[0].classes, sizeof *scratch);
    enum smkd_result r =
        e->numbers ? rt_evaluate_numbers(e->peers, e->n, e->loader, scratch, e->errors)
                   : rt_report_run(e->peers, e->n, e->predicts ? &e->predictor : NULL, e->loader, scratch, e->reports);
    free(scratch);
    return r;
}

static cJSON *error_json(const struct rt_error *x) {
    cJSON *o = cJSON_CreateObject();
    const double r2 = rt_error_r2(x);
    cJSON_AddNumberToObject(o, "mse", rt_error_mse(x));
    cJSON_AddNumberToObject(o, "mae", rt_error_mae(x));
    cJSON_AddItemToObject(o, "r2", isnan(r2) ? cJSON_CreateNull() : cJSON_CreateNumber(r2));
    return o;
}

static void print_numbers(const struct eval *e, bool json) {
    const unsigned long long samples = (unsigned long long)(e->errors[0].n / (uint64_t)e->errors[0].columns);
    if (!json)
        printf("%llu test samples of %s\n%-10s %12s %12s %9s\n", samples, printable(e->set.name), "", "mse", "mae",
               "R2");
    for (int k = 0; k < reported(e) && !json; k++)
        printf("%-10s %12.6g %12.6g %9.4f\n", network(e, k), rt_error_mse(&e->errors[k]), rt_error_mae(&e->errors[k]),
               rt_error_r2(&e->errors[k]));
    if (!json) return;
    cJSON *root = cJSON_CreateObject(), *peers = cJSON_CreateArray();
    cJSON_AddStringToObject(root, "data", e->set.name);
    cJSON_AddNumberToObject(root, "samples", (double)samples);
    for (int k = 0; k < e->n; k++) {
        cJSON *o = error_json(&e->errors[k]);
        cJSON_AddStringToObject(o, "artifact", e->paths[k]);
        cJSON_AddItemToArray(peers, o);
    }
    cJSON_AddItemToObject(root, "peers", peers);
    cJSON_AddItemToObject(root, "ensemble", error_json(&e->errors[e->n]));
    char *text = cJSON_Print(root);
    puts(text ? text : "{}");
    cJSON_free(text);
    cJSON_Delete(root);
}

static int run(const struct args *a) {
    static const char *const which[] = {"best", "last", NULL};
    size_t checkpoint = 0;
    int64_t limit = 0, batch = 128, threads = 0;
    if (!args_choice(a, "checkpoint", which, &checkpoint) || !args_i64(a, "test-limit", 0, INT64_MAX, &limit) ||
        !args_i64(a, "batch-size", 1, 1 << 20, &batch) || !args_i64(a, "threads", 0, 4096, &threads))
        return EXIT_USAGE;
    if (args_given(a, "json") && args_given(a, "confusion") && strcmp(args_str(a, "confusion"), "-") == 0)
        return args_fail(a->cmd, "--confusion - prints a table; --json has the matrix in it");
    struct eval e = {0};
    if (!args_i64(a, "workers", 0, 1024, &e.workers)) return EXIT_USAGE;
    enum smkd_result r = collect(&e, a, checkpoint == 0);
    if (r == SMKD_R_OK) r = prepare(&e, a, limit, batch, threads);
    if (r == SMKD_R_OK) r = evaluate(&e);
    for (int k = 0; k < e.n && r == SMKD_R_OK; k++) run_note_mixing(&e.peers[k]);
    if (r == SMKD_R_OK && e.numbers) print_numbers(&e, args_given(a, "json"));
    if (r == SMKD_R_OK && !e.numbers) r = print(&e, a);
    rt_loader_free(e.loader);
    for (int k = 0; k < all(&e) && e.reports; k++) rt_report_release(&e.reports[k]);
    free(e.reports);
    rt_predictor_release(&e.predictor);
    smkd_model_free(e.predicts);
    for (int k = 0; k < e.n; k++) rt_peer_release(&e.peers[k]);
    smkd_team_free(e.team);
    rt_dataset_release(&e.set);
    run_saved_release(&e.saved);
    for (int k = 0; k <= e.n; k++) rt_error_release(&e.errors[k]);
    return r == SMKD_R_OK ? EXIT_DONE : run_failed("eval");
}

int run_eval(int argc, char **argv) { return args_command_main(&cmd, run, argc, argv); }
