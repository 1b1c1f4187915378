// Networks that remember, for each image, what they said of it: the memory is a part of what they learn (methods.md
// 6.18, 6.19, 6.23).
#include "families.h"

#include <string.h>

static const char *const rules[] = {"elr", "elr+", "sop", "sop+", "temporal", "mean-teacher", NULL};

static const struct method_param params[] = {
    {.name = "rule", .kind = METHOD_WORD, .def = "elr", .words = rules},
    {.name = "lambda",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "3|7",
     .min = 0,
     .max = 1e6,
     .scalar = "lambda",
     .only = "rule=elr|elr+",
     .help = "weight of ELR's term"},
    {.name = "beta",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "0.7|0.9",
     .min = 0,
     .max = 1,
     .scalar = "beta",
     .only = "rule=elr|elr+",
     .help = "decay of an image's target"},
    {.name = "lambda-ramp",
     .value = "S",
     .kind = METHOD_NUMBER,
     .def = "0|40000",
     .min = 0,
     .max = 1e12,
     .scalar = "lambda_ramp",
     .only = "rule=elr+",
     .help = "steps over which that weight grows: exp(-5 (1 - step/S)^2)"},
    {.name = "label-product",
     .value = "0|1",
     .kind = METHOD_NUMBER,
     .def = "0|1",
     .min = 0,
     .max = 1,
     .scalar = "label_product",
     .only = "rule=elr+",
     .help = "1: labels are multiplied with their targets, and normalised"},
    {.name = "mix-alpha",
     .value = "A",
     .kind = METHOD_NUMBER,
     .def = "1",
     .min = 0,
     .max = 1e6,
     .only = "rule=elr+",
     .of_run = true,
     .help = "images are mixed with others by shares of Beta(A, A); 0: not at all"},
    {.name = "lr-u",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "1",
     .min = 0,
     .max = 1e6,
     .scalar = "lr_u",
     .only = "rule=sop|sop+",
     .help = "learning rate of SOP's u"},
    {.name = "lr-v",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "10",
     .min = 0,
     .max = 1e6,
     .scalar = "lr_v",
     .only = "rule=sop|sop+",
     .help = "learning rate of SOP's v"},
    {.name = "sop-consistency",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "0.9",
     .min = 0,
     .max = 1e6,
     .scalar = "sop_consistency",
     .only = "rule=sop+",
     .help = "weight of the divergence of the second view from the first"},
    {.name = "sop-balance",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "0.1",
     .min = 0,
     .max = 1e6,
     .scalar = "sop_balance",
     .only = "rule=sop+",
     .help = "weight of the divergence of the batch's mean prediction from equal classes"},
    {.name = "consistency",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "30",
     .min = 0,
     .max = 1e6,
     .scalar = "consistency",
     .only = "rule=temporal|mean-teacher",
     .help = "weight of the squared distance to the target, after its ramp"},
    METHOD_RAMP("rule=temporal|mean-teacher"),
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
     .only = "rule=mean-teacher|elr+",
     .help = "decay of the averaged network, at most 1 - 1/(step+1) at first"},
    {.name = "ema-ramp",
     .value = "S",
     .kind = METHOD_NUMBER,
     .def = "40000",
     .min = 0,
     .max = 1e12,
     .only = "rule=elr+",
     .of_run = true,
     .help = "steps over which that decay grows instead: times exp(-5 (1 - step/S)^2)"},
    METHOD_VIEWS("rule=mean-teacher", "the average"),
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

static const struct method_begin begins[] = {
    {"table.u", METHOD_NORMAL, 1e-8}, {"table.v", METHOD_NORMAL, 1e-8}, {NULL, METHOD_VALUE, 0}};

static bool has_rule(const struct method *m, const struct method_values *v, const char *rule) {
    return strcmp(method_word(m, v, "rule"), rule) == 0;
}

// Student and teacher get noise of their own: the average sees another view of the image than the network. SOP+ says
// the same of two. ELR+ trains on mixed images, and its averages see them as they are.
static void views(const struct method *m, const struct method_values *v, int peers, struct method_views *out) {
    (void)peers;
    if (has_rule(m, v, "mean-teacher") && method_own_views(m, v)) *out = (struct method_views){.count = 2, .feed = 1};
    if (has_rule(m, v, "sop+")) *out = (struct method_views){.count = 2, .stacked = true};
    if (has_rule(m, v, "elr+")) out->mixes = true;
}

// As its authors' code has it: one network after the other, each in an order of its own.
static void pass(const struct method *m, const struct method_values *v, const struct method_moment *at,
                 struct method_pass *out) {
    (void)at;
    if (!has_rule(m, v, "elr+")) return;
    out->each = true;
    out->mix = method_number(m, v, "mix-alpha");
}

const struct method_family method_targets = {.name = "targets",
                                             .doc = "networks that learn from what they said of an image before",
                                             .params = params,
                                             .views = views,
                                             .pass = pass,
                                             .begins = begins};
