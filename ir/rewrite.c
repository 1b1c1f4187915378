// The rewriter: a pass makes the node list anew, in order (see ir_internal.h).
#include "ir_internal.h"

void ir_rw_begin(struct ir_rewriter *rw, struct ir_graph *g) {
    *rw = (struct ir_rewriter){.g = g, .old = g->nodes, .n_old = g->n_nodes, .n_map = g->n_values};
    rw->saved_loc = g->cur_loc;
    rw->saved_phase = g->cur_phase;
    rw->map = ARENA_ARRAY(g->arena, ir_vid, g->n_values);
    for (size_t v = 0; v < g->n_values; v++) {
        rw->map[v] = IR_NONE;
        g->values[v].def = IR_NONE; // set again by whoever is kept
    }
    g->nodes = NULL;
    g->n_nodes = g->cap_nodes = 0;
    if (rw->n_old) ir_rw_at(rw, 0);
}

ir_vid ir_rw_map(const struct ir_rewriter *rw, ir_vid v) {
    while (v != IR_NONE && v < rw->n_map && rw->map[v] != IR_NONE) v = rw->map[v];
    return v;
}

void ir_rw_at(struct ir_rewriter *rw, size_t i) {
    rw->g->cur_loc = rw->old[i].loc;
    rw->g->cur_phase = (enum ir_phase)rw->old[i].phase;
}

ir_nid ir_rw_copy_node(struct ir_rewriter *rw, size_t i) {
    struct ir_graph *g = rw->g;
    struct ir_node n = rw->old[i];
    n.in = arena_dup(g->arena, n.in, n.n_in * sizeof *n.in);
    for (size_t k = 0; k < n.n_in; k++) n.in[k] = ir_rw_map(rw, n.in[k]);
    ir_nid id = (ir_nid)g->n_nodes;
    for (size_t j = 0; j < n.n_out; j++) g->values[n.out[j]].def = id;
    *ARENA_PUSH(g->arena, g->nodes, g->n_nodes, g->cap_nodes) = n;
    ir_rw_at(rw, i + 1 < rw->n_old ? i + 1 : i);
    return id;
}

void ir_rw_replace(struct ir_rewriter *rw, ir_vid old, ir_vid by) {
    by = ir_rw_map(rw, by);
    CHECK(old < rw->n_map && by != IR_NONE, "replacing value %u by %u", old, by);
    if (by == old) return;
    rw->map[old] = by;
    struct ir_value *to = &rw->g->values[by];
    if (!to->name && to->role == IR_ROLE_NODE) to->name = rw->g->values[old].name;
}

void ir_rw_drop(struct ir_rewriter *rw, ir_nid n) {
    struct ir_node *gone = &rw->g->nodes[n];
    for (size_t j = 0; j < gone->n_out; j++) rw->g->values[gone->out[j]].def = IR_NONE;
    gone->op = IR_OP_NONE;
}

void ir_rw_end(struct ir_rewriter *rw) {
    struct ir_graph *g = rw->g;
    size_t kept = 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].op == IR_OP_NONE) continue;
        g->nodes[kept] = g->nodes[i];
        for (size_t j = 0; j < g->nodes[kept].n_out; j++) g->values[g->nodes[kept].out[j]].def = (ir_nid)kept;
        kept++;
    }
    g->n_nodes = kept;
    for (size_t i = 0; i < g->n_outputs; i++) g->outputs[i].value = ir_rw_map(rw, g->outputs[i].value);
    g->cur_loc = rw->saved_loc;
    g->cur_phase = rw->saved_phase;
}
