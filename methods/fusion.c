// Networks with a classifier of all their feature maps (FFL): they learn from it, and it from them (methods.md 3.5).
#include "families.h"

static const char *const rules[] = {"sgd", "adam", NULL};

static const struct method_param params[] = {
    {.name = "feature",
     .value = "NAME",
     .kind = METHOD_ANY_WORD,
     .def = "auto",
     .help = "the networks' output whose maps are fused; auto: feature, or the only one beside the logits"},
    METHOD_DISTILL_WEIGHT(NULL, "cross entropies + W times what is distilled, after its ramp"),
    METHOD_RAMP(NULL),
    METHOD_TEMPERATURE("3", NULL, METHOD_BOTH_SIDES),
    {.name = "fusion",
     .value = "RULE",
     .kind = METHOD_WORD,
     .def = "sgd",
     .words = rules,
     .help = "how the fused classifier is trained, at the run's rate: sgd (with its momentum) or adam"},
    {.name = "fusion-decay",
     .value = "D",
     .kind = METHOD_NUMBER,
     .def = "1e-5",
     .min = 0,
     .max = 1e6,
     .scalar = "fusion_decay",
     .help = "its own weight decay"},
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

static const struct method_begin begins[] = {{"state.fusion.depth.weight", METHOD_KAIMING, METHOD_HE},
                                             {"state.fusion.depth.scale", METHOD_VALUE, 1},
                                             {"state.fusion.depth.running_var", METHOD_VALUE, 1},
                                             {"state.fusion.point.weight", METHOD_KAIMING, METHOD_HE},
                                             {"state.fusion.point.scale", METHOD_VALUE, 1},
                                             {"state.fusion.point.running_var", METHOD_VALUE, 1},
                                             {"state.fusion.fc.weight", METHOD_KAIMING, 1},
                                             {NULL, METHOD_VALUE, 0}};

// The fused classifier is updated after every batch.
const struct method_family method_fusion = {.name = "fusion",
                                            .doc = "networks with a classifier of the feature maps of all",
                                            .params = params,
                                            .by_rows = method_never,
                                            .taps = true,
                                            .inside = "a feature map inside each network, of one height and width "
                                                      "(smkdc compile --tap VALUE=feature)",
                                            .predicts = method_always,
                                            .begins = begins};
