// smkd-run eval: accuracy of trained networks and of their ensemble on the test images.
#include "../runtime/checkpoint.h"
#include "../runtime/report.h"
#include "../runtime/table.h"
#include "../runtime/transform_flags.h"
#include "loss_program.h"
#include "run_networks.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PEERS METHOD_MAX_PEERS

static const struct args_opt opts[] = {
    RUN_NETWORKS_OPTS("evaluate"),
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
    struct run_networks net;
    struct rt_dataset set;
    smkd_team *team;
    struct rt_loader *loader;
    struct rt_transform transform;
    struct rt_pipeline pipeline; // which the transform may use
    struct rt_report *reports;   // of the peers, of the ensemble, and of what the method says beside
    smkd_model *predicts;        // the program for that; NULL: the method has none
    struct rt_predictor predictor;
    struct rt_tables states; // that it predicts by
    struct rt_class_names names;
    struct rt_error errors[MAX_PEERS + 1]; // likewise, of numbers
    bool numbers;
    int64_t workers;
};

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

static int all(const struct eval *e) { return e->net.n + 1 + e->predictor.n; }

static enum smkd_result check_numbers(struct eval *e, const struct args *a) {
    e->numbers = e->net.numbers;
    if (!e->numbers || (!args_given(a, "per-class") && !args_given(a, "confusion"))) return SMKD_R_OK;
    return rt_fail(SMKD_R_INVALID, "--per-class and --confusion are about classes; these networks have learnt numbers");
}

// What the method has trained itself and predicts by, as the networks' checkpoint has it.
static enum smkd_result read_states(struct eval *e, const struct args *a, size_t batch) {
    struct rt_kept kept = {0};
    bool unchecked;
    enum smkd_result r = rt_tables_start(&e->states, &e->predictor.program, e->net.saved.config.row, NULL, 0, batch, 0);
    if (r != SMKD_R_OK || !e->states.n) return r;
    rt_tables_keep(&e->states, &kept);
    char *path = run_networks_checkpoint(&e->net, a);
    r = rt_checkpoint_read(path, &kept, &unchecked);
    free(path);
    rt_kept_release(&kept);
    return r;
}

static enum smkd_result prepare(struct eval *e, const struct args *a, int64_t limit, int64_t batch, int64_t threads) {
    const char *data = args_given(a, "data") ? args_str(a, "data") : e->net.dir ? e->net.saved.config.data : NULL;
    if (!data) return rt_fail(SMKD_R_INVALID, "--data is missing");
    if (e->net.dir && !args_given(a, "test-limit")) limit = e->net.saved.config.test_limit;
    const struct rt_peer *p = &e->net.peers[0];
    struct rt_config *flags = &e->net.saved.config; // of a run folder; else all defaults
    const struct rt_preparation *known = &e->net.saved.preparation;
    bool as_trained = e->net.dir && rt_transform_flags_given(flags);
    const bool any_size = as_trained || (!e->net.dir && known->resize > 0);
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
    e->names = run_networks_names(&e->net, &e->set);
    // Of a run folder, or of an exported network, what it was trained with; else the data set's.
    for (int c = 0; c < ch && (known->channels == ch || known->channels == 1); c++) {
        mean[c] = known->mean[known->channels == ch ? c : 0];
        std[c] = known->std[known->channels == ch ? c : 0];
    }
    if (args_given(a, "mean") && (r = rt_parse_channels("mean", args_str(a, "mean"), ch, mean)) != SMKD_R_OK) return r;
    if (args_given(a, "std") && (r = rt_parse_channels("std", args_str(a, "std"), ch, std)) != SMKD_R_OK) return r;
    if (!e->net.dir) as_trained = run_networks_take_over(&e->net, &e->set.test);
    const struct rt_input in = {p->channels, p->height, p->width, p->channels_last};
    if (as_trained || e->set.test.paths) {
        unsigned augment = 0;
        if (e->net.dir) r = rt_augment_parse(flags->augment, &augment);
        if (r == SMKD_R_OK)
            r = rt_transform_from_flags(&e->transform, &e->pipeline, flags, augment, &e->set.test, &in, mean, std);
    } else {
        r = rt_transform_init(&e->transform, &e->set.test, in.channels, in.height, in.width, 0, mean, std);
        e->transform.channels_last = in.channels_last;
    }
    if (r != SMKD_R_OK) return r;
    if (!(e->team = smkd_team_new((int)threads))) return SMKD_R_NOMEM;
    // The default batch must fit artifacts made for a smaller one.
    if (!args_given(a, "batch-size")) batch = run_networks_batch(&e->net, batch);
    for (int k = 0; k < e->net.n; k++)
        if ((r = rt_peer_start(&e->net.peers[k], e->team, (size_t)batch, 1)) != SMKD_R_OK) return r;
    struct rt_loader_config lc = {.images = &e->set.test,
                                  .n = e->set.test.n,
                                  .transform = &e->transform,
                                  .batch = (size_t)batch,
                                  .workers = (int)e->workers,
                                  .strict = args_given(a, "strict-data"),
                                  .warn = warn};
    e->loader = rt_loader_new(&lc);
    size_t n_taps;
    struct loss_tap *taps = loss_taps(e->net.peers, e->net.n, NULL, 0, &n_taps);
    const struct loss_request of = {.name = e->net.saved.config.method,
                                    .method = e->net.saved.config.row,
                                    .values = e->net.saved.config.values,
                                    .peers = e->net.n,
                                    .classes = p->classes,
                                    .taps = taps,
                                    .n_taps = n_taps,
                                    .max_batch = batch};
    if (e->net.dir && loss_predictor(&of, &e->predicts) != SMKD_R_OK)
        fprintf(stderr, "note: only the networks themselves are scored: %s\n", smkd_last_error());
    free(taps);
    if (e->predicts &&
        (r = rt_predictor_start(&e->predictor, e->predicts, e->net.peers, e->net.n, e->team)) != SMKD_R_OK)
        return r;
    if (e->predicts && (r = read_states(e, a, (size_t)batch)) != SMKD_R_OK) return r;
    e->reports = xcalloc((size_t)all(e), sizeof *e->reports);
    for (int k = 0; k < all(e) && !e->numbers; k++) rt_report_init(&e->reports[k], p->classes, e->set.test.n);
    return e->loader ? SMKD_R_OK : SMKD_R_NOMEM;
}

static void print_json(const struct eval *e) {
    cJSON *root = cJSON_CreateObject(), *peers = cJSON_CreateArray();
    cJSON_AddStringToObject(root, "data", e->set.name);
    cJSON_AddNumberToObject(root, "images", (double)e->reports[0].n); // without those that cannot be decoded
    for (int k = 0; k < e->net.n; k++) {
        cJSON *o = rt_report_json(&e->reports[k], &e->names);
        cJSON_AddStringToObject(o, "artifact", e->net.paths[k]);
        for (int i = 0; i < e->predictor.n; i++)
            if (e->predictor.said[i].peer == k)
                cJSON_AddItemToObject(o, e->predictor.said[i].name,
                                      rt_report_json(&e->reports[e->net.n + 1 + i], &e->names));
        cJSON_AddItemToArray(peers, o);
    }
    cJSON_AddItemToObject(root, "peers", peers);
    cJSON_AddItemToObject(root, "ensemble", rt_report_json(&e->reports[e->net.n], &e->names));
    char *text = cJSON_Print(root);
    puts(text ? text : "{}");
    cJSON_free(text);
    cJSON_Delete(root);
}

// Which reports are printed: an ensemble of one network is that network, unless the method says otherwise.
static int reported(const struct eval *e) { return e->predictor.n ? all(e) : e->net.n > 1 ? e->net.n + 1 : 1; }

static const char *network(const struct eval *e, int k) {
    static char name[80];
    const struct rt_said *s = k > e->net.n ? &e->predictor.said[k - e->net.n - 1] : NULL;
    if (s)
        snprintf(name, sizeof name, "%s %d", s->name, s->peer);
    else
        snprintf(name, sizeof name, "peer %d", k);
    return k == e->net.n ? "ensemble" : name;
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
    double *scratch = xcalloc(2 * (size_t)e->net.peers[0].classes, sizeof *scratch);
    enum smkd_result r = e->numbers ? rt_evaluate_numbers(e->net.peers, e->net.n, e->loader, scratch, e->errors)
                                    : rt_report_run(e->net.peers, e->net.n, e->predicts ? &e->predictor : NULL,
                                                    e->loader, scratch, e->reports);
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
    for (int k = 0; k < e->net.n; k++) {
        cJSON *o = error_json(&e->errors[k]);
        cJSON_AddStringToObject(o, "artifact", e->net.paths[k]);
        cJSON_AddItemToArray(peers, o);
    }
    cJSON_AddItemToObject(root, "peers", peers);
    cJSON_AddItemToObject(root, "ensemble", error_json(&e->errors[e->net.n]));
    char *text = cJSON_Print(root);
    puts(text ? text : "{}");
    cJSON_free(text);
    cJSON_Delete(root);
}

static int run(const struct args *a) {
    int64_t limit = 0, batch = 128, threads = 0;
    if (!run_networks_args(a) || !args_i64(a, "test-limit", 0, INT64_MAX, &limit) ||
        !args_i64(a, "batch-size", 1, 1 << 20, &batch) || !args_i64(a, "threads", 0, 4096, &threads))
        return EXIT_USAGE;
    if (args_given(a, "json") && args_given(a, "confusion") && strcmp(args_str(a, "confusion"), "-") == 0)
        return args_fail(a->cmd, "--confusion - prints a table; --json has the matrix in it");
    struct eval e = {0};
    if (!args_i64(a, "workers", 0, 1024, &e.workers)) return EXIT_USAGE;
    enum smkd_result r = run_networks_load(&e.net, a, args_given(a, "regression"));
    if (r == SMKD_R_OK) r = check_numbers(&e, a);
    if (r == SMKD_R_OK) r = prepare(&e, a, limit, batch, threads);
    if (r == SMKD_R_OK) r = evaluate(&e);
    for (int k = 0; k < e.net.n && r == SMKD_R_OK; k++) run_note_mixing(&e.net.peers[k]);
    if (r == SMKD_R_OK && e.numbers) print_numbers(&e, args_given(a, "json"));
    if (r == SMKD_R_OK && !e.numbers) r = print(&e, a);
    rt_loader_free(e.loader);
    for (int k = 0; k < all(&e) && e.reports; k++) rt_report_release(&e.reports[k]);
    free(e.reports);
    rt_predictor_release(&e.predictor);
    rt_tables_release(&e.states);
    smkd_model_free(e.predicts);
    for (int k = 0; k <= e.net.n; k++) rt_error_release(&e.errors[k]);
    run_networks_release(&e.net);
    smkd_team_free(e.team);
    rt_dataset_release(&e.set);
    return r == SMKD_R_OK ? EXIT_DONE : run_failed("eval");
}

int run_eval(int argc, char **argv) { return args_command_main(&cmd, run, argc, argv); }
