// Classifiers at the side of a backbone, for self-distillation: BYOT's (Zhang et al. 2019) as PS-KD with BYOT and DMFL
// uses them (methods.md 4.5). A head takes a feature map to a vector of the backbone's own number of features and from
// there to logits.
#include "zoo.h"

static struct zoo_side classify(struct zoo *z, struct zoo_val x, const char *path) {
    struct zoo_side s = {.feat = zoo_global_pool(z, x, path)};
    s.logits = zoo_linear(z, s.feat, zoo_path(z, "%s.fc", path), z->o.classes);
    return s;
}

static struct zoo_val conv_bn_relu(struct zoo *z, struct zoo_val x, const char *path, int k, int64_t out,
                                   struct zoo_window w) {
    x = zoo_conv(z, x, zoo_path(z, "%s.conv%d", path, k), out, w, 1, true);
    return zoo_relu(z, zoo_bn(z, x, zoo_path(z, "%s.bn%d", path, k)), path);
}

// A bottleneck of a quarter of the features, whose middle reduces the map as the rest of the backbone does.
struct zoo_side zoo_head_bottleneck(struct zoo *z, struct zoo_val x, const char *path, struct zoo_val last) {
    const int64_t rows = x.h / last.h, cols = x.w / last.w, fewer = rows < cols ? rows : cols;
    const int k = fewer < 1 ? 1 : (int)fewer;
    const int64_t hidden = last.c / 4 ? last.c / 4 : 1;
    x = conv_bn_relu(z, x, path, 1, hidden, ZOO_SQUARE(1, 1, 0));
    x = conv_bn_relu(z, x, path, 2, hidden, ZOO_SQUARE(k, k, 0));
    x = conv_bn_relu(z, x, path, 3, last.c, ZOO_SQUARE(1, 1, 0));
    return classify(z, x, path);
}

// Depthwise 3x3 of stride 2, 1x1, depthwise 3x3, 1x1.
static struct zoo_val separable(struct zoo *z, struct zoo_val x, const char *path, int64_t out) {
    for (int i = 0; i < 2; i++) {
        const struct zoo_window w = ZOO_SQUARE(3, i ? 1 : 2, 1);
        x = zoo_conv(z, x, zoo_path(z, "%s.depthwise%d", path, i + 1), x.c, w, x.c, false);
        x = zoo_conv(z, x, zoo_path(z, "%s.conv%d", path, i + 1), i ? out : x.c, ZOO_SQUARE(1, 1, 0), 1, false);
        x = zoo_relu(z, zoo_bn(z, x, zoo_path(z, "%s.bn%d", path, i + 1)), path);
    }
    return x;
}

// The map weighted by what it attends to, then separable convolutions that halve it and double its channels.
struct zoo_side zoo_head_separable(struct zoo *z, struct zoo_val x, const char *path, struct zoo_val last) {
    const char *attention = zoo_path(z, "%s.attention", path);
    struct zoo_val a = separable(z, x, attention, x.c);
    a = zoo_relu(z, zoo_bn(z, a, zoo_path(z, "%s.bn3", attention)), attention);
    x = zoo_mul(z, zoo_sigmoid(z, zoo_double(z, a, x, attention), attention), x, attention);
    for (int i = 1; x.c < last.c && !z->failed; i++) x = separable(z, x, zoo_path(z, "%s.separable%d", path, i), x.c * 2);
    return classify(z, x, path);
}
