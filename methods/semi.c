// Networks that learn from images whose labels are believed, and from the others as images without labels (methods.md
// 6.16, 6.20).
#include "families.h"

#include <string.h>

static const char *const splits[] = {"gmm", "given", NULL};
static const char *const yes_no[] = {"yes", "no", NULL};
static const char *const guessers[] = {"all", "own", NULL};
static const char *const histories[] = {"last", "five", NULL};

static const struct method_param params[] = {
    {.name = "split", .kind = METHOD_WORD, .def = "gmm", .words = splits},
    {.name = "trusted",
     .value = "FILE",
     .kind = METHOD_ANY_WORD,
     .def = "none",
     .only = "split=given",
     .of_run = true,
     .help = "which labels are believed: 1 or 0 for each image, .npy or text (detect-noise --apply drop writes one)"},
    {.name = "refine-labels",
     .value = "YES",
     .kind = METHOD_WORD,
     .def = "yes",
     .words = yes_no,
     .only = "split=gmm",
     .help =
         "yes: a believed label is blended with the network's own prediction by its probability; no: taken as it is"},
    {.name = "guess-by",
     .value = "WHO",
     .kind = METHOD_WORD,
     .def = "all",
     .words = guessers,
     .help = "whose predictions are the others' targets: all networks' together, or each one's own"},
    {.name = "p-threshold",
     .value = "P",
     .kind = METHOD_NUMBER,
     .def = "0.5",
     .min = 0,
     .max = 1,
     .only = "split=gmm",
     .of_run = true,
     .help = "a label is believed where its probability of being right is above P"},
    {.name = "loss-history",
     .value = "N",
     .kind = METHOD_WORD,
     .def = "last",
     .words = histories,
     .only = "split=gmm",
     .help =
         "what the mixture is fitted to: the losses before this epoch, or their mean over the last five (90 % noise)"},
    {.name = "semi-warmup",
     .value = "E",
     .kind = METHOD_NUMBER,
     .def = "10|30",
     .min = 0,
     .max = 1e9,
     .scalar = "semi_warmup",
     .help = "epochs of cross entropy before the first split"},
    {.name = "warmup-penalty",
     .value = "W",
     .kind = METHOD_NUMBER,
     .def = "0",
     .min = 0,
     .max = 1e6,
     .scalar = "warmup_penalty",
     .help = "in those, weight of minus the predictions' entropy (1 for asymmetric noise)"},
    {.name = "lambda-u",
     .value = "W",
     .kind = METHOD_NUMBER,
     .def = "25",
     .min = 0,
     .max = 1e6,
     .scalar = "lambda_u",
     .help = "weight of what is learnt from images whose labels are not believed"},
    {.name = "unlabelled-ramp",
     .value = "E",
     .kind = METHOD_NUMBER,
     .def = "16",
     .min = 0,
     .max = 1e9,
     .scalar = "unlabelled_ramp",
     .help = "epochs after the warm-up over which that weight grows from 0"},
    {.name = "sharpen",
     .value = "T",
     .kind = METHOD_NUMBER,
     .def = "0.5",
     .min = 1e-3,
     .max = 1e3,
     .scalar = "sharpen",
     .help = "targets become p^(1/T), normalised"},
    {.name = "mix-alpha",
     .value = "A",
     .kind = METHOD_NUMBER,
     .def = "4",
     .min = 0,
     .max = 1e6,
     .of_run = true,
     .help = "images are mixed with others by shares of Beta(A, A); 0: not at all"},
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

static bool by_mixture(const struct method *m, const struct method_values *v) {
    return strcmp(method_word(m, v, "split"), "gmm") == 0;
}

static bool warms_up(const struct method *m, const struct method_values *v, int64_t epoch) {
    return epoch <= (int64_t)method_number(m, v, "semi-warmup");
}

static void views(const struct method *m, const struct method_values *v, int peers, struct method_views *out) {
    (void)m, (void)v, (void)peers;
    *out = (struct method_views){.count = 4,
                                 .view = {[2] = {METHOD_MORE}, [3] = {METHOD_MORE}},
                                 .stacked = true,
                                 .feed = METHOD_ALL_VIEWS,
                                 .mixes = true};
}

// One network after the other, each by what the other believes.
static void pass(const struct method *m, const struct method_values *v, int64_t epoch, struct method_pass *out) {
    if (warms_up(m, v, epoch)) {
        out->narrow = true;
        return;
    }
    out->mix = method_number(m, v, "mix-alpha");
    out->rows = "table.keep";
    out->each = out->of_other = by_mixture(m, v);
}

static bool survey(const struct method *m, const struct method_values *v, int64_t epoch) {
    return by_mixture(m, v) && !warms_up(m, v, epoch);
}

static const struct method_begin begins[] = {{"table.clean", METHOD_VALUE, 1}, {NULL, METHOD_VALUE, 0}};

const struct method_family method_semi = {
    .name = "semi",
    .doc = "classifiers for which images are without labels where these are not believed",
    .params = params,
    .by_rows = method_never,
    .views = views,
    .pass = pass,
    .survey = survey,
    .predicts = method_always,
    .hook = "split",
    .begins = begins};
