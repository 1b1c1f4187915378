// A method's program in a run: what its tensors are for is told by their names (methods/methods.h), and bound here. Its
// inputs are the peers' outputs and its gradients their cotangents, in the same memory; everything else that it puts
// out is a metric.
#ifndef SMKD_RT_PROGRAM_H
#define SMKD_RT_PROGRAM_H

#include "../methods/methods.h"
#include "metrics.h"
#include "peer.h"

// One result that is neither a loss nor a gradient.
struct rt_program_metric {
    const char *output; // borrowed
    char stem[48];
    int peer;  // -1: of the program as a whole
    bool rows; // [N]; else []
    double sum, last;
};

struct rt_program {
    smkd_model *model; // borrowed
    smkd_session *session;
    int peers;
    char (*loss)[16]; // of each peer the name of its loss, which may be the one of all
    struct rt_program_metric *metric;
    size_t n_metrics;
    double *sum;  // of each peer's loss over the epoch's rows so far
    size_t *rows; // of each peer: those; and behind them those of all passes together
};

// Whether `m` is a program for `peers` networks of `columns` outputs each and batches of up to `batch`, with inputs
// that a run can give. `path` is for messages; `views` are those of its method, NULL: one.
enum smkd_result rt_program_check(const smkd_model *m, const char *path, int peers, int64_t columns, int64_t batch,
                                  const struct method_views *views);
bool rt_program_has(const smkd_model *m, enum smkd_abi_role role, const char *name);

// Makes the session and binds the peers, which have been started. Release also after a failure.
enum smkd_result rt_program_start(struct rt_program *p, smkd_model *m, struct rt_peer *peers, int n, smkd_team *team);
void rt_program_release(struct rt_program *p);
// Sets a scalar, or binds an input, that the program may or may not have.
enum smkd_result rt_program_set(struct rt_program *p, const char *scalar, double v);
enum smkd_result rt_program_bind(struct rt_program *p, const char *input, const void *data);
enum smkd_result rt_program_run(struct rt_program *p, size_t n);
double rt_program_loss(const struct rt_program *p, int k); // of the last run
// A peer's metric of the last run, [n]; NULL: there is none.
const float *rt_program_rows(const struct rt_program *p, const char *stem, int peer);
double rt_program_number(const struct rt_program *p, const char *stem, int peer); // NAN: there is none

// Sums over an epoch: begin, add after each run, and what they come to. Metrics of rows become their mean, "mean_NAME";
// `selected` and `kept` a share and a count, `corrected` nothing (detection.h). communication_frequency is how many
// rows were selected by all peers together. Others are the last run's.
void rt_program_begin(struct rt_program *p);
void rt_program_add(struct rt_program *p, size_t n, int trained); // the peer whose pass it is; -1: all of them
void rt_program_metrics(const struct rt_program *p, struct rt_epoch_metrics *m);

#endif
