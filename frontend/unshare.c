// Undoes one thing exporters do to fresh models: storing equal initializers once. A BatchNorm whose running_mean is the
// same zeros as its bias would share a trained weight with a statistic; each use gets a copy of its own instead.
// Statistics shared only as statistics are a module that is used twice, and stay shared.
#include "onnx_internal.h"

#include <stdlib.h>
#include <string.h>

struct use {
    const char *name;
    bool stat, other;
};

static struct use *find(struct use *u, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(u[i].name, name)) return &u[i];
    return NULL;
}

static bool is_bn(const Onnx__NodeProto *p) {
    return p->op_type && !strcmp(p->op_type, "BatchNormalization") && p->n_input >= 5;
}

static char *copy_text(const char *s) {
    size_t n = strlen(s) + 1;
    return memcpy(xmalloc(n), s, n);
}

// A copy of t under `name`; allocated as protobuf-c does, so that it is freed with the model.
static Onnx__TensorProto *copy_tensor(const Onnx__TensorProto *t, const char *name) {
    size_t n = onnx__tensor_proto__get_packed_size(t);
    uint8_t *buf = xmalloc(n ? n : 1);
    onnx__tensor_proto__pack(t, buf);
    Onnx__TensorProto *r = onnx__tensor_proto__unpack(NULL, n, buf);
    free(buf);
    CHECK(r, "a packed tensor does not unpack");
    free(r->name);
    r->name = copy_text(name);
    return r;
}

void fe_unshare(struct fe_model *m) {
    Onnx__GraphProto *g = m->proto->graph;
    // Only the operands of BatchNorm nodes can be concerned.
    struct use *uses = NULL;
    size_t n = 0, cap = 0;
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 3; k < 5 && is_bn(g->node[i]); k++) {
            struct use *u = find(uses, n, g->node[i]->input[k]);
            if (!u)
                *(u = ARENA_PUSH(m->arena, uses, n, cap)) =
                    (struct use){.name = arena_strdup(m->arena, g->node[i]->input[k])};
            u->stat = true;
        }
    size_t shared = 0;
    for (size_t i = 0; i < g->n_node && n; i++)
        for (size_t k = 0; k < g->node[i]->n_input; k++) {
            if (is_bn(g->node[i]) && k >= 3) continue;
            struct use *u = find(uses, n, g->node[i]->input[k]);
            if (u && !u->other) {
                u->other = true;
                shared++;
            }
        }
    if (!shared) return;
    static const char *const slot[] = {"x", "weight", "bias", "running_mean", "running_var"};
    for (size_t i = 0; i < g->n_node; i++) {
        if (!is_bn(g->node[i])) continue;
        for (size_t k = 1; k < 5; k++) {
            struct use *u = find(uses, n, g->node[i]->input[k]);
            if (!u || !u->other) continue;
            const Onnx__TensorProto *t = NULL;
            for (size_t j = 0; j < g->n_initializer && !t; j++)
                if (!strcmp(g->initializer[j]->name, u->name)) t = g->initializer[j];
            if (!t) continue;
            const char *result = g->node[i]->n_output ? g->node[i]->output[0] : "bn";
            char *name = arena_printf(m->arena, "%s.%s", result, slot[k]);
            for (size_t j = 0; j < g->n_initializer; j++)
                if (!strcmp(g->initializer[j]->name, name)) name = arena_printf(m->arena, "%s_", name);
            Onnx__TensorProto *copy = copy_tensor(t, name);
            g->initializer = xrealloc(g->initializer, (g->n_initializer + 1) * sizeof *g->initializer);
            g->initializer[g->n_initializer++] = copy;
            free(g->node[i]->input[k]);
            g->node[i]->input[k] = copy_text(name);
        }
    }
}
