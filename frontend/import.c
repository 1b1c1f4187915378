// The importer's driver: initializers, one table row per node, functions inlined; inputs and outputs are boundary.c's.
// What single operators mean is in import_*.c. Errors do not stop it: a node that fails leaves `unknown` values, and
// their users stay silent.
#include "functions.h"
#include "scope.h"

#include <string.h>

static const struct row {
    const char *op;
    int since;
    fe_import_fn *fn;
    int arg;
} rows[] = {
#define IMPORT(type, since, fn, arg) {type, since, fe_op_##fn, arg},
#include "import_ops.def"
#undef IMPORT
};
#define N_ROWS    (sizeof rows / sizeof *rows)
#define MAX_DEPTH 32 // of functions calling functions and If inside If
// What functions that call functions twice each would make thousands of millions of; and what is bound by name, one by
// one.
enum { MAX_NODES = 1 << 18, MAX_ENDS = 4096 };

static const struct row *find_row(const char *op, int opset, bool *known) {
    const struct row *best = NULL;
    *known = false;
    for (size_t i = 0; i < N_ROWS; i++) {
        if (strcmp(rows[i].op, op)) continue;
        *known = true;
        if (rows[i].since <= opset && (!best || rows[i].since > best->since)) best = &rows[i];
    }
    return best;
}

static bool default_domain(const char *d) { return !d || !*d || !strcmp(d, "ai.onnx"); }

// What a row is called: the operator, with its domain in front where it is not ONNX's own.
static const char *full_name(struct fe_ctx *c, const struct fe_node *n) {
    return default_domain(n->p->domain) ? n->op : arena_printf(c->a, "%s.%s", n->p->domain, n->op);
}

const Onnx__FunctionProto *fe_find_function(const Onnx__ModelProto *m, const Onnx__NodeProto *p) {
    const char *dom = p->domain ? p->domain : "";
    for (size_t i = 0; i < m->n_functions; i++) {
        const Onnx__FunctionProto *f = m->functions[i];
        if (f->name && p->op_type && !strcmp(f->name, p->op_type) && !strcmp(f->domain ? f->domain : "", dom)) return f;
    }
    return NULL;
}

static bool run_function(struct fe_ctx *c, struct fe_node *n, const Onnx__FunctionProto *f) {
    if (c->depth >= MAX_DEPTH) return fe_fail(c, n, "functions call each other more than %d deep", MAX_DEPTH);
    struct fe_scope s = {.call = n, .fn = f};
    s.defaults = fe_function_defaults(c->a, f, &s.n_defaults);
    for (size_t i = 0; i < f->n_input; i++) {
        struct fe_slot *slot = fe_scope_add(&s, c->a, f->input[i]);
        slot->val = fe_arg(n, i);
        if (!slot->val) slot->val = fe_val_new(c, ""); // absent: resolved to "no operand" below
    }
    int opset = c->opset;
    for (size_t i = 0; i < f->n_opset_import; i++)
        if (default_domain(f->opset_import[i]->domain)) c->opset = (int)f->opset_import[i]->version;
    c->depth++;
    fe_run_nodes(c, &s, f->node, f->n_node, (const char *const *)f->output, f->n_output);
    c->depth--;
    c->opset = opset;
    for (size_t i = 0; i < n->n_out && i < f->n_output; i++) n->out[i] = fe_scope_value(&s, f->output[i]);
    return true;
}

ir_vid fe_apply(struct fe_ctx *c, const struct fe_node *n, const char *op, ir_vid x, Onnx__AttributeProto **attrs,
                size_t n_attrs) {
    bool known;
    const struct row *r = find_row(op, c->opset, &known);
    if (!r || x == IR_NONE) return IR_NONE;
    Onnx__NodeProto p = ONNX__NODE_PROTO__INIT;
    p.op_type = (char *)op;
    p.attribute = attrs;
    p.n_attribute = n_attrs;
    struct fe_val *in = fe_val_of(c, x), *out = NULL;
    bool wanted = true;
    struct fe_node inner = {.p = &p, .op = op, .arg = r->arg, .loc = n->loc, .scope = n->scope, .n_in = 1, .n_out = 1};
    inner.in = &in;
    inner.out = &out;
    inner.wanted = &wanted;
    return r->fn(c, &inner) ? fe_vid(c, out) : IR_NONE;
}

struct fe_val **fe_run_body(struct fe_ctx *c, struct fe_node *n, const Onnx__GraphProto *g, struct fe_val *const *in,
                            size_t n_in) {
    if (c->depth >= MAX_DEPTH) {
        fe_fail(c, n, "subgraphs are nested more than %d deep", MAX_DEPTH);
        return NULL;
    }
    struct fe_scope s = {.parent = n->scope, .infos = {{g->value_info, g->n_value_info}, {g->output, g->n_output}}};
    for (size_t i = 0; i < n_in && i < g->n_input; i++)
        if (g->input[i]->name && *g->input[i]->name) fe_scope_add(&s, c->a, g->input[i]->name)->val = in[i];
    fe_add_initializers(c, &s, g);
    const char **names = ARENA_ARRAY(c->a, const char *, g->n_output + 1);
    for (size_t i = 0; i < g->n_output; i++) names[i] = g->output[i]->name ? g->output[i]->name : "";
    c->depth++;
    fe_run_nodes(c, &s, g->node, g->n_node, names, g->n_output);
    c->depth--;
    struct fe_val **out = ARENA_ARRAY(c->a, struct fe_val *, g->n_output + 1);
    for (size_t i = 0; i < g->n_output; i++) out[i] = fe_scope_value(&s, names[i]);
    return out;
}

// A function parameter the caller left out is a value without anything in it.
static bool absent(const struct fe_val *v) {
    return !v->unknown && !v->sym && !v->blob && !v->is_seq && !v->random && !v->rows && v->vid == IR_NONE;
}

// The function of the file that a node calls, else its row, else the row's body. false after reporting that there is
// none.
static bool find_import(struct fe_ctx *c, struct fe_node *n, const struct row **r, const Onnx__FunctionProto **f) {
    *f = fe_find_function(c->m->proto, n->p);
    *r = NULL;
    if (*f) return true;
    bool known = false;
    const char *name = full_name(c, n);
    if ((*r = find_row(name, default_domain(n->p->domain) ? c->opset : 1, &known))) return true;
    bool *present = ARENA_ARRAY(c->a, bool, n->n_in + 1);
    for (size_t i = 0; i < n->n_in; i++) present[i] = n->in[i] != NULL;
    struct fe_builtin body;
    if (!known && fe_builtin(c->a, n->p, present, &body)) {
        if (body.since <= c->opset || !default_domain(n->p->domain)) {
            *f = body.fn;
            return !body.unmet || fe_fail(c, n, "%s%s has a value that is not supported",
                                          *body.unmet ? "attribute " : "an operand", body.unmet);
        }
        return fe_fail(c, n, "this operator is of opset %d, and the model of opset %d", body.since, c->opset);
    }
    if (known)
        return fe_fail(c, n,
                       "this operator is not supported at opset %d; export the model with opset_version=17 or later",
                       c->opset);
    return fe_fail(c, n, "operator %s is not supported; replace it in the model before exporting", name);
}

static void run(struct fe_ctx *c, struct fe_node *n) {
    const Onnx__FunctionProto *f;
    const struct row *r;
    if (!find_import(c, n, &r, &f)) return;
    for (size_t i = 0; i < n->n_in; i++)
        if (n->in[i] && n->in[i]->unknown) return;
    int errors = c->d->errors;
    if (r) n->arg = r->arg;
    bool numbers = false;
    for (size_t i = 0; r && i < n->n_in; i++) numbers |= n->in[i] && n->in[i]->rows;
    bool ok = numbers && fe_rows(c, n);
    if (numbers && !ok && c->d->errors == errors) numbers = !fe_rows_counted(c, n);
    if (!numbers) ok = r ? fe_moved_enter(c, n) && r->fn(c, n) && fe_moved_leave(c, n) : run_function(c, n, f);
    if (ok && r) fe_round_results(c, n);
    if (!ok && c->d->errors == errors) fe_fail(c, n, "could not be imported");
    if (c->d->errors != errors && r) memset(n->out, 0, n->n_out * sizeof *n->out);
}

void fe_import_node(struct fe_ctx *c, struct fe_scope *s, const Onnx__NodeProto *p) {
    struct fe_node n = {.p = p, .scope = s, .n_in = p->n_input, .n_out = p->n_output};
    size_t index = c->n_nodes++;
    if (index >= MAX_NODES) {
        if (index == MAX_NODES)
            diag_error(c->d, NULL,
                       "the graph has more than %d nodes once its functions are inlined and its loops unrolled",
                       MAX_NODES);
        return;
    }
    n.op = p->op_type ? p->op_type : "";
    n.loc.node = p->name && *p->name ? p->name : arena_printf(c->a, "%s#%zu", n.op, index);
    n.loc.op = n.op;
    c->g->cur_loc = n.loc;
    n.in = ARENA_ARRAY(c->a, struct fe_val *, n.n_in + 1);
    n.out = ARENA_ARRAY(c->a, struct fe_val *, n.n_out + 1);
    n.wanted = ARENA_ARRAY(c->a, bool, n.n_out + 1);
    for (size_t i = 0; i < n.n_in; i++) {
        struct fe_val *v = *p->input[i] ? fe_scope_value(s, p->input[i]) : NULL;
        n.in[i] = v && absent(v) ? NULL : v;
    }
    for (size_t i = 0; i < n.n_out; i++) {
        struct fe_slot *slot = *p->output[i] ? fe_scope_find(s, p->output[i]) : NULL;
        n.wanted[i] = slot && slot->used;
    }
    run(c, &n);
    for (size_t i = 0; i < n.n_out; i++) {
        struct fe_slot *slot = *p->output[i] ? fe_scope_find(s, p->output[i]) : NULL;
        if (!slot || slot->val) continue; // a cycle has been cut here
        struct fe_val *v = n.out[i];
        if (!v) {
            if (slot->used && c->d->errors == 0)
                fe_fail(c, &n, "its result %zu (\"%s\") is used, which is not supported", i, p->output[i]);
            v = fe_val_new(c, slot->name);
            v->unknown = true;
        }
        if (!v->name) v->name = slot->name;
        if (v->blob && !v->is_init) v->blob->name = v->name;
        if (v->vid != IR_NONE && !c->g->values[v->vid].name && c->g->values[v->vid].role == IR_ROLE_NODE)
            c->g->values[v->vid].name = slot->name;
        slot->val = v;
        fe_declared_compare(c, &n.loc, slot);
    }
}

struct ir_graph *fe_import(struct fe_model *m, struct arena *a, struct diag *d, const struct fe_options *o) {
    const Onnx__GraphProto *g = m->proto->graph;
    int before = d->errors;
    struct fe_ctx c = {.m = m, .a = a, .d = d, .opset = (int)fe_model_opset(m->proto), .seed = IR_NONE};
    m->n_weights = m->n_edits = m->n_norms = m->n_frozen = m->n_forms = 0;
    fe_decide_parameters(m, d, o);
    c.training_norms = fe_has_training_norms(m->proto);
    c.freeze_norms = o && o->freeze_norms;
    c.g = ir_graph_new(a, d, g->name && *g->name ? arena_strdup(a, g->name) : "main");
    struct fe_scope *s = m->scope = ARENA_NEW(a, struct fe_scope);
    *s = (struct fe_scope){.infos = {{g->value_info, g->n_value_info}, {g->output, g->n_output}}};
    m->graph = c.g;
    fe_add_initializers(&c, s, g);
    if (g->n_input > MAX_ENDS + g->n_initializer || g->n_output > MAX_ENDS) {
        diag_error(d, NULL, "the graph has %zu inputs and %zu outputs; at most %d of each are supported", g->n_input,
                   g->n_output, MAX_ENDS);
        return NULL;
    }
    fe_add_inputs(&c, s, g, o);
    if (g->n_output == 0) diag_error(d, NULL, "the graph has no outputs");
    const char **outs = ARENA_ARRAY(a, const char *, g->n_output + 1);
    for (size_t i = 0; i < g->n_output; i++) outs[i] = g->output[i]->name ? g->output[i]->name : "";
    fe_run_nodes(&c, s, g->node, g->n_node, outs, g->n_output);
    c.g->cur_loc = (struct diag_loc){0};
    fe_add_outputs(&c, s, g);
    if (o && o->values && d->errors == before) fe_add_values(&c, s, g);
    if (c.saw_conv && !c.saw_bn && c.bare_convs >= 2)
        diag_warning(
            d, NULL,
            "BatchNormalization was folded into Conv (or the model has none): to train it with BatchNorm, export with "
            "training=PRESERVE (torch.onnx.export(..., dynamo=False, training=torch.onnx.TrainingMode.PRESERVE, "
            "do_constant_folding=False))");
    if (c.freeze_norms && !m->n_norms)
        diag_warning(d, NULL, "--freeze-bn: the model has no BatchNormalization, so there is nothing to freeze");
    if (d->errors == before) fe_declared_report(&c);
    if (d->errors > before) {
        ir_report_untrained(c.g, false); // one run says what has no forward and what has no gradient
        return NULL;
    }
    if (c.g->n_outputs == 0) {
        diag_error(d, NULL, "the graph has no output that depends on its inputs");
        return NULL;
    }
    m->imported = true;
    if (m->n_frozen)
        diag_note(d, NULL,
                  "%zu of %zu BatchNormalization nodes stay frozen (%zu have training_mode 0 beside others at 1, "
                  "%zu by the command line): in training, too, they use their running statistics and keep them",
                  m->n_frozen, m->n_norms, m->n_frozen - c.asked_norms, c.asked_norms);
    return c.g;
}

const struct ir_type *fe_type_of(const struct fe_model *m, const char *value) {
    const struct fe_slot *slot = fe_scope_find(m->scope, value);
    const struct fe_val *v = slot ? slot->val : NULL;
    return v && !v->unknown && !v->is_moved && v->vid != IR_NONE ? &m->graph->values[v->vid].type : NULL;
}

const struct fe_form *fe_forms(const struct fe_model *m, size_t *n) {
    *n = m->n_forms;
    return m->forms;
}

bool fe_form_is_moved(const struct fe_form *f) {
    bool moved = false;
    for (int k = 0; k < f->rank; k++) moved |= f->dims[k] < 0 && (k > 0 || f->outer > 1);
    return moved;
}
