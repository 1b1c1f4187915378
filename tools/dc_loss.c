// smkdc loss: a training loss as an artifact of its own.
#include "../runtime/include/smkd_abi.h"
#include "dc.h"

#include <string.h>

static const struct args_opt opts[] = {
    {"output", 'o', "FILE", NULL, "file to write (default: NAME.smkd; text stages: standard output)", 0},
    {"classes", 0, "C", NULL, "number of classes", 0},
    {"refine", 0, "RULE", "mylc", "target refinement: mylc, proselflc, none", 0},
    {"peer-denom", 0, "K|N|typo", "K", "what the peer term is averaged over: its selected rows (K) or the batch (N)",
     0},
    {"r-scope", 0, "SCOPE", "epoch", "where MyLC's mean confidence r comes from: epoch, batch, ema", 0},
    {"detach-target", 0, NULL, NULL, "no gradient through the own refined target", 0},
    {"log-floor", 0, "E", "0", "log(p + E) instead of the exact log-softmax", 0},
    {"list", 0, NULL, NULL, "list the losses", 0},
    DC_CODEGEN_OPTS("4096"),
    {0}};
static const struct args_cmd cmd = {"smkdc loss",
                                    "NAME",
                                    0,
                                    1,
                                    "Compiles a loss for a pair of peers: logits and labels in; losses, gradients by "
                                    "the logits, threshold, selection and\n"
                                    "trust out. smkd-run has it done by itself.",
                                    opts};

static int list(void) {
    for (const struct loss_info *l = loss_table; l->name; l++) printf("%-10s %s (%s)\n", l->name, l->doc, l->paper);
    return EXIT_DONE;
}

static enum smkd_status build(const char *name, const struct loss_options *o, struct dc_build *b, const char *out,
                              struct arena *arena, struct diag *d) {
    struct ir_graph *g = loss_build(name, o, arena, d);
    if (!g) return SMKD_INVALID;
    if (b->stage <= DC_IR) {
        // Without gradients: as the paper writes it, then in primitive ops.
        const struct loss_info *info = loss_find(name);
        g = info->build(arena, d, info, o);
        if (!g) return SMKD_INVALID;
        if (b->stage == DC_IR) TRY(dc_run_passes(b, DC_MIDDLE_PASSES, g, IR_TRAIN));
        return dc_emit_graphs(out, &g, 1, d);
    }
    TRY(dc_run_passes(b, DC_MIDDLE_PASSES, g, IR_TRAIN));
    const bool fused = b->stage == DC_FUSED || dc_stops_in(b, dc_fuse_passes(b));
    if (fused) TRY(dc_run_passes(b, dc_fuse_passes(b), g, IR_TRAIN));
    if (fused || b->stage < DC_FUSED || dc_stops_in(b, DC_MIDDLE_PASSES)) return dc_emit_graphs(out, &g, 1, d);

    struct cg_model cm = {.name = name, .kind = SMKD_ABI_LOSS, .train = g, .notes = dc_notes(arena, NULL, g, false)};
    if (!out) out = b->stage < DC_OBJ ? "-" : arena_printf(arena, "%s%s", name, b->stage == DC_OBJ ? ".o" : ".smkd");
    return cg_compile(&cm, &b->cg, out, d);
}

static int run(const struct args *a) {
    struct dc_build b;
    struct loss_options o = loss_defaults;
    if (args_given(a, "list")) return list();
    if (!a->n_pos) return args_fail(&cmd, "missing NAME (smkdc loss --list prints them)");
    if (!args_given(a, "classes")) return args_fail(&cmd, "--classes C is missing");
    if (!args_i64(a, "classes", 2, 1000000, &o.classes) || !args_f64(a, "log-floor", 0, 0.5, &o.log_floor) ||
        !dc_build_options(&b, a))
        return EXIT_USAGE;
    int code = dc_output_check(&b, a);
    if (code != EXIT_DONE) return code;
    o.refine = args_str(a, "refine");
    o.peer_denom = args_str(a, "peer-denom");
    o.r_scope = args_str(a, "r-scope");
    o.detach_target = args_given(a, "detach-target");

    struct arena arena;
    struct diag d = {0};
    arena_init(&arena);
    code = dc_exit(build(a->pos[0], &o, &b, args_str(a, "output"), &arena, &d), &d);
    arena_release(&arena);
    return code;
}

int dc_loss(int argc, char **argv) { return args_command_main(&cmd, run, argc, argv); }
