// A loss that somebody wrote as text (ir/IR.md): checked here, since whoever runs it will do what its names ask for.
#include "losses_internal.h"

#include <string.h>

static bool has_output(const struct ir_graph *g, const char *name) {
    for (size_t i = 0; i < g->n_outputs; i++)
        if (strcmp(g->outputs[i].name, name) == 0) return true;
    return false;
}

static bool check_inputs(const struct ir_graph *g, struct diag *d, int *peers) {
    bool ok = true, seen[METHOD_MAX_PEERS] = {false};
    *peers = 0;
    for (size_t i = 0; i < g->n_boundary; i++) {
        const struct ir_value *v = &g->values[g->boundary[i]];
        const struct method_name x = method_parse(v->name);
        if (v->role == IR_ROLE_SCALAR) continue;
        if (v->role != IR_ROLE_INPUT || x.role == METHOD_OTHER || x.role == METHOD_LOSS || x.role == METHOD_GRAD ||
            x.role == METHOD_TAP_GRAD || x.role == METHOD_PROBS || x.peer >= METHOD_MAX_PEERS) {
            diag_error(
                d, NULL,
                "\"%s\": no run gives such an input; inputs are logits.K, tap.K.NAME, labels, labels.mix, "
                "labels.draw, index, targets, class.weight, teacher.K, teacher.K.NAME, average.K, average.K.NAME, "
                "guess.K, table.NAME and state.NAME",
                v->name);
            ok = false;
        } else if (x.role == METHOD_LOGITS) {
            seen[x.peer] = true;
            if (x.peer >= *peers) *peers = x.peer + 1;
        }
    }
    for (int k = 0; k < *peers; k++)
        if (!seen[k]) {
            diag_error(d, NULL, "there is no input \"logits.%d\"; networks count from 0", k);
            ok = false;
        }
    if (!*peers) diag_error(d, NULL, "there is no input \"logits.0\" f32[N,classes]: a loss looks at networks");
    return ok && *peers;
}

// One loss of each network, or one of all; each a number.
static bool check_losses(const struct ir_graph *g, struct diag *d, int peers) {
    const bool all = has_output(g, "loss.all");
    bool ok = true;
    for (int k = 0; k < peers; k++) {
        char name[32];
        snprintf(name, sizeof name, "loss.%d", k);
        if (has_output(g, name) != all) continue;
        diag_error(d, NULL, all ? "there are \"loss.all\" and \"%s\"; give one of them" : "there is no output \"%s\"",
                   name);
        ok = false;
    }
    for (size_t i = 0; i < g->n_outputs; i++) {
        const struct ir_type *t = &g->values[g->outputs[i].value].type;
        if (method_parse(g->outputs[i].name).role != METHOD_LOSS && strcmp(g->outputs[i].name, "loss.all") != 0)
            continue;
        if (t->rank == 0 && t->dtype == IR_F32) continue;
        diag_error(d, NULL, "output \"%s\" is no single float32; take the mean over the batch", g->outputs[i].name);
        ok = false;
    }
    return ok;
}

bool loss_own_check(const struct ir_graph *g, struct diag *d) {
    int peers;
    return check_inputs(g, d, &peers) && check_losses(g, d, peers);
}

enum smkd_status loss_own_build(struct ir_graph *g, struct arena *a, struct diag *d) {
    struct loss_builder b = {.g = g, .a = a, .d = d};
    return loss_finish(&b, false);
}
