// What a float tensor is by what the operators do with it. Where the elements must be looked at (masks, filters) it is
// for what no training makes: exact symmetry, exact zeros.
#include "parameters.h"

#include <math.h>
#include <string.h>

// Operands that are weights wherever they come from.
static const struct {
    const char *op;
    size_t from, to;
    unsigned role;
} weights[] = {
    {"Conv", 1, 2, FE_ROLE_WEIGHT},
    {"ConvTranspose", 1, 2, FE_ROLE_WEIGHT},
    {"DeformConv", 1, 1, FE_ROLE_WEIGHT},
    {"DeformConv", 3, 3, FE_ROLE_WEIGHT},
    {"Gemm", 0, 2, FE_ROLE_WEIGHT},
    {"MatMul", 0, 1, FE_ROLE_WEIGHT},
    {"FusedMatMul", 0, 1, FE_ROLE_WEIGHT},
    {"TransposeMatMul", 0, 1, FE_ROLE_WEIGHT},
    {"Einsum", 0, 1, FE_ROLE_WEIGHT},
    {"PRelu", 1, 1, FE_ROLE_WEIGHT},
    {"BatchNormalization", 1, 2, FE_ROLE_WEIGHT},
    {"BatchNormalization", 3, 4, FE_ROLE_STATISTIC},
    {"LayerNormalization", 1, 2, FE_ROLE_WEIGHT},
    {"RMSNormalization", 1, 1, FE_ROLE_WEIGHT},
    {"InstanceNormalization", 1, 2, FE_ROLE_WEIGHT},
    {"GroupNormalization", 1, 2, FE_ROLE_WEIGHT},
    {"Gather", 0, 0, FE_ROLE_WEIGHT},
    {"RNN", 1, 3, FE_ROLE_WEIGHT},
    {"GRU", 1, 3, FE_ROLE_WEIGHT},
    {"LSTM", 1, 3, FE_ROLE_WEIGHT},
    {"LSTM", 7, 7, FE_ROLE_WEIGHT},
};

static bool any_of(const Onnx__NodeProto *p, const char *const *ops) {
    for (; *ops; ops++)
        if (fe_flow_is(p, *ops)) return true;
    return false;
}
#define ANY_OF(p, ...) any_of(p, (const char *const[]){__VA_ARGS__, NULL})

// --- what is around a node

struct at { // operand k of node p in body f; `depth`: how far from the tensor that is asked about
    const struct fe_flow *f;
    const Onnx__NodeProto *p;
    size_t k;
    int depth;
};
#define MAX_DEPTH 6

static const char *other_operand(const struct at *at) { // of an operator of two
    return at->p->n_input == 2 ? at->p->input[1 - at->k] : "";
}

// Whether everything that reads a value, but for casts, passes `test`.
static bool readers(const struct fe_flow *f, const char *name, bool (*test)(const struct at *at), int depth) {
    const struct fe_flow_value *v = fe_flow_find(f, name);
    if (!v || v->n_uses == 0 || v->captured || depth > MAX_DEPTH) return false;
    for (size_t i = 0; i < v->n_uses; i++) {
        const struct fe_flow_use *u = &f->uses[v->first + i];
        const struct at at = {f, f->nodes[u->node], u->operand, depth + 1};
        const bool cast = ANY_OF(at.p, "Cast", "Identity") && at.p->n_output;
        if (cast ? !readers(f, at.p->output[0], test, depth + 1) : !test(&at)) return false;
    }
    return true;
}

static bool needs_epsilon(const struct at *at) {
    return ANY_OF(at->p, "Sqrt", "Log", "Reciprocal") || (at->k == 1 && fe_flow_is(at->p, "Div")) ||
           (at->k == 0 && fe_flow_is(at->p, "Pow"));
}

static bool result_goes(const struct at *at, bool (*test)(const struct at *at)) {
    return at->p->n_output && readers(at->f, at->p->output[0], test, at->depth);
}

// The node that makes a value, but for casts.
static const Onnx__NodeProto *maker(const struct fe_flow *f, const char *name) {
    const Onnx__NodeProto *p = fe_flow_producer(f, name);
    for (int i = 0; i < MAX_DEPTH && ANY_OF(p, "Cast", "Identity") && p->n_input; i++)
        p = fe_flow_producer(f, p->input[0]);
    return p;
}

#define MADE_BY(at, ...) ANY_OF(maker((at)->f, other_operand(at)), __VA_ARGS__)

// Neither a tensor of the file nor one in another shape.
static bool is_computed(const struct fe_flow *f, const char *name) {
    const Onnx__NodeProto *p = fe_flow_producer(f, name);
    for (int i = 0; i < MAX_DEPTH && p && p->n_input && fe_flow_moves(p, 0); i++) p = fe_flow_producer(f, p->input[0]);
    return p && !fe_flow_is(p, "Constant");
}

// --- numbers of formulas, as exporters spell them out

static bool is_sum(const struct at *at) { return fe_flow_is(at->p, "Add"); }
static bool is_factor(const struct at *at) { return fe_flow_is(at->p, "Mul"); }
static bool is_clip(const struct at *at) { return fe_flow_is(at->p, "Clip"); }

// GELU's argument of Erf, or of Tanh where 1 is added to it; SiLU's of Sigmoid.
static bool into_gelu(const struct at *at) {
    if (ANY_OF(at->p, "Mul", "Div", "Add")) return result_goes(at, into_gelu);
    return fe_flow_is(at->p, "Erf") || (fe_flow_is(at->p, "Tanh") && result_goes(at, is_sum)) ||
           (fe_flow_is(at->p, "Sigmoid") && result_goes(at, is_factor));
}

// A product with 1 + erf(x).
static bool has_gelu(const struct fe_flow *f, const char *name, int depth) {
    const Onnx__NodeProto *p = maker(f, name);
    if (!p || p->n_input != 2 || depth > 3) return false;
    for (size_t k = 0; k < 2; k++) {
        if (fe_flow_is(p, "Add") && ANY_OF(maker(f, p->input[k]), "Erf", "Tanh")) return true;
        if (fe_flow_is(p, "Mul") && has_gelu(f, p->input[k], depth + 1)) return true;
    }
    return false;
}
static bool by_gelu(const struct at *at) { return fe_flow_is(at->p, "Mul") && has_gelu(at->f, other_operand(at), 0); }

// Attention: the scores, a product of two computed tensors, or one of these, by the root of their length.
static bool to_softmax(const struct at *at) {
    return fe_flow_is(at->p, "Softmax") || (ANY_OF(at->p, "Add", "Where") && result_goes(at, to_softmax));
}
static bool into_scores(const struct at *at) {
    if (fe_flow_moves(at->p, at->k)) return result_goes(at, into_scores);
    return fe_flow_is(at->p, "MatMul") && is_computed(at->f, other_operand(at));
}
static bool scales_attention(const struct at *at) {
    const Onnx__NodeProto *p = maker(at->f, other_operand(at));
    const bool scores = fe_flow_is(p, "MatMul") && p->n_input == 2 && is_computed(at->f, p->input[0]) &&
                        is_computed(at->f, p->input[1]);
    return scores ? result_goes(at, to_softmax) : result_goes(at, into_scores);
}

// --- elements

static bool all_elements(const struct fe_blob *b, bool (*good)(double v, unsigned *seen), unsigned want) {
    unsigned seen = 0;
    for (int64_t i = 0; i < b->n; i++)
        if (!good(fe_blob_float(b, i), &seen)) return false;
    return seen == want;
}

static bool zero_or_far(double v, unsigned *seen) { // added before a softmax
    *seen |= v == 0 ? 1 : 2;
    return v == 0 || v <= -100;
}

static bool zero_or_one(double v, unsigned *seen) { // multiplied
    *seen |= v == 0 ? 1 : 2;
    return v == 0 || v == 1;
}

static int64_t flipped(int64_t i, int rank, const int64_t *dims, int axis) { // row-major index over dims
    int64_t inner = 1;
    for (int k = axis + 1; k < rank; k++) inner *= dims[k];
    const int64_t at = i / inner % dims[axis];
    return i + (dims[axis] - 1 - 2 * at) * inner;
}

// A resampling or blur filter: weight [C, 1, k..] whose kernels are all the same, mirror themselves on every axis (or
// change their sign) and are more than one tap. A box counts where it is a mean.
static bool is_filter(const struct fe_blob *b) {
    const int rank = b->type.rank - 2;
    if (rank < 1 || b->type.dims[1] != 1 || b->n == 0) return false;
    const int64_t channels = b->type.dims[0], taps = b->n / channels, *dims = b->type.dims + 2;
    bool flat = true;
    double sum = 0;
    int64_t nonzero = 0;
    for (int64_t i = 0; i < taps; i++) {
        const double v = fe_blob_float(b, i);
        sum += v;
        nonzero += v != 0;
        flat &= v == fe_blob_float(b, 0);
    }
    if (nonzero < 2 || (flat && fabs(sum - 1) > 1e-3)) return false;
    for (int axis = 0; axis < rank; axis++) {
        bool even = true, odd = true;
        for (int64_t i = 0; i < taps; i++) {
            const double v = fe_blob_float(b, i), w = fe_blob_float(b, flipped(i, rank, dims, axis));
            even &= fabs(v - w) <= 1e-6 * fabs(v);
            odd &= fabs(v + w) <= 1e-6 * fabs(v);
        }
        if (!even && !odd) return false;
    }
    for (int64_t i = taps; i < b->n; i++)
        if (fe_blob_float(b, i) != fe_blob_float(b, i % taps)) return false;
    return true;
}

// --- the model's input

static const Onnx__ValueInfoProto *graph_input(const Onnx__GraphProto *g, const char *name) {
    for (size_t i = 0; i < g->n_input; i++)
        if (g->input[i]->name && !strcmp(g->input[i]->name, name)) return g->input[i];
    return NULL;
}

static bool is_stored(const struct fe_flow *f, const char *name) {
    const struct fe_flow_value *v = *name ? fe_flow_find(f, name) : NULL;
    return v && (v->stored || fe_flow_is(fe_flow_producer(f, name), "Constant"));
}

// The input that a value is, but for its order and for earlier steps of its normalisation; NULL: none.
static const Onnx__ValueInfoProto *as_input(const struct fe_flow *f, const Onnx__GraphProto *g, const char *name) {
    for (int depth = 0; depth < 8; depth++) {
        const Onnx__NodeProto *p = fe_flow_producer(f, name);
        if (!p) {
            return is_stored(f, name) ? NULL : graph_input(g, name);
        }
        size_t k = 0;
        if (ANY_OF(p, "Sub", "Div", "Mul", "Add") && p->n_input == 2) {
            if (is_stored(f, p->input[0])) k = 1;
            if (!is_stored(f, p->input[1 - k])) return NULL;
        } else if (!ANY_OF(p, "Cast", "Identity", "Transpose", "Slice", "Gather", "Resize", "Pad", "Unsqueeze",
                           "Squeeze") ||
                   !p->n_input) {
            return NULL;
        }
        name = p->input[k];
    }
    return NULL;
}

// Mean and deviation, (x - m) / s, also as a factor and a shift: then one number for each channel of an image.
static bool normalises(const struct at *at, const Onnx__GraphProto *g, const struct fe_blob *b) {
    const bool inverse = ANY_OF(at->p, "Sub", "Div"), direct = ANY_OF(at->p, "Mul", "Add");
    if ((!inverse && !direct) || at->f->depth || (inverse && at->k != 1)) return false;
    const Onnx__ValueInfoProto *in = as_input(at->f, g, other_operand(at));
    if (!in || inverse) return in != NULL;
    const bool shaped = in->type && in->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE &&
                        in->type->tensor_type && in->type->tensor_type->shape;
    int wide = 0;
    for (int i = 0; i < b->type.rank; i++) wide += b->type.dims[i] != 1;
    return shaped && in->type->tensor_type->shape->n_dim >= 4 && wide <= 1;
}

// --- the role

// What an operand of one element is; 0: nothing in particular.
static unsigned one_number(const struct at *at, const struct fe_blob *b) {
    const bool sum = ANY_OF(at->p, "Add", "Sub"), factor = ANY_OF(at->p, "Mul", "Div");
    if (ANY_OF(at->p, "Exp", "Softplus", "Sigmoid", "Tanh")) return FE_ROLE_WEIGHT; // exp(logit_scale)
    if (ANY_OF(at->p, "Max", "Min")) return FE_ROLE_BOUND;
    if (fe_flow_is(at->p, "Where")) return FE_ROLE_FILL;
    if (!sum && !factor) return 0;
    if (fe_flow_is(at->p, "Add") && MADE_BY(at, "MatMul", "Conv", "ConvTranspose")) return FE_ROLE_WEIGHT; // a bias
    if (fe_flow_is(at->p, "Add") && result_goes(at, needs_epsilon)) return FE_ROLE_EPSILON;
    if (fe_blob_float(b, 0) <= -1e3) return FE_ROLE_MASK;                         // (1 - mask) * -10000
    const bool formula = (at->k == 0 && ANY_OF(at->p, "Sub", "Div")) ||           // 1 - x, 1 / x
                         (sum && MADE_BY(at, "Erf", "Exp", "Tanh", "Sigmoid")) || // 1 + erf(x)
                         (sum && result_goes(at, is_clip)) ||                     // relu6(x + 3) / 6
                         (factor && MADE_BY(at, "Clip", "ReduceSum", "Less", "Greater", "LessOrEqual",
                                            "GreaterOrEqual")) || // a mean, a dropout's 1 / p
                         (factor && (result_goes(at, into_gelu) || result_goes(at, by_gelu) ||
                                     has_gelu(at->f, other_operand(at), 0) || scales_attention(at)));
    return formula ? FE_ROLE_ACTIVATION : 0;
}

static unsigned role_at(const struct at *at, const Onnx__GraphProto *g, const struct fe_float *t) {
    const struct fe_blob *b = &t->blob;
    const unsigned slot = fe_flow_slot(at->p, at->k);
    if (slot) return slot & FE_REACH_EXPONENT ? FE_ROLE_EXPONENT : 0;
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        if (at->k >= weights[i].from && at->k <= weights[i].to && fe_flow_is(at->p, weights[i].op))
            return at->k == 1 && ANY_OF(at->p, "Conv", "ConvTranspose") && is_filter(b) ? FE_ROLE_FILTER
                                                                                        : weights[i].role;
    if (normalises(at, g, b)) return FE_ROLE_INPUT;
    const unsigned one = b->n == 1 ? one_number(at, b) : 0;
    if (one) return one;
    if (fe_flow_is(at->p, "Add")) {
        if (b->type.rank <= 1 && MADE_BY(at, "MatMul", "Conv", "ConvTranspose")) return FE_ROLE_WEIGHT; // a bias
        if (b->n > 1 && all_elements(b, zero_or_far, 3)) return FE_ROLE_MASK;
    }
    if ((fe_flow_is(at->p, "Mul") || (at->k == 1 && fe_flow_is(at->p, "Sub"))) && b->n > 3 &&
        all_elements(b, zero_or_one, 3))
        return FE_ROLE_MASK;
    return FE_ROLE_ANY;
}

static bool is_data(const struct fe_flow *f, const Onnx__NodeProto *p) {
    for (size_t k = 0; k < p->n_output; k++) {
        const struct fe_flow_value *v = fe_flow_find(f, p->output[k]);
        if (v && v->reach & FE_REACH_DATA) return true;
    }
    return false;
}

static unsigned roles(const struct fe_flow *f, const Onnx__GraphProto *g, const struct fe_float *t, const char *name,
                      int depth) {
    const struct fe_flow_value *v = fe_flow_find(f, name);
    if (!v) return 0;
    if (depth > 32) return FE_ROLE_ANY;
    unsigned r = 0;
    for (size_t i = 0; i < f->n_nodes && v->captured; i++)
        for (const struct fe_flow *b = f->inner[i]; b && b->parent; b = b->next) r |= roles(b, g, t, name, depth + 1);
    for (size_t i = 0; i < f->n_results && v->reach & FE_REACH_DATA; i++)
        if (!f->parent && !strcmp(f->results[i], name)) r |= FE_ROLE_ANY; // a tensor that is a result
    for (size_t i = 0; i < v->n_uses; i++) {
        const struct fe_flow_use *u = &f->uses[v->first + i];
        const Onnx__NodeProto *p = f->nodes[u->node];
        const struct fe_flow *in = f->inner[u->node];
        if (!is_data(f, p)) continue;
        const char *inside = fe_flow_inside(f, u->node, u->operand);
        if (inside) {
            r |= roles(in, g, t, inside, depth + 1);
        } else if (in && !in->parent) {
            continue;
        } else if (fe_flow_moves(p, u->operand) && p->n_output) {
            r |= roles(f, g, t, p->output[0], depth + 1);
        } else {
            r |= role_at(&(struct at){f, p, u->operand, 0}, g, t);
        }
    }
    return r;
}

unsigned fe_roles(const struct fe_flow *f, const Onnx__GraphProto *g, const struct fe_float *t) {
    return roles(f, g, t, t->name, 0);
}
