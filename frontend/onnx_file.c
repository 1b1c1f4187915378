// Opening ONNX files. Everything a later stage indexes by (sizes, offsets, dtypes) is checked here or in fe_blob_open.
#define _XOPEN_SOURCE 700 // realpath
#include "onnx_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    int32_t onnx;
    const char *name;
    size_t size;
    enum ir_dtype ir; // IR_DTYPE_COUNT: none
} dtypes[] = {
    {ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, "FLOAT", 4, IR_F32},
    {ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16, "FLOAT16", 2, IR_F32},
    {ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16, "BFLOAT16", 2, IR_F32},
    {ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE, "DOUBLE", 8, IR_F64},
    {ONNX__TENSOR_PROTO__DATA_TYPE__INT64, "INT64", 8, IR_I64},
    {ONNX__TENSOR_PROTO__DATA_TYPE__UINT64, "UINT64", 8, IR_U64},
    {ONNX__TENSOR_PROTO__DATA_TYPE__INT32, "INT32", 4, IR_I32},
    {ONNX__TENSOR_PROTO__DATA_TYPE__UINT32, "UINT32", 4, IR_U32},
    {ONNX__TENSOR_PROTO__DATA_TYPE__INT16, "INT16", 2, IR_I16},
    {ONNX__TENSOR_PROTO__DATA_TYPE__UINT16, "UINT16", 2, IR_U16},
    {ONNX__TENSOR_PROTO__DATA_TYPE__INT8, "INT8", 1, IR_I8},
    {ONNX__TENSOR_PROTO__DATA_TYPE__UINT8, "UINT8", 1, IR_U8},
    {ONNX__TENSOR_PROTO__DATA_TYPE__BOOL, "BOOL", 1, IR_BOOL},
    {ONNX__TENSOR_PROTO__DATA_TYPE__STRING, "STRING", 0, IR_DTYPE_COUNT},
    {ONNX__TENSOR_PROTO__DATA_TYPE__COMPLEX64, "COMPLEX64", 0, IR_DTYPE_COUNT},
    {ONNX__TENSOR_PROTO__DATA_TYPE__COMPLEX128, "COMPLEX128", 0, IR_DTYPE_COUNT},
};
#define N_DTYPES (sizeof dtypes / sizeof *dtypes)

static int find_dtype(int32_t t) {
    for (size_t i = 0; i < N_DTYPES; i++)
        if (dtypes[i].onnx == t) return (int)i;
    return -1;
}

size_t fe_onnx_dtype_size(int32_t t) {
    int i = find_dtype(t);
    return i < 0 ? 0 : dtypes[i].size;
}

const char *fe_onnx_dtype_name(int32_t t) {
    int i = find_dtype(t);
    return i < 0 ? "unknown" : dtypes[i].name;
}

int32_t fe_onnx_dtype_named(const char *name) {
    for (size_t i = 0; i < N_DTYPES; i++)
        if (!strcmp(dtypes[i].name, name)) return dtypes[i].onnx;
    return 0;
}

bool fe_onnx_to_ir(int32_t t, enum ir_dtype *out) {
    int i = find_dtype(t);
    if (i < 0 || dtypes[i].ir == IR_DTYPE_COUNT) return false;
    *out = dtypes[i].ir;
    return true;
}

bool fe_is_float_type(int32_t t) {
    enum ir_dtype ir;
    return fe_onnx_to_ir(t, &ir) && ir_is_float(ir);
}

int64_t fe_model_opset(const Onnx__ModelProto *m) {
    for (size_t i = 0; i < m->n_opset_import; i++) {
        const char *dom = m->opset_import[i]->domain;
        if (!dom || !*dom || !strcmp(dom, "ai.onnx")) return m->opset_import[i]->version;
    }
    if (m->n_opset_import) return FE_LAST_OPSET; // operators of other domains alone
    return m->ir_version < 3;                    // files that are older than opsets are of the first
}

static void *allocate(void *env, size_t bytes) {
    (void)env;
    return xmalloc(bytes);
}
static void release(void *env, void *p) {
    (void)env;
    free(p);
}
ProtobufCAllocator fe_allocator = {allocate, release, NULL};

Onnx__ModelProto *fe_unpack(struct diag *d, const void *data, size_t size) {
    const unsigned char *bytes = data;
    if (size == 0) {
        diag_error(d, NULL, "the file is empty; expected an ONNX model");
        return NULL;
    }
    if (!fe_wire_ok(d, data, size)) return NULL;
    Onnx__ModelProto *m = onnx__model_proto__unpack(&fe_allocator, size, bytes);
    if (!m) {
        bool text = true;
        for (size_t i = 0; i < size && i < 256; i++)
            if (bytes[i] >= 127 || (bytes[i] < 32 && bytes[i] != '\n' && bytes[i] != '\r' && bytes[i] != '\t'))
                text = false;
        if (text)
            diag_error(d, NULL, "this is a text file, not an ONNX model; give the .onnx file the exporter wrote");
        else
            diag_error(
                d, NULL,
                "not a complete ONNX file (%zu bytes do not parse as protobuf): it is truncated or of another format; "
                "copy or export it again",
                size);
        return NULL;
    }
    if (!m->graph) {
        diag_error(d, NULL, "the file has no graph; expected an ONNX model");
        onnx__model_proto__free_unpacked(m, NULL);
        return NULL;
    }
    return m;
}

// Where an open file really lies, whatever links its name went through; NULL where that cannot be said.
static char *real_path(struct arena *a, int fd) {
    char *real = realpath(arena_printf(a, "/proc/self/fd/%d", fd), NULL);
    if (!real && errno == ENOMEM) out_of_memory(PATH_MAX);
    char *kept = arena_strdup(a, real);
    free(real);
    return kept;
}

struct fe_model *fe_open(struct arena *a, struct diag *d, const char *path) {
    if (!d->file) d->file = arena_strdup(a, path);
    struct fe_model *m = ARENA_NEW(a, struct fe_model);
    *m = (struct fe_model){.path = arena_strdup(a, path), .arena = a};
    int fd;
    size_t size;
    const void *data = NULL;
    bool ok = io_open(path, &fd, &size) == SMKD_OK;
    if (ok) {
        m->real_path = real_path(a, fd);
        ok = io_map_fd(path, fd, size, &data) == SMKD_OK;
        close(fd);
    }
    if (!ok) {
        diag_error(d, NULL, "cannot read the file: %s", io_why());
        return NULL;
    }
    Onnx__ModelProto *p = m->proto = fe_unpack(d, data, size);
    io_unmap(data, size);
    if (!p) return NULL;
    int before = d->errors;
    if (!p->has_ir_version || p->ir_version < 1)
        diag_error(d, NULL, "the file has no ONNX IR version; export the model again");
    int64_t opset = fe_model_opset(p);
    if (opset < FE_FIRST_OPSET || opset > FE_LAST_OPSET)
        diag_error(d, NULL,
                   "opset %lld of the default domain is not supported (%d to %d are); export the model with another "
                   "opset_version",
                   (long long)opset, FE_FIRST_OPSET, FE_LAST_OPSET);
    if (p->graph->n_sparse_initializer)
        diag_error(d, NULL, "the graph has sparse initializers, which are not supported; export it with dense weights");
    for (size_t i = 0; i < p->graph->n_initializer && d->errors - before < 20; i++) {
        struct fe_blob b;
        struct diag_loc loc = {0};
        if (!p->graph->initializer[i]->name || !*p->graph->initializer[i]->name)
            diag_error(d, NULL, "initializer %zu has no name", i);
        else
            fe_blob_open(m, d, &loc, p->graph->initializer[i], &b);
    }
    if (d->errors > before) {
        fe_close(m);
        return NULL;
    }
    fe_hoist(m);
    fe_unshare(m);
    fe_unbake(m);
    fe_unsort(m);
    fe_taps_read(m);
    return m;
}

void fe_close(struct fe_model *m) {
    if (!m) return;
    if (m->proto) onnx__model_proto__free_unpacked(m->proto, NULL);
    for (size_t i = 0; i < m->n_maps; i++)
        if (m->maps[i].data) io_unmap(m->maps[i].data, m->maps[i].size);
    m->proto = NULL;
    m->n_maps = 0;
}

// --- tensor data -----------------------------------------------------------------------------------------------------

static const char *external_key(const Onnx__TensorProto *t, const char *key) {
    for (size_t i = 0; i < t->n_external_data; i++)
        if (t->external_data[i]->key && !strcmp(t->external_data[i]->key, key)) return t->external_data[i]->value;
    return NULL;
}

// The folder of `path`, as a prefix of what lies in it: "models/", "./", "/".
static char *folder_of(struct arena *a, const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? arena_printf(a, "%.*s", (int)(slash + 1 - path), path) : arena_strdup(a, "./");
}

// Whether a file that really lies at `real` is below the folder of `name`, once links are followed.
static bool lies_below(struct arena *a, const char *real, const char *name) {
    char *dir = realpath(folder_of(a, name), NULL);
    if (!dir && errno == ENOMEM) out_of_memory(PATH_MAX);
    const size_t n = dir && strcmp(dir, "/") != 0 ? strlen(dir) : 0;
    const bool below = dir && strncmp(real, dir, n) == 0 && real[n] == '/';
    free(dir);
    return below;
}

static bool stays_below_by_text(const char *rel) {
    if (!*rel || *rel == '/') return false;
    for (const char *p = rel; *p;) {
        size_t n = strcspn(p, "/\\");
        if (n == 2 && p[0] == '.' && p[1] == '.') return false;
        p += n;
        if (*p) p++;
    }
    return true;
}

// Opens and maps the external file `rel`, which lies beside the model: beside the name it was given by, or beside the
// file that this name is a link to. A link counts by where it leads: both may be links into one folder, as in the cache
// of Hugging Face, but none leads out of the model's folder. NULL after reporting.
static const void *open_beside(struct fe_model *m, struct diag *d, const struct diag_loc *loc, const char *tensor,
                               const char *rel, size_t *size) {
    if (!stays_below_by_text(rel)) {
        diag_error(d, loc, "tensor \"%s\": external data path \"%s\" must be relative and stay in the model's folder",
                   tensor, rel);
        return NULL;
    }
    const char *names[] = {m->path, m->real_path}, *path = NULL;
    int fd = -1, e = ENOENT;
    enum smkd_status s = SMKD_IO;
    for (size_t i = 0; i < 2 && names[i] && s != SMKD_OK && e == ENOENT; i++) {
        const char *tried = arena_printf(m->arena, "%s%s", folder_of(m->arena, names[i]), rel);
        s = io_open(tried, &fd, size);
        e = errno;
        if (!path) path = tried;
    }
    if (s != SMKD_OK) {
        diag_error(d, loc, "tensor \"%s\": cannot open its external data \"%s\": %s%s", tensor, path, io_why(),
                   e == ENOENT ? "; put the file beside the model" : "");
        return NULL;
    }
    const char *real = real_path(m->arena, fd);
    const void *data = NULL;
    bool below =
        real && (lies_below(m->arena, real, m->path) || (m->real_path && lies_below(m->arena, real, m->real_path)));
    if (!below)
        diag_error(d, loc,
                   "tensor \"%s\": external data \"%s\" is a link that leaves the model's folder; copy \"%s\" there",
                   tensor, rel, real ? real : rel);
    else if (io_map_fd(path, fd, *size, &data) != SMKD_OK)
        diag_error(d, loc, "tensor \"%s\": cannot read external data \"%s\": %s", tensor, path, io_why());
    close(fd);
    return data;
}

// Maps the external file `rel` once, and reports once what is wrong with it: then every tensor in it is refused.
static const struct fe_mapping *map_external(struct fe_model *m, struct diag *d, const struct diag_loc *loc,
                                             const char *tensor, const char *rel) {
    struct fe_mapping *map = NULL;
    for (size_t i = 0; i < m->n_maps && !map; i++)
        if (!strcmp(m->maps[i].rel, rel)) map = &m->maps[i];
    if (!map) {
        map = ARENA_PUSH(m->arena, m->maps, m->n_maps, m->cap_maps);
        *map = (struct fe_mapping){.rel = arena_strdup(m->arena, rel)};
        map->data = open_beside(m, d, loc, tensor, rel, &map->size);
    }
    return map->data ? map : NULL;
}

static bool open_external(struct fe_model *m, struct diag *d, const struct diag_loc *loc, struct fe_blob *b,
                          size_t bytes) {
    const char *rel = external_key(b->proto, "location"), *off = external_key(b->proto, "offset"),
               *len = external_key(b->proto, "length");
    int64_t offset = 0, length = (int64_t)bytes;
    if (!rel) {
        diag_error(d, loc, "tensor \"%s\": external data without a location", b->name);
        return false;
    }
    if ((off && (!parse_i64(off, &offset) || offset < 0)) || (len && (!parse_i64(len, &length) || length < 0))) {
        diag_error(d, loc, "tensor \"%s\": external data offset or length is not a number: \"%s\", \"%s\"", b->name,
                   off ? off : "", len ? len : "");
        return false;
    }
    if ((uint64_t)length != bytes) {
        diag_error(d, loc, "tensor \"%s\": its shape and type need %zu bytes, the external data has %lld", b->name,
                   bytes, (long long)length);
        return false;
    }
    const struct fe_mapping *map = map_external(m, d, loc, b->name, rel);
    if (!map) return false;
    if ((uint64_t)offset > map->size || bytes > map->size - (size_t)offset) {
        diag_error(d, loc,
                   "tensor \"%s\": %zu bytes at offset %lld are past the end of \"%s\" (%zu bytes); the data file is "
                   "truncated "
                   "or belongs to another model",
                   b->name, bytes, (long long)offset, rel, map->size);
        return false;
    }
    b->raw = (const unsigned char *)map->data + offset;
    return true;
}

// Elements present in the typed field that a tensor of this dtype uses (ONNX: onnx.proto, TensorProto).
static size_t typed_count(const Onnx__TensorProto *t) {
    switch (t->data_type) {
    case ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT:
        return t->n_float_data;
    case ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE:
        return t->n_double_data;
    case ONNX__TENSOR_PROTO__DATA_TYPE__INT64:
        return t->n_int64_data;
    case ONNX__TENSOR_PROTO__DATA_TYPE__UINT32:
    case ONNX__TENSOR_PROTO__DATA_TYPE__UINT64:
        return t->n_uint64_data;
    default:
        return t->n_int32_data;
    }
}

bool fe_blob_open(struct fe_model *m, struct diag *d, const struct diag_loc *loc, const Onnx__TensorProto *t,
                  struct fe_blob *out) {
    *out = (struct fe_blob){.proto = t, .name = t->name ? t->name : "", .onnx_type = t->data_type, .n = 1};
    enum ir_dtype ir;
    if (!fe_onnx_to_ir(t->data_type, &ir)) {
        diag_error(d, loc, "tensor \"%s\": data type %s (%d) is not supported", out->name,
                   fe_onnx_dtype_name(t->data_type), t->data_type);
        return false;
    }
    if (t->n_dims > IR_MAX_RANK) {
        diag_error(d, loc, "tensor \"%s\" has %zu dimensions; at most %d are supported", out->name, t->n_dims,
                   IR_MAX_RANK);
        return false;
    }
    const int64_t most = INT64_C(1) << 40; // more than any file, and also beside a 0: strides are products of dims
    int64_t span = 1;
    for (size_t i = 0; i < t->n_dims; i++) {
        const int64_t dim = t->dims[i];
        if (dim < 0 || !checked_mul(span, dim ? dim : 1, &span) || span > most) {
            diag_error(d, loc, "tensor \"%s\": dimension %zu is %lld", out->name, i, (long long)dim);
            return false;
        }
        out->n *= dim;
    }
    out->type = ir_type_make(ir, (int)t->n_dims, t->dims);
    size_t bytes = (size_t)out->n * fe_onnx_dtype_size(t->data_type);
    if (t->has_data_location && t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
        return open_external(m, d, loc, out, bytes);
    if (t->has_raw_data) {
        if (t->raw_data.len != bytes) {
            diag_error(d, loc, "tensor \"%s\": its shape and type need %zu bytes, the file has %zu", out->name, bytes,
                       t->raw_data.len);
            return false;
        }
        out->raw = t->raw_data.data ? t->raw_data.data : (const unsigned char *)"";
        return true;
    }
    if (typed_count(t) != (size_t)out->n) {
        diag_error(d, loc, "tensor \"%s\": its shape needs %lld elements, the file has %zu", out->name,
                   (long long)out->n, typed_count(t));
        return false;
    }
    return true;
}

static float half_to_float(uint16_t h) {
    uint32_t sign = (uint32_t)(h >> 15) << 31, exp = (h >> 10) & 31, man = h & 1023, bits;
    if (exp == 31) {
        bits = sign | 0x7f800000u | man << 13;
    } else if (exp) {
        bits = sign | (exp + 112) << 23 | man << 13;
    } else {
        float v = (float)man * 0x1p-24f;
        return sign ? -v : v;
    }
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

// Element i as (integer, float). Little-endian hosts only, as is everything this project runs on.
static void element(const struct fe_blob *b, int64_t i, int64_t *iv, double *fv) {
    const Onnx__TensorProto *t = b->proto;
    size_t size = fe_onnx_dtype_size(b->onnx_type);
    unsigned char raw[8] = {0};
    if (b->raw)
        memcpy(raw, b->raw + (size_t)i * size, size);
    else
        switch (b->onnx_type) { // the typed field holds one element per entry
        case ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT:
            memcpy(raw, &t->float_data[i], 4);
            break;
        case ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE:
            memcpy(raw, &t->double_data[i], 8);
            break;
        case ONNX__TENSOR_PROTO__DATA_TYPE__INT64:
            memcpy(raw, &t->int64_data[i], 8);
            break;
        case ONNX__TENSOR_PROTO__DATA_TYPE__UINT32:
        case ONNX__TENSOR_PROTO__DATA_TYPE__UINT64:
            memcpy(raw, &t->uint64_data[i], size);
            break;
        default:
            memcpy(raw, &t->int32_data[i], size);
        }
    uint64_t u = 0;
    memcpy(&u, raw, size);
    float f32;
    switch (b->onnx_type) {
    case ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT:
        memcpy(&f32, raw, 4);
        *fv = (double)f32;
        break;
    case ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE:
        memcpy(fv, raw, 8);
        break;
    case ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16:
        *fv = (double)half_to_float((uint16_t)u);
        break;
    case ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16: {
        uint32_t bits = (uint32_t)u << 16;
        memcpy(&f32, &bits, 4);
        *fv = (double)f32;
        break;
    }
    default:
        *iv = ir_wrap_int(b->type.dtype, (int64_t)u);
    }
}

double fe_blob_float(const struct fe_blob *b, int64_t i) {
    int64_t iv = 0;
    double fv = 0;
    element(b, i, &iv, &fv);
    return fv;
}

void fe_quiet(void *env, enum diag_severity sev, const char *line) { (void)env, (void)sev, (void)line; }

const void *fe_blob_data(const struct fe_blob *b, struct arena *a) {
    if (b->onnx_type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT) {
        if (!b->raw) return b->n ? b->proto->float_data : (const void *)"";
        if ((uintptr_t)b->raw % 4 == 0) return b->raw;
    }
    size_t size = ir_dtype_size(b->type.dtype);
    unsigned char *out = arena_array(a, (size_t)b->n, size);
    for (int64_t i = 0; i < b->n; i++) {
        int64_t iv = 0;
        double fv = 0;
        element(b, i, &iv, &fv);
        if (ir_is_float(b->type.dtype))
            ir_put_float(b->type.dtype, out, (size_t)i, fv);
        else
            ir_put_int(b->type.dtype, out, (size_t)i, iv);
    }
    return out;
}
