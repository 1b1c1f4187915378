// Wrong labels made on purpose (noise.c, noise_matrix.c, noise_instance.c).
#ifndef SMKD_RT_NOISE_H
#define SMKD_RT_NOISE_H

#include "data.h"

struct rt_noise_kind;
struct rt_noise {
    const struct rt_noise_kind *kind; // NULL: none
    double rate;
    const char *file; // of a matrix; borrowed from the text
};
// "none", or with 0 <= R <= 1
//   symmetric:R            each label with probability R to one of the other classes
//   symmetric-inclusive:R  likewise to any class, its own included
//   pairflip:R             likewise from class i to (i + 1) mod C
//   asymmetric:R           likewise to the class that CIFAR's papers take for similar; some classes stay
//   matrix:FILE            to a class drawn from its row of a C x C matrix, a .npy or text
//   instance:R             to a class that depends on the image (noise_instance.c)
enum smkd_result rt_noise_parse(const char *text, struct rt_noise *out);

struct rt_noise_job {
    const char *text, *data; // what --noise and --data say, for messages
    uint64_t seed;
    int classes;
    int32_t *labels; // of the n training images; changed
    size_t n;
    // Of asymmetric and instance:
    const struct rt_dataset *set;
    const struct rt_transform *transform; // its evaluation preset
    int threads, workers;                 // that compute, that decode; 0: as many as cores
    bool strict;                          // an image that cannot be decoded is an error, else its label stays
};
// Every kind but instance draws label after label from one stream, so that the first k labels do not depend on n; in
// instance a label depends on its image and its number.
enum smkd_result rt_noise_apply(const struct rt_noise *noise, const struct rt_noise_job *j);

// --- between the files -----------------------------------------------------------------------------------------------

// Use of RT_STREAM_NOISE, its second number: one stream for label after label, one for each image, and one for each
// feature of a class (which follows, from NOISE_WEIGHTS on).
enum { NOISE_LABELS, NOISE_IMAGES, NOISE_WEIGHTS };

enum smkd_result rt_noise_matrix(const struct rt_noise *noise, const struct rt_noise_job *j);
enum smkd_result rt_noise_instance(const struct rt_noise *noise, const struct rt_noise_job *j);
// Place in which a uniform number of [0,1) falls among n weights; the last that is not 0 where rounding leaves none.
int rt_noise_pick(const double *weights, int n, double uniform);

#endif
