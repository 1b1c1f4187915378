// Which image files a --data argument means, and the label of each; nothing is decoded here. What lies on disk for each
// kind is in docs/data.md; one file reads one kind (list_*.c):
//
//     class folders    D/train/CLASS/*, D/val/CLASS/*; or D/CLASS/*           list_folders.c
//     a table          images.csv, .tsv: path, label[, split]                 list_csv.c, list_table.c
//     JSON Lines       images.jsonl, objects with the same keys               list_jsonl.c, list_table.c
//     Food-101         meta/train.txt, images/                                list_food101.c
//     WebVision mini   info/train_filelist_google.txt, ...                    list_webvision.c
//     Clothing1M       noisy_train_key_list.txt, noisy_label_kv.txt, ...      list_clothing1m.c
//     Animal-10N       training/LABEL_NUMBER.jpg, testing/                    list_animal10n.c
//
// Order. Class folders: as torchvision's ImageFolder has it, so that labels made there fit: classes by the bytes of
// their names, in a class folders by the bytes of their paths, in a folder files by the bytes of their names. Lists and
// tables: as they stand in the file. The order of a directory never matters.
//
// Classes. Names of folders, sorted by bytes, of training and test part together; a class that only one part has is a
// class. So is an empty folder. In a table, names sorted by bytes, or, where every label is a whole number, the numbers
// from 0 to the largest. A class without images in a part is said in a note. Names are UTF-8.
//
// The test part is `val` (or valid, validation, dev) where there is one, and `test` (testing) otherwise, since training
// looks at it in every epoch; `test_split` chooses. What is not chosen is not read, and said in a note.
//
// Paths. Relative ones of a list are joined to its root. Absolute ones, and those that leave the root by "..", are
// taken as they are and counted in a note. Whether files exist is seen when they are read, but a list whose first files
// are all missing is refused at once. Links are followed; one that leads back to a folder above it is left out, with a
// note. Hidden names (.x) are left out.
#ifndef SMKD_RT_LISTING_H
#define SMKD_RT_LISTING_H

#include "runtime.h"

// Paths of files in one block, and their labels: 12 bytes and the path (with its end) a file.
struct rt_list {
    size_t n;
    int32_t *label; // classes; owned
    // Behind rt_list_path:
    uint64_t *at; // where path i begins
    char *pool;
    size_t cap, used, room; // of label and at; bytes of the pool
};
static inline const char *rt_list_path(const struct rt_list *l, size_t i) { return l->pool + l->at[i]; }
void rt_list_release(struct rt_list *l);

struct rt_listing_options {
    const char *label_column; // of a table; NULL: "label", or the only one that can be meant
    const char *image_root;   // what a list's relative paths are below; NULL: the data set's folder, or the table's
    const char *test_split;   // "val" or "test"; NULL: the first of them that is there
    // The classes of a run, where its networks are evaluated: labels are those, found by name, or by number where all
    // labels are numbers and no names. A label that is none of them is refused. n_classes 0: those of the data.
    const char *const *classes;
    int n_classes;
};

struct rt_listing {
    char name[64];              // of the folder, or of the table without its suffix
    const char *kind;           // "class folders", "Food-101", ...
    struct rt_list train, test; // either may be empty, not both
    bool has_test;
    char **classes; // n_classes names; owned
    int n_classes;
    char **notes; // n_notes lines that the user should see; owned
    int n_notes;
};

// Whether `where` looks like one of the kinds, from names alone: a file that ends in .csv, .tsv, .jsonl or .ndjson, or
// a folder with the files of a kind, or with an image in a folder below it.
bool rt_listing_detect(const char *where);
// SMKD_R_INVALID or SMKD_R_IO name the file and the line. Release with rt_listing_release, also after a failure.
enum smkd_result rt_listing_load(const char *where, const struct rt_listing_options *o, struct rt_listing *out);
void rt_listing_release(struct rt_listing *l);

// For help: kind i and what lies on disk, in a line. False past the end.
bool rt_listing_kind(size_t i, const char **kind, const char **layout);

#endif
