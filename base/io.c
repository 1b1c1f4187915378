#include "io.h"

#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// --- reading ---------------------------------------------------------------------------------------------------------

static _Thread_local char why[160];

const char *io_why(void) { return why; }

static enum smkd_status failed(enum smkd_status s, const char *text) {
    int e = errno;
    snprintf(why, sizeof why, "%s", text);
    errno = e;
    return s;
}

// Of a call to the system, by errno.
static enum smkd_status refused(void) {
    end_if_no_memory(errno);
    return errno == ENOMEM ? failed(SMKD_NOMEM, "out of memory") : failed(SMKD_IO, strerror(errno));
}

static const char *kind_of(mode_t m) {
    return S_ISDIR(m)                 ? "it is a folder, not a file"
           : S_ISFIFO(m)              ? "it is a FIFO, not a regular file"
           : S_ISCHR(m) || S_ISBLK(m) ? "it is a device, not a regular file"
           : S_ISSOCK(m)              ? "it is a socket, not a regular file"
                                      : "it is not a regular file";
}

enum smkd_status io_open(const char *path, int *fd, size_t *size) {
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0) return errno == ENXIO ? failed(SMKD_IO, "it is a socket, not a regular file") : refused();
    enum smkd_status s;
    if (fstat(*fd, &st) < 0) {
        s = refused();
    } else if (!S_ISREG(st.st_mode)) {
        errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
        s = failed(SMKD_INVALID, kind_of(st.st_mode));
    } else {
        *size = (size_t)st.st_size;
        return SMKD_OK;
    }
    int e = errno;
    close(*fd);
    *fd = -1;
    errno = e;
    return s;
}

// Mapped files, so that a handler of SIGBUS can name one. What finds no room is mapped all the same.
enum { MAPS = 256, FREE = 0, FILLING, USED };
static struct {
    atomic_int state;
    const char *begin, *end;
    char path[240];
} maps[MAPS];

static void remember(const char *path, const void *p, size_t size) {
    for (int i = 0; i < MAPS; i++) {
        int expected = FREE;
        if (!atomic_compare_exchange_strong(&maps[i].state, &expected, FILLING)) continue;
        maps[i].begin = p;
        maps[i].end = maps[i].begin + size;
        snprintf(maps[i].path, sizeof maps[i].path, "%s", path);
        atomic_store(&maps[i].state, USED);
        return;
    }
}

static void forget(const void *p) {
    for (int i = 0; i < MAPS; i++)
        if (atomic_load(&maps[i].state) == USED && maps[i].begin == (const char *)p) {
            atomic_store(&maps[i].state, FREE);
            return;
        }
}

const char *io_mapped_at(const void *address) {
    const char *p = address;
    for (int i = 0; i < MAPS; i++)
        if (atomic_load(&maps[i].state) == USED && maps[i].begin <= p && p < maps[i].end) return maps[i].path;
    return NULL;
}

enum smkd_status io_map_fd(const char *path, int fd, size_t size, const void **data) {
    void *p = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    *data = NULL;
    if (p == MAP_FAILED) return refused();
    if (p) remember(path, p, size);
    *data = p ? p : "";
    return SMKD_OK;
}

enum smkd_status io_map(const char *path, const void **data, size_t *size) {
    int fd;
    *data = NULL;
    *size = 0;
    TRY(io_open(path, &fd, size));
    enum smkd_status s = io_map_fd(path, fd, *size, data);
    int e = errno;
    close(fd);
    errno = e;
    if (s != SMKD_OK) *size = 0;
    return s;
}

void io_unmap(const void *data, size_t size) {
    if (!size) return;
    forget(data);
    munmap((void *)data, size);
}

// --- writing ---------------------------------------------------------------------------------------------------------

// A rename, or a folder that was made, is on disk once the folder above is. Some file systems cannot do that and say
// EINVAL: they have nothing to flush.
static int sync_folder_of(const char *path) {
    char dir[IO_PATH] = ".";
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) + (slash == path) : 0;
    if (n >= sizeof dir) return ENAMETOOLONG;
    if (n) {
        memcpy(dir, path, n);
        dir[n] = 0;
    }
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), e = 0;
    if (fd < 0) return errno == EACCES ? 0 : errno; // may be written to, not read
    if (fsync(fd) && errno != EINVAL && errno != EROFS) e = errno;
    close(fd);
    return e;
}

static enum smkd_status io_failed(void) {
    end_if_no_memory(errno);
    return errno == ENOMEM ? SMKD_NOMEM : SMKD_IO;
}

enum smkd_status io_rename(const char *from, const char *to) {
    if (rename(from, to)) return io_failed();
    int e = sync_folder_of(to);
    if (!e) return SMKD_OK;
    errno = e;
    return io_failed();
}

static void forget_writer(struct io_writer *w) {
    cleanup_drop(w->guard);
    w->f = NULL;
    w->path[0] = w->tmp[0] = 0;
    w->guard = -1;
}

enum smkd_status io_writer_open(struct io_writer *w, const char *path) {
    static const char ending[] = ".tmpXXXXXX";
    w->guard = -1;
    forget_writer(w);
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        w->f = fopen(path, "wb"); // EISDIR for a folder
        return w->f ? SMKD_OK : io_failed();
    }
    size_t n = strlen(path);
    if (n + sizeof ending > sizeof w->tmp) {
        errno = ENAMETOOLONG;
        return SMKD_IO;
    }
    memcpy(w->path, path, n + 1);
    memcpy(w->tmp, path, n);
    memcpy(w->tmp + n, ending, sizeof ending);
    int fd = mkstemp(w->tmp);
    if (fd >= 0) {
        mode_t mask = umask(0);
        umask(mask);
        fchmod(fd, 0666 & ~mask);
        w->guard = cleanup_add(w->tmp);
        w->f = fdopen(fd, "wb");
        if (w->f) return SMKD_OK;
        int e = errno;
        close(fd);
        unlink(w->tmp);
        errno = e;
    }
    forget_writer(w);
    return io_failed();
}

enum smkd_status io_writer_commit(struct io_writer *w) {
    int e = 0;
    const bool in_place = w->tmp[0];
    if (ferror(w->f)) e = errno ? errno : EIO;
    if (!e && fflush(w->f)) e = errno;
    if (!e && in_place && fsync(fileno(w->f))) e = errno;
    if (fclose(w->f) && !e) e = errno;
    w->f = NULL;
    if (!e && in_place && io_rename(w->tmp, w->path) != SMKD_OK) e = errno;
    if (!e) {
        forget_writer(w);
        return SMKD_OK;
    }
    io_writer_abort(w);
    errno = e;
    return io_failed();
}

void io_writer_abort(struct io_writer *w) {
    int e = errno;
    if (w->f) fclose(w->f);
    if (w->tmp[0]) unlink(w->tmp);
    forget_writer(w);
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

enum smkd_status io_temp_make(struct io_temp *t) {
    const char *tmp = getenv("TMPDIR");
    if (!tmp || !*tmp) tmp = "/tmp";
    t->guard = -1;
    int n = snprintf(t->path, sizeof t->path, "%s/smkdXXXXXX", tmp);
    if (n < 0 || (size_t)n >= sizeof t->path) {
        errno = ENAMETOOLONG;
        return SMKD_IO;
    }
    if (!mkdtemp(t->path)) return io_failed();
    t->guard = cleanup_add(t->path);
    return SMKD_OK;
}

void io_temp_remove(struct io_temp *t) {
    if (t->guard >= 0) cleanup_one(t->guard);
    t->guard = -1;
}

void io_made_keep(struct io_made *made) {
    while (made->n) cleanup_drop(made->guards[--made->n]);
}

void io_made_undo(struct io_made *made) {
    while (made->n) cleanup_one(made->guards[--made->n]);
}

// `made` may be NULL.
static enum smkd_status make_dirs(const char *path, struct io_made *made) {
    char p[IO_PATH];
    size_t n = strlen(path);
    if (n >= sizeof p) {
        errno = ENAMETOOLONG;
        return SMKD_IO;
    }
    memcpy(p, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (p[i] != '/' && p[i] != 0) continue;
        char c = p[i];
        p[i] = 0;
        if (mkdir(p, 0777) == 0) {
            if (made && made->n < (int)(sizeof made->guards / sizeof *made->guards))
                made->guards[made->n++] = cleanup_add_empty(p);
            int e = sync_folder_of(p);
            if (e) {
                errno = e;
                return io_failed();
            }
        } else if (errno != EEXIST) {
            return io_failed();
        }
        p[i] = c;
    }
    struct stat st;
    if (stat(p, &st) == 0 && S_ISDIR(st.st_mode)) return SMKD_OK;
    errno = ENOTDIR;
    return SMKD_IO;
}

enum smkd_status io_make_dirs(const char *path) { return make_dirs(path, NULL); }

enum smkd_status io_make_dirs_for_now(const char *path, struct io_made *made) {
    made->n = 0;
    enum smkd_status s = make_dirs(path, made);
    int e = errno;
    if (s != SMKD_OK) io_made_undo(made);
    errno = e;
    return s;
}
