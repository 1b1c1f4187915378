// A sweep's description: what it says, and the runs that follow from it.
#include "run_sweep.h"

#include "config_args.h"
#include "run_train.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RUNS = 100000, LONGEST_NAME = 180 };
static const char CASE[] = "case";

// --- flags -----------------------------------------------------------------------------------------------------------

// What the sweep gives each run itself, and what would hide flags from it.
static const char *const own[] = {"output-dir",  "resume", "overwrite", "config", "artifact",
                                  "save-labels", "quiet",  "loss",      NULL};

const struct args_opt *sweep_train_options(void) {
    enum { ROOM = 1024 };
    static struct args_opt all[ROOM];
    size_t n = 0;
    if (all[0].name) return all;
    for (const struct method *m = methods; m->name; m++) {
        struct args_opt opts[RUN_TRAIN_OPTS];
        run_train_options(opts, m);
        for (const struct args_opt *o = opts; o->name; o++) {
            size_t i = 0;
            while (i < n && strcmp(all[i].name, o->name) != 0) i++;
            if (i < n) continue;
            CHECK(n + 1 < ROOM, "more options than there is room for");
            all[n] = *o;
            all[n++].flags &= ~(unsigned)ARGS_REQUIRED;
        }
    }
    return all;
}

static const struct args_opt *find_option(const char *flag) {
    const struct args_opt *o = sweep_train_options();
    while (o->name && strcmp(o->name, flag) != 0) o++;
    return o->name ? o : NULL;
}

static bool among(const char *const *list, const char *text) {
    while (*list && strcmp(*list, text) != 0) list++;
    return *list != NULL;
}

const struct sweep_flag *sweep_flag_find(const struct sweep_flags *flags, const char *name) {
    for (size_t i = 0; i < flags->n; i++)
        if (strcmp(flags->f[i].name, name) == 0) return &flags->f[i];
    return NULL;
}

static bool is_taken_out(const struct sweep_flag *f) { return !f->n && !f->bare; }

// Over what is there; one that is taken out leaves nothing.
static void set_flag(struct sweep *s, struct sweep_flags *flags, const struct sweep_flag *f) {
    size_t i = 0;
    while (i < flags->n && strcmp(flags->f[i].name, f->name) != 0) i++;
    if (i == flags->n && is_taken_out(f)) return;
    if (i == flags->n)
        *ARENA_PUSH(&s->arena, flags->f, flags->n, flags->cap) = *f;
    else if (is_taken_out(f))
        flags->f[i] = flags->f[--flags->n];
    else
        flags->f[i] = *f;
}

static enum smkd_result unknown(const char *what, const char *key, const char *flag) {
    const char *near = args_nearest(sweep_train_options(), flag, strlen(flag));
    return near ? rt_fail(SMKD_R_INVALID, "%s: \"%s\" is no flag of smkd-run train, did you mean \"%s\"", what, key,
                          near)
                : rt_fail(SMKD_R_INVALID, "%s: \"%s\" is no flag of smkd-run train", what, key);
}

// A value's text; the name of a model where networks are named is its artifact.
static const char *value_text(struct sweep *s, const char *flag, const cJSON *v) {
    struct str text = STR_INIT;
    const char *out = NULL;
    if (config_args_text(v, &text)) out = arena_strdup(&s->arena, text.s ? text.s : "");
    str_release(&text);
    const bool network = strcmp(flag, "peer") == 0 || strcmp(flag, "teacher") == 0;
    for (size_t i = 0; out && network && i < s->n_models; i++)
        if (strcmp(s->model[i].name, out) == 0) return s->model[i].smkd;
    return out;
}

static enum smkd_result read_flag(struct sweep *s, const char *key, const cJSON *v, const char *what,
                                  struct sweep_flag *out) {
    char flag[CONFIG_ARGS_FLAG];
    config_args_flag(key, flag);
    const struct args_opt *o = find_option(flag);
    if (!o) return unknown(what, key, flag);
    if (among(own, flag)) return rt_fail(SMKD_R_INVALID, "%s: \"%s\" is not for a sweep's runs to have", what, key);
    *out = (struct sweep_flag){.name = o->name};
    if (cJSON_IsNull(v) || cJSON_IsFalse(v)) return SMKD_R_OK;
    out->bare = cJSON_IsTrue(v);
    if (out->bare && o->value) return rt_fail(SMKD_R_INVALID, "%s: \"%s\" needs a value", what, key);
    if (!out->bare && !o->value) return rt_fail(SMKD_R_INVALID, "%s: \"%s\" is either true or false", what, key);
    if (out->bare) return SMKD_R_OK;
    const bool list = cJSON_IsArray(v);
    const size_t n = list ? (size_t)cJSON_GetArraySize(v) : 1;
    if (list && !(o->flags & ARGS_REPEAT))
        return rt_fail(SMKD_R_INVALID, "%s: \"%s\" has one value; lists of values to try belong into \"grid\"", what,
                       key);
    out->value = ARENA_ARRAY(&s->arena, const char *, n + 1);
    const cJSON *x = list ? v->child : v;
    for (; out->n < n; x = x->next) {
        const char *text = value_text(s, o->name, x);
        if (!text)
            return rt_fail(SMKD_R_INVALID, "%s: \"%s\" is neither a number, a text, true or false, nor a list of these",
                           what, key);
        out->value[out->n++] = text;
    }
    return SMKD_R_OK;
}

static enum smkd_result read_flags(struct sweep *s, const cJSON *o, const char *skip, const char *what,
                                   struct sweep_flags *out) {
    const cJSON *v;
    cJSON_ArrayForEach(v, o) {
        struct sweep_flag f;
        if (skip && strcmp(v->string, skip) == 0) continue;
        enum smkd_result r = read_flag(s, v->string, v, what, &f);
        if (r != SMKD_R_OK) return r;
        if (sweep_flag_find(out, f.name)) return rt_fail(SMKD_R_INVALID, "%s: \"%s\" is given twice", what, v->string);
        *ARENA_PUSH(&s->arena, out->f, out->n, out->cap) = f;
    }
    return SMKD_R_OK;
}

enum smkd_result sweep_flags_read(struct sweep *s, const cJSON *o, const char *what, struct sweep_flags *out) {
    if (!cJSON_IsObject(o)) return rt_fail(SMKD_R_INVALID, "%s: is no object of flags", what);
    return read_flags(s, o, NULL, what, out);
}

// Numbers that JSON would write in the same way are numbers.
static cJSON *json_value(const char *text) {
    char number[RT_NUMBER_TEXT];
    double v;
    if (parse_f64(text, &v) && v - v == 0) {
        rt_number_text(v, number);
        if (strcmp(number, text) == 0) return cJSON_CreateRaw(text);
    }
    return cJSON_CreateString(text);
}

cJSON *sweep_flags_json(const struct sweep_flags *flags) {
    cJSON *o = cJSON_CreateObject();
    for (size_t i = 0; i < flags->n; i++) {
        const struct sweep_flag *f = &flags->f[i];
        cJSON *v = f->bare ? cJSON_CreateTrue() : f->n == 1 ? json_value(f->value[0]) : cJSON_CreateArray();
        for (size_t k = 0; f->n > 1 && k < f->n; k++) cJSON_AddItemToArray(v, json_value(f->value[k]));
        cJSON_AddItemToObject(o, f->name, v);
    }
    return o;
}

// --- models ----------------------------------------------------------------------------------------------------------

struct argv {
    const char **a;
    size_t n, cap;
};
static void push(struct sweep *s, struct argv *v, const char *text) {
    *ARENA_PUSH(&s->arena, v->a, v->n, v->cap) = text;
}

// --NAME=VALUE of every member but those that are not flags of smkdc.
static enum smkd_result push_flags(struct sweep *s, struct argv *out, const cJSON *o, const char *const *skip,
                                   const char *what) {
    const cJSON *v;
    cJSON_ArrayForEach(v, o) {
        char flag[CONFIG_ARGS_FLAG];
        config_args_flag(v->string, flag);
        if (among(skip, flag) || cJSON_IsFalse(v) || cJSON_IsNull(v)) continue;
        const bool list = cJSON_IsArray(v);
        for (const cJSON *x = list ? v->child : v; x; x = list ? x->next : NULL) {
            const char *text = cJSON_IsTrue(x) ? NULL : value_text(s, flag, x);
            if ((!text && !cJSON_IsTrue(x)) || strcmp(flag, "output") == 0)
                return rt_fail(SMKD_R_INVALID, "%s: \"%s\" is no flag of smkdc with a value that it can have", what,
                               v->string);
            push(s, out, arena_printf(&s->arena, text ? "--%s=%s" : "--%s", flag, text));
        }
    }
    return SMKD_R_OK;
}

static bool is_file_name(const char *name) {
    size_t n = strlen(name);
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i])) return false;
    return n && n < 64 && isalnum((unsigned char)name[0]);
}

static enum smkd_result read_model(struct sweep *s, const cJSON *o) {
    static const char *const parts[] = {"new", "onnx", "compile", NULL}, *const none[] = {NULL};
    const char *what = arena_printf(&s->arena, "%s: models: %s", s->file, o->string);
    const char *arch = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "new")),
               *onnx = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "onnx"));
    const cJSON *compile = cJSON_GetObjectItemCaseSensitive(o, "compile");
    if (!is_file_name(o->string))
        return rt_fail(SMKD_R_INVALID, "%s: a model's name has letters, digits, and . _ - behind the first", what);
    for (size_t i = 0; i < s->n_models; i++)
        if (strcmp(s->model[i].name, o->string) == 0) return rt_fail(SMKD_R_INVALID, "%s: is there twice", what);
    if (!arch == !onnx)
        return rt_fail(SMKD_R_INVALID,
                       "%s: expected {\"new\": ARCH, flags of smkdc new ...} or {\"onnx\": FILE}, with \"compile\": "
                       "{flags of smkdc compile}",
                       what);
    if (compile && !cJSON_IsObject(compile)) return rt_fail(SMKD_R_INVALID, "%s: \"compile\" is no object", what);
    struct sweep_model m = {.name = arena_strdup(&s->arena, o->string)};
    m.smkd = arena_printf(&s->arena, "%s/models/%s.smkd", s->dir, m.name);
    m.onnx = onnx ? arena_strdup(&s->arena, onnx) : arena_printf(&s->arena, "%s/models/%s.onnx", s->dir, m.name);
    char *spec = cJSON_PrintUnformatted(o);
    m.spec = arena_strdup(&s->arena, spec);
    cJSON_free(spec);
    struct argv make = {0}, comp = {0};
    push(s, &make, "new");
    push(s, &make, arch);
    enum smkd_result r = push_flags(s, &make, o, parts, what);
    if (r == SMKD_R_OK && onnx && make.n > 2)
        r = rt_fail(SMKD_R_INVALID, "%s: %s: a file is not made anew; flags of smkdc compile belong into \"compile\"",
                    what, make.a[2]);
    push(s, &make, "-o");
    push(s, &make, m.onnx);
    push(s, &make, NULL);
    push(s, &comp, "compile");
    push(s, &comp, m.onnx);
    if (r == SMKD_R_OK) r = push_flags(s, &comp, compile, none, what);
    push(s, &comp, "-o");
    push(s, &comp, m.smkd);
    push(s, &comp, NULL);
    m.new_argv = onnx ? NULL : make.a;
    m.compile_argv = comp.a;
    *ARENA_PUSH(&s->arena, s->model, s->n_models, s->cap_models) = m;
    return r;
}

// --- axes ------------------------------------------------------------------------------------------------------------

// The values with + between them.
static const char *label_of(struct sweep *s, const struct sweep_flag *f, const cJSON *v) {
    struct str text = STR_INIT;
    if (cJSON_IsBool(v)) str_add(&text, cJSON_IsTrue(v) ? "true" : "false");
    const bool list = cJSON_IsArray(v); // as it was written: a model by its name
    const cJSON *x = list ? v->child : v;
    for (size_t i = 0; i < f->n; i++, x = x->next) {
        if (i) str_add(&text, "+");
        config_args_text(x, &text);
    }
    const char *out = arena_strdup(&s->arena, text.s ? text.s : "");
    str_release(&text);
    return out;
}

static enum smkd_result read_point(struct sweep *s, const char *key, const cJSON *v, const char *what,
                                   struct sweep_point *out) {
    if (cJSON_IsObject(v)) {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(v, "name"));
        if (!name || !*name) return rt_fail(SMKD_R_INVALID, "%s: a set of flags needs a \"name\"", what);
        *out = (struct sweep_point){.label = arena_strdup(&s->arena, name), .named = true};
        return read_flags(s, v, "name", arena_printf(&s->arena, "%s: %s", what, name), &out->flags);
    }
    struct sweep_flag f;
    *out = (struct sweep_point){0};
    if (!key) return rt_fail(SMKD_R_INVALID, "%s: is no list of {\"name\": ..., flags ...}", what);
    if (cJSON_IsNull(v))
        return rt_fail(SMKD_R_INVALID, "%s: null is no value; {\"name\": ...} without a flag stands for none", what);
    enum smkd_result r = read_flag(s, key, v, what, &f);
    if (r != SMKD_R_OK) return r;
    out->label = label_of(s, &f, v);
    *ARENA_PUSH(&s->arena, out->flags.f, out->flags.n, out->flags.cap) = f;
    return SMKD_R_OK;
}

static enum smkd_result read_axis(struct sweep *s, const char *key, const cJSON *list, const char *what) {
    struct sweep_axis a = {.name = key ? key : CASE};
    char flag[CONFIG_ARGS_FLAG];
    if (key) {
        config_args_flag(key, flag);
        a.name = arena_strdup(&s->arena, find_option(flag) ? flag : key);
    }
    for (size_t i = 0; i < s->n_axes; i++)
        if (strcmp(s->axis[i].name, a.name) == 0)
            return rt_fail(SMKD_R_INVALID, "%s: there is another \"%s\"", what, a.name);
    if (!cJSON_IsArray(list) || !list->child)
        return rt_fail(SMKD_R_INVALID, "%s: expected a list with at least one %s", what, key ? "value" : "case");
    a.point = ARENA_ARRAY(&s->arena, struct sweep_point, (size_t)cJSON_GetArraySize(list));
    const cJSON *v;
    cJSON_ArrayForEach(v, list) {
        enum smkd_result r = read_point(s, key, v, what, &a.point[a.n]);
        if (r != SMKD_R_OK) return r;
        for (size_t i = 0; i < a.n; i++)
            if (strcmp(a.point[i].label, a.point[a.n].label) == 0)
                return rt_fail(SMKD_R_INVALID, "%s: \"%s\" is there twice", what, a.point[i].label);
        a.n++;
    }
    *ARENA_PUSH(&s->arena, s->axis, s->n_axes, s->cap_axes) = a;
    return SMKD_R_OK;
}

// The axis that gives a flag a value, from axis `from` on; s->n_axes: none.
static size_t axis_with(const struct sweep *s, size_t from, const char *flag) {
    for (; from < s->n_axes; from++)
        for (size_t i = 0; i < s->axis[from].n; i++) {
            const struct sweep_flag *f = sweep_flag_find(&s->axis[from].point[i].flags, flag);
            if (f && !is_taken_out(f)) return from;
        }
    return from;
}

// Two axes with one flag would leave only one of them its say.
static enum smkd_result check_axes(const struct sweep *s) {
    for (size_t a = 0; a < s->n_axes; a++)
        for (size_t i = 0; i < s->axis[a].n; i++)
            for (size_t k = 0; k < s->axis[a].point[i].flags.n; k++) {
                const struct sweep_flag *f = &s->axis[a].point[i].flags.f[k];
                const size_t other = axis_with(s, a + 1, f->name);
                if (!is_taken_out(f) && other < s->n_axes)
                    return rt_fail(SMKD_R_INVALID, "%s: \"%s\" is in both \"%s\" and \"%s\"; one of them may set it",
                                   s->file, f->name, s->axis[a].name, s->axis[other].name);
            }
    return SMKD_R_OK;
}

// --- rows and columns ------------------------------------------------------------------------------------------------

static size_t find_axis(const struct sweep *s, const char *name) {
    char flag[CONFIG_ARGS_FLAG];
    config_args_flag(name, flag);
    size_t i = 0;
    while (i < s->n_axes && strcmp(s->axis[i].name, name) != 0 && strcmp(s->axis[i].name, flag) != 0) i++;
    return i;
}

// "rows" and "columns": the name of an axis, or a list of them.
static enum smkd_result read_heads(struct sweep *s, const cJSON *v, const char *key, bool *used,
                                   struct sweep_heads *out) {
    const bool list = cJSON_IsArray(v);
    out->axis = ARENA_ARRAY(&s->arena, size_t, s->n_axes + 1);
    for (const cJSON *x = list ? v->child : v; x; x = list ? x->next : NULL) {
        const char *name = cJSON_GetStringValue(x);
        const size_t i = name ? find_axis(s, name) : s->n_axes;
        if (i == s->n_axes) {
            struct str all = STR_INIT;
            for (size_t k = 0; k < s->n_axes; k++) str_addf(&all, "%s%s", k ? ", " : "", s->axis[k].name);
            enum smkd_result r = rt_fail(SMKD_R_INVALID, "%s: \"%s\": %s is nothing that the runs differ in (%s)",
                                         s->file, key, name ? name : "this", all.s ? all.s : "there is only one run");
            str_release(&all);
            return r;
        }
        if (used[i])
            return rt_fail(SMKD_R_INVALID, "%s: \"%s\": %s is in the rows or columns twice", s->file, key, name);
        used[i] = true;
        out->axis[out->n_axes++] = i;
    }
    return SMKD_R_OK;
}

static bool is_seed(const struct sweep_axis *a) {
    return strcmp(a->name, "seed") == 0 || strcmp(a->name, "noise-seed") == 0;
}

// What nobody has said: cases, or the first flag, make the rows, everything else but seeds the columns.
static void default_heads(struct sweep *s, bool *used, struct sweep_heads *out, size_t most) {
    out->axis = ARENA_ARRAY(&s->arena, size_t, s->n_axes + 1);
    for (size_t i = 0; i < s->n_axes && out->n_axes < most; i++)
        if (!used[i] && !is_seed(&s->axis[i])) {
            out->axis[out->n_axes++] = i;
            used[i] = true;
        }
}

// Every combination of points, the last axis running fastest.
static void make_heads(struct sweep *s, struct sweep_heads *h) {
    h->n = 1;
    for (size_t k = 0; k < h->n_axes; k++) h->n *= s->axis[h->axis[k]].n;
    h->point = ARENA_ARRAY(&s->arena, size_t, h->n * h->n_axes + 1);
    for (size_t i = 0; i < h->n; i++) {
        size_t rest = i;
        for (size_t k = h->n_axes; k-- > 0; rest /= s->axis[h->axis[k]].n)
            h->point[i * h->n_axes + k] = rest % s->axis[h->axis[k]].n;
    }
}

static size_t head_of(const struct sweep_heads *h, const struct sweep_run *r) {
    for (size_t i = 0; i < h->n; i++) {
        size_t k = 0;
        while (k < h->n_axes && h->point[i * h->n_axes + k] == r->at[h->axis[k]]) k++;
        if (k == h->n_axes) return i;
    }
    BUG("the run %s has no place in the table", r->name);
}

void sweep_head_text(const struct sweep *s, const struct sweep_heads *h, size_t head, const char *between,
                     struct str *out) {
    for (size_t k = 0; k < h->n_axes; k++) {
        const struct sweep_axis *a = &s->axis[h->axis[k]];
        const struct sweep_point *p = &a->point[h->point[head * h->n_axes + k]];
        if (k) str_add(out, between);
        if (!p->named) str_addf(out, "%s=", a->name);
        str_add(out, p->label);
    }
}

static enum smkd_result read_table(struct sweep *s, const cJSON *root) {
    const cJSON *rows = cJSON_GetObjectItemCaseSensitive(root, "rows"),
                *columns = cJSON_GetObjectItemCaseSensitive(root, "columns"),
                *x = cJSON_GetObjectItemCaseSensitive(root, "x");
    bool *used = ARENA_ARRAY(&s->arena, bool, s->n_axes + 1);
    enum smkd_result r = SMKD_R_OK;
    if (rows) r = read_heads(s, rows, "rows", used, &s->rows);
    if (r == SMKD_R_OK && columns) r = read_heads(s, columns, "columns", used, &s->columns);
    if (r == SMKD_R_OK && x && !columns) r = read_heads(s, x, "x", used, &s->columns);
    if (r != SMKD_R_OK) return r;
    if (!rows) default_heads(s, used, &s->rows, columns || x ? s->n_axes : 1);
    if (!columns && !x) default_heads(s, used, &s->columns, s->n_axes);
    make_heads(s, &s->rows);
    make_heads(s, &s->columns);
    for (size_t i = 0; i < s->n_runs; i++) {
        s->run[i].row = head_of(&s->rows, &s->run[i]);
        s->run[i].column = head_of(&s->columns, &s->run[i]);
    }
    if (!x) return SMKD_R_OK;
    s->x = arena_strdup(&s->arena, cJSON_GetStringValue(x));
    const struct sweep_axis *a = s->columns.n_axes == 1 ? &s->axis[s->columns.axis[0]] : NULL;
    if (!a || !s->x || find_axis(s, s->x) != s->columns.axis[0])
        return rt_fail(SMKD_R_INVALID, "%s: \"x\" is the flag that makes the columns, and the only one", s->file);
    double v;
    for (size_t i = 0; i < a->n; i++)
        if (!parse_f64(a->point[i].label, &v) || v - v != 0)
            return rt_fail(SMKD_R_INVALID, "%s: \"x\": %s is no number on an axis", s->file, a->point[i].label);
    return SMKD_R_OK;
}

static enum smkd_result add_measure(struct sweep *s, const char *label, const char *column) {
    if (!column || !*column)
        return rt_fail(SMKD_R_INVALID,
                       "%s: \"measure\" is a column of metrics.csv, a list of such, or {\"what to call it\": column}",
                       s->file);
    column = arena_strdup(&s->arena, column);
    for (size_t i = 0; i < s->n_measures; i++)
        if (strcmp(s->measure[i].label, label ? label : column) == 0)
            return rt_fail(SMKD_R_INVALID, "%s: \"measure\": %s is there twice", s->file, s->measure[i].label);
    *ARENA_PUSH(&s->arena, s->measure, s->n_measures, s->cap_measures) =
        (struct sweep_measure){label ? arena_strdup(&s->arena, label) : column, column};
    return SMKD_R_OK;
}

static enum smkd_result read_measures(struct sweep *s, const cJSON *v) {
    const bool list = cJSON_IsArray(v) || cJSON_IsObject(v);
    enum smkd_result r = SMKD_R_OK;
    if (!v) return add_measure(s, NULL, "ensemble_test_top1");
    for (const cJSON *x = list ? v->child : v; x && r == SMKD_R_OK; x = list ? x->next : NULL)
        r = add_measure(s, cJSON_IsObject(v) ? x->string : NULL, cJSON_GetStringValue(x));
    return r == SMKD_R_OK && !s->n_measures ? add_measure(s, NULL, NULL) : r; // an empty list
}

// --- runs ------------------------------------------------------------------------------------------------------------

// What a folder may be called: everything but letters, digits, . + - = % _ and what is beyond ASCII becomes one -.
static void add_name(struct str *out, const char *text) {
    bool replaced = false;
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;
        const bool fine = isalnum(c) || strchr(".+-=%_", c) || c >= 0x80;
        if (fine)
            str_addn(out, text, 1);
        else if (!replaced)
            str_add(out, "-");
        replaced = !fine;
    }
}

// "SMKD-P_noise=symmetric-0.4_seed=1": of the run's own points alone, so that it stays when others come or go.
static const char *name_of(struct sweep *s, const size_t *at) {
    struct str name = STR_INIT;
    for (size_t i = 0; i < s->n_axes; i++) {
        if (i) str_add(&name, "_");
        if (s->axis[i].name != CASE) {
            add_name(&name, s->axis[i].name);
            str_add(&name, "=");
        }
        add_name(&name, s->axis[i].point[at[i]].label);
    }
    if (!s->n_axes) str_add(&name, "run");
    if (name.s[0] == '.' || name.s[0] == '-') name.s[0] = '_';
    if (name.len > LONGEST_NAME) {
        const uint64_t h = fnv1a(FNV_INIT, name.s, name.len);
        while (name.len > LONGEST_NAME || ((unsigned char)name.s[name.len] & 0xc0) == 0x80) name.len--;
        name.s[name.len] = 0;
        str_addf(&name, "_%016llx", (unsigned long long)h);
    }
    const char *out = arena_strdup(&s->arena, name.s);
    str_release(&name);
    return out;
}

static int by_flag(const void *a, const void *b) {
    return strcmp(((const struct sweep_flag *)a)->name, ((const struct sweep_flag *)b)->name);
}

// Common flags, those of the grid over them, those of the case over both.
static struct sweep_flags flags_of(struct sweep *s, const struct sweep_flags *common, const size_t *at) {
    struct sweep_flags f = {0};
    for (size_t k = 0; k < common->n; k++) set_flag(s, &f, &common->f[k]);
    for (size_t i = s->n_axes; i-- > 0;) { // the cases come first among the axes
        const struct sweep_flags *own_flags = &s->axis[i].point[at[i]].flags;
        for (size_t k = 0; k < own_flags->n; k++) set_flag(s, &f, &own_flags->f[k]);
    }
    qsort(f.f, f.n, sizeof *f.f, by_flag);
    return f;
}

static enum smkd_result check_run(const struct sweep *s, const struct sweep_run *r) {
    struct rt_config c;
    enum smkd_result e = sweep_configure(&r->flags, &c);
    if (e == SMKD_R_OK) {
        const struct sweep_flag *peer = sweep_flag_find(&r->flags, "peer");
        const size_t n = peer ? peer->n : 0;
        if (n < (size_t)c.row->least || n > (size_t)c.row->most)
            e = rt_fail(SMKD_R_INVALID, "the method %s takes at %s %d network%s, and \"peer\" has %zu", c.row->name,
                        n < (size_t)c.row->least ? "least" : "most",
                        n < (size_t)c.row->least ? c.row->least : c.row->most,
                        (n < (size_t)c.row->least ? c.row->least : c.row->most) == 1 ? "" : "s", n);
    }
    rt_config_release(&c);
    return e == SMKD_R_OK ? e : rt_fail(e, "%s: run %s: %s", s->file, r->name, smkd_last_error());
}

struct key {
    const char *text, *name;
};
static int by_text(const void *a, const void *b) {
    return strcmp(((const struct key *)a)->text, ((const struct key *)b)->text);
}

// No two runs may be one folder, nor one run under two names.
static enum smkd_result check_different(struct sweep *s) {
    struct key *names = ARENA_ARRAY(&s->arena, struct key, s->n_runs),
               *flags = ARENA_ARRAY(&s->arena, struct key, s->n_runs);
    for (size_t i = 0; i < s->n_runs; i++) {
        cJSON *o = sweep_flags_json(&s->run[i].flags);
        char *text = cJSON_PrintUnformatted(o);
        names[i] = (struct key){s->run[i].name, s->run[i].name};
        flags[i] = (struct key){arena_strdup(&s->arena, text), s->run[i].name};
        cJSON_free(text);
        cJSON_Delete(o);
    }
    qsort(names, s->n_runs, sizeof *names, by_text);
    qsort(flags, s->n_runs, sizeof *flags, by_text);
    for (size_t i = 1; i < s->n_runs; i++) {
        if (strcmp(names[i].text, names[i - 1].text) == 0)
            return rt_fail(SMKD_R_INVALID,
                           "%s: two runs would both be called %s; give them names that differ in letters", s->file,
                           names[i].name);
        if (strcmp(flags[i].text, flags[i - 1].text) == 0)
            return rt_fail(SMKD_R_INVALID, "%s: %s and %s are the same run: no flag differs", s->file,
                           flags[i - 1].name, flags[i].name);
    }
    return SMKD_R_OK;
}

static enum smkd_result make_runs(struct sweep *s, const struct sweep_flags *common) {
    size_t n = 1;
    for (size_t i = 0; i < s->n_axes; i++)
        if ((n *= s->axis[i].n) > MOST_RUNS)
            return rt_fail(SMKD_R_INVALID, "%s: these are more than %d runs", s->file, MOST_RUNS);
    s->run = ARENA_ARRAY(&s->arena, struct sweep_run, n);
    for (; s->n_runs < n; s->n_runs++) {
        struct sweep_run *r = &s->run[s->n_runs];
        size_t rest = s->n_runs;
        r->at = ARENA_ARRAY(&s->arena, size_t, s->n_axes + 1);
        for (size_t i = s->n_axes; i-- > 0; rest /= s->axis[i].n) r->at[i] = rest % s->axis[i].n;
        r->name = name_of(s, r->at);
        r->dir = arena_printf(&s->arena, "%s/runs/%s", s->dir, r->name);
        r->flags = flags_of(s, common, r->at);
        enum smkd_result e = check_run(s, r);
        if (e != SMKD_R_OK) return e;
    }
    return check_different(s);
}

// --- the description -------------------------------------------------------------------------------------------------

static enum smkd_result check_keys(const cJSON *root, const char *file) {
    static const char *const keys[] = {"title", "about",   "output_dir", "models", "common", "grid", "cases",
                                       "rows",  "columns", "measure",    "curve",  "x",      "full", NULL};
    if (!cJSON_IsObject(root)) return rt_fail(SMKD_R_INVALID, "%s: is no JSON object", file);
    for (const cJSON *v = root->child; v; v = v->next) {
        if (!among(keys, v->string))
            return rt_fail(SMKD_R_INVALID,
                           "%s: \"%s\" is no key of a sweep: expected title, about, output_dir, models, common, grid, "
                           "cases, rows, columns, measure, curve, x, full",
                           file, v->string);
        for (const cJSON *w = root->child; w != v; w = w->next)
            if (strcmp(v->string, w->string) == 0)
                return rt_fail(SMKD_R_INVALID, "%s: \"%s\" is there twice", file, v->string);
    }
    return SMKD_R_OK;
}

// A text, or a list of texts with blanks between them.
static enum smkd_result read_text(struct sweep *s, const cJSON *root, const char *key, const char **out) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(root, key);
    const bool list = cJSON_IsArray(v);
    struct str text = STR_INIT;
    enum smkd_result r = SMKD_R_OK;
    for (const cJSON *x = list ? v->child : v; x && r == SMKD_R_OK; x = list ? x->next : NULL) {
        if (cJSON_IsString(x))
            str_addf(&text, "%s%s", text.len ? " " : "", cJSON_GetStringValue(x));
        else
            r = rt_fail(SMKD_R_INVALID, "%s: \"%s\" is no text", s->file, key);
    }
    *out = text.len ? arena_strdup(&s->arena, text.s) : NULL;
    str_release(&text);
    return r;
}

static enum smkd_result read_object(const cJSON *root, const char *key, const char *file, const cJSON **out) {
    *out = cJSON_GetObjectItemCaseSensitive(root, key);
    if (*out && !cJSON_IsObject(*out)) return rt_fail(SMKD_R_INVALID, "%s: \"%s\" is no object", file, key);
    return SMKD_R_OK;
}

enum smkd_result sweep_read(struct sweep *s, const cJSON *root, const char *file) {
    *s = (struct sweep){0};
    arena_init(&s->arena);
    s->file = arena_strdup(&s->arena, file);
    const cJSON *models, *common, *grid, *v, *cases = cJSON_GetObjectItemCaseSensitive(root, "cases");
    struct sweep_flags flags = {0};
    enum smkd_result r = check_keys(root, file);
    if (r == SMKD_R_OK) r = read_text(s, root, "output_dir", &s->dir);
    if (r == SMKD_R_OK && !s->dir)
        r = rt_fail(SMKD_R_INVALID, "%s: \"output_dir\" is missing (or --output-dir DIR)", file);
    if (r == SMKD_R_OK) r = read_text(s, root, "title", &s->title);
    if (r == SMKD_R_OK) r = read_text(s, root, "about", &s->about);
    if (r == SMKD_R_OK) r = read_text(s, root, "curve", &s->curve);
    if (r == SMKD_R_OK) r = read_object(root, "models", file, &models);
    if (r == SMKD_R_OK) r = read_object(root, "common", file, &common);
    if (r == SMKD_R_OK) r = read_object(root, "grid", file, &grid);
    if (r != SMKD_R_OK) return r;
    cJSON_ArrayForEach(v, models) if ((r = read_model(s, v)) != SMKD_R_OK) return r;
    if (common && (r = sweep_flags_read(s, common, arena_printf(&s->arena, "%s: common", file), &flags)) != SMKD_R_OK)
        return r;
    if (cases && (r = read_axis(s, NULL, cases, arena_printf(&s->arena, "%s: cases", file))) != SMKD_R_OK) return r;
    cJSON_ArrayForEach(v, grid) {
        r = read_axis(s, v->string, v, arena_printf(&s->arena, "%s: grid: %s", file, v->string));
        if (r != SMKD_R_OK) return r;
    }
    if ((r = check_axes(s)) != SMKD_R_OK) return r;
    if ((r = make_runs(s, &flags)) != SMKD_R_OK) return r;
    if ((r = read_measures(s, cJSON_GetObjectItemCaseSensitive(root, "measure"))) != SMKD_R_OK) return r;
    return read_table(s, root);
}

void sweep_release(struct sweep *s) { arena_release(&s->arena); }

void sweep_merge(cJSON *to, const cJSON *patch) {
    for (const cJSON *v = patch->child; v; v = v->next) {
        cJSON *was = cJSON_GetObjectItemCaseSensitive(to, v->string);
        if (cJSON_IsObject(v) && cJSON_IsObject(was)) {
            sweep_merge(was, v);
            continue;
        }
        cJSON *now = cJSON_IsNull(v) ? NULL : cJSON_IsObject(v) ? cJSON_CreateObject() : cJSON_Duplicate(v, true);
        if (cJSON_IsObject(v)) sweep_merge(now, v); // without its nulls
        if (now && was)
            cJSON_ReplaceItemInObjectCaseSensitive(to, v->string, now);
        else if (now)
            cJSON_AddItemToObject(to, v->string, now);
        else
            cJSON_DeleteItemFromObjectCaseSensitive(to, v->string);
    }
}
