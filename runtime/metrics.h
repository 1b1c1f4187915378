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

// How far numbers that are learnt are off: runs `loader` through epoch 0 with all peers in inference mode. errors[k] is
// peer k's, errors[n] their ensemble's (mean of the outputs). `scratch` has classes elements.
struct rt_error {
    uint64_t n;               // numbers
    double squared, absolute; // sums of errors
    double *sum, *sum2;       // of each column's targets, for R2; owned
    int columns;
};
enum smkd_result rt_evaluate_numbers(struct rt_peer *peers, int n, struct rt_loader *loader, double *scratch,
                                     struct rt_error *errors);
void rt_error_release(struct rt_error *e);
double rt_error_mse(const struct rt_error *e);
double rt_error_mae(const struct rt_error *e);
// 1 - squared errors / squared deviations from each column's mean: 1 is perfect, 0 as good as the mean. NAN where all
// targets are alike.
double rt_error_r2(const struct rt_error *e);

// One epoch of training: a list of named numbers. Percentages are 0..100, shares 0..1. NAN where something was not
// measured.
enum rt_group { RT_OF_EPOCH, RT_OF_PEER, RT_OF_ENSEMBLE, RT_OF_CLOCK }; // the last: what differs between equal runs
struct rt_metric {
    enum rt_group group;
    int peer; // of RT_OF_PEER; else 0
    char name[48];
    double value;
};
struct rt_epoch_metrics {
    int64_t epoch;
    int peers;
    struct rt_metric *m; // in the order of the files' columns, group by group; owned
    size_t n, cap;
};
void rt_metrics_init(struct rt_epoch_metrics *m, int64_t epoch, int peers);
void rt_metrics_release(struct rt_epoch_metrics *m);
// Adds a number, or changes the one of that name.
void rt_metrics_set(struct rt_epoch_metrics *m, enum rt_group g, int peer, const char *name, double value);
double rt_metrics_get(const struct rt_epoch_metrics *m, enum rt_group g, int peer, const char *name); // NAN: none
// Appends one line to DIR/metrics.jsonl and to DIR/metrics.csv and waits until both are on the disk. A CSV file that
// has a head keeps its columns: a run of an earlier version goes on with those that it began with.
enum smkd_result rt_metrics_append(const char *dir, const struct rt_epoch_metrics *m);
// Cuts both files back to the first `epochs` epochs (a run that is resumed). Missing files are fine when epochs is 0.
enum smkd_result rt_metrics_truncate(const char *dir, int64_t epochs);

#endif
