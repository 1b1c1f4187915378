// The invariants at the head of ir.h, each with a message that names the node.
#include "ir_internal.h"

#include <stdlib.h>
#include <string.h>

static bool check_types(const struct ir_graph *g, const struct ir_node *n, struct diag *d) {
    // infer reports through the graph's sink: a shallow copy with the caller's sink keeps *g untouched.
    struct ir_graph probe = *g;
    struct diag quiet = *d;
    probe.diag = &quiet;
    struct ir_type want[8];
    memset(want, 0, sizeof want);
    bool ok = ir_ops[n->op].infer(&probe, n, want);
    d->errors = quiet.errors;
    for (int k = 0; ok && k < n->n_out; k++) {
        const struct ir_type *have = &g->values[n->out[k]].type;
        if (have->dtype == want[k].dtype && ir_same_dims(have, &want[k])) continue;
        struct str a = STR_INIT, b = STR_INIT;
        ir_print_type(have, &a);
        ir_print_type(&want[k], &b);
        diag_error(d, &n->loc, "result %d of %s has type %s; its operands make it %s", k, ir_ops[n->op].name, a.s, b.s);
        str_release(&a);
        str_release(&b);
        ok = false;
    }
    return ok;
}

// What is wrong with how a type is written down, or NULL.
static const char *malformed(const struct ir_type *t) {
    unsigned seen = 0;
    for (int i = 0; i < t->rank; i++)
        if (t->perm[i] < t->rank) seen |= 1u << t->perm[i];
    if (seen != (1u << t->rank) - 1) return "an impossible order in memory";
    for (int i = 1; i < t->rank; i++)
        if (t->dims[i] < 0) return "a batch dimension that is not the first";
    return t->rank && t->dims[0] < 0 && t->perm[0] != 0 ? "a batch dimension that is not outermost in memory" : NULL;
}

// What may lie in memory as bfloat16, and who may read it.
static const char *misplaced_narrow(const struct ir_graph *g, const struct ir_node *n) {
    for (int k = 0; k < n->n_out; k++) {
        const struct ir_type *t = &g->values[n->out[k]].type;
        if (t->narrow && (t->dtype != IR_F32 || n->is_inline || !ir_writes_narrow(n))) return "a narrow result";
    }
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] != IR_NONE && g->values[n->in[k]].type.narrow && !ir_reads_narrow(n, k)) return "a narrow operand";
    if (n->op == IR_OP_reshape && g->values[n->in[0]].type.narrow != g->values[n->out[0]].type.narrow)
        return "a result stored otherwise than its operand";
    return NULL;
}

static void check_node(const struct ir_graph *g, size_t i, const uint32_t *made, struct diag *d) {
    const struct ir_node *n = &g->nodes[i];
    const struct ir_op_info *op = &ir_ops[n->op];
    bool ok = true;
    if (n->op == IR_OP_NONE || n->op >= IR_OP_COUNT) {
        diag_error(d, &n->loc, "node %zu has no op", i);
        return;
    }
    if (n->n_in < op->in_min || n->n_in > op->in_max || n->n_out != op->n_out) {
        diag_error(d, &n->loc, "%s has %d operands and %d results", op->name, n->n_in, n->n_out);
        return;
    }
    for (int k = 0; k < n->n_in; k++) {
        ir_vid v = n->in[k];
        if (v == IR_NONE) {
            if (k < op->in_min) {
                diag_error(d, &n->loc, "operand %d of %s is missing", k, op->name);
                ok = false;
            }
            continue;
        }
        if (v >= g->n_values || made[v] > i) {
            diag_error(d, &n->loc, "operand %d (%%%u) of %s is not defined before it", k, v, op->name);
            ok = false;
        } else if (g->values[v].role == IR_ROLE_NODE && n->phase == IR_FORWARD &&
                   g->nodes[g->values[v].def].phase == IR_BACKWARD) {
            diag_error(d, &n->loc, "forward node %s uses a backward result", op->name);
            ok = false;
        }
    }
    for (int k = 0; k < n->n_out; k++) {
        const struct ir_value *v = &g->values[n->out[k]];
        if (v->role != IR_ROLE_NODE || v->def != i || v->def_index != k) {
            diag_error(d, &n->loc, "result %d (%%%u) of %s is recorded as defined elsewhere", k, n->out[k], op->name);
            ok = false;
        }
        const char *wrong = malformed(&v->type);
        if (wrong) {
            diag_error(d, &n->loc, "result %d of %s has %s", k, op->name, wrong);
            ok = false;
        }
    }
    if (n->is_inline && !(op->kind == IR_KIND_PW || (op->kind == IR_KIND_VIEW && n->op != IR_OP_reshape))) {
        diag_error(d, &n->loc, "%s is inline", op->name);
        ok = false;
    }
    size_t n_fields;
    const struct ir_attr_field *schema = ir_schema(n->op, &n_fields);
    for (int a = 0; a < n->n_attrs; a++) {
        bool known = false;
        for (size_t s = 0; s < n_fields; s++)
            known |= strcmp(schema[s].name, n->attrs[a].name) == 0 && schema[s].kind == n->attrs[a].kind;
        if (!known) {
            diag_error(d, &n->loc, "%s has no attribute %s of that kind", op->name, n->attrs[a].name);
            ok = false;
        }
    }
    for (size_t s = 0; s < n_fields; s++) { // infer asks for them, and asking for one that is missing is a BUG
        bool given = !schema[s].required;
        for (int a = 0; a < n->n_attrs; a++) given |= strcmp(schema[s].name, n->attrs[a].name) == 0;
        if (!given) {
            diag_error(d, &n->loc, "%s has no attribute %s", op->name, schema[s].name);
            ok = false;
        }
    }
    const char *narrow = ok ? misplaced_narrow(g, n) : NULL;
    if (narrow) diag_error(d, &n->loc, "%s has %s", op->name, narrow);
    if (ok) check_types(g, n, d);
}

static int by_role_and_name(const void *a, const void *b) {
    const struct ir_value *const *x = a, *const *y = b;
    if ((*x)->role != (*y)->role) return (*x)->role < (*y)->role ? -1 : 1;
    return strcmp((*x)->name, (*y)->name);
}

// The program's interface: every value named, no two of a role alike, and as the caller's memory is.
static void check_boundary(const struct ir_graph *g, struct diag *d) {
    const struct ir_value **named = xmalloc((g->n_boundary + 1) * sizeof *named);
    size_t n = 0;
    for (size_t i = 0; i < g->n_boundary; i++) {
        const struct ir_value *v = g->boundary[i] < g->n_values ? &g->values[g->boundary[i]] : NULL;
        if (!v || v->role == IR_ROLE_NODE || v->role == IR_ROLE_CONST || !v->name) {
            diag_error(d, NULL, "boundary value %u is not one", g->boundary[i]);
            continue;
        }
        const char *wrong = ir_is_row_major(&v->type) ? malformed(&v->type) : "an order in memory of its own";
        if (wrong) diag_error(d, NULL, "boundary value \"%s\" has %s", v->name, wrong);
        named[n++] = v;
    }
    qsort(named, n, sizeof *named, by_role_and_name);
    for (size_t i = 1; i < n; i++)
        if (by_role_and_name(&named[i - 1], &named[i]) == 0)
            diag_error(d, NULL, "two boundary values are called \"%s\"", named[i]->name);
    free(named);
}

bool ir_verify(const struct ir_graph *g, struct diag *d) {
    int before = d->errors;
    // By value: index of the defining node + 1; 0: boundary; UINT32_MAX: nothing.
    uint32_t *made = xmalloc((g->n_values + 1) * sizeof *made);
    for (size_t v = 0; v < g->n_values; v++) made[v] = g->values[v].role == IR_ROLE_NODE ? UINT32_MAX : 0;
    bool backward = false;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct ir_node *n = &g->nodes[i];
        for (int k = 0; k < n->n_out; k++) {
            if (n->out[k] >= g->n_values || made[n->out[k]] != UINT32_MAX)
                diag_error(d, &n->loc, "value %%%u has two definitions", n->out[k]);
            else
                made[n->out[k]] = (uint32_t)i + 1;
        }
        if (n->phase == IR_FORWARD && backward && n->op < IR_OP_COUNT)
            diag_error(d, &n->loc, "forward node %s after backward ones", ir_ops[n->op].name);
        backward |= n->phase == IR_BACKWARD;
    }
    for (size_t i = 0; d->errors == before && i < g->n_nodes; i++) check_node(g, i, made, d);
    for (size_t v = 0; v < g->n_values; v++) {
        const struct ir_value *c = &g->values[v];
        if (c->role == IR_ROLE_CONST && (!c->data || ir_is_batched(&c->type) || !ir_is_row_major(&c->type)))
            diag_error(d, NULL, "constant %%%zu has no data, depends on the batch or is not row-major", v);
    }
    for (size_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i].value >= g->n_values || made[g->outputs[i].value] == UINT32_MAX)
            diag_error(d, NULL, "output \"%s\" has no value", g->outputs[i].name);
        else if (g->values[g->outputs[i].value].type.narrow)
            diag_error(d, NULL, "output \"%s\" is narrow", g->outputs[i].name);
    check_boundary(g, d);
    free(made);
    return d->errors == before;
}
