// smkd-run sweep: a grid of training runs, described by JSON (docs/sweep.md). What its files share:
//
//     run_sweep.c         the command: its flags become members of the JSON, everything else follows from that
//     run_sweep_grid.c    which runs there are, with which flags, and where each stands in the table
//     run_sweep_folder.c  what lies in the output folder: models, runs, and whether these are the runs that are meant
//     run_sweep_jobs.c    running what is missing, as processes of smkd-run train
//     run_sweep_table.c   numbers out of metrics.csv, and the tables of their means
//     run_sweep_figure.c  the picture
#ifndef SMKD_TOOLS_RUN_SWEEP_H
#define SMKD_TOOLS_RUN_SWEEP_H

#include "../runtime/train.h"
#include "args.h"

struct cJSON;

// --- the grid --------------------------------------------------------------------------------------------------------

// A flag of smkd-run train with its values; without any it is one that takes none (`bare`), or was taken out again.
struct sweep_flag {
    const char *name;
    const char **value;
    size_t n;
    bool bare;
};
struct sweep_flags {
    struct sweep_flag *f;
    size_t n, cap;
};

// A choice that runs differ in: a flag and its values, or named sets of flags ("cases" are the axis "case").
struct sweep_axis {
    const char *name;
    struct sweep_point {
        const char *label; // its name, or the value
        bool named;
        struct sweep_flags flags;
    } *point;
    size_t n;
};

struct sweep_model {                                   // made into DIR/models
    const char *name, *spec, *onnx, *smkd;             // spec: the JSON that it is made from; the others are paths
    const char *const *new_argv, *const *compile_argv; // of smkdc, without the program; new NULL: there is a file
};

enum sweep_state { SWEEP_NEW, SWEEP_HALF, SWEEP_DONE };
struct sweep_run {
    const char *name, *dir; // the folder's name, and DIR/runs/NAME
    size_t *at;             // its point on each axis
    size_t row, column;     // of the table
    struct sweep_flags flags;
    // Of sweep_folder_look:
    enum sweep_state state;
    int64_t epochs, done; // in all, and those in its metrics.csv
    double cost;          // of what is left, in no unit
    // Of sweep_metrics_read:
    struct sweep_metrics {
        const char **column; // names
        size_t columns, epochs;
        double *value; // [epochs][columns]; NAN where nothing was measured
    } metrics;
};

// A cell of the table is the mean over the runs whose points agree on the axes of rows and columns.
struct sweep_heads {
    size_t *axis, n_axes; // which, in order
    size_t *point, n;     // [n][n_axes]: a head's points
};
struct sweep_measure {
    const char *label, *column; // a column of metrics.csv, or what comes before _0, _1 ... of them: then their mean
};

struct sweep {
    struct arena arena;
    const char *file, *dir;                // what messages call the description, and the output folder
    const char *title, *about, *curve, *x; // NULL: none
    struct sweep_axis *axis;
    size_t n_axes, cap_axes;
    struct sweep_heads rows, columns;
    struct sweep_measure *measure;
    size_t n_measures, cap_measures;
    struct sweep_model *model;
    size_t n_models, cap_models;
    struct sweep_run *run;
    size_t n_runs;
};

// From the description `root`. Everything in it is checked, each run's flags as smkd-run train would. Release also
// after a failure, which has been told (rt_fail).
enum smkd_result sweep_read(struct sweep *s, const struct cJSON *root, const char *file);
void sweep_release(struct sweep *s);
// `patch` over `to`, as RFC 7396 has it: objects member by member, null removes, anything else replaces.
void sweep_merge(struct cJSON *to, const struct cJSON *patch);

// The flags of smkd-run train with all of its methods.
const struct args_opt *sweep_train_options(void);
const struct sweep_flag *sweep_flag_find(const struct sweep_flags *flags, const char *name); // NULL: not given
// Flags out of a JSON object. `what`: "FILE: common", for messages.
enum smkd_result sweep_flags_read(struct sweep *s, const struct cJSON *o, const char *what, struct sweep_flags *out);
// And back, as --config takes them: numbers as such.
struct cJSON *sweep_flags_json(const struct sweep_flags *flags);
// The labels of a head's points with `between` between them; a value with its flag: "eta=2".
void sweep_head_text(const struct sweep *s, const struct sweep_heads *h, size_t head, const char *between,
                     struct str *out);

// --- the folder ------------------------------------------------------------------------------------------------------

// The configuration of a run as smkd-run train would resolve it. Release `c` also after a failure.
enum smkd_result sweep_configure(const struct sweep_flags *flags, struct rt_config *c);
// Looks at every run's folder: state, epochs, cost. Refuses runs that were made with other flags, or whose networks are
// others now. Where nothing is to be run, networks may be missing. Writes nothing.
enum smkd_result sweep_folder_look(struct sweep *s, bool to_run);
// Makes the models that are not there yet; those that are must have been made from the same description. *any: whether
// there were such. After a failure none of them stays.
enum smkd_result sweep_models_make(struct sweep *s, bool *any);
// The same without making any.
enum smkd_result sweep_models_check(const struct sweep *s);
// Makes the run's folder with what it is to be: flags.json, as --config takes it.
enum smkd_result sweep_folder_begin(const struct sweep_run *r);
// Keeps that the run has ended of its own: also early, by --patience.
enum smkd_result sweep_folder_end(struct sweep_run *r);

// --- running ---------------------------------------------------------------------------------------------------------

// Runs what is missing, the cheapest first, `jobs` at a time. *failed: how many did not end well, which has been said.
// Does not return where a signal asks for the end: the processes are ended first, and go on the next time.
enum smkd_result sweep_jobs_run(struct sweep *s, int64_t jobs, int *failed);
// The order in which that is done: places in s->run of those that are not done; owned by the arena.
size_t *sweep_jobs_order(struct sweep *s, size_t *n);

// --- results ---------------------------------------------------------------------------------------------------------

// Reads metrics.csv of every run that has one; of one run. Also after more was run.
enum smkd_result sweep_metrics_read(struct sweep *s);
enum smkd_result sweep_metrics_read_run(struct sweep *s, struct sweep_run *r);
// A measure of a run in an epoch (from 0); NAN: it has no such column, or nothing there.
double sweep_metrics_at(const struct sweep_metrics *m, const char *column, size_t epoch);

struct sweep_cell {
    double mean, sd; // NAN without any run; sd NAN with less than two
    size_t runs;
};
// Adds a number; the sums are those of Welford's method, so that nearly equal ones keep their digits.
void sweep_cell_add(struct sweep_cell *c, double value);
void sweep_cell_finish(struct sweep_cell *c);
// The measure's cell at a row and column, over finished runs and their last epochs; or over an epoch of their curves.
struct sweep_cell sweep_cell_of(const struct sweep *s, size_t row, size_t column, const char *measure);
struct sweep_cell sweep_cell_at(const struct sweep *s, size_t row, size_t column, const char *measure, size_t epoch);

// The table for a reader, as text; DIR/results.csv, DIR/table.csv, DIR/table.md.
enum smkd_result sweep_table_write(const struct sweep *s, FILE *f);
enum smkd_result sweep_figure_write(const struct sweep *s, const char *path);

#endif
