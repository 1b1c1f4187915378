// 2-D convolution and its two adjoints. x [N,C,H,W], w [K,C/group,R,S], y [N,K,P,Q]. The three are the partial
// derivatives of one trilinear form sum(y * conv(x, w)), so each one's gradients are the other two.
#include "ops_internal.h"

#include "ops_util.h"
#include "window.h"

#include <inttypes.h>

// Ranks and types of both operands; operand names for messages.
static bool check_operands(struct ir_graph *g, const struct ir_node *n, const char *name0, const char *name1) {
    if (!ir_check_float(g, n, 0) || !ir_check_float(g, n, 1)) return false;
    if (!ir_check_rank(g, n, 0, 4, name0) || !ir_check_rank(g, n, 1, 4, name1)) return false;
    const struct ir_type *a = ir_in_type(g, n, 0), *b = ir_in_type(g, n, 1);
    return a->dtype == b->dtype || ir_fail(g, n, "operands %s and %s have different types", TYPE_TEXT(a), TYPE_TEXT(b));
}

// Channels against groups: x has C, w is [K, C/group, ..], y has K.
static bool check_channels(struct ir_graph *g, const struct ir_node *n, int64_t C, int64_t K, int64_t w_K,
                           int64_t w_C) {
    int64_t group = ir_attr_i(n, "group");
    if (group < 1 || group > IR_WINDOW_MAX)
        return ir_fail(g, n, "group = %" PRId64 " is not a number of groups", group);
    if (w_C < 1 || w_K < 1) return ir_fail(g, n, "the weight has no elements");
    if (K != w_K) return ir_fail(g, n, "%" PRId64 " output channels do not fit a weight with %" PRId64, K, w_K);
    if (w_C > IR_DIM_MAX || C != w_C * group)
        return ir_fail(g, n,
                       "the input has %" PRId64 " channels; a weight with %" PRId64 " input channels in %" PRId64
                       " group%s expects %" PRId64 " (operands %s and %s)",
                       C, w_C, group, group == 1 ? "" : "s", w_C > IR_DIM_MAX ? 0 : w_C * group,
                       TYPE_TEXT(ir_in_type(g, n, 0)), TYPE_TEXT(ir_in_type(g, n, 1)));
    if (K % group)
        return ir_fail(g, n, "%" PRId64 " output channels are not divisible into %" PRId64 " groups", K, group);
    return true;
}

bool ir_infer_conv(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    if (!check_operands(g, n, "input", "weight") || !ir_check_unbatched(g, n, 1, "weight")) return false;
    const struct ir_type *x = ir_in_type(g, n, 0), *w = ir_in_type(g, n, 1);
    struct ir_window win = {.size = {w->dims[2], w->dims[3]}};
    int64_t pq[2];
    if (!check_channels(g, n, x->dims[1], w->dims[0], w->dims[0], w->dims[1]) || !ir_window_read(g, n, true, &win) ||
        !ir_window_output(g, n, &win, x->dims + 2, pq))
        return false;
    out[0] = ir_type_make(x->dtype, 4, (int64_t[]){x->dims[0], w->dims[0], pq[0], pq[1]});
    return ir_check_type(g, n, out);
}

// The extents that conv would give for (in, window) must be those of dy.
static bool check_extents(struct ir_graph *g, const struct ir_node *n, const struct ir_window *win, const int64_t in[2],
                          const struct ir_type *dy) {
    int64_t pq[2];
    if (!ir_window_output(g, n, win, in, pq)) return false;
    if (pq[0] == dy->dims[2] && pq[1] == dy->dims[3]) return true;
    return ir_fail(g, n, "%s does not fit: input extents %s give output extents %s", TYPE_TEXT(dy), INTS_TEXT(in, 2),
                   INTS_TEXT(pq, 2));
}

bool ir_infer_conv_grad_x(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    if (!check_operands(g, n, "output gradient", "weight") || !ir_check_unbatched(g, n, 1, "weight")) return false;
    const struct ir_type *dy = ir_in_type(g, n, 0), *w = ir_in_type(g, n, 1);
    const int64_t *hw = ir_check_ints(g, n, "hw", 2, 1, IR_DIM_MAX);
    struct ir_window win = {.size = {w->dims[2], w->dims[3]}};
    if (!hw || !ir_window_read(g, n, true, &win)) return false;
    int64_t group = ir_attr_i(n, "group");
    if (group < 1 || group > IR_WINDOW_MAX || w->dims[1] > IR_DIM_MAX)
        return ir_fail(g, n, "group = %" PRId64 " is not a number of groups", group);
    int64_t C = w->dims[1] * group;
    if (!check_channels(g, n, C, dy->dims[1], w->dims[0], w->dims[1]) || !check_extents(g, n, &win, hw, dy))
        return false;
    out[0] = ir_type_make(dy->dtype, 4, (int64_t[]){dy->dims[0], C, hw[0], hw[1]});
    return ir_check_type(g, n, out);
}

bool ir_infer_conv_grad_w(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    if (!check_operands(g, n, "output gradient", "input")) return false;
    const struct ir_type *dy = ir_in_type(g, n, 0), *x = ir_in_type(g, n, 1);
    const int64_t *rs = ir_check_ints(g, n, "rs", 2, 1, IR_WINDOW_MAX);
    if (!rs) return false;
    struct ir_window win = {.size = {rs[0], rs[1]}};
    int64_t group = ir_attr_i(n, "group"), C = x->dims[1], K = dy->dims[1];
    if (dy->dims[0] != x->dims[0])
        return ir_fail(g, n, "operands %s and %s differ in the batch", TYPE_TEXT(dy), TYPE_TEXT(x));
    if (group < 1 || C < 1 || K < 1 || C % group || K % group)
        return ir_fail(g, n, "%" PRId64 " input and %" PRId64 " output channels do not divide into %" PRId64 " groups",
                       C, K, group);
    if (!ir_window_read(g, n, true, &win) || !check_extents(g, n, &win, x->dims + 2, dy)) return false;
    out[0] = ir_type_make(dy->dtype, 4, (int64_t[]){K, C / group, rs[0], rs[1]});
    return ir_check_type(g, n, out);
}

// --- reference -----------------------------------------------------------------------------------------------------

// Every product x[ix] * w[iw] that contributes to y[iy], in order of y.
struct conv_taps {
    const struct ir_type *x, *w, *y;
    struct ir_window win;
    int64_t group;
    void (*tap)(void *env, size_t ix, size_t iw, size_t iy);
    void *env;
};

static size_t index4(const struct ir_type *t, int64_t a, int64_t b, int64_t c, int64_t d) {
    return (size_t)(((a * t->dims[1] + b) * t->dims[2] + c) * t->dims[3] + d);
}

static void taps_of_output(const struct conv_taps *v, const struct ir_walk *y) {
    int64_t group_c = v->w->dims[1], group_k = v->w->dims[0] / v->group;
    int64_t n = y->idx[0], k = y->idx[1], c0 = k / group_k * group_c;
    for (int64_t c = 0; c < group_c; c++)
        for (int64_t r = 0; r < v->w->dims[2]; r++)
            for (int64_t s = 0; s < v->w->dims[3]; s++) {
                int64_t h = ir_window_at(&v->win, 0, y->idx[2], r), w = ir_window_at(&v->win, 1, y->idx[3], s);
                if (h < 0 || h >= v->x->dims[2] || w < 0 || w >= v->x->dims[3]) continue;
                v->tap(v->env, index4(v->x, n, c0 + c, h, w), index4(v->w, k, c, r, s), y->linear);
            }
}

static void for_each_tap(const struct ir_node *n, const struct ir_type *x, const struct ir_type *w,
                         const struct ir_type *y, void (*tap)(void *, size_t, size_t, size_t), void *env) {
    struct conv_taps v = {x, w, y, ir_window_of(n, true), ir_attr_i(n, "group"), tap, env};
    for (struct ir_walk i = ir_walk_all(y); !i.done; ir_walk_next(&i)) taps_of_output(&v, &i);
}

struct triple {
    double *x, *w, *y;
};
static void tap_y(void *env, size_t ix, size_t iw, size_t iy) {
    struct triple *t = env;
    t->y[iy] += t->x[ix] * t->w[iw];
}
static void tap_x(void *env, size_t ix, size_t iw, size_t iy) {
    struct triple *t = env;
    t->x[ix] += t->y[iy] * t->w[iw];
}
static void tap_w(void *env, size_t ix, size_t iw, size_t iy) {
    struct triple *t = env;
    t->w[iw] += t->y[iy] * t->x[ix];
}

static void clear(struct ir_tensor *t) {
    size_t count = ir_tensor_numel(t);
    for (size_t i = 0; i < count; i++) t->f[i] = 0;
}

void ir_eval_conv(EVAL_PARAMS) {
    (void)g;
    clear(out[0]);
    struct triple t = {.x = in[0]->f, .w = in[1]->f, .y = out[0]->f};
    for_each_tap(n, &in[0]->type, &in[1]->type, &out[0]->type, tap_y, &t);
}

void ir_eval_conv_grad_x(EVAL_PARAMS) {
    (void)g;
    clear(out[0]);
    struct triple t = {.y = in[0]->f, .w = in[1]->f, .x = out[0]->f};
    for_each_tap(n, &out[0]->type, &in[1]->type, &in[0]->type, tap_x, &t);
}

void ir_eval_conv_grad_w(EVAL_PARAMS) {
    (void)g;
    clear(out[0]);
    struct triple t = {.y = in[0]->f, .x = in[1]->f, .w = out[0]->f};
    for_each_tap(n, &in[1]->type, &out[0]->type, &in[0]->type, tap_w, &t);
}

// --- gradients -----------------------------------------------------------------------------------------------------

// Emits conv, conv_grad_x or conv_grad_w with the window of node id; `extra` is "hw" or "rs" and its extents, or NULL.
static ir_vid emit_like(struct ir_graph *g, ir_nid id, enum ir_op op, ir_vid a, ir_vid b, const char *extra,
                        const int64_t *extents) {
    const struct ir_node *n = &g->nodes[id];
    size_t k;
    struct ir_attr attrs[5] = {
        IR_IS("strides", ir_attr_ints(n, "strides", &k), 2),
        IR_IS("pads", ir_attr_ints(n, "pads", &k), 4),
        IR_IS("dilations", ir_attr_ints(n, "dilations", &k), 2),
        IR_I("group", ir_attr_i(n, "group")),
    };
    size_t count = 4;
    if (extra) attrs[count++] = IR_IS(extra, extents, 2);
    return ir_emit(g, op, (ir_vid[]){a, b}, 2, attrs, count);
}

void ir_vjp_conv(VJP_PARAMS) {
    ir_vid x = g->nodes[id].in[0], w = g->nodes[id].in[1];
    struct ir_type tx = *ir_typeof(g, x), tw = *ir_typeof(g, w);
    if (want[0]) din[0] = emit_like(g, id, IR_OP_conv_grad_x, dout[0], w, "hw", tx.dims + 2);
    if (want[1]) din[1] = emit_like(g, id, IR_OP_conv_grad_w, dout[0], x, "rs", tw.dims + 2);
}

void ir_vjp_conv_grad_x(VJP_PARAMS) {
    ir_vid dy = g->nodes[id].in[0], w = g->nodes[id].in[1];
    struct ir_type tw = *ir_typeof(g, w);
    if (want[0]) din[0] = emit_like(g, id, IR_OP_conv, dout[0], w, NULL, NULL);
    if (want[1]) din[1] = emit_like(g, id, IR_OP_conv_grad_w, dy, dout[0], "rs", tw.dims + 2);
}

void ir_vjp_conv_grad_w(VJP_PARAMS) {
    ir_vid dy = g->nodes[id].in[0], x = g->nodes[id].in[1];
    struct ir_type tx = *ir_typeof(g, x);
    if (want[0]) din[0] = emit_like(g, id, IR_OP_conv, x, dout[0], NULL, NULL);
    if (want[1]) din[1] = emit_like(g, id, IR_OP_conv_grad_x, dy, dout[0], "hw", tx.dims + 2);
}
