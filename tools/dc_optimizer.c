// smkdc optimizer: an optimizer's step as an artifact of its own.
#include "../optim/optim.h"
#include "../runtime/include/smkd_abi.h"
#include "dc.h"

#include <string.h>

static const struct args_opt opts[] = {
    {"output", 'o', "FILE", NULL, "file to write (default: NAME.smkd; text stages: standard output)", 0},
    {"list", 0, NULL, NULL, "list the optimizers", 0},
    DC_CODEGEN_OPTS("2147483647"),
    {0}};
static const struct args_cmd cmd = {
    "smkdc optimizer",
    "NAME",
    0,
    1,
    "Compiles an optimizer: parameters, gradients and states in, in runs of 64 bytes (the batch says how many);\n"
    "parameters and states out, in their place. smkd-run has it done by itself.",
    opts};

static int list(void) {
    for (const struct optimizer *o = optimizers; o->name; o++) {
        printf("%-13s %s (", o->name, o->doc);
        for (int i = 0; o->numbers[i].name; i++)
            printf("%s--%s %g", i ? " " : "", o->numbers[i].flag, o->numbers[i].def);
        printf(")\n");
    }
    return EXIT_DONE;
}

// Nothing is shared between results but what one kernel computes anyway (optim.c), so there is nothing for cse.
#define PASSES "expand,fold,dce"

static enum smkd_status build(const char *name, struct dc_build *b, const char *out, struct arena *arena,
                              struct diag *d) {
    struct ir_graph *g = optim_build(name, arena, d);
    if (!g) return SMKD_INVALID;
    if (b->stage == DC_ONNX_IR) return dc_emit_graphs(out, &g, 1, d);
    TRY(dc_run_passes(b, PASSES, g, IR_TRAIN));
    const bool fused = b->stage == DC_FUSED || dc_stops_in(b, dc_fuse_passes(b));
    if (fused) TRY(dc_run_passes(b, dc_fuse_passes(b), g, IR_TRAIN));
    if (fused || b->stage < DC_FUSED || dc_stops_in(b, PASSES)) return dc_emit_graphs(out, &g, 1, d);
    struct cg_model cm = {
        .name = name, .kind = SMKD_ABI_OPTIMIZER, .train = g, .notes = dc_notes(arena, NULL, g, false)};
    if (!out) out = b->stage < DC_OBJ ? "-" : arena_printf(arena, "%s%s", name, b->stage == DC_OBJ ? ".o" : ".smkd");
    return cg_compile(&cm, &b->cg, out, d);
}

static int run(const struct args *a) {
    struct dc_build b;
    if (args_given(a, "list")) return list();
    if (!a->n_pos) return args_fail(&cmd, "missing NAME (smkdc optimizer --list prints them)");
    if (!dc_build_options(&b, a)) return EXIT_USAGE;
    int code = dc_output_check(&b, a);
    if (code != EXIT_DONE) return code;
    struct arena arena;
    struct diag d = {0};
    arena_init(&arena);
    code = dc_exit(build(a->pos[0], &b, args_str(a, "output"), &arena, &d), &d);
    arena_release(&arena);
    return code;
}

int dc_optimizer(int argc, char **argv) { return args_command_main(&cmd, run, argc, argv); }
