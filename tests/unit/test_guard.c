// How programs end early (tools/guard.c): by a file that shrinks while it is read, by a signal, without memory, by a
// library's exit. One line, nothing left, the exit code that is meant. Each in a process of its own.
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../base/base.h"
#include "../../tools/guard.c"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char dir[] = "/tmp/smkd-guard-XXXXXX";

static const char *in_dir(const char *file) {
    static char path[2][200];
    static int next;
    char *p = path[next++ % 2];
    snprintf(p, 200, "%s/%s", dir, file);
    return p;
}

// Runs f behind the guard, with a temporary file registered. Returns its status, and what it wrote on stderr.
static int ended(void (*f)(void), char text[2000]) {
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int fd = open(in_dir("err"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(fd, STDERR_FILENO);
        guard_install("test");
        doing("testing the guard");
        struct io_writer w;
        if (io_writer_open(&w, in_dir("result")) != SMKD_OK) _exit(3);
        fputs("half", w.f);
        fflush(w.f);
        f();
        _exit(2);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    const void *data;
    size_t n;
    assert_int_equal(io_map(in_dir("err"), &data, &n), SMKD_OK);
    if (n > 1999) n = 1999;
    memcpy(text, data, n);
    text[n] = 0;
    io_unmap(data, n);
    // The error's file alone: neither the result nor what was to become it.
    unlink(in_dir("err"));
    unlink(in_dir("shrinks"));
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(mkdir(dir, 0700), 0);
    return status;
}

static void says(int status, const char *text, const char *words) {
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 1) fail_msg("status %x: %s", status, text);
    const char *line = strstr(text, "error: ");
    if (!line || !strstr(line, words) || strchr(line, '\n') != line + strlen(line) - 1)
        fail_msg("\"%s\" should say \"%s\" in one line", text, words);
}

static void shrink(void) {
    const void *data;
    size_t n;
    char *bytes = xcalloc(3, 4096);
    if (io_write_file(in_dir("shrinks"), bytes, 3 * 4096) != SMKD_OK || io_map(in_dir("shrinks"), &data, &n) != SMKD_OK)
        _exit(4);
    if (truncate(in_dir("shrinks"), 100)) _exit(5);
    fnv1a(FNV_INIT, data, n); // reads all of it
}
static void shrinks(void **state) {
    (void)state;
    char text[2000];
    int status = ended(shrink, text);
    says(status, text, "shrinks: became shorter");
}

static void terminate(void) { raise(SIGTERM); }
static void is_told_to_end(void **state) {
    (void)state;
    char text[2000];
    int status = ended(terminate, text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM); // as without a guard
    assert_string_equal(text, "");
}

static void take_all(void) { xmalloc(SIZE_MAX / 4); }
static void has_no_memory(void **state) {
    (void)state;
    char text[2000];
    says(ended(take_all, text), text, "out of memory while testing the guard");
}

static void parse(void) { cJSON_malloc(SIZE_MAX / 4); }
static void json_has_no_memory(void **state) {
    (void)state;
    char text[2000];
    says(ended(parse, text), text, "out of memory while testing the guard");
}

static void leave(void) { exit(1); } // as libgomp does
static void is_ended_by_a_library(void **state) {
    (void)state;
    char text[2000];
    says(ended(leave, text), text, "most likely out of memory");
}

static void fault(void) { BUG("a fault of ours"); }
static void has_a_fault(void **state) {
    (void)state;
    char text[2000];
    int status = ended(fault, text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "BUG: "));
}

static int make_dir(void **state) {
    (void)state;
    return mkdtemp(dir) ? 0 : 1;
}
static int drop_dir(void **state) {
    (void)state;
    return rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shrinks),
        cmocka_unit_test(is_told_to_end),
        cmocka_unit_test(has_no_memory),
        cmocka_unit_test(json_has_no_memory),
        cmocka_unit_test(is_ended_by_a_library),
        cmocka_unit_test(has_a_fault),
    };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
