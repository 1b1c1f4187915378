#include "npz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

enum { MOST_ENTRIES = 4096, DEFLATE_MOST = 1032 }; // bytes out of one

static enum smkd_result say(const char *path, const char *name, zip_error_t *e) {
    const bool memory = zip_error_code_zip(e) == ZIP_ER_MEMORY;
    if (memory) end_if_no_memory(ENOMEM);
    return rt_fail(memory ? SMKD_R_NOMEM : SMKD_R_INVALID, "%s: %s%scannot be read as an .npz: %s", path, name,
                   *name ? ": " : "", zip_error_strerror(e));
}

enum smkd_result rt_npz_open(const char *path, struct rt_npz *z) {
    *z = (struct rt_npz){.path = path};
    int fd, code = 0;
    size_t size;
    if (io_open(path, &fd, &size) != SMKD_OK) return rt_fail(SMKD_R_IO, "%s: cannot be read: %s", path, io_why());
    z->zip = zip_fdopen(fd, 0, &code); // takes the descriptor
    if (!z->zip) {
        zip_error_t e;
        close(fd);
        zip_error_init_with_code(&e, code);
        enum smkd_result r = say(path, "", &e);
        zip_error_fini(&e);
        return r;
    }
    zip_int64_t n = zip_get_num_entries(z->zip, 0);
    if (n > MOST_ENTRIES)
        return rt_fail(SMKD_R_INVALID, "%s: has %lld entries, more than %d", path, (long long)n, MOST_ENTRIES);
    z->n = n > 0 ? (size_t)n : 0;
    return SMKD_R_OK;
}

void rt_npz_close(struct rt_npz *z) {
    if (z->zip) zip_discard(z->zip);
    *z = (struct rt_npz){0};
}

const char *rt_npz_name(const struct rt_npz *z, size_t i) { return zip_get_name(z->zip, i, ZIP_FL_ENC_RAW); }

// Reads to the end of the entry, where the checksum is compared.
static enum smkd_result read_all(const struct rt_npz *z, const char *name, zip_file_t *f, char *to, size_t size) {
    size_t at = 0;
    zip_int64_t n = 1;
    char more;
    while (at < size && (n = zip_fread(f, to + at, size - at)) > 0) at += (size_t)n;
    if (n > 0 && (n = zip_fread(f, &more, 1)) == 0) return SMKD_R_OK;
    if (n < 0) return say(z->path, name, zip_file_get_error(f));
    return rt_fail(SMKD_R_INVALID, "%s: %s: the archive promises %zu bytes, there are %s", z->path, name, size,
                   at < size ? "fewer" : "more");
}

enum smkd_result rt_npz_read(const struct rt_npz *z, size_t i, void **bytes, size_t *size) {
    zip_stat_t st;
    *bytes = NULL;
    *size = 0;
    const char *name = rt_npz_name(z, i);
    if (!name || zip_stat_index(z->zip, i, 0, &st) != 0 || !(st.valid & ZIP_STAT_SIZE))
        return rt_fail(SMKD_R_INVALID, "%s: entry %zu is damaged", z->path, i);
    if (st.valid & ZIP_STAT_COMP_SIZE && st.size / DEFLATE_MOST > st.comp_size + 1)
        return rt_fail(SMKD_R_INVALID, "%s: %s: claims %llu bytes, more than its %llu can hold", z->path, name,
                       (unsigned long long)st.size, (unsigned long long)st.comp_size);
    if (!budget_allows(st.size) || st.size > SIZE_MAX / 2)
        return rt_fail(SMKD_R_NOMEM, "%s: %s: %s", z->path, name, budget_why());
    zip_file_t *f = zip_fopen_index(z->zip, i, 0);
    if (!f) return say(z->path, name, zip_get_error(z->zip));
    *size = (size_t)st.size;
    *bytes = aligned_alloc(64, (*size + 64) / 64 * 64);
    enum smkd_result r = *bytes ? read_all(z, name, f, *bytes, *size)
                                : rt_fail(SMKD_R_NOMEM, "%s: %s: out of memory for %zu bytes", z->path, name, *size);
    zip_fclose(f);
    if (r != SMKD_R_OK) {
        free(*bytes);
        *bytes = NULL;
    }
    return r;
}
