// Which parameters are updated how: patterns of names, and what torchvision's flags mean by biases and normalisations.
#include "optimizer.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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

// --- biases and normalisations
// -----------------------------------------------------------------------------------------

static bool is_bias(const char *name) {
    const char *last = name; // behind PyTorch's dots or TensorFlow's slashes, in front of its ":0"
    for (const char *c = name; *c; c++)
        if (*c == '.' || *c == '/') last = c + 1;
    return strcspn(last, ":") == 4 && strncmp(last, "bias", 4) == 0;
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
        if (!glob_matches(p->glob, name)) continue;
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
        if (!glob_matches(p->glob + out, name)) continue;
        p->found++;
        rule->frozen = !out;
    }
}

struct reading {
    struct patterns groups, frozen;
};

static enum smkd_result begin(struct reading *r, const struct rt_config *c) {
    *r = (struct reading){0};
    enum smkd_result e = parse(c->param_group, "param-group", true, &r->groups);
    return e == SMKD_R_OK ? parse(c->freeze, "freeze", false, &r->frozen) : e;
}

static void end(struct reading *r) {
    release(&r->groups);
    release(&r->frozen);
}

static struct rt_param_rule *rules_of(struct reading *r, const struct rt_config *c, const smkd_model *m,
                                      bool *guessed) {
    const char *notes = smkd_model_info(m)->notes;
    cJSON *json = notes ? cJSON_Parse(notes) : NULL;
    const cJSON *norms = cJSON_GetObjectItemCaseSensitive(json, SMKD_NOTE_NORM_PARAMETERS);
    const struct smkd_abi_tensor *t;
    size_t n = 0;
    while (smkd_model_nth(m, SMKD_ABI_PARAM, n)) n++;
    struct rt_param_rule *rules = xcalloc(n + 1, sizeof *rules);
    *guessed = !norms && !isnan(c->norm_weight_decay);
    for (size_t i = 0; (t = smkd_model_nth(m, SMKD_ABI_PARAM, i)); i++) {
        rules[i] = (struct rt_param_rule){.lr = c->lr, .weight_decay = decay_of(c, norms, t)};
        group(&r->groups, t->name, &rules[i]);
        freeze(&r->frozen, t->name, &rules[i]);
    }
    cJSON_Delete(json);
    return rules;
}

enum smkd_result rt_param_rules(const struct rt_config *c, const smkd_model *m, struct rt_param_rule **rules,
                                bool *guessed) {
    struct reading r;
    enum smkd_result e = begin(&r, c);
    if (e == SMKD_R_OK) *rules = rules_of(&r, c, m, guessed);
    end(&r);
    return e;
}

static enum smkd_result all_found(const struct patterns *all, const char *flag, const smkd_model *m) {
    for (size_t i = 0; i < all->n; i++) {
        if (all->p[i].found) continue;
        const struct smkd_abi_tensor *t;
        const char **names = NULL;
        size_t n = 0;
        while (smkd_model_nth(m, SMKD_ABI_PARAM, n)) n++;
        names = xcalloc(n + 1, sizeof *names);
        for (n = 0; (t = smkd_model_nth(m, SMKD_ABI_PARAM, n)); n++) names[n] = t->name;
        struct str near = STR_INIT;
        glob_near(&near, all->p[i].glob + (*all->p[i].glob == '!'), names, n);
        rt_fail(SMKD_R_MISMATCH, "--%s %s: no network has a trained parameter of such a name; there are %s ...", flag,
                all->p[i].glob, near.s ? near.s : "none");
        str_release(&near);
        free(names);
        return SMKD_R_MISMATCH;
    }
    return SMKD_R_OK;
}

enum smkd_result rt_param_flags_check(const struct rt_config *c, const smkd_model *const *m, int n) {
    struct reading r;
    size_t all = 0, left = 0;
    enum smkd_result e = begin(&r, c);
    for (int k = 0; k < n && e == SMKD_R_OK; k++) {
        bool guessed;
        struct rt_param_rule *rules = rules_of(&r, c, m[k], &guessed);
        for (size_t i = 0; smkd_model_nth(m[k], SMKD_ABI_PARAM, i); i++, all++) left += !rules[i].frozen;
        free(rules);
    }
    if (e == SMKD_R_OK) e = all_found(&r.groups, "param-group", m[0]);
    if (e == SMKD_R_OK) e = all_found(&r.frozen, "freeze", m[0]);
    if (e == SMKD_R_OK && all && !left)
        e = rt_fail(SMKD_R_INVALID, "--freeze %s: leaves nothing to be trained", c->freeze);
    end(&r);
    return e;
}
