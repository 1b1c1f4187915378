// Pass `dce`: drops nodes that reach no output, and renumbers values so that ids are dense. Boundary values stay even
// when nothing uses them: they are the program's interface. (Constants nobody reads go.)
#include "ir_internal.h"

#include <stdlib.h>

enum smkd_status ir_pass_dce(struct ir_graph *g, const struct ir_pass_options *o) {
    (void)o;
    bool *live = xcalloc(g->n_values + 1, 1);
    for (size_t i = 0; i < g->n_outputs; i++) live[g->outputs[i].value] = true;
    for (size_t i = g->n_nodes; i-- > 0;) {
        const struct ir_node *n = &g->nodes[i];
        bool any = false;
        for (int k = 0; k < n->n_out; k++) any |= live[n->out[k]];
        for (int k = 0; any && k < n->n_in; k++)
            if (n->in[k] != IR_NONE) live[n->in[k]] = true;
        for (int k = 0; any && k < n->n_out; k++) live[n->out[k]] = true; // all results of a node live or die together
    }
    for (size_t i = 0; i < g->n_boundary; i++) live[g->boundary[i]] = true;
    ir_vid *map = xmalloc((g->n_values + 1) * sizeof *map);
    size_t nv = 0, nn = 0;
    for (size_t v = 0; v < g->n_values; v++) {
        map[v] = live[v] ? (ir_vid)nv : IR_NONE;
        if (live[v]) g->values[nv++] = g->values[v];
    }
    g->n_values = nv;
    for (size_t i = 0; i < g->n_nodes; i++) {
        struct ir_node n = g->nodes[i];
        if (map[n.out[0]] == IR_NONE) continue;
        for (int k = 0; k < n.n_in; k++)
            if (n.in[k] != IR_NONE) n.in[k] = map[n.in[k]];
        for (int k = 0; k < n.n_out; k++) {
            n.out[k] = map[n.out[k]];
            g->values[n.out[k]].def = (ir_nid)nn;
        }
        g->nodes[nn++] = n;
    }
    g->n_nodes = nn;
    for (size_t i = 0; i < g->n_outputs; i++) g->outputs[i].value = map[g->outputs[i].value];
    for (size_t i = 0; i < g->n_boundary; i++) g->boundary[i] = map[g->boundary[i]];
    free(map);
    free(live);
    return SMKD_OK;
}
