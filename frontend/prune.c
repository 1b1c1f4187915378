// Takes out of a graph what no output needs. Inference leaves much unused: the ratios of dropout, the random numbers of
// stochastic depth, shapes that were computed for them; and so do exporters.
#include "onnx_internal.h"

#include <stdlib.h>
#include <string.h>

struct origin { // where a name comes from
    const char *name;
    size_t node; // or, from n_node on, an initializer
};

struct prune {
    const Onnx__GraphProto *g;
    struct origin *origins; // sorted by name
    size_t n_origins;
    bool *needed; // nodes, then initializers
    size_t *todo, n_todo;
};

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct origin *)a)->name, ((const struct origin *)b)->name);
}

static void need(struct prune *p, const char *name) {
    const struct origin *o = bsearch(&(struct origin){.name = name}, p->origins, p->n_origins, sizeof *o, by_name);
    if (!o || p->needed[o->node]) return;
    p->needed[o->node] = true;
    if (o->node < p->g->n_node) p->todo[p->n_todo++] = o->node;
}

// A node's operands and whatever the bodies in its attributes read from outside; a name of their own does no harm.
static void need_operands(struct prune *p, const Onnx__NodeProto *n) {
    for (size_t i = 0; i < n->n_input; i++) need(p, n->input[i]);
    for (size_t k = 0; k < n->n_attribute; k++)
        for (size_t b = 0; b < n->attribute[k]->n_graphs + (n->attribute[k]->g != NULL); b++) {
            const Onnx__GraphProto *body =
                b < n->attribute[k]->n_graphs ? n->attribute[k]->graphs[b] : n->attribute[k]->g;
            for (size_t i = 0; i < body->n_node; i++) need_operands(p, body->node[i]);
            for (size_t i = 0; i < body->n_output; i++) need(p, body->output[i]->name);
        }
}

void fe_prune(Onnx__GraphProto *g) {
    size_t n_names = g->n_initializer;
    for (size_t i = 0; i < g->n_node; i++) n_names += g->node[i]->n_output;
    struct prune p = {.g = g,
                      .origins = xcalloc(n_names + 1, sizeof *p.origins),
                      .needed = xcalloc(g->n_node + g->n_initializer + 1, sizeof *p.needed),
                      .todo = xcalloc(g->n_node + 1, sizeof *p.todo)};
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_output; k++)
            if (*g->node[i]->output[k]) p.origins[p.n_origins++] = (struct origin){g->node[i]->output[k], i};
    for (size_t i = 0; i < g->n_initializer; i++)
        p.origins[p.n_origins++] = (struct origin){g->initializer[i]->name, g->n_node + i};
    qsort(p.origins, p.n_origins, sizeof *p.origins, by_name);
    for (size_t i = 0; i < g->n_output; i++) need(&p, g->output[i]->name);
    while (p.n_todo) need_operands(&p, g->node[p.todo[--p.n_todo]]);

    // Old files list initializers among the inputs, too.
    size_t kept = 0;
    for (size_t i = 0; i < g->n_input; i++) {
        const struct origin *o =
            bsearch(&(struct origin){.name = g->input[i]->name}, p.origins, p.n_origins, sizeof *o, by_name);
        if (o && !p.needed[o->node])
            onnx__value_info_proto__free_unpacked(g->input[i], NULL);
        else
            g->input[kept++] = g->input[i];
    }
    g->n_input = kept;
    size_t n_node = g->n_node;
    kept = 0;
    for (size_t i = 0; i < n_node; i++) {
        if (p.needed[i])
            g->node[kept++] = g->node[i];
        else
            onnx__node_proto__free_unpacked(g->node[i], NULL);
    }
    g->n_node = kept;
    kept = 0;
    for (size_t i = 0; i < g->n_initializer; i++) {
        if (p.needed[n_node + i])
            g->initializer[kept++] = g->initializer[i];
        else
            onnx__tensor_proto__free_unpacked(g->initializer[i], NULL);
    }
    g->n_initializer = kept;
    free(p.origins);
    free(p.needed);
    free(p.todo);
}
