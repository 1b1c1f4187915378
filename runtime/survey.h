// A pass over the training images as they are, or over the validation images, in inference: nothing is trained. What a
// method has to know of all images at once comes from it: MyLC's mean confidence of networks that come trained, rows of
// tables, states.
#ifndef SMKD_RT_SURVEY_H
#define SMKD_RT_SURVEY_H

#include "run.h"

// One over the images of a loader (r->all, r->validation), with the clock of that epoch. `entropy` gets the mean of
// each peer where the program has it.
enum smkd_result rt_survey(struct run *r, struct rt_loader *l, int64_t epoch, double entropy[METHOD_MAX_PEERS]);

// Before an epoch: does one where the method asks for it (its `survey`), or MyLC before the first epoch. The program
// runs with the scalar `survey` at 1 for the first batch and at 2 for others; it is 0 otherwise.
enum smkd_result rt_survey_before(struct run *r, int64_t epoch);

// Whether all running statistics are what a network begins with, 0 or 1: then inference says nothing of it yet. False
// where there are none.
bool rt_untouched(const smkd_model *m);

#endif
