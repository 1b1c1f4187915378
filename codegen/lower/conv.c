// conv, conv_grad_x and conv_grad_w as calls: pack the weights, run the kernel; or run the kernel, add and unpack.
#include "../kernels/winograd.h"

struct conv {
    int64_t C, H, W, K, P, Q, R, S, G; // C and K of all groups
    int64_t st[2], dil[2], pad[2];     // strides, dilations, top/left padding
    int64_t merge, groups;             // groups in a super-group; super-groups
    bool lanes;                        // depthwise, or groups so narrow that their channels stay in lanes
    bool x_narrow, y_narrow;
};

static void reshape_plane(const struct cg_target *t, struct conv *c);

static struct conv conv_of(const struct cg_target *t, const struct ir_graph *g, const struct ir_node *n, ir_vid x,
                           ir_vid y, ir_vid w) {
    const int64_t *xd = g->values[x].type.dims, *yd = g->values[y].type.dims, *wd = g->values[w].type.dims;
    struct conv c = {.C = xd[1], .H = xd[2], .W = xd[3], .K = yd[1], .P = yd[2], .Q = yd[3], .R = wd[2], .S = wd[3]};
    c.G = ir_attr_i(n, "group");
    size_t cnt;
    const int64_t *st = ir_attr_ints(n, "strides", &cnt), *dil = ir_attr_ints(n, "dilations", &cnt);
    const int64_t *pad = ir_attr_ints(n, "pads", &cnt);
    for (int i = 0; i < 2; i++) {
        c.st[i] = st[i];
        c.dil[i] = dil[i];
        c.pad[i] = pad[i];
    }
    c.x_narrow = g->values[x].type.narrow;
    c.y_narrow = g->values[y].type.narrow;
    int64_t wide = cg_max64(c.C, c.K) / c.G;
    // Two groups to a vector stay in lanes where a dense block would waste more: by weights, whose sums use more of the
    // vector, and by data with steps, where a block is one for each phase of them.
    bool phases = n->op == IR_OP_conv_grad_x && c.st[0] * c.st[1] > 1 && !(t->bf16_dot && c.x_narrow);
    int64_t share = n->op == IR_OP_conv_grad_w || phases ? 2 : 4;
    c.lanes = c.G > 1 && c.C == c.K && (wide & (wide - 1)) == 0 && (wide == 1 || share * wide <= t->vl);
    // Others are computed side by side as one dense block, zero off the diagonal, so that lanes aren't idle; half of a
    // long vector is one, too (micro.c).
    c.merge = 1;
    const int64_t vector = t->vl == 16 && wide <= 8 && !(t->bf16_dot && c.x_narrow) ? 8 : t->vl;
    for (int64_t m = 2; !c.lanes && m <= c.G && m * wide <= vector; m++)
        if (c.G % m == 0) c.merge = m;
    c.groups = c.G / c.merge;
    reshape_plane(t, &c);
    return c;
}

// A convolution by single pixels knows no planes: each of its pixels stands for itself, so that the plane may be given
// any shape. The one whose lines are cut into register tiles with the least waste, of a size that makes good bands.
static void reshape_plane(const struct cg_target *t, struct conv *c) {
    bool same = c->P == c->H && c->Q == c->W && c->st[0] == 1 && c->st[1] == 1;
    if (c->R != 1 || c->S != 1 || !same || c->lanes) return;
    enum { WIDEST = 256 };
    int64_t pixels = c->P * c->Q, rows = cg_micro_rows(t, 2), best = c->Q;
    double most = 0;
    for (int64_t q = 1; q <= cg_min64(pixels, WIDEST); q++) {
        double use = (double)q / (double)(cg_ceil_div(q, rows) * rows);
        if (pixels % q || use <= most) continue;
        most = use;
        best = q;
    }
    c->Q = c->W = best;
    c->P = c->H = pixels / best;
}

// --- forward -------------------------------------------------------------------------------------------------------

static struct cg_tap_conv forward_taps(const struct conv *c) {
    return (struct cg_tap_conv){
        .H = c->H,
        .W = c->W,
        .xc = c->C,
        .P = c->P,
        .Q = c->Q,
        .yc = c->K,
        .PH = c->P,
        .PW = c->Q,
        .osh = 1,
        .osw = 1,
        .ish = c->st[0],
        .isw = c->st[1],
        .dh0 = -c->pad[0],
        .dw0 = -c->pad[1],
        .R = c->R,
        .S = c->S,
        .dr = c->dil[0],
        .ds = c->dil[1],
        .C = c->C / c->groups,
        .K = c->K / c->groups,
        .groups = c->groups,
        .x_narrow = c->x_narrow,
        .y_narrow = c->y_narrow,
    };
}

// bfloat16 is multiplied as such where the CPU can and channels come in pairs: twice the products of an instruction.
static void use_pairs(const struct cg_target *t, struct cg_tap_conv *c, struct cg_pack *p) {
    if (!t->bf16_dot || !c->x_narrow || c->C % 2 || c->xc % 2) return;
    c->C /= 2;
    c->xc /= 2;
    c->x_narrow = 0; // a pair is moved like a float
    c->pairs = p->pairs = 1;
}

static struct cg_pack forward_pack(const struct conv *c) {
    int64_t cg = c->C / c->G, kg = c->K / c->G, rs = c->R * c->S;
    return (struct cg_pack){
        .groups = c->groups,
        .merge = c->merge,
        .c = cg,
        .k = kg,
        .R = c->R,
        .S = c->S,
        .r_step = 1,
        .s_step = 1,
        .group_stride = kg * cg * rs,
        .k_stride = cg * rs,
        .c_stride = rs,
        .r_stride = c->S,
        .s_stride = 1,
    };
}

static int64_t packed_bytes(const struct cg_target *t, const struct cg_pack *p, bool lanes) {
    if (lanes) return p->R * p->S * p->c * cg_ceil_div(p->groups * p->k, t->vl) * t->vl * 4;
    return cg_ceil_div(cg_pack_floats(t, p) * 4, 64) * 64;
}

// --- groups in lanes -------------------------------------------------------------------------------------------------

static struct cg_depthwise depthwise_forward(const struct conv *c) {
    return (struct cg_depthwise){
        .H = c->H,
        .W = c->W,
        .P = c->P,
        .Q = c->Q,
        .C = c->C,
        .R = c->R,
        .S = c->S,
        .width = c->C / c->G,
        .h = {.mul = c->st[0], .off = -c->pad[0], .step = c->dil[0], .div = 1},
        .w = {.mul = c->st[1], .off = -c->pad[1], .step = c->dil[1], .div = 1},
        .x_narrow = c->x_narrow,
        .y_narrow = c->y_narrow,
    };
}

// dx[h] takes dy[p] * w[r] wherever h = p*st - pad + r*dil.
static struct cg_depthwise depthwise_grad_x(const struct conv *c) {
    return (struct cg_depthwise){
        .H = c->P,
        .W = c->Q,
        .P = c->H,
        .Q = c->W,
        .C = c->C,
        .R = c->R,
        .S = c->S,
        .width = c->C / c->G,
        .h = {.mul = 1, .off = c->pad[0], .step = -c->dil[0], .div = c->st[0]},
        .w = {.mul = 1, .off = c->pad[1], .step = -c->dil[1], .div = c->st[1]},
        .x_narrow = c->y_narrow,
        .y_narrow = c->x_narrow,
    };
}

// --- Winograd -------------------------------------------------------------------------------------------------------

static struct cg_wino wino_forward(const struct conv *c) {
    return (struct cg_wino){.H = c->H,
                            .W = c->W,
                            .C = c->C,
                            .xc = c->C,
                            .P = c->P,
                            .Q = c->Q,
                            .K = c->K,
                            .yc = c->K,
                            .ph = c->pad[0],
                            .pw = c->pad[1],
                            .x_narrow = c->x_narrow,
                            .y_narrow = c->y_narrow};
}

// dx is a convolution of dy with the flipped taps, padded by what the forward one was not.
static struct cg_wino wino_grad_x(const struct conv *c) {
    return (struct cg_wino){.H = c->P,
                            .W = c->Q,
                            .C = c->K,
                            .xc = c->K,
                            .P = c->H,
                            .Q = c->W,
                            .K = c->C,
                            .yc = c->C,
                            .ph = 2 - c->pad[0],
                            .pw = 2 - c->pad[1],
                            .x_narrow = c->y_narrow,
                            .y_narrow = c->x_narrow};
}

static int64_t wino_weight_bytes(const struct cg_target *t, const struct cg_wino *w) {
    return cg_ceil_div(cg_wino_weight_floats(t, w->C, w->K) * 4, 64) * 64;
}

static void run_winograd(struct cg_lower *L, const struct cg_wino *w, const struct cg_pack *p, ir_vid x, ir_vid weights,
                         ir_vid y) {
    L->prepares = true;
    struct cg_arg pack[2] = {CG_VALUE(weights), CG_WS(0)}, run[3] = {CG_VALUE(x), CG_WS(0), CG_VALUE(y)};
    cg_call_record(L, "winograd_pack", cg_emit_wino_pack, p, sizeof *p, 2, cg_pack_scratch(L->t, p), pack);
    L->prepares = false;
    cg_call_record(L, "winograd", cg_emit_winograd, w, sizeof *w, 3, cg_wino_scratch(L->t, w), run);
}

static void pack_weights(struct cg_lower *L, const struct cg_pack *p, bool lanes, ir_vid w, int64_t offset) {
    struct cg_arg args[2] = {CG_VALUE(w), CG_WS(offset)};
    L->prepares = true;
    cg_call_record(L, lanes ? "pack_dw" : "pack", lanes ? cg_emit_pack_dw : cg_emit_pack, p, sizeof *p, 2,
                   lanes ? 0 : cg_pack_scratch(L->t, p), args);
    L->prepares = false;
}

// Forward and by data alike: taps have the same weights, though they are others' and, by data, taken from the other
// side.
static void run_depthwise(struct cg_lower *L, const struct conv *c, const struct cg_depthwise *d, bool by_data,
                          ir_vid x, ir_vid weights, ir_vid y) {
    struct cg_pack pack = forward_pack(c);
    if (by_data) {
        int64_t k = pack.k_stride;
        pack.k_stride = pack.c_stride;
        pack.c_stride = k;
    }
    pack_weights(L, &pack, true, weights, 0);
    struct cg_arg args[3] = {CG_VALUE(x), CG_WS(0), CG_VALUE(y)};
    cg_call_record(L, d->width > 1 ? "grouped" : "depthwise", cg_emit_depthwise, d, sizeof *d, 3,
                   cg_depthwise_scratch(L->t, d), args);
}

void cg_kernel_conv(struct cg_lower *L, ir_nid id) {
    const struct ir_node *n = &L->g->nodes[id];
    struct conv c = conv_of(L->t, L->g, n, n->in[0], n->out[0], n->in[1]);
    struct cg_pack pack = forward_pack(&c);
    struct cg_tap_conv taps = forward_taps(&c);
    L->images = cg_in_type(L, id, 0).dims[0];
    if (cg_chosen(L->t, L->g, id) == CG_WINOGRAD) {
        struct cg_wino w = wino_forward(&c);
        run_winograd(L, &w, &pack, n->in[0], n->in[1], n->out[0]);
        return;
    }
    if (c.lanes) {
        struct cg_depthwise d = depthwise_forward(&c);
        run_depthwise(L, &c, &d, false, n->in[0], n->in[1], n->out[0]);
        return;
    }
    use_pairs(L->t, &taps, &pack);
    pack_weights(L, &pack, false, n->in[1], 0);
    struct cg_arg args[3] = {CG_VALUE(n->in[0]), CG_WS(0), CG_VALUE(n->out[0])};
    cg_call_record(L, "conv", cg_emit_tap_conv, &taps, sizeof taps, 3, cg_tap_conv_scratch(L->t, &taps), args);
}

void cg_ws_conv(const struct cg_target *t, const struct ir_graph *g, ir_nid id, int64_t *fixed, int64_t *per_sample) {
    const struct ir_node *n = &g->nodes[id];
    struct conv c = conv_of(t, g, n, n->in[0], n->out[0], n->in[1]);
    struct cg_pack pack = forward_pack(&c);
    struct cg_wino w = wino_forward(&c);
    struct cg_tap_conv taps = forward_taps(&c);
    use_pairs(t, &taps, &pack);
    *fixed = cg_chosen(t, g, id) == CG_WINOGRAD ? wino_weight_bytes(t, &w) : packed_bytes(t, &pack, c.lanes);
    *per_sample = 0;
}

// --- gradient by the data -----------------------------------------------------------------------------------------

// dx[h] takes dy[p] * w[r] wherever h = p*st - pad + r*dil. For h = phase + st*i, the r that fit are an arithmetic
// progression r0, r0 + rs, ...; each next one reads dy `step` = dil*rs/st rows earlier, so they are taken in reverse.
struct axis_phase {
    int64_t outputs;    // i < outputs
    int64_t taps;       // 0: nothing reaches this phase
    int64_t d0, step;   // first (lowest) row of dy for i = 0; rows between taps
    int64_t r0, r_step; // weight tap of packed tap 0 and the step to the next (negative)
};

static struct axis_phase axis_phase(int64_t phase, int64_t st, int64_t dil, int64_t pad, int64_t R, int64_t H) {
    struct axis_phase a = {.outputs = phase < H ? (H - phase + st - 1) / st : 0, .step = 1};
    int64_t first = -1, last = -1, second = -1;
    for (int64_t r = 0; r < R; r++) {
        if (((phase + pad - r * dil) % st + st) % st) continue;
        if (first < 0)
            first = r;
        else if (second < 0)
            second = r;
        last = r;
        a.taps++;
    }
    if (!a.taps) return a;
    int64_t rs = a.taps > 1 ? second - first : 1;
    a.r0 = last;
    a.r_step = -rs;
    if (a.taps > 1) a.step = dil * rs / st;
    a.d0 = (phase + pad - last * dil) / st; // exact
    return a;
}

struct phase {
    struct cg_tap_conv taps;
    struct cg_pack pack;
    int64_t offset; // of its packed weights in the workspace
};

// Phase (a, b) of dx; false when it is empty.
static bool grad_x_phase(const struct cg_target *t, const struct conv *c, int64_t a, int64_t b, struct phase *p) {
    struct axis_phase h = axis_phase(a, c->st[0], c->dil[0], c->pad[0], c->R, c->H);
    struct axis_phase w = axis_phase(b, c->st[1], c->dil[1], c->pad[1], c->S, c->W);
    if (!h.outputs || !w.outputs) return false;
    bool none = !h.taps || !w.taps;
    int64_t cg = c->C / c->G, kg = c->K / c->G, rs = c->R * c->S;
    p->taps = (struct cg_tap_conv){
        .H = c->P,
        .W = c->Q,
        .xc = c->K,
        .P = c->H,
        .Q = c->W,
        .yc = c->C,
        .PH = h.outputs,
        .PW = w.outputs,
        .osh = c->st[0],
        .osw = c->st[1],
        .oh0 = a,
        .ow0 = b,
        .ish = 1,
        .isw = 1,
        .dh0 = none ? 0 : h.d0,
        .dw0 = none ? 0 : w.d0,
        .R = none ? 0 : h.taps,
        .S = none ? 0 : w.taps,
        .dr = none ? 1 : h.step,
        .ds = none ? 1 : w.step,
        .C = c->K / c->groups,
        .K = c->C / c->groups,
        .groups = c->groups,
        .x_narrow = c->y_narrow,
        .y_narrow = c->x_narrow,
    };
    p->pack = (struct cg_pack){
        .groups = c->groups,
        .merge = c->merge,
        .c = kg,
        .k = cg,
        .R = p->taps.R,
        .S = p->taps.S,
        .r0 = h.r0,
        .r_step = h.r_step,
        .s0 = w.r0,
        .s_step = w.r_step,
        .group_stride = kg * cg * rs,
        .k_stride = rs,
        .c_stride = cg * rs,
        .r_stride = c->S,
        .s_stride = 1,
    };
    use_pairs(t, &p->taps, &p->pack);
    return true;
}

typedef void (*phase_fn)(void *env, const struct phase *p);

static int64_t each_phase(const struct cg_target *t, const struct conv *c, phase_fn fn, void *env) {
    int64_t offset = 0;
    for (int64_t a = 0; a < c->st[0]; a++)
        for (int64_t b = 0; b < c->st[1]; b++) {
            struct phase p = {.offset = offset};
            if (!grad_x_phase(t, c, a, b, &p)) continue;
            if (fn) fn(env, &p);
            if (p.taps.R) offset += packed_bytes(t, &p.pack, false);
        }
    return offset;
}

struct grad_x_env {
    struct cg_lower *L;
    const struct ir_node *n;
};

static void pack_phase(void *env, const struct phase *p) {
    struct grad_x_env *e = env;
    if (p->taps.R) pack_weights(e->L, &p->pack, false, e->n->in[1], p->offset);
}

static void run_phase(void *env, const struct phase *p) {
    struct grad_x_env *e = env;
    struct cg_arg args[3] = {CG_VALUE(e->n->in[0]), CG_WS(p->offset), CG_VALUE(e->n->out[0])};
    if (!p->taps.R) args[1] = args[2]; // nothing to multiply by: not read
    cg_call_record(e->L, "conv", cg_emit_tap_conv, &p->taps, sizeof p->taps, 3, cg_tap_conv_scratch(e->L->t, &p->taps),
                   args);
}

void cg_kernel_conv_grad_x(struct cg_lower *L, ir_nid id) {
    const struct ir_node *n = &L->g->nodes[id];
    struct conv c = conv_of(L->t, L->g, n, n->out[0], n->in[0], n->in[1]);
    struct grad_x_env env = {.L = L, .n = n};
    L->images = cg_in_type(L, id, 0).dims[0];
    if (cg_chosen(L->t, L->g, id) == CG_WINOGRAD) {
        struct cg_wino w = wino_grad_x(&c);
        struct phase p;
        CHECK(grad_x_phase(L->t, &c, 0, 0, &p), "a plane without pixels");
        p.pack.pairs = 0;
        run_winograd(L, &w, &p.pack, n->in[0], n->in[1], n->out[0]);
        return;
    }
    if (c.lanes) {
        struct cg_depthwise d = depthwise_grad_x(&c);
        run_depthwise(L, &c, &d, true, n->in[0], n->in[1], n->out[0]);
        return;
    }
    each_phase(L->t, &c, pack_phase, &env);
    each_phase(L->t, &c, run_phase, &env);
}

void cg_ws_conv_grad_x(const struct cg_target *t, const struct ir_graph *g, ir_nid id, int64_t *fixed,
                       int64_t *per_sample) {
    const struct ir_node *n = &g->nodes[id];
    struct conv c = conv_of(t, g, n, n->out[0], n->in[0], n->in[1]);
    struct cg_wino w = wino_grad_x(&c);
    struct cg_pack pack = forward_pack(&c);
    *fixed = cg_chosen(t, g, id) == CG_WINOGRAD ? wino_weight_bytes(t, &w)
             : c.lanes                          ? packed_bytes(t, &pack, true)
                                                : each_phase(t, &c, NULL, NULL);
    *per_sample = 0;
}

// --- gradient by the weights --------------------------------------------------------------------------------------

#define MAX_PARTS     16
#define PARTIAL_BYTES (16 << 20)

static int64_t parts_of(int64_t bytes, int64_t items) {
    int64_t fit = cg_min64(MAX_PARTS, PARTIAL_BYTES / cg_max64(1, bytes));
    return cg_max64(1, cg_min64(fit, MAX_PARTS / items));
}

// Of the forward convolution, multiplied in pairs of pixels where the CPU can; a few channels would leave it idle.
static struct cg_tap_conv grad_w_taps(const struct cg_target *t, const struct conv *c) {
    struct cg_tap_conv taps = forward_taps(c);
    taps.pairs = t->bf16_dot && c->x_narrow && c->y_narrow && !c->lanes && taps.C >= 16;
    return taps;
}

// How many partial sums a weight gradient makes.
static int64_t grad_w_parts(const struct cg_target *t, const struct conv *c, enum cg_algorithm a) {
    struct cg_pack shape = forward_pack(c);
    struct cg_tap_conv taps = grad_w_taps(t, c);
    if (a == CG_WINOGRAD) return cg_wino_parts(c->C, c->K);
    return parts_of(packed_bytes(t, &shape, c->lanes), c->lanes ? 1 : cg_wgrad_items(t, &taps));
}

void cg_kernel_conv_grad_w(struct cg_lower *L, ir_nid id) {
    const struct ir_node *n = &L->g->nodes[id];
    struct conv c = conv_of(L->t, L->g, n, n->in[1], n->in[0], n->out[0]);
    struct cg_unpack un = {.shape = forward_pack(&c)};
    un.parts = grad_w_parts(L->t, &c, cg_chosen(L->t, L->g, id));
    struct cg_wgrad w = {.c = grad_w_taps(L->t, &c), .parts = un.parts};
    struct cg_arg run[3] = {CG_VALUE(n->in[0]), CG_VALUE(n->in[1]), CG_WS(0)}, add[2] = {CG_WS(0), CG_VALUE(n->out[0])};
    L->images = cg_in_type(L, id, 0).dims[0];
    if (cg_chosen(L->t, L->g, id) == CG_WINOGRAD) {
        struct cg_wino_wgrad g = {.w = wino_forward(&c), .parts = un.parts};
        cg_call_record(L, "winograd_wgrad", cg_emit_wino_wgrad, &g, sizeof g, 3, cg_wino_wgrad_scratch(L->t, &g), run);
        cg_call_record(L, "unpack", cg_emit_unpack, &un, sizeof un, 2, cg_pack_scratch(L->t, &un.shape), add);
    } else if (c.lanes) {
        struct cg_wgrad_dw g = {.d = depthwise_forward(&c), .parts = un.parts};
        cg_call_record(L, g.d.width > 1 ? "wgrad_grouped" : "wgrad_dw", cg_emit_wgrad_dw, &g, sizeof g, 3,
                       cg_depthwise_scratch(L->t, &g.d), run);
        cg_call_record(L, "unpack_dw", cg_emit_unpack_dw, &un, sizeof un, 2, 0, add);
    } else {
        cg_call_record(L, "wgrad", cg_emit_wgrad, &w, sizeof w, 3, cg_wgrad_scratch(L->t, &w), run);
        cg_call_record(L, "unpack", cg_emit_unpack, &un, sizeof un, 2, cg_pack_scratch(L->t, &un.shape), add);
    }
}

void cg_ws_conv_grad_w(const struct cg_target *t, const struct ir_graph *g, ir_nid id, int64_t *fixed,
                       int64_t *per_sample) {
    const struct ir_node *n = &g->nodes[id];
    struct conv c = conv_of(t, g, n, n->in[1], n->in[0], n->out[0]);
    struct cg_pack shape = forward_pack(&c);
    *fixed = packed_bytes(t, &shape, c.lanes) * grad_w_parts(t, &c, cg_chosen(t, g, id));
    *per_sample = 0;
}
