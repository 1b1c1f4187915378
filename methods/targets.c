// Networks that remember, for each image, what they said of it: the memory is a part of what they learn (methods.md
// 6.18, 6.19, 6.23).
#include "families.h"

#include <string.h>

static const char *const rules[] = {"elr", "sop", "temporal", "mean-teacher", NULL};

static const struct method_param params[] = {
    {.name = "rule", .kind = METHOD_WORD, .def = "elr", .words = rules},
    {.name = "lambda",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "3|7",
     .min = 0,
     .max = 1e6,
     .scalar = "lambda",
     .only = "rule=elr",
     .help = "weight of ELR's term"},
    {.name = "beta",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "0.7|0.9",
     .min = 0,
     .max = 1,
     .scalar = "beta",
     .only = "rule=elr",
     .help = "decay of an image's target"},
    {.name = "lr-u",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "1",
     .min = 0,
     .max = 1e6,
     .scalar = "lr_u",
     .only = "rule=sop",
     .help = "learning rate of SOP's u"},
    {.name = "lr-v",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "10",
     .min = 0,
     .max = 1e6,
     .scalar = "lr_v",
     .only = "rule=sop",
     .help = "learning rate of SOP's v"},
    {.name = "consistency",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "30",
     .min = 0,
     .max = 1e6,
     .scalar = "consistency",
     .only = "rule=temporal|mean-teacher",
     .help = "weight of the squared distance to the target, after its ramp"},
    {.name = "ramp",
     .value = "E",
     .kind = METHOD_NUMBER,
     .def = "80",
     .min = 1,
     .max = 1e9,
     .scalar = "ramp",
     .only = "rule=temporal|mean-teacher",
     .help = "epochs over which that weight grows: exp(-5 (1 - epoch/E)^2)"},
    {.name = "alpha-z",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "0.6",
     .min = 0,
     .max = 0.999999,
     .scalar = "alpha_z",
     .only = "rule=temporal",
     .help = "decay of an image's accumulated prediction"},
    {.name = "ema-decay",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "0.999",
     .min = 0,
     .max = 1,
     .scalar = "ema_decay",
     .only = "rule=mean-teacher",
     .help = "decay of the averaged network, at most 1 - 1/(step+1)"},
    METHOD_VIEWS("rule=mean-teacher", "the average"),
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

static const struct method_begin begins[] = {
    {"table.u", METHOD_NORMAL, 1e-8}, {"table.v", METHOD_NORMAL, 1e-8}, {NULL, METHOD_VALUE, 0}};

// Student and teacher get noise of their own: the average sees another view of the image than the network.
static void views(const struct method *m, const struct method_values *v, int peers, struct method_views *out) {
    (void)peers;
    if (strcmp(method_word(m, v, "rule"), "mean-teacher") != 0 || !method_own_views(m, v)) return;
    *out = (struct method_views){.count = 2, .feed = 1};
}

const struct method_family method_targets = {.name = "targets",
                                             .doc = "networks that learn from what they said of an image before",
                                             .params = params,
                                             .views = views,
                                             .begins = begins};
