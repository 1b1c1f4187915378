// He et al. 2016, section 4.2: ResNet-(6n+2) for small images. Three stages of n basic blocks at w, 2w and 4w channels
// (w = --width, 16 in the paper), parameter-free shortcuts (option A). ResNet-20 has 269,722 parameters for 10 classes.
#include "zoo.h"

static struct zoo_val basic_block(struct zoo *z, struct zoo_val x, const char *path, int64_t out, int stride) {
    struct zoo_val y = zoo_conv(z, x, zoo_path(z, "%s.conv1", path), out, ZOO_SQUARE(3, stride, 1), 1, false);
    y = zoo_relu(z, zoo_bn(z, y, zoo_path(z, "%s.bn1", path)), path);
    y = zoo_conv(z, y, zoo_path(z, "%s.conv2", path), out, ZOO_SQUARE(3, 1, 1), 1, false);
    y = zoo_bn(z, y, zoo_path(z, "%s.bn2", path));
    if (stride != 1 || x.c != out) x = zoo_pad_shortcut(z, x, out, stride, zoo_path(z, "%s.shortcut", path));
    return zoo_relu(z, zoo_add(z, y, x, path), path);
}

// depth < 0: |depth| layers with a stem of stride 2, which quarters the work (28x28 images train at 14x14).
struct zoo_val zoo_resnet_cifar(struct zoo *z, struct zoo_val x, int depth) {
    const int stem_stride = depth < 0 ? 2 : 1, blocks = ((depth < 0 ? -depth : depth) - 2) / 6;
    int64_t width = z->o.width_base;
    x = zoo_conv(z, x, "conv1", width, ZOO_SQUARE(3, stem_stride, 1), 1, false);
    x = zoo_relu(z, zoo_bn(z, x, "bn1"), "");
    for (int stage = 0; stage < 3; stage++, width *= 2)
        for (int b = 0; b < blocks; b++)
            x = basic_block(z, x, zoo_path(z, "layer%d.%d", stage + 1, b), width, stage > 0 && b == 0 ? 2 : 1);
    return zoo_linear(z, zoo_global_pool(z, x, "avgpool"), "fc", z->o.classes);
}
