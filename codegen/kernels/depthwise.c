// Depthwise convolutions, and those of narrow groups: output channels in the lanes of a vector.
//
// The inputs of a group lie in the same lanes as its outputs, so each of them is spread over its group's lanes by a
// shuffle inside the vector (none where there is one). A dense product of whole vectors would multiply by zeros.
//
// Nothing is gathered: a row of outputs reads its input rows where they lie. Which columns a tile's taps read is known
// at compile time, so that tiles at a border have code of their own without the taps outside; a tap row outside reads
// a row of zeros. Neighbouring outputs are computed together: what their taps share is loaded once.
#include "kernels.h"

#define TILE_PIXELS   4  // neighbouring outputs (at least)
#define GROUPED_TILE  8  // the same for groups, whose outputs share shuffles, too
#define UNROLL_TAPS   49 // filters up to this size are unrolled
#define ITEM_ROWS     8  // output rows of a work item (at least)
#define WIDEST_TAPS   8  // of a filter row whose gradient is summed at once
#define SPARE_VECTORS 7  // registers that a weight gradient needs beside its sums

static int64_t padded(const struct cg_fn *f, int64_t channels) { return cg_ceil_div(channels, f->t->vl) * f->t->vl; }

// Input position of tap t, relative to (first output of the tile) * mul / div, for output j of the tile; false where
// the tap falls between two inputs.
static bool tap_reads(const struct cg_dw_axis *a, int64_t j, int64_t t, int64_t *at) {
    int64_t n = j * a->mul + a->off + t * a->step;
    *at = n / a->div;
    return n % a->div == 0;
}

static int64_t tile_width(const struct cg_depthwise *d, bool outputs) {
    return cg_ceil_div(outputs && d->width > 1 ? GROUPED_TILE : TILE_PIXELS, d->w.div) * d->w.div;
}

// Input i of each lane's group.
static LLVMValueRef spread(struct cg_fn *f, LLVMValueRef x, int64_t width, int64_t i) {
    LLVMValueRef lane[64];
    if (width == 1) return x;
    for (int k = 0; k < f->t->vl; k++) lane[k] = cg_i32(f, (int32_t)(k / width * width + i));
    return LLVMBuildShuffleVector(f->b, x, LLVMGetPoison(f->vf), LLVMConstVector(lane, (unsigned)f->t->vl), "");
}

// The input columns that a tile's taps read, relative to its first, from -> to.
static void columns(const struct cg_depthwise *d, int64_t width, int64_t s0, int64_t n_s, int64_t *from, int64_t *to) {
    *from = INT64_MAX;
    *to = INT64_MIN;
    for (int64_t j = 0, at; j < width; j++)
        for (int64_t s = s0; s < s0 + n_s; s++)
            if (tap_reads(&d->w, j, s, &at)) {
                *from = cg_min64(*from, at);
                *to = cg_max64(*to, at + 1);
            }
}

// One row of outputs and the input rows that it reads.
struct line {
    const struct cg_depthwise *d;
    int64_t n, first, stride; // tap rows first, first + stride, ...
    LLVMValueRef table;       // local: n addresses of column 0, channel 0
    LLVMValueRef y;           // of forward and by data: the row to write; by weights: the row of dy
    LLVMValueRef w;           // weights
};

// A tile: its columns' first output and first input, and the former if it is known.
struct tile {
    int64_t width, known; // known < 0: the tile lies inside
    LLVMValueRef out, in;
};
typedef void (*tile_fn)(struct cg_fn *f, void *env, const struct tile *t);

static bool column_inside(const struct cg_depthwise *d, const struct tile *t, int64_t at) {
    if (t->known < 0) return true;
    at += t->known * d->w.mul / d->w.div;
    return at >= 0 && at < d->W;
}

// Whether no tap of the whole tile at q0 is outside.
static bool inside(const struct cg_depthwise *d, int64_t q0, int64_t width, int64_t outputs) {
    struct tile t = {.width = width, .known = q0};
    int64_t at;
    if (q0 + width > outputs) return false;
    for (int64_t j = 0; j < width; j++)
        for (int64_t s = 0; s < d->S; s++)
            if (tap_reads(&d->w, j, s, &at) && !column_inside(d, &t, at)) return false;
    return true;
}

// Every tile of a row: those inside in a loop, the others one by one.
static void each_tile(struct cg_fn *f, const struct cg_depthwise *d, int64_t width, tile_fn fn, void *env) {
    int64_t n = cg_ceil_div(d->Q, width), a = 0, in_step = width * d->w.mul / d->w.div;
    while (a < n && !inside(d, a * width, width, d->Q)) a++;
    int64_t b = a;
    while (b < n && inside(d, b * width, width, d->Q)) b++;
    for (int64_t i = 0; i < n; i++) {
        struct tile t = {.width = cg_min64(width, d->Q - i * width), .known = i * width};
        if (i == a && b > a + 1) {
            struct cg_loop l;
            LLVMValueRef k = cg_loop_begin(f, &l, cg_i64(f, a), cg_i64(f, b), 1);
            t.known = -1;
            t.out = cg_muli(f, k, cg_i64(f, width));
            t.in = cg_muli(f, k, cg_i64(f, in_step));
            fn(f, env, &t);
            cg_loop_end(f, &l);
            i = b - 1;
            continue;
        }
        t.out = cg_i64(f, t.known);
        t.in = cg_i64(f, t.known * d->w.mul / d->w.div);
        fn(f, env, &t);
    }
}

// Address of input row `h` of the image, or of zeros where there is none.
static LLVMValueRef input_row(struct cg_fn *f, const struct cg_depthwise *d, LLVMValueRef image, LLVMValueRef h) {
    LLVMValueRef in = LLVMBuildICmp(f->b, LLVMIntULT, h, cg_i64(f, d->H), "");
    LLVMValueRef row = cg_gep(f, cg_f32_in_memory(f, d->x_narrow), image, cg_muli(f, h, cg_i64(f, d->W * d->C)));
    return LLVMBuildSelect(f->b, in, row, f->scratch, "");
}

static LLVMValueRef row_table(struct cg_fn *f, int64_t rows) {
    return cg_local(f, LLVMArrayType2(f->p, (uint64_t)rows), NULL);
}
static LLVMValueRef table_at(struct cg_fn *f, LLVMValueRef table, LLVMValueRef i) { return cg_gep(f, f->p, table, i); }

// The row of zeros, with what a vector reads behind it.
int64_t cg_depthwise_scratch(const struct cg_target *t, const struct cg_depthwise *d) {
    return cg_ceil_div(d->W * d->C + t->vl, 16) * 64;
}
static void zero_row(struct cg_fn *f, const struct cg_depthwise *d) {
    cg_zero_floats(f, f->scratch, cg_i64(f, d->W * d->C));
}

typedef void (*channels_fn)(struct cg_fn *f, void *env, LLVMValueRef c0, int lanes);
static void each_vector(struct cg_fn *f, int64_t channels, channels_fn fn, void *env) {
    int vl = f->t->vl;
    int64_t whole = channels / vl * vl;
    if (whole) {
        struct cg_loop l;
        fn(f, env, cg_loop_begin(f, &l, cg_i64(f, 0), cg_i64(f, whole), vl), vl);
        cg_loop_end(f, &l);
    }
    if (whole < channels) fn(f, env, cg_i64(f, whole), (int)(channels - whole));
}

// --- forward and by data --------------------------------------------------------------------------------------------

struct outputs {
    struct line line;
    LLVMValueRef next; // local: lines of the row to be written after this one
    LLVMValueRef c0;
    int lanes;
};

static void one_tap_row(struct cg_fn *f, const struct outputs *o, const struct tile *t, LLVMValueRef e,
                        LLVMValueRef *acc) {
    const struct cg_depthwise *d = o->line.d;
    int vl = f->t->vl;
    LLVMValueRef row = LLVMBuildLoad2(f->b, f->p, table_at(f, o->line.table, e), "");
    LLVMTypeRef mem = cg_f32_in_memory(f, d->x_narrow);
    LLVMValueRef x = cg_gep(f, mem, row, cg_muladd(f, t->in, d->C, o->c0));
    LLVMValueRef r = cg_muladd(f, e, o->line.stride, cg_i64(f, o->line.first));
    int64_t from, to, reads;
    columns(d, t->width, 0, d->S, &from, &to);
    for (int64_t at = from; at < to; at++) {
        if (!column_inside(d, t, at)) continue;
        LLVMValueRef v = cg_load_f32(f, d->x_narrow, vl, cg_gep(f, mem, x, cg_i64(f, at * d->C)), o->lanes);
        for (int64_t i = 0; i < d->width; i++) {
            LLVMValueRef in = spread(f, v, d->width, i);
            for (int64_t j = 0; j < t->width; j++)
                for (int64_t s = 0; s < d->S; s++) {
                    if (!tap_reads(&d->w, j, s, &reads) || reads != at) continue;
                    LLVMValueRef tap = cg_muladd(f, cg_muladd(f, r, d->S, cg_i64(f, s)), d->width, cg_i64(f, i));
                    tap = cg_muladd(f, tap, padded(f, d->C), o->c0);
                    LLVMValueRef w = cg_load(f, f->vf, cg_gep(f, f->f32, o->line.w, tap), vl * 4);
                    LLVMBuildStore(f->b, cg_fma(f, in, w, LLVMBuildLoad2(f->b, f->vf, acc[j], "")), acc[j]);
                }
        }
    }
}

// A tile's share of the next row's lines. Vectors of channels take turns, pixel by pixel: the hardware sees no stream.
static void fetch_next_row(struct cg_fn *f, const struct outputs *o) {
    const struct cg_depthwise *d = o->line.d;
    int64_t tiles = cg_ceil_div(d->Q, tile_width(d, true)) * cg_ceil_div(d->C, f->t->vl);
    int64_t lines = cg_ceil_div(d->Q * d->C * (d->y_narrow ? 2 : 4), CACHE_LINE), each = cg_ceil_div(lines, tiles);
    LLVMValueRef p = LLVMBuildLoad2(f->b, f->p, o->next, "");
    for (int64_t i = 0; i < each; i++) cg_fetch_to_write(f, cg_gep(f, f->i8, p, cg_i64(f, i * CACHE_LINE)));
    LLVMBuildStore(f->b, cg_gep(f, f->i8, p, cg_i64(f, each * CACHE_LINE)), o->next);
}

static void output_tile(struct cg_fn *f, void *env, const struct tile *t) {
    const struct outputs *o = env;
    const struct cg_depthwise *d = o->line.d;
    fetch_next_row(f, o);
    LLVMValueRef acc[64];
    for (int64_t j = 0; j < t->width; j++) acc[j] = cg_local(f, f->vf, LLVMConstNull(f->vf));
    if (d->R * d->S <= UNROLL_TAPS) {
        for (int64_t e = 0; e < o->line.n; e++) one_tap_row(f, o, t, cg_i64(f, e), acc);
    } else {
        struct cg_loop l;
        one_tap_row(f, o, t, cg_loop_begin(f, &l, cg_i64(f, 0), cg_i64(f, o->line.n), 1), acc);
        cg_loop_end(f, &l);
    }
    LLVMTypeRef mem = cg_f32_in_memory(f, d->y_narrow);
    LLVMValueRef y = cg_gep(f, mem, o->line.y, cg_muladd(f, t->out, d->C, o->c0));
    for (int64_t j = 0; j < t->width; j++)
        cg_store_f32(f, d->y_narrow, LLVMBuildLoad2(f->b, f->vf, acc[j], ""), cg_gep(f, mem, y, cg_i64(f, j * d->C)),
                     o->lanes);
}

static void output_vector(struct cg_fn *f, void *env, LLVMValueRef c0, int lanes) {
    struct outputs *o = env;
    o->c0 = c0;
    o->lanes = lanes;
    each_tile(f, o->line.d, tile_width(o->line.d, true), output_tile, o);
}

// Rows h = kind + i*div of [begin, end): all of a kind read with the same taps.
static void rows_of_kind(struct cg_fn *f, const struct cg_depthwise *d, int64_t kind, LLVMValueRef begin,
                         LLVMValueRef end, LLVMValueRef x, LLVMValueRef y) {
    struct outputs o = {.line = {.d = d, .stride = 1, .w = f->ptr[1]}};
    int64_t at[2] = {0, 0}, in;
    for (int64_t r = 0; r < d->R; r++) {
        if (!tap_reads(&d->h, kind, r, &in)) continue;
        if (o.line.n == 0) o.line.first = r;
        if (o.line.n < 2) at[o.line.n] = in;
        if (o.line.n == 1) o.line.stride = r - o.line.first;
        o.line.n++;
    }
    o.line.table = row_table(f, cg_max64(1, o.line.n));
    struct cg_loop l;
    LLVMValueRef h = cg_loop_begin(f, &l, cg_addi(f, begin, cg_i64(f, kind)), end, d->h.div);
    LLVMValueRef i = cg_muli(f, cg_divi(f, h, cg_i64(f, d->h.div)), cg_i64(f, d->h.mul));
    for (int64_t e = 0; e < o.line.n; e++)
        LLVMBuildStore(f->b, input_row(f, d, x, cg_addi(f, i, cg_i64(f, at[0] + e * (at[1] - at[0])))),
                       table_at(f, o.line.table, cg_i64(f, e)));
    LLVMTypeRef mem = cg_f32_in_memory(f, d->y_narrow);
    o.line.y = cg_gep(f, mem, y, cg_muli(f, h, cg_i64(f, d->Q * d->C)));
    o.next = cg_local(f, f->p, NULL);
    LLVMBuildStore(f->b, cg_gep(f, mem, o.line.y, cg_i64(f, d->h.div * d->Q * d->C)), o.next);
    each_vector(f, d->C, output_vector, &o);
    cg_loop_end(f, &l);
}

void cg_emit_depthwise(struct cg_fn *f, const void *params) {
    const struct cg_depthwise *d = params;
    int64_t rows = cg_ceil_div(ITEM_ROWS, d->h.div) * d->h.div, blocks = cg_ceil_div(d->P, rows);
    LLVMValueRef begin, end;
    zero_row(f, d);
    cg_share(f, cg_muli(f, f->N, cg_i64(f, blocks)), 1, &begin, &end);
    struct cg_loop l;
    LLVMValueRef item = cg_loop_begin(f, &l, begin, end, 1), n = cg_divi(f, item, cg_i64(f, blocks));
    LLVMValueRef h0 = cg_muli(f, cg_remi(f, item, cg_i64(f, blocks)), cg_i64(f, rows));
    LLVMValueRef h1 = cg_mini(f, cg_addi(f, h0, cg_i64(f, rows)), cg_i64(f, d->P));
    LLVMValueRef x =
        cg_gep(f, cg_f32_in_memory(f, d->x_narrow), f->ptr[0], cg_muli(f, n, cg_i64(f, d->H * d->W * d->C)));
    LLVMValueRef y =
        cg_gep(f, cg_f32_in_memory(f, d->y_narrow), f->ptr[2], cg_muli(f, n, cg_i64(f, d->P * d->Q * d->C)));
    for (int64_t kind = 0; kind < d->h.div; kind++) rows_of_kind(f, d, kind, h0, h1, x, y);
    cg_loop_end(f, &l);
}

// --- weight gradient ------------------------------------------------------------------------------------------------

struct sums {
    struct line line;            // of the row being added; tap rows r0, r0 + 1, ...
    int64_t s0, n_s;             // tap columns
    LLVMValueRef r0;             // first tap row
    LLVMValueRef x, dy, total;   // of the image; of the part
    LLVMValueRef begin, end, c0; // output rows of the band; channel
    LLVMValueRef acc[64];        // local, row by row
    int lanes;
};

static void sum_tile(struct cg_fn *f, void *env, const struct tile *t) {
    const struct sums *k = env;
    const struct cg_depthwise *d = k->line.d;
    LLVMTypeRef x_mem = cg_f32_in_memory(f, d->x_narrow), y_mem = cg_f32_in_memory(f, d->y_narrow);
    int vl = f->t->vl;
    LLVMValueRef dy[64], y = cg_gep(f, y_mem, k->line.y, cg_muladd(f, t->out, d->C, k->c0));
    for (int64_t j = 0; j < t->width; j++)
        dy[j] = cg_load_f32(f, d->y_narrow, vl, cg_gep(f, y_mem, y, cg_i64(f, j * d->C)), k->lanes);
    int64_t from, to, reads;
    columns(d, t->width, k->s0, k->n_s, &from, &to);
    for (int64_t e = 0; e < k->line.n; e++) {
        LLVMValueRef row = LLVMBuildLoad2(f->b, f->p, table_at(f, k->line.table, cg_i64(f, e)), "");
        LLVMValueRef x = cg_gep(f, x_mem, row, cg_muladd(f, t->in, d->C, k->c0));
        for (int64_t at = from; at < to; at++) {
            if (!column_inside(d, t, at)) continue;
            LLVMValueRef v = cg_load_f32(f, d->x_narrow, vl, cg_gep(f, x_mem, x, cg_i64(f, at * d->C)), k->lanes);
            for (int64_t i = 0; i < d->width; i++) {
                LLVMValueRef in = spread(f, v, d->width, i);
                for (int64_t j = 0; j < t->width; j++)
                    for (int64_t s = 0; s < k->n_s; s++) {
                        if (!tap_reads(&d->w, j, k->s0 + s, &reads) || reads != at) continue;
                        LLVMValueRef acc = k->acc[(e * k->n_s + s) * d->width + i];
                        LLVMBuildStore(f->b, cg_fma(f, dy[j], in, LLVMBuildLoad2(f->b, f->vf, acc, "")), acc);
                    }
            }
        }
    }
}

// The band's pixels into the sums of the tap rows r0 .. r0 + n - 1.
static void sum_taps(struct cg_fn *f, struct sums *k) {
    const struct cg_depthwise *d = k->line.d;
    int vl = f->t->vl;
    LLVMValueRef slot[64];
    int64_t n_sums = k->line.n * k->n_s * d->width;
    for (int64_t i = 0; i < n_sums; i++) {
        int64_t tap = i / d->width;
        LLVMValueRef r = cg_addi(f, k->r0, cg_i64(f, tap / k->n_s)), s = cg_i64(f, k->s0 + tap % k->n_s);
        LLVMValueRef at = cg_muladd(f, cg_muladd(f, r, d->S, s), d->width, cg_i64(f, i % d->width));
        slot[i] = cg_gep(f, f->f32, k->total, cg_muladd(f, at, padded(f, d->C), k->c0));
        k->acc[i] = cg_local(f, f->vf, cg_load(f, f->vf, slot[i], vl * 4));
    }
    struct cg_loop l;
    LLVMValueRef h = cg_loop_begin(f, &l, k->begin, k->end, 1);
    LLVMValueRef first = cg_muladd(f, h, d->h.mul, cg_muladd(f, k->r0, d->h.step, cg_i64(f, d->h.off)));
    for (int64_t e = 0; e < k->line.n; e++)
        LLVMBuildStore(f->b, input_row(f, d, k->x, cg_addi(f, first, cg_i64(f, e * d->h.step))),
                       table_at(f, k->line.table, cg_i64(f, e)));
    k->line.y = cg_gep(f, cg_f32_in_memory(f, d->y_narrow), k->dy, cg_muli(f, h, cg_i64(f, d->Q * d->C)));
    each_tile(f, d, tile_width(d, false), sum_tile, k);
    cg_loop_end(f, &l);
    for (int64_t i = 0; i < n_sums; i++) cg_store(f, LLVMBuildLoad2(f->b, f->vf, k->acc[i], ""), slot[i], vl * 4);
}

static void sum_vector(struct cg_fn *f, void *env, LLVMValueRef c0, int lanes) {
    struct sums *k = env;
    const struct cg_depthwise *d = k->line.d;
    k->c0 = c0;
    k->lanes = lanes;
    int64_t room = (f->t->nregs - SPARE_VECTORS) / d->width; // taps whose sums fit
    int64_t widest = cg_max64(1, cg_min64(WIDEST_TAPS, room));
    for (k->s0 = 0; k->s0 < d->S; k->s0 += widest) {
        k->n_s = cg_min64(widest, d->S - k->s0);
        int64_t rows = cg_min64(d->R, cg_max64(1, room / k->n_s)), whole = d->R / rows * rows;
        struct cg_loop l;
        k->line.n = rows;
        k->r0 = cg_loop_begin(f, &l, cg_i64(f, 0), cg_i64(f, whole), rows);
        sum_taps(f, k);
        cg_loop_end(f, &l);
        if (whole == d->R) continue;
        k->line.n = d->R - whole;
        k->r0 = cg_i64(f, whole);
        sum_taps(f, k);
    }
}

// A work item is a part of the batch. Its images are walked in bands of rows that stay in cache for all channels.
void cg_emit_wgrad_dw(struct cg_fn *f, const void *params) {
    const struct cg_wgrad_dw *p = params;
    const struct cg_depthwise *d = &p->d;
    int64_t taps = d->R * d->S * d->width * padded(f, d->C), row_bytes = (d->Q + d->h.mul * d->W) * d->C * 4;
    int64_t band = cg_min64(d->P, cg_max64(1, f->t->l2_bytes / 4 / row_bytes));
    struct sums k = {.line = {.d = d, .stride = 1, .table = row_table(f, d->R)}};
    LLVMValueRef begin, end;
    zero_row(f, d);
    cg_share(f, cg_i64(f, p->parts), 1, &begin, &end);
    struct cg_loop lp, ln, lb;
    LLVMValueRef part = cg_loop_begin(f, &lp, begin, end, 1);
    LLVMValueRef n0 = cg_divi(f, cg_muli(f, f->N, part), cg_i64(f, p->parts));
    LLVMValueRef n1 = cg_divi(f, cg_muli(f, f->N, cg_addi(f, part, cg_i64(f, 1))), cg_i64(f, p->parts));
    k.total = cg_gep(f, f->f32, f->ptr[2], cg_muli(f, part, cg_i64(f, taps)));
    cg_zero_floats(f, k.total, cg_i64(f, taps));
    LLVMValueRef n = cg_loop_begin(f, &ln, n0, n1, 1);
    k.x = cg_gep(f, cg_f32_in_memory(f, d->x_narrow), f->ptr[1], cg_muli(f, n, cg_i64(f, d->H * d->W * d->C)));
    k.dy = cg_gep(f, cg_f32_in_memory(f, d->y_narrow), f->ptr[0], cg_muli(f, n, cg_i64(f, d->P * d->Q * d->C)));
    k.begin = cg_loop_begin(f, &lb, cg_i64(f, 0), cg_i64(f, d->P), band);
    k.end = cg_mini(f, cg_addi(f, k.begin, cg_i64(f, band)), cg_i64(f, d->P));
    each_vector(f, d->C, sum_vector, &k);
    cg_loop_end(f, &lb);
    cg_loop_end(f, &ln);
    cg_loop_end(f, &lp);
}
