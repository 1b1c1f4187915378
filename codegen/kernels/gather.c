// gather, its adjoint, take_rows and argmax. Indices come from data: a negative one counts from the end, and one that
// is out of range reads as 0 (its gradient is dropped), so a bad index can never touch memory outside. (Constants were
// checked at import.)
#include "gather.h"

static LLVMValueRef times_n(struct cg_fn *f, int64_t k, bool n) {
    return n ? cg_muli(f, f->N, cg_i64(f, k)) : cg_i64(f, k);
}

static LLVMValueRef index_at(struct cg_fn *f, const struct cg_gather *g, LLVMValueRef j) {
    LLVMTypeRef mt = cg_mem_type(f, g->index_dtype);
    LLVMValueRef v = cg_load(f, mt, cg_gep(f, mt, f->ptr[1], j), (int)ir_dtype_size(g->index_dtype));
    if (mt != f->i64) v = LLVMBuildIntCast2(f->b, v, f->i64, ir_is_signed(g->index_dtype), "");
    LLVMValueRef neg = LLVMBuildICmp(f->b, LLVMIntSLT, v, cg_i64(f, 0), "");
    return LLVMBuildSelect(f->b, neg, LLVMBuildAdd(f->b, v, cg_i64(f, g->dim), ""), v, "");
}

void cg_emit_gather(struct cg_fn *f, const void *p) {
    const struct cg_gather *g = p;
    LLVMTypeRef mt = cg_mem_type(f, g->dtype);
    int align = (int)ir_dtype_size(g->dtype);
    LLVMValueRef n_index = times_n(f, g->n_index, g->index_n), begin, end;
    cg_share(f, cg_muli(f, times_n(f, g->outer, g->outer_n), n_index), 1, &begin, &end);
    struct cg_loop l, li;
    LLVMValueRef i = cg_loop_begin(f, &l, begin, end, 1);
    LLVMValueRef o = cg_divi(f, i, n_index), at = index_at(f, g, cg_remi(f, i, n_index));
    LLVMValueRef inside = LLVMBuildICmp(f->b, LLVMIntULT, at, cg_i64(f, g->dim), "");
    at = LLVMBuildSelect(f->b, inside, at, cg_i64(f, 0), "");
    LLVMValueRef src = cg_gep(f, mt, f->ptr[0], cg_muli(f, cg_muladd(f, o, g->dim, at), cg_i64(f, g->inner)));
    LLVMValueRef dst = cg_gep(f, mt, f->ptr[2], cg_muli(f, i, cg_i64(f, g->inner)));
    LLVMValueRef k = cg_loop_begin(f, &li, cg_i64(f, 0), cg_i64(f, g->inner), 1);
    LLVMValueRef v = cg_load(f, mt, cg_gep(f, mt, src, k), align);
    cg_store(f, LLVMBuildSelect(f->b, inside, v, LLVMConstNull(mt), ""), cg_gep(f, mt, dst, k), align);
    cg_loop_end(f, &li);
    cg_loop_end(f, &l);
}

// One thread owns a row of dx and looks for the rows of dy that came from it, in index order: no races, fixed order.
void cg_emit_gather_grad(struct cg_fn *f, const void *p) {
    const struct cg_gather *g = p;
    LLVMValueRef n_index = times_n(f, g->n_index, g->index_n), begin, end;
    cg_share(f, cg_muli(f, times_n(f, g->outer, g->outer_n), cg_i64(f, g->dim)), 1, &begin, &end);
    struct cg_loop l, lz, lj, lk;
    struct cg_if c;
    LLVMValueRef r = cg_loop_begin(f, &l, begin, end, 1);
    LLVMValueRef o = cg_divi(f, r, cg_i64(f, g->dim)), d = cg_remi(f, r, cg_i64(f, g->dim));
    LLVMValueRef dst = cg_gep(f, f->f32, f->ptr[2], cg_muli(f, r, cg_i64(f, g->inner)));
    LLVMValueRef z = cg_loop_begin(f, &lz, cg_i64(f, 0), cg_i64(f, g->inner), 1);
    cg_store(f, cg_f32c(f, 0), cg_gep(f, f->f32, dst, z), 4);
    cg_loop_end(f, &lz);
    LLVMValueRef j = cg_loop_begin(f, &lj, cg_i64(f, 0), n_index, 1);
    cg_if_begin(f, &c, LLVMBuildICmp(f->b, LLVMIntEQ, index_at(f, g, j), d, ""));
    LLVMValueRef row = cg_addi(f, cg_muli(f, o, n_index), j);
    LLVMValueRef src = cg_gep(f, f->f32, f->ptr[0], cg_muli(f, row, cg_i64(f, g->inner)));
    LLVMValueRef k = cg_loop_begin(f, &lk, cg_i64(f, 0), cg_i64(f, g->inner), 1);
    LLVMValueRef a = cg_gep(f, f->f32, dst, k);
    cg_store(f, LLVMBuildFAdd(f->b, cg_load(f, f->f32, a, 4), cg_load(f, f->f32, cg_gep(f, f->f32, src, k), 4), ""), a,
             4);
    cg_loop_end(f, &lk);
    cg_if_end(f, &c);
    cg_loop_end(f, &lj);
    cg_loop_end(f, &l);
}

void cg_emit_take_rows(struct cg_fn *f, const void *p) {
    const struct cg_gather *g = p;
    LLVMTypeRef mt = cg_mem_type(f, g->dtype);
    int align = (int)ir_dtype_size(g->dtype);
    LLVMValueRef rows = times_n(f, g->n_index, g->index_n), begin, end;
    cg_share(f, rows, 1, &begin, &end);
    struct cg_loop l, li;
    LLVMValueRef i = cg_loop_begin(f, &l, begin, end, 1);
    LLVMValueRef at = cg_load(f, f->i64, cg_gep(f, f->i64, f->ptr[1], i), 8);
    LLVMValueRef inside = LLVMBuildICmp(f->b, LLVMIntULT, at, rows, "");
    at = LLVMBuildSelect(f->b, inside, at, cg_i64(f, 0), "");
    LLVMValueRef src = cg_gep(f, mt, f->ptr[0], cg_muli(f, at, cg_i64(f, g->inner)));
    LLVMValueRef dst = cg_gep(f, mt, f->ptr[2], cg_muli(f, i, cg_i64(f, g->inner)));
    LLVMValueRef k = cg_loop_begin(f, &li, cg_i64(f, 0), cg_i64(f, g->inner), 1);
    LLVMValueRef v = cg_load(f, mt, cg_gep(f, mt, src, k), align);
    cg_store(f, LLVMBuildSelect(f->b, inside, v, LLVMConstNull(mt), ""), cg_gep(f, mt, dst, k), align);
    cg_loop_end(f, &li);
    cg_loop_end(f, &l);
}

void cg_emit_argmax(struct cg_fn *f, const void *p) {
    const struct cg_gather *g = p;
    LLVMTypeRef mt = cg_mem_type(f, g->dtype);
    int align = (int)ir_dtype_size(g->dtype);
    bool flt = ir_is_float(g->dtype);
    LLVMValueRef begin, end, inner = cg_i64(f, g->inner);
    LLVMValueRef best = cg_local(f, mt, NULL), arg = cg_local(f, f->i64, NULL);
    cg_share(f, cg_muli(f, times_n(f, g->outer, g->outer_n), inner), 1, &begin, &end);
    struct cg_loop l, ld;
    LLVMValueRef i = cg_loop_begin(f, &l, begin, end, 1);
    LLVMValueRef o = cg_divi(f, i, inner), k = cg_remi(f, i, inner);
    LLVMValueRef base = cg_gep(f, mt, f->ptr[0], cg_addi(f, cg_muli(f, o, cg_i64(f, g->dim * g->inner)), k));
    LLVMBuildStore(f->b, cg_load(f, mt, base, align), best);
    LLVMBuildStore(f->b, cg_i64(f, 0), arg);
    LLVMValueRef d = cg_loop_begin(f, &ld, cg_i64(f, 1), cg_i64(f, g->dim), 1);
    LLVMValueRef v = cg_load(f, mt, cg_gep(f, mt, base, cg_muli(f, d, inner)), align);
    LLVMValueRef b = LLVMBuildLoad2(f->b, mt, best, "");
    LLVMValueRef more = flt ? LLVMBuildFCmp(f->b, LLVMRealOGT, v, b, "") : cg_icmp(f, g->dtype, LLVMIntSGT, v, b);
    LLVMBuildStore(f->b, LLVMBuildSelect(f->b, more, v, b, ""), best);
    LLVMBuildStore(f->b, LLVMBuildSelect(f->b, more, d, LLVMBuildLoad2(f->b, f->i64, arg, ""), ""), arg);
    cg_loop_end(f, &ld);
    cg_store(f, LLVMBuildLoad2(f->b, f->i64, arg, ""), cg_gep(f, f->i64, f->ptr[1], i), 8);
    cg_loop_end(f, &l);
}
