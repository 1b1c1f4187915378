// The weight gradient of a 3x3 convolution by the adjoint of its Winograd form: dU[q] = V[q]^T (A dY A^T)[q], summed
// over all tiles, and dw = G^T dU G at the end.
//
// A work item is (part of the batch, chunk of input channels, chunk of output channels), small enough for its dU to
// stay in cache; it transforms a block of tiles of both sides and adds their product to dU, then the next block. Parts
// are fixed in number and added in order by cg_emit_unpack, so the thread count does not show.
#include "winograd.h"

enum { CHUNK = CG_WINO_CHUNK, TILES = CG_WINO_TILES };

struct item {
    const struct cg_wino *w;
    struct cg_wino_room v, y;
    int64_t u_q;                       // floats between q of dU
    LLVMValueRef V, Y, U;              // scratch
    LLVMValueRef dy, x, sums;          // sums: of the part
    LLVMValueRef first, last;          // tiles of the part
    LLVMValueRef c0, kb0;              // first channel, first block of the chunks
    int64_t c, k_full, k_tail, k_rest; // sizes: channels; whole blocks, vectors and lanes of a last narrower one
};

static struct cg_wino_room room(const struct cg_target *t, int64_t channels) {
    return cg_wino_room_of(t, TILES, cg_min64(CHUNK, channels));
}

static int64_t u_stride(const struct cg_target *t, const struct cg_wino *w) {
    int64_t k = cg_min64(CHUNK, cg_blocks_of(t, w->K).floats);
    return cg_min64(CHUNK, w->C) * k + 16;
}

int64_t cg_wino_wgrad_scratch(const struct cg_target *t, const struct cg_wino_wgrad *g) {
    return 36 * 4 * (room(t, g->w.C).q + room(t, g->w.K).q + u_stride(t, &g->w)) + 256;
}

// dU[q] += V[q]^T Y[q] for one block of output channels, `tiles` long.
static void multiply(struct cg_fn *f, const struct item *it, int64_t nvec, LLVMValueRef V, LLVMValueRef Y,
                     LLVMValueRef U, LLVMValueRef tiles) {
    struct cg_micro m = {.nvec = nvec,
                         .last_lanes = f->t->vl,
                         .a_w = 1,
                         .c_w = nvec * f->t->vl,
                         .a_k = it->v.row,
                         .b_k = it->y.row,
                         .inner = -1,
                         .n1 = 1,
                         .n2 = 1,
                         .accumulate = 1};
    cg_micro_over_rows(f, &m, it->c, cg_micro_rows(f->t, 2), V, Y, U, tiles, NULL, NULL, NULL, 0, 0);
}

// dw of one block of output channels: [tap][c][lane] of the partial sums.
static void transform_back(struct cg_fn *f, const struct item *it, int64_t nvec, LLVMValueRef U, LLVMValueRef sums) {
    int vl = f->t->vl;
    int64_t nr = nvec * vl;
    struct cg_loop l;
    LLVMValueRef c = cg_loop_begin(f, &l, cg_i64(f, 0), cg_i64(f, it->c), 1);
    for (int64_t v = 0; v < nvec; v++) {
        LLVMValueRef in[36], out[9], at = cg_muladd(f, c, nr, cg_i64(f, v * vl));
        for (int q = 0; q < 36; q++)
            in[q] = cg_load(f, f->vf, cg_gep(f, f->f32, U, cg_addi(f, at, cg_i64(f, q * it->u_q))), vl * 4);
        cg_wino_filter_adjoint(f, out, in);
        for (int i = 0; i < 9; i++)
            cg_store(f, out[i], cg_gep(f, f->f32, sums, cg_addi(f, at, cg_i64(f, i * it->w->C * nr))), vl * 4);
    }
    cg_loop_end(f, &l);
}

static void chunk(struct cg_fn *f, const struct item *it) {
    const struct cg_wino *w = it->w;
    int64_t vl = f->t->vl, nr = 2 * vl, channels = it->k_full * nr + it->k_rest;
    cg_zero_floats(f, it->U, cg_i64(f, 36 * it->u_q));
    struct cg_wino_axes xa = cg_wino_axes_of(w, true), ya = cg_wino_axes_of(w, false);
    struct cg_loop lt, lq, lk;
    LLVMValueRef x = cg_gep(f, cg_f32_in_memory(f, w->x_narrow), it->x, it->c0);
    LLVMValueRef dy = cg_gep(f, cg_f32_in_memory(f, w->y_narrow), it->dy, cg_muli(f, it->kb0, cg_i64(f, nr)));
    LLVMValueRef t = cg_loop_begin(f, &lt, it->first, it->last, TILES);
    LLVMValueRef count = cg_mini(f, cg_i64(f, TILES), cg_subi(f, it->last, t));
    cg_wino_pack_tiles(f, w, &xa, x, w->xc, it->c, t, count, it->V, it->v.row, it->v.q);
    cg_wino_pack_tiles(f, w, &ya, dy, w->yc, channels, t, count, it->Y, it->y.row, it->y.q);
    LLVMValueRef q = cg_loop_begin(f, &lq, cg_i64(f, 0), cg_i64(f, 36), 1);
    LLVMValueRef V = cg_gep(f, f->f32, it->V, cg_muli(f, q, cg_i64(f, it->v.q))),
                 Y = cg_gep(f, f->f32, it->Y, cg_muli(f, q, cg_i64(f, it->y.q))),
                 U = cg_gep(f, f->f32, it->U, cg_muli(f, q, cg_i64(f, it->u_q)));
    if (it->k_full) {
        LLVMValueRef b = cg_loop_begin(f, &lk, cg_i64(f, 0), cg_i64(f, it->k_full), 1);
        multiply(f, it, 2, V, cg_gep(f, f->f32, Y, cg_muli(f, b, cg_i64(f, nr))),
                 cg_gep(f, f->f32, U, cg_muli(f, b, cg_i64(f, nr * it->c))), count);
        cg_loop_end(f, &lk);
    }
    if (it->k_tail)
        multiply(f, it, it->k_tail, V, cg_gep(f, f->f32, Y, cg_i64(f, it->k_full * nr)),
                 cg_gep(f, f->f32, U, cg_i64(f, it->k_full * nr * it->c)), count);
    cg_loop_end(f, &lq);
    cg_loop_end(f, &lt);
    // Packed blocks of all of C lie one after the other: [block][tap][C][lane].
    LLVMValueRef sums = cg_gep(f, f->f32, it->sums, cg_muli(f, it->kb0, cg_i64(f, 9 * w->C * nr)));
    if (it->k_full) {
        LLVMValueRef b = cg_loop_begin(f, &lk, cg_i64(f, 0), cg_i64(f, it->k_full), 1);
        LLVMValueRef to = cg_gep(f, f->f32, sums, cg_muladd(f, b, 9 * w->C * nr, cg_muli(f, it->c0, cg_i64(f, nr))));
        transform_back(f, it, 2, cg_gep(f, f->f32, it->U, cg_muli(f, b, cg_i64(f, nr * it->c))), to);
        cg_loop_end(f, &lk);
    }
    if (it->k_tail) {
        LLVMValueRef to = cg_muladd(f, it->c0, it->k_tail * vl, cg_i64(f, it->k_full * 9 * w->C * nr));
        transform_back(f, it, it->k_tail, cg_gep(f, f->f32, it->U, cg_i64(f, it->k_full * nr * it->c)),
                       cg_gep(f, f->f32, sums, to));
    }
}

// The chunk of output channels: whole ones are alike, the last takes what is left.
static void k_chunks(struct cg_fn *f, struct item *it, LLVMValueRef kc, int64_t n) {
    struct cg_blocks b = cg_blocks_of(f->t, it->w->K);
    int64_t per = CHUNK / (2 * f->t->vl);
    struct cg_if c;
    for (int last = n == 1; last < 2; last++) {
        it->k_full = last ? b.full - (n - 1) * per : per;
        it->k_tail = last ? b.tail_vec : 0;
        it->k_rest = it->k_tail ? (it->k_tail - 1) * f->t->vl + b.tail_lanes : 0;
        if (!last) cg_if_begin(f, &c, LLVMBuildICmp(f->b, LLVMIntSLT, kc, cg_i64(f, n - 1), ""));
        chunk(f, it);
        if (!last) cg_if_else(f, &c);
    }
    if (n > 1) cg_if_end(f, &c);
}

void cg_emit_wino_wgrad(struct cg_fn *f, const void *params) {
    const struct cg_wino_wgrad *p = params;
    const struct cg_wino *w = &p->w;
    struct item it = {.w = w, .v = room(f->t, w->C), .y = room(f->t, w->K), .u_q = u_stride(f->t, w)};
    struct cg_blocks b = cg_blocks_of(f->t, w->K);
    int64_t n_c = cg_ceil_div(w->C, CHUNK), per = CHUNK / (2 * f->t->vl), n_k = cg_ceil_div(b.n, per);
    it.V = f->scratch;
    it.Y = cg_gep(f, f->f32, it.V, cg_i64(f, 36 * it.v.q));
    it.U = cg_gep(f, f->f32, it.Y, cg_i64(f, 36 * it.y.q));
    it.dy = f->ptr[0];
    it.x = f->ptr[1];
    LLVMValueRef begin, end;
    cg_share(f, cg_i64(f, p->parts * n_c * n_k), 1, &begin, &end);
    struct cg_loop l;
    LLVMValueRef item = cg_loop_begin(f, &l, begin, end, 1);
    LLVMValueRef kc = cg_remi(f, item, cg_i64(f, n_k)), rest = cg_divi(f, item, cg_i64(f, n_k));
    LLVMValueRef cc = cg_remi(f, rest, cg_i64(f, n_c)), part = cg_divi(f, rest, cg_i64(f, n_c));
    int64_t tiles = cg_wino_th(w) * cg_wino_tw(w);
    it.first = cg_muli(f, cg_divi(f, cg_muli(f, f->N, part), cg_i64(f, p->parts)), cg_i64(f, tiles));
    it.last =
        cg_muli(f, cg_divi(f, cg_muli(f, f->N, cg_addi(f, part, cg_i64(f, 1))), cg_i64(f, p->parts)), cg_i64(f, tiles));
    it.sums = cg_gep(f, f->f32, f->ptr[2], cg_muli(f, part, cg_i64(f, 9 * b.floats * w->C)));
    it.c0 = cg_muli(f, cc, cg_i64(f, CHUNK));
    it.kb0 = cg_muli(f, kc, cg_i64(f, per));
    struct cg_if c;
    for (int last = n_c == 1; last < 2; last++) {
        it.c = last ? w->C - (n_c - 1) * CHUNK : CHUNK;
        if (!last) cg_if_begin(f, &c, LLVMBuildICmp(f->b, LLVMIntSLT, cc, cg_i64(f, n_c - 1), ""));
        k_chunks(f, &it, kc, n_k);
        if (!last) cg_if_else(f, &c);
    }
    if (n_c > 1) cg_if_end(f, &c);
    cg_loop_end(f, &l);
}
