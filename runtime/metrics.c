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

enum smkd_result rt_evaluate(struct rt_peer *peers, int n, struct rt_loader *loader, double *scratch,
                             struct rt_score *scores) {
    int classes = peers[0].classes;
    double *p = scratch, *together = scratch + classes;
    struct rt_batch b;
    enum smkd_result r = SMKD_R_OK;
    memset(scores, 0, (size_t)(n + 1) * sizeof *scores);
    rt_loader_begin(loader, 0);
    // After a failure the epoch is still read to its end, so that the loader can begin another.
    while (rt_loader_next(loader, &b)) {
        for (int k = 0; k < n && r == SMKD_R_OK; k++) r = rt_peer_run(&peers[k], SMKD_ABI_INFER, b.images, b.n);
        for (size_t i = 0; i < b.n && r == SMKD_R_OK; i++) {
            memset(together, 0, (size_t)classes * sizeof *together);
            for (int k = 0; k < n; k++) {
                const float *z = peers[k].out + i * (size_t)classes;
                rt_softmax(z, classes, p);
                rt_score_add_ranked(&scores[k], p, classes, b.labels[i], rt_rank(z, classes, b.labels[i]));
                for (int c = 0; c < classes; c++) together[c] += p[c] / n;
            }
            rt_score_add(&scores[n], together, classes, b.labels[i]);
        }
    }
    return r;
}

// --- the files -------------------------------------------------------------------------------------------------------

struct column {
    const char *name;
    size_t offset;
};
#define P(n, f) {n, offsetof(struct rt_peer_metrics, f)}
static const struct column peer_columns[] = {
    P("loss", loss),
    P("train_top1_given", train_given),
    P("train_top1_true", train_true),
    P("test_top1", test_top1),
    P("test_top5", test_top5),
    P("test_nll", test_nll),
    P("val_top1", val_top1),
    P("mean_entropy", entropy),
    P("mean_trust", trust),
    P("selected_share", selected),
    P("selected_count", taught),
};
#define E(n, f) {n, offsetof(struct rt_epoch_metrics, f)}
static const struct column head_columns[] = {E("progress", progress), E("lr", lr), E("threshold", threshold)};
static const struct column ensemble_columns[] = {E("test_top1", ensemble_top1), E("test_top5", ensemble_top5),
                                                 E("val_top1", ensemble_val_top1)};
static const struct column tail_columns[] = {E("images_per_s", images_per_s), E("seconds", seconds)};
#define COUNT(a) (sizeof(a) / sizeof *(a))

static double get(const void *base, const struct column *c) {
    return *(const double *)((const char *)base + c->offset);
}

// JSON's null and CSV's empty field stand for what was not measured or has no number (ALL's threshold is infinite).
static void add_number(struct str *s, double v, const char *none) {
    char text[RT_NUMBER_TEXT];
    if (isfinite(v)) rt_number_text(v, text);
    str_add(s, isfinite(v) ? text : none);
}

static void json_members(struct str *s, const void *base, const struct column *c, size_t n, bool first) {
    for (size_t i = 0; i < n; i++) {
        str_addf(s, "%s\"%s\":", first && i == 0 ? "" : ",", c[i].name);
        add_number(s, get(base, &c[i]), "null");
    }
}

static void json_line(struct str *s, const struct rt_epoch_metrics *m) {
    str_addf(s, "{\"epoch\":%lld", (long long)m->epoch);
    json_members(s, m, head_columns, COUNT(head_columns), false);
    str_add(s, ",\"peers\":[");
    for (int k = 0; k < 2; k++) {
        str_add(s, k ? ",{" : "{");
        json_members(s, &m->peers[k], peer_columns, COUNT(peer_columns), true);
        str_add(s, "}");
    }
    str_add(s, "],\"ensemble\":{");
    json_members(s, m, ensemble_columns, COUNT(ensemble_columns), true);
    str_add(s, "}");
    json_members(s, m, tail_columns, COUNT(tail_columns), false);
    str_add(s, "}\n");
}

static void csv_head(struct str *s) {
    str_add(s, "epoch");
    for (size_t i = 0; i < COUNT(head_columns); i++) str_addf(s, ",%s", head_columns[i].name);
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < COUNT(peer_columns); i++) str_addf(s, ",%s_%d", peer_columns[i].name, k);
    for (size_t i = 0; i < COUNT(ensemble_columns); i++) str_addf(s, ",ensemble_%s", ensemble_columns[i].name);
    for (size_t i = 0; i < COUNT(tail_columns); i++) str_addf(s, ",%s", tail_columns[i].name);
    str_add(s, "\n");
}

static void csv_fields(struct str *s, const void *base, const struct column *c, size_t n) {
    for (size_t i = 0; i < n; i++) {
        str_add(s, ",");
        add_number(s, get(base, &c[i]), "");
    }
}

static void csv_line(struct str *s, const struct rt_epoch_metrics *m) {
    str_addf(s, "%lld", (long long)m->epoch);
    csv_fields(s, m, head_columns, COUNT(head_columns));
    for (int k = 0; k < 2; k++) csv_fields(s, &m->peers[k], peer_columns, COUNT(peer_columns));
    csv_fields(s, m, ensemble_columns, COUNT(ensemble_columns));
    csv_fields(s, m, tail_columns, COUNT(tail_columns));
    str_add(s, "\n");
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
        str_clear(&line);
        csv_line(&line, m);
        csv_head(&head);
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
