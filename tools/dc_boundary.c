// The options that say what a model's inputs are: shapes, batches, elements.
#include "dc.h"

#include <string.h>

// NAME=REST of an option; the name may contain '='. NULL where there is no such thing.
static char *split(struct arena *arena, const char *text, const char **rest) {
    const char *eq = strrchr(text, '=');
    if (!eq || eq == text) return NULL;
    char *name = arena_strdup(arena, text);
    name[eq - text] = 0;
    *rest = eq + 1;
    return name;
}

// "x=N,3,224,224": one of the dimensions may be N.
static bool parse_shape(struct arena *arena, const char *text, struct fe_shape *out) {
    const char *p;
    bool batch = false;
    *out = (struct fe_shape){.input = split(arena, text, &p)};
    if (!out->input) return false;
    for (;; p++) {
        const size_t n = strcspn(p, ",");
        char buf[24];
        int64_t v;
        if (n == 0 || n >= sizeof buf || out->rank == IR_MAX_RANK) return false;
        memcpy(buf, p, n);
        buf[n] = 0;
        if (!strcmp(buf, "N") && !batch) {
            v = IR_N;
            batch = true;
        } else if (!parse_i64(buf, &v) || v < 1) {
            return false;
        }
        out->dims[out->rank++] = v;
        p += n;
        if (!*p) return true;
    }
}

static int read_shapes(struct arena *arena, const struct args *a, struct fe_options *o) {
    const size_t n = args_count(a, "shape");
    struct fe_shape *shapes = ARENA_ARRAY(arena, struct fe_shape, n + 1);
    for (size_t i = 0; i < n; i++) {
        const char *text = args_nth(a, "shape", i);
        if (!parse_shape(arena, text, &shapes[i]))
            return args_fail(a->cmd,
                             "--shape %s: expected INPUT=N,D,D... such as x=N,3,224,224, or SYMBOL=SIZE of a symbolic "
                             "dimension",
                             text);
        for (size_t k = 0; k < i; k++)
            if (!strcmp(shapes[k].input, shapes[i].input))
                return args_fail(a->cmd, "--shape %s: the shape of %s is given twice", text, shapes[i].input);
    }
    o->shapes = shapes;
    o->n_shapes = n;
    return EXIT_DONE;
}

static int read_batch_axes(struct arena *arena, const struct args *a, struct fe_options *o) {
    const size_t n = args_count(a, "batch-axis");
    struct fe_batch_axis *axes = ARENA_ARRAY(arena, struct fe_batch_axis, n + 1);
    for (size_t i = 0; i < n; i++) {
        const char *text = args_nth(a, "batch-axis", i), *axis = NULL;
        int64_t v = 0;
        axes[i].input = split(arena, text, &axis);
        if (!axes[i].input || !parse_i64(axis, &v) || v < -IR_MAX_RANK || v >= IR_MAX_RANK)
            return args_fail(a->cmd, "--batch-axis %s: expected INPUT=AXIS such as x=1", text);
        axes[i].axis = (int)v;
        for (size_t k = 0; k < i; k++)
            if (!strcmp(axes[k].input, axes[i].input))
                return args_fail(a->cmd, "--batch-axis %s: the axis of %s is given twice", text, axes[i].input);
    }
    o->batch_axes = axes;
    o->n_batch_axes = n;
    return EXIT_DONE;
}

static int read_elements(struct arena *arena, const struct args *a, struct fe_options *o) {
    const size_t n = args_count(a, "shape-input");
    struct fe_shape_input *given = ARENA_ARRAY(arena, struct fe_shape_input, n + 1);
    for (size_t i = 0; i < n; i++) {
        const char *text = args_nth(a, "shape-input", i);
        given[i].input = split(arena, text, &given[i].values);
        if (!given[i].input)
            return args_fail(a->cmd, "--shape-input %s: expected INPUT=NUMBER,NUMBER... such as shape=2,3,-1", text);
        for (size_t k = 0; k < i; k++)
            if (!strcmp(given[k].input, given[i].input))
                return args_fail(a->cmd, "--shape-input %s: %s is given twice", text, given[i].input);
    }
    o->shape_inputs = given;
    o->n_shape_inputs = n;
    return EXIT_DONE;
}

const char *const *dc_all_of(struct arena *arena, const struct args *a, const char *option, size_t *n) {
    *n = args_count(a, option);
    const char **values = ARENA_ARRAY(arena, const char *, *n + 1);
    for (size_t i = 0; i < *n; i++) values[i] = args_nth(a, option, i);
    return values;
}

int dc_boundary_options(struct arena *arena, const struct args *a, struct fe_options *o) {
    int code = read_shapes(arena, a, o);
    if (code == EXIT_DONE) code = read_batch_axes(arena, a, o);
    if (code == EXIT_DONE) code = read_elements(arena, a, o);
    o->no_batch = dc_all_of(arena, a, "no-batch", &o->n_no_batch);
    return code;
}

bool dc_asks_for_batch(const struct fe_options *o) {
    bool asked = o->n_batch_axes > 0;
    for (size_t i = 0; i < o->n_shapes; i++)
        for (int k = 0; k < o->shapes[i].rank; k++) asked |= o->shapes[i].dims[k] == IR_N;
    return asked;
}
