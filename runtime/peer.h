// A classifier in training or evaluation: one loaded model, its session, and the memory of its logits.
#ifndef SMKD_RT_PEER_H
#define SMKD_RT_PEER_H

#include "runtime.h"

struct rt_peer {
    const char *path;                             // for messages; borrowed
    smkd_model *model;                            // owned
    smkd_session *session;                        // owned; NULL before rt_peer_start
    const struct smkd_abi_tensor *input, *logits; // the one input, and the [N, classes] output
    const char *output,
        *op; // the model's output that they are taken for, and what it makes of them ("Softmax") or NULL
    int channels, height, width, classes; // classes: columns of the logits, or numbers to learn
    bool image;                           // else the input is numbers: channels and height are 1, width their count
    bool channels_last;                   // the input is [N,H,W,C], as TensorFlow has it
    float *out, *cotangent;               // [batch][classes]; owned
    struct rt_tap *tap;                   // its further outputs with gradients; owned
    size_t n_taps, batch;
};
// An output beside the logits.
struct rt_tap {
    const struct smkd_abi_tensor *row;
    float *out;       // [batch]...; NULL until somebody asks for it
    float *cotangent; // likewise; zeros as long as no loss looks at it
};

// How an artifact is to be loaded.
struct rt_peer_want {
    const char *logits;           // the output to train; NULL: the one that there is
    const struct rt_known *known; // the artifact must be this one; NULL: any
    bool numbers;                 // it is to learn numbers, [N,T], not classes
};
// Loads `path` and checks that it can be trained: one f32 input, of images [N,C,H,W] (or [N,H,W,C], where only the
// last dimension can be an image's channels) or of other numbers, [N,F] for instance, and an output [N,classes] (of
// numbers [N,T] with T from 1 on), the one that is named; it has to be where there are several. Release with
// rt_peer_release also after a failure.
enum smkd_result rt_peer_load(struct rt_peer *p, const char *path, const struct rt_peer_want *want);
void rt_peer_release(struct rt_peer *p);
// The node of a BatchNorm that cannot be trained on a batch of one, as the artifact tells it, in memory of the caller's
// own (free); NULL where there is none.
char *rt_peer_single_statistic(const struct rt_peer *p);
// SMKD_R_MISMATCH naming both where two peers cannot see the same images and labels.
enum smkd_result rt_peers_agree(const struct rt_peer *a, const struct rt_peer *b);
// The tap of that name, with memory for what it says; NULL: it has none, or after rt_fail there is no memory. After
// rt_peer_start.
struct rt_tap *rt_peer_tap(struct rt_peer *p, const char *name);
// Makes the session and binds logits and cotangents for batches of at most `batch`.
enum smkd_result rt_peer_start(struct rt_peer *p, smkd_team *team, size_t batch, size_t views);
enum smkd_result rt_peer_run(struct rt_peer *p, enum smkd_abi_phase phase, const float *images, size_t n);
// Whether an OUTPUT row is none of the model's results: it is there for training (logits in front of a Softmax, taps).
bool rt_is_added(const smkd_model *m, const struct smkd_abi_tensor *t);
// The node at which the samples of a batch meet, `node "NAME" (Op)`, added to `out`; false where there is none.
bool rt_mixing(const smkd_model *m, struct str *out);
// Sets a scalar that the model may or may not have.
enum smkd_result rt_set_if_there(smkd_session *s, const smkd_model *m, const char *name, double v);

#endif
