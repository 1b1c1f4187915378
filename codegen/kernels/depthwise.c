// Depthwise convolutions: one filter a channel, channels in the lanes of a vector.
#include "kernels.h"

#include <stdio.h>

#define TILE_PIXELS 4  // neighbouring outputs that share each filter vector
#define UNROLL_TAPS 25 // filters up to this size are unrolled

// sum over taps of x * w for `tw` outputs in a row and one vector of channels.
static void tile(struct cg_fn *f, const struct cg_tap_conv *c, const struct cg_gather *g, int64_t tw, int lanes,
                 LLVMValueRef A, LLVMValueRef B, LLVMValueRef Y) {
    int vl = f->t->vl;
    int64_t cp = cg_ceil_div(c->yc, vl) * vl;
    bool unroll = c->R * c->S <= UNROLL_TAPS;
    LLVMValueRef acc[TILE_PIXELS];
    for (int64_t i = 0; i < tw; i++) acc[i] = cg_local(f, f->vf, LLVMConstNull(f->vf));
    struct cg_loop lr, ls;
    LLVMValueRef r = cg_i64(f, 0), s = cg_i64(f, 0);
    if (!unroll) {
        r = cg_loop_begin(f, &lr, cg_i64(f, 0), cg_i64(f, c->R), 1);
        s = cg_loop_begin(f, &ls, cg_i64(f, 0), cg_i64(f, c->S), 1);
    }
    for (int64_t tap = 0; tap < (unroll ? c->R * c->S : 1); tap++) {
        if (unroll) {
            r = cg_i64(f, tap / c->S);
            s = cg_i64(f, tap % c->S);
        }
        LLVMValueRef w =
            cg_load(f, f->vf, cg_gep(f, f->f32, B, cg_muli(f, cg_muladd(f, r, c->S, s), cg_i64(f, cp))), vl * 4);
        LLVMValueRef a = cg_muladd(f, r, c->dr * g->row, cg_muli(f, s, cg_i64(f, c->ds * g->px)));
        for (int64_t i = 0; i < tw; i++) {
            LLVMValueRef at = cg_gep(f, f->f32, A, cg_addi(f, a, cg_i64(f, i * g->ew * g->px)));
            LLVMValueRef x = cg_load_first(f, f->f32, vl, at, lanes);
            LLVMBuildStore(f->b, cg_fma(f, x, w, LLVMBuildLoad2(f->b, f->vf, acc[i], "")), acc[i]);
        }
    }
    if (!unroll) {
        cg_loop_end(f, &ls);
        cg_loop_end(f, &lr);
    }
    for (int64_t i = 0; i < tw; i++)
        cg_store_f32(f, c->y_narrow, LLVMBuildLoad2(f->b, f->vf, acc[i], ""),
                     cg_gep(f, cg_f32_in_memory(f, c->y_narrow), Y, cg_i64(f, i * c->osw * c->yc)), lanes);
}

static void vector_of_channels(struct cg_fn *f, const struct cg_tap_conv *c, const struct cg_gather *g, int lanes,
                               LLVMValueRef c0, LLVMValueRef A, LLVMValueRef B, LLVMValueRef Y, LLVMValueRef row) {
    struct cg_split w = cg_split_even(c->PW, TILE_PIXELS);
    int64_t at = 0, size[2] = {w.big, w.big - 1}, count[2] = {w.n_big, w.n_small};
    for (int k = 0; k < 2; k++) {
        if (!count[k]) continue;
        struct cg_loop l;
        LLVMValueRef j = cg_loop_begin(f, &l, cg_i64(f, 0), cg_i64(f, count[k]), 1);
        LLVMValueRef q = cg_muladd(f, j, size[k], cg_i64(f, at));
        LLVMValueRef a = cg_addi(f, cg_muladd(f, row, g->eh * g->row, cg_muli(f, q, cg_i64(f, g->ew * g->px))), c0);
        LLVMValueRef y =
            cg_addi(f, cg_muladd(f, row, c->osh * c->Q * c->yc, cg_muli(f, q, cg_i64(f, c->osw * c->yc))), c0);
        tile(f, c, g, size[k], lanes, cg_gep(f, f->f32, A, a), cg_gep(f, f->f32, B, c0),
             cg_gep(f, cg_f32_in_memory(f, c->y_narrow), Y, y));
        cg_loop_end(f, &l);
        at += size[k] * count[k];
    }
}

void cg_depthwise_band(struct cg_fn *f, const struct cg_tap_conv *c, const struct cg_gather *g, LLVMValueRef A,
                       LLVMValueRef B, LLVMValueRef Y, LLVMValueRef bh) {
    int vl = f->t->vl;
    int64_t whole = c->yc / vl * vl;
    struct cg_loop lr, lc;
    LLVMValueRef row = cg_loop_begin(f, &lr, cg_i64(f, 0), bh, 1);
    if (whole) {
        LLVMValueRef c0 = cg_loop_begin(f, &lc, cg_i64(f, 0), cg_i64(f, whole), vl);
        vector_of_channels(f, c, g, vl, c0, A, B, Y, row);
        cg_loop_end(f, &lc);
    }
    if (whole < c->yc) vector_of_channels(f, c, g, (int)(c->yc - whole), cg_i64(f, whole), A, B, Y, row);
    cg_loop_end(f, &lr);
}

// --- weight gradient ------------------------------------------------------------------------------------------------

struct dw_grad {
    const struct cg_tap_conv *c;
    struct cg_gather g;
    LLVMValueRef dy, x, sums; // dy: of the band; x: gathered; sums: of the part
    LLVMValueRef n_img, bh;
};

// Adds the band's pixels to the sums of one filter row [r][s0, s0+ns) of one vector of channels.
static void filter_part(struct cg_fn *f, const struct dw_grad *d, LLVMValueRef r, int64_t s0, int64_t ns, int lanes,
                        LLVMValueRef c0) {
    const struct cg_tap_conv *c = d->c;
    const struct cg_gather *g = &d->g;
    int vl = f->t->vl;
    int64_t cp = cg_ceil_div(c->yc, vl) * vl;
    LLVMValueRef acc[8], slot[8];
    for (int64_t k = 0; k < ns; k++) {
        LLVMValueRef at = cg_addi(f, cg_muli(f, cg_muladd(f, r, c->S, cg_i64(f, s0 + k)), cg_i64(f, cp)), c0);
        slot[k] = cg_gep(f, f->f32, d->sums, at);
        acc[k] = cg_local(f, f->vf, cg_load(f, f->vf, slot[k], vl * 4));
    }
    struct cg_loop li, lr, lq;
    LLVMValueRef i = cg_loop_begin(f, &li, cg_i64(f, 0), d->n_img, 1);
    LLVMValueRef row = cg_loop_begin(f, &lr, cg_i64(f, 0), d->bh, 1);
    LLVMValueRef xr =
        cg_muladd(f, i, g->plane, cg_muladd(f, row, g->eh * g->row, cg_muli(f, r, cg_i64(f, c->dr * g->row))));
    LLVMValueRef yr = cg_muladd(f, i, c->P * c->Q * c->yc, cg_muli(f, row, cg_i64(f, c->Q * c->yc)));
    LLVMTypeRef mem = cg_f32_in_memory(f, c->y_narrow);
    LLVMValueRef x = cg_gep(f, f->f32, d->x, cg_addi(f, xr, c0)), dy = cg_gep(f, mem, d->dy, cg_addi(f, yr, c0));
    LLVMValueRef q = cg_loop_begin(f, &lq, cg_i64(f, 0), cg_i64(f, c->Q), 1);
    LLVMValueRef v = cg_load_f32(f, c->y_narrow, vl, cg_gep(f, mem, dy, cg_muli(f, q, cg_i64(f, c->yc))), lanes);
    for (int64_t k = 0; k < ns; k++) {
        LLVMValueRef at = cg_muladd(f, q, g->ew * g->px, cg_i64(f, (s0 + k) * c->ds * g->px));
        LLVMValueRef xv = cg_load_first(f, f->f32, vl, cg_gep(f, f->f32, x, at), lanes);
        LLVMBuildStore(f->b, cg_fma(f, v, xv, LLVMBuildLoad2(f->b, f->vf, acc[k], "")), acc[k]);
    }
    cg_loop_end(f, &lq);
    cg_loop_end(f, &lr);
    cg_loop_end(f, &li);
    for (int64_t k = 0; k < ns; k++) cg_store(f, LLVMBuildLoad2(f->b, f->vf, acc[k], ""), slot[k], vl * 4);
}

static void filter(struct cg_fn *f, const struct dw_grad *d, int lanes, LLVMValueRef c0) {
    struct cg_loop l;
    LLVMValueRef r = cg_loop_begin(f, &l, cg_i64(f, 0), cg_i64(f, d->c->R), 1);
    for (int64_t s = 0; s < d->c->S; s += 8) filter_part(f, d, r, s, cg_min64(8, d->c->S - s), lanes, c0);
    cg_loop_end(f, &l);
}

int64_t cg_wgrad_dw_scratch(const struct cg_target *t, const struct cg_wgrad *w) {
    struct cg_gather g = cg_gather_plan(t, &w->c, w->c.xc, t->l2_bytes / 2);
    return cg_gather_bytes(&g);
}

// A work item is one part of the batch: its x is gathered once for all channels.
void cg_emit_wgrad_dw(struct cg_fn *f, const void *params) {
    const struct cg_wgrad *p = params;
    const struct cg_tap_conv *c = &p->c;
    int vl = f->t->vl;
    int64_t cp = cg_ceil_div(c->yc, vl) * vl, whole = c->yc / vl * vl;
    struct dw_grad d = {.c = c, .g = cg_gather_plan(f->t, c, c->xc, f->t->l2_bytes / 2)};
    LLVMValueRef begin, end;
    cg_share(f, cg_i64(f, p->parts), 1, &begin, &end);
    struct cg_loop lp, ln, lb, lc;
    LLVMValueRef part = cg_loop_begin(f, &lp, begin, end, 1);
    LLVMValueRef n0 = cg_divi(f, cg_muli(f, f->N, part), cg_i64(f, p->parts));
    LLVMValueRef n1 = cg_divi(f, cg_muli(f, f->N, cg_addi(f, part, cg_i64(f, 1))), cg_i64(f, p->parts));
    d.sums = cg_gep(f, f->f32, f->ptr[2], cg_muli(f, part, cg_i64(f, c->R * c->S * cp)));
    cg_zero_floats(f, d.sums, cg_i64(f, c->R * c->S * cp));
    LLVMValueRef n = cg_loop_begin(f, &ln, n0, n1, d.g.images);
    d.n_img = d.g.images == 1 ? cg_i64(f, 1) : cg_mini(f, cg_i64(f, d.g.images), cg_subi(f, n1, n));
    LLVMValueRef b = cg_loop_begin(f, &lb, cg_i64(f, 0), cg_i64(f, d.g.bands), 1);
    LLVMValueRef oh = cg_muli(f, b, cg_i64(f, d.g.bh));
    d.bh = d.g.bands == 1 ? cg_i64(f, c->PH) : cg_mini(f, cg_i64(f, d.g.bh), cg_subi(f, cg_i64(f, c->PH), oh));
    d.x = cg_gather_emit(f, c, &d.g, f->ptr[1], f->scratch, n, d.n_img, oh, d.bh);
    d.dy = cg_gep(f, cg_f32_in_memory(f, c->y_narrow), f->ptr[0],
                  cg_muli(f, cg_muladd(f, n, c->P, oh), cg_i64(f, c->Q * c->yc)));
    if (whole) {
        LLVMValueRef c0 = cg_loop_begin(f, &lc, cg_i64(f, 0), cg_i64(f, whole), vl);
        filter(f, &d, vl, c0);
        cg_loop_end(f, &lc);
    }
    if (whole < c->yc) filter(f, &d, (int)(c->yc - whole), cg_i64(f, whole));
    cg_loop_end(f, &lb);
    cg_loop_end(f, &ln);
    cg_loop_end(f, &lp);
}
