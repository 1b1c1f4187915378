// The register-blocked inner product that convolutions and matrix products share, and small helpers around it.
//
// One micro-kernel is a function of its own inside the kernel's module: its code is emitted once however many tiles
// call it. Loads stand next to the multiply-adds that use them; hoisting them all would spill.
#include "kernels.h"

#include <stdio.h>
#include <string.h>

// Steps of k in one trip of the inner loop. Where A is strided along k the scheduler would hoist loads across steps and
// spill; 28 sums a step need no unrolling to hide the loop, 12 need a little.
enum { LINE = CACHE_LINE / 4 }; // floats
static int64_t unroll_of(const struct cg_target *t, const struct cg_micro *m) {
    if (m->a_k != 1) return t->nregs >= 32 || m->nvec == 1 ? 1 : 2;
    int64_t n = m->inner >= 0 && m->inner <= 6 ? m->inner : 4;
    // Where pixels are fewer floats apart than that, a later step of one reads what an earlier step of the next did:
    // the compiler would keep those elements, too, and spill.
    return m->tw > 1 && m->a_w > 0 ? cg_min64(n, m->a_w) : n;
}

static const char *record_key(struct arena *a, const char *name, const void *record, size_t n_fields) {
    const int64_t *v = record;
    struct str s = STR_INIT;
    str_addf(&s, "%s:", name);
    for (size_t i = 0; i < n_fields; i++) str_addf(&s, i ? ",%lld" : "%lld", (long long)v[i]);
    const char *key = arena_strdup(a, s.s);
    str_release(&s);
    return key;
}

void cg_call_record(struct cg_lower *L, const char *name, void (*emit)(struct cg_fn *, const void *),
                    const void *record, size_t record_bytes, int n_ptr, int64_t scratch_bytes,
                    const struct cg_arg *args) {
    struct cg_kernel k = {
        .key = record_key(L->arena, name, record, record_bytes / sizeof(int64_t)),
        .emit = emit,
        .params = arena_dup(L->arena, record, record_bytes),
        .n_ptr = n_ptr,
        .noalias = true,
        .scratch_bytes = scratch_bytes,
    };
    cg_call(L, &k, args, n_ptr);
}

// Four registers stay free: nvec vectors of B and the broadcast elements of A. A single vector of B gives the scheduler
// many broadcasts to hoist; where they cannot be operands of the multiply-add (AVX2) it would rather spill sums.
int64_t cg_micro_rows(const struct cg_target *t, int64_t nvec) {
    int64_t rows = (t->nregs - 4) / nvec;
    return cg_max64(1, nvec == 1 && t->nregs < 32 ? t->nregs / 2 : rows);
}

int64_t cg_micro_rows_of(const struct cg_target *t, const struct cg_micro *m) {
    return cg_micro_uses_tiles(t, m) ? 32 : cg_micro_rows(t, m->nvec);
}

struct cg_split cg_split_even(int64_t total, int64_t most) {
    int64_t n = cg_max64(1, cg_ceil_div(total, most)), big = cg_ceil_div(total, n);
    int64_t n_big = total - n * (big - 1);
    return (struct cg_split){.big = big, .n_big = n_big, .n_small = n - n_big};
}

struct cg_blocks cg_blocks_of(const struct cg_target *t, int64_t channels) {
    int64_t nr = 2 * t->vl, rem = channels % nr;
    struct cg_blocks b = {.full = channels / nr};
    b.tail_vec = cg_ceil_div(rem, t->vl);
    b.tail_lanes = rem ? rem - (b.tail_vec - 1) * t->vl : 0;
    b.n = b.full + (rem > 0);
    b.floats = b.full * nr + b.tail_vec * t->vl;
    return b;
}

// A loop whose body runs at least once: the test is at the end, where the branch predictor and the scheduler want it.
struct do_loop {
    LLVMBasicBlockRef body;
    LLVMValueRef counter;
};

static void do_begin(struct cg_fn *f, struct do_loop *l, LLVMValueRef count) {
    l->counter = cg_local(f, f->i64, count);
    l->body = LLVMAppendBasicBlockInContext(f->cx, f->fn, "k");
    LLVMBuildBr(f->b, l->body);
    LLVMPositionBuilderAtEnd(f->b, l->body);
}

static void do_end(struct cg_fn *f, struct do_loop *l, int64_t step) {
    LLVMValueRef left = LLVMBuildNSWSub(f->b, LLVMBuildLoad2(f->b, f->i64, l->counter, ""), cg_i64(f, step), "");
    LLVMBuildStore(f->b, left, l->counter);
    LLVMBasicBlockRef exit = LLVMAppendBasicBlockInContext(f->cx, f->fn, "out");
    LLVMBuildCondBr(f->b, LLVMBuildICmp(f->b, LLVMIntSGE, left, cg_i64(f, step), ""), l->body, exit);
    LLVMPositionBuilderAtEnd(f->b, exit);
}

struct body {
    const struct cg_micro *m;
    LLVMTypeRef type;     // of a sum
    LLVMValueRef acc[64]; // locals, row by row
    LLVMValueRef pa, pb;  // locals: A and B of the current k
    LLVMValueRef pf;      // local: what to fetch next, or NULL
    LLVMValueRef to;      // local: C's pixel whose lines to fetch next, or NULL
    LLVMValueRef stream;  // as pf, elsewhere
    LLVMValueRef C;
    int flush_depth; // loop level after whose body the sums move to C; 0: only at the end
};

// Rounding errors of a float32 sum grow with the square root of its length, so long sums are made in runs of a few
// hundred terms that are added up in C: a ResNet's activations come out about four times closer to the exact ones, and
// moving the sums costs about 1 % of such a run. The level to flush at, or 0 where the sum is short anyway.
enum { SHORT_SUM = 640, RUN_MIN = 192 };
static int flush_depth(const struct cg_micro *m) {
    if (m->c_narrow) return 0; // C would round the runs far more than the sum does
    if (m->inner < 0 || m->n1 < 0 || m->n2 < 0 || m->inner * m->n1 * m->n2 <= SHORT_SUM) return 0;
    if (m->inner >= RUN_MIN) return 1;
    return m->inner * m->n1 >= RUN_MIN ? 2 : 0;
}

static LLVMValueRef get(struct cg_fn *f, LLVMTypeRef t, LLVMValueRef local) {
    return LLVMBuildLoad2(f->b, t, local, "");
}

static void advance(struct cg_fn *f, LLVMValueRef local, int64_t floats) {
    if (floats) LLVMBuildStore(f->b, cg_gep(f, f->f32, get(f, f->p, local), cg_i64(f, floats)), local);
}

// Lanes of a row's vectors. Of a single one that C has no more than half of, half is computed: AVX-512 multiplies that
// in half the time on a CPU whose units are 256 bits wide, and in no more on others. (Beside a whole one it brought
// nothing, and registers were spilled.)
static int width_of(const struct cg_target *t, const struct cg_micro *m) {
    return t->vl == 16 && !m->pairs && m->nvec == 1 && m->last_lanes <= 8 ? 8 : t->vl;
}

// C += sums, or C = sums; then the sums start again.
static void store_sums(struct cg_fn *f, struct body *b, bool add, bool restart) {
    const struct cg_micro *m = b->m;
    int vl = f->t->vl;
    for (int64_t i = 0; i < m->th * m->tw; i++)
        for (int64_t v = 0; v < m->nvec; v++) {
            LLVMValueRef at = cg_gep(f, cg_f32_in_memory(f, m->c_narrow), b->C,
                                     cg_i64(f, i / m->tw * m->c_h + i % m->tw * m->c_w + v * vl));
            int lanes = v == m->nvec - 1 ? (int)m->last_lanes : vl;
            LLVMValueRef slot = b->acc[i * m->nvec + v], sum = get(f, b->type, slot);
            if (add) sum = LLVMBuildFAdd(f->b, cg_load_first(f, f->f32, width_of(f->t, m), at, lanes), sum, "");
            cg_store_f32(f, m->c_narrow, sum, at, lanes);
            if (restart) LLVMBuildStore(f->b, LLVMConstNull(b->type), slot);
        }
}

// What `n` steps fetch of the next tile: their share of the tile's lines.
static void fetch_more(struct cg_fn *f, const struct body *b, int64_t n) {
    const struct cg_micro *m = b->m;
    int64_t lines = cg_ceil_div(m->th * m->tw * m->a_w, LINE), each = cg_ceil_div(lines * n, m->inner);
    LLVMValueRef p = get(f, f->p, b->pf);
    for (int64_t i = 0; i < each; i++) cg_fetch(f, cg_gep(f, f->f32, p, cg_i64(f, i * LINE)), CG_INTO_FIRST);
    advance(f, b->pf, each * LINE);
}

// The lines of C are fetched while the sums are made: there are more of them than stores can wait for.
static bool fetches_c(const struct cg_micro *m) {
    bool in_line = m->th == 1 || m->c_h == m->tw * m->c_w;
    return m->fetch_c && in_line && m->th * m->tw > 1 && m->inner > 0;
}

// What `n` steps fetch of C: their share of the pixels, the last again and again when all are on their way.
static void fetch_c(struct cg_fn *f, const struct body *b, int64_t n) {
    const struct cg_micro *m = b->m;
    int64_t pixels = m->th * m->tw, steps = m->inner * cg_max64(m->n1, 1) * cg_max64(m->n2, 1);
    int64_t each = cg_ceil_div(pixels * n, steps), size = m->c_narrow ? 2 : 4;
    int64_t bytes = ((m->nvec - 1) * f->t->vl + m->last_lanes) * size, pixel = m->c_w * size;
    LLVMValueRef to = get(f, f->p, b->to), last = cg_gep(f, f->i8, b->C, cg_i64(f, (pixels - 1) * pixel));
    for (int64_t i = 0; i < each; i++) {
        for (int64_t at = 0; at < bytes - 1; at += CACHE_LINE)
            cg_fetch_to_write(f, cg_gep(f, f->i8, to, cg_i64(f, at)));
        cg_fetch_to_write(f, cg_gep(f, f->i8, to, cg_i64(f, bytes - 1)));
        to = cg_gep(f, f->i8, to, cg_i64(f, pixel));
    }
    if (each * steps > pixels * n)
        to = LLVMBuildSelect(f->b, LLVMBuildICmp(f->b, LLVMIntULT, to, last, ""), to, last, "");
    LLVMBuildStore(f->b, to, b->to);
}

// sum + a * b, or the same for the two bfloat16 in each lane.
static LLVMValueRef multiply_add(struct cg_fn *f, const struct cg_micro *m, LLVMValueRef a, LLVMValueRef b,
                                 LLVMValueRef sum) {
    if (!m->pairs) return cg_fma(f, a, b, sum);
    CHECK(f->t->bf16_dot && f->t->vl == 16, "pairs of bfloat16 for a CPU that cannot multiply them");
    LLVMTypeRef halves = LLVMVectorType(LLVMBFloatTypeInContext(f->cx), 32);
    LLVMValueRef args[3] = {sum, LLVMBuildBitCast(f->b, a, halves, ""), LLVMBuildBitCast(f->b, b, halves, "")};
    return cg_intrinsic(f, "llvm.x86.avx512bf16.dpbf16ps.512", NULL, args, 3);
}

// `n` steps of k, without moving the pointers.
static void steps(struct cg_fn *f, struct body *b, int64_t n) {
    const struct cg_micro *m = b->m;
    int vl = f->t->vl, width = width_of(f->t, m);
    LLVMValueRef pa = get(f, f->p, b->pa), pb = get(f, f->p, b->pb);
    if (b->pf) fetch_more(f, b, n); // in one place: between steps it would keep the scheduler from its work
    for (int64_t k = 0; k < n; k++) {
        // A line of A a step, at a stride: the hardware would fetch only what lies on the same page.
        if (m->ahead && m->a_k != 1)
            cg_fetch(f, cg_gep(f, f->f32, pa, cg_i64(f, k * m->a_k + m->ahead)), CG_INTO_FIRST);
        if (b->stream) {
            LLVMValueRef next = get(f, f->p, b->stream);
            cg_fetch(f, next, CG_INTO_SECOND);
            LLVMBuildStore(f->b, cg_gep(f, f->i8, next, cg_i64(f, m->stream)), b->stream);
        }
        LLVMValueRef bv[8];
        for (int64_t v = 0; v < m->nvec; v++)
            bv[v] = cg_load(f, b->type, cg_gep(f, f->f32, pb, cg_i64(f, k * m->b_k + v * vl)), width * 4);
        for (int64_t i = 0; i < m->th * m->tw; i++) {
            int64_t off = i / m->tw * m->a_h + i % m->tw * m->a_w + k * m->a_k;
            LLVMValueRef a = cg_splat(f, cg_load(f, f->f32, cg_gep(f, f->f32, pa, cg_i64(f, off)), 4), width);
            for (int64_t v = 0; v < m->nvec; v++) {
                LLVMValueRef slot = b->acc[i * m->nvec + v];
                LLVMBuildStore(f->b, multiply_add(f, m, a, bv[v], get(f, b->type, slot)), slot);
            }
        }
    }
    if (b->to) fetch_c(f, b, n);
}

static void inner_loop(struct cg_fn *f, struct body *b, LLVMValueRef count) {
    const struct cg_micro *m = b->m;
    if (m->inner >= 0) {
        int64_t unroll = unroll_of(f->t, m);
        int64_t trips = unroll ? m->inner / unroll : 0, rest = unroll ? m->inner % unroll : 0;
        if (trips == 1) {
            steps(f, b, unroll);
            if (rest) {
                advance(f, b->pa, unroll * m->a_k);
                advance(f, b->pb, unroll * m->b_k);
            }
        } else if (trips > 1) {
            struct do_loop l;
            do_begin(f, &l, cg_i64(f, trips));
            steps(f, b, unroll);
            advance(f, b->pa, unroll * m->a_k);
            advance(f, b->pb, unroll * m->b_k);
            do_end(f, &l, 1);
        }
        if (rest) steps(f, b, rest);
        return;
    }
    int64_t unroll = unroll_of(f->t, m);
    LLVMValueRef trips = cg_divi(f, count, cg_i64(f, unroll)), rest = cg_remi(f, count, cg_i64(f, unroll));
    for (int pass = 0; pass < (unroll > 1 ? 2 : 1); pass++) {
        int64_t n = pass ? 1 : unroll;
        struct cg_loop l;
        cg_loop_begin(f, &l, cg_i64(f, 0), pass ? rest : trips, 1);
        steps(f, b, n);
        advance(f, b->pa, n * m->a_k);
        advance(f, b->pb, n * m->b_k);
        cg_loop_end(f, &l);
    }
}

static void level(struct cg_fn *f, struct body *b, int depth, LLVMValueRef inner, LLVMValueRef n1, LLVMValueRef n2) {
    if (depth == 0) {
        inner_loop(f, b, inner);
        return;
    }
    const struct cg_micro *m = b->m;
    int64_t n = depth == 1 ? m->n1 : m->n2, a_step = depth == 1 ? m->a1 : m->a2, b_step = depth == 1 ? m->b1 : m->b2;
    if (n == 1) {
        level(f, b, depth - 1, inner, n1, n2);
        if (b->flush_depth == depth) store_sums(f, b, true, true);
        return;
    }
    LLVMValueRef a0 = cg_local(f, f->p, get(f, f->p, b->pa)), b0 = cg_local(f, f->p, get(f, f->p, b->pb));
    struct do_loop l;
    do_begin(f, &l, n > 0 ? cg_i64(f, n) : depth == 1 ? n1 : n2);
    LLVMBuildStore(f->b, get(f, f->p, a0), b->pa);
    LLVMBuildStore(f->b, get(f, f->p, b0), b->pb);
    level(f, b, depth - 1, inner, n1, n2);
    if (b->flush_depth == depth) store_sums(f, b, true, true);
    advance(f, a0, a_step);
    advance(f, b0, b_step);
    do_end(f, &l, 1);
}

static void emit_body(struct cg_fn *f, const struct cg_micro *m) {
    if (cg_micro_uses_tiles(f->t, m)) {
        cg_emit_micro_tiles(f, m, LLVMGetParam(f->fn, 0), LLVMGetParam(f->fn, 1), LLVMGetParam(f->fn, 2));
        return;
    }
    struct body b = {.m = m, .C = LLVMGetParam(f->fn, 2), .flush_depth = flush_depth(m)};
    b.type = cg_vec_type(f, f->f32, width_of(f->t, m));
    CHECK(m->th * m->tw * m->nvec <= 64 && m->nvec <= 8, "micro-kernel of %lld x %lld vectors",
          (long long)(m->th * m->tw), (long long)m->nvec);
    b.pa = cg_local(f, f->p, LLVMGetParam(f->fn, 0));
    b.pb = cg_local(f, f->p, LLVMGetParam(f->fn, 1));
    if (m->ahead && m->a_k == 1)
        b.pf = cg_local(f, f->p, cg_gep(f, f->f32, LLVMGetParam(f->fn, 0), cg_i64(f, m->ahead)));
    if (fetches_c(m)) b.to = cg_local(f, f->p, b.C);
    if (m->stream) b.stream = cg_local(f, f->p, LLVMGetParam(f->fn, 6));
    for (int64_t i = 0; i < m->th * m->tw * m->nvec; i++) b.acc[i] = cg_local(f, b.type, LLVMConstNull(b.type));
    if (b.flush_depth && !m->accumulate) store_sums(f, &b, false, false); // C starts at zero
    level(f, &b, 2, LLVMGetParam(f->fn, 3), LLVMGetParam(f->fn, 4), LLVMGetParam(f->fn, 5));
    if (!b.flush_depth) store_sums(f, &b, m->accumulate != 0, false);
}

void cg_micro_call(struct cg_fn *f, const struct cg_micro *m, LLVMValueRef A, LLVMValueRef B, LLVMValueRef C,
                   LLVMValueRef inner, LLVMValueRef n1, LLVMValueRef n2, LLVMValueRef next) {
    char name[512];
    int len = snprintf(name, sizeof name, "micro");
    for (size_t i = 0; i < CG_FIELDS(struct cg_micro); i++)
        len += snprintf(name + len, sizeof name - (size_t)len, "_%lld", (long long)((const int64_t *)m)[i]);
    LLVMTypeRef params[7] = {f->p, f->p, f->p, f->i64, f->i64, f->i64, f->p};
    LLVMTypeRef type = LLVMFunctionType(f->void_, params, 7, 0);
    bool is_new;
    LLVMValueRef fn = cg_subfunction(f, name, type, &is_new);
    if (is_new) {
        cg_noinline(f, fn);
        struct cg_fn inner_fn = cg_fn_nested(f, fn);
        emit_body(&inner_fn, m);
        cg_fn_done(&inner_fn);
    }
    LLVMValueRef one = cg_i64(f, 1);
    LLVMValueRef args[7] = {A, B, C, inner ? inner : one, n1 ? n1 : one, n2 ? n2 : one, next ? next : A};
    LLVMBuildCall2(f->b, type, fn, args, 7, "");
}

void cg_micro_over_rows(struct cg_fn *f, const struct cg_micro *proto, int64_t rows, int64_t most, LLVMValueRef A,
                        LLVMValueRef B, LLVMValueRef C, LLVMValueRef inner, LLVMValueRef n1, LLVMValueRef n2,
                        LLVMValueRef next, int64_t next_gap, int64_t next_lines) {
    struct cg_split tiles = cg_split_even(rows, most);
    int64_t at = 0, done = 0, size[2] = {tiles.big, tiles.big - 1}, count[2] = {tiles.n_big, tiles.n_small};
    for (int k = 0; k < 2; k++) {
        if (!count[k]) continue;
        struct cg_micro m = *proto;
        m.th = 1;
        m.tw = size[k];
        struct cg_loop l;
        LLVMValueRef j = cg_loop_begin(f, &l, cg_i64(f, 0), cg_i64(f, count[k]), 1), from = next;
        if (next) { // what is left when all lines were fetched hits what they brought
            LLVMValueRef line = cg_mini(f, cg_addi(f, j, cg_i64(f, done)), cg_i64(f, next_lines - 1));
            from = cg_gep(f, f->i8, next, cg_muli(f, line, cg_i64(f, next_gap)));
        }
        LLVMValueRef row = cg_muladd(f, j, size[k], cg_i64(f, at));
        cg_micro_call(f, &m, cg_gep(f, f->f32, A, row), B, cg_gep(f, f->f32, C, cg_muli(f, row, cg_i64(f, m.c_w))),
                      inner, n1, n2, from);
        cg_loop_end(f, &l);
        at += size[k] * count[k];
        done += count[k];
    }
}

// --- transposing -----------------------------------------------------------------------------------------------------

// Round d exchanges what lies d off the diagonal of each square of 2d: the square is transposed when every d had its
// turn.
void cg_transpose(struct cg_fn *f, LLVMValueRef *rows) {
    int n = f->t->vl;
    for (int d = 1; d < n; d *= 2) {
        LLVMValueRef low[64], high[64];
        for (int j = 0; j < n; j++) {
            // From rows (a, b): lanes of a with bit d clear and, in place of the others, those of b d to the left ...
            low[j] = cg_i32(f, j & d ? n + j - d : j);
            // ... and lanes of b with bit d set, with those of a d to the right.
            high[j] = cg_i32(f, j & d ? n + j : j + d);
        }
        for (int i = 0; i < n; i++) {
            if (i & d) continue;
            LLVMValueRef a = rows[i], b = rows[i + d];
            rows[i] = LLVMBuildShuffleVector(f->b, a, b, LLVMConstVector(low, (unsigned)n), "");
            rows[i + d] = LLVMBuildShuffleVector(f->b, a, b, LLVMConstVector(high, (unsigned)n), "");
        }
    }
}

// --- moving floats ---------------------------------------------------------------------------------------------------

static void move_floats(struct cg_fn *f, LLVMValueRef dst, bool dst_narrow, LLVMValueRef src, bool src_narrow,
                        LLVMValueRef n) {
    int vl = f->t->vl;
    LLVMValueRef whole = cg_muli(f, cg_divi(f, n, cg_i64(f, vl)), cg_i64(f, vl));
    for (int pass = 0; pass < 2; pass++) {
        struct cg_loop l;
        int lanes = pass ? 1 : vl;
        LLVMTypeRef t = cg_vec_type(f, f->f32, lanes);
        LLVMValueRef i = cg_loop_begin(f, &l, pass ? whole : cg_i64(f, 0), pass ? n : whole, lanes);
        LLVMValueRef v = LLVMConstNull(t);
        if (src) v = cg_load_f32(f, src_narrow, lanes, cg_gep(f, cg_f32_in_memory(f, src_narrow), src, i), lanes);
        cg_store_f32(f, dst_narrow, v, cg_gep(f, cg_f32_in_memory(f, dst_narrow), dst, i), lanes);
        cg_loop_end(f, &l);
    }
}

void cg_copy_floats(struct cg_fn *f, LLVMValueRef dst, LLVMValueRef src, LLVMValueRef n) {
    move_floats(f, dst, false, src, false, n);
}
void cg_zero_floats(struct cg_fn *f, LLVMValueRef dst, LLVMValueRef n) { move_floats(f, dst, false, NULL, false, n); }
void cg_copy_f32(struct cg_fn *f, LLVMValueRef dst, bool src_narrow, LLVMValueRef src, LLVMValueRef n) {
    move_floats(f, dst, false, src, src_narrow, n);
}
void cg_zero_f32(struct cg_fn *f, bool narrow, LLVMValueRef dst, LLVMValueRef n) {
    move_floats(f, dst, narrow, NULL, false, n);
}
