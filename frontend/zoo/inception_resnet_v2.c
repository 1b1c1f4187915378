// Inception-ResNet-v2 (Szegedy et al. 2016), structure, names and BatchNorm epsilon (1e-3) of timm. 55,843,464
// parameters for 1000 classes. Unpadded stem: needs at least 75x75.
#include "zoo.h"

// Convolution, BatchNorm, ReLU.
static struct zoo_val unit(struct zoo *z, struct zoo_val x, const char *path, int64_t out, struct zoo_window w) {
    x = zoo_conv(z, x, zoo_path(z, "%s.conv", path), out, w, 1, false);
    return zoo_relu(z, zoo_bn(z, x, zoo_path(z, "%s.bn", path)), zoo_path(z, "%s.bn.act", path));
}

// A branch is one unit ("branch0") or a sequence of them ("branch1.0", "branch1.1", ...).
struct layer {
    int64_t out;
    struct zoo_window w;
};
struct branch {
    int n;
    struct layer layers[3];
};
#define K1(out) {(out), {1, 1, 1, 0, 0}}
#define K3(out, s, p)                                                                                                  \
    {                                                                                                                  \
        (out), { 3, 3, (s), (p), (p) }                                                                                 \
    }
#define K5(out)        {(out), {5, 5, 1, 2, 2}}
#define K(out, kh, kw) {(out), {(kh), (kw), 1, (kh) / 2, (kw) / 2}}

static struct zoo_val branch(struct zoo *z, struct zoo_val x, const char *path, int index, const struct branch *b) {
    if (b->n == 1) return unit(z, x, zoo_path(z, "%s.branch%d", path, index), b->layers[0].out, b->layers[0].w);
    for (int i = 0; i < b->n; i++)
        x = unit(z, x, zoo_path(z, "%s.branch%d.%d", path, index, i), b->layers[i].out, b->layers[i].w);
    return x;
}

// Residual block: branches, concat, 1x1 with bias, scaled and added to x.
struct residual {
    int n;
    struct branch branches[3];
    float scale;
};
static const struct residual block35 = {
    3, {{1, {K1(32)}}, {2, {K1(32), K3(32, 1, 1)}}, {3, {K1(32), K3(48, 1, 1), K3(64, 1, 1)}}}, 0.17f};
static const struct residual block17 = {2, {{1, {K1(192)}}, {3, {K1(128), K(160, 1, 7), K(192, 7, 1)}}}, 0.10f};
static const struct residual block8 = {2, {{1, {K1(192)}}, {3, {K1(192), K(224, 1, 3), K(256, 3, 1)}}}, 0.20f};

static struct zoo_val residual(struct zoo *z, struct zoo_val x, const char *path, const struct residual *r, float scale,
                               bool relu) {
    struct zoo_val y[3];
    for (int i = 0; i < r->n; i++) y[i] = branch(z, x, path, i, &r->branches[i]);
    struct zoo_val out = zoo_concat(z, y, (size_t)r->n, path);
    out = zoo_conv(z, out, zoo_path(z, "%s.conv2d", path), x.c, ZOO_SQUARE(1, 1, 0), 1, true);
    if (scale != 1.0f) out = zoo_scale(z, out, scale, path);
    out = zoo_add(z, out, x, path);
    return relu ? zoo_relu(z, out, zoo_path(z, "%s.act", path)) : out;
}

static const struct branch mixed_5b[] = {
    {1, {K1(96)}}, {2, {K1(48), K5(64)}}, {3, {K1(64), K3(96, 1, 1), K3(96, 1, 1)}}};
static const struct branch mixed_6a[] = {{1, {K3(384, 2, 0)}}, {3, {K1(256), K3(256, 1, 1), K3(384, 2, 0)}}};
static const struct branch mixed_7a[] = {
    {2, {K1(256), K3(384, 2, 0)}}, {2, {K1(256), K3(288, 2, 0)}}, {3, {K1(256), K3(288, 1, 1), K3(320, 2, 0)}}};

// Branches of convolutions side by side, and one more given by the caller.
static struct zoo_val mixed(struct zoo *z, struct zoo_val x, const char *path, const struct branch *b, int n,
                            struct zoo_val last) {
    struct zoo_val y[4];
    for (int i = 0; i < n; i++) y[i] = branch(z, x, path, i, &b[i]);
    y[n] = last;
    return zoo_concat(z, y, (size_t)n + 1, path);
}

struct zoo_val zoo_inception_resnet_v2(struct zoo *z, struct zoo_val x, int unused) {
    (void)unused;
    z->bn_eps = 1e-3;
    x = unit(z, x, "conv2d_1a", 32, ZOO_SQUARE(3, 2, 0));
    x = unit(z, x, "conv2d_2a", 32, ZOO_SQUARE(3, 1, 0));
    x = unit(z, x, "conv2d_2b", 64, ZOO_SQUARE(3, 1, 1));
    x = zoo_max_pool(z, x, "maxpool_3a", ZOO_SQUARE(3, 2, 0));
    x = unit(z, x, "conv2d_3b", 80, ZOO_SQUARE(1, 1, 0));
    x = unit(z, x, "conv2d_4a", 192, ZOO_SQUARE(3, 1, 0));
    x = zoo_max_pool(z, x, "maxpool_5a", ZOO_SQUARE(3, 2, 0));

    struct zoo_val pooled = zoo_avg_pool(z, x, "mixed_5b.branch3.0", ZOO_SQUARE(3, 1, 1));
    x = mixed(z, x, "mixed_5b", mixed_5b, 3, unit(z, pooled, "mixed_5b.branch3.1", 64, ZOO_SQUARE(1, 1, 0)));
    for (int i = 0; i < 10; i++) x = residual(z, x, zoo_path(z, "repeat.%d", i), &block35, block35.scale, true);
    x = mixed(z, x, "mixed_6a", mixed_6a, 2, zoo_max_pool(z, x, "mixed_6a.branch2", ZOO_SQUARE(3, 2, 0)));
    for (int i = 0; i < 20; i++) x = residual(z, x, zoo_path(z, "repeat_1.%d", i), &block17, block17.scale, true);
    x = mixed(z, x, "mixed_7a", mixed_7a, 3, zoo_max_pool(z, x, "mixed_7a.branch3", ZOO_SQUARE(3, 2, 0)));
    for (int i = 0; i < 9; i++) x = residual(z, x, zoo_path(z, "repeat_2.%d", i), &block8, block8.scale, true);
    x = residual(z, x, "block8", &block8, 1.0f, false);
    x = unit(z, x, "conv2d_7b", 1536, ZOO_SQUARE(1, 1, 0));
    return zoo_linear(z, zoo_global_pool(z, x, "global_pool"), "classif", z->o.classes);
}
