// Opening a model, under the options that say how to read it, and its graphs on the way to codegen.
#include "../runtime/include/smkd_abi.h"
#include "dc.h"

#include <stdio.h>
#include <string.h>

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

// --- with a batch, or without

void dc_said_keep(void *env, enum diag_severity sev, const char *text) {
    struct dc_said *s = env;
    *ARENA_PUSH(s->arena, s->lines, s->n, s->cap) = (struct dc_line){sev, arena_strdup(s->arena, text)};
}

// What was said while it was not clear whether it counts.
static void say(const struct dc_said *s, void (*sink)(void *env, enum diag_severity sev, const char *line), void *env) {
    for (size_t i = 0; i < s->n; i++)
        if (sink)
            sink(env, s->lines[i].sev, s->lines[i].text);
        else
            fprintf(stderr, "%s\n", s->lines[i].text);
}

// The first error, without "error: FILE: ".
static const char *first_error(const struct dc_said *s, const char *file) {
    for (size_t i = 0; i < s->n; i++) {
        const char *text = s->lines[i].text, *at = strstr(text, ": ");
        if (s->lines[i].sev != DIAG_ERROR) continue;
        if (at && str_has_prefix(at + 2, file)) at = strstr(at + 2 + strlen(file), ": ");
        return at ? at + 2 : text;
    }
    return "";
}

// What was said only without a batch, which may be what stands in the way.
static void say_more(struct dc_said *to, const struct dc_said *from) {
    const size_t n = to->n;
    for (size_t i = 0; i < from->n; i++) {
        bool known = from->lines[i].sev != DIAG_ERROR || strstr(from->lines[i].text, "has no fixed size") ||
                     strstr(from->lines[i].text, "have no fixed size");
        for (size_t k = 0; k < n; k++) known |= !strcmp(to->lines[k].text, from->lines[i].text);
        if (!known)
            dc_said_keep(to, DIAG_NOTE, arena_printf(to->arena, "note: without a batch: %s", from->lines[i].text + 7));
    }
}

// Reads, edits and imports the file, with the lines that this prints in `said`.
static int import_as(struct dc_model *m, const struct args *a, const struct fe_options *o, const char **head,
                     struct dc_said *said) {
    *said = (struct dc_said){.arena = &m->arena};
    m->diag = (struct diag){.file = m->diag.file, .sink = dc_said_keep, .env = said};
    if (m->file) fe_close(m->file);
    m->imported = NULL;
    m->file = fe_open(&m->arena, &m->diag, m->diag.file);
    if (!m->file) return dc_exit(SMKD_INVALID, &m->diag);
    *head = NULL;
    int code = m->as_it_is ? EXIT_DONE : new_head(m, a, head);
    if (code == EXIT_DONE && !m->as_it_is) code = add_taps(m, a);
    if (code == EXIT_DONE && !m->as_it_is) code = add_heads(m, a, o);
    if (code == EXIT_DONE) m->imported = fe_import(m->file, &m->arena, &m->diag, o);
    return code == EXIT_DONE && !m->imported ? dc_exit(SMKD_INVALID, &m->diag) : code;
}

// A file whose sizes are all known and of which no axis can be a batch is compiled for those sizes.
static int import(struct dc_model *m, const struct args *a, struct fe_options *o, const char **head) {
    struct dc_said said, whole;
    const struct diag listener = m->diag;
    int code = import_as(m, a, o, head, &said);
    if (code == EXIT_FAILED && m->file && !dc_asks_for_batch(o)) {
        o->whole = true;
        if (import_as(m, a, o, head, &whole) == EXIT_DONE) {
            m->diag.sink = listener.sink;
            m->diag.env = listener.env;
            diag_note(&m->diag, NULL,
                      "compiled for the sizes in the file, without a batch; with axis 0 as one it is refused: %s",
                      first_error(&said, m->diag.file));
            said = whole;
            code = EXIT_DONE;
        } else {
            o->whole = false;
            m->imported = NULL;
            say_more(&said, &whole);
        }
    }
    if (!m->again || code != EXIT_DONE) say(&said, listener.sink, listener.env);
    m->diag.sink = listener.sink;
    m->diag.env = listener.env;
    return code;
}

int dc_model_open_values(struct dc_model *m, const char *path, const struct args *a, bool values) {
    *m = (struct dc_model){.diag = {.file = path}};
    arena_init(&m->arena);
    struct fe_options o = {0};
    const char *head;
    int code = dc_boundary_options(&m->arena, a, &o);
    o.values = values;
    m->again = !values;
    m->as_it_is = true;
    doing("reading %s", path);
    return code == EXIT_DONE ? import(m, a, &o, &head) : code;
}

int dc_model_open(struct dc_model *m, const char *path, const struct args *a) {
    return dc_model_open_told(m, path, a, NULL, NULL);
}

int dc_model_open_told(struct dc_model *m, const char *path, const struct args *a,
                       void (*sink)(void *env, enum diag_severity sev, const char *line), void *env) {
    *m = (struct dc_model){.diag = {.file = path, .sink = sink, .env = env}};
    arena_init(&m->arena);
    struct fe_options o = {0};
    int code = dc_boundary_options(&m->arena, a, &o);
    if (code != EXIT_DONE) return code;
    o.train_only = dc_all_of(&m->arena, a, "train-only", &o.n_train_only);
    o.constants = dc_all_of(&m->arena, a, "constant", &o.n_constants);
    o.freeze = dc_all_of(&m->arena, a, "freeze", &o.n_freeze);
    m->frozen = o.n_freeze > 0;
    o.freeze_norms = args_given(a, "freeze-bn");
    doing("reading %s", path);
    const char *head;
    code = import(m, a, &o, &head);
    if (code != EXIT_DONE) return code;
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
