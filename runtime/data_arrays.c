#include "data_arrays.h"

#include "data.h"
#include "list_internal.h"
#include "npz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MOST_CLASSES = 1 << 20 };

// --- where the bytes of an array are ---------------------------------------------------------------------------------

struct bytes {
    char *name; // for messages: "x.npy", "f.npz: train_x"; owned; NULL: there is no such array
    const void *p;
    size_t size;
    const void *map; // of a file, size bytes
    void *owned;
};

static void bytes_release(struct bytes *b) {
    if (b->map) io_unmap(b->map, b->size);
    free(b->owned);
    free(b->name);
    *b = (struct bytes){0};
}

static enum smkd_result of_file(const char *path, size_t n, struct bytes *b) {
    b->name = xcalloc(n + 1, 1);
    memcpy(b->name, path, n);
    if (io_map(b->name, &b->map, &b->size) != SMKD_OK)
        return rt_fail(SMKD_R_IO, "%s: cannot be read: %s", b->name, io_why());
    b->p = b->map;
    return b->size ? SMKD_R_OK : rt_fail(SMKD_R_INVALID, "%s: is empty; write it with numpy.save", b->name);
}

static enum smkd_result of_entry(const struct rt_npz *z, size_t i, struct bytes *b) {
    struct str s = STR_INIT;
    str_addf(&s, "%s: %s", z->path, rt_npz_name(z, i));
    b->name = s.s;
    enum smkd_result r = rt_npz_read(z, i, &b->owned, &b->size);
    b->p = b->owned;
    return r;
}

// --- x ---------------------------------------------------------------------------------------------------------------

static void add_shape(struct str *s, const struct rt_tensor *t) {
    str_add(s, "[");
    for (int d = 0; d < t->rank; d++) str_addf(s, "%s%lld", d ? "," : "", (long long)t->dims[d]);
    str_add(s, "]");
}

static enum smkd_result bad_shape(const char *name, const struct rt_tensor *t, const char *expected) {
    struct str s = STR_INIT;
    add_shape(&s, t);
    enum smkd_result r = rt_fail(SMKD_R_INVALID, "%s: has shape %s, expected %s", name, s.s, expected);
    str_release(&s);
    return r;
}

// The first float that is infinite or none is refused by its place.
static enum smkd_result check_finite(const char *name, const struct rt_tensor *t) {
    const float *v = t->data;
    size_t i = 0;
    while (i < t->numel && isfinite(v[i])) i++;
    if (i == t->numel) return SMKD_R_OK;
    size_t index[SMKD_ABI_MAX_RANK] = {0}, left = i;
    for (int d = t->rank - 1; d >= 0; left /= (size_t)t->dims[d--]) index[d] = left % (size_t)t->dims[d];
    struct str s = STR_INIT;
    for (int d = 0; d < t->rank; d++) str_addf(&s, "%s%zu", d ? "," : "", index[d]);
    enum smkd_result r =
        rt_fail(SMKD_R_INVALID, "%s: element [%s] is %g; numbers are expected", name, s.s, (double)v[i]);
    str_release(&s);
    return r;
}

// Makes a tensor float32 and takes it over; what it borrows stays the caller's.
static enum smkd_result to_float(const char *name, struct rt_tensor *t) {
    if (t->dtype != RT_F32 && !budget_allows(t->numel * sizeof(float)))
        return rt_fail(SMKD_R_NOMEM, "%s: %s", name, budget_why());
    enum smkd_result r = rt_tensor_convert(t, RT_F32, name, "element");
    return r == SMKD_R_OK ? check_finite(name, t) : r;
}

static enum smkd_result read_x(struct bytes *b, struct rt_array_part *part) {
    struct rt_tensor *x = &part->x;
    enum smkd_result r = rt_npy_view(b->name, b->p, b->size, x);
    if (r != SMKD_R_OK) return r;
    if (x->rank < 2) return bad_shape(b->name, x, "[N,C,H,W], [N,H,W,C], [N,H,W] or [N,F]");
    if (x->numel == 0) return bad_shape(b->name, x, "at least one sample with numbers in it");
    part->n = (size_t)x->dims[0];
    if (x->dtype != RT_U8) r = to_float(b->name, x);
    if (!x->borrowed) return r;
    part->map = b->map;
    part->map_size = b->map ? b->size : 0;
    part->owned = b->owned;
    b->map = b->owned = NULL;
    return r;
}

// --- y ---------------------------------------------------------------------------------------------------------------

static enum smkd_result labels_of(const char *name, struct rt_tensor *y, int classes, int *most,
                                  struct rt_array_part *part) {
    int wide = 0;
    for (int d = 1; d < y->rank; d++) wide += y->dims[d] != 1;
    if (wide) return bad_shape(name, y, "[N], a label for each sample; of rows that mark a class save y.argmax(1)");
    enum smkd_result r = rt_tensor_convert(y, RT_I64, name, "label");
    if (r != SMKD_R_OK) return r;
    const int64_t *v = y->data;
    const int below = classes ? classes : MOST_CLASSES;
    part->labels = xcalloc(part->n, sizeof *part->labels);
    for (size_t i = 0; i < part->n; i++) {
        if (v[i] < 0 || v[i] >= below)
            return rt_fail(SMKD_R_INVALID, "%s: label %zu is %lld, expected 0 to %d%s", name, i, (long long)v[i],
                           below - 1, classes ? ", classes of the model" : "");
        part->labels[i] = (int32_t)v[i];
        if (v[i] > *most) *most = (int)v[i];
    }
    return SMKD_R_OK;
}

static enum smkd_result targets_of(const char *name, struct rt_tensor *y, struct rt_arrays *a,
                                   struct rt_array_part *part) {
    if (y->rank > 2) return bad_shape(name, y, "[N] or [N,T], targets of each sample");
    const int64_t n = y->rank == 2 ? y->dims[1] : 1;
    if (n < 1 || n > INT32_MAX) return bad_shape(name, y, "[N] or [N,T], targets of each sample");
    if (a->n_targets && n != a->n_targets)
        return rt_fail(SMKD_R_MISMATCH, "%s: has %lld targets a sample, the training part has %d", name, (long long)n,
                       a->n_targets);
    a->n_targets = (int)n;
    enum smkd_result r = to_float(name, y);
    if (r != SMKD_R_OK) return r;
    part->targets = xcalloc(y->numel, sizeof *part->targets);
    memcpy(part->targets, y->data, y->numel * sizeof *part->targets);
    return SMKD_R_OK;
}

static enum smkd_result read_y(const struct bytes *b, const char *x_name, const struct rt_arrays_options *o, int *most,
                               struct rt_arrays *a, struct rt_array_part *part) {
    struct rt_tensor y;
    enum smkd_result r = rt_npy_view(b->name, b->p, b->size, &y);
    if (r != SMKD_R_OK) return r;
    const bool labels = o->y == RT_Y_LABELS || (o->y == RT_Y_AUTO && rt_dtype_is_integer(y.dtype));
    if (y.rank == 0 || (size_t)y.dims[0] != part->n)
        r = rt_fail(SMKD_R_MISMATCH, "%s: is for %lld samples, %s has %zu", b->name, y.rank ? (long long)y.dims[0] : 1,
                    x_name, part->n);
    else if (part == &a->test && labels != !a->train.targets)
        r = rt_fail(SMKD_R_MISMATCH, "%s: has %s, the training part has %s", b->name, labels ? "labels" : "targets",
                    labels ? "targets" : "labels");
    else
        r = labels ? labels_of(b->name, &y, o->classes, most, part) : targets_of(b->name, &y, a, part);
    rt_tensor_release(&y);
    return r;
}

// --- both parts ------------------------------------------------------------------------------------------------------

enum { TRAIN_X, TRAIN_Y, TEST_X, TEST_Y, N_ARRAYS };

static enum smkd_result same_samples(const char *name, const struct rt_tensor *x, const struct rt_tensor *train) {
    bool same = x->rank == train->rank;
    for (int d = 1; d < x->rank && same; d++) same = x->dims[d] == train->dims[d];
    if (same && x->dtype == train->dtype) return SMKD_R_OK;
    struct str s = STR_INIT, t = STR_INIT;
    add_shape(&s, x);
    add_shape(&t, train);
    enum smkd_result r = rt_fail(SMKD_R_MISMATCH, "%s: is %s %s, the training part is %s %s", name,
                                 rt_dtype_name(x->dtype), s.s, rt_dtype_name(train->dtype), t.s);
    str_release(&s);
    str_release(&t);
    return r;
}

static enum smkd_result read_parts(struct bytes b[N_ARRAYS], const struct rt_arrays_options *o, struct rt_arrays *a) {
    struct rt_array_part *const parts[] = {&a->train, &a->test};
    enum smkd_result r = SMKD_R_OK;
    int most = -1;
    a->has_test = b[TEST_X].name;
    for (int p = 0; p < 1 + a->has_test && r == SMKD_R_OK; p++) {
        struct bytes *x = &b[2 * p], *y = &b[2 * p + 1];
        r = read_x(x, parts[p]);
        if (r == SMKD_R_OK && p) r = same_samples(x->name, &a->test.x, &a->train.x);
        if (r == SMKD_R_OK) r = read_y(y, x->name, o, &most, a, parts[p]);
    }
    a->classes = most + 1;
    return r;
}

// --- files, by commas ------------------------------------------------------------------------------------------------

static bool ends_in(const char *text, size_t n, const char *suffix) {
    size_t s = strlen(suffix);
    return n > s && strncasecmp(text + n - s, suffix, s) == 0;
}

static enum smkd_result of_files(const char *where, struct bytes b[N_ARRAYS]) {
    size_t n = 0;
    enum smkd_result r = SMKD_R_OK;
    for (const char *p = where; p && r == SMKD_R_OK; n++) {
        size_t len = strcspn(p, ",");
        if (n < N_ARRAYS) r = of_file(p, len, &b[n]);
        p = p[len] ? p + len + 1 : NULL;
    }
    if (r == SMKD_R_OK && n != 2 && n != N_ARRAYS)
        return rt_fail(SMKD_R_INVALID,
                       "%s: %zu array%s; expected train_x.npy,train_y.npy or, with test data, "
                       "train_x.npy,train_y.npy,test_x.npy,test_y.npy",
                       where, n, n == 1 ? "" : "s");
    return r;
}

// --- an archive, by names --------------------------------------------------------------------------------------------

// What an array is called: x_train, train_x, Train_Images, x.
static bool role_of(const char *name, enum list_part *part, bool *y) {
    static const char *const words[2][5] = {{"x", "images", "data", "features", NULL},
                                            {"y", "labels", "label", "targets", NULL}};
    char text[40], *token[2];
    size_t n = strlen(name);
    if (ends_in(name, n, ".npy")) n -= 4;
    if (n >= sizeof text) return false;
    memcpy(text, name, n);
    text[n] = 0;
    token[0] = text;
    token[1] = strchr(text, '_');
    if (token[1]) *token[1]++ = 0;
    *part = token[1] ? LIST_PARTS : LIST_TRAIN;
    for (int t = 0; t < 2 && token[1]; t++) {
        if ((*part = list_part_of(token[t])) == LIST_PARTS) continue;
        token[0] = token[1 - t];
        break;
    }
    for (int role = 0; role < 2; role++)
        for (const char *const *w = words[role]; *w; w++)
            if (strcasecmp(*w, token[0]) == 0) {
                *y = role;
                return *part != LIST_PARTS;
            }
    return false;
}

static enum smkd_result of_archive(const char *where, const struct rt_arrays_options *o, struct bytes b[N_ARRAYS]) {
    struct rt_npz z;
    size_t entry[LIST_PARTS][2]; // x and y of each part, number + 1
    struct str names = STR_INIT;
    memset(entry, 0, sizeof entry);
    enum smkd_result r = rt_npz_open(where, &z);
    for (size_t i = 0; r == SMKD_R_OK && i < z.n; i++) {
        enum list_part part;
        bool y;
        const char *name = rt_npz_name(&z, i);
        if (names.len < 200) str_addf(&names, "%s%.60s", i ? ", " : "", name ? name : "?");
        if (!name || !role_of(name, &part, &y)) continue;
        if (entry[part][y])
            r = rt_fail(SMKD_R_INVALID, "%s: %s and %s are both %s of the %s part", where,
                        rt_npz_name(&z, entry[part][y] - 1), name, y ? "y" : "x",
                        part == LIST_TRAIN ? "training"
                        : part == LIST_VAL ? "val"
                                           : "test");
        entry[part][y] = i + 1;
    }
    const size_t *val = entry[LIST_VAL], *test = entry[LIST_TEST];
    enum list_part chosen = LIST_TRAIN;
    if (r == SMKD_R_OK && !(entry[LIST_TRAIN][0] && entry[LIST_TRAIN][1]))
        r = rt_fail(SMKD_R_INVALID,
                    "%s: expected arrays train_x and train_y (or x_train, y_train), and test_x, test_y; "
                    "it has %s",
                    where, names.s ? names.s : "none");
    if (r == SMKD_R_OK && (!val[0] != !val[1] || !test[0] != !test[1]))
        r = rt_fail(SMKD_R_INVALID, "%s: x and y of a part are needed; it has %s", where, names.s);
    if (r == SMKD_R_OK) r = list_test_part(where, o->test_split, val[0], test[0], &chosen);
    for (int k = 0; k < N_ARRAYS && r == SMKD_R_OK; k++) {
        const enum list_part part = k < TEST_X ? LIST_TRAIN : chosen;
        if (k < TEST_X || chosen != LIST_TRAIN) r = of_entry(&z, entry[part][k % 2] - 1, &b[k]);
    }
    str_release(&names);
    rt_npz_close(&z);
    return r;
}

// --- all of it -------------------------------------------------------------------------------------------------------

bool rt_arrays_detect(const char *where) {
    size_t n = strlen(where);
    if (ends_in(where, n, ".npz")) return !list_is_folder(where);
    for (const char *p = where;; p += strcspn(p, ",") + 1) {
        size_t len = strcspn(p, ",");
        if (!ends_in(p, len, ".npy")) return false;
        if (!p[len]) return true;
    }
}

static void set_name(struct rt_arrays *a, const char *where) {
    size_t n = strcspn(where, ","), start = n;
    while (start && where[start - 1] != '/') start--;
    snprintf(a->name, sizeof a->name, "%.*s", (int)(n - start - strlen(".npy")), where + start);
}

enum smkd_result rt_arrays_load(const char *where, const struct rt_arrays_options *o, struct rt_arrays *out) {
    static const struct rt_arrays_options plain = {0};
    struct bytes b[N_ARRAYS] = {{0}};
    *out = (struct rt_arrays){0};
    if (!o) o = &plain;
    CHECK(rt_arrays_detect(where), "%s: no arrays", where);
    doing("reading the arrays of %s", where);
    set_name(out, where);
    enum smkd_result r = ends_in(where, strlen(where), ".npz") ? of_archive(where, o, b) : of_files(where, b);
    if (r == SMKD_R_OK) r = read_parts(b, o, out);
    for (int k = 0; k < N_ARRAYS; k++) bytes_release(&b[k]);
    return r;
}

void rt_arrays_release(struct rt_arrays *a) {
    struct rt_array_part *const parts[] = {&a->train, &a->test};
    for (int p = 0; p < 2; p++) {
        rt_tensor_release(&parts[p]->x);
        free(parts[p]->labels);
        free(parts[p]->targets);
        free(parts[p]->owned);
        if (parts[p]->map) io_unmap(parts[p]->map, parts[p]->map_size);
    }
    *a = (struct rt_arrays){0};
}

enum smkd_result rt_arrays_image(const struct rt_arrays *a, const char *layout, struct rt_array_image *out) {
    const struct rt_tensor *x = &a->train.x;
    const int64_t *d = x->dims;
    *out = (struct rt_array_image){0};
    for (int i = 1; i < x->rank; i++)
        if (d[i] > INT32_MAX) return bad_shape(a->name, x, "smaller samples");
    if (x->rank == 3) *out = (struct rt_array_image){1, (int)d[1], (int)d[2], false};
    if (x->rank != 4) return SMKD_R_OK;
    bool last = d[1] > RT_MAX_CHANNELS && d[3] <= RT_MAX_CHANNELS;
    if (layout && strcmp(layout, "auto") != 0) last = strcmp(layout, "nhwc") == 0;
    *out = (struct rt_array_image){(int)d[last ? 3 : 1], (int)d[last ? 1 : 2], (int)d[last ? 2 : 3], last};
    return SMKD_R_OK;
}
