// Networks that know, or find out, how labels get wrong: T[i,j] is the probability that an image of class i has the
// label j (methods.md 6.6, 6.7, 6.15).
#include "families.h"

#include <string.h>

static const char *const uses[] = {"forward", "revision", NULL};
static const char *const estimators[] = {"anchors", "dual-t", "given", NULL};

static const struct method_param params[] = {
    {.name = "use", .kind = METHOD_WORD, .def = "forward", .words = uses},
    {.name = "estimator",
     .value = "E",
     .kind = METHOD_WORD,
     .def = "anchors",
     .words = estimators,
     .help =
         "where T comes from: a network trained before, by its surest images (anchors) or these and how it counts the "
         "labels (dual-t), or --state transition=FILE.npy (given)"},
    {.name = "estimate-epochs",
     .value = "E",
     .kind = METHOD_NUMBER,
     .def = "0",
     .min = 0,
     .max = 1e6,
     .scalar = "estimate_epochs",
     .only = "estimator=anchors|dual-t",
     .help = "epochs of cross entropy before T is estimated (0: as many as --epochs)"},
    {.name = "anchor-percentile",
     .value = "P",
     .kind = METHOD_NUMBER,
     .def = "97|100",
     .min = 0,
     .max = 100,
     .scalar = "anchor_percentile",
     .only = "estimator=anchors|dual-t",
     .help = "an anchor of a class is the image with the largest probability below this percentile (100: the largest)"},
    {.name = "revise-epochs",
     .value = "E",
     .kind = METHOD_NUMBER,
     .def = "0",
     .min = 0,
     .max = 1e6,
     .scalar = "revise_epochs",
     .only = "use=revision",
     .help = "epochs in which T is learnt, too (0: as many as --epochs)"},
    {.name = "revise-lr",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "5e-7",
     .min = 1e-12,
     .max = 1e6,
     .scalar = "revise_lr",
     .only = "use=revision",
     .help = "learning rate of T, by Adam, and of the networks in these epochs"},
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

static const struct method_stage stages[] = {
    {.name = "estimate", .epochs = "estimate-epochs", .only = "estimator=anchors|dual-t"},
    {.name = "train", .anew = true, .only = "use=forward"},
    {.name = "train", .only = "use=revision"},
    {.name = "revise", .epochs = "revise-epochs", .rate = "revise-lr", .only = "use=revision"},
    {.name = NULL},
};

static const struct method_begin begins[] = {{"state.transition", METHOD_IDENTITY, 0}, {NULL, METHOD_VALUE, 0}};

const struct method_family method_transition = {.name = "transition",
                                                .doc = "classifiers that know how labels get wrong",
                                                .params = params,
                                                .stages = stages,
                                                .hook = "transition",
                                                .begins = begins};
