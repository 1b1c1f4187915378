// Batch normalisation over all dims but 1, and dropout. Training BatchNorm is bn_stats, two operations on vectors, and
// bn_apply; the gradients of those three add up to the usual backward formula
//     dx = gamma*invstd * (dy - mean(dy) - xhat * mean(dy*xhat)),
// with all per-channel arithmetic done on f32[C] before it meets an activation.
#include "ops_internal.h"

#include "../hash.h"
#include "ops_util.h"

#include <inttypes.h>
#include <math.h>

// --- types ---------------------------------------------------------------------------------------------------------

// Operand i is an activation [N,C,..] of f32; *C gets its channels.
static bool check_activation(struct ir_graph *g, const struct ir_node *n, size_t i, int64_t *C) {
    const struct ir_type *x = ir_in_type(g, n, i);
    if (!ir_check_float(g, n, i)) return false;
    if (x->rank < 2 || x->dims[1] < 1)
        return ir_fail(g, n, "the input is %s; at least 2 dimensions, [N,C,..], were expected", TYPE_TEXT(x));
    *C = x->dims[1];
    return true;
}

static bool check_vector(struct ir_graph *g, const struct ir_node *n, size_t i, const char *name, int64_t C,
                         enum ir_dtype t) {
    const struct ir_type *v = ir_in_type(g, n, i);
    if (v->rank == 1 && v->dims[0] == C && v->dtype == t) return true;
    return ir_fail(g, n, "%s is %s; expected %s[%" PRId64 "], one value for each channel", name, TYPE_TEXT(v),
                   ir_dtype_name(t), C);
}

static bool check_vectors(struct ir_graph *g, const struct ir_node *n, size_t first, const char *const *names,
                          size_t count, int64_t C) {
    enum ir_dtype t = ir_in_type(g, n, 0)->dtype;
    for (size_t k = 0; k < count; k++)
        if (!check_vector(g, n, first + k, names[k], C, t)) return false;
    return true;
}

bool ir_infer_batch_norm(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    static const char *const names[] = {"scale", "bias", "running mean", "running variance"};
    int64_t C = 0;
    if (!check_activation(g, n, 0, &C) || !check_vectors(g, n, 1, names, 4, C)) return false;
    double eps = ir_attr_f(n, "eps"), momentum = ir_attr_f(n, "momentum");
    if (!(eps >= 0 && eps < INFINITY)) return ir_fail(g, n, "epsilon = %g must not be negative", eps);
    if (!(momentum >= 0 && momentum <= 1)) return ir_fail(g, n, "momentum = %g must lie between 0 and 1", momentum);
    int64_t training = ir_attr_i(n, "training");
    if (training < -1 || training > 1) return ir_fail(g, n, "training = %" PRId64 " must be -1, 0 or 1", training);
    out[0] = *ir_in_type(g, n, 0);
    out[1] = out[2] = ir_type_make(out[0].dtype, 1, &C);
    return true;
}

bool ir_infer_bn_stats(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    int64_t C = 0;
    if (!check_activation(g, n, 0, &C)) return false;
    out[0] = out[1] = ir_type_make(ir_in_type(g, n, 0)->dtype, 1, &C);
    return true;
}

bool ir_infer_bn_apply(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    static const char *const names[] = {"mean", "inverse deviation", "scale", "bias"};
    int64_t C = 0;
    if (!check_activation(g, n, 0, &C) || !check_vectors(g, n, 1, names, 4, C)) return false;
    out[0] = *ir_in_type(g, n, 0);
    return true;
}

bool ir_infer_bn_grad_reduce(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    static const char *const names[] = {"mean", "inverse deviation"};
    int64_t C = 0;
    const struct ir_type *dy = ir_in_type(g, n, 0), *x = ir_in_type(g, n, 1);
    if (!check_activation(g, n, 0, &C) || !check_vectors(g, n, 2, names, 2, C)) return false;
    if (dy->dtype != x->dtype || !ir_same_dims(dy, x))
        return ir_fail(g, n, "gradient %s does not fit %s", TYPE_TEXT(dy), TYPE_TEXT(x));
    out[0] = out[1] = ir_type_make(x->dtype, 1, &C);
    return true;
}

// --- reference -----------------------------------------------------------------------------------------------------

// Channel of the element with row-major number i.
static size_t channel_of(const struct ir_type *t, size_t i) {
    size_t spatial = 1;
    for (int d = 2; d < t->rank; d++) spatial *= (size_t)t->dims[d];
    return i / spatial % (size_t)t->dims[1];
}

static void batch_statistics(const struct ir_tensor *x, double *mean, double *var) {
    size_t count = ir_tensor_numel(x), C = (size_t)x->type.dims[1];
    double M = (double)(count / C);
    for (size_t c = 0; c < C; c++) mean[c] = var[c] = 0;
    for (size_t i = 0; i < count; i++) mean[channel_of(&x->type, i)] += x->f[i] / M;
    for (size_t i = 0; i < count; i++) {
        size_t c = channel_of(&x->type, i);
        var[c] += (x->f[i] - mean[c]) * (x->f[i] - mean[c]) / M;
    }
}

void ir_eval_bn_stats(EVAL_PARAMS) { (void)g, (void)n, batch_statistics(in[0], out[0]->f, out[1]->f); }

void ir_eval_bn_apply(EVAL_PARAMS) {
    (void)g, (void)n;
    size_t count = ir_tensor_numel(out[0]);
    for (size_t i = 0; i < count; i++) {
        size_t c = channel_of(&in[0]->type, i);
        out[0]->f[i] = (in[0]->f[i] - in[1]->f[c]) * in[2]->f[c] * in[3]->f[c] + in[4]->f[c];
    }
}

void ir_eval_bn_grad_reduce(EVAL_PARAMS) {
    (void)g, (void)n;
    const double *dy = in[0]->f, *x = in[1]->f, *mean = in[2]->f, *invstd = in[3]->f;
    double *dgamma = out[0]->f, *dbeta = out[1]->f;
    size_t count = ir_tensor_numel(in[1]), C = ir_tensor_numel(out[0]);
    for (size_t c = 0; c < C; c++) dgamma[c] = dbeta[c] = 0;
    for (size_t i = 0; i < count; i++) {
        size_t c = channel_of(&in[1]->type, i);
        dgamma[c] += dy[i] * (x[i] - mean[c]) * invstd[c];
        dbeta[c] += dy[i];
    }
}

// Before pass expand has fixed the mode, training = -1 means inference.
void ir_eval_batch_norm(EVAL_PARAMS) {
    (void)g;
    const struct ir_tensor *x = in[0];
    bool training = ir_attr_i(n, "training") == 1;
    double eps = ir_attr_f(n, "eps"), momentum = ir_attr_f(n, "momentum");
    size_t count = ir_tensor_numel(x), C = (size_t)x->type.dims[1];
    double *mean = out[1]->f, *var = out[2]->f, M = (double)(count / C);
    for (size_t c = 0; c < C; c++) mean[c] = in[3]->f[c], var[c] = in[4]->f[c];
    if (training) batch_statistics(x, mean, var);
    for (size_t i = 0; i < count; i++) {
        size_t c = channel_of(&x->type, i);
        out[0]->f[i] = (x->f[i] - mean[c]) / sqrt(var[c] + eps) * in[1]->f[c] + in[2]->f[c];
    }
    for (size_t c = 0; training && c < C; c++) {
        mean[c] = M > 1 ? in[3]->f[c] * momentum + mean[c] * (1 - momentum) : in[3]->f[c];
        var[c] = M > 1 ? in[4]->f[c] * momentum + var[c] * (M / (M - 1)) * (1 - momentum) : in[4]->f[c];
    }
}

// --- expansions ----------------------------------------------------------------------------------------------------

// A channel with one element a sample: a batch of one leaves it a single value.
static bool may_be_single(const struct ir_type *x) {
    for (int i = 0; i < x->rank; i++)
        if (i != 1 && x->dims[i] != 1 && x->dims[i] != -1) return false;
    return true;
}

bool ir_is_single_statistic(const struct ir_graph *g, const struct ir_node *n) {
    return n->op == IR_OP_bn_stats && may_be_single(&g->values[n->in[0]].type);
}

// Elements per channel as f32[]: N times the spatial extents.
static ir_vid elements_per_channel(struct ir_graph *g, const struct ir_type *x) {
    int64_t axes[IR_MAX_RANK];
    size_t k = 0;
    for (int i = 0; i < x->rank; i++)
        if (i != 1) axes[k++] = i;
    ir_vid m = ir_count_of(g, x, axes, k);
    return x->dtype == IR_F32 ? m : ir_cast(g, m, x->dtype);
}

static bool is_training(const struct ir_node *n, enum ir_expand_mode mode) {
    int64_t fixed = ir_attr_i(n, "training");
    return fixed < 0 ? mode == IR_TRAIN : fixed != 0;
}

// old*momentum + new*(1-momentum); no gradient flows through running statistics.
static ir_vid moving_average(struct ir_graph *g, ir_vid old, ir_vid new, double momentum) {
    return ir_add(g, ir_scale(g, old, momentum), ir_scale(g, new, 1 - momentum));
}

void ir_expand_batch_norm(struct ir_graph *g, ir_nid id, enum ir_expand_mode mode, ir_vid *out) {
    const struct ir_node *n = &g->nodes[id];
    ir_vid x = n->in[0], gamma = n->in[1], beta = n->in[2], old_mean = n->in[3], old_var = n->in[4], mean = old_mean,
           var = old_var;
    double eps = ir_attr_f(n, "eps"), momentum = ir_attr_f(n, "momentum");
    bool training = is_training(n, mode);
    struct ir_type t = *ir_typeof(g, x);
    if (training) {
        ir_nid stats = ir_node_new(g, IR_OP_bn_stats, &x, 1, IR_NO_ATTRS);
        CHECK(stats != IR_NONE, "bn_stats does not accept the operand of batch_norm");
        mean = g->nodes[stats].out[0];
        var = g->nodes[stats].out[1];
    }
    ir_vid deviation = ir_unary(g, IR_OP_sqrt, ir_add(g, var, ir_const_like(g, var, eps)));
    ir_vid in[5] = {x, mean, ir_unary(g, IR_OP_recip, deviation), gamma, beta};
    out[0] = ir_emit(g, IR_OP_bn_apply, in, 5, IR_NO_ATTRS);
    out[1] = old_mean;
    out[2] = old_var;
    if (!training) return;
    // M/(M-1) makes the variance unbiased. A single element has none: it leaves the statistics as they were.
    ir_vid m = elements_per_channel(g, &t), one = ir_const_like(g, m, 1);
    ir_vid unbias = ir_div(g, m, ir_binary(g, IR_OP_max, ir_sub(g, m, one), one));
    out[1] = moving_average(g, old_mean, ir_stop_gradient(g, mean), momentum);
    out[2] = moving_average(g, old_var, ir_mul(g, ir_stop_gradient(g, var), unbias), momentum);
    if (!may_be_single(&t)) return;
    ir_vid several = ir_binary(g, IR_OP_lt, one, m);
    out[1] = ir_where(g, several, out[1], old_mean);
    out[2] = ir_where(g, several, out[2], old_var);
}

void ir_expand_dropout(struct ir_graph *g, ir_nid id, enum ir_expand_mode mode, ir_vid *out) {
    const struct ir_node *n = &g->nodes[id];
    ir_vid x = n->in[0], seed = n->in[1];
    double ratio = ir_attr_f(n, "ratio");
    int64_t salt = ir_attr_i(n, "salt");
    out[0] = x;
    if (!is_training(n, mode) || ratio == 0) return;
    // The mask takes only its shape from x: no gradient goes that way.
    ir_vid in[2] = {ir_stop_gradient(g, x), seed};
    out[0] = ir_mul(g, x, ir_emit(g, IR_OP_dropout_mask, in, 2, IR_ATTRS(IR_F("ratio", ratio), IR_I("salt", salt))));
}

// As for batch_norm, training = -1 means inference here.
void ir_eval_dropout(EVAL_PARAMS) {
    (void)g;
    int64_t seed = ir_attr_i(n, "training") == 1 ? in[1]->i[0] : -1, salt = ir_attr_i(n, "salt");
    double ratio = ir_attr_f(n, "ratio");
    size_t count = ir_tensor_numel(out[0]);
    for (size_t i = 0; i < count; i++) out[0]->f[i] = in[0]->f[i] * ir_dropout_factor(seed, salt, ratio, i);
}

// --- gradients -----------------------------------------------------------------------------------------------------

// mean: dx = dmean/M. var: dx = dvar * 2 (x - mean)/M; the term through the mean vanishes. x - mean stays one
// subtraction: folding the mean into the constant would cancel badly where |mean| is far above the deviation.
void ir_vjp_bn_stats(VJP_PARAMS) {
    if (!want[0]) return;
    const struct ir_node *n = &g->nodes[id];
    ir_vid x = n->in[0], mean = n->out[0];
    struct ir_type t = *ir_typeof(g, x);
    ir_vid share = ir_unary(g, IR_OP_recip, elements_per_channel(g, &t));
    ir_vid dx = IR_NONE, from_mean = IR_NONE;
    if (dout[1] != IR_NONE) {
        ir_vid slope = ir_mul(g, dout[1], ir_scale(g, share, 2));
        ir_vid centred = ir_sub(g, x, ir_channel_vector(g, mean, t.rank));
        dx = ir_mul(g, centred, ir_channel_vector(g, slope, t.rank));
    }
    if (dout[0] != IR_NONE) from_mean = ir_channel_vector(g, ir_mul(g, dout[0], share), t.rank);
    if (dx == IR_NONE)
        din[0] = from_mean == IR_NONE ? IR_NONE : ir_expand_to(g, from_mean, t.rank, t.dims);
    else
        din[0] = from_mean == IR_NONE ? dx : ir_add(g, dx, from_mean);
}

void ir_vjp_bn_apply(VJP_PARAMS) {
    const struct ir_node *n = &g->nodes[id];
    ir_vid x = n->in[0], mean = n->in[1], invstd = n->in[2], gamma = n->in[3], dy = dout[0];
    int rank = ir_typeof(g, x)->rank;
    ir_vid scale = want[0] || want[1] ? ir_mul(g, gamma, invstd) : IR_NONE;
    if (want[0]) din[0] = ir_mul(g, dy, ir_channel_vector(g, scale, rank));
    if (!want[1] && !want[2] && !want[3] && !want[4]) return;
    ir_vid in[4] = {dy, x, mean, invstd};
    ir_nid reduce = ir_node_new(g, IR_OP_bn_grad_reduce, in, 4, IR_NO_ATTRS);
    CHECK(reduce != IR_NONE, "bn_grad_reduce does not accept the operands of bn_apply");
    ir_vid dgamma = g->nodes[reduce].out[0], dbeta = g->nodes[reduce].out[1];
    if (want[1]) din[1] = ir_unary(g, IR_OP_neg, ir_mul(g, scale, dbeta));
    // sum dy*(x-mean)*gamma = gamma * dgamma / invstd
    if (want[2]) din[2] = ir_div(g, ir_mul(g, gamma, dgamma), invstd);
    if (want[3]) din[3] = dgamma;
    if (want[4]) din[4] = dbeta;
}
