// LD_PRELOAD: one allocation of a program fails. FAIL_PROGRAM is its short name (children are left alone), FAIL_AT the
// number of the allocation, from 0 (-1: none); FAIL_ON=1: all later ones fail, too. FAIL_COUNT: a file for how many there
// were, written at the end.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);

static atomic_long count;
static long fail_at = -1;
static int on, stays;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("FAIL_PROGRAM"), *at = getenv("FAIL_AT");
    if (!name || !at || strcmp(program_invocation_short_name, name) != 0) return;
    fail_at = atol(at);
    stays = getenv("FAIL_ON") != NULL;
    on = 1;
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("FAIL_COUNT");
    if (!on || !path) return;
    on = 0;
    char text[32];
    int n = snprintf(text, sizeof text, "%ld", atomic_load(&count)), fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd >= 0 && write(fd, text, (size_t)n) < 0) perror(path);
    if (fd >= 0) close(fd);
}

static int fails(void) {
    if (!on) return 0;
    long k = atomic_fetch_add(&count, 1);
    if (fail_at < 0 || (stays ? k < fail_at : k != fail_at)) return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t n) { return fails() ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return fails() ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return fails() ? NULL : __libc_realloc(p, n); }
void *aligned_alloc(size_t align, size_t n) { return fails() ? NULL : __libc_memalign(align, n); }
void *memalign(size_t align, size_t n) { return fails() ? NULL : __libc_memalign(align, n); }
int posix_memalign(void **p, size_t align, size_t n) {
    if (fails()) return ENOMEM;
    *p = __libc_memalign(align, n);
    return *p ? 0 : ENOMEM;
}
