// Networks that distil themselves: by their own past (PS-KD), from their deepest classifier into those at their sides
// (BYOT), and between the features of all depths (DMFL); methods.md 4.
#include "families.h"

#include <string.h>

static const char *const switches[] = {"off", "on", NULL};
static const char *const modes[] = {"off", "value", "live", NULL};

static const struct method_param params[] = {
    {.name = "ps-kd", .kind = METHOD_WORD, .def = "off", .words = switches},
    {.name = "byot", .kind = METHOD_WORD, .def = "off", .words = switches},
    {.name = "dmfl",
     .value = "MODE",
     .kind = METHOD_WORD,
     .def = "live",
     .words = modes,
     .help = "live, or value: measured without a gradient, as the paper's code has it"},
    {.name = "alpha-t",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "0.8",
     .min = 0,
     .max = 1,
     .scalar = "alpha_t",
     .only = "ps-kd=on",
     .help = "weight of the past in the labels of the last epoch; it grows with time from 0"},
    {.name = "byot-alpha",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "0.1",
     .min = 0,
     .max = 1,
     .scalar = "byot_alpha",
     .only = "byot=on",
     .help = "weight of what the deepest classifier says, beside the labels'"},
    {.name = "byot-beta",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "1e-6",
     .min = 0,
     .max = 1e6,
     .scalar = "byot_beta",
     .only = "byot=on",
     .help = "weight of the distances between features, which are sums over batch and channels"},
    METHOD_TEMPERATURE("3", "byot=on", "temperature of what the deepest classifier says"),
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

static const struct method_begin begins[] = {{"table.prev", METHOD_ONE_HOT, 0}, {NULL, METHOD_VALUE, 0}};

static bool is(const struct method *m, const struct method_values *v, const char *name, const char *word) {
    return strcmp(method_word(m, v, name), word) == 0;
}

// The distances of features are sums, so parts of a batch come to another mean.
static bool by_rows(const struct method *m, const struct method_values *v) { return is(m, v, "byot", "off"); }

static bool predicts(const struct method *m, const struct method_values *v) {
    return is(m, v, "byot", "on") || !is(m, v, "dmfl", "off");
}

const struct method_family method_heads = {.name = "heads",
                                           .doc = "networks that distil themselves, with heads at their sides",
                                           .params = params,
                                           .by_rows = by_rows,
                                           .taps = true,
                                           .predicts = predicts,
                                           .begins = begins};
