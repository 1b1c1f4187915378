// Which parameters are updated how: patterns of names, and what torchvision's flags mean by biases and normalisations.
#include "optimizer.h"

#include <cjson/cJSON.h>
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool matches(const char *glob, const char *name) { return !strcmp(glob, name) || !fnmatch(glob, name, 0); }

// --- "GLOB:lr=0.1,wd=0;GLOB:..." and "GLOB;!GLOB"
// ---------------------------------------------------------------------

struct pattern {
    char *glob;
    double lr, weight_decay; // NAN: not said
    size_t found;
};
struct patterns {
    struct pattern *p;
    size_t n;
};

static void release(struct patterns *all) {
    for (size_t i = 0; i < all->n; i++) free(all->p[i].glob);
    free(all->p);
    *all = (struct patterns){0};
}

static bool set(struct pattern *p, char *item) {
    char *value = strchr(item, '=');
    double v;
    if (!value) return false;
    *value++ = 0;
    double *at = strcmp(item, "lr") == 0 ? &p->lr : strcmp(item, "wd") == 0 ? &p->weight_decay : NULL;
    if (!at || !parse_f64(value, &v) || !(v >= 0 && v <= 1e6)) return false;
    *at = v;
    return true;
}

static enum smkd_result parse(const char *text, const char *flag, bool values, struct patterns *all) {
    char *copy = xstrdup(text ? text : ""), *rest = NULL;
    enum smkd_result e = SMKD_R_OK;
    all->p = xcalloc(strlen(copy) + 1, sizeof *all->p);
    for (char *item = strtok_r(copy, ";", &rest); item && e == SMKD_R_OK; item = strtok_r(NULL, ";", &rest)) {
        struct pattern *p = &all->p[all->n];
        char *colon = values ? strrchr(item, ':') : NULL, *inner = NULL; // names of TensorFlow have colons, too
        if (values && colon) *colon++ = 0;
        *p = (struct pattern){.glob = xstrdup(item), .lr = NAN, .weight_decay = NAN};
        all->n++;
        bool ok = *item && (!values || colon);
        for (char *v = ok && colon ? strtok_r(colon, ",", &inner) : NULL; v && ok; v = strtok_r(NULL, ",", &inner))
            ok = set(p, v);
        if (values && ok) ok = !isnan(p->lr) || !isnan(p->weight_decay);
        if (!ok)
            e = rt_fail(SMKD_R_INVALID, "--%s %s: expected %s", flag, text,
                        values ? "GLOB:lr=X,wd=X, several with ; between them" : "GLOB, several with ; between them");
    }
    free(copy);
    return e;
}

static enum smkd_result all_found(const struct patterns *all, const char *flag, const char *path) {
    for (size_t i = 0; i < all->n; i++)
        if (!all->p[i].found)
            return rt_fail(SMKD_R_MISMATCH,
                           "--%s %s: %s has no trained parameter of such a name; smkdc inspect --tensors lists them",
                           flag, all->p[i].glob, path);
    return SMKD_R_OK;
}

// --- biases and normalisations
// -----------------------------------------------------------------------------------------

static bool is_bias(const char *name) {
    const char *dot = strrchr(name, '.');
    return strcmp(dot ? dot + 1 : name, "bias") == 0;
}

static bool is_norm(const cJSON *names, const struct smkd_abi_tensor *t) {
    if (!names) return t->rank == 1;
    const cJSON *n;
    cJSON_ArrayForEach(n, names) if (strcmp(cJSON_GetStringValue(n) ? n->valuestring : "", t->name) == 0) return true;
    return false;
}

static double decay_of(const struct rt_config *c, const cJSON *norms, const struct smkd_abi_tensor *t) {
    if (!isnan(c->bias_weight_decay) && is_bias(t->name)) return c->bias_weight_decay;
    if (!isnan(c->norm_weight_decay) && is_norm(norms, t)) return c->norm_weight_decay;
    return c->weight_decay;
}

// --- both
// --------------------------------------------------------------------------------------------------------------

static void group(struct patterns *groups, const char *name, struct rt_param_rule *rule) {
    bool first = true;
    for (size_t i = 0; i < groups->n; i++) {
        struct pattern *p = &groups->p[i];
        if (!matches(p->glob, name)) continue;
        p->found++;
        if (first && !isnan(p->lr)) rule->lr = p->lr;
        if (first && !isnan(p->weight_decay)) rule->weight_decay = p->weight_decay;
        first = false;
    }
}

// The last pattern that matches says; '!' in front of it takes out again.
static void freeze(struct patterns *frozen, const char *name, struct rt_param_rule *rule) {
    for (size_t i = 0; i < frozen->n; i++) {
        struct pattern *p = &frozen->p[i];
        const bool out = *p->glob == '!';
        if (!matches(p->glob + out, name)) continue;
        p->found++;
        rule->frozen = !out;
    }
}

enum smkd_result rt_param_rules(const struct rt_config *c, const smkd_model *m, const char *path,
                                struct rt_param_rule **rules, bool *guessed) {
    struct patterns groups = {0}, frozen = {0};
    const char *notes = smkd_model_info(m)->notes;
    cJSON *json = notes ? cJSON_Parse(notes) : NULL;
    const cJSON *norms = cJSON_GetObjectItemCaseSensitive(json, SMKD_NOTE_NORM_PARAMETERS);
    const struct smkd_abi_tensor *t;
    size_t n = 0, left = 0;
    while (smkd_model_nth(m, SMKD_ABI_PARAM, n)) n++;
    *rules = xcalloc(n + 1, sizeof **rules);
    *guessed = !norms && !isnan(c->norm_weight_decay);
    enum smkd_result e = parse(c->param_group, "param-group", true, &groups);
    if (e == SMKD_R_OK) e = parse(c->freeze, "freeze", false, &frozen);
    for (size_t i = 0; e == SMKD_R_OK && (t = smkd_model_nth(m, SMKD_ABI_PARAM, i)); i++) {
        struct rt_param_rule *rule = &(*rules)[i];
        *rule = (struct rt_param_rule){.lr = c->lr, .weight_decay = decay_of(c, norms, t)};
        group(&groups, t->name, rule);
        freeze(&frozen, t->name, rule);
        left += !rule->frozen;
    }
    if (e == SMKD_R_OK) e = all_found(&groups, "param-group", path);
    if (e == SMKD_R_OK) e = all_found(&frozen, "freeze", path);
    if (e == SMKD_R_OK && n && !left)
        e = rt_fail(SMKD_R_INVALID, "--freeze %s: leaves nothing of %s to be trained", c->freeze, path);
    release(&groups);
    release(&frozen);
    cJSON_Delete(json);
    return e;
}
