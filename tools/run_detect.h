// What the files of smkd-run detect-noise share (run_detect.c: the command; run_detect_folds.c: cross-validation;
// run_detect_tell.c: what it writes, run_detect_figure.c: as a picture).
#ifndef SMKD_TOOLS_RUN_DETECT_H
#define SMKD_TOOLS_RUN_DETECT_H

#include "../runtime/suspects.h"
#include "run_networks.h"

struct detect {
    const struct args *args;
    const struct rt_criterion *by;
    struct rt_suspect_options options;
    int64_t folds; // 0: the networks judge what they were trained on
    struct run_networks net;
    bool asked[METHOD_MAX_PEERS]; // which of the networks judge
    int n_asked;
    struct rt_train_data data; // none of --probs
    const char *name;          // of the data
    size_t images;             // of the training set
    int classes;               // that the networks tell apart
    const int32_t *given;      // [images]
    const int32_t *truth;      // [images]; NULL: not known
    int32_t *owned[2];         // what the two may lie in
    char *keep;                // the run's --keep; NULL: none; owned
    struct rt_class_names names;
    struct rt_evidence evidence;
    struct rt_verdict verdict;
    struct rt_finding finding; // where the truth is known
};

// Trains `folds` times on all images but a share of them, each time with the run's own settings, in folders of the run;
// and asks each image's networks that have not seen it.
enum smkd_result detect_folds(struct detect *d, smkd_team *team);
// What networks say of the images that `subset` (n of them; NULL: all) has.
enum smkd_result detect_ask(struct detect *d, struct run_networks *net, smkd_team *team, const int64_t *subset,
                            size_t n);
// Whether all that will be written can be; before anything slow.
enum smkd_result detect_can_write(const struct args *a);
// The table of suspects, what --curve, --save-probs and --apply ask for; then a summary on stdout.
enum smkd_result detect_write(struct detect *d);
void detect_print(const struct detect *d);
// How many images lie where on the scale that Otsu's thresholds part, with these, as SVG (run_detect_figure.c).
enum smkd_result detect_histogram(const struct detect *d, const char *path);
// Whether --apply names things that there are, and that the criterion has; false after a usage error.
bool detect_apply_args(const struct args *a, const struct rt_criterion *by);

#endif
