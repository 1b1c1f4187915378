// Which parameters belong to a normalisation, in the forms in which exporters write one, and in what only looks like
// one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../ir/ir.h"

#include <string.h>

#define INPUTS                                                                                                         \
    "%0: f32[N,4] input \"x\", %1: f32[4] param \"scale\", %2: f32[4] param \"shift\", %3: f32[4] param \"other\""
// x - mean, 1/sqrt(mean of its square + eps)
#define CENTRED                                                                                                        \
    "%10: f32[N,1] = reduce_mean(%0) {axes = [1]}\n%11: f32[N,4] = sub(%0, %10)\n"                                     \
    "%12: f32[N,4] = mul(%11, %11)\n%13: f32[N,1] = reduce_mean(%12) {axes = [1]}\n%14: f32[] = const [1e-5]\n"        \
    "%15: f32[N,1] = add(%13, %14)\n%16: f32[N,1] = sqrt(%15)\n"
#define RESULT "%40: f32[N,4] = mul(%31, %3)\nreturn output \"y\" %40"

static void test_forms(void **state) {
    (void)state;
    static const struct {
        const char *what, *body, *norms;
    } rows[] = {
        {"reciprocal",
         CENTRED "%20: f32[N,1] = recip(%16)\n%21: f32[N,4] = mul(%11, %20)\n%30: f32[N,4] = mul(%21, %1)\n"
                 "%31: f32[N,4] = add(%30, %2)\n" RESULT,
         "scale shift "},
        {"quotient, operands the other way round",
         CENTRED "%21: f32[N,4] = div(%11, %16)\n%30: f32[N,4] = mul(%1, %21)\n%31: f32[N,4] = add(%2, %30)\n" RESULT,
         "scale shift "},
        {"power",
         CENTRED "%17: f32[] = const [-0.5]\n%20: f32[N,1] = pow(%15, %17)\n%21: f32[N,4] = mul(%11, %20)\n"
                 "%30: f32[N,4] = mul(%21, %1)\n%31: f32[N,4] = add(%30, %2)\n" RESULT,
         "scale shift "},
        {"no shift: what is added behind something else is none",
         CENTRED "%21: f32[N,4] = div(%11, %16)\n%30: f32[N,4] = mul(%21, %1)\n%22: f32[N,4] = tanh(%30)\n"
                 "%31: f32[N,4] = add(%22, %2)\n" RESULT,
         "scale "},
        {"ones and zeros first, in another shape",
         CENTRED "%21: f32[N,4] = div(%11, %16)\n%23: f32[4] = const [1.0, 1.0, 1.0, 1.0]\n"
                 "%24: f32[N,4] = mul(%21, %23)\n%25: f32[N,2,2] = reshape(%24) {shape = [-1, 2, 2]}\n"
                 "%26: f32[N,4] = reshape(%25) {shape = [-1, 4]}\n%30: f32[N,4] = mul(%26, %1)\n"
                 "%31: f32[N,4] = add(%30, %2)\n" RESULT,
         "scale shift "},
        {"parameters behind views",
         CENTRED "%21: f32[N,4] = div(%11, %16)\n%27: f32[1,4] = reshape(%1) {shape = [1, 4]}\n"
                 "%30: f32[N,4] = mul(%21, %27)\n%28: f32[1,4] = reshape(%2) {shape = [1, 4]}\n"
                 "%31: f32[N,4] = add(%30, %28)\n" RESULT,
         "scale shift "},
        {"a length is no deviation",
         "%12: f32[N,4] = mul(%0, %0)\n%13: f32[N,1] = reduce_sum(%12) {axes = [1]}\n%16: f32[N,1] = sqrt(%13)\n"
         "%21: f32[N,4] = div(%0, %16)\n%30: f32[N,4] = mul(%21, %1)\n%31: f32[N,4] = add(%30, %2)\n" RESULT,
         ""},
        {"a weight that is normalised is no activation",
         "%12: f32[4] = mul(%3, %3)\n%13: f32[1] = reduce_mean(%12) {axes = [0]}\n%14: f32[] = const [1e-5]\n"
         "%15: f32[1] = add(%13, %14)\n%16: f32[1] = sqrt(%15)\n%17: f32[4] = div(%3, %16)\n"
         "%18: f32[4] = mul(%17, %1)\n%30: f32[N,4] = mul(%0, %18)\n%31: f32[N,4] = add(%30, %2)\n" RESULT,
         ""},
        {"BatchNorm",
         "%10: f32[4], %11: f32[4] = bn_stats(%0)\n%31: f32[N,4] = bn_apply(%0, %10, %11, %1, %2)\n" RESULT,
         "scale shift "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena a;
        struct diag d = {0};
        arena_init(&a);
        struct ir_graph *g = ir_parse(&a, &d, arena_printf(&a, "graph @t(%s) {\n%s\n}\n", INPUTS, rows[i].body));
        if (!g) fail_msg("does not parse: %s", rows[i].what);
        struct ir_pass_options o = {.mode = IR_TRAIN, .verify = true};
        assert_int_equal(ir_run_passes(g, "expand,fold,cse,dce", &o), SMKD_OK);
        bool *norm = ARENA_ARRAY(&a, bool, g->n_values);
        ir_norm_parameters(g, norm);
        struct str found = STR_INIT;
        str_add(&found, "");
        for (size_t k = 0; k < g->n_boundary; k++)
            if (norm[g->boundary[k]]) str_addf(&found, "%s ", g->values[g->boundary[k]].name);
        if (strcmp(found.s, rows[i].norms) != 0)
            fail_msg("%s: norms are \"%s\", not \"%s\"", rows[i].what, found.s, rows[i].norms);
        str_release(&found);
        arena_release(&a);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
