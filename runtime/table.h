// What a method remembers of single images and of the run: tables with a row for each training image, and states. Which
// there are is in the names of the program's inputs and outputs (methods/methods.h). Rows are gathered before the
// program runs and written back after it, by the numbers of the batch's images; where an image is in a batch twice, its
// later row counts.
#ifndef SMKD_RT_TABLE_H
#define SMKD_RT_TABLE_H

#include "keep.h"
#include "program.h"

struct rt_table {
    char name[64];       // of the tensor: "table.target.0"
    bool state, written; // written: the program puts it out, too
    bool lent;           // what predicts looks at it: it is in best.safetensors, too
    int peer;            // whose it is; -1: of no single one
    size_t width;        // numbers a row; of a state all
    size_t bytes;        // of data
    float *data;         // [images][width], or the state; owned
    float *in, *out;     // [batch][width]; of a state `in` is the data; owned
    int rank;
    int64_t dims[SMKD_ABI_MAX_RANK]; // as a checkpoint has it
};
struct rt_tables {
    struct rt_table *table;
    size_t n, images;
};

// Makes the tables and states of a program, with their first values, and binds them. `labels` are the given labels of
// the `images`. Release also after a failure.
enum smkd_result rt_tables_start(struct rt_tables *t, struct rt_program *p, const struct method *m,
                                 const int32_t *labels, size_t images, size_t batch, uint64_t seed);
// The first value of a state from a .npy of its shape, of any type of numbers: "NAME" of the program's state.NAME and
// of state.NAME.K of all peers, "NAME.K" of one.
enum smkd_result rt_state_read(struct rt_tables *t, const char *name, const char *path);
void rt_tables_release(struct rt_tables *t);
struct rt_table *rt_tables_find(struct rt_tables *t, const char *name); // "table.keep.0"; NULL: there is none
// That of peer k by its stem, "table.keep"; there has to be one.
struct rt_table *rt_tables_of(struct rt_tables *t, const char *stem, int k);
// Binds the states that another program of the method's looks at, as its inputs. SMKD_R_MISMATCH: there is none of that
// name and size.
enum smkd_result rt_tables_lend(struct rt_tables *t, struct rt_program *to);
// As what a run goes on with.
void rt_tables_keep(const struct rt_tables *t, struct rt_kept *k);
void rt_tables_gather(const struct rt_tables *t, const int64_t *index, size_t n); // before the program runs
// After it: those of the peer that was trained, and of no single one; of all where that is -1.
void rt_tables_write(struct rt_tables *t, const int64_t *index, size_t n, int trained);

#endif
