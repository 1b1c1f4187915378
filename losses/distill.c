// Distilled predictions (methods.md 3). For network k on N rows,
//
//   L_k = a mean_i H(q_i, p_k,i) + b mean_i D_k,i      a, b = 1 - epsilon, epsilon   or   1, --distill-weight
//   D_k = T^2 KL(sg softmax(z/T) || softmax(z_k/T))     of each source z, their mean or their sum
//
// Sources are constants: no gradient of L_k reaches another network.
#include "losses_internal.h"

#include <string.h>

// What is softened: divided by the temperature.
static ir_vid cooled(struct loss_builder *b, ir_vid z) { return ir_div(b->g, z, loss_scalar(b, "temperature")); }

static ir_vid from_peers(struct loss_builder *b, int k, ir_vid shared) {
    (void)shared;
    return loss_from_others(b, k, loss_is(b, "several", "mean"));
}

// A frozen network's output, which a run gives beside each peer's.
static ir_vid from_teacher(struct loss_builder *b, int k, ir_vid shared) {
    (void)shared;
    return loss_divergence(b, loss_teacher(b, k), k);
}

// What the network itself says of another image of the label (CS-KD).
static ir_vid from_partner(struct loss_builder *b, int k, ir_vid shared) {
    (void)shared;
    return loss_divergence(b, loss_guess(b, k), k);
}

// --- a teacher that nobody trained (Tf-KD_reg) -----------------------------------------------------------------------

// It gives the label the share a and each other class (1-a)/(C-1). The paper's code takes these probabilities for
// logits, softmax(v/T); the paper softens them, softmax(ln v / T). The student is not softened in either.
static ir_vid virtual_teacher(struct loss_builder *b, ir_vid given) {
    struct ir_graph *g = b->g;
    ir_vid a = loss_scalar(b, "teacher_prob"), one = ir_const_f(g, 1);
    ir_vid rest = ir_div(g, ir_sub(g, one, a), ir_const_f(g, (double)(b->o->classes - 1)));
    ir_vid v = ir_add(g, ir_mul(g, a, given), ir_mul(g, rest, ir_sub(g, one, given)));
    if (loss_is(b, "teacher-as", "probabilities")) v = ir_unary(g, IR_OP_log, v);
    return loss_softmax(b, cooled(b, v));
}

static ir_vid from_virtual(struct loss_builder *b, int k, ir_vid teacher) {
    struct ir_graph *g = b->g;
    ir_vid in[] = {teacher, loss_logits(b, k)}, mult = loss_scalar(b, "mult");
    ir_vid kl = ir_emit(g, IR_OP_kl_div, in, 2, IR_NO_ATTRS);
    return ir_mul(g, ir_div(g, mult, ir_const_f(g, (double)b->o->classes)), kl);
}

// --- an ensemble of all networks (KDCL) -----------------------------------------------------------------------------

// The logits of the network with the least cross entropy, row by row; the first of equal ones.
static ir_vid naive(struct loss_builder *b, ir_vid given) {
    struct ir_graph *g = b->g;
    ir_vid best = loss_logits(b, 0), least = loss_cross_entropy(b, given, best, 0);
    for (int k = 1; k < b->o->peers; k++) {
        ir_vid z = loss_logits(b, k), ce = loss_cross_entropy(b, given, z, 0), less = ir_binary(g, IR_OP_lt, ce, least);
        best = ir_where(g, ir_reshape(g, less, 2, (int64_t[]){IR_N, 1}), z, best);
        least = ir_where(g, less, ce, least);
    }
    return best;
}

// The least of what each network gives a class over the label's: min_k (z_k - z_k[label]).
static ir_vid min_logit(struct loss_builder *b, ir_vid given) {
    struct ir_graph *g = b->g;
    ir_vid least = IR_NONE;
    for (int k = 0; k < b->o->peers; k++) {
        ir_vid z = loss_logits(b, k), over = ir_sub(g, z, loss_keep_sum(g, ir_mul(g, given, z), 1));
        least = least == IR_NONE ? over : ir_binary(g, IR_OP_min, least, over);
    }
    return least;
}

// a z_0 + (1-a) z_1 with the a in [0,1] of least cross entropy, which is convex in a: with d = z_0 - z_1 its slope
// sum_j (p_j - q_j) d_j is 0 there, and where it is not the interval is halved towards it. As sum_j p_j (d_j - sum q d)
// the slope has its sign even where p is 1 at the label but for what float32 rounds away.
static ir_vid linear(struct loss_builder *b, ir_vid given) {
    enum { STEPS = 30 }; // more than float32 has digits
    struct ir_graph *g = b->g;
    ir_vid z0 = loss_logits(b, 0), z1 = loss_logits(b, 1), d = ir_sub(g, z0, z1), half = ir_const_f(g, 0.5);
    ir_vid over = ir_sub(g, d, loss_keep_sum(g, ir_mul(g, given, d), 1)), a = half, step = half;
    for (int i = 0; i < STEPS; i++) {
        ir_vid p = loss_softmax(b, ir_add(g, z1, ir_mul(g, a, d)));
        ir_vid slope = loss_keep_sum(g, ir_mul(g, p, over), 1);
        step = ir_mul(g, step, half);
        ir_vid falls = ir_binary(g, IR_OP_lt, slope, ir_const_f(g, 0));
        a = ir_where(g, falls, ir_add(g, a, step), ir_sub(g, a, step));
    }
    return ir_add(g, z1, ir_mul(g, a, d));
}

static ir_vid part(struct ir_graph *g, ir_vid x, int64_t row, int64_t rows, int64_t column, int64_t columns) {
    const int64_t starts[] = {row, column}, sizes[] = {rows, columns}, steps[] = {1, 1};
    return ir_emit(g, IR_OP_slice, &x, 1,
                   IR_ATTRS(IR_IS("starts", starts, 2), IR_IS("sizes", sizes, 2), IR_IS("steps", steps, 2)));
}

static ir_vid identity(struct ir_graph *g, int64_t n) {
    float v[METHOD_MAX_PEERS * METHOD_MAX_PEERS] = {0};
    for (int64_t i = 0; i < n; i++) v[i * n + i] = 1;
    return ir_const(g, ir_type_make(IR_F32, 2, (int64_t[]){n, n}), v);
}

// G, [P,P], G_ij = E (p_i - q).(p_j - q), of the rows of the last survey; zeros before there was one. The states hold
// the sum over the rows and their count.
static ir_vid gram(struct loss_builder *b, ir_vid given) {
    struct ir_graph *g = b->g;
    const int64_t n = b->o->peers, c = b->o->classes, axis = 3;
    ir_vid sum = loss_state(b, "gram", -1, 2, (int64_t[]){n, n}), rows = loss_state(b, "rows", -1, 0, NULL);
    ir_vid off[METHOD_MAX_PEERS], survey = loss_scalar(b, "survey"), zero = ir_const_f(g, 0), one = ir_const_f(g, 1);
    for (int k = 0; k < n; k++)
        off[k] = ir_reshape(g, ir_sub(g, loss_softmax(b, loss_logits(b, k)), given), 3, (int64_t[]){IR_N, 1, c});
    ir_vid all = ir_emit(g, IR_OP_concat, off, (size_t)n, IR_ATTRS(IR_I("axis", 1)));
    ir_vid i = ir_reshape(g, all, 4, (int64_t[]){IR_N, n, 1, c}), j = ir_reshape(g, all, 4, (int64_t[]){IR_N, 1, n, c});
    ir_vid now = loss_sum_rows(b, ir_reduce(g, IR_OP_reduce_sum, ir_mul(g, i, j), &axis, 1, 0));
    ir_vid surveys = ir_binary(g, IR_OP_lt, zero, survey), begins = ir_binary(g, IR_OP_le, survey, one);
    const struct {
        const char *name;
        ir_vid before, more;
    } kept[] = {{"gram", sum, now}, {"rows", rows, ir_batch_size(g)}};
    for (size_t k = 0; k < sizeof kept / sizeof *kept; k++) {
        ir_vid grown = ir_add(g, ir_where(g, begins, zero, kept[k].before), kept[k].more);
        loss_set_state(b, kept[k].name, -1, ir_where(g, surveys, grown, kept[k].before));
    }
    return ir_div(g, sum, ir_binary(g, IR_OP_max, rows, one));
}

// w_k, [], of sum 1, with the least w'Aw: A^-1 1 / (1' A^-1 1) for A = G + 1e-6 I. With w_P = 1 - sum of the others u,
//
//   D u = d      D_ij = A_ij - A_iP - A_Pj + A_PP      d_i = A_PP - A_iP
//
// In differences what networks have in common is gone before anything is divided: two that say the same get equal
// weights, where 1e-6 beside G would be lost in float32. D is positive definite, so that Gauss and Jordan need no other
// pivot than the next; they make (D|d) (I|u).
static void least_squares(struct loss_builder *b, ir_vid gram, ir_vid *w) {
    struct ir_graph *g = b->g;
    const int64_t n = b->o->peers, last = n - 1;
    ir_vid eye = identity(g, n), one = ir_const_f(g, 1);
    ir_vid a = ir_add(g, gram, ir_mul(g, ir_const_f(g, 1e-6), eye));
    ir_vid x = ir_sub(g, part(g, a, 0, last, 0, n), part(g, a, last, 1, 0, n));
    ir_vid others = ir_sub(g, one, part(g, eye, last, 1, 0, n)); // 0 in the last column
    ir_vid m = ir_sub(g, ir_mul(g, x, others), part(g, x, 0, last, last, 1));
    for (int64_t k = 0; k < last; k++) {
        ir_vid row = ir_div(g, part(g, m, k, 1, 0, n), part(g, m, k, 1, k, 1));
        m = ir_sub(g, m, ir_mul(g, ir_sub(g, part(g, m, 0, last, k, 1), part(g, eye, 0, last, k, 1)), row));
    }
    w[last] = one;
    for (int64_t k = 0; k < last; k++) {
        w[k] = ir_reshape(g, part(g, m, k, 1, last, 1), 0, NULL);
        w[last] = ir_sub(g, w[last], w[k]);
    }
}

// sum_k w_k z_k with the weights of the least squared error of sum_k w_k p_k on the validation images.
static ir_vid general(struct loss_builder *b, ir_vid given) {
    struct ir_graph *g = b->g;
    ir_vid w[METHOD_MAX_PEERS], sum = IR_NONE;
    least_squares(b, gram(b, given), w);
    for (int k = 0; k < b->o->peers; k++) {
        ir_vid z = ir_mul(g, w[k], loss_logits(b, k));
        sum = k ? ir_add(g, sum, z) : z;
        loss_output_of(b, "ensemble_weight", k, w[k]);
    }
    return sum;
}

static ir_vid ensemble(struct loss_builder *b, ir_vid given) {
    static const struct {
        const char *mode;
        ir_vid (*logits)(struct loss_builder *b, ir_vid given);
    } modes[] = {{"naive", naive}, {"min-logit", min_logit}, {"linear", linear}, {"general", general}};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (loss_is(b, "kdcl-mode", modes[i].mode)) return ir_stop_gradient(b->g, modes[i].logits(b, given));
    BUG("no such ensemble");
}

static ir_vid from_ensemble(struct loss_builder *b, int k, ir_vid logits) { return loss_divergence(b, logits, k); }

// --- the loss -------------------------------------------------------------------------------------------------------

static const struct source {
    const char *from;
    ir_vid (*shared)(struct loss_builder *b, ir_vid given); // what is the same for all networks; NULL: nothing
    ir_vid (*distilled)(struct loss_builder *b, int k, ir_vid shared); // D_k, [N]
} sources[] = {{"peer", NULL, from_peers},
               {"teacher", NULL, from_teacher},
               {"former", NULL, from_teacher},
               {"virtual", virtual_teacher, from_virtual},
               {"ensemble", ensemble, from_ensemble},
               {"partner", NULL, from_partner}};

static const struct source *source_of(const struct loss_builder *b) {
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        if (loss_is(b, "from", sources[i].from)) return &sources[i];
    BUG("nothing to distil from");
}

void loss_draw_distill(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    const struct source *s = source_of(b);
    const bool split = loss_is(b, "balance", "split");
    ir_vid given, q = loss_targets(b, &given), weight = loss_scalar(b, split ? "epsilon" : "distill_weight");
    ir_vid shared = s->shared ? s->shared(b, given) : IR_NONE;
    for (int k = 0; k < b->o->peers; k++) {
        ir_vid z = loss_logits(b, k), own = loss_label_term(b, q, given, z, 0), d = s->distilled(b, k, shared);
        ir_vid part = split ? ir_mul(g, ir_sub(g, ir_const_f(g, 1), weight), own) : own;
        ir_vid loss = ir_add(g, part, ir_mul(g, weight, loss_mean_rows(b, d)));
        if (loss_is(b, "from", "former")) { // there is none in the first round
            ir_vid first = ir_binary(g, IR_OP_lt, loss_scalar(b, "round"), ir_const_f(g, 1.5));
            loss = ir_where(g, first, own, loss);
            d = ir_where(g, first, ir_const_f(g, 0), d);
        }
        loss_output_of(b, "loss", k, loss);
        loss_output_of(b, "divergence", k, d);
        loss_output_of(b, "entropy", k, loss_entropy(b, z));
    }
}
