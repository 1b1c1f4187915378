// Networks whose branches learn from each other and from a classifier of all their features (PCL); methods.md 3.5.
#include "families.h"

static const char *const rules[] = {"sgd", "adam", NULL};

static const struct method_param params[] = {
    METHOD_DISTILL_WEIGHT(NULL, "cross entropies + W times what is distilled, after its ramp"),
    METHOD_RAMP(NULL),
    METHOD_TEMPERATURE("3", NULL, METHOD_BOTH_SIDES),
    {.name = "ema-decay",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "0.999",
     .min = 0,
     .max = 1,
     .scalar = "ema_decay",
     .help = "decay of the averaged network, at most 1 - 1/(step+1)"},
    {.name = "classifier",
     .value = "RULE",
     .kind = METHOD_WORD,
     .def = "sgd",
     .words = rules,
     .help = "how the classifier of all features is trained, at the run's rate and decay: sgd (with its momentum) or "
             "adam"},
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

static const struct method_begin begins[] = {{"state.classifier.weight", METHOD_KAIMING, 1}, {NULL, METHOD_VALUE, 0}};

// The classifier is updated after every batch.
const struct method_family method_branches = {.name = "branches",
                                              .doc = "networks whose branches learn from all of them",
                                              .params = params,
                                              .by_rows = method_never,
                                              .taps = true,
                                              .predicts = method_always,
                                              .begins = begins};
