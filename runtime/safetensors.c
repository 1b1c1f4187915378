// safetensors: u64 header length, JSON header {"name": {"dtype", "shape", "data_offsets"}, "__metadata__": {...}},
// elements. Data only: reading one executes nothing. Everything the header says is checked against the file before it
// is used.
#include "runtime.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    enum rt_dtype t;
} types[] = {
    {"F32", RT_F32},   {"F64", RT_F64}, {"I64", RT_I64},   {"I32", RT_I32}, {"U8", RT_U8},
    {"BOOL", RT_BOOL}, {"F16", RT_F16}, {"BF16", RT_BF16}, {"I16", RT_I16}, {"I8", RT_I8},
    {"U64", RT_U64},   {"U32", RT_U32}, {"U16", RT_U16},
};
enum { N_TYPES = sizeof types / sizeof *types };

static char *copy_text(const char *s) {
    size_t n = strlen(s) + 1;
    char *p = malloc(n);
    return p ? memcpy(p, s, n) : NULL;
}

// A non-negative integer that a double holds exactly.
static bool whole(const cJSON *j, uint64_t *out) {
    if (!cJSON_IsNumber(j) || j->valuedouble < 0 || j->valuedouble > 9007199254740992.0 ||
        floor(j->valuedouble) != j->valuedouble)
        return false;
    *out = (uint64_t)j->valuedouble;
    return true;
}

struct span {
    uint64_t begin, end; // in the data part of the file
    size_t index;        // of the tensor
};

static enum smkd_result read_tensor(const char *path, const cJSON *j, uint64_t size, struct rt_tensor *t,
                                    struct span *at) {
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(j, "dtype"),
                *shape = cJSON_GetObjectItemCaseSensitive(j, "shape");
    const cJSON *off = cJSON_GetObjectItemCaseSensitive(j, "data_offsets"), *d;
    if (!cJSON_IsString(dtype) || !cJSON_IsArray(shape) || !cJSON_IsArray(off) || cJSON_GetArraySize(off) != 2)
        return rt_fail(SMKD_R_INVALID, "%s: tensor \"%s\" lacks dtype, shape or data_offsets", path, j->string);
    int k = 0;
    while (k < N_TYPES && strcmp(types[k].name, dtype->valuestring) != 0) k++;
    if (k == N_TYPES)
        return rt_fail(SMKD_R_UNSUPPORTED,
                       "%s: tensor \"%s\" has type %s; F16, BF16, F32, F64, an integer of 8 "
                       "to 64 bits or BOOL is expected",
                       path, j->string, dtype->valuestring);
    t->dtype = types[k].t;
    t->numel = 1;
    cJSON_ArrayForEach(d, shape) {
        uint64_t v;
        if (t->rank == SMKD_ABI_MAX_RANK || !whole(d, &v) || (v && t->numel > SIZE_MAX / 16 / v))
            return rt_fail(SMKD_R_INVALID, "%s: tensor \"%s\" has a bad shape", path, j->string);
        t->dims[t->rank++] = (int64_t)v;
        t->numel *= (size_t)v;
    }
    t->bytes = t->numel * rt_dtype_size(t->dtype);
    uint64_t begin, end;
    t->name = copy_text(j->string);
    if (!t->name) return rt_fail(SMKD_R_NOMEM, "%s: out of memory", path);
    if (!whole(cJSON_GetArrayItem(off, 0), &begin) || !whole(cJSON_GetArrayItem(off, 1), &end) || begin > end ||
        end > size || end - begin != t->bytes)
        return rt_fail(SMKD_R_INVALID, "%s: tensor \"%s\": data_offsets do not fit its shape or the file", path,
                       j->string);
    *at = (struct span){.begin = begin, .end = end};
    return SMKD_R_OK;
}

static int by_begin(const void *a, const void *b) {
    const struct span *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end); // empty tensors first
}

// The format has neither gaps nor overlaps nor bytes behind the last tensor. So what is read never exceeds the file,
// however many tensors a header makes up.
static enum smkd_result copy_elements(const char *path, const unsigned char *data, uint64_t size,
                                      struct rt_tensors *out, struct span *spans) {
    if (out->n) qsort(spans, out->n, sizeof *spans, by_begin);
    uint64_t at = 0;
    for (size_t i = 0; i < out->n; i++) {
        if (spans[i].begin != at)
            return rt_fail(SMKD_R_INVALID, "%s: tensor \"%s\" does not begin where the one before it ends", path,
                           out->t[spans[i].index].name);
        at = spans[i].end;
    }
    if (at != size)
        return rt_fail(SMKD_R_INVALID, "%s: the tensors end at byte %llu of %llu", path, (unsigned long long)at,
                       (unsigned long long)size);
    if (!budget_allows(size)) return rt_fail(SMKD_R_NOMEM, "%s: %s", path, budget_why());
    for (size_t i = 0; i < out->n; i++) {
        struct rt_tensor *t = &out->t[spans[i].index];
        t->data = aligned_alloc(64, (t->bytes + 64) / 64 * 64);
        if (!t->data) return rt_fail(SMKD_R_NOMEM, "%s: out of memory for tensor \"%s\"", path, t->name);
        memcpy(t->data, data + spans[i].begin, t->bytes);
    }
    return SMKD_R_OK;
}

static enum smkd_result read_meta(const char *path, const cJSON *j, struct rt_tensors *out) {
    const cJSON *m;
    if (!cJSON_IsObject(j)) return rt_fail(SMKD_R_INVALID, "%s: __metadata__ must hold strings only", path);
    size_t n = (size_t)cJSON_GetArraySize(j);
    out->meta_keys = calloc(n + 1, sizeof *out->meta_keys);
    out->meta_values = calloc(n + 1, sizeof *out->meta_values);
    if (!out->meta_keys || !out->meta_values) return rt_fail(SMKD_R_NOMEM, "%s: out of memory", path);
    cJSON_ArrayForEach(m, j) {
        if (!cJSON_IsString(m)) return rt_fail(SMKD_R_INVALID, "%s: __metadata__ must hold strings only", path);
        size_t i = out->n_meta++;
        out->meta_keys[i] = copy_text(m->string);
        out->meta_values[i] = copy_text(m->valuestring);
        if (!out->meta_keys[i] || !out->meta_values[i]) return rt_fail(SMKD_R_NOMEM, "%s: out of memory", path);
    }
    return SMKD_R_OK;
}

static enum smkd_result parse(const char *path, const unsigned char *b, size_t size, struct rt_tensors *out) {
    uint64_t len = 0;
    if (size < 8) return rt_fail(SMKD_R_INVALID, "%s: not a safetensors file (%zu bytes)", path, size);
    for (int i = 7; i >= 0; i--) len = len << 8 | b[i];
    if (len > size - 8 || len > 100000000) {
        // Only here: a header's length may have any bytes.
        const char *format = rt_format_name(b, size);
        if (format)
            return rt_fail(SMKD_R_INVALID,
                           "%s: not a safetensors file but %s; safetensors.torch.save_file(model.state_dict(), FILE) "
                           "writes one",
                           path, format);
        return rt_fail(SMKD_R_INVALID,
                       "%s: not a safetensors file, or cut off: it has %zu bytes, its header claims %llu", path, size,
                       (unsigned long long)len);
    }
    const char *header = (const char *)b + 8, *wrong = json_refused(header, (size_t)len), *end = NULL;
    if (!wrong && !utf8_valid(header, (size_t)len)) wrong = "is not UTF-8";
    if (wrong) return rt_fail(SMKD_R_INVALID, "%s: not a safetensors file: its header %s", path, wrong);
    errno = 0;
    cJSON *root = cJSON_ParseWithLengthOpts(header, (size_t)len, &end, false);
    if (!root && errno == ENOMEM) return rt_fail(SMKD_R_NOMEM, "%s: out of memory for its header", path);
    while (root && end < header + len && *end == ' ') end++; // the format pads with blanks
    if (!cJSON_IsObject(root) || end != header + len) {
        cJSON_Delete(root);
        return rt_fail(SMKD_R_INVALID, "%s: not a safetensors file (the header is no JSON object)", path);
    }
    size_t n = (size_t)cJSON_GetArraySize(root);
    out->t = calloc(n + 1, sizeof *out->t);
    struct span *spans = calloc(n + 1, sizeof *spans);
    enum smkd_result r = out->t && spans ? SMKD_R_OK : rt_fail(SMKD_R_NOMEM, "%s: out of memory", path);
    const cJSON *j;
    cJSON_ArrayForEach(j, root) {
        if (r != SMKD_R_OK) break;
        if (strcmp(j->string, "__metadata__") == 0) {
            r = out->meta_keys ? rt_fail(SMKD_R_INVALID, "%s: __metadata__ appears twice", path)
                               : read_meta(path, j, out);
        } else {
            size_t i = out->n++;
            r = read_tensor(path, j, size - 8 - len, &out->t[i], &spans[i]);
            spans[i].index = i;
        }
    }
    if (r == SMKD_R_OK) r = rt_tensors_sort(path, out);
    if (r == SMKD_R_OK) r = copy_elements(path, b + 8 + len, size - 8 - len, out, spans);
    if (r == SMKD_R_OK) r = rt_tensors_check_sums(path, out);
    free(spans);
    cJSON_Delete(root);
    return r;
}

enum smkd_result rt_safetensors_read(const char *path, struct rt_tensors *out) {
    *out = (struct rt_tensors){0};
    doing("reading %s", path);
    const void *b;
    size_t size;
    enum smkd_status s = io_map(path, &b, &size);
    if (s != SMKD_OK) return rt_fail(rt_result(s), "%s: cannot be read: %s", path, io_why());
    enum smkd_result r = parse(path, b, size, out);
    if (r != SMKD_R_OK) rt_tensors_release(out);
    io_unmap(b, size);
    return r;
}

// The header goes out piece by piece, once to be counted (`f` NULL) and once to be written: there is nothing to
// allocate, and so nothing that could be left out where there is no memory.
struct header {
    FILE *f;
    size_t n;
    bool failed;
};

static void put(struct header *h, const char *text, size_t n) {
    h->n += n;
    if (h->f && n && fwrite(text, 1, n, h->f) != n) h->failed = true;
}

static void putf(struct header *h, const char *fmt, ...) {
    char text[64];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    CHECK(n >= 0 && (size_t)n < sizeof text, "a piece of a header has %d bytes", n);
    put(h, text, (size_t)n);
}

// A JSON string.
static void put_text(struct header *h, const char *s) {
    put(h, "\"", 1);
    for (; *s; s++) {
        static const char named[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
        const char *at = strchr(named, *s);
        if (at)
            putf(h, "\\%c", letters[at - named]);
        else if ((unsigned char)*s < 0x20)
            putf(h, "\\u%04x", (unsigned)(unsigned char)*s);
        else
            put(h, s, 1);
    }
    put(h, "\"", 1);
}

static void put_header(struct header *h, const struct rt_tensors *ts) {
    const char *between = "{";
    if (ts->n_meta) {
        putf(h, "{\"__metadata__\":{");
        for (size_t i = 0; i < ts->n_meta; i++) {
            if (i) putf(h, ",");
            put_text(h, ts->meta_keys[i]);
            putf(h, ":");
            put_text(h, ts->meta_values[i]);
        }
        putf(h, "}");
        between = ",";
    }
    uint64_t at = 0;
    for (size_t i = 0; i < ts->n; i++, between = ",") {
        const struct rt_tensor *t = &ts->t[i];
        putf(h, "%s", between);
        put_text(h, t->name);
        for (int k = 0; k < N_TYPES; k++)
            if (types[k].t == t->dtype) putf(h, ":{\"dtype\":\"%s\",\"shape\":[", types[k].name);
        for (int d = 0; d < t->rank; d++) putf(h, "%s%lld", d ? "," : "", (long long)t->dims[d]);
        putf(h, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at, (unsigned long long)(at + t->bytes));
        at += t->bytes;
    }
    putf(h, ts->n || ts->n_meta ? "}" : "{}");
}

static bool write_all(FILE *f, const struct rt_tensors *ts) {
    struct header counted = {0}, h = {.f = f};
    put_header(&counted, ts);
    size_t padded = (counted.n + 7) / 8 * 8; // the format wants the elements 8-aligned
    unsigned char head[8];
    for (int i = 0; i < 8; i++) head[i] = (unsigned char)(padded >> 8 * i);
    if (fwrite(head, 1, sizeof head, f) != sizeof head) return false;
    put_header(&h, ts);
    if (h.failed || fwrite("        ", 1, padded - h.n, f) != padded - h.n) return false;
    for (size_t i = 0; i < ts->n; i++)
        if (ts->t[i].bytes && fwrite(ts->t[i].data, 1, ts->t[i].bytes, f) != ts->t[i].bytes) return false;
    return true;
}

enum smkd_result rt_safetensors_write(const char *path, const struct rt_tensors *ts) {
    doing("writing %s", path);
    struct io_writer w;
    enum smkd_status s = io_writer_open(&w, path);
    if (s == SMKD_OK && !write_all(w.f, ts)) {
        io_writer_abort(&w);
        s = SMKD_IO;
    } else if (s == SMKD_OK) {
        s = io_writer_commit(&w);
    }
    if (s == SMKD_OK) return SMKD_R_OK;
    return rt_fail(rt_result(s), "%s: cannot be written: %s; the file there before, if any, is untouched", path,
                   s == SMKD_NOMEM ? "out of memory" : strerror(errno));
}
