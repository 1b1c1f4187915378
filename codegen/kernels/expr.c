// Shared machinery of pointwise and reduction kernels: loop collapsing, leaf addressing, step evaluation.
#include "expr.h"

#include "vmath.h"

#include <string.h>

static bool mergeable(const struct cg_leaf *l, int outer, int64_t inner_extent) {
    return l->stride[outer] == l->stride[outer + 1] * inner_extent;
}

static void drop_loop(struct cg_expr *e, int at) {
    for (int k = 0; k < e->n_leaves + CG_MAX_ROOTS; k++) {
        struct cg_leaf *l = k < e->n_leaves ? &e->leaves[k] : &e->out[k - e->n_leaves];
        for (int i = at; i + 1 < e->loops.n; i++) l->stride[i] = l->stride[i + 1];
        l->stride[e->loops.n - 1] = 0;
    }
    uint32_t low = e->reduced & ((1u << at) - 1), high = e->reduced >> (at + 1) << at;
    e->reduced = low | high;
    for (int i = at; i + 1 < e->loops.n; i++) e->loops.extent[i] = e->loops.extent[i + 1];
    e->loops.n--;
}

// Does everything walk loops i and i+1 as one?
static bool can_merge(const struct cg_expr *e, int i) {
    bool ok = ((e->reduced >> i) & 1) == ((e->reduced >> (i + 1)) & 1);
    for (int k = 0; ok && k < e->n_leaves; k++)
        if (e->leaves[k].kind != CG_LEAF_SCALAR) ok = mergeable(&e->leaves[k], i, e->loops.extent[i + 1]);
    for (int k = 0; ok && k < e->n_roots; k++) ok = mergeable(&e->out[k], i, e->loops.extent[i + 1]);
    return ok;
}

// Loop i+1 (then i) keeps its strides; when i was 0 it inherits `batched`.
static void merge(struct cg_expr *e, int i) {
    e->loops.extent[i + 1] *= e->loops.extent[i];
    drop_loop(e, i);
}

static bool runs_once(const struct cg_expr *e, int i) {
    return e->loops.extent[i] == 1 && !(i == 0 && e->loops.batched) && e->loops.n > 1;
}

void cg_expr_collapse(struct cg_expr *e) {
    for (int i = e->loops.n - 1; i >= 0; i--)
        if (runs_once(e, i)) drop_loop(e, i);
    for (int i = e->loops.n - 2; i >= 0; i--)
        if (can_merge(e, i)) merge(e, i);
}

void cg_parts_collapse(struct cg_expr *const *part, int n) {
    for (int i = part[0]->loops.n - 2; i >= 0; i--)
        if (runs_once(part[0], i))
            for (int k = 0; k < n; k++) drop_loop(part[k], i);
    for (int i = 0; i < part[0]->loops.n - 2;) {
        bool ok = true;
        for (int k = 0; k < n; k++) ok &= can_merge(part[k], i);
        for (int k = 0; ok && k < n; k++) merge(part[k], i);
        i += !ok;
    }
}

void cg_expr_key(const struct cg_expr *e, struct str *key) {
    str_addf(key, "L%d%s", e->loops.n, e->loops.batched ? "N" : "");
    for (int i = 0; i < e->loops.n; i++) str_addf(key, ",%lld", (long long)e->loops.extent[i]);
    str_addf(key, "R%x", e->reduced);
    for (int k = 0; k < e->n_leaves + e->n_roots; k++) {
        const struct cg_leaf *l = k < e->n_leaves ? &e->leaves[k] : &e->out[k - e->n_leaves];
        str_addf(key, ";%d:%d:%d%s:%lld", (int)l->kind, l->ptr, (int)l->dtype, l->narrow ? "n" : "",
                 (long long)l->offset);
        for (int i = 0; i < e->loops.n; i++) str_addf(key, "/%lld", (long long)l->stride[i]);
    }
    for (int k = 0; k < e->n_steps; k++) {
        const struct cg_step *s = &e->steps[k];
        str_addf(key, "|%d.%d.%d", (int)s->op, s->leaf, (int)s->dtype);
        for (int i = 0; i < s->n_in; i++) str_addf(key, ",%d", s->in[i]);
        if (s->fconst != 0 || s->iconst) str_addf(key, "=%a,%lld", s->fconst, (long long)s->iconst);
    }
    for (int k = 0; k < e->n_roots; k++) str_addf(key, "^%d", e->root[k]);
}

LLVMTypeRef cg_mem_type(struct cg_fn *f, enum ir_dtype t) {
    if (ir_is_float(t)) return t == IR_F64 ? f->f64 : f->f32;
    LLVMTypeRef by_size[] = {[1] = f->i8, [2] = f->i16, [4] = f->i32, [8] = f->i64};
    return by_size[ir_dtype_size(t)];
}

LLVMTypeRef cg_value_type(struct cg_fn *f, enum ir_dtype t) { return t == IR_BOOL ? f->i1 : cg_mem_type(f, t); }

LLVMValueRef cg_icmp(struct cg_fn *f, enum ir_dtype t, LLVMIntPredicate pred, LLVMValueRef x, LLVMValueRef y) {
    static const LLVMIntPredicate predicates[][2] = {
        {LLVMIntSLT, LLVMIntULT}, {LLVMIntSLE, LLVMIntULE}, {LLVMIntSGT, LLVMIntUGT}, {LLVMIntSGE, LLVMIntUGE}};
    for (size_t i = 0; i < sizeof predicates / sizeof *predicates && !ir_is_signed(t); i++)
        if (pred == predicates[i][0]) return LLVMBuildICmp(f->b, predicates[i][1], x, y, "");
    return LLVMBuildICmp(f->b, pred, x, y, "");
}

LLVMValueRef cg_extent(struct cg_fn *f, const struct cg_loops *l, int i) {
    LLVMValueRef k = cg_i64(f, l->extent[i]);
    return i == 0 && l->batched ? cg_muli(f, f->N, k) : k;
}

// Elements that lie a few apart are picked out of whole vectors.
static bool picked(const struct cg_leaf *l, int inner) {
    return l->kind == CG_LEAF_MEM && l->dtype == IR_F32 && l->stride[inner] > 1 && l->stride[inner] <= CG_MAX_APART;
}

bool cg_expr_picks(const struct cg_expr *e) {
    for (int k = 0; k < e->n_leaves; k++)
        if (picked(&e->leaves[k], e->loops.n - 1)) return true;
    return false;
}

int cg_expr_lanes(const struct cg_expr *e, const struct cg_target *t) {
    int inner = e->loops.n - 1;
    for (int k = 0; k < e->n_leaves; k++) {
        const struct cg_leaf *l = &e->leaves[k];
        if (l->kind == CG_LEAF_MEM && l->stride[inner] != 0 && l->stride[inner] != 1 && !picked(l, inner)) return 1;
    }
    return t->vl;
}

// Lane j of the result is element element(j, vl, n, which) of the vectors x[0..n), laid end to end.
static LLVMValueRef pick(struct cg_fn *f, LLVMValueRef *x, int n, int (*element)(int lane, int lanes, int n, int which),
                         int which) {
    int vl = f->t->vl;
    LLVMValueRef mask[64], whole[64], pair[2];
    for (int j = 0; j < vl; j++) mask[j] = cg_i32(f, element(j, vl, n, which));
    for (int j = 0; j < 2 * vl; j++) whole[j] = cg_i32(f, j);
    LLVMValueRef m = LLVMConstVector(mask, (unsigned)vl), all = LLVMConstVector(whole, (unsigned)(2 * vl));
    if (n == 2) return LLVMBuildShuffleVector(f->b, x[0], x[1], m, "");
    pair[0] = LLVMBuildShuffleVector(f->b, x[0], x[1], all, "");
    pair[1] = LLVMBuildShuffleVector(f->b, x[2], n > 3 ? x[3] : LLVMGetPoison(f->vf), all, "");
    return LLVMBuildShuffleVector(f->b, pair[0], pair[1], m, "");
}

static int apart(int lane, int lanes, int n, int which) { return (void)lanes, lane * n + which; }
static int in_turns(int lane, int lanes, int n, int which) {
    int at = which * lanes + lane; // position in memory
    return at % n * lanes + at / n;
}

LLVMValueRef cg_apart(struct cg_fn *f, LLVMValueRef *x, int n, int stream) { return pick(f, x, n, apart, stream); }
LLVMValueRef cg_in_turns(struct cg_fn *f, LLVMValueRef *x, int n, int vector) {
    return pick(f, x, n, in_turns, vector);
}

int cg_in_use(int valid, int lanes, int n, int m) {
    return (int)(valid * n - m * lanes < 0 ? 0 : valid * n - m * lanes > lanes ? lanes : valid * n - m * lanes);
}

static bool invariant(const struct cg_leaf *l, int loops) {
    for (int i = 0; i < loops; i++)
        if (l->stride[i]) return false;
    return true;
}

static LLVMTypeRef stored_type(struct cg_fn *f, const struct cg_leaf *l) {
    return l->narrow ? f->i16 : cg_mem_type(f, l->dtype);
}

int cg_leaf_size(const struct cg_leaf *l) { return l->narrow ? 2 : (int)ir_dtype_size(l->dtype); }

// Memory -> value: bytes that hold bools become i1.
static LLVMValueRef from_mem(struct cg_fn *f, LLVMValueRef v, const struct cg_leaf *l) {
    if (l->narrow) return cg_from_bf16(f, v);
    if (l->dtype != IR_BOOL) return v;
    return LLVMBuildICmp(f->b, LLVMIntNE, v, LLVMConstNull(LLVMTypeOf(v)), "");
}

static LLVMValueRef load_one(struct cg_fn *f, const struct cg_leaf *l, LLVMValueRef at) {
    return from_mem(f, cg_load(f, stored_type(f, l), at, cg_leaf_size(l)), l);
}

void cg_ev_begin(struct cg_ev *ev, struct cg_fn *f, const struct cg_expr *e) {
    *ev = (struct cg_ev){.f = f, .e = e};
    for (int k = 0; k < e->n_leaves; k++) {
        const struct cg_leaf *l = &e->leaves[k];
        LLVMTypeRef vt = cg_value_type(f, l->dtype);
        if (l->kind == CG_LEAF_SCALAR) {
            LLVMValueRef d = cg_load(f, f->f64, f->ptr[l->ptr], 8);
            ev->hoisted[k] = l->dtype == IR_F32   ? LLVMBuildFPTrunc(f->b, d, vt, "")
                             : l->dtype == IR_F64 ? d
                                                  : LLVMBuildFPToSI(f->b, d, vt, "");
        } else if (l->kind == CG_LEAF_MEM && invariant(l, e->loops.n)) {
            ev->hoisted[k] = load_one(f, l, cg_gep(f, stored_type(f, l), f->ptr[l->ptr], cg_i64(f, l->offset)));
        }
    }
}

static LLVMValueRef row_index(struct cg_ev *ev, const struct cg_leaf *l) {
    LLVMValueRef x = cg_i64(ev->f, l->offset);
    for (int i = 0; i + 1 < ev->e->loops.n; i++)
        if (l->stride[i]) x = cg_muladd(ev->f, ev->i[i], l->stride[i], x);
    return x;
}

void cg_ev_row(struct cg_ev *ev) {
    struct cg_fn *f = ev->f;
    int inner = ev->e->loops.n - 1;
    for (int k = 0; k < ev->e->n_leaves; k++) {
        const struct cg_leaf *l = &ev->e->leaves[k];
        if (ev->hoisted[k]) continue;
        LLVMValueRef at = row_index(ev, l);
        if (l->kind == CG_LEAF_INDEX) {
            ev->row[k] = at;
            continue;
        }
        LLVMValueRef a = cg_gep(f, stored_type(f, l), f->ptr[l->ptr], at);
        // Constant along the row: load it now, in front of the inner loop.
        ev->row[k] = l->stride[inner] ? a : load_one(f, l, a);
    }
}

static LLVMValueRef leaf_value(struct cg_ev *ev, int k, LLVMValueRef inner, int lanes, int valid) {
    struct cg_fn *f = ev->f;
    const struct cg_leaf *l = &ev->e->leaves[k];
    int64_t s = l->stride[ev->e->loops.n - 1];
    if (ev->hoisted[k]) return cg_splat(f, ev->hoisted[k], lanes);
    if (l->kind == CG_LEAF_INDEX) {
        LLVMValueRef v = cg_splat(f, cg_muladd(f, inner, s, ev->row[k]), lanes);
        if (lanes == 1) return v;
        LLVMValueRef e[64];
        for (int i = 0; i < lanes; i++) e[i] = cg_i64(f, i * s);
        return LLVMBuildAdd(f->b, v, LLVMConstVector(e, (unsigned)lanes), "");
    }
    if (!s) return cg_splat(f, ev->row[k], lanes);
    LLVMTypeRef mt = stored_type(f, l);
    LLVMValueRef a = cg_gep(f, mt, ev->row[k], cg_muli(f, inner, cg_i64(f, s)));
    if (lanes == 1) return load_one(f, l, a);
    if (picked(l, ev->e->loops.n - 1)) { // up to the last element and not a float further
        LLVMValueRef x[CG_MAX_APART];
        int floats = (valid - 1) * (int)s + 1;
        for (int i = 0; i < s; i++) {
            int here = floats - i * lanes < lanes ? floats - i * lanes : lanes;
            x[i] = here > 0 ? cg_load_f32(f, l->narrow, lanes, cg_gep(f, mt, a, cg_i64(f, i * lanes)), here)
                            : LLVMGetPoison(f->vf);
        }
        return cg_apart(f, x, (int)s, 0);
    }
    CHECK(s == 1, "vector load of a leaf with stride %lld", (long long)s);
    return from_mem(f, cg_load_first(f, mt, lanes, a, valid), l);
}

void cg_ev_steps(struct cg_ev *ev, const LLVMValueRef *leaves, int lanes, LLVMValueRef *out) {
    LLVMValueRef v[CG_MAX_STEPS];
    const struct cg_expr *e = ev->e;
    for (int k = 0; k < e->n_steps; k++) {
        const struct cg_step *s = &e->steps[k], *in[5];
        if (s->op == IR_OP_NONE) {
            v[k] = leaves[s->leaf];
            continue;
        }
        struct cg_pw_args a = {.f = ev->f, .s = s, .in_steps = in, .lanes = lanes};
        a.type = cg_vec_type(ev->f, cg_value_type(ev->f, s->dtype), lanes);
        for (int i = 0; i < s->n_in; i++) {
            a.x[i] = v[s->in[i]];
            in[i] = &e->steps[s->in[i]];
        }
        CHECK(cg_pw_table[s->op], "op %s is not pointwise", ir_ops[s->op].name);
        v[k] = cg_pw_table[s->op](&a);
    }
    for (int k = 0; k < e->n_roots; k++) out[k] = v[e->root[k]];
}

void cg_ev_eval(struct cg_ev *ev, LLVMValueRef inner, int lanes, int valid, LLVMValueRef *out) {
    LLVMValueRef leaves[CG_MAX_LEAVES];
    for (int k = 0; k < ev->e->n_leaves; k++) leaves[k] = leaf_value(ev, k, inner, lanes, valid);
    cg_ev_steps(ev, leaves, lanes, out);
}

LLVMValueRef cg_ev_out_row(struct cg_ev *ev, const struct cg_leaf *out) {
    return cg_gep(ev->f, stored_type(ev->f, out), ev->f->ptr[out->ptr], row_index(ev, out));
}

void cg_ev_store(struct cg_ev *ev, const struct cg_leaf *out, LLVMValueRef row, LLVMValueRef inner, LLVMValueRef v,
                 int valid) {
    struct cg_fn *f = ev->f;
    LLVMTypeRef mt = stored_type(f, out);
    int lanes = cg_lanes(LLVMTypeOf(v));
    if (out->narrow) v = cg_to_bf16(f, v);
    if (out->dtype == IR_BOOL) v = LLVMBuildZExt(f->b, v, cg_vec_type(f, mt, lanes), "");
    int64_t s = out->stride[ev->e->loops.n - 1];
    LLVMValueRef a = cg_gep(f, mt, row, cg_muli(f, inner, cg_i64(f, s)));
    if (lanes == 1) {
        cg_store(f, v, a, cg_leaf_size(out));
    } else if (ev->streams && s == 1 && valid == lanes) {
        cg_stream(f, v, a);
    } else if (s == 1) {
        cg_store_first(f, v, a, valid);
    } else { // strided destination: one lane at a time
        for (int i = 0; i < valid; i++)
            cg_store(f, LLVMBuildExtractElement(f->b, v, cg_i32(f, i), ""), cg_gep(f, mt, a, cg_i64(f, i * s)),
                     cg_leaf_size(out));
    }
}
