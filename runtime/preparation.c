#include "preparation.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void rt_preparation_init(struct rt_preparation *p) { *p = (struct rt_preparation){.resize = -1, .how = -1}; }

static void release_names(struct rt_preparation *p) {
    for (int i = 0; i < p->n_class_names; i++) free(p->class_names[i]);
    free(p->class_names);
    p->class_names = NULL;
    p->n_class_names = 0;
}

void rt_preparation_release(struct rt_preparation *p) {
    release_names(p);
    rt_preparation_init(p);
}

static void add_copy(struct rt_preparation *p, const char *name) {
    size_t n = strlen(name) + 1;
    p->class_names[p->n_class_names++] = memcpy(xmalloc(n), name, n);
}

void rt_preparation_set_names(struct rt_preparation *p, const char *const *names, int n) {
    release_names(p);
    p->class_names = xcalloc((size_t)n + 1, sizeof *p->class_names);
    for (int i = 0; i < n; i++) add_copy(p, names[i]);
}

void rt_preparation_of_run(struct rt_preparation *p, const struct rt_transform *t, const struct rt_dataset *set) {
    const struct rt_transform_options *o = t->pipeline ? &t->pipeline->o : NULL;
    const float *mean = o ? o->mean : set->mean, *std = o ? o->std : set->std;
    p->channels = o ? o->channels : t->src_channels;
    CHECK(p->channels <= RT_MAX_CHANNELS, "more channels than RT_MAX_CHANNELS");
    for (int c = 0; c < p->channels; c++) {
        p->mean[c] = mean[c];
        p->std[c] = std[c];
    }
    if (set->class_names) rt_preparation_set_names(p, (const char *const *)set->class_names, set->classes);
    if (set->train.values) return; // numbers of somebody's own making say nothing of image files
    p->resize = o ? o->val_resize : t->src_height < t->src_width ? t->src_height : t->src_width;
    p->crop_height = o ? o->height : t->height;
    p->crop_width = o ? o->width : t->width;
    p->how = o ? (int)o->how : RT_BILINEAR;
}

// --- as texts --------------------------------------------------------------------------------------------------------

// The shortest text that reads back as the same float.
static void add_float(struct str *s, float v) {
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)v);
        if (strtof(text, NULL) == v) break;
    }
    str_add(s, text);
}

static void add_floats(cJSON *o, const char *key, const float *v, int n) {
    struct str s = STR_INIT;
    for (int i = 0; i < n; i++) {
        if (i) str_add(&s, ",");
        add_float(&s, v[i]);
    }
    cJSON_AddStringToObject(o, key, s.s);
    str_release(&s);
}

cJSON *rt_preparation_json(const struct rt_preparation *p) {
    cJSON *o = cJSON_CreateObject();
    struct str s = STR_INIT;
    if (p->channels) {
        add_floats(o, "smkd.mean", p->mean, p->channels);
        add_floats(o, "smkd.std", p->std, p->channels);
    }
    if (p->resize >= 0) {
        str_addf(&s, "%d", p->resize);
        cJSON_AddStringToObject(o, "smkd.resize", s.s);
    }
    if (p->crop_height) {
        str_clear(&s);
        str_addf(&s, "%dx%d", p->crop_height, p->crop_width);
        cJSON_AddStringToObject(o, "smkd.crop", s.s);
    }
    if (p->how >= 0) cJSON_AddStringToObject(o, "smkd.interpolation", rt_interpolations[p->how]);
    if (p->n_class_names) {
        str_clear(&s);
        for (int i = 0; i < p->n_class_names; i++) {
            str_add(&s, i ? "," : "[");
            str_add_json(&s, p->class_names[i]);
        }
        str_add(&s, "]");
        cJSON_AddStringToObject(o, "smkd.class_names", s.s);
    }
    str_release(&s);
    return o;
}

// --- from texts ------------------------------------------------------------------------------------------------------

static enum smkd_result read_floats(const char *text, float *out, int *n) {
    *n = 0;
    for (;;) {
        char one[64];
        double v;
        size_t len = strcspn(text, ",");
        if (*n == RT_MAX_CHANNELS || len >= sizeof one) return SMKD_R_INVALID;
        memcpy(one, text, len);
        one[len] = 0;
        if (!parse_f64(one, &v) || !(fabs(v) <= 1e6)) return SMKD_R_INVALID;
        out[(*n)++] = (float)v;
        if (!text[len]) return SMKD_R_OK;
        text += len + 1;
    }
}

static enum smkd_result read_mean(struct rt_preparation *p, const char *text) {
    return read_floats(text, p->mean, &p->channels);
}

static enum smkd_result read_std(struct rt_preparation *p, const char *text) {
    int n;
    enum smkd_result r = read_floats(text, p->std, &n);
    if (n != p->channels) r = SMKD_R_INVALID;
    for (int i = 0; i < n && r == SMKD_R_OK; i++)
        if (!(p->std[i] >= 1e-6f)) r = SMKD_R_INVALID;
    return r;
}

enum { MAX_SIDE = 1 << 14 };

static enum smkd_result read_resize(struct rt_preparation *p, const char *text) {
    int64_t v;
    if (!parse_i64(text, &v) || v < 0 || v > MAX_SIDE) return SMKD_R_INVALID;
    p->resize = (int)v;
    return SMKD_R_OK;
}

static enum smkd_result read_crop(struct rt_preparation *p, const char *text) {
    char height[16];
    size_t len = strcspn(text, "x");
    int64_t h, w;
    if (!text[len] || len >= sizeof height) return SMKD_R_INVALID;
    memcpy(height, text, len);
    height[len] = 0;
    if (!parse_i64(height, &h) || !parse_i64(text + len + 1, &w) || h < 1 || w < 1 || h > MAX_SIDE || w > MAX_SIDE)
        return SMKD_R_INVALID;
    p->crop_height = (int)h;
    p->crop_width = (int)w;
    return SMKD_R_OK;
}

static enum smkd_result read_how(struct rt_preparation *p, const char *text) {
    for (int i = 0; rt_interpolations[i]; i++)
        if (strcmp(text, rt_interpolations[i]) == 0) {
            p->how = i;
            return SMKD_R_OK;
        }
    return SMKD_R_INVALID;
}

static enum smkd_result read_names(struct rt_preparation *p, const char *text) {
    cJSON *list = json_refused(text, strlen(text)) ? NULL : cJSON_Parse(text);
    const cJSON *one;
    enum smkd_result r = cJSON_IsArray(list) ? SMKD_R_OK : SMKD_R_INVALID;
    release_names(p);
    p->class_names = xcalloc((size_t)(list ? cJSON_GetArraySize(list) : 0) + 1, sizeof *p->class_names);
    cJSON_ArrayForEach(one, list) {
        if (cJSON_IsString(one))
            add_copy(p, one->valuestring);
        else
            r = SMKD_R_INVALID;
    }
    cJSON_Delete(list);
    return r;
}

enum smkd_result rt_preparation_read(struct rt_preparation *p, const cJSON *o, const char *where) {
    static const struct {
        const char *key;
        enum smkd_result (*read)(struct rt_preparation *p, const char *text);
        const char *expected;
    } keys[] = {
        {"smkd.mean", read_mean, "one to four numbers such as 0.485,0.456,0.406"},
        {"smkd.std", read_std, "as many positive numbers as smkd.mean has"},
        {"smkd.resize", read_resize, "a number of pixels, up to 16384"},
        {"smkd.crop", read_crop, "HEIGHTxWIDTH, each up to 16384"},
        {"smkd.interpolation", read_how, "nearest, box, bilinear, hamming, bicubic or lanczos"},
        {"smkd.class_names", read_names, "a JSON array of texts"},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, keys[i].key);
        if (!v) continue;
        const char *text = cJSON_GetStringValue(v);
        if (!text || keys[i].read(p, text) != SMKD_R_OK)
            return rt_fail(SMKD_R_INVALID, "%s: %s is \"%.60s\": expected %s", where, keys[i].key,
                           text ? text : "no text", keys[i].expected);
    }
    // Both or none: a mean alone is no normalisation.
    if (p->channels && !(p->std[0] > 0)) p->channels = 0;
    return SMKD_R_OK;
}

enum smkd_result rt_preparation_of_artifact(struct rt_preparation *p, const smkd_model *m, const char *path) {
    const char *notes = smkd_model_info(m)->notes;
    cJSON *o = notes ? cJSON_Parse(notes) : NULL;
    struct str where = STR_INIT;
    str_addf(&where, "%s: metadata", path);
    enum smkd_result r = rt_preparation_read(p, cJSON_GetObjectItemCaseSensitive(o, SMKD_NOTE_METADATA), where.s);
    str_release(&where);
    cJSON_Delete(o);
    return r;
}
