// Which reader a list of images is for.
#include "list_internal.h"

#include "data.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// The first that detects its kind reads it.
static const struct {
    const char *kind, *layout;
    bool (*detect)(const char *where);
    enum smkd_result (*load)(struct list_job *j);
    bool numbers; // labels that are whole numbers are class numbers
} readers[] = {
    {"table", "images.csv or .tsv with a header and the columns path, label, and if you like split", list_csv_detect,
     list_csv, true},
    {"JSON Lines", "images.jsonl: an object a line with the same keys", list_jsonl_detect, list_jsonl, true},
    {"Food-101", "D/meta/train.txt, D/meta/test.txt, D/images/", list_food101_detect, list_food101, false},
    {"WebVision mini", "D/info/train_filelist_google.txt, D/info/val_filelist.txt, D/google/, D/val_images_256/",
     list_webvision_detect, list_webvision, true},
    {"Clothing1M", "D/noisy_train_key_list.txt, D/noisy_label_kv.txt, D/clean_*.txt, D/images/", list_clothing1m_detect,
     list_clothing1m, true},
    {"Animal-10N", "D/training/LABEL_NUMBER.jpg, D/testing/", list_animal10n_detect, list_animal10n, true},
    {"class folders", "D/train/CLASS/*.jpg and D/val/CLASS/*.jpg (or test), or D/CLASS/*.jpg", list_folders_detect,
     list_folders, false},
};
enum { N_READERS = sizeof readers / sizeof *readers };

bool rt_listing_kind(size_t i, const char **kind, const char **layout) {
    if (i >= N_READERS) return false;
    *kind = readers[i].kind;
    *layout = readers[i].layout;
    return true;
}

bool list_is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool list_has(const char *dir, const char *file) {
    char *path = rt_path_join(dir, file);
    bool there = rt_path_exists(path);
    free(path);
    return there;
}

static size_t reader_of(const char *where) {
    size_t i = 0;
    while (i < N_READERS && !readers[i].detect(where)) i++;
    return i;
}

bool rt_listing_detect(const char *where) { return reader_of(where) < N_READERS; }

// The last part of a path; of a file without its suffix.
static void set_name(struct rt_listing *l, const char *path) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t start = end;
    while (start && path[start - 1] != '/') start--;
    const char *dot = list_is_folder(path) ? NULL : strrchr(path + start, '.');
    if (dot && dot > path + start) end = (size_t)(dot - path);
    size_t n = end - start;
    if (n >= sizeof l->name) n = sizeof l->name - 1;
    memcpy(l->name, path + start, n);
    l->name[n] = 0;
}

static void job_release(struct list_job *j) {
    for (int p = 0; p < LIST_PARTS; p++) rt_list_release(&j->part[p]);
    list_names_release(&j->labels);
    list_names_release(&j->known);
    list_names_release(&j->files);
    free(j->label_at);
    free(j->is_class);
}

enum smkd_result rt_listing_load(const char *where, const struct rt_listing_options *o, struct rt_listing *out) {
    static const struct rt_listing_options plain = {0};
    *out = (struct rt_listing){0};
    size_t i = reader_of(where);
    if (i == N_READERS && list_is_folder(where)) i--; // the last says what is missing
    if (i == N_READERS)
        return rt_fail(SMKD_R_INVALID, "%s: no list of images: a folder, .csv, .tsv or .jsonl is expected", where);
    doing("listing the images of %s", where);
    struct list_job j = {.where = where, .o = o ? o : &plain, .out = out, .numbers = readers[i].numbers};
    out->kind = readers[i].kind;
    set_name(out, where);
    enum smkd_result r = readers[i].load(&j);
    if (r == SMKD_R_OK) r = list_finish(&j);
    job_release(&j);
    return r;
}

void rt_list_release(struct rt_list *l) {
    free(l->label);
    free(l->at);
    free(l->pool);
    *l = (struct rt_list){0};
}

void rt_listing_release(struct rt_listing *l) {
    rt_list_release(&l->train);
    rt_list_release(&l->test);
    for (int i = 0; i < l->n_classes; i++) free(l->classes[i]);
    for (int i = 0; i < l->n_notes; i++) free(l->notes[i]);
    free(l->classes);
    free(l->notes);
    *l = (struct rt_listing){0};
}
