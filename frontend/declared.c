// A file declares shapes and types of values (value_info, outputs), which the importer does not need: it computes its
// own. Where the two contradict each other, either the file is stale or it is read wrongly here, so it is said.
//
// What is no contradiction:
//   - a fixed batch B, since axis 0 of the inputs is N all the same: kB is kN. Where the batch is symbolic in the
//   inputs, a
//     number k*B in its place is the batch that the model was traced with, the same B everywhere;
//   - a scalar against a shape of ones;
//   - dims that a --shape option changes: with a number of the file overridden, its other numbers say nothing any more;
//   - float16, which is computed as float32.
// Names of dims mean what they meant where they were seen first; the inputs come first.
#include "scope.h"

#include <string.h>

enum kind { TYPE, RANK, SIZE, NAME, KINDS };

struct fe_declared {
    bool stale;     // a number of an input was overridden
    int64_t traced; // the batch in declared shapes; 0: not seen yet
    struct name {
        const char *text;
        int64_t dim; // as in IR: negative is times N
    } *names;
    size_t n_names, cap_names;
    struct found {
        size_t n;
        struct diag_loc loc; // of the first
        const char *text;
    } found[KINDS];
    const char *rows_of; // the input whose batch `traced` is
};

static struct fe_declared *state(struct fe_ctx *c) {
    if (!c->declared) c->declared = ARENA_NEW(c->a, struct fe_declared);
    return c->declared;
}

bool fe_dim_is_number(const Onnx__TensorShapeProto__Dimension *d) {
    return d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE && d->dim_value > 0;
}

// A name that means something. Exporters without one write placeholders, the same for any dim.
static const char *name_of(const Onnx__TensorShapeProto__Dimension *d) {
    static const char *const placeholders[] = {"", "?", "-1", "None", "none", "unk", "unknown", "Unknown", "dynamic"};
    const char *s = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM ? d->dim_param : NULL;
    for (size_t i = 0; s && i < sizeof placeholders / sizeof *placeholders; i++)
        if (!strcmp(s, placeholders[i])) s = NULL;
    return s;
}

// What `text` means, from now on `dim` where nothing was known.
static int64_t meaning(struct fe_ctx *c, const char *text, int64_t dim) {
    struct fe_declared *s = state(c);
    for (size_t i = 0; i < s->n_names; i++)
        if (!strcmp(s->names[i].text, text)) return s->names[i].dim;
    *ARENA_PUSH(c->a, s->names, s->n_names, s->cap_names) = (struct name){text, dim};
    return dim;
}

static const char *said_text(struct fe_ctx *c, const Onnx__TypeProto__Tensor *t) {
    struct str s = STR_INIT;
    enum ir_dtype ir;
    str_add(&s, fe_onnx_to_ir(t->elem_type, &ir) ? ir_dtype_name(ir) : fe_onnx_dtype_name(t->elem_type));
    for (size_t i = 0; t->shape && i < t->shape->n_dim; i++) {
        const Onnx__TensorShapeProto__Dimension *d = t->shape->dim[i];
        str_add(&s, i ? "," : "[");
        if (fe_dim_is_number(d))
            str_addf(&s, "%lld", (long long)d->dim_value);
        else
            str_add(&s, name_of(d) ? name_of(d) : "?");
    }
    if (t->shape) str_add(&s, t->shape->n_dim ? "]" : "[]");
    const char *text = arena_strdup(c->a, s.s);
    str_release(&s);
    return text;
}

static const char *computed_text(struct fe_ctx *c, enum ir_dtype t, const int64_t *dims, int rank) {
    struct str s = STR_INIT;
    str_addf(&s, "%s[", ir_dtype_name(t));
    for (int i = 0; i < rank; i++) {
        char buf[24];
        str_addf(&s, "%s%s", i ? "," : "", ir_dim_text(dims[i], buf));
    }
    str_add(&s, "]");
    const char *text = arena_strdup(c->a, s.s);
    str_release(&s);
    return text;
}

static void note(struct fe_ctx *c, enum kind k, const struct diag_loc *loc, const char *text) {
    struct found *f = &state(c)->found[k];
    if (f->n++ == 0) *f = (struct found){1, *loc, text};
}

void fe_declared_input(struct fe_ctx *c, const char *name, const Onnx__TensorShapeProto *said, const int64_t *dims) {
    struct fe_declared *s = state(c);
    for (size_t i = 0; said && i < said->n_dim; i++) {
        const Onnx__TensorShapeProto__Dimension *d = said->dim[i];
        if (!fe_dim_is_number(d)) {
            const char *text = name_of(d);
            int64_t meant = text ? meaning(c, text, dims[i]) : dims[i];
            if (meant != dims[i]) {
                char a[24], b[24];
                note(c, NAME, &(struct diag_loc){0},
                     arena_printf(c->a, "input \"%s\": dimension %zu is called \"%s\" and is %s, which is %s elsewhere",
                                  name, i, text, ir_dim_text(dims[i], a), ir_dim_text(meant, b)));
            }
        } else if (dims[i] >= 0) {
            s->stale |= d->dim_value != dims[i];
        } else if (!s->traced) {
            s->traced = d->dim_value;
            s->rows_of = name;
        } else if (s->traced != d->dim_value) {
            diag_warning(
                c->d, NULL,
                "input \"%s\" has %lld samples in the file, \"%s\" has %lld: both get as many, a batch of any size",
                name, (long long)d->dim_value, s->rows_of, (long long)s->traced);
        }
    }
}

// Whether a declared dim contradicts a computed one, and how.
static bool contradicts(struct fe_ctx *c, const Onnx__TensorShapeProto__Dimension *d, int64_t dim, enum kind *k) {
    struct fe_declared *s = state(c);
    if (fe_dim_is_number(d)) {
        *k = SIZE;
        if (s->stale || d->dim_value == dim) return false;
        if (dim >= 0 || d->dim_value % -dim) return true;
        int64_t batch = d->dim_value / -dim;
        if (!s->traced) s->traced = batch;
        return batch != s->traced;
    }
    const char *text = name_of(d);
    *k = NAME;
    return text && meaning(c, text, dim) != dim && !s->stale;
}

static bool compares(const struct fe_val *v) {
    return !v->unknown && !v->is_seq && !v->random && !v->rows && !v->is_buffer;
}

static bool all_ones(const int64_t *dims, int rank) {
    for (int i = 0; i < rank; i++)
        if (dims[i] != 1) return false;
    return true;
}

static bool said_ones(const Onnx__TensorShapeProto *s) {
    for (size_t i = 0; i < s->n_dim; i++)
        if (!fe_dim_is_number(s->dim[i]) || s->dim[i]->dim_value != 1) return false;
    return true;
}

void fe_declared_compare(struct fe_ctx *c, const struct diag_loc *loc, const struct fe_slot *slot) {
    const struct fe_val *v = slot->val;
    const Onnx__TypeProto *type = slot->declared;
    if (!type || type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !type->tensor_type || !compares(v)) return;
    if (!v->sym && !v->blob && v->vid == IR_NONE) return;
    const Onnx__TypeProto__Tensor *said = type->tensor_type;
    const enum ir_dtype dtype = fe_type(c, v)->dtype;
    int64_t dims[IR_MAX_RANK];
    int rank = fe_onnx_dims(c, v, dims);
    enum ir_dtype ir;
    enum kind kind = TYPE, k;
    bool differs = fe_onnx_to_ir(said->elem_type, &ir) && ir != dtype;
    if (!differs && said->shape && (int)said->shape->n_dim != rank) {
        kind = RANK;
        differs = !said_ones(said->shape) || !all_ones(dims, rank);
    } else if (!differs && said->shape) {
        for (int i = 0; i < rank; i++)
            if (contradicts(c, said->shape->dim[i], dims[i], &k) && (!differs || k == SIZE)) {
                differs = true;
                kind = k;
            }
    }
    if (differs)
        note(c, kind, loc,
             arena_printf(c->a, "the file declares \"%s\" as %s, computed is %s", slot->name, said_text(c, said),
                          computed_text(c, dtype, dims, rank)));
}

void fe_declared_report(struct fe_ctx *c) {
    static const char *const what[KINDS] = {[TYPE] = "another type",
                                            [RANK] = "another rank",
                                            [SIZE] = "another size",
                                            [NAME] = "names of sizes that do not agree"};
    for (int k = 0; k < KINDS; k++) {
        const struct found *f = &state(c)->found[k];
        const char *more = f->n < 2 ? "" : arena_printf(c->a, " (and %zu more values with %s)", f->n - 1, what[k]);
        if (f->n)
            diag_warning(c->d, &f->loc,
                         "%s%s; the file's claim is stale, or it is read wrongly here: compare the results", f->text,
                         more);
    }
}
