// Other programs, run to their end.
#ifndef SMKD_PROCESS_H
#define SMKD_PROCESS_H

#include <stddef.h>

enum { PROCESS_STOPPED = -1, PROCESS_NOT_STARTED = -2 };

// Runs argv[0] (a path, or a name looked for in PATH) and waits for it. Its standard error is read, and the first line
// kept in `line` (`room` bytes, terminated, cut where it is longer); the rest of its surroundings are the caller's.
// Returns its exit status, PROCESS_STOPPED when a signal ended it (`line` then says which), or PROCESS_NOT_STARTED:
// errno says why.
int process_run(const char *const *argv, char *line, size_t room);

#endif
