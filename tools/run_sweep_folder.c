// A sweep's folder: models, and the folders of its runs. A run's flags.json says what it was made with; that it ended
// of its own is in its `finished`, so that a kill between the two is only one more --resume.
#include "run_sweep.h"

#include "program.h"
#include "run_train.h"

#include "../base/process.h"
#include "../runtime/stages.h"
#include "../runtime/run_folder.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// --- configuration ---------------------------------------------------------------------------------------------------

static const char *method_of(const struct sweep_flags *flags) {
    const struct sweep_flag *f = sweep_flag_find(flags, "method");
    return f && f->n ? f->value[0] : "smkd-p";
}

// The values of a flag that is given several times, with ; between them.
static void join(const struct sweep_flag *f, struct str *out) {
    for (size_t i = 0; i < f->n; i++) str_addf(out, "%s%s", i ? ";" : "", f->value[i]);
    if (!f->n) str_add(out, "");
}

static const struct rt_field *find_field(const struct rt_config *c, const char *name) {
    const struct rt_field *f = c->fields;
    while (f->name && strcmp(f->name, name) != 0) f++;
    return f->name ? f : NULL;
}

// Whether it is a flag of the method that is no field of the configuration, as --peer is.
static bool is_option(const struct rt_config *c, const char *name) {
    struct args_opt opts[RUN_TRAIN_OPTS];
    run_train_options(opts, c->row);
    const struct args_opt *o = opts;
    while (o->name && strcmp(o->name, name) != 0) o++;
    return o->name != NULL;
}

enum smkd_result sweep_configure(const struct sweep_flags *flags, struct rt_config *c) {
    const struct method *m = run_method(method_of(flags));
    *c = (struct rt_config){0};
    if (!m) return SMKD_R_INVALID;
    rt_config_init(c, m);
    for (size_t i = 0; i < flags->n; i++) {
        const struct sweep_flag *f = &flags->f[i];
        if (!find_field(c, f->name)) {
            if (is_option(c, f->name)) continue;
            return rt_fail(SMKD_R_INVALID, "--%s is no flag of the method %s", f->name, m->name);
        }
        struct str text = STR_INIT;
        join(f, &text);
        enum smkd_result r = rt_config_set(c, f->name, text.s);
        str_release(&text);
        if (r != SMKD_R_OK) return r;
    }
    return rt_config_resolve(c);
}

// --- was it made with these flags? -----------------------------------------------------------------------------------

static void add_difference(struct str *out, const char *name, const struct sweep_flag *now,
                           const struct sweep_flag *was) {
    struct str a = STR_INIT, b = STR_INIT;
    if (now) join(now, &a);
    if (was) join(was, &b);
    const char *x = now ? a.s : "(none)", *y = was ? b.s : "(none)";
    if (strcmp(x, y) != 0) str_addf(out, "%s--%s %s (was %s)", out->len ? ", " : "", name, x, y);
    str_release(&a);
    str_release(&b);
}

// What makes it another run. Networks are compared by what is in them.
static enum smkd_result compare_flags(const struct sweep_flags *now, const struct sweep_flags *was, struct str *out) {
    struct rt_config a, b;
    const bool same_method = strcmp(method_of(now), method_of(was)) == 0;
    if (!same_method) str_addf(out, "--method %s (was %s)", method_of(now), method_of(was));
    enum smkd_result r = sweep_configure(now, &a), q = same_method ? sweep_configure(was, &b) : SMKD_R_OK;
    if (r == SMKD_R_OK && q == SMKD_R_OK && same_method) {
        rt_config_differences(&a, &b, out);
        const struct sweep_flags *const both[] = {now, was};
        for (int k = 0; k < 2; k++)
            for (size_t i = 0; i < both[k]->n; i++) {
                const char *name = both[k]->f[i].name;
                if (find_field(&a, name) || strcmp(name, "peer") == 0 || (k && sweep_flag_find(now, name))) continue;
                add_difference(out, name, sweep_flag_find(now, name), sweep_flag_find(was, name));
            }
    }
    rt_config_release(&a);
    if (same_method) rt_config_release(&b);
    return r == SMKD_R_OK ? q : r;
}

// To the letter. Both are in the order of their names.
static bool same_flags(const struct sweep_flags *now, const struct sweep_flags *was) {
    bool same = now->n == was->n;
    for (size_t i = 0; same && i < now->n; i++) {
        const struct sweep_flag *a = &now->f[i], *b = &was->f[i];
        same = strcmp(a->name, b->name) == 0 && a->n == b->n && a->bare == b->bare;
        for (size_t k = 0; same && k < a->n; k++) same = strcmp(a->value[k], b->value[k]) == 0;
    }
    return same;
}

// --- networks --------------------------------------------------------------------------------------------------------

struct network { // an artifact, read once however many runs have it
    const char *path;
    smkd_model *model;
    double cost; // operations an image; where the artifact does not say, bytes of its parameters
};
struct networks {
    struct network *n;
    size_t count, cap;
    bool needed; // for more than a report
};

static double cost_of(const smkd_model *m) {
    const struct smkd_artifact *info = smkd_model_info(m);
    cJSON *notes = info->notes ? cJSON_Parse(info->notes) : NULL;
    const cJSON *f = cJSON_GetObjectItemCaseSensitive(notes, "flops_forward"),
                *b = cJSON_GetObjectItemCaseSensitive(notes, "flops_backward");
    const double flops = (cJSON_IsNumber(f) ? f->valuedouble : 0) + (cJSON_IsNumber(b) ? b->valuedouble : 0);
    cJSON_Delete(notes);
    return flops > 0 ? flops : (double)info->param_bytes;
}

// NULL where it is not there and need not be, or after a failure.
static struct network *network(struct sweep *s, struct networks *ns, const char *path, enum smkd_result *r) {
    bool needed = ns->needed;
    for (size_t i = 0; i < ns->count; i++)
        if (strcmp(ns->n[i].path, path) == 0) return &ns->n[i];
    for (size_t i = 0; i < s->n_models; i++) needed = needed && strcmp(s->model[i].smkd, path) != 0; // yet to be made
    if (!needed && !rt_path_exists(path)) return NULL;
    struct network *n = ARENA_PUSH(&s->arena, ns->n, ns->count, ns->cap);
    *n = (struct network){.path = path, .model = smkd_model_read(path)};
    if (!n->model) {
        *r = rt_fail(SMKD_R_INVALID, "%s: --peer %s", s->file, smkd_last_error());
        return NULL;
    }
    n->cost = cost_of(n->model);
    return n;
}

static void release_networks(struct networks *ns) {
    for (size_t i = 0; i < ns->count; i++) smkd_model_free(ns->n[i].model);
}

// The networks of a run that has begun are those of its config.json; what they cost.
static enum smkd_result look_at_networks(struct sweep *s, struct networks *ns, struct sweep_run *r, double *cost,
                                         struct str *differ) {
    const struct sweep_flag *peer = sweep_flag_find(&r->flags, "peer");
    char *path = rt_path_join(r->dir, "config.json");
    cJSON *config = rt_path_exists(path) ? rt_json_read(path) : NULL;
    enum smkd_result e = rt_path_exists(path) && !config ? SMKD_R_INVALID : SMKD_R_OK;
    const cJSON *was = cJSON_GetObjectItemCaseSensitive(config, "peers");
    const size_t n = peer ? peer->n : 0;
    if (config && n != (size_t)cJSON_GetArraySize(was))
        str_addf(differ, "%s%zu networks (were %d)", differ->len ? ", " : "", n, cJSON_GetArraySize(was));
    for (size_t k = 0; k < n && e == SMKD_R_OK; k++) {
        const struct network *x = network(s, ns, peer->value[k], &e);
        if (!x) continue;
        *cost += x->cost;
        const cJSON *y = cJSON_GetArrayItem(was, (int)k);
        if (y && !rt_folder_has_peer(y, x->model))
            str_addf(differ, "%s--peer %s is another network", differ->len ? ", " : "", x->path);
    }
    cJSON_Delete(config);
    free(path);
    return e;
}

// --- runs ------------------------------------------------------------------------------------------------------------

static char *in(const struct sweep_run *r, const char *file) { return rt_path_join(r->dir, file); }

// Whole lines of metrics.csv behind its head.
static int64_t epochs_done(const struct sweep_run *r) {
    char *path = in(r, "metrics.csv");
    const void *text;
    size_t size;
    int64_t lines = 0;
    if (rt_path_exists(path) && io_map(path, &text, &size) == SMKD_OK) {
        for (const char *p = text, *end = p + size; (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++) lines++;
        io_unmap(text, size);
    }
    free(path);
    return lines ? lines - 1 : 0;
}

// The epoch after which the run ended of its own; 0: it has not.
static int64_t ended_at(const struct sweep_run *r) {
    char *path = in(r, "finished");
    const void *text;
    size_t size;
    int64_t epoch = 0;
    if (rt_path_exists(path) && io_map(path, &text, &size) == SMKD_OK) {
        char number[24];
        snprintf(number, sizeof number, "%.*s", (int)(size < 20 ? size : 20), (const char *)text);
        number[strcspn(number, "\n")] = 0;
        parse_i64(number, &epoch);
        io_unmap(text, size);
    }
    free(path);
    return epoch;
}

enum smkd_result sweep_folder_end(struct sweep_run *r) {
    char text[24], *path = in(r, "finished");
    r->done = epochs_done(r);
    r->state = SWEEP_DONE;
    int n = snprintf(text, sizeof text, "%lld\n", (long long)r->done);
    enum smkd_result e = SMKD_R_OK;
    if (io_write_file(path, text, (size_t)n) != SMKD_OK)
        e = rt_fail(SMKD_R_IO, "%s: cannot be written: %s", path, strerror(errno));
    free(path);
    return e;
}

enum smkd_result sweep_folder_begin(const struct sweep_run *r) {
    if (io_make_dirs(r->dir) != SMKD_OK) return rt_fail(SMKD_R_IO, "%s: cannot be made: %s", r->dir, strerror(errno));
    char *path = in(r, "flags.json");
    cJSON *o = sweep_flags_json(&r->flags);
    enum smkd_result e = rt_json_write(path, o);
    cJSON_Delete(o);
    free(path);
    return e;
}

// Says how the run's folder differs from what it is to be, if it does; whether its flags are the same to the letter.
static enum smkd_result look_at_flags(struct sweep *s, const struct sweep_run *r, struct str *differ, bool *same) {
    char *path = in(r, "flags.json");
    enum smkd_result e = SMKD_R_OK;
    if (rt_path_exists(path)) {
        struct sweep_flags was = {0};
        cJSON *o = rt_json_read(path);
        e = o ? sweep_flags_read(s, o, path, &was) : SMKD_R_INVALID;
        if (e == SMKD_R_OK) *same = same_flags(&r->flags, &was);
        if (e == SMKD_R_OK && !*same) e = compare_flags(&r->flags, &was, differ);
        cJSON_Delete(o);
    } else if (rt_run_exists(r->dir)) {
        e = rt_fail(SMKD_R_MISMATCH, "%s: holds a run that is none of a sweep's; move it away", r->dir);
    }
    free(path);
    return e;
}

// Images an epoch goes through, as far as flags tell: only what differs between runs matters.
static double images_of(const struct rt_config *c) {
    const double unknown = 50000;
    return (c->train_limit ? (double)c->train_limit : unknown) * (1 - c->val_split);
}

static enum smkd_result look_at_run(struct sweep *s, struct networks *ns, struct sweep_run *r) {
    struct rt_config c;
    struct str differ = STR_INIT;
    bool same = false;
    double cost = 0;
    enum smkd_result e = sweep_configure(&r->flags, &c);
    if (e == SMKD_R_OK) e = look_at_flags(s, r, &differ, &same);
    if (e == SMKD_R_OK) e = look_at_networks(s, ns, r, &cost, &differ);
    if (e == SMKD_R_OK && differ.len)
        e = rt_fail(SMKD_R_MISMATCH,
                    "%s: was made with another configuration: %s; move it away, or give another "
                    "--output-dir",
                    r->dir, differ.s);
    if (e == SMKD_R_OK) {
        r->epochs = method_all_epochs(c.row, &c.values, c.epochs);
        r->done = epochs_done(r);
        // Flags that change no results, paths for instance, may still be wrong: --resume compares what they stand for.
        // It also makes what is missing where a kill came between the last line of metrics.csv and the last checkpoint.
        const bool ended = same && r->done && r->done == ended_at(r);
        r->state = ended ? SWEEP_DONE : r->done ? SWEEP_HALF : SWEEP_NEW;
        const int64_t left = ended || r->done >= r->epochs ? 0 : r->epochs - r->done;
        r->cost = (double)left * images_of(&c) * (cost > 0 ? cost : 1);
    }
    str_release(&differ);
    rt_config_release(&c);
    return e;
}

enum smkd_result sweep_folder_look(struct sweep *s, bool to_run) {
    struct networks ns = {.needed = to_run};
    enum smkd_result r = SMKD_R_OK;
    for (size_t i = 0; i < s->n_runs && r == SMKD_R_OK; i++) r = look_at_run(s, &ns, &s->run[i]);
    release_networks(&ns);
    return r;
}

// --- models ----------------------------------------------------------------------------------------------------------

static const char *spec_path(struct arena *a, const struct sweep *s, const struct sweep_model *m) {
    return arena_printf(a, "%s/models/%s.json", s->dir, m->name);
}

// What a model is made from, as text: its description, and the contents of a file of the user's own.
static enum smkd_result source_of(struct arena *a, const struct sweep_model *m, const char **out) {
    const void *data;
    size_t size;
    uint64_t sum = 0;
    if (!m->new_argv) {
        if (io_map(m->onnx, &data, &size) != SMKD_OK) return rt_fail(SMKD_R_IO, "%s: %s", m->onnx, io_why());
        sum = checksum64(data, size);
        io_unmap(data, size);
    }
    *out = m->new_argv ? m->spec
                       : arena_printf(a, "{\"from\":%s,\"checksum\":\"%016llx\"}", m->spec, (unsigned long long)sum);
    return SMKD_R_OK;
}

// Whether the model is there, made from what it is to be made from.
static enum smkd_result model_is_there(const struct sweep *s, const struct sweep_model *m, bool *there) {
    struct arena a;
    arena_init(&a);
    const char *path = spec_path(&a, s, m), *now = NULL;
    const void *was;
    size_t size;
    enum smkd_result r = source_of(&a, m, &now);
    *there = rt_path_exists(path) && rt_path_exists(m->smkd);
    if (r == SMKD_R_OK && *there) {
        if (io_map(path, &was, &size) != SMKD_OK) {
            r = rt_fail(SMKD_R_IO, "%s: %s", path, io_why());
        } else {
            if (size != strlen(now) || memcmp(was, now, size) != 0)
                r = rt_fail(SMKD_R_MISMATCH,
                            "%s: was made from something else, as %s has it; remove both, or give another "
                            "--output-dir",
                            m->smkd, path);
            io_unmap(was, size);
        }
    }
    arena_release(&a);
    return r;
}

enum smkd_result sweep_models_check(const struct sweep *s) {
    bool there;
    for (size_t i = 0; i < s->n_models; i++) {
        enum smkd_result r = model_is_there(s, &s->model[i], &there);
        if (r != SMKD_R_OK) return r;
    }
    return SMKD_R_OK;
}

static enum smkd_result run_compiler(struct arena *a, const char *smkdc, const char *const *args, const char *name) {
    size_t n = 0;
    while (args[n]) n++;
    const char **argv = ARENA_ARRAY(a, const char *, n + 2);
    argv[0] = smkdc;
    memcpy(argv + 1, args, (n + 1) * sizeof *args);
    char line[1024];
    const int status = process_run(argv, line, sizeof line);
    if (status == 0) return SMKD_R_OK;
    if (status == PROCESS_NOT_STARTED) return rt_fail(SMKD_R_IO, "%s: cannot be run: %s", smkdc, strerror(errno));
    return rt_fail(SMKD_R_INVALID, "the model \"%s\": %s", name, line[0] ? line : "smkdc failed without a word");
}

static enum smkd_result make_model(struct arena *a, const struct sweep *s, const struct sweep_model *m,
                                   const char *smkdc) {
    const char *source = NULL, *path = spec_path(a, s, m);
    enum smkd_result r = source_of(a, m, &source);
    doing("making the model %s", m->name);
    if (r == SMKD_R_OK && m->new_argv) r = run_compiler(a, smkdc, m->new_argv, m->name);
    if (r == SMKD_R_OK) r = run_compiler(a, smkdc, m->compile_argv, m->name);
    // Last, so that a model with it is whole.
    if (r == SMKD_R_OK && io_write_file(path, source, strlen(source)) != SMKD_OK)
        r = rt_fail(SMKD_R_IO, "%s: cannot be written: %s", path, strerror(errno));
    return r;
}

static void remove_model(struct arena *a, const struct sweep *s, const struct sweep_model *m) {
    unlink(spec_path(a, s, m));
    unlink(m->smkd);
    if (m->new_argv) unlink(m->onnx);
}

enum smkd_result sweep_models_make(struct sweep *s, bool *any) {
    struct arena a;
    struct io_made made = {0};
    arena_init(&a);
    const char *smkdc = program_compiler(&a), *dir = arena_printf(&a, "%s/models", s->dir);
    bool *there = ARENA_ARRAY(&a, bool, s->n_models + 1);
    enum smkd_result r = SMKD_R_OK;
    *any = false;
    for (size_t i = 0; i < s->n_models && r == SMKD_R_OK; i++) {
        r = model_is_there(s, &s->model[i], &there[i]);
        *any = *any || !there[i];
    }
    if (r == SMKD_R_OK && *any && !smkdc)
        r = rt_fail(SMKD_R_UNSUPPORTED, "%s: \"models\" are made by smkdc, and there is none beside this program",
                    s->file);
    if (r == SMKD_R_OK && *any && io_make_dirs_for_now(dir, &made) != SMKD_OK)
        r = rt_fail(SMKD_R_IO, "%s: cannot be made: %s", dir, strerror(errno));
    const bool begun = r == SMKD_R_OK;
    for (size_t i = 0; i < s->n_models && r == SMKD_R_OK; i++)
        if (!there[i]) r = make_model(&a, s, &s->model[i], smkdc);
    // Most likely a description that will be another one.
    for (size_t i = 0; i < s->n_models && begun && r != SMKD_R_OK; i++)
        if (!there[i]) remove_model(&a, s, &s->model[i]);
    (r == SMKD_R_OK ? io_made_keep : io_made_undo)(&made);
    arena_release(&a);
    return r;
}
