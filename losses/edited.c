// Cross entropy of methods whose share is in what becomes of the gradients (runtime/edits.h).
#include "losses_internal.h"

void loss_draw_edited(struct loss_builder *b) {
    ir_vid given, t = loss_targets(b, &given);
    for (int k = 0; k < b->o->peers; k++) {
        loss_output_of(b, "loss", k, loss_label_term(b, t, given, loss_logits(b, k), 0));
        loss_output_of(b, "entropy", k, loss_entropy(b, loss_logits(b, k)));
    }
}
