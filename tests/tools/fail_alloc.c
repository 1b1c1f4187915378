// LD_PRELOAD: one allocation of a program fails: of the C library's functions, or a mapping of memory or of a file.
// FAIL_PROGRAM is its short name (children are left alone), FAIL_AT the number of the allocation, from 0 (-1: none);
// FAIL_ON=1: all later ones fail, too. FAIL_COUNT: a file for what there was, written at the end: the number of
// allocations, then the number of the first one at each place, a place being FAIL_DEPTH (16) return addresses.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);

enum { MAX_DEPTH = 64, TABLE = 1 << 18 };
static atomic_long count;
static long fail_at = -1;
static int on, stays, depth;
static _Thread_local int inside; // whether it is us who allocate: backtrace does, the first time
static void *(*real_mmap)(void *, size_t, int, int, int, off_t);
// Places by hash, and the allocation that was the first there.
static _Atomic uint64_t seen[TABLE];
static long first[TABLE];

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("FAIL_PROGRAM"), *at = getenv("FAIL_AT"), *deep = getenv("FAIL_DEPTH");
    if (!name || !at || strcmp(program_invocation_short_name, name) != 0) return;
    fail_at = atol(at);
    stays = getenv("FAIL_ON") != NULL;
    depth = getenv("FAIL_COUNT") ? (deep ? atoi(deep) : 16) : 0;
    if (depth > MAX_DEPTH) depth = MAX_DEPTH;
    void *p[2];
    backtrace(p, 2); // loads what it needs
    on = 1;
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("FAIL_COUNT");
    if (!on || !path) return;
    on = 0;
    FILE *f = fopen(path, "w");
    if (!f) return perror(path);
    fprintf(f, "%ld\n", atomic_load(&count));
    for (size_t i = 0; i < TABLE; i++)
        if (seen[i]) fprintf(f, "%ld\n", first[i]);
    if (fclose(f)) perror(path);
}

static void note_place(long k) {
    void *p[MAX_DEPTH];
    uint64_t h = 14695981039346656037u;
    inside = 1;
    int n = backtrace(p, depth);
    inside = 0;
    for (int i = 2; i < n; i++) h = (h ^ (uintptr_t)p[i]) * 1099511628211u;
    h |= 1;
    for (size_t i = h >> 20, tries = 0; tries < TABLE; i++, tries++) {
        uint64_t free_place = 0;
        if (atomic_compare_exchange_strong(&seen[i % TABLE], &free_place, h)) {
            first[i % TABLE] = k;
            return;
        }
        if (free_place == h) return;
    }
}

static int fails(void) {
    if (!on || inside) return 0;
    long k = atomic_fetch_add(&count, 1);
    if (depth) note_place(k);
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
void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t from) {
    if (!real_mmap) {
        void *p = dlsym(RTLD_NEXT, "mmap");
        memcpy(&real_mmap, &p, sizeof p);
    }
    return fails() ? MAP_FAILED : real_mmap(at, n, prot, flags, fd, from);
}
