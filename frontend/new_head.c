// A fresh last layer (--classes K): the linear layer whose result becomes the logits gets K outputs and new weights, in
// the ONNX model itself and before the import, so that artifact, export and every other reader of the file agree. Names
// stay. What lies behind the layer must not care how many classes there are, or says so in a shape that is rewritten.
#include "onnx_internal.h"
#include "scope.h"
#include "zoo/zoo.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Operators that may stand between the layer and the output: they take each class for itself, or all alike.
static const char *const passing[] = {"Identity",
                                      "Dropout",
                                      "Cast",
                                      "CastLike",
                                      "Relu",
                                      "Sigmoid",
                                      "Softmax",
                                      "LogSoftmax",
                                      "Reshape",
                                      "Flatten",
                                      "Squeeze",
                                      "Unsqueeze",
                                      "Transpose",
                                      "Add",
                                      "Sub",
                                      "Mul",
                                      "Div",
                                      "ReduceMean",
                                      "ReduceMax",
                                      "GlobalMaxPool",
                                      "AveragePool",
                                      "MaxPool",
                                      "GlobalAveragePool"};
// What stands where a quantised model has its last layer.
static const char *const quantised[] = {"DequantizeLinear", "QuantizeLinear", "QLinearConv",   "QLinearMatMul",
                                        "MatMulInteger",    "ConvInteger",    "MatMulNBits",   "QGemm",
                                        "QLinearAdd",       "QLinearSoftmax", "QLinearSigmoid"};
#define COUNT(list) (sizeof(list) / sizeof *(list))
enum { MOST_STEPS = 64 }; // behind the layer; more is no head

static bool in_list(const char *s, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(s, list[i])) return true;
    return false;
}

static bool is_op(const Onnx__NodeProto *p, const char *op) { return p->op_type && !strcmp(p->op_type, op); }

struct head {
    struct fe_model *m;
    struct diag *d;
    Onnx__GraphProto *g;
    const char *from;             // the output, or value, that the walk began at
    const Onnx__NodeProto *layer; // Gemm, MatMul or Conv
    struct diag_loc loc;          // of it
    Onnx__TensorProto *weight, *bias;
    size_t out_axis;  // of the weight: the classes
    int axis;         // of the layer's result: 1 for Conv; -1, the last one, otherwise
    int64_t old, fan; // classes that it has; numbers that each output is a sum over
    size_t n_behind;
    Onnx__NodeProto *behind[MOST_STEPS]; // the nodes between, from the output to the layer
};

static struct diag_loc loc_of(const struct head *h, const Onnx__NodeProto *p) {
    size_t i = 0;
    while (i < h->g->n_node && h->g->node[i] != p) i++;
    const char *op = p->op_type ? p->op_type : "";
    return (struct diag_loc){.node = p->name && *p->name ? p->name : arena_printf(h->m->arena, "%s#%zu", op, i),
                             .op = op};
}

static bool refuse(const struct head *h, const Onnx__NodeProto *p, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static bool refuse(const struct head *h, const Onnx__NodeProto *p, const char *fmt, ...) {
    const struct diag_loc loc = p ? loc_of(h, p) : (struct diag_loc){0};
    va_list ap;
    va_start(ap, fmt);
    diag_vreport(h->d, DIAG_ERROR, p ? &loc : NULL, fmt, ap);
    va_end(ap);
    return false;
}

static Onnx__NodeProto *producer(const Onnx__GraphProto *g, const char *name) {
    for (size_t i = 0; *name && i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_output; k++)
            if (!strcmp(g->node[i]->output[k], name)) return g->node[i];
    return NULL;
}

static const Onnx__AttributeProto *attr(const Onnx__NodeProto *p, const char *name) {
    for (size_t i = 0; i < p->n_attribute; i++)
        if (p->attribute[i]->name && !strcmp(p->attribute[i]->name, name)) return p->attribute[i];
    return NULL;
}

// How often a value is read, by nodes (and what is in their bodies) and outputs; *other is a node that does beside the
// one operand of `but`.
static size_t uses_in(const Onnx__NodeProto *p, const char *name) {
    size_t n = 0;
    for (size_t i = 0; i < p->n_input; i++) n += !strcmp(p->input[i], name);
    for (size_t k = 0; k < p->n_attribute; k++)
        for (size_t b = 0; b < p->attribute[k]->n_graphs + (p->attribute[k]->g != NULL); b++) {
            const Onnx__GraphProto *body =
                b < p->attribute[k]->n_graphs ? p->attribute[k]->graphs[b] : p->attribute[k]->g;
            for (size_t i = 0; i < body->n_node; i++) n += uses_in(body->node[i], name);
            for (size_t i = 0; i < body->n_output; i++) n += !strcmp(body->output[i]->name, name);
        }
    return n;
}
static size_t uses(const Onnx__GraphProto *g, const char *name, const Onnx__NodeProto *but,
                   const Onnx__NodeProto **other) {
    size_t n = 0;
    *other = NULL;
    for (size_t i = 0; i < g->n_node; i++) {
        const size_t here = uses_in(g->node[i], name);
        n += here;
        if (here > (g->node[i] == but)) *other = g->node[i];
    }
    for (size_t i = 0; i < g->n_output; i++) n += !strcmp(g->output[i]->name, name);
    return n;
}

// --- finding the layer

static int64_t numel(const Onnx__TensorProto *t) { // checked when the file was opened
    int64_t n = 1;
    for (size_t i = 0; i < t->n_dims; i++) n *= t->dims[i];
    return n;
}

// The tensor that operand `name` of `by` is, through what only turns or renames it; *turned says how often it was
// transposed. NULL after a report.
static Onnx__TensorProto *own_tensor(const struct head *h, const Onnx__NodeProto *by, const char *what,
                                     const char *name, bool *turned) {
    for (int steps = 0;; steps++) {
        const Onnx__NodeProto *other, *p = producer(h->g, name);
        if (uses(h->g, name, by, &other) > 1) {
            if (other)
                refuse(
                    h, h->layer,
                    "its %s \"%s\" is used by node \"%s\" (%s), too: with --classes it would change there; untie the "
                    "two before exporting",
                    what, name, loc_of(h, other).node, loc_of(h, other).op);
            else
                refuse(h, h->layer, "its %s \"%s\" is an output of the model, too", what, name);
            return NULL;
        }
        Onnx__TensorProto *t = fe_initializer(h->g, name);
        if (t && fe_is_float_type(t->data_type)) return t;
        const Onnx__AttributeProto *perm = p ? attr(p, "perm") : NULL;
        const bool turns = p && is_op(p, "Transpose") && (!perm || (perm->n_ints == 2 && perm->ints[0] == 1));
        if (p && in_list(p->op_type ? p->op_type : "", quantised, COUNT(quantised)))
            refuse(h, h->layer, "its %s is quantised (node \"%s\"): take the float model for --classes", what,
                   loc_of(h, p).node);
        else if (!p || steps == MOST_STEPS || !p->n_input || !(turns || is_op(p, "Identity") || is_op(p, "Cast")))
            refuse(h, h->layer, "its %s \"%s\" is no tensor of the file%s%s: --classes needs one to replace", what,
                   name, p ? ", but computed by a node " : "", p && p->op_type ? p->op_type : "");
        else {
            *turned ^= turns;
            by = p;
            name = p->input[0];
            continue;
        }
        return NULL;
    }
}

// Where the layer keeps what it has learned. False after a report.
static bool read_layer(struct head *h, const Onnx__NodeProto *p) {
    const bool conv = is_op(p, "Conv"), gemm = is_op(p, "Gemm");
    bool turned = false, unused = false;
    h->layer = p;
    h->loc = loc_of(h, p);
    if (p->n_input < 2) return refuse(h, p, "it has no weight");
    h->weight = own_tensor(h, p, "weight", p->input[1], &turned);
    if (!h->weight) return false;
    const Onnx__AttributeProto *tb = attr(p, "transB"), *group = attr(p, "group");
    const size_t rank = h->weight->n_dims;
    if (conv ? rank < 3 : rank != 2)
        return refuse(h, p, "its weight \"%s\" has %zu dimensions, which is no linear layer's", h->weight->name, rank);
    h->out_axis = conv ? 0 : (gemm && tb && tb->i ? 0 : 1) ^ turned;
    h->axis = conv ? 1 : -1;
    h->old = h->weight->dims[h->out_axis];
    h->fan = h->old ? numel(h->weight) / h->old : 0;
    if (conv && ((group && group->i != 1) || h->fan != h->weight->dims[1]))
        return refuse(h, p,
                      "the last layer with weights is a convolution that is not 1x1: the model has no linear layer for "
                      "--classes to replace");
    if (h->old < 1 || h->fan < 1) return refuse(h, p, "its weight \"%s\" has no elements", h->weight->name);
    if ((gemm || conv) && p->n_input > 2 && *p->input[2]) {
        h->bias = own_tensor(h, p, "bias", p->input[2], &unused);
        if (!h->bias) return false;
    }
    return true;
}

// Tensors that arithmetic behind the layer brings along: the bias of a product, or one number for all classes.
static bool read_behind(struct head *h) {
    for (size_t i = h->n_behind; i-- > 0;) {
        const Onnx__NodeProto *p = h->behind[i];
        if (!is_op(p, "Add") && !is_op(p, "Sub") && !is_op(p, "Mul") && !is_op(p, "Div")) continue;
        for (size_t k = 0; k < 2; k++) {
            Onnx__TensorProto *t = fe_initializer(h->g, p->input[k]);
            if (!t || numel(t) == 1) continue;
            bool unused = false;
            const bool first = i + 1 == h->n_behind && !h->bias && is_op(p, "Add") && numel(t) == h->old;
            if (!first)
                return refuse(h, p, "\"%s\" has numbers for the %lld classes of now, which --classes cannot make anew",
                              t->name, (long long)h->old);
            h->bias = own_tensor(h, p, "bias", p->input[k], &unused);
            if (!h->bias) return false;
        }
    }
    return true;
}

// The operand that comes from the layer: the one that is no tensor of the file. NULL: there are several, or none.
static const char *data_operand(const struct head *h, const Onnx__NodeProto *p) {
    if (!is_op(p, "Add") && !is_op(p, "Sub") && !is_op(p, "Mul") && !is_op(p, "Div"))
        return p->n_input ? p->input[0] : NULL;
    const char *data = NULL;
    for (size_t k = 0; k < p->n_input; k++) {
        const Onnx__NodeProto *by = producer(h->g, p->input[k]);
        if (!by || is_op(by, "Constant")) continue;
        if (data) return NULL;
        data = p->input[k];
    }
    return data;
}

// Walks from the value h->from back to the layer. False after a report.
static bool find_layer(struct head *h) {
    const char *name = h->from;
    while (h->n_behind < MOST_STEPS) {
        Onnx__NodeProto *p = producer(h->g, name);
        if (!p) return refuse(h, NULL, "no linear layer makes \"%s\": --classes has nothing to replace", h->from);
        const char *op = p->op_type ? p->op_type : "";
        const bool call = fe_find_function(h->m->proto, p) || (p->domain && *p->domain && strcmp(p->domain, "ai.onnx"));
        if (in_list(op, quantised, COUNT(quantised)))
            return refuse(h, p, "the end of the model is quantised: take the float model for --classes");
        if (!call && (is_op(p, "Gemm") || is_op(p, "MatMul") || is_op(p, "Conv")))
            return read_layer(h, p) && read_behind(h);
        const char *data = call || !in_list(op, passing, COUNT(passing)) ? NULL : data_operand(h, p);
        if (!data)
            return refuse(h, p,
                          "it stands between \"%s\" and the last linear layer, and --classes does not see through it; "
                          "name the layer's own result with --logits NAME",
                          h->from);
        h->behind[h->n_behind++] = p;
        name = data;
    }
    return refuse(h, NULL, "no linear layer ends near \"%s\": --classes has nothing to replace", h->from);
}

// --- shapes behind the layer

// An element of a shape operand, wherever it is written down.
struct entry {
    int64_t *at; // in `ints` of the place; NULL: computed
    struct place *place;
};
struct place { // whole numbers of the file that one node reads
    Onnx__NodeProto *reader;
    size_t operand;
    Onnx__TensorProto *tensor;  // or
    Onnx__AttributeProto *attr; // value_int, value_ints of a Constant node
    size_t n;
    int64_t ints[IR_MAX_RANK];
};
struct shape {
    struct entry of[IR_MAX_RANK];
    size_t n;
    struct place places[IR_MAX_RANK];
    size_t n_places;
};

static bool int_tensor(const struct head *h, const Onnx__TensorProto *t, struct place *p) {
    struct fe_blob b;
    struct diag quiet = {.sink = fe_quiet};
    struct arena scratch;
    if (!t || !fe_blob_open(h->m, &quiet, NULL, t, &b) || !ir_is_int(b.type.dtype) || b.n > IR_MAX_RANK) return false;
    arena_init(&scratch);
    const void *data = fe_blob_data(&b, &scratch);
    p->n = (size_t)b.n;
    for (size_t i = 0; i < p->n; i++) p->ints[i] = ir_get_int(b.type.dtype, data, i);
    arena_release(&scratch);
    return true;
}

static void read_shape(const struct head *h, struct shape *s, Onnx__NodeProto *reader, size_t operand, int depth) {
    const char *name = reader->input[operand];
    Onnx__NodeProto *p = producer(h->g, name);
    struct place at = {.reader = reader, .operand = operand, .tensor = fe_initializer(h->g, name)};
    if (!at.tensor && p) at.tensor = fe_constant_tensor(p);
    bool known = int_tensor(h, at.tensor, &at);
    if (!known && p && is_op(p, "Constant") && p->n_attribute) {
        Onnx__AttributeProto *a = at.attr = p->attribute[0];
        const bool one = a->name && !strcmp(a->name, "value_int") && a->has_i,
                   list = a->name && !strcmp(a->name, "value_ints") && a->n_ints <= IR_MAX_RANK;
        known = one || list;
        at.n = one ? 1 : list ? a->n_ints : 0;
        if (known) memcpy(at.ints, one ? &a->i : a->ints, at.n * sizeof *at.ints);
    }
    if (known && s->n_places < IR_MAX_RANK) {
        struct place *to = &s->places[s->n_places++];
        *to = at;
        for (size_t i = 0; i < at.n && s->n < IR_MAX_RANK; i++) s->of[s->n++] = (struct entry){&to->ints[i], to};
        return;
    }
    if (p && depth < 8 && is_op(p, "Concat")) {
        for (size_t i = 0; i < p->n_input; i++) read_shape(h, s, p, i, depth + 1);
    } else if (p && depth < 8 && p->n_input &&
               (is_op(p, "Unsqueeze") || is_op(p, "Identity") || is_op(p, "Cast") || is_op(p, "Reshape"))) {
        read_shape(h, s, p, 0, depth + 1);
    } else if (s->n < IR_MAX_RANK) {
        s->of[s->n++] = (struct entry){0}; // of the run-time batch, one number
    }
}

// The place gets its numbers back: written into the tensor where nobody else reads it, else into a copy.
static void write_place(struct head *h, struct place *p) {
    const Onnx__NodeProto *other;
    char **in = &p->reader->input[p->operand];
    const bool shared = uses(h->g, *in, p->reader, &other) > 1;
    if (p->attr && !shared) {
        if (!strcmp(p->attr->name, "value_int"))
            p->attr->i = p->ints[0];
        else
            memcpy(p->attr->ints, p->ints, p->n * sizeof *p->ints);
        return;
    }
    const size_t rank = p->tensor ? p->tensor->n_dims : !strcmp(p->attr->name, "value_ints");
    const char *name = arena_printf(h->m->arena, "%s.classes", *in);
    while (fe_initializer(h->g, name) || producer(h->g, name)) name = arena_printf(h->m->arena, "%s_", name);
    fe_add_ints(h->g, name, p->ints, p->n);
    Onnx__TensorProto *t = h->g->initializer[h->g->n_initializer - 1];
    if (rank == 0) t->n_dims = 0; // `dims` stays allocated, and is freed with the message
    if (h->m->proto->ir_version < 4) h->m->proto->ir_version = 4; // initializers had to be inputs, too
    free(*in);
    *in = fe_text(name);
}

// Which of a Reshape's sizes is the number of classes: the one at the axis that holds them, else the only one that is
// equal. None has to be: -1 and 0 keep what is there.
static void reshape(struct head *h, Onnx__NodeProto *p, int64_t classes) {
    struct shape s = {0};
    if (p->n_input < 2) return;
    read_shape(h, &s, p, 1, 0);
    const size_t at = h->axis < 0 ? s.n + (size_t)h->axis : (size_t)h->axis;
    struct entry *e = at < s.n && s.of[at].at && *s.of[at].at == h->old ? &s.of[at] : NULL;
    size_t equal = 0;
    for (size_t i = 1; i < s.n && !(at < s.n && e == &s.of[at]); i++)
        if (s.of[i].at && *s.of[i].at == h->old && !equal++) e = &s.of[i];
    if (!e || equal > 1) return;
    *e->at = classes;
    write_place(h, e->place);
}

// Follows the classes from the layer to the end: rewrites sizes on the way and forgets what the file claims of shapes.
static void reshape_behind(struct head *h, int64_t classes) {
    for (size_t i = h->n_behind; i-- > 0;) {
        Onnx__NodeProto *p = h->behind[i];
        const Onnx__AttributeProto *perm = attr(p, "perm");
        if (is_op(p, "Reshape")) {
            reshape(h, p, classes);
        } else if (is_op(p, "Transpose") && perm) {
            const int rank = (int)perm->n_ints, at = h->axis < 0 ? rank + h->axis : h->axis;
            for (int k = 0; k < rank; k++)
                if (perm->ints[k] == at) {
                    h->axis = k;
                    break;
                }
        }
    }
}

static void forget_shape(Onnx__TypeProto *t) {
    if (!t || t->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !t->tensor_type || !t->tensor_type->shape) return;
    onnx__tensor_shape_proto__free_unpacked(t->tensor_type->shape, NULL);
    t->tensor_type->shape = NULL;
}

static void set_dim(Onnx__TypeProto *t, int64_t old, int64_t classes) {
    if (!t || t->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !t->tensor_type || !t->tensor_type->shape) return;
    Onnx__TensorShapeProto *s = t->tensor_type->shape;
    Onnx__TensorShapeProto__Dimension *found = NULL;
    for (size_t i = 1; i < s->n_dim; i++)
        if (s->dim[i]->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
            s->dim[i]->dim_value == old) {
            if (found) { // which of them are the classes is not known
                forget_shape(t);
                return;
            }
            found = s->dim[i];
        }
    if (found) found->dim_value = classes;
}

// Everything computed from the layer: what is said of it inside is forgotten, what is said of outputs is corrected.
static void redeclare(struct head *h, int64_t classes) {
    Onnx__GraphProto *g = h->g;
    struct arena scratch;
    arena_init(&scratch);
    struct fe_scope after = {0};
    fe_scope_add(&after, &scratch, h->layer->output[0]);
    for (bool more = true; more;) { // once where nodes are in order
        more = false;
        for (size_t i = 0; i < g->n_node; i++) {
            bool reads = false;
            for (size_t k = 0; k < g->node[i]->n_input && !reads; k++)
                reads = fe_scope_find(&after, g->node[i]->input[k]) != NULL;
            for (size_t k = 0; reads && k < g->node[i]->n_output; k++) {
                if (!*g->node[i]->output[k] || fe_scope_find(&after, g->node[i]->output[k])) continue;
                fe_scope_add(&after, &scratch, g->node[i]->output[k]);
                more = true;
            }
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < g->n_value_info; i++) {
        Onnx__ValueInfoProto *v = g->value_info[i];
        if (v->name && fe_scope_find(&after, v->name)) {
            onnx__value_info_proto__free_unpacked(v, NULL);
            continue;
        }
        if (v->name && (!strcmp(v->name, h->weight->name) || (h->bias && !strcmp(v->name, h->bias->name))))
            forget_shape(v->type); // the tensor has one; the rest says whether it was a parameter
        g->value_info[kept++] = v;
    }
    g->n_value_info = kept;
    for (size_t i = 0; i < g->n_output; i++)
        if (g->output[i]->name && fe_scope_find(&after, g->output[i]->name))
            set_dim(g->output[i]->type, h->old, classes);
    for (size_t i = 0; i < g->n_input; i++) // old files list initializers among the inputs
        if (g->input[i]->name &&
            (!strcmp(g->input[i]->name, h->weight->name) || (h->bias && !strcmp(g->input[i]->name, h->bias->name))))
            forget_shape(g->input[i]->type);
    arena_release(&scratch);
}

// --- fresh weights

// Bits of x, which has been rounded to float16 and is no larger than 1.
static uint16_t half_bits(double x) {
    int e;
    const double f = frexp(fabs(x), &e); // f * 2^e, f in [0.5, 1)
    const uint16_t sign = signbit(x) ? 0x8000 : 0;
    if (f == 0) return sign;
    if (e < -13) return (uint16_t)(sign | (uint16_t)ldexp(f, e + 24)); // below the least normal number
    return (uint16_t)(sign | (uint16_t)((e + 14) << 10) | (uint16_t)(ldexp(f, 11) - 1024));
}

static void put(int32_t type, uint8_t *at, float v) {
    const enum ir_half half = fe_half(type);
    const double r = half ? ir_round_half(half, (double)v) : (double)v;
    const float f = (float)r;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    const uint16_t short_bits = half == IR_HALF_F16 ? half_bits(r) : (uint16_t)(bits >> 16);
    if (half)
        memcpy(at, &short_bits, sizeof short_bits);
    else if (type == ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE)
        memcpy(at, &r, sizeof r);
    else
        memcpy(at, &f, sizeof f);
}

// n new elements, uniform in +-1/sqrt(fan): PyTorch's Linear and Conv2d.
static void refill(const struct head *h, Onnx__TensorProto *t, size_t n, uint64_t seed) {
    const size_t size = fe_onnx_dtype_size(t->data_type);
    float *fresh = xmalloc(n * sizeof *fresh + 1);
    uint8_t *data = xmalloc(n * size + 1);
    zoo_init_uniform(fresh, n, 1.0 / sqrt((double)h->fan), seed, t->name);
    for (size_t i = 0; i < n; i++) put(t->data_type, data + i * size, fresh[i]);
    free(fresh);
    if (t->has_raw_data) free(t->raw_data.data);
    free(t->float_data);
    free(t->double_data);
    free(t->int32_data);
    t->float_data = NULL;
    t->double_data = NULL;
    t->int32_data = NULL;
    t->n_float_data = t->n_double_data = t->n_int32_data = 0;
    for (size_t i = 0; i < t->n_external_data; i++)
        onnx__string_string_entry_proto__free_unpacked(t->external_data[i], NULL);
    t->n_external_data = 0;
    t->has_data_location = 0;
    t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__DEFAULT;
    t->has_raw_data = 1;
    t->raw_data.len = n * size;
    t->raw_data.data = data;
}

static bool replace(struct head *h, int64_t classes, uint64_t seed) {
    int64_t n, bytes;
    if (!checked_mul(classes, h->fan, &n) || !checked_mul(n, 2 * (int64_t)sizeof(double), &bytes) ||
        !budget_allows((uint64_t)bytes))
        return refuse(h, h->layer, "%lld outputs of %lld numbers each: %s", (long long)classes, (long long)h->fan,
                      budget_why());
    reshape_behind(h, classes);
    redeclare(h, classes);
    h->weight->dims[h->out_axis] = classes;
    refill(h, h->weight, (size_t)n, seed);
    for (size_t i = 0; h->bias && i < h->bias->n_dims; i++)
        if (h->bias->dims[i] == h->old) {
            h->bias->dims[i] = classes;
            break;
        }
    if (h->bias) refill(h, h->bias, (size_t)numel(h->bias), seed);
    fe_drop_metadata(h->m->proto, "smkd.class_names"); // of the classes that were
    fe_drop_metadata(h->m->proto, "smkd.classes");
    char was[48] = "as many as before";
    if (h->old != classes) snprintf(was, sizeof was, "instead of %lld", (long long)h->old);
    diag_note(h->d, &h->loc, "--classes: %lld fresh outputs %s; \"%s\"%s%s%s has new weights, seed %llu",
              (long long)classes, was, h->weight->name, h->bias ? " with \"" : ", which has no bias,",
              h->bias ? h->bias->name : "", h->bias ? "\"" : "", (unsigned long long)seed);
    return true;
}

// The file's side heads tell the same classes apart as the head that is `made`: each gets as many fresh outputs.
static bool replace_side_heads(const struct head *made, int64_t old, int64_t classes, uint64_t seed) {
    size_t n;
    const struct fe_tap *taps = fe_taps(made->m, &n);
    for (size_t i = 0; i < n; i++) {
        struct diag quiet = {.sink = fe_quiet};
        const Onnx__NodeProto *other;
        struct head h = {.m = made->m, .d = &quiet, .g = made->g, .from = taps[i].name};
        if (uses(h.g, h.from, NULL, &other) > 1 || !find_layer(&h) || h.old != old || h.layer == made->layer) continue;
        h.d = made->d;
        if (!replace(&h, classes, seed)) return false;
    }
    return true;
}

static bool replace_all(struct head *h, int64_t classes, uint64_t seed) {
    const int64_t old = h->old;
    return replace(h, classes, seed) && replace_side_heads(h, old, classes, seed);
}

const Onnx__NodeProto *fe_last_layer(const struct fe_model *m, const char *logits) {
    const Onnx__GraphProto *g = m->proto->graph;
    const Onnx__NodeProto *layer = NULL;
    for (size_t i = 0; i < (logits ? 1 : g->n_output); i++) {
        struct diag quiet = {.sink = fe_quiet};
        struct head h = {.m = (struct fe_model *)m, .d = &quiet, .g = m->proto->graph};
        h.from = logits ? logits : g->output[i]->name;
        if (!h.from || (!logits && fe_is_tap(m, h.from)) || !find_layer(&h) || h.layer == layer) continue;
        if (layer) return NULL;
        layer = h.layer;
    }
    return layer;
}

const char *fe_new_head(struct fe_model *m, struct diag *d, const struct fe_head_options *o) {
    Onnx__GraphProto *g = m->proto->graph;
    struct head h = {.m = m, .d = d, .g = g, .from = o->logits};
    if (o->logits) {
        if (!producer(g, o->logits)) {
            refuse(&h, NULL, "--logits %s: no node of the model makes a value of that name", o->logits);
            return NULL;
        }
        return find_layer(&h) && replace_all(&h, o->classes, o->seed) ? h.from : NULL;
    }
    // Every output is asked; those that end in no linear layer are no heads, as long as one does.
    struct diag quiet = {.sink = fe_quiet};
    struct head one = {0};
    struct str several = STR_INIT;
    bool ok = true;
    for (size_t i = 0; i < g->n_output; i++) {
        struct head t = {.m = m, .d = &quiet, .g = g, .from = g->output[i]->name};
        if (!t.from || fe_is_tap(m, t.from) || !find_layer(&t)) continue;
        ok &= !one.layer || one.layer == t.layer;
        str_addf(&several, "%s\"%s\" (node \"%s\")", several.len ? ", " : "", t.from, t.loc.node);
        if (!one.layer) one = t;
    }
    if (!ok) refuse(&h, NULL, "several outputs end in a linear layer: %s; say which with --logits NAME", several.s);
    str_release(&several);
    if (!ok) return NULL;
    if (!one.layer) { // say why, of the first output
        h.from = g->n_output ? g->output[0]->name : "";
        find_layer(&h);
        return NULL;
    }
    one.d = d;
    return replace_all(&one, o->classes, o->seed) ? one.from : NULL;
}
