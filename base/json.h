// A look at JSON before a parser has it: cJSON makes a node of 64 bytes out of every "1,", cuts a string at "\u0000",
// and recurses.
#ifndef SMKD_BASE_JSON_H
#define SMKD_BASE_JSON_H

#include <stddef.h>

// NULL where text[0..n) may be parsed; otherwise what is wrong with it, until this thread's next call: "has a NUL in
// it", "is nested more than 32 deep", "is too much JSON: it would take ...". Whether it is JSON at all is the parser's
// to say. A byte-order mark and any ends of lines are fine.
const char *json_refused(const char *text, size_t n);

#endif
