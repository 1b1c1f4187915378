// smkd-run train: a pair of peers, a data set, a loss, a run folder. The flags are the rows of rt_fields.
#include "run_train.h"

#include "loss_program.h"

#include <stdlib.h>
#include <string.h>

static const struct args_opt own_opts[] = {
    {"peer", 0, "A.smkd", NULL, "a network made with smkdc compile: give --peer twice", ARGS_REPEAT},
    {"output-dir", 'o', "DIR", NULL, "run folder", ARGS_REQUIRED},
    {"artifact", 0, "A.smkd", NULL, "with --resume: the peers' artifacts, in order, where they have moved",
     ARGS_REPEAT},
    {"resume", 0, NULL, NULL, "go on from DIR/last.safetensors; flags that are not given are those of DIR/config.json",
     0},
    {"overwrite", 0, NULL, NULL, "replace the results in DIR", 0},
    {"save-labels", 0, "FILE.npy", NULL, "write the training labels as they are after --labels and --noise", 0},
    {"quiet", 'q', NULL, NULL, "no progress and no notes, only warnings and errors", 0},
};
enum { N_OWN = sizeof own_opts / sizeof *own_opts, MAX_OPTS = 64 };

// The command's options: its own and one for each field of the configuration.
static void make_options(struct args_opt *opts) {
    size_t n = 0;
    for (; n < N_OWN; n++) opts[n] = own_opts[n];
    for (const struct rt_field *f = rt_fields; f->name; f++) {
        CHECK(n + 1 < MAX_OPTS, "more options than MAX_OPTS");
        opts[n++] = (struct args_opt){f->name, 0, f->value, f->def, f->help, 0};
    }
    opts[n] = (struct args_opt){0};
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
        struct rt_config swap = *c;
        *c = saved->config;
        saved->config = swap;
        c->threads = 0; // a matter of the machine, not of the run
    }
    for (const struct rt_field *f = rt_fields; f->name && r == SMKD_R_OK; f++)
        if (args_given(a, f->name)) r = rt_config_set(c, f->name, args_nth(a, f->name, 0));
    return r == SMKD_R_OK ? rt_config_resolve(c) : r;
}

static enum smkd_result load_peers(struct rt_train *t, const struct args *a, const struct run_saved *saved) {
    size_t given = args_count(a, "peer");
    bool from_run = given == 0 && saved->artifact[0];
    if (given != 2 && !from_run)
        return rt_fail(SMKD_R_INVALID, "SMKD pairs two networks: give --peer twice, not %zu time%s", given,
                       given == 1 ? "" : "s");
    for (int k = 0; k < 2; k++) {
        enum smkd_result r = from_run ? run_saved_load(saved, t->dir, k, args_nth(a, "artifact", (size_t)k),
                                                       t->config->logits, &t->peers[k])
                                      : rt_peer_load(&t->peers[k], args_nth(a, "peer", (size_t)k), t->config->logits);
        if (r != SMKD_R_OK) return r;
    }
    return rt_peers_agree(&t->peers[0], &t->peers[1]);
}

static int run(const struct args *a) {
    struct rt_config c;
    struct run_saved saved = {0};
    struct lock lock = {0};
    rt_config_init(&c);
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
    // A loss of the user's own is a program, too: one that only config.json names has to be the one that it was.
    struct rt_known loss = {.hash = saved.loss_hash, .what = "the loss that the run began with", .option = "--loss"};
    const bool from_folder = saved.artifact[0] && !args_given(a, "loss");
    if (r == SMKD_R_OK && from_folder && !loss.hash && loss_is_file(c.loss))
        r = rt_fail(SMKD_R_INVALID,
                    "%s/config.json: loss.content_hash is missing, without which %s is not loaded; give it with --loss",
                    t.dir, c.loss);
    if (r == SMKD_R_OK) {
        const struct loss_request want = {.known = from_folder ? &loss : NULL,
                                          .name = c.loss,
                                          .refine = c.refine,
                                          .peer_denom = c.peer_denom,
                                          .r_scope = c.r_scope,
                                          .detach_target = c.detach_target,
                                          .log_floor = c.log_floor,
                                          .classes = t.peers[0].classes,
                                          .max_batch = c.batch_size};
        t.loss = loss_program(&want);
        r = t.loss ? rt_train(&t) : SMKD_R_INVALID;
    }
    smkd_model_free(t.loss);
    for (int k = 0; k < 2; k++) rt_peer_release(&t.peers[k]);
    rt_config_release(&c);
    run_saved_release(&saved);
    lock_drop(&lock);
    return r == SMKD_R_OK ? EXIT_DONE : run_failed("train");
}

int run_train(int argc, char **argv) {
    static struct args_opt opts[MAX_OPTS];
    static const struct args_cmd cmd = {
        "smkd-run train",
        NULL,
        0,
        0,
        "Trains two networks on the same noisy labels with selective mutual knowledge "
        "distillation, or another loss. DIR gets\n"
        "config.json, metrics.jsonl, metrics.csv, last.safetensors and "
        "best.safetensors. The same seed gives the same bits on\n"
        "any number of threads, also when the run was killed and resumed.\n"
        "An artifact is a program, which this runs: give only what you compiled. Everything else "
        "is data.",
        opts};
    make_options(opts);
    struct args a;
    enum args_result r = args_parse(&a, &cmd, argc, argv);
    if (r != ARGS_RUN) return r == ARGS_HELP ? EXIT_DONE : EXIT_USAGE;
    int code = run(&a);
    args_release(&a);
    return code;
}
