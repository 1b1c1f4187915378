// The small vocabulary all emitters share: constants, addresses, loops, conditionals, masked tails.
#include "cg.h"
#include "kernels/vmath.h"

#include <string.h>

LLVMValueRef cg_i64(struct cg_fn *f, int64_t v) { return LLVMConstInt(f->i64, (unsigned long long)v, 1); }
LLVMValueRef cg_i32(struct cg_fn *f, int32_t v) { return LLVMConstInt(f->i32, (unsigned long long)(int64_t)v, 1); }
LLVMValueRef cg_f32c(struct cg_fn *f, double v) { return LLVMConstReal(f->f32, v); }

LLVMTypeRef cg_vec_type(struct cg_fn *f, LLVMTypeRef elem, int lanes) {
    (void)f;
    return lanes == 1 ? elem : LLVMVectorType(elem, (unsigned)lanes);
}

LLVMValueRef cg_splat(struct cg_fn *f, LLVMValueRef x, int lanes) {
    if (lanes == 1) return x;
    LLVMTypeRef vt = LLVMVectorType(LLVMTypeOf(x), (unsigned)lanes);
    if (LLVMIsConstant(x)) {
        LLVMValueRef e[64];
        for (int i = 0; i < lanes; i++) e[i] = x;
        return LLVMConstVector(e, (unsigned)lanes);
    }
    LLVMValueRef v = LLVMBuildInsertElement(f->b, LLVMGetPoison(vt), x, cg_i32(f, 0), "");
    LLVMValueRef zero = LLVMConstNull(LLVMVectorType(f->i32, (unsigned)lanes));
    return LLVMBuildShuffleVector(f->b, v, LLVMGetPoison(vt), zero, "");
}

static bool const_of(LLVMValueRef v, int64_t *out) {
    if (!LLVMIsAConstantInt(v)) return false;
    *out = LLVMConstIntGetSExtValue(v);
    return true;
}

LLVMValueRef cg_addi(struct cg_fn *f, LLVMValueRef a, LLVMValueRef b) {
    int64_t k;
    if (const_of(a, &k) && k == 0) return b;
    if (const_of(b, &k) && k == 0) return a;
    return LLVMBuildNSWAdd(f->b, a, b, "");
}

LLVMValueRef cg_subi(struct cg_fn *f, LLVMValueRef a, LLVMValueRef b) {
    int64_t k;
    if (const_of(b, &k) && k == 0) return a;
    return LLVMBuildNSWSub(f->b, a, b, "");
}

LLVMValueRef cg_muli(struct cg_fn *f, LLVMValueRef a, LLVMValueRef b) {
    int64_t k;
    if (const_of(a, &k) && (k == 0 || k == 1)) return k ? b : a;
    if (const_of(b, &k) && (k == 0 || k == 1)) return k ? a : b;
    return LLVMBuildNSWMul(f->b, a, b, "");
}

LLVMValueRef cg_muladd(struct cg_fn *f, LLVMValueRef a, int64_t k, LLVMValueRef b) {
    return cg_addi(f, cg_muli(f, a, cg_i64(f, k)), b);
}

LLVMValueRef cg_mini(struct cg_fn *f, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildSelect(f->b, LLVMBuildICmp(f->b, LLVMIntSLT, a, b, ""), a, b, "");
}
LLVMValueRef cg_maxi(struct cg_fn *f, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildSelect(f->b, LLVMBuildICmp(f->b, LLVMIntSGT, a, b, ""), a, b, "");
}

LLVMValueRef cg_divi(struct cg_fn *f, LLVMValueRef a, LLVMValueRef b) {
    int64_t k;
    if (const_of(b, &k) && k == 1) return a;
    return LLVMBuildUDiv(f->b, a, b, "");
}
LLVMValueRef cg_remi(struct cg_fn *f, LLVMValueRef a, LLVMValueRef b) {
    int64_t k;
    if (const_of(b, &k) && k == 1) return cg_i64(f, 0);
    return LLVMBuildURem(f->b, a, b, "");
}

LLVMValueRef cg_gep(struct cg_fn *f, LLVMTypeRef elem, LLVMValueRef base, LLVMValueRef index) {
    int64_t k;
    if (const_of(index, &k) && k == 0) return base;
    return LLVMBuildInBoundsGEP2(f->b, elem, base, &index, 1, "");
}

LLVMValueRef cg_load(struct cg_fn *f, LLVMTypeRef type, LLVMValueRef addr, int align) {
    LLVMValueRef v = LLVMBuildLoad2(f->b, type, addr, "");
    LLVMSetAlignment(v, (unsigned)align);
    return v;
}

void cg_store(struct cg_fn *f, LLVMValueRef v, LLVMValueRef addr, int align) {
    LLVMSetAlignment(LLVMBuildStore(f->b, v, addr), (unsigned)align);
}

static int elem_align(LLVMTypeRef elem) {
    switch (LLVMGetTypeKind(elem)) {
    case LLVMDoubleTypeKind:
        return 8;
    case LLVMFloatTypeKind:
        return 4;
    default:
        return (int)(LLVMGetIntTypeWidth(elem) + 7) / 8;
    }
}

void cg_stream(struct cg_fn *f, LLVMValueRef v, LLVMValueRef addr) {
    LLVMValueRef s = LLVMBuildStore(f->b, v, addr);
    LLVMTypeRef vt = LLVMTypeOf(v);
    LLVMSetAlignment(s, LLVMGetVectorSize(vt) * (unsigned)elem_align(LLVMGetElementType(vt)));
    LLVMMetadataRef one = LLVMValueAsMetadata(cg_i32(f, 1));
    LLVMSetMetadata(s, LLVMGetMDKindIDInContext(f->cx, "nontemporal", 11),
                    LLVMMetadataAsValue(f->cx, LLVMMDNodeInContext2(f->cx, &one, 1)));
}

void cg_streamed(struct cg_fn *f) { cg_intrinsic(f, "llvm.x86.sse.sfence", NULL, NULL, 0); }

static LLVMValueRef first_mask(struct cg_fn *f, int width, int lanes) {
    LLVMValueRef e[64];
    for (int i = 0; i < width; i++) e[i] = LLVMConstInt(f->i1, i < lanes, 0);
    return LLVMConstVector(e, (unsigned)width);
}

LLVMValueRef cg_load_first(struct cg_fn *f, LLVMTypeRef elem, int width, LLVMValueRef addr, int lanes) {
    int align = elem_align(elem);
    LLVMTypeRef vt = cg_vec_type(f, elem, width);
    if (lanes == width) return cg_load(f, vt, addr, align);
    unsigned id = LLVMLookupIntrinsicID("llvm.masked.load", 16);
    LLVMTypeRef over[2] = {vt, f->p};
    LLVMValueRef fn = LLVMGetIntrinsicDeclaration(f->mod, id, over, 2);
    LLVMValueRef args[4] = {addr, cg_i32(f, align), first_mask(f, width, lanes), LLVMConstNull(vt)};
    return LLVMBuildCall2(f->b, LLVMIntrinsicGetType(f->cx, id, over, 2), fn, args, 4, "");
}

// Whole pieces of 8, 4, 2 and 1 lanes rather than a masked store: a load of what lies behind (or, 4 KiB away, of what
// merely looks so) would wait for the masked store to retire, and on AVX2 masked stores are slow by themselves.
void cg_store_first(struct cg_fn *f, LLVMValueRef v, LLVMValueRef addr, int lanes) {
    LLVMTypeRef vt = LLVMTypeOf(v);
    if (LLVMGetTypeKind(vt) != LLVMVectorTypeKind) {
        cg_store(f, v, addr, elem_align(vt));
        return;
    }
    int width = (int)LLVMGetVectorSize(vt), align = elem_align(LLVMGetElementType(vt));
    if (lanes == width) {
        cg_store(f, v, addr, align);
        return;
    }
    LLVMTypeRef elem = LLVMGetElementType(vt);
    for (int at = 0, piece = width / 2; at < lanes; piece /= 2) {
        if (!(lanes & piece)) continue;
        LLVMValueRef pick[64], to = cg_gep(f, elem, addr, cg_i64(f, at)), x;
        for (int i = 0; i < piece; i++) pick[i] = cg_i32(f, at + i);
        if (piece == 1)
            x = LLVMBuildExtractElement(f->b, v, pick[0], "");
        else
            x = LLVMBuildShuffleVector(f->b, v, LLVMGetPoison(vt), LLVMConstVector(pick, (unsigned)piece), "");
        cg_store(f, x, to, align);
        at += piece;
    }
}

// --- bfloat16 --------------------------------------------------------------------------------------------------------

LLVMTypeRef cg_f32_in_memory(struct cg_fn *f, bool narrow) { return narrow ? f->i16 : f->f32; }

LLVMValueRef cg_from_bf16(struct cg_fn *f, LLVMValueRef bits) {
    int lanes = cg_lanes(LLVMTypeOf(bits));
    LLVMTypeRef wide = cg_vec_type(f, f->i32, lanes);
    LLVMValueRef high = LLVMBuildShl(f->b, LLVMBuildZExt(f->b, bits, wide, ""), cg_splat(f, cg_i32(f, 16), lanes), "");
    return LLVMBuildBitCast(f->b, high, cg_vec_type(f, f->f32, lanes), "");
}

LLVMValueRef cg_to_bf16(struct cg_fn *f, LLVMValueRef v) {
    int lanes = cg_lanes(LLVMTypeOf(v));
    LLVMTypeRef wide = cg_vec_type(f, f->i32, lanes), half = cg_vec_type(f, f->i16, lanes);
    if (f->t->bf16_dot && lanes == 16) { // the instruction; it takes denormals for zero
        v = cg_intrinsic(f, "llvm.x86.avx512bf16.cvtneps2bf16.512", NULL, &v, 1);
        return LLVMBuildBitCast(f->b, v, half, "");
    }
    LLVMValueRef bits = LLVMBuildBitCast(f->b, v, wide, ""), s16 = cg_splat(f, cg_i32(f, 16), lanes);
    LLVMValueRef high = LLVMBuildLShr(f->b, bits, s16, "");
    LLVMValueRef odd = LLVMBuildAnd(f->b, high, cg_splat(f, cg_i32(f, 1), lanes), "");
    LLVMValueRef half_ulp = LLVMBuildAdd(f->b, odd, cg_splat(f, cg_i32(f, 0x7fff), lanes), "");
    LLVMValueRef rounded = LLVMBuildLShr(f->b, LLVMBuildAdd(f->b, bits, half_ulp, ""), s16, "");
    LLVMValueRef quiet = LLVMBuildOr(f->b, high, cg_splat(f, cg_i32(f, 0x40), lanes), "");
    LLVMValueRef nan = LLVMBuildFCmp(f->b, LLVMRealUNO, v, v, "");
    return LLVMBuildTrunc(f->b, LLVMBuildSelect(f->b, nan, quiet, rounded, ""), half, "");
}

LLVMValueRef cg_load_f32(struct cg_fn *f, bool narrow, int width, LLVMValueRef addr, int lanes) {
    LLVMValueRef v = cg_load_first(f, cg_f32_in_memory(f, narrow), width, addr, lanes);
    return narrow ? cg_from_bf16(f, v) : v;
}

void cg_store_f32(struct cg_fn *f, bool narrow, LLVMValueRef v, LLVMValueRef addr, int lanes) {
    cg_store_first(f, narrow ? cg_to_bf16(f, v) : v, addr, lanes);
}

LLVMValueRef cg_intrinsic(struct cg_fn *f, const char *name, LLVMTypeRef overload, LLVMValueRef *args, int n) {
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    CHECK(id != 0, "no LLVM intrinsic %s", name);
    size_t types = overload ? 1 : 0;
    LLVMValueRef fn = LLVMGetIntrinsicDeclaration(f->mod, id, &overload, types);
    return LLVMBuildCall2(f->b, LLVMIntrinsicGetType(f->cx, id, &overload, types), fn, args, (unsigned)n, "");
}

static void fetch(struct cg_fn *f, LLVMValueRef addr, int writes, int reach) {
    LLVMValueRef args[4] = {addr, cg_i32(f, writes), cg_i32(f, reach), cg_i32(f, 1)}; // data
    cg_intrinsic(f, "llvm.prefetch", f->p, args, 4);
}

void cg_fetch(struct cg_fn *f, LLVMValueRef addr, enum cg_reach reach) { fetch(f, addr, 0, reach); }
void cg_fetch_to_write(struct cg_fn *f, LLVMValueRef addr) { fetch(f, addr, 1, CG_INTO_FIRST); }

LLVMValueRef cg_fma(struct cg_fn *f, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c) {
    LLVMValueRef args[3] = {a, b, c};
    return cg_intrinsic(f, "llvm.fma", LLVMTypeOf(c), args, 3);
}

LLVMValueRef cg_constant(struct cg_fn *f, LLVMValueRef init, const char *name) {
    LLVMValueRef g = LLVMAddGlobal(f->mod, LLVMTypeOf(init), name);
    LLVMSetInitializer(g, init);
    LLVMSetLinkage(g, LLVMPrivateLinkage);
    LLVMSetGlobalConstant(g, 1);
    return g;
}

LLVMValueRef cg_local(struct cg_fn *f, LLVMTypeRef type, LLVMValueRef init) {
    LLVMBasicBlockRef here = LLVMGetInsertBlock(f->b), entry = LLVMGetEntryBasicBlock(f->fn);
    LLVMValueRef first = LLVMGetFirstInstruction(entry);
    if (first)
        LLVMPositionBuilderBefore(f->b, first);
    else
        LLVMPositionBuilderAtEnd(f->b, entry);
    LLVMValueRef slot = LLVMBuildAlloca(f->b, type, "");
    LLVMPositionBuilderAtEnd(f->b, here);
    if (init) LLVMBuildStore(f->b, init, slot);
    return slot;
}

// Blocks are laid out in the order they are made; the condition is tested at the head, so an empty range runs nothing.
LLVMValueRef cg_loop_begin(struct cg_fn *f, struct cg_loop *l, LLVMValueRef begin, LLVMValueRef end, int64_t step) {
    LLVMBasicBlockRef before = LLVMGetInsertBlock(f->b);
    l->head = LLVMAppendBasicBlockInContext(f->cx, f->fn, "loop");
    l->body = LLVMAppendBasicBlockInContext(f->cx, f->fn, "body");
    l->exit = LLVMAppendBasicBlockInContext(f->cx, f->fn, "done");
    l->step = step;
    LLVMBuildBr(f->b, l->head);
    LLVMPositionBuilderAtEnd(f->b, l->head);
    l->i = LLVMBuildPhi(f->b, f->i64, "i");
    LLVMAddIncoming(l->i, &begin, &before, 1);
    LLVMBuildCondBr(f->b, LLVMBuildICmp(f->b, LLVMIntSLT, l->i, end, ""), l->body, l->exit);
    LLVMPositionBuilderAtEnd(f->b, l->body);
    return l->i;
}

void cg_loop_end(struct cg_fn *f, struct cg_loop *l) {
    LLVMBasicBlockRef last = LLVMGetInsertBlock(f->b);
    LLVMValueRef next = LLVMBuildNSWAdd(f->b, l->i, cg_i64(f, l->step), "");
    LLVMAddIncoming(l->i, &next, &last, 1);
    LLVMBuildBr(f->b, l->head);
    // Later blocks should follow the loop in the listing.
    LLVMMoveBasicBlockAfter(l->exit, last);
    LLVMPositionBuilderAtEnd(f->b, l->exit);
}

void cg_if_begin(struct cg_fn *f, struct cg_if *c, LLVMValueRef cond) {
    c->then = LLVMAppendBasicBlockInContext(f->cx, f->fn, "then");
    c->exit = LLVMAppendBasicBlockInContext(f->cx, f->fn, "endif");
    c->other = LLVMAppendBasicBlockInContext(f->cx, f->fn, "else");
    LLVMBuildCondBr(f->b, cond, c->then, c->other);
    LLVMPositionBuilderAtEnd(f->b, c->other); // an `else` that stays empty just falls through
    LLVMPositionBuilderAtEnd(f->b, c->then);
}

void cg_if_else(struct cg_fn *f, struct cg_if *c) {
    LLVMBuildBr(f->b, c->exit);
    LLVMPositionBuilderAtEnd(f->b, c->other);
    c->other = NULL;
}

void cg_if_end(struct cg_fn *f, struct cg_if *c) {
    LLVMBuildBr(f->b, c->exit);
    if (c->other) {
        LLVMPositionBuilderAtEnd(f->b, c->other);
        LLVMBuildBr(f->b, c->exit);
    }
    LLVMMoveBasicBlockAfter(c->exit, LLVMGetLastBasicBlock(f->fn));
    LLVMPositionBuilderAtEnd(f->b, c->exit);
}

void cg_share(struct cg_fn *f, LLVMValueRef total, int64_t unit, LLVMValueRef *begin, LLVMValueRef *end) {
    LLVMValueRef units = unit == 1 ? total : cg_divi(f, cg_addi(f, total, cg_i64(f, unit - 1)), cg_i64(f, unit));
    LLVMValueRef parts = cg_muli(f, f->threads, cg_i64(f, CG_PARTS));
    LLVMValueRef u0 = cg_divi(f, cg_muli(f, units, f->first), parts);
    LLVMValueRef u1 = cg_divi(f, cg_muli(f, units, f->last), parts);
    *begin = cg_muli(f, u0, cg_i64(f, unit));
    *end = unit == 1 ? u1 : cg_mini(f, cg_muli(f, u1, cg_i64(f, unit)), total);
}

LLVMValueRef cg_subfunction(struct cg_fn *f, const char *name, LLVMTypeRef fn_type, bool *is_new) {
    LLVMValueRef fn = LLVMGetNamedFunction(f->mod, name);
    *is_new = !fn;
    if (fn) return fn;
    fn = LLVMAddFunction(f->mod, name, fn_type);
    LLVMSetLinkage(fn, LLVMInternalLinkage);
    // The same target attributes as the kernel that first needs it.
    unsigned n = LLVMGetAttributeCountAtIndex(f->fn, LLVMAttributeFunctionIndex);
    LLVMAttributeRef attrs[32];
    if (n <= 32) {
        LLVMGetAttributesAtIndex(f->fn, LLVMAttributeFunctionIndex, attrs);
        for (unsigned i = 0; i < n; i++) LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex, attrs[i]);
    }
    return fn;
}

void cg_noinline(struct cg_fn *f, LLVMValueRef fn) {
    unsigned kind = LLVMGetEnumAttributeKindForName("noinline", 8);
    LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(f->cx, kind, 0));
}

struct cg_fn cg_fn_nested(struct cg_fn *outer, LLVMValueRef fn) {
    struct cg_fn f = *outer;
    f.fn = fn;
    f.b = LLVMCreateBuilderInContext(f.cx);
    LLVMPositionBuilderAtEnd(f.b, LLVMAppendBasicBlockInContext(f.cx, fn, "entry"));
    return f;
}

void cg_fn_done(struct cg_fn *nested) {
    LLVMBuildRetVoid(nested->b);
    LLVMDisposeBuilder(nested->b);
    nested->b = NULL;
}
