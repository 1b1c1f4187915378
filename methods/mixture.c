// Networks that learn from their own predictions where a mixture fitted to the losses of all images says that a label
// is wrong (methods.md 6.23).
#include "families.h"

static const char *const kinds[] = {"hard", "soft", NULL};

static const struct method_param params[] = {
    {.name = "bootstrap",
     .value = "KIND",
     .kind = METHOD_WORD,
     .def = "hard",
     .words = kinds,
     .help = "what stands in for a wrong label: the class that is predicted, or the prediction (soft)"},
    {.name = "mixture-start",
     .value = "E",
     .kind = METHOD_NUMBER,
     .def = "105",
     .min = 1,
     .max = 1e9,
     .scalar = "mixture_start",
     .help = "first epoch before which losses are looked at; cross entropy before"},
    {.name = "prior-weight",
     .value = "W",
     .kind = METHOD_NUMBER,
     .def = "1",
     .min = 0,
     .max = 1e6,
     .scalar = "prior_weight",
     .help = "weight of what keeps the mean prediction of a batch near the uniform one, from then on"},
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

static bool survey(const struct method *m, const struct method_values *v, const struct method_moment *at) {
    return at->epoch >= (int64_t)method_number(m, v, "mixture-start");
}

const struct method_family method_mixture = {.name = "mixture",
                                             .doc = "classifiers that judge labels by a mixture of losses",
                                             .params = params,
                                             .by_rows = method_never, // the mean prediction is a batch's
                                             .survey = survey,
                                             .hook = "betas"};
