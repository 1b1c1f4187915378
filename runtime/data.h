// Images, labels, noise and batches. Images stay as the bytes of their files; a batch becomes float32 only in the
// loader.
#ifndef SMKD_RT_DATA_H
#define SMKD_RT_DATA_H

#include "runtime.h"

// Streams of random numbers (second key of rt_rng_init), so that no two uses of one seed ever share numbers.
enum rt_stream { RT_STREAM_NOISE = 1, RT_STREAM_SPLIT, RT_STREAM_SHUFFLE, RT_STREAM_AUGMENT, RT_STREAM_DROPOUT };
// Stream number of one item: 4 bits kind, 24 bits epoch, 36 bits sample or step.
uint64_t rt_stream_id(enum rt_stream kind, uint64_t epoch, uint64_t item);

// --- data sets ------------------------------------------------------------------------------------------------------

struct rt_images {
    size_t n;
    int channels, height, width;
    uint8_t *pixels; // n planar images [channels][height][width]; owned
    int32_t *labels; // n labels in [0, classes); owned
};

#define RT_MAX_CHANNELS 4
struct rt_dataset {
    char name[64];   // "cifar10", "cifar100", or the folder's name for IDX files
    int classes;     // CIFAR's; of IDX files one more than the largest label of both parts
    int max_classes; // below which labels of the user's own must lie: CIFAR's, or what the model tells apart
    struct rt_images train, test;
    size_t train_total;                                // training images in the files, before a limit
    float mean[RT_MAX_CHANNELS], std[RT_MAX_CHANNELS]; // of the training images, on a 0..1 scale
};

// Loads `where`: a folder with IDX files (train-images-idx3-ubyte[.gz] ...), CIFAR-10's data_batch_*.bin +
// test_batch.bin, or CIFAR-100's train.bin + test.bin (fine labels), recognised by the files in it; or "fashion-mnist",
// Debian's dataset-fashion-mnist. `classes` is what the model tells apart: the data may have fewer, not more. The
// limits keep the first images (0: all). Each header and record is checked. Release with rt_dataset_release.
enum smkd_result rt_dataset_load(const char *where, int classes, size_t train_limit, size_t test_limit,
                                 struct rt_dataset *out);
// The same for a model whose input is known: images that do not fit it (rt_transform_fits) are refused by the headers
// of the files, before anything is unpacked.
struct rt_data_want {
    int classes;
    int channels, height, width; // height 0: any images
    size_t train_limit, test_limit;
};
enum smkd_result rt_dataset_load_for(const char *where, const struct rt_data_want *want, struct rt_dataset *out);
void rt_dataset_release(struct rt_dataset *d);

// The readers behind it (data_idx.c, data_cifar.c). `out` is released by the caller also after a failure.
bool rt_idx_detect(const char *dir);
enum smkd_result rt_idx_load(const char *dir, const struct rt_data_want *want, struct rt_dataset *out);
bool rt_cifar_detect(const char *dir); // also dir/cifar-10-batches-bin and dir/cifar-100-binary, as the archives unpack
enum smkd_result rt_cifar_load(const char *dir, const struct rt_data_want *want, struct rt_dataset *out);
// SMKD_R_INVALID or SMKD_R_IO saying what `where` is instead of a data set, and what to do (data_unknown.c).
enum smkd_result rt_data_unknown(const char *where);
// "DIR/FILE" in memory of the caller's own (free); and whether it is a file that can be opened.
char *rt_path_join(const char *dir, const char *file);
bool rt_path_exists(const char *path);

// --- labels and noise ------------------------------------------------------------------------------------------------

// Reads labels that replace the training labels: a .npy of whole numbers of any type, [total] or with further
// dimensions of 1; or text with one number a line (or all in a single one), as numpy.savetxt writes it. Which of them
// shows in the bytes. Exactly `total` (the whole training set, before a limit) or `n` labels must be there, each below
// `classes`; the first n are written to
// `labels`.
enum smkd_result rt_labels_read(const char *path, size_t total, size_t n, int classes, int32_t *labels);
enum smkd_result rt_labels_write(const char *path, const int32_t *labels, size_t n); // .npy, i64

enum rt_noise_kind { RT_NOISE_NONE, RT_NOISE_SYMMETRIC, RT_NOISE_SYMMETRIC_INCLUSIVE, RT_NOISE_PAIRFLIP };
struct rt_noise {
    enum rt_noise_kind kind;
    double rate;
};
// "none", "symmetric:R" (to one of the other classes), "symmetric-inclusive:R" (to any class, the own one included) or
// "pairflip:R" (class i to (i+1) mod C), 0 <= R <= 1.
enum smkd_result rt_noise_parse(const char *text, struct rt_noise *out);
// Flips each label independently with the given probability. The first k labels do not depend on n.
void rt_noise_apply(const struct rt_noise *noise, uint64_t seed, int classes, int32_t *labels, size_t n);
// Share of positions in which the two differ.
double rt_labels_differ(const int32_t *a, const int32_t *b, size_t n);

// --- from bytes to the network's input -------------------------------------------------------------------------------

enum rt_augment_flags { RT_AUGMENT_CROP = 1, RT_AUGMENT_FLIP = 2 };
// "crop-flip", "crop", "flip", "none".
enum smkd_result rt_augment_parse(const char *text, unsigned *flags);
const char *rt_augment_text(unsigned flags);

// How an image becomes [channels][height][width] floats (or [height][width][channels]). Black borders where the
// network's input is larger than the image (centred); one channel repeated where the network wants more. As in
// torchvision, the padding of a crop is black before normalisation.
struct rt_transform {
    int src_channels, src_height, src_width;
    int channels, height, width;
    bool channels_last;              // the network reads [height][width][channels]; false after rt_transform_init
    int top, left;                   // where the image's corner lands in the network's input
    unsigned flags;                  // enum rt_augment_flags
    float lut[RT_MAX_CHANNELS][256]; // normalised value of each byte
    // Of transforms.h; borrowed. NULL, or what does all of the above instead.
    const struct rt_pipeline *pipeline;
};
// SMKD_R_MISMATCH where images of this size do not fit the network's input.
enum smkd_result rt_transform_fits(const struct rt_images *im, int channels, int height, int width);
// SMKD_R_MISMATCH where the image does not fit the input. `mean` and `std` have src_channels elements.
enum smkd_result rt_transform_init(struct rt_transform *t, const struct rt_images *im, int channels, int height,
                                   int width, unsigned flags, const float *mean, const float *std);
// Writes channels*height*width floats. `rng` is NULL for no augmentation, whatever the flags say.
void rt_transform_run(const struct rt_transform *t, const uint8_t *pixels, struct rt_rng *rng, float *out);

// --- batches, prepared by a thread of their own ----------------------------------------------------------------------

struct rt_loader_config {
    const struct rt_images *images;       // borrowed
    const int32_t *labels;                // given labels, by image; borrowed (NULL: images->labels)
    const int64_t *subset;                // image numbers to go through (NULL: all, in order); borrowed
    size_t n;                             // their count
    const struct rt_transform *transform; // borrowed
    size_t batch;
    bool shuffle, augment;
    bool drop_last; // no batch of fewer images
    uint64_t seed;
};
struct rt_batch {
    const float *images;   // [n][C][H][W]
    const int64_t *labels; // [n] given labels
    const int64_t *index;  // [n] image numbers
    size_t n;              // rows; the last batch of an epoch may be smaller
};
struct rt_loader;

// Starts the thread; NULL after rt_fail. What a batch holds depends on seed, epoch and position alone, never on timing.
struct rt_loader *rt_loader_new(const struct rt_loader_config *c);
void rt_loader_free(struct rt_loader *l);
size_t rt_loader_batches(const struct rt_loader *l); // an epoch
// Begins an epoch (any number; it seeds shuffling and augmentation). The thread starts to prepare its batches at once.
// The epoch before must have been read to its end.
void rt_loader_begin(struct rt_loader *l, uint64_t epoch);
// Next batch of the epoch, valid until the next call; false at the end.
bool rt_loader_next(struct rt_loader *l, struct rt_batch *out);

#endif
