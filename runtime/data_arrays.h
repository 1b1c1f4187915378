// Data in NumPy's arrays: `train_x.npy,train_y.npy[,test_x.npy,test_y.npy]`, or one .npz with arrays of such names
// (docs/data.md). What is uint8 or float32 in the order of C stays in the mapped file.
#ifndef SMKD_RT_DATA_ARRAYS_H
#define SMKD_RT_DATA_ARRAYS_H

#include "runtime.h"

// One part: n samples, x and either labels or targets. Of what is not uint8, x is float32 and finite.
struct rt_array_part {
    size_t n;
    struct rt_tensor x; // RT_U8 or RT_F32, [n, ...]; only to be read, its bytes may lie in the file
    int32_t *labels;    // n, none negative; NULL: there are targets
    float *targets;     // [n][n_targets], finite; NULL: there are labels
    // Behind x:
    const void *map; // of a file
    size_t map_size;
    void *owned;
};

enum rt_array_y {
    RT_Y_AUTO,   // whole numbers are labels, floats are targets
    RT_Y_LABELS, // floats must be whole numbers
    RT_Y_TARGETS // whole numbers, too
};
struct rt_arrays_options {
    enum rt_array_y y;
    int classes;            // labels lie below; 0: any
    const char *test_split; // "val" or "test"; NULL: val where an .npz has it, test otherwise
};
struct rt_arrays {
    char name[64]; // of the first file
    struct rt_array_part train, test;
    bool has_test;
    int classes;   // one more than the largest label of both parts; 0: targets
    int n_targets; // 0: labels
};

// Whether `where` is one of the two, from its names alone.
bool rt_arrays_detect(const char *where);
// Checks all of it: types, shapes, lengths, labels, and that no number of x or y is infinite or none: such a one is
// named by its place. Release with rt_arrays_release, also after a failure.
enum smkd_result rt_arrays_load(const char *where, const struct rt_arrays_options *o, struct rt_arrays *out);
void rt_arrays_release(struct rt_arrays *a);

// How a sample is an image: [C,H,W], [H,W,C], or [H,W] with one channel; --layout is "nchw", "nhwc" or "auto": nhwc
// where only the last dimension can be that of channels (at most 4). channels is 0 where samples are no images: [F], or
// of other ranks.
struct rt_array_image {
    int channels, height, width;
    bool channels_last;
};
enum smkd_result rt_arrays_image(const struct rt_arrays *a, const char *layout, struct rt_array_image *out);

#endif
