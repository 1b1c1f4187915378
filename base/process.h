// Other programs, run to their end.
#ifndef SMKD_PROCESS_H
#define SMKD_PROCESS_H

#include <stddef.h>

// Runs argv[0] (a path, or a name looked for in PATH) and waits for it. Its standard error is read, and the first line
// kept in `line` (`room` bytes, terminated, cut where it is longer); the rest of its surroundings are the caller's.
// Returns its exit status, -1 when a signal stopped it, or -2 when it could not be started: errno says why.
int process_run(const char *const *argv, char *line, size_t room);

#endif
