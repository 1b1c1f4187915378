// Programs that smkdc compiles for smkd-run, losses and optimizers: made on the spot by the smkdc beside it, in a
// process of its own (LLVM would otherwise take 40 MiB of a training run, and its loading a moment of every start), and
// kept for the next time.
#ifndef SMKD_TOOLS_PROGRAM_H
#define SMKD_TOOLS_PROGRAM_H

#include "../runtime/runtime.h"

// Whether a NAME on the command line means a file: it has a slash or ends in .smkd.
bool program_is_file(const char *name);

// This program's own file, and smkdc beside it; NULL: there is none, as in a build without LLVM.
const char *program_self(struct arena *a);
const char *program_compiler(struct arena *a);

struct program_request {
    const char *kind, *name;    // smkdc KIND NAME -o FILE ...; both for messages, too
    const char *const *options; // ... these; ends with NULL
    const char *key;            // equal programs have equal texts
    const char *beforehand;     // what to run elsewhere, and to give then, where there is no smkdc
    smkd_model *(*load)(const char *path, const void *env); // loads and checks; NULL after setting smkd_last_error
    const void *env;
};

// Owned by the caller. NULL after setting smkd_last_error. Kept under $XDG_CACHE_HOME/smkd (else ~/.cache/smkd) by the
// content of key, compiler and CPU; a cache that cannot be written or read is done without.
smkd_model *program_get(const struct program_request *want);

#endif
