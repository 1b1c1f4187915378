// The trained networks that a command looks at: those of a run folder, or artifacts with their own or given weights.
#ifndef SMKD_TOOLS_RUN_NETWORKS_H
#define SMKD_TOOLS_RUN_NETWORKS_H

#include "../runtime/report.h"
#include "run_train.h"

#define RUN_NETWORKS_OPTS(verb)                                                                                         \
    {"peer", 0, "A.smkd", NULL, "an artifact to " verb ", with its own weights", ARGS_REPEAT},                          \
        {"artifact",                                                                                                    \
         0,                                                                                                             \
         "A.smkd",                                                                                                      \
         NULL,                                                                                                          \
         "a run folder's artifacts, in order, where they are no longer where the run found them",                       \
         ARGS_REPEAT},                                                                                                  \
        {"weights",                                                                                                     \
         0,                                                                                                             \
         "FILE",                                                                                                        \
         NULL,                                                                                                          \
         "safetensors for a single artifact: names as in the ONNX file, or a checkpoint's peer 0",                      \
         0},                                                                                                            \
        {"weights-prefix", 0, "PREFIX", NULL, "what that file has in front of the model's names, such as module.", 0},  \
        {"logits", 0, "NAME", NULL, "the output to look at, where a model has several (default: the run folder's)", 0}, \
        {"checkpoint", 0, "WHICH", "last", "of a run folder: best or last", 0},                                         \
        {"ema", 0, NULL, NULL, "of a run folder: the averages of --model-ema", 0}

struct run_networks {
    struct rt_peer peers[METHOD_MAX_PEERS];
    const char *paths[METHOD_MAX_PEERS];
    int n;
    bool numbers;    // they have learnt numbers, not classes
    const char *dir; // run folder; NULL: artifacts
    // What the folder says; of artifacts all defaults, and the preparation of an exported one.
    struct run_saved saved;
};
// Checks the options alone; false after a usage error.
bool run_networks_args(const struct args *a);
// Loads what the positionals (a run folder, or artifacts) and the options above name. Artifacts are taken for networks
// of numbers where `numbers` says so; a run folder knows. Release also after a failure.
enum smkd_result run_networks_load(struct run_networks *w, const struct args *a, bool numbers);
// The same of the run folder `dir`, whatever the positionals are.
enum smkd_result run_networks_load_folder(struct run_networks *w, const struct args *a, const char *dir);
// The checkpoint of the run folder that --checkpoint means; the caller frees it.
char *run_networks_checkpoint(const struct run_networks *w, const struct args *a);
void run_networks_release(struct run_networks *w);
// Classes are called by the run's names, an exported network's, or those of the data. Borrowed from both.
struct rt_class_names run_networks_names(const struct run_networks *w, const struct rt_dataset *set);
// What an exported network says of resizing becomes the flags in saved.config that would do it; false where nothing is
// to be done.
bool run_networks_take_over(struct run_networks *w, const struct rt_images *im);
// The largest batch that all of them take, `batch` at most.
int64_t run_networks_batch(const struct run_networks *w, int64_t batch);

#endif
