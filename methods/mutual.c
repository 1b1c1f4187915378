// Networks that refine their labels and may teach each other: SMKD with its limits, and plain cross entropy
// (methods.md 1 and 2).
#include "families.h"

#include <string.h>

static const char *const gates[] = {"below", "all", "none", NULL};
static const char *const rules[] = {"mylc", "proselflc", "none", "ls", "cp", "boot-soft", NULL};
static const char *const ls_modes[] = {"all", "others", NULL};
static const char *const cp_modes[] = {"refined", "penalty", NULL};
static const char *const denominators[] = {"K", "N", "typo", NULL};
static const char *const scopes[] = {"epoch", "batch", "ema", NULL};

static const struct method_param params[] = {
    {.name = "gate", .kind = METHOD_WORD, .def = "none", .words = gates},
    {.name = "refine",
     .value = "RULE",
     .kind = METHOD_WORD,
     .def = "mylc",
     .words = rules,
     .help = "label refinement: mylc, proselflc, none, ls, cp or boot-soft"},
    {.name = "epsilon",
     .value = "E",
     .kind = METHOD_NUMBER,
     .def = "0.25",
     .min = 0,
     .max = 1,
     .scalar = "epsilon",
     .only = "refine=ls|cp|boot-soft",
     .help = "how far labels are refined"},
    {.name = "ls-mode",
     .value = "M",
     .kind = METHOD_WORD,
     .def = "all",
     .words = ls_modes,
     .only = "refine=ls",
     .help = "label smoothing spreads E over all classes, or over the others"},
    {.name = "cp-mode",
     .value = "M",
     .kind = METHOD_WORD,
     .def = "refined",
     .words = cp_modes,
     .only = "refine=cp",
     .help = "confidence penalty as a target (1-E) q - E p, or added to cross entropy: q - E p"},
    {.name = "eta",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "4",
     .min = -1e9,
     .max = 1e9,
     .infinite = true,
     .scalar = "eta",
     .only = "gate=below",
     .help = "the threshold is ln(classes) / eta at half time"},
    {.name = "b2",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "-5",
     .min = -1e6,
     .max = 1e6,
     .scalar = "b2",
     .only = "gate=below",
     .help = "steepness of the threshold over time"},
    {.name = "b1",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "10",
     .min = -1e6,
     .max = 1e6,
     .scalar = "b1",
     .only = "refine=mylc|proselflc",
     .help = "steepness of the trust in own predictions"},
    {.name = "rho",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "0.5",
     .min = -1e6,
     .max = 1e6,
     .scalar = "rho",
     .only = "refine=mylc|proselflc",
     .help = "midpoint of the trust in own predictions"},
    {.name = "peer-denom",
     .value = "D",
     .kind = METHOD_WORD,
     .def = "K",
     .words = denominators,
     .only = "gate=below|all",
     .help = "peer term averaged over: K taught rows, N all rows, typo (the paper's listing)"},
    {.name = "r-scope",
     .value = "S",
     .kind = METHOD_WORD,
     .def = "epoch",
     .words = scopes,
     .only = "refine=mylc",
     .help = "MyLC's mean confidence over: epoch, batch or ema"},
    {.name = "detach-target",
     .kind = METHOD_FLAG,
     .only = "refine=mylc|proselflc|cp|boot-soft",
     .help = "no gradient through the own refined target"},
    {.name = "log-floor",
     .value = "E",
     .kind = METHOD_NUMBER,
     .def = "0",
     .min = 0,
     .max = 0.5,
     .help = "e in log(p + e), 0 for exact"},
    {.name = "peer-log-floor",
     .value = "E",
     .kind = METHOD_NUMBER,
     .def = "1e-6",
     .min = 0,
     .max = 0.5,
     .only = "refine=cp,gate=below|all",
     .help = "the same where a penalty is taught, whose loss has no least value without it"},
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

static bool by_rows(const struct method *m, const struct method_values *v) {
    const char *gate = method_word(m, v, "gate");
    bool batch = strcmp(method_word(m, v, "refine"), "mylc") == 0 && strcmp(method_word(m, v, "r-scope"), "batch") == 0;
    return !batch && (strcmp(gate, "below") != 0 || strcmp(method_word(m, v, "peer-denom"), "N") == 0);
}

static const char *refuse(const struct method *m, const struct method_values *v, int peers) {
    (void)peers;
    if (strcmp(method_word(m, v, "gate"), "below") == 0 && method_number(m, v, "eta") == 0)
        return "--eta 0: no threshold; use --method all for everything, zero for nothing";
    return NULL;
}

const struct method_family method_mutual = {.name = "mutual",
                                            .doc = "classifiers that refine their labels and teach each other",
                                            .params = params,
                                            .by_rows = by_rows,
                                            .refuse = refuse};
