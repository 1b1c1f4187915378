// What every drawn loss becomes: primitive ops with the gradients of its losses by all that it looks at, in one entry.
// Which there are is in the names of its inputs and outputs (methods/methods.h), so that a graph of a user's own is
// treated as ours are.
#include "losses_internal.h"

#include <string.h>

ir_vid loss_declared(const struct ir_graph *g, const char *name) {
    for (size_t i = 0; i < g->n_boundary; i++)
        if (strcmp(g->values[g->boundary[i]].name, name) == 0) return g->boundary[i];
    return IR_NONE;
}

ir_vid loss_put_out(const struct ir_graph *g, const char *name) {
    for (size_t i = 0; i < g->n_outputs; i++)
        if (strcmp(g->outputs[i].name, name) == 0) return g->outputs[i].value;
    return IR_NONE;
}

// Peer k's own loss, or the one that all peers have.
static ir_vid loss_of(const struct ir_graph *g, int k) {
    char name[32];
    snprintf(name, sizeof name, "loss.%d", k);
    ir_vid own = loss_put_out(g, name), all = loss_put_out(g, "loss.all");
    CHECK((own == IR_NONE) != (all == IR_NONE), "loss %s has not one of %s and loss.all", g->name, name);
    return own != IR_NONE ? own : all;
}

// By logits and taps in the order in which they were declared; trained tables after their step.
static enum smkd_status differentiate(struct loss_builder *b) {
    struct ir_graph *g = b->g;
    const size_t boundary = g->n_boundary, most = boundary + b->n_trained;
    struct ir_grad_seed *seeds = ARENA_ARRAY(b->a, struct ir_grad_seed, most + 1);
    ir_vid *grads = ARENA_ARRAY(b->a, ir_vid, most + 1);
    const char **names = ARENA_ARRAY(b->a, const char *, most + 1); // of the outputs
    size_t n = 0;
    for (int taps = 0; taps < 2; taps++)
        for (size_t i = 0; i < boundary; i++) {
            const char *name = g->values[g->boundary[i]].name;
            const struct method_name x = method_parse(name);
            if (x.role != (taps ? METHOD_TAP : METHOD_LOGITS)) continue;
            names[n] = taps ? arena_printf(b->a, "grad.%s", name) : arena_printf(b->a, "grad.%d", x.peer);
            seeds[n++] = (struct ir_grad_seed){loss_of(g, x.peer), g->boundary[i]};
        }
    const size_t trained = n;
    for (size_t i = 0; i < b->n_trained; i++) {
        const struct loss_trained *t = &b->trained[i];
        ir_vid loss = t->how.loss ? loss_put_out(g, t->how.loss) : loss_of(g, t->peer);
        CHECK(loss != IR_NONE, "\"%s\" is trained by \"%s\", which is no output", t->name, t->how.loss);
        names[n] = t->name;
        seeds[n++] = (struct ir_grad_seed){loss, loss_declared(g, t->name)};
    }
    TRY(ir_gradients(g, seeds, n, grads));
    for (size_t i = 0; i < n; i++) {
        ir_vid v = i < trained ? grads[i] : loss_trained(b, &b->trained[i - trained], grads[i]);
        ir_set_output(g, IR_OUT_OUTPUT, names[i], v);
    }
    return SMKD_OK;
}

enum smkd_status loss_finish(struct loss_builder *b, bool predicts) {
    struct ir_graph *g = b->g;
    struct ir_pass_options po = {.mode = IR_TRAIN, .verify = true};
    TRY(ir_run_passes(g, "expand", &po));
    if (!predicts) TRY(differentiate(b));
    // The program of a loss has one entry: its gradients are results like any other.
    for (size_t i = 0; i < g->n_nodes; i++) g->nodes[i].phase = IR_FORWARD;
    g->cur_phase = IR_FORWARD;
    return ir_verify(g, b->d) ? SMKD_OK : SMKD_INVALID;
}
