// Networks whose branches learn from each other and from a classifier of all their features (PCL); methods.md 3.5.
#include "families.h"

static const char *const rules[] = {"sgd", "adam", NULL};

static const struct method_param params[] = {
    {.name = "distill-weight",
     .value = "W",
     .kind = METHOD_NUMBER,
     .def = "1",
     .min = 0,
     .max = 1e6,
     .scalar = "distill_weight",
     .help = "cross entropies + W times what is distilled, after its ramp"},
    {.name = "ramp",
     .value = "E",
     .kind = METHOD_NUMBER,
     .def = "80",
     .min = 1,
     .max = 1e9,
     .scalar = "ramp",
     .help = "epochs over which that weight grows: exp(-5 (1 - epoch/E)^2)"},
    {.name = "temperature",
     .value = "T",
     .kind = METHOD_NUMBER,
     .def = "3",
     .min = 1e-3,
     .max = 1e6,
     .scalar = "temperature",
     .help = "logits are divided by T on both sides, and the divergence multiplied by T^2"},
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
