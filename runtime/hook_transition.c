#include "hooks.h"
#include "stages.h"
#include "survey.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct said {
    const float *rows; // [images][classes]
    const struct rt_train_data *data;
    size_t classes;
};

static const float *row_of(const struct said *s, size_t i) { return s->rows + (size_t)s->data->train[i] * s->classes; }

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// The image that is class c most surely, leaving out those from the percentile on (its authors' way of meeting
// mistakes: numpy's percentile with "higher"); of equal ones the first. `scratch` has room for a number an image.
static size_t anchor(const struct said *s, size_t c, double percentile, float *scratch) {
    const size_t n = s->data->n_train;
    float limit = INFINITY;
    if (percentile < 100) {
        for (size_t i = 0; i < n; i++) scratch[i] = row_of(s, i)[c];
        qsort(scratch, n, sizeof *scratch, ascending);
        limit = scratch[(size_t)ceil((double)(n - 1) * percentile / 100)];
    }
    size_t best = SIZE_MAX, any = 0;
    for (size_t i = 0; i < n; i++) {
        const float v = row_of(s, i)[c];
        if (v > row_of(s, any)[c]) any = i;
        if (v < limit && (best == SIZE_MAX || v > row_of(s, best)[c])) best = i;
    }
    return best == SIZE_MAX ? any : best;
}

static void by_anchors(const struct said *s, double percentile, float *scratch, double *t) {
    for (size_t c = 0; c < s->classes; c++) {
        const float *p = row_of(s, anchor(s, c, percentile, scratch));
        for (size_t j = 0; j < s->classes; j++) t[c * s->classes + j] = (double)p[j];
    }
}

static size_t surest(const float *p, size_t n) {
    size_t best = 0;
    for (size_t j = 1; j < n; j++)
        if (p[j] > p[best]) best = j;
    return best;
}

// Of the images that are taken for class l the share with each given label; a class that no image is taken for has
// zeros.
static void count_labels(const struct said *s, double *t) {
    const size_t c = s->classes;
    memset(t, 0, c * c * sizeof *t);
    for (size_t i = 0; i < s->data->n_train; i++)
        t[surest(row_of(s, i), c) * c + (size_t)s->data->given[s->data->train[i]]] += 1;
    for (size_t l = 0; l < c; l++) {
        double sum = 0;
        for (size_t j = 0; j < c; j++) sum += t[l * c + j];
        for (size_t j = 0; j < c && sum > 0; j++) t[l * c + j] /= sum;
    }
}

// Anchors say how a class becomes a prediction, counts how a prediction becomes a label (Yao 2020).
static void by_both(const struct said *s, double percentile, float *scratch, double *t) {
    const size_t c = s->classes;
    double *first = xcalloc(c * c, sizeof *first), *second = xcalloc(c * c, sizeof *second);
    by_anchors(s, percentile, scratch, first);
    count_labels(s, second);
    memset(t, 0, c * c * sizeof *t);
    for (size_t i = 0; i < c; i++)
        for (size_t l = 0; l < c; l++)
            for (size_t j = 0; j < c; j++) t[i * c + j] += first[i * c + l] * second[l * c + j];
    free(first);
    free(second);
}

// What the labels really did, where the true ones are known: mean absolute difference, or NAN.
static double off_by(const struct said *s, const double *t) {
    const size_t c = s->classes;
    const struct rt_train_data *d = s->data;
    if (!d->replaced) return NAN;
    double *truth = xcalloc(c * c, sizeof *truth), sum = 0;
    for (size_t i = 0; i < d->n_train; i++)
        truth[(size_t)d->set.train.labels[d->train[i]] * c + (size_t)d->given[d->train[i]]] += 1;
    for (size_t l = 0; l < c; l++) {
        double all = 0;
        for (size_t j = 0; j < c; j++) all += truth[l * c + j];
        for (size_t j = 0; j < c && all > 0; j++) sum += fabs(truth[l * c + j] / all - t[l * c + j]);
    }
    free(truth);
    return sum / (double)(c * c);
}

static void tell(struct run *r, int k, const double *t, double off) {
    const size_t c = (size_t)r->classes;
    double least = INFINITY, most = -INFINITY, sum = 0;
    for (size_t i = 0; i < c; i++) {
        const double v = t[i * c + i];
        least = fmin(least, v);
        most = fmax(most, v);
        sum += v;
    }
    char known[80] = "";
    if (!isnan(off)) snprintf(known, sizeof known, "; the true shares differ by %.4f in the mean", off);
    rt_progress_note(&r->progress,
                     "network %d: labels are taken to be right with probability %.3f (%.3f to %.3f by class)%s", k,
                     sum / (double)c, least, most, known);
}

enum smkd_result rt_hook_matrix_given(struct run *r) {
    const bool given = strcmp(method_word(r->c->row, &r->c->values, "estimator"), "given") == 0;
    if (!given || r->c->first_state || r->t->resume) return SMKD_R_OK; // a checkpoint has it
    return rt_fail(SMKD_R_INVALID,
                   "--estimator given: the matrix is missing; give it with --state transition=FILE.npy");
}

enum smkd_result rt_hook_transition(struct run *r, int64_t epoch, const struct rt_epoch_metrics *m) {
    (void)m;
    const struct method *row = r->c->row;
    const char *how = method_word(row, &r->c->values, "estimator");
    if (strcmp(how, "given") == 0 || rt_stage_at(r, epoch) != 1 || !rt_stage_ends(r, epoch)) return SMKD_R_OK;
    double entropy[METHOD_MAX_PEERS] = {0};
    enum smkd_result e = rt_survey(r, r->all, epoch, entropy);
    const size_t c = (size_t)r->classes;
    double *t = xcalloc(c * c, sizeof *t);
    float *scratch = xcalloc(r->data.n_train + 1, sizeof *scratch);
    const double percentile = method_number(row, &r->c->values, "anchor-percentile");
    for (int k = 0; k < r->t->n_peers && e == SMKD_R_OK; k++) {
        const struct rt_table *table = rt_tables_of(&r->tables, "table.said", k);
        struct rt_table *to = rt_tables_of(&r->tables, "state.transition", k);
        CHECK(to->width == c * c, "transition: a matrix of another size");
        const struct said s = {table->data, &r->data, c};
        if (strcmp(how, "dual-t") == 0)
            by_both(&s, percentile, scratch, t);
        else
            by_anchors(&s, percentile, scratch, t);
        for (size_t i = 0; i < c * c; i++) to->data[i] = (float)t[i];
        tell(r, k, t, off_by(&s, t));
    }
    free(t);
    free(scratch);
    return e;
}
