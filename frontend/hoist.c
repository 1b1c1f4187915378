// A Constant node and an initializer mean the same, so what both can hold is made one form when a file is opened: float
// tensors of Constant nodes become initializers of the node's result. Single numbers stay where they are: there are
// many, and only what looks at the elements of a table (unshare.c, unbake.c) asks for initializers.
#include "onnx_internal.h"

#include <stdlib.h>
#include <string.h>

// value_float and value_floats as a tensor, which is what can be trained and exported.
static void as_tensor(Onnx__AttributeProto *a) {
    const bool one = a->name && !strcmp(a->name, "value_float") && a->has_f,
               list = a->name && !strcmp(a->name, "value_floats");
    if (!one && !list) return;
    Onnx__TensorProto *t = xmalloc(sizeof *t);
    onnx__tensor_proto__init(t);
    t->has_data_type = t->has_raw_data = 1;
    t->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    const size_t n = one ? 1 : a->n_floats;
    if (list) {
        t->n_dims = 1;
        t->dims = xmalloc(sizeof *t->dims);
        t->dims[0] = (int64_t)n;
    }
    t->raw_data.len = n * sizeof(float);
    t->raw_data.data = xmalloc(t->raw_data.len + 1);
    if (n) memcpy(t->raw_data.data, one ? &a->f : a->floats, t->raw_data.len);
    free(a->name);
    free(a->floats);
    a->name = fe_text("value");
    a->floats = NULL;
    a->n_floats = 0;
    a->has_f = 0;
    a->has_type = 1;
    a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR;
    a->t = t;
}

Onnx__TensorProto *fe_constant_tensor(const Onnx__NodeProto *p) {
    if (!p->op_type || strcmp(p->op_type, "Constant") || !p->n_output || !*p->output[0]) return NULL;
    for (size_t k = 0; k < p->n_attribute; k++)
        if (p->attribute[k]->name && !strcmp(p->attribute[k]->name, "value")) return p->attribute[k]->t;
    return NULL;
}

static bool is_table(struct fe_model *m, const Onnx__TensorProto *t) { // what is wrong with others the import says
    struct fe_blob b;
    struct diag quiet = {.sink = fe_quiet};
    return t && fe_is_float_type(t->data_type) && fe_blob_open(m, &quiet, NULL, t, &b) && b.n > 1;
}

void fe_hoist(struct fe_model *m) {
    Onnx__GraphProto *g = m->proto->graph;
    const size_t before = g->n_initializer, n_node = g->n_node;
    size_t tables = 0, kept = 0;
    for (size_t i = 0; i < n_node; i++) {
        const Onnx__NodeProto *p = g->node[i];
        for (size_t k = 0; p->op_type && !strcmp(p->op_type, "Constant") && k < p->n_attribute; k++)
            as_tensor(p->attribute[k]);
        tables += is_table(m, fe_constant_tensor(p));
    }
    if (!tables) return;
    g->initializer = xrealloc(g->initializer, (before + tables) * sizeof *g->initializer);
    for (size_t i = 0; i < n_node; i++) {
        Onnx__NodeProto *p = g->node[i];
        Onnx__TensorProto *t = fe_constant_tensor(p);
        if (!is_table(m, t)) {
            g->node[kept++] = p;
            continue;
        }
        for (size_t k = 0; k < p->n_attribute; k++)
            if (p->attribute[k]->t == t) p->attribute[k]->t = NULL;
        free(t->name);
        t->name = fe_text(p->output[0]);
        g->initializer[g->n_initializer++] = t;
        onnx__node_proto__free_unpacked(p, NULL);
    }
    g->n_node = kept;
    // Before IR version 4 initializers had to be inputs, too.
    if (m->proto->ir_version < 4) m->proto->ir_version = 4;
}
