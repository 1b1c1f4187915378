// Command lines described by tables: parsing, checking and the --help text all come from the same rows.
//
//   static const struct args_opt opts[] = {
//       {"output", 'o', "FILE", NULL, "where the artifact goes", ARGS_REQUIRED},
//       {"max-batch", 0, "N", "256", "largest batch the artifact accepts", 0},
//       {"verbose", 'v', NULL, NULL, "say what happens", 0},                       // no value name: a flag
//       {"shape", 0, "x=N,3,H,W", NULL, "shape of an input", ARGS_REPEAT},
//       {0}};
//
// Accepts --name value, --name=value, -o value, -oVALUE, `--` (only positionals follow) and positionals anywhere
// between. A negative number is a value or a positional, never an option. Everything borrows argv: nothing is copied.
#ifndef SMKD_TOOLS_ARGS_H
#define SMKD_TOOLS_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { ARGS_REPEAT = 1, ARGS_REQUIRED = 2, ARGS_HIDDEN = 4 }; // flags of an option; HIDDEN is left out of --help

struct args_opt {
    const char *name;  // without dashes
    char letter;       // short form, 0 for none
    const char *value; // name of the value in --help; NULL makes it a flag
    const char *def;   // default value, NULL for none
    const char *help;  // one line
    unsigned flags;
};

struct args_cmd {
    const char *prog;            // "smkdc compile": starts every message
    const char *positionals;     // "M.onnx": how --help shows them; NULL for none
    size_t min_pos, max_pos;     // how many are accepted
    const char *doc;             // what the command does; may have several lines
    const struct args_opt *opts; // ends with a NULL name; --help, -h and --max-memory BYTES are added to every command
};

enum args_result { ARGS_RUN, ARGS_HELP, ARGS_USAGE };
// Exit codes of both programs: 0 done, 1 the work failed, 2 the command line is wrong.
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct args {
    const struct args_cmd *cmd;
    struct args_hit {
        size_t opt;
        const char *value;
    } *hits; // in command line order; value "" for a flag
    size_t n_hits;
    const char **pos; // positionals
    size_t n_pos;
};

// Parses argv[0..argc) (without the program's and the command's name). ARGS_HELP after printing the help to stdout,
// ARGS_USAGE after one line on stderr ("smkdc new: unknown option --wdith, did you mean --width; see smkdc new --help",
// with the suggestion where a name is near enough). On ARGS_RUN
// release with args_release (after the others there is nothing to release). When a value may not be given twice, the
// second one is an error.
enum args_result args_parse(struct args *a, const struct args_cmd *cmd, int argc, char **argv);
void args_release(struct args *a);
// A command's entry: parses, runs `run` where the arguments are good, releases. Returns the exit code.
int args_command_main(const struct args_cmd *cmd, int (*run)(const struct args *a), int argc, char **argv);
void args_help(const struct args_cmd *cmd, FILE *f);

// The option that name[0..n) is most likely a slip of the finger for; NULL: none is near enough.
const char *args_nearest(const struct args_opt *opts, const char *name, size_t n);

// One usage error line for the command, ending in "; see PROG --help". Returns EXIT_USAGE, so `return args_fail(...)`.
int args_fail(const struct args_cmd *cmd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// All of these take an option's long name; a name that is not in the table is a BUG.
bool args_given(const struct args *a, const char *name);      // on the command line (default values don't count)
const char *args_str(const struct args *a, const char *name); // value or default; NULL when there is neither
size_t args_count(const struct args *a, const char *name);    // times given
const char *args_nth(const struct args *a, const char *name, size_t i); // i-th value; NULL past the end
// A number in [min, max], or the default's. False after a usage error line naming option, value and range.
// Where neither a value nor a default exists, true and *out is left alone.
bool args_i64(const struct args *a, const char *name, int64_t min, int64_t max, int64_t *out);
bool args_f64(const struct args *a, const char *name, double min, double max, double *out);
// Unsigned 64-bit number (seeds): decimal digits only.
bool args_u64(const struct args *a, const char *name, uint64_t *out);
// One of `choices` (ends with NULL), or the default: index in *out. False after a usage error line listing them.
bool args_choice(const struct args *a, const char *name, const char *const *choices, size_t *out);

// A program that is a set of commands: prints help and version, runs the command that argv[1] names. A full disk or a
// closed pipe behind stdout must not look like success: then the exit code is EXIT_FAILED.
struct args_program {
    const char *name, *version; // version: the text behind the name
    const struct args_program_cmd {
        const char *name;
        int (*run)(int argc, char **argv); // without the program's and the command's name; returns the exit code
        const char *doc;                   // NULL: not in --help
    } *cmds;                               // ends with a NULL name
};
int args_program_main(const struct args_program *p, int argc, char **argv);

#endif
