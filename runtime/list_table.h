// A table of images as its readers (CSV, JSON Lines) hand it on, column names first, then rows.
#ifndef SMKD_RT_LIST_TABLE_H
#define SMKD_RT_LIST_TABLE_H

#include "list_internal.h"

struct list_columns {
    char **name;
    size_t n;
};
struct list_cell {
    const char *p;
    size_t n;
};
struct list_table {
    struct list_job *j;
    const char *file, *root;
    struct list_place header;
    int path, label, split; // columns; split -1: none
    bool split_is_valid;    // the split is True or False, as fastai writes it
};
void list_table_open(struct list_table *t, struct list_job *j);
// Chooses the columns: `path` (or file_name, filename, file, image, image_path); --label-column, `label`, or the only
// one that is left; `split`, or `is_valid`.
enum smkd_result list_table_columns(struct list_table *t, const struct list_columns *c);
enum smkd_result list_table_row(const struct list_table *t, struct list_place at, const struct list_cell *path,
                                const struct list_cell *label, const struct list_cell *split);

#endif
