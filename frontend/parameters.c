// What is a parameter: one rule for every float tensor of a file, initializers and Constant nodes alike, decided before
// the import (docs/design.md, "What is a parameter"). In this order: what no number flows through cannot be trained;
// then the command line; then the exporter's own marks and names; then what the operators do with it.
#include "parameters.h"

#include <stdlib.h>
#include <string.h>

enum rule {
    UNUSED,
    IN_SHAPES,
    IN_INDICES,
    IN_BOUNDS,
    IN_RATIOS,
    IN_MASKS,
    IN_FILLS,
    IN_QUANTA,
    STATISTIC,           // of a norm, updated in training
    STATISTIC_ASKED,     // kept: --constant names it
    STATISTIC_NOT_ASKED, // kept: --train-only names nothing of the norm
    STATISTIC_FROZEN,    // kept: --freeze names it
    FROZEN,
    ASKED,
    NOT_ASKED,
    MARKED_BUFFER,
    MARKED_CONSTANT,
    NAMED_CONSTANT,
    FOLDED,
    EXPONENT,
    EPSILON,
    BOUND,
    FILL,
    ACTIVATION,
    MASK,
    FILTER,
    INPUT,
    NUMBER,
    EMPTY,
    ASKED_TO_TRAIN, // from here on parameters
    MARKED_PARAMETER,
    LEARNED_NAME,
    WEIGHT,
    OPERAND,
};
static const char *const why[] = {
    [IN_SHAPES] = "only decides shapes",
    [IN_INDICES] = "only decides positions",
    [IN_BOUNDS] = "a bound of Clip",
    [IN_RATIOS] = "a ratio of dropout",
    [IN_MASKS] = "only enters conditions",
    [IN_FILLS] = "fills what is padded",
    [IN_QUANTA] = "a scale or zero point of quantisation",
    [STATISTIC_FROZEN] = "a running statistic that --freeze names",
    [FROZEN] = "--freeze names it",
    [ASKED] = "--constant names it",
    [NOT_ASKED] = "--train-only does not name it",
    [MARKED_BUFFER] = "marked as a buffer by the exporter",
    [MARKED_CONSTANT] = "marked as a constant by the exporter",
    [NAMED_CONSTANT] = "named as a constant by the exporter",
    [FOLDED] = "computed from constants by the exporter",
    [EXPONENT] = "an exponent",
    [EPSILON] = "an epsilon",
    [BOUND] = "a floor or a ceiling",
    [FILL] = "fills what a condition leaves out",
    [ACTIVATION] = "a number of a formula",
    [MASK] = "a mask",
    [FILTER] = "a resampling filter",
    [INPUT] = "normalises the input",
    [NUMBER] = "a bare number",
    [EMPTY] = "has no elements",
    [ASKED_TO_TRAIN] = "--train-only names it",
    [MARKED_PARAMETER] = "marked as a parameter by the exporter",
    [LEARNED_NAME] = "named as a learned number",
    [WEIGHT] = "a weight of an operator",
    [OPERAND] = "computes with data",
};

static const struct { // roles of a constant, and the rule of each; the first that a tensor has is told
    unsigned role;
    enum rule rule;
    bool unless_named; // one that a state dict has is learned: GeM's exponent, a threshold, a gate on the input
} constant_roles[] = {
    {FE_ROLE_FILTER, FILTER, false},    {FE_ROLE_MASK, MASK, false},  {FE_ROLE_INPUT, INPUT, true},
    {FE_ROLE_EPSILON, EPSILON, true},   {FE_ROLE_FILL, FILL, false},  {FE_ROLE_ACTIVATION, ACTIVATION, true},
    {FE_ROLE_EXPONENT, EXPONENT, true}, {FE_ROLE_BOUND, BOUND, true},
};
static const struct { // what only flows into operands that are attributes in spirit
    unsigned reach;
    enum rule rule;
} attributes[] = {
    {FE_REACH_SHAPE, IN_SHAPES},   {FE_REACH_INDEX, IN_INDICES}, {FE_REACH_BOUND, IN_BOUNDS},
    {FE_REACH_RATIO, IN_RATIOS},   {FE_REACH_MASK, IN_MASKS},    {FE_REACH_FILL, IN_FILLS},
    {FE_REACH_QUANTUM, IN_QUANTA},
};

struct decide {
    const struct fe_flow *flow;
    const Onnx__GraphProto *g;
    struct fe_dialect dialect;
    const struct fe_options *o;
};

static bool any_matches(const char *const *globs, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (glob_matches(globs[i], name)) return true;
    return false;
}

// What the exporter says; UNUSED: nothing.
static enum rule by_marks(const struct decide *d, const struct fe_float *t) {
    if (t->kind) {
        if (!strcmp(t->kind, "PARAMETER")) return MARKED_PARAMETER;
        return !strcmp(t->kind, "BUFFER") ? MARKED_BUFFER : MARKED_CONSTANT;
    }
    if (t->folded && fe_folded_constants(t->folded)) return FOLDED;
    if (d->dialect.marks && !t->folded && fe_made_up(t->name)) return NAMED_CONSTANT;
    if (d->dialect.torchscript && fe_torchscript_constant(t->name)) return NAMED_CONSTANT;
    return UNUSED;
}

static enum rule by_role(const struct decide *d, const struct fe_float *t, unsigned reach) {
    unsigned roles = fe_roles(d->flow, d->g, t);
    if (reach & FE_REACH_EXPONENT) roles |= FE_ROLE_EXPONENT;
    if (roles & FE_ROLE_STATISTIC) return STATISTIC;
    if (roles & FE_ROLE_WEIGHT) return WEIGHT;
    const bool named = fe_learned_name(&d->dialect, t->name), one = t->blob.n == 1;
    if (!(roles & FE_ROLE_ANY)) {
        for (size_t i = 0; i < sizeof constant_roles / sizeof *constant_roles; i++)
            if (roles & constant_roles[i].role)
                return named && constant_roles[i].unless_named && (one || constant_roles[i].rule == EXPONENT)
                           ? LEARNED_NAME
                           : constant_roles[i].rule;
    }
    if (fe_made_up(t->name)) return NAMED_CONSTANT;
    // An exporter that marks its parameters has made the others; what a rewriting of it made keeps a module's name.
    if (d->dialect.marks && !t->folded && !strchr(t->name, '.')) return NAMED_CONSTANT;
    if (!one) return OPERAND;
    return named ? LEARNED_NAME : t->blob.type.rank ? OPERAND : NUMBER;
}

static enum rule decide(const struct decide *d, const struct fe_float *t) {
    const struct fe_flow_value *v = fe_flow_find(d->flow, t->name);
    if (!v || !v->reach) return UNUSED;
    if (t->blob.n == 0) return EMPTY;
    if (!(v->reach & (FE_REACH_DATA | FE_REACH_EXPONENT)))
        for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
            if (v->reach & attributes[i].reach) return attributes[i].rule;
    const bool statistic = fe_roles(d->flow, d->g, t) & FE_ROLE_STATISTIC;
    if (any_matches(d->o->constants, d->o->n_constants, t->name)) return statistic ? STATISTIC_ASKED : ASKED;
    if (d->o->n_train_only) {
        const bool asked = any_matches(d->o->train_only, d->o->n_train_only, t->name);
        if (statistic) return asked ? STATISTIC : STATISTIC_NOT_ASKED;
        return asked ? ASKED_TO_TRAIN : NOT_ASKED;
    }
    if (statistic) return STATISTIC;
    const enum rule mark = by_marks(d, t);
    return mark != UNUSED ? mark : by_role(d, t, v->reach);
}

// --freeze takes from what would be trained, or updated.
static enum rule freeze(const struct decide *d, const struct fe_float *t, enum rule r) {
    if ((r < ASKED_TO_TRAIN && r != STATISTIC) || !glob_chosen(d->o->freeze, d->o->n_freeze, t->name)) return r;
    return r == STATISTIC ? STATISTIC_FROZEN : FROZEN;
}

// --- the tensors

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct fe_float *)a)->name, ((const struct fe_float *)b)->name);
}

static void add_float(struct fe_model *m, struct fe_float *ts, size_t *n, const char *name, const void *key,
                      const Onnx__TensorProto *t) {
    struct fe_float f = {.name = name, .key = key};
    struct diag quiet = {.sink = fe_quiet};
    if (name && *name && t && fe_is_float_type(t->data_type) && fe_blob_open(m, &quiet, NULL, t, &f.blob))
        ts[(*n)++] = f;
}

// Sorted by name. What cannot be read is left out: the import says so.
static struct fe_float *collect(struct fe_model *m, struct arena *a, size_t *n) {
    const Onnx__GraphProto *g = m->proto->graph;
    struct fe_float *ts = ARENA_ARRAY(a, struct fe_float, g->n_initializer + g->n_node + 1);
    *n = 0;
    for (size_t i = 0; i < g->n_initializer; i++)
        add_float(m, ts, n, g->initializer[i]->name, g->initializer[i], g->initializer[i]);
    for (size_t i = 0; i < g->n_node; i++) {
        const Onnx__TensorProto *t = fe_constant_tensor(g->node[i]);
        if (t) add_float(m, ts, n, g->node[i]->output[0], g->node[i], t);
    }
    qsort(ts, *n, sizeof *ts, by_name);
    return ts;
}

// --- the command line

// The names that have most in common with a pattern that matches none.
static void near_names(struct str *out, struct arena *a, const char *glob, const struct fe_float *ts,
                       const enum rule *rules, size_t n) {
    const char **names = ARENA_ARRAY(a, const char *, n + 1);
    size_t used = 0;
    for (size_t i = 0; i < n; i++)
        if (rules[i] != UNUSED) names[used++] = ts[i].name;
    glob_near(out, glob, names, used);
}

static void check_globs(struct arena *a, struct diag *d, const char *option, const char *const *globs, size_t n_globs,
                        const struct fe_float *ts, const enum rule *rules, size_t n) {
    for (size_t k = 0; k < n_globs; k++) {
        const char *glob = globs[k] + (*globs[k] == '!' && !strcmp(option, "freeze"));
        size_t found = 0, last = 0;
        bool changeable = false;
        for (size_t i = 0; i < n; i++) {
            if (rules[i] == UNUSED || !glob_matches(glob, ts[i].name)) continue;
            found++;
            last = i;
            changeable |= rules[i] >= STATISTIC && rules[i] != EMPTY;
        }
        struct str near = STR_INIT;
        if (!found) near_names(&near, a, glob, ts, rules, n);
        if (!found)
            diag_error(d, NULL, "--%s %s: no float tensor of the model has such a name%s%s", option, globs[k],
                       near.len ? "; it has " : "; it has none", near.len ? near.s : "");
        else if (!changeable && !strcmp(option, "train-only"))
            diag_error(d, NULL, "--%s %s: \"%s\" cannot be trained: %s", option, globs[k], ts[last].name,
                       rules[last] == EMPTY ? "it has no elements" : "no data is computed with it");
        str_release(&near);
    }
}

// --- the decisions

// With --train-only a BatchNorm of which nothing is trained keeps its statistics, too; any other updates them.
static void keep_statistics_going(const Onnx__GraphProto *g, const struct fe_float *ts, enum rule *rules, size_t n) {
    for (size_t i = 0; i < g->n_node && n; i++) {
        if (!fe_flow_is(g->node[i], "BatchNormalization") || g->node[i]->n_input < 5) continue;
        size_t at[5];
        bool trained = false;
        for (size_t k = 1; k < 5; k++) {
            const struct fe_float *t =
                bsearch(&(struct fe_float){.name = g->node[i]->input[k]}, ts, n, sizeof *ts, by_name);
            at[k] = t ? (size_t)(t - ts) : n;
            trained |= k < 3 && t && rules[at[k]] == ASKED_TO_TRAIN;
        }
        for (size_t k = 3; k < 5 && trained; k++)
            if (at[k] < n && rules[at[k]] == STATISTIC_NOT_ASKED) rules[at[k]] = STATISTIC;
    }
}

static int by_key(const void *a, const void *b) {
    const uintptr_t x = (uintptr_t)((const struct fe_meaning *)a)->key,
                    y = (uintptr_t)((const struct fe_meaning *)b)->key;
    return (x > y) - (x < y);
}

const struct fe_meaning *fe_meaning_of(const struct fe_model *m, const void *key) {
    return m->n_meanings
               ? bsearch(&(struct fe_meaning){.key = key}, m->meanings, m->n_meanings, sizeof *m->meanings, by_key)
               : NULL;
}

void fe_decide_parameters(struct fe_model *m, struct diag *diag, const struct fe_options *o) {
    static const struct fe_options none;
    struct arena scratch;
    arena_init(&scratch);
    size_t n;
    struct fe_float *ts = collect(m, &scratch, &n);
    struct decide d = {.flow = fe_flow_new(&scratch, m->proto), .g = m->proto->graph, .o = o ? o : &none};
    fe_read_marks(&scratch, m->proto, ts, n, &d.dialect);
    enum rule *rules = ARENA_ARRAY(&scratch, enum rule, n + 1);
    m->decisions = ARENA_ARRAY(m->arena, struct fe_decision, n + 1);
    m->meanings = ARENA_ARRAY(m->arena, struct fe_meaning, n + 1);
    m->n_decisions = m->n_meanings = 0;
    struct fe_raise raise = {0};
    for (size_t i = 0; i < n; i++) rules[i] = decide(&d, &ts[i]);
    keep_statistics_going(d.g, ts, rules, n);
    size_t n_trained = 0, n_frozen = 0;
    for (size_t i = 0; i < n; i++) {
        const enum rule r = rules[i] = freeze(&d, &ts[i], rules[i]);
        const bool trained = r >= ASKED_TO_TRAIN, frozen = r == FROZEN;
        const bool kept = r == STATISTIC_ASKED || r == STATISTIC_NOT_ASKED || r == STATISTIC_FROZEN;
        m->meanings[m->n_meanings++] =
            (struct fe_meaning){.key = ts[i].key, .trained = trained, .frozen = frozen, .kept = kept};
        if (trained || frozen || kept || r == STATISTIC) fe_raise_count(&raise, &ts[i].blob);
        if (why[r])
            m->decisions[m->n_decisions++] = (struct fe_decision){.name = arena_strdup(m->arena, ts[i].name),
                                                                  .trained = trained,
                                                                  .frozen = frozen || r == STATISTIC_FROZEN,
                                                                  .why = why[r],
                                                                  .n = ts[i].blob.n};
        n_trained += trained;
        n_frozen += frozen;
    }
    if (n_frozen && !n_trained)
        diag_error(diag, NULL,
                   "--freeze %s: nothing is left to train; take the tensors to train out again with --freeze '!GLOB'",
                   d.o->freeze[d.o->n_freeze - 1]);
    check_globs(&scratch, diag, "train-only", d.o->train_only, d.o->n_train_only, ts, rules, n);
    check_globs(&scratch, diag, "constant", d.o->constants, d.o->n_constants, ts, rules, n);
    check_globs(&scratch, diag, "freeze", d.o->freeze, d.o->n_freeze, ts, rules, n);
    arena_release(&scratch);
    qsort(m->meanings, m->n_meanings, sizeof *m->meanings, by_key);
    fe_raise(m, diag, &raise);
}

size_t fe_norms(const struct fe_model *m, size_t *frozen) {
    *frozen = m->n_frozen;
    return m->n_norms;
}

const struct fe_decision *fe_decisions(const struct fe_model *m, size_t *n) {
    *n = m->n_decisions;
    return m->decisions;
}
