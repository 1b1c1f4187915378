// The memory plan of a residual network's training graph and of random graphs: the checker passes them, notices
// whatever is moved where it must not be, and the arena is close to the least that any plan needs.
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

// Every two pieces of the arena that live at once for longer than a moment (in which one may become the other), laid
// over each other by 64 bytes: the checker has to see each of them.
static void check_mistakes(const struct ir_graph *g, const struct ir_plan_options *o, const struct ir_plan *p) {
    struct ir_slot *values = malloc((g->n_values + 1) * sizeof *values),
                   *work = malloc((g->n_nodes + 1) * sizeof *work);
    assert_true(values && work);
    size_t n = 0;
    struct ir_slot *all[2] = {p->values, p->workspace};
    size_t n_all[2] = {g->n_values, g->n_nodes};
    for (int ka = 0; ka < 2; ka++)
        for (size_t i = 0; i < n_all[ka]; i++)
            for (int kb = 0; kb < 2; kb++)
                for (size_t j = 0; j < n_all[kb]; j++) {
                    struct ir_slot a = all[ka][i], b = all[kb][j];
                    bool arena = a.place == IR_PLACE_SAMPLE || a.place == IR_PLACE_FIXED;
                    bool work_only = ka || kb; // a workspace lives for one node, and becomes nothing
                    uint32_t from = a.born > b.born ? a.born : b.born, to = a.dies < b.dies ? a.dies : b.dies;
                    if (!arena || a.place != b.place || a.offset == b.offset || from > to || (from == to && !work_only))
                        continue;
                    memcpy(values, p->values, (g->n_values + 1) * sizeof *values);
                    memcpy(work, p->workspace, (g->n_nodes + 1) * sizeof *work);
                    struct ir_plan bad = *p;
                    bad.values = values;
                    bad.workspace = work;
                    bad.sample_bytes = bad.fixed_bytes = INT64_C(1) << 40; // room is not the question
                    struct ir_slot *moved[2] = {values, work};
                    for (int k = 0; k < 2; k++) // all that shares a's memory goes with it
                        for (size_t v = 0; v < n_all[k]; v++)
                            if (moved[k][v].place == a.place && moved[k][v].offset == a.offset &&
                                moved[k][v].born == a.born && moved[k][v].dies == a.dies)
                                moved[k][v].offset = b.offset + b.bytes - 64;
                    struct str fault = STR_INIT;
                    if (ir_plan_check(g, o, &bad, &fault))
                        fail_msg("%%%zu moved over the end of %%%zu (kinds %d, %d) goes unnoticed", i, j, ka, kb);
                    assert_true(fault.len > 0);
                    str_release(&fault);
                    n++;
                }
    assert_true(n > 0);
    free(values);
    free(work);
}

static void check(const struct ir_graph *g, double max_ratio, bool mistakes) {
    struct ir_plan_options o = {.workspace = workspace, .boundary = boundary, .output = output};
    struct ir_plan *p = ir_plan_make(g, &o), less = *p;
    struct str fault = STR_INIT;
    if (!ir_plan_check(g, &o, p, &fault)) fail_msg("%s", fault.s);
    less.sample_bytes -= 64;
    if (p->sample_bytes) assert_false(ir_plan_check(g, &o, &less, &fault)); // an arena that is too small
    str_release(&fault);
    assert_true(p->sample_bound <= p->sample_bytes && p->fixed_bound <= p->fixed_bytes);
    if (max_ratio > 0) assert_true((double)p->sample_bytes <= max_ratio * (double)p->sample_bound);
    if (mistakes) check_mistakes(g, &o, p);
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
    check(g, 1.01, true);
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

// A sum may be written over an operand that dies with it when it reads the operand at the element it writes, not when
// it reads it mirrored, too. The plan knows, and the checker knows without the plan.
static void test_overwriting(void **state) {
    (void)state;
    for (int mirrored = 0; mirrored < 2; mirrored++) {
        struct arena a;
        struct diag d = {0};
        arena_init(&a);
        struct ir_graph *g = ir_graph_new(&a, &d, "overwriting");
        ir_vid x = ir_boundary(g, IR_ROLE_INPUT, ir_type_make(IR_F32, 2, (int64_t[]){IR_N, 16}), "x", NULL);
        ir_vid w = ir_boundary(g, IR_ROLE_PARAM, ir_type_make(IR_F32, 2, (int64_t[]){16, 16}), "w", NULL);
        int64_t axes[1] = {1};
        ir_vid m = ir_matmul(g, x, w, 0, 0);
        ir_vid other =
            mirrored ? ir_emit(g, IR_OP_reverse, &m, 1, IR_ATTRS(IR_IS("axes", axes, 1))) : ir_unary(g, IR_OP_relu, m);
        ir_vid sum = ir_add(g, other, m);
        ir_set_output(g, IR_OUT_OUTPUT, "y", ir_matmul(g, sum, w, 0, 0));
        struct ir_pass_options po = {.mode = IR_TRAIN, .verify = true};
        assert_int_equal(ir_run_passes(g, "cse,dce,fuse", &po), SMKD_OK);
        struct ir_plan_options o = {.boundary = boundary, .output = output};
        struct ir_plan *p = ir_plan_make(g, &o);
        struct str fault = STR_INIT;
        assert_true(ir_plan_check(g, &o, p, &fault));
        assert_int_equal(p->values[sum].offset == p->values[m].offset, !mirrored);
        p->values[sum] = p->values[m];
        assert_int_equal(ir_plan_check(g, &o, p, &fault), !mirrored);
        str_release(&fault);
        arena_release(&a);
    }
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
        check(g, 0, round % 8 == 0);
        arena_release(&a);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_residual_network), cmocka_unit_test(test_print),
                                       cmocka_unit_test(test_overwriting), cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
