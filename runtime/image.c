// Which decoder a file is for, and what is the same for all of them.
#include "image_formats.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static const struct {
    const char *name;
    bool (*is)(const unsigned char *p, size_t n);
    bool (*decode)(struct image_job *j);
} formats[] = {
    {"JPEG", image_is_jpeg, image_jpeg},
    {"PNG", image_is_png, image_png},
    {"WebP", image_is_webp, image_webp},
    {"BMP", image_is_bmp, image_bmp},
};
enum { N_FORMATS = sizeof formats / sizeof *formats };

void rt_image_release(struct rt_image *im) {
    free(im->rgb);
    *im = (struct rt_image){0};
}

bool rt_image_suffix(const char *name) {
    static const char *const known[] = {".jpg", ".jpeg", ".png", ".webp", ".bmp"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof known / sizeof *known; i++)
        if (strcasecmp(dot, known[i]) == 0) return true;
    return false;
}

bool image_fail(struct image_job *j, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(j->why, sizeof j->why, fmt, ap);
    va_end(ap);
    return false;
}

bool image_make(struct image_job *j, int64_t width, int64_t height) {
    if (width < 1 || height < 1) return image_fail(j, "it has %lld x %lld pixels", (long long)width, (long long)height);
    if (width > INT32_MAX || height > RT_IMAGE_MAX_PIXELS / width)
        return image_fail(j, "it has %lld x %lld pixels, more than %lld in all", (long long)width, (long long)height,
                          (long long)RT_IMAGE_MAX_PIXELS);
    if (j->probe) {
        j->out->width = (int)width;
        j->out->height = (int)height;
        return false;
    }
    if (!budget_allows((uint64_t)width * (uint64_t)height * 3))
        return image_fail(j, "it has %lld x %lld pixels: %s", (long long)width, (long long)height, budget_why());
    j->out->width = (int)width;
    j->out->height = (int)height;
    j->out->rgb = malloc((size_t)width * (size_t)height * 3);
    return j->out->rgb || image_fail(j, "out of memory for %lld x %lld pixels", (long long)width, (long long)height);
}

bool image_swaps(const struct image_job *j) { return j->o->upright && j->orientation >= 5; }

void image_need(struct image_job *j, int width, int height, struct rt_image_need *out) {
    *out = (struct rt_image_need){0};
    if (!j->o->need || j->probe) return;
    j->asked = true;
    const bool swap = image_swaps(j);
    j->o->need(j->o->env, swap ? height : width, swap ? width : height, out);
    if (swap) {
        int w = out->min_width;
        out->min_width = out->min_height;
        out->min_height = w;
    }
}

int image_exif_orientation(const unsigned char *p, size_t n) {
    enum { ORIENTATION = 0x0112, SHORT = 3, ENTRY = 12 };
    if (n >= 6 && memcmp(p, "Exif\0\0", 6) == 0) {
        p += 6;
        n -= 6;
    }
    bool big = n >= 8 && memcmp(p, "MM\0*", 4) == 0;
    if (!big && (n < 8 || memcmp(p, "II*\0", 4) != 0)) return 1;
#define U16(at) ((unsigned)(big ? p[at] << 8 | p[(at) + 1] : p[(at) + 1] << 8 | p[at]))
#define U32(at) (big ? U16(at) << 16 | U16((at) + 2) : U16((at) + 2) << 16 | U16(at))
    size_t ifd = U32(4);
    if (ifd > n || n - ifd < 2) return 1;
    size_t count = U16(ifd);
    for (size_t i = 0; i < count && n - ifd - 2 >= (i + 1) * ENTRY; i++) {
        size_t at = ifd + 2 + i * ENTRY;
        if (U16(at) != ORIENTATION) continue;
        unsigned v = U16(at + 8);
        return U16(at + 2) == SHORT && v >= 1 && v <= 8 ? (int)v : 1;
    }
    return 1;
#undef U16
#undef U32
}

// Where pixel (x, y) of the upright image lies in the stored one, by orientation: the first pixel, and the steps along
// x and y, in units of the stored image's width and height.
static bool turn(struct image_job *j) {
    static const struct {
        bool swap, right, down; // rows are columns; the first pixel lies at the right, at the bottom
    } how[9] = {[2] = {0, 1, 0}, [3] = {0, 1, 1}, [4] = {0, 0, 1}, [5] = {1, 0, 0},
                [6] = {1, 0, 1}, [7] = {1, 1, 1}, [8] = {1, 1, 0}};
    if (j->orientation == 1) return true;
    struct rt_image from = *j->out;
    *j->out = (struct rt_image){0};
    bool swap = how[j->orientation].swap, right = how[j->orientation].right, down = how[j->orientation].down;
    if (!image_make(j, swap ? from.height : from.width, swap ? from.width : from.height)) {
        free(from.rgb);
        return false;
    }
    uint8_t *to = j->out->rgb;
    for (int y = 0; y < j->out->height; y++)
        for (int x = 0; x < j->out->width; x++, to += 3) {
            int sx = swap ? y : x, sy = swap ? x : y;
            if (right) sx = from.width - 1 - sx;
            if (down) sy = from.height - 1 - sy;
            memcpy(to, from.rgb + ((size_t)sy * (size_t)from.width + (size_t)sx) * 3, 3);
        }
    free(from.rgb);
    return true;
}

static enum smkd_result decode(const char *name, const void *data, size_t size, const struct rt_image_options *o,
                               bool probe, struct rt_image *out) {
    *out = (struct rt_image){0};
    struct image_job j = {.data = data, .size = size, .o = o, .out = out, .orientation = 1, .probe = probe};
    size_t k = 0;
    while (k < N_FORMATS && !formats[k].is(data, size)) k++;
    if (k == N_FORMATS)
        return rt_fail(SMKD_R_INVALID, "%s: not an image (%s); JPEG, PNG, WebP or BMP is expected", name,
                       size ? "its first bytes are of no known format" : "the file is empty");
    errno = 0;
    if (formats[k].decode(&j) && (!o->upright || turn(&j))) {
        struct rt_image_need all;
        if (o->need && !j.asked) o->need(o->env, out->width, out->height, &all);
        return SMKD_R_OK;
    }
    if (probe && out->width && !out->rgb) return SMKD_R_OK;
    const bool memory = errno == ENOMEM; // libraries that get none call the file damaged
    rt_image_release(out);
    if (memory) return rt_fail(SMKD_R_NOMEM, "%s: out of memory while decoding it", name);
    return rt_fail(SMKD_R_INVALID, "%s: cannot be decoded as %s: %s", name, formats[k].name, j.why);
}

enum smkd_result rt_image_decode(const char *name, const void *data, size_t size, const struct rt_image_options *o,
                                 struct rt_image *out) {
    return decode(name, data, size, o, false, out);
}

// A file's bytes, to be freed; at most `most` of them (0: all).
static enum smkd_result load(const char *path, size_t most, uint8_t **data, size_t *size) {
    int fd;
    *data = NULL;
    *size = 0;
    enum smkd_status s = io_open(path, &fd, size);
    if (s != SMKD_OK) return rt_fail(rt_result(s), "%s: cannot be read: %s", path, io_why());
    if (most && *size > most) *size = most;
    enum smkd_result r = SMKD_R_OK;
    if (!budget_allows(*size)) r = rt_fail(SMKD_R_INVALID, "%s: cannot be read: %s", path, budget_why());
    if (r == SMKD_R_OK && !(*data = malloc(*size ? *size : 1)))
        r = rt_fail(SMKD_R_NOMEM, "%s: out of memory for its %zu bytes", path, *size);
    size_t at = 0;
    while (r == SMKD_R_OK && at < *size) {
        ssize_t n = read(fd, *data + at, *size - at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) r = rt_fail(SMKD_R_IO, "%s: cannot be read: %s", path, strerror(errno));
        if (n == 0) *size = at; // it shrank
        if (n > 0) at += (size_t)n;
    }
    close(fd);
    return r;
}

enum smkd_result rt_image_read(const char *path, const struct rt_image_options *o, struct rt_image *out) {
    uint8_t *data;
    size_t size;
    *out = (struct rt_image){0};
    enum smkd_result r = load(path, 0, &data, &size);
    if (r == SMKD_R_OK) r = rt_image_decode(path, data, size, o, out);
    free(data);
    return r;
}

enum smkd_result rt_image_probe(const char *path, int64_t *pixels) {
    enum { HEAD = 64 << 10 }; // holds the headers of nearly all files; the others are read whole
    const struct rt_image_options o = {0};
    struct rt_image im = {0};
    enum smkd_result r = SMKD_R_INVALID;
    for (size_t most = HEAD; r != SMKD_R_OK; most = 0) {
        uint8_t *data;
        size_t size;
        r = load(path, most, &data, &size);
        if (r == SMKD_R_OK) r = decode(path, data, size, &o, true, &im);
        free(data);
        if (!most || size < most) break;
    }
    *pixels = (int64_t)im.width * im.height;
    return r;
}
