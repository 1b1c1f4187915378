// Undoes one thing the default exporter does to fresh models: storing equal initializers once.
//
// A BatchNorm whose running_mean is the same zeros as its bias would share a trained weight with a statistic; each use
// gets a copy of its own instead. Statistics shared only as statistics are a module that is used twice, and stay
// shared.
//
// All biases of zeros and all scales of ones of one size would be a single weight, trained as their sum. Where one
// number fills an initializer, modules that differ in their other weight get a copy each; a module that is used twice
// brings the same weight along, and keeps its bias.
#include "parameters.h"
#include "scope.h"

#include <stdlib.h>
#include <string.h>

// Names looked up by the thousand. `producer` of a slot is an index: of the node that makes a value, or of an
// initializer, ...
struct index {
    struct fe_scope makers, initializers;
};

static struct index index_of(struct arena *a, const Onnx__GraphProto *g) {
    struct index x = {0};
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_output; k++)
            fe_scope_add(&x.makers, a, g->node[i]->output[k])->producer = i;
    for (size_t i = 0; i < g->n_initializer; i++) {
        struct fe_slot *slot = fe_scope_add(&x.initializers, a, g->initializer[i]->name);
        if (slot->producer == SIZE_MAX) slot->producer = i;
    }
    return x;
}

static size_t look_up(struct fe_scope *s, const char *name) {
    const struct fe_slot *slot = fe_scope_find(s, name);
    return slot ? slot->producer : SIZE_MAX;
}

struct use {
    const char *name;
    bool stat, other;
};

static struct use *find(struct use *u, struct fe_scope *names, const char *name) {
    const struct fe_slot *slot = fe_scope_find(names, name);
    return slot ? &u[slot->producer] : NULL;
}

static bool is_bn(const Onnx__NodeProto *p) {
    return p->op_type && !strcmp(p->op_type, "BatchNormalization") && p->n_input >= 5;
}

// An exporter that marks tensors has said something about this one.
static bool has_mark(const Onnx__GraphProto *g, const char *name) {
    for (size_t i = 0; i < g->n_value_info; i++) {
        if (!g->value_info[i]->name || strcmp(g->value_info[i]->name, name)) continue;
        Onnx__ValueInfoProto bare = *g->value_info[i];
        bare.type = NULL;
        bare.name = NULL;
        return onnx__value_info_proto__get_packed_size(&bare) > 0;
    }
    return false;
}

// A copy stands for another tensor of the module, which the exporter has called the same: it merges what comes later
// into what comes first, and parameters come before buffers.
static void copy_mark(Onnx__GraphProto *g, const char *of, const char *name) {
    for (size_t i = 0; i < g->n_value_info; i++) {
        if (!g->value_info[i]->name || strcmp(g->value_info[i]->name, of)) continue;
        const size_t n = onnx__value_info_proto__get_packed_size(g->value_info[i]);
        uint8_t *buf = xmalloc(n + 1);
        onnx__value_info_proto__pack(g->value_info[i], buf);
        Onnx__ValueInfoProto *v = onnx__value_info_proto__unpack(NULL, n, buf);
        free(buf);
        CHECK(v, "a packed value_info does not unpack");
        free(v->name);
        v->name = fe_text(name);
        g->value_info = xrealloc(g->value_info, (g->n_value_info + 1) * sizeof *g->value_info);
        g->value_info[g->n_value_info++] = v;
        return;
    }
}

// A copy of t under `name`; allocated as protobuf-c does, so that it is freed with the model.
static Onnx__TensorProto *copy_tensor(const Onnx__TensorProto *t, const char *name) {
    size_t n = onnx__tensor_proto__get_packed_size(t);
    uint8_t *buf = xmalloc(n ? n : 1);
    onnx__tensor_proto__pack(t, buf);
    Onnx__TensorProto *r = onnx__tensor_proto__unpack(&fe_allocator, n, buf);
    free(buf);
    CHECK(r, "a packed tensor does not unpack");
    free(r->name);
    r->name = fe_text(name);
    return r;
}

static void split_statistics(struct fe_model *m) {
    Onnx__GraphProto *g = m->proto->graph;
    // Only the operands of BatchNorm nodes can be concerned.
    struct use *uses = NULL;
    struct fe_scope names = {0}, taken = index_of(m->arena, g).initializers;
    size_t n = 0, cap = 0;
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 3; k < 5 && is_bn(g->node[i]); k++) {
            struct use *u = find(uses, &names, g->node[i]->input[k]);
            if (!u) {
                u = ARENA_PUSH(m->arena, uses, n, cap);
                *u = (struct use){.name = arena_strdup(m->arena, g->node[i]->input[k])};
                fe_scope_add(&names, m->arena, u->name)->producer = n - 1;
            }
            u->stat = true;
        }
    size_t shared = 0;
    for (size_t i = 0; i < g->n_node && n; i++)
        for (size_t k = 0; k < g->node[i]->n_input; k++) {
            if (is_bn(g->node[i]) && k >= 3) continue;
            struct use *u = find(uses, &names, g->node[i]->input[k]);
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
            struct use *u = find(uses, &names, g->node[i]->input[k]);
            if (!u || !u->other) continue;
            const size_t at = look_up(&taken, u->name);
            if (at == SIZE_MAX) continue;
            const Onnx__TensorProto *t = g->initializer[at];
            const char *result = g->node[i]->n_output ? g->node[i]->output[0] : "bn";
            char *name = arena_printf(m->arena, "%s.%s", result, slot[k]);
            while (fe_scope_find(&taken, name)) name = arena_printf(m->arena, "%s_", name);
            Onnx__TensorProto *copy = copy_tensor(t, name);
            g->initializer = xrealloc(g->initializer, (g->n_initializer + 1) * sizeof *g->initializer);
            fe_scope_add(&taken, m->arena, name)->producer = g->n_initializer;
            g->initializer[g->n_initializer++] = copy;
            free(g->node[i]->input[k]);
            g->node[i]->input[k] = fe_text(name);
        }
    }
}

// --- biases and scales

static const Onnx__NodeProto *producer(const Onnx__GraphProto *g, struct index *x, const char *name, size_t before) {
    const size_t i = look_up(&x->makers, name);
    return i < before ? g->node[i] : NULL;
}

// More than one float, all the same.
static bool is_uniform(struct fe_model *m, const Onnx__TensorProto *t) {
    struct fe_blob b;
    struct diag quiet = {0};
    if (!fe_blob_open(m, &quiet, NULL, t, &b) || !b.raw || b.n < 2 || !fe_is_float_type(b.onnx_type)) return false;
    size_t size = fe_onnx_dtype_size(b.onnx_type);
    return !memcmp(b.raw, b.raw + size, (size_t)(b.n - 1) * size);
}

// What tells the modules apart that use an operand of node i: their weight, or for norms the node itself. NULL: that
// operand is no bias or scale.
static const char *owner(const Onnx__GraphProto *g, struct index *x, size_t i, size_t k) {
    static const struct {
        const char *op;
        size_t from, to;
        bool weight; // operand 1 is the weight
    } ops[] = {{"Conv", 2, 2, true},
               {"ConvTranspose", 2, 2, true},
               {"Gemm", 2, 2, true},
               {"LayerNormalization", 1, 2, false},
               {"BatchNormalization", 1, 2, false},
               {"InstanceNormalization", 1, 2, false},
               {"GroupNormalization", 1, 2, false}};
    const Onnx__NodeProto *p = g->node[i];
    if (!p->op_type || !p->n_output) return NULL;
    for (size_t r = 0; r < sizeof ops / sizeof *ops; r++)
        if (!strcmp(ops[r].op, p->op_type))
            return k < ops[r].from || k > ops[r].to ? NULL : ops[r].weight ? p->input[1] : p->output[0];
    if ((strcmp(p->op_type, "Add") && strcmp(p->op_type, "Mul")) || p->n_input != 2) return NULL;
    const Onnx__NodeProto *by = producer(g, x, p->input[1 - k], i); // x W + b, or the scale of a layer
    if (!by || !by->op_type || strcmp(by->op_type, "MatMul") || by->n_input != 2) return p->output[0];
    const Onnx__NodeProto *turned = producer(g, x, by->input[1], i);
    bool is = turned && turned->op_type && !strcmp(turned->op_type, "Transpose") && turned->n_input == 1;
    return is ? turned->input[0] : by->input[1];
}

// The TorchScript exporter in eval mode names what it has merged: encoder.1.norm.bias = Identity(encoder.0.norm.bias).
static void unalias(struct fe_model *m) {
    Onnx__GraphProto *g = m->proto->graph;
    struct fe_scope known = index_of(m->arena, g).initializers;
    size_t kept = 0, n_node = g->n_node;
    for (size_t i = 0; i < n_node; i++) {
        Onnx__NodeProto *p = g->node[i];
        bool alias = p->op_type && !strcmp(p->op_type, "Identity") && p->n_input == 1 && p->n_output == 1 &&
                     strchr(p->output[0], '.') && strchr(p->input[0], '.') && !fe_scope_find(&known, p->output[0]);
        for (size_t k = 0; k < g->n_output && alias; k++) alias = strcmp(g->output[k]->name, p->output[0]) != 0;
        const size_t at = alias ? look_up(&known, p->input[0]) : SIZE_MAX;
        const Onnx__TensorProto *t = at == SIZE_MAX ? NULL : g->initializer[at];
        if (!t || !is_uniform(m, t)) {
            g->node[kept++] = p;
            continue;
        }
        copy_mark(g, p->input[0], p->output[0]);
        Onnx__TensorProto *copy = copy_tensor(t, p->output[0]);
        g->initializer = xrealloc(g->initializer, (g->n_initializer + 1) * sizeof *g->initializer);
        fe_scope_add(&known, m->arena, copy->name)->producer = g->n_initializer;
        g->initializer[g->n_initializer++] = copy;
        onnx__node_proto__free_unpacked(p, NULL);
    }
    g->n_node = kept;
}

static void untie(struct fe_model *m) {
    Onnx__GraphProto *g = m->proto->graph;
    struct index x = index_of(m->arena, g);
    struct fe_scope firsts = {0}, owned = {0}; // copies, by the initializer, and by that and its owner
    const char **copies = NULL;                // the initializer that stands for another at one owner's
    size_t n = 0, cap = 0;
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_input; k++) {
            char **in = &g->node[i]->input[k];
            const size_t at = **in ? look_up(&x.initializers, *in) : SIZE_MAX;
            const char *who = at == SIZE_MAX ? NULL : owner(g, &x, i, k);
            const Onnx__TensorProto *t = who ? g->initializer[at] : NULL;
            if (!t || !is_uniform(m, t) || (fe_made_up(*in) && !has_mark(g, *in))) continue; // a constant may be shared
            const bool first = look_up(&firsts, *in) == SIZE_MAX;
            struct fe_slot *mine = fe_scope_add(&owned, m->arena, arena_printf(m->arena, "%s\n%s", *in, who));
            if (mine->producer == SIZE_MAX) {
                const char *name = arena_strdup(m->arena, *in);
                if (!first) {
                    name = arena_printf(m->arena, "%s.%s", g->node[i]->output[0],
                                        k == 1 && strstr(g->node[i]->op_type, "Norm") ? "weight" : "bias");
                    while (fe_scope_find(&x.initializers, name)) name = arena_printf(m->arena, "%s_", name);
                    copy_mark(g, *in, name);
                    Onnx__TensorProto *copy = copy_tensor(t, name);
                    g->initializer = xrealloc(g->initializer, (g->n_initializer + 1) * sizeof *g->initializer);
                    fe_scope_add(&x.initializers, m->arena, name)->producer = g->n_initializer;
                    g->initializer[g->n_initializer++] = copy;
                } else {
                    fe_scope_add(&firsts, m->arena, name)->producer = n;
                }
                mine->producer = n;
                *ARENA_PUSH(m->arena, copies, n, cap) = name;
            }
            if (strcmp(copies[mine->producer], *in)) {
                free(*in);
                *in = fe_text(copies[mine->producer]);
            }
        }
}

// It names nodes by module, "/encoder/MatMul", and merges nothing without a name: what is shared there is a module's.
static bool is_torchscript(const Onnx__GraphProto *g) {
    for (size_t i = 0; i < g->n_node; i++)
        if (g->node[i]->name && g->node[i]->name[0] == '/') return true;
    return false;
}

void fe_unshare(struct fe_model *m) {
    unalias(m);
    split_statistics(m);
    if (!is_torchscript(m->proto->graph)) untie(m);
}
