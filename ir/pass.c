// The pass runner: names to functions, verification, dumps and times after each.
#include "ir_internal.h"

#include <string.h>
#include <time.h>

const struct ir_pass ir_passes[] = {
#define PASS(name, run, expects, ensures, why) {#name, run, expects, ensures, why},
#include "passes.def"
#undef PASS
};
const size_t ir_n_passes = sizeof ir_passes / sizeof *ir_passes;

static const struct ir_pass *find(const char *name, size_t n) {
    for (size_t i = 0; i < ir_n_passes; i++)
        if (strlen(ir_passes[i].name) == n && memcmp(ir_passes[i].name, name, n) == 0) return &ir_passes[i];
    return NULL;
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Verifying is for our mistakes: its messages go to a sink of their own, so that a BUG says the first one.
struct first_line {
    char text[512];
};
static void keep_first(void *env, enum diag_severity sev, const char *line) {
    struct first_line *f = env;
    if (sev == DIAG_ERROR && !f->text[0]) snprintf(f->text, sizeof f->text, "%s", line);
}

enum smkd_status ir_run_passes(struct ir_graph *g, const char *names, const struct ir_pass_options *o) {
    for (const char *p = names; *p;) {
        size_t n = strcspn(p, ",");
        const struct ir_pass *pass = find(p, n);
        CHECK(pass, "no pass '%.*s'", (int)n, p);
        bug_pass = pass->name;
        int errors = g->diag->errors;
        double t0 = seconds();
        enum smkd_status s = pass->run(g, o);
        if (o->time && o->dump) fprintf(o->dump, "%8.3f s  %s: %zu nodes\n", seconds() - t0, pass->name, g->n_nodes);
        bug_node = NULL;
        if (s == SMKD_OK && g->diag->errors > errors) s = SMKD_INVALID;
        if (s != SMKD_OK) {
            bug_pass = NULL;
            return s;
        }
        if (o->verify) {
            struct first_line first = {""};
            struct diag d = {.sink = keep_first, .env = &first};
            if (!ir_verify(g, &d)) BUG("the graph is invalid after the pass: %s", first.text);
        }
        bug_pass = NULL;
        if (o->dump && o->dump_after && (strcmp(o->dump_after, "all") == 0 || strcmp(o->dump_after, pass->name) == 0)) {
            struct str text = STR_INIT;
            ir_print(g, &text);
            fprintf(o->dump, "// after %s\n%s", pass->name, text.s);
            str_release(&text);
        }
        if (o->stop_after && strcmp(o->stop_after, pass->name) == 0) return SMKD_OK;
        p += n;
        while (*p == ',') p++;
    }
    return SMKD_OK;
}
