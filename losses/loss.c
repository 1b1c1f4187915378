// The catalogue: names, options, and the steps every loss goes through once its builder has written it down.
#include "losses.h"

#include "losses_internal.h"

#include <math.h>
#include <string.h>

const struct loss_options loss_defaults = {
    .refine = "mylc",
    .peer_denom = "K",
    .r_scope = "epoch",
    .detach_target = false,
    .log_floor = 0,
    .classes = 10,
};

const struct loss_info loss_table[] = {
    {"smkd-p", "selective mutual distillation, progressive threshold", "SMKD Eq. 4-6, b2 != 0", loss_build_smkd_p},
    {"smkd-s", "selective mutual distillation, static threshold", "SMKD Eq. 4-6, b2 = 0", loss_build_smkd_s},
    {"all", "mutual distillation: every row is exchanged", "SMKD Eq. 4-5 with every gate open", loss_build_all},
    {"zero", "two self-distilling networks: nothing is exchanged", "SMKD Eq. 4-5 with every gate shut",
     loss_build_zero},
    {"ce", "two networks with plain cross entropy", "zero without refinement", loss_build_ce},
    {NULL, NULL, NULL, NULL},
};

static const char *const refine_words[] = {"mylc", "proselflc", "none", NULL};
static const char *const denom_words[] = {"K", "N", "typo", NULL};
static const char *const scope_words[] = {"epoch", "batch", "ema", NULL};

const struct loss_info *loss_find(const char *name) {
    for (const struct loss_info *l = loss_table; l->name; l++) {
        if (name && strcmp(l->name, name) == 0) return l;
    }
    return NULL;
}

static bool check_word(struct diag *d, const char *flag, const char *got, const char *const *words) {
    struct str all = STR_INIT;
    bool found = false;
    for (; *words; words++) {
        str_addf(&all, "%s%s", all.len ? ", " : "", *words);
        found = found || (got && strcmp(got, *words) == 0);
    }
    if (!found) diag_error(d, NULL, "%s is \"%s\"; expected one of %s", flag, got ? got : "", all.s);
    str_release(&all);
    return found;
}

static bool check_options(struct diag *d, const struct loss_options *o) {
    bool ok = check_word(d, "refine", o->refine, refine_words);
    ok = check_word(d, "peer-denom", o->peer_denom, denom_words) && ok;
    ok = check_word(d, "r-scope", o->r_scope, scope_words) && ok;
    if (o->classes < 2 || o->classes > LOSS_MAX_CLASSES) {
        diag_error(d, NULL, "classes is %lld; expected 2 to %d", (long long)o->classes, LOSS_MAX_CLASSES);
        ok = false;
    }
    if (!(o->log_floor >= 0 && o->log_floor < 1)) {
        diag_error(d, NULL, "log-floor is %g; expected 0 (exact) or a small positive number such as 1e-6",
                   o->log_floor);
        ok = false;
    }
    return ok;
}

// ce is zero with refine none whatever was asked; one program, one key.
static struct loss_options canonical(const char *name, const struct loss_options *o) {
    struct loss_options c = *o;
    if (strcmp(name, "ce") == 0) c.refine = "none";
    if (strcmp(c.refine, "mylc") != 0) c.r_scope = loss_defaults.r_scope;
    if (strcmp(c.refine, "none") == 0) c.detach_target = false;
    return c;
}

static ir_vid output_named(const struct ir_graph *g, const char *name) {
    for (size_t i = 0; i < g->n_outputs; i++) {
        if (strcmp(g->outputs[i].name, name) == 0) return g->outputs[i].value;
    }
    BUG("loss %s has no output %s", g->name, name);
}

static ir_vid boundary_named(const struct ir_graph *g, const char *name) {
    for (size_t i = 0; i < g->n_boundary; i++) {
        if (strcmp(g->values[g->boundary[i]].name, name) == 0) return g->boundary[i];
    }
    BUG("loss %s has no input %s", g->name, name);
}

struct ir_graph *loss_build(const char *name, const struct loss_options *o, struct arena *a, struct diag *d) {
    const struct loss_info *info = loss_find(name);
    if (!info) {
        struct str all = STR_INIT;
        for (const struct loss_info *l = loss_table; l->name; l++) str_addf(&all, "%s%s", all.len ? ", " : "", l->name);
        diag_error(d, NULL, "there is no loss \"%s\"; expected one of %s", name ? name : "", all.s);
        str_release(&all);
        return NULL;
    }
    if (!check_options(d, o)) return NULL;
    struct loss_options c = canonical(name, o);
    struct ir_graph *g = info->build(a, d, info, &c);
    if (!g) return NULL;

    struct ir_pass_options po = {.mode = IR_TRAIN, .verify = true};
    if (ir_run_passes(g, "expand", &po) != SMKD_OK) return NULL;
    struct ir_grad_seed seeds[] = {
        {output_named(g, "loss.0"), boundary_named(g, "logits.0")},
        {output_named(g, "loss.1"), boundary_named(g, "logits.1")},
    };
    ir_vid grads[2];
    if (ir_gradients(g, seeds, 2, grads) != SMKD_OK) return NULL;
    ir_set_output(g, IR_OUT_OUTPUT, "grad.0", grads[0]);
    ir_set_output(g, IR_OUT_OUTPUT, "grad.1", grads[1]);

    // The program of a loss has one entry: its gradients are results like any other.
    for (size_t i = 0; i < g->n_nodes; i++) g->nodes[i].phase = IR_FORWARD;
    g->cur_phase = IR_FORWARD;
    return ir_verify(g, d) ? g : NULL;
}

char *loss_key(const char *name, const struct loss_options *o, struct arena *a) {
    struct loss_options c = canonical(name, o);
    return arena_printf(a, "%s refine=%s peer_denom=%s r_scope=%s detach_target=%d log_floor=%.17g classes=%lld", name,
                        c.refine, c.peer_denom, c.r_scope, c.detach_target, c.log_floor, (long long)c.classes);
}
