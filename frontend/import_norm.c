// Normalisations. BatchNorm stays one op (its mode is chosen later); the others become reductions and arithmetic.
#include "window.h"

#include <string.h>

// Exporters disagree about the training form: the TorchScript exporter writes training_mode = 1 with three results
// (before opset 14 more results alone), the default exporter the inference form even for a model in train mode. So a
// file without any training form says nothing, and its norms are trained. In one with both, a norm in the inference
// form was frozen: it keeps its statistics, in training too, and its scale and bias learn through them.
static bool in_training_form(const Onnx__NodeProto *p, int64_t opset) {
    if (!p->op_type || strcmp(p->op_type, "BatchNormalization")) return false;
    for (size_t i = 0; i < p->n_attribute; i++) {
        const char *name = p->attribute[i]->name ? p->attribute[i]->name : "";
        if (!strcmp(name, "training_mode")) return p->attribute[i]->i != 0;
        if (!strcmp(name, "is_test") && p->attribute[i]->i) return false; // before opset 7
    }
    return opset < 14 && p->n_output > 1 && *p->output[1];
}

bool fe_has_training_norms(const Onnx__ModelProto *m) {
    const int64_t opset = fe_model_opset(m);
    bool any = false;
    for (size_t i = 0; i < m->graph->n_node; i++) any |= in_training_form(m->graph->node[i], opset);
    for (size_t f = 0; f < m->n_functions; f++)
        for (size_t i = 0; i < m->functions[f]->n_node; i++) any |= in_training_form(m->functions[f]->node[i], opset);
    return any;
}

// A running statistic: a BUFFER under its ONNX name.
static ir_vid statistic(struct fe_ctx *c, struct fe_node *n, size_t i) {
    struct fe_val *v = fe_arg(n, i);
    if (v && !v->unknown && v->vid == IR_NONE && v->blob && v->blob->type.dtype == IR_F32) {
        v->vid = ir_boundary(c->g, IR_ROLE_BUFFER, v->blob->type, v->name, fe_blob_data(v->blob, c->a));
        v->is_buffer = true;
        *ARENA_PUSH(c->m->arena, c->m->weights, c->m->n_weights, c->m->cap_weights) = v->name;
        *ARENA_PUSH(c->a, c->buffers, c->n_buffers, c->cap_buffers) = v;
    }
    if (v && v->is_buffer && v->buffer_now != IR_NONE) return v->buffer_now; // a module used twice updates them twice
    return fe_vid(c, v);
}

// Before opset 9 with spatial = 0: each element of a sample is a channel of its own. Operands as [N, elements] and
// [elements]; false after reporting.
static bool by_element(struct fe_ctx *c, struct fe_node *n, ir_vid in[5]) {
    const struct ir_type t = *fe_typeof(c, in[0]);
    int64_t dims[2] = {t.rank ? t.dims[0] : 1, 1};
    for (int i = 1; i < t.rank; i++) dims[1] *= t.dims[i];
    in[0] = fe_reshape(c, in[0], 2, dims);
    for (int i = 1; i < 5; i++) {
        if (ir_is_batched(fe_typeof(c, in[i])) || ir_numel(fe_typeof(c, in[i])) != dims[1])
            return fe_fail(c, n, "with spatial=0 operand %d must have an element for each of a sample's %lld", i,
                           (long long)dims[1]);
        in[i] = fe_reshape(c, in[i], 1, dims + 1);
    }
    return true;
}

bool fe_op_batch_norm(struct fe_ctx *c, struct fe_node *n) {
    ir_vid in[5] = {fe_in(c, n, 0), fe_in(c, n, 1), fe_in(c, n, 2), statistic(c, n, 3), statistic(c, n, 4)};
    for (int i = 0; i < 5; i++)
        if (in[i] == IR_NONE)
            return fe_fail(c, n, "operand %d is missing; it needs x, scale, bias, mean and variance", i);
    const struct ir_type xt = *fe_typeof(c, in[0]), mean = *fe_typeof(c, in[3]);
    const bool elements = c->opset < 9 && fe_attr_i(c, n, "spatial", 1) == 0;
    if (elements && !by_element(c, n, in)) return false;
    c->saw_bn = true;
    const bool asked = c->freeze_norms || fe_arg(n, 3)->is_kept || fe_arg(n, 4)->is_kept,
               frozen = asked || (c->training_norms && !in_training_form(n->p, c->opset));
    c->asked_norms += asked;
    c->m->n_norms++;
    c->m->n_frozen += frozen;
    struct ir_attr attrs[] = {IR_F("eps", fe_attr_f(c, n, "epsilon", 1e-5f)),
                              IR_F("momentum", fe_attr_f(c, n, "momentum", 0.9f)), IR_I("training", 0)};
    ir_nid id = ir_node_new(c->g, IR_OP_batch_norm, in, 5, attrs, frozen ? 3 : 2);
    if (id == IR_NONE) return false;
    ir_vid out[3];
    memcpy(out, c->g->nodes[id].out, sizeof out);
    if (elements) {
        out[0] = fe_reshape(c, out[0], xt.rank, xt.dims);
        for (int k = 1; k < 3; k++) out[k] = fe_reshape(c, out[k], mean.rank, mean.dims);
    }
    if (!fe_out(c, n, 0, out[0])) return false;
    for (size_t k = 0; k < 2; k++) {
        struct fe_val *v = fe_arg(n, 3 + k);
        if (v->is_buffer && !frozen) v->buffer_now = out[1 + k];
        if (1 + k < n->n_out && n->wanted[1 + k]) {
            struct fe_val *r = fe_val_of(c, out[1 + k]);
            r->is_buffer = true; // as a model output it is not one of ours
            fe_out_val(n, 1 + k, r);
        }
    }
    return true;
}

static ir_vid sub_mean(struct fe_ctx *c, ir_vid x, const int64_t *axes, size_t k) {
    return fe_e2(c, IR_OP_sub, x, fe_reduce(c, IR_OP_reduce_mean, x, axes, k, 1));
}

// 1 / sqrt(mean(x^2) + eps) over axes.
static ir_vid inv_rms(struct fe_ctx *c, ir_vid x, const int64_t *axes, size_t k, double eps) {
    ir_vid v = fe_reduce(c, IR_OP_reduce_mean, fe_e2(c, IR_OP_mul, x, x), axes, k, 1);
    return fe_e1(c, IR_OP_recip, fe_e1(c, IR_OP_sqrt, fe_e2(c, IR_OP_add, v, fe_like(c, v, eps))));
}

// Vector f32[C] shaped to broadcast along dim 1 of a tensor of `rank`.
static ir_vid per_channel(struct fe_ctx *c, ir_vid v, int rank) {
    if (v == IR_NONE) return v;
    int64_t dims[IR_MAX_RANK];
    for (int i = 0; i < rank; i++) dims[i] = 1;
    dims[0] = ir_numel(fe_typeof(c, v));
    return fe_reshape(c, v, rank - 1, dims);
}

bool fe_op_instance_norm(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0), s = fe_in(c, n, 1), b = fe_in(c, n, 2);
    if (x == IR_NONE || s == IR_NONE || b == IR_NONE) return fe_fail(c, n, "needs x, scale and bias");
    int rank = fe_typeof(c, x)->rank;
    int64_t axes[IR_MAX_RANK];
    if (rank < 3) return fe_fail(c, n, "its input has %d dimensions, expected at least 3", rank);
    for (int i = 2; i < rank; i++) axes[i - 2] = i;
    ir_vid d = sub_mean(c, x, axes, (size_t)rank - 2);
    ir_vid y = fe_e2(c, IR_OP_mul, d, inv_rms(c, d, axes, (size_t)rank - 2, fe_attr_f(c, n, "epsilon", 1e-5f)));
    return fe_out(c, n, 0,
                  fe_e2(c, IR_OP_add, fe_e2(c, IR_OP_mul, y, per_channel(c, s, rank)), per_channel(c, b, rank)));
}

static bool layer(struct fe_ctx *c, struct fe_node *n, bool center) {
    ir_vid x = fe_in(c, n, 0), s = fe_in(c, n, 1), b = fe_arg(n, 2) ? fe_in(c, n, 2) : IR_NONE;
    if (x == IR_NONE || s == IR_NONE) return fe_fail(c, n, "needs x and scale");
    int rank = fe_typeof(c, x)->rank, axis;
    if (!fe_axis(c, n, fe_attr_i(c, n, "axis", -1), rank, &axis)) return false;
    int64_t axes[IR_MAX_RANK];
    for (int i = axis; i < rank; i++) axes[i - axis] = i;
    size_t k = (size_t)(rank - axis);
    ir_vid d = center ? sub_mean(c, x, axes, k) : x, inv = inv_rms(c, d, axes, k, fe_attr_f(c, n, "epsilon", 1e-5f));
    ir_vid y = fe_e2(c, IR_OP_mul, fe_e2(c, IR_OP_mul, d, inv), s);
    if (b != IR_NONE) y = fe_e2(c, IR_OP_add, y, b);
    if (n->n_out > 1 && n->wanted[1]) fe_out(c, n, 1, fe_reduce(c, IR_OP_reduce_mean, x, axes, k, 1));
    if (n->n_out > 2 && n->wanted[2]) fe_out(c, n, 2, inv);
    return fe_out(c, n, 0, y);
}

bool fe_op_layer_norm(struct fe_ctx *c, struct fe_node *n) { return layer(c, n, true); }
bool fe_op_rms_norm(struct fe_ctx *c, struct fe_node *n) { return layer(c, n, false); }

// Opset 18 has one scale and bias per group, 21 one per channel.
bool fe_op_group_norm(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0), s = fe_in(c, n, 1), b = fe_in(c, n, 2);
    if (x == IR_NONE || s == IR_NONE || b == IR_NONE) return fe_fail(c, n, "needs x, scale and bias");
    struct ir_type t = *fe_typeof(c, x);
    int64_t groups = fe_attr_i(c, n, "num_groups", 0);
    if (t.rank < 3 || groups < 1 || t.dims[1] % groups)
        return fe_fail(c, n, "num_groups %lld does not divide the channels", (long long)groups);
    int64_t rest = t.dims[1] / groups;
    for (int i = 2; i < t.rank; i++) rest *= t.dims[i];
    int64_t dims[3] = {t.dims[0], groups, rest}, axes[1] = {2};
    ir_vid d = sub_mean(c, fe_reshape(c, x, 3, dims), axes, 1);
    ir_vid y = fe_e2(c, IR_OP_mul, d, inv_rms(c, d, axes, 1, fe_attr_f(c, n, "epsilon", 1e-5f)));
    if (n->arg < 21) y = fe_e2(c, IR_OP_add, fe_e2(c, IR_OP_mul, y, per_channel(c, s, 3)), per_channel(c, b, 3));
    y = fe_reshape(c, y, t.rank, t.dims);
    if (n->arg >= 21)
        y = fe_e2(c, IR_OP_add, fe_e2(c, IR_OP_mul, y, per_channel(c, s, t.rank)), per_channel(c, b, t.rank));
    return fe_out(c, n, 0, y);
}

// x / |x|; a row of norm 0 stays 0, and so is its gradient.
bool fe_op_lp_norm(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0);
    int axis;
    if (x == IR_NONE || !fe_axis(c, n, fe_attr_i(c, n, "axis", -1), fe_typeof(c, x)->rank, &axis)) return false;
    int64_t p = fe_attr_i(c, n, "p", 2), axes[1] = {axis};
    if (p != 1 && p != 2) return fe_fail(c, n, "p = %lld; 1 and 2 are supported", (long long)p);
    ir_vid s = fe_reduce(c, IR_OP_reduce_sum, p == 1 ? fe_e1(c, IR_OP_abs, x) : fe_e2(c, IR_OP_mul, x, x), axes, 1, 1);
    ir_vid norm = p == 1 ? s : fe_root(c, s), none = fe_e2(c, IR_OP_eq, norm, fe_like(c, x, 0));
    ir_vid y = fe_e2(c, IR_OP_div, x, fe_where(c, none, fe_like(c, x, 1), norm));
    return fe_out(c, n, 0, fe_where(c, none, fe_like(c, x, 0), y));
}

// LRN-13: x / (bias + alpha/size * sum of squares over a window of channels)^beta. The window's mean is an average pool
// over the channel axis whose padding counts.
bool fe_op_lrn(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0);
    if (x == IR_NONE) return fe_fail(c, n, "operand 0 is missing");
    struct ir_type t = *fe_typeof(c, x);
    int64_t size = fe_attr_i(c, n, "size", 0), rest = 1;
    if (!ir_is_float(t.dtype)) return fe_fail(c, n, "needs floats, got %s", ir_dtype_name(t.dtype));
    if (t.rank < 2 || size < 1 || size > t.dims[1] * 2)
        return fe_fail(c, n, "size %lld does not fit %lld channels", (long long)size,
                       (long long)(t.rank < 2 ? 0 : t.dims[1]));
    for (int i = 2; i < t.rank; i++) rest *= t.dims[i];
    int64_t dims[4] = {t.dims[0], 1, t.dims[1], rest}, kernel[2] = {size, 1}, ones[2] = {1, 1},
            pads[4] = {(size - 1) / 2, 0, size / 2, 0};
    ir_vid mean = fe_reshape(c, fe_e2(c, IR_OP_mul, x, x), 4, dims);
    if (t.dtype == IR_F32) {
        mean = fe_emit(c, IR_OP_avg_pool, &mean, 1,
                       IR_ATTRS(IR_IS("kernel", kernel, 2), IR_IS("strides", ones, 2), IR_IS("pads", pads, 4),
                                IR_I("include_pad", 1)));
    } else {
        const struct fe_window w = {1, {size}, {1}, {1}, {pads[0]}, {pads[2]}, {t.dims[1]}, {t.dims[1]}};
        mean = fe_window_sum(c, mean, &w);
        mean = fe_e2(c, IR_OP_div, mean, fe_like(c, mean, (double)size));
    }
    ir_vid base = fe_e2(c, IR_OP_add, fe_e2(c, IR_OP_mul, mean, fe_like(c, x, fe_attr_f(c, n, "alpha", 1e-4f))),
                        fe_like(c, x, fe_attr_f(c, n, "bias", 1)));
    ir_vid den = fe_e2(c, IR_OP_pow, base, fe_like(c, x, fe_attr_f(c, n, "beta", 0.75)));
    return fe_out(c, n, 0, fe_e2(c, IR_OP_div, x, fe_reshape(c, den, t.rank, t.dims)));
}
