// Max and average pooling over two spatial dims of [N,C,H,W].
#include "ops_internal.h"

#include "ops_util.h"
#include "window.h"

#include <inttypes.h>
#include <math.h>

static bool is_max(const struct ir_node *n) { return n->op == IR_OP_max_pool || n->op == IR_OP_max_pool_grad; }

static struct ir_window pool_window(const struct ir_node *n) {
    size_t k;
    const int64_t *kernel = ir_attr_ints(n, "kernel", &k);
    struct ir_window w = ir_window_of(n, is_max(n));
    for (int d = 0; d < 2; d++) w.size[d] = kernel[d];
    if (n->op != IR_OP_max_pool_grad) w.ceil = ir_attr_i(n, "ceil") != 0;
    return w;
}

static bool read_pool(struct ir_graph *g, const struct ir_node *n, struct ir_window *w) {
    if (!ir_check_float(g, n, 0) || !ir_check_rank(g, n, 0, 4, "input")) return false;
    const int64_t *kernel = ir_check_ints(g, n, "kernel", 2, 1, IR_WINDOW_MAX);
    *w = (struct ir_window){0};
    if (!kernel || !ir_window_read(g, n, is_max(n), w)) return false;
    *w = pool_window(n);
    for (int d = 0; d < 2; d++) {
        // Otherwise a window could lie in the padding alone and would have no elements at all.
        int64_t reach = w->dilation[d] * (w->size[d] - 1) + 1;
        if (w->pad[d] >= reach || w->pad_end[d] >= reach)
            return ir_fail(g, n,
                           "padding %" PRId64 " + %" PRId64 " must be less than the window's %" PRId64
                           " elements in dimension %d",
                           w->pad[d], w->pad_end[d], reach, d + 2);
    }
    return true;
}

static bool infer_pool(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    struct ir_window w;
    int64_t pq[2];
    const struct ir_type *x = ir_in_type(g, n, 0);
    if (!read_pool(g, n, &w) || !ir_window_output(g, n, &w, x->dims + 2, pq)) return false;
    out[0] = ir_type_make(x->dtype, 4, (int64_t[]){x->dims[0], x->dims[1], pq[0], pq[1]});
    return ir_check_type(g, n, out);
}

// Of positions in a window that is no larger than 2^31: a byte where it holds them.
static enum ir_dtype position_type(const int64_t *kernel) { return kernel[0] * kernel[1] <= 256 ? IR_U8 : IR_I32; }

bool ir_infer_max_pool(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    if (!infer_pool(g, n, out)) return false;
    size_t k;
    const int64_t *kernel = ir_attr_ints(n, "kernel", &k);
    if (kernel[0] > INT32_MAX / kernel[1]) return ir_fail(g, n, "window %s is too large", INTS_TEXT(kernel, 2));
    out[1] = out[0];
    out[1].dtype = position_type(kernel);
    return true;
}

bool ir_infer_avg_pool(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    return infer_pool(g, n, out);
}

// dy must have the extents that pooling `hw` gives; a max-pool gradient does not know how its forward op rounded.
static bool infer_pool_grad(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    struct ir_window w;
    int64_t pq[2];
    const struct ir_type *dy = ir_in_type(g, n, 0);
    const int64_t *hw = ir_check_ints(g, n, "hw", 2, 1, IR_DIM_MAX);
    if (!hw || !read_pool(g, n, &w) || !ir_window_output(g, n, &w, hw, pq)) return false;
    for (int d = 0; d < 2; d++) {
        struct ir_window up = w;
        up.ceil = true;
        int64_t most = is_max(n) ? ir_window_count(&up, d, hw[d]) : pq[d];
        if (dy->dims[d + 2] < pq[d] || dy->dims[d + 2] > most)
            return ir_fail(g, n, "gradient %s does not fit: input extents %s give output extents %s", TYPE_TEXT(dy),
                           INTS_TEXT(hw, 2), INTS_TEXT(pq, 2));
    }
    out[0] = ir_type_make(dy->dtype, 4, (int64_t[]){dy->dims[0], dy->dims[1], hw[0], hw[1]});
    return ir_check_type(g, n, out);
}

bool ir_infer_max_pool_grad(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    const struct ir_type *dy = ir_in_type(g, n, 0), *pos = ir_in_type(g, n, 1);
    if (!infer_pool_grad(g, n, out)) return false;
    size_t k;
    if (pos->dtype != position_type(ir_attr_ints(n, "kernel", &k)) || !ir_same_dims(dy, pos))
        return ir_fail(g, n, "positions %s do not fit gradient %s", TYPE_TEXT(pos), TYPE_TEXT(dy));
    return true;
}

bool ir_infer_avg_pool_grad(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    return infer_pool_grad(g, n, out);
}

// --- reference -----------------------------------------------------------------------------------------------------

// Start of the plane of walk index w in a tensor of type t, and the offset in it of tap (r, s); -1 in the padding.
static size_t plane_of(const struct ir_walk *w, const struct ir_type *t) {
    return (size_t)((w->idx[0] * t->dims[1] + w->idx[1]) * t->dims[2] * t->dims[3]);
}
static int64_t tap_of(const struct ir_window *win, const struct ir_walk *w, const struct ir_type *t, int64_t r,
                      int64_t s) {
    int64_t y = ir_window_at(win, 0, w->idx[2], r), x = ir_window_at(win, 1, w->idx[3], s);
    return y < 0 || y >= t->dims[2] || x < 0 || x >= t->dims[3] ? -1 : y * t->dims[3] + x;
}

// The first largest element in window order; a NaN is larger than everything, the first NaN wins.
void ir_eval_max_pool(EVAL_PARAMS) {
    (void)g;
    struct ir_window win = pool_window(n);
    const struct ir_type *x = &in[0]->type;
    for (struct ir_walk w = ir_walk_all(&out[0]->type); !w.done; ir_walk_next(&w)) {
        const double *plane = in[0]->f + plane_of(&w, x);
        double best = -INFINITY;
        int64_t pos = -1;
        for (int64_t r = 0; r < win.size[0]; r++)
            for (int64_t s = 0; s < win.size[1]; s++) {
                int64_t at = tap_of(&win, &w, x, r, s);
                if (at < 0) continue;
                double v = plane[at];
                if (pos < 0 || v > best || (v != v && best == best)) best = v, pos = r * win.size[1] + s;
            }
        out[0]->f[w.linear] = best;
        out[1]->i[w.linear] = pos < 0 ? 0 : pos; // a dilated window may miss a tiny input altogether
    }
}

void ir_eval_max_pool_grad(EVAL_PARAMS) {
    (void)g;
    struct ir_window win = pool_window(n);
    size_t count = ir_tensor_numel(out[0]);
    for (size_t i = 0; i < count; i++) out[0]->f[i] = 0;
    for (struct ir_walk w = ir_walk_all(&in[0]->type); !w.done; ir_walk_next(&w)) {
        int64_t pos = in[1]->i[w.linear], at = tap_of(&win, &w, &out[0]->type, pos / win.size[1], pos % win.size[1]);
        if (at >= 0) out[0]->f[plane_of(&w, &out[0]->type) + (size_t)at] += in[0]->f[w.linear];
    }
}

// Elements a window counts along d: those in the input, or (include_pad) those in the padded input.
static int64_t avg_extent(const struct ir_window *win, int d, int64_t p, int64_t in, bool include_pad) {
    int64_t first = ir_window_at(win, d, p, 0), last = first + win->size[d];
    int64_t lo = include_pad ? -win->pad[d] : 0, hi = include_pad ? in + win->pad_end[d] : in;
    return (last < hi ? last : hi) - (first > lo ? first : lo);
}
static double avg_count(const struct ir_node *n, const struct ir_window *win, const struct ir_walk *w,
                        const struct ir_type *x) {
    bool include_pad = ir_attr_i(n, "include_pad") != 0;
    return (double)avg_extent(win, 0, w->idx[2], x->dims[2], include_pad) *
           (double)avg_extent(win, 1, w->idx[3], x->dims[3], include_pad);
}

void ir_eval_avg_pool(EVAL_PARAMS) {
    (void)g;
    struct ir_window win = pool_window(n);
    const struct ir_type *x = &in[0]->type;
    for (struct ir_walk w = ir_walk_all(&out[0]->type); !w.done; ir_walk_next(&w)) {
        const double *plane = in[0]->f + plane_of(&w, x);
        double sum = 0;
        for (int64_t r = 0; r < win.size[0]; r++)
            for (int64_t s = 0; s < win.size[1]; s++) {
                int64_t at = tap_of(&win, &w, x, r, s);
                if (at >= 0) sum += plane[at];
            }
        out[0]->f[w.linear] = sum / avg_count(n, &win, &w, x);
    }
}

void ir_eval_avg_pool_grad(EVAL_PARAMS) {
    (void)g;
    struct ir_window win = pool_window(n);
    const struct ir_type *x = &out[0]->type;
    size_t count = ir_tensor_numel(out[0]);
    for (size_t i = 0; i < count; i++) out[0]->f[i] = 0;
    for (struct ir_walk w = ir_walk_all(&in[0]->type); !w.done; ir_walk_next(&w)) {
        double *plane = out[0]->f + plane_of(&w, x), share = in[0]->f[w.linear] / avg_count(n, &win, &w, x);
        for (int64_t r = 0; r < win.size[0]; r++)
            for (int64_t s = 0; s < win.size[1]; s++) {
                int64_t at = tap_of(&win, &w, x, r, s);
                if (at >= 0) plane[at] += share;
            }
    }
}

// --- gradients -----------------------------------------------------------------------------------------------------

void ir_vjp_max_pool(VJP_PARAMS) {
    if (!want[0] || dout[0] == IR_NONE) return;
    const struct ir_node *n = &g->nodes[id];
    struct ir_type t = *ir_in_type(g, n, 0);
    size_t k;
    ir_vid in[2] = {dout[0], n->out[1]};
    din[0] = ir_emit(g, IR_OP_max_pool_grad, in, 2,
                     IR_ATTRS(IR_IS("kernel", ir_attr_ints(n, "kernel", &k), 2),
                              IR_IS("strides", ir_attr_ints(n, "strides", &k), 2),
                              IR_IS("pads", ir_attr_ints(n, "pads", &k), 4),
                              IR_IS("dilations", ir_attr_ints(n, "dilations", &k), 2), IR_IS("hw", t.dims + 2, 2)));
}

void ir_vjp_avg_pool(VJP_PARAMS) {
    if (!want[0]) return;
    const struct ir_node *n = &g->nodes[id];
    struct ir_type t = *ir_in_type(g, n, 0);
    size_t k;
    din[0] = ir_emit(g, IR_OP_avg_pool_grad, dout, 1,
                     IR_ATTRS(IR_IS("kernel", ir_attr_ints(n, "kernel", &k), 2),
                              IR_IS("strides", ir_attr_ints(n, "strides", &k), 2),
                              IR_IS("pads", ir_attr_ints(n, "pads", &k), 4), IR_I("ceil", ir_attr_i(n, "ceil")),
                              IR_I("include_pad", ir_attr_i(n, "include_pad")), IR_IS("hw", t.dims + 2, 2)));
}
