// Clusterability-free covariance-assisted learning, CAL (methods.md 6.21): labels that depend on the image are met by
// the covariance of label and loss within each class, by labels distilled half way.
#include "families.h"

#define NUMBER(n, v, d, lo, hi, s, h)                                                                                  \
    {.name = n, .value = v, .kind = METHOD_NUMBER, .def = d, .min = lo, .max = hi, .scalar = s, .help = h}

static const struct method_param params[] = {
    NUMBER("cal-alpha", "A", "2", 0, 1e6, "cal_alpha", "weight of the regulariser at its end"),
    NUMBER("cal-warmup", "E", "10", 0, 1e9, "cal_warmup", "epochs without it"),
    NUMBER("cal-ramp", "E", "30", 1, 1e9, "cal_ramp", "epochs over which it grows then"),
    NUMBER("cal-start", "E", "65", 1, 1e9, "cal_start", "epochs after which labels are distilled"),
    NUMBER("cal-threshold", "T", "-8", -1e6, 1e6, "cal_threshold",
           "a label is kept whose loss is this much above the mean loss of all classes, or less"),
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

static const struct method_begin begins[] = {{"state.prior", METHOD_SHARES, 0}, {NULL, METHOD_VALUE, 0}};

static bool survey(const struct method *m, const struct method_values *v, const struct method_moment *at) {
    return at->epoch == (int64_t)method_number(m, v, "cal-start") + 1;
}

const struct method_family method_cal = {.name = "cal",
                                         .doc = "classifiers that reckon with labels that depend on the image",
                                         .params = params,
                                         .by_rows = method_never, // covariances are a batch's
                                         .survey = survey,
                                         .begins = begins};
