// What the files of losses/ share.
#ifndef SMKD_LOSSES_INTERNAL_H
#define SMKD_LOSSES_INTERNAL_H

#include "losses.h"

// Rows of [N,C] are summed in one piece; nobody has trained a classifier of a million classes with this.
#define LOSS_MAX_CLASSES 1000000

// Builders of loss_table: the loss as it is written in the paper, outputs but the gradients set, EXPAND ops still in
// it. Options have been checked. Never NULL.
struct ir_graph *loss_build_smkd_p(struct arena *a, struct diag *d, const struct loss_info *self,
                                   const struct loss_options *o);
struct ir_graph *loss_build_smkd_s(struct arena *a, struct diag *d, const struct loss_info *self,
                                   const struct loss_options *o);
struct ir_graph *loss_build_all(struct arena *a, struct diag *d, const struct loss_info *self,
                                const struct loss_options *o);
struct ir_graph *loss_build_zero(struct arena *a, struct diag *d, const struct loss_info *self,
                                 const struct loss_options *o);
struct ir_graph *loss_build_ce(struct arena *a, struct diag *d, const struct loss_info *self,
                               const struct loss_options *o);

#endif
