// One emitter per pointwise op: how a step of a fused expression becomes vector instructions. Semantics are those of
// the `eval` hooks (ONNX): NaN passes through relu, max and min; integer division truncates and never traps.
#include "../../ir/hash.h"
#include "expr.h"
#include "vmath.h"

#include <string.h>

#define X0 (a->x[0])
#define X1 (a->x[1])
#define B  (a->f->b)

static bool is_float(LLVMTypeRef t) {
    LLVMTypeKind k =
        LLVMGetTypeKind(t) == LLVMVectorTypeKind ? LLVMGetTypeKind(LLVMGetElementType(t)) : LLVMGetTypeKind(t);
    return k == LLVMFloatTypeKind || k == LLVMDoubleTypeKind;
}
static bool float_args(const struct cg_pw_args *a) { return is_float(LLVMTypeOf(X0)); }
static enum ir_dtype in_type(const struct cg_pw_args *a) { return a->in_steps[0]->dtype; }
static bool is_double(const struct cg_pw_args *a) { return in_type(a) == IR_F64; }
// Below, at most ..: of integers, as their type orders them.
static LLVMValueRef order(const struct cg_pw_args *a, LLVMIntPredicate pred, LLVMValueRef x, LLVMValueRef y) {
    return cg_icmp(a->f, in_type(a), pred, x, y);
}
static LLVMValueRef un(const struct cg_pw_args *a, const char *intrinsic) {
    LLVMValueRef x = X0;
    return cg_intrinsic(a->f, intrinsic, a->type, &x, 1);
}
// A function of libm, lane by lane: doubles are rare, and our polynomials are for float32.
static LLVMValueRef by_libm(const struct cg_pw_args *a, const char *name) {
    LLVMTypeRef d = a->f->f64, t = LLVMFunctionType(d, &d, 1, 0);
    LLVMValueRef fn = LLVMGetNamedFunction(a->f->mod, name), y = LLVMGetUndef(a->type);
    if (!fn) fn = LLVMAddFunction(a->f->mod, name, t);
    if (a->lanes == 1) return LLVMBuildCall2(B, t, fn, (LLVMValueRef[]){X0}, 1, "");
    for (int i = 0; i < a->lanes; i++) {
        LLVMValueRef x = LLVMBuildExtractElement(B, X0, cg_i32(a->f, i), "");
        y = LLVMBuildInsertElement(B, y, LLVMBuildCall2(B, t, fn, &x, 1, ""), cg_i32(a->f, i), "");
    }
    return y;
}
static LLVMValueRef zero_like(LLVMValueRef x) { return LLVMConstNull(LLVMTypeOf(x)); }

#define PW(id)                                                                                                         \
    LLVMValueRef cg_pw_##id(const struct cg_pw_args *a);                                                               \
    LLVMValueRef cg_pw_##id(const struct cg_pw_args *a)

PW(neg) { return float_args(a) ? LLVMBuildFNeg(B, X0, "") : LLVMBuildNeg(B, X0, ""); }
PW(abs) {
    if (float_args(a)) return un(a, "llvm.fabs");
    LLVMValueRef m = LLVMBuildNeg(B, X0, "");
    return LLVMBuildSelect(B, order(a, LLVMIntSLT, X0, zero_like(X0)), m, X0, "");
}
PW(exp) { return is_double(a) ? by_libm(a, "exp") : cg_exp(a->f, X0); }
PW(log) { return is_double(a) ? by_libm(a, "log") : cg_log(a->f, X0); }
PW(sqrt) { return un(a, "llvm.sqrt"); }
PW(recip) { return LLVMBuildFDiv(B, cg_vconst(a->f, a->type, 1.0), X0, ""); }
PW(erf) { return is_double(a) ? by_libm(a, "erf") : cg_erf(a->f, X0); }
PW(tanh) { return is_double(a) ? by_libm(a, "tanh") : cg_tanh(a->f, X0); }
PW(sigmoid) {
    if (!is_double(a)) return cg_sigmoid(a->f, X0);
    struct cg_pw_args minus = *a;
    LLVMValueRef one = cg_vconst(a->f, a->type, 1.0);
    minus.x[0] = LLVMBuildFNeg(B, X0, "");
    return LLVMBuildFDiv(B, one, LLVMBuildFAdd(B, one, by_libm(&minus, "exp"), ""), "");
}
PW(relu) {
    LLVMValueRef z = zero_like(X0); // 0 > NaN is false: NaN passes
    LLVMValueRef below = float_args(a) ? LLVMBuildFCmp(B, LLVMRealOGT, z, X0, "") : order(a, LLVMIntSGT, z, X0);
    return LLVMBuildSelect(B, below, z, X0, "");
}
PW(relu_grad) {
    LLVMValueRef z = zero_like(X1);
    return LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealOGT, X1, z, ""), X0, zero_like(X0), "");
}
PW(sin) { return un(a, "llvm.sin"); }
PW(cos) { return un(a, "llvm.cos"); }
PW(asin) { return is_double(a) ? by_libm(a, "asin") : cg_asin(a->f, X0); }
PW(acos) { return is_double(a) ? by_libm(a, "acos") : cg_acos(a->f, X0); }
PW(atan) { return is_double(a) ? by_libm(a, "atan") : cg_atan(a->f, X0); }
PW(sinh) { return is_double(a) ? by_libm(a, "sinh") : cg_sinh(a->f, X0); }
PW(cosh) { return is_double(a) ? by_libm(a, "cosh") : cg_cosh(a->f, X0); }
PW(asinh) { return is_double(a) ? by_libm(a, "asinh") : cg_asinh(a->f, X0); }
PW(acosh) { return is_double(a) ? by_libm(a, "acosh") : cg_acosh(a->f, X0); }
PW(atanh) { return is_double(a) ? by_libm(a, "atanh") : cg_atanh(a->f, X0); }
PW(floor) { return float_args(a) ? un(a, "llvm.floor") : X0; }
PW(ceil) { return float_args(a) ? un(a, "llvm.ceil") : X0; }
PW(round) { return float_args(a) ? un(a, "llvm.rint") : X0; }
PW(sign) {
    if (!float_args(a)) {
        LLVMValueRef p = LLVMBuildZExt(B, order(a, LLVMIntSGT, X0, zero_like(X0)), a->type, "");
        LLVMValueRef n = LLVMBuildZExt(B, order(a, LLVMIntSLT, X0, zero_like(X0)), a->type, "");
        return LLVMBuildSub(B, p, n, "");
    }
    LLVMValueRef one = cg_vconst(a->f, a->type, 1.0), m = cg_vconst(a->f, a->type, -1.0);
    LLVMValueRef r = LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealOLT, X0, zero_like(X0), ""), m, X0, "");
    return LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealOGT, X0, zero_like(X0), ""), one, r, ""); // 0 and NaN stay
}
PW(not) { return LLVMBuildNot(B, X0, ""); }
PW(copy) { return X0; }
PW(stop_gradient) { return X0; }
PW(relayout) { return X0; }

PW(cast) {
    enum ir_dtype from = a->in_steps[0]->dtype, to = a->s->dtype;
    if (from == to) return X0;
    bool ff = ir_is_float(from), tf = ir_is_float(to);
    if (to == IR_BOOL)
        return ff ? LLVMBuildFCmp(B, LLVMRealUNE, X0, zero_like(X0), "")
                  : LLVMBuildICmp(B, LLVMIntNE, X0, zero_like(X0), "");
    if (ff && tf) return LLVMBuildFPCast(B, X0, a->type, "");
    if (ff) { // saturating, NaN gives 0, as the interpreter has it
        const char *name = ir_is_signed(to) ? "llvm.fptosi.sat" : "llvm.fptoui.sat";
        LLVMTypeRef over[2] = {a->type, LLVMTypeOf(X0)};
        unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
        LLVMValueRef x = X0, fn = LLVMGetIntrinsicDeclaration(a->f->mod, id, over, 2);
        return LLVMBuildCall2(B, LLVMIntrinsicGetType(a->f->cx, id, over, 2), fn, &x, 1, "");
    }
    bool sgn = ir_is_signed(from);
    if (tf) return sgn ? LLVMBuildSIToFP(B, X0, a->type, "") : LLVMBuildUIToFP(B, X0, a->type, "");
    return LLVMBuildIntCast2(B, X0, a->type, sgn, "");
}

// x rounded to `digits` binary digits, in float64: there the unit of the last digit, made of x's own exponent, is
// normal and dividing by it exact.
PW(round_to) {
    const struct ir_half_info *h = ir_half_info((enum ir_half)a->s->iconst);
    LLVMTypeRef d = cg_like(a->f, a->type, a->f->f64), i = cg_like(a->f, a->type, a->f->i64);
    LLVMValueRef x = is_double(a) ? X0 : LLVMBuildFPExt(B, X0, d, "");
    LLVMValueRef e = LLVMBuildAnd(B, LLVMBuildBitCast(B, x, i, ""), cg_viconst(a->f, i, INT64_C(0x7ff) << 52), "");
    LLVMValueRef least = cg_viconst(a->f, i, (int64_t)(h->least_exp + 1023) << 52);
    e = LLVMBuildSelect(B, LLVMBuildICmp(B, LLVMIntSLT, e, least, ""), least, e, "");
    e = LLVMBuildSub(B, e, cg_viconst(a->f, i, (int64_t)(h->digits - 1) << 52), "");
    LLVMValueRef unit = LLVMBuildBitCast(B, e, d, ""), q = LLVMBuildFDiv(B, x, unit, "");
    LLVMValueRef r = LLVMBuildFMul(B, cg_intrinsic(a->f, "llvm.rint", d, &q, 1), unit, "");
    LLVMValueRef big = cg_intrinsic(a->f, "llvm.fabs", d, &r, 1);
    LLVMValueRef sign[2] = {cg_vconst(a->f, d, 1.0 / 0.0), x};
    LLVMValueRef inf = cg_intrinsic(a->f, "llvm.copysign", d, sign, 2);
    r = LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealOGT, big, cg_vconst(a->f, d, h->largest), ""), inf, r, "");
    return is_double(a) ? r : LLVMBuildFPTrunc(B, r, a->type, "");
}

PW(add) { return float_args(a) ? LLVMBuildFAdd(B, X0, X1, "") : LLVMBuildAdd(B, X0, X1, ""); }
PW(sub) { return float_args(a) ? LLVMBuildFSub(B, X0, X1, "") : LLVMBuildSub(B, X0, X1, ""); }
PW(mul) { return float_args(a) ? LLVMBuildFMul(B, X0, X1, "") : LLVMBuildMul(B, X0, X1, ""); }
// x/0 is 0, and x/-1 is -x: neither may trap, nor may lanes past a tail, which hold zeros.
static LLVMValueRef int_div(const struct cg_pw_args *a, LLVMValueRef x, LLVMValueRef y) {
    bool sgn = ir_is_signed(in_type(a));
    LLVMValueRef one = cg_viconst(a->f, a->type, 1), none = LLVMBuildICmp(B, LLVMIntEQ, y, zero_like(y), "");
    LLVMValueRef minus = LLVMBuildICmp(B, LLVMIntEQ, y, cg_viconst(a->f, a->type, -1), "");
    LLVMValueRef d = LLVMBuildSelect(B, none, one, y, "");
    if (sgn) d = LLVMBuildSelect(B, minus, one, d, "");
    LLVMValueRef q = sgn ? LLVMBuildSDiv(B, x, d, "") : LLVMBuildUDiv(B, x, d, "");
    if (sgn) q = LLVMBuildSelect(B, minus, LLVMBuildNeg(B, x, ""), q, "");
    return LLVMBuildSelect(B, none, zero_like(x), q, "");
}
PW(div) {
    if (float_args(a)) return LLVMBuildFDiv(B, X0, X1, "");
    return int_div(a, X0, X1);
}
PW(rem) {
    LLVMValueRef args[2] = {X0, X1};
    if (float_args(a)) return LLVMBuildFRem(B, X0, X1, "");
    LLVMValueRef none = LLVMBuildICmp(B, LLVMIntEQ, X1, zero_like(X1), "");
    LLVMValueRef r = LLVMBuildSub(B, X0, LLVMBuildMul(B, int_div(a, X0, X1), args[1], ""), "");
    return LLVMBuildSelect(B, none, zero_like(X0), r, "");
}
// Powers modulo 2^bits by repeated squaring. A negative exponent leaves 1/x^-e toward zero: 0 but for x = 1 and -1.
static LLVMValueRef int_pow(const struct cg_pw_args *a) {
    enum ir_dtype t = in_type(a);
    LLVMValueRef one = cg_viconst(a->f, a->type, 1), zero = zero_like(X0), r = one, base = X0;
    for (int bit = 0; bit < (int)ir_dtype_size(t) * 8; bit++) {
        LLVMValueRef on = LLVMBuildAnd(B, X1, cg_viconst(a->f, a->type, (int64_t)(UINT64_C(1) << bit)), "");
        on = LLVMBuildICmp(B, LLVMIntNE, on, zero, "");
        r = LLVMBuildSelect(B, on, LLVMBuildMul(B, r, base, ""), r, "");
        base = LLVMBuildMul(B, base, base, "");
    }
    if (!ir_is_signed(t)) return r;
    LLVMValueRef odd = LLVMBuildICmp(B, LLVMIntNE, LLVMBuildAnd(B, X1, one, ""), zero, "");
    LLVMValueRef minus = cg_viconst(a->f, a->type, -1), small = LLVMBuildSelect(B, odd, minus, one, "");
    small = LLVMBuildSelect(B, LLVMBuildICmp(B, LLVMIntEQ, X0, minus, ""), small, zero, "");
    small = LLVMBuildSelect(B, LLVMBuildICmp(B, LLVMIntEQ, X0, one, ""), one, small, "");
    return LLVMBuildSelect(B, LLVMBuildICmp(B, LLVMIntSLT, X1, zero, ""), small, r, "");
}
PW(pow) {
    const struct cg_step *e = a->in_steps[1];
    if (!float_args(a)) return int_pow(a);
    LLVMValueRef one = cg_vconst(a->f, a->type, 1.0), x = X0;
    if (e->op == IR_OP_fill) { // common constant exponents need no call
        if (e->fconst == 1.0) return x;
        if (e->fconst == 2.0) return LLVMBuildFMul(B, x, x, "");
        if (e->fconst == 3.0) return LLVMBuildFMul(B, LLVMBuildFMul(B, x, x, ""), x, "");
        if (e->fconst == 0.5) return cg_intrinsic(a->f, "llvm.sqrt", a->type, &x, 1);
        if (e->fconst == -1.0) return LLVMBuildFDiv(B, one, x, "");
        if (e->fconst == -0.5) return LLVMBuildFDiv(B, one, cg_intrinsic(a->f, "llvm.sqrt", a->type, &x, 1), "");
    }
    LLVMValueRef args[2] = {X0, X1};
    return cg_intrinsic(a->f, "llvm.pow", a->type, args, 2);
}
static LLVMValueRef pick(const struct cg_pw_args *a, LLVMRealPredicate fp, LLVMIntPredicate ip) {
    if (!float_args(a)) return LLVMBuildSelect(B, order(a, ip, X0, X1), X0, X1, "");
    LLVMValueRef r = LLVMBuildSelect(B, LLVMBuildFCmp(B, fp, X0, X1, ""), X0, X1, "");
    return LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealUNO, X0, X0, ""), X0, r, "");
}
PW(max) { return pick(a, LLVMRealOGT, LLVMIntSGT); }
PW(min) { return pick(a, LLVMRealOLT, LLVMIntSLT); }
PW(eq) { return float_args(a) ? LLVMBuildFCmp(B, LLVMRealOEQ, X0, X1, "") : LLVMBuildICmp(B, LLVMIntEQ, X0, X1, ""); }
PW(lt) { return float_args(a) ? LLVMBuildFCmp(B, LLVMRealOLT, X0, X1, "") : order(a, LLVMIntSLT, X0, X1); }
PW(le) { return float_args(a) ? LLVMBuildFCmp(B, LLVMRealOLE, X0, X1, "") : order(a, LLVMIntSLE, X0, X1); }
PW(and) { return LLVMBuildAnd(B, X0, X1, ""); }
PW(bit_and) { return LLVMBuildAnd(B, X0, X1, ""); }
PW(or) { return LLVMBuildOr(B, X0, X1, ""); }
PW(fma) { return cg_fma(a->f, X0, X1, a->x[2]); }
PW(where) { return LLVMBuildSelect(B, X0, X1, a->x[2], ""); }

PW(fill) {
    if (is_float(a->type)) return cg_vconst(a->f, a->type, a->s->fconst);
    return cg_viconst(a->f, a->type, a->s->iconst);
}
PW(iota) { // operand: the affine index, i64
    if (a->s->dtype == IR_I64) return X0;
    return is_float(a->type) ? LLVMBuildSIToFP(B, X0, a->type, "") : LLVMBuildIntCast2(B, X0, a->type, 1, "");
}
PW(batch_size) { return cg_splat(a->f, LLVMBuildSIToFP(B, a->f->N, a->f->f32, ""), a->lanes); }

PW(bn_apply) { // (x - mean) * invstd * gamma + beta
    LLVMValueRef s = LLVMBuildFMul(B, a->x[2], a->x[3], "");
    return cg_fma(a->f, LLVMBuildFSub(B, X0, X1, ""), s, a->x[4]);
}

// --- dropout (ir/hash.h, lane by lane) ------------------------------------------------------------------------------

static LLVMValueRef mix32(const struct cg_pw_args *a, LLVMValueRef h) {
    LLVMTypeRef t = LLVMTypeOf(h);
    static const struct {
        int shift;
        uint32_t mul;
    } round[] = {{16, 0x85ebca6bu}, {13, 0xc2b2ae35u}, {16, 0}};
    for (int i = 0; i < 3; i++) {
        h = LLVMBuildXor(B, h, LLVMBuildLShr(B, h, cg_viconst(a->f, t, round[i].shift), ""), "");
        if (round[i].mul) h = LLVMBuildMul(B, h, cg_viconst(a->f, t, round[i].mul), "");
    }
    return h;
}

// 24 bits for the element of row-major number x0 and the seed x1.
static LLVMValueRef random_bits(const struct cg_pw_args *a) {
    LLVMTypeRef t32 = cg_like(a->f, a->type, a->f->i32), t64 = cg_like(a->f, a->type, a->f->i64);
    LLVMValueRef by32 = cg_viconst(a->f, t64, 32);
    LLVMValueRef s0 = LLVMBuildTrunc(B, X1, t32, ""), s1 = LLVMBuildTrunc(B, LLVMBuildLShr(B, X1, by32, ""), t32, "");
    // The salt's half of the key is a constant.
    uint32_t salt0 = ir_mix32((uint32_t)(uint64_t)a->s->iconst + UINT32_C(0x9e3779b9));
    uint32_t salt1 = (uint32_t)((uint64_t)a->s->iconst >> 32);
    LLVMValueRef k0 = mix32(a, LLVMBuildXor(B, s0, cg_viconst(a->f, t32, salt0), ""));
    LLVMValueRef k1 = mix32(a, LLVMBuildXor(B, k0, cg_viconst(a->f, t32, salt1), ""));
    k1 = mix32(a, LLVMBuildXor(B, LLVMBuildXor(B, s1, k1, ""), cg_viconst(a->f, t32, 0x7f4a7c15), ""));
    LLVMValueRef lo = LLVMBuildTrunc(B, X0, t32, ""), hi = LLVMBuildTrunc(B, LLVMBuildLShr(B, X0, by32, ""), t32, "");
    hi = LLVMBuildMul(B, hi, cg_viconst(a->f, t32, 0x9e3779b1), "");
    LLVMValueRef h = mix32(a, LLVMBuildXor(B, LLVMBuildXor(B, lo, k0, ""), hi, ""));
    return LLVMBuildLShr(B, mix32(a, LLVMBuildAdd(B, h, k1, "")), cg_viconst(a->f, t32, 8), "");
}

PW(random) {
    LLVMValueRef whole = LLVMBuildUIToFP(B, random_bits(a), a->type, "");
    return LLVMBuildFMul(B, whole, cg_vconst(a->f, a->type, 0x1p-24), "");
}

PW(dropout_mask) { // operands: the element's row-major number, the seed (negative: dropout is off, all ones)
    LLVMTypeRef t32 = cg_like(a->f, a->type, a->f->i32), t64 = cg_like(a->f, a->type, a->f->i64);
    LLVMValueRef h = random_bits(a);
    LLVMValueRef keep = LLVMBuildICmp(B, LLVMIntUGE, h, cg_viconst(a->f, t32, ir_dropout_threshold(a->s->fconst)), "");
    LLVMValueRef scale = cg_vconst(a->f, a->type, 1.0 / (1.0 - a->s->fconst));
    LLVMValueRef m = LLVMBuildSelect(B, keep, scale, cg_vconst(a->f, a->type, 0.0), "");
    LLVMValueRef off = LLVMBuildICmp(B, LLVMIntSLT, X1, cg_viconst(a->f, t64, 0), "");
    return LLVMBuildSelect(B, off, cg_vconst(a->f, a->type, 1.0), m, "");
}
