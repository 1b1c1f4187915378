// Networks that learn from labels and from predictions: of each other, of a frozen teacher, of a teacher that nobody
// trained, of an ensemble (methods.md 3). What is distilled is the prediction as it is; mutual.c distils targets.
#include "families.h"

#include <string.h>

static const char *const sources[] = {"peer", "teacher", "former", "virtual", "ensemble", "partner", NULL};
static const char *const combined[] = {"mean", "sum", NULL};
static const char *const balances[] = {"split", "added", NULL};
static const char *const forms[] = {"logits", "probabilities", NULL};
static const char *const starts[] = {"same", "untrained", "new", NULL};
static const char *const ensembles[] = {"min-logit", "naive", "linear", "general", NULL};

static const struct method_param params[] = {
    {.name = "from", .kind = METHOD_WORD, .def = "peer", .words = sources},
    {.name = "several", .kind = METHOD_WORD, .def = "mean", .words = combined, .only = "from=peer"},
    {.name = "balance", .kind = METHOD_WORD, .def = "split", .words = balances},
    METHOD_EPSILON("balance=split", "(1-E) of cross entropy, E of what is distilled"),
    METHOD_DISTILL_WEIGHT("balance=added", "cross entropy + W times what is distilled"),
    METHOD_TEMPERATURE("1", NULL, METHOD_BOTH_SIDES "; a virtual teacher's alone"),
    {.name = "rounds",
     .value = "N",
     .kind = METHOD_NUMBER,
     .def = "2",
     .min = 2,
     .max = 1000,
     .scalar = "rounds",
     .only = "from=former",
     .help = "how often it trains for --epochs"},
    {.name = "round-start",
     .value = "HOW",
     .kind = METHOD_WORD,
     .def = "same",
     .words = starts,
     .only = "from=former",
     .of_run = true,
     .help = "a network's numbers at the start of a later round: the same again, new ones (those of each tensor in "
             "another order), or new where the network came untrained"},
    {.name = "kdcl-mode",
     .value = "M",
     .kind = METHOD_WORD,
     .def = "min-logit",
     .words = ensembles,
     .only = "from=ensemble",
     .help = "the ensemble: min-logit, naive (the best network of each row), linear (the best mixture of each, two "
             "networks) or general (the best mixture on the validation images)"},
    METHOD_VIEWS("from=ensemble", "each network"),
    {.name = "teacher-as",
     .value = "F",
     .kind = METHOD_WORD,
     .def = "logits",
     .words = forms,
     .only = "from=virtual",
     .help = "the virtual teacher's numbers are softmaxed as logits (its code), or are probabilities (its paper)"},
    {.name = "teacher-prob",
     .value = "P",
     .kind = METHOD_NUMBER,
     .def = "0.99",
     .min = 0,
     .max = 0.999999,
     .scalar = "teacher_prob",
     .only = "from=virtual",
     .help = "what the virtual teacher gives the label; the others share the rest"},
    {.name = "mult",
     .value = "M",
     .kind = METHOD_NUMBER,
     .def = "100",
     .min = 0,
     .max = 1e6,
     .scalar = "mult",
     .only = "from=virtual",
     .help = "factor of the virtual teacher's divergence, which is a mean over rows and classes"},
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

static bool teacher(const struct method *m, const struct method_values *v) {
    return strcmp(method_word(m, v, "from"), "teacher") == 0;
}

// Whether the networks learn from an ensemble of this kind.
static bool makes(const struct method *m, const struct method_values *v, const char *ensemble) {
    return strcmp(method_word(m, v, "from"), "ensemble") == 0 && strcmp(method_word(m, v, "kdcl-mode"), ensemble) == 0;
}

static bool held_out(const struct method *m, const struct method_values *v) { return makes(m, v, "general"); }

static const char *refuse(const struct method *m, const struct method_values *v, int peers) {
    if (makes(m, v, "linear") && peers && peers != 2)
        return "--kdcl-mode linear: mixes two networks; take min-logit, naive or general for more";
    return NULL;
}

// An ensemble's networks each see a view of their own. A partner is asked what the network says of it.
static void views(const struct method *m, const struct method_values *v, int peers, struct method_views *out) {
    if (strcmp(method_word(m, v, "from"), "partner") == 0)
        *out = (struct method_views){.count = 2, .view = {[1] = {METHOD_PARTNER}}, .feed = 1};
    if (strcmp(method_word(m, v, "from"), "ensemble") != 0 || !method_own_views(m, v)) return;
    out->count = peers;
    for (int k = 0; k < peers; k++) out->peer[k] = k;
}

// Nothing is known of networks that begin: their first ensemble is the mean.
static bool survey(const struct method *m, const struct method_values *v, const struct method_moment *at) {
    return held_out(m, v) && at->epoch > 1;
}

const struct method_family method_distill = {.name = "distill",
                                             .doc = "classifiers that learn from labels and from predictions",
                                             .params = params,
                                             .refuse = refuse,
                                             .teacher = teacher,
                                             .views = views,
                                             .survey = survey,
                                             .held_out = held_out};
