// What --weight-decay and its kin, --param-group and --freeze mean for which parameter, and which flags mean nothing.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka wants the four above first
#include <cmocka.h>

#include "../../runtime/optimizer.h"
#include "../../runtime/rt_internal.h"

#include <stdlib.h>
#include <string.h>

#define PARAM(name, rank, n, at) {name, SMKD_ABI_PARAM, SMKD_ABI_F32, rank, 0, {n}, (at) * sizeof(float), n}
static const struct smkd_abi_tensor rows[] = {PARAM("conv.weight", 4, 100, 0),  PARAM("conv.bias", 1, 16, 112),
                                              PARAM("bn.weight", 1, 16, 128),   PARAM("bn.bias", 1, 16, 144),
                                              PARAM("fc/kernel:0", 2, 40, 160), PARAM("fc/bias:0", 1, 10, 208),
                                              PARAM("in_proj_bias", 1, 10, 224)};
enum { N = sizeof rows / sizeof *rows };
static struct smkd_artifact artifact = {.tensors = rows, .n_tensors = N};
static smkd_model model = {.art = &artifact};

static void configure(struct rt_config *c, const char *const *flags) {
    rt_config_init(c, method_find("ce"));
    for (; *flags; flags += 2) assert_int_equal(rt_config_set(c, flags[0], flags[1]), SMKD_R_OK);
    assert_int_equal(rt_config_resolve(c), SMKD_R_OK);
}
#define FLAGS(...)                                                                                                     \
    (const char *const[]) { "data", "none", "lr", "0.2", "weight-decay", "0.01", __VA_ARGS__, NULL }

// All rules as text, "LR/DECAY" or "-", in the order of the table.
static void are(const char *expected, bool guessed, const char *const *flags) {
    struct rt_config c;
    struct rt_param_rule *rules;
    struct str s = STR_INIT;
    bool guess;
    configure(&c, flags);
    assert_int_equal(rt_param_rules(&c, &model, &rules, &guess), SMKD_R_OK);
    assert_int_equal(guess, guessed);
    for (int i = 0; i < N; i++) {
        str_add(&s, i ? " " : "");
        if (rules[i].frozen)
            str_add(&s, "-");
        else
            str_addf(&s, "%g/%g", rules[i].lr, rules[i].weight_decay);
    }
    assert_string_equal(s.s, expected);
    str_release(&s);
    free(rules);
    rt_config_release(&c);
}

static void refused(const char *says, const char *const *flags) {
    const smkd_model *const m[] = {&model};
    struct rt_config c;
    configure(&c, flags);
    assert_int_not_equal(rt_param_flags_check(&c, m, 1), SMKD_R_OK);
    if (!strstr(smkd_last_error(), says)) fail_msg("expected \"%s\" in: %s", says, smkd_last_error());
    rt_config_release(&c);
}

static void test_decays(void **state) {
    (void)state;
    artifact.notes = "{\"norm_parameters\":[\"bn.weight\",\"bn.bias\"]}";
    are("0.2/0.01 0.2/0.01 0.2/0.01 0.2/0.01 0.2/0.01 0.2/0.01 0.2/0.01", false, FLAGS("epochs", "9"));
    are("0.2/0.01 0.2/0.01 0.2/0 0.2/0 0.2/0.01 0.2/0.01 0.2/0.01", false, FLAGS("norm-weight-decay", "0"));
    // As torchvision: a bias is a bias in a normalisation, too; "in_proj_bias" is called something else.
    are("0.2/0.01 0.2/0.5 0.2/0 0.2/0.5 0.2/0.01 0.2/0.5 0.2/0.01", false,
        FLAGS("norm-weight-decay", "0", "bias-weight-decay", "0.5"));
    artifact.notes = "{}"; // of an earlier version: all of one dimension
    are("0.2/0.01 0.2/0 0.2/0 0.2/0 0.2/0.01 0.2/0 0.2/0", true, FLAGS("norm-weight-decay", "0"));
    are("0.2/0.01 0.2/0.5 0.2/0.01 0.2/0.5 0.2/0.01 0.2/0.5 0.2/0.01", false, FLAGS("bias-weight-decay", "0.5"));
}

static void test_groups(void **state) {
    (void)state;
    artifact.notes = "{\"norm_parameters\":[\"bn.weight\",\"bn.bias\"]}";
    // The first that matches counts, with what it says; a name may hold colons.
    are("0.2/0.01 0.2/0 0.2/0.01 0.2/0.01 1/0.01 0.4/0.01 0.2/0.01", false,
        FLAGS("param-group", "fc/kernel:0:lr=1;fc*:lr=0.4;*:0:wd=7;conv.bias:wd=0"));
    are("- 0.2/0.01 - - - - -", false, FLAGS("freeze", "*;!conv.bias"));
    are("- - 0.2/0.01 - 0.2/0.01 0.2/0.01 0.2/0.01", false, FLAGS("freeze", "conv*;bn.bias"));
}

static void test_refused(void **state) {
    (void)state;
    refused("no network has a trained parameter of such a name; there are \"conv", FLAGS("param-group", "conw*:lr=1"));
    refused("no network has", FLAGS("freeze", "conv*;!head*"));
    refused("leaves nothing to be trained", FLAGS("freeze", "*"));
    static const char *const odd[] = {"conv*",       ":lr=1",        "conv*:lr", "conv*:lr=x",
                                      "conv*:lr=-1", "conv*:rate=1", "conv*:",   "conv*:lr=nan"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        refused("expected GLOB:lr=X,wd=X", FLAGS("param-group", odd[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_decays), cmocka_unit_test(test_groups),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
