// What the files of losses/ share: a graph under construction. Inputs and scalars are declared when they are first
// asked for, so that a program has those that it uses.
#ifndef SMKD_LOSSES_INTERNAL_H
#define SMKD_LOSSES_INTERNAL_H

#include "losses.h"

struct loss_builder {
    struct ir_graph *g;
    const struct loss_options *o;
    struct arena *a;
};

// Builders of the families: draw the loss, all outputs but the gradients. Options have been checked.
void loss_draw_mutual(struct loss_builder *b);
void loss_draw_regression(struct loss_builder *b);

ir_vid loss_input(struct loss_builder *b, const char *name, enum ir_dtype t, int rank, const int64_t *dims);
ir_vid loss_logits(struct loss_builder *b, int k);                      // f32[N,C]
ir_vid loss_labels(struct loss_builder *b);                             // i64[N]
ir_vid loss_scalar(struct loss_builder *b, const char *name);           // f32[]
ir_vid loss_scalar_of(struct loss_builder *b, const char *stem, int k); // "r", 0: r.0
void loss_output(struct loss_builder *b, const char *name, ir_vid v);
void loss_output_of(struct loss_builder *b, const char *stem, int k, ir_vid v);
// The labels as rows of probabilities [N,C]: one-hot, mixed, smoothed; *given: before they were smoothed.
ir_vid loss_targets(struct loss_builder *b, ir_vid *given);
ir_vid loss_sum_rows(struct loss_builder *b, ir_vid x); // over the batch

#endif
