// Where the samples of a batch meet: a mean over axis 0, a product that sums over it, a number that is the batch size.
// Behind such a node a result depends on what else is in the batch, so that an input may not be cut into batches
// freely.
//
// Every value is one of three: it depends on no sample; its rows [n*k, (n+1)*k), with dims[0] = k*N, depend on sample n
// alone; or anything else, "mixed", which no later node can undo. A table by op says for what is not elementwise
// whether it keeps samples apart. An op that is not in it mixes: a new one is at worst run in one batch, never cut
// wrongly.
#include "ir.h"

static const struct ir_type *operand(const struct ir_graph *g, const struct ir_node *n, int k) {
    return &g->values[n->in[k]].type;
}

static bool batched(const struct ir_graph *g, const struct ir_node *n, int k) {
    return k < n->n_in && n->in[k] != IR_NONE && ir_is_batched(operand(g, n, k));
}

// Only operand 0 has samples: weights, filters and the like are the same for all of them.
static bool first_alone(const struct ir_graph *g, const struct ir_node *n) {
    for (int k = 1; k < n->n_in; k++)
        if (batched(g, n, k)) return false;
    return true;
}

// Broadcasting counts axes from the last, so that the batch meets the batch only where ranks agree.
static bool elementwise(const struct ir_graph *g, const struct ir_node *n) {
    for (int k = 0; k < n->n_in; k++)
        if (batched(g, n, k) && operand(g, n, k)->rank != g->values[n->out[0]].type.rank) return false;
    return true;
}

static bool reshape(const struct ir_graph *g, const struct ir_node *n) {
    return ir_is_batched(&g->values[n->out[0]].type); // elements keep their order, and a sample's are neighbours
}

static bool expand(const struct ir_graph *g, const struct ir_node *n) {
    const struct ir_type *x = operand(g, n, 0), *y = &g->values[n->out[0]].type;
    return x->rank == y->rank && x->dims[0] == y->dims[0];
}

static bool transpose(const struct ir_graph *g, const struct ir_node *n) {
    size_t count;
    (void)g;
    return ir_attr_ints(n, "perm", &count)[0] == 0;
}

static bool slice(const struct ir_graph *g, const struct ir_node *n) {
    size_t count;
    return ir_attr_ints(n, "starts", &count)[0] == 0 && ir_attr_ints(n, "steps", &count)[0] == 1 &&
           ir_attr_ints(n, "sizes", &count)[0] == operand(g, n, 0)->dims[0];
}

static bool pad(const struct ir_graph *g, const struct ir_node *n) {
    size_t count;
    (void)g;
    const int64_t *lo = ir_attr_ints(n, "lo", &count), *hi = ir_attr_ints(n, "hi", &count),
                  *steps = ir_attr_ints(n, "steps", &count);
    return lo[0] == 0 && hi[0] == 0 && (count == 0 || steps[0] == 1);
}

static bool other_axis(const struct ir_graph *g, const struct ir_node *n) {
    return ir_axis_of(n, "axis", g->values[n->out[0]].type.rank) != 0;
}

static bool other_axes(const struct ir_graph *g, const struct ir_node *n) {
    size_t count;
    const int64_t *axes = ir_attr_ints(n, "axes", &count);
    for (size_t i = 0; i < count; i++)
        if (axes[i] == 0 || axes[i] == -operand(g, n, 0)->rank) return false;
    return count > 0;
}

static bool argmax(const struct ir_graph *g, const struct ir_node *n) {
    return ir_axis_of(n, "axis", operand(g, n, 0)->rank) != 0;
}

// Rows picked out of a table by the samples' numbers, or picked within each sample.
static bool gather(const struct ir_graph *g, const struct ir_node *n) {
    bool of_table = ir_axis_of(n, "axis", operand(g, n, 0)->rank) == 0;
    return of_table ? !batched(g, n, 0) : !batched(g, n, 1);
}

static bool gather_elements(const struct ir_graph *g, const struct ir_node *n) {
    return ir_axis_of(n, "axis", operand(g, n, 0)->rank) != 0 || !batched(g, n, 0);
}

// Products: the batch is an axis of matrices, or the rows of a left matrix whose right one is the same for all.
static bool matmul(const struct ir_graph *g, const struct ir_node *n) {
    int rank = g->values[n->out[0]].type.rank;
    for (int k = 0; k < 2; k++)
        if (batched(g, n, k) && operand(g, n, k)->rank != rank) return false;
    return rank > 2 || (!batched(g, n, 1) && !ir_attr_i(n, "trans_a"));
}

typedef bool keeps_apart(const struct ir_graph *g, const struct ir_node *n);
static keeps_apart *const table[IR_OP_COUNT] = {
    [IR_OP_reshape] = reshape,
    [IR_OP_transpose] = transpose,
    [IR_OP_expand] = expand,
    [IR_OP_slice] = slice,
    [IR_OP_reverse] = other_axes,
    [IR_OP_pad] = pad,
    [IR_OP_concat] = other_axis,
    [IR_OP_interleave] = other_axis,
    [IR_OP_gather] = gather,
    [IR_OP_reduce_sum] = other_axes,
    [IR_OP_reduce_max] = other_axes,
    [IR_OP_argmax] = argmax,
    [IR_OP_matmul] = matmul,
    [IR_OP_conv] = first_alone,
    [IR_OP_conv_grad_x] = first_alone,
    [IR_OP_max_pool] = first_alone,
    [IR_OP_avg_pool] = first_alone,
    [IR_OP_top_k] = other_axis,
    [IR_OP_gather_elements] = gather_elements,
    [IR_OP_cum_sum] = other_axis,
    [IR_OP_scatter_elements] = other_axis,
    [IR_OP_cum_prod] = other_axis,
};

static bool keeps(const struct ir_graph *g, const struct ir_node *n) {
    bool any = false;
    for (int k = 0; k < n->n_in; k++) any |= batched(g, n, k);
    // From nothing: the batch's size, or a sample's place in it.
    if (n->op == IR_OP_batch_size) return false;
    if (n->op == IR_OP_random) return !ir_is_batched(&g->values[n->out[0]].type);
    if (n->op == IR_OP_iota && ir_is_batched(&g->values[n->out[0]].type)) return other_axis(g, n);
    if (!any) return true;
    return ir_ops[n->op].kind == IR_KIND_PW ? elementwise(g, n) : table[n->op] && table[n->op](g, n);
}

ir_nid ir_first_mixing(const struct ir_graph *g) {
    struct arena scratch;
    arena_init(&scratch);
    ir_nid *why = ARENA_ARRAY(&scratch, ir_nid, g->n_values + 1), first = IR_NONE; // by value: the node that mixed
    for (size_t v = 0; v < g->n_values; v++) why[v] = IR_NONE;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct ir_node *n = &g->nodes[i];
        ir_nid from = IR_NONE;
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] != IR_NONE && why[n->in[k]] < from) from = why[n->in[k]];
        if (from == IR_NONE && !keeps(g, n)) from = (ir_nid)i;
        for (int k = 0; k < n->n_out; k++) why[n->out[k]] = from;
    }
    for (size_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i].kind == IR_OUT_OUTPUT && why[g->outputs[i].value] < first) first = why[g->outputs[i].value];
    arena_release(&scratch);
    return first;
}
