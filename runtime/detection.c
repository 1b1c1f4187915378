#include "detection.h"

#include <math.h>

void rt_detection_add(struct rt_detection *d, int64_t given, int64_t truth, const float *kept, const float *corrected) {
    const bool wrong = given != truth;
    d->rows++;
    d->wrong += wrong;
    if (kept) {
        d->keeps = true;
        d->not_kept += *kept == 0;
        d->found += *kept == 0 && wrong;
    }
    if (corrected) {
        d->corrects = true;
        d->right += (double)*corrected == (double)truth;
    }
}

static double percent(uint64_t a, uint64_t b) { return 100 * (double)a / (double)b; }

void rt_detection_metrics(const struct rt_detection *d, int peer, struct rt_epoch_metrics *m) {
    if (d->keeps) {
        const double p = d->not_kept ? percent(d->found, d->not_kept) : 0,
                     r = d->wrong ? percent(d->found, d->wrong) : NAN;
        rt_metrics_set(m, RT_OF_PEER, peer, "noise_precision", p);
        rt_metrics_set(m, RT_OF_PEER, peer, "noise_recall", r);
        rt_metrics_set(m, RT_OF_PEER, peer, "noise_f1", p + r == 0 ? 0 : 2 * p * r / (p + r));
    }
    if (d->corrects) rt_metrics_set(m, RT_OF_PEER, peer, "correction_precision", percent(d->right, d->rows));
}
