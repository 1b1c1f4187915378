#include "window.h"

#include <string.h>

static bool read_ints(struct fe_ctx *c, const struct fe_node *n, const char *name, int k, int64_t *out) {
    size_t cnt;
    const int64_t *v = fe_attr_ints(n, name, &cnt);
    for (int i = 0; i < k; i++) out[i] = 1;
    if (!v || cnt == 0) return true;
    if (cnt != (size_t)k)
        return fe_fail(c, n, "attribute \"%s\" has %zu numbers; the input has %d spatial dimensions", name, cnt, k);
    for (int i = 0; i < k; i++) {
        if (v[i] < 1 || v[i] > FE_WINDOW_MOST)
            return fe_fail(c, n, "attribute \"%s\" has the value %lld", name, (long long)v[i]);
        out[i] = v[i];
    }
    return true;
}

bool fe_window_steps(struct fe_ctx *c, const struct fe_node *n, const struct ir_type *x, const int64_t *kernel,
                     struct fe_window *w) {
    *w = (struct fe_window){.k = x->rank - 2};
    if (w->k < 1)
        return fe_fail(c, n, "its input has %d dimensions; expected batch, channels and at least one spatial dimension",
                       x->rank);
    if (!read_ints(c, n, "strides", w->k, w->strides) || !read_ints(c, n, "dilations", w->k, w->dilations) ||
        !read_ints(c, n, "kernel_shape", w->k, w->kernel))
        return false;
    const bool given = fe_attr(n, "kernel_shape") != NULL;
    if (!kernel && !given) return fe_fail(c, n, "attribute \"kernel_shape\" is missing");
    for (int i = 0; i < w->k; i++) {
        if (kernel && given && w->kernel[i] != kernel[i])
            return fe_fail(c, n, "kernel_shape %lld differs from the weight's %lld", (long long)w->kernel[i],
                           (long long)kernel[i]);
        if (kernel) w->kernel[i] = kernel[i];
        if (w->kernel[i] < 1 || w->kernel[i] > FE_WINDOW_MOST)
            return fe_fail(c, n, "its window has the size %lld in dimension %d", (long long)w->kernel[i], i + 2);
        w->in[i] = x->dims[i + 2];
    }
    return true;
}

int64_t fe_window_reach(const struct fe_window *w, int i) { return (w->kernel[i] - 1) * w->dilations[i] + 1; }

bool fe_window_pads(struct fe_ctx *c, const struct fe_node *n, struct fe_window *w) {
    size_t cnt;
    const int64_t *v = fe_attr_ints(n, "pads", &cnt);
    if (!v || cnt == 0) return true;
    if (cnt != (size_t)(2 * w->k))
        return fe_fail(c, n, "attribute \"pads\" has %zu numbers, expected %d", cnt, 2 * w->k);
    for (int i = 0; i < 2 * w->k; i++) {
        if (v[i] < 0 || v[i] > FE_WINDOW_MOST)
            return fe_fail(c, n, "attribute \"pads\" has the value %lld", (long long)v[i]);
        *(i < w->k ? &w->lo[i] : &w->hi[i - w->k]) = v[i];
    }
    return true;
}

// ONNX Conv-11: SAME makes ceil(in/stride) outputs.
static bool read_auto_pads(struct fe_ctx *c, const struct fe_node *n, struct fe_window *w) {
    const char *mode = fe_attr_s(c, n, "auto_pad", "NOTSET");
    if (!strcmp(mode, "VALID")) return true;
    if (!strcmp(mode, "NOTSET") || !*mode) return fe_window_pads(c, n, w);
    if (strcmp(mode, "SAME_UPPER") && strcmp(mode, "SAME_LOWER"))
        return fe_fail(c, n, "auto_pad \"%s\" is not one of NOTSET, VALID, SAME_UPPER, SAME_LOWER", mode);
    for (int i = 0; i < w->k; i++) {
        int64_t out = (w->in[i] + w->strides[i] - 1) / w->strides[i];
        int64_t total = (out - 1) * w->strides[i] + fe_window_reach(w, i) - w->in[i];
        if (total < 0) total = 0;
        w->lo[i] = mode[5] == 'U' ? total / 2 : total - total / 2;
        w->hi[i] = total - w->lo[i];
    }
    return true;
}

bool fe_window_read(struct fe_ctx *c, const struct fe_node *n, const struct ir_type *x, const int64_t *kernel,
                    struct fe_window *w) {
    if (!fe_window_steps(c, n, x, kernel, w) || !read_auto_pads(c, n, w)) return false;
    const bool ceil = fe_attr_i(c, n, "ceil_mode", 0) != 0;
    for (int i = 0; i < w->k; i++) {
        int64_t room = w->in[i] + w->lo[i] + w->hi[i] - fe_window_reach(w, i);
        if (w->in[i] < 1 || room < 0)
            return fe_fail(c, n, "the window covers %lld elements in dimension %d, more than the padded input's %lld",
                           (long long)fe_window_reach(w, i), i + 2, (long long)(w->in[i] + w->lo[i] + w->hi[i]));
        w->out[i] = (room + (ceil ? w->strides[i] - 1 : 0)) / w->strides[i] + 1;
        // The last window begins in the input or in front of it.
        if (ceil && (w->out[i] - 1) * w->strides[i] >= w->in[i] + w->lo[i]) w->out[i]--;
    }
    return true;
}

ir_vid fe_pad(struct fe_ctx *c, ir_vid x, int axis, int count, const int64_t *lo, const int64_t *hi,
              const int64_t *steps, double value) {
    if (x == IR_NONE) return x;
    const int rank = fe_typeof(c, x)->rank;
    int64_t before[IR_MAX_RANK] = {0}, behind[IR_MAX_RANK] = {0}, between[IR_MAX_RANK];
    bool any = false;
    for (int i = 0; i < rank; i++) between[i] = 1;
    for (int i = 0; i < count; i++) {
        before[axis + i] = lo[i];
        behind[axis + i] = hi[i];
        if (steps && fe_typeof(c, x)->dims[axis + i] > 1) between[axis + i] = steps[i];
        any |= lo[i] || hi[i] || between[axis + i] != 1;
    }
    if (!any) return x;
    return fe_emit(c, IR_OP_pad, &x, 1,
                   IR_ATTRS(IR_IS("lo", before, rank), IR_IS("hi", behind, rank), IR_F("value", value),
                            IR_IS("steps", between, rank)));
}

ir_vid fe_into_batch(struct fe_ctx *c, ir_vid x, int a) {
    if (x == IR_NONE || a == 0) return x;
    const struct ir_type t = *fe_typeof(c, x);
    int64_t perm[IR_MAX_RANK], dims[IR_MAX_RANK] = {t.dims[0], t.dims[1]};
    for (int i = 0; i < t.rank; i++) perm[i] = i == 0 || i > a + 1 ? i : i <= a ? i + 1 : 1;
    for (int i = 0; i < a; i++) dims[0] *= t.dims[2 + i];
    for (int i = 2 + a; i < t.rank; i++) dims[i - a] = t.dims[i];
    return fe_reshape(c, fe_transpose(c, x, t.rank, perm), t.rank - a, dims);
}

ir_vid fe_out_of_batch(struct fe_ctx *c, ir_vid y, int64_t n, const int64_t *lead, int a) {
    if (y == IR_NONE || a == 0) return y;
    const struct ir_type t = *fe_typeof(c, y);
    const int rank = t.rank + a;
    int64_t perm[IR_MAX_RANK], dims[IR_MAX_RANK] = {n};
    for (int i = 0; i < a; i++) dims[1 + i] = lead[i];
    for (int i = 1; i < t.rank; i++) dims[a + i] = t.dims[i];
    for (int i = 0; i < rank; i++) perm[i] = i == 0 || i > a + 1 ? i : i == 1 ? a + 1 : i - 1;
    return fe_transpose(c, fe_reshape(c, y, rank, dims), rank, perm);
}

ir_vid fe_window_around(struct fe_ctx *c, ir_vid x, const struct fe_window *w, int i, double value) {
    int64_t hi = (w->out[i] - 1) * w->strides[i] + fe_window_reach(w, i) - w->lo[i] - w->in[i];
    if (hi < 0) hi = 0;
    return fe_pad(c, x, 2 + i, 1, &w->lo[i], &hi, NULL, value);
}

ir_vid fe_window_tap(struct fe_ctx *c, ir_vid x, const struct fe_window *w, int i, int64_t t) {
    return fe_cut(c, x, 2 + i, t * w->dilations[i], w->out[i], w->strides[i]);
}

ir_vid fe_window_sum(struct fe_ctx *c, ir_vid x, const struct fe_window *w) {
    for (int i = w->k - 1; i >= 0; i--) {
        ir_vid in = fe_window_around(c, x, w, i, 0);
        x = fe_window_tap(c, in, w, i, 0);
        for (int64_t t = 1; t < w->kernel[i]; t++) x = fe_e2(c, IR_OP_add, x, fe_window_tap(c, in, w, i, t));
    }
    return x;
}
