// Animal-10N (Song 2019): training/LABEL_NUMBER.jpg and testing/LABEL_NUMBER.jpg, the names of the classes as its page
// has them.
#include "list_internal.h"

#include "data.h"
#include "image.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"cat",    "lynx",       "wolf",      "coyote",  "cheetah",
                                    "jaguar", "chimpanzee", "orangutan", "hamster", "guinea pig"};
enum { CLASSES = sizeof names / sizeof *names };

// The label that a name begins with, 0 to 9; -1: it is none of the data set's.
static int label_of(const char *name) {
    return name[0] >= '0' && name[0] <= '9' && name[1] == '_' && rt_image_suffix(name) ? name[0] - '0' : -1;
}

bool list_animal10n_detect(const char *where) {
    static const char *const parts[] = {"training", "testing"};
    bool is = true;
    for (int i = 0; i < 2 && is; i++) {
        char *path = rt_path_join(where, parts[i]);
        DIR *d = opendir(path);
        const struct dirent *e;
        is = false;
        while (d && !is && (e = readdir(d))) is = label_of(e->d_name) >= 0;
        if (d) closedir(d);
        free(path);
    }
    return is;
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static enum smkd_result read_part(struct list_job *j, enum list_part part, const char *folder) {
    const char *path = list_file_in(j, j->where, folder);
    DIR *d = opendir(path);
    const struct dirent *e;
    struct list_names files = {0};
    size_t others = 0;
    if (!d) end_if_no_memory(errno);
    if (!d) return rt_fail(SMKD_R_IO, "%s: cannot be read: %s", path, strerror(errno));
    while ((e = readdir(d))) {
        if (e->d_name[0] == '.') continue;
        if (label_of(e->d_name) >= 0)
            list_names_add(&files, e->d_name, strlen(e->d_name));
        else
            others++;
    }
    closedir(d);
    if (files.n) qsort(files.name, files.n, sizeof *files.name, by_bytes);
    if (others) list_note(j, "%s: %zu files whose names are not LABEL_NUMBER.jpg are left out", path, others);
    enum smkd_result r = SMKD_R_OK;
    for (size_t i = 0; i < files.n && r == SMKD_R_OK; i++)
        r = list_push(&j->part[part], path, files.name[i], strlen(files.name[i]), "",
                      list_label(j, files.name[i], 1, (struct list_place){path, 0}));
    list_names_release(&files);
    return r;
}

enum smkd_result list_animal10n(struct list_job *j) {
    for (int i = 0; i < CLASSES; i++) list_names_add(&j->known, names[i], strlen(names[i]));
    j->known_from = "Animal-10N";
    enum smkd_result r = read_part(j, LIST_TRAIN, "training");
    return r == SMKD_R_OK ? read_part(j, LIST_TEST, "testing") : r;
}
