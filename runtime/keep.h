// What a run keeps: every tensor and number that has to survive between two steps is registered here once, by whoever
// owns it. Checkpoints are written and read by this list and know nothing else, so that whatever is in it resumes to
// the bit.
#ifndef SMKD_RT_KEEP_H
#define SMKD_RT_KEEP_H

#include "runtime.h"

struct rt_kept_tensor {
    char *name; // "peer.0.conv1.weight", "momentum.0.conv1.weight", "ema.0...."; owned
    enum rt_dtype dtype;
    int rank;
    int64_t dims[SMKD_ABI_MAX_RANK];
    size_t numel;
    void *data; // borrowed; stays where it is as long as the list
    bool state; // only a run that goes on needs it: not in best.safetensors
};
struct rt_kept_number {
    char *key; // in the file's metadata; owned
    bool whole;
    double min, max;
    void *at;      // int64_t where whole, else double; borrowed
    bool optional; // files of earlier versions lack it: then it stays what it is
};
struct rt_kept {
    struct rt_kept_tensor *tensor;
    size_t n_tensors, cap_tensors;
    struct rt_kept_number *number;
    size_t n_numbers, cap_numbers;
};

void rt_keep(struct rt_kept *k, const char *name, enum rt_dtype dtype, int rank, const int64_t *dims, void *data,
             bool state);
void rt_keep_whole(struct rt_kept *k, const char *key, int64_t *at, double min, double max, bool optional);
void rt_keep_number(struct rt_kept *k, const char *key, double *at, double min, double max, bool optional);
// The rows `role` of a model's table as "PREFIX.K.NAME", in `block`, which is laid out as the model's own.
void rt_keep_rows(struct rt_kept *k, const char *prefix, int peer, const smkd_model *m, enum smkd_abi_role role,
                  void *block, bool state);
void rt_kept_release(struct rt_kept *k);

#endif
