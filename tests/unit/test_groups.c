// Parameter groups: what flags mean for which parameter, stretches of the block, and flags that mean nothing.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../runtime/groups.h"
#include "../../runtime/rt_internal.h"

#include <cjson/cJSON.h>

#include <math.h>
#include <string.h>

#define PARAM(name, rank, n, at) {name, SMKD_ABI_PARAM, SMKD_ABI_F32, rank, 0, {n}, (at) * sizeof(float), n}
static const struct smkd_abi_tensor rows[] = {
    PARAM("conv.weight", 4, 100, 0),   PARAM("conv.bias", 1, 16, 112),
    PARAM("bn.weight", 1, 16, 128),    PARAM("bn.bias", 1, 16, 144),
    PARAM("fc/kernel:0", 2, 40, 160),  PARAM("fc/bias:0", 1, 10, 208),
    PARAM("in_proj_bias", 1, 10, 224), {"bn.mean", SMKD_ABI_BUFFER, SMKD_ABI_F32, 1, 0, {16}, 240 * 4, 16},
};
enum { N = 7 };
static struct smkd_artifact artifact = {.tensors = rows, .n_tensors = sizeof rows / sizeof *rows};
static smkd_model model = {.art = &artifact};

static struct rt_group_rules rules;

static enum smkd_result read_flags(const char *const *flags) {
    struct rt_config c;
    rt_config_init(&c, method_find("ce"));
    for (; *flags; flags += 2) assert_int_equal(rt_config_set(&c, flags[0], flags[1]), SMKD_R_OK);
    enum smkd_result r = rt_group_rules_read(&rules, &c);
    rt_config_release(&c);
    return r;
}
#define FLAGS(...) read_flags((const char *const[]){"lr", "0.2", "weight-decay", "0.01", __VA_ARGS__, NULL})

static void refused(const char *says, const char *const *flags) {
    const smkd_model *m = &model;
    enum smkd_result r = read_flags(flags);
    if (r == SMKD_R_OK) r = rt_group_rules_check(&rules, &m, 1);
    assert_int_equal(r, SMKD_R_INVALID);
    if (!strstr(smkd_last_error(), says)) fail_msg("expected \"%s\" in: %s", says, smkd_last_error());
    rt_group_rules_release(&rules);
}
#define REFUSED(says, ...) refused(says, (const char *const[]){__VA_ARGS__, NULL})

// The groups as text: "FACTOR/DECAY: at+n at+n; ..." and how many are frozen.
static void groups(const char *expected, bool by_tensor) {
    const smkd_model *m = &model;
    struct rt_groups g;
    struct str s = STR_INIT;
    assert_int_equal(rt_group_rules_check(&rules, &m, 1), SMKD_R_OK);
    rt_groups_make(&g, &rules, &model, by_tensor);
    for (size_t i = 0; i < g.n; i++) {
        str_addf(&s, "%s%g/%g:", i ? "; " : "", g.group[i].lr_factor, g.group[i].weight_decay);
        for (size_t k = 0; k < g.group[i].n_stretches; k++)
            str_addf(&s, " %zu+%zu", g.group[i].stretch[k].at, g.group[i].stretch[k].n);
    }
    if (g.n_frozen) str_addf(&s, "; frozen %zu", g.n_frozen);
    assert_string_equal(s.s, expected);
    str_release(&s);
    rt_groups_release(&g);
    rt_group_rules_release(&rules);
}

static void test_one_group(void **state) {
    (void)state;
    artifact.notes = "{\"norm_parameters\":[\"bn.weight\",\"bn.bias\"]}";
    assert_int_equal(FLAGS(NULL), SMKD_R_OK);
    groups("1/0.01: 0+240", false); // padding included, the whole block in one go
    assert_int_equal(FLAGS(NULL), SMKD_R_OK);
    groups("1/0.01: 0+112 112+16 128+16 144+16 160+48 208+16 224+16", true);
}

static void test_decays(void **state) {
    (void)state;
    artifact.notes = "{\"norm_parameters\":[\"bn.weight\",\"bn.bias\"]}";
    assert_int_equal(FLAGS("norm-weight-decay", "0"), SMKD_R_OK);
    groups("1/0.01: 0+128 160+80; 1/0: 128+32", false);
    // As torchvision: a bias is a bias in a norm, too; "in_proj_bias" is called something else.
    assert_int_equal(FLAGS("norm-weight-decay", "0", "bias-weight-decay", "0.5"), SMKD_R_OK);
    groups("1/0.01: 0+112 160+48 224+16; 1/0.5: 112+16 144+16 208+16; 1/0: 128+16", false);
    // What is said twice is one group with what is the same.
    assert_int_equal(FLAGS("norm-weight-decay", "0.01"), SMKD_R_OK);
    groups("1/0.01: 0+240", false);
}

static void test_rules(void **state) {
    (void)state;
    artifact.notes = "{\"norm_parameters\":[\"bn.weight\",\"bn.bias\"]}";
    assert_int_equal(FLAGS("param-group", "fc/*:lr=0.4\nfc/bias:0:lr=0.1,wd=0\n*.bias:wd=0"), SMKD_R_OK);
    groups("1/0.01: 0+112 128+16 224+16; 1/0: 112+16 144+16; 2/0.01: 160+48; 0.5/0: 208+16", false);
    // What a rule leaves open the other flags decide.
    assert_int_equal(FLAGS("norm-weight-decay", "0", "param-group", "bn.*:lr=0.02"), SMKD_R_OK);
    groups("1/0.01: 0+128 160+80; 0.1/0: 128+32", false);
    assert_int_equal(FLAGS("param-group", "*:lr=0"), SMKD_R_OK);
    groups("0/0.01: 0+240", false);
}

static void test_freeze(void **state) {
    (void)state;
    assert_int_equal(FLAGS("freeze", "*\n!fc/*"), SMKD_R_OK);
    groups("1/0.01: 160+64; frozen 5", false);
    assert_int_equal(FLAGS("freeze", "bn.mean"), SMKD_R_OK); // no parameter, but a name that is there
    groups("1/0.01: 0+240", false);
}

// Artifacts of before the note.
static void test_guess(void **state) {
    (void)state;
    struct rt_groups g;
    artifact.notes = "{}";
    assert_int_equal(FLAGS("norm-weight-decay", "0"), SMKD_R_OK);
    rt_groups_make(&g, &rules, &model, false);
    assert_true(g.guessed);
    rt_groups_release(&g);
    groups("1/0.01: 0+128 160+80; 1/0: 128+32", false);
    assert_int_equal(FLAGS(NULL), SMKD_R_OK);
    rt_groups_make(&g, &rules, &model, false);
    assert_false(g.guessed); // nobody asks
    rt_groups_release(&g);
    rt_group_rules_release(&rules);
}

static void test_wrong_flags(void **state) {
    (void)state;
    static const char *const texts[] = {
        "fc",       "fc:",          ":lr=1",     "fc:lr",    "fc:lr=",       "fc:lr=x", "fc:lr=1,",  "fc:lr=1,,",
        "fc:wd=-1", "fc:lr=1,lr=2", "fc:lr=nan", "fc:lr=1 ", "fc:lr=1;wd=0", "fc:x=1",  "fc:lr=2e6", "fc:lr=inf"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) REFUSED("expected a pattern", "param-group", texts[i]);
    REFUSED("expected a pattern", "freeze", "!");
    REFUSED("--lr is 0", "lr", "0", "param-group", "fc/*:lr=1");
    REFUSED("--param-group cv.*: no trained parameter has such a name; there are \"", "param-group", "cv.*:wd=0");
    REFUSED("--param-group bn.mean: no trained parameter", "param-group", "bn.mean:wd=0");
    REFUSED("--freeze con.*: no trained parameter has such a name; there are \"conv.", "freeze", "con.*");
}

static void test_config(void **state) {
    (void)state;
    struct rt_config c, d;
    rt_config_init(&c, method_find("ce"));
    rt_config_init(&d, method_find("ce"));
    assert_int_equal(rt_config_set(&c, "freeze", "a.*\n!a.b"), SMKD_R_OK);
    assert_int_equal(rt_config_set(&c, "norm-weight-decay", "0"), SMKD_R_OK);
    cJSON *o = rt_config_to_json(&c);
    char *text = cJSON_PrintUnformatted(o);
    cJSON *j = cJSON_Parse(text); // numbers are raw text before
    assert_int_equal(rt_config_from_json(&d, j, "x.json"), SMKD_R_OK);
    assert_string_equal(d.freeze, "a.*\n!a.b");
    assert_null(d.param_group);
    assert_true(d.norm_weight_decay == 0 && isnan(d.bias_weight_decay));
    struct str s = STR_INIT;
    if (rt_config_differences(&c, &d, &s)) fail_msg("%s", s.s);
    assert_int_equal(rt_config_set(&d, "freeze", "a.*"), SMKD_R_OK);
    assert_int_equal(rt_config_differences(&d, &c, &s), 1);
    assert_string_equal(s.s, "--freeze a.* (was a.* !a.b)");
    str_release(&s);
    cJSON_Delete(j);
    cJSON_Delete(o);
    cJSON_free(text);
    rt_config_release(&c);
    rt_config_release(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_group), cmocka_unit_test(test_decays), cmocka_unit_test(test_rules),
        cmocka_unit_test(test_freeze),    cmocka_unit_test(test_guess),  cmocka_unit_test(test_wrong_flags),
        cmocka_unit_test(test_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
