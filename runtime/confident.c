// Confident learning (Northcutt, Jiang and Chuang 2021) with the choices of cleanlab's find_label_issues.
//
// A class's threshold is the mean probability of it among the images that are given it. An image is counted in the
// confident joint where some class's probability reaches its threshold: under its given label and that class, or the
// most probable one where several do. Rows of the joint are then scaled to the numbers of given labels and rounded so
// that they keep their sums. How many of each class are pruned is read from it; which, the filters say.
//
// Sums are those of numpy, pairwise in eights, so that what is rounded is the same number to the bit.
#include "suspects.h"

#include <math.h>
#include <stdlib.h>

static const double slack = 1e-6;           // a probability this little below a threshold reaches it
static const double least_threshold = 2e-6; // of any class
static const double nobody = 2;             // threshold of a class that no image is given: nothing reaches it
enum { LEAST_KEPT = 1 };                    // images of a class that stay

static double pairwise(const double *v, size_t n, size_t stride) {
    double r[8], sum = 0;
    if (n < 8) {
        for (size_t i = 0; i < n; i++) sum += v[i * stride];
        return sum;
    }
    if (n > 128) {
        size_t half = n / 2;
        half -= half % 8;
        return pairwise(v, half, stride) + pairwise(v + half * stride, n - half, stride);
    }
    size_t i = 8;
    for (size_t k = 0; k < 8; k++) r[k] = v[k * stride];
    for (; i < n - n % 8; i += 8)
        for (size_t k = 0; k < 8; k++) r[k] += v[(i + k) * stride];
    sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    for (; i < n; i++) sum += v[i * stride];
    return sum;
}

struct keyed {
    double key;
    size_t at;
};
static int by_key(const void *a, const void *b) {
    const struct keyed *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

struct job {
    const double *p;
    const int32_t *given;
    size_t n, classes;
    size_t *begin, *member; // images given class c: member[begin[c]] .. member[begin[c + 1] - 1], ascending
    double *threshold;      // [classes]
    double *joint;          // [class that it is][given class]: counts, whole numbers
    struct keyed *order;    // scratch: as many as the largest class has images, or as there are classes
    double *column;         // [n] scratch
};

static const double *row(const struct job *j, size_t i) { return j->p + i * j->classes; }
static size_t count(const struct job *j, size_t c) { return j->begin[c + 1] - j->begin[c]; }

static size_t most_probable(const struct job *j, size_t i) {
    size_t best = 0;
    for (size_t c = 1; c < j->classes; c++)
        if (row(j, i)[c] > row(j, i)[best]) best = c;
    return best;
}

// Whether the given label is the most probable one, or as good as that.
static bool predicts_given(const struct job *j, size_t i) {
    const size_t given = (size_t)j->given[i];
    const double p = row(j, i)[given] + slack;
    for (size_t c = 0; c < j->classes; c++)
        if (c != given && (row(j, i)[c] > p || (row(j, i)[c] == p && c < given))) return false;
    return true;
}

static void sort_by_given(struct job *j) {
    for (size_t i = 0; i < j->n; i++) j->begin[j->given[i] + 2]++;
    for (size_t c = 0; c < j->classes; c++) j->begin[c + 2] += j->begin[c + 1];
    for (size_t i = 0; i < j->n; i++) j->member[j->begin[j->given[i] + 1]++] = i;
}

static void find_thresholds(struct job *j) {
    for (size_t c = 0; c < j->classes; c++) {
        const size_t n = count(j, c);
        for (size_t i = 0; i < n; i++) j->column[i] = row(j, j->member[j->begin[c] + i])[c];
        j->threshold[c] = n ? fmax(pairwise(j->column, n, 1) / (double)n, least_threshold) : nobody;
    }
}

// The class that an image is confidently of; `classes`: none.
static size_t confident_class(const struct job *j, size_t i) {
    size_t reached = 0, first = j->classes;
    for (size_t c = 0; c < j->classes; c++) {
        if (!(row(j, i)[c] >= j->threshold[c] - slack)) continue;
        if (!reached++) first = c;
    }
    return reached > 1 ? most_probable(j, i) : first;
}

// Rounds the numbers of one given class, so that their sum is the rounded sum: those nearest to the next whole number
// give way; among equal ones the last, where numbers grow, and the first, where they shrink.
static void round_column(struct job *j, double *v) {
    const size_t n = j->classes;
    const double sum = rint(pairwise(v, n, n));
    for (size_t c = 0; c < n; c++) {
        const double whole = rint(v[c * n]);
        j->order[c] = (struct keyed){v[c * n] - whole, c};
        v[c * n] = whole;
    }
    qsort(j->order, n, sizeof *j->order, by_key);
    for (double off; (off = sum - pairwise(v, n, n)) != 0;) {
        const size_t changes = fabs(off) < (double)n ? (size_t)fabs(off) : n;
        for (size_t k = 0; k < changes; k++) {
            if (off < 0)
                v[j->order[k].at * n]--;
            else
                v[j->order[n - 1 - k].at * n]++;
        }
    }
}

static void count_joint(struct job *j, bool *counted_elsewhere) {
    const size_t n = j->classes;
    for (size_t i = 0; i < j->n; i++) {
        const size_t c = confident_class(j, i), given = (size_t)j->given[i];
        if (c == n) continue;
        j->joint[c * n + given]++;
        counted_elsewhere[i] = c != given;
    }
    for (size_t c = 0; c < n; c++) j->joint[c * n + c] = fmax(j->joint[c * n + c], 1);
}

// Scales each given class to its number of images, all to theirs, and rounds.
static void calibrate(struct job *j) {
    static const double tiny = 1e-100;
    const size_t n = j->classes;
    for (size_t given = 0; given < n; given++) {
        double sum = 0; // of whole numbers: any order will do
        for (size_t c = 0; c < n; c++) sum += j->joint[c * n + given];
        for (size_t c = 0; c < n; c++)
            j->joint[c * n + given] = j->joint[c * n + given] / fmax(sum, tiny) * (double)count(j, given);
    }
    const double all = fmax(pairwise(j->joint, n * n, 1), tiny);
    for (size_t i = 0; i < n * n; i++) j->joint[i] = j->joint[i] / all * (double)j->n;
    for (size_t given = 0; given < n; given++) round_column(j, j->joint + given);
}

// At least one image of each class stays: what that adds to the diagonal the other counts of the class lose in equal
// parts.
static void keep_some(struct job *j) {
    const size_t n = j->classes;
    for (size_t given = 0; given < n; given++) {
        const double stays = j->joint[given * n + given], wanted = fmax(stays, LEAST_KEPT);
        double others = -1;
        for (size_t c = 0; c < n; c++) others += j->joint[c * n + given] != 0;
        const double less = (wanted - stays) / fmax(others, 1);
        for (size_t c = 0; c < n; c++) j->joint[c * n + given] = trunc(fmax(j->joint[c * n + given] - less, 0));
        j->joint[given * n + given] = wanted;
    }
}

// Marks the `many` images of a class that have the least key.
static void prune(struct job *j, size_t given, double many, double (*key)(const double *p, size_t given, size_t other),
                  size_t other, bool *noisy) {
    const size_t n = count(j, given), *member = j->member + j->begin[given];
    if (many < 1) return;
    for (size_t i = 0; i < n; i++) j->order[i] = (struct keyed){key(row(j, member[i]), given, other), member[i]};
    qsort(j->order, n, sizeof *j->order, by_key);
    for (size_t i = 0; i < n && (double)i < many; i++) noisy[j->order[i].at] = true;
}

static double probability(const double *p, size_t given, size_t other) {
    (void)other;
    return p[given];
}
static double margin(const double *p, size_t given, size_t other) { return -(p[other] - p[given]); }

static void by_class(struct job *j, bool *noisy) {
    for (size_t c = 0; c < j->classes; c++)
        if (count(j, c) > LEAST_KEPT)
            prune(j, c, (double)count(j, c) - j->joint[c * j->classes + c], probability, c, noisy);
}

static void by_noise_rate(struct job *j, bool *noisy) {
    for (size_t given = 0; given < j->classes; given++)
        for (size_t c = 0; c < j->classes && count(j, given) > LEAST_KEPT; c++)
            if (c != given) prune(j, given, j->joint[c * j->classes + given], margin, c, noisy);
}

static void both(struct job *j, bool *noisy) {
    bool *other = xcalloc(j->n + 1, sizeof *other);
    by_class(j, noisy);
    by_noise_rate(j, other);
    for (size_t i = 0; i < j->n; i++) noisy[i] = noisy[i] && other[i];
    free(other);
}

// What the joint counts off its diagonal is there already.
static void as_counted(struct job *j, bool *noisy) {
    (void)j;
    (void)noisy;
}

static void (*const filters[])(struct job *j, bool *noisy) = {[RT_PRUNE_BY_NOISE_RATE] = by_noise_rate,
                                                              [RT_PRUNE_BY_CLASS] = by_class,
                                                              [RT_PRUNE_BOTH] = both,
                                                              [RT_CONFIDENT_LEARNING] = as_counted};

enum smkd_result rt_confident_learning(const double *p, const int32_t *given, size_t n, int classes,
                                       enum rt_filter filter, bool *noisy, double *thresholds) {
    const size_t k = (size_t)classes, most = n > k ? n : k;
    if (!budget_allows((uint64_t)k * k * sizeof(double)))
        return rt_fail(SMKD_R_NOMEM, "confident learning: a matrix of %d classes: %s", classes, budget_why());
    struct job j = {.p = p,
                    .given = given,
                    .n = n,
                    .classes = k,
                    .begin = xcalloc(k + 2, sizeof *j.begin),
                    .member = xcalloc(n + 1, sizeof *j.member),
                    .threshold = xcalloc(k, sizeof *j.threshold),
                    .joint = xcalloc(k * k, sizeof *j.joint),
                    .order = xcalloc(most, sizeof *j.order),
                    .column = xcalloc(n + 1, sizeof *j.column)};
    for (size_t i = 0; i < n; i++) noisy[i] = false;
    sort_by_given(&j);
    find_thresholds(&j);
    count_joint(&j, noisy);
    if (filter != RT_CONFIDENT_LEARNING) {
        for (size_t i = 0; i < n; i++) noisy[i] = false;
        calibrate(&j);
        keep_some(&j);
    }
    filters[filter](&j, noisy);
    for (size_t i = 0; i < n; i++) noisy[i] = noisy[i] && !predicts_given(&j, i);
    for (size_t c = 0; c < k && thresholds; c++) thresholds[c] = j.threshold[c];
    free(j.begin);
    free(j.member);
    free(j.threshold);
    free(j.joint);
    free(j.order);
    free(j.column);
    return SMKD_R_OK;
}
