// Fused elementwise kernels: one pass over the output, each element from one expression. Every element is computed by
// the same formula whether it falls into a vector or a tail, and by exactly one thread, so results never depend on
// threads.
#include "expr.h"

// The addresses of all results at inner index 0.
static void out_rows(struct cg_ev *ev, LLVMValueRef *row) {
    for (int k = 0; k < ev->e->n_roots; k++) row[k] = cg_ev_out_row(ev, &ev->e->out[k]);
}

// Computes and stores all results: nothing is stored before everything has been read.
static void all_at(struct cg_ev *ev, const LLVMValueRef *row, LLVMValueRef i, int lanes, int valid) {
    LLVMValueRef v[CG_MAX_ROOTS];
    cg_ev_eval(ev, i, lanes, valid, v);
    for (int k = 0; k < ev->e->n_roots; k++) cg_ev_store(ev, &ev->e->out[k], row[k], i, v[k], valid);
}

static void flat(struct cg_fn *f, const struct cg_expr *e, bool streams) {
    int lanes = cg_expr_lanes(e, f->t);
    struct cg_ev ev;
    cg_ev_begin(&ev, f, e);
    ev.streams = streams;
    cg_ev_row(&ev);
    LLVMValueRef row[CG_MAX_ROOTS], begin, end;
    out_rows(&ev, row);
    LLVMValueRef total = cg_extent(f, &e->loops, 0);
    cg_share(f, total, 64, &begin, &end);
    struct cg_loop l;
    if (lanes > 1) {
        // begin is a multiple of 64, so whole vectors first, then single elements.
        LLVMValueRef whole = cg_subi(f, end, cg_remi(f, cg_subi(f, end, begin), cg_i64(f, lanes)));
        whole = cg_maxi(f, whole, begin);
        LLVMValueRef i = cg_loop_begin(f, &l, begin, whole, lanes);
        all_at(&ev, row, i, lanes, lanes);
        cg_loop_end(f, &l);
        begin = whole;
    }
    LLVMValueRef i = cg_loop_begin(f, &l, begin, end, 1);
    all_at(&ev, row, i, 1, 1);
    cg_loop_end(f, &l);
}

// --- a short inner loop ----------------------------------------------------------------------------------------------
//
// Where the innermost loop is a few steps long (the two halves of a channel shuffle, three colours), lanes go along the
// loop around it instead. What lies there in pairs or triples is loaded and stored whole and taken apart in registers.

static bool can_interleave(const struct cg_leaf *l, int inner, int64_t width) {
    if (l->kind != CG_LEAF_MEM || l->dtype != IR_F32) return false;
    int64_t along = l->stride[inner - 1], across = l->stride[inner];
    return along == 1 || (along == width && across == 1);
}

static bool interleaves(const struct cg_expr *e, const struct cg_target *t) {
    int inner = e->loops.n - 1;
    if (inner < 1 || (inner == 1 && e->loops.batched)) return false;
    int64_t width = e->loops.extent[inner];
    if (width < 2 || width > CG_MAX_APART || e->loops.extent[inner - 1] < t->vl) return false;
    for (int k = 0; k < e->n_leaves; k++)
        if (!can_interleave(&e->leaves[k], inner, width)) return false;
    return e->n_roots == 1 && can_interleave(&e->out[0], inner, width);
}

static void interleaved_at(struct cg_ev *ev, LLVMValueRef j, int valid) {
    struct cg_fn *f = ev->f;
    const struct cg_expr *e = ev->e;
    int vl = f->t->vl, inner = e->loops.n - 1, n = (int)e->loops.extent[inner];
    LLVMValueRef parts[CG_MAX_APART][CG_MAX_LEAVES], res[CG_MAX_APART], v[2];
    for (int k = 0; k < e->n_leaves; k++) {
        const struct cg_leaf *l = &e->leaves[k];
        LLVMTypeRef mem = cg_f32_in_memory(f, l->narrow);
        LLVMValueRef at = cg_gep(f, mem, cg_ev_out_row(ev, l), cg_muli(f, j, cg_i64(f, l->stride[inner - 1])));
        LLVMValueRef x[CG_MAX_APART];
        bool planes = l->stride[inner - 1] == 1;
        for (int i = 0; i < n; i++) {
            int64_t off = planes ? i * l->stride[inner] : i * vl;
            int lanes = planes ? valid : cg_in_use(valid, vl, n, i);
            x[i] =
                lanes ? cg_load_f32(f, l->narrow, vl, cg_gep(f, mem, at, cg_i64(f, off)), lanes) : LLVMConstNull(f->vf);
        }
        for (int i = 0; i < n; i++) parts[i][k] = planes ? x[i] : cg_apart(f, x, n, i);
    }
    for (int i = 0; i < n; i++) {
        cg_ev_steps(ev, parts[i], vl, v);
        res[i] = v[0];
    }
    const struct cg_leaf *o = &e->out[0];
    LLVMTypeRef mem = cg_f32_in_memory(f, o->narrow);
    LLVMValueRef to = cg_gep(f, mem, cg_ev_out_row(ev, o), cg_muli(f, j, cg_i64(f, o->stride[inner - 1])));
    bool planes = o->stride[inner - 1] == 1;
    for (int i = 0; i < n; i++) {
        int64_t off = planes ? i * o->stride[inner] : i * vl;
        int lanes = planes ? valid : cg_in_use(valid, vl, n, i);
        if (lanes)
            cg_store_f32(f, o->narrow, planes ? res[i] : cg_in_turns(f, res, n, i), cg_gep(f, mem, to, cg_i64(f, off)),
                         lanes);
    }
}

static void emit_interleaved(struct cg_fn *f, const struct cg_expr *e) {
    int inner = e->loops.n - 1;
    int64_t J = e->loops.extent[inner - 1], vl = f->t->vl, whole = J / vl * vl;
    LLVMValueRef rows = cg_i64(f, 1), begin, end;
    for (int i = 0; i < inner - 1; i++) rows = cg_muli(f, rows, cg_extent(f, &e->loops, i));
    // A row may be a whole plane: its vectors are shared out, too.
    int64_t chunks = (J + 4095) / 4096;
    cg_share(f, cg_muli(f, rows, cg_i64(f, chunks)), 1, &begin, &end);
    struct cg_ev ev;
    cg_ev_begin(&ev, f, e);
    struct cg_loop lr, lj;
    LLVMValueRef item = cg_loop_begin(f, &lr, begin, end, 1), r = cg_divi(f, item, cg_i64(f, chunks)),
                 j0 = cg_muli(f, cg_remi(f, item, cg_i64(f, chunks)), cg_i64(f, 4096));
    for (int i = inner - 2; i > 0; i--) {
        LLVMValueRef k = cg_i64(f, e->loops.extent[i]);
        ev.i[i] = cg_remi(f, r, k);
        r = cg_divi(f, r, k);
    }
    ev.i[0] = r;
    ev.i[inner - 1] = cg_i64(f, 0);
    LLVMValueRef j1 = cg_mini(f, cg_addi(f, j0, cg_i64(f, 4096)), cg_i64(f, whole));
    LLVMValueRef j = cg_loop_begin(f, &lj, j0, j1, vl);
    interleaved_at(&ev, j, (int)vl);
    cg_loop_end(f, &lj);
    if (J > whole) {
        struct cg_if last;
        LLVMValueRef is_last = LLVMBuildICmp(f->b, LLVMIntSGE, cg_addi(f, j0, cg_i64(f, 4096)), cg_i64(f, J), "");
        cg_if_begin(f, &last, is_last);
        interleaved_at(&ev, cg_i64(f, whole), (int)(J - whole));
        cg_if_end(f, &last);
    }
    cg_loop_end(f, &lr);
}

// Rows: all loops but the inner one, flattened and shared over threads. In each, every part's turn.
static void rows_begin(struct cg_fn *f, const struct cg_parts *p, struct cg_ev *ev, struct cg_loop *lr) {
    const struct cg_loops *l = &p->part[0]->loops;
    int inner = l->n - 1;
    LLVMValueRef rows = cg_extent(f, l, 0), begin, end;
    for (int i = 1; i < inner; i++) rows = cg_muli(f, rows, cg_i64(f, l->extent[i]));
    cg_share(f, rows, 1, &begin, &end);
    for (int k = 0; k < p->n; k++) cg_ev_begin(&ev[k], f, p->part[k]);
    LLVMValueRef r = cg_loop_begin(f, lr, begin, end, 1);
    for (int i = inner - 1; i >= 0; i--) {
        LLVMValueRef extent = cg_i64(f, l->extent[i]), at = i ? cg_remi(f, r, extent) : r;
        if (i) r = cg_divi(f, r, extent);
        for (int k = 0; k < p->n; k++) ev[k].i[i] = at;
    }
    for (int k = 0; k < p->n; k++) cg_ev_row(&ev[k]);
}

static void in_rows(struct cg_fn *f, const struct cg_parts *p, bool streams) {
    struct cg_ev ev[CG_MAX_PARTS];
    struct cg_loop lr, lc;
    rows_begin(f, p, ev, &lr);
    for (int k = 0; k < p->n; k++) {
        const struct cg_expr *e = p->part[k];
        int lanes = cg_expr_lanes(e, f->t);
        int64_t n = e->loops.extent[e->loops.n - 1], vectors = n / lanes * lanes;
        ev[k].streams = streams;
        LLVMValueRef row[CG_MAX_ROOTS];
        out_rows(&ev[k], row);
        if (vectors) {
            LLVMValueRef c = cg_loop_begin(f, &lc, cg_i64(f, 0), cg_i64(f, vectors), lanes);
            all_at(&ev[k], row, c, lanes, lanes);
            cg_loop_end(f, &lc);
        }
        if (n > vectors) { // the tail of a row
            LLVMValueRef c = cg_i64(f, vectors);
            all_at(&ev[k], row, c, lanes, (int)(n - vectors));
        }
    }
    cg_loop_end(f, &lr);
}

// --- parts in turns --------------------------------------------------------------------------------------------------

static void turns_at(struct cg_fn *f, const struct cg_parts *p, struct cg_ev *ev, LLVMValueRef to, LLVMValueRef c,
                     int valid) {
    LLVMValueRef res[CG_MAX_APART], v[2];
    const struct cg_leaf *o = &p->part[0]->out[0];
    LLVMTypeRef mem = cg_f32_in_memory(f, o->narrow);
    int vl = f->t->vl;
    for (int k = 0; k < p->n; k++) {
        cg_ev_eval(&ev[k], c, vl, valid, v);
        res[k] = v[0];
    }
    to = cg_gep(f, mem, to, cg_muli(f, c, cg_i64(f, p->n)));
    for (int i = 0; i < p->n; i++) {
        int lanes = cg_in_use(valid, vl, p->n, i);
        if (lanes)
            cg_store_f32(f, o->narrow, cg_in_turns(f, res, p->n, i), cg_gep(f, mem, to, cg_i64(f, i * vl)), lanes);
    }
}

void cg_emit_in_turns(struct cg_fn *f, const void *parts) {
    const struct cg_parts *p = parts;
    struct cg_ev ev[CG_MAX_PARTS];
    struct cg_loop lr, lc;
    rows_begin(f, p, ev, &lr);
    LLVMValueRef to = cg_ev_out_row(&ev[0], &p->part[0]->out[0]);
    int64_t n = p->part[0]->loops.extent[p->part[0]->loops.n - 1], vl = f->t->vl, vectors = n / vl * vl;
    if (vectors) {
        LLVMValueRef c = cg_loop_begin(f, &lc, cg_i64(f, 0), cg_i64(f, vectors), vl);
        turns_at(f, p, ev, to, c, (int)vl);
        cg_loop_end(f, &lc);
    }
    if (n > vectors) turns_at(f, p, ev, to, cg_i64(f, vectors), (int)(n - vectors));
    cg_loop_end(f, &lr);
}

bool cg_parts_take_turns(const struct cg_parts *p, const struct cg_target *t) {
    const struct cg_expr *first = p->part[0];
    int inner = first->loops.n - 1;
    if (p->n < 2 || p->n > CG_MAX_APART || inner < 1) return false;
    for (int k = 0; k < p->n; k++) {
        const struct cg_expr *e = p->part[k];
        const struct cg_leaf *o = &e->out[0], *o0 = &first->out[0];
        bool ok = e->loops.n == first->loops.n && e->loops.batched == first->loops.batched && o->dtype == IR_F32 &&
                  o->stride[inner] == p->n && o->offset == o0->offset + k && cg_expr_lanes(e, t) == t->vl;
        for (int i = 0; ok && i <= inner; i++)
            ok = e->loops.extent[i] == first->loops.extent[i] && o->stride[i] == o0->stride[i];
        if (!ok) return false;
    }
    return true;
}

static void walk(struct cg_fn *f, const struct cg_parts *p, bool streams) {
    if (p->part[0]->loops.n == 1)
        flat(f, p->part[0], streams);
    else
        in_rows(f, p, streams);
}

// --- past the caches -------------------------------------------------------------------------------------------------
//
// A result that will have left the caches before it is read need not pass through them: its lines are written whole,
// not fetched first. That is so for results of STREAMED bytes or more, which depends on the batch.

enum { STREAMED = 16 << 20, LARGEST_BATCH = 4096 }; // half of a last level of cache; batches that are thought of

// Of the result; of a sample's share where it is batched.
static int64_t bytes_each(const struct cg_parts *p) {
    int64_t sum = 0;
    for (int k = 0; k < p->n; k++) {
        int64_t each = 0;
        for (int r = 0; r < p->part[k]->n_roots; r++) each += cg_leaf_size(&p->part[k]->out[r]);
        for (int i = 0; i < p->part[k]->loops.n; i++) each *= p->part[k]->loops.extent[i];
        sum += each;
    }
    return sum;
}

// Whether all vectors of the result are aligned if the first one is.
static bool in_whole_vectors(const struct cg_expr *e, const struct cg_leaf *o, int lanes) {
    int inner = e->loops.n - 1;
    if (lanes == 1 || o->stride[inner] != 1) return false;
    if (e->loops.n > 1 && e->loops.extent[inner] % lanes) return false;
    for (int i = 0; i < inner; i++)
        if (o->stride[i] % lanes) return false;
    return true;
}

static bool may_stream(const struct cg_parts *p, const struct cg_target *t) {
    for (int k = 0; k < p->n; k++)
        for (int r = 0; r < p->part[k]->n_roots; r++)
            if (!in_whole_vectors(p->part[k], &p->part[k]->out[r], cg_expr_lanes(p->part[k], t))) return false;
    return bytes_each(p) * (p->part[0]->loops.batched ? LARGEST_BATCH : 1) >= STREAMED;
}

// The first vector is aligned, and the result is not in the place of an operand, whose lines are in the cache anyway.
static LLVMValueRef can_stream(struct cg_fn *f, const struct cg_expr *e, const struct cg_leaf *o) {
    int64_t size = cg_leaf_size(o), vector = cg_expr_lanes(e, f->t) * size;
    LLVMValueRef at = cg_addi(f, LLVMBuildPtrToInt(f->b, f->ptr[o->ptr], f->i64, ""), cg_i64(f, o->offset * size));
    LLVMValueRef off = LLVMBuildAnd(f->b, at, cg_i64(f, vector - 1), "");
    LLVMValueRef yes = LLVMBuildICmp(f->b, LLVMIntEQ, off, cg_i64(f, 0), "");
    for (int k = 0; k < e->n_leaves; k++) {
        const struct cg_leaf *l = &e->leaves[k];
        if (l->kind != CG_LEAF_MEM) continue;
        yes = LLVMBuildAnd(f->b, yes, LLVMBuildICmp(f->b, LLVMIntNE, f->ptr[l->ptr], f->ptr[o->ptr], ""), "");
    }
    return yes;
}

static LLVMValueRef worth_streaming(struct cg_fn *f, const struct cg_parts *p) {
    LLVMValueRef bytes = cg_muli(f, p->part[0]->loops.batched ? f->N : cg_i64(f, 1), cg_i64(f, bytes_each(p)));
    LLVMValueRef yes = LLVMBuildICmp(f->b, LLVMIntSGE, bytes, cg_i64(f, STREAMED), "");
    for (int k = 0; k < p->n; k++)
        for (int r = 0; r < p->part[k]->n_roots; r++)
            yes = LLVMBuildAnd(f->b, yes, can_stream(f, p->part[k], &p->part[k]->out[r]), "");
    return yes;
}

void cg_emit_parts(struct cg_fn *f, const void *parts) {
    const struct cg_parts *p = parts;
    if (!may_stream(p, f->t)) {
        walk(f, p, false);
        return;
    }
    struct cg_if large;
    cg_if_begin(f, &large, worth_streaming(f, p));
    walk(f, p, true);
    cg_streamed(f);
    cg_if_else(f, &large);
    walk(f, p, false);
    cg_if_end(f, &large);
}

// --- one expression --------------------------------------------------------------------------------------------------

static void swap_strides(struct cg_leaf *l, int a, int b) {
    int64_t s = l->stride[a];
    l->stride[a] = l->stride[b];
    l->stride[b] = s;
}

// The two innermost loops in the other order.
static void turn(struct cg_expr *e) {
    int b = e->loops.n - 1, a = b - 1;
    int64_t x = e->loops.extent[a];
    e->loops.extent[a] = e->loops.extent[b];
    e->loops.extent[b] = x;
    for (int k = 0; k < e->n_leaves; k++) swap_strides(&e->leaves[k], a, b);
    swap_strides(&e->out[0], a, b);
}

void cg_emit_pointwise(struct cg_fn *f, const void *expr) {
    const struct cg_expr *e = expr;
    if (interleaves(e, f->t)) {
        emit_interleaved(f, e);
        return;
    }
    // The gradient of a shuffle takes apart what the shuffle put together: there the short loop is the outer one.
    if ((cg_expr_lanes(e, f->t) == 1 || cg_expr_picks(e)) && e->loops.n > 2 && e->n_roots == 1) {
        struct cg_expr turned = *e;
        turn(&turned);
        if (interleaves(&turned, f->t)) {
            emit_interleaved(f, &turned);
            return;
        }
    }
    cg_emit_parts(f, &(struct cg_parts){.n = 1, .part = {e}});
}

bool cg_parts_share_rows(const struct cg_parts *p, const struct cg_target *t) {
    const struct cg_loops *l = &p->part[0]->loops;
    for (int k = 0; k < p->n; k++) {
        const struct cg_loops *m = &p->part[k]->loops;
        if (m->n != 2 || m->batched != l->batched || m->extent[0] != l->extent[0] || interleaves(p->part[k], t))
            return false;
    }
    return true;
}
