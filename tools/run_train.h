// Commands of smkd-run around a run folder: train makes one, eval and export read it. What their files share.
#ifndef SMKD_TOOLS_RUN_TRAIN_H
#define SMKD_TOOLS_RUN_TRAIN_H

#include "../runtime/preparation.h"
#include "../runtime/train.h"
#include "args.h"

// A command gets argv without "smkd-run" and its own name; returns the exit code.
int run_train(int argc, char **argv);
int run_eval(int argc, char **argv);
int run_detect(int argc, char **argv);
int run_export(int argc, char **argv);
int run_predict(int argc, char **argv);
int run_methods(int argc, char **argv);
int run_sweep(int argc, char **argv);

// The options of `train` with a method, of which a command line may have any.
enum { RUN_TRAIN_OPTS = 128 };
void run_train_options(struct args_opt opts[RUN_TRAIN_OPTS], const struct method *m);

// What config.json of a run folder says (run_saved.c).
struct run_saved {
    struct rt_config config;
    struct run_saved_peer {
        char *artifact; // its path; owned
        char *hash;     // content hash, as text; NULL where the file does not say; owned
    } *peer;            // owned
    int n_peers;
    char *loss_hash;     // of the loss program; likewise
    char **teacher_hash; // of the teachers' artifacts; likewise
    int n_teachers;
    float mean[RT_MAX_CHANNELS], std[RT_MAX_CHANNELS];
    int channels; // of the data
    int classes;
    struct rt_preparation preparation; // of a run of an earlier version: mean and deviation
};
// Reads DIR/config.json. Release also after a failure.
enum smkd_result run_saved_read(struct run_saved *s, const char *dir);
void run_saved_release(struct run_saved *s);
// Loads peer k of a run folder: the artifact that --artifact names, else the one that the run was made with, which is
// not loaded before its content hash has been compared. Says what to do where it is gone or another.
enum smkd_result run_saved_load(const struct run_saved *s, const char *dir, int k, const char *artifact,
                                const char *logits, struct rt_peer *p);
// The row of a method's name, or of the program in a file made with smkdc loss: of the name that it bears, or where
// that is none of ours (a graph of the user's own) that of smkd-p, whose numbers it may have. NULL after saying that
// there is no such method.
const struct method *run_method(const char *name);
// The method of a command line that goes on with a run (--resume), as DIR/config.json has it; else that of smkd-p.
const struct method *run_method_of_folder(const char *dir, int argc, char **argv);
// True when `path` is a folder.
bool run_is_folder(const char *path);
// rt_checkpoint_read_peer, or of the peer's average; says where the run kept none.
enum smkd_result run_read_peer(const char *path, bool ema, int k, smkd_model *m, struct rt_progress_state *state);
// "note: FILE has no checksums ...", on stderr.
void run_note_unchecked(const char *path);
// Says where what is said of one image depends on the others of its batch.
void run_note_mixing(const struct rt_peer *p);
// The networks of --teacher (run_teacher.c).
struct run_teachers {
    struct rt_peer *peer;
    int n;
    struct run_saved *saved; // of the run folders among them
    int n_saved;
    char *paths; // owned, as all of this
};
// Loads "FILE;RUN;...": artifacts with their own weights, run folders with those of their last.safetensors. They must
// see what `peer` sees. Where they are only named by the folder of the run that goes on, `known` has their hashes.
// Release also after a failure.
enum smkd_result run_teachers_load(struct run_teachers *t, const char *paths, const char *logits,
                                   const struct rt_peer *peer, const struct run_saved *known);
void run_teachers_release(struct run_teachers *t);
// Prints "smkd-run CMD: error: LINE" with the runtime's last error; returns EXIT_FAILED.
int run_failed(const char *cmd);

#endif
