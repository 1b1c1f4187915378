// Networks that learn from labels and from predictions: of each other, of a frozen teacher, of a teacher that nobody
// trained, of an ensemble (methods.md 3). What is distilled is the prediction as it is; mutual.c distils targets.
#include "families.h"

#include <string.h>

static const char *const sources[] = {"peer", "teacher", "former", NULL};
static const char *const combined[] = {"mean", "sum", NULL};
static const char *const balances[] = {"split", "added", NULL};

static const struct method_param params[] = {
    {.name = "from", .kind = METHOD_WORD, .def = "peer", .words = sources},
    {.name = "several", .kind = METHOD_WORD, .def = "mean", .words = combined},
    {.name = "balance", .kind = METHOD_WORD, .def = "split", .words = balances},
    {.name = "epsilon",
     .value = "E",
     .kind = METHOD_NUMBER,
     .def = "0.5",
     .min = 0,
     .max = 1,
     .scalar = "epsilon",
     .only = "balance=split",
     .help = "(1-E) of cross entropy, E of what is distilled"},
    {.name = "distill-weight",
     .value = "W",
     .kind = METHOD_NUMBER,
     .def = "1",
     .min = 0,
     .max = 1e6,
     .scalar = "distill_weight",
     .only = "balance=added",
     .help = "cross entropy + W times what is distilled"},
    {.name = "temperature",
     .value = "T",
     .kind = METHOD_NUMBER,
     .def = "1",
     .min = 1e-3,
     .max = 1e6,
     .scalar = "temperature",
     .help = "logits are divided by T on both sides, and the divergence multiplied by T^2"},
    {.name = "rounds",
     .value = "N",
     .kind = METHOD_NUMBER,
     .def = "2",
     .min = 2,
     .max = 1000,
     .scalar = "rounds",
     .only = "from=former",
     .help = "how often it trains for --epochs"},
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

static bool teacher(const struct method *m, const struct method_values *v) {
    return strcmp(method_word(m, v, "from"), "teacher") == 0;
}

const struct method_family method_distill = {.name = "distill",
                                             .doc = "classifiers that learn from labels and from predictions",
                                             .params = params,
                                             .teacher = teacher};
