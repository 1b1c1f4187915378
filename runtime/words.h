// Numbers and words of text files: lines, and in them words between blanks, commas and semicolons. What follows a # is
// a comment.
#ifndef SMKD_RT_WORDS_H
#define SMKD_RT_WORDS_H

#include "runtime.h"

// A text that lies in memory, which is borrowed.
struct rt_words {
    const char *p, *end; // what is not read yet
    const char *stop;    // of the line at hand
    size_t line;         // its number, from 1 on
};
// SMKD_R_INVALID where the bytes are no text; `path` is for messages. Skips a byte-order mark.
enum smkd_result rt_words_begin(struct rt_words *w, const char *path, const char *text, size_t size);
bool rt_words_line(struct rt_words *w); // goes to the next line, which may be empty; false: there is none
// The next word of the line, *len bytes of it; NULL: there is none.
const char *rt_words_next(struct rt_words *w, size_t *len);

#endif
