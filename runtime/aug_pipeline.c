// From a decoded image to a network's input.
#include "aug_ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const rt_crops[] = {
    [RT_CROP_RESIZED] = "resized", [RT_CROP_PLAIN] = "plain", [RT_CROP_CENTER] = "center", NULL};

static enum smkd_result refuse(const char *flag, double v, const char *expected) {
    return rt_fail(SMKD_R_INVALID, "--%s %g: expected %s", flag, v, expected);
}

static bool is_geometric(enum rt_interpolation how) {
    return how == RT_NEAREST || how == RT_BILINEAR || how == RT_BICUBIC;
}

enum smkd_result rt_pipeline_init(struct rt_pipeline *p, const struct rt_transform_options *o) {
    enum { MOST = 65535 }; // pixels of a side
    if (o->channels != 1 && o->channels != 3)
        return rt_fail(SMKD_R_MISMATCH, "the model takes %d channels; images have 3, or 1 when they are grey",
                       o->channels);
    if (o->width < 1 || o->width > MOST || o->height < 1 || o->height > MOST)
        return rt_fail(SMKD_R_MISMATCH, "the model takes %dx%d pixels; sides from 1 to %d are expected", o->height,
                       o->width, MOST);
    for (int c = 0; c < o->channels; c++)
        if (!(o->std[c] > 0)) return refuse("std", (double)o->std[c], "numbers above 0");
    if (o->train_resize < 0 || o->train_resize > MOST)
        return refuse("train-resize-size", o->train_resize, "pixels from 1 to 65535, or 0 for none");
    if (o->val_resize < 0 || o->val_resize > MOST)
        return refuse("val-resize-size", o->val_resize, "pixels from 1 to 65535, or 0 for none");
    if (o->train_resize && o->crop != RT_CROP_PLAIN)
        return refuse("train-resize-size", o->train_resize, "--crop plain with it");
    if (o->pad && o->crop != RT_CROP_PLAIN)
        return refuse("pad", o->pad, "--crop plain with it: no other crop is padded");
    if (o->pad < 0 || o->pad > MOST) return refuse("pad", o->pad, "pixels from 0 to 65535");
    if (!(o->hflip >= 0 && o->hflip <= 1)) return refuse("hflip-prob", o->hflip, "a probability from 0 to 1");
    if (!(o->erase >= 0 && o->erase <= 1)) return refuse("random-erase", o->erase, "a probability from 0 to 1");
    if (o->cutout < 0 || o->cutout > MOST) return refuse("cutout", o->cutout, "the side of a square, from 0 to 65535");
    const struct rt_jitter *j = &o->jitter;
    if (!(j->brightness >= 0 && j->contrast >= 0 && j->saturation >= 0 && j->hue >= 0 && j->hue <= 0.5))
        return rt_fail(SMKD_R_INVALID, "--color-jitter: expected numbers from 0 on, and for hue from 0 to 0.5");
    if (o->policy != RT_POLICY_NONE && !is_geometric(o->how))
        return rt_fail(SMKD_R_INVALID,
                       "--interpolation %s: --auto-augment %s turns images and needs nearest, bilinear or "
                       "bicubic",
                       rt_interpolations[o->how], rt_policies[o->policy]);
    if (o->policy == RT_RA && (o->strength < 0 || o->strength >= RT_RA_BINS))
        return refuse("ra-magnitude", o->strength, "a whole number from 0 to 30");
    if (o->policy == RT_AUGMIX && (o->strength < 1 || o->strength > RT_AUGMIX_BINS))
        return refuse("augmix-severity", o->strength, "a whole number from 1 to 10");
    p->o = *o;
    for (int c = 0; c < o->channels; c++)
        for (int v = 0; v < 256; v++) p->lut[c][v] = ((float)v / 255.0f - o->mean[c]) / o->std[c];
    return SMKD_R_OK;
}

// --- crops -----------------------------------------------------------------------------------------------------------

static bool resized_crop(const struct rt_pipeline *p, const struct rt_image *im, int width, int height,
                         struct rt_rng *rng, struct rt_image *out) {
    const struct rt_transform_options *o = &p->o;
    const struct rt_box b = rt_draw_resized_crop(rng, width, height);
    if (im->width == width && im->height == height) return rt_resize(im, &b, o->width, o->height, o->how, out);
    const double x = (double)im->width / width, y = (double)im->height / height; // it was decoded smaller
    const struct rt_area part = {b.left * x, b.top * y, b.width * x, b.height * y};
    return rt_resize_part(im, &part, o->width, o->height, o->how, out);
}

// The edge that the shorter one of an image becomes in a run; 0: images keep their size.
static int resized_edge(const struct rt_pipeline *p, bool training) {
    if (training && p->o.crop == RT_CROP_RESIZED) return 0;
    return training && p->o.crop == RT_CROP_PLAIN ? p->o.train_resize : p->o.val_resize;
}

static enum smkd_result too_long(const struct rt_pipeline *p, bool training, int width, int height) {
    const int edge = resized_edge(p, training), narrow = width < height ? width : height;
    const int64_t longer = (int64_t)(width < height ? height : width) * edge / narrow;
    if (longer * edge <= RT_IMAGE_MAX_PIXELS) return SMKD_R_OK;
    return rt_fail(SMKD_R_INVALID, "an image of %d x %d pixels, resized to %d, would be %lld pixels long", width,
                   height, edge, (long long)longer);
}

enum smkd_result rt_pipeline_takes(const struct rt_pipeline *p, int width, int height) {
    enum smkd_result r = too_long(p, true, width, height);
    return r == SMKD_R_OK ? too_long(p, false, width, height) : r;
}

// A part of the image with its shorter edge as asked (0: as it is); parts of it or all may lie outside.
static bool part_of_resized(const struct rt_pipeline *p, const struct rt_image *im, int w, int h,
                            const struct rt_box *part, enum rt_pad_mode mode, struct rt_image *out) {
    if (im->width == w && im->height == h)
        return rt_window(im, part->left, part->top, part->width, part->height, mode, out);
    if (part->left >= 0 && part->top >= 0 && part->left + part->width <= w && part->top + part->height <= h)
        return rt_resize_window(im, NULL, w, h, p->o.how, part, out);
    struct rt_image whole;
    if (!rt_resize(im, NULL, w, h, p->o.how, &whole)) return false;
    bool ok = rt_window(&whole, part->left, part->top, part->width, part->height, mode, out);
    rt_image_release(&whole);
    return ok;
}

// Where a crop of `want` begins on an axis of `have` pixels with a border of `pad`: RandomCrop, which pads once more on
// both sides what is too small.
static int plain_start(struct rt_rng *rng, int have, int pad, int want) {
    int padded = have + 2 * pad, more = padded < want ? want - padded : 0;
    int room = padded + 2 * more - want;
    return (room ? (int)rt_rng_below(rng, (uint64_t)room + 1) : 0) - pad - more;
}

static bool plain_crop(const struct rt_pipeline *p, const struct rt_image *im, int width, int height,
                       struct rt_rng *rng, struct rt_image *out) {
    const struct rt_transform_options *o = &p->o;
    if (o->train_resize) rt_shorter_edge(width, height, o->train_resize, &width, &height);
    int top = plain_start(rng, height, o->pad, o->height), left = plain_start(rng, width, o->pad, o->width);
    const struct rt_box part = {left, top, o->width, o->height};
    return part_of_resized(p, im, width, height, &part, o->pad_mode, out);
}

static bool center(const struct rt_pipeline *p, const struct rt_image *im, int width, int height,
                   struct rt_image *out) {
    const struct rt_transform_options *o = &p->o;
    if (o->val_resize) rt_shorter_edge(width, height, o->val_resize, &width, &height);
    const struct rt_box part = {rt_center_start(width, o->width), rt_center_start(height, o->height), o->width,
                                o->height};
    return part_of_resized(p, im, width, height, &part, RT_PAD_ZERO, out);
}

static bool crop(const struct rt_pipeline *p, const struct rt_image *im, int width, int height, struct rt_rng *rng,
                 struct rt_image *out) {
    if (!rng || p->o.crop == RT_CROP_CENTER) return center(p, im, width, height, out);
    return p->o.crop == RT_CROP_RESIZED ? resized_crop(p, im, width, height, rng, out)
                                        : plain_crop(p, im, width, height, rng, out);
}

// How much smaller an axis may be decoded of which `part` pixels become `to`.
static double least(int part, int to) { return 2.0 * to / part; }

void rt_pipeline_min_size(const struct rt_pipeline *p, const struct rt_rng *rng, int width, int height, int *min_width,
                          int *min_height) {
    const struct rt_transform_options *o = &p->o;
    double x = 1, y = 1;
    if (rng && o->crop == RT_CROP_RESIZED) {
        struct rt_rng again = *rng;
        struct rt_box b = rt_draw_resized_crop(&again, width, height);
        x = least(b.width, o->width);
        y = least(b.height, o->height);
    } else {
        int edge = resized_edge(p, rng != NULL);
        x = y = edge ? least(width < height ? width : height, edge) : 1;
    }
    double share = x > y ? x : y;
    *min_width = share < 1 ? (int)ceil(share * width) : 0;
    *min_height = share < 1 ? (int)ceil(share * height) : 0;
}

// --- floats ----------------------------------------------------------------------------------------------------------

static void to_floats(const struct rt_pipeline *p, const struct rt_image *im, float *out) {
    const size_t n = (size_t)im->width * (size_t)im->height;
    const uint8_t *rgb = im->rgb;
    const float *r = p->lut[0], *g = p->lut[1], *b = p->lut[2];
    if (p->o.channels == 1) {
        for (size_t i = 0; i < n; i++, rgb += 3) out[i] = r[aug_luma(rgb)];
    } else if (p->o.channels_last) {
        for (size_t i = 0; i < 3 * n; i += 3) {
            out[i] = r[rgb[i]];
            out[i + 1] = g[rgb[i + 1]];
            out[i + 2] = b[rgb[i + 2]];
        }
    } else {
        float *og = out + n, *ob = og + n;
        for (size_t i = 0; i < n; i++, rgb += 3) {
            out[i] = r[rgb[0]];
            og[i] = g[rgb[1]];
            ob[i] = b[rgb[2]];
        }
    }
}

static void blank(const struct rt_pipeline *p, const struct rt_box *b, float *out) {
    const struct rt_transform_options *o = &p->o;
    const size_t planes = o->channels_last ? 1 : (size_t)o->channels,
                 pixel = o->channels_last ? (size_t)o->channels : 1;
    for (size_t c = 0; c < planes; c++)
        for (int y = b->top; y < b->top + b->height; y++)
            memset(out + ((c * (size_t)o->height + (size_t)y) * (size_t)o->width + (size_t)b->left) * pixel, 0,
                   (size_t)b->width * pixel * sizeof *out);
}

// --- the whole way ---------------------------------------------------------------------------------------------------

static bool change(const struct rt_transform_options *o, struct rt_rng *rng, struct rt_image *im) {
    const struct rt_aug_look look = {.how = o->how};
    const struct rt_jitter *j = &o->jitter;
    if (o->hflip > 0 && rt_rng_uniform(rng) < o->hflip) rt_flip(im);
    if ((j->brightness > 0 || j->contrast > 0 || j->saturation > 0 || j->hue > 0) && !rt_jitter_apply(j, rng, im))
        return false;
    return rt_policy_apply(o->policy, o->strength, &look, rng, im);
}

static void hide(const struct rt_pipeline *p, struct rt_rng *rng, float *out) {
    const struct rt_transform_options *o = &p->o;
    struct rt_box b;
    if (o->cutout) {
        b = rt_draw_cutout(rng, o->width, o->height, o->cutout);
        blank(p, &b, out);
    }
    if (o->erase > 0 && rt_rng_uniform(rng) < o->erase && rt_draw_erase(rng, o->width, o->height, &b))
        blank(p, &b, out);
}

bool rt_pipeline_draws(const struct rt_pipeline *p, int width, int height) {
    const struct rt_transform_options *o = &p->o;
    const struct rt_jitter *j = &o->jitter;
    const bool whole = !o->pad && !o->train_resize && width == o->width && height == o->height; // room for one crop
    return o->crop == RT_CROP_RESIZED || (o->crop == RT_CROP_PLAIN && !whole) || (o->hflip > 0 && o->hflip < 1) ||
           j->brightness > 0 || j->contrast > 0 || j->saturation > 0 || j->hue > 0 || o->policy != RT_POLICY_NONE ||
           o->cutout > 0 || o->erase > 0;
}

enum smkd_result rt_pipeline_run_scaled(const struct rt_pipeline *p, const struct rt_image *rgb, int width, int height,
                                        struct rt_rng *rng, float *out) {
    struct rt_image im = {0};
    if (too_long(p, rng != NULL, width, height) != SMKD_R_OK) return SMKD_R_INVALID;
    bool ok = crop(p, rgb, width, height, rng, &im) && (!rng || change(&p->o, rng, &im));
    if (ok) {
        to_floats(p, &im, out);
        if (rng) hide(p, rng, out);
    }
    rt_image_release(&im);
    return ok ? SMKD_R_OK
              : rt_fail(SMKD_R_NOMEM, "out of memory for an image of %d x %d pixels", p->o.width, p->o.height);
}

enum smkd_result rt_pipeline_run(const struct rt_pipeline *p, const struct rt_image *rgb, struct rt_rng *rng,
                                 float *out) {
    return rt_pipeline_run_scaled(p, rgb, rgb->width, rgb->height, rng, out);
}
