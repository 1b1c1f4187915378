// Backward over the nodes of a file: outputs are data, and what a node computes data from is data, but for operands
// that are attributes in spirit. A function is looked through as each node calls it, a branch as part of its graph.
#include "flow.h"

#include "functions.h"

#include <string.h>

// Operands that are attributes in spirit.
static const struct slot {
    const char *op;
    unsigned from, to;
    unsigned reach;
} slots[] = {
    {"Reshape", 1, 1, FE_REACH_SHAPE},
    {"Expand", 1, 1, FE_REACH_SHAPE},
    {"Tile", 1, 2, FE_REACH_SHAPE},
    {"Pad", 1, 1, FE_REACH_SHAPE},
    {"Pad", 2, 2, FE_REACH_FILL},
    {"Pad", 3, 3, FE_REACH_INDEX},
    {"Resize", 1, 3, FE_REACH_SHAPE},
    {"Upsample", 1, 1, FE_REACH_SHAPE},
    {"ConstantOfShape", 0, 0, FE_REACH_SHAPE},
    {"Range", 0, 2, FE_REACH_SHAPE},
    {"Shape", 0, 0, FE_REACH_SHAPE},
    {"Size", 0, 0, FE_REACH_SHAPE},
    {"CastLike", 1, 1, FE_REACH_SHAPE},
    {"EyeLike", 0, 0, FE_REACH_SHAPE},
    {"RandomUniformLike", 0, 0, FE_REACH_SHAPE},
    {"RandomNormalLike", 0, 0, FE_REACH_SHAPE},
    {"Split", 1, 1, FE_REACH_SHAPE},
    {"SplitToSequence", 1, 1, FE_REACH_SHAPE},
    {"Slice", 1, 4, FE_REACH_INDEX},
    {"Squeeze", 1, 1, FE_REACH_INDEX},
    {"Unsqueeze", 1, 1, FE_REACH_INDEX},
    {"ReduceSum", 1, 1, FE_REACH_INDEX},
    {"ReduceMean", 1, 1, FE_REACH_INDEX},
    {"ReduceMax", 1, 1, FE_REACH_INDEX},
    {"ReduceMin", 1, 1, FE_REACH_INDEX},
    {"ReduceProd", 1, 1, FE_REACH_INDEX},
    {"ReduceL1", 1, 1, FE_REACH_INDEX},
    {"ReduceL2", 1, 1, FE_REACH_INDEX},
    {"ReduceSumSquare", 1, 1, FE_REACH_INDEX},
    {"ReduceLogSum", 1, 1, FE_REACH_INDEX},
    {"ReduceLogSumExp", 1, 1, FE_REACH_INDEX},
    {"Gather", 1, 1, FE_REACH_INDEX},
    {"GatherElements", 1, 1, FE_REACH_INDEX},
    {"GatherND", 1, 1, FE_REACH_INDEX},
    {"ScatterND", 1, 1, FE_REACH_INDEX},
    {"ScatterElements", 1, 1, FE_REACH_INDEX},
    {"Scatter", 1, 1, FE_REACH_INDEX},
    {"AffineGrid", 1, 1, FE_REACH_SHAPE},
    {"CenterCropPad", 1, 1, FE_REACH_SHAPE},
    {"Col2Im", 1, 2, FE_REACH_SHAPE},
    {"MaxUnpool", 1, 1, FE_REACH_INDEX},
    {"MaxUnpool", 2, 2, FE_REACH_SHAPE},
    {"DFT", 1, 1, FE_REACH_SHAPE},
    {"DFT", 2, 2, FE_REACH_INDEX},
    {"STFT", 1, 1, FE_REACH_SHAPE},
    {"STFT", 2, 2, FE_REACH_MASK},
    {"STFT", 3, 3, FE_REACH_SHAPE},
    {"MelWeightMatrix", 0, 4, FE_REACH_SHAPE},
    {"RoiAlign", 2, 2, FE_REACH_INDEX},
    {"Compress", 1, 1, FE_REACH_INDEX},
    {"TensorScatter", 2, 2, FE_REACH_INDEX},
    {"ReverseSequence", 1, 1, FE_REACH_INDEX},
    {"SequenceAt", 1, 1, FE_REACH_INDEX},
    {"SequenceInsert", 2, 2, FE_REACH_INDEX},
    {"SequenceErase", 1, 1, FE_REACH_INDEX},
    {"CumSum", 1, 1, FE_REACH_INDEX},
    {"CumProd", 1, 1, FE_REACH_INDEX},
    {"Trilu", 1, 1, FE_REACH_INDEX},
    {"TopK", 1, 1, FE_REACH_INDEX},
    {"OneHot", 0, 1, FE_REACH_INDEX},
    {"OneHot", 2, 2, FE_REACH_FILL},
    {"RotaryEmbedding", 1, 3, FE_REACH_INDEX}, // positions, and their sines
    {"NegativeLogLikelihoodLoss", 1, 1, FE_REACH_INDEX},
    {"NegativeLogLikelihoodLoss", 2, 2, FE_REACH_RATIO},
    {"SoftmaxCrossEntropyLoss", 1, 1, FE_REACH_INDEX},
    {"SoftmaxCrossEntropyLoss", 2, 2, FE_REACH_RATIO},
    {"Attention", 3, 3, FE_REACH_MASK},
    {"Attention", 6, 6, FE_REACH_INDEX},
    {"Clip", 1, 2, FE_REACH_BOUND},
    {"Dropout", 1, 2, FE_REACH_RATIO},
    {"Bernoulli", 0, 0, FE_REACH_RATIO},
    {"Pow", 1, 1, FE_REACH_EXPONENT},
    {"Where", 0, 0, FE_REACH_MASK},
    {"If", 0, 0, FE_REACH_MASK},
    {"Loop", 0, 0, FE_REACH_SHAPE},
    {"Loop", 1, 1, FE_REACH_MASK},
    {"RNN", 4, 4, FE_REACH_INDEX},
    {"GRU", 4, 4, FE_REACH_INDEX},
    {"LSTM", 4, 4, FE_REACH_INDEX},
    {"Equal", 0, 1, FE_REACH_MASK},
    {"Less", 0, 1, FE_REACH_MASK},
    {"LessOrEqual", 0, 1, FE_REACH_MASK},
    {"Greater", 0, 1, FE_REACH_MASK},
    {"GreaterOrEqual", 0, 1, FE_REACH_MASK},
    {"QuantizeLinear", 1, 2, FE_REACH_QUANTUM},
    {"DequantizeLinear", 1, 2, FE_REACH_QUANTUM},
    {"MatMulInteger", 2, 3, FE_REACH_QUANTUM},
    {"ConvInteger", 2, 3, FE_REACH_QUANTUM},
    {"QLinearMatMul", 1, 2, FE_REACH_QUANTUM},
    {"QLinearMatMul", 4, 7, FE_REACH_QUANTUM},
    {"QLinearConv", 1, 2, FE_REACH_QUANTUM},
    {"QLinearConv", 4, 7, FE_REACH_QUANTUM},
};

// Operand 0 comes out as it is, in another shape, order or number.
static const char *const moves[] = {"Cast",      "CastLike",  "Identity",       "Reshape",
                                    "Unsqueeze", "Squeeze",   "Flatten",        "Expand",
                                    "Tile",      "Transpose", "QuantizeLinear", "DequantizeLinear"};

bool fe_flow_is(const Onnx__NodeProto *p, const char *op) { return p && p->op_type && !strcmp(p->op_type, op); }

unsigned fe_flow_slot(const Onnx__NodeProto *p, size_t operand) {
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++)
        if (operand >= slots[i].from && operand <= slots[i].to && fe_flow_is(p, slots[i].op)) return slots[i].reach;
    return 0;
}

bool fe_flow_moves(const Onnx__NodeProto *p, size_t operand) {
    for (size_t i = 0; operand == 0 && i < sizeof moves / sizeof *moves; i++)
        if (fe_flow_is(p, moves[i])) return true;
    return false;
}

// --- bodies

// Functions that call functions are copied for each call; past this many nodes one is taken to compute data from all
// of its operands. So it is with one that calls itself, which the import refuses.
#define MAX_INNER ((size_t)1 << 21)
#define MAX_DEPTH 32

struct fe_flow_shared {
    struct arena *a;
    const Onnx__ModelProto *m;
    size_t n_inner; // nodes in functions and branches so far
};

static uint32_t *probe(const struct fe_flow *f, const char *name) {
    size_t i = (size_t)fnv1a(FNV_INIT, name, strlen(name)) & (f->cap_table - 1);
    while (f->table[i] && strcmp(f->values[f->table[i] - 1].name, name)) i = (i + 1) & (f->cap_table - 1);
    return &f->table[i];
}

struct fe_flow_value *fe_flow_find(const struct fe_flow *f, const char *name) {
    uint32_t at = *name ? *probe(f, name) : 0;
    return at ? &f->values[at - 1] : NULL;
}

const Onnx__NodeProto *fe_flow_producer(const struct fe_flow *f, const char *name) {
    const struct fe_flow_value *v = fe_flow_find(f, name);
    return v && v->node != FE_FLOW_NONE ? f->nodes[v->node] : NULL;
}

static struct fe_flow_value *add(struct fe_flow *f, const char *name) {
    uint32_t *at = probe(f, name);
    if (!*at) {
        f->values[f->n_values++] = (struct fe_flow_value){.name = name, .node = FE_FLOW_NONE};
        *at = (uint32_t)f->n_values;
    }
    return &f->values[*at - 1];
}

// `g`: the graph whose initializers may be read by bodies alone, or NULL.
static void name_values(struct fe_flow *f, const Onnx__GraphProto *g) {
    struct arena *a = f->shared->a;
    size_t most = f->n_params + f->n_results + 1 + (g ? g->n_initializer : 0), reads = 0;
    for (size_t i = 0; i < f->n_nodes; i++) {
        most += f->nodes[i]->n_output + f->nodes[i]->n_input;
        reads += f->nodes[i]->n_input;
    }
    for (f->cap_table = 64; f->cap_table < 2 * most;) f->cap_table *= 2;
    f->table = ARENA_ARRAY(a, uint32_t, f->cap_table);
    f->values = ARENA_ARRAY(a, struct fe_flow_value, most);
    f->todo = ARENA_ARRAY(a, uint32_t, most);
    f->uses = ARENA_ARRAY(a, struct fe_flow_use, reads + 1);
    for (size_t i = 0; i < f->n_params; i++)
        if (*f->params[i]) add(f, f->params[i]);
    for (size_t i = 0; i < f->n_results; i++)
        if (*f->results[i]) add(f, f->results[i]);
    for (size_t i = 0; g && i < g->n_initializer; i++)
        if (g->initializer[i]->name && *g->initializer[i]->name) add(f, g->initializer[i]->name)->stored = true;
    for (size_t i = 0; i < f->n_nodes; i++) {
        for (size_t k = 0; k < f->nodes[i]->n_output; k++)
            if (*f->nodes[i]->output[k]) add(f, f->nodes[i]->output[k])->node = (uint32_t)i;
        for (size_t k = 0; k < f->nodes[i]->n_input; k++)
            if (*f->nodes[i]->input[k]) add(f, f->nodes[i]->input[k])->n_uses++;
    }
    uint32_t at = 0;
    for (size_t i = 0; i < f->n_values; i++) {
        f->values[i].first = at;
        at += f->values[i].n_uses;
        f->values[i].n_uses = 0;
    }
    for (size_t i = 0; i < f->n_nodes; i++)
        for (size_t k = 0; k < f->nodes[i]->n_input; k++) {
            struct fe_flow_value *v = fe_flow_find(f, f->nodes[i]->input[k]);
            if (v) f->uses[v->first + v->n_uses++] = (struct fe_flow_use){(uint32_t)i, (uint32_t)k};
        }
}

static struct fe_flow *body_new(struct fe_flow_shared *s, Onnx__NodeProto **nodes, size_t n, struct fe_flow *parent,
                                int depth) {
    struct fe_flow *f = ARENA_NEW(s->a, struct fe_flow);
    *f = (struct fe_flow){.shared = s, .parent = parent, .depth = depth, .nodes = nodes, .n_nodes = n};
    f->inner = ARENA_ARRAY(s->a, struct fe_flow *, n + 1);
    return f;
}

static char **output_names(struct arena *a, const Onnx__GraphProto *g) {
    char **names = ARENA_ARRAY(a, char *, g->n_output + 1);
    for (size_t i = 0; i < g->n_output; i++) names[i] = g->output[i]->name ? g->output[i]->name : (char *)"";
    return names;
}

// How the operands and results of a node and of its body belong to each other: those of the body come this much later,
// or, where negative, earlier. What a body carries from one step to the next are the node's first results.
struct carries {
    const char *op;
    int operands, results;
    bool carries;
};
static const struct carries *carried(const struct fe_flow *f, const Onnx__NodeProto *p) {
    static const struct carries loops[] = {{"Loop", 0, 1, true}, {"Scan", 0, 0, true}, {"SequenceMap", 0, 0, false}};
    static const struct carries old_scan = {"Scan", -1, 0, true};
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++)
        if (fe_flow_is(p, loops[i].op)) return i == 1 && fe_model_opset(f->shared->m) < 9 ? &old_scan : &loops[i];
    return NULL;
}

const char *fe_flow_inside(const struct fe_flow *f, size_t node, size_t operand) {
    const struct fe_flow *in = f->inner[node];
    const struct carries *how = in && in->parent ? carried(f, f->nodes[node]) : NULL;
    const size_t skip = how && how->operands < 0;
    if (!in || (in->parent && !how) || operand < skip || operand - skip >= in->n_params) return NULL;
    return in->params[operand - skip];
}

// What node i runs, made when it is first asked for; NULL for an operator.
static struct fe_flow *inner(struct fe_flow *f, size_t i) {
    struct fe_flow_shared *s = f->shared;
    const Onnx__NodeProto *p = f->nodes[i];
    if (f->inner[i] || s->n_inner > MAX_INNER || f->depth == MAX_DEPTH) return f->inner[i];
    struct fe_builtin body;
    const Onnx__FunctionProto *fn = fe_body_of(s->a, s->m, p, &body) ? body.fn : NULL;
    if (fn) {
        s->n_inner += fn->n_node;
        struct fe_flow *b = f->inner[i] = body_new(s, fn->node, fn->n_node, NULL, f->depth + 1);
        b->params = fn->input, b->n_params = fn->n_input;
        b->results = fn->output, b->n_results = fn->n_output;
        name_values(b, NULL);
    }
    for (size_t k = 0; !fn && k < p->n_attribute; k++) {
        const Onnx__GraphProto *g = p->attribute[k]->g;
        if (!g) continue;
        s->n_inner += g->n_node;
        struct fe_flow *b = body_new(s, g->node, g->n_node, f, f->depth + 1);
        b->results = output_names(s->a, g), b->n_results = g->n_output;
        b->params = ARENA_ARRAY(s->a, char *, g->n_input + 1), b->n_params = g->n_input;
        for (size_t j = 0; j < g->n_input; j++) b->params[j] = g->input[j]->name ? g->input[j]->name : (char *)"";
        name_values(b, NULL);
        b->next = f->inner[i];
        f->inner[i] = b;
    }
    return f->inner[i];
}

// --- the flow

static void grow(struct fe_flow *f, const char *name, unsigned reach, bool captured) {
    struct fe_flow_value *v = fe_flow_find(f, name);
    if (v) {
        v->captured |= captured;
        if ((v->reach | reach) != v->reach) {
            v->reach |= reach;
            if (!v->queued) f->todo[f->n_todo++] = (uint32_t)(v - f->values);
            v->queued = true;
        }
    }
    if (f->parent && (!v || v->node == FE_FLOW_NONE)) grow(f->parent, name, reach, true);
}

static unsigned reach_of(const struct fe_flow *f, const char *name) {
    const struct fe_flow_value *v = fe_flow_find(f, name);
    return v ? v->reach : 0;
}

static void run(struct fe_flow *f);

// The body of a loop: what reaches a result of one step reaches, through the next, what makes that result here.
static void visit_loop(struct fe_flow *f, const Onnx__NodeProto *p, struct fe_flow *b, const struct carries *how) {
    const size_t shift = (size_t)how->results, skip = how->operands < 0;
    for (size_t k = 0; k < p->n_output && k + shift < b->n_results; k++)
        grow(b, b->results[k + shift], reach_of(f, p->output[k]), false);
    if (shift && b->n_results) grow(b, b->results[0], FE_REACH_MASK, false); // whether there is another step
    run(b);
    const size_t before = 2 * shift; // a Loop's body takes the step and the condition first
    size_t states = b->n_params > before ? b->n_params - before : 0;
    for (size_t k = 0; k < p->n_attribute; k++)
        if (p->attribute[k]->name && !strcmp(p->attribute[k]->name, "num_scan_inputs"))
            states -=
                p->attribute[k]->i > 0 && (size_t)p->attribute[k]->i < states ? (size_t)p->attribute[k]->i : states;
    for (bool more = how->carries; more;) {
        more = false;
        for (size_t k = 0; k < states && k + shift < b->n_results; k++) {
            const size_t operand = k + before;
            const unsigned had = reach_of(b, b->results[k + shift]);
            grow(b, b->results[k + shift], reach_of(b, b->params[operand]), false);
            more |= reach_of(b, b->results[k + shift]) != had;
        }
        run(b);
    }
    for (size_t k = skip; k < p->n_input; k++) {
        const unsigned slot = fe_flow_slot(p, k);
        const unsigned reach = slot ? slot : k - skip < b->n_params ? reach_of(b, b->params[k - skip]) : 0;
        grow(f, p->input[k], reach, false);
    }
}

static void visit(struct fe_flow *f, size_t i) {
    const Onnx__NodeProto *p = f->nodes[i];
    unsigned out = 0;
    for (size_t k = 0; k < p->n_output; k++) out |= reach_of(f, p->output[k]);
    struct fe_flow *in = inner(f, i);
    bool function = in && !in->parent;
    const struct carries *loop = in && !function ? carried(f, p) : NULL;
    if (loop) {
        visit_loop(f, p, in, loop);
        return;
    }
    for (struct fe_flow *b = in; b; b = b->next) {
        for (size_t k = 0; k < b->n_results && k < p->n_output; k++)
            grow(b, b->results[k], reach_of(f, p->output[k]), false);
        run(b);
    }
    for (size_t k = 0; k < p->n_input; k++) {
        unsigned slot = function ? 0 : fe_flow_slot(p, k);
        unsigned reach = !function ? slot ? slot : out : k < in->n_params ? reach_of(in, in->params[k]) : 0;
        grow(f, p->input[k], reach, false);
    }
}

static void run(struct fe_flow *f) {
    while (f->n_todo) {
        struct fe_flow_value *v = &f->values[f->todo[--f->n_todo]];
        v->queued = false;
        if (v->node != FE_FLOW_NONE) visit(f, v->node);
    }
}

struct fe_flow *fe_flow_new(struct arena *a, const Onnx__ModelProto *m) {
    struct fe_flow_shared *s = ARENA_NEW(a, struct fe_flow_shared);
    *s = (struct fe_flow_shared){.a = a, .m = m};
    const Onnx__GraphProto *g = m->graph;
    struct fe_flow *f = body_new(s, g->node, g->n_node, NULL, 0);
    f->results = output_names(a, g), f->n_results = g->n_output;
    name_values(f, g);
    for (size_t i = 0; i < f->n_results; i++) grow(f, f->results[i], FE_REACH_DATA, false);
    run(f);
    return f;
}
