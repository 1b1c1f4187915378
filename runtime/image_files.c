#include "image_files.h"

#include "data.h"
#include "image.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_DEPTH = 32 };

void rt_names_add(struct rt_names *l, const char *name) {
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 64;
        l->name = xrealloc(l->name, l->cap * sizeof *l->name);
    }
    size_t n = strlen(name) + 1;
    l->name[l->n++] = memcpy(xmalloc(n), name, n);
}

void rt_names_release(struct rt_names *l) {
    for (size_t i = 0; i < l->n; i++) free(l->name[i]);
    free(l->name);
    *l = (struct rt_names){0};
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static enum smkd_result walk(const char *dir, int depth, struct rt_names *out) {
    if (depth > MAX_DEPTH)
        return rt_fail(SMKD_R_INVALID, "%s: folders are nested more than %d deep; a link may lead back up", dir,
                       MAX_DEPTH);
    DIR *d = opendir(dir);
    if (!d) end_if_no_memory(errno);
    if (!d) return rt_fail(SMKD_R_IO, "%s: cannot be read: %s", dir, strerror(errno));
    enum smkd_result r = SMKD_R_OK;
    const struct dirent *e;
    while (r == SMKD_R_OK && (e = readdir(d))) {
        if (e->d_name[0] == '.') continue; // hidden files, and the folder itself
        char *path = rt_path_join(dir, e->d_name);
        struct stat st;
        if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
            r = walk(path, depth + 1, out);
        else if (rt_image_suffix(e->d_name)) // also what cannot be read: that is said when it is
            rt_names_add(out, path);
        free(path);
    }
    closedir(d);
    return r;
}

enum smkd_result rt_image_files(const char *path, struct rt_names *out) {
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        rt_names_add(out, path);
        return SMKD_R_OK;
    }
    size_t first = out->n;
    enum smkd_result r = walk(path, 1, out);
    if (r == SMKD_R_OK && out->n == first)
        return rt_fail(SMKD_R_INVALID, "%s: has no image in it (.jpg .jpeg .png .webp .bmp)", path);
    if (out->n > first) qsort(out->name + first, out->n - first, sizeof *out->name, by_bytes);
    return r;
}
