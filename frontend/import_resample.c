// Padding, pixel shuffles and resizing.
#include "onnx_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Source index of position i in a padded axis of size d, for the modes that copy elements.
static int64_t mirrored(int64_t i, int64_t d, char mode) {
    if (mode == 'e') return i < 0 ? 0 : i >= d ? d - 1 : i;   // edge
    if (mode == 'w') return ((i % d) + d) % d;                // wrap
    while (i < 0 || i >= d) i = i < 0 ? -i : 2 * (d - 1) - i; // reflect
    return i;
}

// Pads are an attribute before opset 11, an operand since, with axes as operand 3 from opset 18.
bool fe_op_pad(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = fe_arg(n, 0);
    if (!x) return fe_fail(c, n, "operand 0 is missing");
    struct ir_type t = *fe_type(c, x);
    int64_t given[2 * IR_MAX_RANK], axes[IR_MAX_RANK], lo[IR_MAX_RANK] = {0}, hi[IR_MAX_RANK] = {0};
    int count, n_axes;
    double value;
    if (!fe_const_ints(c, n, "pads", 1, given, 2 * IR_MAX_RANK, &count) ||
        !fe_const_ints(c, n, NULL, 3, axes, IR_MAX_RANK, &n_axes) ||
        !fe_scalar(c, n, 2, fe_attr_f(c, n, "value", 0), &value))
        return false;
    int k = n_axes >= 0 ? n_axes : t.rank;
    if (count != 2 * k) return fe_fail(c, n, "it has %d pads for %d axes", count, k);
    for (int i = 0; i < k; i++) {
        int a = i;
        if (n_axes >= 0 && !fe_axis(c, n, axes[i], t.rank, &a)) return false;
        lo[a] = given[i];
        hi[a] = given[k + i];
    }
    const char *mode = fe_attr_s(c, n, "mode", "constant");
    bool any = false, negative = false;
    const int64_t most = 1 << 24;
    for (int i = 0; i < t.rank; i++) {
        any |= lo[i] || hi[i];
        negative |= lo[i] < 0 || hi[i] < 0;
        if (t.dims[i] < 0 && (lo[i] || hi[i])) return fe_fail(c, n, "it pads the batch, which is not supported");
        const bool far = lo[i] < -most || lo[i] > most || hi[i] < -most || hi[i] > most;
        if (far || (t.dims[i] > 0 && t.dims[i] + lo[i] + hi[i] < 1))
            return fe_fail(c, n, "pads %lld and %lld do not fit axis %d", (long long)lo[i], (long long)hi[i], i);
    }
    if (!any) return fe_out_val(n, 0, x);
    if (mode[0] == 'c') {
        if (negative) { // a negative pad crops
            int64_t starts[IR_MAX_RANK], sizes[IR_MAX_RANK], steps[IR_MAX_RANK];
            for (int i = 0; i < t.rank; i++) {
                starts[i] = lo[i] < 0 ? -lo[i] : 0;
                sizes[i] = t.dims[i] < 0 ? t.dims[i] : t.dims[i] - starts[i] + (hi[i] < 0 ? hi[i] : 0);
                steps[i] = 1;
                if (lo[i] < 0) lo[i] = 0;
                if (hi[i] < 0) hi[i] = 0;
                if (t.dims[i] > 0 && sizes[i] < 1) return fe_fail(c, n, "it crops all of axis %d", i);
            }
            x = fe_p_slice(c, x, starts, sizes, steps);
        }
        ir_vid v = fe_vid(c, x);
        return fe_out(c, n, 0,
                      fe_emit(c, IR_OP_pad, &v, 1,
                              IR_ATTRS(IR_IS("lo", lo, t.rank), IR_IS("hi", hi, t.rank), IR_F("value", value))));
    }
    if (strcmp(mode, "reflect") && strcmp(mode, "edge") && strcmp(mode, "wrap"))
        return fe_fail(c, n, "mode \"%s\" is not supported", mode);
    for (int a = 0; a < t.rank && x; a++) {
        if (!lo[a] && !hi[a]) continue;
        if (mode[0] == 'r' && t.dims[a] < 2) return fe_fail(c, n, "cannot reflect axis %d of size 1", a);
        if (t.dims[a] > most)
            return fe_fail(c, n, "axis %d of %lld elements is too long to pad in mode \"%s\"", a, (long long)t.dims[a],
                           mode);
        int64_t size = t.dims[a] + lo[a] + hi[a], *index = ARENA_ARRAY(c->a, int64_t, (size_t)size);
        for (int64_t i = 0; i < size; i++) index[i] = mirrored(i - lo[a], t.dims[a], mode[0]);
        x = fe_p_take(c, x, a, index, (size_t)size);
    }
    return fe_out_val(n, 0, x);
}

static struct fe_val *shuffle(struct fe_ctx *c, struct fe_val *x, const int64_t *six, const int64_t *perm,
                              const int64_t *four) {
    x = fe_p_reshape(c, x, 6, six);
    x = x ? fe_p_transpose(c, x, perm) : NULL;
    return x ? fe_p_reshape(c, x, 4, four) : NULL;
}

bool fe_op_depth_to_space(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = fe_arg(n, 0);
    int64_t b = fe_attr_i(c, n, "blocksize", 0);
    if (!x) return false;
    const struct ir_type t = *fe_type(c, x);
    if (t.rank != 4 || b < 1 || b > 1024 || t.dims[1] % (b * b))
        return fe_fail(c, n, "blocksize %lld does not fit its input", (long long)b);
    int64_t k = t.dims[1] / (b * b), h = t.dims[2], w = t.dims[3], four[4] = {t.dims[0], k, h * b, w * b};
    if (!strcmp(fe_attr_s(c, n, "mode", "DCR"), "CRD"))
        return fe_out_val(n, 0,
                          shuffle(c, x, (int64_t[]){t.dims[0], k, b, b, h, w}, (int64_t[]){0, 1, 4, 2, 5, 3}, four));
    return fe_out_val(n, 0, shuffle(c, x, (int64_t[]){t.dims[0], b, b, k, h, w}, (int64_t[]){0, 3, 4, 1, 5, 2}, four));
}

bool fe_op_space_to_depth(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = fe_arg(n, 0);
    int64_t b = fe_attr_i(c, n, "blocksize", 0);
    if (!x) return false;
    const struct ir_type t = *fe_type(c, x);
    if (t.rank != 4 || b < 1 || t.dims[2] % b || t.dims[3] % b)
        return fe_fail(c, n, "blocksize %lld does not fit its input", (long long)b);
    int64_t k = t.dims[1], h = t.dims[2] / b, w = t.dims[3] / b;
    return fe_out_val(n, 0,
                      shuffle(c, x, (int64_t[]){t.dims[0], k, h, b, w, b}, (int64_t[]){0, 3, 5, 1, 2, 4},
                              (int64_t[]){t.dims[0], k * b * b, h, w}));
}

// --- Resize

struct resize {
    const char *mode, *coord, *nearest;
    double cubic_a;
};

// Resize-13: the place in the input (size `in`) of output pixel i (of `out`).
static double place(const struct resize *r, int64_t i, int64_t in, int64_t out, double scale) {
    if (!strcmp(r->coord, "align_corners")) return out == 1 ? 0 : (double)i * (double)(in - 1) / (double)(out - 1);
    if (!strcmp(r->coord, "asymmetric")) return (double)i / scale;
    if (!strcmp(r->coord, "pytorch_half_pixel") && out == 1) return 0;
    return ((double)i + 0.5) / scale - 0.5;
}

static int64_t nearest_index(const struct resize *r, double x, int64_t in) {
    double v = !strcmp(r->nearest, "floor")               ? floor(x)
               : !strcmp(r->nearest, "ceil")              ? ceil(x)
               : !strcmp(r->nearest, "round_prefer_ceil") ? floor(x + 0.5)
                                                          : ceil(x - 0.5);
    return v<0 ? 0 : v>(double)(in - 1) ? in - 1 : (int64_t)v;
}

// Row weights of linear or cubic interpolation at x; taps outside the input fall on its border.
static void taps(const struct resize *r, double x, int64_t in, float *row) {
    double base = floor(x), f = x - base, w[4];
    int first, n;
    if (r->mode[0] == 'l') {
        w[0] = 1 - f;
        w[1] = f;
        first = 0;
        n = 2;
    } else { // Keys' cubic with parameter a
        double a = r->cubic_a, d[4] = {1 + f, f, 1 - f, 2 - f};
        for (int i = 0; i < 4; i++)
            w[i] = d[i] <= 1 ? ((a + 2) * d[i] - (a + 3)) * d[i] * d[i] + 1
                             : ((a * d[i] - 5 * a) * d[i] + 8 * a) * d[i] - 4 * a;
        first = -1;
        n = 4;
    }
    for (int i = 0; i < n; i++) {
        double at = base + first + i;
        row[at<0 ? 0 : at>(double)(in - 1) ? in - 1 : (int64_t)at] += (float)w[i];
    }
}

// y = x times the interpolation matrix along axis a (the last or the last but one).
static ir_vid interpolate(struct fe_ctx *c, const struct resize *r, ir_vid x, int a, int64_t out, double scale) {
    if (x == IR_NONE) return x;
    const struct ir_type t = *fe_typeof(c, x);
    int64_t in = t.dims[a], dims[2] = {out, in};
    float *m = ARENA_ARRAY(c->a, float, (size_t)(in * out));
    for (int64_t i = 0; i < out; i++) taps(r, place(r, i, in, out, scale), in, m + i * in);
    ir_vid k = ir_const(c->g, ir_type_make(IR_F32, 2, dims), m);
    if (a == t.rank - 1) return fe_matmul(c, x, k, 0, 1);
    return fe_matmul(c, k, x, 0, 0);
}

bool fe_op_resize(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = fe_arg(n, 0);
    if (!x) return false;
    struct ir_type t = *fe_type(c, x);
    struct resize r = {.mode = fe_attr_s(c, n, "mode", "nearest"),
                       .nearest = fe_attr_s(c, n, "nearest_mode", "round_prefer_floor"),
                       .coord = fe_attr_s(c, n, "coordinate_transformation_mode", "half_pixel"),
                       .cubic_a = fe_attr_f(c, n, "cubic_coeff_a", -0.75)};
    if (n->arg < 11) { // Upsample and Resize-10
        r.coord = "asymmetric";
        r.nearest = "floor";
    }
    static const char *const coords[] = {"half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"};
    bool ok = false;
    for (size_t i = 0; i < 4; i++) ok |= !strcmp(r.coord, coords[i]);
    if (!ok || fe_attr_i(c, n, "antialias", 0) || fe_attr_i(c, n, "exclude_outside", 0) ||
        (strcmp(r.mode, "nearest") && strcmp(r.mode, "linear") && strcmp(r.mode, "cubic") &&
         strcmp(r.mode, "bilinear")))
        return fe_fail(c, n, "mode \"%s\" with coordinates \"%s\" is not supported", r.mode, r.coord);
    if (r.mode[0] == 'b') r.mode = "linear";
    // scales: operand 1 before opset 11 (attribute in Upsample-7), 2 since; sizes: operand 3.
    const struct fe_sym *scales = fe_known(c, fe_arg(n, n->arg < 11 ? 1 : 2), true), *sizes = NULL;
    if (n->arg >= 11 && fe_arg(n, 3) && !fe_ints(c, n, NULL, 3, &sizes)) return false;
    size_t cnt = 0;
    const int64_t *axes = fe_attr_ints(n, "axes", &cnt);
    const Onnx__AttributeProto *sa = fe_attr(n, "scales");
    if (fe_attr(n, "keep_aspect_ratio_policy") &&
        strcmp(fe_attr_s(c, n, "keep_aspect_ratio_policy", "stretch"), "stretch"))
        return fe_fail(c, n, "keep_aspect_ratio_policy is not supported");
    size_t k = scales && scales->n ? scales->n : sizes ? sizes->n : sa ? sa->n_floats : 0;
    if (k != (axes ? cnt : (size_t)t.rank)) return fe_fail(c, n, "needs constant scales or sizes for each axis");
    for (size_t i = 0; i < k && x; i++) {
        int a;
        if (!fe_axis(c, n, axes ? axes[i] : (int64_t)i, t.rank, &a)) return false;
        double scale = scales && scales->n ? scales->v[i].f : sa && !sizes ? (double)sa->floats[i] : 0;
        int64_t in = t.dims[a], out;
        bool by_size = !(scales && scales->n) && sizes;
        if (in < 0) {
            if (by_size ? (sizes->v[i].a || (c->baked && sizes->v[i].b == c->baked)) : scale == 1) continue;
            return fe_fail(c, n, "it resizes the batch");
        }
        out = by_size ? sizes->v[i].b : (int64_t)floor((double)in * scale);
        if (by_size) scale = (double)out / (double)in;
        if (out < 1 || out > 1 << 16) return fe_fail(c, n, "a size of %lld on axis %d", (long long)out, a);
        if (out == in && scale == 1) continue;
        if (!strcmp(r.mode, "nearest")) {
            int64_t *index = ARENA_ARRAY(c->a, int64_t, (size_t)out), rep = out / in;
            bool repeat = out % in == 0;
            for (int64_t o = 0; o < out; o++) {
                index[o] = nearest_index(&r, place(&r, o, in, out, scale), in);
                repeat &= index[o] == o / (rep ? rep : 1);
            }
            if (repeat && t.rank < IR_MAX_RANK) { // each element `rep` times: a view
                int64_t mid[IR_MAX_RANK + 1], res[IR_MAX_RANK];
                memcpy(res, fe_type(c, x)->dims, sizeof res);
                for (int d = 0; d <= t.rank; d++) mid[d] = d <= a ? res[d] : d == a + 1 ? 1 : res[d - 1];
                x = fe_p_reshape(c, x, t.rank + 1, mid);
                mid[a + 1] = rep;
                res[a] = out;
                x = x ? fe_p_expand(c, x, t.rank + 1, mid) : NULL;
                x = x ? fe_p_reshape(c, x, t.rank, res) : NULL;
            } else {
                x = fe_p_take(c, x, a, index, (size_t)out);
            }
        } else {
            if (a < t.rank - 2)
                return fe_fail(c, n, "interpolation on axis %d is not supported, only on the last two", a);
            x = fe_val_of(c, interpolate(c, &r, fe_vid(c, x), a, out, scale));
        }
    }
    return fe_out_val(n, 0, x);
}
