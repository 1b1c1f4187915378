#include "vmath.h"

#include <math.h>

int cg_lanes(LLVMTypeRef type) {
    return LLVMGetTypeKind(type) == LLVMVectorTypeKind ? (int)LLVMGetVectorSize(type) : 1;
}

LLVMTypeRef cg_like(struct cg_fn *f, LLVMTypeRef type, LLVMTypeRef elem) {
    return cg_vec_type(f, elem, cg_lanes(type));
}

LLVMValueRef cg_vconst(struct cg_fn *f, LLVMTypeRef type, double v) {
    LLVMTypeRef e = LLVMGetTypeKind(type) == LLVMVectorTypeKind ? LLVMGetElementType(type) : type;
    return cg_splat(f, LLVMConstReal(e, v), cg_lanes(type));
}

LLVMValueRef cg_viconst(struct cg_fn *f, LLVMTypeRef type, int64_t v) {
    LLVMTypeRef e = LLVMGetTypeKind(type) == LLVMVectorTypeKind ? LLVMGetElementType(type) : type;
    return cg_splat(f, LLVMConstInt(e, (unsigned long long)v, 1), cg_lanes(type));
}

// c[0] + c[1] x + ... by Horner.
static LLVMValueRef poly(struct cg_fn *f, LLVMValueRef x, const double *c, int n) {
    LLVMTypeRef t = LLVMTypeOf(x);
    LLVMValueRef r = cg_vconst(f, t, c[n - 1]);
    for (int i = n - 2; i >= 0; i--) r = cg_fma(f, r, x, cg_vconst(f, t, c[i]));
    return r;
}

// NaN stays NaN: an unordered comparison is false, so x is kept.
static LLVMValueRef clamp_keep_nan(struct cg_fn *f, LLVMValueRef x, double lo, double hi) {
    LLVMTypeRef t = LLVMTypeOf(x);
    LLVMValueRef l = cg_vconst(f, t, lo), h = cg_vconst(f, t, hi);
    x = LLVMBuildSelect(f->b, LLVMBuildFCmp(f->b, LLVMRealOGT, x, h, ""), h, x, "");
    return LLVMBuildSelect(f->b, LLVMBuildFCmp(f->b, LLVMRealOLT, x, l, ""), l, x, "");
}

static LLVMValueRef pow2i(struct cg_fn *f, LLVMValueRef n, LLVMTypeRef ft) { // 2^n for integer n in [-126, 127]
    LLVMTypeRef it = LLVMTypeOf(n);
    LLVMValueRef e = LLVMBuildShl(f->b, LLVMBuildAdd(f->b, n, cg_viconst(f, it, 127), ""), cg_viconst(f, it, 23), "");
    return LLVMBuildBitCast(f->b, e, ft, "");
}

// e^x * 2^by, rounded once, for `by` 0 or -1.
static LLVMValueRef exp_times(struct cg_fn *f, LLVMValueRef x, int by) {
    static const double c[] = {4.999999305e-01, 1.666651478e-01, 4.166845696e-02, 8.369419657e-03, 1.381313659e-03};
    LLVMTypeRef t = LLVMTypeOf(x), it = cg_like(f, t, f->i32);
    x = clamp_keep_nan(f, x, -104.0, 90.0); // below: 0, above: inf, by the scaling
    LLVMValueRef k = LLVMBuildFMul(f->b, x, cg_vconst(f, t, 1.44269504088896341), "");
    k = cg_intrinsic(f, "llvm.rint", t, &k, 1);
    LLVMValueRef r = cg_fma(f, k, cg_vconst(f, t, -0.693359375), x); // ln 2 in two parts: k times the first is exact
    r = cg_fma(f, k, cg_vconst(f, t, 2.12194440054690583e-4), r);
    LLVMValueRef r2 = LLVMBuildFMul(f->b, r, r, "");
    LLVMValueRef y = cg_fma(f, poly(f, r, c, 5), r2, r);
    y = LLVMBuildFAdd(f->b, y, cg_vconst(f, t, 1.0), "");
    // 2^k in two halves, so that denormal results and overflow come out right. NaN: the conversion is saturating.
    LLVMValueRef n = LLVMBuildFPToSI(
        f->b, LLVMBuildSelect(f->b, LLVMBuildFCmp(f->b, LLVMRealORD, k, k, ""), k, cg_vconst(f, t, 0.0), ""), it, "");
    if (by) n = LLVMBuildAdd(f->b, n, cg_viconst(f, it, by), "");
    LLVMValueRef n1 = LLVMBuildAShr(f->b, n, cg_viconst(f, it, 1), ""), n2 = LLVMBuildSub(f->b, n, n1, "");
    y = LLVMBuildFMul(f->b, y, pow2i(f, n1, t), "");
    return LLVMBuildFMul(f->b, y, pow2i(f, n2, t), "");
}
LLVMValueRef cg_exp(struct cg_fn *f, LLVMValueRef x) { return exp_times(f, x, 0); }

LLVMValueRef cg_log(struct cg_fn *f, LLVMValueRef x) {
    static const double c[] = {3.333331228e-01,  -2.500000918e-01, 2.000214305e-01,  -1.666804210e-01, 1.421904881e-01,
                               -1.240434972e-01, 1.189088486e-01,  -1.168494632e-01, 6.751950632e-02};
    LLVMTypeRef t = LLVMTypeOf(x), it = cg_like(f, t, f->i32);
    LLVMValueRef tiny = LLVMBuildFCmp(f->b, LLVMRealOLT, x, cg_vconst(f, t, 1.17549435082228750797e-38), "");
    LLVMValueRef xs = LLVMBuildSelect(f->b, tiny, LLVMBuildFMul(f->b, x, cg_vconst(f, t, 8388608.0), ""), x, "");
    LLVMValueRef bits = LLVMBuildBitCast(f->b, xs, it, "");
    // m in [sqrt(1/2), sqrt 2): subtracting the bits of sqrt(1/2) makes the exponent round there.
    LLVMValueRef off = LLVMBuildSub(f->b, bits, cg_viconst(f, it, 0x3f3504f3), "");
    LLVMValueRef e = LLVMBuildAShr(f->b, off, cg_viconst(f, it, 23), "");
    LLVMValueRef m = LLVMBuildSub(f->b, bits, LLVMBuildShl(f->b, e, cg_viconst(f, it, 23), ""), "");
    LLVMValueRef g = LLVMBuildFSub(f->b, LLVMBuildBitCast(f->b, m, t, ""), cg_vconst(f, t, 1.0), "");
    LLVMValueRef k = LLVMBuildSIToFP(f->b, e, t, "");
    k = LLVMBuildFSub(f->b, k, LLVMBuildSelect(f->b, tiny, cg_vconst(f, t, 23.0), cg_vconst(f, t, 0.0), ""), "");
    LLVMValueRef g2 = LLVMBuildFMul(f->b, g, g, ""), g3 = LLVMBuildFMul(f->b, g2, g, "");
    LLVMValueRef y = LLVMBuildFMul(f->b, poly(f, g, c, 9), g3, "");
    y = cg_fma(f, k, cg_vconst(f, t, -2.12194440054690583e-4), y);
    y = cg_fma(f, g2, cg_vconst(f, t, -0.5), y);
    y = LLVMBuildFAdd(f->b, y, g, "");
    y = cg_fma(f, k, cg_vconst(f, t, 0.693359375), y);
    LLVMValueRef zero = cg_vconst(f, t, 0.0), inf = cg_vconst(f, t, (double)INFINITY);
    y = LLVMBuildSelect(f->b, LLVMBuildFCmp(f->b, LLVMRealOEQ, x, zero, ""), cg_vconst(f, t, -(double)INFINITY), y, "");
    y = LLVMBuildSelect(f->b, LLVMBuildFCmp(f->b, LLVMRealOEQ, x, inf, ""), inf, y, "");
    LLVMValueRef nan = LLVMBuildFSub(f->b, x, x, ""); // NaN stays NaN; a negative x gives 0/0 below
    LLVMValueRef bad = LLVMBuildFDiv(f->b, nan, zero, "");
    return LLVMBuildSelect(f->b, LLVMBuildFCmp(f->b, LLVMRealUGE, x, zero, ""),
                           LLVMBuildSelect(f->b, LLVMBuildFCmp(f->b, LLVMRealUNO, x, x, ""), x, y, ""), bad, "");
}

static LLVMValueRef fabs_(struct cg_fn *f, LLVMValueRef x) {
    return cg_intrinsic(f, "llvm.fabs", LLVMTypeOf(x), &x, 1);
}
static LLVMValueRef copysign_(struct cg_fn *f, LLVMValueRef mag, LLVMValueRef sign) {
    LLVMValueRef a[2] = {mag, sign};
    return cg_intrinsic(f, "llvm.copysign", LLVMTypeOf(mag), a, 2);
}

LLVMValueRef cg_tanh(struct cg_fn *f, LLVMValueRef x) {
    static const double c[] = {-3.333328392e-01, 1.333149113e-01, -5.374348688e-02, 2.065055444e-02, -5.717011465e-03};
    LLVMTypeRef t = LLVMTypeOf(x);
    LLVMValueRef a = fabs_(f, x), one = cg_vconst(f, t, 1.0);
    LLVMValueRef s = LLVMBuildFMul(f->b, x, x, "");
    LLVMValueRef near0 = cg_fma(f, LLVMBuildFMul(f->b, poly(f, s, c, 5), s, ""), x, x);
    LLVMValueRef e = cg_exp(f, LLVMBuildFAdd(f->b, a, a, ""));
    LLVMValueRef far =
        LLVMBuildFSub(f->b, one, LLVMBuildFDiv(f->b, cg_vconst(f, t, 2.0), LLVMBuildFAdd(f->b, e, one, ""), ""), "");
    return LLVMBuildSelect(f->b, LLVMBuildFCmp(f->b, LLVMRealOLT, a, cg_vconst(f, t, 0.625), ""), near0,
                           copysign_(f, far, x), "");
}

LLVMValueRef cg_sigmoid(struct cg_fn *f, LLVMValueRef x) {
    LLVMTypeRef t = LLVMTypeOf(x);
    LLVMValueRef one = cg_vconst(f, t, 1.0);
    LLVMValueRef e = cg_exp(f, LLVMBuildFNeg(f->b, x, ""));
    return LLVMBuildFDiv(f->b, one, LLVMBuildFAdd(f->b, one, e, ""), "");
}

LLVMValueRef cg_erf(struct cg_fn *f, LLVMValueRef x) {
    static const double lo[] = {1.128379167e+00, -3.761263848e-01, 1.128378275e-01, -2.686544581e-02,
                                5.221074846e-03, -8.484710974e-04, 1.127054105e-04, -9.680126609e-06};
    static const double hi[] = {
        2.043655107e-04,  -1.129661186e+00, -6.330395464e-01, -1.086390813e-01, 2.537362041e-02,
        -4.282414028e-03, 4.637973570e-04,  -2.531636205e-05, 2.514372888e-07}; // log erfc on [1,4]
    LLVMTypeRef t = LLVMTypeOf(x);
    LLVMValueRef a = fabs_(f, x), s = LLVMBuildFMul(f->b, x, x, "");
    LLVMValueRef near0 = LLVMBuildFMul(f->b, poly(f, s, lo, 8), x, "");
    LLVMValueRef far = cg_exp(f, poly(f, clamp_keep_nan(f, a, 0.0, 4.0), hi, 9));
    far = copysign_(f, LLVMBuildFSub(f->b, cg_vconst(f, t, 1.0), far, ""), x);
    return LLVMBuildSelect(f->b, LLVMBuildFCmp(f->b, LLVMRealOLT, a, cg_vconst(f, t, 1.0), ""), near0, far, "");
}

// --- arcs and hyperbolic functions

static LLVMValueRef sqrt_(struct cg_fn *f, LLVMValueRef x) {
    return cg_intrinsic(f, "llvm.sqrt", LLVMTypeOf(x), &x, 1);
}
static LLVMValueRef add_(struct cg_fn *f, LLVMValueRef x, LLVMValueRef y) { return LLVMBuildFAdd(f->b, x, y, ""); }
static LLVMValueRef sub_(struct cg_fn *f, LLVMValueRef x, LLVMValueRef y) { return LLVMBuildFSub(f->b, x, y, ""); }
static LLVMValueRef mul_(struct cg_fn *f, LLVMValueRef x, LLVMValueRef y) { return LLVMBuildFMul(f->b, x, y, ""); }
static LLVMValueRef div_(struct cg_fn *f, LLVMValueRef x, LLVMValueRef y) { return LLVMBuildFDiv(f->b, x, y, ""); }
static LLVMValueRef below(struct cg_fn *f, LLVMValueRef x, double k) { // false for NaN
    return LLVMBuildFCmp(f->b, LLVMRealOLT, x, cg_vconst(f, LLVMTypeOf(x), k), "");
}
static LLVMValueRef pick(struct cg_fn *f, LLVMValueRef c, LLVMValueRef x, LLVMValueRef y) {
    return LLVMBuildSelect(f->b, c, x, y, "");
}
// x + x z P(z): odd functions near 0.
static LLVMValueRef odd(struct cg_fn *f, LLVMValueRef x, LLVMValueRef z, const double *c, int n) {
    return cg_fma(f, mul_(f, poly(f, z, c, n), z), x, x);
}

// asin of the lesser of a and sqrt((1 - a) / 2), for a in 0..1: what lies beyond a half comes from the other side.
static LLVMValueRef half_arc(struct cg_fn *f, LLVMValueRef a, LLVMValueRef near0) {
    static const double c[] = {1.666675210e-01, 7.495297492e-02, 4.547037557e-02, 2.417951822e-02, 4.216630384e-02};
    LLVMTypeRef t = LLVMTypeOf(a);
    LLVMValueRef rest = mul_(f, sub_(f, cg_vconst(f, t, 1.0), a), cg_vconst(f, t, 0.5));
    LLVMValueRef z = pick(f, near0, mul_(f, a, a), rest);
    return odd(f, pick(f, near0, a, sqrt_(f, rest)), z, c, 5);
}
// k - y in two parts of k: float32's nearest number is off by more than the last digit of what remains.
static LLVMValueRef from_const(struct cg_fn *f, double k, LLVMValueRef y) {
    LLVMTypeRef t = LLVMTypeOf(y);
    const double hi = (double)(float)k;
    return add_(f, sub_(f, cg_vconst(f, t, hi), y), cg_vconst(f, t, k - hi));
}
#define PI 3.14159265358979323846

LLVMValueRef cg_asin(struct cg_fn *f, LLVMValueRef x) {
    LLVMValueRef a = fabs_(f, x), near0 = below(f, a, 0.5), arc = half_arc(f, a, near0);
    LLVMValueRef far = from_const(f, PI / 2, add_(f, arc, arc));
    return copysign_(f, pick(f, near0, arc, far), x);
}

LLVMValueRef cg_acos(struct cg_fn *f, LLVMValueRef x) {
    LLVMValueRef a = fabs_(f, x), near0 = below(f, a, 0.5), arc = half_arc(f, a, near0), twice = add_(f, arc, arc);
    LLVMValueRef far = pick(f, below(f, x, 0.0), from_const(f, PI, twice), twice);
    return pick(f, near0, from_const(f, PI / 2, copysign_(f, arc, x)), far);
}

// Three pieces, turned by 0, pi/4 and pi/2 to where |r| <= tan(pi/8).
LLVMValueRef cg_atan(struct cg_fn *f, LLVMValueRef x) {
    static const double c[] = {-3.333331645e-01, 1.999847144e-01, -1.424353272e-01, 1.059381291e-01, -6.078219414e-02};
    LLVMTypeRef t = LLVMTypeOf(x);
    LLVMValueRef a = fabs_(f, x), one = cg_vconst(f, t, 1.0), zero = cg_vconst(f, t, 0.0);
    LLVMValueRef low = below(f, a, 0.41421356), mid = below(f, a, 2.41421356);
    LLVMValueRef num = pick(f, mid, sub_(f, a, one), cg_vconst(f, t, -1.0)), den = pick(f, mid, add_(f, a, one), a);
    LLVMValueRef r = pick(f, low, a, div_(f, num, den)), y = odd(f, r, mul_(f, r, r), c, 5);
    const double quarter = (double)(float)(PI / 4); // half of it is exact, too
    LLVMValueRef hi = pick(f, mid, cg_vconst(f, t, quarter), cg_vconst(f, t, 2 * quarter));
    LLVMValueRef lo = pick(f, mid, cg_vconst(f, t, PI / 4 - quarter), cg_vconst(f, t, PI / 2 - 2 * quarter));
    hi = pick(f, low, zero, hi);
    lo = pick(f, low, zero, lo);
    return copysign_(f, add_(f, hi, add_(f, y, lo)), x);
}

// (e^a + sign e^-a) / 2. Half of e^a is in range where e^a no longer is.
static LLVMValueRef hyperbolic(struct cg_fn *f, LLVMValueRef a, double sign) {
    LLVMValueRef h = exp_times(f, a, -1);
    return add_(f, h, div_(f, cg_vconst(f, LLVMTypeOf(a), sign * 0.25), h));
}

LLVMValueRef cg_sinh(struct cg_fn *f, LLVMValueRef x) {
    static const double c[] = {1.666666716e-01, 8.333349600e-03, 1.983615948e-04, 2.816951337e-06};
    LLVMValueRef a = fabs_(f, x), near0 = odd(f, x, mul_(f, x, x), c, 4);
    return pick(f, below(f, a, 1.0), near0, copysign_(f, hyperbolic(f, a, -1), x));
}

LLVMValueRef cg_cosh(struct cg_fn *f, LLVMValueRef x) { return hyperbolic(f, fabs_(f, x), 1); }

// ln(1 + u): what 1 + u drops of u is put back in first order.
static LLVMValueRef log1p_(struct cg_fn *f, LLVMValueRef u) {
    LLVMTypeRef t = LLVMTypeOf(u);
    LLVMValueRef one = cg_vconst(f, t, 1.0), w = add_(f, u, one);
    LLVMValueRef dropped = div_(f, sub_(f, u, sub_(f, w, one)), w), y = add_(f, cg_log(f, w), dropped);
    return pick(f, LLVMBuildFCmp(f->b, LLVMRealOEQ, w, cg_vconst(f, t, (double)INFINITY), ""), w, y);
}
// ln(2a), where the square of a is no longer in range, or lost in 1.
static LLVMValueRef log_twice(struct cg_fn *f, LLVMValueRef a) {
    return add_(f, cg_log(f, a), cg_vconst(f, LLVMTypeOf(a), 0.693147180559945309417));
}
#define LARGE 1e8

LLVMValueRef cg_asinh(struct cg_fn *f, LLVMValueRef x) { // ln(1 + a + a^2 / (1 + sqrt(a^2 + 1)))
    LLVMTypeRef t = LLVMTypeOf(x);
    LLVMValueRef a = fabs_(f, x), one = cg_vconst(f, t, 1.0), s = mul_(f, a, a);
    LLVMValueRef u = add_(f, a, div_(f, s, add_(f, one, sqrt_(f, add_(f, s, one)))));
    return copysign_(f, pick(f, below(f, a, LARGE), log1p_(f, u), log_twice(f, a)), x);
}

LLVMValueRef cg_acosh(struct cg_fn *f, LLVMValueRef x) { // ln(1 + d + sqrt(d (d + 2))), d = x - 1
    LLVMTypeRef t = LLVMTypeOf(x);
    LLVMValueRef d = sub_(f, x, cg_vconst(f, t, 1.0)), s = mul_(f, d, add_(f, d, cg_vconst(f, t, 2.0)));
    s = pick(f, below(f, d, 0.0), d, s); // below -1 the product is positive again
    return pick(f, below(f, x, LARGE), log1p_(f, add_(f, d, sqrt_(f, s))), log_twice(f, x));
}

LLVMValueRef cg_atanh(struct cg_fn *f, LLVMValueRef x) { // ln(1 + 2a + 2a a/(1 - a)) / 2
    LLVMTypeRef t = LLVMTypeOf(x);
    LLVMValueRef a = fabs_(f, x), twice = add_(f, a, a), q = div_(f, a, sub_(f, cg_vconst(f, t, 1.0), a));
    return copysign_(f, mul_(f, log1p_(f, cg_fma(f, twice, q, twice)), cg_vconst(f, t, 0.5)), x);
}
