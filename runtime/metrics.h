// What is measured: accuracy of single networks and of ensembles, and the two metrics files of a run.
#ifndef SMKD_RT_METRICS_H
#define SMKD_RT_METRICS_H

#include "data.h"
#include "peer.h"

// Number of classes ahead of `label`: those with a larger score, and equal ones of lower index. The label is among the
// k best when this is below k. A score that is not a number is behind all others.
int rt_rank(const float *scores, int classes, int64_t label);

#define RT_ECE_BINS 10
struct rt_score {
    uint64_t n, top1, top5;
    double nll;
    double bin_conf[RT_ECE_BINS], bin_hit[RT_ECE_BINS];
};
// Adds one row of class probabilities.
void rt_score_add(struct rt_score *s, const double *p, int classes, int64_t label);
// The same with the label's rank given. A network's own ranks come from its logits: softmax can make unequal ones
// equal.
void rt_score_add_ranked(struct rt_score *s, const double *p, int classes, int64_t label, int ahead);
double rt_score_top1(const struct rt_score *s); // percent
double rt_score_top5(const struct rt_score *s); // percent
double rt_score_nll(const struct rt_score *s);  // nats
double rt_score_ece(const struct rt_score *s);  // percent: 10 bins (lo, hi] of the largest probability
void rt_softmax(const float *z, int classes, double *p);

// Runs `loader` through epoch 0 with all peers in inference mode. scores[k] is peer k's, scores[n] their ensemble's
// (mean of the probabilities). `scratch` has 2 * classes elements.
enum smkd_result rt_evaluate(struct rt_peer *peers, int n, struct rt_loader *loader, double *scratch,
                             struct rt_score *scores);

// One epoch of training. Percentages are 0..100, shares 0..1. NAN where something was not measured.
struct rt_peer_metrics {
    double loss, train_given, train_true; // accuracy in train mode on the given and on the true labels
    double test_top1, test_top5, test_nll, val_top1;
    double entropy, trust; // means over the epoch's samples, train mode
    double selected;       // share of samples that this peer taught the other
    double taught;         // their count (the paper's knowledge communication frequency)
};
struct rt_epoch_metrics {
    int64_t epoch;
    double progress, lr, threshold; // of the last step
    struct rt_peer_metrics peers[2];
    double ensemble_top1, ensemble_top5, ensemble_val_top1;
    double images_per_s, seconds; // the only fields that differ between equal runs
};
// Appends one line to DIR/metrics.jsonl and to DIR/metrics.csv and waits until both are on the disk.
enum smkd_result rt_metrics_append(const char *dir, const struct rt_epoch_metrics *m);
// Cuts both files back to the first `epochs` epochs (a run that is resumed). Missing files are fine when epochs is 0.
enum smkd_result rt_metrics_truncate(const char *dir, int64_t epochs);

#endif
