// Opening a model, under the options that say how to read it.
#include "dc.h"

#include <string.h>

// "x=N,3,224,224"; the input's name may contain '='. Only the first dimension may be N.
static bool parse_shape(struct arena *arena, const char *text, struct fe_shape *out) {
    const char *eq = strrchr(text, '=');
    if (!eq || eq == text) return false;
    char *name = arena_strdup(arena, text);
    name[eq - text] = 0;
    *out = (struct fe_shape){.input = name};
    for (const char *p = eq + 1;; p++) {
        const size_t n = strcspn(p, ",");
        char buf[24];
        int64_t v;
        if (n == 0 || n >= sizeof buf || out->rank == IR_MAX_RANK) return false;
        memcpy(buf, p, n);
        buf[n] = 0;
        if (!strcmp(buf, "N") && out->rank == 0)
            v = IR_N;
        else if (!parse_i64(buf, &v) || v < 1)
            return false;
        out->dims[out->rank++] = v;
        p += n;
        if (!*p) return true;
    }
}

// The values of an option that may be repeated.
static const char *const *all_of(struct arena *arena, const struct args *a, const char *option, size_t *n) {
    *n = args_count(a, option);
    const char **values = ARENA_ARRAY(arena, const char *, *n + 1);
    for (size_t i = 0; i < *n; i++) values[i] = args_nth(a, option, i);
    return values;
}

int dc_model_open(struct dc_model *m, const char *path, const struct args *a) {
    *m = (struct dc_model){.diag = {.file = path}};
    arena_init(&m->arena);
    const size_t n = args_count(a, "shape");
    struct fe_shape *shapes = ARENA_ARRAY(&m->arena, struct fe_shape, n);
    for (size_t i = 0; i < n; i++) {
        const char *text = args_nth(a, "shape", i);
        if (!parse_shape(&m->arena, text, &shapes[i]))
            return args_fail(a->cmd, "--shape %s: expected INPUT=N,D,D... such as x=N,3,224,224", text);
        for (size_t k = 0; k < i; k++)
            if (!strcmp(shapes[k].input, shapes[i].input))
                return args_fail(a->cmd, "--shape %s: the shape of %s is given twice", text, shapes[i].input);
    }
    doing("reading %s", path);
    m->file = fe_open(&m->arena, &m->diag, path);
    if (!m->file) return dc_exit(SMKD_INVALID, &m->diag);
    struct fe_options o = {.shapes = shapes, .n_shapes = n};
    o.train_only = all_of(&m->arena, a, "train-only", &o.n_train_only);
    o.constants = all_of(&m->arena, a, "constant", &o.n_constants);
    m->imported = fe_import(m->file, &m->arena, &m->diag, &o);
    return m->imported ? EXIT_DONE : dc_exit(SMKD_INVALID, &m->diag);
}

void dc_model_close(struct dc_model *m) {
    if (m->file) fe_close(m->file);
    arena_release(&m->arena);
}
