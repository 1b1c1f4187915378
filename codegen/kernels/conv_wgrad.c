// Weight gradient of a convolution: dw[k][c][r][s] = sum over pixels of dy[pixel][k] * x[pixel + tap][c].
//
// The batch is cut into a fixed number of parts. A work item is (part, group, block of k): it walks its part's images
// in groups/bands small enough for cache, gathers x with padding and packs its block of dy, and keeps mr x nr sums in
// registers over all of a band's pixels before adding them to the item's partial sums. cg_emit_unpack adds the parts in
// order, so neither the thread count nor the schedule shows in the result.
#include "kernels.h"

struct wgrad {
    const struct cg_tap_conv *c;
    struct cg_gather g;
    LLVMValueRef dy, x, sums;       // sums: of the part
    LLVMValueRef xs, dys;           // scratch of gathered x and packed dy
    LLVMValueRef n0, n1, group, kb; // images of the part
};

// Half of L2 holds x and dy of a band.
static struct cg_gather plan(const struct cg_target *t, const struct cg_tap_conv *c) {
    return cg_gather_plan(t, c, t->l2_bytes * 3 / 8);
}

int64_t cg_wgrad_scratch(const struct cg_target *t, const struct cg_wgrad *w) {
    struct cg_gather g = plan(t, &w->c);
    int64_t xs = g.in_place ? 0 : cg_ceil_div(g.images * g.plane * 4 + 256, 64) * 64;
    return xs + g.images * g.bh * w->c.PW * 2 * t->vl * 4;
}

// Packs k [k0, k0 + nr) of the band's pixels; missing lanes become 0.
static void pack_dy(struct cg_fn *f, const struct wgrad *w, LLVMValueRef n0, LLVMValueRef n_img, LLVMValueRef oh,
                    LLVMValueRef bh, int64_t nvec, int64_t last_lanes) {
    const struct cg_tap_conv *c = w->c;
    int vl = f->t->vl;
    struct cg_loop li, lq;
    LLVMValueRef i = cg_loop_begin(f, &li, cg_i64(f, 0), n_img, 1);
    LLVMValueRef line = cg_muladd(f, cg_addi(f, n0, i), c->P, oh);
    LLVMValueRef k0 = cg_muladd(f, w->group, c->K, cg_muli(f, w->kb, cg_i64(f, 2 * vl)));
    LLVMValueRef src = cg_gep(f, f->f32, w->dy, cg_muladd(f, line, c->Q * c->yc, k0));
    LLVMValueRef dst = cg_gep(f, f->f32, w->dys, cg_muli(f, i, cg_i64(f, w->g.bh * c->Q * nvec * vl)));
    LLVMValueRef q = cg_loop_begin(f, &lq, cg_i64(f, 0), cg_muli(f, bh, cg_i64(f, c->Q)), 1);
    for (int64_t v = 0; v < nvec; v++) {
        LLVMValueRef from = cg_gep(f, f->f32, src, cg_muladd(f, q, c->yc, cg_i64(f, v * vl)));
        LLVMValueRef to = cg_gep(f, f->f32, dst, cg_muladd(f, q, nvec * vl, cg_i64(f, v * vl)));
        cg_store(f, cg_load_first(f, f->f32, vl, from, v == nvec - 1 ? (int)last_lanes : vl), to, vl * 4);
    }
    cg_loop_end(f, &lq);
    cg_loop_end(f, &li);
}

// All rows of dw's block for one filter row (and, unless (s, c) is one run, one filter column).
static void filter_row(struct cg_fn *f, const struct wgrad *w, const struct cg_micro *proto, int64_t m, LLVMValueRef A,
                       LLVMValueRef C, LLVMValueRef n_img, LLVMValueRef bh) {
    struct cg_split tiles = cg_split_even(m, cg_micro_rows(f->t, proto->nvec));
    int64_t at = 0, size[2] = {tiles.big, tiles.big - 1}, count[2] = {tiles.n_big, tiles.n_small};
    (void)w;
    for (int k = 0; k < 2; k++) {
        if (!count[k]) continue;
        struct cg_micro mk = *proto;
        mk.th = 1;
        mk.tw = size[k];
        struct cg_loop l;
        LLVMValueRef j = cg_loop_begin(f, &l, cg_i64(f, 0), cg_i64(f, count[k]), 1);
        LLVMValueRef row = cg_muladd(f, j, size[k], cg_i64(f, at));
        cg_micro_call(f, &mk, cg_gep(f, f->f32, A, row), w->dys,
                      cg_gep(f, f->f32, C, cg_muli(f, row, cg_i64(f, mk.c_w))), NULL, bh, n_img);
        cg_loop_end(f, &l);
        at += size[k] * count[k];
    }
}

static void band(struct cg_fn *f, const struct wgrad *w, LLVMValueRef n0, LLVMValueRef n_img, LLVMValueRef oh,
                 LLVMValueRef bh, int64_t nvec, int64_t last_lanes, LLVMValueRef sums) {
    const struct cg_tap_conv *c = w->c;
    const struct cg_gather *g = &w->g;
    int64_t nr = nvec * f->t->vl;
    bool merged = c->groups == 1 && c->ds == 1;
    LLVMValueRef A = cg_gather_emit(f, c, g, w->x, w->xs, n0, n_img, oh, bh);
    A = cg_gep(f, f->f32, A, cg_muli(f, w->group, cg_i64(f, c->C)));
    pack_dy(f, w, n0, n_img, oh, bh, nvec, last_lanes);
    struct cg_micro proto = {
        .nvec = nvec,
        .last_lanes = f->t->vl,
        .a_w = 1,
        .c_w = nr,
        .a_k = g->ew * g->px,
        .b_k = nr,
        .inner = c->PW,
        .n1 = g->bands == 1 ? c->PH : -1,
        .a1 = g->eh * g->row,
        .b1 = c->PW * nr,
        .n2 = g->images == 1 ? 1 : -1,
        .a2 = g->plane,
        .b2 = g->bh * c->PW * nr,
        .accumulate = 1,
    };
    struct cg_loop lr, ls;
    LLVMValueRef r = cg_loop_begin(f, &lr, cg_i64(f, 0), cg_i64(f, c->R), 1);
    LLVMValueRef s = cg_i64(f, 0);
    if (!merged) s = cg_loop_begin(f, &ls, cg_i64(f, 0), cg_i64(f, c->S), 1);
    LLVMValueRef a = cg_muladd(f, r, c->dr * g->row, cg_muli(f, s, cg_i64(f, c->ds * g->px)));
    LLVMValueRef out = cg_muli(f, cg_muladd(f, r, c->S, s), cg_i64(f, c->C * nr));
    filter_row(f, w, &proto, merged ? c->S * c->C : c->C, cg_gep(f, f->f32, A, a), cg_gep(f, f->f32, sums, out), n_img,
               bh);
    if (!merged) cg_loop_end(f, &ls);
    cg_loop_end(f, &lr);
}

static void block(struct cg_fn *f, const struct wgrad *w, int64_t nvec, int64_t last_lanes) {
    const struct cg_tap_conv *c = w->c;
    int64_t vl = f->t->vl, rows = c->R * c->S * c->C;
    LLVMValueRef width = cg_muladd(f, w->group, cg_blocks_of(f->t, c->K).floats, cg_muli(f, w->kb, cg_i64(f, 2 * vl)));
    LLVMValueRef sums = cg_gep(f, f->f32, w->sums, cg_muli(f, width, cg_i64(f, rows)));
    cg_zero_floats(f, sums, cg_i64(f, rows * nvec * vl));
    struct cg_loop ln, lb;
    LLVMValueRef n = cg_loop_begin(f, &ln, w->n0, w->n1, w->g.images);
    LLVMValueRef n_img = w->g.images == 1 ? cg_i64(f, 1) : cg_mini(f, cg_i64(f, w->g.images), cg_subi(f, w->n1, n));
    LLVMValueRef b = cg_loop_begin(f, &lb, cg_i64(f, 0), cg_i64(f, w->g.bands), 1);
    LLVMValueRef oh = cg_muli(f, b, cg_i64(f, w->g.bh));
    LLVMValueRef bh =
        w->g.bands == 1 ? cg_i64(f, c->PH) : cg_mini(f, cg_i64(f, w->g.bh), cg_subi(f, cg_i64(f, c->PH), oh));
    band(f, w, n, n_img, oh, bh, nvec, last_lanes, sums);
    cg_loop_end(f, &lb);
    cg_loop_end(f, &ln);
}

void cg_emit_wgrad(struct cg_fn *f, const void *params) {
    const struct cg_wgrad *p = params;
    const struct cg_tap_conv *c = &p->c;
    struct cg_blocks kbs = cg_blocks_of(f->t, c->K);
    struct wgrad w = {.c = c, .g = plan(f->t, c), .dy = f->ptr[0], .x = f->ptr[1], .xs = f->scratch};
    int64_t xs = w.g.in_place ? 0 : cg_ceil_div(w.g.images * w.g.plane * 4 + 256, 64) * 64;
    w.dys = cg_gep(f, f->f32, f->scratch, cg_i64(f, xs / 4));
    LLVMValueRef begin, end;
    cg_share(f, cg_i64(f, p->parts * c->groups * kbs.n), 1, &begin, &end);
    struct cg_loop l;
    LLVMValueRef item = cg_loop_begin(f, &l, begin, end, 1);
    w.kb = cg_remi(f, item, cg_i64(f, kbs.n));
    LLVMValueRef rest = cg_divi(f, item, cg_i64(f, kbs.n)), part = cg_divi(f, rest, cg_i64(f, c->groups));
    w.group = cg_remi(f, rest, cg_i64(f, c->groups));
    w.n0 = cg_divi(f, cg_muli(f, f->N, part), cg_i64(f, p->parts));
    w.n1 = cg_divi(f, cg_muli(f, f->N, cg_addi(f, part, cg_i64(f, 1))), cg_i64(f, p->parts));
    w.sums = cg_gep(f, f->f32, f->ptr[2], cg_muli(f, part, cg_i64(f, c->groups * kbs.floats * c->R * c->S * c->C)));
    if (kbs.full && kbs.tail_vec) {
        struct cg_if tail;
        cg_if_begin(f, &tail, LLVMBuildICmp(f->b, LLVMIntSLT, w.kb, cg_i64(f, kbs.full), ""));
        block(f, &w, 2, f->t->vl);
        cg_if_else(f, &tail);
        block(f, &w, kbs.tail_vec, kbs.tail_lanes);
        cg_if_end(f, &tail);
    } else if (kbs.full) {
        block(f, &w, 2, f->t->vl);
    } else {
        block(f, &w, kbs.tail_vec, kbs.tail_lanes);
    }
    cg_loop_end(f, &l);
}
