// Inference keeps weights in the order its kernels read them from run to run: never past a change of the weights, of
// the batch, or of the memory they lie in.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../codegen/codegen.h"
#include "../../runtime/include/smkd_runtime.h"

enum { C = 24, K = 40, H = 9, PIXELS = H * H };

static smkd_model *compile(void) {
    struct arena a;
    struct diag d = {.file = "test"};
    arena_init(&a);
    struct ir_graph *g = ir_graph_new(&a, &d, "test");
    static float w[K * C * 9], w1[K * K];
    uint32_t random = 7;
    for (size_t i = 0; i < sizeof w / sizeof *w; i++)
        w[i] = (float)((random = random * 1664525u + 1013904223u) >> 8) / (1 << 23) - 1;
    for (size_t i = 0; i < sizeof w1 / sizeof *w1; i++)
        w1[i] = (float)((random = random * 1664525u + 1013904223u) >> 8) / (1 << 23) - 1;
    ir_vid x = ir_boundary(g, IR_ROLE_INPUT, ir_type_make(IR_F32, 4, (int64_t[]){IR_N, C, H, H}), "x", NULL);
    ir_vid wv = ir_boundary(g, IR_ROLE_PARAM, ir_type_make(IR_F32, 4, (int64_t[]){K, C, 3, 3}), "w", w);
    ir_vid w1v = ir_boundary(g, IR_ROLE_PARAM, ir_type_make(IR_F32, 4, (int64_t[]){K, K, 1, 1}), "w1", w1);
    int64_t one[2] = {1, 1}, pad[4] = {1, 1, 1, 1}, none[4] = {0};
    ir_vid y = ir_emit(g, IR_OP_conv, (ir_vid[]){x, wv}, 2,
                       IR_ATTRS(IR_IS("strides", one, 2), IR_IS("pads", pad, 4), IR_IS("dilations", one, 2)));
    ir_vid z = ir_emit(g, IR_OP_conv, (ir_vid[]){y, w1v}, 2,
                       IR_ATTRS(IR_IS("strides", one, 2), IR_IS("pads", none, 4), IR_IS("dilations", one, 2)));
    ir_set_output(g, IR_OUT_OUTPUT, "y", z);
    char path[] = "/tmp/smkd_test_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct cg_model model = {.name = "test", .kind = SMKD_ABI_MODEL, .infer = g, .notes = "{}"};
    struct cg_options o = {.mcpu = "native", .max_batch = 8, .emit = "lib", .verify = true};
    assert_int_equal(cg_compile(&model, &o, path, &d), SMKD_OK);
    smkd_model *m = smkd_model_load(path);
    unlink(path);
    if (!m) fail_msg("load: %s", smkd_last_error());
    arena_release(&a);
    return m;
}

static void infer(smkd_session *s, int64_t batch, const float *x, float *y) {
    assert_int_equal(smkd_bind(s, SMKD_ABI_INPUT, "x", (void *)x), SMKD_R_OK);
    assert_int_equal(smkd_bind(s, SMKD_ABI_OUTPUT, "y", y), SMKD_R_OK);
    if (smkd_run(s, SMKD_ABI_INFER, batch) != SMKD_R_OK) fail_msg("run: %s", smkd_last_error());
}

// What a session that has kept nothing computes.
static void fresh(smkd_model *m, smkd_team *t, int64_t batch, const float *x, float *y) {
    smkd_session *s = smkd_session_new(m, t);
    assert_non_null(s);
    infer(s, batch, x, y);
    smkd_session_free(s);
}

static void test_prepared(void **state) {
    (void)state;
    enum { N = 5 };
    static float x[N * C * PIXELS], y[N * K * PIXELS], want[N * K * PIXELS], first[N * K * PIXELS];
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) x[i] = (float)(i * 7919 % 1000) / 500 - 1;
    smkd_model *m = compile();
    smkd_team *t = smkd_team_new(2);
    smkd_session *s = smkd_session_new(m, t);
    assert_true(t && s);
    infer(s, 2, x, first);
    static const int64_t batches[] = {2, 2, 1, 1, 2, N, N, 2};
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
            memset(y, 0x7f, sizeof y);
            infer(s, batches[i], x, y);
            fresh(m, t, batches[i], x, want);
            assert_memory_equal(y, want, sizeof *y * (size_t)batches[i] * K * PIXELS);
        }
        assert_int_equal(memcmp(y, first, sizeof *y * 2 * K * PIXELS) == 0, round == 0);
        float *w = smkd_model_params(m);
        for (int i = 0; i < K * C * 9; i++) w[i] *= round ? 0.5f : -1.0f;
    }
    smkd_session_free(s);
    smkd_team_free(t);
    smkd_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_prepared)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
