// PreAct ResNet-18 as the learning-with-noisy-labels literature uses it (DivideMix's code; methods.md section 5.6): 3x3
// stem with BatchNorm and ReLU, the 1x1 shortcut without BatchNorm taken after the first activation, and no BatchNorm
// before the classifier. 11,171,274 parameters for 10 classes.
#include "zoo.h"

static struct zoo_val block(struct zoo *z, struct zoo_val x, const char *path, int64_t out, int stride) {
    struct zoo_val a = zoo_relu(z, zoo_bn(z, x, zoo_path(z, "%s.bn1", path)), path);
    struct zoo_val y = zoo_conv(z, a, zoo_path(z, "%s.conv1", path), out, ZOO_SQUARE(3, stride, 1), 1, false);
    y = zoo_relu(z, zoo_bn(z, y, zoo_path(z, "%s.bn2", path)), path);
    y = zoo_conv(z, y, zoo_path(z, "%s.conv2", path), out, ZOO_SQUARE(3, 1, 1), 1, false);
    if (stride != 1 || x.c != out)
        x = zoo_conv(z, a, zoo_path(z, "%s.shortcut.0", path), out, ZOO_SQUARE(1, stride, 0), 1, false);
    return zoo_add(z, y, x, path);
}

struct zoo_val zoo_preact_resnet18(struct zoo *z, struct zoo_val x, int unused) {
    (void)unused;
    x = zoo_conv(z, x, "conv1", 64, ZOO_SQUARE(3, 1, 1), 1, false);
    x = zoo_relu(z, zoo_bn(z, x, "bn1"), "");
    for (int stage = 0; stage < 4; stage++)
        for (int b = 0; b < 2; b++)
            x = block(z, x, zoo_path(z, "layer%d.%d", stage + 1, b), INT64_C(64) << stage, stage > 0 && b == 0 ? 2 : 1);
    return zoo_linear(z, zoo_global_pool(z, x, "avgpool"), "linear", z->o.classes);
}
