// The memory plan of a residual network's training graph and of random graphs: no two values alive at once overlap, and
// the arena is close to the least that any plan needs.
#include "../../ir/ir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka wants the four above first
#include <cmocka.h>

static struct ir_slot boundary(void *env, const struct ir_graph *g, ir_vid v) {
    (void)env, (void)g, (void)v;
    return (struct ir_slot){.place = IR_PLACE_INPUT};
}
static struct ir_slot output(void *env, const struct ir_graph *g, size_t i) {
    (void)env, (void)g;
    return (struct ir_slot){.place = IR_PLACE_OUTPUT, .index = (uint32_t)i};
}
static void workspace(void *env, const struct ir_graph *g, ir_nid n, int64_t *fixed, int64_t *per_sample) {
    (void)env;
    *fixed = g->nodes[n].op == IR_OP_conv ? 5000 : 0;
    *per_sample = g->nodes[n].op == IR_OP_conv_grad_w ? 777 : 0;
}

struct life {
    int64_t offset, bytes;
    size_t born, dies;
    bool batched;
};

// Marks v, or what an inline v reads, as read at time t.
static void touch(const struct ir_graph *g, ir_vid v, size_t t, size_t *dies) {
    const struct ir_value *val = &g->values[v];
    if (val->role == IR_ROLE_NODE && g->nodes[val->def].is_inline) {
        const struct ir_node *n = &g->nodes[val->def];
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] != IR_NONE) touch(g, n->in[k], t, dies);
        return;
    }
    if (dies[v] < t) dies[v] = t;
}

// Two values may share memory only where one's life ends before, or exactly when, the other's begins, and then only
// when the newcomer is a pointwise node at the same offset and size. Reshapes are the memory of their operand.
static void check(const struct ir_graph *g, double max_ratio) {
    struct ir_plan_options o = {.workspace = workspace, .boundary = boundary, .output = output};
    struct ir_plan *p = ir_plan_make(g, &o);
    size_t *dies = calloc(g->n_values, sizeof *dies), n = 0;
    struct life *l = calloc(g->n_values + g->n_nodes, sizeof *l);
    assert_non_null(dies);
    assert_non_null(l);
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].is_inline) continue;
        for (int k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] != IR_NONE) touch(g, g->nodes[i].in[k], i, dies);
    }
    for (size_t i = g->n_nodes; i-- > 0;) // an alias keeps its operand alive
        if (g->nodes[i].op == IR_OP_reshape && dies[g->nodes[i].in[0]] < dies[g->nodes[i].out[0]])
            dies[g->nodes[i].in[0]] = dies[g->nodes[i].out[0]];
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct ir_node *nd = &g->nodes[i];
        if (nd->is_inline) continue;
        for (int k = 0; k < nd->n_out; k++) {
            const struct ir_slot *s = &p->values[nd->out[k]];
            assert_int_not_equal(s->place, IR_PLACE_NONE);
            if (s->place != IR_PLACE_SAMPLE && s->place != IR_PLACE_FIXED) continue;
            assert_int_equal(s->offset % 64, 0);
            if (nd->op == IR_OP_reshape) {
                assert_int_equal(s->offset, p->values[nd->in[0]].offset);
                continue;
            }
            size_t end = dies[nd->out[k]] > i ? dies[nd->out[k]] : i;
            l[n++] = (struct life){s->offset, s->bytes, i, end, s->place == IR_PLACE_SAMPLE};
            // What it shares its memory with may have been there before it and may stay longer.
            assert_true(s->born <= i && s->dies >= end);
            int64_t limit = s->place == IR_PLACE_SAMPLE ? p->sample_bytes : p->fixed_bytes;
            assert_true(s->offset + s->bytes <= limit);
            assert_true(s->bytes >= ir_numel(&g->values[nd->out[k]].type) *
                                        (int64_t)ir_dtype_size(g->values[nd->out[k]].type.dtype));
        }
        const struct ir_slot *w = &p->workspace[i];
        if (w->place != IR_PLACE_NONE) l[n++] = (struct life){w->offset, w->bytes, i, i, w->place == IR_PLACE_SAMPLE};
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++) {
            if (l[i].batched != l[j].batched || l[i].offset + l[i].bytes <= l[j].offset ||
                l[j].offset + l[j].bytes <= l[i].offset)
                continue;
            const struct life *a = l[i].born <= l[j].born ? &l[i] : &l[j], *b = a == &l[i] ? &l[j] : &l[i];
            bool in_place = a->dies == b->born && a->born < b->born && a->offset == b->offset && a->bytes == b->bytes &&
                            ir_ops[g->nodes[b->born].op].kind == IR_KIND_PW;
            if (a->dies >= b->born && !in_place) {
                print_error("values of nodes %zu (to %zu) and %zu overlap\n", a->born, a->dies, b->born);
                fail();
            }
        }
    int64_t least = 0;
    for (size_t t = 0; t < g->n_nodes; t++) {
        int64_t live = 0;
        for (size_t i = 0; i < n; i++)
            if (l[i].batched && l[i].born < t && l[i].dies > t)
                live += l[i].bytes; // strictly inside: no in-place question
        if (live > least) least = live;
    }
    assert_true(p->sample_bound >= least && p->sample_bound <= p->sample_bytes);
    assert_true(p->fixed_bound >= 0 && p->fixed_bound <= p->fixed_bytes);
    if (max_ratio > 0 && (double)p->sample_bytes > max_ratio * (double)least) {
        print_error("arena of %lld bytes a sample where %lld are needed\n", (long long)p->sample_bytes,
                    (long long)least);
        fail();
    }
    free(dies);
    free(l);
}

static ir_vid conv_bn_relu(struct ir_graph *g, ir_vid x, int64_t in, int64_t out, int64_t stride, bool relu) {
    char *name = arena_printf(g->arena, "c%zu", g->n_values);
    ir_vid w = ir_boundary(g, IR_ROLE_PARAM, ir_type_make(IR_F32, 4, (int64_t[]){out, in, 3, 3}), name, NULL),
           a[2] = {x, w};
    int64_t st[2] = {stride, stride}, pads[4] = {1, 1, 1, 1}, dil[2] = {1, 1}, c[1] = {out};
    ir_vid v[5] = {ir_emit(g, IR_OP_conv, a, 2,
                           IR_ATTRS(IR_IS("strides", st, 2), IR_IS("pads", pads, 4), IR_IS("dilations", dil, 2)))};
    for (int i = 1; i < 5; i++)
        v[i] = ir_boundary(g, i < 3 ? IR_ROLE_PARAM : IR_ROLE_BUFFER, ir_type_make(IR_F32, 1, c),
                           arena_printf(g->arena, "%s.%d", name, i), NULL);
    ir_vid y = g->nodes[ir_node_new(g, IR_OP_batch_norm, v, 5, IR_NO_ATTRS)].out[0];
    return relu ? ir_unary(g, IR_OP_relu, y) : y;
}

static void test_residual_network(void **state) {
    (void)state;
    struct arena a;
    struct diag d = {0};
    arena_init(&a);
    struct ir_graph *g = ir_graph_new(&a, &d, "resnet");
    ir_vid x = ir_boundary(g, IR_ROLE_INPUT, ir_type_make(IR_F32, 4, (int64_t[]){IR_N, 3, 32, 32}), "x", NULL);
    ir_vid y = conv_bn_relu(g, x, 3, 16, 1, true);
    for (int stage = 0; stage < 3; stage++)
        for (int b = 0; b < 2; b++) {
            int64_t out = 16 << stage, in = b || !stage ? out : out / 2, stride = b || !stage ? 1 : 2;
            ir_vid skip = stride == 1 ? y : conv_bn_relu(g, y, in, out, stride, false);
            y = conv_bn_relu(g, conv_bn_relu(g, y, in, out, stride, true), out, out, 1, false);
            y = ir_unary(g, IR_OP_relu, ir_add(g, y, skip));
        }
    y = ir_reshape(g, ir_reduce(g, IR_OP_reduce_mean, y, (int64_t[]){2, 3}, 2, 1), 2, (int64_t[]){IR_N, 64});
    ir_vid w = ir_boundary(g, IR_ROLE_PARAM, ir_type_make(IR_F32, 2, (int64_t[]){10, 64}), "fc", NULL);
    ir_set_output(g, IR_OUT_OUTPUT, "logits", ir_matmul(g, y, w, 0, 1));
    struct ir_pass_options po = {.mode = IR_TRAIN, .verify = true};
    assert_int_equal(ir_run_passes(g, "expand,fold,cse,dce", &po), SMKD_OK);
    assert_int_equal(ir_differentiate(g, NULL, 0, true), SMKD_OK);
    assert_int_equal(ir_run_passes(g, "expand,fold,cse,dce,fuse,layout", &po), SMKD_OK);
    check(g, 1.3);
    arena_release(&a);
}

// Three values of 64 bytes a sample, of which two are alive at a time.
static void test_print(void **state) {
    (void)state;
    struct arena a;
    struct diag d = {0};
    arena_init(&a);
    struct ir_graph *g = ir_parse(&a, &d,
                                  "graph @p(%0: f32[N,16] input \"x\", %1: f32[16,16] param \"w\") {\n"
                                  "  %2: f32[N,16] = matmul(%0, %1) @(\"/fc1\", \"MatMul\", _)\n"
                                  "  %3: f32[N,16] = matmul(%2, %1)\n"
                                  "  %4: f32[N,16] = matmul(%3, %1)\n"
                                  "  %5: f32[N,16] = matmul(%4, %1)\n"
                                  "  return output \"y\" %5\n"
                                  "}\n");
    assert_non_null(g);
    struct ir_plan_options o = {.boundary = boundary, .output = output};
    struct str text = STR_INIT;
    ir_plan_print(g, ir_plan_make(g, &o), &text);
    assert_string_equal(text.s, "// plan of @p: 128 bytes per sample (at least 128), 0 fixed (at least 0)\n"
                                "// node value   place         offset +bytes      [life]        op  // ONNX node\n"
                                "      0 %2      sample             0 +64         [0-1]         matmul  // /fc1\n"
                                "      1 %3      sample            64 +64         [1-2]         matmul\n"
                                "      2 %4      sample             0 +64         [2-3]         matmul\n"
                                "      3 %5      output             0 +0                        matmul\n");
    str_release(&text);
    arena_release(&a);
}

// Random pointwise, reduction and reshape graphs with many values alive at once.
static void test_random(void **state) {
    (void)state;
    uint64_t s = 1;
    for (int round = 0; round < 200; round++) {
        struct arena a;
        struct diag d = {0};
        arena_init(&a);
        struct ir_graph *g = ir_graph_new(&a, &d, "random");
        ir_vid pool[64];
        size_t n = 0;
        pool[n++] = ir_boundary(g, IR_ROLE_INPUT, ir_type_make(IR_F32, 2, (int64_t[]){IR_N, 24}), "x", NULL);
        pool[n++] = ir_boundary(g, IR_ROLE_PARAM, ir_type_make(IR_F32, 2, (int64_t[]){1, 24}), "w", NULL);
        while (n < 40) {
            s = s * 6364136223846793005u + 1442695040888963407u;
            ir_vid x = pool[(s >> 33) % n], y = pool[(s >> 43) % n];
            switch ((s >> 55) % 5) {
            case 0:
                pool[n++] = ir_unary(g, IR_OP_tanh, x);
                break;
            case 1:
                pool[n++] = ir_add(g, x, y);
                break;
            case 2:
                pool[n++] = ir_mul(g, x, ir_reduce(g, IR_OP_reduce_sum, y, (int64_t[]){1}, 1, 1));
                break;
            case 3:
                pool[n++] = ir_mul(g, x, ir_reduce(g, IR_OP_reduce_sum, y, (int64_t[]){0}, 1, 1));
                break;
            default:
                if (ir_is_batched(&g->values[x].type)) {
                    ir_vid r = ir_reshape(g, x, 3, (int64_t[]){IR_N, 4, 6});
                    pool[n++] = ir_reshape(g, ir_unary(g, IR_OP_relu, r), 2, (int64_t[]){IR_N, 24});
                }
            }
        }
        for (int k = 0; k < 3; k++)
            ir_set_output(g, IR_OUT_OUTPUT, arena_printf(&a, "o%d", k), pool[n - 1 - (size_t)k]);
        struct ir_pass_options po = {.mode = IR_TRAIN, .verify = true};
        assert_int_equal(ir_run_passes(g, "cse,dce,fuse,layout", &po), SMKD_OK);
        check(g, 0);
        arena_release(&a);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_residual_network), cmocka_unit_test(test_print),
                                       cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
