// Pass `cse`: of several nodes that compute the same thing, the first stays. Backward nodes may use a forward one's
// result. Equal small constants are made one first: every expansion brings its own 0 and 1, and nodes that read
// different copies of a constant would not be equal.
#include "ir_internal.h"

#include <stdlib.h>
#include <string.h>

static uint64_t hash_node(const struct ir_node *n) {
    uint64_t h = fnv1a(FNV_INIT, &n->op, sizeof n->op);
    h = fnv1a(h, n->in, n->n_in * sizeof *n->in);
    for (int a = 0; a < n->n_attrs; a++) {
        const struct ir_attr *t = &n->attrs[a];
        h = fnv1a(h, t->name, strlen(t->name));
        h = fnv1a(h, &t->i, sizeof t->i);
        h = fnv1a(h, t->ints, t->n * sizeof *t->ints);
    }
    return h;
}

static bool same(const struct ir_node *a, const struct ir_node *b) {
    if (a->op != b->op || a->n_in != b->n_in || a->n_attrs != b->n_attrs ||
        memcmp(a->in, b->in, a->n_in * sizeof *a->in) != 0)
        return false;
    for (int k = 0; k < a->n_attrs; k++)
        if (!ir_attr_equal(&a->attrs[k], &b->attrs[k])) return false;
    return true;
}

enum { MAX_CONST_BYTES = 1024 };

static void merge_constants(struct ir_rewriter *rw) {
    struct ir_graph *g = rw->g;
    size_t slots = 64;
    while (slots < g->n_values * 2) slots *= 2;
    ir_vid *table = xmalloc(slots * sizeof *table);
    for (size_t i = 0; i < slots; i++) table[i] = IR_NONE;
    for (ir_vid v = 0; v < g->n_values; v++) {
        const struct ir_value *c = &g->values[v];
        if (c->role != IR_ROLE_CONST || ir_type_bytes(&c->type) > MAX_CONST_BYTES) continue;
        size_t at = (size_t)ir_const_hash(&c->type, c->data) & (slots - 1), bytes = ir_type_bytes(&c->type);
        while (table[at] != IR_NONE) {
            const struct ir_value *o = &g->values[table[at]];
            if (ir_type_equal(&o->type, &c->type) && memcmp(o->data, c->data, bytes) == 0) break; // bits: -0 is not 0
            at = (at + 1) & (slots - 1);
        }
        if (table[at] == IR_NONE)
            table[at] = v;
        else
            ir_rw_replace(rw, v, table[at]);
    }
    free(table);
}

enum smkd_status ir_pass_cse(struct ir_graph *g, const struct ir_pass_options *o) {
    (void)o;
    size_t slots = 64;
    while (slots < g->n_nodes * 2) slots *= 2;
    ir_nid *table = xmalloc(slots * sizeof *table); // new ids, open addressing
    for (size_t i = 0; i < slots; i++) table[i] = IR_NONE;
    struct ir_rewriter rw;
    ir_rw_begin(&rw, g);
    merge_constants(&rw);
    for (size_t i = 0; i < rw.n_old; i++) {
        ir_nid n = ir_rw_copy_node(&rw, i); // operands are mapped now
        // copy exists to give a value memory of its own
        if (g->nodes[n].op == IR_OP_copy) continue;
        size_t at = (size_t)hash_node(&g->nodes[n]) & (slots - 1);
        while (table[at] != IR_NONE && !same(&g->nodes[table[at]], &g->nodes[n])) at = (at + 1) & (slots - 1);
        if (table[at] == IR_NONE) {
            table[at] = n;
            continue;
        }
        const struct ir_node *first = &g->nodes[table[at]];
        for (int k = 0; k < first->n_out; k++) ir_rw_replace(&rw, g->nodes[n].out[k], first->out[k]);
        ir_rw_drop(&rw, n);
    }
    ir_rw_end(&rw);
    free(table);
    return SMKD_OK;
}
