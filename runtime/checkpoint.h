// Checkpoints are safetensors files and nothing but data: the tensors of a run's list (keep.h) under their names, and
// its numbers in the metadata. "peer.K.NAME" holds parameters and buffers of peer K, "momentum.K.NAME" the optimizer's
// state. The metadata has a checksum of each tensor ("checksum.NAME") and one of itself ("checksum."), which every
// reader compares; numbers that no run leaves (NaN, infinite, out of their range) are refused by name.
#ifndef SMKD_RT_CHECKPOINT_H
#define SMKD_RT_CHECKPOINT_H

#include "../methods/methods.h"
#include "keep.h"

#define RT_NO_MERIT (-1e30) // no squared error yet
struct rt_progress_state {
    int64_t epoch;              // finished epochs
    int64_t step;               // finished steps
    double r[METHOD_MAX_PEERS]; // MyLC's mean confidence of each peer
    double best;                // best accuracy so far, percent; -1: none yet. Of numbers the negative squared error
    int64_t best_epoch;
    bool unchecked; // the file has no checksums: it is of an earlier version, or somebody else's
};
// Registers them all; `peers` says how many r there are.
void rt_keep_progress(struct rt_kept *k, struct rt_progress_state *s, int peers);
// Parameters and buffers of a model as peer K's.
enum smkd_result rt_keep_peer(struct rt_kept *k, int peer, smkd_model *m);
// The momentum that its UPDATE entry keeps.
enum smkd_result rt_keep_momentum(struct rt_kept *k, int peer, smkd_model *m);

// A run whose numbers pass this has diverged: their products are infinite in float32.
#define RT_WEIGHT_LIMIT 1e30f
// The place of the first of `n` numbers that is NaN, infinite or beyond the limit; n: none is.
size_t rt_sane_weights(const float *v, size_t n);

// Writes the list, completely or not at all; without `all` what only a run that goes on needs is left out, and the file
// serves evaluation and export.
enum smkd_result rt_checkpoint_write(const char *path, const struct rt_kept *k, bool all);
// Reads everything back to where the list says. On failure nothing there has changed. `unchecked` as in the state.
enum smkd_result rt_checkpoint_read(const char *path, struct rt_kept *k, bool *unchecked);
// Reads the parameters and buffers of peer `k` into a model, or those of another prefix ("ema" for averages) than
// "peer"; *s (unless NULL) is the run's state when they were saved.
enum smkd_result rt_checkpoint_read_peer(const char *path, int k, smkd_model *m, struct rt_progress_state *s);
enum smkd_result rt_checkpoint_read_copy(const char *path, const char *prefix, int k, smkd_model *m,
                                         struct rt_progress_state *s);

#endif
