// Files: whole reads, and writes that either happen completely or not at all. Nothing here needs memory of its own but
// what the C library takes for a FILE; where there is none, and no program has asked for its end then (guard.h),
// SMKD_NOMEM, errno ENOMEM.
#ifndef SMKD_BASE_IO_H
#define SMKD_BASE_IO_H

#include "status.h"

#include <stddef.h>
#include <stdio.h>

// Opens a regular file for reading, and nothing else: a FIFO or a device would be waited for. The descriptor is the
// caller's. On failure SMKD_IO, or SMKD_INVALID for what is no regular file; io_why() says why.
enum smkd_status io_open(const char *path, int *fd, size_t *size);
// Why the last io_open or io_map of this thread failed: "No such file or directory", "it is a FIFO, not a regular
// file".
const char *io_why(void);
// Maps a whole regular file read-only (an empty file maps to *data = "" and *size = 0). Release with io_unmap.
// Failures as of io_open.
enum smkd_status io_map(const char *path, const void **data, size_t *size);
// The same of a descriptor that io_open gave, which stays open; `path` is for io_mapped_at.
enum smkd_status io_map_fd(const char *path, int fd, size_t size, const void **data);
// The file that is mapped at an address; NULL: none that is known. For a handler of SIGBUS, which is what reading a
// mapped file gives that somebody made shorter.
const char *io_mapped_at(const void *address);
void io_unmap(const void *data, size_t size);

enum { IO_PATH = 4096 }; // what Linux takes, with its end

// A file that replaces `path` only on commit: written beside it under a temporary name, flushed, fsync'ed and renamed,
// and then its folder is fsync'ed, too, so that after a power cut the name stands for the new file.
// Any failure leaves `path` as it was and removes the temporary file. What is no regular file (/dev/stdout, a pipe) is
// written to as it is: nothing can be put in its place.
struct io_writer {
    FILE *f;
    char path[IO_PATH], tmp[IO_PATH]; // empty where nothing is to be put in place
    int guard;                        // of tmp (guard.h)
};
enum smkd_status io_writer_open(struct io_writer *w, const char *path); // errno kept on failure
enum smkd_status io_writer_commit(struct io_writer *w);                 // flush + fsync + rename; errno kept
void io_writer_abort(struct io_writer *w);                              // safe after a failed commit, too
// What io_writer_commit does at the end, for files that other programs have written: `from` takes the place of `to`.
enum smkd_status io_rename(const char *from, const char *to);
enum smkd_status io_write_file(const char *path, const void *data, size_t size);

// A folder in TMPDIR (or /tmp) for files that nobody else needs, also removed when the program ends early.
struct io_temp {
    char path[IO_PATH];
    int guard;
};
enum smkd_status io_temp_make(struct io_temp *t); // on failure errno says why, and t->path what could not be made
void io_temp_remove(struct io_temp *t);           // with the files in it; safe after a failure

// mkdir -p. SMKD_IO with errno on failure.
enum smkd_status io_make_dirs(const char *path);
// The same for a folder that has no use until more is in it: what was made goes again, where it is empty, when the
// program ends early, or by io_made_undo. io_made_keep ends that. On failure nothing stays.
struct io_made {
    int guards[32], n; // of the folders from the outer to the inner
};
enum smkd_status io_make_dirs_for_now(const char *path, struct io_made *made);
void io_made_keep(struct io_made *made);
void io_made_undo(struct io_made *made);

#endif
