// Undoes what a fixed batch of B does to constants: a class token expanded to [B, 1, C] is folded by the exporter into
// an initializer of B equal rows. It becomes one row and an Expand to B, which the importer understands as the batch.
#include "onnx_internal.h"

#include <stdlib.h>
#include <string.h>

static int64_t fixed_batch(const Onnx__GraphProto *g) {
    for (size_t i = 0; i < g->n_input; i++) {
        const Onnx__TypeProto *t = g->input[i]->type;
        if (!t || t->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !t->tensor_type) continue;
        const Onnx__TensorShapeProto *s = t->tensor_type->shape;
        if (s && s->n_dim && s->dim[0]->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE)
            return s->dim[0]->dim_value <= FE_MAX_BAKED ? s->dim[0]->dim_value : 0;
    }
    return 0;
}

static size_t uses(const Onnx__GraphProto *g, const char *name) {
    size_t n = 0;
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_input; k++) n += !strcmp(g->node[i]->input[k], name);
    return n;
}

// Leaves the first of t's equal rows; false when they differ.
static bool shrink(struct fe_model *m, Onnx__TensorProto *t, int64_t batch) {
    struct fe_blob b;
    struct diag quiet = {0};
    if (!fe_blob_open(m, &quiet, NULL, t, &b) || !b.raw || b.type.rank < 2 || b.type.dims[0] != batch ||
        !fe_is_float_type(b.onnx_type))
        return false;
    size_t row = (size_t)(b.n / batch) * fe_onnx_dtype_size(b.onnx_type);
    for (int64_t i = 1; i < batch; i++)
        if (memcmp(b.raw, b.raw + (size_t)i * row, row)) return false;
    unsigned char *data = memcpy(xmalloc(row + 1), b.raw, row);
    if (t->has_raw_data) free(t->raw_data.data);
    t->has_raw_data = 1;
    t->raw_data.data = data;
    t->raw_data.len = row;
    for (size_t i = 0; i < t->n_external_data; i++)
        onnx__string_string_entry_proto__free_unpacked(t->external_data[i], NULL);
    t->n_external_data = 0;
    t->has_data_location = 0;
    t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__DEFAULT;
    t->dims[0] = 1;
    return true;
}

void fe_unbake(struct fe_model *m) {
    Onnx__GraphProto *g = m->proto->graph;
    int64_t batch = fixed_batch(g);
    if (batch < 1) return;
    for (size_t i = 0; i < g->n_node; i++) {
        Onnx__NodeProto *p = g->node[i];
        bool add = p->op_type && (!strcmp(p->op_type, "Add") || !strcmp(p->op_type, "Mul"));
        if (!add && (!p->op_type || strcmp(p->op_type, "Concat"))) continue;
        int64_t axis = add; // an addend [B, T, C] is a table of positions
        for (size_t k = 0; k < p->n_attribute; k++)
            if (p->attribute[k]->name && !strcmp(p->attribute[k]->name, "axis")) axis = p->attribute[k]->i;
        for (size_t k = 0; k < p->n_input; k++) {
            Onnx__TensorProto *t = fe_initializer(g, p->input[k]);
            if (!t || axis == 0 || axis == -(int64_t)t->n_dims || t->n_dims < (add ? 3 : 2) ||
                t->n_dims > IR_MAX_RANK || t->dims[0] != batch || uses(g, t->name) != 1 || !shrink(m, t, batch))
                continue;
            const char *rows = arena_printf(m->arena, "%s.rows", t->name);
            char *shape = arena_printf(m->arena, "%s.dims", rows);
            int64_t dims[IR_MAX_RANK];
            memcpy(dims, t->dims, t->n_dims * sizeof *dims);
            dims[0] = batch;
            fe_add_ints(g, shape, dims, t->n_dims);
            free(p->input[k]);
            p->input[k] = fe_text(rows);
            fe_insert_node(g, i++, fe_new_node("Expand", rows, 2, (const char *const[]){t->name, shape}));
        }
    }
}
