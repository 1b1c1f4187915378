// One side of bench/loader.sh: epochs of the loader over the images below a folder, a batch after another, as fast as
// they come. Usage: bench_loader FOLDER WORKERS BATCH SIZE. Reads a line for each epoch, answers with the seconds it
// took and the images it had.
#include "../runtime/image_files.h"
#include "../runtime/train.h"
#include "../runtime/transforms.h"

#include <stdlib.h>
#include <string.h>

static void make_images(struct rt_images *im, const struct rt_names *names) {
    size_t bytes = 0, used = 0;
    for (size_t i = 0; i < names->n; i++) bytes += strlen(names->name[i]) + 1;
    *im = (struct rt_images){.n = names->n, .channels = 3};
    im->labels = xcalloc(im->n, sizeof *im->labels);
    im->path_at = xcalloc(im->n, sizeof *im->path_at);
    im->paths = xcalloc(bytes, 1);
    for (size_t i = 0; i < names->n; i++) {
        im->path_at[i] = used;
        strcpy(im->paths + used, names->name[i]);
        used += strlen(names->name[i]) + 1;
    }
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    struct rt_names names = {0};
    struct rt_images im;
    struct rt_pipeline p;
    const int size = atoi(argv[4]);
    const struct rt_transform_options o = {.channels = 3,
                                           .height = size,
                                           .width = size,
                                           .mean = {0.485f, 0.456f, 0.406f},
                                           .std = {0.229f, 0.224f, 0.225f},
                                           .crop = RT_CROP_RESIZED,
                                           .how = RT_BILINEAR,
                                           .hflip = 0.5};
    if (rt_image_files(argv[1], &names) != SMKD_R_OK || rt_pipeline_init(&p, &o) != SMKD_R_OK) {
        fprintf(stderr, "%s\n", smkd_last_error());
        return 1;
    }
    make_images(&im, &names);
    const struct rt_transform t = {.channels = 3, .height = size, .width = size, .pipeline = &p};
    struct rt_loader_config c = {.images = &im,
                                 .n = im.n,
                                 .transform = &t,
                                 .batch = (size_t)atoi(argv[3]),
                                 .shuffle = true,
                                 .augment = true,
                                 .workers = atoi(argv[2])};
    struct rt_loader *l = rt_loader_new(&c);
    char line[16];
    for (uint64_t epoch = 1; l && fgets(line, sizeof line, stdin); epoch++) {
        struct rt_batch b;
        size_t n = 0;
        double begin = rt_now();
        rt_loader_begin(l, epoch);
        while (rt_loader_next(l, &b)) n += b.n;
        printf("%.6f %zu\n", rt_now() - begin, n);
        fflush(stdout);
        if (rt_loader_result(l) != SMKD_R_OK) break;
    }
    if (!l || rt_loader_result(l) != SMKD_R_OK) fprintf(stderr, "%s\n", smkd_last_error());
    rt_loader_free(l);
    rt_images_release(&im);
    rt_names_release(&names);
    return 0;
}
