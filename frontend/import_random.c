// Random numbers, as far as they are dropout: rand < p, cast to float, is a mask that keeps with chance p. Exporters
// write stochastic depth and (in train mode, without the Dropout operator) dropout so, followed by a division by p.
// EfficientNet's drop-connect is the same mask as floor(p + rand).
#include "onnx_internal.h"

ir_vid fe_seed(struct fe_ctx *c) {
    if (c->seed == IR_NONE) c->seed = ir_boundary(c->g, IR_ROLE_SCALAR, ir_scalar_type(IR_I64), "seed", NULL);
    return c->seed;
}

static bool uniform(struct fe_ctx *c, struct fe_node *n, struct ir_type t) {
    if (fe_attr_f(c, n, "low", 0) != 0 || fe_attr_f(c, n, "high", 1) != 1)
        return fe_fail(c, n, "only the range 0 to 1 is supported");
    // Masks are drawn per sample: a leading dim that is the file's fixed batch means the batch.
    if (t.rank && c->baked && t.dims[0] == c->baked) t.dims[0] = IR_N;
    struct fe_val *v = ARENA_NEW(c->a, struct fe_val);
    *v = (struct fe_val){.vid = IR_NONE, .buffer_now = IR_NONE, .random = FE_UNIFORM, .random_type = t};
    v->random_type.dtype = IR_F32;
    return fe_out_val(n, 0, v);
}

bool fe_op_random_like(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = fe_arg(n, 0);
    return x && uniform(c, n, *fe_type(c, x));
}

bool fe_op_random_uniform(struct fe_ctx *c, struct fe_node *n) {
    size_t k;
    const int64_t *shape = fe_attr_ints(n, "shape", &k);
    if (!shape || k > IR_MAX_RANK) return fe_fail(c, n, "needs a shape of at most %d dimensions", IR_MAX_RANK);
    for (size_t i = 0; i < k; i++)
        if (shape[i] < 1) return fe_fail(c, n, "dimension %zu of its shape is %lld", i, (long long)shape[i]);
    return uniform(c, n, ir_type_make(IR_F32, (int)k, shape));
}

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
