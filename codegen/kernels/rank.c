// rank: each element's place among all. Rows in lanes: a vector of elements is compared with one element after the
// other, so that nothing but whole numbers is added, and each place is counted by one thread.
#include "kernels.h"

#include <limits.h>

// An integer that is smaller where x comes earlier: the bits of a float, with those that fall where floats rise turned
// round, zeros of either sign equal, and the largest for NaN.
static LLVMValueRef key_of(struct cg_fn *f, LLVMValueRef x, int lanes) {
    LLVMTypeRef ints = cg_vec_type(f, f->i32, lanes);
    LLVMValueRef zero = LLVMConstNull(LLVMTypeOf(x)), is_zero = LLVMBuildFCmp(f->b, LLVMRealOEQ, x, zero, "");
    LLVMValueRef bits = LLVMBuildBitCast(f->b, LLVMBuildSelect(f->b, is_zero, zero, x, ""), ints, "");
    LLVMValueRef negative = LLVMBuildAShr(f->b, bits, cg_splat(f, cg_i32(f, 31), lanes), "");
    LLVMValueRef turned = LLVMBuildAnd(f->b, negative, cg_splat(f, cg_i32(f, INT_MAX), lanes), "");
    LLVMValueRef nan = LLVMBuildFCmp(f->b, LLVMRealUNO, x, x, "");
    return LLVMBuildSelect(f->b, nan, cg_splat(f, cg_i32(f, INT_MAX), lanes), LLVMBuildXor(f->b, bits, turned, ""), "");
}

// Elements being placed, `lanes` of them from `at` on.
struct placed {
    int lanes;
    LLVMValueRef at, key, count;
};

// Whether element j comes before each of them, when it is equal to them (`equal`, i1s) or not.
static void compare(struct cg_fn *f, struct placed *p, LLVMValueRef j, LLVMValueRef equal) {
    LLVMTypeRef ints = cg_vec_type(f, f->i32, p->lanes);
    LLVMValueRef x = cg_load(f, f->f32, cg_gep(f, f->f32, f->ptr[0], j), 4);
    LLVMValueRef key = cg_splat(f, key_of(f, x, 1), p->lanes);
    LLVMValueRef less = LLVMBuildICmp(f->b, LLVMIntSLT, key, p->key, ""),
                 no_more = LLVMBuildICmp(f->b, LLVMIntSLE, key, p->key, "");
    LLVMValueRef before = LLVMBuildZExt(f->b, LLVMBuildSelect(f->b, equal, no_more, less, ""), ints, "");
    LLVMValueRef n = LLVMBuildLoad2(f->b, ints, p->count, "");
    LLVMBuildStore(f->b, LLVMBuildAdd(f->b, n, before, ""), p->count);
}

// The first `k` lanes false, the others true.
static LLVMValueRef from_lane(struct cg_fn *f, int lanes, int k) {
    LLVMValueRef e[64];
    for (int i = 0; i < lanes; i++) e[i] = LLVMConstInt(f->i1, i >= k, 0);
    return lanes == 1 ? e[0] : LLVMConstVector(e, (unsigned)lanes);
}

static void compare_all(struct cg_fn *f, struct placed *p, LLVMValueRef begin, LLVMValueRef end, bool equal) {
    struct cg_loop l;
    LLVMValueRef j = cg_loop_begin(f, &l, begin, end, 1);
    compare(f, p, j, from_lane(f, p->lanes, equal ? 0 : p->lanes));
    cg_loop_end(f, &l);
}

// Places the elements of [begin, end), `lanes` at once; returns how far that went.
static LLVMValueRef place(struct cg_fn *f, int lanes, LLVMValueRef begin, LLVMValueRef end, LLVMValueRef total) {
    LLVMTypeRef floats = cg_vec_type(f, f->f32, lanes), ints = cg_vec_type(f, f->i32, lanes);
    LLVMValueRef count = cg_local(f, ints, NULL), size = cg_i64(f, lanes);
    LLVMValueRef stop = cg_addi(f, begin, cg_muli(f, cg_divi(f, cg_subi(f, end, begin), size), size));
    struct cg_loop l;
    struct placed p = {.lanes = lanes, .count = count, .at = cg_loop_begin(f, &l, begin, stop, lanes)};
    p.key = key_of(f, cg_load(f, floats, cg_gep(f, f->f32, f->ptr[0], p.at), 4), lanes);
    LLVMBuildStore(f->b, LLVMConstNull(ints), count);
    compare_all(f, &p, cg_i64(f, 0), p.at, true);
    for (int k = 0; k < lanes && lanes > 1; k++)
        compare(f, &p, cg_addi(f, p.at, cg_i64(f, k)), from_lane(f, lanes, k + 1));
    compare_all(f, &p, cg_addi(f, p.at, size), total, false);
    LLVMValueRef y = LLVMBuildSIToFP(f->b, LLVMBuildLoad2(f->b, ints, count, ""), floats, "");
    cg_store(f, y, cg_gep(f, f->f32, f->ptr[1], p.at), 4);
    cg_loop_end(f, &l);
    return stop;
}

void cg_emit_rank(struct cg_fn *f, const void *params) {
    const struct cg_rank *r = params;
    LLVMValueRef total = r->batched ? cg_muli(f, f->N, cg_i64(f, r->count)) : cg_i64(f, r->count), begin, end;
    cg_share(f, total, f->t->vl, &begin, &end);
    place(f, 1, place(f, f->t->vl, begin, end, total), end, total);
}
