// How well a method tells wrong labels from right ones, beside the true labels: what its program calls kept, and what
// it makes of them.
#ifndef SMKD_RT_DETECTION_H
#define SMKD_RT_DETECTION_H

#include "metrics.h"

struct rt_detection {
    bool keeps, corrects; // the program says which labels it keeps; and what it corrects them to
    uint64_t rows;
    uint64_t wrong, found;    // rows whose given label is wrong; those of them that are not kept
    uint64_t not_kept, right; // rows that are not kept; rows whose corrected label is the true one
};
// Adds a row. `kept` is 1 or 0, `corrected` a class; NULL: the program does not say.
void rt_detection_add(struct rt_detection *d, int64_t given, int64_t truth, const float *kept, const float *corrected);
// Sets what the rows come to, in percent, where the program says it: noise_precision (wrong among those not kept; 0
// where all are kept), noise_recall (not kept among the wrong; NAN where none is wrong) and noise_f1, their harmonic
// mean (0 where both are 0); correction_precision (corrected to the true label, among all rows).
void rt_detection_metrics(const struct rt_detection *d, int peer, struct rt_epoch_metrics *m);

#endif
