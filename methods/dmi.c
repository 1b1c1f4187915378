// Determinant-based mutual information (methods.md 6.8).
#include "families.h"

#include <math.h>

static const struct method_param params[] = {
    {.name = "pretrain-epochs",
     .value = "E",
     .kind = METHOD_NUMBER,
     .def = "0",
     .min = 0,
     .max = 1e6,
     .scalar = "pretrain_epochs",
     .help = "epochs of cross entropy before (0: as many as --epochs)"},
    {.name = "dmi-lr",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "1e-6",
     .min = 1e-12,
     .max = 1e6,
     .scalar = "dmi_lr",
     .help = "learning rate of the --epochs that follow, which stays as it is"},
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

static const struct method_stage stages[] = {
    {.name = "pretrain", .epochs = "pretrain-epochs"},
    {.name = "dmi", .rate = "dmi-lr"},
    {.name = NULL},
};

// The classes of a batch as drawn one by one: each is missing with probability (1 - 1/C)^N.
static bool warn(const struct method *m, const struct method_values *v, int64_t classes, int64_t batch,
                 struct str *out) {
    (void)m;
    (void)v;
    const double c = (double)classes, all = pow(1 - pow(1 - 1 / c, (double)batch), c);
    if (all > 0.9) return false;
    str_addf(out,
             "about %.0f of 100 batches of %lld images have all %lld classes; from the others dmi learns nothing: give "
             "a larger "
             "--batch-size",
             100 * all, (long long)batch, (long long)classes);
    return true;
}

const struct method_family method_dmi = {.name = "dmi",
                                         .doc = "classifiers that tell as much of the labels as they can",
                                         .params = params,
                                         .most_classes = METHOD_DMI_CLASSES,
                                         .stages = stages,
                                         .by_rows = method_never, // the determinant is a batch's
                                         .warn = warn};
