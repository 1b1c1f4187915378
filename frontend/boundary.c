// What goes into a graph and what comes out of it: shapes, which axis is the batch, inputs whose elements are given at
// compile time.
// An input without elements is one of those.
//
// An input's batch axis is, the first that applies:
//   - none, where --no-batch names it, or where every input is taken whole (fe_options.whole);
//   - the one that --batch-axis gives, or at which --shape has N;
//   - the one that has the name that the first input's batch has in the file: states [layers,batch,H] beside x
//     [batch,T,C];
//   - axis 0, also where the file has a number there. But a number beside symbolic batches is a size, and so is one
//     that differs from the first input's: what has 3 rows where another has 8 has no rows of samples.
#include "scope.h"

#include "../base/checked.h"

#include <fnmatch.h>
#include <string.h>

enum { NO_BATCH = -1, UNDECIDED = -2 };

struct input {
    const char *name;
    const Onnx__TypeProto__Tensor *type;
    const Onnx__TensorShapeProto *said; // NULL: no shape in the file
    const struct fe_shape *given;       // --shape
    int rank, axis;                     // of the batch
    int64_t dims[IR_MAX_RANK];          // 0: open
    bool automatic;                     // nobody said what its batch is
    bool known;                         // its elements are given
};

// --- options

static const struct fe_shape *find_shape(const struct fe_options *o, const char *name) {
    for (size_t i = 0; i < o->n_shapes; i++)
        if (!strcmp(o->shapes[i].input, name)) return &o->shapes[i];
    return NULL;
}

static const struct fe_shape_input *find_elements(const struct fe_options *o, const char *name) {
    for (size_t i = 0; i < o->n_shape_inputs; i++)
        if (!strcmp(o->shape_inputs[i].input, name)) return &o->shape_inputs[i];
    return NULL;
}

static const struct fe_batch_axis *find_axis(const struct fe_options *o, const char *name) {
    for (size_t i = 0; i < o->n_batch_axes; i++)
        if (!strcmp(o->batch_axes[i].input, name)) return &o->batch_axes[i];
    return NULL;
}

static bool has_no_batch(const struct fe_options *o, const char *name) {
    bool found = o->whole;
    for (size_t i = 0; i < o->n_no_batch; i++) found |= fnmatch(o->no_batch[i], name, 0) == 0;
    return found;
}

// Whether one of its sizes is 0, so that all its elements are known.
static bool is_empty(const Onnx__TensorShapeProto *s) {
    bool empty = false;
    for (size_t i = 0; s && i < s->n_dim; i++)
        empty |= s->dim[i]->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE && !s->dim[i]->dim_value;
    return empty;
}

static const char *symbol_of(const Onnx__TensorShapeProto__Dimension *d) {
    return d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM && d->dim_param && *d->dim_param
               ? d->dim_param
               : NULL;
}

// The size that --shape NAME=SIZE gives a symbolic dimension; 0: none.
static int64_t size_of(const struct fe_options *o, const Onnx__TensorShapeProto__Dimension *d) {
    const char *symbol = symbol_of(d);
    const struct fe_shape *s = symbol ? find_shape(o, symbol) : NULL;
    return s && s->rank == 1 && s->dims[0] > 0 ? s->dims[0] : 0;
}

// --- inputs

// The shape to ask the user for: what is known, and 224 where nothing is.
static const char *suggest(struct fe_ctx *c, const struct input *in) {
    struct str s = STR_INIT;
    str_addf(&s, "--shape %s=", in->name);
    for (int i = 0; i < in->rank; i++) {
        if (i == in->axis)
            str_addf(&s, "%sN", i ? "," : "");
        else
            str_addf(&s, "%s%lld", i ? "," : "", (long long)(in->dims[i] ? in->dims[i] : i == 1 ? 3 : 224));
    }
    const char *r = arena_strdup(c->a, s.s);
    str_release(&s);
    return r;
}

// Says which dimensions are open, by their names where the file has some.
static void report_open(struct fe_ctx *c, const struct input *in) {
    struct str s = STR_INIT;
    int n = 0;
    for (int i = 0; i < in->rank; i++) {
        if (in->dims[i] || i == in->axis) continue;
        const char *symbol = in->said ? symbol_of(in->said->dim[i]) : NULL;
        str_addf(&s, "%s%d", n++ ? ", " : "", i);
        if (symbol) str_addf(&s, " (\"%s\")", symbol);
    }
    diag_error(c->d, NULL, "input \"%s\": dimension%s %s %s no fixed size; give %s: %s", in->name, n > 1 ? "s" : "",
               s.s, n > 1 ? "have" : "has", n > 1 ? "them" : "one", suggest(c, in));
    str_release(&s);
}

// Name, type and sizes as the file and --shape have them. False after a report, and for no input at all.
static bool read_input(struct fe_ctx *c, const Onnx__ValueInfoProto *v, const struct fe_options *o, struct input *in) {
    const Onnx__TypeProto *tp = v->type;
    enum ir_dtype dtype;
    *in = (struct input){.name = v->name, .axis = UNDECIDED};
    if (!tp || tp->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !tp->tensor_type ||
        !fe_onnx_to_ir(tp->tensor_type->elem_type, &dtype)) {
        diag_error(c->d, NULL, "input \"%s\" must be a tensor of floats or integers", in->name);
        return false;
    }
    in->type = tp->tensor_type;
    in->said = tp->tensor_type->shape;
    in->given = find_shape(o, in->name);
    in->known = find_elements(o, in->name) != NULL || (!in->given && is_empty(in->said));
    const size_t rank = in->given ? (size_t)in->given->rank : in->said ? in->said->n_dim : 0;
    if (!in->given && !in->said && !in->known) {
        diag_error(c->d, NULL, "input \"%s\" has no shape in the file; give one, e.g. --shape %s=N,3,224,224", in->name,
                   in->name);
        return false;
    }
    if (in->given && in->said && in->said->n_dim != rank) {
        diag_error(c->d, NULL, "input \"%s\" has %zu dimensions in the file, --shape gives %zu", in->name,
                   in->said->n_dim, rank);
        return false;
    }
    if (rank > IR_MAX_RANK) {
        diag_error(c->d, NULL, "input \"%s\" has %zu dimensions; at most %d are supported", in->name, rank,
                   IR_MAX_RANK);
        return false;
    }
    in->rank = (int)rank;
    for (int i = 0; i < in->rank; i++) {
        const Onnx__TensorShapeProto__Dimension *d = in->said ? in->said->dim[i] : NULL;
        in->dims[i] = in->given ? in->given->dims[i] : fe_dim_is_number(d) ? d->dim_value : size_of(o, d);
        if (in->dims[i] == IR_N) {
            in->axis = i;
            in->dims[i] = d && fe_dim_is_number(d) ? d->dim_value : 0;
        }
    }
    return true;
}

// What somebody said of its batch; false after a report.
static bool asked_axis(struct fe_ctx *c, const struct fe_options *o, struct input *in) {
    const struct fe_batch_axis *asked = find_axis(o, in->name);
    if (asked && (asked->axis >= in->rank || asked->axis < -in->rank)) {
        diag_error(c->d, NULL, "--batch-axis %s=%d: the input has %d dimensions", in->name, asked->axis, in->rank);
        return false;
    }
    if (asked)
        in->axis = asked->axis < 0 ? asked->axis + in->rank : asked->axis;
    else if (has_no_batch(o, in->name) || in->rank == 0)
        in->axis = NO_BATCH;
    if (in->known) in->axis = NO_BATCH;
    in->automatic = in->axis == UNDECIDED;
    return true;
}

static int axis_called(const struct input *in, const char *symbol) {
    for (int i = 0; in->said && i < in->rank; i++) {
        const char *s = symbol_of(in->said->dim[i]);
        if (s && !strcmp(s, symbol)) return i;
    }
    return NO_BATCH;
}

// The inputs whose batch nobody spoke of.
static void guess_axes(struct input *in, size_t n) {
    const char *batch = NULL;
    bool open = false;
    int64_t rows = 0;
    for (size_t i = 0; i < n; i++) {
        const int axis = in[i].automatic ? 0 : in[i].axis;
        if (axis == NO_BATCH) continue;
        open |= in[i].dims[axis] == 0;
        if (in[i].said && !batch) batch = symbol_of(in[i].said->dim[axis]);
        if (!rows) rows = in[i].dims[axis];
    }
    for (size_t i = 0; i < n; i++) {
        if (!in[i].automatic) continue;
        const int named = batch ? axis_called(&in[i], batch) : NO_BATCH;
        const bool number = in[i].dims[0] > 0 && !in[i].given;
        in[i].axis = named >= 0 ? named : number && (open || in[i].dims[0] != rows) ? NO_BATCH : 0;
    }
}

// Its elements, row-major, as --shape-input has them: numbers with commas between them, N for the batch.
static struct fe_sym *given_elements(struct fe_ctx *c, const struct input *in, const char *values) {
    enum ir_dtype t;
    size_t n = *values != 0, k = 0;
    for (const char *p = values; *p; p++) n += *p == ',';
    int64_t dims[IR_MAX_RANK] = {(int64_t)n}, numel = 0; // no numbers: an empty list
    const bool shaped = in->said || in->given;
    for (int i = 0; shaped && i < in->rank; i++)
        dims[i] = in->dims[i] > 0 ? in->dims[i] : in->rank == 1 ? (int64_t)n : 0;
    const int rank = shaped ? in->rank : 1;
    if (!checked_product(dims, (size_t)rank, &numel) || numel != (int64_t)n) {
        diag_error(c->d, NULL, "--shape-input %s=%s: gives %zu numbers, the input has %lld", in->name, values, n,
                   (long long)numel);
        return NULL;
    }
    fe_onnx_to_ir(in->type->elem_type, &t);
    struct fe_sym *s = fe_sym_new(c->a, t, rank, dims);
    for (const char *p = values; s && k < n; k++) {
        char text[40];
        const size_t len = strcspn(p, ",");
        bool ok = len > 0 && len < sizeof text;
        if (ok) {
            memcpy(text, p, len);
            text[len] = 0;
            if (!strcmp(text, "N") && !ir_is_float(t))
                s->v[k].a = 1;
            else
                ok = ir_is_float(t) ? parse_f64(text, &s->v[k].f) : parse_i64(text, &s->v[k].b);
        }
        if (!ok) {
            diag_error(c->d, NULL, "--shape-input %s=%s: expected %s with commas between them", in->name, values,
                       ir_is_float(t) ? "numbers" : "integers, or N for the batch,");
            return NULL;
        }
        p += len + 1;
    }
    if (!s) diag_error(c->d, NULL, "--shape-input %s: has too many elements", in->name);
    return s;
}

// The IR's value: batch first, whatever the file has.
static void make_input(struct fe_ctx *c, struct fe_val *val, const struct input *in) {
    enum ir_dtype dtype;
    int64_t dims[IR_MAX_RANK];
    struct fe_form form = {.name = in->name, .rank = in->rank, .outer = 1, .half = fe_half(in->type->elem_type)};
    int k = 0;
    fe_onnx_to_ir(in->type->elem_type, &dtype);
    form.dtype = dtype;
    if (in->axis >= 0) dims[k++] = IR_N;
    for (int i = 0; i < in->rank; i++) {
        form.dims[i] = i == in->axis ? IR_N : in->dims[i];
        if (i != in->axis) dims[k++] = in->dims[i];
        if (i < in->axis) form.outer *= in->dims[i];
    }
    if (in->axis >= 0) form.fixed = in->dims[in->axis];
    if (in->axis >= 0 && in->dims[in->axis] && in->dims[in->axis] <= FE_MAX_BAKED) c->baked = in->dims[in->axis];
    val->vid = ir_boundary(c->g, IR_ROLE_INPUT, ir_type_make(dtype, in->rank, dims), in->name, NULL);
    *ARENA_PUSH(c->m->arena, c->m->forms, c->m->n_forms, c->m->cap_forms) = form;
    fe_declared_input(c, in->name, in->said, form.dims);
}

static void add_input(struct fe_ctx *c, struct fe_slot *slot, const struct input *in, const struct fe_options *o) {
    const struct fe_shape_input *given = find_elements(o, in->name), empty = {in->name, ""},
                                *elements = given ? given : &empty;
    if (in->known) {
        struct fe_sym *s = given_elements(c, in, elements->values);
        if (!s) return;
        slot->val = fe_val_sym(c, s);
        slot->val->name = in->name;
        slot->val->half = fe_half(in->type->elem_type);
        struct fe_form form = {.name = in->name,
                               .rank = s->type.rank,
                               .outer = 1,
                               .dtype = s->type.dtype,
                               .half = fe_half(in->type->elem_type)};
        memcpy(form.dims, s->type.dims, sizeof form.dims);
        form.elements = elements->values;
        *ARENA_PUSH(c->m->arena, c->m->forms, c->m->n_forms, c->m->cap_forms) = form;
        return;
    }
    for (int i = 0; i < in->rank; i++)
        if (i != in->axis && (in->dims[i] <= 0 || in->dims[i] > INT32_MAX)) {
            report_open(c, in);
            return;
        }
    make_input(c, slot->val, in);
    slot->val->unknown = false;
    struct fe_val *rounded = fe_p_round(c, slot->val, fe_half(in->type->elem_type)); // the caller gives float32
    if (in->axis > 0) {
        struct fe_val *moved = fe_val_of(c, fe_vid(c, rounded));
        moved->name = in->name;
        moved->half = rounded->half;
        moved->is_moved = true;
        moved->frame = (struct fe_frame){.rank = in->rank, .at = in->axis, .before = 1, .after = 1};
        rounded = moved;
    }
    slot->val = rounded;
}

// --- names in options that nothing has

static bool is_input(const struct input *in, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(in[i].name, name)) return true;
    return false;
}

static bool is_symbol(const struct input *in, size_t n, const struct fe_shape *s) {
    for (size_t i = 0; i < n && s->rank == 1; i++)
        if (axis_called(&in[i], s->input) >= 0) return true;
    return false;
}

static void check_names(struct fe_ctx *c, const struct fe_options *o, const struct input *in, size_t n) {
    for (size_t i = 0; i < o->n_shapes; i++)
        if (!is_input(in, n, o->shapes[i].input) && !is_symbol(in, n, &o->shapes[i]))
            diag_error(c->d, NULL, "--shape names \"%s\", which is no input of the model%s", o->shapes[i].input,
                       o->shapes[i].rank == 1 ? " and none of its symbolic dimensions" : "");
    for (size_t i = 0; i < o->n_batch_axes; i++)
        if (!is_input(in, n, o->batch_axes[i].input))
            diag_error(c->d, NULL, "--batch-axis names \"%s\", which is no input of the model", o->batch_axes[i].input);
    for (size_t i = 0; i < o->n_shape_inputs; i++)
        if (!is_input(in, n, o->shape_inputs[i].input))
            diag_error(c->d, NULL, "--shape-input names \"%s\", which is no input of the model",
                       o->shape_inputs[i].input);
    for (size_t i = 0; i < o->n_no_batch; i++) {
        bool found = false;
        for (size_t k = 0; k < n; k++) found |= fnmatch(o->no_batch[i], in[k].name, 0) == 0;
        if (!found) diag_error(c->d, NULL, "--no-batch %s: names no input of the model", o->no_batch[i]);
    }
}

void fe_add_inputs(struct fe_ctx *c, struct fe_scope *s, const Onnx__GraphProto *g, const struct fe_options *given) {
    const struct fe_options none = {0}, *o = given ? given : &none;
    struct input *in = ARENA_ARRAY(c->a, struct input, g->n_input + 1);
    size_t n = 0;
    for (size_t i = 0; i < g->n_input; i++) {
        const char *name = g->input[i]->name ? g->input[i]->name : "";
        if (!*name) {
            diag_error(c->d, NULL, "an input has no name; give it one, or remove it");
            continue;
        }
        struct fe_slot *slot = fe_scope_add(s, c->a, name);
        if (slot->val && slot->val->is_init) continue; // old files list initializers among the inputs
        if (slot->val) {
            diag_error(c->d, NULL, "input \"%s\" is there twice", name);
            continue;
        }
        slot->val = fe_val_new(c, name);
        slot->val->unknown = true;
        if (read_input(c, g->input[i], o, &in[n]) && asked_axis(c, o, &in[n])) n++;
    }
    guess_axes(in, n);
    if (!c->d->errors) check_names(c, o, in, n);
    for (size_t i = 0; i < n; i++) add_input(c, fe_scope_find(s, in[i].name), &in[i], o);
}

// --- outputs

// The value as an output of the graph, batch first, and how the file has it.
static void add_output(struct fe_ctx *c, const char *name, struct fe_val *v, bool of_file) {
    struct fe_form form = {.name = name, .output = true, .outer = 1, .half = v->half};
    ir_vid x = fe_vid(c, v);
    if (v->half && of_file)
        diag_note(c->d, NULL,
                  "output \"%s\" is of %s in the file: its values are, its elements are float32 in training and in C",
                  name, v->half == IR_HALF_F16 ? "FLOAT16" : "BFLOAT16");
    if (x == IR_NONE) {
        diag_error(c->d, NULL, "output \"%s\" is not a tensor", name);
        return;
    }
    form.rank = fe_onnx_dims(c, v, form.dims);
    form.dtype = fe_typeof(c, x)->dtype;
    if (v->is_moved) {
        form.outer = v->frame.before;
        for (int i = 0; i < v->frame.at; i++) form.outer *= form.dims[i];
    }
    *ARENA_PUSH(c->m->arena, c->m->forms, c->m->n_forms, c->m->cap_forms) = form;
    bool twice = false;
    for (size_t k = 0; k < c->g->n_outputs; k++) twice |= c->g->outputs[k].value == x;
    if (c->g->values[x].role != IR_ROLE_NODE || twice) x = fe_e1(c, IR_OP_copy, x);
    ir_set_output(c->g, IR_OUT_OUTPUT, name, x);
}

void fe_add_outputs(struct fe_ctx *c, struct fe_scope *s, const Onnx__GraphProto *g) {
    struct fe_scope names = {0};
    for (size_t i = 0; i < g->n_output; i++) {
        const char *name = g->output[i]->name ? g->output[i]->name : "";
        struct fe_slot *slot = fe_scope_add(&names, c->a, name);
        if (slot->used) {
            diag_error(c->d, NULL, "output \"%s\" is there twice", name);
            continue;
        }
        slot->used = true;
        struct fe_val *v = fe_scope_value(s, name);
        if (!v) {
            diag_error(c->d, NULL, "output \"%s\" is made by no node", name);
            continue;
        }
        if (fe_is_tap(c->m, name) && !v->unknown)
            fe_import_tap(c, name, v);
        else if (!v->is_buffer && !v->unknown) // running statistics come back under IR_OUT_BUFFER
            add_output(c, name, v, true);
    }
    for (size_t i = 0; i < c->n_buffers; i++)
        if (c->buffers[i]->buffer_now != IR_NONE)
            ir_set_output(c->g, IR_OUT_BUFFER, c->g->values[c->buffers[i]->vid].name, c->buffers[i]->buffer_now);
}

// Results of nodes, beside the graph's outputs: those that are computed.
void fe_add_values(struct fe_ctx *c, struct fe_scope *s, const Onnx__GraphProto *g) {
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_output; k++) {
            const char *name = g->node[i]->output[k];
            const struct fe_slot *slot = *name ? fe_scope_find(s, name) : NULL;
            struct fe_val *v = slot ? slot->val : NULL;
            bool there = false;
            for (size_t j = 0; j < c->g->n_outputs; j++) there |= !strcmp(c->g->outputs[j].name, name);
            if (there || !v || v->unknown || v->is_seq || v->random || v->rows || v->is_buffer || v->vid == IR_NONE ||
                c->g->values[v->vid].role != IR_ROLE_NODE)
                continue;
            add_output(c, name, v, false);
        }
}
