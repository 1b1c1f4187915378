// Networks that train on the rows of small loss, which are likely to have right labels (methods.md 6.9 to 6.13).
#include "families.h"

static const char *const ranks[] = {"peer", "joint", "self", NULL};
static const char *const candidates[] = {"all", "disagreement", NULL};
static const char *const schedules[] = {"ramp", "s2e", "percentile", NULL};

#define NUMBER(flag, of, text, lo, hi, where, what)                                                                    \
    {.name = (flag),                                                                                                   \
     .value = "X",                                                                                                     \
     .kind = METHOD_NUMBER,                                                                                            \
     .def = (text),                                                                                                    \
     .min = (lo),                                                                                                      \
     .max = (hi),                                                                                                      \
     .scalar = (of),                                                                                                   \
     .only = (where),                                                                                                  \
     .help = (what)}
// The searched schedule's numbers lie in [0, hi]; the middle is the default.
#define S2E(n, middle, hi) NUMBER("p" #n, "p" #n, middle, 0, hi, "schedule=s2e", "number " #n " of S2E's schedule")

static const struct method_param params[] = {
    {.name = "rank", .kind = METHOD_WORD, .def = "peer", .words = ranks},
    {.name = "candidates", .kind = METHOD_WORD, .def = "all", .words = candidates},
    {.name = "schedule", .kind = METHOD_WORD, .def = "ramp", .words = schedules},
    NUMBER("forget", "forget", "0.4", 0, 1, "schedule=ramp", "share of rows left out after the ramp: the noise rate"),
    NUMBER("forget-exponent", "forget_exponent", "1", 0.01, 100, "schedule=ramp",
           "the share is --forget to this power"),
    NUMBER("ramp", "ramp", "10", 1, 1e9, "schedule=ramp", "epochs over which that share grows from 0"),
    NUMBER("init-epoch", "init_epoch", "20|5", 0, 1e9, "candidates=disagreement",
           "epochs before rows that the networks agree on are left out"),
    NUMBER("co-lambda", "co_lambda", "0.1", 0, 1, "rank=joint", "weight of the distance between the networks"),
    NUMBER("percentile", "percentile", "0.7", 0, 1, "schedule=percentile", "share of a batch below the threshold"),
    NUMBER("percentile-decay", "percentile_decay", "0.5", 0, 0.999999, "schedule=percentile",
           "decay of the threshold's moving average"),
    NUMBER("burn-in", "burn_in", "18", 0, 1e9, "schedule=percentile", "epochs that leave no row out"),
    S2E(0, "0.5", 1),
    S2E(1, "0.5", 1),
    S2E(2, "0.25", 0.5),
    S2E(3, "0.5", 1),
    S2E(4, "0.25", 0.5),
    S2E(5, "1", 2),
    S2E(6, "0.25", 0.5),
    S2E(7, "0.5", 1),
    S2E(8, "0.5", 1),
    S2E(9, "0.25", 0.5),
    S2E(10, "0.25", 0.5),
    S2E(11, "1", 2),
    {.name = "label-smoothing",
     .value = "A",
     .kind = METHOD_NUMBER,
     .def = "0",
     .min = 0,
     .max = 1,
     .scalar = "label_smoothing",
     .optional = true,
     .help = "labels become (1-A) one-hot + A/classes"},
    {.name = NULL},
};

static bool by_rows(const struct method *m, const struct method_values *v) {
    (void)m, (void)v;
    return false; // which rows count depends on the whole batch
}

const struct method_family method_small_loss = {
    .name = "small_loss", .doc = "networks that train on the rows of small loss", .params = params, .by_rows = by_rows};
