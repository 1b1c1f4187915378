// The catalogue of training losses, each a graph of IR ops for a pair of peers. Uses ir/ only. Face of the library.
//
// A loss graph has inputs logits.0, logits.1 f32[N,C], labels i64[N], run-time scalars, and outputs (all f32):
//   loss.0 loss.1 []          grad.0 grad.1 [N,C]: d loss.k / d logits.k
//   threshold []              selected.0 selected.1 [N]: 1 where that peer's prediction is confident enough to TEACH
//   trust.0 trust.1 [N]: epsilon    entropy.0 entropy.1 [N]: nats
#ifndef SMKD_LOSSES_H
#define SMKD_LOSSES_H

#include "../ir/ir.h"

struct loss_options {       // structural switches: each combination is its own program
    const char *refine;     // "mylc" "proselflc" "none"
    const char *peer_denom; // "K" "N" "typo"  (methods.md 1.2)
    const char *r_scope;    // "epoch" "batch" "ema": batch computes r in the graph, the others take the scalars r.0 r.1
    bool detach_target;     // gradient through the own refined target stopped (methods.md 2.5)
    double log_floor;       // 0 = exact
    int64_t classes;
};
extern const struct loss_options loss_defaults;

struct loss_info {
    const char *name; // "smkd-p" ...
    const char *doc;
    const char *paper; // equation
    struct ir_graph *(*build)(struct arena *a, struct diag *d, const struct loss_info *self,
                              const struct loss_options *o);
};
extern const struct loss_info loss_table[]; // ends with a NULL name
const struct loss_info *loss_find(const char *name);

// Builds the graph, with gradients, verified. NULL after reporting.
struct ir_graph *loss_build(const char *name, const struct loss_options *o, struct arena *a, struct diag *d);
// Canonical text of (name, options), the key of the loss cache.
char *loss_key(const char *name, const struct loss_options *o, struct arena *a);

#endif
