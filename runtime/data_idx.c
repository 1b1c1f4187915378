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

// Reads one file of `rank` dimensions: dims[0] records of the bytes the other dims make. The memory grows with what is
// really there, so a header that lies costs nothing.
static enum smkd_result read_file(const char *path, int rank, uint32_t *dims, uint8_t **data) {
    int fd;
    size_t bytes;
    if (io_open(path, &fd, &bytes) != SMKD_OK) return rt_fail(SMKD_R_IO, "%s: cannot be read: %s", path, io_why());
    gzFile f = gzdopen(fd, "rb"); // closes fd, too
    if (!f) {
        close(fd);
        return rt_fail(SMKD_R_NOMEM, "%s: out of memory to unpack it", path);
    }
    gzbuffer(f, 1 << 17);
    uint8_t head[16];
    enum smkd_result r = read_exact(f, path, head, 4 + 4 * (size_t)rank, "the header");
    if (r != SMKD_R_OK) goto out;
    if (head[0] || head[1] || head[2] != 8 || head[3] != rank) {
        r = rt_fail(SMKD_R_INVALID,
                    "%s: starts with %02x%02x%02x%02x, an IDX file of bytes with %d dimension%s starts with "
                    "000008%02x",
                    path, head[0], head[1], head[2], head[3], rank, rank > 1 ? "s" : "", rank);
        goto out;
    }
    size_t record = 1;
    for (int i = 0; i < rank; i++) {
        dims[i] = be32(head + 4 + 4 * i);
        if (dims[i] == 0 || (i && dims[i] > MAX_SIDE)) {
            r = rt_fail(SMKD_R_INVALID, "%s: dimension %d in the header is %u, expected 1 to %u", path, i, dims[i],
                        i ? MAX_SIDE : UINT32_MAX);
            goto out;
        }
        if (i) record *= dims[i];
    }
    uint8_t *p = NULL;
    size_t cap = 0, chunk = CHUNK_BYTES / record ? CHUNK_BYTES / record : 1;
    for (size_t done = 0; done < dims[0];) {
        size_t n = dims[0] - done < chunk ? dims[0] - done : chunk;
        if (done + n > cap) {
            cap = 2 * cap > done + n ? 2 * cap : done + n;
            if (cap > dims[0]) cap = dims[0];
            p = xrealloc(p, cap * record);
        }
        char what[64];
        snprintf(what, sizeof what, "record %zu to %zu of %u", done, done + n - 1, dims[0]);
        r = read_exact(f, path, p + done * record, n * record, what);
        if (r != SMKD_R_OK) break;
        done += n;
    }
    if (r == SMKD_R_OK && gzread(f, head, 1) == 1)
        r = rt_fail(SMKD_R_INVALID, "%s: has bytes after its %u records; fetch the file again", path, dims[0]);
    if (r == SMKD_R_OK)
        *data = p;
    else
        free(p);
out:
    gzclose(f);
    return r;
}

// *most becomes the largest label, if that is larger.
static enum smkd_result load_part(const char *dir, const struct part *part, int classes, struct rt_images *im,
                                  int *most) {
    char *images = find_file(dir, part->images), *labels = find_file(dir, part->labels);
    uint8_t *bytes = NULL;
    uint32_t dims[3] = {0}, count = 0;
    enum smkd_result r;
    if (!images || !labels) {
        r = rt_fail(SMKD_R_IO, "%s: %s[.gz] is missing", dir, images ? part->labels : part->images);
        goto out;
    }
    if ((r = read_file(images, 3, dims, &im->pixels)) != SMKD_R_OK) goto out;
    if ((r = read_file(labels, 1, &count, &bytes)) != SMKD_R_OK) goto out;
    if (count != dims[0]) {
        r = rt_fail(SMKD_R_INVALID, "%s: has %u labels for the %u images of %s", labels, count, dims[0], images);
        goto out;
    }
    im->n = count;
    im->channels = 1;
    im->height = (int)dims[1];
    im->width = (int)dims[2];
    im->labels = xcalloc(count, sizeof *im->labels);
    int largest = 0;
    for (size_t i = 0; i < count; i++) {
        im->labels[i] = bytes[i];
        if (bytes[i] > largest) largest = bytes[i];
    }
    for (size_t i = 0; largest >= classes && i < count; i++)
        if (bytes[i] >= classes) {
            r = rt_fail(SMKD_R_INVALID,
                        "%s: record %zu (offset %zu) has label %d, expected 0 to %d, the outputs of the model; the "
                        "largest label is %d: make the model with --classes %d",
                        labels, i, i + 8, bytes[i], classes - 1, largest, largest + 1);
            goto out;
        }
    if (largest > *most) *most = largest;
out:
    free(images);
    free(labels);
    free(bytes);
    return r;
}

// Mean and standard deviation of all pixels on a 0..1 scale, to four digits as they are usually given: .2860 and .3530
// for Fashion-MNIST, .1307 and .3081 for MNIST.
static void measure(const struct rt_images *im, float *mean, float *std) {
    uint64_t count[256] = {0};
    size_t total = im->n * (size_t)im->height * (size_t)im->width;
    for (size_t i = 0; i < total; i++) count[im->pixels[i]]++;
    double sum = 0, squares = 0;
    for (int v = 0; v < 256; v++) {
        sum += (double)count[v] * v / 255;
        squares += (double)count[v] * v / 255 * v / 255;
    }
    double m = sum / (double)total, variance = squares / (double)total - m * m;
    *mean = (float)(round(m * 1e4) / 1e4);
    *std = (float)(round(sqrt(variance > 0 ? variance : 0) * 1e4) / 1e4);
    if (*std <= 0) *std = 1; // a set of equal pixels
}

enum smkd_result rt_idx_load(const char *dir, int classes, struct rt_dataset *out) {
    int most = 0;
    enum smkd_result r = load_part(dir, &parts[0], classes, &out->train, &most);
    if (r == SMKD_R_OK) r = load_part(dir, &parts[1], classes, &out->test, &most);
    if (r != SMKD_R_OK) return r;
    out->classes = most + 1;
    out->max_classes = classes;
    if (out->train.height != out->test.height || out->train.width != out->test.width)
        return rt_fail(SMKD_R_INVALID, "%s: training images are %dx%d, test images %dx%d", dir, out->train.height,
                       out->train.width, out->test.height, out->test.width);
    measure(&out->train, &out->mean[0], &out->std[0]);
    return SMKD_R_OK;
}
