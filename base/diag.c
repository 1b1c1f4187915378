#include "diag.h"

#include "arena.h"
#include "guard.h"
#include "status.h"
#include "str.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

_Thread_local const char *bug_pass, *bug_node;

const char *smkd_status_text(enum smkd_status s) {
    static const char *const text[] = {
#define X(id, t) [SMKD_##id] = t,
        SMKD_STATUS_MAP(X)
#undef X
    };
    return (size_t)s < sizeof text / sizeof *text ? text[s] : "unknown status";
}

void diag_vreport(struct diag *d, enum diag_severity sev, const struct diag_loc *loc, const char *fmt, va_list ap) {
    static const char *const word[] = {"note", "warning", "error"};
    // A damaged file has thousands of the same; nobody reads them, and each costs its time.
    if (sev == DIAG_ERROR && ++d->errors > DIAG_MOST + 1) return;
    if (sev == DIAG_WARNING && ++d->warnings > DIAG_MOST + 1) return;
    const bool last = (sev == DIAG_ERROR && d->errors > DIAG_MOST) || (sev == DIAG_WARNING && d->warnings > DIAG_MOST);
    struct str line = STR_INIT;
    str_addf(&line, "%s: ", word[sev]);
    if (d->file) str_addf(&line, "%s: ", d->file);
    if (!last && loc && (loc->node || loc->op)) {
        if (loc->note) str_addf(&line, "%s ", loc->note);
        if (loc->node) str_addf(&line, "node \"%s\"", loc->node);
        if (loc->op) str_addf(&line, loc->node ? " (%s)" : "%s", loc->op);
        str_add(&line, ": ");
    }
    va_list ap2;
    va_copy(ap2, ap);
    int n = vsnprintf(NULL, 0, fmt, ap2);
    va_end(ap2);
    char *text = xmalloc((size_t)(n < 0 ? 0 : n) + 1);
    if (last) {
        str_addf(&line, "more of this kind is left out after %d lines", DIAG_MOST);
    } else if (n >= 0) {
        vsnprintf(text, (size_t)n + 1, fmt, ap);
        str_add(&line, text);
    }
    free(text);
    // One message is one line, whatever a name in the file contains.
    struct str safe = STR_INIT;
    str_add_escaped(&safe, line.s, line.len);
    if (d->sink)
        d->sink(d->env, sev, safe.s);
    else
        fprintf(stderr, "%s\n", safe.s);
    str_release(&line);
    str_release(&safe);
}

#define REPORT(sev)                                                                                                    \
    va_list ap;                                                                                                        \
    va_start(ap, fmt);                                                                                                 \
    diag_vreport(d, sev, loc, fmt, ap);                                                                                \
    va_end(ap)

void diag_error(struct diag *d, const struct diag_loc *loc, const char *fmt, ...) { REPORT(DIAG_ERROR); }
void diag_warning(struct diag *d, const struct diag_loc *loc, const char *fmt, ...) { REPORT(DIAG_WARNING); }
void diag_note(struct diag *d, const struct diag_loc *loc, const char *fmt, ...) { REPORT(DIAG_NOTE); }

_Noreturn void bug_at(const char *file, int line, const char *fmt, ...) {
    va_list ap;
    fprintf(stderr, "BUG: %s:%d: ", file, line);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    if (bug_pass) fprintf(stderr, " [pass %s]", bug_pass);
    if (bug_node) fprintf(stderr, " [node %s]", bug_node);
    fputc('\n', stderr);
    cleanup_now();
    abort();
}
