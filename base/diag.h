// Diagnostics about what a user gave us. One line each: "error: FILE: node "NAME" (OpType): what is wrong; what to do".
// A sink is passed down, never global. Our own bugs do not come here: they go to BUG(), which aborts.
#ifndef SMKD_BASE_DIAG_H
#define SMKD_BASE_DIAG_H

#include <stdarg.h>
#include <stddef.h>

enum diag_severity { DIAG_NOTE, DIAG_WARNING, DIAG_ERROR };

// Where in the user's model a message belongs. All fields may be NULL. Strings are borrowed and must outlive the graph
// they describe (they live in its arena).
struct diag_loc {
    const char *node; // ONNX node name, or a made-up "Conv#12" where the file has none
    const char *op;   // ONNX op type
    const char *note; // how a pass got here: "gradient of", "fused from"; printed before the node
};

// Errors that are printed, and warnings; one more line says that there are more, the counts go on.
enum { DIAG_MOST = 1000 };

struct diag {
    const char *file; // the file being worked on, printed first; may be NULL
    int errors, warnings;
    // Receives each finished line, without newline. NULL prints it to stderr.
    void (*sink)(void *env, enum diag_severity sev, const char *line);
    void *env;
};

void diag_error(struct diag *d, const struct diag_loc *loc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void diag_warning(struct diag *d, const struct diag_loc *loc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void diag_note(struct diag *d, const struct diag_loc *loc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void diag_vreport(struct diag *d, enum diag_severity sev, const struct diag_loc *loc, const char *fmt, va_list ap);

// The current pass and node, printed by BUG. Set by the pass runner; thread-local.
extern _Thread_local const char *bug_pass;
extern _Thread_local const char *bug_node;
_Noreturn void bug_at(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#define BUG(...) bug_at(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(cond, ...)                                                                                               \
    do {                                                                                                               \
        if (!(cond)) BUG(__VA_ARGS__);                                                                                 \
    } while (0)

#endif
