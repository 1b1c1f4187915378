// Float types other than float32, in files that are not raised to it (raise.c). Doubles are computed as such. Values of
// 16 bits are held as f32 and computed as runtimes do it on CPUs without such arithmetic: each node in float32, its
// result rounded. Of sums, products, quotients and roots that is the correctly rounded one, since float32 has more than
// twice the digits.
#include "scope.h"

#include <string.h>

enum ir_half fe_half(int32_t t) {
    return t == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16    ? IR_HALF_F16
           : t == ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16 ? IR_HALF_BF16
                                                          : IR_HALF_NONE;
}

static bool among(const char *op, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(op, list[i])) return true;
    return false;
}
#define AMONG(op, list) among((op), (list), sizeof(list) / sizeof *(list))

// --- rounding what a node makes
// ----------------------------------------------------------------------------------------

// Moves elements, or hands values on that have a type already: there is nothing to round.
static const char *const moves[] = {
    "Compress",      "Concat", "Expand",    "Flatten",         "Gather",   "GatherND", "GatherElements",
    "Identity",      "Pad",    "Reshape",   "ReverseSequence", "Slice",    "Split",    "Squeeze",
    "TensorScatter", "TopK",   "Transpose", "Unique",          "Unsqueeze"};
static const char *const hands_on[] = {"Constant",           "If",   "Loop",       "Optional",
                                       "OptionalGetElement", "Scan", "SequenceAt", "SequenceMap"};
// The operand whose type the results have, where it is not the first.
static const struct {
    const char *op;
    size_t operand;
} typed_by[] = {{"CastLike", 1}, {"DequantizeLinear", 1}, {"OneHot", 2}, {"Where", 1}};

// An attribute that is, or holds, the type of the result; 0: there is none.
static int32_t type_attribute(struct fe_ctx *c, const struct fe_node *n) {
    const Onnx__AttributeProto *value = fe_attr(n, "value");
    if (!strcmp(n->op, "ConstantOfShape")) return value && value->t ? value->t->data_type : 0;
    int64_t t = !strcmp(n->op, "Cast")              ? fe_cast_type(c, n)
                : !strcmp(n->op, "EyeLike")         ? fe_attr_i(c, n, "dtype", 0)
                : !strcmp(n->op, "MelWeightMatrix") ? fe_attr_i(c, n, "output_datatype", 0)
                                                    : 0;
    return t > 0 && t <= INT32_MAX ? (int32_t)t : 0;
}

static enum ir_half result_half(struct fe_ctx *c, const struct fe_node *n) {
    int32_t t = type_attribute(c, n);
    if (t) return fe_half(t);
    size_t k = 0;
    for (size_t i = 0; i < sizeof typed_by / sizeof *typed_by; i++)
        if (!strcmp(n->op, typed_by[i].op)) k = typed_by[i].operand;
    const struct fe_val *v = fe_arg(n, k);
    if (v && v->is_seq) v = v->n_items ? v->items[0] : NULL;
    return v ? v->half : IR_HALF_NONE;
}

// v as a value of type h: a copy where it is the operand itself.
static struct fe_val *as_half(struct fe_ctx *c, struct fe_val *v, enum ir_half h, bool moved) {
    if (v->half == h || v->random || v->rows || v->unknown) return v;
    if (v->is_seq) {
        for (size_t i = 0; i < v->n_items; i++) v->items[i] = as_half(c, v->items[i], h, moved);
        return v;
    }
    if (!ir_is_float(fe_type(c, v)->dtype)) return v;
    if (h != IR_HALF_NONE && !moved) return fe_p_round(c, v, h);
    struct fe_val *r = ARENA_NEW(c->a, struct fe_val);
    *r = *v;
    r->half = h;
    return r;
}

void fe_round_results(struct fe_ctx *c, struct fe_node *n) {
    if (AMONG(n->op, hands_on)) return;
    enum ir_half h = result_half(c, n);
    for (size_t i = 0; i < n->n_out; i++)
        if (n->out[i]) n->out[i] = as_half(c, n->out[i], h, AMONG(n->op, moves));
}
