// Arithmetic on tensors whose elements are linear in the batch size: shapes, and small constants.
#include "onnx_internal.h"

#include <math.h>
#include <string.h>

struct fe_sym *fe_sym_new(struct arena *a, enum ir_dtype t, int rank, const int64_t *dims) {
    int64_t n;
    if (!checked_product(dims, (size_t)rank, &n) || n > FE_SYM_MAX) return NULL;
    struct fe_sym *s = ARENA_NEW(a, struct fe_sym);
    s->type = ir_type_make(t, rank, dims);
    s->n = (size_t)n;
    s->v = ARENA_ARRAY(a, struct fe_num, s->n ? s->n : 1);
    return s;
}

struct fe_sym *fe_sym_ints(struct arena *a, const int64_t *v, size_t n) {
    int64_t dims[1] = {(int64_t)n};
    struct fe_sym *s = fe_sym_new(a, IR_I64, 1, dims);
    for (size_t i = 0; s && i < n; i++) s->v[i].b = v[i];
    return s;
}

struct fe_sym *fe_sym_scalar_f(struct arena *a, double v) {
    struct fe_sym *s = fe_sym_new(a, IR_F32, 0, NULL);
    s->v[0].f = (double)(float)v;
    return s;
}

struct fe_sym *fe_sym_of_dims(struct arena *a, const int64_t *dims, int n) {
    int64_t len[1] = {n};
    struct fe_sym *s = fe_sym_new(a, IR_I64, 1, len);
    for (int i = 0; i < n; i++) {
        if (dims[i] < 0)
            s->v[i].a = -dims[i];
        else
            s->v[i].b = dims[i];
    }
    return s;
}

static bool holds_sizes(enum ir_dtype t) { return t == IR_I64 || t == IR_I32; }
static double stored(enum ir_dtype t, double v) { return t == IR_F32 ? (double)(float)v : v; }

bool fe_sym_is_const(const struct fe_sym *s) {
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].a || s->v[i].fa != 0) return false;
    return true;
}

bool fe_num_dim(const struct fe_num *v, int64_t *dim) {
    if (v->a && (v->b || v->a < 0)) return false;
    *dim = v->a ? -v->a : v->b;
    return v->a || v->b >= 0;
}

struct fe_sym *fe_sym_view(struct arena *a, const struct fe_sym *s, int rank, const int64_t *dims,
                           const int64_t *strides, int64_t offset) {
    struct fe_sym *r = fe_sym_new(a, s->type.dtype, rank, dims);
    if (!r) return NULL;
    int64_t at[IR_MAX_RANK] = {0};
    for (size_t i = 0; i < r->n; i++) {
        int64_t src = offset;
        for (int k = 0; k < rank; k++) src += at[k] * strides[k];
        r->v[i] = s->v[src];
        for (int k = rank - 1; k >= 0 && ++at[k] == dims[k]; k--) at[k] = 0;
    }
    return r;
}

// --- one element

// Which signs a*N + b takes as N runs through 1, 2, 3, ...: a fold may only be what holds for all of them.
enum { NEGATIVE = 1, ZERO = 2, POSITIVE = 4, ANY_SIGN = 7 };

static int lin_signs(int64_t a, int64_t b) {
    int64_t at1, root; // at N = 1, and minus the N of the zero
    int toward = a > 0 ? POSITIVE : NEGATIVE;
    if (a == 0) return b > 0 ? POSITIVE : b < 0 ? NEGATIVE : ZERO;
    if (!checked_add(a, b, &at1)) return toward; // so far on that side that it never comes near 0
    if (at1 != 0 && (at1 > 0) == (a > 0)) return toward;
    int signs = toward | (at1 > 0 ? POSITIVE : at1 < 0 ? NEGATIVE : 0);
    if (!checked_div(b, a, &root)) return ANY_SIGN;
    return b % a == 0 && root < 0 ? signs | ZERO : signs;
}

// The signs of x - y.
static int difference_signs(const struct fe_num *x, const struct fe_num *y) {
    int64_t a, b;
    if (checked_sub(x->a, y->a, &a) && checked_sub(x->b, y->b, &b)) return lin_signs(a, b);
    if (x->a || y->a) return ANY_SIGN;
    return x->b < y->b ? NEGATIVE : POSITIVE; // INT64_MIN and INT64_MAX stand for "to the end" in slices
}

// Whether all or none of the signs that are possible are among `yes`.
static bool decided(int signs, int yes, struct fe_num *r) {
    r->b = (signs & ~yes) == 0;
    return r->b || (signs & yes) == 0;
}

// Of integers without N, as a run computes them.
static int64_t of_ints(enum ir_op op, enum ir_dtype t, int64_t x, int64_t y) {
    int order = ir_int_compare(t, x, y);
    switch (op) {
    case IR_OP_add:
        return ir_wrap_int(t, (int64_t)((uint64_t)x + (uint64_t)y));
    case IR_OP_sub:
        return ir_wrap_int(t, (int64_t)((uint64_t)x - (uint64_t)y));
    case IR_OP_mul:
        return ir_wrap_int(t, (int64_t)((uint64_t)x * (uint64_t)y));
    case IR_OP_div:
        return ir_int_div(t, x, y);
    case IR_OP_rem:
        return ir_int_rem(t, x, y);
    case IR_OP_pow:
        return ir_int_pow(t, x, y);
    case IR_OP_bit_and:
        return ir_wrap_int(t, x & y);
    case IR_OP_and:
        return x && y;
    case IR_OP_or:
        return x || y;
    case IR_OP_eq:
        return order == 0;
    case IR_OP_lt:
        return order < 0;
    case IR_OP_le:
        return order <= 0;
    case IR_OP_max:
        return order > 0 ? x : y;
    case IR_OP_min:
        return order < 0 ? x : y;
    default:
        BUG("op %s of two known integers", ir_ops[op].name);
    }
}

// Numbers with N in them are those of shapes: i64 and i32, which sizes never leave.
static bool int_binary(enum ir_op op, enum ir_dtype dtype, const struct fe_num *x, const struct fe_num *y,
                       struct fe_num *r) {
    int64_t t;
    if (!x->a && !y->a) {
        r->b = of_ints(op, dtype, x->b, y->b);
        return true;
    }
    if (!holds_sizes(dtype)) return false;
    switch (op) {
    case IR_OP_add:
        return checked_add(x->a, y->a, &r->a) && checked_add(x->b, y->b, &r->b);
    case IR_OP_sub:
        return checked_sub(x->a, y->a, &r->a) && checked_sub(x->b, y->b, &r->b);
    case IR_OP_mul:
        if (x->a && y->a) return false;
        return checked_mul(x->b, y->b, &r->b) &&
               (x->a ? checked_mul(x->a, y->b, &r->a) : checked_mul(x->b, y->a, &r->a));
    case IR_OP_div:
        if (y->a) { // (k*y)/y = k, unless y is 0 for some N
            if ((lin_signs(y->a, y->b) & ZERO) || !checked_rem(x->a, y->a, &t) || t) return false;
            return checked_div(x->a, y->a, &r->b) && checked_mul(r->b, y->b, &t) && x->b == t;
        }
        if (!checked_rem(x->a, y->b, &t) || t) return false;
        if (x->a && x->b % y->b) return false; // only a plain constant may truncate
        return checked_div(x->a, y->b, &r->a) && checked_div(x->b, y->b, &r->b);
    default:
        break;
    }
    int signs = difference_signs(x, y);
    switch (op) {
    case IR_OP_eq:
        return decided(signs, ZERO, r);
    case IR_OP_lt:
        return decided(signs, NEGATIVE, r);
    case IR_OP_le:
        return decided(signs, NEGATIVE | ZERO, r);
    case IR_OP_max:
        *r = signs & NEGATIVE ? *y : *x;
        return !(signs & NEGATIVE) || !(signs & POSITIVE);
    case IR_OP_min:
        *r = signs & POSITIVE ? *y : *x;
        return !(signs & NEGATIVE) || !(signs & POSITIVE);
    default:
        return false;
    }
}

// Floats with N in them are folded only where float32 computes them without rounding, so that what is folded is what a
// run gives at every N: N / 3 is not (1 / 3) * N, and Floor would see it. Multiples of 1/1024 that float32 holds.
static bool exact(double v) { return fabs(v) < 0x1p24 && (double)(float)v == v && floor(v * 1024) == v * 1024; }
static bool exact_with_n(const struct fe_num *r) { return r->fa == 0 || (exact(r->fa) && exact(r->f)); }

static bool float_binary(enum ir_op op, const struct fe_num *x, const struct fe_num *y, struct fe_num *r) {
    switch (op) {
    case IR_OP_add:
        r->fa = x->fa + y->fa;
        r->f = x->f + y->f;
        return exact_with_n(r);
    case IR_OP_sub:
        r->fa = x->fa - y->fa;
        r->f = x->f - y->f;
        return exact_with_n(r);
    case IR_OP_mul:
        if (x->fa != 0 && y->fa != 0) return false;
        r->fa = x->fa != 0 ? x->fa * y->f : y->fa != 0 ? x->f * y->fa : 0; // not inf * 0
        r->f = x->f * y->f;
        return exact_with_n(r);
    case IR_OP_div:
        if (y->fa != 0) { // y/y = 1: N is at least 1, so y is 0 for no N where its two parts have one sign
            r->f = 1;
            return x->fa == y->fa && x->f == y->f && (y->fa > 0 ? y->f >= 0 : y->f <= 0);
        }
        r->fa = x->fa != 0 ? x->fa / y->f : 0;
        r->f = x->f / y->f;
        return exact_with_n(r);
    default:
        break;
    }
    if (x->fa != 0 || y->fa != 0) return false;
    switch (op) {
    case IR_OP_pow:
        r->f = pow(x->f, y->f);
        return true;
    case IR_OP_rem:
        r->f = fmod(x->f, y->f);
        return true;
    case IR_OP_max:
        r->f = x->f > y->f || isnan(x->f) ? x->f : y->f;
        return true;
    case IR_OP_min:
        r->f = x->f < y->f || isnan(x->f) ? x->f : y->f;
        return true;
    case IR_OP_eq:
        r->b = x->f == y->f;
        return true;
    case IR_OP_lt:
        r->b = x->f < y->f;
        return true;
    case IR_OP_le:
        r->b = x->f <= y->f;
        return true;
    default:
        return false;
    }
}

static double minus(double x) { return -x; }
static double inverse(double x) { return 1 / x; }
static double not_negative(double x) { return x < 0 ? 0 : x; }
static const struct {
    enum ir_op op;
    double (*of)(double);
} functions[] = {
    {IR_OP_neg, minus},       {IR_OP_abs, fabs},          {IR_OP_exp, exp},     {IR_OP_log, log},
    {IR_OP_sqrt, sqrt},       {IR_OP_recip, inverse},     {IR_OP_floor, floor}, {IR_OP_ceil, ceil},
    {IR_OP_round, nearbyint}, {IR_OP_sin, sin},           {IR_OP_cos, cos},     {IR_OP_asin, asin},
    {IR_OP_acos, acos},       {IR_OP_atan, atan},         {IR_OP_sinh, sinh},   {IR_OP_cosh, cosh},
    {IR_OP_asinh, asinh},     {IR_OP_acosh, acosh},       {IR_OP_atanh, atanh}, {IR_OP_tanh, tanh},
    {IR_OP_erf, erf},         {IR_OP_relu, not_negative},
};

static bool float_unary(enum ir_op op, const struct fe_num *x, struct fe_num *r) {
    if (x->fa != 0) {
        bool whole = floor(x->fa) == x->fa && floor(x->f) == x->f;
        if (op == IR_OP_neg) {
            *r = (struct fe_num){.fa = -x->fa, .f = -x->f};
            return true;
        }
        *r = *x; // rounding a whole number keeps it
        return whole && (op == IR_OP_floor || op == IR_OP_ceil || op == IR_OP_round);
    }
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (functions[i].op == op) {
            r->f = functions[i].of(x->f);
            return true;
        }
    return false;
}

static bool int_unary(enum ir_op op, enum ir_dtype t, const struct fe_num *x, struct fe_num *r) {
    int sign = ir_int_compare(t, x->b, 0);
    int64_t minus = ir_wrap_int(t, (int64_t)(0 - (uint64_t)x->b));
    if (x->a) // with N in it
        return op == IR_OP_neg && holds_sizes(t) && checked_neg(x->a, &r->a) && checked_neg(x->b, &r->b);
    switch (op) {
    case IR_OP_neg:
        r->b = minus;
        return true;
    case IR_OP_not:
        r->b = !x->b;
        return true;
    case IR_OP_abs:
        r->b = sign < 0 ? minus : x->b;
        return true;
    case IR_OP_sign:
        r->b = sign;
        return true;
    case IR_OP_relu:
        r->b = sign < 0 ? 0 : x->b;
        return true;
    default:
        return false;
    }
}

// --- whole tensors

struct fe_sym *fe_sym_unary(struct arena *a, enum ir_op op, const struct fe_sym *x) {
    struct fe_sym *r = fe_sym_new(a, x->type.dtype, x->type.rank, x->type.dims);
    for (size_t i = 0; r && i < r->n; i++) {
        if (ir_is_float(x->type.dtype) ? !float_unary(op, &x->v[i], &r->v[i])
                                       : !int_unary(op, x->type.dtype, &x->v[i], &r->v[i]))
            return NULL;
        r->v[i].f = stored(x->type.dtype, r->v[i].f);
    }
    return r;
}

// The broadcast dims of two tensors, and each one's strides over them (0 where it repeats).
static bool broadcast(const struct fe_sym *const *in, int n, int *rank, int64_t *dims, int64_t strides[][IR_MAX_RANK]) {
    *rank = 0;
    for (int k = 0; k < n; k++)
        if (in[k]->type.rank > *rank) *rank = in[k]->type.rank;
    for (int i = 0; i < *rank; i++) {
        dims[i] = 1;
        for (int k = 0; k < n; k++) {
            int at = i - (*rank - in[k]->type.rank);
            if (at < 0 || in[k]->type.dims[at] == 1) continue;
            if (dims[i] != 1 && dims[i] != in[k]->type.dims[at]) return false;
            dims[i] = in[k]->type.dims[at];
        }
    }
    for (int k = 0; k < n; k++) {
        int64_t step = 1;
        for (int i = *rank - 1; i >= 0; i--) {
            int at = i - (*rank - in[k]->type.rank);
            int64_t d = at < 0 ? 1 : in[k]->type.dims[at];
            strides[k][i] = d == 1 ? 0 : step;
            step *= d;
        }
    }
    return true;
}

struct fe_sym *fe_sym_binary(struct arena *a, enum ir_op op, const struct fe_sym *x, const struct fe_sym *y) {
    const struct fe_sym *in[2] = {x, y};
    int rank;
    int64_t dims[IR_MAX_RANK], strides[2][IR_MAX_RANK];
    if (!broadcast(in, 2, &rank, dims, strides)) return NULL;
    bool cmp = op == IR_OP_eq || op == IR_OP_lt || op == IR_OP_le || op == IR_OP_and || op == IR_OP_or;
    struct fe_sym *xs = fe_sym_view(a, x, rank, dims, strides[0], 0),
                  *ys = fe_sym_view(a, y, rank, dims, strides[1], 0),
                  *r = fe_sym_new(a, cmp ? IR_BOOL : x->type.dtype, rank, dims);
    if (!xs || !ys || !r || ir_is_float(x->type.dtype) != ir_is_float(y->type.dtype)) return NULL;
    for (size_t i = 0; i < r->n; i++) {
        if (ir_is_float(x->type.dtype) ? !float_binary(op, &xs->v[i], &ys->v[i], &r->v[i])
                                       : !int_binary(op, x->type.dtype, &xs->v[i], &ys->v[i], &r->v[i]))
            return NULL;
        r->v[i].f = stored(x->type.dtype, r->v[i].f);
    }
    return r;
}

struct fe_sym *fe_sym_where(struct arena *a, const struct fe_sym *c, const struct fe_sym *x, const struct fe_sym *y) {
    const struct fe_sym *in[3] = {c, x, y};
    int rank;
    int64_t dims[IR_MAX_RANK], strides[3][IR_MAX_RANK];
    if (!broadcast(in, 3, &rank, dims, strides)) return NULL;
    struct fe_sym *cs = fe_sym_view(a, c, rank, dims, strides[0], 0),
                  *xs = fe_sym_view(a, x, rank, dims, strides[1], 0),
                  *ys = fe_sym_view(a, y, rank, dims, strides[2], 0);
    if (!cs || !xs || !ys) return NULL;
    for (size_t i = 0; i < ys->n; i++)
        if (cs->v[i].b) ys->v[i] = xs->v[i];
    ys->type.dtype = x->type.dtype;
    return ys;
}

static bool cast(const struct fe_num *v, enum ir_dtype from, enum ir_dtype to, struct fe_num *r) {
    bool with_n = v->a || v->fa != 0, ff = ir_is_float(from), tf = ir_is_float(to);
    if (ff && tf) {
        *r = (struct fe_num){.fa = v->fa, .f = stored(to, v->f)};
    } else if (tf) {
        r->fa = (double)v->a;
        r->f = with_n ? (double)v->b : ir_int_to_float(from, v->b, to);
    } else if (!with_n) {
        r->b = ff ? ir_int_of_float(to, v->f) : ir_wrap_int(to, v->b);
    } else if (!holds_sizes(to)) {
        return false;
    } else if (ff) {
        return floor(v->fa) == v->fa && floor(v->f) == v->f && checked_i64(v->fa, &r->a) && checked_i64(v->f, &r->b);
    } else {
        *r = *v;
    }
    return true;
}

struct fe_sym *fe_sym_cast(struct arena *a, const struct fe_sym *x, enum ir_dtype t) {
    struct fe_sym *r = fe_sym_new(a, t, x->type.rank, x->type.dims);
    for (size_t i = 0; r && i < r->n; i++)
        if (!cast(&x->v[i], x->type.dtype, t, &r->v[i])) return NULL;
    return r;
}

struct fe_sym *fe_sym_round(struct arena *a, const struct fe_sym *x, enum ir_half h) {
    struct fe_sym *r = fe_sym_new(a, x->type.dtype, x->type.rank, x->type.dims);
    for (size_t i = 0; r && i < r->n; i++) {
        if (x->v[i].fa != 0) return NULL;
        r->v[i].f = ir_round_half(h, x->v[i].f);
    }
    return r;
}
