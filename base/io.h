// Files: whole reads, and writes that either happen completely or not at all.
#ifndef SMKD_BASE_IO_H
#define SMKD_BASE_IO_H

#include "status.h"

#include <stddef.h>
#include <stdio.h>

// Maps a whole regular file read-only (an empty file maps to *data = "" and *size = 0). Release with io_unmap.
// On failure returns SMKD_IO (errno is kept) or SMKD_INVALID for something that is not a regular file.
enum smkd_status io_map(const char *path, const void **data, size_t *size);
void io_unmap(const void *data, size_t size);

// A file that replaces `path` only on commit: written beside it under a temporary name, flushed, fsync'ed and renamed.
// Any failure leaves `path` as it was and removes the temporary file. What is no regular file (/dev/stdout, a pipe) is
// written to as it is: nothing can be put in its place.
struct io_writer {
    FILE *f;
    char *path, *tmp; // tmp is NULL where nothing is to be put in place
};
enum smkd_status io_writer_open(struct io_writer *w, const char *path); // errno kept on failure
enum smkd_status io_writer_commit(struct io_writer *w);                 // flush + fsync + rename; errno kept
void io_writer_abort(struct io_writer *w);                              // safe after a failed commit, too
enum smkd_status io_write_file(const char *path, const void *data, size_t size);

// mkdir -p. SMKD_IO with errno on failure.
enum smkd_status io_make_dirs(const char *path);

#endif
