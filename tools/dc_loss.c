// smkdc loss: a training loss as an artifact of its own.
#include "../runtime/include/smkd_abi.h"
#include "dc.h"
#include "method_args.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct args_opt own_opts[] = {
    {"output", 'o', "FILE", NULL, "file to write (default: NAME.smkd; text stages: standard output)", 0},
    {"classes", 0, "C", NULL, "number of classes, or of the numbers that a regression learns", 0},
    {"peers", 0, "P", "2", "number of networks", 0},
    {"class-weights", 0, NULL, NULL, "classes have weights", 0},
    {"mixed", 0, NULL, NULL, "images are mixed (MixUp, CutMix)", 0},
    {"tap", 0, "K.NAME=D[xD..]", NULL, "an output NAME [N,D,..] of network K that the method may look at", ARGS_REPEAT},
    {"teacher-tap", 0, "K.NAME=D[xD..]", NULL, "likewise of the teacher of network K", ARGS_REPEAT},
    {"predict", 0, NULL, NULL, "the program that predicts, where the method has one", 0},
    {"list", 0, NULL, NULL, "list the methods", 0},
    DC_CODEGEN_OPTS("4096"),
    {0}};
static struct args_opt opts[sizeof own_opts / sizeof *own_opts + METHOD_PARAMS];
static const struct args_cmd cmd = {
    "smkdc loss",
    "NAME|FILE.ir",
    0,
    1,
    "Compiles the loss of a training method: the networks' outputs and labels in; losses, "
    "gradients by the outputs and what\nthe method measures out. smkd-run has it done by itself. "
    "smkdc loss NAME --help has the method's own switches;\nnumbers that are set when it runs "
    "only count in so far as they are 0 or not. FILE.ir is a loss of your own, written as smkdc emit-loss prints ours.",
    opts};

static int list(void) {
    for (const struct method *m = methods; m->name; m++) printf("%-20s %s (%s)\n", m->name, m->doc, m->paper);
    return EXIT_DONE;
}

// Prints or compiles a loss: `drawn` is it without gradients, as the paper writes it, `g` with them (NULL: not needed).
static enum smkd_status finish(const char *name, struct ir_graph *drawn, struct ir_graph *g, struct dc_build *b,
                               const char *out, struct arena *arena, struct diag *d) {
    if (b->stage <= DC_IR) {
        if (b->stage == DC_IR) TRY(dc_run_passes(b, DC_MIDDLE_PASSES, drawn, IR_TRAIN));
        return dc_emit_graphs(out, &drawn, 1, d);
    }
    TRY(dc_run_passes(b, DC_MIDDLE_PASSES, g, IR_TRAIN));
    const bool fused = b->stage == DC_FUSED || dc_stops_in(b, dc_fuse_passes(b));
    if (fused) TRY(dc_run_passes(b, dc_fuse_passes(b), g, IR_TRAIN));
    if (fused || b->stage < DC_FUSED || dc_stops_in(b, DC_MIDDLE_PASSES)) return dc_emit_graphs(out, &g, 1, d);

    struct cg_model cm = {.name = name, .kind = SMKD_ABI_LOSS, .train = g, .notes = dc_notes(arena, NULL, g, false)};
    if (!out) out = b->stage < DC_OBJ ? "-" : arena_printf(arena, "%s%s", name, b->stage == DC_OBJ ? ".o" : ".smkd");
    return cg_compile(&cm, &b->cg, out, d);
}

static enum smkd_status build(const struct loss_options *o, struct dc_build *b, const char *out, struct arena *arena,
                              struct diag *d) {
    const bool draws = b->stage <= DC_IR;
    struct ir_graph *g = draws ? loss_draw(o, arena, d) : loss_build(o, arena, d);
    return g ? finish(o->method->name, g, g, b, out, arena, d) : SMKD_INVALID;
}

// A graph of the user's own, as text.
static bool is_text(const char *name) { return str_has_suffix(name, ".ir"); }

static enum smkd_status build_text(const char *path, struct dc_build *b, const char *out, struct arena *arena,
                                   struct diag *d) {
    const void *data;
    size_t size;
    d->file = path;
    if (io_map(path, &data, &size) != SMKD_OK) {
        diag_error(d, NULL, "cannot be read: %s", strerror(errno));
        return SMKD_IO;
    }
    const char *text = arena_printf(arena, "%.*s", (int)(size < INT32_MAX ? size : 0), (const char *)data);
    io_unmap(data, size);
    struct ir_graph *g = ir_parse(arena, d, text);
    if (!g || !loss_own_check(g, d)) return SMKD_INVALID;
    if (b->stage > DC_IR) TRY(loss_own_build(g, arena, d));
    return finish(g->name, g, g, b, out, arena, d);
}

// "0.feat1=512", "1.map=64x8x8".
static bool read_tap(const char *text, struct loss_tap *t, struct arena *arena) {
    char *end;
    const char *sign = strrchr(text, '=');
    long peer = strtol(text, &end, 10);
    *t = (struct loss_tap){.peer = (int)peer, .rank = 1, .dims = {IR_N}};
    if (end == text || *end != '.' || !sign || sign <= end + 1 || peer < 0 || peer >= METHOD_MAX_PEERS) return false;
    t->name = arena_printf(arena, "%.*s", (int)(sign - end - 1), end + 1);
    for (const char *p = sign; *p && t->rank < IR_MAX_RANK;) {
        long long d = strtoll(p + 1, &end, 10);
        if (end == p + 1 || d < 1 || d > INT32_MAX || (*end && *end != 'x')) return false;
        t->dims[t->rank++] = d;
        p = end;
        if (!*p) return true;
    }
    return false;
}

static int read_taps(const struct args *a, struct loss_options *o, struct arena *arena) {
    static const char *const flags[] = {"tap", "teacher-tap"};
    struct loss_tap *taps = ARENA_ARRAY(arena, struct loss_tap, args_count(a, flags[0]) + args_count(a, flags[1]) + 1);
    o->n_taps = 0;
    for (int teacher = 0; teacher < 2; teacher++)
        for (size_t i = 0; i < args_count(a, flags[teacher]); i++) {
            struct loss_tap *t = &taps[o->n_taps++];
            const char *text = args_nth(a, flags[teacher], i);
            if (!read_tap(text, t, arena))
                return args_fail(&cmd, "--%s %s: expected K.NAME=D or K.NAME=DxD.., such as 0.feat1=512",
                                 flags[teacher], text);
            t->teacher = teacher;
        }
    o->taps = taps;
    return EXIT_DONE;
}

static int read_options(const struct args *a, struct loss_options *o, struct arena *arena) {
    struct diag d = {0};
    struct str wrong = STR_INIT;
    int64_t peers = 2;
    if (!loss_options_init(o, a->pos[0], &d)) return EXIT_FAILED;
    if (!args_i64(a, "classes", 1, LOSS_MAX_CLASSES, &o->classes) || !args_i64(a, "peers", 1, METHOD_MAX_PEERS, &peers))
        return EXIT_USAGE;
    o->peers = (int)peers;
    o->weighted = args_given(a, "class-weights");
    o->mixed = args_given(a, "mixed");
    o->predict = args_given(a, "predict");
    method_read(o->method, a, &o->values, &wrong);
    const struct method_family *f = o->method->family;
    if (o->predict && !wrong.len && !(f->predicts && f->predicts(o->method, &o->values)))
        str_addf(&wrong, "--predict: %s predicts by its logits alone", o->method->name);
    int code = wrong.len ? args_fail(&cmd, "%s", wrong.s) : EXIT_DONE;
    str_release(&wrong);
    return code == EXIT_DONE ? read_taps(a, o, arena) : code;
}

static int run(const struct args *a) {
    struct dc_build b;
    struct loss_options o;
    if (args_given(a, "list")) return list();
    if (!a->n_pos) return args_fail(&cmd, "missing NAME (smkdc loss --list prints them)");
    const bool text = is_text(a->pos[0]);
    if (!text && !args_given(a, "classes")) return args_fail(&cmd, "--classes C is missing");
    if (!dc_build_options(&b, a)) return EXIT_USAGE;
    int code = dc_output_check(&b, a);
    struct arena arena;
    struct diag d = {0};
    arena_init(&arena);
    if (code == EXIT_DONE && text) {
        code = dc_exit(build_text(a->pos[0], &b, args_str(a, "output"), &arena, &d), &d);
    } else if (code == EXIT_DONE) {
        code = read_options(a, &o, &arena);
        if (code == EXIT_DONE) code = dc_exit(build(&o, &b, args_str(a, "output"), &arena, &d), &d);
    }
    arena_release(&arena);
    return code;
}

// The same with the graph printed, for ten classes unless --classes says otherwise.
int dc_emit_loss(int argc, char **argv) {
    static const char *const more[][2] = {{"--emit", "onnx-ir"}, {"--classes", "10"}};
    char **all = xcalloc((size_t)argc + 5, sizeof *all);
    int n = argc;
    memcpy(all, argv, (size_t)argc * sizeof *all);
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        bool given = false;
        for (int k = 0; k < argc; k++)
            given = given || (str_has_prefix(argv[k], more[i][0]) && strchr("=", argv[k][strlen(more[i][0])]));
        for (int k = 0; k < 2 && !given; k++) all[n++] = xstrdup(more[i][k]);
    }
    int code = dc_loss(n, all);
    for (int k = argc; k < n; k++) free(all[k]);
    free(all);
    return code;
}

int dc_loss(int argc, char **argv) {
    const struct method *m = method_find(method_in_args(argc, argv, NULL));
    size_t n = sizeof own_opts / sizeof *own_opts - 1;
    memcpy(opts, own_opts, n * sizeof *opts);
    if (m) n = method_opts(m, opts, n, sizeof opts / sizeof *opts);
    opts[n] = (struct args_opt){0};
    int code = m ? method_foreign(&cmd, m, argc, argv) : EXIT_DONE;
    return code == EXIT_DONE ? args_command_main(&cmd, run, argc, argv) : code;
}
