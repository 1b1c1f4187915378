// The file of measurements. All of it is kept as JSON: what is not ours to read goes back as it came.
#include "dc_tune.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char format[] = "smkdc tune 1";

bool tune_default_path(char *path, size_t size) {
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (xdg && xdg[0] == '/') // others are to be ignored, says the XDG specification
        n = snprintf(path, size, "%s/smkd/tune.json", xdg);
    else if (home && home[0] == '/')
        n = snprintf(path, size, "%s/.cache/smkd/tune.json", home);
    return n >= 0 && (size_t)n < size;
}

// "AMD EPYC 9R14"; "unknown CPU" where the kernel does not say.
static void add_cpu(struct str *s) {
    char room[CPUINFO_ROOM];
    const char *name = cpuinfo("model name", room);
    str_add(s, *name ? name : "unknown CPU");
}

void tune_key(struct str *key, const struct cg_conv_shape *s) {
#define LL(x) (long long)(s->x)
    str_addf(key,
             "%s images=%lld %lldx%lldx%lld to %lldx%lldx%lld window=%lldx%lld stride=%lld,%lld pad=%lld,%lld "
             "dilation=%lld,%lld group=%lld%s%s",
             cg_conv_pass_names[s->pass], LL(images), LL(C), LL(H), LL(W), LL(K), LL(P), LL(Q), LL(R), LL(S), LL(st[0]),
             LL(st[1]), LL(pad[0]), LL(pad[1]), LL(dil[0]), LL(dil[1]), LL(group),
             s->x_bf16 && s->y_bf16 ? " bf16"
             : s->x_bf16            ? " bf16 to f32"
             : s->y_bf16            ? " f32 to bf16"
                                    : "",
             s->kept ? " kept" : "");
#undef LL
}

static bool is_row(const cJSON *row) {
    const cJSON *x;
    if (!cJSON_IsObject(row)) return false;
    cJSON_ArrayForEach(x, row) if (!cJSON_IsNumber(x) || !(x->valuedouble > 0)) return false;
    return true;
}

// Whether all of it is what this program writes.
static bool is_ours(const cJSON *json) {
    const cJSON *f = cJSON_GetObjectItemCaseSensitive(json, "format"),
                *machines = cJSON_GetObjectItemCaseSensitive(json, "machines"), *m, *row;
    if (!cJSON_IsString(f) || strcmp(f->valuestring, format) != 0 || !cJSON_IsObject(machines)) return false;
    cJSON_ArrayForEach(m, machines) {
        if (!cJSON_IsObject(m)) return false;
        cJSON_ArrayForEach(row, m) if (!is_row(row)) return false;
    }
    return true;
}

static cJSON *empty(void) {
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "format", format);
    cJSON_AddObjectToObject(json, "machines");
    return json;
}

static enum smkd_status make_folder(const char *path) {
    struct str dir = STR_INIT;
    const char *slash = strrchr(path, '/');
    if (slash && slash != path) str_addn(&dir, path, (size_t)(slash - path));
    enum smkd_status s = dir.len ? io_make_dirs(dir.s) : SMKD_OK;
    str_release(&dir);
    return s;
}

// What two would measure at once would be wrong for both, and the last to write would win.
static enum smkd_status lock_file(struct tune_file *f, struct diag *d) {
    struct str path = STR_INIT;
    long holder = 0;
    str_addf(&path, "%s.lock", f->path);
    enum smkd_status s = make_folder(f->path);
    if (s == SMKD_OK) s = lock_take(&f->lock, path.s, &holder);
    if (s == SMKD_MISMATCH)
        diag_error(d, NULL, "%s: process %ld is tuning into it; wait for that, or give --tune-file another name",
                   f->path, holder);
    else if (s != SMKD_OK)
        diag_error(d, NULL, "cannot write %s: %s; give --tune-file another name", path.s, strerror(errno));
    str_release(&path);
    return s;
}

enum smkd_status tune_file_open(struct tune_file *f, const char *path, const char *level, int threads, bool write,
                                struct diag *d) {
    *f = (struct tune_file){.path = strcpy(xmalloc(strlen(path) + 1), path)};
    if (write) TRY(lock_file(f, d));
    const void *data;
    size_t size;
    errno = 0;
    enum smkd_status s = io_map(path, &data, &size);
    if (s == SMKD_OK) {
        if (!json_refused(data, size)) f->json = cJSON_ParseWithLength(data, size);
        io_unmap(data, size);
        if (!f->json || !is_ours(f->json)) {
            diag_error(d, NULL,
                       "%s: is not a file of measurements (JSON with \"format\": \"%s\"); remove it, or give "
                       "--tune-file another name",
                       path, format);
            return SMKD_INVALID;
        }
    } else if (s == SMKD_IO && errno == ENOENT) {
        f->json = empty();
    } else {
        diag_error(d, NULL, "cannot read %s: %s; give --tune-file another name", path, io_why());
        return s;
    }
    struct str key = STR_INIT;
    add_cpu(&key);
    str_addf(&key, " | %s | %d thread%s | %s", level, threads, threads == 1 ? "" : "s", cg_version());
    cJSON *machines = cJSON_GetObjectItemCaseSensitive(f->json, "machines");
    f->rows = cJSON_GetObjectItemCaseSensitive(machines, key.s);
    if (!f->rows) f->rows = cJSON_AddObjectToObject(machines, key.s);
    str_release(&key);
    CHECK(f->rows, "out of memory for measurements");
    return SMKD_OK;
}

void tune_file_find(const struct tune_file *f, const struct cg_conv_shape *s, double seconds[CG_ALGORITHMS]) {
    struct str key = STR_INIT;
    tune_key(&key, s);
    const cJSON *row = cJSON_GetObjectItemCaseSensitive(f->rows, key.s);
    str_release(&key);
    for (int a = 0; a < CG_ALGORITHMS; a++) {
        const cJSON *x = cJSON_GetObjectItemCaseSensitive(row, cg_algorithm_names[a]);
        seconds[a] = x ? x->valuedouble : -1;
    }
}

void tune_file_add(struct tune_file *f, const struct cg_conv_shape *s, const double seconds[CG_ALGORITHMS]) {
    struct str key = STR_INIT;
    tune_key(&key, s);
    cJSON_DeleteItemFromObjectCaseSensitive(f->rows, key.s);
    cJSON *row = cJSON_AddObjectToObject(f->rows, key.s);
    for (int a = 0; a < CG_ALGORITHMS; a++)
        if (seconds[a] > 0) cJSON_AddNumberToObject(row, cg_algorithm_names[a], seconds[a]);
    str_release(&key);
}

enum smkd_status tune_file_save(const struct tune_file *f, struct diag *d) {
    char *text = cJSON_Print(f->json);
    CHECK(text, "out of memory for measurements");
    struct str all = STR_INIT;
    str_addf(&all, "%s\n", text);
    cJSON_free(text);
    enum smkd_status s = io_write_file(f->path, all.s, all.len);
    if (s != SMKD_OK)
        diag_error(d, NULL, "cannot write %s: %s; give --tune-file another name", f->path, strerror(errno));
    str_release(&all);
    return s;
}

void tune_file_release(struct tune_file *f) {
    cJSON_Delete(f->json);
    lock_drop(&f->lock);
    free(f->path);
    *f = (struct tune_file){0};
}
