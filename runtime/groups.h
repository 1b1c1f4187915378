// Groups of a network's parameters: which are updated at which rate and with which decay, and which not at all. Told by
// names and by what they are, as torchvision's set_weight_decay tells them by modules.
#ifndef SMKD_RT_GROUPS_H
#define SMKD_RT_GROUPS_H

#include "run_config.h"

// --param-group GLOB:lr=X,wd=X; NAN: not said.
struct rt_group_rule {
    char *glob; // owned
    double lr, weight_decay;
};
// What the flags say. For each parameter the first of these that says something decides: --freeze; the last
// --param-group that names it and has that number; --bias-weight-decay for what is called "bias"; --norm-weight-decay
// for scales and shifts of norms; --lr and --weight-decay.
struct rt_group_rules {
    double lr, weight_decay, norm_weight_decay, bias_weight_decay; // of the latter two NAN: not said
    struct rt_group_rule *rule;
    size_t n_rules;
    char **freeze; // patterns, of which those with ! in front take names out again; owned
    size_t n_freeze;
};
// Release also after a failure, which says what a flag should look like.
enum smkd_result rt_group_rules_read(struct rt_group_rules *r, const struct rt_config *c);
void rt_group_rules_release(struct rt_group_rules *r);
// A pattern that names no parameter of any of the networks is a typing error: SMKD_R_INVALID with names that are near.
enum smkd_result rt_group_rules_check(const struct rt_group_rules *r, const smkd_model *const *models, size_t n);

// A stretch of the parameter block, and of every block that is laid out like it: floats, whole lines of 16. Between two
// tensors lies padding, which is zero and belongs to the stretch.
struct rt_stretch {
    size_t at, n;
};
struct rt_group {
    double lr_factor; // its rate is that of the run times this: the schedule moves all alike
    double weight_decay;
    struct rt_stretch *stretch; // in the order of the block; owned
    size_t n_stretches, n_tensors;
};
struct rt_groups {
    struct rt_group *group; // in the order of their first tensors; owned
    size_t n;
    bool *frozen; // by place among the PARAM rows: in no group; owned
    size_t n_frozen;
    bool guessed; // the artifact does not say which parameters are norms': told by names and shapes
};
// Neighbours of a group are one stretch, unless `by_tensor`: for an update that looks at a tensor as a whole.
void rt_groups_make(struct rt_groups *g, const struct rt_group_rules *r, const smkd_model *m, bool by_tensor);
void rt_groups_release(struct rt_groups *g);

#endif
