// What the files of smkdc share.
#ifndef SMKD_TOOLS_DC_H
#define SMKD_TOOLS_DC_H

#include "../codegen/codegen.h"
#include "../frontend/frontend.h"
#include "../losses/losses.h"
#include "args.h"

// A command gets argv without "smkdc" and its own name; returns the exit code.
int dc_new(int argc, char **argv);
int dc_compile(int argc, char **argv);
int dc_check(int argc, char **argv);
int dc_inspect(int argc, char **argv);
int dc_loss(int argc, char **argv);
int dc_emit_loss(int argc, char **argv);
int dc_optimizer(int argc, char **argv);
int dc_ops(int argc, char **argv);
int dc_verify(int argc, char **argv);

// --- stages (dc_stage.c) --------------------------------------------------------------------------------------------

// What --emit names, in the order of the pipeline. Up to FUSED smkdc prints graphs itself, later ones are cg_compile's.
enum dc_stage { DC_ONNX_IR, DC_IR, DC_GRAD, DC_FUSED, DC_LAYOUT, DC_PLAN, DC_LLVM, DC_ASM, DC_OBJ, DC_LIB };
extern const char *const dc_stages[]; // names, ends with NULL

// Options that compile and loss share: --emit --mcpu --winograd --recompute --max-batch --threads --dump-after
// --stop-after --time
// --verbose.
#define DC_MAX_BATCH "256" // of models
#define DC_CODEGEN_OPTS(max_batch)                                                                                     \
    {"max-batch", 0, "N", max_batch, "largest batch the artifact will accept; its memory is not reserved", 0},         \
        {"mcpu", 0, "CPU", "native", "CPU to compile for: native, x86-64-v3, x86-64-v4, znver4 ...", 0},               \
        {"winograd", 0, "on|off", "on", "3x3 convolutions by fewer multiplications where that pays", 0},               \
        {"recompute", 0, "on|off", "on", "compute cheap activations again in the backward pass: less memory", 0},      \
        {"emit", 0, "STAGE", "lib", "stop at and write: onnx-ir ir grad fused layout plan llvm asm (text), obj, lib",  \
         0},                                                                                                           \
        {"dump-after", 0, "PASS", NULL, "print the graph after that pass (or all) to stderr", 0},                      \
        {"stop-after", 0, "PASS", NULL, "stop after that pass and print the graph", 0},                                \
        {"time", 0, NULL, NULL, "print the seconds of every pass and part to stderr", 0},                              \
        {"threads", 0, "N", "0", "kernels compiled at once; 0 = all cores", 0},                                        \
        {"verbose", 'v', NULL, NULL, "say what is being done on stderr", 0}

struct dc_build {
    enum dc_stage stage;
    struct cg_options cg;
    struct ir_pass_options pass;
    const char *stop_after; // a pass that runs here rather than in codegen, or NULL
    bool verbose;
};
// What they are without any.
struct dc_build dc_build_defaults(void);
// Reads those options. False after a usage error.
bool dc_build_options(struct dc_build *b, const struct args *a);
// Looks at -o before the work: its folder must be there, and - is for text only. DONE, or an exit code after a report.
int dc_output_check(const struct dc_build *b, const struct args *a);

// Runs `names` on each graph that is not NULL; `mode` is per graph. Reports to the graphs' diag.
enum smkd_status dc_run_passes(const struct dc_build *b, const char *names, struct ir_graph *g,
                               enum ir_expand_mode mode);
// The passes between import and codegen.
#define DC_MIDDLE_PASSES "expand,fold,cse,interleave,dce"
// The passes behind them up to fuse, which codegen runs itself unless their result is asked for.
const char *dc_fuse_passes(const struct dc_build *b);
// Whether --stop-after names a pass of the list.
bool dc_stops_in(const struct dc_build *b, const char *names);

// Prints the graphs that are not NULL, in order, to `path` (NULL or "-" = stdout; a file is written completely or not
// at all).
enum smkd_status dc_emit_graphs(const char *path, struct ir_graph *const *graphs, size_t n, struct diag *d);

// The artifact's notes, a JSON object in the arena: FLOPs per sample of each phase, nodes, how often each op occurs.
const char *dc_notes(struct arena *a, const struct ir_graph *infer, const struct ir_graph *train, bool bf16);
// The same of a model, with the file's "smkd.*" metadata as the object "metadata": how images are prepared and what the
// classes are called, which whoever runs the artifact can read without protobuf.
const char *dc_model_notes(struct arena *a, const struct ir_graph *infer, const struct ir_graph *train, bool bf16,
                           const struct fe_model *file);

// PATH with the suffix `from` replaced by `to` (appended where it doesn't end in `from`).
const char *dc_replace_suffix(struct arena *a, const char *path, const char *from, const char *to);

// Exit code of a status; where nothing was reported yet, reports the status' text.
int dc_exit(enum smkd_status s, struct diag *d);

// --- models (dc_model.c) --------------------------------------------------------------------------------------------

struct dc_model {
    struct arena arena;
    struct diag diag;
    struct fe_model *file;
    struct ir_graph *imported;
    // Of dc_model_open:
    struct ir_head *heads;
    size_t n_heads;
    bool one_head;     // --logits said which
    const char **taps; // outputs that are there for training alone
    size_t n_taps;
    bool again;    // the file was opened before: notes and warnings have been seen
    bool as_it_is; // no edits of the file: no heads, taps or new layers
    bool frozen;   // --freeze is given: no gradient by the inputs, for which everything before them would be needed
    // Of dc_model_graphs:
    struct ir_graph *infer, *train;
    size_t n_params, n_untrained; // of these, no gradient reaches so many
    struct diag_loc mixing;       // where the samples of a batch meet in inference; empty: nowhere
};
#define DC_BOUNDARY_OPTS                                                                                               \
    {"shape",                                                                                                          \
     0,                                                                                                                \
     "x=N,3,224,224",                                                                                                  \
     NULL,                                                                                                             \
     "shape of an input, where the file leaves it open or another is wanted, with N for the batch; or SYMBOL=SIZE",    \
     ARGS_REPEAT},                                                                                                     \
        {"batch-axis", 0, "x=1", NULL, "which axis of an input is the batch (default: 0)", ARGS_REPEAT},               \
        {"no-batch",                                                                                                   \
         0,                                                                                                            \
         "GLOB",                                                                                                       \
         NULL,                                                                                                         \
         "inputs of such names have no batch: all their sizes are those of the file or of --shape",                    \
         ARGS_REPEAT},                                                                                                 \
    {                                                                                                                  \
        "shape-input", 0, "s=2,3,-1", NULL, "elements of an input that decides shapes: a constant from now on",        \
            ARGS_REPEAT                                                                                                \
    }
#define DC_PARAMETER_OPTS                                                                                              \
    {"train-only", 0, "GLOB", NULL, "train only float tensors of such names; all others are constants", ARGS_REPEAT},  \
        {"constant", 0, "GLOB", NULL, "don't train float tensors of such names", ARGS_REPEAT},                         \
        {"freeze",                                                                                                     \
         0,                                                                                                            \
         "GLOB",                                                                                                       \
         NULL,                                                                                                         \
         "keep parameters and running statistics of such names as they are; '!GLOB' takes some out again",             \
         ARGS_REPEAT},                                                                                                 \
        {"freeze-bn", 0, NULL, NULL, "every BatchNorm uses its running statistics in training, too, and keeps them", 0}
#define DC_LOGITS_OPT                                                                                                  \
    {"logits", 0, "NAME", NULL, "the output to train, where a model has several, or a value inside it [N,classes]", 0}
#define DC_TAP_OPTS                                                                                                    \
    {"tap",                                                                                                            \
     0,                                                                                                                \
     "VALUE[=NAME]",                                                                                                   \
     NULL,                                                                                                             \
     "make a value inside (or that of a node of this name) an output for training, with a gradient",                   \
     ARGS_REPEAT},                                                                                                     \
    {                                                                                                                  \
        "head", 0, "VALUE:byot[=NAME]", NULL, "a side classifier on a feature map, for self-distillation", ARGS_REPEAT \
    }
#define DC_CLASSES_OPTS                                                                                                \
    {"classes", 0, "K", NULL, "give the last linear layer K outputs and fresh weights: for fine-tuning", 0},           \
        {"seed", 0, "N", "0", "of the fresh weights", 0}
// The values of an option that may be repeated.
const char *const *dc_all_of(struct arena *arena, const struct args *a, const char *option, size_t *n);
// Reads DC_BOUNDARY_OPTS into the fields of `o` (dc_boundary.c). DONE, or EXIT_USAGE after a report.
int dc_boundary_options(struct arena *arena, const struct args *a, struct fe_options *o);
// Whether they insist on a batch.
bool dc_asks_for_batch(const struct fe_options *o);
// Notes, warnings and errors, in order: a sink (diag.sink) that keeps them, its env being a struct dc_said with an
// arena.
struct dc_said {
    struct dc_line {
        enum diag_severity sev;
        const char *text;
    } *lines;
    size_t n, cap;
    struct arena *arena;
};
void dc_said_keep(void *env, enum diag_severity sev, const char *text);
// Opens and imports a model under DC_BOUNDARY_OPTS and the --train-only, --constant, --logits, --classes and --seed
// options. DONE, or an exit code after a report. Release in any case.
int dc_model_open(struct dc_model *m, const char *path, const struct args *a);
// The same with a sink for all that is said (diag.sink), which stays the model's.
int dc_model_open_told(struct dc_model *m, const char *path, const struct args *a,
                       void (*sink)(void *env, enum diag_severity sev, const char *line), void *env);
// The same under DC_BOUNDARY_OPTS alone, the file as it is; with `values` what its nodes make are outputs, too.
// Without, it is taken for opened again: only errors are said.
int dc_model_open_values(struct dc_model *m, const char *path, const struct args *a, bool values);
void dc_model_close(struct dc_model *m);

// Graphs of both modes as far as `upto`, DC_IR (what codegen's passes start from) or DC_GRAD (training with its
// gradient). Reports everything that is wrong with either, and what should be known of the model. All that `check` and
// `compile` do before code is generated is here and in dc_codegen_model.
enum smkd_status dc_model_graphs(struct dc_model *m, const struct dc_build *b, enum dc_stage upto);
// What codegen gets.
struct cg_model dc_codegen_model(struct dc_model *m, const struct dc_build *b);

// What training looks at (dc_heads.c): finds the outputs that could be logits, or the one that `logits` names, and
// makes outputs of them. Then of the file's taps. Called by dc_model_open.
enum smkd_status dc_find_heads(struct dc_model *m, const char *logits);
void dc_attach_taps(struct dc_model *m);
// Whether an output is none of the model's results.
bool dc_is_added(const struct dc_model *m, const char *output);
// Fills m->mixing, with a warning. Called by dc_model_graphs.
void dc_report_mixing(struct dc_model *m);

#endif
