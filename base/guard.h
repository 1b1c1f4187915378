// What must not outlive a program that ends early: out of memory, killed, or by a file that shrank under it. Libraries
// only say here what they are doing and which temporary files they have; the programs decide what happens
// (tools/guard.c).
#ifndef SMKD_BASE_GUARD_H
#define SMKD_BASE_GUARD_H

#include <stdbool.h>
#include <stddef.h>

// What the program is doing, for the message when memory runs out: "compiling a.onnx". Formatted into static memory by
// the thread that leads; others only read it.
void doing(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const char *doing_what(void); // never NULL

// A temporary file, or a folder with nothing but files, that goes when the program ends early. The path is copied.
// Returns a handle for cleanup_drop, which must be called once the path is renamed or removed; -1 where there is no
// room left (it then stays behind in that case).
int cleanup_add(const char *path);
int cleanup_add_empty(const char *path); // a folder that goes only while nothing is in it
void cleanup_drop(int handle);           // -1 is nothing
void cleanup_one(int handle);            // removes it and drops the handle
// Removes what is registered. Allocates nothing and may be called by a signal handler.
void cleanup_now(void);

// Called instead of returning NULL by everything in base/ that allocates. Does not return. Without a handler (in
// somebody's own program) it writes a line and aborts.
_Noreturn void out_of_memory(size_t bytes);
// For what reports its failures itself, since a C program that links the runtime is told of them: ends in out_of_memory
// where `error` is ENOMEM and a program has set a handler, and otherwise returns. errno is kept.
void end_if_no_memory(int error);
// For the functions that a C program calls: false where an allocation of base/ failed in work(env) on this thread,
// which then has come no further; what only `work` knew of is lost. Not where a program has set a handler, which comes
// first.
bool fenced(void (*work)(void *env), void *env);
// Set by a program; must not return and must not allocate.
extern void (*out_of_memory_handler)(size_t bytes);

#endif
