// The exponential moving average of a network's parameters and buffers: torchvision's --model-ema, which is
// torch.optim.swa_utils.AveragedModel(use_buffers=True) with get_ema_avg_fn.
#ifndef SMKD_RT_AVERAGE_H
#define SMKD_RT_AVERAGE_H

#include "gradients.h"

struct rt_average {
    smkd_model *model; // borrowed, as the team
    smkd_team *team;
    void *block; // laid out as the model's parameters; owned
    size_t bytes;
    struct rt_part *part[2]; // of parameters and of buffers; owned
    size_t n_parts[2];
    double decay;
    bool ramps;    // the decay is at most 1 - 1 / (updates + 1), as Mean teacher has it: the start is soon forgotten
    double ramp;   // the decay grows over so many updates, times exp(-5 (1 - updates/ramp)^2), as ELR+ has it; 0: not
    int64_t count; // updates so far; the first one copies
};

// The decay that torchvision derives from its flags: 1 - min(1, (1 - decay) * batch * steps / epochs).
double rt_average_decay(double decay, int64_t batch, int64_t steps, int64_t epochs);
// Begins as a copy of the model. Release also after a failure.
enum smkd_result rt_average_init(struct rt_average *a, smkd_model *m, smkd_team *team, double decay);
void rt_average_release(struct rt_average *a);
// average += (1 - decay) * (model - average), with a decay that may ramp. Whole numbers are copied.
void rt_average_update(struct rt_average *a);
// The model computes with the average until this is called again, which brings its own parameters back.
void rt_average_exchange(struct rt_average *a);

#endif
