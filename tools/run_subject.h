// A loaded artifact on random inputs: what `smkd-run bench` times and `smkdc compile --tune` measures.
#ifndef SMKD_TOOLS_RUN_SUBJECT_H
#define SMKD_TOOLS_RUN_SUBJECT_H

#include "run_profile.h"

struct run_subject {
    smkd_model *model;
    smkd_session *session;
    struct rt_tensors memory; // inputs and cotangents
    struct rt_profile profile[SMKD_ABI_PHASES];
};
// Loads a model's artifact and binds random inputs, and with `train` random gradients, for batches of up to `batch`.
// Release in any case.
enum smkd_result run_subject_start(struct run_subject *s, const char *path, smkd_team *team, int64_t batch, bool train);
void run_subject_release(struct run_subject *s);

#endif
