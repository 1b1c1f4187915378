// Random numbers. rand < p, cast to float, is a mask that keeps with chance p: dropout, which is off in inference.
// Exporters write stochastic depth and (in train mode, without the Dropout operator) dropout so, followed by a division
// by p; EfficientNet's drop-connect is the same mask as floor(p + rand). What is used in any other way are numbers of
// the op `random`, in inference as in training.
#include "onnx_internal.h"

#include <string.h>

ir_vid fe_seed(struct fe_ctx *c) {
    if (c->seed == IR_NONE) c->seed = ir_boundary(c->g, IR_ROLE_SCALAR, ir_scalar_type(IR_I64), "seed", NULL);
    return c->seed;
}

// --- numbers

// A node's own seed, which gives the same numbers in every run, or the run's.
static ir_vid seed_of(struct fe_ctx *c, const struct fe_node *n) {
    if (!fe_attr(n, "seed")) return fe_seed(c);
    const float own = (float)fe_attr_f(c, n, "seed", 0);
    uint32_t bits;
    memcpy(&bits, &own, sizeof bits);
    const int64_t key = (int64_t)bits;
    return ir_const(c->g, ir_scalar_type(IR_I64), &key);
}

// Uniform from 0 up to 1.
static ir_vid drawn(struct fe_ctx *c, ir_vid seed, const struct ir_type *t) {
    return fe_emit(c, IR_OP_random, &seed, 1, IR_ATTRS(IR_IS("shape", t->dims, t->rank), IR_I("salt", c->dropouts++)));
}

static ir_vid scaled(struct fe_ctx *c, ir_vid x, double by, double plus) {
    if (by != 1) x = fe_e2(c, IR_OP_mul, x, fe_f(c, by));
    return plus != 0 ? fe_e2(c, IR_OP_add, x, fe_f(c, plus)) : x;
}

ir_vid fe_random_vid(struct fe_ctx *c, const struct fe_val *v) {
    return scaled(c, drawn(c, v->random_seed, &v->random_type), 1, v->random_shift);
}

// Of two uniform numbers, by Box and Muller. 1 - u is never 0.
static ir_vid normal(struct fe_ctx *c, ir_vid seed, const struct ir_type *t) {
    ir_vid u = scaled(c, drawn(c, seed, t), -1, 1), angle = scaled(c, drawn(c, seed, t), 6.28318530717958647693, 0);
    ir_vid r = fe_e1(c, IR_OP_sqrt, scaled(c, fe_e1(c, IR_OP_log, u), -2, 0));
    return fe_e2(c, IR_OP_mul, r, fe_e1(c, IR_OP_cos, angle));
}

// The type that the attribute dtype says, else that of the operand, else float32; 16 bits are rounded to. false after
// reporting.
static bool result_type(struct fe_ctx *c, struct fe_node *n, enum ir_dtype *t, enum ir_half *half) {
    const struct fe_val *x = fe_arg(n, 0);
    const int64_t said = fe_attr_i(c, n, "dtype", 0);
    *t = x ? fe_type(c, x)->dtype : IR_F32;
    *half = said ? IR_HALF_NONE : x ? x->half : IR_HALF_NONE;
    if (!said) return true;
    if (said < 0 || said > INT32_MAX || !fe_onnx_to_ir((int32_t)said, t))
        return fe_fail(c, n, "dtype %lld is not supported", (long long)said);
    *half = fe_half((int32_t)said);
    return true;
}

static bool put(struct fe_ctx *c, struct fe_node *n, ir_vid v) {
    enum ir_dtype t;
    enum ir_half half;
    if (v == IR_NONE || !result_type(c, n, &t, &half)) return false;
    struct fe_val *r = fe_val_of(c, fe_cast(c, v, t));
    return r && fe_out_val(n, 0, fe_p_round(c, r, half));
}

// Rows are drawn per sample: a leading dim that is the file's fixed batch means the batch.
static struct ir_type per_sample(struct fe_ctx *c, struct ir_type t) {
    if (t.rank && c->baked && t.dims[0] == c->baked) t.dims[0] = IR_N;
    t.dtype = IR_F32;
    return t;
}

// The shape of operand 0, or of the attribute where there is none.
static bool shape_of(struct fe_ctx *c, struct fe_node *n, struct ir_type *t) {
    size_t k;
    const struct fe_val *x = fe_arg(n, 0);
    const int64_t *shape = fe_attr_ints(n, "shape", &k);
    if (!x && (!shape || k > IR_MAX_RANK)) return fe_fail(c, n, "needs a shape of at most %d dimensions", IR_MAX_RANK);
    for (size_t i = 0; !x && i < k; i++)
        if (shape[i] < 1) return fe_fail(c, n, "dimension %zu of its shape is %lld", i, (long long)shape[i]);
    *t = per_sample(c, x ? *fe_type(c, x) : ir_type_make(IR_F32, (int)k, shape));
    return true;
}

bool fe_op_random_uniform(struct fe_ctx *c, struct fe_node *n) {
    struct ir_type t;
    const double low = fe_attr_f(c, n, "low", 0), high = fe_attr_f(c, n, "high", 1);
    enum ir_dtype as;
    enum ir_half half;
    if (!shape_of(c, n, &t) || !result_type(c, n, &as, &half)) return false;
    if (low != 0 || high != 1 || as != IR_F32)
        return put(c, n, scaled(c, drawn(c, seed_of(c, n), &t), high - low, low));
    struct fe_val *v = fe_val_sym(c, fe_sym_scalar_f(c->a, 0)); // a mask in the making, perhaps
    v->sym = NULL;
    v->random = FE_UNIFORM;
    v->random_type = t;
    v->random_seed = seed_of(c, n);
    return fe_out_val(n, 0, v);
}

bool fe_op_random_normal(struct fe_ctx *c, struct fe_node *n) {
    struct ir_type t;
    if (!shape_of(c, n, &t)) return false;
    return put(c, n, scaled(c, normal(c, seed_of(c, n), &t), fe_attr_f(c, n, "scale", 1), fe_attr_f(c, n, "mean", 0)));
}

bool fe_op_bernoulli(struct fe_ctx *c, struct fe_node *n) {
    ir_vid p = fe_in(c, n, 0);
    if (p == IR_NONE || !ir_is_float(fe_typeof(c, p)->dtype)) return fe_fail(c, n, "needs chances, which are floats");
    ir_vid u = drawn(c, seed_of(c, n), fe_typeof(c, p));
    return put(c, n, fe_e2(c, IR_OP_lt, fe_cast(c, u, fe_typeof(c, p)->dtype), p));
}

// Of logarithms of chances [N,C], times any number: the largest of them with Gumbel noise is a draw.
bool fe_op_multinomial(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0);
    const int64_t draws = fe_attr_i(c, n, "sample_size", 1), to = fe_attr_i(c, n, "dtype", 6);
    enum ir_dtype t;
    if (x == IR_NONE || fe_typeof(c, x)->rank != 2 || !ir_is_float(fe_typeof(c, x)->dtype))
        return fe_fail(c, n, "needs logarithms of chances [N,C]");
    if (draws < 1 || draws > INT32_MAX) return fe_fail(c, n, "sample_size is %lld", (long long)draws);
    if (to < 0 || to > INT32_MAX || !fe_onnx_to_ir((int32_t)to, &t) || !ir_is_int(t))
        return fe_fail(c, n, "dtype %lld; expected 6 (INT32) or 7 (INT64)", (long long)to);
    const struct ir_type xt = *fe_typeof(c, x);
    const int64_t dims[3] = {xt.dims[0], draws, xt.dims[1]}, row[3] = {xt.dims[0], 1, xt.dims[1]};
    const struct ir_type each = ir_type_make(IR_F32, 3, dims);
    ir_vid u = scaled(c, drawn(c, seed_of(c, n), &each), 1, 0x1p-25); // inside 0 and 1
    ir_vid noise = u;
    for (int i = 0; i < 2; i++) noise = fe_e1(c, IR_OP_neg, fe_e1(c, IR_OP_log, noise));
    ir_vid best = fe_e2(c, IR_OP_add, fe_reshape(c, fe_cast(c, x, IR_F32), 3, row), noise);
    if (best == IR_NONE) return false;
    best = fe_emit(c, IR_OP_argmax, &best, 1, IR_ATTRS(IR_I("axis", 2), IR_I("keepdims", 0)));
    return fe_out(c, n, 0, fe_cast(c, best, t));
}

// --- masks

static bool known_number(struct fe_ctx *c, struct fe_val *v, double *out) {
    const struct fe_sym *s = fe_known(c, v, true);
    if (!s || s->n != 1 || !fe_sym_is_const(s) || s->type.dtype != IR_F32) return false;
    *out = s->v[0].f;
    return true;
}

struct fe_val *fe_random_plus(struct fe_ctx *c, struct fe_val *x, struct fe_val *y) {
    struct fe_val *u = x->random ? x : y, *v = ARENA_NEW(c->a, struct fe_val);
    double by;
    if ((x->random && y->random) || !known_number(c, u == x ? y : x, &by)) return NULL;
    *v = *u;
    v->name = NULL;
    v->vid = IR_NONE;
    v->random_shift += by;
    return v;
}

// The op `dropout` on ones is mask/p in training and 1 in inference; times p it is the mask, and p in inference: the
// expectation, so that the division by p that follows gives 1.
static struct fe_val *bernoulli(struct fe_ctx *c, const struct fe_val *x, double keep) {
    if (!(keep > 0 && keep <= 1)) return NULL;
    const struct ir_type *t = &x->random_type;
    ir_vid ones = fe_emit(c, IR_OP_fill, NULL, 0,
                          IR_ATTRS(IR_IS("shape", t->dims, t->rank), IR_F("value", 1), IR_S("dtype", "f32")));
    if (keep == 1) return fe_val_of(c, ones);
    ir_vid in[2] = {ones, fe_seed(c)};
    ir_vid m = fe_emit(c, IR_OP_dropout, in, 2, IR_ATTRS(IR_F("ratio", 1 - keep), IR_I("salt", c->dropouts++)));
    struct fe_val *v = fe_val_of(c, fe_e2(c, IR_OP_mul, m, fe_f(c, keep)));
    return v; // a float where ONNX has a bool: Cast passes it on, as does every use a mask has
}

struct fe_val *fe_random_below(struct fe_ctx *c, const struct fe_val *x, struct fe_val *p) {
    double limit;
    return known_number(c, p, &limit) ? bernoulli(c, x, limit - x->random_shift) : NULL;
}

struct fe_val *fe_random_floor(struct fe_ctx *c, const struct fe_val *x) { return bernoulli(c, x, x->random_shift); }
