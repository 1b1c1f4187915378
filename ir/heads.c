// What a classifier's losses should look at. A file often ends in the probabilities it is asked for: a Softmax,
// LogSoftmax or Sigmoid, maybe behind a Flatten, an Identity or a Cast, maybe written out by hand. Losses apply their
// own, so such an output is trained by what goes into it. Recognised on the graph as it was imported, before pass
// expand takes softmax apart.
//
// softmax(x) = softmax(x - m) for any m that is the same for all classes, so whatever the exponent is shifted by may
// stay or go: it changes neither the probabilities nor, in sum, a gradient.
#include "ir.h"

#include <string.h>

static const struct ir_node *def_of(const struct ir_graph *g, ir_vid v, enum ir_op op) {
    ir_nid d = v == IR_NONE ? IR_NONE : g->values[v].def;
    return d != IR_NONE && g->nodes[d].op == op ? &g->nodes[d] : NULL;
}

// The same elements under another shape, name or float type.
static ir_vid bare(const struct ir_graph *g, ir_vid v) {
    for (;;) {
        const struct ir_node *n = NULL;
        static const enum ir_op moves[] = {IR_OP_reshape, IR_OP_copy, IR_OP_cast, IR_OP_round_to};
        for (size_t i = 0; i < sizeof moves / sizeof *moves && !n; i++) n = def_of(g, v, moves[i]);
        if (!n) return v;
        enum ir_dtype from = g->values[n->in[0]].type.dtype;
        if (from != IR_F32 && from != IR_F64) return v;
        v = n->in[0];
    }
}

// Classes of a value [N,classes] or one with further axes of 1, else 0.
static int64_t classes_of(const struct ir_graph *g, ir_vid v) {
    const struct ir_type *t = &g->values[v].type;
    int wide = 0;
    for (int i = 1; i < t->rank; i++) wide += t->dims[i] != 1;
    return t->rank >= 2 && t->dims[0] == IR_N && wide == 1 ? ir_numel(t) : 0;
}

static bool along_classes(const struct ir_graph *g, ir_vid x, int axis) {
    return axis > 0 && classes_of(g, x) > 1 && g->values[x].type.dims[axis] > 1;
}

static bool is_one(const struct ir_graph *g, ir_vid v) {
    const struct ir_value *x = &g->values[v];
    return x->role == IR_ROLE_CONST && x->type.dtype == IR_F32 && ir_numel(&x->type) == 1 &&
           *(const float *)x->data == 1;
}

// The same number for every class of a sample.
static bool for_all_classes(const struct ir_graph *g, ir_vid v) { return ir_numel(&g->values[v].type) == 1; }

static ir_vid unshifted(const struct ir_graph *g, ir_vid t) {
    const struct ir_node *n = def_of(g, t, IR_OP_sub);
    return n && for_all_classes(g, n->in[1]) ? n->in[0] : t;
}

// t of sum e^t over the classes.
static ir_vid summed_exponent(const struct ir_graph *g, ir_vid sum) {
    const struct ir_node *n = def_of(g, bare(g, sum), IR_OP_reduce_sum);
    const struct ir_node *e = n ? def_of(g, n->in[0], IR_OP_exp) : NULL;
    size_t count;
    const int64_t *axes = n ? ir_attr_ints(n, "axes", &count) : NULL;
    return e && count == 1 && along_classes(g, n->in[0], (int)axes[0]) ? e->in[0] : IR_NONE;
}

// e^t / sum e^t, or the same with a reciprocal.
static ir_vid written_softmax(const struct ir_graph *g, ir_vid v) {
    const struct ir_node *n = def_of(g, v, IR_OP_div), *product = def_of(g, v, IR_OP_mul);
    for (int k = 0; k < (product ? 2 : n ? 1 : 0); k++) {
        const struct ir_node *e = def_of(g, (product ? product : n)->in[k], IR_OP_exp), *r = n;
        ir_vid under = n ? n->in[1] : IR_NONE;
        if (product && (r = def_of(g, bare(g, product->in[1 - k]), IR_OP_recip))) under = r->in[0];
        if (e && under != IR_NONE && summed_exponent(g, under) == e->in[0]) return unshifted(g, e->in[0]);
    }
    return IR_NONE;
}

// t - ln sum e^t; or with another shift inside, which is then added again: t - (ln sum e^(t-m) + m).
static ir_vid written_log_softmax(const struct ir_graph *g, ir_vid v) {
    const struct ir_node *n = def_of(g, v, IR_OP_sub);
    if (!n) return IR_NONE;
    ir_vid under = bare(g, n->in[1]);
    const struct ir_node *log = def_of(g, under, IR_OP_log), *sum = def_of(g, under, IR_OP_add);
    for (int k = 0; !log && sum && k < 2; k++)
        if (for_all_classes(g, sum->in[1 - k])) log = def_of(g, bare(g, sum->in[k]), IR_OP_log);
    ir_vid t = log ? summed_exponent(g, log->in[0]) : IR_NONE;
    return t != IR_NONE && bare(g, unshifted(g, t)) == bare(g, unshifted(g, n->in[0])) ? unshifted(g, n->in[0])
                                                                                       : IR_NONE;
}

// 1 / (1 + e^-z)
static ir_vid written_sigmoid(const struct ir_graph *g, ir_vid v) {
    const struct ir_node *n = def_of(g, v, IR_OP_recip), *d = def_of(g, v, IR_OP_div), *sum, *e, *minus;
    if (!n && !(d && is_one(g, d->in[0]))) return IR_NONE;
    if (!(sum = def_of(g, n ? n->in[0] : d->in[1], IR_OP_add))) return IR_NONE;
    for (int k = 0; k < 2; k++)
        if (is_one(g, sum->in[k]) && (e = def_of(g, sum->in[1 - k], IR_OP_exp)) &&
            (minus = def_of(g, e->in[0], IR_OP_neg)))
            return minus->in[0];
    return IR_NONE;
}

static ir_vid softmax_op(const struct ir_graph *g, ir_vid v, enum ir_op op) {
    const struct ir_node *n = def_of(g, v, op);
    return n && along_classes(g, n->in[0], ir_axis_of(n, "axis", g->values[n->in[0]].type.rank)) ? n->in[0] : IR_NONE;
}

// --- the forms, as a table

static ir_vid of_softmax(const struct ir_graph *g, ir_vid v) { return softmax_op(g, v, IR_OP_softmax); }
static ir_vid of_log_softmax(const struct ir_graph *g, ir_vid v) { return softmax_op(g, v, IR_OP_log_softmax); }
static ir_vid of_sigmoid(const struct ir_graph *g, ir_vid v) {
    const struct ir_node *n = def_of(g, v, IR_OP_sigmoid);
    return n ? n->in[0] : IR_NONE;
}
static ir_vid of_log_of_softmax(const struct ir_graph *g, ir_vid v) {
    const struct ir_node *n = def_of(g, v, IR_OP_log);
    ir_vid p = n ? bare(g, n->in[0]) : IR_NONE, z = of_softmax(g, p);
    return z != IR_NONE || p == IR_NONE ? z : written_softmax(g, p);
}

static const struct form {
    ir_vid (*logits)(const struct ir_graph *g, ir_vid v);
    const char *op;
    bool written; // its gradient is 0 * inf where a probability underflows
} forms[] = {
    {of_softmax, "Softmax", false},     {of_log_softmax, "LogSoftmax", false},
    {of_sigmoid, "Sigmoid", false},     {of_log_of_softmax, "LogSoftmax", true},
    {written_softmax, "Softmax", true}, {written_log_softmax, "LogSoftmax", true},
    {written_sigmoid, "Sigmoid", true},
};

static struct ir_head head_of(const struct ir_graph *g, const char *name, ir_vid y) {
    struct ir_head h = {.output = name, .value = y};
    ir_vid v = bare(g, y);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        ir_vid z = forms[i].logits(g, v);
        if (z == IR_NONE || g->values[z].type.dtype != IR_F32 || classes_of(g, z) != classes_of(g, y)) continue;
        h.value = z;
        h.op = forms[i].op;
        h.written = forms[i].written;
        h.loc = g->nodes[g->values[v].def].loc;
        break;
    }
    return h;
}

static bool is_float(const struct ir_graph *g, ir_vid v) {
    return g->values[v].type.dtype == IR_F32 || g->values[v].type.dtype == IR_F64;
}

// float64 can be an output, but losses look at float32.
static bool usable(const struct ir_graph *g, const struct ir_head *h) {
    return g->values[h->value].type.dtype == IR_F32;
}

size_t ir_heads(const struct ir_graph *g, struct arena *a, struct ir_head **heads) {
    struct ir_head *all = ARENA_ARRAY(a, struct ir_head, g->n_outputs + 1);
    size_t n = 0;
    // Axes of 1 behind the classes count only where no output is [N,classes] as it is.
    for (int wider = 0; wider < 2 && n == 0; wider++)
        for (size_t i = 0; i < g->n_outputs; i++) {
            const struct ir_output *o = &g->outputs[i];
            if (o->kind != IR_OUT_OUTPUT || !is_float(g, o->value) || classes_of(g, o->value) < 2) continue;
            if ((g->values[o->value].type.rank == 2) == wider) continue;
            struct ir_head h = head_of(g, o->name, o->value);
            if (!usable(g, &h)) continue;
            size_t same = 0; // a file that returns both logits and probabilities
            while (same < n && bare(g, all[same].value) != bare(g, h.value)) same++;
            if (same == n)
                all[n++] = h;
            else if (!h.op)
                all[same] = h;
        }
    *heads = all;
    return n;
}

bool ir_head_named(const struct ir_graph *g, const char *name, struct ir_head *h) {
    for (size_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i].kind == IR_OUT_OUTPUT && !strcmp(g->outputs[i].name, name)) {
            ir_vid y = g->outputs[i].value;
            *h = head_of(g, name, y);
            return is_float(g, y) && classes_of(g, y) > 1 && usable(g, h);
        }
    for (size_t v = 0; v < g->n_values; v++)
        if (g->values[v].role == IR_ROLE_NODE && g->values[v].name && !strcmp(g->values[v].name, name)) {
            *h = (struct ir_head){.output = name, .value = (ir_vid)v};
            return classes_of(g, (ir_vid)v) > 1 && usable(g, h);
        }
    return false;
}

static const struct ir_output *output_named(const struct ir_graph *g, const char *name) {
    for (size_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i].kind == IR_OUT_OUTPUT && !strcmp(g->outputs[i].name, name)) return &g->outputs[i];
    return NULL;
}

void ir_head_attach(struct ir_graph *g, struct ir_head *h) {
    const struct ir_type t = g->values[h->value].type;
    for (size_t i = 0; i < g->n_outputs && t.rank == 2; i++)
        if (g->outputs[i].kind == IR_OUT_OUTPUT && g->outputs[i].value == h->value) {
            h->logits = g->outputs[i].name;
            return;
        }
    struct diag_loc loc = g->cur_loc;
    const char *name = g->values[h->value].name ? g->values[h->value].name : h->output;
    g->cur_loc = h->loc.node                          ? h->loc
                 : g->values[h->value].def != IR_NONE ? g->nodes[g->values[h->value].def].loc
                                                      : (struct diag_loc){.node = name};
    if (output_named(g, name)) name = arena_printf(g->arena, "%s.logits", h->output);
    while (output_named(g, name)) name = arena_printf(g->arena, "%s'", name);
    if (t.rank != 2)
        h->value = ir_reshape(g, h->value, 2, (int64_t[]){IR_N, ir_numel(&t)});
    else if (g->values[h->value].role != IR_ROLE_NODE)
        h->value = ir_unary(g, IR_OP_copy, h->value);
    g->cur_loc = loc;
    ir_set_output(g, IR_OUT_OUTPUT, name, h->value);
    h->logits = name;
    h->added = true;
}
