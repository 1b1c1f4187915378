// Cross-validation: a network that was trained on a wrong label may have learnt it by heart, one that was not has to
// say what it thinks. Each fold is a run of its own (smkd-run train, in a process of its own) with the settings,
// networks and labels of the run, on all images but those of the fold; what it leaves is a run folder that goes on
// where it was stopped, and that is complete the next time.
#include "run_detect.h"

#include "program.h"

#include "../base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FOLD_ROLE = 1 }; // of RT_STREAM_SPLIT, of which 0 is the choice of validation images

// Of every class each fold gets as many images, or one more: shuffled by the run's seed, dealt in turns.
static int *deal(const struct detect *d) {
    const size_t n = d->images;
    int *fold = xcalloc(n, sizeof *fold);
    int64_t *order = xcalloc(n, sizeof *order);
    for (size_t i = 0; i < n; i++) order[i] = (int64_t)i;
    struct rt_rng rng;
    rt_rng_init(&rng, (uint64_t)d->net.saved.config.seed, rt_stream_id(RT_STREAM_SPLIT, FOLD_ROLE, 0));
    rt_rng_shuffle(&rng, order, n);
    size_t *dealt = xcalloc((size_t)d->classes, sizeof *dealt), first = 0;
    // Classes begin at different folds, so that small ones do not all end up in the first.
    for (int c = 0; c < d->classes; c++) dealt[c] = first++;
    for (size_t i = 0; i < n; i++) fold[order[i]] = (int)(dealt[d->given[order[i]]]++ % (size_t)d->folds);
    free(dealt);
    free(order);
    return fold;
}

// --- the training of a fold ------------------------------------------------------------------------------------------

// The last line of a log, without what comes before its message.
static void last_line(const char *path, struct str *out) {
    const void *data;
    size_t size;
    if (io_map(path, &data, &size) == SMKD_OK) {
        static const char prefix[] = "smkd-run train: error: ";
        const char *text = data;
        while (size && text[size - 1] == '\n') size--;
        size_t at = size;
        while (at && text[at - 1] != '\n') at--;
        if (size - at > strlen(prefix) && memcmp(text + at, prefix, strlen(prefix)) == 0) at += strlen(prefix);
        str_add_escaped(out, text + at, size - at);
        io_unmap(data, size);
    }
    if (!out->len) str_add(out, "it ended without a word");
}

struct command {
    struct arena arena;
    const char **argv;
    size_t n, cap;
};

static void push(struct command *c, const char *text) { *ARENA_PUSH(&c->arena, c->argv, c->n, c->cap) = text; }
static void push_option(struct command *c, const char *flag, const char *value) {
    push(c, arena_printf(&c->arena, "--%s%s%s", flag, value ? "=" : "", value ? value : ""));
}

// Flags that say where things are and how the machine is used; others would make it another run.
static void hand_on(struct command *c, const struct args *a) {
    static const char *const flags[] = {"data",  "train-limit", "label-column",     "image-root", "layout",
                                        "cache", "strict-data", "exif-orientation", "threads",    "workers"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (args_given(a, flags[i])) push_option(c, flags[i], *args_str(a, flags[i]) ? args_str(a, flags[i]) : NULL);
}

static enum smkd_result run_to_end(struct command *c, const char *log, int64_t fold) {
    push(c, NULL);
    volatile pid_t child = 0;
    const int fd = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
    if (fd < 0) return rt_fail(SMKD_R_IO, "%s: cannot be written: %s", log, strerror(errno));
    const bool started = process_start(c->argv, fd, &child);
    const int why = errno;
    close(fd);
    if (!started) return rt_fail(SMKD_R_IO, "%s: cannot be run: %s", c->argv[0], strerror(why));
    int status = 0, by = 0;
    process_wait(&status, &by);
    if (status == 0) return SMKD_R_OK;
    struct str line = STR_INIT;
    if (by)
        str_addf(&line, "it was ended by signal %d", by);
    else
        last_line(log, &line);
    enum smkd_result r = rt_fail(SMKD_R_INVALID, "fold %lld of %s: %s", (long long)fold + 1, log, line.s);
    str_release(&line);
    return r;
}

static enum smkd_result train(struct detect *d, const char *dir, const char *labels, int64_t fold) {
    struct command c = {.argv = NULL};
    arena_init(&c.arena);
    const char *self = program_self(&c.arena);
    enum smkd_result r = self ? SMKD_R_OK : rt_fail(SMKD_R_IO, "this program's own file cannot be found");
    if (r == SMKD_R_OK) {
        char *config = rt_path_join(d->net.dir, "config.json"), *keep = rt_path_join(dir, "keep.npy"),
             *log = rt_path_join(dir, "log.txt");
        push(&c, self);
        push(&c, "train");
        push_option(&c, "config", config);
        push_option(&c, "output-dir", dir);
        push_option(&c, "labels", labels);
        push_option(&c, "noise", "none");
        push_option(&c, "keep", keep);
        push(&c, "--resume");
        push(&c, "--quiet");
        for (int k = 0; k < d->net.n; k++) push_option(&c, "peer", d->net.paths[k]);
        hand_on(&c, d->args);
        r = run_to_end(&c, log, fold);
        free(config);
        free(keep);
        free(log);
    }
    arena_release(&c.arena);
    return r;
}

// --- all of them -----------------------------------------------------------------------------------------------------

static enum smkd_result make_folder(const char *dir) {
    if (io_make_dirs(dir) == SMKD_OK) return SMKD_R_OK;
    return rt_fail(SMKD_R_IO, "%s: cannot be made: %s", dir, strerror(errno));
}

static enum smkd_result one_fold(struct detect *d, smkd_team *team, const int *fold, const int32_t *kept,
                                 const char *folder, int64_t number) {
    struct str dir = STR_INIT;
    str_addf(&dir, "%s/fold-%lld", folder, (long long)number);
    char *labels = rt_path_join(folder, "labels.npy"), *keep = rt_path_join(dir.s, "keep.npy");
    int32_t *marks = xcalloc(d->images, sizeof *marks);
    int64_t *asked = xcalloc(d->images, sizeof *asked);
    size_t n = 0, trained = 0;
    for (size_t i = 0; i < d->images; i++) {
        marks[i] = kept[i] && fold[i] != number;
        trained += (size_t)marks[i];
        if (fold[i] == number) asked[n++] = (int64_t)i;
    }
    fprintf(stderr, "note: fold %lld of %lld: %zu images to train on, %zu others to judge (%s)\n",
            (long long)number + 1, (long long)d->folds, trained, n, printable(dir.s));
    struct run_networks net = {0};
    enum smkd_result r = make_folder(dir.s);
    if (r == SMKD_R_OK) r = rt_labels_write(keep, marks, d->images);
    if (r == SMKD_R_OK) r = train(d, dir.s, labels, number);
    if (r == SMKD_R_OK) r = run_networks_load_folder(&net, d->args, dir.s);
    if (r == SMKD_R_OK && n) r = detect_ask(d, &net, team, asked, n);
    run_networks_release(&net);
    free(marks);
    free(asked);
    free(labels);
    free(keep);
    str_release(&dir);
    return r;
}

enum smkd_result detect_folds(struct detect *d, smkd_team *team) {
    if ((size_t)d->folds > d->images)
        return rt_fail(SMKD_R_INVALID, "--cross-validate %lld: there are %zu images", (long long)d->folds, d->images);
    struct str folder = STR_INIT;
    str_addf(&folder, "%s/folds-%lld", d->net.dir, (long long)d->folds);
    char *labels = rt_path_join(folder.s, "labels.npy");
    int32_t *kept = xcalloc(d->images, sizeof *kept);
    for (size_t i = 0; i < d->images; i++) kept[i] = 1;
    int *fold = deal(d);
    enum smkd_result r = make_folder(folder.s);
    if (r == SMKD_R_OK) r = rt_labels_write(labels, d->given, d->images);
    if (r == SMKD_R_OK && d->keep) r = rt_marks_read(d->keep, d->data.set.train_total, d->images, kept);
    for (int64_t k = 0; k < d->folds && r == SMKD_R_OK; k++) r = one_fold(d, team, fold, kept, folder.s, k);
    free(fold);
    free(kept);
    free(labels);
    str_release(&folder);
    return r;
}
