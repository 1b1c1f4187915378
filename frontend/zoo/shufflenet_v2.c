// ShuffleNetV2 x1.0 (Ma et al. 2018), structure and names of torchvision. 2,278,604 parameters for 1000 classes.
// Inputs up to 64 get a stem of stride 1 and no max-pool.
#include "zoo.h"

static struct zoo_val conv_bn(struct zoo *z, struct zoo_val x, const char *path, int index, int64_t out,
                              struct zoo_window w, int64_t groups) {
    x = zoo_conv(z, x, zoo_path(z, "%s.%d", path, index), out, w, groups, false);
    return zoo_bn(z, x, zoo_path(z, "%s.%d", path, index + 1));
}

// 1x1, ReLU, depthwise 3x3, 1x1, ReLU on the right-hand half.
static struct zoo_val branch2(struct zoo *z, struct zoo_val x, const char *path, int64_t half, int stride) {
    x = zoo_relu(z, conv_bn(z, x, path, 0, half, ZOO_SQUARE(1, 1, 0), 1), zoo_path(z, "%s.2", path));
    x = conv_bn(z, x, path, 3, half, ZOO_SQUARE(3, stride, 1), half);
    return zoo_relu(z, conv_bn(z, x, path, 5, half, ZOO_SQUARE(1, 1, 0), 1), zoo_path(z, "%s.7", path));
}

static struct zoo_val unit(struct zoo *z, struct zoo_val x, const char *path, int64_t out, int stride) {
    const int64_t half = out / 2;
    const char *b1 = zoo_path(z, "%s.branch1", path), *b2 = zoo_path(z, "%s.branch2", path);
    struct zoo_val y[2];
    if (stride == 1) {
        zoo_halves(z, x, path, y);
    } else {
        y[1] = x;
        y[0] = conv_bn(z, x, b1, 0, x.c, ZOO_SQUARE(3, stride, 1), x.c);
        y[0] = zoo_relu(z, conv_bn(z, y[0], b1, 2, half, ZOO_SQUARE(1, 1, 0), 1), zoo_path(z, "%s.4", b1));
    }
    y[1] = branch2(z, y[1], b2, half, stride);
    return zoo_shuffle(z, zoo_concat(z, y, 2, path), 2, path);
}

struct zoo_val zoo_shufflenet_v2(struct zoo *z, struct zoo_val x, int unused) {
    static const struct {
        int units;
        int64_t channels;
    } stages[] = {{4, 116}, {8, 232}, {4, 464}};
    const bool small = x.h <= 64 && x.w <= 64;
    (void)unused;
    x = zoo_relu(z, conv_bn(z, x, "conv1", 0, 24, ZOO_SQUARE(3, small ? 1 : 2, 1), 1), "conv1.2");
    if (!small) x = zoo_max_pool(z, x, "maxpool", ZOO_SQUARE(3, 2, 1));
    for (int s = 0; s < 3; s++)
        for (int u = 0; u < stages[s].units; u++)
            x = unit(z, x, zoo_path(z, "stage%d.%d", s + 2, u), stages[s].channels, u == 0 ? 2 : 1);
    x = zoo_relu(z, conv_bn(z, x, "conv5", 0, 1024, ZOO_SQUARE(1, 1, 0), 1), "conv5.2");
    return zoo_linear(z, zoo_global_pool(z, x, "avgpool"), "fc", z->o.classes);
}
