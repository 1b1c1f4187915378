// Commands that show one thing at a time, to people and to tests; and what they share.
#ifndef SMKD_TOOLS_RUN_SMALL_H
#define SMKD_TOOLS_RUN_SMALL_H

#include "../runtime/checkpoint.h"
#include "args.h"

int run_infer(int argc, char **argv);
int run_grad(int argc, char **argv);
int run_loss(int argc, char **argv);
int run_bench(int argc, char **argv);

// Results on their way into a safetensors file.
struct run_results {
    struct rt_tensors ts;
    size_t cap;
};
// Room for a tensor of the table row's dims with N = batch, under `name` (copied); element type f32 or the row's.
// Returns its memory, zeroed, owned by the results; NULL after rt_fail.
void *run_results_add(struct run_results *r, const char *name, const struct smkd_abi_tensor *row, int64_t batch);

// "NAME=FILE.npy" options: reads each file, checks it against the row of that role (batch free, the rest equal) and
// converts f64 to f32 where the row wants f32. t[row index] receives it. All batches must agree; *batch receives it.
enum smkd_result run_read_tensors(const struct args *a, const char *option, const smkd_model *m, enum smkd_abi_role role,
                                  struct rt_tensor *t, int64_t *batch);
// --weights FILE [--peer K]: plain weights, or a run's checkpoint.
enum smkd_result run_load_weights(const struct args *a, smkd_model *m);
#define RUN_WEIGHTS_OPTS \
    {"weights", 0, "W.safetensors", NULL, "weights instead of the artifact's own: names as in the model, or a run's checkpoint", 0}, \
    {"peer", 0, "K", "0", "which peer of a checkpoint", 0}

#endif
