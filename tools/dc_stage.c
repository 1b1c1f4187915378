// The pipeline's stages: options, passes, printing, notes.
#include "dc.h"

#include "../runtime/include/smkd_abi.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const dc_stages[] = {[DC_ONNX_IR] = "onnx-ir",
                                 [DC_IR] = "ir",
                                 [DC_GRAD] = "grad",
                                 [DC_FUSED] = "fused",
                                 [DC_LAYOUT] = "layout",
                                 [DC_PLAN] = "plan",
                                 [DC_LLVM] = "llvm",
                                 [DC_ASM] = "asm",
                                 [DC_OBJ] = "obj",
                                 [DC_LIB] = "lib",
                                 NULL};

static bool known_pass(const struct args *a, const char *option, bool all) {
    const char *name = args_str(a, option);
    if (!name || (all && !strcmp(name, "all"))) return true;
    struct str names = STR_INIT;
    for (size_t i = 0; i < ir_n_passes; i++) {
        if (!strcmp(ir_passes[i].name, name)) {
            str_release(&names);
            return true;
        }
        str_addf(&names, "%s%s", i ? ", " : "", ir_passes[i].name);
    }
    args_fail(a->cmd, "--%s %s: expected one of %s%s", option, name, names.s ? names.s : "", all ? ", all" : "");
    str_release(&names);
    return false;
}

struct dc_build dc_build_defaults(void) {
    struct dc_build b = {
        .stage = DC_LIB, .cg = {.mcpu = "native", .emit = "lib", .verify = true}, .pass = {.verify = true}};
    CHECK(parse_i64(DC_MAX_BATCH, &b.cg.max_batch), "--max-batch has no default");
    return b;
}

bool dc_build_options(struct dc_build *b, const struct args *a) {
    static const char *const off_on[] = {"off", "on", NULL};
    size_t stage = DC_LIB, winograd = 1, recompute = 1;
    int64_t threads = 0;
    *b = (struct dc_build){0};
    if (!args_choice(a, "emit", dc_stages, &stage) || !args_choice(a, "winograd", off_on, &winograd) ||
        !args_choice(a, "recompute", off_on, &recompute) || !args_i64(a, "max-batch", 1, INT32_MAX, &b->cg.max_batch) ||
        !args_i64(a, "threads", 0, 1024, &threads) || !known_pass(a, "dump-after", true) ||
        !known_pass(a, "stop-after", false))
        return false;
    b->stage = (enum dc_stage)stage;
    b->verbose = args_given(a, "verbose");
    b->cg.emit = dc_stages[stage];
    b->cg.mcpu = args_str(a, "mcpu");
    b->cg.threads = (int)threads;
    b->cg.no_winograd = !winograd;
    b->cg.no_recompute = !recompute;
    // A broken invariant must stop here with the pass's name, not become wrong code; it costs milliseconds.
    b->cg.verify = b->pass.verify = true;
    b->cg.time = b->pass.time = args_given(a, "time");
    b->cg.dump_after = b->pass.dump_after = args_str(a, "dump-after");
    b->cg.stop_after = b->stop_after = args_str(a, "stop-after");
    b->pass.stop_after = b->stop_after;
    // The graph after codegen's last pass has a stage of its own.
    if (b->stop_after && (!strcmp(b->stop_after, "layout") || !strcmp(b->stop_after, "bf16")))
        b->cg.emit = dc_stages[b->stage = DC_LAYOUT];
    b->pass.dump = stderr;
    return true;
}

// Whether a file can be made beside `path`, asked before minutes go into what it would hold.
static bool folder_ok(const char *path) {
    const char *slash = strrchr(path, '/');
    struct str folder = STR_INIT;
    if (slash == path)
        str_add(&folder, "/");
    else if (slash)
        str_addf(&folder, "%.*s", (int)(slash - path), path);
    else
        str_add(&folder, ".");
    const bool ok = access(folder.s, W_OK | X_OK) == 0;
    const int why = errno;
    str_release(&folder);
    errno = why;
    return ok;
}

int dc_output_check(const struct dc_build *b, const struct args *a) {
    const char *out = args_str(a, "output");
    if (!out) return EXIT_DONE;
    if (!strcmp(out, "-")) {
        if (b->stage < DC_OBJ) return EXIT_DONE;
        return args_fail(a->cmd, "--emit %s is not text: give -o a file", dc_stages[b->stage]);
    }
    if (folder_ok(out)) return EXIT_DONE;
    fprintf(stderr, "error: cannot write %s: %s\n", printable(out), strerror(errno));
    return EXIT_FAILED;
}

const char *dc_fuse_passes(const struct dc_build *b) { return b->cg.no_recompute ? "fuse" : "recompute,fuse"; }

bool dc_stops_in(const struct dc_build *b, const char *names) {
    if (!b->stop_after) return false;
    const size_t n = strlen(b->stop_after);
    for (const char *p = names; *p; p += strcspn(p, ","), p += *p == ',')
        if (strcspn(p, ",") == n && !memcmp(p, b->stop_after, n)) return true;
    return false;
}

enum smkd_status dc_run_passes(const struct dc_build *b, const char *names, struct ir_graph *g,
                               enum ir_expand_mode mode) {
    struct ir_pass_options o = b->pass;
    o.mode = mode;
    return ir_run_passes(g, names, &o);
}

enum smkd_status dc_emit_graphs(const char *path, struct ir_graph *const *graphs, size_t n, struct diag *d) {
    struct str text = STR_INIT;
    for (size_t i = 0; i < n; i++)
        if (graphs[i]) ir_print(graphs[i], &text);
    enum smkd_status s = SMKD_OK;
    if (!path || !strcmp(path, "-"))
        fwrite(text.s, 1, text.len, stdout);
    else if ((s = io_write_file(path, text.s, text.len)) != SMKD_OK)
        diag_error(d, NULL, "cannot write %s: %s", path, strerror(errno));
    str_release(&text);
    return s;
}

// Adds up one phase's nodes: FLOPs per sample.
static double phase_flops(const struct ir_graph *g, enum ir_phase phase) {
    double sum = 0;
    for (size_t i = 0; g && i < g->n_nodes; i++) {
        double flops = 0, bytes = 0;
        if (g->nodes[i].phase != phase) continue;
        ir_cost(g, &g->nodes[i], &flops, &bytes);
        sum += flops;
    }
    return sum;
}

static cJSON *op_counts(const struct ir_graph *g) {
    cJSON *ops = cJSON_CreateObject();
    size_t count[IR_OP_COUNT] = {0};
    for (size_t i = 0; g && i < g->n_nodes; i++) count[g->nodes[i].op]++;
    for (int op = 0; op < IR_OP_COUNT; op++)
        if (count[op]) cJSON_AddNumberToObject(ops, ir_ops[op].name, (double)count[op]);
    return ops;
}

// The ONNX node of a BatchNorm that a batch of one sample leaves without a variance, or NULL.
static const char *single_statistic(const struct ir_graph *g) {
    for (size_t i = 0; g && i < g->n_nodes; i++)
        if (ir_is_single_statistic(g, &g->nodes[i])) return g->nodes[i].loc.node ? g->nodes[i].loc.node : "";
    return NULL;
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

// What lies in the parameter block and stays as it is: frozen parameters, statistics of frozen norms.
static cJSON *frozen_names(struct arena *a, const struct ir_graph *g) {
    cJSON *names = cJSON_CreateArray();
    if (!g) return names;
    const char **updated = ARENA_ARRAY(a, const char *, g->n_outputs + 1);
    size_t n = 0;
    for (size_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i].kind == IR_OUT_BUFFER) updated[n++] = g->outputs[i].name;
    qsort(updated, n, sizeof *updated, by_text);
    for (size_t i = 0; i < g->n_boundary; i++) {
        const struct ir_value *v = &g->values[g->boundary[i]];
        if (v->role == IR_ROLE_BUFFER && !(n && bsearch(&v->name, updated, n, sizeof *updated, by_text)))
            cJSON_AddItemToArray(names, cJSON_CreateString(v->name));
    }
    return names;
}

// Scales and shifts of norms among the parameters: a recipe may decay them otherwise.
static cJSON *norm_names(struct arena *a, const struct ir_graph *g) {
    cJSON *names = cJSON_CreateArray();
    if (!g) return names;
    bool *norm = ARENA_ARRAY(a, bool, g->n_values + 1);
    ir_norm_parameters(g, norm);
    for (size_t i = 0; i < g->n_boundary; i++)
        if (norm[g->boundary[i]]) cJSON_AddItemToArray(names, cJSON_CreateString(g->values[g->boundary[i]].name));
    return names;
}

// How the file has inputs and outputs, where that is another way than the artifact's (SMKD_NOTE_FORMS).
static void add_forms(cJSON *j, const struct fe_model *file) {
    size_t n;
    const struct fe_form *forms = fe_forms(file, &n);
    static const char *const halves[] = {[IR_HALF_F16] = "float16", [IR_HALF_BF16] = "bfloat16"};
    cJSON *list = NULL, *constants = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct fe_form *f = &forms[i];
        if (f->elements) {
            if (!constants) constants = cJSON_AddObjectToObject(j, SMKD_NOTE_GIVEN);
            cJSON_AddStringToObject(constants, f->name, f->elements);
            continue;
        }
        if (!fe_form_is_moved(f) && f->half == IR_HALF_NONE) continue;
        if (!list) list = cJSON_AddArrayToObject(j, SMKD_NOTE_FORMS);
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "name", f->name);
        cJSON_AddStringToObject(o, "role", f->output ? "output" : "input");
        cJSON *dims = cJSON_AddArrayToObject(o, "dims");
        for (int k = 0; k < f->rank; k++) cJSON_AddItemToArray(dims, cJSON_CreateNumber((double)f->dims[k]));
        cJSON_AddNumberToObject(o, "outer", (double)f->outer);
        if (f->half != IR_HALF_NONE) cJSON_AddStringToObject(o, "dtype", halves[f->half]);
        cJSON_AddItemToArray(list, o);
    }
}

const char *dc_notes(struct arena *a, const struct ir_graph *infer, const struct ir_graph *train, bool bf16) {
    return dc_model_notes(a, infer, train, bf16, NULL);
}

const char *dc_model_notes(struct arena *a, const struct ir_graph *infer, const struct ir_graph *train, bool bf16,
                           const struct fe_model *file) {
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "dtype", bf16 ? "bf16" : "f32");
    if (infer) cJSON_AddNumberToObject(j, "flops_infer", phase_flops(infer, IR_FORWARD));
    cJSON_AddNumberToObject(j, "flops_forward", phase_flops(train, IR_FORWARD));
    cJSON_AddNumberToObject(j, "flops_backward", phase_flops(train, IR_BACKWARD));
    if (infer) cJSON_AddNumberToObject(j, "nodes_infer", (double)infer->n_nodes);
    cJSON_AddNumberToObject(j, "nodes", train ? (double)train->n_nodes : 0);
    cJSON_AddItemToObject(j, "ops", op_counts(train));
    cJSON_AddItemToObject(j, "frozen", frozen_names(a, train));
    cJSON_AddItemToObject(j, SMKD_NOTE_NORM_PARAMETERS, norm_names(a, train));
    const char *single = single_statistic(train);
    if (single) cJSON_AddStringToObject(j, SMKD_NOTE_SINGLE_STATISTIC, single);
    size_t n_meta = 0;
    const struct fe_meta *meta = file ? fe_metadata(file, "smkd.", &n_meta) : NULL;
    cJSON *metadata = n_meta ? cJSON_AddObjectToObject(j, SMKD_NOTE_METADATA) : NULL;
    for (size_t i = 0; i < n_meta; i++) cJSON_AddStringToObject(metadata, meta[i].key, meta[i].value);
    if (file) add_forms(j, file);
    char *text = cJSON_PrintUnformatted(j);
    CHECK(text, "out of memory for the notes");
    const char *s = arena_strdup(a, text);
    cJSON_free(text);
    cJSON_Delete(j);
    return s;
}

const char *dc_replace_suffix(struct arena *a, const char *path, const char *from, const char *to) {
    size_t n = strlen(path);
    if (str_has_suffix(path, from)) n -= strlen(from);
    return arena_printf(a, "%.*s%s", (int)n, path, to);
}

int dc_exit(enum smkd_status s, struct diag *d) {
    if (s == SMKD_OK) return EXIT_DONE;
    if (!d->errors) diag_error(d, NULL, "%s", smkd_status_text(s));
    return EXIT_FAILED;
}
