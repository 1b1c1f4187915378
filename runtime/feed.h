// What other networks than the peers say of a batch, without gradients: inputs of a method's program beside the peers'
// outputs. A program that asks for `teacher.K` gets what a frozen network says, for `teacher.K.NAME` what it says
// inside, one for `average.K` what peer K says with the moving average of its parameters, for `average.K.NAME` what it
// says so inside or at its side, one for `guess.K` what it says itself.
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
    float *guess[METHOD_MAX_PEERS]; // [rows][classes]; NULL: not asked for; owned
    int views;                      // of each row of a batch that they all say something of
};

// Whether the program asks for any input of that role.
bool rt_program_asks(const smkd_model *m, enum method_role role);
// Binds them. SMKD_R_INVALID where it asks for a teacher and there is none. Release also after a failure.
// `rows` are images: those of a batch, in all views.
enum smkd_result rt_feeds_start(struct rt_feeds *f, struct rt_program *p, size_t rows);
void rt_feeds_release(struct rt_feeds *f);
// All of them but guesses on the images of n rows, in `views` of each; where that is one and there are more, all are
// that one. `former`: there are snapshots that say something; else that is 0.
enum smkd_result rt_feeds_run(struct rt_feeds *f, const float *images, size_t n, int views, bool former);
// What peer k itself says, where that is asked for, in a phase that is FORWARD (which moves running statistics, as it
// does in training) or INFER; without images it says 0.
enum smkd_result rt_feeds_guess(struct rt_feeds *f, int k, enum smkd_abi_phase phase, const float *images, size_t n);
// Rows [n][width] become [n][views][width], in place.
void rt_repeat_views(float *x, size_t n, size_t views, size_t width);

#endif
