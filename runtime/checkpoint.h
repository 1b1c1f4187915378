// Checkpoints are safetensors files and nothing but data: "peer.K.NAME" holds parameters and buffers, "momentum.K.NAME"
// the optimizer's state, and the metadata what a run needs to go on exactly where it was. The metadata has a checksum
// of each tensor ("checksum.NAME") and one of itself ("checksum."), which every reader compares; numbers that no run
// leaves (NaN, infinite, out of their range) are refused by name.
#ifndef SMKD_RT_CHECKPOINT_H
#define SMKD_RT_CHECKPOINT_H

#include "runtime.h"

struct rt_progress_state {
    int64_t epoch; // finished epochs
    int64_t step;  // finished steps
    double r[2];   // MyLC's mean confidence of each peer
    double best;   // best accuracy so far, percent; negative: none yet
    int64_t best_epoch;
    bool unchecked; // the file has no checksums: it is of an earlier version, or somebody else's
};

// A run whose numbers pass this has diverged: their products are infinite in float32.
#define RT_WEIGHT_LIMIT 1e30f
// The place of the first of `n` numbers that is NaN, infinite or beyond the limit; n: none is.
size_t rt_sane_weights(const float *v, size_t n);

// Writes both peers, completely or not at all; without momentum the file serves evaluation and export only.
enum smkd_result rt_checkpoint_write(const char *path, smkd_model *const models[2], const struct rt_progress_state *s,
                                     bool momentum);
// Reads everything back into the models. On failure they are unchanged.
enum smkd_result rt_checkpoint_read(const char *path, smkd_model *const models[2], struct rt_progress_state *s);
// Reads the parameters and buffers of peer `k` into a model; *s (unless NULL) is the run's state when they were saved.
enum smkd_result rt_checkpoint_read_peer(const char *path, int k, smkd_model *m, struct rt_progress_state *s);

#endif
