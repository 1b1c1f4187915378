// Values whose batch is not the first axis of the ONNX tensor, or is a factor of one: sequence-first attention computes
// with [T,N,C], [T,N*heads,C/heads] and [T*N,C]. The IR wants the batch first, so such a value (struct fe_val's
// is_moved) holds a batch-first base and a frame that says how the ONNX tensor reads it:
//
//   ONNX [lead dims, before * N * after, trail dims]   is the base   [N, lead dims, before, after, trail dims]
//
// where `before` and `after` are left out when they are 1. Elementwise operators, products and reductions then work on
// the base as they are, with their axis attributes translated (fe_axis); moves change base and frame.
#include "onnx_internal.h"

#include <string.h>

static int extra(const struct fe_frame *f) { return (f->before != 1) + (f->after != 1); }

bool fe_frame_of(struct fe_ctx *c, struct fe_val *v, struct fe_frame *f, ir_vid *base) {
    if (v->is_moved) {
        *f = v->frame;
        *base = v->vid;
        return true;
    }
    struct ir_type t = *fe_type(c, v);
    *f = (struct fe_frame){.rank = t.rank, .before = 1, .after = ir_is_batched(&t) ? -t.dims[0] : 1};
    *base = fe_vid(c, v);
    if (*base == IR_NONE || f->after == 1) return *base != IR_NONE;
    if (t.rank == IR_MAX_RANK) return false;
    memmove(t.dims + 2, t.dims + 1, (size_t)(t.rank - 1) * sizeof *t.dims);
    t.dims[0] = IR_N;
    t.dims[1] = f->after;
    *base = fe_reshape(c, *base, t.rank + 1, t.dims);
    return *base != IR_NONE;
}

struct fe_val *fe_framed(struct fe_ctx *c, ir_vid base, const struct fe_frame *f) {
    if (base == IR_NONE) return NULL;
    if (f->at > 0 || f->before != 1) {
        struct fe_val *v = fe_val_of(c, base);
        v->is_moved = true;
        v->frame = *f;
        return v;
    }
    if (f->after == 1) return fe_val_of(c, base);
    struct ir_type t = *fe_typeof(c, base);
    t.dims[1] = -f->after;
    return fe_val_of(c, fe_reshape(c, base, t.rank - 1, t.dims + 1));
}

int fe_onnx_dims(struct fe_ctx *c, const struct fe_val *v, int64_t *dims) {
    const struct ir_type *t = fe_type(c, v);
    if (!v->is_moved) {
        memcpy(dims, t->dims, (size_t)t->rank * sizeof *dims);
        return t->rank;
    }
    const struct fe_frame *f = &v->frame;
    for (int i = 0; i < f->rank; i++)
        dims[i] = i < f->at ? t->dims[i + 1] : i == f->at ? -f->before * f->after : t->dims[i + extra(f)];
    return f->rank;
}

struct fe_val *fe_moved_reshape(struct fe_ctx *c, struct fe_val *v, const struct fe_frame *f, const int64_t *dims) {
    struct fe_frame old;
    ir_vid base;
    if (!fe_frame_of(c, v, &old, &base) || f->rank + extra(f) > IR_MAX_RANK) return NULL;
    int64_t to[IR_MAX_RANK];
    int k = 0;
    to[k++] = IR_N;
    for (int i = 0; i < f->at; i++) to[k++] = dims[i];
    if (f->before != 1) to[k++] = f->before;
    if (f->after != 1) to[k++] = f->after;
    for (int i = f->at + 1; i < f->rank; i++) to[k++] = dims[i];
    return fe_framed(c, fe_reshape(c, base, k, to), f);
}

struct fe_val *fe_moved_transpose(struct fe_ctx *c, struct fe_val *v, const int64_t *perm) {
    struct fe_frame f;
    ir_vid base;
    if (!fe_frame_of(c, v, &f, &base)) return NULL;
    int64_t to[IR_MAX_RANK];
    int k = 0, e = extra(&f), at = 0;
    to[k++] = 0;
    for (int i = 0; i < f.rank; i++) {
        if (perm[i] == f.at) {
            at = i;
            for (int j = 0; j < e; j++) to[k++] = f.at + 1 + j;
        } else {
            to[k++] = perm[i] < f.at ? perm[i] + 1 : perm[i] + e;
        }
    }
    bool same = true;
    for (int i = 0; i < k; i++) same &= to[i] == i;
    f.at = at;
    return fe_framed(c, same ? base : fe_transpose(c, base, k, to), &f);
}

struct fe_val *fe_moved_expand(struct fe_ctx *c, struct fe_val *v, int rank, const int64_t *dims) {
    struct fe_frame f = {.rank = rank, .before = 1};
    while (f.at < rank && dims[f.at] > 0) f.at++;
    if (f.at == rank) return NULL;
    f.after = -dims[f.at];
    int64_t now[IR_MAX_RANK], from[IR_MAX_RANK], to[IR_MAX_RANK];
    const int had = fe_onnx_dims(c, v, now), pad = rank - had;
    ir_vid x = IR_NONE;
    from[0] = 1; // of a value without the batch, whose axis there is 1
    if (ir_is_batched(fe_type(c, v))) {
        if (!fe_frame_of(c, v, &f, &x) || f.at + pad < 0) return NULL;
        f.at += pad;
        f.rank = rank;
        from[0] = IR_N;
    }
    if (rank + extra(&f) > IR_MAX_RANK) return NULL;
    int k = 1;
    to[0] = IR_N;
    for (int i = 0; i < rank; i++) {
        if (i != f.at) {
            from[k] = i < pad ? 1 : now[i - pad];
            to[k++] = dims[i];
            continue;
        }
        const int64_t parts[2] = {f.before, f.after};
        for (int j = 0; j < 2; j++) {
            if (parts[j] == 1) continue;
            from[k] = from[0] == IR_N ? parts[j] : 1;
            to[k++] = parts[j];
        }
    }
    struct fe_val *flat = fe_p_reshape(c, x == IR_NONE ? v : fe_val_of(c, x), k, from);
    struct fe_val *wide = flat ? fe_p_expand(c, flat, k, to) : NULL;
    return wide ? fe_framed(c, fe_vid(c, wide), &f) : NULL;
}

// How far a way to read a shape is from what people mean, where a file with a fixed batch leaves several: features stay
// an axis of their own, so does what comes before the batch, and little is merged with it.
static int64_t oddity(const struct fe_frame *f) {
    int64_t merged = f->before * f->after;
    if (merged > INT32_MAX) merged = INT32_MAX;
    return merged + ((int64_t)(f->before != 1) << 40) + ((int64_t)(f->rank > 1 && f->at == f->rank - 1) << 41);
}

bool fe_moved_solve(struct fe_ctx *c, struct fe_val *v, int64_t *dims, int rank, int hole, struct fe_frame *f,
                    bool *baked) {
    struct fe_frame now, best = {0};
    int64_t shape[IR_MAX_RANK], first = 1, second = 1, total, filled[IR_MAX_RANK];
    int n = fe_onnx_dims(c, v, shape), symbolic = -1;
    if (v->is_moved)
        now = v->frame;
    else
        now = (struct fe_frame){.rank = n, .before = 1, .after = -shape[0]};
    for (int i = 0; i < n; i++)
        if (i != now.at) *(i < now.at ? &first : &second) *= shape[i];
    first *= now.before; // elements of a sample before and after the batch
    second *= now.after;
    total = first * second;
    for (int i = 0; i < rank; i++) {
        if (i == hole || dims[i] > 0) continue;
        if (dims[i] == 0 || symbolic >= 0) return false;
        symbolic = i;
    }
    for (int q = 0; q < rank; q++) {
        bool guess = symbolic < 0 && q != hole;
        if ((symbolic >= 0 && q != symbolic) || (guess && (!c->baked || dims[q] % c->baked))) continue;
        int64_t d[IR_MAX_RANK], rest = 1, pre = 1, post = 1;
        memcpy(d, dims, (size_t)rank * sizeof *d);
        d[q] = q == hole ? 1 : guess ? dims[q] / c->baked : -dims[q];
        bool ok = true;
        for (int i = 0; i < rank && ok; i++) ok = i == hole || !__builtin_mul_overflow(rest, d[i], &rest);
        if (!ok || rest < 1 || (hole >= 0 ? total % rest : total != rest)) continue;
        if (hole >= 0) d[hole] = total / rest;
        for (int i = 0; i < rank; i++)
            if (i != q) *(i < q ? &pre : &post) *= d[i];
        struct fe_frame g = {.rank = rank, .at = q, .before = first / pre, .after = second / post};
        if (first % pre || second % post || g.before * g.after != d[q]) continue;
        if (best.rank && oddity(&best) <= oddity(&g)) continue;
        best = g;
        d[q] = -d[q];
        memcpy(filled, d, sizeof *d * (size_t)rank);
        *baked = guess;
    }
    if (!best.rank) return false;
    *f = best;
    memcpy(dims, filled, sizeof *dims * (size_t)rank);
    return true;
}

// --- operators that work on bases

// How many leading operands share the frame (the others are attributes in spirit), by operator.
enum { ALL = 99 };
static const struct works {
    const char *op;
    int operands;
} works[] = {
    {"Abs", 1},
    {"Cast", 1},
    {"Ceil", 1},
    {"Clip", 1},
    {"Cos", 1},
    {"Dropout", 1},
    {"Elu", 1},
    {"Erf", 1},
    {"Exp", 1},
    {"Floor", 1},
    {"Gelu", 1},
    {"HardSigmoid", 1},
    {"HardSwish", 1},
    {"LeakyRelu", 1},
    {"Log", 1},
    {"Mish", 1},
    {"Neg", 1},
    {"Not", 1},
    {"Reciprocal", 1},
    {"Relu", 1},
    {"Selu", 1},
    {"Sigmoid", 1},
    {"Sign", 1},
    {"Sin", 1},
    {"Softplus", 1},
    {"Sqrt", 1},
    {"Swish", 1},
    {"Tanh", 1},
    {"Add", 2},
    {"And", 2},
    {"CastLike", 2},
    {"Div", 2},
    {"Equal", 2},
    {"Greater", 2},
    {"GreaterOrEqual", 2},
    {"Less", 2},
    {"LessOrEqual", 2},
    {"Mod", 2},
    {"Mul", 2},
    {"Or", 2},
    {"PRelu", 2},
    {"Pow", 2},
    {"Sub", 2},
    {"Where", 3},
    {"Concat", ALL},
    {"Max", ALL},
    {"Mean", ALL},
    {"Min", ALL},
    {"Sum", ALL},
    {"Gemm", 1},
    {"MatMul", 2},
    {"ArgMax", 1},
    {"ArgMin", 1},
    {"CumProd", 1},
    {"CumSum", 1},
    {"Gather", 1},
    {"GatherND", 1},
    {"LayerNormalization", 1},
    {"LogSoftmax", 1},
    {"LpNormalization", 1},
    {"RMSNormalization", 1},
    {"ReduceL1", 1},
    {"ReduceL2", 1},
    {"ReduceLogSumExp", 1},
    {"ReduceMax", 1},
    {"ReduceMean", 1},
    {"ReduceMin", 1},
    {"ReduceSum", 1},
    {"ReduceSumSquare", 1},
    {"Slice", 1},
    {"Softmax", 1},
    {"Split", 1},
    {"SplitToSequence", 1},
    {"TopK", 1},
};
// Those that read a frame themselves or only hand values on.
static const char *const own[] = {"Expand",
                                  "GRU",
                                  "Identity",
                                  "If",
                                  "LSTM",
                                  "Loop",
                                  "Optional",
                                  "OptionalGetElement",
                                  "OptionalHasElement",
                                  "RNN",
                                  "Reshape",
                                  "Scan",
                                  "SequenceConstruct",
                                  "SequenceInsert",
                                  "SequenceMap",
                                  "Shape",
                                  "Squeeze",
                                  "Transpose",
                                  "Unsqueeze"};

static int operands_of(const char *op) {
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (!strcmp(own[i], op)) return 0;
    for (size_t i = 0; i < sizeof works / sizeof *works; i++)
        if (!strcmp(works[i].op, op)) return works[i].operands;
    return -1;
}

// Operand `v` as it broadcasts against a base in frame f; NULL when it cannot.
static struct fe_val *aligned(struct fe_ctx *c, struct fe_val *v, const struct fe_frame *f, bool product) {
    int64_t dims[IR_MAX_RANK], wide[IR_MAX_RANK];
    int rank = fe_onnx_dims(c, v, dims), pad = f->rank - rank;
    if (v->is_moved || ir_is_batched(fe_type(c, v))) {
        struct fe_frame g;
        ir_vid base;
        if (!fe_frame_of(c, v, &g, &base) || g.at + pad != f->at || g.before != f->before || g.after != f->after)
            return NULL;
        if (pad == 0) return fe_val_of(c, base);
        const struct ir_type t = *fe_typeof(c, base);
        if (t.rank + pad > IR_MAX_RANK) return NULL;
        wide[0] = IR_N;
        for (int i = 1; i < t.rank + pad; i++) wide[i] = i <= pad ? 1 : t.dims[i - pad];
        return fe_val_of(c, fe_reshape(c, base, t.rank + pad, wide));
    }
    const struct fe_sym *s = fe_known(c, v, false);
    if (rank < f->rank - f->at || (product && rank <= 2) || (s && s->n == 1 && rank <= 1)) return v; // behind the batch
    int k = 0;
    int64_t at = dims[f->at - pad]; // the file's fixed batch there is the batch
    if (at != 1 && (extra(f) || c->baked < 2 || at != c->baked)) return NULL;
    wide[k++] = at;
    for (int i = 0; i < f->at; i++) wide[k++] = i < pad ? 1 : dims[i - pad];
    for (int i = 0; i < extra(f); i++) wide[k++] = 1;
    for (int i = f->at + 1; i < f->rank; i++) wide[k++] = dims[i - pad];
    if (at != 1 && f->at > 0) { // more than a reshape
        int64_t perm[IR_MAX_RANK];
        if (pad) return NULL;
        perm[0] = f->at;
        for (int i = 1; i < rank; i++) perm[i] = i <= f->at ? i - 1 : i;
        return fe_p_transpose(c, v, perm);
    }
    return fe_p_reshape(c, v, k, wide);
}

static bool moved_operand(const struct fe_node *n, size_t *which) {
    for (size_t i = 0; i < n->n_in; i++)
        if (n->in[i] && n->in[i]->is_moved) {
            *which = i;
            return true;
        }
    return false;
}

// Rows [before*N*after, K] times a matrix: the order of the rows does not matter.
static bool enter_gemm(struct fe_ctx *c, struct fe_node *n) {
    const struct fe_val *x = n->in[0];
    const struct fe_frame *f = &x->frame;
    if (f->at || fe_attr_i(c, n, "transA", 0)) return false;
    const struct ir_type *t = fe_typeof(c, x->vid);
    int64_t dims[2] = {-f->before * f->after, t->dims[t->rank - 1]};
    n->frame = *f;
    n->in[0] = fe_val_of(c, fe_reshape(c, x->vid, 2, dims));
    n->moved = n->in[0] != NULL;
    return n->moved;
}

bool fe_moved_enter(struct fe_ctx *c, struct fe_node *n) {
    size_t which;
    if (!moved_operand(n, &which)) return true;
    int k = operands_of(n->op);
    if (k == 0) return true;
    const struct fe_frame *f = &n->in[which]->frame;
    bool product = !strcmp(n->op, "MatMul"), layer = strstr(n->op, "LayerNorm") || !strcmp(n->op, "RMSNormalization");
    bool old = !strcmp(n->op, "Softmax") || !strcmp(n->op, "LogSoftmax"); // flattens before opset 13
    bool ok = (int)which < k && !(old && c->opset < 13);
    if (ok && product) { // the batch may be a row of the left operand where the right one is a matrix for all of them
        struct fe_val *other = fe_arg(n, 1 - which);
        bool rows = !which && other && !other->is_moved && !ir_is_batched(fe_type(c, other));
        ok = f->at < f->rank - (rows ? 1 : 2);
    }
    for (size_t i = which + 1; ok && i < n->n_in && (int)i >= k; i++) ok = !n->in[i] || !n->in[i]->is_moved;
    if (ok && layer) {
        int64_t axis = fe_attr_i(c, n, "axis", -1);
        ok = (axis < 0 ? axis + f->rank : axis) > f->at; // it normalises from there on
    }
    if (ok && !strcmp(n->op, "Gemm")) {
        if (enter_gemm(c, n)) return true;
        ok = false;
    }
    if (ok) {
        struct fe_frame to = *f;
        for (size_t i = 0; i < n->n_in && (int)i < k; i++) {
            int64_t dims[IR_MAX_RANK];
            int rank = n->in[i] ? fe_onnx_dims(c, n->in[i], dims) : 0;
            if (product && rank <= 2) continue;
            if (rank > to.rank) {
                to.at += rank - to.rank;
                to.rank = rank;
            }
        }
        ok = to.rank + extra(&to) <= IR_MAX_RANK;
        for (size_t i = 0; ok && i < n->n_in && (int)i < k; i++) {
            if (!n->in[i]) continue;
            n->in[i] = aligned(c, n->in[i], &to, product);
            ok = n->in[i] != NULL;
        }
        n->frame = to;
        n->moved = true;
    }
    return ok || fe_fail(c, n,
                         "an operand has the batch away from the first axis, which is not supported here (use a "
                         "batch-first model)");
}

static struct fe_val *left(struct fe_ctx *c, struct fe_node *n, struct fe_val *v) {
    if (!v || v->is_moved) return v;
    const struct ir_type t = *fe_type(c, v);
    struct fe_frame f = n->frame;
    ir_vid x = fe_vid(c, v);
    if (x != IR_NONE && ir_is_batched(&t) && !strcmp(n->op, "Gemm")) {
        int64_t dims[4] = {IR_N};
        int k = 1;
        if (f.before != 1) dims[k++] = f.before;
        if (f.after != 1) dims[k++] = f.after;
        dims[k++] = t.dims[1];
        return fe_framed(c, fe_reshape(c, x, k, dims), &f);
    }
    f.rank = t.rank - extra(&f);
    if (x == IR_NONE || !ir_is_batched(&t) || f.at >= f.rank) {
        fe_fail(c, n, "it computes along the batch, which is not supported");
        return NULL;
    }
    return fe_framed(c, x, &f);
}

bool fe_moved_leave(struct fe_ctx *c, struct fe_node *n) {
    for (size_t i = 0; n->moved && i < n->n_out; i++) {
        struct fe_val *v = n->out[i];
        if (!v) continue;
        for (size_t k = 0; v->is_seq && k < v->n_items; k++)
            if (!(v->items[k] = left(c, n, v->items[k]))) return false;
        if (!v->is_seq && !(n->out[i] = left(c, n, v))) return false;
    }
    return true;
}

bool fe_moved_axis(const struct fe_node *n, int64_t axis, int *out) {
    const struct fe_frame *f = &n->frame;
    if (axis < -f->rank || axis >= f->rank) return false;
    if (axis < 0) axis += f->rank;
    if (axis == f->at && extra(f)) return false;
    *out = (int)(axis < f->at ? axis + 1 : axis == f->at ? 0 : axis + extra(f));
    return true;
}

void fe_moved_lost(struct fe_node *n, const int64_t *axes, size_t k) {
    int lost = 0;
    for (size_t i = 0; i < k; i++) lost += axes[i] >= 1 && axes[i] <= n->frame.at;
    n->frame.at -= n->moved ? lost : 0;
}
