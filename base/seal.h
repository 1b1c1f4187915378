// The last 24 bytes of a file that must be whole: "smkdseal", how many bytes are in front, their checksum64 (both u64,
// little-endian). It shows damage and files of another kind. It is no signature: whoever can write a file can seal it.
#ifndef SMKD_BASE_SEAL_H
#define SMKD_BASE_SEAL_H

#include "status.h"

#include <stdbool.h>
#include <stddef.h>

enum { SEAL_BYTES = 24 };
// The seal of `n` bytes.
void seal_make(const void *data, size_t n, unsigned char seal[SEAL_BYTES]);
// Seals a file; SMKD_IO with errno.
enum smkd_status seal_file(const char *path);
// Whether the last SEAL_BYTES of `n` bytes begin as a seal does; and whether it is the seal of those in front.
bool seal_there(const void *data, size_t n);
bool seal_holds(const void *data, size_t n);

#endif
