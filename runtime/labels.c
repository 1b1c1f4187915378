// Label files: what CIFAR-N and one's own annotators come as.
#include "data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static enum smkd_result check(const char *path, size_t at, int64_t label, int classes) {
    if (label >= 0 && label < classes) return SMKD_R_OK;
    return rt_fail(SMKD_R_INVALID, "%s: label %zu is %lld, expected 0 to %d", path, at, (long long)label, classes - 1);
}

static enum smkd_result wrong_count(const char *path, size_t got, size_t total, size_t n) {
    if (total == n)
        return rt_fail(SMKD_R_MISMATCH, "%s: has %zu labels, expected one for each of %zu images", path, got, n);
    return rt_fail(SMKD_R_MISMATCH, "%s: has %zu labels, expected one for each of %zu images (or for the first %zu)",
                   path, got, total, n);
}

static int64_t element(const struct rt_tensor *t, size_t i) {
    switch (t->dtype) {
    case RT_I64:
        return ((const int64_t *)t->data)[i];
    case RT_I32:
        return ((const int32_t *)t->data)[i];
    default:
        return ((const uint8_t *)t->data)[i];
    }
}

static enum smkd_result read_npy(const char *path, size_t total, size_t n, int classes, int32_t *labels) {
    struct rt_tensor t = {0};
    enum smkd_result r = rt_npy_read(path, &t);
    if (r != SMKD_R_OK) return r;
    if (t.dtype != RT_I64 && t.dtype != RT_I32 && t.dtype != RT_U8)
        r = rt_fail(SMKD_R_INVALID, "%s: labels must be whole numbers (int64, int32 or uint8)", path);
    else if (t.rank != 1 && !(t.rank == 2 && t.dims[1] == 1))
        r = rt_fail(SMKD_R_INVALID, "%s: has %d dimensions, expected one label for each image; save y.ravel()", path,
                    t.rank);
    else if (t.numel != total && t.numel != n)
        r = wrong_count(path, t.numel, total, n);
    for (size_t i = 0; r == SMKD_R_OK && i < t.numel; i++) {
        r = check(path, i, element(&t, i), classes);
        if (i < n) labels[i] = (int32_t)element(&t, i);
    }
    rt_tensor_release(&t);
    return r;
}

static enum smkd_result read_text(const char *path, size_t total, size_t n, int classes, int32_t *labels) {
    const void *map;
    size_t size;
    if (io_map(path, &map, &size) != SMKD_OK) return rt_fail(SMKD_R_IO, "%s: %s", path, io_why());
    const char *p = map, *end = p + size;
    enum smkd_result r = SMKD_R_OK;
    size_t count = 0, line = 0;
    while (p < end && r == SMKD_R_OK) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop) stop = end;
        size_t len = (size_t)(stop - p);
        line++;
        while (len && (p[len - 1] == '\r' || p[len - 1] == ' ')) len--;
        char text[24];
        int64_t v = -1;
        if (len) {
            memcpy(text, p, len < sizeof text ? len : 0);
            text[len < sizeof text ? len : 0] = 0;
            if (!parse_i64(text, &v)) {
                r = rt_fail(SMKD_R_INVALID, "%s: line %zu: expected one whole number", path, line);
                break;
            }
            r = check(path, count, v, classes);
            if (count < n) labels[count] = (int32_t)v;
            count++;
        }
        p = stop + 1;
    }
    io_unmap(map, size);
    if (r == SMKD_R_OK && count != total && count != n) r = wrong_count(path, count, total, n);
    return r;
}

enum smkd_result rt_labels_read(const char *path, size_t total, size_t n, int classes, int32_t *labels) {
    if (str_has_suffix(path, ".npy")) return read_npy(path, total, n, classes, labels);
    if (str_has_suffix(path, ".txt")) return read_text(path, total, n, classes, labels);
    return rt_fail(SMKD_R_INVALID, "%s: a label file ends in .npy or .txt", path);
}

enum smkd_result rt_labels_write(const char *path, const int32_t *labels, size_t n) {
    int64_t *wide = xcalloc(n, sizeof *wide);
    for (size_t i = 0; i < n; i++) wide[i] = labels[i];
    struct rt_tensor t = {.dtype = RT_I64,
                          .rank = 1,
                          .dims = {(int64_t)n},
                          .numel = n,
                          .bytes = n * sizeof *wide,
                          .data = wide,
                          .borrowed = true};
    enum smkd_result r = rt_npy_write(path, &t);
    free(wide);
    return r;
}
