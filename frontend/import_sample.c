// Tensors read at places that are computed: GridSample, RoiAlign, DeformConv, and the grids of AffineGrid.
//
// A place between elements is a sum of its neighbours ("taps"). All taps are one gather of rows, channels of an element
// each, whose weights are computed beside it: gradients by data, places and masks come from autodiff.
#include "onnx_internal.h"

#include <math.h>
#include <string.h>

enum { MAX_SPACE = 3 };
enum padding { ZEROS, BORDER, REFLECTION };
enum mode { NEAREST, LINEAR, CUBIC };

struct sampler {
    enum mode mode;
    enum padding padding;
    bool align_corners; // reflects at the outer elements' centers
    int n;              // dims of space
    int64_t size[MAX_SPACE];
    enum ir_dtype dtype; // of places
};

static ir_vid num(struct fe_ctx *c, const struct sampler *s, double v) { return fe_num(c, s->dtype, v); }
static ir_vid plus(struct fe_ctx *c, ir_vid a, ir_vid b) { return fe_e2(c, IR_OP_add, a, b); }
static ir_vid minus(struct fe_ctx *c, ir_vid a, ir_vid b) { return fe_e2(c, IR_OP_sub, a, b); }
static ir_vid times(struct fe_ctx *c, ir_vid a, ir_vid b) { return fe_e2(c, IR_OP_mul, a, b); }

static ir_vid clamped(struct fe_ctx *c, const struct sampler *s, ir_vid x, double low, double high) {
    return fe_e2(c, IR_OP_min, fe_e2(c, IR_OP_max, x, num(c, s, low)), num(c, s, high));
}

// To and fro between the borders of axis d.
static ir_vid reflected(struct fe_ctx *c, const struct sampler *s, ir_vid x, int d) {
    double low = s->align_corners ? 0 : -0.5, span = (double)s->size[d] - (s->align_corners ? 1 : 0);
    if (span == 0) return times(c, x, num(c, s, 0));
    ir_vid far = fe_e1(c, IR_OP_abs, minus(c, x, num(c, s, low))), turns;
    turns = fe_e1(c, IR_OP_floor, fe_e2(c, IR_OP_div, far, num(c, s, span)));
    ir_vid extra = fe_e2(c, IR_OP_rem, far, num(c, s, span)), odd = fe_e2(c, IR_OP_rem, turns, num(c, s, 2));
    ir_vid at = fe_where(c, fe_e2(c, IR_OP_eq, odd, num(c, s, 0)), extra, minus(c, num(c, s, span), extra));
    return plus(c, at, num(c, s, low));
}

static ir_vid padded(struct fe_ctx *c, const struct sampler *s, ir_vid x, int d) {
    if (s->padding == ZEROS) return x;
    if (s->padding == REFLECTION) x = reflected(c, s, x, d);
    return clamped(c, s, x, 0, (double)s->size[d] - 1);
}

static int taps_of(const struct sampler *s) { return s->mode == NEAREST ? 1 : s->mode == LINEAR ? 2 : 4; }

// The weights of the taps at -1, 0, 1 and 2 by Keys, or of those at 0 and 1; f [..] is how far behind tap 0 a place is.
static ir_vid weight(struct fe_ctx *c, const struct sampler *s, ir_vid f, int tap) {
    const double a = -0.75;
    ir_vid one = num(c, s, 1), d;
    if (s->mode == LINEAR) return tap ? f : minus(c, one, f);
    d = tap == 0 ? plus(c, f, one) : tap == 1 ? f : minus(c, num(c, s, tap - 1), f);
    if (tap == 1 || tap == 2) { // ((a + 2) d - (a + 3)) d d + 1
        ir_vid p = minus(c, times(c, d, num(c, s, a + 2)), num(c, s, a + 3));
        return plus(c, times(c, times(c, p, d), d), one);
    }
    ir_vid p = minus(c, times(c, d, num(c, s, a)), num(c, s, 5 * a)); // ((a d - 5 a) d + 8 a) d - 4 a
    return minus(c, times(c, plus(c, times(c, p, d), num(c, s, 8 * a)), d), num(c, s, 4 * a));
}

// Along axis d: which elements [B,P,..,taps,..] the places [B,P] touch, whether these are inside, with which weights.
struct taps {
    ir_vid element, inside, weight; // weight: IR_NONE for the nearest
};

static struct taps taps(struct fe_ctx *c, const struct sampler *s, ir_vid x, int d) {
    struct taps t = {IR_NONE, IR_NONE, IR_NONE};
    if (x == IR_NONE) return t;
    const struct ir_type type = *fe_typeof(c, x);
    int64_t dims[2 + MAX_SPACE] = {type.dims[0], type.dims[1], 1, 1, 1};
    int n = taps_of(s);
    ir_vid at[4], w[4], base, f = IR_NONE;
    if (s->mode != CUBIC) x = padded(c, s, x, d);
    base = fe_e1(c, s->mode == NEAREST ? IR_OP_round : IR_OP_floor, x);
    if (s->mode != NEAREST) f = minus(c, x, base);
    for (int k = 0; k < n; k++) {
        at[k] = plus(c, base, num(c, s, s->mode == CUBIC ? k - 1 : k));
        if (s->mode == CUBIC) at[k] = padded(c, s, at[k], d);
        at[k] = fe_reshape(c, at[k], 2 + s->n, dims);
        w[k] = f == IR_NONE ? f : fe_reshape(c, weight(c, s, f, k), 2 + s->n, dims);
    }
    ir_vid place = n == 1 ? at[0] : fe_emit(c, IR_OP_concat, at, (size_t)n, IR_ATTRS(IR_I("axis", 2 + d)));
    if (f != IR_NONE) t.weight = fe_emit(c, IR_OP_concat, w, (size_t)n, IR_ATTRS(IR_I("axis", 2 + d)));
    t.element = fe_cast(c, place, IR_I64); // far places saturate, and are outside
    t.inside = fe_e2(c, IR_OP_and, fe_e2(c, IR_OP_le, num(c, s, 0), place),
                     fe_e2(c, IR_OP_lt, place, num(c, s, (double)s->size[d])));
    return t;
}

// Rows x [B, elements, C], or where `first` [B] says the number of each one's first row, x [elements, C], at places
// at[d] [B,P]: taps [B, P, number of taps, C] times their weights.
static ir_vid weighted(struct fe_ctx *c, const struct sampler *s, ir_vid x, const ir_vid *at, ir_vid first) {
    ir_vid flat = IR_NONE, inside = IR_NONE, w = IR_NONE;
    for (int d = 0; d < s->n; d++) {
        struct taps t = taps(c, s, at[d], d);
        if (t.element == IR_NONE) return IR_NONE;
        flat = d ? plus(c, times(c, flat, fe_num(c, IR_I64, (double)s->size[d])), t.element) : t.element;
        inside = d ? fe_e2(c, IR_OP_and, inside, t.inside) : t.inside;
        w = d && t.weight != IR_NONE ? times(c, w, t.weight) : t.weight;
    }
    if (flat == IR_NONE || inside == IR_NONE || x == IR_NONE) return IR_NONE;
    const struct ir_type type = *fe_typeof(c, flat), xt = *fe_typeof(c, x);
    int64_t n = 1, channels = xt.dims[xt.rank - 1], ones[2 + MAX_SPACE] = {type.dims[0], 1, 1, 1, 1};
    for (int d = 0; d < s->n; d++) n *= type.dims[2 + d];
    if (first != IR_NONE) flat = plus(c, flat, fe_reshape(c, first, type.rank, ones));
    flat = fe_where(c, inside, flat, ir_const_i(c->g, INT64_MAX)); // reads as 0
    int64_t rows[3] = {type.dims[0], type.dims[1] * n, 1}, out[4] = {type.dims[0], type.dims[1], n, channels};
    ir_vid y, index = fe_reshape(c, flat, first == IR_NONE ? 3 : 2, rows);
    if (first == IR_NONE)
        y = fe_gather_elements(c, x, index, 1);
    else
        y = fe_emit(c, IR_OP_gather, (ir_vid[]){x, index}, 2, IR_ATTRS(IR_I("axis", 0)));
    y = fe_reshape(c, y, 4, out);
    if (w == IR_NONE || y == IR_NONE) return y;
    out[3] = 1;
    w = fe_where(c, inside, w, num(c, s, 0)); // of an infinite place the weights are NaN
    return times(c, y, fe_cast(c, fe_reshape(c, w, 4, out), xt.dtype));
}

// [B,P,C].
static ir_vid sampled(struct fe_ctx *c, const struct sampler *s, ir_vid x, const ir_vid *at, ir_vid first) {
    ir_vid y = weighted(c, s, x, at, first);
    if (y == IR_NONE) return y;
    if (fe_typeof(c, y)->dims[2] > 1) return fe_reduce(c, IR_OP_reduce_sum, y, (int64_t[1]){2}, 1, 0);
    const struct ir_type t = *fe_typeof(c, y);
    return fe_reshape(c, y, 3, (int64_t[3]){t.dims[0], t.dims[1], t.dims[3]});
}

// [B,C,space] as [B, elements, C], and back with another space.
static ir_vid channels_last(struct fe_ctx *c, ir_vid x) {
    const struct ir_type t = *fe_typeof(c, x);
    int64_t perm[IR_MAX_RANK] = {0}, dims[3] = {t.dims[0], 1, t.dims[1]};
    for (int i = 2; i < t.rank; i++) {
        perm[i - 1] = i;
        dims[1] *= t.dims[i];
    }
    perm[t.rank - 1] = 1;
    return fe_reshape(c, fe_transpose(c, x, t.rank, perm), 3, dims);
}

static ir_vid channels_first(struct fe_ctx *c, ir_vid y, int n, const int64_t *space) {
    if (y == IR_NONE) return y;
    const struct ir_type t = *fe_typeof(c, y);
    int64_t dims[IR_MAX_RANK] = {t.dims[0], t.dims[2]};
    for (int i = 0; i < n; i++) dims[2 + i] = space[i];
    return fe_reshape(c, fe_transpose(c, y, 3, (int64_t[3]){0, 2, 1}), 2 + n, dims);
}

// Column k of a [B,P,columns] as [B,P].
static ir_vid column(struct fe_ctx *c, ir_vid x, int64_t k) {
    if (x == IR_NONE) return x;
    const struct ir_type t = *fe_typeof(c, x);
    return fe_reshape(c, fe_cut(c, x, 2, k, 1, 1), 2, t.dims);
}

// --- GridSample

static bool read_sampler(struct fe_ctx *c, struct fe_node *n, struct sampler *s) {
    static const struct {
        const char *name;
        int is;
    } modes[] = {{"nearest", NEAREST}, {"bilinear", LINEAR}, {"linear", LINEAR}, {"bicubic", CUBIC}, {"cubic", CUBIC}},
      paddings[] = {{"zeros", ZEROS}, {"border", BORDER}, {"reflection", REFLECTION}};
    const char *mode = fe_attr_s(c, n, "mode", "linear"), *padding = fe_attr_s(c, n, "padding_mode", "zeros");
    int m = -1, p = -1;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(modes[i].name, mode)) m = modes[i].is;
    for (size_t i = 0; i < sizeof paddings / sizeof *paddings; i++)
        if (!strcmp(paddings[i].name, padding)) p = paddings[i].is;
    if (m < 0 || p < 0) return fe_fail(c, n, "mode \"%s\" with padding \"%s\" is not known", mode, padding);
    *s = (struct sampler){
        .mode = (enum mode)m, .padding = (enum padding)p, .align_corners = fe_attr_i(c, n, "align_corners", 0) != 0};
    return true;
}

bool fe_op_grid_sample(struct fe_ctx *c, struct fe_node *n) {
    ir_vid in[2] = {fe_in(c, n, 0), fe_in(c, n, 1)}, at[MAX_SPACE];
    struct sampler s;
    if (in[0] == IR_NONE || in[1] == IR_NONE) return fe_fail(c, n, "needs two tensors");
    if (!read_sampler(c, n, &s)) return false;
    fe_unify_batch(c, in, 2);
    const struct ir_type x = *fe_typeof(c, in[0]), g = *fe_typeof(c, in[1]);
    s.n = x.rank - 2;
    s.dtype = g.dtype;
    if (s.n < 1 || s.n > MAX_SPACE || g.rank != x.rank || g.dims[g.rank - 1] != s.n || g.dims[0] != x.dims[0] ||
        !ir_is_float(g.dtype))
        return fe_fail(c, n, "its grid %s does not fit data %s of one to %d dimensions of space", fe_dims_text(c, &g),
                       fe_dims_text(c, &x), MAX_SPACE);
    if (!ir_is_float(x.dtype) && s.mode != NEAREST) return fe_fail(c, n, "it interpolates %s", ir_dtype_name(x.dtype));
    ir_vid grid = fe_reshape(c, in[1], 3, (int64_t[3]){g.dims[0], fe_dims_product(g.dims, 1, g.rank - 1), s.n});
    for (int d = 0; d < s.n; d++) { // the grid has the last axis first
        double size = (double)x.dims[2 + d];
        s.size[d] = x.dims[2 + d];
        ir_vid v = plus(c, column(c, grid, s.n - 1 - d), num(c, &s, 1));
        if (s.align_corners)
            at[d] = times(c, fe_e2(c, IR_OP_div, v, num(c, &s, 2)), num(c, &s, size - 1));
        else
            at[d] = fe_e2(c, IR_OP_div, minus(c, times(c, v, num(c, &s, size)), num(c, &s, 1)), num(c, &s, 2));
    }
    ir_vid y = sampled(c, &s, channels_last(c, in[0]), at, IR_NONE);
    return fe_out(c, n, 0, channels_first(c, y, s.n, g.dims + 1));
}

// theta [B, n, n + 1] times the places of a grid of known size, [1, n + 1, elements] with ones in the last row.
bool fe_op_affine_grid(struct fe_ctx *c, struct fe_node *n) {
    ir_vid theta = fe_in(c, n, 0);
    const struct fe_sym *size;
    if (theta == IR_NONE || !fe_ints(c, n, NULL, 1, &size)) return false;
    const struct ir_type t = *fe_typeof(c, theta);
    int space = size ? (int)size->n - 2 : 0;
    int64_t dims[IR_MAX_RANK], all = 1;
    if (space < 1 || space > MAX_SPACE || t.rank != 3 || t.dims[1] != space || t.dims[2] != space + 1)
        return fe_fail(c, n, "its theta %s does not fit its size", fe_dims_text(c, &t));
    dims[0] = t.dims[0];
    for (int d = 0; d < space; d++)
        if (!fe_num_dim(&size->v[2 + d], &dims[1 + d]) || dims[1 + d] < 1 || !checked_mul(all, dims[1 + d], &all) ||
            all > FE_SYM_MAX)
            return fe_fail(c, n, "its size must be known, with at most %lld elements", (long long)FE_SYM_MAX);
    bool align = fe_attr_i(c, n, "align_corners", 0) != 0;
    int64_t md[3] = {1, space + 1, all};
    void *m = arena_array(c->a, (size_t)((space + 1) * all), ir_dtype_size(t.dtype));
    for (int64_t i = 0; i < all; i++) {
        int64_t rest = i;
        for (int d = space - 1; d >= 0; d--) { // theta's columns are for the last axis first
            int64_t len = dims[1 + d], k = rest % len;
            double v = align ? (len > 1 ? -1 + 2.0 * (double)k / (double)(len - 1) : 0)
                             : (2.0 * (double)k + 1) / (double)len - 1;
            ir_put_float(t.dtype, m, (size_t)((space - 1 - d) * all + i), v);
            rest /= len;
        }
        ir_put_float(t.dtype, m, (size_t)(space * all + i), 1);
    }
    ir_vid y = fe_matmul(c, theta, ir_const(c->g, ir_type_make(t.dtype, 3, md), m), 0, 0);
    dims[1 + space] = space;
    return fe_out(c, n, 0, fe_reshape(c, fe_transpose(c, y, 3, (int64_t[3]){0, 2, 1}), 2 + space, dims));
}

// --- RoiAlign

// Where the samples of each region lie along one axis, [R, bins * ratio]: from `low`, in bins of length `bin`.
static ir_vid samples(struct fe_ctx *c, const struct sampler *s, ir_vid low, ir_vid bin, int64_t bins, int64_t ratio) {
    int64_t row[2] = {1, bins * ratio};
    void *m = arena_array(c->a, (size_t)row[1], ir_dtype_size(s->dtype));
    for (int64_t i = 0; i < row[1]; i++)
        ir_put_float(s->dtype, m, (size_t)i, (double)(i / ratio) + ((double)(i % ratio) + 0.5) / (double)ratio);
    return plus(c, low, times(c, bin, ir_const(c->g, ir_type_make(s->dtype, 2, row), m)));
}

// 1 where a place is no further than one element outside, else 0.
static ir_vid is_near(struct fe_ctx *c, const struct sampler *s, ir_vid at, int d) {
    ir_vid in = fe_e2(c, IR_OP_and, fe_e2(c, IR_OP_le, num(c, s, -1), at),
                      fe_e2(c, IR_OP_le, at, num(c, s, (double)s->size[d])));
    return fe_cast(c, in, s->dtype);
}

bool fe_op_roi_align(struct fe_ctx *c, struct fe_node *n) { // arg: whether half a pixel is the default
    ir_vid x = fe_in(c, n, 0), rois = fe_in(c, n, 1), batch = fe_cast(c, fe_in(c, n, 2), IR_I64);
    if (x == IR_NONE || rois == IR_NONE || batch == IR_NONE) return fe_fail(c, n, "needs three tensors");
    const struct ir_type t = *fe_typeof(c, x), rt = *fe_typeof(c, rois), bt = *fe_typeof(c, batch);
    int64_t bins[2] = {fe_attr_i(c, n, "output_height", 1), fe_attr_i(c, n, "output_width", 1)},
            ratio = fe_attr_i(c, n, "sampling_ratio", 0), all = 1;
    const char *mode = fe_attr_s(c, n, "mode", "avg"),
               *place = fe_attr_s(c, n, "coordinate_transformation_mode", n->arg ? "half_pixel" : "output_half_pixel");
    double scale = fe_attr_f(c, n, "spatial_scale", 1), offset = strcmp(place, "half_pixel") ? 0 : 0.5;
    bool most = !strcmp(mode, "max");
    if (t.rank != 4 || rt.rank != 2 || rt.dims[1] != 4 || bt.rank != 1 || bt.dims[0] != rt.dims[0] ||
        !ir_is_float(t.dtype) || rt.dtype != t.dtype)
        return fe_fail(c, n, "its regions %s and their images %s do not fit %s", fe_dims_text(c, &rt),
                       fe_dims_text(c, &bt), fe_dims_text(c, &t));
    if (!most && strcmp(mode, "avg")) return fe_fail(c, n, "mode \"%s\" is not known", mode);
    if (ratio == 0)
        return fe_fail(
            c, n,
            "its sampling_ratio is 0: how many samples a region has then depends on the data; export it with "
            "a fixed one, such as 2");
    for (int d = 0; d < 2; d++)
        if (bins[d] < 1 || ratio < 0 || !checked_mul(all, bins[d], &all) || !checked_mul(all, ratio, &all) ||
            all > FE_SYM_MAX)
            return fe_fail(c, n, "an output of %lld x %lld with %lld samples a bin", (long long)bins[0],
                           (long long)bins[1], (long long)ratio);
    struct sampler s = {LINEAR, BORDER, .n = 2, .size = {t.dims[2], t.dims[3]}, .dtype = t.dtype};
    ir_vid box = fe_reshape(c, rois, 3, (int64_t[3]){rt.dims[0], 1, 4}), axis[2], near[2], at[2];
    for (int d = 0; d < 2; d++) { // x1, y1, x2, y2
        ir_vid end[2];
        for (int k = 0; k < 2; k++)
            end[k] = minus(c, times(c, column(c, box, 2 * k + 1 - d), num(c, &s, scale)), num(c, &s, offset));
        ir_vid len = minus(c, end[1], end[0]);
        if (offset == 0) len = fe_e2(c, IR_OP_max, len, num(c, &s, 1));
        axis[d] = samples(c, &s, end[0], fe_e2(c, IR_OP_div, len, num(c, &s, (double)bins[d])), bins[d], ratio);
        near[d] = is_near(c, &s, axis[d], d);
    }
    if (axis[0] == IR_NONE || axis[1] == IR_NONE) return false;
    int64_t h = bins[0] * ratio, w = bins[1] * ratio, r = rt.dims[0];
    int64_t rows[3] = {r, h, 1}, columns[3] = {r, 1, w}, both[3] = {r, h, w}, places[2] = {r, h * w};
    at[0] = fe_reshape(c, fe_expand(c, fe_reshape(c, axis[0], 3, rows), 3, both), 2, places);
    at[1] = fe_reshape(c, fe_expand(c, fe_reshape(c, axis[1], 3, columns), 3, both), 2, places);
    ir_vid mask = times(c, fe_reshape(c, near[0], 3, rows), fe_reshape(c, near[1], 3, columns));
    int64_t plane = t.dims[2] * t.dims[3], images[2] = {t.dims[0] * plane, t.dims[1]};
    ir_vid y = weighted(c, &s, fe_reshape(c, channels_last(c, x), 2, images), at,
                        times(c, batch, fe_num(c, IR_I64, (double)plane)));
    y = times(c, y, fe_reshape(c, mask, 4, (int64_t[4]){r, h * w, 1, 1}));
    int64_t cut[7] = {r, bins[0], ratio, bins[1], ratio, 4, t.dims[1]}, over[3] = {2, 4, 5};
    y = fe_reduce(c, most ? IR_OP_reduce_max : IR_OP_reduce_sum, fe_reshape(c, y, 7, cut), over, 3, 0);
    if (!most) y = fe_e2(c, IR_OP_div, y, num(c, &s, (double)(ratio * ratio)));
    return fe_out(c, n, 0, fe_transpose(c, y, 4, (int64_t[4]){0, 3, 1, 2}));
}

// --- DeformConv

struct deform {
    int64_t k[2], out[2], stride[2], dilation[2], pad[4], group, offset_group, taps, places;
};

static bool read_deform(struct fe_ctx *c, struct fe_node *n, const struct ir_type *x, const struct ir_type *w,
                        const struct ir_type *offset, struct deform *d) {
    static const struct {
        const char *name;
        size_t count;
        int64_t least, otherwise;
    } attrs[] = {{"strides", 2, 1, 1}, {"dilations", 2, 1, 1}, {"pads", 4, 0, 0}};
    int64_t *to[] = {d->stride, d->dilation, d->pad};
    const int64_t most = 1 << 24;
    for (int i = 0; i < 3; i++) {
        size_t count;
        const int64_t *v = fe_attr_ints(n, attrs[i].name, &count);
        if (v && count != attrs[i].count) return fe_fail(c, n, "%s has %zu entries", attrs[i].name, count);
        for (size_t k = 0; k < attrs[i].count; k++) {
            to[i][k] = v ? v[k] : attrs[i].otherwise;
            if (to[i][k] < attrs[i].least || to[i][k] > most)
                return fe_fail(c, n, "%s %lld is out of range", attrs[i].name, (long long)to[i][k]);
        }
    }
    d->group = fe_attr_i(c, n, "group", 1);
    d->offset_group = fe_attr_i(c, n, "offset_group", 1);
    bool ok = x->rank == 4 && w->rank == 4 && offset->rank == 4 && offset->dims[0] == x->dims[0] &&
              x->dtype == w->dtype && x->dtype == offset->dtype && ir_is_float(x->dtype);
    for (int i = 0; ok && i < 2; i++) {
        int64_t reach = (w->dims[2 + i] - 1) * d->dilation[i] + 1;
        d->k[i] = w->dims[2 + i];
        d->out[i] = offset->dims[2 + i];
        ok = d->k[i] >= 1 && d->k[i] <= most &&
             d->out[i] == (x->dims[2 + i] + d->pad[i] + d->pad[2 + i] - reach) / d->stride[i] + 1;
    }
    d->taps = d->k[0] * d->k[1];
    d->places = d->out[0] * d->out[1];
    ok = ok && d->group >= 1 && d->offset_group >= 1 && x->dims[1] == w->dims[1] * d->group &&
         w->dims[0] % d->group == 0 && x->dims[1] % d->offset_group == 0 &&
         offset->dims[1] == d->offset_group * d->taps * 2;
    return ok || fe_fail(c, n, "its data %s, weights %s and offsets %s do not fit together", fe_dims_text(c, x),
                         fe_dims_text(c, w), fe_dims_text(c, offset));
}

// Where the taps lie without offsets along axis d, [1, places * taps].
static ir_vid window(struct fe_ctx *c, const struct deform *d, enum ir_dtype t, int axis) {
    int64_t dims[2] = {1, d->places * d->taps};
    void *m = arena_array(c->a, (size_t)dims[1], ir_dtype_size(t));
    for (int64_t i = 0; i < dims[1]; i++) {
        int64_t place = i / d->taps, tap = i % d->taps, o = axis ? place % d->out[1] : place / d->out[1],
                k = axis ? tap % d->k[1] : tap / d->k[1];
        ir_put_float(t, m, (size_t)i, (double)(o * d->stride[axis] - d->pad[axis] + k * d->dilation[axis]));
    }
    return ir_const(c->g, ir_type_make(t, 2, dims), m);
}

// The channels [B, places, taps, part] of one group of offsets.
static ir_vid deformed(struct fe_ctx *c, const struct deform *d, const struct sampler *s, ir_vid rows, ir_vid offset,
                       ir_vid mask, int64_t g) {
    int64_t batch = fe_typeof(c, rows)->dims[0], part = fe_typeof(c, rows)->dims[2] / d->offset_group;
    int64_t split[4] = {batch, d->taps, 2, d->places}, flat[3] = {batch, d->places * d->taps, 2},
            perm[4] = {0, 3, 1, 2};
    ir_vid mine = fe_reshape(c, fe_cut(c, offset, 1, g * d->taps * 2, d->taps * 2, 1), 4, split), at[2];
    mine = fe_reshape(c, fe_transpose(c, mine, 4, perm), 3, flat);
    for (int i = 0; i < 2; i++) at[i] = plus(c, column(c, mine, i), window(c, d, s->dtype, i));
    ir_vid y = sampled(c, s, fe_cut(c, rows, 2, g * part, part, 1), at, IR_NONE);
    y = fe_reshape(c, y, 4, (int64_t[4]){batch, d->places, d->taps, part});
    if (mask == IR_NONE) return y;
    ir_vid m = fe_reshape(c, fe_cut(c, mask, 1, g * d->taps, d->taps, 1), 3, (int64_t[3]){batch, d->taps, d->places});
    m = fe_transpose(c, m, 3, (int64_t[3]){0, 2, 1});
    return times(c, y, fe_reshape(c, m, 4, (int64_t[4]){batch, d->places, d->taps, 1}));
}

bool fe_op_deform_conv(struct fe_ctx *c, struct fe_node *n) {
    ir_vid in[3] = {fe_in(c, n, 0), fe_in(c, n, 1), fe_in(c, n, 2)}, mask = fe_in(c, n, 4), bias = fe_in(c, n, 3);
    if (in[0] == IR_NONE || in[1] == IR_NONE || in[2] == IR_NONE) return fe_fail(c, n, "needs three tensors");
    const struct ir_type x = *fe_typeof(c, in[0]), w = *fe_typeof(c, in[1]), offset = *fe_typeof(c, in[2]);
    struct deform d = {0};
    if (!read_deform(c, n, &x, &w, &offset, &d)) return false;
    struct sampler s = {LINEAR, ZEROS, .n = 2, .size = {x.dims[2], x.dims[3]}, .dtype = x.dtype};
    ir_vid rows = channels_last(c, in[0]), *parts = ARENA_ARRAY(c->a, ir_vid, (size_t)(d.group + d.offset_group)), y;
    if (d.group > 64 || d.offset_group > 64) return fe_fail(c, n, "it has more than 64 groups");
    for (int64_t g = 0; g < d.offset_group; g++) parts[g] = deformed(c, &d, &s, rows, in[2], mask, g);
    ir_vid all = d.offset_group == 1
                     ? parts[0]
                     : fe_emit(c, IR_OP_concat, parts, (size_t)d.offset_group, IR_ATTRS(IR_I("axis", 3)));
    int64_t outs = w.dims[0] / d.group, depth = d.taps * w.dims[1];
    for (int64_t g = 0; g < d.group; g++) { // [B * places, taps * channels] times [taps * channels, results]
        ir_vid k = fe_cut(c, in[1], 0, g * outs, outs, 1), v = fe_cut(c, all, 3, g * w.dims[1], w.dims[1], 1);
        k = fe_reshape(c, k, 3, (int64_t[3]){outs, w.dims[1], d.taps});
        k = fe_reshape(c, fe_transpose(c, k, 3, (int64_t[3]){0, 2, 1}), 2, (int64_t[2]){outs, depth});
        parts[g] = fe_matmul(c, fe_reshape(c, v, 2, (int64_t[2]){x.dims[0] * d.places, depth}), k, 0, 1);
    }
    y = d.group == 1 ? parts[0] : fe_emit(c, IR_OP_concat, parts, (size_t)d.group, IR_ATTRS(IR_I("axis", 1)));
    if (bias != IR_NONE) y = plus(c, y, bias);
    y = fe_reshape(c, y, 3, (int64_t[3]){x.dims[0], d.places, w.dims[0]});
    return fe_out(c, n, 0, channels_first(c, y, 2, d.out));
}
