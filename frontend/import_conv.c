// Convolutions and pools. ONNX's 1-D forms run as 2-D with a height of 1.
#include "onnx_internal.h"

#include <string.h>

// Bounds of what an attribute may say: with dims of at most 2^40 no sum of two products here overflows.
#define MOST (INT64_C(1) << 20)

// The window of a node over k = 1 or 2 spatial dims, as the IR's 2-D form.
struct window {
    int k;
    int64_t kernel[2], strides[2], dilations[2], pads[4]; // pads: top left bottom right
};

static bool read_pair(struct fe_ctx *c, const struct fe_node *n, const char *name, int k, int64_t out[2]) {
    size_t cnt;
    const int64_t *v = fe_attr_ints(n, name, &cnt);
    out[0] = out[1] = 1;
    if (!v || cnt == 0) return true;
    if (cnt != (size_t)k)
        return fe_fail(c, n, "attribute \"%s\" has %zu numbers; the input has %d spatial dimensions", name, cnt, k);
    for (int i = 0; i < k; i++) {
        if (v[i] < 1 || v[i] > MOST) return fe_fail(c, n, "attribute \"%s\" has the value %lld", name, (long long)v[i]);
        out[2 - k + i] = v[i];
    }
    return true;
}

// Pads for auto_pad; `hw` are the input's spatial sizes in 2-D form. ONNX Conv-11: SAME makes ceil(in/stride) outputs.
static bool read_pads(struct fe_ctx *c, const struct fe_node *n, struct window *w, const int64_t hw[2]) {
    const char *mode = fe_attr_s(c, n, "auto_pad", "NOTSET");
    memset(w->pads, 0, sizeof w->pads);
    if (!strcmp(mode, "VALID")) return true;
    if (!strcmp(mode, "SAME_UPPER") || !strcmp(mode, "SAME_LOWER")) {
        for (int i = 2 - w->k; i < 2; i++) {
            int64_t out = (hw[i] + w->strides[i] - 1) / w->strides[i];
            int64_t total = (out - 1) * w->strides[i] + (w->kernel[i] - 1) * w->dilations[i] + 1 - hw[i];
            if (total < 0) total = 0;
            int64_t small = total / 2, large = total - small;
            w->pads[i] = mode[5] == 'U' ? small : large;
            w->pads[2 + i] = total - w->pads[i];
        }
        return true;
    }
    if (strcmp(mode, "NOTSET") && *mode)
        return fe_fail(c, n, "auto_pad \"%s\" is not one of NOTSET, VALID, SAME_UPPER, SAME_LOWER", mode);
    size_t cnt;
    const int64_t *v = fe_attr_ints(n, "pads", &cnt);
    if (!v || cnt == 0) return true;
    if (cnt != (size_t)(2 * w->k))
        return fe_fail(c, n, "attribute \"pads\" has %zu numbers, expected %d", cnt, 2 * w->k);
    for (int i = 0; i < w->k; i++)
        for (int e = 0; e < 2; e++) {
            int64_t p = v[e * w->k + i];
            if (p < 0 || p > MOST) return fe_fail(c, n, "attribute \"pads\" has the value %lld", (long long)p);
            w->pads[2 * e + 2 - w->k + i] = p;
        }
    return true;
}

static bool read_window(struct fe_ctx *c, const struct fe_node *n, struct window *w, const struct ir_type *x,
                        const int64_t *kernel) {
    w->k = x->rank - 2;
    if (w->k < 1 || w->k > 2)
        return fe_fail(
            c, n,
            "its input has %d dimensions; only 1-D and 2-D convolutions and pools (3 or 4 dimensions) are supported",
            x->rank);
    if (!read_pair(c, n, "strides", w->k, w->strides) || !read_pair(c, n, "dilations", w->k, w->dilations) ||
        !read_pair(c, n, "kernel_shape", w->k, w->kernel))
        return false;
    size_t cnt;
    if (kernel) {
        const int64_t *given = fe_attr_ints(n, "kernel_shape", &cnt);
        for (int i = 0; i < w->k; i++) {
            if (given && cnt && given[i] != kernel[i])
                return fe_fail(c, n, "kernel_shape %lld differs from the weight's %lld", (long long)given[i],
                               (long long)kernel[i]);
            w->kernel[2 - w->k + i] = kernel[i];
        }
    } else if (!fe_attr(n, "kernel_shape")) {
        return fe_fail(c, n, "attribute \"kernel_shape\" is missing");
    }
    int64_t hw[2] = {w->k == 2 ? x->dims[2] : 1, x->dims[x->rank - 1]};
    return read_pads(c, n, w, hw);
}

// [A,B,L] -> [A,B,1,L]; rank 4 stays.
static ir_vid to_2d(struct fe_ctx *c, ir_vid v) {
    if (v == IR_NONE || fe_typeof(c, v)->rank != 3) return v;
    struct ir_type t = *fe_typeof(c, v);
    int64_t dims[4] = {t.dims[0], t.dims[1], 1, t.dims[2]};
    return fe_reshape(c, v, 4, dims);
}

static ir_vid from_2d(struct fe_ctx *c, ir_vid v, int k) {
    if (v == IR_NONE || k == 2) return v;
    struct ir_type t = *fe_typeof(c, v);
    int64_t dims[3] = {t.dims[0], t.dims[1], t.dims[3]};
    return fe_reshape(c, v, 3, dims);
}

// Adds bias f32[K] along dim 1. Exporters write a bias of constant zeros for "none": it is left out.
static ir_vid add_bias(struct fe_ctx *c, const struct fe_node *n, size_t i, ir_vid y) {
    struct fe_val *b = fe_arg(n, i);
    if (!b || y == IR_NONE) return y;
    const struct fe_sym *s = fe_known(c, b, false);
    bool zero = s && fe_sym_is_const(s);
    for (size_t k = 0; zero && k < s->n; k++) zero = s->v[k].f == 0;
    if (zero) return y;
    ir_vid v = fe_in(c, n, i);
    if (v == IR_NONE) return IR_NONE;
    int64_t k = ir_numel(fe_typeof(c, v)), dims[3] = {k, 1, 1};
    if (fe_typeof(c, v)->rank != 1 || k != fe_typeof(c, y)->dims[1]) {
        fe_fail(c, n, "the bias must have %lld elements, one per output channel", (long long)fe_typeof(c, y)->dims[1]);
        return IR_NONE;
    }
    return fe_e2(c, IR_OP_add, y, fe_reshape(c, v, fe_typeof(c, y)->rank - 1, dims));
}

// Zeros around the plane are the convolution's own padding, too: ports of TensorFlow's SAME write them down as a Pad in
// front. Returns what is padded, with its padding added to the window's; x itself where that is something else.
static ir_vid before_pad(struct fe_ctx *c, ir_vid x, struct window *w) {
    const ir_nid by = c->g->values[x].def;
    const struct ir_node *p = by == IR_NONE ? NULL : &c->g->nodes[by];
    if (!p || p->op != IR_OP_pad || fe_typeof(c, x)->rank != 4 || ir_attr_f(p, "value") != 0) return x;
    size_t n_lo, n_hi, n_steps;
    const int64_t *lo = ir_attr_ints(p, "lo", &n_lo), *hi = ir_attr_ints(p, "hi", &n_hi),
                  *steps = ir_attr_ints(p, "steps", &n_steps);
    for (size_t i = 0; i < n_steps; i++)
        if (steps[i] != 1) return x;
    if (lo[0] || hi[0] || lo[1] || hi[1]) return x;
    for (int i = 0; i < 2; i++) // a window that sees nothing but padding is left to the Pad
        if (w->pads[i] + lo[2 + i] >= w->kernel[i] || w->pads[2 + i] + hi[2 + i] >= w->kernel[i]) return x;
    for (int i = 0; i < 2; i++) {
        w->pads[i] += lo[2 + i];
        w->pads[2 + i] += hi[2 + i];
    }
    return p->in[0];
}

bool fe_op_conv(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0), w = fe_in(c, n, 1);
    if (x == IR_NONE || w == IR_NONE) return fe_fail(c, n, "needs an input and a weight");
    struct ir_type xt = *fe_typeof(c, x), wt = *fe_typeof(c, w);
    if (xt.rank != wt.rank) return fe_fail(c, n, "the input has %d dimensions, the weight %d", xt.rank, wt.rank);
    struct window win;
    if (!read_window(c, n, &win, &xt, wt.dims + 2)) return false;
    c->saw_conv = true;
    c->bare_convs++;
    x = before_pad(c, x, &win);
    ir_vid in[2] = {to_2d(c, x), to_2d(c, w)};
    ir_vid y = fe_emit(c, IR_OP_conv, in, 2,
                       IR_ATTRS(IR_IS("strides", win.strides, 2), IR_IS("pads", win.pads, 4),
                                IR_IS("dilations", win.dilations, 2), IR_I("group", fe_attr_i(c, n, "group", 1))));
    return fe_out(c, n, 0, add_bias(c, n, 2, from_2d(c, y, win.k)));
}

// ConvTranspose-11 is the input gradient of the convolution with the same weight: x [N,K,P,Q], w [K,C/g,R,S] ->
// [N,C,h,w].
bool fe_op_conv_transpose(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0), w = fe_in(c, n, 1);
    if (x == IR_NONE || w == IR_NONE) return fe_fail(c, n, "needs an input and a weight");
    struct ir_type xt = *fe_typeof(c, x), wt = *fe_typeof(c, w);
    if (xt.rank != wt.rank || xt.dims[1] != wt.dims[0])
        return fe_fail(c, n, "the weight must be [%lld, C/group, ...] for this input", (long long)xt.dims[1]);
    struct window win;
    if (!read_window(c, n, &win, &xt, wt.dims + 2)) return false;
    const char *mode = fe_attr_s(c, n, "auto_pad", "NOTSET");
    int64_t extra[2] = {0, 0}, hw[2] = {1, 1}, target[2] = {0, 0};
    size_t cnt, tcnt;
    const int64_t *op = fe_attr_ints(n, "output_padding", &cnt), *os = fe_attr_ints(n, "output_shape", &tcnt);
    if ((cnt && cnt != (size_t)win.k) || (tcnt && tcnt < (size_t)win.k))
        return fe_fail(c, n, "output_padding or output_shape has the wrong number of entries");
    for (int i = 0; i < win.k; i++) {
        int64_t *e = &extra[2 - win.k + i], *to = &target[2 - win.k + i];
        if (cnt) *e = op[i];
        if (tcnt) *to = os[tcnt - (size_t)win.k + (size_t)i];
        if (*e < 0 || *e > MOST || *to < 0 || *to > MOST)
            return fe_fail(c, n, "output_padding %lld or output_shape %lld is no size", (long long)*e, (long long)*to);
    }
    for (int i = 2 - win.k; i < 2; i++) {
        int64_t in = xt.dims[i + xt.rank - 2],
                full = win.strides[i] * (in - 1) + extra[i] + (win.kernel[i] - 1) * win.dilations[i] + 1;
        bool same = !strncmp(mode, "SAME", 4);
        if (tcnt || same) {
            hw[i] = tcnt ? target[i] : in * win.strides[i];
            int64_t total = full - hw[i];
            if (total < 0) return fe_fail(c, n, "output_shape is larger than the transposed convolution's result");
            bool upper = strcmp(mode, "SAME_UPPER") == 0;
            win.pads[i] = upper ? total / 2 : total - total / 2;
            win.pads[2 + i] = total - win.pads[i];
        }
        hw[i] = full - win.pads[i] - win.pads[2 + i];
        if (hw[i] < 1) return fe_fail(c, n, "its result would be empty");
    }
    ir_vid in[2] = {to_2d(c, x), to_2d(c, w)};
    ir_vid y = fe_emit(c, IR_OP_conv_grad_x, in, 2,
                       IR_ATTRS(IR_IS("strides", win.strides, 2), IR_IS("pads", win.pads, 4),
                                IR_IS("dilations", win.dilations, 2), IR_I("group", fe_attr_i(c, n, "group", 1)),
                                IR_IS("hw", hw, 2)));
    return fe_out(c, n, 0, add_bias(c, n, 2, from_2d(c, y, win.k)));
}

bool fe_op_max_pool(struct fe_ctx *c, struct fe_node *n) {
    if (n->n_out > 1 && n->wanted[1])
        return fe_fail(c, n, "its second result (indices) is used, which is not supported");
    ir_vid x = fe_in(c, n, 0);
    if (x == IR_NONE) return false;
    struct window win;
    struct ir_type xt = *fe_typeof(c, x);
    if (!read_window(c, n, &win, &xt, NULL)) return false;
    x = to_2d(c, x);
    ir_vid y =
        fe_emit(c, IR_OP_max_pool, &x, 1,
                IR_ATTRS(IR_IS("kernel", win.kernel, 2), IR_IS("strides", win.strides, 2), IR_IS("pads", win.pads, 4),
                         IR_IS("dilations", win.dilations, 2), IR_I("ceil", fe_attr_i(c, n, "ceil_mode", 0) != 0)));
    return fe_out(c, n, 0, from_2d(c, y, win.k));
}

bool fe_op_avg_pool(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0);
    if (x == IR_NONE) return false;
    struct window win;
    struct ir_type xt = *fe_typeof(c, x);
    if (!read_window(c, n, &win, &xt, NULL)) return false;
    if (win.dilations[0] != 1 || win.dilations[1] != 1)
        return fe_fail(c, n, "dilated average pooling is not supported");
    x = to_2d(c, x);
    ir_vid y = fe_emit(c, IR_OP_avg_pool, &x, 1,
                       IR_ATTRS(IR_IS("kernel", win.kernel, 2), IR_IS("strides", win.strides, 2),
                                IR_IS("pads", win.pads, 4), IR_I("ceil", fe_attr_i(c, n, "ceil_mode", 0) != 0),
                                IR_I("include_pad", fe_attr_i(c, n, "count_include_pad", 0) != 0)));
    return fe_out(c, n, 0, from_2d(c, y, win.k));
}

bool fe_op_global_pool(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0);
    if (x == IR_NONE) return false;
    int rank = fe_typeof(c, x)->rank;
    if (rank < 3) return fe_fail(c, n, "its input has %d dimensions, expected at least 3", rank);
    int64_t axes[IR_MAX_RANK];
    for (int i = 2; i < rank; i++) axes[i - 2] = i;
    return fe_out(c, n, 0, fe_reduce(c, (enum ir_op)n->arg, x, axes, (size_t)(rank - 2), 1));
}
