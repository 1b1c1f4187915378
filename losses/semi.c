// Learning from images whose labels are believed, and from the others as images without labels: DivideMix and MixMatch
// (methods.md 6.16, 6.20). A row of a step has two views of an image whose label y is believed and two of another one;
// the network sees each mixed with one of all these, l x + (1-l) x'. With p what it said of the views as they are, w
// the probability that y is right, P the networks that are asked (itself, or all), S_T(p) = p^(1/T) over its sum:
//
//   t = S_T(w y + (1-w) mean of its own p over both views)        DivideMix with --refine-labels; else y
//   u = S_T(mean of p over both views and P)                      of the other image
//   L = mean H(l t + (1-l) t', p) + lambda_u ramp mean_{N,C} (p - l u - (1-l) u')^2 + sum_j 1/C ln (1/C / mean p_j)
//
// t' and u' are the targets of what is mixed in; the first term is of the views of believed images, the second of the
// others, the third, which is DivideMix's alone, of all. (PES: the first term weighs classes by w_c = min(3, mean count
// / count_c), 0 where there are none, of the believed labels.) In the first --semi-warmup epochs L is the cross entropy
// of y, + --warmup-penalty mean sum p ln p, of one view that is not mixed; so it is in all stages of PES but the last.
// Where other images are left out L is then the cross entropy of the believed ones alone, by the weights w over their
// sum. All targets are constants.
#include "losses_internal.h"

#include <string.h>

enum { BELIEVED = 2, VIEWS = 4 }; // views, the believed image's first

#define FLOOR 1e-8 // below which a class's mean prediction counts as this

static bool by_agreement(const struct loss_builder *b) { return loss_is(b, "split", "agreement"); }

static bool is_mixture(const struct loss_builder *b) { return loss_is(b, "split", "gmm"); }

static ir_vid part(struct loss_builder *b, ir_vid x, int64_t first, int64_t count) { // [N,count,C] of [N,V,C]
    const int64_t c = b->g->values[x].type.dims[2], starts[] = {0, first, 0}, sizes[] = {IR_N, count, c},
                  steps[] = {1, 1, 1};
    return ir_emit(b->g, IR_OP_slice, &x, 1,
                   IR_ATTRS(IR_IS("starts", starts, 3), IR_IS("sizes", sizes, 3), IR_IS("steps", steps, 3)));
}

static ir_vid softmax_views(struct loss_builder *b, ir_vid z) {
    return ir_emit(b->g, IR_OP_softmax, &z, 1, IR_ATTRS(IR_I("axis", 2)));
}

static ir_vid mean_of_two(struct loss_builder *b, ir_vid p, int first) { // [N,C]
    return ir_mul(b->g, ir_const_f(b->g, 0.5), ir_add(b->g, loss_view(b, p, first), loss_view(b, p, first + 1)));
}

static ir_vid sharpened(struct loss_builder *b, ir_vid p) {
    struct ir_graph *g = b->g;
    ir_vid s = ir_binary(g, IR_OP_pow, p, ir_div(g, ir_const_f(g, 1), loss_scalar(b, "sharpen")));
    return ir_div(g, s, loss_keep_sum(g, s, 1));
}

static int other(const struct loss_builder *b, int k) { return (k + 1) % b->o->peers; }

// Who judges the labels that network k learns.
static int judge(const struct loss_builder *b, int k) { return is_mixture(b) ? other(b, k) : k; }

static ir_vid believed_target(struct loss_builder *b, int k, ir_vid y) {
    struct ir_graph *g = b->g;
    if (!is_mixture(b) || !loss_is(b, "refine-labels", "yes")) return y;
    ir_vid w = loss_column(g, loss_table(b, "clean", judge(b, k), 0)),
           own = mean_of_two(b, softmax_views(b, loss_guess(b, k)), 0);
    ir_vid mixed = ir_add(g, ir_mul(g, w, y), ir_mul(g, ir_sub(g, ir_const_f(g, 1), w), own));
    return sharpened(b, mixed);
}

static ir_vid guessed_target(struct loss_builder *b, int k) {
    struct ir_graph *g = b->g;
    const bool all = loss_is(b, "guess-by", "all");
    ir_vid sum = IR_NONE;
    int n = 0;
    for (int j = 0; j < b->o->peers; j++) {
        if (!all && j != k) continue;
        ir_vid p = mean_of_two(b, softmax_views(b, loss_guess(b, j)), BELIEVED);
        sum = n++ ? ir_add(g, sum, p) : p;
    }
    return sharpened(b, ir_div(g, sum, ir_const_f(g, n)));
}

// The targets of all views, [N,V,C], mixed as the images are.
static ir_vid mixed_targets(struct loss_builder *b, int k, ir_vid y) {
    struct ir_graph *g = b->g;
    ir_vid t[] = {believed_target(b, k, y), guessed_target(b, k)}, all[VIEWS], l = loss_scalar(b, "mix.lambda");
    for (int v = 0; v < VIEWS; v++) all[v] = ir_reshape(g, t[v >= BELIEVED], 3, (int64_t[]){IR_N, 1, b->o->classes});
    ir_vid own = ir_stop_gradient(g, ir_emit(g, IR_OP_concat, all, VIEWS, IR_ATTRS(IR_I("axis", 1))));
    ir_vid rest = ir_sub(g, ir_const_f(g, 1), l);
    return ir_add(g, ir_mul(g, l, own), ir_mul(g, rest, loss_mixed_in(b, own)));
}

// lambda_u clip((epoch - 1 + part - warmup) / ramp, 0, 1)
static ir_vid unlabelled_weight(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    ir_vid zero = ir_const_f(g, 0), one = ir_const_f(g, 1);
    ir_vid now = ir_add(g, ir_sub(g, loss_scalar(b, "epoch"), one), loss_scalar(b, "part"));
    ir_vid since = by_agreement(b) ? now : ir_sub(g, now, loss_scalar(b, "semi_warmup"));
    ir_vid x = ir_div(g, since, ir_binary(g, IR_OP_max, loss_scalar(b, "unlabelled_ramp"), ir_const_f(g, 1e-6)));
    return ir_mul(g, loss_scalar(b, "lambda_u"), ir_binary(g, IR_OP_min, ir_binary(g, IR_OP_max, x, zero), one));
}

static ir_vid mean_all(struct loss_builder *b, ir_vid x) { // of [N,v,C], over N v
    struct ir_graph *g = b->g;
    const int64_t axes[] = {0, 1, 2};
    const double v = (double)g->values[x].type.dims[1];
    return ir_div(g, ir_reduce(g, IR_OP_reduce_sum, x, axes, 3, 0), ir_mul(g, ir_batch_size(g), ir_const_f(g, v)));
}

// sum_j 1/C ln (1/C / mean p_j) over the rows of all views.
static ir_vid even_classes(struct loss_builder *b, ir_vid p) {
    ir_vid sum = IR_NONE;
    for (int v = 0; v < VIEWS; v++) sum = v ? ir_add(b->g, sum, loss_view(b, p, v)) : loss_view(b, p, v);
    return loss_uniform_prior(b, ir_div(b->g, sum, ir_const_f(b->g, VIEWS)), FLOOR);
}

// Weights of the classes by the labels that were believed in the last survey, [1,C].
static ir_vid balance(struct loss_builder *b, int k) {
    struct ir_graph *g = b->g;
    const int64_t c = b->o->classes, axis = 1;
    ir_vid n = ir_reshape(g, loss_state(b, "counts", k, 1, &c), 2, (int64_t[]){1, c});
    ir_vid mean = ir_div(g, ir_reduce(g, IR_OP_reduce_sum, n, &axis, 1, 1), ir_const_f(g, (double)c));
    ir_vid w = ir_binary(g, IR_OP_min, ir_div(g, mean, ir_binary(g, IR_OP_max, n, ir_const_f(g, 1))), ir_const_f(g, 3));
    return ir_where(g, ir_binary(g, IR_OP_lt, ir_const_f(g, 0), n), w, ir_const_f(g, 0));
}

// Whether this is before the first split, bool [].
static ir_vid is_before(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    if (!by_agreement(b)) return ir_binary(g, IR_OP_le, loss_scalar(b, "epoch"), loss_scalar(b, "semi_warmup"));
    const double stages = loss_is(b, "others", "left-out") ? 3 : 2; // of PES, in front of the last
    return ir_binary(g, IR_OP_lt, loss_scalar(b, "round"), ir_const_f(g, stages + 0.5));
}

// What the network learns of believed images alone.
static void draw_supervised(struct loss_builder *b, int k, ir_vid y, ir_vid given) {
    struct ir_graph *g = b->g;
    ir_vid z = loss_logits(b, k), w = loss_sum_columns(b, ir_mul(g, y, balance(b, k)));
    ir_vid sum = loss_sum_rows(b, ir_mul(g, w, loss_cross_entropy(b, y, z, 0)));
    ir_vid some = ir_div(g, sum, ir_binary(g, IR_OP_max, loss_sum_rows(b, w), ir_const_f(g, 1e-30)));
    loss_output_of(b, "loss", k, ir_where(g, is_before(b), loss_label_term(b, y, given, z, 0), some));
    loss_output_of(b, "entropy", k, loss_entropy(b, z));
}

static void draw_one(struct loss_builder *b, int k, ir_vid y, ir_vid given) {
    struct ir_graph *g = b->g;
    ir_vid z = loss_logits(b, k), zero = ir_const_f(g, 0), p = softmax_views(b, z), t = mixed_targets(b, k, y);
    ir_vid log_p = ir_emit(g, IR_OP_log_softmax, &z, 1, IR_ATTRS(IR_I("axis", 2)));
    ir_vid h = ir_mul(g, part(b, t, 0, BELIEVED), part(b, log_p, 0, BELIEVED));
    if (by_agreement(b)) h = ir_mul(g, h, ir_reshape(g, balance(b, k), 3, (int64_t[]){1, 1, b->o->classes}));
    ir_vid labelled = ir_unary(g, IR_OP_neg, mean_all(b, h));
    ir_vid d = ir_sub(g, part(b, p, BELIEVED, VIEWS - BELIEVED), part(b, t, BELIEVED, VIEWS - BELIEVED));
    ir_vid guessed = ir_div(g, mean_all(b, ir_mul(g, d, d)), ir_const_f(g, (double)b->o->classes));
    ir_vid all = ir_add(g, labelled, ir_mul(g, unlabelled_weight(b), guessed));
    if (is_mixture(b)) all = ir_add(g, all, even_classes(b, p));

    ir_vid first = loss_view(b, z, 0), own = loss_entropy(b, first);
    ir_vid label = loss_label_term(b, y, given, first, 0);
    ir_vid warm =
        by_agreement(b) ? label : ir_sub(g, label, ir_mul(g, loss_scalar(b, "warmup_penalty"), loss_mean_rows(b, own)));
    ir_vid warms = is_before(b);
    loss_output_of(b, "loss", k, ir_where(g, warms, warm, all));
    loss_output_of(b, "labelled_loss", k, ir_stop_gradient(g, ir_where(g, warms, warm, labelled)));
    loss_output_of(b, "guessed_loss", k, ir_stop_gradient(g, ir_where(g, warms, zero, guessed)));
    loss_output_of(b, "entropy", k, own);
}

// A look at all images counts the labels that the network agrees with, and believes those.
static void agree(struct loss_builder *b, int k, ir_vid y, ir_vid z, ir_vid looks) {
    struct ir_graph *g = b->g;
    const int64_t c = b->o->classes, axis = 0;
    ir_vid same = ir_binary(g, IR_OP_eq, loss_class(b, z), loss_class(b, y)), zero = ir_const_f(g, 0);
    ir_vid agrees = ir_where(g, same, ir_const_f(g, 1), zero), was = loss_state(b, "counts", k, 1, &c);
    ir_vid begins = ir_binary(g, IR_OP_le, loss_scalar(b, "survey"), ir_const_f(g, 1));
    ir_vid now = ir_reduce(g, IR_OP_reduce_sum, ir_mul(g, loss_column(g, agrees), y), &axis, 1, 0);
    ir_vid more = ir_add(g, ir_where(g, begins, zero, was), now);
    loss_set_table(b, "keep", k, ir_where(g, looks, agrees, loss_table(b, "keep", k, 0)));
    loss_set_state(b, "counts", k, ir_where(g, looks, more, was));
}

// What a look at all images leaves for the split (runtime/hooks.h): whether the network agrees with each one's label,
// or its cross entropy, of which the hook makes the rest of the tables.
static void remember(struct loss_builder *b, int k, ir_vid y) {
    struct ir_graph *g = b->g;
    ir_vid z = loss_view(b, loss_logits(b, k), 0), zero = ir_const_f(g, 0);
    ir_vid looks = loss_is(b, "split", "given") ? IR_NONE : ir_binary(g, IR_OP_lt, zero, loss_scalar(b, "survey"));
    if (by_agreement(b)) {
        agree(b, k, y, z, looks);
        return;
    }
    loss_set_table(b, "keep", k, loss_table(b, "keep", k, 0));
    if (!is_mixture(b)) return;
    ir_vid ce = ir_stop_gradient(g, loss_cross_entropy(b, y, z, 0));
    loss_set_table(b, "loss", k, ir_where(g, looks, ce, loss_table(b, "loss", k, 0)));
    loss_set_table(b, "clean", k, loss_table(b, "clean", k, 0));
    if (loss_is(b, "loss-history", "five")) loss_set_table(b, "past", k, loss_table(b, "past", k, METHOD_SPLIT_EPOCHS));
}

void loss_draw_semi(struct loss_builder *b) {
    if (b->o->predict) {
        ir_vid sum = loss_logits(b, 0);
        for (int k = 1; k < b->o->peers; k++) sum = ir_add(b->g, sum, loss_logits(b, k));
        loss_output(b, "probs.ensemble", loss_softmax(b, sum));
        return;
    }
    const bool guesses = loss_is(b, "others", "guessed");
    ir_vid given, y = loss_targets(b, &given);
    if (guesses) loss_output(b, "unlabelled_weight", unlabelled_weight(b));
    for (int k = 0; k < b->o->peers; k++) {
        (guesses ? draw_one : draw_supervised)(b, k, y, given);
        remember(b, k, given);
    }
}
