// From a run's flags to the transforms of its images. --augment says roughly what is done (crop-flip, crop, flip,
// none); torchvision's flags say it exactly, and whatever of them is left at "auto" follows --augment and the kind of
// the data.
#ifndef SMKD_RT_TRANSFORM_FLAGS_H
#define SMKD_RT_TRANSFORM_FLAGS_H

#include "run_config.h"
#include "transforms.h"

// What the images of a source are: photographs of any size, or all of one size (IDX, CIFAR), which the network takes as
// they are unless a flag says otherwise.
struct rt_image_kind {
    bool photos;
    int channels, height, width; // of all, where they are no photographs; else 3, 0, 0
};
// What a network takes.
struct rt_input {
    int channels, height, width;
    bool channels_last;
};

// Whether any of torchvision's flags is given: images of one size then go through a pipeline instead of rt_transform.
bool rt_transform_flags_given(const struct rt_config *c);
// What is wrong with the flags whatever the images are: numbers without what they belong to, lists that are none.
enum smkd_result rt_transform_flags_check(const struct rt_config *c);
// The options of a pipeline. `augment`: --augment as resolved (RT_AUGMENT_*). `mean` and `std` of each channel of the
// images. Follows what torchvision's presets do: photographs are cut by RandomResizedCrop, and evaluated in the middle
// with their shorter edge at 256/224 of the crop; images of one size are padded by 4 and cropped.
enum smkd_result rt_transform_options_of(const struct rt_config *c, unsigned augment,
                                         const struct rt_image_kind *images, const struct rt_input *input,
                                         const float *mean, const float *std, struct rt_transform_options *out);
// Where flags are given, or the images are files: puts a pipeline that follows them into `room` and has `t` use it;
// images then need not have the size that the network takes. Otherwise rt_transform_init.
enum smkd_result rt_transform_from_flags(struct rt_transform *t, struct rt_pipeline *room, const struct rt_config *c,
                                         unsigned augment, const struct rt_images *im, const struct rt_input *input,
                                         const float *mean, const float *std);
// The shorter edge from which torchvision's presets cut a middle of this size; of small ones, the size itself.
int rt_usual_resize(int crop);

#endif
