// One at a time: a lock that goes with its process, however that ends.
#ifndef SMKD_BASE_LOCK_H
#define SMKD_BASE_LOCK_H

#include "status.h"

#include <stdbool.h>

struct lock { // zeros: not held
    bool held;
    int fd;
};

// Locks the file `path`, which is made when missing and stays when the lock goes (flock(2); the holder's process is
// written into it). SMKD_MISMATCH where another holds it: *holder is its process, or 0 where that isn't known. SMKD_IO
// with errno where the file cannot be made. Where the file system has no locks the lock is taken for held.
enum smkd_status lock_take(struct lock *l, const char *path, long *holder);
// The same, waiting for it.
enum smkd_status lock_wait(struct lock *l, const char *path);
void lock_drop(struct lock *l); // safe when none is held

#endif
