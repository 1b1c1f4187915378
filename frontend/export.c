// Trained models back to ONNX: the skeleton with its weights filled in and turned to inference.
#include "onnx_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// --- inference form

static void drop_outputs(Onnx__NodeProto *p, size_t keep) {
    for (size_t i = keep; i < p->n_output; i++) free(p->output[i]);
    if (p->n_output > keep) p->n_output = keep;
}

static void drop_inputs(Onnx__NodeProto *p, size_t keep) {
    for (size_t i = keep; i < p->n_input; i++) free(p->input[i]);
    if (p->n_input > keep) p->n_input = keep;
}

static void drop_attr(Onnx__NodeProto *p, const char *name) {
    size_t k = 0;
    for (size_t i = 0; i < p->n_attribute; i++) {
        if (p->attribute[i]->name && !strcmp(p->attribute[i]->name, name))
            onnx__attribute_proto__free_unpacked(p->attribute[i], NULL);
        else
            p->attribute[k++] = p->attribute[i];
    }
    p->n_attribute = k;
}

// Shapes with the old batch, and of results that are gone; what is said about an initializer stays: whether it was a
// parameter (marks.c).
static void drop_value_info(Onnx__GraphProto *g) {
    size_t kept = 0;
    for (size_t i = 0; i < g->n_value_info; i++) {
        Onnx__ValueInfoProto *v = g->value_info[i];
        if (!v->name || !fe_initializer(g, v->name)) {
            onnx__value_info_proto__free_unpacked(v, NULL);
            continue;
        }
        if (v->type && v->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE && v->type->tensor_type->shape) {
            onnx__tensor_shape_proto__free_unpacked(v->type->tensor_type->shape, NULL);
            v->type->tensor_type->shape = NULL; // the initializer has one
        }
        g->value_info[kept++] = v;
    }
    g->n_value_info = kept;
}

static void infer_nodes(Onnx__NodeProto **nodes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        Onnx__NodeProto *p = nodes[i];
        if (p->op_type && !strcmp(p->op_type, "BatchNormalization")) { // the default of training_mode is 0
            drop_attr(p, "training_mode");
            drop_outputs(p, 1);
        } else if (p->op_type && !strcmp(p->op_type, "Dropout")) { // without its third operand it is the identity
            drop_inputs(p, 2);
        }
        for (size_t k = 0; k < p->n_attribute; k++)
            if (p->attribute[k]->g) {
                infer_nodes(p->attribute[k]->g->node, p->attribute[k]->g->n_node);
                drop_value_info(p->attribute[k]->g);
            }
    }
}

static Onnx__NodeProto *producer(const Onnx__GraphProto *g, const char *name) {
    for (size_t i = 0; *name && i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_output; k++)
            if (!strcmp(g->node[i]->output[k], name)) return g->node[i];
    return NULL;
}

static bool is_op(const Onnx__NodeProto *p, const char *op) { return p && p->op_type && !strcmp(p->op_type, op); }

static bool is_random(const Onnx__NodeProto *p) { return is_op(p, "RandomUniformLike") || is_op(p, "RandomUniform"); }

// Stochastic depth is Cast(random < p) / p: in inference the mask is its expectation, so Cast takes p itself and the
// quotient is 1. What made the random numbers is then used by nobody.
static void expect_masks(Onnx__GraphProto *g) {
    for (size_t i = 0; i < g->n_node; i++) {
        Onnx__NodeProto *p = g->node[i];
        if (is_op(p, "Floor") && p->n_input == 1) { // floor(p + random)
            Onnx__NodeProto *sum = producer(g, p->input[0]);
            for (int k = 0; is_op(sum, "Add") && sum->n_input == 2 && k < 2; k++) {
                if (!is_random(producer(g, sum->input[k]))) continue;
                free(p->op_type);
                p->op_type = fe_text("Identity");
                free(p->input[0]);
                p->input[0] = fe_text(sum->input[1 - k]);
                break;
            }
            continue;
        }
        if ((!is_op(p, "Cast") && !is_op(p, "CastLike")) || p->n_input == 0) continue;
        Onnx__NodeProto *cmp = producer(g, p->input[0]);
        bool less = is_op(cmp, "Less"), greater = is_op(cmp, "Greater");
        if ((!less && !greater) || cmp->n_input != 2) continue;
        const Onnx__NodeProto *r = producer(g, cmp->input[less ? 0 : 1]);
        if (!is_random(r)) continue;
        free(p->input[0]);
        p->input[0] = fe_text(cmp->input[less ? 1 : 0]);
    }
}

static bool made(const Onnx__GraphProto *g, const char *name) {
    if (producer(g, name) || fe_initializer(g, name)) return true;
    for (size_t i = 0; i < g->n_input; i++)
        if (!strcmp(g->input[i]->name, name)) return true;
    return false;
}

// Whether the skeleton says where batches are; one of an older artifact doesn't, and they are at the front.
static bool has_forms(const Onnx__ModelProto *m) {
    for (size_t i = 0; i < m->n_metadata_props; i++)
        if (m->metadata_props[i]->key && !strcmp(m->metadata_props[i]->key, FE_FORMS_KEY)) return true;
    return false;
}

static void to_inference(Onnx__ModelProto *m) {
    Onnx__GraphProto *g = m->graph;
    const bool forms = has_forms(m);
    infer_nodes(g->node, g->n_node);
    for (size_t i = 0; i < m->n_functions; i++) infer_nodes(m->functions[i]->node, m->functions[i]->n_node);
    expect_masks(g);
    size_t k = 0;
    for (size_t i = 0; i < g->n_output; i++) { // new statistics are no outputs in inference
        if (made(g, g->output[i]->name)) {
            if (!forms) fe_symbolic_axis(g->output[i], 0);
            g->output[k++] = g->output[i];
        } else {
            onnx__value_info_proto__free_unpacked(g->output[i], NULL);
        }
    }
    g->n_output = k;
    for (size_t i = 0; i < g->n_input; i++)
        if (!forms && !fe_initializer(g, g->input[i]->name)) fe_symbolic_axis(g->input[i], 0);
    for (size_t i = 0; i < m->n_training_info; i++) onnx__training_info_proto__free_unpacked(m->training_info[i], NULL);
    m->n_training_info = 0;
    fe_drop_metadata(m, FE_FORMS_KEY);
    fe_prune(g);
    drop_value_info(g);
}

// --- weights

// Points t at the trained values. They are float32, as the model is: what was another type has been raised (raise.c).
static void fill(Onnx__TensorProto *t, const float *data, size_t n) {
    t->n_float_data = 0;
    t->has_raw_data = 1;
    t->raw_data.len = n * sizeof *data;
    t->raw_data.data = (uint8_t *)data;
}

static const struct fe_tensor *find_tensor(const struct fe_tensor *ts, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(ts[i].name, name)) return &ts[i];
    return NULL;
}

static int64_t count(const Onnx__TensorProto *t) {
    int64_t n = 1;
    for (size_t i = 0; i < t->n_dims; i++)
        if (t->dims[i] < 0 || (t->dims[i] && n > INT64_MAX / 16 / t->dims[i]))
            return -1;
        else
            n *= t->dims[i];
    return n;
}

static bool has_data(const Onnx__TensorProto *t) {
    return t->has_raw_data || t->n_float_data || t->n_double_data || t->n_int32_data || t->n_int64_data ||
           t->n_uint64_data || count(t) == 0;
}

// Every tensor that can take trained values: initializers, and weights in Constant nodes (named by the node's result).
struct target {
    Onnx__TensorProto *t;
    const char *name;
};

static struct target *targets(const Onnx__GraphProto *g, size_t *n) {
    struct target *r = xcalloc(g->n_initializer + g->n_node + 1, sizeof *r);
    *n = 0;
    for (size_t i = 0; i < g->n_initializer; i++)
        r[(*n)++] = (struct target){g->initializer[i], g->initializer[i]->name};
    for (size_t i = 0; i < g->n_node; i++) {
        const Onnx__NodeProto *p = g->node[i];
        for (size_t k = 0; p->op_type && !strcmp(p->op_type, "Constant") && p->n_output && k < p->n_attribute; k++)
            if (p->attribute[k]->t && fe_is_float_type(p->attribute[k]->t->data_type))
                r[(*n)++] = (struct target){p->attribute[k]->t, p->output[0]};
    }
    return r;
}

static bool same_dims(const Onnx__TensorProto *t, const struct fe_tensor *s) {
    if (t->n_dims != (size_t)s->rank) return false;
    for (int i = 0; i < s->rank; i++)
        if (t->dims[i] != s->dims[i]) return false;
    return true;
}

// --- writing

struct file_buffer {
    ProtobufCBuffer base;
    FILE *f;
    bool failed;
};

static void append(ProtobufCBuffer *b, size_t n, const uint8_t *data) {
    struct file_buffer *fb = (struct file_buffer *)b;
    if (!fb->failed && fwrite(data, 1, n, fb->f) != n) fb->failed = true;
}

static enum smkd_status write_model(const Onnx__ModelProto *m, const char *path, struct diag *d) {
    size_t size = onnx__model_proto__get_packed_size(m);
    if (size > INT32_MAX) {
        diag_error(d, NULL, "\"%s\" would be %.1f GiB; an ONNX file holds at most 2 GiB", path, (double)size / 0x1p30);
        return SMKD_UNSUPPORTED;
    }
    struct io_writer w;
    if (io_writer_open(&w, path) != SMKD_OK) {
        diag_error(d, NULL, "cannot write \"%s\": %s", path, strerror(errno));
        return SMKD_IO;
    }
    struct file_buffer fb = {.base = {.append = append}, .f = w.f};
    onnx__model_proto__pack_to_buffer(m, &fb.base);
    int e = errno;
    if (fb.failed) {
        io_writer_abort(&w);
        errno = e;
    }
    if (fb.failed || io_writer_commit(&w) != SMKD_OK) {
        diag_error(d, NULL, "cannot write \"%s\": %s; the file was left as it was", path, strerror(errno));
        return SMKD_IO;
    }
    return SMKD_OK;
}

enum smkd_status fe_export(const void *skeleton, size_t size, const struct fe_tensor *tensors, size_t n_tensors,
                           const struct fe_meta *meta, size_t n_meta, bool taps, const char *path, struct diag *d) {
    Onnx__ModelProto *m = fe_unpack(d, skeleton, size);
    if (!m) return SMKD_INVALID;
    if (!taps) fe_drop_taps(m);
    to_inference(m);
    size_t n;
    struct target *ts = targets(m->graph, &n);
    ProtobufCBinaryData *old = xcalloc(n + 1, sizeof *old); // given back before the model is freed
    protobuf_c_boolean *had = xcalloc(n + 1, sizeof *had);
    enum smkd_status st = SMKD_OK;
    for (size_t i = 0; i < n; i++) {
        const struct fe_tensor *src = find_tensor(tensors, n_tensors, ts[i].name);
        old[i] = ts[i].t->raw_data;
        had[i] = ts[i].t->has_raw_data;
        if (!src) {
            if (has_data(ts[i].t)) continue;
            diag_error(d, NULL, "the weights lack \"%s\", which the model needs", ts[i].name);
            st = SMKD_MISMATCH;
        } else if (!same_dims(ts[i].t, src)) {
            diag_error(d, NULL, "the weight \"%s\" has another shape than the model's", ts[i].name);
            st = SMKD_MISMATCH;
        } else if (ts[i].t->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT) {
            diag_error(d, NULL,
                       "the weight \"%s\" is %s in the artifact, which an older smkdc made; compile the model again",
                       ts[i].name, fe_onnx_dtype_name(ts[i].t->data_type));
            st = SMKD_MISMATCH;
        } else {
            fill(ts[i].t, src->data, (size_t)count(ts[i].t));
        }
    }
    if (st == SMKD_OK) {
        for (size_t i = 0; i < n_meta; i++) fe_set_metadata(m, meta[i].key, meta[i].value);
        st = write_model(m, path, d);
    }
    for (size_t i = 0; i < n; i++) {
        ts[i].t->raw_data = old[i];
        ts[i].t->has_raw_data = had[i];
    }
    free(ts);
    free(old);
    free(had);
    onnx__model_proto__free_unpacked(m, NULL);
    return st;
}
