// Reverse-mode differentiation, graph to graph. One sweep over the nodes from last to first: a node whose results have
// cotangents asks its op's vjp hook for those of its operands, and contributions to one value are added up in that
// fixed order. Only values that depend on something wanted are followed; the derivative nodes are ordinary nodes.
#include "ir_internal.h"
#include "ops/ops_internal.h"

#include <string.h>

struct sweep {
    struct ir_graph *g;
    struct arena scratch;     // released when the sweep ends
    size_t n_values, n_nodes; // the graph before it grew
    bool *wanted;             // per value: a leaf that is asked for, or depends on one through differentiable ops
    bool *reached;            // per value: some seed depends on it
    ir_vid *cotangent;        // per value: the sum so far, or IR_NONE
    struct parts {            // per value: the sum in parts, from the first one on that may be joined with others
        ir_vid *v;
        size_t n, cap;
    } *parts;
};

static bool is_float(const struct ir_graph *g, ir_vid v) { return ir_is_float(g->values[v].type.dtype); }

static void sweep_init(struct sweep *s, struct ir_graph *g) {
    *s = (struct sweep){.g = g, .n_values = g->n_values, .n_nodes = g->n_nodes};
    arena_init(&s->scratch);
    s->wanted = ARENA_ARRAY(&s->scratch, bool, s->n_values);
    s->reached = ARENA_ARRAY(&s->scratch, bool, s->n_values);
    s->cotangent = ARENA_ARRAY(&s->scratch, ir_vid, s->n_values);
    s->parts = ARENA_ARRAY(&s->scratch, struct parts, s->n_values);
    for (size_t v = 0; v < s->n_values; v++) s->cotangent[v] = IR_NONE;
}

// Spreads `wanted` from the leaves to everything that depends on them. Integer and boolean results cut the path, and so
// does an op whose gradient is zero by definition (stop_gradient, floor, ...).
static void spread_wanted(struct sweep *s) {
    for (size_t i = 0; i < s->n_nodes; i++) {
        const struct ir_node *n = &s->g->nodes[i];
        bool any = false;
        for (size_t k = 0; k < n->n_in; k++) any |= n->in[k] != IR_NONE && s->wanted[n->in[k]];
        if (!any || ir_ops[n->op].vjp == ir_vjp_zero) continue;
        for (size_t j = 0; j < n->n_out; j++) s->wanted[n->out[j]] |= is_float(s->g, n->out[j]);
    }
}

static bool has_reached_result(const struct sweep *s, const struct ir_node *n) {
    for (size_t j = 0; j < n->n_out; j++)
        if (s->reached[n->out[j]] && s->wanted[n->out[j]]) return true;
    return false;
}

// Spreads `reached` from the seeds to their operands and reports every node in between that has no gradient.
static bool check_paths(struct sweep *s) {
    bool ok = true;
    for (size_t i = s->n_nodes; i-- > 0;) {
        const struct ir_node *n = &s->g->nodes[i];
        if (!has_reached_result(s, n)) continue;
        bool follows = false;
        for (size_t k = 0; k < n->n_in; k++) {
            if (n->in[k] == IR_NONE || !s->wanted[n->in[k]]) continue;
            s->reached[n->in[k]] = follows = true;
        }
        if (!follows || ir_ops[n->op].vjp) continue;
        diag_error(s->g->diag, &n->loc, "operation %s has no gradient, but a trainable value is computed through it",
                   ir_ops[n->op].name);
        ok = false;
    }
    return ok;
}

static void contribute(struct sweep *s, ir_vid v, ir_vid d) {
    CHECK(ir_same_dims(ir_typeof(s->g, v), ir_typeof(s->g, d)) &&
              ir_typeof(s->g, v)->dtype == ir_typeof(s->g, d)->dtype,
          "the gradient of value %u has another type than the value", (unsigned)v);
    struct parts *p = &s->parts[v];
    if (p->n || ir_may_join(s->g, d)) {
        if (s->cotangent[v] != IR_NONE) *ARENA_PUSH(&s->scratch, p->v, p->n, p->cap) = s->cotangent[v];
        s->cotangent[v] = IR_NONE;
        *ARENA_PUSH(&s->scratch, p->v, p->n, p->cap) = d;
        return;
    }
    s->cotangent[v] = s->cotangent[v] == IR_NONE ? d : ir_add(s->g, s->cotangent[v], d);
}

// The sum of all contributions to v, of which there will be no more; IR_NONE: there are none.
static ir_vid total(struct sweep *s, ir_vid v) {
    struct parts *p = &s->parts[v];
    if (p->n == 0) return s->cotangent[v];
    const struct diag_loc loc = s->g->cur_loc;
    if (s->g->values[p->v[0]].def != IR_NONE) s->g->cur_loc = s->g->nodes[s->g->values[p->v[0]].def].loc;
    s->cotangent[v] = ir_sum_of_parts(s->g, p->v, p->n);
    s->g->cur_loc = loc;
    p->n = 0;
    return s->cotangent[v];
}

static void differentiate_node(struct sweep *s, ir_nid id) {
    struct ir_graph *g = s->g;
    size_t n_in = g->nodes[id].n_in, n_out = g->nodes[id].n_out;
    ir_vid *in = g->nodes[id].in, dout[8]; // operand arrays stay where they are when the graph grows
    bool any = false;
    CHECK(n_out <= sizeof dout / sizeof *dout, "op %s has too many results", ir_ops[g->nodes[id].op].name);
    for (size_t j = 0; j < n_out; j++) {
        ir_vid y = g->nodes[id].out[j];
        dout[j] = s->wanted[y] ? total(s, y) : IR_NONE;
        any |= dout[j] != IR_NONE;
    }
    if (!any) return;
    ir_vid *din = ARENA_ARRAY(&s->scratch, ir_vid, n_in);
    bool *want = ARENA_ARRAY(&s->scratch, bool, n_in), follows = false;
    for (size_t k = 0; k < n_in; k++) {
        din[k] = IR_NONE;
        want[k] = in[k] != IR_NONE && s->wanted[in[k]];
        follows |= want[k];
    }
    if (!follows) return;
    g->cur_loc = g->nodes[id].loc;
    g->cur_loc.note = "gradient of";
    ir_ops[g->nodes[id].op].vjp(g, id, dout, want, din);
    for (size_t k = 0; k < n_in; k++)
        if (want[k] && din[k] != IR_NONE) contribute(s, in[k], din[k]);
}

// Everything between the marked leaves and the seeded values.
static void sweep_run(struct sweep *s) {
    struct diag_loc loc = s->g->cur_loc;
    for (size_t i = s->n_nodes; i-- > 0;) differentiate_node(s, (ir_nid)i);
    s->g->cur_loc = loc;
}

static ir_vid filled(struct ir_graph *g, const struct ir_type *t, double value) {
    return ir_emit(
        g, IR_OP_fill, NULL, 0,
        IR_ATTRS(IR_IS("shape", t->dims, t->rank), IR_F("value", value), IR_S("dtype", ir_dtype_name(t->dtype))));
}

// --- a model's gradient --------------------------------------------------------------------------------------------

static bool is_named(const char *name, const char *const *of, size_t n_of) {
    for (size_t i = 0; i < n_of; i++)
        if (name && !strcmp(name, of[i])) return true;
    return false;
}

static bool check_names(struct ir_graph *g, const char *const *of, size_t n_of) {
    bool ok = true;
    for (size_t i = 0; of && i < n_of; i++) {
        bool found = false;
        for (size_t k = 0; k < g->n_outputs; k++) {
            const struct ir_output *o = &g->outputs[k];
            found |=
                o->kind == IR_OUT_OUTPUT && g->values[o->value].type.dtype == IR_F32 && is_named(o->name, &of[i], 1);
        }
        if (!found) diag_error(g->diag, NULL, "the model has no f32 output '%s' to differentiate", of[i]);
        ok &= found;
    }
    return ok;
}

static bool is_output(const struct ir_graph *g, ir_vid v) {
    for (size_t k = 0; k < g->n_outputs; k++)
        if (g->outputs[k].value == v) return true;
    return false;
}

// An output of its own for the gradient of leaf v: zeros where nothing arrived, a copy where the sum is a boundary
// value or already another output.
static void output_gradient(struct sweep *s, ir_vid v, enum ir_out_kind kind) {
    struct ir_graph *g = s->g;
    ir_vid d = total(s, v);
    struct ir_type t = *ir_typeof(g, v);
    g->cur_loc = (struct diag_loc){.node = g->values[v].name, .note = "gradient of"};
    if (d == IR_NONE)
        d = filled(g, &t, 0);
    else if (g->values[d].def == IR_NONE || is_output(g, d))
        d = ir_unary(g, IR_OP_copy, d);
    ir_set_output(g, kind, g->values[v].name, d);
}

// Marks the trainable leaves; `role` PARAM or INPUT.
static void want_role(struct sweep *s, enum ir_role role) {
    for (size_t b = 0; b < s->g->n_boundary; b++) {
        ir_vid v = s->g->boundary[b];
        if (s->g->values[v].role == role && s->g->values[v].type.dtype == IR_F32) s->wanted[v] = true;
    }
}

static void output_role(struct sweep *s, enum ir_role role, enum ir_out_kind kind) {
    for (size_t b = 0; b < s->g->n_boundary; b++) {
        ir_vid v = s->g->boundary[b];
        if (v < s->n_values && s->g->values[v].role == role && s->g->values[v].type.dtype == IR_F32)
            output_gradient(s, v, kind);
    }
}

enum smkd_status ir_differentiate(struct ir_graph *g, const char *const *of, size_t n_of, bool inputs) {
    if (!check_names(g, of, n_of)) return SMKD_INVALID;
    struct sweep s;
    sweep_init(&s, g);
    want_role(&s, IR_ROLE_PARAM);
    if (inputs) want_role(&s, IR_ROLE_INPUT);
    spread_wanted(&s);
    size_t n_outputs = g->n_outputs; // gradients are appended behind
    bool *seeded = ARENA_ARRAY(&s.scratch, bool, n_outputs);
    for (size_t k = 0; k < n_outputs; k++) {
        const struct ir_output *o = &g->outputs[k];
        seeded[k] = o->kind == IR_OUT_OUTPUT && g->values[o->value].type.dtype == IR_F32 &&
                    (!of || is_named(o->name, of, n_of));
        if (seeded[k]) s.reached[o->value] = true;
    }
    if (!check_paths(&s)) {
        arena_release(&s.scratch);
        return SMKD_UNSUPPORTED;
    }
    enum ir_phase phase = g->cur_phase;
    struct diag_loc loc = g->cur_loc;
    g->cur_phase = IR_BACKWARD;
    for (size_t k = 0; k < n_outputs; k++) {
        if (!seeded[k]) continue;
        ir_vid y = g->outputs[k].value;
        struct ir_type t = *ir_typeof(g, y);
        t = ir_type_make(t.dtype, t.rank, t.dims);
        g->cur_loc = (struct diag_loc){.node = g->outputs[k].name, .note = "gradient of"};
        ir_vid dy = ir_boundary(g, IR_ROLE_COTANGENT, t, g->outputs[k].name, NULL);
        if (s.wanted[y]) contribute(&s, y, dy);
    }
    sweep_run(&s);
    output_role(&s, IR_ROLE_PARAM, IR_OUT_GRAD_PARAM);
    if (inputs) output_role(&s, IR_ROLE_INPUT, IR_OUT_GRAD_INPUT);
    g->cur_phase = phase;
    g->cur_loc = loc;
    arena_release(&s.scratch);
    return SMKD_OK;
}

// --- parameters that no gradient reaches ---------------------------------------------------------------------------

// Where gradients would start: the float outputs; in a graph that is not whole, every value that nothing reads, too.
static void reach_ends(struct sweep *s, bool whole) {
    const struct ir_graph *g = s->g;
    for (size_t k = 0; k < g->n_outputs; k++)
        if (g->outputs[k].kind == IR_OUT_OUTPUT) s->reached[g->outputs[k].value] = true;
    if (whole) return;
    bool *read = ARENA_ARRAY(&s->scratch, bool, s->n_values);
    for (size_t i = 0; i < s->n_nodes; i++)
        for (size_t k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] != IR_NONE) read[g->nodes[i].in[k]] = true;
    for (size_t v = 0; v < s->n_values; v++) s->reached[v] |= !read[v];
}

// Follows what depends on lost parameters up to the nodes that no gradient comes back through, and names those.
static void report_cuts(const struct sweep *s, bool *lost) {
    for (size_t i = 0; i < s->n_nodes; i++) {
        const struct ir_node *n = &s->g->nodes[i];
        bool any = false, goes_on = false;
        for (size_t k = 0; k < n->n_in; k++) any |= n->in[k] != IR_NONE && lost[n->in[k]];
        if (!any) continue;
        for (size_t j = 0; j < n->n_out; j++) goes_on |= lost[n->out[j]] = s->wanted[n->out[j]];
        if (goes_on) continue;
        diag_warning(s->g->diag, &n->loc,
                     "operation %s has no gradient; parameters that act only through it will not be trained",
                     ir_ops[n->op].name);
    }
}

size_t ir_report_untrained(struct ir_graph *g, bool whole) {
    struct sweep s;
    sweep_init(&s, g);
    want_role(&s, IR_ROLE_PARAM);
    spread_wanted(&s);
    reach_ends(&s, whole);
    for (size_t i = s.n_nodes; i-- > 0;) {
        const struct ir_node *n = &g->nodes[i];
        if (!has_reached_result(&s, n)) continue;
        for (size_t k = 0; k < n->n_in; k++)
            if (n->in[k] != IR_NONE && s.wanted[n->in[k]]) s.reached[n->in[k]] = true;
    }
    bool *lost = ARENA_ARRAY(&s.scratch, bool, s.n_values);
    size_t n_lost = 0;
    for (size_t b = 0; b < g->n_boundary; b++) {
        const ir_vid v = g->boundary[b];
        if (g->values[v].role == IR_ROLE_PARAM && s.wanted[v] && !s.reached[v]) n_lost += lost[v] = true;
    }
    if (n_lost) report_cuts(&s, lost);
    arena_release(&s.scratch);
    return n_lost;
}

// --- gradients of losses -------------------------------------------------------------------------------------------

static enum smkd_status gradient_of_seed(struct ir_graph *g, const struct ir_grad_seed *seed, ir_vid *d) {
    struct sweep s;
    struct ir_type loss = *ir_typeof(g, seed->loss), wrt = *ir_typeof(g, seed->wrt);
    sweep_init(&s, g);
    s.wanted[seed->wrt] = is_float(g, seed->wrt);
    spread_wanted(&s);
    s.reached[seed->loss] = true;
    bool ok = check_paths(&s);
    if (ok) {
        if (s.wanted[seed->loss]) contribute(&s, seed->loss, filled(g, &loss, 1));
        sweep_run(&s);
        *d = total(&s, seed->wrt);
        if (*d == IR_NONE) *d = filled(g, &wrt, 0);
    }
    arena_release(&s.scratch);
    return ok ? SMKD_OK : SMKD_UNSUPPORTED;
}

enum smkd_status ir_gradients(struct ir_graph *g, const struct ir_grad_seed *seeds, size_t n, ir_vid *d) {
    enum smkd_status status = SMKD_OK;
    for (size_t i = 0; i < n; i++) {
        d[i] = IR_NONE;
        enum smkd_status one = gradient_of_seed(g, &seeds[i], &d[i]);
        if (one != SMKD_OK) status = one;
    }
    return status;
}
