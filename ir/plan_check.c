// Whether a memory plan is safe, found out again from the graph and the bytes alone: nothing of how the plan was made
// is used, least of all the lives written in it. What is read from ir_plan_options is what the plan was asked for.
//
// Offsets and sizes of per-sample memory both grow with the batch, [N * offset, N * (offset + bytes)), so two pieces
// that are apart for one sample are apart for any N; and the fixed part ends where the samples begin.
//
// Time: 0 is before the run, node i runs at i + 1, and n_nodes + 1 is after it.
#include "ir_internal.h"

#include <stdlib.h>
#include <string.h>

// A piece of memory from when it is first written to when it is last read, both included.
struct life {
    enum ir_place place;
    int64_t offset, bytes;
    uint32_t born, dies;
    ir_vid value; // IR_NONE: the workspace of `node`
    ir_nid node;
};

struct checker {
    const struct ir_graph *g;
    const struct ir_plan *p;
    uint32_t *dies;  // by vid of a value with memory of its own
    uint32_t *stamp; // by vid: when it was touched last
    struct life *live;
    size_t n_live;
    struct str *out;
};

static bool has_no_memory(const struct ir_graph *g, ir_vid v) {
    return g->values[v].role == IR_ROLE_NODE && g->nodes[g->values[v].def].is_inline;
}

// The value whose memory v is: a reshape is its operand.
static ir_vid owner(const struct ir_graph *g, ir_vid v) {
    while (g->values[v].role == IR_ROLE_NODE && !has_no_memory(g, v) && g->nodes[g->values[v].def].op == IR_OP_reshape)
        v = g->nodes[g->values[v].def].in[0];
    return v;
}

// v is read at t: it, or, when it is inline, all that its expression reads.
static void touch(struct checker *c, ir_vid v, uint32_t t) {
    if (c->stamp[v] == t) return;
    c->stamp[v] = t;
    if (!has_no_memory(c->g, v)) {
        c->dies[owner(c->g, v)] = t; // nodes come in order: the last one counts
        return;
    }
    const struct ir_node *n = &c->g->nodes[c->g->values[v].def];
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] != IR_NONE) touch(c, n->in[k], t);
}

static void find_deaths(struct checker *c) {
    uint32_t after = (uint32_t)c->g->n_nodes + 1;
    for (uint32_t i = 0; i < c->g->n_nodes; i++) {
        const struct ir_node *n = &c->g->nodes[i];
        if (n->is_inline) continue;
        for (int k = 0; k < n->n_out; k++) c->dies[n->out[k]] = i + 1;
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] != IR_NONE) touch(c, n->in[k], i + 1);
    }
    // What the caller is given, and what the next run starts from, is never overwritten; a buffer is, by its new value.
    for (size_t i = 0; i < c->g->n_outputs; i++) c->dies[owner(c->g, c->g->outputs[i].value)] = after;
    for (size_t i = 0; i < c->g->n_boundary; i++)
        if (c->g->values[c->g->boundary[i]].role == IR_ROLE_PARAM) c->dies[c->g->boundary[i]] = after;
}

// Whether the expression v, computed for one element of a result of type `like`, reads the memory of `old` at that very
// element alone. An element lies where the result's will only in a value of the same dims, order and element size.
static bool reads_one_element(const struct ir_graph *g, ir_vid v, ir_vid old, const struct ir_type *like, bool same) {
    const struct ir_type *t = &g->values[v].type;
    same = same && ir_same_dims(t, like) && memcmp(t->perm, like->perm, like->rank) == 0;
    if (!has_no_memory(g, v))
        return owner(g, v) != old || (same && ir_dtype_size(t->dtype) == ir_dtype_size(like->dtype));
    const struct ir_node *n = &g->nodes[g->values[v].def];
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] != IR_NONE && !reads_one_element(g, n->in[k], old, like, same && ir_ops[n->op].kind == IR_KIND_PW))
            return false;
    return true;
}

// Whether `now` may lie where `old` still is: the result of a pointwise node, exactly over what dies with it.
static bool may_overwrite(const struct ir_graph *g, const struct life *old, const struct life *now) {
    if (old->value == IR_NONE || now->value == IR_NONE || old->born == now->born || old->dies != now->born ||
        old->offset != now->offset || ir_ops[g->nodes[now->node].op].kind != IR_KIND_PW)
        return false;
    const struct ir_node *n = &g->nodes[now->node];
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] != IR_NONE && !reads_one_element(g, n->in[k], old->value, &g->values[now->value].type, true))
            return false;
    return true;
}

static void tell(struct checker *c, const struct life *l) {
    if (l->value == IR_NONE)
        str_addf(c->out, "the workspace of node %u", l->node);
    else
        str_addf(c->out, "%%%u", l->value);
    str_addf(c->out, " (%lld + %lld bytes, alive %u-%u)", (long long)l->offset, (long long)l->bytes, l->born, l->dies);
}

static bool in_arena(const struct life *l) { return l->place == IR_PLACE_SAMPLE || l->place == IR_PLACE_FIXED; }

// Lives come in the order of their births.
static bool begin(struct checker *c, const struct life *now) {
    int64_t room = now->place == IR_PLACE_SAMPLE ? c->p->sample_bytes : c->p->fixed_bytes;
    if (in_arena(now) && (now->offset < 0 || now->offset % 64 || now->bytes > room - now->offset)) {
        tell(c, now);
        str_addf(c->out, " is not within the %lld bytes there are, or not aligned", (long long)room);
        return false;
    }
    size_t kept = 0;
    for (size_t i = 0; i < c->n_live; i++) {
        const struct life *old = &c->live[i];
        if (old->dies < now->born) continue;
        bool apart = old->place != now->place || old->offset + old->bytes <= now->offset ||
                     now->offset + now->bytes <= old->offset;
        if (!apart && !may_overwrite(c->g, old, now)) {
            tell(c, now);
            str_add(c->out, " is written over ");
            tell(c, old);
            return false;
        }
        c->live[kept++] = *old;
    }
    c->live[kept++] = *now;
    c->n_live = kept;
    return true;
}

static bool check_value(struct checker *c, ir_vid v, ir_nid node, uint32_t born) {
    const struct ir_slot *s = &c->p->values[v], *o = &c->p->values[owner(c->g, v)];
    const struct ir_type *t = &c->g->values[v].type;
    if (owner(c->g, v) != v) {
        if (s->place == o->place && s->offset == o->offset && s->index == o->index) return true;
        str_addf(c->out, "%%%u is not where its operand is", v);
        return false;
    }
    // As many bytes as the type has: a slot that says less would let its neighbour come too near.
    struct life l = {s->place, s->offset, (int64_t)ir_type_bytes(t), born, c->dies[v], v, node};
    if (s->place == IR_PLACE_NONE || (in_arena(&l) && (s->place == IR_PLACE_SAMPLE) != ir_is_batched(t))) {
        str_addf(c->out, "%%%u has no memory, or memory that does not grow as it does", v);
        return false;
    }
    // The others are behind pointers of the caller's, one each.
    bool shared = in_arena(&l) || s->place == IR_PLACE_PARAM || s->place == IR_PLACE_GRAD;
    return !shared || begin(c, &l);
}

static bool check_workspace(struct checker *c, const struct ir_plan_options *o, ir_nid node, uint32_t born,
                            uint32_t dies) {
    int64_t fixed = 0, per_sample = 0;
    if (o->workspace) o->workspace(o->env, c->g, node, &fixed, &per_sample);
    if (!fixed && !per_sample) return true;
    const struct ir_slot *s = &c->p->workspace[node];
    struct life l = {s->place, s->offset, fixed + per_sample, born, dies, IR_NONE, node};
    if (s->place == (fixed ? IR_PLACE_FIXED : IR_PLACE_SAMPLE)) return begin(c, &l);
    str_addf(c->out, "node %u lacks its workspace", node);
    return false;
}

static bool check_outputs(struct checker *c, const struct ir_plan_options *o) {
    for (size_t i = 0; i < c->g->n_outputs; i++) {
        struct ir_slot want = o->output(o->env, c->g, i), got = c->p->values[c->g->outputs[i].value];
        if (want.place == got.place && want.offset == got.offset && want.index == got.index) continue;
        str_addf(c->out, "output %zu is not where it was asked for", i);
        return false;
    }
    return true;
}

static bool check(struct checker *c, const struct ir_plan_options *o) {
    const struct ir_graph *g = c->g;
    uint32_t after = (uint32_t)g->n_nodes + 1;
    for (ir_nid i = 0; i < g->n_nodes; i++) // what outlives the run is nobody else's at any time
        if (!g->nodes[i].is_inline && o->workspace_stays && o->workspace_stays(o->env, g, i) &&
            !check_workspace(c, o, i, 0, after))
            return false;
    for (size_t i = 0; i < g->n_boundary; i++)
        if (!check_value(c, g->boundary[i], IR_NONE, 0)) return false;
    for (ir_nid i = 0; i < g->n_nodes; i++) {
        const struct ir_node *n = &g->nodes[i];
        if (n->is_inline) continue;
        for (int k = 0; k < n->n_out; k++)
            if (!check_value(c, n->out[k], i, i + 1)) return false;
        bool stays = o->workspace_stays && o->workspace_stays(o->env, g, i);
        if (!stays && !check_workspace(c, o, i, i + 1, i + 1)) return false;
    }
    return check_outputs(c, o);
}

bool ir_plan_check(const struct ir_graph *g, const struct ir_plan_options *o, const struct ir_plan *p,
                   struct str *out) {
    struct checker c = {.g = g, .p = p, .out = out};
    c.dies = xcalloc(g->n_values + 1, sizeof *c.dies);
    c.stamp = xcalloc(g->n_values + 1, sizeof *c.stamp);
    c.live = xcalloc(g->n_values + g->n_nodes + 1, sizeof *c.live);
    find_deaths(&c);
    bool good = check(&c, o);
    free(c.dies);
    free(c.stamp);
    free(c.live);
    return good;
}
