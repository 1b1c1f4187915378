// What the readers of listing.h share. A reader adds rows, each with its label as the file has it; which classes there
// are, and what is said about them, is decided behind it (list_classes.c).
#ifndef SMKD_RT_LIST_INTERNAL_H
#define SMKD_RT_LIST_INTERNAL_H

#include "listing.h"

// Different strings, numbered in the order in which they came.
struct list_names {
    char **name; // owned
    size_t n, cap;
    uint32_t *slot; // hashed: number + 1, 0 for none
    size_t n_slots;
};
int32_t list_names_find(const struct list_names *s, const char *text, size_t n); // -1: not there
int32_t list_names_add(struct list_names *s, const char *text, size_t n);        // the old number where it is there
void list_names_release(struct list_names *s);

struct list_place {
    const char *file; // NULL: nowhere; lives as long as the job (list_file)
    size_t line;      // 0: no line
};
enum list_part { LIST_TRAIN, LIST_VAL, LIST_TEST, LIST_PARTS };

struct list_job {
    const char *where;
    const struct rt_listing_options *o;
    struct rt_listing *out;
    struct rt_list part[LIST_PARTS];           // rows; labels are numbers of `labels`, -1: none given
    struct list_place first[LIST_PARTS];       // where the first row stands
    struct list_place unlabelled[LIST_PARTS];  // where the first row without a label stands
    struct list_names labels;                  // as they came
    struct list_place *label_at;               // where each came first
    bool *is_class;                            // a class also without images
    size_t label_cap;                          // of both
    bool numbers;                              // labels that are all whole numbers are class numbers
    struct list_names known;                   // classes in their order, where the format names them; else empty
    const char *known_from;                    // the file that did
    struct list_names files;                   // names in places
    const char *root;                          // what relative paths are below, for messages; NULL: no list
    size_t absolute, leaving;                  // paths that are not below the root
    struct list_place absolute_at, leaving_at; // the first of each
};

// A file's name that lives as long as the job.
const char *list_file(struct list_job *j, const char *path);
const char *list_file_in(struct list_job *j, const char *dir, const char *file);
enum { LIST_MOST_CLASSES = 1 << 20 }; // what has more labels has something else in their place
enum smkd_result list_check_labels(const struct list_job *j, struct list_place at);
// The number of a label.
int32_t list_label(struct list_job *j, const char *text, size_t n, struct list_place at);
// A row. Its path is n bytes below `root` (NULL or "": as it is), with `suffix` behind.
struct list_row {
    const char *root, *path, *suffix;
    size_t n;
    int32_t label; // -1: none
    struct list_place at;
};
enum smkd_result list_add(struct list_job *j, enum list_part part, const struct list_row *r);
// The plain form of it.
enum smkd_result list_push(struct rt_list *l, const char *root, const char *path, size_t n, const char *suffix,
                           int32_t label);
void list_note(struct list_job *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
enum smkd_result list_fail(struct list_place at, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// Which of val and test is the test part, by what is there and by --test-split; LIST_TRAIN: none.
enum smkd_result list_test_part(const char *where, const char *test_split, bool val, bool test, enum list_part *out);

// A text file of lines: each that is not blank, without its end and blanks around it. NULs are refused.
struct list_text {
    const char *map, *p, *end, *line;
    size_t size, n; // n: of the line
    struct list_place at;
};
enum smkd_result list_text_open(struct list_job *j, const char *path, struct list_text *t);
bool list_text_next(struct list_text *t);
void list_text_close(struct list_text *t);
// What stands behind the last blank of the line, as in "path label"; false where there is no such thing.
bool list_text_split(const struct list_text *t, size_t *path, const char **label, size_t *n);
// Classes out of a file with one a line; the first `most` of them, the first word only where `word`.
enum smkd_result list_known_from(struct list_job *j, const char *path, size_t most, bool word);

bool list_is_folder(const char *path);
bool list_has(const char *dir, const char *file);
// "train", "val" or "test" and other words for them, in any case; LIST_PARTS: none of them.
enum list_part list_part_of(const char *word);

// From labels to classes, notes, the choice of the test part: what follows every reader.
enum smkd_result list_finish(struct list_job *j);

// --- the readers -----------------------------------------------------------------------------------------------------
bool list_folders_detect(const char *where);
enum smkd_result list_folders(struct list_job *j);
bool list_csv_detect(const char *where);
enum smkd_result list_csv(struct list_job *j);
bool list_jsonl_detect(const char *where);
enum smkd_result list_jsonl(struct list_job *j);
bool list_food101_detect(const char *where);
enum smkd_result list_food101(struct list_job *j);
bool list_webvision_detect(const char *where);
enum smkd_result list_webvision(struct list_job *j);
bool list_clothing1m_detect(const char *where);
enum smkd_result list_clothing1m(struct list_job *j);
bool list_animal10n_detect(const char *where);
enum smkd_result list_animal10n(struct list_job *j);

#endif
