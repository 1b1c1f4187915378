// smkd-run loss: the loss of a training method on given outputs and labels, everything it computes in one file.
#include "../runtime/data.h"
#include "../runtime/peer.h"
#include "loss_program.h"
#include "method_args.h"
#include "run_io.h"
#include "run_train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct args_opt own_opts[] = {
    {"logits", 0, "FILE.npy", NULL,
     "outputs [N,C] of a peer (floats of any size), of a method that has V views of a row [N,V,C]: once for each peer, "
     "peer 0 first",
     ARGS_REPEAT | ARGS_REQUIRED},
    {"labels", 0, "FILE", NULL, "labels, 0 to C-1: a .npy or text file, as for smkd-run train", 0},
    {"input", 0, "NAME=FILE.npy", NULL, "an input by its name: labels.mix, targets, class.weight ...", ARGS_REPEAT},
    {"predict", 0, NULL, NULL, "the program that predicts, where the method has one", 0},
    {"scalar", 0, "NAME=X", NULL, "a scalar by its name", ARGS_REPEAT},
    {"output", 'o', "L.safetensors", NULL, "file to write", ARGS_REQUIRED},
    {"progress", 0, "T", "1", "how far training is, 0 to 1", 0},
    {"r", 0, "R0,R1,..", NULL, "mean confidence of each peer, which MyLC looks at", 0},
    {"r0", 0, "X", "0", "that of peer 0", 0},
    {"r1", 0, "X", "0", "that of peer 1", 0},
    RUN_THREADS_OPT,
    {0}};
enum { N_OWN = sizeof own_opts / sizeof *own_opts - 1 };
static struct args_opt opts[N_OWN + METHOD_PARAMS + 1];
static const struct args_cmd cmd = {
    "smkd-run loss",
    "NAME|L.smkd",
    1,
    1,
    "Evaluates the loss of a training method on given outputs of its networks: a row of smkd-run methods, or a file "
    "made with "
    "smkdc loss\n(which then decides everything but the numbers). Writes all that it puts out: loss.K, grad.K (by "
    "logits K), "
    "and what\nthe method measures, such as threshold, selected.K (1 where peer K teaches), trust.K and entropy.K.",
    opts};

struct given {
    const struct method *method;
    struct method_values values;
    double progress, r[METHOD_MAX_PEERS];
    int64_t threads;
    struct rt_tensor logits[METHOD_MAX_PEERS], *input; // input: one for each --input
    int peers;
    int64_t rows, views, classes; // of the logits; views is 1 where they are [N,C]
    size_t inputs;
    int64_t *labels;
};

// "0.5,0.4,..." -> a number for each peer.
static bool read_r(struct given *g, const char *text) {
    int n = 0;
    for (const char *p = text; n < METHOD_MAX_PEERS; p += strcspn(p, ",") + 1) {
        char one[40];
        snprintf(one, sizeof one, "%.*s", (int)strcspn(p, ","), p);
        if (!parse_f64(one, &g->r[n]) || !isfinite(g->r[n])) break;
        n++;
        if (!p[strcspn(p, ",")]) return n == g->peers || n > 1;
    }
    args_fail(&cmd, "--r %s: expected a number for each peer, such as 0.5,0.4", text);
    return false;
}

static bool read_numbers(struct given *g, const struct args *a) {
    struct str wrong = STR_INIT;
    method_defaults(g->method, &g->values);
    method_read(g->method, a, &g->values, &wrong);
    bool ok = wrong.len == 0;
    if (!ok) args_fail(&cmd, "%s", wrong.s);
    str_release(&wrong);
    return ok && args_f64(a, "progress", 0, 1, &g->progress) && args_f64(a, "r0", -1e6, 1e6, &g->r[0]) &&
           args_f64(a, "r1", -1e6, 1e6, &g->r[1]) && (!args_given(a, "r") || read_r(g, args_str(a, "r"))) &&
           args_i64(a, "threads", 0, 1024, &g->threads);
}

static void shape_text(const struct rt_tensor *t, struct str *s) {
    for (int d = 0; d < t->rank; d++) str_addf(s, "%s%lld", d ? "," : "[", (long long)t->dims[d]);
    str_add(s, t->rank ? "]" : "[]");
}

// The first peer's logits decide how many rows and classes there are, the method how many views.
static enum smkd_result check_logits(const struct given *g, const char *path, const struct rt_tensor *t, bool first) {
    const struct rt_tensor *one = &g->logits[0];
    const int64_t classes = t->rank ? t->dims[t->rank - 1] : 0;
    struct str is = STR_INIT, was = STR_INIT;
    enum smkd_result r = SMKD_R_OK;
    char want[80] = "[N,C]";
    if (g->views > 1)
        snprintf(want, sizeof want, "[N,%lld,C], of %lld views of each row", (long long)g->views, (long long)g->views);
    shape_text(t, &is);
    shape_text(one, &was);
    if (t->rank != (g->views > 1 ? 3 : 2) || (g->views > 1 && t->dims[1] != g->views))
        r = rt_fail(SMKD_R_MISMATCH, "%s: is %s; logits of %s are %s", path, is.s, g->method->name, want);
    else if (t->dims[0] < 1 || t->dims[0] > 1 << 20 || classes < (g->method->family->regression ? 1 : 2) ||
             classes > 1000000)
        r = rt_fail(SMKD_R_MISMATCH, "%s: is %s; logits have 1 to 1048576 rows and 2 to 1000000 classes", path, is.s);
    else if (!first && (t->dims[0] != one->dims[0] || classes != one->dims[one->rank - 1]))
        r = rt_fail(SMKD_R_MISMATCH, "%s: is %s where the first peer's logits are %s", path, is.s, was.s);
    str_release(&is);
    str_release(&was);
    return r;
}

static enum smkd_result read_tensors(struct given *g, const struct args *a) {
    const struct method *m = g->method;
    if (g->peers < m->least || g->peers > m->most)
        return rt_fail(
            SMKD_R_INVALID,
            "%s is for %d to %d networks: --logits is given %d time%s (the same file twice makes equal peers)", m->name,
            m->least, m->most, g->peers, g->peers == 1 ? "" : "s");
    for (int k = 0; k < g->peers; k++) {
        const char *path = args_nth(a, "logits", (size_t)k);
        enum smkd_result r = rt_npy_read(path, &g->logits[k]);
        if (r != SMKD_R_OK) return r;
        if (rt_dtype_is_integer(g->logits[k].dtype))
            return rt_fail(SMKD_R_MISMATCH, "%s: is %s; logits are real numbers, such as float32", path,
                           rt_dtype_name(g->logits[k].dtype));
        if ((r = rt_tensor_convert(&g->logits[k], RT_F32, path, "logit")) != SMKD_R_OK) return r;
        if ((r = check_logits(g, path, &g->logits[k], k == 0)) != SMKD_R_OK) return r;
    }
    g->rows = g->logits[0].dims[0];
    g->classes = g->logits[0].dims[g->logits[0].rank - 1];
    const char *path = args_str(a, "labels");
    if (!path) return m->family->regression ? SMKD_R_OK : rt_fail(SMKD_R_INVALID, "--labels FILE is missing");
    const int64_t rows = g->rows;
    int32_t *y = xcalloc((size_t)rows, sizeof *y);
    enum smkd_result r = rt_labels_read(path, (size_t)rows, (size_t)rows, (int)g->classes, y);
    g->labels = xcalloc((size_t)rows, sizeof *g->labels);
    for (int64_t i = 0; i < rows; i++) g->labels[i] = y[i];
    free(y);
    return r;
}

// NAME=REST, where the name is one of the program's: the place behind the sign, or NULL after a report.
static const char *named(const char *flag, const char *text, const smkd_model *m, enum smkd_abi_role role,
                         const struct smkd_abi_tensor **row) {
    char name[64];
    const char *sign = strchr(text, '=');
    snprintf(name, sizeof name, "%.*s", sign ? (int)(sign - text) : 0, text);
    *row = sign ? smkd_model_find(m, role, name) : NULL;
    if (*row) return sign + 1;
    struct str all = STR_INIT;
    const struct smkd_abi_tensor *t;
    for (size_t i = 0; (t = smkd_model_nth(m, role, i)); i++) str_addf(&all, "%s%s", i ? ", " : "", t->name);
    rt_fail(SMKD_R_INVALID, "--%s %s: expected NAME=%s with one of %s", flag, text,
            role == SMKD_ABI_INPUT ? "FILE" : "X", all.s ? all.s : "none");
    str_release(&all);
    return NULL;
}

// What whole numbers are below: rows of the batch, images of any number, or classes.
static int64_t below(const struct given *g, const char *name) {
    const enum method_role role = method_parse(name).role;
    return role == METHOD_MIX_ROW ? g->rows * g->views : role == METHOD_INDEX ? INT64_MAX : g->classes;
}

static enum smkd_result bind_input(struct given *g, const char *text, smkd_model *m, smkd_session *s) {
    const struct smkd_abi_tensor *row;
    const char *path = named("input", text, m, SMKD_ABI_INPUT, &row);
    struct rt_tensor *x = &g->input[g->inputs++];
    if (!path) return SMKD_R_INVALID;
    enum smkd_result r = rt_npy_read(path, x);
    if (r == SMKD_R_OK) r = rt_tensor_convert(x, row->dtype == SMKD_ABI_I64 ? RT_I64 : RT_F32, path, "number");
    if (r != SMKD_R_OK) return r;
    const int64_t rows = g->rows, limit = below(g, row->name);
    if (x->numel != run_row_numel(row, rows))
        return rt_fail(SMKD_R_MISMATCH, "%s: has %zu numbers, \"%s\" has %zu", path, x->numel, row->name,
                       run_row_numel(row, rows));
    for (size_t i = 0; row->dtype == SMKD_ABI_I64 && i < x->numel; i++) {
        int64_t v = ((const int64_t *)x->data)[i];
        if (v < 0 || v >= limit)
            return rt_fail(SMKD_R_MISMATCH, "%s: element %zu is %lld; expected 0 to %lld", path, i, (long long)v,
                           (long long)limit - 1);
    }
    return smkd_bind(s, SMKD_ABI_INPUT, row->name, x->data);
}

static enum smkd_result bind_all(struct given *g, const struct args *a, smkd_model *m, smkd_session *s) {
    enum smkd_result r = rt_set_if_there(s, m, "progress", g->progress);
    char name[32];
    for (int k = 0; k < g->peers && r == SMKD_R_OK; k++) {
        snprintf(name, sizeof name, "logits.%d", k);
        r = smkd_bind(s, SMKD_ABI_INPUT, name, g->logits[k].data);
        snprintf(name, sizeof name, "r.%d", k);
        if (r == SMKD_R_OK) r = rt_set_if_there(s, m, name, g->r[k]);
    }
    if (r == SMKD_R_OK && g->labels && smkd_model_find(m, SMKD_ABI_INPUT, "labels"))
        r = smkd_bind(s, SMKD_ABI_INPUT, "labels", g->labels);
    for (int i = 0; g->method->family->params[i].name && r == SMKD_R_OK; i++)
        if (g->method->family->params[i].scalar)
            r = rt_set_if_there(s, m, g->method->family->params[i].scalar, g->values.number[i]);
    for (size_t i = 0; i < args_count(a, "input") && r == SMKD_R_OK; i++)
        r = bind_input(g, args_nth(a, "input", i), m, s);
    for (size_t i = 0; i < args_count(a, "scalar") && r == SMKD_R_OK; i++) {
        const struct smkd_abi_tensor *row;
        double v;
        const char *text = args_nth(a, "scalar", i), *number = named("scalar", text, m, SMKD_ABI_SCALAR, &row);
        if (!number) return SMKD_R_INVALID;
        if (!parse_f64(number, &v)) return rt_fail(SMKD_R_INVALID, "--scalar %s: \"%s\" is not a number", text, number);
        r = smkd_set_scalar(s, row->name, v);
    }
    return r;
}

static enum smkd_result evaluate(struct given *g, const struct args *a, smkd_model *m, smkd_session *s) {
    const int64_t rows = g->rows;
    struct rt_tensors out = {0};
    const struct smkd_abi_tensor *t;
    enum smkd_result r = bind_all(g, a, m, s);
    for (size_t i = 0; r == SMKD_R_OK && (t = smkd_model_nth(m, SMKD_ABI_OUTPUT, i)); i++) {
        struct rt_tensor *x = run_result(&out, t->name, t, rows, NULL);
        r = x ? smkd_bind(s, SMKD_ABI_OUTPUT, t->name, x->data) : SMKD_R_NOMEM;
    }
    if (r == SMKD_R_OK) r = smkd_run(s, SMKD_ABI_FORWARD, rows);
    if (r == SMKD_R_OK) r = rt_safetensors_write(args_str(a, "output"), &out);
    rt_tensors_release(&out);
    return r;
}

// Outputs of the networks and their teachers beside their logits that are given, as --input tap.K.NAME=FILE and
// teacher.K.NAME=FILE: a program is for their shapes.
static enum smkd_result read_taps(const struct args *a, struct loss_tap *taps, size_t *n, struct arena *arena) {
    for (size_t i = 0; i < args_count(a, "input"); i++) {
        const char *text = args_nth(a, "input", i), *sign = strchr(text, '=');
        if (!sign) continue;
        const struct method_name name = method_parse(arena_printf(arena, "%.*s", (int)(sign - text), text));
        struct rt_tensor x;
        if (name.role != METHOD_TAP && name.role != METHOD_TEACHER_TAP) continue; // said when it is bound
        enum smkd_result r = rt_npy_read(sign + 1, &x);
        if (r == SMKD_R_OK && (x.rank < 2 || x.rank > IR_MAX_RANK))
            r = rt_fail(SMKD_R_MISMATCH, "%s: expected [N,..] of two to %d dimensions", sign + 1, IR_MAX_RANK);
        if (r != SMKD_R_OK) return r;
        struct loss_tap *t = &taps[(*n)++];
        *t = (struct loss_tap){.teacher = name.role == METHOD_TEACHER_TAP,
                               .peer = name.peer,
                               .name = name.tap,
                               .rank = x.rank,
                               .dims = {-1}};
        for (int d = 1; d < x.rank; d++) t->dims[d] = x.dims[d];
        rt_tensor_release(&x);
    }
    return SMKD_R_OK;
}

static enum smkd_result load_and_evaluate(struct given *g, const struct args *a) {
    struct loss_request want = {.name = a->pos[0],
                                .method = g->method,
                                .values = g->values,
                                .peers = g->peers,
                                .classes = g->classes,
                                .max_batch = g->rows};
    for (size_t i = 0; i < args_count(a, "input"); i++) {
        want.mixed = want.mixed || str_has_prefix(args_nth(a, "input", i), "labels.mix=");
        want.weighted = want.weighted || str_has_prefix(args_nth(a, "input", i), "class.weight=");
    }
    struct arena arena;
    arena_init(&arena);
    struct loss_tap *taps = ARENA_ARRAY(&arena, struct loss_tap, args_count(a, "input") + 1);
    want.taps = taps;
    smkd_model *m = NULL;
    if (read_taps(a, taps, &want.n_taps, &arena) == SMKD_R_OK) {
        if (args_given(a, "predict"))
            loss_predictor(&want, &m);
        else
            m = loss_program(&want);
        if (!m && args_given(a, "predict") && !*smkd_last_error())
            rt_fail(SMKD_R_INVALID, "--predict: %s predicts by its logits alone", g->method->name);
    }
    arena_release(&arena);
    smkd_team *team = m ? smkd_team_new((int)g->threads) : NULL;
    smkd_session *s = team ? smkd_session_new(m, team) : NULL;
    enum smkd_result r = s ? evaluate(g, a, m, s) : SMKD_R_INVALID;
    smkd_session_free(s);
    smkd_team_free(team);
    smkd_model_free(m);
    return r;
}

static int run(const struct args *a) {
    struct given g = {.method = run_method(a->pos[0])};
    if (!g.method) return run_failed("loss");
    g.peers = args_count(a, "logits") > METHOD_MAX_PEERS ? METHOD_MAX_PEERS + 1 : (int)args_count(a, "logits");
    if (!read_numbers(&g, a)) return EXIT_USAGE;
    g.views = args_given(a, "predict") ? 1 : method_stacked(g.method, &g.values);
    g.input = xcalloc(args_count(a, "input") + 1, sizeof *g.input);
    enum smkd_result r = read_tensors(&g, a);
    if (r == SMKD_R_OK) {
        method_resolve(g.method, &g.values, g.classes);
        r = load_and_evaluate(&g, a);
    }
    for (int k = 0; k < METHOD_MAX_PEERS; k++) rt_tensor_release(&g.logits[k]);
    for (size_t i = 0; i < g.inputs; i++) rt_tensor_release(&g.input[i]);
    free(g.input);
    free(g.labels);
    return r == SMKD_R_OK ? EXIT_DONE : run_failed("loss");
}

// The first positional is the method; it is looked for before the flags are known.
int run_loss(int argc, char **argv) {
    const char *name = method_in_args(argc, argv, NULL);
    for (int i = 0; i < argc && !name; i++)
        if (loss_is_file(argv[i]) && (str_has_suffix(argv[i], ".smkd") || loss_is_text(argv[i])) &&
            (i == 0 || argv[i - 1][0] != '-'))
            name = argv[i];
    const struct method *m = name ? run_method(name) : NULL;
    if (!m) m = method_find("smkd-p");
    memcpy(opts, own_opts, N_OWN * sizeof *opts);
    opts[method_opts(m, opts, N_OWN, sizeof opts / sizeof *opts)] = (struct args_opt){0};
    int code = method_foreign(&cmd, m, argc, argv);
    return code == EXIT_DONE ? args_command_main(&cmd, run, argc, argv) : code;
}
