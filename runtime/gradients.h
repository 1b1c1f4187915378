// What happens to a peer's gradients between BACKWARD and the update: sums over several batches, and the limit of their
// norm. The same numbers for any number of threads: work is cut into parts of fixed size, whose sums are added in
// order.
#ifndef SMKD_RT_GRADIENTS_H
#define SMKD_RT_GRADIENTS_H

#include "runtime.h"

struct rt_part {
    size_t at, n; // floats of a block
};
// The rows `role` of a model's table that are float32, cut into parts. Owned by the caller (free).
struct rt_part *rt_parts(const smkd_model *m, enum smkd_abi_role role, size_t *n);

struct rt_gradients {
    smkd_model *model; // borrowed, as the team
    smkd_team *team;
    struct rt_part *part; // of the parameters; owned
    size_t n_parts;
    double *partial; // a sum for each; owned
    float *sum;   // laid out as the gradients: sum of n_b * g_b over the batches b so far; owned; NULL: never asked for
    size_t bytes; // of it
    size_t rows;  // sum of n_b
};

// Makes room: for sums only where `sums`. Release also after a failure.
enum smkd_result rt_gradients_init(struct rt_gradients *g, smkd_model *m, smkd_team *team, bool sums);
void rt_gradients_release(struct rt_gradients *g);
// Adds the gradient of a batch of `rows`, the mean over its rows, to the sum; and makes the model's gradient the mean
// over all rows that were added, after which the sum is empty. Of a single batch it is that batch's own, to the bit.
void rt_gradients_add(struct rt_gradients *g, size_t rows);
void rt_gradients_mean(struct rt_gradients *g);
// The Euclidean norm over all parameters, in float64; where it is above `most` all gradients are scaled by
// most / (norm + 1e-6), as torch.nn.utils.clip_grad_norm_ does it. Returns the norm before. most 0: only measured.
double rt_gradients_clip(struct rt_gradients *g, double most);

#endif
