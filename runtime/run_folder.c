#define _XOPEN_SOURCE 700 // realpath
#include "run_folder.h"

#include "preparation.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const result_files[] = {"config.json", "labels.npy",       "metrics.jsonl",
                                           "metrics.csv", "best.safetensors", "last.safetensors"};
#define N_FILES (sizeof result_files / sizeof *result_files)

static bool has(const char *dir, const char *file) {
    char *p = rt_path_join(dir, file);
    bool yes = rt_path_exists(p);
    free(p);
    return yes;
}

enum smkd_result rt_run_lock(const char *dir, struct lock *lock) {
    long holder = 0;
    char *path = rt_path_join(dir, ".lock");
    enum smkd_status s = lock_take(lock, path, &holder);
    enum smkd_result r = SMKD_R_OK;
    if (s == SMKD_MISMATCH)
        r = rt_fail(SMKD_R_MISMATCH,
                    "%s: process %ld is training into this folder; wait for it to end, or give another "
                    "--output-dir",
                    dir, holder);
    else if (s != SMKD_OK)
        r = rt_fail(SMKD_R_IO, "%s: cannot be written: %s", path, strerror(errno));
    free(path);
    return r;
}

bool rt_run_exists(const char *dir) {
    for (size_t i = 0; i < N_FILES; i++)
        if (has(dir, result_files[i])) return true;
    return false;
}

// What a killed run was writing: "last.safetensors.tmpAb12Cd" is nobody's any more.
static void remove_leftovers(const char *dir) {
    DIR *d = opendir(dir);
    const struct dirent *e;
    if (!d) end_if_no_memory(errno);
    while (d && (e = readdir(d))) {
        for (size_t i = 0; i < N_FILES; i++) {
            size_t n = strlen(result_files[i]);
            if (strncmp(e->d_name, result_files[i], n) != 0 || strncmp(e->d_name + n, ".tmp", 4) != 0 ||
                strlen(e->d_name + n) != 10)
                continue;
            char *p = rt_path_join(dir, e->d_name);
            unlink(p); // where that fails, it was only in the way
            free(p);
        }
    }
    if (d) closedir(d);
}

// A name in the folder, in memory that is there: what follows must not end halfway for want of some.
struct place {
    char path[IO_PATH];
};
static struct place in_folder(const char *dir, const char *file, const char *ending) {
    struct place p;
    int n = snprintf(p.path, sizeof p.path, "%s/%s%s", dir, file, ending);
    if (n < 0 || (size_t)n >= sizeof p.path) p.path[0] = 0; // no such file
    return p;
}

static enum smkd_result remove_results(const char *dir) {
    enum smkd_result r = SMKD_R_OK;
    for (size_t i = 0; i < N_FILES; i++) {
        const struct place p = in_folder(dir, result_files[i], "");
        if (unlink(p.path) && errno != ENOENT)
            r = rt_fail(SMKD_R_IO, "%s: cannot be removed: %s", p.path, strerror(errno));
    }
    return r;
}

static void add_hex(cJSON *o, const char *key, uint64_t v) {
    char text[24];
    snprintf(text, sizeof text, "%016" PRIx64, v);
    cJSON_AddStringToObject(o, key, text);
}

static cJSON *floats(const float *v, int n) {
    cJSON *a = cJSON_CreateArray();
    for (int i = 0; i < n; i++) {
        char text[32];
        snprintf(text, sizeof text, "%.7g", (double)v[i]);
        cJSON_AddItemToArray(a, cJSON_CreateNumber(strtod(text, NULL)));
    }
    return a;
}

static cJSON *describe_artifact(const smkd_model *m) {
    const struct smkd_artifact *info = smkd_model_info(m);
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "name", info->name ? info->name : "");
    add_hex(o, "content_hash", info->content_hash);
    cJSON_AddStringToObject(o, "producer", info->producer ? info->producer : "");
    cJSON_AddStringToObject(o, "target_cpu", info->target_cpu ? info->target_cpu : "");
    return o;
}

static cJSON *describe_network(const smkd_model *m) {
    cJSON *o = describe_artifact(m);
    const struct smkd_artifact *info = smkd_model_info(m);
    if (info->initial) add_hex(o, "weights_hash", checksum64(info->initial, info->param_bytes));
    return o;
}

static cJSON *describe_peer(const struct rt_peer *p) {
    cJSON *o = describe_network(p->model);
    const int dims[] = {p->channels, p->height, p->width};
    char *full = realpath(p->path, NULL);
    if (!full) end_if_no_memory(errno);
    cJSON_AddStringToObject(o, "artifact", full ? full : p->path);
    free(full);
    cJSON_AddItemToObject(o, "input", cJSON_CreateIntArray(dims, 3));
    cJSON_AddNumberToObject(o, "classes", p->classes);
    uint64_t parameters = 0;
    const struct smkd_abi_tensor *t;
    for (size_t i = 0; (t = smkd_model_nth(p->model, SMKD_ABI_PARAM, i)); i++) parameters += t->numel;
    cJSON_AddNumberToObject(o, "parameters", (double)parameters);
    return o;
}

// With the numbers that it has now: those of a run are not the artifact's.
static cJSON *describe_teacher(const struct rt_peer *p) {
    cJSON *o = describe_peer(p);
    add_hex(o, "parameters_hash", checksum64(smkd_model_params(p->model), smkd_model_info(p->model)->param_bytes));
    return o;
}

static cJSON *describe_data(const struct rt_train_data *d) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "name", d->set.name);
    cJSON_AddNumberToObject(o, "classes", d->classes);
    cJSON_AddNumberToObject(o, "train_images", (double)d->n_train);
    cJSON_AddNumberToObject(o, "validation_images", (double)d->n_validation);
    cJSON_AddNumberToObject(o, "test_images", (double)d->set.test.n);
    cJSON_AddItemToObject(o, "mean", floats(d->set.mean, d->set.train.channels));
    cJSON_AddItemToObject(o, "std", floats(d->set.std, d->set.train.channels));
    cJSON_AddNumberToObject(o, "noise_rate", d->noise_rate);
    add_hex(o, "fingerprint", d->fingerprint);
    return o;
}

static cJSON *describe_preparation(const struct rt_train_data *d) {
    struct rt_preparation p;
    rt_preparation_init(&p);
    rt_preparation_of_run(&p, &d->transform, &d->set);
    cJSON *o = rt_preparation_json(&p);
    rt_preparation_release(&p);
    return o;
}

static cJSON *describe_run(const struct rt_train *t, const struct rt_train_data *d, int threads) {
    cJSON *root = cJSON_CreateObject(), *machine = cJSON_CreateObject(), *peers = cJSON_CreateArray();
    char room[CPUINFO_ROOM];
    const char *cpu = cpuinfo("model name", room);
    cJSON_AddStringToObject(root, "smkd", smkd_version());
    cJSON_AddItemToObject(root, "config", rt_config_to_json(t->config));
    for (int k = 0; k < t->n_peers; k++) cJSON_AddItemToArray(peers, describe_peer(&t->peers[k]));
    cJSON_AddItemToObject(root, "peers", peers);
    cJSON *teachers = t->n_teachers ? cJSON_AddArrayToObject(root, "teachers") : NULL;
    for (int k = 0; k < t->n_teachers; k++) cJSON_AddItemToArray(teachers, describe_teacher(&t->teachers[k]));
    cJSON_AddItemToObject(root, "loss", describe_artifact(t->loss));
    cJSON_AddItemToObject(root, "data", describe_data(d));
    cJSON_AddItemToObject(root, "preparation", describe_preparation(d));
    struct str best = STR_INIT;
    str_addf(&best, "ensemble's %s on the %s images%s",
             t->config->row->family->regression ? "squared error" : "accuracy", d->n_validation ? "validation" : "test",
             t->config->model_ema ? ", of the averages" : "");
    cJSON_AddStringToObject(root, "best", best.s);
    str_release(&best);
    cJSON_AddStringToObject(machine, "cpu", *cpu ? cpu : "unknown");
    cJSON_AddNumberToObject(machine, "threads", threads);
    cJSON_AddItemToObject(root, "machine", machine);
    return root;
}

static const char *text_at(const cJSON *o, const char *key) {
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
    return s ? s : "";
}

static void compare_text(struct str *out, const char *what, const cJSON *now, const cJSON *was, const char *key) {
    if (strcmp(text_at(now, key), text_at(was, key)) != 0)
        str_addf(out, "%s%s is not the one the run began with", out->len ? ", " : "", what);
}

// Whether a peer is the one that was: its graph, and its initial weights where they were written down.
static bool same_peer(const cJSON *now, const cJSON *was) {
    const char *weights = text_at(was, "weights_hash");
    return strcmp(text_at(now, "content_hash"), text_at(was, "content_hash")) == 0 &&
           (!*weights || strcmp(text_at(now, "weights_hash"), weights) == 0);
}

bool rt_folder_has_peer(const cJSON *was, const smkd_model *m) {
    cJSON *now = describe_network(m);
    bool same = same_peer(now, was);
    cJSON_Delete(now);
    return same;
}

// Peers in another order are said as that.
static void compare_peers(struct str *out, const cJSON *now, const cJSON *was) {
    const cJSON *a = cJSON_GetObjectItemCaseSensitive(now, "peers"),
                *b = cJSON_GetObjectItemCaseSensitive(was, "peers");
    const int n = cJSON_GetArraySize(a);
    if (n != cJSON_GetArraySize(b)) {
        str_addf(out, "%sthe run began with %d networks, not %d", out->len ? ", " : "", cJSON_GetArraySize(b), n);
        return;
    }
    bool permuted = true, used[METHOD_MAX_PEERS] = {false};
    int differ = 0;
    for (int i = 0; i < n; i++) {
        int j = 0;
        while (j < n && (used[j] || !same_peer(cJSON_GetArrayItem(a, i), cJSON_GetArrayItem(b, j)))) j++;
        permuted = permuted && j < n;
        if (j < n) used[j] = true;
        differ += !same_peer(cJSON_GetArrayItem(a, i), cJSON_GetArrayItem(b, i));
    }
    if (differ && permuted) {
        str_addf(out, "%sthe peers come in another order: the run began with", out->len ? ", " : "");
        for (int i = 0; i < n; i++) str_addf(out, " --peer %s", text_at(cJSON_GetArrayItem(b, i), "artifact"));
        return;
    }
    for (int k = 0; k < n; k++) {
        const cJSON *x = cJSON_GetArrayItem(a, k), *y = cJSON_GetArrayItem(b, k);
        if (!same_peer(x, y))
            str_addf(out, "%s--peer %d, %s, is not the one the run began with, which was \"%s\" of %s",
                     out->len ? ", " : "", k, text_at(x, "artifact"), text_at(y, "name"), text_at(y, "artifact"));
    }
}

static void compare_teachers(struct str *out, const cJSON *now, const cJSON *was) {
    const cJSON *a = cJSON_GetObjectItemCaseSensitive(now, "teachers"),
                *b = cJSON_GetObjectItemCaseSensitive(was, "teachers");
    const int n = cJSON_GetArraySize(a);
    if (n != cJSON_GetArraySize(b))
        str_addf(out, "%sthe run began with %d teachers, not %d", out->len ? ", " : "", cJSON_GetArraySize(b), n);
    for (int k = 0; k < n && k < cJSON_GetArraySize(b); k++) {
        const cJSON *x = cJSON_GetArrayItem(a, k), *y = cJSON_GetArrayItem(b, k);
        if (!same_peer(x, y) || strcmp(text_at(x, "parameters_hash"), text_at(y, "parameters_hash")) != 0)
            str_addf(out, "%steacher %d, %s, is not the one the run began with", out->len ? ", " : "", k,
                     text_at(x, "artifact"));
    }
}

static enum smkd_result compare(const struct rt_train *t, const cJSON *now, const cJSON *was, const char *path) {
    struct rt_config before;
    struct str differ = STR_INIT;
    rt_config_init(&before, t->config->row);
    enum smkd_result r = rt_config_from_json(&before, cJSON_GetObjectItemCaseSensitive(was, "config"), path);
    if (r == SMKD_R_OK) {
        rt_config_differences(t->config, &before, &differ);
        compare_peers(&differ, now, was);
        compare_teachers(&differ, now, was);
        // A program of the catalogue is told by the method and its switches: another version compiles other bytes.
        if (!method_find(t->config->method))
            compare_text(&differ, "the loss program", cJSON_GetObjectItemCaseSensitive(now, "loss"),
                         cJSON_GetObjectItemCaseSensitive(was, "loss"), "content_hash");
        compare_text(&differ, "the data", cJSON_GetObjectItemCaseSensitive(now, "data"),
                     cJSON_GetObjectItemCaseSensitive(was, "data"), "fingerprint");
        if (differ.len)
            r = rt_fail(SMKD_R_MISMATCH, "%s: --resume goes on with the configuration the run began with, but: %s",
                        path, differ.s);
    }
    str_release(&differ);
    rt_config_release(&before);
    return r;
}

// What a folder has before its configuration is complete, and what therefore goes again where the run does not come
// that far.
struct half {
    struct io_made made;
    int lock, files[2];
};

static void half_end(struct half *h, bool keep) {
    const int guards[] = {h->lock, h->files[0], h->files[1]};
    for (size_t i = 0; i < sizeof guards / sizeof *guards; i++)
        if (guards[i] >= 0) (keep ? cleanup_drop : cleanup_one)(guards[i]);
    (keep ? io_made_keep : io_made_undo)(&h->made);
}

// The new files are whole before the old ones go: whatever is missing is missing then. The configuration comes last: a
// folder with one is complete.
static enum smkd_result begin(const struct rt_train *t, const struct rt_train_data *d, const cJSON *now,
                              struct half *h) {
    static const char *const names[2] = {"labels.npy", "config.json"};
    static const char ending[] = ".tmp-begin"; // remove_leftovers knows it
    struct place from[2], to[2];
    for (int i = 0; i < 2; i++) {
        from[i] = in_folder(t->dir, names[i], ending);
        to[i] = in_folder(t->dir, names[i], "");
        h->files[i] = cleanup_add(from[i].path);
    }
    enum smkd_result r = rt_labels_write(from[0].path, d->given, d->set.train.n);
    if (r == SMKD_R_OK) r = rt_json_write(from[1].path, now);
    if (r == SMKD_R_OK && t->overwrite) r = remove_results(t->dir);
    for (int i = 0; i < 2 && r == SMKD_R_OK; i++)
        if (io_rename(from[i].path, to[i].path) != SMKD_OK)
            r = rt_fail(SMKD_R_IO, "%s: cannot be written: %s", to[i].path, strerror(errno));
    return r;
}

static enum smkd_result go_on(const struct rt_train *t, const cJSON *now, bool *resuming) {
    char *path = rt_path_join(t->dir, "config.json");
    cJSON *was = rt_json_read(path);
    enum smkd_result r = was ? compare(t, now, was, path) : SMKD_R_INVALID;
    *resuming = r == SMKD_R_OK && has(t->dir, "last.safetensors");
    cJSON_Delete(was);
    free(path);
    return r;
}

static enum smkd_result open_locked(const struct rt_train *t, const struct rt_train_data *d, const cJSON *now,
                                    struct half *h, bool *resuming) {
    if (!t->overwrite && !t->resume && rt_run_exists(t->dir))
        return rt_fail(SMKD_R_INVALID,
                       "%s: holds the results of a run; go on with --resume or start again with --overwrite", t->dir);
    enum smkd_result r = !t->overwrite && has(t->dir, "config.json") ? go_on(t, now, resuming) : begin(t, d, now, h);
    if (r == SMKD_R_OK) remove_leftovers(t->dir);
    return r;
}

enum smkd_result rt_folder_open(const struct rt_train *t, const struct rt_train_data *d, int threads, bool *resuming) {
    struct half h = {.lock = -1, .files = {-1, -1}};
    cJSON *now = describe_run(t, d, threads); // before anything is touched
    const struct place lock = in_folder(t->dir, ".lock", "");
    enum smkd_result r = SMKD_R_OK;
    *resuming = false;
    if (io_make_dirs_for_now(t->dir, &h.made) != SMKD_OK)
        r = rt_fail(SMKD_R_IO, "%s: cannot be made: %s", t->dir, strerror(errno));
    if (r == SMKD_R_OK && !t->lock->held) {
        r = rt_run_lock(t->dir, t->lock);
        if (r == SMKD_R_OK && h.made.n) h.lock = cleanup_add(lock.path);
    }
    if (r == SMKD_R_OK) r = open_locked(t, d, now, &h, resuming);
    half_end(&h, r == SMKD_R_OK);
    cJSON_Delete(now);
    return r;
}
