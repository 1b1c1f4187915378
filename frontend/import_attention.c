// Attention and rotary embedding, by their definitions: products, a softmax, and where things are in the heads.
#include "onnx_internal.h"

#include <math.h>
#include <string.h>

// [N,S,heads*size] as [N,heads,S,size].
static ir_vid apart(struct fe_ctx *c, struct fe_node *n, ir_vid x, int64_t heads) {
    const struct ir_type t = *fe_typeof(c, x);
    if (t.rank != 3 || heads < 1 || t.dims[2] % heads) {
        fe_fail(c, n, "%s does not divide into %lld heads; expected [N,S,heads*size] with q_num_heads and kv_num_heads",
                fe_dims_text(c, &t), (long long)heads);
        return IR_NONE;
    }
    const int64_t dims[4] = {t.dims[0], t.dims[1], heads, t.dims[2] / heads}, perm[4] = {0, 2, 1, 3};
    return fe_transpose(c, fe_reshape(c, x, 4, dims), 4, perm);
}

static ir_vid together(struct fe_ctx *c, ir_vid x) { // and back
    const int64_t perm[4] = {0, 2, 1, 3};
    if (x == IR_NONE) return x;
    x = fe_transpose(c, x, 4, perm);
    const struct ir_type t = *fe_typeof(c, x);
    return fe_reshape(c, x, 3, (int64_t[3]){t.dims[0], t.dims[1], t.dims[2] * t.dims[3]});
}

// Each head of x [N,heads,S,size] `times` in a row: several query heads share one of keys and values.
static ir_vid repeated(struct fe_ctx *c, ir_vid x, int64_t times) {
    const struct ir_type t = *fe_typeof(c, x);
    if (times == 1) return x;
    int64_t dims[5] = {t.dims[0], t.dims[1], 1, t.dims[2], t.dims[3]};
    x = fe_reshape(c, x, 5, dims);
    dims[2] = times;
    x = fe_expand(c, x, 5, dims);
    return fe_reshape(c, x, 4, (int64_t[4]){t.dims[0], t.dims[1] * times, t.dims[2], t.dims[3]});
}

static ir_vid concat(struct fe_ctx *c, ir_vid a, ir_vid b, int axis) {
    ir_vid in[2] = {a, b};
    if (a == IR_NONE || b == IR_NONE) return IR_NONE;
    fe_unify_batch(c, in, 2);
    return fe_emit(c, IR_OP_concat, in, 2, IR_ATTRS(IR_I("axis", axis)));
}

struct attention {
    ir_vid q, k, v; // [N,heads,S,size]; k and v with what was before them
    int64_t len, kv_len, past;
    ir_vid filled; // [N,1,1,1] i64: how many keys are no padding; IR_NONE: all
    bool three;    // operands and result are [N,S,heads*size]
};

static bool read_operands(struct fe_ctx *c, struct fe_node *n, struct attention *a) {
    ir_vid *x[3] = {&a->q, &a->k, &a->v};
    *a = (struct attention){.filled = IR_NONE};
    for (size_t i = 0; i < 3; i++)
        if ((*x[i] = fe_in(c, n, i)) == IR_NONE) return fe_fail(c, n, "needs queries, keys and values");
    a->three = fe_typeof(c, a->q)->rank == 3;
    const int64_t heads[2] = {fe_attr_i(c, n, "q_num_heads", 0), fe_attr_i(c, n, "kv_num_heads", 0)};
    for (size_t i = 0; i < 3 && a->three; i++)
        if ((*x[i] = apart(c, n, *x[i], heads[i > 0])) == IR_NONE) return false;
    for (size_t i = 0; i < 3; i++)
        if (fe_typeof(c, *x[i])->rank != 4)
            return fe_fail(c, n, "operand %zu is %s; expected 3 or 4 dimensions, as the queries have", i,
                           fe_dims_text(c, fe_typeof(c, *x[i])));
    ir_vid past[2] = {fe_in(c, n, 4), fe_in(c, n, 5)};
    if ((past[0] == IR_NONE) != (past[1] == IR_NONE)) return fe_fail(c, n, "needs both past keys and values, or none");
    if (past[0] != IR_NONE) {
        if (fe_typeof(c, past[0])->rank != 4) return fe_fail(c, n, "past keys must be [N,heads,S,size]");
        a->past = fe_typeof(c, past[0])->dims[2];
        a->k = concat(c, past[0], a->k, 2);
        a->v = concat(c, past[1], a->v, 2);
        if (a->k == IR_NONE || a->v == IR_NONE) return false;
    }
    a->len = fe_typeof(c, a->q)->dims[2];
    a->kv_len = fe_typeof(c, a->k)->dims[2];
    ir_vid filled = fe_in(c, n, 6);
    if (filled != IR_NONE) {
        const struct ir_type *t = fe_typeof(c, filled);
        if (t->rank != 1 || !ir_is_int(t->dtype)) return fe_fail(c, n, "nonpad_kv_seqlen must be integers [N]");
        const int64_t dims[4] = {t->dims[0], 1, 1, 1};
        a->filled = fe_reshape(c, fe_cast(c, filled, IR_I64), 4, dims);
    }
    return true;
}

static ir_vid both(struct fe_ctx *c, ir_vid x, ir_vid y) { return x == IR_NONE ? y : fe_e2(c, IR_OP_and, x, y); }
static ir_vid integer(struct fe_ctx *c, int64_t v) { return ir_const(c->g, ir_scalar_type(IR_I64), &v); }

// Which keys a query may look at by where both are: bool, broadcasting to [N,heads,S,T]. IR_NONE: at all.
static ir_vid reachable(struct fe_ctx *c, struct fe_node *n, const struct attention *a) {
    const int64_t rows[2] = {a->len, 1}, columns[2] = {1, a->kv_len};
    const int64_t left = fe_attr_i(c, n, "left_window_size", -1), right = fe_attr_i(c, n, "right_window_size", -1);
    const bool causal = fe_attr_i(c, n, "is_causal", 0) != 0;
    ir_vid i = fe_emit(c, IR_OP_iota, NULL, 0, IR_ATTRS(IR_IS("shape", rows, 2), IR_I("axis", 0))), ok = IR_NONE;
    ir_vid j = fe_emit(c, IR_OP_iota, NULL, 0, IR_ATTRS(IR_IS("shape", columns, 2), IR_I("axis", 1)));
    if (a->filled != IR_NONE) ok = fe_e2(c, IR_OP_lt, j, a->filled);
    if (!causal && left < 0 && right < 0) return ok;
    // A query's place among the keys: behind those that were before.
    i = fe_e2(c, IR_OP_add, i,
              a->filled == IR_NONE ? integer(c, a->past) : fe_e2(c, IR_OP_sub, a->filled, integer(c, a->len)));
    if (causal) ok = both(c, ok, fe_e2(c, IR_OP_le, j, i));
    if (left >= 0) ok = both(c, ok, fe_e2(c, IR_OP_le, fe_e2(c, IR_OP_sub, i, j), integer(c, left)));
    if (right >= 0) ok = both(c, ok, fe_e2(c, IR_OP_le, fe_e2(c, IR_OP_sub, j, i), integer(c, right)));
    return ok;
}

// The mask as numbers to add, as wide as there are keys; IR_NONE: there is none. *good false after reporting.
static ir_vid mask_of(struct fe_ctx *c, struct fe_node *n, const struct attention *a, bool *good) {
    ir_vid m = fe_in(c, n, 3);
    const enum ir_dtype t = fe_typeof(c, a->q)->dtype;
    *good = true;
    if (m == IR_NONE) return m;
    if (fe_typeof(c, m)->dtype == IR_BOOL) m = fe_where(c, m, fe_num(c, t, 0), fe_num(c, t, -INFINITY));
    const struct ir_type mt = *fe_typeof(c, m);
    const int64_t width = mt.rank ? mt.dims[mt.rank - 1] : 0;
    *good = mt.dtype == t && mt.rank >= 1 && mt.rank <= 4 && width <= a->kv_len;
    if (!*good) {
        fe_fail(c, n,
                "the mask is %s; expected at most 4 dimensions, as many columns as there are keys (%lld), and the "
                "queries' type or bool",
                fe_dims_text(c, &mt), (long long)a->kv_len);
        return IR_NONE;
    }
    if (width == a->kv_len || width == 1) return m;
    int64_t lo[IR_MAX_RANK] = {0}, hi[IR_MAX_RANK] = {0};
    hi[mt.rank - 1] = a->kv_len - width;
    return fe_emit(c, IR_OP_pad, &m, 1,
                   IR_ATTRS(IR_IS("lo", lo, mt.rank), IR_IS("hi", hi, mt.rank), IR_F("value", -INFINITY)));
}

static bool all_made(const ir_vid *v, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (v[i] == IR_NONE) return false;
    return true;
}

bool fe_op_attention(struct fe_ctx *c, struct fe_node *n) {
    struct attention a;
    bool good;
    if (!read_operands(c, n, &a)) return false;
    const struct ir_type tq = *fe_typeof(c, a.q), tk = *fe_typeof(c, a.k);
    if (tk.dims[1] < 1 || tq.dims[1] % tk.dims[1])
        return fe_fail(c, n, "%lld heads of queries are no multiple of %lld of keys", (long long)tq.dims[1],
                       (long long)tk.dims[1]);
    ir_vid mask = mask_of(c, n, &a, &good), ok = reachable(c, n, &a);
    if (!good) return false;
    const double scale = fe_attr_f(c, n, "scale", 0), cap = fe_attr_f(c, n, "softcap", 0);
    ir_vid seen[4], k = repeated(c, a.k, tq.dims[1] / tk.dims[1]), v = repeated(c, a.v, tq.dims[1] / tk.dims[1]);
    ir_vid q = fe_e2(c, IR_OP_mul, a.q, fe_like(c, a.q, scale != 0 ? scale : 1 / sqrt((double)tq.dims[3])));
    if (!all_made((ir_vid[]){q, k, v}, 3)) return false;
    ir_vid z = seen[0] = fe_matmul(c, q, k, 0, 1);
    if (z == IR_NONE) return false;
    if (cap != 0)
        z = fe_e2(c, IR_OP_mul, fe_e1(c, IR_OP_tanh, fe_e2(c, IR_OP_div, z, fe_like(c, z, cap))), fe_like(c, z, cap));
    seen[1] = seen[2] = z;
    // A query that may look at nothing gives 0. Its scores are 0 in front of the softmax: -inf - -inf has no gradient.
    ir_vid blind = IR_NONE;
    if (mask != IR_NONE || ok != IR_NONE) {
        ir_vid zero = fe_like(c, z, 0), bias = mask;
        if (ok != IR_NONE) bias = fe_where(c, ok, mask == IR_NONE ? zero : mask, fe_like(c, z, -INFINITY));
        if (bias == IR_NONE) return false;
        const int64_t last[1] = {fe_typeof(c, bias)->rank - 1};
        blind = fe_e2(c, IR_OP_eq, fe_reduce(c, IR_OP_reduce_max, bias, last, 1, 1), fe_like(c, z, -INFINITY));
        z = seen[2] = fe_e2(c, IR_OP_add, z, bias);
        z = fe_where(c, blind, zero, z);
    }
    if (z == IR_NONE) return false;
    ir_vid p = fe_emit(c, IR_OP_softmax, &z, 1, IR_ATTRS(IR_I("axis", -1)));
    if (blind != IR_NONE) p = fe_where(c, blind, fe_like(c, z, 0), p);
    seen[3] = p;
    const int64_t mode = fe_attr_i(c, n, "qk_matmul_output_mode", 0);
    if (mode < 0 || mode > 3) return fe_fail(c, n, "qk_matmul_output_mode %lld; 0 to 3 are known", (long long)mode);
    ir_vid y = p == IR_NONE ? p : fe_matmul(c, p, v, 0, 0), more[3] = {a.k, a.v, seen[mode]};
    for (size_t i = 1; i < n->n_out && i < 4; i++)
        if (n->wanted[i] && !fe_out(c, n, i, more[i - 1])) return false;
    return fe_out(c, n, 0, a.three ? together(c, y) : y);
}

// --- rotary embedding

static ir_vid part(struct fe_ctx *c, ir_vid x, int64_t start, int64_t size, int64_t step) { // of the last axis
    return fe_cut(c, x, fe_typeof(c, x)->rank - 1, start, size, step);
}

// cos or sin of each position, [N,S,half] or [S,half], to broadcast over the heads, which are axis `heads` of 4.
static ir_vid angles(struct fe_ctx *c, struct fe_node *n, ir_vid table, ir_vid at, int heads) {
    if (table != IR_NONE && at != IR_NONE)
        table = fe_emit(c, IR_OP_gather, (ir_vid[]){table, at}, 2, IR_ATTRS(IR_I("axis", 0)));
    if (table == IR_NONE) return table;
    const struct ir_type t = *fe_typeof(c, table);
    if (t.rank != 3 && t.rank != 2) {
        fe_fail(c, n, "a table of angles is %s; expected [positions,half] with position_ids, [N,S,half] without",
                fe_dims_text(c, &t));
        return IR_NONE;
    }
    const int64_t of[3] = {t.rank == 3 ? t.dims[0] : 1, t.dims[t.rank - 2], t.dims[t.rank - 1]};
    int64_t dims[4] = {of[0], heads == 1 ? 1 : of[1], heads == 1 ? of[1] : 1, of[2]};
    return fe_reshape(c, table, 4, dims);
}

// onnxruntime's has the positions second, and takes one number for where they begin.
bool fe_op_rotary(struct fe_ctx *c, struct fe_node *n) {
    const size_t first = n->arg ? 2 : 1;
    ir_vid x = fe_in(c, n, 0), cos_table = fe_in(c, n, first), sin_table = fe_in(c, n, first + 1);
    ir_vid at = fe_in(c, n, n->arg ? 1 : 3);
    if (x == IR_NONE || cos_table == IR_NONE || sin_table == IR_NONE || (n->arg && at == IR_NONE))
        return fe_fail(c, n, "needs an input and tables of cosines and sines");
    const struct ir_type t = *fe_typeof(c, x);
    int64_t heads = fe_attr_i(c, n, "num_heads", 0), turned = fe_attr_i(c, n, "rotary_embedding_dim", 0);
    const int head_axis = t.rank == 4 ? 1 : 2;
    if (t.rank == 3) {
        if (heads < 1 && n->arg)
            heads = t.dims[2] / (2 * fe_typeof(c, cos_table)->dims[fe_typeof(c, cos_table)->rank - 1]);
        if (heads < 1 || t.dims[2] % heads)
            return fe_fail(c, n, "num_heads %lld does not divide %s", (long long)heads, fe_dims_text(c, &t));
        x = fe_reshape(c, x, 4, (int64_t[4]){t.dims[0], t.dims[1], heads, t.dims[2] / heads});
    } else if (t.rank != 4) {
        return fe_fail(c, n, "its input is %s; expected 3 or 4 dimensions", fe_dims_text(c, &t));
    }
    const int64_t size = fe_typeof(c, x)->dims[3], len = fe_typeof(c, x)->dims[3 - head_axis];
    if (turned == 0) turned = size;
    if (turned < 2 || turned > size || turned % 2)
        return fe_fail(c, n, "rotary_embedding_dim %lld; expected an even number up to %lld", (long long)turned,
                       (long long)size);
    if (at != IR_NONE && ir_numel(fe_typeof(c, at)) == 1 && n->arg) {
        ir_vid from = fe_reshape(c, at, 1, (int64_t[1]){1});
        ir_vid steps = fe_emit(c, IR_OP_iota, NULL, 0, IR_ATTRS(IR_IS("shape", &len, 1), IR_I("axis", 0)));
        at = fe_e2(c, IR_OP_add, fe_cast(c, from, IR_I64), steps);
    }
    ir_vid co = angles(c, n, cos_table, at, head_axis), si = angles(c, n, sin_table, at, head_axis);
    if (co == IR_NONE || si == IR_NONE) return false;
    const int64_t half = turned / 2;
    if (fe_typeof(c, co)->dims[3] != half || fe_typeof(c, si)->dims[3] != half)
        return fe_fail(c, n, "the tables have %lld columns, expected %lld: half of what is turned",
                       (long long)fe_typeof(c, co)->dims[3], (long long)half);
    const bool pairs = fe_attr_i(c, n, "interleaved", 0) != 0;
    ir_vid a = part(c, x, 0, half, pairs ? 2 : 1), b = part(c, x, pairs ? 1 : half, half, pairs ? 2 : 1);
    ir_vid re = fe_e2(c, IR_OP_sub, fe_e2(c, IR_OP_mul, co, a), fe_e2(c, IR_OP_mul, si, b));
    ir_vid im = fe_e2(c, IR_OP_add, fe_e2(c, IR_OP_mul, si, a), fe_e2(c, IR_OP_mul, co, b)), y;
    if (re == IR_NONE || im == IR_NONE) return false;
    if (pairs) {
        struct ir_type each = *fe_typeof(c, re);
        each.dims[4] = 1;
        y = concat(c, fe_reshape(c, re, 5, each.dims), fe_reshape(c, im, 5, each.dims), 4);
        each.dims[3] *= 2;
        y = fe_reshape(c, y, 4, each.dims);
    } else {
        y = concat(c, re, im, 3);
    }
    if (turned < size) y = concat(c, y, part(c, x, turned, size - turned, 1), 3);
    return fe_out(c, n, 0, y == IR_NONE || t.rank == 4 ? y : fe_reshape(c, y, 3, t.dims));
}
