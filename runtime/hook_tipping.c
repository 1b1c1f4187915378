#include "fits.h"
#include "hooks.h"
#include "stages.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// memory[epoch % SERIES]: the student's confidence of the last epochs; memory[TIPPED]: 1 once the groups are made.
enum { STUDENT = 1, K = 2, SERIES = 6, TIPPED = SERIES };

// Epochs count from 0 here, as in the paper. An epoch is known to be the tipping point K epochs later, and none is
// looked for in the first SERIES.
static int64_t tipping_point(const double *memory, int64_t now) {
    if (now < SERIES - 1) return -1;
    for (int64_t i = now == SERIES - 1 ? K : now - K; i <= now - K; i++) {
        bool peak = true;
        for (int64_t j = i - K; j <= i + K; j++) peak = peak && (j == i || memory[i % SERIES] > memory[j % SERIES]);
        if (peak) return i;
    }
    return -1;
}

static size_t group(struct run *r, const struct rt_otsu *o, const double *agree, float *groups) {
    size_t wrong = 0;
    for (size_t i = 0; i < r->data.n_train; i++) {
        const double v = agree[i];
        const int g = v >= o->high ? 1 : v >= o->threshold ? 2 : v >= o->low ? 3 : METHOD_BLIND_GROUPS;
        groups[r->data.train[i]] = (float)g;
        wrong += g == METHOD_BLIND_GROUPS;
    }
    return wrong;
}

static enum smkd_result split(struct run *r, int64_t at) {
    const struct method *m = r->c->row;
    struct rt_table *agree = rt_tables_find(&r->tables, "table.agree"),
                    *groups = rt_tables_find(&r->tables, "table.group");
    CHECK(agree && groups && agree->width == METHOD_BLIND_EPOCHS, "tipping: without the tables of Blind");
    double *v = xcalloc(r->data.n_train + 1, sizeof *v);
    const size_t column = (size_t)((at + 1) % METHOD_BLIND_EPOCHS); // the program counts epochs from 1
    for (size_t i = 0; i < r->data.n_train; i++)
        v[i] = (double)agree->data[(size_t)r->data.train[i] * agree->width + column];
    const bool paper = strcmp(method_word(m, &r->c->values, "otsu"), "paper") == 0;
    struct rt_otsu o;
    enum smkd_result e = rt_otsu_fit(v, r->data.n_train, paper ? RT_OTSU_VARIANCE : RT_OTSU_DEVIATION,
                                     "agreement with a given label", &o);
    if (e == SMKD_R_OK) {
        const size_t wrong = group(r, &o, v, groups->data);
        rt_progress_note(
            &r->progress,
            "epoch %lld was the tipping point: labels are judged by mu1 %.3f, s %.3f, mu2 %.3f, and %zu of %zu "
            "are taken for wrong",
            (long long)at + 1, o.low, o.threshold, o.high, wrong, r->data.n_train);
    }
    free(v);
    return e;
}

enum smkd_result rt_hook_tipping(struct run *r, int64_t epoch, const struct rt_epoch_metrics *m) {
    double *memory = r->hook_memory;
    const int64_t now = rt_in_stage(r, epoch) - 1;
    if (memory[TIPPED] != 0) return SMKD_R_OK;
    memory[now % SERIES] = rt_metrics_get(m, RT_OF_PEER, STUDENT, "mean_confidence");
    const int64_t at = tipping_point(memory, now);
    if (at >= 0) {
        memory[TIPPED] = 1;
        return split(r, at);
    }
    if (epoch == r->all_epochs)
        rt_progress_note(&r->progress,
                         "the student's confidence never passed a peak: no label was refined; give more --epochs");
    return SMKD_R_OK;
}
