// Joint optimisation: the network's own predictions become the labels, and another training learns these
// (methods.md 6.5).
#include "families.h"

static const struct method_param params[] = {
    {.name = "relabel-epochs",
     .value = "E",
     .kind = METHOD_NUMBER,
     .def = "200",
     .min = 1,
     .max = 1e6,
     .scalar = "relabel_epochs",
     .help = "epochs in which the labels are made; --epochs are those that learn them"},
    {.name = "relabel-lr",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "0.08",
     .min = 1e-9,
     .max = 1e6,
     .scalar = "relabel_lr",
     .help = "learning rate of the former, which stays as it is"},
    {.name = "relabel-start",
     .value = "E",
     .kind = METHOD_NUMBER,
     .def = "70",
     .min = 2,
     .max = 1e9,
     .scalar = "relabel_start",
     .help = "first epoch whose labels are the mean predictions of the last ten"},
    {.name = "prior-weight",
     .value = "W",
     .kind = METHOD_NUMBER,
     .def = "1.2",
     .min = 0,
     .max = 1e6,
     .scalar = "prior_weight",
     .help = "weight of what keeps the mean prediction of a batch near the uniform one"},
    {.name = "entropy-weight",
     .value = "W",
     .kind = METHOD_NUMBER,
     .def = "0.8",
     .min = 0,
     .max = 1e6,
     .scalar = "entropy_weight",
     .help = "weight of the predictions' own entropy"},
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

static const struct method_stage stages[] = {
    {.name = "relabel", .epochs = "relabel-epochs", .rate = "relabel-lr"},
    {.name = "train", .anew = true},
    {.name = NULL},
};

static bool by_rows(const struct method *m, const struct method_values *v) {
    (void)m;
    (void)v;
    return false; // the mean prediction is a batch's
}

const struct method_family method_joint = {.name = "joint",
                                           .doc = "classifiers that make labels of their predictions",
                                           .params = params,
                                           .stages = stages,
                                           .by_rows = by_rows};
