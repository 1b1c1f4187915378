#include "window.h"

#include <inttypes.h>

bool ir_window_read(struct ir_graph *g, const struct ir_node *n, bool dilated, struct ir_window *w) {
    if (!ir_check_ints(g, n, "strides", 2, 1, IR_WINDOW_MAX) || !ir_check_ints(g, n, "pads", 4, 0, IR_WINDOW_MAX))
        return false;
    if (dilated && !ir_check_ints(g, n, "dilations", 2, 1, IR_WINDOW_MAX)) return false;
    struct ir_window read = ir_window_of(n, dilated);
    for (int d = 0; d < 2; d++) read.size[d] = w->size[d];
    read.ceil = w->ceil;
    *w = read;
    return true;
}

struct ir_window ir_window_of(const struct ir_node *n, bool dilated) {
    struct ir_window w = {.dilation = {1, 1}};
    size_t k;
    const int64_t *strides = ir_attr_ints(n, "strides", &k), *pads = ir_attr_ints(n, "pads", &k);
    const int64_t *dilations = dilated ? ir_attr_ints(n, "dilations", &k) : NULL;
    for (int d = 0; d < 2; d++) {
        w.stride[d] = strides[d];
        w.pad[d] = pads[d];
        w.pad_end[d] = pads[d + 2];
        if (dilations) w.dilation[d] = dilations[d];
    }
    return w;
}

int64_t ir_window_count(const struct ir_window *w, int d, int64_t in) {
    int64_t room = in + w->pad[d] + w->pad_end[d] - (w->dilation[d] * (w->size[d] - 1) + 1);
    if (room < 0) return 0;
    if (!w->ceil) return room / w->stride[d] + 1;
    int64_t count = (room + w->stride[d] - 1) / w->stride[d] + 1;
    if ((count - 1) * w->stride[d] >= in + w->pad[d]) count--;
    return count;
}

bool ir_window_output(struct ir_graph *g, const struct ir_node *n, const struct ir_window *w, const int64_t in[2],
                      int64_t out[2]) {
    for (int d = 0; d < 2; d++) {
        if (in[d] < 1 || in[d] > IR_DIM_MAX || w->size[d] < 1 || w->size[d] > IR_WINDOW_MAX)
            return ir_fail(g, n, "input extents %s and window %s: all must be at least 1", INTS_TEXT(in, 2),
                           INTS_TEXT(w->size, 2));
        out[d] = ir_window_count(w, d, in[d]);
        if (out[d] < 1)
            return ir_fail(g, n,
                           "the window covers %" PRId64
                           " elements in dimension %d, more than the padded input's %" PRId64 " (input %" PRId64
                           ", padding %" PRId64 " + %" PRId64 ")",
                           w->dilation[d] * (w->size[d] - 1) + 1, d + 2, in[d] + w->pad[d] + w->pad_end[d], in[d],
                           w->pad[d], w->pad_end[d]);
    }
    return true;
}
