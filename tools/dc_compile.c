// smkdc compile: ONNX -> graph -> gradient -> artifact.
#include "dc_tune.h"

static const struct args_opt opts[] = {
    {"output", 'o', "FILE", NULL, "file to write (default: M.smkd beside M.onnx; text stages: standard output)", 0},
    DC_BOUNDARY_OPTS,
    DC_PARAMETER_OPTS,
    DC_LOGITS_OPT,
    DC_CLASSES_OPTS,
    DC_TAP_OPTS,
    {"dtype", 0, "f32|bf16", "f32", "what activations and gradients are kept in; parameters and sums stay f32", 0},
    DC_CODEGEN_OPTS(DC_MAX_BATCH),
    DC_TUNE_OPTS,
    {0}};
static const struct args_cmd cmd = {
    "smkdc compile",
    "M.onnx",
    1,
    1,
    "Compiles a model into a native program that runs, differentiates and updates it: inference, training forward,\n"
    "backward and SGD, for any batch size up to --max-batch.",
    opts};

static void say(const struct dc_build *b, const char *what, const struct ir_graph *g) {
    if (b->verbose) fprintf(stderr, "smkdc: %s: %zu nodes, %zu values\n", what, g->n_nodes, g->n_values);
}

// Every stage that is a text of graphs ends here: true when it was asked for, with the outcome in *s. Training graph
// first, as codegen prints its stages.
static bool emit_here(bool now, const char *out, struct ir_graph *train, struct ir_graph *infer, struct diag *d,
                      enum smkd_status *s) {
    if (now) *s = dc_emit_graphs(out, (struct ir_graph *[]){train, infer}, 2, d);
    return now;
}

static enum smkd_status build(struct dc_model *m, struct dc_build *b, const struct dc_tune *tune, const char *path,
                              const char *out) {
    enum smkd_status s = SMKD_OK;
    struct diag *d = &m->diag;
    say(b, "imported", m->imported);
    if (emit_here(b->stage == DC_ONNX_IR, out, m->imported, NULL, d, &s)) return s;

    const bool only_ir = b->stage == DC_IR || dc_stops_in(b, DC_MIDDLE_PASSES);
    TRY(dc_model_graphs(m, b, only_ir ? DC_IR : DC_GRAD));
    struct ir_graph *infer = m->infer, *train = m->train;
    say(b, "inference", infer);
    say(b, only_ir ? "training" : "forward and backward", train);
    if (emit_here(only_ir || b->stage == DC_GRAD, out, train, infer, d, &s)) return s;

    if (b->stage == DC_FUSED || dc_stops_in(b, dc_fuse_passes(b))) {
        TRY(dc_run_passes(b, dc_fuse_passes(b), infer, IR_INFER));
        TRY(dc_run_passes(b, dc_fuse_passes(b), train, IR_TRAIN));
        return dc_emit_graphs(out, (struct ir_graph *[]){train, infer}, 2, d);
    }

    struct cg_model cm = dc_codegen_model(m, b);
    if (!out)
        out =
            b->stage < DC_OBJ ? "-" : dc_replace_suffix(&m->arena, path, ".onnx", b->stage == DC_OBJ ? ".o" : ".smkd");
    if (b->verbose)
        fprintf(stderr, "smkdc: compiling for %s, batches up to %lld\n", b->cg.mcpu, (long long)b->cg.max_batch);
    return dc_tune_compile(tune, &m->arena, &cm, &b->cg, out, d);
}

static int run(const struct args *a) {
    struct dc_build b;
    struct dc_model m;
    static const char *const dtypes[] = {"f32", "bf16", NULL};
    size_t dtype = 0;
    if (!dc_build_options(&b, a) || !args_choice(a, "dtype", dtypes, &dtype)) return EXIT_USAGE;
    b.cg.bf16 = dtype == 1;
    int code = dc_output_check(&b, a);
    if (code != EXIT_DONE) return code;
    struct dc_tune tune;
    code = dc_tune_options(&tune, &b, a);
    if (code != EXIT_DONE) return code;
    code = dc_model_open(&m, a->pos[0], a);
    if (code == EXIT_DONE) code = dc_exit(build(&m, &b, &tune, a->pos[0], args_str(a, "output")), &m.diag);
    dc_model_close(&m);
    return code;
}

int dc_compile(int argc, char **argv) { return args_command_main(&cmd, run, argc, argv); }
