// Networks that learn numbers instead of classes, each by itself.
#include "families.h"

static const char *const errors[] = {"squared", "absolute", "huber", NULL};

static const struct method_param params[] = {
    {.name = "error", .kind = METHOD_WORD, .def = "squared", .words = errors},
    {.name = "huber-delta",
     .value = "D",
     .kind = METHOD_NUMBER,
     .def = "1",
     .min = 1e-9,
     .max = 1e9,
     .scalar = "huber_delta",
     .only = "error=huber",
     .help = "errors up to D count squared, beyond it absolute"},
    {.name = NULL},
};

const struct method_family method_regression = {
    .name = "regression", .doc = "networks that learn numbers", .params = params, .regression = true};
