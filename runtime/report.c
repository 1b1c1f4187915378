#include "report.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void rt_report_init(struct rt_report *r, int classes, size_t images) {
    *r = (struct rt_report){.classes = classes, .cap = images};
    if (images) r->rows = xcalloc(images, sizeof *r->rows);
}

void rt_report_clear(struct rt_report *r) {
    r->score = (struct rt_score){0};
    r->n = 0;
}

void rt_report_release(struct rt_report *r) {
    free(r->rows);
    free(r->per_class);
    *r = (struct rt_report){0};
}

void rt_report_add(struct rt_report *r, const float *scores, const double *p, int64_t label) {
    struct rt_report_row row = {.label = (int32_t)label, .predicted = -1};
    double best = 0;
    for (int c = 0; c < r->classes; c++) {
        double s = scores ? (double)scores[c] : p[c];
        if (p[c] > row.confidence) row.confidence = p[c];
        if (isnan(s) || (row.predicted >= 0 && s <= best)) continue;
        row.predicted = c;
        best = s;
    }
    if (scores)
        rt_score_add_ranked(&r->score, p, r->classes, label, rt_rank(scores, r->classes, label));
    else
        rt_score_add(&r->score, p, r->classes, label);
    if (r->n == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 1024;
        r->rows = xrealloc(r->rows, r->cap * sizeof *r->rows);
    }
    r->rows[r->n++] = row;
}

// --- the numbers -----------------------------------------------------------------------------------------------------

static int by_confidence(const void *a, const void *b) {
    double x = ((const struct rt_report_row *)a)->confidence, y = ((const struct rt_report_row *)b)->confidence;
    return (x < y) - (x > y);
}

static double area(const struct rt_report *r) {
    double sum = 0, errors = 0;
    for (size_t first = 0, end; first < r->n; first = end) {
        double wrong = 0;
        for (end = first; end < r->n && r->rows[end].confidence == r->rows[first].confidence; end++)
            wrong += r->rows[end].predicted != r->rows[end].label;
        double equal = (double)(end - first);
        for (size_t k = first; k < end; k++)
            sum += (errors + wrong * (double)(k - first + 1) / equal) / (double)(k + 1);
        errors += wrong;
    }
    return r->n ? 1000 * sum / (double)r->n : NAN;
}

// The area where all errors come last.
static double least_area(const struct rt_report *r) {
    double sum = 0;
    size_t wrong = 0;
    for (size_t i = 0; i < r->n; i++) wrong += r->rows[i].predicted != r->rows[i].label;
    for (size_t i = 1; i <= wrong; i++) sum += (double)i / (double)(r->n - wrong + i);
    return r->n ? 1000 * sum / (double)r->n : NAN;
}

static double share(uint64_t a, uint64_t b) { return b ? 100 * (double)a / (double)b : NAN; }

static void count_classes(struct rt_report *r) {
    free(r->per_class);
    r->per_class = xcalloc((size_t)r->classes + 1, sizeof *r->per_class);
    for (size_t i = 0; i < r->n; i++) {
        const struct rt_report_row *row = &r->rows[i];
        r->per_class[row->label].support++;
        if (row->predicted < 0) continue;
        r->per_class[row->predicted].predicted++;
        r->per_class[row->label].hits += row->predicted == row->label;
    }
    for (int c = 0; c < r->classes; c++) {
        struct rt_class_report *k = &r->per_class[c];
        k->precision = share(k->hits, k->predicted);
        k->recall = share(k->hits, k->support);
        k->f1 = share(2 * k->hits, k->support + k->predicted);
    }
}

static double known(double v) { return isnan(v) ? 0 : v; }

void rt_report_finish(struct rt_report *r) {
    double precision = 0, recall = 0, f1 = 0, n = 0;
    count_classes(r);
    for (int c = 0; c < r->classes; c++) {
        const struct rt_class_report *k = &r->per_class[c];
        if (!k->support && !k->predicted) continue;
        precision += known(k->precision);
        recall += known(k->recall);
        f1 += known(k->f1);
        n++;
    }
    r->macro_precision = precision / n;
    r->macro_recall = recall / n;
    r->macro_f1 = f1 / n;
    if (r->n) qsort(r->rows, r->n, sizeof *r->rows, by_confidence);
    r->aurc = area(r);
    r->eaurc = r->aurc - least_area(r);
}

enum smkd_result rt_predictor_start(struct rt_predictor *p, smkd_model *m, struct rt_peer *peers, int n,
                                    smkd_team *team) {
    const struct smkd_abi_tensor *t;
    *p = (struct rt_predictor){.said = xcalloc(smkd_model_info(m)->n_tensors + 1, sizeof *p->said)};
    for (size_t i = 0; (t = smkd_model_nth(m, SMKD_ABI_OUTPUT, i)); i++) {
        const struct method_name name = method_parse(t->name);
        if (name.role != METHOD_PROBS) continue;
        if (name.peer < 0) {
            p->ensemble = true;
            continue;
        }
        struct rt_said *s = &p->said[p->n++];
        *s = (struct rt_said){.output = t->name, .peer = name.peer};
        snprintf(s->name, sizeof s->name, "%s", name.stem + strlen("probs."));
    }
    return rt_program_start(&p->program, m, peers, n, team);
}

void rt_predictor_release(struct rt_predictor *p) {
    rt_program_release(&p->program);
    free(p->said);
    *p = (struct rt_predictor){0};
}

static void add_said(struct rt_report *r, const float *said, size_t row, size_t classes, double *scratch,
                     int64_t label) {
    for (size_t c = 0; c < classes; c++) scratch[c] = said[row * classes + c];
    rt_report_add(r, said + row * classes, scratch, label);
}

static void add_batch(struct rt_peer *peers, int n, const struct rt_predictor *p, const struct rt_batch *b,
                      double *scratch, struct rt_report *reports) {
    const size_t classes = (size_t)peers[0].classes;
    double *probs = scratch, *together = scratch + classes;
    const float *ensemble = p && p->ensemble ? smkd_output(p->program.session, "probs.ensemble") : NULL;
    for (size_t i = 0; i < b->n; i++) {
        memset(together, 0, classes * sizeof *together);
        for (int k = 0; k < n; k++) {
            const float *z = peers[k].out + i * classes;
            rt_softmax(z, (int)classes, probs);
            rt_report_add(&reports[k], z, probs, b->labels[i]);
            for (size_t c = 0; c < classes; c++) together[c] += probs[c] / n;
        }
        if (ensemble)
            add_said(&reports[n], ensemble, i, classes, probs, b->labels[i]);
        else
            rt_report_add(&reports[n], NULL, together, b->labels[i]);
        for (int j = 0; p && j < p->n; j++)
            add_said(&reports[n + 1 + j], smkd_output(p->program.session, p->said[j].output), i, classes, probs,
                     b->labels[i]);
    }
}

enum smkd_result rt_report_run(struct rt_peer *peers, int n, struct rt_predictor *p, struct rt_loader *loader,
                               double *scratch, struct rt_report *reports) {
    struct rt_batch b;
    enum smkd_result r = SMKD_R_OK;
    rt_loader_begin(loader, 0);
    while (rt_loader_next(loader, &b)) { // to the end of the epoch also after a failure
        for (int k = 0; k < n && r == SMKD_R_OK; k++) r = rt_peer_run(&peers[k], SMKD_ABI_INFER, b.images, b.n);
        if (p && r == SMKD_R_OK) r = rt_program_run(&p->program, b.n);
        if (r == SMKD_R_OK) add_batch(peers, n, p, &b, scratch, reports);
    }
    if (r == SMKD_R_OK) r = rt_loader_result(loader);
    for (int k = 0; k < n + 1 + (p ? p->n : 0); k++) rt_report_finish(&reports[k]);
    return r;
}

// --- the matrix ------------------------------------------------------------------------------------------------------

struct cell {
    int32_t label, predicted;
    uint64_t n;
};

static int by_place(const void *a, const void *b) {
    const struct cell *x = a, *y = b;
    if (x->label != y->label) return x->label < y->label ? -1 : 1;
    return (x->predicted > y->predicted) - (x->predicted < y->predicted);
}

// The cells that are not 0, row by row. The caller frees them.
static struct cell *cells(const struct rt_report *r, size_t *count) {
    struct cell *all = xcalloc(r->n + 1, sizeof *all);
    size_t n = 0, m = 0;
    for (size_t i = 0; i < r->n; i++)
        if (r->rows[i].predicted >= 0) all[n++] = (struct cell){r->rows[i].label, r->rows[i].predicted, 1};
    if (n) qsort(all, n, sizeof *all, by_place);
    for (size_t i = 0; i < n; i++) {
        if (m && by_place(&all[m - 1], &all[i]) == 0)
            all[m - 1].n++;
        else
            all[m++] = all[i];
    }
    *count = m;
    return all;
}

// Calls `put` for every cell of the matrix in order, those that are 0, too; `begin` and `end` around each row.
static void each_cell(const struct rt_report *r, void (*begin)(void *to, int c), void (*put)(void *to, uint64_t n),
                      void (*end)(void *to), void *to) {
    size_t n, at = 0;
    struct cell *all = cells(r, &n);
    for (int c = 0; c < r->classes; c++) {
        begin(to, c);
        for (int p = 0; p < r->classes; p++) {
            bool here = at < n && all[at].label == c && all[at].predicted == p;
            put(to, here ? all[at++].n : 0);
        }
        end(to);
    }
    free(all);
}

// --- names and numbers as text ---------------------------------------------------------------------------------------

static const char *name_of(const struct rt_class_names *names, int c) {
    return names && names->name && c < names->n ? names->name[c] : NULL;
}

static void add_name(const struct rt_class_names *names, int c, struct str *out,
                     void (*add)(struct str *out, const char *text)) {
    char number[16];
    snprintf(number, sizeof number, "%d", c);
    const char *name = name_of(names, c);
    add(out, name ? name : number);
}

static void add_shown(struct str *out, const char *text) { str_add_escaped(out, text, strlen(text)); }

// Columns that a terminal takes for UTF-8 text, near enough: bytes that begin a character.
static size_t width(const char *s) {
    size_t n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void add_padded(struct str *out, const char *text, size_t to) {
    str_add(out, text);
    for (size_t n = width(text); n < to; n++) str_add(out, " ");
}

// "3 cat", or "3" where classes have no names.
static void add_label(const struct rt_class_names *names, int c, struct str *out) {
    str_addf(out, "%d", c);
    const char *name = name_of(names, c);
    if (!name) return;
    str_add(out, " ");
    add_shown(out, name);
}

static size_t label_width(const struct rt_report *r, const struct rt_class_names *names, const char *least) {
    struct str s = STR_INIT;
    size_t w = strlen(least);
    for (int c = 0; c < r->classes; c++) {
        str_clear(&s);
        add_label(names, c, &s);
        if (width(s.s) > w) w = width(s.s);
    }
    str_release(&s);
    return w;
}

static void add_percent(struct str *out, double v) {
    if (isnan(v))
        str_addf(out, " %10s", "-");
    else
        str_addf(out, " %10.2f", v);
}

void rt_report_per_class(const struct rt_report *r, const struct rt_class_names *names, struct str *out) {
    static const char mean[] = "mean over classes";
    size_t w = label_width(r, names, mean);
    struct str label = STR_INIT;
    add_padded(out, "class", w);
    str_addf(out, " %9s %9s %10s %10s %10s\n", "images", "predicted", "precision", "recall", "F1");
    for (int c = 0; c < r->classes; c++) {
        const struct rt_class_report *k = &r->per_class[c];
        str_clear(&label);
        add_label(names, c, &label);
        add_padded(out, label.s, w);
        str_addf(out, " %9" PRIu64 " %9" PRIu64, k->support, k->predicted);
        add_percent(out, k->precision);
        add_percent(out, k->recall);
        add_percent(out, k->f1);
        str_add(out, "\n");
    }
    add_padded(out, mean, w);
    str_addf(out, " %9zu %9s", r->n, "");
    add_percent(out, r->macro_precision);
    add_percent(out, r->macro_recall);
    add_percent(out, r->macro_f1);
    str_add(out, "\n");
    str_release(&label);
}

struct writer {
    struct str *out;
    const struct rt_class_names *names;
    const char *network;
    size_t label, cell; // widths of the table
};

static void begin_line(void *to, int c) {
    struct writer *w = to;
    struct str label = STR_INIT;
    add_label(w->names, c, &label);
    add_padded(w->out, label.s, w->label);
    str_release(&label);
}

static void put_number(void *to, uint64_t n) {
    struct writer *w = to;
    if (n)
        str_addf(w->out, " %*" PRIu64, (int)w->cell, n);
    else
        str_addf(w->out, " %*s", (int)w->cell, "."); // so that what is there stands out
}

static void end_line(void *to) { str_add(((struct writer *)to)->out, "\n"); }

void rt_report_confusion(const struct rt_report *r, const struct rt_class_names *names, struct str *out) {
    static const char corner[] = "class \\ predicted";
    uint64_t most = (uint64_t)r->classes - 1;
    size_t n;
    struct cell *all = cells(r, &n);
    for (size_t i = 0; i < n; i++)
        if (all[i].n > most) most = all[i].n;
    free(all);
    char digits[24];
    struct writer w = {.out = out, .names = names, .label = label_width(r, names, corner)};
    w.cell = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, most);
    add_padded(out, corner, w.label);
    for (int c = 0; c < r->classes; c++) str_addf(out, " %*d", (int)w.cell, c);
    str_add(out, "\n");
    each_cell(r, begin_line, put_number, end_line, &w);
}

static void begin_csv(void *to, int c) {
    struct writer *w = to;
    str_add_csv(w->out, w->network);
    str_add(w->out, ",");
    add_name(w->names, c, w->out, str_add_csv);
}

static void put_csv(void *to, uint64_t n) { str_addf(((struct writer *)to)->out, ",%" PRIu64, n); }

void rt_report_csv_head(const struct rt_report *r, const struct rt_class_names *names, struct str *out) {
    str_add(out, "network,class");
    for (int c = 0; c < r->classes; c++) {
        str_add(out, ",");
        add_name(names, c, out, str_add_csv);
    }
    str_add(out, "\n");
}

void rt_report_csv(const struct rt_report *r, const struct rt_class_names *names, const char *network,
                   struct str *out) {
    struct writer w = {.out = out, .names = names, .network = network};
    each_cell(r, begin_csv, put_csv, end_line, &w);
}

// --- JSON ------------------------------------------------------------------------------------------------------------

static void add_numbers(cJSON *o, double precision, double recall, double f1) {
    cJSON_AddNumberToObject(o, "precision", precision);
    cJSON_AddNumberToObject(o, "recall", recall);
    cJSON_AddNumberToObject(o, "f1", f1);
}

cJSON *rt_report_json(const struct rt_report *r, const struct rt_class_names *names) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddNumberToObject(o, "top1", rt_score_top1(&r->score));
    cJSON_AddNumberToObject(o, "top5", rt_score_top5(&r->score));
    cJSON_AddNumberToObject(o, "nll", rt_score_nll(&r->score));
    cJSON_AddNumberToObject(o, "ece", rt_score_ece(&r->score));
    cJSON_AddNumberToObject(o, "aurc", r->aurc);
    cJSON_AddNumberToObject(o, "eaurc", r->eaurc);
    add_numbers(cJSON_AddObjectToObject(o, "macro"), r->macro_precision, r->macro_recall, r->macro_f1);
    cJSON *list = cJSON_AddArrayToObject(o, "classes");
    struct str name = STR_INIT;
    for (int c = 0; c < r->classes; c++) {
        const struct rt_class_report *k = &r->per_class[c];
        cJSON *one = cJSON_CreateObject();
        cJSON_AddNumberToObject(one, "class", c);
        str_clear(&name);
        add_name(names, c, &name, str_add_json);
        cJSON_AddItemToObject(one, "name", cJSON_CreateRaw(name.s));
        cJSON_AddNumberToObject(one, "support", (double)k->support);
        cJSON_AddNumberToObject(one, "predicted", (double)k->predicted);
        add_numbers(one, k->precision, k->recall, k->f1);
        cJSON_AddItemToArray(list, one);
    }
    str_release(&name);
    size_t n;
    struct cell *all = cells(r, &n);
    cJSON *matrix = cJSON_AddArrayToObject(o, "confusion");
    for (size_t i = 0; i < n; i++) {
        const double cell[] = {all[i].label, all[i].predicted, (double)all[i].n};
        cJSON_AddItemToArray(matrix, cJSON_CreateDoubleArray(cell, 3));
    }
    free(all);
    return o;
}
