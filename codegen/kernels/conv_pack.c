// Weights into the order the micro-kernels read them, and packed weight gradients back into ONNX order.
#include "winograd.h"

int64_t cg_pack_floats(const struct cg_target *t, const struct cg_pack *p) {
    int64_t channels = p->merge * p->c / (p->pairs ? 2 : 1);
    return p->groups * cg_blocks_of(t, p->merge * p->k).floats * p->R * p->S * channels;
}

// Where a packed row lies: indices of one (group, block, r, s, channel) and the addresses that belong to it.
struct row {
    int64_t nr, lanes, first_k; // width; lanes in use; k of lane 0 when first_k >= 0, else the block loop's
    int64_t j;                  // group inside the super-group of this row's input channel
    LLVMValueRef channel;       // index of the row among those of its block: tap and channel
    LLVMValueRef packed;        // index of the row's first float
    LLVMValueRef src;           // index of weight (group, k = 0 of the super-group's group 0, channel, r, s)
    LLVMValueRef kb;
};
typedef void (*row_fn)(struct cg_fn *f, const struct cg_pack *p, const struct row *r, void *env);

// Runs `each` for all rows of blocks of one width; input channels are shared out over the threads.
static void rows(struct cg_fn *f, const struct cg_pack *p, bool tail, row_fn each, void *env) {
    struct cg_blocks b = cg_blocks_of(f->t, p->merge * p->k);
    int64_t vl = f->t->vl, taps = p->R * p->S, cs = p->merge * p->c;
    struct row row = {.nr = tail ? b.tail_vec * vl : 2 * vl};
    row.lanes = tail ? row.nr - vl + b.tail_lanes : row.nr;
    LLVMValueRef begin, end;
    cg_share(f, cg_i64(f, p->c), 1, &begin, &end);
    struct cg_loop lg, lb, lc, lr, ls;
    LLVMValueRef g = cg_loop_begin(f, &lg, cg_i64(f, 0), cg_i64(f, p->groups), 1);
    row.kb = cg_loop_begin(f, &lb, cg_i64(f, tail ? b.full : 0), cg_i64(f, tail ? b.n : b.full), 1);
    for (row.j = 0; row.j < p->merge; row.j++) {
        LLVMValueRef c = cg_loop_begin(f, &lc, begin, end, 1);
        LLVMValueRef r = cg_loop_begin(f, &lr, cg_i64(f, 0), cg_i64(f, p->R), 1);
        LLVMValueRef s = cg_loop_begin(f, &ls, cg_i64(f, 0), cg_i64(f, p->S), 1);
        LLVMValueRef block =
            cg_muli(f, cg_muladd(f, g, b.floats, cg_muli(f, row.kb, cg_i64(f, 2 * vl))), cg_i64(f, taps * cs));
        LLVMValueRef at = cg_addi(f, cg_muladd(f, cg_muladd(f, r, p->S, s), cs, c), cg_i64(f, row.j * p->c));
        row.channel = at;
        row.packed = cg_muladd(f, at, row.nr, block);
        LLVMValueRef wr = cg_muladd(f, r, p->r_step, cg_i64(f, p->r0)),
                     ws = cg_muladd(f, s, p->s_step, cg_i64(f, p->s0));
        row.src =
            cg_muladd(f, cg_muli(f, g, cg_i64(f, p->merge)), p->group_stride, cg_muli(f, c, cg_i64(f, p->c_stride)));
        row.src = cg_addi(f, row.src, cg_muladd(f, wr, p->r_stride, cg_muli(f, ws, cg_i64(f, p->s_stride))));
        each(f, p, &row, env);
        cg_loop_end(f, &ls);
        cg_loop_end(f, &lr);
        cg_loop_end(f, &lc);
    }
    cg_loop_end(f, &lb);
    cg_loop_end(f, &lg);
}

static void all_rows(struct cg_fn *f, const struct cg_pack *p, row_fn each, void *env) {
    struct cg_blocks b = cg_blocks_of(f->t, p->merge * p->k);
    if (b.full) rows(f, p, false, each, env);
    if (b.tail_vec) rows(f, p, true, each, env);
}

// Index of the weight of lane `l`, or NULL where the packed matrix is zero: past the last channel, or off the diagonal.
// More than one block means merge == 1 (super-groups are made no wider than a block), so lanes and groups are
// constants.
static LLVMValueRef lane_index(struct cg_fn *f, const struct cg_pack *p, const struct row *r, int64_t l) {
    if (l >= r->lanes) return NULL;
    if (p->merge == 1)
        return cg_addi(
            f, r->src,
            cg_muladd(f, cg_muli(f, r->kb, cg_i64(f, 2 * f->t->vl)), p->k_stride, cg_i64(f, l * p->k_stride)));
    if (l / p->k != r->j) return NULL;
    return cg_addi(f, r->src, cg_i64(f, l / p->k * p->group_stride + l % p->k * p->k_stride));
}

// One channel of a pair: every other bfloat16 of the pair's row.
static void pack_half_row(struct cg_fn *f, const struct cg_pack *p, const struct row *r) {
    LLVMValueRef half = LLVMBuildAnd(f->b, r->channel, cg_i64(f, 1), "");
    LLVMValueRef pair = LLVMBuildSub(f->b, r->packed, cg_muli(f, half, cg_i64(f, r->nr)), ""); // twice its row
    LLVMValueRef dst = cg_gep(f, f->i16, f->ptr[1], cg_addi(f, pair, half));
    for (int64_t l = 0; l < r->nr; l++) {
        LLVMValueRef at = lane_index(f, p, r, l);
        LLVMValueRef v = at ? cg_load(f, f->f32, cg_gep(f, f->f32, f->ptr[0], at), 4) : cg_f32c(f, 0);
        cg_store_f32(f, true, v, cg_gep(f, f->i16, dst, cg_i64(f, 2 * l)), 1);
    }
}

static void pack_row(struct cg_fn *f, const struct cg_pack *p, const struct row *r, void *env) {
    (void)env;
    if (p->pairs) {
        pack_half_row(f, p, r);
        return;
    }
    LLVMValueRef dst = cg_gep(f, f->f32, f->ptr[1], r->packed);
    for (int64_t l = 0; l < r->nr; l++) {
        LLVMValueRef at = lane_index(f, p, r, l);
        LLVMValueRef v = at ? cg_load(f, f->f32, cg_gep(f, f->f32, f->ptr[0], at), 4) : cg_f32c(f, 0);
        cg_store(f, v, cg_gep(f, f->f32, dst, cg_i64(f, l)), 4);
    }
}

// --- in blocks -------------------------------------------------------------------------------------------------------
//
// Memory holds w[a][b][taps]. Read lane by lane, neighbouring a would lie in the same few cache sets, so weights are
// moved in blocks of vl x vl pairs (a, b) with all their taps: every line is used at once, and lanes are exchanged by
// transposing squares of registers.

struct block {
    const struct cg_pack *p;
    int64_t taps;            // of a filter in memory
    bool lanes_in_a;         // output channels, the lanes, are a: forward; else b: the gradient by data
    int64_t lanes, channels; // in use of vl lanes and vl input channels
    int64_t nr, v;           // width of the block of output channels, this vector of it
    LLVMValueRef g, kb, c;   // group, block of output channels, first input channel
};
typedef void (*block_fn)(struct cg_fn *f, const struct block *k, void *env);

// Weights that can be moved so: groups are whole, and one of the strides is that of filters lying side by side.
static bool in_blocks(const struct cg_pack *p, int64_t *taps) {
    *taps = cg_min64(p->c_stride, p->k_stride);
    return p->merge == 1 && p->s_stride == 1 && *taps % p->r_stride == 0 &&
           cg_max64(p->c_stride, p->k_stride) == *taps * (p->c_stride < p->k_stride ? p->c : p->k);
}

static int64_t block_vectors(const struct cg_fn *f, int64_t taps) { return f->t->vl * taps; }

// Two copies of a block.
int64_t cg_pack_scratch(const struct cg_target *t, const struct cg_pack *p) {
    int64_t taps;
    return in_blocks(p, &taps) ? 2 * t->vl * taps * t->vl * 4 : 0;
}

static LLVMValueRef vector_at(struct cg_fn *f, LLVMValueRef base, LLVMValueRef i) {
    return cg_gep(f, f->f32, base, cg_muli(f, i, cg_i64(f, f->t->vl)));
}

static LLVMValueRef first_weight(struct cg_fn *f, const struct block *k, LLVMValueRef weights) {
    const struct cg_pack *p = k->p;
    LLVMValueRef lane0 = cg_muladd(f, k->kb, 2 * f->t->vl, cg_i64(f, k->v * f->t->vl));
    LLVMValueRef at = cg_addi(f, cg_muli(f, lane0, cg_i64(f, p->k_stride)), cg_muli(f, k->c, cg_i64(f, p->c_stride)));
    return cg_gep(f, f->f32, weights, cg_muladd(f, k->g, p->group_stride, at));
}

// Moves rows of memory to scratch or back, one vector of each of the a at a time: T[o] holds float o of a row for all
// a.
static void move_rows(struct cg_fn *f, const struct block *k, LLVMValueRef w, LLVMValueRef T, bool load) {
    int vl = f->t->vl;
    int64_t rows = k->lanes_in_a ? k->lanes : k->channels, row = k->lanes_in_a ? k->p->k_stride : k->p->c_stride;
    int64_t floats = k->taps * (k->lanes_in_a ? k->channels : k->lanes), whole = floats / vl;
    for (int part = 0; part < 2; part++) {
        int lanes = part ? (int)(floats % vl) : vl;
        if (part ? !lanes : !whole) continue;
        struct cg_loop l;
        LLVMValueRef j = cg_loop_begin(f, &l, cg_i64(f, part ? whole : 0), cg_i64(f, part ? whole + 1 : whole), 1);
        LLVMValueRef x[64], from = cg_gep(f, f->f32, w, cg_muli(f, j, cg_i64(f, vl)));
        LLVMValueRef t0 = cg_muli(f, j, cg_i64(f, vl));
        if (load) {
            for (int i = 0; i < vl; i++)
                x[i] = i < rows ? cg_load_first(f, f->f32, vl, cg_gep(f, f->f32, from, cg_i64(f, i * row)), lanes)
                                : LLVMConstNull(f->vf);
            cg_transpose(f, x);
            for (int i = 0; i < vl; i++) cg_store(f, x[i], vector_at(f, T, cg_addi(f, t0, cg_i64(f, i))), vl * 4);
        } else {
            for (int i = 0; i < vl; i++)
                x[i] = cg_load(f, f->vf, vector_at(f, T, cg_addi(f, t0, cg_i64(f, i))), vl * 4);
            cg_transpose(f, x);
            for (int i = 0; i < rows; i++) cg_store_first(f, x[i], cg_gep(f, f->f32, from, cg_i64(f, i * row)), lanes);
        }
        cg_loop_end(f, &l);
    }
}

// What a filter tap of memory has for each input channel, as vectors over output channels. T: move_rows'.
static void channels_of_tap(struct cg_fn *f, const struct block *k, LLVMValueRef T, LLVMValueRef tap, LLVMValueRef *x) {
    int vl = f->t->vl;
    int64_t b_used = k->lanes_in_a ? k->channels : k->lanes;
    for (int i = 0; i < vl; i++)
        x[i] = i < b_used ? cg_load(f, f->vf, vector_at(f, T, cg_addi(f, tap, cg_i64(f, i * k->taps))), vl * 4)
                          : LLVMConstNull(f->vf);
    if (!k->lanes_in_a) cg_transpose(f, x);
}

static void each_block(struct cg_fn *f, const struct cg_pack *p, int64_t taps, block_fn each, void *env) {
    struct cg_blocks b = cg_blocks_of(f->t, p->k);
    int64_t vl = f->t->vl, whole = p->c / vl * vl;
    struct block k = {
        .p = p, .taps = taps, .lanes_in_a = p->c_stride < p->k_stride || (p->c_stride == p->k_stride && p->c == 1)};
    LLVMValueRef begin, end;
    cg_share(f, cg_i64(f, p->c), vl, &begin, &end);
    struct cg_loop lg, lb, lc;
    k.g = cg_loop_begin(f, &lg, cg_i64(f, 0), cg_i64(f, p->groups), 1);
    for (int tail = 0; tail < 2; tail++) {
        if (tail ? !b.tail_vec : !b.full) continue;
        k.nr = tail ? b.tail_vec * vl : 2 * vl;
        k.kb = cg_loop_begin(f, &lb, cg_i64(f, tail ? b.full : 0), cg_i64(f, tail ? b.n : b.full), 1);
        for (k.v = 0; k.v < k.nr / vl; k.v++) {
            k.lanes = tail && k.v == b.tail_vec - 1 ? b.tail_lanes : vl;
            k.channels = vl;
            if (whole) {
                k.c = cg_loop_begin(f, &lc, begin, cg_mini(f, end, cg_i64(f, whole)), vl);
                each(f, &k, env);
                cg_loop_end(f, &lc);
            }
            if (whole == p->c) continue;
            struct cg_if mine;
            cg_if_begin(f, &mine, LLVMBuildICmp(f->b, LLVMIntSGT, end, cg_i64(f, whole), ""));
            k.c = cg_i64(f, whole);
            k.channels = p->c - whole;
            each(f, &k, env);
            cg_if_end(f, &mine);
        }
        cg_loop_end(f, &lb);
    }
    cg_loop_end(f, &lg);
}

// Index of the packed vector of tap 0 and the block's first channel; neighbouring channels are nr floats apart.
static LLVMValueRef packed_block(struct cg_fn *f, const struct block *k) {
    const struct cg_pack *p = k->p;
    struct cg_blocks b = cg_blocks_of(f->t, p->k);
    LLVMValueRef width = cg_muladd(f, k->g, b.floats, cg_muli(f, k->kb, cg_i64(f, 2 * f->t->vl)));
    return cg_addi(f, cg_muladd(f, width, p->R * p->S * p->c, cg_muli(f, k->c, cg_i64(f, k->nr))),
                   cg_i64(f, k->v * f->t->vl));
}

// Runs over packed taps: opens two loops; *packed is the tap's offset in the packed block, returned the tap in memory.
static LLVMValueRef taps_begin(struct cg_fn *f, const struct block *k, struct cg_loop *lr, struct cg_loop *ls,
                               LLVMValueRef *packed) {
    const struct cg_pack *p = k->p;
    LLVMValueRef r = cg_loop_begin(f, lr, cg_i64(f, 0), cg_i64(f, p->R), 1);
    LLVMValueRef s = cg_loop_begin(f, ls, cg_i64(f, 0), cg_i64(f, p->S), 1);
    *packed = cg_muli(f, cg_muladd(f, r, p->S, s), cg_i64(f, p->c * k->nr));
    LLVMValueRef wr = cg_muladd(f, r, p->r_step, cg_i64(f, p->r0)), ws = cg_muladd(f, s, p->s_step, cg_i64(f, p->s0));
    return cg_muladd(f, wr, p->r_stride, ws);
}

// Two channels of each lane side by side, as bfloat16.
static LLVMValueRef pair_of(struct cg_fn *f, LLVMValueRef even, LLVMValueRef odd) {
    return cg_pair_up(f, cg_to_bf16(f, even), cg_to_bf16(f, odd));
}

static void pack_block(struct cg_fn *f, const struct block *k, void *env) {
    (void)env;
    int vl = f->t->vl;
    int64_t step = k->p->pairs ? 2 : 1;
    move_rows(f, k, first_weight(f, k, f->ptr[0]), f->scratch, true);
    struct cg_loop lr, ls;
    LLVMValueRef packed, x[64], tap = taps_begin(f, k, &lr, &ls, &packed);
    LLVMValueRef first = cg_addi(f, packed_block(f, k), packed);
    if (step == 2)
        first = cg_addi(f, cg_divi(f, cg_subi(f, first, cg_i64(f, k->v * vl)), cg_i64(f, 2)), cg_i64(f, k->v * vl));
    LLVMValueRef dst = cg_gep(f, f->f32, f->ptr[1], first);
    channels_of_tap(f, k, f->scratch, tap, x);
    for (int64_t i = 0; i < k->channels; i += step)
        cg_store(f, step == 2 ? pair_of(f, x[i], x[i + 1]) : x[i], cg_gep(f, f->f32, dst, cg_i64(f, i / step * k->nr)),
                 vl * 4);
    cg_loop_end(f, &ls);
    cg_loop_end(f, &lr);
}

void cg_emit_pack(struct cg_fn *f, const void *params) {
    const struct cg_pack *p = params;
    int64_t taps;
    if (in_blocks(p, &taps))
        each_block(f, p, taps, pack_block, NULL);
    else
        all_rows(f, p, pack_row, NULL);
}

// --- and back --------------------------------------------------------------------------------------------------------

static void unpack_row(struct cg_fn *f, const struct cg_pack *p, const struct row *r, void *env) {
    const struct cg_unpack *u = env;
    int vl = f->t->vl;
    int64_t part = cg_pack_floats(f->t, p);
    LLVMValueRef sum[8];
    int64_t nvec = r->nr / vl;
    LLVMValueRef acc[2] = {cg_local(f, f->vf, LLVMConstNull(f->vf)), cg_local(f, f->vf, LLVMConstNull(f->vf))};
    struct cg_loop l;
    LLVMValueRef i = cg_loop_begin(f, &l, cg_i64(f, 0), cg_i64(f, u->parts), 1);
    for (int64_t v = 0; v < nvec; v++) {
        LLVMValueRef at = cg_gep(f, f->f32, f->ptr[0], cg_muladd(f, i, part, cg_addi(f, r->packed, cg_i64(f, v * vl))));
        LLVMValueRef x = cg_load(f, f->vf, at, vl * 4);
        LLVMBuildStore(f->b, LLVMBuildFAdd(f->b, LLVMBuildLoad2(f->b, f->vf, acc[v], ""), x, ""), acc[v]);
    }
    cg_loop_end(f, &l);
    for (int64_t v = 0; v < nvec; v++) sum[v] = LLVMBuildLoad2(f->b, f->vf, acc[v], "");
    for (int64_t k = 0; k < r->nr; k++) {
        LLVMValueRef at = lane_index(f, p, r, k);
        if (!at) continue;
        LLVMValueRef x =
            vl == 1 ? sum[k] : LLVMBuildExtractElement(f->b, sum[k / vl], cg_i32(f, (int32_t)(k % vl)), "");
        cg_store(f, x, cg_gep(f, f->f32, f->ptr[1], at), 4);
    }
}

static void unpack_block(struct cg_fn *f, const struct block *k, void *env) {
    const struct cg_unpack *u = env;
    int vl = f->t->vl;
    int64_t part = cg_pack_floats(f->t, k->p);
    struct cg_loop lr, ls, lp;
    LLVMValueRef packed, tap = taps_begin(f, k, &lr, &ls, &packed), sum[64];
    LLVMValueRef src = cg_gep(f, f->f32, f->ptr[0], cg_addi(f, packed_block(f, k), packed));
    for (int64_t i = 0; i < k->channels; i++)
        sum[i] = cg_local(f, f->vf, cg_load(f, f->vf, cg_gep(f, f->f32, src, cg_i64(f, i * k->nr)), vl * 4));
    LLVMValueRef n = cg_loop_begin(f, &lp, cg_i64(f, 1), cg_i64(f, u->parts), 1);
    for (int64_t i = 0; i < k->channels; i++) {
        LLVMValueRef at = cg_gep(f, f->f32, src, cg_muladd(f, n, part, cg_i64(f, i * k->nr)));
        LLVMValueRef old = LLVMBuildLoad2(f->b, f->vf, sum[i], "");
        LLVMBuildStore(f->b, LLVMBuildFAdd(f->b, old, cg_load(f, f->vf, at, vl * 4), ""), sum[i]);
    }
    cg_loop_end(f, &lp);
    for (int64_t i = 0; i < k->channels; i++)
        cg_store(f, LLVMBuildLoad2(f->b, f->vf, sum[i], ""),
                 vector_at(f, f->scratch, cg_addi(f, tap, cg_i64(f, i * k->taps))), vl * 4);
    cg_loop_end(f, &ls);
    cg_loop_end(f, &lr);
    move_rows(f, k, first_weight(f, k, f->ptr[1]), f->scratch, false);
}

void cg_emit_unpack(struct cg_fn *f, const void *params) {
    const struct cg_unpack *u = params;
    int64_t taps;
    if (in_blocks(&u->shape, &taps) && u->shape.c_stride <= u->shape.k_stride)
        each_block(f, &u->shape, taps, unpack_block, (void *)u);
    else
        all_rows(f, &u->shape, unpack_row, (void *)u);
}

// --- Winograd --------------------------------------------------------------------------------------------------------

static void wino_block(struct cg_fn *f, const struct block *k, void *env) {
    (void)env;
    int vl = f->t->vl;
    int64_t q_stride = cg_wino_weight_stride(f->t, k->p->c, k->p->k);
    LLVMValueRef T = f->scratch, X = vector_at(f, T, cg_i64(f, block_vectors(f, 9)));
    move_rows(f, k, first_weight(f, k, f->ptr[0]), T, true);
    struct cg_loop lr, ls, lc;
    LLVMValueRef packed, x[64], tap = taps_begin(f, k, &lr, &ls, &packed);
    channels_of_tap(f, k, T, tap, x);
    LLVMValueRef at = LLVMBuildUDiv(f->b, packed, cg_i64(f, k->p->c * k->nr), ""); // the packed tap
    for (int64_t i = 0; i < k->channels; i++)
        cg_store(f, x[i], vector_at(f, X, cg_addi(f, at, cg_i64(f, i * 9))), vl * 4);
    cg_loop_end(f, &ls);
    cg_loop_end(f, &lr);
    LLVMValueRef c = cg_loop_begin(f, &lc, cg_i64(f, 0), cg_i64(f, k->channels), 1), in[9], out[36];
    for (int i = 0; i < 9; i++) in[i] = cg_load(f, f->vf, vector_at(f, X, cg_muladd(f, c, 9, cg_i64(f, i))), vl * 4);
    cg_wino_filter(f, out, in);
    // [q][block][c][lane]: a block of one tap
    LLVMValueRef channel = cg_muli(f, cg_addi(f, k->c, c), cg_i64(f, k->nr));
    LLVMValueRef block = cg_muli(f, k->kb, cg_i64(f, 2 * vl * k->p->c));
    LLVMValueRef dst = cg_gep(f, f->f32, f->ptr[1], cg_addi(f, cg_addi(f, block, channel), cg_i64(f, k->v * vl)));
    for (int q = 0; q < 36; q++) cg_store(f, out[q], cg_gep(f, f->f32, dst, cg_i64(f, q * q_stride)), vl * 4);
    cg_loop_end(f, &lc);
}

void cg_emit_wino_pack(struct cg_fn *f, const void *params) {
    const struct cg_pack *p = params;
    int64_t taps;
    CHECK(in_blocks(p, &taps) && taps == 9 && p->groups == 1, "Winograd weights of %lld taps", (long long)taps);
    each_block(f, p, taps, wino_block, NULL);
}

// --- depthwise -------------------------------------------------------------------------------------------------------

static int64_t padded_channels(const struct cg_fn *f, int64_t c) { return cg_ceil_div(c, f->t->vl) * f->t->vl; }

// Index of weight (output channel k, input i of its group, tap r, s), and of its place in the packed order.
static LLVMValueRef lane_weight(struct cg_fn *f, const struct cg_pack *p, LLVMValueRef k, LLVMValueRef i,
                                LLVMValueRef r, LLVMValueRef s) {
    LLVMValueRef group = cg_divi(f, k, cg_i64(f, p->k)), inside = cg_remi(f, k, cg_i64(f, p->k));
    LLVMValueRef wr = cg_muladd(f, r, p->r_step, cg_i64(f, p->r0)), ws = cg_muladd(f, s, p->s_step, cg_i64(f, p->s0));
    LLVMValueRef tap = cg_muladd(f, wr, p->r_stride, cg_muli(f, ws, cg_i64(f, p->s_stride)));
    LLVMValueRef pair = cg_muladd(f, inside, p->k_stride, cg_muli(f, i, cg_i64(f, p->c_stride)));
    return cg_addi(f, cg_muladd(f, group, p->group_stride, pair), tap);
}
static LLVMValueRef lane_place(struct cg_fn *f, const struct cg_pack *p, LLVMValueRef k, LLVMValueRef i, LLVMValueRef r,
                               LLVMValueRef s) {
    LLVMValueRef row = cg_muladd(f, cg_muladd(f, r, p->S, s), p->c, i);
    return cg_muladd(f, row, padded_channels(f, p->groups * p->k), k);
}

// Loops over this thread's output channels, their inputs and taps.
struct lane_loops {
    struct cg_loop k, i, r, s;
    LLVMValueRef weight, place;
};
static void lanes_begin(struct cg_fn *f, const struct cg_pack *p, struct lane_loops *l) {
    LLVMValueRef begin, end;
    cg_share(f, cg_i64(f, p->groups * p->k), 1, &begin, &end);
    LLVMValueRef k = cg_loop_begin(f, &l->k, begin, end, 1);
    LLVMValueRef i = cg_loop_begin(f, &l->i, cg_i64(f, 0), cg_i64(f, p->c), 1);
    LLVMValueRef r = cg_loop_begin(f, &l->r, cg_i64(f, 0), cg_i64(f, p->R), 1);
    LLVMValueRef s = cg_loop_begin(f, &l->s, cg_i64(f, 0), cg_i64(f, p->S), 1);
    l->weight = lane_weight(f, p, k, i, r, s);
    l->place = lane_place(f, p, k, i, r, s);
}
static void lanes_end(struct cg_fn *f, struct lane_loops *l) {
    cg_loop_end(f, &l->s);
    cg_loop_end(f, &l->r);
    cg_loop_end(f, &l->i);
    cg_loop_end(f, &l->k);
}

void cg_emit_pack_dw(struct cg_fn *f, const void *params) {
    struct lane_loops l;
    lanes_begin(f, params, &l);
    LLVMValueRef v = cg_load(f, f->f32, cg_gep(f, f->f32, f->ptr[0], l.weight), 4);
    cg_store(f, v, cg_gep(f, f->f32, f->ptr[1], l.place), 4);
    lanes_end(f, &l);
}

void cg_emit_unpack_dw(struct cg_fn *f, const void *params) {
    const struct cg_unpack *u = params;
    const struct cg_pack *p = &u->shape;
    int64_t part = p->R * p->S * p->c * padded_channels(f, p->groups * p->k);
    struct lane_loops l;
    struct cg_loop lp;
    LLVMValueRef sum = cg_local(f, f->f32, NULL);
    lanes_begin(f, p, &l);
    LLVMBuildStore(f->b, cg_f32c(f, 0), sum);
    LLVMValueRef n = cg_loop_begin(f, &lp, cg_i64(f, 0), cg_i64(f, u->parts), 1);
    LLVMValueRef x = cg_load(f, f->f32, cg_gep(f, f->f32, f->ptr[0], cg_muladd(f, n, part, l.place)), 4);
    LLVMBuildStore(f->b, LLVMBuildFAdd(f->b, LLVMBuildLoad2(f->b, f->f32, sum, ""), x, ""), sum);
    cg_loop_end(f, &lp);
    cg_store(f, LLVMBuildLoad2(f->b, f->f32, sum, ""), cg_gep(f, f->f32, f->ptr[1], l.weight), 4);
    lanes_end(f, &l);
}
