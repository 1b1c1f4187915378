// smkd-run predict: classes of image files.
#include "../runtime/image_files.h"
#include "run_train.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 32, MOST_WAITING = 256 };

static const struct args_opt opts[] = {
    {"top", 0, "N", "5", "classes to print for each file", 0},
    {"csv", 0, NULL, NULL, "print lines of CSV: file,rank,class,probability,name,error", 0},
    {"json", 0, NULL, NULL, "print JSON Lines: an object for each file", 0},
    {"null", '0', NULL, NULL, "names on standard input end in NUL, as find -print0 writes them", 0},
    {"val-resize-size", 0, "N", NULL, "the shorter edge becomes this many pixels, 0: it stays (default: see above)", 0},
    {"val-crop-size", 0, "N", "0", "then the middle is cut out (0: what the model takes)", 0},
    {"interpolation", 0, "HOW", NULL,
     "nearest, box, bilinear, hamming, bicubic or lanczos (default: see above, or bilinear)", 0},
    {"mean", 0, "M,..", NULL, "mean of each channel on a 0..1 scale (see above)", 0},
    {"std", 0, "S,..", NULL, "standard deviation of each channel", 0},
    {"logits", 0, "NAME", NULL, "the output to look at, where a model has several (default: the run folder's)", 0},
    {"checkpoint", 0, "WHICH", "last", "of a run folder: best or last", 0},
    {"ema", 0, NULL, NULL, "of a run folder: the averages of --model-ema", 0},
    {"artifact", 0, "A.smkd", NULL, "a run folder's artifacts, in order, where they have moved", ARGS_REPEAT},
    {"threads", 0, "N", "0", "threads (0: all cores)", 0},
    {0}};
static const struct args_cmd cmd = {
    "smkd-run predict",
    "DIR|A.smkd FILE|FOLDER|- ...",
    2,
    4096,
    "Classes and probabilities for JPEG, PNG, WebP and BMP files; of a run folder those of the ensemble. A folder "
    "stands for all\n"
    "images below it, - for names on standard input, one a line. What cannot be read is named in a line of its own; "
    "the exit code\n"
    "is then 1.\n"
    "Files are prepared as the network's own were: a run folder says how, and an artifact that was compiled from an "
    "exported model.\n"
    "Where nobody says, as torchvision's evaluation presets do it: the shorter edge is resized to 256/224 of what the "
    "model takes (to\n"
    "what it takes for small models), the middle is cut out, bytes become (v/255 - mean)/std, with ImageNet's numbers, "
    "or 0 and 1 for\n"
    "one channel.",
    opts};

struct waiting {
    const char *name;
    char *error; // NULL: an image of the batch; owned
};

struct predict {
    struct run_saved saved;
    struct rt_peer peers[METHOD_MAX_PEERS];
    int n;
    smkd_team *team;
    int top;
    size_t batch;                // images at once
    struct rt_preparation known; // from the run folder or the artifact
    struct rt_pipeline pipeline; // what is done
    enum { TABLE, CSV, JSON } form;
    float *images;           // of a batch
    size_t image;            // numbers of one
    struct waiting *waiting; // files that are not printed yet
    size_t n_waiting;
    double *all, *one;      // probabilities: the mean over the peers, one peer's
    size_t held, read, bad; // images in the batch; files done, files that could not be read
};

static enum smkd_result load(struct predict *p, const struct args *a, bool best) {
    const char *pos = a->pos[0];
    enum smkd_result r = SMKD_R_OK;
    if (!run_is_folder(pos)) {
        if (args_given(a, "ema")) return rt_fail(SMKD_R_INVALID, "--ema goes with a run folder");
        p->n = 1;
        r = rt_peer_load(&p->peers[0], pos, &(struct rt_peer_want){.logits = args_str(a, "logits")});
        return r == SMKD_R_OK ? rt_preparation_of_artifact(&p->known, p->peers[0].model, pos) : r;
    }
    if ((r = run_saved_read(&p->saved, pos)) != SMKD_R_OK) return r;
    char *path = rt_path_join(pos, best ? "best.safetensors" : "last.safetensors");
    const char *logits = args_given(a, "logits") ? args_str(a, "logits") : p->saved.config.logits;
    struct rt_progress_state state = {0};
    for (; p->n < p->saved.n_peers && r == SMKD_R_OK; p->n++) {
        struct rt_peer *peer = &p->peers[p->n];
        r = run_saved_load(&p->saved, pos, p->n, args_nth(a, "artifact", (size_t)p->n), logits, peer);
        if (r == SMKD_R_OK && p->n) r = rt_peers_agree(&p->peers[0], peer);
        if (r == SMKD_R_OK) r = run_read_peer(path, args_given(a, "ema"), p->n, peer->model, &state);
    }
    if (r == SMKD_R_OK && state.unchecked) run_note_unchecked(path);
    free(path);
    p->known = p->saved.preparation; // and owns it
    rt_preparation_init(&p->saved.preparation);
    // A run of an earlier version: its images had one size, and were not resized.
    if (r == SMKD_R_OK && p->known.resize < 0)
        p->known.resize = p->peers[0].height < p->peers[0].width ? p->peers[0].height : p->peers[0].width;
    return r;
}

// How images are prepared, from the flags or what stands for them.
static enum smkd_result set_pipeline(struct predict *p, const struct args *a, int64_t resize, int64_t crop, int how) {
    static const float imagenet[2][3] = {{0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}};
    const struct rt_peer *m = &p->peers[0];
    const struct rt_preparation *k = &p->known;
    int least = m->height < m->width ? m->height : m->width;
    if (!m->image)
        return rt_fail(SMKD_R_UNSUPPORTED, "%s: takes no images, but %d numbers a sample; smkd-run eval reads arrays",
                       m->path, m->width);
    if (m->channels != 1 && m->channels != 3)
        return rt_fail(SMKD_R_UNSUPPORTED, "%s: takes %d channels; images have 3, or 1 where they are grey", m->path,
                       m->channels);
    if (crop && (crop != m->height || crop != m->width))
        return rt_fail(SMKD_R_MISMATCH, "--val-crop-size %lld: %s takes %dx%d pixels", (long long)crop, m->path,
                       m->height, m->width);
    struct rt_transform_options o = {.channels = m->channels,
                                     .height = m->height,
                                     .width = m->width,
                                     .channels_last = m->channels_last,
                                     .crop = RT_CROP_CENTER};
    o.val_resize = resize >= 0 ? (int)resize : k->resize >= 0 ? k->resize : least < 128 ? least : least * 256 / 224;
    o.how = (enum rt_interpolation)(how >= 0 ? how : k->how >= 0 ? k->how : RT_BILINEAR);
    for (int c = 0; c < m->channels && c < RT_MAX_CHANNELS; c++) {
        int from = k->channels == m->channels ? c : 0;
        o.mean[c] = k->channels ? k->mean[from] : m->channels == 3 ? imagenet[0][c] : 0;
        o.std[c] = k->channels ? k->std[from] : m->channels == 3 ? imagenet[1][c] : 1;
    }
    enum smkd_result r = SMKD_R_OK;
    if (args_given(a, "mean")) r = rt_parse_channels("mean", args_str(a, "mean"), m->channels, o.mean);
    if (r == SMKD_R_OK && args_given(a, "std")) r = rt_parse_channels("std", args_str(a, "std"), m->channels, o.std);
    return r == SMKD_R_OK ? rt_pipeline_init(&p->pipeline, &o) : r;
}

static enum smkd_result start(struct predict *p) {
    const struct rt_peer *m = &p->peers[0];
    enum smkd_result r = SMKD_R_OK;
    p->batch = BATCH;
    for (int k = 0; k < p->n; k++) {
        uint64_t most = smkd_model_info(p->peers[k].model)->max_batch;
        if (most < p->batch) p->batch = (size_t)most;
    }
    for (int k = 0; k < p->n && r == SMKD_R_OK; k++) {
        run_note_mixing(&p->peers[k]);
        r = rt_peer_start(&p->peers[k], p->team, p->batch, 1);
    }
    p->image = (size_t)m->height * (size_t)m->width * (size_t)m->channels;
    p->images = xcalloc(p->batch * p->image, sizeof *p->images);
    p->waiting = xcalloc(MOST_WAITING, sizeof *p->waiting);
    p->all = xcalloc((size_t)m->classes, sizeof *p->all);
    p->one = xcalloc((size_t)m->classes, sizeof *p->one);
    if (p->top > m->classes) p->top = m->classes;
    if (p->known.n_class_names > m->classes) {
        fprintf(stderr, "note: there are names of %d classes, and %s tells %d apart: they are called by number\n",
                p->known.n_class_names, m->path, m->classes);
        rt_preparation_set_names(&p->known, NULL, 0);
    }
    return r;
}

// One file as the network's input, at the end of the batch.
static enum smkd_result read_file(struct predict *p, const char *path) {
    const struct rt_image_options o = {0};
    struct rt_image im;
    enum smkd_result r = rt_image_read(path, &o, &im);
    if (r != SMKD_R_OK) return r;
    r = rt_pipeline_run(&p->pipeline, &im, NULL, p->images + p->held * p->image);
    rt_image_release(&im);
    return r == SMKD_R_INVALID ? rt_fail(r, "%s: %s", path, smkd_last_error()) : r;
}

// --- what is printed -------------------------------------------------------------------------------------------------

// The next class in order of probability: the largest behind `last` (-1: of all); of equal ones the lower first.
static int next_best(const struct predict *p, int last) {
    int best = -1;
    for (int c = 0; c < p->peers[0].classes; c++) {
        bool before = last >= 0 && (p->all[c] > p->all[last] || (p->all[c] == p->all[last] && c <= last));
        if (!before && (best < 0 || p->all[c] > p->all[best])) best = c;
    }
    return best;
}

// Its name, or its number as text.
static const char *class_name(const struct predict *p, int c) {
    static char number[16];
    if (c < p->known.n_class_names) return p->known.class_names[c];
    snprintf(number, sizeof number, "%d", c);
    return number;
}

static void print_table(const struct predict *p, const struct waiting *w, struct str *out) {
    str_addf(out, "%s\n", printable(w->name));
    if (w->error) str_add(out, "  cannot be read\n");
    for (int k = 0, c = -1; k < p->top && !w->error; k++) {
        c = next_best(p, c);
        const char *name = c < p->known.n_class_names ? printable(p->known.class_names[c]) : NULL;
        str_addf(out, "  %7.3f %%  %s%s\n", 100 * p->all[c], name ? "" : "class ", name ? name : class_name(p, c));
    }
}

static void print_csv(const struct predict *p, const struct waiting *w, struct str *out) {
    for (int k = 0, c = -1; k < (w->error ? 1 : p->top); k++) {
        str_add_csv(out, w->name);
        if (w->error) {
            str_add(out, ",,,,,");
            str_add_csv(out, w->error);
        } else {
            c = next_best(p, c);
            str_addf(out, ",%d,%d,%.6g,", k + 1, c, p->all[c]);
            str_add_csv(out, class_name(p, c));
            str_add(out, ",");
        }
        str_add(out, "\n");
    }
}

static void print_json(const struct predict *p, const struct waiting *w, struct str *out) {
    str_add(out, "{\"file\":");
    str_add_json(out, w->name);
    str_add(out, w->error ? ",\"error\":" : ",\"top\":[");
    if (w->error) str_add_json(out, w->error);
    for (int k = 0, c = -1; k < p->top && !w->error; k++) {
        c = next_best(p, c);
        str_addf(out, "%s{\"class\":%d,\"name\":", k ? "," : "", c);
        str_add_json(out, class_name(p, c));
        str_addf(out, ",\"probability\":%.6g}", p->all[c]);
    }
    str_add(out, w->error ? "}\n" : "]}\n");
}

static void print(const struct predict *p, const struct waiting *w) {
    static void (*const forms[])(const struct predict *, const struct waiting *,
                                 struct str *) = {[TABLE] = print_table, [CSV] = print_csv, [JSON] = print_json};
    struct str out = STR_INIT;
    forms[p->form](p, w, &out);
    fwrite(out.s, 1, out.len, stdout);
    str_release(&out);
}

// --- from file to file -----------------------------------------------------------------------------------------------

// Prints what is waiting, in order.
static enum smkd_result flush(struct predict *p) {
    int classes = p->peers[0].classes;
    enum smkd_result r = SMKD_R_OK;
    for (int k = 0; k < p->n && r == SMKD_R_OK && p->held; k++)
        r = rt_peer_run(&p->peers[k], SMKD_ABI_INFER, p->images, p->held);
    for (size_t i = 0, at = 0; i < p->n_waiting; i++) {
        struct waiting *w = &p->waiting[i];
        for (int c = 0; c < classes; c++) p->all[c] = 0;
        for (int k = 0; k < p->n && r == SMKD_R_OK && !w->error; k++) {
            rt_softmax(p->peers[k].out + at * (size_t)classes, classes, p->one);
            for (int c = 0; c < classes; c++) p->all[c] += p->one[c] / p->n;
        }
        at += !w->error;
        if (r == SMKD_R_OK) print(p, w);
        free(w->error);
    }
    p->held = p->n_waiting = 0;
    return r;
}

static void add_error(struct predict *p, const char *name) {
    const char *why = smkd_last_error();
    size_t n = strlen(why) + 1;
    p->bad++;
    fprintf(stderr, "smkd-run predict: error: %s\n", why);
    p->waiting[p->n_waiting++] = (struct waiting){name, memcpy(xmalloc(n), why, n)};
}

static enum smkd_result add(struct predict *p, const char *name) {
    p->read++;
    enum smkd_result r = read_file(p, name);
    if (r == SMKD_R_NOMEM) return r;
    if (r == SMKD_R_OK) {
        p->waiting[p->n_waiting++] = (struct waiting){name, NULL};
        p->held++;
    } else {
        add_error(p, name);
    }
    return p->held == p->batch || p->n_waiting == MOST_WAITING ? flush(p) : SMKD_R_OK;
}

static void names_from_stdin(struct rt_names *names, int end) {
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    while ((n = getdelim(&line, &cap, end, stdin)) > 0) {
        if (line[n - 1] == end) line[--n] = 0;
        if (n) rt_names_add(names, line);
    }
    if (ferror(stdin) || !feof(stdin)) end_if_no_memory(errno);
    free(line);
}

static enum smkd_result predict(struct predict *p, const struct args *a) {
    struct rt_names names = {0};
    enum smkd_result r = SMKD_R_OK;
    for (size_t i = 1; i < a->n_pos && r == SMKD_R_OK; i++) {
        if (strcmp(a->pos[i], "-") == 0)
            names_from_stdin(&names, args_given(a, "null") ? 0 : '\n');
        else
            r = rt_image_files(a->pos[i], &names);
    }
    if (r == SMKD_R_OK && p->form == CSV) printf("file,rank,class,probability,name,error\n");
    for (size_t i = 0; i < names.n && r == SMKD_R_OK; i++) r = add(p, names.name[i]);
    if (r == SMKD_R_OK) r = flush(p);
    for (size_t i = 0; i < p->n_waiting; i++) free(p->waiting[i].error); // of a run that failed
    rt_names_release(&names);
    if (r == SMKD_R_OK && p->bad)
        r = rt_fail(SMKD_R_INVALID, "%zu of %zu file%s could not be read", p->bad, p->read, p->read == 1 ? "" : "s");
    return r;
}

static int run(const struct args *a) {
    static const char *const which[] = {"best", "last", NULL};
    size_t checkpoint = 0, how = 0;
    int64_t threads = 0, resize = -1, crop = 0, top = 0;
    if (!args_choice(a, "checkpoint", which, &checkpoint) ||
        (args_given(a, "interpolation") && !args_choice(a, "interpolation", rt_interpolations, &how)) ||
        !args_i64(a, "threads", 0, 1024, &threads) || !args_i64(a, "top", 1, INT32_MAX, &top) ||
        !args_i64(a, "val-resize-size", 0, 1 << 14, &resize) || !args_i64(a, "val-crop-size", 0, 1 << 14, &crop))
        return EXIT_USAGE;
    if (args_given(a, "csv") && args_given(a, "json")) return args_fail(a->cmd, "--csv and --json exclude each other");
    struct predict p = {.top = (int)top, .form = args_given(a, "csv") ? CSV : args_given(a, "json") ? JSON : TABLE};
    rt_preparation_init(&p.known);
    enum smkd_result r = load(&p, a, checkpoint == 0);
    if (r == SMKD_R_OK) r = set_pipeline(&p, a, resize, crop, args_given(a, "interpolation") ? (int)how : -1);
    if (r == SMKD_R_OK && !(p.team = smkd_team_new((int)threads))) r = SMKD_R_NOMEM;
    if (r == SMKD_R_OK) r = start(&p);
    if (r == SMKD_R_OK) r = predict(&p, a);
    for (int k = 0; k < p.n; k++) rt_peer_release(&p.peers[k]);
    smkd_team_free(p.team);
    run_saved_release(&p.saved);
    free(p.images);
    free(p.waiting);
    rt_preparation_release(&p.known);
    free(p.all);
    free(p.one);
    return r == SMKD_R_OK ? EXIT_DONE : run_failed("predict");
}

int run_predict(int argc, char **argv) { return args_command_main(&cmd, run, argc, argv); }
