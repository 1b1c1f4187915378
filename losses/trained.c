// Numbers of a method's own that are trained: what they are after a step, drawn once their gradients are there. The
// rules are those of PyTorch's optimizers of the same names.
#include "losses_internal.h"

#include <string.h>

// A scalar, or an output, a single number each; a scalar where there is neither. NULL: 0, which is no term at all.
static ir_vid number(struct loss_builder *b, const char *name) {
    if (!name) return IR_NONE;
    ir_vid v = loss_put_out(b->g, name);
    return v != IR_NONE ? v : loss_scalar(b, name);
}

// A tensor that the rule remembers of what it trains: "state.w.0" has "state.w.velocity.0". Shaped alike, or a number.
struct memory {
    const char *name;
    ir_vid was;
};
static struct memory remembered(struct loss_builder *b, const struct loss_trained *t, const char *what, bool one) {
    const struct method_name n = method_parse(t->name);
    const struct ir_type like = b->g->values[loss_declared(b->g, t->name)].type;
    struct memory m = {.name = n.peer < 0 ? arena_printf(b->a, "%s.%s", n.stem, what)
                                          : arena_printf(b->a, "%s.%s.%d", n.stem, what, n.peer)};
    m.was = loss_input(b, m.name, IR_F32, one ? 0 : like.rank, like.dims);
    return m;
}

// `now`, or while what is trained rests, what was.
static ir_vid unless_resting(struct loss_builder *b, const struct loss_trained *t, ir_vid now, ir_vid was) {
    ir_vid when = number(b, t->how.when);
    if (when == IR_NONE) return now;
    return ir_where(b->g, ir_binary(b->g, IR_OP_lt, ir_const_f(b->g, 0), when), now, was);
}

static ir_vid remember(struct loss_builder *b, const struct loss_trained *t, const struct memory *m, ir_vid now) {
    loss_output(b, m->name, unless_resting(b, t, now, m->was));
    return now;
}

static ir_vid step(struct loss_builder *b, const struct loss_trained *t, ir_vid w, ir_vid grad) {
    return ir_sub(b->g, w, ir_mul(b->g, number(b, t->how.rate), grad));
}

static ir_vid decayed(struct loss_builder *b, const struct loss_trained *t, ir_vid w, ir_vid grad) {
    ir_vid decay = number(b, t->how.decay);
    return decay == IR_NONE ? grad : ir_add(b->g, grad, ir_mul(b->g, decay, w));
}

static ir_vid sgd(struct loss_builder *b, const struct loss_trained *t, ir_vid w, ir_vid grad) {
    const struct memory velocity = remembered(b, t, "velocity", false);
    ir_vid v = decayed(b, t, w, grad), momentum = number(b, t->how.momentum);
    if (momentum == IR_NONE) return step(b, t, w, remember(b, t, &velocity, v));
    ir_vid d = v, ahead = number(b, t->how.nesterov);
    v = remember(b, t, &velocity, ir_add(b->g, ir_mul(b->g, momentum, velocity.was), d));
    if (ahead == IR_NONE) return step(b, t, w, v);
    ir_vid off = ir_binary(b->g, IR_OP_eq, ahead, ir_const_f(b->g, 0));
    return step(b, t, w, ir_where(b->g, off, v, ir_add(b->g, d, ir_mul(b->g, momentum, v))));
}

// beta x + (1-beta) y
static ir_vid average(struct loss_builder *b, double beta, ir_vid x, ir_vid y) {
    struct ir_graph *g = b->g;
    return ir_add(g, ir_mul(g, ir_const_f(g, beta), x), ir_mul(g, ir_const_f(g, 1 - beta), y));
}

// A mean that began at 0, without the share that the beginning still has in it. 1 - beta^t, which is what PyTorch
// divides by, loses its digits in float32 while t is small; the sum of the weights so far is the same and does not.
static ir_vid mean_of(struct loss_builder *b, const struct loss_trained *t, const char *what, double beta, ir_vid x) {
    const struct memory mean = remembered(b, t, what, false),
                        share = remembered(b, t, arena_printf(b->a, "%s.share", what), true);
    ir_vid now = remember(b, t, &mean, average(b, beta, mean.was, x));
    return ir_div(b->g, now, remember(b, t, &share, average(b, beta, share.was, ir_const_f(b->g, 1))));
}

static ir_vid adam(struct loss_builder *b, const struct loss_trained *t, ir_vid w, ir_vid grad) {
    struct ir_graph *g = b->g;
    ir_vid d = decayed(b, t, w, grad), mean = mean_of(b, t, "mean", 0.9, d),
           square = mean_of(b, t, "square", 0.999, ir_mul(g, d, d));
    return step(b, t, w, ir_div(g, mean, ir_add(g, ir_unary(g, IR_OP_sqrt, square), ir_const_f(g, 1e-8))));
}

ir_vid loss_trained(struct loss_builder *b, const struct loss_trained *t, ir_vid grad) {
    static ir_vid (*const rules[])(struct loss_builder *b, const struct loss_trained *t, ir_vid w,
                                   ir_vid grad) = {[LOSS_STEP] = step, [LOSS_SGD] = sgd, [LOSS_ADAM] = adam};
    ir_vid was = loss_declared(b->g, t->name);
    return unless_resting(b, t, rules[t->how.rule](b, t, was, grad), was);
}
