// Direct convolution over channels-last activations, forward and by data.
//
// A work item is a group of images times a band of output rows. Its input is gathered once into the thread's scratch
// with the zero padding written out (1x1 convolutions read in place), so that the inner loops know no borders: they run
// over S*C contiguous floats per filter row. Blocks of output channels go outermost inside the item, so a block's
// packed weights stay in cache over all of the item's pixels. Each output is computed whole by one thread in one order.
#include "kernels.h"

enum { LANES = 16 };    // of pairs of bfloat16: AVX512_BF16
#define BAND_PIXELS 400 // outputs an item aims at: enough to reuse a weight block, few enough to stay in L2

static int64_t gathered_rows(const struct cg_tap_conv *c, int64_t eh, int64_t bh) {
    return (bh - 1) * eh + (c->R - 1) * c->dr + 1;
}

// Neighbouring pixels of the input meet in the same few sets of the first-level cache: 4 KiB apart, or 2.
static bool pixels_collide(int64_t px) { return px * 4 % 2048 == 0; }

// Bands and groups of images whose gathered rows, of `row` floats, take at most `bytes`.
static void cut_into_bands(struct cg_gather *g, const struct cg_tap_conv *c, int64_t row, int64_t bytes) {
    int64_t bh = cg_min64(cg_max64(1, cg_ceil_div(BAND_PIXELS, c->PW)), c->PH);
    while (bh > 1 && gathered_rows(c, g->eh, bh) * row * 4 > bytes) bh--;
    g->bands = cg_ceil_div(c->PH, bh);
    g->bh = cg_ceil_div(c->PH, g->bands);
    g->bands = cg_ceil_div(c->PH, g->bh);
    g->images = 1;
    if (g->bands > 1) return;
    g->images = cg_max64(1, BAND_PIXELS / (c->PH * c->PW));
    while (g->images > 1 && g->images * gathered_rows(c, g->eh, g->bh) * row * 4 > bytes) g->images--;
}

struct cg_gather cg_gather_plan(const struct cg_target *t, const struct cg_tap_conv *c, int64_t channels,
                                int64_t bytes) {
    (void)t;
    struct cg_gather g = {.channels = channels};
    // A filter one row (column) high touches only every ish-th input row: gather just those.
    g.step_h = c->R == 1 ? c->ish : 1;
    g.step_w = c->S == 1 ? c->isw : 1;
    g.eh = c->R == 1 ? 1 : c->ish;
    g.ew = c->S == 1 ? 1 : c->isw;
    int64_t last_h = (c->PH - 1) * c->ish + c->dh0 + (c->R - 1) * c->dr;
    int64_t last_w = (c->PW - 1) * c->isw + c->dw0 + (c->S - 1) * c->ds;
    g.in_place = g.step_h == 1 && g.step_w == 1 && c->dh0 >= 0 && c->dw0 >= 0 && last_h < c->H && last_w < c->W &&
                 !pixels_collide(c->xc * g.ew) && !c->x_narrow;
    g.gw = (c->PW - 1) * g.ew + (c->S - 1) * c->ds + 1;
    g.px = g.in_place ? c->xc : channels;
    if (!g.in_place && pixels_collide(channels * g.ew)) g.px += 16;
    g.row = (g.in_place ? c->W : g.gw) * g.px;
    cut_into_bands(&g, c, g.gw * channels, bytes);
    g.plane = g.in_place ? c->H * c->W * c->xc : gathered_rows(c, g.eh, g.bh) * g.row;
    return g;
}

struct cg_gather cg_gather_pairs_plan(const struct cg_tap_conv *c, int64_t channels, int64_t bytes) {
    struct cg_gather g = {.pairs = 1, .channels = channels, .gw = cg_ceil_div(c->PW, 2)};
    g.step_h = c->R == 1 ? c->ish : 1;
    g.eh = c->R == 1 ? 1 : c->ish;
    g.px = cg_ceil_div(channels, LANES) * LANES;
    if (pixels_collide(g.px)) g.px += LANES;
    g.row = c->S * g.gw * g.px;
    cut_into_bands(&g, c, g.row, bytes);
    g.plane = gathered_rows(c, g.eh, g.bh) * g.row;
    return g;
}

// Vector loads may run past the last channel.
int64_t cg_gather_bytes(const struct cg_gather *g) {
    return g->in_place ? 0 : cg_ceil_div(g->images * g->plane * 4 + 256, 64) * 64;
}

// One gathered row: `src` is column 0 of the input row.
static void gather_row(struct cg_fn *f, const struct cg_tap_conv *c, const struct cg_gather *g, LLVMValueRef dst,
                       LLVMValueRef src) {
    int64_t j0 = c->dw0 < 0 ? cg_ceil_div(-c->dw0, g->step_w) : 0;
    int64_t j1 = c->dw0 > c->W - 1 ? 0 : cg_min64(g->gw, (c->W - 1 - c->dw0) / g->step_w + 1);
    j0 = cg_min64(j0, g->gw);
    j1 = cg_max64(j0, j1);
    if (j0) cg_zero_floats(f, dst, cg_i64(f, j0 * g->px));
    LLVMTypeRef mem = cg_f32_in_memory(f, c->x_narrow);
    LLVMValueRef from = cg_gep(f, mem, src, cg_i64(f, (c->dw0 + j0 * g->step_w) * c->xc));
    LLVMValueRef to = cg_gep(f, f->f32, dst, cg_i64(f, j0 * g->px));
    if (j1 > j0 && g->step_w == 1 && g->px == c->xc) {
        cg_copy_f32(f, to, c->x_narrow, from, cg_i64(f, (j1 - j0) * c->xc));
    } else if (j1 > j0) {
        struct cg_loop l;
        LLVMValueRef j = cg_loop_begin(f, &l, cg_i64(f, 0), cg_i64(f, j1 - j0), 1);
        cg_copy_f32(f, cg_gep(f, f->f32, to, cg_muli(f, j, cg_i64(f, g->px))), c->x_narrow,
                    cg_gep(f, mem, from, cg_muli(f, j, cg_i64(f, g->step_w * c->xc))), cg_i64(f, g->channels));
        cg_loop_end(f, &l);
    }
    if (j1 < g->gw) cg_zero_floats(f, cg_gep(f, f->f32, dst, cg_i64(f, j1 * g->px)), cg_i64(f, (g->gw - j1) * g->px));
}

LLVMValueRef cg_pair_up(struct cg_fn *f, LLVMValueRef even, LLVMValueRef odd) {
    int lanes = (int)LLVMGetVectorSize(LLVMTypeOf(even));
    LLVMTypeRef wide = cg_vec_type(f, f->i32, lanes);
    LLVMValueRef high = LLVMBuildZExt(f->b, odd, wide, "");
    high = LLVMBuildShl(f->b, high, cg_splat(f, cg_i32(f, 16), lanes), "");
    return LLVMBuildOr(f->b, LLVMBuildZExt(f->b, even, wide, ""), high, "");
}

// All channels of a pair of pixels; what lies outside is 0, whatever the clamped address holds.
static void gather_pair(struct cg_fn *f, const struct cg_gather *g, LLVMValueRef dst, const LLVMValueRef *px,
                        const LLVMValueRef *inside) {
    int64_t whole = g->channels / LANES * LANES;
    for (int part = 0; part < 2; part++) {
        int lanes = part ? (int)(g->channels - whole) : LANES;
        if (part ? !lanes : !whole) continue;
        struct cg_loop l;
        LLVMValueRef c = cg_loop_begin(f, &l, cg_i64(f, part ? whole : 0), cg_i64(f, part ? whole + 1 : whole), LANES);
        LLVMValueRef v[2];
        for (int i = 0; i < 2; i++) {
            v[i] = cg_load_first(f, f->i16, LANES, cg_gep(f, f->i16, px[i], c), lanes);
            v[i] = LLVMBuildSelect(f->b, inside[i], v[i], LLVMConstNull(LLVMTypeOf(v[i])), "");
        }
        cg_store(f, cg_pair_up(f, v[0], v[1]), cg_gep(f, f->i32, dst, c), LANES * 4);
        cg_loop_end(f, &l);
    }
}

// The same by pairs of outputs, for each filter column.
static void gather_row_pairs(struct cg_fn *f, const struct cg_tap_conv *c, const struct cg_gather *g, LLVMValueRef dst,
                             LLVMValueRef src) {
    struct cg_loop ls, lj;
    LLVMValueRef s = cg_loop_begin(f, &ls, cg_i64(f, 0), cg_i64(f, c->S), 1);
    LLVMValueRef j = cg_loop_begin(f, &lj, cg_i64(f, 0), cg_i64(f, g->gw), 1);
    LLVMValueRef px[2], inside[2];
    for (int k = 0; k < 2; k++) {
        LLVMValueRef q = cg_muladd(f, j, 2, cg_i64(f, k));
        LLVMValueRef w = cg_addi(f, cg_muladd(f, q, c->isw, cg_muli(f, s, cg_i64(f, c->ds))), cg_i64(f, c->dw0));
        LLVMValueRef near = cg_maxi(f, cg_i64(f, 0), cg_mini(f, w, cg_i64(f, c->W - 1)));
        inside[k] = LLVMBuildAnd(f->b, LLVMBuildICmp(f->b, LLVMIntULT, w, cg_i64(f, c->W), ""),
                                 LLVMBuildICmp(f->b, LLVMIntULT, q, cg_i64(f, c->PW), ""), "");
        px[k] = cg_gep(f, f->i16, src, cg_muli(f, near, cg_i64(f, c->xc)));
    }
    gather_pair(f, g, cg_gep(f, f->i32, dst, cg_muli(f, cg_muladd(f, s, g->gw, j), cg_i64(f, g->px))), px, inside);
    cg_loop_end(f, &lj);
    cg_loop_end(f, &ls);
}

LLVMValueRef cg_gather_emit(struct cg_fn *f, const struct cg_tap_conv *c, const struct cg_gather *g, LLVMValueRef x,
                            LLVMValueRef scratch, LLVMValueRef n0, LLVMValueRef n_img, LLVMValueRef oh,
                            LLVMValueRef bh) {
    LLVMValueRef h0 = cg_muladd(f, oh, c->ish, cg_i64(f, c->dh0));
    if (g->in_place) {
        LLVMValueRef at = cg_muladd(f, cg_muladd(f, n0, c->H, h0), c->W * c->xc, cg_i64(f, c->dw0 * c->xc));
        return cg_gep(f, f->f32, x, at);
    }
    LLVMValueRef rows = cg_muladd(f, cg_subi(f, bh, cg_i64(f, 1)), g->eh, cg_i64(f, (c->R - 1) * c->dr + 1));
    struct cg_loop li, lr;
    LLVMValueRef i = cg_loop_begin(f, &li, cg_i64(f, 0), n_img, 1);
    LLVMValueRef r = cg_loop_begin(f, &lr, cg_i64(f, 0), rows, 1);
    LLVMValueRef dst = cg_gep(f, f->f32, scratch, cg_muladd(f, i, g->plane, cg_muli(f, r, cg_i64(f, g->row))));
    LLVMValueRef h = cg_muladd(f, r, g->step_h, h0);
    struct cg_if in;
    cg_if_begin(f, &in, LLVMBuildICmp(f->b, LLVMIntULT, h, cg_i64(f, c->H), ""));
    LLVMValueRef line = cg_muladd(f, cg_addi(f, n0, i), c->H, h);
    (g->pairs ? gather_row_pairs : gather_row)(
        f, c, g, dst, cg_gep(f, cg_f32_in_memory(f, c->x_narrow), x, cg_muli(f, line, cg_i64(f, c->W * c->xc))));
    cg_if_else(f, &in);
    cg_zero_floats(f, dst, cg_i64(f, g->row));
    cg_if_end(f, &in);
    cg_loop_end(f, &lr);
    cg_loop_end(f, &li);
    return scratch;
}

// --- tiles ---------------------------------------------------------------------------------------------------------

struct tiles {
    const struct cg_tap_conv *c;
    const struct cg_gather *g;
    struct cg_micro m;
    LLVMValueRef A, B, Y; // of the band
};

static void one_tile(struct cg_fn *f, struct tiles *t, int64_t th, int64_t tw, LLVMValueRef row, LLVMValueRef col) {
    const struct cg_tap_conv *c = t->c;
    struct cg_micro m = t->m;
    m.th = th;
    m.tw = tw;
    LLVMValueRef a = cg_muladd(f, row, t->g->eh * t->g->row, cg_muli(f, col, cg_i64(f, t->g->ew * t->g->px)));
    LLVMValueRef y = cg_muladd(f, row, c->osh * c->Q * c->yc, cg_muli(f, col, cg_i64(f, c->osw * c->yc)));
    // Read from memory where it lies, tile after tile: the hardware does not see the pattern in as many rows at once.
    if (t->g->in_place && m.a_w == c->C && th * tw > 1 && m.n1 == 1 && m.n2 == 1) m.ahead = th * tw * t->g->px;
    LLVMValueRef Y = cg_gep(f, cg_f32_in_memory(f, c->y_narrow), t->Y, y);
    cg_micro_call(f, &m, cg_gep(f, f->f32, t->A, a), t->B, Y, NULL, NULL, NULL, NULL);
}

// Tiles of th rows over the width of the plane.
static void row_of_tiles(struct cg_fn *f, struct tiles *t, int64_t th, LLVMValueRef row) {
    struct cg_split w = cg_split_even(t->c->PW, cg_micro_rows_of(f->t, &t->m) / th);
    int64_t at = 0, size[2] = {w.big, w.big - 1}, count[2] = {w.n_big, w.n_small};
    for (int k = 0; k < 2; k++) {
        if (count[k] == 1) one_tile(f, t, th, size[k], row, cg_i64(f, at));
        if (count[k] > 1) {
            struct cg_loop l;
            LLVMValueRef j = cg_loop_begin(f, &l, cg_i64(f, 0), cg_i64(f, count[k]), 1);
            one_tile(f, t, th, size[k], row, cg_muladd(f, j, size[k], cg_i64(f, at)));
            cg_loop_end(f, &l);
        }
        at += size[k] * count[k];
    }
}

static void rows_of_tiles(struct cg_fn *f, struct tiles *t, int64_t th, LLVMValueRef begin, LLVMValueRef end) {
    struct cg_loop l;
    LLVMValueRef row = cg_loop_begin(f, &l, begin, end, th);
    row_of_tiles(f, t, th, row);
    cg_loop_end(f, &l);
}

static void band_tiles(struct cg_fn *f, struct tiles *t, LLVMValueRef bh) {
    int64_t most = cg_micro_rows_of(f->t, &t->m), th = cg_max64(1, cg_min64(most / t->c->PW, t->g->bh));
    if (cg_micro_uses_tiles(f->t, &t->m)) th = 1;
    if (th == 1) {
        rows_of_tiles(f, t, 1, cg_i64(f, 0), bh);
    } else if (t->g->bands == 1) {
        struct cg_split h = cg_split_even(t->c->PH, th);
        int64_t mid = h.big * h.n_big;
        rows_of_tiles(f, t, h.big, cg_i64(f, 0), cg_i64(f, mid));
        if (h.n_small) rows_of_tiles(f, t, h.big - 1, cg_i64(f, mid), cg_i64(f, t->c->PH));
    } else {
        LLVMValueRef whole = cg_muli(f, cg_divi(f, bh, cg_i64(f, th)), cg_i64(f, th));
        rows_of_tiles(f, t, th, cg_i64(f, 0), whole);
        rows_of_tiles(f, t, 1, whole, bh);
    }
}

// --- the kernel ------------------------------------------------------------------------------------------------------

struct item {
    LLVMValueRef n0, n_img, oh, bh; // images and band
    LLVMValueRef A, w, y;           // gathered input; packed weights; output of image n0, first row of the band
};

static struct cg_micro micro_of(const struct cg_tap_conv *c, const struct cg_gather *g, int64_t nr) {
    bool merged = c->groups == 1 && c->ds == 1 && g->px == c->C; // then (s, c) is one run of floats
    struct cg_micro m = {
        .a_h = g->eh * g->row,
        .a_w = g->ew * g->px,
        .c_h = c->osh * c->Q * c->yc,
        .c_w = c->osw * c->yc,
        .a_k = 1,
        .b_k = nr,
        .inner = merged ? c->S * c->C : c->C,
        .n1 = merged ? 1 : c->S,
        .a1 = c->ds * g->px,
        .b1 = c->C * nr,
        .n2 = c->R,
        .a2 = c->dr * g->row,
        .b2 = c->S * c->C * nr,
        .pairs = c->pairs,
        .c_narrow = c->y_narrow,
        .fetch_c = 1,
    };
    // A long run of (s, c) is cut into equal pieces, so that the micro-kernel can add up piece by piece.
    for (int64_t pieces = 2; merged && m.inner > 640 && pieces <= 64; pieces++)
        if (c->S * c->C % (pieces * 4) == 0 && c->S * c->C / pieces <= 512) {
            m.inner = c->S * c->C / pieces;
            m.n1 = pieces;
            m.a1 = m.inner;
            m.b1 = m.inner * nr;
            break;
        }
    return m;
}

// All images of the item against one block of output channels.
static void block(struct cg_fn *f, const struct cg_tap_conv *c, const struct cg_gather *g, const struct item *it,
                  int64_t nvec, int64_t last_lanes, LLVMValueRef group, LLVMValueRef kb) {
    int64_t nr = nvec * f->t->vl, full_nr = 2 * f->t->vl;
    struct cg_blocks kbs = cg_blocks_of(f->t, c->K);
    struct tiles t = {.c = c, .g = g, .m = micro_of(c, g, nr)};
    t.m.nvec = nvec;
    t.m.last_lanes = last_lanes;
    LLVMValueRef w = cg_muladd(f, group, kbs.floats, cg_muli(f, kb, cg_i64(f, full_nr)));
    t.B = cg_gep(f, f->f32, it->w, cg_muli(f, w, cg_i64(f, c->R * c->S * c->C)));
    LLVMValueRef k0 = cg_muladd(f, group, c->K, cg_muli(f, kb, cg_i64(f, full_nr)));
    struct cg_loop l;
    LLVMValueRef i = cg_loop_begin(f, &l, cg_i64(f, 0), it->n_img, 1);
    t.A = cg_gep(f, f->f32, it->A, cg_muladd(f, i, g->plane, cg_muli(f, group, cg_i64(f, c->C))));
    t.Y = cg_gep(f, cg_f32_in_memory(f, c->y_narrow), it->y, cg_muladd(f, i, c->P * c->Q * c->yc, k0));
    band_tiles(f, &t, it->bh);
    cg_loop_end(f, &l);
}

// Blocks [k0, k1) of one group.
static void blocks(struct cg_fn *f, const struct cg_tap_conv *c, const struct cg_gather *g, const struct item *it,
                   LLVMValueRef group, LLVMValueRef k0, LLVMValueRef k1) {
    struct cg_blocks kbs = cg_blocks_of(f->t, c->K);
    if (kbs.full) {
        struct cg_loop l;
        LLVMValueRef kb = cg_loop_begin(f, &l, k0, cg_mini(f, k1, cg_i64(f, kbs.full)), 1);
        block(f, c, g, it, 2, f->t->vl, group, kb);
        cg_loop_end(f, &l);
    }
    if (kbs.tail_vec) {
        struct cg_if last;
        cg_if_begin(f, &last, LLVMBuildICmp(f->b, LLVMIntSGT, k1, cg_i64(f, kbs.full), ""));
        block(f, c, g, it, kbs.tail_vec, kbs.tail_lanes, group, cg_i64(f, kbs.full));
        cg_if_end(f, &last);
    }
}

// A phase no filter tap reaches: its outputs are zero.
static void zero_band(struct cg_fn *f, const struct cg_tap_conv *c, const struct item *it) {
    struct cg_loop li, lr, lc;
    LLVMValueRef i = cg_loop_begin(f, &li, cg_i64(f, 0), it->n_img, 1);
    LLVMValueRef r = cg_loop_begin(f, &lr, cg_i64(f, 0), it->bh, 1);
    LLVMValueRef q = cg_loop_begin(f, &lc, cg_i64(f, 0), cg_i64(f, c->PW), 1);
    LLVMValueRef at = cg_muladd(f, i, c->P * c->Q * c->yc,
                                cg_muladd(f, r, c->osh * c->Q * c->yc, cg_muli(f, q, cg_i64(f, c->osw * c->yc))));
    cg_zero_f32(f, c->y_narrow, cg_gep(f, cg_f32_in_memory(f, c->y_narrow), it->y, at), cg_i64(f, c->yc));
    cg_loop_end(f, &lc);
    cg_loop_end(f, &lr);
    cg_loop_end(f, &li);
}

void cg_emit_tap_conv(struct cg_fn *f, const void *params) {
    const struct cg_tap_conv *c = params;
    bool zero = c->R == 0 || c->S == 0;
    struct cg_tap_conv probe = *c;
    if (zero) probe.R = probe.S = 1;
    struct cg_gather g = cg_gather_plan(f->t, &probe, c->xc, f->t->l2_bytes / 2);
    int64_t n_kb = cg_blocks_of(f->t, c->K).n, split = zero ? 1 : c->groups > 1 ? c->groups : n_kb;
    // Images are dealt out evenly: as many groups as needed, in a multiple of the threads where there are images for
    // it.
    LLVMValueRef groups = cg_divi(f, cg_addi(f, f->N, cg_i64(f, g.images - 1)), cg_i64(f, g.images));
    LLVMValueRef whole = cg_addi(f, groups, cg_subi(f, f->threads, cg_i64(f, 1)));
    groups = cg_mini(f, cg_muli(f, cg_divi(f, whole, f->threads), f->threads), f->N);
    LLVMValueRef items = cg_muli(f, groups, cg_i64(f, g.bands)), ks = cg_i64(f, 1);
    if (split > 1) {
        // Few items (inference): share the output channels out, too.
        LLVMValueRef many = cg_muli(f, f->threads, cg_i64(f, 4));
        ks = cg_divi(f, cg_addi(f, many, cg_subi(f, items, cg_i64(f, 1))), items);
        LLVMValueRef enough = LLVMBuildICmp(f->b, LLVMIntSGE, items, many, "");
        ks = LLVMBuildSelect(f->b, enough, cg_i64(f, 1), cg_mini(f, ks, cg_i64(f, split)), "");
        items = cg_muli(f, items, ks);
    }
    LLVMValueRef begin, end;
    cg_share(f, items, 1, &begin, &end);
    struct cg_loop l;
    LLVMValueRef gathered = cg_local(f, f->i64, cg_i64(f, -1)); // what lies in scratch
    LLVMValueRef item = cg_loop_begin(f, &l, begin, end, 1), part = cg_remi(f, item, ks), rest = cg_divi(f, item, ks);
    LLVMValueRef band = cg_remi(f, rest, cg_i64(f, g.bands)), group = cg_divi(f, rest, cg_i64(f, g.bands));
    struct item it;
    it.n0 = cg_divi(f, cg_muli(f, f->N, group), groups);
    LLVMValueRef n1 = cg_divi(f, cg_muli(f, f->N, cg_addi(f, group, cg_i64(f, 1))), groups);
    it.n_img = g.images == 1 ? cg_i64(f, 1) : cg_subi(f, n1, it.n0);
    it.oh = cg_muli(f, band, cg_i64(f, g.bh));
    it.bh = g.bands == 1 ? cg_i64(f, c->PH) : cg_mini(f, cg_i64(f, g.bh), cg_subi(f, cg_i64(f, c->PH), it.oh));
    it.w = f->ptr[1];
    LLVMValueRef y = cg_muladd(f, it.n0, c->P, cg_muladd(f, it.oh, c->osh, cg_i64(f, c->oh0)));
    it.y = cg_gep(f, cg_f32_in_memory(f, c->y_narrow), f->ptr[2],
                  cg_muladd(f, y, c->Q * c->yc, cg_i64(f, c->ow0 * c->yc)));
    if (zero) {
        zero_band(f, c, &it);
    } else {
        if (g.in_place) {
            it.A = cg_gather_emit(f, c, &g, f->ptr[0], f->scratch, it.n0, it.n_img, it.oh, it.bh);
        } else {
            struct cg_if fresh;
            LLVMValueRef old = LLVMBuildLoad2(f->b, f->i64, gathered, "");
            cg_if_begin(f, &fresh, LLVMBuildICmp(f->b, LLVMIntNE, old, rest, ""));
            cg_gather_emit(f, c, &g, f->ptr[0], f->scratch, it.n0, it.n_img, it.oh, it.bh);
            LLVMBuildStore(f->b, rest, gathered);
            cg_if_end(f, &fresh);
            it.A = f->scratch;
        }
        LLVMValueRef u0 = cg_divi(f, cg_muli(f, part, cg_i64(f, split)), ks);
        LLVMValueRef u1 = cg_divi(f, cg_muli(f, cg_addi(f, part, cg_i64(f, 1)), cg_i64(f, split)), ks);
        if (c->groups == 1) {
            blocks(f, c, &g, &it, cg_i64(f, 0), u0, u1);
        } else {
            struct cg_loop lg;
            LLVMValueRef gr = cg_loop_begin(f, &lg, u0, u1, 1);
            blocks(f, c, &g, &it, gr, cg_i64(f, 0), cg_i64(f, n_kb));
            cg_loop_end(f, &lg);
        }
    }
    cg_loop_end(f, &l);
}

int64_t cg_tap_conv_scratch(const struct cg_target *t, const struct cg_tap_conv *c) {
    if (c->R == 0 || c->S == 0) return 0;
    struct cg_gather g = cg_gather_plan(t, c, c->xc, t->l2_bytes / 2);
    return cg_gather_bytes(&g);
}
