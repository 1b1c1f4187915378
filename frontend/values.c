// What the nodes inside a model make, for whoever compares it with another runtime.
#include "onnx_internal.h"

#include <stdlib.h>
#include <string.h>

const struct fe_value *fe_values(const struct fe_model *m, struct arena *a, size_t *n) {
    const Onnx__GraphProto *g = m->proto->graph;
    size_t most = 0;
    for (size_t i = 0; i < g->n_node; i++) most += g->node[i]->n_output;
    struct fe_value *all = ARENA_ARRAY(a, struct fe_value, most + 1);
    *n = 0;
    for (size_t i = 0; i < g->n_node; i++) {
        const Onnx__NodeProto *p = g->node[i];
        const char *op = p->op_type ? p->op_type : "",
                   *node = p->name && *p->name ? p->name : arena_printf(a, "%s#%zu", op, i);
        for (size_t k = 0; k < p->n_output; k++)
            if (*p->output[k]) all[(*n)++] = (struct fe_value){p->output[k], node, op};
    }
    return all;
}

static bool is_output(const Onnx__GraphProto *g, const char *name) {
    for (size_t i = 0; i < g->n_output; i++)
        if (g->output[i]->name && !strcmp(g->output[i]->name, name)) return true;
    return false;
}

// Tensors of other files become the file's own: what is written lies elsewhere. False after a report.
static bool take_in(struct fe_model *m, struct diag *d, Onnx__TensorProto *t) {
    struct fe_blob b;
    if (!t->has_data_location || t->data_location != ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) return true;
    if (!fe_blob_open(m, d, NULL, t, &b)) return false;
    const size_t bytes = (size_t)b.n * fe_onnx_dtype_size(b.onnx_type);
    t->raw_data.data = xmalloc(bytes + 1);
    memcpy(t->raw_data.data, b.raw, bytes);
    t->raw_data.len = bytes;
    t->has_raw_data = 1;
    t->has_data_location = 0;
    for (size_t i = 0; i < t->n_external_data; i++)
        onnx__string_string_entry_proto__free_unpacked(t->external_data[i], NULL);
    free(t->external_data);
    t->external_data = NULL;
    t->n_external_data = 0;
    return true;
}

enum smkd_status fe_write_values(struct fe_model *m, const char *const *names, size_t n, const char *path,
                                 struct diag *d) {
    Onnx__GraphProto *g = m->proto->graph;
    for (size_t i = 0; i < g->n_initializer; i++)
        if (!take_in(m, d, g->initializer[i])) return SMKD_INVALID;
    for (size_t i = 0; i < n; i++)
        if (!is_output(g, names[i])) fe_add_output(g, names[i]);
    const size_t size = onnx__model_proto__get_packed_size(m->proto);
    if (size > INT32_MAX) {
        diag_error(d, NULL, "is larger than the 2 GiB that an ONNX file without others may have");
        return SMKD_UNSUPPORTED;
    }
    uint8_t *bytes = xmalloc(size + 1);
    onnx__model_proto__pack(m->proto, bytes);
    const enum smkd_status s = io_write_file(path, bytes, size);
    free(bytes);
    if (s != SMKD_OK) diag_error(d, NULL, "cannot write %s", path);
    return s;
}
