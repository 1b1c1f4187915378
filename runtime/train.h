// The training loop: peers on the same batches, a method's program between them, a run folder as the result.
#ifndef SMKD_RT_TRAIN_H
#define SMKD_RT_TRAIN_H

#include "checkpoint.h"
#include "metrics.h"
#include "run_config.h"
#include "schedule.h"
#include "transforms.h"

// --- progress on a terminal or in a log (progress.c) -----------------------------------------------------------------

struct rt_progress {
    FILE *f;        // progress and notes; NULL: none
    FILE *warnings; // NULL: none
    bool terminal;  // one line that is overwritten; else a line an epoch
    double started, shown;
    int64_t epochs, first; // of the run; those that were done when it began (resumed runs)
};
double rt_now(void);                                        // seconds on a clock that only goes forward
void rt_duration_text(double seconds, char *buf, size_t n); // "4:05", "1:04:05"
void rt_progress_init(struct rt_progress *p, FILE *f, FILE *warnings, int64_t epochs, int64_t first);
// After a step: epoch and how much of it is done, 0 to 1, images a second so far in it, and the sum of each peer's loss
// over its `rows` so far.
void rt_progress_step(struct rt_progress *p, int64_t epoch, double part, double images_per_s, const double *loss,
                      int peers, const size_t *rows);
void rt_progress_epoch(struct rt_progress *p, const struct rt_epoch_metrics *m);
// A line of its own, whatever is on the terminal: "note: ..." or "warning: ...".
void rt_progress_note(struct rt_progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void rt_progress_warn(struct rt_progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// --- data of a run (train_data.c) ------------------------------------------------------------------------------------

struct rt_train_data {
    struct rt_dataset set;
    int32_t *given;              // training labels after --labels and --noise
    int classes;                 // of data set and given labels; the peers may have more outputs
    bool replaced;               // --labels or --noise made the given labels: the data set's own are the true ones
    double noise_rate;           // share of given labels that differ from the data set's
    bool by_chance;              // labels of the user's own agree with the data set's no more often than by chance
    float *weights;              // of the training images (--sample-weights); NULL: each image once an epoch
    int64_t *train, *validation; // image numbers
    size_t n_train, n_validation;
    struct rt_transform transform;
    struct rt_pipeline pipeline; // which the transform may use
    struct rt_transform strong;  // of a method's strong views; unused where it has none
    struct rt_pipeline strong_pipeline;
    uint64_t fingerprint; // of sizes and all labels: what a resumed run compares
};
// Loads what the configuration says for a model's input, resolving augment, mean and std in it. Release also on
// failure.
enum smkd_result rt_train_data_load(struct rt_train_data *d, struct rt_config *c, const struct rt_peer *model);
void rt_train_data_release(struct rt_train_data *d);
// "balanced" (n / (classes * images of the class), over the given training labels; 0 for a class without any) or
// "W,..", a number for each class -> weights.
enum smkd_result rt_class_weights(const char *text, const struct rt_train_data *d, int classes, float *out);
// "0.5,0.25" -> n numbers; name is the flag's, for messages.
enum smkd_result rt_parse_channels(const char *name, const char *text, int n, float *out);

// --- the run ---------------------------------------------------------------------------------------------------------

struct rt_train {
    struct rt_config *config; // resolved but for what needs the data
    struct rt_peer *peers;    // loaded, agreeing; owned by the caller
    int n_peers;
    struct rt_peer *teachers; // frozen networks whose predictions the method learns from; likewise
    int n_teachers;
    smkd_model *predictor; // the method's program that predicts; likewise; NULL: it has none
    smkd_model *loss;      // the method's program; owned by the caller
    smkd_model *optimizer; // the optimizer's; likewise; NULL where rt_optimizer_is_plain
    const char *dir;       // run folder, made when missing
    struct lock *lock;     // of the run folder (rt_run_lock); taken when the run starts where it is not held yet
    bool resume, overwrite;
    const char *save_labels; // NULL, or where the given labels go as .npy
    FILE *progress;          // progress and notes; NULL: none
    FILE *warnings;          // NULL: none
};
// Locks a run folder that exists, for as long as `lock` is held: two runs in one folder would mix their results.
// SMKD_R_MISMATCH, naming the process that holds it.
enum smkd_result rt_run_lock(const char *dir, struct lock *lock);
// True when `dir` holds results of a run.
bool rt_run_exists(const char *dir);
// Trains to the end. Every epoch ends with a line in metrics.jsonl and .csv, then best.safetensors (when it is), then
// last.safetensors; each is complete or not there, so a run that is killed at any moment resumes to the same bits.
enum smkd_result rt_train(struct rt_train *t);

#endif
