// What the files of a training run share (train.c: the run, step.c: one step, tell.c: words about it).
#ifndef SMKD_RT_RUN_H
#define SMKD_RT_RUN_H

#include "detection.h"
#include "feed.h"
#include "optimizer.h"
#include "report.h"
#include "table.h"
#include "train.h"

enum { RT_HOOK_MEMORY = 16 };

struct rt_stage;

struct run {
    struct rt_train *t;
    struct rt_config *c;
    struct rt_train_data data;
    struct rt_transform plain;                         // test images: no augmentation
    struct rt_loader *train, *validation, *test, *all; // all: the training images as they are, for surveys
    struct method_views views;
    size_t stacked; // views that peers see as one batch; 1: one
    // What the steps are made of now.
    struct {
        struct method_pass is;
        int peer;             // that is trained; -1: all
        size_t batches;       // steps it has
        int64_t *rows, *more; // lists that it goes through, [n_train], where the method chooses; NULL: it does not
    } pass;
    int64_t ahead;    // the epoch that the loader has begun with, before what precedes it
    int64_t *unmixed; // [rows of a step]: each mixed with itself
    smkd_team *team;
    struct rt_program loss;
    struct rt_tables tables;
    struct rt_predictor predictor; // said by the method in another way than by logits
    struct rt_feeds feeds;
    int64_t *drawn; // [batch] labels of images drawn at random; NULL: the program does not ask for them
    struct rt_schedule schedule;
    struct rt_progress progress;
    struct rt_progress_state state;
    struct rt_kept kept;              // what checkpoints hold
    struct rt_gradients *gradients;   // of each peer; NULL: nothing happens to them
    struct rt_optimizer *optimizer;   // of each peer
    struct rt_average *average;       // of each peer; NULL: there are none
    int64_t average_steps;            // updates between two of theirs
    double *norm, *norms;             // of each peer: the largest and the sum of its gradients' norms in the epoch
    void *snapshot[METHOD_MAX_PEERS]; // parameters of each peer at the end of the last round; NULL: no rounds
    struct rt_stage *stage;           // the stages of the run (stages.h)
    int64_t n_stages;
    int64_t all_epochs;    // of all stages
    int64_t *updates;      // of each peer, in the epoch
    size_t *given, *truth; // of each peer: rows classified as their given and as their true label
    struct rt_detection
        *detection;           // of each peer, of the epoch; NULL: the true labels are the given ones, or not known
    float *entropies;         // [peers][rows] of the epoch, for the threshold's warning; NULL: there is no threshold
    size_t rows;              // images an epoch goes through
    float *sorted;            // likewise, scratch of that warning
    double *probabilities;    // 2 * classes, scratch of evaluation
    struct rt_report *report; // peers + 1 of them, likewise; NULL: there are no classes
    float *class_weights;     // NULL: none
    double now_progress, now_lr;
    double hook_memory[RT_HOOK_MEMORY]; // of what the method does between epochs (hooks.h)
    int classes;
    bool by_epoch, by_ema; // how MyLC's r is kept
};

// One step: forward of every peer, the program, backward and update of every peer; then what the epoch sums up. `at`:
// rows of the epoch before it.
enum smkd_result rt_step(struct run *r, int64_t epoch, int64_t number, const struct rt_batch *b, size_t at);
// The parts of it: the scalars of the clock, and the program on a batch that the peers have seen.
enum smkd_result rt_step_clock(struct run *r, int64_t epoch, int64_t step_in_epoch);
bool rt_step_sets(const char *scalar); // whether that scalar follows the clock
enum smkd_result rt_step_program(struct run *r, const struct rt_batch *b);
// printf shows the sign of a NaN, which means nothing to a reader.
double rt_plain(double v);

// What is said when a run starts, and of a threshold that an epoch has shown to be off.
void rt_tell_start(struct run *r, int threads, bool resuming);
void rt_tell_threshold(struct run *r, const struct rt_epoch_metrics *m);

#endif
