// Making graphs: values, nodes, one-line builders.
#include "ir_internal.h"

#include <string.h>

// --- graphs ---------------------------------------------------------------------------------------------------------

struct ir_graph *ir_graph_new(struct arena *a, struct diag *d, const char *name) {
    struct ir_graph *g = ARENA_NEW(a, struct ir_graph);
    g->arena = a;
    g->diag = d;
    g->name = arena_strdup(a, name);
    return g;
}

struct ir_graph *ir_graph_clone(struct arena *a, const struct ir_graph *g) {
    struct ir_graph *c = ARENA_NEW(a, struct ir_graph);
    *c = *g;
    c->arena = a;
    c->values = arena_dup(a, g->values, g->n_values * sizeof *g->values);
    c->nodes = arena_dup(a, g->nodes, g->n_nodes * sizeof *g->nodes);
    c->outputs = arena_dup(a, g->outputs, g->n_outputs * sizeof *g->outputs);
    c->boundary = arena_dup(a, g->boundary, g->n_boundary * sizeof *g->boundary);
    c->cap_values = g->n_values;
    c->cap_nodes = g->n_nodes;
    c->cap_outputs = g->n_outputs;
    c->cap_boundary = g->n_boundary;
    for (size_t i = 0; i < c->n_nodes; i++) {
        struct ir_node *n = &c->nodes[i];
        n->in = arena_dup(a, n->in, n->n_in * sizeof *n->in);
        n->out = arena_dup(a, n->out, n->n_out * sizeof *n->out);
        n->attrs = arena_dup(a, n->attrs, n->n_attrs * sizeof *n->attrs);
        for (size_t k = 0; k < n->n_attrs; k++) {
            struct ir_attr *at = &n->attrs[k];
            if (at->kind == IR_ATTR_INTS) at->ints = arena_dup(a, at->ints, at->n * sizeof *at->ints);
            if (at->kind == IR_ATTR_STR) at->s = arena_strdup(a, at->s);
        }
    }
    return c;
}

static ir_vid value_new(struct ir_graph *g, struct ir_value v) {
    CHECK(g->n_values < IR_NONE, "too many values");
    *ARENA_PUSH(g->arena, g->values, g->n_values, g->cap_values) = v;
    return (ir_vid)(g->n_values - 1);
}

ir_vid ir_boundary(struct ir_graph *g, enum ir_role role, struct ir_type t, const char *name, const void *data) {
    CHECK(role != IR_ROLE_NODE && role != IR_ROLE_CONST, "boundary value of role %d", (int)role);
    ir_vid v = value_new(
        g,
        (struct ir_value){.type = t, .role = role, .def = IR_NONE, .name = arena_strdup(g->arena, name), .data = data});
    *ARENA_PUSH(g->arena, g->boundary, g->n_boundary, g->cap_boundary) = v;
    return v;
}

ir_vid ir_const(struct ir_graph *g, struct ir_type t, const void *data) {
    CHECK(!ir_is_batched(&t), "a constant cannot depend on the batch size");
    const void *copy = arena_dup(g->arena, data, ir_type_bytes(&t));
    return value_new(g, (struct ir_value){.type = t, .role = IR_ROLE_CONST, .def = IR_NONE, .data = copy});
}

ir_vid ir_const_f(struct ir_graph *g, double v) {
    float f = (float)v;
    return ir_const(g, ir_scalar_type(IR_F32), &f);
}

ir_vid ir_const_i(struct ir_graph *g, int64_t v) { return ir_const(g, ir_scalar_type(IR_I64), &v); }

void ir_set_output(struct ir_graph *g, enum ir_out_kind kind, const char *name, ir_vid v) {
    CHECK(v < g->n_values, "output %s of value %u", name, v);
    *ARENA_PUSH(g->arena, g->outputs, g->n_outputs, g->cap_outputs) =
        (struct ir_output){.value = v, .kind = kind, .name = arena_strdup(g->arena, name)};
}

// --- nodes -----------------------------------------------------------------------------------------------------------

// Everything but types: op, operand count and ids, attributes.
static bool node_check(struct ir_graph *g, struct ir_node *n, const struct ir_attr *attrs, size_t n_attrs) {
    CHECK(n->op > IR_OP_NONE && n->op < IR_OP_COUNT, "node of op %d", (int)n->op);
    const struct ir_op_info *info = &ir_ops[n->op];
    if (n->n_in < info->in_min || n->n_in > info->in_max) {
        diag_error(g->diag, &n->loc, "op %s takes %d to %d operands; got %d", info->name, info->in_min, info->in_max,
                   n->n_in);
        return false;
    }
    for (size_t i = 0; i < n->n_in; i++) {
        if (n->in[i] == IR_NONE && i < info->in_min) {
            diag_error(g->diag, &n->loc, "op %s: operand %zu is missing", info->name, i);
            return false;
        }
        CHECK(n->in[i] == IR_NONE || n->in[i] < g->n_values, "operand %u of op %s", n->in[i], info->name);
    }
    return ir_attrs_set(g, n, attrs, n_attrs);
}

ir_nid ir_node_new(struct ir_graph *g, enum ir_op op, const ir_vid *in, size_t n_in, const struct ir_attr *attrs,
                   size_t n_attrs) {
    while (n_in && in[n_in - 1] == IR_NONE) n_in--;
    if (n_in > UINT8_MAX) {
        diag_error(g->diag, &g->cur_loc, "op %s with %zu operands; at most %d are supported", ir_ops[op].name, n_in,
                   ir_ops[op].in_max);
        return IR_NONE;
    }
    struct ir_node n = {.op = op, .phase = (uint8_t)g->cur_phase, .n_in = (uint8_t)n_in, .loc = g->cur_loc};
    if (!n.loc.node && !n.loc.op) n.loc.op = ir_ops[op].name; // only for messages: see below
    n.in = arena_dup(g->arena, in, n_in * sizeof *in);
    if (!node_check(g, &n, attrs, n_attrs)) return IR_NONE;
    struct ir_type types[4];
    n.n_out = ir_ops[op].n_out;
    CHECK(n.n_out <= sizeof types / sizeof *types, "op %s has too many results", ir_ops[op].name);
    if (!ir_ops[op].infer(g, &n, types)) return IR_NONE;

    n.loc = g->cur_loc;
    n.out = ARENA_ARRAY(g->arena, ir_vid, n.n_out);
    ir_nid id = (ir_nid)g->n_nodes;
    for (size_t j = 0; j < n.n_out; j++)
        n.out[j] =
            value_new(g, (struct ir_value){.type = types[j], .role = IR_ROLE_NODE, .def = id, .def_index = (uint8_t)j});
    *ARENA_PUSH(g->arena, g->nodes, g->n_nodes, g->cap_nodes) = n;
    return id;
}

ir_vid ir_emit(struct ir_graph *g, enum ir_op op, const ir_vid *in, size_t n_in, const struct ir_attr *attrs,
               size_t n_attrs) {
    ir_nid n = ir_node_new(g, op, in, n_in, attrs, n_attrs);
    CHECK(n != IR_NONE, "cannot make a node of op %s", ir_ops[op].name);
    return g->nodes[n].out[0];
}

// --- one-line builders -----------------------------------------------------------------------------------------------

ir_vid ir_unary(struct ir_graph *g, enum ir_op op, ir_vid x) { return ir_emit(g, op, &x, 1, IR_NO_ATTRS); }

ir_vid ir_binary(struct ir_graph *g, enum ir_op op, ir_vid a, ir_vid b) {
    return ir_emit(g, op, (ir_vid[]){a, b}, 2, IR_NO_ATTRS);
}

ir_vid ir_add(struct ir_graph *g, ir_vid a, ir_vid b) { return ir_binary(g, IR_OP_add, a, b); }
ir_vid ir_sub(struct ir_graph *g, ir_vid a, ir_vid b) { return ir_binary(g, IR_OP_sub, a, b); }
ir_vid ir_mul(struct ir_graph *g, ir_vid a, ir_vid b) { return ir_binary(g, IR_OP_mul, a, b); }
ir_vid ir_div(struct ir_graph *g, ir_vid a, ir_vid b) { return ir_binary(g, IR_OP_div, a, b); }

ir_vid ir_fma(struct ir_graph *g, ir_vid a, ir_vid b, ir_vid c) {
    return ir_emit(g, IR_OP_fma, (ir_vid[]){a, b, c}, 3, IR_NO_ATTRS);
}
ir_vid ir_where(struct ir_graph *g, ir_vid c, ir_vid a, ir_vid b) {
    return ir_emit(g, IR_OP_where, (ir_vid[]){c, a, b}, 3, IR_NO_ATTRS);
}

ir_vid ir_cast(struct ir_graph *g, ir_vid x, enum ir_dtype t) {
    if (ir_typeof(g, x)->dtype == t) return x;
    return ir_emit(g, IR_OP_cast, &x, 1, IR_ATTRS(IR_S("dtype", ir_dtype_name(t))));
}

ir_vid ir_stop_gradient(struct ir_graph *g, ir_vid x) { return ir_unary(g, IR_OP_stop_gradient, x); }

ir_vid ir_reduce(struct ir_graph *g, enum ir_op op, ir_vid x, const int64_t *axes, size_t n, int keepdims) {
    if (!n) return x;
    int rank = ir_typeof(g, x)->rank;
    bool reduced[IR_MAX_RANK] = {false};
    for (size_t i = 0; i < n; i++) {
        int64_t a = axes[i] < 0 ? axes[i] + rank : axes[i];
        CHECK(a >= 0 && a < rank && !reduced[a], "%s: axes of a value of %d dimensions", ir_ops[op].name, rank);
        reduced[a] = true;
    }
    int64_t sorted[IR_MAX_RANK];
    size_t k = 0;
    for (int i = 0; i < rank; i++) {
        if (reduced[i]) sorted[k++] = i;
    }
    return ir_emit(g, op, &x, 1, IR_ATTRS(IR_IS("axes", sorted, k), IR_I("keepdims", keepdims)));
}

static bool has_dims(const struct ir_type *t, int rank, const int64_t *dims) {
    return t->rank == rank && (!rank || !memcmp(t->dims, dims, (size_t)rank * sizeof *dims));
}

ir_vid ir_reshape(struct ir_graph *g, ir_vid x, int rank, const int64_t *dims) {
    if (has_dims(ir_typeof(g, x), rank, dims)) return x;
    return ir_emit(g, IR_OP_reshape, &x, 1, IR_ATTRS(IR_IS("shape", dims, rank)));
}

ir_vid ir_transpose(struct ir_graph *g, ir_vid x, int rank, const int64_t *perm) {
    bool same = true;
    for (int i = 0; i < rank; i++) same &= perm[i] == i;
    return same ? x : ir_emit(g, IR_OP_transpose, &x, 1, IR_ATTRS(IR_IS("perm", perm, rank)));
}

ir_vid ir_expand_to(struct ir_graph *g, ir_vid x, int rank, const int64_t *dims) {
    if (has_dims(ir_typeof(g, x), rank, dims)) return x;
    return ir_emit(g, IR_OP_expand, &x, 1, IR_ATTRS(IR_IS("shape", dims, rank)));
}

ir_vid ir_sum_to(struct ir_graph *g, ir_vid x, const struct ir_type *like) {
    struct ir_type from = *ir_typeof(g, x), to = *like;
    int lead = from.rank - to.rank;
    CHECK(lead >= 0, "ir_sum_to more dimensions than there are");
    int64_t axes[IR_MAX_RANK];
    size_t n = 0;
    for (int i = 0; i < from.rank; i++) {
        bool summed = i < lead ? from.dims[i] != 1 : to.dims[i - lead] == 1 && from.dims[i] != 1;
        if (summed) axes[n++] = i;
    }
    return ir_reshape(g, ir_reduce(g, IR_OP_reduce_sum, x, axes, n, 1), to.rank, to.dims);
}

ir_vid ir_matmul(struct ir_graph *g, ir_vid a, ir_vid b, int trans_a, int trans_b) {
    return ir_emit(g, IR_OP_matmul, (ir_vid[]){a, b}, 2, IR_ATTRS(IR_I("trans_a", trans_a), IR_I("trans_b", trans_b)));
}

ir_vid ir_batch_size(struct ir_graph *g) { return ir_emit(g, IR_OP_batch_size, NULL, 0, IR_NO_ATTRS); }

// --- facts ----------------------------------------------------------------------------------------------------------

bool ir_defined_by(const struct ir_graph *g, ir_vid v, enum ir_op op) {
    return v != IR_NONE && g->values[v].def != IR_NONE && g->nodes[g->values[v].def].op == op;
}

size_t ir_type_bytes(const struct ir_type *t) { return (size_t)ir_numel(t) * ir_stored_size(t); }
