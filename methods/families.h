// The families, a file each: their parameters and what is said about them. losses/ has a builder for each.
#ifndef SMKD_METHODS_FAMILIES_H
#define SMKD_METHODS_FAMILIES_H

#include "methods.h"

extern const struct method_family method_heads;       // heads.c
extern const struct method_family method_hints;       // hints.c
extern const struct method_family method_mutual;      // mutual.c
extern const struct method_family method_distill;     // distill.c
extern const struct method_family method_robust;      // robust.c
extern const struct method_family method_sieve;       // sieve.c
extern const struct method_family method_targets;     // targets.c
extern const struct method_family method_small_loss;  // small_loss.c
extern const struct method_family method_transition;  // transition.c
extern const struct method_family method_edited;      // edited.c
extern const struct method_family method_mixture;     // mixture.c
extern const struct method_family method_joint;       // joint.c
extern const struct method_family method_cal;         // cal.c
extern const struct method_family method_dmi;         // dmi.c
extern const struct method_family method_blind;       // blind.c
extern const struct method_family method_branches;    // branches.c
extern const struct method_family method_fusion;      // fusion.c
extern const struct method_family method_adversarial; // adversarial.c
extern const struct method_family method_semi;        // semi.c
extern const struct method_family method_regression;  // regression.c

// Answers of a family that are the same for all its methods.
bool method_always(const struct method *m, const struct method_values *v);
bool method_never(const struct method *m, const struct method_values *v);

// Of METHOD_KAIMING, for layers in front of a relu: the root of 6.
#define METHOD_HE 2.449489742783178

// A parameter of every family that learns classes: loss_targets of losses/ looks at it.
// clang-format off
#define METHOD_LABEL_SMOOTHING                                                                                         \
    {.name = "label-smoothing", .value = "A", .kind = METHOD_NUMBER, .def = "0", .min = 0, .max = 1,                   \
     .scalar = "label_smoothing", .optional = true, .help = "labels become (1-A) one-hot + A/classes"}

// Which views of an image the networks of a step see, where several may be made; and whether it says own.
#define METHOD_VIEWS(where, what)                                                                                      \
    {.name = "views", .value = "V", .kind = METHOD_WORD, .def = "own", .words = method_view_words, .only = where,      \
     .of_run = true, .help = "own: " what " sees an image augmented for itself; same: all see one view"}
// Numbers that several families have, alike but for where they matter and what is said of them.
#define METHOD_TEMPERATURE(by_default, where, what)                                                                    \
    {.name = "temperature", .value = "T", .kind = METHOD_NUMBER, .def = by_default, .min = 1e-3, .max = 1e6,           \
     .scalar = "temperature", .only = where, .help = what}
#define METHOD_BOTH_SIDES "logits are divided by T on both sides, and the divergence multiplied by T^2"
#define METHOD_DISTILL_WEIGHT(where, what)                                                                             \
    {.name = "distill-weight", .value = "W", .kind = METHOD_NUMBER, .def = "1", .min = 0, .max = 1e6,                  \
     .scalar = "distill_weight", .only = where, .help = what}
#define METHOD_EPSILON(where, what)                                                                                    \
    {.name = "epsilon", .value = "E", .kind = METHOD_NUMBER, .def = "0.5", .min = 0, .max = 1, .scalar = "epsilon",    \
     .only = where, .help = what}
#define METHOD_RAMP(where)                                                                                             \
    {.name = "ramp", .value = "E", .kind = METHOD_NUMBER, .def = "80", .min = 1, .max = 1e9, .scalar = "ramp",         \
     .only = where, .help = "epochs over which that weight grows: exp(-5 (1 - epoch/E)^2)"}
// clang-format on
extern const char *const method_view_words[];
extern const char *const method_strong_words[]; // some of --auto-augment's
bool method_own_views(const struct method *m, const struct method_values *v);

#endif
