// Networks that leave rows out whose labels they do not believe, or learn from labels less what labels by chance would
// teach; each by itself (methods.md 6.2, 6.19, 6.22).
#include "families.h"

#include <string.h>

static const char *const rules[] = {"truncated", "cores", "cores-star", "peer", NULL};

#define NUMBER(n, v, d, lo, hi, s, of, h)                                                                              \
    {.name = n, .value = v, .kind = METHOD_NUMBER, .def = d, .min = lo, .max = hi, .scalar = s, .only = of, .help = h}

static const struct method_param params[] = {
    {.name = "rule", .kind = METHOD_WORD, .def = "truncated", .words = rules},
    NUMBER("gce-q", "Q", "0.7", 0.01, 1, "gce_q", "rule=truncated",
           "between cross entropy (near 0) and mean absolute error (1)"),
    NUMBER("gce-k", "K", "0.5", 1e-6, 1, "gce_k", "rule=truncated",
           "rows whose label has a smaller probability are left out"),
    NUMBER("prune-start", "E", "40", 1, 1e9, "prune_start", "rule=truncated",
           "first epoch before which rows are looked at"),
    NUMBER("prune-every", "N", "10", 1, 1e9, "prune_every", "rule=truncated", "epochs between two such looks"),
    NUMBER("cores-beta", "B", "2", 0, 1e6, "cores_beta", "rule=cores|cores-star",
           "weight of the regulariser at its end"),
    NUMBER("cores-warmup", "E", "10", 0, 1e9, "cores_warmup", "rule=cores|cores-star", "epochs without it"),
    NUMBER("cores-ramp", "E", "30", 2, 1e9, "cores_ramp", "rule=cores|cores-star", "epochs over which it grows then"),
    NUMBER("sieve-after", "E", "30", 0, 1e9, "sieve_after", "rule=cores|cores-star", "epochs in which all rows count"),
    NUMBER("sieve-epochs", "E", "100", 1, 1e9, "sieve_epochs", "rule=cores-star",
           "epochs of CORES, after which the networks begin anew"),
    NUMBER("lambda-u", "W", "1", 0, 1e6, "lambda_u", "rule=cores-star",
           "weight of agreement between an image and its strong view"),
    NUMBER("uda-confidence", "P", "0.8", 0, 1, "uda_confidence", "rule=cores-star",
           "rows that are predicted with less do not count in it"),
    NUMBER("uda-temperature", "T", "0.4", 1e-3, 1e3, "uda_temperature", "rule=cores-star",
           "what the strong view learns is the prediction p^(1/T), normalised"),
    {.name = "strong-augment",
     .value = "POLICY",
     .kind = METHOD_WORD,
     .def = "ra",
     .words = method_strong_words,
     .only = "rule=cores-star",
     .of_run = true,
     .help = "what is done to the strong view beside --augment: as --auto-augment"},
    NUMBER("peer-alpha", "A", "1", 0, 1e6, "peer_alpha", "rule=peer", "weight of what labels by chance would teach"),
    METHOD_LABEL_SMOOTHING,
    {.name = NULL},
};

static const struct method_begin begins[] = {
    {"table.keep", METHOD_VALUE, 1}, {"state.prior", METHOD_SHARES, 0}, {NULL, METHOD_VALUE, 0}};

static bool is(const struct method *m, const struct method_values *v, const char *rule) {
    return strcmp(method_word(m, v, "rule"), rule) == 0;
}

// CORES divides by the rows that it keeps of a batch.
static bool by_rows(const struct method *m, const struct method_values *v) {
    return !is(m, v, "cores") && !is(m, v, "cores-star");
}

static const struct method_stage stages[] = {
    {.name = "sieve", .epochs = "sieve-epochs", .only = "rule=cores-star"},
    {.name = "consistency", .anew = true, .only = "rule=cores-star"},
    {.name = "train", .only = "rule=truncated|cores|peer"},
    {.name = NULL},
};

static void views(const struct method *m, const struct method_values *v, int peers, struct method_views *out) {
    (void)peers;
    if (is(m, v, "cores-star"))
        *out = (struct method_views){.count = 2, .view = {[1] = {METHOD_ROW, true}}, .stacked = true};
}

static void pass(const struct method *m, const struct method_values *v, const struct method_moment *at,
                 struct method_pass *out) {
    (void)m, (void)v;
    out->narrow = strcmp(at->stage->name, "consistency") != 0;
}

static bool survey(const struct method *m, const struct method_values *v, const struct method_moment *at) {
    if (!is(m, v, "truncated")) return false;
    const int64_t start = (int64_t)method_number(m, v, "prune-start"),
                  every = (int64_t)method_number(m, v, "prune-every");
    return at->epoch >= start && at->epoch % every == 0;
}

const struct method_family method_sieve = {.name = "sieve",
                                           .doc = "networks that do not believe every label",
                                           .params = params,
                                           .by_rows = by_rows,
                                           .survey = survey,
                                           .stages = stages,
                                           .views = views,
                                           .pass = pass,
                                           .begins = begins};
