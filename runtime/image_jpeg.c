// JPEG by libjpeg-turbo: baseline and progressive; grey, YCbCr, RGB, CMYK, YCCK. Its error handler would end the
// process; ours jumps back.
#include "image_formats.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

// A progressive file of a few kilobytes may have thousands of scans, each over all pixels. Encoders write about ten.
enum { MAX_SCANS = 500 };

struct handler {
    struct jpeg_error_mgr mgr; // first: libjpeg knows the handler by it
    jmp_buf back;
    struct image_job *job;
};

static void on_error(j_common_ptr c) {
    struct handler *h = (struct handler *)c->err;
    char text[JMSG_LENGTH_MAX];
    h->mgr.format_message(c, text);
    image_fail(h->job, "%s", text);
    longjmp(h->back, 1);
}

// Warnings are what every reader lives with, but for the end of the data: the rest of the picture would be grey.
static void on_message(j_common_ptr c, int level) {
    struct handler *h = (struct handler *)c->err;
    if (level >= 0 || h->mgr.msg_code != JWRN_JPEG_EOF) return;
    image_fail(h->job, "the file is truncated");
    longjmp(h->back, 1);
}

static void on_progress(j_common_ptr c) {
    struct handler *h = (struct handler *)c->err;
    if (((j_decompress_ptr)c)->input_scan_number <= MAX_SCANS) return;
    image_fail(h->job, "it has more than %d scans", MAX_SCANS);
    longjmp(h->back, 1);
}

bool image_is_jpeg(const unsigned char *p, size_t n) { return n >= 3 && memcmp(p, "\xff\xd8\xff", 3) == 0; }

// The smallest size, of those that cost less, that the caller can use.
static void set_scale(struct jpeg_decompress_struct *c, const struct rt_image_need *n) {
    if (n->min_width <= 0 || n->min_height <= 0) return;
    c->scale_num = 1;
    for (unsigned d = 8; d > 1; d /= 2)
        if ((c->image_width + d - 1) / d >= (unsigned)n->min_width &&
            (c->image_height + d - 1) / d >= (unsigned)n->min_height) {
            c->scale_denom = d;
            return;
        }
}

static uint8_t times(unsigned a, unsigned b) { // a * b / 255, rounded
    unsigned t = a * b + 128;
    return (uint8_t)((t + (t >> 8)) >> 8);
}

static void spread_grey(uint8_t *row, size_t n) {
    while (n--) memset(row + 3 * n, row[n], 3);
}

// Adobe's files hold what is left of the paper's white: 255 is no ink.
static void cmyk_to_rgb(const uint8_t *in, uint8_t *out, size_t n) {
    for (size_t i = 0; i < n; i++, in += 4, out += 3)
        for (int c = 0; c < 3; c++) out[c] = (uint8_t)(in[3] - times(255u - in[c], in[3]));
}

static void read_rows(struct jpeg_decompress_struct *c, struct image_job *j) {
    size_t width = c->output_width;
    JSAMPARRAY line = c->out_color_space == JCS_CMYK
                          ? c->mem->alloc_sarray((j_common_ptr)c, JPOOL_IMAGE, c->output_width * 4, 1)
                          : NULL;
    while (c->output_scanline < c->output_height) {
        uint8_t *row = j->out->rgb + (size_t)c->output_scanline * width * 3;
        jpeg_read_scanlines(c, line ? line : (JSAMPARRAY)&row, 1);
        if (line) cmyk_to_rgb(line[0], row, width);
        if (c->out_color_space == JCS_GRAYSCALE) spread_grey(row, width);
    }
}

bool image_jpeg(struct image_job *j) {
    struct jpeg_decompress_struct c;
    struct jpeg_progress_mgr progress = {.progress_monitor = on_progress};
    struct handler h = {.job = j};
    c.err = jpeg_std_error(&h.mgr);
    h.mgr.error_exit = on_error;
    h.mgr.emit_message = on_message;
    volatile bool made = false; // set between setjmp and longjmp
    if (setjmp(h.back)) {
        if (made) jpeg_destroy_decompress(&c);
        return false;
    }
    jpeg_create_decompress(&c);
    made = true;
    c.progress = &progress;
    jpeg_mem_src(&c, j->data, (unsigned long)j->size);
    jpeg_save_markers(&c, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(&c, TRUE);
    for (jpeg_saved_marker_ptr m = c.marker_list; m && j->orientation == 1; m = m->next)
        if (m->data_length >= 6 && memcmp(m->data, "Exif\0\0", 6) == 0)
            j->orientation = image_exif_orientation(m->data, m->data_length);
    c.out_color_space = c.num_components == 1 ? JCS_GRAYSCALE : c.num_components == 4 ? JCS_CMYK : JCS_RGB;
    struct rt_image_need need;
    image_need(j, (int)c.image_width, (int)c.image_height, &need);
    set_scale(&c, &need);
    jpeg_calc_output_dimensions(&c);
    bool ok = (int64_t)c.image_width * c.image_height <= RT_IMAGE_MAX_PIXELS
                  ? image_make(j, c.output_width, c.output_height)
                  : image_make(j, c.image_width, c.image_height); // too many: says so
    if (ok) {
        jpeg_start_decompress(&c);
        read_rows(&c, j);
    }
    jpeg_destroy_decompress(&c);
    return ok;
}
