// Public C API: load artifacts made by smkdc, run them, train them. C callers only need this header and
// libsmkd_runtime.
//
// Conventions: functions that can fail return enum smkd_result (0 = SMKD_R_OK) or NULL, and leave one line that says
// what is wrong and what to do in smkd_last_error() (per thread). Nothing here calls exit(), also where there is no
// memory: that is SMKD_R_NOMEM. Tensors are float32, row-major, in ONNX order ([N,C,H,W]). "borrows": the pointer must
// stay valid while the object lives. All functions but smkd_last_error may be called from one thread at a time per
// object.
#ifndef SMKD_RUNTIME_H
#define SMKD_RUNTIME_H

#include "smkd_abi.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SMKD_API __attribute__((visibility("default")))
#else
#define SMKD_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum smkd_result { SMKD_R_OK, SMKD_R_INVALID, SMKD_R_IO, SMKD_R_NOMEM, SMKD_R_UNSUPPORTED, SMKD_R_MISMATCH };

// One line about the last failure on this thread; "" if there was none. Valid until the next failing call.
SMKD_API const char *smkd_last_error(void);
SMKD_API const char *smkd_version(void);

// --- artifacts ----------------------------------------------------------------------------------------------------

typedef struct smkd_model smkd_model; // one loaded artifact: code, tensor table, parameter/gradient/momentum blocks

// Loads `path`. An artifact is a program: load only what you, or somebody you trust, compiled. Nothing in it runs
// before the file has been checked: a regular file, whole (sealed by smkdc), an ELF shared object without constructors
// that wants no other library. Then ABI version and this CPU's features. The parameter block starts as a copy of the
// artifact's initial weights; gradients and momentum are zero.
SMKD_API smkd_model *smkd_model_load(const char *path);
// Opens it as data, also for another CPU: its tables and weights can be read, nothing in it ever runs, smkd_session_new
// refuses it.
SMKD_API smkd_model *smkd_model_read(const char *path);
SMKD_API void smkd_model_free(smkd_model *m);
SMKD_API const struct smkd_artifact *smkd_model_info(const smkd_model *m);
// Table row by role and name; NULL when there is none (no error is set).
SMKD_API const struct smkd_abi_tensor *smkd_model_find(const smkd_model *m, enum smkd_abi_role role, const char *name);
// The n-th row of a role, in table order; NULL past the end.
SMKD_API const struct smkd_abi_tensor *smkd_model_nth(const smkd_model *m, enum smkd_abi_role role, size_t n);
// Blocks (see smkd_abi.h); owned by the model. A row's elements are at block + row->offset.
// Sessions keep weights in an order of their own: whoever writes through the pointer after a run must ask for it again.
SMKD_API void *smkd_model_params(smkd_model *m);
SMKD_API void *smkd_model_grads(smkd_model *m);
SMKD_API void *smkd_model_momentum(smkd_model *m);

// --- threads ---------------------------------------------------------------------------------------------------------

// A team of threads that runs entry points. threads = 0 means all cores this process may use. OpenMP inside: the
// threads start here, where it can be told (NULL) that there is no memory for them, or a limit; OpenMP itself would end
// the program.
typedef struct smkd_team smkd_team;
SMKD_API smkd_team *smkd_team_new(int threads);
SMKD_API void smkd_team_free(smkd_team *t);
SMKD_API int smkd_team_threads(const smkd_team *t);

// --- running --------------------------------------------------------------------------------------------------------

// Memory for running one model: arena, scratch, pointer tables. Borrows model and team. Grows when a larger batch
// comes; a steady batch size allocates nothing.
typedef struct smkd_session smkd_session;
SMKD_API smkd_session *smkd_session_new(smkd_model *m, smkd_team *t);
SMKD_API void smkd_session_free(smkd_session *s);
// Binds caller's memory to a table row (INPUT, OUTPUT, COTANGENT or GRAD_INPUT) until bound again; borrows `data`.
// OUTPUT rows left unbound get memory of the session's own.
SMKD_API enum smkd_result smkd_bind(smkd_session *s, enum smkd_abi_role role, const char *name, void *data);
SMKD_API enum smkd_result smkd_set_scalar(smkd_session *s, const char *name, double v); // default 0
SMKD_API enum smkd_result smkd_run(smkd_session *s, enum smkd_abi_phase phase, int64_t batch);
// Memory of an output after a run (bound or own); NULL for an unknown name.
SMKD_API const void *smkd_output(const smkd_session *s, const char *name);
SMKD_API size_t smkd_session_bytes(const smkd_session *s); // arena + scratch + own outputs

// --- files -----------------------------------------------------------------------------------------------------------

// Reads every PARAM and BUFFER of the model from a safetensors file by name (behind `prefix`, PyTorch's "module." for
// instance; NULL: none). F16, BF16 and F64 become float32; a number beyond its range is refused. Names, types and
// shapes of all are checked before the first is written: on failure the model is unchanged.
SMKD_API enum smkd_result smkd_load_weights(smkd_model *m, const char *path, const char *prefix);
SMKD_API enum smkd_result smkd_save_weights(const smkd_model *m, const char *path, const char *prefix);

#ifdef __cplusplus
}
#endif

#endif
