// smkdc check: everything that stands between a model and training, in one run.
#include "dc_check.h"

#include <stdlib.h>
#include <string.h>

static const struct args_opt opts[] = {
    DC_BOUNDARY_OPTS,
    DC_PARAMETER_OPTS,
    DC_LOGITS_OPT,
    DC_CLASSES_OPTS,
    DC_TAP_OPTS,
    {"json", 0, NULL, NULL, "print one JSON object instead, messages in it", 0},
    {"verbose", 'v', NULL, NULL, "list every float tensor, with the rule that made it a parameter or a constant", 0},
    {0}};
static const struct args_cmd cmd = {
    "smkdc check",
    "M.onnx",
    1,
    1,
    "Says whether a model can be compiled and trained. Reports every operator without a forward or a gradient by node\n"
    "name, and prints inputs, outputs, what is trained for logits, parameter counts, and by which rule other float\n"
    "tensors are constants. Exit code 1 when the model cannot be compiled: it goes the way of compile up to where "
    "code\n"
    "is generated.",
    opts};

static void print_row(const char *what, const char *name, const struct ir_type *t, const char *rest) {
    struct str type = STR_INIT;
    ir_print_type(t, &type);
    printf("%-11s %s %s%s\n", what, printable(name), type.s, rest);
    str_release(&type);
}

// " (in the file [4,N,5])" where its batch is elsewhere there.
static const char *form_text(struct dc_model *m, const char *name, bool output) {
    size_t n;
    const struct fe_form *f = fe_forms(m->file, &n);
    struct str s = STR_INIT;
    for (size_t i = 0; i < n; i++) {
        if (!fe_form_is_moved(&f[i]) || f[i].output != output || strcmp(f[i].name, name)) continue;
        str_add(&s, " (in the file [");
        for (int k = 0; k < f[i].rank; k++) {
            char buf[24];
            str_addf(&s, "%s%s", k ? "," : "", ir_dim_text(f[i].dims[k], buf));
        }
        str_add(&s, "])");
    }
    const char *text = arena_strdup(&m->arena, s.s ? s.s : "");
    str_release(&s);
    return text;
}

static int by_name(const void *name, const void *d) { return strcmp(name, ((const struct fe_decision *)d)->name); }

// Whether --freeze names it.
static bool is_frozen(const struct dc_model *m, const char *name) {
    size_t n;
    const struct fe_decision *all = fe_decisions(m->file, &n);
    const struct fe_decision *d = n ? bsearch(name, all, n, sizeof *all, by_name) : NULL;
    return d && d->frozen;
}

void dc_check_count(const struct dc_model *m, struct dc_check_count *parameters, struct dc_check_count *statistics) {
    const struct ir_graph *g = m->imported;
    *parameters = *statistics = (struct dc_check_count){0};
    for (size_t i = 0; i < g->n_boundary; i++) {
        const struct ir_value *v = &g->values[g->boundary[i]];
        struct dc_check_count *c = v->role == IR_ROLE_PARAM                              ? parameters
                                   : v->role == IR_ROLE_BUFFER && !is_frozen(m, v->name) ? statistics
                                                                                         : NULL;
        if (!c) continue;
        c->numbers += ir_numel(&v->type);
        c->tensors++;
    }
}

static void print_summary(struct dc_model *m) {
    const struct ir_graph *g = m->imported;
    struct dc_check_count parameters, statistics;
    dc_check_count(m, &parameters, &statistics);
    for (size_t i = 0; i < g->n_boundary; i++) {
        const struct ir_value *v = &g->values[g->boundary[i]];
        if (v->role == IR_ROLE_INPUT) print_row("input", v->name, &v->type, form_text(m, v->name, false));
    }
    for (size_t i = 0; i < g->n_outputs; i++) {
        const struct ir_output *o = &g->outputs[i];
        if (o->kind == IR_OUT_OUTPUT && !dc_is_added(m, o->name))
            print_row("output", o->name, &g->values[o->value].type, form_text(m, o->name, true));
    }
    printf("parameters  %lld in %zu tensors\n", (long long)parameters.numbers, parameters.tensors);
    printf("statistics  %lld in %zu tensors (not trained)\n", (long long)statistics.numbers, statistics.tensors);
    printf("nodes       %zu\n", g->n_nodes);
}

// One line for each rule that keeps tensors constant or frozen, with the first of them; with --verbose one for each
// tensor.
static void print_decisions(const struct fe_model *m, bool verbose) {
    size_t n, frozen, n_told = 0;
    const struct fe_decision *d = fe_decisions(m, &n);
    const char *told[64]; // there are half as many rules
    for (size_t i = 0; i < n; i++) {
        if (verbose)
            printf("%-11s %s: %s\n",
                   d[i].trained  ? "parameter"
                   : d[i].frozen ? "frozen"
                                 : "constant",
                   printable(d[i].name), d[i].why);
        bool new = !verbose && !d[i].trained &&n_told < sizeof told / sizeof *told;
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
        printf("%-11s %lld in %zu tensors: %s, as \"%s\"\n", d[i].frozen ? "frozen" : "constants", (long long)numbers,
               tensors, d[i].why, printable(d[i].name));
    }
    const size_t norms = fe_norms(m, &frozen);
    if (norms) printf("batch norm  %zu trained with the batch's statistics, %zu frozen\n", norms - frozen, frozen);
}

// What training looks at.
static void print_heads(const struct dc_model *m) {
    for (size_t i = 0; i < m->n_heads; i++) {
        const struct ir_head *h = &m->heads[i];
        struct str rest = STR_INIT;
        if (h->op) str_addf(&rest, ", before the %s of %s", h->op, h->output);
        print_row(i ? "         or" : "logits", h->logits, &m->imported->values[h->value].type, rest.len ? rest.s : "");
        str_release(&rest);
    }
    size_t n;
    const struct fe_tap *taps = fe_taps(m->file, &n);
    for (size_t i = 0; i < n; i++) print_row("tap", taps[i].name, &m->imported->values[taps[i].value].type, "");
}

// The last line, once the model is known to compile.
static void print_verdict(const struct dc_model *m) {
    printf("verdict     compiles");
    if (m->n_params == 0)
        printf("; it has no parameters to train\n");
    else if (m->n_untrained == m->n_params)
        printf(", but cannot be trained\n");
    else if (m->n_untrained)
        printf(" and trains, but for %zu of %zu parameters\n", m->n_untrained, m->n_params);
    else
        printf(" and trains\n");
}

// Everything that compile does with a model short of generating code, under its default options.
static enum smkd_status try_to_compile(struct dc_model *m) {
    const struct dc_build b = dc_build_defaults();
    TRY(dc_model_graphs(m, &b, DC_GRAD));
    struct cg_model cm = dc_codegen_model(m, &b);
    return cg_check(&cm, &b.cg, &m->diag);
}

static int run_json(const struct args *a) {
    struct dc_model m;
    struct arena lines;
    arena_init(&lines);
    struct dc_said said = {.arena = &lines};
    int code = dc_model_open_told(&m, a->pos[0], a, dc_said_keep, &said);
    if (code == EXIT_DONE) code = dc_exit(try_to_compile(&m), &m.diag);
    if (code != EXIT_USAGE) dc_check_json(&m, code == EXIT_DONE, &said);
    dc_model_close(&m);
    arena_release(&lines);
    return code;
}

static int run(const struct args *a) {
    struct dc_model m;
    if (args_given(a, "json")) return run_json(a);
    int code = dc_model_open(&m, a->pos[0], a);
    if (m.imported) {
        printf("model       %s\n", m.imported->name ? printable(m.imported->name) : "(unnamed)");
        print_summary(&m);
        print_decisions(m.file, args_given(a, "verbose"));
    }
    if (code == EXIT_DONE) {
        print_heads(&m);
        code = dc_exit(try_to_compile(&m), &m.diag);
    }
    if (code == EXIT_DONE)
        print_verdict(&m);
    else if (code != EXIT_USAGE)
        printf("verdict     cannot be compiled\n");
    dc_model_close(&m);
    return code;
}

int dc_check(int argc, char **argv) { return args_command_main(&cmd, run, argc, argv); }
