#define _XOPEN_SOURCE 700 // realpath
// smkd-run train: peers, a data set, a method, a run folder. The flags are the rows of rt_fields and of the method.
#include "run_train.h"

#include "../runtime/optimizer.h"
#include "config_args.h"
#include "loss_program.h"
#include "method_args.h"
#include "optimizer_program.h"
#include "program.h"

#include <stdlib.h>
#include <string.h>

static const struct args_opt own_opts[] = {
    {"peer", 0, "A.smkd", NULL, "a network made with smkdc compile; several: give it again", ARGS_REPEAT},
    {"config", 0, "FILE.json", NULL,
     "flags by their names; those given here win. A run folder's config.json is such a file", 0},
    {"output-dir", 'o', "DIR", NULL, "run folder", ARGS_REQUIRED},
    {"artifact", 0, "A.smkd", NULL, "with --resume: the peers' artifacts, in order, where they have moved",
     ARGS_REPEAT},
    {"resume", 0, NULL, NULL, "go on from DIR/last.safetensors; flags that are not given are those of DIR/config.json",
     0},
    {"overwrite", 0, NULL, NULL, "replace the results in DIR", 0},
    {"save-labels", 0, "FILE.npy", NULL, "write the training labels as they are after --labels and --noise", 0},
    {"loss", 0, "NAME", NULL, "another name of --method", ARGS_HIDDEN},
    {"quiet", 'q', NULL, NULL, "no progress and no notes, only warnings and errors", 0},
};
enum { N_OWN = sizeof own_opts / sizeof *own_opts, MAX_OPTS = RUN_TRAIN_OPTS };

// The command's options: its own, one for each field of the configuration, and those of the method.
void run_train_options(struct args_opt opts[RUN_TRAIN_OPTS], const struct method *m) {
    size_t n = 0;
    for (; n < N_OWN; n++) opts[n] = own_opts[n];
    for (const struct rt_field *f = rt_fields; f->name; f++) {
        CHECK(n + 1 < MAX_OPTS, "more options than MAX_OPTS");
        const char letter = strcmp(f->name, "workers") == 0 ? 'j' : 0;
        opts[n++] = (struct args_opt){f->name, letter, f->value, f->def, f->help, f->list ? ARGS_REPEAT : 0};
    }
    n = method_opts(m, opts, n, MAX_OPTS);
    opts[n] = (struct args_opt){0};
}

static const char *method_flag_given(const struct args *a) {
    return args_given(a, "method") ? args_nth(a, "method", 0) : args_nth(a, "loss", 0);
}

// A field from its flag; one that may be given several times is the texts with ; between them.
static enum smkd_result set_field(struct rt_config *c, const struct args *a, const struct rt_field *f) {
    struct str text = STR_INIT;
    const bool path = strcmp(f->name, "teacher") == 0; // found again from anywhere
    for (size_t i = 0; i < args_count(a, f->name); i++) {
        char *full = path ? realpath(args_nth(a, f->name, i), NULL) : NULL;
        str_addf(&text, "%s%s", i ? ";" : "", full ? full : args_nth(a, f->name, i));
        free(full);
    }
    enum smkd_result r = rt_config_set(c, f->name, text.s ? text.s : "");
    str_release(&text);
    return r;
}

// Flags over defaults; on --resume, over what the run began with.
static enum smkd_result configure(struct rt_config *c, const struct args *a, struct run_saved *saved) {
    bool go_on = args_given(a, "resume");
    if (go_on) {
        char *path = rt_path_join(args_str(a, "output-dir"), "config.json");
        go_on = rt_path_exists(path);
        free(path);
    }
    enum smkd_result r = SMKD_R_OK;
    if (go_on) {
        if ((r = run_saved_read(saved, args_str(a, "output-dir"))) != SMKD_R_OK) return r;
        const char *named = method_flag_given(a);
        if (named && strcmp(named, saved->config.method) != 0 &&
            method_find(named) != method_find(saved->config.method))
            return rt_fail(
                SMKD_R_MISMATCH,
                "%s/config.json: --resume goes on with the configuration the run began with, but: --method %s "
                "(was %s)",
                args_str(a, "output-dir"), named, saved->config.method);
        struct rt_config swap = *c;
        *c = saved->config;
        saved->config = swap;
        c->threads = c->workers = 0; // a matter of the machine, not of the run
    }
    if (args_given(a, "loss") && args_given(a, "method"))
        return rt_fail(SMKD_R_INVALID, "--loss is another name of --method: give one of them");
    if (args_given(a, "loss")) r = rt_config_set(c, "method", args_nth(a, "loss", 0));
    for (const struct rt_field *f = c->fields; f->name && r == SMKD_R_OK; f++)
        if (args_given(a, f->name)) r = set_field(c, a, f);
    return r == SMKD_R_OK ? rt_config_resolve(c) : r;
}

static enum smkd_result load_peers(struct rt_train *t, const struct args *a, const struct run_saved *saved) {
    size_t given = args_count(a, "peer");
    const bool from_run = given == 0 && saved->n_peers;
    const struct method *m = t->config->row;
    const size_t n = from_run ? (size_t)saved->n_peers : given;
    if (n < (size_t)m->least || n > (size_t)m->most)
        return rt_fail(SMKD_R_INVALID, "the method %s takes %s %d network%s: give --peer %s, not %zu time%s", m->name,
                       n < (size_t)m->least ? "at least" : "at most", n < (size_t)m->least ? m->least : m->most,
                       m->least == 1 ? "" : "s", m->least == 1 ? "once or more" : "twice or more", n,
                       n == 1 ? "" : "s");
    const struct rt_peer_want want = {.logits = t->config->logits, .numbers = m->family->regression};
    t->peers = xcalloc(n, sizeof *t->peers);
    t->n_peers = (int)n;
    for (int k = 0; k < t->n_peers; k++) {
        enum smkd_result r = from_run ? run_saved_load(saved, t->dir, k, args_nth(a, "artifact", (size_t)k),
                                                       t->config->logits, &t->peers[k])
                                      : rt_peer_load(&t->peers[k], args_nth(a, "peer", (size_t)k), &want);
        if (r == SMKD_R_OK && k) r = rt_peers_agree(&t->peers[0], &t->peers[k]);
        if (r != SMKD_R_OK) return r;
    }
    return SMKD_R_OK;
}

static int run(const struct args *a) {
    struct rt_config c;
    struct run_saved saved = {0};
    struct lock lock = {0};
    const char *named = method_flag_given(a);
    const struct method *m = run_method(named ? named : "smkd-p");
    if (!m) return run_failed("train");
    rt_config_init(&c, m);
    struct rt_train t = {.config = &c,
                         .dir = args_str(a, "output-dir"),
                         .lock = &lock,
                         .resume = args_given(a, "resume"),
                         .overwrite = args_given(a, "overwrite"),
                         .save_labels = args_str(a, "save-labels"),
                         .progress = args_given(a, "quiet") ? NULL : stderr,
                         .warnings = stderr};
    enum smkd_result r = SMKD_R_OK;
    if (t.resume && t.overwrite) r = rt_fail(SMKD_R_INVALID, "--resume and --overwrite exclude each other");
    if (args_given(a, "artifact") && (!t.resume || args_given(a, "peer")))
        r = rt_fail(
            SMKD_R_INVALID,
            "--artifact says where the peers of a run that goes on are now: it goes with --resume, without --peer");
    if (r == SMKD_R_OK && run_is_folder(t.dir)) r = rt_run_lock(t.dir, &lock);
    if (r == SMKD_R_OK) r = configure(&c, a, &saved);
    // Before anything slow: a folder that will not be touched is said at once.
    if (r == SMKD_R_OK && !t.resume && !t.overwrite && rt_run_exists(t.dir))
        r = rt_fail(SMKD_R_INVALID,
                    "%s: holds the results of a run; go on with --resume or start again with --overwrite", t.dir);
    if (r == SMKD_R_OK) r = load_peers(&t, a, &saved);
    if (r == SMKD_R_OK) method_resolve(c.row, &c.values, t.peers[0].classes);
    // A loss of the user's own is a program, too: one that only config.json names has to be the one that it was.
    struct rt_known loss = {.hash = saved.loss_hash, .what = "the loss that the run began with", .option = "--loss"};
    const bool from_folder = saved.n_peers && !named;
    if (r == SMKD_R_OK && from_folder && !loss.hash && loss_is_file(c.method))
        r = rt_fail(SMKD_R_INVALID,
                    "%s/config.json: loss.content_hash is missing, without which %s is not loaded; give it with --loss",
                    t.dir, c.method);
    if (r == SMKD_R_OK && saved.n_peers && program_is_file(c.opt) && !args_given(a, "opt"))
        r = rt_fail(SMKD_R_INVALID,
                    "%s/config.json: names %s, a program, which is not run for that; give it with --opt", t.dir, c.opt);
    struct run_teachers teachers = {0};
    if (r == SMKD_R_OK && c.teacher)
        r = run_teachers_load(&teachers, c.teacher, c.logits, &t.peers[0],
                              saved.n_peers && !args_given(a, "teacher") ? &saved : NULL);
    t.teachers = teachers.peer;
    t.n_teachers = teachers.n;
    if (r == SMKD_R_OK && !t.n_teachers && !loss_is_file(c.method) && c.row->family->teacher &&
        c.row->family->teacher(c.row, &c.values))
        r = rt_fail(SMKD_R_INVALID,
                    "the method %s learns from a frozen network: give it with --teacher FILE.smkd or --teacher RUN",
                    c.row->name);
    if (r == SMKD_R_OK && !rt_optimizer_is_plain(&c)) {
        t.optimizer = optimizer_program(c.opt, c.opt_row);
        if (!t.optimizer) r = SMKD_R_INVALID;
    }
    if (r == SMKD_R_OK) {
        size_t n_taps;
        struct loss_tap *taps = loss_taps(t.peers, t.n_peers, t.teachers, t.n_teachers, &n_taps);
        const struct loss_request want = {.known = from_folder ? &loss : NULL,
                                          .name = c.method,
                                          .method = c.row,
                                          .values = c.values,
                                          .peers = t.n_peers,
                                          .classes = t.peers[0].classes,
                                          .taps = taps,
                                          .n_taps = n_taps,
                                          .mixed =
                                              c.augmentation.mix.mixup_alpha > 0 || c.augmentation.mix.cutmix_alpha > 0,
                                          .weighted = c.class_weights != NULL,
                                          .max_batch = c.batch_size};
        t.loss = loss_program(&want);
        r = t.loss ? SMKD_R_OK : SMKD_R_INVALID;
        if (r == SMKD_R_OK) r = loss_predictor(&want, &t.predictor);
        free(taps);
        if (r == SMKD_R_OK) r = rt_train(&t);
    }
    smkd_model_free(t.loss);
    smkd_model_free(t.predictor);
    smkd_model_free(t.optimizer);
    run_teachers_release(&teachers);
    for (int k = 0; k < t.n_peers; k++) rt_peer_release(&t.peers[k]);
    free(t.peers);
    rt_config_release(&c);
    run_saved_release(&saved);
    lock_drop(&lock);
    return r == SMKD_R_OK ? EXIT_DONE : run_failed("train");
}

// -o DIR, -oDIR, --output-dir DIR: before the flags are parsed.
static const char *folder_in_args(int argc, char **argv) {
    static const char *const dirs[] = {"output-dir", NULL};
    const char *dir = method_in_args(argc, argv, dirs);
    for (int i = 0; i < argc && !dir; i++) {
        if (strncmp(argv[i], "-o", 2) != 0) continue;
        dir = argv[i][2] ? argv[i] + 2 : i + 1 < argc ? argv[i + 1] : NULL;
    }
    return dir;
}

static int with_flags(const struct config_args *c, const struct args_cmd *cmd, struct args_opt *opts) {
    static const char *const flags[] = {"method", "loss", NULL};
    // A name that there is not is said when the command runs. A run that goes on has its method in its folder.
    const char *named = method_in_args(c->argc, c->argv, flags);
    const struct method *m = named ? run_method(named) : NULL;
    if (!m) m = run_method_of_folder(folder_in_args(c->argc, c->argv), c->argc, c->argv);
    run_train_options(opts, m);
    int wrong = method_foreign(cmd, m, c->own, c->argv);
    if (wrong != EXIT_DONE) return wrong;
    if (config_args_check(c, opts) != SMKD_R_OK) return run_failed("train");
    struct args a;
    enum args_result r = args_parse(&a, cmd, c->argc, c->argv);
    if (r != ARGS_RUN) return r == ARGS_HELP ? EXIT_DONE : EXIT_USAGE;
    int code = run(&a);
    args_release(&a);
    return code;
}

int run_train(int argc, char **argv) {
    static struct args_opt opts[MAX_OPTS];
    static const struct args_cmd cmd = {
        "smkd-run train",
        NULL,
        0,
        0,
        "Trains networks on the same noisy labels with selective mutual knowledge "
        "distillation, or another method (smkd-run methods);\n"
        "--method NAME --help shows that method's own flags. DIR gets\n"
        "config.json, metrics.jsonl, metrics.csv, last.safetensors and "
        "best.safetensors. The same seed gives the same bits on\n"
        "any number of threads, also when the run was killed and resumed.\n"
        "An artifact is a program, which this runs: give only what you compiled. Everything else "
        "is data.",
        opts};
    static const char *const same[][2] = {{"method", "loss"}, {NULL, NULL}};
    struct config_args c;
    int code = EXIT_FAILED;
    if (config_args_read(&c, argc, argv, same) == SMKD_R_OK)
        code = with_flags(&c, &cmd, opts);
    else
        run_failed("train");
    config_args_release(&c);
    return code;
}
