// A convolution with its two gradients, as the kernel tests add them to their graphs.
#ifndef CG_CONVS_H
#define CG_CONVS_H

#include "cg_harness.h"

struct cgh_conv {
    int C, K, H, W, R, S, st[2], dil, pad[4], group;
};

// Pixels of the result in dimension d; under 1 where the window does not fit.
static int64_t cgh_conv_out(const struct cgh_conv *c, int d) {
    int size = d ? c->W : c->H, window = d ? c->S : c->R;
    int room = size + c->pad[d] + c->pad[d + 2] - c->dil * (window - 1) - 1;
    return room < 0 ? 0 : room / c->st[d] + 1;
}

// images: the first dim. `between`: what is read and written lies between other nodes, so that memory holds it as
// bfloat16 where it does that; weights and their gradients never do.
static void cgh_conv(struct cgh *h, const struct cgh_conv *c, int64_t images, bool between) {
    int64_t st[2] = {c->st[0], c->st[1]}, dil[2] = {c->dil, c->dil}, hw[2] = {c->H, c->W}, rs[2] = {c->R, c->S};
    int64_t pad[4] = {c->pad[0], c->pad[1], c->pad[2], c->pad[3]};
    ir_vid x = cgh_input(h, IR_F32, 4, (int64_t[]){images, c->C, c->H, c->W});
    ir_vid dy = cgh_input(h, IR_F32, 4, (int64_t[]){images, c->K, cgh_conv_out(c, 0), cgh_conv_out(c, 1)});
    ir_vid w = cgh_input(h, IR_F32, 4, (int64_t[]){c->K, c->C / c->group, c->R, c->S});
    if (between) {
        x = ir_unary(h->g, IR_OP_neg, x);
        dy = ir_unary(h->g, IR_OP_neg, dy);
    }
#define COMMON IR_IS("strides", st, 2), IR_IS("pads", pad, 4), IR_IS("dilations", dil, 2), IR_I("group", c->group)
    const char *names[3] = {"conv", "conv_grad_x", "conv_grad_w"};
    ir_vid out[3] = {
        ir_emit(h->g, IR_OP_conv, (ir_vid[]){x, w}, 2, IR_ATTRS(COMMON)),
        ir_emit(h->g, IR_OP_conv_grad_x, (ir_vid[]){dy, w}, 2, IR_ATTRS(COMMON, IR_IS("hw", hw, 2))),
        ir_emit(h->g, IR_OP_conv_grad_w, (ir_vid[]){dy, x}, 2, IR_ATTRS(COMMON, IR_IS("rs", rs, 2))),
    };
#undef COMMON
    for (int i = 0; i < 3; i++)
        cgh_output(h, between && i < 2 ? ir_unary(h->g, IR_OP_neg, out[i]) : out[i],
                   "%s C%d K%d %dx%d window %dx%d stride %d,%d dilation %d pads %d,%d,%d,%d group %d", names[i], c->C,
                   c->K, c->H, c->W, c->R, c->S, c->st[0], c->st[1], c->dil, c->pad[0], c->pad[1], c->pad[2], c->pad[3],
                   c->group);
}
#endif
