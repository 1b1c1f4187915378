// What exporters say about the tensors they write, by marks and by names.
//
// PyTorch's default exporter writes into the value_info of an initializer, or into the initializer, whether it was a
// parameter, a buffer or a constant of the module (metadata_props, "pkg.torch.export.graph_signature.InputSpec.kind"),
// and for one that it computed what from ("pkg.onnxscript.optimizer.folded_from"). Its older one, TorchScript's, says
// nothing; but parameters and persistent buffers keep the names of the state dict, and constants get others.
#include "parameters.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

// --- names

bool fe_torchscript_constant(const char *name) {
    return !fnmatch("*/Constant_output_0", name, 0) || !fnmatch("*/Constant_[0-9]*_output_0", name, 0);
}

bool fe_made_up(const char *name) {
    static const char *const patterns[] = {
        "val_[0-9]*",
        "_val_[0-9]*",
        "lifted_tensor*",
        "_lifted_tensor*",
        "c_lifted_tensor*",
        "_tensor_constant*",
        "scalar_tensor*",
        "Constant_*",
        "*_Constant_[0-9]*",
        "const_*",
        "*__const_*",
        "*/Const:0",
        "*/Const_[0-9]*:0",
        "*/x:0",
        "*/y:0",
        "*/epsilon:0", // TensorFlow
        "ortshared_*",
        "graph_constant_*", // onnxruntime
    };
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        if (!fnmatch(patterns[i], name, 0)) return true;
    return fe_torchscript_constant(name);
}

// "onnx::MatMul_54", "/encoder/Mul_output_0", "57": the exporter's or an optimizer's, for a constant or for what it
// has computed from a parameter.
static bool anonymous(const char *name) {
    return fe_made_up(name) || str_has_prefix(name, "onnx::") || *name == '/' || !name[strspn(name, "0123456789")];
}

bool fe_learned_name(const struct fe_dialect *d, const char *name) {
    static const char *const words[] = {"weight", "bias",  "gamma", "beta",  "gate",  "slope",
                                        "temp",   "logit", "token", "embed", "prompt"};
    if (anonymous(name)) return false;
    if (d->state_names || strstr(name, "ReadVariableOp")) return true;
    const char *last = strrchr(name, '.');
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(last ? last : name, words[i])) return true;
    return last && last > name && last[1];
}

// --- marks

static bool varint(const uint8_t **p, const uint8_t *end, uint64_t *out) {
    *out = 0;
    for (int shift = 0; *p < end && shift < 64; shift += 7) {
        const uint8_t b = *(*p)++;
        *out |= (uint64_t)(b & 127) << shift;
        if (!(b & 128)) return true;
    }
    return false;
}

static void read_entry(struct arena *a, const Onnx__StringStringEntryProto *e, struct fe_float *t) {
    if (!e || !e->key || !e->value) return;
    if (str_has_suffix(e->key, "InputSpec.kind")) t->kind = arena_strdup(a, e->value);
    if (str_has_suffix(e->key, "optimizer.folded_from")) t->folded = arena_strdup(a, e->value);
}

// Reads the metadata_props of a message, field `props` of it. Older schemas than the field (ONNX 1.16) keep it as an
// unknown one, newer ones as a member: the packed message has it in either case.
enum { VALUE_PROPS = 4, TENSOR_PROPS = 16 };

static void read_props(struct arena *a, const ProtobufCMessage *m, uint64_t props, struct fe_float *t) {
    const size_t size = protobuf_c_message_get_packed_size(m);
    uint8_t *bytes = arena_alloc(a, size + 1);
    protobuf_c_message_pack(m, bytes);
    const uint8_t *p = bytes, *end = bytes + size;
    uint64_t tag, len;
    while (p < end && varint(&p, end, &tag) && varint(&p, end, &len)) { // other than these, tensors have varints alone
        if ((tag & 7) == 0) continue;
        if ((tag & 7) != 2 || len > (uint64_t)(end - p)) return;
        if (tag >> 3 == props) {
            Onnx__StringStringEntryProto *e = onnx__string_string_entry_proto__unpack(NULL, len, p);
            read_entry(a, e, t);
            if (e) onnx__string_string_entry_proto__free_unpacked(e, NULL);
        }
        p += len;
    }
}

// What a message says apart from its elements and its type.
static void read_value_mark(struct arena *a, const Onnx__ValueInfoProto *v, struct fe_float *t) {
    Onnx__ValueInfoProto bare = *v;
    bare.type = NULL;
    read_props(a, &bare.base, VALUE_PROPS, t);
}

static void read_tensor_mark(struct arena *a, struct fe_float *t) {
    Onnx__TensorProto bare = *t->blob.proto;
    bare.has_raw_data = 0;
    bare.n_dims = bare.n_float_data = bare.n_int32_data = bare.n_string_data = bare.n_int64_data = 0;
    bare.n_double_data = bare.n_uint64_data = bare.n_external_data = 0;
    read_props(a, &bare.base, TENSOR_PROPS, t);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct fe_float *)a)->name, ((const struct fe_float *)b)->name);
}

// An FX graph's placeholders, where an exporter kept their names: p_layer_weight, b_layer_running_mean, c_table.
static const char *fx_kind(const char *name) {
    static const struct {
        const char *prefix, *kind;
    } kinds[] = {{"p_", "PARAMETER"}, {"b_", "BUFFER"}, {"c_", "CONSTANT_TENSOR"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !strchr(name, '.'); i++)
        if (str_has_prefix(name, kinds[i].prefix)) return kinds[i].kind;
    return NULL;
}

void fe_read_marks(struct arena *a, const Onnx__ModelProto *m, struct fe_float *ts, size_t n, struct fe_dialect *out) {
    const Onnx__GraphProto *g = m->graph;
    for (size_t i = 0; i < g->n_value_info && n; i++) {
        const struct fe_float key = {.name = g->value_info[i]->name ? g->value_info[i]->name : ""};
        struct fe_float *t = bsearch(&key, ts, n, sizeof *ts, by_name);
        if (t) read_value_mark(a, g->value_info[i], t);
    }
    for (size_t i = 0; i < n; i++) read_tensor_mark(a, &ts[i]);
    *out = (struct fe_dialect){.state_names = m->producer_name && !strcmp(m->producer_name, "pytorch")};
    bool fx = out->state_names, weights = false;
    for (size_t i = 0; i < n; i++) {
        out->marks |= ts[i].kind != NULL;
        weights |= ts[i].blob.n >= 2 && !anonymous(ts[i].name);
        fx &= anonymous(ts[i].name) || fx_kind(ts[i].name);
    }
    out->torchscript = weights; // else everything is a constant of that naming: a frozen module
    for (size_t i = 0; i < n && fx && weights && !out->marks; i++) ts[i].kind = fx_kind(ts[i].name);
    out->marks |= fx && weights;
}

// "['clone', 'lifted_tensor_0', 'val_2']": what an exporter computes constants with has the names of operators.
bool fe_folded_constants(const char *names) {
    static const char *const makers[] = {
        "arange",
        "linspace",
        "eye",
        "zeros",
        "ones",
        "full",
        "empty",
        "scalar_tensor",
        "new_zeros",
        "new_ones",
        "new_full",
        "zeros_like",
        "ones_like",
        "full_like",
        "tril",
        "triu",
        "clone",
        "detach",
        "alias",
        "to",
        "_to_copy",
        "convert_element_type",
        "convert_element_type_default",
        "lift_fresh_copy",
        "repeat",
        "expand",
        "view",
        "reshape",
        "permute",
        "transpose",
        "t",
        "unsqueeze",
        "squeeze",
        "slice",
        "select",
        "cat",
        "stack",
        "flip",
        "roll",
        "index",
        "meshgrid",
        "add",
        "sub",
        "rsub",
        "mul",
        "div",
        "pow",
        "neg",
        "exp",
        "log",
        "sqrt",
        "rsqrt",
        "sin",
        "cos",
        "sum",
        "cumsum",
        "where",
        "masked_fill",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "logical_not",
        "bitwise_not",
        "remainder",
        "floor_divide",
        "floor",
        "ceil",
        "round",
        "abs",
        "clamp",
        "outer",
        "einsum",
        "_unsafe_view",
    };
    for (const char *p = names; (p = strchr(p, '\'')); p++) {
        char name[64];
        const size_t len = strcspn(++p, "'");
        if (len >= sizeof name) return false;
        memcpy(name, p, len);
        name[len] = 0;
        p += len;
        if (!*p) break;
        if (fe_made_up(name)) continue;
        char *number = strrchr(name, '_');
        if (number && number[1] && strspn(number + 1, "0123456789") == strlen(number + 1)) *number = 0;
        bool maker = false;
        for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) maker |= !strcmp(makers[i], name);
        if (!maker) return false;
    }
    return true;
}
