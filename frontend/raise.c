// Weights that are narrower or wider than float32 are trained as float32, and the model is raised with them as a whole:
// tensors, casts, inputs and outputs of that type become float32 before the import, so that what is exported is one
// type again.
#include "onnx_internal.h"

#include <stdlib.h>
#include <string.h>

static const int32_t types[FE_N_RAISED] = {ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16,
                                           ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16,
                                           ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE};

void fe_raise_count(struct fe_raise *r, const struct fe_blob *b) {
    for (size_t i = 0; i < FE_N_RAISED; i++)
        if (types[i] == b->onnx_type) {
            r->tensors[i]++;
            r->numbers[i] += b->n;
        }
}

static bool raised(const struct fe_raise *r, int64_t type) {
    for (size_t i = 0; i < FE_N_RAISED; i++)
        if (r->tensors[i] && types[i] == type) return true;
    return false;
}

static void raise_tensor(struct fe_model *m, const struct fe_raise *r, Onnx__TensorProto *t) {
    struct fe_blob b;
    struct diag quiet = {.sink = fe_quiet};
    if (!raised(r, t->data_type) || !fe_blob_open(m, &quiet, NULL, t, &b)) return; // the import says why it cannot be
    float *data = xmalloc((size_t)b.n * sizeof *data + 1);
    for (int64_t i = 0; i < b.n; i++) data[i] = (float)fe_blob_float(&b, i);
    if (t->has_raw_data) free(t->raw_data.data);
    free(t->int32_data);
    free(t->double_data);
    t->int32_data = NULL;
    t->double_data = NULL;
    t->n_int32_data = t->n_double_data = 0;
    for (size_t i = 0; i < t->n_external_data; i++)
        onnx__string_string_entry_proto__free_unpacked(t->external_data[i], NULL);
    t->n_external_data = 0;
    t->has_data_location = 0;
    t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__DEFAULT;
    t->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    t->has_raw_data = 1;
    t->raw_data.len = (size_t)b.n * sizeof *data;
    t->raw_data.data = (uint8_t *)data;
}

static void raise_type(const struct fe_raise *r, Onnx__TypeProto *t) {
    if (!t) return;
    switch (t->value_case) {
    case ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE:
        if (raised(r, t->tensor_type->elem_type)) t->tensor_type->elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
        break;
    case ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE:
        raise_type(r, t->sequence_type->elem_type);
        break;
    case ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE:
        raise_type(r, t->optional_type->elem_type);
        break;
    default:
        break;
    }
}

static void raise_values(const struct fe_raise *r, Onnx__ValueInfoProto **v, size_t n) {
    for (size_t i = 0; i < n; i++) raise_type(r, v[i]->type);
}

static void raise_graph(struct fe_model *m, const struct fe_raise *r, Onnx__GraphProto *g);

static void raise_nodes(struct fe_model *m, const struct fe_raise *r, Onnx__NodeProto **nodes, size_t n) {
    static const char *const names[] = {"to", "dtype", "output_dtype", "stash_type"}; // attributes that are types
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < nodes[i]->n_attribute; k++) {
            Onnx__AttributeProto *a = nodes[i]->attribute[k];
            for (size_t j = 0; a->name && a->has_i && j < sizeof names / sizeof *names; j++)
                if (!strcmp(a->name, names[j]) && raised(r, a->i)) a->i = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
            if (a->t) raise_tensor(m, r, a->t);
            for (size_t j = 0; j < a->n_tensors; j++) raise_tensor(m, r, a->tensors[j]);
            if (a->g) raise_graph(m, r, a->g);
            for (size_t j = 0; j < a->n_graphs; j++) raise_graph(m, r, a->graphs[j]);
            raise_type(r, a->tp);
        }
}

static void raise_graph(struct fe_model *m, const struct fe_raise *r, Onnx__GraphProto *g) {
    for (size_t i = 0; i < g->n_initializer; i++) raise_tensor(m, r, g->initializer[i]);
    raise_values(r, g->input, g->n_input);
    raise_values(r, g->output, g->n_output);
    raise_values(r, g->value_info, g->n_value_info);
    raise_nodes(m, r, g->node, g->n_node);
}

void fe_raise(struct fe_model *m, struct diag *d, const struct fe_raise *r) {
    bool any = false;
    for (size_t i = 0; i < FE_N_RAISED; i++) {
        if (!r->tensors[i]) continue;
        any = true;
        const size_t size = fe_onnx_dtype_size(types[i]);
        diag_note(d, NULL,
                  "%zu weights (%lld numbers) are %s and are trained as float32: all of the model that is %s becomes "
                  "float32, its inputs and outputs, too, and so does what export writes, in %s the bytes",
                  r->tensors[i], (long long)r->numbers[i], fe_onnx_dtype_name(types[i]), fe_onnx_dtype_name(types[i]),
                  size < sizeof(float) ? "twice" : "half");
    }
    if (!any) return;
    raise_graph(m, r, m->proto->graph);
    for (size_t i = 0; i < m->proto->n_functions; i++)
        raise_nodes(m, r, m->proto->functions[i]->node, m->proto->functions[i]->n_node);
}
