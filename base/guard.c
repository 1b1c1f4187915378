#define _DEFAULT_SOURCE // syscall: readdir allocates
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char activity[512] = "starting";

void doing(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(activity, sizeof activity, fmt, ap);
    va_end(ap);
}

const char *doing_what(void) { return activity; }

// --- temporary files -------------------------------------------------------------------------------------------------

enum { SLOTS = 64, FREE = 0, FILLING, USED };
static struct {
    atomic_int state;
    bool only_empty;
    char path[1024];
} slots[SLOTS];

static int add(const char *path, bool only_empty) {
    size_t n = strlen(path) + 1;
    if (n > sizeof slots->path) return -1;
    for (int i = 0; i < SLOTS; i++) {
        int expected = FREE;
        if (!atomic_compare_exchange_strong(&slots[i].state, &expected, FILLING)) continue;
        memcpy(slots[i].path, path, n);
        slots[i].only_empty = only_empty;
        atomic_store(&slots[i].state, USED);
        return i;
    }
    return -1;
}

int cleanup_add(const char *path) { return add(path, false); }
int cleanup_add_empty(const char *path) { return add(path, true); }

void cleanup_drop(int handle) {
    if (handle >= 0) atomic_store(&slots[handle].state, FREE);
}

// getdents64's record, which the C library has no struct for.
struct entry {
    uint64_t ino;
    int64_t off;
    unsigned short len;
    unsigned char type;
    char name[];
};

static void remove_folder(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return;
    _Alignas(struct entry) char room[4096];
    long n;
    // Removing what was listed changes what comes next, and other threads may still be writing: again until it is gone.
    for (int tries = 0; tries < 1000; tries++) {
        if (lseek(fd, 0, SEEK_SET) < 0) break;
        while ((n = syscall(SYS_getdents64, fd, room, sizeof room)) > 0)
            for (long at = 0; at < n;) {
                struct entry *e = (struct entry *)(room + at);
                unlinkat(fd, e->name, 0);
                at += e->len;
            }
        if (rmdir(path) == 0 || errno != ENOTEMPTY) break;
    }
    close(fd);
}

void cleanup_one(int handle) {
    int keep = errno, expected = USED;
    if (!atomic_compare_exchange_strong(&slots[handle].state, &expected, FILLING)) return;
    if (slots[handle].only_empty)
        rmdir(slots[handle].path);
    else if (unlink(slots[handle].path) && (errno == EISDIR || errno == EPERM))
        remove_folder(slots[handle].path);
    atomic_store(&slots[handle].state, FREE);
    errno = keep;
}

// Files first, then what may be empty without them, the inner folder (which was added later) before the outer one.
void cleanup_now(void) {
    for (int i = 0; i < SLOTS; i++)
        if (!slots[i].only_empty) cleanup_one(i);
    for (int i = SLOTS - 1; i >= 0; i--) cleanup_one(i);
}

// --- memory ----------------------------------------------------------------------------------------------------------

void (*out_of_memory_handler)(size_t bytes);

static _Thread_local jmp_buf *fence;

bool fenced(void (*work)(void *env), void *env) {
    jmp_buf here;
    jmp_buf *outer = fence; // not changed after setjmp
    if (setjmp(here)) {
        fence = outer;
        return false;
    }
    fence = &here;
    work(env);
    fence = outer;
    return true;
}

_Noreturn void out_of_memory(size_t bytes) {
    if (out_of_memory_handler) out_of_memory_handler(bytes);
    if (fence) longjmp(*fence, 1);
    fprintf(stderr, "smkd: out of memory (%zu bytes) while %s\n", bytes, doing_what());
    abort();
}

void end_if_no_memory(int error) {
    if (error == ENOMEM && out_of_memory_handler) out_of_memory(0);
}
