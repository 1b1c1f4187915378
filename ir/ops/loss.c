// Ops of distillation losses on rows of [N,C] (methods.md 0 to 2): entropies, cross entropies, and the four parts of
// SMKD. Each expands into primitives, so a loss differentiates, fuses and lowers like any model.
//
// What is a constant for differentiation is decided here, once: the trust epsilon always is (it says how far to believe
// a prediction, not how to change it), and so is a refined target's own prediction where `detach` says so. Gates are
// comparisons and have no gradient to begin with.
#include "ops_internal.h"
#include "ops_util.h"

#include <math.h>
#include <string.h>

static const int64_t AXIS_C = 1;

// --- types ----------------------------------------------------------------------------------------------------------

static bool is_rows(struct ir_graph *g, const struct ir_node *n, int operand, int rank) {
    const struct ir_type *t = ir_typeof(g, n->in[operand]);
    if (t->dtype == IR_F32 && t->rank == rank && (rank < 2 || t->dims[1] > 0)) return true;
    return ir_fail(g, n, "operand %d is %s; expected f32%s", operand, TYPE_TEXT(t),
                   rank == 2   ? "[N,C]"
                   : rank == 1 ? "[N]"
                               : "[], a scalar");
}

static bool is_one_of(struct ir_graph *g, const struct ir_node *n, const char *attr, const char *const *words) {
    const char *s = ir_attr_s(n, attr);
    struct str all = STR_INIT;
    bool found = false;
    for (; *words; words++) {
        str_addf(&all, "%s%s", all.len ? ", " : "", *words);
        found = found || (s && strcmp(s, *words) == 0);
    }
    if (!found) ir_fail(g, n, "%s is \"%s\"; expected one of %s", attr, s ? s : "", all.s);
    str_release(&all);
    return found;
}

// entropy, cross_entropy, kl_div: f32[N] from one or two f32[N,C].
bool ir_infer_rows(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    for (int i = 0; i < n->n_in; i++) {
        if (!is_rows(g, n, i, 2)) return false;
    }
    const struct ir_type *x = ir_typeof(g, n->in[0]);
    if (n->n_in == 2 && !ir_same_dims(x, ir_typeof(g, n->in[1]))) {
        return ir_fail(g, n, "operands are %s and %s; expected equal shapes [N,C]", TYPE_TEXT(x),
                       TYPE_TEXT(ir_typeof(g, n->in[1])));
    }
    out[0] = ir_type_make(IR_F32, 1, x->dims);
    return true;
}

bool ir_infer_smkd_threshold(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    for (int i = 0; i < 3; i++) {
        if (!is_rows(g, n, i, 0)) return false;
    }
    const struct ir_type *c = ir_typeof(g, n->in[3]);
    if (c->rank != 0 || (c->dtype != IR_F32 && c->dtype != IR_I64)) {
        return ir_fail(g, n, "operand 3 (classes) is %s; expected f32[] or i64[]", TYPE_TEXT(c));
    }
    out[0] = ir_scalar_type(IR_F32);
    return true;
}

bool ir_infer_smkd_select(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    static const char *const modes[] = {"below", "all", "none", NULL};
    if (!is_rows(g, n, 0, 1) || !is_rows(g, n, 1, 0) || !is_one_of(g, n, "mode", modes)) return false;
    out[0] = ir_type_make(IR_F32, 1, ir_typeof(g, n->in[0])->dims);
    return true;
}

bool ir_infer_smkd_trust(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    static const char *const rules[] = {"mylc", "proselflc", "none", NULL};
    if (!is_rows(g, n, 0, 2) || !is_one_of(g, n, "rule", rules)) return false;
    for (int i = 1; i < 4; i++) {
        if (!is_rows(g, n, i, 0)) return false;
    }
    const struct ir_type *z = ir_typeof(g, n->in[0]);
    if (z->dims[1] < 2) {
        return ir_fail(g, n, "trust needs at least 2 classes, because it divides by ln C; got 1");
    }
    out[0] = ir_type_make(IR_F32, 1, z->dims);
    return true;
}

bool ir_infer_smkd_refine(struct ir_graph *g, const struct ir_node *n, struct ir_type *out) {
    if (!is_rows(g, n, 0, 2) || !is_rows(g, n, 1, 2)) return false;
    const struct ir_type *p = ir_typeof(g, n->in[0]), *e = ir_typeof(g, n->in[2]);
    if (!ir_same_dims(p, ir_typeof(g, n->in[1]))) {
        return ir_fail(g, n, "prediction is %s and label %s; expected equal shapes [N,C]", TYPE_TEXT(p),
                       TYPE_TEXT(ir_typeof(g, n->in[1])));
    }
    bool per_row = e->rank == 2 && e->dims[0] == p->dims[0] && e->dims[1] == 1;
    if (e->dtype != IR_F32 || (e->rank != 0 && !per_row)) {
        return ir_fail(g, n, "operand 2 (epsilon) is %s; expected f32[N,1] or f32[]", TYPE_TEXT(e));
    }
    out[0] = ir_type_make(IR_F32, 2, p->dims);
    return true;
}

// --- expansions -----------------------------------------------------------------------------------------------------

static ir_vid sum_columns(struct ir_graph *g, ir_vid x) { return ir_reduce(g, IR_OP_reduce_sum, x, &AXIS_C, 1, 0); }

static ir_vid log_softmax(struct ir_graph *g, ir_vid z) {
    return ir_emit(g, IR_OP_log_softmax, &z, 1, IR_ATTRS(IR_I("axis", 1)));
}

// h(lambda, b) = 1 / (1 + e^(-lambda b))
static ir_vid logistic(struct ir_graph *g, ir_vid lambda, ir_vid b) {
    return ir_unary(g, IR_OP_sigmoid, ir_mul(g, lambda, b));
}

void ir_expand_entropy(struct ir_graph *g, ir_nid n, enum ir_expand_mode mode, ir_vid *out) {
    (void)mode;
    ir_vid z = g->nodes[n].in[0];
    double max_entropy = log((double)ir_typeof(g, z)->dims[1]);

    // With t = z - max z and S = sum e^t:  H = ln S - sum (e^t / S) t. No logarithm of a probability, so no infinity.
    ir_vid m = ir_stop_gradient(g, ir_reduce(g, IR_OP_reduce_max, z, &AXIS_C, 1, 1));
    ir_vid t = ir_sub(g, z, m);
    ir_vid e = ir_unary(g, IR_OP_exp, t);
    ir_vid s = ir_reduce(g, IR_OP_reduce_sum, e, &AXIS_C, 1, 1);
    ir_vid h = ir_sub(g, sum_columns(g, ir_unary(g, IR_OP_log, s)), sum_columns(g, ir_mul(g, ir_div(g, e, s), t)));

    // In f32 H can leave [0, ln C] by 1e-7. The correction is added as a constant: the value is clamped exactly, the
    // gradient stays that of H (min and max would halve it where H sits on a limit), and a NaN stays a NaN.
    ir_vid low = ir_binary(g, IR_OP_max, h, ir_const_f(g, 0));
    ir_vid clamped = ir_binary(g, IR_OP_min, low, ir_const_f(g, max_entropy));
    out[0] = ir_add(g, h, ir_stop_gradient(g, ir_sub(g, clamped, h)));
}

void ir_expand_cross_entropy(struct ir_graph *g, ir_nid n, enum ir_expand_mode mode, ir_vid *out) {
    (void)mode;
    ir_vid t = g->nodes[n].in[0], z = g->nodes[n].in[1];
    double floor = ir_attr_f(&g->nodes[n], "log_floor");
    ir_vid logp;
    if (floor > 0) {
        ir_vid p = ir_emit(g, IR_OP_softmax, &z, 1, IR_ATTRS(IR_I("axis", 1)));
        logp = ir_unary(g, IR_OP_log, ir_add(g, p, ir_const_f(g, floor)));
    } else {
        logp = log_softmax(g, z);
    }
    out[0] = ir_unary(g, IR_OP_neg, sum_columns(g, ir_mul(g, t, logp)));
}

void ir_expand_kl_div(struct ir_graph *g, ir_nid n, enum ir_expand_mode mode, ir_vid *out) {
    (void)mode;
    ir_vid a = g->nodes[n].in[0], z = g->nodes[n].in[1];
    // The logarithm sees 1 where a is 0: the branch that isn't taken must have a finite value and gradient, too.
    ir_vid positive = ir_binary(g, IR_OP_lt, ir_const_f(g, 0), a);
    ir_vid safe = ir_where(g, positive, a, ir_const_f(g, 1));
    ir_vid term = ir_mul(g, a, ir_sub(g, ir_unary(g, IR_OP_log, safe), log_softmax(g, z)));
    out[0] = sum_columns(g, ir_where(g, positive, term, ir_const_f(g, 0)));
}

void ir_expand_smkd_threshold(struct ir_graph *g, ir_nid n, enum ir_expand_mode mode, ir_vid *out) {
    (void)mode;
    const ir_vid *in = g->nodes[n].in;
    ir_vid progress = in[0], eta = in[1], b2 = in[2], classes = in[3];
    if (ir_typeof(g, classes)->dtype != IR_F32) classes = ir_cast(g, classes, IR_F32);
    ir_vid level = ir_div(g, ir_unary(g, IR_OP_log, classes), eta);
    ir_vid h = logistic(g, ir_sub(g, progress, ir_const_f(g, 0.5)), b2);
    out[0] = ir_mul(g, level, ir_mul(g, ir_const_f(g, 2), h));
}

static ir_vid fill_rows(struct ir_graph *g, ir_vid like, double value) {
    struct ir_type t = *ir_typeof(g, like);
    return ir_emit(g, IR_OP_fill, NULL, 0, IR_ATTRS(IR_IS("shape", t.dims, 1), IR_F("value", value)));
}

void ir_expand_smkd_select(struct ir_graph *g, ir_nid n, enum ir_expand_mode mode, ir_vid *out) {
    (void)mode;
    ir_vid h = g->nodes[n].in[0], chi = g->nodes[n].in[1];
    const char *select = ir_attr_s(&g->nodes[n], "mode");
    if (strcmp(select, "below") != 0) {
        out[0] = fill_rows(g, h, strcmp(select, "all") == 0);
    } else {
        out[0] = ir_where(g, ir_binary(g, IR_OP_lt, h, chi), ir_const_f(g, 1), ir_const_f(g, 0));
    }
}

void ir_expand_smkd_trust(struct ir_graph *g, ir_nid n, enum ir_expand_mode mode, ir_vid *out) {
    (void)mode;
    const ir_vid *in = g->nodes[n].in;
    ir_vid z = in[0], u = in[1], b1 = in[2], rho = in[3];
    if (strcmp(ir_attr_s(&g->nodes[n], "rule"), "none") == 0) {
        out[0] = fill_rows(g, z, 0);
        return;
    }
    double max_entropy = log((double)ir_typeof(g, z)->dims[1]);
    ir_vid model = logistic(g, ir_sub(g, u, rho), b1);
    ir_vid h = ir_emit(g, IR_OP_entropy, &z, 1, IR_NO_ATTRS);
    ir_vid example = ir_sub(g, ir_const_f(g, 1), ir_div(g, h, ir_const_f(g, max_entropy)));
    out[0] = ir_stop_gradient(g, ir_mul(g, model, example));
}

void ir_expand_smkd_refine(struct ir_graph *g, ir_nid n, enum ir_expand_mode mode, ir_vid *out) {
    (void)mode;
    const ir_vid *in = g->nodes[n].in;
    ir_vid p = in[0], q = in[1], eps = in[2];
    if (ir_attr_i(&g->nodes[n], "detach")) p = ir_stop_gradient(g, p);
    out[0] = ir_add(g, ir_mul(g, ir_sub(g, ir_const_f(g, 1), eps), q), ir_mul(g, eps, p));
}

// --- reference: one loop each, independent of the expansions --------------------------------------------------------

static double row_log_sum_exp(const double *z, int64_t classes) {
    double m = -INFINITY, s = 0;
    for (int64_t j = 0; j < classes; j++) m = fmax(m, z[j]);
    for (int64_t j = 0; j < classes; j++) s += exp(z[j] - m);
    return m + log(s);
}

// H(softmax(z)) = -sum p ln p, 0 ln 0 = 0. fmin and fmax would swallow a NaN.
static double row_entropy(const double *z, int64_t classes) {
    double lse = row_log_sum_exp(z, classes), h = 0;
    for (int64_t j = 0; j < classes; j++) {
        double logp = z[j] - lse, p = exp(logp);
        if (isnan(logp)) return NAN;
        if (p > 0) h -= p * logp;
    }
    return h < 0 ? 0 : h > log((double)classes) ? log((double)classes) : h;
}

static double eval_logistic(double lambda, double b) { return 1 / (1 + exp(-lambda * b)); }

void ir_eval_entropy(const struct ir_graph *g, const struct ir_node *n, const struct ir_tensor *const *in,
                     struct ir_tensor *const *out) {
    (void)g, (void)n;
    int64_t rows = in[0]->type.dims[0], classes = in[0]->type.dims[1];
    for (int64_t i = 0; i < rows; i++) out[0]->f[i] = row_entropy(in[0]->f + i * classes, classes);
}

void ir_eval_cross_entropy(const struct ir_graph *g, const struct ir_node *n, const struct ir_tensor *const *in,
                           struct ir_tensor *const *out) {
    (void)g;
    int64_t rows = in[0]->type.dims[0], classes = in[0]->type.dims[1];
    double floor = ir_attr_f(n, "log_floor");
    for (int64_t i = 0; i < rows; i++) {
        const double *t = in[0]->f + i * classes, *z = in[1]->f + i * classes;
        double lse = row_log_sum_exp(z, classes), h = 0;
        for (int64_t j = 0; j < classes; j++) h -= t[j] * (floor > 0 ? log(exp(z[j] - lse) + floor) : z[j] - lse);
        out[0]->f[i] = h;
    }
}

void ir_eval_kl_div(const struct ir_graph *g, const struct ir_node *n, const struct ir_tensor *const *in,
                    struct ir_tensor *const *out) {
    (void)g, (void)n;
    int64_t rows = in[0]->type.dims[0], classes = in[0]->type.dims[1];
    for (int64_t i = 0; i < rows; i++) {
        const double *a = in[0]->f + i * classes, *z = in[1]->f + i * classes;
        double lse = row_log_sum_exp(z, classes), kl = 0;
        for (int64_t j = 0; j < classes; j++) {
            if (a[j] > 0) kl += a[j] * (log(a[j]) - (z[j] - lse));
        }
        out[0]->f[i] = kl;
    }
}

void ir_eval_smkd_threshold(const struct ir_graph *g, const struct ir_node *n, const struct ir_tensor *const *in,
                            struct ir_tensor *const *out) {
    (void)g, (void)n;
    double progress = in[0]->f[0], eta = in[1]->f[0], b2 = in[2]->f[0];
    double classes = in[3]->f ? in[3]->f[0] : (double)in[3]->i[0];
    out[0]->f[0] = log(classes) / eta * 2 * eval_logistic(progress - 0.5, b2);
}

void ir_eval_smkd_select(const struct ir_graph *g, const struct ir_node *n, const struct ir_tensor *const *in,
                         struct ir_tensor *const *out) {
    (void)g;
    const char *mode = ir_attr_s(n, "mode");
    bool all = strcmp(mode, "all") == 0, none = strcmp(mode, "none") == 0;
    int64_t rows = in[0]->type.dims[0];
    for (int64_t i = 0; i < rows; i++) out[0]->f[i] = all || (!none && in[0]->f[i] < in[1]->f[0]);
}

void ir_eval_smkd_trust(const struct ir_graph *g, const struct ir_node *n, const struct ir_tensor *const *in,
                        struct ir_tensor *const *out) {
    (void)g;
    int64_t rows = in[0]->type.dims[0], classes = in[0]->type.dims[1];
    double u = in[1]->f[0], b1 = in[2]->f[0], rho = in[3]->f[0];
    bool none = strcmp(ir_attr_s(n, "rule"), "none") == 0;
    for (int64_t i = 0; i < rows; i++) {
        double trust = 1 - row_entropy(in[0]->f + i * classes, classes) / log((double)classes);
        out[0]->f[i] = none ? 0 : eval_logistic(u - rho, b1) * trust;
    }
}

void ir_eval_smkd_refine(const struct ir_graph *g, const struct ir_node *n, const struct ir_tensor *const *in,
                         struct ir_tensor *const *out) {
    (void)g, (void)n;
    int64_t rows = in[0]->type.dims[0], classes = in[0]->type.dims[1];
    for (int64_t i = 0; i < rows; i++) {
        double eps = in[2]->f[in[2]->type.rank ? i : 0];
        for (int64_t j = i * classes; j < (i + 1) * classes; j++)
            out[0]->f[j] = (1 - eps) * in[1]->f[j] + eps * in[0]->f[j];
    }
}
