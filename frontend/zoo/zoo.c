// The table of backbones, and fe_new: options -> network -> ONNX file.
#include "zoo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// name, network, its variant, smallest height and width, default height and width, has --width, most side heads, what
// `smkdc new --list` says
#define ARCHS(X)                                                                                                       \
    X(resnet8, zoo_resnet_cifar, 8, 1, 32, true, 0,                                                                    \
      "CIFAR ResNet-8 (He et al. 2016, 4.2): 3x3 stem, one basic block each at w, 2w, 4w channels (--width)")          \
    X(resnet8s, zoo_resnet_cifar, -8, 1, 32, true, 0,                                                                  \
      "resnet8 with a stem of stride 2: a quarter of the work; --width 32 for Fashion-MNIST")                          \
    X(resnet20, zoo_resnet_cifar, 20, 1, 32, true, 0, "CIFAR ResNet-20 (--width): 269,722 parameters for 10 classes")  \
    X(resnet32, zoo_resnet_cifar, 32, 1, 32, true, 0, "CIFAR ResNet-32 (--width): 464,154")                            \
    X(resnet44, zoo_resnet_cifar, 44, 1, 32, true, 0, "CIFAR ResNet-44 (--width): 658,586")                            \
    X(resnet56, zoo_resnet_cifar, 56, 1, 32, true, 0, "CIFAR ResNet-56 (--width): 853,018")                            \
    X(resnet18, zoo_resnet, 0, 1, 32, false, 3,                                                                        \
      "ResNet-18; inputs up to 64 get a 3x3 stem without max-pool: 11,689,512 for 1000 classes at 224")                \
    X(resnet34, zoo_resnet, 1, 1, 32, false, 3, "ResNet-34: 21,797,672")                                               \
    X(resnet50, zoo_resnet, 2, 1, 32, false, 3, "ResNet-50: 25,557,032")                                               \
    X(resnext50_32x4d, zoo_resnet, 3, 1, 32, false, 3, "ResNeXt-50 32x4d: 25,028,904")                                 \
    X(preact_resnet18, zoo_preact_resnet18, 0, 1, 32, false, 0,                                                        \
      "PreAct ResNet-18 with a 3x3 stem: 11,171,274 for 10 classes")                                                   \
    X(shufflenet_v2_x1_0, zoo_shufflenet_v2, 0, 1, 32, false, 0, "ShuffleNetV2 x1.0: 2,278,604 for 1000 classes")      \
    X(inception_resnet_v2, zoo_inception_resnet_v2, 0, 75, 299, false, 0,                                              \
      "Inception-ResNet-v2, 3x299x299 unless --input says otherwise: 55,843,464 for 1000 classes")

const struct fe_arch fe_archs[] = {
#define X(name, net, variant, min, def, width, heads, doc) {#name, doc},
    ARCHS(X)
#undef X
        {NULL, NULL}};

const struct zoo_arch zoo_archs[] = {
#define X(name, net, variant, min, def, width, heads, doc) {#name, net, variant, min, def, width, heads},
    ARCHS(X)
#undef X
        {NULL, NULL, 0, 0, 0, false, 0}};

// By its name, or by what stands in front of an underscore in the name of one alone: "resnext50".
static const struct zoo_arch *find_arch(const char *name, struct diag *d) {
    const struct zoo_arch *begins = NULL;
    const size_t n = strlen(name);
    int several = 0;
    for (const struct zoo_arch *a = zoo_archs; a->name; a++) {
        if (!strcmp(a->name, name)) return a;
        if (strncmp(a->name, name, n) || a->name[n] != '_') continue;
        begins = a;
        several++;
    }
    if (several == 1) return begins;
    struct str names = STR_INIT;
    for (const struct zoo_arch *a = zoo_archs; a->name; a++)
        str_addf(&names, "%s%s", a == zoo_archs ? "" : ", ", a->name);
    diag_error(d, NULL, "unknown architecture \"%s\"; there are %s", name, names.s);
    str_release(&names);
    return NULL;
}

static bool fill_options(const struct zoo_arch *a, const struct fe_new_options *given, struct fe_new_options *o,
                         struct diag *d) {
    *o = *given;
    const bool any = o->channels || o->height || o->width;
    if (!any) {
        o->channels = 3;
        o->height = o->width = a->default_size;
    }
    if (!o->classes) o->classes = 10;
    if (o->width_base && !a->has_width) {
        diag_error(d, NULL, "%s has fixed channel counts; --width is for the CIFAR ResNets", a->name);
        return false;
    }
    if (o->heads && !a->heads) {
        diag_error(d, NULL, "%s has no side heads of its own; --heads is for ResNet-18, -34, -50 and ResNeXt-50",
                   a->name);
        return false;
    }
    if (!o->width_base) o->width_base = 16;
    const struct {
        const char *what;
        int v, min, max;
    } limits[] = {{"input channels", o->channels, 1, 1024}, {"input height", o->height, 1, 8192},
                  {"input width", o->width, 1, 8192},       {"classes", o->classes, 1, 1000000},
                  {"--heads", o->heads, 0, a->heads},       {"--width", o->width_base, 1, 4096}};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (limits[i].v < limits[i].min || limits[i].v > limits[i].max) {
            diag_error(d, NULL, "%s %d: expected %d to %d", limits[i].what, limits[i].v, limits[i].min, limits[i].max);
            return false;
        }
    if (o->height < a->min_size || o->width < a->min_size) {
        diag_error(d, NULL, "%s needs an input of at least %dx%dx%d, not %dx%dx%d", a->name, o->channels, a->min_size,
                   a->min_size, o->channels, o->height, o->width);
        return false;
    }
    return true;
}

// f32 [N, dims...]
static Onnx__ValueInfoProto *value_info(struct arena *a, const char *name, const int64_t *dims, size_t n) {
    Onnx__TensorShapeProto *shape = ARENA_NEW(a, Onnx__TensorShapeProto);
    onnx__tensor_shape_proto__init(shape);
    shape->n_dim = n + 1;
    shape->dim = ARENA_ARRAY(a, Onnx__TensorShapeProto__Dimension *, n + 1);
    for (size_t i = 0; i <= n; i++) {
        Onnx__TensorShapeProto__Dimension *dim = shape->dim[i] = ARENA_NEW(a, Onnx__TensorShapeProto__Dimension);
        onnx__tensor_shape_proto__dimension__init(dim);
        if (i == 0) {
            dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            dim->dim_param = (char *)"N";
        } else {
            dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            dim->dim_value = dims[i - 1];
        }
    }
    Onnx__TypeProto__Tensor *tensor = ARENA_NEW(a, Onnx__TypeProto__Tensor);
    onnx__type_proto__tensor__init(tensor);
    tensor->has_elem_type = 1;
    tensor->elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    tensor->shape = shape;
    Onnx__TypeProto *type = ARENA_NEW(a, Onnx__TypeProto);
    onnx__type_proto__init(type);
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    Onnx__ValueInfoProto *v = ARENA_NEW(a, Onnx__ValueInfoProto);
    onnx__value_info_proto__init(v);
    v->name = (char *)name;
    v->type = type;
    return v;
}

// protobuf-c hands the packed bytes over in pieces, so the file never lies in memory a second time.
struct file_buffer {
    ProtobufCBuffer base;
    FILE *f;
};
static void append_to_file(ProtobufCBuffer *b, size_t n, const uint8_t *data) {
    FILE *f = ((struct file_buffer *)b)->f;
    if (n && !ferror(f)) (void)fwrite(data, 1, n, f); // a failure sticks to the stream: io_writer_commit sees it
}

static enum smkd_status write_model(const struct zoo *z, const char *path) {
    Onnx__OperatorSetIdProto opset = ONNX__OPERATOR_SET_ID_PROTO__INIT;
    opset.domain = (char *)"";
    opset.has_version = 1;
    opset.version = 17;
    Onnx__StringStringEntryProto architecture = ONNX__STRING_STRING_ENTRY_PROTO__INIT, taps = architecture;
    architecture.key = (char *)"architecture";
    architecture.value = (char *)z->arch;
    struct str names = STR_INIT;
    for (size_t i = 0; i < z->n_taps; i++) str_addf(&names, "%s%s", i ? "," : "", z->taps[i].name);
    taps.key = (char *)FE_TAPS_KEY;
    taps.value = names.s;
    Onnx__ModelProto m = ONNX__MODEL_PROTO__INIT;
    m.has_ir_version = 1;
    m.ir_version = 8;
    m.n_opset_import = 1;
    m.opset_import = (Onnx__OperatorSetIdProto *[]){&opset};
    m.producer_name = (char *)"smkdc";
    m.producer_version = (char *)SMKD_VERSION;
    m.graph = (Onnx__GraphProto *)&z->graph;
    m.n_metadata_props = z->n_taps ? 2 : 1;
    m.metadata_props = (Onnx__StringStringEntryProto *[]){&architecture, &taps};

    struct io_writer w;
    enum smkd_status s = io_writer_open(&w, path);
    if (s == SMKD_OK) {
        struct file_buffer b = {{append_to_file}, w.f};
        onnx__model_proto__pack_to_buffer(&m, &b.base);
        s = io_writer_commit(&w);
    }
    if (s != SMKD_OK) diag_error(z->diag, NULL, "cannot write %s: %s", path, strerror(errno));
    str_release(&names);
    return s;
}

enum smkd_status fe_new(const char *arch, const struct fe_new_options *given, const char *path, struct diag *d) {
    const struct zoo_arch *a = find_arch(arch, d);
    struct fe_new_options o;
    if (!a || !fill_options(a, given, &o, d)) return SMKD_INVALID;

    struct arena arena;
    arena_init(&arena);
    struct zoo z = {.arena = &arena, .diag = d, .arch = a->name, .o = o, .bn_eps = 1e-5};
    onnx__graph_proto__init(&z.graph);
    z.graph.name = (char *)a->name;
    const int64_t in_dims[] = {o.channels, o.height, o.width};
    Onnx__ValueInfoProto *input = value_info(&arena, "x", in_dims, 3);
    z.graph.n_input = 1;
    z.graph.input = &input;

    struct zoo_val logits = a->forward(&z, (struct zoo_val){"x", o.channels, o.height, o.width}, a->variant);
    logits = zoo_named(&z, logits, "logits");
    z.graph.n_output = 1 + z.n_taps;
    z.graph.output = ARENA_ARRAY(&arena, Onnx__ValueInfoProto *, z.graph.n_output);
    for (size_t i = 0; i < z.graph.n_output; i++) {
        const struct zoo_val *v = i ? &z.taps[i - 1] : &logits;
        z.graph.output[i] = value_info(&arena, v->name, &v->c, 1);
    }
    const enum smkd_status s = z.failed ? SMKD_INVALID : write_model(&z, path);
    arena_release(&arena);
    return s;
}
