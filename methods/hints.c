// Networks that learn from the inside of a frozen teacher before they learn from what it says (FitNets).
#include "families.h"

static const char *const rules[] = {"sgd", "adam", NULL};

static const struct method_param params[] = {
    {.name = "hint",
     .value = "NAME",
     .kind = METHOD_ANY_WORD,
     .def = "auto",
     .help = "the teacher's output that is learnt from; auto: hint, or the only one beside its logits"},
    {.name = "guided",
     .value = "NAME",
     .kind = METHOD_ANY_WORD,
     .def = "auto",
     .help = "the network's output that learns it; auto: guided, or the only one beside its logits"},
    {.name = "hint-epochs",
     .value = "E",
     .kind = METHOD_NUMBER,
     .def = "-1",
     .min = -1,
     .max = 1e9,
     .scalar = "hint_epochs",
     .help = "epochs in which the hint alone is learnt; -1: a quarter of --epochs"},
    {.name = "hint-weight",
     .value = "W",
     .kind = METHOD_NUMBER,
     .def = "10",
     .min = 0,
     .max = 1e9,
     .scalar = "hint_weight",
     .help = "W/2 times the mean square over batch, channels and places; the paper's sum is W = their number an image"},
    {.name = "hint-later",
     .value = "W",
     .kind = METHOD_NUMBER,
     .def = "0",
     .min = 0,
     .max = 1e9,
     .scalar = "hint_later",
     .help = "that weight in the epochs after those, beside what is then learnt"},
    {.name = "regressor",
     .value = "RULE",
     .kind = METHOD_WORD,
     .def = "sgd",
     .words = rules,
     .help = "how the map between the two is trained, at the run's rate and decay: sgd (with its momentum) or adam"},
    METHOD_EPSILON(NULL, "after the hint: (1-E) of cross entropy, E of what the teacher says"),
    {.name = "epsilon-decay",
     .value = "D",
     .kind = METHOD_NUMBER,
     .def = "0",
     .min = 0,
     .max = 1,
     .scalar = "epsilon_decay",
     .help = "E falls, epoch by epoch, to (1-D) E in the last"},
    METHOD_TEMPERATURE("1", NULL, METHOD_BOTH_SIDES),
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

// The map is updated after every batch.
static bool by_rows(const struct method *m, const struct method_values *v) {
    (void)m;
    (void)v;
    return false;
}

static const struct method_begin begins[] = {{"state.regressor.weight", METHOD_KAIMING, 1}, {NULL, METHOD_VALUE, 0}};

const struct method_family method_hints = {.name = "hints",
                                           .doc = "networks that learn from the inside of a teacher",
                                           .params = params,
                                           .by_rows = by_rows,
                                           .teacher = method_always,
                                           .taps = true,
                                           .inside = "an output inside the teacher (smkdc compile --tap VALUE=hint) "
                                                     "and one inside each network (--tap VALUE=guided)",
                                           .begins = begins};
