// The operations by name.
#include "aug_ops.h"

static AUG_OP(identity) {
    (void)im, (void)magnitude, (void)look;
    return true;
}

const struct rt_aug_op rt_aug_ops[RT_AUG_COUNT] = {
    [RT_AUG_IDENTITY] = {"Identity", identity},
    [RT_AUG_SHEAR_X] = {"ShearX", aug_shear_x},
    [RT_AUG_SHEAR_Y] = {"ShearY", aug_shear_y},
    [RT_AUG_TRANSLATE_X] = {"TranslateX", aug_translate_x},
    [RT_AUG_TRANSLATE_Y] = {"TranslateY", aug_translate_y},
    [RT_AUG_ROTATE] = {"Rotate", aug_rotate},
    [RT_AUG_BRIGHTNESS] = {"Brightness", aug_brightness},
    [RT_AUG_COLOR] = {"Color", aug_color},
    [RT_AUG_CONTRAST] = {"Contrast", aug_contrast},
    [RT_AUG_SHARPNESS] = {"Sharpness", aug_sharpness},
    [RT_AUG_POSTERIZE] = {"Posterize", aug_posterize},
    [RT_AUG_SOLARIZE] = {"Solarize", aug_solarize},
    [RT_AUG_AUTO_CONTRAST] = {"AutoContrast", aug_auto_contrast},
    [RT_AUG_EQUALIZE] = {"Equalize", aug_equalize},
    [RT_AUG_INVERT] = {"Invert", aug_invert},
    [RT_AUG_HUE] = {"Hue", aug_hue},
};
