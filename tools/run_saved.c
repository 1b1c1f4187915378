// Reading a run folder's config.json back.
#include "run_train.h"

#include "loss_program.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int run_failed(const char *cmd) {
    const char *e = smkd_last_error();
    fprintf(stderr, "smkd-run %s: error: %s\n", cmd, *e ? e : "out of memory");
    return EXIT_FAILED;
}

void run_note_unchecked(const char *path) {
    fprintf(stderr,
            "note: %s has no checksums (an earlier version or another program wrote it): its numbers are unchecked\n",
            printable(path));
}

// Which method's numbers a configuration has: that of the name, or of the program that was a file.
static const struct method *saved_method(const cJSON *root) {
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(root, "config");
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(config, "method");
    if (!name) name = cJSON_GetObjectItemCaseSensitive(config, "loss"); // as it was called once
    const struct method *m = method_find(cJSON_GetStringValue(name));
    if (!m && cJSON_IsString(name) && loss_is_text(name->valuestring)) return &method_own;
    if (!m)
        m = method_find(cJSON_GetStringValue(
            cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(root, "loss"), "name")));
    return m ? m : method_find("smkd-p");
}

const struct method *run_method(const char *name) {
    const struct method *m = method_find(name);
    if (!m && loss_is_text(name)) return &method_own;
    if (!m && loss_is_file(name)) {
        smkd_model *file = smkd_model_read(name);
        if (!file) return NULL;
        m = method_find(smkd_model_info(file)->name);
        smkd_model_free(file);
        return m ? m : method_find("smkd-p");
    }
    if (!m) {
        struct str all = STR_INIT;
        method_names(&all);
        rt_fail(SMKD_R_INVALID, "there is no method \"%s\"; expected one of %s, or a file made with smkdc loss", name,
                all.s);
        str_release(&all);
    }
    return m;
}

const struct method *run_method_of_folder(const char *dir, int argc, char **argv) {
    const struct method *m = NULL;
    bool resume = false;
    for (int i = 0; i < argc; i++) resume = resume || strcmp(argv[i], "--resume") == 0;
    char *path = dir && resume ? rt_path_join(dir, "config.json") : NULL;
    cJSON *root = path && rt_path_exists(path) ? rt_json_read(path) : NULL;
    if (root) m = saved_method(root);
    cJSON_Delete(root);
    free(path);
    return m ? m : method_find("smkd-p");
}

bool run_is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static enum smkd_result numbers(const cJSON *a, float *out, int *n, const char *path, const char *key) {
    *n = cJSON_IsArray(a) ? cJSON_GetArraySize(a) : 0;
    if (*n < 1 || *n > RT_MAX_CHANNELS)
        return rt_fail(SMKD_R_INVALID, "%s: data.%s is not a list of numbers", path, key);
    for (int i = 0; i < *n; i++) {
        const cJSON *v = cJSON_GetArrayItem(a, i);
        if (!cJSON_IsNumber(v)) return rt_fail(SMKD_R_INVALID, "%s: data.%s is not a list of numbers", path, key);
        out[i] = (float)v->valuedouble;
        if (!isfinite(out[i]) || (strcmp(key, "std") == 0 && !(out[i] > 0)))
            return rt_fail(SMKD_R_INVALID, "%s: data.%s[%d] is %g, which no run has", path, key, i, v->valuedouble);
    }
    return SMKD_R_OK;
}

static enum smkd_result fill(struct run_saved *s, const cJSON *root, const char *path) {
    rt_config_release(&s->config);
    rt_config_init(&s->config, saved_method(root));
    enum smkd_result r = rt_config_from_json(&s->config, cJSON_GetObjectItemCaseSensitive(root, "config"), path);
    if (r != SMKD_R_OK) return r;
    const cJSON *peers = cJSON_GetObjectItemCaseSensitive(root, "peers");
    const int n = cJSON_GetArraySize(peers);
    if (n < 1 || n > METHOD_MAX_PEERS)
        return rt_fail(SMKD_R_INVALID, "%s: peers are not a list of 1 to %d networks", path, METHOD_MAX_PEERS);
    s->peer = xcalloc((size_t)n, sizeof *s->peer);
    s->n_peers = n;
    for (int k = 0; k < n; k++) {
        const cJSON *o = cJSON_GetArrayItem(peers, k);
        const char *a = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "artifact")),
                   *h = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "content_hash"));
        if (!a) return rt_fail(SMKD_R_INVALID, "%s: peers[%d].artifact is missing", path, k);
        s->peer[k].artifact = xstrdup(a);
        if (h) s->peer[k].hash = xstrdup(h);
    }
    const char *loss = cJSON_GetStringValue(
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(root, "loss"), "content_hash"));
    if (loss) s->loss_hash = xstrdup(loss);
    const cJSON *teachers = cJSON_GetObjectItemCaseSensitive(root, "teachers"), *one;
    s->teacher_hash = xcalloc((size_t)cJSON_GetArraySize(teachers) + 1, sizeof *s->teacher_hash);
    cJSON_ArrayForEach(one, teachers) {
        const char *h = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(one, "content_hash"));
        s->teacher_hash[s->n_teachers++] = h ? xstrdup(h) : NULL;
    }
    const cJSON *data = cJSON_GetObjectItemCaseSensitive(root, "data");
    const cJSON *classes = cJSON_GetObjectItemCaseSensitive(data, "classes");
    if (!cJSON_IsNumber(classes) || !(classes->valuedouble >= 1 && classes->valuedouble <= INT32_MAX))
        return rt_fail(SMKD_R_INVALID, "%s: data.classes is missing or no number of classes", path);
    s->classes = classes->valueint;
    int n_std;
    r = numbers(cJSON_GetObjectItemCaseSensitive(data, "mean"), s->mean, &s->channels, path, "mean");
    if (r == SMKD_R_OK) r = numbers(cJSON_GetObjectItemCaseSensitive(data, "std"), s->std, &n_std, path, "std");
    if (r == SMKD_R_OK && n_std != s->channels)
        r = rt_fail(SMKD_R_INVALID, "%s: data.mean and data.std differ in length", path);
    if (r != SMKD_R_OK) return r;
    s->preparation.channels = s->channels;
    memcpy(s->preparation.mean, s->mean, sizeof s->mean);
    memcpy(s->preparation.std, s->std, sizeof s->std);
    return rt_preparation_read(&s->preparation, cJSON_GetObjectItemCaseSensitive(root, "preparation"), path);
}

enum smkd_result run_saved_read(struct run_saved *s, const char *dir) {
    *s = (struct run_saved){0};
    rt_config_init(&s->config, method_find("smkd-p"));
    rt_preparation_init(&s->preparation);
    char *path = rt_path_join(dir, "config.json");
    enum smkd_result r = SMKD_R_INVALID;
    cJSON *root = NULL;
    if (!rt_path_exists(path))
        rt_fail(r, "%s: is not a run folder: it has no config.json", dir);
    else
        root = rt_json_read(path);
    if (root) r = fill(s, root, path);
    cJSON_Delete(root);
    free(path);
    return r;
}

enum smkd_result run_saved_load(const struct run_saved *s, const char *dir, int k, const char *artifact,
                                const char *logits, struct rt_peer *p) {
    const struct rt_peer_want want = {.logits = logits, .numbers = s->config.row->family->regression};
    if (artifact) { // whoever names a program wants it run; the checkpoint must fit it
        enum smkd_result r = rt_peer_load(p, artifact, &want);
        char hash[24];
        if (r != SMKD_R_OK || !s->peer[k].hash) return r;
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)smkd_model_info(p->model)->content_hash);
        if (strcmp(hash, s->peer[k].hash) != 0)
            fprintf(stderr, "note: %s is another artifact than the one that peer %d of %s was trained with\n", artifact,
                    k, dir);
        return r;
    }
    const char *path = s->peer[k].artifact;
    if (!rt_path_exists(path))
        return rt_fail(SMKD_R_IO,
                       "%s: the artifact that peer %d of %s was trained with is gone; give it with --artifact", path, k,
                       dir);
    if (!s->peer[k].hash)
        return rt_fail(
            SMKD_R_INVALID,
            "%s/config.json: peers[%d].content_hash is missing, without which %s is not loaded; give the artifact with "
            "--artifact",
            dir, k, path);
    struct str what = STR_INIT;
    str_addf(&what, "the one that peer %d of %s was trained with", k, dir);
    enum smkd_result r = rt_peer_load(
        p, path,
        &(struct rt_peer_want){want.logits,
                               &(struct rt_known){.hash = s->peer[k].hash, .what = what.s, .option = "--artifact"},
                               want.numbers});
    str_release(&what);
    return r;
}

enum smkd_result run_read_peer(const char *path, bool ema, int k, smkd_model *m, struct rt_progress_state *state) {
    if (!ema) return rt_checkpoint_read_peer(path, k, m, state);
    enum smkd_result r = rt_checkpoint_read_copy(path, "ema", k, m, state);
    if (r == SMKD_R_MISMATCH && strstr(smkd_last_error(), "has no tensor \"ema."))
        return rt_fail(r, "%s: holds no averages: the run was not made with --model-ema", path);
    return r;
}

void run_saved_release(struct run_saved *s) {
    rt_config_release(&s->config);
    for (int k = 0; k < s->n_peers; k++) {
        free(s->peer[k].artifact);
        free(s->peer[k].hash);
    }
    free(s->peer);
    free(s->loss_hash);
    for (int k = 0; k < s->n_teachers; k++) free(s->teacher_hash[k]);
    free(s->teacher_hash);
    rt_preparation_release(&s->preparation);
    *s = (struct run_saved){0};
}

void run_note_mixing(const struct rt_peer *p) {
    struct str node = STR_INIT;
    if (rt_mixing(p->model, &node))
        fprintf(
            stderr,
            "warning: %s: %s computes with all images of a batch: what is said of one depends on the others, and so on "
            "how many are a batch\n",
            p->path, node.s);
    str_release(&node);
}
