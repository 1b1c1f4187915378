// Fused elementwise kernels: one pass over the output, each element from one expression. Every element is computed by
// the same formula whether it falls into a vector or a tail, and by exactly one thread, so results never depend on
// threads.
#include "expr.h"

static void flat(struct cg_fn *f, const struct cg_expr *e, int lanes) {
    struct cg_ev ev;
    cg_ev_begin(&ev, f, e);
    cg_ev_row(&ev);
    LLVMValueRef row = cg_ev_out_row(&ev, &e->out[0]), total = cg_extent(f, &e->loops, 0), begin, end, v[2];
    cg_share(f, total, 64, &begin, &end);
    struct cg_loop l;
    if (lanes > 1) {
        // begin is a multiple of 64, so whole vectors first, then single elements.
        LLVMValueRef whole = cg_subi(f, end, cg_remi(f, cg_subi(f, end, begin), cg_i64(f, lanes)));
        whole = cg_maxi(f, whole, begin);
        LLVMValueRef i = cg_loop_begin(f, &l, begin, whole, lanes);
        cg_ev_eval(&ev, i, lanes, lanes, v);
        cg_ev_store(&ev, &e->out[0], row, i, v[0], lanes);
        cg_loop_end(f, &l);
        begin = whole;
    }
    LLVMValueRef i = cg_loop_begin(f, &l, begin, end, 1);
    cg_ev_eval(&ev, i, 1, 1, v);
    cg_ev_store(&ev, &e->out[0], row, i, v[0], 1);
    cg_loop_end(f, &l);
}

void cg_emit_pointwise(struct cg_fn *f, const void *expr) {
    const struct cg_expr *e = expr;
    int lanes = cg_expr_lanes(e, f->t), inner = e->loops.n - 1;
    if (e->loops.n == 1) {
        flat(f, e, lanes);
        return;
    }
    // Rows: all loops but the inner one, flattened and shared over threads.
    LLVMValueRef rows = cg_extent(f, &e->loops, 0), begin, end, v[2];
    for (int i = 1; i < inner; i++) rows = cg_muli(f, rows, cg_i64(f, e->loops.extent[i]));
    cg_share(f, rows, 1, &begin, &end);
    struct cg_ev ev;
    cg_ev_begin(&ev, f, e);
    struct cg_loop lr, lc;
    LLVMValueRef r = cg_loop_begin(f, &lr, begin, end, 1);
    for (int i = inner - 1; i > 0; i--) {
        LLVMValueRef k = cg_i64(f, e->loops.extent[i]);
        ev.i[i] = cg_remi(f, r, k);
        r = cg_divi(f, r, k);
    }
    ev.i[0] = r;
    cg_ev_row(&ev);
    LLVMValueRef row = cg_ev_out_row(&ev, &e->out[0]);
    int64_t n = e->loops.extent[inner], whole = n / lanes * lanes;
    if (whole) {
        LLVMValueRef c = cg_loop_begin(f, &lc, cg_i64(f, 0), cg_i64(f, whole), lanes);
        cg_ev_eval(&ev, c, lanes, lanes, v);
        cg_ev_store(&ev, &e->out[0], row, c, v[0], lanes);
        cg_loop_end(f, &lc);
    }
    if (n > whole) { // the tail of a row: one masked vector
        cg_ev_eval(&ev, cg_i64(f, whole), lanes, (int)(n - whole), v);
        cg_ev_store(&ev, &e->out[0], row, cg_i64(f, whole), v[0], (int)(n - whole));
    }
    cg_loop_end(f, &lr);
}
