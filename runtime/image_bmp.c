// BMP, which no library of Debian's reads without much else: 1, 4 and 8 bits with a palette (also run-length encoded),
// 16, 24 and 32 bits, any bit fields, either order of rows. Every position is checked against the file before it is
// read.
#include "image_formats.h"

#include <string.h>

bool image_is_bmp(const unsigned char *p, size_t n) { return n >= 2 && p[0] == 'B' && p[1] == 'M'; }

static uint32_t u16(const unsigned char *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32(const unsigned char *p) { return u16(p) | u16(p + 2) << 16; }

enum { RGB, RLE8, RLE4, BITFIELDS, ALPHA_BITFIELDS = 6 }; // of the header's "compression"

struct bmp {
    struct image_job *j;
    uint32_t header, bits, compression, offset;
    bool old, down; // OS/2's header of 12 bytes; the first row is the upper one
    size_t palette, n_colors;
    uint32_t mask[3];
};

static void put(const struct bmp *b, int64_t x, int64_t y, const unsigned char rgb[3]) {
    int64_t row = b->down ? y : b->j->out->height - 1 - y;
    memcpy(b->j->out->rgb + (row * b->j->out->width + x) * 3, rgb, 3);
}

static void put_index(const struct bmp *b, int64_t x, int64_t y, size_t index) {
    unsigned char rgb[3] = {0};
    if (index < b->n_colors) {
        const unsigned char *c = b->j->data + b->palette + index * (b->old ? 3 : 4);
        for (int k = 0; k < 3; k++) rgb[k] = c[2 - k];
    }
    put(b, x, y, rgb);
}

// The bits of a mask as 8: few are stretched to the whole range, as Pillow does it.
static unsigned char field(uint32_t v, uint32_t mask) {
    if (!mask) return 0;
    while (!(mask & 1)) {
        mask >>= 1;
        v >>= 1;
    }
    v &= mask;
    return (unsigned char)(mask == 255 ? v : (uint64_t)v * 255 / mask);
}

static bool read_plain(const struct bmp *b) {
    const struct image_job *j = b->j;
    int64_t w = j->out->width, h = j->out->height;
    size_t stride = ((size_t)w * b->bits + 31) / 32 * 4;
    const size_t pixels = ((size_t)w * b->bits + 7) / 8; // of the last row, which may lack what fills it up
    if (b->offset > j->size || j->size - b->offset < pixels || (j->size - b->offset - pixels) / stride < (size_t)h - 1)
        return image_fail(b->j, "the file is truncated");
    for (int64_t y = 0; y < h; y++) {
        const unsigned char *row = j->data + b->offset + (size_t)y * stride;
        for (int64_t x = 0; x < w; x++) {
            if (b->bits <= 8) {
                size_t bit = (size_t)x * b->bits, shift = 8 - b->bits - bit % 8;
                put_index(b, x, y, row[bit / 8] >> shift & ((1u << b->bits) - 1));
            } else if (b->bits == 24) {
                put(b, x, y, (unsigned char[]){row[3 * x + 2], row[3 * x + 1], row[3 * x]});
            } else {
                uint32_t v = b->bits == 16 ? u16(row + 2 * x) : u32(row + 4 * x);
                unsigned char rgb[3];
                for (int k = 0; k < 3; k++) rgb[k] = field(v, b->mask[k]);
                put(b, x, y, rgb);
            }
        }
    }
    return true;
}

// Runs (count, value) and escapes (0, code): end of line, end of picture, a jump, or `code` values as they are. What
// nothing is written to has colour 0.
static bool read_runs(const struct bmp *b) {
    struct image_job *j = b->j;
    const unsigned char *p = j->data + (b->offset < j->size ? b->offset : j->size), *end = j->data + j->size;
    int64_t w = j->out->width, h = j->out->height, x = 0, y = 0;
    const bool four = b->compression == RLE4;
    for (int64_t i = 0; i < h; i++)
        for (int64_t k = 0; k < w; k++) put_index(b, k, i, 0);
    while (y < h) {
        if (end - p < 2) return image_fail(j, "the file is truncated");
        unsigned n = p[0], v = p[1];
        p += 2;
        if (n) {
            for (unsigned i = 0; i < n && x < w; i++, x++) put_index(b, x, y, !four ? v : i % 2 ? v & 15 : v >> 4);
        } else if (v == 0) {
            x = 0;
            y++;
        } else if (v == 1) {
            if (y == h - 1 && x >= w) break;
            return image_fail(j, "its picture ends in row %lld of %lld", (long long)y + 1, (long long)h);
        } else if (v == 2) {
            if (end - p < 2) return image_fail(j, "the file is truncated");
            x += p[0];
            y += p[1];
            p += 2;
        } else {
            size_t bytes = four ? (v + 1) / 2 : v;
            if ((size_t)(end - p) < bytes) return image_fail(j, "the file is truncated");
            for (unsigned i = 0; i < v && x < w; i++, x++)
                put_index(b, x, y, !four ? p[i] : i % 2 ? p[i / 2] & 15 : p[i / 2] >> 4);
            p += bytes + bytes % 2;
            if (p > end) p = end;
        }
    }
    return true;
}

static bool read_masks(struct bmp *b) {
    static const uint32_t usual16[3] = {0x7c00, 0x3e0, 0x1f}, usual32[3] = {0xff0000, 0xff00, 0xff};
    memcpy(b->mask, b->bits == 16 ? usual16 : usual32, sizeof b->mask);
    if (b->compression != BITFIELDS && b->compression != ALPHA_BITFIELDS) return true;
    if (b->j->size < 14 + 40 + 12) return image_fail(b->j, "the file is truncated");
    const unsigned char *p = b->j->data + 14 + 40;
    for (int k = 0; k < 3 && (u32(p) | u32(p + 4) | u32(p + 8)); k++) b->mask[k] = u32(p + 4 * k); // none: the usual ones
    return true;
}

bool image_bmp(struct image_job *j) {
    const unsigned char *p = j->data;
    struct bmp b = {.j = j};
    if (j->size < 26) return image_fail(j, "the file is truncated");
    b.offset = u32(p + 10);
    b.header = u32(p + 14);
    b.old = b.header == 12;
    if (!b.old && (b.header < 40 || b.header > 1024 || j->size < 14 + 40))
        return image_fail(j, "its header has %u bytes, or the file is truncated", b.header);
    int64_t width = b.old ? (int64_t)u16(p + 18) : (int32_t)u32(p + 18);
    int64_t height = b.old ? (int64_t)u16(p + 20) : (int32_t)u32(p + 22);
    b.bits = u16(p + (b.old ? 24 : 28));
    b.compression = b.old ? RGB : u32(p + 30);
    b.down = height < 0;
    if (b.down) height = -height;
    bool runs = (b.compression == RLE8 && b.bits == 8) || (b.compression == RLE4 && b.bits == 4);
    bool fields = (b.compression == BITFIELDS || b.compression == ALPHA_BITFIELDS) && (b.bits == 16 || b.bits == 32);
    bool known = b.bits == 1 || b.bits == 4 || b.bits == 8 || b.bits == 16 || b.bits == 24 || b.bits == 32;
    if (!known || (b.compression != RGB && !runs && !fields))
        return image_fail(j, "%u bits a pixel with compression %u are not supported", b.bits, b.compression);
    if (b.bits <= 8) {
        size_t most = (size_t)1 << b.bits, used = b.old ? 0 : u32(p + 46), entry = b.old ? 3 : 4;
        b.palette = 14 + (size_t)b.header;
        b.n_colors = used && used < most ? used : most;
        if (b.palette > j->size || (j->size - b.palette) / entry < b.n_colors)
            return image_fail(j, "its palette is cut off");
    }
    if (!read_masks(&b)) return false;
    // Rows of runs may be left out, but not all: a few bytes do not ask for gigabytes.
    return image_make(j, width, height) && (runs ? read_runs(&b) : read_plain(&b));
}
