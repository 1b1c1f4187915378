// CAL (methods.md 6.21). With l_ij = -ln(p_ij + 1e-5), pi the classes' shares of the labels and d_i the distilled
// label,
//
//   L = mean H(q, p) - alpha mean_i sum_j pi_j l_ij - sum_c P(c)/n_c sum_j sum_i[d_i = c] T_cj(i) (l_ij - m_cj)
//   T_cj(i) = [y_i = j] - P(j | c)
//
// the first of ln(p + 1e-8). alpha grows from 0 after --cal-warmup epochs over --cal-ramp. The last term, the
// covariance of label and loss, counts after --cal-start epochs. Then all images are looked at, in inference: where
// H(q, p) - mean_j (-ln(p_j + 1e-8)) < --cal-threshold the label is kept, else the class that is predicted takes its
// place. P(c) and P(j | c) are the shares of the distilled labels, and of the given ones among them; n_c counts in the
// batch, m is the mean of l in the epoch before.
#include "losses_internal.h"

static ir_vid less(struct ir_graph *g, ir_vid a, ir_vid b) { return ir_binary(g, IR_OP_lt, a, b); }

static ir_vid larger(struct ir_graph *g, ir_vid a, ir_vid b) { return ir_binary(g, IR_OP_max, a, b); }

// -ln(p + floor), [N,C]
static ir_vid losses(struct ir_graph *g, ir_vid p, double floor) {
    return ir_unary(g, IR_OP_neg, ir_unary(g, IR_OP_log, ir_add(g, p, ir_const_f(g, floor))));
}

static ir_vid all(struct ir_graph *g, ir_vid x) { // of [C,C], []
    const int64_t axes[] = {0, 1};
    return ir_reduce(g, IR_OP_reduce_sum, x, axes, 2, 0);
}

// alpha mean_i sum_j pi_j l_ij
static ir_vid regulariser(struct loss_builder *b, int k, ir_vid l) {
    struct ir_graph *g = b->g;
    const int64_t c = b->o->classes;
    ir_vid zero = ir_const_f(g, 0), one = ir_const_f(g, 1), prior = loss_state(b, "prior", k, 1, &c);
    ir_vid past = ir_sub(g, ir_sub(g, loss_scalar(b, "epoch"), one), loss_scalar(b, "cal_warmup"));
    ir_vid rise = ir_binary(g, IR_OP_min, larger(g, ir_div(g, past, loss_scalar(b, "cal_ramp")), zero), one);
    ir_vid rows = loss_sum_columns(b, ir_mul(g, ir_reshape(g, prior, 2, (int64_t[]){1, c}), l));
    return ir_mul(g, ir_mul(g, loss_scalar(b, "cal_alpha"), rise), loss_mean_rows(b, rows));
}

// What is known of the distilled labels: counts of each beside each given one, and the losses summed up in this epoch.
struct known {
    ir_vid counts, mean, sums, n; // [C,C], [C,C], [C,C], [C,1]
};

// At an epoch's first step what the last has summed up becomes the mean.
static void remember(struct loss_builder *b, int k, ir_vid rows, ir_vid l, const struct known *was, ir_vid trains) {
    struct ir_graph *g = b->g;
    ir_vid zero = ir_const_f(g, 0), one = ir_const_f(g, 1);
    ir_vid begins = ir_binary(g, IR_OP_and, trains, loss_epoch_begins(b));
    ir_vid mean = ir_div(g, was->sums, larger(g, was->n, one));
    ir_vid constant = ir_stop_gradient(g, l), now = ir_matmul(g, rows, constant, 1, 0);
    ir_vid n = ir_transpose(g, loss_keep_sum(g, rows, 0), 2, (int64_t[]){1, 0});
    loss_set_state(b, "mean", k, ir_where(g, begins, mean, was->mean));
    loss_set_state(b, "sums", k, ir_where(g, trains, ir_add(g, ir_where(g, begins, zero, was->sums), now), was->sums));
    loss_set_state(b, "n", k, ir_where(g, trains, ir_add(g, ir_where(g, begins, zero, was->n), n), was->n));
}

// sum_c P(c) / n_c sum_j sum_i T_cj(i) (l_ij - m_cj), over rows [N,C] of the distilled labels.
static ir_vid covariance(struct loss_builder *b, ir_vid rows, ir_vid given, ir_vid l, const struct known *was) {
    struct ir_graph *g = b->g;
    ir_vid one = ir_const_f(g, 1), of = loss_keep_sum(g, was->counts, 1);           // [C,1]
    ir_vid share = ir_div(g, of, larger(g, all(g, was->counts), one));              // P(c)
    ir_vid label = ir_div(g, was->counts, larger(g, of, one));                      // P(j | c)
    ir_vid here = ir_transpose(g, loss_keep_sum(g, rows, 0), 2, (int64_t[]){1, 0}); // n_c
    ir_vid with = ir_matmul(g, rows, ir_mul(g, given, l), 1, 0), every = ir_matmul(g, rows, l, 1, 0);
    ir_vid excess = ir_sub(g, ir_matmul(g, rows, given, 1, 0), ir_mul(g, label, here));
    ir_vid cov = ir_sub(g, ir_sub(g, with, ir_mul(g, label, every)), ir_mul(g, was->mean, excess));
    return all(g, ir_mul(g, ir_div(g, share, larger(g, here, one)), cov));
}

static void draw_one(struct loss_builder *b, int k, ir_vid t, ir_vid given) {
    struct ir_graph *g = b->g;
    const int64_t c = b->o->classes, square[] = {c, c}, column[] = {c, 1};
    ir_vid z = loss_logits(b, k), p = loss_softmax(b, z), l = losses(g, p, 1e-5), zero = ir_const_f(g, 0);
    const struct known was = {loss_state(b, "counts", k, 2, square), loss_state(b, "mean", k, 2, square),
                              loss_state(b, "sums", k, 2, square), loss_state(b, "n", k, 2, column)};
    ir_vid survey = loss_scalar(b, "survey"), looks = less(g, zero, survey);
    ir_vid later = less(g, loss_scalar(b, "cal_start"), ir_sub(g, loss_scalar(b, "epoch"), ir_const_f(g, 0.5)));

    // What a look distils.
    ir_vid ce = loss_cross_entropy(b, given, z, 1e-8);
    ir_vid mean = ir_div(g, loss_sum_columns(b, losses(g, p, 1e-8)), ir_const_f(g, (double)c));
    ir_vid keeps = less(g, ir_sub(g, ce, mean), loss_scalar(b, "cal_threshold"));
    ir_vid distilled = ir_where(g, keeps, loss_class(b, given), loss_class(b, z)),
           table = loss_table(b, "distilled", k, 0);
    ir_vid now = ir_where(g, looks, distilled, table), as_class = ir_cast(g, now, IR_I64);
    ir_vid rows = ir_emit(g, IR_OP_one_hot, &as_class, 1, IR_ATTRS(IR_I("classes", c)));
    ir_vid counted =
        ir_add(g, ir_where(g, less(g, survey, ir_const_f(g, 1.5)), zero, was.counts), ir_matmul(g, rows, given, 1, 0));
    loss_set_table(b, "distilled", k, now);
    loss_set_state(b, "counts", k, ir_where(g, looks, counted, was.counts));
    ir_vid trains = ir_binary(g, IR_OP_and, later, less(g, survey, ir_const_f(g, 0.5)));
    remember(b, k, rows, l, &was, trains);

    ir_vid first = ir_sub(g, loss_label_term(b, t, given, z, 1e-8), regulariser(b, k, l));
    ir_vid second = ir_where(g, later, covariance(b, rows, given, l, &was), zero);
    loss_output_of(b, "loss", k, ir_sub(g, first, second));
    loss_output_of(b, "entropy", k, loss_entropy(b, z));
    loss_output_of(b, "corrected", k, ir_where(g, later, now, loss_class(b, given)));
    ir_vid same = ir_binary(g, IR_OP_eq, now, loss_class(b, given)), one = ir_const_f(g, 1);
    loss_output_of(b, "kept", k, ir_where(g, later, ir_where(g, same, one, zero), one));
}

void loss_draw_cal(struct loss_builder *b) {
    ir_vid given, t = loss_targets(b, &given);
    for (int k = 0; k < b->o->peers; k++) draw_one(b, k, t, given);
}
