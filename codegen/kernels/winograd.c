// Winograd convolution F(4x4, 3x3) for stride 1: forward and by data.
//
// Four by four outputs come from six by six inputs d as  A^T [ (G g G^T) . (B^T d B) ] A  with 36 multiplications where
// the definition has 144 (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016). Summed over input
// channels the middle is 36 matrix products, one for each position q of the transformed tile: M[q] = V[q] U[q], with V
// [tile][C] and U [C][K].
//
// A work item is a run of tiles short enough for its V and M to stay in cache: transform the inputs, multiply,
// transform back. Lanes are channels, so both transforms are plain vector code. A tile's result does not depend on the
// tiles beside it, so items may be cut to fit the number of threads. What lies outside the plane is known when the code
// is made: each kind of border has its own transform, without the zeros.
#include "winograd.h"
#include "kernels.h"

#include <stdio.h>

// --- one-dimensional transforms; NULL is zero ----------------------------------------------------------------------

static LLVMValueRef times(struct cg_fn *f, double k, LLVMValueRef x) {
    return x ? LLVMBuildFMul(f->b, x, cg_splat(f, cg_f32c(f, k), f->t->vl), "") : NULL;
}

// k*x + y
static LLVMValueRef mad(struct cg_fn *f, double k, LLVMValueRef x, LLVMValueRef y) {
    if (!x) return y;
    if (k == 1) return y ? LLVMBuildFAdd(f->b, y, x, "") : x;
    if (!y) return times(f, k, x);
    if (k == -1) return LLVMBuildFSub(f->b, y, x, "");
    return cg_fma(f, x, cg_splat(f, cg_f32c(f, k), f->t->vl), y);
}

// B^T t
static void input_1d(struct cg_fn *f, LLVMValueRef o[6], const LLVMValueRef t[6]) {
    LLVMValueRef a = mad(f, -4, t[2], t[4]), b = mad(f, -4, t[1], t[3]), c = mad(f, -1, t[2], t[4]),
                 d = mad(f, -1, t[1], t[3]);
    o[0] = mad(f, 4, t[0], mad(f, -5, t[2], t[4]));
    o[1] = mad(f, 1, b, a);
    o[2] = mad(f, -1, b, a);
    o[3] = mad(f, 2, d, c);
    o[4] = mad(f, -2, d, c);
    o[5] = mad(f, 4, t[1], mad(f, -5, t[3], t[5]));
}

// A^T t
static void output_1d(struct cg_fn *f, LLVMValueRef o[4], const LLVMValueRef t[6]) {
    LLVMValueRef s = mad(f, 1, t[2], t[1]), d = mad(f, -1, t[2], t[1]), s2 = mad(f, 1, t[4], t[3]),
                 d2 = mad(f, -1, t[4], t[3]);
    o[0] = mad(f, 1, s2, mad(f, 1, s, t[0]));
    o[1] = mad(f, 2, d2, d);
    o[2] = mad(f, 4, s2, s);
    o[3] = mad(f, 8, d2, mad(f, 1, t[5], d));
}

// A t: the adjoint of output_1d
static void output_adjoint_1d(struct cg_fn *f, LLVMValueRef o[6], const LLVMValueRef t[4]) {
    LLVMValueRef e = mad(f, 1, t[2], t[0]), d = mad(f, 1, t[3], t[1]), e4 = mad(f, 4, t[2], t[0]),
                 d4 = mad(f, 2, t[1], times(f, 8, t[3]));
    o[0] = t[0];
    o[1] = mad(f, 1, d, e);
    o[2] = mad(f, -1, d, e);
    o[3] = mad(f, 1, d4, e4);
    o[4] = mad(f, -1, d4, e4);
    o[5] = t[3];
}

// G t
static void filter_1d(struct cg_fn *f, LLVMValueRef o[6], const LLVMValueRef t[3]) {
    LLVMValueRef s = mad(f, 1, t[2], t[0]), q = mad(f, 4, t[2], t[0]), h = times(f, 1.0 / 12, t[1]);
    o[0] = times(f, 0.25, t[0]);
    o[1] = times(f, -1.0 / 6, mad(f, 1, t[1], s));
    o[2] = times(f, -1.0 / 6, mad(f, -1, t[1], s));
    o[3] = mad(f, 1.0 / 24, q, h);
    o[4] = mad(f, -1, h, times(f, 1.0 / 24, q));
    o[5] = t[2];
}

// G^T t: the adjoint of filter_1d
static void filter_adjoint_1d(struct cg_fn *f, LLVMValueRef o[3], const LLVMValueRef t[6]) {
    LLVMValueRef s = mad(f, 1, t[2], t[1]), d = mad(f, -1, t[2], t[1]), s2 = mad(f, 1, t[4], t[3]),
                 d2 = mad(f, -1, t[4], t[3]);
    o[0] = mad(f, 0.25, t[0], mad(f, -1.0 / 6, s, times(f, 1.0 / 24, s2)));
    o[1] = mad(f, -1.0 / 6, d, times(f, 1.0 / 12, d2));
    o[2] = mad(f, -1.0 / 6, s, mad(f, 1.0 / 6, s2, t[5]));
}

typedef void (*transform_1d)(struct cg_fn *f, LLVMValueRef *o, const LLVMValueRef *t);

// out[m][m] = T in[n][n] T^T
static void transform_2d(struct cg_fn *f, transform_1d t, int m, int n, LLVMValueRef *out, const LLVMValueRef *in) {
    LLVMValueRef mid[36], col[6], res[6];
    for (int j = 0; j < n; j++) {
        for (int i = 0; i < n; i++) col[i] = in[i * n + j];
        t(f, res, col);
        for (int i = 0; i < m; i++) mid[i * n + j] = res[i];
    }
    for (int i = 0; i < m; i++) t(f, out + (size_t)i * (size_t)m, mid + (size_t)i * (size_t)n);
}

void cg_wino_filter(struct cg_fn *f, LLVMValueRef out[36], const LLVMValueRef in[9]) {
    transform_2d(f, filter_1d, 6, 3, out, in);
}
void cg_wino_filter_adjoint(struct cg_fn *f, LLVMValueRef out[9], const LLVMValueRef in[36]) {
    transform_2d(f, filter_adjoint_1d, 3, 6, out, in);
}

// --- tiles of a plane ------------------------------------------------------------------------------------------------

// The tiles of one axis by what of their window lies inside the plane.
static int window_kinds(struct cg_wino_kind *k, int64_t tiles, int64_t window, int64_t step, int64_t pad,
                        int64_t extent) {
    int n = 0;
    for (int64_t i = 0; i < tiles; i++) {
        int64_t at = i * step - pad, lo = cg_min64(window, cg_max64(0, -at));
        int64_t hi = cg_max64(lo, cg_min64(window, extent - at));
        if (n && k[n - 1].lo == lo && k[n - 1].hi == hi) {
            k[n - 1].end = i + 1;
            continue;
        }
        CHECK(n < CG_WINO_KINDS, "an axis of %lld tiles has more than %d kinds of border", (long long)tiles,
              CG_WINO_KINDS);
        k[n++] = (struct cg_wino_kind){.lo = lo, .hi = hi, .end = i + 1};
    }
    return n;
}

struct cg_wino_axes cg_wino_axes_of(const struct cg_wino *w, bool input) {
    struct cg_wino_axes a = {.input = input};
    if (input) {
        a.n_h = window_kinds(a.h, cg_wino_th(w), 6, 4, w->ph, w->H);
        a.n_w = window_kinds(a.w, cg_wino_tw(w), 6, 4, w->pw, w->W);
    } else {
        a.n_h = window_kinds(a.h, cg_wino_th(w), 4, 4, 0, w->P);
        a.n_w = window_kinds(a.w, cg_wino_tw(w), 4, 4, 0, w->Q);
    }
    return a;
}

// A function of the module that transforms all channels of one tile of one kind: (ptr plane, ptr packed)
struct tile_fn {
    const struct cg_wino_axes *axes;
    const char *name;
    bool narrow;         // the plane is
    int64_t px, line;    // elements between pixels and between lines of the plane
    int64_t q_stride;    // floats between two q of the packed tile
    int64_t lanes, full; // channels of the last vector; vectors in front of it
};

// One vector of channels, of which `lanes` are in use: plane -> packed.
static void pack_vector(struct cg_fn *f, const struct tile_fn *t, int kh, int kw, LLVMValueRef plane,
                        LLVMValueRef packed, int lanes) {
    const struct cg_wino_kind *h = &t->axes->h[kh], *w = &t->axes->w[kw];
    int n = t->axes->input ? 6 : 4, vl = f->t->vl;
    LLVMValueRef in[36], out[36];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            bool inside = i >= h->lo && i < h->hi && j >= w->lo && j < w->hi;
            LLVMValueRef off = cg_i64(f, i * t->line + j * t->px); // `plane` itself may lie in front of the memory
            LLVMValueRef at = LLVMBuildGEP2(f->b, cg_f32_in_memory(f, t->narrow), plane, &off, 1, "");
            in[i * n + j] = inside ? cg_load_f32(f, t->narrow, vl, at, lanes) : NULL;
        }
    transform_2d(f, t->axes->input ? input_1d : output_adjoint_1d, 6, n, out, in);
    for (int q = 0; q < 36; q++)
        cg_store(f, out[q] ? out[q] : LLVMConstNull(f->vf), cg_gep(f, f->f32, packed, cg_i64(f, q * t->q_stride)),
                 vl * 4);
}

// packed -> plane
static void unpack_vector(struct cg_fn *f, const struct tile_fn *t, int kh, int kw, LLVMValueRef plane,
                          LLVMValueRef packed, int lanes) {
    const struct cg_wino_kind *h = &t->axes->h[kh], *w = &t->axes->w[kw];
    LLVMValueRef in[36], out[16];
    for (int q = 0; q < 36; q++)
        in[q] = cg_load(f, f->vf, cg_gep(f, f->f32, packed, cg_i64(f, q * t->q_stride)), f->t->vl * 4);
    transform_2d(f, output_1d, 4, 6, out, in);
    LLVMTypeRef mem = cg_f32_in_memory(f, t->narrow);
    for (int i = 0; i < h->hi; i++)
        for (int j = 0; j < w->hi; j++)
            cg_store_f32(f, t->narrow, out[i * 4 + j], cg_gep(f, mem, plane, cg_i64(f, i * t->line + j * t->px)),
                         lanes);
}

typedef void (*vector_fn)(struct cg_fn *, const struct tile_fn *, int, int, LLVMValueRef, LLVMValueRef, int);

static LLVMValueRef tile_function(struct cg_fn *f, const struct tile_fn *t, int kh, int kw, vector_fn vector,
                                  LLVMTypeRef *type) {
    char name[64];
    snprintf(name, sizeof name, "%s_%d_%d_%s", t->name, kh, kw, LLVMGetValueName(f->fn));
    LLVMTypeRef params[2] = {f->p, f->p};
    *type = LLVMFunctionType(f->void_, params, 2, 0);
    bool is_new;
    LLVMValueRef fn = cg_subfunction(f, name, *type, &is_new);
    if (!is_new) return fn;
    cg_noinline(f, fn);
    unsigned noalias = LLVMGetEnumAttributeKindForName("noalias", 7);
    for (unsigned i = 1; i <= 2; i++) LLVMAddAttributeAtIndex(fn, i, LLVMCreateEnumAttribute(f->cx, noalias, 0));
    struct cg_fn in = cg_fn_nested(f, fn);
    LLVMValueRef plane = LLVMGetParam(fn, 0), packed = LLVMGetParam(fn, 1);
    LLVMTypeRef mem = cg_f32_in_memory(f, t->narrow);
    int64_t vl = f->t->vl;
    if (t->full) {
        struct cg_loop l;
        LLVMValueRef c = cg_loop_begin(&in, &l, cg_i64(f, 0), cg_i64(f, t->full * vl), vl);
        vector(&in, t, kh, kw, LLVMBuildGEP2(in.b, mem, plane, &c, 1, ""), cg_gep(&in, f->f32, packed, c), (int)vl);
        cg_loop_end(&in, &l);
    }
    if (t->lanes) {
        LLVMValueRef c = cg_i64(f, t->full * vl);
        vector(&in, t, kh, kw, LLVMBuildGEP2(in.b, mem, plane, &c, 1, ""), cg_gep(&in, f->f32, packed, c),
               (int)t->lanes);
    }
    cg_fn_done(&in);
    return fn;
}

// Calls the function for the tile's kind of border.
static void dispatch(struct cg_fn *f, const struct tile_fn *t, vector_fn vector, LLVMValueRef ti, LLVMValueRef tj,
                     LLVMValueRef plane, LLVMValueRef packed) {
    const struct cg_wino_axes *a = t->axes;
    LLVMValueRef args[2] = {plane, packed};
    struct cg_if ch[CG_WINO_KINDS], cw[CG_WINO_KINDS];
    for (int kh = 0; kh < a->n_h; kh++) {
        if (kh + 1 < a->n_h) cg_if_begin(f, &ch[kh], LLVMBuildICmp(f->b, LLVMIntSLT, ti, cg_i64(f, a->h[kh].end), ""));
        for (int kw = 0; kw < a->n_w; kw++) {
            if (kw + 1 < a->n_w)
                cg_if_begin(f, &cw[kw], LLVMBuildICmp(f->b, LLVMIntSLT, tj, cg_i64(f, a->w[kw].end), ""));
            LLVMTypeRef type;
            LLVMValueRef fn = tile_function(f, t, kh, kw, vector, &type);
            LLVMBuildCall2(f->b, type, fn, args, 2, "");
            if (kw + 1 < a->n_w) cg_if_else(f, &cw[kw]);
        }
        for (int kw = a->n_w - 2; kw >= 0; kw--) cg_if_end(f, &cw[kw]);
        if (kh + 1 < a->n_h) cg_if_else(f, &ch[kh]);
    }
    for (int kh = a->n_h - 2; kh >= 0; kh--) cg_if_end(f, &ch[kh]);
}

struct tile_at { // where a tile lies
    LLVMValueRef n, ti, tj;
};

static struct tile_at tile_at(struct cg_fn *f, const struct cg_wino *w, LLVMValueRef tile) {
    int64_t th = cg_wino_th(w), tw = cg_wino_tw(w);
    struct tile_at at = {.tj = cg_remi(f, tile, cg_i64(f, tw))};
    LLVMValueRef rest = cg_divi(f, tile, cg_i64(f, tw));
    at.ti = cg_remi(f, rest, cg_i64(f, th));
    at.n = cg_divi(f, rest, cg_i64(f, th));
    return at;
}

static struct tile_fn tiles_of(const struct cg_target *t, const struct cg_wino_axes *a, const char *name, bool narrow,
                               int64_t px, int64_t width, int64_t channels, int64_t q_stride) {
    return (struct tile_fn){.axes = a,
                            .name = name,
                            .narrow = narrow,
                            .px = px,
                            .line = width * px,
                            .q_stride = q_stride,
                            .full = channels / t->vl,
                            .lanes = channels % t->vl};
}

void cg_wino_pack_tiles(struct cg_fn *f, const struct cg_wino *w, const struct cg_wino_axes *a, LLVMValueRef plane,
                        int64_t channel_stride, int64_t channels, LLVMValueRef first, LLVMValueRef count,
                        LLVMValueRef packed, int64_t row, int64_t q_stride) {
    int64_t height = a->input ? w->H : w->P, width = a->input ? w->W : w->Q;
    bool narrow = a->input ? w->x_narrow : w->y_narrow;
    struct tile_fn t =
        tiles_of(f->t, a, a->input ? "input" : "adjoint", narrow, channel_stride, width, channels, q_stride);
    struct cg_loop l;
    LLVMValueRef i = cg_loop_begin(f, &l, cg_i64(f, 0), count, 1);
    struct tile_at at = tile_at(f, w, cg_addi(f, first, i));
    LLVMValueRef h = cg_muladd(f, at.ti, 4, cg_i64(f, a->input ? -w->ph : 0));
    LLVMValueRef c = cg_muladd(f, at.tj, 4, cg_i64(f, a->input ? -w->pw : 0));
    LLVMValueRef px = cg_muladd(f, cg_muladd(f, at.n, height, h), width, c);
    // Pixels in front of the plane are addressed from, but never read.
    LLVMValueRef from = LLVMBuildGEP2(f->b, cg_f32_in_memory(f, narrow), plane,
                                      (LLVMValueRef[]){cg_muli(f, px, cg_i64(f, channel_stride))}, 1, "");
    dispatch(f, &t, pack_vector, at.ti, at.tj, from, cg_gep(f, f->f32, packed, cg_muli(f, i, cg_i64(f, row))));
    cg_loop_end(f, &l);
}

static void unpack_tiles(struct cg_fn *f, const struct cg_wino *w, LLVMValueRef y, LLVMValueRef first,
                         LLVMValueRef count, LLVMValueRef packed, int64_t row, int64_t q_stride) {
    struct cg_wino_axes a = cg_wino_axes_of(w, false);
    struct tile_fn t = tiles_of(f->t, &a, "output", w->y_narrow, w->yc, w->Q, w->K, q_stride);
    struct cg_loop l;
    LLVMValueRef i = cg_loop_begin(f, &l, cg_i64(f, 0), count, 1);
    struct tile_at at = tile_at(f, w, cg_addi(f, first, i));
    LLVMValueRef px =
        cg_muladd(f, cg_muladd(f, at.n, w->P, cg_muli(f, at.ti, cg_i64(f, 4))), w->Q, cg_muli(f, at.tj, cg_i64(f, 4)));
    LLVMValueRef to = cg_gep(f, cg_f32_in_memory(f, w->y_narrow), y, cg_muli(f, px, cg_i64(f, w->yc)));
    dispatch(f, &t, unpack_vector, at.ti, at.tj, to, cg_gep(f, f->f32, packed, cg_muli(f, i, cg_i64(f, row))));
    cg_loop_end(f, &l);
}

// --- the convolution -------------------------------------------------------------------------------------------------

// How an item's V and M lie in scratch. Rows and q are padded by a line: powers of two would meet in one cache set.
struct cg_wino_room cg_wino_room_of(const struct cg_target *t, int64_t tiles, int64_t channels) {
    int64_t row = cg_ceil_div(channels, t->vl) * t->vl + 16;
    return (struct cg_wino_room){.row = row, .q = tiles * row + 16};
}

// Tiles of an item: as many as fit a good part of L2 with their V and M, in whole blocks of the micro-kernel; where the
// weights are large they are worth more tiles, which then lie in L3.
int64_t cg_wino_item_tiles(const struct cg_target *t, const struct cg_wino *w) {
    int64_t rows = cg_micro_rows(t, 2), bytes = 36 * 4 * (w->C + w->K + 32);
    int64_t fit = t->l2_bytes * 3 / 4 / bytes;
    int64_t least = w->C * w->K >= 65536 ? 64 : 16;
    return cg_max64(cg_max64(fit, least) / rows, 1) * rows;
}

int64_t cg_wino_scratch(const struct cg_target *t, const struct cg_wino *w) {
    int64_t n = cg_wino_item_tiles(t, w);
    struct cg_wino_room v = cg_wino_room_of(t, n, w->C), m = cg_wino_room_of(t, n, w->K);
    return (36 * (v.q + m.q) + 64) * 4;
}

// M[q] = V[q] U[q] for one block of output channels, rows [0, count).
static void multiply(struct cg_fn *f, const struct cg_wino *w, const struct cg_wino_room *v,
                     const struct cg_wino_room *m, int64_t nvec, LLVMValueRef V, LLVMValueRef U, LLVMValueRef M,
                     LLVMValueRef count) {
    int64_t nr = nvec * f->t->vl, most = cg_micro_rows(f->t, 2);
    struct cg_micro mk = {.th = 1,
                          .tw = most,
                          .nvec = nvec,
                          .last_lanes = f->t->vl,
                          .a_w = v->row,
                          .c_w = m->row,
                          .a_k = 1,
                          .b_k = nr,
                          .inner = w->C,
                          .n1 = 1,
                          .n2 = 1,
                          .fetch_c = 1};
    // Whole blocks, then the smallest block that covers the rest: rows past `count` are computed from leftovers.
    struct cg_loop l;
    LLVMValueRef whole = cg_muli(f, cg_divi(f, count, cg_i64(f, most)), cg_i64(f, most));
    LLVMValueRef row = cg_loop_begin(f, &l, cg_i64(f, 0), whole, most);
    cg_micro_call(f, &mk, cg_gep(f, f->f32, V, cg_muli(f, row, cg_i64(f, v->row))), U,
                  cg_gep(f, f->f32, M, cg_muli(f, row, cg_i64(f, m->row))), NULL, NULL, NULL, NULL);
    cg_loop_end(f, &l);
    LLVMValueRef rest = cg_subi(f, count, whole), A = cg_gep(f, f->f32, V, cg_muli(f, whole, cg_i64(f, v->row))),
                 C = cg_gep(f, f->f32, M, cg_muli(f, whole, cg_i64(f, m->row)));
    int64_t sizes[3] = {cg_ceil_div(most, 4), cg_ceil_div(most, 2) + 1, most};
    for (int k = 0; k < 3; k++) {
        struct cg_if c;
        LLVMValueRef more = LLVMBuildICmp(f->b, LLVMIntSGT, rest, cg_i64(f, k ? sizes[k - 1] : 0), "");
        LLVMValueRef fits = LLVMBuildICmp(f->b, LLVMIntSLE, rest, cg_i64(f, sizes[k]), "");
        cg_if_begin(f, &c, LLVMBuildAnd(f->b, more, fits, ""));
        mk.tw = sizes[k];
        cg_micro_call(f, &mk, A, U, C, NULL, NULL, NULL, NULL);
        cg_if_end(f, &c);
    }
}

void cg_emit_winograd(struct cg_fn *f, const void *params) {
    const struct cg_wino *w = params;
    const struct cg_target *t = f->t;
    int64_t most = cg_wino_item_tiles(t, w), nr = 2 * t->vl;
    struct cg_wino_room v = cg_wino_room_of(t, most, w->C), m = cg_wino_room_of(t, most, w->K);
    struct cg_wino_axes in = cg_wino_axes_of(w, true);
    struct cg_blocks kb = cg_blocks_of(t, w->K);
    LLVMValueRef V = f->scratch, M = cg_gep(f, f->f32, V, cg_i64(f, 36 * v.q));
    // As many items as the tiles need, rounded up to a multiple of the threads; then tiles are dealt out evenly.
    LLVMValueRef tiles = cg_muli(f, f->N, cg_i64(f, cg_wino_th(w) * cg_wino_tw(w)));
    LLVMValueRef items = cg_divi(f, cg_addi(f, tiles, cg_i64(f, most - 1)), cg_i64(f, most));
    items = cg_muli(f, cg_divi(f, cg_addi(f, items, cg_subi(f, f->threads, cg_i64(f, 1))), f->threads), f->threads);
    LLVMValueRef begin, end;
    cg_share(f, items, 1, &begin, &end);
    struct cg_loop l, lq, lk;
    LLVMValueRef item = cg_loop_begin(f, &l, begin, end, 1);
    LLVMValueRef t0 = cg_divi(f, cg_muli(f, tiles, item), items);
    LLVMValueRef t1 = cg_divi(f, cg_muli(f, tiles, cg_addi(f, item, cg_i64(f, 1))), items);
    LLVMValueRef count = cg_subi(f, t1, t0);
    cg_wino_pack_tiles(f, w, &in, f->ptr[0], w->xc, w->C, t0, count, V, v.row, v.q);
    LLVMValueRef q = cg_loop_begin(f, &lq, cg_i64(f, 0), cg_i64(f, 36), 1);
    LLVMValueRef Vq = cg_gep(f, f->f32, V, cg_muli(f, q, cg_i64(f, v.q))),
                 Mq = cg_gep(f, f->f32, M, cg_muli(f, q, cg_i64(f, m.q)));
    LLVMValueRef Uq = cg_gep(f, f->f32, f->ptr[1], cg_muli(f, q, cg_i64(f, cg_wino_weight_stride(t, w->C, w->K))));
    if (kb.full) {
        LLVMValueRef b = cg_loop_begin(f, &lk, cg_i64(f, 0), cg_i64(f, kb.full), 1);
        multiply(f, w, &v, &m, 2, Vq, cg_gep(f, f->f32, Uq, cg_muli(f, b, cg_i64(f, nr * w->C))),
                 cg_gep(f, f->f32, Mq, cg_muli(f, b, cg_i64(f, nr))), count);
        cg_loop_end(f, &lk);
    }
    if (kb.tail_vec)
        multiply(f, w, &v, &m, kb.tail_vec, Vq, cg_gep(f, f->f32, Uq, cg_i64(f, kb.full * nr * w->C)),
                 cg_gep(f, f->f32, Mq, cg_i64(f, kb.full * nr)), count);
    cg_loop_end(f, &lq);
    unpack_tiles(f, w, f->ptr[2], t0, count, M, m.row, m.q);
    cg_loop_end(f, &l);
}
