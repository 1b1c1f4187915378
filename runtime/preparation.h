// How a network wants its images prepared, and what its classes are called. It is kept with the run (config.json,
// "preparation"), goes into an exported ONNX file (metadata_props) and from there into artifacts compiled from it (the
// notes' SMKD_NOTE_METADATA): everywhere the same keys with the same texts.
//
//     smkd.mean, smkd.std        "0.485,0.456,0.406": of each channel, on a 0..1 scale; one for all, or one each
//     smkd.resize                "256": the shorter edge becomes that many pixels, as of torchvision's Resize; "0": it
//     stays smkd.crop                  "224x224": then the middle of height x width is cut out, black around it where
//     the image is smaller smkd.interpolation         "bilinear": of resizing, with antialiasing; one of
//     rt_interpolations smkd.class_names           ["cat","dog"]: a JSON array, from class 0 on
//
// Each may be missing; other keys are others'.
#ifndef SMKD_RT_PREPARATION_H
#define SMKD_RT_PREPARATION_H

#include "data.h"
#include "resize.h"
#include "transforms.h"

struct rt_preparation {
    int channels; // of mean and std; 0: not known
    float mean[RT_MAX_CHANNELS], std[RT_MAX_CHANNELS];
    int resize;                  // -1: not known
    int crop_height, crop_width; // 0: not known
    int how;                     // enum rt_interpolation; -1: not known
    char **class_names;          // owned
    int n_class_names;
};
void rt_preparation_init(struct rt_preparation *p); // nothing is known
void rt_preparation_release(struct rt_preparation *p);
void rt_preparation_set_names(struct rt_preparation *p, const char *const *names, int n); // copies

// What a run does: its transform, the data set's class names and (where there is no pipeline) its mean and deviation.
// Images of one size are not resized; a photograph's shorter edge then becomes theirs, and the model's border is black.
void rt_preparation_of_run(struct rt_preparation *p, const struct rt_transform *t, const struct rt_dataset *set);

struct cJSON;
// What is known, as an object of texts; the caller deletes it.
struct cJSON *rt_preparation_json(const struct rt_preparation *p);
// Takes over what such an object says (NULL: nothing). SMKD_R_INVALID, naming `where` and the key, for a text that is
// none of the above; release also then.
enum smkd_result rt_preparation_read(struct rt_preparation *p, const struct cJSON *o, const char *where);
// The same from the notes of an artifact.
enum smkd_result rt_preparation_of_artifact(struct rt_preparation *p, const smkd_model *m, const char *path);

#endif
