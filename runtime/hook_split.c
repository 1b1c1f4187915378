#include "fits.h"
#include "hooks.h"
#include "rt_internal.h"
#include "stages.h"

#include <stdlib.h>
#include <string.h>

// What is told of a network's split, where it is new, and counted in each epoch where the true labels are known.
static void tell(struct run *r, int64_t epoch, const struct rt_table *keep, int k, bool news) {
    const struct rt_train_data *d = &r->data;
    size_t kept = 0;
    for (size_t i = 0; i < d->n_train; i++) {
        const int64_t image = d->train[i];
        kept += keep->data[image] > 0;
        if (r->detection)
            rt_detection_add(&r->detection[k], d->given[image], d->set.train.labels[image], &keep->data[image], NULL);
    }
    if (!news) return;
    rt_progress_note(&r->progress, "epoch %lld: network %d believes %zu of %zu labels", (long long)epoch, k, kept,
                     d->n_train);
}

// The losses of this survey in [0, 1], or the mean of those of the last five, of which the table has a column each.
static enum smkd_result losses(struct run *r, int k, int64_t survey, double *loss) {
    const struct rt_table *now = rt_tables_of(&r->tables, "table.loss", k);
    const size_t n = r->data.n_train;
    for (size_t i = 0; i < n; i++) loss[i] = (double)now->data[r->data.train[i]];
    enum smkd_result e = rt_fit_check(loss, n, "loss");
    if (e != SMKD_R_OK) return e;
    rt_to_unit(loss, n, loss);
    char name[64];
    snprintf(name, sizeof name, "table.past.%d", k);
    struct rt_table *past = rt_tables_find(&r->tables, name);
    for (size_t i = 0; past && i < n; i++) {
        float *row = past->data + (size_t)r->data.train[i] * METHOD_SPLIT_EPOCHS;
        row[survey % METHOD_SPLIT_EPOCHS] = (float)loss[i];
        const int64_t seen = survey + 1 < METHOD_SPLIT_EPOCHS ? survey + 1 : METHOD_SPLIT_EPOCHS;
        loss[i] = 0;
        for (int64_t j = 0; j < seen; j++) loss[i] += (double)row[j] / (double)seen;
    }
    return SMKD_R_OK;
}

static enum smkd_result by_mixture(struct run *r, int k, int64_t survey, double *loss) {
    struct rt_table *clean = rt_tables_of(&r->tables, "table.clean", k),
                    *keep = rt_tables_of(&r->tables, "table.keep", k);
    const double limit = method_number(r->c->row, &r->c->values, "p-threshold");
    const size_t n = r->data.n_train;
    enum smkd_result e = losses(r, k, survey, loss);
    if (e != SMKD_R_OK) return e;
    struct rt_gaussians fit;
    e = rt_gaussians_fit(loss, n, &rt_gaussians_dividemix, "loss", &fit);
    for (size_t i = 0; i < n && e == SMKD_R_OK; i++) {
        const int64_t image = r->data.train[i];
        const double w = rt_gaussians_low(&fit, loss[i]);
        clean->data[image] = (float)w;
        keep->data[image] = w > limit;
    }
    return e;
}

static bool is_split(const struct run *r, const char *by) {
    return strcmp(method_word(r->c->row, &r->c->values, "split"), by) == 0;
}

// --trusted
enum smkd_result rt_hook_split_start(struct run *r) {
    if (!is_split(r, "given")) return SMKD_R_OK;
    const char *path = method_word(r->c->row, &r->c->values, "trusted");
    if (strcmp(path, "none") == 0)
        return rt_fail(SMKD_R_INVALID,
                       "%s: which labels are believed is not said: give --trusted FILE with 1 or 0 for each training "
                       "image, as smkd-run detect-noise --apply drop writes it",
                       r->c->method);
    const size_t n = r->data.set.train.n;
    int32_t *marks = xcalloc(n, sizeof *marks);
    enum smkd_result e = rt_marks_read(path, r->data.set.train_total, n, marks);
    for (int k = 0; k < r->t->n_peers && e == SMKD_R_OK; k++) {
        struct rt_table *keep = rt_tables_of(&r->tables, "table.keep", k);
        for (size_t i = 0; i < n; i++) keep->data[i] = marks[i] != 0;
    }
    free(marks);
    return e;
}

enum smkd_result rt_hook_split(struct run *r, int64_t epoch) {
    const struct method *m = r->c->row;
    const struct method_values *v = &r->c->values;
    const int64_t in_stage = rt_in_stage(r, epoch);
    enum smkd_result e = SMKD_R_OK;
    const struct method_moment at = rt_moment(r, epoch);
    const bool mixture = method_survey(m, v, &at);
    if (!mixture && !is_split(r, "given")) return SMKD_R_OK;
    double *loss = xcalloc(r->data.n_train + 1, sizeof *loss);
    const int64_t survey = in_stage - 1 - (int64_t)method_number(m, v, "semi-warmup"); // from 0, of the mixture
    for (int k = 0; k < r->t->n_peers && e == SMKD_R_OK; k++) {
        if (mixture && is_split(r, "gmm")) e = by_mixture(r, k, survey, loss);
        if (e == SMKD_R_OK) tell(r, epoch, rt_tables_of(&r->tables, "table.keep", k), k, mixture || in_stage == 1);
    }
    free(loss);
    return e;
}
