// Finite differences against ir_differentiate, both on the float64 interpreter: what the op tests share.
//
// A case builds a small graph from random inputs; its result (or results: every float output set by the builder) is
// weighted with random cotangents into one number, whose central difference along each element of each float input must
// equal the gradient that autodiff computes.
#ifndef SMKD_TESTS_FD_H
#define SMKD_TESTS_FD_H

#include "../../ir/eval.h"
#include "../../ir/ir.h"

#include <math.h>
#include <string.h>

// How inputs are drawn, so that no kink or pole lies within the difference step of 1e-5.
enum fd_draw {
    FD_ANY,      // uniform in [-2, 2)
    FD_POSITIVE, // uniform in [0.5, 2): logarithms, roots, divisors, powers
    FD_NONZERO,  // +-[0.25, 2): kinks at 0 (relu, abs, sign)
    FD_DISTINCT, // a random order of values 0.01 apart: maxima have one winner, binary max/min never tie
    FD_HALVES,   // x.25 or x.75: steps at the integers and half-integers (floor, round)
    FD_INDEX,    // i64 in [0, 3)
    FD_INDEX_NEG // i64 in [-3, 3): gather counts negative ones from the end
};

#define FD_MAX_INPUTS 8
struct fd_inputs { // what the builder declared, in boundary order
    struct ir_graph *g;
    ir_vid v[FD_MAX_INPUTS];
    enum fd_draw draw[FD_MAX_INPUTS];
    size_t n;
};

struct fd_case {
    const char *name;
    ir_vid (*build)(struct fd_inputs *in); // returns the result, or IR_NONE after setting outputs itself
};

static inline ir_vid fd_input(struct fd_inputs *in, enum fd_draw draw, int rank, const int64_t *dims) {
    static const char *const names[FD_MAX_INPUTS] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    CHECK(in->n < FD_MAX_INPUTS, "too many inputs");
    struct ir_type t = ir_type_make(draw == FD_INDEX || draw == FD_INDEX_NEG ? IR_I64 : IR_F32, rank, dims);
    ir_vid v = ir_boundary(in->g, IR_ROLE_INPUT, t, names[in->n], NULL);
    in->v[in->n] = v;
    in->draw[in->n++] = draw;
    return v;
}
// FD_IN(FD_ANY, IR_N, 3): an input of these dims. FD_IN0: a scalar.
#define FD_IN(draw, ...)                                                                                               \
    fd_input(in, draw, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})
#define FD_IN0(draw) fd_input(in, draw, 0, NULL)

// splitmix64
static inline uint64_t fd_next(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static inline double fd_uniform(uint64_t *state) { return (double)(fd_next(state) >> 11) * 0x1p-53; }

static inline void fd_fill(struct ir_tensor *t, enum fd_draw draw, uint64_t *rng) {
    size_t n = ir_tensor_numel(t);
    double offset = 0.008 * fd_uniform(rng); // two tensors of distinct values do not meet either
    for (size_t i = 0; i < n; i++) {
        double u = fd_uniform(rng);
        switch (draw) {
        case FD_ANY:
            t->f[i] = 4 * u - 2;
            break;
        case FD_POSITIVE:
            t->f[i] = 0.5 + 1.5 * u;
            break;
        case FD_NONZERO:
            t->f[i] = (0.25 + 1.75 * u) * (fd_next(rng) & 1 ? 1 : -1);
            break;
        case FD_DISTINCT:
            t->f[i] = 0.01 * ((double)i - (double)n / 2) + offset;
            break;
        case FD_HALVES:
            t->f[i] = floor(6 * u - 3) + (fd_next(rng) & 1 ? 0.25 : 0.75);
            break;
        case FD_INDEX:
            t->i[i] = (int64_t)(3 * u);
            break;
        case FD_INDEX_NEG:
            t->i[i] = (int64_t)(6 * u) - 3;
            break;
        }
    }
    for (size_t i = n; draw == FD_DISTINCT && i > 1; i--) {
        size_t j = (size_t)(fd_uniform(rng) * (double)i);
        double swap = t->f[j];
        t->f[j] = t->f[i - 1];
        t->f[i - 1] = swap;
    }
}

static inline void fd_expand(struct ir_graph *g, enum ir_expand_mode mode) {
    struct ir_pass_options o = {.mode = mode, .verify = true};
    CHECK(ir_run_passes(g, "expand", &o) == SMKD_OK, "pass expand failed");
}

static inline void fd_build(const struct fd_case *c, struct arena *a, struct diag *d, struct fd_inputs *in) {
    *in = (struct fd_inputs){.g = ir_graph_new(a, d, "case")};
    ir_vid y = c->build(in);
    if (y != IR_NONE) ir_set_output(in->g, IR_OUT_OUTPUT, "y", y);
}

// Evaluates with the given input tensors; cotangents (when the graph has any) are drawn from *seed by output.
static inline struct ir_tensor **fd_eval(const struct ir_graph *g, struct arena *a, int64_t batch,
                                         const struct fd_inputs *in, struct ir_tensor *const *inputs, uint64_t seed) {
    struct ir_tensor **values = ARENA_ARRAY(a, struct ir_tensor *, g->n_values);
    for (size_t k = 0; k < in->n; k++) values[in->v[k]] = inputs[k];
    for (size_t b = 0; b < g->n_boundary; b++) {
        const struct ir_value *v = &g->values[g->boundary[b]];
        if (v->role != IR_ROLE_COTANGENT) continue;
        values[g->boundary[b]] = ir_tensor_new(a, ir_concrete(&v->type, batch));
        fd_fill(values[g->boundary[b]], FD_ANY, &seed);
    }
    ir_eval(g, a, batch, values);
    return values;
}

// sum over the float outputs of output * cotangent, with the cotangents fd_eval draws.
static inline double fd_loss(const struct ir_graph *g, int64_t batch, const struct fd_inputs *in,
                             struct ir_tensor *const *inputs, uint64_t seed) {
    struct arena a;
    arena_init(&a);
    struct ir_tensor **values = fd_eval(g, &a, batch, in, inputs, 0);
    double loss = 0;
    for (size_t k = 0; k < g->n_outputs; k++) {
        const struct ir_tensor *y = values[g->outputs[k].value];
        if (g->outputs[k].kind != IR_OUT_OUTPUT || !y->f) continue;
        struct ir_tensor *dy = ir_tensor_new(&a, y->type);
        fd_fill(dy, FD_ANY, &seed);
        for (size_t i = 0; i < ir_tensor_numel(y); i++) loss += y->f[i] * dy->f[i];
    }
    arena_release(&a);
    return loss;
}

static inline const struct ir_tensor *fd_gradient(const struct ir_graph *g, struct ir_tensor **values,
                                                  const char *name) {
    for (size_t k = 0; k < g->n_outputs; k++)
        if (g->outputs[k].kind == IR_OUT_GRAD_INPUT && !strcmp(g->outputs[k].name, name))
            return values[g->outputs[k].value];
    return NULL;
}

// 0 when every gradient agrees; prints the case, seed and first difference otherwise.
static inline int fd_check(const struct fd_case *c, int64_t batch, uint64_t seed) {
    struct arena a;
    struct diag d = {0};
    struct fd_inputs in, plain;
    struct ir_tensor *inputs[FD_MAX_INPUTS];
    int bad = 0;
    arena_init(&a);
    fd_build(c, &a, &d, &in);
    fd_build(c, &a, &d, &plain);
    fd_expand(in.g, IR_TRAIN);
    fd_expand(plain.g, IR_TRAIN);
    if (ir_differentiate(in.g, NULL, 0, true) != SMKD_OK || !ir_verify(in.g, &d)) {
        fprintf(stderr, "%s: no gradient graph\n", c->name);
        arena_release(&a);
        return 1;
    }
    uint64_t rng = seed;
    for (size_t k = 0; k < in.n; k++) {
        inputs[k] = ir_tensor_new(&a, ir_concrete(ir_typeof(in.g, in.v[k]), batch));
        fd_fill(inputs[k], in.draw[k], &rng);
    }
    struct ir_tensor **values = fd_eval(in.g, &a, batch, &in, inputs, seed ^ 0x5eed);
    for (size_t k = 0; k < in.n && !bad; k++) {
        if (!inputs[k]->f) continue;
        const struct ir_tensor *dx = fd_gradient(in.g, values, in.g->values[in.v[k]].name);
        for (size_t i = 0; i < ir_tensor_numel(inputs[k]) && !bad; i++) {
            const double h = 1e-5, x = inputs[k]->f[i];
            inputs[k]->f[i] = x + h;
            double up = fd_loss(plain.g, batch, &plain, inputs, seed ^ 0x5eed);
            inputs[k]->f[i] = x - h;
            double down = fd_loss(plain.g, batch, &plain, inputs, seed ^ 0x5eed);
            inputs[k]->f[i] = x;
            double want = (up - down) / (2 * h), got = dx ? dx->f[i] : NAN;
            // 1e-6 relative to the larger of the two and 1; below it the difference quotient itself is noise.
            if (fabs(got - want) <= 1e-6 * fmax(1, fmax(fabs(got), fabs(want)))) continue;
            fprintf(stderr, "%s: batch %lld, seed %llu: d/d%s[%zu] is %.10g, finite difference %.10g\n", c->name,
                    (long long)batch, (unsigned long long)seed, in.g->values[in.v[k]].name, i, got, want);
            bad = 1;
        }
    }
    arena_release(&a);
    return bad;
}

#endif
