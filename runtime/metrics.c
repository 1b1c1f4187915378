#include "metrics.h"

#include "run_config.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int rt_rank(const float *z, int classes, int64_t label) {
    float own = z[label];
    int ahead = 0;
    if (isnan(own)) return classes;
    for (int c = 0; c < classes; c++) ahead += z[c] > own || (z[c] == own && c < label);
    return ahead;
}

static int rank_of(const double *p, int classes, int64_t label) {
    double own = p[label];
    int ahead = 0;
    if (isnan(own)) return classes;
    for (int c = 0; c < classes; c++) ahead += p[c] > own || (p[c] == own && c < label);
    return ahead;
}

void rt_softmax(const float *z, int classes, double *p) {
    double m = z[0], sum = 0;
    for (int c = 1; c < classes; c++)
        if (z[c] > m) m = z[c];
    for (int c = 0; c < classes; c++) sum += p[c] = exp((double)z[c] - m);
    for (int c = 0; c < classes; c++) p[c] /= sum;
}

void rt_score_add_ranked(struct rt_score *s, const double *p, int classes, int64_t label, int ahead) {
    s->n++;
    s->top1 += ahead < 1;
    s->top5 += ahead < 5;
    s->nll -= log(p[label] > 1e-300 ? p[label] : 1e-300);
    double conf = 0;
    for (int c = 0; c < classes; c++)
        if (p[c] > conf) conf = p[c];
    if (conf <= 0) return;
    int bin = (int)ceil(conf * RT_ECE_BINS) - 1;
    if (bin >= RT_ECE_BINS) bin = RT_ECE_BINS - 1;
    s->bin_conf[bin] += conf;
    s->bin_hit[bin] += ahead < 1;
}

void rt_score_add(struct rt_score *s, const double *p, int classes, int64_t label) {
    rt_score_add_ranked(s, p, classes, label, rank_of(p, classes, label));
}

static double mean(double sum, uint64_t n) { return n ? sum / (double)n : NAN; }
double rt_score_top1(const struct rt_score *s) { return 100 * mean((double)s->top1, s->n); }
double rt_score_top5(const struct rt_score *s) { return 100 * mean((double)s->top5, s->n); }
double rt_score_nll(const struct rt_score *s) { return mean(s->nll, s->n); }
double rt_score_ece(const struct rt_score *s) {
    double sum = 0;
    for (int b = 0; b < RT_ECE_BINS; b++) sum += fabs(s->bin_hit[b] - s->bin_conf[b]);
    return 100 * mean(sum, s->n);
}

static void error_init(struct rt_error *e, int columns) {
    *e = (struct rt_error){.columns = columns,
                           .sum = xcalloc((size_t)columns, sizeof(double)),
                           .sum2 = xcalloc((size_t)columns, sizeof(double))};
}

static void error_add(struct rt_error *e, int column, double output, double target) {
    const double d = output - target;
    e->n++;
    e->squared += d * d;
    e->absolute += fabs(d);
    e->sum[column] += target;
    e->sum2[column] += target * target;
}

void rt_error_release(struct rt_error *e) {
    free(e->sum);
    free(e->sum2);
    *e = (struct rt_error){0};
}

double rt_error_mse(const struct rt_error *e) { return mean(e->squared, e->n); }
double rt_error_mae(const struct rt_error *e) { return mean(e->absolute, e->n); }
double rt_error_r2(const struct rt_error *e) {
    const double rows = (double)e->n / e->columns;
    double all = 0;
    for (int c = 0; c < e->columns; c++) all += e->sum2[c] - e->sum[c] * e->sum[c] / rows;
    return all > 0 ? 1 - e->squared / all : NAN;
}

enum smkd_result rt_evaluate_numbers(struct rt_peer *peers, int n, struct rt_loader *loader, double *scratch,
                                     struct rt_error *errors) {
    const int columns = peers[0].classes;
    struct rt_batch b;
    enum smkd_result r = SMKD_R_OK;
    for (int k = 0; k <= n; k++) error_init(&errors[k], columns);
    rt_loader_begin(loader, 0);
    while (rt_loader_next(loader, &b)) {
        for (int k = 0; k < n && r == SMKD_R_OK; k++) r = rt_peer_run(&peers[k], SMKD_ABI_INFER, b.images, b.n);
        for (size_t i = 0; i < b.n && r == SMKD_R_OK; i++) {
            const float *target = b.targets + i * (size_t)columns;
            memset(scratch, 0, (size_t)columns * sizeof *scratch);
            for (int k = 0; k < n; k++) {
                const float *z = peers[k].out + i * (size_t)columns;
                for (int c = 0; c < columns; c++) {
                    error_add(&errors[k], c, z[c], target[c]);
                    scratch[c] += (double)z[c] / n;
                }
            }
            for (int c = 0; c < columns; c++) error_add(&errors[n], c, scratch[c], target[c]);
        }
    }
    return r == SMKD_R_OK ? rt_loader_result(loader) : r;
}

// --- the files -------------------------------------------------------------------------------------------------------

void rt_metrics_init(struct rt_epoch_metrics *m, int64_t epoch, int peers) {
    *m = (struct rt_epoch_metrics){.epoch = epoch, .peers = peers};
}

void rt_metrics_release(struct rt_epoch_metrics *m) {
    free(m->m);
    *m = (struct rt_epoch_metrics){0};
}

static struct rt_metric *find(const struct rt_epoch_metrics *m, enum rt_group g, int peer, const char *name) {
    for (size_t i = 0; i < m->n; i++)
        if (m->m[i].group == g && m->m[i].peer == peer && strcmp(m->m[i].name, name) == 0) return &m->m[i];
    return NULL;
}

void rt_metrics_set(struct rt_epoch_metrics *m, enum rt_group g, int peer, const char *name, double value) {
    struct rt_metric *x = find(m, g, peer, name);
    if (!x) {
        if (m->n == m->cap) {
            m->cap = m->cap ? 2 * m->cap : 32;
            m->m = xrealloc(m->m, m->cap * sizeof *m->m);
        }
        x = &m->m[m->n++];
        *x = (struct rt_metric){.group = g, .peer = peer};
        snprintf(x->name, sizeof x->name, "%s", name);
    }
    x->value = value;
}

double rt_metrics_get(const struct rt_epoch_metrics *m, enum rt_group g, int peer, const char *name) {
    const struct rt_metric *x = find(m, g, peer, name);
    return x ? x->value : NAN;
}

// JSON's null and CSV's empty field stand for what was not measured or has no number (ALL's threshold is infinite).
static void add_number(struct str *s, double v, const char *none) {
    char text[RT_NUMBER_TEXT];
    if (isfinite(v)) rt_number_text(v, text);
    str_add(s, isfinite(v) ? text : none);
}

static void json_members(struct str *s, const struct rt_epoch_metrics *m, enum rt_group g, int peer, bool first) {
    for (size_t i = 0; i < m->n; i++) {
        const struct rt_metric *x = &m->m[i];
        if (x->group != g || x->peer != peer) continue;
        str_addf(s, "%s\"%s\":", first ? "" : ",", x->name);
        add_number(s, x->value, "null");
        first = false;
    }
}

static void json_line(struct str *s, const struct rt_epoch_metrics *m) {
    str_addf(s, "{\"epoch\":%lld", (long long)m->epoch);
    json_members(s, m, RT_OF_EPOCH, 0, false);
    str_add(s, ",\"peers\":[");
    for (int k = 0; k < m->peers; k++) {
        str_add(s, k ? ",{" : "{");
        json_members(s, m, RT_OF_PEER, k, true);
        str_add(s, "}");
    }
    str_add(s, "],\"ensemble\":{");
    json_members(s, m, RT_OF_ENSEMBLE, 0, true);
    str_add(s, "}");
    json_members(s, m, RT_OF_CLOCK, 0, false);
    str_add(s, "}\n");
}

// What a number is called in metrics.csv: "loss_0", "ensemble_test_top1".
static void column_name(const struct rt_metric *x, char name[64]) {
    if (x->group == RT_OF_PEER)
        snprintf(name, 64, "%s_%d", x->name, x->peer);
    else
        snprintf(name, 64, "%s%s", x->group == RT_OF_ENSEMBLE ? "ensemble_" : "", x->name);
}

static void csv_head(struct str *s, const struct rt_epoch_metrics *m) {
    str_add(s, "epoch");
    for (enum rt_group g = RT_OF_EPOCH; g <= RT_OF_CLOCK; g++)
        for (int k = 0; k < (g == RT_OF_PEER ? m->peers : 1); k++)
            for (size_t i = 0; i < m->n; i++) {
                char name[64];
                if (m->m[i].group != g || m->m[i].peer != k) continue;
                column_name(&m->m[i], name);
                str_addf(s, ",%s", name);
            }
    str_add(s, "\n");
}

// The epoch's numbers in the order of a head.
static void csv_line(struct str *s, const struct rt_epoch_metrics *m, const char *head) {
    for (const char *p = head; *p && *p != '\n'; p += *p == ',') {
        size_t n = strcspn(p, ",\n");
        if (p == head) {
            str_addf(s, "%lld", (long long)m->epoch);
        } else {
            double v = NAN;
            for (size_t i = 0; i < m->n; i++) {
                char name[64];
                column_name(&m->m[i], name);
                if (strlen(name) == n && strncmp(name, p, n) == 0) v = m->m[i].value;
            }
            str_add(s, ",");
            add_number(s, v, "");
        }
        p += n;
    }
    str_add(s, "\n");
}

// The first line of a file that has one.
static bool read_head(const char *dir, struct str *out) {
    char *path = rt_path_join(dir, "metrics.csv");
    const void *map;
    size_t size;
    bool found = false;
    if (rt_path_exists(path) && io_map(path, &map, &size) == SMKD_OK) {
        const char *end = memchr(map, '\n', size);
        found = end != NULL;
        if (found) str_addn(out, map, (size_t)(end - (const char *)map) + 1);
        io_unmap(map, size);
    }
    free(path);
    return found;
}

static enum smkd_result append_text(const char *dir, const char *file, const struct str *text, const struct str *head) {
    char *path = rt_path_join(dir, file);
    // Not waiting for anybody who reads, should a FIFO lie there.
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
    FILE *f = fd >= 0 ? fdopen(fd, "ab") : NULL;
    bool ok = f != NULL;
    if (!ok) end_if_no_memory(errno);
    if (ok && head && fseek(f, 0, SEEK_END) == 0 && ftell(f) == 0) ok = fwrite(head->s, 1, head->len, f) == head->len;
    ok = ok && fwrite(text->s, 1, text->len, f) == text->len && fflush(f) == 0 && fsync(fileno(f)) == 0;
    int e = errno;
    if (f && fclose(f) && ok) {
        ok = false;
        e = errno;
    }
    enum smkd_result r = ok ? SMKD_R_OK : rt_fail(SMKD_R_IO, "%s: cannot be written: %s", path, strerror(e));
    free(path);
    return r;
}

enum smkd_result rt_metrics_append(const char *dir, const struct rt_epoch_metrics *m) {
    struct str line = STR_INIT, head = STR_INIT;
    json_line(&line, m);
    enum smkd_result r = append_text(dir, "metrics.jsonl", &line, NULL);
    if (r == SMKD_R_OK) {
        if (!read_head(dir, &head)) csv_head(&head, m);
        str_clear(&line);
        csv_line(&line, m, head.s);
        r = append_text(dir, "metrics.csv", &line, &head);
    }
    str_release(&line);
    str_release(&head);
    return r;
}

// Keeps the first `lines` complete lines.
static enum smkd_result keep_lines(const char *dir, const char *file, int64_t lines) {
    char *path = rt_path_join(dir, file);
    const void *map;
    size_t size, keep = 0;
    enum smkd_result r = SMKD_R_OK;
    if (io_map(path, &map, &size) != SMKD_OK) {
        if (lines || errno != ENOENT) r = rt_fail(SMKD_R_IO, "%s: %s", path, io_why());
        free(path);
        return r;
    }
    const char *p = map;
    int64_t have = 0;
    while (have < lines) {
        const char *nl = memchr(p + keep, '\n', size - keep);
        if (!nl) break;
        keep = (size_t)(nl - p) + 1;
        have++;
    }
    if (have < lines)
        r = rt_fail(SMKD_R_INVALID,
                    "%s: has %lld complete lines, the checkpoint needs %lld; start again with --overwrite", path,
                    (long long)have, (long long)lines);
    else if (keep < size && io_write_file(path, p, keep) != SMKD_OK)
        r = rt_fail(SMKD_R_IO, "%s: cannot be written: %s", path, strerror(errno));
    io_unmap(map, size);
    free(path);
    return r;
}

enum smkd_result rt_metrics_truncate(const char *dir, int64_t epochs) {
    enum smkd_result r = keep_lines(dir, "metrics.jsonl", epochs);
    return r == SMKD_R_OK ? keep_lines(dir, "metrics.csv", epochs ? epochs + 1 : 0) : r;
}
