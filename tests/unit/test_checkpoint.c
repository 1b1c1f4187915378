// The training loop over two artifacts made by hand: learning, determinism, stopping and resuming, a disk that fills
// up. Skipped where no C compiler makes those artifacts.
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../../runtime/train.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];
static bool have;

static const char *at(const char *name) {
    static char buf[8][160];
    static int k;
    k = (k + 1) % 8;
    snprintf(buf[k], sizeof buf[k], "%s/%s", dir, name);
    return buf[k];
}

// Images of class c are bright at pixels c and c + 10, with a pattern over them.
static void write_part(const char *images, const char *labels, unsigned n) {
    uint8_t *im = xcalloc(1, 16 + n * 20), *la = xcalloc(1, 8 + n);
    const uint8_t hi[16] = {0, 0, 8, 3, 0, 0, (uint8_t)(n >> 8), (uint8_t)n, 0, 0, 0, 4, 0, 0, 0, 5};
    const uint8_t hl[8] = {0, 0, 8, 1, 0, 0, (uint8_t)(n >> 8), (uint8_t)n};
    memcpy(im, hi, 16);
    memcpy(la, hl, 8);
    for (unsigned i = 0; i < n; i++) {
        unsigned c = i * 7 % 10;
        la[8 + i] = (uint8_t)c;
        for (unsigned p = 0; p < 20; p++) im[16 + i * 20 + p] = (uint8_t)(i * 31 % 60 + p * 3);
        im[16 + i * 20 + c] = im[16 + i * 20 + c + 10] = 250;
    }
    assert_int_equal(io_write_file(at(images), im, 16 + n * 20), SMKD_OK);
    assert_int_equal(io_write_file(at(labels), la, 8 + n), SMKD_OK);
    free(im);
    free(la);
}

static int make_artifact(const char *flag, const char *out) {
    char cmd[600];
    snprintf(cmd, sizeof cmd, "cc -std=c17 -O1 -shared -fPIC -nostdlib %s -o %s %s/tools/fake_artifacts.c 2>/dev/null",
             flag, at(out), TEST_DIR);
    return system(cmd) || seal_file(at(out)) != SMKD_OK;
}

struct job {
    const char *out, *threads, *epochs, *noise, *eta, *lr, *decay, *labels, *val_split, *loss;
    bool resume, overwrite;
    bool equal; // peers that start alike
    FILE *notes, *warnings;
};

// A list of what a run of these two peers keeps, into which a checkpoint is read.
struct whole {
    struct rt_kept kept;
    struct rt_progress_state state;
};
static enum smkd_result read_all(const char *path, smkd_model *const models[2], struct rt_progress_state *s) {
    struct whole w = {0};
    rt_keep_progress(&w.kept, &w.state, 2);
    for (int k = 0; k < 2; k++) rt_keep_peer(&w.kept, k, models[k]);
    for (int k = 0; k < 2; k++) rt_keep_momentum(&w.kept, k, models[k]);
    enum smkd_result r = rt_checkpoint_read(path, &w.kept, &w.state.unchecked);
    if (r == SMKD_R_OK) *s = w.state;
    rt_kept_release(&w.kept);
    return r;
}

static enum smkd_result train(const struct job *j) {
    struct rt_config c;
    struct rt_peer peers[2] = {{0}};
    struct rt_train t = {.config = &c,
                         .peers = peers,
                         .n_peers = 2,
                         .dir = at(j->out),
                         .resume = j->resume,
                         .overwrite = j->overwrite,
                         .progress = j->notes,
                         .warnings = j->warnings};
    const struct {
        const char *name, *value;
    } flags[] = {{"data", dir},
                 {"epochs", j->epochs ? j->epochs : "5"},
                 {"batch-size", "32"},
                 {"lr", j->lr ? j->lr : "0.1"},
                 {"noise", j->noise ? j->noise : "symmetric:0.2"},
                 {"threads", j->threads ? j->threads : "1"},
                 {"val-split", j->val_split ? j->val_split : "0.1"},
                 {"augment", "flip"},
                 {"weight-decay", j->decay ? j->decay : "5e-4"},
                 {"eta", j->eta ? j->eta : "2"},
                 {"labels", j->labels}};
    rt_config_init(&c, method_find("smkd-p"));
    enum smkd_result r = SMKD_R_OK;
    for (size_t i = 0; i < sizeof flags / sizeof *flags && r == SMKD_R_OK; i++)
        if (flags[i].value) r = rt_config_set(&c, flags[i].name, flags[i].value);
    if (r == SMKD_R_OK) r = rt_config_resolve(&c);
    char path[2][160];
    for (int k = 0; k < 2; k++) {
        snprintf(path[k], sizeof path[k], "%s", at("fake.smkd"));
        if (r == SMKD_R_OK) r = rt_peer_load(&t.peers[k], path[k], &(struct rt_peer_want){0});
    }
    t.loss = smkd_model_load(at(j->loss ? j->loss : "loss.smkd"));
    if (!t.loss) r = SMKD_R_INVALID;
    if (r == SMKD_R_OK) {
        // Peers that start differently.
        float *w = smkd_model_params(t.peers[1].model);
        for (int i = 0; i < 200 && !j->equal; i++) w[i] = 0.01f * (float)(i % 7);
        r = rt_train(&t);
    }
    for (int k = 0; k < 2; k++) rt_peer_release(&t.peers[k]);
    smkd_model_free(t.loss);
    rt_config_release(&c);
    return r;
}

static void ok(enum smkd_result r) {
    if (r != SMKD_R_OK) fail_msg("%s", smkd_last_error());
}

static char *slurp(const char *out, const char *file, size_t *n) {
    const void *m;
    char path[200];
    snprintf(path, sizeof path, "%s/%s", at(out), file);
    if (io_map(path, &m, n) != SMKD_OK) fail_msg("%s is missing", path);
    char *s = xmalloc(*n + 1);
    memcpy(s, m, *n);
    s[*n] = 0;
    io_unmap(m, *n);
    return s;
}

// Cuts the two timing fields off each line of metrics.jsonl.
static void without_times(char *s) {
    char *to = s;
    for (char *line = s; *line;) {
        char *end = strchr(line, '\n'), *cut = strstr(line, ",\"images_per_s\"");
        assert_non_null(end);
        assert_true(cut && cut < end);
        memmove(to, line, (size_t)(cut - line));
        to += cut - line;
        *to++ = '\n';
        line = end + 1;
    }
    *to = 0;
}

static void same_run(const char *a, const char *b) {
    static const char *const files[] = {"last.safetensors", "best.safetensors", "labels.npy", "metrics.jsonl"};
    for (int i = 0; i < 4; i++) {
        size_t n, m;
        char *x = slurp(a, files[i], &n), *y = slurp(b, files[i], &m);
        if (i == 3) {
            without_times(x);
            without_times(y);
            assert_string_equal(x, y);
        } else {
            assert_int_equal(n, m);
            if (memcmp(x, y, n)) fail_msg("%s differs between %s and %s", files[i], a, b);
        }
        free(x);
        free(y);
    }
}

static int lines(const char *s) {
    int n = 0;
    for (; *s; s++) n += *s == '\n';
    return n;
}

static void needs_artifacts(void) {
    if (!have) skip();
}

static void learns(void **state) {
    (void)state;
    needs_artifacts();
    ok(train(&(struct job){.out = "a"}));
    size_t n;
    char *m = slurp("a", "metrics.jsonl", &n);
    assert_int_equal(lines(m), 5);
    char *last = strstr(m, "{\"epoch\":5,");
    assert_non_null(last);
    char *top1 = strstr(last, "\"test_top1\":");
    assert_non_null(top1);
    if (strtod(top1 + 12, NULL) < 30) fail_msg("accuracy %s", top1);
    free(m);
    m = slurp("a", "metrics.csv", &n);
    assert_int_equal(lines(m), 6);
    assert_non_null(strstr(m, "selected_share_0"));
    free(m);
    m = slurp("a", "config.json", &n);
    assert_non_null(strstr(m, "\"content_hash\":\t\"0000000000000005\""));
    free(m);
}

// The number behind a name in a line of metrics.jsonl, at the `nth` place where it stands; NAN for null.
static double value_of(const char *line, const char *name, int nth) {
    char key[80];
    snprintf(key, sizeof key, "\"%s\":", name);
    for (;; nth--) {
        line = strstr(line, key);
        if (!line) fail_msg("no %s", key);
        line += strlen(key);
        if (nth == 0) return strncmp(line, "null", 4) ? strtod(line, NULL) : NAN;
    }
}

static void close_to(double got, double want) {
    if (!(fabs(got - want) < 1e-9)) fail_msg("%.17g is not %.17g", got, want);
}

// What a program keeps and corrects, beside counts over labels.npy and the data set's own labels.
static void detects(void **state) {
    (void)state;
    needs_artifacts();
    ok(train(
        &(struct job){.out = "kept", .epochs = "1", .val_split = "0", .noise = "symmetric:0.4", .loss = "kept.smkd"}));
    size_t size;
    char *npy = slurp("kept", "labels.npy", &size), *m = slurp("kept", "metrics.jsonl", &size);
    const char *head = npy + 10 + (uint8_t)npy[8];
    double wrong = 0, out = 0, found = 0, right = 0;
    for (int i = 0; i < 300; i++) {
        int64_t y, truth = i * 7 % 10;
        memcpy(&y, head + 8 * i, sizeof y);
        wrong += y != truth;
        out += y % 3 == 0;
        found += y % 3 == 0 && y != truth;
        right += (y + y % 2) % 10 == truth;
    }
    assert_true(wrong > 90 && wrong < 150 && found > 0 && found < out);
    double p = 100 * found / out, r = 100 * found / wrong;
    close_to(value_of(m, "noise_precision", 0), p);
    close_to(value_of(m, "noise_recall", 0), r);
    close_to(value_of(m, "noise_f1", 0), 2 * p * r / (p + r));
    close_to(value_of(m, "correction_precision", 0), 100 * right / 300);
    close_to(value_of(m, "kept_count", 0), 300 - out);
    // Who keeps all has found nothing.
    close_to(value_of(m, "noise_precision", 1), 0);
    close_to(value_of(m, "noise_recall", 1), 0);
    close_to(value_of(m, "noise_f1", 1), 0);
    assert_null(strstr(m, "mean_kept"));
    assert_null(strstr(m, "corrected"));
    close_to(value_of(m, "communication_frequency", 0),
             value_of(m, "selected_count", 0) + value_of(m, "selected_count", 1));
    close_to(value_of(m, "mean_test_top1", 0), (value_of(m, "test_top1", 0) + value_of(m, "test_top1", 1)) / 2);
    free(npy);
    free(m);
    // Labels that nobody replaced have no truth beside them; those that a file brought do.
    ok(train(&(struct job){.out = "own", .epochs = "1", .val_split = "0", .noise = "none", .loss = "kept.smkd"}));
    m = slurp("own", "metrics.jsonl", &size);
    assert_null(strstr(m, "noise_"));
    assert_null(strstr(m, "correction"));
    assert_non_null(strstr(m, "kept_share"));
    free(m);
    char clean[160];
    snprintf(clean, sizeof clean, "%s", at("own/labels.npy"));
    ok(train(&(struct job){
        .out = "same", .epochs = "1", .val_split = "0", .noise = "none", .labels = clean, .loss = "kept.smkd"}));
    m = slurp("same", "metrics.jsonl", &size);
    close_to(value_of(m, "noise_precision", 0), 0); // nothing is wrong, and some are not kept
    assert_true(isnan(value_of(m, "noise_recall", 0)) && isnan(value_of(m, "noise_f1", 0)));
    free(m);
}

static void same_bits(void **state) {
    (void)state;
    needs_artifacts();
    ok(train(&(struct job){.out = "b", .threads = "2"}));
    same_run("a", "b");
}

static void keeps_results(void **state) {
    (void)state;
    needs_artifacts();
    assert_int_not_equal(train(&(struct job){.out = "a"}), SMKD_R_OK);
    assert_non_null(strstr(smkd_last_error(), "--resume or start again with --overwrite"));
    assert_int_not_equal(train(&(struct job){.out = "a", .resume = true, .eta = "3", .epochs = "6"}), SMKD_R_OK);
    assert_non_null(strstr(smkd_last_error(), "--eta 3 (was 2)"));
    assert_non_null(strstr(smkd_last_error(), "--epochs 6 (was 5)"));
    ok(train(&(struct job){.out = "a", .resume = true})); // finished: nothing to do
    same_run("a", "b");
    ok(train(&(struct job){.out = "a", .overwrite = true}));
    same_run("a", "b");
}

// A process is killed at many moments of a run, each time resumed; the end is the same as without.
static void survives_kills(void **state) {
    (void)state;
    needs_artifacts();
    const struct job j = {.out = "c", .resume = true};
    int killed = 0;
    for (int i = 0; i < 400; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) _exit(train(&j) == SMKD_R_OK ? 0 : 1);
        usleep(600 + 45 * (useconds_t)i);
        kill(pid, SIGKILL);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFSIGNALED(status)) {
            killed++;
            continue;
        }
        assert_int_equal(WEXITSTATUS(status), 0);
        break;
    }
    assert_true(killed > 0);
    ok(train(&j));
    same_run("b", "c");
}

// Half a metrics line and a metrics line without its checkpoint are what a kill can leave behind.
static void mends_metrics(void **state) {
    (void)state;
    needs_artifacts();
    ok(train(&(struct job){.out = "d"}));
    FILE *f = fopen(at("d/metrics.jsonl"), "ab");
    fputs("{\"epoch\":6,\"progr", f);
    fclose(f);
    // So is what was being written; but a file of the user's own is not.
    assert_int_equal(io_write_file(at("d/last.safetensors.tmpAb12Cd"), "x", 1), SMKD_OK);
    assert_int_equal(io_write_file(at("d/last.safetensors.tmp"), "x", 1), SMKD_OK);
    ok(train(&(struct job){.out = "d", .resume = true}));
    same_run("b", "d");
    assert_int_not_equal(access(at("d/last.safetensors.tmpAb12Cd"), F_OK), 0);
    assert_int_equal(access(at("d/last.safetensors.tmp"), F_OK), 0);
}

// What a run with these flags warns of, and what was selected in its last epoch by peer 0.
static char *warned(struct job j, double *selected) {
    size_t n;
    j.warnings = tmpfile();
    assert_non_null(j.warnings);
    ok(train(&j));
    char *m = slurp(j.out, "metrics.jsonl", &n), *share = NULL;
    for (char *s = m; (s = strstr(s, "\"selected_share\":")); s++) share = s;
    assert_non_null(share);
    *selected = strtod(share + strlen("\"selected_share\":"), NULL);
    free(m);
    char *text = xcalloc(1, 4096);
    rewind(j.warnings);
    size_t got = fread(text, 1, 4095, j.warnings);
    text[got] = 0;
    fclose(j.warnings);
    return text;
}

// The suggested eta is taken at its word. The loss's threshold stands still and --b2 does not: the suggestion must
// come from the threshold that was used, whatever made it. Warnings come without progress, too.
static void suggests_eta(void **state) {
    (void)state;
    needs_artifacts();
    static const char *const etas[] = {"1000", "1e-3"}; // nobody, everybody
    for (int i = 0; i < 2; i++) {
        double selected;
        char *text = warned((struct job){.out = "h", .epochs = "1", .eta = etas[i], .overwrite = true}, &selected);
        assert_true(selected == i);
        char *eta = strstr(text, "--eta ");
        if (strncmp(text, "warning: epoch 1: the threshold ", 32) || lines(text) != 1 || !eta) fail_msg("%s", text);
        eta += strlen("--eta ");
        eta[strcspn(eta, " ")] = 0;
        char *quiet = warned((struct job){.out = "h", .epochs = "1", .eta = eta, .overwrite = true}, &selected);
        if (*quiet || selected < 0.25 || selected > 0.75) fail_msg("--eta %s selects %g: %s", eta, selected, quiet);
        free(quiet);
        free(text);
    }
}

static void tells_equal_peers(void **state) {
    (void)state;
    needs_artifacts();
    for (int equal = 0; equal < 2; equal++) {
        struct job j = {.out = "i", .epochs = "1", .equal = equal, .overwrite = true, .notes = tmpfile()};
        assert_non_null(j.notes);
        ok(train(&j));
        char text[4096];
        rewind(j.notes);
        text[fread(text, 1, sizeof text - 1, j.notes)] = 0;
        fclose(j.notes);
        if ((strstr(text, "note: both peers start with the same weights") != NULL) != equal) fail_msg("%s", text);
    }
}

// A label file is known by what it says, not by where it lies.
static void moved_labels(void **state) {
    (void)state;
    needs_artifacts();
    char text[601];
    for (int i = 0; i < 300; i++) snprintf(text + 2 * i, 3, "%d\n", i % 10);
    assert_int_equal(io_write_file(at("one.txt"), text, 600), SMKD_OK);
    assert_int_equal(io_write_file(at("two.txt"), text, 600), SMKD_OK);
    text[0] = '5';
    assert_int_equal(io_write_file(at("three.txt"), text, 600), SMKD_OK);
    ok(train(&(struct job){.out = "j", .labels = at("one.txt")}));
    ok(train(&(struct job){.out = "j", .labels = at("two.txt"), .resume = true}));
    assert_int_not_equal(train(&(struct job){.out = "j", .labels = at("three.txt"), .resume = true}), SMKD_R_OK);
    assert_non_null(strstr(smkd_last_error(), "the data is not the one the run began with"));
}

// No file may grow beyond a limit that the metrics pass and the checkpoint doesn't: what a full disk does.
static void full_disk(void **state) {
    (void)state;
    needs_artifacts();
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGXFSZ, SIG_IGN);
        enum smkd_result r = train(&(struct job){.out = "e", .epochs = "2"});
        size_t n = 0, m = 0;
        char *before = r == SMKD_R_OK ? slurp("e", "last.safetensors", &n) : NULL;
        struct rlimit lim = {3800, 3800};
        setrlimit(RLIMIT_FSIZE, &lim);
        r = train(&(struct job){.out = "f", .epochs = "2"});
        bool said = strstr(smkd_last_error(), "safetensors") && !strchr(smkd_last_error(), '\n');
        bool none = access(at("f/last.safetensors"), F_OK) != 0;
        // A run with a checkpoint keeps it: its configuration is the same, its last epoch is taken away.
        struct rt_progress_state s;
        smkd_model *models[] = {smkd_model_load(at("fake.smkd")), smkd_model_load(at("fake.smkd"))};
        bool read = read_all(at("e/last.safetensors"), models, &s) == SMKD_R_OK && s.epoch == 2;
        struct rt_kept list = {0};
        for (int k = 0; k < 2; k++) rt_keep_peer(&list, k, models[k]);
        for (int k = 0; k < 2; k++) rt_keep_momentum(&list, k, models[k]);
        rt_keep_progress(&list, &s, 2);
        bool refused = rt_checkpoint_write(at("e/last.safetensors"), &list, true) == SMKD_R_IO;
        rt_kept_release(&list);
        char *after = slurp("e", "last.safetensors", &m);
        bool kept = before && n == m && memcmp(before, after, n) == 0;
        free(before);
        free(after);
        smkd_model_free(models[0]);
        smkd_model_free(models[1]);
        _exit(r != SMKD_R_OK && said && none && read && refused && kept
                  ? 0
                  : 1 + (r == SMKD_R_OK) + 2 * !said + 4 * !none + 8 * !read + 16 * !refused + 32 * !kept);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void diverges(void **state) {
    (void)state;
    needs_artifacts();
    assert_int_not_equal(train(&(struct job){.out = "g", .lr = "1e6"}), SMKD_R_OK);
    const char *e = smkd_last_error();
    if (!strstr(e, ", step ") || !strstr(e, "lower --lr")) fail_msg("%s", e);
}

// Weights grow by lr * weight decay = 40000 a step: the ninth and last loss is still a number, the weights after it are
// none. Such weights are no checkpoint.
static void diverges_last(void **state) {
    (void)state;
    needs_artifacts();
    assert_int_not_equal(train(&(struct job){.out = "k", .epochs = "1", .lr = "1e4", .decay = "4"}), SMKD_R_OK);
    const char *e = smkd_last_error();
    if (!strstr(e, "epoch 1: \"peer.0.fc.weight\" is ") || !strstr(e, "lower --lr")) fail_msg("%s", e);
    assert_int_not_equal(access(at("k/last.safetensors"), F_OK), 0);
    assert_int_not_equal(access(at("k/best.safetensors"), F_OK), 0);
}

static void checks_files(void **state) {
    (void)state;
    needs_artifacts();
    struct rt_progress_state s;
    smkd_model *models[] = {smkd_model_load(at("fake.smkd")), smkd_model_load(at("fake.smkd"))};
    assert_non_null(models[0]);
    assert_int_not_equal(read_all(at("config.json"), models, &s), SMKD_R_OK);
    // best.safetensors holds no momentum: it is no place to go on from.
    assert_int_not_equal(read_all(at("b/best.safetensors"), models, &s), SMKD_R_OK);
    assert_non_null(strstr(smkd_last_error(), "momentum.0.fc.weight"));
    const float *w = smkd_model_params(models[0]);
    for (int i = 0; i < 200; i++) assert_true(w[i] == 0); // unchanged
    ok(rt_checkpoint_read_peer(at("b/best.safetensors"), 1, models[0], &s));
    assert_int_equal(s.epoch, s.best_epoch);
    ok(smkd_load_weights(models[1], at("b/best.safetensors"), "peer.1."));
    assert_memory_equal(smkd_model_params(models[0]), smkd_model_params(models[1]), 832);
    smkd_model_free(models[0]);
    smkd_model_free(models[1]);
}

// A bit changed anywhere in a checkpoint is refused, or changes nothing that is read: no weight, no number of the run.
static void damage(void **state) {
    (void)state;
    needs_artifacts();
    ok(train(&(struct job){.out = "n", .epochs = "1"}));
    size_t n, refused = 0, tried = 0;
    char path[200], *whole = slurp("n", "last.safetensors", &n), *bad = xmalloc(n);
    snprintf(path, sizeof path, "%s", at("n/last.safetensors"));
    struct rt_peer p[2];
    ok(rt_peer_load(&p[0], at("fake.smkd"), &(struct rt_peer_want){0}));
    ok(rt_peer_load(&p[1], at("fake.smkd"), &(struct rt_peer_want){0}));
    smkd_model *models[2] = {p[0].model, p[1].model};
    struct rt_progress_state want = {0}, got;
    ok(read_all(path, models, &want));
    assert_false(want.unchecked);
    size_t bytes = smkd_model_info(p[0].model)->param_bytes;
    char *weights = xmalloc(bytes);
    memcpy(weights, smkd_model_params(p[0].model), bytes);
    for (size_t at_byte = 8; at_byte < n; at_byte += 1 + at_byte % 5) {
        memcpy(bad, whole, n);
        bad[at_byte] ^= (char)(1 << at_byte % 8);
        FILE *f = fopen(path, "wb"); // not by rename: quick
        assert_true(f && fwrite(bad, 1, n, f) == n);
        fclose(f);
        tried++;
        if (read_all(path, models, &got) != SMKD_R_OK) {
            refused++;
            assert_non_null(strstr(smkd_last_error(), path));
        } else {
            assert_memory_equal(&got, &want, sizeof got);
            assert_memory_equal(weights, smkd_model_params(p[0].model), bytes);
        }
    }
    if (refused * 100 < tried * 98) fail_msg("%zu of %zu damaged files refused", refused, tried);
    ok(io_write_file(path, whole, n) == SMKD_OK ? SMKD_R_OK : SMKD_R_IO);

    // What is changed on purpose, with its checksums: numbers that no run leaves.
    static const struct {
        const char *tensor, *key, *value, *words;
    } cases[] = {{"peer.1.fc.weight", NULL, "1e31", "element 1 of tensor \"peer.1.fc.weight\" is 1e+31"},
                 {"momentum.0.fc.weight", NULL, "-inf", "element 1 of tensor \"momentum.0.fc.weight\" is infinite"},
                 {NULL, "best_epoch", "1000", "metadata \"best_epoch\" is 1000, behind its epoch"},
                 {"peer.0.fc.weight", NULL, "nan", "element 1 of tensor \"peer.0.fc.weight\" is nan"},
                 {"momentum.1.fc.weight", NULL, "nan", "element 1 of tensor \"momentum.1.fc.weight\" is nan"},
                 {NULL, "r.0", "nan", "metadata \"r.0\" is nan, expected 0 to 1"},
                 {NULL, "best", "inf", "metadata \"best\" is inf"},
                 {NULL, "best", "250", "metadata \"best\" is 250"},
                 {NULL, "epoch", "-1", "metadata \"epoch\" is -1"},
                 {NULL, "step", "99999999999999999", "metadata \"step\""},
                 {NULL, "epoch", "1.5", "metadata \"epoch\" is missing or damaged"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rt_tensors f, without = {0};
        ok(rt_safetensors_read(path, &f));
        for (size_t k = 0; k < f.n; k++)
            if (cases[i].tensor && strcmp(f.t[k].name, cases[i].tensor) == 0)
                ((float *)f.t[k].data)[1] = strtof(cases[i].value, NULL);
        for (size_t k = 0; k < f.n_meta; k++)
            if (!str_has_prefix(f.meta_keys[k], "checksum."))
                rt_tensors_add_meta(&without, f.meta_keys[k],
                                    cases[i].key && strcmp(f.meta_keys[k], cases[i].key) == 0 ? cases[i].value
                                                                                              : f.meta_values[k]);
        without.t = f.t;
        without.n = f.n;
        rt_tensors_add_sums(&without);
        ok(rt_safetensors_write(at("n/changed"), &without));
        without.t = NULL;
        without.n = 0;
        rt_tensors_release(&without);
        rt_tensors_release(&f);
        assert_int_not_equal(read_all(at("n/changed"), models, &got), SMKD_R_OK);
        if (!strstr(smkd_last_error(), cases[i].words))
            fail_msg("\"%s\" should say \"%s\"", smkd_last_error(), cases[i].words);
    }

    // A file of the version before, without checksums: read, and known to be unchecked.
    struct rt_tensors f, old = {0};
    ok(rt_safetensors_read(path, &f));
    for (size_t k = 0; k < f.n_meta; k++)
        if (!str_has_prefix(f.meta_keys[k], "checksum."))
            rt_tensors_add_meta(&old, f.meta_keys[k],
                                strcmp(f.meta_keys[k], "format") ? f.meta_values[k] : "smkd-checkpoint-1");
    old.t = f.t;
    old.n = f.n;
    ok(rt_safetensors_write(path, &old));
    old.t = NULL;
    old.n = 0;
    rt_tensors_release(&old);
    rt_tensors_release(&f);
    ok(read_all(path, models, &got));
    assert_true(got.unchecked && got.step == want.step && got.best == want.best);
    for (int k = 0; k < 2; k++) rt_peer_release(&p[k]);
    free(weights);
    free(whole);
    free(bad);
}

static void ranks_and_scores(void **state) {
    (void)state;
    const float z[5] = {1, 3, 3, NAN, 0};
    assert_int_equal(rt_rank(z, 5, 1), 0);
    assert_int_equal(rt_rank(z, 5, 2), 1); // equal: the lower index first
    assert_int_equal(rt_rank(z, 5, 0), 2);
    assert_int_equal(rt_rank(z, 5, 3), 5);
    // The calibration example of methods.md 12: 29.375 %.
    static const double conf[] = {.95, .9, .85, .8, .6, .55, .3, .1};
    static const int hit[] = {1, 1, 0, 1, 0, 1, 0, 1};
    struct rt_score s = {0};
    for (int i = 0; i < 8; i++) {
        double p[20];
        for (int c = 0; c < 20; c++) p[c] = (1 - conf[i]) / 19;
        p[3] = conf[i];
        rt_score_add(&s, p, 20, hit[i] ? 3 : 4);
    }
    assert_true(fabs(rt_score_ece(&s) - 29.375) < 1e-9);
    assert_true(fabs(rt_score_top1(&s) - 62.5) < 1e-9);
}

// A program by whose outputs a network would learn twice.
static void two_losses(void **state) {
    (void)state;
    if (!have) skip();
    assert_int_equal(train(&(struct job){.out = "both", .loss = "both.smkd"}), SMKD_R_MISMATCH);
    assert_non_null(strstr(smkd_last_error(), "has the outputs \"loss.all\" and \"loss.0\""));
    assert_false(rt_path_exists(at("both")));
}

int main(void) {
    snprintf(dir, sizeof dir, "/tmp/smkd-train-XXXXXX");
    if (!mkdtemp(dir)) return 1;
    write_part("train-images-idx3-ubyte", "train-labels-idx1-ubyte", 300);
    write_part("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", 100);
    have = make_artifact("", "fake.smkd") == 0 && make_artifact("-DFAKE_LOSS", "loss.smkd") == 0 &&
           make_artifact("-DFAKE_LOSS -DFAKE_KEPT", "kept.smkd") == 0 &&
           make_artifact("-DFAKE_LOSS -DFAKE_BOTH", "both.smkd") == 0;
    // Tests that fork come before OpenMP has made threads in this process, whose copies would have none.
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_and_scores), cmocka_unit_test(full_disk),
        cmocka_unit_test(learns),           cmocka_unit_test(detects),
        cmocka_unit_test(same_bits),        cmocka_unit_test(keeps_results),
        cmocka_unit_test(mends_metrics),    cmocka_unit_test(survives_kills),
        cmocka_unit_test(diverges),         cmocka_unit_test(checks_files),
        cmocka_unit_test(damage),           cmocka_unit_test(suggests_eta),
        cmocka_unit_test(moved_labels),     cmocka_unit_test(tells_equal_peers),
        cmocka_unit_test(diverges_last),    cmocka_unit_test(two_losses),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    char cmd[100];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", dir);
    if (system(cmd)) r++;
    return r;
}
