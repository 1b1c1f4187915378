// NumPy's .npz: a zip archive of .npy files, stored or deflated.
#ifndef SMKD_RT_NPZ_H
#define SMKD_RT_NPZ_H

#include "runtime.h"

struct rt_npz {
    const char *path; // borrowed
    void *zip;
    size_t n;
};
enum smkd_result rt_npz_open(const char *path, struct rt_npz *z);
void rt_npz_close(struct rt_npz *z);
// The name of entry i, which may be anything; lives as long as the archive. NULL: it has none.
const char *rt_npz_name(const struct rt_npz *z, size_t i);
// An entry's bytes, 64-aligned (free). Its checksum has been compared, its size asked of --max-memory.
enum smkd_result rt_npz_read(const struct rt_npz *z, size_t i, void **bytes, size_t *size);

#endif
