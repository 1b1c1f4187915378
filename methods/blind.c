// Blind knowledge distillation: a teacher learns the given labels, a student what the teacher says of all other
// classes, and where the student begins to lose what it knew the labels are judged by both (methods.md 5).
#include "families.h"

#include <string.h>

static const char *const denominators[] = {"code", "paper", NULL};

#define ALPHA(flag, of, text, which)                                                                                   \
    {.name = (flag),                                                                                                   \
     .value = "A",                                                                                                     \
     .kind = METHOD_NUMBER,                                                                                            \
     .def = (text),                                                                                                    \
     .min = 0,                                                                                                         \
     .max = 1,                                                                                                         \
     .scalar = (of),                                                                                                   \
     .help = "the student's share in the targets of images " which}

static const struct method_param params[] = {
    {.name = "detach-teacher",
     .kind = METHOD_FLAG,
     .help = "the student's loss does not move the teacher (the paper; not its code)"},
    {.name = "student-denom",
     .value = "D",
     .kind = METHOD_WORD,
     .def = "code",
     .words = denominators,
     .help = "the student's squares are divided by N C - 1 (code) or N (C - 1) (paper)"},
    {.name = "detach-robust-target",
     .kind = METHOD_FLAG,
     .help = "the refined labels are constants: no gradient into the student through them"},
    {.name = "otsu",
     .value = "D",
     .kind = METHOD_WORD,
     .def = "code",
     .words = denominators,
     .help = "labels are split by variances (paper) or by deviations over 1,000 bins (code)"},
    ALPHA("blind-alpha1", "blind_alpha1", "0.3", "above the upper threshold, mu2"),
    ALPHA("blind-alpha2", "blind_alpha2", "0.45", "between s and mu2"),
    ALPHA("blind-alpha3", "blind_alpha3", "0.55", "between mu1 and s"),
    ALPHA("blind-alpha4", "blind_alpha4", "0.7", "below the lower threshold, mu1: labels taken for wrong"),
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

// The code's denominator is of the whole batch.
static bool by_rows(const struct method *m, const struct method_values *v) {
    return strcmp(method_word(m, v, "student-denom"), "paper") == 0;
}

const struct method_family method_blind = {.name = "blind",
                                           .doc = "a teacher, and a student that never sees a label",
                                           .params = params,
                                           .by_rows = by_rows,
                                           .predicts = method_always,
                                           .hook = "tipping"};
