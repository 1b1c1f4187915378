// Undoes what PyTorch's packed sequences do to the order of samples: TopK sorts them by length, Gather brings all that
// is computed into that order, and what comes out is brought back. ONNX's recurrent operators take lengths in any
// order, so the samples stay where they are: sorting moves every sample by what is in the others.
//
// It holds where everything between the two Gathers is computed of sorted samples and of what is no sample at all, and
// nothing sorted is a result. That is looked at; where it does not hold the file stays as it is.
#include "flow.h"

#include <stdlib.h>
#include <string.h>

enum mark { PLAIN, LENGTHS, ORDER, BACK, SORTED }; // sorted lengths; places in the order; places back; sorted samples

struct unsort {
    struct fe_model *m;
    struct fe_flow *f;
    uint8_t *marks;  // by value of f
    bool *dependent; // by value of f: on an input's elements
};

static const char *const moves[] = {"Cast", "Identity"};
static const char *const sizes[] = {"Shape", "Size"};
static const char *const of_size[] = {"Cast", "Unsqueeze", "Squeeze", "Reshape", "Identity", "Gather", "Slice"};

static bool one_of(const Onnx__NodeProto *p, const char *const *ops, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (fe_flow_is(p, ops[i])) return true;
    return false;
}
#define ONE_OF(p, list) one_of((p), (list), sizeof(list) / sizeof *(list))

static bool is_recurrent(const Onnx__NodeProto *p) {
    return fe_flow_is(p, "LSTM") || fe_flow_is(p, "GRU") || fe_flow_is(p, "RNN");
}

static enum mark mark_of(const struct unsort *u, const char *name) {
    const struct fe_flow_value *v = fe_flow_find(u->f, name);
    return v ? (enum mark)u->marks[v - u->f->values] : PLAIN;
}

static void set_mark(struct unsort *u, const char *name, enum mark m) {
    const struct fe_flow_value *v = fe_flow_find(u->f, name);
    if (v) u->marks[v - u->f->values] = (uint8_t)m;
}

static const Onnx__NodeProto *made_by(const struct unsort *u, const Onnx__NodeProto *p, size_t operand) {
    return operand < p->n_input ? fe_flow_producer(u->f, p->input[operand]) : NULL;
}

static bool is_number(const struct unsort *u, const char *name, int64_t number) {
    const Onnx__NodeProto *p = fe_flow_producer(u->f, name);
    const Onnx__TensorProto *t = p ? fe_constant_tensor(p) : fe_initializer(u->m->proto->graph, name);
    struct diag quiet = {.sink = fe_quiet};
    struct fe_blob b;
    for (size_t i = 0; fe_flow_is(p, "Constant") && i < p->n_attribute; i++)
        if (p->attribute[i]->name && !strcmp(p->attribute[i]->name, "value_int")) return p->attribute[i]->i == number;
    return t && fe_blob_open(u->m, &quiet, NULL, t, &b) && b.n == 1 && !ir_is_float(b.type.dtype) &&
           ir_get_int(b.type.dtype, fe_blob_data(&b, u->m->arena), 0) == number;
}

// TopK of all elements of a list.
static bool sorts_all(const struct unsort *u, const Onnx__NodeProto *p) {
    if (!fe_flow_is(p, "TopK") || p->n_input != 2 || p->n_output != 2 || !*p->output[0] || !*p->output[1]) return false;
    const Onnx__NodeProto *k = made_by(u, p, 1);
    for (int i = 0; i < 8 && k && ONE_OF(k, of_size) && k->n_input; i++) k = made_by(u, k, 0);
    return k && fe_flow_is(k, "Shape") && k->n_input == 1 && !strcmp(k->input[0], p->input[0]);
}

// ScatterElements(zeros, order, 0 1 2 ...)
static bool inverts(const struct unsort *u, const Onnx__NodeProto *p) {
    const Onnx__NodeProto *range = made_by(u, p, 2);
    return p->n_input == 3 && fe_flow_is(made_by(u, p, 0), "ConstantOfShape") && fe_flow_is(range, "Range") &&
           range->n_input == 3 && is_number(u, range->input[0], 0) && is_number(u, range->input[2], 1);
}

// What a use of a marked value makes of the node's results; false: that the samples may not stay where they are.
static bool result_of(const struct unsort *u, const Onnx__NodeProto *p, size_t k, enum mark m, enum mark *out) {
    *out = PLAIN;
    if (ONE_OF(p, sizes)) return true;
    if (m != SORTED && ONE_OF(p, moves)) {
        *out = m;
        return true;
    }
    switch (m) {
    case LENGTHS:
        return is_recurrent(p) && k == 4;
    case ORDER:
        if (fe_flow_is(p, "ScatterElements") && k == 1 && inverts(u, p)) *out = BACK;
        if (fe_flow_is(p, "Gather") && k == 1) *out = SORTED;
        return *out != PLAIN;
    case BACK:
        return fe_flow_is(p, "Gather") && k == 1;
    default:
        *out = SORTED;
        return true;
    }
}

// Marks the results of all nodes that use a value marked `m`. true: something new.
static bool spread(struct unsort *u, enum mark m, bool *ok) {
    bool more = false;
    for (size_t v = 0; v < u->f->n_values && *ok; v++) {
        if (u->marks[v] != m) continue;
        const struct fe_flow_value *val = &u->f->values[v];
        *ok = !val->captured;
        for (size_t i = 0; i < val->n_uses && *ok; i++) {
            const struct fe_flow_use *use = &u->f->uses[val->first + i];
            const Onnx__NodeProto *p = u->f->nodes[use->node];
            enum mark out;
            if (m == SORTED && fe_flow_is(p, "Gather") && p->n_input > 1 && use->operand == 0 &&
                mark_of(u, p->input[1]) == BACK)
                continue;
            *ok = result_of(u, p, use->operand, m, &out) && !u->f->inner[use->node];
            for (size_t k = 0; k < p->n_output && *ok && out != PLAIN; k++) {
                const enum mark was = mark_of(u, p->output[k]);
                more |= *p->output[k] && was != out;
                *ok = was == PLAIN || was == out;
                set_mark(u, p->output[k], out);
            }
        }
    }
    return more;
}

static void find_dependent(struct unsort *u) {
    const Onnx__GraphProto *g = u->m->proto->graph;
    for (size_t i = 0; i < g->n_input; i++) {
        const struct fe_flow_value *v = g->input[i]->name ? fe_flow_find(u->f, g->input[i]->name) : NULL;
        if (v && !v->stored) u->dependent[v - u->f->values] = true;
    }
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < u->f->n_nodes; i++) {
            const Onnx__NodeProto *p = u->f->nodes[i];
            bool any = u->f->inner[i] != NULL;
            for (size_t k = 0; k < p->n_input; k++) {
                const struct fe_flow_value *v = fe_flow_find(u->f, p->input[k]);
                any |= v && u->dependent[v - u->f->values];
            }
            for (size_t k = 0; k < p->n_output && any && !ONE_OF(p, sizes); k++) {
                const struct fe_flow_value *v = fe_flow_find(u->f, p->output[k]);
                more |= v && !u->dependent[v - u->f->values];
                if (v) u->dependent[v - u->f->values] = true;
            }
        }
    }
}

// Whether every node computes of sorted samples or of others, never of both.
static bool keeps_apart(const struct unsort *u) {
    for (size_t i = 0; i < u->f->n_nodes; i++) {
        const Onnx__NodeProto *p = u->f->nodes[i];
        bool sorted = false, other = false, lengths = false;
        if (ONE_OF(p, sizes)) continue;
        for (size_t k = 0; k < p->n_input; k++) {
            const struct fe_flow_value *v = fe_flow_find(u->f, p->input[k]);
            const uint8_t m = v ? u->marks[v - u->f->values] : PLAIN;
            sorted |= m == SORTED;
            lengths |= m == LENGTHS && is_recurrent(p);
            other |= m == PLAIN && v && u->dependent[v - u->f->values];
        }
        const bool back = fe_flow_is(p, "Gather") && p->n_input > 1 && mark_of(u, p->input[1]) == BACK;
        if ((sorted && other) || ((lengths || back) && !sorted)) return false;
    }
    for (size_t i = 0; i < u->f->n_results; i++)
        if (mark_of(u, u->f->results[i]) != PLAIN) return false;
    return true;
}

// --- the edit

static void make_identity(Onnx__NodeProto *p) {
    for (size_t i = 0; i < p->n_attribute; i++) onnx__attribute_proto__free_unpacked(p->attribute[i], NULL);
    p->n_attribute = 0;
    for (size_t i = 1; i < p->n_input; i++) free(p->input[i]);
    p->n_input = 1;
    for (size_t i = 1; i < p->n_output; i++) free(p->output[i]);
    p->n_output = 1;
    free(p->op_type);
    p->op_type = fe_text("Identity");
}

static void leave_in_place(struct unsort *u, Onnx__NodeProto *sort) {
    Onnx__GraphProto *g = u->m->proto->graph;
    const char *order = arena_strdup(u->m->arena, sort->output[1]), *list = arena_strdup(u->m->arena, sort->input[0]);
    size_t at = 0;
    for (size_t i = 0; i < g->n_node; i++) {
        Onnx__NodeProto *p = g->node[i];
        const enum mark by = fe_flow_is(p, "Gather") && p->n_input > 1 ? mark_of(u, p->input[1]) : PLAIN;
        if (p == sort) at = i;
        if (by == ORDER || by == BACK) make_identity(p);
    }
    make_identity(sort);
    // Of the order some may still want the size.
    fe_insert_node(g, at, fe_new_node("Identity", order, 1, (const char *const[]){list}));
    fe_prune(g);
}

static bool try_one(struct fe_model *m, struct arena *a, Onnx__NodeProto *p) {
    struct unsort u = {.m = m, .f = fe_flow_new(a, m->proto)};
    if (!sorts_all(&u, p)) return false;
    u.marks = ARENA_ARRAY(a, uint8_t, u.f->n_values + 1);
    u.dependent = ARENA_ARRAY(a, bool, u.f->n_values + 1);
    set_mark(&u, p->output[0], LENGTHS);
    set_mark(&u, p->output[1], ORDER);
    bool ok = true, back = false;
    static const enum mark in_turn[] = {LENGTHS, ORDER, BACK, SORTED};
    for (size_t k = 0; k < sizeof in_turn / sizeof *in_turn; k++)
        while (ok && spread(&u, in_turn[k], &ok)) {
        }
    for (size_t v = 0; v < u.f->n_values; v++) back |= u.marks[v] == BACK;
    if (!ok || !back) return false;
    find_dependent(&u);
    if (!keeps_apart(&u)) return false;
    leave_in_place(&u, p);
    return true;
}

void fe_unsort(struct fe_model *m) {
    const Onnx__GraphProto *g = m->proto->graph;
    bool recurrent = false;
    for (size_t i = 0; i < g->n_node; i++) recurrent |= is_recurrent(g->node[i]);
    for (size_t i = 0; i < g->n_node && recurrent; i++) {
        if (!fe_flow_is(g->node[i], "TopK")) continue;
        struct arena a;
        arena_init(&a);
        const bool done = try_one(m, &a, g->node[i]);
        arena_release(&a);
        if (done) i = (size_t)-1; // nodes have moved
    }
}
