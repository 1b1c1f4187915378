// Networks whose feature maps are to be taken for each other's by discriminators that are trained along (AFD), from
// what is known of the method without its paper or code: our reading (methods.md 3.5).
#include "families.h"

static const char *const rules[] = {"sgd", "adam", NULL};

static const struct method_param params[] = {
    {.name = "feature",
     .value = "NAME",
     .kind = METHOD_ANY_WORD,
     .def = "auto",
     .help = "the networks' output whose maps are compared; auto: feature, or the only one beside the logits"},
    METHOD_DISTILL_WEIGHT(NULL, "cross entropy + W times what is distilled"),
    METHOD_TEMPERATURE("3", NULL, METHOD_BOTH_SIDES),
    {.name = "adversarial-weight",
     .value = "W",
     .kind = METHOD_NUMBER,
     .def = "0.1",
     .min = 0,
     .max = 1e6,
     .scalar = "adversarial_weight",
     .help = "weight of the squared distance to what the discriminator says of the other's maps"},
    {.name = "transfer",
     .value = "RULE",
     .kind = METHOD_WORD,
     .def = "sgd",
     .words = rules,
     .help = "how the map to the other's channels is trained, at the run's rate and decay: sgd (with its momentum) or "
             "adam"},
    {.name = "discriminator-lr",
     .value = "X",
     .kind = METHOD_NUMBER,
     .def = "1e-4",
     .min = 0,
     .max = 1e6,
     .scalar = "discriminator_lr",
     .help = "rate of the discriminators' Adam"},
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

static const struct method_begin begins[] = {{"state.transfer.weight", METHOD_KAIMING, 1},
                                             {"state.discriminator.conv.weight", METHOD_KAIMING, METHOD_HE},
                                             {"state.discriminator.fc.weight", METHOD_KAIMING, 1},
                                             {NULL, METHOD_VALUE, 0}};

// Maps and discriminators are updated after every batch.
const struct method_family method_adversarial = {.name = "adversarial",
                                                 .doc = "networks whose feature maps are to pass for each other's",
                                                 .params = params,
                                                 .by_rows = method_never,
                                                 .taps = true,
                                                 .inside = "a feature map inside each network, of one height and width "
                                                           "(smkdc compile --tap VALUE=feature)",
                                                 .begins = begins};
