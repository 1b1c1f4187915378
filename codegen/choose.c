// Which algorithm computes which convolution: whatever the caller picks, else the one with the least predicted seconds.
// Neither looks at the machine that compiles, so that a model gives the same bytes everywhere.
#include "cg.h"

#include <string.h>

static enum cg_conv_pass pass_of(enum ir_op op) {
    return op == IR_OP_conv ? CG_FORWARD : op == IR_OP_conv_grad_x ? CG_BY_DATA : CG_BY_WEIGHTS;
}

// What a first dim, which may be times N, is for the batch that is decided for.
static int64_t images_of(int64_t dim, int64_t batch) { return dim < 0 ? -dim * batch : dim; }

static struct cg_conv_shape shape_of(const struct ir_graph *g, const struct ir_node *n, int64_t batch, bool kept) {
    enum cg_conv_pass pass = pass_of(n->op);
    ir_vid x = n->in[0], w = n->in[1], y = n->out[0];
    if (pass == CG_BY_DATA) {
        x = n->out[0];
        y = n->in[0];
    } else if (pass == CG_BY_WEIGHTS) {
        w = n->out[0];
        x = n->in[1];
        y = n->in[0];
    }
    const int64_t *xd = g->values[x].type.dims, *wd = g->values[w].type.dims, *yd = g->values[y].type.dims;
    size_t count;
    struct cg_conv_shape s = {.pass = pass, .images = images_of(xd[0], batch), .kept = kept};
    s.x_bf16 = g->values[x].type.narrow;
    s.y_bf16 = g->values[y].type.narrow;
    s.C = xd[1];
    s.H = xd[2];
    s.W = xd[3];
    s.K = yd[1];
    s.P = yd[2];
    s.Q = yd[3];
    s.R = wd[2];
    s.S = wd[3];
    s.group = ir_attr_i(n, "group");
    memcpy(s.st, ir_attr_ints(n, "strides", &count), sizeof s.st);
    memcpy(s.dil, ir_attr_ints(n, "dilations", &count), sizeof s.dil);
    memcpy(s.pad, ir_attr_ints(n, "pads", &count), sizeof s.pad);
    return s;
}

static enum cg_algorithm decide(const struct cg_target *t, struct cg_conv_site *site, const struct cg_options *o) {
    double seconds[CG_ALGORITHMS];
    for (int a = 0; a < CG_ALGORITHMS; a++)
        seconds[a] = a == CG_WINOGRAD && o->no_winograd ? -1 : cg_conv_cost(t, &site->shape, (enum cg_algorithm)a);
    site->seconds = seconds;
    int picked = o->pick ? o->pick(o->pick_env, site) : -1;
    CHECK(picked < 0 || (picked < CG_ALGORITHMS && seconds[picked] >= 0), "algorithm %d was picked where it cannot",
          picked);
    return picked < 0 ? cg_fastest(seconds) : (enum cg_algorithm)picked;
}

void cg_choose(struct cg_choices *c, struct arena *a, const struct cg_target *t, const struct ir_graph *g, bool infer,
               const struct cg_options *o) {
    int64_t batch = infer ? o->infer_batch : o->batch;
    if (!batch) batch = infer ? CG_INFER_BATCH : CG_BATCH;
    if (o->max_batch && batch > o->max_batch) batch = o->max_batch;
    c->g[infer] = g;
    c->of[infer] = arena_array(a, g->n_nodes + 1, 1);
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct ir_node *n = &g->nodes[i];
        if (n->op != IR_OP_conv && n->op != IR_OP_conv_grad_x && n->op != IR_OP_conv_grad_w) continue;
        bool kept = infer && n->op == IR_OP_conv && cg_is_weight(&g->values[n->in[1]]);
        struct cg_conv_site site = {.infer = infer, .node = (uint32_t)i, .shape = shape_of(g, n, batch, kept)};
        c->of[infer][i] = (uint8_t)decide(t, &site, o);
    }
}

enum cg_algorithm cg_chosen(const struct cg_target *t, const struct ir_graph *g, ir_nid n) {
    const struct cg_choices *c = t->choices;
    return (enum cg_algorithm)c->of[c->g[1] == g][n];
}
