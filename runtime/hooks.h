// What a method does between two epochs that is no graph: looks at all rows of a table at once, fits a distribution,
// and writes tables and states. A family names its hook (`hook` in methods/methods.h), which runs after an epoch's last
// step, before its checkpoint, so that what it wrote resumes with the rest.
#ifndef SMKD_RT_HOOKS_H
#define SMKD_RT_HOOKS_H

#include "run.h"

struct rt_hook {
    const char *name;
    // NULL, or when a run begins or goes on, before anything is written: reads what a user has given.
    enum smkd_result (*start)(struct run *r);
    // NULL, or before an epoch's first step, after the survey that the method may have asked for.
    enum smkd_result (*before)(struct run *r, int64_t epoch);
    // NULL, or after its last. `m` has the epoch's means by now. Its own memory is r->hook_memory, which starts as
    // zeros and is kept.
    enum smkd_result (*after)(struct run *r, int64_t epoch, const struct rt_epoch_metrics *m);
};

// Registers the hook's memory; release nothing. A name that is no hook's is a BUG.
void rt_hook_keep(struct run *r);
enum smkd_result rt_hook_start(struct run *r);
enum smkd_result rt_hook_before(struct run *r, int64_t epoch);
enum smkd_result rt_hook_after(struct run *r, int64_t epoch, const struct rt_epoch_metrics *m);

// hook_transition.c: at the end of the stage "estimate" looks at all training images in inference, and of what each
// network says of them (table.said.K) makes its transition matrix (state.transition.K) by anchors (Patrini 2017) or
// dual-T (Yao 2020); methods.md 6.6, 6.15. A matrix that is said to be given has to be.
enum smkd_result rt_hook_matrix_given(struct run *r);
enum smkd_result rt_hook_transition(struct run *r, int64_t epoch, const struct rt_epoch_metrics *m);

// hook_betas.c: M-correction (Arazo 2019; methods.md 6.23). Where a survey has just written each network's losses
// (table.loss.K), what lies outside their 5th and 95th percentile is brought there, the rest to [0, 1], a mixture of
// two beta distributions is fitted, and table.wrong.K becomes the posterior of the one with the larger losses.
enum smkd_result rt_hook_betas(struct run *r, int64_t epoch);

// hook_split.c: DivideMix and MixMatch (methods.md 6.16). table.keep.K becomes 1 where network K believes an image's
// label: where a survey has just written its losses (table.loss.K), by a mixture of two Gaussians fitted to these in
// [0, 1], whose posterior of the lower one is table.clean.K; or as --trusted says, before the first epoch.
enum smkd_result rt_hook_split_start(struct run *r);
enum smkd_result rt_hook_split(struct run *r, int64_t epoch);

// hook_tipping.c: Blind knowledge distillation (methods.md 5.3, 5.4). After each epoch the mean of the student's
// largest probability is remembered; where it was above those of the two epochs before and the two after, that epoch is
// the tipping point, and the images are put into four groups by what both networks said of their labels then.
enum smkd_result rt_hook_tipping(struct run *r, int64_t epoch, const struct rt_epoch_metrics *m);

#endif
