// The importer's driver: inputs, initializers, one table row per node, functions inlined, outputs. What single
// operators mean is in import_*.c. Errors do not stop it: a node that fails leaves `unknown` values, and their users
// stay silent.
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

bool fe_run_subgraph(struct fe_ctx *c, struct fe_node *n, const Onnx__GraphProto *g) {
    if (c->depth >= MAX_DEPTH) return fe_fail(c, n, "subgraphs are nested more than %d deep", MAX_DEPTH);
    struct fe_scope s = {.parent = n->scope, .infos = {{g->value_info, g->n_value_info}, {g->output, g->n_output}}};
    fe_add_initializers(c, &s, g);
    const char **outs = ARENA_ARRAY(c->a, const char *, g->n_output + 1);
    for (size_t i = 0; i < g->n_output; i++) outs[i] = g->output[i]->name ? g->output[i]->name : "";
    c->depth++;
    fe_run_nodes(c, &s, g->node, g->n_node, outs, g->n_output);
    c->depth--;
    for (size_t i = 0; i < n->n_out && i < g->n_output; i++) n->out[i] = fe_scope_value(&s, outs[i]);
    return true;
}

// A function parameter the caller left out is a value without anything in it.
static bool absent(const struct fe_val *v) {
    return !v->unknown && !v->sym && !v->blob && !v->is_seq && !v->random && !v->rows && v->vid == IR_NONE;
}

static bool one_of(const char *s, const char *const *list, size_t n) {
    size_t i = 0;
    while (i < n && strcmp(list[i], s) != 0) i++;
    return i < n;
}

static void run(struct fe_ctx *c, struct fe_node *n) {
    const Onnx__FunctionProto *f = fe_find_function(c->m->proto, n->p);
    bool known = false;
    const struct row *r = default_domain(n->p->domain) && !f ? find_row(n->op, c->opset, &known) : NULL;
    if (!r && !f) {
        if (known)
            fe_fail(c, n, "this operator is not supported at opset %d; export the model with opset_version=17 or later",
                    c->opset);
        else
            fe_fail(c, n, "operator %s%s%s is not supported; replace it in the model before exporting",
                    default_domain(n->p->domain) ? "" : n->p->domain, default_domain(n->p->domain) ? "" : ".", n->op);
        return;
    }
    for (size_t i = 0; i < n->n_in; i++)
        if (n->in[i] && n->in[i]->unknown) return;
    // Less, Add, Floor and Cast make a mask of random numbers; Shape only looks at them.
    static const char *const take_random[] = {"Less", "Greater",  "Add",   "Floor",
                                              "Cast", "CastLike", "Shape", "Identity"};
    for (size_t i = 0; r && i < n->n_in; i++)
        if (n->in[i] && n->in[i]->random && !one_of(n->op, take_random, sizeof take_random / sizeof *take_random)) {
            fe_fail(c, n, "it uses random numbers, which are supported only as dropout masks (random < constant)");
            return;
        }
    int errors = c->d->errors;
    if (r) n->arg = r->arg;
    bool numbers = false;
    for (size_t i = 0; r && i < n->n_in; i++) numbers |= n->in[i] && n->in[i]->rows;
    bool ok = numbers ? fe_rows(c, n)
              : r     ? fe_moved_enter(c, n) && r->fn(c, n) && fe_moved_leave(c, n)
                      : run_function(c, n, f);
    if (ok && r) fe_round_results(c, n);
    if (!ok && c->d->errors == errors) fe_fail(c, n, "could not be imported");
    if (c->d->errors != errors && r) memset(n->out, 0, n->n_out * sizeof *n->out);
}

void fe_import_node(struct fe_ctx *c, struct fe_scope *s, const Onnx__NodeProto *p) {
    struct fe_node n = {.p = p, .scope = s, .n_in = p->n_input, .n_out = p->n_output};
    size_t index = c->n_nodes++;
    if (index >= MAX_NODES) {
        if (index == MAX_NODES)
            diag_error(c->d, NULL, "the graph has more than %d nodes once its functions are inlined", MAX_NODES);
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

// --- boundary

static const struct fe_shape *find_shape(const struct fe_options *o, const char *name) {
    for (size_t i = 0; o && i < o->n_shapes; i++)
        if (!strcmp(o->shapes[i].input, name)) return &o->shapes[i];
    return NULL;
}

// The shape to ask the user for: what is known, and 224 where nothing is.
static const char *suggest(struct fe_ctx *c, const char *name, const Onnx__TensorShapeProto *sh) {
    struct str s = STR_INIT;
    str_addf(&s, "--shape %s=N", name);
    for (size_t i = 1; sh && i < sh->n_dim; i++) {
        const Onnx__TensorShapeProto__Dimension *d = sh->dim[i];
        bool fixed = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE && d->dim_value > 0;
        str_addf(&s, ",%lld", fixed ? (long long)d->dim_value : i == 1 ? 3LL : 224LL);
    }
    const char *r = arena_strdup(c->a, s.s);
    str_release(&s);
    return r;
}

static void add_input(struct fe_ctx *c, struct fe_scope *s, const Onnx__ValueInfoProto *in,
                      const struct fe_options *o) {
    const char *name = in->name ? in->name : "";
    if (!*name) {
        diag_error(c->d, NULL, "an input has no name; give it one, or remove it");
        return;
    }
    struct fe_slot *slot = fe_scope_add(s, c->a, name);
    if (slot->val && slot->val->is_init) return; // old files list initializers among the inputs
    if (slot->val) {
        diag_error(c->d, NULL, "input \"%s\" is there twice", name);
        return;
    }
    slot->val = fe_val_new(c, name);
    slot->val->unknown = true;
    const Onnx__TypeProto *tp = in->type;
    enum ir_dtype dtype;
    if (!tp || tp->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !tp->tensor_type ||
        !fe_onnx_to_ir(tp->tensor_type->elem_type, &dtype)) {
        diag_error(c->d, NULL, "input \"%s\" must be a tensor of floats or integers", name);
        return;
    }
    const Onnx__TensorShapeProto *sh = tp->tensor_type->shape;
    const struct fe_shape *given = find_shape(o, name);
    int64_t dims[IR_MAX_RANK];
    size_t rank = given ? (size_t)given->rank : sh ? sh->n_dim : 0;
    if (!given && !sh) {
        diag_error(c->d, NULL, "input \"%s\" has no shape in the file; give one, e.g. --shape %s=N,3,224,224", name,
                   name);
        return;
    }
    if (given && sh && sh->n_dim != rank) {
        diag_error(c->d, NULL, "input \"%s\" has %zu dimensions in the file, --shape gives %zu", name, sh->n_dim, rank);
        return;
    }
    if (rank < 1 || rank > IR_MAX_RANK) {
        diag_error(c->d, NULL, "input \"%s\" has %zu dimensions; 1 to %d are supported, the first being the batch",
                   name, rank, IR_MAX_RANK);
        return;
    }
    dims[0] = IR_N;
    for (size_t i = 1; i < rank; i++) {
        bool fixed = sh && sh->dim[i]->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
                     sh->dim[i]->dim_value > 0;
        dims[i] = given ? given->dims[i] : fixed ? sh->dim[i]->dim_value : 0;
        if (dims[i] <= 0 || dims[i] > INT32_MAX) {
            diag_error(c->d, NULL, "input \"%s\": dimension %zu has no fixed size; give one: %s", name, i,
                       suggest(c, name, sh));
            return;
        }
    }
    if (sh && sh->n_dim && sh->dim[0]->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
        sh->dim[0]->dim_value > 0 && sh->dim[0]->dim_value <= FE_MAX_BAKED)
        c->baked = sh->dim[0]->dim_value;
    slot->val->vid = ir_boundary(c->g, IR_ROLE_INPUT, ir_type_make(dtype, (int)rank, dims), name, NULL);
    slot->val->unknown = false;
    slot->val = fe_p_round(c, slot->val, fe_half(tp->tensor_type->elem_type)); // the caller gives float32
    fe_declared_input(c, name, sh, dims);
}

static void add_outputs(struct fe_ctx *c, struct fe_scope *s, const Onnx__GraphProto *g) {
    struct fe_scope names = {0};
    for (size_t i = 0; i < g->n_output; i++) {
        const char *name = g->output[i]->name ? g->output[i]->name : "";
        struct fe_slot *slot = fe_scope_add(&names, c->a, name);
        if (slot->used) {
            diag_error(c->d, NULL, "output \"%s\" is there twice", name);
            continue;
        }
        slot->used = true;
        struct fe_val *v = fe_scope_value(s, name);
        if (!v) {
            diag_error(c->d, NULL, "output \"%s\" is made by no node", name);
            continue;
        }
        if (fe_is_tap(c->m, name) && !v->unknown) {
            fe_import_tap(c, name, v);
            continue;
        }
        if (v->is_buffer || v->unknown) continue; // running statistics come back under IR_OUT_BUFFER
        if (v->is_moved) {
            diag_error(c->d, NULL, "output \"%s\" has the batch away from the first axis; make it the first", name);
            continue;
        }
        ir_vid x = fe_vid(c, v);
        if (v->half)
            diag_note(c->d, NULL,
                      "output \"%s\" is of %s in the file: its values are, its elements are written as float32", name,
                      v->half == IR_HALF_F16 ? "FLOAT16" : "BFLOAT16");
        if (x == IR_NONE) {
            diag_error(c->d, NULL, "output \"%s\" is not a tensor", name);
            continue;
        }
        bool twice = false;
        for (size_t k = 0; k < c->g->n_outputs; k++) twice |= c->g->outputs[k].value == x;
        if (c->g->values[x].role != IR_ROLE_NODE || twice) x = fe_e1(c, IR_OP_copy, x);
        ir_set_output(c->g, IR_OUT_OUTPUT, name, x);
    }
    for (size_t i = 0; i < c->n_buffers; i++)
        if (c->buffers[i]->buffer_now != IR_NONE)
            ir_set_output(c->g, IR_OUT_BUFFER, c->g->values[c->buffers[i]->vid].name, c->buffers[i]->buffer_now);
}

static void check_overrides(struct fe_ctx *c, const struct fe_options *o) {
    for (size_t i = 0; o && i < o->n_shapes; i++) {
        bool found = false;
        for (size_t k = 0; k < c->m->proto->graph->n_input; k++)
            found |=
                c->m->proto->graph->input[k]->name && !strcmp(c->m->proto->graph->input[k]->name, o->shapes[i].input);
        if (!found) diag_error(c->d, NULL, "--shape names \"%s\", which is no input of the model", o->shapes[i].input);
    }
}

struct ir_graph *fe_import(struct fe_model *m, struct arena *a, struct diag *d, const struct fe_options *o) {
    const Onnx__GraphProto *g = m->proto->graph;
    int before = d->errors;
    struct fe_ctx c = {.m = m, .a = a, .d = d, .opset = (int)fe_model_opset(m->proto), .seed = IR_NONE};
    m->n_weights = m->n_edits = m->n_norms = m->n_frozen = 0;
    fe_decide_parameters(m, d, o);
    c.training_norms = fe_has_training_norms(m->proto);
    c.freeze_norms = o && o->freeze_norms;
    c.g = ir_graph_new(a, d, g->name && *g->name ? arena_strdup(a, g->name) : "main");
    struct fe_scope *s = m->scope = ARENA_NEW(a, struct fe_scope);
    *s = (struct fe_scope){.infos = {{g->value_info, g->n_value_info}, {g->output, g->n_output}}};
    m->graph = c.g;
    fe_add_initializers(&c, s, g);
    check_overrides(&c, o);
    if (g->n_input > MAX_ENDS + g->n_initializer || g->n_output > MAX_ENDS) {
        diag_error(d, NULL, "the graph has %zu inputs and %zu outputs; at most %d of each are supported", g->n_input,
                   g->n_output, MAX_ENDS);
        return NULL;
    }
    for (size_t i = 0; i < g->n_input; i++) add_input(&c, s, g->input[i], o);
    if (g->n_output == 0) diag_error(d, NULL, "the graph has no outputs");
    const char **outs = ARENA_ARRAY(a, const char *, g->n_output + 1);
    for (size_t i = 0; i < g->n_output; i++) outs[i] = g->output[i]->name ? g->output[i]->name : "";
    fe_run_nodes(&c, s, g->node, g->n_node, outs, g->n_output);
    c.g->cur_loc = (struct diag_loc){0};
    add_outputs(&c, s, g);
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
