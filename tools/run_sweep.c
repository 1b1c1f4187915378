// smkd-run sweep: a grid of training runs, from a file or from the command line, with a table and a figure of them.
#include "run_sweep.h"

#include "config_args.h"
#include "run_train.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct args_opt opts[] = {
    {"output-dir", 'o', "DIR", NULL, "where models, runs and results go (default: the file's \"output_dir\")", 0},
    {"grid", 0, "FLAG=V,..", NULL, "values of a flag to try: each with each of the others", ARGS_REPEAT},
    {"rows", 0, "NAME,..", NULL, "what makes the table's rows: flags of the grid, or case", 0},
    {"columns", 0, "NAME,..", NULL, "what makes its columns; it is the mean over what is in neither", 0},
    {"measure", 0, "COLUMN", NULL, "of metrics.csv after the last epoch (default ensemble_test_top1)", ARGS_REPEAT},
    {"curve", 0, "COLUMN", NULL, "draw this column of metrics.csv over epochs", 0},
    {"x", 0, "NAME", NULL, "draw lines over the numbers of this flag, which makes the columns", 0},
    {"full", 0, NULL, NULL, "with what the file's \"full\" changes", 0},
    {"jobs", 'j', "N", "1", "runs at a time, each with its share of the cores; results do not depend on it", 0},
    {"dry-run", 'n', NULL, NULL, "list what would be run, in that order, and do nothing", 0},
    {"report", 0, NULL, NULL, "only table and figure of what is finished", 0},
    {0}};
static const struct args_cmd cmd = {
    "smkd-run sweep",
    "[FILE.json|DIR]",
    0,
    1,
    "Runs smkd-run train for every combination of some flags' values, goes on where it was\n"
    "interrupted, and makes a table of means and deviations and a figure of it. FILE.json\n"
    "describes the runs (docs/sweep.md); DIR is the folder of an earlier sweep. Behind -- stand\n"
    "flags of smkd-run train that all runs have:\n"
    "    smkd-run sweep -o DIR --grid method=smkd-p,ce --grid seed=1,2,3 -- --peer a.smkd ...\n"
    "DIR gets runs/, models/, results.csv, table.csv, table.md and figure.svg.",
    opts};

// --- the command line as members of the description ------------------------------------------------------------------

static void replace(cJSON *o, const char *key, cJSON *v) {
    cJSON_DeleteItemFromObjectCaseSensitive(o, key);
    cJSON_AddItemToObject(o, key, v);
}

// The same for a flag, however the file writes it.
static void replace_flag(cJSON *o, const char *name, cJSON *v) {
    char flag[CONFIG_ARGS_FLAG], other[CONFIG_ARGS_FLAG];
    config_args_flag(name, flag);
    for (cJSON *x = o->child, *next; x; x = next) {
        next = x->next;
        config_args_flag(x->string, other);
        if (strcmp(flag, other) == 0) cJSON_Delete(cJSON_DetachItemViaPointer(o, x));
    }
    cJSON_AddItemToObject(o, flag, v);
}

static cJSON *object_in(cJSON *root, const char *key) {
    cJSON *o = cJSON_GetObjectItemCaseSensitive(root, key);
    if (o) return o;
    o = cJSON_CreateObject();
    cJSON_AddItemToObject(root, key, o);
    return o;
}

// "A,B" as a list.
static cJSON *list_of(const char *text, bool truths) {
    cJSON *list = cJSON_CreateArray();
    for (const char *p = text;; p++) {
        struct str part = STR_INIT;
        const size_t n = strcspn(p, ",");
        str_addn(&part, p, n);
        const char *s = part.s ? part.s : "";
        const bool yes = strcmp(s, "true") == 0;
        cJSON_AddItemToArray(list, truths && (yes || strcmp(s, "false") == 0) ? cJSON_CreateBool(yes)
                                                                              : cJSON_CreateString(s));
        str_release(&part);
        if (!p[n]) return list;
        p += n;
    }
}

static bool takes_no_value(const char *flag) {
    for (const struct args_opt *o = sweep_train_options(); o->name; o++)
        if (strcmp(o->name, flag) == 0) return !o->value;
    return false;
}

static enum smkd_result add_grid(cJSON *root, const struct args *a) {
    for (size_t i = 0; i < args_count(a, "grid"); i++) {
        const char *text = args_nth(a, "grid", i), *eq = strchr(text, '=');
        if (!eq || eq == text || !eq[1])
            return rt_fail(SMKD_R_INVALID, "--grid %s: expected FLAG=VALUE,VALUE,...", text);
        struct str flag = STR_INIT;
        str_addn(&flag, text, (size_t)(eq - text));
        replace_flag(object_in(root, "grid"), flag.s, list_of(eq + 1, takes_no_value(flag.s)));
        str_release(&flag);
    }
    return SMKD_R_OK;
}

// Flags behind --, over those that all runs of the file have.
static int add_common(cJSON *root, int argc, char **argv) {
    struct args_cmd train = {"smkd-run train", NULL, 0, 0, "", sweep_train_options()};
    struct args a;
    const enum args_result r = args_parse(&a, &train, argc, argv);
    if (r != ARGS_RUN) return r == ARGS_HELP ? EXIT_DONE : EXIT_USAGE;
    cJSON *common = object_in(root, "common");
    for (size_t i = 0; i < a.n_hits; i++) {
        const struct args_opt *o = &train.opts[a.hits[i].opt];
        const size_t n = args_count(&a, o->name);
        cJSON *v = !o->value ? cJSON_CreateTrue() : n == 1 ? cJSON_CreateString(a.hits[i].value) : cJSON_CreateArray();
        for (size_t k = 0; o->value && n > 1 && k < n; k++)
            cJSON_AddItemToArray(v, cJSON_CreateString(args_nth(&a, o->name, k)));
        replace_flag(common, o->name, v);
    }
    args_release(&a);
    return -1;
}

static void add_options(cJSON *root, const struct args *a, const char *dir) {
    static const char *const lists[] = {"rows", "columns"}, *const texts[] = {"curve", "x"};
    for (size_t i = 0; i < 2; i++) {
        if (args_given(a, lists[i])) replace(root, lists[i], list_of(args_str(a, lists[i]), false));
        if (args_given(a, texts[i])) replace(root, texts[i], cJSON_CreateString(args_str(a, texts[i])));
    }
    if (args_given(a, "measure")) {
        cJSON *list = cJSON_CreateArray();
        for (size_t i = 0; i < args_count(a, "measure"); i++)
            cJSON_AddItemToArray(list, cJSON_CreateString(args_nth(a, "measure", i)));
        replace(root, "measure", list);
    }
    if (dir) replace(root, "output_dir", cJSON_CreateString(dir));
}

static enum smkd_result choose_full(cJSON *root, bool full, const char *file) {
    cJSON *patch = cJSON_DetachItemFromObjectCaseSensitive(root, "full");
    enum smkd_result r = SMKD_R_OK;
    if (patch && !cJSON_IsObject(patch))
        r = rt_fail(SMKD_R_INVALID, "%s: \"full\" is no object", file);
    else if (full && !patch)
        r = rt_fail(SMKD_R_INVALID, "%s: has no \"full\" for --full", file);
    else if (full)
        sweep_merge(root, patch);
    cJSON_Delete(patch);
    return r;
}

// --- doing it --------------------------------------------------------------------------------------------------------

static void add_word(struct str *out, const char *word) {
    bool plain = *word;
    for (const char *p = word; *p; p++) plain = plain && (isalnum((unsigned char)*p) || strchr("-_=.,:/+@%", *p));
    if (plain) {
        str_add(out, word);
        return;
    }
    str_add(out, "'");
    for (; *word; word++) str_addf(out, *word == '\'' ? "'\\''" : "%c", *word);
    str_add(out, "'");
}

static void list_runs(struct sweep *s) {
    size_t n;
    const size_t *order = sweep_jobs_order(s, &n);
    printf("%zu of %zu runs would be run in %s\n", n, s->n_runs, printable(s->dir));
    for (size_t i = 0; i < n; i++) {
        const struct sweep_run *r = &s->run[order[i]];
        struct str line = STR_INIT;
        if (r->state == SWEEP_HALF)
            str_addf(&line, "%s (from epoch %lld of %lld)", r->name, (long long)r->done, (long long)r->epochs);
        else
            str_add(&line, r->name);
        for (size_t k = 0; k < r->flags.n; k++) {
            const struct sweep_flag *f = &r->flags.f[k];
            if (f->bare) str_addf(&line, " --%s", f->name);
            for (size_t v = 0; v < f->n; v++) {
                str_addf(&line, " --%s ", f->name);
                add_word(&line, f->value[v]);
            }
        }
        struct str safe = STR_INIT;
        str_add_escaped(&safe, line.s, line.len);
        printf("%s\n", safe.s);
        str_release(&safe);
        str_release(&line);
    }
}

static enum smkd_result report(struct sweep *s) {
    enum smkd_result r = sweep_metrics_read(s);
    if (r == SMKD_R_OK) r = sweep_table_write(s, stdout);
    char *path = rt_path_join(s->dir, "figure.svg");
    if (r == SMKD_R_OK) r = sweep_figure_write(s, path);
    free(path);
    return r;
}

static enum smkd_result begin_locked(struct sweep *s, const cJSON *root) {
    bool any;
    enum smkd_result r = sweep_models_make(s, &any);
    if (r == SMKD_R_OK && any) r = sweep_folder_look(s, true);
    char *path = rt_path_join(s->dir, "sweep.json");
    if (r == SMKD_R_OK) r = rt_json_write(path, root);
    free(path);
    return r;
}

// The folder, its lock, and what is to be there before the first run. After a failure nothing that is new stays.
static enum smkd_result begin(struct sweep *s, const cJSON *root, struct lock *lock) {
    struct io_made made = {0};
    long holder = 0;
    int guard = -1;
    enum smkd_result r = SMKD_R_OK;
    char *path = rt_path_join(s->dir, ".lock");
    if (io_make_dirs_for_now(s->dir, &made) != SMKD_OK)
        r = rt_fail(SMKD_R_IO, "%s: cannot be made: %s", s->dir, strerror(errno));
    const enum smkd_status got = r == SMKD_R_OK ? lock_take(lock, path, &holder) : SMKD_OK;
    if (got == SMKD_MISMATCH)
        r = rt_fail(SMKD_R_MISMATCH, "%s: process %ld runs a sweep in this folder; wait for it to end", s->dir, holder);
    else if (got != SMKD_OK)
        r = rt_fail(SMKD_R_IO, "%s: cannot be written: %s", path, strerror(errno));
    if (r == SMKD_R_OK && made.n) guard = cleanup_add(path);
    if (r == SMKD_R_OK) r = begin_locked(s, root);
    if (guard >= 0) (r == SMKD_R_OK ? cleanup_drop : cleanup_one)(guard);
    (r == SMKD_R_OK ? io_made_keep : io_made_undo)(&made);
    free(path);
    return r;
}

static enum smkd_result run_and_report(struct sweep *s, const cJSON *root, int64_t jobs, int *failed) {
    struct lock lock = {0};
    enum smkd_result r = begin(s, root, &lock);
    if (r == SMKD_R_OK) r = sweep_jobs_run(s, jobs, failed);
    if (r == SMKD_R_OK) r = report(s);
    lock_drop(&lock);
    return r;
}

static int with_description(const struct args *a, const cJSON *root, const char *file) {
    struct sweep s;
    int failed = 0;
    int64_t jobs = 1;
    if (!args_i64(a, "jobs", 1, 1024, &jobs)) return EXIT_USAGE;
    enum smkd_result r = sweep_read(&s, root, file);
    if (r == SMKD_R_OK) r = sweep_models_check(&s);
    if (r == SMKD_R_OK) r = sweep_folder_look(&s, !args_given(a, "report"));
    if (r == SMKD_R_OK && args_given(a, "dry-run"))
        list_runs(&s);
    else if (r == SMKD_R_OK && !args_given(a, "report"))
        r = run_and_report(&s, root, jobs, &failed);
    else if (r == SMKD_R_OK)
        r = run_is_folder(s.dir) ? report(&s) : rt_fail(SMKD_R_INVALID, "%s: there is nothing to report of", s.dir);
    sweep_release(&s);
    if (r != SMKD_R_OK) return run_failed("sweep");
    if (failed) fprintf(stderr, "%d run%s failed; the same command tries again\n", failed, failed == 1 ? "" : "s");
    return failed ? EXIT_FAILED : EXIT_DONE;
}

static int run(const struct args *a, int n_train, char **train) {
    const char *file = a->n_pos ? a->pos[0] : NULL, *dir = args_str(a, "output-dir");
    char *inside = file && run_is_folder(file) ? rt_path_join(file, "sweep.json") : NULL;
    cJSON *root = !file ? cJSON_CreateObject() : rt_json_read(inside ? inside : file);
    const char *called = !file ? "the command line" : inside ? inside : file;
    enum smkd_result r = root ? SMKD_R_OK : SMKD_R_INVALID;
    int code = -1;
    if (r == SMKD_R_OK && !cJSON_IsObject(root)) r = rt_fail(SMKD_R_INVALID, "%s: is no JSON object", called);
    if (r == SMKD_R_OK) r = choose_full(root, args_given(a, "full"), called);
    static const char *const objects[] = {"common", "grid"};
    for (size_t i = 0; i < 2 && r == SMKD_R_OK; i++) { // before anything is added to them
        const cJSON *o = cJSON_GetObjectItemCaseSensitive(root, objects[i]);
        if (o && !cJSON_IsObject(o)) r = rt_fail(SMKD_R_INVALID, "%s: \"%s\" is no object", called, objects[i]);
    }
    if (r == SMKD_R_OK) r = add_grid(root, a);
    if (r == SMKD_R_OK && n_train) code = add_common(root, n_train, train);
    if (r == SMKD_R_OK && code < 0) {
        add_options(root, a, dir ? dir : inside ? file : NULL);
        code = with_description(a, root, called);
    }
    if (r != SMKD_R_OK) code = run_failed("sweep");
    cJSON_Delete(root);
    free(inside);
    return code;
}

int run_sweep(int argc, char **argv) {
    int own = 0;
    while (own < argc && strcmp(argv[own], "--") != 0) own++;
    struct args a;
    const enum args_result r = args_parse(&a, &cmd, own, argv);
    if (r != ARGS_RUN) return r == ARGS_HELP ? EXIT_DONE : EXIT_USAGE;
    int code = run(&a, own < argc ? argc - own - 1 : 0, argv + own + 1);
    args_release(&a);
    return code;
}
