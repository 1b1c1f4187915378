// smkd-run predict: classes of image files.
#include "../runtime/image_files.h"
#include "../runtime/resize.h"
#include "run_train.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 32 };

static const struct args_opt opts[] = {
    {"top", 0, "N", "5", "classes to print for each file", 0},
    {"csv", 0, NULL, NULL, "print file,rank,class,probability", 0},
    {"json", 0, NULL, NULL, "print a line of JSON for each file", 0},
    {"val-resize-size", 0, "N", "0", "the shorter edge becomes this many pixels (0: see above)", 0},
    {"val-crop-size", 0, "N", "0", "then the middle is cut out (0: what the model takes)", 0},
    {"interpolation", 0, "HOW", "bilinear", "nearest, box, bilinear, hamming, bicubic or lanczos", 0},
    {"mean", 0, "M,..", NULL, "mean of each channel on a 0..1 scale (see above)", 0},
    {"std", 0, "S,..", NULL, "standard deviation of each channel", 0},
    {"logits", 0, "NAME", NULL, "the output to look at, where a model has several (default: the run folder's)", 0},
    {"checkpoint", 0, "WHICH", "last", "of a run folder: best or last", 0},
    {"artifact", 0, "A.smkd", NULL, "a run folder's artifacts, in order, where they have moved", ARGS_REPEAT},
    {"threads", 0, "N", "0", "threads (0: all cores)", 0},
    {0}};
static const struct args_cmd cmd = {"smkd-run predict",
                                    "DIR|A.smkd FILE|FOLDER|- ...",
                                    2,
                                    4096,
                                    "Classes and probabilities for JPEG, PNG, WebP and BMP files; of a run folder "
                                    "those of the ensemble. A folder stands for all\n"
                                    "images below it, - for names on standard input, one a line. What cannot be read "
                                    "is named and left out; the exit code is then 1.\n"
                                    "Files are prepared as torchvision's evaluation presets do it: the shorter edge is "
                                    "resized to 256/224 of what the model takes (to\n"
                                    "what it takes for a run folder, whose training images were not resized, and for "
                                    "small models), the middle is cut out, bytes\n"
                                    "become (v/255 - mean)/std. Mean and deviation are the run folder's; of an "
                                    "artifact alone ImageNet's, or 0 and 1 for one channel.",
                                    opts};

struct predict {
    struct run_saved saved;
    struct rt_peer peers[METHOD_MAX_PEERS];
    int n;
    smkd_team *team;
    int resize, crop_height, crop_width, top;
    enum rt_interpolation how;
    float mean[RT_MAX_CHANNELS], std[RT_MAX_CHANNELS];
    enum { TABLE, CSV, JSON } form;
    float *images;          // of a batch
    const char **names;     // of its files
    double *all, *one;      // probabilities: the mean over the peers, one peer's
    size_t held, read, bad; // images in the batch; files done, files that could not be read
};

static enum smkd_result load(struct predict *p, const struct args *a, bool best) {
    const char *pos = a->pos[0];
    enum smkd_result r = SMKD_R_OK;
    if (!run_is_folder(pos)) {
        p->n = 1;
        return rt_peer_load(&p->peers[0], pos, args_str(a, "logits"));
    }
    if ((r = run_saved_read(&p->saved, pos)) != SMKD_R_OK) return r;
    char *path = rt_path_join(pos, best ? "best.safetensors" : "last.safetensors");
    const char *logits = args_given(a, "logits") ? args_str(a, "logits") : p->saved.config.logits;
    struct rt_progress_state state = {0};
    for (; p->n < p->saved.n_peers && r == SMKD_R_OK; p->n++) {
        struct rt_peer *peer = &p->peers[p->n];
        r = run_saved_load(&p->saved, pos, p->n, args_nth(a, "artifact", (size_t)p->n), logits, peer);
        if (r == SMKD_R_OK && p->n) r = rt_peers_agree(&p->peers[0], peer);
        if (r == SMKD_R_OK) r = rt_checkpoint_read_peer(path, p->n, peer->model, &state);
    }
    if (r == SMKD_R_OK && state.unchecked) run_note_unchecked(path);
    free(path);
    return r;
}

// Sizes, mean and deviation, from the flags or what stands for them.
static enum smkd_result prepare(struct predict *p, const struct args *a, int64_t resize, int64_t crop) {
    static const float imagenet[2][3] = {{0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}};
    const struct rt_peer *m = &p->peers[0];
    int least = m->height < m->width ? m->height : m->width;
    bool folder = p->saved.channels > 0;
    if (m->channels != 1 && m->channels != 3)
        return rt_fail(SMKD_R_UNSUPPORTED, "%s: takes %d channels; images have 3, or 1 where they are grey", m->path,
                       m->channels);
    p->crop_height = crop ? (int)crop : m->height;
    p->crop_width = crop ? (int)crop : m->width;
    if (p->crop_height != m->height || p->crop_width != m->width)
        return rt_fail(SMKD_R_MISMATCH, "--val-crop-size %lld: %s takes %dx%d pixels", (long long)crop, m->path,
                       m->height, m->width);
    p->resize = resize ? (int)resize : folder || least < 128 ? least : (int)(least * 256L / 224);
    for (int c = 0; c < m->channels; c++) {
        bool own = folder && p->saved.channels == m->channels;
        p->mean[c] = own ? p->saved.mean[c] : folder ? p->saved.mean[0] : m->channels == 3 ? imagenet[0][c] : 0;
        p->std[c] = own ? p->saved.std[c] : folder ? p->saved.std[0] : m->channels == 3 ? imagenet[1][c] : 1;
    }
    enum smkd_result r = SMKD_R_OK;
    if (args_given(a, "mean")) r = rt_parse_channels("mean", args_str(a, "mean"), m->channels, p->mean);
    if (r == SMKD_R_OK && args_given(a, "std")) r = rt_parse_channels("std", args_str(a, "std"), m->channels, p->std);
    if (r != SMKD_R_OK) return r;
    for (int k = 0; k < p->n && r == SMKD_R_OK; k++) {
        uint64_t most = smkd_model_info(p->peers[k].model)->max_batch;
        run_note_mixing(&p->peers[k]);
        r = rt_peer_start(&p->peers[k], p->team, most < BATCH ? (size_t)most : BATCH);
    }
    size_t pixels = (size_t)m->height * (size_t)m->width;
    p->images = xcalloc(BATCH * pixels, (size_t)m->channels * sizeof(float));
    p->names = xcalloc(BATCH, sizeof *p->names);
    p->all = xcalloc((size_t)m->classes, sizeof *p->all);
    p->one = xcalloc((size_t)m->classes, sizeof *p->one);
    if (p->top > m->classes) p->top = m->classes;
    return r;
}

// One file as the network's input, at place `at` of the batch.
static enum smkd_result read_file(struct predict *p, const char *path, size_t at) {
    const struct rt_peer *m = &p->peers[0];
    const struct rt_image_options o = {0};
    struct rt_image im, small = {0}, cut = {0};
    enum smkd_result r = rt_image_read(path, &o, &im);
    if (r != SMKD_R_OK) return r;
    int w, h;
    rt_shorter_edge(im.width, im.height, p->resize, &w, &h);
    bool ok = rt_resize(&im, NULL, w, h, p->how, &small) && rt_center_crop(&small, p->crop_width, p->crop_height, &cut);
    size_t plane = (size_t)m->height * (size_t)m->width;
    float *to = p->images + at * plane * (size_t)m->channels;
    for (size_t i = 0; ok && i < plane; i++) {
        const uint8_t *px = cut.rgb + 3 * i;
        unsigned grey = (px[0] * 19595u + px[1] * 38470u + px[2] * 7471u + 0x8000) >> 16; // Pillow's L
        for (int c = 0; c < m->channels; c++) {
            float v = ((float)(m->channels == 1 ? grey : px[c]) / 255.0f - p->mean[c]) / p->std[c];
            to[m->channels_last ? i * (size_t)m->channels + (size_t)c : (size_t)c * plane + i] = v;
        }
    }
    rt_image_release(&im);
    rt_image_release(&small);
    rt_image_release(&cut);
    return ok ? SMKD_R_OK : rt_fail(SMKD_R_NOMEM, "%s: out of memory", path);
}

static void print(const struct predict *p, const char *name) {
    cJSON *line = NULL, *list = NULL;
    if (p->form == TABLE) printf("%s\n", printable(name));
    if (p->form == JSON) {
        line = cJSON_CreateObject();
        cJSON_AddStringToObject(line, "file", name);
        list = cJSON_AddArrayToObject(line, "top");
    }
    for (int k = 0, last = -1; k < p->top; k++) {
        int best = -1; // the largest that is not printed yet; of equal ones the lower class
        for (int c = 0; c < p->peers[0].classes; c++) {
            bool before = last >= 0 && (p->all[c] > p->all[last] || (p->all[c] == p->all[last] && c <= last));
            if (!before && (best < 0 || p->all[c] > p->all[best])) best = c;
        }
        last = best;
        if (p->form == TABLE) printf("  %7.3f %%  class %d\n", 100 * p->all[best], best);
        if (p->form == CSV) { // RFC 4180
            putchar('"');
            for (const char *c = name; *c; c++) printf(*c == '"' ? "\"\"" : "%c", *c);
            printf("\",%d,%d,%.6g\n", k + 1, best, p->all[best]);
        }
        if (p->form == JSON) {
            cJSON *o = cJSON_CreateObject();
            cJSON_AddNumberToObject(o, "class", best);
            cJSON_AddNumberToObject(o, "probability", p->all[best]);
            cJSON_AddItemToArray(list, o);
        }
    }
    if (line) {
        char *text = cJSON_PrintUnformatted(line);
        puts(text);
        cJSON_free(text);
        cJSON_Delete(line);
    }
}

static enum smkd_result flush(struct predict *p) {
    int classes = p->peers[0].classes;
    enum smkd_result r = SMKD_R_OK;
    for (int k = 0; k < p->n && r == SMKD_R_OK && p->held; k++)
        r = rt_peer_run(&p->peers[k], SMKD_ABI_INFER, p->images, p->held);
    for (size_t i = 0; r == SMKD_R_OK && i < p->held; i++) {
        for (int c = 0; c < classes; c++) p->all[c] = 0;
        for (int k = 0; k < p->n; k++) {
            rt_softmax(p->peers[k].out + i * (size_t)classes, classes, p->one);
            for (int c = 0; c < classes; c++) p->all[c] += p->one[c] / p->n;
        }
        print(p, p->names[i]);
    }
    p->held = 0;
    return r;
}

static enum smkd_result add(struct predict *p, const char *name) {
    p->read++;
    enum smkd_result r = read_file(p, name, p->held);
    if (r == SMKD_R_NOMEM) return r;
    if (r != SMKD_R_OK) {
        p->bad++;
        fprintf(stderr, "smkd-run predict: error: %s\n", smkd_last_error());
        return SMKD_R_OK;
    }
    p->names[p->held++] = name;
    uint64_t most = smkd_model_info(p->peers[0].model)->max_batch;
    return p->held == (most < BATCH ? most : BATCH) ? flush(p) : SMKD_R_OK;
}

static enum smkd_result names_from_stdin(struct rt_names *names) {
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    while ((n = getline(&line, &cap, stdin)) > 0) {
        if (line[n - 1] == '\n') line[--n] = 0;
        if (n) rt_names_add(names, line);
    }
    if (ferror(stdin) || !feof(stdin)) end_if_no_memory(errno);
    free(line);
    return SMKD_R_OK;
}

static enum smkd_result predict(struct predict *p, const struct args *a) {
    struct rt_names names = {0};
    enum smkd_result r = SMKD_R_OK;
    for (size_t i = 1; i < a->n_pos && r == SMKD_R_OK; i++)
        r = strcmp(a->pos[i], "-") == 0 ? names_from_stdin(&names) : rt_image_files(a->pos[i], &names);
    if (r == SMKD_R_OK && p->form == CSV) printf("file,rank,class,probability\n");
    for (size_t i = 0; i < names.n && r == SMKD_R_OK; i++) r = add(p, names.name[i]);
    if (r == SMKD_R_OK) r = flush(p);
    rt_names_release(&names);
    if (r == SMKD_R_OK && p->bad)
        r = rt_fail(SMKD_R_INVALID, "%zu of %zu file%s could not be read", p->bad, p->read, p->read == 1 ? "" : "s");
    return r;
}

static int run(const struct args *a) {
    static const char *const which[] = {"best", "last", NULL};
    size_t checkpoint = 0, how = 0;
    int64_t threads = 0, resize = 0, crop = 0, top = 0;
    if (!args_choice(a, "checkpoint", which, &checkpoint) ||
        !args_choice(a, "interpolation", rt_interpolations, &how) || !args_i64(a, "threads", 0, 1024, &threads) ||
        !args_i64(a, "top", 1, INT32_MAX, &top) || !args_i64(a, "val-resize-size", 0, 1 << 14, &resize) ||
        !args_i64(a, "val-crop-size", 0, 1 << 14, &crop))
        return EXIT_USAGE;
    if (args_given(a, "csv") && args_given(a, "json")) return args_fail(a->cmd, "--csv and --json exclude each other");
    struct predict p = {.how = (enum rt_interpolation)how,
                        .top = (int)top,
                        .form = args_given(a, "csv")    ? CSV
                                : args_given(a, "json") ? JSON
                                                        : TABLE};
    enum smkd_result r = load(&p, a, checkpoint == 0);
    if (r == SMKD_R_OK && !(p.team = smkd_team_new((int)threads))) r = SMKD_R_NOMEM;
    if (r == SMKD_R_OK) r = prepare(&p, a, resize, crop);
    if (r == SMKD_R_OK) r = predict(&p, a);
    for (int k = 0; k < p.n; k++) rt_peer_release(&p.peers[k]);
    smkd_team_free(p.team);
    run_saved_release(&p.saved);
    free(p.images);
    free(p.names);
    free(p.all);
    free(p.one);
    return r == SMKD_R_OK ? EXIT_DONE : run_failed("predict");
}

int run_predict(int argc, char **argv) { return args_command_main(&cmd, run, argc, argv); }
