// Matrix products: C[M][N] = op(A) op(B), batched, any transposition.
//
// A work item is (batch, block of columns, chunk of rows). For each block of the contraction it packs its panel of B
// (and, where A's elements of one row are far apart, its piece of A) into the thread's scratch, then runs the
// micro-kernel over the rows. Every element of C is summed by one thread in the order of k.
#include "kernels.h"

#define K_BLOCK 256
#define M_CHUNK 252   // a multiple of all tile heights in use
#define M_CHUNK_PACKED 84
#define FAR_FLOATS 64 // a stride along k beyond this makes packing A worth while

static bool packs_a(const struct cg_gemm *g) { return g->a_k > FAR_FLOATS; }
static int64_t chunk_of(const struct cg_gemm *g) {
    int64_t most = packs_a(g) ? M_CHUNK_PACKED : M_CHUNK;
    return g->M > 0 ? cg_min64(g->M, most) : most;
}
static int64_t k_block_of(const struct cg_gemm *g) { return g->K > 0 ? cg_min64(g->K, K_BLOCK) : K_BLOCK; }

int64_t cg_gemm_scratch(const struct cg_target *t, const struct cg_gemm *g) {
    return k_block_of(g) * (2 * t->vl + (packs_a(g) ? chunk_of(g) : 0)) * 4 + 64;
}

struct gemm {
    const struct cg_gemm *g;
    LLVMValueRef M, K, chunks;          // run-time sizes
    LLVMValueRef A, B, C;               // of the batch
    LLVMValueRef panel, a_pack;
    LLVMValueRef m0, ml, nb;            // rows [m0, m0 + ml), block of columns
    int64_t nvec, last_lanes;
};

static LLVMValueRef extent(struct cg_fn *f, int64_t d) { return d < 0 ? cg_muli(f, f->N, cg_i64(f, -d)) : cg_i64(f, d); }

// panel[k][lane] = B[k0 + k][n0 + lane], 0 past the last column.
static void pack_b(struct cg_fn *f, const struct gemm *w, LLVMValueRef k0, LLVMValueRef kl) {
    const struct cg_gemm *g = w->g;
    int vl = f->t->vl;
    int64_t nr = w->nvec * vl, lanes = nr - vl + w->last_lanes;
    LLVMValueRef n0 = cg_muli(f, w->nb, cg_i64(f, 2 * vl));
    struct cg_loop l;
    LLVMValueRef k = cg_loop_begin(f, &l, cg_i64(f, 0), kl, 1);
    LLVMValueRef row = cg_muladd(f, cg_addi(f, k0, k), g->b_k, cg_muli(f, n0, cg_i64(f, g->b_n)));
    LLVMValueRef src = cg_gep(f, f->f32, w->B, row), dst = cg_gep(f, f->f32, w->panel, cg_muli(f, k, cg_i64(f, nr)));
    if (g->b_n == 1) {
        for (int64_t v = 0; v < w->nvec; v++)
            cg_store(f, cg_load_first(f, f->f32, vl, cg_gep(f, f->f32, src, cg_i64(f, v * vl)), v == w->nvec - 1 ? (int)w->last_lanes : vl),
                     cg_gep(f, f->f32, dst, cg_i64(f, v * vl)), vl * 4);
    } else {
        for (int64_t i = 0; i < nr; i++) {
            LLVMValueRef x = i < lanes ? cg_load(f, f->f32, cg_gep(f, f->f32, src, cg_i64(f, i * g->b_n)), 4) : cg_f32c(f, 0);
            cg_store(f, x, cg_gep(f, f->f32, dst, cg_i64(f, i)), 4);
        }
    }
    cg_loop_end(f, &l);
}

// a_pack[k][m] = A[m0 + m][k0 + k]
static void pack_a(struct cg_fn *f, const struct gemm *w, LLVMValueRef k0, LLVMValueRef kl) {
    const struct cg_gemm *g = w->g;
    struct cg_loop l, lm;
    LLVMValueRef k = cg_loop_begin(f, &l, cg_i64(f, 0), kl, 1);
    LLVMValueRef at = cg_muladd(f, cg_addi(f, k0, k), g->a_k, cg_muli(f, w->m0, cg_i64(f, g->a_m)));
    LLVMValueRef src = cg_gep(f, f->f32, w->A, at), dst = cg_gep(f, f->f32, w->a_pack, cg_muli(f, k, cg_i64(f, chunk_of(g))));
    if (g->a_m == 1) {
        cg_copy_floats(f, dst, src, w->ml);
    } else {
        LLVMValueRef m = cg_loop_begin(f, &lm, cg_i64(f, 0), w->ml, 1);
        LLVMValueRef x = cg_load(f, f->f32, cg_gep(f, f->f32, src, cg_muli(f, m, cg_i64(f, g->a_m))), 4);
        cg_store(f, x, cg_gep(f, f->f32, dst, m), 4);
        cg_loop_end(f, &lm);
    }
    cg_loop_end(f, &l);
}

static LLVMValueRef c_at(struct cg_fn *f, const struct gemm *w, LLVMValueRef m) {
    LLVMValueRef at = cg_muladd(f, cg_addi(f, w->m0, m), w->g->N, cg_muli(f, w->nb, cg_i64(f, 2 * f->t->vl)));
    return cg_gep(f, f->f32, w->C, at);
}

static void clear_c(struct cg_fn *f, const struct gemm *w) {
    struct cg_loop l;
    LLVMValueRef m = cg_loop_begin(f, &l, cg_i64(f, 0), w->ml, 1), at = c_at(f, w, m);
    for (int64_t v = 0; v < w->nvec; v++)
        cg_store_first(f, LLVMConstNull(f->vf), cg_gep(f, f->f32, at, cg_i64(f, v * f->t->vl)),
                       v == w->nvec - 1 ? (int)w->last_lanes : f->t->vl);
    cg_loop_end(f, &l);
}

// Tile heights, largest first; a run-time number of rows is covered greedily.
static int heights(const struct cg_target *t, const struct cg_gemm *g, int64_t nvec, int64_t h[4]) {
    int64_t most = cg_micro_rows(t, nvec);
    if (g->M > 0 && g->M <= most) {
        h[0] = g->M;
        return 1;
    }
    int n = 0;
    int64_t want[4] = {most, cg_ceil_div(most, 2), 2, 1};
    for (int i = 0; i < 4; i++)
        if (!n || want[i] < h[n - 1]) h[n++] = want[i];
    return n;
}

static void rows(struct cg_fn *f, const struct gemm *w, LLVMValueRef k0, LLVMValueRef kl, bool whole_k) {
    const struct cg_gemm *g = w->g;
    int64_t h[4], nr = w->nvec * f->t->vl;
    int n = heights(f->t, g, w->nvec, h);
    int64_t a_m = packs_a(g) ? 1 : g->a_m, a_k = packs_a(g) ? chunk_of(g) : g->a_k;
    LLVMValueRef A = w->a_pack, done = cg_i64(f, 0);
    if (!packs_a(g)) A = cg_gep(f, f->f32, w->A, cg_muladd(f, w->m0, g->a_m, cg_muli(f, k0, cg_i64(f, g->a_k))));
    for (int i = 0; i < n; i++) {
        struct cg_micro m = {
            .th = 1, .tw = h[i], .nvec = w->nvec, .last_lanes = w->last_lanes, .a_w = a_m, .c_w = g->N, .a_k = a_k, .b_k = nr,
            .inner = whole_k ? g->K : -1, .n1 = 1, .n2 = 1, .accumulate = !whole_k,
        };
        LLVMValueRef end = h[i] == 1 ? w->ml : cg_addi(f, done, cg_muli(f, cg_divi(f, cg_subi(f, w->ml, done), cg_i64(f, h[i])), cg_i64(f, h[i])));
        struct cg_loop l;
        LLVMValueRef r = cg_loop_begin(f, &l, done, end, h[i]);
        cg_micro_call(f, &m, cg_gep(f, f->f32, A, cg_muli(f, r, cg_i64(f, a_m))), w->panel, c_at(f, w, r), kl, NULL, NULL);
        cg_loop_end(f, &l);
        done = end;
    }
}

static void block(struct cg_fn *f, struct gemm *w, int64_t nvec, int64_t last_lanes) {
    const struct cg_gemm *g = w->g;
    w->nvec = nvec;
    w->last_lanes = last_lanes;
    if (g->K > 0 && g->K <= K_BLOCK) {
        LLVMValueRef k0 = cg_i64(f, 0);
        pack_b(f, w, k0, w->K);
        if (packs_a(g)) pack_a(f, w, k0, w->K);
        rows(f, w, k0, w->K, true);
        return;
    }
    clear_c(f, w);
    struct cg_loop l;
    LLVMValueRef k0 = cg_loop_begin(f, &l, cg_i64(f, 0), w->K, K_BLOCK);
    LLVMValueRef kl = cg_mini(f, cg_i64(f, K_BLOCK), cg_subi(f, w->K, k0));
    pack_b(f, w, k0, kl);
    if (packs_a(g)) pack_a(f, w, k0, kl);
    rows(f, w, k0, kl, false);
    cg_loop_end(f, &l);
}

void cg_emit_gemm(struct cg_fn *f, const void *params) {
    const struct cg_gemm *g = params;
    struct cg_blocks nbs = cg_blocks_of(f->t, g->N);
    struct gemm w = {.g = g, .M = extent(f, g->M), .K = extent(f, g->K), .panel = f->scratch};
    w.a_pack = cg_gep(f, f->f32, f->scratch, cg_i64(f, k_block_of(g) * 2 * f->t->vl));
    int64_t chunk = chunk_of(g);
    w.chunks = cg_divi(f, cg_addi(f, w.M, cg_i64(f, chunk - 1)), cg_i64(f, chunk));
    LLVMValueRef total = cg_muli(f, w.chunks, cg_i64(f, nbs.n)), begin, end;
    for (int i = 0; i < CG_GEMM_BATCH; i++) total = cg_muli(f, total, extent(f, g->batch[i]));
    cg_share(f, total, 1, &begin, &end);
    struct cg_loop l;
    LLVMValueRef item = cg_loop_begin(f, &l, begin, end, 1);
    w.m0 = cg_muli(f, cg_remi(f, item, w.chunks), cg_i64(f, chunk));
    w.ml = cg_mini(f, cg_i64(f, chunk), cg_subi(f, w.M, w.m0));
    LLVMValueRef rest = cg_divi(f, item, w.chunks);
    w.nb = cg_remi(f, rest, cg_i64(f, nbs.n));
    LLVMValueRef batch = cg_divi(f, rest, cg_i64(f, nbs.n)), left = batch, a = cg_i64(f, 0), b = cg_i64(f, 0);
    for (int i = CG_GEMM_BATCH - 1; i >= 0; i--) {
        if (g->batch[i] == 1) continue;
        LLVMValueRef d = extent(f, g->batch[i]), idx = cg_remi(f, left, d);
        left = cg_divi(f, left, d);
        a = cg_muladd(f, idx, g->a_b[i], a);
        b = cg_muladd(f, idx, g->b_b[i], b);
    }
    w.A = cg_gep(f, f->f32, f->ptr[0], a);
    w.B = cg_gep(f, f->f32, f->ptr[1], b);
    w.C = cg_gep(f, f->f32, f->ptr[2], cg_muli(f, batch, cg_muli(f, w.M, cg_i64(f, g->N))));
    if (nbs.full && nbs.tail_vec) {
        struct cg_if tail;
        cg_if_begin(f, &tail, LLVMBuildICmp(f->b, LLVMIntSLT, w.nb, cg_i64(f, nbs.full), ""));
        block(f, &w, 2, f->t->vl);
        cg_if_else(f, &tail);
        block(f, &w, nbs.tail_vec, nbs.tail_lanes);
        cg_if_end(f, &tail);
    } else if (nbs.full) {
        block(f, &w, 2, f->t->vl);
    } else {
        block(f, &w, nbs.tail_vec, nbs.tail_lanes);
    }
    cg_loop_end(f, &l);
}
