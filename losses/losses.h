// The methods of methods/ as graphs of IR ops, one builder for each family. Uses ir/ and methods/ only. Face of the
// library. What a graph's inputs and outputs are is in their names (methods/methods.h).
#ifndef SMKD_LOSSES_H
#define SMKD_LOSSES_H

#include "../ir/ir.h"
#include "../methods/methods.h"

// Rows of [N,C] are summed in one piece; nobody has trained a classifier of a million classes with this.
#define LOSS_MAX_CLASSES 1000000

struct loss_options {
    const struct method *method;
    struct method_values values;
    int peers;
    int64_t classes; // columns of the peers' outputs: classes, or numbers to learn
    // Outputs of the peers and of their teachers beside their logits that the method may look at.
    const struct loss_tap {
        bool teacher; // of the teacher of that peer
        int peer;
        const char *name;
        int rank; // with the batch in front
        int64_t dims[IR_MAX_RANK];
    } *taps;
    size_t n_taps;
    bool predict;  // the program that predicts, instead of the one that is trained with
    bool mixed;    // images are mixed with others of their batch: labels.mix and mix.lambda
    bool weighted; // classes have weights: class.weight
};
// Defaults of a method, for two peers (one where it takes no more) and 10 classes. False after reporting that there is
// no such method.
bool loss_options_init(struct loss_options *o, const char *method, struct diag *d);

// The graph as the paper writes it, with EXPAND ops and without gradients; and ready to be compiled: expanded, with
// gradients, verified. NULL after reporting.
struct ir_graph *loss_draw(const struct loss_options *o, struct arena *a, struct diag *d);
struct ir_graph *loss_build(const struct loss_options *o, struct arena *a, struct diag *d);
// A loss of somebody's own, as ir_parse gives it: whether its inputs and outputs are what a loss has (false after
// reporting); and made ready to be compiled, as loss_build makes ours.
bool loss_own_check(const struct ir_graph *g, struct diag *d);
enum smkd_status loss_own_build(struct ir_graph *g, struct arena *a, struct diag *d);
// Canonical text of the options, the key of the loss cache: equal programs have equal texts.
char *loss_key(const struct loss_options *o, struct arena *a);

#endif
