// The static memory plan. Time is the index of a node; a value lives from the node that defines it to the last one that
// reads it, directly or through inline nodes. Values that share memory (a reshape and its operand, a pointwise result
// that overwrites a dying operand) are merged into one allocation; allocations are then placed greedily, largest first,
// at the lowest offset where no placed allocation of overlapping life lies. Per-sample and fixed memory are planned
// apart.
#include "ir_internal.h"

#include <stdlib.h>
#include <string.h>

struct alloc {
    int64_t bytes, offset;
    uint32_t born, dies; // inclusive node indices
    bool batched;
};

struct planner {
    const struct ir_graph *g;
    ir_vid *root;    // by vid: a value whose memory it uses, itself when it has its own; ask root_of
    uint32_t *last;  // by root vid: index of the last reader
    uint32_t *stamp; // by vid: visited at this time (+1)
    bool *is_output; // by vid
    struct alloc *all;
    uint32_t n_all;
    uint32_t *of_value, *of_node; // by root vid, by nid (workspace): index in `all` + 1, 0 for none
};

static int64_t up64(int64_t x) { return (x + 63) & ~INT64_C(63); }

static ir_vid root_of(const struct planner *s, ir_vid v) {
    while (s->root[v] != v) v = s->root[v];
    return v;
}

static bool inline_value(const struct ir_graph *g, ir_vid v) {
    return g->values[v].role == IR_ROLE_NODE && g->nodes[g->values[v].def].is_inline;
}

static void read_at(struct planner *s, ir_vid v, uint32_t t) {
    if (s->stamp[v] == t + 1) return;
    s->stamp[v] = t + 1;
    if (inline_value(s->g, v)) {
        const struct ir_node *n = &s->g->nodes[s->g->values[v].def];
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] != IR_NONE) read_at(s, n->in[k], t);
        return;
    }
    ir_vid r = root_of(s, v);
    if (s->last[r] < t) s->last[r] = t;
}

static bool in_arena(const struct planner *s, ir_vid v) {
    return s->g->values[v].role == IR_ROLE_NODE && !inline_value(s->g, v) && !s->is_output[v];
}

// Do all reads of root `r` in the expression of value v (index space: that of `like`) happen at the index being
// written?
static bool same_index(const struct planner *s, ir_vid v, ir_vid r, const struct ir_type *like, bool direct) {
    const struct ir_value *val = &s->g->values[v];
    direct = direct && ir_same_dims(&val->type, like) && memcmp(val->type.perm, like->perm, like->rank) == 0;
    if (!inline_value(s->g, v)) return root_of(s, v) != r || direct;
    const struct ir_node *n = &s->g->nodes[val->def];
    if (ir_ops[n->op].kind == IR_KIND_VIEW) direct = false;
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] != IR_NONE && !same_index(s, n->in[k], r, like, direct)) return false;
    return true;
}

// A value that dies at node t, the place for t's result `out`: same size and order, read by n (t, or inline under t) at
// no other index than the one being written.
static bool find_victim(struct planner *s, const struct ir_node *n, uint32_t t, const struct ir_type *out,
                        ir_vid *victim) {
    for (int k = 0; k < n->n_in; k++) {
        ir_vid x = n->in[k];
        if (x == IR_NONE) continue;
        if (inline_value(s->g, x)) {
            if (find_victim(s, &s->g->nodes[s->g->values[x].def], t, out, victim)) return true;
            continue;
        }
        ir_vid r = root_of(s, x);
        const struct ir_type *xt = &s->g->values[x].type;
        if (!in_arena(s, x) || !in_arena(s, r) || s->last[r] != t || ir_stored_size(xt) != ir_stored_size(out))
            continue;
        if (!ir_same_dims(xt, out) || memcmp(xt->perm, out->perm, out->rank) != 0) continue;
        if (ir_type_bytes(&s->g->values[r].type) != ir_type_bytes(out)) continue;
        const struct ir_node *top = &s->g->nodes[t];
        bool ok = true;
        for (int j = 0; ok && j < top->n_in; j++)
            if (top->in[j] != IR_NONE) ok = same_index(s, top->in[j], r, out, true);
        if (ok) {
            *victim = r;
            return true;
        }
    }
    return false;
}

static int larger_first(const void *a, const void *b) {
    const struct alloc *const *x = a, *const *y = b;
    if ((*x)->bytes != (*y)->bytes) return (*x)->bytes > (*y)->bytes ? -1 : 1;
    return *x < *y ? -1 : 1; // by age: the same plan on every machine
}
static int lower_first(const void *a, const void *b) {
    const struct alloc *const *x = a, *const *y = b;
    return (*x)->offset<(*y)->offset ? -1 : (*x)->offset>(*y)->offset;
}

// The bytes alive at the busiest of n_nodes moments.
static int64_t widest(const struct alloc *all, size_t n, bool batched, size_t n_nodes) {
    int64_t *change = xcalloc(n_nodes + 1, sizeof *change), live = 0, most = 0;
    for (size_t i = 0; i < n; i++) {
        if (all[i].batched != batched) continue;
        change[all[i].born] += all[i].bytes;
        change[all[i].dies + 1] -= all[i].bytes;
    }
    for (size_t t = 0; t < n_nodes; t++) {
        live += change[t];
        if (live > most) most = live;
    }
    free(change);
    return most;
}

static struct ir_slot arena_slot(const struct alloc *a) {
    return (struct ir_slot){.place = a->batched ? IR_PLACE_SAMPLE : IR_PLACE_FIXED,
                            .offset = a->offset,
                            .bytes = a->bytes,
                            .born = a->born,
                            .dies = a->dies};
}

// Largest first, each at the lowest offset that is free for all of its life. Returns the bytes needed.
static int64_t place(struct alloc *all, size_t n, bool batched) {
    struct alloc **order = xcalloc(n + 1, sizeof *order), **busy = xcalloc(n + 1, sizeof *busy);
    size_t m = 0;
    int64_t total = 0;
    for (size_t i = 0; i < n; i++)
        if (all[i].batched == batched && all[i].bytes) order[m++] = &all[i];
    qsort(order, m, sizeof *order, larger_first);
    for (size_t i = 0; i < m; i++) {
        struct alloc *a = order[i];
        size_t nb = 0;
        for (size_t j = 0; j < i; j++)
            if (order[j]->born <= a->dies && a->born <= order[j]->dies) busy[nb++] = order[j];
        qsort(busy, nb, sizeof *busy, lower_first);
        int64_t at = 0;
        for (size_t j = 0; j < nb && at + a->bytes > busy[j]->offset; j++)
            if (busy[j]->offset + busy[j]->bytes > at) at = busy[j]->offset + busy[j]->bytes;
        a->offset = at;
        if (at + a->bytes > total) total = at + a->bytes;
    }
    free(order);
    free(busy);
    return total;
}

static void begin(struct planner *s, const struct ir_graph *g) {
    *s = (struct planner){.g = g};
    s->root = xcalloc(g->n_values + 1, sizeof *s->root);
    s->last = xcalloc(g->n_values + 1, sizeof *s->last);
    s->stamp = xcalloc(g->n_values + 1, sizeof *s->stamp);
    s->is_output = xcalloc(g->n_values + 1, 1);
    s->all = xcalloc(g->n_values + g->n_nodes + 1, sizeof *s->all);
    s->of_value = xcalloc(g->n_values + 1, sizeof *s->of_value);
    s->of_node = xcalloc(g->n_nodes + 1, sizeof *s->of_node);
    for (size_t v = 0; v < g->n_values; v++) s->root[v] = (ir_vid)v;
    for (size_t i = 0; i < g->n_outputs; i++) s->is_output[g->outputs[i].value] = true;
}

static void end(struct planner *s) {
    free(s->root);
    free(s->last);
    free(s->stamp);
    free(s->is_output);
    free(s->all);
    free(s->of_value);
    free(s->of_node);
}

// Makes reshapes aliases and finds who reads each value last.
static void find_lives(struct planner *s) {
    for (uint32_t i = 0; i < s->g->n_nodes; i++) {
        const struct ir_node *n = &s->g->nodes[i];
        if (n->is_inline) continue;
        bug_node = n->loc.node;
        if (n->op == IR_OP_reshape) {
            CHECK(!s->is_output[n->out[0]] && !inline_value(s->g, n->in[0]),
                  "a reshape that is an output, or of an inline value, reached the plan");
            s->root[n->out[0]] = n->in[0];
        }
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] != IR_NONE) read_at(s, n->in[k], i);
        for (int k = 0; k < n->n_out; k++) {
            ir_vid r = root_of(s, n->out[k]);
            if (s->last[r] < i) s->last[r] = i;
        }
    }
}

// Lets pointwise results take the memory of an operand that dies with them.
static void overwrite(struct planner *s) {
    for (uint32_t i = 0; i < s->g->n_nodes; i++) {
        const struct ir_node *n = &s->g->nodes[i];
        ir_vid victim;
        if (n->is_inline || ir_ops[n->op].kind != IR_KIND_PW || !in_arena(s, n->out[0])) continue;
        if (!find_victim(s, n, i, &s->g->values[n->out[0]].type, &victim)) continue;
        s->last[victim] = s->last[n->out[0]];
        s->root[n->out[0]] = victim; // and with it what aliases the result
    }
}

static uint32_t want(struct planner *s, int64_t bytes, uint32_t born, uint32_t dies, bool batched) {
    s->all[s->n_all] = (struct alloc){.bytes = up64(bytes), .born = born, .dies = dies, .batched = batched};
    return ++s->n_all;
}

// One allocation per root in the arena, and one per workspace.
static void collect(struct planner *s, const struct ir_plan_options *o) {
    for (uint32_t i = 0; i < s->g->n_nodes; i++) {
        const struct ir_node *n = &s->g->nodes[i];
        if (n->is_inline) continue;
        for (int k = 0; k < n->n_out; k++) {
            ir_vid v = n->out[k];
            const struct ir_type *t = &s->g->values[v].type;
            if (s->root[v] == v && in_arena(s, v))
                s->of_value[v] = want(s, (int64_t)ir_type_bytes(t), i, s->last[v], ir_is_batched(t));
        }
        int64_t fixed = 0, per_sample = 0;
        if (o->workspace) o->workspace(o->env, s->g, i, &fixed, &per_sample);
        CHECK(!fixed || !per_sample, "a workspace is fixed or per sample, not both");
        bool stays = o->workspace_stays && o->workspace_stays(o->env, s->g, i);
        uint32_t born = stays ? 0 : i, dies = stays ? (uint32_t)s->g->n_nodes - 1 : i;
        if (fixed || per_sample) s->of_node[i] = want(s, fixed + per_sample, born, dies, per_sample > 0);
    }
}

struct ir_plan *ir_plan_make(const struct ir_graph *g, const struct ir_plan_options *o) {
    bug_pass = "plan";
    struct planner s;
    begin(&s, g);
    find_lives(&s);
    overwrite(&s);
    collect(&s, o);
    bug_node = NULL;
    struct ir_plan *p = ARENA_NEW(g->arena, struct ir_plan);
    p->values = ARENA_ARRAY(g->arena, struct ir_slot, g->n_values + 1);
    p->workspace = ARENA_ARRAY(g->arena, struct ir_slot, g->n_nodes + 1);
    p->sample_bytes = place(s.all, s.n_all, true);
    p->fixed_bytes = place(s.all, s.n_all, false);
    p->sample_bound = widest(s.all, s.n_all, true, g->n_nodes);
    p->fixed_bound = widest(s.all, s.n_all, false, g->n_nodes);
    for (size_t v = 0; v < g->n_values; v++) {
        if (g->values[v].role != IR_ROLE_NODE) p->values[v] = o->boundary(o->env, g, (ir_vid)v);
        if (s.of_value[v]) p->values[v] = arena_slot(&s.all[s.of_value[v] - 1]);
    }
    for (size_t i = 0; i < g->n_outputs; i++) p->values[g->outputs[i].value] = o->output(o->env, g, i);
    for (size_t v = 0; v < g->n_values; v++)
        if (s.root[v] != v) p->values[v] = p->values[root_of(&s, (ir_vid)v)];
    for (size_t i = 0; i < g->n_nodes; i++)
        if (s.of_node[i]) p->workspace[i] = arena_slot(&s.all[s.of_node[i] - 1]);
    end(&s);
    bug_pass = NULL;
    return p;
}

static const char *const place_name[] = {
    [IR_PLACE_NONE] = "inline", [IR_PLACE_SAMPLE] = "sample", [IR_PLACE_FIXED] = "fixed",
    [IR_PLACE_CONST] = "const", [IR_PLACE_INPUT] = "input",   [IR_PLACE_OUTPUT] = "output",
    [IR_PLACE_PARAM] = "param", [IR_PLACE_GRAD] = "grad",     [IR_PLACE_SCALAR] = "scalar",
};

static void print_slot(const struct ir_slot *s, struct str *out) {
    char life[32] = "";
    if (s->place == IR_PLACE_SAMPLE || s->place == IR_PLACE_FIXED)
        snprintf(life, sizeof life, "[%u-%u]", s->born, s->dies);
    str_addf(out, " %-7s %12lld +%-10lld %-13s", place_name[s->place], (long long)s->offset, (long long)s->bytes, life);
}

void ir_plan_print(const struct ir_graph *g, const struct ir_plan *p, struct str *out) {
    str_addf(out, "// plan of @%s: %lld bytes per sample (at least %lld), %lld fixed (at least %lld)\n", g->name,
             (long long)p->sample_bytes, (long long)p->sample_bound, (long long)p->fixed_bytes,
             (long long)p->fixed_bound);
    str_add(out, "// node value   place         offset +bytes      [life]        op  // ONNX node\n");
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct ir_node *n = &g->nodes[i];
        if (n->is_inline) continue;
        for (int k = 0; k < n->n_out; k++) {
            str_addf(out, "%7zu %%%-6u", i, n->out[k]);
            print_slot(&p->values[n->out[k]], out);
            str_addf(out, " %s%s%s\n", ir_ops[n->op].name, n->loc.node ? "  // " : "", n->loc.node ? n->loc.node : "");
        }
        if (p->workspace[i].place == IR_PLACE_NONE) continue;
        str_addf(out, "%7zu work   ", i);
        print_slot(&p->workspace[i], out);
        str_addf(out, " %s\n", ir_ops[n->op].name);
    }
}
