// What reading may take. A small file can ask for a lot: compressed data, tensors that a header only claims, a fold of
// a thousand million equal elements. Readers count what a file would have them take before they take it, and say no
// here.
#ifndef SMKD_BASE_BUDGET_H
#define SMKD_BASE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

// By default the machine's memory, or what a limit of the process leaves of it. Set once, by a program (--max-memory),
// which then also limits the process, so that what nobody counted ends as running out of memory does.
void budget_set(uint64_t bytes);
uint64_t budget_bytes(void);
// Whether `bytes` at once may be taken. Where not, budget_why() of this thread is "it would take 3.1 GiB of memory,
// more than the 2.0 GiB that are allowed (--max-memory)".
bool budget_allows(uint64_t bytes);
const char *budget_why(void);
// "512M", "2G", "1048576", also 1.5G: a number of bytes with one of K, M, G, T behind it (1024s). False otherwise.
bool budget_parse(const char *text, uint64_t *bytes);

#endif
