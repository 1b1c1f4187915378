// The ways through the training images that make an epoch (method_pass in methods/methods.h): one through all of them,
// unless the method chooses the images by what it knows of them, or trains one network after the other.
#ifndef SMKD_RT_PASSES_H
#define SMKD_RT_PASSES_H

#include "run.h"

// What steps are made of in this run; release with rt_passes_finish, also after a failure.
enum smkd_result rt_passes_start(struct run *r);
void rt_passes_finish(struct run *r);
// How many an epoch has.
int rt_passes(const struct run *r, int64_t epoch);
// Whether a row is made of more than views of its own image that are augmented alike.
bool rt_passes_see_others(const struct run *r);
// Whether all epochs have the same steps.
bool rt_passes_even(const struct run *r);
// Has the loader prepare the first batches of an epoch, where these don't depend on what is found out before it.
void rt_passes_ahead(struct run *r, int64_t epoch);
// Begins a pass, from 0, in r->pass and the loader. Tables that choose images are what they are now.
void rt_pass_begin(struct run *r, int64_t epoch, int number);

#endif
