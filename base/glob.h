// Patterns of names (`*`, `?`, `[...]`, across dots and slashes alike), as flags give them for parameters.
#ifndef SMKD_BASE_GLOB_H
#define SMKD_BASE_GLOB_H

#include "str.h"

// Whether a name is meant: it matches the pattern, or is that text itself (names may hold brackets and stars).
bool glob_matches(const char *glob, const char *name);
// Of several patterns, of which some take names out again ("!head.*"), the last that matches decides.
bool glob_chosen(const char *const *globs, size_t n, const char *name);
// For a message about a pattern that matches nothing: the names, three at most, that share the longest stretch of text
// with it: "c.weight", "c.bias". Adds nothing where there are no names.
void glob_near(struct str *out, const char *glob, const char *const *names, size_t n);

#endif
