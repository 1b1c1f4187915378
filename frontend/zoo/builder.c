// Layers -> ONNX nodes and initializers (opset 17).
#include "zoo.h"

#include <math.h>
#include <string.h>

// A protobuf message cannot exceed 2 GiB; all that is not weights needs little.
#define MAX_PARAMS INT64_C(500000000)

const char *zoo_path(struct zoo *z, const char *fmt, ...) {
    char buf[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    return arena_strdup(z->arena, buf);
}

static struct zoo_val fail_small(struct zoo *z, struct zoo_val x, const char *path) {
    if (!z->failed)
        diag_error(z->diag, NULL,
                   "input %dx%dx%d is too small for %s: only %lldx%lld is left at %s; use a larger --input",
                   z->o.channels, z->o.height, z->o.width, z->arch, (long long)x.h, (long long)x.w, path);
    z->failed = true;
    return x;
}

// --- initializers -------------------------------------------------------------------------------------------------

static Onnx__TensorProto *new_init(struct zoo *z, const char *name, int32_t type, size_t elem, const int64_t *dims,
                                   size_t rank, void **data) {
    int64_t n = 1;
    for (size_t i = 0; i < rank; i++) n *= dims[i];
    Onnx__TensorProto *t = ARENA_NEW(z->arena, Onnx__TensorProto);
    onnx__tensor_proto__init(t);
    t->name = (char *)name;
    t->n_dims = rank;
    t->dims = rank ? arena_dup(z->arena, dims, rank * sizeof *dims) : NULL;
    t->has_data_type = 1;
    t->data_type = type;
    t->has_raw_data = 1;
    t->raw_data.len = (size_t)n * elem;
    t->raw_data.data = arena_array(z->arena, (size_t)n, elem);
    *data = t->raw_data.data;
    *ARENA_PUSH(z->arena, z->graph.initializer, z->graph.n_initializer, z->cap_inits) = t;
    return t;
}

// A float initializer PATH.leaf; its zeroed elements go to *data. NULL (and z->failed) when the file would be too
// large.
static char *new_param(struct zoo *z, const char *path, const char *leaf, const int64_t *dims, size_t rank,
                       bool trained, float **data) {
    int64_t room = MAX_PARAMS - z->n_params;
    for (size_t i = 0; i < rank; i++) room /= dims[i];
    if (z->failed || room < 1) {
        if (!z->failed)
            diag_error(z->diag, NULL,
                       "%s with these options has more than %lld parameters, more than an ONNX file of one "
                       "part can hold; choose a smaller --width or --classes",
                       z->arch, (long long)MAX_PARAMS);
        z->failed = true;
        return NULL;
    }
    char *name = arena_printf(z->arena, "%s.%s", path, leaf);
    void *p;
    Onnx__TensorProto *t = new_init(z, name, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, sizeof(float), dims, rank, &p);
    if (trained) z->n_params += (int64_t)(t->raw_data.len / sizeof(float));
    *data = p;
    return name;
}

static const char *const_i64(struct zoo *z, const char *name, const int64_t *v, size_t n) {
    void *p;
    const int64_t dims[] = {(int64_t)n};
    new_init(z, name, ONNX__TENSOR_PROTO__DATA_TYPE__INT64, sizeof *v, dims, 1, &p);
    memcpy(p, v, n * sizeof *v);
    return name;
}

// --- nodes --------------------------------------------------------------------------------------------------------

// "/layer1/0/conv1/Conv", with _1, _2 ... where that name is taken.
static char *node_name(struct zoo *z, const char *path, const char *op) {
    char *base = arena_printf(z->arena, "/%s%s%s", path, *path ? "/" : "", op), *name = base;
    for (char *p = base; *p; p++)
        if (*p == '.') *p = '/';
    for (int k = 1;; k++) {
        bool taken = false;
        for (size_t i = 0; i < z->graph.n_node && !taken; i++) taken = !strcmp(z->graph.node[i]->name, name);
        if (!taken) return name;
        name = arena_printf(z->arena, "%s_%d", base, k);
    }
}

// Operands are copied; a node with n_out results names them NAME_output_0 ...
static Onnx__NodeProto *add_node(struct zoo *z, const char *op, const char *path, const char *const *in, size_t n_in,
                                 size_t n_out) {
    Onnx__NodeProto *n = ARENA_NEW(z->arena, Onnx__NodeProto);
    onnx__node_proto__init(n);
    n->name = node_name(z, path, op);
    n->op_type = (char *)op;
    n->n_input = n_in;
    n->input = arena_dup(z->arena, in, n_in * sizeof *in);
    n->n_output = n_out;
    n->output = ARENA_ARRAY(z->arena, char *, n_out);
    for (size_t i = 0; i < n_out; i++) n->output[i] = arena_printf(z->arena, "%s_output_%zu", n->name, i);
    n->attribute = ARENA_ARRAY(z->arena, Onnx__AttributeProto *, 8);
    *ARENA_PUSH(z->arena, z->graph.node, z->graph.n_node, z->cap_nodes) = n;
    return n;
}

static Onnx__AttributeProto *add_attr(struct zoo *z, Onnx__NodeProto *n, const char *name,
                                      Onnx__AttributeProto__AttributeType type) {
    CHECK(n->n_attribute < 8, "more than 8 attributes on %s", n->name);
    Onnx__AttributeProto *a = ARENA_NEW(z->arena, Onnx__AttributeProto);
    onnx__attribute_proto__init(a);
    a->name = (char *)name;
    a->has_type = 1;
    a->type = type;
    return n->attribute[n->n_attribute++] = a;
}

static void attr_i(struct zoo *z, Onnx__NodeProto *n, const char *name, int64_t v) {
    Onnx__AttributeProto *a = add_attr(z, n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    a->has_i = 1;
    a->i = v;
}

static void attr_f(struct zoo *z, Onnx__NodeProto *n, const char *name, double v) {
    Onnx__AttributeProto *a = add_attr(z, n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    a->has_f = 1;
    a->f = (float)v;
}

static void attr_s(struct zoo *z, Onnx__NodeProto *n, const char *name, const char *v) {
    Onnx__AttributeProto *a = add_attr(z, n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    a->has_s = 1;
    a->s = (ProtobufCBinaryData){strlen(v), (uint8_t *)arena_strdup(z->arena, v)};
}

static void attr_ints(struct zoo *z, Onnx__NodeProto *n, const char *name, const int64_t *v, size_t count) {
    Onnx__AttributeProto *a = add_attr(z, n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    a->n_ints = count;
    a->ints = arena_dup(z->arena, v, count * sizeof *v);
}

static void attr_window(struct zoo *z, Onnx__NodeProto *n, struct zoo_window w, int64_t groups) {
    if (groups) {
        attr_ints(z, n, "dilations", (int64_t[]){1, 1}, 2);
        attr_i(z, n, "group", groups);
    }
    attr_ints(z, n, "kernel_shape", (int64_t[]){w.kh, w.kw}, 2);
    attr_ints(z, n, "pads", (int64_t[]){w.ph, w.pw, w.ph, w.pw}, 4);
    attr_ints(z, n, "strides", (int64_t[]){w.stride, w.stride}, 2);
}

// Height and width after a window went over x; false when nothing is left.
static bool slide(struct zoo_val x, struct zoo_window w, struct zoo_val *y) {
    int64_t h = x.h + 2 * w.ph - w.kh, v = x.w + 2 * w.pw - w.kw;
    if (h < 0 || v < 0) return false;
    *y = (struct zoo_val){NULL, x.c, h / w.stride + 1, v / w.stride + 1};
    return true;
}

static struct zoo_val result(const Onnx__NodeProto *n, int64_t c, int64_t h, int64_t w) {
    return (struct zoo_val){n->output[0], c, h, w};
}

// --- layers with parameters -----------------------------------------------------------------------------------------

struct zoo_val zoo_conv(struct zoo *z, struct zoo_val x, const char *path, int64_t out, struct zoo_window w,
                        int64_t groups, bool bias) {
    struct zoo_val y;
    float *data;
    if (z->failed) return x;
    if (!slide(x, w, &y)) return fail_small(z, x, path);
    CHECK(x.c % groups == 0 && out % groups == 0, "%s: %lld groups", path, (long long)groups);
    const int64_t dims[] = {out, x.c / groups, w.kh, w.kw};
    const char *in[3] = {x.name};
    if (!(in[1] = new_param(z, path, "weight", dims, 4, true, &data))) return x;
    // He et al. 2015, forward variance kept in the backward direction: std = sqrt(2 / fan_out), with PyTorch's fan_out
    // of out * kh * kw whatever the groups.
    zoo_init_normal(data, (size_t)(dims[0] * dims[1] * dims[2] * dims[3]), sqrt(2.0 / (double)(out * w.kh * w.kw)),
                    z->o.seed, in[1]);
    if (bias) {
        if (!(in[2] = new_param(z, path, "bias", dims, 1, true, &data))) return x;
        zoo_init_uniform(data, (size_t)out, 1.0 / sqrt((double)(dims[1] * w.kh * w.kw)), z->o.seed, in[2]);
    }
    Onnx__NodeProto *n = add_node(z, "Conv", path, in, bias ? 3 : 2, 1);
    attr_window(z, n, w, groups);
    return result(n, out, y.h, y.w);
}

struct zoo_val zoo_bn(struct zoo *z, struct zoo_val x, const char *path) {
    static const struct {
        const char *leaf;
        float value;
        bool trained;
    } vectors[] = {{"weight", 1, true}, {"bias", 0, true}, {"running_mean", 0, false}, {"running_var", 1, false}};
    const char *in[5] = {x.name};
    for (size_t k = 0; k < 4; k++) {
        float *data;
        if (!(in[k + 1] = new_param(z, path, vectors[k].leaf, &x.c, 1, vectors[k].trained, &data))) return x;
        for (int64_t i = 0; i < x.c; i++) data[i] = vectors[k].value;
    }
    Onnx__NodeProto *n = add_node(z, "BatchNormalization", path, in, 5, 1);
    attr_f(z, n, "epsilon", z->bn_eps);
    attr_f(z, n, "momentum", 0.9); // ONNX keeps this share of the old statistics: PyTorch's momentum 0.1
    attr_i(z, n, "training_mode", 0);
    return result(n, x.c, x.h, x.w);
}

struct zoo_val zoo_linear(struct zoo *z, struct zoo_val x, const char *path, int64_t out) {
    const int64_t dims[] = {out, x.c};
    const double bound = 1.0 / sqrt((double)x.c);
    const char *in[3] = {x.name};
    float *data;
    if (!(in[1] = new_param(z, path, "weight", dims, 2, true, &data))) return x;
    zoo_init_uniform(data, (size_t)(out * x.c), bound, z->o.seed, in[1]);
    if (!(in[2] = new_param(z, path, "bias", dims, 1, true, &data))) return x;
    zoo_init_uniform(data, (size_t)out, bound, z->o.seed, in[2]);
    Onnx__NodeProto *n = add_node(z, "Gemm", path, in, 3, 1);
    attr_f(z, n, "alpha", 1);
    attr_f(z, n, "beta", 1);
    attr_i(z, n, "transB", 1);
    return result(n, out, 0, 0);
}

// --- layers without -------------------------------------------------------------------------------------------------

struct zoo_val zoo_relu(struct zoo *z, struct zoo_val x, const char *path) {
    if (z->failed) return x;
    return result(add_node(z, "Relu", path, &x.name, 1, 1), x.c, x.h, x.w);
}

static struct zoo_val elementwise(struct zoo *z, const char *op, struct zoo_val a, struct zoo_val b, const char *path) {
    if (z->failed) return a;
    CHECK(a.c == b.c && a.h == b.h && a.w == b.w, "%s: %s of unequal shapes", path, op);
    return result(add_node(z, op, path, (const char *[]){a.name, b.name}, 2, 1), a.c, a.h, a.w);
}

struct zoo_val zoo_add(struct zoo *z, struct zoo_val a, struct zoo_val b, const char *path) {
    return elementwise(z, "Add", a, b, path);
}

struct zoo_val zoo_mul(struct zoo *z, struct zoo_val a, struct zoo_val b, const char *path) {
    return elementwise(z, "Mul", a, b, path);
}

// Floats that are no weight: the name of a constant starts with the slash of a node's name, and it enters through a
// Constant node, because a float initializer would be trained.
static const char *constant(struct zoo *z, const char *path, const float *v, size_t n) {
    Onnx__TensorProto *t = ARENA_NEW(z->arena, Onnx__TensorProto);
    onnx__tensor_proto__init(t);
    t->has_data_type = 1;
    t->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    t->n_dims = n > 1;
    t->dims = n > 1 ? arena_dup(z->arena, &(int64_t){(int64_t)n}, sizeof *t->dims) : NULL;
    t->has_raw_data = 1;
    t->raw_data.len = n * sizeof *v;
    t->raw_data.data = arena_dup(z->arena, v, n * sizeof *v);
    Onnx__NodeProto *c = add_node(z, "Constant", path, NULL, 0, 1);
    add_attr(z, c, "value", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR)->t = t;
    return c->output[0];
}

struct zoo_val zoo_scale(struct zoo *z, struct zoo_val x, float by, const char *path) {
    if (z->failed) return x;
    const char *in[] = {x.name, constant(z, path, &by, 1)};
    return result(add_node(z, "Mul", path, in, 2, 1), x.c, x.h, x.w);
}

struct zoo_val zoo_sigmoid(struct zoo *z, struct zoo_val x, const char *path) {
    if (z->failed) return x;
    return result(add_node(z, "Sigmoid", path, &x.name, 1, 1), x.c, x.h, x.w);
}

struct zoo_val zoo_double(struct zoo *z, struct zoo_val x, struct zoo_val like, const char *path) {
    if (z->failed) return x;
    if (2 * x.h != like.h || 2 * x.w != like.w) {
        diag_error(
            z->diag, NULL,
            "%s needs feature maps of even height and width where it has side heads, which input %dx%dx%d does not "
            "give: %s is %lldx%lld; use another --input",
            z->arch, z->o.channels, z->o.height, z->o.width, path, (long long)like.h, (long long)like.w);
        z->failed = true;
        return x;
    }
    const char *in[] = {x.name, "", constant(z, path, (const float[]){1, 1, 2, 2}, 4)};
    Onnx__NodeProto *n = add_node(z, "Resize", path, in, 3, 1);
    attr_s(z, n, "coordinate_transformation_mode", "half_pixel");
    attr_s(z, n, "mode", "linear");
    return result(n, x.c, like.h, like.w);
}

static struct zoo_val pool(struct zoo *z, const char *op, struct zoo_val x, const char *path, struct zoo_window w,
                           bool average) {
    struct zoo_val y;
    if (z->failed) return x;
    if (!slide(x, w, &y)) return fail_small(z, x, path);
    Onnx__NodeProto *n = add_node(z, op, path, &x.name, 1, 1);
    attr_i(z, n, "ceil_mode", 0);
    if (average) attr_i(z, n, "count_include_pad", 0);
    attr_window(z, n, w, 0);
    return result(n, y.c, y.h, y.w);
}

struct zoo_val zoo_max_pool(struct zoo *z, struct zoo_val x, const char *path, struct zoo_window w) {
    return pool(z, "MaxPool", x, path, w, false);
}

struct zoo_val zoo_avg_pool(struct zoo *z, struct zoo_val x, const char *path, struct zoo_window w) {
    return pool(z, "AveragePool", x, path, w, true);
}

struct zoo_val zoo_global_pool(struct zoo *z, struct zoo_val x, const char *path) {
    if (z->failed) return x;
    Onnx__NodeProto *p = add_node(z, "GlobalAveragePool", path, &x.name, 1, 1);
    Onnx__NodeProto *n = add_node(z, "Flatten", "", (const char *const *)p->output, 1, 1);
    attr_i(z, n, "axis", 1);
    return result(n, x.c, 0, 0);
}

struct zoo_val zoo_concat(struct zoo *z, const struct zoo_val *xs, size_t n_xs, const char *path) {
    const char *in[8];
    int64_t c = 0;
    if (z->failed) return xs[0];
    CHECK(n_xs <= 8, "%s: concat of %zu", path, n_xs);
    for (size_t i = 0; i < n_xs; i++) {
        CHECK(xs[i].h == xs[0].h && xs[i].w == xs[0].w, "%s: concat of unequal planes", path);
        in[i] = xs[i].name;
        c += xs[i].c;
    }
    Onnx__NodeProto *n = add_node(z, "Concat", path, in, n_xs, 1);
    attr_i(z, n, "axis", 1);
    return result(n, c, xs[0].h, xs[0].w);
}

void zoo_halves(struct zoo *z, struct zoo_val x, const char *path, struct zoo_val out[2]) {
    out[0] = out[1] = x;
    if (z->failed) return;
    CHECK(x.c % 2 == 0, "%s: halves of %lld channels", path, (long long)x.c);
    const char *sizes = const_i64(z, arena_printf(z->arena, "%s.split", path), (int64_t[]){x.c / 2, x.c / 2}, 2);
    Onnx__NodeProto *n = add_node(z, "Split", path, (const char *[]){x.name, sizes}, 2, 2);
    attr_i(z, n, "axis", 1);
    for (int i = 0; i < 2; i++) out[i] = (struct zoo_val){n->output[i], x.c / 2, x.h, x.w};
}

struct zoo_val zoo_shuffle(struct zoo *z, struct zoo_val x, int64_t groups, const char *path) {
    if (z->failed) return x;
    // 0 copies the dimension: the batch stays symbolic.
    const char *apart =
        const_i64(z, arena_printf(z->arena, "%s.grouped", path), (int64_t[]){0, groups, x.c / groups, x.h, x.w}, 5);
    const char *back = const_i64(z, arena_printf(z->arena, "%s.flat", path), (int64_t[]){0, x.c, x.h, x.w}, 4);
    Onnx__NodeProto *n = add_node(z, "Reshape", path, (const char *[]){x.name, apart}, 2, 1);
    n = add_node(z, "Transpose", path, (const char *const *)n->output, 1, 1);
    attr_ints(z, n, "perm", (int64_t[]){0, 2, 1, 3, 4}, 5);
    n = add_node(z, "Reshape", path, (const char *[]){n->output[0], back}, 2, 1);
    return result(n, x.c, x.h, x.w);
}

struct zoo_val zoo_pad_shortcut(struct zoo *z, struct zoo_val x, int64_t out, int64_t stride, const char *path) {
    if (z->failed) return x;
    Onnx__NodeProto *n;
    struct zoo_val y = {x.name, out, (x.h - 1) / stride + 1, (x.w - 1) / stride + 1};
    if (stride > 1) {
        const char *in[] = {x.name, const_i64(z, arena_printf(z->arena, "%s.starts", path), (int64_t[]){0, 0}, 2),
                            const_i64(z, arena_printf(z->arena, "%s.ends", path), (int64_t[]){x.h, x.w}, 2),
                            const_i64(z, arena_printf(z->arena, "%s.axes", path), (int64_t[]){2, 3}, 2),
                            const_i64(z, arena_printf(z->arena, "%s.steps", path), (int64_t[]){stride, stride}, 2)};
        n = add_node(z, "Slice", path, in, 5, 1);
        y.name = n->output[0];
    }
    if (out > x.c) {
        const int64_t lo = (out - x.c) / 2, hi = out - x.c - lo;
        const char *pads =
            const_i64(z, arena_printf(z->arena, "%s.pads", path), (int64_t[]){0, lo, 0, 0, 0, hi, 0, 0}, 8);
        n = add_node(z, "Pad", path, (const char *[]){y.name, pads}, 2, 1);
        y.name = n->output[0];
    }
    return y;
}

// --- outputs --------------------------------------------------------------------------------------------------------

struct zoo_val zoo_named(struct zoo *z, struct zoo_val x, const char *name) {
    if (z->failed) return x;
    for (size_t i = z->graph.n_node; i-- > 0;) {
        Onnx__NodeProto *n = z->graph.node[i];
        for (size_t k = 0; k < n->n_input; k++)
            if (!strcmp(n->input[k], x.name)) n->input[k] = (char *)name;
        if (strcmp(n->output[0], x.name)) continue;
        n->output[0] = (char *)name;
        x.name = name;
        return x;
    }
    BUG("no node makes %s", x.name);
}

void zoo_tap(struct zoo *z, struct zoo_val x) {
    if (z->failed) return;
    *ARENA_PUSH(z->arena, z->taps, z->n_taps, z->cap_taps) = x;
}
