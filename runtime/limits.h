// What the machine can do, measured: the yardstick of profiles.
#ifndef SMKD_RT_LIMITS_H
#define SMKD_RT_LIMITS_H

#include "runtime.h"

struct rt_limits {
    double flops;     // operations a second of multiply-adds in registers, with the instructions artifact `m` uses
    double read;      // bytes a second of reading memory
    double bandwidth; // bytes a second of a[i] = b[i] + k*c[i], three streams counted (STREAM's triad)
};
// Takes about half a second and 192 MiB. Best of several rounds: other work on the machine only ever lowers a figure.
enum smkd_result rt_limits_measure(const smkd_model *m, smkd_team *team, struct rt_limits *out);

// Seconds of each kernel of one phase of a session in each of several runs; thread 0's clock from barrier to barrier.
struct rt_profile {
    const struct smkd_abi_entry *entry;
    int64_t runs, done;
    double *seconds; // [run][kernel]
    double last;
};
enum smkd_result rt_profile_begin(struct rt_profile *p, smkd_session *s, enum smkd_abi_phase phase, int64_t runs);
// At most `runs` times.
enum smkd_result rt_profile_run(struct rt_profile *p, smkd_session *s, enum smkd_abi_phase phase, int64_t batch);
void rt_profile_release(struct rt_profile *p);
#endif
