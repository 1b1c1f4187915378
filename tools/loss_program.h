// A training loss as a loaded artifact: compiled on the spot and kept for the next time, or made beforehand by smkdc
// loss.
#ifndef SMKD_TOOLS_LOSS_PROGRAM_H
#define SMKD_TOOLS_LOSS_PROGRAM_H

#include "../methods/methods.h"
#include "../runtime/runtime.h"

// Whether --loss NAME means a file: it has a slash or ends in .smkd.
bool loss_is_file(const char *name);

struct loss_request {
    const char *name; // a method's, or a file (it has a slash or ends in .smkd): then the structure is the file's
    const struct method *method; // with its values: structure, where the name is a method's
    struct method_values values;
    int peers;
    int64_t classes; // columns of the peers' outputs
    bool mixed, weighted;
    int64_t max_batch;            // the program must take batches of at least this
    const struct rt_known *known; // a file must be this one; NULL: any
};

// The program, checked to be one for such peers and that batch (rt_program_check). Owned by the caller. NULL after
// setting smkd_last_error. Compiled programs are kept under $XDG_CACHE_HOME/smkd (else
// ~/.cache/smkd) by the content of request, compiler and CPU; a cache that cannot be written or read is done without.
smkd_model *loss_program(const struct loss_request *want);

#endif
