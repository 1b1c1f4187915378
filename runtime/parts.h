// Parts of networks, by the names of their parameters: what a stage begins anew and trains alone (`part` of
// method_stage).
#ifndef SMKD_RT_PARTS_H
#define SMKD_RT_PARTS_H

#include "runtime.h"

struct rt_param_part {
    char **globs; // owned
    size_t n;
};

// `text`: patterns with ; between them, as --freeze has them; or last-layer, all parameters of the layer that comes
// last; or last-stage, that one and all of the block before it, up to the first dot of its name ("layer4" and "fc").
// SMKD_R_MISMATCH, naming the flag, where the network has none of such a name. Release also then.
enum smkd_result rt_param_part_of(const char *text, const char *flag, const smkd_model *m, const char *path,
                                  struct rt_param_part *out);
bool rt_param_part_has(const struct rt_param_part *part, const char *name);
void rt_param_part_release(struct rt_param_part *part);

#endif
