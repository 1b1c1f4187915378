// Which given labels are likely to be wrong, as the predictions of networks tell it (smkd-run detect-noise). Evidence
// is gathered image by image; a criterion, one row of a table, then says of each image whether its label is noisy, how
// suspicious it is, and by which thresholds; beside true labels, how well that works.
//
//     struct rt_evidence e;
//     rt_evidence_init(&e, images, classes, peers);
//     ... rt_evidence_add(&e, image, given, p, log_p);      in any order, each image once
//     rt_evidence_finish(&e);
//     rt_criterion_find("agreement")->judge(&e, &options, &verdict);
#ifndef SMKD_RT_SUSPECTS_H
#define SMKD_RT_SUSPECTS_H

#include "fits.h"

// --- what networks say of the images ---------------------------------------------------------------------------------

struct rt_evidence {
    int classes, peers;
    size_t images; // of the training set
    size_t n;      // those that were added; from rt_evidence_finish on rows 0 to n-1 below are theirs
    size_t *image; // number of each, ascending
    int32_t *given;
    int32_t *proposed; // the class of the largest mean probability, of equal ones the lower
    double *mean;      // [n][classes]: the peers' mean probabilities
    double
        *agreement; // P_A(given): the product of the peers' probabilities of the given label, over its sum over classes
    double *loss;   // mean over the peers of -ln of the given label's probability
    double *entropy; // of the mean probabilities, over ln(classes): 0 to 1
    bool *seen;      // by image
    double *scratch; // [classes]
};
// SMKD_R_NOMEM where the images' probabilities take more than there is. Release also then.
enum smkd_result rt_evidence_init(struct rt_evidence *e, size_t images, int classes, int peers);
void rt_evidence_release(struct rt_evidence *e);
// `p` and `log_p`, [peers][classes], are probabilities and their logarithms, which are exact where the former have
// become 0. SMKD_R_INVALID for what is no probability.
enum smkd_result rt_evidence_add(struct rt_evidence *e, size_t image, int32_t given, const double *p,
                                 const double *log_p);
void rt_evidence_finish(struct rt_evidence *e);
// The logarithms of a softmax.
void rt_log_softmax(const float *z, int classes, double *out);

// --- criteria --------------------------------------------------------------------------------------------------------

// Which of Otsu's three numbers an image is compared with.
enum rt_cut { RT_CUT_AUTO, RT_CUT_MU1, RT_CUT_S, RT_CUT_MU2 };
extern const char *const rt_cut_words[];    // in their order; ends with NULL
extern const char *const rt_otsu_words[];   // "variance", "std"; likewise
extern const char *const rt_filter_words[]; // of enum rt_filter; likewise

// cleanlab's `filter_by`, by the names that it has there with - for _.
enum rt_filter { RT_PRUNE_BY_NOISE_RATE, RT_PRUNE_BY_CLASS, RT_PRUNE_BOTH, RT_CONFIDENT_LEARNING };

struct rt_suspect_options {
    enum rt_otsu_kind otsu;
    enum rt_cut cut;
    double share;     // the most suspicious share of the images is noisy, instead; NAN: by the criterion's threshold
    double posterior; // of gmm: noisy below it
    enum rt_filter filter;
    int votes; // of vote: noisy with so many
};

struct rt_verdict {
    size_t n;
    bool *noisy;   // [n]
    double *score; // [n] the larger, the more suspicious
    double *trust; // [n] 0 to 1, how much the label is believed; NULL: the criterion has no such number
    double *split; // [n] 0 to 1, what Otsu's thresholds part: `otsu` holds these on that scale; NULL: no such
    struct rt_otsu otsu;
    size_t suspects; // how many are noisy
    struct str rule; // "P_A(given) < 0.075"
    struct rt_verdict_number {
        const char *name;
        double value;
    } number[8]; // thresholds and what they come from
    int n_numbers;
    double *thresholds; // [classes] of confident learning; NULL: no such
};
void rt_verdict_release(struct rt_verdict *v);

struct rt_criterion {
    const char *name, *doc;
    bool ranked; // its verdict follows the score, so that a share of the images may be asked for
    bool trusts; // its verdict has `trust`
    // Release the verdict also after a failure.
    enum smkd_result (*judge)(const struct rt_evidence *e, const struct rt_suspect_options *o, struct rt_verdict *v);
};
// agreement    P_A(given) below Otsu's mu1 (Blind Knowledge Distillation)
// loss         mean cross entropy not below Otsu's s, on losses brought to [0, 1]
// entropy      another class is predicted with an entropy below Otsu's mu2
// gmm          posterior of the Gaussian of low losses below a half (DivideMix)
// confident-learning   Northcutt et al. 2021, as cleanlab's find_label_issues
// vote         so many of these five say noisy
// prediction   another class is predicted: for networks that have not seen the image (INCV, Chen 2019)
// Ends with a NULL name.
extern const struct rt_criterion rt_criteria[];
const struct rt_criterion *rt_criterion_find(const char *name); // NULL: there is none

// Confident learning alone (confident.c): marks what cleanlab 2's find_label_issues marks, to the bit of its
// float64 arithmetic, equal probabilities in the order of their index (numpy's own sort leaves that open). `p` is
// [n][classes]; labels are given[i] in [0, classes); thresholds[c], unless NULL, becomes the mean probability of class
// c among the images that are given it, 2 where none is. SMKD_R_NOMEM where classes are too many for a matrix of them.
enum smkd_result rt_confident_learning(const double *p, const int32_t *given, size_t n, int classes,
                                       enum rt_filter filter, bool *noisy, double *thresholds);

// --- beside the true labels ------------------------------------------------------------------------------------------

struct rt_finding {
    size_t wrong, found;          // labels that are wrong; those of them that are noisy by the verdict
    size_t right;                 // labels that are right once those of noisy images are the proposed ones
    double precision, recall, f1; // percent; 0 of nothing is 0
    double area;                  // percent: average precision over all scores, sum of (R_k - R_k-1) P_k
};
// `truth` is by image.
void rt_finding_of(const struct rt_evidence *e, const struct rt_verdict *v, const int32_t *truth, struct rt_finding *f);
// The curve as CSV, a line for each score, from the most suspicious on: score,noisy,precision,recall,f1 (percent) if
// the images of at least this score were called noisy.
void rt_finding_curve(const struct rt_evidence *e, const struct rt_verdict *v, const int32_t *truth, struct str *out);

#endif
