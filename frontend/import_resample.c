// Padding, pixel shuffles and resizing.
#include "onnx_internal.h"

#include <math.h>
#include <string.h>

// Source index of position i in a padded axis of size d, for the modes that copy elements.
static int64_t mirrored(int64_t i, int64_t d, char mode) {
    if (mode == 'e') return i < 0 ? 0 : i >= d ? d - 1 : i;              // edge
    if (mode == 'w') return ((i % d) + d) % d;                           // wrap
    int64_t period = 2 * (d - 1), at = ((i % period) + period) % period; // reflect
    return at < d ? at : period - at;
}

// Pads are an attribute before opset 11, an operand since, with axes as operand 3 from opset 18.
bool fe_op_pad(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = fe_arg(n, 0);
    if (!x) return fe_fail(c, n, "operand 0 is missing");
    struct ir_type t = *fe_type(c, x);
    int64_t given[2 * IR_MAX_RANK], axes[IR_MAX_RANK], lo[IR_MAX_RANK] = {0}, hi[IR_MAX_RANK] = {0};
    int count, n_axes;
    double value;
    if (!fe_const_ints(c, n, c->opset < 2 ? "paddings" : "pads", 1, given, 2 * IR_MAX_RANK, &count) ||
        !fe_const_ints(c, n, NULL, 3, axes, IR_MAX_RANK, &n_axes) ||
        !fe_scalar(c, n, 2, fe_attr_f(c, n, "value", 0), &value))
        return false;
    if (ir_is_int(t.dtype) && (value <= -0x1p53 || value >= 0x1p53))
        return fe_fail(c, n, "it pads integers with %g; numbers of at most 53 bits are supported", value);
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
    if (!strcmp(mode, "constant")) {
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
        if (t.dims[a] < 1) return fe_fail(c, n, "axis %d has no elements to pad with", a);
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

// Blocks in front of channels (DCR), or, from opset 28 where mode says so, behind them (CRD).
bool fe_op_space_to_depth(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = fe_arg(n, 0);
    int64_t b = fe_attr_i(c, n, "blocksize", 0);
    if (!x) return fe_fail(c, n, "operand 0 is missing");
    const struct ir_type t = *fe_type(c, x);
    if (t.rank != 4 || b < 1 || b > 1 << 16 || t.dims[2] % b || t.dims[3] % b)
        return fe_fail(c, n, "blocksize %lld does not fit its input", (long long)b);
    const bool crd = !strcmp(fe_attr_s(c, n, "mode", "DCR"), "CRD");
    int64_t k = t.dims[1], h = t.dims[2] / b, w = t.dims[3] / b;
    return fe_out_val(n, 0,
                      shuffle(c, x, (int64_t[]){t.dims[0], k, h, b, w, b},
                              crd ? (int64_t[]){0, 1, 3, 5, 2, 4} : (int64_t[]){0, 3, 5, 1, 2, 4},
                              (int64_t[]){t.dims[0], k * b * b, h, w}));
}

// --- Resize
//
// Sizes and places are computed in float32, as exporters and runtimes do: 10 * 0.7 is 7 there and 6.99.. in float64,
// and a place on the border of two pixels falls on one side or the other. Formulas: Resize-19.

struct axis_scale {
    int64_t in, out;
    float scale, first, last; // of tf_crop_and_resize: what is cut out of the axis, 0 to 1
};
struct resize {
    const char *mode;
    float (*place)(const struct axis_scale *s, float i); // where output pixel i lies in the input
    int64_t (*nearest)(float x, bool shrinks);
    float cubic_a;
    bool exclude_outside, antialias;
};

static float place_half_pixel(const struct axis_scale *s, float i) { return (i + 0.5f) / s->scale - 0.5f; }
static float place_pytorch(const struct axis_scale *s, float i) { return s->out > 1 ? place_half_pixel(s, i) : 0; }
static float place_asymmetric(const struct axis_scale *s, float i) { return i / s->scale; }
static float place_corners(const struct axis_scale *s, float i) {
    return s->out == 1 ? 0 : i * (float)(s->in - 1) / (float)(s->out - 1);
}
static float place_symmetric(const struct axis_scale *s, float i) {
    float adjustment = (float)s->out / (s->scale * (float)s->in), offset = (float)s->in / 2 * (1 - adjustment);
    return (float)((double)offset + ((double)i + 0.5) / (double)s->scale - 0.5); // the one sum that is rounded once
}
static float place_crop(const struct axis_scale *s, float i) {
    float span = (float)(s->in - 1);
    if (s->out == 1) return 0.5f * (s->first + s->last) * span;
    return s->first * span + i * (s->last - s->first) * span / (float)(s->out - 1);
}

static int64_t nearest_floor(float x, bool shrinks) { return (void)shrinks, (int64_t)floorf(x); }
static int64_t nearest_ceil(float x, bool shrinks) { return (void)shrinks, (int64_t)ceilf(x); }
static int64_t nearest_half_down(float x, bool shrinks) {
    return (void)shrinks, x == floorf(x) + 0.5f ? (int64_t)floorf(x) : (int64_t)roundf(x);
}
static int64_t nearest_half_up(float x, bool shrinks) {
    return (void)shrinks, x == floorf(x) + 0.5f ? (int64_t)ceilf(x) : (int64_t)roundf(x);
}
static int64_t nearest_before_11(float x, bool shrinks) { return shrinks ? (int64_t)ceilf(x) : (int64_t)x; }

static const struct {
    const char *name;
    float (*f)(const struct axis_scale *, float);
} places[] = {{"half_pixel", place_half_pixel},          {"pytorch_half_pixel", place_pytorch},
              {"align_corners", place_corners},          {"asymmetric", place_asymmetric},
              {"half_pixel_symmetric", place_symmetric}, {"tf_crop_and_resize", place_crop}};
static const struct {
    const char *name;
    int64_t (*f)(float, bool);
} roundings[] = {{"floor", nearest_floor},
                 {"ceil", nearest_ceil},
                 {"round_prefer_floor", nearest_half_down},
                 {"round_prefer_ceil", nearest_half_up}};

static int64_t inside(int64_t i, int64_t n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

// Keys' cubic with parameter a, or a triangle.
static float bump(const struct resize *r, float d) {
    const float a = r->cubic_a;
    if (r->mode[0] == 'l') return d < 1 ? 1 - d : 0;
    if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

// Row weights of linear or cubic interpolation at x; taps outside the input fall on its border, or count nothing. With
// antialias what shrinks takes as many more of them as it has elements less.
static void taps(const struct resize *r, const struct axis_scale *s, float x, float *row) {
    float wide = r->antialias && s->scale < 1 ? s->scale : 1, base = floorf(x), sum = 0;
    if (wide < 1 && base == x) base--; // the left one of two that are as near
    int64_t first = (int64_t)floorf((r->mode[0] == 'l' ? -1 : -2) / wide) + 1, n = 2 - 2 * first;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < n; i++) {
            int64_t at = (int64_t)base + first + i;
            float w = bump(r, fabsf((float)(first + i) - (x - base)) * wide);
            if (r->exclude_outside && (at < 0 || at >= s->in)) w = 0;
            if (pass == 0)
                sum += w;
            else
                row[inside(at, s->in)] += r->exclude_outside || wide < 1 ? w / sum : w;
        }
}

// y = x times the interpolation matrix along axis a, which the last but one may be as it is.
static struct fe_val *interpolate(struct fe_ctx *c, const struct resize *r, struct fe_val *xv, int a,
                                  const struct axis_scale *s) {
    ir_vid x = fe_vid(c, xv);
    if (x == IR_NONE) return NULL;
    const struct ir_type t = *fe_typeof(c, x);
    int64_t dims[2] = {s->out, s->in}, perm[IR_MAX_RANK];
    float *m = ARENA_ARRAY(c->a, float, (size_t)(s->in * s->out));
    for (int64_t i = 0; i < s->out; i++) taps(r, s, r->place(s, (float)i), m + i * s->in);
    ir_vid k = fe_cast(c, ir_const(c->g, ir_type_make(IR_F32, 2, dims), m), t.dtype);
    bool last = a == t.rank - 1, swap = a < t.rank - 2;
    for (int i = 0; i < t.rank; i++) perm[i] = i == a ? t.rank - 1 : i == t.rank - 1 ? a : i;
    if (swap) x = fe_transpose(c, x, t.rank, perm);
    if (t.rank == 1) x = fe_reshape(c, x, 2, (int64_t[2]){1, s->in});
    ir_vid y = last || swap ? fe_matmul(c, x, k, 0, 1) : fe_matmul(c, k, x, 0, 0);
    if (t.rank == 1) y = fe_reshape(c, y, 1, &s->out);
    return fe_val_of(c, swap ? fe_transpose(c, y, t.rank, perm) : y);
}

// Elements along axis a by index; each `rep` times in order is a view.
static struct fe_val *pick(struct fe_ctx *c, const struct resize *r, struct fe_val *x, int a,
                           const struct axis_scale *s) {
    int64_t *index = ARENA_ARRAY(c->a, int64_t, (size_t)s->out), rep = s->out / s->in;
    bool repeat = s->out % s->in == 0;
    for (int64_t o = 0; o < s->out; o++) {
        index[o] = inside(r->nearest(r->place(s, (float)o), s->scale < 1), s->in);
        repeat &= index[o] == o / (rep ? rep : 1);
    }
    int rank = fe_type(c, x)->rank;
    if (!repeat || rank >= IR_MAX_RANK) return fe_p_take(c, x, a, index, (size_t)s->out);
    int64_t mid[IR_MAX_RANK + 1], res[IR_MAX_RANK];
    memcpy(res, fe_type(c, x)->dims, sizeof res);
    for (int d = 0; d <= rank; d++) mid[d] = d <= a ? res[d] : d == a + 1 ? 1 : res[d - 1];
    x = fe_p_reshape(c, x, rank + 1, mid);
    mid[a + 1] = rep;
    res[a] = s->out;
    x = x ? fe_p_expand(c, x, rank + 1, mid) : NULL;
    return x ? fe_p_reshape(c, x, rank, res) : NULL;
}

static bool read_resize(struct fe_ctx *c, const struct fe_node *n, struct resize *r) {
    const char *mode = fe_attr_s(c, n, "mode", "nearest"),
               *coord = fe_attr_s(c, n, "coordinate_transformation_mode", "half_pixel"),
               *nearest = fe_attr_s(c, n, "nearest_mode", "round_prefer_floor");
    *r = (struct resize){.mode = strcmp(mode, "bilinear") ? mode : "linear",
                         .cubic_a = (float)fe_attr_f(c, n, "cubic_coeff_a", -0.75)};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (!strcmp(places[i].name, coord)) r->place = places[i].f;
    for (size_t i = 0; i < sizeof roundings / sizeof *roundings; i++)
        if (!strcmp(roundings[i].name, nearest)) r->nearest = roundings[i].f;
    if (n->arg < 11) { // Upsample and Resize-10
        r->place = place_asymmetric;
        r->nearest = nearest_before_11;
    }
    if (strcmp(r->mode, "nearest") && strcmp(r->mode, "linear") && strcmp(r->mode, "cubic"))
        return fe_fail(c, n, "mode \"%s\" is not supported; nearest, linear and cubic are", mode);
    if (!r->place) return fe_fail(c, n, "mode \"%s\" with coordinates \"%s\" is not supported", mode, coord);
    if (!r->nearest) return fe_fail(c, n, "nearest_mode \"%s\" is not known", nearest);
    r->antialias = r->mode[0] != 'n' && fe_attr_i(c, n, "antialias", 0);
    r->exclude_outside = (r->mode[0] == 'c' || r->antialias) && fe_attr_i(c, n, "exclude_outside", 0);
    return true;
}

// What is asked for along the axes: scales (fa and f: floats), or sizes.
struct request {
    const struct fe_sym *scales, *sizes;
    size_t n;
    const int64_t *axes; // NULL: all
};

// scales: operand 1 before opset 11 (attribute in Upsample-7), 2 since; sizes: operand 3.
static bool read_request(struct fe_ctx *c, const struct fe_node *n, int rank, struct request *q) {
    *q = (struct request){0};
    size_t n_axes;
    q->axes = fe_attr_ints(n, "axes", &n_axes);
    q->scales = fe_known(c, fe_arg(n, n->arg < 11 ? 1 : 2), true);
    if (q->scales && q->scales->n == 0) q->scales = NULL;
    if (n->arg >= 11 && fe_arg(n, 3) && !fe_ints(c, n, NULL, 3, &q->sizes)) return false;
    const Onnx__AttributeProto *a = fe_attr(n, "scales");
    if (c->opset < 7 && fe_attr(n, "height_scale") && rank == 4) { // of Upsample-1
        const double by[4] = {1, 1, fe_attr_f(c, n, "height_scale", 1), fe_attr_f(c, n, "width_scale", 1)};
        struct fe_sym *s = fe_sym_new(c->a, IR_F32, 1, (int64_t[]){4});
        for (size_t i = 0; s && i < 4; i++) s->v[i].f = by[i];
        q->scales = s;
    }
    if (!q->scales && !q->sizes && a) {
        int64_t len[1] = {(int64_t)a->n_floats};
        struct fe_sym *s = fe_sym_new(c->a, IR_F32, 1, len);
        for (size_t i = 0; s && i < s->n; i++) s->v[i].f = (double)a->floats[i];
        q->scales = s;
    }
    if (q->scales) q->sizes = NULL;
    q->n = q->scales ? q->scales->n : q->sizes ? q->sizes->n : 0;
    struct fe_val *scales = fe_arg(n, n->arg < 11 ? 1 : 2);
    if (!q->scales && scales && ir_numel(fe_type(c, scales)) && !fe_known(c, scales, true))
        return fe_fail(c, n, "its scales depend on %s", fe_source_text(c, scales));
    if (q->n != (q->axes ? n_axes : (size_t)rank) || (q->scales && q->scales->type.dtype != IR_F32))
        return fe_fail(c, n, "needs constant scales or sizes for each axis");
    return true;
}

// The one scale of sizes that keep the ratio of the axes; 0 where each axis has its own.
static bool kept_ratio(struct fe_ctx *c, const struct fe_node *n, const struct request *q, const int64_t *dims,
                       int rank, float *ratio) {
    const char *policy = fe_attr_s(c, n, "keep_aspect_ratio_policy", "stretch");
    bool smaller = !strcmp(policy, "not_larger");
    *ratio = 0;
    if (!q->sizes || !strcmp(policy, "stretch")) return true;
    if (!smaller && strcmp(policy, "not_smaller"))
        return fe_fail(c, n, "keep_aspect_ratio_policy \"%s\" is not known", policy);
    for (size_t i = 0; i < q->n; i++) {
        int a;
        if (!fe_axis(c, n, q->axes ? q->axes[i] : (int64_t)i, rank, &a)) return false;
        if (dims[a] < 0 || q->sizes->v[i].a)
            return fe_fail(c, n, "keep_aspect_ratio_policy \"%s\" with the batch among its axes", policy);
        float own = (float)q->sizes->v[i].b / (float)dims[a];
        *ratio = i == 0 || (smaller ? own < *ratio : own > *ratio) ? own : *ratio;
    }
    return true;
}

// The sizes of request i along an axis of s->in elements, a fixed number.
static bool axis_request(struct fe_ctx *c, const struct fe_node *n, const struct request *q, size_t i, float ratio,
                         struct axis_scale *s) {
    const struct fe_num *v = q->scales ? &q->scales->v[i] : &q->sizes->v[i];
    const int64_t most = 1 << 16;
    bool ok = v->a == 0 && v->fa == 0 && s->in >= 1 && s->in <= most;
    s->scale = q->scales ? (float)v->f : ratio > 0 ? ratio : (float)v->b / (float)s->in;
    s->out = v->b;
    if (ok && q->scales) ok = checked_i64((double)(s->scale * (float)s->in), &s->out);
    if (ok && ratio > 0) ok = checked_i64((double)roundf(ratio * (float)s->in), &s->out);
    if (ok && s->out >= 1 && s->out <= most && s->in * s->out <= INT64_C(1) << 28) return true;
    if (q->scales)
        return fe_fail(c, n, "scale %g of an axis of %lld elements; sizes of 1 to %lld are supported", (double)s->scale,
                       (long long)s->in, (long long)most);
    return fe_fail(c, n, "size %lld of an axis of %lld elements; 1 to %lld are supported", (long long)s->out,
                   (long long)s->in, (long long)most);
}

// Whether request i leaves the batch, d*N elements, as it is.
static bool keeps_batch(const struct fe_ctx *c, const struct request *q, size_t i, int64_t d) {
    if (q->scales) return q->scales->v[i].fa == 0 && q->scales->v[i].f == 1;
    const struct fe_num *v = &q->sizes->v[i];
    return (v->a == d && v->b == 0) || (c->baked && !v->a && v->b == d * c->baked);
}

// The part of request i's axis that tf_crop_and_resize cuts out: operand 1 has all begins, then all ends.
static bool read_crop(struct fe_ctx *c, const struct fe_node *n, const struct request *q, size_t i,
                      struct axis_scale *s) {
    const struct fe_sym *roi = fe_known(c, fe_arg(n, 1), true);
    if (!roi || roi->n != 2 * q->n || !fe_sym_is_const(roi) || !ir_is_float(roi->type.dtype))
        return fe_fail(c, n,
                       "its region, two numbers for each axis, must be known when compiling; here it depends on %s",
                       fe_source_text(c, fe_arg(n, 1)));
    s->first = (float)roi->v[i].f;
    s->last = (float)roi->v[q->n + i].f;
    return isfinite(s->first) && isfinite(s->last) && (fabsf(s->first) < 1e4f && fabsf(s->last) < 1e4f)
               ? true
               : fe_fail(c, n, "its region is from %g to %g", (double)s->first, (double)s->last);
}

// `value` in place of what lies outside of the input along axis a.
static struct fe_val *extrapolated(struct fe_ctx *c, const struct resize *r, struct fe_val *x, int a,
                                   const struct axis_scale *s, double value) {
    int64_t dims[IR_MAX_RANK];
    const struct ir_type t = *fe_type(c, x);
    bool any = false;
    for (int i = 0; i < t.rank; i++) dims[i] = i == a ? s->out : 1;
    struct fe_sym *out = fe_sym_new(c->a, IR_BOOL, t.rank, dims);
    for (int64_t i = 0; i < s->out; i++) {
        float at = r->place(s, (float)i);
        any |= out->v[i].b = at < 0 || at > (float)(s->in - 1);
    }
    if (!any) return x;
    ir_vid v = fe_where(c, fe_vid(c, fe_val_sym(c, out)), fe_num(c, t.dtype, value), fe_vid(c, x));
    return fe_val_of(c, v);
}

bool fe_op_resize(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = fe_arg(n, 0);
    if (!x) return false;
    struct ir_type t = *fe_type(c, x);
    struct resize r;
    struct request q;
    float ratio;
    if (!read_resize(c, n, &r) || !read_request(c, n, t.rank, &q) || !kept_ratio(c, n, &q, t.dims, t.rank, &ratio))
        return false;
    for (size_t i = 0; i < q.n && x; i++) {
        int a;
        if (!fe_axis(c, n, q.axes ? q.axes[i] : (int64_t)i, t.rank, &a)) return false;
        if (t.dims[a] < 0) {
            if (!keeps_batch(c, &q, i, -t.dims[a])) return fe_fail(c, n, "it resizes the batch");
            continue;
        }
        struct axis_scale s = {.in = t.dims[a], .last = 1};
        bool crops = r.place == place_crop;
        if (crops && !read_crop(c, n, &q, i, &s)) return false;
        crops = crops && (s.first != 0 || s.last != 1);
        if (crops      ? false
            : q.scales ? q.scales->v[i].f == 1 && q.scales->v[i].fa == 0
                       : ratio <= 0 && !q.sizes->v[i].a && q.sizes->v[i].b == s.in)
            continue;
        if (!axis_request(c, n, &q, i, ratio, &s)) return false;
        if (r.mode[0] != 'n' && !ir_is_float(t.dtype))
            return fe_fail(c, n, "it interpolates %s", ir_dtype_name(t.dtype));
        x = r.mode[0] == 'n' ? pick(c, &r, x, a, &s) : interpolate(c, &r, x, a, &s);
        if (crops && x) x = extrapolated(c, &r, x, a, &s, fe_attr_f(c, n, "extrapolation_value", 0));
    }
    return fe_out_val(n, 0, x);
}
