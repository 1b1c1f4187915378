#include "transform_flags.h"

#include <math.h>
#include <string.h>

static bool is(const char *text, const char *word) { return text && strcmp(text, word) == 0; }

static int word_of(const char *const *words, const char *text) {
    int i = 0;
    while (words[i] && strcmp(words[i], text) != 0) i++;
    CHECK(words[i], "a word that its field does not take: %s", text);
    return i;
}

bool rt_transform_flags_given(const struct rt_config *c) {
    const struct rt_augment_config *a = &c->augmentation, none = {0};
    const double numbers[] = {a->train_crop_size, a->train_resize_size, a->val_crop_size, a->val_resize_size, a->pad,
                              a->hflip_prob};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!isnan(numbers[i])) return true;
    return !is(a->crop, "auto") || !is(a->pad_mode, "zero") || !is(a->auto_augment, "none") ||
           !is(a->interpolation, "bilinear") || a->color_jitter || a->random_erase != none.random_erase ||
           a->cutout != none.cutout;
}

// "B,C,S,H": one number is that of brightness, contrast and saturation, as timm takes it.
static enum smkd_result parse_jitter(const char *text, struct rt_jitter *j) {
    double v[4] = {0};
    int n = 0;
    *j = (struct rt_jitter){0};
    if (!text) return SMKD_R_OK;
    for (const char *p = text;; p++) {
        char one[40];
        size_t len = strcspn(p, ",");
        snprintf(one, sizeof one, "%.*s", (int)len, p);
        if (n == 4 || strlen(one) != len || !parse_f64(one, &v[n]) || !(v[n] >= 0 && v[n] <= (n == 3 ? 0.5 : 100)))
            return rt_fail(SMKD_R_INVALID,
                           "--color-jitter %s: expected brightness,contrast,saturation,hue, or fewer of them: numbers "
                           "from 0 on, for hue up to 0.5",
                           text);
        n++;
        p += len;
        if (!*p) break;
    }
    if (n == 1) v[1] = v[2] = v[0];
    *j = (struct rt_jitter){v[0], v[1], v[2], v[3]};
    return SMKD_R_OK;
}

static enum smkd_result goes_with(const char *flag, double v, const char *other) {
    return rt_fail(SMKD_R_INVALID, "--%s %g: goes with %s; leave it out, or give that", flag, v, other);
}

enum smkd_result rt_transform_flags_check(const struct rt_config *c) {
    const struct rt_augment_config *a = &c->augmentation;
    struct rt_jitter j;
    const bool plain = is(a->crop, "plain") || is(a->crop, "auto"); // "auto" shows with the data
    if (!isnan(a->ra_magnitude) && !is(a->auto_augment, "ra"))
        return goes_with("ra-magnitude", a->ra_magnitude, "--auto-augment ra");
    if (a->ra_magnitude >= RT_RA_BINS)
        return rt_fail(SMKD_R_INVALID, "--ra-magnitude %g: expected a whole number from 0 to 30", a->ra_magnitude);
    if (a->augmix_severity < 1 || a->augmix_severity > RT_AUGMIX_BINS)
        return rt_fail(SMKD_R_INVALID, "--augmix-severity %g: expected a whole number from 1 to 10",
                       a->augmix_severity);
    if (!isnan(a->augmix_severity) && !is(a->auto_augment, "augmix"))
        return goes_with("augmix-severity", a->augmix_severity, "--auto-augment augmix");
    if (!isnan(a->pad) && !plain) return goes_with("pad", a->pad, "--crop plain");
    if (!isnan(a->train_resize_size) && !plain)
        return goes_with("train-resize-size", a->train_resize_size, "--crop plain");
    if (is(a->pad_mode, "reflect") && isnan(a->pad))
        return rt_fail(SMKD_R_INVALID, "--pad-mode reflect: goes with --pad N; leave it out, or give that");
    return parse_jitter(a->color_jitter, &j);
}

int rt_usual_resize(int crop) { return crop < 128 ? crop : (int)(crop * 256L / 224); }

// A size that the flags may repeat, but that the network decides.
static enum smkd_result check_crop(const char *flag, double size, const struct rt_input *in) {
    if (isnan(size) || (size == in->height && size == in->width)) return SMKD_R_OK;
    return rt_fail(
        SMKD_R_MISMATCH,
        "--%s %g: the model takes %dx%d pixels, and a compiled model takes that size only; leave the flag out, "
        "or make the model with --input %dx%gx%g",
        flag, size, in->height, in->width, in->channels, size, size);
}

static double given_or(double v, double otherwise) { return isnan(v) ? otherwise : v; }

enum smkd_result rt_transform_options_of(const struct rt_config *c, unsigned augment,
                                         const struct rt_image_kind *images, const struct rt_input *in,
                                         const float *mean, const float *std, struct rt_transform_options *out) {
    enum { MOST = 65535 }; // pixels
    const struct rt_augment_config *a = &c->augmentation;
    const int side = in->height < in->width ? in->height : in->width;
    struct rt_transform_options o = {.channels = in->channels,
                                     .height = in->height,
                                     .width = in->width,
                                     .channels_last = in->channels_last,
                                     .erase = a->random_erase,
                                     .cutout = (int)a->cutout};
    enum smkd_result r = rt_transform_flags_check(c);
    if (r == SMKD_R_OK) r = check_crop("train-crop-size", a->train_crop_size, in);
    if (r == SMKD_R_OK) r = check_crop("val-crop-size", a->val_crop_size, in);
    if (r == SMKD_R_OK) r = parse_jitter(a->color_jitter, &o.jitter);
    if (r != SMKD_R_OK) return r;
    const struct {
        const char *name;
        double v;
    } sizes[] = {{"val-resize-size", a->val_resize_size}, {"train-resize-size", a->train_resize_size}, {"pad", a->pad}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].v > MOST)
            return rt_fail(SMKD_R_INVALID, "--%s %g: expected pixels up to %d", sizes[i].name, sizes[i].v, MOST);
    for (int i = 0; i < in->channels && i < RT_MAX_CHANNELS; i++) { // grey images are repeated for a network of colours
        o.mean[i] = mean[images->channels == 1 ? 0 : i];
        o.std[i] = std[images->channels == 1 ? 0 : i];
    }
    if (!is(a->crop, "auto"))
        o.crop = (enum rt_crop)word_of(rt_crops, a->crop);
    else if (!(augment & RT_AUGMENT_CROP))
        o.crop = RT_CROP_CENTER;
    else
        o.crop = images->photos ? RT_CROP_RESIZED : RT_CROP_PLAIN;
    const bool as_is =
        !images->photos && (o.crop != RT_CROP_RESIZED || (images->height == in->height && images->width == in->width));
    o.val_resize = (int)given_or(a->val_resize_size, as_is ? 0 : rt_usual_resize(side));
    if (!isnan(a->val_resize_size) && o.val_resize && o.val_resize < side)
        return rt_fail(SMKD_R_INVALID, "--val-resize-size %d: less than the %d pixels that are cut out", o.val_resize,
                       side);
    if (o.crop == RT_CROP_PLAIN) o.train_resize = (int)given_or(a->train_resize_size, o.val_resize);
    o.pad = (int)given_or(a->pad, o.crop == RT_CROP_PLAIN && is(a->crop, "auto") ? 4 : 0);
    o.pad_mode = (enum rt_pad_mode)word_of(rt_pad_modes, a->pad_mode);
    o.how = (enum rt_interpolation)word_of(rt_interpolations, a->interpolation);
    o.hflip = given_or(a->hflip_prob, augment & RT_AUGMENT_FLIP ? 0.5 : 0);
    o.policy = (enum rt_policy)word_of(rt_policies, a->auto_augment);
    if (o.policy == RT_RA) o.strength = (int)given_or(a->ra_magnitude, 9);
    if (o.policy == RT_AUGMIX) o.strength = (int)given_or(a->augmix_severity, 3);
    *out = o;
    return SMKD_R_OK;
}

enum smkd_result rt_transform_from_flags(struct rt_transform *t, struct rt_pipeline *room, const struct rt_config *c,
                                         unsigned augment, const struct rt_images *im, const struct rt_input *in,
                                         const float *mean, const float *std) {
    enum smkd_result r;
    if (c->augmentation.mix.cutmix_alpha > 0 && im->values && (in->height == 1 || in->width == 1))
        return rt_fail(SMKD_R_UNSUPPORTED, "--cutmix-alpha %g: needs images, to put a part of one into another",
                       c->augmentation.mix.cutmix_alpha);
    if (rt_transform_flags_given(c) && im->values)
        return rt_fail(SMKD_R_UNSUPPORTED,
                       "flags of augmentation work on pixels, uint8; arrays of other numbers are taken as they are");
    if (!rt_transform_flags_given(c) && !im->paths) {
        r = rt_transform_init(t, im, in->channels, in->height, in->width, augment, mean, std);
        t->channels_last = in->channels_last;
        return r;
    }
    if ((im->channels != 1 && im->channels != 3) || (im->channels == 3 && in->channels != 3))
        return rt_fail(SMKD_R_MISMATCH,
                       "the model takes %d channels, the images have %d; make the model with --input %dx%dx%d",
                       in->channels, im->channels, im->channels, in->height, in->width);
    const bool photos = im->paths != NULL;
    const struct rt_image_kind kind = {photos, im->channels, im->height, im->width};
    struct rt_transform_options o;
    r = rt_transform_options_of(c, augment, &kind, in, mean, std, &o);
    if (r == SMKD_R_OK) r = rt_pipeline_init(room, &o);
    if (r == SMKD_R_OK && !photos) r = rt_pipeline_takes(room, im->width, im->height);
    if (r != SMKD_R_OK) return r;
    *t = (struct rt_transform){.src_channels = im->channels,
                               .src_height = photos ? in->height : im->height,
                               .src_width = photos ? in->width : im->width,
                               .channels = in->channels,
                               .height = in->height,
                               .width = in->width,
                               .channels_last = in->channels_last,
                               .flags = augment,
                               .pipeline = room};
    return SMKD_R_OK;
}
