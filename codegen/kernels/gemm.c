// Matrix products: C[M][N] = op(A) op(B), batched, any transposition.
//
// A work item is (batch, group of column blocks, chunk of rows). For each block of the contraction it packs its piece
// of A where A's rows lie far apart (they would fall on the same cache sets), then for each column block packs a panel
// of B and runs the micro-kernel over the rows. Every element of C is summed by one thread in the order of k.
#include "kernels.h"

#define K_BLOCK    256
#define A_PITCH    (K_BLOCK + 16) // floats between packed rows of A: not a multiple of a page
#define M_CHUNK    252            // a multiple of all tile heights in use
#define FAR_FLOATS 128            // a stride of A beyond this makes packing it worth while

static bool packs_a(const struct cg_gemm *g) {
    bool far = g->a_k == 1 ? g->a_m > FAR_FLOATS : g->a_k > FAR_FLOATS;
    return far && (g->M < 0 || g->M >= 4);
}
static int64_t chunk_of(const struct cg_gemm *g) { return g->M > 0 ? cg_min64(g->M, M_CHUNK) : M_CHUNK; }
static int64_t k_block_of(const struct cg_gemm *g) { return g->K > 0 ? cg_min64(g->K, K_BLOCK) : K_BLOCK; }
// Column blocks that share a packed piece of A; few, so that there are items for all threads.
static int64_t group_of(const struct cg_target *t, const struct cg_gemm *g) {
    return packs_a(g) && cg_blocks_of(t, g->N).n >= 32 ? 4 : 1;
}

int64_t cg_gemm_scratch(const struct cg_target *t, const struct cg_gemm *g) {
    return (k_block_of(g) * 2 * t->vl +
            (packs_a(g) ? cg_max64(chunk_of(g) * A_PITCH, k_block_of(g) * (M_CHUNK + 4)) : 0)) *
               4 +
           64;
}

struct gemm {
    const struct cg_gemm *g;
    LLVMValueRef M, K, chunks; // run-time sizes
    LLVMValueRef A, B, C;      // of the batch
    LLVMValueRef panel, a_pack;
    LLVMValueRef m0, ml, nb; // rows [m0, m0 + ml), block of columns
    int64_t nvec, last_lanes;
};

static LLVMValueRef extent(struct cg_fn *f, int64_t d) {
    return d < 0 ? cg_muli(f, f->N, cg_i64(f, -d)) : cg_i64(f, d);
}

// Halves of two vectors interleaved: a0 b0 a1 b1 ... of the lower (upper) halves.
static LLVMValueRef interleave(struct cg_fn *f, LLVMValueRef a, LLVMValueRef b, int upper) {
    LLVMValueRef mask[64];
    int vl = f->t->vl;
    for (int i = 0; i < vl; i++) mask[i] = cg_i32(f, (i % 2 ? vl : 0) + i / 2 + (upper ? vl / 2 : 0));
    return LLVMBuildShuffleVector(f->b, a, b, LLVMConstVector(mask, (unsigned)vl), "");
}

// vl vectors transposed in log2(vl) rounds of perfect shuffles.
static void transpose(struct cg_fn *f, LLVMValueRef *v) {
    int vl = f->t->vl;
    for (int n = 1; n < vl; n *= 2) {
        LLVMValueRef next[64];
        for (int i = 0; i < vl / 2; i++) {
            next[2 * i] = interleave(f, v[i], v[i + vl / 2], 0);
            next[2 * i + 1] = interleave(f, v[i], v[i + vl / 2], 1);
        }
        for (int i = 0; i < vl; i++) v[i] = next[i];
    }
}

// Columns of B that lie contiguous along k (b_k == 1): vl x vl squares through the transpose, the rest one by one.
static void pack_b_transposed(struct cg_fn *f, const struct gemm *w, LLVMValueRef src, LLVMValueRef kl) {
    const struct cg_gemm *g = w->g;
    int vl = f->t->vl;
    int64_t nr = w->nvec * vl, lanes = nr - vl + w->last_lanes;
    LLVMValueRef whole = cg_muli(f, cg_divi(f, kl, cg_i64(f, vl)), cg_i64(f, vl));
    struct cg_loop l;
    LLVMValueRef k = cg_loop_begin(f, &l, cg_i64(f, 0), whole, vl);
    for (int64_t v = 0; v < w->nvec; v++) {
        LLVMValueRef x[64];
        for (int64_t i = 0; i < vl; i++) {
            LLVMValueRef at = cg_gep(f, f->f32, src, cg_addi(f, k, cg_i64(f, (v * vl + i) * g->b_n)));
            x[i] = v * vl + i < lanes ? cg_load(f, f->vf, at, 4) : LLVMConstNull(f->vf);
        }
        transpose(f, x);
        for (int64_t i = 0; i < vl; i++)
            cg_store(f, x[i],
                     cg_gep(f, f->f32, w->panel, cg_muladd(f, cg_addi(f, k, cg_i64(f, i)), nr, cg_i64(f, v * vl))),
                     vl * 4);
    }
    cg_loop_end(f, &l);
    k = cg_loop_begin(f, &l, whole, kl, 1);
    for (int64_t i = 0; i < nr; i++) {
        LLVMValueRef at = cg_gep(f, f->f32, src, cg_addi(f, k, cg_i64(f, i * g->b_n)));
        cg_store(f, i < lanes ? cg_load(f, f->f32, at, 4) : cg_f32c(f, 0),
                 cg_gep(f, f->f32, w->panel, cg_muladd(f, k, nr, cg_i64(f, i))), 4);
    }
    cg_loop_end(f, &l);
}

// panel[k][lane] = B[k0 + k][n0 + lane], 0 past the last column.
static void pack_b(struct cg_fn *f, const struct gemm *w, LLVMValueRef k0, LLVMValueRef kl) {
    const struct cg_gemm *g = w->g;
    int vl = f->t->vl;
    LLVMValueRef n0 = cg_muli(f, w->nb, cg_i64(f, 2 * vl));
    LLVMValueRef src = cg_gep(f, f->f32, w->B, cg_muladd(f, k0, g->b_k, cg_muli(f, n0, cg_i64(f, g->b_n))));
    if (g->b_n != 1) {
        pack_b_transposed(f, w, src, kl);
        return;
    }
    struct cg_loop l;
    LLVMValueRef k = cg_loop_begin(f, &l, cg_i64(f, 0), kl, 1);
    for (int64_t v = 0; v < w->nvec; v++) {
        LLVMValueRef at = cg_gep(f, f->f32, src, cg_muladd(f, k, g->b_k, cg_i64(f, v * vl)));
        LLVMValueRef x = cg_load_first(f, f->f32, vl, at, v == w->nvec - 1 ? (int)w->last_lanes : vl);
        cg_store(f, x, cg_gep(f, f->f32, w->panel, cg_muladd(f, k, w->nvec * vl, cg_i64(f, v * vl))), vl * 4);
    }
    cg_loop_end(f, &l);
}

// a_pack[m][k] = A[m0 + m][k0 + k] when A's rows are contiguous, else a_pack[k][m]: the contiguous direction stays so.
static int64_t packed_a_m(const struct cg_gemm *g) { return g->a_k == 1 ? A_PITCH : 1; }
static int64_t packed_a_k(const struct cg_gemm *g) { return g->a_k == 1 ? 1 : M_CHUNK + 4; }

static void pack_a(struct cg_fn *f, const struct gemm *w, LLVMValueRef k0, LLVMValueRef kl) {
    const struct cg_gemm *g = w->g;
    bool by_row = g->a_k == 1;
    struct cg_loop l;
    LLVMValueRef i = cg_loop_begin(f, &l, cg_i64(f, 0), by_row ? w->ml : kl, 1);
    LLVMValueRef m = by_row ? cg_addi(f, w->m0, i) : w->m0, k = by_row ? k0 : cg_addi(f, k0, i);
    LLVMValueRef src = cg_gep(f, f->f32, w->A, cg_muladd(f, m, g->a_m, cg_muli(f, k, cg_i64(f, g->a_k))));
    LLVMValueRef dst = cg_gep(f, f->f32, w->a_pack, cg_muli(f, i, cg_i64(f, by_row ? packed_a_m(g) : packed_a_k(g))));
    cg_copy_floats(f, dst, src, by_row ? kl : w->ml);
    cg_loop_end(f, &l);
}

static LLVMValueRef c_at(struct cg_fn *f, const struct gemm *w, LLVMValueRef m) {
    LLVMValueRef at = cg_muladd(f, cg_addi(f, w->m0, m), w->g->N, cg_muli(f, w->nb, cg_i64(f, 2 * f->t->vl)));
    return cg_gep(f, f->f32, w->C, at);
}

static void clear_c(struct cg_fn *f, struct gemm *w, LLVMValueRef nb0, LLVMValueRef nb1) {
    int64_t nr = 2 * f->t->vl;
    LLVMValueRef end = cg_mini(f, cg_muli(f, nb1, cg_i64(f, nr)), cg_i64(f, w->g->N));
    LLVMValueRef columns = cg_subi(f, end, cg_muli(f, nb0, cg_i64(f, nr)));
    struct cg_loop l;
    w->nb = nb0;
    LLVMValueRef m = cg_loop_begin(f, &l, cg_i64(f, 0), w->ml, 1);
    cg_zero_floats(f, c_at(f, w, m), columns);
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
    int64_t a_m = packs_a(g) ? packed_a_m(g) : g->a_m, a_k = packs_a(g) ? packed_a_k(g) : g->a_k;
    LLVMValueRef A = w->a_pack, done = cg_i64(f, 0);
    if (!packs_a(g)) A = cg_gep(f, f->f32, w->A, cg_muladd(f, w->m0, g->a_m, cg_muli(f, k0, cg_i64(f, g->a_k))));
    for (int i = 0; i < n; i++) {
        struct cg_micro m = {
            .th = 1,
            .tw = h[i],
            .nvec = w->nvec,
            .last_lanes = w->last_lanes,
            .a_w = a_m,
            .c_w = g->N,
            .a_k = a_k,
            .b_k = nr,
            .inner = whole_k ? g->K : -1,
            .n1 = 1,
            .n2 = 1,
            .accumulate = !whole_k,
        };
        LLVMValueRef end =
            h[i] == 1
                ? w->ml
                : cg_addi(f, done, cg_muli(f, cg_divi(f, cg_subi(f, w->ml, done), cg_i64(f, h[i])), cg_i64(f, h[i])));
        struct cg_loop l;
        LLVMValueRef r = cg_loop_begin(f, &l, done, end, h[i]);
        cg_micro_call(f, &m, cg_gep(f, f->f32, A, cg_muli(f, r, cg_i64(f, a_m))), w->panel, c_at(f, w, r), kl, NULL,
                      NULL, NULL);
        cg_loop_end(f, &l);
        done = end;
    }
}

static void column_block(struct cg_fn *f, struct gemm *w, LLVMValueRef k0, LLVMValueRef kl, bool whole_k,
                         LLVMValueRef nb, int64_t nvec, int64_t last_lanes) {
    w->nb = nb;
    w->nvec = nvec;
    w->last_lanes = last_lanes;
    pack_b(f, w, k0, kl);
    rows(f, w, k0, kl, whole_k);
}

// Column blocks [nb0, nb1) over one block of the contraction.
static void k_block(struct cg_fn *f, struct gemm *w, LLVMValueRef k0, LLVMValueRef kl, bool whole_k, LLVMValueRef nb0,
                    LLVMValueRef nb1) {
    struct cg_blocks nbs = cg_blocks_of(f->t, w->g->N);
    if (packs_a(w->g)) pack_a(f, w, k0, kl);
    if (nbs.full) {
        struct cg_loop l;
        LLVMValueRef nb = cg_loop_begin(f, &l, nb0, cg_mini(f, nb1, cg_i64(f, nbs.full)), 1);
        column_block(f, w, k0, kl, whole_k, nb, 2, f->t->vl);
        cg_loop_end(f, &l);
    }
    if (nbs.tail_vec) {
        struct cg_if tail;
        cg_if_begin(f, &tail, LLVMBuildICmp(f->b, LLVMIntSGT, nb1, cg_i64(f, nbs.full), ""));
        column_block(f, w, k0, kl, whole_k, cg_i64(f, nbs.full), nbs.tail_vec, nbs.tail_lanes);
        cg_if_end(f, &tail);
    }
}

void cg_emit_gemm(struct cg_fn *f, const void *params) {
    const struct cg_gemm *g = params;
    struct cg_blocks nbs = cg_blocks_of(f->t, g->N);
    struct gemm w = {.g = g, .M = extent(f, g->M), .K = extent(f, g->K), .panel = f->scratch};
    w.a_pack = cg_gep(f, f->f32, f->scratch, cg_i64(f, k_block_of(g) * 2 * f->t->vl));
    int64_t chunk = chunk_of(g);
    w.chunks = cg_divi(f, cg_addi(f, w.M, cg_i64(f, chunk - 1)), cg_i64(f, chunk));
    int64_t group = group_of(f->t, g), groups = cg_ceil_div(nbs.n, group);
    LLVMValueRef total = cg_muli(f, w.chunks, cg_i64(f, groups)), begin, end;
    for (int i = 0; i < CG_GEMM_BATCH; i++) total = cg_muli(f, total, extent(f, g->batch[i]));
    cg_share(f, total, 1, &begin, &end);
    struct cg_loop l;
    LLVMValueRef item = cg_loop_begin(f, &l, begin, end, 1);
    w.m0 = cg_muli(f, cg_remi(f, item, w.chunks), cg_i64(f, chunk));
    w.ml = cg_mini(f, cg_i64(f, chunk), cg_subi(f, w.M, w.m0));
    LLVMValueRef rest = cg_divi(f, item, w.chunks);
    LLVMValueRef nb0 = cg_muli(f, cg_remi(f, rest, cg_i64(f, groups)), cg_i64(f, group));
    LLVMValueRef nb1 = cg_mini(f, cg_addi(f, nb0, cg_i64(f, group)), cg_i64(f, nbs.n));
    LLVMValueRef batch = cg_divi(f, rest, cg_i64(f, groups)), left = batch, a = cg_i64(f, 0), b = cg_i64(f, 0);
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
    if (g->K > 0 && g->K <= K_BLOCK) {
        k_block(f, &w, cg_i64(f, 0), w.K, true, nb0, nb1);
    } else {
        clear_c(f, &w, nb0, nb1);
        struct cg_loop lk;
        LLVMValueRef k0 = cg_loop_begin(f, &lk, cg_i64(f, 0), w.K, K_BLOCK);
        k_block(f, &w, k0, cg_mini(f, cg_i64(f, K_BLOCK), cg_subi(f, w.K, k0)), false, nb0, nb1);
        cg_loop_end(f, &lk);
    }
    cg_loop_end(f, &l);
}
