// torchvision's transforms on 8-bit RGB images: each operation to the level as torchvision computes it on a Pillow
// image, the policies that draw from them, the whole way from a decoded image to a network's input, and the mixing of
// batches.
//
// Nothing here has state: what is drawn comes from the rt_rng that is handed in, so that it depends on seed, epoch and
// image alone, and everything may run on any number of threads. Distributions are torchvision's, the numbers of one
// seed are not (torch's generator is another one).
#ifndef SMKD_RT_TRANSFORMS_H
#define SMKD_RT_TRANSFORMS_H

#include "data.h"
#include "resize.h"

// --- operations (aug_ops.c; colours in aug_color.c, geometry in aug_affine.c) ----------------------------------------

enum rt_aug_id {
    RT_AUG_IDENTITY,
    RT_AUG_SHEAR_X,
    RT_AUG_SHEAR_Y,
    RT_AUG_TRANSLATE_X,
    RT_AUG_TRANSLATE_Y,
    RT_AUG_ROTATE,
    RT_AUG_BRIGHTNESS,
    RT_AUG_COLOR,
    RT_AUG_CONTRAST,
    RT_AUG_SHARPNESS,
    RT_AUG_POSTERIZE,
    RT_AUG_SOLARIZE,
    RT_AUG_AUTO_CONTRAST,
    RT_AUG_EQUALIZE,
    RT_AUG_INVERT,
    RT_AUG_HUE, // ColorJitter's
    RT_AUG_COUNT
};
// What shears, translations and rotations look at besides their magnitude.
struct rt_aug_look {
    enum rt_interpolation how; // RT_NEAREST, RT_BILINEAR or RT_BICUBIC
    uint8_t fill[3];           // what lies outside of the image
};
struct rt_aug_op {
    const char *name; // torchvision's
    // Changes the image in place, which may give it other memory. The magnitude is what torchvision's _apply_op takes:
    // a slope, pixels, degrees counter-clockwise, a factor less one, bits kept (0: black), a level; of hue the shift as
    // a part of the circle, in [-0.5, 0.5]. false: out of memory; the image is then as it was.
    bool (*apply)(struct rt_image *im, double magnitude, const struct rt_aug_look *look);
};
extern const struct rt_aug_op rt_aug_ops[RT_AUG_COUNT];

// --- policies (aug_policy.c) -----------------------------------------------------------------------------------------

enum rt_policy { RT_POLICY_NONE, RT_RA, RT_TA_WIDE, RT_AUGMIX, RT_IMAGENET, RT_CIFAR10, RT_SVHN };
extern const char *const rt_policies[]; // names as --auto-augment takes them, ends with NULL

// An operation of a policy's _augmentation_space for an image of this size: the i-th of its magnitudes, out of `bins`.
// Those that take none have 0.
enum { RT_RA_BINS = 31, RT_TA_BINS = 31, RT_AUGMIX_BINS = 10, RT_AUTO_BINS = 10 };
size_t rt_policy_size(enum rt_policy policy); // operations that it draws from; of AutoAugment all of its tables' are
struct rt_policy_entry {
    enum rt_aug_id op;
    double magnitude;
    bool sign; // half of the time the magnitude is negative
};
struct rt_policy_entry rt_policy_entry(enum rt_policy policy, size_t k, int bin, int width, int height);

// Draws and applies. `strength`: RandAugment's magnitude (0..30; two operations), AugMix's severity (1..10). false: out
// of memory. AugMix mixes what our operations, Pillow's, make of the image; torchvision turns the image into a tensor
// first, whose rotations and shears differ from Pillow's by fractions of a pixel.
bool rt_policy_apply(enum rt_policy policy, int strength, const struct rt_aug_look *look, struct rt_rng *rng,
                     struct rt_image *im);
// AugMix's last step: the image becomes w[0] * im + sum of w[k + 1] * chains[k], truncated.
enum { RT_AUGMIX_CHAINS = 3 };
void rt_augmix_mix(struct rt_image *im, const struct rt_image chains[RT_AUGMIX_CHAINS],
                   const float w[RT_AUGMIX_CHAINS + 1]);

// ColorJitter: each of brightness, contrast, saturation drawn from [max(0, 1-x), 1+x], hue from [-x, x] (at most 0.5),
// in random order; 0 leaves one out. false: out of memory.
struct rt_jitter {
    double brightness, contrast, saturation, hue;
};
bool rt_jitter_apply(const struct rt_jitter *j, struct rt_rng *rng, struct rt_image *im);

// --- draws (aug_draw.c) ----------------------------------------------------------------------------------------------

double rt_draw_between(struct rt_rng *rng, double lo, double hi); // uniform
double rt_draw_normal(struct rt_rng *rng);
double rt_draw_beta(struct rt_rng *rng, double alpha); // Beta(alpha, alpha): two gammas by Marsaglia and Tsang
// RandomResizedCrop.get_params with scale (0.08, 1) and ratio (3/4, 4/3): ten tries, then the middle.
struct rt_box rt_draw_resized_crop(struct rt_rng *rng, int width, int height);
// RandomErasing.get_params with scale (0.02, 0.33) and ratio (0.3, 3.3): ten tries; false: none fitted, nothing is
// erased.
bool rt_draw_erase(struct rt_rng *rng, int width, int height, struct rt_box *out);
// Cutout (DeVries and Taylor): a square of side 2 * (size / 2) around a pixel drawn uniformly, what of it is inside.
struct rt_box rt_draw_cutout(struct rt_rng *rng, int width, int height, int size);

// --- geometry that is no operation of a policy (aug_window.c) --------------------------------------------------------

enum rt_pad_mode { RT_PAD_ZERO, RT_PAD_REFLECT };
extern const char *const rt_pad_modes[]; // names, ends with NULL
// A window of width x height whose corner is pixel (left, top) of `from`, parts of it or all outside: black there, or
// mirrored about the edge's pixels as often as it takes (numpy.pad's "reflect"). false: out of memory.
bool rt_window(const struct rt_image *from, int left, int top, int width, int height, enum rt_pad_mode mode,
               struct rt_image *out);
void rt_flip(struct rt_image *im); // left to right, in place

// --- from an image to a network's input (aug_pipeline.c) -------------------------------------------------------------
// The order of torchvision's references (ClassificationPresetTrain): crop, mirror, ColorJitter, policy, floats,
// normalisation, Cutout, RandomErasing (both make normalised zeros). Without a rng the evaluation preset: shorter edge,
// middle, floats, normalisation.

enum rt_crop {
    RT_CROP_RESIZED, // RandomResizedCrop
    RT_CROP_PLAIN,   // shorter edge to train_resize (0: as it is), padded, a random part (RandomCrop, pad_if_needed)
    RT_CROP_CENTER   // as in evaluation
};
extern const char *const rt_crops[]; // names, ends with NULL

struct rt_transform_options {
    int channels, height, width; // what the network takes: 3 channels, or 1, then the luma (of grey images the grey)
    bool channels_last;
    float mean[RT_MAX_CHANNELS], std[RT_MAX_CHANNELS]; // of each, on a 0..1 scale
    enum rt_crop crop;
    int train_resize, val_resize; // 0: images keep their size
    enum rt_interpolation how;
    int pad;
    enum rt_pad_mode pad_mode;
    double hflip; // probability
    struct rt_jitter jitter;
    enum rt_policy policy;
    int strength; // of the policy
    double erase; // probability
    int cutout;   // side; 0: none
};
struct rt_pipeline {
    struct rt_transform_options o;
    float lut[RT_MAX_CHANNELS][256]; // normalised value of each byte
};
// Checks and prepares; SMKD_R_INVALID with a line that names the flag. There is nothing to release.
enum smkd_result rt_pipeline_init(struct rt_pipeline *p, const struct rt_transform_options *o);

// SMKD_R_INVALID for an image so long and narrow that, resized, it would be beyond RT_IMAGE_MAX_PIXELS.
enum smkd_result rt_pipeline_takes(const struct rt_pipeline *p, int width, int height);

// Writes channels * height * width floats. `rng` NULL: the evaluation preset. Fails with SMKD_R_NOMEM, or as
// rt_pipeline_takes does.
enum smkd_result rt_pipeline_run(const struct rt_pipeline *p, const struct rt_image *rgb, struct rt_rng *rng,
                                 float *out);

// Whether two runs on an image of this size may differ, with numbers of their own: whether anything is drawn.
bool rt_pipeline_draws(const struct rt_pipeline *p, int width, int height);

// The same of an image that was decoded smaller than it is (rt_image_options.min_width): crops are drawn and scaled as
// of the whole one, so that a seed gives the same part of it at any scale. width and height are the whole one's.
enum smkd_result rt_pipeline_run_scaled(const struct rt_pipeline *p, const struct rt_image *rgb, int width, int height,
                                        struct rt_rng *rng, float *out);
// How small it may be decoded for that: the size at which what is cut out still has twice the pixels, along each axis,
// of what it becomes. 0 x 0: not smaller at all. `rng` as it is before the run, and stays so.
void rt_pipeline_min_size(const struct rt_pipeline *p, const struct rt_rng *rng, int width, int height, int *min_width,
                          int *min_height);

// --- mixing the images of a batch (aug_mix.c) ------------------------------------------------------------------------
// MixUp and CutMix as torchvision.transforms.v2 has them: one lambda for a batch, Beta(alpha, alpha), each image with
// the one before it (the batch rolled by one). Where both alphas are given (rt_mix_options, data.h), each is taken half
// of the time. A method's program takes the other images' labels, i64[N] "labels.mix", and the scalar "mix.lambda".

struct rt_mix {
    enum { RT_MIX_NONE, RT_MIX_UP, RT_MIX_CUT } kind;
    double lambda;     // what an image keeps of its own label; 1 without mixing
    struct rt_box box; // CutMix: the part that comes from the other image; may be empty
};
void rt_mix_draw(const struct rt_mix_options *o, int width, int height, struct rt_rng *rng, struct rt_mix *out);
// CutMix's box for a lambda and a centre; lambda becomes the exact share of what is outside.
void rt_mix_box(struct rt_mix *m, double lambda, int center_x, int center_y, int width, int height);
void rt_mix_rows(size_t n, int64_t *row);
// Mixes [n][channels][height][width] floats (or [n][height][width][channels]) in place; `row` is a permutation. false:
// out of memory; nothing has changed.
struct rt_mix_shape {
    size_t n;
    int channels, height, width;
    bool channels_last;
};
bool rt_mix_apply(const struct rt_mix *m, const struct rt_mix_shape *shape, const int64_t *row, float *x);

#endif
