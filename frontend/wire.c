// A look at a file's bytes before protobuf-c unpacks them. It recurses once a nested message without a limit, takes a
// hundred times the memory of a file of empty messages, copies what it has at every repetition of a message that should
// be there once, and ends a string at its first NUL. What nests in what, and which fields are text, comes from
// protobuf-c's own descriptors.
#include "onnx_internal.h"

#include <string.h>

// Of messages in messages, unknown fields apart (those are kept as bytes). An If in an If in a Loop takes nine.
enum { MAX_NESTING = 64 };
// Messages that repeat a field of which there should be one: protobuf merges them, each at the cost of a copy of all
// before.
enum { MAX_MERGES = 16 };
// What protobuf-c and malloc take for a field and for an allocation besides what is in it, rounded up.
enum { FIELD_BYTES = 48, BLOCK_BYTES = 24 };

struct wire {
    struct diag *d;
    uint64_t memory; // what unpacking will have taken
    bool refused;    // a message has been written
};

// FunctionProto.attribute_proto, attributes with their defaults: newer than the schema that protobuf-c has here.
static bool is_default(const ProtobufCMessageDescriptor *in, unsigned tag) {
    return in == &onnx__function_proto__descriptor && tag == FE_DEFAULTS_TAG;
}

static bool read_varint(const unsigned char **p, const unsigned char *end, uint64_t *out) {
    uint64_t v = 0;
    for (int shift = 0; shift < 64 && *p < end; shift += 7) {
        unsigned char b = *(*p)++;
        v |= (uint64_t)(b & 127) << shift;
        if (!(b & 128)) {
            *out = v;
            return true;
        }
    }
    return false;
}

// A text that C strings cannot hold, or that nobody can read. Comments are not printed, and older writers put any
// encoding there.
static void look_at_text(struct wire *w, const ProtobufCMessageDescriptor *in, const ProtobufCFieldDescriptor *f,
                         const unsigned char *p, size_t n) {
    bool nul = memchr(p, 0, n) != NULL;
    if (w->refused || (!nul && (utf8_valid((const char *)p, n) || !strcmp(f->name, "doc_string")))) return;
    char excerpt[80];
    text_escape(excerpt, sizeof excerpt, (const char *)p, n);
    diag_error(w->d, NULL, "the text \"%s\" (field %s of a %s) %s; export the model again with plain names", excerpt,
               f->name, in->short_name, nul ? "has a NUL in it" : "is not UTF-8");
    w->refused = true;
}

static bool is_varint(ProtobufCType t) {
    return t != PROTOBUF_C_TYPE_FLOAT && t != PROTOBUF_C_TYPE_DOUBLE && t != PROTOBUF_C_TYPE_FIXED32 &&
           t != PROTOBUF_C_TYPE_FIXED64 && t != PROTOBUF_C_TYPE_SFIXED32 && t != PROTOBUF_C_TYPE_SFIXED64;
}

static void look(struct wire *w, const ProtobufCMessageDescriptor *what, const unsigned char *p,
                 const unsigned char *end, int depth);

// A field with a length: a message, text, bytes, numbers in a row, or something this schema doesn't know.
static void look_at_bytes(struct wire *w, const ProtobufCMessageDescriptor *what, const ProtobufCFieldDescriptor *f,
                          const unsigned char *p, size_t n, int depth, unsigned tag) {
    if (!f && is_default(what, tag)) { // unpacked when the function is called
        look(w, &onnx__attribute_proto__descriptor, p, p + n, depth + 1);
        return;
    }
    if (!f || (f->type != PROTOBUF_C_TYPE_MESSAGE && f->type != PROTOBUF_C_TYPE_STRING)) {
        bool widens = f && f->type != PROTOBUF_C_TYPE_BYTES && is_varint(f->type);
        w->memory += BLOCK_BYTES + (uint64_t)n * (widens ? sizeof(int64_t) : 1);
        return;
    }
    w->memory += BLOCK_BYTES + sizeof(void *) + (f->type == PROTOBUF_C_TYPE_STRING ? n + 1 : 0);
    if (f->type == PROTOBUF_C_TYPE_STRING)
        look_at_text(w, what, f, p, n);
    else
        look(w, f->descriptor, p, p + n, depth + 1);
}

// Stops at what is malformed: protobuf-c says so, at the same place.
static void look(struct wire *w, const ProtobufCMessageDescriptor *what, const unsigned char *p,
                 const unsigned char *end, int depth) {
    if (depth > MAX_NESTING) {
        diag_error(w->d, NULL,
                   "messages are nested more than %d deep (a %s there); this is not a model any exporter writes",
                   MAX_NESTING, what->short_name);
        w->refused = true;
        return;
    }
    w->memory += what->sizeof_message + BLOCK_BYTES;
    unsigned singles = 0;
    while (p < end && !w->refused) {
        uint64_t tag, v;
        if (!read_varint(&p, end, &tag)) return;
        w->memory += FIELD_BYTES;
        const ProtobufCFieldDescriptor *f =
            tag >> 3 <= UINT32_MAX ? protobuf_c_message_descriptor_get_field(what, (unsigned)(tag >> 3)) : NULL;
        switch (tag & 7) {
        case PROTOBUF_C_WIRE_TYPE_VARINT:
            if (!read_varint(&p, end, &v)) return;
            break;
        case PROTOBUF_C_WIRE_TYPE_64BIT:
        case PROTOBUF_C_WIRE_TYPE_32BIT:
            v = (tag & 7) == PROTOBUF_C_WIRE_TYPE_64BIT ? 8 : 4;
            if ((uint64_t)(end - p) < v) return;
            p += v;
            break;
        case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
            if (!read_varint(&p, end, &v) || v > (uint64_t)(end - p)) return;
            if (f && f->type == PROTOBUF_C_TYPE_MESSAGE && f->label != PROTOBUF_C_LABEL_REPEATED &&
                ++singles > what->n_fields + MAX_MERGES) {
                diag_error(w->d, NULL, "a %s repeats its field %s too often; this is not a model any exporter writes",
                           what->short_name, f->name);
                w->refused = true;
                return;
            }
            look_at_bytes(w, what, f, p, (size_t)v, depth, (unsigned)(tag >> 3));
            p += v;
            break;
        default: // groups, which neither protobuf-c nor ONNX has
            return;
        }
    }
}

bool fe_wire_ok(struct diag *d, const void *data, size_t size) {
    struct wire w = {.d = d};
    look(&w, &onnx__model_proto__descriptor, data, (const unsigned char *)data + size, 0);
    if (w.refused) return false;
    if (budget_allows(w.memory)) return true;
    diag_error(d, NULL, "%zu bytes cannot be unpacked: %s", size, budget_why());
    return false;
}
