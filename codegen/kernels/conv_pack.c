// Weights into the order the micro-kernels read them, and packed weight gradients back into ONNX order.
#include "kernels.h"

int64_t cg_pack_floats(const struct cg_target *t, const struct cg_pack *p) {
    return p->groups * cg_blocks_of(t, p->merge * p->k).floats * p->R * p->S * p->merge * p->c;
}

// Where a packed row lies: indices of one (group, block, r, s, channel) and the addresses that belong to it.
struct row {
    int64_t nr, lanes, first_k; // width; lanes in use; k of lane 0 when first_k >= 0, else the block loop's
    int64_t j;                  // group inside the super-group of this row's input channel
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

static void pack_row(struct cg_fn *f, const struct cg_pack *p, const struct row *r, void *env) {
    (void)env;
    LLVMValueRef dst = cg_gep(f, f->f32, f->ptr[1], r->packed);
    for (int64_t l = 0; l < r->nr; l++) {
        LLVMValueRef at = lane_index(f, p, r, l);
        LLVMValueRef v = at ? cg_load(f, f->f32, cg_gep(f, f->f32, f->ptr[0], at), 4) : cg_f32c(f, 0);
        cg_store(f, v, cg_gep(f, f->f32, dst, cg_i64(f, l)), 4);
    }
}

void cg_emit_pack(struct cg_fn *f, const void *params) { all_rows(f, params, pack_row, NULL); }

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

void cg_emit_unpack(struct cg_fn *f, const void *params) {
    const struct cg_unpack *u = params;
    all_rows(f, &u->shape, unpack_row, (void *)u);
}

// --- depthwise -------------------------------------------------------------------------------------------------------

static int64_t padded_channels(const struct cg_fn *f, int64_t c) { return cg_ceil_div(c, f->t->vl) * f->t->vl; }

void cg_emit_pack_dw(struct cg_fn *f, const void *params) {
    const struct cg_pack *p = params;
    LLVMValueRef begin, end;
    cg_share(f, cg_i64(f, p->groups), 1, &begin, &end);
    struct cg_loop lc, lr, ls;
    LLVMValueRef c = cg_loop_begin(f, &lc, begin, end, 1);
    LLVMValueRef r = cg_loop_begin(f, &lr, cg_i64(f, 0), cg_i64(f, p->R), 1);
    LLVMValueRef s = cg_loop_begin(f, &ls, cg_i64(f, 0), cg_i64(f, p->S), 1);
    LLVMValueRef packed = cg_muladd(f, cg_muladd(f, r, p->S, s), padded_channels(f, p->groups), c);
    LLVMValueRef wr = cg_muladd(f, r, p->r_step, cg_i64(f, p->r0)), ws = cg_muladd(f, s, p->s_step, cg_i64(f, p->s0));
    LLVMValueRef src =
        cg_muladd(f, c, p->group_stride, cg_muladd(f, wr, p->r_stride, cg_muli(f, ws, cg_i64(f, p->s_stride))));
    cg_store(f, cg_load(f, f->f32, cg_gep(f, f->f32, f->ptr[0], src), 4), cg_gep(f, f->f32, f->ptr[1], packed), 4);
    cg_loop_end(f, &ls);
    cg_loop_end(f, &lr);
    cg_loop_end(f, &lc);
}

void cg_emit_unpack_dw(struct cg_fn *f, const void *params) {
    const struct cg_unpack *u = params;
    const struct cg_pack *p = &u->shape;
    int64_t cp = padded_channels(f, p->groups), part = p->R * p->S * cp;
    LLVMValueRef begin, end;
    cg_share(f, cg_i64(f, p->groups), 1, &begin, &end);
    struct cg_loop lc, lt, lp;
    LLVMValueRef c = cg_loop_begin(f, &lc, begin, end, 1);
    LLVMValueRef t = cg_loop_begin(f, &lt, cg_i64(f, 0), cg_i64(f, p->R * p->S), 1);
    LLVMValueRef sum = cg_local(f, f->f32, cg_f32c(f, 0));
    LLVMValueRef i = cg_loop_begin(f, &lp, cg_i64(f, 0), cg_i64(f, u->parts), 1);
    LLVMValueRef at = cg_addi(f, cg_muladd(f, i, part, c), cg_muli(f, t, cg_i64(f, cp)));
    LLVMValueRef x = cg_load(f, f->f32, cg_gep(f, f->f32, f->ptr[0], at), 4);
    LLVMBuildStore(f->b, LLVMBuildFAdd(f->b, LLVMBuildLoad2(f->b, f->f32, sum, ""), x, ""), sum);
    cg_loop_end(f, &lp);
    LLVMValueRef dst = cg_gep(f, f->f32, f->ptr[1], cg_muladd(f, c, p->group_stride, t));
    cg_store(f, LLVMBuildLoad2(f->b, f->f32, sum, ""), dst, 4);
    cg_loop_end(f, &lt);
    cg_loop_end(f, &lc);
}
