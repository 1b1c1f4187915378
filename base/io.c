#define _POSIX_C_SOURCE 200809L
#include "io.h"

#include "arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum smkd_status io_map(const char *path, const void **data, size_t *size) {
    *data = NULL;
    *size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return SMKD_IO;
    struct stat st;
    if (fstat(fd, &st) < 0) goto fail;
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
        return SMKD_INVALID;
    }
    if (st.st_size == 0) {
        close(fd);
        *data = "";
        return SMKD_OK;
    }
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) goto fail;
    close(fd);
    *data = p;
    *size = (size_t)st.st_size;
    return SMKD_OK;
fail:;
    int e = errno;
    close(fd);
    errno = e;
    return SMKD_IO;
}

void io_unmap(const void *data, size_t size) {
    if (size) munmap((void *)data, size);
}

enum smkd_status io_writer_open(struct io_writer *w, const char *path) {
    *w = (struct io_writer){0};
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        w->f = fopen(path, "wb"); // EISDIR for a folder
        return w->f ? SMKD_OK : SMKD_IO;
    }
    size_t n = strlen(path);
    w->path = xmalloc(n + 1);
    memcpy(w->path, path, n + 1);
    w->tmp = xmalloc(n + 12);
    memcpy(w->tmp, path, n);
    memcpy(w->tmp + n, ".tmpXXXXXX", 11);
    int fd = mkstemp(w->tmp);
    if (fd >= 0) {
        mode_t mask = umask(0);
        umask(mask);
        fchmod(fd, 0666 & ~mask);
        w->f = fdopen(fd, "wb");
        if (w->f) return SMKD_OK;
        int e = errno;
        close(fd);
        unlink(w->tmp);
        errno = e;
    }
    int e = errno;
    free(w->path);
    free(w->tmp);
    *w = (struct io_writer){0};
    errno = e;
    return SMKD_IO;
}

enum smkd_status io_writer_commit(struct io_writer *w) {
    int e = 0;
    if (ferror(w->f)) e = errno ? errno : EIO;
    if (!e && fflush(w->f)) e = errno;
    if (!e && w->tmp && fsync(fileno(w->f))) e = errno;
    if (fclose(w->f) && !e) e = errno;
    w->f = NULL;
    if (!e && w->tmp && rename(w->tmp, w->path)) e = errno;
    if (e) {
        io_writer_abort(w);
        errno = e;
        return SMKD_IO;
    }
    free(w->path);
    free(w->tmp);
    *w = (struct io_writer){0};
    return SMKD_OK;
}

void io_writer_abort(struct io_writer *w) {
    int e = errno;
    if (w->f) fclose(w->f);
    if (w->tmp) unlink(w->tmp);
    free(w->path);
    free(w->tmp);
    *w = (struct io_writer){0};
    errno = e;
}

enum smkd_status io_write_file(const char *path, const void *data, size_t size) {
    struct io_writer w;
    TRY(io_writer_open(&w, path));
    if (size && fwrite(data, 1, size, w.f) != size) {
        io_writer_abort(&w);
        return SMKD_IO;
    }
    return io_writer_commit(&w);
}

enum smkd_status io_make_dirs(const char *path) {
    size_t n = strlen(path);
    char *p = xmalloc(n + 1);
    memcpy(p, path, n + 1);
    enum smkd_status s = SMKD_OK;
    for (size_t i = 1; i <= n && s == SMKD_OK; i++)
        if (p[i] == '/' || p[i] == 0) {
            char c = p[i];
            p[i] = 0;
            if (mkdir(p, 0777) && errno != EEXIST) s = SMKD_IO;
            p[i] = c;
        }
    struct stat st;
    if (s == SMKD_OK && (stat(path, &st) || !S_ISDIR(st.st_mode))) {
        errno = ENOTDIR;
        s = SMKD_IO;
    }
    int e = errno;
    free(p);
    errno = e;
    return s;
}
