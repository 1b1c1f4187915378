// Weight gradient of a convolution: dw[k][c][r][s] = sum over pixels of dy[pixel][k] * x[pixel + tap][c].
//
// The batch is cut into a fixed number of parts. A work item is (part, group, chunk of c, chunk of k): it walks its
// part's images in groups/bands small enough for cache, gathers its chunk of x with padding, packs its chunk of dy, and
// keeps mr x nr sums in registers over all of a band's pixels before adding them to the item's partial sums.
// cg_emit_unpack adds the parts in order, so neither the thread count nor the schedule shows in the result.
#include "kernels.h"

// Channels of an item on either side, where there are many: gathering a pixel costs as much as CHUNK, multiplying it
// CHUNK^2.
static int64_t chunk_of(const struct cg_target *t) { return t->l2_bytes >= 1 << 20 ? 256 : 128; }

enum {
    AHEAD = 16,               // pixels fetched ahead where x is read in place
    ITEMS = 16,               // enough for as many threads
    LEAST_BLOCKS = 2,         // of a chunk of k: x is read again for each chunk
    SMALL_PLANE = 128 * 1024, // bytes of one image
};

// How a weight gradient is cut up.
struct cut {
    int64_t cc, n_cc;     // channels of a chunk of c (the last may be smaller); chunks
    int64_t blocks, n_kc; // blocks of a chunk of k; chunks
    bool merged;          // (s, c) is one run of rows
    struct cg_gather g;
};

static struct cut cut_of(const struct cg_target *t, const struct cg_tap_conv *c) {
    struct cut u = {.cc = c->C, .n_cc = 1};
    if (c->groups == 1 && c->R * c->S * c->C > 512 && c->C > chunk_of(t)) {
        u.n_cc = cg_ceil_div(c->C, chunk_of(t));
        u.cc = cg_ceil_div(cg_ceil_div(c->C, u.n_cc), 16) * 16;
        u.n_cc = cg_ceil_div(c->C, u.cc);
    }
    int64_t nr = 2 * t->vl, n_kb = cg_blocks_of(t, c->K).n, block_bytes = c->R * c->S * u.cc * nr * 4;
    u.blocks = cg_max64(1, cg_min64(t->l2_bytes * 5 / 16 / block_bytes, chunk_of(t) / nr));
    u.n_kc = cg_ceil_div(n_kb, u.blocks);
    u.blocks = cg_ceil_div(n_kb, u.n_kc);
    u.n_kc = cg_ceil_div(n_kb, u.blocks);
    u.g = c->pairs ? cg_gather_pairs_plan(c, u.cc, t->l2_bytes / 4) : cg_gather_plan(t, c, u.cc, t->l2_bytes / 4);
    // Small planes are read in place from cache: rather chunks of k than parts of the batch, each with sums of its own.
    int64_t wanted = cg_min64(cg_ceil_div(ITEMS, c->groups * u.n_cc), n_kb / LEAST_BLOCKS);
    if (u.g.in_place && c->H * c->W * c->xc * 4 <= SMALL_PLANE && wanted > u.n_kc) {
        u.blocks = cg_ceil_div(n_kb, wanted);
        u.n_kc = cg_ceil_div(n_kb, u.blocks);
    }
    u.merged = !c->pairs && c->ds == 1 && u.n_cc == 1 && u.g.px == c->C;
    return u;
}

int64_t cg_wgrad_items(const struct cg_target *t, const struct cg_tap_conv *c) {
    struct cut u = cut_of(t, c);
    return c->groups * u.n_cc * u.n_kc;
}

struct wgrad {
    const struct cg_tap_conv *c;
    struct cut cut;
    int64_t channels;           // of this chunk of c
    LLVMValueRef dy, x, sums;   // sums: of the part
    LLVMValueRef xs, dys;       // scratch of gathered x and packed dy
    LLVMValueRef n0, n1, group; // images of the part
    LLVMValueRef c0, kb0, kb1;  // first channel and the blocks of the chunks
};

// Steps of the inner product along a row of outputs.
static int64_t steps_of_row(const struct cg_tap_conv *c) { return c->pairs ? cg_ceil_div(c->PW, 2) : c->PW; }

static int64_t dy_floats(const struct cg_target *t, const struct wgrad *w) { // of one block
    return w->cut.g.images * w->cut.g.bh * steps_of_row(w->c) * 2 * t->vl;
}

int64_t cg_wgrad_scratch(const struct cg_target *t, const struct cg_wgrad *p) {
    struct wgrad w = {.c = &p->c, .cut = cut_of(t, &p->c)};
    return cg_gather_bytes(&w.cut.g) + w.cut.blocks * dy_floats(t, &w) * 4;
}

struct band { // images, rows and the gathered input of one band
    LLVMValueRef n0, n_img, oh, bh, A;
};

// dy of block kb at the band's first pixel.
static LLVMValueRef dy_block(struct cg_fn *f, const struct wgrad *w, const struct band *b, LLVMValueRef kb) {
    const struct cg_tap_conv *c = w->c;
    LLVMValueRef line = cg_muladd(f, b->n0, c->P, b->oh);
    LLVMValueRef k0 = cg_muladd(f, w->group, c->K, cg_muli(f, kb, cg_i64(f, 2 * f->t->vl)));
    return cg_gep(f, cg_f32_in_memory(f, c->y_narrow), w->dy, cg_muladd(f, line, c->Q * c->yc, k0));
}

// Packs block kb of the band's pixels; missing lanes become 0.
static void pack_dy(struct cg_fn *f, const struct wgrad *w, const struct band *b, LLVMValueRef kb, LLVMValueRef dys,
                    int64_t nvec, int64_t last_lanes) {
    const struct cg_tap_conv *c = w->c;
    int vl = f->t->vl;
    struct cg_loop li, lq;
    LLVMValueRef i = cg_loop_begin(f, &li, cg_i64(f, 0), b->n_img, 1);
    LLVMTypeRef mem = cg_f32_in_memory(f, c->y_narrow);
    LLVMValueRef src = cg_gep(f, mem, dy_block(f, w, b, kb), cg_muli(f, i, cg_i64(f, c->P * c->Q * c->yc)));
    LLVMValueRef dst = cg_gep(f, f->f32, dys, cg_muli(f, i, cg_i64(f, w->cut.g.bh * c->Q * nvec * vl)));
    LLVMValueRef q = cg_loop_begin(f, &lq, cg_i64(f, 0), cg_muli(f, b->bh, cg_i64(f, c->Q)), 1);
    for (int64_t v = 0; v < nvec; v++) {
        LLVMValueRef from = cg_gep(f, mem, src, cg_muladd(f, q, c->yc, cg_i64(f, v * vl)));
        LLVMValueRef to = cg_gep(f, f->f32, dst, cg_muladd(f, q, nvec * vl, cg_i64(f, v * vl)));
        cg_store(f, cg_load_f32(f, c->y_narrow, vl, from, v == nvec - 1 ? (int)last_lanes : vl), to, vl * 4);
    }
    cg_loop_end(f, &lq);
    cg_loop_end(f, &li);
}

// The same for pairs of pixels: [row][q / 2][lane][q % 2].
static void pack_dy_pairs(struct cg_fn *f, const struct wgrad *w, const struct band *b, LLVMValueRef kb,
                          LLVMValueRef dys, int64_t nvec, int64_t last_lanes) {
    const struct cg_tap_conv *c = w->c;
    int64_t vl = f->t->vl, pairs = steps_of_row(c), whole = c->PW / 2;
    struct cg_loop li, lr, lq;
    LLVMValueRef i = cg_loop_begin(f, &li, cg_i64(f, 0), b->n_img, 1);
    LLVMValueRef row = cg_loop_begin(f, &lr, cg_i64(f, 0), b->bh, 1);
    LLVMValueRef line = cg_muladd(f, i, c->P, row);
    LLVMValueRef src = cg_gep(f, f->i16, dy_block(f, w, b, kb), cg_muli(f, line, cg_i64(f, c->Q * c->yc)));
    LLVMValueRef at = cg_muladd(f, i, w->cut.g.bh * pairs * nvec * vl, cg_muli(f, row, cg_i64(f, pairs * nvec * vl)));
    LLVMValueRef dst = cg_gep(f, f->i32, dys, at);
    for (int part = 0; part < 2; part++) { // the last of an odd number stands alone
        if (part ? whole == pairs : !whole) continue;
        LLVMValueRef j = cg_loop_begin(f, &lq, cg_i64(f, part ? whole : 0), cg_i64(f, part ? pairs : whole), 1);
        for (int64_t v = 0; v < nvec; v++) {
            int lanes = v == nvec - 1 ? (int)last_lanes : (int)vl;
            LLVMValueRef from = cg_gep(f, f->i16, src, cg_muladd(f, j, 2 * c->yc, cg_i64(f, v * vl)));
            LLVMValueRef even = cg_load_first(f, f->i16, (int)vl, from, lanes), odd = LLVMConstNull(LLVMTypeOf(even));
            if (!part) odd = cg_load_first(f, f->i16, (int)vl, cg_gep(f, f->i16, from, cg_i64(f, c->yc)), lanes);
            LLVMValueRef to = cg_gep(f, f->i32, dst, cg_muladd(f, j, nvec * vl, cg_i64(f, v * vl)));
            cg_store(f, cg_pair_up(f, even, odd), to, (int)vl * 4);
        }
        cg_loop_end(f, &lq);
    }
    cg_loop_end(f, &lr);
    cg_loop_end(f, &li);
}

// One block of k: packs its dy, adds the band's pixels to its sums (at the chunk's first channel).
static void block(struct cg_fn *f, const struct wgrad *w, const struct band *b, LLVMValueRef kb, LLVMValueRef sums,
                  int64_t nvec, int64_t last_lanes) {
    const struct cg_tap_conv *c = w->c;
    const struct cg_gather *g = &w->cut.g;
    int64_t nr = nvec * f->t->vl;
    LLVMValueRef dys = cg_gep(f, f->f32, w->dys, cg_muli(f, cg_subi(f, kb, w->kb0), cg_i64(f, dy_floats(f->t, w))));
    (c->pairs ? pack_dy_pairs : pack_dy)(f, w, b, kb, dys, nvec, last_lanes);
    int64_t row = steps_of_row(c);
    struct cg_micro proto = {
        .nvec = nvec,
        .last_lanes = nvec == 1 && last_lanes <= f->t->vl / 2 ? f->t->vl / 2 : f->t->vl, // what is behind them is 0
        .a_w = 1,
        .c_w = nr,
        .a_k = c->pairs ? g->px : g->ew * g->px,
        .b_k = nr,
        .inner = row,
        .n1 = g->bands == 1 ? c->PH : -1,
        .a1 = g->eh * g->row,
        .b1 = row * nr,
        .n2 = g->images == 1 ? 1 : -1,
        .a2 = g->plane,
        .b2 = g->bh * row * nr,
        .accumulate = 1,
        .pairs = c->pairs,
        .ahead = g->in_place ? AHEAD * g->ew * g->px : 0,
    };
    if (proto.a1 == row * proto.a_k && g->bands == 1) { // the whole plane is one run of pixels
        proto.inner = row * c->PH;
        proto.n1 = 1;
    }
    // The next band's dy comes from memory while this one's is multiplied: else 1x1 filters would wait for it.
    int64_t pixel = c->yc * (c->y_narrow ? 2 : 4);
    LLVMValueRef next = NULL;
    if (c->R * c->S == 1) {
        proto.stream = c->pairs ? 2 * pixel : pixel;
        next =
            cg_gep(f, f->i8, dy_block(f, w, b, kb), cg_muli(f, cg_muli(f, b->n_img, b->bh), cg_i64(f, c->Q * pixel)));
    }
    struct cg_loop lr, ls;
    LLVMValueRef r = cg_loop_begin(f, &lr, cg_i64(f, 0), cg_i64(f, c->R), 1);
    LLVMValueRef s = cg_i64(f, 0);
    if (!w->cut.merged) s = cg_loop_begin(f, &ls, cg_i64(f, 0), cg_i64(f, c->S), 1);
    LLVMValueRef a = cg_muladd(f, r, c->dr * g->row, cg_muli(f, s, cg_i64(f, (c->pairs ? row : c->ds) * g->px)));
    LLVMValueRef out = cg_muli(f, cg_muladd(f, r, c->S, s), cg_i64(f, c->C * nr));
    cg_micro_over_rows(f, &proto, w->cut.merged ? c->S * c->C : w->channels, cg_micro_rows(f->t, nvec),
                       cg_gep(f, f->f32, b->A, a), dys, cg_gep(f, f->f32, sums, out), NULL, b->bh, b->n_img, next,
                       c->pairs ? pixel : 64, 2);
    if (!w->cut.merged) cg_loop_end(f, &ls);
    cg_loop_end(f, &lr);
}

static void zero_block(struct cg_fn *f, const struct wgrad *w, LLVMValueRef sums, int64_t nr) {
    const struct cg_tap_conv *c = w->c;
    struct cg_loop l;
    LLVMValueRef tap = cg_loop_begin(f, &l, cg_i64(f, 0), cg_i64(f, c->R * c->S), 1);
    cg_zero_floats(f, cg_gep(f, f->f32, sums, cg_muli(f, tap, cg_i64(f, c->C * nr))), cg_i64(f, w->channels * nr));
    cg_loop_end(f, &l);
}

// Every block of the chunk of k: zeroes its sums (b NULL), or adds a band.
static void blocks(struct cg_fn *f, const struct wgrad *w, const struct band *b) {
    const struct cg_tap_conv *c = w->c;
    struct cg_blocks kbs = cg_blocks_of(f->t, c->K);
    int64_t full = 2 * f->t->vl, rows = c->R * c->S * c->C;
    LLVMValueRef base = cg_muli(f, w->group, cg_i64(f, kbs.floats * rows));
    if (kbs.full) {
        struct cg_loop l;
        LLVMValueRef kb = cg_loop_begin(f, &l, w->kb0, cg_mini(f, w->kb1, cg_i64(f, kbs.full)), 1);
        LLVMValueRef at = cg_addi(f, cg_muladd(f, kb, full * rows, base), cg_muli(f, w->c0, cg_i64(f, full)));
        LLVMValueRef sums = cg_gep(f, f->f32, w->sums, at);
        if (b)
            block(f, w, b, kb, sums, 2, f->t->vl);
        else
            zero_block(f, w, sums, full);
        cg_loop_end(f, &l);
    }
    if (kbs.tail_vec) {
        int64_t nr = kbs.tail_vec * f->t->vl;
        struct cg_if last;
        cg_if_begin(f, &last, LLVMBuildICmp(f->b, LLVMIntSGT, w->kb1, cg_i64(f, kbs.full), ""));
        LLVMValueRef at =
            cg_addi(f, cg_addi(f, base, cg_i64(f, kbs.full * full * rows)), cg_muli(f, w->c0, cg_i64(f, nr)));
        LLVMValueRef sums = cg_gep(f, f->f32, w->sums, at);
        if (b)
            block(f, w, b, cg_i64(f, kbs.full), sums, kbs.tail_vec, kbs.tail_lanes);
        else
            zero_block(f, w, sums, nr);
        cg_if_end(f, &last);
    }
}

static void chunk(struct cg_fn *f, const struct wgrad *w) {
    const struct cg_tap_conv *c = w->c;
    const struct cg_gather *g = &w->cut.g;
    blocks(f, w, NULL);
    // the chunk's first channel
    LLVMValueRef x = cg_gep(f, cg_f32_in_memory(f, c->x_narrow), w->x, cg_muladd(f, w->group, c->C, w->c0));
    struct cg_loop ln, lb;
    struct band b;
    b.n0 = cg_loop_begin(f, &ln, w->n0, w->n1, g->images);
    b.n_img = g->images == 1 ? cg_i64(f, 1) : cg_mini(f, cg_i64(f, g->images), cg_subi(f, w->n1, b.n0));
    LLVMValueRef i = cg_loop_begin(f, &lb, cg_i64(f, 0), cg_i64(f, g->bands), 1);
    b.oh = cg_muli(f, i, cg_i64(f, g->bh));
    b.bh = g->bands == 1 ? cg_i64(f, c->PH) : cg_mini(f, cg_i64(f, g->bh), cg_subi(f, cg_i64(f, c->PH), b.oh));
    b.A = cg_gather_emit(f, c, g, x, w->xs, b.n0, b.n_img, b.oh, b.bh);
    blocks(f, w, &b);
    cg_loop_end(f, &lb);
    cg_loop_end(f, &ln);
}

void cg_emit_wgrad(struct cg_fn *f, const void *params) {
    const struct cg_wgrad *p = params;
    const struct cg_tap_conv *c = &p->c;
    struct cg_blocks kbs = cg_blocks_of(f->t, c->K);
    struct wgrad w = {.c = c, .cut = cut_of(f->t, c), .dy = f->ptr[0], .x = f->ptr[1], .xs = f->scratch};
    const struct cut *u = &w.cut;
    w.dys = cg_gep(f, f->i8, f->scratch, cg_i64(f, cg_gather_bytes(&u->g)));
    LLVMValueRef begin, end;
    cg_share(f, cg_i64(f, p->parts * c->groups * u->n_cc * u->n_kc), 1, &begin, &end);
    struct cg_loop l;
    LLVMValueRef item = cg_loop_begin(f, &l, begin, end, 1);
    LLVMValueRef kc = cg_remi(f, item, cg_i64(f, u->n_kc)), rest = cg_divi(f, item, cg_i64(f, u->n_kc));
    LLVMValueRef cc = cg_remi(f, rest, cg_i64(f, u->n_cc)), rest2 = cg_divi(f, rest, cg_i64(f, u->n_cc));
    LLVMValueRef part = cg_divi(f, rest2, cg_i64(f, c->groups));
    w.group = cg_remi(f, rest2, cg_i64(f, c->groups));
    w.c0 = cg_muli(f, cc, cg_i64(f, u->cc));
    w.kb0 = cg_muli(f, kc, cg_i64(f, u->blocks));
    w.kb1 = cg_mini(f, cg_addi(f, w.kb0, cg_i64(f, u->blocks)), cg_i64(f, kbs.n));
    w.n0 = cg_divi(f, cg_muli(f, f->N, part), cg_i64(f, p->parts));
    w.n1 = cg_divi(f, cg_muli(f, f->N, cg_addi(f, part, cg_i64(f, 1))), cg_i64(f, p->parts));
    w.sums = cg_gep(f, f->f32, f->ptr[2], cg_muli(f, part, cg_i64(f, c->groups * kbs.floats * c->R * c->S * c->C)));
    int64_t last = c->C - (u->n_cc - 1) * u->cc;
    struct cg_if more;
    w.channels = u->cc;
    if (last < u->cc) cg_if_begin(f, &more, LLVMBuildICmp(f->b, LLVMIntSLT, cc, cg_i64(f, u->n_cc - 1), ""));
    chunk(f, &w);
    if (last < u->cc) {
        cg_if_else(f, &more);
        w.channels = w.cut.g.channels = last;
        chunk(f, &w);
        cg_if_end(f, &more);
    }
    cg_loop_end(f, &l);
}
