// NumPy's .npy files, versions 1 to 3: magic, header length, a Python dict as text, then the elements.
#include "runtime.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *descr;
    enum rt_dtype t;
} types[] = {
    {"<f4", RT_F32}, {"<f8", RT_F64}, {"<i8", RT_I64}, {"<i4", RT_I32}, {"|u1", RT_U8}, {"|b1", RT_BOOL},
};
enum { N_TYPES = sizeof types / sizeof *types };

// The text behind 'key': in the header dict, or NULL.
static const char *dict_value(const char *h, const char *key) {
    char quoted[32];
    snprintf(quoted, sizeof quoted, "'%s'", key);
    const char *p = strstr(h, quoted);
    if (!p) return NULL;
    p += strlen(quoted);
    while (*p == ' ') p++;
    if (*p++ != ':') return NULL;
    while (*p == ' ') p++;
    return p;
}

static bool parse_shape(const char *p, struct rt_tensor *t) {
    if (*p++ != '(') return false;
    t->rank = 0;
    t->numel = 1;
    for (;;) {
        while (*p == ' ') p++;
        if (*p == ')') return true;
        if (!isdigit((unsigned char)*p) || t->rank == SMKD_ABI_MAX_RANK) return false;
        errno = 0;
        char *end;
        long long d = strtoll(p, &end, 10);
        if (errno || d < 0 || (d > 0 && t->numel > (SIZE_MAX / 16) / (size_t)d)) return false;
        t->dims[t->rank++] = d;
        t->numel *= (size_t)d;
        p = end;
        while (*p == ' ') p++;
        if (*p == ',')
            p++;
        else if (*p != ')')
            return false;
    }
}

static enum smkd_result parse(const char *path, const unsigned char *b, size_t size, struct rt_tensor *t) {
    if (size < 10 || memcmp(b, "\x93NUMPY", 6) != 0)
        return rt_fail(SMKD_R_INVALID, "%s: not a .npy file (no NUMPY magic); write one with numpy.save", path);
    size_t at = b[6] == 1 ? 10 : 12, len = b[8] | (size_t)b[9] << 8;
    if (b[6] < 1 || b[6] > 3)
        return rt_fail(SMKD_R_UNSUPPORTED, "%s: .npy version %d; versions 1 to 3 can be read", path, b[6]);
    if (b[6] > 1) {
        if (size < 12) return rt_fail(SMKD_R_INVALID, "%s: the .npy header is cut off", path);
        len |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
    }
    if (len > size - at)
        return rt_fail(SMKD_R_INVALID, "%s: the .npy header says %zu bytes, the file has %zu", path, len, size - at);
    char *h = calloc(len + 1, 1);
    if (!h) return rt_fail(SMKD_R_NOMEM, "%s: out of memory", path);
    memcpy(h, b + at, len);
    enum smkd_result r = SMKD_R_OK;
    const char *descr = dict_value(h, "descr"), *order = dict_value(h, "fortran_order"),
               *shape = dict_value(h, "shape");
    int k = 0;
    if (!descr || !order || !shape || descr[0] != '\'') {
        r = rt_fail(SMKD_R_INVALID, "%s: the .npy header lacks descr, fortran_order or shape", path);
    } else {
        for (k = 0; k < N_TYPES; k++)
            if (strncmp(descr + 1, types[k].descr, 3) == 0 && descr[4] == '\'') break;
        if (k == N_TYPES)
            r = rt_fail(SMKD_R_UNSUPPORTED,
                        "%s: element type %.*s; float32, float64, int64, int32, uint8 or bool is expected", path,
                        (int)strcspn(descr + 1, "'"), descr + 1);
        else if (strncmp(order, "False", 5) != 0)
            r = rt_fail(SMKD_R_UNSUPPORTED, "%s: Fortran order; save numpy.ascontiguousarray(x)", path);
        else if (!parse_shape(shape, t))
            r = rt_fail(SMKD_R_INVALID, "%s: bad shape in the .npy header", path);
    }
    free(h);
    if (r != SMKD_R_OK) return r;
    t->dtype = types[k].t;
    t->bytes = t->numel * rt_dtype_size(t->dtype);
    if (t->bytes != size - at - len)
        return rt_fail(SMKD_R_INVALID, "%s: the header promises %zu bytes of elements, the file has %zu", path,
                       t->bytes, size - at - len);
    t->data = aligned_alloc(64, (t->bytes + 64) / 64 * 64);
    if (!t->data) return rt_fail(SMKD_R_NOMEM, "%s: out of memory for %zu bytes", path, t->bytes);
    memcpy(t->data, b + at + len, t->bytes);
    return SMKD_R_OK;
}

enum smkd_result rt_npy_read(const char *path, struct rt_tensor *out) {
    *out = (struct rt_tensor){0};
    const void *b;
    size_t size;
    if (io_map(path, &b, &size) != SMKD_OK) return rt_fail(SMKD_R_IO, "%s: cannot be read: %s", path, io_why());
    enum smkd_result r = parse(path, b, size, out);
    if (r != SMKD_R_OK) rt_tensor_release(out);
    io_unmap(b, size);
    return r;
}

enum smkd_result rt_npy_write(const char *path, const struct rt_tensor *t) {
    struct str h = STR_INIT;
    const char *descr = "";
    for (int k = 0; k < N_TYPES; k++)
        if (types[k].t == t->dtype) descr = types[k].descr;
    str_addf(&h, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (int i = 0; i < t->rank; i++) str_addf(&h, "%lld,%s", (long long)t->dims[i], i + 1 < t->rank ? " " : "");
    str_add(&h, "), }");
    while ((10 + h.len + 1) % 64) str_add(&h, " ");
    str_add(&h, "\n");
    struct io_writer w;
    bool ok = io_writer_open(&w, path) == SMKD_OK;
    if (ok) {
        unsigned char magic[10] = {
            0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)h.len, (unsigned char)(h.len >> 8)};
        bool wrote = fwrite(magic, 1, 10, w.f) == 10 && fwrite(h.s, 1, h.len, w.f) == h.len &&
                     fwrite(t->data, 1, t->bytes, w.f) == t->bytes;
        if (!wrote) {
            io_writer_abort(&w);
            ok = false;
        } else {
            ok = io_writer_commit(&w) == SMKD_OK;
        }
    }
    str_release(&h);
    return ok ? SMKD_R_OK : rt_fail(SMKD_R_IO, "%s: cannot be written: %s", path, strerror(errno));
}
