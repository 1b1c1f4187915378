// smkdc verify: every value inside a model beside another runtime's.
//
// The model is compiled twice, as compile does it and with the result of every node as an output (kernels then fuse
// less, so that both are worth looking at). Inputs are files in a temporary folder, drawn at random or given, which
// both sides read; so are the reference's results.
#include "dc_verify.h"
#include "../ir/eval.h"
#include "dc.h"
#include "run_io.h"

#include "../base/process.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { AUTO, ONNXRUNTIME, INTERPRETER };
static const char *const references[] = {"auto", "onnxruntime", "interpreter", NULL};

static const struct args_opt opts[] = {
    DC_BOUNDARY_OPTS,
    {"reference", 0, "WHAT", "auto",
     "onnxruntime, interpreter (float64, of smkdc's own graph), or the first where it is there", 0},
    {"python", 0, "PROGRAM", "python3", "a Python that has onnxruntime", 0},
    {"input", 0, "NAME=FILE.npy", NULL, "an input; the others are random", ARGS_REPEAT},
    {"batch-size", 0, "N", "3", "samples, where the file does not fix them", 0},
    {"most", 0, "N", "4", "random integers are from 0 to N-1", 0},
    {"seed", 0, "S", "0", "of the random inputs", 0},
    {"tolerance", 0, "T", "1e-3", "largest difference over the largest element of a value; of gradients ten times that",
     0},
    {"gradients", 0, NULL, NULL, "compare the gradients by inputs and parameters with finite differences, too", 0},
    {"threads", 0, "N", "0", "threads (0: all cores)", 0},
    {"verbose", 'v', NULL, NULL, "a line for every value", 0},
    {0}};
static const struct args_cmd cmd = {
    "smkdc verify",
    "M.onnx",
    1,
    1,
    "Compiles a model, runs it in inference mode and compares the result of every node with onnxruntime (without its\n"
    "optimisations). Names the first node, in the file's order, whose result differs. Exit code 1 where one does.",
    opts};

// --- inputs ----------------------------------------------------------------------------------------------------------

void verify_normal(struct rt_rng *rng, double *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = sqrt(-2 * log(1 - rt_rng_uniform(rng))) * cos(2 * 3.14159265358979323846 * rt_rng_uniform(rng));
}

static enum smkd_result write_input(const struct verify *v, const struct fe_form *f, const char *path,
                                    uint64_t stream) {
    struct rt_tensor t = {.dtype = RT_F64, .rank = f->rank, .numel = 1};
    struct rt_rng rng;
    rt_rng_init(&rng, v->seed, stream);
    for (int i = 0; i < f->rank; i++) {
        t.dims[i] = f->dims[i] < 0 ? -f->dims[i] * v->batch : f->dims[i];
        t.numel *= (size_t)t.dims[i];
    }
    t.bytes = t.numel * sizeof(double);
    double *x = t.data = xcalloc(t.numel + 1, sizeof *x);
    const char *p = f->elements;
    for (size_t i = 0; i < t.numel; i++) {
        if (p) {
            bool batch;
            if (run_given_next(&p, &batch, &x[i]) && batch) x[i] = (double)v->batch;
        } else if (ir_is_float(f->dtype)) {
            verify_normal(&rng, &x[i], 1);
        } else {
            x[i] = (double)rt_rng_below(&rng, f->dtype == IR_BOOL ? 2 : (uint64_t)v->most);
        }
    }
    static const enum rt_dtype types[IR_DTYPE_COUNT] = {
        [IR_F32] = RT_F32, [IR_F64] = RT_F64,   [IR_I64] = RT_I64, [IR_I32] = RT_I32,
        [IR_U8] = RT_U8,   [IR_BOOL] = RT_BOOL, [IR_I8] = RT_I8,   [IR_I16] = RT_I16,
        [IR_U16] = RT_U16, [IR_U32] = RT_U32,   [IR_U64] = RT_U64,
    };
    // A type that .npy files do not have is float32 in them.
    enum smkd_result r = rt_tensor_convert(&t, f->half == IR_HALF_F16 ? RT_F16 : types[f->dtype], path, "element");
    if (r == SMKD_R_OK) r = rt_npy_write(path, &t);
    rt_tensor_release(&t);
    return r;
}

// NAME=FILE of --input for this input; NULL: none.
static const char *given_file(const struct args *a, const char *input) {
    const size_t n = strlen(input);
    for (size_t i = 0; i < args_count(a, "input"); i++) {
        const char *text = args_nth(a, "input", i);
        if (!strncmp(text, input, n) && text[n] == '=') return text + n + 1;
    }
    return NULL;
}

const char *verify_input(struct verify *v, const char *input, size_t i) {
    const char *given = given_file(v->args, input);
    return given ? given : arena_printf(&v->m.arena, "%s/in%zu.npy", v->dir.path, i);
}

void verify_again(void *env, enum diag_severity sev, const char *line) {
    (void)env;
    if (sev == DIAG_ERROR) fprintf(stderr, "%s\n", line);
}

static enum smkd_result make_inputs(struct verify *v) {
    size_t n;
    const struct fe_form *f = fe_forms(v->m.file, &n);
    enum smkd_result r = SMKD_R_OK;
    for (size_t i = 0; i < n && !args_given(v->args, "batch-size"); i++) // the reference insists on it
        if (!f[i].output && f[i].fixed) v->batch = f[i].fixed;
    for (size_t i = 0; i < n && r == SMKD_R_OK; i++)
        if (!f[i].output && !given_file(v->args, f[i].name))
            r = write_input(v, &f[i], verify_input(v, f[i].name, i), i);
    return r;
}

// --- our side --------------------------------------------------------------------------------------------------------

struct dc_build verify_build(const struct verify *v) {
    struct dc_build b = dc_build_defaults();
    b.cg.emit = "lib";
    b.cg.max_batch = args_given(v->args, "input") ? 1 << 14 : v->batch > 256 ? v->batch : 256; // a file may have any
    return b;
}

static enum smkd_status compile(const struct verify *v, struct dc_model *m, const char *path) {
    struct dc_build b = verify_build(v);
    TRY(dc_model_graphs(m, &b, DC_IR));
    struct cg_model cm = {.name = m->infer->name,
                          .kind = SMKD_ABI_MODEL,
                          .infer = ir_graph_clone(&m->arena, m->infer),
                          .notes = dc_model_notes(&m->arena, m->infer, NULL, false, m->file)};
    return cg_compile(&cm, &b.cg, path, &m->diag);
}

enum smkd_result verify_feeds(struct verify *v, const struct dc_model *m, const smkd_model *artifact,
                              struct run_feeds *in, int64_t *batch) {
    size_t n;
    const struct fe_form *f = fe_forms(m->file, &n);
    enum smkd_result r = SMKD_R_OK;
    *batch = 0;
    for (size_t i = 0; i < n && r == SMKD_R_OK; i++)
        if (!f[i].output)
            r = run_feeds_add(in, artifact, SMKD_ABI_INPUT, "input",
                              arena_printf(&v->m.arena, "%s=%s", f[i].name, verify_input(v, f[i].name, i)), batch);
    if (*batch == 0) *batch = 1;
    return r;
}

// Runs the artifact; its results, as the file has them, are appended to `out`.
static enum smkd_result run_artifact(struct verify *v, const struct dc_model *m, const char *path,
                                     struct rt_tensors *out) {
    struct run_feeds in = {0};
    const struct smkd_abi_tensor *t;
    int64_t batch = 1;
    smkd_model *model = smkd_model_load(path);
    smkd_session *s = model ? smkd_session_new(model, v->team) : NULL;
    enum smkd_result r = s ? verify_feeds(v, m, model, &in, &batch) : SMKD_R_INVALID;
    for (size_t i = 0; r == SMKD_R_OK && i < in.n; i++)
        r = smkd_bind(s, SMKD_ABI_INPUT, in.f[i].row->name, in.f[i].tensor.data);
    for (size_t i = 0; r == SMKD_R_OK && (t = smkd_model_nth(model, SMKD_ABI_OUTPUT, i)); i++) {
        struct rt_tensor *x = run_result(out, t->name, t, batch, NULL);
        r = x ? smkd_bind(s, SMKD_ABI_OUTPUT, t->name, x->data) : SMKD_R_NOMEM;
    }
    if (r == SMKD_R_OK) r = smkd_run(s, SMKD_ABI_INFER, batch);
    if (r == SMKD_R_OK) r = run_forms_leave(out, model, SMKD_ABI_OUTPUT, "", batch);
    run_feeds_release(&in);
    smkd_session_free(s);
    smkd_model_free(model);
    return r;
}

// --- the interpreter as reference ------------------------------------------------------------------------------------

// How files have an input or output; the interpreter's elements keep their type.
static struct run_form form_of(const struct fe_form *f) {
    struct run_form form = {.rank = f->rank, .outer = f->outer, .half = RT_F32};
    memcpy(form.dims, f->dims, sizeof form.dims);
    return form;
}

static enum smkd_result read_input(struct verify *v, const struct fe_form *f, size_t at, const struct ir_value *b,
                                   struct arena *a, struct ir_tensor **out, int64_t *batch) {
    struct rt_tensor t = {0};
    enum smkd_result r = rt_npy_read(verify_input(v, f->name, at), &t);
    for (int d = 0; d < f->rank && r == SMKD_R_OK; d++)
        if (f->dims[d] < 0) *batch = t.dims[d] / -f->dims[d];
    const bool fl = ir_is_float(b->type.dtype);
    if (r == SMKD_R_OK) r = rt_tensor_convert(&t, fl ? RT_F64 : RT_I64, b->name, "element");
    const struct run_form form = form_of(f);
    struct smkd_abi_tensor row = {.rank = b->type.rank};
    memcpy(row.dims, b->type.dims, sizeof b->type.dims);
    if (r == SMKD_R_OK) r = run_form_enter(&t, &row, &form, *batch);
    if (r == SMKD_R_OK) {
        *out = ir_tensor_new(a, ir_concrete(&b->type, *batch));
        memcpy(fl ? (void *)(*out)->f : (void *)(*out)->i, t.data, t.bytes);
    }
    rt_tensor_release(&t);
    return r;
}

enum smkd_result verify_boundary(struct verify *v, const struct dc_model *m, const struct ir_graph *g, struct arena *a,
                                 struct ir_tensor **values, int64_t *batch) {
    size_t n;
    const struct fe_form *f = fe_forms(m->file, &n);
    enum smkd_result r = SMKD_R_OK;
    *batch = 1;
    for (size_t i = 0; i < g->n_boundary && r == SMKD_R_OK; i++) {
        const struct ir_value *b = &g->values[g->boundary[i]];
        for (size_t k = 0; k < n && b->role == IR_ROLE_INPUT && r == SMKD_R_OK; k++)
            if (!f[k].output && !strcmp(f[k].name, b->name))
                r = read_input(v, &f[k], k, b, a, &values[g->boundary[i]], batch);
        if (b->role == IR_ROLE_SCALAR) { // the seed, for which -1 is no random numbers
            values[g->boundary[i]] = ir_tensor_new(a, b->type);
            if (values[g->boundary[i]]->i) values[g->boundary[i]]->i[0] = -1;
        }
    }
    return r;
}

// Results in float64 of the graph that is compiled, batch first as the artifact has them; they are given the file's
// form.
static enum smkd_result interpret(struct verify *v, const struct rt_tensors *like, struct rt_tensors *out) {
    struct ir_graph *g = v->m.infer;
    size_t n;
    const struct fe_form *f = fe_forms(v->m.file, &n);
    struct ir_tensor **values = ARENA_ARRAY(&v->m.arena, struct ir_tensor *, g->n_values + 1);
    int64_t batch;
    enum smkd_result r = verify_boundary(v, &v->m, g, &v->m.arena, values, &batch);
    if (r != SMKD_R_OK) return r;
    ir_eval(g, &v->m.arena, batch, values);
    for (size_t i = 0; i < like->n && r == SMKD_R_OK; i++) {
        const struct ir_tensor *x = NULL;
        for (size_t k = 0; k < g->n_outputs; k++)
            if (g->outputs[k].kind == IR_OUT_OUTPUT && !strcmp(g->outputs[k].name, like->t[i].name))
                x = values[g->outputs[k].value];
        if (!x) continue;
        out->t = xrealloc(out->t, (out->n + 1) * sizeof *out->t);
        struct rt_tensor *t = &out->t[out->n++];
        const size_t numel = ir_tensor_numel(x);
        *t = (struct rt_tensor){
            .dtype = x->f ? RT_F64 : RT_I64, .rank = x->type.rank, .numel = numel, .bytes = numel * 8};
        memcpy(t->dims, x->type.dims, sizeof *t->dims * x->type.rank);
        t->name = strcpy(xmalloc(strlen(like->t[i].name) + 1), like->t[i].name);
        t->data = memcpy(xmalloc(t->bytes + 1), x->f ? (void *)x->f : (void *)x->i, t->bytes);
        for (size_t k = 0; k < n && r == SMKD_R_OK; k++) {
            if (!f[k].output || strcmp(f[k].name, t->name)) continue;
            const struct run_form form = form_of(&f[k]);
            r = run_form_leave(t, &form, batch);
        }
    }
    return r;
}

// --- comparing -------------------------------------------------------------------------------------------------------

struct difference {
    const char *why; // shapes and types that differ; NULL: elements
    double size;     // over the largest element
    size_t at;
    double got, want;
};

static struct difference compare(struct arena *a, const struct rt_tensor *got, const struct rt_tensor *want) {
    struct difference d = {0};
    struct rt_tensor x[2] = {*got, *want};
    bool same = got->rank == want->rank;
    for (int i = 0; same && i < got->rank; i++) same = got->dims[i] == want->dims[i];
    if (!same) {
        struct str s = STR_INIT;
        for (int k = 0; k < 2; k++) {
            str_add(&s, k ? "], the reference has [" : "its shape is [");
            for (int i = 0; i < x[k].rank; i++) str_addf(&s, "%s%lld", i ? "," : "", (long long)x[k].dims[i]);
        }
        str_add(&s, "]");
        d.why = arena_strdup(a, s.s);
        d.size = INFINITY;
        str_release(&s);
        return d;
    }
    double most = 0;
    for (int k = 0; k < 2; k++) {
        x[k].borrowed = true;
        if (rt_tensor_convert(&x[k], RT_F64, "result", "element") != SMKD_R_OK) {
            d.why = "its elements cannot be compared";
            d.size = INFINITY;
        }
    }
    const double *g = x[0].data, *w = x[1].data;
    for (size_t i = 0; !d.why && i < got->numel; i++)
        if (isfinite(w[i]) && fabs(w[i]) > most) most = fabs(w[i]);
    for (size_t i = 0; !d.why && i < got->numel; i++) {
        const bool both = (isnan(g[i]) && isnan(w[i])) || g[i] == w[i];
        const double off = both                               ? 0
                           : isfinite(g[i]) && isfinite(w[i]) ? fabs(g[i] - w[i]) / (most > 1e-6 ? most : 1e-6)
                                                              : INFINITY;
        if (off > d.size) d = (struct difference){NULL, off, i, g[i], w[i]};
    }
    for (int k = 0; k < 2; k++)
        if (!x[k].borrowed) free(x[k].data);
    return d;
}

// A difference in one value; what follows from it differs, too.
static void say_difference(const struct fe_value *v, const struct difference *d) {
    printf("differs     node \"%s\" (%s): \"%s\": ", printable(v->node), printable(v->op), printable(v->name));
    if (d->why)
        printf("%s\n", d->why);
    else
        printf("element %zu is %.9g, the reference has %.9g (%.1e of the largest)\n", d->at, d->got, d->want, d->size);
}

// Compares what both sides have. The number of values that differ.
static size_t compare_all(struct verify *v, const struct rt_tensors *got, const struct rt_tensors *want,
                          const char *what) {
    size_t n = 0, bad = 0;
    const struct fe_value *worst = NULL;
    struct difference most = {0};
    for (size_t i = 0; i < v->n_values; i++) {
        const struct rt_tensor *g = rt_tensors_find(got, v->values[i].name),
                               *w = rt_tensors_find(want, v->values[i].name);
        if (!g || !w) continue;
        n++;
        const struct difference d = compare(&v->m.arena, g, w);
        if (args_given(v->args, "verbose"))
            printf("%-11s %s (%s) \"%s\" %.1e\n", d.size > v->tolerance ? "differs" : "agrees",
                   printable(v->values[i].node), printable(v->values[i].op), printable(v->values[i].name), d.size);
        else if (d.size > v->tolerance && bad == 0)
            say_difference(&v->values[i], &d);
        bad += d.size > v->tolerance;
        if (!worst || d.size > most.size) {
            worst = &v->values[i];
            most = d;
        }
    }
    if (bad)
        printf("%-11s %zu of %zu values differ by more than %g of their largest element\n", what, bad, n, v->tolerance);
    else if (worst)
        printf("%-11s %zu values agree; the largest difference is %.1e, of node \"%s\" (%s)\n", what, n, most.size,
               printable(worst->node), printable(worst->op));
    else
        printf("%-11s nothing to compare\n", what);
    return bad;
}

// --- the command -----------------------------------------------------------------------------------------------------

static int work(struct verify *v) {
    const char *path = v->args->pos[0], *artifact = arena_printf(&v->m.arena, "%s/m.smkd", v->dir.path);
    struct dc_model plain;
    struct rt_tensors inside = {0}, outputs = {0}, want = {0};
    if (compile(v, &v->m, artifact) != SMKD_OK) return dc_exit(SMKD_INVALID, &v->m.diag);
    enum smkd_result r = make_inputs(v);
    if (r == SMKD_R_OK) r = run_artifact(v, &v->m, artifact, &inside);
    int code = dc_model_open_values(&plain, path, v->args, false);
    if (r == SMKD_R_OK && code == EXIT_DONE) {
        plain.diag.sink = verify_again;
        code = dc_exit(compile(v, &plain, artifact), &plain.diag);
        if (code == EXIT_DONE) r = run_artifact(v, &plain, artifact, &outputs);
    }
    dc_model_close(&plain);
    bool there = false;
    if (r == SMKD_R_OK && code == EXIT_DONE && v->reference != INTERPRETER)
        r = verify_onnxruntime(v, &inside, v->reference == ONNXRUNTIME, &want, &there);
    if (r == SMKD_R_OK && code == EXIT_DONE && !there) r = interpret(v, &inside, &want);
    if (r != SMKD_R_OK) {
        fprintf(stderr, "smkdc verify: error: %s\n", smkd_last_error());
        code = EXIT_FAILED;
    }
    if (code == EXIT_DONE) {
        printf("reference   %s\n", there ? "onnxruntime" : "the interpreter of smkdc's graph, float64");
        size_t bad = compare_all(v, &inside, &want, "inside") + compare_all(v, &outputs, &want, "compiled"), wrong = 0;
        if (args_given(v->args, "gradients")) code = verify_gradients(v, &wrong);
        if (code == EXIT_DONE && bad + wrong) code = EXIT_FAILED;
    }
    rt_tensors_release(&inside);
    rt_tensors_release(&outputs);
    rt_tensors_release(&want);
    return code;
}

static int run(const struct args *a) {
    struct verify v = {.args = a};
    int64_t threads = 0;
    size_t reference = 0;
    if (!args_i64(a, "batch-size", 1, 1 << 16, &v.batch) || !args_i64(a, "most", 1, INT32_MAX, &v.most) ||
        !args_u64(a, "seed", &v.seed) || !args_f64(a, "tolerance", 0, 1, &v.tolerance) ||
        !args_i64(a, "threads", 0, 1024, &threads) || !args_choice(a, "reference", references, &reference))
        return EXIT_USAGE;
    v.reference = (int)reference;
    int code = dc_model_open_values(&v.m, a->pos[0], a, true);
    if (code == EXIT_DONE) v.values = fe_values(v.m.file, &v.m.arena, &v.n_values);
    if (code == EXIT_DONE && io_temp_make(&v.dir) != SMKD_OK) {
        diag_error(&v.m.diag, NULL, "cannot make a temporary folder %s: %s; set TMPDIR", v.dir.path, strerror(errno));
        code = EXIT_FAILED;
    }
    if (code == EXIT_DONE) {
        v.team = smkd_team_new((int)threads);
        code = v.team ? work(&v) : EXIT_FAILED;
        smkd_team_free(v.team);
        io_temp_remove(&v.dir);
    }
    dc_model_close(&v.m);
    return code;
}

int dc_verify(int argc, char **argv) { return args_command_main(&cmd, run, argc, argv); }
