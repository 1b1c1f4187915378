// What the runtime does with image files, for test_images.py. Lines on stdin:
//     decode MIN_WIDTH MIN_HEIGHT UPRIGHT PATH
//     resize HOW LEFT TOP WIDTH HEIGHT NEW_WIDTH NEW_HEIGHT PATH     of that part (WIDTH 0: all)
//     edge SIZE PATH                                                the shorter edge becomes SIZE
//     crop WIDTH HEIGHT PATH                                        the middle
// For each, a line on stdout: "ok WIDTH HEIGHT", after which come the bytes, or "error MESSAGE".
#include "../../runtime/resize.h"

#include <stdio.h>
#include <string.h>

static void least(void *env, int width, int height, struct rt_image_need *out) {
    (void)width, (void)height;
    *out = *(const struct rt_image_need *)env;
}

static bool change(const char *line, struct rt_image *im, int at) {
    struct rt_image from = *im;
    struct rt_box b;
    int how, w, h, size;
    bool ok = false;
    if (sscanf(line, "resize %d %d %d %d %d %d %d", &how, &b.left, &b.top, &b.width, &b.height, &w, &h) == 7) {
        ok = rt_resize(&from, b.width ? &b : NULL, w, h, (enum rt_interpolation)how, im);
    } else if (sscanf(line, "edge %d", &size) == 1) {
        rt_shorter_edge(from.width, from.height, size, &w, &h);
        ok = rt_resize(&from, NULL, w, h, RT_BILINEAR, im);
    } else if (sscanf(line, "crop %d %d", &w, &h) == 2) {
        ok = rt_center_crop(&from, w, h, im);
    } else {
        return at > 0;
    }
    rt_image_release(&from);
    return ok;
}

int main(void) {
    char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        struct rt_image_need n = {0};
        struct rt_image_options o = {.need = least, .env = &n};
        int upright = 0;
        line[strcspn(line, "\n")] = 0;
        const char *path = strchr(line, '/'); // absolute, and nothing before it has a slash
        if (!path) return 2;
        if (sscanf(line, "decode %d %d %d", &n.min_width, &n.min_height, &upright) == 3) o.upright = upright;
        struct rt_image im;
        if (rt_image_read(path, &o, &im) == SMKD_R_OK && change(line, &im, 1)) {
            printf("ok %d %d\n", im.width, im.height);
            fwrite(im.rgb, 3, (size_t)im.width * (size_t)im.height, stdout);
            rt_image_release(&im);
        } else {
            printf("error %s\n", smkd_last_error());
        }
        fflush(stdout);
    }
    return 0;
}
