// NumPy's .npy files, versions 1 to 3: magic, header length, a Python dict as text, then the elements.
#include "runtime.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

// NumPy's kind and size of an element type.
static const struct {
    char kind;
    char size;
    enum rt_dtype t;
} types[] = {
    {'b', '1', RT_BOOL}, {'u', '1', RT_U8},  {'i', '1', RT_I8},  {'f', '4', RT_F32},
    {'f', '8', RT_F64},  {'f', '2', RT_F16}, {'i', '8', RT_I64}, {'i', '4', RT_I32},
    {'i', '2', RT_I16},  {'u', '8', RT_U64}, {'u', '4', RT_U32}, {'u', '2', RT_U16},
};
enum { N_TYPES = sizeof types / sizeof *types };

// Kinds of elements that are no numbers of ours, and what to do about them.
static const struct {
    char kind;
    const char *what, *advice;
} others[] = {
    {'c', "complex numbers", "save x.real"},
    {'U', "text", "save x.astype(numpy.int64)"},
    {'S', "text", "save x.astype(numpy.int64)"},
    {'M', "dates", "save numbers"},
    {'m', "times", "save numbers"},
    {'V', "raw bytes", "save x.astype(numpy.float32)"},
    {'f', "floats of another size", "save x.astype(numpy.float64)"},
};

// --- files that are something else -----------------------------------------------------------------------------------

// The label sets of CIFAR-N's files, the ones most wanted first.
static const char *const label_sets[] = {"worse_label",   "noisy_label",   "aggre_label",       "random_label1",
                                         "random_label2", "random_label3", "noisy_coarse_label"};

static bool holds(const unsigned char *b, size_t size, const char *word) {
    size_t n = strlen(word);
    const unsigned char *p = b, *end = b + size;
    while ((p = memchr(p, word[0], (size_t)(end - p)))) {
        if ((size_t)(end - p) < n) return false;
        if (memcmp(p, word, n) == 0) return true;
        p++;
    }
    return false;
}

// An entry to take from a dict of label sets, or NULL.
static const char *entry_of(const unsigned char *b, size_t size) {
    for (size_t i = 0; i < sizeof label_sets / sizeof *label_sets; i++)
        if (holds(b, size, label_sets[i])) return label_sets[i];
    return NULL;
}

// First bytes of files that come instead of a .npy, and Python that makes d of one: `before`, the path, `after`. Where
// `entries` is set d is a dict of arrays. Without Python, what to do.
static const struct format {
    const char *magic;
    size_t n;
    const char *part; // must occur in the file, too
    const char *what, *modules, *before, *after;
    bool entries;
    const char *advice;
} formats[] = {
#define MAGIC(m)          m, sizeof m - 1
#define TORCH             "a PyTorch file", "torch, ", "torch.load('", "', weights_only=False)", true, NULL
#define PICKLE(m)         MAGIC(m), NULL, "a Python pickle", "pickle, ", "pickle.load(open('", "', 'rb'))", true, NULL
#define SAY(what, advice) NULL, what, NULL, NULL, NULL, false, advice
    {MAGIC("PK\3\4"), "data.pkl", TORCH},
    {MAGIC("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46"), NULL, TORCH},
    {MAGIC("PK\3\4"), ".npy", "an .npz archive", "", "n.load('", "')", true, NULL},
    {MAGIC("PK\3\4"), SAY("a zip archive", "unpack it")},
    {PICKLE("\x80\x02")},
    {PICKLE("\x80\x03")},
    {PICKLE("\x80\x04")},
    {PICKLE("\x80\x05")},
    {MAGIC("\0\0\x08\x01"), NULL, "an IDX file of labels", "", "n.fromfile('", "', n.uint8)[8:]", false, NULL},
    {MAGIC("\x1f\x8b"), SAY("compressed by gzip", "unpack it with gunzip")},
    {MAGIC("\x89HDF"), SAY("an HDF5 file", "save one array of it with numpy.save")},
    {MAGIC("MATLAB "), SAY("a MATLAB file", "scipy.io.loadmat reads it; save one array with numpy.save")},
    {MAGIC("PAR1"), SAY("a Parquet file", "save one column of it with numpy.save")},
    {MAGIC("\xff\xfe"), SAY("text in UTF-16", "save it as UTF-8")},
    {MAGIC("\xfe\xff"), SAY("text in UTF-16", "save it as UTF-8")},
};
#define NPY_MAGIC "\x93NUMPY"

static const struct format *format_of(const unsigned char *b, size_t size) {
    for (const struct format *f = formats; f < formats + sizeof formats / sizeof *formats; f++)
        if (size >= f->n && memcmp(b, f->magic, f->n) == 0 && (!f->part || holds(b, size, f->part))) return f;
    return NULL;
}

const char *rt_format_name(const void *bytes, size_t size) {
    const struct format *f = format_of(bytes, size);
    return f ? f->what : size >= 6 && memcmp(bytes, NPY_MAGIC, 6) == 0 ? "a .npy file" : NULL;
}

// Files of Python objects are programs: they are not run, but named with the line that makes plain numbers of one.
static enum smkd_result refuse(const char *path, const unsigned char *b, size_t size, const struct format *f) {
    const char *entry = f->entries ? entry_of(b, size) : NULL;
    struct str take = STR_INIT;
    str_add(&take, "d");
    if (f->entries) str_addf(&take, "['%s']", entry ? entry : "KEY");
    enum smkd_result r = rt_fail(SMKD_R_UNSUPPORTED,
                                 "%s: is %s; a .npy of plain numbers is expected: python3 -c \"import %snumpy as n; d "
                                 "= %s%s%s; n.save('plain.npy', %s)\"%s",
                                 path, f->what, f->modules, f->before, path, f->after, take.s,
                                 f->entries && !entry ? ", where print(*d) lists the keys" : "");
    str_release(&take);
    return r;
}

static enum smkd_result not_npy(const char *path, const unsigned char *b, size_t size) {
    const struct format *f = format_of(b, size);
    if (!f) return rt_fail(SMKD_R_INVALID, "%s: not a .npy file (no NUMPY magic); write one with numpy.save", path);
    if (!f->before) return rt_fail(SMKD_R_UNSUPPORTED, "%s: is %s, not a .npy file; %s", path, f->what, f->advice);
    return refuse(path, b, size, f);
}

// --- the header ------------------------------------------------------------------------------------------------------

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

// "<i8": byte order (or none), kind, size. `b` are the bytes of the whole file.
static enum smkd_result parse_descr(const char *path, const char *descr, const unsigned char *b, size_t size,
                                    enum rt_dtype *t, bool *big) {
    static const struct format pickled = {
        .what = "a .npy of pickled Python objects (a dict of label sets, as CIFAR-N has them?)",
        .modules = "",
        .before = "n.load('",
        .after = "', allow_pickle=True).item()",
        .entries = true,
    };
    if (descr[0] == '[') {
        const char *name = descr + strcspn(descr, "'") + (strchr(descr, '\'') != NULL);
        return rt_fail(SMKD_R_UNSUPPORTED, "%s: has fields, the first is \"%.*s\"; save one of them, x['%.*s']", path,
                       (int)strcspn(name, "'"), name, (int)strcspn(name, "'"), name);
    }
    const char *p = descr + 1;
    size_t n = strcspn(p, "'");
    *big = n && *p == '>';
    bool order = n && strchr("<>|=", *p);
    for (int k = 0; k < N_TYPES && n == 2 + (size_t)order; k++)
        if (p[order] == types[k].kind && p[1 + order] == types[k].size) {
            *t = types[k].t;
            return SMKD_R_OK;
        }
    if (n > order && p[order] == 'O') return refuse(path, b, size, &pickled);
    for (size_t k = 0; k < sizeof others / sizeof *others && n > order; k++)
        if (p[order] == others[k].kind)
            return rt_fail(SMKD_R_UNSUPPORTED, "%s: element type %.*s: %s; numbers are expected, %s", path, (int)n, p,
                           others[k].what, others[k].advice);
    return rt_fail(SMKD_R_UNSUPPORTED, "%s: element type %.*s is not known; save x.astype(numpy.float32)", path, (int)n,
                   p);
}

// --- the elements ----------------------------------------------------------------------------------------------------

// One element from `from` to `to`, which differ, with its bytes turned around where `swap` is set.
static void copy_element(unsigned char *to, const unsigned char *from, size_t size, bool swap) {
    for (size_t i = 0; i < size; i++) to[i] = from[swap ? size - 1 - i : i];
}

// Elements whose bytes, or whose order (the first index fastest), are not ours.
static void copy_elements(const struct rt_tensor *t, const unsigned char *from, bool swap, bool fortran) {
    size_t size = rt_dtype_size(t->dtype), step[SMKD_ABI_MAX_RANK], at = 0;
    int64_t index[SMKD_ABI_MAX_RANK] = {0};
    for (int d = 0; d < t->rank; d++) step[d] = d ? step[d - 1] * (size_t)t->dims[d - 1] : 1;
    for (size_t i = 0; i < t->numel; i++) {
        copy_element((unsigned char *)t->data + i * size, from + (fortran ? at : i) * size, size, swap);
        for (int d = t->rank - 1; fortran && d >= 0; d--) {
            at += step[d];
            if (++index[d] < t->dims[d]) break;
            at -= step[d] * (size_t)t->dims[d];
            index[d] = 0;
        }
    }
}

// `view`: the elements stay in the file's bytes where they are what they would become.
static enum smkd_result parse(const char *path, const unsigned char *b, size_t size, bool view, struct rt_tensor *t) {
    if (size < 10 || memcmp(b, NPY_MAGIC, 6) != 0) return not_npy(path, b, size);
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
    enum smkd_result r;
    const char *descr = dict_value(h, "descr"), *order = dict_value(h, "fortran_order"),
               *shape = dict_value(h, "shape");
    bool big = false, fortran = order && strncmp(order, "True", 4) == 0;
    if (!descr || !order || !shape || !strchr("'[", descr[0]))
        r = rt_fail(SMKD_R_INVALID, "%s: the .npy header lacks descr, fortran_order or shape", path);
    else if (!fortran && strncmp(order, "False", 5) != 0)
        r = rt_fail(SMKD_R_INVALID, "%s: fortran_order in the .npy header is neither True nor False", path);
    else
        r = parse_descr(path, descr, b, size, &t->dtype, &big);
    if (r == SMKD_R_OK && !parse_shape(shape, t)) r = rt_fail(SMKD_R_INVALID, "%s: bad shape in the .npy header", path);
    free(h);
    if (r != SMKD_R_OK) return r;
    size_t element = rt_dtype_size(t->dtype);
    t->bytes = t->numel * element;
    if (t->bytes != size - at - len)
        return rt_fail(SMKD_R_INVALID, "%s: the header promises %zu bytes of elements, the file has %zu", path,
                       t->bytes, size - at - len);
    const bool swap = big && element > 1, turn = fortran && t->rank > 1;
    if (view && !swap && !turn && (uintptr_t)(b + at + len) % element == 0) {
        t->data = (void *)(b + at + len); // borrowed: only read
        t->borrowed = true;
        return SMKD_R_OK;
    }
    if (!budget_allows(t->bytes)) return rt_fail(SMKD_R_NOMEM, "%s: %s", path, budget_why());
    t->data = aligned_alloc(64, (t->bytes + 64) / 64 * 64);
    if (!t->data) return rt_fail(SMKD_R_NOMEM, "%s: out of memory for %zu bytes", path, t->bytes);
    if (swap || turn)
        copy_elements(t, b + at + len, big, fortran);
    else
        memcpy(t->data, b + at + len, t->bytes);
    return SMKD_R_OK;
}

static enum smkd_result read_bytes(const char *path, const void *bytes, size_t size, bool view, struct rt_tensor *out) {
    *out = (struct rt_tensor){0};
    enum smkd_result r = parse(path, bytes, size, view, out);
    if (r != SMKD_R_OK) rt_tensor_release(out);
    return r;
}

enum smkd_result rt_npy_parse(const char *path, const void *bytes, size_t size, struct rt_tensor *out) {
    return read_bytes(path, bytes, size, false, out);
}

enum smkd_result rt_npy_view(const char *path, const void *bytes, size_t size, struct rt_tensor *out) {
    return read_bytes(path, bytes, size, true, out);
}

enum smkd_result rt_npy_read(const char *path, struct rt_tensor *out) {
    *out = (struct rt_tensor){0};
    const void *b;
    size_t size;
    if (io_map(path, &b, &size) != SMKD_OK) return rt_fail(SMKD_R_IO, "%s: cannot be read: %s", path, io_why());
    enum smkd_result r = rt_npy_parse(path, b, size, out);
    io_unmap(b, size);
    return r;
}

enum smkd_result rt_npy_write(const char *path, const struct rt_tensor *t) {
    struct str h = STR_INIT;
    for (int k = 0; k < N_TYPES; k++)
        if (types[k].t == t->dtype)
            str_addf(&h, "{'descr': '%c%c%c', 'fortran_order': False, 'shape': (", types[k].size == '1' ? '|' : '<',
                     types[k].kind, types[k].size);
    CHECK(h.len, "%s has no .npy type", rt_dtype_name(t->dtype));
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
