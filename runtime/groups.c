#include "groups.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// --- flags -----------------------------------------------------------------------------------------------------------

static enum smkd_result wrong(const char *text) {
    return rt_fail(SMKD_R_INVALID,
                   "--param-group '%s': expected a pattern of names and what is different there, 'GLOB:lr=X,wd=X' (one "
                   "of the two may be missing), with numbers from 0 to 1e6",
                   text);
}

// "lr=0.1,wd=0"
static bool read_numbers(struct rt_group_rule *rule, const char *text) {
    while (*text) {
        char item[64];
        const size_t n = strcspn(text, ",");
        double *to = str_has_prefix(text, "lr=") ? &rule->lr : str_has_prefix(text, "wd=") ? &rule->weight_decay : NULL;
        if (!to || n >= sizeof item) return false;
        memcpy(item, text, n);
        item[n] = 0;
        if (!isnan(*to) || !parse_f64(item + 3, to) || *to < 0 || *to > 1e6) return false;
        text += n;
        if (*text && !*++text) return false; // a comma at the end
    }
    return !isnan(rule->lr) || !isnan(rule->weight_decay);
}

static enum smkd_result add_rule(struct rt_group_rules *r, const char *text) {
    const char *colon = strrchr(text, ':'); // names of TensorFlow have colons themselves
    if (!colon || colon == text) return wrong(text);
    r->rule = xrealloc(r->rule, (r->n_rules + 1) * sizeof *r->rule);
    struct rt_group_rule *rule = &r->rule[r->n_rules++];
    *rule = (struct rt_group_rule){.glob = xstrdup(text), .lr = NAN, .weight_decay = NAN};
    rule->glob[colon - text] = 0;
    if (!read_numbers(rule, colon + 1)) return wrong(text);
    if (!isnan(rule->lr) && r->lr == 0)
        return rt_fail(SMKD_R_INVALID,
                       "--param-group '%s': its rate follows that of the run, and --lr is 0; give an --lr", text);
    return SMKD_R_OK;
}

static enum smkd_result add_freeze(struct rt_group_rules *r, const char *text) {
    if (!text[*text == '!']) return rt_fail(SMKD_R_INVALID, "--freeze '%s': expected a pattern of names", text);
    r->freeze = xrealloc(r->freeze, (r->n_freeze + 1) * sizeof *r->freeze);
    r->freeze[r->n_freeze++] = xstrdup(text);
    return SMKD_R_OK;
}

static enum smkd_result each_line(struct rt_group_rules *r, const char *lines,
                                  enum smkd_result (*add)(struct rt_group_rules *r, const char *text)) {
    enum smkd_result e = SMKD_R_OK;
    while (lines && *lines && e == SMKD_R_OK) {
        struct str line = STR_INIT;
        const size_t n = strcspn(lines, "\n");
        str_addn(&line, lines, n);
        e = add(r, line.s ? line.s : "");
        str_release(&line);
        lines += n + (lines[n] == '\n');
    }
    return e;
}

enum smkd_result rt_group_rules_read(struct rt_group_rules *r, const struct rt_config *c) {
    *r = (struct rt_group_rules){.lr = c->lr,
                                 .weight_decay = c->weight_decay,
                                 .norm_weight_decay = c->norm_weight_decay,
                                 .bias_weight_decay = c->bias_weight_decay};
    enum smkd_result e = each_line(r, c->param_group, add_rule);
    return e == SMKD_R_OK ? each_line(r, c->freeze, add_freeze) : e;
}

void rt_group_rules_release(struct rt_group_rules *r) {
    for (size_t i = 0; i < r->n_rules; i++) free(r->rule[i].glob);
    for (size_t i = 0; i < r->n_freeze; i++) free(r->freeze[i]);
    free(r->rule);
    free(r->freeze);
    *r = (struct rt_group_rules){0};
}

// The names of a role over all networks.
struct names {
    const char **name;
    size_t n;
};
static void add_names(struct names *s, const smkd_model *m, enum smkd_abi_role role) {
    const struct smkd_abi_tensor *t;
    for (size_t i = 0; (t = smkd_model_nth(m, role, i)); i++) {
        s->name = xrealloc(s->name, (s->n + 1) * sizeof *s->name);
        s->name[s->n++] = t->name;
    }
}

static bool names_any(const char *glob, const struct names *s) {
    for (size_t i = 0; i < s->n; i++)
        if (glob_matches(glob, s->name[i])) return true;
    return false;
}

static enum smkd_result names_nothing(const char *flag, const char *glob, const struct names *s) {
    struct str near = STR_INIT;
    glob_near(&near, glob, s->name, s->n);
    enum smkd_result e = rt_fail(SMKD_R_INVALID, "--%s %s: no trained parameter has such a name%s%s", flag, glob,
                                 near.len ? "; there are " : "; there are none at all", near.len ? near.s : "");
    str_release(&near);
    return e;
}

enum smkd_result rt_group_rules_check(const struct rt_group_rules *r, const smkd_model *const *models, size_t n) {
    struct names trained = {0}, others = {0};
    for (size_t k = 0; k < n; k++) {
        add_names(&trained, models[k], SMKD_ABI_PARAM);
        add_names(&others, models[k], SMKD_ABI_BUFFER); // among them what smkdc compile --freeze has frozen already
    }
    enum smkd_result e = SMKD_R_OK;
    for (size_t i = 0; i < r->n_rules && e == SMKD_R_OK; i++)
        if (!names_any(r->rule[i].glob, &trained)) e = names_nothing("param-group", r->rule[i].glob, &trained);
    for (size_t i = 0; i < r->n_freeze && e == SMKD_R_OK; i++) {
        const char *glob = r->freeze[i] + (*r->freeze[i] == '!');
        if (!names_any(glob, &trained) && !names_any(glob, &others)) e = names_nothing("freeze", glob, &trained);
    }
    free(trained.name);
    free(others.name);
    return e;
}

// --- what a parameter is ---------------------------------------------------------------------------------------------

// "bias" of "layer1.0.conv1.bias" and of "dense/bias:0", as module attributes are called.
static size_t last_part(const char *name, size_t *length) {
    const char *at = name;
    for (const char *p = name; *p; p++)
        if (*p == '.' || *p == '/') at = p + 1;
    *length = strcspn(at, ":");
    return (size_t)(at - name);
}

static bool is_called(const char *name, const char *const *words) {
    size_t n;
    const char *part = name + last_part(name, &n);
    for (; *words; words++)
        if (strlen(*words) == n && strncmp(part, *words, n) == 0) return true;
    return false;
}

static bool is_scale(const struct smkd_abi_tensor *t) {
    static const char *const words[] = {"weight", "gamma", "scale", NULL};
    return t->rank == 1 && is_called(t->name, words);
}

// By names and shapes: a vector that scales, and the shift beside it.
static bool looks_like_norm(const smkd_model *m, const struct smkd_abi_tensor *t) {
    static const char *const words[] = {"bias", "beta", "shift", NULL};
    if (is_scale(t)) return true;
    if (t->rank != 1 || !is_called(t->name, words)) return false;
    size_t n, stem = last_part(t->name, &n);
    const struct smkd_abi_tensor *u;
    for (size_t i = 0; (u = smkd_model_nth(m, SMKD_ABI_PARAM, i)); i++)
        if (is_scale(u) && last_part(u->name, &n) == stem && strncmp(u->name, t->name, stem) == 0) return true;
    return false;
}

static bool is_in(const cJSON *list, const char *name) {
    const cJSON *v;
    cJSON_ArrayForEach(v, list) if (cJSON_IsString(v) && strcmp(v->valuestring, name) == 0) return true;
    return false;
}

static double number_of(const struct rt_group_rules *r, const smkd_model *m, const struct smkd_abi_tensor *t,
                        const cJSON *norms, double *lr) {
    static const char *const bias[] = {"bias", NULL};
    double decay = NAN;
    *lr = NAN;
    for (size_t i = 0; i < r->n_rules; i++) {
        if (!glob_matches(r->rule[i].glob, t->name)) continue;
        if (!isnan(r->rule[i].lr)) *lr = r->rule[i].lr;
        if (!isnan(r->rule[i].weight_decay)) decay = r->rule[i].weight_decay;
    }
    if (isnan(*lr)) *lr = r->lr;
    if (isnan(decay) && !isnan(r->bias_weight_decay) && is_called(t->name, bias)) decay = r->bias_weight_decay;
    if (isnan(decay) && !isnan(r->norm_weight_decay) && (norms ? is_in(norms, t->name) : looks_like_norm(m, t)))
        decay = r->norm_weight_decay;
    return isnan(decay) ? r->weight_decay : decay;
}

// --- groups ----------------------------------------------------------------------------------------------------------

static struct rt_group *group_of(struct rt_groups *g, double lr_factor, double weight_decay) {
    for (size_t i = 0; i < g->n; i++)
        if (g->group[i].lr_factor == lr_factor && g->group[i].weight_decay == weight_decay) return &g->group[i];
    g->group = xrealloc(g->group, (g->n + 1) * sizeof *g->group);
    g->group[g->n] = (struct rt_group){.lr_factor = lr_factor, .weight_decay = weight_decay};
    return &g->group[g->n++];
}

static void add_tensor(struct rt_group *g, const struct smkd_abi_tensor *t, bool apart) {
    enum { LINE = 16 };
    const size_t at = t->offset / sizeof(float), n = (t->numel + LINE - 1) / LINE * LINE;
    struct rt_stretch *last = g->n_stretches ? &g->stretch[g->n_stretches - 1] : NULL;
    g->n_tensors++;
    if (last && !apart && last->at + last->n == at) {
        last->n += n;
        return;
    }
    g->stretch = xrealloc(g->stretch, (g->n_stretches + 1) * sizeof *g->stretch);
    g->stretch[g->n_stretches++] = (struct rt_stretch){at, n};
}

void rt_groups_make(struct rt_groups *g, const struct rt_group_rules *r, const smkd_model *m, bool by_tensor) {
    *g = (struct rt_groups){0};
    const char *text = smkd_model_info(m)->notes;
    cJSON *notes = text ? cJSON_Parse(text) : NULL;
    const cJSON *norms = cJSON_GetObjectItemCaseSensitive(notes, SMKD_NOTE_NORM_PARAMETERS);
    g->guessed = !norms && !isnan(r->norm_weight_decay);
    const struct smkd_abi_tensor *t;
    size_t n = 0;
    while (smkd_model_nth(m, SMKD_ABI_PARAM, n)) n++;
    g->frozen = xcalloc(n + 1, sizeof *g->frozen);
    for (size_t i = 0; (t = smkd_model_nth(m, SMKD_ABI_PARAM, i)); i++) {
        double lr;
        g->frozen[i] = glob_chosen((const char *const *)r->freeze, r->n_freeze, t->name);
        g->n_frozen += g->frozen[i];
        if (g->frozen[i]) continue;
        const double decay = number_of(r, m, t, norms, &lr);
        add_tensor(group_of(g, lr == r->lr ? 1 : lr / r->lr, decay), t, by_tensor);
    }
    cJSON_Delete(notes);
}

void rt_groups_release(struct rt_groups *g) {
    for (size_t i = 0; i < g->n; i++) free(g->group[i].stretch);
    free(g->group);
    free(g->frozen);
    *g = (struct rt_groups){0};
}
