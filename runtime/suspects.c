// Evidence, and the criteria by which labels are called noisy.
#include "suspects.h"

#include "run_config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// --- evidence --------------------------------------------------------------------------------------------------------

enum smkd_result rt_evidence_init(struct rt_evidence *e, size_t images, int classes, int peers) {
    *e = (struct rt_evidence){.classes = classes, .peers = peers, .images = images};
    if (!budget_allows((uint64_t)images * ((uint64_t)classes * sizeof(double) + 64)))
        return rt_fail(SMKD_R_NOMEM, "the probabilities of %zu images and %d classes: %s", images, classes,
                       budget_why());
    const size_t n = images + 1;
    e->image = xcalloc(n, sizeof *e->image);
    e->given = xcalloc(n, sizeof *e->given);
    e->proposed = xcalloc(n, sizeof *e->proposed);
    e->mean = xcalloc(n * (size_t)classes, sizeof *e->mean);
    e->agreement = xcalloc(n, sizeof *e->agreement);
    e->loss = xcalloc(n, sizeof *e->loss);
    e->entropy = xcalloc(n, sizeof *e->entropy);
    e->seen = xcalloc(n, sizeof *e->seen);
    e->scratch = xcalloc((size_t)classes, sizeof *e->scratch);
    return SMKD_R_OK;
}

void rt_evidence_release(struct rt_evidence *e) {
    free(e->image);
    free(e->given);
    free(e->proposed);
    free(e->mean);
    free(e->agreement);
    free(e->loss);
    free(e->entropy);
    free(e->seen);
    free(e->scratch);
    *e = (struct rt_evidence){0};
}

void rt_log_softmax(const float *z, int classes, double *out) {
    double most = z[0], sum = 0;
    for (int c = 1; c < classes; c++)
        if (z[c] > most) most = z[c];
    for (int c = 0; c < classes; c++) sum += exp((double)z[c] - most);
    for (int c = 0; c < classes; c++) out[c] = (double)z[c] - most - log(sum);
}

// P_A(given) from sums of logarithms, which never underflow: a softmax of them. Where no class is possible to all peers
// (probabilities that are 0), the given one is not either.
static double agreement(struct rt_evidence *e, int32_t given, const double *log_p) {
    double most = -INFINITY, sum = 0, *s = e->scratch;
    for (int c = 0; c < e->classes; c++) {
        s[c] = 0;
        for (int k = 0; k < e->peers; k++) s[c] += log_p[k * e->classes + c];
        if (s[c] > most) most = s[c];
    }
    if (most == -INFINITY) return 0;
    for (int c = 0; c < e->classes; c++) sum += exp(s[c] - most);
    return exp(s[given] - most) / sum;
}

enum smkd_result rt_evidence_add(struct rt_evidence *e, size_t image, int32_t given, const double *p,
                                 const double *log_p) {
    static const double most_loss = 708; // -ln of the smallest number: what a probability of 0 costs
    double *mean = e->mean + image * (size_t)e->classes, loss = 0, entropy = 0;
    int32_t best = 0;
    for (int c = 0; c < e->classes; c++) {
        mean[c] = 0;
        for (int k = 0; k < e->peers; k++) {
            const double v = p[k * e->classes + c];
            if (!(v >= 0 && v <= 1))
                return rt_fail(SMKD_R_INVALID, "image %zu: the probability of class %d is %g, expected 0 to 1", image,
                               c, isnan(v) ? (double)NAN : v); // without its sign
            mean[c] += v;
        }
        mean[c] /= e->peers;
        if (mean[c] > 0) entropy -= mean[c] * log(mean[c]);
        if (mean[c] > mean[best]) best = c;
    }
    for (int k = 0; k < e->peers; k++) {
        const double l = -log_p[k * e->classes + given];
        loss += l == INFINITY ? most_loss : l;
    }
    e->given[image] = given;
    e->proposed[image] = best;
    e->agreement[image] = agreement(e, given, log_p);
    e->loss[image] = loss / e->peers;
    entropy /= log(e->classes);
    e->entropy[image] = entropy < 0 ? 0 : entropy > 1 ? 1 : entropy; // of rounding, and of what sums to less than 1
    e->seen[image] = true;
    return SMKD_R_OK;
}

void rt_evidence_finish(struct rt_evidence *e) {
    const size_t classes = (size_t)e->classes;
    e->n = 0;
    for (size_t i = 0; i < e->images; i++) {
        if (!e->seen[i]) continue;
        const size_t to = e->n++;
        e->image[to] = i;
        e->given[to] = e->given[i];
        e->proposed[to] = e->proposed[i];
        e->agreement[to] = e->agreement[i];
        e->loss[to] = e->loss[i];
        e->entropy[to] = e->entropy[i];
        memmove(e->mean + to * classes, e->mean + i * classes, classes * sizeof *e->mean);
    }
}

// --- verdicts --------------------------------------------------------------------------------------------------------

const char *const rt_cut_words[] = {"auto", "mu1", "s", "mu2", NULL};
const char *const rt_otsu_words[] = {"variance", "std", NULL};
const char *const rt_filter_words[] = {"prune-by-noise-rate", "prune-by-class", "both", "confident-learning", NULL};

void rt_verdict_release(struct rt_verdict *v) {
    free(v->noisy);
    free(v->score);
    free(v->trust);
    free(v->split);
    free(v->thresholds);
    str_release(&v->rule);
    *v = (struct rt_verdict){0};
}

static void begin(struct rt_verdict *v, size_t n, bool trusts) {
    *v = (struct rt_verdict){
        .n = n, .noisy = xcalloc(n + 1, sizeof *v->noisy), .score = xcalloc(n + 1, sizeof *v->score)};
    if (trusts) v->trust = xcalloc(n + 1, sizeof *v->trust);
}

static void tell(struct rt_verdict *v, const char *name, double value) {
    CHECK(v->n_numbers < (int)(sizeof v->number / sizeof *v->number), "more numbers than a verdict holds");
    v->number[v->n_numbers++] = (struct rt_verdict_number){name, value};
}

// --- by score --------------------------------------------------------------------------------------------------------

struct ranked {
    double score;
    size_t at;
};

// The most suspicious first; of equal ones the one of the lower number.
static int by_score(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

static struct ranked *rank(const struct rt_verdict *v) {
    struct ranked *r = xcalloc(v->n + 1, sizeof *r);
    for (size_t i = 0; i < v->n; i++) r[i] = (struct ranked){v->score[i], i};
    if (v->n) qsort(r, v->n, sizeof *r, by_score);
    return r;
}

// Counts the suspects, where a share of the images is asked for after choosing them anew.
static enum smkd_result end(const struct rt_suspect_options *o, struct rt_verdict *v) {
    if (!isnan(o->share)) {
        struct ranked *r = rank(v);
        const size_t many = (size_t)llround(o->share * (double)v->n);
        for (size_t i = 0; i < v->n; i++) v->noisy[r[i].at] = i < many;
        str_clear(&v->rule);
        str_addf(&v->rule, "the most suspicious %g %%", 100 * o->share);
        free(r);
    }
    v->suspects = 0;
    for (size_t i = 0; i < v->n; i++) v->suspects += v->noisy[i];
    return SMKD_R_OK;
}

// --- criteria --------------------------------------------------------------------------------------------------------

static double cut_of(const struct rt_otsu *t, enum rt_cut cut, enum rt_cut by_default) {
    const double of[] = {[RT_CUT_MU1] = t->low, [RT_CUT_S] = t->threshold, [RT_CUT_MU2] = t->high};
    return of[cut == RT_CUT_AUTO ? by_default : cut];
}

// Otsu's numbers as the data have them: x * scale + offset; and what they part.
static void tell_otsu(struct rt_verdict *v, const double *x, const struct rt_otsu *t, double scale, double offset) {
    v->split = xcalloc(v->n + 1, sizeof *v->split);
    memcpy(v->split, x, v->n * sizeof *x);
    v->otsu = *t;
    tell(v, "s", t->threshold * scale + offset);
    tell(v, "mu1", t->low * scale + offset);
    tell(v, "mu2", t->high * scale + offset);
}

static enum smkd_result agreement_judge(const struct rt_evidence *e, const struct rt_suspect_options *o,
                                        struct rt_verdict *v) {
    struct rt_otsu t;
    begin(v, e->n, true);
    enum smkd_result r = rt_otsu_fit(e->agreement, e->n, o->otsu, "agreement", &t);
    if (r != SMKD_R_OK) return r;
    const double cut = cut_of(&t, o->cut, RT_CUT_MU1);
    for (size_t i = 0; i < e->n; i++) {
        v->noisy[i] = t.split && e->agreement[i] < cut;
        v->score[i] = 1 - e->agreement[i];
        v->trust[i] = e->agreement[i];
    }
    tell_otsu(v, e->agreement, &t, 1, 0);
    str_addf(&v->rule, "P_A(given) < %.6g", cut);
    return end(o, v);
}

static enum smkd_result loss_judge(const struct rt_evidence *e, const struct rt_suspect_options *o,
                                   struct rt_verdict *v) {
    struct rt_otsu t = {0};
    begin(v, e->n, true);
    double *unit = xcalloc(e->n + 1, sizeof *unit);
    enum smkd_result r = rt_fit_check(e->loss, e->n, "loss");
    if (r == SMKD_R_OK) rt_to_unit(e->loss, e->n, unit);
    if (r == SMKD_R_OK) r = rt_otsu_fit(unit, e->n, o->otsu, "loss", &t);
    if (r == SMKD_R_OK) {
        const double least = rt_quantile(e->loss, e->n, 0), range = rt_quantile(e->loss, e->n, 1) - least;
        const double cut = cut_of(&t, o->cut, RT_CUT_S);
        for (size_t i = 0; i < e->n; i++) {
            v->noisy[i] = t.split && unit[i] >= cut;
            v->score[i] = e->loss[i];
            v->trust[i] = exp(-e->loss[i]);
        }
        tell_otsu(v, unit, &t, range, least);
        str_addf(&v->rule, "cross entropy >= %.6g", cut * range + least);
    }
    free(unit);
    return r == SMKD_R_OK ? end(o, v) : r;
}

// By default what is surer than the unsure half is on average: networks that have learnt from wrong labels are never
// quite sure. Where all predictions are about equally sure, no threshold parts them, and half of the largest entropy
// does.
static enum smkd_result entropy_judge(const struct rt_evidence *e, const struct rt_suspect_options *o,
                                      struct rt_verdict *v) {
    struct rt_otsu t;
    begin(v, e->n, false);
    enum smkd_result r = rt_otsu_fit(e->entropy, e->n, o->otsu, "entropy", &t);
    if (r != SMKD_R_OK) return r;
    const double cut = t.split ? cut_of(&t, o->cut, RT_CUT_MU2) : 0.5;
    for (size_t i = 0; i < e->n; i++) {
        const bool other = e->proposed[i] != e->given[i];
        v->noisy[i] = other && e->entropy[i] < cut;
        v->score[i] = other ? 1 - e->entropy[i] : e->entropy[i] - 1;
    }
    const double full = log(e->classes);
    tell_otsu(v, e->entropy, &t, full, 0);
    str_addf(&v->rule, "another class with entropy < %.6g", cut * full);
    return end(o, v);
}

static enum smkd_result gmm_judge(const struct rt_evidence *e, const struct rt_suspect_options *o,
                                  struct rt_verdict *v) {
    struct rt_gaussians g = {{0}, {0}, {0}, 0, 0, false};
    begin(v, e->n, true);
    double *unit = xcalloc(e->n + 1, sizeof *unit);
    enum smkd_result r = rt_fit_check(e->loss, e->n, "loss");
    if (r == SMKD_R_OK) rt_to_unit(e->loss, e->n, unit);
    if (r == SMKD_R_OK) r = rt_gaussians_fit(unit, e->n, &rt_gaussians_dividemix, "loss", &g);
    if (r == SMKD_R_OK) {
        const double least = rt_quantile(e->loss, e->n, 0), range = rt_quantile(e->loss, e->n, 1) - least;
        for (size_t i = 0; i < e->n; i++) {
            v->trust[i] = rt_gaussians_low(&g, unit[i]);
            v->noisy[i] = v->trust[i] < o->posterior;
            v->score[i] = 1 - v->trust[i];
        }
        tell(v, "posterior", o->posterior);
        static const char *const names[2][3] = {{"low_mean", "low_deviation", "low_weight"},
                                                {"high_mean", "high_deviation", "high_weight"}};
        for (int k = 0; k < 2; k++) {
            tell(v, names[k][0], g.mean[k] * range + least);
            tell(v, names[k][1], sqrt(g.variance[k]) * range);
            tell(v, names[k][2], g.weight[k]);
        }
        str_addf(&v->rule, "posterior of low losses < %.6g", o->posterior);
    }
    free(unit);
    return r == SMKD_R_OK ? end(o, v) : r;
}

static enum smkd_result confident_judge(const struct rt_evidence *e, const struct rt_suspect_options *o,
                                        struct rt_verdict *v) {
    begin(v, e->n, false);
    v->thresholds = xcalloc((size_t)e->classes, sizeof *v->thresholds);
    enum smkd_result r = rt_confident_learning(e->mean, e->given, e->n, e->classes, o->filter, v->noisy, v->thresholds);
    if (r != SMKD_R_OK) return r;
    for (size_t i = 0; i < e->n; i++) { // cleanlab's normalized_margin, the other way round
        const double *p = e->mean + i * (size_t)e->classes;
        double other = 0;
        for (int c = 0; c < e->classes; c++)
            if (c != e->given[i] && p[c] > other) other = p[c];
        v->score[i] = other - p[e->given[i]];
    }
    str_addf(&v->rule, "confident learning, %s", rt_filter_words[o->filter]);
    return end(o, v);
}

static enum smkd_result prediction_judge(const struct rt_evidence *e, const struct rt_suspect_options *o,
                                         struct rt_verdict *v) {
    begin(v, e->n, false);
    for (size_t i = 0; i < e->n; i++) {
        const double *p = e->mean + i * (size_t)e->classes;
        v->noisy[i] = e->proposed[i] != e->given[i];
        v->score[i] = p[e->proposed[i]] - p[e->given[i]];
    }
    str_add(&v->rule, "another class is predicted");
    return end(o, v);
}

static enum smkd_result vote_judge(const struct rt_evidence *e, const struct rt_suspect_options *o,
                                   struct rt_verdict *v);

const struct rt_criterion rt_criteria[] = {
    {"agreement", "product of the networks' probabilities of the given label, below Otsu's mu1", true, true,
     agreement_judge},
    {"loss", "mean cross entropy of the networks, from Otsu's s on", true, true, loss_judge},
    {"entropy", "another class is predicted with an entropy below Otsu's mu2", true, false, entropy_judge},
    {"gmm", "mixture of two Gaussians on the losses: posterior of the lower one below --posterior", true, true,
     gmm_judge},
    {"confident-learning", "confident learning as in cleanlab's find_label_issues, by --filter", false, false,
     confident_judge},
    {"vote", "how many of these five say noisy, from --votes on", false, false, vote_judge},
    {"prediction", "another class is predicted: for --cross-validate", false, false, prediction_judge},
    {NULL, NULL, false, false, NULL},
};

static enum smkd_result vote_judge(const struct rt_evidence *e, const struct rt_suspect_options *o,
                                   struct rt_verdict *v) {
    begin(v, e->n, false);
    struct rt_suspect_options each = *o;
    each.share = NAN;
    for (const struct rt_criterion *c = rt_criteria; c->judge != vote_judge; c++) {
        struct rt_verdict one;
        enum smkd_result r = c->judge(e, &each, &one);
        for (size_t i = 0; i < e->n && r == SMKD_R_OK; i++) v->score[i] += one.noisy[i];
        if (r == SMKD_R_OK) tell(v, c->name, (double)one.suspects);
        rt_verdict_release(&one);
        if (r != SMKD_R_OK) return r;
    }
    for (size_t i = 0; i < e->n; i++) v->noisy[i] = v->score[i] >= o->votes;
    str_addf(&v->rule, "%d votes of %d", o->votes, v->n_numbers);
    return end(&each, v);
}

const struct rt_criterion *rt_criterion_find(const char *name) {
    for (const struct rt_criterion *c = rt_criteria; c->name; c++)
        if (strcmp(c->name, name) == 0) return c;
    return NULL;
}

// --- beside the true labels ------------------------------------------------------------------------------------------

struct point {
    double precision, recall, f1;
};

static struct point point(size_t found, size_t noisy, size_t wrong) {
    struct point p = {noisy ? 100 * (double)found / (double)noisy : 0, wrong ? 100 * (double)found / (double)wrong : 0,
                      0};
    if (p.precision + p.recall > 0) p.f1 = 2 * p.precision * p.recall / (p.precision + p.recall);
    return p;
}

static bool is_wrong(const struct rt_evidence *e, const int32_t *truth, size_t i) {
    return e->given[i] != truth[e->image[i]];
}

// Goes through the scores from the most suspicious on: `put`, unless NULL, gets each. Returns the average precision.
static double walk(const struct rt_evidence *e, const struct rt_verdict *v, const int32_t *truth, size_t wrong,
                   void (*put)(void *to, double score, size_t noisy, const struct point *p), void *to) {
    struct ranked *r = rank(v);
    double area = 0, recall = 0;
    size_t found = 0;
    for (size_t i = 0; i < v->n; i++) {
        found += is_wrong(e, truth, r[i].at);
        if (i + 1 < v->n && r[i + 1].score == r[i].score) continue;
        const struct point p = point(found, i + 1, wrong);
        area += (p.recall - recall) * p.precision / 100;
        recall = p.recall;
        if (put) put(to, r[i].score, i + 1, &p);
    }
    free(r);
    return area;
}

void rt_finding_of(const struct rt_evidence *e, const struct rt_verdict *v, const int32_t *truth,
                   struct rt_finding *f) {
    *f = (struct rt_finding){0};
    for (size_t i = 0; i < e->n; i++) {
        const bool wrong = is_wrong(e, truth, i);
        f->wrong += wrong;
        f->found += wrong && v->noisy[i];
        f->right += (v->noisy[i] ? e->proposed[i] : e->given[i]) == truth[e->image[i]];
    }
    const struct point p = point(f->found, v->suspects, f->wrong);
    f->precision = p.precision;
    f->recall = p.recall;
    f->f1 = p.f1;
    f->area = walk(e, v, truth, f->wrong, NULL, NULL);
}

static void put_line(void *to, double score, size_t noisy, const struct point *p) {
    char text[RT_NUMBER_TEXT];
    rt_number_text(score, text);
    str_addf(to, "%s,%zu,%.6g,%.6g,%.6g\n", text, noisy, p->precision, p->recall, p->f1);
}

void rt_finding_curve(const struct rt_evidence *e, const struct rt_verdict *v, const int32_t *truth, struct str *out) {
    size_t wrong = 0;
    for (size_t i = 0; i < e->n; i++) wrong += is_wrong(e, truth, i);
    str_add(out, "score,noisy,precision,recall,f1\n");
    walk(e, v, truth, wrong, put_line, out);
}
