// Convolutions and their transposes over any number of spatial dims. The IR's run over two, for float32: a convolution
// of one runs with a height of 1; of three and more the leading dims become samples, and their taps input channels
// beside each other, so that one product makes all of the sum. Of other types all dims are treated that way and the
// product is that of matrices.
#include "window.h"

#include <string.h>

// Adds bias [K] along dim 1. Exporters write a bias of constant zeros for "none": it is left out.
static ir_vid add_bias(struct fe_ctx *c, const struct fe_node *n, size_t i, ir_vid y) {
    struct fe_val *b = fe_arg(n, i);
    if (!b || y == IR_NONE) return y;
    const struct fe_sym *s = fe_known(c, b, false);
    bool zero = s && fe_sym_is_const(s);
    for (size_t k = 0; zero && k < s->n; k++) zero = s->v[k].f == 0;
    if (zero) return y;
    ir_vid v = fe_in(c, n, i);
    if (v == IR_NONE) return IR_NONE;
    int64_t dims[IR_MAX_RANK] = {ir_numel(fe_typeof(c, v))};
    if (fe_typeof(c, v)->rank != 1 || dims[0] != fe_typeof(c, y)->dims[1]) {
        fe_fail(c, n, "the bias must have %lld elements, one per output channel", (long long)fe_typeof(c, y)->dims[1]);
        return IR_NONE;
    }
    const int rank = fe_typeof(c, y)->rank;
    for (int k = 1; k + 1 < rank; k++) dims[k] = 1;
    return fe_e2(c, IR_OP_add, y, fe_reshape(c, v, rank - 1, dims));
}

// Zeros around the input are the convolution's own padding, too: ports of TensorFlow's SAME write them down as a Pad in
// front. Returns what is padded, with its padding added to the window's; x itself where that is something else.
static ir_vid before_pad(struct fe_ctx *c, ir_vid x, struct fe_window *w) {
    const ir_nid by = c->g->values[x].def;
    const struct ir_node *p = by == IR_NONE ? NULL : &c->g->nodes[by];
    if (!p || p->op != IR_OP_pad || ir_attr_f(p, "value") != 0) return x;
    size_t n_lo, n_hi, n_steps;
    const int64_t *lo = ir_attr_ints(p, "lo", &n_lo), *hi = ir_attr_ints(p, "hi", &n_hi),
                  *steps = ir_attr_ints(p, "steps", &n_steps);
    for (size_t i = 0; i < n_steps; i++)
        if (steps[i] != 1) return x;
    if (lo[0] || hi[0] || lo[1] || hi[1]) return x;
    for (int i = 0; i < w->k; i++) // a window that sees nothing but padding is left to the Pad
        if (w->lo[i] + lo[2 + i] >= w->kernel[i] || w->hi[i] + hi[2 + i] >= w->kernel[i]) return x;
    for (int i = 0; i < w->k; i++) {
        w->lo[i] += lo[2 + i];
        w->hi[i] += hi[2 + i];
        w->in[i] -= lo[2 + i] + hi[2 + i];
    }
    return p->in[0];
}

// --- two dims of float32

struct plane { // the last two dims of a window, or its only one, as the IR has them
    int64_t strides[2], dilations[2], pads[4], out[2];
};

static struct plane plane_of(const struct fe_window *w) {
    struct plane p = {{1, 1}, {1, 1}, {0}, {1, 1}};
    for (int i = w->k < 2 ? 1 : 0; i < 2; i++) {
        const int k = w->k - 2 + i;
        p.strides[i] = w->strides[k];
        p.dilations[i] = w->dilations[k];
        p.pads[i] = w->lo[k];
        p.pads[2 + i] = w->hi[k];
        p.out[i] = w->out[k];
    }
    return p;
}

// [A,B,L] -> [A,B,1,L]; rank 4 stays.
static ir_vid to_2d(struct fe_ctx *c, ir_vid v) {
    if (v == IR_NONE || fe_typeof(c, v)->rank != 3) return v;
    struct ir_type t = *fe_typeof(c, v);
    return fe_reshape(c, v, 4, (int64_t[]){t.dims[0], t.dims[1], 1, t.dims[2]});
}

static ir_vid from_2d(struct fe_ctx *c, ir_vid v, int k) {
    if (v == IR_NONE || k != 1) return v;
    struct ir_type t = *fe_typeof(c, v);
    return fe_reshape(c, v, 3, (int64_t[]){t.dims[0], t.dims[1], t.dims[3]});
}

static ir_vid conv_plane(struct fe_ctx *c, ir_vid x, ir_vid w, const struct fe_window *win, int64_t group) {
    const struct plane p = plane_of(win);
    return fe_emit(c, IR_OP_conv, (ir_vid[]){to_2d(c, x), to_2d(c, w)}, 2,
                   IR_ATTRS(IR_IS("strides", p.strides, 2), IR_IS("pads", p.pads, 4),
                            IR_IS("dilations", p.dilations, 2), IR_I("group", group)));
}

// The input gradient of the convolution with the same weight. That knows results of up to stride-1 elements more than
// its inputs reach; what is beyond is zeros.
static ir_vid transposed_plane(struct fe_ctx *c, ir_vid x, ir_vid w, const struct fe_window *win, int64_t group) {
    struct plane p = plane_of(win);
    int64_t none[2] = {0, 0}, more[2] = {0, 0};
    for (int i = win->k < 2 ? 1 : 0; i < 2; i++) {
        const int k = win->k - 2 + i;
        int64_t most = win->strides[k] * win->in[k] - 1 + fe_window_reach(win, k) - win->lo[k] - win->hi[k];
        more[i] = p.out[i] > most ? p.out[i] - most : 0;
        const int64_t cut = more[i] < win->hi[k] ? more[i] : win->hi[k]; // what is cut off less
        p.pads[2 + i] -= cut;
        more[i] -= cut;
        p.out[i] -= more[i];
    }
    ir_vid y = fe_emit(c, IR_OP_conv_grad_x, (ir_vid[]){to_2d(c, x), to_2d(c, w)}, 2,
                       IR_ATTRS(IR_IS("strides", p.strides, 2), IR_IS("pads", p.pads, 4),
                                IR_IS("dilations", p.dilations, 2), IR_I("group", group), IR_IS("hw", p.out, 2)));
    return fe_pad(c, y, 2, 2, none, more, NULL, 0);
}

// --- leading dims

enum { MOST_TAPS = 1 << 12 }; // each is a node

// A convolution whose leading `a` spatial dims are taken apart; all numbers of channels are those of one group.
struct apart {
    int a;
    int64_t n, group, C, K, taps;
    int64_t rest_in, rest_kernel; // elements of the dims that stay
    struct fe_window rest;        // of those
};

static bool take_apart(struct fe_ctx *c, const struct fe_node *n, const struct fe_window *w, int a, int64_t batch,
                       int64_t group, int64_t C, int64_t K, struct apart *p) {
    *p = (struct apart){a, batch, group, C, K, 1, 1, 1, *w};
    if (a + 5 > IR_MAX_RANK)
        return fe_fail(c, n, "its input has %d dimensions; convolutions of %s support at most %d", w->k + 2,
                       a == w->k ? "this type" : "float32", w->k + 2 - (a + 5 - IR_MAX_RANK));
    p->rest.k = w->k - a;
    for (int i = 0; i < a; i++)
        if (p->taps *= w->kernel[i], p->taps > MOST_TAPS)
            return fe_fail(c, n, "its window is too large in its leading dimensions: more than %d taps", MOST_TAPS);
    for (int i = a; i < w->k; i++) {
        p->rest.kernel[i - a] = w->kernel[i];
        p->rest.strides[i - a] = w->strides[i];
        p->rest.dilations[i - a] = w->dilations[i];
        p->rest.lo[i - a] = w->lo[i];
        p->rest.hi[i - a] = w->hi[i];
        p->rest.in[i - a] = w->in[i];
        p->rest.out[i - a] = w->out[i];
        p->rest_in *= w->in[i];
        p->rest_kernel *= w->kernel[i];
    }
    return true;
}

// Tap t's place in each leading dim, the last counting fastest.
static void places(const struct fe_window *w, int a, int64_t t, int64_t *at) {
    for (int i = a - 1; i >= 0; i--) {
        at[i] = t % w->kernel[i];
        t /= w->kernel[i];
    }
}

// The weight [A, B, kernel ..] with the taps of leading dims in front of the channels of a group: [A, taps*B, rest ..].
static ir_vid taps_to_channels(struct fe_ctx *c, ir_vid w, const struct apart *p) {
    const struct ir_type t = *fe_typeof(c, w);
    int64_t dims[IR_MAX_RANK] = {t.dims[0], p->taps * t.dims[1]};
    for (int i = 0; i < p->rest.k; i++) dims[2 + i] = p->rest.kernel[i];
    w = fe_reshape(c, w, 4, (int64_t[]){t.dims[0], t.dims[1], p->taps, p->rest_kernel});
    return fe_reshape(c, fe_transpose(c, w, 4, (int64_t[]){0, 2, 1, 3}), 2 + p->rest.k, dims);
}

// The input as each tap sees it: [N, out .., group, C, rest].
static void shifted(struct fe_ctx *c, ir_vid x, const struct fe_window *w, const struct apart *p, ir_vid *taps) {
    const int a = p->a, rank = a + 4;
    int64_t dims[IR_MAX_RANK] = {p->n, p->group, p->C}, perm[IR_MAX_RANK] = {0};
    for (int i = 0; i < a; i++) dims[3 + i] = w->in[i];
    dims[3 + a] = p->rest_in;
    for (int i = 0; i < a; i++) perm[1 + i] = 3 + i;
    perm[a + 1] = 1;
    perm[a + 2] = 2;
    perm[a + 3] = a + 3;
    x = fe_pad(c, fe_reshape(c, x, rank, dims), 3, a, w->lo, w->hi, NULL, 0);
    for (int64_t t = 0; t < p->taps; t++) {
        int64_t at[FE_MAX_SPATIAL];
        places(w, a, t, at);
        ir_vid v = x;
        for (int i = 0; i < a; i++) v = fe_cut(c, v, 3 + i, at[i] * w->dilations[i], w->out[i], w->strides[i]);
        taps[t] = fe_transpose(c, v, rank, perm);
    }
}

// [samples, group*A, ..] times [group*B, A, ..] where no dims stay: a product of matrices for each group.
static ir_vid product(struct fe_ctx *c, ir_vid x, ir_vid w, int64_t samples, int64_t group, bool by_data) {
    const struct ir_type xt = *fe_typeof(c, x), wt = *fe_typeof(c, w);
    const int64_t cols = xt.dims[1] / group, rows = wt.dims[0] / group;
    ir_vid y = fe_matmul(c, fe_reshape(c, x, 4, (int64_t[]){samples, group, 1, cols}),
                         fe_reshape(c, w, 3, (int64_t[]){group, rows, wt.dims[1]}), 0, !by_data);
    return fe_reshape(c, y, 2, (int64_t[]){samples, group * (by_data ? wt.dims[1] : rows)});
}

// Groups of so few channels have kernels of their own that a product of all taps would not use.
enum { NARROW = 4 };

static ir_vid conv_apart(struct fe_ctx *c, const struct fe_node *n, ir_vid x, ir_vid w, const struct fe_window *win,
                         int64_t group, int a) {
    const struct ir_type xt = *fe_typeof(c, x), wt = *fe_typeof(c, w);
    struct apart p;
    if (!take_apart(c, n, win, a, xt.dims[0], group, wt.dims[1], wt.dims[0] / group, &p)) return IR_NONE;
    ir_vid *taps = ARENA_ARRAY(c->a, ir_vid, (size_t)p.taps);
    shifted(c, x, win, &p, taps);
    int64_t samples = p.n, dims[IR_MAX_RANK];
    for (int i = 0; i < a; i++) samples *= win->out[i];
    for (int i = 0; i < p.rest.k; i++) dims[2 + i] = p.rest.in[i];
    dims[0] = samples;
    ir_vid y = IR_NONE;
    w = taps_to_channels(c, w, &p);
    if (p.rest.k && p.C <= NARROW && group > 1) {
        dims[1] = group * p.C;
        for (int64_t t = 0; t < p.taps; t++) {
            ir_vid one = conv_plane(c, fe_reshape(c, taps[t], 2 + p.rest.k, dims), fe_cut(c, w, 1, t * p.C, p.C, 1),
                                    &p.rest, group);
            y = t ? fe_e2(c, IR_OP_add, y, one) : one;
        }
    } else {
        struct fe_val **v = ARENA_ARRAY(c->a, struct fe_val *, (size_t)p.taps);
        for (int64_t t = 0; t < p.taps; t++)
            if (!(v[t] = fe_val_of(c, taps[t]))) return IR_NONE;
        struct fe_val *all = p.taps == 1 ? v[0] : fe_p_concat(c, v, (size_t)p.taps, a + 2);
        dims[1] = group * p.taps * p.C;
        x = all ? fe_reshape(c, fe_vid(c, all), 2 + p.rest.k, dims) : IR_NONE;
        if (x == IR_NONE || w == IR_NONE) return IR_NONE;
        y = p.rest.k ? conv_plane(c, x, w, &p.rest, group) : product(c, x, w, samples, group, false);
    }
    return fe_out_of_batch(c, y, p.n, win->out, a);
}

// Each tap's product is spread over the result by the strides, moved by its place and added to the others'.
static ir_vid transposed_apart(struct fe_ctx *c, const struct fe_node *n, ir_vid x, ir_vid w,
                               const struct fe_window *win, int64_t group, int a) {
    const struct ir_type xt = *fe_typeof(c, x), wt = *fe_typeof(c, w);
    struct apart p;
    if (!take_apart(c, n, win, a, xt.dims[0], group, wt.dims[1], wt.dims[0] / group, &p)) return IR_NONE;
    x = fe_into_batch(c, x, a);
    w = taps_to_channels(c, w, &p);
    if (x == IR_NONE || w == IR_NONE) return IR_NONE;
    const int64_t samples = fe_typeof(c, x)->dims[0];
    ir_vid z = p.rest.k ? transposed_plane(c, x, w, &p.rest, group) : product(c, x, w, samples, group, true);
    int64_t dims[IR_MAX_RANK] = {p.n}, lo[FE_MAX_SPATIAL], hi[FE_MAX_SPATIAL], rest = 1;
    for (int i = 0; i < p.rest.k; i++) rest *= p.rest.out[i];
    for (int i = 0; i < a; i++) {
        dims[1 + i] = win->in[i];
        lo[i] = fe_window_reach(win, i) - 1 - win->lo[i];
        hi[i] = win->out[i] - 1 + win->lo[i] - (win->in[i] - 1) * win->strides[i];
        if (lo[i] < 0) lo[i] = 0;
        if (hi[i] < 0) hi[i] = 0;
    }
    int64_t *tail = dims + 1 + a; // what is behind the leading dims
    tail[0] = group;
    tail[1] = p.taps;
    tail[2] = p.C;
    tail[3] = rest;
    z = fe_pad(c, fe_reshape(c, z, a + 5, dims), 1, a, lo, hi, win->strides, 0);
    ir_vid y = IR_NONE;
    for (int64_t t = 0; t < p.taps; t++) {
        int64_t at[FE_MAX_SPATIAL];
        places(win, a, t, at);
        ir_vid v = fe_cut(c, z, a + 2, t, 1, 1);
        for (int i = 0; i < a; i++)
            v = fe_cut(c, v, 1 + i, lo[i] + win->lo[i] - at[i] * win->dilations[i], win->out[i], 1);
        y = t ? fe_e2(c, IR_OP_add, y, v) : v;
    }
    dims[0] = p.n;
    for (int i = 0; i < a; i++) dims[0] *= win->out[i];
    dims[1] = group * p.C;
    for (int i = 0; i < p.rest.k; i++) dims[2 + i] = p.rest.out[i];
    return fe_out_of_batch(c, fe_reshape(c, y, 2 + p.rest.k, dims), p.n, win->out, a);
}

// --- any number of dims

static bool is_trivial(const struct fe_window *w, int i) {
    return w->kernel[i] == 1 && w->strides[i] == 1 && w->lo[i] == 0 && w->hi[i] == 0 && w->in[i] == w->out[i];
}

// Neighbouring dims that nothing slides over are one: a kernel of 3 x 1 x 1 is one over two dims.
static void merge_trivial(struct fe_ctx *c, ir_vid *x, ir_vid *w, struct fe_window *win) {
    struct fe_window m = *win;
    m.k = 0;
    for (int i = 0; i < win->k; i++) {
        if (m.k && is_trivial(&m, m.k - 1) && is_trivial(win, i)) {
            m.in[m.k - 1] *= win->in[i];
            m.out[m.k - 1] *= win->out[i];
            continue;
        }
        m.kernel[m.k] = win->kernel[i];
        m.strides[m.k] = win->strides[i];
        m.dilations[m.k] = win->dilations[i];
        m.lo[m.k] = win->lo[i];
        m.hi[m.k] = win->hi[i];
        m.in[m.k] = win->in[i];
        m.out[m.k++] = win->out[i];
    }
    if (m.k == win->k) return;
    const struct ir_type xt = *fe_typeof(c, *x), wt = *fe_typeof(c, *w);
    int64_t xd[IR_MAX_RANK] = {xt.dims[0], xt.dims[1]}, wd[IR_MAX_RANK] = {wt.dims[0], wt.dims[1]};
    memcpy(xd + 2, m.in, (size_t)m.k * sizeof *xd);
    memcpy(wd + 2, m.kernel, (size_t)m.k * sizeof *wd);
    *x = fe_reshape(c, *x, 2 + m.k, xd);
    *w = fe_reshape(c, *w, 2 + m.k, wd);
    *win = m;
}

// x and w in, of equal rank, with `channels` of x: the weight's dim 1 times the groups, or, transposed, its dim 0.
static ir_vid convolve(struct fe_ctx *c, const struct fe_node *n, ir_vid x, ir_vid w, struct fe_window win,
                       int64_t group, bool by_data, bool by_taps) {
    const struct fe_window whole = win;
    const struct ir_type xt = *fe_typeof(c, x), wt = *fe_typeof(c, w);
    if (whole.k > 2) merge_trivial(c, &x, &w, &win);
    if (x == IR_NONE || w == IR_NONE) return IR_NONE;
    const int a = xt.dtype != IR_F32 || by_taps ? win.k : win.k > 2 ? win.k - 2 : 0;
    ir_vid y = by_data ? a ? transposed_apart(c, n, x, w, &win, group, a) : transposed_plane(c, x, w, &win, group)
               : a ? conv_apart(c, n, x, w, &win, group, a)
                       : conv_plane(c, x, w, &win, group);
    if (y == IR_NONE) return y;
    if (win.k == whole.k) return a ? y : from_2d(c, y, win.k);
    int64_t dims[IR_MAX_RANK] = {xt.dims[0], by_data ? wt.dims[1] * group : wt.dims[0]};
    memcpy(dims + 2, whole.out, (size_t)whole.k * sizeof *dims);
    return fe_reshape(c, y, 2 + whole.k, dims);
}

// Both operands with what their types must have in common; transposed, the weight's dim 0 are the input channels.
static bool operands(struct fe_ctx *c, struct fe_node *n, ir_vid x, ir_vid w, int64_t *group, bool transposed) {
    if (x == IR_NONE || w == IR_NONE) return fe_fail(c, n, "needs an input and a weight");
    const struct ir_type xt = *fe_typeof(c, x), wt = *fe_typeof(c, w);
    if (xt.rank != wt.rank) return fe_fail(c, n, "the input has %d dimensions, the weight %d", xt.rank, wt.rank);
    if (xt.rank < 3)
        return fe_fail(c, n, "its input has %d dimensions; expected batch, channels and at least one spatial dimension",
                       xt.rank);
    if (xt.dtype != wt.dtype) return fe_fail(c, n, "its input and its weight are of two types");
    if (ir_is_batched(&wt))
        return fe_fail(c, n, "its weight %s depends on the batch size; it must be the same for all samples",
                       fe_dims_text(c, &wt));
    *group = fe_attr_i(c, n, "group", 1);
    const int64_t over = transposed ? xt.dims[1] : wt.dims[0];
    if (*group < 1 || *group > FE_WINDOW_MOST || over % *group || wt.dims[1] < 1 || over < 1)
        return fe_fail(c, n, "%lld channels cannot be divided into %lld groups", (long long)over, (long long)*group);
    if (transposed && xt.dims[1] != wt.dims[0])
        return fe_fail(c, n, "the weight must be [%lld, C/group, ...] for this input", (long long)xt.dims[1]);
    if (!transposed && (xt.dims[1] % *group || xt.dims[1] / *group != wt.dims[1]))
        return fe_fail(c, n,
                       "the input has %lld channels; a weight %s with %lld input channels in %lld group%s does not fit",
                       (long long)xt.dims[1], fe_dims_text(c, &wt), (long long)wt.dims[1], (long long)*group,
                       *group == 1 ? "" : "s");
    return true;
}

ir_vid fe_conv(struct fe_ctx *c, struct fe_node *n, ir_vid x, ir_vid w, bool by_taps) {
    int64_t group;
    struct fe_window win;
    if (!operands(c, n, x, w, &group, false)) return IR_NONE;
    if (!fe_window_read(c, n, fe_typeof(c, x), fe_typeof(c, w)->dims + 2, &win)) return IR_NONE;
    return convolve(c, n, before_pad(c, x, &win), w, win, group, false, by_taps);
}

bool fe_op_conv(struct fe_ctx *c, struct fe_node *n) {
    c->saw_conv = true;
    c->bare_convs++;
    ir_vid y = fe_conv(c, n, fe_in(c, n, 0), fe_in(c, n, 1), false);
    return y != IR_NONE && fe_out(c, n, 0, add_bias(c, n, 2, y));
}

// Pads and sizes of a transposed convolution: `full` is what windows reach before anything is cut off. Where
// output_shape wants more than that, zeros follow.
static bool transposed_window(struct fe_ctx *c, const struct fe_node *n, struct fe_window *w) {
    const char *mode = fe_attr_s(c, n, "auto_pad", "NOTSET");
    const bool same = !strcmp(mode, "SAME_UPPER") || !strcmp(mode, "SAME_LOWER");
    if (!same && *mode && strcmp(mode, "NOTSET") && strcmp(mode, "VALID"))
        return fe_fail(c, n, "auto_pad \"%s\" is not one of NOTSET, VALID, SAME_UPPER, SAME_LOWER", mode);
    size_t cnt, tcnt, k = (size_t)w->k;
    const int64_t *op = fe_attr_ints(n, "output_padding", &cnt), *os = fe_attr_ints(n, "output_shape", &tcnt);
    if ((cnt && cnt != k) || (tcnt && tcnt != k && tcnt != k + 2))
        return fe_fail(c, n, "output_padding or output_shape has the wrong number of entries");
    if (!same && !tcnt && strcmp(mode, "VALID") && !fe_window_pads(c, n, w)) return false;
    for (int i = 0; i < w->k; i++) {
        const int64_t extra = cnt ? op[i] : 0, wanted = tcnt ? os[tcnt - k + (size_t)i] : w->in[i] * w->strides[i];
        if (extra < 0 || extra > FE_WINDOW_MOST || (tcnt && (wanted < 1 || wanted > INT32_MAX)))
            return fe_fail(c, n, "output_padding %lld or output_shape %lld is no size", (long long)extra,
                           (long long)wanted);
        if (w->in[i] < 1) return fe_fail(c, n, "its input has no elements");
        const int64_t full = w->strides[i] * (w->in[i] - 1) + extra + fe_window_reach(w, i);
        w->out[i] = full - w->lo[i] - w->hi[i];
        if (tcnt || same) {
            const int64_t total = full > wanted ? full - wanted : 0;
            w->out[i] = wanted;
            w->lo[i] = !strcmp(mode, "SAME_UPPER") ? total / 2 : total - total / 2;
            w->hi[i] = total - w->lo[i];
        }
        if (w->out[i] < 1) return fe_fail(c, n, "its result would be empty");
    }
    return true;
}

bool fe_op_conv_transpose(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0), w = fe_in(c, n, 1);
    int64_t group;
    struct fe_window win;
    if (!operands(c, n, x, w, &group, true)) return false;
    if (!fe_window_steps(c, n, fe_typeof(c, x), fe_typeof(c, w)->dims + 2, &win) || !transposed_window(c, n, &win))
        return false;
    return fe_out(c, n, 0, add_bias(c, n, 2, convolve(c, n, x, w, win, group, true, false)));
}
