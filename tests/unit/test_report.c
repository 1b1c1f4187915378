// Reports of evaluations: numbers worked out by hand, names in tables, CSV and JSON. (numpy's:
// tests/oracle/test_report.py)
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../../runtime/report.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <string.h>

static void near(double a, double b) {
    if (!(fabs(a - b) <= 1e-9)) fail_msg("%.17g is not %.17g", a, b);
}

// Of four images: right at 0.9, wrong at 0.6, right at 0.6, wrong at 0.5.
static void fill(struct rt_report *r) {
    static const double p[4][3] = {{.9, .1, 0}, {.2, .6, .2}, {.2, .6, .2}, {.1, .4, .5}};
    static const int labels[] = {0, 0, 1, 1};
    rt_report_init(r, 3, 0);
    for (int i = 0; i < 4; i++) rt_report_add(r, NULL, p[i], labels[i]);
    rt_report_finish(r);
}

static void numbers(void **state) {
    (void)state;
    struct rt_report r;
    fill(&r);
    near(rt_score_top1(&r.score), 50);
    near(rt_score_top5(&r.score), 100);
    // Of the two at 0.6 either may be first: 0, then 1/2 * 1 of 2 or 1 of 3, then 1 of 3, then 2 of 4.
    near(r.aurc, 1000 * (0 + .5 / 2 + 1. / 3 + .5) / 4);
    near(r.aurc - r.eaurc, 1000 * (1. / 3 + 2. / 4) / 4); // the order right, right, wrong, wrong
    near(r.per_class[0].precision, 100);
    near(r.per_class[0].recall, 50);
    near(r.per_class[0].f1, 200. / 3);
    near(r.per_class[1].precision, 50);
    near(r.per_class[2].precision, 0);
    assert_true(isnan(r.per_class[2].recall)); // it has no image
    near(r.per_class[2].f1, 0);
    near(r.macro_precision, 50);
    near(r.macro_recall, 100. / 3);
    assert_int_equal(r.per_class[1].support, 2);
    assert_int_equal(r.per_class[1].predicted, 2);
    rt_report_release(&r);
}

// In whatever order images come, the same bits.
static void order_does_not_matter(void **state) {
    (void)state;
    double first = 0;
    for (unsigned stride = 1; stride < 101; stride += 7) {
        struct rt_report r;
        rt_report_init(&r, 2, 0);
        for (unsigned i = 0; i < 101; i++) {
            unsigned j = i * stride % 101;
            double c = .5 + (double)(j * j % 13) / 26, p[] = {c, 1 - c};
            rt_report_add(&r, NULL, p, j % 3 == 0);
        }
        rt_report_finish(&r);
        if (stride == 1) first = r.aurc;
        assert_memory_equal(&r.aurc, &first, sizeof first);
        rt_report_release(&r);
    }
}

static void not_a_number(void **state) {
    (void)state;
    struct rt_report r;
    rt_report_init(&r, 2, 0);
    rt_report_add(&r, (const float[]){NAN, NAN}, (const double[]){NAN, NAN}, 0);
    rt_report_add(&r, (const float[]){NAN, 1}, (const double[]){NAN, NAN}, 1);
    rt_report_finish(&r);
    assert_int_equal(r.per_class[0].support, 1);
    assert_int_equal(r.per_class[0].predicted, 0);
    assert_int_equal(r.per_class[1].hits, 1);
    near(rt_score_top1(&r.score), 50);
    near(r.aurc, 1000 * (.5 + .5) / 2);
    rt_report_release(&r);
    rt_report_init(&r, 2, 0);
    rt_report_finish(&r);
    assert_true(isnan(r.aurc) && isnan(r.macro_f1));
    rt_report_release(&r);
}

static const char *const names[] = {"a, \"b\"", "K\xc3\xa4tzchen", "two\nlines\x1b[1m"};

static void csv(void **state) {
    (void)state;
    struct rt_report r;
    struct str s = STR_INIT;
    fill(&r);
    rt_report_csv_head(&r, &(struct rt_class_names){names, 3}, &s);
    rt_report_csv(&r, &(struct rt_class_names){names, 3}, "peer 0", &s);
    assert_string_equal(s.s, "network,class,\"a, \"\"b\"\"\",K\xc3\xa4tzchen,\"two\nlines\x1b[1m\"\n"
                             "peer 0,\"a, \"\"b\"\"\",1,1,0\n"
                             "peer 0,K\xc3\xa4tzchen,0,1,1\n"
                             "peer 0,\"two\nlines\x1b[1m\",0,0,0\n");
    str_clear(&s);
    rt_report_csv_head(&r, NULL, &s);
    assert_string_equal(s.s, "network,class,0,1,2\n");
    str_release(&s);
    rt_report_release(&r);
}

static void tables(void **state) {
    (void)state;
    struct rt_report r;
    struct str s = STR_INIT;
    fill(&r);
    rt_report_confusion(&r, &(struct rt_class_names){names, 2}, &s); // the third has no name
    assert_string_equal(s.s, "class \\ predicted 0 1 2\n"
                             "0 a, \"b\"          1 1 .\n"
                             "1 K\xc3\xa4tzchen        . 1 1\n"
                             "2                 . . .\n");
    str_clear(&s);
    rt_report_per_class(&r, &(struct rt_class_names){names, 3}, &s);
    assert_string_equal(s.s, "class                    images predicted  precision     recall         F1\n"
                             "0 a, \"b\"                      2         1     100.00      50.00      66.67\n"
                             "1 K\xc3\xa4tzchen                    2         2      50.00      50.00      50.00\n"
                             "2 two\\x0alines\\x1b[1m         0         1       0.00          -       0.00\n"
                             "mean over classes             4                50.00      33.33      38.89\n");
    str_release(&s);
    rt_report_release(&r);
}

static void json(void **state) {
    (void)state;
    struct rt_report r;
    fill(&r);
    cJSON *o = rt_report_json(&r, &(struct rt_class_names){names, 3});
    char *text = cJSON_PrintUnformatted(o);
    cJSON *back = cJSON_Parse(text);
    assert_non_null(back);
    const cJSON *classes = cJSON_GetObjectItem(back, "classes");
    for (int c = 0; c < 3; c++)
        assert_string_equal(cJSON_GetObjectItem(cJSON_GetArrayItem(classes, c), "name")->valuestring, names[c]);
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(cJSON_GetArrayItem(classes, 2), "recall")));
    assert_non_null(strstr(text, "\"confusion\":[[0,0,1],[0,1,1],[1,1,1],[1,2,1]]"));
    cJSON_free(text);
    cJSON_Delete(back);
    cJSON_Delete(o);
    rt_report_release(&r);
}

// Fields and strings by themselves: names of files may be anything.
static void fields(void **state) {
    (void)state;
    static const struct {
        const char *text, *csv, *json;
    } cases[] = {{"", "", "\"\""},
                 {"plain", "plain", "\"plain\""},
                 {" x", "\" x\"", "\" x\""},
                 {"x\t", "\"x\t\"", "\"x\\u0009\""},
                 {"a b", "a b", "\"a b\""},
                 {"\"", "\"\"\"\"", "\"\\\"\""},
                 {"a\rb", "\"a\rb\"", "\"a\\u000db\""},
                 {"a,b\nc\\", "\"a,b\nc\\\"", "\"a,b\\u000ac\\\\\""},
                 {"\xc3\xa4\xf0\x9f\x98\x80", "\xc3\xa4\xf0\x9f\x98\x80", "\"\xc3\xa4\xf0\x9f\x98\x80\""},
                 {"\xff.\xc3", "\xff.\xc3", "\"\\udcff.\\udcc3\""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str s = STR_INIT;
        str_add(&s, "");
        str_add_csv(&s, cases[i].text);
        assert_string_equal(s.s, cases[i].csv);
        str_clear(&s);
        str_add_json(&s, cases[i].text);
        assert_string_equal(s.s, cases[i].json);
        str_release(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),      cmocka_unit_test(order_does_not_matter),
        cmocka_unit_test(not_a_number), cmocka_unit_test(csv),
        cmocka_unit_test(tables),       cmocka_unit_test(json),
        cmocka_unit_test(fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
