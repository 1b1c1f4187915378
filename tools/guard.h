// What both programs do when they end early: one line, no temporary files, an exit code.
#ifndef SMKD_TOOLS_GUARD_H
#define SMKD_TOOLS_GUARD_H

// Out of memory: "error: out of memory while ..." and exit code 1, from any thread, also inside cJSON and protobuf-c,
// which would blame the file. SIGBUS in a mapped file: the file is named. SIGINT, SIGTERM, SIGHUP: temporary files go,
// then the signal does what it always does. `program` starts the messages' place in a log and is borrowed.
void guard_install(const char *program);
// The program has come to its own end. Without this, a library has ended it (libgomp does where it gets no memory for a
// thread, after a line of its own), and what was being done is said.
void guard_done(void);

#endif
