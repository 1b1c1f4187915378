// The operations of transforms.h by themselves, for the table in aug_ops.c.
#ifndef SMKD_RT_AUG_OPS_H
#define SMKD_RT_AUG_OPS_H

#include "transforms.h"

#define AUG_OP(name) bool name(struct rt_image *im, double magnitude, const struct rt_aug_look *look)

// aug_color.c
AUG_OP(aug_brightness);
AUG_OP(aug_color);
AUG_OP(aug_contrast);
AUG_OP(aug_sharpness);
AUG_OP(aug_hue);
// aug_levels.c
AUG_OP(aug_posterize);
AUG_OP(aug_solarize);
AUG_OP(aug_auto_contrast);
AUG_OP(aug_equalize);
AUG_OP(aug_invert);
// aug_affine.c
AUG_OP(aug_shear_x);
AUG_OP(aug_shear_y);
AUG_OP(aug_translate_x);
AUG_OP(aug_translate_y);
AUG_OP(aug_rotate);

// Red, green and blue through a table each.
void aug_look_up(struct rt_image *im, uint8_t table[3][256]);
// Pillow's luma.
static inline uint8_t aug_luma(const uint8_t *rgb) {
    return (uint8_t)((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16);
}

#endif
