// Golden tests of passes and of what verifier and parser refuse: every tests/golden/*.ir. A file is
//
//     // passes: expand,dce          what to run; "none" only parses and verifies
//     // mode: infer                 of pass expand; train when the line is missing
//     // error: part of a message    this graph must be refused with it; there is no second graph then
//     graph @before(...) { ... }
//     ----
//     graph @after(...) { ... }
//
// UPDATE=1 in the environment rewrites what follows ---- with what the passes make of it now: read the diff.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../ir/ir.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#define SEPARATOR "\n----\n"

static void keep(void *env, enum diag_severity sev, const char *line) {
    (void)sev;
    str_addf(env, "%s\n", line);
}

// The rest of the line "// key: rest" at the head of a file, or `otherwise`.
static const char *header(struct arena *a, const char *text, const char *key, const char *otherwise) {
    char start[32];
    snprintf(start, sizeof start, "// %s: ", key);
    for (const char *line = text; str_has_prefix(line, "//"); line += strcspn(line, "\n"), line += *line == '\n') {
        if (!str_has_prefix(line, start)) continue;
        const char *rest = line + strlen(start);
        return arena_printf(a, "%.*s", (int)strcspn(rest, "\n"), rest);
    }
    return otherwise;
}

static void must_fail(struct arena *a, struct diag *d, const char *text, const char *want, const char *path) {
    const struct str *said = d->env;
    struct ir_graph *g = ir_parse(a, d, text);
    if (g && ir_verify(g, d)) fail_msg("%s: accepted; an error was expected: %s", path, want);
    if (!said->s || !strstr(said->s, want))
        fail_msg("%s: the message is\n%snot: %s", path, said->s ? said->s : "", want);
}

static char *transform(struct arena *a, struct diag *d, char *text, const char *path) {
    const struct str *said = d->env;
    const char *passes = header(a, text, "passes", NULL), *mode = header(a, text, "mode", "train");
    if (!passes) fail_msg("%s: no line \"// passes: \"", path);
    struct ir_graph *g = ir_parse(a, d, text);
    if (!g || !ir_verify(g, d)) fail_msg("%s: %s", path, said->s);
    struct ir_pass_options o = {.mode = strcmp(mode, "infer") ? IR_TRAIN : IR_INFER, .verify = true};
    if (strcmp(passes, "none") && ir_run_passes(g, passes, &o) != SMKD_OK) fail_msg("%s: %s", path, said->s);
    struct str out = STR_INIT;
    ir_print(g, &out);
    char *copy = arena_strdup(a, out.s);
    // What was printed is what the graph is: a second reading prints the same.
    g = ir_parse(a, d, copy);
    if (!g) fail_msg("%s: its own result does not parse: %s", path, said->s);
    str_clear(&out);
    ir_print(g, &out);
    assert_string_equal(out.s, copy);
    str_release(&out);
    return copy;
}

static void run(const char *path) {
    struct arena a;
    arena_init(&a);
    struct str said = STR_INIT;
    struct diag d = {.sink = keep, .env = &said};
    const void *data;
    size_t size;
    if (io_map(path, &data, &size) != SMKD_OK) fail_msg("cannot read %s", path);
    char *text = arena_alloc(&a, size + 1);
    memcpy(text, data, size);
    io_unmap(data, size);
    const char *error = header(&a, text, "error", NULL);
    if (error) {
        must_fail(&a, &d, text, error, path);
    } else {
        char *split = strstr(text, SEPARATOR);
        const char *want = split ? split + strlen(SEPARATOR) : "";
        if (split) split[1] = 0;
        char *made = transform(&a, &d, text, path);
        if (strcmp(made, want) && getenv("UPDATE")) {
            char *whole = arena_printf(&a, "%s%s%s", text, SEPARATOR + 1, made);
            if (io_write_file(path, whole, strlen(whole)) != SMKD_OK) fail_msg("cannot write %s", path);
        } else if (strcmp(made, want)) {
            fail_msg("%s: the passes make\n%snot\n%sIf that is right, run again with UPDATE=1.", path, made, want);
        }
    }
    str_release(&said);
    arena_release(&a);
}

static void test_golden(void **state) {
    (void)state;
    DIR *dir = opendir(TEST_DIR "/golden");
    assert_non_null(dir);
    int n = 0;
    for (const struct dirent *e; (e = readdir(dir));) {
        if (!str_has_suffix(e->d_name, ".ir")) continue;
        char path[4096];
        snprintf(path, sizeof path, TEST_DIR "/golden/%s", e->d_name);
        run(path);
        n++;
    }
    closedir(dir);
    assert_true(n >= 20); // an empty folder proves nothing
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden)};
    return cmocka_run_group_tests_name("ir_golden", tests, NULL, NULL);
}
