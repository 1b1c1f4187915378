// base/: arenas, strings, numbers, diagnostics, files that appear completely or not at all.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../base/base.h"
#include "../../base/process.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// --- text of others -------------------------------------------------------------------------------------------------

static void test_escape(void **state) {
    (void)state;
    static const struct {
        const char *from;
        size_t n;
        const char *to;
        bool valid;
    } cases[] = {
        {"conv1.weight", 12, "conv1.weight", true},
        {"a\nb\x7f", 4, "a\\x0ab\\x7f", true},
        {"a\0b", 3, "a\\x00b", true},
        {"\x1b]0;x\a", 6, "\\x1b]0;x\\x07", true},
        {"gr\xc3\xb6\xc3\x9f\x65 \xe2\x82\xac \xf0\x9f\x98\x80", 16,
         "gr\xc3\xb6\xc3\x9f\x65 \xe2\x82\xac \xf0\x9f\x98\x80", true},
        {"\xc2\x9b\x33\x31m", 5, "\\xc2\\x9b31m", true},        // CSI as one character
        {"\xe2\x80\xae\x61", 4, "\\xe2\\x80\\xae\x61", true},   // writes leftwards from here
        {"\xef\xbb\xbfx", 4, "\\xef\\xbb\\xbfx", true},         // a byte-order mark
        {"\xc0\x80", 2, "\\xc0\\x80", false},                   // NUL, overlong
        {"\xed\xa0\x80", 3, "\\xed\\xa0\\x80", false},          // half of a pair
        {"\xf4\x90\x80\x80", 4, "\\xf4\\x90\\x80\\x80", false}, // past the last character
        {"\xe2\x82", 2, "\\xe2\\x82", false},                   // cut off
        {"\xff\x41", 2, "\\xff\x41", false},
    };
    char out[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(text_escape(out, sizeof out, cases[i].from, cases[i].n), strlen(cases[i].to));
        assert_string_equal(out, cases[i].to);
        assert_int_equal(utf8_valid(cases[i].from, cases[i].n), cases[i].valid);
    }
    assert_int_equal(text_escape(out, 8, "ab\x1b\x1b", 4), 6); // whole escapes only
    assert_string_equal(out, "ab\\x1b");
    assert_string_equal(printable("plain"), "plain");
    const char *first = printable("\x1b");
    assert_string_equal(printable("\n"), "\\x0a");
    assert_string_equal(first, "\\x1b");
}

static void test_xml(void **state) {
    (void)state;
    struct str s = STR_INIT;
    str_add_xml(&s, "a<b> & \"\x01\xff\" \xc2\xb1");
    assert_string_equal(s.s, "a&lt;b&gt; &amp; \"\\x01\\xff\" \xc2\xb1");
    str_release(&s);
}

static void test_budget(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes; // 0: refused
    } cases[] = {{"1", 1},
                 {"1048576", 1048576},
                 {"3K", 3072},
                 {"1.5M", 1572864},
                 {"2G", UINT64_C(1) << 31},
                 {"1T", UINT64_C(1) << 40},
                 {"", 0},
                 {"0", 0},
                 {"G", 0},
                 {"-1", 0},
                 {"1k", 0},
                 {"inf", 0},
                 {"9e30G", 0},
                 {"1 G", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t b = 0;
        assert_int_equal(budget_parse(cases[i].text, &b), cases[i].bytes != 0);
        assert_true(b == cases[i].bytes);
    }
    uint64_t before = budget_bytes();
    assert_true(before > 1 << 20 && budget_allows(1 << 20) && !budget_allows(UINT64_MAX));
    assert_non_null(strstr(budget_why(), "there are"));
    budget_set(2u << 20);
    assert_true(budget_allows(2u << 20) && !budget_allows((2u << 20) + 1));
    assert_non_null(strstr(budget_why(), "more than the 2.0 MiB that --max-memory allows"));
    budget_set(before);
}

// --- arenas ---------------------------------------------------------------------------------------------------------

// Every request is aligned, zeroed and apart from all others, across blocks and for requests larger than one.
static void test_arena(void **state) {
    (void)state;
    struct arena a;
    arena_init(&a);
    enum { COUNT = 3000 };
    static unsigned char *p[COUNT];
    static size_t n[COUNT];
    uint32_t r = 1;
    for (int i = 0; i < COUNT; i++) {
        r = r * 1664525 + 1013904223;
        n[i] = i % 500 == 7 ? 300000 + r % 1000 : (r >> 16) % 700;
        p[i] = arena_alloc(&a, n[i]);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % (n[i] >= 64 ? 64 : 16), 0);
        for (size_t k = 0; k < n[i]; k++) assert_int_equal(p[i][k], 0);
        if (n[i]) memset(p[i], i & 255, n[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        for (size_t k = 0; k < n[i]; k++) assert_int_equal(p[i][k], i & 255);
    }
    arena_release(&a);
    assert_non_null(arena_alloc(&a, 1)); // usable again
    arena_release(&a);
}

static void test_arena_helpers(void **state) {
    (void)state;
    struct arena a;
    arena_init(&a);
    assert_null(arena_strdup(&a, NULL));
    assert_string_equal(arena_printf(&a, "%d-%s", 7, "x"), "7-x");
    int *v = NULL;
    size_t count = 0, cap = 0;
    for (int i = 0; i < 1000; i++) *ARENA_PUSH(&a, v, count, cap) = i;
    assert_int_equal(count, 1000);
    for (int i = 0; i < 1000; i++) assert_int_equal(v[i], i);
    v = arena_grow(&a, v, 100000, &cap, sizeof *v); // far past the end: old elements stay, new ones are zero
    assert_true(cap > 100000);
    assert_int_equal(v[999], 999);
    assert_int_equal(v[100000], 0);
    arena_release(&a);
}

// --- strings and numbers --------------------------------------------------------------------------------------------

static void test_str(void **state) {
    (void)state;
    struct str s = STR_INIT;
    for (int i = 0; i < 100; i++) str_addf(&s, "%d,", i);
    str_addn(&s, "abc", 2);
    assert_int_equal(s.len, 10 * 2 + 90 * 3 + 2);
    assert_string_equal(s.s + s.len - 5, "99,ab");
    str_clear(&s);
    assert_string_equal(s.s, "");
    str_addn(&s, NULL, 0);
    str_add(&s, "x");
    assert_string_equal(s.s, "x");
    str_release(&s);
    assert_null(s.s);
    assert_true(str_has_prefix("model.onnx", "model") && !str_has_prefix("mod", "model"));
    assert_true(str_has_suffix("model.onnx", ".onnx") && !str_has_suffix("nnx", ".onnx"));
    assert_true(fnv1a(FNV_INIT, "", 0) == FNV_INIT);
    assert_true(fnv1a(FNV_INIT, "a", 1) == UINT64_C(0xaf63dc4c8601ec8c)); // published value
    assert_true(fnv1a(fnv1a(FNV_INIT, "foo", 3), "bar", 3) == UINT64_C(0x85944171f73967e8));
}

// Any bit changed, any length: another sum.
static void test_checksum(void **state) {
    (void)state;
    unsigned char b[100] = {0};
    uint64_t seen[101];
    for (size_t n = 0; n <= sizeof b; n++) {
        seen[n] = checksum64(b, n);
        for (size_t i = 0; i < n; i++) assert_true(seen[i] != seen[n]);
    }
    for (size_t bit = 0; bit < 8 * sizeof b; bit++) {
        b[bit / 8] ^= (unsigned char)(1 << bit % 8);
        assert_true(checksum64(b, sizeof b) != seen[sizeof b]);
        b[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    assert_true(checksum64(b, sizeof b) == seen[sizeof b]);
}

static void test_numbers(void **state) {
    (void)state;
    static const char *const bad_int[] = {"", " 1", "1 ", "0x10", "1.0", "9223372036854775808", "-", "one", "1e3"};
    static const char *const bad_float[] = {"", " 1", "1 ", "nan", "-nan", "1e999", "--1", "1,5", "f"};
    int64_t i = 42;
    double f = 42;
    for (size_t k = 0; k < sizeof bad_int / sizeof *bad_int; k++) assert_false(parse_i64(bad_int[k], &i));
    for (size_t k = 0; k < sizeof bad_float / sizeof *bad_float; k++) assert_false(parse_f64(bad_float[k], &f));
    assert_false(parse_i64(NULL, &i) || parse_f64(NULL, &f));
    assert_true(i == 42 && f == 42); // untouched by failures
    assert_true(parse_i64("-9223372036854775808", &i) && i == INT64_MIN);
    assert_true(parse_i64("+7", &i) && i == 7);
    assert_true(parse_f64("-1.5e-3", &f) && f == -1.5e-3);
    assert_true(parse_f64(".5", &f) && f == 0.5);
    assert_true(parse_f64("-inf", &f) && isinf(f) && f < 0);
    assert_true(parse_f64("1e-320", &f) && f > 0); // subnormal: small, not an error
}

// --- diagnostics ----------------------------------------------------------------------------------------------------

static char said[512];
static void keep(void *env, enum diag_severity sev, const char *line) {
    *(enum diag_severity *)env = sev;
    snprintf(said, sizeof said, "%s", line);
}

static void test_diag(void **state) {
    (void)state;
    enum diag_severity last = DIAG_NOTE;
    struct diag d = {.file = "m.onnx", .sink = keep, .env = &last};
    struct diag_loc loc = {.node = "/conv1", .op = "Conv", .note = "gradient of"};
    diag_error(&d, &loc, "pads = %d", 3);
    assert_string_equal(said, "error: m.onnx: gradient of node \"/conv1\" (Conv): pads = 3");
    assert_int_equal(last, DIAG_ERROR);
    diag_warning(&d, &(struct diag_loc){.op = "Conv"}, "slow");
    assert_string_equal(said, "warning: m.onnx: Conv: slow");
    d.file = NULL;
    diag_note(&d, NULL, "a name\nof two lines\x1b[0m");
    assert_string_equal(said, "note: a name\\x0aof two lines\\x1b[0m"); // one message is one line, without escapes
    assert_int_equal(d.errors, 1);
    assert_int_equal(d.warnings, 1);
    for (int s = SMKD_OK; s <= SMKD_MISMATCH; s++) assert_true(strlen(smkd_status_text((enum smkd_status)s)) > 0);
    assert_string_equal(smkd_status_text((enum smkd_status)99), "unknown status");
}

// --- files ----------------------------------------------------------------------------------------------------------

static char dir[] = "/tmp/smkd-base-XXXXXX";
static const char *in_dir(const char *name) {
    static char path[4][256];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static int entries(void) {
    DIR *d = opendir(dir);
    assert_non_null(d);
    int n = 0;
    while (readdir(d)) n++;
    closedir(d);
    return n - 2;
}

static void assert_content(const char *path, const char *want) {
    const void *data;
    size_t size;
    assert_int_equal(io_map(path, &data, &size), SMKD_OK);
    assert_int_equal(size, strlen(want));
    assert_memory_equal(data, want, size);
    io_unmap(data, size);
}

static void test_files(void **state) {
    (void)state;
    assert_non_null(mkdtemp(dir));
    const char *path = in_dir("f");
    assert_int_equal(io_write_file(path, "old", 3), SMKD_OK);
    struct io_writer w;
    assert_int_equal(io_writer_open(&w, path), SMKD_OK);
    fputs("newer", w.f);
    fflush(w.f);
    assert_content(path, "old"); // nothing is seen before the commit
    assert_int_equal(entries(), 2);
    io_writer_abort(&w);
    assert_content(path, "old");
    assert_int_equal(entries(), 1);
    assert_int_equal(io_writer_open(&w, path), SMKD_OK);
    fputs("newer", w.f);
    assert_int_equal(io_writer_commit(&w), SMKD_OK);
    assert_content(path, "newer");
    assert_int_equal(entries(), 1);
    assert_int_equal(io_write_file(path, NULL, 0), SMKD_OK);
    assert_content(path, "");
    assert_int_equal(remove(path), 0);
}

static void test_file_failures(void **state) {
    (void)state;
    const void *data;
    size_t size;
    errno = 0;
    assert_int_equal(io_map(in_dir("absent"), &data, &size), SMKD_IO);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(io_map(dir, &data, &size), SMKD_INVALID);
    assert_int_equal(io_map("/dev/null", &data, &size), SMKD_INVALID);
    assert_int_equal(io_write_file(in_dir("absent/f"), "x", 1), SMKD_IO);
    assert_int_equal(errno, ENOENT);
    // A target that is a folder: rename fails, the temporary file goes, errno tells.
    assert_int_equal(io_make_dirs(in_dir("a/b/c")), SMKD_OK);
    assert_int_equal(io_make_dirs(in_dir("a/b/c/")), SMKD_OK);
    assert_int_equal(io_write_file(in_dir("a"), "x", 1), SMKD_IO);
    assert_int_equal(errno, EISDIR);
    assert_int_equal(entries(), 1);
    assert_int_equal(io_write_file(in_dir("f"), "x", 1), SMKD_OK);
    assert_int_equal(io_make_dirs(in_dir("f/d")), SMKD_IO);
    if (access("/dev/full", W_OK) == 0) { // a full disk: the error comes out of commit
        struct io_writer w;
        assert_int_equal(io_writer_open(&w, in_dir("full")), SMKD_OK);
        assert_non_null(freopen("/dev/full", "wb", w.f));
        fputs("x", w.f);
        assert_int_equal(io_writer_commit(&w), SMKD_IO);
        assert_int_equal(errno, ENOSPC);
        assert_int_equal(entries(), 2);
        // A device is written to; a rename would put a file in its place, which root is allowed to do.
        struct stat st;
        assert_int_equal(io_write_file("/dev/full", "x", 1), SMKD_IO);
        assert_int_equal(errno, ENOSPC);
        assert_int_equal(io_write_file("/dev/null", "x", 1), SMKD_OK);
        assert_true(stat("/dev/null", &st) == 0 && S_ISCHR(st.st_mode));
    }
    remove(in_dir("f"));
    rmdir(in_dir("a/b/c"));
    rmdir(in_dir("a/b"));
    rmdir(in_dir("a"));
    assert_int_equal(rmdir(dir), 0);
}

// What is no regular file is refused at once, in words; a FIFO would be waited for.
static void test_odd_files(void **state) {
    (void)state;
    strcpy(dir, "/tmp/smkd_test_XXXXXX");
    assert_non_null(mkdtemp(dir));
    const void *data;
    size_t size;
    int fd;
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    assert_int_equal(io_map(in_dir("fifo"), &data, &size), SMKD_INVALID);
    assert_non_null(strstr(io_why(), "a FIFO, not a regular file"));
    assert_int_equal(io_open("/dev/null", &fd, &size), SMKD_INVALID);
    assert_non_null(strstr(io_why(), "a device, not a regular file"));
    assert_int_equal(io_open(dir, &fd, &size), SMKD_INVALID);
    assert_non_null(strstr(io_why(), "a folder, not a file"));
    assert_int_equal(io_open(in_dir("absent"), &fd, &size), SMKD_IO);
    assert_string_equal(io_why(), strerror(ENOENT));
    assert_int_equal(io_write_file(in_dir("f"), "12345", 5), SMKD_OK);
    assert_int_equal(io_map(in_dir("f"), &data, &size), SMKD_OK);
    assert_string_equal(io_mapped_at((const char *)data + 4), in_dir("f"));
    assert_null(io_mapped_at((const char *)data + 5));
    io_unmap(data, size);
    assert_null(io_mapped_at(data));
    unlink(in_dir("f"));
    unlink(in_dir("fifo"));
    assert_int_equal(rmdir(dir), 0);
}

// What a program that ends early leaves behind: nothing that was registered, everything that was dropped in time.
static void test_cleanup(void **state) {
    (void)state;
    strcpy(dir, "/tmp/smkd_test_XXXXXX");
    assert_non_null(mkdtemp(dir));
    struct io_temp t;
    setenv("TMPDIR", dir, 1);
    assert_int_equal(io_temp_make(&t), SMKD_OK);
    unsetenv("TMPDIR");
    char inside[IO_PATH + 64];
    for (int i = 0; i < 300; i++) { // more than one listing of the folder holds
        snprintf(inside, sizeof inside, "%s/a file with a rather long name, number %d", t.path, i);
        assert_int_equal(io_write_file(inside, "x", 1), SMKD_OK);
    }
    struct io_writer w;
    assert_int_equal(io_writer_open(&w, in_dir("half")), SMKD_OK);
    assert_int_equal(io_write_file(in_dir("whole"), "x", 1), SMKD_OK);
    int kept = cleanup_add(in_dir("whole"));
    cleanup_drop(kept);
    assert_int_equal(entries(), 3);
    cleanup_now();
    assert_int_equal(entries(), 1);
    assert_content(in_dir("whole"), "x");
    io_temp_remove(&t); // nothing is left to remove
    io_writer_abort(&w);
    unlink(in_dir("whole"));
    assert_int_equal(rmdir(dir), 0);
}

static void two_allocations(void *env) {
    *(int *)env = 1;
    free(xmalloc(16));
    *(int *)env = 2;
    arena_array(&(struct arena){0}, SIZE_MAX / 2, 16); // more than there can be
    *(int *)env = 3;
}
static void inner_fence(void *env) {
    assert_false(fenced(two_allocations, env));
    two_allocations(env);
}

// In a C program, which has no handler: back at the fence, and at the outer one when the inner one is gone.
static void test_fence(void **state) {
    (void)state;
    int at = 0;
    assert_false(fenced(two_allocations, &at));
    assert_int_equal(at, 2);
    at = 0;
    assert_false(fenced(inner_fence, &at));
    assert_int_equal(at, 2);
}

// Folders made for now: undone, or gone at an early end, while nothing is in them.
static void test_folders_for_now(void **state) {
    (void)state;
    strcpy(dir, "/tmp/smkd_test_XXXXXX");
    assert_non_null(mkdtemp(dir));
    struct io_made made;
    assert_int_equal(io_make_dirs_for_now(in_dir("a/b"), &made), SMKD_OK);
    assert_int_equal(made.n, 2);
    io_made_undo(&made);
    assert_int_equal(entries(), 0);
    assert_int_equal(io_make_dirs_for_now(in_dir("a/b/c"), &made), SMKD_OK);
    int file = cleanup_add(in_dir("a/b/half"));
    assert_int_equal(io_write_file(in_dir("a/b/half"), "x", 1), SMKD_OK);
    cleanup_now(); // the file first, so that its folder is empty then
    assert_int_equal(entries(), 0);
    cleanup_drop(file);
    io_made_keep(&made);

    assert_int_equal(io_make_dirs_for_now(in_dir("a/b"), &made), SMKD_OK);
    assert_int_equal(io_write_file(in_dir("a/f"), "x", 1), SMKD_OK);
    cleanup_now();
    assert_int_equal(access(in_dir("a/b"), F_OK), -1);
    assert_content(in_dir("a/f"), "x"); // somebody else's
    unlink(in_dir("a/f"));
    assert_int_equal(io_make_dirs_for_now(in_dir("a/kept"), &made), SMKD_OK);
    io_made_keep(&made);
    cleanup_now();
    assert_int_equal(rmdir(in_dir("a/kept")), 0);
    assert_int_equal(rmdir(in_dir("a")), 0);
    // A file in the way: nothing stays.
    assert_int_equal(io_write_file(in_dir("f"), "x", 1), SMKD_OK);
    assert_int_equal(io_make_dirs_for_now(in_dir("f/x"), &made), SMKD_IO);
    assert_int_equal(made.n, 0);
    unlink(in_dir("f"));
    assert_int_equal(rmdir(dir), 0);
}

static void test_cpuinfo(void **state) {
    (void)state;
    char room[CPUINFO_ROOM];
    assert_string_equal(cpuinfo("no such key", room), "");
    assert_string_equal(cpuinfo("proc", room), ""); // not "processor"
    if (access("/proc/cpuinfo", R_OK) == 0) assert_string_equal(cpuinfo("processor", room), "0");
}

static void test_process(void **state) {
    (void)state;
    char line[200];
    assert_int_equal(
        process_run((const char *const[]){"sh", "-c", "echo one >&2; echo two >&2; exit 3", NULL}, line, sizeof line),
        3);
    assert_string_equal(line, "one");
    assert_int_equal(
        process_run((const char *const[]){"sh", "-c", "echo last words >&2; kill -9 $$", NULL}, line, sizeof line),
        PROCESS_STOPPED);
    assert_string_equal(line, "sh was stopped by signal 9; most likely it was out of memory");
    assert_int_equal(process_run((const char *const[]){"/no/such/program", NULL}, line, sizeof line),
                     PROCESS_NOT_STARTED);
    assert_int_equal(errno, ENOENT);
}

static void test_processes(void **state) {
    (void)state;
    static volatile pid_t slot[3];
    int fd[2], status, by, seen = 0;
    assert_int_equal(pipe(fd), 0);
    static const char *const argv[][4] = {
        {"/bin/sh", "-c", "echo out; echo err >&2; cat; exit 3", NULL}, // nothing to read
        {"/bin/sh", "-c", "kill -9 $$", NULL},
        {"/no/such/program", NULL, NULL, NULL}};
    for (int i = 0; i < 3; i++) assert_true(process_start(argv[i], fd[1], &slot[i]));
    for (pid_t pid; (pid = process_wait(&status, &by)) != 0; seen++) {
        assert_int_equal(by, pid == slot[1] ? 9 : 0);
        assert_int_equal(status, pid == slot[0] ? 3 : pid == slot[1] ? PROCESS_STOPPED : 127);
    }
    assert_int_equal(seen, 3);
    char text[16] = "";
    assert_int_equal(read(fd[0], text, sizeof text - 1), 8);
    assert_string_equal(text, "out\nerr\n");
    close(fd[0]);
    close(fd[1]);
}

// What was started ends with whoever started it, killed as it may be.
static void test_process_orphan(void **state) {
    (void)state;
    int fd[2];
    char c;
    assert_int_equal(pipe(fd), 0);
    const pid_t parent = fork();
    if (parent == 0) {
        volatile pid_t slot;
        process_start((const char *const[]){"/bin/sh", "-c", "echo; exec sleep 600", NULL}, fd[1], &slot);
        for (;;) pause();
    }
    close(fd[1]);
    assert_int_equal(read(fd[0], &c, 1), 1); // the sleeper is there
    kill(parent, SIGKILL);
    waitpid(parent, NULL, 0);
    assert_int_equal(read(fd[0], &c, 1), 0); // and nobody has the other end any more
    close(fd[0]);
}

static void no_more(size_t bytes) {
    printf("out of memory: %zu bytes while %s\n", bytes, doing_what());
    fflush(stdout);
    _exit(1);
}

static void test_out_of_memory(void **state) {
    (void)state;
    fflush(stdout);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        out_of_memory_handler = no_more;
        doing("testing");
        struct arena a;
        arena_init(&a);
        arena_array(&a, SIZE_MAX / 2, 16);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

// --- checked arithmetic --------------------------------------------------------------------------------------------

static void test_checked(void **state) {
    (void)state;
    int64_t r;
    assert_true(checked_add(INT64_MAX - 1, 1, &r) && r == INT64_MAX);
    assert_false(checked_add(INT64_MAX, 1, &r));
    assert_false(checked_sub(INT64_MIN, 1, &r));
    assert_true(checked_mul(INT64_C(1) << 31, INT64_C(1) << 31, &r) && r == INT64_C(1) << 62);
    assert_false(checked_mul(INT64_C(1) << 32, INT64_C(1) << 31, &r));
    assert_true(checked_neg(INT64_MAX, &r) && r == -INT64_MAX);
    assert_false(checked_neg(INT64_MIN, &r));

    assert_true(checked_div(-7, 2, &r) && r == -3);
    assert_true(checked_rem(-7, 2, &r) && r == -1);
    assert_false(checked_div(1, 0, &r) || checked_rem(1, 0, &r));
    assert_false(checked_div(INT64_MIN, -1, &r));
    assert_true(checked_rem(INT64_MIN, -1, &r) && r == 0);

    assert_true(checked_product(NULL, 0, &r) && r == 1);
    assert_true(checked_product((int64_t[]){3, 5, 7}, 3, &r) && r == 105);
    assert_true(checked_product((int64_t[]){INT64_MAX, INT64_MAX, 0}, 3, &r) && r == 0); // 0 behind what overflows
    assert_false(checked_product((int64_t[]){INT64_MAX, 2}, 2, &r));
    assert_false(checked_product((int64_t[]){0, -1}, 2, &r));

    assert_true(checked_i64(-2.9, &r) && r == -2);
    assert_true(checked_i64(-0x1p63, &r) && r == INT64_MIN);
    assert_true(checked_i64(0x1.fffffffffffffp62, &r) && r == INT64_MAX - 1023);
    const double bad[] = {0x1p63, -0x1.0000000000001p63, 1e300, INFINITY, -INFINITY, NAN};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(checked_i64(bad[i], &r));
    assert_true(checked_whole(-3, &r) && r == -3);
    assert_false(checked_whole(0.5, &r) || checked_whole(NAN, &r));
}

static void test_glob(void **state) {
    (void)state;
    assert_true(glob_matches("layer1.*", "layer1.0.conv1.weight"));
    assert_true(glob_matches("*.bn?.*", "layer1.0.bn2.bias"));
    assert_false(glob_matches("layer1", "layer1.0"));
    assert_true(glob_matches("a[0]", "a[0]") && glob_matches("a[0]", "a0")); // a name may look like a pattern
    const char *const globs[] = {"*", "!head.*", "head.bias"};
    assert_true(glob_chosen(globs, 3, "stem.weight") && glob_chosen(globs, 3, "head.bias"));
    assert_false(glob_chosen(globs, 3, "head.weight") || glob_chosen(globs, 0, "stem.weight"));
    const char *const names[] = {"stem.weight", "layer1.bias", "layer1.weight", "fc.weight"};
    struct str s = STR_INIT;
    glob_near(&s, "layer1.gamma", names, 4);
    assert_string_equal(s.s, "\"layer1.bias\", \"layer1.weight\", \"stem.weight\"");
    str_clear(&s);
    glob_near(&s, "x", names, 0);
    assert_int_equal(s.len, 0);
    str_release(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena),           cmocka_unit_test(test_arena_helpers), cmocka_unit_test(test_str),
        cmocka_unit_test(test_checksum),        cmocka_unit_test(test_numbers),       cmocka_unit_test(test_diag),
        cmocka_unit_test(test_files),           cmocka_unit_test(test_file_failures), cmocka_unit_test(test_odd_files),
        cmocka_unit_test(test_cleanup),         cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_checked),
        cmocka_unit_test(test_escape),          cmocka_unit_test(test_xml),           cmocka_unit_test(test_budget),
        cmocka_unit_test(test_folders_for_now), cmocka_unit_test(test_fence),         cmocka_unit_test(test_cpuinfo),
        cmocka_unit_test(test_process),         cmocka_unit_test(test_glob),          cmocka_unit_test(test_processes),
        cmocka_unit_test(test_process_orphan),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
