// Learning rates, thresholds, configuration defaults and their JSON round trip.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../../runtime/train.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <string.h>

static void near(double a, double b, double tol) {
    if (!(fabs(a - b) <= tol)) fail_msg("%.17g is not within %g of %.17g", a, tol, b);
}

static void ok(enum smkd_result r) {
    if (r != SMKD_R_OK) fail_msg("%s", smkd_last_error());
}

static struct rt_schedule make(const char *const *flags) {
    struct rt_config c;
    struct rt_schedule s;
    rt_config_init(&c, method_find("smkd-p"));
    ok(rt_config_set(&c, "data", "x"));
    for (; *flags; flags += 2) ok(rt_config_set(&c, flags[0], flags[1]));
    ok(rt_config_resolve(&c));
    ok(rt_schedule_init(&s, &c, 10));
    rt_config_release(&c);
    return s;
}

static void multistep(void **state) {
    (void)state;
    struct rt_schedule s = make((const char *const[]){"epochs", "40", NULL});
    near(rt_schedule_lr(&s, 1, 0), .1, 0);
    near(rt_schedule_lr(&s, 12, 9), .1, 0);
    near(rt_schedule_lr(&s, 13, 0), .02, 1e-15);
    near(rt_schedule_lr(&s, 25, 0), .004, 1e-15);
    near(rt_schedule_lr(&s, 33, 0), .0008, 1e-15);
    s = make((const char *const[]){"epochs", "10", "lr-milestones", "2, 7", "lr-gamma", "0.5", NULL});
    near(rt_schedule_lr(&s, 2, 0), .1, 0);
    near(rt_schedule_lr(&s, 3, 0), .05, 1e-15);
    near(rt_schedule_lr(&s, 8, 0), .025, 1e-15);
}

static void cosine_and_warmup(void **state) {
    (void)state;
    struct rt_schedule s =
        make((const char *const[]){"epochs", "12", "lr-scheduler", "cosine", "lr-warmup-epochs", "2", "lr", "1", NULL});
    near(rt_schedule_lr(&s, 1, 0), 1.0 / 20, 1e-15);
    near(rt_schedule_lr(&s, 2, 9), 1, 1e-15);
    near(rt_schedule_lr(&s, 3, 0), 1, 1e-15);
    near(rt_schedule_lr(&s, 8, 5), .5, 1e-15);
    near(rt_schedule_lr(&s, 12, 0), .5 * (1 + cos(acos(-1.0) * .9)), 1e-15);
    s = make((const char *const[]){"lr-scheduler", "constant", NULL});
    near(rt_schedule_lr(&s, 100, 3), .1, 0);
}

// PyTorch's numbers are compared in tests/oracle/test_schedules.py; here is what it has no counterpart for.
static void plateau(void **state) {
    (void)state;
    struct rt_schedule s =
        make((const char *const[]){"epochs", "20", "lr-scheduler", "plateau", "lr", "1", "lr-patience", "1", "lr-min",
                                   "0.03", "lr-warmup-epochs", "2", NULL});
    rt_schedule_measured(&s, 1, 99, false); // the warm-up's: not looked at
    near(rt_schedule_lr(&s, 2, 0), 11.0 / 20, 1e-15);
    near(rt_schedule_lr(&s, 3, 0), 1, 0);
    rt_schedule_measured(&s, 3, NAN, false);
    rt_schedule_measured(&s, 4, 50, false);
    near(s.plateau.bad, 0, 0);
    rt_schedule_measured(&s, 5, 50, false);
    near(rt_schedule_lr(&s, 6, 0), 1, 0);
    rt_schedule_measured(&s, 6, 50.004, false); // better by less than one in 10,000
    near(rt_schedule_lr(&s, 7, 0), .1, 1e-17);
    // A run that goes on has the four numbers, and everything else from its configuration.
    struct rt_plateau_state kept = s.plateau;
    s = make((const char *const[]){"epochs", "20", "lr-scheduler", "plateau", "lr", "1", "lr-patience", "1", "lr-min",
                                   "0.03", "lr-warmup-epochs", "2", NULL});
    s.plateau = kept;
    near(rt_schedule_lr(&s, 7, 0), .1, 1e-17);
    for (int64_t e = 7; e <= 10; e++) rt_schedule_measured(&s, e, 40, false);
    near(rt_schedule_lr(&s, 11, 0), .03, 0);
}

static void plateau_of_others(void **state) {
    (void)state;
    struct rt_schedule s = make((const char *const[]){"lr-scheduler", "constant", NULL});
    for (int64_t e = 1; e < 50; e++) rt_schedule_measured(&s, e, 0, false);
    near(rt_schedule_lr(&s, 50, 0), .1, 0);
}

static void patience(void **state) {
    (void)state;
    struct rt_config c = {.patience = 3};
    assert_false(rt_out_of_patience(&c, 2, 0));
    assert_true(rt_out_of_patience(&c, 3, 0)); // none was good
    assert_false(rt_out_of_patience(&c, 6, 4));
    assert_true(rt_out_of_patience(&c, 7, 4));
    c.patience = 0;
    assert_false(rt_out_of_patience(&c, 1000, 1));
}

static void gammas(void **state) {
    (void)state;
    static const struct {
        const char *kind;
        double gamma;
    } want[] = {{"multistep", .2}, {"step", .1}, {"plateau", .1}, {"cosine", .2}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct rt_schedule s = make((const char *const[]){"lr-scheduler", want[i].kind, NULL});
        near(s.gamma, want[i].gamma, 0);
        s = make((const char *const[]){"lr-scheduler", want[i].kind, "lr-gamma", "0.7", NULL});
        near(s.gamma, .7, 0);
    }
}

// Onecycle's shortest runs: PyTorch divides by zero where the way up is one step.
static void onecycle_edges(void **state) {
    (void)state;
    for (int epochs = 1; epochs < 9; epochs++) {
        char n[8];
        snprintf(n, sizeof n, "%d", epochs);
        struct rt_schedule s = make((const char *const[]){"lr-scheduler", "onecycle", "epochs", n, NULL});
        for (int64_t steps = 1; steps < 4; steps++) {
            s.steps = steps;
            for (int64_t e = 1; e <= epochs; e++)
                for (int64_t t = 0; t < steps; t++) {
                    double lr = rt_schedule_lr(&s, e, t);
                    if (!(lr > 0 && lr <= .1)) fail_msg("%d epochs of %d steps: %g", epochs, (int)steps, lr);
                }
        }
    }
}

// The table of methods.md 1.3 (C = 100).
static void thresholds(void **state) {
    (void)state;
    near(rt_threshold(0, 2, -10, 100), 4.5743, 5e-5);
    near(rt_threshold(.25, 2, -5, 100), 3.5796, 5e-5);
    near(rt_threshold(1, 4, -10, 100), .0154, 5e-5);
    near(rt_threshold(.6, 2, -5, 4), .523383, 5e-7);
}

static void defaults(void **state) {
    (void)state;
    static const struct {
        const char *method, *refine;
        double b2;
    } want[] = {{"smkd-p", "mylc", -5}, {"smkd-s", "mylc", 0}, {"all", "mylc", -5}, {"ce", "none", -5}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct rt_config c;
        rt_config_init(&c, method_find(want[i].method));
        ok(rt_config_set(&c, "data", "x"));
        ok(rt_config_set(&c, "method", want[i].method));
        ok(rt_config_set(&c, "seed", "17"));
        ok(rt_config_resolve(&c));
        assert_string_equal(method_word(c.row, &c.values, "refine"), want[i].refine);
        near(method_number(c.row, &c.values, "b2"), want[i].b2, 0);
        near(c.noise_seed, 17, 0);
        near(method_number(c.row, &c.values, "eta"), 4, 0);
        near(method_number(c.row, &c.values, "rho"), .5, 0);
        assert_string_equal(c.lr_milestones, "30,60,80");
        rt_config_release(&c);
    }
}

// What a method's row fixes is not a user's to set, and a method has its own numbers only.
static void fixed_by_method(void **state) {
    (void)state;
    struct rt_config c;
    rt_config_init(&c, method_find("smkd-s"));
    ok(rt_config_set(&c, "b2", "0"));
    assert_int_not_equal(rt_config_set(&c, "b2", "-3"), SMKD_R_OK);
    if (!strstr(smkd_last_error(), "--b2 -3: the method smkd-s has 0 there") || !strstr(smkd_last_error(), "smkd-p"))
        fail_msg("%s", smkd_last_error());
    rt_config_release(&c);
    rt_config_init(&c, method_find("ce"));
    assert_int_not_equal(rt_config_set(&c, "refine", "mylc"), SMKD_R_OK);
    assert_non_null(strstr(smkd_last_error(), "zero"));
    ok(rt_config_set(&c, "refine", "auto"));
    assert_string_equal(method_word(c.row, &c.values, "refine"), "none");
    rt_config_release(&c);
    rt_config_init(&c, method_find("huber"));
    ok(rt_config_set(&c, "huber-delta", "0.5"));
    for (const struct rt_field *f = c.fields; f->name; f++) assert_string_not_equal(f->name, "eta");
    rt_config_release(&c);
}

// config.json of the version before: `loss` is the method, and its numbers stand beside the others.
static void older_config(void **state) {
    (void)state;
    struct rt_config c;
    rt_config_init(&c, method_find("smkd-s"));
    cJSON *o = cJSON_Parse("{\"loss\":\"smkd-s\",\"refine\":\"proselflc\",\"eta\":2,\"b1\":8,\"b2\":0,\"rho\":0.4,"
                           "\"peer_denom\":\"N\",\"r_scope\":\"ema\",\"detach_target\":true,\"log_floor\":1e-6}");
    ok(rt_config_from_json(&c, o, "config.json"));
    assert_string_equal(c.method, "smkd-s");
    assert_string_equal(method_word(c.row, &c.values, "refine"), "proselflc");
    assert_string_equal(method_word(c.row, &c.values, "peer-denom"), "N");
    near(method_number(c.row, &c.values, "b1"), 8, 0);
    near(method_number(c.row, &c.values, "log-floor"), 1e-6, 0);
    assert_true(method_flag(c.row, &c.values, "detach-target"));
    cJSON_Delete(o);
    rt_config_release(&c);
}

static void refuses(void **state) {
    (void)state;
    static const struct {
        const char *flag, *value, *text;
    } bad[] = {
        {"lr", "-1", "--lr -1: expected a number"},
        {"lr", "x", "--lr x"},
        {"lr", "inf", "--lr inf"},
        {"b2", "-inf", "--b2 -inf: expected a number"},
        {"rho", "inf", "--rho inf"},
        {"eta", "nan", "--eta nan"},
        {"epochs", "0", "whole number"},
        {"epochs", "1.5", "whole number"},
        {"seed", "1.5", "whole number"},
        {"refine", "magic", "mylc, proselflc, none"},
        {"lr-scheduler", "steps", "multistep, step, cosine, exponential, poly, onecycle, plateau, constant"},
        {"lr-scheduler", "exponential", "needs --lr-gamma"},
        {"lr-step-size", "10", "--lr-step-size: --lr-scheduler multistep does not look at it"},
        {"lr-power", "2", "--lr-power: --lr-scheduler multistep"},
        {"lr-min", "0.01", "--lr-min: --lr-scheduler multistep"},
        {"lr-min", "0.2", "must not be more than --lr 0.1"},
        {"lr-patience", "3", "--patience ends a run"},
        {"lr-warmup-method", "linear", "without --lr-warmup-epochs"},
        {"lr-warmup-decay", "0.1", "without --lr-warmup-epochs and --lr-warmup-method"},
        {"lr-warmup-decay", "2", "--lr-warmup-decay 2: expected a number from 0 to 1"},
        {"lr-milestones", "3,x", "--lr-milestones"},
        {"noise", "sym:1", "symmetric:R"},
        {"eta", "0", "--method all"},
        {"lr-warmup-epochs", "100", "less than --epochs"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rt_config c;
        rt_config_init(&c, method_find("smkd-p"));
        ok(rt_config_set(&c, "data", "x"));
        enum smkd_result r = rt_config_set(&c, bad[i].flag, bad[i].value);
        if (r == SMKD_R_OK) r = rt_config_resolve(&c);
        assert_int_not_equal(r, SMKD_R_OK);
        if (!strstr(smkd_last_error(), bad[i].text))
            fail_msg("%s %s: %s", bad[i].flag, bad[i].value, smkd_last_error());
        rt_config_release(&c);
    }
}

// No numeric flag takes what is no number of its range, whichever there are; the message has flag, value and range.
static void impossible_numbers(void **state) {
    (void)state;
    static const char *const bad[] = {"nan",    "-nan", "+nan", "inf", "-inf", "1e400", "-1e400", "1e308",
                                      "-1e308", "",     "x",    "1x",  " 1",   "1 ",    "1,5",    "--1"};
    struct rt_config all;
    rt_config_init(&all, method_find("smkd-p"));
    for (const struct rt_field *f = all.fields; f->name; f++) {
        if (f->kind != RT_FIELD_I64 && f->kind != RT_FIELD_F64 && f->kind != RT_FIELD_WHOLE) continue;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            if (strcmp(f->name, "eta") == 0 && strstr(bad[i], "inf")) continue; // the paper's ZERO
            struct rt_config c;
            rt_config_init(&c, method_find("smkd-p"));
            char start[64];
            snprintf(start, sizeof start, "--%s %s: expected a ", f->name, bad[i]);
            if (rt_config_set(&c, f->name, bad[i]) == SMKD_R_OK) fail_msg("--%s takes \"%s\"", f->name, bad[i]);
            if (!strstr(smkd_last_error(), start)) fail_msg("%s", smkd_last_error());
            rt_config_release(&c);
        }
    }
    rt_config_release(&all);
}

static void channel_numbers(void **state) {
    (void)state;
    float v[3];
    ok(rt_parse_channels("mean", "0.5,-1e-3,0", 3, v));
    assert_true(v[0] == .5f && v[1] == -1e-3f && v[2] == 0);
    ok(rt_parse_channels("std", ".25", 1, v));
    static const struct {
        const char *name, *text;
        int n;
        const char *words;
    } bad[] = {{"std", "0", 1, "--std 0: expected numbers from 1e-06 to 1e+06: pixels on a 0..1 scale are divided by"},
               {"std", "0.5,0,0.5", 3, "divided by"},
               {"std", "-1", 1, "--std -1: expected numbers from"},
               {"std", "1e-300", 1, "--std 1e-300: expected numbers from"},
               {"std", "inf", 1, "expected numbers from"},
               {"mean", "-1e300", 1, "--mean -1e300: expected numbers from"},
               {"mean", "nan", 1, "\"nan\" is not a number"},
               {"mean", "", 1, "\"\" is not a number"},
               {"mean", "0.5,", 2, "\"\" is not a number"},
               {"mean", "0.5 ,1", 2, "\"0.5 \" is not a number"},
               {"std", "0.5,0.5", 1, "expected 1 number separated by commas, one for each channel of the images, not"},
               {"std", "0.5", 3, "expected 3 numbers separated by commas, one for each channel of the images, not 1"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_not_equal(rt_parse_channels(bad[i].name, bad[i].text, bad[i].n, v), SMKD_R_OK);
        if (!strstr(smkd_last_error(), bad[i].words)) fail_msg("%s: %s", bad[i].text, smkd_last_error());
    }
}

// Values that no run has written: named with their key, what they are and what was expected.
static void absurd_config(void **state) {
    (void)state;
    static const struct {
        const char *json, *words;
    } cases[] = {{"null", "\"config\" is missing or no object"},
                 {"[1]", "\"config\" is missing or no object"},
                 {"{\"epochs\":-5}", "\"epochs\" is -5: expected a whole number from 1 to "},
                 {"{\"epochs\":1.5}", "\"epochs\" is 1.5: expected a whole number"},
                 {"{\"epochs\":1e300}", "\"epochs\" is 1e+300: expected a whole number"},
                 {"{\"batch_size\":0}", "\"batch_size\" is 0: expected a whole number from 1 to "},
                 {"{\"batch_size\":[8]}", "\"batch_size\" is [8]: expected a whole number"},
                 {"{\"lr\":\"nan\"}", "\"lr\" is \"nan\": expected a number"},
                 {"{\"lr\":\"inf\"}", "\"lr\" is \"inf\": expected a number"},
                 {"{\"lr\":-0.1}", "\"lr\" is -0.1: expected a number"},
                 {"{\"seed\":0.5}", "\"seed\" is 0.5: expected a whole number"},
                 {"{\"nesterov\":\"yes\"}", "\"nesterov\" is \"yes\": expected true or false"},
                 {"{\"data\":7}", "\"data\" is 7: expected a text"},
                 {"{\"refine\":\"much\"}", "\"refine\" is \"much\": expected one of "}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rt_config c;
        rt_config_init(&c, method_find("smkd-p"));
        cJSON *o = cJSON_Parse(cases[i].json);
        assert_int_not_equal(rt_config_from_json(&c, o, "config.json"), SMKD_R_OK);
        if (!strstr(smkd_last_error(), cases[i].words) || strncmp(smkd_last_error(), "config.json: ", 13) != 0)
            fail_msg("\"%s\" should say \"%s\"", smkd_last_error(), cases[i].words);
        cJSON_Delete(o);
        rt_config_release(&c);
    }
}

static void json(void **state) {
    (void)state;
    struct rt_config a, b;
    struct str differ = STR_INIT;
    rt_config_init(&a, method_find("smkd-p"));
    rt_config_init(&b, method_find("smkd-p"));
    ok(rt_config_set(&a, "data", "somewhere"));
    ok(rt_config_set(&a, "eta", "inf"));
    ok(rt_config_set(&a, "lr", "0.1234567890123456789"));
    ok(rt_config_set(&a, "nesterov", ""));
    ok(rt_config_set(&a, "seed", "9007199254740991"));
    ok(rt_config_resolve(&a));
    cJSON *o = rt_config_to_json(&a);
    char *text = cJSON_Print(o);
    cJSON_Delete(o);
    o = cJSON_Parse(text);
    ok(rt_config_from_json(&b, o, "config.json"));
    assert_int_equal(rt_config_differences(&a, &b, &differ), 0);
    assert_true(a.lr == b.lr && b.nesterov && isinf(method_number(b.row, &b.values, "eta")) && b.seed == a.seed);
    ok(rt_config_set(&a, "lr", "0.2"));
    ok(rt_config_set(&a, "threads", "3")); // changes no result
    assert_int_equal(rt_config_differences(&a, &b, &differ), 1);
    assert_string_equal(differ.s, "--lr 0.2 (was 0.12345678901234568)");
    cJSON_free(text);
    cJSON_Delete(o);
    str_release(&differ);
    rt_config_release(&a);
    rt_config_release(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(multistep),
        cmocka_unit_test(cosine_and_warmup),
        cmocka_unit_test(plateau),
        cmocka_unit_test(plateau_of_others),
        cmocka_unit_test(patience),
        cmocka_unit_test(gammas),
        cmocka_unit_test(onecycle_edges),
        cmocka_unit_test(thresholds),
        cmocka_unit_test(fixed_by_method),
        cmocka_unit_test(older_config),
        cmocka_unit_test(defaults),
        cmocka_unit_test(refuses),
        cmocka_unit_test(absurd_config),
        cmocka_unit_test(json),
        cmocka_unit_test(impossible_numbers),
        cmocka_unit_test(channel_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
