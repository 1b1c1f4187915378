// Building backbones as ONNX protobuf, layer by layer, the way a PyTorch module's forward() reads. Private to
// frontend/zoo.
//
// Layers take and return `struct zoo_val` by value. A layer's `path` is its PyTorch module path ("layer1.0.conv1"): its
// parameters become "layer1.0.conv1.weight", its node "/layer1/0/conv1/Conv". Errors are sticky: the first one is
// reported and every later call does nothing, so a network is written down without a check per line.
#ifndef FE_ZOO_H
#define FE_ZOO_H

#include "../frontend.h"

#include "onnx/onnx.pb-c.h"

// An activation: [N, c, h, w], or [N, c] when h == 0.
struct zoo_val {
    const char *name;
    int64_t c, h, w;
};

struct zoo {
    struct arena *arena;
    struct diag *diag;
    const char *arch;
    struct fe_new_options o; // every default filled in
    double bn_eps;           // of the BatchNorms made from now on; 1e-5 at the start
    bool failed;
    int64_t n_params;       // trained elements so far
    Onnx__GraphProto graph; // arrays grow in the arena
    size_t cap_nodes, cap_inits;
    struct zoo_val *taps; // outputs beside the logits, which training alone looks at
    size_t n_taps, cap_taps;
};

// One architecture: the network from the input `x` to the logits [N, classes].
struct zoo_arch {
    const char *name;
    struct zoo_val (*forward)(struct zoo *z, struct zoo_val x, int depth_or_variant);
    int variant;      // passed to forward
    int min_size;     // smallest height and width that leave something at the end
    int default_size; // height and width when --input is not given
    bool has_width;   // --width means something
    int heads;        // most side heads
};
extern const struct zoo_arch zoo_archs[]; // same order as fe_archs, ends with a NULL name

// "layer%d.%d" and the like, in the arena.
const char *zoo_path(struct zoo *z, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct zoo_window {
    int kh, kw, stride, ph, pw;
}; // both strides are equal
#define ZOO_SQUARE(k, s, p) ((struct zoo_window){(k), (k), (s), (p), (p)})

// PATH.weight [out, c/groups, kh, kw], He-normal by fan-out; PATH.bias [out] when `bias`.
struct zoo_val zoo_conv(struct zoo *z, struct zoo_val x, const char *path, int64_t out, struct zoo_window w,
                        int64_t groups, bool bias);
// PATH.weight 1, .bias 0, .running_mean 0, .running_var 1, all [c].
struct zoo_val zoo_bn(struct zoo *z, struct zoo_val x, const char *path);
// PATH.weight [out, c] and .bias [out], uniform in +-1/sqrt(c) as PyTorch's Linear.
struct zoo_val zoo_linear(struct zoo *z, struct zoo_val x, const char *path, int64_t out);
struct zoo_val zoo_relu(struct zoo *z, struct zoo_val x, const char *path);
struct zoo_val zoo_add(struct zoo *z, struct zoo_val a, struct zoo_val b, const char *path);
struct zoo_val zoo_mul(struct zoo *z, struct zoo_val a, struct zoo_val b, const char *path);
struct zoo_val zoo_sigmoid(struct zoo *z, struct zoo_val x, const char *path);
struct zoo_val zoo_scale(struct zoo *z, struct zoo_val x, float by, const char *path); // x times a constant
struct zoo_val zoo_max_pool(struct zoo *z, struct zoo_val x, const char *path, struct zoo_window w);
// Twice as high and wide, bilinear; that has to be the size of `like`.
struct zoo_val zoo_double(struct zoo *z, struct zoo_val x, struct zoo_val like, const char *path);
// Padding is not counted.
struct zoo_val zoo_avg_pool(struct zoo *z, struct zoo_val x, const char *path, struct zoo_window w);
struct zoo_val zoo_global_pool(struct zoo *z, struct zoo_val x, const char *path);              // [N,c,h,w] -> [N,c]
struct zoo_val zoo_concat(struct zoo *z, const struct zoo_val *xs, size_t n, const char *path); // along channels
// The two halves of the channels.
void zoo_halves(struct zoo *z, struct zoo_val x, const char *path, struct zoo_val out[2]);
// Channel g*(c/groups)+i goes to i*groups+g (ShuffleNet).
struct zoo_val zoo_shuffle(struct zoo *z, struct zoo_val x, int64_t groups, const char *path);
// He et al.'s option A: every stride-th pixel, missing channels zero, half of them on each side. No parameters.
struct zoo_val zoo_pad_shortcut(struct zoo *z, struct zoo_val x, int64_t out, int64_t stride, const char *path);

// x under another name, here and for all who read it; and as an output.
struct zoo_val zoo_named(struct zoo *z, struct zoo_val x, const char *name);
void zoo_tap(struct zoo *z, struct zoo_val x);

// Side heads (side_heads.c) on a feature map, of a backbone whose last one is `last`: pooled features [N, last.c], and
// logits.
struct zoo_side {
    struct zoo_val logits, feat;
};
typedef struct zoo_side zoo_head_fn(struct zoo *z, struct zoo_val x, const char *path, struct zoo_val last);
zoo_head_fn zoo_head_bottleneck, zoo_head_separable;

// Initial values (init.c). The stream of random numbers is named by (seed, parameter name), so a parameter's values do
// not depend on what else the network has.
void zoo_init_normal(float *dst, size_t n, double std, uint64_t seed, const char *name);
void zoo_init_uniform(float *dst, size_t n, double bound, uint64_t seed, const char *name); // [-bound, bound)

// The networks, one family per file.
struct zoo_val zoo_resnet_cifar(struct zoo *z, struct zoo_val x, int depth); // 8 20 32 44 56; 8 + stem stride 2: -8
struct zoo_val zoo_resnet(struct zoo *z, struct zoo_val x, int variant);     // index into its table
struct zoo_val zoo_preact_resnet18(struct zoo *z, struct zoo_val x, int unused);
struct zoo_val zoo_shufflenet_v2(struct zoo *z, struct zoo_val x, int unused);
struct zoo_val zoo_inception_resnet_v2(struct zoo *z, struct zoo_val x, int unused);

#endif
