// Folders of images, one a class: D/train/CLASS/*, D/val/CLASS/* (or test), or D/CLASS/*, as torchvision's ImageFolder
// reads them.
#define _DEFAULT_SOURCE // d_type

#include "data.h"
#include "image.h"
#include "list_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// A walk that links multiply beyond this is refused.
enum { MOST_FOLDERS = 1 << 20, MOST_DEPTH = 32 };
// How far detection looks: to PART/CLASS/FOLDER/FOLDER.
enum { LOOK_ENTRIES = 20000, LOOK_DEPTH = 4 };

// --- one directory ---------------------------------------------------------------------------------------------------

enum entry { IS_FOLDER, IS_FILE, IS_OTHER };

// What an entry is, links followed. `image`: whether its name is an image's; such a link whose end is missing is a
// file, which is said when it is read. Asks the system only where the directory does not tell.
static enum entry entry_of(DIR *d, const struct dirent *e, bool image, bool *link) {
    struct stat st;
    *link = e->d_type == DT_LNK;
    if (e->d_type == DT_DIR) return IS_FOLDER;
    if (e->d_type == DT_REG) return IS_FILE;
    if (e->d_type != DT_LNK && e->d_type != DT_UNKNOWN) return IS_OTHER;
    if (fstatat(dirfd(d), e->d_name, &st, 0) != 0) return image ? IS_FILE : IS_OTHER;
    return S_ISDIR(st.st_mode) ? IS_FOLDER : S_ISREG(st.st_mode) ? IS_FILE : IS_OTHER;
}

static enum smkd_result open_folder(const char *path, DIR **d) {
    *d = opendir(path);
    if (*d) return SMKD_R_OK;
    end_if_no_memory(errno);
    return rt_fail(errno == ENOMEM ? SMKD_R_NOMEM : SMKD_R_IO, "%s: cannot be read: %s", path, strerror(errno));
}

// The folders in a folder by bytes, and the number of images that lie there themselves.
static enum smkd_result folders_in(const char *path, struct list_names *out, size_t *images) {
    DIR *d;
    const struct dirent *e;
    bool link;
    *images = 0;
    enum smkd_result r = open_folder(path, &d);
    if (r != SMKD_R_OK) return r;
    while ((e = readdir(d))) {
        if (e->d_name[0] == '.') continue;
        bool image = rt_image_suffix(e->d_name);
        enum entry is = entry_of(d, e, image, &link);
        if (is == IS_FOLDER) list_names_add(out, e->d_name, strlen(e->d_name));
        *images += is == IS_FILE && image;
    }
    closedir(d);
    return SMKD_R_OK;
}

// --- a class, with the folders below it ------------------------------------------------------------------------------

struct folder {
    char *path;
    size_t parent; // itself: the outermost
    dev_t dev;
    ino_t ino;
    uint32_t rank; // by the bytes of `path`
    int depth;
};
struct found {
    uint64_t at;           // of its path
    uint32_t folder, name; // whose it is; bytes of the path before the name
};
struct walk {
    struct list_job *j;
    struct rt_list *to;
    struct folder *folder;
    size_t n, cap, total; // folders of this class and those above it; all so far
    struct found *found;
    size_t n_found, found_cap;
    size_t others;  // files that are no images by their names
    char other[64]; // one of them
    size_t loops;   // links that lead back up
    char *loop;     // one of them
};

static void walk_clear(struct walk *w, size_t keep) {
    while (w->n > keep) free(w->folder[--w->n].path);
    w->n_found = 0;
}

static void walk_release(struct walk *w) {
    walk_clear(w, 0);
    free(w->folder);
    free(w->found);
    free(w->loop);
}

// False where the folder is one of those above it.
static bool add_folder(struct walk *w, const char *dir, const char *name, size_t parent) {
    struct str path = STR_INIT;
    struct stat st = {0};
    str_addf(&path, "%s%s%s", dir, name && !str_has_suffix(dir, "/") ? "/" : "", name ? name : "");
    bool known = stat(path.s, &st) == 0, outermost = w->n == 0;
    for (size_t p = parent; known && !outermost; p = w->folder[p].parent) {
        if (w->folder[p].dev == st.st_dev && w->folder[p].ino == st.st_ino) {
            if (w->loops++ == 0)
                w->loop = path.s;
            else
                str_release(&path);
            return false;
        }
        if (p == w->folder[p].parent) break;
    }
    if (w->n == w->cap) {
        w->cap = w->cap ? 2 * w->cap : 64;
        w->folder = xrealloc(w->folder, w->cap * sizeof *w->folder);
    }
    w->folder[w->n] = (struct folder){.path = path.s,
                                      .parent = outermost ? 0 : parent,
                                      .dev = st.st_dev,
                                      .ino = st.st_ino,
                                      .depth = outermost ? 0 : w->folder[parent].depth + 1};
    w->n++;
    w->total++;
    return true;
}

static enum smkd_result add_file(struct walk *w, size_t folder, const char *name, int32_t label) {
    if (w->n_found == w->found_cap) {
        w->found_cap += w->found_cap / 2 + 256;
        w->found = xrealloc(w->found, w->found_cap * sizeof *w->found);
    }
    const char *dir = w->folder[folder].path;
    size_t n = strlen(dir);
    w->found[w->n_found++] = (struct found){w->to->used, (uint32_t)folder, (uint32_t)(n + !str_has_suffix(dir, "/"))};
    return list_push(w->to, dir, name, strlen(name), "", label);
}

static enum smkd_result read_folder(struct walk *w, size_t at, int32_t label) {
    DIR *d;
    const struct dirent *e;
    bool link;
    enum smkd_result r = open_folder(w->folder[at].path, &d);
    while (r == SMKD_R_OK && (e = readdir(d))) {
        if (e->d_name[0] == '.') continue; // hidden, and the folder itself
        bool image = rt_image_suffix(e->d_name);
        enum entry is = entry_of(d, e, image, &link);
        if (is == IS_FILE && image) {
            r = add_file(w, at, e->d_name, label);
        } else if (is == IS_FILE && w->others++ == 0) {
            snprintf(w->other, sizeof w->other, "%.60s", e->d_name);
        } else if (is == IS_FOLDER) {
            if (w->folder[at].depth > MOST_DEPTH || w->total >= MOST_FOLDERS)
                r = rt_fail(SMKD_R_INVALID, "%s: %s; a link may lead back up", w->folder[at].path,
                            w->total >= MOST_FOLDERS ? "there are more than a million folders"
                                                     : "folders are nested more than 32 deep");
            else
                add_folder(w, w->folder[at].path, e->d_name, at);
        }
    }
    if (d) closedir(d);
    return r;
}

// qsort has no argument for what is compared by.
static _Thread_local const struct rt_list *sort_list;
static _Thread_local const struct folder *sort_folder;

static int by_path(const void *a, const void *b) {
    return strcmp(sort_folder[*(const uint32_t *)a].path, sort_folder[*(const uint32_t *)b].path);
}

static int by_folder_and_name(const void *a, const void *b) {
    const struct found *x = a, *y = b;
    uint32_t r = sort_folder[x->folder].rank, s = sort_folder[y->folder].rank;
    if (r != s) return r < s ? -1 : 1;
    return strcmp(sort_list->pool + x->at + x->name, sort_list->pool + y->at + y->name);
}

static void sort_found(struct walk *w, size_t first) {
    uint32_t *order = xcalloc(w->n, sizeof *order);
    sort_folder = w->folder;
    sort_list = w->to;
    for (size_t i = 0; i < w->n; i++) order[i] = (uint32_t)i;
    qsort(order, w->n, sizeof *order, by_path);
    for (size_t i = 0; i < w->n; i++) w->folder[order[i]].rank = (uint32_t)i;
    if (w->n_found) qsort(w->found, w->n_found, sizeof *w->found, by_folder_and_name);
    for (size_t i = 0; i < w->n_found; i++) w->to->at[first + i] = w->found[i].at;
    free(order);
}

// --- a part: a folder of class folders -------------------------------------------------------------------------------

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static enum smkd_result read_class(struct walk *w, const char *dir, const char *name) {
    size_t above = w->n, first = w->to->n;
    if (!add_folder(w, dir, name, above - 1)) return SMKD_R_OK;
    struct list_place at = {list_file(w->j, w->folder[above].path), 0};
    int32_t label = list_label(w->j, name, strlen(name), at);
    w->j->is_class[label] = true;
    enum smkd_result r = SMKD_R_OK;
    for (size_t i = above; i < w->n && r == SMKD_R_OK; i++) r = read_folder(w, i, label);
    if (r == SMKD_R_OK) sort_found(w, first);
    walk_clear(w, above);
    return r;
}

static enum smkd_result read_part(struct walk *w, const char *dir, enum list_part part) {
    struct list_names classes = {0};
    size_t images;
    w->to = &w->j->part[part];
    if (part != LIST_TRAIN || strcmp(dir, w->j->where) != 0) add_folder(w, dir, NULL, 0);
    enum smkd_result r = folders_in(dir, &classes, &images);
    if (r == SMKD_R_OK && classes.n) qsort(classes.name, classes.n, sizeof *classes.name, by_bytes);
    for (size_t i = 0; i < classes.n && r == SMKD_R_OK; i++) r = read_class(w, dir, classes.name[i]);
    if (r == SMKD_R_OK && images)
        list_note(w->j, "%s: %zu image%s beside the class folders %s left out", dir, images, images == 1 ? "" : "s",
                  images == 1 ? "is" : "are");
    list_names_release(&classes);
    walk_clear(w, 1);
    return r;
}

// --- which folder is which part --------------------------------------------------------------------------------------

struct layout {
    const char *dir[LIST_PARTS]; // NULL: not there
    size_t classes;              // folders that are no part
    size_t images;               // in the folder itself
};

// Folders named as parts that have folders in them.
static enum smkd_result find_parts(struct list_job *j, struct layout *l) {
    struct list_names names = {0};
    *l = (struct layout){0};
    enum smkd_result r = folders_in(j->where, &names, &l->images);
    if (r == SMKD_R_OK && names.n) qsort(names.name, names.n, sizeof *names.name, by_bytes);
    for (size_t i = 0; i < names.n && r == SMKD_R_OK; i++) {
        enum list_part part = list_part_of(names.name[i]);
        struct list_names inner = {0};
        size_t images;
        const char *dir = list_file_in(j, j->where, names.name[i]);
        if (part != LIST_PARTS) r = folders_in(dir, &inner, &images);
        if (inner.n == 0)
            l->classes++;
        else if (l->dir[part])
            r = rt_fail(SMKD_R_INVALID, "%s: both %s and %s are there; rename one of them", j->where, l->dir[part],
                        dir);
        else
            l->dir[part] = dir;
        list_names_release(&inner);
    }
    list_names_release(&names);
    return r;
}

static enum smkd_result nothing(const struct walk *w, const struct layout *l) {
    const char *where = w->j->where;
    if (w->others)
        return rt_fail(
            SMKD_R_INVALID,
            "%s: has no image (.jpg .jpeg .png .webp .bmp) in its class folders, but %zu other file%s, %s for "
            "instance",
            where, w->others, w->others == 1 ? "" : "s", w->other);
    if (l->images)
        return rt_fail(SMKD_R_INVALID,
                       "%s: has %zu image%s but no folder of a class with one; expected %s/CLASS/*.jpg, or a table "
                       "(--data images.csv) with the label of each",
                       where, l->images, l->images == 1 ? "" : "s", where);
    return rt_fail(SMKD_R_INVALID, "%s: has no image (.jpg .jpeg .png .webp .bmp) in class folders below it", where);
}

// A folder with nothing but the folder of a data set is not a class called as that is.
static enum smkd_result check_single(const struct list_job *j) {
    struct list_names outer = {0}, inner = {0};
    size_t images = 0;
    enum smkd_result r = folders_in(j->where, &outer, &images);
    char *only = r == SMKD_R_OK && outer.n == 1 ? rt_path_join(j->where, outer.name[0]) : NULL;
    if (only) r = folders_in(only, &inner, &images);
    if (r == SMKD_R_OK && only && inner.n > 1 && images == 0)
        r = rt_fail(SMKD_R_INVALID,
                    "%s: has a single folder, with folders and no image in it; is that the data: --data %s?", j->where,
                    only);
    free(only);
    list_names_release(&outer);
    list_names_release(&inner);
    return r;
}

enum smkd_result list_folders(struct list_job *j) {
    struct layout l;
    struct walk w = {.j = j};
    enum list_part test = LIST_TRAIN;
    enum smkd_result r = find_parts(j, &l);
    const bool val = l.dir[LIST_VAL], has_test = l.dir[LIST_TEST];
    // D/test beside class folders, and no D/train, is a class.
    const bool split = l.dir[LIST_TRAIN] || ((val || has_test) && l.classes == 0);
    if (r == SMKD_R_OK) r = list_test_part(j->where, j->o->test_split, split && val, split && has_test, &test);
    if (r == SMKD_R_OK && !split) r = check_single(j);
    if (r == SMKD_R_OK) add_folder(&w, j->where, NULL, 0);
    if (r == SMKD_R_OK && !split) r = read_part(&w, j->where, LIST_TRAIN);
    if (r == SMKD_R_OK && l.dir[LIST_TRAIN]) r = read_part(&w, l.dir[LIST_TRAIN], LIST_TRAIN);
    if (r == SMKD_R_OK && test != LIST_TRAIN) r = read_part(&w, l.dir[test], test);
    if (r == SMKD_R_OK && j->part[LIST_TRAIN].n + j->part[test].n == 0) r = nothing(&w, &l);
    if (r == SMKD_R_OK && split && val && has_test)
        list_note(j, "%s: is not used (--test-split %s)", l.dir[test == LIST_VAL ? LIST_TEST : LIST_VAL],
                  test == LIST_VAL ? "test" : "val");
    if (r == SMKD_R_OK && w.loops)
        list_note(j, "%s: leads back to a folder above it and is left out%s", w.loop,
                  w.loops > 1 ? ", as others are" : "");
    if (r == SMKD_R_OK && w.others)
        list_note(j, "%s: %zu file%s, %s for instance, %s not end as an image does and %s left out", j->where, w.others,
                  w.others == 1 ? "" : "s", w.other, w.others == 1 ? "does" : "do", w.others == 1 ? "is" : "are");
    walk_release(&w);
    return r;
}

// --- detection -------------------------------------------------------------------------------------------------------

// Whether an image lies below a folder, or where `here` in it; at most `left` entries are looked at. Links are followed
// where they may be classes or parts, so that a look does not wander off.
static bool image_below(const char *path, int depth, bool here, bool links, size_t *left) {
    DIR *d = opendir(path);
    const struct dirent *e;
    bool found = false, link;
    if (!d) end_if_no_memory(errno);
    if (!d) return false;
    while (!found && (e = readdir(d)) && *left) {
        if (e->d_name[0] == '.') continue;
        --*left;
        bool image = rt_image_suffix(e->d_name);
        enum entry is = entry_of(d, e, image, &link);
        if (is == IS_FILE && image) found = here;
        if (is != IS_FOLDER || depth == 0 || (link && !links)) continue;
        char *below = rt_path_join(path, e->d_name);
        found = image_below(below, depth - 1, true, !here && list_part_of(e->d_name) != LIST_PARTS, left);
        free(below);
    }
    closedir(d);
    return found;
}

bool list_folders_detect(const char *where) {
    size_t left = LOOK_ENTRIES;
    return list_is_folder(where) && image_below(where, LOOK_DEPTH, false, true, &left);
}
