// Images, labels, noise and batches. Images stay as the bytes of their files; a batch becomes float32 only in the
// loader. They are pixels of equal size in memory (IDX, CIFAR), or files that are decoded for each batch that has them.
#ifndef SMKD_RT_DATA_H
#define SMKD_RT_DATA_H

#include "../methods/methods.h"
#include "image.h"

// Streams of random numbers (second key of rt_rng_init), so that no two uses of one seed ever share numbers.
enum rt_stream {
    RT_STREAM_NOISE = 1,
    RT_STREAM_SPLIT,
    RT_STREAM_SHUFFLE,
    RT_STREAM_AUGMENT,
    RT_STREAM_DROPOUT,
    RT_STREAM_MIX,
    RT_STREAM_TABLE,
    RT_STREAM_DRAW,
    RT_STREAM_ROUND,
    RT_STREAM_PARTNER,
    RT_STREAM_MORE
};
// Stream number of one item: 4 bits kind, 24 bits epoch, 36 bits sample or step.
uint64_t rt_stream_id(enum rt_stream kind, uint64_t epoch, uint64_t item);

// --- data sets ------------------------------------------------------------------------------------------------------

struct rt_images {
    size_t n;
    int channels, height, width; // of pixels; of files the channels that the model takes, 0 and 0
    uint8_t *pixels;             // n planar images [channels][height][width]; owned, unless borrowed; NULL: files
    int32_t *labels;             // n labels in [0, classes), zeros where there are targets; owned
    // Arrays (data_arrays.h). What they borrow belongs to the data set.
    const float *values; // takes the place of pixels: channels * height * width numbers an image; borrowed
    bool last;           // values are [height][width][channels]
    bool borrowed;       // pixels are
    float *targets;      // of a regression: [n][n_targets]; owned; NULL: labels
    int n_targets;
    // Files: the path of image i begins at paths + path_at[i] (rt_images_path). Owned.
    char *paths;
    uint64_t *path_at;
    bool upright;           // turned as their EXIF orientation says
    struct rt_cache *cache; // what is held decoded (rt_dataset_cache); NULL: nothing
};
void rt_images_release(struct rt_images *im);
static inline const char *rt_images_path(const struct rt_images *im, size_t i) { return im->paths + im->path_at[i]; }

// One image as red, green and blue (source.c); a file is decoded as far as `need` says (image.h), one that the cache
// holds as a whole. SMKD_R_NOMEM, or what rt_image_read says of a file.
struct rt_source_request {
    void (*need)(void *env, int width, int height, struct rt_image_need *out); // NULL: all of it
    void *env;
};
enum smkd_result rt_source_read(const struct rt_images *im, size_t i, const struct rt_source_request *q,
                                struct rt_image *out);
// Gives back what rt_source_read gave: memory, or nothing where the cache has it.
void rt_source_done(const struct rt_images *im, size_t i, struct rt_image *rgb);

#define RT_MAX_CHANNELS 4
struct rt_dataset {
    char name[64];      // "cifar10", "cifar100", or the folder's name for IDX files
    int classes;        // CIFAR's; of IDX files one more than the largest label of both parts
    bool cifar;         // CIFAR's binary files: labels are numbered as in its papers
    int max_classes;    // below which labels of the user's own must lie: CIFAR's, or what the model tells apart
    char **class_names; // `classes` of them, UTF-8; owned; NULL where the format has none
    char **notes;       // n_notes lines about the files that the user should see; owned
    int n_notes;
    struct rt_images train, test;                      // of files and arrays the test part may be empty
    struct rt_arrays *arrays;                          // what the images' pixels or values lie in; owned
    size_t train_total;                                // training images in the files, before a limit
    float mean[RT_MAX_CHANNELS], std[RT_MAX_CHANNELS]; // of the training images, on a 0..1 scale
};

// Loads `where`: a folder with IDX files (train-images-idx3-ubyte[.gz] ...), CIFAR-10's data_batch_*.bin +
// test_batch.bin, or CIFAR-100's train.bin + test.bin (fine labels), recognised by the files in it; "fashion-mnist",
// Debian's dataset-fashion-mnist; a list of image files in one of the forms of listing.h; or arrays (data_arrays.h).
// `classes` is what the model tells apart: the data may have fewer, not more. The limits keep the first images (0:
// all), of files as many spread evenly over the list. Each header and record is checked. Release with
// rt_dataset_release.
enum smkd_result rt_dataset_load(const char *where, int classes, size_t train_limit, size_t test_limit,
                                 struct rt_dataset *out);
// The same for a model whose input is known: images that do not fit it (rt_transform_fits) are refused by the headers
// of the files, before anything is unpacked.
struct rt_data_want {
    int classes;
    int channels, height, width; // height 0: any images
    size_t train_limit, test_limit;
    // Of image files and arrays; see listing.h and data_arrays.h.
    const char *label_column, *image_root, *test_split, *layout;
    bool regression;          // y are targets, as many as `classes`
    bool rows;                // the model takes rows of `width` numbers, no images: only arrays will do
    char *const *class_names; // of a run, where its networks are evaluated; NULL: those of the data
    int n_class_names;
    bool upright; // images are turned as their EXIF orientation says
};
enum smkd_result rt_dataset_load_for(const char *where, const struct rt_data_want *want, struct rt_dataset *out);
void rt_dataset_release(struct rt_dataset *d);
// Holds every file of both parts decoded from when it is first read: at its whole size, so that large JPEGs give other
// bits than without, where they are decoded at a fraction of it. SMKD_R_NOMEM, before anything is decoded, where the
// headers of the files say that this would take more than there is.
enum smkd_result rt_dataset_cache(struct rt_dataset *d);

// The readers behind it (data_idx.c, data_cifar.c, data_files.c, data_numbers.c). `out` is released by the caller also
// after a failure.
enum smkd_result rt_files_load(const char *where, const struct rt_data_want *want, struct rt_dataset *out);
enum smkd_result rt_numbers_load(const char *where, const struct rt_data_want *want, struct rt_dataset *out);
bool rt_idx_detect(const char *dir);
enum smkd_result rt_idx_load(const char *dir, const struct rt_data_want *want, struct rt_dataset *out);
bool rt_cifar_detect(const char *dir); // also dir/cifar-10-batches-bin and dir/cifar-100-binary, as the archives unpack
enum smkd_result rt_cifar_load(const char *dir, const struct rt_data_want *want, struct rt_dataset *out);
// SMKD_R_INVALID or SMKD_R_IO saying what `where` is instead of a data set, and what to do (data_unknown.c).
enum smkd_result rt_data_unknown(const char *where);
// "DIR/FILE" in memory of the caller's own (free); and whether it is a file that can be opened.
char *rt_path_join(const char *dir, const char *file);
bool rt_path_exists(const char *path);

// --- labels (noise: noise.h) ----------------------------------------------------------------------------------------

// Reads labels that replace the training labels: a .npy of whole numbers of any type, [total] or with further
// dimensions of 1; or text with one number a line (or all in a single one), as numpy.savetxt writes it. Which of them
// shows in the bytes. Exactly `total` (the whole training set, before a limit) or `n` labels must be there, each below
// `classes`; the first n are written to
// `labels`.
enum smkd_result rt_labels_read(const char *path, size_t total, size_t n, int classes, int32_t *labels);
// The same of marks, 1 or 0 (also true or false in a .npy).
enum smkd_result rt_marks_read(const char *path, size_t total, size_t n, int32_t *marks);
enum smkd_result rt_labels_write(const char *path, const int32_t *labels, size_t n); // .npy, i64

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
    // Of values:
    bool values_last, flat; // as their images have them; in the order of the network's input, whatever that is
    float mean[RT_MAX_CHANNELS], std[RT_MAX_CHANNELS];
    // Of transforms.h; borrowed. NULL, or what does all of the above instead.
    const struct rt_pipeline *pipeline;
};
// SMKD_R_MISMATCH where images of this size do not fit the network's input.
enum smkd_result rt_transform_fits(const struct rt_images *im, int channels, int height, int width);
// SMKD_R_MISMATCH where the image does not fit the input. `mean` and `std` have src_channels elements.
enum smkd_result rt_transform_init(struct rt_transform *t, const struct rt_images *im, int channels, int height,
                                   int width, unsigned flags, const float *mean, const float *std);
// Writes channels*height*width floats, without the pipeline. `rng` is NULL for no augmentation, whatever the flags say.
void rt_transform_run(const struct rt_transform *t, const uint8_t *pixels, struct rt_rng *rng, float *out);
// The same for values, which are less the mean, over the deviation, and never augmented. Images need the network's
// size.
void rt_transform_values(const struct rt_transform *t, const float *values, float *out);

// --- the order of an epoch (sampler.c) -------------------------------------------------------------------------------

struct rt_sampler_job {
    const int64_t *subset; // image numbers; NULL: 0 .. n-1
    const int32_t *labels; // given labels, by image
    const float *weights;  // by image; of "weighted"
    size_t n;              // also the length of an epoch
    struct rt_rng rng;     // of seed and epoch
};
struct rt_sampler {
    const char *name;
    bool repeats; // may bring an image more than once in an epoch
    // Writes the n image numbers of an epoch. false: out of memory.
    bool (*order)(struct rt_sampler_job *j, int64_t *order);
};
// "shuffle": each image once, in random order. "balanced": each class that has images equally often (but for one, where
// that does not come out even), its images drawn with replacement, in random order. "repeated": torchvision's RASampler
// with three repetitions: of the shuffled images each three times in a row until the epoch is full. "weighted": each
// image as often as its weight says, that share of the epoch rounded up or down by chance, in random order. Ends with a
// NULL name.
extern const struct rt_sampler rt_samplers[];
const struct rt_sampler *rt_sampler_find(const char *name); // NULL: there is none
// For each of j->n images in that order another of its class, any with the same chance; itself where there is none.
// False: no memory.
bool rt_sampler_partners(struct rt_sampler_job *j, const int64_t *order, int64_t *partner);
// The job's images shuffled, as often as it takes for n places. Likewise.
bool rt_sampler_cycle(struct rt_sampler_job *j, size_t n, int64_t *order);

// --- batches, prepared by threads of their own -----------------------------------------------------------------------
// What a batch holds depends on seed, epoch and position in it alone, never on timing or on the number of threads.
// Every random choice is keyed by (seed, kind, epoch, image), or by (..., position in the epoch) where an image may
// come twice.
//
// Files that cannot be read or decoded. Each is told once (`warn`, by the thread that reads batches, in the order of
// the rows) and counted. In training the row gets the image that follows in the epoch's order, and where that is
// damaged, too, the one behind it, and so on, so that batches have the same size and an epoch the same steps whatever
// is damaged; augmentation of such a row is keyed by its position. In evaluation the row is left out, and the batch is
// smaller. So nothing depends on when a file was found to be damaged, and a run that goes on makes the same batches. An
// epoch without a single readable image, a lack of memory, and with `strict` the first such file, end the epoch early:
// rt_loader_result says so.

// MixUp and CutMix (transforms.h). 0: not that one.
struct rt_mix_options {
    double mixup_alpha, cutmix_alpha;
};
struct rt_loader_config {
    const struct rt_images *images;       // borrowed
    const int32_t *labels;                // given labels, by image; borrowed (NULL: images->labels)
    const float *weights;                 // of the sampler, by image; borrowed
    const int64_t *subset;                // image numbers to go through (NULL: all, in order); borrowed
    size_t n;                             // their count
    const struct rt_transform *transform; // has a pipeline where the images are files; borrowed
    size_t batch;
    bool shuffle, augment;            // both in training, neither in evaluation
    const struct rt_sampler *sampler; // with shuffle; NULL: the first
    bool drop_last;                   // no batch of fewer images
    // Of each image, with augment: augmented independently of each other, keyed by seed, epoch, image and view. View 0
    // is what there is with one view. 0: one; and one where nothing about an image is random.
    int views;
    // What they are views of, `views` of them (borrowed); NULL: each of the row's own image. A partner is another image
    // of the same given label, drawn anew in each epoch (the image itself where its class has no other); of more see
    // rt_loader_pass. An image beside the row's own that cannot be decoded is that one instead.
    const struct method_view *view;
    const struct rt_transform *strong; // of strong ones; borrowed
    bool stacked;              // view v of row i lies at i * views + v, and is made even where nothing is random
    bool mixing;               // passes may mix
    struct rt_mix_options mix; // in training; drawn by seed, epoch and number of the batch
    uint64_t seed;
    int workers; // threads; 0: as many as cores for files, one for pixels
    int ahead;   // batches that may wait for the reader; 0: 3, or 2 where a batch is large
    bool strict; // a file that cannot be decoded ends the epoch
    void (*warn)(void *env, const char *line);
    void *warn_env;
};
struct rt_batch {
    const float *images;   // [n][C][H][W]; of several views [views][n][C][H][W], stacked [n][views][C][H][W]
    const int64_t *labels; // [n] given labels
    const int64_t *index;  // [n] image numbers
    size_t n;              // rows; the last batch of an epoch may be smaller, and in evaluation any
    // Of mixed images, of which each is `lambda` itself: the labels of what the rest of it is. Else NULL and 1.
    const int64_t *labels_mix;
    double lambda;
    const float *targets; // [n][n_targets] of a regression; else NULL
    int views;
    size_t view_floats; // from a view to the next; unused where they are stacked
    // Of a pass that mixes: the images lambda x + (1-lambda) x', x' those in the rows of mix_row, [n * views]; both
    // NULL where nothing is mixed in this way.
    const float *mixed;
    const int64_t *mix_row;
};
// The images [n][C][H][W] of a view from 0; where fewer were made, all are view 0.
static inline const float *rt_batch_view(const struct rt_batch *b, int view) {
    return view < b->views ? b->images + (size_t)view * b->view_floats : b->images;
}
struct rt_loader;

// Starts the threads; NULL after rt_fail.
struct rt_loader *rt_loader_new(const struct rt_loader_config *c);
void rt_loader_free(struct rt_loader *l);
size_t rt_loader_batches(const struct rt_loader *l); // of an epoch, or of the pass begun last
// Begins an epoch (any number; it seeds shuffling and augmentation). The threads start to prepare its batches at once.
// The epoch before must have been read to its end.
void rt_loader_begin(struct rt_loader *l, uint64_t epoch);
// A way through some of the images, several of which may make an epoch.
struct rt_loader_pass {
    int number;          // in its epoch, from 0: seeds it, too
    int views;           // that are made of a row; 0: all
    const int64_t *rows; // image numbers, in place of `subset`; NULL: those. Borrowed until it has been read
    size_t n;
    const int64_t *more; // the images of views METHOD_MORE, shuffled and gone through again as often as it takes; NULL:
    size_t n_more;       // those of `subset`. Borrowed likewise
    // Each image of a batch, of all its views, is mixed with one that a permutation gives it: lambda is drawn from
    // Beta(mix, mix), the larger of it and 1 - it. 0: nothing is.
    double mix;
};
void rt_loader_begin_pass(struct rt_loader *l, uint64_t epoch, const struct rt_loader_pass *p);
// Next batch of the epoch, valid until the next call; false at the end. Never an empty one.
bool rt_loader_next(struct rt_loader *l, struct rt_batch *out);
// Behind an epoch: SMKD_R_OK, or why it ended early, also as this thread's last error.
enum smkd_result rt_loader_result(const struct rt_loader *l);
double rt_loader_waited(const struct rt_loader *l);  // seconds that the reader waited in this epoch (the last begun)
size_t rt_loader_skipped(const struct rt_loader *l); // files so far that could not be decoded
int rt_loader_workers(const struct rt_loader *l);
int rt_loader_views(const struct rt_loader *l); // that it makes of an image

#endif
