#define _DEFAULT_SOURCE // flock
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static long read_holder(int fd) {
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    return n > 0 ? strtol(text, NULL, 10) : 0;
}

static void write_holder(int fd) {
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    // For a message only: without it the lock holds all the same.
    if (ftruncate(fd, 0) || pwrite(fd, text, (size_t)n, 0) != n) return;
}

static enum smkd_status take(struct lock *l, const char *path, int how, long *holder) {
    struct stat st;
    *l = (struct lock){0};
    l->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW, 0666);
    if (l->fd < 0) return SMKD_IO;
    int e = 0;
    if (fstat(l->fd, &st) || !S_ISREG(st.st_mode)) e = EINVAL;
    while (!e && flock(l->fd, how) != 0) {
        if (errno == EINTR) continue;
        if (errno == ENOLCK || errno == EOPNOTSUPP || errno == ENOSYS) break; // no locks here
        e = errno;
    }
    l->held = !e;
    if (l->held) {
        write_holder(l->fd);
        return SMKD_OK;
    }
    if (holder) *holder = e == EWOULDBLOCK ? read_holder(l->fd) : 0;
    close(l->fd);
    errno = e;
    return e == EWOULDBLOCK ? SMKD_MISMATCH : SMKD_IO;
}

enum smkd_status lock_take(struct lock *l, const char *path, long *holder) {
    *holder = 0;
    return take(l, path, LOCK_EX | LOCK_NB, holder);
}

enum smkd_status lock_wait(struct lock *l, const char *path) { return take(l, path, LOCK_EX, NULL); }

void lock_drop(struct lock *l) {
    if (l->held) close(l->fd);
    *l = (struct lock){0};
}
