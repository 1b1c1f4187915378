// Names of image files below folders.
#ifndef SMKD_RT_IMAGE_FILES_H
#define SMKD_RT_IMAGE_FILES_H

#include "runtime.h"

struct rt_names {
    char **name; // owned
    size_t n, cap;
};
void rt_names_add(struct rt_names *l, const char *name); // copies
void rt_names_release(struct rt_names *l);

// Adds `path`, or every file below it whose name ends as an image's (rt_image_suffix), links followed, in the order of
// the bytes of their paths, whatever the order of the directory. SMKD_R_IO when a folder cannot be read, SMKD_R_INVALID
// when folders are nested more than 32 deep (a link that leads back up), or there is no image in it.
enum smkd_result rt_image_files(const char *path, struct rt_names *out);

#endif
