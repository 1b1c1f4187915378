// The families, a file each: their parameters and what is said about them. losses/ has a builder for each.
#ifndef SMKD_METHODS_FAMILIES_H
#define SMKD_METHODS_FAMILIES_H

#include "methods.h"

extern const struct method_family method_mutual;     // mutual.c
extern const struct method_family method_targets;    // targets.c
extern const struct method_family method_regression; // regression.c

#endif
