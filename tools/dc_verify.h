// What the files of smkdc verify share.
#ifndef SMKD_TOOLS_DC_VERIFY_H
#define SMKD_TOOLS_DC_VERIFY_H

#include "dc.h"

#include "../runtime/runtime.h"

// The file of input number i of the forms: what --input gives, else one in `dir`.
const char *verify_input(struct arena *a, const struct args *args, const char *dir, const char *input, size_t i);

// Runs the file with onnxruntime and reads what it has for the names in `like`. *there is false, and nothing wrong,
// where Python or onnxruntime cannot be had, unless `must`.
enum smkd_result verify_onnxruntime(struct dc_model *m, const struct args *a, const char *dir,
                                    const struct rt_tensors *like, bool must, struct rt_tensors *out, bool *there);

#endif
