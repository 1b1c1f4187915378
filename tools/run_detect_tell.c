// What smkd-run detect-noise leaves behind and says: tables, labels for a next run, a summary.
#include "run_detect.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static enum smkd_result write_text(const char *path, const struct str *s) {
    if (io_write_file(path, s->s, s->len) == SMKD_OK) return SMKD_R_OK;
    return rt_fail(SMKD_R_IO, "%s: cannot be written: %s", path, strerror(errno));
}

// --- the table of suspects -------------------------------------------------------------------------------------------

static void add_name(const struct detect *d, int32_t c, struct str *out) {
    if (!d->names.name) return;
    str_add(out, ",");
    if (c >= 0 && c < d->names.n) str_add_csv(out, d->names.name[c]);
}

static void add_line(const struct detect *d, size_t image, const size_t *row, struct str *out) {
    const int32_t given = d->given[image];
    const struct rt_images *im = &d->data.set.train;
    str_addf(out, "%zu,", image);
    if (im->paths) {
        str_add_csv(out, rt_images_path(im, image));
        str_add(out, ",");
    }
    str_addf(out, "%d", given);
    add_name(d, given, out);
    if (row) {
        const int32_t proposed = d->evidence.proposed[*row];
        char score[RT_NUMBER_TEXT];
        rt_number_text(d->verdict.score[*row], score);
        str_addf(out, ",%d", proposed);
        add_name(d, proposed, out);
        str_addf(out, ",%s,%s", score, d->verdict.noisy[*row] ? "noisy" : "clean");
    } else { // its file could not be decoded
        str_add(out, ",");
        add_name(d, -1, out);
        str_add(out, ",,unread");
    }
    if (d->truth) str_addf(out, ",%d", d->truth[image]);
    str_add(out, "\n");
}

static enum smkd_result write_table(const struct detect *d, const char *path) {
    struct str s = STR_INIT;
    const bool names = d->names.name != NULL;
    str_addf(&s, "sample,%sgiven,%sproposed,%sscore,verdict%s\n", d->data.set.train.paths ? "path," : "",
             names ? "given_name," : "", names ? "proposed_name," : "", d->truth ? ",true" : "");
    for (size_t image = 0, row = 0; image < d->images; image++) {
        const bool judged = row < d->evidence.n && d->evidence.image[row] == image;
        add_line(d, image, judged ? &row : NULL, &s);
        row += judged;
    }
    enum smkd_result r = write_text(path, &s);
    str_release(&s);
    return r;
}

static enum smkd_result write_curve(const struct detect *d, const char *path) {
    struct str s = STR_INIT;
    rt_finding_curve(&d->evidence, &d->verdict, d->truth, &s);
    enum smkd_result r = write_text(path, &s);
    str_release(&s);
    return r;
}

// A row for each training image; of those that could not be decoded NaN.
static enum smkd_result write_probs(const struct detect *d, const char *path) {
    const struct rt_evidence *e = &d->evidence;
    const size_t classes = (size_t)d->classes, n = d->images * classes;
    double *p = xcalloc(n, sizeof *p);
    for (size_t i = 0; i < n; i++) p[i] = NAN;
    for (size_t i = 0; i < e->n; i++) memcpy(p + e->image[i] * classes, e->mean + i * classes, classes * sizeof *p);
    struct rt_tensor t = {.dtype = RT_F64,
                          .rank = 2,
                          .dims = {(int64_t)d->images, (int64_t)classes},
                          .numel = n,
                          .bytes = n * sizeof *p,
                          .data = p,
                          .borrowed = true};
    enum smkd_result r = rt_npy_write(path, &t);
    free(p);
    return r;
}

// --- what a next run reads -------------------------------------------------------------------------------------------

static enum smkd_result relabel(const struct detect *d, const char *path) {
    const struct rt_evidence *e = &d->evidence;
    int32_t *labels = xcalloc(d->images, sizeof *labels);
    memcpy(labels, d->given, d->images * sizeof *labels);
    for (size_t i = 0; i < e->n; i++)
        if (d->verdict.noisy[i]) labels[e->image[i]] = e->proposed[i];
    enum smkd_result r = rt_labels_write(path, labels, d->images);
    free(labels);
    return r;
}

static enum smkd_result drop(const struct detect *d, const char *path) {
    int32_t *marks = xcalloc(d->images, sizeof *marks);
    for (size_t i = 0; i < d->images; i++) marks[i] = 1;
    for (size_t i = 0; i < d->evidence.n; i++) marks[d->evidence.image[i]] = !d->verdict.noisy[i];
    enum smkd_result r = rt_labels_write(path, marks, d->images);
    free(marks);
    return r;
}

static enum smkd_result weight(const struct detect *d, const char *path) {
    float *w = xcalloc(d->images, sizeof *w);
    for (size_t i = 0; i < d->images; i++) w[i] = 1;
    for (size_t i = 0; i < d->evidence.n; i++) w[d->evidence.image[i]] = (float)d->verdict.trust[i];
    struct rt_tensor t = {.dtype = RT_F32,
                          .rank = 1,
                          .dims = {(int64_t)d->images},
                          .numel = d->images,
                          .bytes = d->images * sizeof *w,
                          .data = w,
                          .borrowed = true};
    enum smkd_result r = rt_npy_write(path, &t);
    free(w);
    return r;
}

static const struct applied {
    const char *name, *ending, *flag;
    enum smkd_result (*write)(const struct detect *d, const char *path);
    bool trust; // needs a number from 0 to 1 of every image
} applied[] = {{"relabel", ".labels.npy", "--labels", relabel, false},
               {"drop", ".keep.npy", "--keep", drop, false},
               {"weight", ".weights.npy", "--sample-weights", weight, true}};
enum { N_APPLIED = sizeof applied / sizeof *applied };

static const struct applied *find_applied(const char *name) {
    for (size_t i = 0; i < N_APPLIED; i++)
        if (strcmp(applied[i].name, name) == 0) return &applied[i];
    return NULL;
}

bool detect_apply_args(const struct args *a, const struct rt_criterion *by) {
    for (size_t i = 0; i < args_count(a, "apply"); i++) {
        const char *name = args_nth(a, "apply", i);
        const struct applied *what = find_applied(name);
        if (what && (!what->trust || by->trusts)) continue;
        if (what)
            args_fail(a->cmd, "--apply %s: --by %s says yes or no; give agreement, loss or gmm", name, by->name);
        else
            args_fail(a->cmd, "--apply %s: expected relabel, drop or weight", name);
        return false;
    }
    return true;
}

static void add_path(const struct args *a, const struct applied *what, struct str *out) {
    const char *table = args_str(a, "output");
    str_addn(out, table, strlen(table) - (str_has_suffix(table, ".csv") ? 4 : 0));
    str_add(out, what->ending);
}

static enum smkd_result apply(const struct detect *d, const struct applied *what) {
    struct str path = STR_INIT;
    add_path(d->args, what, &path);
    enum smkd_result r = what->write(d, path.s);
    if (r == SMKD_R_OK) fprintf(stderr, "note: for a next run: %s %s\n", what->flag, printable(path.s));
    str_release(&path);
    return r;
}

static enum smkd_result can_be_written(const char *path) {
    struct io_writer w;
    if (io_writer_open(&w, path) != SMKD_OK)
        return rt_fail(SMKD_R_IO, "%s: cannot be written: %s", path, strerror(errno));
    io_writer_abort(&w);
    return SMKD_R_OK;
}

enum smkd_result detect_can_write(const struct args *a) {
    static const char *const files[] = {"output", "curve", "save-probs", "histogram"};
    enum smkd_result r = SMKD_R_OK;
    for (size_t i = 0; i < sizeof files / sizeof *files && r == SMKD_R_OK; i++)
        if (args_given(a, files[i])) r = can_be_written(args_str(a, files[i]));
    for (size_t i = 0; i < args_count(a, "apply") && r == SMKD_R_OK; i++) {
        struct str path = STR_INIT;
        add_path(a, find_applied(args_nth(a, "apply", i)), &path);
        r = can_be_written(path.s);
        str_release(&path);
    }
    return r;
}

enum smkd_result detect_write(struct detect *d) {
    const struct args *a = d->args;
    enum smkd_result r = SMKD_R_OK;
    if (args_given(a, "curve")) r = write_curve(d, args_str(a, "curve"));
    if (r == SMKD_R_OK && args_given(a, "save-probs")) r = write_probs(d, args_str(a, "save-probs"));
    if (r == SMKD_R_OK && args_given(a, "histogram")) r = detect_histogram(d, args_str(a, "histogram"));
    for (size_t i = 0; i < args_count(a, "apply") && r == SMKD_R_OK; i++)
        r = apply(d, find_applied(args_nth(a, "apply", i)));
    return r == SMKD_R_OK ? write_table(d, args_str(a, "output")) : r;
}

// --- the summary -----------------------------------------------------------------------------------------------------

static void print_json(const struct detect *d) {
    const struct rt_verdict *v = &d->verdict;
    cJSON *o = cJSON_CreateObject(), *numbers;
    cJSON_AddStringToObject(o, "data", d->name);
    cJSON_AddNumberToObject(o, "images", (double)d->images);
    cJSON_AddNumberToObject(o, "judged", (double)v->n);
    cJSON_AddNumberToObject(o, "networks", d->evidence.peers);
    cJSON_AddNumberToObject(o, "folds", (double)d->folds);
    cJSON_AddStringToObject(o, "by", d->by->name);
    cJSON_AddStringToObject(o, "rule", v->rule.s);
    numbers = cJSON_AddObjectToObject(o, "thresholds");
    for (int i = 0; i < v->n_numbers; i++) cJSON_AddNumberToObject(numbers, v->number[i].name, v->number[i].value);
    if (v->thresholds) cJSON_AddItemToObject(numbers, "classes", cJSON_CreateDoubleArray(v->thresholds, d->classes));
    cJSON_AddNumberToObject(o, "noisy", (double)v->suspects);
    if (d->truth) {
        const struct rt_finding *f = &d->finding;
        cJSON *t = cJSON_AddObjectToObject(o, "truth");
        cJSON_AddNumberToObject(t, "wrong", (double)f->wrong);
        cJSON_AddNumberToObject(t, "found", (double)f->found);
        cJSON_AddNumberToObject(t, "precision", f->precision);
        cJSON_AddNumberToObject(t, "recall", f->recall);
        cJSON_AddNumberToObject(t, "f1", f->f1);
        cJSON_AddNumberToObject(t, "average_precision", f->area);
        cJSON_AddNumberToObject(t, "right_as_proposed", (double)f->right);
    }
    char *text = cJSON_Print(o);
    puts(text ? text : "{}");
    cJSON_free(text);
    cJSON_Delete(o);
}

static double percent(size_t a, size_t b) { return b ? 100 * (double)a / (double)b : 0; }

static void print_text(const struct detect *d) {
    const struct rt_verdict *v = &d->verdict;
    printf("%zu training images of %s, by %s\n", v->n, printable(d->name), d->by->name);
    printf("noisy where   %s\n", v->rule.s);
    for (int i = 0; i < v->n_numbers; i++)
        printf("%s%s %.6g", i ? ", " : "thresholds    ", v->number[i].name, v->number[i].value);
    if (v->thresholds) printf("thresholds    ");
    for (int c = 0; c < d->classes && v->thresholds; c++) printf("%s%.4g", c ? " " : "", v->thresholds[c]);
    printf("\nnoisy labels  %zu, %.2f %%\n", v->suspects, percent(v->suspects, v->n));
    if (!d->truth) return;
    const struct rt_finding *f = &d->finding;
    printf("wrong labels  %zu, %.2f %%\n", f->wrong, percent(f->wrong, v->n));
    printf("precision %.2f %%, recall %.2f %%, F1 %.2f %%, average precision %.2f %%\n", f->precision, f->recall, f->f1,
           f->area);
    printf("right labels  %.2f %%, with those proposed %.2f %%\n", percent(v->n - f->wrong, v->n),
           percent(f->right, v->n));
}

void detect_print(const struct detect *d) {
    if (args_given(d->args, "json"))
        print_json(d);
    else
        print_text(d);
}
