// The rows, and what is the same for all families.
#include "methods.h"

#include "families.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = METHOD_MAX_PEERS, FEW_CLASSES = 10 };

const struct method methods[] = {
    {"smkd-p", &method_mutual, "gate=below", 2, MANY, "selective mutual distillation, progressive threshold",
     "SMKD Eq. 4-6, b2 != 0"},
    {"smkd-s", &method_mutual, "gate=below,b2=0", 2, MANY, "selective mutual distillation, static threshold",
     "SMKD Eq. 4-6, b2 = 0"},
    {"all", &method_mutual, "gate=all", 2, MANY, "mutual distillation: every row is exchanged",
     "SMKD Eq. 4-5 with every gate open"},
    {"zero", &method_mutual, "gate=none", 1, MANY, "self-distilling networks: nothing is exchanged",
     "SMKD Eq. 4-5 with every gate shut"},
    {"ce", &method_mutual, "gate=none,refine=none", 1, MANY, "plain cross entropy", "zero without refinement"},
    {"cmd-p", &method_mutual, "gate=below", 2, MANY, "smkd-p by its earlier name", "CMD, arXiv 2106.01489"},
    {"cmd-s", &method_mutual, "gate=below,b2=0", 2, MANY, "smkd-s by its earlier name", "CMD, arXiv 2106.01489"},
    {"ls", &method_mutual, "gate=none,refine=ls", 1, MANY, "label smoothing", "Szegedy 2016"},
    {"cp", &method_mutual, "gate=none,refine=cp", 1, MANY, "confidence penalty",
     "Pereyra 2017, in the form of ProSelfLC"},
    {"boot-soft", &method_mutual, "gate=none,refine=boot-soft", 1, MANY, "soft bootstrapping", "Reed 2015"},
    {"proselflc", &method_mutual, "gate=none,refine=proselflc", 1, MANY, "trust that grows with time",
     "ProSelfLC, CVPR 2021"},
    {"mylc", &method_mutual, "gate=none,refine=mylc", 1, MANY, "trust that grows with the model's own confidence",
     "SMKD Eq. 7-8"},
    {"elr", &method_targets, "rule=elr", 1, MANY,
     "early-learning regularisation: an image's earlier predictions are its target", "Liu 2020"},
    {"sop", &method_targets, "rule=sop", 1, MANY, "sparse over-parameterisation: the noise of each label is learnt",
     "Liu 2022"},
    {"sop+", &method_targets, "rule=sop+", 1, MANY, "sop that says the same of two views, and as much of every class",
     "Liu 2022"},
    {"elr+", &method_targets, "rule=elr+,ema-decay:0.997", 2, MANY,
     "elr on mixed images, its targets of another network's moving average", "Liu 2020"},
    {"temporal-ensembling", &method_targets, "rule=temporal", 1, MANY,
     "agrees with the average of its earlier predictions", "Laine and Aila 2017"},
    {"mean-teacher", &method_targets, "rule=mean-teacher", 1, MANY, "agrees with the average of its parameters",
     "Tarvainen and Valpola 2017"},
    {"mkd", &method_distill, "from=peer,several=mean,balance=split", 2, MANY,
     "mutual distillation: cross entropy and the others' predictions, each its share", "SMKD Eq. 2"},
    {"dml", &method_distill, "from=peer,several=sum,balance=added", 2, MANY,
     "deep mutual learning: cross entropy plus the others' predictions", "DML, CVPR 2018"},
    {"t2s", &method_distill, "from=teacher,several=mean,balance=split", 1, MANY,
     "knowledge distillation from a frozen teacher", "SMKD Eq. 1"},
    {"fitnets", &method_hints, "", 1, MANY, "first the inside of a frozen teacher, then what it says", "Romero 2015"},
    {"ffl", &method_fusion, "", 2, MANY,
     "a classifier of the feature maps of all networks teaches them, and they teach it", "FFL, ICPR 2020, as its code"},
    {"afd", &method_adversarial, "", 2, MANY,
     "each network's feature maps are to pass for the next one's, a discriminator judges: our reading",
     "AFD, ICML 2020, from secondary sources"},
    {"pcl", &method_branches, "", 1, MANY,
     "branches learn from a classifier of all their features and from the average's branches: our reading",
     "PCL, AAAI 2021, after a third party's code"},
    {"two-round", &method_distill, "from=former,several=mean,balance=split", 1, MANY,
     "trained, then taught anew by what it became", "two-round self-distillation"},
    {"born-again", &method_distill, "from=former,several=mean,balance=added,rounds:3,round-start:untrained", 1, MANY,
     "generations, each taught by the one before", "Furlanello 2018"},
    {"tf-kd-self", &method_distill, "from=former,several=mean,balance=split,epsilon:0.9,temperature:20", 1, MANY,
     "trained, then taught anew by what it became, softened", "Tf-KD, CVPR 2020"},
    {"cs-kd", &method_distill, "from=partner,balance=added,temperature:4", 1, MANY,
     "agrees with what it says of another image of the same label: our reading", "CS-KD, CVPR 2020"},
    {"kdcl", &method_distill, "from=ensemble,balance=added,temperature:2", 2, MANY,
     "collaborative learning: all learn from one ensemble of them",
     "KDCL, CVPR 2020, from secondary sources: our reading"},
    {"tf-kd-reg", &method_distill, "from=virtual,balance=split,epsilon:0.1,temperature:20", 1, MANY,
     "teacher-free distillation: from a teacher that nobody trained", "Tf-KD, CVPR 2020"},
    {"gce", &method_robust, "rule=gce", 1, MANY, "generalised cross entropy", "Zhang and Sabuncu 2018"},
    {"gce-truncated", &method_sieve, "rule=truncated", 1, MANY,
     "generalised cross entropy of the rows that it believes", "Zhang and Sabuncu 2018"},
    {"cores", &method_sieve, "rule=cores", 1, MANY, "confidence-regularised sieve", "Cheng 2021"},
    {"cores-star", &method_sieve, "rule=cores-star", 1, MANY,
     "cores, then anew: the labels that it kept, and agreement with a strong view of all images: our reading",
     "Cheng 2021"},
    {"peer-loss", &method_sieve, "rule=peer", 1, MANY, "cross entropy less that of labels by chance",
     "Liu and Guo 2020"},
    {"sce", &method_robust, "rule=sce,loss-alpha:0.1|6,loss-beta:1|0.1", 1, MANY,
     "symmetric cross entropy: of the label, and of the prediction the other way round", "Wang 2019"},
    {"apl", &method_robust, "rule=nce-rce,loss-alpha:1|10,loss-beta:1|0.1", 1, MANY, "active passive loss, as nce-rce",
     "Ma 2020"},
    {"nce-rce", &method_robust, "rule=nce-rce,loss-alpha:1|10,loss-beta:1|0.1", 1, MANY,
     "normalised and reverse cross entropy", "Ma 2020"},
    {"nce-mae", &method_robust, "rule=nce-mae,loss-alpha:1|10,loss-beta:1", 1, MANY,
     "normalised cross entropy and mean absolute error", "Ma 2020"},
    {"ps-kd", &method_heads, "ps-kd=on,byot=off,dmfl=off", 1, MANY,
     "its own predictions of the epoch before refine the labels", "Kim 2021"},
    {"byot", &method_heads, "ps-kd=off,byot=on,dmfl=off", 1, MANY, "its deepest classifier teaches those at its sides",
     "Zhang 2019"},
    {"dmfl", &method_heads, "ps-kd=off,byot=off", 1, MANY, "features of all depths learn from each other",
     "PS-KD+BYOT+DMFL Eq. 3"},
    {"ps-kd+byot", &method_heads, "ps-kd=on,byot=on,dmfl=off", 1, MANY, "both", "PS-KD+BYOT+DMFL"},
    {"ps-kd+dmfl", &method_heads, "ps-kd=on,byot=off", 1, MANY, "both", "PS-KD+BYOT+DMFL"},
    {"byot+dmfl", &method_heads, "ps-kd=off,byot=on", 1, MANY, "both", "PS-KD+BYOT+DMFL"},
    {"ps-kd+byot+dmfl", &method_heads, "ps-kd=on,byot=on", 1, MANY, "all three", "PS-KD+BYOT+DMFL"},
    {"co-teaching", &method_small_loss, "rank=peer,candidates=all,schedule=ramp", 2, MANY,
     "each network learns from the rows of small loss of the next", "Han 2018"},
    {"co-teaching+", &method_small_loss, "rank=peer,candidates=disagreement,schedule=ramp", 2, MANY,
     "co-teaching on rows that the networks disagree on", "Yu 2019"},
    {"jocor", &method_small_loss, "rank=joint,candidates=all,schedule=ramp", 2, MANY,
     "one loss for all networks, which are to agree, on its smallest rows", "Wei 2020"},
    {"mentornet", &method_small_loss, "rank=self,candidates=all,schedule=percentile", 1, MANY,
     "rows whose loss is below an average percentile, the predefined curriculum", "Jiang 2018"},
    {"s2e", &method_small_loss, "rank=peer,candidates=all,schedule=s2e", 2, MANY,
     "co-teaching by a schedule of twelve numbers", "Yao 2020"},
    {"forward", &method_transition, "use=forward", 1, MANY,
     "forward correction: predictions as wrong labels would have them", "Patrini 2017"},
    {"dual-t", &method_transition, "use=forward,estimator:dual-t", 1, MANY,
     "forward correction by a transition matrix in two factors", "Yao 2020"},
    {"t-revision", &method_transition, "use=revision,estimate-epochs:20|15", 1, MANY,
     "importance reweighting by a transition matrix that is learnt, too", "Xia 2019"},
    {"cal", &method_cal, "", 1, MANY, "covariances of label and loss by labels distilled half way: our reading",
     "Zhu 2021"},
    {"dmi", &method_dmi, "", 1, MANY, "cross entropy, then the labels' mutual information by a determinant", "Xu 2019"},
    {"cdr", &method_edited, "", 1, MANY, "only the weights that matter most learn, the others decay", "Xia 2021"},
    {"m-correction", &method_mixture, "", 1, MANY,
     "bootstrapping by how likely a label is wrong, a mixture of two betas says", "Arazo 2019"},
    {"joint", &method_joint, "", 1, MANY, "labels become the network's own predictions, then it begins anew",
     "Tanaka 2018"},
    {"blind", &method_blind, "", 2, 2,
     "a student that never sees a label tells which labels are wrong, as the paper's code has it", "Blind KD Eq. 3-8"},
    {"blind-paper", &method_blind, "detach-teacher:true,student-denom:paper,detach-robust-target:true,otsu:paper", 2, 2,
     "blind, as the paper has it", "Blind KD Eq. 3-8"},
    {"dividemix", &method_semi, "split=gmm,others=guessed", 2, MANY,
     "two networks that each tell the other which labels to believe; the other images without theirs", "Li 2020"},
    {"mixmatch", &method_semi, "split=given,others=guessed,guess-by=own,lambda-u:75,mix-alpha:0.75,semi-warmup:0", 1,
     MANY, "the labels that a file says are right, the other images without theirs", "Berthelot 2019"},
    {"pes-cs", &method_semi, "split=agreement,others=left-out,early-epochs:25|30", 1, MANY,
     "early stopping by parts, then the labels that the network agrees with: our reading", "PES, NeurIPS 2021"},
    {"pes-semi", &method_semi, "split=agreement,others=guessed,guess-by=own,lambda-u:5|75", 1, MANY,
     "early stopping by parts, then mixmatch by the labels that the network agrees with: our reading",
     "PES, NeurIPS 2021"},
    {"mse", &method_regression, "error=squared", 1, MANY, "mean squared error", "PyTorch's MSELoss"},
    {"l1", &method_regression, "error=absolute", 1, MANY, "mean absolute error", "PyTorch's L1Loss"},
    {"huber", &method_regression, "error=huber", 1, MANY, "squared near 0, absolute beyond delta",
     "PyTorch's HuberLoss"},
    {NULL, NULL, NULL, 0, 0, NULL, NULL},
};

const char *const method_view_words[] = {"own", "same", NULL};
const char *const method_strong_words[] = {"ra", "ta_wide", "augmix", "imagenet", "cifar10", "svhn", "none", NULL};

bool method_own_views(const struct method *m, const struct method_values *v) {
    return strcmp(method_word(m, v, "views"), method_view_words[0]) == 0;
}

bool method_always(const struct method *m, const struct method_values *v) {
    (void)m;
    (void)v;
    return true;
}

bool method_never(const struct method *m, const struct method_values *v) {
    (void)m;
    (void)v;
    return false;
}

// Whether it couples the rows of a batch nobody can say.
static const struct method_param own_params[] = {{.name = NULL}};
static const struct method_family own_family = {
    .name = "own", .doc = "a loss that a user wrote", .params = own_params, .by_rows = method_never, .taps = true};
const struct method method_own = {"own", &own_family, "", 1, MANY, "a loss that a user wrote", "its file"};

const struct method *method_find(const char *name) {
    for (const struct method *m = methods; m->name; m++)
        if (name && strcmp(m->name, name) == 0) return m;
    return NULL;
}

void method_names(struct str *out) {
    for (const struct method *m = methods; m->name; m++) str_addf(out, "%s%s", m == methods ? "" : ", ", m->name);
}

const struct method_param *method_param(const struct method *m, const char *name, int *place) {
    const struct method_param *all = m->family->params;
    for (int i = 0; all[i].name; i++) {
        if (strcmp(all[i].name, name) != 0) continue;
        if (place) *place = i;
        return &all[i];
    }
    return NULL;
}

bool method_by_rows(const struct method *m, const struct method_values *v) {
    return !m->family->by_rows || m->family->by_rows(m, v);
}

const char *method_refuse(const struct method *m, const struct method_values *v, int peers) {
    return m->family->refuse ? m->family->refuse(m, v, peers) : NULL;
}

struct method_views method_views(const struct method *m, const struct method_values *v, int peers) {
    struct method_views views = {.count = 1};
    if (m->family->views) m->family->views(m, v, peers, &views);
    return views;
}

struct method_pass method_pass(const struct method *m, const struct method_values *v, const struct method_moment *at) {
    struct method_pass pass = {0};
    if (m->family->pass) m->family->pass(m, v, at, &pass);
    return pass;
}

int method_stacked(const struct method *m, const struct method_values *v) {
    const struct method_views views = method_views(m, v, m->least);
    return views.stacked ? views.count : 1;
}

bool method_survey(const struct method *m, const struct method_values *v, const struct method_moment *at) {
    return m->family->survey && m->family->survey(m, v, at);
}

bool method_held_out(const struct method *m, const struct method_values *v) {
    return m->family->held_out && m->family->held_out(m, v);
}

static int place_of(const struct method *m, const char *name, enum method_kind kind) {
    int i = 0;
    const struct method_param *p = method_param(m, name, &i);
    CHECK(p && p->kind == kind, "method %s has no such parameter as %s", m->name, name);
    return i;
}

double method_number(const struct method *m, const struct method_values *v, const char *name) {
    return v->number[place_of(m, name, METHOD_NUMBER)];
}

const char *method_word(const struct method *m, const struct method_values *v, const char *name) {
    int i = 0;
    const struct method_param *p = method_param(m, name, &i);
    return v->word[place_of(m, name, p && p->kind == METHOD_ANY_WORD ? METHOD_ANY_WORD : METHOD_WORD)];
}

bool method_flag(const struct method *m, const struct method_values *v, const char *name) {
    return v->flag[place_of(m, name, METHOD_FLAG)];
}

// Looks for "NAME" and the sign at the start of an item of "a=1,b:2".
static const char *set_by_row(const struct method *m, const struct method_param *p, char sign, char text[32]) {
    size_t n = strlen(p->name);
    for (const char *s = m->set; s && *s; s += strcspn(s, ","), s += *s == ',') {
        if (strncmp(s, p->name, n) != 0 || s[n] != sign) continue;
        snprintf(text, 32, "%.*s", (int)strcspn(s + n + 1, ","), s + n + 1);
        return text;
    }
    return NULL;
}

const char *method_fixed(const struct method *m, const struct method_param *p, char text[32]) {
    return set_by_row(m, p, '=', text);
}

const char *method_default(const struct method *m, const struct method_param *p, char text[32]) {
    if (method_fixed(m, p, text) || set_by_row(m, p, ':', text)) return text;
    snprintf(text, 32, "%s", p->kind == METHOD_FLAG ? "false" : p->def);
    return text;
}

// Of a tensor, and of one line.
static bool is_name(const char *text) {
    size_t n = 0;
    while ((unsigned char)text[n] >= ' ' && text[n] != 127) n++;
    return !text[n] && n > 0 && n <= METHOD_LONGEST_WORD;
}

// The text, for as long as the program runs: a run has a few names.
static const char *keep_word(const char *text) {
    static struct word {
        struct word *next;
        char text[];
    } *all;
    for (const struct word *w = all; w; w = w->next)
        if (strcmp(w->text, text) == 0) return w->text;
    const size_t n = strlen(text) + 1;
    struct word *w = xcalloc(1, sizeof *w + n);
    memcpy(w->text, text, n);
    w->next = all;
    all = w;
    return w->text;
}

bool method_set(const struct method *m, struct method_values *v, int place, const char *text) {
    const struct method_param *p = &m->family->params[place];
    char def[32];
    if (strcmp(text, "auto") == 0) text = method_default(m, p, def);
    double x;
    switch (p->kind) {
    case METHOD_NUMBER:
        if (text == def && strchr(text, '|')) {
            v->number[place] = NAN; // until the classes are known
            return true;
        }
        if (!parse_f64(text, &x) || isnan(x)) return false;
        if (isinf(x) ? !p->infinite : x < p->min || x > p->max) return false;
        v->number[place] = x;
        return true;
    case METHOD_WORD:
        for (const char *const *w = p->words; *w; w++) {
            if (strcmp(*w, text) != 0) continue;
            v->word[place] = *w;
            return true;
        }
        return false;
    case METHOD_ANY_WORD:
        if (!is_name(text)) return false;
        v->word[place] = keep_word(text);
        return true;
    case METHOD_FLAG:
        v->flag[place] = strcmp(text, "true") == 0;
        return v->flag[place] || strcmp(text, "false") == 0;
    }
    return false;
}

bool method_assign(const struct method *m, struct method_values *v, int place, const char *text, struct str *wrong) {
    const struct method_param *p = &m->family->params[place];
    struct method_values to = *v, own;
    if (!method_set(m, &to, place, p->kind == METHOD_FLAG && !*text ? "true" : text)) {
        str_addf(wrong, "--%s %s: expected ", p->name, text);
        method_expected(p, wrong);
        return false;
    }
    char fixed[32];
    const char *is = method_fixed(m, p, fixed);
    method_defaults(m, &own);
    bool same =
        own.number[place] == to.number[place] && own.word[place] == to.word[place] && own.flag[place] == to.flag[place];
    if (is && !same) {
        str_addf(wrong, "--%s %s: the method %s has %s there; take another of its family:", p->name, text, m->name, is);
        for (const struct method *x = methods; x->name; x++) {
            char other[32];
            const char *s = method_fixed(x, p, other);
            if (x->family == m->family && (!s || strcmp(s, is) != 0)) str_addf(wrong, " %s", x->name);
        }
        return false;
    }
    *v = to;
    return true;
}

void method_defaults(const struct method *m, struct method_values *v) {
    *v = (struct method_values){0};
    for (int i = 0; m->family->params[i].name; i++) {
        CHECK(i < METHOD_PARAMS, "more parameters than METHOD_PARAMS in family %s", m->family->name);
        CHECK(method_set(m, v, i, "auto"), "default of %s", m->family->params[i].name);
    }
}

void method_resolve(const struct method *m, struct method_values *v, int64_t classes) {
    for (int i = 0; m->family->params[i].name; i++) {
        char text[32];
        if (m->family->params[i].kind != METHOD_NUMBER || !isnan(v->number[i])) continue;
        char *bar = strchr(method_default(m, &m->family->params[i], text), '|');
        CHECK(bar, "%s has no default above %d classes", m->family->params[i].name, FEW_CLASSES);
        *bar = 0;
        CHECK(method_set(m, v, i, classes > FEW_CLASSES ? bar + 1 : text), "default of %s", m->family->params[i].name);
    }
}

void method_expected(const struct method_param *p, struct str *out) {
    switch (p->kind) {
    case METHOD_NUMBER:
        str_addf(out, "a number from %g to %g%s", p->min, p->max, p->infinite ? ", or inf" : "");
        break;
    case METHOD_WORD:
        str_add(out, "one of ");
        for (const char *const *w = p->words; *w; w++) str_addf(out, "%s%s", w == p->words ? "" : ", ", *w);
        break;
    case METHOD_ANY_WORD:
        str_addf(out, "a name of at most %d letters", METHOD_LONGEST_WORD);
        break;
    case METHOD_FLAG:
        str_add(out, "true or false");
        break;
    }
}

// Whether `now` is one of "a|b", up to a comma.
static bool is_among(const char *now, const char *s) {
    for (; *s && *s != ','; s += strcspn(s, "|,"), s += *s == '|')
        if (strlen(now) == strcspn(s, "|,") && strncmp(s, now, strlen(now)) == 0) return true;
    return false;
}

// Whether the parameters that an `only` names have the values that it asks for.
static bool are_so(const struct method *m, const struct method_values *v, const char *only) {
    for (const char *s = only; s && *s; s += strcspn(s, ","), s += *s == ',') {
        char name[32], fixed[32];
        size_t n = strcspn(s, "=");
        snprintf(name, sizeof name, "%.*s", (int)n, s);
        int at = place_of(m, name, METHOD_WORD);
        const struct method_param *on = &m->family->params[at];
        const char *now = v ? v->word[at] : method_fixed(m, on, fixed);
        if ((now && !is_among(now, s + n + 1)) || !are_so(m, v, on->only)) return false;
    }
    return true;
}

bool method_matters(const struct method *m, const struct method_values *v, const struct method_param *p) {
    return are_so(m, v, p->only);
}

int64_t method_rounds(const struct method *m, const struct method_values *v) {
    int place;
    const struct method_param *p = method_param(m, "rounds", &place);
    return p && method_matters(m, v, p) ? (int64_t)v->number[place] : 1;
}

bool method_stage(const struct method *m, const struct method_values *v, int64_t at, struct method_stage *out) {
    if (!m->family->stages) {
        *out = (struct method_stage){.name = "round", .anew = true};
        return at < method_rounds(m, v);
    }
    for (const struct method_stage *s = m->family->stages; s->name; s++)
        if (are_so(m, v, s->only) && at-- == 0) {
            *out = *s;
            return true;
        }
    return false;
}

int64_t method_epochs(const struct method *m, const struct method_values *v, const struct method_stage *s,
                      int64_t epochs) {
    const double own = s->epochs ? method_number(m, v, s->epochs) : 0;
    return own >= 1 ? (int64_t)own : epochs; // NaN where only the classes would tell
}

int64_t method_all_epochs(const struct method *m, const struct method_values *v, int64_t epochs) {
    struct method_stage s;
    int64_t sum = 0;
    for (int64_t i = 0; method_stage(m, v, i, &s); i++) sum += method_epochs(m, v, &s, epochs);
    return sum;
}

struct method_values method_canonical(const struct method *m, const struct method_values *v) {
    struct method_values c = *v, def;
    method_defaults(m, &def);
    for (int i = 0; m->family->params[i].name; i++) {
        const struct method_param *p = &m->family->params[i];
        if (!method_matters(m, v, p) || p->of_run) {
            c.number[i] = def.number[i];
            c.word[i] = def.word[i];
            c.flag[i] = def.flag[i];
        }
        if (p->scalar) c.number[i] = p->optional && c.number[i] != 0;
    }
    return c;
}

struct method_name method_parse(const char *name) {
    static const struct {
        const char *stem;
        enum method_role role;
        bool of_peer;
    } known[] = {{"logits", METHOD_LOGITS, true},
                 {"labels", METHOD_LABELS, false},
                 {"labels.mix", METHOD_LABELS_MIX, false},
                 {"targets", METHOD_TARGETS, false},
                 {"class.weight", METHOD_CLASS_WEIGHT, false},
                 {"index", METHOD_INDEX, false},
                 {"labels.draw", METHOD_LABELS_DRAW, false},
                 {"teacher", METHOD_TEACHER, true},
                 {"average", METHOD_AVERAGE, true},
                 {"guess", METHOD_GUESS, true},
                 {"mix.row", METHOD_MIX_ROW, false},
                 {"loss", METHOD_LOSS, true},
                 {"loss.all", METHOD_LOSS_ALL, false},
                 {"grad", METHOD_GRAD, true}};
    static const struct {
        const char *prefix;
        enum method_role role;
        bool always; // no other name begins with it
    } inside[] = {{"tap.", METHOD_TAP, true},
                  {"grad.tap.", METHOD_TAP_GRAD, true},
                  {"teacher.", METHOD_TEACHER_TAP, false},
                  {"average.", METHOD_AVERAGE_TAP, false}};
    struct method_name r = {.role = METHOD_OTHER, .peer = -1};
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
        if (!str_has_prefix(name, inside[i].prefix)) continue;
        const char *peer = name + strlen(inside[i].prefix);
        const size_t n = strspn(peer, "0123456789");
        if (n > 0 && n < 4 && peer[n] == '.' && peer[n + 1])
            return (struct method_name){.role = inside[i].role, .peer = atoi(peer), .tap = peer + n + 1};
        if (inside[i].always) return r;
    }
    size_t n = strlen(name), digits = 0;
    while (digits < n && name[n - 1 - digits] >= '0' && name[n - 1 - digits] <= '9') digits++;
    if (digits > 0 && digits < 4 && n > digits && name[n - 1 - digits] == '.') {
        r.peer = atoi(name + n - digits);
        n -= digits + 1;
    }
    snprintf(r.stem, sizeof r.stem, "%.*s", (int)n, name);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].stem, r.stem) == 0 && known[i].of_peer == (r.peer >= 0)) r.role = known[i].role;
    if (str_has_prefix(r.stem, "table.")) r.role = METHOD_TABLE;
    if (str_has_prefix(r.stem, "state.")) r.role = METHOD_STATE;
    if (str_has_prefix(r.stem, "probs.")) r.role = METHOD_PROBS;
    return r;
}

const struct method_begin *method_begin(const struct method *m, const char *stem) {
    for (const struct method_begin *b = m->family->begins; b && b->name; b++)
        if (strcmp(b->name, stem) == 0) return b;
    return NULL;
}
