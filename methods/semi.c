// Networks that learn from images whose labels are believed, and from the others as images without labels (methods.md
// 6.16, 6.20).
#include "families.h"

#include <string.h>

static const char *const splits[] = {"gmm", "given", "agreement", NULL};
static const char *const others[] = {"guessed", "left-out", NULL};
static const char *const yes_no[] = {"yes", "no", NULL};
static const char *const guessers[] = {"all", "own", NULL};
static const char *const histories[] = {"last", "five", NULL};

static const struct method_param params[] = {
    {.name = "split", .kind = METHOD_WORD, .def = "gmm", .words = splits},
    {.name = "others", .kind = METHOD_WORD, .def = "guessed", .words = others},
    {.name = "early-epochs",
     .value = "E",
     .kind = METHOD_NUMBER,
     .def = "20|35",
     .min = 1,
     .max = 1e9,
     .scalar = "early_epochs",
     .only = "split=agreement",
     .help = "epochs of cross entropy of all labels, before the network has memorised them"},
    {.name = "early-lr",
     .value = "LR",
     .kind = METHOD_NUMBER,
     .def = "0",
     .min = 0,
     .max = 1e6,
     .scalar = "early_lr",
     .only = "split=agreement",
     .help = "learning rate of those; 0: --lr and its schedule"},
    {.name = "late-part",
     .value = "GLOB",
     .kind = METHOD_ANY_WORD,
     .def = "last-stage",
     .only = "split=agreement,others=left-out",
     .of_run = true,
     .help = "the part that begins anew then, by names of parameters (several with ; between them); last-stage: the "
             "last layer and the block before it"},
    {.name = "late-epochs",
     .value = "E",
     .kind = METHOD_NUMBER,
     .def = "7",
     .min = 1,
     .max = 1e9,
     .scalar = "late_epochs",
     .only = "split=agreement,others=left-out",
     .help = "epochs in which it is trained alone"},
    {.name = "last-part",
     .value = "GLOB",
     .kind = METHOD_ANY_WORD,
     .def = "last-layer",
     .only = "split=agreement",
     .of_run = true,
     .help = "the part that begins anew after that; last-layer: all parameters of the layer that comes last"},
    {.name = "last-epochs",
     .value = "E",
     .kind = METHOD_NUMBER,
     .def = "5",
     .min = 1,
     .max = 1e9,
     .scalar = "last_epochs",
     .only = "split=agreement",
     .help = "epochs in which it is trained alone"},
    {.name = "refine-lr",
     .value = "LR",
     .kind = METHOD_NUMBER,
     .def = "0.01",
     .min = 0,
     .max = 1e6,
     .scalar = "refine_lr",
     .only = "split=agreement",
     .help = "learning rate of parts; 0: --lr and its schedule"},
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
     .only = "others=guessed",
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
     .only = "split=gmm|given",
     .help = "epochs of cross entropy before the first split"},
    {.name = "warmup-penalty",
     .value = "W",
     .kind = METHOD_NUMBER,
     .def = "0",
     .min = 0,
     .max = 1e6,
     .scalar = "warmup_penalty",
     .only = "split=gmm|given",
     .help = "in those, weight of minus the predictions' entropy (1 for asymmetric noise)"},
    {.name = "lambda-u",
     .value = "W",
     .kind = METHOD_NUMBER,
     .def = "25",
     .min = 0,
     .max = 1e6,
     .scalar = "lambda_u",
     .only = "others=guessed",
     .help = "weight of what is learnt from images whose labels are not believed"},
    {.name = "unlabelled-ramp",
     .value = "E",
     .kind = METHOD_NUMBER,
     .def = "16",
     .min = 0,
     .max = 1e9,
     .scalar = "unlabelled_ramp",
     .only = "others=guessed",
     .help = "epochs after the warm-up over which that weight grows from 0"},
    {.name = "sharpen",
     .value = "T",
     .kind = METHOD_NUMBER,
     .def = "0.5",
     .min = 1e-3,
     .max = 1e3,
     .scalar = "sharpen",
     .only = "others=guessed",
     .help = "targets become p^(1/T), normalised"},
    {.name = "mix-alpha",
     .value = "A",
     .kind = METHOD_NUMBER,
     .def = "4",
     .min = 0,
     .max = 1e6,
     .of_run = true,
     .only = "others=guessed",
     .help = "images are mixed with others by shares of Beta(A, A); 0: not at all"},
    {.name = "mix-later",
     .value = "A",
     .kind = METHOD_NUMBER,
     .def = "0.75",
     .min = 0,
     .max = 1e6,
     .only = "split=agreement,others=guessed",
     .of_run = true,
     .help = "the same in the second half of the epochs"},
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

static bool is(const struct method *m, const struct method_values *v, const char *param, const char *word) {
    return strcmp(method_word(m, v, param), word) == 0;
}

// PES: all labels, then parts anew, which lack what the others have memorised; then the labels that the network agrees
// with.
#define WHERE "split=agreement"
static const struct method_stage stages[] = {
    {.name = "early", .epochs = "early-epochs", .rate = "early-lr", .only = WHERE},
    {.name = "late part",
     .epochs = "late-epochs",
     .rate = "refine-lr",
     .part = "late-part",
     .only = WHERE ",others=left-out"},
    {.name = "last part", .epochs = "last-epochs", .rate = "refine-lr", .part = "last-part", .only = WHERE},
    {.name = "train"},
    {.name = NULL},
};

static bool warms_up(const struct method *m, const struct method_values *v, const struct method_moment *at) {
    if (is(m, v, "split", "agreement")) return strcmp(at->stage->name, "train") != 0;
    return at->epoch <= (int64_t)method_number(m, v, "semi-warmup");
}

static void views(const struct method *m, const struct method_values *v, int peers, struct method_views *out) {
    (void)peers;
    if (is(m, v, "others", "guessed"))
        *out = (struct method_views){.count = 4,
                                     .view = {[2] = {METHOD_MORE, false}, [3] = {METHOD_MORE, false}},
                                     .stacked = true,
                                     .feed = METHOD_ALL_VIEWS,
                                     .mixes = true};
}

// DivideMix trains one network after the other, each by what the other believes.
static void pass(const struct method *m, const struct method_values *v, const struct method_moment *at,
                 struct method_pass *out) {
    out->narrow = warms_up(m, v, at);
    if (out->narrow) return;
    out->rows = "table.keep";
    out->each = !is(m, v, "split", "given");
    out->of_other = is(m, v, "split", "gmm");
    if (!is(m, v, "others", "guessed")) return;
    const bool later = is(m, v, "split", "agreement") && at->epoch > at->epochs / 2;
    out->mix = method_number(m, v, later ? "mix-later" : "mix-alpha");
}

static bool survey(const struct method *m, const struct method_values *v, const struct method_moment *at) {
    return !is(m, v, "split", "given") && !warms_up(m, v, at);
}

static bool predicts(const struct method *m, const struct method_values *v) { return is(m, v, "split", "gmm"); }

static const struct method_begin begins[] = {{"table.clean", METHOD_VALUE, 1}, {NULL, METHOD_VALUE, 0}};

const struct method_family method_semi = {
    .name = "semi",
    .doc = "classifiers for which images are without labels where these are not believed",
    .params = params,
    .by_rows = method_never,
    .stages = stages,
    .views = views,
    .pass = pass,
    .survey = survey,
    .predicts = predicts,
    .hook = "split",
    .begins = begins};
