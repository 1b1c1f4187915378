// Opening a model, under the options that say how to read it, and its graphs on the way to codegen.
#include "../runtime/include/smkd_abi.h"
#include "dc.h"

#include <string.h>

// "x=N,3,224,224"; the input's name may contain '='. Only the first dimension may be N.
static bool parse_shape(struct arena *arena, const char *text, struct fe_shape *out) {
    const char *eq = strrchr(text, '=');
    if (!eq || eq == text) return false;
    char *name = arena_strdup(arena, text);
    name[eq - text] = 0;
    *out = (struct fe_shape){.input = name};
    for (const char *p = eq + 1;; p++) {
        const size_t n = strcspn(p, ",");
        char buf[24];
        int64_t v;
        if (n == 0 || n >= sizeof buf || out->rank == IR_MAX_RANK) return false;
        memcpy(buf, p, n);
        buf[n] = 0;
        if (!strcmp(buf, "N") && out->rank == 0)
            v = IR_N;
        else if (!parse_i64(buf, &v) || v < 1)
            return false;
        out->dims[out->rank++] = v;
        p += n;
        if (!*p) return true;
    }
}

// The values of an option that may be repeated.
static const char *const *all_of(struct arena *arena, const struct args *a, const char *option, size_t *n) {
    *n = args_count(a, option);
    const char **values = ARENA_ARRAY(arena, const char *, *n + 1);
    for (size_t i = 0; i < *n; i++) values[i] = args_nth(a, option, i);
    return values;
}

// --classes, an edit of the file before it is imported: *head is where the new layer's result is looked for.
static int new_head(struct dc_model *m, const struct args *a, const char **head) {
    struct fe_head_options o = {.logits = args_str(a, "logits")};
    *head = NULL;
    if (!args_i64(a, "classes", 1, 1 << 24, &o.classes) || !args_u64(a, "seed", &o.seed)) return EXIT_USAGE;
    if (!args_given(a, "classes"))
        return args_given(a, "seed") && !args_given(a, "head")
                   ? args_fail(a->cmd, "--seed is for the fresh weights of --classes and --head")
                   : EXIT_DONE;
    *head = fe_new_head(m->file, &m->diag, &o);
    return *head ? EXIT_DONE : EXIT_FAILED;
}

// Whether the new number of classes came through to the output.
static int check_head(struct dc_model *m, const struct args *a, const char *head) {
    struct ir_head h;
    struct str type = STR_INIT;
    if (!head) return EXIT_DONE;
    const bool found = ir_head_named(m->imported, head, &h);
    if (found) ir_print_type(&m->imported->values[h.value].type, &type);
    int64_t classes = 0;
    args_i64(a, "classes", 1, 1 << 24, &classes);
    const bool right = found && m->imported->values[h.value].type.dims[1] == classes;
    if (!right)
        diag_error(&m->diag, NULL,
                   "--classes %lld: \"%s\" is %s behind the new layer: nodes between the two insist on the old number "
                   "of classes; name the layer's own result with --logits NAME",
                   (long long)classes, head, found ? type.s : "no output [N,classes]");
    str_release(&type);
    return right ? EXIT_DONE : EXIT_FAILED;
}

// --tap, edits of the file, too.
static int add_taps(struct dc_model *m, const struct args *a) {
    for (size_t i = 0; i < args_count(a, "tap"); i++) {
        char *value = arena_strdup(&m->arena, args_nth(a, "tap", i)), *name = strrchr(value, '=');
        if (name) *name++ = 0;
        if (!fe_tap(m->file, &m->diag, value, name)) return EXIT_FAILED;
    }
    return EXIT_DONE;
}

// --head, the last of them: heads are built for what the model has become.
static int add_heads(struct dc_model *m, const struct args *a, const struct fe_options *o) {
    const size_t n = args_count(a, "head");
    struct fe_side_head *heads = ARENA_ARRAY(&m->arena, struct fe_side_head, n + 1);
    uint64_t seed = 0;
    for (size_t i = 0; i < n; i++) {
        const char *text = args_nth(a, "head", i);
        char *value = arena_strdup(&m->arena, text), *kind = strrchr(value, ':'),
             *name = kind ? strchr(kind, '=') : NULL;
        if (kind) *kind++ = 0;
        if (name) *name++ = 0;
        if (!kind || !fe_is_head_kind(kind) || (name && !*name))
            return args_fail(a->cmd, "--head %s: expected VALUE:byot or VALUE:byot=NAME", text);
        heads[i] = (struct fe_side_head){value, kind, name};
    }
    if (!args_u64(a, "seed", &seed)) return EXIT_USAGE;
    return !n || fe_add_heads(m->file, &m->diag, heads, n, args_str(a, "logits"), seed, o) ? EXIT_DONE : EXIT_FAILED;
}

int dc_model_open(struct dc_model *m, const char *path, const struct args *a) {
    *m = (struct dc_model){.diag = {.file = path}};
    arena_init(&m->arena);
    const size_t n = args_count(a, "shape");
    struct fe_shape *shapes = ARENA_ARRAY(&m->arena, struct fe_shape, n);
    for (size_t i = 0; i < n; i++) {
        const char *text = args_nth(a, "shape", i);
        if (!parse_shape(&m->arena, text, &shapes[i]))
            return args_fail(a->cmd, "--shape %s: expected INPUT=N,D,D... such as x=N,3,224,224", text);
        for (size_t k = 0; k < i; k++)
            if (!strcmp(shapes[k].input, shapes[i].input))
                return args_fail(a->cmd, "--shape %s: the shape of %s is given twice", text, shapes[i].input);
    }
    doing("reading %s", path);
    m->file = fe_open(&m->arena, &m->diag, path);
    if (!m->file) return dc_exit(SMKD_INVALID, &m->diag);
    const char *head;
    int code = new_head(m, a, &head);
    if (code == EXIT_DONE) code = add_taps(m, a);
    if (code != EXIT_DONE) return code;
    struct fe_options o = {.shapes = shapes, .n_shapes = n};
    o.train_only = all_of(&m->arena, a, "train-only", &o.n_train_only);
    o.constants = all_of(&m->arena, a, "constant", &o.n_constants);
    o.freeze = all_of(&m->arena, a, "freeze", &o.n_freeze);
    m->frozen = o.n_freeze > 0;
    o.freeze_norms = args_given(a, "freeze-bn");
    code = add_heads(m, a, &o);
    if (code != EXIT_DONE) return code;
    m->imported = fe_import(m->file, &m->arena, &m->diag, &o);
    if (!m->imported) return dc_exit(SMKD_INVALID, &m->diag);
    m->one_head = args_given(a, "logits");
    const enum smkd_status s = dc_find_heads(m, args_str(a, "logits"));
    if (s != SMKD_OK) return dc_exit(s, &m->diag);
    dc_attach_taps(m);
    return check_head(m, a, head);
}

// Outputs that get a gradient: those of floats, or the one that --logits says. Not where probabilities are written out:
// the gradient zero that training gives all outputs but the logits would become 0 * inf there.
static size_t differentiated(struct dc_model *m, const char **of) {
    size_t n = 0;
    for (size_t i = 0; i < m->train->n_outputs; i++) {
        const struct ir_output *o = &m->train->outputs[i];
        const bool added = dc_is_added(m, o->name);
        bool wanted = o->kind == IR_OUT_OUTPUT && m->train->values[o->value].type.dtype == IR_F32, of_head = false;
        for (size_t k = 0; k < m->n_heads; k++) {
            const struct ir_head *h = &m->heads[k];
            bool logits = !strcmp(h->logits, o->name), output = !strcmp(h->output, o->name);
            of_head |= logits || output;
            wanted &= logits || !output || !h->written;
        }
        if (wanted && (of_head || added || !m->one_head)) of[n++] = o->name;
    }
    return n;
}

static void report_untrained(struct dc_model *m) {
    for (size_t i = 0; i < m->train->n_boundary; i++)
        m->n_params += m->train->values[m->train->boundary[i]].role == IR_ROLE_PARAM;
    m->n_untrained = ir_report_untrained(m->train, true);
    if (m->n_params && m->n_untrained == m->n_params)
        diag_warning(
            &m->diag, NULL,
            "no gradient reaches any of its %zu parameters: it runs, but cannot be trained; export the model up to "
            "its logits",
            m->n_params);
}

enum smkd_status dc_model_graphs(struct dc_model *m, const struct dc_build *b, enum dc_stage upto) {
    m->infer = ir_graph_clone(&m->arena, m->imported);
    m->train = ir_graph_clone(&m->arena, m->imported);
    // Both are tried, so that one run reports what is wrong with either.
    enum smkd_status i = dc_run_passes(b, DC_MIDDLE_PASSES, m->infer, IR_INFER);
    enum smkd_status t = dc_run_passes(b, DC_MIDDLE_PASSES, m->train, IR_TRAIN);
    if (i != SMKD_OK || t != SMKD_OK) return i != SMKD_OK ? i : t;
    dc_report_mixing(m);
    if (upto < DC_GRAD) return SMKD_OK;
    report_untrained(m);
    const char **of = ARENA_ARRAY(&m->arena, const char *, m->train->n_outputs + 1);
    size_t n = differentiated(m, of);
    TRY(ir_differentiate(m->train, of, n, !m->frozen));
    return dc_run_passes(b, DC_MIDDLE_PASSES, m->train, IR_TRAIN);
}

struct cg_model dc_codegen_model(struct dc_model *m, const struct dc_build *b) {
    struct cg_model cm = {.name = m->train->name,
                          .kind = SMKD_ABI_MODEL,
                          .infer = m->infer,
                          .train = m->train,
                          .update = true,
                          .notes = dc_model_notes(&m->arena, m->infer, m->train, b->cg.bf16, m->file),
                          .heads = m->heads,
                          .n_heads = m->n_heads,
                          .taps = m->taps,
                          .n_taps = m->n_taps,
                          .mixing = m->mixing};
    cm.onnx = fe_skeleton(m->file, &m->arena, &cm.onnx_bytes);
    return cm;
}

void dc_model_close(struct dc_model *m) {
    if (m->file) fe_close(m->file);
    arena_release(&m->arena);
}
