// Networks that leave rows out whose labels they do not believe, or learn from labels less what labels by chance would
// teach; each by itself (methods.md 6.2, 6.19, 6.22).
#include "families.h"

#include <string.h>

static const char *const rules[] = {"truncated", "cores", "peer", NULL};

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
    NUMBER("cores-beta", "B", "2", 0, 1e6, "cores_beta", "rule=cores", "weight of the regulariser at its end"),
    NUMBER("cores-warmup", "E", "10", 0, 1e9, "cores_warmup", "rule=cores", "epochs without it"),
    NUMBER("cores-ramp", "E", "30", 2, 1e9, "cores_ramp", "rule=cores", "epochs over which it grows then"),
    NUMBER("sieve-after", "E", "30", 0, 1e9, "sieve_after", "rule=cores", "epochs in which all rows count"),
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
static bool by_rows(const struct method *m, const struct method_values *v) { return !is(m, v, "cores"); }

static bool survey(const struct method *m, const struct method_values *v, int64_t epoch) {
    if (!is(m, v, "truncated")) return false;
    const int64_t start = (int64_t)method_number(m, v, "prune-start"),
                  every = (int64_t)method_number(m, v, "prune-every");
    return epoch >= start && epoch % every == 0;
}

const struct method_family method_sieve = {.name = "sieve",
                                           .doc = "networks that do not believe every label",
                                           .params = params,
                                           .by_rows = by_rows,
                                           .survey = survey,
                                           .begins = begins};
