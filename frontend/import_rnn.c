// RNN, GRU and LSTM, unrolled over their steps: one product of all steps' inputs with W in front, then a product of the
// state with R and the gates for each step. Values are [rows, 1, ..] within a step, so that a step of [rows, T, ..] is
// a slice and no reshape, which would need a copy. What every step reads of a parameter (the bias of a gate, peepholes)
// is a step of the parameter repeated over rows and steps: its gradient is then one sum.
#include "onnx_internal.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

enum kind { RNN, GRU, LSTM };
enum { MAX_GATES = 4, MAX_ACTIVATIONS = 3 };

static const struct {
    int gates, activations;
    const char *usual[MAX_ACTIVATIONS];
} kinds[] = {
    [RNN] = {1, 1, {"Tanh"}},
    [GRU] = {3, 2, {"Sigmoid", "Tanh"}},
    [LSTM] = {4, 3, {"Sigmoid", "Tanh", "Tanh"}},
};

// What an activation is made of: operators, but for two that ONNX knows in here alone.
static const struct known {
    const char *name, *op;
    bool alpha, beta;
} activations[] = {
    {"Relu", "Relu", false, false},
    {"Tanh", "Tanh", false, false},
    {"Sigmoid", "Sigmoid", false, false},
    {"Affine", NULL, true, true},
    {"LeakyRelu", "LeakyRelu", true, false},
    {"ThresholdedRelu", "ThresholdedRelu", true, false},
    {"ScaledTanh", "Tanh", true, true},
    {"HardSigmoid", "HardSigmoid", true, true},
    {"Elu", "Elu", true, false},
    {"Softsign", "Softsign", false, false},
    {"Softplus", "Softplus", false, false},
};

struct activation {
    const struct known *is;
    bool has_alpha, has_beta; // given; else they are the operator's own
    double alpha, beta;
};

struct rnn {
    struct fe_ctx *c;
    struct fe_node *n;
    enum kind kind;
    enum ir_dtype dtype;
    int dirs, gates;
    bool backward_first; // direction 0 runs from the last step to the first
    bool batch_first;    // layout 1
    bool linear_before_reset, coupled;
    double clip; // 0: none
    struct activation act[2][MAX_ACTIVATIONS];
    int64_t T, C, H;
    int64_t rows; // the batch as an IR dim
    struct fe_frame frame;
    bool batched;
    ir_vid lens; // i64 [rows, 1, 1], or IR_NONE
};

// --- attributes

static bool same_name(const char *a, const char *b) { // runtimes do not look at the case
    while (*a && tolower((unsigned char)*a) == tolower((unsigned char)*b)) a++, b++;
    return *a == *b;
}

static bool next_number(const Onnx__AttributeProto *a, size_t *at, double *out) {
    if (!a || *at >= a->n_floats) return false;
    *out = (double)a->floats[(*at)++];
    return true;
}

static bool read_activations(struct rnn *r) {
    const Onnx__AttributeProto *names = fe_attr(r->n, "activations");
    const Onnx__AttributeProto *alphas = fe_attr(r->n, "activation_alpha"), *betas = fe_attr(r->n, "activation_beta");
    const int each = kinds[r->kind].activations;
    size_t a = 0, b = 0;
    if (names && names->n_strings && names->n_strings != (size_t)(each * r->dirs))
        return fe_fail(r->c, r->n, "it has %zu activations; %d are needed", names->n_strings, each * r->dirs);
    for (int i = 0; i < each * r->dirs; i++) {
        struct activation *act = &r->act[i / each][i % each];
        const char *name = kinds[r->kind].usual[i % each];
        if (names && names->n_strings) {
            const ProtobufCBinaryData *s = &names->strings[i];
            name = arena_printf(r->c->a, "%.*s", (int)(s->len > 40 ? 40 : s->len), s->data ? (char *)s->data : "");
        }
        for (size_t k = 0; k < sizeof activations / sizeof *activations; k++)
            if (same_name(activations[k].name, name)) act->is = &activations[k];
        if (!act->is) return fe_fail(r->c, r->n, "activation \"%s\" is none that ONNX has", name);
        act->alpha = 1;
        act->beta = act->is->op ? 1 : 0; // of ScaledTanh and Affine
        act->has_alpha = act->is->alpha && next_number(alphas, &a, &act->alpha);
        act->has_beta = act->is->beta && next_number(betas, &b, &act->beta);
    }
    return true;
}

static bool read_attributes(struct rnn *r) {
    const char *direction = fe_attr_s(r->c, r->n, "direction", "forward");
    r->backward_first = !strcmp(direction, "reverse");
    r->dirs = strcmp(direction, "bidirectional") ? 1 : 2;
    if (r->dirs == 1 && !r->backward_first && strcmp(direction, "forward"))
        return fe_fail(r->c, r->n, "direction \"%s\" is none of forward, reverse and bidirectional", direction);
    r->gates = kinds[r->kind].gates;
    r->batch_first = fe_attr_i(r->c, r->n, "layout", 0) != 0;
    r->linear_before_reset = fe_attr_i(r->c, r->n, "linear_before_reset", 0) != 0;
    r->coupled = r->kind == LSTM && fe_attr_i(r->c, r->n, "input_forget", 0) != 0;
    r->clip = fe_attr_f(r->c, r->n, "clip", 0);
    return read_activations(r);
}

// --- small moves

static ir_vid reshaped(struct rnn *r, ir_vid x, int64_t d0, int64_t d1, int64_t d2) {
    return x == IR_NONE ? x : fe_reshape(r->c, x, 3, (int64_t[3]){d0, d1, d2});
}

// x[.., start : start + size, ..] along one axis
static ir_vid part(struct rnn *r, ir_vid x, int axis, int64_t start, int64_t size) {
    return fe_cut(r->c, x, axis, start, size, 1);
}

static ir_vid joined(struct rnn *r, ir_vid *v, size_t n, int axis) {
    struct fe_val **vals = ARENA_ARRAY(r->c->a, struct fe_val *, n);
    for (size_t i = 0; i < n; i++)
        if (!(vals[i] = fe_val_of(r->c, v[i]))) return IR_NONE;
    struct fe_val *all = fe_p_concat(r->c, vals, n, axis);
    return all ? fe_vid(r->c, all) : IR_NONE;
}

static ir_vid number(struct rnn *r, double v) { return fe_num(r->c, r->dtype, v); }
static ir_vid add(struct rnn *r, ir_vid a, ir_vid b) { // IR_NONE is zero
    return a == IR_NONE ? b : b == IR_NONE ? a : fe_e2(r->c, IR_OP_add, a, b);
}
static ir_vid mul(struct rnn *r, ir_vid a, ir_vid b) {
    return a == IR_NONE || b == IR_NONE ? IR_NONE : fe_e2(r->c, IR_OP_mul, a, b);
}
static ir_vid one_minus(struct rnn *r, ir_vid a) { return fe_e2(r->c, IR_OP_sub, number(r, 1), a); }

// --- the batch

// `v` of ONNX dims with the batch on axis `at`, as [rows, other axes]. IR_NONE after reporting.
static ir_vid rows_first(struct rnn *r, struct fe_val *v, int at, const char *what) {
    struct fe_ctx *c = r->c;
    const struct ir_type t = *fe_type(c, v);
    int64_t perm[IR_MAX_RANK], dims[IR_MAX_RANK];
    if (!ir_is_batched(&t)) {
        int k = 0;
        perm[k++] = at;
        for (int i = 0; i < t.rank; i++)
            if (i != at) perm[k++] = i;
        struct fe_val *turned = fe_p_transpose(c, v, perm);
        return turned ? fe_vid(c, turned) : IR_NONE;
    }
    struct fe_frame f;
    ir_vid x;
    if (!fe_frame_of(c, v, &f, &x)) {
        fe_fail(c, r->n, "%s has too many dimensions", what);
        return IR_NONE;
    }
    if (f.at != at) {
        fe_fail(c, r->n,
                "%s has the batch N on axis %d, where this operator has its %s; its batch is axis %d (layout %d): "
                "export the model with batch_first=True, or with a Transpose in front",
                what, f.at, f.at == 0 && !r->batch_first ? "steps" : "features", at, r->batch_first);
        return IR_NONE;
    }
    const int extra = (f.before != 1) + (f.after != 1);
    if (extra) { // [N, lead, before, after, trail] to [N, before, after, lead, trail]
        const struct ir_type b = *fe_typeof(c, x);
        int k = 0;
        perm[k++] = 0;
        for (int i = 0; i < extra; i++) perm[k++] = 1 + f.at + i;
        for (int i = 1; i < b.rank; i++)
            if (i <= f.at || i > f.at + extra) perm[k++] = i;
        if (f.at) x = fe_transpose(c, x, b.rank, perm);
    }
    dims[0] = -f.before * f.after;
    for (int k = 1; k < f.rank; k++) dims[k] = fe_typeof(c, x)->dims[k + extra];
    if (extra) x = fe_reshape(c, x, f.rank, dims);
    r->frame = f;
    return x;
}

// A result [rows, other axes] as ONNX has it, with the batch on axis `at`.
static struct fe_val *rows_back(struct rnn *r, ir_vid x, int at) {
    struct fe_ctx *c = r->c;
    if (x == IR_NONE) return NULL;
    const struct ir_type t = *fe_typeof(c, x);
    int64_t perm[IR_MAX_RANK], dims[IR_MAX_RANK];
    int k = 0;
    if (!r->batched) {
        for (int i = 0; i < at; i++) perm[k++] = i + 1;
        perm[k++] = 0;
        for (int i = at + 1; i < t.rank; i++) perm[k++] = i;
        return at ? fe_val_of(c, fe_transpose(c, x, t.rank, perm)) : fe_val_of(c, x);
    }
    struct fe_frame f = {.rank = t.rank, .at = at, .before = r->frame.before, .after = r->frame.after};
    const int extra = (f.before != 1) + (f.after != 1);
    dims[k++] = IR_N;
    if (f.before != 1) dims[k++] = f.before;
    if (f.after != 1) dims[k++] = f.after;
    for (int i = 1; i < t.rank; i++) dims[k++] = t.dims[i];
    if (k > IR_MAX_RANK) return NULL;
    if (extra) x = fe_reshape(c, x, k, dims);
    if (extra && at) {
        int m = 0;
        perm[m++] = 0;
        for (int i = 0; i < at; i++) perm[m++] = 1 + extra + i;
        for (int i = 0; i < extra; i++) perm[m++] = 1 + i;
        for (int i = 1 + extra + at; i < k; i++) perm[m++] = i;
        x = fe_transpose(c, x, k, perm);
    }
    return fe_framed(c, x, &f);
}

// --- operands

static const char *const operand_names[] = {"X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"};

static bool has_dims(struct rnn *r, size_t i, int rank, const int64_t *want) {
    int64_t dims[IR_MAX_RANK];
    struct fe_val *v = fe_arg(r->n, i);
    bool ok = !v->is_seq && fe_onnx_dims(r->c, v, dims) == rank;
    for (int k = 0; k < rank && ok; k++) ok = want[k] == 0 || dims[k] == want[k];
    if (ok && (i < 4 || i == 7) && i && ir_is_batched(fe_type(r->c, v))) ok = false;
    if (ok && i != 4 && fe_type(r->c, v)->dtype != r->dtype) ok = false;
    if (ok) return true;
    struct ir_type t = ir_type_make(r->dtype, rank, want);
    for (int k = 0; k < rank; k++)
        if (!t.dims[k]) return fe_fail(r->c, r->n, "operand %s must have %d dimensions", operand_names[i], rank);
    return fe_fail(r->c, r->n, "operand %s must be %s[%s", operand_names[i], ir_dtype_name(r->dtype),
                   fe_dims_text(r->c, &t) + 1);
}

static bool read_x(struct rnn *r, ir_vid *x) {
    struct fe_ctx *c = r->c;
    struct fe_val *v = fe_arg(r->n, 0), *w = fe_arg(r->n, 1), *rec = fe_arg(r->n, 2);
    if (!v || !w || !rec) return fe_fail(c, r->n, "needs X, W and R");
    r->dtype = fe_type(c, v)->dtype;
    if (!ir_is_float(r->dtype)) return fe_fail(c, r->n, "X must be floats, got %s", ir_dtype_name(r->dtype));
    if (!has_dims(r, 0, 3, (int64_t[3]){0})) return false;
    r->batched = ir_is_batched(fe_type(c, v));
    *x = rows_first(r, v, !r->batch_first, "X");
    if (*x == IR_NONE) return false;
    const struct ir_type t = *fe_typeof(c, *x);
    r->rows = t.dims[0];
    r->T = t.dims[1];
    r->C = t.dims[2];
    int64_t dims[IR_MAX_RANK];
    if (fe_onnx_dims(c, rec, dims) != 3) return fe_fail(c, r->n, "operand R must have 3 dimensions");
    r->H = dims[2];
    const int64_t hidden = fe_attr_i(c, r->n, "hidden_size", r->H);
    if (hidden != r->H || r->T < 1 || r->H < 1 || r->C < 1 || r->H > INT32_MAX / 16)
        return fe_fail(c, r->n, "%lld steps of %lld features with a state of %lld (hidden_size %lld) cannot be",
                       (long long)r->T, (long long)r->C, (long long)r->H, (long long)hidden);
    for (int k = 0; k < r->dirs; k++)
        if (!fe_count_steps(c, r->n, r->T)) return false;
    const int64_t G = r->gates * r->H;
    return has_dims(r, 1, 3, (int64_t[3]){r->dirs, G, r->C}) && has_dims(r, 2, 3, (int64_t[3]){r->dirs, G, r->H}) &&
           (!fe_arg(r->n, 3) || has_dims(r, 3, 2, (int64_t[2]){r->dirs, 2 * G})) &&
           (r->kind != LSTM || !fe_arg(r->n, 7) || has_dims(r, 7, 2, (int64_t[2]){r->dirs, 3 * r->H}));
}

// A state or lengths that the file has for its fixed batch or for one row: [rows, ..] from [B, ..] or [1, ..].
static ir_vid for_rows(struct rnn *r, ir_vid v, const char *what) {
    if (v == IR_NONE) return v;
    struct ir_type t = *fe_typeof(r->c, v);
    if (t.dims[0] == r->rows) return v;
    const int64_t had = t.dims[0];
    t.dims[0] = r->rows;
    ir_vid y = IR_NONE;
    if (had == 1)
        y = fe_expand(r->c, v, t.rank, t.dims);
    else if (r->batched && r->c->baked > 1 && had == -r->rows * r->c->baked)
        y = fe_rebatch(r->c, v, r->rows);
    if (y != IR_NONE && fe_typeof(r->c, y)->dims[0] == r->rows) return y;
    fe_fail(r->c, r->n, "%s is of %lld samples, X of %s; make it a part of the batch", what, (long long)had,
            ir_dim_text(r->rows, (char[24]){0}));
    return IR_NONE;
}

// Whether a value is one number throughout.
static bool is_filled_with(struct rnn *r, struct fe_val *v, double number) {
    const struct fe_sym *s = v->is_moved ? NULL : fe_known(r->c, v, false);
    for (size_t i = 0; s && i < s->n; i++)
        if (s->v[i].f != number || s->v[i].fa != 0) return false;
    if (s) return true;
    const struct ir_graph *g = r->c->g;
    const struct ir_value *val = v->vid == IR_NONE ? NULL : &g->values[v->vid];
    while (val && val->role == IR_ROLE_NODE &&
           (g->nodes[val->def].op == IR_OP_expand || g->nodes[val->def].op == IR_OP_reshape))
        val = &g->values[g->nodes[val->def].in[0]];
    if (!val) return false;
    if (val->role == IR_ROLE_NODE)
        return g->nodes[val->def].op == IR_OP_fill && ir_attr_f(&g->nodes[val->def], "value") == number;
    if (val->role != IR_ROLE_CONST || !val->data || !ir_is_float(val->type.dtype)) return false;
    for (int64_t i = 0; i < ir_numel(&val->type); i++)
        if (ir_get_float(val->type.dtype, val->data, (size_t)i) != number) return false;
    return true;
}

// The initial state [rows, dirs, H]; IR_NONE in *out: zeros.
static bool read_state(struct rnn *r, size_t i, ir_vid *out) {
    struct fe_val *v = fe_arg(r->n, i);
    *out = IR_NONE;
    if (!v) return true;
    int64_t dims[IR_MAX_RANK] = {0};
    const int at = !r->batch_first;
    dims[!at] = r->dirs;
    dims[2] = r->H;
    if (!has_dims(r, i, 3, dims)) return false;
    if (is_filled_with(r, v, 0)) return true;
    const struct fe_frame x = r->frame;
    ir_vid s = rows_first(r, v, at, operand_names[i]);
    r->frame = x;
    *out = for_rows(r, s, operand_names[i]);
    return *out != IR_NONE;
}

static bool read_lens(struct rnn *r) {
    struct fe_val *v = fe_arg(r->n, 4);
    r->lens = IR_NONE;
    if (!v) return true;
    if (!has_dims(r, 4, 1, (int64_t[1]){0})) return false;
    if (ir_is_float(fe_type(r->c, v)->dtype)) return fe_fail(r->c, r->n, "sequence_lens must be integers");
    const struct fe_sym *s = v->is_moved ? NULL : fe_known(r->c, v, true);
    bool all = s != NULL;
    for (size_t i = 0; s && i < s->n; i++) all &= !s->v[i].a && s->v[i].b >= r->T;
    if (all) return true;
    const struct fe_frame x = r->frame;
    ir_vid lens = for_rows(r, rows_first(r, v, 0, operand_names[4]), operand_names[4]);
    r->frame = x;
    r->lens = lens == IR_NONE ? lens : reshaped(r, fe_cast(r->c, lens, IR_I64), r->rows, 1, 1);
    return r->lens != IR_NONE;
}

// --- one direction

struct dir {
    struct rnn *r;
    const struct activation *act;
    ir_vid xw;         // [rows, T, dirs * G]: inputs times W, with the biases
    ir_vid R, R2;      // [G, H]; of a GRU that resets before the product [2H, H] and [H, H]
    ir_vid inner;      // [rows, T, H]: the bias inside of a GRU's reset gate, repeated
    ir_vid peep;       // [rows, T, 3H]
    int64_t at, step;  // of this direction in xw; the step that is being made
    ir_vid h, c, live; // the state, IR_NONE for zeros; whether the rows have this step
};

static ir_vid scaled(struct rnn *r, ir_vid x, double k) { return k == 1 ? x : mul(r, x, number(r, k)); }

static ir_vid clipped(struct rnn *r, ir_vid x) {
    if (!(r->clip > 0)) return x;
    ir_vid hi = number(r, r->clip), lo = number(r, -r->clip);
    x = fe_where(r->c, fe_e2(r->c, IR_OP_lt, hi, x), hi, x);
    return fe_where(r->c, fe_e2(r->c, IR_OP_lt, x, lo), lo, x);
}

static ir_vid activate(struct rnn *r, const struct activation *a, ir_vid x) {
    if (!a->is->op) return fe_e2(r->c, IR_OP_add, scaled(r, x, a->alpha), number(r, a->beta));
    if (!strcmp(a->is->name, "ScaledTanh")) return scaled(r, fe_e1(r->c, IR_OP_tanh, scaled(r, x, a->beta)), a->alpha);
    Onnx__AttributeProto alpha = ONNX__ATTRIBUTE_PROTO__INIT, *attrs[2];
    alpha.has_type = alpha.has_f = 1;
    alpha.type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
    Onnx__AttributeProto beta = alpha;
    alpha.name = (char *)"alpha", alpha.f = (float)a->alpha;
    beta.name = (char *)"beta", beta.f = (float)a->beta;
    size_t k = 0;
    if (a->has_alpha) attrs[k++] = &alpha;
    if (a->has_beta) attrs[k++] = &beta;
    return fe_apply(r->c, r->n, a->is->op, x, attrs, k);
}

static ir_vid gated(struct rnn *r, const struct activation *a, ir_vid x) { return activate(r, a, clipped(r, x)); }

static ir_vid product(struct dir *d, ir_vid state, ir_vid weight) {
    return state == IR_NONE ? IR_NONE : fe_matmul(d->r->c, state, weight, 0, 1);
}

static ir_vid gate(struct dir *d, ir_vid x, int64_t k) {
    return x == IR_NONE ? x : part(d->r, x, 2, k * d->r->H, d->r->H);
}

// The inputs' share of gates [from, from + n) in this step.
static ir_vid input(struct dir *d, int64_t from, int64_t n) {
    const int64_t H = d->r->H;
    return part(d->r, part(d->r, d->xw, 1, d->step, 1), 2, d->at + from * H, n * H);
}

static ir_vid peephole(struct dir *d, int64_t k, ir_vid c) {
    if (d->peep == IR_NONE || c == IR_NONE) return IR_NONE;
    return mul(d->r, gate(d, part(d->r, d->peep, 1, d->step, 1), k), c);
}

static void step_rnn(struct dir *d) {
    d->h = gated(d->r, &d->act[0], add(d->r, input(d, 0, 1), product(d, d->h, d->R)));
}

static void step_gru(struct dir *d) { // gates z, r, h
    struct rnn *r = d->r;
    ir_vid zr, z, reset, inner;
    if (r->linear_before_reset) {
        ir_vid all = product(d, d->h, d->R);
        zr = add(r, input(d, 0, 2), all == IR_NONE ? all : part(r, all, 2, 0, 2 * r->H));
        inner = add(r, gate(d, all, 2), d->inner == IR_NONE ? d->inner : part(r, d->inner, 1, d->step, 1));
    } else {
        zr = add(r, input(d, 0, 2), product(d, d->h, d->R));
        inner = d->h;
    }
    z = gated(r, &d->act[0], gate(d, zr, 0));
    reset = inner == IR_NONE ? inner : gated(r, &d->act[0], gate(d, zr, 1));
    inner = mul(r, reset, inner);
    if (!r->linear_before_reset) inner = product(d, inner, d->R2);
    ir_vid now = gated(r, &d->act[1], add(r, input(d, 2, 1), inner));
    d->h = add(r, mul(r, one_minus(r, z), now), mul(r, z, d->h));
}

static void step_lstm(struct dir *d) { // gates i, o, f, c
    struct rnn *r = d->r;
    ir_vid all = add(r, input(d, 0, 4), product(d, d->h, d->R));
    ir_vid i = gated(r, &d->act[0], add(r, gate(d, all, 0), peephole(d, 0, d->c)));
    ir_vid keep = d->c;
    if (keep != IR_NONE)
        keep = mul(r, keep,
                   r->coupled ? one_minus(r, i) : gated(r, &d->act[0], add(r, gate(d, all, 2), peephole(d, 2, d->c))));
    d->c = add(r, mul(r, i, gated(r, &d->act[1], gate(d, all, 3))), keep);
    ir_vid o = gated(r, &d->act[0], add(r, gate(d, all, 1), peephole(d, 1, d->c)));
    d->h = mul(r, o, activate(r, &d->act[2], d->c)); // of the cell as it is: runtimes do not clip it
}

// Rows that have no such step keep their state.
static ir_vid held(struct dir *d, ir_vid now, ir_vid before) {
    if (d->live == IR_NONE || now == IR_NONE) return now;
    return fe_where(d->r->c, d->live, now, before == IR_NONE ? number(d->r, 0) : before);
}

static void (*const steps[])(struct dir *) = {[RNN] = step_rnn, [GRU] = step_gru, [LSTM] = step_lstm};

// All steps; y: [rows, T, H], or IR_NONE where it is not wanted.
static bool run(struct dir *d, bool backward, bool wanted, ir_vid *y) {
    struct rnn *r = d->r;
    ir_vid *out = ARENA_ARRAY(r->c->a, ir_vid, (size_t)r->T);
    for (int64_t k = 0; k < r->T; k++) {
        d->step = backward ? r->T - 1 - k : k;
        d->live = r->lens == IR_NONE ? IR_NONE : fe_e2(r->c, IR_OP_lt, fe_num(r->c, IR_I64, (double)d->step), r->lens);
        const ir_vid h = d->h, c = d->c;
        steps[r->kind](d);
        if (d->h == IR_NONE) return false;
        out[d->step] = wanted && d->live != IR_NONE ? held(d, d->h, IR_NONE) : d->h;
        d->h = held(d, d->h, h);
        d->c = held(d, d->c, c);
    }
    *y = wanted ? joined(r, out, (size_t)r->T, 1) : IR_NONE;
    return !wanted || *y != IR_NONE;
}

// v [n] for every row and step: [rows, T, n].
static ir_vid repeated(struct rnn *r, ir_vid v, int64_t n) {
    v = reshaped(r, v, 1, 1, n);
    return v == IR_NONE ? v : fe_expand(r->c, v, 3, (int64_t[3]){r->rows, r->T, n});
}

static ir_vid of_direction(struct rnn *r, ir_vid v, int64_t dir) { // v [dirs, ..]
    if (v == IR_NONE) return v;
    const struct ir_type t = *fe_typeof(r->c, v);
    v = part(r, v, 0, dir, 1);
    return fe_reshape(r->c, v, t.rank - 1, t.dims + 1);
}

// The biases that are added to all inputs at once, [dirs * G]; *inner: those inside of a GRU's reset gate, [dirs, H].
static ir_vid biases(struct rnn *r, ir_vid *inner) {
    const int64_t G = r->gates * r->H;
    ir_vid b = fe_in(r->c, r->n, 3);
    *inner = IR_NONE;
    if (b == IR_NONE) return b;
    ir_vid w = part(r, b, 1, 0, G), rec = part(r, b, 1, G, G);
    if (r->kind == GRU && r->linear_before_reset) {
        *inner = part(r, rec, 1, 2 * r->H, r->H);
        ir_vid zero = fe_expand(r->c, number(r, 0), 2, (int64_t[2]){r->dirs, r->H});
        rec = joined(r, (ir_vid[]){part(r, rec, 1, 0, 2 * r->H), zero}, 2, 1);
    }
    return fe_reshape(r->c, add(r, w, rec), 1, (int64_t[1]){r->dirs * G});
}

static bool compute(struct rnn *r, ir_vid x, ir_vid h0, ir_vid c0) {
    struct fe_ctx *c = r->c;
    const int64_t G = r->gates * r->H;
    ir_vid inner, bias = biases(r, &inner), R = fe_in(c, r->n, 2), peep = r->kind == LSTM ? fe_in(c, r->n, 7) : IR_NONE;
    ir_vid w = fe_reshape(c, fe_in(c, r->n, 1), 2, (int64_t[2]){r->dirs * G, r->C});
    ir_vid xw = fe_matmul(c, fe_reshape(c, x, 2, (int64_t[2]){r->rows * r->T, r->C}), w, 0, 1);
    xw = reshaped(r, add(r, xw, bias), r->rows, r->T, r->dirs * G);
    if (xw == IR_NONE) return false;
    const bool wanted = r->n->n_out > 0 && r->n->wanted[0];
    ir_vid y[2], h[2], state[2];
    for (int k = 0; k < r->dirs; k++) {
        struct dir d = {.r = r, .act = r->act[k], .xw = xw, .at = k * G, .R2 = IR_NONE};
        d.R = of_direction(r, R, k);
        if (r->kind == GRU && !r->linear_before_reset) {
            d.R2 = part(r, d.R, 0, 2 * r->H, r->H);
            d.R = part(r, d.R, 0, 0, 2 * r->H);
        }
        d.inner = inner == IR_NONE ? inner : repeated(r, of_direction(r, inner, k), r->H);
        d.peep = peep == IR_NONE ? peep : repeated(r, of_direction(r, peep, k), 3 * r->H);
        d.h = h0 == IR_NONE ? h0 : part(r, h0, 1, k, 1);
        d.c = c0 == IR_NONE ? c0 : part(r, c0, 1, k, 1);
        if (!run(&d, r->backward_first || k, wanted, &y[k])) return false;
        h[k] = d.h;
        state[k] = d.c;
        if (wanted) y[k] = fe_reshape(c, y[k], 4, (int64_t[4]){r->rows, r->T, 1, r->H});
    }
    const size_t dirs = (size_t)r->dirs;
    struct fe_node *n = r->n;
    if (wanted && !fe_out_val(n, 0, rows_back(r, joined(r, y, dirs, 2), r->batch_first ? 0 : 2))) return false;
    if (n->n_out > 1 && n->wanted[1] && !fe_out_val(n, 1, rows_back(r, joined(r, h, dirs, 1), !r->batch_first)))
        return false;
    return r->kind != LSTM || n->n_out < 3 || !n->wanted[2] ||
           fe_out_val(n, 2, rows_back(r, joined(r, state, dirs, 1), !r->batch_first));
}

bool fe_op_rnn(struct fe_ctx *c, struct fe_node *n) {
    struct rnn r = {.c = c, .n = n, .kind = (enum kind)n->arg};
    ir_vid x = IR_NONE, h0, c0 = IR_NONE;
    if (!read_attributes(&r) || !read_x(&r, &x) || !read_lens(&r) || !read_state(&r, 5, &h0)) return false;
    if (r.kind == LSTM && !read_state(&r, 6, &c0)) return false;
    return compute(&r, x, h0, c0);
}
