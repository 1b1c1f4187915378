// What the files of losses/ share: a graph under construction. Inputs and scalars are declared when they are first
// asked for, so that a program has those that it uses.
#ifndef SMKD_LOSSES_INTERNAL_H
#define SMKD_LOSSES_INTERNAL_H

#include "losses.h"

enum { LOSS_MAX_TRAINED = 8 * METHOD_MAX_PEERS };

// How numbers of the method's own are trained: by the gradient of a loss by them, as an optimizer of PyTorch's. What
// the rule remembers are further states, which start at 0, and the rule is a part of the graph.
enum loss_rule {
    LOSS_STEP, // w - rate g
    LOSS_SGD,  // v <- momentum v + g + decay w; w - rate v. State .velocity
    LOSS_ADAM, // with betas 0.9 and 0.999, epsilon 1e-8, decay in the gradient. States .mean, .square and their .share
};
struct loss_training {
    enum loss_rule rule;
    // Names of single numbers, scalars or outputs of the graph, so that a rate may follow from others.
    const char *rate;
    const char *momentum, *decay; // NULL: 0
    const char *nesterov;         // of LOSS_SGD: where this number is not 0, w - rate (g + decay w + momentum v)
    const char *loss;             // an output []; NULL: the loss of its peer, or of all
    const char *when;             // while this number is 0 neither it nor what the rule remembers changes; NULL: always
};

struct loss_builder {
    struct ir_graph *g;
    const struct loss_options *o;
    struct arena *a;
    struct diag *d;
    struct loss_trained {
        const char *name; // of the input
        int peer;
        struct loss_training how;
    } trained[LOSS_MAX_TRAINED];
    size_t n_trained;
};

// Builders of the families: draw the loss, all outputs but the gradients. Options have been checked.
void loss_draw_mutual(struct loss_builder *b);
void loss_draw_distill(struct loss_builder *b);
void loss_draw_robust(struct loss_builder *b);
void loss_draw_heads(struct loss_builder *b);
void loss_draw_regression(struct loss_builder *b);
void loss_draw_sieve(struct loss_builder *b);
void loss_draw_targets(struct loss_builder *b);
void loss_draw_small_loss(struct loss_builder *b);
void loss_draw_hints(struct loss_builder *b);
void loss_draw_transition(struct loss_builder *b);
void loss_draw_cal(struct loss_builder *b);
void loss_draw_dmi(struct loss_builder *b);
void loss_draw_edited(struct loss_builder *b);
void loss_draw_mixture(struct loss_builder *b);
void loss_draw_joint(struct loss_builder *b);
void loss_draw_blind(struct loss_builder *b);
void loss_draw_branches(struct loss_builder *b);
void loss_draw_fusion(struct loss_builder *b);
void loss_draw_adversarial(struct loss_builder *b);
void loss_draw_semi(struct loss_builder *b);

// Of a drawn graph what is compiled (gradients.c): expanded, with gradients unless it predicts, verified.
enum smkd_status loss_finish(struct loss_builder *b, bool predicts);
// What is trained after the step whose gradient by it is `grad` (trained.c); sets the outputs of what its rule
// remembers.
ir_vid loss_trained(struct loss_builder *b, const struct loss_trained *t, ir_vid grad);
ir_vid loss_declared(const struct ir_graph *g, const char *name); // an input or scalar by its name, or IR_NONE
ir_vid loss_put_out(const struct ir_graph *g, const char *name);  // an output by its name, or IR_NONE
ir_vid loss_input(struct loss_builder *b, const char *name, enum ir_dtype t, int rank, const int64_t *dims);
ir_vid loss_logits(struct loss_builder *b, int k); // f32[N,C]; where peers see several views as one batch [N,V,C]
// View v of something [N,V,..] of all of them; of anything else that itself.
ir_vid loss_view(struct loss_builder *b, ir_vid x, int v);
ir_vid loss_guess(struct loss_builder *b, int k); // what peer k itself says, a constant; [N,V,C] likewise
// Rows of x [N,..] or [N,V,..] as mix.row takes them: what each image is mixed with.
ir_vid loss_mixed_in(struct loss_builder *b, ir_vid x);
// A tap of peer k; IR_NONE where it has none of that name.
ir_vid loss_tap(struct loss_builder *b, int k, const char *name);
ir_vid loss_teacher_tap(struct loss_builder *b, int k, const char *name); // of its teacher
ir_vid loss_average_tap(struct loss_builder *b, int k, const char *name); // of its average
ir_vid loss_labels(struct loss_builder *b);                               // i64[N]
ir_vid loss_scalar(struct loss_builder *b, const char *name);             // f32[]
ir_vid loss_scalar_of(struct loss_builder *b, const char *stem, int k);   // "r", 0: r.0
void loss_output(struct loss_builder *b, const char *name, ir_vid v);
void loss_output_of(struct loss_builder *b, const char *stem, int k, ir_vid v);
ir_vid loss_teacher(struct loss_builder *b, int k); // f32[N,C], constants
ir_vid loss_average(struct loss_builder *b, int k); // likewise
// The batch's rows of a table, [N,W] or with W 0 [N]; of peer k, or with -1 of none. And what they are to be then.
ir_vid loss_table(struct loss_builder *b, const char *name, int k, int64_t w);
void loss_set_table(struct loss_builder *b, const char *name, int k, ir_vid v);
// A tensor of the run, and what it is to be after the step.
ir_vid loss_state(struct loss_builder *b, const char *name, int k, int rank, const int64_t *dims);
void loss_set_state(struct loss_builder *b, const char *name, int k, ir_vid v);
// The table is trained by LOSS_STEP, a state by any rule. A name of `how` that is no output by the end is a scalar.
void loss_train_table(struct loss_builder *b, const char *name, int k, const char *rate);
void loss_train_state(struct loss_builder *b, const char *name, int k, const struct loss_training *how);
// The labels as rows of probabilities [N,C]: one-hot, mixed, smoothed; *given: before they were smoothed.
ir_vid loss_targets(struct loss_builder *b, ir_vid *given);
ir_vid loss_class(struct loss_builder *b, ir_vid target); // f32[N]: the largest of [N,C], for corrected.K
ir_vid loss_sum_rows(struct loss_builder *b, ir_vid x);   // over the batch

// --- terms.c ---------------------------------------------------------------------------------------------------------

bool loss_is(const struct loss_builder *b, const char *name, const char *word); // whether a switch has a value
ir_vid loss_softmax(struct loss_builder *b, ir_vid z);
ir_vid loss_log_softmax(struct loss_builder *b, ir_vid z);
ir_vid loss_entropy(struct loss_builder *b, ir_vid z); // [N], of softmax(z)
// T^2 KL(sg softmax(source/T) || softmax(z_k/T)), [N], T = --temperature: what peer k lacks of what a source says.
ir_vid loss_divergence(struct loss_builder *b, ir_vid source, int k);
ir_vid loss_divergence_of(struct loss_builder *b, ir_vid source, ir_vid z); // the same of any logits
// The sum, or the mean, of what peer k lacks of what each of the others says.
ir_vid loss_from_others(struct loss_builder *b, int k, bool mean);
ir_vid loss_cross_entropy(struct loss_builder *b, ir_vid target, ir_vid z, double floor); // [N], of ln(p + floor)
ir_vid loss_sum_columns(struct loss_builder *b, ir_vid x);                                // [N] of [N,C]
ir_vid loss_keep_sum(struct ir_graph *g, ir_vid x, int64_t axis); // along an axis that stays, of 1
ir_vid loss_mean_rows(struct loss_builder *b, ir_vid rows);       // [] of [N]
// mean_i H(t_i, p_i); with weights w of the classes sum_i H(w t_i, p_i) / sum_i w of the given labels, as PyTorch's
// CrossEntropyLoss.
ir_vid loss_label_term(struct loss_builder *b, ir_vid target, ir_vid given, ir_vid z, double floor);
// The mean of rows [N]; with weights of the classes each counts as much as its given label: sum w_i x_i / sum w_i.
ir_vid loss_row_weights(struct loss_builder *b, ir_vid given); // [N]: of the given labels' classes; 1 without weights
ir_vid loss_weighted_mean(struct loss_builder *b, ir_vid rows, ir_vid given);

ir_vid loss_column(struct ir_graph *g, ir_vid rows); // [N,1] of [N]
// Trained as the networks are, by the rule that a word of the family names, sgd or adam.
struct loss_training loss_as_network(const struct loss_builder *b, const char *rule);
ir_vid loss_rise(struct ir_graph *g, ir_vid left); // exp(-5 left^2): a sigmoid ramp of which that share is left
// exp(-5 (1 - min(epoch/ramp, 1))^2), [], ramp = --ramp: how much what is not learnt at once counts by now.
ir_vid loss_risen(struct loss_builder *b);
// Whether this is the first step of its epoch, [].
ir_vid loss_epoch_begins(struct loss_builder *b);
// Which of n places the epoch writes, where epochs take turns: bool, of `rank` dimensions, 1 but for the second, n.
ir_vid loss_turn(struct loss_builder *b, int64_t n, int rank);
// sum_j u_j ln(u_j / mean_i p_ij), u uniform; a mean below `floor` counts as that.
ir_vid loss_uniform_prior(struct loss_builder *b, ir_vid p, double floor);

// --- inside.c --------------------------------------------------------------------------------------------------------

// The tap of peer k, or of its teacher, that the word `param` of the family means; IR_NONE after a report.
ir_vid loss_find_tap(struct loss_builder *b, bool teacher, int k, const char *param);
// Of every peer, which are to be maps of one height and width; false after a report.
bool loss_find_maps(struct loss_builder *b, const char *param, ir_vid *map);
// A network with classifiers at its sides, head1, head2, ..., and the features [N,F] that they and the network itself
// look at: feat1, feat2, ...; its own are featF, or behind those of the heads.
enum { LOSS_MAX_HEADS = 16 };
struct loss_heads {
    ir_vid z, f, head[LOSS_MAX_HEADS], feature[LOSS_MAX_HEADS];
    int n; // heads
};
// Both return false after a report: of a network without heads; where a feature is missing, or with `one_size` has
// another size than the others.
bool loss_find_heads(struct loss_builder *b, int k, struct loss_heads *net);
bool loss_find_features(struct loss_builder *b, int k, struct loss_heads *net, bool one_size);
int loss_channels_at(const struct ir_type *t); // the dimension of a tap's channels

// --- layers.c --------------------------------------------------------------------------------------------------------

struct loss_layer {
    const char *name;                // its states are "state.NAME.weight" and so on
    int peer;                        // -1: of none
    const struct loss_training *how; // NULL: they are looked at alone
};
// [N,out,H,W] of maps [N,C,H,W]: a filter of side x side that keeps their size, without a bias.
ir_vid loss_conv(struct loss_builder *b, const struct loss_layer *l, ir_vid x, int64_t out, int64_t side,
                 int64_t groups);
ir_vid loss_bias(struct loss_builder *b, const struct loss_layer *l, ir_vid x); // a number for each channel
// The channels of maps, rows or tokens to `out` others, with a bias.
ir_vid loss_linear(struct loss_builder *b, const struct loss_layer *l, ir_vid x, int64_t out);
// Batch normalisation: by the batch where it is trained, else by its running statistics.
ir_vid loss_norm(struct loss_builder *b, const struct loss_layer *l, ir_vid x);
ir_vid loss_pooled(struct loss_builder *b, ir_vid map); // [N,C] of [N,C,H,W]: the means of the maps

#endif
