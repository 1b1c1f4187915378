// An optimizer as a loaded artifact: compiled on the spot and kept for the next time, or made beforehand by smkdc
// optimizer.
#ifndef SMKD_TOOLS_OPTIMIZER_PROGRAM_H
#define SMKD_TOOLS_OPTIMIZER_PROGRAM_H

#include "../methods/optimizers.h"
#include "../runtime/runtime.h"

// The program of the row, from the file `opt` where that means one. Owned by the caller. NULL after setting
// smkd_last_error.
smkd_model *optimizer_program(const char *opt, const struct optimizer *row);

#endif
