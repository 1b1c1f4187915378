// What the files of smkdc verify share.
#ifndef SMKD_TOOLS_DC_VERIFY_H
#define SMKD_TOOLS_DC_VERIFY_H

#include "../ir/eval.h"
#include "dc.h"
#include "run_io.h"

struct verify {
    struct dc_model m; // with every value as an output
    const struct args *args;
    struct io_temp dir;
    smkd_team *team;
    int64_t batch, most;
    uint64_t seed;
    double tolerance;
    int reference;
    const struct fe_value *values; // of the file's nodes
    size_t n_values;
};

// How both models are compiled.
struct dc_build verify_build(const struct verify *v);
// The file of input number i of the forms: what --input gives, else one in the folder.
const char *verify_input(struct verify *v, const char *input, size_t i);
// Reads the inputs of a model into feeds for an artifact; *batch is theirs, 1 where they have none.
enum smkd_result verify_feeds(struct verify *v, const struct dc_model *m, const smkd_model *artifact,
                              struct run_feeds *in, int64_t *batch);
// The same for the interpreter: the boundary of `g` but for constants and parameters.
enum smkd_result verify_boundary(struct verify *v, const struct dc_model *m, const struct ir_graph *g, struct arena *a,
                                 struct ir_tensor **values, int64_t *batch);
// A sink for what was said of the model before: errors alone are printed.
void verify_again(void *env, enum diag_severity sev, const char *line);
void verify_normal(struct rt_rng *rng, double *x, size_t n);

// Runs the file with onnxruntime and reads what it has for the names in `like`. *there is false, and nothing wrong,
// where Python or onnxruntime cannot be had, unless `must`.
enum smkd_result verify_onnxruntime(struct verify *v, const struct rt_tensors *like, bool must, struct rt_tensors *out,
                                    bool *there);

// Compares the gradients of the compiled model with finite differences of the interpreter's. *bad: how many differ.
int verify_gradients(struct verify *v, size_t *bad);

#endif
