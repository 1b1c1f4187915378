// The inner product of pairs of bfloat16 in AMX tiles: up to 32 rows of A against one or two vectors of B.
//
// A tile is 16 rows of 64 bytes. Rows of A are pixels, whose pairs of channels lie side by side; rows of B are pairs of
// channels over 16 outputs, which is just how weights are packed (conv_pack.c): so tiles are loaded straight from what
// the vector kernels read. TDPBF16PS adds 16 pairs to 16 x 16 sums. Tiles are numbered by hand, as registers are in
// assembly: sums 0 to 3, A 4 and 5, B 6 and 7. A sum whose length is no multiple of 16 pairs ends in tiles of other
// shapes, which have to be there from the start (configuring again would clear the sums): then one vector of B at a
// time.
#include "kernels.h"

enum { EDGE = 16, TILES = 8, SUMS = 0, A_TILE = 4, B_TILE = 6 };

bool cg_micro_uses_tiles(const struct cg_target *t, const struct cg_micro *m) {
    return t->amx && m->pairs && !m->accumulate && m->a_k == 1 && m->inner >= 0 && m->n1 > 0 && m->n2 > 0;
}

struct tiles {
    const struct cg_micro *m;
    int64_t rows[2], n_rows; // of A's tiles; how many tiles
    int64_t vectors;         // of B at a time
    int64_t rest;            // pairs behind the last whole tile
};

static void call(struct cg_fn *f, const char *name, LLVMValueRef *args, int n) { cg_intrinsic(f, name, NULL, args, n); }

static LLVMValueRef number(struct cg_fn *f, int64_t tile) { return LLVMConstInt(f->i8, (unsigned long long)tile, 0); }

static void load(struct cg_fn *f, int64_t tile, LLVMValueRef at, int64_t stride) {
    call(f, "llvm.x86.tileloadd64", (LLVMValueRef[]){number(f, tile), at, cg_i64(f, stride * 4)}, 3);
}

// With a rest there are two vectors fewer to hold: tiles of the rest stand where the second vector's would.
static int64_t rest_a(int64_t i) { return i ? 7 : 3; }
static int64_t sum_tile(const struct tiles *t, int64_t i, int64_t v) { return SUMS + i * t->vectors + v; }
enum { REST_B = 2 };

// LDTILECFG's operand: palette 1, then bytes a row at 16 and rows at 48 for each tile.
static LLVMValueRef configuration(struct cg_fn *f, const struct tiles *t) {
    uint8_t bytes[64] = {1};
    int64_t pairs[TILES] = {0}, rows[TILES] = {0};
    for (int64_t i = 0; i < t->n_rows; i++) {
        for (int64_t v = 0; v < t->vectors; v++) {
            pairs[sum_tile(t, i, v)] = EDGE;
            rows[sum_tile(t, i, v)] = t->rows[i];
        }
        pairs[A_TILE + i] = EDGE;
        rows[A_TILE + i] = t->rows[i];
        if (!t->rest) continue;
        pairs[rest_a(i)] = t->rest;
        rows[rest_a(i)] = t->rows[i];
    }
    for (int64_t v = 0; v < t->vectors; v++) pairs[B_TILE + v] = rows[B_TILE + v] = EDGE;
    if (t->rest) {
        pairs[REST_B] = EDGE;
        rows[REST_B] = t->rest;
    }
    for (int i = 0; i < TILES; i++) {
        bytes[16 + 2 * i] = (uint8_t)(pairs[i] * 4);
        bytes[48 + i] = (uint8_t)rows[i];
    }
    LLVMValueRef init = LLVMConstStringInContext2(f->cx, (const char *)bytes, sizeof bytes, 1);
    LLVMValueRef g = cg_constant(f, init, "tiles");
    LLVMSetAlignment(g, 64);
    return g;
}

// Sums += A's pairs times B's: whole tiles of 16 pairs, or the rest.
static void multiply(struct cg_fn *f, const struct tiles *t, LLVMValueRef A, LLVMValueRef B, bool rest) {
    const struct cg_micro *m = t->m;
    for (int64_t v = 0; v < t->vectors; v++)
        load(f, rest ? REST_B : B_TILE + v, cg_gep(f, f->i32, B, cg_i64(f, v * EDGE)), m->b_k);
    for (int64_t i = 0; i < t->n_rows; i++) {
        int64_t a = rest ? rest_a(i) : A_TILE + i;
        load(f, a, cg_gep(f, f->i32, A, cg_i64(f, i * EDGE * m->a_w)), m->a_w);
        for (int64_t v = 0; v < t->vectors; v++)
            call(f, "llvm.x86.tdpbf16ps",
                 (LLVMValueRef[]){number(f, sum_tile(t, i, v)), number(f, a), number(f, rest ? REST_B : B_TILE + v)},
                 3);
    }
}

static void inner(struct cg_fn *f, const struct tiles *t, LLVMValueRef A, LLVMValueRef B) {
    int64_t whole = t->m->inner / EDGE;
    struct cg_loop l;
    if (whole) {
        LLVMValueRef k = cg_muli(f, cg_loop_begin(f, &l, cg_i64(f, 0), cg_i64(f, whole), 1), cg_i64(f, EDGE));
        multiply(f, t, cg_gep(f, f->i32, A, k), cg_gep(f, f->i32, B, cg_muli(f, k, cg_i64(f, t->m->b_k))), false);
        cg_loop_end(f, &l);
    }
    if (t->rest)
        multiply(f, t, cg_gep(f, f->i32, A, cg_i64(f, whole * EDGE)),
                 cg_gep(f, f->i32, B, cg_i64(f, whole * EDGE * t->m->b_k)), true);
}

// One row of a tile of sums at a time, by way of memory.
static void store_sums(struct cg_fn *f, const struct tiles *t, int64_t i, int64_t v, LLVMValueRef room, LLVMValueRef C,
                       int lanes) {
    const struct cg_micro *m = t->m;
    call(f, "llvm.x86.tilestored64", (LLVMValueRef[]){number(f, sum_tile(t, i, v)), room, cg_i64(f, EDGE * 4)}, 3);
    for (int64_t r = 0; r < t->rows[i]; r++) {
        LLVMValueRef sum = cg_load(f, f->vf, cg_gep(f, f->f32, room, cg_i64(f, r * EDGE)), EDGE * 4);
        LLVMValueRef to = cg_gep(f, cg_f32_in_memory(f, m->c_narrow), C, cg_i64(f, (i * EDGE + r) * m->c_w));
        cg_store_f32(f, m->c_narrow, sum, to, lanes);
    }
}

void cg_emit_micro_tiles(struct cg_fn *f, const struct cg_micro *m, LLVMValueRef A, LLVMValueRef B, LLVMValueRef C) {
    CHECK(f->t->vl == EDGE && m->th == 1 && m->tw <= 2 * EDGE && m->nvec <= 2, "tiles for %lld x %lld",
          (long long)m->tw, (long long)m->nvec);
    struct tiles t = {.m = m, .rest = m->inner % EDGE, .n_rows = cg_ceil_div(m->tw, EDGE)};
    t.rows[0] = cg_min64(m->tw, EDGE);
    t.rows[1] = m->tw - t.rows[0];
    t.vectors = t.rest ? 1 : m->nvec;
    LLVMValueRef room = cg_local(f, LLVMArrayType2(f->vf, EDGE), NULL);
    LLVMSetAlignment(room, EDGE * 4);
    LLVMValueRef tiles = configuration(f, &t);
    for (int64_t v0 = 0; v0 < m->nvec; v0 += t.vectors) {
        call(f, "llvm.x86.ldtilecfg", &tiles, 1); // and all sums are zero
        struct cg_loop l1, l2;
        LLVMValueRef i2 = cg_loop_begin(f, &l2, cg_i64(f, 0), cg_i64(f, m->n2), 1);
        LLVMValueRef i1 = cg_loop_begin(f, &l1, cg_i64(f, 0), cg_i64(f, m->n1), 1);
        LLVMValueRef a = cg_addi(f, cg_muli(f, i2, cg_i64(f, m->a2)), cg_muli(f, i1, cg_i64(f, m->a1)));
        LLVMValueRef b = cg_addi(f, cg_muli(f, i2, cg_i64(f, m->b2)), cg_muladd(f, i1, m->b1, cg_i64(f, v0 * EDGE)));
        inner(f, &t, cg_gep(f, f->i32, A, a), cg_gep(f, f->i32, B, b));
        cg_loop_end(f, &l1);
        cg_loop_end(f, &l2);
        for (int64_t v = 0; v < t.vectors; v++) {
            LLVMValueRef to = cg_gep(f, cg_f32_in_memory(f, m->c_narrow), C, cg_i64(f, (v0 + v) * EDGE));
            int lanes = v0 + v == m->nvec - 1 ? (int)m->last_lanes : EDGE;
            for (int64_t i = 0; i < t.n_rows; i++) store_sums(f, &t, i, v, room, to, lanes);
        }
    }
    call(f, "llvm.x86.tilerelease", NULL, 0);
}
