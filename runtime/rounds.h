// Methods that train in rounds, each of --epochs: between two of them what a network has become turns into its teacher,
// a frozen copy, and the network begins anew from the numbers it came with (two-round distillation, Born-again).
#ifndef SMKD_RT_ROUNDS_H
#define SMKD_RT_ROUNDS_H

#include "run.h"

// How many there are: the method's `rounds`, or 1.
int64_t rt_rounds(const struct rt_config *c);
int64_t rt_round(const struct run *r, int64_t epoch);    // of an epoch of the run, both from 1
int64_t rt_in_round(const struct run *r, int64_t epoch); // the epoch in its round, from 1
// Memory for the copies, which are kept in checkpoints.
enum smkd_result rt_rounds_start(struct run *r);
void rt_rounds_keep(struct run *r);
void rt_rounds_finish(struct run *r);
// Before an epoch: where it is the first of a later round, copies, and begins anew.
void rt_rounds_enter(struct run *r, int64_t epoch);

#endif
