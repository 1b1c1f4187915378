// From flags to transforms: what is refused, what "auto" becomes for which images, and that images of one size get the
// same numbers with and without a pipeline where nothing else is asked for.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/transform_flags.h"

static const float mean[3] = {0.4f, 0.5f, 0.6f}, std[3] = {0.2f, 0.25f, 0.3f};
static const struct rt_image_kind photos = {true, 3, 0, 0}, cifar = {false, 3, 32, 32}, mnist = {false, 1, 28, 28};
static const struct rt_input small = {3, 32, 32, false}, large = {3, 224, 224, false};
enum { BOTH = RT_AUGMENT_CROP | RT_AUGMENT_FLIP };

// "name value name value ..." over the defaults.
static void set(struct rt_config *c, const char *flags) {
    char name[40], value[40];
    int n;
    rt_config_init(c, method_find("ce"));
    for (const char *p = flags; sscanf(p, "%39s %39s%n", name, value, &n) == 2; p += n)
        if (rt_config_set(c, name, value) != SMKD_R_OK) fail_msg("%s", smkd_last_error());
}

static struct rt_transform_options got(const char *flags, unsigned augment, const struct rt_image_kind *images,
                                       const struct rt_input *in) {
    struct rt_config c;
    struct rt_transform_options o;
    struct rt_pipeline p;
    set(&c, flags);
    if (rt_transform_options_of(&c, augment, images, in, mean, std, &o) != SMKD_R_OK) fail_msg("%s", smkd_last_error());
    if (rt_pipeline_init(&p, &o) != SMKD_R_OK) fail_msg("%s", smkd_last_error());
    rt_config_release(&c);
    return o;
}

static void refused(const char *flags, const struct rt_image_kind *images, const char *why) {
    struct rt_config c;
    struct rt_transform_options o;
    struct rt_pipeline p;
    set(&c, flags);
    assert_true(rt_transform_flags_given(&c));
    enum smkd_result r = rt_transform_options_of(&c, BOTH, images, &large, mean, std, &o);
    if (r == SMKD_R_OK) r = rt_pipeline_init(&p, &o);
    assert_int_not_equal(r, SMKD_R_OK);
    if (!strstr(smkd_last_error(), why)) fail_msg("%s: %s", flags, smkd_last_error());
    rt_config_release(&c);
}

static void follows_the_kind_of_data(void **state) {
    (void)state;
    struct rt_transform_options o = got("", BOTH, &photos, &large);
    assert_int_equal(o.crop, RT_CROP_RESIZED);
    assert_int_equal(o.val_resize, 256);
    assert_true(o.hflip == 0.5 && o.how == RT_BILINEAR && o.policy == RT_POLICY_NONE && !o.pad && !o.erase);
    o = got("crop plain", BOTH, &photos, &large);
    assert_int_equal(o.crop, RT_CROP_PLAIN);
    assert_int_equal(o.train_resize, 256);
    assert_int_equal(o.pad, 0);
    o = got("crop plain val-resize-size 320 train-crop-size 224 val-crop-size 224", BOTH, &photos, &large);
    assert_true(o.train_resize == 320 && o.val_resize == 320);
    o = got("", RT_AUGMENT_FLIP, &photos, &large);
    assert_true(o.crop == RT_CROP_CENTER && o.hflip == 0.5);
    o = got("", BOTH, &cifar, &small);
    assert_true(o.crop == RT_CROP_PLAIN && o.pad == 4 && !o.train_resize && !o.val_resize && o.hflip == 0.5);
    o = got("pad 2 pad-mode reflect hflip-prob 0.1", BOTH, &cifar, &small);
    assert_true(o.pad == 2 && o.pad_mode == RT_PAD_REFLECT && o.hflip == 0.1);
    o = got("crop resized", BOTH, &cifar, &small);
    assert_true(o.crop == RT_CROP_RESIZED && !o.val_resize &&
                !o.pad); // what already fits is not resized to be cut again
    o = got("crop resized", BOTH, &cifar, &large);
    assert_int_equal(o.val_resize, 256);
    o = got("random-erase 0.25 cutout 8", 0, &mnist, &small);
    assert_true(o.crop == RT_CROP_CENTER && o.hflip == 0 && o.erase == 0.25 && o.cutout == 8);
    assert_true(o.mean[2] == mean[0] && o.std[1] == std[0]); // grey, repeated
    o = got("auto-augment ra", BOTH, &cifar, &small);
    assert_true(o.policy == RT_RA && o.strength == 9);
    o = got("auto-augment ra ra-magnitude 0", BOTH, &cifar, &small);
    assert_true(o.policy == RT_RA && o.strength == 0);
    o = got("auto-augment augmix", BOTH, &cifar, &small);
    assert_true(o.policy == RT_AUGMIX && o.strength == 3);
    o = got("color-jitter 0.3", BOTH, &cifar, &small);
    assert_true(o.jitter.brightness == 0.3 && o.jitter.saturation == 0.3 && o.jitter.contrast == 0.3 && !o.jitter.hue);
    o = got("color-jitter 0.1,0,2,0.5", BOTH, &cifar, &small);
    assert_true(o.jitter.brightness == 0.1 && !o.jitter.contrast && o.jitter.saturation == 2 && o.jitter.hue == 0.5);
}

static void refuses(void **state) {
    (void)state;
    refused("auto-augment ta_wide ra-magnitude 9", &photos, "--ra-magnitude 9: goes with --auto-augment ra");
    refused("augmix-severity 3 auto-augment ra", &photos, "--augmix-severity 3: goes with --auto-augment augmix");
    refused("auto-augment ra ra-magnitude 31", &photos, "from 0 to 30");
    refused("auto-augment augmix augmix-severity 0", &photos, "from 1 to 10");
    refused("crop resized pad 4", &photos, "--pad 4: goes with --crop plain");
    refused("pad 4", &photos, "--crop plain");
    refused("crop center train-resize-size 256", &photos, "--train-resize-size 256: goes with --crop plain");
    refused("crop plain pad-mode reflect", &photos, "goes with --pad N");
    refused("train-crop-size 176", &photos, "the model takes 224x224");
    refused("val-crop-size 225", &photos, "--val-crop-size 225");
    refused("val-resize-size 200", &photos, "--val-resize-size 200: less than the 224");
    refused("crop plain train-resize-size 70000", &photos, "up to 65535");
    refused("crop plain pad 70000", &photos, "up to 65535");
    refused("color-jitter 0.1,0.1,0.1,0.6", &photos, "--color-jitter 0.1,0.1,0.1,0.6");
    refused("color-jitter 0.1,", &photos, "--color-jitter 0.1,:");
    refused("color-jitter 1,1,1,0.1,1", &photos, "--color-jitter");
    refused("color-jitter -1", &photos, "--color-jitter");
}

static void knows_what_was_given(void **state) {
    (void)state;
    static const char *const one[] = {"crop resized",      "train-crop-size 32",    "train-resize-size 40",
                                      "val-resize-size 0", "val-crop-size 8",       "pad 0",
                                      "pad-mode reflect",  "interpolation bicubic", "hflip-prob 0",
                                      "color-jitter 0.1",  "auto-augment ra",       "random-erase 0.1",
                                      "cutout 2"};
    struct rt_config c;
    set(&c, "augment crop-flip mean 0.5");
    assert_false(rt_transform_flags_given(&c));
    rt_config_release(&c);
    for (size_t i = 0; i < sizeof one / sizeof *one; i++) {
        set(&c, one[i]);
        if (!rt_transform_flags_given(&c)) fail_msg("%s", one[i]);
        rt_config_release(&c);
    }
}

// Images of one size, with and without a pipeline.
static void same_numbers_without_a_draw(void **state) {
    (void)state;
    enum { N = 9 * 7 };
    static const struct {
        int from, to;
        bool last;
    } cases[] = {{3, 3, false}, {1, 1, false}, {1, 3, false}, {3, 3, true}, {1, 3, true}};
    uint8_t pixels[3 * N];
    for (int i = 0; i < 3 * N; i++) pixels[i] = (uint8_t)(i * 37);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct rt_images im = {.n = 1, .channels = cases[k].from, .height = 9, .width = 7, .pixels = pixels};
        const struct rt_input in = {cases[k].to, 12, 11, cases[k].last};
        float plain[3 * 12 * 11], piped[3 * 12 * 11];
        struct rt_config c;
        struct rt_transform t;
        struct rt_pipeline p;
        set(&c, "");
        assert_int_equal(rt_transform_from_flags(&t, &p, &c, BOTH, &im, &in, mean, std), SMKD_R_OK);
        assert_null(t.pipeline);
        rt_transform_run(&t, pixels, NULL, plain);
        rt_config_release(&c);
        set(&c, "hflip-prob 1");
        assert_int_equal(rt_transform_from_flags(&t, &p, &c, BOTH, &im, &in, mean, std), SMKD_R_OK);
        assert_non_null(t.pipeline);
        struct rt_image rgb;
        assert_int_equal(rt_source_read(&im, 0, &(struct rt_source_request){NULL, NULL}, &rgb), SMKD_R_OK);
        assert_int_equal(rt_pipeline_run(t.pipeline, &rgb, NULL, piped), SMKD_R_OK);
        rt_source_done(&im, 0, &rgb);
        rt_config_release(&c);
        assert_memory_equal(plain, piped, (size_t)cases[k].to * 12 * 11 * sizeof(float));
    }
}

static void refuses_images(void **state) {
    (void)state;
    struct rt_config c;
    struct rt_transform t;
    struct rt_pipeline p;
    struct rt_images im = {.n = 1, .channels = 3, .height = 8, .width = 8};
    const struct rt_input grey = {1, 8, 8, false};
    set(&c, "crop resized");
    assert_int_equal(rt_transform_from_flags(&t, &p, &c, BOTH, &im, &grey, mean, std), SMKD_R_MISMATCH);
    assert_non_null(strstr(smkd_last_error(), "--input 3x8x8"));
    im.height = 1;
    im.width = 60000; // resized to 256 rows it would have 15 million columns
    assert_int_equal(rt_transform_from_flags(&t, &p, &c, BOTH, &im, &large, mean, std), SMKD_R_INVALID);
    assert_non_null(strstr(smkd_last_error(), "60000 x 1"));
    rt_config_release(&c);
    // Numbers that are no pixels, and a row of them that is no image.
    static const float values[5];
    const struct rt_input row = {5, 1, 1, false};
    im = (struct rt_images){.n = 1, .channels = 1, .height = 1, .width = 5, .values = values};
    set(&c, "mixup-alpha 0.2");
    assert_int_equal(rt_transform_from_flags(&t, &p, &c, 0, &im, &row, mean, std), SMKD_R_OK);
    rt_config_release(&c);
    set(&c, "cutmix-alpha 1");
    assert_int_equal(rt_transform_from_flags(&t, &p, &c, 0, &im, &row, mean, std), SMKD_R_UNSUPPORTED);
    assert_non_null(strstr(smkd_last_error(), "--cutmix-alpha 1"));
    rt_config_release(&c);
    set(&c, "cutout 2");
    assert_int_equal(rt_transform_from_flags(&t, &p, &c, 0, &im, &row, mean, std), SMKD_R_UNSUPPORTED);
    rt_config_release(&c);
}

static bool cell(const struct rt_image *im, int x, int y, uint8_t v) { return im->rgb[3 * (y * im->width + x)] == v; }

// The operations are compared with torchvision elsewhere (tests/oracle/test_transforms.py); here a few by eye.
static void operations(void **state) {
    (void)state;
    const struct rt_aug_look white = {RT_NEAREST, {255, 255, 255}};
    struct rt_image im = {3, 2, malloc(18)};
    for (int i = 0; i < 18; i++) im.rgb[i] = (uint8_t)(i / 3 * 10); // 0 10 20 / 30 40 50
    assert_true(rt_aug_ops[RT_AUG_TRANSLATE_X].apply(&im, 1.9, &white));
    assert_true(cell(&im, 0, 0, 255) && cell(&im, 1, 0, 0) && cell(&im, 2, 1, 40));
    assert_true(rt_aug_ops[RT_AUG_ROTATE].apply(&im, 180, &white));
    assert_true(cell(&im, 2, 1, 255) && cell(&im, 1, 1, 0) && cell(&im, 0, 0, 40));
    rt_flip(&im);
    assert_true(cell(&im, 0, 1, 255) && cell(&im, 2, 0, 40));
    assert_true(rt_aug_ops[RT_AUG_POSTERIZE].apply(&im, 0, &white));
    assert_true(cell(&im, 0, 1, 0) && cell(&im, 2, 0, 0));
    rt_image_release(&im);
}

static struct rt_image noise(int width, int height) {
    struct rt_image im = {width, height, malloc((size_t)(3 * width * height))}; // to the byte, for sanitizers
    for (int i = 0; i < 3 * width * height; i++) im.rgb[i] = (uint8_t)(i * 89 + i * i * 7);
    return im;
}

// Windows of a resized image, and parts that are boxes, are what the whole way gives; of all small sizes, odd and even.
static void resizes_in_parts(void **state) {
    (void)state;
    enum { MOST = 7, SIZES = MOST * MOST * MOST * MOST };
    static const enum rt_interpolation hows[] = {RT_NEAREST, RT_BOX, RT_BILINEAR, RT_BICUBIC, RT_LANCZOS};
    for (int i = 0; i < SIZES; i++) {
        const enum rt_interpolation how = hows[i % 5];
        int w = 1 + i % MOST, h = 1 + i / MOST % MOST, nw = 1 + i / MOST / MOST % MOST, nh = 1 + i / MOST / MOST / MOST;
        struct rt_image im = noise(w, h), whole, part, same;
        const struct rt_box window = {nw / 3, nh / 2, nw - nw / 3, nh - nh / 2};
        const struct rt_area area = {0, 0, w, h};
        assert_true(rt_resize(&im, NULL, nw, nh, how, &whole));
        assert_true(rt_resize_window(&im, NULL, nw, nh, how, &window, &part));
        assert_true(rt_resize_part(&im, &area, nw, nh, how, &same));
        assert_memory_equal(whole.rgb, same.rgb, (size_t)(3 * nw * nh));
        for (int y = 0; y < window.height; y++)
            assert_memory_equal(part.rgb + 3 * y * window.width, whole.rgb + 3 * ((y + window.top) * nw + window.left),
                                (size_t)(3 * window.width));
        rt_image_release(&im);
        rt_image_release(&whole);
        rt_image_release(&part);
        rt_image_release(&same);
    }
    // Between pixels: a grey image stays grey, and what is to the left stays there.
    struct rt_image im = noise(9, 2), out;
    for (int i = 0; i < 54; i++) im.rgb[i] = (uint8_t)(i % 27 / 3 * 10);
    assert_true(rt_resize_part(&im, &(struct rt_area){1.5, 0.25, 6, 1.5}, 6, 2, RT_BILINEAR, &out));
    for (int x = 0; x < 6; x++) assert_true(cell(&out, x, 1, (uint8_t)(15 + 10 * x))); // halfway between two pixels
    rt_image_release(&im);
    rt_image_release(&out);
}

// A permutation with cycles of one, two and three images.
static void mixes_any_permutation(void **state) {
    (void)state;
    const int64_t row[6] = {1, 0, 2, 4, 5, 3};
    const struct rt_mix_shape s = {6, 1, 1, 2, false};
    float x[12];
    for (int i = 0; i < 12; i++) x[i] = (float)i;
    const struct rt_mix up = {.kind = RT_MIX_UP, .lambda = 0.75};
    assert_true(rt_mix_apply(&up, &s, row, x));
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 2; k++)
            assert_true(x[2 * i + k] == 0.75f * (float)(2 * i + k) + 0.25f * (float)(2 * (int)row[i] + k));
    struct rt_mix cut = {0};
    for (int i = 0; i < 12; i++) x[i] = (float)i;
    rt_mix_box(&cut, 0.5, 1, 0, 2, 1); // half a pixel to either side of pixel 1 is none
    assert_true(cut.lambda == 1);
    cut.box = (struct rt_box){1, 0, 1, 1};
    assert_true(rt_mix_apply(&cut, &s, row, x));
    for (int i = 0; i < 6; i++) assert_true(x[2 * i] == (float)(2 * i) && x[2 * i + 1] == (float)(2 * (int)row[i] + 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_kind_of_data), cmocka_unit_test(refuses),
        cmocka_unit_test(knows_what_was_given),     cmocka_unit_test(same_numbers_without_a_draw),
        cmocka_unit_test(refuses_images),           cmocka_unit_test(operations),
        cmocka_unit_test(resizes_in_parts),         cmocka_unit_test(mixes_any_permutation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
