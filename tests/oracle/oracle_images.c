// Decodes image files for test_images.py. Lines on stdin: "MIN_WIDTH MIN_HEIGHT UPRIGHT PATH"; for each, a line on
// stdout: "ok WIDTH HEIGHT", after which come the bytes, or "error MESSAGE".
#include "../../runtime/image.h"

#include <stdio.h>
#include <string.h>

int main(void) {
    char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        struct rt_image_options o = {0};
        int upright = 0, at = 0;
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%d %d %d %n", &o.min_width, &o.min_height, &upright, &at) != 3 || !at) return 2;
        o.upright = upright;
        struct rt_image im;
        if (rt_image_read(line + at, &o, &im) == SMKD_R_OK) {
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
