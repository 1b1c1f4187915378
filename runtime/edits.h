// Edits of a peer's gradients between BACKWARD and the update, which a family of methods names (`edit` in
// methods/methods.h). The same numbers for any number of threads.
#ifndef SMKD_RT_EDITS_H
#define SMKD_RT_EDITS_H

#include "run.h"

// Does the edit of the run's method to the gradients of peer k, after sums and means of several batches and before
// clipping. Does nothing where it has none; a name that is no edit's is a BUG.
void rt_edit_gradients(struct run *r, int k);
bool rt_edits(const struct run *r); // whether it has one

#endif
