// What the commands that run an artifact once (infer, grad, loss, bench) share: tensors from files into table rows,
// results into a safetensors file.
#ifndef SMKD_TOOLS_RUN_IO_H
#define SMKD_TOOLS_RUN_IO_H

#include "../runtime/runtime.h"
#include "args.h"

// Commands get argv without "smkd-run" and their own name; they return the exit code.
int run_infer(int argc, char **argv);
int run_grad(int argc, char **argv);
int run_loss(int argc, char **argv);
int run_bench(int argc, char **argv);

// The value of --threads: 0 to 1024, 0 for all cores.
#define RUN_THREADS_OPT {"threads", 0, "N", "0", "threads (0: all cores)", 0}

// Whether results are to hold what is there for training alone.
#define RUN_TAPS_OPT {"taps", 0, NULL, NULL, "taps, side heads and logits in front of a Softmax, too", 0}

// Elements of a row for a batch of n (n is ignored where the row has no batch), and their bytes. Tables of a loaded
// model are checked, and n is at most 2^31, so that neither overflows.
size_t run_row_numel(const struct smkd_abi_tensor *t, int64_t n);
size_t run_row_bytes(const struct smkd_abi_tensor *t, int64_t n);
bool run_row_batched(const struct smkd_abi_tensor *t);

// How the ONNX file has an input or output, where that differs from the table's row (SMKD_NOTE_FORMS): files have it
// so, and the row's form is [N][outer][inner] where the file's is [outer][N][inner].
struct run_form {
    int rank; // 0: as the row
    int64_t dims[SMKD_ABI_MAX_RANK], outer;
    enum rt_dtype half; // RT_F16 or RT_BF16; RT_F32: none
};
// Of an INPUT, OUTPUT, COTANGENT or GRAD_INPUT row. False where it is the row's own (run_forms.c).
bool run_form_of(const smkd_model *m, const struct smkd_abi_tensor *row, struct run_form *f);
// The elements of an input that is a constant of this artifact, "2,3,N" (SMKD_NOTE_GIVEN), in `s`; false: there is
// none.
bool run_given(const smkd_model *m, const char *input, struct str *s);
// Takes the next of such elements: N (*batch) or a number. False: it is neither.
bool run_given_next(const char **elements, bool *batch, double *v);
// A tensor in the form of a file becomes one in the row's (shape and order; the type is another matter), and back,
// where results get their type, too.
enum smkd_result run_form_enter(struct rt_tensor *t, const struct smkd_abi_tensor *row, const struct run_form *f,
                                int64_t batch);
enum smkd_result run_form_leave(struct rt_tensor *t, const struct run_form *f, int64_t batch);
// The same for every result of these rows.
enum smkd_result run_forms_leave(struct rt_tensors *ts, const smkd_model *m, enum smkd_abi_role role,
                                 const char *prefix, int64_t batch);

// Tensors given as NAME=FILE.npy on the command line, one per table row of a role.
struct run_feed {
    const struct smkd_abi_tensor *row;
    struct rt_tensor tensor; // owned
};
struct run_feeds {
    struct run_feed *f;
    size_t n;
};
// Reads every value of --`option` ("x=x.npy") for rows of `role` of `m`. Checks dtype and shape against the row; the
// batch of all of them must be *batch, or sets *batch where that is still 0. Appends to `fs`; release also after a
// failure.
enum smkd_result run_feeds_read(struct run_feeds *fs, const smkd_model *m, enum smkd_abi_role role,
                                const struct args *a, const char *option, int64_t *batch);
// One of them, "x=x.npy".
enum smkd_result run_feeds_add(struct run_feeds *fs, const smkd_model *m, enum smkd_abi_role role, const char *option,
                               const char *value, int64_t *batch);
void run_feeds_release(struct run_feeds *fs);
// SMKD_R_INVALID naming the first INPUT of the model without a feed.
enum smkd_result run_feeds_complete(const struct run_feeds *fs, const smkd_model *m);

// Loads `path` and, with --weights [--peer K], weights into it. NULL after setting smkd_last_error.
smkd_model *run_load(const struct args *a, const char *path);
#define RUN_WEIGHTS_OPTS                                                                                               \
    {                                                                                                                  \
        "weights", 0, "W.safetensors", NULL, "use these weights: a file with ONNX names, or with --peer a checkpoint", \
        0},                                                                                                            \
        {"weights-prefix", 0, "PREFIX", NULL, "what W has in front of the model's names, such as module.", 0},         \
        {"peer", 0, "0|1", NULL, "which peer of a checkpoint", 0}

// Appends a tensor to a list of results: its name is copied, its data borrowed (data != NULL) or allocated, zeroed and
// owned by the list (data == NULL). dims are the row's with the batch put in. NULL after a failure: out of memory, or a
// name that is already taken.
struct rt_tensor *run_result(struct rt_tensors *ts, const char *name, const struct smkd_abi_tensor *row, int64_t batch,
                             void *data);

#endif
