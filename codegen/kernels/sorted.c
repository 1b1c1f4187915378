// top_k, and sums and products along an axis.
#include "gather.h"

#include <limits.h>

// --- top_k ---------------------------------------------------------------------------------------------------------
//
// A row's keys, 64-bit integers in whose order its elements are wanted, and their places are laid out in scratch; runs
// of 1, 2, 4 .. places are then merged from one list to the other. What is equal keeps its order.

static LLVMValueRef key_of(struct cg_fn *f, const struct cg_gather *g, LLVMValueRef x) {
    LLVMValueRef key;
    if (ir_is_float(g->dtype)) {
        bool wide = g->dtype == IR_F64;
        LLVMTypeRef ints = wide ? f->i64 : f->i32;
        LLVMValueRef zero = LLVMConstNull(LLVMTypeOf(x)), most = LLVMConstInt(ints, wide ? INT64_MAX : INT_MAX, 0);
        LLVMValueRef is_zero = LLVMBuildFCmp(f->b, LLVMRealOEQ, x, zero, "");
        LLVMValueRef bits = LLVMBuildBitCast(f->b, LLVMBuildSelect(f->b, is_zero, zero, x, ""), ints, "");
        LLVMValueRef negative = LLVMBuildICmp(f->b, LLVMIntSLT, bits, LLVMConstNull(ints), "");
        LLVMValueRef up = LLVMBuildSelect(f->b, negative, LLVMBuildXor(f->b, bits, most, ""), bits, "");
        key = LLVMBuildSelect(f->b, LLVMBuildFCmp(f->b, LLVMRealUNO, x, x, ""), most, up, "");
        if (!wide) key = LLVMBuildSExt(f->b, key, f->i64, "");
    } else {
        key = LLVMBuildIntCast2(f->b, x, f->i64, ir_is_signed(g->dtype), "");
        if (g->dtype == IR_U64)
            key = LLVMBuildXor(f->b, key, LLVMConstInt(f->i64, (unsigned long long)INT64_MIN, 0), "");
    }
    return g->option ? LLVMBuildNot(f->b, key, "") : key; // the least key first
}

int64_t cg_top_k_scratch(const struct cg_gather *g) { return g->dim * 16; }

struct sorting {
    LLVMValueRef keys, lists[2];
    int64_t n;
};

static LLVMValueRef at(struct cg_fn *f, LLVMValueRef list, LLVMValueRef i) {
    return cg_load(f, f->i32, cg_gep(f, f->i32, list, i), 4);
}

static LLVMValueRef key_at(struct cg_fn *f, const struct sorting *s, LLVMValueRef list, LLVMValueRef i) {
    LLVMValueRef place = LLVMBuildZExt(f->b, at(f, list, i), f->i64, "");
    return cg_load(f, f->i64, cg_gep(f, f->i64, s->keys, place), 8);
}

// Merges runs [low, middle) and [middle, high) of one list into the other. An index past its run reads the place 0 of
// the list, and is not taken.
static void merge(struct cg_fn *f, const struct sorting *s, LLVMValueRef from, LLVMValueRef to, LLVMValueRef low,
                  LLVMValueRef middle, LLVMValueRef high) {
    LLVMValueRef left = cg_local(f, f->i64, low), right = cg_local(f, f->i64, middle), zero = cg_i64(f, 0);
    struct cg_loop l;
    LLVMValueRef i = cg_loop_begin(f, &l, low, high, 1);
    LLVMValueRef a = LLVMBuildLoad2(f->b, f->i64, left, ""), b = LLVMBuildLoad2(f->b, f->i64, right, "");
    LLVMValueRef has_a = LLVMBuildICmp(f->b, LLVMIntSLT, a, middle, ""),
                 has_b = LLVMBuildICmp(f->b, LLVMIntSLT, b, high, "");
    LLVMValueRef ka = key_at(f, s, from, LLVMBuildSelect(f->b, has_a, a, zero, "")),
                 kb = key_at(f, s, from, LLVMBuildSelect(f->b, has_b, b, zero, ""));
    LLVMValueRef first = LLVMBuildAnd(f->b, has_b, LLVMBuildICmp(f->b, LLVMIntSGT, ka, kb, ""), "");
    LLVMValueRef take_b = LLVMBuildSelect(f->b, has_a, first, has_b, "");
    LLVMValueRef place = at(f, from, LLVMBuildSelect(f->b, take_b, b, a, ""));
    cg_store(f, place, cg_gep(f, f->i32, to, i), 4);
    LLVMBuildStore(f->b, LLVMBuildSelect(f->b, take_b, a, cg_addi(f, a, cg_i64(f, 1)), ""), left);
    LLVMBuildStore(f->b, LLVMBuildSelect(f->b, take_b, cg_addi(f, b, cg_i64(f, 1)), b, ""), right);
    cg_loop_end(f, &l);
}

// Sorts the places of lists[0]; returns the list that has them in the end.
static LLVMValueRef sort(struct cg_fn *f, const struct sorting *s) {
    int passes = 0;
    while (INT64_C(1) << passes < s->n) passes++;
    LLVMValueRef n = cg_i64(f, s->n), run = cg_local(f, f->i64, cg_i64(f, 1));
    LLVMValueRef from = cg_local(f, f->p, s->lists[0]), to = cg_local(f, f->p, s->lists[1]);
    struct cg_loop lp, l;
    cg_loop_begin(f, &lp, cg_i64(f, 0), cg_i64(f, passes), 1);
    LLVMValueRef size = LLVMBuildLoad2(f->b, f->i64, run, ""), a = LLVMBuildLoad2(f->b, f->p, from, ""),
                 b = LLVMBuildLoad2(f->b, f->p, to, "");
    LLVMValueRef pairs = cg_divi(f, cg_addi(f, n, cg_subi(f, cg_muli(f, size, cg_i64(f, 2)), cg_i64(f, 1))),
                                 cg_muli(f, size, cg_i64(f, 2)));
    LLVMValueRef pair = cg_loop_begin(f, &l, cg_i64(f, 0), pairs, 1);
    LLVMValueRef low = cg_muli(f, pair, cg_muli(f, size, cg_i64(f, 2)));
    LLVMValueRef middle = cg_mini(f, cg_addi(f, low, size), n), high = cg_mini(f, cg_addi(f, middle, size), n);
    merge(f, s, a, b, low, middle, high);
    cg_loop_end(f, &l);
    LLVMBuildStore(f->b, cg_muli(f, size, cg_i64(f, 2)), run);
    LLVMBuildStore(f->b, b, from);
    LLVMBuildStore(f->b, a, to);
    cg_loop_end(f, &lp);
    return s->lists[passes % 2];
}

void cg_emit_top_k(struct cg_fn *f, const void *p) {
    const struct cg_gather *g = p;
    LLVMTypeRef mt = cg_mem_type(f, g->dtype);
    int align = (int)ir_dtype_size(g->dtype);
    LLVMValueRef inner = cg_i64(f, g->inner), begin, end, zero = cg_i64(f, 0), outer = cg_i64(f, g->outer);
    struct sorting s = {.keys = f->scratch, .n = g->dim};
    s.lists[0] = cg_gep(f, f->i64, s.keys, cg_i64(f, g->dim));
    s.lists[1] = cg_gep(f, f->i32, s.lists[0], cg_i64(f, g->dim));
    if (g->outer_n) outer = cg_muli(f, f->N, outer);
    cg_share(f, cg_muli(f, outer, inner), 1, &begin, &end);
    struct cg_loop l, li;
    LLVMValueRef row = cg_loop_begin(f, &l, begin, end, 1), o = cg_divi(f, row, inner), column = cg_remi(f, row, inner);
    LLVMValueRef x = cg_gep(f, mt, f->ptr[0], cg_addi(f, cg_muli(f, o, cg_i64(f, g->dim * g->inner)), column));
    LLVMValueRef i = cg_loop_begin(f, &li, zero, cg_i64(f, g->dim), 1);
    LLVMValueRef v = cg_load(f, mt, cg_gep(f, mt, x, cg_muli(f, i, inner)), align);
    cg_store(f, key_of(f, g, v), cg_gep(f, f->i64, s.keys, i), 8);
    cg_store(f, LLVMBuildTrunc(f->b, i, f->i32, ""), cg_gep(f, f->i32, s.lists[0], i), 4);
    cg_loop_end(f, &li);
    LLVMValueRef sorted = sort(f, &s), out = cg_addi(f, cg_muli(f, o, cg_i64(f, g->k * g->inner)), column);
    i = cg_loop_begin(f, &li, zero, cg_i64(f, g->k), 1);
    LLVMValueRef place = LLVMBuildZExt(f->b, at(f, sorted, i), f->i64, ""), to = cg_addi(f, out, cg_muli(f, i, inner));
    v = cg_load(f, mt, cg_gep(f, mt, x, cg_muli(f, place, inner)), align);
    cg_store(f, v, cg_gep(f, mt, f->ptr[1], to), align);
    cg_store(f, place, cg_gep(f, f->i64, f->ptr[2], to), 8);
    cg_loop_end(f, &li);
    cg_loop_end(f, &l);
}

// --- cum_sum, cum_prod ---------------------------------------------------------------------------------------------

// Columns of a plane from element `column` on, `lanes` of them, one sum each.
static void columns(struct cg_fn *f, const struct cg_gather *g, LLVMValueRef plane, LLVMValueRef column, int lanes) {
    LLVMTypeRef mt = cg_mem_type(f, g->dtype), t = cg_vec_type(f, mt, lanes);
    bool flt = ir_is_float(g->dtype), product = (g->option & CG_CUMULATE_PRODUCT) != 0;
    LLVMTypeRef sums = flt ? cg_vec_type(f, f->f64, lanes) : t;
    int align = (int)ir_dtype_size(g->dtype);
    LLVMValueRef start = flt ? LLVMConstReal(f->f64, product) : LLVMConstInt(mt, product, 0);
    LLVMValueRef acc = cg_local(f, sums, cg_splat(f, start, lanes)),
                 dim = g->dim_n ? cg_muli(f, f->N, cg_i64(f, g->dim)) : cg_i64(f, g->dim);
    struct cg_loop l;
    LLVMValueRef i = cg_loop_begin(f, &l, cg_i64(f, 0), dim, 1);
    LLVMValueRef d = g->option & CG_CUMULATE_REVERSE ? cg_subi(f, cg_subi(f, dim, cg_i64(f, 1)), i) : i;
    LLVMValueRef at = cg_addi(f, cg_muli(f, cg_addi(f, cg_muli(f, plane, dim), d), cg_i64(f, g->inner)), column);
    LLVMValueRef x = cg_load(f, t, cg_gep(f, mt, f->ptr[0], at), align), old = LLVMBuildLoad2(f->b, sums, acc, ""), now;
    if (flt) {
        if (g->dtype == IR_F32) x = LLVMBuildFPExt(f->b, x, sums, "");
        now = product ? LLVMBuildFMul(f->b, old, x, "") : LLVMBuildFAdd(f->b, old, x, "");
    } else {
        now = product ? LLVMBuildMul(f->b, old, x, "") : LLVMBuildAdd(f->b, old, x, "");
    }
    LLVMValueRef y = g->option & CG_CUMULATE_EXCLUSIVE ? old : now;
    if (g->dtype == IR_F32) y = LLVMBuildFPTrunc(f->b, y, t, "");
    cg_store(f, y, cg_gep(f, mt, f->ptr[1], at), align);
    LLVMBuildStore(f->b, now, acc);
    cg_loop_end(f, &l);
}

void cg_emit_cumulate(struct cg_fn *f, const void *p) {
    const struct cg_gather *g = p;
    int lanes = g->inner >= f->t->vl ? f->t->vl : 1;
    LLVMValueRef inner = cg_i64(f, g->inner), outer = cg_i64(f, g->outer), begin, end;
    if (g->outer_n) outer = cg_muli(f, f->N, outer);
    cg_share(f, cg_muli(f, outer, inner), lanes, &begin, &end);
    struct cg_loop lo, l;
    LLVMValueRef last = cg_divi(f, cg_addi(f, end, cg_i64(f, g->inner - 1)), inner);
    LLVMValueRef o = cg_loop_begin(f, &lo, cg_divi(f, begin, inner), last, 1), first = cg_muli(f, o, inner);
    LLVMValueRef from = cg_maxi(f, cg_subi(f, begin, first), cg_i64(f, 0)),
                 to = cg_mini(f, cg_subi(f, end, first), inner);
    for (int wide = lanes; wide; wide = wide > 1 ? 1 : 0) {
        LLVMValueRef size = cg_i64(f, wide), count = cg_muli(f, cg_divi(f, cg_subi(f, to, from), size), size);
        LLVMValueRef stop = cg_addi(f, from, count), k = cg_loop_begin(f, &l, from, stop, wide);
        columns(f, g, o, k, wide);
        cg_loop_end(f, &l);
        from = stop;
    }
    cg_loop_end(f, &lo);
}
