// How images are prepared, as texts: the same numbers come back, whatever they are, and names are anybody's.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../../runtime/preparation.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

static void back(const struct rt_preparation *p, struct rt_preparation *q) {
    cJSON *o = rt_preparation_json(p);
    char *text = cJSON_PrintUnformatted(o);
    cJSON *again = cJSON_Parse(text);
    rt_preparation_init(q);
    if (rt_preparation_read(q, again, "here") != SMKD_R_OK) fail_msg("%s: %s", smkd_last_error(), text);
    cJSON_free(text);
    cJSON_Delete(again);
    cJSON_Delete(o);
}

static void numbers_come_back(void **state) {
    (void)state;
    struct rt_preparation p, q;
    srand(5);
    for (int i = 0; i < 2000; i++) {
        rt_preparation_init(&p);
        p.channels = 1 + i % 4;
        for (int c = 0; c < p.channels; c++) {
            p.mean[c] = (float)rand() / (float)RAND_MAX - 0.5f;
            p.std[c] = (float)rand() / (float)RAND_MAX + 1e-3f;
        }
        p.resize = rand() % 1000;
        p.crop_height = 1 + rand() % 500;
        p.crop_width = 1 + rand() % 500;
        p.how = i % 6;
        back(&p, &q);
        assert_int_equal(p.channels, q.channels);
        assert_memory_equal(p.mean, q.mean, (size_t)p.channels * sizeof(float));
        assert_memory_equal(p.std, q.std, (size_t)p.channels * sizeof(float));
        assert_true(p.resize == q.resize && p.crop_height == q.crop_height && p.crop_width == q.crop_width);
        assert_int_equal(p.how, q.how);
        assert_int_equal(q.n_class_names, 0);
    }
}

static void names_come_back(void **state) {
    (void)state;
    static const char *const names[] = {"",         "a,b",  "\"quoted\"",  "back\\slash",     "two\nlines",
                                        "tab\tbed", "\x01", "K\xc3\xa4se", "\xf0\x9f\x98\x80"};
    enum { N = sizeof names / sizeof *names };
    struct rt_preparation p, q;
    rt_preparation_init(&p);
    rt_preparation_set_names(&p, names, N);
    back(&p, &q);
    assert_int_equal(q.n_class_names, N);
    for (int i = 0; i < N; i++) assert_string_equal(q.class_names[i], names[i]);
    assert_true(q.channels == 0 && q.resize == -1 && q.crop_height == 0 && q.how == -1);
    rt_preparation_set_names(&q, NULL, 0);
    assert_int_equal(q.n_class_names, 0);
    rt_preparation_release(&p);
    rt_preparation_release(&q);
}

static void read_text(const char *json, struct rt_preparation *p, enum smkd_result *r) {
    cJSON *o = cJSON_Parse(json);
    assert_non_null(o);
    rt_preparation_init(p);
    *r = rt_preparation_read(p, o, "M.smkd: metadata");
    cJSON_Delete(o);
}

static void what_is_missing(void **state) {
    (void)state;
    struct rt_preparation p;
    enum smkd_result r;
    rt_preparation_init(&p);
    assert_int_equal(rt_preparation_read(&p, NULL, "here"), SMKD_R_OK);
    assert_int_equal(p.channels, 0);
    read_text("{\"smkd.mean\":\"0.5\",\"smkd.loss\":7}", &p, &r); // a mean alone; a key of others
    assert_int_equal(r, SMKD_R_OK);
    assert_int_equal(p.channels, 0);
    read_text("{\"smkd.class_names\":\"[]\",\"smkd.resize\":\"0\"}", &p, &r);
    assert_true(r == SMKD_R_OK && p.n_class_names == 0 && p.resize == 0);
    rt_preparation_release(&p);
}

static void refused(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"smkd.mean", "{\"smkd.mean\":0.5}"},
        {"smkd.mean", "{\"smkd.mean\":\"\"}"},
        {"smkd.mean", "{\"smkd.mean\":\"0.5,\"}"},
        {"smkd.mean", "{\"smkd.mean\":\"inf\"}"},
        {"smkd.mean", "{\"smkd.mean\":\"1,2,3,4,5\"}"},
        {"smkd.std", "{\"smkd.mean\":\"0,0,0\",\"smkd.std\":\"1\"}"},
        {"smkd.std", "{\"smkd.mean\":\"0\",\"smkd.std\":\"0\"}"},
        {"smkd.std", "{\"smkd.mean\":\"0\",\"smkd.std\":\"-1\"}"},
        {"smkd.std", "{\"smkd.std\":\"1\"}"},
        {"smkd.resize", "{\"smkd.resize\":\"16385\"}"},
        {"smkd.resize", "{\"smkd.resize\":\"1.5\"}"},
        {"smkd.crop", "{\"smkd.crop\":\"x\"}"},
        {"smkd.crop", "{\"smkd.crop\":\"0x4\"}"},
        {"smkd.crop", "{\"smkd.crop\":\"4x4x4\"}"},
        {"smkd.interpolation", "{\"smkd.interpolation\":\"\"}"},
        {"smkd.class_names", "{\"smkd.class_names\":\"{}\"}"},
        {"smkd.class_names", "{\"smkd.class_names\":\"[1]\"}"},
        {"smkd.class_names", "{\"smkd.class_names\":\"[\\\"a\\\\u0000b\\\"]\"}"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rt_preparation p;
        enum smkd_result r;
        read_text(bad[i][1], &p, &r);
        if (r == SMKD_R_OK || !strstr(smkd_last_error(), bad[i][0]) || !strstr(smkd_last_error(), "M.smkd: metadata: "))
            fail_msg("%s: %s", bad[i][1], r == SMKD_R_OK ? "taken" : smkd_last_error());
        rt_preparation_release(&p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_come_back),
        cmocka_unit_test(names_come_back),
        cmocka_unit_test(what_is_missing),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
