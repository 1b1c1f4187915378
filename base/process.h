// Other programs, run to their end.
#ifndef SMKD_PROCESS_H
#define SMKD_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { PROCESS_STOPPED = -1, PROCESS_NOT_STARTED = -2 };

// Runs argv[0] (a path, or a name looked for in PATH) and waits for it. Its standard error is read, and the first line
// kept in `line` (`room` bytes, terminated, cut where it is longer); the rest of its surroundings are the caller's.
// Returns its exit status, PROCESS_STOPPED when a signal ended it (`line` then says which), or PROCESS_NOT_STARTED:
// errno says why.
int process_run(const char *const *argv, char *line, size_t room);

// Starts argv[0], a path, with nothing to read and both of its outputs going to the descriptor `log`. It ends when this
// process does, however that comes (SIGTERM). *slot becomes its number, with all signals held back until it has, so
// that a handler that looks there misses none. False: errno says why.
bool process_start(const char *const *argv, int log, volatile pid_t *slot);
// Waits for any of those to end. Its number, its exit status or PROCESS_STOPPED in *status and the signal in *by. A
// signal to this process that has a handler does not end the waiting. 0: there is none to wait for.
pid_t process_wait(int *status, int *by);

#endif
