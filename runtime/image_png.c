// PNG by libpng: every colour type and depth, interlaced or not.
#include "image_formats.h"

#include <png.h>
#include <stdlib.h>
#include <string.h>

struct source {
    struct image_job *job;
    size_t at;
};

static void on_error(png_structp png, png_const_charp text) {
    struct source *s = png_get_error_ptr(png);
    image_fail(s->job, "%s", text);
    png_longjmp(png, 1);
}
static void on_warning(png_structp png, png_const_charp text) { (void)png, (void)text; }

static void on_read(png_structp png, png_bytep to, size_t n) {
    struct source *s = png_get_io_ptr(png);
    if (n > s->job->size - s->at) png_error(png, "the file is truncated");
    memcpy(to, s->job->data + s->at, n);
    s->at += n;
}

bool image_is_png(const unsigned char *p, size_t n) { return n >= 8 && memcmp(p, "\x89PNG\r\n\x1a\n", 8) == 0; }

// Grey of 16 bits is clipped to 255, as Pillow does it, since there it is an image of whole numbers. In place: three
// bytes have room for two.
static void clip_grey(uint8_t *row, size_t n) {
    while (n--) memset(row + 3 * n, row[2 * n] ? 255 : row[2 * n + 1], 3);
}

// `rows` lives outside the function that jumps.
static bool read_png(png_structp png, png_infop info, struct image_job *j, png_bytep **rows) {
    if (setjmp(png_jmpbuf(png))) return false;
    png_set_user_limits(png, INT32_MAX, INT32_MAX);
    png_set_chunk_malloc_max(png, 64 << 20); // of one ancillary chunk
    png_read_info(png, info);
    png_uint_32 width = png_get_image_width(png, info), height = png_get_image_height(png, info);
    int type = png_get_color_type(png, info), depth = png_get_bit_depth(png, info);
    const bool grey16 = depth == 16 && type == PNG_COLOR_TYPE_GRAY;
    if (!grey16) {
        png_set_expand(png);   // palettes to colours, few bits to 8, transparency to alpha
        png_set_strip_16(png); // the low byte
        png_set_strip_alpha(png);
        png_set_gray_to_rgb(png);
    }
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    if (!image_make(j, width, height)) return false;
    if (png_get_rowbytes(png, info) != (size_t)width * (grey16 ? 2 : 3)) png_error(png, "its rows have another size");
    *rows = malloc(height * sizeof **rows);
    if (!*rows) return image_fail(j, "out of memory");
    for (png_uint_32 y = 0; y < height; y++) (*rows)[y] = j->out->rgb + (size_t)y * width * 3;
    png_read_image(png, *rows);
    for (png_uint_32 y = 0; grey16 && y < height; y++) clip_grey((*rows)[y], width);
    png_bytep exif;
    png_uint_32 n_exif;
    if (png_get_eXIf_1(png, info, &n_exif, &exif)) j->orientation = image_exif_orientation(exif, n_exif);
    return true;
}

bool image_png(struct image_job *j) {
    struct source s = {.job = j};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &s, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    png_bytep *rows = NULL;
    bool ok = false;
    if (info) {
        png_set_read_fn(png, &s, on_read);
        ok = read_png(png, info, j, &rows);
    } else {
        image_fail(j, "out of memory");
    }
    free(rows);
    png_destroy_read_struct(&png, &info, NULL);
    return ok;
}
