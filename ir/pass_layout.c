// Pass `layout`: decides how every value lies in memory and inserts `relayout` where an op needs another order.
//
// One layout runs through the network: channels last (physical N,H,W,C). Convolutions and pools want it, pointwise ops
// take whatever they get, so copies remain only at the borders (inputs, outputs, flattening before a linear layer). A
// reshape never moves data: its result's order is derived from its operand's when the dims it merges lie side by side,
// which makes a channel shuffle (reshape, transpose, reshape) one strided copy; otherwise the operand is first brought
// to row-major.
//
// Expects: fuse. Ensures: conv family and pools see channels last; matmul, gather, argmax row-major; every reshape is a
// pure reinterpretation; outputs are row-major, distinct, computed by a node of their own.
#include "ir.h"

#include <stdlib.h>
#include <string.h>

enum smkd_status ir_pass_layout(struct ir_graph *g, const struct ir_pass_options *o);

struct state {
    struct ir_graph *g;
    struct ir_node *old;
    struct {
        ir_vid from, to;
        uint8_t perm[IR_MAX_RANK];
    } *made; // relayouts so far
    size_t n_made, cap_made;
};

static void identity(struct ir_type *t) {
    for (int i = 0; i < IR_MAX_RANK; i++) t->perm[i] = (uint8_t)i;
}

static void channels_last(struct ir_type *t) {
    static const uint8_t nhwc[4] = {0, 2, 3, 1};
    identity(t);
    if (t->rank == 4) memcpy(t->perm, nhwc, 4);
}

static ir_vid relayout(struct state *s, ir_vid v, const uint8_t *perm) {
    struct ir_type t = s->g->values[v].type;
    if (memcmp(t.perm, perm, t.rank) == 0) return v;
    for (size_t i = 0; i < s->n_made; i++)
        if (s->made[i].from == v && memcmp(s->made[i].perm, perm, t.rank) == 0) return s->made[i].to;
    int64_t order[IR_MAX_RANK];
    for (int i = 0; i < t.rank; i++) order[i] = perm[i];
    ir_vid r = ir_emit(s->g, IR_OP_relayout, &v, 1, IR_ATTRS(IR_IS("order", order, t.rank)));
    memcpy(s->g->values[r].type.perm, perm, t.rank);
    if (s->n_made == s->cap_made) {
        s->cap_made = s->cap_made ? 2 * s->cap_made : 64;
        s->made = xrealloc(s->made, s->cap_made * sizeof *s->made);
    }
    s->made[s->n_made].from = v;
    s->made[s->n_made].to = r;
    memcpy(s->made[s->n_made].perm, perm, t.rank);
    s->n_made++;
    return r;
}

static ir_vid to_channels_last(struct state *s, ir_vid v) {
    struct ir_type t = s->g->values[v].type;
    channels_last(&t);
    return relayout(s, v, t.perm);
}

static ir_vid to_row_major(struct state *s, ir_vid v) {
    struct ir_type t = s->g->values[v].type;
    identity(&t);
    return relayout(s, v, t.perm);
}

// The physical order of a reshape's result when the operand's memory is reinterpreted as it is; false when it can't be.
// Dims are matched in groups of equal product; a group's operand dims must be neighbours in memory, in logical order.
static bool reshape_order(const struct ir_type *in, const struct ir_type *out, uint8_t *perm) {
    int at_of[IR_MAX_RANK], place[IR_MAX_RANK], n_phys = 0; // place: physical rank among dims that are not 1
    for (int i = 0; i < in->rank; i++)
        if (in->dims[in->perm[i]] != 1) place[in->perm[i]] = n_phys++;
    for (int i = 0; i < out->rank; i++) at_of[i] = -1; // physical place of the group an out dim belongs to
    int i = 0, j = 0;
    while (i < in->rank || j < out->rank) {
        while (i < in->rank && in->dims[i] == 1) i++;
        while (j < out->rank && out->dims[j] == 1) j++;
        if (i == in->rank && j == out->rank) break;
        if (i == in->rank || j == out->rank) return false;
        int i0 = i, j0 = j;
        int64_t p = llabs(in->dims[i++]), q = llabs(out->dims[j++]);
        while (p != q) {
            if (p < q) {
                while (i < in->rank && in->dims[i] == 1) i++;
                if (i == in->rank) return false;
                p *= llabs(in->dims[i++]);
            } else {
                while (j < out->rank && out->dims[j] == 1) j++;
                if (j == out->rank) return false;
                q *= llabs(out->dims[j++]);
            }
        }
        int last = -1;
        for (int d = i0; d < i; d++) {
            if (in->dims[d] == 1) continue;
            if (last >= 0 && place[d] != last + 1) return false;
            last = place[d];
        }
        for (int d = j0; d < j; d++)
            if (out->dims[d] != 1) at_of[d] = place[i0];
    }
    // Stable by place; dims of size 1 go where their left neighbour went.
    for (int d = 0; d < out->rank; d++)
        if (at_of[d] < 0) at_of[d] = d ? at_of[d - 1] : -1;
    int n = 0;
    for (int p = -1; p < n_phys; p++)
        for (int d = 0; d < out->rank; d++)
            if (at_of[d] == p) perm[n++] = (uint8_t)d;
    return n == out->rank;
}

// The order a pointwise result inherits: that of an operand with the same dims, channels last before row-major.
static void inherit(struct state *s, const struct ir_node *n, struct ir_type *out) {
    identity(out);
    for (int k = 0; k < n->n_in; k++) {
        const struct ir_type *t = &s->g->values[n->in[k]].type;
        if (t->rank == out->rank && ir_same_dims(t, out) && !ir_is_row_major(t)) {
            memcpy(out->perm, t->perm, IR_MAX_RANK);
            return;
        }
    }
    // A broadcast result (say [N,C,1,1] * [N,C,H,W] both of lower order) follows its largest operand of equal rank.
    for (int k = 0; k < n->n_in; k++) {
        const struct ir_type *t = &s->g->values[n->in[k]].type;
        if (t->rank == out->rank && !ir_is_row_major(t) && ir_is_batched(t) == ir_is_batched(out)) {
            memcpy(out->perm, t->perm, IR_MAX_RANK);
            return;
        }
    }
}

// --- rules: where an op wants its operands, and how its results lie

static void results_row_major(struct state *s, const struct ir_node *n) {
    for (int k = 0; k < n->n_out; k++) identity(&s->g->values[n->out[k]].type);
}

static void rule_row_major(struct state *s, struct ir_node *n) {
    for (int k = 0; k < n->n_in; k++) n->in[k] = to_row_major(s, n->in[k]);
    results_row_major(s, n);
}

// Convolution forward and by its input: weights are packed from ONNX order.
static void rule_conv(struct state *s, struct ir_node *n) {
    n->in[0] = to_channels_last(s, n->in[0]);
    n->in[1] = to_row_major(s, n->in[1]);
    channels_last(&s->g->values[n->out[0]].type);
}

static void rule_conv_grad_w(struct state *s, struct ir_node *n) {
    for (int k = 0; k < n->n_in; k++) n->in[k] = to_channels_last(s, n->in[k]);
    results_row_major(s, n);
}

static void rule_pool(struct state *s, struct ir_node *n) {
    for (int k = 0; k < n->n_in; k++) n->in[k] = to_channels_last(s, n->in[k]);
    for (int k = 0; k < n->n_out; k++) channels_last(&s->g->values[n->out[k]].type);
}

static void rule_reshape(struct state *s, struct ir_node *n) {
    uint8_t perm[IR_MAX_RANK] = {0};
    struct ir_type in = s->g->values[n->in[0]].type, out = s->g->values[n->out[0]].type;
    bool free_move = reshape_order(&in, &out, perm);
    if (!free_move) n->in[0] = to_row_major(s, n->in[0]);
    identity(&out);
    if (free_move) memcpy(out.perm, perm, out.rank);
    s->g->values[n->out[0]].type = out; // by value: a relayout may have moved the array
}

// Whether a transpose moves only the dims that lie innermost in memory, the last `inner` ones there, and keeps the
// order of these and of all others: channels between leading dims and their planes, as 3-D convolutions have them.
static bool moves_inner(const struct ir_type *in, const int64_t *p, int inner) {
    bool is_inner[IR_MAX_RANK] = {false};
    int at = in->rank - inner, last = -1;
    for (int k = at; k < in->rank; k++) is_inner[in->perm[k]] = true;
    for (int i = 0; i < in->rank; i++) {
        if (is_inner[p[i]] ? p[i] != in->perm[at++] : p[i] <= last) return false;
        if (!is_inner[p[i]]) last = (int)p[i];
    }
    return true;
}

// Row-major, but for the transpose in a channel shuffle: N,(a,b),H,W with a,b last in memory, only these two swapped.
// And where channels that are last in memory only change their place among the dims nothing is copied.
static void rule_transpose(struct state *s, struct ir_node *n) {
    const struct ir_type *in = &s->g->values[n->in[0]].type;
    struct ir_type *out = &s->g->values[n->out[0]].type;
    size_t cnt;
    const int64_t *p = ir_attr_ints(n, "perm", &cnt);
    identity(out);
    if (in->rank == 5 && in->perm[0] == 0 && in->perm[1] == 3 && in->perm[2] == 4 && p[0] == 0 && p[3] == 3 &&
        p[4] == 4) {
        memcpy(out->perm, in->perm, IR_MAX_RANK);
        return;
    }
    bool stays = in->rank >= 5 && in->perm[0] == 0 && p[0] == 0 && !ir_is_row_major(in) &&
                 (moves_inner(in, p, 1) || moves_inner(in, p, 2));
    for (int k = 0; stays && k < in->rank; k++)
        for (int i = 0; i < in->rank; i++)
            if (p[i] == in->perm[k]) out->perm[k] = (uint8_t)i;
}

static void rule_pointwise(struct state *s, struct ir_node *n) { inherit(s, n, &s->g->values[n->out[0]].type); }

// Expand, slice and reverse keep the rank and so the order; a reduction does when it keeps its dims.
static void rule_view(struct state *s, struct ir_node *n) {
    const struct ir_type *in = &s->g->values[n->in[0]].type;
    struct ir_type *out = &s->g->values[n->out[0]].type;
    identity(out);
    if (in->rank == out->rank) memcpy(out->perm, in->perm, IR_MAX_RANK);
}

static void rule_reduction(struct state *s, struct ir_node *n) {
    if (ir_attr_i(n, "keepdims"))
        rule_view(s, n);
    else
        results_row_major(s, n);
}

static void rule_join_pad(struct state *s, struct ir_node *n) {
    struct ir_type *out = &s->g->values[n->out[0]].type;
    identity(out);
    for (int k = 0; k < n->n_in; k++) {
        const struct ir_type *t = &s->g->values[n->in[k]].type;
        if (!ir_is_row_major(t)) memcpy(out->perm, t->perm, IR_MAX_RANK);
    }
}

// BatchNorm's sums walk any order; their results are vectors.
static void rule_bn_sums(struct state *s, struct ir_node *n) { results_row_major(s, n); }

typedef void rule(struct state *s, struct ir_node *n);
static rule *const rule_of_kind[] = {
    [IR_KIND_PW] = rule_pointwise,     [IR_KIND_VIEW] = rule_view,        [IR_KIND_RED] = rule_reduction,
    [IR_KIND_KERNEL] = rule_row_major, [IR_KIND_EXPAND] = rule_row_major,
};
static rule *const rule_of_op[IR_OP_COUNT] = {
    // where the kind's will not do
    [IR_OP_conv] = rule_conv,          [IR_OP_conv_grad_x] = rule_conv,       [IR_OP_conv_grad_w] = rule_conv_grad_w,
    [IR_OP_max_pool] = rule_pool,      [IR_OP_max_pool_grad] = rule_pool,     [IR_OP_avg_pool] = rule_pool,
    [IR_OP_avg_pool_grad] = rule_pool, [IR_OP_reshape] = rule_reshape,        [IR_OP_transpose] = rule_transpose,
    [IR_OP_concat] = rule_join_pad,    [IR_OP_interleave] = rule_join_pad,    [IR_OP_pad] = rule_join_pad,
    [IR_OP_bn_stats] = rule_bn_sums,   [IR_OP_bn_grad_reduce] = rule_bn_sums,
};

static void assign(struct state *s, struct ir_node *n) {
    rule *r = rule_of_op[n->op];
    (r ? r : rule_of_kind[ir_ops[n->op].kind])(s, n);
}

// An output must be row-major in memory of its own, written by exactly one node.
static bool owns_memory(const struct ir_graph *g, size_t index) {
    const struct ir_output *o = &g->outputs[index];
    const struct ir_value *v = &g->values[o->value];
    if (v->role != IR_ROLE_NODE || !ir_is_row_major(&v->type)) return false;
    for (size_t i = 0; i < index; i++)
        if (g->outputs[i].value == o->value) return false;
    return g->nodes[v->def].op != IR_OP_reshape;
}

static void own_outputs(struct state *s, enum ir_phase phase, bool last) {
    struct ir_graph *g = s->g;
    for (size_t i = 0; i < g->n_outputs; i++) {
        ir_vid v = g->outputs[i].value;
        bool backward = g->outputs[i].kind == IR_OUT_GRAD_PARAM || g->outputs[i].kind == IR_OUT_GRAD_INPUT;
        if (backward != (phase == IR_BACKWARD) && !last) continue;
        if (owns_memory(g, i)) continue;
        g->cur_phase = phase;
        g->cur_loc = (struct diag_loc){.node = g->outputs[i].name, .note = "output"};
        int64_t order[IR_MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
        ir_vid c = ir_emit(g, IR_OP_relayout, &v, 1, IR_ATTRS(IR_IS("order", order, g->values[v].type.rank)));
        identity(&g->values[c].type);
        g->outputs[i].value = c;
    }
}

enum smkd_status ir_pass_layout(struct ir_graph *g, const struct ir_pass_options *o) {
    (void)o;
    struct state s = {.g = g, .old = g->nodes};
    size_t n_old = g->n_nodes;
    bool backward_seen = false;
    g->nodes = NULL;
    g->n_nodes = g->cap_nodes = 0;
    for (size_t i = 0; i < n_old; i++) {
        struct ir_node n = s.old[i];
        bug_node = n.loc.node;
        if (n.phase == IR_BACKWARD && !backward_seen) {
            own_outputs(&s, IR_FORWARD, false);
            backward_seen = true;
        }
        g->cur_phase = n.phase;
        g->cur_loc = n.loc;
        assign(&s, &n);
        for (int k = 0; k < n.n_out; k++) g->values[n.out[k]].def = (ir_nid)g->n_nodes;
        *ARENA_PUSH(g->arena, g->nodes, g->n_nodes, g->cap_nodes) = n;
    }
    own_outputs(&s, backward_seen ? IR_BACKWARD : IR_FORWARD, true);
    g->cur_phase = IR_FORWARD;
    g->cur_loc = (struct diag_loc){0};
    bug_node = NULL;
    free(s.made);
    return SMKD_OK;
}
