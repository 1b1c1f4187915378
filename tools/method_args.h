// Flags from the rows of methods/: which a command has depends on the method that is chosen on it.
#ifndef SMKD_TOOLS_METHOD_ARGS_H
#define SMKD_TOOLS_METHOD_ARGS_H

#include "../methods/methods.h"
#include "args.h"

// The method that a command line names before it is parsed: the value of one of the options `flags` (ends with NULL),
// or where that is NULL any argument that is a method's name. NULL: none is named.
const char *method_in_args(int argc, char **argv, const char *const *flags);
// Appends options for the method's parameters that a user sets to opts[n..cap); returns the new count. The table then
// needs its end. The texts live as long as the program.
size_t method_opts(const struct method *m, struct args_opt *opts, size_t n, size_t cap);
// What a parameter is where nobody sets it, as words: "0.1, above 10 classes 6".
enum { METHOD_TEXT = 64 };
const char *method_default_words(const struct method *m, const struct method_param *p, char text[METHOD_TEXT]);
// Where an option of argv belongs to another method only: one line saying so, EXIT_USAGE. Else EXIT_DONE.
int method_foreign(const struct args_cmd *cmd, const struct method *m, int argc, char **argv);
// What was given, over what `v` holds; what is wrong with it, if anything, is added to `wrong`, one line.
void method_read(const struct method *m, const struct args *a, struct method_values *v, struct str *wrong);
#endif
