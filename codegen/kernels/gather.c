// gather and gather_elements, scatter_elements, which is their adjoint, take_rows and argmax. Indices come from data: a
// negative one counts from the end, and one that is out of range reads as 0 and writes nothing (its gradient is
// dropped), so a bad index can never touch memory outside. (Constants were checked at import.)
#include "gather.h"

static LLVMValueRef times_n(struct cg_fn *f, int64_t k, bool n) {
    return n ? cg_muli(f, f->N, cg_i64(f, k)) : cg_i64(f, k);
}

static LLVMValueRef dim_of(struct cg_fn *f, const struct cg_gather *g) { return times_n(f, g->dim, g->dim_n); }

// Element `at` of the index, from the front.
static LLVMValueRef index_at(struct cg_fn *f, const struct cg_gather *g, LLVMValueRef at) {
    LLVMTypeRef mt = cg_mem_type(f, g->index_dtype);
    LLVMValueRef v = cg_load(f, mt, cg_gep(f, mt, f->ptr[1], at), (int)ir_dtype_size(g->index_dtype));
    if (mt != f->i64) v = LLVMBuildIntCast2(f->b, v, f->i64, ir_is_signed(g->index_dtype), "");
    LLVMValueRef neg = LLVMBuildICmp(f->b, LLVMIntSLT, v, cg_i64(f, 0), "");
    return LLVMBuildSelect(f->b, neg, LLVMBuildAdd(f->b, v, dim_of(f, g), ""), v, "");
}

// Where the index of row (o, j) begins.
static LLVMValueRef index_row(struct cg_fn *f, const struct cg_gather *g, LLVMValueRef o, LLVMValueRef j,
                              LLVMValueRef n_index) {
    LLVMValueRef row = g->index_outer ? cg_addi(f, cg_muli(f, o, n_index), j) : j;
    return g->index_inner ? cg_muli(f, row, cg_i64(f, g->inner)) : row;
}

// Elements [from, to) of a row by `body`, in vectors as far as there are whole ones.
static void along(struct cg_fn *f, LLVMValueRef from, LLVMValueRef to, int lanes,
                  void (*body)(struct cg_fn *f, void *env, LLVMValueRef k, int lanes), void *env) {
    struct cg_loop l;
    if (lanes > 1) {
        LLVMValueRef n = cg_subi(f, to, from), size = cg_i64(f, lanes);
        LLVMValueRef stop = cg_addi(f, from, cg_muli(f, cg_divi(f, n, size), size));
        body(f, env, cg_loop_begin(f, &l, from, stop, lanes), lanes);
        cg_loop_end(f, &l);
        from = stop;
    }
    body(f, env, cg_loop_begin(f, &l, from, to, 1), 1);
    cg_loop_end(f, &l);
}

struct copied {
    LLVMTypeRef type;
    LLVMValueRef from, to; // NULL: zeros
    int align;
};

static void copy(struct cg_fn *f, void *env, LLVMValueRef k, int lanes) {
    const struct copied *c = env;
    LLVMTypeRef t = cg_vec_type(f, c->type, lanes);
    LLVMValueRef v = c->from ? cg_load(f, t, cg_gep(f, c->type, c->from, k), c->align) : LLVMConstNull(t);
    cg_store(f, v, cg_gep(f, c->type, c->to, k), c->align);
}

static int row_lanes(const struct cg_fn *f, const struct cg_gather *g) { return g->inner >= f->t->vl ? f->t->vl : 1; }

void cg_emit_gather(struct cg_fn *f, const void *p) {
    const struct cg_gather *g = p;
    LLVMTypeRef mt = cg_mem_type(f, g->dtype);
    int align = (int)ir_dtype_size(g->dtype);
    LLVMValueRef n_index = times_n(f, g->n_index, g->index_n), dim = dim_of(f, g), inner = cg_i64(f, g->inner), begin,
                 end;
    cg_share(f, cg_muli(f, times_n(f, g->outer, g->outer_n), n_index), 1, &begin, &end);
    struct cg_loop l, li;
    struct cg_if c;
    LLVMValueRef i = cg_loop_begin(f, &l, begin, end, 1);
    LLVMValueRef o = cg_divi(f, i, n_index), row = index_row(f, g, o, cg_remi(f, i, n_index), n_index);
    LLVMValueRef base = cg_muli(f, o, dim), dst = cg_gep(f, mt, f->ptr[2], cg_muli(f, i, inner));
    if (g->index_inner) {
        LLVMValueRef k = cg_loop_begin(f, &li, cg_i64(f, 0), inner, 1);
        LLVMValueRef at = index_at(f, g, cg_addi(f, row, k));
        LLVMValueRef inside = LLVMBuildICmp(f->b, LLVMIntULT, at, dim, "");
        at = cg_addi(f, base, LLVMBuildSelect(f->b, inside, at, cg_i64(f, 0), ""));
        LLVMValueRef v = cg_load(f, mt, cg_gep(f, mt, f->ptr[0], cg_addi(f, cg_muli(f, at, inner), k)), align);
        cg_store(f, LLVMBuildSelect(f->b, inside, v, LLVMConstNull(mt), ""), cg_gep(f, mt, dst, k), align);
        cg_loop_end(f, &li);
    } else {
        LLVMValueRef at = index_at(f, g, row), inside = LLVMBuildICmp(f->b, LLVMIntULT, at, dim, "");
        struct copied to = {.type = mt, .to = dst, .align = align}, from = to;
        cg_if_begin(f, &c, inside);
        from.from = cg_gep(f, mt, f->ptr[0], cg_muli(f, cg_addi(f, base, at), inner));
        along(f, cg_i64(f, 0), inner, row_lanes(f, g), copy, &from);
        cg_if_else(f, &c);
        along(f, cg_i64(f, 0), inner, row_lanes(f, g), copy, &to);
        cg_if_end(f, &c);
    }
    cg_loop_end(f, &l);
}

// What an element becomes with an update.
static LLVMValueRef placed(struct cg_fn *f, const struct cg_gather *g, LLVMValueRef old, LLVMValueRef u) {
    bool flt = ir_is_float(g->dtype), most = g->option == CG_PLACE_MAX;
    switch ((enum cg_place)g->option) {
    case CG_PLACE_ADD:
        return flt ? LLVMBuildFAdd(f->b, old, u, "") : LLVMBuildAdd(f->b, old, u, "");
    case CG_PLACE_MUL:
        return flt ? LLVMBuildFMul(f->b, old, u, "") : LLVMBuildMul(f->b, old, u, "");
    case CG_PLACE_MAX:
    case CG_PLACE_MIN: {
        LLVMValueRef stays = flt ? LLVMBuildOr(f->b, LLVMBuildFCmp(f->b, most ? LLVMRealOGT : LLVMRealOLT, old, u, ""),
                                               LLVMBuildFCmp(f->b, LLVMRealUNO, old, old, ""), "")
                                 : cg_icmp(f, g->dtype, most ? LLVMIntSGT : LLVMIntSLT, old, u);
        return LLVMBuildSelect(f->b, stays, old, u, "");
    }
    case CG_PLACE_NONE:
        break;
    }
    return u;
}

struct update {
    const struct cg_gather *g;
    LLVMTypeRef type;
    LLVMValueRef u, to;             // rows
    LLVMValueRef index, plane, dim; // of an index for each element: its row, y's plane
};

static void add_row(struct cg_fn *f, void *env, LLVMValueRef k, int lanes) {
    const struct update *u = env;
    LLVMTypeRef t = cg_vec_type(f, u->type, lanes);
    int align = (int)ir_dtype_size(u->g->dtype);
    LLVMValueRef to = cg_gep(f, u->type, u->to, k), v = cg_load(f, t, cg_gep(f, u->type, u->u, k), align);
    if (u->g->option != CG_PLACE_NONE) v = placed(f, u->g, cg_load(f, t, to, align), v);
    cg_store(f, v, to, align);
}

static void add_element(struct cg_fn *f, void *env, LLVMValueRef k, int lanes) {
    struct update one = *(const struct update *)env;
    struct cg_if c;
    LLVMValueRef at = index_at(f, one.g, cg_addi(f, one.index, k));
    cg_if_begin(f, &c, LLVMBuildICmp(f->b, LLVMIntULT, at, one.dim, ""));
    one.to = cg_gep(f, one.type, one.plane, cg_muli(f, at, cg_i64(f, one.g->inner)));
    add_row(f, &one, k, lanes);
    cg_if_end(f, &c);
}

// A thread owns columns of y, [outer][inner], and makes all updates of them, in index order: no races, fixed order.
static void scatter(struct cg_fn *f, const struct cg_gather *g, LLVMValueRef x, LLVMValueRef updates, LLVMValueRef y) {
    LLVMTypeRef mt = cg_mem_type(f, g->dtype);
    int align = (int)ir_dtype_size(g->dtype), lanes = row_lanes(f, g);
    LLVMValueRef n_index = times_n(f, g->n_index, g->index_n), dim = dim_of(f, g), inner = cg_i64(f, g->inner), begin,
                 end, zero = cg_i64(f, 0);
    cg_share(f, cg_muli(f, times_n(f, g->outer, g->outer_n), inner), g->inner % 16 ? 1 : 16, &begin, &end);
    struct cg_loop lo, l;
    struct cg_if c;
    LLVMValueRef last = cg_divi(f, cg_addi(f, end, cg_i64(f, g->inner - 1)), inner);
    last = LLVMBuildSelect(f->b, LLVMBuildICmp(f->b, LLVMIntSLT, begin, end, ""), last, zero, "");
    LLVMValueRef o = cg_loop_begin(f, &lo, cg_divi(f, begin, inner), last, 1), column = cg_muli(f, o, inner);
    LLVMValueRef from = cg_maxi(f, cg_subi(f, begin, column), zero), to = cg_mini(f, cg_subi(f, end, column), inner);
    LLVMValueRef d = cg_loop_begin(f, &l, zero, dim, 1), at = cg_muli(f, cg_addi(f, cg_muli(f, o, dim), d), inner);
    struct copied row = {mt, x ? cg_gep(f, mt, x, at) : NULL, cg_gep(f, mt, y, at), align};
    along(f, from, to, lanes, copy, &row);
    cg_loop_end(f, &l);
    LLVMValueRef j = cg_loop_begin(f, &l, zero, n_index, 1);
    struct update u = {.g = g, .type = mt, .dim = dim, .index = index_row(f, g, o, j, n_index)};
    u.u = cg_gep(f, mt, updates, cg_muli(f, cg_addi(f, cg_muli(f, o, n_index), j), inner));
    u.plane = cg_gep(f, mt, y, cg_muli(f, cg_muli(f, o, dim), inner));
    if (g->index_inner) {
        along(f, from, to, 1, add_element, &u);
    } else {
        at = index_at(f, g, u.index);
        cg_if_begin(f, &c, LLVMBuildICmp(f->b, LLVMIntULT, at, dim, ""));
        u.to = cg_gep(f, mt, u.plane, cg_muli(f, at, inner));
        along(f, from, to, lanes, add_row, &u);
        cg_if_end(f, &c);
    }
    cg_loop_end(f, &l);
    cg_loop_end(f, &lo);
}

void cg_emit_scatter(struct cg_fn *f, const void *p) { scatter(f, p, f->ptr[0], f->ptr[2], f->ptr[3]); }
void cg_emit_gather_grad(struct cg_fn *f, const void *p) { scatter(f, p, NULL, f->ptr[0], f->ptr[2]); }

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
    LLVMValueRef begin, end, inner = cg_i64(f, g->inner), dim = dim_of(f, g);
    LLVMValueRef best = cg_local(f, mt, NULL), arg = cg_local(f, f->i64, NULL);
    cg_share(f, cg_muli(f, times_n(f, g->outer, g->outer_n), inner), 1, &begin, &end);
    struct cg_loop l, ld;
    LLVMValueRef i = cg_loop_begin(f, &l, begin, end, 1);
    LLVMValueRef o = cg_divi(f, i, inner), k = cg_remi(f, i, inner);
    LLVMValueRef base = cg_gep(f, mt, f->ptr[0], cg_addi(f, cg_muli(f, cg_muli(f, o, dim), inner), k));
    LLVMBuildStore(f->b, cg_load(f, mt, base, align), best);
    LLVMBuildStore(f->b, cg_i64(f, 0), arg);
    LLVMValueRef d = cg_loop_begin(f, &ld, cg_i64(f, 1), dim, 1);
    LLVMValueRef v = cg_load(f, mt, cg_gep(f, mt, base, cg_muli(f, d, inner)), align);
    LLVMValueRef b = LLVMBuildLoad2(f->b, mt, best, "");
    LLVMValueRef more = flt ? LLVMBuildFCmp(f->b, g->option ? LLVMRealOGE : LLVMRealOGT, v, b, "")
                            : cg_icmp(f, g->dtype, g->option ? LLVMIntSGE : LLVMIntSGT, v, b);
    LLVMBuildStore(f->b, LLVMBuildSelect(f->b, more, v, b, ""), best);
    LLVMBuildStore(f->b, LLVMBuildSelect(f->b, more, d, LLVMBuildLoad2(f->b, f->i64, arg, ""), ""), arg);
    cg_loop_end(f, &ld);
    cg_store(f, LLVMBuildLoad2(f->b, f->i64, arg, ""), cg_gep(f, f->i64, f->ptr[1], i), 8);
    cg_loop_end(f, &l);
}
