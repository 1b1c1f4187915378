// Learning rate schedules with torchvision's names and PyTorch's numbers; when a run that no longer improves ends; and
// the confidence threshold's schedule for messages.
#ifndef SMKD_RT_SCHEDULE_H
#define SMKD_RT_SCHEDULE_H

#include "keep.h"

// A row a scheduler: name, the flags that it looks at (RT_USES_*; RT_OWN_WARMUP: `at` of its
// rate counts all epochs), --lr-gamma where none is given (NAN: one has to be).
// A new one is a row here and a function rate_<name> in schedule.c.
#define RT_SCHEDULERS(ROW)                                                                                             \
    ROW(multistep, RT_USES_MILESTONES, 0.2)                                                                            \
    ROW(step, RT_USES_STEP_SIZE, 0.1)                                                                                  \
    ROW(cosine, RT_USES_MIN, 0.2)                                                                                      \
    ROW(exponential, 0, NAN)                                                                                           \
    ROW(poly, RT_USES_POWER | RT_USES_MIN, 0.2)                                                                        \
    ROW(onecycle, RT_USES_MIN | RT_OWN_WARMUP, 0.2)                                                                    \
    ROW(plateau, RT_USES_PATIENCE | RT_USES_MIN, 0.1)                                                                  \
    ROW(constant, 0, 0.2)

enum {
    RT_USES_MILESTONES = 1,
    RT_USES_STEP_SIZE = 2,
    RT_USES_MIN = 4,
    RT_USES_POWER = 8,
    RT_USES_PATIENCE = 16,
    RT_OWN_WARMUP = 32
};

struct rt_config;
struct rt_schedule;
struct rt_scheduler {
    const char *name;
    // The rate after the warm-up: whole epochs behind that, and the step in this epoch from 0.
    double (*rate)(const struct rt_schedule *s, int64_t at, int64_t step);
    unsigned uses;
    double gamma;
};

// What plateau knows of the epochs so far. All zero at the start of a run.
struct rt_plateau_state {
    double seen; // epochs looked at
    double best; // of their measures
    double bad;  // epochs in a row without a better one
    double rate; // now; of no meaning before the first
};

#define RT_MAX_MILESTONES 32
struct rt_schedule {
    const struct rt_scheduler *kind;
    double lr, gamma, min, power, warmup_decay;
    enum rt_warmup { RT_WARMUP_STEPS, RT_WARMUP_LINEAR, RT_WARMUP_CONSTANT } warmup;
    int64_t epochs, warmup_epochs, steps; // steps an epoch
    int64_t step_size, patience;
    int64_t milestones[RT_MAX_MILESTONES];
    size_t n_milestones;
    struct rt_plateau_state plateau;
};

// Fills what "auto" stands for in lr-gamma and lr-milestones. Refuses flags that the scheduler does not look at.
enum smkd_result rt_schedule_resolve(struct rt_config *c);
enum smkd_result rt_schedule_init(struct rt_schedule *s, const struct rt_config *c, int64_t steps);

// Learning rate of a step: epoch from 1, step from 0.
//
// Warm-up comes first. "steps" (the default) raises the rate with each step from lr / (warm-up steps) to lr. "linear"
// and "constant" are torchvision's: an epoch has one rate, lr * (d + (1 - d) * epochs behind / warm-up epochs) or
// lr * d, with d = --lr-warmup-decay.
//
// After it, with e whole epochs behind the warm-up out of E, and t steps behind it out of T:
//     multistep    lr * gamma^(milestones passed); a milestone counts all epochs, those of the warm-up, too
//     step         lr * gamma^(e / step-size)                                       StepLR
//     cosine       min + (lr - min) * (1 + cos(pi * e / E)) / 2                     CosineAnnealingLR
//     exponential  lr * gamma^e                                                     ExponentialLR
//     poly         min + (lr - min) * (1 - t / T)^power, with each step             PolynomialLR (min 0)
//     onecycle     from lr / 25 up to lr and down to lr / 250000 (or min), both on half a cosine, with each step. The
//                  way up takes 30 % of all steps, or the warm-up epochs: there is no other warm-up.
//                                                                                   OneCycleLR (momentum stays)
//     plateau      times gamma, not below min, where the measure was not better for more than lr-patience epochs
//                                                                                   ReduceLROnPlateau
//     constant     lr
double rt_schedule_lr(const struct rt_schedule *s, int64_t epoch, int64_t step);

// Keeps what the scheduler remembers. The schedule stays where it is.
void rt_keep_schedule(struct rt_kept *k, struct rt_schedule *s);

// The end of an epoch: what was measured in it. Better is more than best * 1.0001, or where less is better (losses),
// less than best * 0.9999; a measure that is not a number is no better. Epochs of the warm-up are not looked at. Does
// nothing for other schedulers.
void rt_schedule_measured(struct rt_schedule *s, int64_t epoch, double measure, bool less_is_better);

// For a stage of a run: over so many epochs instead of --epochs, milestones in proportion; with a rate other than 0
// that rate and no other, without warm-up.
void rt_schedule_stage(struct rt_schedule *s, const struct rt_config *c, int64_t epochs, double rate);

// Forgets what was measured: another stage begins.
void rt_schedule_restart(struct rt_schedule *s);

// --patience: whether a run ends after `epoch`, whose best epoch so far was `best_epoch` (0: none was good).
bool rt_out_of_patience(const struct rt_config *c, int64_t epoch, int64_t best_epoch);

// "12,24,32" -> numbers from 1 on (those beyond the last epoch have no effect); RT_MAX_MILESTONES at most.
enum smkd_result rt_milestones_parse(const char *text, int64_t *out, size_t *n);

// The paper's Eq. 6, for messages: ln C / eta * 2 h(progress - 0.5, b2).
double rt_threshold(double progress, double eta, double b2, int classes);

#endif
