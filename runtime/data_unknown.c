// What a --data argument is that no reader takes: found out for the message, from names alone.
#include "data.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define EXPECTED                                                                                                       \
    "expected folders of classes with images in them, a .csv or .jsonl of paths and labels, .npy arrays, "             \
    "train-images-idx3-ubyte[.gz] and its three companions, CIFAR-10's data_batch_1.bin ... test_batch.bin, "          \
    "or CIFAR-100's train.bin and test.bin"

enum { MOST_ENTRIES = 4096, SHOWN = 6, DEPTH = 2 };

#define PYTHON_CIFAR10  "the Python version of CIFAR-10 (pickles): fetch the binary one, cifar-10-binary.tar.gz"
#define PYTHON_CIFAR100 "the Python version of CIFAR-100 (pickles): fetch the binary one, cifar-100-binary.tar.gz"
#define ARCHIVE         "an archive: unpack it and give the folder that comes out"
#define PICTURES                                                                                                       \
    "a picture in no class's folder: put those of each class into a folder, or list them in a .csv: path,label"

#define TABLE "a table: give the file itself with --data"

// Names that data sets of other kinds have in them; the first that fits is said.
static const struct {
    const char *pattern, *what;
} known[] = {
    {"data_batch_[1-5]", PYTHON_CIFAR10},
    {"batches.meta", PYTHON_CIFAR10},
    {"cifar-10-batches-py", PYTHON_CIFAR10},
    {"cifar-100-python", PYTHON_CIFAR100},
    {"meta", PYTHON_CIFAR100},
    {"*images[-.]idx3-ubyte*", "an IDX file under another name: call it train-images-idx3-ubyte"},
    {"*.tar", ARCHIVE},
    {"*.tar.*", ARCHIVE},
    {"*.tgz", ARCHIVE},
    {"*.zip", ARCHIVE},
    {"*.parquet", "a Parquet file, which is not read: convert it to a table (.csv) of files, or to .npy files"},
    {"*.arrow", "an Arrow file, which is not read: convert it to a table (.csv) of files, or to .npy files"},
    {"*.tfrecord*", "TFRecords, which are not read: convert them to .npy files"},
    {"*.mat", "a MATLAB file, which is not read: convert it to .npy files"},
    {"*.h5", "an HDF5 file, which is not read: convert it to .npy files"},
    {"*.npy", "a NumPy array: give the files themselves, --data train_x.npy,train_y.npy,test_x.npy,test_y.npy"},
    {"*.npz", "an archive of NumPy arrays: give the file itself with --data"},
    {"*.csv", TABLE},
    {"*.tsv", TABLE},
    {"*.jsonl", TABLE},
    {"*.png", PICTURES},
    {"*.jpg", PICTURES},
    {"*.jpeg", PICTURES},
    {"*.JPEG", PICTURES},
};

struct entries {
    char **name;
    size_t n;
};

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// The names in a folder in order, at most MOST_ENTRIES of them. False with errno where it cannot be read.
static bool list(const char *dir, struct entries *out) {
    DIR *d = opendir(dir);
    const struct dirent *e;
    *out = (struct entries){0};
    if (!d) return false;
    while (out->n < MOST_ENTRIES && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        out->name = xrealloc(out->name, (out->n + 1) * sizeof *out->name);
        out->name[out->n++] = rt_path_join("", e->d_name);
    }
    closedir(d);
    if (out->n) qsort(out->name, out->n, sizeof *out->name, by_name);
    return true;
}

static void entries_release(struct entries *e) {
    for (size_t i = 0; i < e->n; i++) free(e->name[i]);
    free(e->name);
}

static const char *what_is(const char *name) {
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (fnmatch(known[i].pattern, name, 0) == 0) return known[i].what;
    return NULL;
}

static bool is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

// The folder below `dir` that a reader takes (MNIST/raw, as torchvision unpacks it); caller frees. NULL: none.
static char *find_below(const char *dir, const struct entries *e, int depth) {
    char *found = NULL;
    for (size_t i = 0; i < e->n && !found; i++) {
        char *sub = rt_path_join(dir, e->name[i]);
        struct entries inner;
        if (is_folder(sub) && list(sub, &inner)) {
            if (rt_idx_detect(sub) || rt_cifar_detect(sub))
                found = rt_path_join("", sub);
            else if (depth > 1)
                found = find_below(sub, &inner, depth - 1);
            entries_release(&inner);
        }
        free(sub);
    }
    return found;
}

static enum smkd_result unknown_folder(const char *dir) {
    struct entries e;
    if (!list(dir, &e)) return rt_fail(SMKD_R_IO, "%s: cannot be read: %s", dir, strerror(errno));
    struct str found = STR_INIT;
    char *below = find_below(dir, &e, DEPTH);
    const char *what = NULL, *of = NULL;
    for (size_t i = 0; i < e.n && !what; i++) what = what_is(of = e.name[i]);
    if (e.n == 0) str_add(&found, "the folder is empty");
    for (size_t i = 0; i < e.n && i < SHOWN; i++) str_addf(&found, "%s%s", i ? ", " : "it holds ", e.name[i]);
    if (e.n > SHOWN) str_addf(&found, " and %zu%s more", e.n - SHOWN, e.n == MOST_ENTRIES ? " or" : "");
    if (below)
        str_addf(&found, "; %s is a data set: give that", below);
    else if (what)
        str_addf(&found, "; %s is %s", of, what);
    enum smkd_result r = rt_fail(SMKD_R_INVALID, "%s: no data set recognised: %s; " EXPECTED, dir, found.s);
    free(below);
    str_release(&found);
    entries_release(&e);
    return r;
}

enum smkd_result rt_data_unknown(const char *where) {
    struct stat st;
    if (stat(where, &st) != 0) {
        if (errno != ENOENT) return rt_fail(SMKD_R_IO, "%s: cannot be read: %s", where, strerror(errno));
        return rt_fail(SMKD_R_IO,
                       "%s: no such data folder; give one with images, IDX or CIFAR binary files, a table (.csv), "
                       "arrays (.npy), or fashion-mnist",
                       where);
    }
    if (S_ISDIR(st.st_mode)) return unknown_folder(where);
    const char *slash = strrchr(where, '/'), *what = what_is(slash ? slash + 1 : where);
    return rt_fail(SMKD_R_INVALID, "%s: is a file, not a folder%s%s; give the folder of a data set: " EXPECTED, where,
                   what ? ": " : "", what ? what : "");
}
