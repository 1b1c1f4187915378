#include "seal.h"

#include "guard.h"
#include "io.h"
#include "str.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const char magic[] = "smkdseal";
enum { MAGIC_BYTES = sizeof magic - 1 };

void seal_make(const void *data, size_t n, unsigned char seal[SEAL_BYTES]) {
    const uint64_t words[2] = {n, checksum64(data, n)};
    memcpy(seal, magic, MAGIC_BYTES);
    for (int w = 0; w < 2; w++)
        for (int i = 0; i < 8; i++) seal[MAGIC_BYTES + 8 * w + i] = (unsigned char)(words[w] >> 8 * i);
}

enum smkd_status seal_file(const char *path) {
    const void *data;
    size_t size;
    unsigned char seal[SEAL_BYTES];
    TRY(io_map(path, &data, &size));
    seal_make(data, size, seal);
    io_unmap(data, size);
    FILE *f = fopen(path, "ab");
    if (!f) {
        end_if_no_memory(errno);
        return SMKD_IO;
    }
    bool ok = fwrite(seal, 1, sizeof seal, f) == sizeof seal;
    int e = errno;
    if (fclose(f) && ok) {
        ok = false;
        e = errno;
    }
    errno = e;
    return ok ? SMKD_OK : SMKD_IO;
}

bool seal_there(const void *data, size_t n) {
    return n >= SEAL_BYTES && memcmp((const char *)data + n - SEAL_BYTES, magic, MAGIC_BYTES) == 0;
}

bool seal_holds(const void *data, size_t n) {
    unsigned char want[SEAL_BYTES];
    if (!seal_there(data, n)) return false;
    seal_make(data, n - SEAL_BYTES, want);
    return memcmp((const char *)data + n - SEAL_BYTES, want, SEAL_BYTES) == 0;
}
