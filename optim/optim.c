#include "optim.h"

#include <string.h>

struct builder {
    struct ir_graph *g;
    struct arena *a;
    ir_vid param, grad, state[OPTIMIZER_STATES];
};

static ir_vid scalar(struct builder *b, const char *name) {
    for (size_t i = 0; i < b->g->n_boundary; i++) {
        const struct ir_value *v = &b->g->values[b->g->boundary[i]];
        if (v->role == IR_ROLE_SCALAR && strcmp(v->name, name) == 0) return b->g->boundary[i];
    }
    return ir_boundary(b->g, IR_ROLE_SCALAR, ir_scalar_type(IR_F32), name, NULL);
}

// Results of a row's states, and then of the parameter: what reads the old parameter comes before what writes it.
static void store(struct builder *b, const struct optimizer *o, const ir_vid *state, ir_vid param) {
    for (int i = 0; o->states[i]; i++)
        ir_set_output(b->g, IR_OUT_OUTPUT, arena_printf(b->a, "state.%s", o->states[i]), state[i]);
    ir_set_output(b->g, IR_OUT_OUTPUT, "param", param);
}

// x - rate step. Not the rate's sign is turned: that would be a kernel of its own, in front of all others.
static ir_vid minus(struct builder *b, ir_vid x, ir_vid rate, ir_vid step) {
    return ir_fma(b->g, rate, ir_unary(b->g, IR_OP_neg, step), x);
}

// What is wanted several times is written down as often: a kernel computes it once, and a value that many nodes read
// would be put into memory.
static ir_vid decayed(struct builder *b) { return ir_fma(b->g, scalar(b, "weight_decay"), b->param, b->grad); }

// s + (x - s) (1 - X), PyTorch's lerp.
static ir_vid towards(struct builder *b, ir_vid s, ir_vid x, const char *rest) {
    return ir_fma(b->g, ir_sub(b->g, x, s), scalar(b, rest), s);
}

// X s + (1 - X) x y
static ir_vid average(struct builder *b, ir_vid s, const char *number, ir_vid x, ir_vid y) {
    ir_vid rest = scalar(b, arena_printf(b->a, "rest.%s", number));
    return ir_fma(b->g, ir_mul(b->g, x, y), rest, ir_mul(b->g, s, scalar(b, number)));
}

// As the UPDATE entry of a model: the same operations in the same order.
static void sgd(struct builder *b, const struct optimizer *o, bool ahead) {
    struct ir_graph *g = b->g;
    ir_vid v = ir_fma(g, scalar(b, "momentum"), b->state[0], decayed(b));
    ir_vid step = ahead ? ir_fma(g, scalar(b, "momentum"), v, decayed(b)) : v;
    store(b, o, &v, minus(b, b->param, scalar(b, "lr"), step));
}
static void sgd_plain(struct builder *b, const struct optimizer *o) { sgd(b, o, false); }
static void sgd_nesterov(struct builder *b, const struct optimizer *o) { sgd(b, o, true); }

static ir_vid adam_step(struct builder *b, const ir_vid *s, ir_vid from) {
    struct ir_graph *g = b->g;
    ir_vid size = ir_add(g, ir_div(g, ir_unary(g, IR_OP_sqrt, s[1]), scalar(b, "root_bias.beta2")), scalar(b, "eps"));
    return minus(b, from, scalar(b, "lr_bias.beta1"), ir_div(g, s[0], size));
}

static void adam(struct builder *b, const struct optimizer *o) {
    ir_vid s[] = {towards(b, b->state[0], decayed(b), "rest.beta1"),
                  average(b, b->state[1], "beta2", decayed(b), decayed(b))};
    store(b, o, s, adam_step(b, s, b->param));
}

static void adamw(struct builder *b, const struct optimizer *o) {
    ir_vid s[] = {towards(b, b->state[0], b->grad, "rest.beta1"), average(b, b->state[1], "beta2", b->grad, b->grad)};
    store(b, o, s, adam_step(b, s, ir_mul(b->g, b->param, scalar(b, "keep"))));
}

static void rmsprop(struct builder *b, const struct optimizer *o) {
    struct ir_graph *g = b->g;
    ir_vid square = average(b, b->state[0], "alpha", decayed(b), decayed(b));
    ir_vid step = ir_div(g, decayed(b), ir_add(g, ir_unary(g, IR_OP_sqrt, square), scalar(b, "eps")));
    ir_vid s[] = {square, ir_fma(g, scalar(b, "momentum"), b->state[1], step)};
    store(b, o, s, minus(b, b->param, scalar(b, "lr"), s[1]));
}

static void adagrad(struct builder *b, const struct optimizer *o) {
    struct ir_graph *g = b->g;
    ir_vid sum = ir_fma(g, decayed(b), decayed(b), b->state[0]);
    ir_vid step = ir_div(g, decayed(b), ir_add(g, ir_unary(g, IR_OP_sqrt, sum), scalar(b, "eps")));
    store(b, o, &sum, minus(b, b->param, scalar(b, "lr"), step));
}

static void lion(struct builder *b, const struct optimizer *o) {
    struct ir_graph *g = b->g;
    ir_vid sign = ir_unary(g, IR_OP_sign, towards(b, b->state[0], b->grad, "rest.beta1"));
    ir_vid s = towards(b, b->state[0], b->grad, "rest.beta2");
    store(b, o, &s, minus(b, ir_mul(g, b->param, scalar(b, "keep")), scalar(b, "lr"), sign));
}

static ir_vid norm(struct builder *b, ir_vid x, ir_vid again) {
    ir_vid sum = ir_mul(b->g, x, again); // rows are added up by all threads, then the lanes
    for (int i = 0; i < 2; i++) sum = ir_reduce(b->g, IR_OP_reduce_sum, sum, (int64_t[]){0}, 1, 0);
    return ir_unary(b->g, IR_OP_sqrt, sum);
}

static ir_vid lamb_step(struct builder *b, const ir_vid *s) {
    struct ir_graph *g = b->g;
    ir_vid size = ir_add(g, ir_div(g, ir_unary(g, IR_OP_sqrt, s[1]), scalar(b, "root_bias.beta2")), scalar(b, "eps"));
    ir_vid step = ir_div(g, ir_div(g, s[0], scalar(b, "bias.beta1")), size);
    return ir_fma(g, scalar(b, "weight_decay"), b->param, step);
}

// |w| / |step|, 1 where either is 0 and where nothing decays.
static ir_vid trust(struct builder *b, ir_vid w, ir_vid step) {
    struct ir_graph *g = b->g;
    ir_vid none = ir_const_f(g, 0), there[] = {w, step, scalar(b, "weight_decay")};
    ir_vid ok = ir_binary(g, IR_OP_lt, none, there[0]);
    for (int i = 1; i < 3; i++) ok = ir_binary(g, IR_OP_and, ok, ir_binary(g, IR_OP_lt, none, there[i]));
    return ir_where(g, ok, ir_div(g, w, step), ir_const_f(g, 1));
}

static void lamb(struct builder *b, const struct optimizer *o) {
    ir_vid s[] = {towards(b, b->state[0], b->grad, "rest.beta1"), average(b, b->state[1], "beta2", b->grad, b->grad)};
    ir_vid by = trust(b, norm(b, b->param, b->param), norm(b, lamb_step(b, s), lamb_step(b, s)));
    store(b, o, s, minus(b, b->param, ir_mul(b->g, scalar(b, "lr"), by), lamb_step(b, s)));
}

static const struct {
    const char *name;
    void (*draw)(struct builder *b, const struct optimizer *o);
} builders[] = {
    {"sgd", sgd_plain},   {"sgd_nesterov", sgd_nesterov}, {"adam", adam}, {"adamw", adamw},
    {"rmsprop", rmsprop}, {"adagrad", adagrad},           {"lamb", lamb}, {"lion", lion},
};

struct ir_graph *optim_build(const char *name, struct arena *a, struct diag *d) {
    const struct optimizer *o = optimizer_find(name);
    if (!o) {
        struct str all = STR_INIT;
        optimizer_names(&all);
        diag_error(d, NULL, "there is no optimizer \"%s\"; expected one of %s", name, all.s);
        str_release(&all);
        return NULL;
    }
    struct builder b = {.g = ir_graph_new(a, d, o->name), .a = a};
    b.g->cur_loc = (struct diag_loc){.node = o->name, .op = "optimizer"};
    const struct ir_type t = ir_type_make(IR_F32, 2, (int64_t[]){IR_N, OPTIM_LANES});
    b.param = ir_boundary(b.g, IR_ROLE_INPUT, t, "param", NULL);
    b.grad = ir_boundary(b.g, IR_ROLE_INPUT, t, "grad", NULL);
    for (int i = 0; o->states[i]; i++)
        b.state[i] = ir_boundary(b.g, IR_ROLE_INPUT, t, arena_printf(a, "state.%s", o->states[i]), NULL);
    size_t i = 0;
    while (i < sizeof builders / sizeof *builders && strcmp(builders[i].name, name) != 0) i++;
    CHECK(i < sizeof builders / sizeof *builders, "no graph for the optimizer %s", name);
    builders[i].draw(&b, o);
    return ir_verify(b.g, d) ? b.g : NULL;
}
