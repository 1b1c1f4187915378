// Blocks and elements that are put into an image, regions that are cut out of one: Col2Im, CenterCropPad,
// MaxRoiPool.
#include "onnx_internal.h"

#include <math.h>
#include <string.h>

static ir_vid zeros(struct fe_ctx *c, enum ir_dtype t, int rank, const int64_t *dims) {
    return fe_emit(c, IR_OP_fill, NULL, 0,
                   IR_ATTRS(IR_IS("shape", dims, rank), IR_F("value", 0), IR_S("dtype", ir_dtype_name(t))));
}

// `count` integers of an attribute, each at least `least`, or all `def`.
static bool window_ints(struct fe_ctx *c, struct fe_node *n, const char *name, int64_t count, int64_t least,
                        int64_t def, int64_t *out) {
    size_t k;
    const int64_t *v = fe_attr_ints(n, name, &k);
    if (v && (int64_t)k != count) return fe_fail(c, n, "%s has %zu entries, not %lld", name, k, (long long)count);
    for (int64_t i = 0; i < count; i++) {
        out[i] = v ? v[i] : def;
        if (out[i] < least || out[i] > 1 << 24) return fe_fail(c, n, "%s has the entry %lld", name, (long long)out[i]);
    }
    return true;
}

// --- Col2Im

struct blocks {
    int n; // dims of space
    int64_t image[IR_MAX_RANK], size[IR_MAX_RANK], count[IR_MAX_RANK], stride[IR_MAX_RANK], dilation[IR_MAX_RANK],
        pad[2 * IR_MAX_RANK], elements, taps, blocks;
};

static bool read_blocks(struct fe_ctx *c, struct fe_node *n, struct blocks *b) {
    int sizes;
    if (!fe_const_ints(c, n, NULL, 1, b->image, IR_MAX_RANK - 2, &b->n) ||
        !fe_const_ints(c, n, NULL, 2, b->size, IR_MAX_RANK - 2, &sizes))
        return false;
    if (b->n < 1 || sizes != b->n) return fe_fail(c, n, "its image and its blocks must have the same dimensions");
    if (!window_ints(c, n, "strides", b->n, 1, 1, b->stride) ||
        !window_ints(c, n, "dilations", b->n, 1, 1, b->dilation) || !window_ints(c, n, "pads", 2 * b->n, 0, 0, b->pad))
        return false;
    b->elements = b->taps = b->blocks = 1;
    for (int i = 0; i < b->n; i++) {
        const int64_t most = 1 << 24;
        bool ok = b->image[i] >= 1 && b->image[i] <= most && b->size[i] >= 1 && b->size[i] <= most;
        int64_t room = ok ? b->image[i] + b->pad[i] + b->pad[b->n + i] - (b->size[i] - 1) * b->dilation[i] - 1 : -1;
        b->count[i] = room / b->stride[i] + 1;
        if (room < 0 || !checked_mul(b->elements, b->image[i], &b->elements) ||
            !checked_mul(b->taps, b->size[i], &b->taps) || !checked_mul(b->blocks, b->count[i], &b->blocks))
            return fe_fail(c, n, "blocks of %lld do not fit an image of %lld along dimension %d", (long long)b->size[i],
                           (long long)b->image[i], i);
    }
    return true;
}

// Where tap `tap` of block `block` lies in the image, row-major; far outside for what is in the padding.
static int64_t place_of(const struct blocks *b, int64_t tap, int64_t block) {
    int64_t at = 0, step = 1;
    for (int i = b->n - 1; i >= 0; i--) {
        int64_t x = block % b->count[i] * b->stride[i] + tap % b->size[i] * b->dilation[i] - b->pad[i];
        if (x < 0 || x >= b->image[i]) return INT64_MAX;
        at += x * step;
        step *= b->image[i];
        tap /= b->size[i];
        block /= b->count[i];
    }
    return at;
}

// Columns [B, C * taps, blocks] are added up where they lie in [B, C, image].
bool fe_op_col2im(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0);
    struct blocks b = {0};
    int64_t all;
    if (x == IR_NONE) return fe_fail(c, n, "operand 0 must be a tensor");
    if (!read_blocks(c, n, &b)) return false;
    const struct ir_type t = *fe_typeof(c, x);
    if (t.rank != 3 || t.dims[1] % b.taps || t.dims[2] != b.blocks || !checked_mul(b.taps, b.blocks, &all) ||
        all > 1 << 26)
        return fe_fail(c, n, "its columns %s do not fit %lld blocks of %lld elements", fe_dims_text(c, &t),
                       (long long)b.blocks, (long long)b.taps);
    int64_t channels = t.dims[1] / b.taps, columns[3] = {t.dims[0], channels, all},
            image[3] = {t.dims[0], channels, b.elements};
    int64_t *index = ARENA_ARRAY(c->a, int64_t, (size_t)all), shape[3] = {1, 1, all},
            out[IR_MAX_RANK] = {t.dims[0], channels};
    for (int64_t i = 0; i < all; i++) index[i] = place_of(&b, i / b.blocks, i % b.blocks);
    ir_vid y =
        fe_scatter_elements(c, zeros(c, t.dtype, 3, image), ir_const(c->g, ir_type_make(IR_I64, 3, shape), index),
                            fe_reshape(c, x, 3, columns), 2, "add");
    for (int i = 0; i < b.n; i++) out[2 + i] = b.image[i];
    return fe_out(c, n, 0, fe_reshape(c, y, 2 + b.n, out));
}

// --- CenterCropPad: where a size is odd, there is one element more at the end
bool fe_op_center_crop_pad(struct fe_ctx *c, struct fe_node *n) {
    struct fe_val *x = fe_arg(n, 0);
    const struct fe_sym *s;
    size_t n_axes;
    const int64_t *axes = fe_attr_ints(n, "axes", &n_axes);
    if (!x || x->is_seq) return fe_fail(c, n, "operand 0 must be a tensor");
    if (!fe_ints(c, n, NULL, 1, &s)) return false;
    const struct ir_type t = *fe_type(c, x);
    if (!s || s->n != (axes ? n_axes : (size_t)t.rank)) return fe_fail(c, n, "needs a size for each axis");
    int64_t starts[IR_MAX_RANK] = {0}, sizes[IR_MAX_RANK], steps[IR_MAX_RANK], lo[IR_MAX_RANK] = {0},
            hi[IR_MAX_RANK] = {0}, any = 0;
    for (int i = 0; i < t.rank; i++) {
        sizes[i] = t.dims[i];
        steps[i] = 1;
    }
    for (size_t i = 0; i < s->n; i++) {
        int a;
        int64_t want;
        if (!fe_axis(c, n, axes ? axes[i] : (int64_t)i, t.rank, &a)) return false;
        if (t.dims[a] < 0 && c->baked && !s->v[i].a && s->v[i].b == -t.dims[a] * c->baked) continue;
        if (!fe_num_dim(&s->v[i], &want) || (t.dims[a] < 0 && want != t.dims[a]) || (t.dims[a] >= 0 && want < 1))
            return fe_fail(c, n, "it makes axis %d another size than it may", a);
        if (want < sizes[a]) {
            starts[a] = (sizes[a] - want) / 2;
            sizes[a] = want;
        } else if (want > sizes[a]) {
            lo[a] = (want - sizes[a]) / 2;
            hi[a] = want - sizes[a] - lo[a];
            any = 1;
        }
    }
    if (!(x = fe_p_slice(c, x, starts, sizes, steps)) || !any) return fe_out_val(n, 0, x);
    ir_vid v = fe_vid(c, x);
    return fe_out(c, n, 0, fe_emit(c, IR_OP_pad, &v, 1, IR_ATTRS(IR_IS("lo", lo, t.rank), IR_IS("hi", hi, t.rank))));
}

// --- MaxRoiPool

// Of regions [R, 1], from `low` to `high` in elements, the bins along an axis of `size` elements: [R, bins, size], true
// for the elements of each.
static ir_vid bin_elements(struct fe_ctx *c, ir_vid low, ir_vid high, int64_t bins, int64_t size) {
    ir_vid len = fe_e2(c, IR_OP_max, fe_e2(c, IR_OP_add, fe_e2(c, IR_OP_sub, high, low), fe_f(c, 1)), fe_f(c, 1));
    ir_vid bin = fe_e2(c, IR_OP_div, len, fe_f(c, (double)bins)), end[2];
    for (int k = 0; k < 2; k++) {
        int64_t row[2] = {1, bins}, column[3] = {0, bins, 1};
        ir_vid i =
            fe_emit(c, IR_OP_iota, NULL, 0, IR_ATTRS(IR_IS("shape", row, 2), IR_I("axis", 1), IR_S("dtype", "f32")));
        if (k) i = fe_e2(c, IR_OP_add, i, fe_f(c, 1));
        end[k] = fe_e2(c, IR_OP_add, fe_e1(c, k ? IR_OP_ceil : IR_OP_floor, fe_e2(c, IR_OP_mul, i, bin)), low);
        if (end[k] == IR_NONE) return IR_NONE;
        column[0] = fe_typeof(c, end[k])->dims[0];
        end[k] = fe_reshape(c, end[k], 3, column);
    }
    int64_t all[3] = {1, 1, size};
    ir_vid at =
        fe_emit(c, IR_OP_iota, NULL, 0, IR_ATTRS(IR_IS("shape", all, 3), IR_I("axis", 2), IR_S("dtype", "f32")));
    return fe_e2(c, IR_OP_and, fe_e2(c, IR_OP_le, end[0], at), fe_e2(c, IR_OP_lt, at, end[1]));
}

// The largest of x [R,..] where mask is true, along one axis; -inf where it is nowhere.
static ir_vid largest(struct fe_ctx *c, ir_vid x, ir_vid mask, int axis) {
    return fe_reduce(c, IR_OP_reduce_max, fe_where(c, mask, x, fe_f(c, -INFINITY)), (int64_t[1]){axis}, 1, 0);
}

// A region is [image, x1, y1, x2, y2]. Bins are an outer product: first the largest in columns, then of those in rows.
bool fe_op_max_roi_pool(struct fe_ctx *c, struct fe_node *n) {
    ir_vid x = fe_in(c, n, 0), rois = fe_in(c, n, 1), v[5];
    int64_t bins[2] = {0};
    double scale = fe_attr_f(c, n, "spatial_scale", 1);
    if (x == IR_NONE || rois == IR_NONE) return fe_fail(c, n, "needs two tensors");
    const struct ir_type t = *fe_typeof(c, x), rt = *fe_typeof(c, rois);
    if (t.rank != 4 || rt.rank != 2 || rt.dims[1] != 5 || t.dtype != IR_F32 || rt.dtype != IR_F32)
        return fe_fail(c, n, "its regions %s do not fit %s of float32", fe_dims_text(c, &rt), fe_dims_text(c, &t));
    if (!window_ints(c, n, "pooled_shape", 2, 1, 1, bins)) return false;
    for (int i = 0; i < 5; i++) {
        v[i] = fe_cut(c, rois, 1, i, 1, 1);
        // Half away from zero, as C rounds.
        ir_vid s = fe_e2(c, IR_OP_mul, v[i], fe_f(c, scale));
        ir_vid up = fe_e1(c, IR_OP_floor, fe_e2(c, IR_OP_add, fe_e1(c, IR_OP_abs, s), fe_f(c, 0.5)));
        if (i) v[i] = fe_e2(c, IR_OP_mul, fe_e1(c, IR_OP_sign, s), up);
    }
    ir_vid image = fe_reshape(c, fe_cast(c, v[0], IR_I64), 1, &rt.dims[0]);
    ir_vid y = fe_emit(c, IR_OP_gather, (ir_vid[]){x, image}, 2, IR_ATTRS(IR_I("axis", 0)));
    ir_vid rows = bin_elements(c, v[2], v[4], bins[0], t.dims[2]),
           columns = bin_elements(c, v[1], v[3], bins[1], t.dims[3]);
    int64_t r = rt.dims[0], ch = t.dims[1], h = t.dims[2], w = t.dims[3], p = bins[0], q = bins[1];
    y = largest(c, fe_reshape(c, y, 5, (int64_t[5]){r, ch, 1, h, w}),
                fe_reshape(c, rows, 5, (int64_t[5]){r, 1, p, h, 1}), 3);
    y = largest(c, fe_reshape(c, y, 5, (int64_t[5]){r, ch, p, 1, w}),
                fe_reshape(c, columns, 5, (int64_t[5]){r, 1, 1, q, w}), 4);
    ir_vid empty = fe_e2(c, IR_OP_eq, y, fe_f(c, -INFINITY));
    return fe_out(c, n, 0, fe_where(c, empty, fe_f(c, 0), y));
}

// --- what no shape can be given for
bool fe_op_non_max_suppression(struct fe_ctx *c, struct fe_node *n) {
    return fe_fail(
        c, n,
        "how many boxes it keeps depends on the data, and every shape must be known when compiling; export the "
        "model without it, with boxes and scores as outputs, and select among them behind it");
}
