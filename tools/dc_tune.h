// smkdc compile --tune: algorithms by measuring them, and the file that keeps what was measured.
#ifndef SMKD_TOOLS_DC_TUNE_H
#define SMKD_TOOLS_DC_TUNE_H

#include "dc.h"

#include <cjson/cJSON.h>

// --- the file (dc_tune_file.c) ---------------------------------------------------------------------------------------
//
//   {"format": "smkdc tune 1",
//    "machines": {"AMD EPYC | x86-64-v4 | 2 threads | 0.1.0 (LLVM 19.1.7)": {
//        "forward images=16 64x56x56 64x56x56 window 3x3 ...": {"direct": 0.0174, "winograd": 0.0079}, ...}}}
//
// Seconds by algorithm, by shape, by what else they depend on. Rows of other machines stay as they are.
struct tune_file {
    struct lock lock; // where it will be written to
    char *path;
    cJSON *json, *rows; // all of it; this machine's
};
// Where the file is unless --tune-file says otherwise, in the XDG cache. False when there is no such place.
bool tune_default_path(char *path, size_t size);
// Reads the file and finds this machine's rows for code of `level`. A file that is not there is empty; one that is not
// ours is reported. Release in any case.
enum smkd_status tune_file_open(struct tune_file *f, const char *path, const char *level, int threads, bool write,
                                struct diag *d);
// Seconds by algorithm; negative where none are known.
void tune_file_find(const struct tune_file *f, const struct cg_conv_shape *s, double seconds[CG_ALGORITHMS]);
void tune_file_add(struct tune_file *f, const struct cg_conv_shape *s, const double seconds[CG_ALGORITHMS]);
// Writes all of it, completely or not at all.
enum smkd_status tune_file_save(const struct tune_file *f, struct diag *d);
void tune_file_release(struct tune_file *f);
void tune_key(struct str *key, const struct cg_conv_shape *s);

// --- choosing (dc_tune.c)
// ----------------------------------------------------------------------------------------------

#define DC_TUNE_OPTS                                                                                                   \
    {"batch-size", 0, "N", "64", "training batch that algorithms are chosen for; any other runs, too", 0},             \
        {"infer-batch-size", 0, "N", "1", "the same for inference", 0},                                                \
        {"tune", 0, NULL, NULL, "choose algorithms by measuring them here, and keep the measurements", 0},             \
        {"tune-file",                                                                                                  \
         0,                                                                                                            \
         "FILE",                                                                                                       \
         NULL,                                                                                                         \
         "where measurements are (with --tune: are kept; default: smkd/tune.json in the XDG cache)",                   \
         0},                                                                                                           \
        {"tune-threads", 0, "N", "0", "threads that are measured with; 0 = all cores", 0}

struct dc_tune {
    bool measure;
    char path[4096]; // empty: by predicted seconds
    const char *level;
    int threads;
};
// Reads those options, and the batches into b->cg. DONE, or an exit code after a report.
int dc_tune_options(struct dc_tune *t, struct dc_build *b, const struct args *a);
// cg_compile with algorithms by measurements: those of the file, and with --tune those still missing in it.
enum smkd_status dc_tune_compile(const struct dc_tune *t, struct arena *a, struct cg_model *m,
                                 const struct cg_options *o, const char *out, struct diag *d);

#endif
