// smkdc check: everything that stands between a model and training, in one run.
#include "dc.h"

static const struct args_opt opts[] = {
    DC_SHAPE_OPT,
    DC_PARAMETER_OPTS,
    {"verbose", 'v', NULL, NULL, "list every float tensor, with the rule that made it a parameter or a constant", 0},
    {0}};
static const struct args_cmd cmd = {
    "smkdc check",
    "M.onnx",
    1,
    1,
    "Says whether a model can be compiled and trained. Reports every operator without a forward or a gradient by node\n"
    "name, and prints inputs, outputs, parameter counts, and by which rule other float tensors are constants. Exit\n"
    "code 1 when the model cannot be compiled, or none of its parameters trained.",
    opts};

static void print_type(const struct ir_type *t) {
    printf("%s[", ir_dtype_name(t->dtype));
    for (int i = 0; i < t->rank; i++) {
        char buf[24];
        printf("%s%s", i ? "," : "", ir_dim_text(t->dims[i], buf));
    }
    printf("]");
}

static void print_summary(const struct ir_graph *g) {
    int64_t trained = 0, kept = 0;
    size_t n_params = 0, n_buffers = 0;
    for (size_t i = 0; i < g->n_boundary; i++) {
        const struct ir_value *v = &g->values[g->boundary[i]];
        if (v->role == IR_ROLE_INPUT) {
            printf("input       %s ", v->name);
            print_type(&v->type);
            printf("\n");
        } else if (v->role == IR_ROLE_PARAM) {
            trained += ir_numel(&v->type);
            n_params++;
        } else if (v->role == IR_ROLE_BUFFER) {
            kept += ir_numel(&v->type);
            n_buffers++;
        }
    }
    for (size_t i = 0; i < g->n_outputs; i++) {
        if (g->outputs[i].kind != IR_OUT_OUTPUT) continue;
        printf("output      %s ", g->outputs[i].name);
        print_type(&g->values[g->outputs[i].value].type);
        printf("\n");
    }
    printf("parameters  %lld in %zu tensors\n", (long long)trained, n_params);
    printf("statistics  %lld in %zu tensors (not trained)\n", (long long)kept, n_buffers);
    printf("nodes       %zu\n", g->n_nodes);
}

// One line for each rule that keeps tensors constant, with the first of them; with --verbose one for each tensor.
static void print_decisions(const struct fe_model *m, bool verbose) {
    size_t n, frozen, n_told = 0;
    const struct fe_decision *d = fe_decisions(m, &n);
    const char *told[64]; // there are half as many rules
    for (size_t i = 0; i < n; i++) {
        if (verbose) printf("%s %s: %s\n", d[i].trained ? "parameter  " : "constant   ", d[i].name, d[i].why);
        bool new = !verbose && !d[i].trained && n_told < sizeof told / sizeof *told;
        for (size_t k = 0; new && k < n_told; k++) new = told[k] != d[i].why;
        if (!new) continue;
        told[n_told++] = d[i].why;
        size_t tensors = 0;
        int64_t numbers = 0;
        for (size_t k = i; k < n; k++)
            if (d[k].why == d[i].why) {
                tensors++;
                numbers += d[k].n;
            }
        printf("constants   %lld in %zu tensors: %s, as \"%s\"\n", (long long)numbers, tensors, d[i].why, d[i].name);
    }
    const size_t norms = fe_norms(m, &frozen);
    if (norms)
        printf("batch norm  %zu trained with the batch's statistics, %zu frozen\n", norms - frozen, frozen);
}

static size_t count_params(const struct ir_graph *g) {
    size_t n = 0;
    for (size_t i = 0; i < g->n_boundary; i++) n += g->values[g->boundary[i]].role == IR_ROLE_PARAM;
    return n;
}

// The last line, once the model is known to compile.
static int verdict(struct dc_model *m, size_t lost) {
    const size_t n = count_params(m->imported);
    if (n == 0) {
        printf("verdict     compiles; it has no parameters to train\n");
        return EXIT_DONE;
    }
    if (lost == n) {
        diag_error(&m->diag, NULL, "no gradient reaches any of its %zu parameters; export the model up to its logits",
                   n);
        printf("verdict     compiles, but cannot be trained\n");
        return EXIT_FAILED;
    }
    if (lost)
        printf("verdict     compiles and trains, but for %zu of %zu parameters\n", lost, n);
    else
        printf("verdict     compiles and trains\n");
    return EXIT_DONE;
}

static enum smkd_status check_passes(struct dc_model *m, size_t *untrained) {
    const struct dc_build b = {.pass = {.verify = true}};
    struct ir_graph *infer = ir_graph_clone(&m->arena, m->imported), *train = ir_graph_clone(&m->arena, m->imported);
    // Both halves are tried, so that one run reports what is wrong with either.
    enum smkd_status i = dc_run_passes(&b, DC_MIDDLE_PASSES, infer, IR_INFER);
    enum smkd_status t = dc_run_passes(&b, DC_MIDDLE_PASSES, train, IR_TRAIN);
    if (t == SMKD_OK) {
        *untrained = ir_report_untrained(train, true);
        t = ir_differentiate(train, NULL, 0, true);
    }
    return i != SMKD_OK ? i : t;
}

static int run(const struct args *a) {
    struct dc_model m;
    size_t untrained = 0;
    int code = dc_model_open(&m, a->pos[0], a);
    if (m.imported) {
        printf("model       %s\n", m.imported->name ? m.imported->name : "(unnamed)");
        print_summary(m.imported);
        print_decisions(m.file, args_given(a, "verbose"));
        code = dc_exit(check_passes(&m, &untrained), &m.diag);
    }
    if (code == EXIT_DONE)
        code = verdict(&m, untrained);
    else if (code != EXIT_USAGE)
        printf("verdict     cannot be compiled\n");
    dc_model_close(&m);
    return code;
}

int dc_check(int argc, char **argv) { return args_command_main(&cmd, run, argc, argv); }
