// Steps of optimizers as operators (ai.onnx.preview.training): a rate, a count of steps, then k tensors, k gradients
// and k of each state; k new tensors and k of each new state.
#include "onnx_internal.h"

#include <string.h>

struct step {
    struct fe_ctx *c;
    ir_vid rate, count; // f32[]-like, i64[]
    size_t k, states;
    ir_vid x, g, state[2]; // of one tensor; g regularised
};

static ir_vid times(struct step *s, ir_vid x, double k) {
    return x == IR_NONE ? x : fe_e2(s->c, IR_OP_mul, x, fe_num(s->c, fe_typeof(s->c, x)->dtype, k));
}
static ir_vid plus(struct step *s, ir_vid x, ir_vid y) { return fe_e2(s->c, IR_OP_add, x, y); }
static ir_vid square(struct step *s, ir_vid x) { return fe_e2(s->c, IR_OP_mul, x, x); }

static bool begin(struct fe_ctx *c, struct fe_node *n, size_t states, struct step *s) {
    *s = (struct step){.c = c, .rate = fe_in(c, n, 0), .count = fe_in(c, n, 1), .states = states};
    if (s->rate == IR_NONE || s->count == IR_NONE || n->n_in < 2 || (n->n_in - 2) % (2 + states) || n->n_in == 2)
        return fe_fail(c, n, "needs a rate, a count of steps and %zu tensors for each that is trained", 2 + states);
    s->k = (n->n_in - 2) / (2 + states);
    if (ir_numel(fe_typeof(c, s->rate)) != 1 || ir_numel(fe_typeof(c, s->count)) != 1)
        return fe_fail(c, n, "its rate and its count of steps must be one number each");
    s->rate = fe_reshape(c, s->rate, 0, NULL);
    s->count = fe_reshape(c, s->count, 0, NULL);
    return s->rate != IR_NONE && s->count != IR_NONE;
}

static bool tensor(struct fe_node *n, struct step *s, size_t i) {
    s->x = fe_in(s->c, n, 2 + i);
    ir_vid g = fe_in(s->c, n, 2 + s->k + i);
    for (size_t k = 0; k < s->states; k++) {
        s->state[k] = fe_in(s->c, n, 2 + (2 + k) * s->k + i);
        if (s->state[k] == IR_NONE) return fe_fail(s->c, n, "operand %zu is missing", 2 + (2 + k) * s->k + i);
    }
    if (s->x == IR_NONE || g == IR_NONE) return fe_fail(s->c, n, "a tensor or its gradient is missing");
    const double norm = fe_attr_f(s->c, n, "norm_coefficient", 0);
    s->g = norm != 0 ? plus(s, times(s, s->x, norm), g) : g;
    return s->g != IR_NONE;
}

static bool results(struct fe_node *n, struct step *s, size_t i, ir_vid x, const ir_vid *state) {
    bool ok = fe_out(s->c, n, i, x);
    for (size_t k = 0; ok && k < s->states; k++) ok = fe_out(s->c, n, (1 + k) * s->k + i, state[k]);
    return ok;
}

// x - rate * by
static ir_vid moved(struct step *s, ir_vid rate, ir_vid by) {
    return fe_e2(s->c, IR_OP_sub, s->x, fe_e2(s->c, IR_OP_mul, rate, by));
}

static ir_vid over_root(struct step *s, ir_vid x, ir_vid squares, double eps) {
    ir_vid root = fe_e1(s->c, IR_OP_sqrt, squares);
    if (root == IR_NONE) return root;
    return fe_e2(s->c, IR_OP_div, x, plus(s, root, fe_num(s->c, fe_typeof(s->c, root)->dtype, eps)));
}

static ir_vid begun(struct step *s) { // any step was taken before
    int64_t none = 0;
    return fe_e2(s->c, IR_OP_lt, ir_const(s->c->g, ir_scalar_type(IR_I64), &none), s->count);
}

bool fe_op_momentum(struct fe_ctx *c, struct fe_node *n) {
    struct step s;
    if (!begin(c, n, 1, &s)) return false;
    const char *mode = fe_attr_s(c, n, "mode", "standard");
    const bool nesterov = !strcmp(mode, "nesterov");
    if (!nesterov && strcmp(mode, "standard"))
        return fe_fail(c, n, "mode \"%s\"; standard and nesterov are known", mode);
    const double alpha = fe_attr_f(c, n, "alpha", 0), beta = fe_attr_f(c, n, "beta", 0);
    for (size_t i = 0; i < s.k; i++) {
        if (!tensor(n, &s, i)) return false;
        const enum ir_dtype t = fe_typeof(c, s.g)->dtype;
        ir_vid part = fe_where(c, begun(&s), fe_num(c, t, beta), fe_num(c, t, 1));
        ir_vid v = plus(&s, times(&s, s.state[0], alpha), fe_e2(c, IR_OP_mul, part, s.g));
        if (!results(n, &s, i, moved(&s, s.rate, nesterov ? plus(&s, s.g, times(&s, v, alpha)) : v), &v)) return false;
    }
    return true;
}

bool fe_op_adagrad(struct fe_ctx *c, struct fe_node *n) {
    struct step s;
    if (!begin(c, n, 1, &s)) return false;
    const double decay = fe_attr_f(c, n, "decay_factor", 0), eps = fe_attr_f(c, n, "epsilon", (double)1e-6f);
    const enum ir_dtype t = fe_typeof(c, s.rate)->dtype;
    ir_vid rate = fe_e2(c, IR_OP_div, s.rate, plus(&s, times(&s, fe_cast(c, s.count, t), decay), fe_num(c, t, 1)));
    for (size_t i = 0; i < s.k; i++) {
        if (!tensor(n, &s, i)) return false;
        ir_vid h = plus(&s, s.state[0], square(&s, s.g));
        if (!results(n, &s, i, moved(&s, rate, over_root(&s, s.g, h, eps)), &h)) return false;
    }
    return true;
}

// 1 - b^count
static ir_vid remainder_of(struct step *s, double b, enum ir_dtype t) {
    ir_vid power = fe_e2(s->c, IR_OP_pow, fe_num(s->c, t, b), fe_cast(s->c, s->count, t));
    return fe_e2(s->c, IR_OP_sub, fe_num(s->c, t, 1), power);
}

bool fe_op_adam(struct fe_ctx *c, struct fe_node *n) {
    struct step s;
    if (!begin(c, n, 2, &s)) return false;
    const double alpha = fe_attr_f(c, n, "alpha", (double)0.9f), beta = fe_attr_f(c, n, "beta", (double)0.999f);
    const double eps = fe_attr_f(c, n, "epsilon", (double)1e-6f), post = fe_attr_f(c, n, "norm_coefficient_post", 0);
    const enum ir_dtype t = fe_typeof(c, s.rate)->dtype;
    ir_vid bias = fe_e2(c, IR_OP_div, fe_e1(c, IR_OP_sqrt, remainder_of(&s, beta, t)), remainder_of(&s, alpha, t));
    // Chosen before the product: of a step 0 the correction is 0/0, and its gradient would be, too.
    ir_vid rate = fe_e2(c, IR_OP_mul, s.rate, fe_where(c, begun(&s), bias, fe_num(c, t, 1)));
    for (size_t i = 0; i < s.k; i++) {
        if (!tensor(n, &s, i)) return false;
        ir_vid state[2] = {plus(&s, times(&s, s.state[0], alpha), times(&s, s.g, 1 - alpha)),
                           plus(&s, times(&s, s.state[1], beta), times(&s, square(&s, s.g), 1 - beta))};
        ir_vid x = moved(&s, rate, over_root(&s, state[0], state[1], eps));
        if (!results(n, &s, i, post != 0 ? times(&s, x, 1 - post) : x, state)) return false;
    }
    return true;
}
