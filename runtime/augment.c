// From an image's bytes to the network's normalised input, cropped and mirrored at random on the way.
#include "data.h"

#include <string.h>

#define CROP_PAD 4

static const char *const words[] = {
    [0] = "none",
    [RT_AUGMENT_CROP] = "crop",
    [RT_AUGMENT_FLIP] = "flip",
    [RT_AUGMENT_CROP | RT_AUGMENT_FLIP] = "crop-flip",
};

enum smkd_result rt_augment_parse(const char *text, unsigned *flags) {
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(text, words[i]) != 0) continue;
        *flags = i;
        return SMKD_R_OK;
    }
    return rt_fail(SMKD_R_INVALID, "--augment %s: expected crop-flip, crop, flip or none", text);
}

const char *rt_augment_text(unsigned flags) { return words[flags & (RT_AUGMENT_CROP | RT_AUGMENT_FLIP)]; }

enum smkd_result rt_transform_fits(const struct rt_images *im, int channels, int height, int width) {
    if (im->channels > RT_MAX_CHANNELS || channels > RT_MAX_CHANNELS || (im->channels != channels && im->channels != 1))
        return rt_fail(SMKD_R_MISMATCH,
                       "the model takes %d channel%s, the images have %d; make the model with --input "
                       "%dx%dx%d",
                       channels, channels == 1 ? "" : "s", im->channels, im->channels, im->height, im->width);
    if (height < im->height || width < im->width)
        return rt_fail(SMKD_R_MISMATCH,
                       "the model takes %dx%d pixels, the images have %dx%d; make the model with --input "
                       "%dx%dx%d",
                       height, width, im->height, im->width, im->channels, im->height, im->width);
    return SMKD_R_OK;
}

// Values have no black to put around them, and need not be images at all.
static enum smkd_result values_fit(const struct rt_images *im, int channels, int height, int width, bool *flat) {
    const int64_t have = (int64_t)im->channels * im->height * im->width, takes = (int64_t)channels * height * width;
    *flat = (im->channels == 1 && im->height == 1) || (channels == 1 && height == 1);
    if (*flat ? have == takes
              : im->height == height && im->width == width && (im->channels == channels || im->channels == 1))
        return SMKD_R_OK;
    return rt_fail(SMKD_R_MISMATCH, "the model takes %dx%dx%d numbers a sample, the arrays have %dx%dx%d", channels,
                   height, width, im->channels, im->height, im->width);
}

enum smkd_result rt_transform_init(struct rt_transform *t, const struct rt_images *im, int channels, int height,
                                   int width, unsigned flags, const float *mean, const float *std) {
    bool flat = false;
    enum smkd_result r =
        im->values ? values_fit(im, channels, height, width, &flat) : rt_transform_fits(im, channels, height, width);
    if (r == SMKD_R_OK && im->values && flags)
        r = rt_fail(SMKD_R_UNSUPPORTED, "--augment %s: works on pixels, uint8; other numbers are taken as they are",
                    rt_augment_text(flags));
    if (r != SMKD_R_OK) return r;
    *t = (struct rt_transform){
        .src_channels = im->channels,
        .src_height = im->height,
        .src_width = im->width,
        .channels = channels,
        .height = height,
        .width = width,
        .top = (height - im->height) / 2,
        .left = (width - im->width) / 2,
        .flags = flags,
        .values_last = im->last,
        .flat = flat,
    };
    for (int c = 0; im->values && c < im->channels; c++) {
        t->mean[c] = mean[c];
        t->std[c] = std[c];
    }
    for (int c = 0; !im->values && c < channels; c++) {
        int s = im->channels == 1 ? 0 : c;
        for (int v = 0; v < 256; v++) t->lut[c][v] = ((float)v / 255.0f - mean[s]) / std[s];
    }
    return SMKD_R_OK;
}

void rt_transform_run(const struct rt_transform *t, const uint8_t *pixels, struct rt_rng *rng, float *out) {
    int top = t->top, left = t->left;
    bool flip = false;
    if (rng && (t->flags & RT_AUGMENT_CROP)) {
        top += CROP_PAD - (int)rt_rng_below(rng, 2 * CROP_PAD + 1);
        left += CROP_PAD - (int)rt_rng_below(rng, 2 * CROP_PAD + 1);
    }
    if (rng && (t->flags & RT_AUGMENT_FLIP)) flip = rt_rng_uniform(rng) < 0.5;

    // Columns [x0, x1) of the (not yet mirrored) output show the image.
    int x0 = left > 0 ? left : 0;
    int x1 = left + t->src_width < t->width ? left + t->src_width : t->width;
    size_t plane = (size_t)t->src_height * (size_t)t->src_width;
    int step = t->channels_last ? t->channels : 1; // from a pixel to the next
    size_t next = t->channels_last ? 1 : (size_t)t->height * (size_t)t->width;
    for (int c = 0; c < t->channels; c++) {
        const float *lut = t->lut[c];
        const uint8_t *src = pixels + (t->src_channels == 1 ? 0 : (size_t)c * plane);
        float *to = out + (size_t)c * next;
        for (int y = 0; y < t->height; y++, to += t->width * step) {
            int sy = y - top;
            if (sy < 0 || sy >= t->src_height) {
                for (int x = 0; x < t->width; x++) to[x * step] = lut[0];
                continue;
            }
            const uint8_t *row = src + (size_t)sy * (size_t)t->src_width;
            for (int x = 0; x < x0; x++) to[(flip ? t->width - 1 - x : x) * step] = lut[0];
            for (int x = x0; x < x1; x++) to[(flip ? t->width - 1 - x : x) * step] = lut[row[x - left]];
            for (int x = x1 > x0 ? x1 : x0; x < t->width; x++) to[(flip ? t->width - 1 - x : x) * step] = lut[0];
        }
    }
}

void rt_transform_values(const struct rt_transform *t, const float *values, float *out) {
    const size_t height = (size_t)t->height, width = (size_t)t->width, channels = (size_t)t->channels;
    if (t->flat) {
        for (size_t i = 0; i < channels * height * width; i++) out[i] = (values[i] - t->mean[0]) / t->std[0];
        return;
    }
    // Steps to the next channel and pixel, of the values and of the network's input.
    const size_t from_channels = (size_t)t->src_channels, pixels = height * width;
    const size_t from_c = t->values_last ? 1 : pixels, from_p = t->values_last ? from_channels : 1;
    const size_t to_c = t->channels_last ? 1 : pixels, to_p = t->channels_last ? channels : 1;
    for (size_t c = 0; c < channels; c++) {
        const size_t k = from_channels == 1 ? 0 : c;
        for (size_t p = 0; p < pixels; p++)
            out[c * to_c + p * to_p] = (values[k * from_c + p * from_p] - t->mean[k]) / t->std[k];
    }
}
