// A peer's optimizer in a run: which of its parameters are updated with which rate and decay, and the step itself, by
// the model's own UPDATE entry or by a program of smkdc optimizer (optim/optim.h), whose states lie in blocks laid out
// as the parameters are.
#ifndef SMKD_RT_OPTIMIZER_H
#define SMKD_RT_OPTIMIZER_H

#include "../methods/optimizers.h"
#include "keep.h"
#include "parts.h"
#include "peer.h"
#include "run_config.h"

// What happens to one parameter.
struct rt_param_rule {
    bool frozen; // nothing
    double lr;   // base rate, which the schedule scales as the run's
    double weight_decay;
};
// The rules of all parameters of a model, in the order of its table: --weight-decay, then --bias-weight-decay for those
// called "bias" or --norm-weight-decay for those of normalisations (torchvision's set_weight_decay), then the first
// --param-group that matches, and --freeze. *guessed: the artifact is too old to say which are a normalisation's, so
// all of one dimension were taken. Owned by the caller (free).
enum smkd_result rt_param_rules(const struct rt_config *c, const smkd_model *m, struct rt_param_rule **rules,
                                bool *guessed);
// Whether these flags mean something for n networks: a pattern that matches in none of them is refused, and so is
// freezing everything.
enum smkd_result rt_param_flags_check(const struct rt_config *c, const smkd_model *const *m, int n);

struct rt_update_run { // neighbours in the block that are updated alike
    size_t at, lines;  // in 64 bytes
    double lr, weight_decay;
};
struct rt_optimizer {
    const struct optimizer *row;
    struct optimizer_now now;
    struct rt_peer *peer;  // borrowed
    smkd_model *program;   // borrowed; NULL: the UPDATE entry
    smkd_session *session; // of the program
    double lr;             // the run's base rate
    void *state[OPTIMIZER_STATES];
    bool own[OPTIMIZER_STATES]; // SGD's momentum is the model's
    size_t bytes;               // of a state
    struct rt_param_rule *rules;
    bool *rests; // of each parameter: not trained for now, as if it were frozen
    bool any_frozen;
    struct rt_update_run *run;
    size_t n_runs;
};

// Whether the UPDATE entry will do: SGD, and all parameters alike.
bool rt_optimizer_is_plain(const struct rt_config *c);
// Whether `m` is a program of this optimizer. `path` is for messages.
enum smkd_result rt_optimizer_check(const smkd_model *m, const char *path, const struct optimizer *row);
// After rt_peer_start. Release also after a failure. A note of what was guessed goes to *guessed.
enum smkd_result rt_optimizer_start(struct rt_optimizer *o, const struct rt_config *c, struct rt_peer *p,
                                    smkd_model *program, smkd_team *team, bool *guessed);
// All states are 0 again.
void rt_optimizer_reset(struct rt_optimizer *o);
// Trains the parameters of that part alone from now on; NULL: all. Not where rt_optimizer_is_plain.
void rt_optimizer_train_part(struct rt_optimizer *o, const struct rt_param_part *part);
// The states of that part are 0 again.
void rt_optimizer_reset_part(struct rt_optimizer *o, const struct rt_param_part *part);
void rt_optimizer_release(struct rt_optimizer *o);
// Registers the states, as "opt.STATE.K.NAME"; SGD's is "momentum.K.NAME".
void rt_optimizer_keep(const struct rt_optimizer *o, struct rt_kept *k, int peer);
// Gradients of frozen parameters count as 0 in norms: call before anything looks at them.
void rt_optimizer_mask(const struct rt_optimizer *o);
// One update with the scheduled rate of the run; `step` counts all of them, from 1.
enum smkd_result rt_optimizer_step(struct rt_optimizer *o, double lr, int64_t step);

#endif
