#include "schedule.h"

#include "run_config.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum smkd_result rt_milestones_parse(const char *text, int64_t *out, size_t *n) {
    *n = 0;
    while (*text) {
        char one[24];
        size_t len = strcspn(text, ", ");
        if (len == 0) {
            text++;
            continue;
        }
        if (*n == RT_MAX_MILESTONES)
            return rt_fail(SMKD_R_INVALID, "--lr-milestones: more than %d epochs", RT_MAX_MILESTONES);
        int64_t v = 0;
        if (len < sizeof one) {
            memcpy(one, text, len);
            one[len] = 0;
        }
        if (len >= sizeof one || !parse_i64(one, &v) || v < 1)
            return rt_fail(SMKD_R_INVALID, "--lr-milestones %s: expected epochs such as 30,60,80", text);
        out[(*n)++] = v;
        text += len;
    }
    return SMKD_R_OK;
}

// --- the schedulers --------------------------------------------------------------------------------------------------

// Half a cosine: 1 at 0, 0 at 1.
static double half_cosine(double x) { return 0.5 * (1 + cos(acos(-1.0) * x)); }

static double rate_multistep(const struct rt_schedule *s, int64_t at, int64_t step) {
    (void)step;
    double lr = s->lr;
    for (size_t i = 0; i < s->n_milestones; i++)
        if (at + s->warmup_epochs >= s->milestones[i]) lr *= s->gamma;
    return lr;
}

static double rate_step(const struct rt_schedule *s, int64_t at, int64_t step) {
    (void)step;
    return s->lr * pow(s->gamma, (double)(at / s->step_size));
}

static double rate_cosine(const struct rt_schedule *s, int64_t at, int64_t step) {
    (void)step;
    return s->min + (s->lr - s->min) * half_cosine((double)at / (double)(s->epochs - s->warmup_epochs));
}

static double rate_exponential(const struct rt_schedule *s, int64_t at, int64_t step) {
    (void)step;
    return s->lr * pow(s->gamma, (double)at);
}

static double rate_poly(const struct rt_schedule *s, int64_t at, int64_t step) {
    double of = (double)((s->epochs - s->warmup_epochs) * s->steps);
    return s->min + (s->lr - s->min) * pow(1 - (double)(at * s->steps + step) / of, s->power);
}

static double rate_onecycle(const struct rt_schedule *s, int64_t at, int64_t step) {
    double total = (double)(s->epochs * s->steps), t = (double)(at * s->steps + step);
    double up = s->warmup_epochs ? (double)(s->warmup_epochs * s->steps) : 0.3 * total;
    double low = s->lr / 25, end = s->min > 0 ? s->min : low / 1e4, peak = up - 1;
    if (t <= peak) return s->lr + (low - s->lr) * half_cosine(peak > 0 ? t / peak : 1);
    return end + (s->lr - end) * half_cosine((t - peak) / (total - 1 - peak));
}

static double rate_plateau(const struct rt_schedule *s, int64_t at, int64_t step) {
    (void)at;
    (void)step;
    return s->plateau.seen > 0 ? s->plateau.rate : s->lr;
}

static double rate_constant(const struct rt_schedule *s, int64_t at, int64_t step) {
    (void)at;
    (void)step;
    return s->lr;
}

#define ROW(name, uses, gamma) {#name, rate_##name, uses, gamma},
static const struct rt_scheduler schedulers[] = {RT_SCHEDULERS(ROW)};
enum { N_SCHEDULERS = sizeof schedulers / sizeof *schedulers };

static const struct rt_scheduler *scheduler(const char *name) {
    for (size_t i = 0; i < N_SCHEDULERS; i++)
        if (strcmp(schedulers[i].name, name) == 0) return &schedulers[i];
    BUG("no scheduler %s", name);
}

// --- from the configuration ------------------------------------------------------------------------------------------

static void default_milestones(struct rt_config *c) {
    static const int percent[] = {30, 60, 80};
    struct str s = STR_INIT;
    int64_t last = 0;
    str_add(&s, "");
    for (int i = 0; i < 3; i++) {
        int64_t m = (c->epochs * percent[i] + 50) / 100;
        if (m < 1 || m == last) continue;
        str_addf(&s, "%s%lld", s.len ? "," : "", (long long)m);
        last = m;
    }
    free(c->lr_milestones);
    c->lr_milestones = memcpy(xmalloc(s.len + 1), s.s, s.len + 1);
    str_release(&s);
}

static enum smkd_result check_uses(const struct rt_config *c, const struct rt_scheduler *kind) {
    struct rt_config plain;
    rt_config_init(&plain, c->row);
    const bool own = kind->uses & RT_OWN_WARMUP, warmup = c->lr_warmup_epochs > 0 && !own,
               by_epoch = strcmp(c->lr_warmup_method, "steps") != 0;
    // Milestones and gamma are not among them: every scheduler always took those.
    const struct {
        bool unused;
        const char *flag, *more;
    } looks[] = {
        {!(kind->uses & RT_USES_STEP_SIZE) && c->lr_step_size != plain.lr_step_size, "lr-step-size", ""},
        {!(kind->uses & RT_USES_POWER) && c->lr_power != plain.lr_power, "lr-power", ""},
        {!(kind->uses & RT_USES_MIN) && c->lr_min != plain.lr_min, "lr-min", ""},
        {!(kind->uses & RT_USES_PATIENCE) && c->lr_patience != plain.lr_patience, "lr-patience",
         " (--patience ends a run that no longer improves)"},
        {!warmup && by_epoch, "lr-warmup-method", own ? "" : " without --lr-warmup-epochs"},
        {!(warmup && by_epoch) && c->lr_warmup_decay != plain.lr_warmup_decay, "lr-warmup-decay",
         own ? "" : " without --lr-warmup-epochs and --lr-warmup-method linear or constant"},
    };
    rt_config_release(&plain);
    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++)
        if (looks[i].unused)
            return rt_fail(SMKD_R_INVALID, "--%s: --lr-scheduler %s does not look at it%s", looks[i].flag, kind->name,
                           looks[i].more);
    return SMKD_R_OK;
}

enum smkd_result rt_schedule_resolve(struct rt_config *c) {
    const struct rt_scheduler *kind = scheduler(c->lr_scheduler);
    if (c->lr_warmup_epochs >= c->epochs)
        return rt_fail(SMKD_R_INVALID, "--lr-warmup-epochs %lld: must be less than --epochs %lld",
                       (long long)c->lr_warmup_epochs, (long long)c->epochs);
    if (isnan(c->lr_gamma) && isnan(kind->gamma))
        return rt_fail(SMKD_R_INVALID, "--lr-scheduler %s: needs --lr-gamma, the factor of each epoch, such as 0.95",
                       kind->name);
    if (isnan(c->lr_gamma)) c->lr_gamma = kind->gamma;
    if (strcmp(c->lr_milestones, "auto") == 0) default_milestones(c);
    if (c->lr_min > c->lr)
        return rt_fail(SMKD_R_INVALID, "--lr-min %g: must not be more than --lr %g", c->lr_min, c->lr);
    int64_t m[RT_MAX_MILESTONES];
    size_t n;
    enum smkd_result r = rt_milestones_parse(c->lr_milestones, m, &n);
    return r == SMKD_R_OK ? check_uses(c, kind) : r;
}

enum smkd_result rt_schedule_init(struct rt_schedule *s, const struct rt_config *c, int64_t steps) {
    *s = (struct rt_schedule){.kind = scheduler(c->lr_scheduler),
                              .lr = c->lr,
                              .gamma = c->lr_gamma,
                              .min = c->lr_min,
                              .power = c->lr_power,
                              .warmup_decay = c->lr_warmup_decay,
                              .epochs = c->epochs,
                              .warmup_epochs = c->lr_warmup_epochs,
                              .steps = steps,
                              .step_size = c->lr_step_size,
                              .patience = c->lr_patience};
    s->warmup = strcmp(c->lr_warmup_method, "linear") == 0     ? RT_WARMUP_LINEAR
                : strcmp(c->lr_warmup_method, "constant") == 0 ? RT_WARMUP_CONSTANT
                                                               : RT_WARMUP_STEPS;
    return rt_milestones_parse(c->lr_milestones, s->milestones, &s->n_milestones);
}

// --- in the run ------------------------------------------------------------------------------------------------------

static double warming(const struct rt_schedule *s, int64_t done, int64_t step) {
    double d = s->warmup_decay;
    switch (s->warmup) {
    case RT_WARMUP_LINEAR:
        return s->lr * (d + (1 - d) * (double)done / (double)s->warmup_epochs);
    case RT_WARMUP_CONSTANT:
        return s->lr * d;
    case RT_WARMUP_STEPS:
        break;
    }
    double at = (double)(done * s->steps + step + 1), of = (double)(s->warmup_epochs * s->steps);
    return s->lr * at / of;
}

double rt_schedule_lr(const struct rt_schedule *s, int64_t epoch, int64_t step) {
    int64_t done = epoch - 1; // whole epochs behind this step
    if (s->kind->uses & RT_OWN_WARMUP) return s->kind->rate(s, done, step);
    return done < s->warmup_epochs ? warming(s, done, step) : s->kind->rate(s, done - s->warmup_epochs, step);
}

void rt_schedule_measured(struct rt_schedule *s, int64_t epoch, double measure, bool less_is_better) {
    struct rt_plateau_state *p = &s->plateau;
    if (!(s->kind->uses & RT_USES_PATIENCE) || epoch <= s->warmup_epochs) return;
    if (p->seen == 0) *p = (struct rt_plateau_state){.best = less_is_better ? DBL_MAX : -DBL_MAX, .rate = s->lr};
    p->seen++;
    if (less_is_better ? measure < p->best * (1 - 1e-4) : measure > p->best * (1 + 1e-4)) {
        p->best = measure;
        p->bad = 0;
    } else if (++p->bad > (double)s->patience) {
        double lower = fmax(p->rate * s->gamma, s->min);
        if (p->rate - lower > 1e-8) p->rate = lower; // PyTorch's eps
        p->bad = 0;
    }
}

void rt_schedule_stage(struct rt_schedule *s, const struct rt_config *c, int64_t epochs, double rate) {
    s->kind = scheduler(rate > 0 ? "constant" : c->lr_scheduler);
    s->lr = rate > 0 ? rate : c->lr;
    s->epochs = epochs;
    s->warmup_epochs = rate > 0 ? 0 : c->lr_warmup_epochs < epochs ? c->lr_warmup_epochs : epochs - 1;
    rt_milestones_parse(c->lr_milestones, s->milestones, &s->n_milestones); // has been looked at
    for (size_t i = 0; i < s->n_milestones; i++)
        s->milestones[i] = (s->milestones[i] * epochs + c->epochs / 2) / c->epochs;
}

void rt_schedule_restart(struct rt_schedule *s) { s->plateau.seen = 0; }

void rt_keep_schedule(struct rt_kept *k, struct rt_schedule *s) {
    struct rt_plateau_state *p = &s->plateau;
    if (!(s->kind->uses & RT_USES_PATIENCE)) return;
    rt_keep_number(k, "plateau.seen", &p->seen, 0, 1e9, false);
    rt_keep_number(k, "plateau.best", &p->best, -DBL_MAX, DBL_MAX, false);
    rt_keep_number(k, "plateau.bad", &p->bad, 0, 1e9, false);
    rt_keep_number(k, "plateau.rate", &p->rate, 0, 1e6, false);
}

bool rt_out_of_patience(const struct rt_config *c, int64_t epoch, int64_t best_epoch) {
    return c->patience > 0 && epoch - best_epoch >= c->patience;
}

double rt_threshold(double progress, double eta, double b2, int classes) {
    return log((double)classes) / eta * 2 / (1 + exp(-(progress - 0.5) * b2));
}
