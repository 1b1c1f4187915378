// Pooling over channels-last activations, channels in lanes. Gradients gather: each input pixel visits the windows that
// cover it, so nothing is scattered and the order of the sum is fixed.
#include "kernels.h"

#include <math.h>

#define CHUNK 4 // vectors of channels handled together

typedef void (*chunk_fn)(struct cg_fn *f, void *env, LLVMValueRef c0, int nvec, int last_lanes);

static void channel_chunks(struct cg_fn *f, int64_t channels, chunk_fn fn, void *env) {
    int vl = f->t->vl;
    int64_t wide = CHUNK * vl, whole = channels / wide * wide, rest = channels - whole;
    if (whole) {
        struct cg_loop l;
        LLVMValueRef c0 = cg_loop_begin(f, &l, cg_i64(f, 0), cg_i64(f, whole), wide);
        fn(f, env, c0, CHUNK, vl);
        cg_loop_end(f, &l);
    }
    if (rest) {
        int nvec = (int)cg_ceil_div(rest, vl);
        fn(f, env, cg_i64(f, whole), nvec, (int)rest - (nvec - 1) * vl);
    }
}

// An output pixel (of the forward or the gradient op) and what visiting its taps needs.
struct pixel {
    const struct cg_pool *p;
    LLVMValueRef n, h, w; // image, row, column
    LLVMValueRef in0, in1, out0, out1;
    LLVMValueRef at;             // float index of the pixel's channel 0 in its tensor
    LLVMValueRef r0, r1, s0, s1; // forward: taps inside the input
};

// for (each pixel of this thread's rows of an [N, H, W] tensor)
struct pixels {
    struct cg_loop row, col;
};
static void pixels_begin(struct cg_fn *f, struct pixels *ps, struct pixel *px, int64_t H, int64_t W, int64_t C) {
    LLVMValueRef begin, end;
    cg_share(f, cg_muli(f, f->N, cg_i64(f, H)), 1, &begin, &end);
    LLVMValueRef line = cg_loop_begin(f, &ps->row, begin, end, 1);
    px->n = cg_divi(f, line, cg_i64(f, H));
    px->h = cg_remi(f, line, cg_i64(f, H));
    px->w = cg_loop_begin(f, &ps->col, cg_i64(f, 0), cg_i64(f, W), 1);
    px->at = cg_muli(f, cg_muladd(f, line, W, px->w), cg_i64(f, C));
}
static void pixels_end(struct cg_fn *f, struct pixels *ps) {
    cg_loop_end(f, &ps->col);
    cg_loop_end(f, &ps->row);
}

// Taps [*lo, *hi) of output position `o` that lie inside [0, in).
static void tap_range(struct cg_fn *f, LLVMValueRef o, int64_t stride, int64_t pad, int64_t dil, int64_t size,
                      int64_t in, LLVMValueRef *lo, LLVMValueRef *hi) {
    LLVMValueRef first = cg_muladd(f, o, stride, cg_i64(f, -pad)), zero = cg_i64(f, 0);
    LLVMValueRef before = cg_maxi(f, zero, cg_subi(f, zero, first));
    *lo = cg_divi(f, cg_addi(f, before, cg_i64(f, dil - 1)), cg_i64(f, dil));
    LLVMValueRef room =
        cg_maxi(f, zero, cg_subi(f, cg_i64(f, in + dil - 1), first)); // ceil((in - first) / dil) taps fit
    *hi = cg_mini(f, cg_i64(f, size), cg_divi(f, room, cg_i64(f, dil)));
    *lo = cg_mini(f, *lo, *hi);
}

static void ranges(struct cg_fn *f, struct pixel *px) {
    const struct cg_pool *p = px->p;
    tap_range(f, px->h, p->sh, p->pt, p->dh, p->R, p->H, &px->r0, &px->r1);
    tap_range(f, px->w, p->sw, p->pl, p->dw, p->S, p->W, &px->s0, &px->s1);
}

// Float index of channel 0 of input tap (r, s) of the output pixel.
static LLVMValueRef tap_at(struct cg_fn *f, const struct pixel *px, LLVMValueRef r, LLVMValueRef s) {
    const struct cg_pool *p = px->p;
    LLVMValueRef h = cg_addi(f, cg_muladd(f, px->h, p->sh, cg_i64(f, -p->pt)), cg_muli(f, r, cg_i64(f, p->dh)));
    LLVMValueRef w = cg_addi(f, cg_muladd(f, px->w, p->sw, cg_i64(f, -p->pl)), cg_muli(f, s, cg_i64(f, p->dw)));
    return cg_muli(f, cg_muladd(f, cg_muladd(f, px->n, p->H, h), p->W, w), cg_i64(f, p->C));
}

// Vector v of a pixel's channels: of floats, which memory may hold as bfloat16, and of positions.
static LLVMValueRef element(struct cg_fn *f, LLVMValueRef at, LLVMValueRef c0, int v) {
    return cg_addi(f, cg_addi(f, at, c0), cg_i64(f, v * f->t->vl));
}
static LLVMValueRef load_f32(struct cg_fn *f, bool narrow, LLVMValueRef base, LLVMValueRef at, LLVMValueRef c0, int v,
                             int lanes) {
    LLVMValueRef from = cg_gep(f, cg_f32_in_memory(f, narrow), base, element(f, at, c0, v));
    return cg_load_f32(f, narrow, f->t->vl, from, lanes);
}
static void store_f32(struct cg_fn *f, bool narrow, LLVMValueRef x, LLVMValueRef base, LLVMValueRef at, LLVMValueRef c0,
                      int v, int lanes) {
    cg_store_f32(f, narrow, x, cg_gep(f, cg_f32_in_memory(f, narrow), base, element(f, at, c0, v)), lanes);
}
// Every tap of the window that lies inside. Most windows lie inside as a whole, and are small: those are unrolled.
enum { UNROLL_TAPS = 9 };
typedef void (*tap_fn)(struct cg_fn *f, void *env, LLVMValueRef r, LLVMValueRef s);
static void each_tap(struct cg_fn *f, const struct pixel *px, tap_fn fn, void *env) {
    const struct cg_pool *p = px->p;
    struct cg_if whole;
    if (p->R * p->S <= UNROLL_TAPS) {
        LLVMValueRef lo = LLVMBuildOr(f->b, px->r0, px->s0, "");
        LLVMValueRef all = LLVMBuildAnd(f->b, LLVMBuildICmp(f->b, LLVMIntEQ, px->r1, cg_i64(f, p->R), ""),
                                        LLVMBuildICmp(f->b, LLVMIntEQ, px->s1, cg_i64(f, p->S), ""), "");
        all = LLVMBuildAnd(f->b, all, LLVMBuildICmp(f->b, LLVMIntEQ, lo, cg_i64(f, 0), ""), "");
        cg_if_begin(f, &whole, all);
        for (int64_t t = 0; t < p->R * p->S; t++) fn(f, env, cg_i64(f, t / p->S), cg_i64(f, t % p->S));
        cg_if_else(f, &whole);
    }
    struct cg_loop lr, ls;
    LLVMValueRef r = cg_loop_begin(f, &lr, px->r0, px->r1, 1), s = cg_loop_begin(f, &ls, px->s0, px->s1, 1);
    fn(f, env, r, s);
    cg_loop_end(f, &ls);
    cg_loop_end(f, &lr);
    if (p->R * p->S <= UNROLL_TAPS) cg_if_end(f, &whole);
}

static LLVMValueRef lanes_of_i32(struct cg_fn *f, LLVMValueRef i64_value) {
    return cg_splat(f, LLVMBuildTrunc(f->b, i64_value, f->i32, ""), f->t->vl);
}

// Positions in a window, as vectors of i32; in memory bytes where those hold them (ir/ops/pool.c).
static LLVMTypeRef position_type(struct cg_fn *f, const struct cg_pool *p) {
    return p->R * p->S <= 256 ? f->i8 : f->i32;
}

static LLVMValueRef load_position(struct cg_fn *f, const struct cg_pool *p, LLVMValueRef base, LLVMValueRef i,
                                  int lanes) {
    LLVMTypeRef t = position_type(f, p);
    LLVMValueRef v = cg_load_first(f, t, f->t->vl, cg_gep(f, t, base, i), lanes);
    return t == f->i32 ? v : LLVMBuildZExt(f->b, v, cg_vec_type(f, f->i32, f->t->vl), "");
}

static void store_position(struct cg_fn *f, const struct cg_pool *p, LLVMValueRef v, LLVMValueRef base, LLVMValueRef i,
                           int lanes) {
    LLVMTypeRef t = position_type(f, p);
    if (t != f->i32) v = LLVMBuildTrunc(f->b, v, cg_vec_type(f, t, f->t->vl), "");
    cg_store_first(f, v, cg_gep(f, t, base, i), lanes);
}

// --- max -----------------------------------------------------------------------------------------------------------

struct window { // of one chunk of channels
    const struct pixel *px;
    LLVMValueRef c0, sum[CHUNK], pos[CHUNK]; // locals: sums, or largest and their positions
    int nvec, last;
};

static void max_tap(struct cg_fn *f, void *env, LLVMValueRef r, LLVMValueRef s) {
    struct window *w = env;
    const struct cg_pool *p = w->px->p;
    LLVMTypeRef vi = cg_vec_type(f, f->i32, f->t->vl);
    LLVMValueRef at = tap_at(f, w->px, r, s), here = lanes_of_i32(f, cg_muladd(f, r, p->S, s));
    for (int v = 0; v < w->nvec; v++) {
        LLVMValueRef x = load_f32(f, p->in_narrow, w->px->in0, at, w->c0, v, v == w->nvec - 1 ? w->last : f->t->vl);
        LLVMValueRef b = LLVMBuildLoad2(f->b, f->vf, w->sum[v], "");
        // Greater, or the first NaN.
        LLVMValueRef take = LLVMBuildAnd(f->b, LLVMBuildFCmp(f->b, LLVMRealUGT, x, b, ""),
                                         LLVMBuildFCmp(f->b, LLVMRealORD, b, b, ""), "");
        LLVMBuildStore(f->b, LLVMBuildSelect(f->b, take, x, b, ""), w->sum[v]);
        LLVMBuildStore(f->b, LLVMBuildSelect(f->b, take, here, LLVMBuildLoad2(f->b, vi, w->pos[v], ""), ""), w->pos[v]);
    }
}

static void max_chunk(struct cg_fn *f, void *env, LLVMValueRef c0, int nvec, int last) {
    const struct pixel *px = env;
    const struct cg_pool *p = px->p;
    int vl = f->t->vl;
    LLVMTypeRef vi = cg_vec_type(f, f->i32, vl);
    LLVMValueRef first = lanes_of_i32(f, cg_muladd(f, px->r0, p->S, px->s0));
    struct window w = {.px = px, .c0 = c0, .nvec = nvec, .last = last};
    for (int v = 0; v < nvec; v++) {
        w.sum[v] = cg_local(f, f->vf, cg_splat(f, cg_f32c(f, -INFINITY), vl));
        w.pos[v] = cg_local(f, vi, first);
    }
    each_tap(f, px, max_tap, &w);
    for (int v = 0; v < nvec; v++) {
        int lanes = v == nvec - 1 ? last : vl;
        store_f32(f, p->out_narrow, LLVMBuildLoad2(f->b, f->vf, w.sum[v], ""), px->out0, px->at, c0, v, lanes);
        store_position(f, p, LLVMBuildLoad2(f->b, vi, w.pos[v], ""), px->out1, element(f, px->at, c0, v), lanes);
    }
}

void cg_emit_max_pool(struct cg_fn *f, const void *params) {
    const struct cg_pool *p = params;
    struct pixel px = {.p = p, .in0 = f->ptr[0], .out0 = f->ptr[1], .out1 = f->ptr[2]};
    struct pixels ps;
    pixels_begin(f, &ps, &px, p->P, p->Q, p->C);
    ranges(f, &px);
    // A dilated window may miss a tiny input altogether: position 0 then, as the reference says.
    LLVMValueRef none = LLVMBuildOr(f->b, LLVMBuildICmp(f->b, LLVMIntSGE, px.r0, px.r1, ""),
                                    LLVMBuildICmp(f->b, LLVMIntSGE, px.s0, px.s1, ""), "");
    px.r0 = LLVMBuildSelect(f->b, none, cg_i64(f, 0), px.r0, "");
    px.r1 = LLVMBuildSelect(f->b, none, cg_i64(f, 0), px.r1, "");
    px.s0 = LLVMBuildSelect(f->b, none, cg_i64(f, 0), px.s0, "");
    channel_chunks(f, p->C, max_chunk, &px);
    pixels_end(f, &ps);
}

// --- gradients: loops over the windows that cover an input pixel

// For tap index t in [0, size): the output position whose tap t is input position i; runs the body only where there is
// one.
struct cover {
    struct cg_loop loop;
    struct cg_if in;
    LLVMValueRef tap, o;
};
static void cover_begin(struct cg_fn *f, struct cover *c, LLVMValueRef i, int64_t stride, int64_t pad, int64_t dil,
                        int64_t size, int64_t outs) {
    // In order of growing output position.
    LLVMValueRef k = cg_loop_begin(f, &c->loop, cg_i64(f, 0), cg_i64(f, size), 1);
    c->tap = cg_subi(f, cg_i64(f, size - 1), k);
    LLVMValueRef at = cg_subi(f, cg_addi(f, i, cg_i64(f, pad)), cg_muli(f, c->tap, cg_i64(f, dil)));
    // A negative one is huge as an unsigned number, and its quotient is past the outputs.
    c->o = cg_divi(f, at, cg_i64(f, stride));
    LLVMValueRef fits = LLVMBuildICmp(f->b, LLVMIntULT, c->o, cg_i64(f, outs), "");
    if (stride > 1) {
        LLVMValueRef rest = cg_remi(f, at, cg_i64(f, stride));
        fits = LLVMBuildAnd(f->b, fits, LLVMBuildICmp(f->b, LLVMIntEQ, rest, cg_i64(f, 0), ""), "");
    }
    cg_if_begin(f, &c->in, fits);
}
static void cover_end(struct cg_fn *f, struct cover *c) {
    cg_if_end(f, &c->in);
    cg_loop_end(f, &c->loop);
}

static LLVMValueRef window_at(struct cg_fn *f, const struct pixel *px, const struct cover *h, const struct cover *w) {
    const struct cg_pool *p = px->p;
    return cg_muli(f, cg_muladd(f, cg_muladd(f, px->n, p->P, h->o), p->Q, w->o), cg_i64(f, p->C));
}

static void max_grad_chunk(struct cg_fn *f, void *env, LLVMValueRef c0, int nvec, int last) {
    struct pixel *px = env;
    const struct cg_pool *p = px->p;
    int vl = f->t->vl;
    LLVMValueRef sum[CHUNK], zero = LLVMConstNull(f->vf);
    for (int v = 0; v < nvec; v++) sum[v] = cg_local(f, f->vf, zero);
    struct cover h, w;
    cover_begin(f, &h, px->h, p->sh, p->pt, p->dh, p->R, p->P);
    cover_begin(f, &w, px->w, p->sw, p->pl, p->dw, p->S, p->Q);
    LLVMValueRef at = window_at(f, px, &h, &w), mine = lanes_of_i32(f, cg_muladd(f, h.tap, p->S, w.tap));
    for (int v = 0; v < nvec; v++) {
        int lanes = v == nvec - 1 ? last : vl;
        LLVMValueRef dy = load_f32(f, p->in_narrow, px->in0, at, c0, v, lanes),
                     pos = load_position(f, p, px->in1, element(f, at, c0, v), lanes);
        LLVMValueRef x = LLVMBuildSelect(f->b, LLVMBuildICmp(f->b, LLVMIntEQ, pos, mine, ""), dy, zero, "");
        LLVMBuildStore(f->b, LLVMBuildFAdd(f->b, LLVMBuildLoad2(f->b, f->vf, sum[v], ""), x, ""), sum[v]);
    }
    cover_end(f, &w);
    cover_end(f, &h);
    for (int v = 0; v < nvec; v++)
        store_f32(f, p->out_narrow, LLVMBuildLoad2(f->b, f->vf, sum[v], ""), px->out0, px->at, c0, v,
                  v == nvec - 1 ? last : vl);
}

void cg_emit_max_pool_grad(struct cg_fn *f, const void *params) {
    const struct cg_pool *p = params;
    struct pixel px = {.p = p, .in0 = f->ptr[0], .in1 = f->ptr[1], .out0 = f->ptr[2]};
    struct pixels ps;
    pixels_begin(f, &ps, &px, p->H, p->W, p->C);
    channel_chunks(f, p->C, max_grad_chunk, &px);
    pixels_end(f, &ps);
}

// --- average ---------------------------------------------------------------------------------------------------------

// Elements the window at output position o counts along one dim: inside the input, or inside the padded input.
static LLVMValueRef counted(struct cg_fn *f, const struct cg_pool *p, LLVMValueRef o, int64_t stride, int64_t pad,
                            int64_t pad_end, int64_t size, int64_t in) {
    LLVMValueRef first = cg_muladd(f, o, stride, cg_i64(f, -pad)), last = cg_addi(f, first, cg_i64(f, size));
    LLVMValueRef lo = cg_i64(f, p->include_pad ? -pad : 0), hi = cg_i64(f, p->include_pad ? in + pad_end : in);
    return cg_subi(f, cg_mini(f, last, hi), cg_maxi(f, first, lo));
}

static LLVMValueRef window_count(struct cg_fn *f, const struct cg_pool *p, LLVMValueRef oh, LLVMValueRef ow) {
    LLVMValueRef n = cg_muli(f, counted(f, p, oh, p->sh, p->pt, p->pb, p->R, p->H),
                             counted(f, p, ow, p->sw, p->pl, p->pr, p->S, p->W));
    return cg_splat(f, LLVMBuildSIToFP(f->b, n, f->f32, ""), f->t->vl);
}

static void avg_tap(struct cg_fn *f, void *env, LLVMValueRef r, LLVMValueRef s) {
    struct window *w = env;
    LLVMValueRef at = tap_at(f, w->px, r, s);
    for (int v = 0; v < w->nvec; v++) {
        int lanes = v == w->nvec - 1 ? w->last : f->t->vl;
        LLVMValueRef x = load_f32(f, w->px->p->in_narrow, w->px->in0, at, w->c0, v, lanes);
        LLVMBuildStore(f->b, LLVMBuildFAdd(f->b, LLVMBuildLoad2(f->b, f->vf, w->sum[v], ""), x, ""), w->sum[v]);
    }
}

static void avg_chunk(struct cg_fn *f, void *env, LLVMValueRef c0, int nvec, int last) {
    const struct pixel *px = env;
    const struct cg_pool *p = px->p;
    struct window w = {.px = px, .c0 = c0, .nvec = nvec, .last = last};
    for (int v = 0; v < nvec; v++) w.sum[v] = cg_local(f, f->vf, LLVMConstNull(f->vf));
    each_tap(f, px, avg_tap, &w);
    LLVMValueRef n = window_count(f, p, px->h, px->w);
    for (int v = 0; v < nvec; v++)
        store_f32(f, p->out_narrow, LLVMBuildFDiv(f->b, LLVMBuildLoad2(f->b, f->vf, w.sum[v], ""), n, ""), px->out0,
                  px->at, c0, v, v == nvec - 1 ? last : f->t->vl);
}

void cg_emit_avg_pool(struct cg_fn *f, const void *params) {
    const struct cg_pool *p = params;
    struct pixel px = {.p = p, .in0 = f->ptr[0], .out0 = f->ptr[1]};
    struct pixels ps;
    pixels_begin(f, &ps, &px, p->P, p->Q, p->C);
    ranges(f, &px);
    channel_chunks(f, p->C, avg_chunk, &px);
    pixels_end(f, &ps);
}

static void avg_grad_chunk(struct cg_fn *f, void *env, LLVMValueRef c0, int nvec, int last) {
    struct pixel *px = env;
    const struct cg_pool *p = px->p;
    int vl = f->t->vl;
    LLVMValueRef sum[CHUNK];
    for (int v = 0; v < nvec; v++) sum[v] = cg_local(f, f->vf, LLVMConstNull(f->vf));
    struct cover h, w;
    cover_begin(f, &h, px->h, p->sh, p->pt, p->dh, p->R, p->P);
    cover_begin(f, &w, px->w, p->sw, p->pl, p->dw, p->S, p->Q);
    LLVMValueRef at = window_at(f, px, &h, &w), n = window_count(f, p, h.o, w.o);
    for (int v = 0; v < nvec; v++) {
        LLVMValueRef dy = load_f32(f, p->in_narrow, px->in0, at, c0, v, v == nvec - 1 ? last : vl);
        LLVMValueRef x =
            LLVMBuildFAdd(f->b, LLVMBuildLoad2(f->b, f->vf, sum[v], ""), LLVMBuildFDiv(f->b, dy, n, ""), "");
        LLVMBuildStore(f->b, x, sum[v]);
    }
    cover_end(f, &w);
    cover_end(f, &h);
    for (int v = 0; v < nvec; v++)
        store_f32(f, p->out_narrow, LLVMBuildLoad2(f->b, f->vf, sum[v], ""), px->out0, px->at, c0, v,
                  v == nvec - 1 ? last : vl);
}

void cg_emit_avg_pool_grad(struct cg_fn *f, const void *params) {
    const struct cg_pool *p = params;
    struct pixel px = {.p = p, .in0 = f->ptr[0], .out0 = f->ptr[1]};
    struct pixels ps;
    pixels_begin(f, &ps, &px, p->H, p->W, p->C);
    channel_chunks(f, p->C, avg_grad_chunk, &px);
    pixels_end(f, &ps);
}
