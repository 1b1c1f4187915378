// Names, order and liveness of the nodes of one graph body.
#include "scope.h"

#include <string.h>

static struct fe_slot *probe(struct fe_slot *slots, size_t cap, const char *name) {
    size_t i = (size_t)fnv1a(FNV_INIT, name, strlen(name)) & (cap - 1);
    while (slots[i].name && strcmp(slots[i].name, name)) i = (i + 1) & (cap - 1);
    return &slots[i];
}

struct fe_slot *fe_scope_find(struct fe_scope *s, const char *name) {
    if (!s->cap) return NULL;
    struct fe_slot *r = probe(s->slots, s->cap, name);
    return r->name ? r : NULL;
}

struct fe_slot *fe_scope_add(struct fe_scope *s, struct arena *a, const char *name) {
    if (s->n * 2 >= s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        struct fe_slot *slots = ARENA_ARRAY(a, struct fe_slot, cap);
        for (size_t i = 0; i < s->cap; i++)
            if (s->slots[i].name) *probe(slots, cap, s->slots[i].name) = s->slots[i];
        s->slots = slots;
        s->cap = cap;
    }
    struct fe_slot *r = probe(s->slots, s->cap, name);
    if (!r->name) {
        *r = (struct fe_slot){.name = name, .producer = SIZE_MAX};
        s->n++;
    }
    return r;
}

struct fe_val *fe_scope_value(struct fe_scope *s, const char *name) {
    for (; s; s = s->parent) {
        struct fe_slot *r = fe_scope_find(s, name);
        if (r && r->val) return r->val;
    }
    return NULL;
}

static bool in_any(struct fe_scope *s, const char *name) {
    for (; s; s = s->parent)
        if (fe_scope_find(s, name)) return true;
    return false;
}

struct fe_val *fe_val_new(struct fe_ctx *c, const char *name) {
    struct fe_val *v = ARENA_NEW(c->a, struct fe_val);
    *v = (struct fe_val){.name = name, .vid = IR_NONE, .buffer_now = IR_NONE};
    return v;
}

struct fe_val *fe_val_blob(struct fe_ctx *c, const struct diag_loc *loc, const Onnx__TensorProto *t, const char *name,
                           const void *key) {
    struct fe_val *v = fe_val_new(c, name);
    const struct fe_meaning *meaning = fe_meaning_of(c->m, key);
    v->is_init = key == t;
    v->is_frozen = meaning && meaning->frozen;
    v->is_param = meaning && (meaning->trained || meaning->frozen);
    v->is_kept = meaning && meaning->kept;
    v->blob = ARENA_NEW(c->a, struct fe_blob);
    if (!fe_blob_open(c->m, c->d, loc, t, v->blob)) {
        v->unknown = true;
        return v;
    }
    v->blob->name = name;
    v->half = fe_half(t->data_type);
    return v;
}

void fe_add_initializers(struct fe_ctx *c, struct fe_scope *s, const Onnx__GraphProto *g) {
    for (size_t i = 0; i < g->n_initializer; i++) {
        const Onnx__TensorProto *t = g->initializer[i];
        if (!t->name || !*t->name) continue;
        struct fe_slot *slot = fe_scope_add(s, c->a, t->name);
        if (slot->val)
            diag_error(c->d, NULL, "initializer \"%s\" is there twice; every value needs a name of its own", t->name);
        else
            slot->val = fe_val_blob(c, &(struct diag_loc){0}, t, t->name, t);
    }
}

// --- one body

struct body {
    struct fe_ctx *c;
    struct fe_scope *s;
    Onnx__NodeProto **nodes;
    size_t n;
    struct deps {
        const char **names;
        size_t n, cap;
    } *deps;
    unsigned char *state; // 0 not live, 1 live, 2 being visited, 3 done
};

static void add_dep(struct body *b, size_t i, const char *name) {
    if (name && *name) *ARENA_PUSH(b->c->a, b->deps[i].names, b->deps[i].n, b->deps[i].cap) = name;
}

// Every name a subgraph reads, its own ones included: those are not found outside and drop out there.
static void add_graph_deps(struct body *b, size_t i, const Onnx__NodeProto *node) {
    for (size_t k = 0; k < node->n_attribute; k++) {
        const Onnx__GraphProto *g = node->attribute[k]->g;
        if (!g) continue;
        for (size_t j = 0; j < g->n_node; j++) {
            for (size_t l = 0; l < g->node[j]->n_input; l++) add_dep(b, i, g->node[j]->input[l]);
            add_graph_deps(b, i, g->node[j]);
        }
        for (size_t j = 0; j < g->n_output; j++) add_dep(b, i, g->output[j]->name);
    }
}

static const char *text_or(const char *s, const char *def) { return s && *s ? s : def; }

static struct diag_loc body_loc(const struct body *b, size_t i) {
    const Onnx__NodeProto *p = b->nodes[i];
    const char *op = text_or(p->op_type, "?");
    return (struct diag_loc){.node = p->name && *p->name ? p->name : arena_printf(b->c->a, "%s#%zu", op, i), .op = op};
}

static void declare(struct body *b) {
    for (size_t i = 0; i < b->n; i++) {
        const Onnx__NodeProto *p = b->nodes[i];
        for (size_t k = 0; k < p->n_output; k++) {
            const char *name = p->output[k];
            if (!*name) continue;
            struct fe_slot *slot = fe_scope_add(b->s, b->c->a, name);
            if (slot->val || slot->producer != SIZE_MAX) {
                struct diag_loc loc = body_loc(b, i);
                diag_error(b->c->d, &loc,
                           "its result \"%s\" has the name of another value; every value needs a name of its own",
                           name);
            } else {
                slot->producer = i;
            }
        }
    }
    for (size_t i = 0; i < b->n; i++) {
        const Onnx__NodeProto *p = b->nodes[i];
        for (size_t k = 0; k < p->n_input; k++) {
            add_dep(b, i, p->input[k]);
            if (*p->input[k] && !in_any(b->s, p->input[k])) {
                struct diag_loc loc = body_loc(b, i);
                diag_error(b->c->d, &loc, "its operand \"%s\" is no input, no initializer and no node's result",
                           p->input[k]);
                struct fe_slot *slot = fe_scope_add(b->s, b->c->a, p->input[k]); // say it once
                slot->val = fe_val_new(b->c, p->input[k]);
                slot->val->unknown = true;
            }
        }
        add_graph_deps(b, i, p);
    }
}

// Once results have their slots: a name that nothing makes is no value for being declared.
static void declare_types(struct body *b) {
    for (size_t k = 0; k < sizeof b->s->infos / sizeof *b->s->infos; k++)
        for (size_t i = 0; i < b->s->infos[k].n; i++) {
            const Onnx__ValueInfoProto *v = b->s->infos[k].v[i];
            struct fe_slot *slot = v->name ? fe_scope_find(b->s, v->name) : NULL;
            if (slot && slot->producer != SIZE_MAX) slot->declared = v->type;
        }
}

static void mark_live(struct body *b, const char *const *outputs, size_t n_outputs) {
    size_t *stack = ARENA_ARRAY(b->c->a, size_t, b->n + 1), top = 0;
    for (size_t k = 0; k < n_outputs; k++) {
        struct fe_slot *slot = fe_scope_find(b->s, outputs[k]);
        if (!slot) continue;
        slot->used = true;
        if (slot->producer != SIZE_MAX && !b->state[slot->producer]) {
            b->state[slot->producer] = 1;
            stack[top++] = slot->producer;
        }
        while (top) {
            size_t i = stack[--top];
            for (size_t j = 0; j < b->deps[i].n; j++) {
                slot = fe_scope_find(b->s, b->deps[i].names[j]);
                if (!slot) continue;
                slot->used = true;
                if (slot->producer == SIZE_MAX || b->state[slot->producer]) continue;
                b->state[slot->producer] = 1;
                stack[top++] = slot->producer;
            }
        }
    }
}

static void report_cycle(struct body *b, const size_t *stack, size_t top, size_t to) {
    struct str path = STR_INIT;
    size_t from = top;
    while (from > 0 && stack[from - 1] != to) from--;
    if (from) from--;
    for (size_t i = from; i < top && i < from + 6; i++) {
        struct diag_loc loc = body_loc(b, stack[i]);
        str_addf(&path, "%s\"%s\"", i > from ? " needs " : "", loc.node);
    }
    if (top > from + 6) str_addf(&path, " ... (%zu nodes)", top - from);
    struct diag_loc loc = body_loc(b, to);
    diag_error(b->c->d, &loc, "the graph is cyclic: %s needs \"%s\"", path.s, loc.node);
    str_release(&path);
}

// Depth first in file order, so a sorted file (all exporters write those) keeps its order and an unsorted one is
// sorted.
static void visit(struct body *b, size_t *stack, size_t *next) {
    size_t top = 0;
    for (size_t root = 0; root < b->n; root++) {
        if (b->state[root] != 1) continue;
        stack[top] = root;
        next[top++] = 0;
        b->state[root] = 2;
        while (top) {
            size_t i = stack[top - 1];
            if (next[top - 1] < b->deps[i].n) {
                struct fe_slot *slot = fe_scope_find(b->s, b->deps[i].names[next[top - 1]++]);
                if (!slot || slot->val || slot->producer == SIZE_MAX) continue;
                if (b->state[slot->producer] == 2) {
                    report_cycle(b, stack, top, slot->producer);
                    slot->val = fe_val_new(b->c, slot->name);
                    slot->val->unknown = true;
                } else if (b->state[slot->producer] == 1) {
                    b->state[slot->producer] = 2;
                    stack[top] = slot->producer;
                    next[top++] = 0;
                }
                continue;
            }
            fe_import_node(b->c, b->s, b->nodes[i]);
            b->state[i] = 3;
            top--;
        }
    }
}

void fe_run_nodes(struct fe_ctx *c, struct fe_scope *s, Onnx__NodeProto **nodes, size_t n, const char *const *outputs,
                  size_t n_outputs) {
    struct body b = {.c = c, .s = s, .nodes = nodes, .n = n};
    b.deps = ARENA_ARRAY(c->a, struct deps, n + 1);
    b.state = ARENA_ARRAY(c->a, unsigned char, n + 1);
    declare(&b);
    declare_types(&b);
    mark_live(&b, outputs, n_outputs);
    visit(&b, ARENA_ARRAY(c->a, size_t, n + 1), ARENA_ARRAY(c->a, size_t, n + 1));
}
