// The IDX files of MNIST and its relatives, plain or gzip-compressed: a big-endian header, then bytes.
#include "data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define MAX_SIDE    4096
#define CHUNK_BYTES ((size_t)1 << 22)

static const struct part {
    const char *images, *labels;
} parts[] = {
    {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"},
    {"t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"},
};

// DIR/FILE or DIR/FILE.gz, whichever is there, also as "train-images.idx3-ubyte", as some have it; NULL when none is.
// Caller frees.
static char *find_file(const char *dir, const char *file) {
    static const char *const endings[] = {"", ".gz"};
    for (int i = 0; i < 4; i++) {
        struct str name = STR_INIT;
        str_addf(&name, "%s%s", file, endings[i % 2]);
        if (i >= 2) *strstr(name.s, "-idx") = '.';
        char *path = rt_path_join(dir, name.s);
        str_release(&name);
        if (rt_path_exists(path)) return path;
        free(path);
    }
    return NULL;
}

bool rt_idx_detect(const char *dir) {
    // Any of the four: a folder that lacks one is an incomplete IDX data set, not an unknown one.
    for (int i = 0; i < 2; i++) {
        char *a = find_file(dir, parts[i].images), *b = find_file(dir, parts[i].labels);
        bool found = a || b;
        free(a);
        free(b);
        if (found) return true;
    }
    return false;
}

// Reads exactly n bytes, or says at which byte the file ends.
static enum smkd_result read_exact(gzFile f, const char *path, void *buf, size_t n, const char *what) {
    long long at = (long long)gztell(f);
    size_t got = 0;
    while (got < n) {
        unsigned want = n - got > (1u << 30) ? 1u << 30 : (unsigned)(n - got);
        int k = gzread(f, (char *)buf + got, want);
        if (k < 0) {
            int code;
            const char *why = gzerror(f, &code);
            if (code == Z_MEM_ERROR) return rt_fail(SMKD_R_NOMEM, "%s: out of memory to unpack it", path);
            return rt_fail(SMKD_R_INVALID, "%s: damaged compressed data after byte %lld (%s); fetch the file again",
                           path, at + (long long)got, why);
        }
        if (k == 0) break;
        got += (size_t)k;
    }
    if (got < n)
        return rt_fail(SMKD_R_INVALID, "%s: ends at byte %lld, inside %s; fetch the file again", path,
                       at + (long long)got, what);
    return SMKD_R_OK;
}

static uint32_t be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

// A file that is open behind its header.
struct idx {
    const char *path;
    gzFile f;
    uint32_t dims[3]; // the first is the number of records
    size_t record;    // bytes
    size_t packed;    // bytes of the file
};

// DEFLATE makes at most 1,032 bytes of one.
enum { MAX_INFLATION = 1032 };

// Opens a file of `rank` dimensions. Nothing is allocated or unpacked but the header, so that it can be compared with
// the other files and the model before it costs anything. Close with gzclose(x->f), also after a failure.
static enum smkd_result open_idx(struct idx *x, const char *path, int rank) {
    int fd;
    *x = (struct idx){.path = path, .record = 1};
    if (io_open(path, &fd, &x->packed) != SMKD_OK) return rt_fail(SMKD_R_IO, "%s: cannot be read: %s", path, io_why());
    x->f = gzdopen(fd, "rb"); // closes fd, too
    if (!x->f) {
        close(fd);
        return rt_fail(SMKD_R_NOMEM, "%s: out of memory to unpack it", path);
    }
    gzbuffer(x->f, 1 << 17);
    uint8_t head[16];
    enum smkd_result r = read_exact(x->f, path, head, 4 + 4 * (size_t)rank, "the header");
    if (r != SMKD_R_OK) return r;
    if (head[0] || head[1] || head[2] != 8 || head[3] != rank)
        return rt_fail(SMKD_R_INVALID,
                       "%s: starts with %02x%02x%02x%02x, an IDX file of bytes with %d dimension%s starts with "
                       "000008%02x",
                       path, head[0], head[1], head[2], head[3], rank, rank > 1 ? "s" : "", rank);
    for (int i = 0; i < rank; i++) {
        uint32_t d = x->dims[i] = be32(head + 4 + 4 * i);
        if (d == 0 || (i && d > MAX_SIDE))
            return rt_fail(SMKD_R_INVALID, "%s: dimension %d in the header is %u, expected 1 to %u", path, i, d,
                           i ? MAX_SIDE : UINT32_MAX);
        if (i) x->record *= d;
    }
    if (!gzdirect(x->f) && x->dims[0] * (uint64_t)x->record / MAX_INFLATION > x->packed)
        return rt_fail(
            SMKD_R_INVALID,
            "%s: its header claims %u records of %zu bytes, more than its %zu compressed bytes can hold; fetch the "
            "file again",
            path, x->dims[0], x->record, x->packed);
    return SMKD_R_OK;
}

// Reads all records and keeps the first `keep` of them in *data (the caller's also after a failure). counts[v] grows by
// how often the byte v occurs in all. Memory grows with what is really there, so a header that lies costs nothing.
static enum smkd_result read_records(struct idx *x, size_t keep, uint8_t **data, uint64_t counts[256]) {
    const size_t n = x->dims[0], record = x->record;
    if (!budget_allows((uint64_t)keep * record)) return rt_fail(SMKD_R_NOMEM, "%s: %s", x->path, budget_why());
    size_t cap = 0, chunk = CHUNK_BYTES / record ? CHUNK_BYTES / record : 1;
    uint8_t *rest = NULL;
    enum smkd_result r = SMKD_R_OK;
    for (size_t done = 0, k; done < n && r == SMKD_R_OK; done += k) {
        k = n - done < chunk ? n - done : chunk;
        if (done < keep && k > keep - done) k = keep - done;
        if (done + k > cap && done < keep) {
            cap = 2 * cap > done + k ? 2 * cap : done + k;
            if (cap > keep) cap = keep;
            *data = xrealloc(*data, cap * record);
        }
        if (done >= keep && !rest) rest = xmalloc(chunk * record);
        uint8_t *to = done < keep ? *data + done * record : rest;
        char what[64];
        snprintf(what, sizeof what, "record %zu to %zu of %zu", done, done + k - 1, n);
        r = read_exact(x->f, x->path, to, k * record, what);
        for (size_t i = 0; r == SMKD_R_OK && i < k * record; i++) counts[to[i]]++;
    }
    free(rest);
    uint8_t more;
    if (r == SMKD_R_OK && gzread(x->f, &more, 1) == 1)
        r = rt_fail(SMKD_R_INVALID, "%s: has bytes after its %zu records; fetch the file again", x->path, n);
    return r;
}

// The largest label of a file, or the first that is too large named.
static enum smkd_result check_labels(const struct idx *x, const uint8_t *labels, size_t n, const uint64_t counts[256],
                                     int classes, int *largest) {
    *largest = 255;
    while (*largest && !counts[*largest]) --*largest;
    if (*largest < classes) return SMKD_R_OK;
    size_t i = 0;
    while (i < n && labels[i] < classes) i++;
    return rt_fail(SMKD_R_INVALID,
                   "%s: record %zu (offset %zu) has label %d, expected 0 to %d, the outputs of the model; the "
                   "largest label is %d: make the model with --classes %d",
                   x->path, i, i + 8, labels[i], classes - 1, *largest, *largest + 1);
}

// *most becomes the largest label, if that is larger; counts are those of all pixels, whatever the limit.
static enum smkd_result load_part(const char *dir, const struct part *part, const struct rt_data_want *want,
                                  size_t limit, struct rt_images *im, int *most, uint64_t counts[256]) {
    char *images = find_file(dir, part->images), *labels = find_file(dir, part->labels);
    uint8_t *bytes = NULL;
    uint64_t label_counts[256] = {0};
    struct idx x = {0}, y = {0};
    enum smkd_result r;
    if (!images || !labels) {
        r = rt_fail(SMKD_R_IO, "%s: %s[.gz] is missing", dir, images ? part->labels : part->images);
        goto out;
    }
    if ((r = open_idx(&x, images, 3)) != SMKD_R_OK || (r = open_idx(&y, labels, 1)) != SMKD_R_OK) goto out;
    if (x.dims[0] != y.dims[0]) {
        r = rt_fail(SMKD_R_INVALID, "%s: has %u labels for the %u images of %s", labels, y.dims[0], x.dims[0], images);
        goto out;
    }
    im->n = limit && limit < x.dims[0] ? limit : x.dims[0];
    im->channels = 1;
    im->height = (int)x.dims[1];
    im->width = (int)x.dims[2];
    if (want->height && (r = rt_transform_fits(im, want->channels, want->height, want->width)) != SMKD_R_OK) goto out;
    if ((r = read_records(&y, y.dims[0], &bytes, label_counts)) != SMKD_R_OK) goto out;
    int largest;
    if ((r = check_labels(&y, bytes, y.dims[0], label_counts, want->classes, &largest)) != SMKD_R_OK) goto out;
    if (largest > *most) *most = largest;
    if ((r = read_records(&x, im->n, &im->pixels, counts)) != SMKD_R_OK) goto out;
    im->labels = xcalloc(im->n, sizeof *im->labels);
    for (size_t i = 0; i < im->n; i++) im->labels[i] = bytes[i];
out:
    if (x.f) gzclose(x.f);
    if (y.f) gzclose(y.f);
    free(images);
    free(labels);
    free(bytes);
    return r;
}

// Mean and standard deviation of all pixels on a 0..1 scale, to four digits as they are usually given: .2860 and .3530
// for Fashion-MNIST, .1307 and .3081 for MNIST.
static void measure(const uint64_t count[256], float *mean, float *std) {
    uint64_t total = 0;
    double sum = 0, squares = 0;
    for (int v = 0; v < 256; v++) {
        total += count[v];
        sum += (double)count[v] * v / 255;
        squares += (double)count[v] * v / 255 * v / 255;
    }
    double m = sum / (double)total, variance = squares / (double)total - m * m;
    *mean = (float)(round(m * 1e4) / 1e4);
    *std = (float)(round(sqrt(variance > 0 ? variance : 0) * 1e4) / 1e4);
    if (*std <= 0) *std = 1; // a set of equal pixels
}

enum smkd_result rt_idx_load(const char *dir, const struct rt_data_want *want, struct rt_dataset *out) {
    int most = 0;
    uint64_t counts[256] = {0}, unused[256] = {0};
    enum smkd_result r = load_part(dir, &parts[0], want, want->train_limit, &out->train, &most, counts);
    if (r == SMKD_R_OK) r = load_part(dir, &parts[1], want, want->test_limit, &out->test, &most, unused);
    if (r != SMKD_R_OK) return r;
    out->train_total = 0;
    for (int v = 0; v < 256; v++) out->train_total += counts[v];
    out->train_total /= (size_t)out->train.height * (size_t)out->train.width;
    out->classes = most + 1;
    out->max_classes = want->classes;
    if (out->train.height != out->test.height || out->train.width != out->test.width)
        return rt_fail(SMKD_R_INVALID, "%s: training images are %dx%d, test images %dx%d", dir, out->train.height,
                       out->train.width, out->test.height, out->test.width);
    measure(counts, &out->mean[0], &out->std[0]);
    return SMKD_R_OK;
}
