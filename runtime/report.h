// What an evaluation says beyond its scores: risk against coverage, every class by itself, who is taken for whom. Made
// of one row an image, 16 bytes; matrices are made when they are printed.
#ifndef SMKD_RT_REPORT_H
#define SMKD_RT_REPORT_H

#include "metrics.h"
#include "program.h"

// A class of the data. NAN where nothing was divided by nothing: the precision of a class that nothing was taken for,
// the recall of one that has no image.
struct rt_class_report {
    uint64_t support, predicted, hits; // images of it, images taken for it, both
    double precision, recall;          // percent: hits / predicted, hits / support
    double f1;                         // percent: 2 * hits / (support + predicted), NAN where both are 0
};

struct rt_report_row {
    double confidence; // the largest probability
    int32_t label, predicted;
};

struct rt_report {
    int classes;
    struct rt_score score;
    struct rt_report_row *rows;
    size_t n, cap;
    // From rt_report_finish on.
    double aurc, eaurc; // times 1000; see rt_report_finish
    // Means over the classes that have an image or were predicted; in them a NAN counts as 0.
    double macro_precision, macro_recall, macro_f1;
    struct rt_class_report *per_class;
};
// `images`: as many can be added without more memory.
void rt_report_init(struct rt_report *r, int classes, size_t images);
void rt_report_clear(struct rt_report *r); // no images again
void rt_report_release(struct rt_report *r);

// Adds an image by its class probabilities. `scores`, unless NULL, are the logits they come from, which then decide
// what is predicted: the largest, of equal ones the lower class. One whose scores are all NaN is predicted as nothing:
// in the support of its class, an error of confidence 0, in no column of the matrix.
void rt_report_add(struct rt_report *r, const float *scores, const double *p, int64_t label);

// What a method's program that predicts says beside the peers' own logits: its outputs probs.NAME.K, and
// probs.ensemble, which then is the ensemble.
struct rt_predictor {
    struct rt_program program;
    struct rt_said {
        const char *output; // "probs.head1.0"; borrowed
        char name[64];      // "head1"
        int peer;
    } *said; // all but the ensemble; owned
    int n;
    bool ensemble;
};
// Release also after a failure.
enum smkd_result rt_predictor_start(struct rt_predictor *p, smkd_model *m, struct rt_peer *peers, int n,
                                    smkd_team *team);
void rt_predictor_release(struct rt_predictor *p);

// Runs `loader` through epoch 0 with all peers in inference mode: reports[k] is peer k's, reports[n] their ensemble's
// (mean of the probabilities, or what `p` says), and reports[n+1+i] that of p->said[i] (NULL: nobody); all initialised,
// and finished afterwards. `scratch` has 2 * classes elements.
enum smkd_result rt_report_run(struct rt_peer *peers, int n, struct rt_predictor *p, struct rt_loader *loader,
                               double *scratch, struct rt_report *reports);

// Computes what stands above, when all images are in; needed before everything below.
//
// AURC is the area under the risk-coverage curve: images sorted by confidence, the most confident first,
//     AURC = 1/n * sum over k = 1..n of (errors among the first k) / k
// Among images of equal confidence any order would do: the mean over all orders is taken, so that with e errors among
// g equal ones behind k others that have E, they add the sum over j = 1..g of (E + e * j / g) / (k + j). E-AURC is what
// of it an order could have spared, that with all m errors at the end:
//     E-AURC = AURC - 1/n * sum over i = 1..m of i / (n - m + i)
void rt_report_finish(struct rt_report *r);

struct cJSON;
// Names of the classes; where there are none (NULL, or beyond n) a class is called by its number.
struct rt_class_names {
    const char *const *name;
    int n;
};
// {"top1", "top5", "nll", "ece", "aurc", "eaurc", "macro": {"precision", "recall", "f1"}, "classes": [{"class", "name",
// "support", "predicted", "precision", "recall", "f1"} ...], "confusion": [[class, predicted, images] ...] of those
// that are not 0}; percentages (aurc and eaurc times 1000), null for NAN. The caller deletes it.
struct cJSON *rt_report_json(const struct rt_report *r, const struct rt_class_names *names);
// A line a class, and the means.
void rt_report_per_class(const struct rt_report *r, const struct rt_class_names *names, struct str *out);
// The matrix for a reader: a row a class, a column a predicted class, images; columns are called by number.
void rt_report_confusion(const struct rt_report *r, const struct rt_class_names *names, struct str *out);
// The matrix as lines of CSV that begin with `network`, and the line of names above it:
//     network,class,cat,dog
//     peer 0,cat,41,9
void rt_report_csv_head(const struct rt_report *r, const struct rt_class_names *names, struct str *out);
void rt_report_csv(const struct rt_report *r, const struct rt_class_names *names, const char *network, struct str *out);

#endif
