// The model without its weights. Trained values come back in export.c; everything that is not trained (shapes, scalars,
// folded constants) stays inside, external data included, so that a skeleton is complete on its own.
#include "onnx_internal.h"

#include <stdlib.h>
#include <string.h>

char *fe_text(const char *s) {
    size_t n = strlen(s) + 1;
    return memcpy(xmalloc(n), s, n);
}

Onnx__TensorProto *fe_initializer(const Onnx__GraphProto *g, const char *name) {
    for (size_t i = 0; i < g->n_initializer; i++)
        if (!strcmp(g->initializer[i]->name, name)) return g->initializer[i];
    return NULL;
}

void fe_add_ints(Onnx__GraphProto *g, const char *name, const int64_t *v, size_t n) {
    Onnx__TensorProto *t = xmalloc(sizeof *t);
    onnx__tensor_proto__init(t);
    t->name = fe_text(name);
    t->has_data_type = 1;
    t->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__INT64;
    t->n_dims = 1;
    t->dims = xmalloc(sizeof *t->dims);
    t->dims[0] = (int64_t)n;
    t->has_raw_data = 1;
    t->raw_data.len = n * sizeof *v;
    t->raw_data.data = memcpy(xmalloc(n * sizeof *v + 1), v, n * sizeof *v);
    g->initializer = xrealloc(g->initializer, (g->n_initializer + 1) * sizeof *g->initializer);
    g->initializer[g->n_initializer++] = t;
}

Onnx__NodeProto *fe_new_node(const char *op, const char *out, size_t n_in, const char *const *in) {
    Onnx__NodeProto *p = xmalloc(sizeof *p);
    onnx__node_proto__init(p);
    p->op_type = fe_text(op);
    p->name = fe_text(out);
    p->n_output = 1;
    p->output = xmalloc(sizeof *p->output);
    p->output[0] = fe_text(out);
    p->n_input = n_in;
    p->input = xmalloc(n_in * sizeof *p->input);
    for (size_t i = 0; i < n_in; i++) p->input[i] = fe_text(in[i]);
    return p;
}

static void set_attr_i(Onnx__NodeProto *p, const char *name, int64_t v) {
    Onnx__AttributeProto *a = xmalloc(sizeof *a);
    onnx__attribute_proto__init(a);
    a->name = fe_text(name);
    a->has_type = a->has_i = 1;
    a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
    a->i = v;
    p->attribute = xrealloc(p->attribute, (p->n_attribute + 1) * sizeof *p->attribute);
    p->attribute[p->n_attribute++] = a;
}

void fe_insert_node(Onnx__GraphProto *g, size_t at, Onnx__NodeProto *p) {
    g->node = xrealloc(g->node, (g->n_node + 1) * sizeof *g->node);
    memmove(g->node + at + 1, g->node + at, (g->n_node - at) * sizeof *g->node);
    g->node[at] = p;
    g->n_node++;
}

void fe_add_output(Onnx__GraphProto *g, const char *name) {
    Onnx__ValueInfoProto *v = xmalloc(sizeof *v);
    onnx__value_info_proto__init(v);
    v->name = fe_text(name);
    g->output = xrealloc(g->output, (g->n_output + 1) * sizeof *g->output);
    g->output[g->n_output++] = v;
}

Onnx__TypeProto *fe_new_type(int32_t onnx_type, const struct ir_type *t) {
    Onnx__TensorShapeProto *shape = xmalloc(sizeof *shape);
    onnx__tensor_shape_proto__init(shape);
    shape->n_dim = (size_t)t->rank;
    shape->dim = xmalloc(sizeof *shape->dim * (size_t)(t->rank + 1));
    for (int i = 0; i < t->rank; i++) {
        Onnx__TensorShapeProto__Dimension *d = shape->dim[i] = xmalloc(sizeof *d);
        onnx__tensor_shape_proto__dimension__init(d);
        d->value_case = t->dims[i] < 0 ? ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM
                                       : ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        if (t->dims[i] < 0)
            d->dim_param = fe_text("N");
        else
            d->dim_value = t->dims[i];
    }
    Onnx__TypeProto__Tensor *tensor = xmalloc(sizeof *tensor);
    onnx__type_proto__tensor__init(tensor);
    tensor->has_elem_type = 1;
    tensor->elem_type = onnx_type;
    tensor->shape = shape;
    Onnx__TypeProto *type = xmalloc(sizeof *type);
    onnx__type_proto__init(type);
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    return type;
}

// An input whose axis 0 is the batch.
static const char *batched_input(const struct fe_model *m) {
    for (size_t i = 0; i < m->n_forms; i++)
        if (!m->forms[i].output && m->forms[i].rank && m->forms[i].dims[0] == IR_N) return m->forms[i].name;
    return NULL;
}

void fe_symbolic_axis(Onnx__ValueInfoProto *v, size_t axis) {
    if (!v->type || v->type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !v->type->tensor_type->shape) return;
    Onnx__TensorShapeProto *s = v->type->tensor_type->shape;
    if (axis >= s->n_dim) return;
    Onnx__TensorShapeProto__Dimension *d = s->dim[axis];
    if (d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM)
        return; // dynamic, with a name of its own
    d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
    d->dim_param = fe_text("N");
}

// A fixed batch of the file is any batch from now on.
static void free_batches(struct fe_model *m) {
    Onnx__GraphProto *g = m->proto->graph;
    for (size_t i = 0; i < m->n_forms; i++) {
        const struct fe_form *f = &m->forms[i];
        Onnx__ValueInfoProto **list = f->output ? g->output : g->input;
        const size_t n = f->output ? g->n_output : g->n_input;
        for (size_t k = 0; k < n; k++)
            for (int axis = 0; !strcmp(list[k]->name, f->name) && axis < f->rank; axis++)
                if (f->dims[axis] < 0) fe_symbolic_axis(list[k], (size_t)axis);
    }
    fe_set_metadata(m->proto, FE_FORMS_KEY, "1");
}

// Replaces shape operands that have the batch baked in. Reshape: -1 there. Expand: the run-time batch leads, from
// Concat(Slice(Shape(input)), rest), or 1 ("keep") where the operand is batched already; one form serves both.
static void apply_edits(struct fe_model *m) {
    Onnx__GraphProto *g = m->proto->graph;
    for (; m->edits_done < m->n_edits; m->edits_done++) {
        const struct fe_edit *e = &m->edits[m->edits_done];
        size_t at = 0;
        while (at < g->n_node && g->node[at] != e->node) at++;
        if (at == g->n_node || g->node[at]->n_input < 2) continue; // inside a function body: left as it is
        Onnx__NodeProto *p = g->node[at];
        char *base = arena_printf(m->arena, "%s.shape", p->n_output ? p->output[0] : "node");
        int64_t dims[IR_MAX_RANK];
        memcpy(dims, e->dims, sizeof dims);
        for (int i = 0; i < e->rank; i++)
            if (dims[i] < 0) dims[i] = -1;
        const char *input = batched_input(m);
        bool expand = !strcmp(p->op_type, "Expand");
        if (expand && (!input || e->dims[0] != IR_N)) continue;
        if (!expand) {
            fe_add_ints(g, base, dims, (size_t)e->rank);
        } else {
            char *shape = arena_printf(m->arena, "%s.of", base), *n = arena_printf(m->arena, "%s.N", base),
                 *rest = arena_printf(m->arena, "%s.rest", base), *zero = arena_printf(m->arena, "%s.zero", base),
                 *one = arena_printf(m->arena, "%s.one", base);
            fe_add_ints(g, zero, &(int64_t){0}, 1);
            fe_add_ints(g, one, &(int64_t){1}, 1);
            fe_add_ints(g, rest, dims + 1, (size_t)e->rank - 1);
            Onnx__NodeProto *concat = fe_new_node("Concat", base, 2, (const char *const[]){n, rest});
            set_attr_i(concat, "axis", 0);
            fe_insert_node(g, at, concat);
            fe_insert_node(g, at, fe_new_node("Slice", n, 3, (const char *const[]){shape, zero, one}));
            fe_insert_node(g, at, fe_new_node("Shape", shape, 1, (const char *const[]){input}));
        }
        if (!strcmp(p->op_type, "Gather")) { // of all elements in order (import_shape.c): a reshape
            free(p->op_type);
            p->op_type = fe_text("Reshape");
            for (size_t i = 0; i < p->n_attribute; i++) onnx__attribute_proto__free_unpacked(p->attribute[i], NULL);
            p->n_attribute = 0;
        }
        free(p->input[1]);
        p->input[1] = fe_text(base);
    }
}

static bool is_weight(const struct fe_model *m, const char *name) {
    for (size_t i = 0; i < m->n_weights; i++)
        if (!strcmp(m->weights[i], name)) return true;
    return false;
}

void *fe_skeleton(struct fe_model *m, struct arena *a, size_t *size) {
    apply_edits(m);
    free_batches(m);
    Onnx__GraphProto *g = m->proto->graph;
    // Pack shallow copies: the tensors' data stays where it is.
    Onnx__TensorProto **orig = g->initializer, **lean = ARENA_ARRAY(a, Onnx__TensorProto *, g->n_initializer + 1);
    for (size_t i = 0; i < g->n_initializer; i++) {
        Onnx__TensorProto *t = lean[i] = arena_dup(a, orig[i], sizeof *t);
        struct diag quiet = {0};
        struct fe_blob b;
        bool external = t->has_data_location && t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
        if (m->imported && is_weight(m, t->name)) {
            t->has_raw_data = 0;
            t->raw_data = (ProtobufCBinaryData){0, NULL};
            t->n_float_data = t->n_double_data = t->n_int32_data = 0;
        } else if (external && fe_blob_open(m, &quiet, NULL, orig[i], &b)) { // checked when the file was opened
            t->has_raw_data = 1;
            t->raw_data.len = (size_t)b.n * fe_onnx_dtype_size(b.onnx_type);
            t->raw_data.data = (uint8_t *)b.raw;
        }
        t->has_data_location = 0;
        t->n_external_data = 0;
    }
    g->initializer = lean;
    *size = onnx__model_proto__get_packed_size(m->proto);
    void *out = arena_alloc(a, *size);
    onnx__model_proto__pack(m->proto, out);
    g->initializer = orig;
    return out;
}
