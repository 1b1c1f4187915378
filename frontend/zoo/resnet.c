// ResNet-18/34/50 and ResNeXt-50 32x4d, structure and names of torchvision (stride on the 3x3 convolution of a
// bottleneck). Inputs up to 64 get the usual small-image stem: 3x3 stride 1, no max-pool.
#include "zoo.h"

enum { STAGES = 4 };
struct variant {
    int blocks[STAGES];
    bool bottleneck;
    int groups, group_width;
    zoo_head_fn *head;
};
static const struct variant variants[] = {
    {{2, 2, 2, 2}, false, 1, 64, zoo_head_bottleneck}, // resnet18
    {{3, 4, 6, 3}, false, 1, 64, zoo_head_bottleneck}, // resnet34
    {{3, 4, 6, 3}, true, 1, 64, zoo_head_bottleneck},  // resnet50
    {{3, 4, 6, 3}, true, 32, 4, zoo_head_separable},   // resnext50_32x4d
};

static struct zoo_val conv_bn(struct zoo *z, struct zoo_val x, const char *path, int k, int64_t out,
                              struct zoo_window w, int64_t groups) {
    x = zoo_conv(z, x, zoo_path(z, "%s.conv%d", path, k), out, w, groups, false);
    return zoo_bn(z, x, zoo_path(z, "%s.bn%d", path, k));
}

static struct zoo_val block(struct zoo *z, struct zoo_val x, const char *path, const struct variant *v, int64_t planes,
                            int stride) {
    const int64_t out = v->bottleneck ? planes * 4 : planes, inner = planes * v->group_width / 64 * v->groups;
    struct zoo_val y;
    if (v->bottleneck) {
        y = zoo_relu(z, conv_bn(z, x, path, 1, inner, ZOO_SQUARE(1, 1, 0), 1), path);
        y = zoo_relu(z, conv_bn(z, y, path, 2, inner, ZOO_SQUARE(3, stride, 1), v->groups), path);
        y = conv_bn(z, y, path, 3, out, ZOO_SQUARE(1, 1, 0), 1);
    } else {
        y = zoo_relu(z, conv_bn(z, x, path, 1, planes, ZOO_SQUARE(3, stride, 1), 1), path);
        y = conv_bn(z, y, path, 2, planes, ZOO_SQUARE(3, 1, 1), 1);
    }
    if (stride != 1 || x.c != out) {
        x = zoo_conv(z, x, zoo_path(z, "%s.downsample.0", path), out, ZOO_SQUARE(1, stride, 0), 1, false);
        x = zoo_bn(z, x, zoo_path(z, "%s.downsample.1", path));
    }
    return zoo_relu(z, zoo_add(z, y, x, path), path);
}

// A head behind each of the first stages: outputs head1, head2 ... and feat1, feat2 ..., the last of which are the
// backbone's own features.
static struct zoo_val side_heads(struct zoo *z, const struct zoo_val *stage, struct zoo_val pooled, zoo_head_fn *head) {
    struct zoo_side side[STAGES];
    const int n = z->o.heads;
    for (int k = 0; k < n; k++) {
        side[k] = head(z, stage[k], zoo_path(z, "heads.%d", k + 1), stage[STAGES - 1]);
        zoo_tap(z, zoo_named(z, side[k].logits, zoo_path(z, "head%d", k + 1)));
    }
    for (int k = 0; k < n; k++) zoo_tap(z, zoo_named(z, side[k].feat, zoo_path(z, "feat%d", k + 1)));
    if (n) zoo_tap(z, pooled = zoo_named(z, pooled, zoo_path(z, "feat%d", n + 1)));
    return pooled;
}

struct zoo_val zoo_resnet(struct zoo *z, struct zoo_val x, int variant) {
    const struct variant *v = &variants[variant];
    const bool small = x.h <= 64 && x.w <= 64;
    x = zoo_conv(z, x, "conv1", 64, small ? ZOO_SQUARE(3, 1, 1) : ZOO_SQUARE(7, 2, 3), 1, false);
    x = zoo_relu(z, zoo_bn(z, x, "bn1"), "");
    if (!small) x = zoo_max_pool(z, x, "maxpool", ZOO_SQUARE(3, 2, 1));
    struct zoo_val stages[STAGES];
    for (int stage = 0; stage < STAGES; stage++) {
        for (int b = 0; b < v->blocks[stage]; b++)
            x = block(z, x, zoo_path(z, "layer%d.%d", stage + 1, b), v, INT64_C(64) << stage,
                      stage > 0 && b == 0 ? 2 : 1);
        stages[stage] = x;
    }
    x = side_heads(z, stages, zoo_global_pool(z, x, "avgpool"), v->head);
    return zoo_linear(z, x, "fc", z->o.classes);
}
