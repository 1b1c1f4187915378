// The stages of a run (method_stage in methods/methods.h), one after the other, each with its own number of epochs and
// clock. Rounds are stages of --epochs between which what a network has become turns into its teacher, a frozen copy,
// and the network begins anew from the numbers it came with (two-round distillation, Born-again).
#ifndef SMKD_RT_STAGES_H
#define SMKD_RT_STAGES_H

#include "run.h"

struct rt_stage {
    struct method_stage is;
    int64_t first, epochs; // its first epoch in the run, from 1
    double rate;           // 0: the run's, by its schedule
};

int64_t rt_rounds(const struct rt_config *c);                // the method's `rounds`, or 1
int64_t rt_stage_at(const struct run *r, int64_t epoch);     // the stage that an epoch of the run is in, both from 1
int64_t rt_in_stage(const struct run *r, int64_t epoch);     // the epoch in its stage, from 1
int64_t rt_stage_epochs(const struct run *r, int64_t epoch); // of that stage
bool rt_stage_ends(const struct run *r, int64_t epoch);      // whether it is the last of its stage
struct method_moment rt_moment(const struct run *r, int64_t epoch);
// The stages, and memory for the copies, which are kept in checkpoints.
enum smkd_result rt_stages_start(struct run *r);
void rt_stages_keep(struct run *r);
void rt_stages_finish(struct run *r);
// Before an epoch: sets the schedule of its stage; where that begins, makes the copies and begins anew, as it asks for.
void rt_stages_enter(struct run *r, int64_t epoch);

#endif
