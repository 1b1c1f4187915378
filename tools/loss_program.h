// A training loss as a loaded artifact: compiled on the spot and kept for the next time, or made beforehand by smkdc
// loss.
#ifndef SMKD_TOOLS_LOSS_PROGRAM_H
#define SMKD_TOOLS_LOSS_PROGRAM_H

#include "../losses/losses.h"
#include "../methods/methods.h"
#include "../runtime/peer.h"

// Whether --loss NAME means a file: it has a slash or ends in .smkd.
bool loss_is_file(const char *name);
bool loss_is_text(const char *name); // a loss of the user's own, FILE.ir

struct loss_request {
    const char *name; // a method's, or a file (it has a slash or ends in .smkd): then the structure is the file's
    const struct method *method; // with its values: structure, where the name is a method's
    struct method_values values;
    int peers;
    int64_t classes; // columns of the peers' outputs
    bool mixed, weighted;
    const struct loss_tap *taps; // the networks' outputs that the method may look at
    size_t n_taps;
    bool predict;                 // the program that predicts, instead of the one that is trained with
    int64_t max_batch;            // the program must take batches of at least this
    const struct rt_known *known; // a file must be this one; NULL: any
};

// All outputs of started or loaded networks beside their logits that have gradients, and those of their teachers, with
// or without, one for each peer in turn; memory of the caller's (free).
struct loss_tap *loss_taps(const struct rt_peer *peers, int n, const struct rt_peer *teachers, int n_teachers,
                           size_t *count);
// The program, checked to be one for such peers and that batch (rt_program_check). Owned by the caller. NULL after
// setting smkd_last_error. Compiled programs are kept under $XDG_CACHE_HOME/smkd (else
// ~/.cache/smkd) by the content of request, compiler and CPU; a cache that cannot be written or read is done without.
smkd_model *loss_program(const struct loss_request *want);
// The program by which the method predicts, where it has one; else *m is NULL.
enum smkd_result loss_predictor(const struct loss_request *want, smkd_model **m);

#endif
