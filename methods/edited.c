// Cross entropy whose gradients are edited before the update (methods.md 6.14).
#include "families.h"

static const struct method_param params[] = {
    {.name = "noise-rate",
     .value = "R",
     .kind = METHOD_NUMBER,
     .def = "0.4",
     .min = 0,
     .max = 1,
     .scalar = "noise_rate",
     .help = "share of wrong labels: so many weights are left to decay, the others learn by 1-R of their gradient"},
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

const struct method_family method_edited = {.name = "edited",
                                            .doc = "classifiers whose gradients are edited before the update",
                                            .params = params,
                                            .edit = "critical"};
