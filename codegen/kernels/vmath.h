// Elementary functions as f32 vector code. One formula for every lane count, so a vector lane and a scalar tail give
// the same bits, and no libm is called. Coefficients are our own minimax fits (float64, Chebyshev nodes, reweighted
// least squares); errors measured over all of float32's interesting range by tests/unit/test_cg_math.c.
#ifndef SMKD_CG_VMATH_H
#define SMKD_CG_VMATH_H
#include "../cg.h"

LLVMValueRef cg_exp(struct cg_fn *f, LLVMValueRef x);     // <= 1 ulp, full range incl. denormal results, inf, NaN
LLVMValueRef cg_log(struct cg_fn *f, LLVMValueRef x);     // <= 1 ulp; log 0 = -inf, log(<0) = NaN
LLVMValueRef cg_tanh(struct cg_fn *f, LLVMValueRef x);    // <= 1.5 ulp
LLVMValueRef cg_sigmoid(struct cg_fn *f, LLVMValueRef x); // <= 2.5 ulp
LLVMValueRef cg_erf(struct cg_fn *f, LLVMValueRef x);     // <= 2.5 ulp
LLVMValueRef cg_asin(struct cg_fn *f, LLVMValueRef x);    // <= 2 ulp; NaN outside -1..1
LLVMValueRef cg_acos(struct cg_fn *f, LLVMValueRef x);    // <= 2 ulp; NaN outside -1..1
LLVMValueRef cg_atan(struct cg_fn *f, LLVMValueRef x);    // <= 2 ulp
LLVMValueRef cg_sinh(struct cg_fn *f, LLVMValueRef x);    // <= 2 ulp, inf where float32 ends
LLVMValueRef cg_cosh(struct cg_fn *f, LLVMValueRef x);    // <= 2 ulp, inf where float32 ends
LLVMValueRef cg_asinh(struct cg_fn *f, LLVMValueRef x);   // <= 2.5 ulp
LLVMValueRef cg_acosh(struct cg_fn *f, LLVMValueRef x);   // <= 2.5 ulp; NaN below 1
LLVMValueRef cg_atanh(struct cg_fn *f, LLVMValueRef x);   // <= 2.5 ulp; inf at 1, NaN beyond
LLVMValueRef cg_vconst(struct cg_fn *f, LLVMTypeRef type, double v);      // float constant splatted to `type`
LLVMValueRef cg_viconst(struct cg_fn *f, LLVMTypeRef type, int64_t v);    // the same for integers
int cg_lanes(LLVMTypeRef type);                                           // 1 for scalars
LLVMTypeRef cg_like(struct cg_fn *f, LLVMTypeRef type, LLVMTypeRef elem); // `elem` with as many lanes as `type`
#endif
