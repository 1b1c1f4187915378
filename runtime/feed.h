// What other networks than the peers say of a batch, without gradients: inputs of a method's program beside the peers'
// outputs. A program that asks for `teacher.K` gets what a frozen network says, for `teacher.K.NAME` what it says
// inside, one for `average.K` what peer K says with the moving average of its parameters, for `average.K.NAME` what it
// says so inside or at its side.
#ifndef SMKD_RT_FEED_H
#define SMKD_RT_FEED_H

#include "average.h"
#include "program.h"

struct rt_feeds {
    struct rt_peer *teachers; // started; borrowed
    int n_teachers;
    struct rt_peer *peers; // whose averages speak; borrowed
    int n_peers;
    struct rt_average *averages;
    void **snapshots; // blocks of the peers' own former numbers, which are then the teachers; borrowed; NULL: none
    float *said[METHOD_MAX_PEERS]; // [batch][classes] of the average or the former self of each peer; NULL: not asked
                                   // for; owned
    struct rt_feed_tap {
        const struct rt_peer *of; // a teacher, or a peer whose average speaks
        const char *name;
        float *said; // [batch]..; owned
    } *tap;          // what they say beside their logits; owned
    size_t n_taps;
};

// Whether the program asks for any input of that role.
bool rt_program_asks(const smkd_model *m, enum method_role role);
// Binds them. SMKD_R_INVALID where it asks for a teacher and there is none. Release also after a failure.
enum smkd_result rt_feeds_start(struct rt_feeds *f, struct rt_program *p, size_t batch);
void rt_feeds_release(struct rt_feeds *f);
// All of them on the images of a batch. `former`: there are snapshots that say something; else that is 0.
enum smkd_result rt_feeds_run(struct rt_feeds *f, const float *images, size_t n, bool former);

#endif
