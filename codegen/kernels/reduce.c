// Reductions of pointwise expressions. Sums are accumulated in float64 and in an order that depends on shapes only:
// either one thread computes a result from start to end, or rows are summed in a fixed number of groups that are then
// added in order.
#include "expr.h"
#include "vmath.h"

static enum ir_dtype in_type(const struct cg_reduce *r) { return r->e.steps[r->e.root[0]].dtype; }
static bool sums_ints(const struct cg_reduce *r) { return r->fin == CG_FIN_SUM && !ir_is_float(in_type(r)); }

// Sums of integers wrap as their type does; in i64 they do so when they are stored.
static LLVMTypeRef acc_type(struct cg_fn *f, const struct cg_reduce *r) {
    if (sums_ints(r)) return f->i64;
    return r->fin != CG_FIN_MAX ? f->f64 : cg_value_type(f, in_type(r));
}

static bool acc_is_float(const struct cg_reduce *r) {
    return !sums_ints(r) && (r->fin != CG_FIN_MAX || ir_is_float(in_type(r)));
}

static LLVMValueRef acc_start(struct cg_fn *f, const struct cg_reduce *r, int lanes) {
    LLVMTypeRef t = cg_vec_type(f, acc_type(f, r), lanes);
    if (r->fin != CG_FIN_MAX) return LLVMConstNull(t);
    return acc_is_float(r) ? cg_vconst(f, t, -1.0 / 0.0) : cg_viconst(f, t, ir_int_min(in_type(r)));
}

static LLVMValueRef add(struct cg_fn *f, LLVMValueRef acc, LLVMValueRef v, bool ints) {
    return ints ? LLVMBuildAdd(f->b, acc, v, "") : LLVMBuildFAdd(f->b, acc, v, "");
}

// acc (+|max)= v. Sums widen to f64, of integers to i64; a NaN wins a maximum.
static LLVMValueRef combine(struct cg_fn *f, const struct cg_reduce *r, LLVMValueRef acc, LLVMValueRef v) {
    LLVMTypeRef t = LLVMTypeOf(acc);
    if (r->fin != CG_FIN_MAX) {
        bool ints = sums_ints(r);
        if (LLVMTypeOf(v) != t)
            v = ints ? LLVMBuildIntCast2(f->b, v, t, ir_is_signed(in_type(r)), "") : LLVMBuildFPExt(f->b, v, t, "");
        return add(f, acc, v, ints);
    }
    if (!acc_is_float(r)) return LLVMBuildSelect(f->b, cg_icmp(f, in_type(r), LLVMIntSGT, v, acc), v, acc, "");
    LLVMValueRef m = LLVMBuildSelect(f->b, LLVMBuildFCmp(f->b, LLVMRealOGT, v, acc, ""), v, acc, "");
    return LLVMBuildSelect(f->b, LLVMBuildFCmp(f->b, LLVMRealUNO, v, v, ""), v, m, "");
}

// BN_STATS accumulates x and x*x: the square is formed in f64, so that cancelling is harmless.
static void accumulate(struct cg_fn *f, const struct cg_reduce *r, LLVMValueRef *acc, LLVMValueRef *v) {
    if (r->fin == CG_FIN_BN_STATS) {
        LLVMTypeRef t = LLVMTypeOf(acc[0]);
        LLVMValueRef x = LLVMBuildFPExt(f->b, v[0], t, "");
        acc[0] = LLVMBuildFAdd(f->b, acc[0], x, "");
        acc[1] = cg_fma(f, x, x, acc[1]);
        return;
    }
    for (int k = 0; k < r->e.n_roots; k++) acc[k] = combine(f, r, acc[k], v[k]);
}

static int n_acc(const struct cg_reduce *r) { return r->fin == CG_FIN_BN_STATS ? 2 : r->e.n_roots; }

// Turns accumulators into results of the output dtype.
static void finish(struct cg_fn *f, const struct cg_reduce *r, LLVMValueRef *acc, LLVMValueRef *out) {
    if (r->fin == CG_FIN_BN_STATS) {
        LLVMTypeRef t = LLVMTypeOf(acc[0]), o = cg_like(f, t, f->f32);
        LLVMValueRef count = cg_i64(f, r->count);
        if (r->count_n) count = cg_muli(f, f->N, count);
        LLVMValueRef m = cg_splat(f, LLVMBuildSIToFP(f->b, count, f->f64, ""), cg_lanes(t));
        LLVMValueRef mean = LLVMBuildFDiv(f->b, acc[0], m, ""), sq = LLVMBuildFDiv(f->b, acc[1], m, "");
        LLVMValueRef var = LLVMBuildFSub(f->b, sq, LLVMBuildFMul(f->b, mean, mean, ""), "");
        LLVMValueRef z = LLVMConstNull(t);
        var = LLVMBuildSelect(f->b, LLVMBuildFCmp(f->b, LLVMRealOLT, var, z, ""), z, var, ""); // rounding; NaN stays
        out[0] = LLVMBuildFPTrunc(f->b, mean, o, "");
        out[1] = LLVMBuildFPTrunc(f->b, var, o, "");
        return;
    }
    for (int k = 0; k < r->e.n_roots; k++) {
        enum ir_dtype d = r->e.out[k].dtype;
        LLVMTypeRef o = cg_like(f, LLVMTypeOf(acc[k]), cg_value_type(f, d));
        out[k] = r->fin == CG_FIN_MAX ? acc[k]
                 : d == IR_F32        ? LLVMBuildFPTrunc(f->b, acc[k], o, "")
                 : d == IR_F64        ? acc[k]
                                      : LLVMBuildIntCast2(f->b, acc[k], o, 0, "");
    }
}

static int n_out(const struct cg_reduce *r) { return r->fin == CG_FIN_BN_STATS ? 2 : r->e.n_roots; }

// Loops over every reduced loop from `at` on, calling leaf code at the innermost one.
struct nest {
    struct cg_fn *f;
    const struct cg_reduce *r;
    struct cg_ev ev;
    int order[CG_MAX_LOOPS], n_kept, n_red; // loop numbers: kept first, then reduced, each slowest first
    LLVMValueRef acc[2][8];                 // allocas
    LLVMValueRef sacc[2];                   // scalar-tail allocas (inner reduced)
    int width, lanes;                       // inner kept: vectors per block
    LLVMValueRef col;                       // inner kept: first column of the block
    int valid_last;
};

static void load_acc(struct nest *s, LLVMValueRef *slots[2], int j, LLVMValueRef *acc, LLVMTypeRef t) {
    for (int k = 0; k < n_acc(s->r); k++) acc[k] = LLVMBuildLoad2(s->f->b, t, slots[k][j], "");
}

static void reduce_inner(struct nest *s) { // innermost loop is reduced: vector accumulators along it
    struct cg_fn *f = s->f;
    const struct cg_expr *e = &s->r->e;
    int inner = e->loops.n - 1;
    LLVMTypeRef vt = cg_vec_type(f, acc_type(f, s->r), s->lanes), st = acc_type(f, s->r);
    LLVMValueRef *vs[2] = {s->acc[0], s->acc[1]}, *ss[2] = {&s->sacc[0], &s->sacc[1]}, acc[2], v[2];
    cg_ev_row(&s->ev);
    LLVMValueRef n = cg_extent(f, &e->loops, inner), whole = cg_subi(f, n, cg_remi(f, n, cg_i64(f, s->lanes)));
    struct cg_loop l;
    if (s->lanes > 1) {
        LLVMValueRef i = cg_loop_begin(f, &l, cg_i64(f, 0), whole, s->lanes);
        cg_ev_eval(&s->ev, i, s->lanes, s->lanes, v);
        load_acc(s, vs, 0, acc, vt);
        accumulate(f, s->r, acc, v);
        for (int k = 0; k < n_acc(s->r); k++) LLVMBuildStore(f->b, acc[k], s->acc[k][0]);
        cg_loop_end(f, &l);
    } else {
        whole = cg_i64(f, 0);
    }
    LLVMValueRef i = cg_loop_begin(f, &l, whole, n, 1);
    cg_ev_eval(&s->ev, i, 1, 1, v);
    load_acc(s, ss, 0, acc, st);
    accumulate(f, s->r, acc, v);
    for (int k = 0; k < n_acc(s->r); k++) LLVMBuildStore(f->b, acc[k], s->sacc[k]);
    cg_loop_end(f, &l);
}

static void reduce_block(struct nest *s) { // innermost loop is kept: `width` vectors of columns
    struct cg_fn *f = s->f;
    LLVMTypeRef vt = cg_vec_type(f, acc_type(f, s->r), s->lanes);
    LLVMValueRef acc[2], v[2];
    cg_ev_row(&s->ev);
    for (int j = 0; j < s->width; j++) {
        int valid = j == s->width - 1 ? s->valid_last : s->lanes;
        cg_ev_eval(&s->ev, cg_addi(f, s->col, cg_i64(f, j * s->lanes)), s->lanes, valid, v);
        for (int k = 0; k < n_acc(s->r); k++) acc[k] = LLVMBuildLoad2(f->b, vt, s->acc[k][j], "");
        accumulate(f, s->r, acc, v);
        for (int k = 0; k < n_acc(s->r); k++) LLVMBuildStore(f->b, acc[k], s->acc[k][j]);
    }
}

static void reduced_loops(struct nest *s, int at, void (*body)(struct nest *)) {
    int last = s->n_kept + s->n_red, inner = s->r->e.loops.n - 1;
    if (at == last || s->order[at] == inner) { // an inner reduced loop is run by the body itself
        body(s);
        return;
    }
    int loop = s->order[at];
    struct cg_loop l;
    s->ev.i[loop] = cg_loop_begin(s->f, &l, cg_i64(s->f, 0), cg_extent(s->f, &s->r->e.loops, loop), 1);
    reduced_loops(s, at + 1, body);
    cg_loop_end(s->f, &l);
}

static void store_results(struct nest *s, LLVMValueRef *out, LLVMValueRef inner, int valid) {
    for (int k = 0; k < n_out(s->r); k++)
        cg_ev_store(&s->ev, &s->r->e.out[k], cg_ev_out_row(&s->ev, &s->r->e.out[k]), inner, out[k], valid);
}

// Fixed order: lane 0, 1, ... then the scalar tail.
static LLVMValueRef across(struct nest *s, LLVMValueRef v, LLVMValueRef tail) {
    struct cg_fn *f = s->f;
    if (s->lanes == 1) return tail;
    LLVMValueRef acc = LLVMBuildExtractElement(f->b, v, cg_i32(f, 0), "");
    for (int i = 1; i <= s->lanes; i++) {
        LLVMValueRef x = i < s->lanes ? LLVMBuildExtractElement(f->b, v, cg_i32(f, i), "") : tail;
        if (s->r->fin != CG_FIN_MAX) {
            acc = add(f, acc, x, sums_ints(s->r));
        } else {
            struct cg_reduce m = *s->r;
            acc = combine(f, &m, acc, x);
        }
    }
    return acc;
}

static void begin_nest(struct nest *s, struct cg_fn *f, const struct cg_reduce *r) {
    *s = (struct nest){.f = f, .r = r};
    int n = r->e.loops.n;
    for (int i = 0; i < n; i++)
        if (!(r->e.reduced >> i & 1)) s->order[s->n_kept++] = i;
    for (int i = 0; i < n; i++)
        if (r->e.reduced >> i & 1) s->order[s->n_kept + s->n_red++] = i;
    s->lanes = cg_expr_lanes(&r->e, f->t);
    cg_ev_begin(&s->ev, f, &r->e);
}

void cg_emit_reduce(struct cg_fn *f, const void *reduce) {
    const struct cg_reduce *r = reduce;
    struct nest s;
    begin_nest(&s, f, r);
    int inner = r->e.loops.n - 1;
    bool inner_reduced = r->e.reduced >> inner & 1;
    if (!inner_reduced)
        for (int k = 0; k < n_out(r); k++)
            if (r->e.out[k].stride[inner] != 1) s.lanes = 1;
    LLVMTypeRef st = acc_type(f, r), vt = cg_vec_type(f, st, s.lanes);
    int max_width = f->t->nregs >= 32 ? 4 : 2;
    int64_t cols = inner_reduced ? 1 : r->e.loops.extent[inner];
    bool cols_batched = !inner_reduced && inner == 0 && r->e.loops.batched;
    int64_t per_block = s.lanes > 1 && !cols_batched ? (int64_t)s.lanes * max_width : s.lanes;
    if (cols_batched) per_block = s.lanes = 1; // [N] kept, nothing reduced inside: rare and tiny
    vt = cg_vec_type(f, st, s.lanes);
    for (int k = 0; k < 2; k++) {
        for (int j = 0; j < 4; j++) s.acc[k][j] = cg_local(f, vt, NULL);
        s.sacc[k] = cg_local(f, st, NULL);
    }
    // Items: kept loops but an inner kept one, times column blocks.
    int outer_kept = s.n_kept - (inner_reduced ? 0 : 1);
    LLVMValueRef items = cg_i64(f, 1), begin, end;
    for (int q = 0; q < outer_kept; q++) items = cg_muli(f, items, cg_extent(f, &r->e.loops, s.order[q]));
    LLVMValueRef blocks = cols_batched ? cg_extent(f, &r->e.loops, 0) : cg_i64(f, (cols + per_block - 1) / per_block);
    if (!inner_reduced) items = cg_muli(f, items, blocks);
    cg_share(f, items, 1, &begin, &end);
    struct cg_loop l;
    LLVMValueRef it = cg_loop_begin(f, &l, begin, end, 1), block = cg_i64(f, 0);
    if (!inner_reduced) {
        block = cg_remi(f, it, blocks);
        it = cg_divi(f, it, blocks);
    }
    for (int q = outer_kept - 1; q >= 0; q--) {
        LLVMValueRef k = cg_extent(f, &r->e.loops, s.order[q]);
        s.ev.i[s.order[q]] = q ? cg_remi(f, it, k) : it;
        if (q) it = cg_divi(f, it, k);
    }
    LLVMValueRef acc[2], out[2];
    for (int k = 0; k < n_acc(r); k++) {
        for (int j = 0; j < 4; j++) LLVMBuildStore(f->b, acc_start(f, r, s.lanes), s.acc[k][j]);
        LLVMBuildStore(f->b, acc_start(f, r, 1), s.sacc[k]);
    }
    if (inner_reduced) {
        reduced_loops(&s, s.n_kept, reduce_inner);
        for (int k = 0; k < n_acc(r); k++)
            acc[k] = across(&s, LLVMBuildLoad2(f->b, vt, s.acc[k][0], ""), LLVMBuildLoad2(f->b, st, s.sacc[k], ""));
        finish(f, r, acc, out);
        for (int q = s.n_kept; q < s.n_kept + s.n_red; q++) s.ev.i[s.order[q]] = cg_i64(f, 0);
        store_results(&s, out, cg_i64(f, 0), 1);
    } else {
        s.col = cg_muli(f, block, cg_i64(f, per_block));
        // Full blocks and the last, narrower one are two pieces of code.
        int64_t rest = cols_batched ? 0 : cols % per_block;
        struct cg_if c;
        bool both = rest && cols > per_block;
        if (both)
            cg_if_begin(
                f, &c,
                LLVMBuildICmp(f->b, LLVMIntSLT, cg_addi(f, s.col, cg_i64(f, per_block - 1)), cg_i64(f, cols), ""));
        for (int part = 0; part < 2; part++) {
            if (part == 0 && rest && !both) continue;
            if (part == 1 && !rest) continue;
            int64_t width = part ? rest : per_block;
            s.width = (int)((width + s.lanes - 1) / s.lanes);
            s.valid_last = (int)(width - (int64_t)(s.width - 1) * s.lanes);
            if (part && both) cg_if_else(f, &c);
            reduced_loops(&s, s.n_kept, reduce_block);
            for (int q = s.n_kept; q < s.n_kept + s.n_red; q++) s.ev.i[s.order[q]] = cg_i64(f, 0);
            for (int j = 0; j < s.width; j++) {
                for (int k = 0; k < n_acc(r); k++) acc[k] = LLVMBuildLoad2(f->b, vt, s.acc[k][j], "");
                finish(f, r, acc, out);
                store_results(&s, out, cg_addi(f, s.col, cg_i64(f, j * s.lanes)),
                              j == s.width - 1 ? s.valid_last : s.lanes);
            }
        }
        if (both) cg_if_end(f, &c);
    }
    cg_loop_end(f, &l);
}

// --- rows in fixed groups ------------------------------------------------------------------------------------------

bool cg_reduce_two_stage(const struct cg_reduce *r) {
    const struct cg_expr *e = &r->e;
    if (r->fin == CG_FIN_MAX || sums_ints(r) || e->loops.n != 2 || !e->loops.batched || e->reduced != 1u) return false;
    for (int k = 0; k < e->n_leaves; k++)
        if (e->leaves[k].kind == CG_LEAF_MEM && e->leaves[k].stride[1] != 0 && e->leaves[k].stride[1] != 1)
            return false;
    return true;
}

// Whether short runs of rows may be summed in float32 before they are widened.
static bool short_sums(const struct cg_reduce *r) {
    for (int k = 0; k < r->e.n_roots; k++)
        if (r->e.steps[r->e.root[k]].dtype != IR_F32) return false;
    return true;
}

enum { RUN = 32 }; // rows

// What row `run + RUN` and those behind it have, in the order of memory. Taken in blocks of columns they would come in
// pieces of a few lines, which the CPU does not foresee and memory gives at half its speed; so each vector of this run
// asks for its share of the next run, one line after the other.
static void fetch_next(struct nest *s, LLVMValueRef run) {
    struct cg_fn *f = s->f;
    const struct cg_expr *e = &s->r->e;
    int64_t cols = e->loops.extent[1];
    LLVMValueRef at =
        cg_muladd(f, cg_subi(f, s->ev.i[0], run), s->width * s->lanes, cg_muli(f, s->col, cg_i64(f, RUN)));
    at = cg_addi(f, at, cg_muli(f, cg_addi(f, run, cg_i64(f, RUN)), cg_i64(f, cols)));
    for (int k = 0; k < e->n_leaves; k++) {
        const struct cg_leaf *l = &e->leaves[k];
        if (l->kind != CG_LEAF_MEM || l->stride[0] != cols || l->stride[1] != 1) continue;
        int64_t size = cg_leaf_size(l), bytes = s->width * s->lanes * size;
        LLVMValueRef first = cg_gep(f, f->i8, f->ptr[l->ptr], cg_muladd(f, at, size, cg_i64(f, l->offset * size)));
        for (int64_t b = 0; b < bytes; b += CACHE_LINE)
            cg_fetch(f, cg_gep(f, f->i8, first, cg_i64(f, b)), CG_INTO_SECOND);
    }
}

// One row of the block into the float32 sums.
static void add_row(struct nest *s) {
    struct cg_fn *f = s->f;
    LLVMValueRef v[2];
    cg_ev_row(&s->ev);
    for (int j = 0; j < s->width; j++) {
        int valid = j == s->width - 1 ? s->valid_last : s->lanes;
        cg_ev_eval(&s->ev, cg_addi(f, s->col, cg_i64(f, j * s->lanes)), s->lanes, valid, v);
        LLVMTypeRef t = LLVMTypeOf(v[0]);
        bool squares = s->r->fin == CG_FIN_BN_STATS;
        for (int k = 0; k < n_acc(s->r); k++) {
            LLVMValueRef old = LLVMBuildLoad2(f->b, t, s->acc[k][j], "");
            LLVMValueRef sum =
                squares && k ? cg_fma(f, v[0], v[0], old) : LLVMBuildFAdd(f->b, old, v[squares ? 0 : k], "");
            LLVMBuildStore(f->b, sum, s->acc[k][j]);
        }
    }
}

// Stage 1: group g sums rows [R*g/G, R*(g+1)/G) into workspace [g][acc][cols], walking rows in short runs so that the
// columns of a run are read from cache. A run of float32 is summed as such: a few dozen terms cost no more than a bit
// or two, at random, where widening each would cost more than reading it. The runs are added up in float64.
void cg_emit_reduce_groups(struct cg_fn *f, const void *reduce) {
    const struct cg_reduce *r = reduce;
    const struct cg_expr *e = &r->e;
    struct nest s;
    begin_nest(&s, f, r);
    bool narrow = short_sums(r);
    int na = n_acc(r), lanes = s.lanes, max_width = (f->t->nregs >= 32 ? 4 : 2) * (narrow ? 2 : 1);
    int64_t cols = e->loops.extent[1], per_block = (int64_t)lanes * max_width, padded = (cols + 63) / 64 * 64;
    LLVMTypeRef wide = cg_vec_type(f, f->f64, lanes), vt = narrow ? cg_vec_type(f, f->f32, lanes) : wide;
    for (int k = 0; k < 2; k++)
        for (int j = 0; j < max_width; j++) s.acc[k][j] = cg_local(f, vt, NULL);
    LLVMValueRef begin, end, rows = cg_extent(f, &e->loops, 0), G = cg_i64(f, CG_RED_GROUPS);
    cg_share(f, G, 1, &begin, &end);
    struct cg_loop lg, lz, lr, lb, li;
    LLVMValueRef g = cg_loop_begin(f, &lg, begin, end, 1);
    LLVMValueRef ws = cg_gep(f, f->f64, f->ptr[r->ws_ptr], cg_muli(f, g, cg_i64(f, na * padded)));
    LLVMValueRef z = cg_loop_begin(f, &lz, cg_i64(f, 0), cg_i64(f, na * padded), 8);
    cg_store(f, LLVMConstNull(LLVMVectorType(f->f64, 8)), cg_gep(f, f->f64, ws, z), 8);
    cg_loop_end(f, &lz);
    LLVMValueRef r0 = cg_divi(f, cg_muli(f, rows, g), G);
    LLVMValueRef r1 = cg_divi(f, cg_muli(f, rows, cg_addi(f, g, cg_i64(f, 1))), G);
    LLVMValueRef run = cg_loop_begin(f, &lr, r0, r1, RUN);
    LLVMValueRef run_end = cg_mini(f, cg_addi(f, run, cg_i64(f, RUN)), r1);
    for (int part = 0; part < 2; part++) { // whole column blocks, then the rest
        int64_t rest = cols % per_block, width = part ? rest : per_block;
        if (part ? !rest : cols < per_block) continue;
        s.width = (int)((width + lanes - 1) / lanes);
        s.valid_last = (int)(width - (int64_t)(s.width - 1) * lanes);
        s.col =
            cg_loop_begin(f, &lb, cg_i64(f, part ? cols - rest : 0), cg_i64(f, part ? cols : cols - rest), per_block);
        for (int k = 0; k < na; k++)
            for (int j = 0; j < s.width; j++) {
                LLVMValueRef a = cg_gep(f, f->f64, ws, cg_addi(f, s.col, cg_i64(f, k * padded + j * lanes)));
                LLVMBuildStore(f->b, narrow ? LLVMConstNull(vt) : cg_load(f, vt, a, 8), s.acc[k][j]);
            }
        s.ev.i[0] = cg_loop_begin(f, &li, run, run_end, 1);
        if (cols > per_block) fetch_next(&s, run);
        if (narrow)
            add_row(&s);
        else
            reduce_block(&s);
        cg_loop_end(f, &li);
        for (int k = 0; k < na; k++)
            for (int j = 0; j < s.width; j++) {
                LLVMValueRef a = cg_gep(f, f->f64, ws, cg_addi(f, s.col, cg_i64(f, k * padded + j * lanes)));
                LLVMValueRef sum = LLVMBuildLoad2(f->b, vt, s.acc[k][j], "");
                if (narrow) sum = LLVMBuildFAdd(f->b, cg_load(f, wide, a, 8), LLVMBuildFPExt(f->b, sum, wide, ""), "");
                cg_store(f, sum, a, 8);
            }
        cg_loop_end(f, &lb);
    }
    cg_loop_end(f, &lr);
    cg_loop_end(f, &lg);
}

// Stage 2: adds the groups in order and stores the results; columns are shared over threads.
void cg_emit_reduce_finish(struct cg_fn *f, const void *reduce) {
    const struct cg_reduce *r = reduce;
    const struct cg_expr *e = &r->e;
    struct cg_ev ev = {.f = f, .e = e};
    ev.i[0] = cg_i64(f, 0);
    int na = n_acc(r);
    int64_t cols = e->loops.extent[1], padded = (cols + 63) / 64 * 64;
    LLVMValueRef begin, end, slot[2], acc[2], out[2];
    for (int k = 0; k < na; k++) slot[k] = cg_local(f, f->f64, NULL);
    cg_share(f, cg_i64(f, cols), 16, &begin, &end);
    struct cg_loop lc, lg;
    LLVMValueRef c = cg_loop_begin(f, &lc, begin, end, 1);
    for (int k = 0; k < na; k++) LLVMBuildStore(f->b, LLVMConstNull(f->f64), slot[k]);
    LLVMValueRef g = cg_loop_begin(f, &lg, cg_i64(f, 0), cg_i64(f, CG_RED_GROUPS), 1);
    for (int k = 0; k < na; k++) {
        LLVMValueRef at = cg_muladd(f, g, na * padded, cg_addi(f, c, cg_i64(f, k * padded)));
        LLVMValueRef v = cg_load(f, f->f64, cg_gep(f, f->f64, f->ptr[r->ws_ptr], at), 8);
        LLVMBuildStore(f->b, LLVMBuildFAdd(f->b, LLVMBuildLoad2(f->b, f->f64, slot[k], ""), v, ""), slot[k]);
    }
    cg_loop_end(f, &lg);
    for (int k = 0; k < na; k++) acc[k] = LLVMBuildLoad2(f->b, f->f64, slot[k], "");
    finish(f, r, acc, out);
    for (int k = 0; k < n_out(r); k++) cg_ev_store(&ev, &e->out[k], cg_ev_out_row(&ev, &e->out[k]), c, out[k], 1);
    cg_loop_end(f, &lc);
}
