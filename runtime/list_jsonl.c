// JSON Lines: an object a line with the keys that a table has as columns. The first one's keys are the header.
#include "list_table.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// The object of a line; NULL after a failure.
static cJSON *object(const struct list_text *l, enum smkd_result *r) {
    const char *wrong = json_refused(l->line, l->n), *end = NULL;
    cJSON *o = wrong ? NULL : cJSON_ParseWithLengthOpts(l->line, l->n, &end, false);
    if (!wrong && !o) wrong = "is not JSON";
    if (o && end < l->line + l->n) wrong = "has something behind its object";
    if (!wrong && !cJSON_IsObject(o)) wrong = "is no object, {...}";
    if (!wrong) return o;
    *r = list_fail(l->at, "%s", wrong);
    cJSON_Delete(o);
    return NULL;
}

static enum smkd_result header(struct list_table *t, const cJSON *o, char *keys[3]) {
    struct list_columns c = {xcalloc((size_t)cJSON_GetArraySize(o) + 1, sizeof(char *)), 0};
    const cJSON *v;
    cJSON_ArrayForEach(v, o) c.name[c.n++] = v->string;
    enum smkd_result r = list_table_columns(t, &c);
    const int taken[] = {t->path, t->label, t->split};
    for (int i = 0; i < 3 && r == SMKD_R_OK; i++) {
        if (taken[i] < 0) continue;
        size_t n = strlen(c.name[taken[i]]) + 1;
        keys[i] = memcpy(xmalloc(n), c.name[taken[i]], n);
    }
    free(c.name);
    return r;
}

// A value as text: a string, a whole number, true or false. `room` holds what is no string.
static enum smkd_result text_of(const cJSON *o, const char *key, struct list_place at, char room[32],
                                struct list_cell *out) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    const char *s = cJSON_GetStringValue(v);
    if (!v) return list_fail(at, "there is no \"%.60s\"", key);
    if (cJSON_IsBool(v)) s = cJSON_IsTrue(v) ? "true" : "false";
    if (cJSON_IsNumber(v) && v->valuedouble == floor(v->valuedouble) && fabs(v->valuedouble) <= 0x1p53) {
        snprintf(room, 32, "%.0f", v->valuedouble);
        s = room;
    }
    if (cJSON_IsNull(v)) s = ""; // not labelled
    if (!s) return list_fail(at, "\"%.60s\" is neither text nor a whole number", key);
    *out = (struct list_cell){s, strlen(s)};
    return SMKD_R_OK;
}

enum smkd_result list_jsonl(struct list_job *j) {
    struct list_table t;
    struct list_text l;
    char *keys[3] = {NULL, NULL, NULL}; // path, label, split
    list_table_open(&t, j);
    enum smkd_result r = list_text_open(j, j->where, &l);
    if (r != SMKD_R_OK) return r;
    while (r == SMKD_R_OK && list_text_next(&l)) {
        cJSON *o = object(&l, &r);
        if (o && !keys[0]) {
            t.header = l.at;
            r = header(&t, o, keys);
        }
        struct list_cell cell[3];
        char room[3][32];
        for (int i = 0; i < 3 && r == SMKD_R_OK; i++)
            if (keys[i]) r = text_of(o, keys[i], l.at, room[i], &cell[i]);
        if (r == SMKD_R_OK) r = list_table_row(&t, l.at, &cell[0], &cell[1], keys[2] ? &cell[2] : NULL);
        cJSON_Delete(o);
    }
    for (int i = 0; i < 3; i++) free(keys[i]);
    list_text_close(&l);
    return r;
}
