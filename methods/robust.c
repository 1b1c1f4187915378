// Losses that wrong labels move less than they move cross entropy, each network by itself (methods.md 6.2-6.4).
#include "families.h"

static const char *const rules[] = {"gce", "sce", "nce-rce", "nce-mae", NULL};

static const struct method_param params[] = {
    {.name = "rule", .kind = METHOD_WORD, .def = "gce", .words = rules},
    {.name = "gce-q",
     .value = "Q",
     .kind = METHOD_NUMBER,
     .def = "0.7",
     .min = 0.01, // towards 0 it is cross entropy, of which float32 has then no digits left
     .max = 1,
     .scalar = "gce_q",
     .only = "rule=gce",
     .help = "between cross entropy (near 0) and mean absolute error (1)"},
    {.name = "loss-alpha",
     .value = "A",
     .kind = METHOD_NUMBER,
     .def = "1",
     .min = 0,
     .max = 1e6,
     .scalar = "loss_alpha",
     .only = "rule=sce|nce-rce|nce-mae",
     .help = "weight of the term that learns"},
    {.name = "loss-beta",
     .value = "B",
     .kind = METHOD_NUMBER,
     .def = "1",
     .min = 0,
     .max = 1e6,
     .scalar = "loss_beta",
     .only = "rule=sce|nce-rce|nce-mae",
     .help = "weight of the term that withstands"},
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

const struct method_family method_robust = {
    .name = "robust", .doc = "classifiers with losses that withstand wrong labels", .params = params};
